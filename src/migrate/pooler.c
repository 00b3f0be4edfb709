/*
 * PgBouncer in a switch: see pooler.h.
 *
 * A PAUSE answers when the last transaction has ended, and one that was given up stays in force
 * until RESUME. So each PAUSE runs in a process of its own (a fork of this one) on its own console
 * connection: all wait at the same time, one that takes too long is killed at once, and the
 * connections of this process stay free for the RESUME. The guardian is such a process too: it
 * reads a pipe whose end means that we are gone.
 *
 * Two traps of PgBouncer (seen with 1.18; issues 420 and 498 of pgbouncer/pgbouncer), each good for
 * 15 seconds without service after the RESUME:
 * - After a RELOAD that changes a host, the next client that logs in makes PgBouncer connect to the server even though
 *   its database is paused; it closes this connection itself and takes that for a failure of the server. Only while all
 *   databases are paused it does not. So from before RELOAD until RESUME all are (see hold()).
 * - A PAUSE that meets a connection to a server during its login also counts that as a failure. So it awaits a moment
 *   without logins. And since after a failure PgBouncer does not try again for server_login_retry, we make that short
 *   while we RESUME (see hurry()).
 */
#include "migrate/pooler.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "base/child.h"
#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "base/str.h"
#include "base/wait.h"
#include "migrate/pooler_ini.h"
#include "sql/queries.h"

enum {
    CONSOLE_MS = 10000,   /* how long a console may take to answer anything but PAUSE */
    GUARDIAN_MS = 120000, /* how long the guardian tries */
    GUARDIAN_RETRY_MS = 500,
    SERVERS_POLL_MS = 50,
    LOGINS_MS = 250, /* how long PAUSE waits for a moment without logins on servers */
    LOGINS_POLL_MS = 2,
    SETTLE_MS = 1000, /* how long after RESUME clients may wait for a server connection */
    SETTLE_POLL_MS = 5,
    HOOK_SLICE_MS = 100, /* how often to look whether the user's command has ended */
    MAX_LINE = 4000      /* of its output */
};

/* what the guardian reads; without one of them it resumes */
static const char guardian_done = 'd';
static const char guardian_no_return = 'n';

/* what a process that pauses says when it can, and what it waits for then; no message begins with it */
static const char pause_ready = '\001';

typedef struct Console {
    ConnSpec spec;
    Conn *conn; /* for all but PAUSE; NULL or broken: to be opened again */
    bool whole; /* pause and resume all databases, not `targets` */
    char **targets;
    size_t n_targets;
    Child *hold;   /* the PAUSE of all, or NULL; see hold() */
    bool lift_all; /* RESUME of all behind the targets: they are held, by us or perhaps another */
    char *retry;   /* server_login_retry to go back to, or NULL */
} Console;

struct Poolers {
    Console *consoles;
    size_t n_consoles;
    const char *ini_path; /* or NULL */
    Move *moves;
    IniFallback *fallback; /* by move: what "*" in the ini did with its clients when we began */
    bool has_fallback;     /* there is a "*", or no ini to tell */
    size_t n_moves;
    bool has_hook;
    bool planned;    /* the consoles' targets are known */
    Child *guardian; /* or NULL */
    /* see poolers_settled_by() */
    pid_t *settlers;
    size_t n_settlers;
    ConnSpec old;
};

/* one of the two ends of all moves */
typedef enum End { END_FROM, END_TO } End;

/* Consoles. */

static bool console_ready(Console *console, Err *err)
{
    if (console->conn != NULL && !conn_is_broken(console->conn))
        return true;
    talloc_free(console->conn);
    console->conn = conn_open_console(NULL, &console->spec, err);
    return console->conn != NULL;
}

/* runs a command, on a new connection if the old one is lost: consoles are idle for long */
static bool console_query(const void *ctx, Console *console, const Sql *q, Rows **ret_rows,
                          Err *err)
{
    bool had = console->conn != NULL && !conn_is_broken(console->conn);

    if (!console_ready(console, err))
        return false;
    conn_set_deadline(console->conn, deadline_in(CONSOLE_MS));
    if (conn_query(ctx, console->conn, q, ret_rows, err))
        return true;
    if (err->kind != ERR_CONNECT || !had || !console_ready(console, err))
        return false;
    conn_set_deadline(console->conn, deadline_in(CONSOLE_MS));
    return conn_query(ctx, console->conn, q, ret_rows, err);
}

static bool says(const Err *err, const char *text)
{
    return err->kind == ERR_SQL && err->msg != NULL && strstr(err->msg, text) != NULL;
}

/* PAUSE or RESUME, of all databases when db is NULL */
static Sql *pause_or_resume(const void *ctx, bool pause, const char *db)
{
    Sql *q = sql_new(ctx);

    if (pause)
        sql_add(q, "PAUSE");
    else
        sql_add(q, "RESUME");
    if (db != NULL) {
        sql_add(q, " ");
        sql_ident(q, db);
    }
    return q;
}

static bool resume_one(Console *console, const char *db, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Rows *rows;

    if (console_query(tmp, console, pause_or_resume(tmp, false, db), &rows, err))
        return true;
    /* a database of "*" may be forgotten by now */
    if (!says(err, "not paused") && !says(err, "no such database"))
        return false;
    err_clear(err);
    return true;
}

