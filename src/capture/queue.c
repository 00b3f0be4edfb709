/* The queue of captured changes: see queue.h. */
#include "capture/queue.h"

#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "pg/lock.h"
#include "pg/sqlstate.h"
#include "sql/queries.h"

enum {
    NAMED_KEYS_MAX =
        5000, /* as many deltas are read into memory and named in the round's queries */
    MARKS_PER_QUERY = 400
};

/* marks among the deltas of the table q, see control.script.sql */
#define IS_TRUNCATE "(q.k IS NULL AND q.ka IS NULL)"
#define IS_ALL_ROWS "(q.ka = '{}')"

/* a segment below this size is not worth truncating (bytes); reading it costs next to nothing */
enum { PURGE_MIN_BYTES = 1024 * 1024 };

int64_t snapshot_xmax(const char *snapshot)
{
    const char *colon = snapshot == NULL ? NULL : strchr(snapshot, ':');

    return colon == NULL ? 0 : strtoll(colon + 1, NULL, 10);
}

#define KEYS                                                                                       \
    "SELECT txid, tab, k, ka, at FROM pgtandem.queue_0 UNION ALL SELECT txid, tab, k, ka, at "     \
    "FROM pgtandem.queue_1"
#define BOTH_SEGMENTS "(" KEYS ")"

/* keys, and rows of tables without key */
#define ALL_CHANGES                                                                                \
    "(" KEYS " UNION ALL SELECT txid, tab, n, NULL, NULL FROM pgtandem.image_0 "                   \
    "UNION ALL SELECT txid, tab, n, NULL, NULL FROM pgtandem.image_1)"

/* " AND (q.txid >= xmax OR q.txid IN (…))": not visible in S1; and no marks of our rounds */
static void add_window(Sql *q, const Window *window)
{
    if (window->since != NULL) {
        const char *in_progress = strchr(strchr(window->since, ':') + 1, ':') + 1;

        sql_add(q, " AND (q.txid >= ");
        sql_number(q, snapshot_xmax(window->since));
        if (*in_progress != '\0') {
            sql_add(q, " OR q.txid = ANY ('{");
            sql_trusted(q, in_progress);
            sql_add(q, "}'::bigint[])");
        }
        sql_add(q, ")");
    }
    sql_add(q, " AND q.tab <> 0");
    if (!window->own_only && window->back == NULL)
        return;
    /*
     * what a round has decided by itself goes to everybody, see capture_add_recall(); as a condition in
     * here this stays a join
     */
    sql_add(q, " AND NOT EXISTS (SELECT 1 FROM " BOTH_SEGMENTS
               " m WHERE m.tab = 0 AND m.txid = q.txid AND q.at IS DISTINCT FROM '-infinity'");
    if (window->own_only && window->but != NULL) {
        sql_add(q, " AND (left(m.ka[1], ");
        sql_number(q, (int64_t)strlen(window->but));
        sql_add(q, ") <> ");
        sql_literal(q, window->but);
        if (window->back != NULL) {
            sql_add(q, " OR m.ka[1] = ");
            sql_literal(q, window->back);
        }
        sql_add(q, ")");
    } else if (!window->own_only) {
        sql_add(q, " AND m.ka[1] = ");
        sql_literal(q, window->back);
    }
    sql_add(q, ")");
}

/* where hundreds of edges read one queue, each would get what concerns all the others */
static void add_tabs(Sql *q, const Window *window)
{
    if (window->tabs == NULL)
        return;
    sql_add(q, " AND q.tab = ANY (");
    sql_literal(q, window->tabs);
    sql_add(q, "::integer[])");
}

typedef struct Delta {
    int tab;
    const char *key; /* NULL: truncated; "{}": all rows */
} Delta;

static int compare_deltas(const void *a, const void *b)
{
    const Delta *x = a, *y = b;

    if (x->tab != y->tab)
        return x->tab < y->tab ? -1 : 1;
    if (x->key == NULL || y->key == NULL)
        return (x->key != NULL) - (y->key != NULL);
    return strcmp(x->key, y->key);
}

