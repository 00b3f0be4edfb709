/* DDL during a run: see baseline.h. */
#include "migrate/baseline.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/str.h"
#include "sql/queries.h"

enum { SHOWN_CHANGES = 10, ROWS_PER_INSERT = 500 };

typedef struct Changes {
    const char **texts; /* "table public.t was added" */
    size_t n;
} Changes;

bool baseline_insert(Conn *target, Side side, const SchemaPrintsRow *prints, size_t n, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Sql *q = sql_new(tmp);

    sql_add(q, "INSERT INTO pgtandem.baseline (side, object, print) VALUES ");
    for (size_t i = 0; i < n; i++) {
        sql_trusted(q, i == 0 ? "(" : ", (");
        sql_literal(q, side_name(side));
        sql_add(q, ", ");
        sql_literal(q, prints[i].object);
        sql_add(q, ", ");
        sql_literal(q, prints[i].print);
        sql_add(q, ")");
    }
    return conn_exec(target, q, err);
}

/* SQL text of an array of objects */
static void add_objects(Sql *q, const char *const *objects, size_t n)
{
    AUTO_CTX(tmp, q);
    Str *array = str_new(tmp);

    str_char(array, '{');
    for (size_t i = 0; i < n; i++) {
        if (i > 0)
            str_char(array, ',');
        str_array_element(array, objects[i]);
    }
    str_char(array, '}');
    sql_literal(q, array->text);
    sql_add(q, "::text[]");
}

static bool is_listed(const int64_t *relids, size_t n, int64_t relid)
{
    for (size_t i = 0; i < n; i++)
        if (relids[i] == relid)
            return true;
    return false;
}

/* begins a row of an INSERT with many; those that are full are ended */
static void next_row(Sql *q, const char *into, size_t *n)
{
    if (*n % ROWS_PER_INSERT == 0) {
        if (*n > 0)
            sql_add(q, ";\n");
        sql_add(q, "INSERT INTO pgtandem.");
        sql_trusted(q, into);
        sql_add(q, " VALUES (");
    } else {
        sql_add(q, ", (");
    }
    ++*n;
}

static void end_rows(Sql *q, size_t n)
{
    if (n > 0)
        sql_add(q, ";\n");
}

/* tables and columns of one side, but not those listed, which keep what they had */
static bool write_columns(Conn *target, Side side, const Definitions *d, const int64_t *but,
                          size_t n_but, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Sql *q = sql_new(tmp);
    static const char *const tables[] = {"baseline_table", "baseline_column"};
    size_t n = 0;

    for (int t = 0; t < 2; t++) {
        sql_add(q, "DELETE FROM pgtandem.");
        sql_trusted(q, tables[t]);
        sql_add(q, " WHERE side = ");
        sql_literal(q, side_name(side));
        for (size_t i = 0; i < n_but; i++) {
            sql_add(q, " AND rel <> ");
            sql_number(q, but[i]);
        }
        sql_add(q, ";\n");
    }
    for (size_t i = 0; i < d->n_tables; i++) {
        const TableRelationsRow *t = &d->tables[i];

        if (is_listed(but, n_but, t->relid))
            continue;
        next_row(q, "baseline_table (side, rel, schema_name, table_name, files)", &n);
        sql_literal(q, side_name(side));
        sql_add(q, ", ");
        sql_number(q, t->relid);
        sql_add(q, ", ");
        sql_literal(q, t->schema_name);
        sql_add(q, ", ");
        sql_literal(q, t->table_name);
        sql_add(q, ", ");
        sql_literal(q, t->files);
        sql_add(q, ")");
    }
    end_rows(q, n);
    n = 0;
    for (size_t i = 0; i < d->n_columns; i++) {
        const ColumnDefinitionsRow *c = &d->columns[i];
        const char *fallback =
            c->fallback == NULL && c->special[0] != '\0' ? c->special : c->fallback;

        if (is_listed(but, n_but, c->relid))
            continue;
        next_row(q, "baseline_column (side, rel, number, mark, name, type, fallback)", &n);
        sql_literal(q, side_name(side));
        sql_add(q, ", ");
        sql_number(q, c->relid);
        sql_add(q, ", ");
        sql_number(q, c->number);
        sql_add(q, ", ");
        sql_number(q, c->mark);
        sql_add(q, ", ");
        sql_literal(q, c->name);
        sql_add(q, ", ");
        sql_literal(q, c->type);
        sql_add(q, ", ");
        if (fallback == NULL)
            sql_add(q, "NULL");
        else
            sql_literal(q, fallback);
        sql_add(q, ")");
    }
    end_rows(q, n);
    return conn_exec(target, q, err);
}

static int compare_prints(const void *a, const void *b)
{
    return strcmp(((const SchemaPrintsRow *)a)->object, ((const SchemaPrintsRow *)b)->object);
}

