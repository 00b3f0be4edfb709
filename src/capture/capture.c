/* Capture triggers and the gate: see capture.h. */
#include "capture/capture.h"

#include <string.h>

#include "base/fault.h"
#include "base/str.h"
#include "pg/lock.h"
#include "sql/queries.h"

/*
 * The functions below run in the application's sessions, so every nanosecond counts: they do
 * without SET clauses (each costs as much as the rest of the call), and therefore name everything
 * with its schema, operators too. PL/pgSQL prepares each expression anew in every transaction, so
 * there are few of them. Alternatives and figures: doc/design/002.
 */
#define TXID "pg_catalog.txid_current()"
/* chooses the queue segment: 4096 transactions, then the other one */
#define SEGMENT_IS_0                                                                               \
    "((" TXID " OPERATOR(pg_catalog.>>) 12) OPERATOR(pg_catalog.&) 1) OPERATOR(pg_catalog.=) 0"

/* how an UPDATE is captured */
typedef enum MoveCapture {
    MOVE_ROWS,     /* new keys by statement; old keys by row, when a key column is named in SET */
    MOVE_ROWS_ALL, /* the same, but any UPDATE may change keys (a BEFORE trigger may do it) */
    MOVE_TABLES    /* old and new keys by statement: a row may move between partitions */
} MoveCapture;

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

static void add_key(Sql *q, const Table *table, const char *prefix)
{
    add_key_by(q, table, prefix, false);
}

/* INSERT INTO one segment; `values` ends the statement: VALUES (…) or SELECT … */
static void add_insert(Sql *q, const Table *table, int segment, const Sql *values)
{
    sql_add(q, "INSERT INTO pgtandem.queue_");
    sql_number(q, segment);
    if (table->n_keys == 0)
        sql_add(q, " (txid, tab) ");
    else if (table->key_is_int)
        sql_add(q, " (txid, tab, k) ");
    else
        sql_add(q, " (txid, tab, ka) ");
    sql_splice(q, values);
    sql_add(q, ";\n");
}

/* INSERT INTO the segment that fits */
static void add_insert_by_segment(Sql *q, const Table *table, const Sql *values)
{
    sql_add(q, "    IF " SEGMENT_IS_0 " THEN ");
    add_insert(q, table, 0, values);
    sql_add(q, "    ELSE ");
    add_insert(q, table, 1, values);
    sql_add(q, "    END IF;\n");
}

/* what a function does while applications may write here, and else refuses (but to our own apply) */
static void add_open_or_refuse(Sql *q, const Table *table, const Sql *values)
{
    /* open() is inlined into the expression: it costs nothing */
    sql_add(q, "  IF pgtandem.open() AND " SEGMENT_IS_0 " THEN\n    ");
    add_insert(q, table, 0, values);
    sql_add(q, "  ELSIF pgtandem.open() THEN\n    ");
    add_insert(q, table, 1, values);
    sql_add(q, "  ELSE\n    PERFORM pgtandem.refuse(TG_OP, TG_RELID);\n  END IF;\n");
}

/* SELECT txid, table's number (negative: an INSERT) */
static Sql *select_me(const void *ctx, int number)
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
    Sql *select = select_me(ctx, number);

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
    Sql *select = select_me(ctx, table->id);

    sql_add(select, ", u.key FROM (SELECT ");
    add_key(select, table, "x");
    sql_add(select, " AS key FROM pgtandem_new x UNION SELECT ");
    add_key(select, table, "x");
    sql_add(select, " FROM pgtandem_old x) u");
    return select;
}

static Sql *key_of_row(const void *ctx, const Table *table, const char *row)
{
    Sql *values = sql_new(ctx);

    sql_add(values, "VALUES (" TXID ", ");
    sql_number(values, table->id);
    sql_add(values, ", ");
    add_key(values, table, row);
    sql_add(values, ")");
    return values;
}

