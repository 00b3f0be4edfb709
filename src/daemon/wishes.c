/* The commands kick, pause, resume and recopy: they write wishes where the edges end. */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/str.h"
#include "base/wait.h"
#include "daemon/commands.h"
#include "daemon/conns.h"
#include "daemon/edge_state.h"
#include "daemon/install.h"
#include "daemon/select.h"
#include "sql/queries.h"

enum {
    POLL_MS = 50,
    BEGIN_MS = 60000 /* kick --wait without a limit waits so long for an edge that has not begun */
};

/* UPDATE pgtandem.edge SET …; *ret_begun: the edge is there */
static bool try_wish(Conn *to, const char *edge, const Sql *set, bool *ret_begun, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Sql *q = sql_new(tmp);
    bool present;

    *ret_begun = false;
    if (!install_is_present(to, &present, err))
        return false;
    if (!present)
        return true;
    sql_add(q, "UPDATE pgtandem.edge SET ");
    sql_splice(q, set);
    sql_add(q, " WHERE edge = ");
    sql_literal(q, edge);
    if (!conn_exec(to, q, err))
        return false;
    *ret_begun = conn_affected(to) == 1;
    return true;
}

/* the same, with patience for an edge that has not begun; ERR_STATE when it does not until the deadline */
static bool set_wish(Conn *to, const char *edge, const Sql *set, int64_t deadline, Err *err)
{
    bool begun;

    for (;;) {
        if (!try_wish(to, edge, set, &begun, err))
            return false;
        if (begun)
            return true;
        if (deadline_left(deadline) == 0)
            break;
        if (!wait_ms(POLL_MS, err))
            return false;
    }
    err_set(err, ERR_STATE, "%s has not begun yet", edge);
    return err_hint(
        err, "\"pgtandem start\" begins it; \"pgtandem validate\" tells what is in its way.");
}

/* one kick on its way */
typedef struct Kick {
    Conn *to;
    const char *edge;
    int64_t number;
} Kick;

static bool send_kick(Kick *kick, int64_t deadline, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Sql *set = sql_new(tmp);
    EdgeRow *row;
    size_t n;

    sql_add(set, "kick_wanted = kick_wanted + 1");
    if (!set_wish(kick->to, kick->edge, set, deadline, err) ||
        !q_edge(tmp, kick->to, kick->edge, &row, &n, err))
        return false;
    if (n != 1)
        return err_set(err, ERR_STATE, "%s was removed", kick->edge);
    kick->number = row->kick_wanted;
    return true;
}

/* tables that are stopped have not got everything */
static bool refuse_stopped(const Kick *kick, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Str *names = str_new(tmp);
    EdgeTablesRow *tables;
    size_t n;

    if (!q_edge_tables(tmp, kick->to, kick->edge, &tables, &n, err))
        return false;
    for (size_t i = 0; i < n; i++)
        if (strcmp(tables[i].state, "stopped") == 0)
            str_fmt(names, "%s%s.%s", names->len > 0 ? ", " : "", tables[i].schema_name,
                    tables[i].table_name);
    if (names->len == 0)
        return true;
    err_set(err, ERR_STATE, "tables of %s are stopped: %s", kick->edge, names->text);
    return err_hint(
        err, "Everything else has arrived. \"pgtandem status\" tells what is wrong with them.");
}

static bool wait_for_kick(const Kick *kick, int64_t deadline, Err *err)
{
    for (;;) {
        AUTO_CTX(tmp, NULL);
        EdgeRow *row;
        size_t n;

        if (!q_edge(tmp, kick->to, kick->edge, &row, &n, err))
            return false;
        if (n != 1)
            return err_set(err, ERR_STATE, "%s was removed", kick->edge);
        if (row->kick_done >= kick->number)
            return refuse_stopped(kick, err);
        if (deadline_left(deadline) == 0) {
            err_set(err, ERR_TIMEOUT, "%s has not answered in time", kick->edge);
            err_detail(err, "Its state is: %s%s%s.", row->state, row->error == NULL ? "" : ": ",
                       row->error == NULL ? "" : row->error);
            return err_hint(
                err, "The kick stays valid. Does the service run? \"pgtandem status\" tells.");
        }
        if (!wait_ms(POLL_MS, err))
            return false;
    }
}

