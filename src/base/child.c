/*
 * Child processes: see child.h.
 *
 * A third pipe, closed by a successful exec, brings back the errno of a failed one; its end-of-file
 * also says that the child is the leader of its group by now, so that a kill of the group cannot
 * miss.
 */
#include "base/child.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/str.h"
#include "base/wait.h"

enum {
    FREE_WAIT_MS = 1000, /* how long a freed child may take to end by itself */
    TERM_WAIT_MS = 500,  /* how long after SIGTERM */
    SLICE_MS = 100,      /* how often to look whether a child with open pipes has ended */
    READ_BYTES = 64 * 1024,
    LOST_STATUS = 256 /* somebody else has reaped it */
};

/* an end of a pipe that the child inherits as one of 0, 1, 2 */
typedef struct Ends {
    int in;
    int out;
    int err;
} Ends;

static void close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

static bool new_pipe(int fds[2], Err *err)
{
    if (pipe2(fds, O_CLOEXEC) == 0)
        return true;
    fds[0] = fds[1] = -1;
    return err_set(err, ERR_IO, "could not create a pipe: %s", strerror(errno));
}

/* without O_NONBLOCK a read could hang after a poll() that woke up for nothing */
static void set_nonblocking(int fd)
{
    int flags = fcntl(fd, F_GETFL);

    if (flags >= 0)
        fcntl(fd, F_SETFL, flags | O_NONBLOCK);
}

static bool same_name(const char *a, const char *b)
{
    size_t n = strcspn(a, "=");

    return strncmp(a, b, n) == 0 && b[n] == '=';
}

/* our environment without what extra_env sets anew, then extra_env */
static const char **merge_env(const void *ctx, const char *const extra_env[])
{
    size_t n_ours = 0, n_extra = 0, n = 0;

    while (environ != NULL && environ[n_ours] != NULL)
        n_ours++;
    while (extra_env != NULL && extra_env[n_extra] != NULL)
        n_extra++;
    const char **merged = mem_array(ctx, const char *, n_ours + n_extra + 1);
    for (size_t i = 0; i < n_ours; i++) {
        bool replaced = false;

        for (size_t k = 0; k < n_extra && !replaced; k++)
            replaced = same_name(extra_env[k], environ[i]);
        if (!replaced)
            merged[n++] = environ[i];
    }
    for (size_t k = 0; k < n_extra; k++)
        merged[n++] = extra_env[k];
    return merged;
}

/* exec takes pointers to non-const for reasons of history; it does not write there */
static char *const *exec_vector(const char *const *v)
{
    char *const *p;

    memcpy(&p, &v, sizeof p);
    return p;
}

/*
 * dup2() that also works when the descriptor already is the wanted one: then only O_CLOEXEC must go
 */
static bool put_fd(int fd, int as)
{
    if (fd == as)
        return fcntl(fd, F_SETFD, 0) == 0;
    return dup2(fd, as) >= 0;
}

/* how a new child leads its life after fork() */
typedef struct Life {
    const char *const *argv; /* what to exec */
    const char **env;
    int (*body)(void *arg); /* or, when argv is NULL, what to run in the copy of this process */
    void *arg;
    bool detached;
} Life;

/* the ends of pipes become 0, 1 and 2; false with errno */
static bool arrange_fds(Ends ends)
{
    int *all[] = {&ends.in, &ends.out, &ends.err};

    /* 3 and up first: a pipe must not sit where another one goes to */
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        if (*all[i] >= 0 && *all[i] != (int)i && *all[i] <= 2)
            *all[i] = fcntl(*all[i], F_DUPFD_CLOEXEC, 3);
    }
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        if (*all[i] >= 0 && !put_fd(*all[i], (int)i))
            return false;
    }
    return true;
}

