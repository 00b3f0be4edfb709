/* The command status of the service: what the databases know about each edge. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/str.h"
#include "capture/queue.h"
#include "daemon/commands.h"
#include "daemon/conns.h"
#include "daemon/edge_state.h"
#include "daemon/install.h"
#include "daemon/select.h"
#include "sql/queries.h"

/* everything that is shown of one edge; negative numbers are unknown */
typedef struct EdgeStatus {
    const EdgeSpec *spec;
    const char *state;
    const char *worker; /* "" when nobody works on it */
    const char *error;
    const char *hint;
    const char *error_at;
    int64_t pending;
    int64_t queue_bytes;
    int64_t rounds;
    int64_t rows;
    int64_t parked;
    double lag_s;
    double last_round_s;
    EdgeTablesRow *tables;
    size_t n_tables;
} EdgeStatus;

static bool read_target(const void *ctx, Conns *conns, EdgeStatus *s, const char **ret_snapshot,
                        double *ret_in_step_s, Err *err)
{
    Conn *to = conns_get(conns, s->spec->to, err);
    EdgeRow *edge;
    ProgressRow *progress;
    EdgeLockHolderRow *holder;
    ParkedCountRow *parked;
    size_t n, n_progress, n_holders, n_parked;
    bool present;

    if (to == NULL || !install_is_present(to, &present, err))
        return false;
    if (!present)
        return true;
    if (!q_edge(ctx, to, s->spec->name, &edge, &n, err) ||
        !q_progress(ctx, to, s->spec->name, &progress, &n_progress, err) ||
        !q_edge_lock_holder(ctx, to, s->spec->name, &holder, &n_holders, err) ||
        !q_edge_tables(ctx, to, s->spec->name, &s->tables, &s->n_tables, err) ||
        !q_parked_count(ctx, to, s->spec->name, &parked, &n_parked, err))
        return false;
    if (n != 1 || n_progress != 1)
        return true;
    bool held = n_holders > 0;
    bool failed = strcmp(edge->state, STATE_FAILED) == 0;
    /* written by the worker before: this one has not looked around yet */
    bool outdated = held && !failed && !holder->age_null && holder->age < edge->state_age;

    if (!held && !sync_is_active(s->spec->sync))
        s->state = "inactive";
    else if (outdated)
        s->state = STATE_STARTING;
    else if (edge->paused)
        s->state = held && strcmp(edge->state, STATE_PAUSED) != 0 ? STATE_PAUSING : STATE_PAUSED;
    else
        s->state = held || failed ? edge->state : "not running";
    s->worker = n_holders > 0 ? edge->worker : "";
    s->error = edge->error;
    s->hint = edge->hint;
    s->error_at = edge->error_at;
    s->rounds = progress->rounds;
    s->rows = progress->rows;
    s->parked = parked->n;
    s->last_round_s = progress->age_null ? -1 : progress->age;
    *ret_in_step_s = edge->in_step_age_null ? -1 : edge->in_step_age;
    *ret_snapshot = progress->snapshot;
    return true;
}

/* changes that are not carried yet */
static bool read_source(const void *ctx, Conns *conns, EdgeStatus *s, const char *snapshot,
                        Err *err)
{
    Conn *from = conns_get(conns, s->spec->from, err);
    Window window = edge_window(s->spec);
    Pending *pending;
    EdgeTabsRow *tabs;
    const char *now;
    size_t n, n_tabs;
    bool present;

    if (from == NULL || !install_is_present(from, &present, err))
        return false;
    if (!present)
        return true;
    window.since = snapshot;
    if (!queue_bytes(from, &s->queue_bytes, err) ||
        !q_edge_tabs(ctx, from, s->spec->name, &tabs, &n_tabs, err) ||
        !queue_begin(ctx, from, &window, &pending, &n, &now, err))
        return false;
    conn_rollback(from);
    s->pending = 0;
    for (size_t i = 0; i < n; i++)
        for (size_t t = 0; t < n_tabs; t++)
            if (tabs[t].id == pending[i].tab)
                s->pending += pending[i].changes;
    return true;
}

static void read_edge(const void *ctx, Conns *conns, EdgeStatus *s)
{
    Err *err = err_new(ctx);
    const char *snapshot = NULL;
    double in_step_s = -1;

    if (!read_target(ctx, conns, s, &snapshot, &in_step_s, err)) {
        s->state = "unreachable";
        s->error = err->msg;
        s->hint = err->hint;
        return;
    }
    if (s->rounds < 0 || s->spec->full)
        return;
    if (!read_source(ctx, conns, s, snapshot, err)) {
        if (s->error == NULL)
            s->error = err->msg;
        return;
    }
    if (s->pending == 0)
        s->lag_s = 0;
    else if (in_step_s >= 0 && (s->last_round_s < 0 || in_step_s < s->last_round_s))
        s->lag_s = in_step_s;
    else
        s->lag_s = s->last_round_s;
}

