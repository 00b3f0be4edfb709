/* Statements that the server may refuse without costing the transaction that they are part of. */
#ifndef PG_ATTEMPT_H
#define PG_ATTEMPT_H

#include "pg/conn.h"
#include "pg/sql.h"

/*
 * Runs q; within a transaction of the caller in a savepoint, so that it lives on when q is refused. True with
 * *ret_refused: the server said no, err says why, and nothing of q was done. False: anything else went wrong.
 */
CHECKED bool attempt_exec(Conn *conn, const Sql *q, bool *ret_refused, Err *err);

#endif
