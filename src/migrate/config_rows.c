/* The users' rows in tables of extensions: see config_rows.h. */
#include "migrate/config_rows.h"

#include "apply/apply.h"
#include "base/fault.h"
#include "base/log.h"
#include "base/str.h"
#include "migrate/sleep.h"
#include "schema/catalog.h"
#include "sql/queries.h"

static bool remember_table(Conn *conn, const Table *table, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Sql *q = sql_new(tmp);

    sql_add(q, "INSERT INTO pgtandem.before_config_rel (schema_name, name, condition) VALUES (");
    sql_literal(q, table->schema);
    sql_add(q, ", ");
    sql_literal(q, table->name);
    sql_add(q, ", ");
    sql_literal(q, table->config);
    sql_add(q, "); INSERT INTO pgtandem.before_config (schema_name, table_name, image) SELECT ");
    sql_literal(q, table->schema);
    sql_add(q, ", ");
    sql_literal(q, table->name);
    sql_add(q, ", ROW(t.*)::text FROM ");
    sql_trusted(q, table_config_rows(tmp, table));
    sql_add(q, " t");
    return conn_exec(conn, q, err);
}

static bool remember_sequence(Conn *conn, const Sequence *sequence, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Sql *q = sql_new(tmp);

    sql_add(q, "INSERT INTO pgtandem.before_config_rel (schema_name, name, last_value, is_called) "
               "SELECT ");
    sql_literal(q, sequence->schema);
    sql_add(q, ", ");
    sql_literal(q, sequence->name);
    sql_add(q, ", last_value, is_called FROM ");
    sql_name(q, sequence->schema, sequence->name);
    return conn_exec(conn, q, err);
}

bool config_remember(Run *run, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Conn *target = run->conn[SIDE_TARGET];
    Catalog *catalog;

    if (!catalog_load(tmp, target, run_selection(run, SIDE_TARGET), &catalog, err))
        return false;
    for (size_t i = 0; i < catalog->n_tables; i++)
        if (table_is_config(&catalog->tables[i]) &&
            !remember_table(target, &catalog->tables[i], err))
            return false;
    for (size_t i = 0; i < catalog->n_sequences; i++)
        if (catalog->sequences[i].config && !remember_sequence(target, &catalog->sequences[i], err))
            return false;
    return true;
}

