/*
 * Running child processes: pg_dump, the user's command, workers of our own. Always with an array of
 * arguments, never through a shell. Descriptors of ours are O_CLOEXEC, so a child has only 0, 1 and
 * 2.
 *
 * A child is the leader of its own process group, so that Ctrl-C on the terminal reaches only this
 * process, which then ends its children; it gets SIGTERM from the kernel if this process dies
 * first. It cannot read from the terminal. Environment: ours, with extra_env ("NAME=value" …, NULL
 * at the end; may be NULL) on top. A program that cannot be started is an ERR_IO of the call.
 */
#ifndef BASE_CHILD_H
#define BASE_CHILD_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"
#include "base/mem.h"

/*
 * Runs a program to its end, standard input empty, and returns what it wrote (both with a NUL
 * behind, both owned by ctx) and its exit code, 128 + n for signal n. A non-zero exit code is not
 * an error here. More than max_bytes on standard output is one; of standard error only the first
 * max_bytes are kept. At the deadline, or told to stop, it ends the child's whole process group.
 */
CHECKED bool child_run_capture(const void *ctx, const char *const argv[],
                               const char *const extra_env[], size_t max_bytes, int64_t deadline,
                               char **ret_stdout, size_t *ret_len, char **ret_stderr, int *ret_exit,
                               Err *err);

/*
 * A running child. Freeing it closes the pipes, gives the child a second to end by itself, and then
 * kills its process group; so a child that treats the end of its input as "stop" ends cleanly.
 */
typedef struct Child {
    pid_t pid;   /* 0 once it has ended and was reaped */
    int to_fd;   /* its standard input, or -1 */
    int from_fd; /* its standard output, non-blocking, or -1 */
    int status;  /* when it has ended: exit code, 128 + n for signal n */
} Child;

/*
 * starts a program with pipes to its standard input and from its standard output; standard error is
 * ours
 */
CHECKED Child *child_start(const void *ctx, const char *const argv[], const char *const extra_env[],
                           Err *err);

/*
 * The same for a copy of this process that runs body() and ends with what it returns: for a helper
 * that needs what is in our memory. It has no descriptor of ours but standard error, so it must not
 * touch our connections; waits in it are shielded (base/wait.h). A detached one is no tied child:
 * its own session, it ignores SIGINT, SIGTERM and SIGHUP, and lives on when we die; then it reads
 * the end of its input.
 */
CHECKED Child *child_fork(const void *ctx, int (*body)(void *arg), void *arg, bool detached,
                          Err *err);

/* the end of its input */
void child_close_input(Child *child);

/*
 * Without waiting: whether it has ended, and then its exit code (see Child.status); can be called
 * again. False when the exit code is lost because somebody else reaped it.
 */
CHECKED bool child_reap(Child *child, bool *ret_ended, int *ret_status);

/*
 * A descriptor that becomes readable when that process ends, whoever's child it is; -1 when it is gone
 * already, or this kernel has no such descriptors.
 */
int child_watch(pid_t pid);

/* whether no process has that number */
bool child_is_gone(pid_t pid);

/* sends a signal to its process group; nothing when it has ended */
void child_signal(const Child *child, int sig);

/*
 * Waits at most ms for it to end by itself, then kills the process group and reaps it. Not
 * interrupted by signals. Returns the exit code; ms < 0 is as long as it takes.
 */
int child_end(Child *child, int64_t ms);

#endif
