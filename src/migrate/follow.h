/*
 * Following: carrying changes from the node that takes writes to the other until told to stop.
 */
#ifndef MIGRATE_FOLLOW_H
#define MIGRATE_FOLLOW_H

#include "migrate/run.h"

/*
 * Follows for ever, or until another command asks for the run (*ret_handover). Ends with ERR_CANCELED on a
 * signal. Errors of servers and network are returned for the caller to reconnect.
 */
CHECKED bool follow(Run *run, bool *ret_handover, Err *err);

/* rounds until the last one was short, so that a switch may begin */
CHECKED bool follow_until_close(Run *run, Err *err);

#endif
