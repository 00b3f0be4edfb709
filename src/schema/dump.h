/*
 * The source's definitions by pg_dump, split into entries: pg_dump writes a comment with type,
 * schema and name before each. No files are left anywhere.
 */
#ifndef SCHEMA_DUMP_H
#define SCHEMA_DUMP_H

#include "model/scope.h"
#include "pg/conn.h"

/* pg_dump as it was found */
typedef struct PgDump {
    const char *path;
    int version; /* as PQserverVersion, e.g. 150000 */
} PgDump;

typedef struct DumpEntry {
    const char *type;   /* TABLE, INDEX, FK CONSTRAINT … as pg_dump calls them */
    const char *schema; /* "-" for none */
    const char *name;
    const char *statement; /* the SQL behind the comment, may be several statements */
} DumpEntry;

typedef enum DumpSection { DUMP_PRE_DATA, DUMP_POST_DATA } DumpSection;

/*
 * Looks for pg_dump in bindir (when given), else in PATH and the usual places, and takes the one
 * that fits best: not older than the source, and if possible not newer than the target. Not finding
 * any is no error: ret_dump->path is NULL.
 */
CHECKED bool dump_find(const void *ctx, const char *bindir, int source_version, int target_version,
                       PgDump *ret_dump, Err *err);

typedef struct DumpOptions {
    const ConnSpec *source;
    const char
        *snapshot; /* exported by a session of ours, so that both sections fit together, or NULL */
    const char **only; /* what scope_dump_options() says, or NULL */
    bool with_owners;
    bool with_privileges;
} DumpOptions;

/* runs pg_dump for one section; entries belong to ctx */
CHECKED bool dump_section(const void *ctx, const PgDump *dump, const DumpOptions *options,
                          DumpSection section, DumpEntry **ret_entries, size_t *ret_n, Err *err);

/* the statements of a dump or an entry, without comments and psql's commands; they belong to ctx */
void dump_statements(const void *ctx, const char *text, const char ***ret_statements,
                     size_t *ret_n);

/*
 * The statements that make the roles of a server, with their settings and memberships, and those that make a
 * database with its properties (which do not connect to it). They may hold passwords, so they are not for
 * messages. database: one that we may connect to.
 */
CHECKED bool dump_roles(const void *ctx, const PgDump *dump, const ConnSpec *source,
                        const char *database, bool with_passwords, const char ***ret_statements,
                        size_t *ret_n, Err *err);
CHECKED bool dump_database(const void *ctx, const PgDump *dump, const ConnSpec *source,
                           const char ***ret_statements, size_t *ret_n, Err *err);

/* whether an entry is meant: pg_dump itself knows only of schemas and tables that are left out */
bool dump_wants_entry(const Scope *scope, const DumpEntry *entry);

/* reads "a name" with doubled quotes; *text is moved behind it; NULL when there is none */
char *dump_quoted_name(const void *ctx, const char **text);

/*
 * splits pg_dump's plain output; what stands before the first entry (session settings) is dropped
 */
void dump_split(const void *ctx, const char *text, DumpEntry **ret_entries, size_t *ret_n);

/*
 * The table that an INDEX or CONSTRAINT entry belongs to: the first "schema"."name" of its
 * statement, which pg_dump writes with all names quoted. False when there is none.
 */
bool dump_entry_table(const void *ctx, const DumpEntry *entry, const char **ret_schema,
                      const char **ret_name);
/* the same of a constraint, or of a comment on one; the entry's own name has no line breaks */
bool dump_entry_constraint(const void *ctx, const DumpEntry *entry, const char **ret_schema,
                           const char **ret_table, const char **ret_name);

#endif
