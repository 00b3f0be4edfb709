/*
 * What the service has in a database: made when an edge begins to work, taken away when its sync is
 * removed. Everything can be repeated after a crash.
 */
#ifndef DAEMON_INSTALL_H
#define DAEMON_INSTALL_H

#include "daemon/plan.h"

/* a connection to one database of the service; messages call it "database A" */
CHECKED Conn *service_connect(const void *ctx, const Db *db, const char *purpose, Err *err);

/*
 * *ret_present: the database is in the service. ERR_STATE when our schema there is of a run, of
 * another version, or unreadable.
 */
CHECKED bool install_is_present(Conn *conn, bool *ret_present, Err *err);

/* our schema and the edge's rows where it ends; owner: see owner.h */
CHECKED bool install_target(Conn *to, const EdgeSpec *edge, const char *owner, Err *err);

/*
 * The same where it begins, and capture of the plan's tables. Gives the tables their numbers; one whose
 * key is not the one that is captured gets a problem.
 */
CHECKED bool install_source(Conn *from, const EdgeSpec *edge, const char *owner, Plan *plan,
                            Err *err);

/*
 * takes an edge off one of its databases, and all that no other edge needs; begins_only: what it has where it
 * begins, should it end in the same database
 */
CHECKED bool uninstall_edge(Conn *conn, const char *edge, bool begins_only, Err *err);

/* what a removal that was broken off has left, of a database that is in the service */
CHECKED bool uninstall_rests(Conn *conn, Err *err);

#endif
