/* What the service has in a database: see install.h. */
#include "daemon/install.h"

#include <string.h>

#include "base/fault.h"
#include "base/log.h"
#include "base/str.h"
#include "capture/capture.h"
#include "daemon/captured.h"
#include "migrate/control.h"
#include "migrate/edge.h"
#include "schema/catalog.h"
#include "sql/queries.h"

/* the advisory lock of who installs or removes in a database; a run's are numbers 1 and 2 */
#define LOCK_INSTALL "1885827188, 3"

Conn *service_connect(const void *ctx, const Db *db, const char *purpose, Err *err)
{
    ConnSpec spec = {.conninfo = db->conninfo, .label = mem_printf(ctx, "database %s", db->name)};
    Conn *conn = conn_open(ctx, &spec, purpose, err);

    /* a worker that is cut off must lose its lock soon, so that another one can take over */
    if (conn != NULL && !conn_do(conn,
                                 "SET tcp_keepalives_idle = 3; SET tcp_keepalives_interval = 2; "
                                 "SET tcp_keepalives_count = 3",
                                 err)) {
        talloc_free(conn);
        return NULL;
    }
    return conn;
}

bool install_is_present(Conn *conn, bool *ret_present, Err *err)
{
    AUTO_CTX(tmp, NULL);
    HasControlRow *has;
    NodeStateRow *node;
    size_t n;

    if (!q_has_control(tmp, conn, &has, &n, err))
        return false;
    *ret_present = has->present;
    if (!has->present)
        return true;
    if (!has->readable) {
        err_set(err, ERR_STATE, "the %s has a schema \"pgtandem\" that this role may not read",
                conn_label(conn));
        return err_hint(err, "Use the role that the service was set up with.");
    }
    if (!q_node_state(tmp, conn, &node, &n, err))
        return false;
    if (n == 1 && strcmp(node->side, CONTROL_SERVICE) != 0) {
        err_set(err, ERR_STATE, "the %s is in an upgrade", conn_label(conn));
        return err_hint(err,
                        "A database is either in an upgrade or in the service. End the upgrade "
                        "with \"pgtandem finish\" or \"pgtandem abort\".");
    }
    if (n != 1 || node->format != CONTROL_FORMAT) {
        err_set(err, ERR_STATE, "the %s was set up by another version of pgtandem%s%s",
                conn_label(conn), n == 1 ? ", " : "", n == 1 ? node->tool_version : "");
        return err_hint(err, "Go on with that version. This is version %s.", PGTANDEM_VERSION);
    }
    return true;
}

/*
 * One at a time installs or removes: a table that nobody seems to read may just be getting a reader.
 * The lock is the session's, over several transactions; it also ends with the session.
 */
static bool lock_install(Conn *conn, Err *err)
{
    return conn_do(conn, "SELECT pg_advisory_lock(" LOCK_INSTALL ")", err);
}

/* returns ok, after rolling back what is left of a failure */
static bool unlock_install(Conn *conn, bool ok, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Err *ignored = err_new(tmp);

    if (!ok)
        conn_rollback(conn);
    if (conn_is_broken(conn))
        return ok;
    bool unlocked =
        conn_do(conn, "SELECT pg_advisory_unlock(" LOCK_INSTALL ")", ok ? err : ignored);
    return ok && unlocked;
}

/* our schema, in the caller's transaction, which has the lock */
static bool ensure_schema(Conn *conn, Err *err)
{
    bool present;

    return install_is_present(conn, &present, err) &&
           (present || (control_create(conn, "", CONTROL_SERVICE, true, "", "", "", err) &&
                        control_script(conn, &script_control_service, err)));
}

/* the edge's row says whose it is: of who worked on it last */
static bool own(const char *table, const char *edge, const char *owner, Conn *conn, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Sql *q = sql_new(tmp);

    sql_add(q, "UPDATE pgtandem.");
    sql_trusted(q, table);
    sql_add(q, " SET owner = ");
    sql_literal(q, owner);
    sql_add(q, " WHERE edge = ");
    sql_literal(q, edge);
    sql_add(q, " AND owner <> ");
    sql_literal(q, owner);
    return conn_exec(conn, q, err);
}

