/*
 * A worker process: reads jobs from standard input and does them one after the other; see pool.h.
 * It can be run by hand: echo the two lines of JSON into "pgtandem worker".
 */
#include <jansson.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "base/str.h"
#include "base/wait.h"
#include "copy/copy.h"
#include "migrate/commands.h"
#include "migrate/items.h"
#include "migrate/pool.h"
#include "migrate/run.h"
#include "migrate/talk.h"
#include "migrate/verify_report.h"
#include "sql/queries.h"

enum { PROGRESS_MS = 200 };

typedef struct WorkerState {
    Config config;
    Run *run;
    Str *input;
    int64_t said_ms; /* when progress was last reported */
} WorkerState;

static void say(json_t *json)
{
    AUTO_CTX(tmp, NULL);

    (void)!talk_send(STDOUT_FILENO, json, err_new(tmp));
}

static void say_progress(void *arg, const CopyStats *so_far)
{
    WorkerState *state = arg;

    if (clock_ms() - state->said_ms < PROGRESS_MS)
        return;
    state->said_ms = clock_ms();
    say(json_pack("{s:I, s:I}", "rows", (json_int_t)so_far->rows, "bytes",
                  (json_int_t)so_far->bytes));
}

/*
 * Commits on the target need not wait for the disk: they become durable with the next phase, which
 * is recorded only after the parent has seen in the database that nothing is missing. Changes are
 * purged on the source only after rounds, which come later still.
 */
static bool relax_commits(Conn *target, Err *err)
{
    return conn_do(target, "SET synchronous_commit = off", err);
}

/* the connections, kept from job to job and made anew after an error */
static bool connect_run(WorkerState *state, Err *err)
{
    bool replica;

    if (state->run != NULL && !conn_is_broken(state->run->conn[SIDE_SOURCE]) &&
        !conn_is_broken(state->run->conn[SIDE_TARGET]))
        return true;
    talloc_free(state->run);
    state->run = run_open(state, &state->config, RUN_LOCK_NONE, "worker", err);
    if (state->run == NULL)
        return false;
    return conn_try_replica_role(state->run->conn[SIDE_TARGET], &replica, err) &&
           conn_try_replica_role(state->run->conn[SIDE_SOURCE], &replica, err) &&
           relax_commits(state->run->conn[SIDE_TARGET], err);
}

static bool do_chunk(WorkerState *state, const Job *job, JobResult *ret_result, Err *err)
{
    AUTO_CTX(tmp, NULL);
    const Edge *edge = state->run->edge;
    Chunk chunk;
    bool lone;
    CopyStats stats;

    if (!copy_find_chunk(tmp, edge->to, job->tab, job->no, &chunk, &lone, err) ||
        !copy_chunk(edge->from, edge->to, edge_find_pair(edge, job->tab), &chunk, lone,
                    say_progress, state, &stats, err))
        return false;
    ret_result->rows = stats.rows;
    ret_result->bytes = stats.bytes;
    return true;
}

static bool do_settle(WorkerState *state, const Job *job, JobResult *ret_result, Err *err)
{
    Edge *edge = state->run->edge;
    TablePair *pair = edge_find_pair(edge, job->tab);
    bool complete, same;

    /*
     * not complete: a worker before us reset the table and died before it could say so, or the
     * target crashed and lost a chunk
     */
    if (!copy_is_complete(edge->from, edge->to, job->tab, &complete, &same, err))
        return false;
    ret_result->again = !complete || !same;
    if (!same)
        return copy_reset(edge->from, edge->to, pair, state->config.chunk_bytes, err);
    if (!complete)
        return true;
    return edge_settle_table(pair, edge->from, edge->to, err);
}

/* only what reads rows on both sides needs to know the tables: with many of them that takes long */
static bool do_analyze(WorkerState *state, const Job *job, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Conn *target = state->run->conn[SIDE_TARGET];
    TabNameRow *tab;
    size_t n;
    Sql *q = sql_new(tmp);

    if (!q_tab_name(tmp, target, job->tab, &tab, &n, err))
        return false;
    if (n != 1)
        return err_set(err, ERR_BUG, "there is no table number %d", job->tab);
    sql_add(q, "ANALYZE ");
    sql_name(q, tab->schema_name, tab->table_name);
    return conn_exec(target, q, err);
}

