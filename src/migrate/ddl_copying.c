/*
 * Changes of definitions while the copy is being made: see ddl_impl.h.
 *
 * When the copy is complete all definitions are compared anyway, so only that is carried here without which it would not
 * become complete:
 *
 *     a table that is gone           its number goes, and what was loaded of it does not count
 *     a partition that came          made on the copy and captured: its rows come with the rounds
 *     a partition that is gone       its pieces count as loaded. That of the copy stays for as long, as indexes and
 *                                    constraints of it are still to be built there
 *     one made again under its name  both
 *     a column or a label that came  the same on the copy
 *
 * The baseline learns only of what would otherwise be carried anew as a whole.
 */
#include "migrate/ddl_impl.h"

#include <string.h>

#include "base/fault.h"
#include "base/log.h"
#include "base/str.h"
#include "migrate/ddl.h"
#include "migrate/items.h"
#include "migrate/steps.h"
#include "pg/lock.h"
#include "schema/catalog.h"

static bool is_new_partition(const Ddl *ddl, const TableRelationsRow *table)
{
    return table != NULL && table->bound != NULL &&
           ddl_old_table(&ddl->before, table->relid) == NULL;
}

static const TableRelationsRow *copy_of(const Ddl *ddl, const TableRelationsRow *table)
{
    return baseline_find_table(&ddl->copy, table->schema_name, table->table_name);
}

/* it is a partition on the copy, too */
static bool is_attached(const Ddl *ddl, const TableRelationsRow *table)
{
    const TableRelationsRow *copy = copy_of(ddl, table);

    return copy != NULL && copy->bound != NULL;
}

/* the indexes that partitioned tables have are on the copy, complete */
static bool has_indexes(const Run *run)
{
    return strcmp(run->phase, PHASE_INDEXED) == 0 || strcmp(run->phase, PHASE_CONSISTENT) == 0 ||
           strcmp(run->phase, PHASE_COMPLETE) == 0;
}

static const TableRelationsRow *table_of(const Ddl *ddl, const SchemaPrintsRow *now)
{
    return now->relation == NULL ? NULL
                                 : baseline_find_table(&ddl->now, now->schema_name, now->relation);
}

bool ddl_wants_while_copying(const Ddl *ddl, const SchemaPrintsRow *now)
{
    static const char *const needed[] = {"SCHEMA", "TYPE", "DOMAIN", "SEQUENCE"};
    static const char *const of_partition[] = {"TABLE", "INDEX", "CONSTRAINT"};

    return ddl_listed(needed, sizeof needed / sizeof *needed, now->entry) ||
           (ddl_listed(of_partition, sizeof of_partition / sizeof *of_partition, now->entry) &&
            is_new_partition(ddl, table_of(ddl, now)));
}

/* columns came to a table, and nothing else happened to those that it had */
static bool gained_columns(const Ddl *ddl, const TableRelationsRow *table,
                           const TableRelationsRow *copy)
{
    Columns now = ddl_columns(&ddl->now, table->relid);
    size_t kept = 0, had = 0;
    bool gained = false;

    if (ddl_old_table(&ddl->before, table->relid) == NULL || ddl_has_images(ddl, table))
        return false;
    for (size_t i = 0; i < now.n; i++) {
        const ColumnDefinitionsRow *c = &now.columns[i];
        const OldColumnsRow *old = ddl_old_column(&ddl->before, table->relid, c->number);

        if (old == NULL)
            gained = gained || ddl_find_column(&ddl->copy, copy->relid, c->name) == NULL;
        else if (strcmp(old->name, c->name) == 0 && strcmp(old->type, c->type) == 0)
            kept++;
    }
    for (size_t i = 0; gained && i < ddl->before.n_columns; i++)
        had += ddl->before.columns[i].rel == table->relid ? 1 : 0;
    return gained && kept == had;
}