/* the same of the old row, by place */
static Sql *key_of_old_places(const void *ctx, const Table *table)
{
    Sql *select = select_me(ctx, table->id);

    sql_add(select, ", ");
    add_key_by(select, table, "x", true);
    sql_add(select, " FROM (SELECT OLD.*) x");
    add_places(select, table);
    return select;
}

/* the text of a key depends on the writer's session */
static bool needs_pinning(const Table *table)
{
    for (size_t k = 0; k < table->n_keys; k++)
        if (!table->keys[k].plain)
            return true;
    return false;
}

/* CREATE FUNCTION up to its body; pinned: with settings of its own */
static void begin_function(Sql *q, const Table *table, const char *what, bool pinned)
{
    sql_add(q, "CREATE OR REPLACE FUNCTION pgtandem.");
    sql_trusted(q, what);
    sql_add(q, "_");
    sql_number(q, table->id);
    sql_add(q, "() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER");
    if (pinned)
        sql_add(q, " SET search_path = pg_catalog, pg_temp"
                   " SET DateStyle = 'ISO, MDY' SET IntervalStyle = postgres SET TimeZone = 'UTC'"
                   " SET extra_float_digits = 3 SET bytea_output = hex SET lc_monetary = 'C'");
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
    begin_function(q, table, what, needs_pinning(table));
    sql_add(q, "BEGIN\n");
    add_open_or_refuse(q, table, values);
    end_function(q, table, what);
}

/* one row trigger for all events; while the node is closed, the gate has refused the statement */
static void add_row_function(const void *ctx, Sql *q, const Table *table)
{
    Sql *before = key_of_row(ctx, table, "OLD"), *after = key_of_row(ctx, table, "NEW");

    begin_function(q, table, "capture", needs_pinning(table));
    sql_add(q, "BEGIN\n  IF NOT pgtandem.open() THEN RETURN NULL; END IF;\n"
               "  IF TG_OP OPERATOR(pg_catalog.<>) 'DELETE' THEN\n");
    add_insert_by_segment(q, table, after);
    sql_add(q, "  END IF;\n"
               "  IF TG_OP OPERATOR(pg_catalog.=) 'UPDATE' THEN\n    IF ");
    add_key(q, table, "OLD");
    sql_add(q, " OPERATOR(pg_catalog.=) ");
    add_key(q, table, "NEW");
    sql_add(q, " THEN RETURN NULL; END IF;\n  END IF;\n"
               "  IF TG_OP OPERATOR(pg_catalog.<>) 'INSERT' THEN\n");
    add_insert_by_segment(q, table, before);
    sql_add(q, "  END IF;\n");
    end_function(q, table, "capture");
}

/*
 * A table without key only gets a mark that it changed. A sequence does for that: it costs far less
 * than a row, and when the tables are locked for a switch nobody is between mark and commit.
 */
static void add_mark_function(Sql *q, const Table *table)
{
    sql_add(q, "DROP SEQUENCE IF EXISTS pgtandem.mark_");
    sql_number(q, table->id);
    sql_add(q, ";\nCREATE SEQUENCE pgtandem.mark_");
    sql_number(q, table->id);
    sql_add(q, ";\n");
    begin_function(q, table, "capture", needs_pinning(table));
    sql_add(q, "DECLARE\n  mark bigint;\nBEGIN\n  IF pgtandem.open() THEN\n"
               "    mark := pg_catalog.nextval('pgtandem.mark_");
    sql_number(q, table->id);
    sql_add(q, "'::pg_catalog.regclass);\n  ELSE\n"
               "    PERFORM pgtandem.refuse(TG_OP, TG_RELID);\n  END IF;\n");
    end_function(q, table, "capture");
}

