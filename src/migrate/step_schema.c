/*
 * The first two steps: the definitions go to the target, then capture goes onto the source.
 *
 * Everything on the target happens in one transaction: our schema, pg_dump's pre-data section, the
 * plan. pg_dump runs before capture is installed, so it never sees objects of ours.
 */
#include <string.h>
#include <sys/random.h>

#include "base/fault.h"
#include "base/log.h"
#include "base/str.h"
#include "capture/capture.h"
#include "migrate/baseline.h"
#include "migrate/control.h"
#include "migrate/items.h"
#include "migrate/member.h"
#include "migrate/steps.h"
#include "model/scope.h"
#include "pg/sqlstate.h"
#include "schema/catalog.h"
#include "schema/dump.h"
#include "sql/queries.h"

/* our schema on one node of a run, in the caller's transaction */
static bool create_control(Run *run, const char *run_id, Side side, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Conn *conn = run->conn[side];
    const Member *member = run->config->member;

    /* either node may become the one that takes writes */
    return control_create(conn, run_id, side_name(side), side == SIDE_SOURCE,
                          member == NULL ? "" : member->leader, selection_text(tmp, run->selection),
                          err) &&
           edge_register("progress", EDGE_OF_RUN, conn, err) &&
           edge_register("consumer", EDGE_OF_RUN, conn, err);
}

/*
 * the tables that are replicated, numbered from 1; those of extensions are left to their extension
 */
static Catalog *number_tables(const void *ctx, const Catalog *catalog, int64_t follow_bytes)
{
    Catalog *planned = mem_new(ctx, Catalog);

    planned->tables = mem_array(planned, Table, catalog->n_tables + 1);
    for (size_t i = 0; i < catalog->n_tables; i++) {
        if (catalog->tables[i].in_extension)
            continue;
        Table *table = &planned->tables[planned->n_tables++];

        *table = catalog->tables[i];
        table->id = (int)planned->n_tables;
        table->followed = table->n_keys == 0 && table->bytes >= follow_bytes;
    }
    return planned;
}

static bool insert_run(Run *run, const Catalog *catalog, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Sql *q = sql_new(tmp);
    int64_t bytes = 0;

    for (size_t i = 0; i < catalog->n_tables; i++)
        bytes += catalog->tables[i].bytes;
    sql_add(q, "INSERT INTO pgtandem.run (phase, source_name, target_name, source_version, "
               "source_bytes) VALUES ('', ");
    sql_text(q, conn_spec_safe(tmp, &run->config->source));
    sql_add(q, ", ");
    sql_text(q, conn_spec_safe(tmp, &run->config->target));
    sql_add(q, ", ");
    sql_i64(q, conn_caps(run->conn[SIDE_SOURCE])->version);
    sql_add(q, ", ");
    sql_i64(q, bytes);
    sql_add(q, ")");
    return conn_exec(run->conn[SIDE_TARGET], q, err);
}

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

/* `abort` puts back the properties of those schemas only that are ours as a whole */
static bool forget_schemas(Run *run, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Conn *target = run->conn[SIDE_TARGET];
    Sql *names = sql_new(tmp);
    Rows *rows;

    if (run->selection == NULL)
        return true;
    sql_add(names, "SELECT name FROM pgtandem.before_schema");
    if (!conn_query(tmp, target, names, &rows, err))
        return false;
    for (size_t i = 0; i < rows_count(rows); i++) {
        Sql *q = sql_new(tmp);

        if (selection_takes_schema(run->selection, rows_text(rows, i, 0)))
            continue;
        sql_add(q, "DELETE FROM pgtandem.before_schema WHERE name = ");
        sql_text(q, rows_text(rows, i, 0));
        if (!conn_exec(target, q, err))
            return false;
    }
    return true;
}

static bool fill_target(Run *run, const Catalog *catalog, const DumpEntry *pre, size_t n_pre,
                        const DumpEntry *post, size_t n_post, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Conn *target = run->conn[SIDE_TARGET];
    const Catalog *planned = number_tables(tmp, catalog, run->config->follow_keyless_bytes);
    Owners *owners;
    uint64_t random = 0;

    if (getrandom(&random, sizeof random, 0) != (ssize_t)sizeof random)
        return err_set(err, ERR_IO, "no random numbers");
    if (!new_owners(tmp, run->conn[SIDE_SOURCE], target, &owners, err) ||
        !conn_do(target, "SET LOCAL check_function_bodies = false", err) ||
        !create_control(run, mem_printf(tmp, "%016llx", (unsigned long long)random), SIDE_TARGET,
                        err) ||
        !control_script(target, &script_control_target, err) || !q_remember_objects(target, err) ||
        !q_remember_schemas(target, err) || !forget_schemas(run, err) ||
        !q_remember_default_acls(target, err))
        return false;
    for (size_t i = 0; i < n_pre; i++)
        if (!run_entry(target, &pre[i], owners, err))
            return false;
    /* an owner may need rights on the schema, which pg_dump grants at the end */
    for (size_t i = 0; i < owners->n; i++)
        if (!item_run_optional(target, owners->late[i].name, owners->late[i].statement, err))
            return false;
    for (size_t i = 0; i < n_post; i++)
        if (!item_store(target, (int)i + 1, &post[i], planned, err))
            return false;
    /* still in the snapshot that pg_dump saw */
    return catalog_register(target, planned->tables, planned->n_tables, err) &&
           insert_run(run, catalog, err) && baseline_store(run, SIDE_SOURCE, err) &&
           edge_record_peer(EDGE_OF_RUN, run->conn[SIDE_SOURCE], target, err);
}

