/* Rows into structs: see reader.h. */
#include "sql/reader.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { TEXT_CHUNK = 32 * 1024 };

/* type oids (pg_type.dat), the same on all versions */
enum {
    OID_BOOL = 16,
    OID_INT8 = 20,
    OID_INT2 = 21,
    OID_INT4 = 23,
    OID_OID = 26,
    OID_FLOAT4 = 700,
    OID_FLOAT8 = 701
};

/* texts of one result, packed into a few allocations: a catalog can have many thousand rows */
typedef struct Texts {
    void *owner;
    char *next;
    size_t left;
} Texts;

const char *reader_i64(int64_t value, char *buf)
{
    snprintf(buf, READER_I64_SIZE, "%" PRId64, value);
    return buf;
}

static bool type_fits(FieldType type, unsigned oid)
{
    switch (type) {
    case FIELD_INT:
        return oid == OID_INT2 || oid == OID_INT4;
    case FIELD_INT8:
        return oid == OID_INT2 || oid == OID_INT4 || oid == OID_INT8 || oid == OID_OID;
    case FIELD_BOOL:
        return oid == OID_BOOL;
    case FIELD_FLOAT8:
        return oid == OID_FLOAT4 || oid == OID_FLOAT8;
    case FIELD_TEXT:
        return true;
    }
    return false;
}

static bool check_types(const Rows *rows, const Query *query, const Field *fields, Err *err)
{
    for (size_t col = 0; col < query->n_columns; col++) {
        unsigned oid = rows_column_type(rows, (int)col);

        if (!type_fits(fields[col].type, oid))
            return err_set(err, ERR_BUG, "query %s returned type %u in column %s instead of %s",
                           query->name, oid, query->columns[col].name, query->columns[col].type);
    }
    return true;
}

static const char *keep_text(Texts *texts, const char *text)
{
    size_t size = strlen(text) + 1;

    if (size > TEXT_CHUNK / 8)
        return mem_strdup(texts->owner, text);
    if (size > texts->left) {
        texts->next = mem_or_die(talloc_array(texts->owner, char, TEXT_CHUNK));
        texts->left = TEXT_CHUNK;
    }
    char *copy = texts->next;
    memcpy(copy, text, size);
    texts->next += size;
    texts->left -= size;
    return copy;
}

static void read_value(char *place, const Field *field, const Rows *rows, size_t row, int col,
                       Texts *texts)
{
    switch (field->type) {
    case FIELD_INT:
        *(int *)(void *)place = (int)rows_i64(rows, row, col);
        break;
    case FIELD_INT8:
        *(int64_t *)(void *)place = rows_i64(rows, row, col);
        break;
    case FIELD_BOOL:
        *(bool *)place = rows_bool(rows, row, col);
        break;
    case FIELD_FLOAT8:
        *(double *)(void *)place = rows_double(rows, row, col);
        break;
    case FIELD_TEXT:
        *(const char **)(void *)place = keep_text(texts, rows_text(rows, row, col));
        break;
    }
}

void *reader_rows(const void *ctx, Conn *conn, const Query *query, const char *const *params,
                  size_t n_params, const Field *fields, size_t row_size, size_t *ret_n, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Rows *rows = NULL;

    if (!query_run(tmp, conn, query, params, n_params, &rows, err))
        return NULL;
    if (!check_types(rows, query, fields, err))
        return NULL;
    size_t n = rows_count(rows);
    char *array = mem_or_die(talloc_zero_size(tmp, n * row_size));
    Texts texts = {.owner = array};

    for (size_t row = 0; row < n; row++) {
        char *record = array + row * row_size;

        for (size_t i = 0; i < query->n_columns; i++) {
            const Field *field = &fields[i];
            int col = (int)i;

            if (rows_text(rows, row, col) != NULL) {
                read_value(record + field->offset, field, rows, row, col, &texts);
            } else if (!field->nullable) {
                err_set(err, ERR_BUG, "query %s returned null in column %s", query->name,
                        query->columns[i].name);
                return NULL;
            } else if (field->type != FIELD_TEXT) {
                *(bool *)(record + field->null_offset) = true;
            }
        }
    }
    *ret_n = n;
    return talloc_steal(ctx, array);
}

bool reader_do(Conn *conn, const Query *query, const char *const *params, size_t n_params, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Sql *q = sql_new(tmp);
    Rows *rows = NULL;

    sql_trusted(q, query_text(tmp, query, conn_caps(conn)->version));
    for (size_t i = 0; i < n_params; i++)
        mem_push(q, q->params, q->n_params, params[i]);
    if (!conn_query(tmp, conn, q, &rows, err))
        return err_add(err, "%s", query->name);
    return true;
}
