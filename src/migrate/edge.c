/* Rounds of replication in one direction: see edge.h. */
#include "migrate/edge.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "base/str.h"
#include "base/wait.h"
#include "capture/capture.h"
#include "capture/queue.h"
#include "migrate/keyless.h"
#include "pg/sqlstate.h"
#include "sql/queries.h"

enum {
    PURGE_EVERY_MS = 1000,       /* how often the queue's size is looked at */
    PURGE_AFTER_CHANGES = 50000, /* … or after so many changes */
    HOLD_MS = 300,               /* below the usual deadlock_timeout: we give way, not others */
    HOLD_PAUSE_MS = 100,
    HOLD_REPORT_TRIES = 20
};

/*
 * One text from a node, or `unknown` where its provider does not let anybody ask: the right was taken
 * away, or the server has no such thing (Aurora has no WAL of its own).
 */
static bool ask(const void *ctx, Conn *node, const Query *query, const char *unknown,
                const char **ret_text, Err *err)
{
    AUTO_CTX(tmp, NULL);
    bool in_transaction = conn_in_transaction(node);
    Rows *rows;

    if (in_transaction && !conn_do(node, "SAVEPOINT ask", err))
        return false;
    if (query_run(tmp, node, query, NULL, 0, &rows, err)) {
        *ret_text = mem_strdup(ctx, rows_text(rows, 0, 0));
        return !in_transaction || conn_do(node, "RELEASE SAVEPOINT ask", err);
    }
    if (!err_is(err, SQLSTATE_INSUFFICIENT_PRIVILEGE) &&
        !err_is(err, SQLSTATE_FEATURE_NOT_SUPPORTED) && !err_is(err, SQLSTATE_NOT_PREPARED_FOR))
        return false;
    err_clear(err);
    *ret_text = unknown;
    return !in_transaction || conn_do(node, "ROLLBACK TO SAVEPOINT ask", err);
}

static bool ask_system_id(const void *ctx, Conn *node, const char **ret_id, Err *err)
{
    return ask(ctx, node, &query_system_id, "0", ret_id, err);
}

static bool ask_timeline(const void *ctx, Conn *node, const char **ret_timeline, Err *err)
{
    return ask(ctx, node, &query_timeline, "", ret_timeline, err);
}

bool edge_peer_id(const void *ctx, Conn *node, const char **ret_id, Err *err)
{
    AUTO_CTX(tmp, NULL);
    IdentityOfNodeRow *identity;
    const char *system_id;
    size_t n;

    if (!q_identity_of_node(tmp, node, &identity, &n, err) ||
        !ask_system_id(tmp, node, &system_id, err))
        return false;
    *ret_id = mem_printf(ctx, "%s/%s", system_id, identity->database);
    return true;
}

/* whether both lead to the same running server, and to the same database there */
static bool compare_nodes(Conn *a, Conn *b, bool *ret_server, bool *ret_database, Err *err)
{
    AUTO_CTX(tmp, NULL);
    IdentityOfNodeRow *x, *y;
    const char *x_id, *y_id;
    size_t n;

    if (!q_identity_of_node(tmp, a, &x, &n, err) || !q_identity_of_node(tmp, b, &y, &n, err) ||
        !ask_system_id(tmp, a, &x_id, err) || !ask_system_id(tmp, b, &y_id, err))
        return false;
    *ret_server = strcmp(x_id, y_id) == 0 && strcmp(x->started, y->started) == 0;
    *ret_database = *ret_server && x->database_oid == y->database_oid;
    return true;
}

bool edge_same_server(Conn *a, Conn *b, bool *ret_same, Err *err)
{
    bool database;

    return compare_nodes(a, b, ret_same, &database, err);
}

bool edge_same_database(Conn *a, Conn *b, bool *ret_same, Err *err)
{
    bool server;

    return compare_nodes(a, b, &server, ret_same, err);
}

bool edge_record_peer(const char *edge, Conn *from, Conn *to, Err *err)
{
    AUTO_CTX(tmp, NULL);
    const char *peer_id, *timeline;
    Sql *q = sql_new(tmp);

    if (!edge_peer_id(tmp, from, &peer_id, err) || !ask_timeline(tmp, from, &timeline, err))
        return false;
    sql_add(q, "UPDATE pgtandem.progress SET peer_id = ");
    sql_text(q, peer_id);
    sql_add(q, ", timeline = ");
    sql_text(q, timeline);
    sql_add(q, " WHERE edge = ");
    sql_text(q, edge);
    return conn_exec(to, q, err);
}

