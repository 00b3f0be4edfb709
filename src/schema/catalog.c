/* Reading catalogs into the model: see catalog.h. */
#include "schema/catalog.h"

#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "model/scope.h"
#include "sql/queries.h"

/* the tables of one node by oid, as the queries deliver them (sorted by oid for bsearch) */
typedef struct Relation {
    RelationsRow row;
    Table table;
    size_t root; /* index of the topmost partitioned parent, or of itself */
    bool inherits;
    bool leaves_have_keys;
} Relation;

static int compare_oid(const void *a, const void *b)
{
    int64_t x = ((const Relation *)a)->row.oid, y = ((const Relation *)b)->row.oid;

    return (x > y) - (x < y);
}

static Relation *find_oid(Relation *relations, size_t n, int64_t oid)
{
    Relation key = {.row.oid = oid};

    return n == 0 ? NULL : bsearch(&key, relations, n, sizeof *relations, compare_oid);
}

static bool load_columns(const void *ctx, Conn *conn, const char *relids, Relation *relations,
                         size_t n, Err *err)
{
    ColumnsRow *rows;
    size_t n_rows;

    if (!q_columns(ctx, conn, relids, &rows, &n_rows, err))
        return false;
    for (size_t i = 0; i < n_rows; i++) {
        Relation *r = find_oid(relations, n, rows[i].relid);
        Column column = {.name = rows[i].name,
                         .number = rows[i].number,
                         .type = rows[i].type,
                         .base_type = rows[i].base_type,
                         .generated = rows[i].generated,
                         .identity_always = rows[i].identity_always,
                         .is_float = rows[i].is_float};

        if (r != NULL)
            mem_push(ctx, r->table.columns, r->table.n_columns, column);
    }
    return true;
}

static bool load_keys(const void *ctx, Conn *conn, const char *relids, Relation *relations,
                      size_t n, Err *err)
{
    KeysRow *rows;
    size_t n_rows;

    if (!q_keys(ctx, conn, relids, &rows, &n_rows, err))
        return false;
    for (size_t i = 0; i < n_rows;) {
        Relation *r = find_oid(relations, n, rows[i].relid);
        size_t first = i;

        /* the first index of a table is the best; the others are passed over */
        for (; i < n_rows && rows[i].relid == rows[first].relid; i++) {
            if (r == NULL || strcmp(rows[i].index_name, rows[first].index_name) != 0)
                continue;
            Str *op = str_new(ctx), *coll = str_new(ctx);
            str_add(op, "OPERATOR(");
            str_ident(op, rows[i].op_schema);
            str_fmt(op, ".%s)", rows[i].op_name);
            if (rows[i].coll_name != NULL) {
                str_ident(coll, rows[i].coll_schema);
                str_char(coll, '.');
                str_ident(coll, rows[i].coll_name);
            }
            KeyColumn key = {.name = rows[i].name,
                             .type = rows[i].type,
                             .eq_op = op->text,
                             .collation = coll->len > 0 ? coll->text : NULL,
                             .plain = rows[i].plain};
            mem_push(ctx, r->table.keys, r->table.n_keys, key);
            r->table.key_is_int = rows[i].is_int;
        }
        if (r != NULL && r->table.n_keys > 1)
            r->table.key_is_int = false;
    }
    return true;
}

/* finds partition roots and inheritance trees; adds the sizes of partitions to their root */
static void link_relations(Relation *relations, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        relations[i].root = i;
        relations[i].leaves_have_keys = true;
    }
    for (size_t i = 0; i < n; i++) {
        Relation *r = &relations[i], *top = r, *parent;

        while (top->row.is_partition && (parent = find_oid(relations, n, top->row.parent)) != NULL)
            top = parent;
        r->root = (size_t)(top - relations);
        if (r != top && strcmp(r->row.kind, "r") == 0) {
            top->table.blocks += r->table.blocks;
            top->table.bytes += r->table.bytes;
            top->table.tuples += r->table.tuples > 0 ? r->table.tuples : 0;
            top->leaves_have_keys = top->leaves_have_keys && r->table.n_keys > 0;
        }
        if (!r->row.is_partition && r->row.parent != 0)
            r->inherits = true;
        if (strcmp(r->row.kind, "r") == 0 && r->row.has_children)
            r->inherits = true;
    }
}

static int compare_names(const void *a, const void *b)
{
    const Table *x = a, *y = b;
    int c = strcmp(x->schema, y->schema);

    return c != 0 ? c : strcmp(x->name, y->name);
}

