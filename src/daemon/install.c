/* What the service has in a database: see install.h. */
#include "daemon/install.h"

#include <string.h>

#include "base/fault.h"
#include "base/log.h"
#include "base/str.h"
#include "capture/capture.h"
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
           (present || (control_create(conn, "", CONTROL_SERVICE, true, err) &&
                        control_script(conn, &script_control_service, err)));
}

bool install_target(Conn *to, const EdgeSpec *edge, Err *err)
{
    bool ok = lock_install(to, err);

    if (ok)
        ok = unlock_install(to,
                            conn_do(to, "BEGIN", err) && ensure_schema(to, err) &&
                                edge_register("edge", edge->name, to, err) &&
                                edge_register("progress", edge->name, to, err) &&
                                conn_do(to, "COMMIT", err),
                            err);
    return ok || err_add(err, "while preparing the %s", conn_label(to));
}

static const TabsRow *find_tab(const TabsRow *tabs, size_t n, const Table *table)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(tabs[i].table_name, table->name) == 0 &&
            strcmp(tabs[i].schema_name, table->schema) == 0)
            return &tabs[i];
    return NULL;
}

/* the edge reads these tables; ids: an array */
static bool note_readers(Conn *conn, const char *edge, const char *ids, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Sql *q = sql_new(tmp);

    sql_add(q, "INSERT INTO pgtandem.tab_edge (edge, tab) SELECT v.e, v.t FROM (SELECT ");
    sql_literal(q, edge);
    sql_add(q, "::text, unnest(");
    sql_literal(q, ids);
    sql_add(
        q,
        "::int[])) v(e, t) WHERE NOT EXISTS (SELECT 1 FROM pgtandem.tab_edge x WHERE x.edge = v.e "
        "AND x.tab = v.t)");
    return conn_exec(conn, q, err);
}

/* numbers for the plan's tables, in the caller's transaction */
static bool register_tables(Conn *from, const EdgeSpec *edge, Plan *plan, Err *err)
{
    AUTO_CTX(tmp, NULL);
    TabsRow *tabs;
    size_t n;
    int last = 0;
    Str *ids = str_new(tmp);

    str_char(ids, '{');
    if (!q_tabs(tmp, from, &tabs, &n, err))
        return false;
    for (size_t i = 0; i < n; i++)
        last = tabs[i].id > last ? tabs[i].id : last;
    for (size_t i = 0; i < plan->n_tables; i++) {
        PlannedTable *t = &plan->tables[i];
        const TabsRow *known = find_tab(tabs, n, &t->src);

        if (t->problem != NULL)
            continue;
        if (known == NULL) {
            t->src.id = ++last;
            if (!catalog_register(from, &t->src, 1, err))
                return false;
        } else if (known->key_columns == NULL ||
                   strcmp(known->key_columns, table_key_text(tmp, &t->src)) != 0 ||
                   known->key_is_int != t->src.key_is_int) {
            t->problem = mem_printf(plan, "the key of %s has changed since it is captured",
                                    table_label(tmp, &t->src));
            t->hint = "Put the key back as it was, or remove the sync and add it again.";
            continue;
        } else {
            t->src.id = known->id;
        }
        t->dst.id = t->src.id;
        str_fmt(ids, "%s%d", ids->len > 1 ? "," : "", t->src.id);
    }
    str_char(ids, '}');
    return note_readers(from, edge->name, ids->text, err);
}

static bool is_incomplete(const IncompleteTabsRow *tabs, size_t n, int id)
{
    for (size_t i = 0; i < n; i++)
        if (tabs[i].id == id)
            return true;
    return false;
}

/* the triggers, one table per transaction; also where some that were there are missing */
static bool capture_tables(Conn *from, Plan *plan, Err *err)
{
    AUTO_CTX(tmp, NULL);
    TabsRow *tabs;
    IncompleteTabsRow *incomplete;
    size_t n, n_incomplete;

    if (!q_tabs(tmp, from, &tabs, &n, err) ||
        !q_incomplete_tabs(tmp, from, &incomplete, &n_incomplete, err))
        return false;
    for (size_t i = 0; i < plan->n_tables; i++) {
        PlannedTable *t = &plan->tables[i];
        const TabsRow *known = find_tab(tabs, n, &t->src);

        if (t->problem != NULL || known == NULL)
            continue;
        t->captures = known->captures;
        if (!known->captured) {
            if (!capture_table(from, &t->src, err) || !fault("service.captured", err))
                return false;
        } else if (is_incomplete(incomplete, n_incomplete, t->src.id)) {
            log_warn("table %s in the %s lacks triggers of ours (was it made anew, or got it "
                     "partitions?): they "
                     "are put on again, and it is copied anew",
                     table_label(tmp, &t->src), conn_label(from));
            t->captures++;
            if (!capture_again(from, &t->src, err))
                return false;
        }
    }
    return true;
}

bool install_source(Conn *from, const EdgeSpec *edge, Plan *plan, Err *err)
{
    /* the consumer first: nothing that is captured from now on may be purged without it */
    bool ok = lock_install(from, err);

    if (ok)
        ok = unlock_install(from,
                            conn_do(from, "BEGIN", err) && ensure_schema(from, err) &&
                                edge_register("consumer", edge->name, from, err) &&
                                register_tables(from, edge, plan, err) &&
                                conn_do(from, "COMMIT", err) && fault("service.registered", err) &&
                                capture_tables(from, plan, err),
                            err);
    return ok || err_add(err, "while preparing the %s", conn_label(from));
}

static bool delete_edge_rows(Conn *conn, const char *edge, Err *err)
{
    AUTO_CTX(tmp, NULL);
    static const char *const tables[] = {"consumer",   "tab_edge", "progress",
                                         "edge_table", "conflict", "edge"};

    for (size_t i = 0; i < sizeof tables / sizeof *tables; i++) {
        Sql *q = sql_new(tmp);

        sql_add(q, "DELETE FROM pgtandem.");
        sql_trusted(q, tables[i]);
        sql_add(q, " WHERE edge = ");
        sql_text(q, edge);
        if (!conn_exec(conn, q, err))
            return false;
    }
    return true;
}

/* capture of tables that nobody reads, and the schema when nothing is left that needs it */
static bool remove_unused(Conn *conn, Err *err)
{
    AUTO_CTX(tmp, NULL);
    UnusedTabsRow *tabs;
    ServiceIsEmptyRow *service;
    size_t n;

    if (!q_unused_tabs(tmp, conn, &tabs, &n, err))
        return false;
    for (size_t i = 0; i < n; i++)
        if (!capture_remove_table(conn, tabs[i].id, tabs[i].relid, err))
            return false;
    return q_service_is_empty(tmp, conn, &service, &n, err) &&
           (!service->empty ||
            conn_do(conn, "SET client_min_messages = error; DROP SCHEMA pgtandem CASCADE", err));
}

bool uninstall_edge(Conn *conn, const char *edge, Err *err)
{
    bool present;

    bool ok = lock_install(conn, err);

    if (ok)
        ok = unlock_install(
            conn,
            install_is_present(conn, &present, err) &&
                (!present || (delete_edge_rows(conn, edge, err) && remove_unused(conn, err))),
            err);
    return ok || err_add(err, "while removing %s from the %s", edge, conn_label(conn));
}
