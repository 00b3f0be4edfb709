/*
 * What the parts of ddl.c share; nobody else includes it.
 *
 *     ddl_look.c   what is there, and what was there before
 *     ddl_work.c   statements for the copy that follow from the catalogs, and running them
 *     ddl_dump.c   statements that pg_dump tells, and drops
 *     ddl_names.c  tables and schemas that were renamed
 *     ddl_tabs.c   numbers of tables, their triggers, marks for all of their rows
 *     ddl_keys.c   foreign keys
 *     ddl_border.c what must not cross the border of a selection
 *     ddl_filter.c tables of which some rows only are moved
 *     ddl_copying.c what cannot wait until the copy is complete
 *     ddl_other.c  runs that give other names, where changes are only compared
 *     ddl.c        all of it in order, and what is in order then
 */
#ifndef MIGRATE_DDL_IMPL_H
#define MIGRATE_DDL_IMPL_H

#include "migrate/baseline.h"
#include "migrate/run.h"
#include "pg/sql.h"
#include "schema/dump.h"
#include "sql/queries.h"

/* the same when it was last in order: the baseline */
typedef struct Before {
    BaselineRow *prints;
    size_t n_prints;
    OldTablesRow *tables;
    size_t n_tables;
    OldColumnsRow *columns;
    size_t n_columns;
} Before;

/* those of one table */
typedef struct Columns {
    const ColumnDefinitionsRow *columns;
    size_t n;
} Columns;

/* one statement for the copy */
typedef struct Work {
    const char *object; /* as in schema_prints */
    const char *statement;
    const char *otherwise; /* … or this, if the server refuses that; or NULL */
    bool destroys;         /* … also of rows that were left behind: see ddl_filter.c */
    bool stops;            /* without it rows of the table cannot be carried exactly */
    bool done;
    char *refusal; /* what the server said */
} Work;

/* a number whose table has another name now, or none (schema "") */
typedef struct TabChange {
    int id;
    const char *schema;
    const char *name;
} TabChange;

typedef struct Ddl {
    Run *run;
    Side side[2]; /* [0]: the node that takes writes; [1]: the copy */
    Conn *from;
    Conn *to;
    Before before;
    Definitions now, copy;
    void *copy_ctx;   /* of copy */
    Catalog *catalog; /* of `from` */
    TabsRow *tabs;
    size_t n_tabs;
    TabChange *changes;
    size_t n_changes;
    bool remade;     /* a table was dropped and made again under its name */
    bool copying;    /* the copy is being made: see ddl_copying.c */
    DumpEntry *post; /* what ddl_work_of_dump() was told of the second section, when copying */
    size_t n_post;
    Work *work;
    size_t n_work;
    int64_t *anew; /* tables of `from` (relid) whose rows are all to be carried */
    size_t n_anew;
    int64_t *unsettled; /* tables of `from` (relid) that cannot be carried, or are not */
    size_t n_unsettled;
    const char **open; /* changed objects that are not the same on both nodes yet, */
    size_t n_open;
    const char **settled; /* and those that are */
    size_t n_settled;
} Ddl;

/* ---- ddl_look.c */

CHECKED bool ddl_read_before(const void *ctx, Conn *target, Side side, Before *ret, Err *err);
CHECKED bool ddl_read_copy(Ddl *ddl, Err *err);
const BaselineRow *ddl_find_before(const Before *b, const char *object);
const TableRelationsRow *ddl_find_relid(const Definitions *d, int64_t relid);
const OldTablesRow *ddl_old_table(const Before *b, int64_t relid);
const OldColumnsRow *ddl_old_column(const Before *b, int64_t relid, int number);
const OldColumnsRow *ddl_old_name(const Before *b, int64_t relid, const char *name);
const ColumnDefinitionsRow *ddl_find_column(const Definitions *d, int64_t relid, const char *name);
Columns ddl_columns(const Definitions *d, int64_t relid);
bool ddl_same_text(const char *a, const char *b);
bool ddl_listed(const char *const *texts, size_t n, const char *text);
/* changed on the node that takes writes since the baseline: it is new, gone, or another one */
bool ddl_has_changed(const Ddl *ddl, const char *object);
/*
 * the same for a table: it is new under this oid, or has another name or other columns, or was rewritten by
 * ALTER TABLE
 */