static void choose_tables(const void *ctx, Relation *relations, size_t n, Catalog *catalog)
{
    for (size_t i = 0; i < n; i++) {
        Relation *r = &relations[i], *root = &relations[r->root];
        bool is_root_kind = strcmp(root->row.kind, "p") == 0;
        /* a partitioned table stands for its partitions unless only they have keys */
        bool by_leaf = is_root_kind && root->table.n_keys == 0 && root->leaves_have_keys;

        r->table.is_part = r->row.is_partition;
        r->table.inherits = r->inherits;
        r->table.row_level = r->inherits;
        if (strcmp(r->row.kind, "p") == 0) {
            r->table.partitioned = true;
            if (by_leaf)
                mem_push(ctx, catalog->roots, catalog->n_roots, r->table);
            else if (r == root)
                mem_push(ctx, catalog->tables, catalog->n_tables, r->table);
            continue;
        }
        if (r != root && !by_leaf) {
            mem_push(ctx, catalog->partitions, catalog->n_partitions, r->table);
            continue;
        }
        r->table.row_level = r->inherits || by_leaf;
        mem_push(ctx, catalog->tables, catalog->n_tables, r->table);
    }
    if (catalog->n_tables > 0)
        qsort(catalog->tables, catalog->n_tables, sizeof(Table), compare_names);
}

static bool load_sequences(const void *ctx, Conn *conn, Catalog *catalog, Err *err)
{
    SequencesRow *rows;
    size_t n_rows;

    if (!q_sequences(ctx, conn, &rows, &n_rows, err))
        return false;
    for (size_t i = 0; i < n_rows; i++) {
        Sequence sequence = {.oid = rows[i].oid,
                             .schema = rows[i].schema_name,
                             .name = rows[i].sequence_name,
                             .readable = rows[i].readable,
                             .config = rows[i].configuration,
                             .owned = rows[i].owned};
        mem_push(ctx, catalog->sequences, catalog->n_sequences, sequence);
    }
    return true;
}

static int compare_named_oid(const void *a, const void *b)
{
    int64_t x = ((const RelationNamesRow *)a)->oid, y = ((const RelationNamesRow *)b)->oid;

    return (x > y) - (x < y);
}

/* the topmost partitioned table above a relation */
static size_t top_of(const RelationNamesRow *rows, size_t n, size_t i)
{
    const RelationNamesRow *parent;

    while (rows[i].parent != 0 &&
           (parent = bsearch(&(RelationNamesRow){.oid = rows[i].parent}, rows, n, sizeof *rows,
                             compare_named_oid)) != NULL)
        i = (size_t)(parent - rows);
    return i;
}

bool catalog_choose(const void *ctx, Conn *conn, const CatalogChoice *choice,
                    const char **ret_relids, Err *err)
{
    AUTO_CTX(tmp, NULL);
    RelationNamesRow *rows;
    Str *oids = str_new(ctx);
    size_t n;

    if (!q_relation_names(tmp, conn, &rows, &n, err))
        return err_add(err, "while reading the catalog");
    bool *wanted = mem_array(tmp, bool, n + 1);
    for (size_t i = 0; i < n; i++)
        if (choice->wants(choice->arg, rows[i].schema_name, rows[i].table_name))
            wanted[top_of(rows, n, i)] = true;
    str_char(oids, '{');
    for (size_t i = 0; i < n; i++)
        if (wanted[top_of(rows, n, i)])
            str_fmt(oids, "%s%lld", oids->len > 1 ? "," : "", (long long)rows[i].oid);
    str_char(oids, '}');
    *ret_relids = oids->text;
    return true;
}

/*
 * The users' rows of extensions are carried where our role may put triggers on the table; whoever moves schemas or
 * tables leaves the extensions behind.
 */
static void take_config(Catalog *catalog, bool with_extensions)
{
    for (size_t i = 0; i < catalog->n_tables; i++) {
        Table *table = &catalog->tables[i];

        if (table->config == NULL || !with_extensions || !table->owned || table->partitioned ||
            table->inherits)
            continue;
        table->in_extension = false;
        table->config_keys = table->keys;
        table->n_config_keys = table->n_keys;
        table->n_keys = 0;
        table->key_is_int = false;
    }
}

