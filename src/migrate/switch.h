/*
 * A switch: the application moves from the node that takes writes to the other, in either
 * direction.
 *
 * The fence is an open transaction on the old node that holds every table against writers and has
 * swapped the gate; until it commits, losing this process or its connection undoes it on the server
 * by itself. While it is open the last changes are carried and everything is prepared on the other
 * node in another open transaction. Then the fence commits (the old node is closed for good), then
 * the other node's transaction: the point of no return. Dying between these two commits leaves both
 * nodes closed: the same command opens the new one, `upgrade` and `abort` reopen the old one.
 */
#ifndef MIGRATE_SWITCH_H
#define MIGRATE_SWITCH_H

#include "migrate/run.h"

/*
 * Switches to the node `to`. Before the point of no return every failure is undone and reported as
 * ERR_ABORTED; ERR_REFUSED when it was not even begun. When the application is on `to` already,
 * what comes after the point of no return (poolers, hook) is done again.
 */
CHECKED bool switch_application(Run *run, Side to, Err *err);

/*
 * A switch stopped half-way: reopens the node that took writes before it. In a run of all databases it
 * completes the switch instead where that has happened for the others.
 */
CHECKED bool switch_take_back(Run *run, Err *err);

/* one step between PAUSE and RESUME; the table is in switch.c */
typedef struct SwitchStep {
    const char *name;  /* of its fault points: switch.<name>.before, switch.<name>.after */
    const char *doing; /* for messages: "while …" */
} SwitchStep;

/* the i-th step, or NULL behind the last */
const SwitchStep *switch_step(size_t i);

#endif
