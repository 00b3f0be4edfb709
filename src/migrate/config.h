/*
 * What the user asked for: filled by cli/ from options and environment, passed down read-only.
 */
#ifndef MIGRATE_CONFIG_H
#define MIGRATE_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "pg/conn.h"

typedef struct Config {
    ConnSpec source;     /* the old node; label "source" */
    ConnSpec target;     /* the new node; label "target" */
    int64_t jobs;        /* parallel workers for copy, index builds, verify */
    int64_t chunk_bytes; /* wanted size of a piece of the initial copy */
    int64_t
        follow_keyless_bytes; /* larger tables without key are followed, others copied in the pause */
    int64_t max_pause_ms;     /* time budget of a switch, fence to open */
    int64_t max_lag_ms;       /* a switch starts only when the copy is no older than this */
    const char **pgbouncers; /* conninfos of PgBouncer admin consoles to pause and resume */
    size_t n_pgbouncers;
    const char *pgbouncer_ini; /* configuration file to re-point, or NULL */
    const char *on_switch;     /* shell command run when the new node is open, or NULL */
    const char *pg_bindir;     /* directory of pg_dump, or NULL: the newest that is found */
    const char **accepted;     /* ids of findings the user accepts (see check/) */
    size_t n_accepted;
    bool all_databases;    /* of the server, in one run: see server.h */
    const char **excluded; /* databases that such a run leaves out */
    size_t n_excluded;
    /* the part of the database that is meant, as patterns; a run that exists remembers its own */
    const char **schemas, **excluded_schemas, **tables, **excluded_tables;
    size_t n_schemas, n_excluded_schemas, n_tables, n_excluded_tables;
    const char **renamed_schemas, **renamed_tables; /* OLD=NEW */
    size_t n_renamed_schemas, n_renamed_tables;
    const char **conditions; /* TABLE=CONDITION: rows that are moved; remembered in the same way */
    size_t n_conditions;
    const struct Member *member; /* this process works on one database of such a run; else NULL */
    bool switchover;             /* upgrade: switch as soon as the copy is in step */
    bool dry_run;
    bool json;
    bool watch;
    bool allow_downgrade;
    bool allow_nonempty;
} Config;

#endif
