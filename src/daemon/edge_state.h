/*
 * The rows in which an edge's worker says how it is, and people say what they want of it: on the
 * target, so that any machine can read and write them.
 */
#ifndef DAEMON_EDGE_STATE_H
#define DAEMON_EDGE_STATE_H

#include "daemon/plan.h"

/* words of the state */
#define STATE_STARTING "starting"
#define STATE_COPYING "copying"
#define STATE_CATCHING_UP "catching up"
#define STATE_IN_STEP "in step"
#define STATE_PAUSED "paused"
#define STATE_PAUSING "pausing" /* only shown: it is told to, and something is still at work */
#define STATE_WAITING "waiting" /* for a kick, or for its time */
#define STATE_FAILED "failed"   /* it tries again */

typedef struct Wishes {
    bool paused;
    bool removing;
    int64_t kick_wanted;
    int64_t kick_done;
    int64_t to_copy; /* tables that are to be copied */
} Wishes;

/* nobody works on the edge, which is told to pause, and who has its lock has said that it rests */
CHECKED bool edge_state_rests(Conn *to, const char *edge, bool *ret_rests, Err *err);

CHECKED bool edge_state_wishes(Conn *to, const char *edge, Wishes *ret_wishes, Err *err);

/* err: why it is so, or NULL; the last error stays to be seen until the edge is in step again */
CHECKED bool edge_state_set(Conn *to, const char *edge, const char *state, const Err *why,
                            Err *err);

/* it works again: whoever wanted to remove it has to say so anew */
CHECKED bool edge_state_stay(Conn *to, const char *edge, Err *err);

/* in step at this moment */
CHECKED bool edge_state_touch(Conn *to, const char *edge, Err *err);

CHECKED bool edge_state_kick_done(Conn *to, const char *edge, int64_t kick, Err *err);

/* one table of an edge, under its name on the source */
typedef struct TableState {
    const char *schema;
    const char *name;
    const char *state;  /* new, recopy, ok, stopped, gone (not in the sync at present) */
    const char *reason; /* or NULL */
    int captures;       /* the source's number */
    int64_t rel;        /* its oid on the source, 0 when it is gone */
    int64_t target_rel; /* and on the target */
} TableState;

CHECKED bool edge_state_table(Conn *to, const char *edge, const TableState *table, Err *err);

/* the table with that oid on the source has another name now */
CHECKED bool edge_state_rename(Conn *to, const char *edge, int64_t rel, const char *schema,
                               const char *name, Err *err);

#endif
