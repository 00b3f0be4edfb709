/* Triggers, rules and foreign keys that sleep: see sleep.h. */
#include "migrate/sleep.h"

#include <string.h>

#include "base/fault.h"
#include "base/log.h"
#include "base/str.h"
#include "model/scope.h"
#include "pg/lock.h"
#include "pg/sqlstate.h"
#include "sql/queries.h"

/* how ALTER TABLE calls the state that pg_trigger.tgenabled and pg_rewrite.ev_enabled show */
static const struct {
    const char *was;
    const char *enable;
} enable_words[] = {{"O", "ENABLE "}, {"A", "ENABLE ALWAYS "}, {"R", "ENABLE REPLICA "}};

static void add_memory(Sql *q, const char *kind, const char *schema, const char *table,
                       const char *name, const char *was, const char *definition,
                       const char *comment, bool leaves)
{
    sql_add(q, "DELETE FROM pgtandem.asleep WHERE kind = ");
    sql_literal(q, kind);
    sql_add(q, " AND schema_name = ");
    sql_literal(q, schema);
    sql_add(q, " AND table_name = ");
    sql_literal(q, table);
    sql_add(q, " AND name = ");
    sql_literal(q, name);
    sql_add(q, "; INSERT INTO pgtandem.asleep (kind, schema_name, table_name, name, was, "
               "definition, comment, leaves) VALUES (");
    sql_literal(q, kind);
    sql_add(q, ", ");
    sql_literal(q, schema);
    sql_add(q, ", ");
    sql_literal(q, table);
    sql_add(q, ", ");
    sql_literal(q, name);
    sql_add(q, ", ");
    sql_literal(q, was);
    sql_add(q, ", ");
    if (definition == NULL)
        sql_add(q, "NULL");
    else
        sql_literal(q, definition);
    sql_add(q, ", ");
    if (comment == NULL)
        sql_add(q, "NULL");
    else
        sql_literal(q, comment);
    if (leaves)
        sql_add(q, ", true); ");
    else
        sql_add(q, ", false); ");
}

static bool alter(Conn *conn, const Sql *work, const char *name, Err *err)
{
    AUTO_CTX(tmp, NULL);

    return lock_and_run(conn, sql_new(tmp), work, name, err) && fault("sleep.one", err);
}

/*
 * A trigger of a partitioned table has a copy on each partition. Where these are triggers of their
 * own they are listed and treated one by one; on older servers only the statement without ONLY
 * reaches them.
 */
static void add_alter(Sql *q, const Conn *conn)
{
    if (conn_caps(conn)->has_partition_triggers)
        sql_add(q, "ALTER TABLE ONLY ");
    else
        sql_add(q, "ALTER TABLE ");
}

/* DISABLE TRIGGER or DISABLE RULE; kind is "trigger" or "rule" */
static bool disable(Conn *conn, const char *kind, const char *schema, const char *table,
                    const char *name, const char *was, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Sql *q = sql_new(tmp);

    add_memory(q, kind, schema, table, name, was, NULL, NULL, false);
    add_alter(q, conn);
    sql_name(q, schema, table);
    if (strcmp(kind, "rule") == 0)
        sql_add(q, " DISABLE RULE ");
    else
        sql_add(q, " DISABLE TRIGGER ");
    sql_ident(q, name);
    return alter(conn, q, name, err) ||
           err_add(err, "while putting %s \"%s\" to sleep", kind, name);
}

/* ALTER TABLE … ADD CONSTRAINT … as it has to be run to get the key back */
static char *fk_statement(const void *ctx, const ForeignKeysRow *fk)
{
    Str *s = str_new(ctx);

    str_add(s, "ALTER TABLE ");
    str_ident(s, fk->schema_name);
    str_char(s, '.');
    str_ident(s, fk->table_name);
    str_add(s, " ADD CONSTRAINT ");
    str_ident(s, fk->name);
    str_fmt(s, " %s", fk->definition);
    return s->text;
}

