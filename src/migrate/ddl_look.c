/* What is there and what was there before: see ddl_impl.h. */
#include "migrate/ddl_impl.h"

#include <stdlib.h>
#include <string.h>

static int compare_before(const void *a, const void *b)
{
    return strcmp(((const BaselineRow *)a)->object, ((const BaselineRow *)b)->object);
}

bool ddl_read_before(const void *ctx, Conn *target, Side side, Before *ret, Err *err)
{
    const char *name = side_name(side);

    if (!q_baseline(ctx, target, name, &ret->prints, &ret->n_prints, err) ||
        !q_old_tables(ctx, target, name, &ret->tables, &ret->n_tables, err) ||
        !q_old_columns(ctx, target, name, &ret->columns, &ret->n_columns, err))
        return false;
    qsort(ret->prints, ret->n_prints, sizeof *ret->prints, compare_before);
    return true;
}

/* what was read before is freed: with many tables it is much */
bool ddl_read_copy(Ddl *ddl, Err *err)
{
    talloc_free(ddl->copy_ctx);
    ddl->copy_ctx = mem_ctx(ddl);
    return baseline_read(ddl->copy_ctx, ddl->to, run_selection(ddl->run, ddl->side[1]), &ddl->copy,
                         err);
}

const BaselineRow *ddl_find_before(const Before *b, const char *object)
{
    BaselineRow key = {.object = object};

    return b->n_prints == 0 ? NULL
                            : bsearch(&key, b->prints, b->n_prints, sizeof key, compare_before);
}

static int compare_relids(const void *a, const void *b)
{
    int64_t x = ((const TableRelationsRow *)a)->relid, y = ((const TableRelationsRow *)b)->relid;

    return (x > y) - (x < y);
}

const TableRelationsRow *ddl_find_relid(const Definitions *d, int64_t relid)
{
    TableRelationsRow key = {.relid = relid};

    return d->n_tables == 0 ? NULL
                            : bsearch(&key, d->tables, d->n_tables, sizeof key, compare_relids);
}

static int compare_rels(const void *a, const void *b)
{
    int64_t x = ((const OldTablesRow *)a)->rel, y = ((const OldTablesRow *)b)->rel;

    return (x > y) - (x < y);
}

const OldTablesRow *ddl_old_table(const Before *b, int64_t relid)
{
    OldTablesRow key = {.rel = relid};

    return b->n_tables == 0 ? NULL
                            : bsearch(&key, b->tables, b->n_tables, sizeof key, compare_rels);
}

/* the first column of a table, in the order of tables */
static size_t first_old_column(const Before *b, int64_t relid)
{
    size_t first = 0, end = b->n_columns;

    while (first < end) {
        size_t middle = first + (end - first) / 2;

        if (b->columns[middle].rel < relid)
            first = middle + 1;
        else
            end = middle;
    }
    return first;
}

const OldColumnsRow *ddl_old_column(const Before *b, int64_t relid, int number)
{
    for (size_t i = first_old_column(b, relid); i < b->n_columns && b->columns[i].rel == relid; i++)
        if (b->columns[i].number == number)
            return &b->columns[i];
    return NULL;
}

const OldColumnsRow *ddl_old_name(const Before *b, int64_t relid, const char *name)
{
    for (size_t i = first_old_column(b, relid); i < b->n_columns && b->columns[i].rel == relid; i++)
        if (strcmp(b->columns[i].name, name) == 0)
            return &b->columns[i];
    return NULL;
}

Columns ddl_columns(const Definitions *d, int64_t relid)
{
    size_t first = 0, end = d->n_columns, n = 0;

    while (first < end) {
        size_t middle = first + (end - first) / 2;

        if (d->columns[middle].relid < relid)
            first = middle + 1;
        else
            end = middle;
    }
    while (first + n < d->n_columns && d->columns[first + n].relid == relid)
        n++;
    return (Columns){.columns = n == 0 ? NULL : &d->columns[first], .n = n};
}