static void add_named(Str *keys, const char *key)
{
    if (keys->len > 1)
        str_char(keys, ',');
    str_array_element(keys, key);
}

/* groups a few deltas by table, doubles gone */
static void list_deltas(const void *ctx, Delta *deltas, size_t n, Pending **ret_pending,
                        size_t *ret_n)
{
    Pending *pending = NULL;
    size_t n_pending = 0;

    qsort(deltas, n, sizeof *deltas, compare_deltas);
    for (size_t i = 0; i < n;) {
        Pending p = {.tab = deltas[i].tab};
        Str *keys = str_new(ctx);
        const char *last = NULL;

        str_char(keys, '{');
        for (; i < n && deltas[i].tab == p.tab; i++, p.changes++) {
            const char *key = deltas[i].key;

            if (key == NULL)
                p.whole = true;
            else if (strcmp(key, "{}") == 0)
                p.whole = p.all_rows = true;
            else if (last == NULL || strcmp(last, key) != 0)
                add_named(keys, last = key);
        }
        str_char(keys, '}');
        p.keys = keys->text;
        mem_push(ctx, pending, n_pending, p);
    }
    *ret_pending = pending;
    *ret_n = n_pending;
}

/* reads up to NAMED_KEYS_MAX deltas; *ret_more: there are more, nothing was listed */
static bool list_named(const void *ctx, Conn *conn, const Window *window, Pending **ret_pending,
                       size_t *ret_n, const char **ret_snapshot, bool *ret_more, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Sql *q = sql_new(tmp);
    Rows *rows;

    sql_add(q, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; "
               "SELECT 0 AS tab, NULL::bigint AS k, NULL::text[] AS ka, "
               "txid_current_snapshot()::text UNION ALL "
               "(SELECT q.tab, q.k, q.ka, NULL FROM " ALL_CHANGES " q WHERE true");
    add_window(q, window);
    add_tabs(q, window);
    sql_add(q, " LIMIT ");
    sql_number(q, NAMED_KEYS_MAX + 1);
    sql_add(q, ")");
    if (!conn_query(tmp, conn, q, &rows, err))
        return false;
    size_t n = rows_count(rows), n_deltas = 0;
    Delta *deltas = mem_array(tmp, Delta, n + 1);

    for (size_t i = 0; i < n; i++) {
        if (rows_text(rows, i, 3) != NULL)
            *ret_snapshot = mem_strdup(ctx, rows_text(rows, i, 3));
        else
            deltas[n_deltas++] =
                (Delta){.tab = abs((int)rows_i64(rows, i, 0)),
                        .key = rows_text(rows, i, 1) != NULL ? rows_text(rows, i, 1)
                                                             : rows_text(rows, i, 2)};
    }
    *ret_more = n_deltas > NAMED_KEYS_MAX;
    if (!*ret_more)
        list_deltas(ctx, deltas, n_deltas, ret_pending, ret_n);
    return true;
}

/* many deltas: only counted, by table */
static bool list_counted(const void *ctx, Conn *conn, const Window *window, Pending **ret_pending,
                         size_t *ret_n, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Sql *q = sql_new(tmp);
    Rows *rows;
    Pending *pending = NULL;
    size_t n = 0;

    sql_add(q, "SELECT abs(q.tab), count(*), "
               "bool_or(coalesce(" IS_TRUNCATE " OR " IS_ALL_ROWS ", false)), "
               "bool_or(coalesce(" IS_ALL_ROWS ", false)), bool_and(q.tab < 0) FROM " ALL_CHANGES
               " q WHERE true");
    add_window(q, window);
    add_tabs(q, window);
    sql_add(q, " GROUP BY 1 ORDER BY 1");
    if (!conn_query(tmp, conn, q, &rows, err))
        return false;
    for (size_t i = 0; i < rows_count(rows); i++) {
        Pending p = {.tab = (int)rows_i64(rows, i, 0),
                     .changes = rows_i64(rows, i, 1),
                     .whole = rows_bool(rows, i, 2),
                     .all_rows = rows_bool(rows, i, 3),
                     .inserts = rows_bool(rows, i, 4)};

        mem_push(ctx, pending, n, p);
    }
    *ret_pending = pending;
    *ret_n = n;
    return true;
}

