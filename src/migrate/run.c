/* Runs: see run.h. */
#include "migrate/run.h"

#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/str.h"
#include "base/wait.h"
#include "migrate/control.h"
#include "migrate/large.h"
#include "migrate/member.h"
#include "migrate/steps.h"
#include "schema/catalog.h"
#include "sql/queries.h"

#define LOCK_CLASS "1885827188" /* "pgtt" */

/*
 * TAKE waits a moment: the session of a process that was just killed lasts a little longer than the
 * process
 */
enum { TAKE_MS = 2000, HANDOVER_MS = 60000, LOCK_POLL_MS = 50 };

const char *side_name(Side side)
{
    return side == SIDE_SOURCE ? "source" : "target";
}

Side run_active(const Run *run)
{
    if (run->node[SIDE_TARGET].present && run->node[SIDE_TARGET].open)
        return SIDE_TARGET;
    /* half-way: the node of the later epoch was closed last, so it was the active one */
    if (run_is_halfway(run) && run->node[SIDE_TARGET].epoch > run->node[SIDE_SOURCE].epoch)
        return SIDE_TARGET;
    return SIDE_SOURCE;
}

bool run_is_halfway(const Run *run)
{
    const NodeState *s = &run->node[SIDE_SOURCE], *t = &run->node[SIDE_TARGET];

    return s->present && t->present && !s->open && !t->open;
}

static bool read_node(Run *run, Side side, Err *err)
{
    AUTO_CTX(tmp, NULL);
    NodeState *node = &run->node[side];
    HasControlRow *has;
    NodeStateRow *row;
    size_t n;

    *node = (NodeState){0};
    if (!q_has_control(tmp, run->conn[side], &has, &n, err))
        return false;
    if (!has->present)
        return true;
    if (!has->readable) {
        err_set(err, ERR_STATE, "the %s has a schema \"pgtandem\" that this role may not read",
                side_name(side));
        return err_hint(err, "Use the role that the run was started with.");
    }
    if (!q_node_state(tmp, run->conn[side], &row, &n, err))
        return false;
    if (n == 1 && row->format != CONTROL_FORMAT &&
        strcmp(row->tool_version, PGTANDEM_VERSION) == 0) {
        err_set(err, ERR_STATE,
                "the %s is in a run of another build of pgtandem %s, whose tables have another "
                "layout (%d, here %d)",
                side_name(side), PGTANDEM_VERSION, row->format, CONTROL_FORMAT);
        return err_hint(err, "Go on with the build that began the run. Nothing was changed.");
    }
    if (n != 1 || row->format != CONTROL_FORMAT) {
        err_set(err, ERR_STATE, "the %s is in a run of another version of pgtandem%s%s",
                side_name(side), n == 1 ? ", " : "", n == 1 ? row->tool_version : "");
        return err_hint(err, "Go on with that version. This is version %s.", PGTANDEM_VERSION);
    }
    if (strcmp(row->side, CONTROL_SERVICE) == 0) {
        err_set(err, ERR_STATE, "the database given as %s belongs to the replication service",
                side_name(side));
        return err_hint(err, "A database is either in an upgrade or in the service. \"pgtandem "
                             "remove sync\" takes it out of the service.");
    }
    if (strcmp(row->side, side_name(side)) != 0) {
        err_set(err, ERR_STATE, "the database given as %s is the %s of a run", side_name(side),
                row->side);
        return err_hint(err, "Check --source and --target: they keep their meaning for the whole "
                             "run, also after the "
                             "switchover.");
    }
    node->present = true;
    node->open = strcmp(row->gate, "open") == 0;
    node->epoch = row->epoch;
    node->run_id = mem_strdup(run, row->run_id);
    node->leader = mem_strdup(run, row->leader);
    node->voided = row->voided;
    node->selection = mem_strdup(run, row->selection);
    node->filters = mem_strdup(run, row->filters);
    return true;
}

