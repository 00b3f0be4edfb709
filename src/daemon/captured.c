/* The captured tables of a database: see captured.h. */
#include "daemon/captured.h"

#include <string.h>

#include "base/fault.h"
#include "base/log.h"
#include "base/str.h"
#include "capture/capture.h"
#include "schema/catalog.h"
#include "sql/queries.h"

/* Numbers */

/* what is registered in the database */
typedef struct Register {
    TabsRow *tabs;
    size_t n;
    int last; /* the highest number that is used; 0: not known yet */
} Register;

static bool has_name(const TabsRow *tab, const Table *table)
{
    return strcmp(tab->table_name, table->name) == 0 &&
           strcmp(tab->schema_name, table->schema) == 0;
}

static const TabsRow *tab_of_relation(const Register *r, const Table *table)
{
    for (size_t i = 0; i < r->n; i++)
        if (r->tabs[i].rel == table->oid)
            return &r->tabs[i];
    return NULL;
}

static const TabsRow *tab_of_name(const Register *r, const Table *table)
{
    for (size_t i = 0; i < r->n; i++)
        if (has_name(&r->tabs[i], table))
            return &r->tabs[i];
    return NULL;
}

/* another table of the plan is the one that was captured under this number */
static bool is_taken(const Plan *plan, const TabsRow *tab)
{
    for (size_t i = 0; i < plan->n_tables; i++)
        if (tab->rel != 0 && plan->tables[i].src.oid == tab->rel)
            return true;
    return false;
}

/* the relation counts, not its name: two tables may have swapped theirs */
static const TabsRow *find_tab(const Register *r, const Plan *plan, const Table *table)
{
    const TabsRow *tab = tab_of_relation(r, table);

    if (tab != NULL)
        return tab;
    tab = tab_of_name(r, table);
    return tab == NULL || is_taken(plan, tab) ? NULL : tab;
}

static bool set_name(Conn *from, int id, const char *schema, const char *name, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Sql *q = sql_new(tmp);

    sql_add(q, "UPDATE pgtandem.tab SET schema_name = ");
    sql_text(q, schema);
    sql_add(q, ", table_name = ");
    sql_text(q, name);
    sql_add(q, " WHERE id = ");
    sql_i64(q, id);
    return conn_exec(from, q, err);
}

/* names that tables have now; those that had them before lose them first */
static bool register_names(Conn *from, const Register *r, const Plan *plan, Err *err)
{
    AUTO_CTX(tmp, NULL);

    for (size_t i = 0; i < plan->n_tables; i++) {
        const TabsRow *holder = tab_of_name(r, &plan->tables[i].src);

        if (holder != NULL && find_tab(r, plan, &plan->tables[i].src) != holder &&
            !set_name(from, holder->id, "", mem_printf(tmp, "%d", holder->id), err))
            return false;
    }
    for (size_t i = 0; i < plan->n_tables; i++) {
        const Table *table = &plan->tables[i].src;
        const TabsRow *tab = find_tab(r, plan, table);

        if (tab == NULL || has_name(tab, table))
            continue;
        log_info("table %s.%s in the %s is now called %s", tab->schema_name, tab->table_name,
                 conn_label(from), table_label(tmp, table));
        if (!set_name(from, tab->id, table->schema, table->name, err))
            return false;
    }
    return true;
}

/* its changes get a new number; who reads the table knows by the counter that some are missing */
static bool change_number(Conn *from, const TabsRow *tab, const Table *table, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Sql *q = sql_new(tmp);
    const char *old = mem_printf(tmp, "%d", tab->id), *new = mem_printf(tmp, "%d", table->id);

    if (!catalog_register_key(from, tab->id, table, err))
        return false;
    sql_add(q, "UPDATE pgtandem.tab SET captured = false, captures = captures + 1 WHERE id = ");
    sql_trusted(q, new);
    sql_add(q, "; DELETE FROM pgtandem.tab_rel WHERE tab = ");
    sql_trusted(q, old);
    sql_add(q, "; UPDATE pgtandem.tab_edge SET tab = ");
    sql_trusted(q, new);
    sql_add(q, " WHERE tab = ");
    sql_trusted(q, old);
    return conn_exec(from, q, err);
}

