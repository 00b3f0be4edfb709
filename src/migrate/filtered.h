/*
 * Foreign keys in a run that leaves rows behind (model/filter.h): rows that one side of them has may have their
 * counterpart among those of which the other node does not hear. So these keys sleep on the copy, whatever our role
 * may do, and where rows lack their counterpart when the node takes over they stay NOT VALID, with a warning.
 */
#ifndef MIGRATE_FILTERED_H
#define MIGRATE_FILTERED_H

#include "migrate/run.h"
#include "sql/queries.h"

/* tables of which the run moves some rows only, by their names on one node */
typedef struct Filtered {
    FilteredTabsRow *tables;
    size_t n;
} Filtered;

CHECKED bool filtered_read(const void *ctx, Conn *conn, Filtered *ret, Err *err);

/* ERR_STATE when a condition does not fit its table any more; before rows are read. After run_load_edge(). */
CHECKED bool filtered_check(Run *run, Err *err);

/* the key belongs to such a table, or leads to one; named as on the same node */
bool filtered_has_key(const Filtered *filtered, const ForeignKeysRow *key);

/*
 * the keys of the source that filtered_has_key(), by the names that their tables have on the target; a run without
 * conditions has none
 */
CHECKED bool filtered_keys_on_target(const void *ctx, Run *run, ForeignKeysRow **ret_keys,
                                     size_t *ret_n, Err *err);

#endif
