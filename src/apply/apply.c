/* Applying changed keys: see apply.h. */
#include "apply/apply.h"

#include <string.h>

#include "apply/part.h"
#include "base/fault.h"
#include "base/log.h"
#include "pg/sqlstate.h"

enum {
    ANALYZE_ROWS = 5000,         /* staged rows from which the planner needs to know their number */
    STAGE_TRUNCATE_ROWS = 10000, /* staging rows are deleted; after so many the file is truncated */
    SEQUENCES_PER_QUERY = 400
};

/* c1, c2 … as the staging table calls the columns */
static void add_staged_list(Sql *q, const TablePair *table)
{
    for (size_t i = 0; i < table->n_columns; i++) {
        if (i > 0)
            sql_add(q, ", ");
        sql_add(q, "s.c");
        sql_number(q, (int64_t)i + 1);
    }
}

static void add_stage_name(Sql *q, const TablePair *table)
{
    sql_add(q, "pg_temp.pgtandem_stage_");
    sql_number(q, table->dst->id);
}

char *apply_stage_sql(const void *ctx, const TablePair *table)
{
    AUTO_CTX(tmp, NULL);
    Sql *q = sql_new(tmp);

    add_stage_name(q, table);
    return mem_strdup(ctx, q->text->text);
}

char *apply_kept_sql(const void *ctx, const TablePair *table)
{
    return mem_printf(ctx, "pg_temp.pgtandem_kept_%d", table->dst->id);
}

static void add_ref(Sql *q, const Table *table)
{
    AUTO_CTX(tmp, NULL);

    sql_trusted(q, table_ref(tmp, table));
    sql_add(q, " t");
}

void apply_add_match(Sql *q, const Table *table, const char *other)
{
    for (size_t k = 0; k < table->n_keys; k++) {
        if (k > 0)
            sql_add(q, " AND ");
        sql_add(q, "t.");
        sql_ident(q, table->keys[k].name);
        sql_add(q, " ");
        sql_trusted(q, table->keys[k].eq_op);
        sql_add(q, " ");
        sql_trusted(q, other);
        sql_add(q, ".k");
        sql_number(q, (int64_t)k + 1);
    }
}

/* the rows of src */
static void add_read_ref(Sql *q, const TablePair *pair)
{
    AUTO_CTX(tmp, NULL);

    sql_trusted(q, pair_read_ref(tmp, pair));
    sql_add(q, " t");
}

/* "schema"."table" t ON (t.key = d.k1 AND …), on src */
static void add_read_ref_of_key(Sql *q, const TablePair *pair)
{
    add_read_ref(q, pair);
    sql_add(q, " ON (");
    apply_add_match(q, pair->src, "d");
    sql_add(q, ")");
}

void apply_add_keys(Sql *q, const TablePair *table, const char *prefix)
{
    for (size_t k = 0; k < table->src->n_keys; k++) {
        sql_trusted(q, prefix);
        sql_number(q, (int64_t)k + 1);
    }
}

static bool create_kept(const TablePair *table, Conn *dst, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Sql *q = sql_new(tmp);

    sql_add(q, "DROP TABLE IF EXISTS ");
    sql_trusted(q, apply_kept_sql(tmp, table));
    sql_add(q, "; CREATE TEMP TABLE ");
    sql_trusted(q, apply_kept_sql(tmp, table));
    sql_add(q, " AS SELECT present");
    apply_add_keys(q, table, ", k");
    sql_add(q, " FROM ");
    add_stage_name(q, table);
    sql_add(q, " WITH NO DATA");
    return conn_exec(dst, q, err);
}

