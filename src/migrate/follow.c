/*
 * The command `upgrade` and following: see follow.h.
 *
 * The outer loop reconnects for ever after errors that may pass; all progress is in the databases,
 * so each new turn finds out by itself where it is.
 */
#include "migrate/follow.h"

#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "base/str.h"
#include "base/wait.h"
#include "capture/capture.h"
#include "capture/queue.h"
#include "migrate/commands.h"
#include "migrate/ddl.h"
#include "migrate/filtered.h"
#include "migrate/keyless.h"
#include "migrate/large.h"
#include "migrate/member.h"
#include "migrate/preflight.h"
#include "migrate/sleep.h"
#include "migrate/steps.h"
#include "migrate/switch.h"
#include "pg/sqlstate.h"

enum {
    IDLE_MIN_MS = 5,  /* the pause after a round that found something */
    IDLE_MAX_MS = 25, /* the longest pause when nothing happens: one look at the snapshot each */
    SEQUENCES_EVERY_MS = 1000,
    LARGE_EVERY_MS = 2000,   /* large objects are looked at so often, */
    LARGE_SHARE = 50,        /* but for at most one fiftieth of the time */
    KEYLESS_EVERY_MS = 5000, /* tables without key may have grown */
    HANDOVER_EVERY_MS = 200,
    SCHEMA_EVERY_MS = 2000,  /* how often the schema is looked at for changes */
    SCHEMA_REST = 20,        /* … a look may take this fraction of the time */
    SCHEMA_REST_MS = 10000,  /* … but what changed then is not left alone for longer, */
    SCHEMA_LEFT_MS = 60000,  /* what could not be carried is tried again, at last so often */
    SHAPE_TRIES = 5,         /* … again when it changed while it was looked at */
    REPORT_EVERY_MS = 30000, /* a line in a log; a terminal shows every second */
    REPORT_TTY_MS = 1000,
    CLOSE_ROUND_MS = 300, /* a round of this length is short enough to begin a switch */
    CLOSE_PATIENCE = 20,  /* after so many rounds one within --max-lag will do */
    CLOSE_TRIES = 200,
    RECONNECT_BASE_MS = 200,
    RECONNECT_CAP_MS = 15000
};

typedef struct FollowStats {
    int64_t rows;
    int64_t changes;
    int64_t since_ms;
    int64_t longest_ms;
} FollowStats;

static void report(Run *run, FollowStats *stats)
{
    AUTO_CTX(tmp, NULL);
    int64_t ms = clock_ms() - stats->since_ms;
    int64_t queue = 0;

    if (ms < (isatty(STDERR_FILENO) ? REPORT_TTY_MS : REPORT_EVERY_MS))
        return;
    if (!queue_bytes(run->edge->from, &queue, err_new(tmp)))
        return;
    log_progress("following the %s: %s rows/s, longest round %s, queue %s",
                 conn_label(run->edge->from), str_count(tmp, stats->rows * 1000 / ms),
                 str_duration(tmp, stats->longest_ms), str_bytes_human(tmp, queue));
    *stats = (FollowStats){.since_ms = clock_ms()};
}

bool follow_prepare(Run *run, Err *err)
{
    Side from = run_active(run), to = side_other(from);

    for (int tries = 1;; tries++) {
        AUTO_CTX(tmp, NULL);
        bool moved;

        if (ddl_carry(run, err) &&
            sleep_node(run->conn[to], run_selection(run, to), run->replica[to],
                       &run->awake_told[to], err) &&
            sleep_validate(run->conn[from], err) && run_load_edge(run, err) &&
            filtered_check(run, err))
            return true;
        /* what was read first and what was read last may not fit together */
        if ((err->kind != ERR_STATE && err->kind != ERR_SQL) || tries == SHAPE_TRIES ||
            conn_is_broken(run->conn[from]) || conn_is_broken(run->conn[to]))
            return false;
        conn_rollback(run->conn[from]);
        conn_rollback(run->conn[to]);
        if (!ddl_has_moved(run, &moved, err_new(tmp)) || !moved)
            return false;
        err_clear(err);
    }
}

typedef struct SchemaLook {
    int64_t looked_ms;
    int64_t rest_ms; /* with many tables a look is not cheap */
    int64_t carried_ms;
    int64_t pause_ms; /* until what is left is tried again */
} SchemaLook;

/* after a look that took so long; carrying what was found counts, too */
static int64_t rest_after(int64_t ms)
{
    int64_t longest = ms > SCHEMA_REST_MS ? ms : SCHEMA_REST_MS;

    return ms * SCHEMA_REST < longest ? ms * SCHEMA_REST : longest;
}

