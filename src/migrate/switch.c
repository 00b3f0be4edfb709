/* Switchover and rollback: see switch.h. */
#include "migrate/switch.h"

#include <string.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "base/str.h"
#include "base/wait.h"
#include "capture/capture.h"
#include "capture/queue.h"
#include "migrate/aside.h"
#include "migrate/baseline.h"
#include "migrate/commands.h"
#include "migrate/ddl.h"
#include "migrate/follow.h"
#include "migrate/keyless.h"
#include "migrate/large.h"
#include "migrate/member.h"
#include "migrate/pooler.h"
#include "migrate/sleep.h"
#include "migrate/steps.h"
#include "model/scope.h"
#include "pg/sqlstate.h"
#include "sql/queries.h"

enum {
    /*
     * A try to lock all tables ends before the usual deadlock_timeout of one second, so that never
     * an application's transaction is chosen as a deadlock's victim because of us. Later tries are
     * longer: only a wait beyond that time makes an autovacuum give way.
     */
    LOCK_TRY_MS = 700,
    LOCK_LONG_TRY_MS = 1500,
    LOCK_TRY_PAUSE_MS = 40,
    LOCK_PAUSE_MS = 150,
    BLOCKERS_MS = 2000, /* how long the search for who holds locks may take */
    BLOCKERS_NAMED = 5,
    DRAIN_ROUNDS = 5,        /* nobody writes any more, so the second round finds nothing */
    UNDO_CHECK_MS = 10000,   /* how long the undo waits to see the old node open */
    OUTCOME_WAIT_MS = 30000, /* how long a commit whose answer got lost is looked for */
    LEASE_GRACE_MS = 2000,
    MEET_GRACE_MS = 1000 /* shorter than the lease */
};

typedef struct Switch {
    Run *run;
    Side from;
    Side to;
    const char *event; /* "switchover" or "rollback" */
    Conn *fence;       /* the transaction that holds the tables of `from` */
    int fence_pid;     /* its server process */
    Conn *horizon;     /* see large_narrow(); or NULL */
    Conn *large_fence; /* a second one, for large objects: it outlives the first; or NULL */
    AsidePlan *aside;  /* publications and event triggers that the new node lacks */
    char *aside_mark;  /* the definitions that this was made from: Run.ddl_mark */
    Poolers *poolers;  /* or NULL */
    Move move;         /* of the application */
    int64_t epoch;
    int64_t budget_ms; /* for the pause */
    int64_t deadline;
    int64_t begun_us; /* poolers paused, or the tables locked; 0: not known */
    int64_t open_us;  /* the new node takes writes, and poolers let them through */
    int64_t keyless_rows;
    bool closed;  /* the fence is committed */
    bool decided; /* the point of no return is behind us */
} Switch;

/*
 * ---- the steps, in order
 * ------------------------------------------------------------------------------------
 */

static bool step_pause(Switch *sw, Err *err)
{
    return sw->poolers == NULL || poolers_pause(sw->poolers, sw->deadline, &sw->begun_us, err);
}

/* LOCK TABLE of everything that is replicated; a partitioned table stands for its partitions */
static Sql *lock_statement(const void *ctx, Switch *sw)
{
    Sql *q = sql_new(ctx);
    const Run *run = sw->run;
    size_t n = 0;

    for (size_t i = 0; i < run->n_tables; i++, n++) {
        sql_trusted(q, n == 0 ? "LOCK TABLE " : ", ");
        sql_name(q, run->tables[sw->from][i].schema, run->tables[sw->from][i].name);
    }
    for (size_t i = 0; i < run->catalog[sw->from]->n_roots; i++, n++) {
        sql_trusted(q, n == 0 ? "LOCK TABLE " : ", ");
        sql_name(q, run->catalog[sw->from]->roots[i].schema, run->catalog[sw->from]->roots[i].name);
    }
    if (n > 0)
        sql_add(q, " IN SHARE ROW EXCLUSIVE MODE");
    return q;
}

/*
 * one try of one of the two sessions to have its locks within limit_ms; the transaction is left
 * open, also after a failure
 */
static bool try_lock(Switch *sw, Conn *conn, const Sql *locks, int64_t limit_ms, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Sql *begin = sql_new(tmp);

    /* in a message of its own: older servers start the statement's clock only with the next one */
    sql_add(begin, "BEGIN; ");
    if (conn_caps(conn)->has_idle_in_xact_timeout) {
        /*
         * a lease: the server itself ends the fence should we hang or be cut off, from the first
         * moment on
         */
        sql_add(begin, "SET LOCAL idle_in_transaction_session_timeout = ");
        sql_number(begin, deadline_left(sw->deadline) + LEASE_GRACE_MS);
        sql_add(begin, "; ");
    }
    sql_add(begin, "SET LOCAL statement_timeout = ");
    sql_number(begin, limit_ms);
    sql_add(begin, "; SET LOCAL lock_timeout = ");
    sql_number(begin, limit_ms);
    return conn_exec(conn, begin, err) && conn_exec(conn, locks, err) &&
           conn_do(conn, "SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = 0", err);
}

