/*
 * The worker of one edge: connects, waits until it is the only one, installs what is missing, copies
 * what is to be copied, and makes rounds, for ever. Whatever goes wrong ends the turn; the next one
 * begins with new connections and looks at everything anew.
 */
#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "base/str.h"
#include "base/wait.h"
#include "capture/capture.h"
#include "capture/queue.h"
#include "daemon/commands.h"
#include "daemon/conflict.h"
#include "daemon/edge_state.h"
#include "daemon/fuse.h"
#include "daemon/hook.h"
#include "daemon/install.h"
#include "daemon/plan.h"
#include "daemon/service_log.h"
#include "daemon/violation.h"
#include "migrate/edge.h"
#include "pg/sqlstate.h"
#include "sql/queries.h"

enum {
    STANDBY_POLL_MS = 500,
    LOCK_AGAIN_TRIES = 10,
    LOCK_AGAIN_MS = 50,
    IDLE_MIN_MS = 5,         /* the pause between rounds grows from here … */
    IDLE_MAX_MS = 25,        /* … to here, */
    SLEEPY_AFTER_MS = 10000, /* and when nothing came for so long */
    SLEEPY_MAX_MS = 250,     /* … to here */
    WISHES_MS = 200,         /* how often people's wishes are read, */
    SLEEPY_WISHES_MS = 500,  /* … and when nothing came for long */
    TOUCH_MS = 5000,         /* how often "in step" is written down, */
    SLEEPY_TOUCH_MS = 20000, /* … and when nothing came for long */
    SEQUENCES_MS = 1000,     /* how often sequences are looked at */
    DEFINITIONS_MS = 30000,  /* how often the catalogs are compared with the plan */
    PARKED_MS = 60000,       /* how often parked rows are tried again */
    FUSE_MS = 5000,          /* how often the size of the queue is looked at */
    BACKOFF_BASE_MS = 200,
    BACKOFF_CAP_MS = 5000,
    SAY_AGAIN_MS = 60000, /* the same error is logged again after so long */
    PROBLEMS_SHOWN = 20
};

typedef struct Work {
    const Service *service;
    const EdgeSpec *spec;
    Conn *from;
    Conn *to;
    Plan *plan;
    Edge *edge;
    ConflictFilter conflicts;
    ApplyFilter filter;
    Wishes wishes;
    const char *state;     /* as it was last written down */
    const char *print[2];  /* definitions of from and to when the plan was made */
    int64_t parked_ms;     /* when parked rows were last tried again */
    int64_t last_round_ms; /* when a round was last made */
    int64_t busy_ms;       /* when one last found something */
    int64_t wishes_ms, touch_ms, definitions_ms, fuse_ms;
    bool fuse_warned;
    char *looked;            /* edge->looked when the definitions were last compared, */
    int64_t looked_for_kick; /* … and the number of the kick */
} Work;

static bool say_state(Work *w, const char *state, Err *err)
{
    if (w->state == state)
        return true;
    if (!edge_state_set(w->to, w->spec->name, state, NULL, err))
        return false;
    if (strcmp(state, STATE_IN_STEP) == 0 || strcmp(state, STATE_PAUSED) == 0)
        log_info("%s", state);
    if (w->state != NULL || strcmp(state, STATE_STARTING) != 0)
        run_hook(w->spec, w->spec->sync->on_state, "state", state, NULL);
    w->state = state;
    w->touch_ms = clock_ms();
    return true;
}

/* Getting ready */

static bool wait_for_lock(Work *w, Err *err)
{
    AUTO_CTX(tmp, NULL);
    TryEdgeLockRow *lock;
    EdgeLockHolderRow *holder;
    size_t n;
    bool said = false;

    for (;;) {
        if (!q_try_edge_lock(tmp, w->to, w->spec->name, &lock, &n, err))
            return false;
        if (lock->locked)
            return true;
        if (!said && q_edge_lock_holder(tmp, w->to, w->spec->name, &holder, &n, err) && n > 0)
            log_info("standing by: another worker has this edge (server process %d, from %s)",
                     holder->pid, holder->client);
        said = true;
        if (err->kind != ERR_NONE || !wait_ms(STANDBY_POLL_MS, err))
            return false;
    }
}

