/*
 * PgBouncer in a switch: PAUSE before the fence (clients wait instead of failing), re-point the
 * databases of its configuration file to the new node, RELOAD, RESUME. And the user's own command
 * (--on-switch).
 *
 * It may be a switch of several databases at once. They are paused at the same time, moved by one
 * change of the file and resumed together. Only the databases that lead to the old nodes are paused,
 * since one PgBouncer may serve others too: those whose host, port and dbname in SHOW DATABASES are
 * a node's. Where that cannot be told (none of them, or an entry "*" that leads any name to a node),
 * all are paused. Where PgBouncers are not in the configuration, Poolers are NULL.
 */
#ifndef MIGRATE_POOLER_H
#define MIGRATE_POOLER_H

#include "base/child.h"
#include "migrate/config.h"

typedef struct Poolers Poolers;

/* where the application finds a database: from the connection to it */
typedef struct Address {
    const char *host;
    const char *port;
    const char *dbname;
} Address;

/* from the node that closes to the one that opens */
typedef struct Move {
    Address from, to;
} Move;

/*
 * Connects to every admin console and reads the configuration file. Refuses when a console is not
 * reachable or does not obey us, when the file has no entry that leads to a `from` (or already to a
 * `to`), or could not be replaced, and when clients would be lead back to closed nodes. Changes
 * nothing. *ret_poolers is NULL when there are no PgBouncers.
 */
CHECKED bool poolers_open(const void *ctx, const Config *config, const Move *moves, size_t n,
                          Poolers **ret_poolers, Err *err);

/*
 * For processes of ours that bring the databases into order when this one dies: the guardian waits
 * for their end, and resumes only if `old`, a node that closes, takes writes then or cannot be asked.
 * Before poolers_pause().
 */
void poolers_settled_by(Poolers *poolers, const Child *const *children, size_t n,
                        const ConnSpec *old);

/*
 * PAUSE on all, in parallel, until the deadline. On failure those that were paused are resumed.
 * From here until poolers_resume a guardian process resumes them if this process dies (or frees the
 * Poolers) before poolers_point_of_no_return(). What is paused already is no error. ret_begun_us:
 * until then nobody was paused.
 */
CHECKED bool poolers_pause(Poolers *poolers, int64_t deadline, int64_t *ret_begun_us, Err *err);

/* the switch is decided: a dying process must no longer send clients back to the old node */
void poolers_point_of_no_return(Poolers *poolers);

/*
 * Rewrites the entries of the ini file that lead to a `from` so that they lead to its `to`, and RELOADs.
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
 * What follows the point of no return: repoint and resume, and the user's command (config->on_switch).
 * Clients of a PgBouncer whose file we re-point need not wait for the command; without a file it is
 * the command that re-points, so it comes first. `poolers` may be NULL. *ret_resumed_us is set when
 * the clients were let go. Can be repeated.
 */
CHECKED bool poolers_redirect(Poolers *poolers, const Config *config, const char *event,
                              const Move *move, int64_t *ret_resumed_us, Err *err);

/*
 * Runs the user's command with /bin/sh. Environment: PGTANDEM_EVENT ("switchover" or "rollback"),
 * PGTANDEM_NEW_HOST, _PORT, _DBNAME and PGTANDEM_OLD_HOST, _PORT, _DBNAME. `from` is the old one.
 * Its output goes to the log. Non-zero exit is ERR_IO. Processes that it leaves in the background
 * live on.
 */
CHECKED bool hook_run(const char *command, const char *event, const Address *from,
                      const Address *to, int64_t deadline, Err *err);

#endif
