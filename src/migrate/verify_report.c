/* The command `verify`: see verify_report.h. */
#include "migrate/verify_report.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/str.h"
#include "base/wait.h"
#include "capture/queue.h"
#include "migrate/commands.h"
#include "migrate/follow.h"
#include "migrate/pool.h"
#include "migrate/run.h"
#include "migrate/steps.h"
#include "sql/queries.h"
#include "verify/verify.h"

enum {
    COMPARE_DIFFS =
        50000, /* rows of one table that may differ at first, changes on their way among them */
    MAX_DIFFS = 1000,     /* rows of one table that are named as JSON */
    SHOWN_DIFFS = 20,     /* … and shown as text */
    RECHECKS = 60,        /* how often a row that differs is looked at again while it changes */
    KEYLESS_RECHECKS = 3, /* each is a comparison of the whole table */
    RECHECK_PAUSE_MS = 50,
    CAUGHT_UP_MS = 120000, /* how long the process that follows may take to carry what is pending */
    POLL_MS = 20,
    SEQUENCE_TRIES = 3,
    SEQUENCE_WAIT_MS = 1500
};

typedef struct TableReport {
    bool done;
    bool not_followed;   /* no key, and has changes that are not followed: copied under the fence */
    bool keyless_moving; /* no key, and changed while it was compared */
    int64_t src_rows;
    int64_t dst_rows;
    int64_t n_diffs;
    int64_t n_moving; /* rows that changed at every look */
    bool truncated;
    bool keyless_different;
    Diff *diffs;
    size_t n_listed;
} TableReport;

typedef struct Verification {
    Run *run;
    bool own_lock;       /* nobody follows, so the rounds are ours to make */
    TableReport *tables; /* by number - 1 */
    int next;
    size_t n_done;
    const char **sequences; /* names of those that differ */
    size_t n_sequences;
} Verification;

static const char *const diff_names[] = {"missing on the copy", "only on the copy", "different"};

bool verify_compare_json(const void *ctx, const TablePair *pair, Conn *from, Conn *to,
                         const char **ret_json, Err *err)
{
    AUTO_CTX(tmp, NULL);
    VerifyResult r;

    if (!verify_table(tmp, from, to, pair, COMPARE_DIFFS, &r, err))
        return false;
    json_t *diffs = json_array();
    for (size_t i = 0; i < r.n_listed; i++) {
        json_t *key = json_array();

        for (size_t k = 0; r.diffs[i].key != NULL && k < pair->src->n_keys; k++)
            json_array_append_new(key, json_string(r.diffs[i].key[k]));
        json_array_append_new(diffs,
                              json_pack("{s:i, s:o}", "kind", (int)r.diffs[i].kind, "key", key));
    }
    json_t *json =
        json_pack("{s:I, s:I, s:I, s:b, s:b, s:o}", "src_rows", (json_int_t)r.src_rows, "dst_rows",
                  (json_int_t)r.dst_rows, "n_diffs", (json_int_t)r.n_diffs, "truncated",
                  r.truncated, "keyless_different", r.keyless_different, "diffs", diffs);
    char *text = json_dumps(json, JSON_COMPACT);
    *ret_json = mem_strdup(ctx, text == NULL ? "{}" : text);
    free(text);
    json_decref(json);
    return true;
}

static void read_report(const void *ctx, const char *text, size_t n_keys, TableReport *report)
{
    json_t *json = json_loads(text == NULL ? "{}" : text, 0, NULL);
    const json_t *diffs = json_object_get(json, "diffs");

    report->src_rows = json_integer_value(json_object_get(json, "src_rows"));
    report->dst_rows = json_integer_value(json_object_get(json, "dst_rows"));
    report->n_diffs = json_integer_value(json_object_get(json, "n_diffs"));
    report->truncated = json_is_true(json_object_get(json, "truncated"));
    report->keyless_different = json_is_true(json_object_get(json, "keyless_different"));
    report->n_listed = json_array_size(diffs);
    report->diffs = mem_array(ctx, Diff, report->n_listed + 1);
    for (size_t i = 0; i < report->n_listed; i++) {
        const json_t *diff = json_array_get(diffs, i), *key = json_object_get(diff, "key");

        report->diffs[i].kind = (DiffKind)json_integer_value(json_object_get(diff, "kind"));
        if (json_array_size(key) != n_keys || n_keys == 0)
            continue;
        report->diffs[i].key = mem_array(ctx, const char *, n_keys);
        for (size_t k = 0; k < n_keys; k++)
            report->diffs[i].key[k] = mem_strdup(ctx, json_string_value(json_array_get(key, k)));
    }
    report->done = true;
    json_decref(json);
}