static bool add_patterns(Selection *selection, const char *const *texts, size_t n, bool whole,
                         bool exclude, Err *err)
{
    for (size_t i = 0; i < n; i++) {
        Pattern pattern = {0};

        if (strpbrk(texts[i], "\r\n") != NULL ||
            !(whole ? pattern_read_schema(selection, texts[i], &pattern)
                    : pattern_read(selection, texts[i], &pattern))) {
            err_set(err, ERR_USAGE, "\"%s\" is no pattern of %s", texts[i],
                    whole ? "schemas" : "tables");
            return err_hint(err, "Write %s; what is odd in a name stands in double quotes.",
                            whole ? "a schema, e.g. shop or \"Shop\""
                                  : "schema.table, e.g. shop.order* or shop.\"Order\"");
        }
        if (exclude)
            mem_push(selection, selection->exclude, selection->n_exclude, pattern);
        else
            mem_push(selection, selection->include, selection->n_include, pattern);
    }
    return true;
}

static bool add_renames(Selection *selection, const char *const *texts, size_t n, bool of_schema,
                        Err *err)
{
    for (size_t i = 0; i < n; i++) {
        const char *wrong = selection_add_rename(selection, texts[i], of_schema);

        if (wrong != NULL) {
            err_set(err, ERR_USAGE, "--rename-%s \"%s\" %s", of_schema ? "schema" : "table",
                    texts[i], wrong);
            return err_hint(err, "Write %s; what is odd in a name stands in double quotes.",
                            of_schema ? "OLD=NEW, e.g. public=shop"
                                      : "SCHEMA.OLD=NEW, e.g. shop.order=orders");
        }
    }
    return true;
}

/* what the command line selects; *ret is NULL when it says nothing */
static bool read_wish(const void *ctx, const Config *config, Selection **ret, Err *err)
{
    Selection *selection = mem_new(ctx, Selection);

    *ret = NULL;
    if (!add_patterns(selection, config->schemas, config->n_schemas, true, false, err) ||
        !add_patterns(selection, config->tables, config->n_tables, false, false, err) ||
        !add_patterns(selection, config->excluded_schemas, config->n_excluded_schemas, true, true,
                      err) ||
        !add_patterns(selection, config->excluded_tables, config->n_excluded_tables, false, true,
                      err) ||
        !add_renames(selection, config->renamed_schemas, config->n_renamed_schemas, true, err) ||
        !add_renames(selection, config->renamed_tables, config->n_renamed_tables, false, err))
        return false;
    selection->all = selection->n_include == 0;
    if (selection->n_include + selection->n_exclude + selection->n_renames > 0)
        *ret = selection;
    return true;
}

/* a run keeps the selection that it began with: a command may repeat it, or say nothing */
static bool settle_selection(Run *run, Err *err)
{
    AUTO_CTX(tmp, NULL);
    const NodeState *s = &run->node[SIDE_SOURCE], *t = &run->node[SIDE_TARGET];
    const char *has = t->present ? t->selection : s->present ? s->selection : NULL;
    Selection *wish, *remembered;

    if (!read_wish(run, run->config, &wish, err))
        return false;
    run->selection = wish;
    run->selection_there = selection_on_target(run, wish);
    if (has == NULL)
        return true;
    if (!selection_read(run, has, &remembered) ||
        (s->present && t->present && strcmp(s->selection, t->selection) != 0))
        return err_set(err, ERR_BUG, "the nodes do not agree on what this run moves");
    run->selection = remembered;
    run->selection_there = selection_on_target(run, remembered);
    if (wish == NULL || strcmp(selection_text(tmp, wish), has) == 0)
        return true;
    err_set(err, ERR_USAGE, "this run moves something else: %s",
            remembered == NULL ? "the whole database" : selection_options(tmp, remembered));
    return err_hint(err, "Leave the selection out: the run remembers it. Another one needs another "
                         "run; \"pgtandem abort\" ends this one. Nothing was changed.");
}

