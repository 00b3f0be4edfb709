/*
 * The command `status`: what the two databases know about the run, as a table or as JSON. Takes no
 * lock and changes nothing.
 */
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/str.h"
#include "base/wait.h"
#include "capture/queue.h"
#include "copy/copy.h"
#include "migrate/commands.h"
#include "migrate/run.h"
#include "migrate/steps.h"
#include "sql/queries.h"

enum { WATCH_MS = 2000 };

typedef struct Status {
    const char
        *state; /* one word: none, copying, following, switched, half-way, aborting, finishing */
    const char *phase;
    const char *writes;     /* the node that takes writes, or "nobody" */
    const char *selection;  /* as options, or "": the whole database */
    const char *rows_moved; /* the same, or "": all rows */
    const char *worker;     /* who works on the run now, or "" */
    int64_t chunks, chunks_done, bytes, bytes_done, tables, queue_bytes, pending, rounds, rows;
    double age_s; /* since the last round that carried something; negative when unknown */
} Status;

static bool read_copy(Run *run, Status *status, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Chunk *chunks;
    TabsRow *tabs;
    size_t n;

    if (!copy_chunks(tmp, run->conn[SIDE_TARGET], 0, &chunks, &n, err))
        return false;
    status->chunks = (int64_t)n;
    for (size_t i = 0; i < n; i++) {
        status->chunks_done += chunks[i].done ? 1 : 0;
        status->bytes += chunks[i].bytes;
        status->bytes_done += chunks[i].done ? chunks[i].bytes : 0;
    }
    if (!q_tabs(tmp, run->conn[SIDE_TARGET], &tabs, &n, err))
        return false;
    status->tables = (int64_t)n;
    return true;
}

static bool read_edge(const void *ctx, Run *run, Status *status, Err *err)
{
    Side from = run_active(run), to = side_other(from);
    ProgressRow *progress;
    Pending *pending;
    const char *snapshot;
    size_t n;

    if (!run->node[from].present || !run->node[to].present)
        return true;
    if (!q_progress(ctx, run->conn[to], EDGE_OF_RUN, &progress, &n, err) ||
        !queue_bytes(run->conn[from], &status->queue_bytes, err) ||
        !queue_begin(ctx, run->conn[from], &(Window){.since = progress->snapshot}, &pending, &n,
                     &snapshot, err))
        return false;
    conn_rollback(run->conn[from]);
    for (size_t i = 0; i < n; i++)
        status->pending += pending[i].changes;
    status->rounds = progress->rounds;
    status->rows = progress->rows;
    status->age_s = progress->age_null ? -1 : progress->age;
    return true;
}

static bool read_status(const void *ctx, Run *run, Status *status, Err *err)
{
    LockHolderRow *holder;
    size_t n;

    *status = (Status){.phase = run->phase,
                       .selection = "",
                       .rows_moved = "",
                       .writes = "source",
                       .worker = "",
                       .age_s = -1,
                       .state = "none"};
    if (!run->node[SIDE_TARGET].present)
        return true;
    status->selection = selection_options(ctx, run->selection);
    status->rows_moved = filters_options(ctx, run->filters);
    status->state = strcmp(run->phase, PHASE_FOLLOWING) == 0 ? "following" : "copying";
    status->writes = run_is_halfway(run) ? "nobody" : side_name(run_active(run));
    if (run_active(run) == SIDE_TARGET)
        status->state = "switched";
    if (run_is_halfway(run))
        status->state = "half-way";
    if (strcmp(run->phase, PHASE_ABORTING) == 0 || strcmp(run->phase, PHASE_FINISHING) == 0)
        status->state = run->phase;
    if (!q_lock_holder(ctx, run->conn[SIDE_TARGET], LOCK_RUN, &holder, &n, err))
        return false;
    if (n > 0)
        status->worker =
            mem_printf(ctx, "%s (server process %d%s%s)", holder->application, holder->pid,
                       holder->client[0] == '\0' ? "" : ", from ", holder->client);
    return read_copy(run, status, err) && read_edge(ctx, run, status, err);
}

static void print_json(const Status *s, bool one_line)
{
    json_t *json = json_pack(
        "{s:s, s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "state", s->state,
        "phase", s->phase, "writes", s->writes, "worker", s->worker, "tables",
        (json_int_t)s->tables, "chunks", (json_int_t)s->chunks, "chunks_done",
        (json_int_t)s->chunks_done, "bytes", (json_int_t)s->bytes, "bytes_done",
        (json_int_t)s->bytes_done, "pending_changes", (json_int_t)s->pending, "queue_bytes",
        (json_int_t)s->queue_bytes, "rounds", (json_int_t)s->rounds, "rows", (json_int_t)s->rows);

    json_object_set_new(json, "selection",
                        s->selection[0] == '\0' ? json_null() : json_string(s->selection));
    json_object_set_new(json, "filters",
                        s->rows_moved[0] == '\0' ? json_null() : json_string(s->rows_moved));
    json_object_set_new(json, "last_round_age_s", s->age_s < 0 ? json_null() : json_real(s->age_s));
    char *text = json_dumps(json, one_line ? JSON_COMPACT : JSON_INDENT(2));
    puts(text == NULL ? "{}" : text);
    free(text);
    json_decref(json);
}

static void print_text(const Status *s)
{
    AUTO_CTX(tmp, NULL);
    const Step *step = step_find(s->phase);

    printf("state            %s\n", s->state);
    if (strcmp(s->state, "none") == 0) {
        printf("                 no run in these databases; \"pgtandem upgrade\" begins one\n");
        return;
    }
    printf("writes go to     %s\n", s->writes);
    if (s->selection[0] != '\0')
        printf("moves only       %s\n", s->selection);
    if (s->rows_moved[0] != '\0')
        printf("moves only rows  %s\n", s->rows_moved);
    if (strcmp(s->state, "half-way") == 0)
        printf("                 a switch stopped between its two commits: run the same command "
               "again to complete\n"
               "                 it, or \"pgtandem upgrade\" to take it back\n");
    if (step != NULL)
        printf("step             %s\n", step->doing);
    printf("worked on by     %s\n",
           s->worker[0] == '\0' ? "nobody: \"pgtandem upgrade\" goes on" : s->worker);
    printf("tables           %s\n", str_count(tmp, s->tables));
    if (s->chunks_done < s->chunks)
        printf("copied           %lld of %lld parts, %s of %s\n", (long long)s->chunks_done,
               (long long)s->chunks, str_bytes_human(tmp, s->bytes_done),
               str_bytes_human(tmp, s->bytes));
    printf("not yet carried  %s changes (queue %s)\n", str_count(tmp, s->pending),
           str_bytes_human(tmp, s->queue_bytes));
    printf("carried          %s rows in %s rounds\n", str_count(tmp, s->rows),
           str_count(tmp, s->rounds));
    if (s->age_s >= 0)
        printf("last round       %s ago\n", str_duration(tmp, (long long)(s->age_s * 1000)));
}

static bool show_once(const Config *config, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Run *run = run_open(tmp, config, RUN_LOCK_NONE, "status", err);
    Status status;

    if (run == NULL || !read_status(tmp, run, &status, err))
        return false;
    if (config->json)
        print_json(&status, config->watch);
    else
        print_text(&status);
    fflush(stdout);
    return true;
}

bool migrate_status(const Config *config, Err *err)
{
    for (;;) {
        if (config->watch && isatty(STDOUT_FILENO))
            fputs("\033[H\033[2J", stdout);
        if (!show_once(config, err))
            return false;
        if (!config->watch)
            return true;
        if (!wait_ms(WATCH_MS, err))
            return false;
    }
}
