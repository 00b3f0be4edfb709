/* Other names for definitions: see scratch.h. */
#include "migrate/scratch.h"

#include <string.h>

#include "base/fault.h"
#include "base/log.h"
#include "base/str.h"
#include "migrate/restore.h"
#include "model/scope.h"
#include "pg/attempt.h"
#include "sql/queries.h"

/* what gives way while names go round */
#define ON_THE_WAY "pgtandem_on_the_way_"

/* there is one run for a target database at a time, and it holds the lock */
static bool scratch_name(const void *ctx, Run *run, const char **ret_name, Err *err)
{
    AUTO_CTX(tmp, NULL);
    IdentityOfNodeRow *identity;
    size_t n;

    if (!q_identity_of_node(tmp, run->conn[SIDE_TARGET], &identity, &n, err))
        return false;
    *ret_name = mem_printf(ctx, "pgtandem_names_%lld", (long long)identity->database_oid);
    return true;
}

bool scratch_drop(Run *run, Err *err)
{
    AUTO_CTX(tmp, NULL);
    const char *name;
    Sql *has = sql_new(tmp), *q = sql_new(tmp);
    Rows *rows;

    if (!scratch_name(tmp, run, &name, err))
        return false;
    sql_add(has, "SELECT 1 FROM pg_database WHERE datname = ");
    sql_text(has, name);
    if (!conn_query(tmp, run->conn[SIDE_TARGET], has, &rows, err))
        return false;
    if (rows_count(rows) == 0)
        return true;
    sql_add(q, "DROP DATABASE IF EXISTS ");
    sql_ident(q, name);
    return conn_exec(run->conn[SIDE_TARGET], q, err) ||
           err_add(err, "while dropping the scratch database \"%s\" on the target", name);
}

/* of the target's encoding and locale, as definitions may depend on them */
static bool create(Run *run, const char *name, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Sql *ask = sql_new(tmp), *q = sql_new(tmp);
    Rows *rows;

    sql_add(ask, "SELECT pg_encoding_to_char(encoding), datcollate, datctype FROM pg_database "
                 "WHERE datname = current_database()");
    if (!conn_query(tmp, run->conn[SIDE_TARGET], ask, &rows, err))
        return false;
    sql_add(q, "CREATE DATABASE ");
    sql_ident(q, name);
    sql_add(q, " TEMPLATE template0 ENCODING ");
    sql_literal(q, rows_text(rows, 0, 0));
    sql_add(q, " LC_COLLATE ");
    sql_literal(q, rows_text(rows, 0, 1));
    sql_add(q, " LC_CTYPE ");
    sql_literal(q, rows_text(rows, 0, 2));
    if (conn_exec(run->conn[SIDE_TARGET], q, err))
        return true;
    err_hint(err, "Other names are given in a scratch database on the target's server, so the role "
                  "needs CREATEDB there. Nothing was changed.");
    return err_add(err, "while creating the scratch database \"%s\" on the target", name);
}

/* what may fail, with the next best then */
static bool try(Conn *conn, const Sql *q, bool *ret_done, Err *err)
{
    bool refused;

    if (!attempt_exec(conn, q, &refused, err))
        return false;
    if (refused)
        log_debug("scratch database: %s", err->msg);
    err_clear(err);
    *ret_done = !refused;
    return true;
}

static bool try_literally(Conn *conn, const char *statement, bool *ret_done, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Sql *q = sql_new(tmp);

    sql_trusted(q, statement);
    return try(conn, q, ret_done, err);
}

typedef struct Extensions {
    Rows *source; /* name, schema */
    Rows *target; /* name, schema, version */
} Extensions;

static bool read_extensions(const void *ctx, Conn *conn, Rows **ret, Err *err)
{
    Sql *q = sql_new(ctx);

    sql_add(q, "SELECT e.extname, n.nspname, e.extversion FROM pg_extension e "
               "JOIN pg_namespace n ON n.oid = e.extnamespace ORDER BY e.oid");
    return conn_query(ctx, conn, q, ret, err);
}

static int64_t find_extension(const Rows *rows, const char *name)
{
    for (size_t i = 0; i < rows_count(rows); i++)
        if (strcmp(rows_text(rows, i, 0), name) == 0)
            return (int64_t)i;
    return -1;
}

/*
 * Those that both nodes have, where the source has them: definitions name their types and functions there. One that
 * cannot be made is missed by what needs it, and told then.
 */
static bool make_extensions(Conn *scratch, const Extensions *all, Err *err)
{
    for (size_t i = 0; i < rows_count(all->source); i++) {
        AUTO_CTX(tmp, NULL);
        const char *name = rows_text(all->source, i, 0), *schema = rows_text(all->source, i, 1);
        int64_t there = find_extension(all->target, name);
        Sql *q = sql_new(tmp);
        bool done;

        if (there < 0 || strcmp(name, "plpgsql") == 0)
            continue;
        sql_add(q, "CREATE SCHEMA IF NOT EXISTS ");
        sql_ident(q, schema);
        sql_add(q, "; CREATE EXTENSION ");
        sql_ident(q, name);
        sql_add(q, " SCHEMA ");
        sql_ident(q, schema);
        sql_add(q, " VERSION ");
        sql_literal(q, rows_text(all->target, (size_t)there, 2));
        sql_add(q, " CASCADE");
        if (!try(scratch, q, &done, err))
            return false;
    }
    return true;
}