static bool refuse_edge(Edge *edge, Err *err)
{
    if (edge->service)
        err_hint(err, "Nothing was changed. Rows may be missing on one side: \"pgtandem recopy\" "
                      "of this sync "
                      "copies its tables anew and goes on from there.");
    else
        err_hint(
            err,
            "Nothing was changed. Rows may be missing on one side: compare them with \"pgtandem "
            "verify\". If they are equal, go on with \"--accept timeline\"; otherwise end this run "
            "with \"pgtandem abort\" and start over.");
    return err_add(err, "replication from the %s to the %s is stopped", conn_label(edge->from),
                   conn_label(edge->to));
}

static void set_snapshot(Edge *edge, char **snapshot, const char *value)
{
    char *before = *snapshot;

    *snapshot = value == NULL ? NULL : mem_strdup(edge, value);
    talloc_free(before);
}

bool edge_register(const char *table, const char *edge, Conn *conn, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Sql *q = sql_new(tmp);

    sql_add(q, "INSERT INTO pgtandem.");
    sql_trusted(q, table);
    sql_add(q, " (edge) SELECT v.e FROM (VALUES (");
    sql_literal(q, edge);
    sql_add(q, "::text)) v(e) WHERE NOT EXISTS (SELECT 1 FROM pgtandem.");
    sql_trusted(q, table);
    sql_add(q, " t WHERE t.edge = v.e)");
    return conn_exec(conn, q, err);
}

/* the progress continues this registration, of this peer */
static bool begin_progress(Edge *edge, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Sql *q = sql_new(tmp);

    /* the registration first: without a peer it is not compared */
    sql_add(q, "UPDATE pgtandem.progress SET registration = ");
    sql_text(q, edge->registration);
    sql_add(q, " WHERE edge = ");
    sql_text(q, edge->name);
    return conn_exec(edge->to, q, err) && edge_record_peer(edge->name, edge->from, edge->to, err);
}

bool edge_check(Edge *edge, bool accept_timeline, Err *err)
{
    AUTO_CTX(tmp, NULL);
    ProgressRow *progress;
    ConsumerRow *consumer;
    const char *now, *peer_id, *timeline;
    size_t n_progress, n_consumers;

    if (!q_progress(tmp, edge->to, edge->name, &progress, &n_progress, err) ||
        !edge_peer_id(tmp, edge->from, &peer_id, err) ||
        !ask_timeline(tmp, edge->from, &timeline, err) ||
        !q_consumer(tmp, edge->from, edge->name, &consumer, &n_consumers, err) ||
        !queue_snapshot(tmp, edge->from, &now, err))
        return false;
    if (n_progress != 1 || n_consumers != 1) {
        err_set(err, ERR_STATE, "the %s does not know of this replication",
                conn_label(n_progress != 1 ? edge->to : edge->from));
        return refuse_edge(edge, err);
    }
    set_snapshot(edge, &edge->applied, progress->snapshot);
    set_snapshot(edge, &edge->looked, NULL);
    edge->registration = mem_strdup(edge, consumer->registration);

    if (consumer->detached) {
        err_set(err, ERR_STATE, "the queue of the %s grew too large, so this edge was detached",
                conn_label(edge->from));
        err_detail(err, "Its changes are not kept any more.");
        err_hint(err, "\"pgtandem recopy\" copies its tables anew and attaches it again.");
        return false;
    }
    if (progress->peer_id[0] == '\0' && progress->snapshot == NULL && consumer->purged != NULL) {
        err_set(err, ERR_STATE, "the %s knows nothing of what it had confirmed to the %s",
                conn_label(edge->to), conn_label(edge->from));
        err_detail(err, "It was restored or made anew, and the changes since then are purged.");
        return refuse_edge(edge, err);
    }
    if (progress->peer_id[0] == '\0')
        return begin_progress(edge, err);
    if (strcmp(progress->peer_id, peer_id) != 0) {
        err_set(err, ERR_STATE, "this is not the %s that the run began with",
                conn_label(edge->from));
        err_detail(err, "Its system identifier and database were %s and are now %s.",
                   progress->peer_id, peer_id);
        if (!accept_timeline)
            return refuse_edge(edge, err);
    } else if (progress->timeline[0] != '\0' && timeline[0] != '\0' &&
               strcmp(progress->timeline, timeline) != 0) {
        err_set(err, ERR_STATE, "the %s was promoted or restored since the last round",
                conn_label(edge->from));
        err_detail(
            err,
            "Its timeline was %s and is now %s, so transactions that were already carried may "
            "be gone there.",
            progress->timeline, timeline);
        if (!accept_timeline)
            return refuse_edge(edge, err);
    } else if (edge->service && strcmp(progress->registration, consumer->registration) != 0) {
        err_set(err, ERR_STATE, "the %s was rid of this edge, and has it anew",
                conn_label(edge->from));
        err_detail(err, "What changed in between was not recorded.");
        return refuse_edge(edge, err);
    } else if (edge->service && progress->reads > consumer->reads) {
        err_set(err, ERR_STATE, "the %s went back in time", conn_label(edge->from));
        err_detail(err,
                   "It knows of %lld reads, but what was read %lld times was carried: it was "
                   "restored from an older state, or lost its last transactions in a crash.",
                   (long long)consumer->reads, (long long)progress->reads);
        return refuse_edge(edge, err);
    } else if (snapshot_xmax(now) < snapshot_xmax(edge->applied)) {
        err_set(err, ERR_STATE, "the %s went back in time", conn_label(edge->from));
        err_detail(
            err, "Its next transaction is %lld, but transactions up to %lld were carried already.",
            (long long)snapshot_xmax(now), (long long)snapshot_xmax(edge->applied));
        return refuse_edge(edge, err);
    } else if (snapshot_xmax(consumer->purged) > snapshot_xmax(edge->applied)) {
        err_set(err, ERR_STATE, "the %s went back in time", conn_label(edge->to));
        err_detail(
            err,
            "It needs changes from transaction %lld on, which it had confirmed and which were "
            "then purged up to %lld: it was restored from an older state.",
            (long long)snapshot_xmax(edge->applied), (long long)snapshot_xmax(consumer->purged));
        return refuse_edge(edge, err);
    } else {
        return true;
    }
    log_warn("%s (accepted)", err->msg);
    err_clear(err);
    return edge_record_peer(edge->name, edge->from, edge->to, err);
}