/* now and then, and when a round met a table that was altered: at the latest then it is noticed */
static bool follow_ddl(Run *run, bool outdated, SchemaLook *look, Err *err)
{
    bool moved = outdated;

    int64_t begun = clock_ms();

    if (!outdated &&
        (begun - look->looked_ms < SCHEMA_EVERY_MS || begun - look->looked_ms < look->rest_ms))
        return true;
    if (!outdated && !ddl_has_moved(run, &moved, err))
        return false;
    look->looked_ms = clock_ms();
    look->rest_ms = rest_after(look->looked_ms - begun);
    if (moved)
        look->pause_ms = SCHEMA_EVERY_MS;
    else if (!run->ddl_left || clock_ms() - look->carried_ms < look->pause_ms)
        return true;
    else if (look->pause_ms < SCHEMA_LEFT_MS)
        look->pause_ms *= 2;
    if (!follow_prepare(run, err))
        return false;
    look->looked_ms = look->carried_ms = clock_ms();
    look->rest_ms = rest_after(look->looked_ms - begun);
    return true;
}

/* one may have been dropped since the last look */
static bool carry_sequences(Run *run, SchemaLook *look, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Edge *edge = run->edge;
    size_t n;
    bool moved;

    if (clock_ms() - edge->sequences_ms <= SEQUENCES_EVERY_MS || edge_sequences(edge, &n, err))
        return true;
    if (err->kind != ERR_SQL || conn_is_broken(edge->from) || conn_is_broken(edge->to))
        return false;
    conn_rollback(edge->from);
    conn_rollback(edge->to);
    if (!ddl_has_moved(run, &moved, err_new(tmp)) || !moved)
        return false;
    err_clear(err);
    return follow_ddl(run, true, look, err);
}

/* each look reads all pages of the large objects that there are */
static bool carry_large(Edge *edge, Err *err)
{
    LargeStats stats;
    int64_t every = edge->large_took_ms * LARGE_SHARE;

    return clock_ms() - edge->large_ms < (every > LARGE_EVERY_MS ? every : LARGE_EVERY_MS) ||
           large_carry(edge, &stats, err);
}

bool follow(Run *run, bool *ret_handover, Err *err)
{
    FollowStats stats = {.since_ms = clock_ms()};
    int64_t idle = IDLE_MIN_MS, handover_ms = clock_ms(), keyless_ms = 0;
    SchemaLook look = {
        .looked_ms = clock_ms(), .carried_ms = clock_ms(), .pause_ms = SCHEMA_EVERY_MS};
    bool in_step = false;

    *ret_handover = false;
    if (!follow_prepare(run, err))
        return false;
    for (;;) {
        RoundStats round;

        if (!edge_round(run->edge, &round, err) || !edge_purge(run->edge, err) ||
            !follow_ddl(run, round.outdated, &look, err) || !carry_sequences(run, &look, err))
            return false;
        if (!carry_large(run->edge, err))
            return false;
        if (clock_ms() - keyless_ms > KEYLESS_EVERY_MS) {
            if (!keyless_adopt(run->edge, run->config->follow_keyless_bytes, err))
                return false;
            keyless_ms = clock_ms();
        }
        if (!in_step && round.ms < CLOSE_ROUND_MS) {
            in_step = true;
            member_tell(run->config, "following");
            log_info("in sync: the %s follows the %s; Ctrl-C stops, the same command goes on",
                     conn_label(run->edge->to), conn_label(run->edge->from));
        }
        stats.rows += round.rows;
        stats.changes += round.changes;
        if (round.changes > 0 && round.ms > stats.longest_ms)
            stats.longest_ms = round.ms;
        report(run, &stats);
        if (clock_ms() - handover_ms > HANDOVER_EVERY_MS) {
            handover_ms = clock_ms();
            if (!run_handover_wanted(run, ret_handover, err))
                return false;
            if (*ret_handover)
                return run_release_lock(run, err);
        }
        idle = round.changes > 0 ? IDLE_MIN_MS : idle * 2 > IDLE_MAX_MS ? IDLE_MAX_MS : idle * 2;
        if (!wait_ms(idle, err))
            return false;
    }
}

bool follow_until_close(Run *run, Err *err)
{
    return follow_prepare(run, err) && rounds_until_close(run, err);
}

