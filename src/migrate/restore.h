/*
 * Making what pg_dump told: its statements, with the owners as far as the target knows them.
 */
#ifndef MIGRATE_RESTORE_H
#define MIGRATE_RESTORE_H

#include "pg/conn.h"
#include "schema/dump.h"

/*
 * Runs the entries in the caller's transaction on conn. What is optional (comments, rights, owners) is told and left
 * out where the server refuses it. source: where they come from; it tells which role is ours there.
 */
CHECKED bool restore_entries(Conn *source, Conn *conn, const DumpEntry *entries, size_t n,
                             Err *err);

#endif