/*
 * Counts the reads on `from`, behind all reading and before `to` commits: whatever state `from` may be restored to,
 * if it has the number it has what was read. The COMMIT is durable, so a crash does not take it back either. Ends the
 * transaction that has read.
 */
static bool count_read(Edge *edge, int64_t *ret_reads, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Sql *q = sql_new(tmp);
    Rows *rows;

    conn_rollback(edge->from);
    sql_add(q, "UPDATE pgtandem.consumer SET reads = reads + 1 WHERE edge = ");
    sql_text(q, edge->name);
    sql_add(q, " AND registration = ");
    sql_text(q, edge->registration);
    sql_add(q, " RETURNING reads");
    if (!conn_query(tmp, edge->from, q, &rows, err))
        return err_add(err, "while noting what was read");
    if (rows_count(rows) != 1) {
        err_set(err, ERR_STATE, "the %s does not know of this edge any more",
                conn_label(edge->from));
        return refuse_edge(edge, err);
    }
    *ret_reads = rows_i64(rows, 0, 0);
    return fault("round.counted", err);
}

bool edge_vouch(Edge *edge, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Sql *q = sql_new(tmp);
    int64_t reads;

    if (!count_read(edge, &reads, err))
        return false;
    sql_add(q, "UPDATE pgtandem.progress SET reads = greatest(reads, ");
    sql_i64(q, reads);
    sql_add(q, ") WHERE edge = ");
    sql_text(q, edge->name);
    return conn_exec(edge->to, q, err);
}

/*
 * writes S2 in the transaction that applied it; refuses if somebody else moved the progress
 * meanwhile
 */
static bool record_progress(Edge *edge, const char *snapshot, const ApplyStats *applied, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Sql *q = sql_new(tmp);
    int64_t reads;

    if (edge->service && !count_read(edge, &reads, err))
        return false;
    sql_add(q, "UPDATE pgtandem.progress SET ");
    if (edge->service) {
        sql_add(q, "reads = greatest(reads, ");
        sql_i64(q, reads);
        sql_add(q, "), ");
    }
    sql_add(q, "snapshot = ");
    sql_text(q, snapshot);
    sql_add(q, ", applied_at = clock_timestamp(), rounds = rounds + 1, rows = rows + ");
    sql_i64(q, applied->rows);
    sql_add(q, " WHERE edge = ");
    sql_text(q, edge->name);
    sql_add(q, " AND snapshot IS NOT DISTINCT FROM ");
    sql_text(q, edge->applied);
    if (!conn_exec(edge->to, q, err))
        return false;
    if (conn_affected(edge->to) != 1)
        return err_set(err, ERR_STATE, "the progress on the %s was moved by another process",
                       conn_label(edge->to));
    return true;
}

TablePair *edge_find_pair(const Edge *edge, int tab)
{
    size_t first = 0, end = edge->n_pairs;

    while (first < end) {
        size_t middle = first + (end - first) / 2;
        int id = edge->pairs[middle].src->id;

        if (id == tab)
            return &edge->pairs[middle];
        if (id < tab)
            first = middle + 1;
        else
            end = middle;
    }
    return NULL;
}

/* what the next round reads: nothing was pending up to `looked`, which is later than `applied` */
static Window window_of(const Edge *edge)
{
    Window window = edge->window;

    window.since = edge->looked != NULL ? edge->looked : edge->applied;
    return window;
}

bool edge_begin_apply(Edge *edge, Err *err)
{
    return conn_do(edge->to, "BEGIN", err) &&
           capture_mark_apply(edge->to, edge->name, edge->service, err);
}