static char *comment_statement(const void *ctx, const ForeignKeysRow *fk)
{
    AUTO_CTX(tmp, NULL);
    Sql *q = sql_new(tmp);

    if (fk->comment == NULL)
        return NULL;
    sql_add(q, "COMMENT ON CONSTRAINT ");
    sql_ident(q, fk->name);
    sql_add(q, " ON ");
    sql_name(q, fk->schema_name, fk->table_name);
    sql_add(q, " IS ");
    sql_literal(q, fk->comment);
    return mem_strdup(ctx, q->text->text);
}

static bool drop_foreign_key(Conn *conn, const ForeignKeysRow *fk, bool leaves, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Sql *q = sql_new(tmp);

    add_memory(q, "foreign key", fk->schema_name, fk->table_name, fk->name,
               fk->valid ? "valid" : "not valid", fk_statement(tmp, fk), comment_statement(tmp, fk),
               leaves);
    sql_add(q, "ALTER TABLE ");
    sql_name(q, fk->schema_name, fk->table_name);
    sql_add(q, " DROP CONSTRAINT ");
    sql_ident(q, fk->name);
    return alter(conn, q, fk->name, err) ||
           err_add(err, "while putting foreign key \"%s\" to sleep", fk->name);
}

/* ---- publications and event triggers */

static bool is_set_aside(const AsleepRow *row)
{
    return strcmp(row->kind, "publication") == 0 || strcmp(row->kind, "event trigger") == 0;
}

/* runs it unless the server refuses; *ret_refusal is NULL when it was done. Belongs to ctx. */
static bool try_statement(const void *ctx, Conn *conn, const char *statement,
                          const char **ret_refusal, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Sql *q = sql_new(tmp);

    *ret_refusal = NULL;
    sql_trusted(q, statement);
    if (!conn_do(conn, "SAVEPOINT set_aside", err))
        return false;
    if (conn_exec(conn, q, err))
        return conn_do(conn, "RELEASE SAVEPOINT set_aside", err);
    if (err->kind != ERR_SQL || conn_is_broken(conn))
        return false;
    *ret_refusal = mem_strdup(ctx, err->msg);
    err_clear(err);
    return conn_do(conn, "ROLLBACK TO SAVEPOINT set_aside", err);
}

static Sql *alter_event_trigger(const void *ctx, const char *name, const char *what)
{
    Sql *q = sql_new(ctx);

    sql_add(q, "ALTER EVENT TRIGGER ");
    sql_ident(q, name);
    sql_add(q, " ");
    sql_trusted(q, what);
    return q;
}

/* as pgtandem.made calls it */
static const char *made_name(const void *ctx, const char *kind, const char *name)
{
    Str *s = str_new(ctx);

    str_fmt(s, "%s ", kind);
    str_ident(s, name);
    return s->text;
}

static bool ask_target(Conn *conn, bool *ret_target, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Sql *q = sql_new(tmp);
    Rows *rows;

    sql_add(q, "SELECT side = 'target' FROM pgtandem.node");
    if (!conn_query(tmp, conn, q, &rows, err))
        return false;
    *ret_target = rows_count(rows) > 0 && rows_bool(rows, 0, 0);
    return true;
}

/* what the run has made on the target; on the source nothing is listed */
static bool read_made(const void *ctx, Conn *conn, Rows **ret, Err *err)
{
    Sql *q = sql_new(ctx);
    bool target;

    if (!ask_target(conn, &target, err))
        return false;
    if (target)
        sql_add(q,
                "SELECT object FROM pgtandem.made WHERE object ~ '^(event trigger|publication) ' "
                "ORDER BY object");
    else
        sql_add(q, "SELECT ''::text WHERE false");
    return conn_query(ctx, conn, q, ret, err);
}

static bool is_made(const Rows *made, const char *name)
{
    for (size_t i = 0; i < rows_count(made); i++)
        if (strcmp(rows_text(made, i, 0), name) == 0)
            return true;
    return false;
}

/*
 * Those of a copy would fire for what is carried; where our role may not switch them off they stay awake. What the
 * target had before the run is for others.
 */
