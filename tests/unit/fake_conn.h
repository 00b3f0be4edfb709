/*
 * A connection without a server, for tests of what is built on pg/conn.h: it keeps the statement it was given
 * and answers with rows of the test.
 */
#ifndef FAKE_CONN_H
#define FAKE_CONN_H

#include "pg/conn.h"

enum { FAKE_MAX_PARAMS = 8 };

/* what the next statement returns */
typedef struct FakeAnswer {
    const char *error; /* not NULL: it fails with this message */
    size_t n_rows;
    int n_columns;
    const unsigned *types;     /* one for each column */
    const char *const *values; /* n_rows * n_columns */
} FakeAnswer;

Conn *fake_conn_new(const void *ctx, int version);
void fake_conn_answer(Conn *conn, const FakeAnswer *answer);

/* the last statement and its parameters */
const char *fake_conn_text(const Conn *conn);
size_t fake_conn_n_params(const Conn *conn);
const char *fake_conn_param(const Conn *conn, size_t i);

#endif
