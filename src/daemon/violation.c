/* Rows that cannot be applied because of other rows: see violation.h. */
#include "daemon/violation.h"

#include <string.h>

#include "base/log.h"
#include "base/str.h"
#include "capture/capture.h"
#include "daemon/conflict_sql.h"
#include "pg/sqlstate.h"
#include "sql/queries.h"

enum {
    EXAMPLES = 5, /* so many rows are named in an error */
    JUDGE_MAX =
        20 /* each time at least one row of another node is taken out; what is left is parked */
};

static const char *operator_sql(const void *ctx, const char *schema, const char *name)
{
    Str *s = str_new(ctx);

    str_add(s, "OPERATOR(");
    str_ident(s, schema);
    str_fmt(s, ".%s)", name);
    return s->text;
}

static bool is_parking(const ConflictFilter *filter)
{
    const Sync *sync = filter->spec->sync;

    return sync->on_violation == VIOLATION_PARK &&
           (filter->spec->back == NULL || sync->conflict != CONFLICT_ABORT);
}

/* a row lock that somebody has for longer means that the round has to wait, too */
static bool set_lock_timeout(Conn *to, int ms, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Sql *q = sql_new(tmp);

    sql_add(q, "SET LOCAL lock_timeout = ");
    sql_number(q, ms);
    return conn_exec(to, q, err);
}

static bool query_in_short(const void *ctx, ApplyFilter *self, Conn *to, const Sql *q,
                           Rows **ret_rows, Err *err)
{
    if (!set_lock_timeout(to, CONFLICT_LOCK_MS, err))
        return false;
    if (conn_query(ctx, to, q, ret_rows, err))
        return set_lock_timeout(to, 0, err);
    if (err_is(err, SQLSTATE_LOCK_NOT_AVAILABLE) || err_is(err, SQLSTATE_DEADLOCK))
        return conflict_make_again(self, to, "rows are locked", err);
    return false;
}

/* Unique values */

/* e1 AS u1, …: what an index compares, of the row x */
static void add_compared(Sql *q, const CollisionIndexesRow *columns, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        sql_add(q, ", (");
        sql_trusted(q, columns[i].expression);
        sql_add(q, ")");
        if (columns[i].coll_name != NULL) {
            sql_add(q, " COLLATE ");
            sql_name(q, columns[i].coll_schema, columns[i].coll_name);
        }
        sql_add(q, " AS u");
        sql_number(q, (int64_t)i + 1);
    }
}

static void add_predicate(Sql *q, const CollisionIndexesRow *columns)
{
    if (columns->predicate == NULL)
        return;
    sql_add(q, " WHERE (");
    sql_trusted(q, columns->predicate);
    sql_add(q, ")");
}

/* the staged rows under the names of the table's columns */
static void add_staged_as_row(Sql *q, const TablePair *pair)
{
    sql_add(q, "(SELECT s.ctid AS \"pgtandem sid\"");
    for (size_t i = 0; i < pair->dst->n_columns; i++) {
        const Column *column = &pair->dst->columns[i];
        size_t c = 0;

        while (c < pair->n_columns && strcmp(pair->columns[c]->name, column->name) != 0)
            c++;
        sql_add(q, ", ");
        if (c < pair->n_columns) {
            sql_add(q, "s.c");
            sql_number(q, (int64_t)c + 1);
        } else {
            sql_add(q, "NULL");
        }
        sql_add(q, "::");
        sql_trusted(q, column->base_type);
        sql_add(q, " AS ");
        sql_ident(q, column->name);
    }
    sql_add(q, " FROM ");
    sql_trusted(q, apply_stage_sql(q, pair));
    sql_add(q, " s WHERE s.present) x");
}

