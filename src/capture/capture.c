/* Capture triggers and the gate: see capture.h. */
#include "capture/capture.h"

#include <string.h>

#include "base/fault.h"
#include "base/str.h"
#include "capture/functions.h"
#include "pg/lock.h"
#include "sql/queries.h"

#define ANY_CHANGE "AFTER INSERT OR UPDATE OR DELETE"

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
    functions_add_key(each, table, "OLD");
    sql_add(each, " OPERATOR(pg_catalog.=) ");
    functions_add_key(each, table, "NEW");
    sql_add(each, "))");
    add_trigger(q, rel, "pgtandem_upd", "AFTER UPDATE", " REFERENCING NEW TABLE AS pgtandem_new",
                "STATEMENT", "updated", table->id);
    add_trigger(q, rel, "pgtandem_key", when->text->text, "", each->text->text, "moved", table->id);
}

/* a mark only: statements do, but one that names the parent fires none of a child */
static void add_mark_triggers(Sql *q, const Table *table, const TriggerRelationsRow *rel,
                              bool by_statement)
{
    if (by_statement) {
        add_trigger(q, rel, "pgtandem_any", "AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE", "",
                    "STATEMENT", "marked", table->id);
        return;
    }
    add_trigger(q, rel, "pgtandem_row", ANY_CHANGE, "", "ROW", "marked", table->id);
    add_trigger(q, rel, "pgtandem_tru", "BEFORE TRUNCATE", "", "STATEMENT", "marked", table->id);
}

static void add_triggers(Sql *q, const Capture *c, const TriggerRelationsRow *rel)
{
    const Table *table = c->table;
    bool is_leaf = rel->oid != table->oid;

    if (!c->by_statement)
        add_gate_trigger(q, rel);
    if (c->only_marked) {
        add_mark_triggers(q, table, rel, c->by_statement);
        return;
    }
    if (c->by_statement) {
        add_trigger(q, rel, "pgtandem_ins", "AFTER INSERT",
                    " REFERENCING NEW TABLE AS pgtandem_new", "STATEMENT", "inserted", table->id);
        add_moved_trigger(q, table, rel, c->moves);
        add_trigger(q, rel, "pgtandem_del", "AFTER DELETE",
                    " REFERENCING OLD TABLE AS pgtandem_old", "STATEMENT", "deleted", table->id);
    } else {
        add_trigger(q, rel, "pgtandem_row", ANY_CHANGE, "", "ROW", "capture", table->id);
    }
    add_trigger(q, rel, "pgtandem_tru", "BEFORE TRUNCATE", "", "STATEMENT",
                is_leaf && table->n_keys > 0 ? "emptied" : "truncated", table->id);
}

