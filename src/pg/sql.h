/*
 * Building SQL: the text can only be a string literal (anything else does not compile), names and
 * values enter through typed calls. Values become $n parameters where the statement allows it.
 */
#ifndef PG_SQL_H
#define PG_SQL_H

#include <stddef.h>
#include <stdint.h>

#include "base/str.h"

typedef struct Sql {
    Str *text;
    const char **params; /* values of $1 … */
    size_t n_params;
} Sql;

Sql *sql_new(const void *ctx);

/* appends literal text */
#define sql_add(q, lit) sql_add_((q), "" lit "", sizeof("" lit "") - 1)
void sql_add_(Sql *q, const char *text, size_t len);

void sql_ident(Sql *q, const char *name);
/* "schema"."name" */
void sql_name(Sql *q, const char *schema, const char *name);
/* appends $n and stores the value (NULL is SQL NULL); the text is copied */
void sql_text(Sql *q, const char *value);
void sql_i64(Sql *q, int64_t value);
/* where no $n is allowed (DDL, COPY): a quoted literal, a plain number */
void sql_literal(Sql *q, const char *value);
void sql_number(Sql *q, int64_t value);
/*
 * text that the server itself gave us as SQL (a type name, an index definition, pg_dump's output)
 */
void sql_trusted(Sql *q, const char *text);
/* appends another statement without parameters */
void sql_splice(Sql *q, const Sql *part);

#endif
