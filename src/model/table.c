/* Tables, keys and sequences: see table.h. */
#include "model/table.h"

#include <string.h>

#include "base/mem.h"
#include "base/str.h"

static const char *copy_text(const void *ctx, const char *text)
{
    return text == NULL ? NULL : mem_strdup(ctx, text);
}

Table table_copy(const void *ctx, const Table *table)
{
    Table copy = *table;

    copy.schema = copy_text(ctx, table->schema);
    copy.name = copy_text(ctx, table->name);
    copy.owner = copy_text(ctx, table->owner);
    copy.config = copy_text(ctx, table->config);
    copy.filter = copy_text(ctx, table->filter);
    copy.part = copy_text(ctx, table->part);
    copy.config_keys = NULL; /* it is not carried by the condition */
    copy.n_config_keys = 0;
    copy.columns = mem_array(ctx, Column, table->n_columns + 1);
    for (size_t i = 0; i < table->n_columns; i++) {
        copy.columns[i] = table->columns[i];
        copy.columns[i].name = copy_text(ctx, table->columns[i].name);
        copy.columns[i].type = copy_text(ctx, table->columns[i].type);
        copy.columns[i].base_type = copy_text(ctx, table->columns[i].base_type);
    }
    copy.keys = mem_array(ctx, KeyColumn, table->n_keys + 1);
    for (size_t i = 0; i < table->n_keys; i++) {
        copy.keys[i] = table->keys[i];
        copy.keys[i].name = copy_text(ctx, table->keys[i].name);
        copy.keys[i].type = copy_text(ctx, table->keys[i].type);
        copy.keys[i].eq_op = copy_text(ctx, table->keys[i].eq_op);
        copy.keys[i].collation = copy_text(ctx, table->keys[i].collation);
    }
    return copy;
}

Table *catalog_find(const Catalog *catalog, const char *schema, const char *name)
{
    for (size_t i = 0; i < catalog->n_tables; i++)
        if (strcmp(catalog->tables[i].name, name) == 0 &&
            strcmp(catalog->tables[i].schema, schema) == 0)
            return &catalog->tables[i];
    return NULL;
}

const Table *catalog_find_any(const Catalog *catalog, const char *schema, const char *name)
{
    const Catalog roots = {.tables = catalog->roots, .n_tables = catalog->n_roots};
    const Catalog partitions = {.tables = catalog->partitions, .n_tables = catalog->n_partitions};
    const Table *found = catalog_find(catalog, schema, name);

    if (found == NULL)
        found = catalog_find(&roots, schema, name);
    return found != NULL ? found : catalog_find(&partitions, schema, name);
}

const Sequence *catalog_find_sequence(const Catalog *catalog, const char *schema, const char *name)
{
    for (size_t i = 0; i < catalog->n_sequences; i++)
        if (strcmp(catalog->sequences[i].name, name) == 0 &&
            strcmp(catalog->sequences[i].schema, schema) == 0)
            return &catalog->sequences[i];
    return NULL;
}

const Column *table_column(const Table *table, const char *name)
{
    for (size_t i = 0; i < table->n_columns; i++)
        if (strcmp(table->columns[i].name, name) == 0)
            return &table->columns[i];
    return NULL;
}

bool table_is_key(const Table *table, const char *column)
{
    for (size_t i = 0; i < table->n_keys; i++)
        if (strcmp(table->keys[i].name, column) == 0)
            return true;
    return false;
}

bool table_has_image_of(const Table *table, const Column *column)
{
    return !table->partitioned || !column->generated;
}

char *table_key_text(const void *ctx, const Table *table)
{
    Str *s = str_new(ctx);

    for (size_t k = 0; k < table->n_keys; k++) {
        if (k > 0)
            str_char(s, '\x1f');
        str_add(s, table->keys[k].name);
    }
    return s->text;
}

char *table_key_print(const void *ctx, const Table *table)
{
    Str *s = str_new(ctx);

    for (size_t k = 0; k < table->n_keys; k++)
        str_fmt(s, "%s%d %s", k > 0 ? ", " : "", table_column(table, table->keys[k].name)->number,
                table->keys[k].type);
    return s->text;
}

char *table_label(const void *ctx, const Table *table)
{
    return mem_printf(ctx, "%s.%s", table->schema, table->name);
}

char *table_name_sql(const void *ctx, const Table *table)
{
    Str *s = str_new(ctx);

    str_ident(s, table->schema);
    str_char(s, '.');
    str_ident(s, table->name);
    return s->text;
}

char *table_config_rows(const void *ctx, const Table *table)
{
    AUTO_CTX(tmp, NULL);

    return mem_printf(ctx, "(SELECT * FROM %s %s)", table_name_sql(tmp, table), table->config);
}

char *table_config_test(const void *ctx, const Table *table, const char *alias)
{
    AUTO_CTX(tmp, NULL);

    if (table->config[0] == '\0')
        return mem_strdup(ctx, "true");
    /* as texts: older servers cannot hash a tid */
    return mem_printf(ctx, "(%s.ctid::text IN (SELECT ctid::text FROM %s %s))", alias,
                      table_name_sql(tmp, table), table->config);
}

char *table_ref(const void *ctx, const Table *table)
{
    char *name = table_name_sql(ctx, table);

    return table->inherits ? mem_printf(ctx, "ONLY %s", name) : name;
}

char *table_rows_ref(const void *ctx, const Table *table)
{
    char *name = table_ref(ctx, table);

    return table->part == NULL
               ? name
               : mem_printf(ctx, "(SELECT t.tableoid, t.* FROM %s t WHERE %s)", name, table->part);
}

char *pair_columns_sql(const void *ctx, const TablePair *pair, const char *prefix)
{
    Str *s = str_new(ctx);

    for (size_t i = 0; i < pair->n_columns; i++) {
        if (i > 0)
            str_add(s, ", ");
        str_add(s, prefix);
        str_ident(s, pair->columns[i]->name);
    }
    return s->text;
}

char *pair_read_ref(const void *ctx, const TablePair *pair)
{
    return pair->read_sql != NULL ? mem_strdup(ctx, pair->read_sql)
                                  : table_rows_ref(ctx, pair->src);
}

char *pair_copy_in_sql(const void *ctx, const TablePair *pair)
{
    AUTO_CTX(tmp, NULL);
    const char *name = table_name_sql(tmp, pair->dst);

    if (pair->n_columns == 0)
        return mem_printf(ctx, "COPY %s FROM STDIN", name);
    return mem_printf(ctx, "COPY %s (%s) FROM STDIN", name, pair_columns_sql(tmp, pair, ""));
}
