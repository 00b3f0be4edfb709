/* Numbers of tables, their triggers, and marks for all of their rows: see ddl_impl.h. */
#include "migrate/ddl_impl.h"

#include <string.h>

#include "base/fault.h"
#include "base/log.h"
#include "capture/capture.h"
#include "pg/lock.h"
#include "schema/catalog.h"

static void change_tab(Ddl *ddl, int id, const char *schema, const char *name)
{
    TabChange change = {.id = id, .schema = schema, .name = name};

    mem_push(ddl, ddl->changes, ddl->n_changes, change);
}

/* the number is nobody's any more; it is never given again, as changes under it may be pending */
static void retire_tab(Ddl *ddl, const TabsRow *tab)
{
    change_tab(ddl, tab->id, "", mem_printf(ddl, "%d", tab->id));
}

/* extensions are not followed; as long as a configuration table is there it is carried */
static bool is_config(const Ddl *ddl, const TabsRow *tab)
{
    for (size_t i = 0; i < ddl->catalog->n_tables; i++)
        if (ddl->catalog->tables[i].oid == tab->rel)
            return table_is_config(&ddl->catalog->tables[i]);
    return false;
}

/* what became of the captured tables */
void ddl_follow_tabs(Ddl *ddl)
{
    AUTO_CTX(tmp, NULL);

    for (size_t i = 0; i < ddl->n_tabs; i++) {
        const TabsRow *tab = &ddl->tabs[i];
        const TableRelationsRow *table = ddl_find_relid(&ddl->now, tab->rel);

        if (tab->schema_name[0] == '\0')
            continue;
        /* registered, but a crash came before its triggers */
        if (tab->rel == 0 &&
            baseline_find_table(&ddl->now, tab->schema_name, tab->table_name) != NULL)
            continue;
        if (is_config(ddl, tab))
            continue;
        if (table == NULL) {
            retire_tab(ddl, tab);
            continue;
        }
        if (strcmp(tab->schema_name, table->schema_name) != 0 ||
            strcmp(tab->table_name, table->table_name) != 0)
            change_tab(ddl, tab->id, table->schema_name, table->table_name);
        const Table *captured = catalog_find(ddl->catalog, table->schema_name, table->table_name);
        if (captured == NULL) {
            retire_tab(ddl, tab); /* its root stands for it now */
        } else if ((tab->key_columns == NULL) != (captured->n_keys == 0) ||
                   strcmp(tab->key_print, table_key_print(tmp, captured)) != 0) {
            log_info("schema: the key of table %s is another one now", table_label(tmp, captured));
            retire_tab(ddl, tab);
            ddl_carry_anew(ddl, table->relid);
            /* a new key may need values that only the rows to come have */
            if (captured->n_keys > 0 && !selection_renames(ddl->run->selection) &&
                baseline_find_table(&ddl->copy, table->schema_name, table->table_name) != NULL)
                ddl_empty(ddl, table);
        }
    }
}

bool ddl_has_images(const Ddl *ddl, const TableRelationsRow *table)
{
    for (size_t i = 0; i < ddl->n_tabs; i++)
        if (ddl->tabs[i].rel == table->relid)
            return ddl->tabs[i].followed && ddl->tabs[i].key_columns == NULL;
    return false;
}

void ddl_retire_gone(Ddl *ddl)
{
    for (size_t i = 0; i < ddl->n_tabs; i++) {
        const TabsRow *tab = &ddl->tabs[i];
        /* before it is captured only its name tells */
        const bool there = tab->rel == 0 ? baseline_find_table(&ddl->now, tab->schema_name,
                                                               tab->table_name) != NULL
                                         : ddl_find_relid(&ddl->now, tab->rel) != NULL;

        if (tab->schema_name[0] != '\0' && !there && !is_config(ddl, tab))
            retire_tab(ddl, tab);
    }
}

static bool set_tab(Conn *conn, const TabChange *change, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Sql *q = sql_new(tmp);

    sql_add(q, "UPDATE pgtandem.tab SET schema_name = ");
    sql_text(q, change->schema);
    sql_add(q, ", table_name = ");
    sql_text(q, change->name);
    sql_add(q, " WHERE id = ");
    sql_i64(q, change->id);
    return conn_exec(conn, q, err);
}

