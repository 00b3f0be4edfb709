/*
 * PgBouncer in a switch: PAUSE before the fence (clients wait instead of failing), re-point the databases
 * of its configuration file to the new node, RELOAD, RESUME. And the user's own command (--on-switch).
 */
#ifndef MIGRATE_POOLER_H
#define MIGRATE_POOLER_H

#include "migrate/config.h"

typedef struct Poolers Poolers;

/* where the application should go: from the connection to the node that opens, and from that which closes */
typedef struct Address {
    const char *host;
    const char *port;
    const char *dbname;
} Address;

/* connects to every admin console and reads the configuration file; refuses when one is not reachable */
CHECKED Poolers *poolers_open(const void *ctx, const Config *config, Err *err);

/*
 * PAUSE on all, in parallel, until the deadline. On failure those that were paused are resumed. From here until
 * poolers_resume a guardian process resumes them if this process dies before poolers_point_of_no_return().
 */
CHECKED bool poolers_pause(Poolers *poolers, int64_t deadline, Err *err);

/* the switch is decided: a dying process must no longer send clients back to the old node */
void poolers_point_of_no_return(Poolers *poolers);

/* rewrites the entries of the ini file that lead to `from` so that they lead to `to`, and RELOADs */
CHECKED bool poolers_repoint(Poolers *poolers, const Address *from, const Address *to, Err *err);

/* RESUME on all; safe when nothing is paused */
CHECKED bool poolers_resume(Poolers *poolers, Err *err);

/*
 * Runs the user's command with /bin/sh. Environment: PGTANDEM_EVENT ("switchover" or "rollback"), PGTANDEM_NEW_HOST, _PORT,
 * _DBNAME and PGTANDEM_OLD_HOST, _PORT, _DBNAME. Its output goes to standard error. Non-zero exit is ERR_IO.
 */
CHECKED bool hook_run(const char *command, const char *event, const Address *from, const Address *to,
                      int64_t deadline, Err *err);

#endif
