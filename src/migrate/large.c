/* Large objects: see large.h. */
#include "migrate/large.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "base/str.h"
#include "capture/queue.h"
#include "migrate/items.h"
#include "migrate/sleep.h"
#include "pg/sqlstate.h"
#include "sql/queries.h"

enum {
    PASS_PAGES = 32768,              /* pages in one transaction of the first copy: 64 MB */
    NARROW_BYTES = 16 * 1024 * 1024, /* smaller catalogs are read faster than this is prepared */
    NARROW_PAGES = 4000,             /* so many pages are read one by one, more in one scan */
    BATCH_OBJECTS = 500              /* in one transaction: each takes a place in the lock table */
};

/* one look while it lasts */
typedef struct Look {
    Edge *edge;
    const char *pages_since; /* transaction id, as text */
    const char *since;       /* the same for owners and so on; NULL: all objects */
    const char *snapshot;
    LargeStats stats;
} Look;

bool large_may_carry(Conn *a, Conn *b, bool *ret_may, Err *err)
{
    AUTO_CTX(tmp, NULL);
    LargeMayRow *x, *y;
    size_t n;

    if (!q_large_may(tmp, a, &x, &n, err) || !q_large_may(tmp, b, &y, &n, err))
        return false;
    *ret_may = x->may && y->may;
    return true;
}

bool large_exist(Conn *conn, bool *ret_exist, Err *err)
{
    AUTO_CTX(tmp, NULL);
    LargeIdsRow *rows;
    size_t n;

    if (!q_large_ids(tmp, conn, 0, 1, &rows, &n, err))
        return false;
    *ret_exist = n > 0;
    return true;
}

/* --- ids and lists of them --- */

/* the oldest transaction that a snapshot ("xmin:xmax:…") may not see, as servers count: 32 bits */
static char *first_unseen(const void *ctx, const char *snapshot)
{
    return mem_printf(ctx, "%u", (unsigned)(strtoll(snapshot, NULL, 10) & UINT32_MAX));
}

/* an array literal of object ids; at(i) is read from rows of any of the queries */
#define ID_ARRAY(ctx, rows, n)                                                                     \
    __extension__({                                                                                \
        Str *ids_ = str_new(ctx);                                                                  \
        str_char(ids_, '{');                                                                       \
        for (size_t i_ = 0; i_ < (n); i_++)                                                        \
            str_fmt(ids_, "%s%lld", i_ > 0 ? "," : "", (long long)(rows)[i_].object);              \
        str_char(ids_, '}');                                                                       \
        (const char *)ids_->text;                                                                  \
    })

static bool exec_with_ids(Conn *conn, const char *before, const char *ids, const char *after,
                          Err *err)
{
    AUTO_CTX(tmp, NULL);
    Sql *q = sql_new(tmp);

    sql_trusted(q, before);
    sql_text(q, ids);
    sql_trusted(q, after);
    return conn_exec(conn, q, err);
}

/* --- pages --- */

/* reads pages on `from`, chosen by a condition, into a table on `to` */
static bool pipe_pages(Edge *edge, const Sql *condition, const char *into, int64_t *ret_rows,
                       Err *err)
{
    AUTO_CTX(tmp, NULL);
    Sql *out = sql_new(tmp), *in = sql_new(tmp);
    CopyStats copied;

    sql_add(out, "COPY (SELECT p.loid, p.pageno, p.data FROM pg_catalog.pg_largeobject p WHERE ");
    sql_splice(out, condition);
    sql_add(out, ") TO STDOUT WITH (FORMAT binary)");
    sql_add(in, "COPY ");
    sql_trusted(in, into);
    sql_add(in, " (loid, pageno, data) FROM STDIN WITH (FORMAT binary)");
    if (!conn_copy_pipe(edge->from, out, edge->to, in, NULL, NULL, &copied, err))
        return err_add(err, "while copying large objects");
    *ret_rows = copied.rows;
    return true;
}

/* replaces all pages of one object */
static bool replace_object(Look *look, int64_t object, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Sql *condition = sql_new(tmp), *q = sql_new(tmp);
    int64_t rows;

    sql_add(q, "DELETE FROM pg_catalog.pg_largeobject WHERE loid = ");
    sql_number(q, object);
    sql_add(condition, "p.loid = ");
    sql_number(condition, object);
    if (!conn_exec(look->edge->to, q, err) ||
        !pipe_pages(look->edge, condition, "pg_catalog.pg_largeobject", &rows, err))
        return false;
    look->stats.pages += rows;
    return true;
}