/* staged rows and the rows in their way by one index: sid, name, tid, toid */
static void add_opponents(Sql *q, const TablePair *pair, const CollisionIndexesRow *columns,
                          size_t n)
{
    sql_add(q, "SELECT n.sid, ");
    sql_literal(q, columns->name);
    sql_add(q, "::text AS name, m.tid, m.toid FROM (SELECT x.\"pgtandem sid\" AS sid");
    add_compared(q, columns, n);
    sql_add(q, " FROM ");
    add_staged_as_row(q, pair);
    add_predicate(q, columns);
    sql_add(q, ") n JOIN (SELECT x.ctid AS tid, x.tableoid AS toid");
    add_compared(q, columns, n);
    sql_add(q, " FROM ");
    sql_trusted(q, table_ref(q, pair->dst));
    sql_add(q, " x");
    add_predicate(q, columns);
    sql_add(q, ") m ON (");
    for (size_t i = 0; i < n; i++) {
        sql_trusted(q, i > 0 ? " AND (m.u" : "(m.u");
        sql_number(q, (int64_t)i + 1);
        sql_add(q, " ");
        sql_trusted(q, operator_sql(q, columns[i].op_schema, columns[i].op_name));
        sql_add(q, " n.u");
        sql_number(q, (int64_t)i + 1);
        if (columns[i].nulls_equal) {
            sql_add(q, " OR (m.u");
            sql_number(q, (int64_t)i + 1);
            sql_add(q, " IS NULL AND n.u");
            sql_number(q, (int64_t)i + 1);
            sql_add(q, " IS NULL)");
        }
        sql_add(q, ")");
    }
    sql_add(q, ")");
}

/*
 * WITH … c AS (…): staged rows with each row that is in their way, or with none where we do not find it
 */
static bool add_collisions(Sql *q, const ConflictFilter *filter, const TablePair *pair, Conn *to,
                           const char *since, Err *err)
{
    CollisionIndexesRow *columns;
    size_t n;
    bool masters = filter->spec->back != NULL;

    if (!q_collision_indexes(q, to, pair->dst->oid, &columns, &n, err))
        return false;
    sql_add(q, "WITH opponent AS (");
    for (size_t i = 0; i < n;) {
        size_t end = i;

        while (end < n && strcmp(columns[end].name, columns[i].name) == 0)
            end++;
        if (i > 0)
            sql_add(q, " UNION ALL ");
        add_opponents(q, pair, &columns[i], end - i);
        i = end;
    }
    if (n == 0)
        sql_add(q, "SELECT NULL::tid AS sid, NULL::text AS name, NULL::tid AS tid, NULL::oid AS "
                   "toid WHERE false");
    if (masters) {
        sql_add(q, "), local AS (");
        sql_splice(q, conflict_local_changes(q, filter, pair, since));
    }
    sql_add(q, "), c AS (SELECT s.ctid AS sid, o.name, o.tid, o.toid, ");
    conflict_add_key(q, pair, "s");
    sql_add(q, " AS from_key, CASE WHEN o.tid IS NOT NULL THEN ");
    conflict_add_key(q, pair, "t");
    sql_add(q, " END AS to_key, ");
    /* a function of the user is asked alike on both sides: for the key of the first database */
    conflict_add_key(q, pair, masters && !conflict_from_first(filter->spec) ? "t" : "s");
    sql_trusted(q, masters ? " AS key, s.at AS from_at, l.at AS to_at, "
                           : " AS key, NULL::timestamptz AS from_at, NULL::timestamptz AS to_at, ");
    conflict_add_json(q, pair, true);
    sql_add(q, " AS from_row, CASE WHEN o.tid IS NOT NULL THEN ");
    conflict_add_json(q, pair, false);
    sql_add(q, " END AS to_row FROM ");
    sql_trusted(q, apply_stage_sql(q, pair));
    sql_add(q, " s LEFT JOIN opponent o ON o.sid = s.ctid LEFT JOIN ");
    sql_trusted(q, table_ref(q, pair->dst));
    sql_add(q, " t ON t.ctid = o.tid AND t.tableoid = o.toid");
    if (masters) {
        sql_add(q, " LEFT JOIN local l ON (");
        conflict_add_match(q, pair, "t", "l");
        sql_add(q, ")");
    }
    sql_add(q, " WHERE s.present)");
    return true;
}

