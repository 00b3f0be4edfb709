/*
 * An edge: one direction of replication, from the node that takes writes to the other. A round
 * takes what is pending on `from` at one snapshot and applies all of it to `to` in one transaction,
 * together with the snapshot itself; so `to` moves from one consistent state of `from` to the next,
 * and a crash repeats or skips nothing.
 */
#ifndef MIGRATE_EDGE_H
#define MIGRATE_EDGE_H

#include "apply/apply.h"
#include "capture/queue.h"
#include "model/table.h"
#include "pg/conn.h"

/* the one edge of a run; those of the service are called "sync/source" */
#define EDGE_OF_RUN "run"

typedef struct Edge {
    const char *name; /* of its rows in progress and consumer */
    Conn *from;
    Conn *to;
    TablePair *
        pairs; /* in the order of src->id; in a run, pairs[i] is table number i + 1 until tables are dropped */
    size_t n_pairs;
    int *
        gone; /* in a run: numbers of tables that were dropped; changes of theirs are passed over */
    size_t n_gone;
    bool service;  /* of the service: others read `from` too, and tables of `to` may be captured */
    bool ordered;  /* foreign keys of `to` act: tables are written in the order of pairs[].rank */
    Window window; /* which changes are carried; since is filled in for each round */
    ApplyFilter *filter; /* looks at staged keys before they are applied; or NULL */
    /* run on `to` before and behind a round's changes, in its transaction; or NULL */
    const char *before_sql, *after_sql;
    int *
        whole; /* tables (by number) of which the next round carries every row, and takes others away */
    size_t n_whole;
    Pending *more; /* keys that the next round carries, too */
    size_t n_more;
    SequenceState *sequences;
    size_t n_sequences;
    const char *registration; /* of the row in consumer that the progress belongs to */
    char *applied;            /* snapshot of `from` that `to` has; NULL before the first round */
    char *looked;             /* later snapshot of `from` up to which nothing is pending, or NULL */
    bool replace_next;        /* unique values collided: the next round deletes before it inserts */
    int64_t purged_ms;        /* when the queue was last looked at for purging */
    int64_t unpurged_changes; /* since then */
    int64_t sequences_ms;     /* when sequences were last carried */
    bool large;               /* large objects are carried, too: large.h */
    int64_t large_ms;         /* when they were last looked at, */
    int64_t large_took_ms;    /* and how long that took */
    const char *large_map;    /* a look may leave out pages: large_narrow(); or NULL */
} Edge;

typedef struct RoundStats {
    int64_t changes; /* deltas handled */
    int64_t rows;    /* keys after doubles collapsed */
    int64_t bytes;
    int64_t ms;
    size_t tables;
    bool
        outdated; /* columns of a table have changed: nothing was done, the pairs have to be made anew */
} RoundStats;

/* what tells a node from others, as progress remembers its peer; *ret_id belongs to ctx */
CHECKED bool edge_peer_id(const void *ctx, Conn *node, const char **ret_id, Err *err);

/* whether both connections lead to the same database of the same running server */
CHECKED bool edge_same_server(Conn *a, Conn *b, bool *ret_same, Err *err);
CHECKED bool edge_same_database(Conn *a, Conn *b, bool *ret_same, Err *err);

/*
 * whether columns or partitions of some tables (by number) are others in the running transaction of `from`
 * than when the pairs were made
 */
CHECKED bool edge_is_outdated(Edge *edge, const Pending *pending, size_t n, bool *ret_outdated,
                              Err *err);

/* writes to the progress on `to` which server, database and timeline `from` is */
CHECKED bool edge_record_peer(const char *edge, Conn *from, Conn *to, Err *err);

/* reads progress and identity of the peer, and refuses an edge whose source went back in time */
CHECKED bool edge_check(Edge *edge, bool accept_timeline, Err *err);

/* one round; *ret_stats is zero when nothing was pending */
CHECKED bool edge_round(Edge *edge, RoundStats *ret_stats, Err *err);

/* carries the sequences that moved */
CHECKED bool edge_sequences(Edge *edge, size_t *ret_moved, Err *err);

/* purges the queue on `from` now and then, when it is worth it */
CHECKED bool edge_purge(Edge *edge, Err *err);

/*
 * writes an edge's row into a table of ours unless it is there, in the caller's transaction; table is a
 * fixed name: "progress" where it ends, "consumer" where it begins
 */
CHECKED bool edge_register(const char *table, const char *edge, Conn *conn, Err *err);

/*
 * in a transaction of `to` that applies what was read elsewhere than in a round: notes on both sides how often `from`
 * was read. Ends the transaction of `from`.
 */
CHECKED bool edge_vouch(Edge *edge, Err *err);

/* begins the transaction of `to` that applies something, and marks it as ours */
CHECKED bool edge_begin_apply(Edge *edge, Err *err);

/* the pair with that number, or NULL */
TablePair *edge_find_pair(const Edge *edge, int tab);

/*
 * replaces the rows of one table's pending keys, so that no row is there twice: ends its initial
 * copy
 */
CHECKED bool edge_settle_table(TablePair *pair, Conn *from, Conn *to, Err *err);

/* rounds until one finds at most max_changes; calls on_round (may be NULL) after each */
CHECKED bool edge_catch_up(Edge *edge, int64_t max_changes,
                           void (*on_round)(void *arg, const RoundStats *round), void *arg,
                           Err *err);

#endif