/* the query of the keys that are carried */
static Sql *keys_of(const void *ctx, const Edge *edge, const TablePair *pair,
                    const Pending *pending)
{
    Window window = window_of(edge);
    Pending all = *pending;

    /* where others write on `to`, a truncated table is replaced as a whole: see daemon/conflict.h */
    if (pending->whole && edge->filter != NULL && edge->filter->exact)
        all.all_rows = true;
    return queue_keys(ctx, pair->src, &all, &window);
}

/* what may be wrong where some rows of the source are in the run and others are not */
static bool explain_part(const TablePair *pair, Err *err)
{
    AUTO_CTX(tmp, NULL);
    const Table *source = pair->src->part != NULL ? pair->src : pair->dst;

    if (source->part == NULL || err->kind != ERR_SQL || err->hint != NULL)
        return false;
    if (pair->dst == source && err_remedy(err) == REMEDY_CONFLICT)
        err_hint(err,
                 "It may be a row that was left behind there: then give the one that is in use "
                 "other values, and run the same command again. Nothing is lost meanwhile.");
    else if (err_remedy(err) == REMEDY_GIVE_UP)
        err_hint(err,
                 "If it is about the condition of --where for table %s (%s): that has to fit the "
                 "table and each of its rows. A column that was renamed or dropped has to come "
                 "back under its name; nothing is lost meanwhile.",
                 table_label(tmp, source), source->filter);
    return false;
}

static bool apply_rows(Edge *edge, TablePair *pair, const Pending *pending, ApplyStats *stats,
                       Err *err)
{
    AUTO_CTX(tmp, NULL);

    if (pair->src->n_keys == 0)
        return keyless_apply(edge, pair, pending, window_of(edge), stats, err);
    Sql *keys = keys_of(tmp, edge, pair, pending);

    /* in the first round all that was copied meanwhile is there already */
    if (pending->inserts && edge->applied != NULL && !edge->replace_next &&
        pair->dst->part == NULL && (edge->filter == NULL || !edge->filter->looks))
        return apply_inserts(pair, edge->from, edge->to, keys, stats, err);
    return apply_keys(pair, edge->from, edge->to, keys, pending->whole,
                      edge->replace_next ? APPLY_REPLACE : APPLY_UPDATE, edge->filter, stats, err);
}

static bool apply_table(Edge *edge, TablePair *pair, const Pending *pending, ApplyStats *stats,
                        Err *err)
{
    return apply_rows(edge, pair, pending, stats, err) || explain_part(pair, err);
}

/* SQL of the user */
static bool run_hook_sql(Edge *edge, const char *text, const char *name, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Sql *q = sql_new(tmp);

    if (text == NULL)
        return true;
    sql_trusted(q, text);
    return conn_exec(edge->to, q, err) || err_add(err, "in %s", name);
}

/* one table of a round whose order counts */
typedef struct OrderedTable {
    TablePair *pair;
    const Pending *pending;
    bool whole;
    ApplyExpected expected;
} OrderedTable;

static int compare_ranks(const void *a, const void *b)
{
    const OrderedTable *x = a, *y = b;

    return (x->pair->rank > y->pair->rank) - (x->pair->rank < y->pair->rank);
}

static bool upsert_in_order(Edge *edge, OrderedTable *tables, size_t n, Err *err)
{
    for (size_t i = 0; i < n; i++)
        if (!apply_upserts(tables[i].pair, edge->to, edge->filter, &tables[i].expected, err))
            return false;
    return true;
}

static bool delete_in_order(Edge *edge, OrderedTable *tables, size_t n, ApplyStats *stats, Err *err)
{
    for (size_t i = n; i-- > 0;)
        if (!apply_deletes(tables[i].pair, edge->to, tables[i].whole, edge->filter,
                           &tables[i].expected, stats, err))
            return false;
    return true;
}

static bool count_in_all(Edge *edge, const OrderedTable *tables, size_t n, int64_t *ret_count,
                         Err *err)
{
    *ret_count = 0;
    for (size_t i = 0; i < n; i++)
        if (!apply_count_existing(tables[i].pair, edge->to, ret_count, err))
            return false;
    return true;
}

/*
 * Deleting first takes a row along (ON DELETE CASCADE) that has moved to another parent on the source. It would be
 * inserted again, but what refers to it is gone for good: so nothing is done then.
 */
static bool delete_first(Edge *edge, OrderedTable *tables, size_t n, ApplyStats *stats, Err *err)
{
    int64_t before, after;

    if (!count_in_all(edge, tables, n, &before, err) ||
        !delete_in_order(edge, tables, n, stats, err) ||
        !count_in_all(edge, tables, n, &after, err))
        return false;
    if (after == before)
        return true;
    err_set(err, ERR_STATE,
            "a unique value is free only after a deletion that takes %lld other row%s along",
            (long long)(before - after), before - after == 1 ? "" : "s");
    err_detail(err,
               "Rows have moved away from one that was deleted; on the %s they still belong "
               "to it.",
               conn_label(edge->to));
    return err_hint(err,
                    "Nothing was changed. Delete the row that still has the unique value there, "
                    "by hand; the log of that server tells which it is.");
}

