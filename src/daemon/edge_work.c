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
#include "conf/conf.h"
#include "daemon/captured.h"
#include "daemon/commands.h"
#include "daemon/conflict.h"
#include "daemon/edge_state.h"
#include "daemon/hook.h"
#include "daemon/install.h"
#include "daemon/owner.h"
#include "daemon/plan.h"
#include "daemon/select.h"
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
    CONSUMER_MS = 5000,      /* how often it is asked whether the edge was detached */
    LET_GO_MS = 2000,        /* a place that is given up can be taken in that time */
    UNWANTED_MS = 1000,      /* how often the file is read again when the edge is not in it */
    BACKOFF_BASE_MS = 200,
    BACKOFF_CAP_MS = 5000,
    SAY_AGAIN_MS = 60000, /* the same error is logged again after so long */
    PROBLEMS_SHOWN = 20
};

typedef struct Work {
    const Service *service;
    const EdgeSpec *spec;
    const char *owner;
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
    int64_t wishes_ms, touch_ms, definitions_ms, consumer_ms;
    char *looked;            /* edge->looked when the definitions were last compared, */
    int64_t looked_for_kick; /* … and the number of the kick */
    bool reloaded;           /* people want to see what they changed */
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
    AUTO_CTX(tmp, NULL);
    const char *hint;
    bool replica;

    if (w->spec->sync->target_triggers == TRIGGERS_FIRE)
        return true;
    if (!conn_try_replica_role(w->to, &replica, err))
        return false;
    if (replica)
        return true;
    if (!plan_role_hint(tmp, w->to, &hint, err))
        return false;
    err_set(err, ERR_STATE, "the role may not set session_replication_role in the %s",
            conn_label(w->to));
    return err_hint(err, "%s", hint);
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
    return edge_state_table(w->to, w->spec->name,
                            &(TableState){.schema = t->src.schema,
                                          .name = t->src.name,
                                          .state = state,
                                          .reason = reason,
                                          .captures = t->captures,
                                          .rel = t->src.oid,
                                          .target_rel = t->dst.oid},
                            err);
}

/*
 * What becomes of one table: stopped, to be copied, or going on. Who was stopped, was not in the sync for
 * a while, had no triggers for a while, or is another table of the same name on either side, has missed changes.
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
                  listed->captures != t->captures || listed->rel != t->src.oid ||
                  listed->target_rel != t->dst.oid;
    if (!missed)
        return true;
    log_info("table %s has missed changes: it will be copied anew", table_label(tmp, &t->src));
    return put_table(w, t, "recopy", NULL, err);
}

/* the name of a listed table is not in the plan (any more) */
static bool is_gone(const Plan *plan, const EdgeTablesRow *listed)
{
    for (size_t i = 0; i < plan->n_tables; i++)
        if (strcmp(plan->tables[i].src.name, listed->table_name) == 0 &&
            strcmp(plan->tables[i].src.schema, listed->schema_name) == 0)
            return false;
    return true;
}

/* the plan's table that has the oid of a listed one, or NULL */
static const Table *table_of(const Plan *plan, const EdgeTablesRow *listed)
{
    for (size_t i = 0; i < plan->n_tables; i++)
        if (listed->rel != 0 && plan->tables[i].src.oid == listed->rel)
            return &plan->tables[i].src;
    return NULL;
}

/*
 * Gives the listed tables the names that they have now. A name that is still another table's becomes free in a
 * later pass, when that one is renamed itself; two that have swapped theirs are copied anew.
 */
static bool rename_listed(Work *w, Err *err)
{
    for (bool again = true; again;) {
        AUTO_CTX(tmp, NULL);
        EdgeTablesRow *listed;
        size_t n;

        again = false;
        if (!q_edge_tables(tmp, w->to, w->spec->name, &listed, &n, err))
            return false;
        for (size_t i = 0; i < n; i++) {
            const Table *table = table_of(w->plan, &listed[i]);
            const EdgeTablesRow *holder = table == NULL ? NULL : find_listed(listed, n, table);

            if (table == NULL || holder == &listed[i] ||
                (holder != NULL && table_of(w->plan, holder) != NULL))
                continue;
            if (!edge_state_rename(w->to, w->spec->name, table->oid, table->schema, table->name,
                                   err))
                return false;
            again = true;
        }
    }
    return true;
}

static bool note_gone(Work *w, const EdgeTablesRow *listed, Err *err)
{
    return strcmp(listed->state, "gone") == 0 ||
           edge_state_table(w->to, w->spec->name,
                            &(TableState){.schema = listed->schema_name,
                                          .name = listed->table_name,
                                          .state = "gone",
                                          .reason = "not in the sync",
                                          .captures = listed->captures},
                            err);
}