/*
 * Pages that went away leave no trace that could be read, but every page there is has been carried:
 * so the same number of pages means the same pages. (An object that was cut off, or dropped and made
 * anew.)
 */
static bool compare_pages(Look *look, const char *ids, Err *err)
{
    AUTO_CTX(tmp, NULL);
    LargePagesRow *here, *there;
    size_t n, n_there;

    if (!q_large_pages(tmp, look->edge->from, ids, &here, &n, err) ||
        !q_large_pages(tmp, look->edge->to, ids, &there, &n_there, err))
        return false;
    for (size_t i = 0; i < n; i++)
        if (here[i].pages != there[i].pages && !replace_object(look, here[i].object, err))
            return false;
    return true;
}

/* staged pages go into their objects */
static bool merge_stage(Look *look, Err *err)
{
    Conn *to = look->edge->to;
    int64_t last = 0;

    /* few pages of many: the planner knows nothing of the stage, and must not scan the catalog */
    if (!conn_do(to,
                 "SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off; "
                 "SET LOCAL enable_seqscan = off; "
                 "DELETE FROM pg_catalog.pg_largeobject p USING pg_temp.pgtandem_large s "
                 "WHERE p.loid = s.loid AND p.pageno = s.pageno; "
                 "INSERT INTO pg_catalog.pg_largeobject (loid, pageno, data) "
                 "SELECT s.loid, s.pageno, s.data FROM pg_temp.pgtandem_large s "
                 "ORDER BY s.loid, s.pageno",
                 err))
        return err_add(err, "while writing pages of large objects");
    for (;;) {
        AUTO_CTX(tmp, NULL);
        LargeStagedRow *rows;
        size_t n;

        if (!q_large_staged(tmp, to, last, BATCH_OBJECTS, &rows, &n, err))
            return false;
        if (n == 0)
            return true;
        if (!compare_pages(look, ID_ARRAY(tmp, rows, n), err))
            return false;
        last = rows[n - 1].object;
    }
}

/* few pages were written since large_narrow(): only these are read */
static bool add_map(Look *look, Sql *condition, Err *err)
{
    AUTO_CTX(tmp, NULL);
    const char *map = look->edge->large_map;
    Sql *q = sql_new(tmp);
    Rows *rows;

    if (map == NULL)
        return true;
    sql_add(q, "SELECT pg_catalog.count(*) FROM ");
    sql_trusted(q, map);
    sql_add(q, "('pg_catalog.pg_largeobject') v WHERE NOT v.all_visible");
    if (!conn_query(tmp, look->edge->from, q, &rows, err))
        return false;
    log_debug("large objects: %lld pages to read", (long long)rows_i64(rows, 0, 0));
    if (rows_i64(rows, 0, 0) > NARROW_PAGES)
        return true;
    /* every place in a page where a row may be; a row takes 28 bytes at least */
    sql_add(condition,
            "p.ctid = ANY (ARRAY(SELECT pg_catalog.format('(%s,%s)', v.blkno, n)::tid FROM ");
    sql_trusted(condition, map);
    sql_add(condition,
            "('pg_catalog.pg_largeobject') v, pg_catalog.generate_series(1, "
            "pg_catalog.current_setting('block_size')::int / 28) n WHERE NOT v.all_visible)) AND ");
    return true;
}

static bool carry_pages(Look *look, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Sql *condition = sql_new(tmp);
    int64_t rows;

    if (!add_map(look, condition, err))
        return false;
    sql_add(condition, "pg_catalog.age(p.xmin) <= (SELECT pg_catalog.age(");
    sql_literal(condition, look->pages_since);
    sql_add(condition, "::pg_catalog.xid))");
    if (!conn_do(look->edge->to,
                 "CREATE TEMP TABLE IF NOT EXISTS pgtandem_large (loid oid, pageno integer, data "
                 "bytea); TRUNCATE pg_temp.pgtandem_large",
                 err) ||
        !pipe_pages(look->edge, condition, "pg_temp.pgtandem_large", &rows, err))
        return false;
    look->stats.pages += rows;
    return rows == 0 || merge_stage(look, err);
}

