/* What capture's triggers do: see functions.h. */
#include "capture/functions.h"

#include <string.h>

/* of a row; its text, with each byte and quote as two, stays below what a value can have (1 GB) */
enum { IMAGE_MAX_BYTES = 64 * 1024 * 1024 };

/*
 * Where the key is what a row begins with, it is named by its place: so the application can go on writing
 * when somebody renames its columns. (Behind other columns the place changes when one of these is dropped,
 * and partitions may have their columns in another order.)
 */
static bool key_has_place(const Table *table, bool leaves)
{
    if (leaves || table->partitioned || table->n_columns < table->n_keys)
        return false;
    for (size_t i = 0; i < table->n_keys; i++)
        if (!table_is_key(table, table->columns[i].name))
            return false;
    return true;
}

/* p1, p2 …: what key_has_place() calls the first columns of a row */
static void add_places(Sql *q, const Table *table)
{
    for (size_t i = 0; i < table->n_keys; i++) {
        sql_trusted(q, i == 0 ? " (p" : ", p");
        sql_number(q, (int64_t)i + 1);
    }
    sql_add(q, ")");
}

static void add_place(Sql *q, const Table *table, const char *key)
{
    for (size_t i = 0; i < table->n_columns; i++)
        if (strcmp(table->columns[i].name, key) == 0) {
            sql_add(q, "p");
            sql_number(q, (int64_t)i + 1);
        }
}

/* x."id", or ARRAY[x."a"::text, …]; the prefix is a fixed word of ours. by_place: x.p1 … */
static void add_key_by(Sql *q, const Table *table, const char *prefix, bool by_place)
{
    if (!table->key_is_int)
        sql_add(q, "ARRAY[");
    for (size_t k = 0; k < table->n_keys; k++) {
        if (k > 0)
            sql_add(q, ", ");
        sql_trusted(q, prefix);
        sql_add(q, ".");
        if (by_place)
            add_place(q, table, table->keys[k].name);
        else
            sql_ident(q, table->keys[k].name);
        if (table->key_is_int)
            sql_add(q, "::pg_catalog.int8");
        else
            /* columns of different collations cannot be compared as one array otherwise */
            sql_add(q, "::pg_catalog.text COLLATE pg_catalog.\"C\"");
    }
    if (!table->key_is_int)
        sql_add(q, "]");
}

void functions_add_key(Sql *q, const Table *table, const char *prefix)
{
    add_key_by(q, table, prefix, false);
}

/* where in a segment of the queue something goes */
typedef struct Place {
    const char *table;
    const char *columns;
} Place;

static const Place mark_place = {"queue_", " (txid, tab) "};

/* where a change of the table goes */
static Place place_of(const Table *table)
{
    if (table->n_keys == 0)
        return (Place){"image_", " (txid, tab, n, image) "};
    return (Place){"queue_", table->key_is_int ? " (txid, tab, k) " : " (txid, tab, ka) "};
}

/* INSERT INTO one segment; `values` ends the statement: VALUES (…) or SELECT … */
static void add_insert(Sql *q, Place place, int segment, const Sql *values)
{
    sql_add(q, "INSERT INTO pgtandem.");
    sql_trusted(q, place.table);
    sql_number(q, segment);
    sql_trusted(q, place.columns);
    sql_splice(q, values);
    sql_add(q, ";\n");
}

/* INSERT INTO the segment that fits */
static void add_insert_by_segment(Sql *q, Place place, const Sql *values)
{
    sql_add(q, "    IF " SEGMENT_IS_0 " THEN ");
    add_insert(q, place, 0, values);
    sql_add(q, "    ELSE ");
    add_insert(q, place, 1, values);
    sql_add(q, "    END IF;\n");
}