static bool create_stage(TablePair *table, Conn *dst, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Sql *q = sql_new(tmp);

    /* one of an earlier edge over the same session may be there */
    sql_add(q, "DROP TABLE IF EXISTS ");
    add_stage_name(q, table);
    sql_add(q, "; CREATE TEMP TABLE ");
    add_stage_name(q, table);
    sql_add(q, " AS SELECT true AS present");
    for (size_t k = 0; k < table->dst->n_keys; k++) {
        sql_add(q, ", t.");
        sql_ident(q, table->dst->keys[k].name);
        sql_add(q, " AS k");
        sql_number(q, (int64_t)k + 1);
    }
    if (table->timed)
        sql_add(q, ", NULL::timestamptz AS at");
    for (size_t i = 0; i < table->n_columns; i++) {
        const Column *column = table_column(table->dst, table->columns[i]->name);

        sql_add(q, ", t.");
        sql_ident(q, column->name);
        /* the columns of a deleted row are null, which a domain may refuse */
        if (strcmp(column->base_type, column->type) != 0) {
            sql_add(q, "::");
            sql_trusted(q, column->base_type);
        }
        sql_add(q, " AS c");
        sql_number(q, (int64_t)i + 1);
    }
    sql_add(q, " FROM ");
    add_ref(q, table->dst);
    sql_add(q, " WITH NO DATA");
    if (!conn_exec(dst, q, err) || (table->keep_keys && !create_kept(table, dst, err)))
        return err_add(err, "while creating a staging table");
    table->staged = true;
    table->staged_rows = table->kept = table->kept_gone = table->kept_rows = 0;
    return true;
}

bool apply_make_stage(TablePair *table, Conn *dst, Err *err)
{
    return table->staged || create_stage(table, dst, err);
}

static bool keep_keys(TablePair *table, Conn *dst, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Sql *q = sql_new(tmp);
    Rows *rows;

    sql_add(q, "WITH k AS (INSERT INTO ");
    sql_trusted(q, apply_kept_sql(tmp, table));
    sql_add(q, " SELECT present");
    apply_add_keys(q, table, ", k");
    sql_add(q, " FROM ");
    add_stage_name(q, table);
    sql_add(q, " RETURNING present) SELECT count(*), count(nullif(present, true)) FROM k");
    if (!conn_query(tmp, dst, q, &rows, err))
        return false;
    table->kept += rows_i64(rows, 0, 0);
    table->kept_gone += rows_i64(rows, 0, 1);
    return true;
}

/* the statement that reads keys and rows on src; columns present, k…, c… */
static Sql *read_statement(const void *ctx, const TablePair *table, const Sql *keys)
{
    Sql *q = sql_new(ctx);

    /* not a key column: a composite value whose fields are null "IS NULL" itself */
    sql_add(q, "COPY (SELECT t.tableoid IS NOT NULL");
    apply_add_keys(q, table, ", d.k");
    if (table->timed)
        sql_add(q, ", d.at");
    sql_add(q, ", ");
    sql_trusted(q, pair_columns_sql(q, table, "t."));
    sql_add(q, " FROM (");
    sql_splice(q, keys);
    sql_add(q, ") d LEFT JOIN ");
    add_read_ref_of_key(q, table);
    sql_add(q, ") TO STDOUT");
    return q;
}

static bool exec_counted(Conn *dst, const Sql *q, int64_t *ret_rows, Err *err)
{
    if (!conn_exec(dst, q, err))
        return false;
    *ret_rows = conn_affected(dst);
    return true;
}

/* which rows on dst go */
typedef enum Deletion {
    DELETE_GONE,  /* those of keys that have no row on src */
    DELETE_KEYS,  /* those of all keys */
    DELETE_OTHERS /* all but those of keys that have one */
} Deletion;

static bool delete_rows(const TablePair *table, Conn *dst, Deletion which, int64_t *ret_rows,
                        Err *err)
{
    AUTO_CTX(tmp, NULL);
    Sql *q = sql_new(tmp);

    sql_add(q, "DELETE FROM ");
    add_ref(q, table->dst);
    if (which == DELETE_OTHERS) {
        sql_add(q, " WHERE NOT EXISTS (SELECT 1 FROM ");
        add_stage_name(q, table);
        sql_add(q, " s WHERE s.present IS NOT FALSE AND ");
        apply_add_match(q, table->dst, "s");
        sql_add(q, ")");
        return exec_counted(dst, q, ret_rows, err);
    }
    sql_add(q, " USING ");
    add_stage_name(q, table);
    sql_add(q, " s WHERE ");
    if (which == DELETE_GONE)
        sql_add(q, "NOT s.present AND ");
    apply_add_match(q, table->dst, "s");
    return exec_counted(dst, q, ret_rows, err);
}