/* --- the objects as such --- */

/* what makes one object the same as on `from`; each may be refused, where a role is missing */
typedef enum ObjectPart { PART_REVOKE, PART_OWNER, PART_GRANT, PART_COMMENT, N_PARTS } ObjectPart;

typedef struct ObjectSql {
    const char *part[N_PARTS]; /* NULL: nothing to do */
} ObjectSql;

static const char *const part_names[] = {"rights", "owner", "rights", "comment"};

static ObjectSql object_sql(const void *ctx, const Look *look, const LargeChangedRow *row,
                            const LargeRevokesRow *there)
{
    ObjectSql sql = {0};
    long long object = (long long)row->object;

    sql.part[PART_OWNER] =
        mem_printf(ctx, "ALTER LARGE OBJECT %lld OWNER TO %s; ", object, row->owner);
    if (!there->plain || !row->plain) {
        if (there->statement != NULL)
            sql.part[PART_REVOKE] = mem_printf(ctx, "%s; ", there->statement);
        if (row->grants != NULL)
            sql.part[PART_GRANT] = mem_printf(ctx, "%s; ", row->grants);
    }
    if (row->comment != NULL || look->since != NULL)
        sql.part[PART_COMMENT] = mem_printf(ctx, "COMMENT ON LARGE OBJECT %lld IS %s; ", object,
                                            row->comment == NULL ? "NULL" : row->comment);
    return sql;
}

static const LargeRevokesRow *find_revokes(const LargeRevokesRow *rows, size_t n, int64_t object)
{
    for (size_t i = 0; i < n; i++)
        if (rows[i].object == object)
            return &rows[i];
    return NULL;
}

/* one by one, after all at once were refused; what is not possible is told once */
static bool run_singly(Conn *to, const LargeChangedRow *rows, const ObjectSql *sql, size_t n,
                       Err *err)
{
    for (int part = 0; part < N_PARTS; part++) {
        AUTO_CTX(tmp, NULL);
        const char *first = NULL;
        long long object = 0;
        size_t refused = 0;

        for (size_t i = 0; i < n; i++) {
            const char *refusal;

            if (sql[i].part[part] == NULL)
                continue;
            if (!item_try_optional(tmp, to, sql[i].part[part], &refusal, err))
                return false;
            if (refusal == NULL)
                continue;
            if (refused++ == 0) {
                first = refusal;
                object = (long long)rows[i].object;
            }
        }
        if (refused > 0)
            log_warn("not carried over: the %s of %zu large object%s, e.g. %lld (%s)",
                     part_names[part], refused, refused == 1 ? "" : "s", object, first);
    }
    return true;
}

static bool apply_objects(Look *look, const LargeChangedRow *rows, size_t n, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Conn *to = look->edge->to;
    const char *ids = ID_ARRAY(tmp, rows, n), *refusal;
    LargeRevokesRow *revokes;
    size_t n_revokes;
    ObjectSql *sql = mem_array(tmp, ObjectSql, n);
    Str *all = str_new(tmp);

    if (!exec_with_ids(to, "SELECT pg_catalog.lo_create(o.oid) FROM unnest(", ids,
                       "::text::oid[]) o (oid) WHERE NOT EXISTS (SELECT 1 FROM "
                       "pg_catalog.pg_largeobject_metadata m WHERE m.oid = o.oid)",
                       err) ||
        !compare_pages(look, ids, err) || !q_large_revokes(tmp, to, ids, &revokes, &n_revokes, err))
        return false;
    for (size_t i = 0; i < n; i++) {
        const LargeRevokesRow *there = find_revokes(revokes, n_revokes, rows[i].object);

        if (there == NULL)
            return err_set(err, ERR_STATE, "large object %lld went away on the %s",
                           (long long)rows[i].object, conn_label(to));
        sql[i] = object_sql(tmp, look, &rows[i], there);
        for (int part = 0; part < N_PARTS; part++)
            str_add(all, sql[i].part[part] == NULL ? "" : sql[i].part[part]);
    }
    look->stats.objects += (int64_t)n;
    return item_try_optional(tmp, to, all->text, &refusal, err) &&
           (refusal == NULL || run_singly(to, rows, sql, n, err));
}