static bool disable_event_triggers(Conn *conn, Err *err)
{
    AUTO_CTX(tmp, NULL);
    SetAsideRow *rows;
    Rows *made;
    bool target;
    size_t n;

    if (!q_set_aside(tmp, conn, &rows, &n, err) || !ask_target(conn, &target, err) ||
        !read_made(tmp, conn, &made, err))
        return false;
    for (size_t i = 0; i < n; i++) {
        Sql *q = sql_new(tmp);

        if (strcmp(rows[i].kind, "event trigger") != 0 || strcmp(rows[i].enabled, "D") == 0 ||
            (target && !is_made(made, made_name(tmp, rows[i].kind, rows[i].name))))
            continue;
        add_memory(q, rows[i].kind, "", "", rows[i].name, rows[i].enabled, NULL, NULL, false);
        sql_splice(q, alter_event_trigger(tmp, rows[i].name, "DISABLE"));
        if (conn_exec(conn, q, err))
            continue;
        if (err->kind != ERR_SQL || conn_is_broken(conn))
            return false;
        log_debug("event trigger \"%s\" stays awake: %s", rows[i].name, err->msg);
        err_clear(err);
    }
    return true;
}

static const SetAsideRow *find_set_aside(const SetAsideRow *rows, size_t n, const SetAsideRow *row)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(rows[i].kind, row->kind) == 0 && strcmp(rows[i].name, row->name) == 0)
            return &rows[i];
    return NULL;
}

bool sleep_set_aside(Conn *from, Conn *to, Err *err)
{
    AUTO_CTX(tmp, NULL);
    SetAsideRow *wanted, *have;
    size_t n_wanted, n_have;
    Sql *q = sql_new(tmp);
    Rows *made;

    if (!q_set_aside(tmp, from, &wanted, &n_wanted, err) ||
        !q_set_aside(tmp, to, &have, &n_have, err) || !read_made(tmp, to, &made, err))
        return false;
    sql_add(q, "BEGIN; DELETE FROM pgtandem.asleep WHERE kind IN ('publication', 'event trigger') "
               "AND definition IS NOT NULL; ");
    for (size_t i = 0; i < n_wanted; i++) {
        const SetAsideRow *there = find_set_aside(have, n_have, &wanted[i]);
        const char *definition = wanted[i].make;

        if (there != NULL && strcmp(there->print, wanted[i].print) == 0)
            continue;
        if (there != NULL && !is_made(made, made_name(tmp, wanted[i].kind, wanted[i].name))) {
            log_warn("%s \"%s\" of the %s is another one on the %s: that stays as it is",
                     wanted[i].kind, wanted[i].name, conn_label(from), conn_label(to));
            continue;
        }
        if (there != NULL) {
            Str *s = str_new(tmp);

            str_fmt(s, "DROP %s ", wanted[i].kind);
            str_ident(s, wanted[i].name);
            str_fmt(s, "; %s", definition);
            definition = s->text;
        }
        add_memory(q, wanted[i].kind, "", "", wanted[i].name, "O", definition, wanted[i].more,
                   false);
    }
    sql_add(q, "COMMIT");
    if (conn_exec(to, q, err))
        return true;
    conn_rollback(to);
    return err_add(err, "while remembering publications and event triggers");
}

bool sleep_forget_set_aside(Conn *conn, Err *err)
{
    return conn_do(conn,
                   "DELETE FROM pgtandem.asleep WHERE kind IN ('publication', 'event trigger') AND "
                   "definition IS NOT NULL",
                   err);
}

bool sleep_drop_made(Conn *conn, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Rows *made;

    if (!read_made(tmp, conn, &made, err))
        return false;
    for (size_t i = 0; i < rows_count(made); i++) {
        const char *object = rows_text(made, i, 0);
        Sql *q = sql_new(tmp);

        sql_add(q, "DROP ");
        if (str_starts(object, "publication ")) {
            sql_add(q, "PUBLICATION IF EXISTS ");
            sql_trusted(q, object + strlen("publication "));
        } else {
            sql_add(q, "EVENT TRIGGER IF EXISTS ");
            sql_trusted(q, object + strlen("event trigger "));
        }
        if (!conn_exec(conn, q, err))
            return err_add(err, "while dropping %s", object);
    }
    return true;
}

