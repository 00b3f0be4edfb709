/*
 * Large objects of a run. No trigger can be put on their catalogs, so changes are found by looking:
 * every row of pg_largeobject says which transaction wrote it. The first copy goes page by page in
 * the order of the key; from then on a look takes a snapshot, reads what was written since the last
 * one in a single scan, and records the snapshot when all of it is applied. A look finds everything, but only one while nobody can write is the last one: see large_lock().
 *
 * Only superusers may read these catalogs and lock them, so it takes one on both nodes.
 */
#ifndef MIGRATE_LARGE_H
#define MIGRATE_LARGE_H

#include "migrate/edge.h"
#include "pg/conn.h"

typedef struct LargeStats {
    int64_t pages;   /* written */
    int64_t objects; /* created, or with another owner, other rights or another comment */
    int64_t dropped;
    int64_t ms;
} LargeStats;

/* whether our roles on both nodes may carry large objects */
CHECKED bool large_may_carry(Conn *a, Conn *b, bool *ret_may, Err *err);

/* whether there are large objects on the node */
CHECKED bool large_exist(Conn *conn, bool *ret_exist, Err *err);

/* one look; the first one copies everything, and goes on where it was stopped */
CHECKED bool large_carry(Edge *edge, LargeStats *ret_stats, Err *err);

/*
 * Before a switch: from now on a look reads the pages only that were written since, as the server's
 * visibility map tells. That needs the extension pg_visibility, which is created in our schema; where
 * it is not there, or when little would be gained, nothing changes. The horizons are sessions on the
 * same node; the second has to stay as it is until the last look: large_widen() is for when it is lost.
 */
CHECKED bool large_narrow(Edge *edge, Conn *const horizon[2], Err *err);
void large_widen(Edge *edge);

/*
 * the statement that keeps everybody else from reading and writing large objects until the
 * transaction ends (opening one to read takes the same lock as to write)
 */
Sql *large_lock(const void *ctx);

/*
 * in the transaction that closes a node: takes the functions that write large objects from everybody
 * but superusers, until the node wakes (sleep.h)
 */
CHECKED bool large_close(Conn *conn, Err *err);

/* removes all large objects from a copy that is given up, if we brought them */
CHECKED bool large_drop_all(Conn *conn, Err *err);

#endif