/*
 * Foreign keys of the target act: parents are written before their children, and deleted after them. Deleting
 * comes last, since a child may have moved to another parent; where that meets unique values that are
 * only free after deleting, the other way round.
 */
static bool apply_in_order(Edge *edge, const Pending *pending, size_t n, ApplyStats *stats,
                           Err *err)
{
    AUTO_CTX(tmp, NULL);
    OrderedTable *tables = mem_array(tmp, OrderedTable, n + 1);

    for (size_t i = 0; i < n; i++)
        tables[i] = (OrderedTable){.pair = edge_find_pair(edge, pending[i].tab),
                                   .pending = &pending[i],
                                   .whole = pending[i].whole};
    qsort(tables, n, sizeof *tables, compare_ranks);
    for (size_t i = 0; i < n; i++)
        if (!apply_stage(tables[i].pair, edge->from, edge->to,
                         keys_of(tmp, edge, tables[i].pair, tables[i].pending), &tables[i].whole,
                         edge->filter, &tables[i].expected, stats, err))
            return false;
    if (!conn_do(edge->to, "SET CONSTRAINTS ALL DEFERRED", err))
        return false;
    if (edge->replace_next
            ? !delete_first(edge, tables, n, stats, err) || !upsert_in_order(edge, tables, n, err)
            : !upsert_in_order(edge, tables, n, err) ||
                  !delete_in_order(edge, tables, n, stats, err))
        return false;
    for (size_t i = 0; i < n; i++)
        if (!apply_unstage(tables[i].pair, edge->to, err))
            return false;
    return true;
}

static bool apply_tables(Edge *edge, const Pending *pending, size_t n, ApplyStats *stats, Err *err)
{
    if (edge->ordered)
        return apply_in_order(edge, pending, n, stats, err);
    for (size_t i = 0; i < n; i++)
        if (!apply_table(edge, edge_find_pair(edge, pending[i].tab), &pending[i], stats, err))
            return false;
    return true;
}

static bool apply_pending(Edge *edge, const Pending *pending, size_t n, const char *snapshot,
                          RoundStats *stats, Err *err)
{
    ApplyStats applied = {0};

    if (!edge_begin_apply(edge, err) ||
        !run_hook_sql(edge, edge->before_sql, "before-round", err) ||
        !apply_tables(edge, pending, n, &applied, err))
        return false;
    for (size_t i = 0; i < n; i++)
        stats->changes += pending[i].changes;
    if (edge->filter != NULL && edge->filter->end != NULL &&
        !edge->filter->end(edge->filter, edge->to, err))
        return false;
    stats->rows = applied.rows;
    stats->bytes = applied.bytes;
    stats->tables = n;
    return run_hook_sql(edge, edge->after_sql, "after-round", err) && fault("round.applied", err) &&
           record_progress(edge, snapshot, &applied, err) && fault("round.recorded", err) &&
           conn_do(edge->to, "COMMIT", err) && fault("round.committed", err);
}

/* staging tables that were created in a transaction that failed are gone */
static void forget_stages(Edge *edge)
{
    for (size_t i = 0; i < edge->n_pairs; i++)
        edge->pairs[i].staged = false;
}

static bool drop_stages(Edge *edge, Err *err)
{
    forget_stages(edge);
    return conn_is_broken(edge->to) || conn_do(edge->to, "DISCARD TEMP", err);
}

/* no transaction wrote anywhere on `from` since nothing was pending: the queue need not be read */
static bool is_quiet(Edge *edge, bool *ret_quiet, Err *err)
{
    AUTO_CTX(tmp, NULL);
    const char *now;

    *ret_quiet = false;
    if (edge->looked == NULL || edge->n_whole > 0 || edge->n_more > 0)
        return true;
    if (!queue_snapshot(tmp, edge->from, &now, err))
        return false;
    *ret_quiet = strcmp(now, edge->looked) == 0;
    return true;
}

/* LOCK TABLE … IN ACCESS SHARE MODE for the changed tables, asked for in a short try */
static Sql *hold_statement(const void *ctx, const Edge *edge, const Pending *pending, size_t n)
{
    Sql *q = sql_new(ctx);

    sql_add(q, "SET LOCAL lock_timeout = ");
    sql_number(q, HOLD_MS);
    sql_add(q, "; LOCK TABLE ");
    for (size_t i = 0; i < n; i++) {
        if (i > 0)
            sql_add(q, ", ");
        sql_trusted(q, table_ref(q, edge_find_pair(edge, pending[i].tab)->src));
    }
    sql_add(q, " IN ACCESS SHARE MODE; SET LOCAL lock_timeout = 0");
    return q;
}

