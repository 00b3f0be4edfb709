/*
 * What stands in the way of moving some rows of a table only (model/filter.h): tables where that is not possible,
 * conditions that are none or depend on more than the row, and rows whose counterpart would be left behind.
 */
#ifndef CHECK_FILTERS_H
#define CHECK_FILTERS_H

#include "model/filter.h"
#include "model/scope.h"
#include "pg/conn.h"

/* takes the text of something that was found */
typedef void (*FilterFound)(void *arg, const char *text);

/* conditions of what is no table of the run */
void filters_unmatched(const Catalog *source, const Filters *filters, FilterFound found, void *arg);

/* conditions of tables whose rows cannot be told apart from those that were left behind, in both directions */
void filters_unfit(const Catalog *source, const Filters *filters, FilterFound found, void *arg);

/*
 * Conditions that the server does not take, or that depend on more than the row. The server is asked by an index on
 * an empty temporary table, whose predicate must be what the condition has to be: boolean, without subqueries and
 * functions that are not immutable. Nothing of it is committed.
 */
CHECKED bool filters_refused(Conn *source, const Catalog *catalog, const Filters *filters,
                             FilterFound found, void *arg, Err *err);

/* foreign keys with rows that are in the run and refer to rows that are not; how many */
CHECKED bool filters_orphans(Conn *source, const Catalog *catalog, const Scope *scope,
                             const Filters *filters, FilterFound found, void *arg, Err *err);

#endif
