/* Making what pg_dump told: see restore.h. */
#include "migrate/restore.h"

#include <string.h>

#include "base/str.h"
#include "migrate/items.h"
#include "pg/sqlstate.h"

/*
 * The last lines of an entry that give the object to its owner ("ALTER TABLE … OWNER TO "x";") are
 * cut off and returned: the copy can do without.
 */
static char *cut_owner(const void *ctx, char *statement)
{
    size_t len = strlen(statement);

    while (len > 0 && strchr(" \n", statement[len - 1]) != NULL)
        statement[--len] = '\0';
    char *line = strrchr(statement, '\n');
    line = line == NULL ? statement : line + 1;
    if (!str_starts(line, "ALTER ") || strstr(line, " OWNER TO ") == NULL)
        return NULL;
    char *owner = mem_strdup(ctx, line);
    *line = '\0';
    return owner;
}

/*
 * statements that give objects to their owners and were refused: once more when the rights are
 * there
 */
typedef struct Owners {
    const char *ours; /* how a statement ends that gives an object to us, who have it already */
    /* the same for our role of the source, when the target has none of that name; otherwise NULL */
    const char *ours_there;
    DumpEntry *late;
    size_t n;
} Owners;

/* one entry of the pre-data section, in the transaction of the step */
static bool run_entry(Conn *conn, const DumpEntry *entry, Owners *owners, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Sql *q = sql_new(tmp);
    char *what = mem_printf(tmp, "%s %s", entry->type, entry->name);

    if (entry->statement == NULL)
        return true;
    if (item_type_is_optional(entry->type))
        return item_run_optional(conn, what, entry->statement, err);
    char *statement = mem_strdup(tmp, entry->statement);
    char *owner = cut_owner(tmp, statement);
    /* a schema that is there already (public, usually) is as good as a new one */
    if (strcmp(entry->type, "SCHEMA") == 0) {
        if (!conn_do(conn, "SAVEPOINT entry", err))
            return false;
        sql_trusted(q, statement);
        if (!conn_exec(conn, q, err)) {
            if (!err_is(err, "42P06"))
                return err_add(err, "while creating %s", what);
            err_clear(err);
            return conn_do(conn, "ROLLBACK TO SAVEPOINT entry", err);
        }
    } else {
        sql_trusted(q, statement);
        if (!conn_exec(conn, q, err)) {
            err_add(err, "while creating %s on the target", what);
            return err_hint(err, "Nothing was changed. Statement: %.300s", statement);
        }
    }
    const char *refusal;
    if (owner == NULL || str_ends(owner, owners->ours) ||
        (owners->ours_there != NULL && str_ends(owner, owners->ours_there)))
        return true;
    if (!item_try_optional(tmp, conn, owner, &refusal, err))
        return false;
    if (refusal != NULL) {
        DumpEntry late = {.name = mem_printf(owners, "owner of %s", what),
                          .statement = mem_strdup(owners, owner)};

        mem_push(owners, owners->late, owners->n, late);
    }
    return true;
}

static bool new_owners(const void *ctx, Conn *source, Conn *conn, Owners **ret_owners, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Owners *owners = mem_new(ctx, Owners);
    Str *ours = str_new(owners);
    Rows *rows, *found;
    Sql *q = sql_new(tmp), *role = sql_new(tmp), *has = sql_new(tmp);

    sql_add(role, "SELECT current_user, '\"' || replace(current_user, '\"', '\"\"') || '\"'");
    if (!conn_query(tmp, source, role, &rows, err))
        return false;
    sql_add(has, "SELECT 1 FROM pg_roles WHERE rolname = ");
    sql_text(has, rows_text(rows, 0, 0));
    if (!conn_query(tmp, conn, has, &found, err))
        return false;
    if (rows_count(found) == 0)
        owners->ours_there = mem_printf(owners, " OWNER TO %s;", rows_text(rows, 0, 1));

    sql_add(q, "SELECT quote_ident(current_user)");
    if (!conn_query(tmp, conn, q, &rows, err))
        return false;
    str_fmt(ours, " OWNER TO %s;", rows_text(rows, 0, 0));
    owners->ours = ours->text;
    *ret_owners = owners;
    return true;
}

bool restore_entries(Conn *source, Conn *conn, const DumpEntry *entries, size_t n, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Owners *owners;

    if (!new_owners(tmp, source, conn, &owners, err))
        return false;
    for (size_t i = 0; i < n; i++)
        if (!run_entry(conn, &entries[i], owners, err))
            return false;
    /* an owner may need rights on the schema, which pg_dump grants at the end */
    for (size_t i = 0; i < owners->n; i++)
        if (!item_run_optional(conn, owners->late[i].name, owners->late[i].statement, err))
            return false;
    return true;
}