static int compare_names(const void *a, const void *b)
{
    const TableRelationsRow *x = *(TableRelationsRow *const *)a,
                            *y = *(TableRelationsRow *const *)b;
    int c = strcmp(x->table_name, y->table_name);

    return c != 0 ? c : strcmp(x->schema_name, y->schema_name);
}

/* an object without a relation is in a schema, or is one */
static bool is_selected(const Scope *scope, const SchemaPrintsRow *print)
{
    if (print->relation != NULL)
        return scope_has(scope, print->schema_name, print->relation);
    return scope_has_schema(scope, strcmp(print->schema_name, "-") == 0 ? print->name
                                                                        : print->schema_name);
}

static bool find_relid(const int64_t *relids, size_t n, int64_t relid)
{
    size_t first = 0, end = n;

    while (first < end) {
        size_t middle = first + (end - first) / 2;

        if (relids[middle] < relid)
            first = middle + 1;
        else
            end = middle;
    }
    return first < n && relids[first] == relid;
}

static void keep_selected(Definitions *d)
{
    AUTO_CTX(tmp, NULL);
    size_t n_prints = 0, n_tables = 0, n_columns = 0;
    int64_t *relids = mem_array(tmp, int64_t, d->n_tables + 1);

    if (d->scope == NULL)
        return;
    for (size_t i = 0; i < d->n_prints; i++)
        if (is_selected(d->scope, &d->prints[i]))
            d->prints[n_prints++] = d->prints[i];
    for (size_t i = 0; i < d->n_tables; i++)
        if (scope_has(d->scope, d->tables[i].schema_name, d->tables[i].table_name)) {
            relids[n_tables] = d->tables[i].relid;
            d->tables[n_tables++] = d->tables[i];
        }
    for (size_t i = 0; i < d->n_columns; i++)
        if (find_relid(relids, n_tables, d->columns[i].relid))
            d->columns[n_columns++] = d->columns[i];
    d->n_prints = n_prints;
    d->n_tables = n_tables;
    d->n_columns = n_columns;
}

static int compare_facts(const void *a, const void *b)
{
    return strcmp(((const DefinitionFactsRow *)a)->object, ((const DefinitionFactsRow *)b)->object);
}

static void add_facts(const void *ctx, Definitions *d)
{
    SchemaPrintsRow *all = mem_array(ctx, SchemaPrintsRow, d->n_prints + d->n_facts + 1);

    for (size_t i = 0; i < d->n_prints; i++)
        all[i] = d->prints[i];
    for (size_t i = 0; i < d->n_facts; i++) {
        const DefinitionFactsRow *f = &d->facts[i];

        all[d->n_prints + i] = (SchemaPrintsRow){.object = f->object,
                                                 .print = f->print,
                                                 .entry = BASELINE_FACT,
                                                 .schema_name = f->schema_name,
                                                 .name = f->of,
                                                 .definition = f->make,
                                                 .relation = f->relation};
    }
    d->prints = all;
    d->n_prints += d->n_facts;
    if (d->n_facts > 0)
        qsort(d->facts, d->n_facts, sizeof *d->facts, compare_facts);
}

bool baseline_read(const void *ctx, Conn *conn, const Selection *selection, Definitions *ret,
                   Err *err)
{
    if (!scope_read(ctx, conn, selection, &ret->scope, err) ||
        !q_schema_prints(ctx, conn, &ret->prints, &ret->n_prints, err) ||
        !q_definition_facts(ctx, conn, &ret->facts, &ret->n_facts, err) ||
        !q_table_relations(ctx, conn, &ret->tables, &ret->n_tables, err) ||
        !q_column_definitions(ctx, conn, &ret->columns, &ret->n_columns, err))
        return false;
    add_facts(ctx, ret);
    keep_selected(ret);
    if (ret->n_prints > 0)
        qsort(ret->prints, ret->n_prints, sizeof *ret->prints, compare_prints);
    ret->by_name = mem_array(ctx, TableRelationsRow *, ret->n_tables + 1);
    for (size_t i = 0; i < ret->n_tables; i++)
        ret->by_name[i] = &ret->tables[i];
    qsort(ret->by_name, ret->n_tables, sizeof *ret->by_name, compare_names);
    return true;
}

const TableRelationsRow *baseline_find_table(const Definitions *d, const char *schema,
                                             const char *name)
{
    TableRelationsRow key = {.schema_name = schema, .table_name = name}, *wanted = &key;
    TableRelationsRow **found =
        bsearch(&wanted, d->by_name, d->n_tables, sizeof *d->by_name, compare_names);

    return found == NULL ? NULL : *found;
}

const SchemaPrintsRow *baseline_find(const Definitions *d, const char *object)
{
    SchemaPrintsRow key = {.object = object};

    return d->n_prints == 0 ? NULL
                            : bsearch(&key, d->prints, d->n_prints, sizeof key, compare_prints);
}

