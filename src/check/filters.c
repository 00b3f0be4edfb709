/* Conditions of rows, checked on the source: see filters.h. */
#include "check/filters.h"

#include <string.h>

#include "base/str.h"
#include "pg/sqlstate.h"
#include "sql/queries.h"

enum { COUNTED_ORPHANS = 10000 }; /* beyond that it is said that there are more */

/* why a condition of the table is not possible, or NULL */
static const char *unfit_reason(const Catalog *source, const Table *table)
{
    if (catalog_find(source, table->schema, table->name) != table)
        return table->partitioned ? "its partitions are moved by themselves" : "a partition";
    if (table->partitioned)
        return "partitioned";
    if (table->inherits)
        return "part of an inheritance tree";
    return table->n_keys == 0 ? "no key" : NULL;
}

static const Table *find_table(const Catalog *source, const Filter *filter)
{
    const Table *table = catalog_find_any(source, filter->schema, filter->name);

    return table == NULL || table->in_extension || table->config != NULL ? NULL : table;
}

void filters_unmatched(const Catalog *source, const Filters *filters, FilterFound found, void *arg)
{
    AUTO_CTX(tmp, NULL);

    for (size_t i = 0; filters != NULL && i < filters->n; i++)
        if (find_table(source, &filters->list[i]) == NULL)
            found(arg, mem_printf(tmp, "%s.%s", filters->list[i].schema, filters->list[i].name));
}

void filters_unfit(const Catalog *source, const Filters *filters, FilterFound found, void *arg)
{
    AUTO_CTX(tmp, NULL);

    for (size_t i = 0; filters != NULL && i < filters->n; i++) {
        const Table *table = find_table(source, &filters->list[i]);
        const char *reason = table == NULL ? NULL : unfit_reason(source, table);

        if (reason != NULL)
            found(arg, mem_printf(tmp, "%s (%s)", table_label(tmp, table), reason));
    }
}

/* the table that has the condition, when one is possible; else NULL */
static const Table *fit_table(const Catalog *source, const Filter *filter)
{
    const Table *table = find_table(source, filter);

    return table == NULL || unfit_reason(source, table) != NULL ? NULL : table;
}

/*
 * In brackets as well as in parentheses: what closes the ones is out of place in the others, so a condition that
 * gets along with both closes neither.
 */
static bool try_condition(Conn *source, const Table *table, const char *condition, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Sql *brackets = sql_new(tmp), *parentheses = sql_new(tmp), *empty = sql_new(tmp),
        *index = sql_new(tmp);
    Rows *rows;

    sql_add(brackets, "SELECT ARRAY[\n");
    sql_trusted(brackets, condition);
    sql_add(brackets, "\n] FROM ");
    sql_trusted(brackets, table_ref(tmp, table));
    sql_add(brackets, " t LIMIT 0");
    sql_add(parentheses, "SELECT 1 FROM ");
    sql_trusted(parentheses, table_ref(tmp, table));
    sql_add(parentheses, " t WHERE ");
    sql_trusted(parentheses, filter_condition(tmp, condition));
    sql_add(parentheses, " IS TRUE LIMIT 0");
    sql_add(empty, "CREATE TEMP TABLE pgtandem_condition (LIKE ");
    sql_name(empty, table->schema, table->name);
    sql_add(empty, ") ON COMMIT DROP");
    sql_add(index, "CREATE INDEX ON pg_temp.pgtandem_condition ((1)) WHERE ");
    sql_trusted(index, filter_condition(tmp, condition));
    return conn_query(tmp, source, brackets, &rows, err) &&
           conn_query(tmp, source, parentheses, &rows, err) && conn_exec(source, empty, err) &&
           conn_exec(source, index, err);
}