/* , noted AS (…): keys of deleted rows among those that the round has handled; `from` delivers k1 … */
static void add_noted(Sql *q, const TablePair *pair, const char *from)
{
    if (!pair->keep_keys)
        return;
    sql_add(q, ", noted AS (INSERT INTO ");
    sql_trusted(q, apply_kept_sql(q, pair));
    sql_add(q, " SELECT false");
    apply_add_keys(q, pair, ", k");
    sql_add(q, " FROM ");
    sql_trusted(q, from);
    sql_add(q, ")");
}

/* "t.key AS k1, …" or "s.k1, …" */
static void add_keys_as(Sql *q, const TablePair *pair, bool staged)
{
    for (size_t k = 0; k < pair->dst->n_keys; k++) {
        if (k > 0)
            sql_add(q, ", ");
        if (staged) {
            sql_add(q, "s");
        } else {
            sql_add(q, "t.");
            sql_ident(q, pair->dst->keys[k].name);
            sql_add(q, " AS k");
            sql_number(q, (int64_t)k + 1);
            continue;
        }
        sql_add(q, ".k");
        sql_number(q, (int64_t)k + 1);
    }
}

/* takes out of the table the rows that lose against staged ones; *ret_gone: how many */
static bool judge(ApplyFilter *self, TablePair *pair, Conn *to, const char *since,
                  int64_t *ret_gone, Err *err)
{
    AUTO_CTX(tmp, NULL);
    const ConflictFilter *filter = self->arg;
    const EdgeSpec *spec = filter->spec;
    Sql *q = sql_new(tmp);
    Rows *rows;

    if (!add_collisions(q, filter, pair, to, since, err))
        return false;
    sql_add(q, ", w AS (SELECT c.*, ");
    conflict_add_winner(q, spec, pair);
    /* a row has to win against all that are in its way */
    sql_add(q, "::text AS winner FROM c WHERE c.tid IS NOT NULL), better AS (SELECT * FROM w WHERE "
               "sid IN (SELECT sid FROM w GROUP BY sid HAVING bool_and(winner = ");
    sql_literal(q, spec->from->name);
    sql_add(q, ")) AND sid NOT IN (SELECT sid FROM c WHERE tid IS NULL)), gone AS (DELETE FROM ");
    sql_trusted(q, table_ref(tmp, pair->dst));
    sql_add(q, " t USING (SELECT DISTINCT tid, toid FROM better) b WHERE t.ctid = b.tid AND "
               "t.tableoid = b.toid RETURNING ");
    add_keys_as(q, pair, false);
    sql_add(q, ")");
    add_noted(q, pair, "gone");
    capture_add_recall(q, pair->dst, "(SELECT DISTINCT to_key AS key FROM better) b");
    sql_add(q, ", recorded AS (");
    conflict_add_record(q, spec, pair, "unique");
    sql_add(q, "to_key, name, winner, from_row, to_row, from_at, to_at, NULL, false FROM better) "
               "SELECT (SELECT count(*) FROM gone), (SELECT count(*) FROM (SELECT DISTINCT tid, "
               "toid FROM better) b), (SELECT count(*) FROM w WHERE winner IS NULL OR winner NOT "
               "IN (");
    sql_literal(q, spec->from->name);
    sql_add(q, ", ");
    sql_literal(q, spec->to->name);
    sql_add(q, "))");
    if (!query_in_short(tmp, self, to, q, &rows, err))
        return false;
    if (rows_i64(rows, 0, 2) > 0)
        return err_set(err, ERR_STATE,
                       "the function %s must return the name of one of the two databases",
                       spec->sync->conflict_function);
    *ret_gone = rows_i64(rows, 0, 0);
    /* a row that somebody has changed meanwhile is another one */
    if (*ret_gone != rows_i64(rows, 0, 1))
        return conflict_make_again(self, to, "rows were written", err);
    if (*ret_gone == 0)
        return true;
    if (pair->keep_keys) {
        pair->kept += *ret_gone;
        pair->kept_gone += *ret_gone;
    }
    log_info(
        "%lld rows of table %s in the %s collide with others that win: they are gone there, and "
        "kept among the conflicts",
        (long long)*ret_gone, table_label(tmp, pair->src), conn_label(to));
    return conflict_check_purged(self, to, since, err);
}