/* large objects first: who writes them goes on to a table more often than the other way round */
static bool try_locks(Switch *sw, int64_t limit_ms, Err *err)
{
    AUTO_CTX(tmp, NULL);

    return (sw->large_fence == NULL ||
            try_lock(sw, sw->large_fence, large_lock(tmp), limit_ms, err)) &&
           try_lock(sw, sw->fence, lock_statement(tmp, sw), limit_ms, err);
}

/* who holds locks that keep us from fencing, for the message */
static void name_blockers(Switch *sw, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Conn *conn = sw->run->conn[sw->from];
    BlockersRow *rows;
    const Scope *scope;
    size_t n;
    Str *s = str_new(tmp);

    conn_set_deadline(conn, deadline_in(BLOCKERS_MS));
    if (!scope_read(tmp, conn, run_selection(sw->run, sw->from), &scope, err_new(tmp)) ||
        !q_blockers(tmp, conn, scope_relids(tmp, scope), &rows, &n, err_new(tmp)) || n == 0)
        return;
    for (size_t i = 0; i < n && i < BLOCKERS_NAMED; i++)
        str_fmt(s, "%sprocess %d (%s, %s, for %s)", i == 0 ? "" : ", ", rows[i].pid,
                rows[i].usename, rows[i].relation,
                str_duration(tmp, (int64_t)(rows[i].age * 1000)));
    err_detail(err, "Transactions that hold tables, oldest first: %s%s.", s->text,
               n > BLOCKERS_NAMED ? " and others" : "");
}

/*
 * How long the tries last, in turn, in milliseconds. Most are short: a writer that holds one table
 * and wants another which we have got already cannot be waited for, and the next try is as likely
 * as any to meet no such writer. The long ones are for long transactions and autovacuum.
 */
static const int lock_tries_ms[] = {100, 100, 200, 100, 200, LOCK_TRY_MS, LOCK_LONG_TRY_MS};

static bool step_lock(Switch *sw, Err *err)
{
    /* before anybody has to wait for us */
    if (!ddl_wait_for_makers(sw->run, sw->deadline, err))
        return false;
    for (size_t tries = 0;; tries++) {
        int64_t limit = lock_tries_ms[tries % (sizeof lock_tries_ms / sizeof *lock_tries_ms)];
        int64_t left = deadline_left(sw->deadline);

        if (left < limit)
            limit = left;
        if (limit <= 0) {
            err_set(err, ERR_TIMEOUT, "the tables could not be locked");
            name_blockers(sw, err);
            return err_hint(err, "End the long transactions, or give more time with --max-pause.");
        }
        if (sw->poolers == NULL)
            sw->begun_us = clock_us();
        if (try_locks(sw, limit, err))
            return true;
        bool busy = err_is(err, SQLSTATE_LOCK_NOT_AVAILABLE) ||
                    err_is(err, SQLSTATE_QUERY_CANCELED) || err_is(err, SQLSTATE_DEADLOCK) ||
                    err->kind == ERR_TIMEOUT;
        conn_rollback(sw->fence);
        if (sw->large_fence != NULL)
            conn_rollback(sw->large_fence);
        if (!busy)
            return false;
        log_debug("lock try %zu: %s", tries + 1, err->msg);
        err_clear(err);
        /* let the writers that waited behind us go on for a moment */
        if (!wait_ms(LOCK_TRY_PAUSE_MS, err))
            return false;
    }
}

/* nobody can write any more: carry the rest, and see that nothing is left */
static bool step_drain(Switch *sw, Err *err)
{
    RoundStats round;
    LargeStats large;
    size_t moved;
    int rounds = 0;

    do {
        if (!edge_round(sw->run->edge, &round, err))
            return false;
        if (round.outdated)
            return err_set(err, ERR_STATE, "tables were altered in this very moment");
        if (++rounds > DRAIN_ROUNDS)
            return err_set(err, ERR_BUG, "changes keep coming although all tables are locked");
    } while (round.changes > 0);
    if (sw->horizon != NULL && !conn_do(sw->horizon, "SELECT 1", err)) {
        log_debug("large objects: %s", err->msg);
        err_clear(err);
        large_widen(sw->run->edge);
    }
    return ddl_refuse_late(sw->run, err) && large_carry(sw->run->edge, &large, err) &&
           keyless_copy(sw->run->edge, &sw->keyless_rows, err) &&
           edge_sequences(sw->run->edge, &moved, err);
}

/* what has to be made on the new node, as definitions are now */
static bool plan_aside(Switch *sw, Err *err)
{
    talloc_free(sw->aside);
    talloc_free(sw->aside_mark);
    sw->aside_mark = mem_strdup(sw, sw->run->ddl_mark == NULL ? "" : sw->run->ddl_mark);
    sw->aside = aside_plan(sw, sw->run, sw->to, err);
    return sw->aside != NULL;
}