/* whether an UPDATE that names no key column may change a key all the same */
static bool find_moves(Conn *conn, const Table *table, bool leaves, MoveCapture *ret_moves,
                       Err *err)
{
    AUTO_CTX(tmp, NULL);
    HiddenKeyChangesRow *rows;
    size_t n;

    *ret_moves = leaves || table->partitioned || table->n_keys == 0 ? MOVE_TABLES : MOVE_ROWS;
    if (*ret_moves == MOVE_TABLES)
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

/* LOCK TABLE for each of the relations; mode is a fixed lock mode of ours */
static Sql *lock_relations(const void *ctx, const TriggerRelationsRow *rels, size_t n,
                           const char *mode)
{
    Sql *locks = sql_new(ctx);

    for (size_t i = 0; i < n; i++) {
        sql_add(locks, "LOCK TABLE ONLY ");
        sql_name(locks, rels[i].schema_name, rels[i].table_name);
        sql_add(locks, " IN ");
        sql_trusted(locks, mode);
        sql_add(locks, " MODE; ");
    }
    return locks;
}

static bool with_locks(Conn *conn, const TriggerRelationsRow *rels, size_t n, const char *mode,
                       const Sql *work, const char *label, Err *err)
{
    AUTO_CTX(tmp, NULL);

    return lock_and_run(conn, lock_relations(tmp, rels, n, mode), work, label, err);
}

static bool choose_capture(const void *ctx, Conn *conn, const Table *table, Capture *ret, Err *err)
{
    SameColumnsRow *columns;
    size_t n;

    ret->table = table;
    ret->only_marked = table->n_keys == 0 && !table->followed;
    ret->by_statement =
        !table->row_level && (ret->only_marked || conn_caps(conn)->has_transition_tables);
    if (!q_trigger_relations(ctx, conn, table->oid, &ret->rels, &ret->n_rels, err) ||
        !find_moves(conn, table, ret->n_rels > 1, &ret->moves, err))
        return false;
    ret->by_name = false;
    if (table->n_keys > 0 || !table->partitioned)
        return true;
    if (!q_same_columns(ctx, conn, table->oid, &columns, &n, err))
        return false;
    ret->by_name = !columns->same;
    for (size_t i = 0; i < table->n_columns; i++)
        ret->by_name = ret->by_name || !table_has_image_of(table, &table->columns[i]);
    return true;
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

static void add_drop_trigger(Sql *q, const OurTriggersRow *trigger)
{
    sql_add(q, "DROP TRIGGER ");
    sql_ident(q, trigger->name);
    sql_add(q, " ON ");
    sql_name(q, trigger->schema_name, trigger->table_name);
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

/* functions, triggers, and the list of what has them */
static void add_capture(Sql *q, const Capture *c)
{
    functions_add(q, c);
    sql_add(q, "DELETE FROM pgtandem.tab_rel WHERE tab = ");
    sql_number(q, c->table->id);
    sql_add(q, ";\n");
    for (size_t i = 0; i < c->n_rels; i++) {
        add_triggers(q, c, &c->rels[i]);
        add_rel(q, c->table, c->rels[i].oid);
    }
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
    add_capture(q, &c);
    sql_add(q, "UPDATE pgtandem.tab SET captured = true WHERE id = ");
    sql_number(q, table->id);
    if (!with_locks(conn, c.rels, c.n_rels, others ? "ACCESS EXCLUSIVE" : "SHARE ROW EXCLUSIVE", q,
                    label, err))
        return err_add(err, "while installing capture on table %s", label);
    return true;
}

/* a table with row triggers has them */
static void add_drop_gate(Sql *q, const Capture *c)
{
    for (size_t i = 0; i < c->n_rels; i++) {
        sql_add(q, "DROP TRIGGER IF EXISTS pgtandem_gate ON ");
        sql_name(q, c->rels[i].schema_name, c->rels[i].table_name);
        sql_add(q, ";\nDROP TRIGGER IF EXISTS pgtandem_gate_update ON ");
        sql_name(q, c->rels[i].schema_name, c->rels[i].table_name);
        sql_add(q, ";\n");
    }
}

bool capture_names_again(Conn *conn, const Table *table, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Capture c;
    Sql *q = sql_new(tmp);

    if (!choose_capture(tmp, conn, table, &c, err))
        return false;
    functions_add(q, &c);
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
        sql_splice(q, functions_select_me(q, table->id));
        sql_add(q, ", ");
        functions_add_key(q, table, "x");
        sql_add(q, ", '-infinity' FROM ");
        sql_trusted(q, from);
        sql_add(q, " x WHERE (" SEGMENT_IS_0 ")");
        if (segment != 0)
            sql_add(q, " IS FALSE");
        sql_add(q, ";\n");
    }
}

/* one mark for all rows, in this transaction */
static void add_all_mark(Sql *q, const Table *table)
{
    if (table->n_keys == 0 && !table->followed) {
        sql_add(q, "SELECT nextval('pgtandem.mark_");
        sql_number(q, table->id);
        sql_add(q, "');\n");
        return;
    }
    for (int segment = 0; segment < 2; segment++) {
        sql_add(q, "INSERT INTO pgtandem.queue_");
        sql_number(q, segment);
        sql_add(q, " (txid, tab, ka) SELECT " TXID ", ");
        sql_number(q, table->id);
        sql_add(q, ", '{}' WHERE (" SEGMENT_IS_0 ")");
        if (segment != 0)
            sql_add(q, " IS FALSE");
        sql_add(q, ";\n");
    }
}

/* in a transaction of its own */
static bool record_alone(Conn *conn, const Sql *rows, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Sql *q = sql_new(tmp);

    sql_add(q, "BEGIN;\n");
    sql_splice(q, rows);
    sql_add(q, "COMMIT");
    if (conn_exec(conn, q, err))
        return true;
    conn_rollback(conn);
    return false;
}

bool capture_all_rows(Conn *conn, const Table *table, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Sql *q = sql_new(tmp);

    if (table->n_keys == 0)
        add_all_mark(q, table);
    else
        add_all_keys(q, table, table_ref(tmp, table));
    return record_alone(conn, q, err) ||
           err_add(err, "while recording all rows of table %s", table_label(tmp, table));
}

/*
 * Whole rows are captured in the shape that the table has now, with the settings that its types ask for: no
 * writer may be between the old functions and the new ones.
 */
static bool record_images_anew(Conn *conn, const Table *table, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Capture c;
    Sql *q = sql_new(tmp);

    if (!choose_capture(tmp, conn, table, &c, err))
        return false;
    functions_add(q, &c);
    add_all_mark(q, table);
    return with_locks(conn, c.rels, c.n_rels, "SHARE ROW EXCLUSIVE", q, table_label(tmp, table),
                      err);
}

static bool record_mark(Conn *conn, const Table *table, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Sql *q = sql_new(tmp);

    add_all_mark(q, table);
    return record_alone(conn, q, err);
}

bool capture_everything(Conn *conn, const Table *table, Err *err)
{
    AUTO_CTX(tmp, NULL);
    bool images = table->n_keys == 0 && table->followed;

    return (images ? record_images_anew(conn, table, err) : record_mark(conn, table, err)) ||
           err_add(err, "while recording all rows of table %s", table_label(tmp, table));
}

/* DROP TRIGGER for all that only mark changes of this table; *ret_any: there are some */
static bool add_drop_marking(Conn *conn, Sql *q, const Table *table, bool *ret_any, Err *err)
{
    AUTO_CTX(tmp, NULL);
    const char *marked = mem_printf(tmp, "marked_%d", table->id);
    OurTriggersRow *rows;
    size_t n;

    *ret_any = false;
    if (!q_our_triggers(tmp, conn, &rows, &n, err))
        return false;
    for (size_t i = 0; i < n; i++) {
        if (strcmp(rows[i].function, marked) != 0)
            continue;
        *ret_any = true;
        add_drop_trigger(q, &rows[i]);
    }
    return true;
}

/* a mark that begins anew, under a lock that keeps writers out: what it counted is recorded otherwise */
static void add_new_mark(Sql *q, const Table *table)
{
    sql_add(q, "DROP SEQUENCE pgtandem.mark_");
    sql_number(q, table->id);
    sql_add(q, ";\nCREATE SEQUENCE pgtandem.mark_");
    sql_number(q, table->id);
    sql_add(q, ";\n");
}

bool capture_follow(Conn *conn, const Table *table, bool record, bool *ret_done, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Table followed = *table;
    Capture c;
    bool marking;
    Sql *q = sql_new(tmp);

    followed.followed = true;
    if (!choose_capture(tmp, conn, &followed, &c, err) ||
        !add_drop_marking(conn, q, table, &marking, err))
        return false;
    if (marking && record)
        add_new_mark(q, table);
    if (marking) {
        if (!c.by_statement)
            add_drop_gate(q, &c);
        add_capture(q, &c);
        sql_add(q, "DROP FUNCTION pgtandem.marked_");
        sql_number(q, table->id);
        sql_add(q, "();\n");
    }
    if (marking && record)
        add_all_mark(q, &followed);
    sql_add(q, "UPDATE pgtandem.tab SET followed = true WHERE id = ");
    sql_number(q, table->id);
    return lock_and_run_once(conn, lock_relations(tmp, c.rels, c.n_rels, "ACCESS EXCLUSIVE"), q,
                             ret_done, err) ||
           err_add(err, "while capturing the rows of table %s", table_label(tmp, table));
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
    functions_add(q, &c);
    for (size_t i = 0; i < n_new; i++) {
        add_triggers(q, &c, &come[i]);
        add_rel(q, table, come[i].oid);
        if (strcmp(come[i].kind, "r") == 0 && table->n_keys > 0)
            add_all_keys(q, table, rel_ref(tmp, &come[i]));
    }
    if (table->n_keys == 0)
        add_all_mark(q, table);
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
            add_drop_trigger(q, &rows[i]);
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