static json_t *unknown_or(int64_t value)
{
    return value < 0 ? json_null() : json_integer((json_int_t)value);
}

static json_t *unknown_or_real(double value)
{
    return value < 0 ? json_null() : json_real(value);
}

static json_t *edge_json(const EdgeStatus *s)
{
    json_t *tables = json_array();
    json_t *json =
        json_pack("{s:s, s:s, s:s, s:s, s:s, s:s?, s:s?, s:s?}", "sync", s->spec->sync->name,
                  "from", s->spec->from->name, "to", s->spec->to->name, "state", s->state, "worker",
                  s->worker, "error", s->error, "hint", s->hint, "error_at", s->error_at);

    json_object_set_new(json, "active", json_boolean(sync_is_active(s->spec->sync)));
    json_object_set_new(json, "fullcopy", json_boolean(s->spec->full));
    json_object_set_new(json, "lag_s", unknown_or_real(s->lag_s));
    json_object_set_new(json, "last_round_age_s", unknown_or_real(s->last_round_s));
    json_object_set_new(json, "pending_changes", unknown_or(s->pending));
    json_object_set_new(json, "queue_bytes", unknown_or(s->queue_bytes));
    json_object_set_new(json, "rounds", unknown_or(s->rounds));
    json_object_set_new(json, "rows", unknown_or(s->rows));
    json_object_set_new(json, "parked_rows", unknown_or(s->parked));
    for (size_t i = 0; i < s->n_tables; i++) {
        const EdgeTablesRow *t = &s->tables[i];

        json_array_append_new(tables,
                              json_pack("{s:s, s:s, s:s, s:s?}", "schema", t->schema_name, "table",
                                        t->table_name, "state", t->state, "reason", t->reason));
    }
    json_object_set_new(json, "tables", tables);
    return json;
}

static void print_json(const EdgeStatus *edges, size_t n)
{
    json_t *list = json_array();

    for (size_t i = 0; i < n; i++)
        json_array_append_new(list, edge_json(&edges[i]));
    json_t *json = json_pack("{s:o}", "edges", list);
    char *text = json_dumps(json, JSON_INDENT(2));
    puts(text == NULL ? "{}" : text);
    free(text);
    json_decref(json);
}

static const char *seconds(const void *ctx, double s)
{
    return s < 0 ? "-" : str_duration(ctx, (long long)(s * 1000));
}

static const char *number(const void *ctx, int64_t n)
{
    return n < 0 ? "-" : str_count(ctx, n);
}

static void print_details(const EdgeStatus *s)
{
    AUTO_CTX(tmp, NULL);

    if (s->error != NULL)
        printf("    %s%s%s\n", s->error_at == NULL ? "" : s->error_at,
               s->error_at == NULL ? "" : " ", s->error);
    if (s->error != NULL && s->hint != NULL)
        printf("    %s\n", s->hint);
    if (s->parked > 0)
        printf("    %s rows are parked, see \"pgtandem conflicts\"\n", number(tmp, s->parked));
    for (size_t i = 0; i < s->n_tables; i++)
        if (strcmp(s->tables[i].state, "ok") != 0)
            printf("    table %s.%s: %s%s%s\n", s->tables[i].schema_name, s->tables[i].table_name,
                   strcmp(s->tables[i].state, "stopped") == 0 ? "stopped" : "to be copied",
                   s->tables[i].reason == NULL ? "" : ": ",
                   s->tables[i].reason == NULL ? "" : s->tables[i].reason);
}

static void print_text(const EdgeStatus *edges, size_t n)
{
    AUTO_CTX(tmp, NULL);

    printf("%-30s %-12s %10s %12s %12s %12s %12s\n", "edge", "state", "lag", "pending", "queue",
           "last round", "rows");
    for (size_t i = 0; i < n; i++) {
        const EdgeStatus *s = &edges[i];

        printf("%-30s %-12s %10s %12s %12s %12s %12s\n", s->spec->name, s->state,
               seconds(tmp, s->lag_s), number(tmp, s->pending),
               s->queue_bytes < 0 ? "-" : str_bytes_human(tmp, s->queue_bytes),
               seconds(tmp, s->last_round_s), number(tmp, s->rows));
        print_details(s);
    }
}

