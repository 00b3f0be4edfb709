/*
 * The keeper: one process of the service that looks after the databases as such, whatever becomes of the edges. It
 * guards the queue of each source, also for edges that are inactive or whose target is dead, and takes away edges
 * that are not in the file any more. The supervisor starts it anew when the file is read again.
 */
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/wait.h"
#include "conf/conf.h"
#include "daemon/commands.h"
#include "daemon/fuse.h"
#include "daemon/install.h"
#include "daemon/leave.h"
#include "daemon/owner.h"
#include "daemon/service_log.h"
#include "sql/queries.h"

enum {
    LOOK_MS = 500,
    GUARD_MS = 5000,  /* how often a queue is looked at */
    AGAIN_MS = 20000, /* what could not be reached or taken away is tried again after so long */
    SAY_AGAIN_MS = 600000
};

/* one database of the file */
typedef struct Kept {
    const Db *db;
    bool guarded; /* a source with a limit for its queue: the connection is kept open */
    Conn *conn;
    bool swept;  /* nothing is there that is not in the file */
    bool warned; /* of its queue, */
    bool held;   /* and that a worker has what is to be taken away */
    int64_t next_ms;
    int64_t said_ms; /* that it cannot be reached */
} Kept;

typedef struct Keeper {
    const Service *service;
    const char *owner;
    Kept *dbs;
} Keeper;

static bool is_source(const Service *service, const Db *db)
{
    for (size_t i = 0; i < service->n_syncs; i++)
        for (size_t m = 0; m < service->syncs[i].n_members; m++)
            if (service->syncs[i].members[m].db == db &&
                service->syncs[i].members[m].role == ROLE_SOURCE)
                return true;
    return false;
}

/* the edge's other end, where that is known to be out of reach */
static void tell_of_rest(const Keeper *k, const Leaving *leaving)
{
    AUTO_CTX(tmp, NULL);
    const char *names[3];

    leaving_names(tmp, leaving->edge, names);
    for (int i = 1; i < 3 && !leaving->begins_only; i++)
        if (service_db(k->service, names[i]) == NULL)
            log_warn("database %s is not in the file any more: what %s may have there stays",
                     names[i], leaving->edge);
}

/* *ret_done: false when somebody is at work on it */
static bool sweep_one(const Keeper *k, Kept *kept, const Leaving *leaving, bool *ret_done, Err *err)
{
    AUTO_CTX(tmp, NULL);
    TryEdgeLockRow *lock;
    size_t n;

    if (leaving->ends) {
        if (!q_try_edge_lock(tmp, kept->conn, leaving->edge, &lock, &n, err))
            return false;
        *ret_done = *ret_done && lock->locked;
        if (!lock->locked && kept->held)
            return true;
        if (!lock->locked) {
            kept->held = true;
            log_warn("%s is not in the file any more, but a worker has it: it stays until that has "
                     "ended",
                     leaving->edge);
            return true;
        }
    }
    if (!uninstall_edge(kept->conn, leaving->edge, leaving->begins_only, err))
        return false;
    log_info("%s is not in the file any more%s: removed from the %s", leaving->edge,
             leaving->begins_only ? " as one that reads the queue" : "", conn_label(kept->conn));
    tell_of_rest(k, leaving);
    return true;
}

/* what is neither in the file as the service has read it, nor in the file as it is now */
static bool sweep(const Keeper *k, Kept *kept, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Service *now;
    Leaving *list, *still;
    size_t n, n_still;
    bool present, done = true;

    if (!uninstall_rests(kept->conn, err) || !install_is_present(kept->conn, &present, err))
        return false;
    if (!present) {
        kept->swept = true;
        return true;
    }
    if (!leaving_list(tmp, k->service, k->owner, kept->conn, &list, &n, err))
        return false;
    if (n > 0 && (!conf_load(tmp, k->service->path, &now, err) ||
                  !leaving_list(tmp, now, k->owner, kept->conn, &still, &n_still, err)))
        return false;
    for (size_t i = 0; i < n; i++) {
        bool leaves = false;

        for (size_t s = 0; s < n_still; s++)
            leaves = leaves || (strcmp(still[s].edge, list[i].edge) == 0 &&
                                still[s].begins_only == list[i].begins_only);
        done = done && leaves;
        if (leaves && !sweep_one(k, kept, &list[i], &done, err))
            return false;
    }
    kept->swept = done;
    return true;
}

static bool look_after(const Keeper *k, Kept *kept, Err *err)
{
    bool present;

    if (kept->conn == NULL)
        kept->conn = service_connect(k, kept->db, "keeper", err);
    if (kept->conn == NULL || !install_is_present(kept->conn, &present, err))
        return false;
    if (!present) {
        kept->swept = true;
        return true;
    }
    /* the fuse first: taking triggers away may have to wait for a busy table */
    if (kept->guarded && !fuse_check(kept->conn, kept->db, &kept->warned, err))
        return false;
    return kept->swept || sweep(k, kept, err);
}

/* unless that is said already by the workers, who say it of each edge */
static void tell(Kept *kept, const Err *why)
{
    if (kept->said_ms != 0 && clock_ms() - kept->said_ms < SAY_AGAIN_MS)
        return;
    kept->said_ms = clock_ms();
    log_err(LOG_WARN, why);
    log_warn("what is not in the file any more stays in the database %s for the time being%s",
             kept->db->name, kept->guarded ? ", and nobody guards its queue" : "");
}

static void visit(Keeper *k, Kept *kept)
{
    AUTO_CTX(tmp, NULL);
    Err *err = err_new(tmp);
    bool was_swept = kept->swept;
    bool ok = look_after(k, kept, err);

    if (!ok && err->kind != ERR_CANCELED)
        tell(kept, err);
    if (ok)
        kept->said_ms = 0;
    kept->next_ms = clock_ms() + (ok ? GUARD_MS : AGAIN_MS);
    /* the locks of a sweep end with the session */
    if (!ok || !kept->guarded || !was_swept) {
        talloc_free(kept->conn);
        kept->conn = NULL;
    }
}

bool service_keeper(const Service *service, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Keeper *k = mem_new(tmp, Keeper);

    wait_set_parent(STDIN_FILENO);
    wait_hup_reloads();
    log_init(log_level(), "keeper");
    open_log(service);
    *k = (Keeper){.service = service,
                  .owner = owner_of(k, service),
                  .dbs = mem_array(k, Kept, service->n_dbs + 1)};
    for (size_t i = 0; i < service->n_dbs; i++)
        k->dbs[i] = (Kept){.db = &service->dbs[i],
                           .guarded = service->dbs[i].queue_limit > 0 &&
                                      is_source(service, &service->dbs[i])};
    for (;;) {
        if (wait_reload_wanted())
            open_log(service);
        for (size_t i = 0; i < service->n_dbs; i++) {
            Kept *kept = &k->dbs[i];

            if (clock_ms() >= kept->next_ms && (kept->guarded || !kept->swept))
                visit(k, kept);
        }
        if (!wait_ms(LOOK_MS, err))
            return false;
    }
}