/* signals, process group and ties to the parent of a new child; false with errno */
static bool settle(bool detached, pid_t parent)
{
    sigset_t none;

    if (!detached && setpgid(0, 0) != 0)
        return false;
    /*
     * a Ctrl-C that came before the group was ours is still pending, and meant the parent: ignoring
     * it discards it
     */
    for (int sig = 1; sig < NSIG; sig++) {
        signal(sig, SIG_IGN);
        signal(sig, SIG_DFL);
    }
    /*
     * a group in the background may not write to a terminal with "stty tostop" unless it ignores
     * this
     */
    signal(SIGTTOU, SIG_IGN);
    if (detached) {
        signal(SIGINT, SIG_IGN);
        signal(SIGHUP, SIG_IGN);
        signal(SIGTERM, SIG_IGN);
    }
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    if (detached)
        return setsid() >= 0;
    if (prctl(PR_SET_PDEATHSIG, SIGTERM) != 0)
        return false;
    if (getppid() != parent) /* it died before the prctl() */
        _exit(1);
    return true;
}

/*
 * closes what a copy of this process must not hold: its copy of a pipe would keep that pipe from
 * ending
 */
static void close_from(int first)
{
    DIR *dir = opendir("/proc/self/fd");

    if (dir == NULL) {
        for (int fd = first; fd < 4096; fd++)
            close(fd);
        return;
    }
    for (const struct dirent *e = readdir(dir); e != NULL; e = readdir(dir)) {
        long fd = strtol(e->d_name, NULL, 10);

        if (fd >= first && fd != dirfd(dir))
            close((int)fd);
    }
    closedir(dir);
}

/* the way of the child after fork(); comes back only with an error in errno */
static void become(const Life *life, Ends ends, pid_t parent)
{
    if (!settle(life->detached, parent) || !arrange_fds(ends))
        return;
    if (life->argv != NULL) {
        execvpe(life->argv[0], exec_vector(life->argv), exec_vector(life->env));
        return;
    }
    signal(SIGPIPE, SIG_IGN);
    wait_shield(true); /* the descriptors that base/wait watches go away here */
    close_from(3);
    _exit(life->body(life->arg));
}

static bool spawn(const Life *life, Ends ends, pid_t *ret_pid, Err *err)
{
    int report[2], failed = 0;
    sigset_t all, before;
    pid_t parent = getpid();

    if (!new_pipe(report, err))
        return false;
    /* the handlers of base/wait must not run in the child: its signal pipe is still ours */
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, &before);
    pid_t pid = fork();
    if (pid == 0) {
        become(life, ends, parent);
        failed = errno;
        if (write(report[1], &failed, sizeof failed) < 0)
            _exit(126);
        _exit(127);
    }
    int fork_errno = errno;
    sigprocmask(SIG_SETMASK, &before, NULL);
    close(report[1]);
    if (pid < 0) {
        close(report[0]);
        return err_set(err, ERR_IO, "could not start a process: %s", strerror(fork_errno));
    }
    ssize_t n;
    do
        n = read(report[0], &failed, sizeof failed);
    while (n < 0 && errno == EINTR);
    close(report[0]);
    if (n > 0) {
        while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
            ;
        if (life->argv == NULL)
            return err_set(err, ERR_IO, "could not start a process: %s", strerror(failed));
        return err_set(err, ERR_IO, "could not run \"%s\": %s", life->argv[0], strerror(failed));
    }
    *ret_pid = pid;
    return true;
}

bool child_reap(Child *child, bool *ret_ended, int *ret_status)
{
    int status;

    *ret_ended = false;

    if (child->pid != 0) {
        pid_t rc = waitpid(child->pid, &status, WNOHANG);

        if (rc == 0 || (rc < 0 && errno == EINTR))
            return true;
        child->status = LOST_STATUS;
        if (rc > 0)
            child->status = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
        child->pid = 0;
    }
    *ret_ended = true;
    *ret_status = child->status;
    return child->status != LOST_STATUS;
}

