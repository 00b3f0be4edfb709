/*
 * Connections: see conn.h.
 *
 * libpq runs in non-blocking mode. Three small pieces carry everything: conn_wait() waits for the
 * socket, flush() pushes out what is queued, next_result() waits for one result. Statements collect
 * results until libpq says there are no more, so a connection is always left ready for the next
 * statement or broken.
 */
#include "pg/conn.h"

#include <libpq-fe.h>
#include <stdlib.h>
#include <string.h>

#include "base/child.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/str.h"
#include "base/wait.h"
#include "pg/sqlstate.h"

enum {
    CONNECT_TIMEOUT_MS = 15000, /* when the conninfo has no connect_timeout */
    CANCEL_GRACE_MS = 3000,     /* how long a cancelled statement may take to end */
    /* with libpq's header of 5 bytes a multiple of the 8 kB that libpq sends at once */
    COPY_BATCH_BYTES = 64 * 1024 - 5
};

struct Conn {
    PGconn *pg;
    Caps caps;
    char *label;
    int64_t deadline;
    int64_t affected;
    bool widened; /* see copy_widen() */
};

struct Rows {
    PGresult *res;
};

static int conn_free(Conn *conn)
{
    if (conn->pg != NULL)
        PQfinish(conn->pg);
    return 0;
}

static int rows_free(Rows *rows)
{
    PQclear(rows->res);
    return 0;
}

/* libpq's message without the trailing newline, first line only when it repeats itself */
static char *pg_message(const void *ctx, const char *text)
{
    char *copy = mem_strdup(ctx, text == NULL ? "" : text);
    size_t len = strlen(copy);

    while (len > 0 && (copy[len - 1] == '\n' || copy[len - 1] == ' '))
        copy[--len] = '\0';
    return copy;
}

static bool lost(Conn *conn, Err *err)
{
    AUTO_CTX(tmp, NULL);

    return err_set(err, ERR_CONNECT, "connection to the %s was lost: %s", conn->label,
                   pg_message(tmp, PQerrorMessage(conn->pg)));
}

/* turns a failed result into err; the connection may be broken as well */
static bool result_error(Conn *conn, const PGresult *res, Err *err)
{
    AUTO_CTX(tmp, NULL);
    const char *state = PQresultErrorField(res, PG_DIAG_SQLSTATE);
    const char *primary = PQresultErrorField(res, PG_DIAG_MESSAGE_PRIMARY);
    const char *detail = PQresultErrorField(res, PG_DIAG_MESSAGE_DETAIL);
    const char *hint = PQresultErrorField(res, PG_DIAG_MESSAGE_HINT);
    const char *context = PQresultErrorField(res, PG_DIAG_CONTEXT);

    if (state == NULL && PQstatus(conn->pg) == CONNECTION_BAD)
        return lost(conn, err);
    if (primary == NULL)
        primary = pg_message(tmp, PQresultErrorMessage(res));
    err_set(err, PQstatus(conn->pg) == CONNECTION_BAD ? ERR_CONNECT : ERR_SQL, "%s: %s",
            conn->label, primary);
    if (state != NULL)
        memcpy(err->sqlstate, state, sizeof err->sqlstate - 1);
    if (detail != NULL)
        err_detail(err, "%s", detail);
    if (context != NULL)
        err_detail(err, "(%s)", context);
    if (hint != NULL)
        err_hint(err, "%s", hint);
    return false;
}

/* waits until the socket is readable (and writable when asked), or the deadline passes */
static bool conn_wait(Conn *conn, short events, int64_t deadline, Err *err)
{
    struct pollfd fd = {.fd = PQsocket(conn->pg), .events = events};
    size_t ready;

    if (fd.fd < 0)
        return lost(conn, err);
    if (!wait_fds(&fd, 1, deadline, &ready, err))
        return false;
    if (ready == 0)
        return err_set(err, ERR_TIMEOUT, "%s: the statement did not finish in time", conn->label);
    return true;
}