const DefinitionFactsRow *baseline_find_fact(const Definitions *d, const char *object)
{
    DefinitionFactsRow key = {.object = object};

    return d->n_facts == 0 ? NULL : bsearch(&key, d->facts, d->n_facts, sizeof key, compare_facts);
}

bool baseline_write(Conn *target, Side side, const Definitions *d, const char *const *objects,
                    size_t n, const int64_t *but, size_t n_but, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Sql *q = sql_new(tmp);

    sql_add(q, "DELETE FROM pgtandem.baseline WHERE side = ");
    sql_literal(q, side_name(side));
    sql_add(q, " AND object = ANY (");
    add_objects(q, objects, n);
    sql_add(q, ")");
    if (!conn_exec(target, q, err))
        return false;
    for (size_t i = 0; i < n; i++) {
        const SchemaPrintsRow *print = baseline_find(d, objects[i]);

        if (print != NULL && !baseline_insert(target, side, print, 1, err))
            return false;
    }
    return write_columns(target, side, d, but, n_but, err);
}

bool baseline_store(Run *run, Side side, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Conn *target = run->conn[SIDE_TARGET];
    Definitions d;
    Sql *q = sql_new(tmp);

    if (!baseline_read(tmp, run->conn[side], run_selection(run, side), &d, err))
        return false;
    sql_add(q, "DELETE FROM pgtandem.baseline WHERE side = ");
    sql_literal(q, side_name(side));
    if (!conn_exec(target, q, err))
        return false;
    for (size_t i = 0; i < d.n_prints; i += ROWS_PER_INSERT)
        if (!baseline_insert(target, side, &d.prints[i],
                             d.n_prints - i < ROWS_PER_INSERT ? d.n_prints - i : ROWS_PER_INSERT,
                             err))
            return err_add(err, "while storing the schema's fingerprints");
    return write_columns(target, side, &d, NULL, 0, err);
}

static int compare_baseline(const void *a, const void *b)
{
    return strcmp(((const BaselineRow *)a)->object, ((const BaselineRow *)b)->object);
}

static bool find_changes(const void *ctx, Run *run, Side side, Changes *changes, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Definitions d;
    BaselineRow *then;
    size_t n_then, i = 0, k = 0;

    if (!q_baseline(tmp, run->conn[SIDE_TARGET], side_name(side), &then, &n_then, err) ||
        !baseline_read(tmp, run->conn[side], run_selection(run, side), &d, err))
        return false;
    if (n_then == 0)
        return true;
    const SchemaPrintsRow *now = d.prints;
    const size_t n_now = d.n_prints;
    qsort(then, n_then, sizeof *then, compare_baseline);
    while (i < n_now || k < n_then) {
        int c = i == n_now ? 1 : k == n_then ? -1 : strcmp(now[i].object, then[k].object);
        const char *text = NULL;

        if (c < 0)
            text = mem_printf(ctx, "%s was added on the %s", now[i].object, side_name(side));
        else if (c > 0)
            text = mem_printf(ctx, "%s is gone from the %s", then[k].object, side_name(side));
        else if (strcmp(now[i].print, then[k].print) != 0)
            text = mem_printf(ctx, "%s was changed on the %s", now[i].object, side_name(side));
        if (text != NULL)
            mem_push(ctx, changes->texts, changes->n, text);
        i += c <= 0 ? 1 : 0;
        k += c >= 0 ? 1 : 0;
    }
    return true;
}

bool baseline_refuse_changes(Run *run, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Changes changes = {0};

    if (!find_changes(tmp, run, SIDE_SOURCE, &changes, err) ||
        !find_changes(tmp, run, SIDE_TARGET, &changes, err))
        return false;
    for (size_t i = 0; i < changes.n && i < SHOWN_CHANGES; i++)
        log_warn("schema: %s", changes.texts[i]);
    if (run->n_unsafe > 0) {
        err_set(err, ERR_REFUSED,
                "%s on the %s cannot be carried over, so rows would be missing or wrong",
                run->unsafe[0], side_name(run_active(run)));
        return err_hint(err,
                        "Nothing was changed, and it cannot be accepted. Make the same on the %s "
                        "(warnings of \"pgtandem upgrade\" say what and why), or undo it; then run "
                        "the same command again.",
                        side_name(side_other(run_active(run))));
    }
    if (changes.n == 0 || config_accepts(run->config, "schema-changed"))
        return true;
    err_set(err, ERR_REFUSED,
            "the schema was changed since the copy was made (%zu change%s, e.g. %s)", changes.n,
            changes.n == 1 ? "" : "s", changes.texts[0]);
    return err_hint(
        err,
        "Nothing was changed. Make the same change on the other node and go on with \"--accept "
        "schema-changed\", or undo it.");
}
