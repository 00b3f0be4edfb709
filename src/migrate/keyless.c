/* Tables without key: see keyless.h. */
#include "migrate/keyless.h"

#include "base/fault.h"
#include "base/log.h"
#include "base/str.h"
#include "capture/capture.h"
#include "pg/sqlstate.h"
#include "sql/queries.h"

/* the source's snapshot in which a table without key was copied, or NULL */
static bool snapshot_of_copy(const void *ctx, Conn *to, int tab, const char **ret_snapshot,
                             Err *err)
{
    AUTO_CTX(tmp, NULL);
    Sql *q = sql_new(tmp);
    Rows *rows;

    sql_add(q, "SELECT min(snapshot) FROM pgtandem.chunk WHERE tab = ");
    sql_number(q, tab);
    if (!conn_query(tmp, to, q, &rows, err))
        return false;
    const char *snapshot = rows_text(rows, 0, 0);
    *ret_snapshot = snapshot == NULL ? NULL : mem_strdup(ctx, snapshot);
    return true;
}

/* in the round's transaction, also when it is known: the flag in memory may be of one that was rolled back */
static bool set_adrift(Conn *to, TablePair *pair, bool adrift, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Sql *q = sql_new(tmp);

    pair->adrift = adrift;
    sql_trusted(q, adrift ? "UPDATE pgtandem.tab SET adrift = true WHERE NOT adrift AND id = "
                          : "UPDATE pgtandem.tab SET adrift = false WHERE adrift AND id = ");
    sql_number(q, pair->src->id);
    return conn_exec(to, q, err);
}

/*
 * What the copy of a table without key refuses must not stop all others: from then on its changes are passed
 * over, and it is copied under the fence.
 */
static bool try_images(Edge *edge, TablePair *pair, const Sql *images, ApplyStats *stats, Err *err)
{
    AUTO_CTX(tmp, NULL);
    bool staged = pair->staged;

    if (!conn_do(edge->to, "SAVEPOINT pgtandem_images", err))
        return false;
    if (apply_images(pair, edge->from, edge->to, images, stats, err))
        return conn_do(edge->to, "RELEASE SAVEPOINT pgtandem_images", err);
    if (err->kind != ERR_STATE && (err->kind != ERR_SQL || (err_remedy(err) != REMEDY_CONFLICT &&
                                                            err_remedy(err) != REMEDY_GIVE_UP)))
        return false;
    /* it has to be the copy that refused */
    if (!conn_do(edge->to, "ROLLBACK TO SAVEPOINT pgtandem_images", err_new(tmp)) ||
        !conn_do(edge->from, "SELECT 1", err_new(tmp)))
        return false;
    pair->staged = staged;
    log_warn(
        "%s; table %s has no key and is not followed from here on: it will be copied during the "
        "switch",
        err->msg, table_label(tmp, pair->src));
    err_clear(err);
    return set_adrift(edge->to, pair, true, err);
}

bool keyless_apply(Edge *edge, TablePair *pair, const Pending *pending, Window window,
                   ApplyStats *stats, Err *err)
{
    AUTO_CTX(tmp, NULL);
    bool whole = pending->whole;

    /* the first round must not carry what was copied already */
    if (window.since == NULL && !whole) {
        if (!snapshot_of_copy(tmp, edge->to, pair->src->id, &window.since, err))
            return false;
        whole = window.since == NULL;
    }
    if (whole)
        return apply_whole_table(pair, edge->from, edge->to, stats, err) &&
               set_adrift(edge->to, pair, false, err);
    if (pair->adrift)
        return set_adrift(edge->to, pair, true, err);
    return try_images(edge, pair, queue_images(tmp, pair->src, pending, &window), stats, err);
}

/* the copy has all changes up to this mark */
static bool remember_mark(Conn *to, int tab, int64_t mark, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Sql *q = sql_new(tmp);

    sql_add(q, "UPDATE pgtandem.tab SET copied_mark = ");
    sql_i64(q, mark);
    sql_add(q, ", adrift = false WHERE id = ");
    sql_i64(q, tab);
    return conn_exec(to, q, err);
}

static bool copy_table(Edge *edge, TablePair *pair, ApplyStats *stats, Err *err)
{
    return table_is_config(pair->src) ? apply_config_rows(pair, edge->from, edge->to, stats, err)
                                      : apply_whole_table(pair, edge->from, edge->to, stats, err);
}

