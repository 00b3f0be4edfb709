/*
 * The tables that are captured in a database of the service: which number each has in the queue, and whether
 * it is still the table that was captured. Tables are altered while the service runs: they get other names, keys
 * and partitions, are replaced by others of the same name, and lose triggers of ours.
 */
#ifndef DAEMON_CAPTURED_H
#define DAEMON_CAPTURED_H

#include "daemon/plan.h"

/*
 * Numbers for the plan's tables, and the edge as their reader; in the caller's transaction, which has the lock
 * for installing. A renamed table keeps its number. One whose key has become another gets a new one, since what
 * the queue has of it cannot be read any more.
 */
CHECKED bool captured_register(Conn *from, const EdgeSpec *edge, Plan *plan, Err *err);

/*
 * Puts our triggers on what lacks them, one table per transaction. Where changes are missing,
 * PlannedTable.captures is counted up (and pgtandem.tab.captures, for the other edges that read it).
 */
CHECKED bool captured_install(Conn *from, const EdgeSpec *edge, Plan *plan, Err *err);

/* takes capture off the tables that no edge reads any more */
CHECKED bool captured_remove_unused(Conn *conn, Err *err);

/* whether a table that the edge reads by this plan lacks triggers of ours, or did since it was made */
CHECKED bool captured_is_incomplete(Conn *from, const char *edge, const Plan *plan,
                                    bool *ret_incomplete, Err *err);

#endif