/* as long as rows make room, others may fit */
static bool judge_all(ApplyFilter *self, TablePair *pair, Conn *to, const char *since,
                      int64_t *ret_written, Err *err)
{
    for (int i = 0; i < JUDGE_MAX; i++) {
        int64_t gone, written;

        if (!judge(self, pair, to, since, &gone, err))
            return false;
        if (gone == 0)
            return true;
        if (!apply_staged_inserts(pair, to, self, &written, err))
            return false;
        *ret_written += written;
    }
    return true;
}

/* what is left in the stage goes to the conflicts, and is tried again later */
static bool park(ApplyFilter *self, TablePair *pair, Conn *to, const char *since,
                 int64_t *ret_parked, Err *err)
{
    AUTO_CTX(tmp, NULL);
    ConflictFilter *filter = self->arg;
    const EdgeSpec *spec = filter->spec;
    Sql *q = sql_new(tmp);
    Rows *rows;

    if (!add_collisions(q, filter, pair, to, since, err))
        return false;
    sql_add(q, ", one AS (SELECT DISTINCT ON (sid) * FROM c ORDER BY sid, name, to_key), "
               /* parked before, and settled by this round: the same record goes on */
               "again AS (UPDATE pgtandem.conflict r SET parked = true, settled_at = NULL, "
               "tried_at = now(), constraint_name = one.name, from_row = one.from_row, to_row = "
               "one.to_row FROM one JOIN ");
    sql_trusted(q, apply_stage_sql(tmp, pair));
    sql_add(q, " s ON s.ctid = one.sid WHERE r.kind = 'unique' AND r.settled_at = now() AND ");
    conflict_add_record_match(q, spec, pair);
    sql_add(q, " RETURNING one.sid), recorded AS (");
    conflict_add_record(q, spec, pair, "unique");
    sql_add(q, "from_key, name, ");
    sql_literal(q, spec->to->name);
    sql_add(q,
            ", from_row, to_row, from_at, to_at, NULL, true FROM one WHERE sid NOT IN (SELECT sid "
            "FROM again)), gone AS (DELETE FROM ");
    sql_trusted(q, apply_stage_sql(tmp, pair));
    sql_add(q, " s USING one WHERE s.ctid = one.sid RETURNING ");
    add_keys_as(q, pair, true);
    sql_add(q, ")");
    add_noted(q, pair, "gone");
    sql_add(q, " SELECT (SELECT count(*) FROM gone), (SELECT count(*) FROM again)");
    if (!conn_query(tmp, to, q, &rows, err))
        return false;
    *ret_parked = rows_i64(rows, 0, 0);
    if (*ret_parked == 0)
        return true;
    filter->parked = self->looks = true;
    if (pair->keep_keys) {
        pair->kept += *ret_parked;
        pair->kept_gone += *ret_parked;
    }
    if (*ret_parked > rows_i64(rows, 0, 1))
        log_info("%lld rows of table %s collide with rows of the %s: they are parked among the "
                 "conflicts",
                 (long long)*ret_parked, table_label(tmp, pair->src), conn_label(to));
    return spec->back == NULL || conflict_check_purged(self, to, since, err);
}