/* it was to be made here, or to be switched on again; what is refused is told, and the switch goes on */
static bool wake_set_aside(Conn *conn, const AsleepRow *row, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Sql *remember = sql_new(tmp);
    const char *refusal, *statement = row->definition;
    bool target;

    if (statement == NULL)
        statement = alter_event_trigger(tmp, row->name,
                                        strcmp(row->was, "A") == 0   ? "ENABLE ALWAYS"
                                        : strcmp(row->was, "R") == 0 ? "ENABLE REPLICA"
                                                                     : "ENABLE")
                        ->text->text;
    if (!try_statement(tmp, conn, statement, &refusal, err))
        return false;
    if (refusal != NULL) {
        log_warn("%s \"%s\" is not on the %s: %s. Its statement is: %s", row->kind, row->name,
                 conn_label(conn), refusal, statement);
        return true;
    }
    if (row->definition == NULL)
        return true;
    if (row->comment != NULL && !try_statement(tmp, conn, row->comment, &refusal, err))
        return false;
    if (refusal != NULL)
        log_warn("not carried over: %s (%s)", row->comment, refusal);
    if (!ask_target(conn, &target, err))
        return false;
    if (!target)
        return true;
    sql_add(remember, "INSERT INTO pgtandem.made (object) SELECT v.o FROM (VALUES (");
    sql_literal(remember, made_name(tmp, row->kind, row->name));
    sql_add(remember, "::text)) v(o) WHERE NOT EXISTS (SELECT 1 FROM pgtandem.made m WHERE "
                      "m.object = v.o)");
    return conn_exec(conn, remember, err);
}

/* ---- all of it */

bool sleep_node(Conn *conn, const Selection *selection, bool replica, Err *err)
{
    AUTO_CTX(tmp, NULL);
    UserTriggersRow *triggers;
    UserRulesRow *rules;
    ForeignKeysRow *fks;
    const Scope *scope;
    size_t n;

    if (!scope_read(tmp, conn, selection, &scope, err) ||
        !q_user_triggers(tmp, conn, &triggers, &n, err))
        return false;
    for (size_t i = 0; i < n; i++)
        if (!triggers[i].foreign_owner &&
            scope_has(scope, triggers[i].schema_name, triggers[i].table_name) &&
            (!replica || strcmp(triggers[i].enabled, "O") != 0) &&
            !disable(conn, "trigger", triggers[i].schema_name, triggers[i].table_name,
                     triggers[i].name, triggers[i].enabled, err))
            return false;
    if (!q_user_rules(tmp, conn, &rules, &n, err))
        return false;
    for (size_t i = 0; i < n; i++)
        if (!rules[i].foreign_owner &&
            scope_has(scope, rules[i].schema_name, rules[i].table_name) &&
            (!replica || strcmp(rules[i].enabled, "O") != 0) &&
            !disable(conn, "rule", rules[i].schema_name, rules[i].table_name, rules[i].name,
                     rules[i].enabled, err))
            return false;
    if (scope == NULL && !disable_event_triggers(conn, err))
        return false;
    if (replica && scope == NULL)
        return true;
    if (!q_foreign_keys(tmp, conn, &fks, &n, err))
        return false;
    for (size_t i = 0; i < n; i++) {
        /* in the sessions of others it acts: who deletes from a table that stays would meet the copy */
        const bool leaves = !scope_has(scope, fks[i].to_schema, fks[i].to_table);

        if (!fks[i].foreign_owner && scope_has(scope, fks[i].schema_name, fks[i].table_name) &&
            (leaves || !replica) && !drop_foreign_key(conn, &fks[i], leaves, err))
            return false;
    }
    return true;
}

/* a text without the white space and semicolon at its end */
static char *trimmed(const void *ctx, const char *text)
{
    char *copy = mem_strdup(ctx, text);
    size_t len = strlen(copy);

    while (len > 0 && strchr(" \n\t;", copy[len - 1]) != NULL)
        copy[--len] = '\0';
    return copy;
}

/* the definition, trimmed, says that rows need not fulfil it: then it ends so */
static bool is_not_valid(const char *definition)
{
    return str_ends(definition, " NOT VALID") || str_ends(definition, " NOT ENFORCED");
}