/* whether triggers and foreign keys of the target fire is decided by the file, not by chance */
static bool choose_role(Work *w, Err *err)
{
    bool replica;

    if (w->spec->sync->target_triggers == TRIGGERS_FIRE)
        return true;
    if (!conn_try_replica_role(w->to, &replica, err))
        return false;
    if (replica)
        return true;
    err_set(err, ERR_STATE, "the role may not set session_replication_role in the %s",
            conn_label(w->to));
    return err_hint(err, "Grant it (from PostgreSQL 15 on: GRANT SET ON PARAMETER "
                         "session_replication_role TO …), or let the target's triggers and foreign "
                         "keys fire: target-triggers = fire.");
}

static void add_problem(Str *list, const Work *w, const PlannedTable *t)
{
    if (list->len > 0)
        str_char(list, '\n');
    if (t->line > 0)
        str_fmt(list, "%s:%d: ", w->service->path, t->line);
    str_fmt(list, "%s. %s", t->problem, t->hint);
}

/* before anything is installed, everything has to be right */
static bool refuse_problems(Work *w, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Str *list = str_new(tmp);
    size_t n = 0;

    for (size_t i = 0; i < w->plan->n_missing; i++)
        if (n++ < PROBLEMS_SHOWN)
            add_problem(list, w, &w->plan->missing[i]);
    for (size_t i = 0; i < w->plan->n_tables; i++)
        if (w->plan->tables[i].problem != NULL && n++ < PROBLEMS_SHOWN)
            add_problem(list, w, &w->plan->tables[i]);
    if (n == 0)
        return true;
    err_set(err, ERR_REFUSED, "sync %s cannot begin: %zu problem%s", w->spec->sync->name, n,
            n == 1 ? "" : "s");
    err_detail(err, "%s", list->text);
    return err_hint(err, "Nothing was installed. \"pgtandem validate\" shows all problems.");
}

static const EdgeTablesRow *find_listed(const EdgeTablesRow *rows, size_t n, const Table *table)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(rows[i].table_name, table->name) == 0 &&
            strcmp(rows[i].schema_name, table->schema) == 0)
            return &rows[i];
    return NULL;
}

/* the hub's rows go to the other sources, not the other way round */
static bool is_never_copied(const EdgeSpec *spec)
{
    return spec->sync->onetimecopy == COPY_NO || spec->full || edge_leads_to_hub(spec);
}

static bool put_table(Work *w, const PlannedTable *t, const char *state, const char *reason,
                      Err *err)
{
    return edge_state_table(w->to, w->spec->name, t->src.schema, t->src.name, state, reason,
                            t->captures, err);
}

/*
 * What becomes of one table: stopped, to be copied, or going on. Who was stopped, was not in the sync for
 * a while, or had no triggers for a while, has missed changes.
 */
static bool note_table(Work *w, const PlannedTable *t, const EdgeTablesRow *listed, Err *err)
{
    AUTO_CTX(tmp, NULL);

    if (t->problem != NULL) {
        if (listed != NULL && strcmp(listed->state, "stopped") == 0)
            return true;
        log_warn("table %s is stopped: %s. %s", table_label(tmp, &t->src), t->problem, t->hint);
        return put_table(w, t, "stopped", t->problem, err);
    }
    if (listed == NULL)
        return put_table(w, t, is_never_copied(w->spec) ? "ok" : "new", NULL, err);
    bool missed = strcmp(listed->state, "stopped") == 0 || strcmp(listed->state, "gone") == 0 ||
                  listed->captures != t->captures;
    if (!missed)
        return true;
    log_info("table %s has missed changes: it will be copied anew", table_label(tmp, &t->src));
    return put_table(w, t, "recopy", NULL, err);
}