/* columns differ between versions of PgBouncer; NULL when there is none of that name */
static const char *value_named(const Rows *rows, size_t row, const char *name)
{
    for (int col = 0; col < rows_columns(rows); col++)
        if (strcmp(rows_column_name(rows, col), name) == 0)
            return rows_text(rows, row, col);
    return NULL;
}

static bool is_target(const Console *console, const char *db)
{
    for (size_t i = 0; i < console->n_targets && db != NULL; i++)
        if (strcmp(console->targets[i], db) == 0)
            return true;
    return console->whole;
}

static bool set_retry(Console *console, const char *value, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Sql *q = sql_new(tmp);
    Rows *rows;

    sql_add(q, "SET server_login_retry = ");
    sql_literal(q, value);
    return console_query(tmp, console, q, &rows, err);
}

/*
 * makes PgBouncer try again at once where it believes that the server failed; not doing so is no
 * error
 */
static void hurry(Console *console)
{
    AUTO_CTX(tmp, NULL);
    Err *err = err_new(tmp);
    Sql *q = sql_new(tmp);
    Rows *rows;

    sql_add(q, "SHOW CONFIG");
    if (console->retry == NULL && console_query(tmp, console, q, &rows, err)) {
        for (size_t i = 0; i < rows_count(rows); i++) {
            const char *key = value_named(rows, i, "key"), *value = value_named(rows, i, "value");

            if (key != NULL && value != NULL && strcmp(key, "server_login_retry") == 0)
                console->retry = mem_strdup(NULL, value);
        }
    }
    if (console->retry != NULL && !set_retry(console, "0.01", err))
        log_debug("could not set server_login_retry: %s", err->msg);
}

/* whether clients of the targets still wait for a server connection */
static bool clients_wait(Console *console, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Sql *q = sql_new(tmp);
    Rows *rows;

    sql_add(q, "SHOW POOLS");
    if (!console_query(tmp, console, q, &rows, err))
        return false;
    for (size_t i = 0; i < rows_count(rows); i++) {
        const char *waiting = value_named(rows, i, "cl_waiting");

        if (waiting != NULL && strcmp(waiting, "0") != 0 &&
            is_target(console, value_named(rows, i, "database")))
            return true;
    }
    return false;
}

/* the end of hurry(), once the waiting clients were served */
static void calm_down(Console *console)
{
    AUTO_CTX(tmp, NULL);
    Err *err = err_new(tmp);
    int64_t deadline = deadline_in(SETTLE_MS);

    if (console->retry == NULL)
        return;
    while (clients_wait(console, err) && deadline_left(deadline) > 0 &&
           wait_ms(SETTLE_POLL_MS, err))
        ;
    if (!set_retry(console, console->retry, err))
        log_warn("%s: could not set server_login_retry back to %s: %s", console->spec.label,
                 console->retry, err->msg);
    talloc_free(console->retry);
    console->retry = NULL;
}

/* ends the process that waits for its PAUSE of all; the PAUSE itself stays until RESUME */
static void drop_hold(Console *console)
{
    if (console->hold == NULL)
        return;
    child_signal(console->hold, SIGKILL);
    talloc_free(console->hold);
    console->hold = NULL;
}

static bool lift_targets(Console *console, Err *err)
{
    bool ok = true;

    for (size_t i = 0; i < console->n_targets && !console->whole && ok; i++)
        ok = resume_one(console, console->targets[i], err);
    return ok;
}

/* one that fails does not keep the others, nor do clients of one wait until those of another are served */
static bool lift_all(Poolers *poolers, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Err *one = err_new(tmp);
    bool ok = true;

    for (size_t i = 0; i < poolers->n_consoles; i++) {
        drop_hold(&poolers->consoles[i]);
        hurry(&poolers->consoles[i]);
    }
    /* where all are held nothing moves before the last of these, so it is one moment for all consoles */
    for (size_t i = 0; i < poolers->n_consoles; i++)
        if (!lift_targets(&poolers->consoles[i], one))
            ok = err_copy(err, one);
    for (size_t i = 0; i < poolers->n_consoles; i++) {
        Console *console = &poolers->consoles[i];

        if ((console->whole || console->lift_all) && !resume_one(console, NULL, one))
            ok = err_copy(err, one);
    }
    for (size_t i = 0; i < poolers->n_consoles; i++)
        calm_down(&poolers->consoles[i]);
    return ok;
}

/* a row of SHOW DATABASES that is no console */
static bool is_served(const Rows *rows, size_t row)
{
    return strcmp(value_named(rows, row, "name"), "pgbouncer") != 0;
}

static bool row_leads_to(const Poolers *poolers, const Rows *rows, size_t row, End end)
{
    bool leads = false;

    for (size_t i = 0; i < poolers->n_moves && !leads; i++) {
        const Move *move = &poolers->moves[i];

        leads = pooler_address_is(value_named(rows, row, "host"), value_named(rows, row, "port"),
                                  value_named(rows, row, "database"),
                                  end == END_FROM ? &move->from : &move->to);
    }
    return leads && is_served(rows, row);
}

static bool show_databases(const void *ctx, Console *console, Rows **ret_rows, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Sql *q = sql_new(tmp);

    sql_add(q, "SHOW DATABASES");
    if (!console_query(ctx, console, q, ret_rows, err)) {
        if (err->kind == ERR_SQL)
            err_hint(err, "--pgbouncer wants the admin console: dbname=pgbouncer, and a user of "
                          "admin_users.");
        return false;
    }
    if (rows_count(*ret_rows) > 0 && value_named(*ret_rows, 0, "name") == NULL)
        return err_set(err, ERR_STATE, "%s: the answer to SHOW DATABASES has no names",
                       console->spec.label);
    return true;
}

