/* A connection without a server: see fake_conn.h. */
#include "fake_conn.h"

#include <stdlib.h>
#include <string.h>

struct Conn {
    Caps caps;
    FakeAnswer answer;
    char *text;
    size_t n_params;
    char *params[FAKE_MAX_PARAMS];
};

struct Rows {
    FakeAnswer answer;
};

Conn *fake_conn_new(const void *ctx, int version)
{
    Conn *conn = mem_new(ctx, Conn);

    conn->caps.version = version;
    return conn;
}

void fake_conn_answer(Conn *conn, const FakeAnswer *answer)
{
    conn->answer = *answer;
}

const char *fake_conn_text(const Conn *conn)
{
    return conn->text;
}

size_t fake_conn_n_params(const Conn *conn)
{
    return conn->n_params;
}

const char *fake_conn_param(const Conn *conn, size_t i)
{
    return conn->params[i];
}

const Caps *conn_caps(const Conn *conn)
{
    return &conn->caps;
}

bool conn_query(const void *ctx, Conn *conn, const Sql *q, Rows **ret_rows, Err *err)
{
    talloc_free(conn->text);
    conn->text = mem_strdup(conn, q->text->text);
    conn->n_params = q->n_params;
    for (size_t i = 0; i < q->n_params && i < FAKE_MAX_PARAMS; i++)
        conn->params[i] = q->params[i] == NULL ? NULL : mem_strdup(conn, q->params[i]);
    if (conn->answer.error != NULL)
        return err_set(err, ERR_SQL, "%s", conn->answer.error);
    *ret_rows = mem_new(ctx, Rows);
    (*ret_rows)->answer = conn->answer;
    return true;
}

size_t rows_count(const Rows *rows)
{
    return rows->answer.n_rows;
}

int rows_columns(const Rows *rows)
{
    return rows->answer.n_columns;
}

unsigned rows_column_type(const Rows *rows, int col)
{
    return rows->answer.types[col];
}

const char *rows_text(const Rows *rows, size_t row, int col)
{
    return rows->answer.values[row * (size_t)rows->answer.n_columns + (size_t)col];
}

int64_t rows_i64(const Rows *rows, size_t row, int col)
{
    return strtoll(rows_text(rows, row, col), NULL, 10);
}

double rows_double(const Rows *rows, size_t row, int col)
{
    return strtod(rows_text(rows, row, col), NULL);
}

bool rows_bool(const Rows *rows, size_t row, int col)
{
    return strcmp(rows_text(rows, row, col), "t") == 0;
}
