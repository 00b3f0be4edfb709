/*
 * PgBouncer in a switch: PAUSE before the fence (clients wait instead of failing), re-point the
 * databases of its configuration file to the new node, RELOAD, RESUME. And the user's own command
 * (--on-switch).
 *
 * Only the databases that lead to the node are paused, since one PgBouncer may serve others too:
 * those whose host, port and dbname in SHOW DATABASES are the node's. Where that cannot be told
 * (none of them, or an entry "*" that leads any name to the node), all are paused. Without
 * PgBouncers in the configuration every call succeeds and does nothing.
 */
#ifndef MIGRATE_POOLER_H
#define MIGRATE_POOLER_H

#include "migrate/config.h"

typedef struct Poolers Poolers;

/*
 * where the application should go: from the connection to the node that opens, and from that which
 * closes
 */
typedef struct Address {
    const char *host;
    const char *port;
    const char *dbname;
} Address;

/*
 * Connects to every admin console and reads the configuration file. Refuses when a console is not
 * reachable or does not obey us, when the file has no entry that leads to `from` (or already to
 * `to`), or could not be replaced. Changes nothing.
 */
CHECKED Poolers *poolers_open(const void *ctx, const Config *config, const Address *from,
                              const Address *to, Err *err);

/*
 * PAUSE on all, in parallel, until the deadline. On failure those that were paused are resumed.
 * From here until poolers_resume a guardian process resumes them if this process dies (or frees the
 * Poolers) before poolers_point_of_no_return(). What is paused already is no error.
 */
CHECKED bool poolers_pause(Poolers *poolers, int64_t deadline, Err *err);

/* the switch is decided: a dying process must no longer send clients back to the old node */
void poolers_point_of_no_return(Poolers *poolers);

/*
 * Rewrites the entries of the ini file that lead to `from` so that they lead to `to`, and RELOADs.
 * Can be repeated. From here until poolers_resume all databases of the PgBouncers are paused, also
 * those of others (why: see pooler.c), so that should follow at once. Without an ini file this is
 * all it does, for a command of the user that does the rest. Not interrupted by signals.
 */
CHECKED bool poolers_repoint(Poolers *poolers, Err *err);

/*
 * RESUME on all; safe when nothing is paused, and in another process than the one that paused. Not
 * interrupted by signals. When one fails the others are resumed nevertheless. Returns when the
 * waiting clients were served (at most a second later); until then server_login_retry is lowered on
 * the PgBouncers.
 */
CHECKED bool poolers_resume(Poolers *poolers, Err *err);

/*
 * Runs the user's command with /bin/sh. Environment: PGTANDEM_EVENT ("switchover" or "rollback"),
 * PGTANDEM_NEW_HOST, _PORT, _DBNAME and PGTANDEM_OLD_HOST, _PORT, _DBNAME. `from` is the old one.
 * Its output goes to the log. Non-zero exit is ERR_IO. Processes that it leaves in the background
 * live on.
 */
CHECKED bool hook_run(const char *command, const char *event, const Address *from,
                      const Address *to, int64_t deadline, Err *err);

#endif