/* what may look may not always command; to resume a database that is not there does no harm */
static bool check_obeys(Console *console, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Rows *rows;

    if (console_query(tmp, console, pause_or_resume(tmp, false, "pgtandem: no such database"),
                      &rows, err))
        return true;
    if (err->kind != ERR_SQL)
        return false;
    if (says(err, "admin access")) {
        err->kind = ERR_REFUSED;
        return err_hint(
            err,
            "The user of --pgbouncer must be one of admin_users in PgBouncer's configuration.");
    }
    err_clear(err);
    return true;
}

/* Which databases. */

static void add_targets(Poolers *poolers, Console *console, const Rows *rows, End end)
{
    for (size_t i = 0; i < rows_count(rows); i++)
        if (row_leads_to(poolers, rows, i, end)) {
            char *name = mem_strdup(poolers, value_named(rows, i, "name"));

            mem_push(poolers, console->targets, console->n_targets, name);
        }
}

static bool is_listed(const Rows *rows, const char *name)
{
    for (size_t i = 0; i < rows_count(rows); i++)
        if (strcmp(value_named(rows, i, "name"), name) == 0)
            return true;
    return false;
}

/* those that come by "*" and that nobody has asked for yet */
static void add_unlisted(Poolers *poolers, Console *console, const Rows *rows)
{
    for (size_t i = 0; i < poolers->n_moves; i++)
        if (poolers->fallback[i] == INI_FALLBACK_NAMED &&
            !is_listed(rows, poolers->moves[i].from.dbname)) {
            char *name = mem_strdup(poolers, poolers->moves[i].from.dbname);

            mem_push(poolers, console->targets, console->n_targets, name);
        }
}

static bool leads_any_name(const Poolers *poolers)
{
    for (size_t i = 0; i < poolers->n_moves; i++)
        if (poolers->fallback[i] == INI_FALLBACK_ALL)
            return true;
    return false;
}

/* with several databases, and no others: then one PAUSE and one RESUME do for all of them */
static bool serves_targets_only(const Poolers *poolers, const Console *console, const Rows *rows)
{
    size_t served = 0;

    for (size_t i = 0; i < rows_count(rows); i++)
        served += is_served(rows, i) ? 1 : 0;
    return console->n_targets > 1 && console->n_targets == served && !poolers->has_fallback;
}

/*
 * To pause: what leads to the old nodes; or, when this is repeated after the file was rewritten, to
 * the new ones. To resume what another process has paused: both.
 */
static bool plan_console(Poolers *poolers, Console *console, bool resume, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Rows *rows;

    if (!show_databases(tmp, console, &rows, err))
        return false;
    console->n_targets = 0;
    add_targets(poolers, console, rows, END_FROM);
    add_unlisted(poolers, console, rows);
    if (resume || console->n_targets == 0)
        add_targets(poolers, console, rows, END_TO);
    console->whole = leads_any_name(poolers) || console->n_targets == 0 ||
                     (!resume && serves_targets_only(poolers, console, rows));
    /* another process may have held all */
    console->lift_all = resume;
    return true;
}

static bool plan(Poolers *poolers, bool resume, Err *err)
{
    for (size_t i = 0; i < poolers->n_consoles; i++)
        if (!plan_console(poolers, &poolers->consoles[i], resume, err))
            return false;
    poolers->planned = true;
    return true;
}

/* Opening. */

static int poolers_free(Poolers *poolers)
{
    for (size_t i = 0; i < poolers->n_consoles; i++) {
        drop_hold(&poolers->consoles[i]);
        talloc_free(poolers->consoles[i].conn);
    }
    if (poolers->guardian != NULL) {
        /* nobody resumed: it does so now, and takes the time it needs */
        child_close_input(poolers->guardian);
        poolers->guardian->pid = 0;
    }
    return 0;
}

static Address address_copy(const void *ctx, const Address *address)
{
    return (Address){
        .host = mem_strdup(ctx, address->host),
        .port = mem_strdup(ctx, address->port),
        .dbname = mem_strdup(ctx, address->dbname),
    };
}

/*
 * Databases that no entry leads to: clients do not come to them by PgBouncer, or their entry names
 * the node in another way.
 */
static void tell_not_led(const Poolers *poolers, const PoolerIni *ini)
{
    AUTO_CTX(tmp, NULL);
    Str *absent = str_new(tmp), *elsewhere = str_new(tmp);

    for (size_t i = 0; i < poolers->n_moves; i++) {
        const Address *from = &poolers->moves[i].from;
        Str *list = pooler_ini_mentions(ini, from->dbname) ? elsewhere : absent;

        if (!pooler_ini_leads(ini, i))
            str_fmt(list, "%s\"%s\"", list->len > 0 ? ", " : "", from->dbname);
    }
    if (absent->len > 0)
        log_info("%s has no entry for %s", poolers->ini_path, absent->text);
    if (elsewhere->len > 0)
        log_warn(
            "%s: entries for %s lead to other servers than host=%s port=%s and stay as they are",
            poolers->ini_path, elsewhere->text, poolers->moves[0].from.host,
            poolers->moves[0].from.port);
}