/* on-violation = stop: which rows it is about */
static bool refuse(const ConflictFilter *filter, const TablePair *pair, Conn *to, const char *since,
                   const ApplyRefused *refused, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Sql *q = sql_new(tmp);
    Rows *rows;
    Str *list = str_new(tmp);

    if (!add_collisions(q, filter, pair, to, since, err))
        return false;
    sql_add(q, " SELECT from_key::text, to_key::text, name, (SELECT count(DISTINCT sid) FROM c) "
               "FROM c ORDER BY from_key, name LIMIT ");
    sql_number(q, EXAMPLES);
    if (!conn_query(tmp, to, q, &rows, err))
        return false;
    for (size_t i = 0; i < rows_count(rows); i++)
        str_fmt(list, "%srow %s%s%s%s%s", i > 0 ? "; " : "", rows_text(rows, i, 0),
                rows_text(rows, i, 1) == NULL ? "" : " with row ",
                rows_text(rows, i, 1) == NULL ? "" : rows_text(rows, i, 1),
                rows_text(rows, i, 2) == NULL ? "" : " by ",
                rows_text(rows, i, 2) == NULL ? "" : rows_text(rows, i, 2));
    err_set(err, ERR_STATE, "%lld rows of table %s collide with other rows of the %s: %s",
            (long long)(rows_count(rows) == 0 ? 0 : rows_i64(rows, 0, 3)),
            table_label(tmp, pair->src), conn_label(to), list->text);
    err_detail(err, "%s", refused->why);
    return err_hint(err,
                    "Nothing of the round was applied; it is tried again. Change or delete one "
                    "of the two rows, on the source or on the target. With on-violation = park "
                    "such rows would be set aside, see \"pgtandem help conflicts\".");
}

bool violation_refused(ApplyFilter *self, TablePair *pair, Conn *to, ApplyRefused *refused,
                       Err *err)
{
    AUTO_CTX(tmp, NULL);
    const ConflictFilter *filter = self->arg;
    const EdgeSpec *spec = filter->spec;
    const char *since = NULL;

    if (spec->back != NULL && !conflict_peer_progress(tmp, filter, &since, err))
        return false;
    if (!is_parking(filter))
        return refuse(filter, pair, to, since, refused, err);
    if (spec->back != NULL && spec->sync->conflict != CONFLICT_SKIP &&
        !judge_all(self, pair, to, since, &refused->written, err))
        return false;
    return park(self, pair, to, since, &refused->dropped, err);
}

/* Foreign keys */

static TablePair *find_pair(const ConflictFilter *filter, const char *schema, const char *name)
{
    for (size_t i = 0; i < filter->n_pairs; i++)
        if (strcmp(filter->pairs[i].dst->name, name) == 0 &&
            strcmp(filter->pairs[i].dst->schema, schema) == 0)
            return &filter->pairs[i];
    return NULL;
}

static bool read_foreign_keys(const void *ctx, ConflictFilter *filter, Conn *to, Err *err)
{
    ReferenceColumnsRow *rows;
    ForeignKey *keys = NULL;
    size_t n, n_keys = 0;

    if (!q_reference_columns(ctx, to, &rows, &n, err))
        return false;
    for (size_t i = 0; i < n;) {
        ForeignKey key = {.name = rows[i].name,
                          .child = find_pair(filter, rows[i].child_schema, rows[i].child_name),
                          .parent = find_pair(filter, rows[i].parent_schema, rows[i].parent_name)};
        size_t first = i;

        for (; i < n && rows[i].id == rows[first].id; i++) {
            ForeignKeyColumn column = {.child = rows[i].child_column,
                                       .parent = rows[i].parent_column,
                                       .op = operator_sql(ctx, rows[i].op_schema, rows[i].op_name),
                                       .coll_schema = rows[i].coll_schema,
                                       .coll_name = rows[i].coll_name};

            mem_push(ctx, key.columns, key.n_columns, column);
        }
        if (key.child == NULL || key.parent == NULL)
            continue;
        key.child->keep_keys = key.parent->keep_keys = true;
        mem_push(ctx, keys, n_keys, key);
    }
    filter->foreign_keys = keys;
    filter->n_foreign_keys = n_keys;
    return true;
}