bool ddl_table_has_changed(const Ddl *ddl, const TableRelationsRow *table);
/* all its rows were to be carried anew when a crash came: see ddl_remember_anew() */
bool ddl_is_remembered(const OldTablesRow *old);
/* the table that this one of `from` is a partition of, at any depth, or itself; NULL when it is not there */
const TableRelationsRow *ddl_root_of(const Ddl *ddl, const TableRelationsRow *table);
/* it was rewritten or truncated; of a partitioned table those partitions count that are still there */
bool ddl_has_other_files(const Ddl *ddl, const TableRelationsRow *table, const OldTablesRow *old);
/* all rows of a table, or of the tree that it is a partition of, are to be carried */
void ddl_carry_anew(Ddl *ddl, int64_t relid);
void ddl_mark_unsettled(Ddl *ddl, int64_t relid);

/* ---- ddl_work.c */

void ddl_add_work(Ddl *ddl, const char *object, const char *statement, bool stops);
/* what was added last takes values away from rows that are on the copy only */
void ddl_work_destroys(Ddl *ddl);
/* the same for what was added last, in another way */
void ddl_add_otherwise(Ddl *ddl, const char *statement);
/* DROP … of an object by its name in schema_prints; NULL: nothing to do, others do it */
const char *ddl_drop_statement(const void *ctx, const Caps *caps, const char *object);
/* ALTER TABLE "schema"."table" */
Sql *ddl_alter_table(const void *ctx, const char *schema, const char *name);
bool ddl_is_generated(const ColumnDefinitionsRow *column);
/* columns of a table that changed on the node that takes writes */
void ddl_alter_columns(Ddl *ddl, const TableRelationsRow *table, const TableRelationsRow *copy);
/* labels that came to an enum, if this is one that has changed */
CHECKED bool ddl_follow_labels(Ddl *ddl, const SchemaPrintsRow *print, Err *err);
/* "parent … of table …" as in schema_prints, or "" */
const char *ddl_parent_object(const Ddl *ddl, const TableRelationsRow *table);
/* partitions that came to a table, left it or moved */
CHECKED bool ddl_move_partitions(Ddl *ddl, Err *err);
/* one that the copy is to get, or has on its own; rows on the copy that are in the way go, and come again */
CHECKED bool ddl_attach_partition(Ddl *ddl, const TableRelationsRow *table, Err *err);
/* its rows on the copy go: all of them are carried anew, and what was there may be in the way of a key */
void ddl_empty(Ddl *ddl, const TableRelationsRow *table);
const char *ddl_empty_statement(const void *ctx, const TableRelationsRow *table);
/* in any order that works: again and again until nothing more can be done */
CHECKED bool ddl_do_work(Ddl *ddl, Err *err);
/* a change that has to be made before rows can be carried: who reads this has to make it */
CHECKED bool ddl_refuse_stopping(Ddl *ddl, Err *err);

/* ---- ddl_dump.c */

/* the view of a "definition of view …" */
const char *ddl_view_of(const void *ctx, const SchemaPrintsRow *print);
/* pg_dump, and whether it can tell what is new on the node that takes writes */
CHECKED bool ddl_find_dump(const void *ctx, Ddl *ddl, PgDump *ret_dump, bool *ret_usable, Err *err);
void ddl_work_of_facts(Ddl *ddl);
CHECKED bool ddl_work_of_dump(Ddl *ddl, const char *snapshot, Err *err);
/* objects that are gone from `from` and were there */
void ddl_work_of_drops(Ddl *ddl);

/* ---- ddl_tabs.c */

