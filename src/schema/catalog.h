/*
 * Reads a database's tables, keys and sequences into the model, and chooses what is replicated
 * under which name:
 *   - an ordinary table under its own name;
 *   - a partitioned table with a key under the root's name (the two sides may be partitioned differently);
 *   - without a key on the root: each partition by itself if all of them have one (PostgreSQL 10), else the
 *     root as a table without key.
 */
#ifndef SCHEMA_CATALOG_H
#define SCHEMA_CATALOG_H

#include "model/selection.h"
#include "model/table.h"
#include "pg/conn.h"

/*
 * reads everything of the node that is selected (NULL: everything); the result and all in it belong to ctx. Tables
 * have no numbers yet.
 */
CHECKED bool catalog_load(const void *ctx, Conn *conn, const Selection *selection,
                          Catalog **ret_catalog, Err *err);

/* which tables are of interest */
typedef struct CatalogChoice {
    bool (*wants)(const void *arg, const char *schema, const char *name);
    const void *arg;
} CatalogChoice;

/*
 * The oids of the tables that are wanted, as an array: with hundreds of syncs each of them reads its own tables
 * only. With a partition come all the others, and what they are parts of.
 */
CHECKED bool catalog_choose(const void *ctx, Conn *conn, const CatalogChoice *choice,
                            const char **ret_relids, Err *err);

/*
 * the same as catalog_load() for those tables, and all sequences; what belongs to extensions counts as theirs, users'
 * rows or not
 */
CHECKED bool catalog_load_some(const void *ctx, Conn *conn, const char *relids,
                               Catalog **ret_catalog, Err *err);

/*
 * gives the tables that can be replicated numbers from 1 and writes them to the node's pgtandem.tab
 */
CHECKED bool catalog_register(Conn *conn, const Table *tables, size_t n, Err *err);

/* gives a registered table another number and key, those of table */
CHECKED bool catalog_register_key(Conn *conn, int old_id, const Table *table, Err *err);

/*
 * The tables of the node's pgtandem.tab, found again in its catalog: an array of n in the order of
 * numbers. peer (NULL, or the other node's tables in the same order) lends its key description
 * while this node has no key index yet. ERR_STATE when a table is gone or its key has changed.
 */
CHECKED bool catalog_tabs(const void *ctx, Conn *conn, const Catalog *catalog, const Table *peer,
                          Table **ret_tables, size_t *ret_n, Err *err);

/*
 * Names of the columns that travel from src to dst: not generated on either side. ERR_STATE when
 * dst lacks a column of src. An array of pointers into src, owned by ctx.
 */
CHECKED bool catalog_carried_columns(const void *ctx, const Table *src, const Table *dst,
                                     const Column ***ret_columns, size_t *ret_n, Err *err);

#endif
