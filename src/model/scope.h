/*
 * A selection as it is on one node at one moment: which of its relations and schemas are meant.
 *
 * A partition goes with the table that it is a part of, a sequence with the table that it belongs to, whatever
 * their names are. NULL is the scope of a run without a selection: everything.
 */
#ifndef MODEL_SCOPE_H
#define MODEL_SCOPE_H

#include "model/selection.h"
#include "pg/conn.h"

typedef struct Scope Scope;

/* *ret_scope belongs to ctx, and keeps selection; NULL when selection is NULL */
CHECKED bool scope_read(const void *ctx, Conn *conn, const Selection *selection,
                        const Scope **ret_scope, Err *err);

/* a table, view, sequence, … that is meant */
bool scope_has(const Scope *scope, const char *schema, const char *name);
/* a schema that is meant with its functions, types and the like */
bool scope_has_schema(const Scope *scope, const char *schema);
/* … or in which at least something is meant */
bool scope_enters(const Scope *scope, const char *schema);

/* there is a relation of this name and it is not meant */
bool scope_leaves(const Scope *scope, const char *schema, const char *name);
/* there is such a schema */
bool scope_knows_schema(const Scope *scope, const char *schema);

/* whether a text of check/ begins with a relation that is meant, or has one behind "of" */
bool scope_mentions(const Scope *scope, const char *text);

/* the oids of tables as an array; NULL for all */
char *scope_relids(const void *ctx, const Scope *scope);

/* patterns and renames to which nothing belongs here, which is the source; belongs to ctx */
const char **scope_unmatched(const void *ctx, const Scope *scope, size_t *ret_n);

/* whether nothing at all is meant here */
bool scope_is_empty(const Scope *scope);

/* the relations that are meant, those of extensions aside; belongs to ctx */
const char **scope_taken(const void *ctx, const Scope *scope, size_t *ret_n);

/* tables that inherit across the border: "a.child inherits from b.parent"; belongs to ctx */
const char **scope_torn(const void *ctx, const Scope *scope, size_t *ret_n);

/* what pg_dump is told, up to a NULL; NULL without a scope. Belongs to ctx. */
const char **scope_dump_options(const void *ctx, const Scope *scope);

/* whether what is in no schema is meant: extensions, casts, servers of foreign tables */
bool scope_has_unowned(const Scope *scope);

#endif