static bool aside_has_moved(const Switch *sw)
{
    return sw->run->ddl_mark == NULL || strcmp(sw->run->ddl_mark, sw->aside_mark) != 0;
}

/*
 * Everything that sleeps on the new node wakes, and what it lacks is made; publications are there before the gate
 * opens, and event triggers come last, since they would fire.
 */
static bool wake_and_open(Switch *sw, Conn *target, Err *err)
{
    Conn *to = sw->run->conn[sw->to];

    return sleep_wake(to, err) && aside_publish(sw->aside, err) && gate_open(to, err) &&
           sleep_wake_event_triggers(to, err) && aside_trigger(sw->aside, err) &&
           aside_remember(sw->aside, target, err);
}

/*
 * Event triggers would fire for what closes a node, and what they write would be refused, or be on this node only: so
 * they sleep from here on, and wake with a fence that is given up.
 */
static bool calm(Switch *sw, Err *err)
{
    return !aside_has_event_triggers(sw->aside) ||
           sleep_event_triggers(sw->fence, &sw->run->awake_told[sw->from], err);
}

/* with those that stay awake it is done twice: what they write before a command, too, is refused */
static bool close_gate(Switch *sw, Err *err)
{
    bool awake = aside_has_event_triggers(sw->aside) && sw->run->awake_told[sw->from];

    if (gate_close(sw->fence, err) && (!awake || gate_close(sw->fence, err)))
        return true;
    if (awake && err_is(err, SQLSTATE_FENCE))
        err_hint(err,
                 "An event trigger of the %s writes for what closes that node, and our role may "
                 "not switch it off: ALTER EVENT TRIGGER … DISABLE, until the run has ended.",
                 side_name(sw->from));
    return false;
}

/* the other node wakes and opens, in a transaction that commits last */
static bool step_prepare(Switch *sw, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Conn *to = sw->run->conn[sw->to];
    Sql *q = sql_new(tmp);
    const char *snapshot;

    /*
     * the way back begins here: whatever the application writes on the new node is later than this
     */
    if ((aside_has_moved(sw) && !plan_aside(sw, err)) || !queue_snapshot(tmp, to, &snapshot, err) ||
        !conn_do(to, "BEGIN", err) ||
        !wake_and_open(sw, sw->to == SIDE_TARGET ? to : sw->fence, err) || !calm(sw, err))
        return false;
    sql_add(q, "UPDATE pgtandem.node SET epoch = ");
    sql_i64(q, sw->epoch);
    sql_add(q, " WHERE voided < ");
    sql_i64(q, sw->epoch);
    if (!conn_exec(to, q, err))
        return false;
    if (conn_affected(to) != 1)
        return err_set(err, ERR_STATE, "another process has given up this %s", sw->event);
    q = sql_new(tmp);
    sql_add(q, "UPDATE pgtandem.progress SET applying = NULL, snapshot = ");
    sql_text(q, snapshot);
    if (sw->run->edge->large) {
        sql_add(q, ", large_snapshot = ");
        sql_text(q, snapshot);
    }
    sql_add(q, " WHERE edge = '" EDGE_OF_RUN "'");
    if (!conn_exec(sw->fence, q, err) || (sw->large_fence != NULL && !large_close(sw->fence, err)))
        return false;
    q = sql_new(tmp);
    sql_add(q, "UPDATE pgtandem.node SET epoch = ");
    sql_i64(q, sw->epoch);
    return conn_exec(sw->fence, q, err) && close_gate(sw, err);
}

/*
 * the server process ended, or was told to: a COMMIT that is still on its way to it must not happen
 * any more
 */
static bool session_is_gone(Conn *conn, int pid, bool *ret_gone, Err *err)
{
    AUTO_CTX(tmp, NULL);
    EndSessionRow *sessions;
    size_t n;

    if (!q_end_session(tmp, conn, pid, &sessions, &n, err))
        return false;
    *ret_gone = n == 0;
    return true;
}

/*
 * COMMIT whose answer may get lost with the connection: then the node is asked what became of it,
 * once its session is gone, so that the answer is final.
 */
static bool commit_gate(Switch *sw, Conn *conn, Side side, bool wanted_open, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Err *ignored = err_new(tmp);
    int64_t deadline = deadline_in(OUTCOME_WAIT_MS);
    const ConnSpec *spec =
        side == SIDE_SOURCE ? &sw->run->config->source : &sw->run->config->target;
    int pid = conn_backend_pid(conn);

    if (conn_do(conn, "COMMIT", err))
        return true;
    if (err->kind == ERR_SQL && !conn_is_broken(conn) && !conn_in_transaction(conn))
        return false; /* the server said no */
    conn_rollback(conn);
    /*
     * with the session alive and idle, the commit was carried out or not; else one may still be on
     * its way
     */
    bool settled = !conn_is_broken(conn);
    do {
        Conn *fresh = conn_open(tmp, spec, "switch", ignored);
        NodeStateRow *node;
        size_t n;
        bool gone = settled;

        if (fresh != NULL && (settled || session_is_gone(fresh, pid, &gone, ignored)) && gone &&
            q_node_state(tmp, fresh, &node, &n, ignored)) {
            bool reached =
                node->epoch == sw->epoch && (strcmp(node->gate, "open") == 0) == wanted_open;

            if (reached)
                err_clear(err);
            return reached;
        }
        talloc_free(fresh);
        err_clear(ignored);
    } while (deadline_left(deadline) > 0 && wait_ms(LOCK_PAUSE_MS, ignored));
    sw->closed = true;
    sw->decided = true; /* perhaps: so nothing may be undone */
    err_set(err, ERR_STATE,
            "the answer of the %s to the commit of the %s was lost, and it cannot be asked",
            side_name(side), sw->event);
    err_detail(err, "Either both nodes refuse writes now, or the %s takes them.",
               side_name(sw->to));
    return err_hint(err, "Run the same command again as soon as the %s is reachable.",
                    side_name(side));
}