/* new names of numbers, on the copy first: whoever comes after a crash compares what `from` says */
bool ddl_change_tabs(Ddl *ddl, Err *err)
{
    Conn *conns[] = {ddl->to, ddl->from};

    for (int c = 0; c < 2; c++) {
        /* it has no list yet when the copy was just begun */
        if (!ddl->run->node[ddl->side[c == 0 ? 1 : 0]].present)
            continue;
        if (!conn_do(conns[c], "BEGIN", err))
            return false;
        /* names may go round: those that are given up come first */
        for (int pass = 0; pass < 2; pass++)
            for (size_t i = 0; i < ddl->n_changes; i++) {
                TabChange gone = {.id = ddl->changes[i].id,
                                  .schema = "",
                                  .name = mem_printf(ddl, "%d", ddl->changes[i].id)};
                TabChange last = ddl->changes[i];

                if (c == 0 && last.schema[0] != '\0')
                    run_name_on(ddl->run, ddl->side[1], &last.schema, &last.name);
                if (!set_tab(conns[c], pass == 0 ? &gone : &last, err)) {
                    conn_rollback(conns[c]);
                    return false;
                }
            }
        if (!conn_do(conns[c], "COMMIT", err) || !fault("ddl.renamed", err))
            return false;
    }
    return true;
}

static const TabsRow *tab_named(const TabsRow *tabs, size_t n, const char *schema, const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(tabs[i].table_name, name) == 0 && strcmp(tabs[i].schema_name, schema) == 0)
            return &tabs[i];
    return NULL;
}

/* a table that has no number yet gets one on both nodes; the copy's table is there */
static bool register_new(Ddl *ddl, const Table *on_from, const Table *on_to, int id,
                         bool from_knows, bool to_knows, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Table from = *on_from, to = *on_to;

    from.id = to.id = id;
    /* a condition is of what is called so on the source */
    filters_apply(ddl->run->filters, ddl->side[0] == SIDE_SOURCE ? &from : &to, 1);
    from.filter = to.filter = ddl->side[0] == SIDE_SOURCE ? from.filter : to.filter;
    return (to_knows || catalog_register(ddl->to, &to, 1, err)) && fault("ddl.registered", err) &&
           (from_knows || catalog_register(ddl->from, &from, 1, err));
}

static bool same_key(const Table *a, const Table *b)
{
    AUTO_CTX(tmp, NULL);

    return a->n_keys > 0 && b->n_keys > 0 &&
           strcmp(table_key_text(tmp, a), table_key_text(tmp, b)) == 0;
}

bool ddl_register_tables(Ddl *ddl, const Catalog *copy, Err *err)
{
    AUTO_CTX(tmp, NULL);
    TabsRow *from, *to;
    size_t n_from, n_to;
    int last = 0;

    if (!q_tabs(tmp, ddl->from, &from, &n_from, err) || !q_tabs(tmp, ddl->to, &to, &n_to, err))
        return false;
    for (size_t i = 0; i < n_from || i < n_to; i++) {
        last = i < n_from && from[i].id > last ? from[i].id : last;
        last = i < n_to && to[i].id > last ? to[i].id : last;
    }
    for (size_t i = 0; i < ddl->catalog->n_tables; i++) {
        const Table *table = &ddl->catalog->tables[i];
        const char *schema = table->schema, *name = table->name;
        const TabsRow *f = tab_named(from, n_from, schema, name);

        run_name_on(ddl->run, ddl->side[1], &schema, &name);
        const Table *there = catalog_find_any(copy, schema, name);
        const TabsRow *t = tab_named(to, n_to, schema, name);

        if (table->in_extension || table_is_config(table))
            continue;
        /* also after a crash: only the baseline tells that its rows are on their way */
        if (ddl_old_table(&ddl->before, table->oid) == NULL)
            ddl_carry_anew(ddl, table->oid);
        if (f != NULL && t != NULL)
            continue;
        /* the copy's key is to be made first, and then it is on the same columns */
        if (there == NULL || (table->n_keys > 0 && !same_key(table, there))) {
            ddl_mark_unsettled(ddl, table->oid);
            continue;
        }
        if (!register_new(ddl, table, there,
                          f != NULL   ? f->id
                          : t != NULL ? t->id
                                      : ++last,
                          f != NULL, t != NULL, err))
            return false;
        log_info("schema: table %s is part of the run now", table_label(tmp, table));
        ddl_carry_anew(ddl, table->oid);
    }
    return true;
}

