/* The pool of workers: see pool.h. */
#include "migrate/pool.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "base/child.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/str.h"
#include "base/wait.h"
#include "migrate/talk.h"
#include "pg/sqlstate.h"

enum {
    TICK_MS = 150,
    MAX_DEATHS = 50, /* workers that may die without any job being done in between */
    RETRY_BASE_MS = 200,
    RETRY_CAP_MS = 10000,
    READ_BYTES = 65536
};

typedef struct Worker {
    Child *child;
    bool busy;
    Job job;
    JobResult running;
    Str *input; /* an unfinished line */
} Worker;

typedef struct Pool {
    const Config *config;
    const JobSource *source;
    Worker *workers;
    size_t n_workers;
    Job *again; /* jobs to be done once more */
    size_t n_again;
    int64_t not_before; /* no job starts before, after an error that may pass */
    int64_t pause_ms;
    int deaths;
    Err *failed; /* the first error that ends the pool; kind ERR_NONE while all is well */
} Pool;

static const char *const kind_names[] = {
    [JOB_CHUNK] = "chunk", [JOB_SETTLE] = "settle",   [JOB_ITEM] = "item",
    [JOB_ITEMS] = "items", [JOB_ANALYZE] = "analyze", [JOB_VERIFY] = "verify",
};

const char *job_kind_name(JobKind kind)
{
    return kind_names[kind];
}

bool job_kind_parse(const char *name, JobKind *ret_kind)
{
    for (size_t i = 0; i < sizeof kind_names / sizeof *kind_names; i++)
        if (strcmp(kind_names[i], name) == 0) {
            *ret_kind = (JobKind)i;
            return true;
        }
    return false;
}

/* one line of JSON to the worker; json is released */
static bool send_line(Worker *worker, json_t *json, Err *err)
{
    return talk_send(worker->child->to_fd, json, err);
}

static bool start_worker(Pool *pool, Worker *worker, Err *err)
{
    AUTO_CTX(tmp, NULL);
    static const char *const argv[] = {"/proc/self/exe", "worker", NULL};

    worker->child = child_start(pool->workers, argv, NULL, err);
    if (worker->child == NULL)
        return err_add(err, "while starting a worker");
    worker->busy = false;
    worker->input = str_new(pool->workers);
    /* one that is gone already is noticed by the end of its output */
    (void)!send_line(worker,
                     json_pack("{s:s, s:s, s:I, s:i, s:b}", "source", pool->config->source.conninfo,
                               "target", pool->config->target.conninfo, "chunk_bytes",
                               (json_int_t)pool->config->chunk_bytes, "number",
                               (int)(worker - pool->workers) + 1, "verbose",
                               log_level() == LOG_DEBUG),
                     err_new(tmp));
    return true;
}

static void retry_later(Pool *pool, const Job *job)
{
    mem_push(pool->workers, pool->again, pool->n_again, *job);
    pool->pause_ms = backoff_next(pool->pause_ms, RETRY_BASE_MS, RETRY_CAP_MS);
    pool->not_before = deadline_in(pool->pause_ms);
}

static bool worker_died(Pool *pool, Worker *worker, Err *err)
{
    if (worker->busy)
        retry_later(pool, &worker->job);
    log_warn("a worker process ended unexpectedly; starting another");
    talloc_free(worker->child);
    talloc_free(worker->input);
    *worker = (Worker){0};
    if (++pool->deaths > MAX_DEATHS)
        return err_set(err, ERR_IO, "worker processes keep ending unexpectedly");
    return start_worker(pool, worker, err);
}

/* the worker's job failed: again later, or the end of the pool */
static void job_failed(Pool *pool, Worker *worker, const json_t *error)
{
    AUTO_CTX(tmp, NULL);
    Err *err = err_new(tmp);

    talk_read_error(error, err);
    Remedy remedy = err_remedy(err);
    if (remedy == REMEDY_RETRY || remedy == REMEDY_RECONNECT) {
        log_warn("%s; trying again", err->msg);
        retry_later(pool, &worker->job);
    } else if (err->kind != ERR_CANCELED && pool->failed->kind == ERR_NONE) {
        err_copy(pool->failed, err);
    }
}