static bool check_ini(Poolers *poolers, Err *err)
{
    AUTO_CTX(tmp, NULL);

    if (poolers->ini_path == NULL)
        return true;
    PoolerIni *ini = pooler_ini_read(tmp, poolers->ini_path, err);
    if (ini == NULL || !pooler_ini_plan(ini, poolers->moves, poolers->n_moves, err) ||
        !pooler_ini_write(ini, true, err)) {
        err->kind = ERR_REFUSED;
        return false;
    }
    poolers->has_fallback = pooler_ini_has_fallback(ini);
    for (size_t i = 0; i < poolers->n_moves; i++) {
        poolers->fallback[i] = pooler_ini_fallback(ini, &poolers->moves[i].from);
        if (poolers->fallback[i] == INI_FALLBACK_NONE)
            poolers->fallback[i] = pooler_ini_fallback(ini, &poolers->moves[i].to);
    }
    tell_not_led(poolers, ini);
    return true;
}

static bool open_consoles(Poolers *poolers, Err *err)
{
    for (size_t i = 0; i < poolers->n_consoles; i++) {
        AUTO_CTX(tmp, NULL);
        Rows *rows;

        if (!show_databases(tmp, &poolers->consoles[i], &rows, err) ||
            !check_obeys(&poolers->consoles[i], err))
            return false;
    }
    return true;
}

/* PgBouncers that would lead clients back to the closed nodes */
static bool check_use(const Config *config, Err *err)
{
    if (config->n_pgbouncers == 0 && config->pgbouncer_ini != NULL) {
        err_set(err, ERR_USAGE,
                "--pgbouncer-ini needs --pgbouncer, the console that is told to read the file");
        return err_hint(err, "Nothing was changed.");
    }
    if (config->n_pgbouncers > 0 && config->pgbouncer_ini == NULL && config->on_switch == NULL) {
        err_set(err, ERR_USAGE, "--pgbouncer alone would lead clients back to the closed node");
        return err_hint(err, "Name its configuration file with --pgbouncer-ini, or a command that "
                             "re-points it with --on-switch. Nothing was changed.");
    }
    return true;
}

bool poolers_open(const void *ctx, const Config *config, const Move *moves, size_t n,
                  Poolers **ret_poolers, Err *err)
{
    *ret_poolers = NULL;
    if (!check_use(config, err))
        return false;
    if (config->n_pgbouncers == 0)
        return true;
    Poolers *poolers = mem_new(ctx, Poolers);
    poolers->n_moves = n;
    poolers->moves = mem_array(poolers, Move, n);
    poolers->fallback = mem_array(poolers, IniFallback, n);
    poolers->has_fallback = true;
    for (size_t i = 0; i < n; i++)
        poolers->moves[i] = (Move){.from = address_copy(poolers, &moves[i].from),
                                   .to = address_copy(poolers, &moves[i].to)};
    poolers->n_consoles = config->n_pgbouncers;
    poolers->consoles = mem_array(poolers, Console, config->n_pgbouncers);
    for (size_t i = 0; i < poolers->n_consoles; i++) {
        char *label = mem_strdup(poolers, "PgBouncer");

        if (poolers->n_consoles > 1)
            label = mem_printf(poolers, "PgBouncer %zu", i + 1);
        poolers->consoles[i].spec = (ConnSpec){.conninfo = config->pgbouncers[i], .label = label};
    }
    if (config->pgbouncer_ini != NULL)
        poolers->ini_path = mem_strdup(poolers, config->pgbouncer_ini);
    poolers->has_hook = config->on_switch != NULL;
    talloc_set_destructor(poolers, poolers_free);
    if (check_ini(poolers, err) && open_consoles(poolers, err)) {
        *ret_poolers = poolers;
        return true;
    }
    talloc_free(poolers);
    return false;
}

/* The guardian. */

/*
 * after fork(): connections and processes are those of our parent, so they are neither used nor
 * ended
 */
static void forget_connections(Poolers *poolers)
{
    for (size_t i = 0; i < poolers->n_consoles; i++) {
        poolers->consoles[i].conn = NULL;
        poolers->consoles[i].hold = NULL;
    }
}

static bool told_to_go(void)
{
    char byte;

    for (;;) {
        ssize_t n = read(STDIN_FILENO, &byte, 1);

        if (n < 0 && errno == EINTR)
            continue;
        return n == 1 && (byte == guardian_done || byte == guardian_no_return);
    }
}

void poolers_settled_by(Poolers *poolers, const Child *const *children, size_t n,
                        const ConnSpec *old)
{
    poolers->n_settlers = 0;
    for (size_t i = 0; i < n; i++)
        mem_push(poolers, poolers->settlers, poolers->n_settlers, children[i]->pid);
    poolers->old = (ConnSpec){.conninfo = mem_strdup(poolers, old->conninfo),
                              .label = mem_strdup(poolers, old->label)};
}

/* their descriptors, while the processes are certainly those that are meant */
static struct pollfd *watch_settlers(const void *ctx, const Poolers *poolers)
{
    struct pollfd *fds = mem_array(ctx, struct pollfd, poolers->n_settlers);

    for (size_t i = 0; i < poolers->n_settlers; i++)
        fds[i] = (struct pollfd){.fd = child_watch(poolers->settlers[i]), .events = POLLIN};
    return fds;
}

