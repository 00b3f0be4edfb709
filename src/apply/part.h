/*
 * Tables of which dst has more rows than the run: the way back to a source where rows were left behind (model/filter.h).
 *
 * Only rows that are in the run are ever written to. A row that comes under the key of one that was left behind stops
 * the round: neither may give way. Rows that are written although they fail the condition are remembered in
 * pgtandem.outside, so that they are in the run from then on; those that go, or fulfil it now, are forgotten.
 * For pairs whose dst->part is set, in the transaction of the round.
 */
#ifndef APPLY_PART_H
#define APPLY_PART_H

#include "model/table.h"
#include "pg/conn.h"

/*
 * Before the staged rows are applied: ERR_STATE when one of them has the key of a row that was left behind. Takes
 * keys without a row that would delete such a one out of the stage, and forgets what is remembered of all others.
 */
CHECKED bool part_begin(const TablePair *table, Conn *dst, Err *err);

/* afterwards, while the stage still has the keys: remembers rows that fail the condition */
CHECKED bool part_end(const TablePair *table, Conn *dst, Err *err);

/* deletes every row of dst that is in the run */
CHECKED bool part_empty(const TablePair *table, Conn *dst, Err *err);

#endif