/* changes of the other sources come to the targets through the hub: their way there is the first half */
static bool kick_edges(Conns *conns, const EdgeSpec *edges, size_t n, bool to_hub,
                       int64_t wait_for_ms, int64_t deadline, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Kick *kicks = mem_array(tmp, Kick, n + 1);
    size_t sent = 0;
    int64_t begun = wait_for_ms < 0 ? deadline_in(BEGIN_MS) : deadline;

    for (size_t i = 0; i < n; i++) {
        Kick *kick = &kicks[sent];

        if (edge_leads_to_hub(&edges[i]) != to_hub)
            continue;
        kick->edge = edges[i].name;
        kick->to = conns_get(conns, edges[i].to, err);
        if (kick->to == NULL || !send_kick(kick, begun, err))
            return false;
        sent++;
    }
    for (size_t i = 0; i < sent && wait_for_ms != 0; i++)
        if (!wait_for_kick(&kicks[i], deadline, err))
            return false;
    return true;
}

bool service_kick(const Service *service, const char *const *syncs, size_t n, int64_t wait_for_ms,
                  Err *err)
{
    AUTO_CTX(tmp, NULL);
    int64_t deadline = deadline_in(wait_for_ms);
    Conns *conns = conns_new(tmp, service, "kick");
    EdgeSpec *edges;
    size_t n_edges;

    return select_edges(tmp, service, syncs, n, true, &edges, &n_edges, err) &&
           kick_edges(conns, edges, n_edges, true, wait_for_ms, deadline, err) &&
           kick_edges(conns, edges, n_edges, false, wait_for_ms, deadline, err);
}

static bool wait_for_rest(Conn *to, const char *edge, int64_t deadline, Err *err)
{
    bool rests;

    for (;;) {
        if (!edge_state_rests(to, edge, &rests, err))
            return false;
        if (rests)
            return true;
        if (deadline_left(deadline) == 0) {
            err_set(err, ERR_TIMEOUT, "%s is still at work", edge);
            return err_hint(err,
                            "It pauses when its round or copy has ended; \"pgtandem status\" then "
                            "says \"paused\".");
        }
        if (!wait_ms(POLL_MS, err))
            return false;
    }
}

bool service_pause(const Service *service, const char *const *syncs, size_t n, bool pause,
                   int64_t wait_for_ms, Err *err)
{
    AUTO_CTX(tmp, NULL);
    int64_t deadline = deadline_in(wait_for_ms);
    EdgeSpec *edges;
    size_t n_edges;

    if (!select_edges(tmp, service, syncs, n, false, &edges, &n_edges, err))
        return false;
    Conns *conns = conns_new(tmp, service, "pause");
    Conn **to = mem_array(tmp, Conn *, n_edges + 1);
    for (size_t i = 0; i < n_edges; i++) {
        Sql *set = sql_new(tmp);

        to[i] = conns_get(conns, edges[i].to, err);
        sql_trusted(set, pause ? "paused = true" : "paused = false");
        if (to[i] == NULL || !set_wish(to[i], edges[i].name, set, deadline_in(0), err))
            return false;
    }
    for (size_t i = 0; i < n_edges; i++) {
        bool rests = true;

        if (pause && wait_for_ms != 0 && !wait_for_rest(to[i], edges[i].name, deadline, err))
            return false;
        if (pause && !edge_state_rests(to[i], edges[i].name, &rests, err))
            return false;
        printf("%s: %s\n", edges[i].name, !pause ? "resumed" : rests ? "paused" : "pausing");
    }
    return true;
}