static bool verify_next(void *arg, Job *ret_job)
{
    Verification *v = arg;

    /* the nodes' versions of an extension may differ in which rows are whose */
    while ((size_t)v->next <= v->run->n_tables &&
           table_is_config(v->run->edge->pairs[v->next - 1].src)) {
        v->tables[v->next++ - 1].not_followed = true;
        v->n_done++;
    }
    if ((size_t)v->next > v->run->n_tables)
        return false;
    *ret_job = (Job){.kind = JOB_VERIFY, .tab = v->run->edge->pairs[v->next - 1].src->id};
    v->next++;
    return true;
}

static bool verify_done(void *arg, const Job *job, const JobResult *result, Err *err)
{
    Verification *v = arg;
    const TablePair *pair = edge_find_pair(v->run->edge, job->tab);

    (void)err;
    read_report(v, result->text, pair->src->n_keys, &v->tables[pair - v->run->edge->pairs]);
    v->n_done++;
    return true;
}

static void verify_tick(void *arg, const JobResult *running)
{
    const Verification *v = arg;

    (void)running;
    log_progress("verify: %zu of %zu tables compared", v->n_done, v->run->n_tables);
}

/* waits until everything that is committed on `from` now is on `to` */
static bool catch_up(Verification *v, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Edge *edge = v->run->edge;
    int64_t deadline = deadline_in(CAUGHT_UP_MS);
    const char *now;

    /* one round carries it; a round that finds nothing more may never come while others write */
    if (v->own_lock)
        return edge_catch_up(edge, INT64_MAX, NULL, NULL, err);
    if (!queue_snapshot(tmp, edge->from, &now, err))
        return false;
    for (;;) {
        ProgressRow *progress;
        Pending *pending;
        const char *snapshot;
        size_t n;

        if (!q_progress(tmp, edge->to, edge->name, &progress, &n, err))
            return false;
        if (snapshot_xmax(progress->snapshot) >= snapshot_xmax(now))
            return true;
        if (!queue_begin(tmp, edge->from, &(Window){.since = progress->snapshot}, &pending, &n,
                         &snapshot, err))
            return false;
        conn_rollback(edge->from);
        if (n == 0)
            return true;
        if (deadline_left(deadline) == 0)
            return err_set(err, ERR_TIMEOUT,
                           "the pgtandem that follows does not carry what is pending");
        if (!wait_ms(POLL_MS, err))
            return false;
    }
}

/* a key of the table that changed on `from` after what `to` has */
typedef struct InFlight {
    Rows *rows; /* the changed keys as text */
    bool whole; /* the table was truncated: any key may be among them */
    bool all;   /* keys whose text does not tell them apart: any may be among them */
} InFlight;

static bool read_in_flight(const void *ctx, Conn *from, const TablePair *pair, const Window *window,
                           InFlight *ret_in_flight, Err *err)
{
    Sql *q = sql_new(ctx);

    sql_add(q, "SELECT DISTINCT ");
    ret_in_flight->all = false;
    for (size_t k = 0; k < pair->src->n_keys; k++) {
        const Column *column = table_column(pair->src, pair->src->keys[k].name);

        ret_in_flight->all = ret_in_flight->all || (column != NULL && column->is_float);
        if (k > 0)
            sql_add(q, ", ");
        sql_add(q, "d.k");
        sql_number(q, (int64_t)k + 1);
        sql_add(q, "::text");
    }
    sql_add(q, " FROM (");
    /*
     * Like inserts, which are not made distinct by the key's type: 1.0 and 1.00 are one numeric, but
     * a row of the copy has one text.
     */
    sql_splice(
        q, queue_keys(ctx, pair->src, &(Pending){.tab = pair->src->id, .inserts = true}, window));
    sql_add(q, ") d");
    return queue_has_mark(from, pair->src->id, window, &ret_in_flight->whole, err) &&
           conn_query(ctx, from, q, &ret_in_flight->rows, err);
}

