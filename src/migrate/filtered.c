/* Foreign keys where rows were left behind: see filtered.h. */
#include "migrate/filtered.h"

#include <string.h>

#include "pg/sqlstate.h"

bool filtered_read(const void *ctx, Conn *conn, Filtered *ret, Err *err)
{
    return q_filtered_tabs(ctx, conn, &ret->tables, &ret->n, err);
}

static bool check_table(Conn *source, const Table *table, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Sql *q = sql_new(tmp);

    if (!filter_is_possible(table)) {
        err_set(err, ERR_STATE,
                "table %s has no key any more, or became a part of a tree of tables, but a "
                "condition of --where",
                table_label(tmp, table));
        return err_hint(err, "Put it back as it was. Nothing is lost meanwhile.");
    }
    sql_add(q, "SELECT 1 FROM ");
    sql_trusted(q, table_rows_ref(tmp, table));
    sql_add(q, " t LIMIT 0");
    if (conn_exec(source, q, err))
        return true;
    if (err->kind != ERR_SQL || err_remedy(err) != REMEDY_GIVE_UP)
        return false;
    const char *why = mem_strdup(tmp, err->msg);
    err_clear(err);
    err_set(err, ERR_STATE, "the condition of --where for table %s does not fit it any more: %s",
            table_label(tmp, table), why);
    err_detail(err, "The condition is: %s", table->filter);
    return err_hint(err, "Make the table, or what the condition needs, on the node that takes "
                         "writes as it was; a column has to come back under its name. Nothing is "
                         "lost meanwhile.");
}

bool filtered_check(Run *run, Err *err)
{
    for (size_t i = 0; i < run->n_tables; i++) {
        const Table *table = &run->tables[SIDE_SOURCE][i];

        if (table->part != NULL && !check_table(run->conn[SIDE_SOURCE], table, err))
            return false;
    }
    return true;
}

static bool has_table(const Filtered *filtered, const char *schema, const char *name)
{
    for (size_t i = 0; i < filtered->n; i++)
        if (strcmp(filtered->tables[i].table_name, name) == 0 &&
            strcmp(filtered->tables[i].schema_name, schema) == 0)
            return true;
    return false;
}

bool filtered_has_key(const Filtered *filtered, const ForeignKeysRow *key)
{
    return has_table(filtered, key->schema_name, key->table_name) ||
           has_table(filtered, key->to_schema, key->to_table);
}

bool filtered_keys_on_target(const void *ctx, Run *run, ForeignKeysRow **ret_keys, size_t *ret_n,
                             Err *err)
{
    AUTO_CTX(tmp, NULL);
    Conn *source = run->conn[SIDE_SOURCE];
    Filtered filtered;
    size_t n, kept = 0;

    *ret_n = 0;
    *ret_keys = NULL;
    if (run->filters == NULL)
        return true;
    if (!filtered_read(tmp, source, &filtered, err) ||
        !q_foreign_keys(ctx, source, ret_keys, &n, err))
        return false;
    for (size_t i = 0; i < n; i++) {
        ForeignKeysRow key = (*ret_keys)[i];

        if (!filtered_has_key(&filtered, &key))
            continue;
        run_name_on(run, SIDE_TARGET, &key.schema_name, &key.table_name);
        (*ret_keys)[kept++] = key;
    }
    *ret_n = kept;
    return true;
}
