/*
 * What belongs to a server and not to one of its databases: roles, memberships, and the databases themselves.
 * pg_dumpall and pg_dump tell what the source has; what the target has already stays as it is there.
 */
#ifndef MIGRATE_GLOBALS_H
#define MIGRATE_GLOBALS_H

#include "pg/conn.h"
#include "schema/dump.h"

/*
 * Creates the roles that the target lacks, with attributes, passwords (where they can be read), settings and
 * memberships, all in one transaction. What is refused is warned of.
 */
CHECKED bool globals_roles(Conn *source, Conn *target, const ConnSpec *spec, const PgDump *dump,
                           Err *err);

/*
 * Creates a database with encoding, locale, owner, privileges, settings and connection limit of that on the
 * source, which spec names. Under its name it is there with all of this or not at all.
 */
CHECKED bool globals_database(Conn *target, const ConnSpec *spec, const char *database,
                              const PgDump *dump, Err *err);

#endif