/* p.parent = t.child AND … */
static void add_reference(Sql *q, const ForeignKey *key, const char *parent)
{
    for (size_t i = 0; i < key->n_columns; i++) {
        if (i > 0)
            sql_add(q, " AND ");
        sql_trusted(q, parent);
        sql_add(q, ".");
        sql_ident(q, key->columns[i].parent);
        if (key->columns[i].coll_name != NULL) {
            sql_add(q, " COLLATE ");
            sql_name(q, key->columns[i].coll_schema, key->columns[i].coll_name);
        }
        sql_add(q, " ");
        sql_trusted(q, key->columns[i].op);
        sql_add(q, " t.");
        sql_ident(q, key->columns[i].child);
    }
}

/*
 * the columns of the parent's key that the foreign key points to, as p; what does not point to the key
 * cannot be looked up in the deleted keys
 */
static bool points_to_key(const ForeignKey *key)
{
    const Table *parent = key->parent->dst;

    for (size_t i = 0; i < key->n_columns; i++)
        if (!table_is_key(parent, key->columns[i].parent))
            return false;
    return true;
}

/* the children that have to be looked at: those of this round, and those of parents that are gone */
static void add_candidates(Sql *q, const ForeignKey *key)
{
    const Table *parent = key->parent->dst;
    bool child = key->child->staged && key->child->kept > 0;

    if (child) {
        sql_add(q, "SELECT t.ctid AS tid, t.tableoid AS toid, true AS incoming FROM ");
        sql_trusted(q, table_ref(q, key->child->dst));
        sql_add(q, " t JOIN ");
        sql_trusted(q, apply_kept_sql(q, key->child));
        sql_add(q, " s ON (");
        conflict_add_match(q, key->child, "t", "s");
        sql_add(q, ") WHERE s.present");
    }
    if (!key->parent->staged || key->parent->kept_gone == 0)
        return;
    sql_trusted(q, child ? " UNION ALL SELECT t.ctid, t.tableoid, false FROM "
                         : "SELECT t.ctid AS tid, t.tableoid AS toid, false AS incoming FROM ");
    sql_trusted(q, table_ref(q, key->child->dst));
    sql_add(q, " t");
    if (!points_to_key(key))
        return;
    sql_add(q, " JOIN (SELECT ");
    for (size_t k = 0; k < parent->n_keys; k++) {
        sql_trusted(q, k > 0 ? ", k" : "k");
        sql_number(q, (int64_t)k + 1);
        sql_add(q, " AS ");
        sql_ident(q, parent->keys[k].name);
    }
    sql_add(q, " FROM ");
    sql_trusted(q, apply_kept_sql(q, key->parent));
    sql_add(q, " WHERE NOT present) p ON (");
    add_reference(q, key, "p");
    sql_add(q, ")");
}

/* WITH … o AS (…): rows whose foreign key points to nothing */
static void add_orphans(Sql *q, const ForeignKey *key)
{
    sql_add(q, "WITH candidate AS (");
    add_candidates(q, key);
    sql_add(q, "), o AS (SELECT t.ctid AS tid, t.tableoid AS toid, ");
    conflict_add_key(q, key->child, "t");
    sql_add(q, " AS key, ");
    conflict_add_json(q, key->child, false);
    sql_add(q, " AS row, d.incoming FROM (SELECT tid, toid, bool_or(incoming) AS incoming FROM "
               "candidate GROUP BY 1, 2) d JOIN ");
    sql_trusted(q, table_ref(q, key->child->dst));
    sql_add(q, " t ON t.ctid = d.tid AND t.tableoid = d.toid WHERE ");
    for (size_t i = 0; i < key->n_columns; i++) {
        sql_add(q, "t.");
        sql_ident(q, key->columns[i].child);
        sql_add(q, " IS NOT NULL AND ");
    }
    sql_add(q, "NOT EXISTS (SELECT 1 FROM ");
    sql_trusted(q, table_ref(q, key->parent->dst));
    sql_add(q, " p WHERE ");
    add_reference(q, key, "p");
    sql_add(q, "))");
}

/*
 * the parents of this round's rows may not be deleted by others before it is committed; as the server
 * does for a foreign key that is awake
 */
