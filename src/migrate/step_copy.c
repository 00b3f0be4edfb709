/*
 * The steps that fill the target: chunks and indexes in parallel, the first consistent rounds,
 * constraints, and what has to be ready before a switch.
 */
#include <string.h>

#include "base/fault.h"
#include "base/log.h"
#include "base/str.h"
#include "copy/copy.h"
#include "migrate/baseline.h"
#include "migrate/config_rows.h"
#include "migrate/copy_work.h"
#include "migrate/ddl.h"
#include "migrate/filtered.h"
#include "migrate/items.h"
#include "migrate/large.h"
#include "migrate/pool.h"
#include "migrate/sleep.h"
#include "migrate/steps.h"
#include "model/scope.h"
#include "sql/queries.h"

/* smaller pieces of a large table are not worth their transaction */
enum { PIECE_MIN_BYTES = 64 * 1024 * 1024 };

/*
 * One worker for each table is best as long as there are enough tables: several get in each other's
 * way, and only what is one piece can be loaded frozen. A table that is so large that the others
 * are done long before it goes to all of them.
 */
static int64_t piece_bytes(const Config *config, int64_t bytes, int64_t total)
{
    int64_t piece = bytes / (2 * config->jobs);

    if (bytes <= 3 * total / config->jobs)
        return config->chunk_bytes;
    if (piece < PIECE_MIN_BYTES)
        piece = PIECE_MIN_BYTES;
    return piece < config->chunk_bytes ? piece : config->chunk_bytes;
}

/* chunks for tables that have none; a table planned before a crash keeps its plan */
static bool plan_chunks(Run *run, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Conn *target = run->conn[SIDE_TARGET];
    Chunk *chunks;
    size_t n;
    HighestTabRow *last;
    const Table *tables = run->tables[SIDE_SOURCE];
    int64_t total = 0;

    if (!q_highest_tab(tmp, target, &last, &n, err) ||
        !copy_chunks(tmp, target, 0, &chunks, &n, err))
        return false;
    bool *planned = mem_array(tmp, bool, (size_t)last->id + 1);
    for (size_t i = 0; i < n; i++)
        planned[chunks[i].tab] = true;
    for (size_t t = 0; t < run->n_tables; t++)
        total += tables[t].bytes;
    if (!conn_do(target, "BEGIN", err))
        return false;
    for (size_t t = 0; t < run->n_tables; t++)
        if (!planned[tables[t].id] && !table_is_config(&tables[t]) &&
            !copy_plan(run->conn[SIDE_SOURCE], target, &tables[t],
                       piece_bytes(run->config, tables[t].bytes, total), err)) {
            conn_rollback(target);
            return false;
        }
    return conn_do(target, "COMMIT", err);
}

bool step_copy(Run *run, Err *err)
{
    AUTO_CTX(tmp, NULL);
    LargeStats large;
    int64_t rows;

    if (!run_load_edge(run, err) || !filtered_check(run, err) || !config_copy(run, err) ||
        !plan_chunks(run, err) || !fault("copy.planned", err) ||
        !copy_work_run(run, false, &rows, err))
        return false;
    log_info("%s rows copied", str_count(tmp, rows));
    if (!large_carry(run->edge, &large, err))
        return false;
    if (large.objects > 0)
        log_info("%s large objects copied", str_count(tmp, large.objects));
    return true;
}

