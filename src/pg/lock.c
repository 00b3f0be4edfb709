/* Locks in short tries: see lock.h. */
#include "pg/lock.h"

#include "base/log.h"
#include "base/wait.h"
#include "pg/sqlstate.h"

/*
 * The limit grows from MIN to MAX. MAX is above the usual deadlock_timeout of one second, because
 * only a wait that long makes an autovacuum give way.
 */
enum { LOCK_MIN_MS = 100, LOCK_MAX_MS = 2000, LOCK_PAUSE_MS = 300, LOCK_REPORT_TRIES = 5 };

/* one try; false without *ret_busy is a failure */
static bool try_locks(Conn *conn, const Sql *locks, const Sql *work, int64_t limit_ms,
                      bool *ret_busy, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Sql *begin = sql_new(tmp);

    *ret_busy = false;
    sql_add(begin, "BEGIN; SET LOCAL lock_timeout = ");
    sql_number(begin, limit_ms);
    sql_add(begin, "; ");
    sql_splice(begin, locks);
    if (conn_exec(conn, begin, err) && conn_exec(conn, work, err) && conn_do(conn, "COMMIT", err))
        return true;
    *ret_busy = err_is(err, SQLSTATE_LOCK_NOT_AVAILABLE) || err_is(err, SQLSTATE_DEADLOCK);
    conn_rollback(conn);
    return false;
}

bool lock_and_run_once(Conn *conn, const Sql *locks, const Sql *work, bool *ret_done, Err *err)
{
    bool busy;

    *ret_done = try_locks(conn, locks, work, LOCK_MIN_MS, &busy, err);
    if (busy)
        err_clear(err);
    return *ret_done || busy;
}

bool lock_and_run(Conn *conn, const Sql *locks, const Sql *work, const char *label, Err *err)
{
    int64_t limit = LOCK_MIN_MS;

    for (int tries = 1;; tries++) {
        bool busy;

        if (try_locks(conn, locks, work, limit, &busy, err))
            return true;
        if (!busy)
            return false;
        if (tries % LOCK_REPORT_TRIES == 0)
            log_warn("%s: still waiting for a moment without long transactions on %s (try %d)",
                     conn_label(conn), label, tries);
        err_clear(err);
        limit = limit * 2 > LOCK_MAX_MS ? LOCK_MAX_MS : limit * 2;
        if (!wait_ms(LOCK_PAUSE_MS, err))
            return false;
    }
}
