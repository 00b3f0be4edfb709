/*
 * The steps that fill the target: chunks and indexes in parallel, the first consistent rounds,
 * constraints, and what has to be ready before a switch.
 */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "base/str.h"
#include "copy/copy.h"
#include "migrate/baseline.h"
#include "migrate/items.h"
#include "migrate/pool.h"
#include "migrate/sleep.h"
#include "migrate/steps.h"
#include "sql/queries.h"

typedef enum TableState { TABLE_LOADING, TABLE_SETTLE, TABLE_SETTLING, TABLE_SETTLED } TableState;

typedef struct CopyTable {
    TableState state;
    size_t chunks_left;
    int64_t bytes; /* of the source, for the order: largest first */
} CopyTable;

/* the scheduler of the copy: what may start now follows from what is done */
typedef struct CopyWork {
    Run *run;
    Chunk *chunks;
    size_t n_chunks;
    size_t *order; /* indexes of chunks, largest table first */
    size_t next_order;
    bool *chunk_given;
    CopyTable *tables; /* by number - 1 */
    Item *items;
    size_t n_items;
    bool *item_given;
    bool indexes_only; /* the step that builds what does not belong to one table */
    int64_t total_bytes;
    int64_t done_bytes;
    int64_t begun_done_bytes;
    int64_t rows;
    int64_t begun_ms;
} CopyWork;

static bool next_chunk(CopyWork *work, Job *ret_job)
{
    for (; work->next_order < work->n_chunks; work->next_order++) {
        size_t i = work->order[work->next_order];

        if (work->chunks[i].done || work->chunk_given[i])
            continue;
        work->chunk_given[i] = true;
        *ret_job = (Job){.kind = JOB_CHUNK, .tab = work->chunks[i].tab, .no = work->chunks[i].no};
        return true;
    }
    return false;
}

static bool next_settle(CopyWork *work, Job *ret_job)
{
    for (size_t t = 0; t < work->run->n_tables; t++)
        if (work->tables[t].state == TABLE_SETTLE) {
            work->tables[t].state = TABLE_SETTLING;
            *ret_job = (Job){.kind = JOB_SETTLE, .tab = (int)t + 1};
            return true;
        }
    return false;
}

static bool next_item(CopyWork *work, Job *ret_job)
{
    for (size_t i = 0; i < work->n_items; i++) {
        const Item *item = &work->items[i];

        if (item->done || work->item_given[i] || item->stage != ITEM_INDEX)
            continue;
        if (!work->indexes_only &&
            (item->tab == 0 || work->tables[item->tab - 1].state != TABLE_SETTLED))
            continue;
        work->item_given[i] = true;
        *ret_job = (Job){.kind = JOB_ITEM, .no = item->no, .tab = item->tab};
        return true;
    }
    return false;
}

/* what frees other work comes first: indexes of finished tables, then settling, then more chunks */
static bool copy_next(void *arg, Job *ret_job)
{
    CopyWork *work = arg;

    return next_item(work, ret_job) || next_settle(work, ret_job) || next_chunk(work, ret_job);
}

static bool load_chunks(CopyWork *work, Err *err);

/*
 * the rows of a table moved without triggers noticing: a worker has emptied the copy and planned
 * new chunks
 */
static bool copy_anew(CopyWork *work, const Table *table, Err *err)
{
    AUTO_CTX(tmp, NULL);

    log_warn("table %s was rewritten while it was copied (VACUUM FULL, CLUSTER, ALTER TABLE?); "
             "copying it anew",
             table_label(tmp, table));
    return load_chunks(work, err);
}

