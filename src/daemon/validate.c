/* The command validate: what would stop a sync, found by looking at the databases. */
#include <stdio.h>
#include <string.h>

#include "base/str.h"
#include "daemon/commands.h"
#include "daemon/conns.h"
#include "daemon/install.h"
#include "daemon/interleave.h"
#include "daemon/plan.h"
#include "sql/queries.h"

typedef struct Validation {
    const Service *service;
    size_t problems;
    Str *said; /* lines that were printed: several edges may have the same problem */
    Conns *conns;
} Validation;

static void say(Validation *v, int line, const char *problem, const char *hint)
{
    AUTO_CTX(tmp, NULL);
    char *text = line > 0 ? mem_printf(tmp, "%s:%d: %s", v->service->path, line, problem)
                          : mem_printf(tmp, "%s: %s", v->service->path, problem);

    if (strstr(v->said->text, text) != NULL)
        return;
    str_add(v->said, text);
    str_char(v->said, '\n');
    v->problems++;
    printf("%s\n", text);
    if (hint != NULL)
        printf("    %s\n", hint);
}

/* the connection to a database, or NULL when that was said to be impossible, or with an error */
static Conn *look_at(Validation *v, const Db *db, Err *err)
{
    bool present;
    Conn *conn = conns_get(v->conns, db, err);

    if (conn != NULL && install_is_present(conn, &present, err))
        return conn;
    if (err->kind == ERR_CANCELED)
        return NULL;
    say(v, db->line, err->msg, err->hint);
    err_clear(err);
    return NULL;
}

static bool check_role(Validation *v, const EdgeSpec *edge, Conn *to, Err *err)
{
    AUTO_CTX(tmp, NULL);
    const char *hint;
    bool replica;

    if (edge->sync->target_triggers == TRIGGERS_FIRE)
        return true;
    if (!conn_try_replica_role(to, &replica, err))
        return false;
    if (replica)
        return true;
    if (!plan_role_hint(tmp, to, &hint, err))
        return false;
    say(v, edge->sync->line,
        mem_printf(tmp, "the role may not set session_replication_role in the %s", conn_label(to)),
        hint);
    return true;
}

static bool check_edge(Validation *v, const EdgeSpec *edge, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Plan *plan;
    Conn *from = look_at(v, edge->from, err);
    Conn *to = from == NULL && err->kind != ERR_NONE ? NULL : look_at(v, edge->to, err);

    if (from == NULL || to == NULL)
        return err->kind == ERR_NONE;
    if (!check_role(v, edge, to, err) || !plan_make(tmp, edge, from, to, &plan, err))
        return false;
    for (size_t i = 0; i < plan->n_missing; i++)
        say(v, plan->missing[i].line, plan->missing[i].problem, plan->missing[i].hint);
    for (size_t i = 0; i < plan->n_tables; i++) {
        const PlannedTable *t = &plan->tables[i];

        if (t->problem != NULL)
            say(v, t->line > 0 ? t->line : edge->sync->line, t->problem, t->hint);
    }
    return true;
}

static bool check_sequences(Validation *v, const Sync *sync, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Conn **conns = mem_array(tmp, Conn *, sync->n_members + 1);

    if (sync_sources(sync) < 2)
        return true;
    for (size_t i = 0; i < sync->n_members; i++) {
        if (sync->members[i].role != ROLE_SOURCE)
            continue;
        conns[i] = look_at(v, sync->members[i].db, err);
        if (conns[i] == NULL && err->kind != ERR_NONE)
            return false;
    }
    return interleave_advise(sync, conns, err);
}

bool service_validate(const Service *service, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Validation v = {
        .service = service, .said = str_new(tmp), .conns = conns_new(tmp, service, "validate")};

    for (size_t i = 0; i < service->n_syncs; i++) {
        size_t n;
        EdgeSpec *edges = edges_of_sync(tmp, &service->syncs[i], &n);

        for (size_t e = 0; e < n; e++)
            if (!check_edge(&v, &edges[e], err))
                return false;
        if (!check_sequences(&v, &service->syncs[i], err))
            return false;
    }
    if (v.problems > 0)
        return err_set(err, ERR_REFUSED, "%zu problem%s found in %s or its databases", v.problems,
                       v.problems == 1 ? "" : "s", service->path);
    printf("%s: no problem found\n", service->path);
    return true;
}