/* whether an UPDATE should set the column: identity columns cannot be, integer keys never differ */
static bool is_settable(const TablePair *table, const Column *column)
{
    const Column *dst = table_column(table->dst, column->name);

    if (dst->identity_always)
        return false;
    return !(table->dst->key_is_int && table_is_key(table->dst, column->name));
}

static bool update_rows(const TablePair *table, Conn *dst, int64_t *ret_rows, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Sql *q = sql_new(tmp);
    bool any = false;

    sql_add(q, "UPDATE ");
    add_ref(q, table->dst);
    sql_add(q, " SET ");
    for (size_t i = 0; i < table->n_columns; i++) {
        if (!is_settable(table, table->columns[i]))
            continue;
        if (any)
            sql_add(q, ", ");
        sql_ident(q, table->columns[i]->name);
        sql_add(q, " = s.c");
        sql_number(q, (int64_t)i + 1);
        any = true;
    }
    if (!any) {
        /* nothing but an integer key: rows that exist are as they should be, so only count them */
        Sql *count = sql_new(tmp);
        Rows *rows;

        sql_add(count, "SELECT count(*) FROM ");
        add_ref(count, table->dst);
        sql_add(count, " JOIN ");
        add_stage_name(count, table);
        sql_add(count, " s ON ");
        apply_add_match(count, table->dst, "s");
        sql_add(count, " WHERE s.present");
        if (!conn_query(tmp, dst, count, &rows, err))
            return false;
        *ret_rows = rows_i64(rows, 0, 0);
        return true;
    }
    sql_add(q, " FROM ");
    add_stage_name(q, table);
    sql_add(q, " s WHERE s.present AND ");
    apply_add_match(q, table->dst, "s");
    return exec_counted(dst, q, ret_rows, err);
}

/*
 * takes the rows that exist on dst out of the stage, or (keep) marks them there. Not a NOT EXISTS in the
 * INSERT: where the planner believes a table to be empty, that scans it for every row, and meets all those
 * inserted so far.
 */
static bool unstage_existing(const TablePair *table, Conn *dst, bool keep, int64_t *ret_rows,
                             Err *err)
{
    AUTO_CTX(tmp, NULL);
    Sql *q = sql_new(tmp);

    sql_trusted(q, keep ? "UPDATE " : "DELETE FROM ");
    add_stage_name(q, table);
    sql_trusted(q, keep ? " s SET present = NULL FROM " : " s USING ");
    add_ref(q, table->dst);
    sql_add(q, " WHERE s.present AND ");
    apply_add_match(q, table->dst, "s");
    return exec_counted(dst, q, ret_rows, err);
}

/* inserts every staged row that exists on src; fitting: only those that collide with nothing */
static bool insert_rows(const TablePair *table, Conn *dst, bool fitting, int64_t *ret_rows,
                        Err *err)
{
    AUTO_CTX(tmp, NULL);
    Sql *q = sql_new(tmp);
    bool identity = false;

    for (size_t i = 0; i < table->n_columns; i++)
        identity = identity || table_column(table->dst, table->columns[i]->name)->identity_always;
    sql_add(q, "INSERT INTO ");
    sql_name(q, table->dst->schema, table->dst->name);
    sql_add(q, " (");
    sql_trusted(q, pair_columns_sql(q, table, ""));
    sql_add(q, ")");
    if (identity)
        sql_add(q, " OVERRIDING SYSTEM VALUE");
    sql_add(q, " SELECT ");
    add_staged_list(q, table);
    sql_add(q, " FROM ");
    add_stage_name(q, table);
    sql_add(q, " s WHERE s.present");
    if (fitting)
        sql_add(q, " ON CONFLICT DO NOTHING");
    return exec_counted(dst, q, ret_rows, err);
}

/*
 * empties the staging table for the next round: rows are deleted, now and then the file is
 * truncated
 */