/* the pieces of one relation count as loaded; how many there are still tells whether rows may come twice */
static void add_skip(Sql *q, int tab, const char *schema, const char *name)
{
    sql_add(q, "UPDATE pgtandem.chunk SET done = true, kind = 'whole', bytes = 0 WHERE tab = ");
    sql_number(q, tab);
    sql_add(q, " AND rel_schema = ");
    sql_literal(q, schema);
    sql_add(q, " AND rel_name = ");
    sql_literal(q, name);
    sql_add(q, " AND NOT (done AND kind = 'whole' AND bytes = 0)");
}

/*
 * Partitions that no trigger knows yet: all their keys are recorded with the triggers, so what of them, or of one that
 * had their name, is on the copy goes before.
 */
static bool empty_new(Ddl *ddl, Err *err)
{
    AUTO_CTX(tmp, NULL);
    IncompleteTabsRow *rows;
    size_t n;

    if (!q_incomplete_tabs(tmp, ddl->from, NULL, &rows, &n, err))
        return false;
    for (size_t i = 0; i < n; i++) {
        const TableRelationsRow *t = ddl_find_relid(&ddl->now, rows[i].rel);
        Sql *q = sql_new(tmp);

        if (!rows[i].is_new || t == NULL || strcmp(t->kind, "r") != 0)
            continue;
        sql_trusted(q, ddl_empty_statement(tmp, t));
        sql_add(q, ";\n");
        add_skip(q, rows[i].tab, t->schema_name, t->table_name);
        ddl_add_work(ddl, t->object, q->text->text, true);
    }
    return true;
}

static const OldTablesRow *old_name(const Ddl *ddl, const char *schema, const char *name)
{
    for (size_t i = 0; i < ddl->before.n_tables; i++)
        if (strcmp(ddl->before.tables[i].table_name, name) == 0 &&
            strcmp(ddl->before.tables[i].schema_name, schema) == 0)
            return &ddl->before.tables[i];
    return NULL;
}

/* pieces of partitions that are gone, or partitions no more: one with another name is there */
static bool skip_gone(Ddl *ddl, bool *ret_any, Err *err)
{
    AUTO_CTX(tmp, NULL);
    ChunksRow *chunks;
    size_t n;

    if (!q_chunks(tmp, ddl->to, 0, 0, &chunks, &n, err))
        return false;
    for (size_t i = 0; i < n; i++) {
        const ChunksRow *c = &chunks[i];
        const OldTablesRow *old;
        const TableRelationsRow *now, *root;
        const TabsRow *tab = NULL;
        Sql *q = sql_new(tmp);

        /* several pieces of one relation */
        if (i > 0 && chunks[i - 1].tab == c->tab &&
            strcmp(chunks[i - 1].rel_name, c->rel_name) == 0 &&
            strcmp(chunks[i - 1].rel_schema, c->rel_schema) == 0)
            continue;
        for (size_t t = 0; t < ddl->n_tabs; t++)
            if (ddl->tabs[t].id == c->tab && ddl->tabs[t].rel != 0)
                tab = &ddl->tabs[t];
        old = old_name(ddl, c->rel_schema, c->rel_name);
        if (tab == NULL || old == NULL || old->rel == tab->rel ||
            ddl_find_relid(&ddl->now, tab->rel) == NULL)
            continue;
        now = ddl_find_relid(&ddl->now, old->rel);
        root = ddl_root_of(ddl, now);
        if (root != NULL && root->relid == tab->rel)
            continue;
        add_skip(q, c->tab, c->rel_schema, c->rel_name);
        if (!conn_exec(ddl->to, q, err))
            return false;
        if (conn_affected(ddl->to) > 0) {
            log_info("schema: %s.%s is no partition of table %s.%s any more: it is not copied",
                     c->rel_schema, c->rel_name, tab->schema_name, tab->table_name);
            *ret_any = true;
        }
    }
    return true;
}

