/* Capture triggers and the gate: see capture.h. */
#include "capture/capture.h"

#include <string.h>

#include "base/fault.h"
#include "pg/lock.h"
#include "sql/queries.h"

/*
 * a transaction id chooses its queue segment by this bit: 4096 transactions, then the other segment
 */
#define SEGMENT_SQL "(me >> 12) & 1 = 0"

/* "x"."id"::bigint, or ARRAY["x"."a"::text, …]; the prefix is a fixed word of ours */
static void add_key(Sql *q, const Table *table, const char *prefix)
{
    if (!table->key_is_int)
        sql_add(q, "ARRAY[");
    for (size_t k = 0; k < table->n_keys; k++) {
        if (k > 0)
            sql_add(q, ", ");
        sql_trusted(q, prefix);
        sql_add(q, ".");
        sql_ident(q, table->keys[k].name);
        if (table->key_is_int)
            sql_add(q, "::bigint");
        else
            /* columns of different collations cannot be compared as one array otherwise */
            sql_add(q, "::text COLLATE pg_catalog.\"C\"");
    }
    if (!table->key_is_int)
        sql_add(q, "]");
}

/*
 * INSERT INTO the segment that fits: the same statement twice, since the table name must be static
 */
static void add_insert(Sql *q, const Table *table, const Sql *select)
{
    sql_add(q, "    IF " SEGMENT_SQL " THEN\n");
    for (int segment = 0; segment < 2; segment++) {
        if (segment == 1)
            sql_add(q, "    ELSE\n");
        sql_add(q, "      INSERT INTO pgtandem.queue_");
        sql_number(q, segment);
        if (table->n_keys == 0)
            sql_add(q, " (txid, tab) ");
        else if (table->key_is_int)
            sql_add(q, " (txid, tab, k) ");
        else
            sql_add(q, " (txid, tab, ka) ");
        sql_splice(q, select);
        sql_add(q, ";\n");
    }
    sql_add(q, "    END IF;\n");
}

static Sql *select_me(const void *ctx, const Table *table)
{
    Sql *select = sql_new(ctx);

    sql_add(select, "SELECT me, ");
    sql_number(select, table->id);
    return select;
}

/* INSERT … SELECT of the keys in a transition table */
static void add_from_transition(const void *ctx, Sql *q, const Table *table, const char *name)
{
    Sql *select = select_me(ctx, table);

    sql_add(select, ", ");
    add_key(select, table, "x");
    sql_add(select, " FROM ");
    sql_trusted(select, name);
    sql_add(select, " x");
    add_insert(q, table, select);
}

/* each key of either side once: an update that moves no key is one change */
static void add_from_update(const void *ctx, Sql *q, const Table *table)
{
    Sql *select = select_me(ctx, table);

    sql_add(select, ", u.key FROM (SELECT ");
    add_key(select, table, "x");
    sql_add(select, " AS key FROM pgtandem_new x UNION SELECT ");
    add_key(select, table, "x");
    sql_add(select, " FROM pgtandem_old x) u");
    add_insert(q, table, select);
}

static void add_from_row(const void *ctx, Sql *q, const Table *table, const char *row)
{
    Sql *select = select_me(ctx, table);

    sql_add(select, ", ");
    add_key(select, table, row);
    add_insert(q, table, select);
}

static void add_whole(const void *ctx, Sql *q, const Table *table)
{
    Table without_key = *table;

    without_key.n_keys = 0;
    add_insert(q, &without_key, select_me(ctx, table));
}

static void begin_function(Sql *q, const Table *table, const char *what)
{
    bool plain = true;

    for (size_t k = 0; k < table->n_keys; k++)
        plain = plain && table->keys[k].plain;
    sql_add(q, "CREATE OR REPLACE FUNCTION pgtandem.");
    sql_trusted(q, what);
    sql_add(q, "_");
    sql_number(q, table->id);
    sql_add(q, "() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, "
               "pg_temp");
    /* the text of such a key must not depend on the writer's session */
    if (!plain)
        sql_add(q, " SET DateStyle = 'ISO, MDY' SET IntervalStyle = postgres SET TimeZone = 'UTC'"
                   " SET extra_float_digits = 3 SET bytea_output = hex SET lc_monetary = 'C'");
    /* a user's column may be called "me": our own names win, columns are always qualified */
    sql_add(q, " AS $pgtandem$\n"
               "#variable_conflict use_variable\n"
               "DECLARE me bigint := txid_current();\n"
               "BEGIN\n"
               "  IF left(current_setting('application_name'), 8) = 'pgtandem' THEN\n"
               "    IF EXISTS (SELECT 1 FROM pgtandem.progress WHERE applying = me) THEN RETURN "
               "NULL; END IF;\n"
               "  END IF;\n");
}