static bool copy_done(void *arg, const Job *job, const JobResult *result, Err *err)
{
    CopyWork *work = arg;
    CopyTable *table = job->tab > 0 ? &work->tables[job->tab - 1] : NULL;

    switch (job->kind) {
    case JOB_CHUNK:
        for (size_t i = 0; i < work->n_chunks; i++)
            if (work->chunks[i].tab == job->tab && work->chunks[i].no == job->no) {
                work->chunks[i].done = true;
                work->done_bytes += work->chunks[i].bytes;
            }
        work->rows += result->rows;
        if (--table->chunks_left == 0)
            table->state = TABLE_SETTLE;
        return true;
    case JOB_SETTLE:
        if (result->again)
            return copy_anew(work, &work->run->tables[SIDE_SOURCE][job->tab - 1], err);
        table->state = TABLE_SETTLED;
        return true;
    case JOB_ITEM:
        for (size_t i = 0; i < work->n_items; i++)
            if (work->items[i].no == job->no)
                work->items[i].done = true;
        return true;
    case JOB_ANALYZE:
    case JOB_VERIFY:
        return true;
    }
    return true;
}

static void copy_tick(void *arg, const JobResult *running)
{
    AUTO_CTX(tmp, NULL);
    CopyWork *work = arg;
    int64_t done = work->done_bytes + running->bytes, ms = clock_ms() - work->begun_ms;
    int64_t here = done - work->begun_done_bytes, left = work->total_bytes - done;
    size_t built = 0, to_build = 0;

    if (work->indexes_only || left <= 0) {
        for (size_t i = 0; i < work->n_items; i++) {
            to_build += work->items[i].stage == ITEM_INDEX ? 1 : 0;
            built += work->items[i].stage == ITEM_INDEX && work->items[i].done ? 1 : 0;
        }
        log_progress("indexes: %zu of %zu built", built, to_build);
        return;
    }
    log_progress("copy: %lld %% of %s, %s rows, %s/s, %s left",
                 (long long)(done * 100 / (work->total_bytes + 1)),
                 str_bytes_human(tmp, work->total_bytes),
                 str_count(tmp, work->rows + running->rows),
                 str_bytes_human(tmp, ms > 0 ? here * 1000 / ms : 0),
                 here > 0 ? str_duration(tmp, left * ms / here) : "unknown time");
}

/* sort key of load_chunks(): set while sorting, since qsort() has no argument for it */
static const CopyWork *sorting;

static int compare_chunks(const void *a, const void *b)
{
    size_t x = *(const size_t *)a, y = *(const size_t *)b;
    const Chunk *p = &sorting->chunks[x], *q = &sorting->chunks[y];
    int64_t pb = sorting->tables[p->tab - 1].bytes, qb = sorting->tables[q->tab - 1].bytes;

    if (pb != qb)
        return pb < qb ? 1 : -1;
    return (x > y) - (x < y);
}

/* (re)reads the plan from the target and derives the states of the tables */
static bool load_chunks(CopyWork *work, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Run *run = work->run;
    SettledRow *settled;
    size_t n_settled;

    Chunk *old = work->chunks;
    bool *old_given = work->chunk_given;
    size_t n_old = work->n_chunks;

    if (!copy_chunks(work, run->conn[SIDE_TARGET], &work->chunks, &work->n_chunks, err) ||
        !q_settled(tmp, run->conn[SIDE_TARGET], &settled, &n_settled, err))
        return false;
    work->order = mem_array(work, size_t, work->n_chunks + 1);
    work->chunk_given = mem_array(work, bool, work->n_chunks + 1);
    work->next_order = 0;
    work->total_bytes = 0;
    work->done_bytes = 0;
    for (size_t t = 0; t < run->n_tables; t++) {
        TableState was = work->tables[t].state;

        work->tables[t] = (CopyTable){.bytes = run->tables[SIDE_SOURCE][t].bytes};
        /* a settle job that is running is not given out twice */
        work->tables[t].state = was == TABLE_SETTLING ? TABLE_SETTLING : TABLE_LOADING;
    }
    for (size_t i = 0; i < work->n_chunks; i++) {
        CopyTable *table = &work->tables[work->chunks[i].tab - 1];

        /* chunks that a worker has now stay given */
        for (size_t o = 0; o < n_old; o++)
            if (old[o].tab == work->chunks[i].tab && old[o].no == work->chunks[i].no &&
                old[o].filenode == work->chunks[i].filenode)
                work->chunk_given[i] = old_given[o];
        work->order[i] = i;
        work->total_bytes += work->chunks[i].bytes;
        if (work->chunks[i].done)
            work->done_bytes += work->chunks[i].bytes;
        else
            table->chunks_left++;
        if (!work->chunks[i].done && table->state == TABLE_SETTLING)
            table->state = TABLE_LOADING;
    }
    for (size_t t = 0; t < run->n_tables; t++)
        if (work->tables[t].chunks_left == 0 && work->tables[t].state == TABLE_LOADING)
            work->tables[t].state = TABLE_SETTLE;
    for (size_t s = 0; s < n_settled; s++)
        work->tables[settled[s].tab - 1].state = TABLE_SETTLED;
    sorting = work;
    if (work->n_chunks > 0)
        qsort(work->order, work->n_chunks, sizeof *work->order, compare_chunks);
    return true;
}