/* what was loaded of tables that are gone: their indexes are built, but nothing may be in the way of them */
static bool forget_gone(Ddl *ddl, Err *err)
{
    for (size_t i = 0; i < ddl->n_changes; i++) {
        AUTO_CTX(tmp, NULL);
        const TabsRow *tab = NULL;
        Sql *q = sql_new(tmp);

        for (size_t t = 0; t < ddl->n_tabs; t++)
            if (ddl->tabs[t].id == ddl->changes[i].id)
                tab = &ddl->tabs[t];
        if (tab == NULL)
            continue;
        log_info("schema: table %s.%s is gone from the source: it is not copied", tab->schema_name,
                 tab->table_name);
        sql_add(q, "BEGIN; DELETE FROM pgtandem.chunk WHERE tab = ");
        sql_number(q, tab->id);
        sql_add(q, "; DELETE FROM pgtandem.settled WHERE tab = ");
        sql_number(q, tab->id);
        sql_add(q, "; INSERT INTO pgtandem.settled (tab) VALUES (");
        sql_number(q, tab->id);
        sql_add(q, "); COMMIT");
        if (!conn_exec(ddl->to, q, err))
            return false;
        /* when others refer to it already its indexes are there, too */
        q = sql_new(tmp);
        sql_add(q, "TRUNCATE ");
        sql_name(q, tab->schema_name, tab->table_name);
        ddl_add_work(ddl, "", q->text->text, false);
    }
    return true;
}

static bool is_of(const DumpEntry *entry, const char *type, const char *schema, const char *name)
{
    return strcmp(entry->type, type) == 0 && strcmp(entry->schema, schema) == 0 &&
           strcmp(entry->name, name) == 0;
}

static bool store_item(Ddl *ddl, const DumpEntry *entry, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Sql *q = sql_new(tmp);
    Rows *rows;

    sql_add(q, "SELECT coalesce(max(no), 0)::int + 1, coalesce(bool_or(type = ");
    sql_literal(q, entry->type);
    sql_add(q, " AND schema_name = ");
    sql_literal(q, entry->schema);
    sql_add(q, " AND name = ");
    sql_literal(q, entry->name);
    sql_add(q, "), false) FROM pgtandem.post_item");
    return conn_query(tmp, ddl->to, q, &rows, err) &&
           (rows_bool(rows, 0, 1) ||
            item_store(ddl->to, (int)rows_i64(rows, 0, 0), entry, NULL, err));
}

/*
 * A partition got its indexes with it. Those of its table may still be to be built, without their parts, and are valid
 * only when every partition has given its own.
 */
static bool store_attachments(Ddl *ddl, Err *err)
{
    for (size_t i = 0; !has_indexes(ddl->run) && i < ddl->now.n_prints; i++) {
        const SchemaPrintsRow *print = &ddl->now.prints[i];
        const TableRelationsRow *table = table_of(ddl, print);
        const char *name = print->name;

        if (!is_new_partition(ddl, table) || !is_attached(ddl, table))
            continue;
        if (strcmp(print->entry, "CONSTRAINT") == 0)
            name += strlen(table->table_name) + strlen(" "); /* pg_dump says "table name" */
        else if (strcmp(print->entry, "INDEX") != 0)
            continue;
        for (size_t e = 0; e < ddl->n_post; e++)
            if (is_of(&ddl->post[e], "INDEX ATTACH", print->schema_name, name) &&
                !store_item(ddl, &ddl->post[e], err))
                return false;
    }
    return true;
}

static bool plan(Ddl *ddl, const char *snapshot, Err *err)
{
    bool any_new = false;

    if (!ddl_refuse_taken(ddl, err))
        return false;
    ddl_retire_gone(ddl);
    for (size_t i = 0; i < ddl->now.n_prints; i++)
        if (!ddl_follow_labels(ddl, &ddl->now.prints[i], err))
            return false;
    for (size_t i = 0; i < ddl->now.n_tables; i++) {
        const TableRelationsRow *t = &ddl->now.tables[i], *copy = copy_of(ddl, t);

        if (copy != NULL && t->bound == NULL && gained_columns(ddl, t, copy))
            ddl_alter_columns(ddl, t, copy);
        any_new = any_new || is_new_partition(ddl, t);
    }
    /* columns may have types and defaults that came with them */
    if ((any_new || ddl->n_work > 0) && !ddl_work_of_dump(ddl, snapshot, err))
        return false;
    for (size_t i = 0; i < ddl->now.n_tables; i++)
        if (is_new_partition(ddl, &ddl->now.tables[i]) && !is_attached(ddl, &ddl->now.tables[i]) &&
            !ddl_attach_partition(ddl, &ddl->now.tables[i], err))
            return false;
    return ddl_refuse_filtered(ddl, err) &&
           (!ddl->run->node[SIDE_SOURCE].present || empty_new(ddl, err));
}

