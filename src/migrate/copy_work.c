/*
 * The scheduler of the copy: see copy_work.h.
 *
 * Workers get, in this order, indexes of settled tables, tables to settle, pieces. Pieces come from
 * the table with the most left to load for each worker that loads it already: so the longest work
 * starts early, and one table is loaded by several workers only when nothing else is as long.
 *
 * What is done is kept here in memory, but a worker's commits may be lost when the target crashes
 * (worker.c says why). Therefore workers look into the database whether a job may be done, and the
 * work ends only when the database says that nothing is left.
 */
#include "migrate/copy_work.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/str.h"
#include "copy/copy.h"
#include "migrate/items.h"
#include "migrate/pool.h"
#include "sql/queries.h"

/* the target may crash again while the work that was lost is done once more */
enum { MAX_PASSES = 50 };
/* the indexes of a table up to this size are one piece of work */
enum { SMALL_BYTES = 4 * 1024 * 1024 };

typedef enum TableState { TABLE_LOADING, TABLE_SETTLE, TABLE_SETTLED } TableState;

typedef struct CopyTable {
    TableState state;
    Chunk *chunks;
    size_t n_chunks;
    size_t next_chunk; /* those before are given out or done */
    size_t undone;     /* chunks */
    int64_t left;      /* bytes of chunks that are not done */
    int loading;       /* workers that load it now */
    Item **items;      /* indexes to build, constraints first */
    size_t n_items;
    size_t next_item;
    int building;        /* workers that build its indexes now */
    bool building_alone; /* one of them has locked the table */
    int64_t bytes;       /* of the source, for the order: largest first */
} CopyTable;

typedef struct List {
    size_t *tables; /* numbers of tables */
    size_t n;
} List;

typedef struct CopyWork {
    Run *run;
    bool indexes_only;
    CopyTable *tables; /* by number; number 0 stands for items of no table of ours */
    size_t n_tables;   /* highest number; some may be of tables that are gone */
    Item *items;
    size_t n_items;
    List waiting; /* tables of which nothing was given out yet, the smallest first */
    List loading; /* others that have chunks to give out */
    List settle;  /* tables to settle, the last one next */
    List ready;   /* settled tables with items to give out */
    size_t to_build, built;
    int64_t total_bytes;
    int64_t done_bytes;
    int64_t begun_done_bytes;
    int64_t rows;
    int64_t begun_ms;
} CopyWork;

static void list_add(CopyWork *work, List *list, size_t table)
{
    mem_push(work, list->tables, list->n, table);
}

static void list_remove(List *list, size_t at)
{
    memmove(&list->tables[at], &list->tables[at + 1], (list->n - at - 1) * sizeof *list->tables);
    list->n--;
}

static bool more_chunks(CopyTable *table)
{
    while (table->next_chunk < table->n_chunks && table->chunks[table->next_chunk].done)
        table->next_chunk++;
    return table->next_chunk < table->n_chunks;
}

static bool next_chunk(CopyWork *work, Job *ret_job)
{
    int64_t most = -1;
    size_t best = 0;

    for (size_t i = 0; i < work->loading.n; i++) {
        const CopyTable *table = &work->tables[work->loading.tables[i]];
        int64_t share = table->left / (table->loading + 1);

        if (share > most) {
            most = share;
            best = i;
        }
    }
    if (work->waiting.n > 0) {
        size_t largest = work->waiting.tables[work->waiting.n - 1];

        if (work->tables[largest].left > most) {
            work->waiting.n--;
            best = work->loading.n;
            list_add(work, &work->loading, largest);
            most = 0;
        }
    }
    if (most < 0)
        return false;
    size_t t = work->loading.tables[best];
    CopyTable *table = &work->tables[t];
    *ret_job = (Job){.kind = JOB_CHUNK, .tab = (int)t, .no = table->chunks[table->next_chunk++].no};
    table->loading++;
    if (!more_chunks(table))
        list_remove(&work->loading, best);
    return true;
}

static bool next_settle(CopyWork *work, Job *ret_job)
{
    if (work->settle.n == 0)
        return false;
    *ret_job = (Job){.kind = JOB_SETTLE, .tab = (int)work->settle.tables[--work->settle.n]};
    return true;
}

/* a constraint locks its table, so a second worker would only wait */
static bool may_build(const CopyTable *table)
{
    bool alone = strcmp(table->items[table->next_item]->type, "CONSTRAINT") == 0;

    return alone ? table->building == 0 : !table->building_alone;
}