/* what nobody keeps from being changed while the new node was prepared */
static bool refuse_late_aside(Switch *sw, Err *err)
{
    bool current;

    if (!aside_has_moved(sw))
        return true;
    if (!aside_is_current(sw->aside, &current, err))
        return false;
    if (current)
        return true;
    err_set(err, ERR_STATE,
            "publications or event triggers on the %s were changed in this very moment",
            side_name(sw->from));
    return err_hint(err, "Run the same command again.");
}

static bool step_close(Switch *sw, Err *err)
{
    /* a new node that died meanwhile is noticed while the undo is still a mere rollback */
    if (!conn_do(sw->run->conn[sw->to], "SELECT 1", err) ||
        /* its session may have been ended, and then somebody wrote a large object */
        (sw->large_fence != NULL && !conn_do(sw->large_fence, "SELECT 1", err)) ||
        !commit_gate(sw, sw->fence, sw->from, false, err))
        return false;
    sw->closed = true;
    /*
     * Tables that were made behind step_drain()'s look have no trigger that would refuse writes. Whatever is made
     * from now on is made on a closed node.
     */
    return fault("switch.closed", err) && ddl_wait_for_makers(sw->run, sw->deadline, err) &&
           ddl_refuse_late(sw->run, err) && refuse_late_aside(sw, err);
}

/*
 * Sessions that wait to write a large object passed the check of their rights before it was taken
 * from them, so they must not get the lock.
 */
static void end_large_fence(Switch *sw)
{
    AUTO_CTX(tmp, NULL);
    Err *err = err_new(tmp);
    LargeWaitingRow *rows;
    size_t n;

    if (sw->large_fence == NULL)
        return;
    if (!q_large_waiting(tmp, sw->large_fence, &rows, &n, err))
        log_debug("waiting for large objects: %s", err->msg);
    talloc_free(sw->large_fence);
    sw->large_fence = NULL;
    talloc_free(sw->horizon);
    sw->horizon = NULL;
}

static bool step_open(Switch *sw, Err *err)
{
    if (!commit_gate(sw, sw->run->conn[sw->to], sw->to, true, err))
        return false;
    sw->decided = true;
    sw->open_us = clock_us();
    if (sw->poolers != NULL)
        poolers_point_of_no_return(sw->poolers);
    return true;
}

static const struct {
    SwitchStep step;
    bool (*action)(Switch *sw, Err *err);
    bool shielded;    /* signals wait: these are single round trips */
    const char *meet; /* all databases have to be there before it */
} switch_steps[] = {
    {{"pause", "pausing the connection poolers"}, step_pause, false, NULL},
    {{"lock", "stopping writers"}, step_lock, false, NULL},
    {{"drain", "carrying the last changes"}, step_drain, false, NULL},
    {{"prepare", "preparing both nodes"}, step_prepare, false, NULL},
    {{"close", "closing the old node"}, step_close, true, "prepared"},
    {{"open", "opening the new node"}, step_open, true, "closed"},
};

/*
 * Waits for the other databases. Once closed there is no time limit: the word comes, or the parent is gone.
 * The leader opens first, so the word to do the same says that the switch has happened.
 */
static bool meet(Switch *sw, const char *where, Err *err)
{
    const Config *config = sw->run->config;

    if (!member_is(config) || where == NULL)
        return true;
    bool closed = sw->closed; /* then signals wait as well: the parent gets them, too */
    if (closed)
        wait_shield(true);
    /* a little longer than the others have: the one that is late says why */
    bool go = member_meet(config, where, closed ? NO_DEADLINE : sw->deadline + MEET_GRACE_MS, err);
    if (closed)
        wait_shield(false);
    if (!go)
        return false;
    if (closed)
        conn_set_deadline(sw->run->conn[sw->to], NO_DEADLINE);
    if (sw->closed && !member_is_leader(config))
        sw->decided = true;
    return true;
}

/*
 * This database is closed and the word to open it did not come: the leader knows whether the switch has
 * happened. False with the error as it was: it has not, and everything may be undone.
 */