/* puts a foreign key back; *ret_validate: it must still be validated */
static bool wake_foreign_key(Conn *conn, const AsleepRow *row, bool *ret_validate, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Sql *q = sql_new(tmp);
    char *definition = trimmed(tmp, row->definition);
    bool marked = is_not_valid(definition);
    /*
     * a foreign key of a partitioned table cannot be NOT VALID on older servers: it is checked here
     * and now
     */
    bool defer = !row->partitioned || conn_caps(conn)->has_partition_fk_not_valid;

    sql_trusted(q, definition);
    if (defer && !marked)
        sql_add(q, " NOT VALID");
    if (row->comment != NULL) {
        sql_add(q, "; ");
        sql_trusted(q, row->comment);
    }
    *ret_validate = defer && strcmp(row->was, "valid") == 0;
    if (defer || !row->leaves)
        return conn_exec(conn, q, err);
    if (!conn_do(conn, "SAVEPOINT wake", err))
        return false;
    if (conn_exec(conn, q, err))
        return conn_do(conn, "RELEASE SAVEPOINT wake", err);
    if (!err_is(err, SQLSTATE_FOREIGN_KEY))
        return false;
    log_warn("foreign key \"%s\" of table %s.%s does not come back: %s. Its statement was: %s",
             row->name, row->schema_name, row->table_name, err->msg, definition);
    err_clear(err);
    return conn_do(conn, "ROLLBACK TO SAVEPOINT wake", err);
}

static bool wake_switched_off(Conn *conn, const AsleepRow *row, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Sql *q = sql_new(tmp);

    add_alter(q, conn);
    sql_name(q, row->schema_name, row->table_name);
    sql_add(q, " ");
    for (size_t i = 0; i < sizeof enable_words / sizeof *enable_words; i++)
        if (strcmp(enable_words[i].was, row->was) == 0)
            sql_trusted(q, enable_words[i].enable);
    if (strcmp(row->kind, "rule") == 0)
        sql_add(q, "RULE ");
    else
        sql_add(q, "TRIGGER ");
    sql_ident(q, row->name);
    return conn_exec(conn, q, err);
}

bool sleep_function(Conn *conn, const char *function, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Sql *q = sql_new(tmp);

    add_memory(q, "function", "pg_catalog", "", function, "O",
               mem_printf(tmp, "GRANT EXECUTE ON FUNCTION %s TO PUBLIC", function), NULL, false);
    sql_add(q, "REVOKE EXECUTE ON FUNCTION ");
    sql_trusted(q, function);
    sql_add(q, " FROM PUBLIC");
    return conn_exec(conn, q, err);
}

static bool wake_function(Conn *conn, const AsleepRow *row, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Sql *q = sql_new(tmp);

    sql_trusted(q, row->definition);
    return conn_exec(conn, q, err);
}

/* the row was woken: forget it, or keep it until it is validated */
static bool forget(Conn *conn, const AsleepRow *row, bool keep, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Sql *q = sql_new(tmp);

    if (keep)
        sql_add(q, "UPDATE pgtandem.asleep SET awake = true");
    else
        sql_add(q, "DELETE FROM pgtandem.asleep");
    sql_add(q, " WHERE kind = ");
    sql_text(q, row->kind);
    sql_add(q, " AND schema_name = ");
    sql_text(q, row->schema_name);
    sql_add(q, " AND table_name = ");
    sql_text(q, row->table_name);
    sql_add(q, " AND name = ");
    sql_text(q, row->name);
    return conn_exec(conn, q, err);
}

static bool wake_rows(Conn *conn, bool functions_only, Err *err)
{
    AUTO_CTX(tmp, NULL);
    AsleepRow *rows;
    size_t n;

    if (!q_asleep(tmp, conn, &rows, &n, err))
        return false;
    for (size_t i = 0; i < n; i++) {
        bool validate = false, ok;

        bool function = strcmp(rows[i].kind, "function") == 0;

        if (rows[i].awake || (functions_only && !function))
            continue;
        if (function)
            ok = wake_function(conn, &rows[i], err);
        else if (strcmp(rows[i].kind, "foreign key") == 0)
            ok = wake_foreign_key(conn, &rows[i], &validate, err);
        else if (is_set_aside(&rows[i]))
            ok = wake_set_aside(conn, &rows[i], err);
        else
            ok = wake_switched_off(conn, &rows[i], err);
        if (!ok || !forget(conn, &rows[i], validate, err))
            return err_add(err, "while waking %s \"%s\" of table %s.%s", rows[i].kind, rows[i].name,
                           rows[i].schema_name, rows[i].table_name);
    }
    return true;
}

