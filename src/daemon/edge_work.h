/*
 * The worker of one edge, in three files: edge_work.c takes its place and makes rounds, edge_prepare.c
 * finds out what there is to do and installs it, edge_copy.c copies tables.
 */
#ifndef DAEMON_EDGE_WORK_H
#define DAEMON_EDGE_WORK_H

#include "daemon/conflict.h"
#include "daemon/edge_state.h"
#include "daemon/plan.h"
#include "migrate/edge.h"
#include "sql/queries.h"

/* one turn: what is known of the edge as long as its connections live */
typedef struct Work {
    const Service *service;
    const EdgeSpec *spec;
    const char *owner;
    Conn *from;
    Conn *to;
    Plan *plan;
    Edge *edge;
    ConflictFilter conflicts;
    ApplyFilter filter;
    Wishes wishes;
    const char *state;     /* as it was last written down */
    int64_t parked_ms;     /* when parked rows were last tried again */
    int64_t last_round_ms; /* when a round was last made */
    int64_t busy_ms;       /* when one last found something */
    int64_t look_ms;       /* the longest pause between two looks while there are changes */
    int64_t wishes_ms, touch_ms, definitions_ms, consumer_ms;
    char *looked;            /* edge->looked when the definitions were last compared, */
    int64_t looked_for_kick; /* … and the number of the kick */
    bool reloaded;           /* people want to see what they changed */
} Work;

/* writes down how the edge is, tells the log and the user's hook; state is one of edge_state.h */
CHECKED bool work_say_state(Work *w, const char *state, Err *err);

/*
 * Plan, what has to be in both databases, and Edge. A first time is refused with all problems before anything
 * is installed (ERR_REFUSED).
 */
CHECKED bool work_prepare(Work *w, Err *err);

/* the row of that name, or NULL */
const EdgeTablesRow *work_find_listed(const EdgeTablesRow *rows, size_t n, const Table *table);

/* the state of a table of the plan; reason may be NULL */
CHECKED bool work_put_table(Work *w, const PlannedTable *t, const char *state, const char *reason,
                            Err *err);

/* what is to be copied; *ret_outdated: the plan has to be made anew */
CHECKED bool work_copy_tables(Work *w, bool *ret_outdated, Err *err);

/* a fullcopy target: all tables in one transaction */
CHECKED bool work_copy_everything(Work *w, Err *err);

/* a round is committed: the tables that it carried whole are as they should be */
CHECKED bool work_note_whole(Work *w, Err *err);

#endif