/*
 * No number is used twice as long as the queue has changes of it: they would count as those of another
 * table. The queue may be long, so it is read only for new tables.
 */
static bool next_number(Conn *from, Register *r, int *ret_id, Err *err)
{
    AUTO_CTX(tmp, NULL);
    LastTabRow *row;
    size_t n;

    if (r->last == 0) {
        if (!q_last_tab(tmp, from, &row, &n, err))
            return false;
        r->last = row->last;
    }
    *ret_id = ++r->last;
    return true;
}

static bool register_table(Conn *from, Register *r, const TabsRow *tab, Table *table, Err *err)
{
    AUTO_CTX(tmp, NULL);

    if (tab == NULL)
        return next_number(from, r, &table->id, err) && catalog_register(from, table, 1, err);
    table->id = tab->id;
    if (tab->key_columns != NULL && tab->key_is_int == table->key_is_int &&
        strcmp(tab->key_print, table_key_print(tmp, table)) == 0)
        return strcmp(tab->key_columns, table_key_text(tmp, table)) == 0 ||
               (catalog_register_key(from, tab->id, table, err) &&
                capture_names_again(from, table, err));
    log_warn("the key of table %s in the %s is another one now: the table is copied anew",
             table_label(tmp, table), conn_label(from));
    return next_number(from, r, &table->id, err) && change_number(from, tab, table, err);
}

/* the edge reads these tables, and no others; ids: an array */
static bool note_readers(Conn *conn, const char *edge, const char *ids, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Sql *q = sql_new(tmp);

    sql_add(q, "DELETE FROM pgtandem.tab_edge WHERE edge = ");
    sql_literal(q, edge);
    sql_add(q, " AND tab <> ALL (");
    sql_literal(q, ids);
    sql_add(q, "::int[]); INSERT INTO pgtandem.tab_edge (edge, tab) SELECT v.e, v.t FROM (SELECT ");
    sql_literal(q, edge);
    sql_add(q, "::text, unnest(");
    sql_literal(q, ids);
    sql_add(
        q,
        "::int[])) v(e, t) WHERE NOT EXISTS (SELECT 1 FROM pgtandem.tab_edge x WHERE x.edge = v.e "
        "AND x.tab = v.t)");
    return conn_exec(conn, q, err);
}

bool captured_register(Conn *from, const EdgeSpec *edge, Plan *plan, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Register r = {0};
    ForgetDetachedRow *forgotten;
    size_t n;
    Str *ids = str_new(tmp);

    if (!q_forget_detached(tmp, from, edge->name, &forgotten, &n, err) ||
        !q_tabs(tmp, from, &r.tabs, &r.n, err) || !register_names(from, &r, plan, err))
        return false;
    str_char(ids, '{');
    for (size_t i = 0; i < plan->n_tables; i++) {
        PlannedTable *t = &plan->tables[i];
        const TabsRow *tab = find_tab(&r, plan, &t->src);

        if (t->problem != NULL)
            t->src.id = tab == NULL ? 0 : tab->id; /* it may go on soon */
        else if (!register_table(from, &r, tab, &t->src, err))
            return false;
        t->dst.id = t->src.id;
        if (t->src.id > 0)
            str_fmt(ids, "%s%d", ids->len > 1 ? "," : "", t->src.id);
    }
    str_char(ids, '}');
    return note_readers(from, edge->name, ids->text, err);
}

/* Triggers */

bool captured_remove_unused(Conn *conn, Err *err)
{
    AUTO_CTX(tmp, NULL);
    UnusedTabsRow *tabs;
    size_t n;

    if (!q_unused_tabs(tmp, conn, &tabs, &n, err))
        return false;
    for (size_t i = 0; i < n; i++)
        if (!capture_remove_table(conn, tabs[i].id, tabs[i].relid, err))
            return false;
    return true;
}

