/* base/child */
#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/child.h"
#include "base/clock.h"
#include "base/wait.h"

typedef struct Result {
    char *out;
    size_t len;
    char *errs;
    int code;
} Result;

/* runs a script of the shell */
static bool sh(void *ctx, const char *script, size_t max, int64_t ms, Result *ret, Err *err)
{
    const char *const argv[] = {"sh", "-c", script, NULL};

    return child_run_capture(ctx, argv, NULL, max, deadline_in(ms), &ret->out, &ret->len,
                             &ret->errs, &ret->code, err);
}

static void test_capture(void **state)
{
    Err *err = err_new(*state);
    Result r;

    UNIT_GREW(*state, 2,
              assert_true(sh(*state, "echo out; echo bad >&2; exit 3", 100, -1, &r, err)));
    assert_string_equal(r.out, "out\n");
    assert_int_equal(r.len, 4);
    assert_string_equal(r.errs, "bad\n");
    assert_int_equal(r.code, 3);
    assert_true(sh(*state, "kill -9 $$", 100, -1, &r, err));
    assert_int_equal(r.code, 128 + SIGKILL);
    /* standard input is empty, not ours */
    assert_true(sh(*state, "cat; echo end", 100, -1, &r, err));
    assert_string_equal(r.out, "end\n");
}

static void test_capture_much(void **state)
{
    Err *err = err_new(*state);
    Result r;

    /* more than a pipe holds, on both at once */
    assert_true(sh(*state, "head -c 3000000 /dev/zero & head -c 2000000 /dev/zero >&2; wait",
                   4000000, -1, &r, err));
    assert_int_equal(r.len, 3000000);
    assert_false(sh(*state, "head -c 3000000 /dev/zero; sleep 60", 2999999, -1, &r, err));
    assert_int_equal(err->kind, ERR_IO);
    assert_string_equal(err->msg, "\"sh\" wrote more than 2999999 bytes");
    /* too much on standard error is just cut */
    assert_true(sh(*state, "echo 123456789 >&2", 5, -1, &r, err));
    assert_string_equal(r.errs, "12345");
}

static void test_capture_environment(void **state)
{
    const char *const argv[] = {"sh", "-c",
                                "echo $UNIT_A $UNIT_B $UNIT_C; env | grep -c ^UNIT_A=", NULL};
    const char *const extra[] = {"UNIT_A=new", "UNIT_C=see", NULL};
    Err *err = err_new(*state);
    Result r;

    setenv("UNIT_A", "old", 1);
    setenv("UNIT_B", "bee", 1);
    assert_true(child_run_capture(*state, argv, extra, 100, NO_DEADLINE, &r.out, &r.len, &r.errs,
                                  &r.code, err));
    assert_string_equal(r.out, "new bee see\n1\n");
}

static void test_capture_no_program(void **state)
{
    const char *const argv[] = {"/no/such/program", NULL};
    Err *err = err_new(*state);
    Result r;

    UNIT_GREW(*state, 1,
              assert_false(child_run_capture(*state, argv, NULL, 100, NO_DEADLINE, &r.out, &r.len,
                                             &r.errs, &r.code, err)));
    assert_int_equal(err->kind, ERR_IO);
    assert_string_equal(err->msg, "could not run \"/no/such/program\": No such file or directory");
}

static void test_capture_timeout(void **state)
{
    Err *err = err_new(*state);
    Result r;
    int64_t start = clock_ms();

    assert_false(sh(*state, "sleep 61 & sleep 61", 100, 200, &r, err));
    assert_int_equal(err->kind, ERR_TIMEOUT);
    assert_string_equal(err->msg, "\"sh\" did not end in time");
    /* deaf to SIGTERM, and without open outputs */
    assert_false(sh(*state, "trap '' TERM; exec >&- 2>&-; sleep 61; sleep 61", 100, 200, &r, err));
    assert_int_equal(err->kind, ERR_TIMEOUT);
    assert_in_range(clock_ms() - start, 400, 10000);
}

