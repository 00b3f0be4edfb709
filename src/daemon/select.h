/* Which edges a command means by the names of syncs that it was given. */
#ifndef DAEMON_SELECT_H
#define DAEMON_SELECT_H

#include "base/err.h"
#include "base/mem.h"
#include "daemon/plan.h"

/*
 * The edges of the syncs named; of all when none is named, or the only name is "all". active: those of
 * inactive syncs are refused when named, and left out otherwise. ERR_USAGE for unknown names.
 */
CHECKED bool select_edges(const void *ctx, const Service *service, const char *const *syncs,
                          size_t n, bool active, EdgeSpec **ret_edges, size_t *ret_n, Err *err);

/* the edge of that name, whether its sync is active or not; false: the file has none. Belongs to ctx */
bool select_edge(const void *ctx, const Service *service, const char *name, EdgeSpec *ret_edge);

#endif
