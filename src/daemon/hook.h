/* Programs of the user that are run when something happens. */
#ifndef DAEMON_HOOK_H
#define DAEMON_HOOK_H

#include "daemon/plan.h"

/*
 * Runs command (NULL: nothing) by /bin/sh and waits for it, half a minute at most. What it does or fails
 * to do changes nothing here; failures are logged. error may be NULL.
 */
void run_hook(const EdgeSpec *edge, const char *command, const char *event, const char *state,
              const char *error);

#endif