static bool flush(Conn *conn, int64_t deadline, Err *err)
{
    for (;;) {
        int rc = PQflush(conn->pg);

        if (rc == 0)
            return true;
        if (rc < 0)
            return lost(conn, err);
        if (!conn_wait(conn, POLLIN | POLLOUT, deadline, err))
            return false;
        if (PQconsumeInput(conn->pg) == 0)
            return lost(conn, err);
    }
}

/* the next result, or NULL at the end of the statement */
static bool next_result(Conn *conn, int64_t deadline, PGresult **ret_res, Err *err)
{
    while (PQisBusy(conn->pg)) {
        if (!conn_wait(conn, POLLIN, deadline, err))
            return false;
        if (PQconsumeInput(conn->pg) == 0)
            return lost(conn, err);
    }
    *ret_res = PQgetResult(conn->pg);
    return true;
}

/* swallows what is left of the running statement, also of a COPY in either direction */
static bool drain(Conn *conn, int64_t deadline, Err *err)
{
    for (;;) {
        PGresult *res = NULL;

        if (!next_result(conn, deadline, &res, err))
            return false;
        if (res == NULL)
            return true;
        ExecStatusType status = PQresultStatus(res);
        PQclear(res);
        if (status == PGRES_COPY_IN && PQputCopyEnd(conn->pg, "pgtandem gave up") < 0)
            return lost(conn, err);
        if (status == PGRES_COPY_IN && !flush(conn, deadline, err))
            return false;
        while (status == PGRES_COPY_OUT) {
            char *row = NULL;
            int n = PQgetCopyData(conn->pg, &row, 1);

            if (row != NULL)
                PQfreemem(row);
            if (n < 0)
                break;
            if (n == 0 &&
                (!conn_wait(conn, POLLIN, deadline, err) || PQconsumeInput(conn->pg) == 0))
                return false;
        }
        if (PQstatus(conn->pg) == CONNECTION_BAD)
            return lost(conn, err);
    }
}

static int send_cancel(void *arg)
{
    char text[256];

    return PQcancel(arg, text, sizeof text) == 0 ? 1 : 0;
}

/*
 * Ends the running statement after our own side gave up (timeout, signal, error of the other side
 * of a COPY). If the server does not answer in time the connection is closed, which rolls back
 * there too.
 */
static void stop_statement(Conn *conn)
{
    AUTO_CTX(tmp, NULL);
    Err *ignored = err_new(tmp);
    Child *child = NULL;

    if (PQstatus(conn->pg) == CONNECTION_BAD || PQtransactionStatus(conn->pg) != PQTRANS_ACTIVE)
        return;
    PGcancel *cancel = PQgetCancel(conn->pg);
    /* PQcancel() blocks for as long as the network is silent, so a process of its own does it */
    if (cancel != NULL)
        child = child_fork(tmp, send_cancel, cancel, false, ignored);
    wait_shield(true);
    bool drained = drain(conn, deadline_in(CANCEL_GRACE_MS), ignored);
    wait_shield(false);
    if (child != NULL)
        child_end(child, drained ? CANCEL_GRACE_MS : 0);
    PQfreeCancel(cancel);
    if (!drained) {
        PQfinish(conn->pg);
        conn->pg = NULL;
    }
}

static bool usable(Conn *conn, Err *err)
{
    if (conn->pg != NULL && PQstatus(conn->pg) == CONNECTION_OK)
        return true;
    return err_set(err, ERR_CONNECT, "connection to the %s was lost", conn->label);
}

/* err is about a wait that ended early: stops the statement; false */
static bool give_up(Conn *conn, const Err *err)
{
    if (err->kind == ERR_TIMEOUT || err->kind == ERR_CANCELED)
        stop_statement(conn);
    return false;
}

