/* Foreign keys where rows were left behind: see filtered.h. */
#include "migrate/filtered.h"

#include <string.h>

bool filtered_read(const void *ctx, Conn *conn, Filtered *ret, Err *err)
{
    return q_filtered_tabs(ctx, conn, &ret->tables, &ret->n, err);
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