bool install_target(Conn *to, const EdgeSpec *edge, const char *owner, Err *err)
{
    bool ok = lock_install(to, err);

    if (ok)
        ok = unlock_install(to,
                            conn_do(to, "BEGIN", err) && ensure_schema(to, err) &&
                                edge_register("edge", edge->name, to, err) &&
                                edge_register("progress", edge->name, to, err) &&
                                own("edge", edge->name, owner, to, err) &&
                                conn_do(to, "COMMIT", err),
                            err);
    return ok || err_add(err, "while preparing the %s", conn_label(to));
}

bool install_source(Conn *from, const EdgeSpec *edge, const char *owner, Plan *plan, Err *err)
{
    /* the consumer first: nothing that is captured from now on may be purged without it */
    bool ok = lock_install(from, err);

    if (ok)
        ok = unlock_install(from,
                            conn_do(from, "BEGIN", err) && ensure_schema(from, err) &&
                                edge_register("consumer", edge->name, from, err) &&
                                own("consumer", edge->name, owner, from, err) &&
                                captured_register(from, edge, plan, err) &&
                                conn_do(from, "COMMIT", err) && fault("service.registered", err) &&
                                captured_install(from, edge, plan, err),
                            err);
    return ok || err_add(err, "while preparing the %s", conn_label(from));
}

static bool delete_edge_rows(Conn *conn, const char *edge, bool begins_only, Err *err)
{
    AUTO_CTX(tmp, NULL);
    static const char *const tables[] = {"consumer",   "tab_edge", "progress",
                                         "edge_table", "conflict", "edge"};

    size_t n = begins_only ? 2 : sizeof tables / sizeof *tables;

    if (!conn_do(conn, "BEGIN", err))
        return false;
    for (size_t i = 0; i < n; i++) {
        Sql *q = sql_new(tmp);

        sql_add(q, "DELETE FROM pgtandem.");
        sql_trusted(q, tables[i]);
        sql_add(q, " WHERE edge = ");
        sql_text(q, edge);
        if (!conn_exec(conn, q, err))
            return false;
    }
    return conn_do(conn, "COMMIT", err) && fault("service.forgotten", err);
}

/* capture of tables that nobody reads, and the schema when nothing is left that needs it */
static bool remove_unused(Conn *conn, Err *err)
{
    AUTO_CTX(tmp, NULL);
    ServiceIsEmptyRow *service;
    size_t n;

    if (!captured_remove_unused(conn, err))
        return false;
    return q_service_is_empty(tmp, conn, &service, &n, err) &&
           (!service->empty ||
            conn_do(conn, "SET client_min_messages = error; DROP SCHEMA pgtandem CASCADE", err));
}

bool uninstall_rests(Conn *conn, Err *err)
{
    AUTO_CTX(tmp, NULL);
    UnusedTabsRow *tabs;
    ServiceIsEmptyRow *service;
    size_t n, n_tabs;
    bool present, ok;

    if (!q_unused_tabs(tmp, conn, &tabs, &n_tabs, err) ||
        !q_service_is_empty(tmp, conn, &service, &n, err))
        return false;
    if (n_tabs == 0 && !service->empty)
        return true;
    ok = lock_install(conn, err);
    if (ok)
        ok = unlock_install(
            conn, install_is_present(conn, &present, err) && (!present || remove_unused(conn, err)),
            err);
    return ok || err_add(err, "while removing what nobody needs from the %s", conn_label(conn));
}

bool uninstall_edge(Conn *conn, const char *edge, bool begins_only, Err *err)
{
    bool present;
    bool ok = lock_install(conn, err);

    if (ok)
        ok = unlock_install(conn,
                            install_is_present(conn, &present, err) &&
                                (!present || (delete_edge_rows(conn, edge, begins_only, err) &&
                                              remove_unused(conn, err))),
                            err);
    return ok || err_add(err, "while removing %s from the %s", edge, conn_label(conn));
}