/* key columns that have other names now, on one node */
bool ddl_rename_keys(Conn *conn, const Catalog *catalog, Err *err)
{
    AUTO_CTX(tmp, NULL);
    TabsRow *tabs;
    size_t n;

    if (!q_tabs(tmp, conn, &tabs, &n, err))
        return false;
    for (size_t i = 0; i < n; i++) {
        const Table *found = catalog_find(catalog, tabs[i].schema_name, tabs[i].table_name);

        if (found == NULL || tabs[i].key_columns == NULL ||
            strcmp(tabs[i].key_print, table_key_print(tmp, found)) != 0 ||
            strcmp(tabs[i].key_columns, table_key_text(tmp, found)) == 0)
            continue;
        Table table = *found;
        table.id = tabs[i].id;
        if (!capture_names_again(conn, &table, err) ||
            !catalog_register_key(conn, table.id, &table, err))
            return false;
    }
    return true;
}

/* triggers for what has none yet, on one node; *ret_again: tables (numbers) that lost some */
bool ddl_complete_captures(Ddl *ddl, Conn *conn, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Catalog *catalog;
    Table *tables;
    TabsRow *tabs;
    IncompleteTabsRow *rows;
    size_t n, n_tabs, n_rows;

    if (!catalog_load(tmp, conn, run_selection(ddl->run, ddl->side[conn == ddl->to ? 1 : 0]),
                      &catalog, err) ||
        !catalog_tabs(tmp, conn, catalog, NULL, &tables, &n, err) ||
        !q_tabs(tmp, conn, &tabs, &n_tabs, err) ||
        !q_incomplete_tabs(tmp, conn, NULL, &rows, &n_rows, err))
        return false;
    for (size_t i = 0; i < n; i++) {
        int64_t *come = mem_array(tmp, int64_t, n_rows + 1);
        size_t n_come = 0;
        bool lost = false, captured = true;

        for (size_t t = 0; t < n_tabs; t++)
            if (tabs[t].id == tables[i].id)
                captured = tabs[t].captured;
        for (size_t r = 0; r < n_rows; r++) {
            if (rows[r].tab != tables[i].id)
                continue;
            if (rows[r].is_new)
                come[n_come++] = rows[r].rel;
            else
                lost = true;
        }
        if (captured && lost) {
            log_warn("table %s on the %s lacks triggers of pgtandem: they are put on again, and "
                     "all its rows are carried anew",
                     table_label(tmp, &tables[i]), conn_label(conn));
            ddl_carry_anew(ddl, tables[i].oid);
            if (conn == ddl->from && !ddl_remember_anew(ddl, err))
                return false;
        }
        /* its columns may be others; on the other node that comes with the mark for all rows */
        if (captured && !lost && conn == ddl->to && tables[i].n_keys == 0 && tables[i].followed &&
            !capture_names_again(conn, &tables[i], err))
            return false;
        if (!captured ? !capture_table(conn, &tables[i], err)
            : lost    ? !capture_again(conn, &tables[i], err)
                      : n_come > 0 && !capture_partitions(conn, &tables[i], come, n_come, err))
            return false;
    }
    for (size_t i = 0; i < catalog->n_roots; i++)
        if (!catalog->roots[i].in_extension && !capture_gate_only(conn, &catalog->roots[i], err))
            return false;
    return true;
}

/*
 * That they are to be carried anew is known also after a crash: without its files the baseline of a table is that
 * of one that was rewritten. Before anything is done after which one could not tell any more.
 */
bool ddl_remember_anew(Ddl *ddl, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Sql *q = sql_new(tmp);

    if (ddl->n_anew == 0)
        return true;
    sql_add(q, "UPDATE pgtandem.baseline_table SET files = '' WHERE side = ");
    sql_literal(q, side_name(ddl->side[0]));
    sql_add(q, " AND rel IN (");
    for (size_t i = 0; i < ddl->n_anew; i++) {
        if (i > 0)
            sql_add(q, ", ");
        sql_number(q, ddl->anew[i]);
    }
    sql_add(q, ")");
    return conn_exec(ddl->run->conn[SIDE_TARGET], q, err) && fault("ddl.remembered", err);
}

/* every row of these tables in the next round; only then may the baseline forget that they changed */
bool ddl_carry_rows(Ddl *ddl, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Catalog *catalog;
    Table *tables;
    size_t n;

    if (ddl->n_anew == 0)
        return true;
    if (!catalog_load(tmp, ddl->from, run_selection(ddl->run, ddl->side[0]), &catalog, err) ||
        !catalog_tabs(tmp, ddl->from, catalog, NULL, &tables, &n, err))
        return false;
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < ddl->n_anew; k++)
            if (tables[i].oid == ddl->anew[k]) {
                log_info("schema: all rows of table %s are carried anew",
                         table_label(tmp, &tables[i]));
                if (!capture_everything(ddl->from, &tables[i], err) || !fault("ddl.marked", err))
                    return false;
            }
    return true;
}