/* state of one listed table, or of all */
static bool mark_recopy(Conn *to, const char *edge, const EdgeTablesRow *table, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Sql *q = sql_new(tmp);

    sql_add(
        q, "UPDATE pgtandem.edge_table SET state = 'recopy', at = clock_timestamp() WHERE edge = ");
    sql_text(q, edge);
    if (table != NULL) {
        sql_add(q, " AND schema_name = ");
        sql_text(q, table->schema_name);
        sql_add(q, " AND table_name = ");
        sql_text(q, table->table_name);
    } else {
        sql_add(q, " AND state <> 'stopped'");
    }
    return conn_exec(to, q, err);
}

/*
 * Begins an edge anew. The target forgets what it has first: if this ends in between, a detached edge
 * stays detached, and one that was refused stays refused.
 */
static bool begin_anew(Conns *conns, const EdgeSpec *edge, Conn *to, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Sql *target = sql_new(tmp), *source = sql_new(tmp);
    Conn *from = edge->full ? NULL : conns_get(conns, edge->from, err);

    if (from == NULL && !edge->full)
        return false;
    sql_add(target, "UPDATE pgtandem.progress SET snapshot = NULL, peer_id = '', timeline = '', "
                    "registration = '', reads = 0 WHERE edge = ");
    sql_text(target, edge->name);
    if (!conn_do(to, "BEGIN", err) || !mark_recopy(to, edge->name, NULL, err) ||
        !conn_exec(to, target, err) || !conn_do(to, "COMMIT", err))
        return false;
    if (edge->full)
        return true;
    sql_add(source, "UPDATE pgtandem.consumer SET detached = false, confirmed = NULL, purged = "
                    "NULL WHERE edge = ");
    sql_text(source, edge->name);
    return conn_exec(from, source, err);
}

static const EdgeTablesRow *find_named(const EdgeTablesRow *rows, size_t n, const char *name)
{
    AUTO_CTX(tmp, NULL);

    for (size_t i = 0; i < n; i++)
        if (strcmp(mem_printf(tmp, "%s.%s", rows[i].schema_name, rows[i].table_name), name) == 0 ||
            (strcmp(rows[i].schema_name, "public") == 0 && strcmp(rows[i].table_name, name) == 0))
            return &rows[i];
    return NULL;
}

static bool recopy_tables(const EdgeSpec *edge, Conn *to, const char *const *tables, size_t n,
                          Err *err)
{
    AUTO_CTX(tmp, NULL);
    EdgeTablesRow *listed;
    size_t n_listed;

    if (!q_edge_tables(tmp, to, edge->name, &listed, &n_listed, err))
        return false;
    for (size_t i = 0; i < n; i++)
        if (find_named(listed, n_listed, tables[i]) == NULL)
            return err_set(err, ERR_USAGE, "%s does not carry a table \"%s\"", edge->name,
                           tables[i]);
    for (size_t i = 0; i < n; i++)
        if (!mark_recopy(to, edge->name, find_named(listed, n_listed, tables[i]), err))
            return false;
    return true;
}

bool service_recopy(const Service *service, const char *sync, const char *const *tables, size_t n,
                    Err *err)
{
    AUTO_CTX(tmp, NULL);
    EdgeSpec *edges;
    size_t n_edges;

    if (!select_edges(tmp, service, &sync, 1, false, &edges, &n_edges, err))
        return false;
    Conns *conns = conns_new(tmp, service, "recopy");
    for (size_t i = 0; i < n_edges; i++) {
        Conn *to = conns_get(conns, edges[i].to, err);
        bool present = false;

        if (to == NULL || !install_is_present(to, &present, err))
            return false;
        if (!present) {
            err_set(err, ERR_STATE, "%s has not begun yet", edges[i].name);
            return err_hint(err, "\"pgtandem start\" begins it.");
        }
        if (n == 0 ? !begin_anew(conns, &edges[i], to, err)
                   : !recopy_tables(&edges[i], to, tables, n, err))
            return false;
        printf("%s: %s will be copied anew\n", edges[i].name,
               n == 0 ? "all tables" : "the tables named");
    }
    return true;
}