/* what a function does while applications may write here, and else refuses (but to our own apply) */
static void add_open_or_refuse(Sql *q, Place place, const Sql *values)
{
    /* open() is inlined into the expression: it costs nothing */
    sql_add(q, "  IF pgtandem.open() AND " SEGMENT_IS_0 " THEN\n    ");
    add_insert(q, place, 0, values);
    sql_add(q, "  ELSIF pgtandem.open() THEN\n    ");
    add_insert(q, place, 1, values);
    sql_add(q, "  ELSE\n    PERFORM pgtandem.refuse(TG_OP, TG_RELID);\n  END IF;\n");
}

/* SELECT txid, table's number (negative: an INSERT) */
Sql *functions_select_me(const void *ctx, int number)
{
    Sql *select = sql_new(ctx);

    sql_add(select, "SELECT " TXID ", ");
    sql_number(select, number);
    return select;
}

/* the keys in a transition table */
static Sql *keys_of_transition(const void *ctx, const Table *table, int number, const char *name,
                               bool by_place)
{
    Sql *select = functions_select_me(ctx, number);

    sql_add(select, ", ");
    add_key_by(select, table, "x", by_place);
    sql_add(select, " FROM ");
    sql_trusted(select, name);
    sql_add(select, " x");
    if (by_place)
        add_places(select, table);
    return select;
}

/* each key of either side once: an update that moves no key is one change */
static Sql *keys_of_both(const void *ctx, const Table *table)
{
    Sql *select = functions_select_me(ctx, table->id);

    sql_add(select, ", u.key FROM (SELECT ");
    functions_add_key(select, table, "x");
    sql_add(select, " AS key FROM pgtandem_new x UNION SELECT ");
    functions_add_key(select, table, "x");
    sql_add(select, " FROM pgtandem_old x) u");
    return select;
}

static Sql *key_of_row(const void *ctx, const Table *table, const char *row)
{
    Sql *values = sql_new(ctx);

    sql_add(values, "VALUES (" TXID ", ");
    sql_number(values, table->id);
    sql_add(values, ", ");
    functions_add_key(values, table, row);
    sql_add(values, ")");
    return values;
}

/* the same of the old row, by place */
static Sql *key_of_old_places(const void *ctx, const Table *table)
{
    Sql *select = functions_select_me(ctx, table->id);

    sql_add(select, ", ");
    add_key_by(select, table, "x", true);
    sql_add(select, " FROM (SELECT OLD.*) x");
    add_places(select, table);
    return select;
}

/*
 * Tables without key: whole rows as text. From the queue they come with a sign, +1 for a row that came and -1
 * for one that went. All columns by place, so that the application can go on writing when columns come, go or
 * are renamed: by_name is for partitions that have them in another order, or generated columns. A row that could be too large as
 * text is left out, and only moves the mark of the table.
 */
static Sql *images_of(const void *ctx, const Table *table, int sign, const char *from, bool by_name)
{
    Sql *select = functions_select_me(ctx, sign > 0 ? -table->id : table->id);

    sql_trusted(select, sign > 0 ? ", 1, ROW(" : ", -1, ROW(");
    const char *separator = "x.";

    for (size_t i = 0; i < table->n_columns && by_name; i++) {
        if (!table_has_image_of(table, &table->columns[i]))
            continue;
        sql_trusted(select, separator);
        sql_ident(select, table->columns[i].name);
        separator = ", x.";
    }
    sql_trusted(select, by_name ? ")" : "x.*)");
    sql_add(select, "::pg_catalog.text FROM ");
    sql_trusted(select, from);
    sql_add(select, " x WHERE pg_catalog.pg_column_size(x.*) OPERATOR(pg_catalog.<=) ");
    sql_number(select, IMAGE_MAX_BYTES);
    sql_add(select, " OR pg_catalog.nextval('pgtandem.mark_");
    sql_number(select, table->id);
    sql_add(select, "'::pg_catalog.regclass) IS NULL");
    return select;
}

