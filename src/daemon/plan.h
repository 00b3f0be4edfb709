/*
 * What one edge of a sync has to carry: which tables under which names and columns, and what stands in
 * the way of each. Made from the configuration and the catalogs of both databases; changes nothing.
 */
#ifndef DAEMON_PLAN_H
#define DAEMON_PLAN_H

#include "capture/queue.h"
#include "model/service.h"
#include "model/table.h"
#include "pg/conn.h"

/* one direction of a sync */
typedef struct EdgeSpec {
    const Sync *sync;
    const Db *from;
    const Db *to;
    bool full;        /* the role fullcopy */
    const char *name; /* "sync/from/to": of its rows in the databases */
    const char *back; /* the name of the opposite edge when `to` is a source as well, else NULL */
    const char *
        mine; /* "sync/" when changes that came to `from` by the sync's other edges go on; or NULL */
} EdgeSpec;

typedef struct PlannedTable {
    Table src;
    Table dst;
    TablePair pair;      /* of src and dst; not complete when there is a problem */
    const char *problem; /* why it cannot be carried, or NULL */
    const char *hint;
    int captures; /* how often capture had to be put on again */
    int line;     /* of the configuration file, 0 when it does not name the table */
} PlannedTable;

typedef struct Plan {
    PlannedTable *tables; /* by name */
    size_t n_tables;
    PlannedTable
        *missing; /* named in the file, but not there; only problem, hint and line are set */
    size_t n_missing;
    const Sequence **sequences;
    size_t n_sequences;
    const char *print[2]; /* definitions of the source and the target, see plan_is_old() */
    const char *relids[2];
} Plan;

/* all edges of a sync; an array of n owned by ctx */
EdgeSpec *edges_of_sync(const void *ctx, const Sync *sync, size_t *ret_n);

/* from a source to the hub of a sync of several sources */
bool edge_leads_to_hub(const EdgeSpec *edge);

/* which changes it carries; since is not filled in */
Window edge_window(const EdgeSpec *edge);

/* the opposite of an edge that has one */
EdgeSpec edge_back(const EdgeSpec *edge);

CHECKED bool plan_make(const void *ctx, const EdgeSpec *edge, Conn *from, Conn *to, Plan **ret_plan,
                       Err *err);

/* *ret_old: definitions in the source (which 0, from) or the target (1, to) have changed since the plan was made */
CHECKED bool plan_is_old(const Plan *plan, int which, Conn *conn, bool *ret_old, Err *err);

/* what to do when the role may not set session_replication_role */
CHECKED bool plan_role_hint(const void *ctx, Conn *to, const char **ret_hint, Err *err);

#endif