bool keyless_copy(Edge *edge, int64_t *ret_rows, Err *err)
{
    AUTO_CTX(tmp, NULL);
    ApplyStats stats = {0};
    ChangedTable *changed;
    size_t n;

    *ret_rows = 0;
    if (!queue_changed_keyless(tmp, edge->from, edge->to, &changed, &n, err))
        return false;
    if (n == 0)
        return true;
    if (!conn_do(edge->from, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", err) ||
        !edge_begin_apply(edge, err))
        goto failed;
    for (size_t i = 0; i < n; i++) {
        TablePair *pair = edge_find_pair(edge, changed[i].tab);

        /* a table that is gone has none */
        if (pair != NULL && (!copy_table(edge, pair, &stats, err) ||
                             !remember_mark(edge->to, changed[i].tab, changed[i].mark, err)))
            goto failed;
    }
    if (!conn_do(edge->to, "COMMIT", err))
        goto failed;
    conn_rollback(edge->from);
    for (size_t i = 0; i < n; i++) {
        TablePair *pair = edge_find_pair(edge, changed[i].tab);

        if (pair != NULL)
            pair->adrift = false;
    }
    *ret_rows = stats.rows;
    return true;
failed:
    conn_rollback(edge->from);
    conn_rollback(edge->to);
    return false;
}

/* no mark has this value: until it gets another one, the table is copied under the fence */
enum { NEVER_COPIED = -1 };

/*
 * The copy's own capture first: it is for the way back, and nobody writes there. Then the writers' node: what was
 * marked until then is carried with all rows of the table, by the next round, and the mark begins anew.
 */
static bool adopt(TablePair *pair, Conn *from, Conn *to, bool *ret_done, Err *err)
{
    return capture_follow(to, pair->dst, false, ret_done, err) &&
           (!*ret_done ||
            (remember_mark(to, pair->src->id, NEVER_COPIED, err) && fault("keyless.adopt", err) &&
             capture_follow(from, pair->src, true, ret_done, err) &&
             fault("keyless.adopted", err) &&
             (!*ret_done || remember_mark(to, pair->src->id, 0, err))));
}

/* whoever locks a table (VACUUM FULL, say) must not hold up the rounds */
static bool read_grown(const void *ctx, Conn *from, int64_t limit, KeylessOnlyMarkedRow **ret,
                       size_t *ret_n, Err *err)
{
    bool ok = conn_do(from, "BEGIN READ ONLY; SET LOCAL lock_timeout = 100", err) &&
              q_keyless_only_marked(ctx, from, limit, ret, ret_n, err);

    conn_rollback(from);
    return ok;
}

static bool is_listed(const KeylessFollowedRow *rows, size_t n, int tab)
{
    for (size_t i = 0; i < n; i++)
        if (rows[i].id == tab)
            return true;
    return false;
}

/* after a crash in the midst of it, and a switch, the copy's capture for the way back may lag behind */
static bool complete_copy(const Edge *edge, Err *err)
{
    AUTO_CTX(tmp, NULL);
    KeylessFollowedRow *here, *there;
    size_t n_here, n_there;
    bool done;

    if (!q_keyless_followed(tmp, edge->from, &here, &n_here, err) ||
        !q_keyless_followed(tmp, edge->to, &there, &n_there, err))
        return false;
    for (size_t i = 0; i < n_here; i++) {
        TablePair *pair = edge_find_pair(edge, here[i].id);

        if (pair != NULL && !is_listed(there, n_there, here[i].id) &&
            !capture_follow(edge->to, pair->dst, false, &done, err))
            return false;
    }
    return true;
}

bool keyless_adopt(Edge *edge, int64_t bytes, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Conn *from = edge->from, *to = edge->to;
    KeylessOnlyMarkedRow *grown;
    size_t n = 0;
    bool ok = complete_copy(edge, err) && read_grown(tmp, from, bytes, &grown, &n, err);

    for (size_t i = 0; i < n && ok; i++) {
        TablePair *pair = edge_find_pair(edge, grown[i].id);
        bool done = false;

        /* it came just now; or it has rows that are not carried */
        if (pair == NULL || table_is_config(pair->src))
            continue;
        ok = adopt(pair, from, to, &done, err);
        if (done)
            log_info("table %s has no key and has grown to %s: it is followed from now on",
                     table_label(tmp, pair->src), str_bytes_human(tmp, grown[i].bytes));
    }
    if (ok || conn_is_broken(from) || conn_is_broken(to) || err->kind == ERR_CANCELED)
        return ok;
    log_debug("%s", err->msg);
    err_clear(err);
    return true;
}