static bool is_planned(const Plan *plan, const EdgeTablesRow *listed)
{
    for (size_t i = 0; i < plan->n_tables; i++)
        if (strcmp(plan->tables[i].src.name, listed->table_name) == 0 &&
            strcmp(plan->tables[i].src.schema, listed->schema_name) == 0)
            return true;
    return false;
}

/* before any progress is made: changes of what is not in the plan go by */
static bool note_tables(Work *w, Err *err)
{
    AUTO_CTX(tmp, NULL);
    EdgeTablesRow *listed;
    size_t n;

    if (!q_edge_tables(tmp, w->to, w->spec->name, &listed, &n, err))
        return false;
    for (size_t i = 0; i < n; i++)
        if (!is_planned(w->plan, &listed[i]) && strcmp(listed[i].state, "gone") != 0 &&
            !edge_state_table(w->to, w->spec->name, listed[i].schema_name, listed[i].table_name,
                              "gone", "not in the sync", listed[i].captures, err))
            return false;
    for (size_t i = 0; i < w->plan->n_tables; i++) {
        const PlannedTable *t = &w->plan->tables[i];

        if (!note_table(w, t, find_listed(listed, n, &t->src), err))
            return false;
    }
    return true;
}

static int compare_pairs(const void *a, const void *b)
{
    const TablePair *x = a, *y = b;

    return (x->src->id > y->src->id) - (x->src->id < y->src->id);
}

static void make_edge(Work *w)
{
    Edge *edge = mem_new(w->plan, Edge);
    edge->name = w->spec->name;
    edge->from = w->from;
    edge->to = w->to;
    edge->service = true;
    edge->window =
        (Window){.own_only = !w->spec->sync->cascade,
                 .but = w->spec->mine,
                 .back = w->spec->back,
                 .timed = w->spec->back != NULL,
                 .skipping = w->spec->back != NULL && w->spec->sync->conflict == CONFLICT_SKIP};
    edge->before_sql = w->spec->sync->before_round;
    edge->after_sql = w->spec->sync->after_round;
    edge->pairs = mem_array(edge, TablePair, w->plan->n_tables + 1);
    for (size_t i = 0; i < w->plan->n_tables; i++)
        if (w->plan->tables[i].problem == NULL) {
            edge->pairs[edge->n_pairs] = w->plan->tables[i].pair;
            edge->pairs[edge->n_pairs++].timed = w->spec->back != NULL;
        }
    qsort(edge->pairs, edge->n_pairs, sizeof *edge->pairs, compare_pairs);
    w->conflicts = (ConflictFilter){
        .spec = w->spec, .from = w->from, .pairs = edge->pairs, .n_pairs = edge->n_pairs};
    w->filter = (ApplyFilter){.arg = &w->conflicts,
                              .run = conflict_filter,
                              .refused = violation_refused,
                              .end = violation_end,
                              .exact = w->spec->back != NULL};
    edge->filter = &w->filter;
    edge->sequences = mem_array(edge, SequenceState, w->plan->n_sequences + 1);
    for (size_t i = 0; i < w->plan->n_sequences; i++)
        edge->sequences[edge->n_sequences++].sequence = w->plan->sequences[i];
    w->edge = edge;
}

static bool read_print(const void *ctx, Conn *conn, const char **ret_print, Err *err)
{
    DefinitionsPrintRow *row;
    size_t n;

    if (!q_definitions_print(ctx, conn, &row, &n, err))
        return false;
    *ret_print = row->print;
    return true;
}

/* the edge has never worked: nothing of it is in the databases, or not all */
static bool is_first(Work *w, bool *ret_first, Err *err)
{
    AUTO_CTX(tmp, NULL);
    EdgeRow *row;
    size_t n = 0;
    bool present;

    if (!install_is_present(w->to, &present, err) ||
        (present && !q_edge(tmp, w->to, w->spec->name, &row, &n, err)))
        return false;
    *ret_first = n == 0 || strcmp(row->state, "new") == 0;
    return true;
}

