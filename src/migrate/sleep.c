/* Triggers, rules and foreign keys that sleep: see sleep.h. */
#include "migrate/sleep.h"

#include <string.h>

#include "base/fault.h"
#include "base/log.h"
#include "base/str.h"
#include "migrate/filtered.h"
#include "model/scope.h"
#include "pg/attempt.h"
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
                       const char *comment, bool leaves, bool loose)
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
               "definition, comment, leaves, loose) VALUES (");
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
    sql_trusted(q, leaves ? ", true" : ", false");
    sql_trusted(q, loose ? ", true); " : ", false); ");
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

    add_memory(q, kind, schema, table, name, was, NULL, NULL, false, false);
    add_alter(q, conn);
    sql_name(q, schema, table);
    if (strcmp(kind, "rule") == 0)
        sql_add(q, " DISABLE RULE ");
    else
        sql_add(q, " DISABLE TRIGGER ");
    sql_ident(q, name);
    if (alter(conn, q, name, err))
        return true;
    /* check refuses those that are there when the run begins */
    if (err_is(err, SQLSTATE_INSUFFICIENT_PRIVILEGE) && !conn_caps(conn)->owners_switch_inherited)
        err_hint(err, "Before 13 none but a superuser may switch off a trigger that partitions "
                      "inherit. Let one do it, or drop the trigger here and make it again after "
                      "this node has taken over.");
    return err_add(err, "while putting %s \"%s\" to sleep", kind, name);
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

static bool drop_foreign_key(Conn *conn, const ForeignKeysRow *fk, bool leaves, bool loose,
                             Err *err)
{
    AUTO_CTX(tmp, NULL);
    Sql *q = sql_new(tmp);

    add_memory(q, "foreign key", fk->schema_name, fk->table_name, fk->name,
               fk->valid ? "valid" : "not valid", fk_statement(tmp, fk), comment_statement(tmp, fk),
               leaves, loose);
    sql_add(q, "ALTER TABLE ");
    sql_name(q, fk->schema_name, fk->table_name);
    sql_add(q, " DROP CONSTRAINT ");
    sql_ident(q, fk->name);
    return alter(conn, q, fk->name, err) ||
           err_add(err, "while putting foreign key \"%s\" to sleep", fk->name);
}

/* ---- event triggers */

Sql *sleep_event_trigger_state(const void *ctx, const char *name, const char *state)
{
    Sql *q = sql_new(ctx);

    sql_add(q, "ALTER EVENT TRIGGER ");
    sql_ident(q, name);
    if (strcmp(state, "D") == 0)
        sql_add(q, " DISABLE");
    for (size_t i = 0; i < sizeof enable_words / sizeof *enable_words; i++)
        if (strcmp(enable_words[i].was, state) == 0) {
            sql_add(q, " ");
            sql_trusted(q, enable_words[i].enable);
        }
    return q;
}

void sleep_event_trigger(Sql *q, const char *name, const char *was)
{
    AUTO_CTX(tmp, NULL);

    add_memory(q, "event trigger", "", "", name, was, NULL, NULL, false, false);
    sql_splice(q, sleep_event_trigger_state(tmp, name, "D"));
}

void sleep_forget_event_trigger(Sql *q, const char *name)
{
    sql_add(q, "DELETE FROM pgtandem.asleep WHERE kind = 'event trigger' AND name = ");
    sql_literal(q, name);
    sql_add(q, "; ");
}

/* what the target had before the run is for others; the source has no such list */
static bool read_before(const void *ctx, Conn *conn, BeforeAsideRow **ret, size_t *ret_n, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Sql *q = sql_new(tmp);
    Rows *rows;

    *ret_n = 0;
    sql_add(q, "SELECT side = 'target' FROM pgtandem.node");
    if (!conn_query(tmp, conn, q, &rows, err))
        return false;
    return rows_count(rows) == 0 || !rows_bool(rows, 0, 0) ||
           q_before_aside(ctx, conn, ret, ret_n, err);
}

static bool is_others(const BeforeAsideRow *before, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(before[i].kind, "event trigger") == 0 && strcmp(before[i].name, name) == 0)
            return true;
    return false;
}

bool sleep_event_triggers(Conn *conn, bool *told, Err *err)
{
    AUTO_CTX(tmp, NULL);
    SetAsideRow *rows;
    BeforeAsideRow *before;
    size_t n, n_before;
    bool tell = !*told;

    if (!q_set_aside(tmp, conn, &rows, &n, err) || !read_before(tmp, conn, &before, &n_before, err))
        return false;
    for (size_t i = 0; i < n; i++) {
        Sql *q = sql_new(tmp);
        bool refused;

        if (strcmp(rows[i].kind, "event trigger") != 0 || strcmp(rows[i].enabled, "D") == 0 ||
            is_others(before, n_before, rows[i].name))
            continue;
        sleep_event_trigger(q, rows[i].name, rows[i].enabled);
        if (!attempt_exec(conn, q, &refused, err))
            return false;
        if (!refused)
            continue;
        if (tell)
            log_warn(
                "event trigger \"%s\" stays awake on the %s, and fires for what is carried: %s",
                rows[i].name, conn_label(conn), err->msg);
        *told = true;
        err_clear(err);
    }
    return true;
}

