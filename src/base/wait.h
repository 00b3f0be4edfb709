/*
 * The one place in which the program waits. Everything that blocks goes through
 * wait_fd()/wait_ms(), which also watch for signals (SIGINT, SIGTERM, SIGHUP) and, in a worker
 * process, for the death of its parent; both come back as ERR_CANCELED. So no loop asks "was I told
 * to stop?".
 */
#ifndef BASE_WAIT_H
#define BASE_WAIT_H

#include <poll.h>
#include <stdint.h>

#include "base/err.h"
#include "base/mem.h"

/* installs the signal handlers; call once, early. A second SIGINT kills at once. */
void wait_init(void);

/* fd whose end-of-file means that the parent process is gone; -1 for none */
void wait_set_parent(int fd);

/* true after a signal asked to stop */
bool wait_stopping(void);

/* from now on SIGHUP asks for a reload instead of an end; wait_reload_wanted() tells it once */
void wait_hup_reloads(void);
bool wait_reload_wanted(void);

/*
 * While shielded, signals and the parent's death do not interrupt waits: for undo work and for the
 * few round trips around a point of no return. Nests.
 */
void wait_shield(bool on);

/*
 * Waits until one of the n fds is ready (revents filled), or the deadline passes. ret_ready: number
 * of ready fds, 0 at the deadline. False only for ERR_CANCELED or a failed poll().
 */
CHECKED bool wait_fds(struct pollfd *fds, size_t n, int64_t deadline, size_t *ret_ready, Err *err);

/* sleeps; false with ERR_CANCELED when told to stop */
CHECKED bool wait_ms(int64_t ms, Err *err);

#endif
