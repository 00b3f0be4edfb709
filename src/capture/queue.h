/*
 * The queue of captured changes on a node: what is pending for the peer, and purging what it has.
 *
 * A round handles the deltas that its snapshot S2 sees and the previous one, S1, did not. Seeing is
 * left to MVCC itself (the round's transaction is REPEATABLE READ, so its snapshot is S2); "not in
 * S1" is: an id at or after xmax(S1), or one that was in progress in S1. Nothing depends on clocks
 * or on the order of ids.
 */
#ifndef CAPTURE_QUEUE_H
#define CAPTURE_QUEUE_H

#include "model/table.h"
#include "pg/conn.h"

/* what happened to one table since the last round */
typedef struct Pending {
    int tab;
    int64_t changes;  /* deltas, before doubles collapse */
    bool whole;       /* it was truncated: all rows of the peer go first */
    bool all_rows;    /* the same, and every row has to be carried, whatever its key */
    bool inserts;     /* many, and nothing but INSERTs: each key is there once, new to the peer */
    const char *keys; /* the changed keys as an array literal; NULL: too many to be named */
    const char
        *more; /* keys to be carried though nothing was captured, written likewise; or NULL */
} Pending;

/* which deltas are read */
typedef struct Window {
    const char *since; /* S1 as text; NULL: from the beginning */
    const char *tabs; /* only of these tables: an array of their numbers, also negated; NULL: all */
    bool own_only;    /* without what rounds of ours applied there, */
    const char *but;  /* … except those of edges whose names begin so (may be NULL) */
    const char *back; /* never what this edge applied there (may be NULL) */
    bool timed;       /* queue_keys() also tells when: column at */
    bool skipping; /* queue_keys() leaves out what `back` has met as a conflict that nobody wins */
} Window;

/*
 * Begins the round's transaction on the source and lists the changed tables. *ret_snapshot is S2. On success the transaction is left open (the
 * rows are to be read in it), also when nothing is pending.
 */
CHECKED bool queue_begin(const void *ctx, Conn *conn, const Window *window, Pending **ret_pending,
                         size_t *ret_n, const char **ret_snapshot, Err *err);

/* SELECT … AS k1, k2 …: the pending keys of one table, typed as its columns; for the round */
Sql *queue_keys(const void *ctx, const Table *table, const Pending *pending, const Window *window);

/* in the round: whether the table was truncated, or all its rows have to be carried */
CHECKED bool queue_has_mark(Conn *conn, int tab, const Window *window, bool *ret_mark, Err *err);

/* a table without key that changed since it was last copied */
typedef struct ChangedTable {
    int tab;
    int64_t mark; /* to be remembered as copied_mark once it is copied */
} ChangedTable;

/*
 * Compares the marks on `from` with those that `to` remembers. Exact only while nobody can write on
 * `from`: a mark is set before the change that it stands for is committed.
 */
CHECKED bool queue_changed_keyless(const void *ctx, Conn *from, Conn *to,
                                   ChangedTable **ret_changed, size_t *ret_n, Err *err);

/* *ret_worth: a segment is large enough that purging is worth its locks */
CHECKED bool queue_is_worth_purging(Conn *conn, bool *ret_worth, Err *err);

/*
 * Notes that `edge` (NULL: nobody) has everything in the snapshot `applied`, durably, and empties the large segments
 * whose deltas all edges have. Takes no lock that it has to wait for; what cannot be purged now is
 * purged later.
 */
CHECKED bool queue_purge(Conn *conn, const char *edge, const char *applied, Err *err);

/* the node's current txid_snapshot as text, in a statement of its own */
CHECKED bool queue_snapshot(const void *ctx, Conn *conn, const char **ret_snapshot, Err *err);

/* total size of the queue on disk in bytes */
CHECKED bool queue_bytes(Conn *conn, int64_t *ret_bytes, Err *err);

/* from now on deltas of this node say when they were made; waits for its locks in short tries */
CHECKED bool queue_keep_times(Conn *conn, Err *err);

/* xmax of a txid_snapshot text; 0 for NULL */
int64_t snapshot_xmax(const char *snapshot);

#endif