bool step_indexes(Run *run, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Item *items;
    size_t n;
    int64_t rows;

    if ((run->edge == NULL && !run_load_edge(run, err)) || !copy_work_run(run, true, &rows, err) ||
        !items_load(tmp, run->conn[SIDE_TARGET], &items, &n, err))
        return false;
    for (size_t i = 0; i < n; i++)
        if (strcmp(items[i].type, "INDEX ATTACH") == 0 && !items[i].done &&
            !item_build(run->conn[SIDE_TARGET], items[i].no, err))
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
    Conn *target = run->conn[SIDE_TARGET];
    Item *items;
    ForeignKeysRow *keys, *now = NULL;
    size_t n, n_keys, n_now = 0;
    /* where tables have other names on the target, changes are compared when the copy is complete */
    const bool compare = stage == ITEM_FK && !selection_renames(run->selection);

    if (!items_load(tmp, target, &items, &n, err) ||
        !filtered_keys_on_target(tmp, run, &keys, &n_keys, err) ||
        (compare && !q_foreign_keys(tmp, run->conn[SIDE_SOURCE], &now, &n_now, err)))
        return false;
    for (size_t i = 0; i < n; i++) {
        if (items[i].done || items[i].stage != stage)
            continue;
        log_progress("%s %s", items[i].type, items[i].name);
        bool loose = false, there = true;
        if (stage == ITEM_FK && !item_is_one_of(target, items[i].no, keys, n_keys, &loose, err))
            return false;
        if (compare && !item_is_one_of(target, items[i].no, now, n_now, &there, err))
            return false;
        /* it was dropped meanwhile: rows need not fulfil it any more */
        if (!there) {
            if (!item_forget(target, items[i].no, err))
                return false;
            continue;
        }
        bool ok = stage == ITEM_FK && (loose || !run->replica[SIDE_TARGET])
                      ? item_foreign_key_asleep(target, items[i].no, loose, err)
                      : item_build(target, items[i].no, err);
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
           sleep_node(run->conn[SIDE_TARGET], run_selection(run, SIDE_TARGET),
                      run->replica[SIDE_TARGET], &run->awake_told[SIDE_TARGET], err) &&
           catch_up(run, err);
}

/* statistics of all tables, in parallel */
typedef struct AnalyzeWork {
    const Table *tables;
    size_t next;
    size_t n;
} AnalyzeWork;

static bool analyze_next(void *arg, Job *ret_job)
{
    AnalyzeWork *work = arg;

    if (work->next == work->n)
        return false;
    *ret_job = (Job){.kind = JOB_ANALYZE, .tab = work->tables[work->next++].id};
    return true;
}

static bool analyze_done(void *arg, const Job *job, const JobResult *result, Err *err)
{
    (void)arg, (void)job, (void)result, (void)err;
    return true;
}

/*
 * Partitioned tables whose partitions stand for them: nobody else makes statistics of these. Servers that do not
 * know ONLY look at the partitions once more.
 */
static bool analyze_roots(Run *run, Err *err)
{
    Conn *target = run->conn[SIDE_TARGET];
    const Catalog *catalog = run->catalog[SIDE_TARGET];
    const bool only = conn_caps(target)->analyzes_only;

    for (size_t i = 0; i < catalog->n_roots; i++) {
        AUTO_CTX(tmp, NULL);
        const Table *root = &catalog->roots[i];
        Sql *q = sql_new(tmp);

        if (root->in_extension || (!only && root->is_part))
            continue;
        sql_trusted(q, only ? "ANALYZE ONLY " : "ANALYZE ");
        sql_name(q, root->schema, root->name);
        if (!conn_exec(target, q, err))
            return err_add(err, "while analyzing table %s", table_label(tmp, root));
    }
    return true;
}

bool refresh_views(Run *run, Side to, Err *err)
{
    AUTO_CTX(tmp, NULL);
    MaterializedViewsRow *views;
    const Scope *scope;
    size_t n;

    if (!scope_read(tmp, run->conn[side_other(to)], run_selection(run, side_other(to)), &scope,
                    err) ||
        !q_materialized_views(tmp, run->conn[side_other(to)], &views, &n, err))
        return false;
    for (size_t i = 0; i < n; i++) {
        Sql *q = sql_new(tmp);
        const char *schema = views[i].schema_name, *name = views[i].view_name;

        if (!scope_has(scope, schema, name))
            continue;
        run_name_on(run, to, &schema, &name);
        log_progress("materialized view %s.%s", schema, name);
        sql_add(q, "REFRESH MATERIALIZED VIEW ");
        sql_name(q, schema, name);
        sql_add(q, "; ANALYZE ");
        sql_name(q, schema, name);
        if (!conn_exec(run->conn[to], q, err))
            return err_add(err, "while refreshing materialized view %s.%s", schema, name);
    }
    log_progress_end();
    return true;
}

/* the target is closed from now on */
static bool close_large(Conn *conn, Err *err)
{
    if (conn_do(conn, "BEGIN", err) && large_close(conn, err) && conn_do(conn, "COMMIT", err))
        return true;
    conn_rollback(conn);
    return false;
}

bool step_reverse(Run *run, Err *err)
{
    AnalyzeWork work = {0};
    JobSource source = {.arg = &work, .next = analyze_next, .done = analyze_done};

    if (run->edge == NULL && !run_load_edge(run, err))
        return false;
    work.tables = run->tables[SIDE_SOURCE];
    work.n = run->n_tables;
    if (!install_capture(run->conn[SIDE_TARGET], run->catalog[SIDE_TARGET], err) ||
        (run->edge->large && !close_large(run->conn[SIDE_TARGET], err)))
        return false;
    /* pg_dump creates materialized views empty; their queries are planned, too */
    return pool_run(run->config, (int)run->config->jobs, &source, err) && analyze_roots(run, err) &&
           refresh_views(run, SIDE_TARGET, err) && baseline_store(run, SIDE_TARGET, err) &&
           catch_up(run, err) && ddl_after_copy(run, err);
}