static CopyWork *new_work(const void *ctx, Run *run, bool indexes_only, Err *err)
{
    CopyWork *work = mem_new(ctx, CopyWork);

    work->run = run;
    work->indexes_only = indexes_only;
    work->begun_ms = clock_ms();
    work->tables = mem_array(work, CopyTable, run->n_tables + 1);
    if (!items_load(work, run->conn[SIDE_TARGET], &work->items, &work->n_items, err) ||
        !load_chunks(work, err))
        return NULL;
    work->item_given = mem_array(work, bool, work->n_items + 1);
    work->begun_done_bytes = work->done_bytes;
    return work;
}

/* chunks for tables that have none; a table planned before a crash keeps its plan */
static bool plan_chunks(Run *run, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Chunk *chunks;
    size_t n;
    bool *planned = mem_array(tmp, bool, run->n_tables + 1);

    if (!copy_chunks(tmp, run->conn[SIDE_TARGET], &chunks, &n, err))
        return false;
    for (size_t i = 0; i < n; i++)
        planned[chunks[i].tab - 1] = true;
    for (size_t t = 0; t < run->n_tables; t++)
        if (!planned[t] && !copy_plan(run->conn[SIDE_SOURCE], run->conn[SIDE_TARGET],
                                      &run->tables[SIDE_SOURCE][t], run->config->chunk_bytes, err))
            return false;
    return true;
}

static bool run_work(CopyWork *work, Err *err)
{
    JobSource source = {.arg = work, .next = copy_next, .done = copy_done, .tick = copy_tick};
    bool ok = pool_run(work->run->config, (int)work->run->config->jobs, &source, err);

    log_progress_end();
    return ok;
}

bool step_copy(Run *run, Err *err)
{
    AUTO_CTX(tmp, NULL);
    CopyWork *work;

    if (!run_load_edge(run, err) || !plan_chunks(run, err) || !fault("copy.planned", err))
        return false;
    work = new_work(tmp, run, false, err);
    if (work == NULL || !run_work(work, err))
        return false;
    log_info("%s rows copied", str_count(tmp, work->rows));
    return true;
}

bool step_indexes(Run *run, Err *err)
{
    AUTO_CTX(tmp, NULL);
    CopyWork *work;

    if (!run_load_edge(run, err))
        return false;
    work = new_work(tmp, run, true, err);
    if (work == NULL || !run_work(work, err))
        return false;
    for (size_t i = 0; i < work->n_items; i++)
        if (strcmp(work->items[i].type, "INDEX ATTACH") == 0 && !work->items[i].done &&
            !item_build(run->conn[SIDE_TARGET], work->items[i].no, err))
            return false;
    /* the key indexes are there now: read them */
    return run_load_edge(run, err);
}