static bool send(Conn *conn, const char *text, const char *const *params, size_t n_params, Err *err)
{
    int ok;

    if (!usable(conn, err))
        return false;
    if (log_level() == LOG_DEBUG)
        log_debug("%s[%d]: %.600s", conn->label, PQbackendPID(conn->pg), text);
    if (n_params == 0)
        ok = PQsendQuery(conn->pg, text);
    else
        ok = PQsendQueryParams(conn->pg, text, (int)n_params, NULL, params, NULL, NULL, 0);
    if (ok == 0)
        return lost(conn, err);
    return flush(conn, conn->deadline, err) || give_up(conn, err);
}

/* runs a statement to its end; keeps the last result in *ret_res (NULL allowed) */
static bool run(Conn *conn, const char *text, const char *const *params, size_t n_params,
                PGresult **ret_res, Err *err)
{
    PGresult *last = NULL;
    bool ok = true;

    if (!send(conn, text, params, n_params, err))
        return false;
    for (;;) {
        PGresult *res = NULL;

        if (!next_result(conn, conn->deadline, &res, err)) {
            PQclear(last);
            return give_up(conn, err);
        }
        if (res == NULL)
            break;
        ExecStatusType status = PQresultStatus(res);
        if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK &&
            status != PGRES_EMPTY_QUERY) {
            if (ok)
                result_error(conn, res, err);
            ok = false;
            if (status == PGRES_COPY_IN || status == PGRES_COPY_OUT) {
                PQclear(res);
                stop_statement(conn);
                break;
            }
        }
        if (status != PGRES_EMPTY_QUERY) {
            PQclear(last);
            last = res;
        } else {
            PQclear(res);
        }
    }
    if (!ok) {
        PQclear(last);
        return false;
    }
    conn->affected = last == NULL ? 0 : strtoll(PQcmdTuples(last), NULL, 10);
    if (ret_res != NULL)
        *ret_res = last;
    else
        PQclear(last);
    return true;
}

static void on_notice(void *arg, const char *message)
{
    const Conn *conn = arg;

    log_debug("%s: %s", conn->label, message);
}

/*
 * the settings that decide what values look like and what statements do; the same on every session
 */
static char *session_settings(const void *ctx, const Caps *caps)
{
    Str *s = str_new(ctx);

    str_add(s,
            "SET search_path = '';"
            "SET client_min_messages = warning;"
            "SET DateStyle = 'ISO, MDY';"
            "SET IntervalStyle = postgres;"
            "SET TimeZone = 'UTC';"
            "SET extra_float_digits = 3;"
            "SET bytea_output = hex;"
            "SET lc_monetary = 'C';"
            "SET xmloption = content;"
            /* the joins of a large round: with the usual 4 MB they spill and lose the row order */
            "SET work_mem = '64MB';"
            "SET standard_conforming_strings = on;"
            "SET default_transaction_isolation = 'read committed';"
            "SET default_transaction_read_only = off;"
            "SET default_transaction_deferrable = off;"
            "SET statement_timeout = 0;"
            "SET lock_timeout = 0;"
            /* a server must notice soon that we are gone: it may hold the fence for us */
            "SET tcp_keepalives_idle = 10;"
            "SET tcp_keepalives_interval = 5;"
            "SET tcp_keepalives_count = 3;"
            /* what we purge on one node must be durable on the other, and so must a switch */
            "SELECT set_config('synchronous_commit', 'local', false)"
            " WHERE current_setting('synchronous_commit') = 'off';");
    if (caps->has_row_security)
        str_add(s, "SET row_security = off;");
    if (caps->has_idle_in_xact_timeout)
        str_add(s, "SET idle_in_transaction_session_timeout = 0;");
    if (caps->has_partitioned_keys)
        str_add(s, "SET jit = off;");
    if (caps->has_transaction_timeout)
        str_add(s, "SET transaction_timeout = 0;");
    return s->text;
}

/* parses a conninfo; libpq's message may repeat a part of the text, so it is not shown */
static bool parse_conninfo(const ConnSpec *spec, PQconninfoOption **ret_options, Err *err)
{
    char *message = NULL;

    *ret_options = PQconninfoParse(spec->conninfo, &message);
    PQfreemem(message);
    if (*ret_options != NULL)
        return true;
    err_set(err, ERR_USAGE, "the %s is not a valid connection string", spec->label);
    return err_hint(err, "Use a libpq connection string, e.g. \"host=db1 dbname=shop user=app\", "
                         "\"service=old\" or a postgresql:// URI.");
}

