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

bool lock_and_run(Conn *conn, const Sql *locks, const Sql *work, const char *label, Err *err)
{
    int64_t limit = LOCK_MIN_MS;

    for (int tries = 1;; tries++) {
        AUTO_CTX(tmp, NULL);
        Sql *begin = sql_new(tmp);

        sql_add(begin, "BEGIN; SET LOCAL lock_timeout = ");
        sql_number(begin, limit);
        sql_add(begin, "; ");
        sql_splice(begin, locks);
        if (conn_exec(conn, begin, err) && conn_exec(conn, work, err) &&
            conn_do(conn, "COMMIT", err))
            return true;
        bool busy = err_is(err, SQLSTATE_LOCK_NOT_AVAILABLE) || err_is(err, SQLSTATE_DEADLOCK);
        conn_rollback(conn);
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
