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

/* *ret_conn is NULL when it cannot be reached and force is set, or has nothing of ours */
static bool reach(const void *ctx, const Db *db, const char *edge, bool force, Conn **ret_conn,
                  Err *err)
{
    bool present;

    *ret_conn = service_connect(ctx, db, "remove", err);
    if (*ret_conn == NULL) {
        if (!force || err->kind != ERR_CONNECT)
            return err_hint(err, "With --force the sync is removed without it; what it has in that "
                                 "database stays.");
        log_warn("%s; what %s has there stays", err->msg, edge);
        err_clear(err);
        return true;
    }
    if (!install_is_present(*ret_conn, &present, err))
        return false;
    if (!present)
        *ret_conn = NULL;
    return true;
}

/* the workers may go on: nothing is removed after all */
static void give_back(Conn *const *targets, const EdgeSpec *edges, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        AUTO_CTX(tmp, NULL);
        Sql *q = sql_new(tmp);
        bool present;

        if (targets[i] == NULL || !install_is_present(targets[i], &present, err_new(tmp)) ||
            !present)
            continue;
        sql_add(q, "UPDATE pgtandem.edge SET removing = false WHERE edge = ");
        sql_text(q, edges[i].name);
        if (!conn_exec(targets[i], q, err_new(tmp)))
            log_warn("%s still waits to be removed", edges[i].name);
    }
}

bool service_remove_sync(const Service *service, const char *sync, bool force, Err *err)
{
    AUTO_CTX(tmp, NULL);
    EdgeSpec *edges;
    size_t n;
    bool ok = true;

    if (!select_edges(tmp, service, &sync, 1, false, &edges, &n, err))
        return false;
    Conn **targets = mem_array(tmp, Conn *, n + 1), **sources = mem_array(tmp, Conn *, n + 1);
    /*
     * everything has to be reached before anything is removed; and all workers let go first, as one that
     * begins anew would install again what is removed already
     */
    for (size_t i = 0; ok && i < n; i++)
        ok = reach(tmp, edges[i].to, edges[i].name, force, &targets[i], err) &&
             reach(tmp, edges[i].from, edges[i].name, force, &sources[i], err) &&
             (targets[i] == NULL || take_over(targets[i], edges[i].name, err));
    for (size_t i = 0; ok && i < n; i++)
        ok = (targets[i] == NULL || uninstall_edge(targets[i], edges[i].name, err)) &&
             (sources[i] == NULL || uninstall_edge(sources[i], edges[i].name, err));
    if (!ok)
        give_back(targets, edges, n);
    return ok;
}