static const char *option_value(const PQconninfoOption *options, const char *keyword)
{
    for (const PQconninfoOption *o = options; o->keyword != NULL; o++)
        if (strcmp(o->keyword, keyword) == 0)
            return o->val;
    return NULL;
}

/* connects; no statement is sent yet */
static Conn *connect_to(const void *ctx, const ConnSpec *spec, const char *purpose, Err *err)
{
    AUTO_CTX(tmp, NULL);
    PQconninfoOption *options;
    /*
     * what stands before dbname is a default that the conninfo may override, what stands after it
     * is ours
     */
    const char *keys[] = {
        "keepalives_idle", "keepalives_interval", "keepalives_count", "tcp_user_timeout",
        "dbname",          "application_name",    "client_encoding",  NULL};
    const char *values[] = {"10",
                            "5",
                            "3",
                            "15000",
                            spec->conninfo,
                            mem_printf(tmp, "%s %s", CONN_APPLICATION, purpose),
                            "UTF8",
                            NULL};

    if (!parse_conninfo(spec, &options, err))
        return NULL;
    const char *timeout = option_value(options, "connect_timeout");
    int64_t limit_ms = timeout == NULL ? 0 : strtoll(timeout, NULL, 10) * 1000;
    PQconninfoFree(options);

    Conn *conn = mem_new(ctx, Conn);
    conn->label = mem_strdup(conn, spec->label);
    conn->deadline = NO_DEADLINE;
    talloc_set_destructor(conn, conn_free);
    conn->pg = PQconnectStartParams(keys, values, 1);
    if (conn->pg == NULL)
        mem_or_die(NULL);

    int64_t deadline = deadline_in(limit_ms > 0 ? limit_ms : CONNECT_TIMEOUT_MS);
    PostgresPollingStatusType poll_status = PGRES_POLLING_WRITING;
    while (PQstatus(conn->pg) != CONNECTION_BAD && poll_status != PGRES_POLLING_OK) {
        if (!conn_wait(conn, poll_status == PGRES_POLLING_READING ? POLLIN : POLLOUT, deadline,
                       err)) {
            if (err->kind == ERR_TIMEOUT)
                err_set(err, ERR_CONNECT, "could not connect to the %s (%s): no answer in time",
                        spec->label, conn_spec_safe(tmp, spec));
            talloc_free(conn);
            return NULL;
        }
        poll_status = PQconnectPoll(conn->pg);
        if (poll_status == PGRES_POLLING_FAILED)
            break;
    }
    if (PQstatus(conn->pg) != CONNECTION_OK) {
        err_set(err, ERR_CONNECT, "could not connect to the %s (%s): %s", spec->label,
                conn_spec_safe(tmp, spec), pg_message(tmp, PQerrorMessage(conn->pg)));
        talloc_free(conn);
        return NULL;
    }
    PQsetnonblocking(conn->pg, 1);
    PQsetNoticeProcessor(conn->pg, on_notice, conn);
    return conn;
}

Conn *conn_open_console(const void *ctx, const ConnSpec *spec, Err *err)
{
    return connect_to(ctx, spec, "console", err);
}

Conn *conn_open(const void *ctx, const ConnSpec *spec, const char *purpose, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Conn *conn = connect_to(ctx, spec, purpose, err);

    if (conn == NULL)
        return NULL;
    caps_fill(&conn->caps, PQserverVersion(conn->pg));
    if (conn->caps.version < CAPS_OLDEST_VERSION) {
        char version[32];

        caps_version_text(conn->caps.version, version, sizeof version);
        err_set(err, ERR_REFUSED, "the %s runs PostgreSQL %s, which is too old", spec->label,
                version);
        err_hint(err, "The oldest supported version is 9.3.");
        talloc_free(conn);
        return NULL;
    }
    if (!run(conn, session_settings(tmp, &conn->caps), NULL, 0, NULL, err)) {
        err_add(err, "while setting up a session");
        talloc_free(conn);
        return NULL;
    }
    return conn;
}