static bool load_tables(WorkerState *state, const Job *job, Err *err)
{
    if (state->run->edge == NULL && !run_load_edge(state->run, err))
        return false;
    if (edge_find_pair(state->run->edge, job->tab) == NULL)
        return err_set(err, ERR_BUG, "there is no table number %d", job->tab);
    return true;
}

static bool do_job(WorkerState *state, const void *ctx, const Job *job, JobResult *ret_result,
                   Err *err)
{
    if (!connect_run(state, err))
        return false;
    switch (job->kind) {
    case JOB_CHUNK:
        return load_tables(state, job, err) && do_chunk(state, job, ret_result, err);
    case JOB_SETTLE:
        return load_tables(state, job, err) && do_settle(state, job, ret_result, err);
    case JOB_ITEM:
        return item_build(state->run->conn[SIDE_TARGET], job->no, err);
    case JOB_ITEMS:
        return items_build(state->run->conn[SIDE_TARGET], job->tab, err);
    case JOB_ANALYZE:
        return do_analyze(state, job, err);
    case JOB_VERIFY:
        return load_tables(state, job, err) &&
               verify_compare_json(ctx, edge_find_pair(state->run->edge, job->tab),
                                   state->run->edge->from, state->run->edge->to, &ret_result->text,
                                   err);
    }
    return err_set(err, ERR_BUG, "unknown kind of job");
}

static void say_error(const Err *err)
{
    say(json_pack("{s:o}", "error", talk_error(err)));
}

static bool one_job(WorkerState *state, Err *err)
{
    AUTO_CTX(tmp, NULL);
    char *line;
    Job job = {0};
    JobResult result = {0};

    if (!talk_read_line(tmp, state->input, NO_DEADLINE, &line, err))
        return false;
    json_t *json = json_loads(line, 0, NULL);
    const char *kind = json_string_value(json_object_get(json, "kind"));
    bool known = kind != NULL && job_kind_parse(kind, &job.kind);
    job.tab = (int)json_integer_value(json_object_get(json, "tab"));
    job.no = (int)json_integer_value(json_object_get(json, "no"));
    json_decref(json);
    if (!known)
        return err_set(err, ERR_BUG, "a job that is none: %.200s", line);
    if (!do_job(state, tmp, &job, &result, err)) {
        say_error(err);
        if (err->kind == ERR_CANCELED)
            return false;
        err_clear(err);
        /* whatever the connections are in the middle of: start afresh */
        talloc_free(state->run);
        state->run = NULL;
        return true;
    }
    say(json_pack("{s:b, s:I, s:I, s:b, s:s?}", "done", true, "rows", (json_int_t)result.rows,
                  "bytes", (json_int_t)result.bytes, "again", result.again, "text", result.text));
    return true;
}

bool migrate_worker(Err *err)
{
    AUTO_CTX(tmp, NULL);
    WorkerState *state = mem_new(tmp, WorkerState);
    char *line;

    state->input = str_new(state);
    if (!talk_read_line(state, state->input, NO_DEADLINE, &line, err))
        return false;
    json_t *json = json_loads(line, 0, NULL);
    state->config.chunk_bytes = json_integer_value(json_object_get(json, "chunk_bytes"));
    const char *source = json_string_value(json_object_get(json, "source"));
    const char *target = json_string_value(json_object_get(json, "target"));
    if (source == NULL || target == NULL) {
        json_decref(json);
        err_set(err, ERR_USAGE, "\"pgtandem worker\" is run by other commands");
        return err_hint(err, "It reads its jobs from standard input.");
    }
    state->config.source = (ConnSpec){.conninfo = mem_strdup(state, source), .label = "source"};
    state->config.target = (ConnSpec){.conninfo = mem_strdup(state, target), .label = "target"};
    log_init(json_is_true(json_object_get(json, "verbose")) ? LOG_DEBUG : LOG_INFO,
             mem_printf(state, "worker %lld", json_integer_value(json_object_get(json, "number"))));
    json_decref(json);
    wait_set_parent(STDIN_FILENO);
    while (one_job(state, err))
        continue;
    if (err->kind != ERR_CANCELED)
        return false;
    err_clear(err);
    return true;
}
