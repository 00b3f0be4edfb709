/* Waiting: see wait.h. A signal handler writes to a pipe that every poll() includes. */
#include "base/wait.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"

enum { EXTRA_FDS = 2 };

static int signal_pipe[2] = {-1, -1};
static int parent_fd = -1;
static volatile sig_atomic_t stop_signal;
static bool hup_reloads;
static volatile sig_atomic_t reload_wanted;
static int shield;

static void on_signal(int sig)
{
    int saved = errno;

    if (stop_signal != 0 && sig == SIGINT)
        _exit(130);
    if (sig == SIGHUP && hup_reloads)
        reload_wanted = 1;
    else
        stop_signal = sig;
    if (write(signal_pipe[1], "s", 1) < 0) {
        /* the pipe is full, so the reader will wake anyway */
    }
    errno = saved;
}

void wait_init(void)
{
    struct sigaction sa = {.sa_handler = on_signal};
    static const int signals[] = {SIGINT, SIGTERM, SIGHUP};

    if (signal_pipe[0] == -1 && pipe2(signal_pipe, O_CLOEXEC | O_NONBLOCK) != 0)
        abort();
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++)
        sigaction(signals[i], &sa, NULL);
    signal(SIGPIPE, SIG_IGN);
}

void wait_set_parent(int fd)
{
    parent_fd = fd;
}

bool wait_stopping(void)
{
    return stop_signal != 0;
}

void wait_hup_reloads(void)
{
    hup_reloads = true;
}

bool wait_reload_wanted(void)
{
    bool wanted = reload_wanted != 0;

    reload_wanted = 0;
    return wanted;
}

/* takes what the handler has written; the signal to stop is remembered elsewhere */
static void drain_signals(void)
{
    char bytes[16];

    while (read(signal_pipe[0], bytes, sizeof bytes) > 0) {
    }
}

void wait_shield(bool on)
{
    shield += on ? 1 : -1;
}

bool wait_fds(struct pollfd *fds, size_t n, int64_t deadline, size_t *ret_ready, Err *err)
{
    struct pollfd small[8];
    struct pollfd *all = small;
    size_t total = n + EXTRA_FDS;
    bool ok = false;

    if (total > sizeof small / sizeof *small)
        all = mem_array(NULL, struct pollfd, total);
    if (n > 0)
        memcpy(all, fds, n * sizeof *fds);
    for (;;) {
        bool watch = shield == 0;

        if (watch && stop_signal != 0) {
            err_set(err, ERR_CANCELED, "interrupted");
            break;
        }
        all[n] = (struct pollfd){.fd = watch ? signal_pipe[0] : -1, .events = POLLIN};
        all[n + 1] = (struct pollfd){.fd = watch ? parent_fd : -1, .events = 0};
        int rc = poll(all, total, deadline_left(deadline));
        if (rc < 0 && errno == EINTR)
            continue;
        if (rc < 0) {
            err_set(err, ERR_IO, "poll() failed: %s", strerror(errno));
            break;
        }
        if ((all[n].revents & POLLIN) != 0 && watch) {
            drain_signals();
            if (stop_signal != 0) {
                err_set(err, ERR_CANCELED, "interrupted");
                break;
            }
            continue; /* SIGHUP: whoever cares asks wait_reload_wanted() */
        }
        if ((all[n + 1].revents & (POLLHUP | POLLERR)) != 0) {
            err_set(err, ERR_CANCELED, "the parent process is gone");
            break;
        }
        if (n > 0)
            memcpy(fds, all, n * sizeof *fds);
        *ret_ready = (size_t)rc;
        ok = true;
        break;
    }
    if (all != small)
        talloc_free(all);
    return ok;
}

bool wait_ms(int64_t ms, Err *err)
{
    size_t ready;
    int64_t deadline = deadline_in(ms);

    do {
        if (!wait_fds(NULL, 0, deadline, &ready, err))
            return false;
    } while (deadline_left(deadline) > 0);
    return true;
}
