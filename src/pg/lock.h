/*
 * Work that needs strong locks on a busy database: the locks are asked for in short tries, so that
 * statements which queue up behind us wait that long at most, and the work runs in the transaction
 * that has them.
 */
#ifndef PG_LOCK_H
#define PG_LOCK_H

#include "pg/conn.h"

/*
 * Runs `locks` (LOCK TABLE …; without parameters) and then `work` in one transaction, again and
 * again until the locks are had. label names the object in messages. Other errors than lock
 * time-outs and deadlocks are returned; then nothing was changed.
 */
CHECKED bool lock_and_run(Conn *conn, const Sql *locks, const Sql *work, const char *label,
                          Err *err);

/* one such try: what can be done later does not wait. *ret_done: false when the locks were not had */
CHECKED bool lock_and_run_once(Conn *conn, const Sql *locks, const Sql *work, bool *ret_done,
                               Err *err);

#endif
