/* Conflicts: see conflict.h. */
#include "daemon/conflict.h"

#include <string.h>

#include "base/log.h"
#include "base/str.h"
#include "capture/queue.h"
#include "pg/sqlstate.h"
#include "sql/queries.h"

/* stage.k1 = other.k1 AND …, with the key's own operators; both aliases are fixed words of ours */
static void add_key_match(Sql *q, const TablePair *pair, const char *other)
{
    for (size_t k = 0; k < pair->dst->n_keys; k++) {
        if (k > 0)
            sql_add(q, " AND ");
        sql_trusted(q, other);
        if (strcmp(other, "t") == 0) {
            sql_add(q, ".");
            sql_ident(q, pair->dst->keys[k].name);
        } else {
            sql_add(q, ".k");
            sql_number(q, (int64_t)k + 1);
        }
        sql_add(q, " ");
        sql_trusted(q, pair->dst->keys[k].eq_op);
        sql_add(q, " s.k");
        sql_number(q, (int64_t)k + 1);
    }
}

/* below the usual deadlock_timeout: when the application has locked rows in another order, we give way */
enum { LOCK_MS = 300 };

/*
 * From now on nobody else can change the staged rows that exist on `to`. *ret_locked is false when
 * somebody has one of them for longer.
 */
static bool lock_rows(const TablePair *pair, Conn *to, bool *ret_locked, int64_t *ret_n, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Sql *q = sql_new(tmp);
    Rows *rows;

    sql_add(q, "SET LOCAL lock_timeout = ");
    sql_number(q, LOCK_MS);
    sql_add(q, "; SELECT count(*) FROM (SELECT 1 FROM ");
    sql_trusted(q, table_ref(tmp, pair->dst));
    sql_add(q, " t JOIN ");
    sql_trusted(q, apply_stage_sql(tmp, pair));
    sql_add(q, " s ON (");
    add_key_match(q, pair, "t");
    sql_add(q, ") FOR UPDATE OF t) x");
    *ret_locked = conn_query(tmp, to, q, &rows, err);
    if (*ret_locked) {
        *ret_n = rows_i64(rows, 0, 0);
        return conn_do(to, "SET LOCAL lock_timeout = 0", err);
    }
    return err_is(err, SQLSTATE_LOCK_NOT_AVAILABLE) || err_is(err, SQLSTATE_DEADLOCK);
}

/* how much of the changes of `to` the other side had in the round's snapshot; NULL: nothing */
static bool read_peer_progress(const void *ctx, const ConflictFilter *filter,
                               const char **ret_snapshot, Err *err)
{
    ProgressRow *progress;
    size_t n;

    if (!q_progress(ctx, filter->from, filter->spec->back, &progress, &n, err))
        return false;
    *ret_snapshot = n == 1 ? progress->snapshot : NULL;
    return true;
}

/* row_to_json of the carried columns: of the stage (c1 …) or of the table (alias t) */
static void add_json(Sql *q, const TablePair *pair, bool staged)
{
    sql_add(q, "(SELECT row_to_json(x)::text FROM (SELECT ");
    for (size_t i = 0; i < pair->n_columns; i++) {
        if (i > 0)
            sql_add(q, ", ");
        if (staged) {
            sql_add(q, "s.c");
            sql_number(q, (int64_t)i + 1);
        } else {
            sql_add(q, "t.");
            sql_ident(q, pair->columns[i]->name);
        }
        sql_add(q, " AS ");
        sql_ident(q, pair->columns[i]->name);
    }
    sql_add(q, ") x)");
}

/* the changes of `to` that the other side does not know of, by key: k1 …, at */
static void add_local_changes(Sql *q, const ConflictFilter *filter, const TablePair *pair,
                              const char *since)
{
    const Window window = {.since = since, .back = filter->spec->name};

    sql_add(q, "SELECT ");
    for (size_t k = 0; k < pair->dst->n_keys; k++) {
        if (pair->dst->key_is_int) {
            sql_add(q, "q.k::");
        } else {
            sql_add(q, "q.ka[");
            sql_number(q, (int64_t)k + 1);
            sql_add(q, "]::");
        }
        sql_trusted(q, pair->dst->keys[k].type);
        sql_add(q, " AS k");
        sql_number(q, (int64_t)k + 1);
        sql_add(q, ", ");
    }
    sql_add(q, "max(q.at) AS at FROM ");
    sql_trusted(q, queue_segments);
    sql_add(q, " q WHERE q.tab IN (");
    sql_number(q, pair->dst->id);
    sql_add(q, ", ");
    sql_number(q, -pair->dst->id);
    sql_trusted(q, pair->dst->key_is_int ? ") AND q.k IS NOT NULL" : ") AND q.ka <> '{}'");
    queue_add_window(q, &window);
    sql_add(q, " GROUP BY ");
    for (size_t k = 0; k < pair->dst->n_keys; k++) {
        if (k > 0)
            sql_add(q, ", ");
        sql_number(q, (int64_t)k + 1);
    }
}