bool queue_begin(const void *ctx, Conn *conn, const Window *window, Pending **ret_pending,
                 size_t *ret_n, const char **ret_snapshot, Err *err)
{
    bool more;

    if (!list_named(ctx, conn, window, ret_pending, ret_n, ret_snapshot, &more, err))
        goto failed;
    if (!more)
        return true;
    if (list_counted(ctx, conn, window, ret_pending, ret_n, err))
        return true;
failed:
    conn_rollback(conn);
    return err_add(err, "while reading captured changes");
}

/* the key columns k1, k2 …; `key` stands for the k or ka that they are made of, "t." for a row */
static void add_key_columns(Sql *q, const Table *table, const char *key, bool of_row)
{
    for (size_t k = 0; k < table->n_keys; k++) {
        if (k > 0)
            sql_add(q, ", ");
        sql_trusted(q, key);
        if (of_row) {
            sql_ident(q, table->keys[k].name);
        } else {
            if (!table->key_is_int) {
                sql_add(q, "[");
                sql_number(q, (int64_t)k + 1);
                sql_add(q, "]");
            }
            sql_add(q, "::");
            sql_trusted(q, table->keys[k].type);
        }
        if (!of_row && table->keys[k].collation != NULL) {
            sql_add(q, " COLLATE ");
            sql_trusted(q, table->keys[k].collation);
        }
        sql_add(q, " AS k");
        sql_number(q, (int64_t)k + 1);
    }
}

/* GROUP BY 1, 2 …: the key columns */
static void add_grouping(Sql *q, const Table *table)
{
    sql_add(q, " GROUP BY ");
    for (size_t k = 0; k < table->n_keys; k++) {
        if (k > 0)
            sql_add(q, ", ");
        sql_number(q, (int64_t)k + 1);
    }
}

/* k1 …, of an array of keys such as Pending has */
static void add_listed_keys(Sql *q, const Table *table, const char *keys)
{
    add_key_columns(q, table, table->key_is_int ? "u.e" : "(u.e::text[])", false);
    sql_add(q, " FROM unnest(");
    sql_literal(q, keys);
    sql_trusted(q, table->key_is_int ? "::bigint[]) u(e)" : "::text[]) u(e)");
}

/*
 * " AND NOT …": changes that the opposite edge has met as a conflict, and kept from being overwritten
 * here, do not go there either. Later changes of the same key do.
 */
static void add_skipped(Sql *q, const Table *table, const Window *window)
{
    sql_add(q, " AND NOT EXISTS (SELECT 1 FROM pgtandem.conflict c WHERE c.edge = ");
    sql_literal(q, window->back);
    sql_add(q, " AND c.kind = 'row' AND c.winner = '' AND c.schema_name = ");
    sql_literal(q, table->schema);
    sql_add(q, " AND c.table_name = ");
    sql_literal(q, table->name);
    for (size_t k = 0; k < table->n_keys; k++) {
        sql_add(q, " AND (c.key)[");
        sql_number(q, (int64_t)k + 1);
        sql_add(q, "]::");
        sql_trusted(q, table->keys[k].type);
        if (table->keys[k].collation != NULL) {
            sql_add(q, " COLLATE ");
            sql_trusted(q, table->keys[k].collation);
        }
        sql_add(q, " ");
        sql_trusted(q, table->keys[k].eq_op);
        if (table->key_is_int) {
            sql_add(q, " q.k::");
        } else {
            sql_add(q, " (q.ka)[");
            sql_number(q, (int64_t)k + 1);
            sql_add(q, "]::");
        }
        sql_trusted(q, table->keys[k].type);
    }
    sql_add(q, " AND txid_visible_in_snapshot(q.txid, c.seen::txid_snapshot))");
}