static bool empty_stage(TablePair *table, Conn *dst, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Sql *q = sql_new(tmp);

    if (table->staged_rows >= STAGE_TRUNCATE_ROWS) {
        sql_add(q, "TRUNCATE ");
        table->staged_rows = 0;
    } else {
        sql_add(q, "DELETE FROM ");
    }
    add_stage_name(q, table);
    return conn_exec(dst, q, err);
}

/* the number of staged rows that exist on src */
static bool count_present(const TablePair *table, Conn *dst, int64_t *ret_rows, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Sql *q = sql_new(tmp);
    Rows *rows;

    sql_add(q, "SELECT count(*) FROM ");
    add_stage_name(q, table);
    sql_add(q, " s WHERE s.present");
    if (!conn_query(tmp, dst, q, &rows, err))
        return false;
    *ret_rows = rows_i64(rows, 0, 0);
    return true;
}

static bool delete_everything(const TablePair *table, Conn *dst, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Sql *q = sql_new(tmp);

    if (table->dst->part != NULL)
        return part_empty(table, dst, err);
    sql_add(q, "DELETE FROM ");
    add_ref(q, table->dst);
    return conn_exec(dst, q, err);
}

bool apply_needs_replace(const TablePair *table)
{
    for (size_t i = 0; i < table->n_columns; i++)
        if (table_column(table->dst, table->columns[i]->name)->identity_always &&
            !table_is_key(table->dst, table->columns[i]->name))
            return true;
    return false;
}

static bool outrun(ApplyFilter *filter, Conn *dst, Err *err)
{
    filter->again = true;
    return err_set(err, ERR_STATE, "rows were written on the %s while the round was at work",
                   conn_label(dst));
}

bool apply_staged_inserts(const TablePair *table, Conn *dst, ApplyFilter *filter, int64_t *ret_rows,
                          Err *err)
{
    int64_t unstaged;

    if (!insert_rows(table, dst, true, ret_rows, err) ||
        !unstage_existing(table, dst, false, &unstaged, err))
        return false;
    /* a row with one of our keys that is not ours */
    return unstaged == *ret_rows || outrun(filter, dst, err);
}

/*
 * Inserts when all handled keys are gone from dst. What then still collides are other rows; the filter
 * decides what becomes of them. *ret_dropped: rows that it took out.
 */
static bool insert_or_refuse(TablePair *table, Conn *dst, ApplyFilter *filter,
                             int64_t *ret_inserted, int64_t *ret_dropped, Err *err)
{
    AUTO_CTX(tmp, NULL);
    int64_t present;

    if (!conn_do(dst, "SAVEPOINT pgtandem_insert", err))
        return false;
    if (insert_rows(table, dst, false, ret_inserted, err))
        return conn_do(dst, "RELEASE SAVEPOINT pgtandem_insert", err);
    if (err_remedy(err) != REMEDY_CONFLICT || !conn_caps(dst)->has_on_conflict)
        return false;
    ApplyRefused refused = {.why = err->detail == NULL
                                       ? mem_strdup(tmp, err->msg)
                                       : mem_printf(tmp, "%s (%s)", err->msg, err->detail)};
    err_clear(err);
    if (!conn_do(dst, "ROLLBACK TO SAVEPOINT pgtandem_insert", err) ||
        !apply_staged_inserts(table, dst, filter, ret_inserted, err)) {
        if (!filter->again && err->kind == ERR_SQL && err_remedy(err) == REMEDY_GIVE_UP) {
            /* deferrable constraints cannot be asked so */
            err_clear(err);
            err_set(err, ERR_STATE, "%s", refused.why);
            err_hint(err, "Change or delete one of the two rows.");
        }
        return false;
    }
    if (!count_present(table, dst, &present, err))
        return false;
    if (present > 0 && !filter->refused(filter, table, dst, &refused, err))
        return false;
    *ret_inserted += refused.written;
    *ret_dropped = refused.dropped;
    return true;
}