/* the same of conditions of rows */
static bool settle_filters(Run *run, Err *err)
{
    AUTO_CTX(tmp, NULL);
    const NodeState *s = &run->node[SIDE_SOURCE], *t = &run->node[SIDE_TARGET];
    const char *has = t->present ? t->filters : s->present ? s->filters : NULL;
    Filters *wish = mem_new(run, Filters), *remembered;

    for (size_t i = 0; i < run->config->n_conditions; i++) {
        const char *wrong = filters_add(wish, run->config->conditions[i]);

        if (wrong == NULL)
            continue;
        err_set(err, ERR_USAGE, "--where \"%s\" %s", run->config->conditions[i], wrong);
        return err_hint(err, "Write SCHEMA.TABLE=CONDITION, e.g. --where \"shop.orders=year >= "
                             "2024\"; what is odd in the table's name stands in double quotes.");
    }
    run->filters = wish->n > 0 ? wish : NULL;
    if (has == NULL)
        return true;
    if (!filters_read(run, has, &remembered) ||
        (s->present && t->present && strcmp(s->filters, t->filters) != 0))
        return err_set(err, ERR_BUG, "the nodes do not agree on which rows this run moves");
    run->filters = remembered;
    if (wish->n == 0 || strcmp(filters_text(tmp, wish), has) == 0)
        return true;
    err_set(err, ERR_USAGE, "this run moves other rows: %s",
            remembered == NULL ? "all of them" : filters_options(tmp, remembered));
    return err_hint(err, "Leave the conditions out: the run remembers them. Others need another "
                         "run; \"pgtandem abort\" ends this one. Nothing was changed.");
}

const Selection *run_selection(const Run *run, Side side)
{
    return side == SIDE_SOURCE ? run->selection : run->selection_there;
}

void run_name_on(const Run *run, Side side, const char **schema, const char **name)
{
    /* whatever it is called on the target, it has a name on the source: it is in the run */
    if (side == SIDE_TARGET)
        selection_to_target(run->selection, schema, name);
    else if (!selection_to_source(run->selection, schema, name))
        log_debug("%s%s%s has no name on the source", *schema, *name == NULL ? "" : ".",
                  *name == NULL ? "" : *name);
}

/*
 * A source that knows nothing of the target's run: it may be that nothing was done there yet, or
 * that `finish` or `abort` were there already, or that it is another database.
 */
static bool refuse_other_source(Run *run, Err *err)
{
    AUTO_CTX(tmp, NULL);
    ProgressRow *progress;
    const char *peer_id;
    size_t n;

    if (run->node[SIDE_SOURCE].present || !run->node[SIDE_TARGET].present)
        return true;
    if (!q_progress(tmp, run->conn[SIDE_TARGET], EDGE_OF_RUN, &progress, &n, err) ||
        !edge_peer_id(tmp, run->conn[SIDE_SOURCE], &peer_id, err))
        return false;
    if (progress->peer_id[0] == '\0' || strcmp(progress->peer_id, peer_id) == 0)
        return true;
    err_set(err, ERR_STATE, "the target is in a run with another source");
    return err_hint(err, "Name the two databases that the run was started with.");
}

/* other sessions of ours on a node: somebody works on its run */
static bool ask_alive(Conn *conn, bool *ret_alive, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Sql *q = sql_new(tmp);
    Rows *rows;

    sql_add(q, "SELECT EXISTS (SELECT 1 FROM pg_stat_activity WHERE datname = current_database() "
               "AND pid <> pg_backend_pid() AND application_name LIKE '" CONN_APPLICATION " %')");
    if (!conn_query(tmp, conn, q, &rows, err))
        return false;
    *ret_alive = rows_bool(rows, 0, 0);
    return true;
}

/* it may be lost, or there are two runs of one source: whoever is offered to end the other one may do so */
static bool refuse_unknown_run(Run *run, Err *err)
{
    const char *run_id = run->node[SIDE_SOURCE].run_id;
    bool alive;

    if (!ask_alive(run->conn[SIDE_SOURCE], &alive, err))
        return false;
    err_set(err, ERR_STATE, "the source is in a run (%s) that the target knows nothing of", run_id);
    if (alive) {
        err_detail(err, "A pgtandem works on that run at this moment. Nothing was changed.");
        return err_hint(err,
                        "Name the target that the run was started with. A source is in one run "
                        "at a time.");
    }
    return err_hint(err,
                    "Name the target that the run was started with. If it is lost, remove the run "
                    "from the source: \"pgtandem abort\" with --accept target-lost.");
}