/* what only moves when it is kicked does not move because it was started again */
static bool remember_last_round(Work *w, Err *err)
{
    AUTO_CTX(tmp, NULL);
    ProgressRow *progress;
    size_t n;

    if (w->spec->sync->autokick && !w->spec->full)
        return true;
    if (!q_progress(tmp, w->to, w->spec->name, &progress, &n, err))
        return false;
    if (n == 1 && !progress->age_null)
        w->last_round_ms = clock_ms() - (int64_t)(progress->age * 1000);
    return true;
}

/*
 * Where both sides are sources, changes of the other side have to be recorded, with their times, before
 * any row is carried there: they are what conflicts are found by. Gives the tables of the other side the
 * numbers that they have in its queue.
 */
static bool install_back(Work *w, Err *err)
{
    EdgeSpec back = edge_back(w->spec);
    Plan *plan;

    if (!plan_make(w, &back, w->to, w->from, &plan, err) ||
        !install_source(w->to, &back, plan, err) || !queue_keep_times(w->from, err) ||
        !queue_keep_times(w->to, err))
        return false;
    for (size_t i = 0; i < w->plan->n_tables; i++) {
        PlannedTable *t = &w->plan->tables[i];

        for (size_t b = 0; b < plan->n_tables && t->problem == NULL; b++) {
            const PlannedTable *other = &plan->tables[b];

            if (strcmp(other->src.name, t->dst.name) != 0 ||
                strcmp(other->src.schema, t->dst.schema) != 0)
                continue;
            t->dst.id = other->src.id;
            t->problem = other->problem;
            t->hint = other->hint;
        }
    }
    return true;
}

static bool prepare(Work *w, Err *err)
{
    const void *ctx = w;
    bool first;

    if (!read_print(ctx, w->from, &w->print[0], err) ||
        !read_print(ctx, w->to, &w->print[1], err) ||
        !plan_make(ctx, w->spec, w->from, w->to, &w->plan, err) || !is_first(w, &first, err) ||
        (first && !refuse_problems(w, err)))
        return false;
    if (!install_target(w->to, w->spec, err) ||
        (!w->spec->full && !install_source(w->from, w->spec, w->plan, err)) ||
        (w->spec->back != NULL && !install_back(w, err)))
        return false;
    make_edge(w);
    if (!w->spec->full && !violation_begin(w, &w->conflicts, w->to, err))
        return false;
    w->filter.looks = w->spec->back != NULL || w->conflicts.parked;
    /* the catalogs of both databases are freed: with hundreds of workers that is worth giving back */
    malloc_trim(0);
    return say_state(w, STATE_STARTING, err) && note_tables(w, err) &&
           remember_last_round(w, err) && (w->spec->full || edge_check(w->edge, false, err));
}

/* Copying */

static bool is_empty(Conn *to, const Table *table, bool *ret_empty, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Sql *q = sql_new(tmp);
    Rows *rows;

    sql_add(q, "SELECT NOT EXISTS (SELECT 1 FROM ");
    sql_trusted(q, table_ref(tmp, table));
    sql_add(q, ")");
    if (!conn_query(tmp, to, q, &rows, err))
        return false;
    *ret_empty = rows_bool(rows, 0, 0);
    return true;
}

/* the pair has been copied, or need not be */
static bool put_pair(Work *w, const TablePair *pair, Err *err)
{
    for (size_t i = 0; i < w->plan->n_tables; i++)
        if (pair->src == &w->plan->tables[i].src)
            return put_table(w, &w->plan->tables[i], "ok", NULL, err);
    return err_set(err, ERR_BUG, "a pair that is not in the plan");
}

/*
 * The locks come before the snapshot: a snapshot that has to wait for a table which is being rewritten
 * would find it empty.
 */
