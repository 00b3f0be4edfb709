/* Conflicts: see conflict.h. */
#include "daemon/conflict.h"

#include <string.h>

#include "base/log.h"
#include "base/str.h"
#include "capture/capture.h"
#include "capture/queue.h"
#include "daemon/conflict_sql.h"
#include "pg/sqlstate.h"
#include "sql/queries.h"

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
    sql_number(q, CONFLICT_LOCK_MS);
    sql_add(q, "; SELECT count(*) FROM (SELECT 1 FROM ");
    sql_trusted(q, table_ref(tmp, pair->dst));
    sql_add(q, " t JOIN ");
    sql_trusted(q, apply_stage_sql(tmp, pair));
    sql_add(q, " s ON (");
    conflict_add_match(q, pair, "t", "s");
    sql_add(q, ") FOR UPDATE OF t) x");
    *ret_locked = conn_query(tmp, to, q, &rows, err);
    if (*ret_locked) {
        *ret_n = rows_i64(rows, 0, 0);
        return conn_do(to, "SET LOCAL lock_timeout = 0", err);
    }
    return err_is(err, SQLSTATE_LOCK_NOT_AVAILABLE) || err_is(err, SQLSTATE_DEADLOCK);
}

/*
 * A deletion that wins here is carried back once more. The opposite edge may have carried it already, when the row was
 * not there yet: nothing could be locked then, and who inserted it at that moment was not seen. (Of an insertion that
 * wins it meets a unique violation, see conflict.h.) Where the rule knows no winner both sides keep what they have.
 */
static void add_deletion_again(Sql *q, const EdgeSpec *spec, const TablePair *pair)
{
    AUTO_CTX(tmp, NULL);
    Sql *lost = sql_new(tmp);

    sql_add(lost, "(SELECT key FROM w WHERE to_row IS NULL AND winner = ");
    sql_literal(lost, spec->to->name);
    sql_add(lost, ") b");
    capture_add_recall(q, pair->dst, lost->text->text);
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
    conflict_add_match(q, pair, "t", "s");
    sql_add(q, ")), local AS (");
    sql_splice(q, conflict_local_changes(q, filter, pair, since));
    sql_add(q, "), c AS (SELECT s.ctid AS sid, ");
    conflict_add_key(q, pair, "s");
    sql_add(q, " AS key, s.at AS from_at, l.at AS to_at, CASE WHEN s.present THEN ");
    conflict_add_json(q, pair, true);
    sql_add(q, " END AS from_row, (SELECT ");
    conflict_add_json(q, pair, false);
    sql_add(q, " FROM ");
    sql_trusted(q, table_ref(ctx, pair->dst));
    sql_add(q, " t WHERE ");
    conflict_add_match(q, pair, "t", "s");
    sql_add(q, ") AS to_row FROM ");
    sql_trusted(q, stage);
    sql_add(q, " s JOIN local l ON (");
    conflict_add_match(q, pair, "l", "s");
    sql_add(q, ")), w AS (SELECT c.*, ");
    conflict_add_winner(q, spec, pair);
    sql_add(q, "::text AS winner FROM c WHERE c.from_row IS DISTINCT FROM c.to_row), "
               "kept AS (");
    conflict_add_record(q, spec, pair, "row");
    sql_add(q, "key, NULL, winner, from_row, to_row, from_at, to_at, "
               "txid_current_snapshot()::text, false FROM w)");
    add_deletion_again(q, spec, pair);
    sql_add(q, ", gone AS (DELETE FROM ");
    sql_trusted(q, stage);
    sql_add(q, " s USING w WHERE s.ctid = w.sid AND w.winner <> ");
    sql_literal(q, spec->from->name);
    sql_add(q, " RETURNING 1) SELECT (SELECT count(*) FROM w), (SELECT count(*) FROM gone), "
               "(SELECT count(*) FROM w WHERE winner IS NULL OR winner NOT IN (");
    sql_literal(q, spec->from->name);
    sql_add(q, ", ");
    sql_literal(q, spec->to->name);
    if (spec->sync->conflict == CONFLICT_SKIP)
        sql_add(q, ", ''");
    sql_add(q, ")), (SELECT count(*) FROM e), (SELECT count(*) FROM e WHERE present AND sid NOT IN "
               "(SELECT sid FROM w WHERE winner <> ");
    sql_literal(q, spec->from->name);
    sql_add(q, ")), (SELECT count(*) FROM e WHERE NOT present AND sid NOT IN (SELECT sid FROM w "
               "WHERE winner <> ");
    sql_literal(q, spec->from->name);
    sql_add(q, "))");
    return q;
}