static Sql *captured_keys(const void *ctx, const Table *table, const Pending *pending,
                          const Window *window)
{
    Sql *q = sql_new(ctx);

    if (pending->all_rows) {
        sql_add(q, "SELECT ");
        add_key_columns(q, table, "t.", true);
        if (window->timed)
            sql_add(q, ", NULL::timestamptz AS at");
        sql_add(q, " FROM ");
        sql_trusted(q, table_ref(q, table));
        sql_add(q, " t");
        return q;
    }
    if (pending->keys != NULL && !window->timed) {
        /* different texts may be equal for the key's type or collation */
        sql_add(q, "SELECT DISTINCT ");
        add_listed_keys(q, table, pending->keys);
        return q;
    }
    sql_trusted(q, pending->inserts || window->timed ? "SELECT " : "SELECT DISTINCT ");
    add_key_columns(q, table, table->key_is_int ? "q.k" : "(q.ka)", false);
    if (window->timed)
        sql_add(q, ", max(q.at) AS at");
    sql_add(q, " FROM " BOTH_SEGMENTS " q WHERE q.tab IN (");
    sql_number(q, table->id);
    sql_add(q, ", ");
    sql_number(q, -table->id);
    sql_add(q, ")");
    if (table->key_is_int)
        sql_add(q, " AND q.k IS NOT NULL");
    else
        sql_add(q, " AND q.ka <> '{}'");
    add_window(q, window);
    if (window->skipping)
        add_skipped(q, table, window);
    if (window->timed)
        add_grouping(q, table);
    return q;
}

Sql *queue_keys(const void *ctx, const Table *table, const Pending *pending, const Window *window)
{
    Sql *captured = captured_keys(ctx, table, pending, window);

    if (pending->more == NULL || pending->all_rows)
        return captured;
    Sql *q = sql_new(ctx);

    sql_add(q, "SELECT ");
    for (size_t k = 0; k < table->n_keys; k++) {
        sql_trusted(q, k > 0 ? ", u.k" : "u.k");
        sql_number(q, (int64_t)k + 1);
    }
    if (window->timed)
        sql_add(q, ", max(u.at) AS at");
    sql_add(q, " FROM (");
    sql_splice(q, captured);
    sql_add(q, " UNION ALL SELECT * FROM (SELECT ");
    add_listed_keys(q, table, pending->more);
    sql_trusted(q, window->timed ? ") m CROSS JOIN (SELECT NULL::timestamptz) n) u" : ") m) u");
    add_grouping(q, table);
    return q;
}

Sql *queue_images(const void *ctx, const Table *table, const Pending *pending, const Window *window)
{
    Sql *q = sql_new(ctx);

    sql_trusted(q, pending->inserts ? "SELECT 1, q.image" : "SELECT sum(q.n), q.image");
    sql_add(q,
            " FROM (SELECT txid, tab, n, image FROM pgtandem.image_0 UNION ALL SELECT txid, tab, "
            "n, image FROM pgtandem.image_1) q WHERE q.tab IN (");
    sql_number(q, table->id);
    sql_add(q, ", ");
    sql_number(q, -table->id);
    sql_add(q, ")");
    add_window(q, window);
    if (!pending->inserts)
        sql_add(q, " GROUP BY q.image HAVING sum(q.n) <> 0");
    return q;
}

bool queue_has_mark(Conn *conn, int tab, const Window *window, bool *ret_mark, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Sql *q = sql_new(tmp);
    Rows *rows;

    sql_add(q, "SELECT EXISTS (SELECT 1 FROM " BOTH_SEGMENTS " q WHERE q.tab = ");
    sql_number(q, tab);
    sql_add(q, " AND (" IS_TRUNCATE " OR " IS_ALL_ROWS ")");
    add_window(q, window);
    sql_add(q, ")");
    if (!conn_query(tmp, conn, q, &rows, err))
        return false;
    *ret_mark = rows_bool(rows, 0, 0);
    return true;
}

