/*
 * The commands of the live upgrade, one function each. They print what a person should see (log on
 * standard error, results on standard output) and return false with err filled; cli/ turns that
 * into an exit code.
 */
#ifndef MIGRATE_COMMANDS_H
#define MIGRATE_COMMANDS_H

#include "migrate/config.h"

CHECKED bool migrate_check(const Config *config, Err *err);
CHECKED bool migrate_upgrade(const Config *config, Err *err);
CHECKED bool migrate_switchover(const Config *config, Err *err);
CHECKED bool migrate_rollback(const Config *config, Err *err);
CHECKED bool migrate_finish(const Config *config, Err *err);
CHECKED bool migrate_abort(const Config *config, Err *err);
CHECKED bool migrate_verify(const Config *config, Err *err);
CHECKED bool migrate_status(const Config *config, Err *err);

/*
 * the same for all databases of a server at once (--all-databases); source and target name any database of
 * theirs. See server.h.
 */
CHECKED bool server_check(const Config *config, Err *err);
CHECKED bool server_upgrade(const Config *config, Err *err);
CHECKED bool server_switchover(const Config *config, Err *err);
CHECKED bool server_rollback(const Config *config, Err *err);
CHECKED bool server_finish(const Config *config, Err *err);
CHECKED bool server_abort(const Config *config, Err *err);
CHECKED bool server_verify(const Config *config, Err *err);
CHECKED bool server_status(const Config *config, Err *err);

/* the hidden command of the processes of such a run, one for each database: see member.h */
CHECKED bool migrate_member(Err *err);
/* brings a database whose switch stopped half-way to where the other databases are */
CHECKED bool migrate_settle(const Config *config, Err *err);

/* prints the table of steps: as text, or as a Mermaid diagram for the manual */
void migrate_print_states(bool mermaid);

/* the hidden command of worker processes: jobs come on standard input, see migrate/pool.h */
CHECKED bool migrate_worker(Err *err);

#endif