/* oids of the changed tables as an array; belongs to ctx */
static char *oids_of(const void *ctx, const Edge *edge, const Pending *pending, size_t n)
{
    Str *oids = str_new(ctx);

    str_char(oids, '{');
    for (size_t i = 0; i < n; i++)
        str_fmt(oids, "%s%lld", i > 0 ? "," : "",
                (long long)edge_find_pair(edge, pending[i].tab)->src->oid);
    str_char(oids, '}');
    return oids->text;
}

/*
 * TRUNCATE empties a table for older snapshots, too, so none may come between the round's snapshot
 * and the reading of a changed table. Locks the tables; *ret_held is false when one was truncated,
 * rewritten or renamed meanwhile, or is locked by somebody who may do that: the round needs a newer
 * snapshot. *ret_outdated: a name is gone.
 */
static bool hold_tables(Edge *edge, const Pending *pending, size_t n, bool *ret_held,
                        bool *ret_outdated, Err *err)
{
    AUTO_CTX(tmp, NULL);
    RewrittenRow *row;
    size_t n_rows;

    *ret_held = true;
    *ret_outdated = false;
    if (n == 0)
        return true;
    if (conn_exec(edge->from, hold_statement(tmp, edge, pending, n), err)) {
        if (!q_rewritten(tmp, edge->from, oids_of(tmp, edge, pending, n), &row, &n_rows, err))
            return false;
        *ret_held = !row->rewritten;
        return true;
    }
    *ret_outdated = err_is(err, SQLSTATE_UNDEFINED_TABLE) || err_is(err, SQLSTATE_UNDEFINED_SCHEMA);
    if (!err_is(err, SQLSTATE_LOCK_NOT_AVAILABLE) && !err_is(err, SQLSTATE_DEADLOCK) &&
        !*ret_outdated)
        return err_add(err, "while locking the changed tables");
    err_clear(err);
    *ret_held = false;
    if (*ret_outdated)
        return true;
    return wait_ms(HOLD_PAUSE_MS, err);
}

bool edge_is_outdated(Edge *edge, const Pending *pending, size_t n, bool *ret_outdated, Err *err)
{
    AUTO_CTX(tmp, NULL);
    ShapesRow *rows;
    size_t n_rows;

    *ret_outdated = false;
    if (n == 0)
        return true;
    if (!q_shapes(tmp, edge->from, oids_of(tmp, edge, pending, n), &rows, &n_rows, err))
        return false;
    for (size_t i = 0; i < n; i++) {
        const TablePair *pair = edge_find_pair(edge, pending[i].tab);
        bool same = false; /* a table that is gone is not */

        for (size_t r = 0; r < n_rows; r++)
            same = same || (rows[r].relid == pair->src->oid && pair->shape != NULL &&
                            strcmp(rows[r].shape, pair->shape) == 0);
        *ret_outdated = *ret_outdated || !same;
    }
    return true;
}

/* drops what others read; in a run there are no others, but tables that were dropped */
static bool keep_ours(Edge *edge, Pending *pending, size_t *n, Err *err)
{
    size_t kept = 0;

    for (size_t i = 0; i < *n; i++) {
        bool gone = false;

        for (size_t g = 0; g < edge->n_gone; g++)
            gone = gone || edge->gone[g] == pending[i].tab;
        if (edge_find_pair(edge, pending[i].tab) != NULL)
            pending[kept++] = pending[i];
        else if (!edge->service && !gone)
            return err_set(err, ERR_BUG, "changes of an unknown table number %d", pending[i].tab);
    }
    *n = kept;
    return true;
}

/* adds what is to be carried whole, as if there were a mark for that in the queue */
static void add_whole_tables(const void *ctx, const Edge *edge, Pending **pending, size_t *n)
{
    for (size_t w = 0; w < edge->n_whole; w++) {
        size_t i = 0;

        while (i < *n && (*pending)[i].tab != edge->whole[w])
            i++;
        if (i == *n) {
            Pending all = {.tab = edge->whole[w]};

            mem_push(ctx, *pending, *n, all);
        }
        (*pending)[i].whole = (*pending)[i].all_rows = true;
        (*pending)[i].inserts = false;
    }
}

/* keys that are to be carried without a change */
static bool add_more(const void *ctx, const Edge *edge, Pending **pending, size_t *n)
{
    Pending *list = NULL;
    size_t n_list = 0;

    for (size_t i = 0; i < *n; i++)
        mem_push(ctx, list, n_list, (*pending)[i]);
    for (size_t m = 0; m < edge->n_more; m++) {
        const Pending *more = &edge->more[m];
        size_t i = 0;

        while (i < n_list && list[i].tab != more->tab)
            i++;
        if (i == n_list)
            mem_push(ctx, list, n_list, *more);
        list[i].more = more->more;
        list[i].inserts = false;
    }
    *pending = list;
    *n = n_list;
    return true;
}

