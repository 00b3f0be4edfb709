/* The queue of captured changes: see queue.h. */
#include "capture/queue.h"

#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "pg/sqlstate.h"

/* a segment below this size is not worth truncating (bytes); reading it costs next to nothing */
enum { PURGE_MIN_BYTES = 1024 * 1024 };

int64_t snapshot_xmax(const char *snapshot)
{
    const char *colon = snapshot == NULL ? NULL : strchr(snapshot, ':');

    return colon == NULL ? 0 : strtoll(colon + 1, NULL, 10);
}

/* " AND (q.txid >= xmax OR q.txid IN (…))": not visible in the snapshot `since` */
static void add_window(Sql *q, const char *since)
{
    if (since == NULL)
        return;
    const char *in_progress = strchr(strchr(since, ':') + 1, ':') + 1;
    sql_add(q, " AND (q.txid >= ");
    sql_number(q, snapshot_xmax(since));
    if (*in_progress != '\0') {
        sql_add(q, " OR q.txid = ANY ('{");
        sql_trusted(q, in_progress);
        sql_add(q, "}'::bigint[])");
    }
    sql_add(q, ")");
}

#define BOTH_SEGMENTS                                                                              \
    "(SELECT txid, tab, k, ka FROM pgtandem.queue_0 UNION ALL SELECT txid, tab, k, ka FROM "       \
    "pgtandem.queue_1)"

bool queue_begin(const void *ctx, Conn *conn, const char *since, Pending **ret_pending,
                 size_t *ret_n, const char **ret_snapshot, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Sql *q = sql_new(tmp);
    Rows *rows;
    Pending *pending = NULL;
    size_t n = 0;

    sql_add(q,
            "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; "
            "SELECT 0, 0, false, txid_current_snapshot()::text UNION ALL ("
            "SELECT q.tab, count(*), bool_or(q.k IS NULL AND q.ka IS NULL), '' FROM " BOTH_SEGMENTS
            " q WHERE true");
    add_window(q, since);
    sql_add(q, " GROUP BY q.tab ORDER BY q.tab)");
    if (!conn_query(tmp, conn, q, &rows, err)) {
        conn_rollback(conn);
        return err_add(err, "while reading captured changes");
    }
    for (size_t i = 0; i < rows_count(rows); i++) {
        Pending p = {.tab = (int)rows_i64(rows, i, 0),
                     .changes = rows_i64(rows, i, 1),
                     .whole = rows_bool(rows, i, 2)};

        if (p.tab == 0)
            *ret_snapshot = mem_strdup(ctx, rows_text(rows, i, 3));
        else
            mem_push(ctx, pending, n, p);
    }
    *ret_pending = pending;
    *ret_n = n;
    return true;
}

Sql *queue_keys(const void *ctx, const Table *table, const char *since)
{
    Sql *q = sql_new(ctx);

    sql_add(q, "SELECT DISTINCT ");
    for (size_t k = 0; k < table->n_keys; k++) {
        if (k > 0)
            sql_add(q, ", ");
        if (table->key_is_int) {
            sql_add(q, "q.k::");
        } else {
            sql_add(q, "(q.ka[");
            sql_number(q, (int64_t)k + 1);
            sql_add(q, "])::");
        }
        sql_trusted(q, table->keys[k].type);
        if (table->keys[k].collation != NULL) {
            sql_add(q, " COLLATE ");
            sql_trusted(q, table->keys[k].collation);
        }
        sql_add(q, " AS k");
        sql_number(q, (int64_t)k + 1);
    }
    sql_add(q, " FROM " BOTH_SEGMENTS " q WHERE q.tab = ");
    sql_number(q, table->id);
    if (table->key_is_int)
        sql_add(q, " AND q.k IS NOT NULL");
    else
        sql_add(q, " AND q.ka IS NOT NULL");
    add_window(q, since);
    return q;
}

/* TRUNCATE of one segment if nothing in it is still needed; not being able to is no error */
static bool purge_segment(Conn *conn, int segment, const char *applied, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Sql *q = sql_new(tmp);
    Rows *rows;

    sql_add(q, "BEGIN; LOCK TABLE pgtandem.queue_");
    sql_number(q, segment);
    sql_add(q, " IN ACCESS EXCLUSIVE MODE NOWAIT; SELECT EXISTS (SELECT 1 FROM pgtandem.queue_");
    sql_number(q, segment);
    sql_add(q, " q WHERE NOT txid_visible_in_snapshot(q.txid, ");
    sql_literal(q, applied);
    sql_add(q, "))");
    if (!conn_query(tmp, conn, q, &rows, err)) {
        bool busy = err_is(err, SQLSTATE_LOCK_NOT_AVAILABLE);

        conn_rollback(conn);
        if (busy)
            err_clear(err);
        return busy;
    }
    if (rows_bool(rows, 0, 0)) {
        conn_rollback(conn);
        return true;
    }
    q = sql_new(tmp);
    sql_add(q, "TRUNCATE pgtandem.queue_");
    sql_number(q, segment);
    sql_add(q, "; UPDATE pgtandem.purged SET snapshot = ");
    sql_literal(q, applied);
    sql_add(q, "; COMMIT");
    if (!conn_exec(conn, q, err)) {
        conn_rollback(conn);
        return err_add(err, "while purging the queue");
    }
    return true;
}

bool queue_purge(Conn *conn, const char *applied, bool force, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Sql *q = sql_new(tmp);
    Rows *rows;

    if (applied == NULL)
        return true;
    sql_add(q, "SELECT pg_relation_size('pgtandem.queue_0'), pg_relation_size('pgtandem.queue_1')");
    if (!conn_query(tmp, conn, q, &rows, err))
        return false;
    for (int segment = 0; segment < 2; segment++)
        if (rows_i64(rows, 0, segment) > (force ? 0 : PURGE_MIN_BYTES) &&
            !purge_segment(conn, segment, applied, err))
            return false;
    return true;
}

bool queue_snapshot(const void *ctx, Conn *conn, const char **ret_snapshot, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Sql *q = sql_new(tmp);
    Rows *rows;

    sql_add(q, "SELECT txid_current_snapshot()::text");
    if (!conn_query(tmp, conn, q, &rows, err))
        return false;
    *ret_snapshot = mem_strdup(ctx, rows_text(rows, 0, 0));
    return true;
}

bool queue_bytes(Conn *conn, int64_t *ret_bytes, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Sql *q = sql_new(tmp);
    Rows *rows;

    sql_add(q,
            "SELECT pg_relation_size('pgtandem.queue_0') + pg_relation_size('pgtandem.queue_1')");
    if (!conn_query(tmp, conn, q, &rows, err))
        return false;
    *ret_bytes = rows_i64(rows, 0, 0);
    return true;
}