/* updates and inserts; expected NULL: nobody looked; keep: the stage is needed once more */
static bool upsert_staged(TablePair *table, Conn *dst, bool insert_only, bool keep,
                          ApplyFilter *filter, const ApplyExpected *expected, Err *err)
{
    int64_t present, unstaged, updated = 0, inserted = 0, dropped = 0;
    bool exact = filter != NULL && filter->exact;

    if (!count_present(table, dst, &present, err) ||
        (!insert_only && present > 0 && !update_rows(table, dst, &updated, err)))
        return false;
    if (exact && !insert_only && updated != expected->updates)
        return outrun(filter, dst, err);
    if (updated > 0 && (keep || updated < present) &&
        !unstage_existing(table, dst, keep, &unstaged, err))
        return false;
    if (updated < present && insert_only && filter != NULL) {
        if (!insert_or_refuse(table, dst, filter, &inserted, &dropped, err))
            return false;
    } else if (updated < present && !insert_rows(table, dst, false, &inserted, err)) {
        return false;
    }
    if (updated + inserted + dropped != present) {
        err_set(err, ERR_STATE, "%lld rows should have been written but %lld were",
                (long long)present, (long long)(updated + inserted));
        return err_hint(
            err,
            "Something on the %s changes or refuses rows: a trigger, a rule or a policy "
            "that is not ours. Run \"pgtandem verify\".",
            conn_label(dst));
    }
    return true;
}

static bool write_staged(TablePair *table, Conn *dst, ApplyMode mode, ApplyFilter *filter,
                         const ApplyExpected *expected, ApplyStats *stats, Err *err)
{
    int64_t deleted = 0;
    bool replace = mode == APPLY_REPLACE || apply_needs_replace(table);

    if (!delete_rows(table, dst, replace ? DELETE_KEYS : DELETE_GONE, &deleted, err))
        return false;
    if (filter != NULL && filter->exact &&
        deleted != expected->deletes + (replace ? expected->updates : 0))
        return outrun(filter, dst, err);
    stats->deleted += deleted;
    return fault("apply.between", err) &&
           upsert_staged(table, dst, replace, table->dst->part != NULL, filter, expected, err);
}

/* the staged rows to dst, and nothing to rows there that are not in the run */
static bool write_part(TablePair *table, Conn *dst, ApplyMode mode, ApplyFilter *filter,
                       const ApplyExpected *expected, ApplyStats *stats, Err *err)
{
    if (table->dst->part == NULL)
        return write_staged(table, dst, mode, filter, expected, stats, err);
    return part_begin(table, dst, err) &&
           write_staged(table, dst, mode, filter, expected, stats, err) &&
           part_end(table, dst, err);
}

static bool add_table(Err *err, const TablePair *table)
{
    AUTO_CTX(tmp, NULL);

    return err_add(err, "while applying changes of table %s", table_label(tmp, table->src));
}

static bool analyze_stage(const TablePair *table, Conn *dst, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Sql *q = sql_new(tmp);

    sql_add(q, "ANALYZE ");
    add_stage_name(q, table);
    return conn_exec(dst, q, err);
}

static bool fill_stage(TablePair *table, Conn *src, Conn *dst, const Sql *keys, ApplyStats *stats,
                       Err *err)
{
    AUTO_CTX(tmp, NULL);
    CopyStats copied;
    Sql *in = sql_new(tmp);

    if (!apply_make_stage(table, dst, err))
        return false;
    sql_add(in, "COPY ");
    add_stage_name(in, table);
    sql_add(in, " FROM STDIN");
    if (!conn_copy_pipe(src, read_statement(tmp, table, keys), dst, in, NULL, NULL, &copied, err))
        return false;
    table->staged_rows += copied.rows;
    table->staged_now = copied.rows;
    stats->rows += copied.rows;
    stats->bytes += copied.bytes;
    return fault("apply.staged", err) &&
           (copied.rows < ANALYZE_ROWS || analyze_stage(table, dst, err));
}

static bool filter_stage(TablePair *table, Conn *dst, bool *whole, ApplyFilter *filter,
                         ApplyExpected *ret_expected, Err *err)
{
    if (filter == NULL || !filter->looks || (!*whole && table->staged_now == 0))
        return true;
    filter->whole = *whole;
    if (!filter->run(filter, table, dst, ret_expected, err))
        return false;
    *whole = filter->whole;
    return true;
}

