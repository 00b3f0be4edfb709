/*
 * The ends of a run: `finish` after a switchover, `abort` before one. Both leave nothing of ours
 * behind on either node; `abort` also removes what it put into the target. Each can be repeated
 * after a crash: the target's part of our schema, which remembers what there is to do, goes last.
 */
#include <string.h>

#include "base/fault.h"
#include "base/log.h"
#include "base/str.h"
#include "capture/capture.h"
#include "migrate/aside.h"
#include "migrate/commands.h"
#include "migrate/config_rows.h"
#include "migrate/large.h"
#include "migrate/member.h"
#include "migrate/part.h"
#include "migrate/run.h"
#include "migrate/scratch.h"
#include "migrate/sleep.h"
#include "migrate/steps.h"
#include "migrate/switch.h"
#include "sql/queries.h"

/* sleeping objects of a node come back and foreign keys are checked */
static bool wake(Conn *conn, Err *err)
{
    if (conn_do(conn, "BEGIN", err) && sleep_wake(conn, err) &&
        sleep_wake_event_triggers(conn, err) && conn_do(conn, "COMMIT", err))
        return sleep_validate(conn, err);
    conn_rollback(conn);
    return false;
}

static bool drop_schema(Conn *conn, Err *err)
{
    return conn_do(conn, "SET client_min_messages = error; DROP SCHEMA IF EXISTS pgtandem CASCADE",
                   err);
}

/* takes everything of ours off one node, and wakes what slept there */
static bool release_node(Run *run, Side side, Err *err)
{
    Conn *conn = run->conn[side];

    if (!run->node[side].present)
        return true;
    log_info("removing pgtandem from the %s", side_name(side));
    return wake(conn, err) && capture_remove_all(conn, err) && fault("finish.removed", err) &&
           drop_schema(conn, err);
}

static bool no_run(Err *err)
{
    err_set(err, ERR_STATE, "there is no run in these databases");
    return err_hint(err, "Nothing of pgtandem is left in them.");
}

bool migrate_finish(const Config *config, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Run *run = run_open(tmp, config, RUN_LOCK_HANDOVER, "finish", err);

    if (run == NULL)
        return false;
    if (!run->node[SIDE_TARGET].present)
        return no_run(err);
    if (member_is(config) &&
        ((run_is_halfway(run) && !switch_take_back(run, err)) || !member_meet_state(run, err)))
        return false;
    if (run_active(run) != SIDE_TARGET || run_is_halfway(run)) {
        err_set(err, ERR_STATE, "the application still writes to the source");
        return err_hint(
            err, "\"pgtandem switchover\" moves it to the target, \"pgtandem abort\" ends the run "
                 "without.");
    }
    /*
     * after this the old node takes writes again that nobody carries over: so it goes first, and is
     * said
     */
    if (!steps_begin_ending(run, PHASE_FINISHING, err) || !release_node(run, SIDE_SOURCE, err) ||
        !fault("finish.source", err) || !release_node(run, SIDE_TARGET, err))
        return false;
    log_info(
        "finished: the target stands alone, and nothing of pgtandem is left in either database");
    log_info("the source is no longer fenced: make sure that nobody writes to it by mistake");
    return true;
}

/* dropping one object may take others with it, which then do not exist any more */
static bool drop_object(Conn *conn, const NewObjectsRow *object, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Sql *q = sql_new(tmp);

    sql_add(q, "DROP ");
    sql_trusted(q, object->type);
    sql_add(q, " IF EXISTS ");
    sql_trusted(q, object->identity);
    if (strcmp(object->type, "cast") != 0)
        sql_add(q, " CASCADE");
    return conn_exec(conn, q, err) ||
           err_add(err, "while dropping %s %s", object->type, object->identity);
}

