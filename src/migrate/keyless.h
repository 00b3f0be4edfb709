/*
 * Tables without key: small ones are only marked as changed and copied during the write pause, larger ones are
 * followed by value (doc/design/015). Which of both is remembered for each table
 * (pgtandem.tab.followed); there is a way from the first to the second, and none back.
 */
#ifndef MIGRATE_KEYLESS_H
#define MIGRATE_KEYLESS_H

#include "capture/queue.h"
#include "migrate/edge.h"

/*
 * The rows that came and went in a round's window, in the round's transactions. A table whose copy does not
 * fit is adrift from then on: passed over by the rounds, and copied under the fence.
 */
CHECKED bool keyless_apply(Edge *edge, TablePair *pair, const Pending *pending, Window window,
                           ApplyStats *stats, Err *err);

/* copies every table without key that has changes which were not followed: only under the fence */
CHECKED bool keyless_copy(Edge *edge, int64_t *ret_rows, Err *err);

/*
 * Follows those from now on that are at least so large (Config.follow_keyless_bytes). One that
 * somebody is writing to right now has to wait until the next call; so does everything else that hinders
 * it, except for a lost connection.
 */
CHECKED bool keyless_adopt(Edge *edge, int64_t bytes, Err *err);

#endif
