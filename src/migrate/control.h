/*
 * Our schema on one node: how it is made, and what it says about the node.
 */
#ifndef MIGRATE_CONTROL_H
#define MIGRATE_CONTROL_H

#include "pg/conn.h"
#include "pg/query.h"

/* of the schema; another format belongs to another version of the program. Never one that was in use before. */
enum { CONTROL_FORMAT = 10 };

/* side of databases of the replication service; those of a run are "source" and "target" */
#define CONTROL_SERVICE "service"

/* runs a script of sql/, in the caller's transaction */
CHECKED bool control_script(Conn *conn, const Query *script, Err *err);

/*
 * creates the schema, in the caller's transaction; side: "source", "target" or CONTROL_SERVICE; open:
 * applications may write here; leader: of a run of all databases, or ""; selection: what selection_text() says;
 * filters: what filters_text() says
 */
CHECKED bool control_create(Conn *conn, const char *run_id, const char *side, bool open,
                            const char *leader, const char *selection, const char *filters,
                            Err *err);

#endif
