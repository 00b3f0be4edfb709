/*
 * What is kept in step: tables with their columns and keys, and sequences. Plain data, read by
 * schema/ from the catalogs and used by every feature to build its SQL.
 */
#ifndef MODEL_TABLE_H
#define MODEL_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct Column {
    const char *name;
    int number;            /* attnum: stays as it is when others come and go */
    const char *type;      /* qualified, without modifiers, ready for a cast */
    const char *base_type; /* the same; of a domain what it is made of */
    bool generated;        /* computed by the server: never carried */
    bool identity_always;  /* GENERATED ALWAYS AS IDENTITY */
    bool is_float;         /* float4 or float8: its text differs between server versions */
} Column;

typedef struct KeyColumn {
    const char *name;
    const char *type;      /* as Column.type */
    const char *eq_op;     /* "OPERATOR(pg_catalog.=)": the key index's own equality */
    const char *collation; /* "schema"."name", or NULL for the default */
    bool plain;            /* its text does not depend on settings such as DateStyle */
} KeyColumn;

typedef struct Table {
    int id;      /* its number in pgtandem.tab; 0 before the plan is made */
    int64_t oid; /* on the node it was read from */
    const char *schema;
    const char *name;
    bool partitioned; /* a partitioned root: its partitions are replicated under its name */
    bool is_part;     /* a partition itself */
    bool inherits;    /* part of a legacy inheritance tree: read and written with ONLY */
    bool
        row_level; /* statements may name another table (a parent), so rows are captured one by one */
    bool unlogged;
    bool owned;        /* our role may alter it */
    bool in_extension; /* its rows are left to the extension */
    /*
     * of an extension that leaves rows of it to the users (pg_extension_config_dump): what stands behind the table's
     * name in a query for them, or an empty text for all rows; otherwise NULL. Where they are carried the table is
     * not in_extension; then it counts as one without key, and config_keys is the one that it has.
     */
    const char *config;
    KeyColumn *config_keys;
    size_t n_config_keys;
    bool forced_rls; /* row-level security would hide rows from us */
    const char *owner;
    Column *columns; /* in table order */
    size_t n_columns;
    KeyColumn *keys; /* in index order; n_keys 0: no key */
    size_t n_keys;
    bool key_is_int; /* one key column of an integer type */
    bool followed;   /* without key: changes are captured, instead of a mark that there are some */
    const char
        *filter; /* in a run: the condition of the rows that it moves, or NULL; see filter.h */
    const char
        *part; /* … on the source: whether the row t is in the run. On the target all are: NULL */
    int64_t blocks; /* all partitions together */
    int64_t bytes;  /* with indexes and TOAST */
    double tuples;  /* the planner's estimate; negative or 0 when unknown */
} Table;

typedef struct Sequence {
    int64_t oid;
    const char *schema;
    const char *name;
    bool readable;
    bool config; /* of an extension, as Table.config */
    bool owned;
} Sequence;

/* one database's tables and sequences as its catalogs show them */
typedef struct Catalog {
    Table *tables;
    size_t n_tables;
    Table
        *roots; /* partitioned tables whose partitions stand in tables: they only carry the gate */
    size_t n_roots;
    Table *partitions; /* those that a root in tables stands for */
    size_t n_partitions;
    Sequence *sequences;
    size_t n_sequences;
} Catalog;

/* of an extension, and the users' rows are carried */
static inline bool table_is_config(const Table *table)
{
    return table->config != NULL && !table->in_extension;
}

/* a copy that needs nothing of the catalog it was in; all of it belongs to ctx */
Table table_copy(const void *ctx, const Table *table);

/* the table of that name, or NULL */
Table *catalog_find(const Catalog *catalog, const char *schema, const char *name);

/*
 * the same also among partitioned tables whose partitions stand for them, and partitions that a root
 * stands for; or NULL
 */
const Table *catalog_find_any(const Catalog *catalog, const char *schema, const char *name);

/* the sequence of that name, or NULL */
const Sequence *catalog_find_sequence(const Catalog *catalog, const char *schema, const char *name);

/* the column of that name, or NULL */
const Column *table_column(const Table *table, const char *name);
bool table_is_key(const Table *table, const char *column);
/*
 * a table without key: whether captured rows have this column. The generated ones of partitioned tables they have not:
 * a row that was inserted through the root comes to the triggers before they are computed.
 */
bool table_has_image_of(const Table *table, const Column *column);

/* one table on both nodes, in one direction, for the life of a pair of connections */
typedef struct TablePair {
    const Table *src;
    const Table *dst;
    const Column **columns; /* what travels: pointers into src, matched by name */
    size_t n_columns;
    const char *read_sql; /* a query in parentheses that is read instead of src, or NULL */
    const char
        *shape;  /* of src's columns; when it is another one the pair is out of date. Or NULL */
    bool adrift; /* without key: dst is not followed any more */
    int rank;    /* where foreign keys of dst act: parents come before their children */
    bool timed;  /* keys come with the time of their last change */
    bool staged; /* apply's staging table exists in dst's session */
    int64_t staged_rows; /* put through it since it was last truncated, */
    int64_t staged_now;  /* … and in this round */
    bool
        keep_keys; /* handled keys are kept until the end of the round: how many, and of deleted rows */
    int64_t kept, kept_gone;
    int64_t kept_rows; /* kept since that table was last truncated */
} TablePair;

/* the columns that travel as a quoted list, each behind prefix (e.g. "t."); belongs to ctx */
char *pair_columns_sql(const void *ctx, const TablePair *pair, const char *prefix);
/* what stands behind FROM to read the rows that are in the run; the caller adds the alias */
char *table_rows_ref(const void *ctx, const Table *table);

/* the same for src of a pair */
char *pair_read_ref(const void *ctx, const TablePair *pair);
/* COPY "schema"."name" ("a", "b") FROM STDIN into dst; a table may also have no column at all */
char *pair_copy_in_sql(const void *ctx, const TablePair *pair);

/*
 * what stands behind FROM, UPDATE or DELETE FROM: "schema"."name", with ONLY where children are own
 * tables
 */
char *table_ref(const void *ctx, const Table *table);
/* the same without ONLY, for INSERT, COPY and DDL */
char *table_name_sql(const void *ctx, const Table *table);

/* of a configuration table: the users' rows as a query in parentheses, and whether the row `alias` is one of them */
char *table_config_rows(const void *ctx, const Table *table);
char *table_config_test(const void *ctx, const Table *table, const char *alias);

/* the key's columns as queries of ours deliver them: separated by the character 31; belongs to ctx */
char *table_key_text(const void *ctx, const Table *table);

/* numbers and types of the key's columns, which stay when these are renamed; belongs to ctx */
char *table_key_print(const void *ctx, const Table *table);

/* schema.name for messages; belongs to ctx */
char *table_label(const void *ctx, const Table *table);

#endif