/* TRUNCATE: the whole table */
static void add_truncated_function(const void *ctx, Sql *q, const Table *table)
{
    Table without_key = *table;

    without_key.n_keys = 0;
    add_function(q, &without_key, "truncated", select_me(ctx, table->id));
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

    begin_function(q, table, "emptied", true);
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
    add_key(key, table, "x");
    sql_literal(q, key->text->text);
    sql_add(q, " || ' FROM ' || TG_RELID::regclass::text || ' x';\n");
    end_function(q, table, "emptied");
}

static void add_functions(const void *ctx, Sql *q, const Table *table, bool by_statement,
                          MoveCapture moves, bool leaves)
{
    if (table->n_keys == 0) {
        add_mark_function(q, table);
        return;
    }
    if (by_statement) {
        int id = table->id;
        bool place = key_has_place(table, leaves);

        add_function(q, table, "inserted",
                     keys_of_transition(ctx, table, -id, "pgtandem_new", place));
        if (moves != MOVE_TABLES)
            add_function(q, table, "updated",
                         keys_of_transition(ctx, table, id, "pgtandem_new", place));
        add_function(q, table, "deleted",
                     keys_of_transition(ctx, table, id, "pgtandem_old", place));
        add_function(q, table, "moved",
                     moves == MOVE_TABLES ? keys_of_both(ctx, table)
                     : place              ? key_of_old_places(ctx, table)
                                          : key_of_row(ctx, table, "OLD"));
    } else {
        add_row_function(ctx, q, table);
    }
    add_truncated_function(ctx, q, table);
    if (leaves)
        add_emptied_function(q, table);
}

/*
 * CREATE TRIGGER and ENABLE ALWAYS; `when` is e.g. "AFTER INSERT", each is ROW or STATEMENT (and a
 * condition), function e.g. "capture"
 */
static void add_trigger(Sql *q, const TriggerRelationsRow *rel, const char *name, const char *when,
                        const char *referencing, const char *each, const char *function, int id)
{
    sql_add(q, "CREATE TRIGGER ");
    sql_ident(q, name);
    sql_add(q, " ");
    sql_trusted(q, when);
    sql_add(q, " ON ");
    sql_name(q, rel->schema_name, rel->table_name);
    sql_trusted(q, referencing);
    sql_add(q, " FOR EACH ");
    sql_trusted(q, each);
    sql_add(q, " EXECUTE PROCEDURE pgtandem.");
    sql_trusted(q, function);
    if (id > 0) {
        sql_add(q, "_");
        sql_number(q, id);
    }
    sql_add(q, "();\nALTER TABLE ONLY ");
    sql_name(q, rel->schema_name, rel->table_name);
    sql_add(q, " ENABLE ALWAYS TRIGGER ");
    sql_ident(q, name);
    sql_add(q, ";\n");
}

/*
 * Before statements: for tables with row triggers, and for roots whose partitions are captured by
 * themselves. A statement trigger of capture does the same at the end of the statement, for less.
 * UPDATE is refused at its end here too: on PostgreSQL 15 a MERGE into a table with children and a
 * generated column stores NULL in that column when there is a BEFORE UPDATE statement trigger.
 */
static void add_gate_trigger(Sql *q, const TriggerRelationsRow *rel)
{
    add_trigger(q, rel, "pgtandem_gate", "BEFORE INSERT OR DELETE OR TRUNCATE", "", "STATEMENT",
                "gate", 0);
    add_trigger(q, rel, "pgtandem_gate_update", "AFTER UPDATE", "", "STATEMENT", "gate", 0);
}