/* nobody may write until all rows are replaced */
static bool lock_table(ApplyFilter *self, const TablePair *pair, Conn *to, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Sql *q = sql_new(tmp);

    sql_add(q, "SET LOCAL lock_timeout = ");
    sql_number(q, CONFLICT_LOCK_MS);
    sql_add(q, "; LOCK TABLE ");
    sql_trusted(q, table_ref(tmp, pair->dst));
    sql_add(q, " IN SHARE ROW EXCLUSIVE MODE; SET LOCAL lock_timeout = 0");
    if (conn_exec(to, q, err))
        return true;
    if (!err_is(err, SQLSTATE_LOCK_NOT_AVAILABLE) && !err_is(err, SQLSTATE_DEADLOCK))
        return false;
    return conflict_make_again(self, to, "rows are locked", err);
}

/* the rows that are lost by a TRUNCATE on the other side, which did not know of them */
static bool record_truncated(const ConflictFilter *filter, const TablePair *pair, Conn *to,
                             const char *since, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Sql *q = sql_new(tmp);

    sql_add(q, "WITH local AS (");
    sql_splice(q, conflict_local_changes(q, filter, pair, since));
    sql_add(q, ") ");
    conflict_add_record(q, filter->spec, pair, "truncate");
    sql_add(q, "key, NULL, ");
    sql_literal(q, filter->spec->from->name);
    sql_add(q, ", from_row, to_row, NULL, at, NULL, false FROM (SELECT ");
    conflict_add_key(q, pair, "t");
    sql_add(q, " AS key, (SELECT ");
    conflict_add_json(q, pair, true);
    sql_add(q, " FROM ");
    sql_trusted(q, apply_stage_sql(tmp, pair));
    sql_add(q, " s WHERE s.present AND ");
    conflict_add_match(q, pair, "t", "s");
    sql_add(q, ") AS from_row, ");
    conflict_add_json(q, pair, false);
    sql_add(q, " AS to_row, l.at FROM ");
    sql_trusted(q, table_ref(tmp, pair->dst));
    sql_add(q, " t JOIN local l ON (");
    conflict_add_match(q, pair, "t", "l");
    sql_add(q, ")) x WHERE from_row IS DISTINCT FROM to_row");
    if (!conn_exec(to, q, err))
        return err_add(err, "while looking what a TRUNCATE takes away");
    if (conn_affected(to) > 0)
        log_info("%lld rows of table %s in the %s were written while it was truncated on the other "
                 "side: they are gone, and kept among the conflicts",
                 (long long)conn_affected(to), table_label(tmp, pair->src), conn_label(to));
    return true;
}

/* what the round carries of this table is lost by a TRUNCATE on this side */
static bool drop_staged(ApplyFilter *self, const TablePair *pair, Conn *to, Err *err)
{
    AUTO_CTX(tmp, NULL);
    const ConflictFilter *filter = self->arg;
    Sql *q = sql_new(tmp), *drop = sql_new(tmp);

    self->whole = false;
    /* the opposite edge will take them away without knowing that they were not carried */
    conflict_add_record(q, filter->spec, pair, "truncate");
    sql_add(q, "key, NULL, ");
    sql_literal(q, filter->spec->to->name);
    sql_add(q, ", from_row, to_row, at, NULL, NULL, false FROM (SELECT ");
    conflict_add_key(q, pair, "s");
    sql_add(q, " AS key, s.at, ");
    conflict_add_json(q, pair, true);
    sql_add(q, " AS from_row, (SELECT ");
    conflict_add_json(q, pair, false);
    sql_add(q, " FROM ");
    sql_trusted(q, table_ref(tmp, pair->dst));
    sql_add(q, " t WHERE ");
    conflict_add_match(q, pair, "t", "s");
    sql_add(q, ") AS to_row FROM ");
    sql_trusted(q, apply_stage_sql(tmp, pair));
    sql_add(q, " s WHERE s.present) x WHERE from_row IS DISTINCT FROM to_row");
    if (!conn_exec(to, q, err))
        return err_add(err, "while looking what a TRUNCATE takes away");
    if (conn_affected(to) > 0)
        log_info("%lld rows of table %s are not carried, as it was truncated in the %s meanwhile: "
                 "they are kept among the conflicts",
                 (long long)conn_affected(to), table_label(tmp, pair->src), conn_label(to));
    sql_add(drop, "DELETE FROM ");
    sql_trusted(drop, apply_stage_sql(tmp, pair));
    return conn_exec(to, drop, err);
}

