/* Copying the tables of an edge: see edge_work.h. */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "base/str.h"
#include "capture/capture.h"
#include "capture/queue.h"
#include "daemon/edge_work.h"
#include "pg/sqlstate.h"

static bool is_empty(Conn *to, const Table *table, bool *ret_empty, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Sql *q = sql_new(tmp);
    Rows *rows;

    sql_add(q, "SELECT NOT EXISTS (SELECT 1 FROM ");
    sql_trusted(q, table_ref(tmp, table));
    sql_add(q, ")");
    if (!conn_query(tmp, to, q, &rows, err))
        return false;
    *ret_empty = rows_bool(rows, 0, 0);
    return true;
}

/* the pair has been copied, or need not be */
static bool put_pair(Work *w, const TablePair *pair, Err *err)
{
    for (size_t i = 0; i < w->plan->n_tables; i++)
        if (pair->src == &w->plan->tables[i].src)
            return work_put_table(w, &w->plan->tables[i], "ok", NULL, err);
    return err_set(err, ERR_BUG, "a pair that is not in the plan");
}

/*
 * The locks come before the snapshot: a snapshot that has to wait for a table which is being rewritten
 * would find it empty.
 */
static bool begin_copy(Work *w, const TablePair *pairs, size_t n, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Sql *locks = sql_new(tmp);

    for (size_t i = 0; i < n; i++) {
        sql_trusted(locks, i == 0 ? "LOCK TABLE " : ", ");
        sql_trusted(locks, table_ref(tmp, pairs[i].src));
    }
    sql_add(locks, " IN ACCESS SHARE MODE");
    return conn_do(w->from, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", err) &&
           (n == 0 || conn_exec(w->from, locks, err)) && edge_begin_apply(w->edge, err);
}

static bool end_copy(Work *w, bool ok, Err *err)
{
    ok = ok && conn_do(w->to, "COMMIT", err);
    conn_rollback(w->from);
    if (!ok)
        conn_rollback(w->to);
    return ok;
}

/*
 * Copies all rows of one table, in one transaction; `empty`: nothing is in the way. Its changes are captured
 * since before, and the next round carries all of them once more, in a later snapshot. Copies nothing when the table
 * has been altered since it was planned, or is meanwhile: a new partition may not be captured yet.
 */
static bool copy_table(Work *w, TablePair *pair, bool empty, bool *ret_outdated, Err *err)
{
    AUTO_CTX(tmp, NULL);
    ApplyStats stats = {0};
    int64_t begun = clock_ms();
    const Pending it = {.tab = pair->src->id};

    bool ok = fault("service.copying", err) && begin_copy(w, pair, 1, err) &&
              edge_is_outdated(w->edge, &it, 1, ret_outdated, err);
    if (ok && !*ret_outdated)
        ok = (empty || apply_empty_table(pair, w->to, err)) &&
             apply_all_rows(pair, w->from, w->to, &stats, err) && fault("service.copied", err) &&
             edge_is_outdated(w->edge, &it, 1, ret_outdated, err);
    if (ok && *ret_outdated) {
        conn_rollback(w->to);
        conn_rollback(w->from);
        return true;
    }
    if (!end_copy(w, ok && put_pair(w, pair, err) && edge_vouch(w->edge, err), err))
        return false;
    log_info("table %s copied: %s rows in %s", table_label(tmp, pair->src),
             str_count(tmp, stats.rows), str_duration(tmp, clock_ms() - begun));
    return true;
}

/* all rows count as changed */
static bool record_all_rows(Work *w, TablePair *pair, Err *err)
{
    AUTO_CTX(tmp, NULL);

    log_info("table %s: all rows are carried once more, and compared as conflicts are",
             table_label(tmp, pair->src));
    return capture_all_rows(w->from, pair->src, err) && fault("service.recorded", err) &&
           put_pair(w, pair, err);
}

/* the next round carries all rows; then its state is written down. Not by the queue, which others read, too. */
static bool carry_whole(Work *w, const TablePair *pair)
{
    AUTO_CTX(tmp, NULL);

    log_info("table %s: all rows are carried once more", table_label(tmp, pair->src));
    mem_push(w->edge, w->edge->whole, w->edge->n_whole, pair->src->id);
    return true;
}

/* a round has carried them */
bool work_note_whole(Work *w, Err *err)
{
    const Edge *edge = w->edge;

    for (size_t i = 0; i < edge->n_whole; i++)
        for (size_t p = 0; p < edge->n_pairs; p++)
            if (edge->pairs[p].src->id == edge->whole[i] && !put_pair(w, &edge->pairs[p], err))
                return false;
    w->edge->n_whole = 0;
    return true;
}

/*
 * Between sources no table is replaced by the other's: changes that the other has not heard of would be lost.
 * All rows count as changed, and meet those of the other side as in any round. Where foreign keys act none is
 * replaced either, as they may take rows of other tables along; and a row may refer to one that has come since the
 * other table was copied: both are in the same round.
 */
static bool settle_new_table(Work *w, TablePair *pair, bool recopy, bool *ret_outdated, Err *err)
{
    AUTO_CTX(tmp, NULL);
    bool empty = true;
    bool ask = w->edge->ordered || (!recopy && w->spec->sync->onetimecopy == COPY_IF_EMPTY);

    if (recopy && w->spec->back != NULL)
        return record_all_rows(w, pair, err);
    if (ask && !is_empty(w->to, pair->dst, &empty, err))
        return false;
    if (empty) {
        if (copy_table(w, pair, ask, ret_outdated, err))
            return true;
        /* it was empty, but is not any more: rows that meet here are compared */
        if (ask && w->spec->back != NULL && err_remedy(err) == REMEDY_CONFLICT) {
            err_clear(err);
            return record_all_rows(w, pair, err);
        }
        if (!w->edge->ordered || !err_is(err, SQLSTATE_FOREIGN_KEY))
            return false;
        err_clear(err);
        return carry_whole(w, pair);
    }
    if (recopy || w->spec->sync->onetimecopy == COPY_ALWAYS)
        return carry_whole(w, pair);
    log_info("table %s has rows in the %s and is not copied (onetimecopy = if-empty)",
             table_label(tmp, pair->src), conn_label(w->to));
    return put_pair(w, pair, err);
}

static int compare_ranks(const void *a, const void *b)
{
    const TablePair *const *x = a, *const *y = b;

    if ((*x)->rank != (*y)->rank)
        return (*x)->rank < (*y)->rank ? -1 : 1;
    return ((*x)->src->id > (*y)->src->id) - ((*x)->src->id < (*y)->src->id);
}

/* all pairs, in the order in which rows may be inserted; belongs to ctx */
static TablePair **pairs_in_order(const void *ctx, const Edge *edge)
{
    TablePair **pairs = mem_array(ctx, TablePair *, edge->n_pairs + 1);

    for (size_t i = 0; i < edge->n_pairs; i++)
        pairs[i] = &edge->pairs[i];
    qsort(pairs, edge->n_pairs, sizeof(TablePair *), compare_ranks);
    return pairs;
}

/* *ret_outdated: the plan has to be made anew */
bool work_copy_tables(Work *w, bool *ret_outdated, Err *err)
{
    AUTO_CTX(tmp, NULL);
    EdgeTablesRow *listed;
    size_t n;

    if (!q_edge_tables(tmp, w->to, w->spec->name, &listed, &n, err))
        return false;
    TablePair **pairs = pairs_in_order(tmp, w->edge);
    for (size_t i = 0; i < w->edge->n_pairs; i++) {
        TablePair *pair = pairs[i];
        const EdgeTablesRow *row = work_find_listed(listed, n, pair->src);
        bool recopy = row != NULL && strcmp(row->state, "recopy") == 0;

        if (row == NULL || (!recopy && strcmp(row->state, "new") != 0))
            continue;
        /* what is wished for in the meantime comes first; the rest is copied later */
        if (!edge_state_wishes(w->to, w->spec->name, &w->wishes, err))
            return false;
        if (w->wishes.paused || w->wishes.removing)
            return true;
        if (!work_say_state(w, STATE_COPYING, err) ||
            !settle_new_table(w, pair, recopy, ret_outdated, err))
            return false;
        if (*ret_outdated)
            return true;
    }
    return true;
}

/* a fullcopy target: all tables in one transaction */
bool work_copy_everything(Work *w, Err *err)
{
    AUTO_CTX(tmp, NULL);
    ApplyStats stats = {0};
    Sql *q = sql_new(tmp);
    int64_t begun = clock_ms();
    bool ok = work_say_state(w, STATE_COPYING, err) &&
              begin_copy(w, w->edge->pairs, w->edge->n_pairs, err);

    TablePair **pairs = pairs_in_order(tmp, w->edge);
    for (size_t i = w->edge->n_pairs; ok && i-- > 0;)
        ok = apply_empty_table(pairs[i], w->to, err);
    for (size_t i = 0; ok && i < w->edge->n_pairs; i++)
        ok = apply_all_rows(pairs[i], w->from, w->to, &stats, err);
    sql_add(q, "UPDATE pgtandem.progress SET applied_at = clock_timestamp(), rounds = rounds + 1, "
               "rows = rows + ");
    sql_i64(q, stats.rows);
    sql_add(q, " WHERE edge = ");
    sql_text(q, w->spec->name);
    for (size_t i = 0; ok && i < w->edge->n_pairs; i++)
        ok = put_pair(w, &w->edge->pairs[i], err);
    if (!end_copy(w, ok && conn_exec(w->to, q, err), err))
        return false;
    w->wishes.to_copy = 0;
    log_info("%zu tables copied: %s rows in %s", w->edge->n_pairs, str_count(tmp, stats.rows),
             str_duration(tmp, clock_ms() - begun));
    return true;
}