/* back to where the target has them, if the schema went away under them */
static bool move_extensions(Conn *scratch, const Extensions *all, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Rows *rows;

    if (!read_extensions(tmp, scratch, &rows, err))
        return false;
    for (size_t i = 0; i < rows_count(rows); i++) {
        const char *name = rows_text(rows, i, 0), *schema;
        int64_t there = find_extension(all->target, name);
        Sql *q = sql_new(tmp);

        if (there < 0)
            continue;
        schema = rows_text(all->target, (size_t)there, 1);
        if (strcmp(schema, rows_text(rows, i, 1)) == 0)
            continue;
        sql_add(q, "CREATE SCHEMA IF NOT EXISTS ");
        sql_ident(q, schema);
        sql_add(q, "; ALTER EXTENSION ");
        sql_ident(q, name);
        sql_add(q, " SET SCHEMA ");
        sql_ident(q, schema);
        if (conn_exec(scratch, q, err))
            continue;
        err_hint(err,
                 "Its schema gets another name, but on the target it is in \"%s\", and it cannot "
                 "be moved there. Nothing was changed.",
                 schema);
        return err_add(err, "while moving extension \"%s\" in the scratch database", name);
    }
    return true;
}

/*
 * The schema that every database has: rights on it are told by pg_dump only as far as they differ from those that it
 * has from the beginning, which it would not have under another name.
 */
static bool make_public(Conn *scratch, const Selection *selection, Err *err)
{
    for (size_t i = 0; i < selection->n_renames; i++) {
        const Rename *r = &selection->renames[i];
        bool done;

        if (r->name == NULL && strcmp(r->schema, "public") == 0)
            return try_literally(scratch,
                                 "DROP SCHEMA public; CREATE SCHEMA public; "
                                 "GRANT USAGE ON SCHEMA public TO PUBLIC",
                                 &done, err);
    }
    return true;
}

/* ALTER … RENAME of all of one kind: first to names that nobody has, as names may go round */
static Sql *rename_all(const void *ctx, const Selection *selection, bool of_schema, bool there)
{
    Sql *q = sql_new(ctx);

    for (size_t i = 0; i < selection->n_renames; i++) {
        const Rename *r = &selection->renames[i];
        const char *between = mem_printf(ctx, ON_THE_WAY "%zu", i);
        const char *old = of_schema ? r->schema : r->name;

        if ((r->name == NULL) != of_schema)
            continue;
        if (of_schema) {
            sql_add(q, "ALTER SCHEMA ");
            sql_ident(q, there ? between : old);
        } else {
            /* takes whatever is called like a table: views, sequences */
            sql_add(q, "ALTER TABLE ");
            sql_name(q, r->schema, there ? between : old);
        }
        sql_add(q, " RENAME TO ");
        sql_ident(q, there ? r->to : between);
        sql_add(q, ";\n");
    }
    return q;
}

/* a schema that only the extensions or the template brought may be in the way of a new name */
static bool clear_way(Conn *scratch, const Run *run, Err *err)
{
    AUTO_CTX(tmp, NULL);
    const Scope *scope;

    if (!scope_read(tmp, scratch, run->selection, &scope, err))
        return false;
    for (size_t i = 0; i < run->selection->n_renames; i++) {
        const Rename *r = &run->selection->renames[i];
        Sql *q = sql_new(tmp);

        if (r->name != NULL || !scope_knows_schema(scope, r->to) || scope_enters(scope, r->to))
            continue;
        sql_add(q, "ALTER SCHEMA ");
        sql_ident(q, r->to);
        sql_add(q, " RENAME TO ");
        sql_ident(q, mem_printf(tmp, ON_THE_WAY "of_%zu", i));
        if (!conn_exec(scratch, q, err))
            return false;
    }
    return true;
}

static bool rename_there(Conn *scratch, const Run *run, Err *err)
{
    AUTO_CTX(tmp, NULL);

    if (!clear_way(scratch, run, err))
        return false;
    for (int of_schema = 0; of_schema < 2; of_schema++)
        for (int there = 0; there < 2; there++) {
            Sql *q = rename_all(tmp, run->selection, of_schema == 1, there == 1);

            if (q->text->len > 0 && !conn_exec(scratch, q, err)) {
                err_hint(err, "Nothing was changed. Choose other names.");
                return err_add(err, "while renaming in the scratch database");
            }
        }
    return true;
}

