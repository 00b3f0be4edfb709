/*
 * A run of all databases of a server: what its commands (server_… in commands.h) have in common. crew.h has the
 * processes, one for each database; member.h tells how a switch of all of them is decided.
 */
#ifndef MIGRATE_SERVER_H
#define MIGRATE_SERVER_H

#include "check/check.h"
#include "migrate/crew.h"

/* which databases a command is about */
typedef enum ServerScope {
    SERVER_ALL,    /* of the source: those of the run, and those to be taken into it */
    SERVER_MEMBERS /* those of the run */
} ServerScope;

/*
 * Connects to both servers and looks at all their databases. The result belongs to ctx; it has no databases
 * when there are none.
 */
CHECKED Crew *server_open(const void *ctx, const Config *config, ServerScope scope, Err *err);

/* databases of the source that are not in the run although they were not excluded; NULL when there are none */
char *server_outsiders(const void *ctx, const Crew *crew);

typedef struct ServerFindings {
    Finding *server; /* about the servers as such */
    size_t n_server;
    json_t **databases; /* by index: what check found; NULL for those in the run already */
    size_t n_databases;
    size_t errors; /* all that refuse an upgrade */
} ServerFindings;

/* checks the servers, and every database that is not in the run yet; changes nothing */
CHECKED bool server_find(const void *ctx, Crew *crew, ServerFindings *ret_found, Err *err);

/* "database", or "databases" */
const char *server_plural(size_t n);

#endif