bool rounds_until_close(Run *run, Err *err)
{
    RoundStats round;
    LargeStats large;
    size_t moved;
    bool retried = false;

    if (!large_carry(run->edge, &large, err))
        return false;
    for (int tries = 0; tries < CLOSE_TRIES; tries++) {
        if (!edge_round(run->edge, &round, err) || !edge_purge(run->edge, err))
            return false;
        /* what waited for rows (NOT NULL) can be done now */
        bool again = round.outdated || (run->ddl_left && !retried);
        retried = retried || !round.outdated;
        if (again && !follow_prepare(run, err))
            return false;
        if (again)
            continue;
        if (round.ms <= CLOSE_ROUND_MS ||
            (tries >= CLOSE_PATIENCE && round.ms <= run->config->max_lag_ms))
            return edge_sequences(run->edge, &moved, err);
    }
    err_set(err, ERR_REFUSED, "the %s does not keep up with the %s", conn_label(run->edge->to),
            conn_label(run->edge->from));
    err_detail(err, "The last round took %lld ms for %lld changes.", (long long)round.ms,
               (long long)round.changes);
    return err_hint(err, "Switch at a quieter time. Nothing was changed.");
}

/*
 * our schema on the source was made by the second step, and nothing but the end of a run removes it
 */
static bool refuse_lost_source(Run *run, Err *err)
{
    if (run->node[SIDE_SOURCE].present || !run->node[SIDE_TARGET].present ||
        step_is_before_capture(run->phase))
        return true;
    err_set(err, ERR_STATE, "the target is in a run that the source knows nothing of any more");
    return err_hint(
        err,
        "Was its schema pgtandem dropped? \"pgtandem abort\" removes the copy, and a new run can "
        "begin.");
}

/*
 * The steps until the copy follows. What was altered meanwhile is carried between them as far as it can be then, and
 * when a step fails, which is taken again.
 */
static bool make_copy(Run *run, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Err *of_step = err_new(tmp);
    bool more = strcmp(run->phase, PHASE_FOLLOWING) != 0, ok = true;

    while (ok && more) {
        bool moved = false, carried = true;

        ok = step_is_before_capture(run->phase) ||
             (ddl_has_moved(run, &moved, err) &&
              (!moved || ddl_carry_while_copying(run, &carried, err)));
        if (!ok)
            break;
        ok = steps_advance(run, &more, err);
        if (ok || !ddl_may_be_why(run, err))
            continue;
        err_copy(of_step, err);
        err_clear(err);
        ok = ddl_carry_while_copying(run, &carried, err);
        if (ok && !carried)
            ok = err_copy(err, of_step);
        else if (ok)
            log_debug("once more, as definitions were carried: %s", of_step->msg);
        more = true;
    }
    if (!ok && ddl_may_be_why(run, err))
        ddl_explain(run, err);
    return ok;
}

/*
 * One turn with one set of connections. *ret_again: another command took over for a while.
 * *connected: both nodes were reached at least once.
 */
static bool upgrade_turn(const Config *config, RunLock lock, bool handed_over, bool *connected,
                         bool *ret_again, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Run *run = run_open(tmp, config, lock, "upgrade", err);

    *ret_again = false;
    if (run == NULL)
        return false;
    *connected = true;
    if (handed_over && !run->node[SIDE_TARGET].present) {
        log_info("the run was ended by another command");
        return true;
    }
    if (!steps_refuse_ending(run, err) || !refuse_lost_source(run, err) ||
        (run_is_halfway(run) && !switch_take_back(run, err)))
        return false;
    if (!run->node[SIDE_SOURCE].present && !run_reserve_source(run, lock == RUN_LOCK_WAIT, err))
        return false;
    if (!run->node[SIDE_TARGET].present && !preflight(run, err))
        return false;
    if (!make_copy(run, err))
        return false;
    /* also when the application is there already: it may not have been told */
    if (config->switchover)
        return switch_application(run, SIDE_TARGET, err);
    return follow(run, ret_again, err);
}

bool migrate_upgrade(const Config *config, Err *err)
{
    int64_t pause = 0;
    bool again = true, connected = false, handed_over = false;

    while (again) {
        int64_t begun = clock_ms();
        RunLock lock = connected ? RUN_LOCK_WAIT : RUN_LOCK_TAKE;

        if (upgrade_turn(config, lock, handed_over, &connected, &again, err)) {
            pause = 0;
            if (again) {
                handed_over = true;
                log_info("handing over to another pgtandem command; going on when it is done");
                /* it polls for the lock more often than this */
                if (!wait_ms(HANDOVER_EVERY_MS * 5, err))
                    return false;
            }
            continue;
        }
        Remedy remedy = err_remedy(err);
        if (clock_ms() - begun > RECONNECT_CAP_MS)
            pause = 0;
        /* a first connection that fails is a mistake in the command line rather than an outage */
        if (remedy == REMEDY_GIVE_UP || remedy == REMEDY_CONFLICT || !connected)
            return false;
        again = true;
        pause = backoff_next(pause, RECONNECT_BASE_MS, RECONNECT_CAP_MS);
        log_warn("%s; trying again in %lld ms", err->msg, (long long)pause);
        err_clear(err);
        if (!wait_ms(pause, err))
            return false;
    }
    return true;
}