static void end_function(Sql *q, const Table *table, const char *what)
{
    sql_add(q, "  RETURN NULL;\nEND $pgtandem$;\nREVOKE ALL ON FUNCTION pgtandem.");
    sql_trusted(q, what);
    sql_add(q, "_");
    sql_number(q, table->id);
    sql_add(q, "() FROM PUBLIC;\n");
}

static void add_functions(const void *ctx, Sql *q, const Table *table, bool statement_level,
                          bool leaves)
{
    begin_function(q, table, "capture");
    if (table->n_keys == 0) {
        add_whole(ctx, q, table);
    } else if (statement_level) {
        sql_add(q, "  IF TG_OP = 'INSERT' THEN\n");
        add_from_transition(ctx, q, table, "pgtandem_new");
        sql_add(q, "  ELSIF TG_OP = 'UPDATE' THEN\n");
        add_from_update(ctx, q, table);
        sql_add(q, "  ELSE\n");
        add_from_transition(ctx, q, table, "pgtandem_old");
        sql_add(q, "  END IF;\n");
    } else {
        sql_add(q, "  IF TG_OP <> 'DELETE' THEN\n");
        add_from_row(ctx, q, table, "NEW");
        sql_add(q, "  END IF;\n  IF TG_OP = 'DELETE' THEN\n");
        add_from_row(ctx, q, table, "OLD");
        sql_add(q, "  ELSIF TG_OP = 'UPDATE' THEN\n  IF ");
        add_key(q, table, "OLD");
        sql_add(q, " <> ");
        add_key(q, table, "NEW");
        sql_add(q, " THEN\n");
        add_from_row(ctx, q, table, "OLD");
        sql_add(q, "  END IF;\n  END IF;\n");
    }
    end_function(q, table, "capture");
    if (table->n_keys == 0)
        return;

    begin_function(q, table, "truncated");
    add_whole(ctx, q, table);
    end_function(q, table, "truncated");
    if (!leaves)
        return;

    /*
     * TRUNCATE of one partition: every key in it, unless the root itself is truncated in this
     * transaction
     */
    begin_function(q, table, "emptied");
    sql_add(q, "  IF EXISTS (SELECT 1 FROM pgtandem.queue_0 q WHERE q.tab = ");
    sql_number(q, table->id);
    sql_add(q, " AND q.txid = me AND q.k IS NULL AND q.ka IS NULL)\n     OR EXISTS (SELECT 1 FROM "
               "pgtandem.queue_1 q WHERE q.tab = ");
    sql_number(q, table->id);
    sql_add(q, " AND q.txid = me AND q.k IS NULL AND q.ka IS NULL) THEN RETURN NULL; END IF;\n"
               "  EXECUTE 'INSERT INTO pgtandem.queue_' || ((me >> 12) & 1)::text || '");
    if (table->key_is_int)
        sql_add(q, " (txid, tab, k)");
    else
        sql_add(q, " (txid, tab, ka)");
    sql_add(q, " SELECT ' || me || ', ");
    sql_number(q, table->id);
    sql_add(q, ", ' || ");
    Sql *key = sql_new(ctx);
    add_key(key, table, "x");
    sql_literal(q, key->text->text);
    sql_add(q, " || ' FROM ' || TG_RELID::regclass::text || ' x';\n");
    end_function(q, table, "emptied");
}