bool apply_stage(TablePair *table, Conn *src, Conn *dst, const Sql *keys, bool *whole,
                 ApplyFilter *filter, ApplyExpected *ret_expected, ApplyStats *stats, Err *err)
{
    *ret_expected = (ApplyExpected){0};
    return (fill_stage(table, src, dst, keys, stats, err) &&
            filter_stage(table, dst, whole, filter, ret_expected, err) &&
            (table->staged_now == 0 || !table->keep_keys || keep_keys(table, dst, err))) ||
           add_table(err, table);
}

bool apply_upserts(TablePair *table, Conn *dst, ApplyFilter *filter, const ApplyExpected *expected,
                   Err *err)
{
    return table->staged_now == 0 ||
           upsert_staged(table, dst, false, true, filter, expected, err) || add_table(err, table);
}

bool apply_deletes(TablePair *table, Conn *dst, bool whole, ApplyFilter *filter,
                   const ApplyExpected *expected, ApplyStats *stats, Err *err)
{
    int64_t deleted = 0;

    if (!whole && table->staged_now == 0)
        return true;
    if (!delete_rows(table, dst, whole ? DELETE_OTHERS : DELETE_GONE, &deleted, err) ||
        (filter != NULL && filter->exact && !whole && deleted != expected->deletes &&
         !outrun(filter, dst, err)))
        return add_table(err, table);
    stats->deleted += deleted;
    return true;
}

bool apply_count_existing(const TablePair *table, Conn *dst, int64_t *count, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Sql *q = sql_new(tmp);
    Rows *rows;

    if (table->staged_now == 0)
        return true;
    sql_add(q, "SELECT count(*) FROM ");
    add_ref(q, table->dst);
    sql_add(q, " JOIN ");
    add_stage_name(q, table);
    sql_add(q, " s ON ");
    apply_add_match(q, table->dst, "s");
    sql_add(q, " WHERE s.present");
    if (!conn_query(tmp, dst, q, &rows, err))
        return add_table(err, table);
    *count += rows_i64(rows, 0, 0);
    return true;
}

bool apply_unstage(TablePair *table, Conn *dst, Err *err)
{
    return table->staged_now == 0 || empty_stage(table, dst, err) || add_table(err, table);
}

bool apply_forget_kept(TablePair *table, Conn *dst, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Sql *q = sql_new(tmp);

    if (!table->staged || table->kept == 0)
        return true;
    table->kept_rows += table->kept;
    table->kept = table->kept_gone = 0;
    if (table->kept_rows >= STAGE_TRUNCATE_ROWS) {
        sql_add(q, "TRUNCATE ");
        table->kept_rows = 0;
    } else {
        sql_add(q, "DELETE FROM ");
    }
    sql_trusted(q, apply_kept_sql(tmp, table));
    return conn_exec(dst, q, err);
}

bool apply_keys(TablePair *table, Conn *src, Conn *dst, const Sql *keys, bool whole, ApplyMode mode,
                ApplyFilter *filter, ApplyStats *stats, Err *err)
{
    ApplyExpected expected;

    if (!apply_stage(table, src, dst, keys, &whole, filter, &expected, stats, err))
        return false;
    if (whole) {
        expected = (ApplyExpected){0}; /* nothing is left */
        if (!delete_everything(table, dst, err))
            return add_table(err, table);
    }
    if (table->staged_now > 0 && !write_part(table, dst, mode, filter, &expected, stats, err))
        return add_table(err, table);
    return apply_unstage(table, dst, err);
}

/* COPY of the rows that `from` (what stands behind FROM; the table is t) finds on src into dst */
static bool load_rows(const TablePair *table, Conn *src, Conn *dst, const Sql *from,
                      ApplyStats *stats, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Sql *out = sql_new(tmp), *in = sql_new(tmp);
    CopyStats copied;

    sql_add(out, "COPY (SELECT ");
    sql_trusted(out, pair_columns_sql(tmp, table, "t."));
    sql_add(out, " FROM ");
    sql_splice(out, from);
    sql_add(out, ") TO STDOUT");
    sql_trusted(in, pair_copy_in_sql(tmp, table));
    if (!conn_copy_pipe(src, out, dst, in, NULL, NULL, &copied, err))
        return false;
    stats->rows += copied.rows;
    stats->bytes += copied.bytes;
    return true;
}