/* functions of numbers that are no table's any more */
static bool drop_orphans(Conn *from, Err *err)
{
    AUTO_CTX(tmp, NULL);
    OrphanFunctionsRow *functions;
    size_t n;
    Sql *q = sql_new(tmp);

    if (!q_orphan_functions(tmp, from, &functions, &n, err))
        return false;
    for (size_t i = 0; i < n; i++) {
        sql_add(q, "DROP FUNCTION ");
        sql_name(q, "pgtandem", functions[i].name);
        sql_add(q, "();\n");
    }
    return n == 0 || conn_exec(from, q, err);
}

/* some relations of a captured table have not all triggers */
static bool complete_table(Conn *from, PlannedTable *t, const IncompleteTabsRow *rels, size_t n,
                           Err *err)
{
    AUTO_CTX(tmp, NULL);
    int64_t *come = mem_array(tmp, int64_t, n + 1);
    size_t n_come = 0;

    for (size_t i = 0; i < n; i++)
        if (rels[i].tab == t->src.id && rels[i].is_new)
            come[n_come++] = rels[i].rel;
    for (size_t i = 0; i < n; i++)
        if (rels[i].tab == t->src.id && !rels[i].is_new) {
            log_warn("table %s in the %s lacks triggers of ours (was it made anew, or were they "
                     "switched off?): they are put on again, and it is copied anew",
                     table_label(tmp, &t->src), conn_label(from));
            t->captures++;
            return capture_again(from, &t->src, err);
        }
    if (n_come == 0)
        return true;
    log_info("table %s in the %s has %zu new partition%s", table_label(tmp, &t->src),
             conn_label(from), n_come, n_come == 1 ? "" : "s");
    return capture_partitions(from, &t->src, come, n_come, err);
}

static const TabsRow *tab_of_number(const Register *r, int id)
{
    for (size_t i = 0; i < r->n; i++)
        if (r->tabs[i].id == id)
            return &r->tabs[i];
    return NULL;
}

bool captured_install(Conn *from, const EdgeSpec *edge, Plan *plan, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Register r = {0};
    IncompleteTabsRow *incomplete;
    size_t n_incomplete;
    bool again = false;

    if (!q_tabs(tmp, from, &r.tabs, &r.n, err) ||
        !q_incomplete_tabs(tmp, from, edge->name, &incomplete, &n_incomplete, err))
        return false;
    for (size_t i = 0; i < plan->n_tables; i++) {
        PlannedTable *t = &plan->tables[i];
        const TabsRow *tab = tab_of_number(&r, t->src.id);

        if (t->problem != NULL || tab == NULL)
            continue;
        t->captures = tab->captures;
        if (!tab->captured) {
            again = again || tab->captures > 0;
            if (!capture_table(from, &t->src, err) || !fault("service.captured", err))
                return false;
        } else if (!complete_table(from, t, incomplete, n_incomplete, err)) {
            return false;
        }
    }
    return (!again || drop_orphans(from, err)) && captured_remove_unused(from, err);
}

bool captured_is_incomplete(Conn *from, const char *edge, const Plan *plan, bool *ret_incomplete,
                            Err *err)
{
    AUTO_CTX(tmp, NULL);
    IncompleteTabsRow *rows;
    EdgeTabsRow *tabs;
    size_t n, n_tabs;

    if (!q_incomplete_tabs(tmp, from, edge, &rows, &n, err) ||
        !q_edge_tabs(tmp, from, edge, &tabs, &n_tabs, err))
        return false;
    *ret_incomplete = false;
    /* another edge's worker may have found and mended it: changes are missing here all the same */
    for (size_t i = 0; i < n_tabs; i++)
        for (size_t t = 0; t < plan->n_tables; t++)
            if (plan->tables[t].src.id == tabs[i].id && plan->tables[t].problem == NULL &&
                plan->tables[t].captures != tabs[i].captures)
                *ret_incomplete = true;
    for (size_t i = 0; i < n; i++)
        for (size_t t = 0; t < plan->n_tables; t++)
            if (plan->tables[t].src.id == rows[i].tab && plan->tables[t].problem == NULL)
                *ret_incomplete = true;
    return true;
}