static Sql *images_of_both(const void *ctx, const Table *table, bool by_name)
{
    Sql *select = images_of(ctx, table, 1, "pgtandem_new", by_name);

    sql_add(select, " UNION ALL ");
    sql_splice(select, images_of(ctx, table, -1, "pgtandem_old", by_name));
    return select;
}

/* settings that the text of a value may depend on */
enum {
    PIN_DATESTYLE = 1 << 0,
    PIN_INTERVALSTYLE = 1 << 1,
    PIN_TIMEZONE = 1 << 2,
    PIN_FLOATS = 1 << 3,
    PIN_BYTEA = 1 << 4,
    PIN_MONEY = 1 << 5,
    PIN_PATH = 1 << 6,
    PIN_ALL = (1 << 7) - 1
};

static const struct {
    int pin;
    const char *set;
} settings[] = {
    {PIN_PATH, " SET search_path = pg_catalog, pg_temp"},
    {PIN_DATESTYLE, " SET DateStyle = 'ISO, MDY'"},
    {PIN_INTERVALSTYLE, " SET IntervalStyle = postgres"},
    {PIN_TIMEZONE, " SET TimeZone = 'UTC'"},
    {PIN_FLOATS, " SET extra_float_digits = 3"},
    {PIN_BYTEA, " SET bytea_output = hex"},
    {PIN_MONEY, " SET lc_monetary = 'C'"},
};

static int pins_of(const char *type)
{
    static const struct {
        const char *type;
        int pins;
    } types[] = {{"smallint", 0},
                 {"integer", 0},
                 {"bigint", 0},
                 {"text", 0},
                 {"uuid", 0},
                 {"numeric", 0},
                 {"boolean", 0},
                 {"oid", 0},
                 {"name", 0},
                 {"character", 0},
                 {"bpchar", 0},
                 {"inet", 0},
                 {"json", 0},
                 {"jsonb", 0},
                 {"character varying", 0},
                 {"date", PIN_DATESTYLE},
                 {"timestamp without time zone", PIN_DATESTYLE},
                 {"timestamp with time zone", PIN_DATESTYLE | PIN_TIMEZONE},
                 {"interval", PIN_INTERVALSTYLE},
                 {"real", PIN_FLOATS},
                 {"double precision", PIN_FLOATS},
                 {"bytea", PIN_BYTEA}};

    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++)
        if (strcmp(type, types[i].type) == 0)
            return types[i].pins;
    return PIN_ALL;
}

/* on which settings of the writer's session the text of a key, or of a row, depends */
static int pins_of_table(const Table *table)
{
    int pins = 0;

    for (size_t i = 0; i < table->n_columns && table->n_keys == 0; i++)
        pins |= pins_of(table->columns[i].base_type);
    for (size_t k = 0; k < table->n_keys; k++)
        if (!table->keys[k].plain)
            pins |= pins_of(table_column(table, table->keys[k].name)->base_type);
    return pins;
}

/* CREATE FUNCTION up to its body, with the settings that are pinned */
static void begin_function(Sql *q, const Table *table, const char *what, int pins)
{
    sql_add(q, "CREATE OR REPLACE FUNCTION pgtandem.");
    sql_trusted(q, what);
    sql_add(q, "_");
    sql_number(q, table->id);
    sql_add(q, "() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER");
    for (size_t i = 0; i < sizeof settings / sizeof settings[0]; i++)
        if ((pins & settings[i].pin) != 0)
            sql_trusted(q, settings[i].set);
    sql_add(q, " AS $pgtandem$\n#variable_conflict use_column\n");
}

static void end_function(Sql *q, const Table *table, const char *what)
{
    sql_add(q, "  RETURN NULL;\nEND $pgtandem$;\nREVOKE ALL ON FUNCTION pgtandem.");
    sql_trusted(q, what);
    sql_add(q, "_");
    sql_number(q, table->id);
    sql_add(q, "() FROM PUBLIC;\n");
}