bool filters_refused(Conn *source, const Catalog *catalog, const Filters *filters,
                     FilterFound found, void *arg, Err *err)
{
    AUTO_CTX(tmp, NULL);

    for (size_t i = 0; filters != NULL && i < filters->n; i++) {
        const Filter *filter = &filters->list[i];
        const Table *table = fit_table(catalog, filter);

        if (table == NULL)
            continue;
        if (!conn_do(source, "BEGIN", err))
            return false;
        bool ok = try_condition(source, table, filter->condition, err);
        conn_rollback(source);
        if (ok)
            continue;
        if (err->kind != ERR_SQL || err_remedy(err) != REMEDY_GIVE_UP)
            return false;
        found(arg,
              mem_printf(tmp, "%s: %s (%s)", table_label(tmp, table), err->msg, filter->condition));
        err_clear(err);
    }
    return true;
}

/* a condition of rows of the table, or what all rows fulfil */
static const char *condition_of(const void *ctx, const Filters *filters, const char *schema,
                                const char *name)
{
    const Filter *filter = filters_find(filters, schema, name);

    return filter == NULL ? "true" : filter_condition(ctx, filter->condition);
}

static bool count_orphans(Conn *source, const Filters *filters, const CheckFilterKeysRow *key,
                          int64_t *ret_n, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Sql *q = sql_new(tmp);
    Rows *rows;

    /* the conditions have each its own level, where only its own table is in sight */
    sql_add(q, "SELECT pg_catalog.count(*) FROM (SELECT 1 FROM (SELECT c.* FROM ");
    sql_name(q, key->schema_name, key->table_name);
    sql_add(q, " c WHERE ");
    sql_trusted(q, condition_of(tmp, filters, key->schema_name, key->table_name));
    sql_add(q, ") c WHERE ");
    sql_trusted(q, key->filled);
    sql_add(q, " AND NOT EXISTS (SELECT 1 FROM (SELECT t.* FROM ");
    sql_name(q, key->to_schema, key->to_table);
    sql_add(q, " t WHERE ");
    sql_trusted(q, condition_of(tmp, filters, key->to_schema, key->to_table));
    sql_add(q, ") t WHERE ");
    sql_trusted(q, key->matches);
    sql_add(q, ") LIMIT ");
    sql_number(q, COUNTED_ORPHANS + 1);
    sql_add(q, ") o");
    if (!conn_query(tmp, source, q, &rows, err))
        return false;
    *ret_n = rows_i64(rows, 0, 0);
    return true;
}

/* a condition that is none, or of what is no table, was found by others */
static bool can_count(const Catalog *catalog, const Filters *filters, const char *schema,
                      const char *name)
{
    const Filter *filter = filters_find(filters, schema, name);

    return filter == NULL || fit_table(catalog, filter) != NULL;
}

bool filters_orphans(Conn *source, const Catalog *catalog, const Scope *scope,
                     const Filters *filters, FilterFound found, void *arg, Err *err)
{
    AUTO_CTX(tmp, NULL);
    CheckFilterKeysRow *keys;
    size_t n;

    if (filters == NULL)
        return true;
    if (!q_check_filter_keys(tmp, source, &keys, &n, err))
        return false;
    for (size_t i = 0; i < n; i++) {
        const CheckFilterKeysRow *key = &keys[i];
        int64_t orphans = 0;

        if (filters_find(filters, key->to_schema, key->to_table) == NULL ||
            !scope_has(scope, key->schema_name, key->table_name) ||
            !can_count(catalog, filters, key->schema_name, key->table_name) ||
            !can_count(catalog, filters, key->to_schema, key->to_table))
            continue;
        if (!count_orphans(source, filters, key, &orphans, err)) {
            /* a condition that the server refuses is told as such */
            if (err->kind != ERR_SQL || err_remedy(err) != REMEDY_GIVE_UP)
                return false;
            err_clear(err);
            continue;
        }
        if (orphans > 0)
            found(arg,
                  mem_printf(tmp, "%s%lld rows of %s.%s (%s) refer to rows of %s.%s that stay",
                             orphans > COUNTED_ORPHANS ? "more than " : "",
                             (long long)(orphans > COUNTED_ORPHANS ? COUNTED_ORPHANS : orphans),
                             key->schema_name, key->table_name, key->name, key->to_schema,
                             key->to_table));
    }
    return true;
}