bool apply_inserts(const TablePair *table, Conn *src, Conn *dst, const Sql *keys, ApplyStats *stats,
                   Err *err)
{
    AUTO_CTX(tmp, NULL);
    Sql *from = sql_new(tmp);

    sql_add(from, "(");
    sql_splice(from, keys);
    sql_add(from, ") d JOIN ");
    add_read_ref_of_key(from, table);
    return load_rows(table, src, dst, from, stats, err) ||
           err_add(err, "while copying new rows of table %s", table_label(tmp, table->src));
}

bool apply_empty_table(const TablePair *table, Conn *dst, Err *err)
{
    AUTO_CTX(tmp, NULL);

    return delete_everything(table, dst, err) ||
           err_add(err, "while emptying table %s", table_label(tmp, table->dst));
}

bool apply_all_rows(const TablePair *table, Conn *src, Conn *dst, ApplyStats *stats, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Sql *from = sql_new(tmp);

    add_read_ref(from, table);
    return load_rows(table, src, dst, from, stats, err) ||
           err_add(err, "while copying table %s", table_label(tmp, table->src));
}

bool apply_whole_table(const TablePair *table, Conn *src, Conn *dst, ApplyStats *stats, Err *err)
{
    return apply_empty_table(table, dst, err) && apply_all_rows(table, src, dst, stats, err);
}

/* reads the sequences [first, end) on src and sets those that moved on dst */
static bool apply_sequence_range(SequenceState *states, size_t first, size_t end, Conn *src,
                                 Conn *dst, size_t *moved, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Sql *read = sql_new(tmp), *write = sql_new(tmp);
    Rows *rows;
    size_t n = 0;

    for (size_t i = first; i < end; i++) {
        if (i > first)
            sql_add(read, " UNION ALL ");
        sql_add(read, "SELECT ");
        sql_number(read, (int64_t)i);
        sql_add(read, ", last_value, is_called FROM ");
        sql_name(read, states[i].sequence->schema, states[i].sequence->name);
    }
    if (!conn_query(tmp, src, read, &rows, err))
        return err_add(err, "while reading sequences");
    for (size_t r = 0; r < rows_count(rows); r++) {
        SequenceState *state = &states[rows_i64(rows, r, 0)];
        Str *name = str_new(tmp);

        if (state->known && state->last_value == rows_i64(rows, r, 1) &&
            state->is_called == rows_bool(rows, r, 2))
            continue;
        const Sequence *copy = state->copy != NULL ? state->copy : state->sequence;
        str_ident(name, copy->schema);
        str_char(name, '.');
        str_ident(name, copy->name);
        sql_add(write, "SELECT pg_catalog.setval(");
        sql_literal(write, name->text);
        sql_add(write, ", ");
        sql_number(write, rows_i64(rows, r, 1));
        sql_trusted(write, rows_bool(rows, r, 2) ? ", true);" : ", false);");
        n++;
    }
    if (n > 0 && !conn_exec(dst, write, err))
        return err_add(err, "while setting sequences");
    for (size_t r = 0; r < rows_count(rows); r++) {
        SequenceState *state = &states[rows_i64(rows, r, 0)];

        state->last_value = rows_i64(rows, r, 1);
        state->is_called = rows_bool(rows, r, 2);
        state->known = true;
    }
    *moved += n;
    return true;
}

bool apply_sequences(SequenceState *states, size_t n, Conn *src, Conn *dst, size_t *ret_moved,
                     Err *err)
{
    *ret_moved = 0;
    for (size_t first = 0; first < n; first += SEQUENCES_PER_QUERY) {
        size_t end = first + SEQUENCES_PER_QUERY < n ? first + SEQUENCES_PER_QUERY : n;

        if (!apply_sequence_range(states, first, end, src, dst, ret_moved, err))
            return false;
    }
    return true;
}
