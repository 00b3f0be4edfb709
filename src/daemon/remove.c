/* Taking a sync off its databases: works whether the service runs or not. */
#include "base/clock.h"
#include "base/log.h"
#include "base/wait.h"
#include "daemon/commands.h"
#include "daemon/install.h"
#include "daemon/select.h"
#include "sql/queries.h"

enum { LET_GO_MS = 20000, POLL_MS = 100 };

/* has the edge's worker let go of it, wherever it runs, and takes its place */
static bool take_over(Conn *to, const char *edge, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Sql *q = sql_new(tmp);
    int64_t deadline = deadline_in(LET_GO_MS);

    sql_add(q, "UPDATE pgtandem.edge SET removing = true WHERE edge = ");
    sql_text(q, edge);
    if (!conn_exec(to, q, err))
        return false;
    for (;;) {
        TryEdgeLockRow *lock;
        size_t n;

        if (!q_try_edge_lock(tmp, to, edge, &lock, &n, err))
            return false;
        if (lock->locked)
            return true;
        if (deadline_left(deadline) == 0) {
            err_set(err, ERR_TIMEOUT, "the worker of %s does not let go of it", edge);
            return err_hint(err, "Stop the service, then remove the sync again.");
        }
        if (!wait_ms(POLL_MS, err))
            return false;
    }
}

static bool remove_from(const Db *db, const char *edge, bool is_target, bool force, Err *err)
{
    AUTO_CTX(tmp, NULL);
    bool present;
    Conn *conn = service_connect(tmp, db, "remove", err);

    if (conn == NULL) {
        if (!force || err->kind != ERR_CONNECT) {
            err_hint(
                err,
                "With --force the sync is removed without it; what it has in that database stays.");
            return false;
        }
        log_warn("%s; what %s has there stays", err->msg, edge);
        err_clear(err);
        return true;
    }
    if (!install_is_present(conn, &present, err))
        return false;
    return !present ||
           ((!is_target || take_over(conn, edge, err)) && uninstall_edge(conn, edge, err));
}

bool service_remove_sync(const Service *service, const char *sync, bool force, Err *err)
{
    AUTO_CTX(tmp, NULL);
    EdgeSpec *edges;
    size_t n;

    if (!select_edges(tmp, service, &sync, 1, false, &edges, &n, err))
        return false;
    /* the target first, because its worker would install the source's part again */
    for (size_t i = 0; i < n; i++)
        if (!remove_from(edges[i].to, edges[i].name, true, force, err) ||
            !remove_from(edges[i].from, edges[i].name, false, force, err))
            return false;
    return true;
}