bool sleep_wake(Conn *conn, Err *err)
{
    return wake_rows(conn, false, err);
}

bool sleep_wake_functions(Conn *conn, Err *err)
{
    return wake_rows(conn, true, err);
}

static bool validate(Conn *conn, const AsleepRow *row, const char *name, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Sql *q = sql_new(tmp);

    sql_add(q, "ALTER TABLE ");
    sql_name(q, row->schema_name, row->table_name);
    sql_add(q, " VALIDATE CONSTRAINT ");
    sql_ident(q, name);
    return alter(conn, q, name, err);
}

/* a foreign key, and what stands for it towards each partition of the table it refers to */
static bool validate_foreign_key(Conn *conn, const AsleepRow *row, Err *err)
{
    AUTO_CTX(tmp, NULL);
    InvalidKeyPartsRow *parts;
    size_t n;

    if (!validate(conn, row, row->name, err) ||
        !q_invalid_key_parts(tmp, conn, row->schema_name, row->table_name, row->name, &parts, &n,
                             err))
        return false;
    for (size_t i = 0; i < n; i++) {
        if (validate(conn, row, parts[i].name, err))
            continue;
        /*
         * before 18 a part for one partition of the other table is checked against this partition
         * alone, where not every row is; the whole key is valid, and binds new rows
         */
        if (!err_is(err, SQLSTATE_FOREIGN_KEY))
            return false;
        log_debug("foreign key part \"%s\" stays as it is: %s", parts[i].name, err->msg);
        err_clear(err);
    }
    return true;
}

bool sleep_validate(Conn *conn, Err *err)
{
    AUTO_CTX(tmp, NULL);
    AsleepRow *rows;
    size_t n;

    if (!q_asleep(tmp, conn, &rows, &n, err))
        return false;
    for (size_t i = 0; i < n; i++) {
        if (!rows[i].awake)
            continue;
        bool ok = validate_foreign_key(conn, &rows[i], err);

        /* both tables went on without each other, and nobody may change the rows while the run is there */
        if (!ok && rows[i].leaves && err_is(err, SQLSTATE_FOREIGN_KEY)) {
            log_warn("foreign key \"%s\" of table %s.%s leads to a table that was not moved and "
                     "stays NOT VALID: it holds for new rows only (%s)",
                     rows[i].name, rows[i].schema_name, rows[i].table_name, err->msg);
            err_clear(err);
            ok = true;
        }
        if (!ok || !forget(conn, &rows[i], false, err))
            return err_add(err, "while validating foreign key \"%s\" of table %s.%s", rows[i].name,
                           rows[i].schema_name, rows[i].table_name);
    }
    return true;
}

bool sleep_add_foreign_key(Conn *conn, const char *schema, const char *table, const char *name,
                           const char *definition, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Sql *q = sql_new(tmp);

    add_memory(q, "foreign key", schema, table, name,
               is_not_valid(trimmed(tmp, definition)) ? "not valid" : "valid", definition, NULL,
               false);
    return conn_exec(conn, q, err);
}

bool sleep_add_comment(Conn *conn, const char *schema, const char *table, const char *name,
                       const char *statement, bool *ret_asleep, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Sql *q = sql_new(tmp);

    sql_add(q, "UPDATE pgtandem.asleep SET comment = ");
    sql_text(q, statement);
    sql_add(q, " WHERE kind = 'foreign key' AND schema_name = ");
    sql_text(q, schema);
    sql_add(q, " AND table_name = ");
    sql_text(q, table);
    sql_add(q, " AND name = ");
    sql_text(q, name);
    if (!conn_exec(conn, q, err))
        return false;
    *ret_asleep = conn_affected(conn) > 0;
    return true;
}