static bool carry_objects(Look *look, Err *err)
{
    int64_t last = 0;

    for (;;) {
        AUTO_CTX(tmp, NULL);
        LargeChangedRow *rows;
        size_t n;

        if (!q_large_changed(tmp, look->edge->from, look->since, last, BATCH_OBJECTS, &rows, &n,
                             err))
            return false;
        if (n == 0)
            return true;
        if (!conn_do(look->edge->to, "BEGIN", err) || !apply_objects(look, rows, n, err) ||
            !conn_do(look->edge->to, "COMMIT", err))
            return false;
        last = rows[n - 1].object;
    }
}

/* takes out what `from` does not have, among these objects of `to` */
static bool drop_gone(Look *look, const LargeIdsRow *rows, size_t n, Err *err)
{
    AUTO_CTX(tmp, NULL);
    LargeAmongRow *there;
    LargeIdsRow *gone = mem_array(tmp, LargeIdsRow, n);
    size_t n_there, n_gone = 0, t = 0;
    Sql *comments = sql_new(tmp);

    if (!q_large_among(tmp, look->edge->from, ID_ARRAY(tmp, rows, n), &there, &n_there, err))
        return false;
    for (size_t i = 0; i < n; i++) {
        while (t < n_there && there[t].object < rows[i].object)
            t++;
        if (t == n_there || there[t].object != rows[i].object) {
            gone[n_gone++] = rows[i];
        } else if (rows[i].commented && !there[t].commented) {
            sql_add(comments, "COMMENT ON LARGE OBJECT ");
            sql_number(comments, rows[i].object);
            sql_add(comments, " IS NULL; ");
        }
    }
    look->stats.dropped += (int64_t)n_gone;
    return (n_gone == 0 ||
            exec_with_ids(look->edge->to, "SELECT pg_catalog.lo_unlink(o.oid) FROM unnest(",
                          ID_ARRAY(tmp, gone, n_gone), "::text::oid[]) o (oid)", err)) &&
           (comments->text->len == 0 || conn_exec(look->edge->to, comments, err));
}

/*
 * what `from` has is on `to` by now, so the same number of objects means the same objects; and
 * likewise of comments
 */
static bool carry_drops(Look *look, Err *err)
{
    AUTO_CTX(tmp, NULL);
    LargeCountsRow *here, *there;
    size_t n;
    int64_t last = 0;

    if (!q_large_counts(tmp, look->edge->from, &here, &n, err) ||
        !q_large_counts(tmp, look->edge->to, &there, &n, err))
        return false;
    if (here->objects == there->objects && here->comments == there->comments)
        return true;
    for (;;) {
        AUTO_CTX(batch, NULL);
        LargeIdsRow *rows;

        if (!q_large_ids(batch, look->edge->to, last, BATCH_OBJECTS, &rows, &n, err))
            return false;
        if (n == 0)
            return true;
        if (!conn_do(look->edge->to, "BEGIN", err) || !drop_gone(look, rows, n, err) ||
            !conn_do(look->edge->to, "COMMIT", err))
            return false;
        last = rows[n - 1].object;
    }
}

/* --- the first copy --- */

static bool record_pass(Edge *edge, const char *snapshot, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Sql *q = sql_new(tmp);

    sql_add(q, "UPDATE pgtandem.progress SET large_pass = ");
    sql_text(q, snapshot);
    sql_add(q, " WHERE edge = ");
    sql_text(q, edge->name);
    return conn_exec(edge->to, q, err);
}

/* one transaction of it; what is on `to` already says where to go on */
static bool pass_batch(Edge *edge, int64_t *ret_rows, Err *err)
{
    AUTO_CTX(tmp, NULL);
    LargeLastPageRow *last;
    size_t n;
    Sql *condition = sql_new(tmp);

    if (!q_large_last_page(tmp, edge->to, &last, &n, err))
        return false;
    if (n == 0)
        sql_add(condition, "true");
    else {
        sql_add(condition, "(p.loid, p.pageno) > (");
        sql_number(condition, last->loid);
        sql_add(condition, ", ");
        sql_number(condition, last->pageno);
        sql_add(condition, ")");
    }
    sql_add(condition, " ORDER BY p.loid, p.pageno LIMIT ");
    sql_number(condition, PASS_PAGES);
    return pipe_pages(edge, condition, "pg_catalog.pg_largeobject", ret_rows, err);
}

