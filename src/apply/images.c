/*
 * Tables without key: rows that came and went, by value. See apply_images() in apply.h.
 *
 * Which rows are equal is decided by dst alone, as texts of one server, with its types: the text of a float, say,
 * is another one on another version, and json has no equality at all.
 */
#include <string.h>

#include "apply/apply.h"
#include "base/fault.h"

enum { ANALYZE_ROWS = 1000 }; /* staged rows from which the planner needs to know their number */

static void add_name(Sql *q, const char *what, const TablePair *table)
{
    sql_add(q, "pg_temp.pgtandem_");
    sql_trusted(q, what);
    sql_add(q, "_");
    sql_number(q, table->dst->id);
}

/* the place of a carried column in an image, from 1 */
static size_t place_of(const TablePair *table, const Column *column)
{
    size_t place = 1;

    for (size_t i = 0; strcmp(table->src->columns[i].name, column->name) != 0; i++)
        place += table_has_image_of(table->src, &table->src->columns[i]) ? 1 : 0;
    return place;
}

/* (s.r).c1 */
static void add_staged(Sql *q, const TablePair *table, const Column *column)
{
    sql_add(q, "(s.r).c");
    sql_number(q, (int64_t)place_of(table, column));
}

/* a table whose row type reads images, and one of those */
static bool create_stage(TablePair *table, Conn *dst, Err *err)
{
    AUTO_CTX(tmp, NULL);
    int64_t place = 0;
    Sql *q = sql_new(tmp);

    sql_add(q, "DROP TABLE IF EXISTS ");
    add_name(q, "stage", table);
    sql_add(q, "; DROP TABLE IF EXISTS ");
    add_name(q, "row", table);
    sql_add(q, "; CREATE TEMP TABLE ");
    add_name(q, "row", table);
    sql_add(q, " AS SELECT ");
    for (size_t i = 0; i < table->src->n_columns; i++) {
        const Column *column = table_column(table->dst, table->src->columns[i].name);

        if (!table_has_image_of(table->src, &table->src->columns[i]))
            continue;
        if (column == NULL)
            return err_set(err, ERR_STATE, "column %s is not on the %s",
                           table->src->columns[i].name, conn_label(dst));
        sql_trusted(q, place++ > 0 ? ", t." : "t.");
        sql_ident(q, column->name);
        if (strcmp(column->base_type, column->type) != 0) {
            sql_add(q, "::");
            sql_trusted(q, column->base_type);
        }
        sql_add(q, " AS c");
        sql_number(q, place);
    }
    sql_add(q, " FROM ");
    sql_trusted(q, table_ref(tmp, table->dst));
    sql_add(q, " t WITH NO DATA; CREATE TEMP TABLE ");
    add_name(q, "stage", table);
    sql_add(q, " (no bigserial, n bigint, r ");
    add_name(q, "row", table);
    sql_add(q, ")");
    if (!conn_exec(dst, q, err))
        return err_add(err, "while creating a staging table");
    table->staged = true;
    return true;
}

typedef struct Staged {
    int64_t come, gone;
    Rows *without_null; /* a bool for each carried column: no row that went has a NULL there */
} Staged;

static bool count_staged(const void *ctx, const TablePair *table, Conn *dst, Staged *ret, Err *err)
{
    Sql *q = sql_new(ctx);

    sql_add(q, "SELECT coalesce(sum(greatest(s.n, 0)), 0), coalesce(sum(greatest(-s.n, 0)), 0)");
    for (size_t i = 0; i < table->n_columns; i++) {
        sql_add(q, ", coalesce(bool_and(s.n > 0 OR NOT (");
        add_staged(q, table, table->columns[i]);
        sql_add(q, " IS NULL)), false)");
    }
    sql_add(q, " FROM ");
    add_name(q, "stage", table);
    sql_add(q, " s");
    if (!conn_query(ctx, dst, q, &ret->without_null, err))
        return false;
    ret->come = rows_i64(ret->without_null, 0, 0);
    ret->gone = rows_i64(ret->without_null, 0, 1);
    return true;
}

/* types whose values are equal when their texts are */
static bool has_equality(const TablePair *table, const Column *column)
{
    static const char *const types[] = {"smallint",
                                        "integer",
                                        "bigint",
                                        "text",
                                        "character varying",
                                        "uuid",
                                        "numeric",
                                        "boolean",
                                        "date",
                                        "timestamp without time zone",
                                        "timestamp with time zone"};
    const char *type = table_column(table->dst, column->name)->type;

    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++)
        if (strcmp(type, types[i]) == 0)
            return true;
    return false;
}

/* ROW(…)::text of the carried columns */
static void add_image(Sql *q, const TablePair *table, bool staged)
{
    sql_add(q, "ROW(");
    for (size_t i = 0; i < table->n_columns; i++) {
        if (i > 0)
            sql_add(q, ", ");
        if (staged) {
            add_staged(q, table, table->columns[i]);
        } else {
            sql_add(q, "t.");
            sql_ident(q, table->columns[i]->name);
        }
    }
    sql_add(q, ")::text COLLATE \"C\"");
}