char *conn_spec_safe(const void *ctx, const ConnSpec *spec)
{
    static const char *const shown[] = {"service", "host", "hostaddr", "port", "dbname", "user"};
    AUTO_CTX(tmp, NULL);
    PQconninfoOption *options;
    Str *s = str_new(tmp);

    if (!parse_conninfo(spec, &options, err_new(tmp)))
        return mem_strdup(ctx, "invalid connection string");
    for (size_t i = 0; i < sizeof shown / sizeof *shown; i++) {
        const char *value = option_value(options, shown[i]);

        if (value != NULL)
            str_fmt(s, "%s%s=%s", s->len > 0 ? " " : "", shown[i], value);
    }
    PQconninfoFree(options);
    return mem_strdup(ctx, s->len > 0 ? s->text : "libpq's defaults");
}

const char **conn_keywords(const void *ctx, size_t *ret_n)
{
    PQconninfoOption *options = mem_or_die(PQconndefaults());
    const char **keywords = NULL;

    *ret_n = 0;
    for (const PQconninfoOption *o = options; o->keyword != NULL; o++)
        mem_push(ctx, keywords, *ret_n, mem_strdup(ctx, o->keyword));
    PQconninfoFree(options);
    return keywords;
}

bool conn_spec_of_database(const void *ctx, const ConnSpec *spec, const char *database,
                           ConnSpec *ret_spec, Err *err)
{
    PQconninfoOption *options;
    Str *s = str_new(ctx);

    if (!parse_conninfo(spec, &options, err))
        return false;
    for (const PQconninfoOption *o = options; o->keyword != NULL; o++) {
        if (o->val == NULL || strcmp(o->keyword, "dbname") == 0)
            continue;
        str_fmt(s, "%s=", o->keyword);
        str_conninfo_value(s, o->val);
        str_char(s, ' ');
    }
    PQconninfoFree(options);
    str_add(s, "dbname=");
    str_conninfo_value(s, database);
    *ret_spec = (ConnSpec){.conninfo = s->text, .label = spec->label};
    return true;
}

bool conn_spec_for_child(const void *ctx, const ConnSpec *spec, const char **ret_conninfo,
                         const char **ret_password, Err *err)
{
    PQconninfoOption *options;
    Str *s = str_new(ctx);

    if (!parse_conninfo(spec, &options, err))
        return false;
    *ret_password = NULL;
    for (const PQconninfoOption *o = options; o->keyword != NULL; o++) {
        if (o->val == NULL)
            continue;
        if (strcmp(o->keyword, "password") == 0)
            *ret_password = mem_strdup(ctx, o->val);
        if (strcmp(o->keyword, "password") == 0 || strcmp(o->keyword, "sslpassword") == 0)
            continue;
        str_fmt(s, "%s%s=", s->len > 0 ? " " : "", o->keyword);
        str_conninfo_value(s, o->val);
    }
    PQconninfoFree(options);
    *ret_conninfo = s->text;
    return true;
}

char *conn_value(const void *ctx, const Conn *conn, const char *keyword)
{
    PQconninfoOption *options = conn->pg == NULL ? NULL : PQconninfo(conn->pg);
    const char *value = options == NULL ? NULL : option_value(options, keyword);

    if (conn->pg != NULL && (value == NULL || value[0] == '\0')) {
        if (strcmp(keyword, "host") == 0)
            value = PQhost(conn->pg);
        else if (strcmp(keyword, "port") == 0)
            value = PQport(conn->pg);
        else if (strcmp(keyword, "dbname") == 0)
            value = PQdb(conn->pg);
        else if (strcmp(keyword, "user") == 0)
            value = PQuser(conn->pg);
    }
    char *copy = mem_strdup(ctx, value == NULL ? "" : value);
    PQconninfoFree(options);
    return copy;
}