static void add_function(Sql *q, const Table *table, const char *what, const Sql *values)
{
    begin_function(q, table, what, pins_of_table(table));
    sql_add(q, "BEGIN\n");
    add_open_or_refuse(q, place_of(table), values);
    end_function(q, table, what);
}

/* one row trigger for all events; while the node is closed, the gate has refused the statement */
static void add_row_function(const void *ctx, Sql *q, const Table *table, bool by_name)
{
    bool keyless = table->n_keys == 0;
    Sql *before = keyless ? images_of(ctx, table, -1, "(SELECT OLD.*)", by_name)
                          : key_of_row(ctx, table, "OLD");
    Sql *after = keyless ? images_of(ctx, table, 1, "(SELECT NEW.*)", by_name)
                         : key_of_row(ctx, table, "NEW");

    begin_function(q, table, "capture", pins_of_table(table));
    sql_add(q, "BEGIN\n  IF NOT pgtandem.open() THEN RETURN NULL; END IF;\n"
               "  IF TG_OP OPERATOR(pg_catalog.<>) 'DELETE' THEN\n");
    add_insert_by_segment(q, place_of(table), after);
    sql_add(q, "  END IF;\n");
    if (!keyless) {
        sql_add(q, "  IF TG_OP OPERATOR(pg_catalog.=) 'UPDATE' THEN\n    IF ");
        functions_add_key(q, table, "OLD");
        sql_add(q, " OPERATOR(pg_catalog.=) ");
        functions_add_key(q, table, "NEW");
        sql_add(q, " THEN RETURN NULL; END IF;\n  END IF;\n");
    }
    sql_add(q, "  IF TG_OP OPERATOR(pg_catalog.<>) 'INSERT' THEN\n");
    add_insert_by_segment(q, place_of(table), before);
    sql_add(q, "  END IF;\n");
    end_function(q, table, "capture");
}

/*
 * A table without key has a mark that moves when a change was not captured: a sequence, since it is never
 * taken back, and when the tables are locked for a switch nobody is between mark and commit.
 */
static void add_mark(Sql *q, const Table *table)
{
    sql_add(q,
            "DO $pgtandem$ BEGIN IF NOT EXISTS (SELECT 1 FROM pg_catalog.pg_class WHERE relname = "
            "'mark_");
    sql_number(q, table->id);
    sql_add(q, "' AND relnamespace = (SELECT oid FROM pg_catalog.pg_namespace WHERE nspname = "
               "'pgtandem')) THEN CREATE SEQUENCE pgtandem.mark_");
    sql_number(q, table->id);
    sql_add(q, "; END IF; END $pgtandem$;\n");
}

/* TRUNCATE: the whole table */
static void add_truncated_function(const void *ctx, Sql *q, const Table *table)
{
    begin_function(q, table, "truncated", 0);
    sql_add(q, "BEGIN\n");
    add_open_or_refuse(q, mark_place, functions_select_me(ctx, table->id));
    end_function(q, table, "truncated");
}

/*
 * TRUNCATE of one partition: every key in it, unless the root itself is truncated in this
 * transaction. A transaction with an older snapshot does not see all rows that TRUNCATE takes, so
 * there the whole table is carried anew: the mark for that is an empty key.
 */