/*
 * Begins the round's transaction on `from`: snapshot, changed tables, and nobody can truncate these.
 * Leaves the transaction to its caller, also after an error.
 */
static bool begin_round(const void *ctx, Edge *edge, Pending **ret_pending, size_t *ret_n,
                        const char **ret_snapshot, bool *ret_outdated, Err *err)
{
    bool held;
    Window window = window_of(edge);

    for (int tries = 1;; tries++) {
        if (!queue_begin(ctx, edge->from, &window, ret_pending, ret_n, ret_snapshot, err) ||
            !keep_ours(edge, *ret_pending, ret_n, err) || !fault("round.begun", err))
            return false;
        add_whole_tables(ctx, edge, ret_pending, ret_n);
        if (!add_more(ctx, edge, ret_pending, ret_n) ||
            !hold_tables(edge, *ret_pending, *ret_n, &held, ret_outdated, err))
            return false;
        if (held || *ret_outdated)
            return true;
        conn_rollback(edge->from);
        if (tries % HOLD_REPORT_TRIES == 0)
            log_warn("%s: still waiting for tables that are truncated, altered or rewritten",
                     conn_label(edge->from));
    }
}

static bool try_round(Edge *edge, RoundStats *ret_stats, Err *err)
{
    AUTO_CTX(tmp, NULL);
    int64_t begun = clock_ms();
    Pending *pending;
    const char *snapshot = NULL;
    size_t n;
    bool quiet;

    *ret_stats = (RoundStats){0};
    if (!is_quiet(edge, &quiet, err))
        return false;
    if (quiet)
        return true;
    if (!begin_round(tmp, edge, &pending, &n, &snapshot, &ret_stats->outdated, err)) {
        conn_rollback(edge->from);
        return false;
    }
    if (snapshot_xmax(snapshot) < snapshot_xmax(edge->applied)) {
        err_set(err, ERR_STATE, "the %s went back in time", conn_label(edge->from));
        conn_rollback(edge->from);
        return refuse_edge(edge, err);
    }
    /* the first round is recorded also when nothing changed: what comes later is new to the copy */
    bool first = edge->applied == NULL;
    bool ok = ret_stats->outdated || edge_is_outdated(edge, pending, n, &ret_stats->outdated, err);
    if (ret_stats->outdated) {
        conn_rollback(edge->from);
        return true;
    }
    ok = ok && ((n == 0 && !first) || apply_pending(edge, pending, n, snapshot, ret_stats, err));
    if (!ok)
        conn_rollback(edge->to);
    conn_rollback(edge->from); /* only read there */
    if (!ok)
        return false;
    set_snapshot(edge, &edge->looked, n > 0 ? NULL : snapshot);
    if (n > 0 || first) {
        set_snapshot(edge, &edge->applied, snapshot);
        edge->unpurged_changes += ret_stats->changes;
    }
    ret_stats->ms = clock_ms() - begun;
    edge->n_more = 0;
    edge->replace_next = false;
    return true;
}

bool edge_round(Edge *edge, RoundStats *ret_stats, Err *err)
{
    if (try_round(edge, ret_stats, err))
        return true;
    AUTO_CTX(tmp, NULL);
    if (!drop_stages(edge, err_new(tmp)) || edge->replace_next ||
        err_remedy(err) != REMEDY_CONFLICT)
        return false;
    /*
     * values of a unique column moved between rows: the same round again, deleting before inserting
     */
    log_debug("%s; applying this round by delete and insert", err->msg);
    err_clear(err);
    edge->replace_next = true;
    bool ok = try_round(edge, ret_stats, err);
    edge->replace_next = false;
    if (!ok && !drop_stages(edge, err_new(tmp)))
        return false;
    return ok;
}

bool edge_sequences(Edge *edge, size_t *ret_moved, Err *err)
{
    edge->sequences_ms = clock_ms();
    return apply_sequences(edge->sequences, edge->n_sequences, edge->from, edge->to, ret_moved,
                           err);
}

/* progress over changes that concern others only, so that these can be purged */
static bool record_looked(Edge *edge, Err *err)
{
    if (edge->looked == NULL)
        return true;
    if (!conn_do(edge->to, "BEGIN", err) ||
        !record_progress(edge, edge->looked, &(ApplyStats){0}, err) ||
        !conn_do(edge->to, "COMMIT", err)) {
        conn_rollback(edge->to);
        return false;
    }
    set_snapshot(edge, &edge->applied, edge->looked);
    return true;
}