const Caps *conn_caps(const Conn *conn)
{
    return &conn->caps;
}

const char *conn_label(const Conn *conn)
{
    return conn->label;
}

int conn_backend_pid(const Conn *conn)
{
    return conn->pg == NULL ? 0 : PQbackendPID(conn->pg);
}

bool conn_is_broken(const Conn *conn)
{
    return conn->pg == NULL || PQstatus(conn->pg) != CONNECTION_OK;
}

bool conn_in_transaction(const Conn *conn)
{
    return !conn_is_broken(conn) && PQtransactionStatus(conn->pg) != PQTRANS_IDLE;
}

void conn_set_deadline(Conn *conn, int64_t deadline)
{
    conn->deadline = deadline;
}

bool conn_query(const void *ctx, Conn *conn, const Sql *q, Rows **ret_rows, Err *err)
{
    PGresult *res = NULL;

    if (!run(conn, q->text->text, q->params, q->n_params, &res, err))
        return false;
    Rows *rows = mem_new(ctx, Rows);
    rows->res = res;
    talloc_set_destructor(rows, rows_free);
    *ret_rows = rows;
    return true;
}

bool conn_exec(Conn *conn, const Sql *q, Err *err)
{
    return run(conn, q->text->text, q->params, q->n_params, NULL, err);
}

bool conn_do_(Conn *conn, const char *text, Err *err)
{
    return run(conn, text, NULL, 0, NULL, err);
}

int64_t conn_affected(const Conn *conn)
{
    return conn->affected;
}

void conn_rollback(Conn *conn)
{
    AUTO_CTX(tmp, NULL);

    if (!conn_in_transaction(conn))
        return;
    int64_t deadline = conn->deadline;
    conn->deadline = deadline_in(CANCEL_GRACE_MS);
    wait_shield(true);
    if (!run(conn, "ROLLBACK", NULL, 0, NULL, err_new(tmp)) && conn->pg != NULL) {
        PQfinish(conn->pg);
        conn->pg = NULL;
    }
    wait_shield(false);
    conn->deadline = deadline;
}

bool conn_try_replica_role(Conn *conn, bool *ret_replica, Err *err)
{
    *ret_replica = false;
    if (conn_do(conn, "SET session_replication_role = replica", err)) {
        *ret_replica = true;
        return true;
    }
    if (!err_is(err, SQLSTATE_INSUFFICIENT_PRIVILEGE))
        return false;
    err_clear(err);
    return true;
}

size_t rows_count(const Rows *rows)
{
    return rows->res == NULL ? 0 : (size_t)PQntuples(rows->res);
}

const char *rows_text(const Rows *rows, size_t row, int col)
{
    return PQgetisnull(rows->res, (int)row, col) ? NULL : PQgetvalue(rows->res, (int)row, col);
}

int64_t rows_i64(const Rows *rows, size_t row, int col)
{
    return strtoll(PQgetvalue(rows->res, (int)row, col), NULL, 10);
}

double rows_double(const Rows *rows, size_t row, int col)
{
    return strtod(PQgetvalue(rows->res, (int)row, col), NULL);
}

bool rows_bool(const Rows *rows, size_t row, int col)
{
    return PQgetvalue(rows->res, (int)row, col)[0] == 't';
}

int rows_columns(const Rows *rows)
{
    return rows->res == NULL ? 0 : PQnfields(rows->res);
}

const char *rows_column_name(const Rows *rows, int col)
{
    return PQfname(rows->res, col);
}

bool rows_column_is(const Rows *rows, int col, int64_t table_oid, int attnum)
{
    return (int64_t)PQftable(rows->res, col) == table_oid && PQftablecol(rows->res, col) == attnum;
}

unsigned rows_column_type(const Rows *rows, int col)
{
    return PQftype(rows->res, col);
}