/*
 * Of each value as many rows as went. Columns that have an equality, too, are compared by it first: an index of the
 * table can be used then, or at least no text is made of rows that are not meant.
 */
static bool delete_gone(const TablePair *table, Conn *dst, const Staged *staged, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Sql *q = sql_new(tmp);
    const char *ref = table_ref(tmp, table->dst);

    sql_add(q, "DELETE FROM ");
    sql_trusted(q, ref);
    sql_add(q, " t USING (SELECT m.rel, m.row FROM (SELECT t.tableoid AS rel, t.ctid AS row, s.n, "
               "row_number() OVER (PARTITION BY s.no) AS i FROM ");
    add_name(q, "stage", table);
    sql_add(q, " s JOIN ");
    sql_trusted(q, ref);
    sql_add(q, " t ON ");
    for (size_t i = 0; i < table->n_columns; i++) {
        if (!has_equality(table, table->columns[i]) ||
            !rows_bool(staged->without_null, 0, (int)i + 2))
            continue;
        sql_add(q, "t.");
        sql_ident(q, table->columns[i]->name);
        sql_add(q, " OPERATOR(pg_catalog.=) ");
        add_staged(q, table, table->columns[i]);
        sql_add(q, " AND ");
    }
    add_image(q, table, false);
    sql_add(q, " = ");
    add_image(q, table, true);
    sql_add(q,
            " WHERE s.n < 0) m WHERE m.i <= -m.n) d WHERE t.tableoid = d.rel AND t.ctid = d.row");
    if (!conn_exec(dst, q, err))
        return false;
    if (conn_affected(dst) == staged->gone)
        return true;
    return err_set(err, ERR_STATE, "%lld rows should have been deleted but %lld were found",
                   (long long)staged->gone, (long long)conn_affected(dst));
}

static bool insert_come(const TablePair *table, Conn *dst, const Staged *staged, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Sql *q = sql_new(tmp);
    bool identity = false;

    for (size_t i = 0; i < table->n_columns; i++)
        identity = identity || table_column(table->dst, table->columns[i]->name)->identity_always;
    sql_add(q, "INSERT INTO ");
    sql_trusted(q, table_name_sql(tmp, table->dst));
    if (table->n_columns > 0) {
        sql_add(q, " (");
        sql_trusted(q, pair_columns_sql(tmp, table, ""));
        sql_add(q, ")");
    }
    if (identity)
        sql_add(q, " OVERRIDING SYSTEM VALUE");
    sql_add(q, " SELECT ");
    for (size_t i = 0; i < table->n_columns; i++) {
        if (i > 0)
            sql_add(q, ", ");
        add_staged(q, table, table->columns[i]);
    }
    sql_add(q, " FROM ");
    add_name(q, "stage", table);
    sql_add(q, " s CROSS JOIN LATERAL generate_series(1, s.n) WHERE s.n > 0");
    if (!conn_exec(dst, q, err))
        return false;
    if (conn_affected(dst) == staged->come)
        return true;
    return err_set(err, ERR_STATE, "%lld rows should have been inserted but %lld were",
                   (long long)staged->come, (long long)conn_affected(dst));
}

static bool write_staged(const TablePair *table, Conn *dst, int64_t staged_rows, ApplyStats *stats,
                         Err *err)
{
    AUTO_CTX(tmp, NULL);
    Staged staged;
    Sql *q = sql_new(tmp);

    sql_add(q, "ANALYZE ");
    add_name(q, "stage", table);
    if (!count_staged(tmp, table, dst, &staged, err) ||
        (staged_rows >= ANALYZE_ROWS && !conn_exec(dst, q, err)) ||
        (staged.gone > 0 && !delete_gone(table, dst, &staged, err)) ||
        !fault("apply.images", err) || (staged.come > 0 && !insert_come(table, dst, &staged, err)))
        return false;
    stats->deleted += staged.gone;
    q = sql_new(tmp);
    sql_add(q, "TRUNCATE ");
    add_name(q, "stage", table);
    return conn_exec(dst, q, err);
}

bool apply_images(TablePair *table, Conn *src, Conn *dst, const Sql *images, ApplyStats *stats,
                  Err *err)
{
    AUTO_CTX(tmp, NULL);
    CopyStats copied;
    Sql *out = sql_new(tmp), *in = sql_new(tmp);

    if (!table->staged && !create_stage(table, dst, err))
        goto failed;
    sql_add(out, "COPY (");
    sql_splice(out, images);
    sql_add(out, ") TO STDOUT");
    sql_add(in, "COPY ");
    add_name(in, "stage", table);
    sql_add(in, " (n, r) FROM STDIN");
    if (!conn_copy_pipe(src, out, dst, in, NULL, NULL, &copied, err) ||
        (copied.rows > 0 && !write_staged(table, dst, copied.rows, stats, err)))
        goto failed;
    stats->rows += copied.rows;
    stats->bytes += copied.bytes;
    return true;
failed:
    return err_add(err, "while applying changes of table %s", table_label(tmp, table->src));
}