static bool purge_source(Edge *edge, Err *err)
{
    bool worth;

    if (edge->applied == NULL)
        return true;
    if (!queue_is_worth_purging(edge->from, &worth, err))
        return false;
    return !worth ||
           (record_looked(edge, err) && queue_purge(edge->from, edge->name, edge->applied, err));
}

/* where nobody reads the queue of `to`, nobody else takes out our marks */
static bool purge_marks(Edge *edge, Err *err)
{
    bool worth;

    if (!edge->service)
        return true;
    if (!queue_is_worth_purging(edge->to, &worth, err))
        return false;
    return !worth || queue_purge(edge->to, NULL, NULL, err);
}

bool edge_purge(Edge *edge, Err *err)
{
    if (edge->unpurged_changes < PURGE_AFTER_CHANGES &&
        clock_ms() - edge->purged_ms < PURGE_EVERY_MS)
        return true;
    edge->purged_ms = clock_ms();
    edge->unpurged_changes = 0;
    return purge_source(edge, err) && purge_marks(edge, err);
}

/*
 * locks the table's entry against another settler (of a process that was thought dead), and looks
 * what it did
 */
static bool claim_settle(Conn *to, int tab, bool *ret_settled, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Sql *lock = sql_new(tmp), *q = sql_new(tmp);
    Rows *rows;

    sql_add(lock, "SELECT 1 FROM pgtandem.tab WHERE id = ");
    sql_i64(lock, tab);
    sql_add(lock, " FOR UPDATE");
    sql_add(q, "SELECT EXISTS (SELECT 1 FROM pgtandem.settled WHERE tab = ");
    sql_i64(q, tab);
    sql_add(q, ")");
    if (!conn_exec(to, lock, err) || !conn_query(tmp, to, q, &rows, err))
        return false;
    *ret_settled = rows_bool(rows, 0, 0);
    return true;
}

/* a table that was read with one snapshot has no row twice */
static bool has_one_chunk(Conn *to, int tab, bool *ret_one, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Sql *q = sql_new(tmp);
    Rows *rows;

    sql_add(q, "SELECT count(*) <= 1 FROM pgtandem.chunk WHERE tab = ");
    sql_i64(q, tab);
    if (!conn_query(tmp, to, q, &rows, err))
        return false;
    *ret_one = rows_bool(rows, 0, 0);
    return true;
}

/* replaces the rows of all keys of the table that were captured so far */
static bool settle_rows(TablePair *pair, Conn *from, Conn *to, Err *err)
{
    AUTO_CTX(tmp, NULL);
    ApplyStats stats = {0};
    Pending *pending;
    const Window everything = {0};
    const char *snapshot;
    size_t n;

    if (!queue_begin(tmp, from, &everything, &pending, &n, &snapshot, err))
        return false;
    for (size_t i = 0; i < n; i++)
        if (pending[i].tab == pair->src->id &&
            !apply_keys(pair, from, to, queue_keys(tmp, pair->src, &pending[i], &everything),
                        pending[i].whole, APPLY_REPLACE, NULL, &stats, err))
            return false;
    return true;
}

bool edge_settle_table(TablePair *pair, Conn *from, Conn *to, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Sql *q = sql_new(tmp);
    bool settled, one_chunk;

    if (!conn_do(to, "BEGIN", err) || !claim_settle(to, pair->src->id, &settled, err))
        goto failed;
    if (settled) {
        conn_rollback(to);
        return true;
    }
    if (!has_one_chunk(to, pair->src->id, &one_chunk, err) ||
        (!one_chunk && pair->src->n_keys > 0 && !settle_rows(pair, from, to, err)))
        goto failed;
    sql_add(q, "INSERT INTO pgtandem.settled (tab) VALUES (");
    sql_i64(q, pair->src->id);
    sql_add(q, ")");
    if (!conn_exec(to, q, err) || !fault("copy.settled", err) || !conn_do(to, "COMMIT", err) ||
        !fault("copy.settle.done", err))
        goto failed;
    conn_rollback(from);
    return true;
failed:
    conn_rollback(from);
    conn_rollback(to);
    pair->staged = false;
    return err_add(err, "while settling table %s", table_label(tmp, pair->src));
}

bool edge_catch_up(Edge *edge, int64_t max_changes,
                   void (*on_round)(void *arg, const RoundStats *round), void *arg, Err *err)
{
    RoundStats round;

    do {
        if (!edge_round(edge, &round, err) || !edge_purge(edge, err))
            return false;
        if (round.outdated) {
            err_set(err, ERR_STATE, "tables on the %s were altered while the copy is being made",
                    conn_label(edge->from));
            return err_hint(err,
                            "Run the same command again. Should it refuse, make the same change "
                            "on the %s first.",
                            conn_label(edge->to));
        }
        if (on_round != NULL)
            on_round(arg, &round);
    } while (round.changes > max_changes);
    return true;
}
