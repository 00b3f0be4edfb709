/*
 * A run: one upgrade with its two nodes, as its commands see it. All state is in the two databases;
 * this is what was read from them, plus the connections.
 *
 * Which node applications write to follows from the gates: exactly one is open. Both closed means
 * that a switch stopped between closing one node and opening the other; run_settle_gates() decides
 * that.
 */
#ifndef MIGRATE_RUN_H
#define MIGRATE_RUN_H

#include "migrate/config.h"
#include "migrate/edge.h"
#include "model/filter.h"
#include "model/selection.h"
#include "model/table.h"
#include "pg/conn.h"

typedef enum Side { SIDE_SOURCE, SIDE_TARGET } Side;

typedef struct NodeState {
    bool present;  /* the node has our schema */
    bool open;     /* applications may write here */
    int64_t epoch; /* number of the switch that set the gate */
    const char *run_id;
    const char *leader;    /* of a run of all databases, or "": see member.h */
    const char *selection; /* as selection_text() wrote it */
    const char *filters;   /* … filters_text() */
    int64_t voided;        /* switches of all databases up to this number do not happen any more */
} NodeState;

typedef struct Run {
    const Config *config;
    /* what it moves, or NULL: everything. Of the run when there is one, else of config */
    const Selection *selection;
    const Selection *selection_there; /* the same by the names of the target: see run_selection() */
    const Filters *filters;           /* rows that it moves, or NULL: all; in the same way */
    Conn *lock;                       /* on the target; its session holds the run's lock */
    Conn *conn[2];                    /* by Side */
    NodeState node[2];
    bool replica[2];    /* session_replication_role may be set there */
    bool awake_told[2]; /* that event triggers cannot sleep there was told */
    Catalog *catalog[2];
    Table *tables[2]; /* in the order of numbers; NULL until the capture phase */
    size_t n_tables;
    const char *phase; /* of the making of the copy; "" before anything is there */
    /* of ddl.h: when it last looked, whether something is left, and what keeps from a switch */
    char *ddl_mark;
    char *ddl_keys; /* the foreign keys then */
    char *ddl_told;
    bool ddl_left;
    const char **unsafe;
    size_t n_unsafe;
    bool aborting; /* see run_open_to_abort() */
    Edge *edge;    /* from the open node to the other; NULL until run_load_edge() */
} Run;

/*
 * keys of our advisory locks: on the target, who works on the run, and who would like to; on the source,
 * who begins a run, and who one of all databases (in the leader)
 */
enum { LOCK_RUN = 1, LOCK_WISH = 2, LOCK_BEGIN = 3, LOCK_BEGIN_ALL = 4 };

/* how run_open() treats the run's lock */
typedef enum RunLock {
    RUN_LOCK_NONE,    /* only looks: status, check */
    RUN_LOCK_TRY,     /* takes it when it is free; run->lock is NULL when it is not */
    RUN_LOCK_TAKE,    /* refuses when another process works on the run */
    RUN_LOCK_WAIT,    /* waits for as long as another process works on the run */
    RUN_LOCK_HANDOVER /* asks a following process to step aside, and waits for it */
} RunLock;

/*
 * Connects to both nodes, takes the lock, reads the state, and checks that both belong to the same
 * run and to this version of the program. The result is owned by ctx; freeing it closes the
 * connections.
 */
CHECKED Run *run_open(const void *ctx, const Config *config, RunLock lock, const char *purpose,
                      Err *err);

/* the same for `abort`, which may also remove a copy whose run never came to the source */
CHECKED Run *run_open_to_abort(const void *ctx, const Config *config, Err *err);

/*
 * Before a run begins: nobody else begins one of this source, until this connection ends, and nobody
 * has. Refuses if somebody does; `patient` where it may be a lost session of ours.
 */
CHECKED bool run_reserve_source(Run *run, bool patient, Err *err);

/* the same for a run of all databases, by a connection to the leader on the source */
CHECKED bool run_reserve_all(Conn *leader, Err *err);

/* reads gates and phase again */
CHECKED bool run_read_state(Run *run, Err *err);

/*
 * loads catalogs and tables of both nodes and makes run->edge, from the open node to the closed one
 */
CHECKED bool run_load_edge(Run *run, Err *err);

/* the side that applications write to; the source before there is anything else */
Side run_active(const Run *run);
/* a switch stopped half-way: both gates are closed */
bool run_is_halfway(const Run *run);
static inline Side side_other(Side side)
{
    return side == SIDE_SOURCE ? SIDE_TARGET : SIDE_SOURCE;
}
/* "source" or "target" */
const char *side_name(Side side);

/* what the run moves, by the names of that node */
const Selection *run_selection(const Run *run, Side side);
/*
 * The name on `side` of something of the run, which is called so on the other node. *name may be NULL: a schema.
 */
void run_name_on(const Run *run, Side side, const char **schema, const char **name);

/* gives the lock to whoever asked for it */
CHECKED bool run_release_lock(Run *run, Err *err);

/* whether the user accepted a finding by --accept */
bool config_accepts(const Config *config, const char *id);

/* another process waits for the lock (see RUN_LOCK_HANDOVER) */
CHECKED bool run_handover_wanted(Run *run, bool *ret_wanted, Err *err);

/* appends to the node's journal; ms < 0 for none. Failing to is only logged. */
void run_journal(Conn *conn, const char *event, const char *detail, double ms);

#endif