/* what became of the captured tables */
void ddl_follow_tabs(Ddl *ddl);
/* only of those that are gone */
void ddl_retire_gone(Ddl *ddl);
/* a table without key whose changes are captured as whole rows: their shape is that of the table */
bool ddl_has_images(const Ddl *ddl, const TableRelationsRow *table);
/* what ddl_carry_anew() lists is known also after a crash */
CHECKED bool ddl_remember_anew(Ddl *ddl, Err *err);
/* new names of numbers, on the copy first: whoever comes after a crash compares what `from` says */
CHECKED bool ddl_change_tabs(Ddl *ddl, Err *err);
CHECKED bool ddl_register_tables(Ddl *ddl, const Catalog *copy, Err *err);
/* key columns that have other names now, on one node */
CHECKED bool ddl_rename_keys(Conn *conn, const Catalog *catalog, Err *err);
/* triggers for what has none yet, on one node; *ret_again: tables (numbers) that lost some */
CHECKED bool ddl_complete_captures(Ddl *ddl, Conn *conn, Err *err);
/* every row of these tables in the next round; only then may the baseline forget that they changed */
CHECKED bool ddl_carry_rows(Ddl *ddl, Err *err);

/* ---- ddl_copying.c */

/* what of pg_dump's is made while the copy is being made */
bool ddl_wants_while_copying(const Ddl *ddl, const SchemaPrintsRow *now);

/* ---- ddl.c */

/* the same columns with the same types: rows can be carried; *ret_exactly: all else is the same as well */
bool ddl_columns_agree(const Ddl *ddl, const char *schema, const char *name, bool *ret_exactly);

/* ---- ddl_names.c */

/* names of tables and schemas that changed; the copy is to be read again then */
CHECKED bool ddl_follow_names(Ddl *ddl, Err *err);

/* ---- ddl_keys.c */

/*
 * those that came, or demand something else under their name, sleep on the copy until it takes over, whatever the role
 * may do: rows may come later
 */
CHECKED bool ddl_carry_foreign_keys(Ddl *ddl, const ForeignKeysRow *now, size_t n_now, Err *err);
/* all of them as one text, to see whether any came, went or changed */
char *ddl_keys_text(const void *ctx, const ForeignKeysRow *keys, size_t n);
/* one that sleeps on the copy, and is gone from the other node, does not come back */
CHECKED bool ddl_forget_asleep_key(Ddl *ddl, const char *schema, const char *table,
                                   const char *name, Err *err);

/* ---- ddl_other.c */

/* the copy of a table of `from`, under the name that it has there; or NULL */
const TableRelationsRow *ddl_copy_table(const Ddl *ddl, const char *schema, const char *name);
/* the same of another object of `from` as in schema_prints */
const SchemaPrintsRow *ddl_copy_print(const Ddl *ddl, const SchemaPrintsRow *now);
/* two columns have the same type, as far as their texts tell */
bool ddl_same_type(const Ddl *ddl, const char *now, const char *copy);
/*
 * ERR_STATE when what changed on the node that takes writes is not the same on the copy yet: there, people make it.
 * Lists what is to be carried anew.
 */
CHECKED bool ddl_refuse_other(Ddl *ddl, Err *err);
/* an object that changed, when that did not refuse: whether it was found to be the same on the copy */
bool ddl_is_same_elsewhere(const Ddl *ddl, const char *object);
/* the same of foreign keys, which no fingerprint tells */
CHECKED bool ddl_refuse_other_keys(Ddl *ddl, const ForeignKeysRow *now, size_t n_now, Err *err);

/* ---- ddl_filter.c */

/*
 * ERR_STATE when a table is gone from the target and the source's would have to go with it, rows that were left
 * behind included. Before ddl_follow_names(), which drops tables that are in the way.
 */
CHECKED bool ddl_refuse_dropped(const Ddl *ddl, Err *err);
/* ERR_STATE when what is planned would concern such rows, or make them impossible to tell from others */
CHECKED bool ddl_refuse_filtered(const Ddl *ddl, Err *err);

/* ---- ddl_border.c */

/* ERR_STATE when a table left the selection of the run, or belongs to one that is not in it */
CHECKED bool ddl_refuse_border(Ddl *ddl, Err *err);
/* ERR_STATE when something came into the selection whose name others have on the copy's node */
CHECKED bool ddl_refuse_taken(const Ddl *ddl, Err *err);
/* remembers which partitions and sequences to come are ours there, whatever their names: before they are made */
CHECKED bool ddl_claim_names(Ddl *ddl, Err *err);

#endif
