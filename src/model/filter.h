/*
 * Which rows of a table a run moves: conditions of the user (--where), and the SQL that follows from them.
 *
 * A condition is asked on the source only, whichever node takes writes: it tells which of its rows are in the run. So
 * are those that fail it and were written by the way back; their keys are in pgtandem.outside. Everything that reads
 * or compares rows of the source reads this part of the table, and nothing but this part is ever written to.
 */
#ifndef MODEL_FILTER_H
#define MODEL_FILTER_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "base/mem.h"
#include "model/table.h"

typedef struct Filter {
    const char *schema; /* as the table is called on the source */
    const char *name;
    const char *condition; /* without white space around it */
} Filter;

typedef struct Filters {
    Filter *list; /* no two of the same table */
    size_t n;
} Filters;

/*
 * TABLE=CONDITION, the table as in patterns (schema.table, or table for public.table). NULL when it can be read, else
 * what is wrong with it. It is added, with texts of its own.
 */
CHECKED const char *filters_add(Filters *filters, const char *text);

/* that of the table, or NULL; filters may be NULL */
const Filter *filters_find(const Filters *filters, const char *schema, const char *name);

/* gives tables their conditions, by the names that they have on the source */
void filters_apply(const Filters *filters, Table *tables, size_t n);

/*
 * All of them in one text, each in a line, in an order of its own: the same filters are the same text. No filters
 * (NULL) are an empty text. Belongs to ctx.
 */
char *filters_text(const void *ctx, const Filters *filters);

/* what filters_text() wrote; *ret is NULL for an empty text. False when it cannot be read. */
CHECKED bool filters_read(const void *ctx, const char *text, Filters **ret);

/* the same for people, as options of the command line; belongs to ctx */
char *filters_options(const void *ctx, const Filters *filters);

/*
 * Rows of the table can be told apart from those that were left behind, in both directions: by a key, and in a table
 * whose rows cannot move to another one
 */
bool filter_is_possible(const Table *table);

/*
 * The condition as it may stand in a query: in parentheses and on lines of its own, since it may end with a comment.
 * That it does not close the parentheses itself has been checked (check/filters.h). Belongs to ctx.
 */
char *filter_condition(const void *ctx, const char *condition);

/* of a table with a condition: the key of the row `alias` as pgtandem.outside has it. Belongs to ctx. */
char *filter_key(const void *ctx, const Table *table, const char *alias);

/* the same: whether the row t of the source is in the run; never null. Belongs to ctx. */
char *filter_part(const void *ctx, const Table *table);

#endif