static bool ask_leader(Switch *sw, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Err *trouble = err_new(tmp);
    bool decided = false;

    wait_shield(true);
    conn_set_deadline(sw->run->conn[sw->to], NO_DEADLINE);
    /* what we are about to open would keep us waiting for ourselves */
    if (member_is_leader(sw->run->config))
        conn_rollback(sw->run->conn[sw->to]);
    bool known = member_decided(sw->run->config, sw->to, sw->epoch, &decided, trouble);
    if (!known || decided)
        sw->decided = true; /* or perhaps: so nothing may be undone */
    if (!known) {
        err_clear(err);
        err_copy(err, trouble);
    } else if (decided) {
        err_clear(err);
    }
    bool ok = known && decided && step_open(sw, err);
    wait_shield(false);
    return ok;
}

const SwitchStep *switch_step(size_t i)
{
    return i < sizeof switch_steps / sizeof *switch_steps ? &switch_steps[i].step : NULL;
}

/*
 * ---- undo ---------------------------------------------------------------------------------------
 * -------------
 */

/* the old node opens again after its fence was committed; only while the new one is not open */
static bool reopen(Conn *conn, Err *err)
{
    return conn_do(conn, "BEGIN", err) && gate_open(conn, err) && sleep_wake_functions(conn, err) &&
           sleep_wake_event_triggers(conn, err) && conn_do(conn, "COMMIT", err);
}

/* sees with a connection of its own that the old node takes writes: the fence's session is gone */
static bool confirm_open(Switch *sw, Err *err)
{
    AUTO_CTX(tmp, NULL);
    const ConnSpec *spec =
        sw->from == SIDE_SOURCE ? &sw->run->config->source : &sw->run->config->target;
    int64_t deadline = deadline_in(UNDO_CHECK_MS);
    int64_t pause = 0;

    for (;;) {
        Conn *conn = conn_open(tmp, spec, "switch", err);
        NodeStateRow *node;
        size_t n;
        bool gone = false;

        if (conn != NULL && session_is_gone(conn, sw->fence_pid, &gone, err) && gone &&
            q_node_state(tmp, conn, &node, &n, err) &&
            (strcmp(node->gate, "open") == 0 || reopen(conn, err)))
            return true;
        if (deadline_left(deadline) <= 0)
            return err->kind == ERR_NONE
                       ? err_set(err, ERR_TIMEOUT, "the fence's session is still there")
                       : false;
        err_clear(err);
        talloc_free(conn);
        pause = backoff_next(pause, LOCK_PAUSE_MS, LOCK_PAUSE_MS * 4);
        if (!wait_ms(pause, err))
            return false;
    }
}

/* everything back to before; err is why, and becomes ERR_ABORTED */
static bool undo(Switch *sw, const char *doing, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Err *trouble = err_new(tmp);

    wait_shield(true);
    conn_set_deadline(sw->run->conn[sw->from], NO_DEADLINE);
    conn_set_deadline(sw->run->conn[sw->to], NO_DEADLINE);
    conn_set_deadline(sw->fence, NO_DEADLINE);
    conn_rollback(sw->fence);
    conn_rollback(sw->run->conn[sw->to]);
    conn_rollback(sw->run->conn[sw->from]);
    bool doubtful = sw->closed || conn_is_broken(sw->fence);
    talloc_free(sw->fence);
    sw->fence = NULL;
    talloc_free(sw->large_fence);
    sw->large_fence = NULL;
    bool restored = !doubtful || confirm_open(sw, trouble);
    if (sw->poolers != NULL && !poolers_resume(sw->poolers, trouble))
        log_err(LOG_ERROR, trouble);
    wait_shield(false);
    char *why = mem_printf(tmp, "%s", err->msg == NULL ? "unknown error" : err->msg);
    char *detail = err->detail == NULL ? NULL : mem_strdup(tmp, err->detail);
    char *hint = err->hint == NULL ? NULL : mem_strdup(tmp, err->hint);
    if (!restored) {
        err_set(err, ERR_STATE,
                "the %s failed while %s (%s), and the %s could not be reached to see that it "
                "takes writes again",
                sw->event, doing, why, side_name(sw->from));
        err_detail(err, "%s.", trouble->msg == NULL ? "No answer" : trouble->msg);
        return err_hint(
            err, "Its server undoes the fence by itself when it notices the lost connection. Run "
                 "\"pgtandem upgrade\" to make sure.");
    }
    run_journal(sw->run->conn[sw->to], sw->event,
                mem_printf(tmp, "given up while %s: %s", doing, why), -1);
    err_set(err, ERR_ABORTED, "the %s was given up while %s: %s", sw->event, doing, why);
    err_detail(err, "The %s takes writes as before, and nothing is lost.", side_name(sw->from));
    if (detail != NULL)
        err_detail(err, "%s", detail);
    if (hint != NULL)
        err_hint(err, "%s", hint);
    return false;
}

/*
 * ---- before and after
 * ------------------------------------------------------------------------------------------
 */

