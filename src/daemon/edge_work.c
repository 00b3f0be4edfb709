/*
 * The worker of one edge (see edge_work.h): connects, waits until it is the only one, installs what is missing, copies
 * what is to be copied, and makes rounds, for ever. Whatever goes wrong ends the turn; the next one
 * begins with new connections and looks at everything anew.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/wait.h"
#include "conf/conf.h"
#include "daemon/captured.h"
#include "daemon/commands.h"
#include "daemon/conflict.h"
#include "daemon/edge_state.h"
#include "daemon/edge_work.h"
#include "daemon/hook.h"
#include "daemon/install.h"
#include "daemon/owner.h"
#include "daemon/plan.h"
#include "daemon/select.h"
#include "daemon/service_log.h"
#include "daemon/violation.h"
#include "migrate/edge.h"
#include "sql/queries.h"

enum {
    STANDBY_POLL_MS = 500,
    LOCK_AGAIN_TRIES = 10,
    LOCK_AGAIN_MS = 50,
    IDLE_MAX_MS = 25,        /* the pause between rounds grows to here, */
    SLEEPY_AFTER_MS = 10000, /* and when nothing came for so long */
    SLEEPY_MAX_MS = 250,     /* … to here */
    LOOKS_PER_SECOND = 400,  /* at most so many by all edges that read one database */
    IDLE_STEPS = 5,          /* the first pause is this fraction of the longest */
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
    SAY_AGAIN_MS = 60000 /* the same error is logged again after so long */
};

bool work_say_state(Work *w, const char *state, Err *err)
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
        if (!work_copy_everything(w, err))
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
        if (!work_note_whole(w, err) || !edge_purge(edge, err))
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
    return work_say_state(
        w, w->spec->full || !w->spec->sync->autokick ? STATE_WAITING : STATE_IN_STEP, err);
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
    bool old;
    const char *looked = w->edge->looked;
    bool quiet = !asked && looked != NULL && w->looked != NULL && strcmp(looked, w->looked) == 0;

    if (!quiet) {
        talloc_free(w->looked);
        w->looked = looked == NULL ? NULL : mem_strdup(w, looked);
        if (!plan_is_old(w->plan, 0, w->from, &old, err))
            return false;
        *ret_again = *ret_again || old;
        if (!w->spec->full && !*ret_again &&
            !captured_is_incomplete(w->from, w->spec->name, w->plan, ret_again, err))
            return false;
    }
    if (!quiet || has_stopped_tables(w)) {
        if (!plan_is_old(w->plan, 1, w->to, &old, err))
            return false;
        *ret_again = *ret_again || old;
    }
    return true;
}

/* wishes, the catalogs, whether it was detached; *ret_again: the plan has to be made anew */
static bool look_around(Work *w, bool *ret_again, Err *err)
{
    AUTO_CTX(tmp, NULL);
    int64_t now = clock_ms();
    size_t n;

    int64_t wishes = is_sleepy(w) ? SLEEPY_WISHES_MS : WISHES_MS;
    if (now - w->wishes_ms >= (wishes > w->look_ms ? wishes : w->look_ms)) {
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

/*
 * Whoever writes to a database wakes all edges that read it, each of which looks whether it is concerned. With
 * hundreds of them that would take the server's time; so the more there are, the less often each one looks.
 */
static int64_t longest_look(const Service *service, const EdgeSpec *spec)
{
    AUTO_CTX(tmp, NULL);
    int64_t readers = 0, shared;

    for (size_t i = 0; i < service->n_syncs; i++) {
        size_t n;
        EdgeSpec *edges = edges_of_sync(tmp, &service->syncs[i], &n);

        for (size_t e = 0; e < n && sync_is_active(&service->syncs[i]); e++)
            readers += edges[e].from == spec->from;
    }
    shared = readers * 1000 / LOOKS_PER_SECOND;
    return shared > IDLE_MAX_MS ? shared : IDLE_MAX_MS;
}

static int64_t next_pause(const Work *w, int64_t pause)
{
    int64_t cap = is_sleepy(w) && w->look_ms < SLEEPY_MAX_MS ? SLEEPY_MAX_MS : w->look_ms;
    int64_t least = w->look_ms / IDLE_STEPS;

    if (clock_ms() - w->busy_ms < least)
        return least;
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
    int64_t pause = 1;
    bool again = false;

    w->busy_ms = w->definitions_ms = clock_ms();
    if (!work_say_state(w, STATE_CATCHING_UP, err))
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
            if (!work_say_state(w, STATE_PAUSED, err) || !wait_ms(WISHES_MS, err))
                return false;
            continue;
        }
        /* who pauses it again in the midst of a round must not read the word of the pause before */
        if (strcmp(w->state, STATE_PAUSED) == 0 && !work_say_state(w, STATE_CATCHING_UP, err))
            return false;
        if (is_due(w)) {
            if (!make_round(w, &again, err))
                return false;
            if (again)
                return look_again();
        } else if (!work_say_state(w, STATE_WAITING, err)) {
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
    w->look_ms = longest_look(service, spec);
    w->to = service_connect(w, spec->to, mem_printf(purpose, "edge %s", spec->name), err);
    if (w->to == NULL || !wait_for_lock(w, err))
        return false;
    if (!is_wanted(w))
        return wait_until_wanted(w, err);
    w->from = service_connect(w, spec->from, mem_printf(purpose, "edge %s", spec->name), err);
    bool outdated = false;
    return w->from != NULL && choose_role(w, err) && work_prepare(w, err) &&
           (w->spec->full || work_copy_tables(w, &outdated, err)) && (outdated || rounds(w, err));
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