int child_watch(pid_t pid)
{
#ifdef SYS_pidfd_open
    return (int)syscall(SYS_pidfd_open, pid, 0);
#else
    (void)pid;
    return -1;
#endif
}

bool child_is_gone(pid_t pid)
{
    return kill(pid, 0) != 0 && errno == ESRCH;
}

void child_signal(const Child *child, int sig)
{
    if (child->pid > 0)
        kill(-child->pid, sig);
}

void child_close_input(Child *child)
{
    close_fd(&child->to_fd);
}

/* whether it has ended, leaving it unreaped: until then its process group still has a name */
static bool has_ended(const Child *child)
{
    siginfo_t info = {0};

    if (child->pid == 0)
        return true;
    if (waitid(P_PID, (id_t)child->pid, &info, WEXITED | WNOHANG | WNOWAIT) != 0)
        return errno != EINTR;
    return info.si_pid != 0;
}

/* the pauses between looks: short at first, for a child that is just about to end */
static int64_t longer(int64_t pause)
{
    return pause < SLICE_MS / 2 ? pause * 2 : SLICE_MS;
}

static bool ends_within(const Child *child, int64_t ms)
{
    AUTO_CTX(tmp, NULL);
    Err *ignored = err_new(tmp);
    int64_t deadline = deadline_in(ms), pause = 1;
    bool ended;

    wait_shield(true);
    while (!(ended = has_ended(child)) && deadline_left(deadline) != 0) {
        if (!wait_ms(pause, ignored))
            break;
        pause = longer(pause);
    }
    wait_shield(false);
    return ended;
}

int child_end(Child *child, int64_t ms)
{
    bool ended;
    int status = LOST_STATUS;

    if (!ends_within(child, ms)) {
        child_signal(child, SIGTERM);
        ends_within(child, TERM_WAIT_MS);
        /* also for what the child itself left behind */
        child_signal(child, SIGKILL);
        ends_within(child, -1);
    }
    return child_reap(child, &ended, &status) ? status : LOST_STATUS;
}

static int child_free(Child *child)
{
    close_fd(&child->to_fd);
    close_fd(&child->from_fd);
    child_end(child, FREE_WAIT_MS);
    return 0;
}

static Child *child_new(const void *ctx)
{
    Child *child = mem_new(ctx, Child);

    child->to_fd = child->from_fd = -1;
    talloc_set_destructor(child, child_free);
    return child;
}

static Child *start(const void *ctx, const Life *life, Err *err)
{
    Child *child = child_new(ctx);
    int in[2], out[2] = {-1, -1};

    bool ok = new_pipe(in, err) && new_pipe(out, err);
    child->to_fd = in[1];
    child->from_fd = out[0];
    ok = ok && spawn(life, (Ends){in[0], out[1], -1}, &child->pid, err);
    close_fd(&in[0]);
    close_fd(&out[1]);
    if (!ok) {
        talloc_free(child);
        return NULL;
    }
    set_nonblocking(child->from_fd);
    return child;
}

Child *child_start(const void *ctx, const char *const argv[], const char *const extra_env[],
                   Err *err)
{
    AUTO_CTX(tmp, NULL);
    Life life = {.argv = argv, .env = merge_env(tmp, extra_env)};

    return start(ctx, &life, err);
}

Child *child_fork(const void *ctx, int (*body)(void *arg), void *arg, bool detached, Err *err)
{
    Life life = {.body = body, .arg = arg, .detached = detached};

    return start(ctx, &life, err);
}

/* one of the child's outputs on its way into memory */
typedef struct Capture {
    int fd; /* -1 after the end */
    Str *text;
    bool overflow;
} Capture;