/* pages of all objects, in the order of their key, each batch with a snapshot of its own */
static bool first_pass(Edge *edge, Err *err)
{
    AUTO_CTX(tmp, NULL);
    int64_t rows, total = 0;

    do {
        if (!conn_do(edge->to, "BEGIN", err) || !pass_batch(edge, &rows, err) ||
            !fault("large.loaded", err) || !conn_do(edge->to, "COMMIT", err)) {
            conn_rollback(edge->to);
            return false;
        }
        total += rows;
        log_progress("large objects: %s pages copied", str_count(tmp, total));
    } while (rows > 0);
    log_progress_end();
    return true;
}

/* --- a look --- */

static bool record(Edge *edge, const char *snapshot, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Sql *q = sql_new(tmp);

    sql_add(q, "UPDATE pgtandem.progress SET large_snapshot = ");
    sql_text(q, snapshot);
    sql_add(q, " WHERE edge = ");
    sql_text(q, edge->name);
    return conn_exec(edge->to, q, err);
}

/*
 * In several transactions, since an object takes a place in the lock table: doing any of it twice
 * changes nothing, and the snapshot is recorded last.
 */
static bool run_look(Look *look, bool first, Err *err)
{
    Conn *to = look->edge->to;

    if (!conn_do(to, "BEGIN", err) || !carry_pages(look, err) || !conn_do(to, "COMMIT", err) ||
        !fault("large.pages", err) || !carry_objects(look, err) || !fault("large.objects", err))
        return false;
    /* pages that were copied before their object was dropped */
    if (first && !conn_do(to,
                          "DELETE FROM pg_catalog.pg_largeobject p WHERE NOT EXISTS (SELECT 1 "
                          "FROM pg_catalog.pg_largeobject_metadata m WHERE m.oid = p.loid)",
                          err))
        return false;
    return carry_drops(look, err) && fault("large.applied", err) &&
           record(look->edge, look->snapshot, err);
}

