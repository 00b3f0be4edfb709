/*
 * Other names: the definitions of the source as they are called on the target.
 *
 * Text cannot be renamed exactly (an alias may be called like a schema, a default may hold a name in quotes), but a
 * server can: the definitions are made, without rows, in a database of their own on the target's server, renamed
 * there, and dumped again. The database is gone when the step ends; what a crash left of it goes with the next
 * attempt or with `abort`.
 */
#ifndef MIGRATE_SCRATCH_H
#define MIGRATE_SCRATCH_H

#include "migrate/run.h"
#include "schema/dump.h"

/* both sections of pg_dump */
typedef struct Sections {
    DumpEntry *pre;
    size_t n_pre;
    DumpEntry *post;
    size_t n_post;
} Sections;

/*
 * Gives what source says its names on the target. *ret_made: all objects that come of it, as check_have tells them.
 * Results belong to ctx. Only our scratch database is changed.
 */
CHECKED bool scratch_rename(const void *ctx, Run *run, const Sections *source, Sections *ret,
                            const char ***ret_made, size_t *ret_n_made, Err *err);

/* drops what is left of it, if anything is; not within a transaction */
CHECKED bool scratch_drop(Run *run, Err *err);

#endif