/*
 * The two nodes are in different runs. That of the target may have died before it came to the source,
 * or after it was taken off, and another one began there: then nothing can be done for it but to
 * remove its copy. That it is a copy of this source is seen to by refuse_other_source().
 */
static bool refuse_different_runs(Run *run, Err *err)
{
    NodeState *s = &run->node[SIDE_SOURCE];
    const NodeState *t = &run->node[SIDE_TARGET];
    bool orphan = step_is_before_capture(run->phase) || strcmp(run->phase, PHASE_ABORTING) == 0;

    if (orphan && run->aborting) {
        *s = (NodeState){0};
        return true;
    }
    err_set(err, ERR_STATE, "source and target belong to different runs (%s and %s)", s->run_id,
            t->run_id);
    return err_hint(err, "Name the two databases that the run was started with.%s",
                    orphan ? " If they are: another run of this source was begun meanwhile. "
                             "\"pgtandem abort\" removes what there is of this copy."
                           : "");
}

/* phase of the run; "" when there is none */
static bool read_phase(Run *run, Err *err)
{
    AUTO_CTX(tmp, NULL);
    RunStateRow *row;
    size_t n;

    run->phase = "";
    if (!run->node[SIDE_TARGET].present)
        return true;
    if (!q_run_state(tmp, run->conn[SIDE_TARGET], &row, &n, err))
        return false;
    run->phase = n == 1 ? mem_strdup(run, row->phase) : "";
    return true;
}

bool run_read_state(Run *run, Err *err)
{
    if (!read_node(run, SIDE_SOURCE, err) || !read_node(run, SIDE_TARGET, err) ||
        !read_phase(run, err))
        return false;
    const NodeState *s = &run->node[SIDE_SOURCE], *t = &run->node[SIDE_TARGET];
    if (s->present && t->present && strcmp(s->run_id, t->run_id) != 0 &&
        !refuse_different_runs(run, err))
        return false;
    if (s->present && !t->present && !config_accepts(run->config, "target-lost"))
        return refuse_unknown_run(run, err);
    if (s->present && s->open && t->open) {
        err_set(err, ERR_STATE, "both nodes take writes");
        return err_hint(
            err, "This must not happen. Stop the application on one of them and compare the two "
                 "with \"pgtandem verify\".");
    }
    return refuse_other_source(run, err) && settle_selection(run, err) && settle_filters(run, err);
}

/* who holds a lock, for the message */
static char *lock_holder(const void *ctx, Conn *conn, int key)
{
    AUTO_CTX(tmp, NULL);
    LockHolderRow *row;
    size_t n;

    if (!q_lock_holder(tmp, conn, key, &row, &n, err_new(tmp)) || n == 0)
        return mem_strdup(ctx, "unknown");
    return mem_printf(ctx, "server process %d on the %s, \"%s\"%s%s", row->pid, conn_label(conn),
                      row->application, row->client[0] == '\0' ? "" : " from ", row->client);
}

/* calls a function of advisory locks */
static bool call_lock(Conn *conn, const char *function, int key, Rows **ret_rows, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Sql *q = sql_new(tmp);

    sql_add(q, "SELECT ");
    sql_trusted(q, function);
    sql_add(q, "(" LOCK_CLASS ", ");
    sql_number(q, key);
    sql_add(q, ")");
    return ret_rows == NULL ? conn_exec(conn, q, err) : conn_query(conn, conn, q, ret_rows, err);
}

static bool try_lock(Conn *conn, int key, bool *ret_locked, Err *err)
{
    Rows *rows;

    if (!call_lock(conn, "pg_try_advisory_lock", key, &rows, err))
        return false;
    *ret_locked = rows_bool(rows, 0, 0);
    talloc_free(rows);
    return true;
}

/* until the deadline; *ret_locked is false then */
static bool wait_lock(Conn *conn, int key, int64_t deadline, bool *ret_locked, Err *err)
{
    for (;;) {
        if (!try_lock(conn, key, ret_locked, err))
            return false;
        if (*ret_locked || deadline_left(deadline) == 0)
            return true;
        if (!wait_ms(LOCK_POLL_MS, err))
            return false;
    }
}