/* before any progress is made: changes of what is not in the plan go by */
static bool note_tables(Work *w, Err *err)
{
    AUTO_CTX(tmp, NULL);
    EdgeTablesRow *listed;
    size_t n;

    if (!rename_listed(w, err) || !q_edge_tables(tmp, w->to, w->spec->name, &listed, &n, err))
        return false;
    for (size_t i = 0; i < n; i++)
        if (is_gone(w->plan, &listed[i]) && !note_gone(w, &listed[i], err))
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
    edge->ordered = w->spec->sync->target_triggers == TRIGGERS_FIRE;
    edge->window = edge_window(w->spec);
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
        !install_source(w->to, &back, w->owner, plan, err) || !queue_keep_times(w->from, err) ||
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
    if (!install_target(w->to, w->spec, w->owner, err) ||
        !edge_state_stay(w->to, w->spec->name, err) ||
        (!w->spec->full && !install_source(w->from, w->spec, w->owner, w->plan, err)) ||
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
 * Copies all rows of one table, in one transaction; `empty`: nothing is in the way. Its changes are captured
 * since before, and the next round carries all of them once more, in a later snapshot. Copies nothing when the table
 * has been altered since it was planned, or is meanwhile: a new partition may not be captured yet.
 */
static bool copy_table(Work *w, TablePair *pair, bool empty, bool *ret_outdated, Err *err)
{
    AUTO_CTX(tmp, NULL);
    ApplyStats stats = {0};
    int64_t begun = clock_ms();
    const Pending it = {.tab = pair->src->id};

    bool ok = fault("service.copying", err) && begin_copy(w, pair, 1, err) &&
              edge_is_outdated(w->edge, &it, 1, ret_outdated, err);
    if (ok && !*ret_outdated)
        ok = (empty || apply_empty_table(pair, w->to, err)) &&
             apply_all_rows(pair, w->from, w->to, &stats, err) && fault("service.copied", err) &&
             edge_is_outdated(w->edge, &it, 1, ret_outdated, err);
    if (ok && *ret_outdated) {
        conn_rollback(w->to);
        conn_rollback(w->from);
        return true;
    }
    if (!end_copy(w, ok && put_pair(w, pair, err) && edge_vouch(w->edge, err), err))
        return false;
    log_info("table %s copied: %s rows in %s", table_label(tmp, pair->src),
             str_count(tmp, stats.rows), str_duration(tmp, clock_ms() - begun));
    return true;
}

/* all rows count as changed */
static bool record_all_rows(Work *w, TablePair *pair, Err *err)
{
    AUTO_CTX(tmp, NULL);

    log_info("table %s: all rows are carried once more, and compared as conflicts are",
             table_label(tmp, pair->src));
    return capture_all_rows(w->from, pair->src, err) && fault("service.recorded", err) &&
           put_pair(w, pair, err);
}

/* the next round carries all rows; then its state is written down. Not by the queue, which others read, too. */
static bool carry_whole(Work *w, const TablePair *pair)
{
    AUTO_CTX(tmp, NULL);

    log_info("table %s: all rows are carried once more", table_label(tmp, pair->src));
    mem_push(w->edge, w->edge->whole, w->edge->n_whole, pair->src->id);
    return true;
}

/* a round has carried them */
static bool note_whole(Work *w, Err *err)
{
    const Edge *edge = w->edge;

    for (size_t i = 0; i < edge->n_whole; i++)
        for (size_t p = 0; p < edge->n_pairs; p++)
            if (edge->pairs[p].src->id == edge->whole[i] && !put_pair(w, &edge->pairs[p], err))
                return false;
    w->edge->n_whole = 0;
    return true;
}

/*
 * Between sources no table is replaced by the other's: changes that the other has not heard of would be lost.
 * All rows count as changed, and meet those of the other side as in any round. Where foreign keys act none is
 * replaced either, as they may take rows of other tables along; and a row may refer to one that has come since the
 * other table was copied: both are in the same round.
 */
static bool settle_new_table(Work *w, TablePair *pair, bool recopy, bool *ret_outdated, Err *err)
{
    AUTO_CTX(tmp, NULL);
    bool empty = true;
    bool ask = w->edge->ordered || (!recopy && w->spec->sync->onetimecopy == COPY_IF_EMPTY);

    if (recopy && w->spec->back != NULL)
        return record_all_rows(w, pair, err);
    if (ask && !is_empty(w->to, pair->dst, &empty, err))
        return false;
    if (empty) {
        if (copy_table(w, pair, ask, ret_outdated, err))
            return true;
        /* it was empty, but is not any more: rows that meet here are compared */
        if (ask && w->spec->back != NULL && err_remedy(err) == REMEDY_CONFLICT) {
            err_clear(err);
            return record_all_rows(w, pair, err);
        }
        if (!w->edge->ordered || !err_is(err, SQLSTATE_FOREIGN_KEY))
            return false;
        err_clear(err);
        return carry_whole(w, pair);
    }
    if (recopy || w->spec->sync->onetimecopy == COPY_ALWAYS)
        return carry_whole(w, pair);
    log_info("table %s has rows in the %s and is not copied (onetimecopy = if-empty)",
             table_label(tmp, pair->src), conn_label(w->to));
    return put_pair(w, pair, err);
}

static int compare_ranks(const void *a, const void *b)
{
    const TablePair *const *x = a, *const *y = b;

    if ((*x)->rank != (*y)->rank)
        return (*x)->rank < (*y)->rank ? -1 : 1;
    return compare_pairs(*x, *y);
}

/* all pairs, in the order in which rows may be inserted; belongs to ctx */
static TablePair **pairs_in_order(const void *ctx, const Edge *edge)
{
    TablePair **pairs = mem_array(ctx, TablePair *, edge->n_pairs + 1);

    for (size_t i = 0; i < edge->n_pairs; i++)
        pairs[i] = &edge->pairs[i];
    qsort(pairs, edge->n_pairs, sizeof(TablePair *), compare_ranks);
    return pairs;
}

/* *ret_outdated: the plan has to be made anew */
static bool copy_tables(Work *w, bool *ret_outdated, Err *err)
{
    AUTO_CTX(tmp, NULL);
    EdgeTablesRow *listed;
    size_t n;

    if (!q_edge_tables(tmp, w->to, w->spec->name, &listed, &n, err))
        return false;
    TablePair **pairs = pairs_in_order(tmp, w->edge);
    for (size_t i = 0; i < w->edge->n_pairs; i++) {
        TablePair *pair = pairs[i];
        const EdgeTablesRow *row = find_listed(listed, n, pair->src);
        bool recopy = row != NULL && strcmp(row->state, "recopy") == 0;

        if (row == NULL || (!recopy && strcmp(row->state, "new") != 0))
            continue;
        /* what is wished for in the meantime comes first; the rest is copied later */
        if (!edge_state_wishes(w->to, w->spec->name, &w->wishes, err))
            return false;
        if (w->wishes.paused || w->wishes.removing)
            return true;
        if (!say_state(w, STATE_COPYING, err) ||
            !settle_new_table(w, pair, recopy, ret_outdated, err))
            return false;
        if (*ret_outdated)
            return true;
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

    TablePair **pairs = pairs_in_order(tmp, w->edge);
    for (size_t i = w->edge->n_pairs; ok && i-- > 0;)
        ok = apply_empty_table(pairs[i], w->to, err);
    for (size_t i = 0; ok && i < w->edge->n_pairs; i++)
        ok = apply_all_rows(pairs[i], w->from, w->to, &stats, err);
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
        if (!note_whole(w, err) || !edge_purge(edge, err))
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
 * there, and what changes on the target matters only where something is missing.
 */
static bool look_at_definitions(Work *w, bool asked, bool *ret_again, Err *err)
{
    AUTO_CTX(tmp, NULL);
    const char *print;
    const char *looked = w->edge->looked;
    bool quiet = !asked && looked != NULL && w->looked != NULL && strcmp(looked, w->looked) == 0;

    if (!quiet) {
        talloc_free(w->looked);
        w->looked = looked == NULL ? NULL : mem_strdup(w, looked);
        if (!read_print(tmp, w->from, &print, err))
            return false;
        *ret_again = *ret_again || strcmp(print, w->print[0]) != 0;
        if (!w->spec->full && !*ret_again &&
            !captured_is_incomplete(w->from, w->spec->name, w->plan, ret_again, err))
            return false;
    }
    if (!quiet || has_stopped_tables(w)) {
        if (!read_print(tmp, w->to, &print, err))
            return false;
        *ret_again = *ret_again || strcmp(print, w->print[1]) != 0;
    }
    return true;
}

/* wishes, the catalogs, whether it was detached; *ret_again: the plan has to be made anew */
static bool look_around(Work *w, bool *ret_again, Err *err)
{
    AUTO_CTX(tmp, NULL);
    int64_t now = clock_ms();
    size_t n;

    if (now - w->wishes_ms >= (is_sleepy(w) ? SLEEPY_WISHES_MS : WISHES_MS)) {
        w->wishes_ms = now;
        if (!edge_state_wishes(w->to, w->spec->name, &w->wishes, err))
            return false;
        *ret_again =
            w->wishes.to_copy > (int64_t)w->edge->n_whole && !w->spec->full && !w->wishes.paused;
    }
    /* who kicks or reloads wants to hear of everything, also of tables that have just been made */
    bool asked = w->reloaded || w->wishes.kick_wanted > w->looked_for_kick;
    if (asked || now - w->definitions_ms >= DEFINITIONS_MS) {
        w->definitions_ms = now;
        w->looked_for_kick = w->wishes.kick_wanted;
        w->reloaded = false;
        if (!look_at_definitions(w, asked, ret_again, err))
            return false;
    }
    if (now - w->consumer_ms >= CONSUMER_MS && !w->spec->full) {
        ConsumerRow *consumer;

        w->consumer_ms = now;
        if (!conflict_expire(w->from, w->to, w->spec, err))
            return false;
        if (!q_consumer(tmp, w->from, w->spec->name, &consumer, &n, err))
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

static void disconnect(Work *w)
{
    talloc_free(w->to);
    talloc_free(w->from);
    w->to = w->from = NULL;
}

/* somebody is about to remove the edge: hands off. Who does not take its place in time has given up. */
static bool let_go(Work *w, Err *err)
{
    log_info("%s is being removed", w->spec->name);
    disconnect(w);
    return wait_ms(LET_GO_MS, err);
}

/*
 * Whether the file still has the edge: who removed it has changed the file before the lock was free. A file that
 * cannot be read says nothing.
 */
static bool is_wanted(const Work *w)
{
    AUTO_CTX(tmp, NULL);
    Err *err = err_new(tmp);
    Service *now;
    EdgeSpec spec;

    if (!conf_load(tmp, w->service->path, &now, err)) {
        log_debug("reading the file again: %s", err->msg);
        return true;
    }
    return select_edge(tmp, now, w->spec->name, &spec);
}

/* until this process is ended, as a rule */
static bool wait_until_wanted(Work *w, Err *err)
{
    log_info("%s is not in the file any more", w->spec->name);
    disconnect(w);
    do
        if (!wait_ms(UNWANTED_MS, err))
            return false;
    while (!is_wanted(w));
    return true;
}

/* the file was read again, and nothing in it concerns this edge; but there may be new tables */
static void answer_reload(Work *w)
{
    if (!wait_reload_wanted())
        return;
    open_log(w->service);
    w->reloaded = true;
}

static bool look_again(void)
{
    log_info("definitions have changed, or tables are to be copied: looking again");
    return true;
}

static bool rounds(Work *w, Err *err)
{
    int64_t pause = IDLE_MIN_MS;
    bool again = false;

    w->busy_ms = w->definitions_ms = clock_ms();
    if (!say_state(w, STATE_CATCHING_UP, err))
        return false;
    for (;;) {
        answer_reload(w);
        if (!look_around(w, &again, err))
            return false;
        if (w->wishes.removing)
            return let_go(w, err);
        if (again)
            return look_again();
        if (w->wishes.paused) {
            if (!say_state(w, STATE_PAUSED, err) || !wait_ms(WISHES_MS, err))
                return false;
            continue;
        }
        /* who pauses it again in the midst of a round must not read the word of the pause before */
        if (strcmp(w->state, STATE_PAUSED) == 0 && !say_state(w, STATE_CATCHING_UP, err))
            return false;
        if (is_due(w)) {
            if (!make_round(w, &again, err))
                return false;
            if (again)
                return look_again();
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
    w->owner = owner_of(w, service);
    w->to = service_connect(w, spec->to, mem_printf(purpose, "edge %s", spec->name), err);
    if (w->to == NULL || !wait_for_lock(w, err))
        return false;
    if (!is_wanted(w))
        return wait_until_wanted(w, err);
    w->from = service_connect(w, spec->from, mem_printf(purpose, "edge %s", spec->name), err);
    bool outdated = false;
    return w->from != NULL && choose_role(w, err) && prepare(w, err) &&
           (w->spec->full || copy_tables(w, &outdated, err)) && (outdated || rounds(w, err));
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

        if (turn(one, service, spec, err))
            continue;
        if (err->kind == ERR_CANCELED || err->kind == ERR_BUG)
            return false;
        talloc_free_children(one); /* the connections, and with them the lock */
        if (clock_ms() - begun > BACKOFF_CAP_MS)
            pause = 0;
        pause = backoff_next(pause, BACKOFF_BASE_MS, BACKOFF_CAP_MS);
        tell(ctx, spec, err, &said, &said_ms, pause);
        record_failure(spec, err);
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