/* one that somebody dropped, or that our role may not alter, keeps nobody from waking */
static bool wake_event_trigger(Conn *conn, const AsleepRow *row, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Sql *q = sleep_event_trigger_state(tmp, row->name, row->was);
    bool refused;

    if (!attempt_exec(conn, q, &refused, err))
        return false;
    if (refused)
        log_warn("event trigger \"%s\" cannot be woken on the %s: %s. Its statement is: %s",
                 row->name, conn_label(conn), err->msg, q->text->text);
    err_clear(err);
    return true;
}

/* ---- all of it */

bool sleep_node(Conn *conn, const Selection *selection, bool replica, bool *awake_told, Err *err)
{
    AUTO_CTX(tmp, NULL);
    UserTriggersRow *triggers;
    UserRulesRow *rules;
    ForeignKeysRow *fks;
    Filtered filtered;
    const Scope *scope;
    size_t n;

    /* event triggers first: they would fire for the rest */
    if (!scope_read(tmp, conn, selection, &scope, err) ||
        (scope == NULL && !sleep_event_triggers(conn, awake_told, err)) ||
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
    if (!filtered_read(tmp, conn, &filtered, err))
        return false;
    if (replica && scope == NULL && filtered.n == 0)
        return true;
    if (!q_foreign_keys(tmp, conn, &fks, &n, err))
        return false;
    for (size_t i = 0; i < n; i++) {
        /* in the sessions of others it acts: who deletes from a table that stays would meet the copy */
        const bool leaves = !scope_has(scope, fks[i].to_schema, fks[i].to_table);
        const bool loose = leaves || filtered_has_key(&filtered, &fks[i]);

        if (!fks[i].foreign_owner && scope_has(scope, fks[i].schema_name, fks[i].table_name) &&
            (loose || !replica) && !drop_foreign_key(conn, &fks[i], leaves, loose, err))
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
    bool marked = is_not_valid(definition), refused;
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
    if (defer || !row->loose)
        return conn_exec(conn, q, err);
    if (!attempt_exec(conn, q, &refused, err) || (refused && !err_is(err, SQLSTATE_FOREIGN_KEY)))
        return false;
    if (refused)
        log_warn("foreign key \"%s\" of table %s.%s does not come back: %s. Its statement was: %s",
                 row->name, row->schema_name, row->table_name, err->msg, definition);
    err_clear(err);
    return true;
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
               mem_printf(tmp, "GRANT EXECUTE ON FUNCTION %s TO PUBLIC", function), NULL, false,
               false);
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

typedef enum Waking { WAKE_ALL_BUT_EVENT_TRIGGERS, WAKE_EVENT_TRIGGERS, WAKE_FUNCTIONS } Waking;

static bool wakes(const AsleepRow *row, Waking which)
{
    if (which == WAKE_FUNCTIONS)
        return strcmp(row->kind, "function") == 0;
    return !row->awake &&
           (strcmp(row->kind, "event trigger") == 0) == (which == WAKE_EVENT_TRIGGERS);
}

static bool wake_rows(Conn *conn, Waking which, Err *err)
{
    AUTO_CTX(tmp, NULL);
    AsleepRow *rows;
    size_t n;

    if (!q_asleep(tmp, conn, &rows, &n, err))
        return false;
    for (size_t i = 0; i < n; i++) {
        bool validate = false, ok;

        if (!wakes(&rows[i], which))
            continue;
        if (strcmp(rows[i].kind, "function") == 0)
            ok = wake_function(conn, &rows[i], err);
        else if (strcmp(rows[i].kind, "foreign key") == 0)
            ok = wake_foreign_key(conn, &rows[i], &validate, err);
        else if (strcmp(rows[i].kind, "event trigger") == 0)
            ok = wake_event_trigger(conn, &rows[i], err);
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
    return wake_rows(conn, WAKE_ALL_BUT_EVENT_TRIGGERS, err);
}

bool sleep_wake_event_triggers(Conn *conn, Err *err)
{
    return wake_rows(conn, WAKE_EVENT_TRIGGERS, err);
}

bool sleep_wake_functions(Conn *conn, Err *err)
{
    return wake_rows(conn, WAKE_FUNCTIONS, err);
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
        if (!ok && rows[i].loose && err_is(err, SQLSTATE_FOREIGN_KEY)) {
            log_warn("foreign key \"%s\" of table %s.%s leads to %s and "
                     "stays NOT VALID: it holds for new rows only (%s: %s)",
                     rows[i].name, rows[i].schema_name, rows[i].table_name,
                     rows[i].leaves ? "a table that was not moved" : "rows that are not here",
                     err->msg, err->detail == NULL ? "" : err->detail);
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
                           const char *definition, bool loose, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Sql *q = sql_new(tmp);

    add_memory(q, "foreign key", schema, table, name,
               is_not_valid(trimmed(tmp, definition)) ? "not valid" : "valid", definition, NULL,
               false, loose);
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