/* takes what is there, up to READ_BYTES; *ret_more when there may be more of it */
static bool take(Capture *capture, size_t max_bytes, bool *ret_more, Err *err)
{
    char buf[READ_BYTES];

    *ret_more = false;
    if (capture->fd < 0)
        return true;
    ssize_t n = read(capture->fd, buf, sizeof buf);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return true;
    if (n < 0)
        return err_set(err, ERR_IO, "could not read from a child process: %s", strerror(errno));
    if (n == 0) {
        close_fd(&capture->fd);
        return true;
    }
    size_t room = max_bytes - capture->text->len;
    if ((size_t)n > room)
        capture->overflow = true;
    str_bytes(capture->text, buf, (size_t)n < room ? (size_t)n : room);
    *ret_more = true;
    return true;
}

/*
 * Reads both outputs until their end. A process that the child left in the background may hold them
 * open for ever, so the end of the child itself ends this as well, after all that was written by
 * then.
 */
static bool capture_outputs(const Child *child, Capture captures[2], const char *name,
                            size_t max_bytes, int64_t deadline, Err *err)
{
    bool ended = false;

    while (captures[0].fd >= 0 || captures[1].fd >= 0) {
        struct pollfd fds[2];
        size_t ready;
        bool more = false;
        int64_t slice = deadline_in(ended ? 0 : SLICE_MS);

        if (!ended)
            ended = has_ended(child);
        for (size_t i = 0; i < 2; i++)
            fds[i] = (struct pollfd){.fd = captures[i].fd, .events = POLLIN};
        if (!wait_fds(fds, 2, slice < deadline ? slice : deadline, &ready, err))
            return false;
        for (size_t i = 0; i < 2; i++) {
            bool one = false;

            if (fds[i].revents != 0 && !take(&captures[i], max_bytes, &one, err))
                return false;
            more = more || one;
        }
        if (captures[0].overflow)
            return err_set(err, ERR_IO, "\"%s\" wrote more than %zu bytes", name, max_bytes);
        if (ended && !more)
            break;
        if (!ended && deadline_left(deadline) == 0)
            return err_set(err, ERR_TIMEOUT, "\"%s\" did not end in time", name);
    }
    /* it has closed its outputs: the end is near */
    for (int64_t pause = 1; !has_ended(child); pause = longer(pause)) {
        if (deadline_left(deadline) == 0)
            return err_set(err, ERR_TIMEOUT, "\"%s\" did not end in time", name);
        if (!wait_ms(pause, err))
            return false;
    }
    return true;
}

bool child_run_capture(const void *ctx, const char *const argv[], const char *const extra_env[],
                       size_t max_bytes, int64_t deadline, char **ret_stdout, size_t *ret_len,
                       char **ret_stderr, int *ret_exit, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Child *child = child_new(tmp);
    int out[2] = {-1, -1}, errs[2] = {-1, -1};
    Capture captures[2] = {{.text = str_new(tmp)}, {.text = str_new(tmp)}};
    Life life = {.argv = argv, .env = merge_env(tmp, extra_env)};

    if (max_bytes > STR_MAX / 2)
        max_bytes = STR_MAX / 2;

    int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
    bool ok = null >= 0 || err_set(err, ERR_IO, "could not open /dev/null: %s", strerror(errno));
    ok = ok && new_pipe(out, err) && new_pipe(errs, err);
    ok = ok && spawn(&life, (Ends){null, out[1], errs[1]}, &child->pid, err);
    close_fd(&null);
    close_fd(&out[1]);
    close_fd(&errs[1]);
    captures[0].fd = out[0];
    captures[1].fd = errs[0];
    if (ok) {
        set_nonblocking(out[0]);
        set_nonblocking(errs[0]);
        ok = capture_outputs(child, captures, argv[0], max_bytes, deadline, err);
        child_end(child, 0);
    }
    close_fd(&captures[0].fd);
    close_fd(&captures[1].fd);
    if (!ok)
        return false;
    *ret_len = captures[0].text->len;
    *ret_stdout = talloc_steal(ctx, captures[0].text->text);
    *ret_stderr = talloc_steal(ctx, captures[1].text->text);
    *ret_exit = child->status;
    return true;
}
