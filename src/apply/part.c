/* Tables with rows that were left behind: see part.h. */
#include "apply/part.h"

#include "apply/apply.h"
#include "base/fault.h"
#include "base/str.h"
#include "model/filter.h"

enum { NAMED_KEYS = 5 };

/* the stage's columns are not in sight of the user's condition */
static const char not_in_part[] = "NOT ", not_fulfilled[] = " IS NOT TRUE";

/* rows of dst, as t */
static void add_rows(Sql *q, const TablePair *table, const char *before, const char *condition,
                     const char *behind)
{
    AUTO_CTX(tmp, NULL);

    sql_add(q, "(SELECT t.* FROM ");
    sql_trusted(q, table_ref(tmp, table->dst));
    sql_add(q, " t WHERE ");
    sql_trusted(q, before);
    sql_trusted(q, condition);
    sql_trusted(q, behind);
    sql_add(q, ") t");
}

/* … those that are staged: JOIN stage s ON (t.key = s.k1 AND …) */
static void add_staged(Sql *q, const TablePair *table)
{
    AUTO_CTX(tmp, NULL);

    sql_add(q, " JOIN ");
    sql_trusted(q, apply_stage_sql(tmp, table));
    sql_add(q, " s ON (");
    apply_add_match(q, table->dst, "s");
    sql_add(q, ")");
}

static bool refuse_collisions(const TablePair *table, Conn *dst, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Sql *q = sql_new(tmp);
    Str *keys = str_new(tmp);
    Rows *rows;

    sql_add(q, "SELECT pg_catalog.array_to_string(");
    sql_trusted(q, filter_key(tmp, table->dst, "t"));
    sql_add(q, ", ', '), pg_catalog.count(*) OVER () FROM ");
    add_rows(q, table, not_in_part, table->dst->part, "");
    add_staged(q, table);
    sql_add(q, " WHERE s.present ORDER BY 1 LIMIT ");
    sql_number(q, NAMED_KEYS);
    if (!conn_query(tmp, dst, q, &rows, err))
        return false;
    if (rows_count(rows) == 0)
        return true;
    int64_t n = rows_i64(rows, 0, 1);
    for (size_t r = 0; r < rows_count(rows); r++)
        str_fmt(keys, "%s(%s)", r == 0 ? "" : ", ", rows_text(rows, r, 0));
    err_set(err, ERR_STATE,
            "%lld row%s of table %s ha%s the key%s of rows that were left behind on the %s: %s%s",
            (long long)n, n == 1 ? "" : "s", table_label(tmp, table->src), n == 1 ? "s" : "ve",
            n == 1 ? "" : "s", conn_label(dst), keys->text,
            n > (int64_t)rows_count(rows) ? " and others" : "");
    err_detail(err, "Both rows are as they were, and nothing of this round was written.");
    return err_hint(
        err, "Give the row that is in use another key, or delete it, and run the same command "
             "again: all changes are kept until then. If there is to be no way back, \"pgtandem "
             "finish\" "
             "ends the run.");
}

/* a row came and went under the key of one that was left behind: there is nothing to delete */
static bool spare_others(const TablePair *table, Conn *dst, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Sql *q = sql_new(tmp);

    sql_add(q, "DELETE FROM ");
    sql_trusted(q, apply_stage_sql(tmp, table));
    sql_add(q, " s USING ");
    add_rows(q, table, not_in_part, table->dst->part, "");
    sql_add(q, " WHERE NOT s.present AND ");
    apply_add_match(q, table->dst, "s");
    return conn_exec(dst, q, err);
}

static bool forget_staged(const TablePair *table, Conn *dst, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Sql *q = sql_new(tmp);

    sql_add(q, "DELETE FROM pgtandem.outside o USING ");
    sql_trusted(q, table_ref(tmp, table->dst));
    sql_add(q, " t");
    add_staged(q, table);
    sql_add(q, " WHERE o.tab = ");
    sql_number(q, table->dst->id);
    sql_add(q, " AND o.key = ");
    sql_trusted(q, filter_key(tmp, table->dst, "t"));
    return conn_exec(dst, q, err);
}

bool part_begin(const TablePair *table, Conn *dst, Err *err)
{
    return refuse_collisions(table, dst, err) && spare_others(table, dst, err) &&
           forget_staged(table, dst, err);
}

bool part_end(const TablePair *table, Conn *dst, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Sql *q = sql_new(tmp);

    sql_add(q, "INSERT INTO pgtandem.outside (tab, key) SELECT DISTINCT ");
    sql_number(q, table->dst->id);
    sql_add(q, ", n.key FROM (SELECT ");
    sql_trusted(q, filter_key(tmp, table->dst, "t"));
    sql_add(q, " AS key FROM ");
    add_rows(q, table, "", filter_condition(tmp, table->dst->filter), not_fulfilled);
    add_staged(q, table);
    /* that of a row which the application deleted here, while this node took writes, may still be there */
    sql_add(q, " WHERE s.present IS NOT FALSE) n WHERE NOT EXISTS (SELECT 1 FROM pgtandem.outside "
               "o WHERE o.tab = ");
    sql_number(q, table->dst->id);
    sql_add(q, " AND o.key = n.key)");
    return conn_exec(dst, q, err) && fault("apply.outside", err);
}

bool part_empty(const TablePair *table, Conn *dst, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Sql *q = sql_new(tmp), *forget = sql_new(tmp);

    sql_add(q, "DELETE FROM ");
    sql_trusted(q, table_ref(tmp, table->dst));
    sql_add(q, " t WHERE ");
    sql_trusted(q, table->dst->part);
    sql_add(forget, "DELETE FROM pgtandem.outside WHERE tab = ");
    sql_number(forget, table->dst->id);
    return conn_exec(dst, q, err) && conn_exec(dst, forget, err);
}
