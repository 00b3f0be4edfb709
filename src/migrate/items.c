/* Entries of pg_dump's post-data section: see items.h. */
#include "migrate/items.h"

#include <string.h>

#include "base/fault.h"
#include "base/log.h"
#include "base/str.h"
#include "migrate/sleep.h"
#include "pg/attempt.h"
#include "pg/sqlstate.h"
#include "sql/queries.h"

static bool listed(const char *type, const char *const *types, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(types[i], type) == 0)
            return true;
    return false;
}

#define LISTED(type, ...)                                                                          \
    listed((type), (const char *const[]){__VA_ARGS__},                                             \
           sizeof((const char *const[]){__VA_ARGS__}) / sizeof(char *))

bool item_type_is_optional(const char *type)
{
    return LISTED(type, "COMMENT", "ACL", "DEFAULT ACL", "SECURITY LABEL");
}

static ItemStage stage_of(const char *type)
{
    if (strcmp(type, "FK CONSTRAINT") == 0)
        return ITEM_FK;
    return LISTED(type, "INDEX", "CONSTRAINT") ? ITEM_INDEX : ITEM_LATE;
}

bool item_store(Conn *conn, int no, const DumpEntry *entry, const Catalog *planned, Err *err)
{
    AUTO_CTX(tmp, NULL);
    const char *schema, *name;
    const Table *table = NULL;
    Sql *q = sql_new(tmp);

    if (entry->statement == NULL)
        return true;
    /* they are made with the switch: see migrate/aside.h */
    if (LISTED(entry->type, "EVENT TRIGGER", "PUBLICATION", "PUBLICATION TABLE",
               "PUBLICATION TABLES IN SCHEMA") ||
        (LISTED(entry->type, "COMMENT", "SECURITY LABEL") &&
         (str_starts(entry->name, "PUBLICATION ") || str_starts(entry->name, "EVENT TRIGGER "))))
        return true;
    if (LISTED(entry->type, "SUBSCRIPTION", "SUBSCRIPTION TABLE")) {
        log_warn("%s \"%s\" is not carried over; create it by hand after the switchover",
                 entry->type, entry->name);
        return true;
    }
    if (planned != NULL && stage_of(entry->type) == ITEM_INDEX &&
        dump_entry_table(tmp, entry, &schema, &name))
        table = catalog_find(planned, schema, name);
    sql_add(
        q, "INSERT INTO pgtandem.post_item (no, type, schema_name, name, tab, statement) VALUES (");
    sql_i64(q, no);
    sql_add(q, ", ");
    sql_text(q, entry->type);
    sql_add(q, ", ");
    sql_text(q, entry->schema);
    sql_add(q, ", ");
    sql_text(q, entry->name);
    sql_add(q, ", ");
    sql_text(q, table == NULL ? NULL : mem_printf(tmp, "%d", table->id));
    sql_add(q, ", ");
    sql_text(q, entry->statement);
    sql_add(q, ")");
    return conn_exec(conn, q, err);
}

bool items_load(const void *ctx, Conn *conn, Item **ret_items, size_t *ret_n, Err *err)
{
    PostItemsRow *rows;
    size_t n;

    if (!q_post_items(ctx, conn, &rows, &n, err))
        return false;
    Item *items = mem_array(ctx, Item, n + 1);
    for (size_t i = 0; i < n; i++)
        items[i] = (Item){.no = rows[i].no,
                          .tab = rows[i].tab,
                          .stage = stage_of(rows[i].type),
                          .type = rows[i].type,
                          .schema = rows[i].schema_name,
                          .name = rows[i].name,
                          .done = rows[i].done};
    *ret_items = items;
    *ret_n = n;
    return true;
}

static bool is_label(const char *statement)
{
    return str_starts(statement + strspn(statement, " \n"), "SECURITY LABEL ");
}

/*
 * insufficient rights, a role that does not exist there, no such object; a provider of security labels that is not
 * there, or whatever it says of a label
 */
static bool is_refusal(const Err *err, const char *statement)
{
    if (err->kind != ERR_SQL)
        return false;
    if (strncmp(err->sqlstate, "42", 2) == 0 || strncmp(err->sqlstate, "0L", 2) == 0)
        return true;
    return is_label(statement) && err_remedy(err) == REMEDY_GIVE_UP;
}

bool item_try_optional(const void *ctx, Conn *conn, const char *statement, const char **ret_refusal,
                       Err *err)
{
    AUTO_CTX(tmp, NULL);
    Sql *q = sql_new(tmp);
    bool refused;

    *ret_refusal = NULL;
    sql_trusted(q, statement);
    if (!attempt_exec(conn, q, &refused, err) || (refused && !is_refusal(err, statement)))
        return false;
    if (refused)
        *ret_refusal = mem_strdup(ctx, err->msg);
    err_clear(err);
    return true;
}