static Address address_of(Switch *sw, Side side)
{
    const Conn *conn = sw->run->conn[side];

    return (Address){.host = conn_value(sw, conn, "host"),
                     .port = conn_value(sw, conn, "port"),
                     .dbname = conn_value(sw, conn, "dbname")};
}

static void find_addresses(Switch *sw)
{
    sw->move = (Move){.from = address_of(sw, sw->from), .to = address_of(sw, sw->to)};
}

static bool open_poolers(Switch *sw, Err *err)
{
    const Config *config = sw->run->config;

    if (config->n_pgbouncers > 0 && sw->run->selection != NULL &&
        !config_accepts(config, "pooler-whole-database")) {
        err_set(err, ERR_REFUSED,
                "this run moves a part of a database, and a PgBouncer leads whole "
                "databases elsewhere");
        return err_hint(err, "Leave --pgbouncer out and re-point the users of what was moved by "
                             "--on-switch. If nobody else comes through this PgBouncer, go on with "
                             "--accept pooler-whole-database. Nothing was changed.");
    }
    return poolers_open(sw, config, &sw->move, 1, &sw->poolers, err);
}

static bool refuse_prepared_transactions(Switch *sw, Err *err)
{
    AUTO_CTX(tmp, NULL);
    PreparedTransactionsRow *rows;
    const Scope *scope;
    size_t n;

    if (!scope_read(tmp, sw->run->conn[sw->from], run_selection(sw->run, sw->from), &scope, err) ||
        !q_prepared_transactions(tmp, sw->run->conn[sw->from], scope_relids(tmp, scope), &rows, &n,
                                 err))
        return false;
    if (n == 0)
        return true;
    err_set(err, ERR_REFUSED, "%zu prepared transaction%s on the %s hold%s locks, e.g. \"%s\"", n,
            n == 1 ? "" : "s", side_name(sw->from), n == 1 ? "s" : "", rows[0].gid);
    return err_hint(err, "Commit or roll them back first. Nothing was changed.");
}

/* they may have been created since `check` found none */
static bool refuse_large_objects(Switch *sw, Err *err)
{
    bool exist;

    if (sw->run->selection != NULL || sw->run->edge->large ||
        config_accepts(sw->run->config, "large-objects"))
        return true;
    if (!large_exist(sw->run->conn[sw->from], &exist, err))
        return false;
    if (!exist)
        return true;
    err_set(err, ERR_REFUSED, "the %s has large objects, which were not carried",
            side_name(sw->from));
    return err_hint(err,
                    "Only superusers on both nodes can carry them: go on as such, or copy them "
                    "by yourself and accept it with --accept large-objects. Nothing was "
                    "changed.");
}

static bool captured_everywhere(Switch *sw, Err *err)
{
    AUTO_CTX(tmp, NULL);
    TabsRow *tabs;
    size_t n;

    if (!q_tabs(tmp, sw->run->conn[sw->to], &tabs, &n, err))
        return false;
    for (size_t i = 0; i < n; i++)
        if (!tabs[i].captured && tabs[i].schema_name[0] != '\0')
            return err_set(err, ERR_BUG, "the way back is not prepared on table %s.%s",
                           tabs[i].schema_name, tabs[i].table_name);
    return true;
}

static bool prepare_large(Switch *sw, const ConnSpec *spec, Err *err)
{
    if (!sw->run->edge->large)
        return true;
    Conn *first = conn_open(sw, spec, "switch", err);
    sw->horizon = first == NULL ? NULL : conn_open(sw, spec, "switch", err);
    bool ok = sw->horizon != NULL &&
              large_narrow(sw->run->edge, (Conn *const[2]){first, sw->horizon}, err);
    talloc_free(first);
    return ok;
}

/* everything that can be done or found out while the application goes on writing */
static bool switch_preflight(Switch *sw, Err *err)
{
    Run *run = sw->run;

    if (strcmp(run->phase, PHASE_FOLLOWING) != 0) {
        err_set(err, ERR_REFUSED, "the copy is not complete yet (phase \"%s\")", run->phase);
        return err_hint(err, "Let \"pgtandem upgrade\" run until it says that it is in sync.");
    }
    if (!follow_until_close(run, err) || !refuse_large_objects(sw, err) ||
        !captured_everywhere(sw, err) || !refuse_prepared_transactions(sw, err) ||
        !ddl_refuse_keys_in(run, sw->from, err) || !baseline_refuse_changes(run, err))
        return false;
    find_addresses(sw);
    if (!open_poolers(sw, err))
        return false;
    const ConnSpec *spec = sw->from == SIDE_SOURCE ? &run->config->source : &run->config->target;
    sw->fence = conn_open(sw, spec, "fence", err);
    if (sw->fence == NULL)
        return false;
    sw->fence_pid = conn_backend_pid(sw->fence);
    if (run->edge->large) {
        sw->large_fence = conn_open(sw, spec, "fence", err);
        if (sw->large_fence == NULL)
            return false;
    }
    if (run->config->dry_run)
        return plan_aside(sw, err) && aside_rehearse(sw->aside, err);
    /* views that read much may take long: so the backlog is worked off again afterwards */
    return refresh_views(run, sw->to, err) && prepare_large(sw, spec, err) && plan_aside(sw, err) &&
           aside_rehearse(sw->aside, err) && rounds_until_close(run, err);
}

