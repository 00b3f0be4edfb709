/*
 * Capture: triggers that record which keys change on a node, and the gate that decides whether
 * applications may write there.
 *
 * Every replicated relation gets AFTER triggers that put the changed keys into pgtandem.queue_0/1:
 * statement level with transition tables from PostgreSQL 10, else row level. Their functions ask
 * pgtandem.open(), one function for all tables that the server inlines into them: replacing it
 * fences (or opens) the whole database at once. Relations with row triggers have a trigger on
 * statements that asks the same.
 *
 * All are ENABLE ALWAYS, so that no session_replication_role switches them off. On a closed node
 * only our own apply may write, and is not captured: the applying transaction marks itself in
 * pgtandem.progress, an uncommitted row that nobody else can forge or see.
 */
#ifndef CAPTURE_CAPTURE_H
#define CAPTURE_CAPTURE_H

#include "model/table.h"
#include "pg/conn.h"

/*
 * Installs functions and triggers for one table in one transaction, waiting for its locks in short
 * tries so that writers are never held up for long. Idempotent: pgtandem.tab.captured is set in the
 * same transaction.
 */
CHECKED bool capture_table(Conn *conn, const Table *table, Err *err);

/* the functions anew, after columns that they name, or whose types they depend on, have changed; idempotent */
CHECKED bool capture_names_again(Conn *conn, const Table *table, Err *err);

/*
 * Puts the triggers on n partitions (oids) that came to a captured table, and records every row in them as
 * changed, in one transaction. None of their rows may have been carried before.
 */
CHECKED bool capture_partitions(Conn *conn, const Table *table, const int64_t *rels, size_t n,
                                Err *err);

/*
 * A table without key that was only marked: from now on its changes are captured. record: all its rows are
 * recorded as changed with that, and its mark begins anew. *ret_done: false when somebody else is at work
 * on the table; then nothing was changed.
 */
CHECKED bool capture_follow(Conn *conn, const Table *table, bool record, bool *ret_done, Err *err);

/* records every row of a captured table as changed, so that the next round carries all of them */
CHECKED bool capture_all_rows(Conn *conn, const Table *table, Err *err);

/*
 * the same by one mark instead of all keys: the other node's rows go first. Without a key: the table counts as
 * changed
 */
CHECKED bool capture_everything(Conn *conn, const Table *table, Err *err);

/* puts only the gate on a partitioned table whose partitions are captured by themselves */
CHECKED bool capture_gate_only(Conn *conn, const Table *root, Err *err);

/*
 * Puts the triggers on anew, after some were missing: counts pgtandem.tab.captures up, as changes were
 * not recorded meanwhile.
 */
CHECKED bool capture_again(Conn *conn, const Table *table, Err *err);

/*
 * takes our triggers off one table and its partitions, in short tries, and drops its functions; relid
 * 0: the table is gone
 */
CHECKED bool capture_remove_table(Conn *conn, int tab, int64_t relid, Err *err);

/* takes every trigger and function of ours off the node's tables, one table per transaction */
CHECKED bool capture_remove_all(Conn *conn, Err *err);

/* replaces pgtandem.open(); takes effect for a session when it next locks a table */
CHECKED bool gate_open(Conn *conn, Err *err);
CHECKED bool gate_close(Conn *conn, Err *err);

/*
 * Marks the running transaction as an edge's: must be the first statement of every applying
 * transaction. in_queue: the node's own capture is on, so the mark goes into its queue, too, where
 * rounds that read only the node's own changes find it.
 */
CHECKED bool capture_mark_apply(Conn *conn, const char *edge, bool in_queue, Err *err);

/*
 * ", name AS (…)" behind other parts of a WITH: notes in the queue of the node the keys of rows that a round of
 * ours takes away there by its own decision, so that the node where the round comes from hears of it, too. from:
 * a part with the column key (text[]).
 */
void capture_add_recall(Sql *q, const Table *table, const char *from);

#endif
