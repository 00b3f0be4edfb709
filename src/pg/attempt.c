/* Statements that may be refused: see attempt.h. */
#include "pg/attempt.h"

#include "base/mem.h"
#include "pg/sqlstate.h"

bool attempt_exec(Conn *conn, const Sql *q, bool *ret_refused, Err *err)
{
    AUTO_CTX(tmp, NULL);
    bool inside = conn_in_transaction(conn);

    *ret_refused = false;
    /* a message of its own: of one that cannot be parsed the server runs nothing, the savepoint neither */
    if (inside && !conn_do(conn, "SAVEPOINT pgtandem_attempt", err))
        return false;
    if (conn_exec(conn, q, err))
        return !inside || conn_do(conn, "RELEASE SAVEPOINT pgtandem_attempt", err);
    if (err->kind != ERR_SQL || conn_is_broken(conn) || err_remedy(err) == REMEDY_RECONNECT)
        return false;
    Err *trouble = err_new(tmp);
    *ret_refused = true;
    if (!inside || conn_do(conn, "ROLLBACK TO SAVEPOINT pgtandem_attempt", trouble))
        return true;
    err_clear(err);
    err_copy(err, trouble);
    return false;
}