/* what follows the point of no return; done again when it is not known whether it was done */
static bool redirect(Switch *sw, Err *err)
{
    return poolers_redirect(sw->poolers, sw->run->config, sw->event, &sw->move, &sw->open_us,
                            err) ||
           err_add(err, "the %s is done and the %s takes the writes, but what follows failed",
                   sw->event, side_name(sw->to));
}

static void tell(Switch *sw)
{
    AUTO_CTX(tmp, NULL);
    double ms = sw->begun_us == 0 ? -1 : (double)(sw->open_us - sw->begun_us) / 1000.0;
    char *pause =
        ms < 0 ? mem_strdup(tmp, "") : mem_printf(tmp, "; writes were paused for %.1f ms", ms);

    run_journal(sw->run->conn[sw->to], sw->event, "", ms);
    log_info("%s done: the application is on the %s%s", sw->event, side_name(sw->to), pause);
    if (sw->keyless_rows > 0)
        log_info("%s rows of tables without a key were copied in that time",
                 str_count(tmp, sw->keyless_rows));
}

/*
 * the connection to the new node may be lost with the answer to its commit, or during a long hook
 */
static bool revive(Switch *sw, Err *err)
{
    Run *run = sw->run;
    const ConnSpec *spec = sw->to == SIDE_SOURCE ? &run->config->source : &run->config->target;

    if (!conn_is_broken(run->conn[sw->to]))
        return true;
    Conn *fresh = conn_open(run, spec, "switch", err);
    if (fresh == NULL)
        return err_add(err, "the %s is done, but the rest could not be seen to", sw->event);
    run->conn[sw->to] = fresh; /* the old one is freed with the run: the edge still points to it */
    return true;
}

/*
 * the other node's keys are checked when the application is running again; all of it can be
 * repeated
 */
static bool after_switch(Switch *sw, Err *err)
{
    bool ok = redirect(sw, err) && fault("switch.redirected", err) && revive(sw, err);

    if (ok && sw->open_us > 0 && member_is(sw->run->config) &&
        !member_meet_open(sw->run->config, sw->begun_us, sw->open_us, err))
        return err_add(err, "the %s is done, but the rest could not be seen to", sw->event);

    if (sw->open_us > 0)
        tell(sw);
    if (!ok)
        return false;
    if (!sleep_validate(sw->run->conn[sw->to], err))
        return err_add(err, "the %s is done, but a foreign key could not be validated", sw->event);
    log_info("\"pgtandem upgrade\" keeps the %s in step from now on; \"pgtandem %s\" goes back, "
             "\"pgtandem finish\" "
             "ends the run",
             side_name(sw->from), sw->to == SIDE_TARGET ? "rollback" : "switchover");
    return true;
}

static bool run_steps(Switch *sw, Err *err)
{
    AUTO_CTX(tmp, NULL);

    sw->deadline = deadline_in(sw->budget_ms);
    sw->begun_us = clock_us();
    conn_set_deadline(sw->run->conn[sw->from], sw->deadline);
    conn_set_deadline(sw->run->conn[sw->to], sw->deadline);
    conn_set_deadline(sw->fence, sw->deadline);
    if (sw->large_fence != NULL)
        conn_set_deadline(sw->large_fence, sw->deadline);
    for (size_t i = 0; i < sizeof switch_steps / sizeof *switch_steps; i++) {
        const SwitchStep *step = &switch_steps[i].step;

        bool ok = meet(sw, switch_steps[i].meet, err);
        if (switch_steps[i].shielded)
            wait_shield(true);
        ok = ok && fault(mem_printf(tmp, "switch.%s.before", step->name), err) &&
             switch_steps[i].action(sw, err) &&
             fault(mem_printf(tmp, "switch.%s.after", step->name), err);
        if (switch_steps[i].shielded)
            wait_shield(false);
        if (ok && !sw->decided && deadline_left(sw->deadline) <= 0)
            ok = err_set(err, ERR_TIMEOUT, "the step took too long");
        if (!ok && sw->closed && !sw->decided && member_is(sw->run->config))
            ok = ask_leader(sw, err);
        if (!ok && err->kind == ERR_TIMEOUT) {
            err_add(err, "the time budget of %lld ms passed",
                    (long long)sw->run->config->max_pause_ms);
            if (err->hint == NULL)
                err_hint(err, "Give more time with --max-pause, or switch at a quieter time.");
        }
        if (!ok)
            return sw->decided ? false : undo(sw, step->doing, err);
    }
    end_large_fence(sw);
    conn_set_deadline(sw->run->conn[sw->from], NO_DEADLINE);
    conn_set_deadline(sw->run->conn[sw->to], NO_DEADLINE);
    return true;
}