/* drops, one by one, what was not in the target before us */
static bool empty_target(Run *run, Err *err)
{
    Conn *conn = run->conn[SIDE_TARGET];
    size_t dropped = 0, left = SIZE_MAX;

    log_info("removing the copy from the target");
    if (run->selection != NULL)
        return part_remove(run, err);
    if (!conn_do(conn, "SET client_min_messages = error", err))
        return false;
    for (;;) {
        AUTO_CTX(tmp, NULL);
        NewObjectsRow *objects;
        size_t n;

        if (!q_new_objects(tmp, conn, &objects, &n, err))
            return false;
        if (n == 0)
            return true;
        if (n >= left)
            return err_set(err, ERR_STATE, "%s %s is still there after it was dropped",
                           objects[0].type, objects[0].identity);
        left = n;
        for (size_t i = 0; i < n; i++) {
            if (!drop_object(conn, &objects[i], err))
                return false;
            log_progress("%zu objects removed", ++dropped);
            if (!fault("abort.dropped", err))
                return false;
        }
    }
}

/* owners, rights and comments of what was in the target before us */
static bool put_back(Run *run, Err *err)
{
    AUTO_CTX(tmp, NULL);
    PutBackRow *rows;
    size_t n;

    if (!q_put_back(tmp, run->conn[SIDE_TARGET], &rows, &n, err))
        return false;
    for (size_t i = 0; i < n; i++) {
        Sql *q = sql_new(tmp);

        sql_trusted(q, rows[i].statement);
        if (!conn_exec(run->conn[SIDE_TARGET], q, err))
            return err_add(err, "while putting back what the copy had changed: %s",
                           rows[i].statement);
    }
    return true;
}

/* what was there before us (tables of extensions, say) and was put to sleep with all others */
static bool wake_others(Conn *conn, Err *err)
{
    return conn_do(conn,
                   "DELETE FROM pgtandem.asleep a WHERE kind <> 'function' AND NOT EXISTS "
                   "(SELECT 1 FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
                   "WHERE n.nspname = a.schema_name AND c.relname = a.table_name)",
                   err) &&
           wake(conn, err);
}

bool migrate_abort(const Config *config, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Run *run = run_open_to_abort(tmp, config, err);

    if (run == NULL)
        return false;
    /* a crash may have left it behind before there was any run */
    if (!scratch_drop(run, err))
        return false;
    if (!run->node[SIDE_TARGET].present && !run->node[SIDE_SOURCE].present)
        return no_run(err);
    if (run_is_halfway(run) && run_active(run) == SIDE_SOURCE && !switch_take_back(run, err))
        return false;
    if (member_is(config) &&
        ((run_is_halfway(run) && !switch_take_back(run, err)) || !member_meet_state(run, err)))
        return false;
    if (run_active(run) == SIDE_TARGET) {
        err_set(err, ERR_STATE, "the application writes to the target");
        return err_hint(
            err,
            "\"pgtandem rollback\" brings it back first, \"pgtandem finish\" ends the run where it "
            "is.");
    }
    if (run->node[SIDE_TARGET].present && !steps_begin_ending(run, PHASE_ABORTING, err))
        return false;
    if (!release_node(run, SIDE_SOURCE, err) || !fault("abort.source", err))
        return false;
    if (!run->node[SIDE_TARGET].present)
        return true;
    if ((run->selection == NULL && !aside_drop_new(run->conn[SIDE_TARGET], err)) ||
        !capture_remove_all(run->conn[SIDE_TARGET], err) ||
        !sleep_wake_functions(run->conn[SIDE_TARGET], err) ||
        (run->selection == NULL && !large_drop_all(run->conn[SIDE_TARGET], err)) ||
        !empty_target(run, err) || !put_back(run, err) || !config_put_back(run, err) ||
        !wake_others(run->conn[SIDE_TARGET], err) || !fault("abort.emptied", err) ||
        !drop_schema(run->conn[SIDE_TARGET], err))
        return false;
    log_progress_end();
    log_info("aborted: the source is as it was before, and the copy is removed from the target");
    return true;
}