static void test_capture_background(void **state)
{
    Err *err = err_new(*state);
    Result r;
    int64_t start = clock_ms();

    /* what it leaves behind holds the pipe, but is not waited for, and lives on */
    assert_true(sh(*state, "sleep 20 & echo $!", 100, -1, &r, err));
    assert_in_range(clock_ms() - start, 0, 10000);
    pid_t pid = (pid_t)strtol(r.out, NULL, 10);
    assert_int_equal(kill(pid, 0), 0);
    kill(pid, SIGKILL);
}

static void test_capture_stopped(void **state)
{
    Err *err = err_new(*state);
    Result r;
    int64_t start = clock_ms();
    int fds[2];

    /* the parent is gone: the same way as a signal */
    assert_int_equal(pipe(fds), 0);
    close(fds[1]);
    wait_set_parent(fds[0]);
    assert_false(sh(*state, "sleep 60", 100, -1, &r, err));
    wait_set_parent(-1);
    close(fds[0]);
    assert_int_equal(err->kind, ERR_CANCELED);
    assert_in_range(clock_ms() - start, 0, 10000);
}

static ssize_t read_some(const Child *child, char *buf, size_t size)
{
    struct pollfd fd = {.fd = child->from_fd, .events = POLLIN};

    assert_int_equal(poll(&fd, 1, 10000), 1);
    return read(child->from_fd, buf, size);
}

static void test_start(void **state)
{
    const char *const argv[] = {"cat", NULL};
    Err *err = err_new(*state);
    char buf[10];
    bool ended;
    int status;
    Child *child;

    UNIT_GREW(*state, 1, child = child_start(*state, argv, NULL, err));
    assert_non_null(child);
    assert_int_equal(getpgid(child->pid), child->pid);
    assert_true(read(child->from_fd, buf, sizeof buf) < 0 && errno == EAGAIN);
    assert_int_equal(write(child->to_fd, "hello", 5), 5);
    assert_int_equal(read_some(child, buf, sizeof buf), 5);
    assert_memory_equal(buf, "hello", 5);
    assert_true(child_reap(child, &ended, &status));
    assert_false(ended);
    child_close_input(child);
    assert_int_equal(read_some(child, buf, sizeof buf), 0);
    assert_int_equal(child_end(child, 10000), 0);
    assert_true(child_reap(child, &ended, &status));
    assert_true(ended);
    assert_int_equal(status, 0);
    child_signal(child, SIGKILL);
}

static void test_start_free(void **state)
{
    const char *const good[] = {"sh", "-c", "read x; exit 0", NULL};
    const char *const bad[] = {"sh", "-c", "trap '' TERM; echo; while :; do sleep 1; done", NULL};
    Err *err = err_new(*state);
    int64_t start = clock_ms();
    char buf[10];

    Child *child = child_start(*state, good, NULL, err);
    assert_non_null(child);
    pid_t pid = child->pid;
    talloc_free(child);
    assert_in_range(clock_ms() - start, 0, 900);
    assert_true(kill(pid, 0) < 0 && errno == ESRCH);

    child = child_start(*state, bad, NULL, err);
    assert_non_null(child);
    pid = child->pid;
    read_some(child, buf, sizeof buf); /* the trap is set */
    talloc_free(child);
    assert_true(kill(pid, 0) < 0 && errno == ESRCH);
}

static int shout(void *arg)
{
    char buf[10];

    ssize_t n = read(STDIN_FILENO, buf, sizeof buf);
    for (ssize_t i = 0; i < n; i++)
        buf[i] = (char)(buf[i] - 'a' + 'A');
    if (n < 0 || write(STDOUT_FILENO, buf, (size_t)n) != n)
        return 99;
    /* the other end of its own input must not be open in it */
    if (read(STDIN_FILENO, buf, sizeof buf) != 0)
        return 98;
    return getsid(0) == getpid() ? *(int *)arg : 97;
}

