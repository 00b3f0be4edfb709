/*
 * A connection to one node. This folder is the only one that includes libpq-fe.h.
 *
 * All calls are made without blocking in libpq: they wait through base/wait, so a signal, the death
 * of the parent process or the connection's deadline ends them. After ERR_CANCELED or ERR_TIMEOUT
 * the running statement has been cancelled on the server and the connection is usable again (in a
 * failed transaction) or, if the server did not answer in time, broken. A broken connection gives
 * ERR_CONNECT on every call.
 *
 * On open, every setting that could change values or meaning is pinned (see session_settings() in
 * conn.c).
 */
#ifndef PG_CONN_H
#define PG_CONN_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/mem.h"
#include "pg/caps.h"
#include "pg/sql.h"

typedef struct Conn Conn;
typedef struct Rows Rows;

/* where to connect, and how to call it in messages */
typedef struct ConnSpec {
    const char *conninfo; /* libpq conninfo or URI; may hold a password, so never print it */
    const char *label;    /* "source" or "target" */
} ConnSpec;

/* the application_name of every session of ours begins with this */
#define CONN_APPLICATION "pgtandem"

/* opens a connection; purpose is shown in pg_stat_activity, e.g. "apply" → "pgtandem apply" */
CHECKED Conn *conn_open(const void *ctx, const ConnSpec *spec, const char *purpose, Err *err);

/* the same to a console that knows no SET (PgBouncer's admin database); only conn_query/conn_exec without
 * parameters work there */
CHECKED Conn *conn_open_console(const void *ctx, const ConnSpec *spec, Err *err);

/* "host=… port=… dbname=… user=…" without secrets, for messages; result belongs to ctx */
char *conn_spec_safe(const void *ctx, const ConnSpec *spec);

/* the keywords that this libpq knows; an array of n texts that belongs to ctx */
const char **conn_keywords(const void *ctx, size_t *ret_n);

/* the same node, but another database there; the text belongs to ctx and may hold a password */
CHECKED bool conn_spec_of_database(const void *ctx, const ConnSpec *spec, const char *database,
                                   ConnSpec *ret_spec, Err *err);

/*
 * What a child program (pg_dump) needs: *ret_conninfo without the password, *ret_password the
 * password (NULL when there is none) for PGPASSWORD. Both belong to ctx.
 */
CHECKED bool conn_spec_for_child(const void *ctx, const ConnSpec *spec, const char **ret_conninfo,
                                 const char **ret_password, Err *err);
/*
 * a value of the conninfo after all defaults ("host", "port", "dbname"), or ""; result belongs to
 * ctx
 */
char *conn_value(const void *ctx, const Conn *conn, const char *keyword);

const Caps *conn_caps(const Conn *conn);
const char *conn_label(const Conn *conn);
int conn_backend_pid(const Conn *conn);
bool conn_is_broken(const Conn *conn);
bool conn_in_transaction(const Conn *conn);

/* statements that run beyond deadline are cancelled with ERR_TIMEOUT; NO_DEADLINE to switch off */
void conn_set_deadline(Conn *conn, int64_t deadline);

/* runs one statement (several when it has no parameters); rows of the last one belong to ctx */
CHECKED bool conn_query(const void *ctx, Conn *conn, const Sql *q, Rows **ret_rows, Err *err);
CHECKED bool conn_exec(Conn *conn, const Sql *q, Err *err);
/* the same for a fixed text */
#define conn_do(conn, lit, err) conn_do_((conn), "" lit "", (err))
CHECKED bool conn_do_(Conn *conn, const char *text, Err *err);
/* rows affected by the last statement */
int64_t conn_affected(const Conn *conn);

/* ROLLBACK without regard to errors, shielded; for clean-up paths. No-op outside a transaction. */
void conn_rollback(Conn *conn);

/* sets session_replication_role to replica; *ret_replica tells whether the role may */
CHECKED bool conn_try_replica_role(Conn *conn, bool *ret_replica, Err *err);

size_t rows_count(const Rows *rows);
/* value as text, NULL for SQL NULL; lives as long as rows */
const char *rows_text(const Rows *rows, size_t row, int col);
int64_t rows_i64(const Rows *rows, size_t row, int col);
double rows_double(const Rows *rows, size_t row, int col);
bool rows_bool(const Rows *rows, size_t row, int col);
int rows_columns(const Rows *rows);
const char *rows_column_name(const Rows *rows, int col);
/* whether a column of the result is a column of that table as it is, and no expression; attnum from 1 */
bool rows_column_is(const Rows *rows, int col, int64_t table_oid, int attnum);
/* type oid of a column: for the test that checks every query's declared result */
unsigned rows_column_type(const Rows *rows, int col);

typedef struct CopyStats {
    int64_t rows;
    int64_t bytes;
} CopyStats;

/*
 * whether values in binary form mean the same on both: dst is no older than src, and both keep times
 * as integers
 */
bool conn_binary_fits(const Conn *src, const Conn *dst);

/*
 * Runs `out` (COPY … TO STDOUT) on src and streams its rows into `in` (COPY … FROM STDIN) on dst;
 * both in the same format, text or binary. Memory: one row and libpq's buffers. Succeeds only when
 * both sides report the same number of rows. on_progress (may be NULL) is called now and then with
 * the rows and bytes so far.
 */
CHECKED bool conn_copy_pipe(Conn *src, const Sql *out, Conn *dst, const Sql *in,
                            void (*on_progress)(void *arg, const CopyStats *so_far), void *arg,
                            CopyStats *ret_stats, Err *err);

/*
 * COPY … TO STDOUT, each row (without the line end) handed to on_row; it returns false with err to
 * stop
 */
CHECKED bool conn_copy_out(Conn *conn, const Sql *out,
                           bool (*on_row)(void *arg, const char *row, size_t len, Err *err),
                           void *arg, Err *err);

#endif