/* until then a node may be closed that will be open again */
static void wait_for_settlers(const Poolers *poolers, struct pollfd *fds, Err *err)
{
    int64_t deadline = deadline_in(GUARDIAN_MS);
    size_t ready;

    for (size_t i = 0; i < poolers->n_settlers; i++) {
        if (fds[i].fd >= 0 && !wait_fds(&fds[i], 1, deadline, &ready, err))
            log_debug("%s", err->msg);
        /* older kernels */
        while (fds[i].fd < 0 && !child_is_gone(poolers->settlers[i]) &&
               deadline_left(deadline) > 0 && wait_ms(SERVERS_POLL_MS, err))
            ;
    }
}

/* whether the switch has happened although the process that decided it could not tell us any more */
static bool is_closed(const ConnSpec *node, Err *err)
{
    AUTO_CTX(tmp, NULL);
    NodeStateRow *state;
    size_t n;

    Conn *conn = node->conninfo == NULL ? NULL : conn_open(tmp, node, "switch", err);
    if (conn == NULL)
        return false;
    conn_set_deadline(conn, deadline_in(CONSOLE_MS));
    return q_node_state(tmp, conn, &state, &n, err) && n == 1 && strcmp(state->gate, "open") != 0;
}

static int guard(void *arg)
{
    AUTO_CTX(tmp, NULL);
    Poolers *poolers = arg;
    Err *err = err_new(tmp);
    struct pollfd *settlers = watch_settlers(tmp, poolers);
    bool all;

    if (told_to_go())
        return 0;
    forget_connections(poolers);
    wait_for_settlers(poolers, settlers, err);
    if (is_closed(&poolers->old, err)) {
        log_warn("the process that paused PgBouncer is gone, and the %s is closed: run the same "
                 "command again, which resumes",
                 poolers->old.label);
        return 0;
    }
    log_warn("the process that paused PgBouncer is gone: resuming");
    int64_t deadline = deadline_in(GUARDIAN_MS);
    do {
        err_clear(err);
        all = lift_all(poolers, err);
    } while (!all && deadline_left(deadline) > 0 && wait_ms(GUARDIAN_RETRY_MS, err));
    if (!all)
        log_err(LOG_ERROR, err);
    return all ? 0 : 1;
}

static void dismiss(Poolers *poolers, char byte)
{
    if (poolers->guardian == NULL)
        return;
    if (write(poolers->guardian->to_fd, &byte, 1) != 1)
        log_debug("the guardian of PgBouncer was gone already");
    talloc_free(poolers->guardian); /* waits for its end */
    poolers->guardian = NULL;
}

void poolers_point_of_no_return(Poolers *poolers)
{
    dismiss(poolers, guardian_no_return);
}

/* Pausing. */

/* one PAUSE: the process that runs it writes what went wrong, or nothing */
typedef struct Pause {
    Poolers *poolers;
    Console *console;
    const char *db; /* NULL: all */
    bool at_once;   /* without a word of ours, whatever goes on; see await_logins() */
    Child *child;   /* NULL when it has ended well */
    bool ready;     /* it has its connection, and waits for our word */
    Str *message;
} Pause;

/* waits until no server connection is left, of db or (NULL) at all */
static bool wait_servers(Conn *conn, const char *db, Err *err)
{
    for (;;) {
        AUTO_CTX(tmp, NULL);
        Sql *q = sql_new(tmp);
        Rows *rows;
        size_t left = 0;

        sql_add(q, "SHOW SERVERS");
        if (!conn_query(tmp, conn, q, &rows, err))
            return false;
        for (size_t i = 0; i < rows_count(rows); i++) {
            const char *name = value_named(rows, i, "database");

            left += db == NULL || (name != NULL && strcmp(name, db) == 0);
        }
        if (left == 0)
            return true;
        if (!wait_ms(SERVERS_POLL_MS, err))
            return false;
    }
}

/*
 * waits a little for a moment when PgBouncer opens no connection to the servers of db or (NULL) of
 * any; see the head
 */
static bool await_logins(Conn *conn, const char *db, Err *err)
{
    int64_t deadline = deadline_in(LOGINS_MS);

    for (;;) {
        AUTO_CTX(tmp, NULL);
        Sql *q = sql_new(tmp);
        Rows *rows;
        bool busy = false;

        sql_add(q, "SHOW POOLS");
        if (!conn_query(tmp, conn, q, &rows, err))
            return false;
        for (size_t i = 0; i < rows_count(rows); i++) {
            const char *name = value_named(rows, i, "database");
            const char *logins = value_named(rows, i, "sv_login");

            if (logins != NULL && strcmp(logins, "0") != 0)
                busy = busy || db == NULL || (name != NULL && strcmp(name, db) == 0);
        }
        if (!busy || deadline_left(deadline) == 0)
            return true;
        if (!wait_ms(LOGINS_POLL_MS, err))
            return false;
    }
}

/* all pause at the same moment: none of them waits in it for the connection of another */
static bool await_word(void)
{
    char byte;
    ssize_t n;

    if (write(STDOUT_FILENO, &pause_ready, 1) != 1)
        return false;
    do
        n = read(STDIN_FILENO, &byte, 1);
    while (n < 0 && errno == EINTR);
    return n == 1;
}

