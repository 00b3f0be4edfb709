/* Getting an edge ready to work: see edge_work.h. */
#include <malloc.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/str.h"
#include "capture/queue.h"
#include "daemon/edge_work.h"
#include "daemon/install.h"
#include "daemon/violation.h"

enum { PROBLEMS_SHOWN = 20 };

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

const EdgeTablesRow *work_find_listed(const EdgeTablesRow *rows, size_t n, const Table *table)
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

bool work_put_table(Work *w, const PlannedTable *t, const char *state, const char *reason, Err *err)
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
        return work_put_table(w, t, "stopped", t->problem, err);
    }
    if (listed == NULL)
        return work_put_table(w, t, is_never_copied(w->spec) ? "ok" : "new", NULL, err);
    bool missed = strcmp(listed->state, "stopped") == 0 || strcmp(listed->state, "gone") == 0 ||
                  listed->captures != t->captures || listed->rel != t->src.oid ||
                  listed->target_rel != t->dst.oid;
    if (!missed)
        return true;
    log_info("table %s has missed changes: it will be copied anew", table_label(tmp, &t->src));
    return work_put_table(w, t, "recopy", NULL, err);
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
            const EdgeTablesRow *holder = table == NULL ? NULL : work_find_listed(listed, n, table);

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

        if (!note_table(w, t, work_find_listed(listed, n, &t->src), err))
            return false;
    }
    return true;
}

static int compare_pairs(const void *a, const void *b)
{
    const TablePair *x = a, *y = b;

    return (x->src->id > y->src->id) - (x->src->id < y->src->id);
}

/* the numbers of the edge's tables in the queue, as Window has them; belongs to the edge */
static char *tabs_of(const Edge *edge)
{
    Str *tabs = str_new(edge);

    str_char(tabs, '{');
    for (size_t i = 0; i < edge->n_pairs; i++)
        str_fmt(tabs, "%s%d,%d", i > 0 ? "," : "", edge->pairs[i].src->id, -edge->pairs[i].src->id);
    str_char(tabs, '}');
    return tabs->text;
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
    edge->window.tabs = tabs_of(edge);
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

bool work_prepare(Work *w, Err *err)
{
    const void *ctx = w;
    bool first;

    if (!plan_make(ctx, w->spec, w->from, w->to, &w->plan, err) || !is_first(w, &first, err) ||
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
    /* only now: what has failed is failed until it gets farther than that, however often it is tried */
    return note_tables(w, err) && remember_last_round(w, err) &&
           (w->spec->full || edge_check(w->edge, false, err)) &&
           work_say_state(w, STATE_STARTING, err);
}