/* those that are selected; the same of extensions' sequences */
static void keep_sequences(Catalog *catalog, const Scope *scope)
{
    size_t n = 0;

    for (size_t i = 0; i < catalog->n_sequences; i++) {
        const Sequence *sequence = &catalog->sequences[i];

        if (scope_has(scope, sequence->schema, sequence->name) &&
            (!sequence->config || (sequence->owned && scope_has_unowned(scope))))
            catalog->sequences[n++] = *sequence;
    }
    catalog->n_sequences = n;
}

static bool load(const void *ctx, Conn *conn, const char *relids, Catalog **ret_catalog, Err *err);

bool catalog_load(const void *ctx, Conn *conn, const Selection *selection, Catalog **ret_catalog,
                  Err *err)
{
    AUTO_CTX(tmp, NULL);
    const Scope *scope;
    Catalog *catalog;

    if (!scope_read(tmp, conn, selection, &scope, err) ||
        !load(ctx, conn, scope_relids(tmp, scope), &catalog, err))
        return false;
    take_config(catalog, scope_has_unowned(scope));
    keep_sequences(catalog, scope);
    *ret_catalog = catalog;
    return true;
}

bool catalog_load_some(const void *ctx, Conn *conn, const char *relids, Catalog **ret_catalog,
                       Err *err)
{
    Catalog *catalog;
    size_t n = 0;

    if (!load(ctx, conn, relids, &catalog, err))
        return false;
    for (size_t i = 0; i < catalog->n_sequences; i++)
        if (!catalog->sequences[i].config)
            catalog->sequences[n++] = catalog->sequences[i];
    catalog->n_sequences = n;
    *ret_catalog = catalog;
    return true;
}

static bool load(const void *ctx, Conn *conn, const char *relids, Catalog **ret_catalog, Err *err)
{
    Catalog *catalog = mem_new(ctx, Catalog);
    RelationsRow *rows;
    size_t n;

    if (!q_relations(catalog, conn, relids, &rows, &n, err))
        return err_add(err, "while reading the catalog");
    Relation *relations = mem_array(catalog, Relation, n + 1);
    for (size_t i = 0; i < n; i++) {
        const RelationsRow *row = &rows[i];

        relations[i].row = *row;
        relations[i].table = (Table){.oid = row->oid,
                                     .schema = row->schema_name,
                                     .name = row->table_name,
                                     .unlogged = strcmp(row->persistence, "u") == 0,
                                     .owned = row->owned,
                                     .in_extension = row->in_extension,
                                     .config = row->condition,
                                     .forced_rls = row->forced_rls,
                                     .owner = row->owner,
                                     .blocks = row->blocks,
                                     .bytes = row->bytes,
                                     .tuples = row->tuples};
    }
    qsort(relations, n, sizeof *relations, compare_oid);
    if (!load_columns(catalog, conn, relids, relations, n, err) ||
        !load_keys(catalog, conn, relids, relations, n, err))
        return err_add(err, "while reading the catalog");
    link_relations(relations, n);
    choose_tables(catalog, relations, n, catalog);
    if (!load_sequences(catalog, conn, catalog, err))
        return err_add(err, "while reading the catalog");
    talloc_free(relations);
    *ret_catalog = catalog;
    return true;
}

/* the key's columns as an array, NULL without key; belongs to ctx */
static char *key_array(const void *ctx, const Table *table)
{
    Str *keys = str_new(ctx);

    if (table->n_keys == 0)
        return NULL;
    str_char(keys, '{');
    for (size_t k = 0; k < table->n_keys; k++) {
        if (k > 0)
            str_char(keys, ',');
        str_array_element(keys, table->keys[k].name);
    }
    str_char(keys, '}');
    return keys->text;
}

bool catalog_register(Conn *conn, const Table *tables, size_t n, Err *err)
{
    for (size_t i = 0; i < n; i++) {
        AUTO_CTX(tmp, NULL);
        const Table *t = &tables[i];
        Sql *q = sql_new(tmp);

        sql_add(q, "INSERT INTO pgtandem.tab (id, schema_name, table_name, key_columns, "
                   "key_is_int, key_print, followed, filter) VALUES (");
        sql_i64(q, t->id);
        sql_add(q, ", ");
        sql_text(q, t->schema);
        sql_add(q, ", ");
        sql_text(q, t->name);
        sql_add(q, ", ");
        sql_text(q, key_array(tmp, t));
        sql_add(q, ", ");
        sql_text(q, t->key_is_int ? "true" : "false");
        sql_add(q, ", ");
        sql_text(q, table_key_print(tmp, t));
        sql_add(q, ", ");
        sql_text(q, t->followed ? "true" : "false");
        sql_add(q, ", ");
        sql_text(q, t->filter);
        sql_add(q, ")");
        if (!conn_exec(conn, q, err))
            return err_add(err, "while registering table %s", table_label(tmp, t));
    }
    return true;
}