/* runs in the forked process; whoever waits for it kills it when it takes too long */
static int pause_one(void *arg)
{
    AUTO_CTX(tmp, NULL);
    const Pause *p = arg;
    Err *err = err_new(tmp);

    forget_connections(p->poolers);
    Conn *conn = conn_open_console(tmp, &p->console->spec, err);
    if (conn != NULL && !p->at_once && !await_word())
        return 3;
    if (conn != NULL && (p->at_once || await_logins(conn, p->db, err))) {
        if (conn_exec(conn, pause_or_resume(tmp, true, p->db), err))
            return 0;
        /* all were paused before, e.g. by an earlier run: but are they idle yet? */
        if (says(err, "already suspended") && wait_servers(conn, p->db, err))
            return 0;
    }
    if (write(STDOUT_FILENO, err->msg, strlen(err->msg)) < 0)
        return 2;
    return 1;
}

/* takes what the process wrote; at its end *ret_ended, and false when it failed */
static bool pause_answer(Pause *p, bool *ret_ended, Err *err)
{
    char buf[1024];

    *ret_ended = false;
    ssize_t n = read(p->child->from_fd, buf, sizeof buf);
    if (n > 0 && p->message->len == 0 && buf[0] == pause_ready)
        p->ready = true;
    else if (n > 0)
        str_bytes(p->message, buf, (size_t)n);
    if (n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR)))
        return true;
    int status = child_end(p->child, CONSOLE_MS);
    *ret_ended = true;
    if (status == 0)
        return true;
    return err_set(err, ERR_STATE, "%s", p->message->len > 0 ? p->message->text : "PAUSE failed");
}

static bool pause_late(const Pause *pauses, size_t n, Err *err)
{
    for (size_t i = 0; i < n; i++) {
        const char *label = pauses[i].console->spec.label;

        if (pauses[i].child == NULL)
            continue;
        if (!pauses[i].ready)
            return err_set(err, ERR_TIMEOUT, "%s: the console did not answer in time", label);
        err_set(err, ERR_TIMEOUT, "%s: the clients of %s%s did not become idle in time", label,
                pauses[i].db == NULL ? "all databases" : "database ",
                pauses[i].db == NULL ? "" : pauses[i].db);
    }
    return err_hint(
        err, "A client holds a transaction open (with pool_mode = session: its connection); SHOW "
             "SERVERS on the admin console tells which.");
}

/* until all are ready, or have paused */
static bool wait_pauses(const void *ctx, Pause *pauses, size_t n, bool ready, int64_t deadline,
                        Err *err)
{
    struct pollfd *fds = mem_array(ctx, struct pollfd, n);

    for (;;) {
        size_t left = 0, n_ready;

        for (size_t i = 0; i < n; i++) {
            bool done = pauses[i].child == NULL || (ready && pauses[i].ready);

            fds[i] = (struct pollfd){.fd = done ? -1 : pauses[i].child->from_fd, .events = POLLIN};
            left += done ? 0 : 1;
        }
        if (left == 0)
            return true;
        if (!wait_fds(fds, n, deadline, &n_ready, err))
            return false;
        if (n_ready == 0)
            return pause_late(pauses, n, err);
        for (size_t i = 0; i < n; i++) {
            bool ended = false;

            if (fds[i].revents != 0 && !pause_answer(&pauses[i], &ended, err))
                return false;
            if (ended) {
                talloc_free(pauses[i].child);
                pauses[i].child = NULL;
            }
        }
    }
}

/* one that is gone is noticed by the end of its output */
static void send_word(const Pause *pauses, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (write(pauses[i].child->to_fd, &pause_ready, 1) != 1)
            log_debug("%s: a process that should pause is gone", pauses[i].console->spec.label);
}

static bool start_pauses(const void *ctx, Poolers *poolers, Pause **ret_pauses, size_t *ret_n,
                         Err *err)
{
    Pause *pauses = NULL;
    size_t n = 0;

    for (size_t i = 0; i < poolers->n_consoles; i++) {
        Console *console = &poolers->consoles[i];

        for (size_t t = 0; t < (console->whole ? 1 : console->n_targets); t++) {
            Pause p = {.poolers = poolers, .console = console, .message = str_new(ctx)};

            p.db = console->whole ? NULL : console->targets[t];
            mem_push(ctx, pauses, n, p);
        }
    }
    *ret_pauses = pauses;
    *ret_n = n;
    for (size_t i = 0; i < n; i++) {
        pauses[i].child = child_fork(ctx, pause_one, &pauses[i], false, err);
        if (pauses[i].child == NULL)
            return false;
    }
    return true;
}

/* their ends must be certain before a RESUME, or a late PAUSE would follow it */
static void kill_pauses(const Pause *pauses, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (pauses[i].child == NULL)
            continue;
        child_signal(pauses[i].child, SIGKILL);
        child_end(pauses[i].child, -1);
    }
}

static char *names_of(const void *ctx, const Console *console)
{
    Str *s = str_new(ctx);

    for (size_t i = 0; i < console->n_targets && !console->whole; i++)
        str_fmt(s, "%s%s", i > 0 ? ", " : "", console->targets[i]);
    return console->whole ? mem_strdup(ctx, "all databases") : s->text;
}

/* see poolers_pause(); the processes of *ret_pauses are left when it fails */
static bool pause_all(const void *ctx, Poolers *poolers, int64_t deadline, Pause **ret_pauses,
                      size_t *ret_n, int64_t *ret_begun_us, Err *err)
{
    if (!start_pauses(ctx, poolers, ret_pauses, ret_n, err) ||
        !wait_pauses(ctx, *ret_pauses, *ret_n, true, deadline, err))
        return false;
    *ret_begun_us = clock_us();
    send_word(*ret_pauses, *ret_n);
    return wait_pauses(ctx, *ret_pauses, *ret_n, false, deadline, err);
}

