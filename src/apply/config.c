/*
 * Configuration tables of extensions: the users' rows in them, see apply_config_rows() in apply.h.
 *
 * All rows of src go into a stage on dst, each with a mark whether src's condition says that it is the users'. So
 * everything is decided in one place, and with texts of one server: which rows are equal (as for tables without
 * key), and which of them is whose where the two versions of the extension think differently. Such tables are small.
 */
#include <string.h>

#include "apply/apply.h"
#include "base/fault.h"
#include "base/str.h"

static void add_stage(Sql *q, const TablePair *table)
{
    sql_add(q, "pg_temp.pgtandem_config_");
    sql_number(q, table->dst->id);
}

/* the place of a column among those that travel, from 1; 0: it does not */
static size_t place_of(const TablePair *table, const char *name)
{
    for (size_t i = 0; i < table->n_columns; i++)
        if (strcmp(table->columns[i]->name, name) == 0)
            return i + 1;
    return 0;
}

/* rows can be told by the key of dst */
static bool has_key(const TablePair *table)
{
    const Table *dst = table->dst;

    for (size_t k = 0; k < dst->n_config_keys; k++)
        if (place_of(table, dst->config_keys[k].name) == 0)
            return false;
    return dst->n_config_keys > 0;
}

static bool stage_rows(const TablePair *table, Conn *src, Conn *dst, CopyStats *stats, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Sql *create = sql_new(tmp), *out = sql_new(tmp), *in = sql_new(tmp);

    sql_add(create, "CREATE TEMP TABLE ");
    add_stage(create, table);
    sql_add(create, " ON COMMIT DROP AS SELECT true AS own");
    sql_add(out, "COPY (SELECT ");
    sql_trusted(out, table_config_test(tmp, table->src, "t"));
    for (size_t i = 0; i < table->n_columns; i++) {
        sql_add(create, ", t.");
        sql_ident(create, table->columns[i]->name);
        sql_add(create, " AS c");
        sql_number(create, (int64_t)i + 1);
        sql_add(out, ", t.");
        sql_ident(out, table->columns[i]->name);
    }
    sql_add(create, " FROM ");
    sql_trusted(create, table_name_sql(tmp, table->dst));
    sql_add(create, " t WITH NO DATA");
    sql_add(out, " FROM ");
    sql_trusted(out, table_name_sql(tmp, table->src));
    sql_add(out, " t) TO STDOUT");
    sql_add(in, "COPY ");
    add_stage(in, table);
    sql_add(in, " FROM STDIN");
    return conn_exec(dst, create, err) && conn_copy_pipe(src, out, dst, in, NULL, NULL, stats, err);
}

/* "s.c1, s.c2", or dst's columns of the same places */
static void add_columns(Sql *q, const TablePair *table, bool staged)
{
    for (size_t i = 0; i < table->n_columns; i++) {
        if (i > 0)
            sql_add(q, ", ");
        if (staged) {
            sql_add(q, "s.c");
            sql_number(q, (int64_t)i + 1);
        } else {
            sql_add(q, "t.");
            sql_ident(q, table->columns[i]->name);
        }
    }
}

/* whether all values are the same in both */
static void add_same(Sql *q, const TablePair *table)
{
    sql_add(q, "ROW(");
    add_columns(q, table, false);
    sql_add(q, ")::text COLLATE \"C\" = ROW(");
    add_columns(q, table, true);
    sql_add(q, ")::text COLLATE \"C\"");
}

static void add_same_key(Sql *q, const TablePair *table)
{
    for (size_t k = 0; k < table->dst->n_config_keys; k++) {
        const KeyColumn *key = &table->dst->config_keys[k];

        if (k > 0)
            sql_add(q, " AND ");
        sql_add(q, "t.");
        sql_ident(q, key->name);
        sql_add(q, " ");
        sql_trusted(q, key->eq_op);
        sql_add(q, " s.c");
        sql_number(q, (int64_t)place_of(table, key->name));
    }
}

/* the row of the extension, on dst, that is in the way of one of the users' */
static bool refuse_collisions(const TablePair *table, Conn *dst, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Sql *q = sql_new(tmp);
    Rows *rows;

    sql_add(q, "SELECT count(*), min(ROW(");
    add_columns(q, table, false);
    sql_add(q, ")::text) FROM ");
    add_stage(q, table);
    sql_add(q, " s JOIN ");
    sql_trusted(q, table_name_sql(tmp, table->dst));
    sql_add(q, " t ON ");
    add_same_key(q, table);
    sql_add(q, " WHERE s.own AND NOT ");
    sql_trusted(q, table_config_test(tmp, table->dst, "t"));
    sql_add(q, " AND NOT (");
    add_same(q, table);
    sql_add(q, ")");
    if (!conn_query(tmp, dst, q, &rows, err))
        return false;
    if (rows_i64(rows, 0, 0) == 0)
        return true;
    err_set(err, ERR_STATE,
            "%lld rows that users have put into a table of an extension cannot be carried: on the "
            "%s the extension has other rows with their keys, such as %s",
            (long long)rows_i64(rows, 0, 0), conn_label(dst), rows_text(rows, 0, 1));
    return err_hint(err, "Make the two rows the same, or delete one of them; then run the same "
                         "command again.");
}