static bool begin_copy(Work *w, const TablePair *pairs, size_t n, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Sql *locks = sql_new(tmp);

    for (size_t i = 0; i < n; i++) {
        sql_trusted(locks, i == 0 ? "LOCK TABLE " : ", ");
        sql_trusted(locks, table_ref(tmp, pairs[i].src));
    }
    sql_add(locks, " IN ACCESS SHARE MODE");
    return conn_do(w->from, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", err) &&
           (n == 0 || conn_exec(w->from, locks, err)) && edge_begin_apply(w->edge, err);
}

static bool end_copy(Work *w, bool ok, Err *err)
{
    ok = ok && conn_do(w->to, "COMMIT", err);
    conn_rollback(w->from);
    if (!ok)
        conn_rollback(w->to);
    return ok;
}

/*
 * Replaces all rows of one table, in one transaction. Its changes are captured since before, and the
 * next round carries all of them once more, in a later snapshot.
 */
static bool copy_table(Work *w, TablePair *pair, Err *err)
{
    AUTO_CTX(tmp, NULL);
    ApplyStats stats = {0};
    int64_t begun = clock_ms();

    bool ok = begin_copy(w, pair, 1, err) && apply_whole_table(pair, w->from, w->to, &stats, err) &&
              fault("service.copied", err) && put_pair(w, pair, err);
    if (!end_copy(w, ok, err))
        return false;
    log_info("table %s copied: %s rows in %s", table_label(tmp, pair->src),
             str_count(tmp, stats.rows), str_duration(tmp, clock_ms() - begun));
    return true;
}

static bool settle_new_table(Work *w, TablePair *pair, bool recopy, Err *err)
{
    AUTO_CTX(tmp, NULL);
    bool empty = true;

    if (!recopy && w->spec->sync->onetimecopy == COPY_IF_EMPTY &&
        !is_empty(w->to, pair->dst, &empty, err))
        return false;
    if (empty)
        return copy_table(w, pair, err);
    log_info("table %s has rows in the %s and is not copied (onetimecopy = if-empty)",
             table_label(tmp, pair->src), conn_label(w->to));
    return put_pair(w, pair, err);
}

static bool copy_tables(Work *w, Err *err)
{
    AUTO_CTX(tmp, NULL);
    EdgeTablesRow *listed;
    size_t n;

    if (!q_edge_tables(tmp, w->to, w->spec->name, &listed, &n, err))
        return false;
    for (size_t i = 0; i < w->edge->n_pairs; i++) {
        TablePair *pair = &w->edge->pairs[i];
        const EdgeTablesRow *row = find_listed(listed, n, pair->src);
        bool recopy = row != NULL && strcmp(row->state, "recopy") == 0;

        if (row == NULL || (!recopy && strcmp(row->state, "new") != 0))
            continue;
        if (!say_state(w, STATE_COPYING, err) || !settle_new_table(w, pair, recopy, err))
            return false;
    }
    return true;
}

/* a fullcopy target: all tables in one transaction */
static bool copy_everything(Work *w, Err *err)
{
    AUTO_CTX(tmp, NULL);
    ApplyStats stats = {0};
    Sql *q = sql_new(tmp);
    int64_t begun = clock_ms();
    bool ok =
        say_state(w, STATE_COPYING, err) && begin_copy(w, w->edge->pairs, w->edge->n_pairs, err);

    for (size_t i = 0; ok && i < w->edge->n_pairs; i++)
        ok = apply_whole_table(&w->edge->pairs[i], w->from, w->to, &stats, err);
    sql_add(q, "UPDATE pgtandem.progress SET applied_at = clock_timestamp(), rounds = rounds + 1, "
               "rows = rows + ");
    sql_i64(q, stats.rows);
    sql_add(q, " WHERE edge = ");
    sql_text(q, w->spec->name);
    for (size_t i = 0; ok && i < w->edge->n_pairs; i++)
        ok = put_pair(w, &w->edge->pairs[i], err);
    if (!end_copy(w, ok && conn_exec(w->to, q, err), err))
        return false;
    w->wishes.to_copy = 0;
    log_info("%zu tables copied: %s rows in %s", w->edge->n_pairs, str_count(tmp, stats.rows),
             str_duration(tmp, clock_ms() - begun));
    return true;
}

/* Rounds */

static bool is_sleepy(const Work *w)
{
    return clock_ms() - w->busy_ms > SLEEPY_AFTER_MS;
}

static bool is_due(const Work *w)
{
    const Sync *sync = w->spec->sync;

    if (w->wishes.kick_wanted > w->wishes.kick_done)
        return true;
    if (w->spec->full && w->wishes.to_copy > 0)
        return true;
    if (w->last_round_ms == 0 || (sync->autokick && !w->spec->full))
        return true;
    return sync->checktime_ms > 0 && clock_ms() - w->last_round_ms >= sync->checktime_ms;
}

/* a kick tries parked rows again at once */
static bool try_parked(Work *w, Err *err)
{
    int64_t now = clock_ms();

    if (!w->conflicts.parked ||
        (w->wishes.kick_wanted <= w->wishes.kick_done && now - w->parked_ms < PARKED_MS))
        return true;
    w->parked_ms = now;
    return violation_try_again(&w->conflicts, w->edge, err);
}

static bool make_round(Work *w, bool *ret_outdated, Err *err)
{
    RoundStats round = {0};
    size_t moved;
    Edge *edge = w->edge;

    if (w->spec->full) {
        if (!copy_everything(w, err))
            return false;
    } else {
        if (!try_parked(w, err))
            return false;
        if (!edge_round(edge, &round, err)) {
            if (!w->filter.again)
                return false;
            w->filter.again = false;
            err_clear(err);
            return true; /* with a newer snapshot */
        }
        *ret_outdated = round.outdated;
        if (round.outdated)
            return true;
        if (!edge_purge(edge, err))
            return false;
    }
    if (round.changes > 0)
        w->busy_ms = clock_ms();
    if ((w->spec->full || clock_ms() - edge->sequences_ms > SEQUENCES_MS) &&
        !edge_sequences(edge, &moved, err))
        return false;
    /* what was kicked for before the round is in it */
    if (w->wishes.kick_wanted > w->wishes.kick_done) {
        if (!edge_sequences(edge, &moved, err) ||
            !edge_state_kick_done(w->to, w->spec->name, w->wishes.kick_wanted, err))
            return false;
        w->wishes.kick_done = w->wishes.kick_wanted;
    }
    w->last_round_ms = clock_ms();
    if (round.ms > SEQUENCES_MS)
        return true; /* far behind, or at least not in step */
    if (clock_ms() - w->touch_ms > (is_sleepy(w) ? SLEEPY_TOUCH_MS : TOUCH_MS)) {
        w->touch_ms = clock_ms();
        if (w->state != NULL && strcmp(w->state, STATE_IN_STEP) == 0 &&
            !edge_state_touch(w->to, w->spec->name, err))
            return false;
    }
    return say_state(w, w->spec->full || !w->spec->sync->autokick ? STATE_WAITING : STATE_IN_STEP,
                     err);
}

static bool has_stopped_tables(const Work *w)
{
    for (size_t i = 0; i < w->plan->n_tables; i++)
        if (w->plan->tables[i].problem != NULL)
            return true;
    return false;
}

/*
 * Whether the plan is out of date. As long as nobody has written on the source, no definition has changed
 * there; and what changes on the target matters only where something is missing.
 */
static bool look_at_definitions(Work *w, bool kicked, bool *ret_again, Err *err)
{
    AUTO_CTX(tmp, NULL);
    const char *print;
    const char *looked = w->edge->looked;
    bool quiet = !kicked && looked != NULL && w->looked != NULL && strcmp(looked, w->looked) == 0;

    if (!quiet) {
        talloc_free(w->looked);
        w->looked = looked == NULL ? NULL : mem_strdup(w, looked);
        if (!read_print(tmp, w->from, &print, err))
            return false;
        *ret_again = *ret_again || strcmp(print, w->print[0]) != 0;
    }
    if (has_stopped_tables(w)) {
        if (!read_print(tmp, w->to, &print, err))
            return false;
        *ret_again = *ret_again || strcmp(print, w->print[1]) != 0;
    }
    return true;
}

/* wishes, the catalogs, the fuse; *ret_again: the plan has to be made anew */
static bool look_around(Work *w, bool *ret_again, Err *err)
{
    AUTO_CTX(tmp, NULL);
    int64_t now = clock_ms();
    size_t n;

    if (now - w->wishes_ms >= (is_sleepy(w) ? SLEEPY_WISHES_MS : WISHES_MS)) {
        w->wishes_ms = now;
        if (!edge_state_wishes(w->to, w->spec->name, &w->wishes, err))
            return false;
        *ret_again = w->wishes.to_copy > 0 && !w->spec->full;
    }
    /* who kicks wants to hear of everything, also of tables that have just been made */
    bool kicked = w->wishes.kick_wanted > w->looked_for_kick;
    if (kicked || now - w->definitions_ms >= DEFINITIONS_MS) {
        w->definitions_ms = now;
        w->looked_for_kick = w->wishes.kick_wanted;
        if (!look_at_definitions(w, kicked, ret_again, err))
            return false;
    }
    if (now - w->fuse_ms >= FUSE_MS && !w->spec->full) {
        ConsumerRow *consumer;

        w->fuse_ms = now;
        if (!conflict_expire(w->from, w->to, w->spec, err))
            return false;
        if (!fuse_check(w->from, w->spec->from, &w->fuse_warned, err) ||
            !q_consumer(tmp, w->from, w->spec->name, &consumer, &n, err))
            return false;
        if (n != 1 || consumer->detached)
            *ret_again = true; /* edge_check() tells why */
    }
    return true;
}

static int64_t next_pause(const Work *w, int64_t pause)
{
    int64_t now = clock_ms();
    int64_t cap = is_sleepy(w) ? SLEEPY_MAX_MS : IDLE_MAX_MS;

    if (now - w->busy_ms < IDLE_MIN_MS)
        return IDLE_MIN_MS;
    return pause * 2 > cap ? cap : pause * 2;
}

/* the service is told to remove the sync: hands off, until this process is ended */
static bool let_go(Work *w, Err *err)
{
    log_info("%s is being removed", w->spec->name);
    talloc_free(w->to);
    talloc_free(w->from);
    w->to = w->from = NULL;
    for (;;)
        if (!wait_ms(1000, err))
            return false;
}

static void reopen_log(const Work *w)
{
    if (wait_reload_wanted())
        open_log(w->service);
}

static bool rounds(Work *w, Err *err)
{
    int64_t pause = IDLE_MIN_MS;
    bool again = false;

    w->busy_ms = w->definitions_ms = clock_ms();
    if (!say_state(w, STATE_CATCHING_UP, err))
        return false;
    for (;;) {
        reopen_log(w);
        if (!look_around(w, &again, err))
            return false;
        if (again)
            return true;
        if (w->wishes.removing)
            return let_go(w, err);
        if (w->wishes.paused) {
            if (!say_state(w, STATE_PAUSED, err) || !wait_ms(WISHES_MS, err))
                return false;
            continue;
        }
        if (is_due(w)) {
            if (!make_round(w, &again, err))
                return false;
            if (again)
                return true;
        } else if (!say_state(w, STATE_WAITING, err)) {
            return false;
        }
        pause = next_pause(w, pause);
        if (!wait_ms(pause, err))
            return false;
    }
}

/* one turn with one set of connections; true: make the plan anew */
static bool turn(const void *ctx, const Service *service, const EdgeSpec *spec, Err *err)
{
    Work *w = mem_new(ctx, Work);
    AUTO_CTX(purpose, NULL);

    w->service = service;
    w->spec = spec;
    w->to = service_connect(w, spec->to, mem_printf(purpose, "edge %s", spec->name), err);
    if (w->to == NULL || !wait_for_lock(w, err))
        return false;
    w->from = service_connect(w, spec->from, mem_printf(purpose, "edge %s", spec->name), err);
    return w->from != NULL && choose_role(w, err) && prepare(w, err) &&
           (w->spec->full || copy_tables(w, err)) && rounds(w, err);
}

/* our own session that had the lock has just ended; the server may need a moment to notice */
static bool take_lock_again(Conn *to, const EdgeSpec *spec, bool *ret_locked, Err *err)
{
    AUTO_CTX(tmp, NULL);
    TryEdgeLockRow *lock;
    size_t n;

    for (int tries = 0; tries < LOCK_AGAIN_TRIES; tries++) {
        if (!q_try_edge_lock(tmp, to, spec->name, &lock, &n, err))
            return false;
        *ret_locked = lock->locked;
        if (lock->locked || !wait_ms(LOCK_AGAIN_MS, err))
            return lock->locked;
    }
    return true;
}

/*
 * So that status can tell; what cannot be written down is in the log. Not over the head of another
 * worker that has the edge.
 */
static void record_failure(const EdgeSpec *spec, const Err *why)
{
    AUTO_CTX(tmp, NULL);
    Err *err = err_new(tmp);
    bool present = false, locked = false;
    Conn *to = service_connect(tmp, spec->to, "error", err);

    if (to == NULL || !install_is_present(to, &present, err) ||
        (present && (!take_lock_again(to, spec, &locked, err) ||
                     (locked && !edge_state_set(to, spec->name, STATE_FAILED, why, err)))))
        log_debug("the error could not be written down: %s", err->msg);
}

/* the same error again and again is told once a minute */
static void tell(const void *ctx, const EdgeSpec *spec, const Err *err, char **last,
                 int64_t *last_ms, int64_t pause)
{
    if (*last == NULL || strcmp(*last, err->msg) != 0)
        run_hook(spec, spec->sync->on_error, "error", STATE_FAILED, err->msg);
    if (*last != NULL && strcmp(*last, err->msg) == 0 && clock_ms() - *last_ms < SAY_AGAIN_MS)
        return;
    talloc_free(*last);
    *last = mem_strdup(ctx, err->msg);
    *last_ms = clock_ms();
    log_err(LOG_ERROR, err);
    log_info("trying again in %lld ms", (long long)pause);
}

static bool work_for_ever(const void *ctx, const Service *service, const EdgeSpec *spec, Err *err)
{
    int64_t pause = 0, said_ms = 0;
    char *said = NULL;

    for (;;) {
        AUTO_CTX(one, ctx);
        int64_t begun = clock_ms();

        if (turn(one, service, spec, err)) {
            log_info("definitions have changed, or tables are to be copied: looking again");
            continue;
        }
        if (err->kind == ERR_CANCELED || err->kind == ERR_BUG)
            return false;
        talloc_free_children(one); /* the connections, and with them the lock */
        if (clock_ms() - begun > BACKOFF_CAP_MS)
            pause = 0;
        pause = backoff_next(pause, BACKOFF_BASE_MS, BACKOFF_CAP_MS);
        tell(ctx, spec, err, &said, &said_ms, pause);
        record_failure(spec, err);
        fuse_guard_source(spec);
        err_clear(err);
        if (!wait_ms(pause, err))
            return false;
    }
}

bool service_edge(const Service *service, const char *sync, const char *from, const char *to,
                  Err *err)
{
    AUTO_CTX(tmp, NULL);
    const Sync *found = service_sync(service, sync);
    size_t n = 0;
    EdgeSpec *edges = found == NULL ? NULL : edges_of_sync(tmp, found, &n);

    for (size_t i = 0; i < n; i++)
        if (strcmp(edges[i].from->name, from) == 0 && strcmp(edges[i].to->name, to) == 0) {
            wait_set_parent(STDIN_FILENO);
            wait_hup_reloads();
            log_init(log_level(), edges[i].name);
            open_log(service);
            return work_for_ever(tmp, service, &edges[i], err);
        }
    return err_set(err, ERR_USAGE, "there is no edge %s/%s/%s in %s", sync, from, to,
                   service->path);
}
