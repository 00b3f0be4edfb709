/*
 * One connection per database for a command that looks at many edges: with hundreds of syncs one for each
 * edge would be more than a server allows.
 */
#ifndef DAEMON_CONNS_H
#define DAEMON_CONNS_H

#include "model/service.h"
#include "pg/conn.h"

typedef struct Conns Conns;

/* purpose: what the server shows of it, for example "status" */
Conns *conns_new(const void *ctx, const Service *service, const char *purpose);

/*
 * The connection to one of the service's databases; belongs to conns. NULL with the error when it cannot be reached:
 * it is not tried again, but told again.
 */
CHECKED Conn *conns_get(Conns *conns, const Db *db, Err *err);

#endif