bool large_carry(Edge *edge, LargeStats *ret_stats, Err *err)
{
    AUTO_CTX(tmp, NULL);
    int64_t begun = clock_ms();
    LargeProgressRow *progress;
    const char *snapshot;
    size_t n;

    *ret_stats = (LargeStats){0};
    if (!edge->large)
        return true;
    if (!q_large_progress(tmp, edge->to, edge->name, &progress, &n, err) ||
        !queue_snapshot(tmp, edge->from, &snapshot, err))
        return false;
    if (progress->snapshot != NULL && strcmp(progress->snapshot, snapshot) == 0)
        return true;
    if (progress->snapshot == NULL) {
        if (progress->pass == NULL) {
            progress->pass = snapshot;
            if (!record_pass(edge, snapshot, err))
                return false;
        }
        if (!first_pass(edge, err))
            return false;
    }
    bool first = progress->snapshot == NULL;
    Look l = {.edge = edge};
    l.pages_since = first_unseen(tmp, first ? progress->pass : progress->snapshot);
    l.since = first ? NULL : l.pages_since;
    if (!conn_do(edge->from, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", err) ||
        !queue_snapshot(tmp, edge->from, &l.snapshot, err) || !run_look(&l, first, err)) {
        conn_rollback(edge->from);
        conn_rollback(edge->to);
        return err_add(err, "while carrying large objects");
    }
    conn_rollback(edge->from);
    *ret_stats = l.stats;
    ret_stats->ms = clock_ms() - begun;
    edge->large_ms = clock_ms();
    edge->large_took_ms = ret_stats->ms;
    return true;
}

/*
 * A page that is written loses its mark in the visibility map, and VACUUM (which may come any time)
 * sets it only when every transaction that runs sees all of its rows. So while the horizon's snapshot
 * lasts, every page that was written since has no mark.
 */
/* an autovacuum that is at work there may last */
static bool vacuum_large(Conn *conn, Err *err)
{
    if (!conn_do(conn, "SET lock_timeout = 2000", err))
        return false;
    /* few dead rows would be left where they are, and keep their pages from getting the mark */
    bool ok = conn_caps(conn)->vacuum_skips_indexes
                  ? conn_do(conn, "VACUUM (INDEX_CLEANUP on) pg_catalog.pg_largeobject", err)
                  : conn_do(conn, "VACUUM pg_catalog.pg_largeobject", err);
    if (!ok && err_is(err, SQLSTATE_LOCK_NOT_AVAILABLE)) {
        err_clear(err);
        ok = true;
    }
    return conn_do(conn, "SET lock_timeout = 0", ok ? err : err_new(conn)) && ok;
}

static bool prepare_map(Edge *edge, const char **ret_function, Err *err)
{
    AUTO_CTX(tmp, NULL);
    LargeMapRow *map;
    size_t n;

    if (!q_large_map(tmp, edge->from, &map, &n, err))
        return false;
    if (map->function == NULL && map->available &&
        (!conn_do(edge->from, "CREATE EXTENSION pg_visibility SCHEMA pgtandem", err) ||
         !q_large_map(tmp, edge->from, &map, &n, err)))
        return false;
    *ret_function = map->function == NULL ? NULL : mem_strdup(edge, map->function);
    return *ret_function == NULL || vacuum_large(edge->from, err);
}

/* VACUUM sets no mark on a page with rows that this snapshot does not see */
static bool hold_horizon(Conn *conn, Err *err)
{
    return conn_do(conn,
                   "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SELECT "
                   "pg_catalog.txid_current_snapshot()",
                   err);
}

bool large_narrow(Edge *edge, Conn *const horizon[2], Err *err)
{
    AUTO_CTX(tmp, NULL);
    LargeCountsRow *counts;
    LargeStats stats;
    const char *function;
    size_t n;

    if (!q_large_counts(tmp, edge->from, &counts, &n, err))
        return false;
    if (counts->bytes < NARROW_BYTES)
        return true;
    if (!prepare_map(edge, &function, err)) {
        /* an event trigger, an autovacuum that does not end: then the last look takes longer */
        if (err->kind != ERR_SQL || conn_is_broken(edge->from))
            return false;
        log_warn("the last look at large objects will read all of them: %s", err->msg);
        err_clear(err);
        return true;
    }
    if (function == NULL)
        return true;
    if (!hold_horizon(horizon[0], err) || !large_carry(edge, &stats, err))
        return err_add(err, "while preparing large objects for the switch");
    edge->large_map = function;
    /*
     * that look was a scan, and much may have been written meanwhile: once more from here. The marks
     * come only when the pages before the second snapshot have been looked at.
     */
    if (!hold_horizon(horizon[1], err) || !large_carry(edge, &stats, err))
        return err_add(err, "while preparing large objects for the switch");
    conn_rollback(horizon[0]);
    return vacuum_large(edge->from, err);
}

void large_widen(Edge *edge)
{
    edge->large_map = NULL;
}

/* --- fence, end --- */

Sql *large_lock(const void *ctx)
{
    Sql *q = sql_new(ctx);

    /* in the order in which lo_create() and lo_unlink() use them */
    sql_add(q, "LOCK TABLE pg_catalog.pg_largeobject_metadata, pg_catalog.pg_largeobject IN SHARE "
               "MODE");
    return q;
}

bool large_close(Conn *conn, Err *err)
{
    AUTO_CTX(tmp, NULL);
    LargeWritersRow *rows;
    size_t n;

    if (!q_large_writers(tmp, conn, &rows, &n, err))
        return false;
    for (size_t i = 0; i < n; i++)
        if (!sleep_function(conn, rows[i].name, err))
            return err_add(err, "while closing %s", rows[i].name);
    return true;
}

bool large_drop_all(Conn *conn, Err *err)
{
    AUTO_CTX(tmp, NULL);
    LargeProgressRow *progress;
    size_t n;

    if (!q_large_progress(tmp, conn, EDGE_OF_RUN, &progress, &n, err))
        return false;
    if (n == 0 || progress->pass == NULL)
        return true;
    for (;;) {
        AUTO_CTX(batch, NULL);
        LargeIdsRow *rows;

        if (!q_large_ids(batch, conn, 0, BATCH_OBJECTS, &rows, &n, err))
            return false;
        if (n == 0)
            break;
        if (!exec_with_ids(conn, "SELECT pg_catalog.lo_unlink(o.oid) FROM unnest(",
                           ID_ARRAY(batch, rows, n), "::text::oid[]) o (oid)", err))
            return err_add(err, "while removing large objects");
    }
    /* pages that came before their objects */
    return conn_do(conn, "DELETE FROM pg_catalog.pg_largeobject", err);
}
