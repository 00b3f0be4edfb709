/* Roles and databases: see globals.h. */
#include "migrate/globals.h"

#include <string.h>

#include "base/fault.h"
#include "base/log.h"
#include "base/str.h"
#include "pg/attempt.h"
#include "sql/queries.h"

/* a database that is being made; not the name of any that people would make */
#define NEW_DATABASE "pgtandem new"

/*
 * Runs a statement in a transaction that lives on when it is refused. Its text may hold a password, so only
 * the server's message is told.
 */
static bool try_statement(const void *ctx, Conn *conn, const char *statement,
                          const char **ret_refusal, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Sql *q = sql_new(tmp);
    bool refused;

    *ret_refusal = NULL;
    sql_trusted(q, statement);
    if (!attempt_exec(conn, q, &refused, err))
        return false;
    if (refused)
        *ret_refusal = mem_strdup(ctx, err->msg);
    err_clear(err);
    return true;
}

/* the object that a security label is for, of that kind (" ON ROLE "), or NULL */
static char *labelled(const void *ctx, const char *statement, const char *kind)
{
    static const char begin[] = "SECURITY LABEL FOR ";
    const char *p = statement + sizeof begin - 1;

    if (!str_starts(statement, begin) || dump_quoted_name(ctx, &p) == NULL || !str_starts(p, kind))
        return NULL;
    p += strlen(kind);
    return dump_quoted_name(ctx, &p);
}

/* the role that a statement is about, or NULL when it is about none */
static char *role_of(const void *ctx, const char *statement)
{
    static const char *const begins[] = {"CREATE ROLE ", "ALTER ROLE ", "COMMENT ON ROLE "};

    for (size_t i = 0; i < sizeof begins / sizeof *begins; i++)
        if (str_starts(statement, begins[i])) {
            const char *p = statement + strlen(begins[i]);

            return dump_quoted_name(ctx, &p);
        }
    return labelled(ctx, statement, " ON ROLE ");
}

/*
 * The attributes that only a superuser may give, and may even mention on old servers, are taken out.
 * *ret_lost: what the role should have had of them.
 */
static char *without_attributes(const void *ctx, const char *statement, const char **ret_lost)
{
    static const char *const words[] = {" NOSUPERUSER", " SUPERUSER",   " NOREPLICATION",
                                        " REPLICATION", " NOBYPASSRLS", " BYPASSRLS"};
    const char *with = strstr(statement, "\" WITH ");
    Str *s = str_new(ctx), *lost = str_new(ctx);

    /* comments and labels may hold any words */
    if (with == NULL ||
        (!str_starts(statement, "CREATE ROLE ") && !str_starts(statement, "ALTER ROLE ")))
        return NULL;
    const char *p = with + strlen("\" WITH");
    str_bytes(s, statement, (size_t)(p - statement));
    while (*p != '\0' && !str_starts(p, " PASSWORD")) {
        size_t len = 0;

        for (size_t i = 0; i < sizeof words / sizeof *words && len == 0; i++)
            if (str_starts(p, words[i])) {
                len = strlen(words[i]);
                if (!str_starts(words[i], " NO"))
                    str_add(lost, words[i]);
            }
        if (len == 0)
            str_char(s, *p);
        p += len == 0 ? 1 : len;
    }
    str_add(s, p);
    *ret_lost = lost->text;
    return s->text;
}

/* GRANT … GRANTED BY somebody, in whose name we may not grant: in our own then */
static char *without_grantor(const void *ctx, const char *statement)
{
    const char *by = NULL;

    if (!str_starts(statement, "GRANT "))
        return NULL;
    for (const char *p = strstr(statement, " GRANTED BY \""); p != NULL;
         p = strstr(p + 1, " GRANTED BY \""))
        by = p;
    return by == NULL ? NULL : mem_printf(ctx, "%.*s;", (int)(by - statement), statement);
}

static bool role_statement(Conn *target, const char *statement, const char *role, Err *err)
{
    AUTO_CTX(tmp, NULL);
    const char *refusal, *again, *lost = "";

    if (!try_statement(tmp, target, statement, &refusal, err))
        return false;
    if (refusal == NULL)
        return true;
    again =
        role == NULL ? without_grantor(tmp, statement) : without_attributes(tmp, statement, &lost);
    const char *first = refusal;
    if (again != NULL && !try_statement(tmp, target, again, &refusal, err))
        return false;
    if (refusal == NULL && lost[0] == '\0')
        return true;
    if (role == NULL)
        log_warn("a membership of roles was not carried over (%s): %s", first, statement);
    else if (refusal == NULL)
        log_warn("role \"%s\" is on the target without%s (%s)", role, lost, first);
    else
        log_warn("a property of role \"%s\" was not carried over (%s)", role, refusal);
    return true;
}

static bool has_role(const ServerRolesRow *roles, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(roles[i].name, name) == 0)
            return true;
    return false;
}

static void tell_passwords(const ServerRolesRow *source, size_t n_source,
                           const ServerRolesRow *target, size_t n_target)
{
    AUTO_CTX(tmp, NULL);
    Str *names = str_new(tmp);

    for (size_t i = 0; i < n_source; i++)
        if (source[i].login && !has_role(target, n_target, source[i].name))
            str_fmt(names, "%s\"%s\"", names->len == 0 ? "" : ", ", source[i].name);
    if (names->len > 0)
        log_warn(
            "passwords can be read by superusers only: these roles have none on the target, set "
            "them before the switch: %s",
            names->text);
}