bool poolers_pause(Poolers *poolers, int64_t deadline, int64_t *ret_begun_us, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Pause *pauses = NULL;
    size_t n = 0;

    if (!plan(poolers, false, err))
        return false;
    if (poolers->guardian == NULL)
        poolers->guardian = child_fork(poolers, guard, poolers, true, err);
    if (poolers->guardian == NULL)
        return false;
    if (pause_all(tmp, poolers, deadline, &pauses, &n, ret_begun_us, err)) {
        for (size_t i = 0; i < poolers->n_consoles; i++)
            log_info("%s: paused %s", poolers->consoles[i].spec.label,
                     names_of(tmp, &poolers->consoles[i]));
        return true;
    }
    kill_pauses(pauses, n);
    Err *undo = err_new(tmp);
    if (!poolers_resume(poolers, undo))
        err_detail(err, "It could not be resumed either: %s.", undo->msg);
    return err_add(err, "could not pause");
}

bool poolers_resume(Poolers *poolers, Err *err)
{
    wait_shield(true);
    bool ok = (poolers->planned || plan(poolers, true, err)) && lift_all(poolers, err);
    if (ok)
        dismiss(poolers, guardian_done);
    wait_shield(false);
    return ok || err_add(err, "could not resume");
}

/* Pointing to the new node. */

/* whether PgBouncer has begun to pause all; this PAUSE itself is never carried out */
static bool is_held(Console *console, bool *ret_held, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Rows *rows;

    *ret_held = false;
    if (console_query(tmp, console, pause_or_resume(tmp, true, "pgbouncer"), &rows, err))
        return true;
    if (err->kind != ERR_SQL)
        return false;
    *ret_held = says(err, "already suspended");
    err_clear(err);
    return true;
}

static bool wait_held(Console *console, Err *err)
{
    int64_t deadline = deadline_in(CONSOLE_MS);
    bool held = false;

    while (is_held(console, &held, err)) {
        if (held)
            return true;
        if (deadline_left(deadline) == 0)
            return err_set(err, ERR_TIMEOUT, "%s does not begin to pause", console->spec.label);
        if (!wait_ms(1, err))
            return false;
    }
    return false;
}

/*
 * Pauses all databases of the PgBouncers from now until RESUME, without waiting for the idleness of
 * those that are not ours: see the first trap at the head of this file.
 */
static bool hold(Poolers *poolers, Err *err)
{
    Pause p = {.poolers = poolers, .at_once = true};

    if (!poolers->planned && !plan(poolers, true, err))
        return false;
    for (size_t i = 0; i < poolers->n_consoles; i++) {
        p.console = &poolers->consoles[i];
        if (p.console->whole || p.console->hold != NULL)
            continue;
        p.console->hold = child_fork(NULL, pause_one, &p, false, err);
        if (p.console->hold == NULL)
            return false;
        p.console->lift_all = true;
    }
    for (size_t i = 0; i < poolers->n_consoles; i++)
        if (poolers->consoles[i].hold != NULL && !wait_held(&poolers->consoles[i], err))
            return false;
    return true;
}

/* RELOAD says nothing of errors in the file, nor can it know that it is not the one we wrote to */
static bool check_left_old(Poolers *poolers, Console *console, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Rows *rows;

    if (!show_databases(tmp, console, &rows, err))
        return false;
    for (size_t i = 0; i < rows_count(rows); i++) {
        const char *name = value_named(rows, i, "name");

        if (!row_leads_to(poolers, rows, i, END_FROM) || row_leads_to(poolers, rows, i, END_TO))
            continue;
        if (!poolers->has_hook) {
            err_set(err, ERR_STATE,
                    "%s: the database \"%s\" still leads to the old node after RELOAD",
                    console->spec.label, name);
            return err_hint(err, "Does it read %s? Its log tells of errors in the file.",
                            poolers->ini_path);
        }
        log_warn("%s: the database \"%s\" still leads to the old node after RELOAD",
                 console->spec.label, name);
    }
    return true;
}

/* first all of them, so that one that is not led by this file does not keep the others from it */
static bool reload(Poolers *poolers, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Sql *q = sql_new(tmp);
    Rows *rows;

    sql_add(q, "RELOAD");
    for (size_t i = 0; i < poolers->n_consoles; i++)
        if (!console_query(tmp, &poolers->consoles[i], q, &rows, err))
            return false;
    for (size_t i = 0; i < poolers->n_consoles; i++)
        if (!check_left_old(poolers, &poolers->consoles[i], err))
            return false;
    return true;
}

static bool repoint(Poolers *poolers, Err *err)
{
    AUTO_CTX(tmp, NULL);

    if (!hold(poolers, err))
        return false;
    if (poolers->ini_path == NULL)
        return true;
    /* anew: it may have been edited since poolers_open() */
    PoolerIni *ini = pooler_ini_read(tmp, poolers->ini_path, err);
    if (ini == NULL || !pooler_ini_plan(ini, poolers->moves, poolers->n_moves, err) ||
        !fault("pooler.write", err) || !pooler_ini_write(ini, false, err) ||
        !fault("pooler.written", err))
        return false;
    size_t n = pooler_ini_changes(ini);
    const Address *to = &poolers->moves[0].to;
    if (n > 0)
        log_info("%s: %zu entr%s now lead%s to host=%s port=%s%s%s", poolers->ini_path, n,
                 n == 1 ? "y" : "ies", n == 1 ? "s" : "", to->host, to->port,
                 poolers->n_moves == 1 ? " dbname=" : "", poolers->n_moves == 1 ? to->dbname : "");
    return reload(poolers, err);
}