/* FOR EACH ROW WHEN the key changes */
static void add_moved_trigger(Sql *q, const Table *table, const TriggerRelationsRow *rel,
                              MoveCapture moves)
{
    AUTO_CTX(tmp, q);
    Sql *when = sql_new(tmp), *each = sql_new(tmp);

    if (moves == MOVE_TABLES) {
        add_trigger(q, rel, "pgtandem_upd", "AFTER UPDATE",
                    " REFERENCING OLD TABLE AS pgtandem_old NEW TABLE AS pgtandem_new", "STATEMENT",
                    "moved", table->id);
        return;
    }
    sql_add(when, "AFTER UPDATE");
    for (size_t k = 0; k < table->n_keys && moves == MOVE_ROWS; k++) {
        sql_trusted(when, k == 0 ? " OF " : ", ");
        sql_ident(when, table->keys[k].name);
    }
    sql_add(each, "ROW WHEN (NOT (");
    add_key(each, table, "OLD");
    sql_add(each, " OPERATOR(pg_catalog.=) ");
    add_key(each, table, "NEW");
    sql_add(each, "))");
    add_trigger(q, rel, "pgtandem_upd", "AFTER UPDATE", " REFERENCING NEW TABLE AS pgtandem_new",
                "STATEMENT", "updated", table->id);
    add_trigger(q, rel, "pgtandem_key", when->text->text, "", each->text->text, "moved", table->id);
}

static void add_triggers(Sql *q, const Table *table, const TriggerRelationsRow *rel,
                         bool by_statement, MoveCapture moves)
{
    bool is_leaf = rel->oid != table->oid;
    const char *any_change = "AFTER INSERT OR UPDATE OR DELETE";

    if (!by_statement)
        add_gate_trigger(q, rel);
    if (table->n_keys == 0 && table->row_level) {
        /* a statement that names the parent fires no statement triggers of ours here */
        add_trigger(q, rel, "pgtandem_row", any_change, "", "ROW", "capture", table->id);
        add_trigger(q, rel, "pgtandem_tru", "BEFORE TRUNCATE", "", "STATEMENT", "capture",
                    table->id);
        return;
    }
    if (table->n_keys == 0) {
        add_trigger(q, rel, "pgtandem_any", "AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE", "",
                    "STATEMENT", "capture", table->id);
        return;
    }
    if (by_statement) {
        add_trigger(q, rel, "pgtandem_ins", "AFTER INSERT",
                    " REFERENCING NEW TABLE AS pgtandem_new", "STATEMENT", "inserted", table->id);
        add_moved_trigger(q, table, rel, moves);
        add_trigger(q, rel, "pgtandem_del", "AFTER DELETE",
                    " REFERENCING OLD TABLE AS pgtandem_old", "STATEMENT", "deleted", table->id);
    } else {
        add_trigger(q, rel, "pgtandem_row", any_change, "", "ROW", "capture", table->id);
    }
    add_trigger(q, rel, "pgtandem_tru", "BEFORE TRUNCATE", "", "STATEMENT",
                is_leaf ? "emptied" : "truncated", table->id);
}

/* whether an UPDATE that names no key column may change a key all the same */
static bool find_moves(Conn *conn, const Table *table, bool leaves, MoveCapture *ret_moves,
                       Err *err)
{
    AUTO_CTX(tmp, NULL);
    HiddenKeyChangesRow *rows;
    size_t n;

    *ret_moves = leaves || table->partitioned ? MOVE_TABLES : MOVE_ROWS;
    if (*ret_moves == MOVE_TABLES || table->n_keys == 0)
        return true;
    for (size_t k = 0; k < table->n_keys; k++)
        if (table_column(table, table->keys[k].name)->generated)
            *ret_moves = MOVE_ROWS_ALL;
    if (!q_hidden_key_changes(tmp, conn, table->oid, &rows, &n, err))
        return false;
    if (n > 0)
        *ret_moves = MOVE_ROWS_ALL;
    return true;
}

/* lock_and_run() with LOCK TABLE for each of the relations; mode is a fixed lock mode of ours */
static bool with_locks(Conn *conn, const TriggerRelationsRow *rels, size_t n, const char *mode,
                       const Sql *work, const char *label, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Sql *locks = sql_new(tmp);

    for (size_t i = 0; i < n; i++) {
        sql_add(locks, "LOCK TABLE ONLY ");
        sql_name(locks, rels[i].schema_name, rels[i].table_name);
        sql_add(locks, " IN ");
        sql_trusted(locks, mode);
        sql_add(locks, " MODE; ");
    }
    return lock_and_run(conn, locks, work, label, err);
}