bool catalog_register_key(Conn *conn, int old_id, const Table *table, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Sql *q = sql_new(tmp);

    sql_add(q, "UPDATE pgtandem.tab SET id = ");
    sql_i64(q, table->id);
    sql_add(q, ", key_columns = ");
    sql_text(q, key_array(tmp, table));
    sql_add(q, "::text[], key_is_int = ");
    sql_text(q, table->key_is_int ? "true" : "false");
    sql_add(q, "::boolean, key_print = ");
    sql_text(q, table_key_print(tmp, table));
    sql_add(q, " WHERE id = ");
    sql_i64(q, old_id);
    return conn_exec(conn, q, err) ||
           err_add(err, "while registering the key of table %s", table_label(tmp, table));
}

bool catalog_tabs(const void *ctx, Conn *conn, const Catalog *catalog, const Table *peer,
                  Table **ret_tables, size_t *ret_n, Err *err)
{
    AUTO_CTX(tmp, NULL);
    TabsRow *rows;
    size_t n;

    if (!q_tabs(tmp, conn, &rows, &n, err))
        return false;
    Table *tables = mem_array(ctx, Table, n + 1);
    size_t kept = 0;
    for (size_t i = 0; i < n; i++) {
        /* a number whose table was dropped */
        if (rows[i].schema_name[0] == '\0')
            continue;
        /*
         * While the indexes of a target are being built, it may look as if the partitions were
         * replicated by themselves instead of the partitioned table, or the other way round.
         */
        const Table *found = catalog_find_any(catalog, rows[i].schema_name, rows[i].table_name);

        if (found == NULL) {
            err_set(err, ERR_STATE, "table %s.%s is gone from the %s", rows[i].schema_name,
                    rows[i].table_name, conn_label(conn));
            return err_hint(err,
                            "It was dropped or renamed while the run was going on. Put it back, or "
                            "start over with \"pgtandem abort\" and \"pgtandem upgrade\".");
        }
        if (found->in_extension && rows[i].key_columns == NULL) {
            err_set(err, ERR_STATE,
                    "which rows of table %s.%s are the users' cannot be told any more on the %s",
                    rows[i].schema_name, rows[i].table_name, conn_label(conn));
            return err_hint(err, "It belongs to an extension, which has to list it as "
                                 "configuration, and to our role.");
        }
        tables[kept] = *found;
        tables[kept].id = rows[i].id;
        tables[kept].key_is_int = rows[i].key_is_int;
        tables[kept].followed = rows[i].followed;
        tables[kept].filter = rows[i].filter == NULL ? NULL : mem_strdup(ctx, rows[i].filter);
        if (rows[i].key_columns == NULL) {
            tables[kept].n_keys = 0;
        } else if (strcmp(table_key_text(tmp, found), rows[i].key_columns) != 0) {
            if (peer == NULL) {
                err_set(err, ERR_STATE, "the key of table %s.%s has changed on the %s",
                        rows[i].schema_name, rows[i].table_name, conn_label(conn));
                return err_hint(err,
                                "Put the key back as it was, or start over with \"pgtandem abort\" "
                                "and \"pgtandem upgrade\".");
            }
            tables[kept].keys = peer[kept].keys;
            tables[kept].n_keys = peer[kept].n_keys;
        }
        kept++;
    }
    *ret_tables = tables;
    *ret_n = kept;
    return true;
}

bool catalog_carried_columns(const void *ctx, const Table *src, const Table *dst,
                             const Column ***ret_columns, size_t *ret_n, Err *err)
{
    AUTO_CTX(tmp, NULL);
    const Column **columns = NULL;
    size_t n = 0;

    for (size_t i = 0; i < src->n_columns; i++) {
        const Column *column = &src->columns[i], *other = table_column(dst, column->name);

        if (column->generated)
            continue;
        if (other == NULL) {
            err_set(err, ERR_STATE, "table %s has the column \"%s\" on one node only",
                    table_label(tmp, src), column->name);
            return err_hint(err, "Add the column to the other node, too.");
        }
        if (!other->generated)
            mem_push(ctx, columns, n, column);
    }
    *ret_columns = columns;
    *ret_n = n;
    return true;
}