/* by key: rows stay that are as they should be, since others may refer to them */
static bool write_by_key(const TablePair *table, Conn *dst, int64_t *changed, Err *err)
{
    AUTO_CTX(tmp, NULL);
    const char *name = table_name_sql(tmp, table->dst),
               *users = table_config_test(tmp, table->dst, "t");
    Sql *mark = sql_new(tmp), *remove = sql_new(tmp), *leave = sql_new(tmp);

    /* what the users have on dst is theirs, whatever src's version says of it */
    sql_add(mark, "UPDATE ");
    add_stage(mark, table);
    sql_add(mark, " s SET own = true FROM ");
    sql_trusted(mark, name);
    sql_add(mark, " t WHERE NOT s.own AND ");
    add_same_key(mark, table);
    sql_add(mark, " AND ");
    sql_trusted(mark, users);

    sql_add(remove, "DELETE FROM ");
    sql_trusted(remove, name);
    sql_add(remove, " t WHERE ");
    sql_trusted(remove, users);
    sql_add(remove, " AND NOT EXISTS (SELECT 1 FROM ");
    add_stage(remove, table);
    sql_add(remove, " s WHERE ");
    add_same_key(remove, table);
    sql_add(remove, " AND ");
    add_same(remove, table);
    sql_add(remove, ")");

    /* and that stays: all that has the key and is left is the same */
    sql_add(leave, "UPDATE ");
    add_stage(leave, table);
    sql_add(leave, " s SET own = false FROM ");
    sql_trusted(leave, name);
    sql_add(leave, " t WHERE s.own AND ");
    add_same_key(leave, table);
    if (!refuse_collisions(table, dst, err) || !conn_exec(dst, mark, err) ||
        !conn_exec(dst, remove, err))
        return false;
    *changed += conn_affected(dst);
    return conn_exec(dst, leave, err);
}

static bool delete_users(const TablePair *table, Conn *dst, int64_t *changed, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Sql *q = sql_new(tmp);

    sql_add(q, "DELETE FROM ");
    sql_trusted(q, table_name_sql(tmp, table->dst));
    sql_add(q, " t WHERE ");
    sql_trusted(q, table_config_test(tmp, table->dst, "t"));
    if (!conn_exec(dst, q, err))
        return false;
    *changed += conn_affected(dst);
    return true;
}

static bool insert_staged(const TablePair *table, Conn *dst, int64_t *changed, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Sql *q = sql_new(tmp), *drop = sql_new(tmp);
    bool identity = false;

    for (size_t i = 0; i < table->n_columns; i++)
        identity = identity || table_column(table->dst, table->columns[i]->name)->identity_always;
    sql_add(q, "INSERT INTO ");
    sql_trusted(q, table_name_sql(tmp, table->dst));
    sql_add(q, " (");
    sql_trusted(q, pair_columns_sql(tmp, table, ""));
    sql_add(q, ")");
    if (identity)
        sql_add(q, " OVERRIDING SYSTEM VALUE");
    sql_add(q, " SELECT ");
    add_columns(q, table, true);
    sql_add(q, " FROM ");
    add_stage(q, table);
    sql_add(q, " s WHERE s.own");
    if (!conn_exec(dst, q, err))
        return false;
    *changed += conn_affected(dst);
    sql_add(drop, "DROP TABLE ");
    add_stage(drop, table);
    return conn_exec(dst, drop, err);
}

bool apply_config_rows(const TablePair *table, Conn *src, Conn *dst, ApplyStats *stats, Err *err)
{
    AUTO_CTX(tmp, NULL);
    CopyStats copied = {0};
    int64_t changed = 0;

    if (table->n_columns == 0)
        return true;
    if (!stage_rows(table, src, dst, &copied, err) ||
        !(has_key(table) ? write_by_key(table, dst, &changed, err)
                         : delete_users(table, dst, &changed, err)) ||
        !fault("apply.config", err) || !insert_staged(table, dst, &changed, err))
        return err_add(err, "while copying table %s", table_label(tmp, table->src));
    stats->rows += changed;
    stats->bytes += copied.bytes;
    return true;
}