static bool settle_conflicts(ApplyFilter *self, const TablePair *pair, Conn *to,
                             ApplyExpected *ret_expected, Err *err)
{
    AUTO_CTX(tmp, NULL);
    const ConflictFilter *filter = self->arg;
    const EdgeSpec *spec = filter->spec;
    Window window = {.back = spec->name};
    int64_t n_locked;
    Rows *rows;
    bool locked, truncated;

    if ((self->whole && !lock_table(self, pair, to, err)) ||
        !conflict_peer_progress(tmp, filter, &window.since, err) ||
        !lock_rows(pair, to, &locked, &n_locked, err))
        return err_add(err, "while looking for conflicts");
    const char *since = window.since;
    if (!locked)
        return conflict_make_again(self, to, "rows are locked", err);
    /* from here on nobody can truncate the table */
    if (!queue_has_mark(to, pair->dst->id, &window, &truncated, err))
        return err_add(err, "while looking for conflicts");
    if (truncated && (!self->whole || !conflict_from_first(spec)))
        return drop_staged(self, pair, to, err) && conflict_check_purged(self, to, since, err);
    if (self->whole)
        return record_truncated(filter, pair, to, since, err) &&
               conflict_check_purged(self, to, since, err);
    if (!conn_query(tmp, to, settle_statement(tmp, filter, pair, since), &rows, err))
        return err_add(err, "while looking for conflicts");
    if (!conflict_check_purged(self, to, since, err))
        return false;
    /* a row that came between the two statements is not locked */
    if (rows_i64(rows, 0, 3) != n_locked)
        return conflict_make_again(self, to, "rows were written", err);
    *ret_expected =
        (ApplyExpected){.updates = rows_i64(rows, 0, 4), .deletes = rows_i64(rows, 0, 5)};
    if (rows_i64(rows, 0, 2) > 0)
        return err_set(err, ERR_STATE,
                       "the function %s must return the name of one of the two databases",
                       spec->sync->conflict_function);
    if (rows_i64(rows, 0, 0) == 0)
        return true;
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

/* rows that were parked and now come again are judged anew */
static bool settle_parked(const EdgeSpec *spec, const TablePair *pair, Conn *to, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Sql *q = sql_new(tmp);

    sql_add(q, "UPDATE pgtandem.conflict r SET parked = false, settled_at = now() FROM ");
    sql_trusted(q, apply_stage_sql(tmp, pair));
    sql_add(q, " s WHERE r.parked AND ");
    conflict_add_record_match(q, spec, pair);
    return conn_exec(to, q, err) || err_add(err, "while looking for parked rows");
}

bool conflict_filter(ApplyFilter *self, const TablePair *pair, Conn *to,
                     ApplyExpected *ret_expected, Err *err)
{
    const ConflictFilter *filter = self->arg;

    return (!filter->parked || settle_parked(filter->spec, pair, to, err)) &&
           (filter->spec->back == NULL || settle_conflicts(self, pair, to, ret_expected, err));
}

/*
 * A conflict that nobody won is still needed by the opposite edge until it is past it, see add_skipped()
 * in queue.c; and rows that are still parked are no history.
 */
bool conflict_expire(Conn *from, Conn *to, const EdgeSpec *spec, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Sql *q = sql_new(tmp);
    ProgressRow *back = NULL;
    size_t n = 0;

    if (spec->back != NULL && !q_progress(tmp, from, spec->back, &back, &n, err))
        return false;
    sql_add(q, "DELETE FROM pgtandem.conflict WHERE edge = ");
    sql_literal(q, spec->name);
    sql_add(q, " AND at < now() - interval '1 ms' * ");
    sql_number(q, spec->sync->conflict_keep_ms);
    sql_add(q, " AND NOT parked AND (winner <> ''");
    if (n == 1 && back->snapshot != NULL) {
        sql_add(q, " OR txid_snapshot_xmax(seen::txid_snapshot) <= txid_snapshot_xmin(");
        sql_literal(q, back->snapshot);
        sql_add(q, "::txid_snapshot)");
    }
    sql_add(q, ")");
    return conn_exec(to, q, err);
}