static bool next_item(CopyWork *work, Job *ret_job)
{
    for (size_t i = 0; i < work->ready.n; i++) {
        size_t t = work->ready.tables[i];
        CopyTable *table = &work->tables[t];

        if (t != 0 && !may_build(table))
            continue;
        if (t != 0 && table->next_item == 0 && table->bytes < SMALL_BYTES) {
            *ret_job = (Job){.kind = JOB_ITEMS, .tab = (int)t};
            table->next_item = table->n_items;
            list_remove(&work->ready, i);
            return true;
        }
        const Item *item = table->items[table->next_item++];
        *ret_job = (Job){.kind = JOB_ITEM, .no = item->no, .tab = (int)t};
        table->building++;
        table->building_alone = strcmp(item->type, "CONSTRAINT") == 0;
        if (table->next_item == table->n_items)
            list_remove(&work->ready, i);
        return true;
    }
    return false;
}

static bool copy_next(void *arg, Job *ret_job)
{
    CopyWork *work = arg;

    return next_item(work, ret_job) || next_settle(work, ret_job) || next_chunk(work, ret_job);
}

/* puts a table into the list that fits its state */
static void place_table(CopyWork *work, size_t t)
{
    CopyTable *table = &work->tables[t];

    if (table->state == TABLE_LOADING && table->undone == 0)
        table->state = TABLE_SETTLE;
    if (table->state == TABLE_LOADING && more_chunks(table))
        list_add(work, &work->waiting, t);
    else if (table->state == TABLE_SETTLE)
        list_add(work, &work->settle, t);
    else if (table->state == TABLE_SETTLED && table->next_item < table->n_items)
        list_add(work, &work->ready, t);
}

static void add_chunks(CopyWork *work, CopyTable *table, Chunk *chunks, size_t n)
{
    table->chunks = chunks;
    table->n_chunks = n;
    table->next_chunk = 0;
    for (size_t i = 0; i < n; i++) {
        work->total_bytes += chunks[i].bytes;
        if (chunks[i].done) {
            work->done_bytes += chunks[i].bytes;
        } else {
            table->undone++;
            table->left += chunks[i].bytes;
        }
    }
}

static bool same_files(const CopyTable *table, const Chunk *chunks, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (i >= table->n_chunks || chunks[i].filenode != table->chunks[i].filenode)
            return false;
    return true;
}

/*
 * A worker found chunks that are to be loaded (again): the rows had moved without triggers noticing,
 * and a worker has emptied the copy and planned new chunks; or the target crashed and lost some.
 */
static bool load_again(CopyWork *work, size_t t, Err *err)
{
    CopyTable *table = &work->tables[t];
    Chunk *chunks;
    size_t n;

    if (!copy_chunks(work, work->run->conn[SIDE_TARGET], (int)t, &chunks, &n, err))
        return false;
    if (!same_files(table, chunks, n))
        log_warn("table %s was rewritten while it was copied (VACUUM FULL, CLUSTER, ALTER TABLE?); "
                 "copying it anew",
                 table_label(chunks, edge_find_pair(work->run->edge, (int)t)->src));
    for (size_t i = 0; i < table->n_chunks; i++) {
        work->total_bytes -= table->chunks[i].bytes;
        work->done_bytes -= table->chunks[i].bytes;
    }
    table->state = TABLE_LOADING;
    add_chunks(work, table, chunks, n);
    place_table(work, t);
    return true;
}

static void chunk_done(CopyWork *work, size_t t, int no)
{
    CopyTable *table = &work->tables[t];

    table->loading--;
    for (size_t i = 0; i < table->n_chunks; i++)
        if (table->chunks[i].no == no && !table->chunks[i].done) {
            table->chunks[i].done = true;
            table->undone--;
            table->left -= table->chunks[i].bytes;
            work->done_bytes += table->chunks[i].bytes;
        }
    if (table->undone == 0) {
        table->state = TABLE_SETTLE;
        place_table(work, t);
    }
}