static bool refuse_begin(Conn *source, int key, Err *err)
{
    AUTO_CTX(tmp, NULL);

    err_set(err, ERR_STATE, "another pgtandem begins a run of this source");
    err_detail(err, "Its lock is held by %s. Nothing was changed.", lock_holder(tmp, source, key));
    return err_hint(err, "A source is in one run at a time.");
}

bool run_reserve_source(Run *run, bool patient, Err *err)
{
    Conn *source = run->conn[SIDE_SOURCE];
    bool locked;

    do {
        if (!wait_lock(source, LOCK_BEGIN, deadline_in(TAKE_MS), &locked, err))
            return false;
        /* whoever has it, or had, may have come to the end of the beginning meanwhile */
        if (!run_read_state(run, err))
            return false;
    } while (!locked && patient);
    return locked || refuse_begin(source, LOCK_BEGIN, err);
}

bool run_reserve_all(Conn *leader, Err *err)
{
    bool locked;

    return wait_lock(leader, LOCK_BEGIN_ALL, deadline_in(TAKE_MS), &locked, err) &&
           (locked || refuse_begin(leader, LOCK_BEGIN_ALL, err));
}

/* who makes the copy does not step aside, so waiting for it is in vain */
static bool refuse_while_copying(Run *run, Err *err)
{
    AUTO_CTX(tmp, NULL);
    HasControlRow *has;
    RunStateRow *row;
    size_t n = 0;

    if (!q_has_control(tmp, run->lock, &has, &n, err))
        return false;
    if (has->present && has->readable) {
        if (!q_run_state(tmp, run->lock, &row, &n, err))
            return false;
        if (n == 1 && step_find(row->phase) == NULL)
            return true;
    }
    err_set(err, ERR_REFUSED, "another pgtandem is still making the copy");
    err_detail(err, "Its lock is held by %s.", lock_holder(tmp, run->lock, LOCK_RUN));
    return err_hint(
        err, "Let it run until it says that it is in sync, or stop it first. Nothing was changed.");
}

static bool take_lock(Run *run, RunLock lock, Err *err)
{
    AUTO_CTX(tmp, NULL);
    bool locked, wished = false;
    int64_t deadline = deadline_in(lock == RUN_LOCK_WAIT       ? -1
                                   : lock == RUN_LOCK_HANDOVER ? HANDOVER_MS
                                                               : TAKE_MS);

    if (!try_lock(run->lock, LOCK_RUN, &locked, err))
        return false;
    if (!locked && lock == RUN_LOCK_TRY) {
        talloc_free(run->lock);
        run->lock = NULL;
        return true;
    }
    if (!locked && lock == RUN_LOCK_HANDOVER) {
        if (!refuse_while_copying(run, err))
            return false;
        log_info("asking the running pgtandem to hand over (%s)",
                 lock_holder(tmp, run->lock, LOCK_RUN));
        wished = true;
        if (!call_lock(run->lock, "pg_advisory_lock_shared", LOCK_WISH, NULL, err))
            return false;
    }
    if (!locked && !wait_lock(run->lock, LOCK_RUN, deadline, &locked, err))
        return false;
    if (locked)
        return !wished || call_lock(run->lock, "pg_advisory_unlock_shared", LOCK_WISH, NULL, err);
    err_set(err, ERR_STATE, "another pgtandem works on this run");
    err_detail(err, "Its lock is held by %s.", lock_holder(tmp, run->lock, LOCK_RUN));
    return err_hint(err,
                    "Stop it first, or let it finish; \"pgtandem status\" shows how far it is.");
}

bool run_handover_wanted(Run *run, bool *ret_wanted, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Sql *q = sql_new(tmp);
    Rows *rows;

    sql_add(q, "SELECT EXISTS (SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND classid "
               "= " LOCK_CLASS " AND objid = ");
    sql_number(q, LOCK_WISH);
    sql_add(q, " AND granted AND database = (SELECT oid FROM pg_database WHERE datname = "
               "current_database()))");
    if (!conn_query(tmp, run->lock, q, &rows, err))
        return false;
    *ret_wanted = rows_bool(rows, 0, 0);
    return true;
}

