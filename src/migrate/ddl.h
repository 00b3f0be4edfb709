/*
 * Carries changes of definitions (DDL) from the node that takes writes to the copy while following.
 *
 * What has changed tell the fingerprints of baseline.h. What is new comes with pg_dump's own statements,
 * columns are altered from the catalogs, what is gone is dropped (never with CASCADE). Rows that may be
 * others than capture told are all carried anew: rewritten tables, columns of another type, tables that
 * were not captured. What cannot be done on the copy is told with the statement; as long as it could mean
 * wrong data it stops the rounds or the switch, whatever the user accepts.
 */
#ifndef MIGRATE_DDL_H
#define MIGRATE_DDL_H

#include "migrate/run.h"

/*
 * Looks for changes and carries them. Before run_load_edge() of whoever makes rounds in the phase of
 * following. ERR_STATE when a table cannot be carried as it is now. Idempotent; what could not be done and
 * must keep from a switch is left in run->unsafe.
 */
CHECKED bool ddl_carry(Run *run, Err *err);

/*
 * Carries what would keep the copy from being made: tables and partitions that are gone, partitions, columns and labels
 * that came. All else waits for ddl_carry(). While no worker is at work, and before run_load_edge() of whoever
 * goes on; *ret_carried: something was. Idempotent.
 */
CHECKED bool ddl_carry_while_copying(Run *run, bool *ret_carried, Err *err);

/* whether definitions on the node that takes writes may have changed since ddl_carry() looked */
CHECKED bool ddl_has_moved(Run *run, bool *ret_moved, Err *err);

/*
 * ERR_REFUSED when foreign keys of tables that are not selected lead to selected ones, on a node that is the copy
 * or is to become it, and our role cannot keep them from acting there: they would refuse or delete rows.
 */
CHECKED bool ddl_refuse_keys_in(Run *run, Side side, Err *err);

/* under the fence: ERR_REFUSED when definitions changed since ddl_carry() */
CHECKED bool ddl_refuse_late(Run *run, Err *err);

/*
 * Until nobody is making a table or sequence, whose rows no trigger of ours sees and whose definition nobody sees
 * before it is committed. ERR_TIMEOUT at the deadline.
 */
CHECKED bool ddl_wait_for_makers(Run *run, int64_t deadline, Err *err);

/*
 * Once, when the copy is complete: a table that was renamed while it was copied may have got another one's rows.
 * All of them are carried anew then.
 */
CHECKED bool ddl_after_copy(Run *run, Err *err);

/* whether an error that ended a step of the copying may be due to changed definitions; transactions are ended then */
bool ddl_may_be_why(Run *run, const Err *err);

/* adds to such an error what was altered since the copying began, if anything was */
void ddl_explain(Run *run, Err *err);

#endif