bool queue_has_changes(Conn *conn, int tab, const Window *window, bool *ret_changes, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Sql *q = sql_new(tmp);
    Rows *rows;

    sql_add(q, "SELECT EXISTS (SELECT 1 FROM " ALL_CHANGES " q WHERE q.tab IN (");
    sql_number(q, tab);
    sql_add(q, ", ");
    sql_number(q, -tab);
    sql_add(q, ")");
    add_window(q, window);
    sql_add(q, ")");
    if (!conn_query(tmp, conn, q, &rows, err))
        return false;
    *ret_changes = rows_bool(rows, 0, 0);
    return true;
}

/* the marks of some tables on `from`; appends those that differ */
static bool compare_marks(const void *ctx, Conn *from, const TabsRow *known, size_t n_known,
                          ChangedTable **changed, size_t *n, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Sql *q = sql_new(tmp);
    Rows *rows;

    for (size_t i = 0; i < n_known; i++) {
        if (i > 0)
            sql_add(q, " UNION ALL ");
        sql_add(q, "SELECT ");
        sql_number(q, (int64_t)i);
        sql_add(q, ", CASE WHEN is_called THEN last_value ELSE 0 END FROM pgtandem.mark_");
        sql_number(q, known[i].id);
    }
    if (!conn_query(tmp, from, q, &rows, err))
        return err_add(err, "while looking which tables without key changed");
    for (size_t r = 0; r < rows_count(rows); r++) {
        const TabsRow *tab = &known[rows_i64(rows, r, 0)];
        ChangedTable c = {.tab = tab->id, .mark = rows_i64(rows, r, 1)};

        if (c.mark != tab->copied_mark || tab->adrift)
            mem_push(ctx, *changed, *n, c);
    }
    return true;
}

bool queue_changed_keyless(const void *ctx, Conn *from, Conn *to, ChangedTable **ret_changed,
                           size_t *ret_n, Err *err)
{
    AUTO_CTX(tmp, NULL);
    TabsRow *tabs;
    ChangedTable *changed = NULL;
    size_t n_tabs, n_keyless = 0, n = 0;

    if (!q_tabs(tmp, to, &tabs, &n_tabs, err))
        return false;
    /* a number without a name is of a table that is gone */
    for (size_t i = 0; i < n_tabs; i++)
        if (tabs[i].key_columns == NULL && tabs[i].schema_name[0] != '\0')
            tabs[n_keyless++] = tabs[i];
    for (size_t first = 0; first < n_keyless; first += MARKS_PER_QUERY) {
        size_t some = n_keyless - first < MARKS_PER_QUERY ? n_keyless - first : MARKS_PER_QUERY;

        if (!compare_marks(ctx, from, &tabs[first], some, &changed, &n, err))
            return false;
    }
    *ret_changed = changed;
    *ret_n = n;
    return true;
}

/*
 * TRUNCATE of one segment if nothing in it is still needed; not being able to is no error. An edge
 * that has confirmed nothing yet needs everything.
 */