/* the place of a database in the rule's list, or in the sync where the rule is no list */
static size_t rank_of(const Sync *sync, const Db *db)
{
    for (size_t i = 0; i < sync->n_preferred; i++)
        if (sync->preferred[i] == db)
            return i;
    for (size_t i = 0; i < sync->n_members; i++)
        if (sync->members[i].db == db)
            return sync->n_preferred + i;
    return SIZE_MAX;
}

/* an SQL expression: the name of the winning database; c has from_at, to_at, from_row, to_row, key */
static void add_winner(Sql *q, const EdgeSpec *spec, const TablePair *pair)
{
    const Sync *sync = spec->sync;
    bool from_first = rank_of(sync, spec->from) < rank_of(sync, spec->to);

    if (sync->conflict == CONFLICT_LATEST) {
        sql_add(
            q, "CASE WHEN coalesce(c.from_at, '-infinity') = coalesce(c.to_at, '-infinity') THEN ");
        sql_literal(q, from_first ? spec->from->name : spec->to->name);
        sql_add(q, " WHEN coalesce(c.from_at, '-infinity') > coalesce(c.to_at, '-infinity') THEN ");
        sql_literal(q, spec->from->name);
        sql_add(q, " ELSE ");
        sql_literal(q, spec->to->name);
        sql_add(q, " END");
    } else if (sync->conflict == CONFLICT_FUNCTION) {
        sql_trusted(q, sync->conflict_function);
        sql_add(q, "(");
        sql_literal(q, pair->src->schema);
        sql_add(q, ", ");
        sql_literal(q, pair->src->name);
        sql_add(q, ", c.key, ");
        /* the same arguments on both sides: the one that comes first in the file is the first */
        sql_literal(q, from_first ? spec->from->name : spec->to->name);
        sql_trusted(q, from_first ? ", c.from_row, c.from_at, " : ", c.to_row, c.to_at, ");
        sql_literal(q, from_first ? spec->to->name : spec->from->name);
        sql_trusted(q, from_first ? ", c.to_row, c.to_at)" : ", c.from_row, c.from_at)");
    } else {
        sql_literal(q, from_first ? spec->from->name : spec->to->name);
    }
}

/* finds, records and settles; the result is how many were found, and how many this side won */
static Sql *settle_statement(const void *ctx, const ConflictFilter *filter, const TablePair *pair,
                             const char *since)
{
    const EdgeSpec *spec = filter->spec;
    const char *stage = apply_stage_sql(ctx, pair);
    Sql *q = sql_new(ctx);

    sql_add(q, "WITH e AS (SELECT s.ctid AS sid, s.present FROM ");
    sql_trusted(q, stage);
    sql_add(q, " s JOIN ");
    sql_trusted(q, table_ref(ctx, pair->dst));
    sql_add(q, " t ON (");
    add_key_match(q, pair, "t");
    sql_add(q, ")), local AS (");
    add_local_changes(q, filter, pair, since);
    sql_add(q, "), c AS (SELECT s.ctid AS sid, ARRAY[");
    for (size_t k = 0; k < pair->dst->n_keys; k++) {
        sql_trusted(q, k > 0 ? ", s.k" : "s.k");
        sql_number(q, (int64_t)k + 1);
        sql_add(q, "::text");
    }
    sql_add(q, "] AS key, s.at AS from_at, l.at AS to_at, CASE WHEN s.present THEN ");
    add_json(q, pair, true);
    sql_add(q, " END AS from_row, (SELECT ");
    add_json(q, pair, false);
    sql_add(q, " FROM ");
    sql_trusted(q, table_ref(ctx, pair->dst));
    sql_add(q, " t WHERE ");
    add_key_match(q, pair, "t");
    sql_add(q, ") AS to_row FROM ");
    sql_trusted(q, stage);
    sql_add(q, " s JOIN local l ON (");
    add_key_match(q, pair, "l");
    sql_add(q, ")), w AS (SELECT c.*, ");
    add_winner(q, spec, pair);
    sql_add(
        q,
        "::text AS winner FROM c WHERE c.from_row IS DISTINCT FROM c.to_row), "
        "kept AS (INSERT INTO pgtandem.conflict (edge, schema_name, table_name, key, rule, winner, "
        "from_row, to_row, from_at, to_at) SELECT ");
    sql_literal(q, spec->name);
    sql_add(q, ", ");
    sql_literal(q, pair->src->schema);
    sql_add(q, ", ");
    sql_literal(q, pair->src->name);
    sql_add(q, ", key, ");
    sql_literal(q, spec->sync->conflict_text);
    sql_add(q, ", winner, from_row, to_row, from_at, to_at FROM w), gone AS (DELETE FROM ");
    sql_trusted(q, stage);
    sql_add(q, " s USING w WHERE s.ctid = w.sid AND w.winner <> ");
    sql_literal(q, spec->from->name);
    sql_add(q, " RETURNING 1) SELECT (SELECT count(*) FROM w), (SELECT count(*) FROM gone), "
               "(SELECT count(*) FROM w WHERE winner IS NULL OR winner NOT IN (");
    sql_literal(q, spec->from->name);
    sql_add(q, ", ");
    sql_literal(q, spec->to->name);
    sql_add(q, ")), (SELECT count(*) FROM e), (SELECT count(*) FROM e WHERE present AND sid NOT IN "
               "(SELECT sid FROM w WHERE winner <> ");
    sql_literal(q, spec->from->name);
    sql_add(q, ")), (SELECT count(*) FROM e WHERE NOT present AND sid NOT IN (SELECT sid FROM w "
               "WHERE winner <> ");
    sql_literal(q, spec->from->name);
    sql_add(q, "))");
    return q;
}

