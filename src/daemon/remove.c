/* Taking syncs and databases off the service: works whether it runs or not. */
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/wait.h"
#include "daemon/commands.h"
#include "daemon/install.h"
#include "daemon/leave.h"
#include "daemon/owner.h"
#include "daemon/select.h"
#include "sql/queries.h"

enum { LET_GO_MS = 20000, POLL_MS = 100 };

/* one edge in one database */
typedef struct Place {
    Conn *conn;
    const char *edge;
    bool ends;
    bool begins_only;
} Place;

typedef struct Removal {
    const Service *service;
    bool force;
    Conn **conns; /* of the databases, in the file's order; NULL: not reached */
    bool *tried;
    Place *places;
    size_t n;
} Removal;

static Removal *begin_removal(const void *ctx, const Service *service, bool force)
{
    Removal *r = mem_new(ctx, Removal);

    *r = (Removal){.service = service,
                   .force = force,
                   .conns = mem_array(r, Conn *, service->n_dbs + 1),
                   .tried = mem_array(r, bool, service->n_dbs + 1)};
    return r;
}

/* asks the worker to let go; it takes the wish back when it works again, so this is done again and again */
static bool ask_to_let_go(Conn *to, const char *edge, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Sql *q = sql_new(tmp);
    bool present;

    if (!install_is_present(to, &present, err) || !present)
        return err->kind == ERR_NONE;
    sql_add(q, "UPDATE pgtandem.edge SET removing = true WHERE edge = ");
    sql_text(q, edge);
    return conn_exec(to, q, err);
}

/*
 * Has the edge's worker let go of it, wherever it runs, and takes its place: also where nothing is installed, since a
 * worker may just be about to.
 */
static bool take_over(Conn *to, const char *edge, Err *err)
{
    int64_t deadline = deadline_in(LET_GO_MS);

    for (;;) {
        AUTO_CTX(tmp, NULL);
        TryEdgeLockRow *lock;
        size_t n;

        if (!q_try_edge_lock(tmp, to, edge, &lock, &n, err))
            return false;
        if (lock->locked)
            return true;
        if (deadline_left(deadline) == 0) {
            err_set(err, ERR_TIMEOUT, "the worker of %s does not let go of it", edge);
            return err_hint(err, "Stop the service, then remove it again.");
        }
        if (!ask_to_let_go(to, edge, err) || !wait_ms(POLL_MS, err))
            return false;
    }
}

/* *ret_conn is NULL when it cannot be reached and need not be */
static bool reach(Removal *r, const Db *db, bool needed, Conn **ret_conn, Err *err)
{
    size_t at = (size_t)(db - r->service->dbs);
    bool present;

    if (!r->tried[at]) {
        r->tried[at] = true;
        r->conns[at] = service_connect(r, db, "remove", err);
        if (r->conns[at] != NULL && !install_is_present(r->conns[at], &present, err)) {
            talloc_free(r->conns[at]);
            r->conns[at] = NULL;
        }
        bool passed =
            err->kind == ERR_CONNECT ? r->force || !needed : err->kind == ERR_STATE && !needed;
        if (r->conns[at] == NULL && !passed)
            return err_hint(err,
                            "With --force it is removed without this database; what it has there "
                            "stays.");
        if (r->conns[at] == NULL)
            log_warn("%s; should something of it be there, it stays", err->msg);
        err_clear(err);
    }
    *ret_conn = r->conns[at];
    return true;
}

static void add_place(Removal *r, Conn *conn, const char *edge, bool ends, bool begins_only)
{
    Place place = {.conn = conn, .edge = edge, .ends = ends, .begins_only = begins_only};

    if (conn != NULL)
        mem_push(r, r->places, r->n, place);
}

static bool is_placed(const Removal *r, const char *edge)
{
    for (size_t i = 0; i < r->n; i++)
        if (r->places[i].ends && strcmp(r->places[i].edge, edge) == 0)
            return true;
    return false;
}

/* edges of the sync, or of the database, that are not in the file any more; what cannot be reached is left out */
static bool add_leaving(Removal *r, const char *sync, const char *db, Err *err)
{
    const char *owner = owner_of(r, r->service);

    for (size_t d = 0; d < r->service->n_dbs && owner[0] != '\0'; d++) {
        Leaving *list;
        Conn *conn;
        size_t n;
        bool present;

        if (!reach(r, &r->service->dbs[d], false, &conn, err) ||
            (conn != NULL && !install_is_present(conn, &present, err)))
            return false;
        if (conn == NULL || !present)
            continue;
        if (!leaving_list(r, r->service, owner, conn, &list, &n, err))
            return false;
        for (size_t i = 0; i < n; i++) {
            const char *names[3];

            leaving_names(r, list[i].edge, names);
            bool named = sync != NULL ? strcmp(names[0], sync) == 0
                                      : strcmp(names[1], db) == 0 || strcmp(names[2], db) == 0;
            /* two names of the same database: a lock is had once */
            if (named && !(list[i].ends && is_placed(r, list[i].edge)))
                add_place(r, conn, list[i].edge, list[i].ends, list[i].begins_only);
        }
    }
    return true;
}

/*
 * All workers let go first, as one that begins anew would install again what is removed already. Where the edges end
 * comes first: should this be broken off, nothing is left that goes on without changes being kept.
 */
static bool remove_places(Removal *r, Err *err)
{
    for (size_t i = 0; i < r->n; i++)
        if (r->places[i].ends && !take_over(r->places[i].conn, r->places[i].edge, err))
            return false;
    for (int ends = 1; ends >= 0; ends--)
        for (size_t i = 0; i < r->n; i++) {
            const Place *p = &r->places[i];

            if (p->ends == (ends == 1) && !uninstall_edge(p->conn, p->edge, p->begins_only, err))
                return false;
        }
    return true;
}

bool service_remove_sync(const void *ctx, const Service *service, const char *sync, bool force,
                         Err *err)
{
    Removal *r = begin_removal(ctx, service, force);
    EdgeSpec *edges = NULL;
    size_t n = 0;

    if (service_sync(service, sync) != NULL &&
        !select_edges(r, service, &sync, 1, false, &edges, &n, err))
        return false;
    /* everything has to be reached before anything is removed */
    for (size_t i = 0; i < n; i++) {
        Conn *to, *from;

        if (!reach(r, edges[i].to, true, &to, err) || !reach(r, edges[i].from, true, &from, err))
            return false;
        add_place(r, to, edges[i].name, true, false);
        add_place(r, from, edges[i].name, false, false);
    }
    if (!add_leaving(r, sync, NULL, err))
        return false;
    /* neither in the file, nor left of what was there: says so */
    if (r->n == 0 && service_sync(service, sync) == NULL)
        return select_edges(r, service, &sync, 1, false, &edges, &n, err);
    return remove_places(r, err);
}

bool service_remove_db(const void *ctx, const Service *service, const char *db, bool force,
                       Err *err)
{
    Removal *r = begin_removal(ctx, service, force);
    const Db *found = service_db(service, db);
    Conn *conn;

    /* one that is in use is refused when the file is edited */
    for (size_t i = 0; i < service->n_syncs; i++)
        for (size_t m = 0; m < service->syncs[i].n_members; m++)
            if (service->syncs[i].members[m].db == found)
                return true;
    /* without an owner there has never been a service of this file */
    if (found == NULL || owner_of(r, service)[0] == '\0')
        return true;
    return reach(r, found, true, &conn, err) && add_leaving(r, NULL, db, err) &&
           remove_places(r, err);
}
