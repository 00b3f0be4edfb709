/*
 * Rows that cannot be applied because of other rows: another one has their value of a unique column, or
 * their foreign key points to none. `on-violation` says whether the edge stops, or the loser is parked:
 * taken out, and kept in pgtandem.conflict.
 *
 * Unique values. A round that collides is made again by delete and insert (see edge.c); what collides
 * even then are rows of others. With one source the target's row stays. Between several sources the rule of
 * conflict decides between the two rows, as if they were one: where the row of this round wins, the others
 * are deleted; where it loses, it is parked, and the opposite edge will come to the same judgement and
 * delete it on its node. What is parked is tried again now and then, so that it comes when there is
 * room for it, or is forgotten when it is gone on its node.
 *
 * Foreign keys sleep while a round is applied. Between several sources a row can come whose parent was deleted
 * here, or a parent's deletion while a row here begins to point to it. The deletion wins on both sides,
 * whatever the rule, as the deleted row could not be brought back by a node that has not got it.
 */
#ifndef DAEMON_VIOLATION_H
#define DAEMON_VIOLATION_H

#include "daemon/conflict.h"
#include "migrate/edge.h"

typedef struct ForeignKeyColumn {
    const char *child;
    const char *parent;
    const char *op; /* parent op child */
} ForeignKeyColumn;

typedef struct ForeignKey {
    const char *name;
    TablePair *child;
    TablePair *parent;
    ForeignKeyColumn *columns;
    size_t n_columns;
} ForeignKey;

/* reads what has to be watched, and whether rows are parked; before the first round */
CHECKED bool violation_begin(const void *ctx, ConflictFilter *filter, Conn *to, Err *err);

/* the functions of an ApplyFilter whose arg is a ConflictFilter */
CHECKED bool violation_refused(ApplyFilter *self, TablePair *table, Conn *to, ApplyRefused *refused,
                               Err *err);
CHECKED bool violation_end(ApplyFilter *self, Conn *to, Err *err);

/* the next round carries the rows that are parked, too */
CHECKED bool violation_try_again(ConflictFilter *filter, Edge *edge, Err *err);

#endif