static bool handle_line(Pool *pool, Worker *worker, const char *line, Err *err)
{
    json_t *json = json_loads(line, 0, NULL);
    const json_t *error = json_object_get(json, "error");
    bool ok = true;

    if (json == NULL)
        return err_set(err, ERR_BUG, "a worker said \"%.100s\"", line);
    worker->running.rows = json_integer_value(json_object_get(json, "rows"));
    worker->running.bytes = json_integer_value(json_object_get(json, "bytes"));
    if (error != NULL) {
        worker->busy = false;
        job_failed(pool, worker, error);
    } else if (json_is_true(json_object_get(json, "done"))) {
        JobResult result = worker->running;

        result.again = json_is_true(json_object_get(json, "again"));
        result.text = talk_text(json, "text");
        worker->busy = false;
        pool->deaths = 0;
        pool->pause_ms = 0;
        ok = pool->source->done(pool->source->arg, &worker->job, &result, err);
    }
    json_decref(json);
    return ok;
}

static bool read_worker(Pool *pool, Worker *worker, Err *err)
{
    static char buffer[READ_BYTES];
    ssize_t n = read(worker->child->from_fd, buffer, sizeof buffer);

    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return true;
    if (n <= 0)
        return worker_died(pool, worker, err);
    str_bytes(worker->input, buffer, (size_t)n);
    while (worker->child != NULL) {
        AUTO_CTX(tmp, NULL);
        char *line = talk_take_line(tmp, worker->input);

        if (line == NULL)
            break;
        if (!handle_line(pool, worker, line, err))
            return false;
    }
    return true;
}

static bool next_job(Pool *pool, Job *ret_job)
{
    if (pool->failed->kind != ERR_NONE || deadline_left(pool->not_before) > 0)
        return false;
    if (pool->n_again > 0) {
        *ret_job = pool->again[--pool->n_again];
        return true;
    }
    return pool->source->next(pool->source->arg, ret_job);
}

static bool hand_out(Pool *pool, size_t *ret_busy, Err *err)
{
    *ret_busy = 0;
    for (size_t i = 0; i < pool->n_workers; i++) {
        Worker *worker = &pool->workers[i];
        Job job;

        if (!worker->busy && next_job(pool, &job)) {
            if (worker->child == NULL && !start_worker(pool, worker, err))
                return false;
            worker->busy = true;
            worker->job = job;
            worker->running = (JobResult){0};
            AUTO_CTX(tmp, NULL);
            if (!send_line(worker,
                           json_pack("{s:s, s:i, s:i}", "kind", job_kind_name(job.kind), "tab",
                                     job.tab, "no", job.no),
                           err_new(tmp)) &&
                !worker_died(pool, worker, err))
                return false;
        }
        *ret_busy += worker->busy ? 1 : 0;
    }
    return true;
}

static bool run(Pool *pool, Err *err)
{
    struct pollfd fds[64];
    size_t busy, ready;

    for (;;) {
        JobResult running = {0};

        if (!hand_out(pool, &busy, err))
            return false;
        if (busy == 0 && pool->failed->kind != ERR_NONE)
            return err_copy(err, pool->failed);
        if (busy == 0 && pool->n_again == 0 && deadline_left(pool->not_before) <= 0)
            return true;
        for (size_t i = 0; i < pool->n_workers; i++) {
            Worker *worker = &pool->workers[i];

            fds[i] = (struct pollfd){.fd = worker->child == NULL ? -1 : worker->child->from_fd,
                                     .events = POLLIN};
            if (worker->busy) {
                running.rows += worker->running.rows;
                running.bytes += worker->running.bytes;
            }
        }
        if (!wait_fds(fds, pool->n_workers, deadline_in(TICK_MS), &ready, err))
            return false;
        for (size_t i = 0; i < pool->n_workers; i++)
            if (fds[i].revents != 0 && !read_worker(pool, &pool->workers[i], err))
                return false;
        if (pool->source->tick != NULL)
            pool->source->tick(pool->source->arg, &running);
    }
}

bool pool_run(const Config *config, int n_workers, const JobSource *source, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Pool *pool = mem_new(tmp, Pool);

    pool->config = config;
    pool->source = source;
    pool->n_workers = (size_t)n_workers;
    pool->workers = mem_array(pool, Worker, n_workers);
    pool->failed = err_new(pool);
    return run(pool, err);
}
