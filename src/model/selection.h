/*
 * Which tables are meant: patterns of names that are taken, and patterns that are left out. The replication
 * service has one for each sync, a run one for the part of a database that it moves.
 */
#ifndef MODEL_SELECTION_H
#define MODEL_SELECTION_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "base/mem.h"

/* schema and name may hold * and ? */
typedef struct Pattern {
    const char *schema;
    const char *name;
    bool schema_glob; /* has unquoted * or ? */
    bool name_glob;
    bool whole; /* a schema with all that is in it, functions and types as well; name is "*" */
    int line;   /* where it stands in a file, for messages */
} Pattern;

/* another name on the target: of a schema, or of a relation in its schema */
typedef struct Rename {
    const char *schema; /* as it is called on the source */
    const char *name;   /* the same of the relation; NULL: the schema itself */
    const char *to;
} Rename;

typedef struct Selection {
    bool all; /* whatever include says */
    Pattern *include;
    size_t n_include;
    Pattern *exclude;
    size_t n_exclude;
    Rename *renames; /* no two of them of the same, nor to the same */
    size_t n_renames;
    bool
        on_target; /* it is asked about names of the target; patterns and renames are of the source's */
} Selection;

/*
 * schema.table, or table for public.table; parts in double quotes are taken as they are. * and ? outside
 * of quotes make it a pattern. False when it is no name. Texts belong to ctx.
 */
CHECKED bool pattern_read(const void *ctx, const char *text, Pattern *ret_pattern);

/* the same for a schema with all that is in it */
CHECKED bool pattern_read_schema(const void *ctx, const char *text, Pattern *ret_pattern);

/* it names a single table, which must exist */
bool pattern_is_name(const Pattern *pattern);

bool pattern_takes(const Pattern *pattern, const char *schema, const char *name);
bool pattern_takes_schema(const Pattern *pattern, const char *schema);

/* as it would be written; belongs to ctx */
char *pattern_text(const void *ctx, const Pattern *pattern);

/* whether it takes this table (or sequence): included and not excluded */
bool selection_takes(const Selection *selection, const char *schema, const char *name);

/* whether it takes a schema with its functions and types, but for tables that are excluded */
bool selection_takes_schema(const Selection *selection, const char *schema);

/* whether something in the schema could be taken */
bool selection_enters(const Selection *selection, const char *schema);

/*
 * OLD=NEW: what `old` names, a schema or schema.table as in patterns, is called NEW on the target. NULL when it can
 * be read, else what is wrong with it. It is added to the selection, to which its texts belong.
 */
CHECKED const char *selection_add_rename(Selection *selection, const char *text, bool of_schema);

/* the same selection for the names of the target; selection itself where both are called alike. Belongs to ctx. */
const Selection *selection_on_target(const void *ctx, const Selection *selection);

/* the run gives other names */
bool selection_renames(const Selection *selection);

/*
 * The name on the target of something that is called schema.name on the source; and the other way round, where false
 * says that nothing of the run can have this name there. *name may be NULL: a schema. A NULL selection changes nothing.
 */
void selection_to_target(const Selection *selection, const char **schema, const char **name);
CHECKED bool selection_to_source(const Selection *selection, const char **schema,
                                 const char **name);

/* OLD=NEW as it would be written; belongs to ctx */
char *rename_text(const void *ctx, const Rename *rename);

/*
 * A selection in one text, a pattern in each line, in an order of its own: two that mean the same are the same
 * text, if they are written in the same way. NULL selects everything, which is an empty text. Belongs to ctx.
 */
char *selection_text(const void *ctx, const Selection *selection);

/* what selection_text() wrote; *ret is NULL for an empty text. False when it cannot be read. */
CHECKED bool selection_read(const void *ctx, const char *text, Selection **ret);

/* the same for people, as options of the command line; belongs to ctx */
char *selection_options(const void *ctx, const Selection *selection);

/* * in glob is any text, ? any character of UTF-8; all other characters are themselves */
bool glob_matches(const char *glob, const char *text);

#endif