static bool purge_segment(Conn *conn, int segment, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Sql *q = sql_new(tmp);
    Rows *rows;

    sql_add(q, "BEGIN; LOCK TABLE pgtandem.queue_");
    sql_number(q, segment);
    sql_add(q, ", pgtandem.image_");
    sql_number(q, segment);
    sql_add(q,
            " IN ACCESS EXCLUSIVE MODE NOWAIT; SELECT EXISTS (SELECT 1 FROM pgtandem.consumer "
            "WHERE confirmed IS NULL AND NOT detached) OR EXISTS (SELECT 1 FROM (SELECT txid FROM "
            "pgtandem.queue_");
    sql_number(q, segment);
    sql_add(q, " UNION ALL SELECT txid FROM pgtandem.image_");
    sql_number(q, segment);
    sql_add(q, ") q, pgtandem.consumer c WHERE NOT c.detached AND NOT "
               "txid_visible_in_snapshot(q.txid, c.confirmed::txid_snapshot))");
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
    sql_add(q, ", pgtandem.image_");
    sql_number(q, segment);
    sql_add(q, "; UPDATE pgtandem.consumer SET purged = confirmed WHERE NOT detached; COMMIT");
    if (!conn_exec(conn, q, err)) {
        conn_rollback(conn);
        return err_add(err, "while purging the queue");
    }
    return true;
}

/* sizes of the segments in bytes */
static bool segment_sizes(Conn *conn, int64_t ret_bytes[2], Err *err)
{
    AUTO_CTX(tmp, NULL);
    Sql *q = sql_new(tmp);
    Rows *rows;

    /* images of rows may be out of line */
    for (int segment = 0; segment < 2; segment++) {
        sql_trusted(q, segment == 0 ? "SELECT pg_relation_size('pgtandem.queue_"
                                    : ", pg_relation_size('pgtandem.queue_");
        sql_number(q, segment);
        sql_add(q, "') + pg_table_size('pgtandem.image_");
        sql_number(q, segment);
        sql_add(q, "')");
    }
    if (!conn_query(tmp, conn, q, &rows, err))
        return false;
    for (int segment = 0; segment < 2; segment++)
        ret_bytes[segment] = rows_i64(rows, 0, (size_t)segment);
    return true;
}

bool queue_is_worth_purging(Conn *conn, bool *ret_worth, Err *err)
{
    int64_t bytes[2];

    if (!segment_sizes(conn, bytes, err))
        return false;
    *ret_worth = bytes[0] > PURGE_MIN_BYTES || bytes[1] > PURGE_MIN_BYTES;
    return true;
}

bool queue_purge(Conn *conn, const char *edge, const char *applied, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Sql *q = sql_new(tmp);
    int64_t bytes[2];

    if (!segment_sizes(conn, bytes, err))
        return false;
    sql_add(q, "UPDATE pgtandem.consumer SET confirmed_at = clock_timestamp(), confirmed = ");
    sql_text(q, applied);
    sql_add(q, " WHERE edge = ");
    sql_text(q, edge);
    if (edge != NULL && !conn_exec(conn, q, err))
        return err_add(err, "while noting what was applied");
    for (int segment = 0; segment < 2; segment++)
        if (bytes[segment] > PURGE_MIN_BYTES && !purge_segment(conn, segment, err))
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

bool queue_keep_times(Conn *conn, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Sql *locks = sql_new(tmp), *work = sql_new(tmp), *q = sql_new(tmp);
    Rows *rows;

    sql_add(q, "SELECT count(*) = 2 FROM pg_attrdef WHERE adrelid IN "
               "('pgtandem.queue_0'::regclass, 'pgtandem.queue_1'::regclass)");
    if (!conn_query(tmp, conn, q, &rows, err) || rows_bool(rows, 0, 0))
        return err->kind == ERR_NONE;
    sql_add(locks, "LOCK TABLE pgtandem.queue_0, pgtandem.queue_1 IN ACCESS EXCLUSIVE MODE");
    sql_add(work, "ALTER TABLE pgtandem.queue_0 ALTER COLUMN at SET DEFAULT clock_timestamp(); "
                  "ALTER TABLE pgtandem.queue_1 ALTER COLUMN at SET DEFAULT clock_timestamp()");
    return lock_and_run(conn, locks, work, "the queue", err);
}

bool queue_bytes(Conn *conn, int64_t *ret_bytes, Err *err)
{
    int64_t bytes[2];

    if (!segment_sizes(conn, bytes, err))
        return false;
    *ret_bytes = bytes[0] + bytes[1];
    return true;
}
