/* Building SQL: see sql.h. */
#include "pg/sql.h"

#include "base/mem.h"

Sql *sql_new(const void *ctx)
{
    Sql *q = mem_new(ctx, Sql);

    q->text = str_new(q);
    return q;
}

void sql_add_(Sql *q, const char *text, size_t len)
{
    str_bytes(q->text, text, len);
}

void sql_ident(Sql *q, const char *name)
{
    str_ident(q->text, name);
}

void sql_name(Sql *q, const char *schema, const char *name)
{
    str_ident(q->text, schema);
    str_char(q->text, '.');
    str_ident(q->text, name);
}

void sql_text(Sql *q, const char *value)
{
    const char *copy = value == NULL ? NULL : mem_strdup(q, value);

    mem_push(q, q->params, q->n_params, copy);
    str_fmt(q->text, "$%zu", q->n_params);
}

void sql_i64(Sql *q, int64_t value)
{
    const char *text = mem_printf(q, "%lld", (long long)value);

    mem_push(q, q->params, q->n_params, text);
    str_fmt(q->text, "$%zu", q->n_params);
}

void sql_literal(Sql *q, const char *value)
{
    str_literal(q->text, value);
}

void sql_number(Sql *q, int64_t value)
{
    str_fmt(q->text, "%lld", (long long)value);
}

void sql_trusted(Sql *q, const char *text)
{
    str_add(q->text, text);
}

void sql_splice(Sql *q, const Sql *part)
{
    str_bytes(q->text, part->text->text, part->text->len);
}