/* how a table is captured on this node */
typedef struct Capture {
    const Table *table;
    bool by_statement;
    MoveCapture moves;
    TriggerRelationsRow *rels; /* the table and all its partitions */
    size_t n_rels;
} Capture;

static bool choose_capture(const void *ctx, Conn *conn, const Table *table, Capture *ret, Err *err)
{
    ret->table = table;
    ret->by_statement =
        !table->row_level && (table->n_keys == 0 || conn_caps(conn)->has_transition_tables);
    return q_trigger_relations(ctx, conn, table->oid, &ret->rels, &ret->n_rels, err) &&
           find_moves(conn, table, ret->n_rels > 1, &ret->moves, err);
}

static void add_capture_functions(const void *ctx, Sql *q, const Capture *c)
{
    add_functions(ctx, q, c->table, c->by_statement, c->moves, c->n_rels > 1);
}

/* "INSERT INTO pgtandem.tab_rel" for one relation; its triggers are there */
static void add_rel(Sql *q, const Table *table, int64_t rel)
{
    sql_add(q, "INSERT INTO pgtandem.tab_rel (tab, rel, root, triggers) SELECT ");
    sql_number(q, table->id);
    sql_add(q, ", ");
    sql_number(q, rel);
    sql_trusted(q, rel == table->oid ? ", true" : ", false");
    sql_add(q, ", count(*) FROM pg_catalog.pg_trigger t JOIN pg_catalog.pg_proc p ON p.oid = "
               "t.tgfoid JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace AND n.nspname = "
               "'pgtandem' WHERE NOT t.tgisinternal AND p.proname <> 'gate' AND t.tgrelid = ");
    sql_number(q, rel);
    sql_add(q, ";\n");
}

/* DROP TRIGGER for those that another table's capture left on it: a partition may have been a table */
static bool add_drop_others(Conn *conn, Sql *q, const Table *table, const TriggerRelationsRow *rel,
                            bool *ret_any, Err *err)
{
    AUTO_CTX(tmp, NULL);
    OtherTriggersRow *others;
    size_t n;

    if (!q_other_triggers(tmp, conn, rel->oid, table->id, &others, &n, err))
        return false;
    for (size_t i = 0; i < n; i++) {
        *ret_any = true;
        sql_add(q, "DROP TRIGGER IF EXISTS ");
        sql_ident(q, others[i].name);
        sql_add(q, " ON ");
        sql_name(q, rel->schema_name, rel->table_name);
        sql_add(q, ";\n");
    }
    return true;
}

bool capture_table(Conn *conn, const Table *table, Err *err)
{
    AUTO_CTX(tmp, NULL);
    char *label = table_label(tmp, table);
    Capture c;
    bool others = false;
    Sql *q = sql_new(tmp);

    if (!choose_capture(tmp, conn, table, &c, err))
        return false;
    for (size_t i = 0; i < c.n_rels; i++)
        if (!add_drop_others(conn, q, table, &c.rels[i], &others, err))
            return false;
    add_capture_functions(tmp, q, &c);
    sql_add(q, "DELETE FROM pgtandem.tab_rel WHERE tab = ");
    sql_number(q, table->id);
    sql_add(q, ";\n");
    for (size_t i = 0; i < c.n_rels; i++) {
        add_triggers(q, table, &c.rels[i], c.by_statement, c.moves);
        add_rel(q, table, c.rels[i].oid);
    }
    sql_add(q, "UPDATE pgtandem.tab SET captured = true WHERE id = ");
    sql_number(q, table->id);
    if (!with_locks(conn, c.rels, c.n_rels, others ? "ACCESS EXCLUSIVE" : "SHARE ROW EXCLUSIVE", q,
                    label, err))
        return err_add(err, "while installing capture on table %s", label);
    return true;
}