static bool copy_roles(Conn *target, const char *const *statements, size_t n,
                       const ServerRolesRow *there, size_t n_there, size_t *ret_created, Err *err)
{
    AUTO_CTX(tmp, NULL);

    *ret_created = 0;
    for (size_t i = 0; i < n; i++) {
        const char *role = role_of(tmp, statements[i]);

        if (role == NULL && !str_starts(statements[i], "GRANT "))
            continue; /* settings of the session */
        if (role != NULL && has_role(there, n_there, role))
            continue;
        if (!role_statement(target, statements[i], role, err))
            return false;
        *ret_created += str_starts(statements[i], "CREATE ROLE ") ? 1 : 0;
    }
    return true;
}

bool globals_roles(Conn *source, Conn *target, const ConnSpec *spec, const PgDump *dump, Err *err)
{
    AUTO_CTX(tmp, NULL);
    ServerRolesRow *ours, *there;
    ServerRightsRow *rights;
    size_t n_ours, n_there, n_rights, n, created;
    const char **statements;

    if (!q_server_roles(tmp, source, &ours, &n_ours, err) ||
        !q_server_roles(tmp, target, &there, &n_there, err) ||
        !q_server_rights(tmp, source, &rights, &n_rights, err) ||
        !dump_roles(tmp, dump, spec, conn_value(tmp, source, "dbname"), rights->read_passwords,
                    &statements, &n, err))
        return err_add(err, "while reading the roles of the source");
    if (!conn_do(target, "BEGIN", err) ||
        !copy_roles(target, statements, n, there, n_there, &created, err) ||
        !fault("globals.roles", err) || !conn_do(target, "COMMIT", err)) {
        conn_rollback(target);
        return err_add(err, "while creating the roles on the target");
    }
    if (!rights->read_passwords)
        tell_passwords(ours, n_ours, there, n_there);
    if (created > 0)
        log_info("%zu role%s created on the target", created, created == 1 ? "" : "s");
    return true;
}

/* a statement about the database as such; what else pg_dump writes is for a connection to it */
static bool is_about_database(const char *statement)
{
    AUTO_CTX(tmp, NULL);

    return str_starts(statement, "ALTER DATABASE ") ||
           str_starts(statement, "COMMENT ON DATABASE ") ||
           labelled(tmp, statement, " ON DATABASE ") != NULL ||
           (str_starts(statement, "ALTER ROLE ") && strstr(statement, " IN DATABASE ") != NULL) ||
           ((str_starts(statement, "GRANT ") || str_starts(statement, "REVOKE ")) &&
            strstr(statement, " ON DATABASE ") != NULL);
}

static bool create_empty(Conn *target, const char *const *statements, size_t n, Err *err)
{
    AUTO_CTX(tmp, NULL);
    static const char create[] = "CREATE DATABASE ";

    for (size_t i = 0; i < n; i++) {
        const char *p = statements[i] + sizeof create - 1;
        Sql *q = sql_new(tmp);

        if (!str_starts(statements[i], create) || dump_quoted_name(tmp, &p) == NULL)
            continue;
        sql_add(q, "CREATE DATABASE ");
        sql_ident(q, NEW_DATABASE);
        sql_trusted(q, p);
        return conn_exec(target, q, err);
    }
    return err_set(err, ERR_BUG, "pg_dump does not say how the database is made");
}

/* it gets its name and its properties at once */
static bool name_it(Conn *target, const char *database, const char *const *statements, size_t n,
                    Err *err)
{
    AUTO_CTX(tmp, NULL);
    Sql *q = sql_new(tmp);

    sql_add(q, "ALTER DATABASE ");
    sql_ident(q, NEW_DATABASE);
    sql_add(q, " RENAME TO ");
    sql_ident(q, database);
    if (!conn_do(target, "BEGIN", err) || !conn_exec(target, q, err))
        return false;
    for (size_t i = 0; i < n; i++) {
        const char *refusal;

        if (!is_about_database(statements[i]))
            continue;
        if (!try_statement(tmp, target, statements[i], &refusal, err))
            return false;
        if (refusal != NULL)
            log_warn("a property of database \"%s\" was not carried over (%s)", database, refusal);
    }
    return fault("globals.database", err) && conn_do(target, "COMMIT", err);
}

bool globals_database(Conn *target, const ConnSpec *spec, const char *database, const PgDump *dump,
                      Err *err)
{
    AUTO_CTX(tmp, NULL);
    const char **statements;
    size_t n;

    if (!dump_database(tmp, dump, spec, &statements, &n, err))
        return err_add(err, "while reading the properties of database \"%s\"", database);
    if (!conn_do(target, "SET client_min_messages = error", err) ||
        !conn_do(target, "DROP DATABASE IF EXISTS \"" NEW_DATABASE "\"", err) ||
        !create_empty(target, statements, n, err) ||
        !name_it(target, database, statements, n, err)) {
        conn_rollback(target);
        err_add(err, "while creating database \"%s\" on the target", database);
        return err_hint(err,
                        "Create it by yourself, empty and with what the target offers instead, or "
                        "leave it out with --exclude-database. The same command goes on.");
    }
    log_info("database \"%s\" created on the target", database);
    return true;
}