bool conn_binary_fits(const Conn *src, const Conn *dst)
{
    const Conn *both[] = {src, dst};

    for (size_t i = 0; i < 2; i++) {
        const char *integers =
            both[i]->pg == NULL ? NULL : PQparameterStatus(both[i]->pg, "integer_datetimes");

        if (integers == NULL || strcmp(integers, "on") != 0)
            return false;
    }
    return dst->caps.version >= src->caps.version;
}

/* starts a COPY and waits until the server is ready to send or receive */
static bool copy_begin(Conn *conn, const Sql *q, ExecStatusType wanted, bool *ret_binary, Err *err)
{
    PGresult *res = NULL;

    if (!send(conn, q->text->text, NULL, 0, err))
        return false;
    if (!next_result(conn, conn->deadline, &res, err))
        return give_up(conn, err);
    if (PQresultStatus(res) == wanted) {
        *ret_binary = PQbinaryTuples(res) != 0;
        PQclear(res);
        return true;
    }
    result_error(conn, res, err);
    PQclear(res);
    AUTO_CTX(tmp, NULL);
    if (conn->pg != NULL && !drain(conn, deadline_in(CANCEL_GRACE_MS), err_new(tmp))) {
        PQfinish(conn->pg);
        conn->pg = NULL;
    }
    return false;
}

/*
 * libpq reads from the network as much as its buffer holds, 16 kB, and has no setting for it; but
 * the buffer grows for a large value and stays so. Fewer and larger reads save a tenth of a COPY's
 * time where the servers share their processors with us.
 */
static bool copy_widen(Conn *conn, Err *err)
{
    if (conn->widened)
        return true;
    conn->widened = true;
    return run(conn, "SELECT repeat(' ', 260000)", NULL, 0, NULL, err);
}

/* the end of a COPY: the command's own result, with the number of rows */
static bool copy_end(Conn *conn, int64_t *ret_rows, Err *err)
{
    PGresult *res = NULL;
    bool ok = true;

    *ret_rows = 0;
    for (;;) {
        if (!next_result(conn, conn->deadline, &res, err))
            return give_up(conn, err);
        if (res == NULL)
            return ok;
        if (PQresultStatus(res) == PGRES_COMMAND_OK)
            *ret_rows = strtoll(PQcmdTuples(res), NULL, 10);
        else if (ok)
            ok = result_error(conn, res, err);
        PQclear(res);
    }
}

/* one row of a COPY TO; *ret_row is NULL at the end and else to be freed with PQfreemem */
static bool copy_next_row(Conn *conn, char **ret_row, int *ret_len, Err *err)
{
    for (;;) {
        *ret_row = NULL;
        int n = PQgetCopyData(conn->pg, ret_row, 1);

        if (n > 0 || n == -1) {
            *ret_len = n;
            return true;
        }
        if (n == -2)
            return lost(conn, err);
        if (!conn_wait(conn, POLLIN, conn->deadline, err))
            return false;
        if (PQconsumeInput(conn->pg) == 0)
            return lost(conn, err);
    }
}

/* what is on its way from one COPY into the other */
typedef struct Pipe {
    Conn *src;
    Conn *dst;
    bool binary;
    bool begun; /* the header of the binary format has passed */
    size_t len; /* of what waits in the batch */
    CopyStats stats;
    char batch[COPY_BATCH_BYTES];
} Pipe;

/* The header of the binary format comes in one message with the first row, or with the trailer. */
static const char binary_signature[] = "PGCOPY\n\377\r\n";
enum { BINARY_HEADER_BYTES = 19, BINARY_TRAILER_BYTES = 2 };

/* whether a message of COPY TO holds a row: the binary format has a header and a trailer as well */
static bool is_row(Pipe *pipe, const char *message, size_t len)
{
    if (!pipe->binary)
        return true;
    if (!pipe->begun && len >= BINARY_HEADER_BYTES &&
        memcmp(message, binary_signature, sizeof binary_signature) == 0) {
        message += BINARY_HEADER_BYTES;
        len -= BINARY_HEADER_BYTES;
    }
    pipe->begun = true;
    return len > BINARY_TRAILER_BYTES ||
           (len == BINARY_TRAILER_BYTES && memcmp(message, "\377\377", 2) != 0);
}

