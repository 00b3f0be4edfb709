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
#include "migrate/config_rows.h"
#include "migrate/control.h"
#include "migrate/items.h"
#include "migrate/member.h"
#include "migrate/restore.h"
#include "migrate/scratch.h"
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
                          filters_text(tmp, run->filters), err) &&
           edge_register("progress", EDGE_OF_RUN, conn, err) &&
           edge_register("consumer", EDGE_OF_RUN, conn, err);
}

static bool has_config(const Catalog *catalog)
{
    for (size_t i = 0; i < catalog->n_tables; i++)
        if (table_is_config(&catalog->tables[i]))
            return true;
    for (size_t i = 0; i < catalog->n_sequences; i++)
        if (catalog->sequences[i].config)
            return true;
    return false;
}

/* whether the users' rows of an extension's table can be written there */
static bool fits_config(const Table *table, const Catalog *there)
{
    AUTO_CTX(tmp, NULL);
    const Table *copy = catalog_find(there, table->schema, table->name);

    if (copy != NULL && table_is_config(copy))
        return true;
    log_warn("rows of table %s are not carried: the target's extension %s", table_label(tmp, table),
             copy == NULL           ? "does not have that table"
             : copy->config == NULL ? "does not list it as configuration"
                                    : mem_printf(tmp, "made it a table of %s", copy->owner));
    return false;
}

/*
 * The tables that are replicated, numbered from 1; those of extensions are left to their extension, but for the
 * users' rows. The target has its extensions by now.
 */
static bool number_tables(const void *ctx, Run *run, const Catalog *catalog, Catalog **ret_planned,
                          Err *err)
{
    Catalog *planned = mem_new(ctx, Catalog), *there = NULL;

    if (has_config(catalog) && !catalog_load(planned, run->conn[SIDE_TARGET],
                                             run_selection(run, SIDE_TARGET), &there, err))
        return false;
    for (size_t i = 0; there != NULL && i < catalog->n_sequences; i++) {
        const Sequence *sequence = &catalog->sequences[i];

        if (sequence->config &&
            catalog_find_sequence(there, sequence->schema, sequence->name) == NULL)
            log_warn("sequence %s.%s is not carried: the target's extension does not list it as "
                     "configuration, or made it one of another role",
                     sequence->schema, sequence->name);
    }
    planned->tables = mem_array(planned, Table, catalog->n_tables + 1);
    for (size_t i = 0; i < catalog->n_tables; i++) {
        const Table *found = &catalog->tables[i];

        if (found->in_extension || (table_is_config(found) && !fits_config(found, there)))
            continue;
        Table *table = &planned->tables[planned->n_tables++];

        *table = *found;
        table->id = (int)planned->n_tables;
        table->followed = table->n_keys == 0 && !table_is_config(table) &&
                          table->bytes >= run->config->follow_keyless_bytes;
    }
    filters_apply(run->filters, planned->tables, planned->n_tables);
    /* a table may have gone or changed since `check` looked: its rows are not moved as a whole then */
    for (size_t i = 0; run->filters != NULL && i < run->filters->n; i++) {
        const Filter *filter = &run->filters->list[i];
        const Table *table = catalog_find(planned, filter->schema, filter->name);

        if (table == NULL || !filter_is_possible(table))
            return err_set(err, ERR_REFUSED, "table %s.%s was altered in this very moment",
                           filter->schema, filter->name);
    }
    *ret_planned = planned;
    return true;
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

        if (selection_takes_schema(run_selection(run, SIDE_TARGET), rows_text(rows, i, 0)))
            continue;
        sql_add(q, "DELETE FROM pgtandem.before_schema WHERE name = ");
        sql_text(q, rows_text(rows, i, 0));
        if (!conn_exec(target, q, err))
            return false;
    }
    return true;
}

static bool remember_made(Conn *target, const char *const *made, size_t n, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Sql *q = sql_new(tmp);

    for (size_t i = 0; i < n; i++) {
        sql_trusted(q, i == 0 ? "INSERT INTO pgtandem.made (object) SELECT DISTINCT o FROM (VALUES "
                              : ", ");
        sql_add(q, "(");
        sql_literal(q, made[i]);
        sql_add(q, ")");
    }
    if (n == 0)
        return true;
    sql_add(q, ") v(o)");
    return conn_exec(target, q, err);
}

/* tables of one node as they are called on the other */
static void call_as_on(const Run *run, Side side, Table *tables, size_t n)
{
    for (size_t i = 0; i < n; i++)
        run_name_on(run, side, &tables[i].schema, &tables[i].name);
}

static bool fill_target(Run *run, const Catalog *catalog, const Sections *d,
                        const char *const *made, size_t n_made, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Conn *target = run->conn[SIDE_TARGET];
    Catalog *planned;
    uint64_t random = 0;

    if (getrandom(&random, sizeof random, 0) != (ssize_t)sizeof random)
        return err_set(err, ERR_IO, "no random numbers");
    if (!conn_do(target, "SET LOCAL check_function_bodies = false", err) ||
        !create_control(run, mem_printf(tmp, "%016llx", (unsigned long long)random), SIDE_TARGET,
                        err) ||
        !control_script(target, &script_control_target, err) || !q_remember_objects(target, err) ||
        !q_remember_schemas(target, err) || !forget_schemas(run, err) ||
        !q_remember_default_acls(target, err) || !remember_made(target, made, n_made, err) ||
        (has_config(catalog) && !config_remember(run, err)) ||
        !restore_entries(run->conn[SIDE_SOURCE], target, d->pre, d->n_pre, err) ||
        !number_tables(tmp, run, catalog, &planned, err))
        return false;
    call_as_on(run, SIDE_TARGET, planned->tables, planned->n_tables);
    for (size_t i = 0; i < d->n_post; i++)
        if (!item_store(target, (int)i + 1, &d->post[i], planned, err))
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
    Sections d;
    const char **made = NULL;
    size_t n_made = 0;
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
        !dump_section(tmp, &dump, &options, DUMP_PRE_DATA, &d.pre, &d.n_pre, err) ||
        !dump_section(tmp, &dump, &options, DUMP_POST_DATA, &d.post, &d.n_post, err))
        goto failed;
    keep_selected(keys, n_keys, scope, d.pre, &d.n_pre);
    keep_selected(keys, n_keys, scope, d.post, &d.n_post);
    if (selection_renames(run->selection) && !scratch_rename(tmp, run, &d, &d, &made, &n_made, err))
        goto failed;
    if (!conn_do(target, "BEGIN", err) || !fill_target(run, catalog, &d, made, n_made, err) ||
        !fault("schema.filled", err) || !conn_do(target, "COMMIT", err))
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
    for (size_t i = 0, t = 0; i < n; i++) {
        while (tabs[t].id != tables[i].id)
            t++; /* of a table that is gone */
        if (tabs[t].captured)
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
    /* the list is the target's, the descriptions are the source's */
    call_as_on(run, SIDE_TARGET, catalog->tables, catalog->n_tables);
    call_as_on(run, SIDE_TARGET, catalog->roots, catalog->n_roots);
    call_as_on(run, SIDE_TARGET, catalog->partitions, catalog->n_partitions);
    if (create_control(run, run->node[SIDE_TARGET].run_id, SIDE_SOURCE, err)) {
        bool ok = catalog_tabs(tmp, run->conn[SIDE_TARGET], catalog, NULL, &tables, &n, err);

        if (ok)
            call_as_on(run, SIDE_SOURCE, tables, n);
        if (ok && catalog_register(source, tables, n, err) && conn_do(source, "COMMIT", err))
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
