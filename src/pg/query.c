/* Named queries: see query.h. */
#include "pg/query.h"

char *query_text(const void *ctx, const Query *query, int version)
{
    Str *s = str_new(ctx);

    for (size_t i = 0; i < query->n_lines; i++) {
        const QueryLine *line = &query->lines[i];

        if (line->min_version != 0 && version < line->min_version)
            continue;
        if (line->max_version != 0 && version >= line->max_version)
            continue;
        str_add(s, line->text);
        str_char(s, '\n');
    }
    return s->text;
}

bool query_run(const void *ctx, Conn *conn, const Query *query, const char *const *params,
               size_t n_params, Rows **ret_rows, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Sql *q = sql_new(tmp);

    sql_trusted(q, query_text(tmp, query, conn_caps(conn)->version));
    for (size_t i = 0; i < n_params; i++)
        mem_push(q, q->params, q->n_params, params[i]);
    if (!conn_query(ctx, conn, q, ret_rows, err))
        return err_add(err, "query %s", query->name);
    if ((size_t)rows_columns(*ret_rows) != query->n_columns)
        return err_set(err, ERR_BUG, "query %s returned %d columns instead of %zu", query->name,
                       rows_columns(*ret_rows), query->n_columns);
    return true;
}
