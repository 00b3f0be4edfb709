/*
 * Pieces of the SQL that judges staged rows, for conflict.c and violation.c. In all of it s is the staging
 * table (see apply.h) and t the table on the node where the round is applied.
 */
#ifndef DAEMON_CONFLICT_SQL_H
#define DAEMON_CONFLICT_SQL_H

#include "daemon/conflict.h"

/* below the usual deadlock_timeout: when the application has locked rows in another order, we give way */
enum { CONFLICT_LOCK_MS = 300 };

/* left.key = right.key AND …, with the key's own operators; an alias other than t has k1, k2 … */
void conflict_add_match(Sql *q, const TablePair *pair, const char *left, const char *right);

/* the key of s, t or another alias as a text[] */
void conflict_add_key(Sql *q, const TablePair *pair, const char *side);

/* r, a row of pgtandem.conflict, is of this edge and of the key of s */
void conflict_add_record_match(Sql *q, const EdgeSpec *spec, const TablePair *pair);

/*
 * INSERT INTO pgtandem.conflict … SELECT of what is known beforehand; has to be followed by key,
 * constraint_name, winner, from_row, to_row, from_at, to_at, seen, parked
 */
void conflict_add_record(Sql *q, const EdgeSpec *spec, const TablePair *pair, const char *kind);

/* row_to_json of the carried columns, of s or of t */
void conflict_add_json(Sql *q, const TablePair *pair, bool staged);

/* how much of the changes of `to` the other side had in the round's snapshot; NULL: nothing */
CHECKED bool conflict_peer_progress(const void *ctx, const ConflictFilter *filter,
                                    const char **ret_snapshot, Err *err);

/* the changes of `to` that the other side does not know of, by key: k1 …, at */
Sql *conflict_local_changes(const void *ctx, const ConflictFilter *filter, const TablePair *pair,
                            const char *since);

/* whether the source of the edge comes first in the rule's list, or in the sync */
bool conflict_from_first(const EdgeSpec *spec);

/* an SQL expression: the name of the winning database; c has from_at, to_at, from_row, to_row, key */
void conflict_add_winner(Sql *q, const EdgeSpec *spec, const TablePair *pair);

/* false, with a wish to make the round again, when changes of `to` since then may be purged */
CHECKED bool conflict_check_purged(ApplyFilter *self, Conn *to, const char *since, Err *err);

/* somebody was faster: the round cannot be judged, and has to be made with a newer snapshot */
bool conflict_make_again(ApplyFilter *self, Conn *to, const char *what, Err *err);

#endif
