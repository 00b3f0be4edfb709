/*
 * Following: carrying changes from the node that takes writes to the other until told to stop.
 */
#ifndef MIGRATE_FOLLOW_H
#define MIGRATE_FOLLOW_H

#include "migrate/run.h"

/*
 * Follows for ever, or until another command asks for the run (*ret_handover). Ends with
 * ERR_CANCELED on a signal. Errors of servers and network are returned for the caller to reconnect.
 */
CHECKED bool follow(Run *run, bool *ret_handover, Err *err);

/*
 * What must be in place before the first round: what has to sleep on the copy sleeps, and run->edge
 * is loaded. Idempotent; whoever makes rounds in the phase of following calls it first.
 */
CHECKED bool follow_prepare(Run *run, Err *err);

/* rounds until the last one was short, so that a switch may begin */
CHECKED bool follow_until_close(Run *run, Err *err);
/* the same after follow_prepare() */
CHECKED bool rounds_until_close(Run *run, Err *err);

#endif
