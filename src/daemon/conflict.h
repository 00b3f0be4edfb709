/*
 * Conflicts: a row was changed on both sides of an edge by transactions that did not know of each other.
 *
 * The rows of a round are staged on `to` when this looks at them. It locks those that exist there, and
 * then reads the queue of `to`: a change of one of the keys that `from` had not got when the round read
 * it, and that did not come from there, is a conflict. A change that comes later has to wait for our
 * locks, and so knows of what we apply. (A row that is being inserted cannot be locked. It shows as a
 * unique violation, or in the number of rows that are updated or deleted, and the round is made again. A deletion
 * shows neither; if it wins it is carried once more.)
 *
 * The rule gives the same answer on both sides, so it does not matter who finds the conflict first: when
 * the other edge comes, this side's progress has the change, and there is no conflict any more. Every
 * conflict is kept with both rows.
 *
 * A TRUNCATE wins over all that was written on the other side without knowledge of it, whatever the rule: the
 * round that carries it carries all rows there are, and the opposite edge leaves out what it carries. Of two
 * at a time that of the database wins which comes first in the rule.
 */
#ifndef DAEMON_CONFLICT_H
#define DAEMON_CONFLICT_H

#include "apply/apply.h"
#include "daemon/plan.h"

typedef struct ConflictFilter {
    const EdgeSpec *spec;
    Conn *from;  /* in the round's transaction */
    bool parked; /* there are rows that wait to be tried again */
    struct ForeignKey
        *foreign_keys; /* between the tables of the edge, where they sleep; see violation.h */
    size_t n_foreign_keys;
    TablePair *pairs;
    size_t n_pairs;
} ConflictFilter;

/* the run function of an ApplyFilter; arg is a ConflictFilter */
CHECKED bool conflict_filter(ApplyFilter *self, const TablePair *table, Conn *to,
                             ApplyExpected *ret_expected, Err *err);

/* drops records that are older than the sync keeps them, and needed for nothing */
CHECKED bool conflict_expire(Conn *from, Conn *to, const EdgeSpec *spec, Err *err);

#endif