/* the same database under two names would be emptied onto itself */
static bool refuse_same_database(Run *run, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Conn *source = run->conn[SIDE_SOURCE];
    bool same;

    if (!edge_same_database(source, run->conn[SIDE_TARGET], &same, err))
        return false;
    if (!same)
        return true;
    err_set(err, ERR_USAGE, "source and target are the same database (\"%s\")",
            conn_value(tmp, source, "dbname"));
    return err_hint(err, "Check --source and --target.");
}

/*
 * A switch of a process that was killed may still be in one of its commits: whoever wants to go on waits for
 * its end, and looks again.
 */
static bool settled_commits(Run *run, Err *err)
{
    bool any = false;

    for (int side = 0; side < 2; side++) {
        if (!run->node[side].present)
            continue;
        any = true;
        if (!conn_do(run->conn[side], "SELECT 1 FROM pgtandem.node FOR UPDATE", err))
            return err_add(err, "while waiting for an earlier switch");
    }
    return !any || run_read_state(run, err);
}

/* what is part of a run of all databases goes on with the others only, and the other way round */
static bool refuse_member(Run *run, Err *err)
{
    const Member *member = run->config->member;

    for (int side = 0; side < 2; side++) {
        const NodeState *node = &run->node[side];

        if (!node->present || strcmp(node->leader, member == NULL ? "" : member->leader) == 0)
            continue;
        if (node->leader[0] == '\0') {
            err_set(err, ERR_STATE, "this database is in a run of its own");
            return err_hint(err,
                            "End that with \"pgtandem finish\" or \"pgtandem abort\", or leave the "
                            "database out with --exclude-database.");
        }
        err_set(err, ERR_STATE,
                "this database is in a run of all databases of its server (first of them: \"%s\")",
                node->leader);
        return err_hint(err, "Run the same command with --all-databases. Nothing was changed.");
    }
    return true;
}

static Run *open_run(const void *ctx, const Config *config, RunLock lock, const char *purpose,
                     bool aborting, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Run *run = mem_new(ctx, Run);

    run->config = config;
    run->phase = "";
    run->aborting = aborting;
    run->conn[SIDE_SOURCE] = conn_open(run, &config->source, purpose, err);
    if (run->conn[SIDE_SOURCE] == NULL)
        goto failed;
    run->conn[SIDE_TARGET] = conn_open(run, &config->target, purpose, err);
    if (run->conn[SIDE_TARGET] == NULL || !refuse_same_database(run, err))
        goto failed;
    if (lock != RUN_LOCK_NONE) {
        run->lock = conn_open(run, &config->target, mem_printf(tmp, "%s lock", purpose), err);
        if (run->lock == NULL || !take_lock(run, lock, err))
            goto failed;
        for (int side = 0; side < 2; side++)
            if (!conn_try_replica_role(run->conn[side], &run->replica[side], err))
                goto failed;
    }
    if (!run_read_state(run, err) || (run->lock != NULL && !settled_commits(run, err)) ||
        (lock != RUN_LOCK_NONE && lock != RUN_LOCK_TRY && !refuse_member(run, err)))
        goto failed;
    return run;
failed:
    talloc_free(run);
    return NULL;
}

Run *run_open(const void *ctx, const Config *config, RunLock lock, const char *purpose, Err *err)
{
    return open_run(ctx, config, lock, purpose, false, err);
}

Run *run_open_to_abort(const void *ctx, const Config *config, Err *err)
{
    return open_run(ctx, config, RUN_LOCK_HANDOVER, "abort", true, err);
}