bool capture_names_again(Conn *conn, const Table *table, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Capture c;
    Sql *q = sql_new(tmp);

    if (!choose_capture(tmp, conn, table, &c, err))
        return false;
    add_capture_functions(tmp, q, &c);
    return conn_exec(conn, q, err) ||
           err_add(err, "while changing capture of table %s", table_label(tmp, table));
}

/*
 * Every row of a relation as changed, in this transaction; `from` is what stands behind FROM. With no time at
 * all, so that it never wins against a change.
 */
static void add_all_keys(Sql *q, const Table *table, const char *from)
{
    for (int segment = 0; segment < 2; segment++) {
        sql_add(q, "INSERT INTO pgtandem.queue_");
        sql_number(q, segment);
        sql_trusted(q, table->key_is_int ? " (txid, tab, k, at) " : " (txid, tab, ka, at) ");
        sql_splice(q, select_me(q, table->id));
        sql_add(q, ", ");
        add_key(q, table, "x");
        sql_add(q, ", '-infinity' FROM ");
        sql_trusted(q, from);
        sql_add(q, " x WHERE (" SEGMENT_IS_0 ")");
        if (segment != 0)
            sql_add(q, " IS FALSE");
        sql_add(q, ";\n");
    }
}

bool capture_all_rows(Conn *conn, const Table *table, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Sql *q = sql_new(tmp);

    sql_add(q, "BEGIN;\n");
    add_all_keys(q, table, table_ref(tmp, table));
    sql_add(q, "COMMIT");
    if (conn_exec(conn, q, err))
        return true;
    conn_rollback(conn);
    return err_add(err, "while recording all rows of table %s", table_label(tmp, table));
}

bool capture_everything(Conn *conn, const Table *table, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Sql *q = sql_new(tmp);

    sql_add(q, "BEGIN;\n");
    if (table->n_keys == 0) {
        sql_add(q, "SELECT nextval('pgtandem.mark_");
        sql_number(q, table->id);
        sql_add(q, "');\n");
    }
    for (int segment = 0; segment < 2 && table->n_keys > 0; segment++) {
        sql_add(q, "INSERT INTO pgtandem.queue_");
        sql_number(q, segment);
        sql_add(q, " (txid, tab, ka) SELECT " TXID ", ");
        sql_number(q, table->id);
        sql_add(q, ", '{}' WHERE (" SEGMENT_IS_0 ")");
        if (segment != 0)
            sql_add(q, " IS FALSE");
        sql_add(q, ";\n");
    }
    sql_add(q, "COMMIT");
    if (conn_exec(conn, q, err))
        return true;
    conn_rollback(conn);
    return err_add(err, "while recording all rows of table %s", table_label(tmp, table));
}

/* ONLY "schema"."name"; belongs to ctx */
static const char *rel_ref(const void *ctx, const TriggerRelationsRow *rel)
{
    Sql *q = sql_new(ctx);

    sql_add(q, "ONLY ");
    sql_name(q, rel->schema_name, rel->table_name);
    return q->text->text;
}

bool capture_partitions(Conn *conn, const Table *table, const int64_t *rels, size_t n, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Capture c;
    Sql *q = sql_new(tmp);
    size_t n_new = 0;

    if (!choose_capture(tmp, conn, table, &c, err))
        return false;
    TriggerRelationsRow *come = mem_array(tmp, TriggerRelationsRow, c.n_rels + 1);
    for (size_t i = 0; i < c.n_rels; i++)
        for (size_t r = 0; r < n; r++)
            if (c.rels[i].oid == rels[r])
                come[n_new++] = c.rels[i];
    add_capture_functions(tmp, q, &c);
    for (size_t i = 0; i < n_new; i++) {
        add_triggers(q, table, &come[i], c.by_statement, c.moves);
        add_rel(q, table, come[i].oid);
        if (strcmp(come[i].kind, "r") == 0)
            add_all_keys(q, table, rel_ref(tmp, &come[i]));
    }
    return n_new == 0 ||
           with_locks(conn, come, n_new, "SHARE ROW EXCLUSIVE", q, table_label(tmp, table), err) ||
           err_add(err, "while installing capture on new partitions of table %s",
                   table_label(tmp, table));
}