static Switch *new_switch(const void *ctx, Run *run, Side to)
{
    Switch *sw = mem_new(ctx, Switch);

    sw->run = run;
    sw->to = to;
    sw->from = side_other(to);
    sw->event = to == SIDE_TARGET ? "switchover" : "rollback";
    sw->epoch = run->node[SIDE_SOURCE].epoch > run->node[SIDE_TARGET].epoch
                    ? run->node[SIDE_SOURCE].epoch
                    : run->node[SIDE_TARGET].epoch;
    sw->epoch++;
    sw->budget_ms = run->config->max_pause_ms;
    return sw;
}

/*
 * a switch stopped between its two commits: everything was carried before the first, so only the
 * second is due
 */
static bool complete_halfway(Run *run, Side to, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Switch *sw = new_switch(tmp, run, to);
    Conn *conn = run->conn[to];
    Sql *q = sql_new(tmp);

    log_warn("an earlier %s stopped when the %s was closed already; completing it", sw->event,
             side_name(sw->from));
    find_addresses(sw);
    if (!open_poolers(sw, err))
        return false;
    sql_add(q, "UPDATE pgtandem.node SET epoch = ");
    sql_i64(q, run->node[sw->from].epoch);
    if (!plan_aside(sw, err) || !conn_do(conn, "BEGIN", err) ||
        !wake_and_open(sw, run->conn[SIDE_TARGET], err) || !conn_exec(conn, q, err) ||
        !fault("halfway.before", err) || !conn_do(conn, "COMMIT", err)) {
        conn_rollback(conn);
        return err_add(err, "while opening the %s", side_name(to));
    }
    return fault("halfway.opened", err) && run_read_state(run, err) && after_switch(sw, err);
}

bool switch_take_back(Run *run, Err *err)
{
    Side side = run_active(run);
    bool decided = false;

    if (member_is(run->config) &&
        !member_decided(run->config, side_other(side), run->node[side].epoch, &decided, err))
        return false;
    if (decided)
        return complete_halfway(run, side_other(side), err);
    log_warn("an earlier switch stopped half-way; the %s takes writes again", side_name(side));
    if (!reopen(run->conn[side], err)) {
        conn_rollback(run->conn[side]);
        return err_add(err, "while reopening the %s", side_name(side));
    }
    run_journal(run->conn[side], "taken back", "a switch that stopped half-way", -1);
    return fault("halfway.back", err) && run_read_state(run, err);
}

bool switch_application(Run *run, Side to, Err *err)
{
    AUTO_CTX(tmp, NULL);

    if (!steps_refuse_ending(run, err))
        return false;
    if (!run->node[SIDE_SOURCE].present || !run->node[SIDE_TARGET].present) {
        err_set(err, ERR_STATE, "there is no run to switch between these databases");
        return err_hint(err, "Begin with \"pgtandem upgrade\".");
    }
    if (run_is_halfway(run)) {
        if (run_active(run) != to && !member_is(run->config))
            return complete_halfway(run, to, err);
        if (!switch_take_back(run, err))
            return false;
    }
    if (member_is(run->config) && !member_meet_state(run, err))
        return false;
    Switch *sw = new_switch(tmp, run, to);
    if (run_active(run) == to) {
        if (to == SIDE_SOURCE && run->node[SIDE_TARGET].epoch == 0) {
            err_set(err, ERR_STATE,
                    "there is nothing to roll back: the application was never switched");
            return err_hint(err, "\"pgtandem abort\" ends a run before its switchover.");
        }
        log_info("the application is on the %s already", side_name(to));
        find_addresses(sw);
        return run->config->dry_run || (open_poolers(sw, err) && after_switch(sw, err));
    }
    if (!switch_preflight(sw, err))
        return false;
    if (run->config->dry_run) {
        log_info("ready: a %s could begin now (dry run, nothing was changed)", sw->event);
        return true;
    }
    /* those that were ready first have a backlog again when the last one is */
    if (member_is(run->config) &&
        (!member_meet(run->config, "ready", NO_DEADLINE, err) || !follow_until_close(run, err) ||
         !member_meet_steady(run->config, &sw->epoch, &sw->budget_ms, err)))
        return false;
    return run_steps(sw, err) && after_switch(sw, err);
}

bool migrate_settle(const Config *config, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Run *run = run_open(tmp, config, RUN_LOCK_HANDOVER, "switch", err);

    return run != NULL && (!run_is_halfway(run) || switch_take_back(run, err)) &&
           member_meet_state(run, err);
}

static bool switch_command(const Config *config, Side to, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Run *run = run_open(tmp, config, RUN_LOCK_HANDOVER, "switch", err);

    return run != NULL && switch_application(run, to, err);
}

bool migrate_switchover(const Config *config, Err *err)
{
    return switch_command(config, SIDE_TARGET, err);
}

bool migrate_rollback(const Config *config, Err *err)
{
    return switch_command(config, SIDE_SOURCE, err);
}