/* foreign keys to what is not moved: whoever accepted that was told of them */
static bool leads_out(const ForeignKeysRow *keys, size_t n, const Scope *scope,
                      const DumpEntry *entry)
{
    AUTO_CTX(tmp, NULL);
    const char *schema, *table, *name;

    if (strcmp(entry->type, "FK CONSTRAINT") != 0 ||
        !dump_entry_constraint(tmp, entry, &schema, &table, &name))
        return false;
    for (size_t i = 0; i < n; i++)
        if (strcmp(keys[i].name, name) == 0 && strcmp(keys[i].table_name, table) == 0 &&
            strcmp(keys[i].schema_name, schema) == 0)
            return !scope_has(scope, keys[i].to_schema, keys[i].to_table);
    return false;
}

/* what of a dump is to be carried */
static void keep_selected(const ForeignKeysRow *keys, size_t n_keys, const Scope *scope,
                          DumpEntry *entries, size_t *n)
{
    size_t kept = 0;

    if (scope == NULL)
        return;
    for (size_t i = 0; i < *n; i++)
        if (dump_wants_entry(scope, &entries[i]) && !leads_out(keys, n_keys, scope, &entries[i]))
            entries[kept++] = entries[i];
    *n = kept;
}

bool step_schema(Run *run, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Conn *source = run->conn[SIDE_SOURCE], *target = run->conn[SIDE_TARGET];
    DumpOptions options = {
        .source = &run->config->source, .with_owners = true, .with_privileges = true};
    DumpEntry *pre, *post;
    size_t n_pre, n_post;
    Catalog *catalog;
    const Scope *scope;
    ForeignKeysRow *keys;
    size_t n_keys;
    PgDump dump;
    Rows *rows;
    Sql *q = sql_new(tmp);

    /* all of it is one transaction: it was committed, only the phase was not recorded */
    if (run->node[SIDE_TARGET].present)
        return true;
    if (!dump_find(tmp, run->config->pg_bindir, conn_caps(source)->version,
                   conn_caps(target)->version, &dump, err))
        return false;
    if (dump.path == NULL)
        return err_set(err, ERR_REFUSED, "pg_dump was not found");
    /* one snapshot for our own look at the catalogs and both of pg_dump's */
    sql_add(q, "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT pg_export_snapshot()");
    if (!conn_query(tmp, source, q, &rows, err))
        goto failed;
    options.snapshot = rows_text(rows, 0, 0);
    if (!scope_read(tmp, source, run->selection, &scope, err) ||
        !q_foreign_keys(tmp, source, &keys, &n_keys, err))
        goto failed;
    options.only = scope_dump_options(tmp, scope);
    if (!catalog_load(tmp, source, run->selection, &catalog, err) ||
        !dump_section(tmp, &dump, &options, DUMP_PRE_DATA, &pre, &n_pre, err) ||
        !dump_section(tmp, &dump, &options, DUMP_POST_DATA, &post, &n_post, err))
        goto failed;
    keep_selected(keys, n_keys, scope, pre, &n_pre);
    keep_selected(keys, n_keys, scope, post, &n_post);
    if (!conn_do(target, "BEGIN", err) ||
        !fill_target(run, catalog, pre, n_pre, post, n_post, err) || !fault("schema.filled", err) ||
        !conn_do(target, "COMMIT", err))
        goto failed;
    conn_rollback(source);
    return run_read_state(run, err);
failed:
    conn_rollback(source);
    conn_rollback(target);
    /* then pg_dump lost its connection as well, and that passes */
    if (conn_is_broken(source))
        err->kind = ERR_CONNECT;
    return false;
}

bool install_capture(Conn *conn, const Catalog *catalog, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Table *tables;
    TabsRow *tabs;
    size_t n, n_tabs;

    if (!catalog_tabs(tmp, conn, catalog, NULL, &tables, &n, err) ||
        !q_tabs(tmp, conn, &tabs, &n_tabs, err))
        return false;
    for (size_t i = 0; i < n; i++) {
        if (tabs[i].captured)
            continue;
        log_progress("capture: table %zu of %zu", i + 1, n);
        if (!capture_table(conn, &tables[i], err) || !fault("capture.table", err))
            return false;
    }
    for (size_t i = 0; i < catalog->n_roots; i++)
        if (!catalog->roots[i].in_extension && !capture_gate_only(conn, &catalog->roots[i], err))
            return false;
    log_progress_end();
    return true;
}

/* our schema on the source, with the same list of tables as on the target */
static bool create_source_control(Run *run, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Conn *source = run->conn[SIDE_SOURCE];
    Catalog *catalog;
    Table *tables;
    size_t n;

    if (!catalog_load(tmp, source, run->selection, &catalog, err) || !conn_do(source, "BEGIN", err))
        return false;
    if (create_control(run, run->node[SIDE_TARGET].run_id, SIDE_SOURCE, err)) {
        /* the list is the target's, the descriptions are the source's */
        if (catalog_tabs(tmp, run->conn[SIDE_TARGET], catalog, NULL, &tables, &n, err) &&
            catalog_register(source, tables, n, err) && conn_do(source, "COMMIT", err))
            return run_read_state(run, err);
    }
    conn_rollback(source);
    return false;
}

bool step_capture(Run *run, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Catalog *catalog;

    if (!run->node[SIDE_SOURCE].present && !create_source_control(run, err))
        return false;
    if (!catalog_load(tmp, run->conn[SIDE_SOURCE], run->selection, &catalog, err))
        return false;
    return install_capture(run->conn[SIDE_SOURCE], catalog, err);
}