bool capture_gate_only(Conn *conn, const Table *root, Err *err)
{
    AUTO_CTX(tmp, NULL);
    GateTriggersRow *have;
    size_t n;
    TriggerRelationsRow rel = {
        .oid = root->oid, .schema_name = root->schema, .table_name = root->name, .kind = "p"};
    Sql *q = sql_new(tmp);

    if (!q_gate_triggers(tmp, conn, root->oid, &have, &n, err))
        return false;
    if (n > 0)
        return true;
    add_gate_trigger(q, &rel);
    if (!with_locks(conn, &rel, 1, "SHARE ROW EXCLUSIVE", q, root->name, err))
        return err_add(err, "while installing the gate on table %s", table_label(tmp, root));
    return true;
}

/* drops triggers of ours, sorted by table; one table is one transaction */
static bool drop_triggers(Conn *conn, const OurTriggersRow *rows, size_t n, Err *err)
{
    for (size_t i = 0; i < n;) {
        AUTO_CTX(tmp, NULL);
        Sql *q = sql_new(tmp);
        size_t first = i;
        TriggerRelationsRow rel = {.schema_name = rows[i].schema_name,
                                   .table_name = rows[i].table_name};

        for (; i < n && rows[i].oid == rows[first].oid; i++) {
            sql_add(q, "DROP TRIGGER ");
            sql_ident(q, rows[i].name);
            sql_add(q, " ON ");
            sql_name(q, rows[i].schema_name, rows[i].table_name);
            sql_add(q, ";\n");
        }
        if (!fault("capture.remove", err))
            return false;
        if (!with_locks(conn, &rel, 1, "ACCESS EXCLUSIVE", q, rel.table_name, err))
            return err_add(err, "while removing capture from table %s.%s", rel.schema_name,
                           rel.table_name);
    }
    return true;
}

bool capture_remove_all(Conn *conn, Err *err)
{
    AUTO_CTX(tmp, NULL);
    OurTriggersRow *rows;
    size_t n;

    return q_our_triggers(tmp, conn, &rows, &n, err) && drop_triggers(conn, rows, n, err);
}

bool capture_again(Conn *conn, const Table *table, Err *err)
{
    AUTO_CTX(tmp, NULL);
    OurTriggersRow *rows;
    size_t n, kept = 0;
    Sql *q = sql_new(tmp);
    const char *suffix = mem_printf(tmp, "_%d", table->id);

    if (!q_our_triggers(tmp, conn, &rows, &n, err))
        return false;
    for (size_t i = 0; i < n; i++)
        if (str_ends(rows[i].function, suffix))
            rows[kept++] = rows[i];
    /* first of all everybody who reads it has to know that changes are missing */
    sql_add(q, "UPDATE pgtandem.tab SET captured = false, captures = captures + 1 WHERE id = ");
    sql_number(q, table->id);
    return conn_exec(conn, q, err) && drop_triggers(conn, rows, kept, err) &&
           capture_table(conn, table, err);
}

