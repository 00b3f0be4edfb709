/*
 * What sleeps on the node that is the copy: users' triggers and rules that would fire when changes
 * are applied, and, where our role may not set session_replication_role, foreign keys (which then
 * cannot be kept from firing; the copy is consistent after every round without them). What was
 * there is written to pgtandem.asleep in the transaction that changes it, and put back when the
 * node takes over.
 */
#ifndef MIGRATE_SLEEP_H
#define MIGRATE_SLEEP_H

#include "model/selection.h"
#include "pg/conn.h"

/*
 * puts everything of what is selected (NULL: everything) that must sleep to sleep; idempotent. replica: the role may set
 * session_replication_role
 */
CHECKED bool sleep_node(Conn *conn, const Selection *selection, bool replica, Err *err);

/*
 * Wakes everything, in the caller's transaction. Foreign keys come back NOT VALID (they bind new
 * rows at once and cost no scan), to be validated by sleep_validate() when the application is
 * running again.
 */
CHECKED bool sleep_wake(Conn *conn, Err *err);

/* validates foreign keys that sleep_wake() put back; does not block writers */
CHECKED bool sleep_validate(Conn *conn, Err *err);

/*
 * takes the right to call a function from everybody but superusers and its owner, in the caller's
 * transaction; functions wake with the rest, or alone
 */
CHECKED bool sleep_function(Conn *conn, const char *function, Err *err);
CHECKED bool sleep_wake_functions(Conn *conn, Err *err);

/*
 * Publications and event triggers of `from`, which takes writes now, are remembered on `to`, where sleep_wake() makes
 * those that are not there. Again before each switch: they may change meanwhile. Event triggers that are there sleep
 * with sleep_node(), as far as the role may do that.
 */
CHECKED bool sleep_set_aside(Conn *from, Conn *to, Err *err);

/* they are not made any more: the run ends without another switch */
CHECKED bool sleep_forget_set_aside(Conn *conn, Err *err);

/* drops those that the run has made here; event triggers first, as they would fire */
CHECKED bool sleep_drop_made(Conn *conn, Err *err);

/*
 * remembers a foreign key that is to appear when the node wakes; definition: ALTER TABLE … ADD
 * CONSTRAINT …; loose: rows may lack their counterpart then, which is told and no error
 */
CHECKED bool sleep_add_foreign_key(Conn *conn, const char *schema, const char *table,
                                   const char *name, const char *definition, bool loose, Err *err);

/*
 * keeps the comment of a foreign key for when it wakes; *ret_asleep: there is such a sleeping key
 */
CHECKED bool sleep_add_comment(Conn *conn, const char *schema, const char *table, const char *name,
                               const char *statement, bool *ret_asleep, Err *err);

#endif