static void print_conflicting_row(const Db *db, const ConflictsRow *c, const char *row,
                                  const char *at)
{
    /* of a violation there may be no other row */
    if (row == NULL && strcmp(c->kind, "row") != 0)
        return;
    printf("    %s: %s%s%s\n", db->name, row == NULL ? "deleted" : row, at == NULL ? "" : " at ",
           at == NULL ? "" : at);
}

static void print_conflict(const EdgeSpec *edge, const ConflictsRow *c)
{
    AUTO_CTX(tmp, NULL);
    const char *end = c->winner[0] == '\0' ? "both stay"
                      : c->parked          ? "parked"
                                           : mem_printf(tmp, "%s wins", c->winner);

    printf("%s %s %s.%s %s: %s (%s", c->at, edge->name, c->schema_name, c->table_name, c->key, end,
           strcmp(c->kind, "row") == 0 ? c->rule : c->kind);
    printf("%s%s)\n", c->constraint_name == NULL ? "" : " ",
           c->constraint_name == NULL ? "" : c->constraint_name);
    print_conflicting_row(edge->from, c, c->from_row, c->from_at);
    print_conflicting_row(edge->to, c, c->to_row, c->to_at);
}

static json_t *conflict_json(const EdgeSpec *edge, const ConflictsRow *c)
{
    return json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s?, s:s, s:s?, s:b, s:s?, s:s?, "
                     "s:s?, s:s?}",
                     "at", c->at, "kind", c->kind, "sync", edge->sync->name, "from",
                     edge->from->name, "to", edge->to->name, "schema", c->schema_name, "table",
                     c->table_name, "key", c->key, "constraint", c->constraint_name, "rule",
                     c->rule, "winner", c->winner[0] == '\0' ? NULL : c->winner, "parked",
                     c->parked, "from_row", c->from_row, "to_row", c->to_row, "from_at", c->from_at,
                     "to_at", c->to_at);
}

/* those of one edge: printed, or put into list (unless it is NULL) */
static bool show_conflicts(Conns *conns, const EdgeSpec *edge, json_t *list, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Conn *to = conns_get(conns, edge->to, err);
    ConflictsRow *rows;
    size_t n;
    bool present;

    if (to == NULL || !install_is_present(to, &present, err))
        return false;
    if (!present)
        return true;
    if (!q_conflicts(tmp, to, edge->name, &rows, &n, err))
        return false;
    for (size_t i = 0; i < n; i++) {
        if (list == NULL)
            print_conflict(edge, &rows[i]);
        else
            json_array_append_new(list, conflict_json(edge, &rows[i]));
    }
    return true;
}

bool service_conflicts(const Service *service, const char *const *syncs, size_t n, bool json,
                       Err *err)
{
    AUTO_CTX(tmp, NULL);
    EdgeSpec *edges;
    size_t n_edges;
    json_t *list = json ? json_array() : NULL;
    Conns *conns = conns_new(tmp, service, "conflicts");
    bool ok = select_edges(tmp, service, syncs, n, false, &edges, &n_edges, err);

    for (size_t i = 0; ok && i < n_edges; i++)
        if (!edges[i].full)
            ok = show_conflicts(conns, &edges[i], list, err);
    if (ok && json) {
        char *text = json_dumps(list, JSON_INDENT(2));

        puts(text == NULL ? "[]" : text);
        free(text);
    }
    json_decref(list);
    return ok;
}

bool service_status(const Service *service, const char *const *syncs, size_t n, bool json, Err *err)
{
    AUTO_CTX(tmp, NULL);
    EdgeSpec *edges;
    size_t n_edges;

    if (!select_edges(tmp, service, syncs, n, false, &edges, &n_edges, err))
        return false;
    EdgeStatus *list = mem_array(tmp, EdgeStatus, n_edges + 1);
    Conns *conns = conns_new(tmp, service, "status");
    for (size_t i = 0; i < n_edges; i++) {
        list[i] = (EdgeStatus){.spec = &edges[i],
                               .state = sync_is_active(edges[i].sync) ? "not begun" : "inactive",
                               .worker = "",
                               .pending = -1,
                               .queue_bytes = -1,
                               .rounds = -1,
                               .rows = -1,
                               .parked = -1,
                               .lag_s = -1,
                               .last_round_s = -1};
        read_edge(tmp, conns, &list[i]);
    }
    if (json)
        print_json(list, n_edges);
    else
        print_text(list, n_edges);
    return true;
}