bool capture_remove_table(Conn *conn, int tab, int64_t relid, Err *err)
{
    AUTO_CTX(tmp, NULL);
    OurTriggersRow *rows;
    TriggerRelationsRow *rels;
    CaptureFunctionsRow *functions;
    size_t n, n_rels, n_functions, kept = 0;
    Sql *q = sql_new(tmp);

    const char *suffix = mem_printf(tmp, "_%d", tab);

    /* by function, wherever they are: the table may have been renamed; the gate has one for all tables */
    if (!q_our_triggers(tmp, conn, &rows, &n, err) ||
        !q_trigger_relations(tmp, conn, relid, &rels, &n_rels, err))
        return false;
    for (size_t i = 0; i < n; i++) {
        bool ours = str_ends(rows[i].function, suffix);

        for (size_t r = 0; r < n_rels; r++)
            ours = ours || (rows[i].oid == rels[r].oid && strcmp(rows[i].function, "gate") == 0);
        if (ours)
            rows[kept++] = rows[i];
    }
    if (!drop_triggers(conn, rows, kept, err))
        return false;
    if (!q_capture_functions(tmp, conn, tab, &functions, &n_functions, err))
        return false;
    for (size_t i = 0; i < n_functions; i++) {
        sql_add(q, "DROP FUNCTION ");
        sql_name(q, "pgtandem", functions[i].name);
        sql_add(q, "();\n");
    }
    sql_add(q, "DROP SEQUENCE IF EXISTS pgtandem.mark_");
    sql_number(q, tab);
    sql_add(q, "; DELETE FROM pgtandem.tab_rel WHERE tab = ");
    sql_number(q, tab);
    sql_add(q, "; DELETE FROM pgtandem.tab WHERE id = ");
    sql_number(q, tab);
    return conn_exec(conn, q, err) ||
           err_add(err, "while removing capture of table number %d", tab);
}

bool gate_open(Conn *conn, Err *err)
{
    return conn_do(conn,
                   "CREATE OR REPLACE FUNCTION pgtandem.open() RETURNS boolean LANGUAGE sql STABLE "
                   "AS 'SELECT true'; UPDATE pgtandem.node SET gate = 'open'",
                   err);
}

bool gate_close(Conn *conn, Err *err)
{
    return conn_do(conn,
                   "CREATE OR REPLACE FUNCTION pgtandem.open() RETURNS boolean LANGUAGE sql STABLE "
                   "AS 'SELECT false'; UPDATE pgtandem.node SET gate = 'closed'",
                   err);
}

/* the row that tells whose round this transaction is, into the segment that fits */
static void add_queue_mark(Sql *q, int segment, const char *edge)
{
    sql_add(q, "; INSERT INTO pgtandem.queue_");
    sql_number(q, segment);
    sql_add(q, " (txid, tab, ka) SELECT " TXID ", 0, ARRAY[");
    sql_literal(q, edge);
    sql_add(q, "] WHERE (" SEGMENT_IS_0 ")");
    if (segment != 0)
        sql_add(q, " IS FALSE");
}

bool capture_mark_apply(Conn *conn, const char *edge, bool in_queue, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Sql *q = sql_new(tmp);

    sql_add(q, "UPDATE pgtandem.progress SET applying = " TXID " WHERE edge = ");
    sql_literal(q, edge);
    if (in_queue) {
        add_queue_mark(q, 0, edge);
        add_queue_mark(q, 1, edge);
    }
    return conn_exec(conn, q, err);
}

static void add_recall(Sql *q, const Table *table, int segment, const char *from)
{
    sql_add(q, ", recall_");
    sql_number(q, segment);
    sql_add(q, " AS (INSERT INTO pgtandem.queue_");
    sql_number(q, segment);
    sql_add(q, " (txid, tab, k, ka, at) SELECT " TXID ", ");
    sql_number(q, table->id);
    sql_trusted(q, table->key_is_int ? ", key[1]::bigint, NULL" : ", NULL, key");
    sql_add(q, ", '-infinity' FROM ");
    sql_trusted(q, from);
    sql_add(q, " WHERE (" SEGMENT_IS_0 ")");
    if (segment != 0)
        sql_add(q, " IS FALSE");
    sql_add(q, ")");
}

void capture_add_recall(Sql *q, const Table *table, const char *from)
{
    add_recall(q, table, 0, from);
    add_recall(q, table, 1, from);
}