bool run_load_edge(Run *run, Err *err)
{
    Side from = run_active(run), to = side_other(from);
    size_t n[2], n_shapes, n_tabs;
    ShapesRow *shapes;
    TabsRow *tabs, *there;
    size_t n_there;

    /* before the columns: should a table be altered in between, its rounds find it outdated */
    if (!q_shapes(run, run->conn[from], NULL, &shapes, &n_shapes, err) ||
        !q_tabs(run, run->conn[from], &tabs, &n_tabs, err) ||
        !q_tabs(run, run->conn[to], &there, &n_there, err))
        return false;
    for (int side = 0; side < 2; side++) {
        if (!catalog_load(run, run->conn[side], run_selection(run, (Side)side), &run->catalog[side],
                          err) ||
            !catalog_tabs(run, run->conn[side], run->catalog[side],
                          side == SIDE_TARGET ? run->tables[SIDE_SOURCE] : NULL, &run->tables[side],
                          &n[side], err))
            return false;
    }
    if (n[0] != n[1])
        return err_set(err, ERR_BUG, "the nodes list %zu and %zu tables", n[0], n[1]);
    run->n_tables = n[0];

    for (size_t i = 0; i < run->n_tables; i++) {
        Table *table = &run->tables[SIDE_SOURCE][i];

        if (table->filter != NULL)
            table->part = filter_part(run, table);
    }
    Edge *edge = mem_new(run, Edge);
    edge->name = EDGE_OF_RUN;
    edge->from = run->conn[from];
    edge->to = run->conn[to];
    edge->n_pairs = run->n_tables;
    edge->pairs = mem_array(edge, TablePair, run->n_tables + 1);
    for (size_t i = 0; i < run->n_tables; i++) {
        TablePair *pair = &edge->pairs[i];

        pair->src = &run->tables[from][i];
        pair->dst = &run->tables[to][i];
        if (!catalog_carried_columns(edge, pair->src, pair->dst, &pair->columns, &pair->n_columns,
                                     err))
            return false;
        for (size_t s = 0; s < n_shapes; s++)
            if (shapes[s].relid == pair->src->oid)
                pair->shape = shapes[s].shape;
        for (size_t t = 0; t < n_there; t++)
            if (there[t].id == pair->src->id)
                pair->adrift = there[t].adrift;
    }
    for (size_t i = 0; i < n_tabs; i++)
        if (tabs[i].schema_name[0] == '\0')
            mem_push(edge, edge->gone, edge->n_gone, tabs[i].id);
    /* one that is on one node only came or went during the run: see ddl.h */
    edge->sequences = mem_array(edge, SequenceState, run->catalog[from]->n_sequences + 1);
    for (size_t i = 0; i < run->catalog[from]->n_sequences; i++) {
        const Sequence *sequence = &run->catalog[from]->sequences[i], *copy;
        const char *schema = sequence->schema, *name = sequence->name;

        run_name_on(run, to, &schema, &name);
        copy = catalog_find_sequence(run->catalog[to], schema, name);
        if (copy != NULL)
            edge->sequences[edge->n_sequences++] =
                (SequenceState){.sequence = sequence, .copy = copy};
    }
    /* large objects are in no schema */
    if (run->selection == NULL && !large_may_carry(edge->from, edge->to, &edge->large, err))
        return false;
    talloc_free(run->edge);
    run->edge = edge;
    /* a round of a process that was killed may still be at work in its session: wait for its end */
    if (run->lock != NULL &&
        !conn_do(edge->to,
                 "SELECT 1 FROM pgtandem.progress WHERE edge = '" EDGE_OF_RUN "' FOR UPDATE", err))
        return false;
    return edge_check(edge, config_accepts(run->config, "timeline"), err);
}

bool config_accepts(const Config *config, const char *id)
{
    for (size_t i = 0; i < config->n_accepted; i++)
        if (strcmp(config->accepted[i], id) == 0)
            return true;
    return false;
}

bool run_release_lock(Run *run, Err *err)
{
    return call_lock(run->lock, "pg_advisory_unlock", LOCK_RUN, NULL, err);
}

void run_journal(Conn *conn, const char *event, const char *detail, double ms)
{
    AUTO_CTX(tmp, NULL);
    Err *err = err_new(tmp);
    Sql *q = sql_new(tmp);

    sql_add(q, "INSERT INTO pgtandem.journal (event, detail, ms) VALUES (");
    sql_text(q, event);
    sql_add(q, ", ");
    sql_text(q, detail);
    sql_add(q, ", ");
    sql_text(q, ms < 0 ? NULL : mem_printf(tmp, "%.3f", ms));
    sql_add(q, ")");
    if (!conn_exec(conn, q, err))
        log_debug("journal: %s", err->msg);
}