const ColumnDefinitionsRow *ddl_find_column(const Definitions *d, int64_t relid, const char *name)
{
    Columns of = ddl_columns(d, relid);

    for (size_t i = 0; i < of.n; i++)
        if (strcmp(of.columns[i].name, name) == 0)
            return &of.columns[i];
    return NULL;
}

bool ddl_same_text(const char *a, const char *b)
{
    return (a == NULL) == (b == NULL) && (a == NULL || strcmp(a, b) == 0);
}

bool ddl_listed(const char *const *texts, size_t n, const char *text)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(texts[i], text) == 0)
            return true;
    return false;
}

/* changed on the node that takes writes since the baseline: it is new, gone, or another one */
bool ddl_has_changed(const Ddl *ddl, const char *object)
{
    const SchemaPrintsRow *now = baseline_find(&ddl->now, object);
    const BaselineRow *then = ddl_find_before(&ddl->before, object);

    return now == NULL || then == NULL ? now != NULL || then != NULL
                                       : strcmp(now->print, then->print) != 0;
}

bool ddl_is_remembered(const OldTablesRow *old)
{
    return old->files[0] == '\0';
}

const TableRelationsRow *ddl_root_of(const Ddl *ddl, const TableRelationsRow *table)
{
    while (table != NULL && table->bound != NULL)
        table = baseline_find_table(&ddl->now, table->parent_schema, table->parent_name);
    return table;
}

bool ddl_has_other_files(const Ddl *ddl, const TableRelationsRow *table, const OldTablesRow *old)
{
    if (strcmp(old->files, table->files) == 0)
        return false;
    if (strcmp(table->kind, "p") != 0 || ddl_is_remembered(old))
        return true;
    for (size_t i = 0; i < ddl->now.n_tables; i++) {
        const TableRelationsRow *t = &ddl->now.tables[i];
        const OldTablesRow *then = t->bound == NULL || strcmp(t->kind, "r") != 0
                                       ? NULL
                                       : ddl_old_table(&ddl->before, t->relid);

        if (then != NULL && strcmp(then->files, t->files) != 0 && ddl_root_of(ddl, t) == table)
            return true;
    }
    return false;
}

/* values may be others, though the definition says nothing of it: ALTER … TYPE … USING, a column made again */
static bool is_rewritten(const Ddl *ddl, const TableRelationsRow *table, const OldTablesRow *old)
{
    Columns of = ddl_columns(&ddl->now, table->relid);

    if (ddl_is_remembered(old))
        return true;
    if (!ddl_has_other_files(ddl, table, old))
        return false;
    for (size_t i = 0; i < of.n; i++) {
        const OldColumnsRow *c = ddl_old_column(&ddl->before, table->relid, of.columns[i].number);

        if (c == NULL || c->mark != of.columns[i].mark)
            return true;
    }
    return false;
}

bool ddl_table_has_changed(const Ddl *ddl, const TableRelationsRow *table)
{
    const OldTablesRow *old = ddl_old_table(&ddl->before, table->relid);

    return old == NULL || strcmp(old->table_name, table->table_name) != 0 ||
           strcmp(old->schema_name, table->schema_name) != 0 ||
           ddl_has_changed(ddl, table->object) || is_rewritten(ddl, table, old);
}

void ddl_carry_anew(Ddl *ddl, int64_t relid)
{
    const TableRelationsRow *table = ddl_find_relid(&ddl->now, relid);

    for (size_t i = 0; i < ddl->n_anew; i++)
        if (ddl->anew[i] == relid)
            return;
    mem_push(ddl, ddl->anew, ddl->n_anew, relid);
    /* rows of a partition are carried with those of its root */
    if (table != NULL && table->bound != NULL)
        table = baseline_find_table(&ddl->now, table->parent_schema, table->parent_name);
    if (table != NULL && table->relid != relid)
        ddl_carry_anew(ddl, table->relid);
}

void ddl_mark_unsettled(Ddl *ddl, int64_t relid)
{
    mem_push(ddl, ddl->unsettled, ddl->n_unsettled, relid);
}