bool item_run_optional(Conn *conn, const char *what, const char *statement, Err *err)
{
    AUTO_CTX(tmp, NULL);
    const char **statements = &statement, *refusal;
    size_t n = 1;

    /* those of a table and of its columns are one entry, and a provider may refuse one of them */
    if (is_label(statement))
        dump_statements(tmp, statement, &statements, &n);
    for (size_t i = 0; i < n; i++) {
        if (!item_try_optional(tmp, conn, statements[i], &refusal, err))
            return false;
        if (refusal != NULL)
            log_warn("not carried over: %s (%s)", what, refusal);
    }
    return true;
}

/* the comment of a foreign key that sleeps waits with it */
static bool comment_asleep(Conn *conn, const ClaimItemsRow *row, bool *ret_asleep, Err *err)
{
    AUTO_CTX(tmp, NULL);
    DumpEntry entry = {.type = row->type, .name = row->name, .statement = row->statement};
    const char *schema, *table, *name;

    *ret_asleep = false;
    return strcmp(row->type, "COMMENT") != 0 ||
           strstr(row->statement, "COMMENT ON CONSTRAINT \"") == NULL ||
           !dump_entry_constraint(tmp, &entry, &schema, &table, &name) ||
           sleep_add_comment(conn, schema, table, name, row->statement, ret_asleep, err);
}

static bool build_claimed(Conn *conn, const ClaimItemsRow *row, Err *err)
{
    AUTO_CTX(tmp, NULL);
    char *what = mem_printf(tmp, "%s %s", row->type, row->name);
    Sql *q = sql_new(tmp);
    bool asleep;

    if (!comment_asleep(conn, row, &asleep, err))
        return false;
    sql_trusted(q, row->statement);
    return asleep ||
           (item_type_is_optional(row->type) ? item_run_optional(conn, what, row->statement, err)
                                             : conn_exec(conn, q, err)) ||
           err_add(err, "while creating %s", what);
}

/* all items of a table, or one item when tab is 0 */
static bool build(Conn *conn, int tab, int no, Err *err)
{
    AUTO_CTX(tmp, NULL);
    ClaimItemsRow *rows;
    size_t n;

    if (!conn_do(conn, "BEGIN", err))
        return false;
    if (!q_claim_items(tmp, conn, tab, no, &rows, &n, err))
        goto failed;
    for (size_t i = 0; i < n; i++)
        if (!build_claimed(conn, &rows[i], err))
            goto failed;
    if (fault("item.built", err) && conn_do(conn, "COMMIT", err))
        return true;
failed:
    conn_rollback(conn);
    return false;
}

bool item_build(Conn *conn, int no, Err *err)
{
    return build(conn, 0, no, err);
}

bool items_build(Conn *conn, int tab, Err *err)
{
    return build(conn, tab, 0, err);
}

bool item_is_one_of(Conn *conn, int no, const ForeignKeysRow *keys, size_t n, bool *ret_is,
                    Err *err)
{
    AUTO_CTX(tmp, NULL);
    Sql *q = sql_new(tmp);
    Rows *rows;
    DumpEntry entry = {0};
    const char *schema, *table, *name;

    *ret_is = false;
    if (n == 0)
        return true;
    sql_add(q, "SELECT type, name, statement FROM pgtandem.post_item WHERE no = ");
    sql_i64(q, no);
    if (!conn_query(tmp, conn, q, &rows, err))
        return false;
    if (rows_count(rows) != 1)
        return err_set(err, ERR_BUG, "there is no item %d", no);
    entry = (DumpEntry){.type = rows_text(rows, 0, 0),
                        .name = rows_text(rows, 0, 1),
                        .statement = rows_text(rows, 0, 2)};
    if (!dump_entry_constraint(tmp, &entry, &schema, &table, &name))
        return err_set(err, ERR_BUG, "cannot read the foreign key \"%s\" of pg_dump", entry.name);
    for (size_t i = 0; i < n; i++)
        *ret_is =
            *ret_is || (strcmp(keys[i].name, name) == 0 && strcmp(keys[i].table_name, table) == 0 &&
                        strcmp(keys[i].schema_name, schema) == 0);
    return true;
}

bool item_forget(Conn *conn, int no, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Sql *q = sql_new(tmp);

    sql_add(q, "UPDATE pgtandem.post_item SET done = true WHERE no = ");
    sql_i64(q, no);
    return conn_exec(conn, q, err);
}

bool item_foreign_key_asleep(Conn *conn, int no, bool loose, Err *err)
{
    AUTO_CTX(tmp, NULL);
    ClaimItemsRow *row;
    size_t n;

    if (!conn_do(conn, "BEGIN", err))
        return false;
    if (!q_claim_items(tmp, conn, 0, no, &row, &n, err))
        goto failed;
    if (n > 0) {
        DumpEntry entry = {.type = row->type, .name = row->name, .statement = row->statement};
        const char *schema, *table, *name;

        if (!dump_entry_constraint(tmp, &entry, &schema, &table, &name)) {
            err_set(err, ERR_BUG, "cannot read the foreign key \"%s\" of pg_dump", row->name);
            goto failed;
        }
        if (!sleep_add_foreign_key(conn, schema, table, name, row->statement, loose, err))
            goto failed;
    }
    if (conn_do(conn, "COMMIT", err))
        return true;
failed:
    conn_rollback(conn);
    return false;
}
