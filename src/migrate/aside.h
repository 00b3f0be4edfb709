/*
 * Publications and event triggers, of runs that move whole databases. On the copy they are not made until it takes
 * over: an event trigger would fire for what pgtandem does there, and a publication would refuse changes of tables
 * without replica identity. A plan holds what the node that is to take over lacks, by the catalogs of both.
 *
 *     aside_plan(…)        right before the pause,
 *     aside_rehearse(…)    then what will be refused is known and told while everybody still works
 *     aside_publish(…)     in the transaction that opens the node,
 *     aside_trigger(…)     as the last thing there: event triggers fire from then on
 *     aside_remember(…)    in a transaction of the target that is committed with that one, or before
 *
 * None of it fails because something is refused.
 */
#ifndef MIGRATE_ASIDE_H
#define MIGRATE_ASIDE_H

#include "migrate/run.h"

typedef struct AsidePlan AsidePlan;

/* what has to be done on `to` so that it has what the other node has */
CHECKED AsidePlan *aside_plan(const void *ctx, Run *run, Side to, Err *err);

/* leaves out what the server refuses, and tells it */
CHECKED bool aside_rehearse(AsidePlan *plan, Err *err);

CHECKED bool aside_publish(AsidePlan *plan, Err *err);
CHECKED bool aside_trigger(AsidePlan *plan, Err *err);

/* on the target: what is carried from now on belongs to the run */
CHECKED bool aside_remember(const AsidePlan *plan, Conn *target, Err *err);

/* the other node has event triggers, awake or not */
bool aside_has_event_triggers(const AsidePlan *plan);

/* whether the other node still has what the plan was made from */
CHECKED bool aside_is_current(const AsidePlan *plan, bool *ret_current, Err *err);

/* one of them on a copy that is not as on the other node any more */
typedef struct AsideWork {
    const char *statement;
    const char *otherwise; /* without an owner and labels, which may be refused */
} AsideWork;

/* what the copy has already, and the other node has otherwise or no more */
CHECKED bool aside_follow(const void *ctx, Run *run, Side to, AsideWork **ret_work, size_t *ret_n,
                          Err *err);

/* drops what was not on the target before the run; event triggers first, as they would fire */
CHECKED bool aside_drop_new(Conn *target, Err *err);

#endif
