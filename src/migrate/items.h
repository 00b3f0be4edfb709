/*
 * What comes after the data: the entries of pg_dump's post-data section, kept in pgtandem.post_item
 * on the target, so that any machine can go on. Indexes and constraints of a table are built in
 * parallel as soon as it is settled; the rest follows in pg_dump's order when the copy is
 * consistent for the first time.
 */
#ifndef MIGRATE_ITEMS_H
#define MIGRATE_ITEMS_H

#include "model/table.h"
#include "pg/conn.h"
#include "schema/dump.h"
#include "sql/queries.h"

typedef enum ItemStage {
    ITEM_INDEX, /* indexes, primary keys, unique and exclusion constraints */
    ITEM_LATE,  /* everything else but foreign keys, in order */
    ITEM_FK     /* foreign keys: need consistent data */
} ItemStage;

typedef struct Item {
    int no;
    int tab; /* the table it belongs to, 0 for none */
    ItemStage stage;
    const char *type;
    const char *schema;
    const char *name;
    bool done;
} Item;

/*
 * stores an entry, with the planned table that it belongs to; skipped kinds (event triggers,
 * publications, subscriptions) are logged and not stored
 */
CHECKED bool item_store(Conn *conn, int no, const DumpEntry *entry, const Catalog *planned,
                        Err *err);

/* all items in order */
CHECKED bool items_load(const void *ctx, Conn *conn, Item **ret_items, size_t *ret_n, Err *err);

/* runs one item and marks it done, in one transaction; does nothing when it is done already */
CHECKED bool item_build(Conn *conn, int no, Err *err);

/*
 * the same for all that belong to a table of ours, in one transaction: what a small table costs is
 * above all its transactions
 */
CHECKED bool items_build(Conn *conn, int tab, Err *err);

/* whether an item is one of these foreign keys */
CHECKED bool item_is_one_of(Conn *conn, int no, const ForeignKeysRow *keys, size_t n, bool *ret_is,
                            Err *err);

/* an item that is not to be built any more */
CHECKED bool item_forget(Conn *conn, int no, Err *err);

/* lets a foreign key sleep from the beginning instead of creating it; loose: see sleep.h */
CHECKED bool item_foreign_key_asleep(Conn *conn, int no, bool loose, Err *err);

/*
 * Runs a statement of pg_dump's that the copy can do without (comments, grants, owners) behind a
 * savepoint: missing rights or roles are logged as warnings.
 */
CHECKED bool item_run_optional(Conn *conn, const char *what, const char *statement, Err *err);
/*
 * the same without a word: *ret_refusal says why it was not possible, or is NULL; it belongs to ctx
 */
CHECKED bool item_try_optional(const void *ctx, Conn *conn, const char *statement,
                               const char **ret_refusal, Err *err);
bool item_type_is_optional(const char *type);

#endif