bool conflict_filter(void *arg, const TablePair *pair, Conn *to, int64_t *ret_updates,
                     int64_t *ret_deletes, Err *err)
{
    AUTO_CTX(tmp, NULL);
    ConflictFilter *filter = arg;
    const EdgeSpec *spec = filter->spec;
    const char *since;
    ConsumerRow *consumer;
    size_t n;
    int64_t n_locked;
    Rows *rows;
    bool locked;

    if (!read_peer_progress(tmp, filter, &since, err) ||
        !lock_rows(pair, to, &locked, &n_locked, err))
        return err_add(err, "while looking for conflicts");
    if (!locked) {
        filter->again = true;
        return false;
    }
    if (!conn_query(tmp, to, settle_statement(tmp, filter, pair, since), &rows, err))
        return err_add(err, "while looking for conflicts");
    /*
     * the other edge may have been faster since the round's snapshot, and what it had carried may be
     * purged: then a conflict would not have been seen
     */
    if (!q_consumer(tmp, to, spec->back, &consumer, &n, err))
        return false;
    if (n == 1 && snapshot_xmax(consumer->purged) > snapshot_xmax(since)) {
        filter->again = true;
        return err_set(err, ERR_STATE, "the queue of the %s was purged while the round was at work",
                       conn_label(to));
    }
    /* a row that came between the two statements is not locked */
    if (rows_i64(rows, 0, 3) != n_locked) {
        filter->again = true;
        return err_set(err, ERR_STATE, "rows were written on the %s while the round was at work",
                       conn_label(to));
    }
    *ret_updates = rows_i64(rows, 0, 4);
    *ret_deletes = rows_i64(rows, 0, 5);
    if (rows_i64(rows, 0, 2) > 0)
        return err_set(err, ERR_STATE,
                       "the function %s must return the name of one of the two databases",
                       spec->sync->conflict_function);
    if (rows_i64(rows, 0, 0) == 0)
        return true;
    filter->found += (size_t)rows_i64(rows, 0, 0);
    if (spec->sync->conflict == CONFLICT_ABORT) {
        err_set(err, ERR_STATE, "%lld conflicting rows in table %s",
                (long long)rows_i64(rows, 0, 0), table_label(tmp, pair->src));
        return err_hint(
            err, "The sync is set to stop here (conflict = abort). Make the rows equal on both "
                 "sides, or choose another rule.");
    }
    log_info("%lld conflicting rows in table %s, of which %lld stay as they are in the %s",
             (long long)rows_i64(rows, 0, 0), table_label(tmp, pair->src),
             (long long)rows_i64(rows, 0, 1), conn_label(to));
    return true;
}

bool conflict_expire(Conn *to, const EdgeSpec *spec, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Sql *q = sql_new(tmp);

    sql_add(q, "DELETE FROM pgtandem.conflict WHERE edge = ");
    sql_literal(q, spec->name);
    sql_add(q, " AND at < now() - interval '1 ms' * ");
    sql_number(q, spec->sync->conflict_keep_ms);
    return conn_exec(to, q, err);
}