/* a table that is settled has its rows, and its mark tells what came later */
static bool copy_one(Edge *edge, const TablePair *pair, int64_t *rows, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Sql *claim = sql_new(tmp);
    ApplyStats stats = {0};

    if (!conn_do(edge->from, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", err) ||
        !edge_begin_apply(edge, err))
        goto failed;
    sql_add(claim, "INSERT INTO pgtandem.settled (tab) SELECT ");
    sql_number(claim, pair->src->id);
    sql_add(claim, " WHERE NOT EXISTS (SELECT 1 FROM pgtandem.settled WHERE tab = ");
    sql_number(claim, pair->src->id);
    sql_add(claim, ")");
    if (!conn_exec(edge->to, claim, err) ||
        (conn_affected(edge->to) > 0 &&
         !apply_config_rows(pair, edge->from, edge->to, &stats, err)) ||
        !fault("config.copied", err) || !conn_do(edge->to, "COMMIT", err))
        goto failed;
    conn_rollback(edge->from);
    *rows += stats.rows;
    return true;
failed:
    conn_rollback(edge->from);
    conn_rollback(edge->to);
    return false;
}

bool config_copy(Run *run, Err *err)
{
    AUTO_CTX(tmp, NULL);
    const Edge *edge = run->edge;
    int64_t rows = 0;
    bool asleep = false;

    for (size_t i = 0; i < edge->n_pairs; i++) {
        if (!table_is_config(edge->pairs[i].src))
            continue;
        /* they come with triggers and foreign keys that act already, unlike all others */
        if (!asleep && !sleep_node(edge->to, run_selection(run, SIDE_TARGET),
                                   run->replica[SIDE_TARGET], &run->awake_told[SIDE_TARGET], err))
            return false;
        asleep = true;
        if (!copy_one(run->edge, &edge->pairs[i], &rows, err))
            return false;
    }
    if (rows > 0)
        log_info("%s rows of tables of extensions copied", str_count(tmp, rows));
    return true;
}

/* of the columns of a table that was remembered; it is the same server, so all of them can be read */
static bool put_back_table(Conn *conn, const Table *table, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Sql *q = sql_new(tmp);
    Str *into = str_new(tmp), *values = str_new(tmp);
    const char *name = table_name_sql(tmp, table);
    bool identity = false;

    for (size_t i = 0; i < table->n_columns; i++) {
        const Column *column = &table->columns[i];

        if (column->generated)
            continue;
        identity = identity || column->identity_always;
        str_add(into, into->len > 0 ? ", " : "");
        str_ident(into, column->name);
        str_add(values, values->len > 0 ? ", (b.r)." : "(b.r).");
        str_ident(values, column->name);
    }
    if (into->len == 0)
        return true;
    sql_add(q, "DELETE FROM ");
    sql_trusted(q, name);
    sql_add(q, " t WHERE ");
    sql_trusted(q, table_config_test(tmp, table, "t"));
    sql_add(q, "; INSERT INTO ");
    sql_trusted(q, name);
    sql_add(q, " (");
    sql_trusted(q, into->text);
    sql_add(q, ")");
    if (identity)
        sql_add(q, " OVERRIDING SYSTEM VALUE");
    sql_add(q, " SELECT ");
    sql_trusted(q, values->text);
    sql_add(q, " FROM (SELECT image::");
    sql_trusted(q, name);
    sql_add(q, " AS r FROM pgtandem.before_config WHERE schema_name = ");
    sql_literal(q, table->schema);
    sql_add(q, " AND table_name = ");
    sql_literal(q, table->name);
    sql_add(q, " ORDER BY no OFFSET 0) b");
    return conn_exec(conn, q, err);
}

static bool put_back_sequence(Conn *conn, const BeforeConfigRow *row, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Sql *q = sql_new(tmp), *name = sql_new(tmp);

    sql_name(name, row->schema_name, row->name);
    sql_add(q, "SELECT setval(");
    sql_literal(q, name->text->text);
    sql_add(q, ", ");
    sql_number(q, row->last_value);
    sql_trusted(q, row->is_called ? ", true)" : ", false)");
    return conn_exec(conn, q, err);
}

static bool put_back(Conn *conn, const Catalog *catalog, const BeforeConfigRow *row, Err *err)
{
    const Table *table = catalog_find(catalog, row->schema_name, row->name);

    if (row->condition == NULL)
        return catalog_find_sequence(catalog, row->schema_name, row->name) == NULL ||
               put_back_sequence(conn, row, err);
    return table == NULL || !table_is_config(table) || put_back_table(conn, table, err);
}

bool config_put_back(Run *run, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Conn *target = run->conn[SIDE_TARGET];
    BeforeConfigRow *rows;
    Catalog *catalog;
    size_t n;

    if (!q_before_config(tmp, target, &rows, &n, err))
        return false;
    if (n == 0)
        return true;
    if (!catalog_load(tmp, target, run_selection(run, SIDE_TARGET), &catalog, err) ||
        !conn_do(target, "BEGIN", err))
        return false;
    for (size_t i = 0; i < n; i++)
        if (!put_back(target, catalog, &rows[i], err)) {
            conn_rollback(target);
            return err_add(err, "while putting back the rows of %s.%s", rows[i].schema_name,
                           rows[i].name);
        }
    if (conn_do(target, "DELETE FROM pgtandem.before_config_rel", err) &&
        conn_do(target, "COMMIT", err))
        return true;
    conn_rollback(target);
    return false;
}