static bool look(Ddl *ddl, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Conn *known = ddl->run->node[SIDE_SOURCE].present ? ddl->from : ddl->to;
    DefinitionsMarkRow *mark;
    Sql *q = sql_new(tmp);
    Rows *rows;
    size_t n;

    sql_add(q, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SELECT pg_export_snapshot()");
    if (!conn_query(tmp, ddl->from, q, &rows, err) ||
        !q_definitions_mark(tmp, ddl->from, &mark, &n, err))
        return false;
    talloc_free(ddl->run->ddl_mark);
    ddl->run->ddl_mark = mem_strdup(ddl->run, mark->mark);
    return baseline_read(ddl, ddl->from, ddl->run->selection, &ddl->now, err) &&
           ddl_refuse_border(ddl, err) &&
           ddl_read_before(ddl, ddl->to, SIDE_SOURCE, &ddl->before, err) &&
           catalog_load(ddl, ddl->from, ddl->run->selection, &ddl->catalog, err) &&
           q_tabs(ddl, known, &ddl->tabs, &ddl->n_tabs, err) && ddl_read_copy(ddl, err) &&
           plan(ddl, rows_text(rows, 0, 0), err);
}

static bool is_anew(const Ddl *ddl, int64_t relid)
{
    for (size_t i = 0; i < ddl->n_anew; i++)
        if (ddl->anew[i] == relid)
            return true;
    return false;
}

/* tables that would be carried anew otherwise, because they look like others than those of before */
static bool settle(Ddl *ddl, Err *err)
{
    int64_t *but = mem_array(ddl, int64_t, ddl->now.n_tables + ddl->before.n_tables + 1);
    size_t n_but = 0;

    for (size_t i = 0; i < ddl->now.n_tables; i++) {
        const TableRelationsRow *t = &ddl->now.tables[i];
        /* one that was captured with all others has none of the rows of before on the copy */
        bool exactly, changed = is_new_partition(ddl, t) &&
                                !step_is_before_capture(ddl->run->phase) &&
                                !ddl_has_changed(ddl, ddl_parent_object(ddl, t));

        for (size_t w = 0; w < ddl->n_work; w++)
            changed = changed || (ddl->work[w].done && strcmp(ddl->work[w].object, t->object) == 0);
        if (changed && !is_anew(ddl, t->relid) &&
            ddl_find_before(&ddl->before, t->object) != NULL &&
            ddl_columns_agree(ddl, t->schema_name, t->table_name, &exactly) && exactly)
            mem_push(ddl, ddl->settled, ddl->n_settled, t->object);
        else
            but[n_but++] = t->relid;
    }
    /* that others are gone is still to be seen */
    for (size_t i = 0; i < ddl->before.n_tables; i++) {
        const OldTablesRow *old = &ddl->before.tables[i];
        const TableRelationsRow *again =
            baseline_find_table(&ddl->now, old->schema_name, old->table_name);

        if (ddl_find_relid(&ddl->now, old->rel) == NULL &&
            (again == NULL || !ddl_listed(ddl->settled, ddl->n_settled, again->object)))
            but[n_but++] = old->rel;
    }
    if (ddl->n_settled == 0)
        return true;
    return baseline_write(ddl->to, SIDE_SOURCE, &ddl->now, ddl->settled, ddl->n_settled, but, n_but,
                          err);
}

static bool any_done(const Ddl *ddl)
{
    for (size_t i = 0; i < ddl->n_work; i++)
        if (ddl->work[i].done && ddl->work[i].object[0] != '\0')
            return true;
    return false;
}

static bool is_refused(const Ddl *ddl)
{
    for (size_t i = 0; i < ddl->n_work; i++)
        if (ddl->work[i].stops && !ddl->work[i].done)
            return true;
    return false;
}

static void tell(const Ddl *ddl)
{
    const bool refused = is_refused(ddl);

    for (size_t i = 0; i < ddl->n_work; i++) {
        const Work *work = &ddl->work[i];
        bool told = work->object[0] == '\0' || (refused && work->done);

        for (size_t k = 0; k < i && !told; k++)
            told =
                ddl->work[k].done == work->done && strcmp(ddl->work[k].object, work->object) == 0;
        if (told)
            continue;
        if (work->done)
            log_info("schema: %s was made or altered on the source, and is on the target",
                     work->object);
        else
            log_info("schema: %s waits until the copy is complete: %s", work->object,
                     work->refusal);
    }
}

/* what has no trigger yet gets them, on nodes where all others have them */
static bool capture_new(Ddl *ddl, Err *err)
{
    if (step_is_before_capture(ddl->run->phase) || ddl->n_work == 0)
        return true;
    return ddl_complete_captures(ddl, ddl->from, err) &&
           (strcmp(ddl->run->phase, PHASE_COMPLETE) != 0 ||
            ddl_complete_captures(ddl, ddl->to, err));
}

/* made, but the table that it belongs to has no room for it yet: later it comes as a whole */
static bool drop_loose(Ddl *ddl, Err *err)
{
    for (size_t i = 0; i < ddl->now.n_tables; i++) {
        AUTO_CTX(tmp, NULL);
        const TableRelationsRow *t = &ddl->now.tables[i];
        Sql *q = sql_new(tmp);

        /* of what was there under that name indexes may still be to be built */
        if (!is_new_partition(ddl, t) || copy_of(ddl, t) == NULL || is_attached(ddl, t) ||
            ddl_find_before(&ddl->before, t->object) != NULL)
            continue;
        sql_add(q, "DROP TABLE ");
        sql_name(q, t->schema_name, t->table_name);
        if (!lock_and_run(ddl->to, sql_new(tmp), q, t->object, err))
            return false;
    }
    return true;
}

static bool carry(Ddl *ddl, bool *ret_carried, Err *err)
{
    bool ok = look(ddl, err);

    conn_rollback(ddl->from);
    if (!ok || !ddl_remember_anew(ddl, err) || !ddl_claim_names(ddl, err))
        return false;
    *ret_carried = ddl->n_changes > 0;
    if (!forget_gone(ddl, err) || !fault("copying.forgotten", err) || !ddl_change_tabs(ddl, err) ||
        !skip_gone(ddl, ret_carried, err) || !ddl_do_work(ddl, err) ||
        !fault("copying.worked", err) || !ddl_read_copy(ddl, err) || !store_attachments(ddl, err) ||
        !fault("copying.stored", err))
        return false;
    /*
     * What is not captured yet is made on the copy, captured and carried when that is complete. Captured now, rows of a
     * partition that the copy lacks could come into another one there, and go with it.
     */
    tell(ddl);
    if (is_refused(ddl))
        return drop_loose(ddl, err);
    *ret_carried = *ret_carried || any_done(ddl);
    return capture_new(ddl, err) && settle(ddl, err);
}

bool ddl_carry_while_copying(Run *run, bool *ret_carried, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Ddl *ddl = mem_new(tmp, Ddl);

    *ret_carried = false;
    /* names that are others on the target are compared, not carried */
    if (!run->node[SIDE_TARGET].present || selection_renames(run->selection))
        return true;
    ddl->run = run;
    ddl->copying = true;
    ddl->side[0] = SIDE_SOURCE;
    ddl->side[1] = SIDE_TARGET;
    ddl->from = run->conn[SIDE_SOURCE];
    ddl->to = run->conn[SIDE_TARGET];
    if (!carry(ddl, ret_carried, err))
        return err_add(err, "while carrying changes of the schema");
    /* they know tables as they were */
    talloc_free(run->edge);
    run->edge = NULL;
    return true;
}