static bool lock_parents(ApplyFilter *self, const ForeignKey *key, Conn *to, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Sql *q = sql_new(tmp);
    Rows *rows;

    sql_add(q, "SELECT count(*) FROM (SELECT 1 FROM ");
    sql_trusted(q, table_ref(tmp, key->parent->dst));
    sql_add(q, " p JOIN ");
    sql_trusted(q, table_ref(tmp, key->child->dst));
    sql_add(q, " t ON (");
    add_reference(q, key, "p");
    sql_add(q, ") JOIN ");
    sql_trusted(q, apply_kept_sql(tmp, key->child));
    sql_add(q, " s ON (");
    conflict_add_match(q, key->child, "t", "s");
    sql_add(q, ") WHERE s.present FOR KEY SHARE OF p) x");
    return query_in_short(tmp, self, to, q, &rows, err);
}

static bool refuse_orphans(const ForeignKey *key, Conn *to, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Sql *q = sql_new(tmp);
    Rows *rows;
    Str *list = str_new(tmp);

    add_orphans(q, key);
    sql_add(q, " SELECT key::text, (SELECT count(*) FROM o) FROM o ORDER BY key LIMIT ");
    sql_number(q, EXAMPLES);
    if (!conn_query(tmp, to, q, &rows, err))
        return false;
    if (rows_count(rows) == 0)
        return true;
    for (size_t i = 0; i < rows_count(rows); i++)
        str_fmt(list, "%s%s", i > 0 ? ", " : "", rows_text(rows, i, 0));
    err_set(
        err, ERR_STATE,
        "%lld rows of table %s would point to deleted rows of table %s in the %s by foreign key "
        "%s: %s",
        (long long)rows_i64(rows, 0, 1), table_label(tmp, key->child->dst),
        table_label(tmp, key->parent->dst), conn_label(to), key->name, list->text);
    return err_hint(err,
                    "Nothing of the round was applied; it is tried again. Delete these rows, or "
                    "insert what they point to again. With on-violation = park they would be set "
                    "aside, see \"pgtandem help conflicts\".");
}

static bool park_orphans(ApplyFilter *self, ForeignKey *key, Conn *to, int64_t *ret_n, Err *err)
{
    AUTO_CTX(tmp, NULL);
    ConflictFilter *filter = self->arg;
    const EdgeSpec *spec = filter->spec;
    Sql *q = sql_new(tmp);
    Rows *rows;

    if (!apply_make_stage(key->child, to, err))
        return false;
    add_orphans(q, key);
    sql_add(q, ", gone AS (DELETE FROM ");
    sql_trusted(q, table_ref(tmp, key->child->dst));
    sql_add(q, " t USING o WHERE t.ctid = o.tid AND t.tableoid = o.toid RETURNING ");
    add_keys_as(q, key->child, false);
    sql_add(q, ")");
    add_noted(q, key->child, "gone");
    capture_add_recall(q, key->child->dst, "(SELECT key FROM o WHERE NOT incoming) b");
    /* only a row of the other node can come again */
    sql_add(q, ", again AS (UPDATE pgtandem.conflict r SET parked = true, settled_at = NULL, "
               "tried_at = now(), from_row = o.row FROM o WHERE o.incoming AND r.kind = "
               "'foreign key' AND r.settled_at = now() AND r.key = o.key AND r.edge = ");
    sql_literal(q, spec->name);
    sql_add(q, " AND r.schema_name = ");
    sql_literal(q, key->child->src->schema);
    sql_add(q, " AND r.table_name = ");
    sql_literal(q, key->child->src->name);
    sql_add(q, " RETURNING o.key), recorded AS (");
    conflict_add_record(q, spec, key->child, "foreign key");
    sql_add(q, "key, ");
    sql_literal(q, key->name);
    sql_add(q, ", CASE WHEN incoming THEN ");
    sql_literal(q, spec->to->name);
    sql_add(q, " ELSE ");
    sql_literal(q, spec->from->name);
    sql_add(q, " END, CASE WHEN incoming THEN row END, CASE WHEN NOT incoming THEN row END, NULL, "
               "NULL, NULL, incoming FROM o WHERE key NOT IN (SELECT key FROM again)) SELECT "
               "(SELECT count(*) FROM gone), (SELECT count(*) FROM o), (SELECT count(*) FROM o "
               "WHERE incoming)");
    if (!query_in_short(tmp, self, to, q, &rows, err))
        return false;
    *ret_n = rows_i64(rows, 0, 0);
    if (*ret_n != rows_i64(rows, 0, 1))
        return conflict_make_again(self, to, "rows were written", err);
    if (*ret_n == 0)
        return true;
    key->child->kept += *ret_n;
    key->child->kept_gone += *ret_n;
    filter->parked = filter->parked || rows_i64(rows, 0, 2) > 0;
    log_info(
        "%lld rows of table %s point to deleted rows of table %s: they are taken out of the %s, "
        "and kept among the conflicts",
        (long long)*ret_n, table_label(tmp, key->child->src), table_label(tmp, key->parent->src),
        conn_label(to));
    return true;
}