static bool copy_done(void *arg, const Job *job, const JobResult *result, Err *err)
{
    CopyWork *work = arg;
    size_t t = (size_t)job->tab;

    switch (job->kind) {
    case JOB_CHUNK:
        work->rows += result->rows;
        chunk_done(work, t, job->no);
        return true;
    case JOB_SETTLE:
        if (result->again)
            return load_again(work, t, err);
        work->tables[t].state = TABLE_SETTLED;
        place_table(work, t);
        return true;
    case JOB_ITEM:
        work->built++;
        work->tables[t].building--;
        work->tables[t].building_alone = false;
        return true;
    case JOB_ITEMS:
        work->built += work->tables[t].n_items;
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

    if (work->indexes_only || left <= 0) {
        log_progress("indexes: %zu of %zu built", work->built, work->to_build);
        return;
    }
    log_progress("copy: %lld %% of %s, %s rows, %s/s, %s left",
                 (long long)(done * 100 / (work->total_bytes + 1)),
                 str_bytes_human(tmp, work->total_bytes),
                 str_count(tmp, work->rows + running->rows),
                 str_bytes_human(tmp, ms > 0 ? here * 1000 / ms : 0),
                 here > 0 ? str_duration(tmp, left * ms / here) : "unknown time");
}

static int compare_bytes(const void *a, const void *b, void *arg)
{
    const CopyWork *work = arg;
    size_t x = *(const size_t *)a, y = *(const size_t *)b;
    int64_t p = work->tables[x].bytes, q = work->tables[y].bytes;

    if (p != q)
        return p > q ? 1 : -1;
    return (x < y) - (x > y);
}

static void sort_largest_last(CopyWork *work, const List *list)
{
    if (list->n > 0)
        qsort_r(list->tables, list->n, sizeof *list->tables, compare_bytes, work);
}

static bool load_chunks(CopyWork *work, Err *err)
{
    Chunk *chunks;
    size_t n;

    if (!copy_chunks(work, work->run->conn[SIDE_TARGET], 0, &chunks, &n, err))
        return false;
    for (size_t first = 0, end; first < n; first = end) {
        for (end = first; end < n && chunks[end].tab == chunks[first].tab;)
            end++;
        add_chunks(work, &work->tables[chunks[first].tab], &chunks[first], end - first);
    }
    return true;
}

/* pg_dump's order is kept: constraints of a table come before its other indexes */
static bool load_items(CopyWork *work, Err *err)
{
    if (!items_load(work, work->run->conn[SIDE_TARGET], &work->items, &work->n_items, err))
        return false;
    for (size_t i = 0; i < work->n_items; i++) {
        Item *item = &work->items[i];
        CopyTable *table = &work->tables[item->tab];

        if (item->stage != ITEM_INDEX)
            continue;
        work->to_build++;
        if (item->done)
            work->built++;
        else
            mem_push(work, table->items, table->n_items, item);
    }
    return true;
}

/* reads what is done and what is left from the target */
static CopyWork *load_work(const void *ctx, Run *run, bool indexes_only, Err *err)
{
    CopyWork *work = mem_new(ctx, CopyWork);
    SettledRow *settled;
    HighestTabRow *last;
    size_t n_settled;

    work->run = run;
    work->indexes_only = indexes_only;
    work->begun_ms = clock_ms();
    if (!q_highest_tab(work, run->conn[SIDE_TARGET], &last, &n_settled, err))
        return NULL;
    work->n_tables = (size_t)last->id;
    work->tables = mem_array(work, CopyTable, work->n_tables + 1);
    for (size_t i = 0; i < run->n_tables; i++)
        work->tables[run->tables[SIDE_SOURCE][i].id].bytes = run->tables[SIDE_SOURCE][i].bytes;
    if (!load_chunks(work, err) || !load_items(work, err) ||
        !q_settled(work, run->conn[SIDE_TARGET], &settled, &n_settled, err))
        return NULL;
    for (size_t i = 0; i < n_settled; i++)
        work->tables[settled[i].tab].state = TABLE_SETTLED;
    work->begun_done_bytes = work->done_bytes;
    if (indexes_only)
        work->tables[0].state = TABLE_SETTLED;
    for (size_t t = indexes_only ? 0 : 1; t <= work->n_tables; t++)
        place_table(work, t);
    sort_largest_last(work, &work->waiting);
    sort_largest_last(work, &work->settle);
    return work;
}

static bool nothing_left(const CopyWork *work)
{
    return work->waiting.n == 0 && work->settle.n == 0 && work->ready.n == 0;
}

bool copy_work_run(Run *run, bool indexes_only, int64_t *ret_rows, Err *err)
{
    int64_t rows = 0;

    for (int pass = 0; pass < MAX_PASSES; pass++) {
        AUTO_CTX(tmp, NULL);
        CopyWork *work = load_work(tmp, run, indexes_only, err);
        JobSource source = {.arg = work, .next = copy_next, .done = copy_done, .tick = copy_tick};

        if (work == NULL)
            return false;
        if (nothing_left(work)) {
            *ret_rows = rows;
            return true;
        }
        if (pass > 0)
            log_warn("the target has lost what it did last; doing that again");
        bool ok = pool_run(run->config, (int)run->config->jobs, &source, err);
        log_progress_end();
        if (!ok)
            return false;
        rows += work->rows;
    }
    return err_set(err, ERR_STATE, "the target keeps losing what it did last");
}
