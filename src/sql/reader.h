/*
 * What the generated functions of sql/queries.h have in common: running a query and turning its
 * rows into an array of structs. Not for use elsewhere; call the q_…() functions.
 */
#ifndef SQL_READER_H
#define SQL_READER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "pg/query.h"

typedef enum FieldType { FIELD_INT, FIELD_INT8, FIELD_TEXT, FIELD_BOOL, FIELD_FLOAT8 } FieldType;

/* where a column goes in its struct */
typedef struct Field {
    FieldType type;
    bool nullable;
    size_t offset;
    size_t null_offset; /* of the bool that says NULL; 0 for texts, which are NULL themselves */
} Field;

#define READER_I64_SIZE 24

/* value as text in buf (READER_I64_SIZE bytes); returns buf */
const char *reader_i64(int64_t value, char *buf);

/*
 * Runs the query and returns its rows as an array (not NULL, even without rows) of structs of
 * row_size bytes, one field for each of query's columns. The array belongs to ctx and owns all its
 * texts. NULL on errors; results that are not as declared are ERR_BUG.
 */
CHECKED void *reader_rows(const void *ctx, Conn *conn, const Query *query,
                          const char *const *params, size_t n_params, const Field *fields,
                          size_t row_size, size_t *ret_n, Err *err);

/* runs a query that declares no result; rows are ignored */
CHECKED bool reader_do(Conn *conn, const Query *query, const char *const *params, size_t n_params,
                       Err *err);

#endif