static bool send_batch(Pipe *pipe, Err *err)
{
    if (pipe->len > 0 && PQputCopyData(pipe->dst->pg, pipe->batch, (int)pipe->len) <= 0)
        return lost(pipe->dst, err);
    pipe->len = 0;
    return flush(pipe->dst, pipe->dst->deadline, err);
}

/*
 * Messages need not be rows on the way in, so they are put together (and wide rows cut) to pieces
 * that the kernel takes in one call.
 */
static bool pipe_message(Pipe *pipe, const char *message, size_t len, Err *err)
{
    pipe->stats.rows += is_row(pipe, message, len) ? 1 : 0;
    pipe->stats.bytes += (int64_t)len;
    while (len > 0) {
        size_t part = sizeof pipe->batch - pipe->len;

        if (part > len)
            part = len;
        memcpy(pipe->batch + pipe->len, message, part);
        pipe->len += part;
        message += part;
        len -= part;
        if (pipe->len == sizeof pipe->batch && !send_batch(pipe, err))
            return false;
    }
    return true;
}

bool conn_copy_pipe(Conn *src, const Sql *out, Conn *dst, const Sql *in,
                    void (*on_progress)(void *arg, const CopyStats *so_far), void *arg,
                    CopyStats *ret_stats, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Pipe *pipe = mem_new(tmp, Pipe);
    int64_t sent_rows, got_rows;
    bool ok = true, binary_in;

    pipe->src = src;
    pipe->dst = dst;
    if (!copy_widen(src, err) || !copy_begin(src, out, PGRES_COPY_OUT, &pipe->binary, err))
        return false;
    if (!copy_begin(dst, in, PGRES_COPY_IN, &binary_in, err)) {
        stop_statement(src);
        return false;
    }
    if (pipe->binary != binary_in)
        ok = err_set(err, ERR_BUG, "a COPY in two formats");
    while (ok) {
        char *message = NULL;
        int len = 0;

        ok = copy_next_row(src, &message, &len, err);
        if (!ok || message == NULL)
            break;
        int64_t before = pipe->stats.bytes / COPY_BATCH_BYTES;
        ok = pipe_message(pipe, message, (size_t)len, err);
        PQfreemem(message);
        if (ok && on_progress != NULL && pipe->stats.bytes / COPY_BATCH_BYTES != before)
            on_progress(arg, &pipe->stats);
    }
    if (ok)
        ok = send_batch(pipe, err) && copy_end(src, &sent_rows, err);
    if (!ok) {
        stop_statement(src);
        stop_statement(dst);
        return false;
    }
    if (PQputCopyEnd(dst->pg, NULL) < 0)
        return lost(dst, err);
    if (!flush(dst, dst->deadline, err))
        return give_up(dst, err);
    if (!copy_end(dst, &got_rows, err))
        return false;
    if (got_rows != sent_rows || got_rows != pipe->stats.rows)
        return err_set(err, ERR_BUG, "the %s sent %lld rows but the %s stored %lld", src->label,
                       (long long)sent_rows, dst->label, (long long)got_rows);
    *ret_stats = pipe->stats;
    return true;
}

bool conn_copy_out(Conn *conn, const Sql *out,
                   bool (*on_row)(void *arg, const char *row, size_t len, Err *err), void *arg,
                   Err *err)
{
    int64_t rows;
    bool binary;

    if (!copy_begin(conn, out, PGRES_COPY_OUT, &binary, err))
        return false;
    for (;;) {
        char *row = NULL;
        int len = 0;

        if (!copy_next_row(conn, &row, &len, err)) {
            stop_statement(conn);
            return false;
        }
        if (row == NULL)
            break;
        bool ok =
            on_row(arg, row, len > 0 && row[len - 1] == '\n' ? (size_t)len - 1 : (size_t)len, err);
        PQfreemem(row);
        if (!ok) {
            stop_statement(conn);
            return false;
        }
    }
    return copy_end(conn, &rows, err);
}