/* CREATE TRIGGER and ENABLE ALWAYS; `when` is e.g. "AFTER INSERT", function e.g. "capture" */
static void add_trigger(Sql *q, const TriggerRelationsRow *rel, const char *name, const char *when,
                        const char *referencing, bool per_row, const char *function, int id)
{
    sql_add(q, "CREATE TRIGGER ");
    sql_ident(q, name);
    sql_add(q, " ");
    sql_trusted(q, when);
    sql_add(q, " ON ");
    sql_name(q, rel->schema_name, rel->table_name);
    sql_trusted(q, referencing);
    if (per_row)
        sql_add(q, " FOR EACH ROW EXECUTE PROCEDURE pgtandem.");
    else
        sql_add(q, " FOR EACH STATEMENT EXECUTE PROCEDURE pgtandem.");
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

static void add_gate_trigger(Sql *q, const TriggerRelationsRow *rel)
{
    add_trigger(q, rel, "pgtandem_gate", "BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE", "", false,
                "gate", 0);
}

static void add_triggers(Sql *q, const Table *table, const TriggerRelationsRow *rel,
                         bool statement_level)
{
    bool is_leaf = rel->oid != table->oid;

    add_gate_trigger(q, rel);
    if (table->n_keys == 0 && table->row_level) {
        /* a statement that names the parent fires no statement triggers of ours here */
        add_trigger(q, rel, "pgtandem_row", "AFTER INSERT OR UPDATE OR DELETE", "", true, "capture",
                    table->id);
        add_trigger(q, rel, "pgtandem_tru", "BEFORE TRUNCATE", "", false, "capture", table->id);
        return;
    }
    if (table->n_keys == 0) {
        add_trigger(q, rel, "pgtandem_any", "AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE", "",
                    false, "capture", table->id);
        return;
    }
    if (statement_level) {
        add_trigger(q, rel, "pgtandem_ins", "AFTER INSERT",
                    " REFERENCING NEW TABLE AS pgtandem_new", false, "capture", table->id);
        add_trigger(q, rel, "pgtandem_upd", "AFTER UPDATE",
                    " REFERENCING OLD TABLE AS pgtandem_old NEW TABLE AS pgtandem_new", false,
                    "capture", table->id);
        add_trigger(q, rel, "pgtandem_del", "AFTER DELETE",
                    " REFERENCING OLD TABLE AS pgtandem_old", false, "capture", table->id);
    } else {
        add_trigger(q, rel, "pgtandem_row", "AFTER INSERT OR UPDATE OR DELETE", "", true, "capture",
                    table->id);
    }
    add_trigger(q, rel, "pgtandem_tru", "BEFORE TRUNCATE", "", false,
                is_leaf ? "emptied" : "truncated", table->id);
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

bool capture_table(Conn *conn, const Table *table, Err *err)
{
    AUTO_CTX(tmp, NULL);
    char *label = table_label(tmp, table);
    bool statement_level = conn_caps(conn)->has_transition_tables && !table->row_level;
    TriggerRelationsRow *rels;
    size_t n;
    Sql *q = sql_new(tmp);

    if (!q_trigger_relations(tmp, conn, table->oid, &rels, &n, err))
        return false;
    add_functions(tmp, q, table, statement_level, n > 1);
    for (size_t i = 0; i < n; i++)
        add_triggers(q, table, &rels[i], statement_level);
    sql_add(q, "UPDATE pgtandem.tab SET captured = true WHERE id = ");
    sql_number(q, table->id);
    if (!with_locks(conn, rels, n, "SHARE ROW EXCLUSIVE", q, label, err))
        return err_add(err, "while installing capture on table %s", label);
    return true;
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

bool capture_remove_all(Conn *conn, Err *err)
{
    AUTO_CTX(tmp, NULL);
    OurTriggersRow *rows;
    size_t n;

    if (!q_our_triggers(tmp, conn, &rows, &n, err))
        return false;
    for (size_t i = 0; i < n;) {
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

bool gate_open(Conn *conn, Err *err)
{
    return conn_do(conn,
                   "CREATE OR REPLACE FUNCTION pgtandem.gate() RETURNS trigger LANGUAGE plpgsql AS "
                   "$pgtandem$ BEGIN RETURN NULL; END $pgtandem$; "
                   "REVOKE ALL ON FUNCTION pgtandem.gate() FROM PUBLIC; "
                   "UPDATE pgtandem.node SET gate = 'open'",
                   err);
}

bool gate_close(Conn *conn, Err *err)
{
    return conn_do(conn,
                   "CREATE OR REPLACE FUNCTION pgtandem.gate() RETURNS trigger LANGUAGE plpgsql "
                   "SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $pgtandem$\n"
                   "BEGIN\n"
                   "  IF EXISTS (SELECT 1 FROM pgtandem.progress WHERE applying = txid_current()) "
                   "THEN RETURN NULL; END IF;\n"
                   "  RAISE EXCEPTION USING ERRCODE = 'read_only_sql_transaction',\n"
                   "    MESSAGE = 'database \"' || current_database() || '\" on this server does "
                   "not take writes: '\n"
                   "              || 'pgtandem keeps it as the copy of another server',\n"
                   "    DETAIL = 'Statement ' || TG_OP || ' on table ' || TG_RELID::regclass::text "
                   "|| ' was refused.',\n"
                   "    HINT = 'Connect to the server that the application was switched to.';\n"
                   "END $pgtandem$; "
                   "REVOKE ALL ON FUNCTION pgtandem.gate() FROM PUBLIC; "
                   "UPDATE pgtandem.node SET gate = 'closed'",
                   err);
}

bool capture_mark_apply(Conn *conn, Err *err)
{
    return conn_do(conn, "UPDATE pgtandem.progress SET applying = txid_current()", err);
}
