/*
 * The queries of src/sql/, chosen by name. Lines that begin with a version condition are kept or
 * dropped by the server's version, so that one query has one result shape on all versions.
 * tools/sqlgen.py turns the files into sql/queries.h: a typed struct and a typed function for each
 * query.
 */
#ifndef PG_QUERY_H
#define PG_QUERY_H

#include "pg/conn.h"

typedef struct QueryLine {
    int min_version; /* inclusive, 0 for none */
    int max_version; /* exclusive, 0 for none */
    const char *text;
} QueryLine;

typedef struct QueryColumn {
    const char *name;
    const char *type; /* int, int8, text, bool, float8 */
} QueryColumn;

typedef struct Query {
    const char *name;
    const QueryLine *lines;
    size_t n_lines;
    const QueryColumn *columns; /* what `returns:` declares */
    size_t n_columns;
    size_t n_params;
} Query;

/* the query's text for a server version; belongs to ctx */
char *query_text(const void *ctx, const Query *query, int version);

/* runs the query; params are $1 …, NULL for SQL NULL. Checks the number of columns. */
CHECKED bool query_run(const void *ctx, Conn *conn, const Query *query, const char *const *params,
                       size_t n_params, Rows **ret_rows, Err *err);

#endif