/* two nodes would pull or send the same data, and event triggers are nobody's but the database's */
static bool is_left_out(const DumpEntry *entry)
{
    return entry->statement == NULL || str_starts(entry->type, "PUBLICATION") ||
           str_starts(entry->type, "SUBSCRIPTION") || strcmp(entry->type, "EVENT TRIGGER") == 0;
}

static bool restore(Run *run, Conn *scratch, const DumpEntry *entries, size_t n, Err *err)
{
    AUTO_CTX(tmp, NULL);
    DumpEntry *kept = mem_array(tmp, DumpEntry, n + 1);
    size_t n_kept = 0;

    for (size_t i = 0; i < n; i++)
        if (!is_left_out(&entries[i]))
            kept[n_kept++] = entries[i];
    if (restore_entries(run->conn[SIDE_SOURCE], scratch, kept, n_kept, err))
        return true;
    err_hint(err, "To give other names, what is selected must be complete in itself: it may need "
                  "extensions, but nothing else that is not selected. Nothing was changed.");
    return err_add(err, "in the scratch database");
}

static bool fill(Run *run, Conn *scratch, const Sections *source, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Extensions all;

    return read_extensions(tmp, run->conn[SIDE_SOURCE], &all.source, err) &&
           read_extensions(tmp, run->conn[SIDE_TARGET], &all.target, err) &&
           conn_do(scratch, "BEGIN; SET LOCAL check_function_bodies = false", err) &&
           make_public(scratch, run->selection, err) && make_extensions(scratch, &all, err) &&
           restore(run, scratch, source->pre, source->n_pre, err) &&
           restore(run, scratch, source->post, source->n_post, err) &&
           rename_there(scratch, run, err) && move_extensions(scratch, &all, err) &&
           fault("schema.renamed", err) && conn_do(scratch, "COMMIT", err);
}

static bool read_made(const void *ctx, Conn *scratch, const char ***ret_made, size_t *ret_n,
                      Err *err)
{
    CheckHaveRow *rows;
    size_t n;

    if (!q_check_have(ctx, scratch, NULL, &rows, &n, err))
        return false;
    *ret_made = mem_array(ctx, const char *, n + 1);
    for (size_t i = 0; i < n; i++)
        (*ret_made)[i] = rows[i].name;
    *ret_n = n;
    return true;
}

static size_t keep(const Scope *scope, DumpEntry *entries, size_t n)
{
    size_t kept = 0;

    for (size_t i = 0; i < n; i++)
        if (dump_wants_entry(scope, &entries[i]))
            entries[kept++] = entries[i];
    return kept;
}

/* what the scratch database has, as pg_dump of the target's version tells it */
static bool dump(const void *ctx, Run *run, Conn *scratch, const ConnSpec *spec, Sections *ret,
                 Err *err)
{
    AUTO_CTX(tmp, NULL);
    DumpOptions options = {.source = spec, .with_owners = true, .with_privileges = true};
    int version = conn_caps(scratch)->version;
    const Scope *scope;
    PgDump program;

    if (!dump_find(tmp, run->config->pg_bindir, version, version, &program, err) ||
        !scope_read(tmp, scratch, run_selection(run, SIDE_TARGET), &scope, err))
        return false;
    if (program.path == NULL || caps_major(program.version) < caps_major(version)) {
        err_set(err, ERR_REFUSED, "other names need a pg_dump of the target's version");
        return err_hint(err, "Install the client programs of the target's version. Nothing was "
                             "changed.");
    }
    options.only = scope_dump_options(tmp, scope);
    if (!dump_section(ctx, &program, &options, DUMP_PRE_DATA, &ret->pre, &ret->n_pre, err) ||
        !dump_section(ctx, &program, &options, DUMP_POST_DATA, &ret->post, &ret->n_post, err))
        return false;
    ret->n_pre = keep(scope, ret->pre, ret->n_pre);
    ret->n_post = keep(scope, ret->post, ret->n_post);
    return true;
}

bool scratch_rename(const void *ctx, Run *run, const Sections *source, Sections *ret,
                    const char ***ret_made, size_t *ret_n_made, Err *err)
{
    AUTO_CTX(tmp, NULL);
    const ConnSpec *target = &run->config->target;
    ConnSpec spec;
    const char *name;
    Conn *scratch = NULL;

    if (!scratch_name(tmp, run, &name, err) || !scratch_drop(run, err) ||
        !conn_spec_of_database(tmp, target, name, &spec, err) || !create(run, name, err))
        return false;
    bool ok = fault("schema.scratch", err) &&
              (scratch = conn_open(tmp, &spec, "names", err)) != NULL &&
              fill(run, scratch, source, err) && dump(ctx, run, scratch, &spec, ret, err) &&
              read_made(ctx, scratch, ret_made, ret_n_made, err);
    talloc_free(scratch);
    /* after an error it is tried as well, but the error is what counts */
    if (!ok) {
        Err *ignored = err_new(tmp);

        if (!scratch_drop(run, ignored))
            log_debug("%s", ignored->msg);
    }
    return ok && scratch_drop(run, err);
}
