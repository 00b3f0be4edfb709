/* Tables without key that have grown: see keyless.h. */
#include "migrate/keyless.h"

#include "base/fault.h"
#include "base/log.h"
#include "base/str.h"
#include "capture/capture.h"
#include "pg/sqlstate.h"
#include "sql/queries.h"

/* no mark has this value: until it gets another one, the table is copied under the fence */
enum { NEVER_COPIED = -1 };

static bool set_copied_mark(Conn *to, int tab, int64_t mark, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Sql *q = sql_new(tmp);

    sql_add(q, "UPDATE pgtandem.tab SET copied_mark = ");
    sql_number(q, mark);
    sql_add(q, " WHERE id = ");
    sql_number(q, tab);
    return conn_exec(to, q, err);
}

/*
 * The copy's own capture first: it is for the way back, and nobody writes there. Then the writers' node: what was
 * marked until then is carried with all rows of the table, by the next round, and the mark begins anew.
 */
static bool adopt(TablePair *pair, Conn *from, Conn *to, bool *ret_done, Err *err)
{
    return capture_follow(to, pair->dst, false, ret_done, err) &&
           (!*ret_done ||
            (set_copied_mark(to, pair->src->id, NEVER_COPIED, err) && fault("keyless.adopt", err) &&
             capture_follow(from, pair->src, true, ret_done, err) &&
             fault("keyless.adopted", err) &&
             (!*ret_done || set_copied_mark(to, pair->src->id, 0, err))));
}

static TablePair *find_pair(const Edge *edge, int tab)
{
    for (size_t i = 0; i < edge->n_pairs; i++)
        if (edge->pairs[i].src->id == tab)
            return &edge->pairs[i];
    return NULL;
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
static bool complete_copy(Run *run, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Edge *edge = run->edge;
    KeylessFollowedRow *here, *there;
    size_t n_here, n_there;
    bool done;

    if (!q_keyless_followed(tmp, edge->from, &here, &n_here, err) ||
        !q_keyless_followed(tmp, edge->to, &there, &n_there, err))
        return false;
    for (size_t i = 0; i < n_here; i++) {
        TablePair *pair = find_pair(edge, here[i].id);

        if (pair != NULL && !is_listed(there, n_there, here[i].id) &&
            !capture_follow(edge->to, pair->dst, false, &done, err))
            return false;
    }
    return true;
}

bool keyless_adopt(Run *run, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Conn *from = run->edge->from, *to = run->edge->to;
    KeylessOnlyMarkedRow *grown;
    size_t n = 0;
    bool ok = complete_copy(run, err) &&
              read_grown(tmp, from, run->config->follow_keyless_bytes, &grown, &n, err);

    for (size_t i = 0; i < n && ok; i++) {
        TablePair *pair = find_pair(run->edge, grown[i].id);
        bool done = false;

        if (pair == NULL) /* it came just now */
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