static void add_emptied_function(Sql *q, const Table *table)
{
    AUTO_CTX(tmp, q);
    Sql *key = sql_new(tmp);

    begin_function(q, table, "emptied", PIN_ALL);
    sql_add(q, "DECLARE\n  me bigint := txid_current();\nBEGIN\n"
               "  IF NOT pgtandem.open() THEN\n"
               "    PERFORM pgtandem.refuse(TG_OP, TG_RELID);\n    RETURN NULL;\n  END IF;\n"
               "  IF EXISTS (SELECT 1 FROM pgtandem.queue_0 q WHERE q.tab = ");
    sql_number(q, table->id);
    sql_add(q, " AND q.txid = me AND q.k IS NULL AND q.ka IS NULL)\n     OR EXISTS (SELECT 1 FROM "
               "pgtandem.queue_1 q WHERE q.tab = ");
    sql_number(q, table->id);
    sql_add(q, " AND q.txid = me AND q.k IS NULL AND q.ka IS NULL) THEN RETURN NULL; END IF;\n"
               "  IF current_setting('transaction_isolation') <> 'read committed' THEN\n"
               "    EXECUTE 'INSERT INTO pgtandem.queue_' || ((me >> 12) & 1)::text\n"
               "      || ' (txid, tab, ka) VALUES (' || me || ', ");
    sql_number(q, table->id);
    sql_add(q, ", ''{}'')';\n    RETURN NULL;\n  END IF;\n"
               "  EXECUTE 'INSERT INTO pgtandem.queue_' || ((me >> 12) & 1)::text || '");
    if (table->key_is_int)
        sql_add(q, " (txid, tab, k)");
    else
        sql_add(q, " (txid, tab, ka)");
    sql_add(q, " SELECT ' || me || ', ");
    sql_number(q, table->id);
    sql_add(q, ", ' || ");
    functions_add_key(key, table, "x");
    sql_literal(q, key->text->text);
    sql_add(q, " || ' FROM ' || TG_RELID::regclass::text || ' x';\n");
    end_function(q, table, "emptied");
}

/* a table without key that is not followed */
static void add_mark_function(Sql *q, const Table *table)
{
    begin_function(q, table, "marked", 0);
    sql_add(q, "DECLARE\n  mark bigint;\nBEGIN\n  IF pgtandem.open() THEN\n"
               "    mark := pg_catalog.nextval('pgtandem.mark_");
    sql_number(q, table->id);
    sql_add(q, "'::pg_catalog.regclass);\n  ELSE\n"
               "    PERFORM pgtandem.refuse(TG_OP, TG_RELID);\n  END IF;\n");
    end_function(q, table, "marked");
}

/* without key, by statement */
static void add_image_functions(const void *ctx, Sql *q, const Capture *c)
{
    const Table *table = c->table;

    add_function(q, table, "inserted", images_of(ctx, table, 1, "pgtandem_new", c->by_name));
    add_function(q, table, "deleted", images_of(ctx, table, -1, "pgtandem_old", c->by_name));
    add_function(q, table, "moved", images_of_both(ctx, table, c->by_name));
}

/* with a key, by statement */
static void add_key_functions(const void *ctx, Sql *q, const Capture *c)
{
    const Table *table = c->table;
    bool place = key_has_place(table, c->n_rels > 1);

    add_function(q, table, "inserted",
                 keys_of_transition(ctx, table, -table->id, "pgtandem_new", place));
    if (c->moves != MOVE_TABLES)
        add_function(q, table, "updated",
                     keys_of_transition(ctx, table, table->id, "pgtandem_new", place));
    add_function(q, table, "deleted",
                 keys_of_transition(ctx, table, table->id, "pgtandem_old", place));
    add_function(q, table, "moved",
                 c->moves == MOVE_TABLES ? keys_of_both(ctx, table)
                 : place                 ? key_of_old_places(ctx, table)
                                         : key_of_row(ctx, table, "OLD"));
}

void functions_add(Sql *q, const Capture *c)
{
    AUTO_CTX(tmp, NULL);

    if (c->table->n_keys == 0)
        add_mark(q, c->table);
    if (c->only_marked) {
        add_mark_function(q, c->table);
        return;
    }
    if (!c->by_statement)
        add_row_function(tmp, q, c->table, c->by_name);
    else if (c->table->n_keys == 0)
        add_image_functions(tmp, q, c);
    else
        add_key_functions(tmp, q, c);
    add_truncated_function(tmp, q, c->table);
    if (c->n_rels > 1 && c->table->n_keys > 0)
        add_emptied_function(q, c->table);
}
