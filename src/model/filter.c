/* Conditions of rows: see filter.h. */
#include "model/filter.h"

#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "model/selection.h"

static const char white_space[] = " \t\r\n";

/* the sign of TABLE=CONDITION, which may be a part of a name in quotes; or NULL */
static const char *find_sign(const char *text)
{
    bool quoted = false;

    for (; *text != '\0' && (quoted || *text != '='); text++)
        quoted = quoted != (*text == '"');
    return *text == '=' ? text : NULL;
}

static const char *trimmed(const void *ctx, const char *text)
{
    text += strspn(text, white_space);
    size_t len = strlen(text);
    while (len > 0 && strchr(white_space, text[len - 1]) != NULL)
        len--;
    return mem_strndup(ctx, text, len);
}

const char *filters_add(Filters *filters, const char *text)
{
    const char *sign = find_sign(text);
    Pattern table = {0};

    if (sign == NULL)
        return "is not of the form TABLE=CONDITION";
    const char *name = trimmed(filters, mem_strndup(filters, text, (size_t)(sign - text)));
    if (!pattern_read(filters, name, &table) || !pattern_is_name(&table))
        return "does not name a table";
    const Filter filter = {
        .schema = table.schema, .name = table.name, .condition = trimmed(filters, sign + 1)};
    if (filter.condition[0] == '\0')
        return "has no condition";
    if (filters_find(filters, filter.schema, filter.name) != NULL)
        return "gives a table a second condition";
    mem_push(filters, filters->list, filters->n, filter);
    return NULL;
}

const Filter *filters_find(const Filters *filters, const char *schema, const char *name)
{
    for (size_t i = 0; filters != NULL && i < filters->n; i++)
        if (strcmp(filters->list[i].schema, schema) == 0 &&
            strcmp(filters->list[i].name, name) == 0)
            return &filters->list[i];
    return NULL;
}

void filters_apply(const Filters *filters, Table *tables, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const Filter *filter = filters_find(filters, tables[i].schema, tables[i].name);

        tables[i].filter = filter == NULL ? NULL : filter->condition;
    }
}

static void add_quoted(Str *s, const char *name)
{
    str_char(s, '"');
    for (; *name != '\0'; name++) {
        if (*name == '"')
            str_char(s, '"');
        str_char(s, *name);
    }
    str_char(s, '"');
}

static void add_filter(Str *s, const Filter *filter)
{
    add_quoted(s, filter->schema);
    str_char(s, '.');
    add_quoted(s, filter->name);
    str_char(s, '=');
    str_add(s, filter->condition);
}

/* in one line */
static void add_line(Str *s, const char *text)
{
    for (; *text != '\0'; text++) {
        if (*text == '\\' || *text == '\n')
            str_char(s, '\\');
        str_char(s, *text == '\n' ? 'n' : *text);
    }
}

/* behind `line`, which is written to ret_text as it was before add_line() */
static const char *read_line(const char *line, Str *ret_text)
{
    for (; *line != '\0' && *line != '\n'; line++) {
        if (*line == '\\' && line[1] != '\0')
            str_char(ret_text, *++line == 'n' ? '\n' : *line);
        else
            str_char(ret_text, *line);
    }
    return *line == '\n' ? line + 1 : line;
}

static int compare_filters(const void *a, const void *b)
{
    const Filter *x = a, *y = b;
    int order = strcmp(x->schema, y->schema);

    return order != 0 ? order : strcmp(x->name, y->name);
}

char *filters_text(const void *ctx, const Filters *filters)
{
    AUTO_CTX(tmp, NULL);
    Str *s = str_new(ctx);
    size_t n = filters == NULL ? 0 : filters->n;
    Filter *sorted = mem_array(tmp, Filter, n + 1);

    for (size_t i = 0; i < n; i++)
        sorted[i] = filters->list[i];
    qsort(sorted, n, sizeof *sorted, compare_filters);
    for (size_t i = 0; i < n; i++) {
        Str *one = str_new(tmp);

        add_filter(one, &sorted[i]);
        if (i > 0)
            str_char(s, '\n');
        add_line(s, one->text);
    }
    return s->text;
}

bool filters_read(const void *ctx, const char *text, Filters **ret)
{
    AUTO_CTX(tmp, NULL);

    *ret = NULL;
    if (*text == '\0')
        return true;
    Filters *filters = mem_new(ctx, Filters);
    while (*text != '\0') {
        Str *one = str_new(tmp);

        text = read_line(text, one);
        if (filters_add(filters, one->text) != NULL)
            return false;
    }
    *ret = filters;
    return true;
}

char *filters_options(const void *ctx, const Filters *filters)
{
    AUTO_CTX(tmp, NULL);
    Str *s = str_new(ctx);

    for (size_t i = 0; filters != NULL && i < filters->n; i++) {
        Str *one = str_new(tmp);

        add_filter(one, &filters->list[i]);
        str_fmt(s, "%s--where ", i > 0 ? " " : "");
        /* for a shell */
        str_char(s, '\'');
        for (const char *c = one->text; *c != '\0'; c++) {
            if (*c == '\'')
                str_add(s, "'\\'");
            str_char(s, *c);
        }
        str_char(s, '\'');
    }
    return s->text;
}

bool filter_is_possible(const Table *table)
{
    return table->n_keys > 0 && !table->partitioned && !table->inherits && table->config == NULL;
}

char *filter_condition(const void *ctx, const char *condition)
{
    return mem_printf(ctx, "(\n%s\n)", condition);
}

char *filter_key(const void *ctx, const Table *table, const char *alias)
{
    Str *s = str_new(ctx);

    str_add(s, "ARRAY[");
    for (size_t k = 0; k < table->n_keys; k++) {
        const Column *column = table_column(table, table->keys[k].name);
        Str *value = str_new(ctx);

        str_fmt(value, "%s.", alias);
        str_ident(value, table->keys[k].name);
        if (k > 0)
            str_add(s, ", ");
        /* of a float the bytes: its text depends on settings that verify changes */
        if (column != NULL && column->is_float)
            str_fmt(s, "pg_catalog.encode(pg_catalog.float8send(%s::pg_catalog.float8), 'hex')",
                    value->text);
        else if (table->keys[k].plain)
            str_fmt(s, "%s::pg_catalog.text", value->text);
        else
            str_fmt(s, "pg_catalog.format('%%s', %s)", value->text);
    }
    str_add(s, "]::pg_catalog.text[]");
    return s->text;
}

char *filter_part(const void *ctx, const Table *table)
{
    return mem_printf(ctx,
                      "(%s IS TRUE OR EXISTS (SELECT 1 FROM pgtandem.outside o WHERE o.tab = %d "
                      "AND o.key = %s))",
                      filter_condition(ctx, table->filter), table->id, filter_key(ctx, table, "t"));
}