static bool is_concerned(const ForeignKey *key)
{
    return (key->child->staged && key->child->kept > 0) ||
           (key->parent->staged && key->parent->kept_gone > 0);
}

bool violation_end(ApplyFilter *self, Conn *to, Err *err)
{
    ConflictFilter *filter = self->arg;
    bool more = true, first = true;

    while (more) {
        more = false;
        for (size_t i = 0; i < filter->n_foreign_keys; i++) {
            ForeignKey *key = &filter->foreign_keys[i];
            int64_t n = 0;

            if (!is_concerned(key))
                continue;
            if (first && key->child->staged && key->child->kept > 0 &&
                !lock_parents(self, key, to, err))
                return false;
            if (!(is_parking(filter) ? park_orphans(self, key, to, &n, err)
                                     : refuse_orphans(key, to, err)))
                return err_add(err, "while looking at foreign key %s of table %s", key->name,
                               key->child->dst->name);
            /* who was taken out may have been pointed to */
            more = more || n > 0;
        }
        first = false;
    }
    for (size_t i = 0; i < filter->n_pairs; i++)
        if (!apply_forget_kept(&filter->pairs[i], to, err))
            return false;
    return true;
}

/* What is parked */

bool violation_begin(const void *ctx, ConflictFilter *filter, Conn *to, Err *err)
{
    AUTO_CTX(tmp, NULL);
    const EdgeSpec *spec = filter->spec;
    ParkedRowsRow *parked;
    size_t n;

    if (!q_parked_rows(tmp, to, spec->name, &parked, &n, err))
        return false;
    filter->parked = n > 0;
    return spec->back == NULL || spec->sync->target_triggers == TRIGGERS_FIRE ||
           read_foreign_keys(ctx, filter, to, err);
}

bool violation_try_again(ConflictFilter *filter, Edge *edge, Err *err)
{
    AUTO_CTX(tmp, NULL);
    ParkedRowsRow *parked;
    size_t n, n_more = 0;
    Pending *more = mem_array(edge, Pending, filter->n_pairs + 1);

    talloc_free(edge->more);
    edge->more = more;
    edge->n_more = 0;
    if (!q_parked_rows(tmp, edge->to, filter->spec->name, &parked, &n, err))
        return false;
    filter->parked = n > 0;
    for (size_t p = 0; p < filter->n_pairs; p++) {
        const Table *src = filter->pairs[p].src;
        Str *keys = str_new(more);

        for (size_t i = 0; i < n; i++) {
            if (strcmp(parked[i].table_name, src->name) != 0 ||
                strcmp(parked[i].schema_name, src->schema) != 0)
                continue;
            str_char(keys, keys->len == 0 ? '{' : ',');
            str_array_element(keys, src->key_is_int ? parked[i].single : parked[i].key);
        }
        if (keys->len == 0)
            continue;
        str_char(keys, '}');
        more[n_more++] = (Pending){.tab = src->id, .keys = "{}", .more = keys->text};
    }
    edge->n_more = n_more;
    return true;
}
