/*
 * What sleeps on the node that is the copy: users' triggers and rules that would fire when changes
 * are applied, event triggers (unless they are the target's own), and, where our role may not set
 * session_replication_role, foreign keys (which then cannot be kept from firing; the copy is
 * consistent after every round without them). What was there is written to pgtandem.asleep in the
 * transaction that changes it, and put back when the node takes over.
 */
#ifndef MIGRATE_SLEEP_H
#define MIGRATE_SLEEP_H

#include "model/selection.h"
#include "pg/conn.h"
#include "pg/sql.h"

/*
 * puts everything of what is selected (NULL: everything) that must sleep to sleep; idempotent. replica: the role may set
 * session_replication_role; *awake_told: which event triggers cannot sleep was told already
 */
CHECKED bool sleep_node(Conn *conn, const Selection *selection, bool replica, bool *awake_told,
                        Err *err);

/*
 * Wakes everything but event triggers, in the caller's transaction. Foreign keys come back NOT VALID (they bind new
 * rows at once and cost no scan), to be validated by sleep_validate() when the application is
 * running again.
 */
CHECKED bool sleep_wake(Conn *conn, Err *err);

/* they fire for what comes behind: so this is the last thing */
CHECKED bool sleep_wake_event_triggers(Conn *conn, Err *err);

/* validates foreign keys that sleep_wake() put back; does not block writers */
CHECKED bool sleep_validate(Conn *conn, Err *err);

/*
 * takes the right to call a function from everybody but superusers and its owner, in the caller's
 * transaction; functions wake with the rest, or alone
 */
CHECKED bool sleep_function(Conn *conn, const char *function, Err *err);
CHECKED bool sleep_wake_functions(Conn *conn, Err *err);

/*
 * Puts the event triggers to sleep, unless they are the target's own. One that our role may not switch off stays awake;
 * *told: that was said, and is not said again. May be within a transaction.
 */
CHECKED bool sleep_event_triggers(Conn *conn, bool *told, Err *err);

/* ALTER EVENT TRIGGER …; state as in pg_event_trigger.evtenabled */
Sql *sleep_event_trigger_state(const void *ctx, const char *name, const char *state);

/* appends statements that put it to sleep, or that forget it sleeps */
void sleep_event_trigger(Sql *q, const char *name, const char *was);
void sleep_forget_event_trigger(Sql *q, const char *name);

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
