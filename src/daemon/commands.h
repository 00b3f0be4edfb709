/*
 * The commands of the replication service. Each works from any machine that has the configuration
 * file and reaches the databases, whether the service runs or not, unless it says otherwise.
 * Results are printed to standard output.
 */
#ifndef DAEMON_COMMANDS_H
#define DAEMON_COMMANDS_H

#include <stdint.h>

#include "base/err.h"
#include "base/mem.h"
#include "model/service.h"

/* runs the service until it is told to stop; in the background when background is set */
CHECKED bool service_start(const Service *service, bool background, Err *err);

/* ends the service of this file on this machine (by its pid file), and waits for its end */
CHECKED bool service_stop(const Service *service, Err *err);

/* has the running service of this machine read the file again */
CHECKED bool service_reload(const Service *service, Err *err);

/*
 * connects to the databases and looks for everything that would stop a sync: rights, tables that are
 * missing, have no key or other columns. Problems go to standard output, with the file's lines; ERR_REFUSED
 * when there are any.
 */
CHECKED bool service_validate(const Service *service, Err *err);

/* the state of all syncs, or of those named */
CHECKED bool service_status(const Service *service, const char *const *syncs, size_t n, bool json,
                            Err *err);

/*
 * Asks for a round now. wait_ms: 0 does not wait, < 0 waits as long as it takes; when the time is over,
 * ERR_TIMEOUT.
 */
CHECKED bool service_kick(const Service *service, const char *const *syncs, size_t n,
                          int64_t wait_ms, Err *err);

/* wait_ms: as of service_kick, until nothing is at work any more; only of pause */
CHECKED bool service_pause(const Service *service, const char *const *syncs, size_t n, bool pause,
                           int64_t wait_ms, Err *err);

/* has tables of a sync copied anew; none named: all of them */
CHECKED bool service_recopy(const Service *service, const char *sync, const char *const *tables,
                            size_t n, Err *err);

/*
 * Takes what a sync has installed off all databases, also of edges that were in the file before, as the whole sync may
 * have been; done before it is removed from the file. Until ctx is freed no worker begins with its edges: those that wait then read the file.
 * force: databases that cannot be reached are left as they are, with a warning.
 */
CHECKED bool service_remove_sync(const void *ctx, const Service *service, const char *sync,
                                 bool force, Err *err);

/* the same before a database is removed that no sync has any more: of edges that were in the file before */
CHECKED bool service_remove_db(const void *ctx, const Service *service, const char *db, bool force,
                               Err *err);

/* the conflicts that were kept, of all syncs or of those named */
CHECKED bool service_conflicts(const Service *service, const char *const *syncs, size_t n,
                               bool json, Err *err);

/* reads the configuration of a Bucardo 5 and writes the equivalent file, which must not exist */
CHECKED bool service_import_bucardo(const char *conninfo, const char *path, Err *err);

/* guards the queues, and takes away what is not in the file any more; started by the service */
CHECKED bool service_keeper(const Service *service, Err *err);

/* the worker of one edge, started by the service */
CHECKED bool service_edge(const Service *service, const char *sync, const char *from,
                          const char *to, Err *err);

#endif
