/*
 * The fuse: a target that does not come back must not fill the disk of its source. When the queue there
 * is larger than its limit, the edge that is farthest behind is detached.
 */
#ifndef DAEMON_FUSE_H
#define DAEMON_FUSE_H

#include "model/service.h"
#include "pg/conn.h"

/* looks at the queue of a source; *warned remembers that a warning was given */
CHECKED bool fuse_check(Conn *from, const Db *db, bool *warned, Err *err);

#endif