bool poolers_repoint(Poolers *poolers, Err *err)
{
    wait_shield(true);
    bool ok = repoint(poolers, err);
    wait_shield(false);
    return ok || err_add(err, "could not lead PgBouncer to the new node");
}

/* The user's command. */

/* logs the full lines of what is there; all of it at the end */
static void log_lines(Str *text, bool end)
{
    char *line = text->text;

    for (;;) {
        char *newline = strchr(line, '\n');

        if (newline == NULL && !(end && line[0] != '\0') && strlen(line) < MAX_LINE)
            break;
        size_t len = newline == NULL ? strlen(line) : (size_t)(newline - line);
        if (len > MAX_LINE)
            len = MAX_LINE;
        log_info("on-switch: %.*s", (int)len, line);
        line += len;
        if (line[0] == '\n')
            line++;
    }
    size_t left = strlen(line);
    memmove(text->text, line, left + 1);
    text->len = left;
}

/* until its end; a process that it left in the background may hold its output open */
static bool follow_hook(Child *child, Str *text, int64_t deadline, int *ret_status, Err *err)
{
    bool ended = false;

    for (;;) {
        struct pollfd fd = {.fd = child->from_fd, .events = POLLIN};
        int64_t slice = deadline_in(ended ? 0 : HOOK_SLICE_MS);
        char buf[4096];
        size_t ready;
        ssize_t n = -1;

        if (!wait_fds(&fd, 1, slice < deadline ? slice : deadline, &ready, err))
            return false;
        if (ready > 0)
            n = read(child->from_fd, buf, sizeof buf);
        if (n > 0) {
            for (ssize_t i = 0; i < n; i++)
                if (buf[i] == '\0')
                    buf[i] = '?';
            str_bytes(text, buf, (size_t)n);
            log_lines(text, false);
        }
        if (n > 0 && deadline_left(deadline) != 0)
            continue;
        if (ended)
            return true;
        if (!child_reap(child, &ended, ret_status))
            return err_set(err, ERR_IO, "its exit code is lost");
        if (!ended && deadline_left(deadline) == 0)
            return err_set(err, ERR_TIMEOUT, "it did not end in time");
        /* it has closed its output: there is nothing to poll for */
        if (n == 0 && !ended && !wait_ms(HOOK_SLICE_MS / 10, err))
            return false;
    }
}

static const char *const *hook_environment(const void *ctx, const char *event, const Address *from,
                                           const Address *to)
{
    const char **env = mem_array(ctx, const char *, 8);

    env[0] = mem_printf(ctx, "PGTANDEM_EVENT=%s", event);
    env[1] = mem_printf(ctx, "PGTANDEM_NEW_HOST=%s", to->host);
    env[2] = mem_printf(ctx, "PGTANDEM_NEW_PORT=%s", to->port);
    env[3] = mem_printf(ctx, "PGTANDEM_NEW_DBNAME=%s", to->dbname);
    env[4] = mem_printf(ctx, "PGTANDEM_OLD_HOST=%s", from->host);
    env[5] = mem_printf(ctx, "PGTANDEM_OLD_PORT=%s", from->port);
    env[6] = mem_printf(ctx, "PGTANDEM_OLD_DBNAME=%s", from->dbname);
    return env;
}

bool hook_run(const char *command, const char *event, const Address *from, const Address *to,
              int64_t deadline, Err *err)
{
    AUTO_CTX(tmp, NULL);
    const char *const argv[] = {"/bin/sh", "-c", mem_printf(tmp, "exec 2>&1\n%s", command), NULL};
    Str *text = str_new(tmp);
    int status = 0;

    Child *child = child_start(tmp, argv, hook_environment(tmp, event, from, to), err);
    if (child == NULL)
        return err_add(err, "the on-switch command");
    child_close_input(child);
    bool ok = follow_hook(child, text, deadline, &status, err);
    log_lines(text, true);
    if (!ok) {
        child_end(child, 0);
        return err_add(err, "the on-switch command");
    }
    if (status > 128)
        return err_set(err, ERR_IO, "the on-switch command was ended by signal %d", status - 128);
    if (status != 0)
        return err_set(err, ERR_IO, "the on-switch command failed with exit code %d", status);
    return true;
}

/* Both. */

static bool run_on_switch(const Config *config, const char *event, const Move *move, Err *err)
{
    return config->on_switch == NULL ||
           hook_run(config->on_switch, event, &move->from, &move->to, NO_DEADLINE, err);
}

bool poolers_redirect(Poolers *poolers, const Config *config, const char *event, const Move *move,
                      int64_t *ret_resumed_us, Err *err)
{
    if (poolers == NULL)
        return run_on_switch(config, event, move, err);
    bool by_file = poolers->ini_path != NULL;
    if (!(by_file ? poolers_repoint(poolers, err) : run_on_switch(config, event, move, err)))
        return err_hint(err, "The poolers stay paused: re-point them by hand and RESUME, or run "
                             "the same command again.");
    if (!fault("pooler.repointed", err) || !poolers_resume(poolers, err))
        return false;
    *ret_resumed_us = clock_us();
    return !by_file || run_on_switch(config, event, move, err);
}