static void test_fork(void **state)
{
    Err *err = err_new(*state);
    char buf[10];
    int code = 42, fds[2];

    assert_int_equal(pipe(fds), 0);
    Child *child = child_fork(*state, shout, &code, true, err);
    assert_non_null(child);
    close(fds[1]);
    assert_int_equal(read(fds[0], buf, 1), 0); /* the copy has closed its own */
    close(fds[0]);
    kill(child->pid, SIGTERM);
    assert_int_equal(write(child->to_fd, "abc", 3), 3);
    assert_int_equal(read_some(child, buf, sizeof buf), 3);
    assert_memory_equal(buf, "ABC", 3);
    child_close_input(child);
    assert_int_equal(child_end(child, 10000), 42);

    child = child_fork(*state, shout, &code, false, err);
    assert_non_null(child);
    child_close_input(child);
    assert_int_equal(child_end(child, 10000), 97);
}

/* a child gets 0, 1, 2 and none of our pipes; no signal is blocked or ignored but SIGTTOU */
static void test_clean(void **state)
{
    Err *err = err_new(*state);
    sigset_t set;
    int inherited = 0;
    Result r;

    for (int fd = 3; fd < 1000; fd++) {
        int flags = fcntl(fd, F_GETFD);

        if (flags >= 0 && (flags & FD_CLOEXEC) == 0)
            inherited++;
    }
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    sigprocmask(SIG_BLOCK, &set, NULL);
    signal(SIGPIPE, SIG_IGN);
    assert_true(sh(*state, "grep -E '^Sig(Blk|Ign)' /proc/self/status", 1000, -1, &r, err));
    sigprocmask(SIG_UNBLOCK, &set, NULL);
    assert_string_equal(r.out, "SigBlk:\t0000000000000000\nSigIgn:\t0000000000200000\n");
    /* ls itself has the directory open */
    assert_true(sh(*state, "ls -1 /proc/self/fd | wc -l", 1000, -1, &r, err));
    assert_int_equal(strtol(r.out, NULL, 10), 4 + inherited);
}

static void ignore_signal(int sig)
{
    (void)sig;
}

/* starts n children while somebody presses Ctrl-C all the time; returns how many it reached */
static int start_under_fire(void *ctx, int n)
{
    struct sigaction sa = {.sa_handler = ignore_signal, .sa_flags = SA_RESTART};
    Err *err = err_new(ctx);
    int hit = 0;

    if (setpgid(0, 0) != 0 || sigaction(SIGINT, &sa, NULL) != 0)
        return -1;
    pid_t shooter = fork();
    if (shooter == 0) {
        while (getppid() != 1)
            kill(0, SIGINT);
        _exit(0);
    }
    for (int i = 0; i < n; i++) {
        const char *const argv[] = {"true", NULL};
        Child *child = child_start(ctx, argv, NULL, err);

        hit += child == NULL || child_end(child, 10000) != 0 ? 1 : 0;
        talloc_free(child);
    }
    kill(shooter, SIGKILL);
    return hit;
}

/* Ctrl-C reaches a child neither before nor after it has a group of its own */
static void test_start_under_fire(void **state)
{
    int status;
    pid_t pid = fork();

    if (pid == 0)
        _exit(start_under_fire(*state, 100));
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

UNIT_MAIN(UNIT_TEST(test_capture), UNIT_TEST(test_capture_much),
          UNIT_TEST(test_capture_environment), UNIT_TEST(test_capture_no_program),
          UNIT_TEST(test_capture_timeout), UNIT_TEST(test_capture_background),
          UNIT_TEST(test_capture_stopped), UNIT_TEST(test_start), UNIT_TEST(test_start_free),
          UNIT_TEST(test_fork), UNIT_TEST(test_clean), UNIT_TEST(test_start_under_fire))
