/*
 * Edges that are in the databases and ours (owner.h), but not in the file any more: its sync was edited, or it went
 * by hand. Nothing of them may stay, as what nobody reads is kept for ever.
 */
#ifndef DAEMON_LEAVE_H
#define DAEMON_LEAVE_H

#include "daemon/plan.h"

/* what an edge has in one database and has to be taken away */
typedef struct Leaving {
    const char *edge;
    bool ends;        /* a worker of it may be at work */
    bool begins_only; /* it goes on, but as a full copy, which reads no queue */
} Leaving;

/* those of one database that is in the service; an array of n owned by ctx */
CHECKED bool leaving_list(const void *ctx, const Service *service, const char *owner, Conn *conn,
                          Leaving **ret_list, size_t *ret_n, Err *err);

/* the names in sync/from/to; texts belong to ctx */
void leaving_names(const void *ctx, const char *edge, const char *ret_names[3]);

#endif