static void show_round(void *arg, const RoundStats *round)
{
    AUTO_CTX(tmp, NULL);

    (void)arg;
    if (round->changes > 0)
        log_progress("catch-up: %s changes of %s rows in %zu tables applied in %s",
                     str_count(tmp, round->changes), str_count(tmp, round->rows), round->tables,
                     str_duration(tmp, round->ms));
}

/* rounds until the backlog is so small that the next one is short */
enum { SMALL_BACKLOG = 2000 };

static bool catch_up(Run *run, Err *err)
{
    bool ok = edge_catch_up(run->edge, SMALL_BACKLOG, show_round, NULL, err);
    size_t moved;

    log_progress_end();
    return ok && edge_sequences(run->edge, &moved, err);
}

bool step_first_rounds(Run *run, Err *err)
{
    return (run->edge != NULL || run_load_edge(run, err)) && catch_up(run, err);
}

static bool build_items(Run *run, ItemStage stage, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Item *items;
    size_t n;

    if (!items_load(tmp, run->conn[SIDE_TARGET], &items, &n, err))
        return false;
    for (size_t i = 0; i < n; i++) {
        if (items[i].done || items[i].stage != stage)
            continue;
        log_progress("%s %s", items[i].type, items[i].name);
        bool ok = stage == ITEM_FK && !run->replica[SIDE_TARGET]
                      ? item_foreign_key_asleep(run->conn[SIDE_TARGET], items[i].no, err)
                      : item_build(run->conn[SIDE_TARGET], items[i].no, err);
        if (!ok)
            return false;
    }
    log_progress_end();
    return true;
}

bool step_constraints(Run *run, Err *err)
{
    if (run->edge == NULL && !run_load_edge(run, err))
        return false;
    return build_items(run, ITEM_FK, err) && build_items(run, ITEM_LATE, err) &&
           sleep_node(run->conn[SIDE_TARGET], run->replica[SIDE_TARGET], err) && catch_up(run, err);
}

/* statistics of all tables, in parallel */
typedef struct AnalyzeWork {
    int next;
    int n;
} AnalyzeWork;

static bool analyze_next(void *arg, Job *ret_job)
{
    AnalyzeWork *work = arg;

    if (work->next > work->n)
        return false;
    *ret_job = (Job){.kind = JOB_ANALYZE, .tab = work->next++};
    return true;
}

static bool analyze_done(void *arg, const Job *job, const JobResult *result, Err *err)
{
    (void)arg, (void)job, (void)result, (void)err;
    return true;
}

bool refresh_views(Run *run, Side to, Err *err)
{
    AUTO_CTX(tmp, NULL);
    MaterializedViewsRow *views;
    size_t n;

    if (!q_materialized_views(tmp, run->conn[side_other(to)], &views, &n, err))
        return false;
    for (size_t i = 0; i < n; i++) {
        Sql *q = sql_new(tmp);

        log_progress("materialized view %s.%s", views[i].schema_name, views[i].view_name);
        sql_add(q, "REFRESH MATERIALIZED VIEW ");
        sql_name(q, views[i].schema_name, views[i].view_name);
        if (!conn_exec(run->conn[to], q, err))
            return err_add(err, "while refreshing materialized view %s.%s", views[i].schema_name,
                           views[i].view_name);
    }
    log_progress_end();
    return true;
}

bool step_reverse(Run *run, Err *err)
{
    AnalyzeWork work = {.next = 1};
    JobSource source = {.arg = &work, .next = analyze_next, .done = analyze_done};

    if (run->edge == NULL && !run_load_edge(run, err))
        return false;
    work.n = (int)run->n_tables;
    if (!install_capture(run->conn[SIDE_TARGET], run->catalog[SIDE_TARGET], err))
        return false;
    /* pg_dump creates materialized views empty */
    return refresh_views(run, SIDE_TARGET, err) &&
           pool_run(run->config, (int)run->config->jobs, &source, err) &&
           baseline_store(run, SIDE_TARGET, err) && catch_up(run, err);
}