static bool is_in_flight(const InFlight *in_flight, const Diff *diff, size_t n_keys)
{
    if (in_flight->whole)
        return true;
    for (size_t r = 0; r < rows_count(in_flight->rows); r++) {
        bool same = true;

        for (size_t k = 0; same && k < n_keys; k++)
            same = strcmp(rows_text(in_flight->rows, r, (int)k), diff->key[k]) == 0;
        if (same || in_flight->all)
            return true;
    }
    return false;
}

/*
 * Looks again at the rows that differ. The copy is read together with its progress P, then the
 * other node, in a snapshot later than P, together with the keys that changed after P: a row
 * without such a change must be the same on both sides. Rows that are changing now are kept for the
 * next look. *ret_decided: none of those is left.
 */
static bool recheck_rows(Verification *v, size_t t, bool *ret_decided, Err *err)
{
    AUTO_CTX(tmp, NULL);
    TableReport *report = &v->tables[t];
    Edge *edge = v->run->edge;
    const TablePair *pair = &edge->pairs[t];
    bool *equal = mem_array(tmp, bool, report->n_listed + 1);
    size_t kept = 0, n;
    ProgressRow *progress;
    ConsumerRow *consumer;
    RewrittenRow *rewritten = NULL;
    InFlight in_flight;

    *ret_decided = true;
    bool ok =
        conn_do(edge->to, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", err) &&
        q_progress(tmp, edge->to, edge->name, &progress, &n, err) &&
        conn_do(edge->from, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", err) &&
        verify_recheck(tmp, edge->from, edge->to, pair, report->diffs, report->n_listed, equal,
                       err) &&
        read_in_flight(tmp, edge->from, pair, &(Window){.since = progress->snapshot}, &in_flight,
                       err) &&
        /* TRUNCATE empties a table for older snapshots, too: ours does not see its mark then */
        q_rewritten(tmp, edge->from, mem_printf(tmp, "{%lld}", (long long)pair->src->oid),
                    &rewritten, &n, err);
    conn_rollback(edge->from);
    conn_rollback(edge->to);
    /* what was purged meanwhile could not be seen among the changes */
    if (!ok || !q_consumer(tmp, edge->from, edge->name, &consumer, &n, err))
        return false;
    bool unknown =
        rewritten->rewritten || snapshot_xmax(consumer->purged) > snapshot_xmax(progress->snapshot);
    for (size_t i = 0; i < report->n_listed; i++) {
        if (equal[i])
            continue;
        bool moving = unknown || is_in_flight(&in_flight, &report->diffs[i], pair->src->n_keys);

        *ret_decided = *ret_decided && !moving;
        report->diffs[kept] = report->diffs[i];
        report->diffs[kept++].moving = moving;
    }
    report->n_listed = kept;
    report->n_diffs = (int64_t)kept;
    return true;
}

static bool recheck_table(Verification *v, size_t t, bool *ret_decided, Err *err)
{
    AUTO_CTX(tmp, NULL);
    TableReport *report = &v->tables[t];
    const Edge *edge = v->run->edge;
    const TablePair *pair = &edge->pairs[t];
    const char *text;
    ProgressRow *progress;
    ConsumerRow *consumer;
    bool changes;
    size_t n;

    if (pair->src->n_keys > 0)
        return recheck_rows(v, t, ret_decided, err);
    /*
     * If nothing of the table came after what the copy had before, both were read in the same state. What was
     * purged meanwhile could not be seen.
     */
    if (!q_progress(tmp, edge->to, edge->name, &progress, &n, err) ||
        !verify_compare_json(tmp, pair, edge->from, edge->to, &text, err) ||
        !queue_has_changes(edge->from, pair->src->id, &(Window){.since = progress->snapshot},
                           &changes, err) ||
        !q_consumer(tmp, edge->from, edge->name, &consumer, &n, err))
        return false;
    read_report(v, text, pair->src->n_keys, report);
    report->keyless_moving =
        changes || snapshot_xmax(consumer->purged) > snapshot_xmax(progress->snapshot);
    *ret_decided = report->n_diffs == 0 || !report->keyless_moving;
    return true;
}

/* rows that change all the time and were never seen at rest are no differences, but told */
static void set_aside_moving(TableReport *report)
{
    size_t kept = 0;

    for (size_t i = 0; i < report->n_listed; i++) {
        if (report->diffs[i].moving)
            report->n_moving++;
        else
            report->diffs[kept++] = report->diffs[i];
    }
    report->n_diffs -= (int64_t)(report->n_listed - kept);
    report->n_listed = kept;
}

static bool recheck(Verification *v, Err *err)
{
    for (size_t t = 0; t < v->run->n_tables; t++) {
        bool decided = v->tables[t].n_diffs == 0;
        RoundStats round;

        if (!decided && !catch_up(v, err))
            return false;
        int limit = v->run->edge->pairs[t].src->n_keys > 0 ? RECHECKS : KEYLESS_RECHECKS;

        for (int tries = 0; !decided && tries < limit; tries++) {
            if (tries > 0 && !wait_ms(RECHECK_PAUSE_MS, err))
                return false;
            if (v->own_lock && !edge_round(v->run->edge, &round, err))
                return false;
            if (!recheck_table(v, t, &decided, err))
                return false;
        }
        set_aside_moving(&v->tables[t]);
    }
    return true;
}

/* tables without key that are not followed are copied under the fence; or they were never seen at rest */
static bool excuse_keyless(Verification *v, Err *err)
{
    AUTO_CTX(tmp, NULL);
    ChangedTable *changed;
    size_t n;

    if (!queue_changed_keyless(tmp, v->run->edge->from, v->run->edge->to, &changed, &n, err))
        return false;
    for (size_t t = 0; t < v->run->n_tables; t++) {
        TableReport *report = &v->tables[t];

        if (!report->keyless_different)
            continue;
        for (size_t i = 0; i < n; i++)
            if (v->run->edge->pairs[t].src->id == changed[i].tab)
                report->not_followed = true;
        if (report->not_followed || report->keyless_moving)
            report->n_diffs = 0;
    }
    return true;
}

typedef struct SequenceValue {
    int64_t last_value;
    bool is_called;
} SequenceValue;

static bool read_sequences(Conn *conn, const Edge *edge, SequenceValue *values, Err *err)
{
    for (size_t i = 0; i < edge->n_sequences; i++) {
        AUTO_CTX(tmp, NULL);
        const SequenceState *state = &edge->sequences[i];
        const Sequence *s = conn == edge->to ? state->copy : state->sequence;
        Sql *q = sql_new(tmp);
        Rows *rows;

        sql_add(q, "SELECT last_value, is_called FROM ");
        sql_name(q, s->schema, s->name);
        if (!conn_query(tmp, conn, q, &rows, err))
            return err_add(err, "while comparing sequence %s.%s", s->schema, s->name);
        values[i] =
            (SequenceValue){.last_value = rows_i64(rows, 0, 0), .is_called = rows_bool(rows, 0, 1)};
    }
    return true;
}

/* the copy's value must be one that the sequence had between two looks at it */
static bool was_between(const SequenceValue *before, const SequenceValue *copy,
                        const SequenceValue *after)
{
    if (before->last_value == after->last_value && before->is_called == after->is_called)
        return copy->last_value == after->last_value && copy->is_called == after->is_called;
    return before->last_value < after->last_value
               ? copy->last_value >= before->last_value && copy->last_value <= after->last_value
               : copy->last_value <= before->last_value && copy->last_value >= after->last_value;
}

static bool compare_sequences(Verification *v, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Edge *edge = v->run->edge;
    SequenceValue *before = mem_array(tmp, SequenceValue, edge->n_sequences + 1);
    SequenceValue *copy = mem_array(tmp, SequenceValue, edge->n_sequences + 1);
    SequenceValue *after = mem_array(tmp, SequenceValue, edge->n_sequences + 1);

    for (int tries = 0; tries < SEQUENCE_TRIES; tries++) {
        size_t moved;

        v->n_sequences = 0;
        if (!read_sequences(edge->from, edge, before, err) ||
            /* they travel about once a second */
            (v->own_lock ? !edge_sequences(edge, &moved, err) : !wait_ms(SEQUENCE_WAIT_MS, err)) ||
            !read_sequences(edge->to, edge, copy, err) ||
            !read_sequences(edge->from, edge, after, err))
            return false;
        for (size_t i = 0; i < edge->n_sequences; i++) {
            const char *name = mem_printf(v, "%s.%s", edge->sequences[i].sequence->schema,
                                          edge->sequences[i].sequence->name);

            if (!was_between(&before[i], &copy[i], &after[i]))
                mem_push(v, v->sequences, v->n_sequences, name);
        }
        if (v->n_sequences == 0)
            return true;
    }
    return true;
}

static void print_json(const Verification *v, int64_t diffs)
{
    json_t *tables = json_array(), *sequences = json_array();

    for (size_t t = 0; t < v->run->n_tables; t++) {
        AUTO_CTX(tmp, NULL);
        const TableReport *r = &v->tables[t];
        const TablePair *pair = &v->run->edge->pairs[t];
        json_t *keys = json_array();

        for (size_t i = 0; i < r->n_listed && i < MAX_DIFFS; i++)
            json_array_append_new(keys, json_pack("{s:s, s:s}", "key",
                                                  verify_key_text(tmp, pair, &r->diffs[i]),
                                                  "difference", diff_names[r->diffs[i].kind]));
        json_array_append_new(
            tables,
            json_pack("{s:s, s:s, s:I, s:I, s:I, s:I, s:b, s:b, s:o}", "schema", pair->src->schema,
                      "table", pair->src->name, "rows", (json_int_t)r->src_rows, "copy_rows",
                      (json_int_t)r->dst_rows, "differences", (json_int_t)r->n_diffs, "moving",
                      (json_int_t)r->n_moving, "truncated", r->truncated, "not_followed",
                      r->not_followed || (r->keyless_different && r->n_diffs == 0), "keys", keys));
    }
    for (size_t i = 0; i < v->n_sequences; i++)
        json_array_append_new(sequences, json_string(v->sequences[i]));
    json_t *json = json_pack("{s:I, s:o, s:o}", "differences", (json_int_t)diffs, "tables", tables,
                             "sequences", sequences);
    char *text = json_dumps(json, JSON_INDENT(2));
    puts(text == NULL ? "{}" : text);
    free(text);
    json_decref(json);
}

/* so much changed between the two looks that not all of it could be told apart from differences */
static bool is_undecided(const TableReport *report)
{
    return report->truncated && report->n_diffs == 0;
}

static void print_table(const Verification *v, size_t t)
{
    AUTO_CTX(tmp, NULL);
    const TableReport *r = &v->tables[t];
    const TablePair *pair = &v->run->edge->pairs[t];
    char *label = table_label(tmp, pair->src);

    if (table_is_config(pair->src))
        printf("%s: not compared: it belongs to an extension; users' rows in it are copied at the "
               "switchover if they changed\n",
               label);
    else if (r->not_followed)
        printf("%s: not compared: it has no key and could not be followed; it is copied at the "
               "switchover\n",
               label);
    else if (r->keyless_different && r->n_diffs == 0)
        printf("%s: not compared: it has no key and changed at every look\n", label);
    if (is_undecided(r))
        printf("%s: too many rows changed while it was compared\n", label);
    if (r->n_moving > 0)
        printf("%s: %s rows changed at every look and could not be compared\n", label,
               str_count(tmp, r->n_moving));
    if (r->n_diffs == 0)
        return;
    if (r->keyless_different) {
        printf("%s: different (%s rows and %s rows; without a key they cannot be named)\n", label,
               str_count(tmp, r->src_rows), str_count(tmp, r->dst_rows));
        return;
    }
    printf("%s: %s%s rows differ\n", label, r->truncated ? "at least " : "",
           str_count(tmp, r->n_diffs));
    for (size_t i = 0; i < r->n_listed && i < SHOWN_DIFFS; i++)
        printf("    %-22s %s\n", diff_names[r->diffs[i].kind],
               verify_key_text(tmp, pair, &r->diffs[i]));
    if (r->n_listed > SHOWN_DIFFS)
        printf("    … (--json names up to %d)\n", MAX_DIFFS);
}

static bool conclude(Verification *v, bool json, Err *err)
{
    AUTO_CTX(tmp, NULL);
    int64_t diffs = (int64_t)v->n_sequences, rows = 0, moving = 0;
    bool at_least = false;
    size_t undecided = 0;

    for (size_t t = 0; t < v->run->n_tables; t++) {
        diffs += v->tables[t].n_diffs;
        rows += v->tables[t].src_rows;
        moving += v->tables[t].n_moving;
        undecided += is_undecided(&v->tables[t]) ? 1 : 0;
        at_least = at_least || (v->tables[t].truncated && v->tables[t].n_diffs > 0);
    }
    if (json) {
        print_json(v, diffs);
    } else {
        for (size_t t = 0; t < v->run->n_tables; t++)
            print_table(v, t);
        for (size_t i = 0; i < v->n_sequences; i++)
            printf("sequence %s: different\n", v->sequences[i]);
        printf("%zu tables, %s rows, %zu sequences compared: %s\n", v->run->n_tables,
               str_count(tmp, rows), v->run->edge->n_sequences,
               diffs == 0
                   ? (undecided == 0 && moving == 0 ? "no differences"
                                                    : "no differences in what could be compared")
                   : mem_printf(tmp, "%s%s differences", at_least ? "at least " : "",
                                str_count(tmp, diffs)));
    }
    fflush(stdout);
    if (diffs == 0 && undecided > 0) {
        err_set(err, ERR_STATE, "%zu table%s could not be compared: too much changes there",
                undecided, undecided == 1 ? "" : "s");
        return err_hint(err, "Verify at a quieter time.");
    }
    if (diffs == 0)
        return true;
    err_set(err, ERR_DIFFERENT, "the two sides differ");
    return err_hint(err, "The node that takes writes is the %s.", conn_label(v->run->edge->from));
}

bool migrate_verify(const Config *config, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Verification *v = mem_new(tmp, Verification);
    JobSource source = {.arg = v, .next = verify_next, .done = verify_done, .tick = verify_tick};

    v->run = run_open(v, config, RUN_LOCK_TRY, "verify", err);
    if (v->run == NULL)
        return false;
    if (!v->run->node[SIDE_SOURCE].present || !v->run->node[SIDE_TARGET].present) {
        err_set(err, ERR_STATE,
                "there is no run in these databases, so there is nothing to compare");
        return err_hint(err, "Begin with \"pgtandem upgrade\".");
    }
    if (strcmp(v->run->phase, PHASE_FOLLOWING) != 0) {
        err_set(err, ERR_STATE, "the copy is not complete yet (phase \"%s\")", v->run->phase);
        return err_hint(err, "Let \"pgtandem upgrade\" run until it says that it is in sync.");
    }
    v->own_lock = v->run->lock != NULL;
    if (!(v->own_lock ? follow_prepare(v->run, err) : run_load_edge(v->run, err)) ||
        !catch_up(v, err))
        return false;
    v->next = 1;
    v->tables = mem_array(v, TableReport, v->run->n_tables + 1);
    bool ok = pool_run(config, (int)config->jobs, &source, err);
    log_progress_end();
    if (!ok || !recheck(v, err) || !excuse_keyless(v, err) || !compare_sequences(v, err))
        return false;
    return conclude(v, config->json, err);
}
