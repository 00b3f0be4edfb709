/* Statements for the copy that follow from the catalogs, and running them: see ddl_impl.h. */
#include "migrate/ddl_impl.h"

#include <string.h>

#include "base/fault.h"
#include "base/str.h"
#include "migrate/edge.h"
#include "pg/lock.h"
#include "pg/sqlstate.h"

void ddl_add_work(Ddl *ddl, const char *object, const char *statement, bool stops)
{
    Work work = {.object = object, .statement = mem_strdup(ddl, statement), .stops = stops};

    mem_push(ddl, ddl->work, ddl->n_work, work);
}

void ddl_work_destroys(Ddl *ddl)
{
    ddl->work[ddl->n_work - 1].destroys = true;
}

void ddl_add_otherwise(Ddl *ddl, const char *statement)
{
    ddl->work[ddl->n_work - 1].otherwise = mem_strdup(ddl, statement);
}

/* behind a name as quote_ident() writes it, or NULL when there is none */
static const char *behind_ident(const char *text)
{
    if (*text != '"')
        return *text == '\0' ? NULL : text + strcspn(text, " .");
    for (text++; *text != '\0'; text++) {
        if (*text == '"' && text[1] != '"')
            return text + 1;
        if (*text == '"')
            text++;
    }
    return NULL;
}

/* DROP … of an object by its name in schema_prints; NULL: nothing to do, others do it */
const char *ddl_drop_statement(const void *ctx, const Caps *caps, const char *object)
{
    static const char *const direct[] = {
        "view ",   "materialized view ", "foreign table ", "type ",
        "table ",  "sequence ",          "index ",         "domain ",
        "schema ", "collation ",         "cast ",          "operator ",
        "server ", "conversion ",        "text search ",   "foreign data wrapper "};
    static const char *const of_table[] = {"constraint ", "trigger ", "rule "};

    for (size_t i = 0; i < sizeof direct / sizeof *direct; i++)
        if (str_starts(object, direct[i]))
            return mem_printf(ctx, "DROP %s", object);
    if (str_starts(object, "function "))
        return mem_printf(ctx, "DROP %s %s", caps->has_procedures ? "ROUTINE" : "FUNCTION",
                          object + strlen("function "));
    for (size_t i = 0; i < sizeof of_table / sizeof *of_table; i++) {
        const char *name, *end;

        if (!str_starts(object, of_table[i]))
            continue;
        name = object + strlen(of_table[i]);
        end = behind_ident(name);
        if (end == NULL || !str_starts(end, " of "))
            return NULL;
        const char *table = end + strlen(" of ");
        int len = (int)(end - name);
        return i == 0 ? mem_printf(ctx, "ALTER TABLE %s DROP CONSTRAINT %.*s", table, len, name)
                      : mem_printf(ctx, "DROP %s%.*s ON %s", of_table[i], len, name, table);
    }
    return NULL;
}

/* COLLATE …, or nothing */
static const char *collation_of(const void *ctx, const ColumnDefinitionsRow *column)
{
    return column->coll == NULL ? "" : mem_printf(ctx, " COLLATE %s", column->coll);
}

/* ALTER TABLE "schema"."table" */
Sql *ddl_alter_table(const void *ctx, const char *schema, const char *name)
{
    Sql *q = sql_new(ctx);

    sql_add(q, "ALTER TABLE ");
    sql_name(q, schema, name);
    sql_add(q, " ");
    return q;
}

static Sql *alter_column(const void *ctx, const TableRelationsRow *table, const char *column)
{
    Sql *q = ddl_alter_table(ctx, table->schema_name, table->table_name);

    sql_add(q, "ALTER COLUMN ");
    sql_ident(q, column);
    return q;
}

bool ddl_is_generated(const ColumnDefinitionsRow *column)
{
    return column->special[0] == 's' || column->special[0] == 'v';
}

/*
 * What rows that are older than the column have in it. A partitioned table itself has no rows: its partitions tell.
 * Those that were made later have none such; *ret_mixed: others do not agree.
 */
static void find_missing(const Ddl *ddl, const TableRelationsRow *table,
                         const ColumnDefinitionsRow *c, bool *ret_has, const char **ret_missing,
                         bool *ret_mixed)
{
    *ret_has = c->has_missing;
    *ret_missing = c->missing;
    *ret_mixed = false;
    if (strcmp(table->kind, "p") != 0)
        return;
    for (size_t i = 0; i < ddl->now.n_tables; i++) {
        const TableRelationsRow *leaf = &ddl->now.tables[i];
        const ColumnDefinitionsRow *of;

        if (leaf->bound == NULL || strcmp(leaf->kind, "r") != 0 ||
            ddl_root_of(ddl, leaf) != table ||
            (of = ddl_find_column(&ddl->now, leaf->relid, c->name)) == NULL || !of->has_missing)
            continue;
        *ret_mixed = *ret_mixed || (*ret_has && !ddl_same_text(*ret_missing, of->missing));
        *ret_has = true;
        *ret_missing = of->missing;
    }
}

/* ADD COLUMN …, so that older rows have the value that they have on the other node; whether by a default */
static bool add_definition(Ddl *ddl, Sql *q, const TableRelationsRow *table,
                           const ColumnDefinitionsRow *c)
{
    AUTO_CTX(tmp, NULL);
    bool has, mixed;
    const char *missing;

    find_missing(ddl, table, c, &has, &missing, &mixed);

    sql_add(q, "ADD COLUMN ");
    sql_ident(q, c->name);
    sql_add(q, " ");
    sql_trusted(q, c->type);
    sql_trusted(q, collation_of(tmp, c));
    if (ddl_is_generated(c)) {
        sql_add(q, " GENERATED ALWAYS AS (");
        sql_trusted(q, c->special + 1);
        if (c->special[0] == 'v')
            sql_add(q, ") VIRTUAL");
        else
            sql_add(q, ") STORED");
    } else if (has && missing != NULL && !mixed) {
        /* rows that are older than the column have this value there, too */
        sql_add(q, " DEFAULT ");
        sql_literal(q, missing);
        return true;
    } else if (has || c->special[0] != '\0') {
        /* of an identity column pg_dump's entry of the sequence says ADD GENERATED … AS IDENTITY */
        ddl_carry_anew(ddl, table->relid);
    }
    return false;
}

static void add_default(Ddl *ddl, const TableRelationsRow *table, const ColumnDefinitionsRow *c)
{
    AUTO_CTX(tmp, NULL);
    Sql *q = alter_column(tmp, table, c->name);

    if (c->fallback == NULL)
        sql_add(q, " DROP DEFAULT");
    else
        sql_add(q, " SET DEFAULT ");
    sql_trusted(q, c->fallback == NULL ? "" : c->fallback);
    ddl_add_work(ddl, table->object, q->text->text, false);
}

/* a column that the copy's table does not have */
static void add_column(Ddl *ddl, const TableRelationsRow *table, const ColumnDefinitionsRow *c)
{
    AUTO_CTX(tmp, NULL);
    Sql *q = ddl_alter_table(tmp, table->schema_name, table->table_name);

    const bool by_default = add_definition(ddl, q, table, c);

    ddl_add_work(ddl, table->object, q->text->text, true);
    if (!ddl_is_generated(c) && (c->fallback != NULL || by_default))
        add_default(ddl, table, c);
}

/* a column that is generated on one of the nodes, and otherwise than on the other */
static void alter_generated(Ddl *ddl, const TableRelationsRow *table, const ColumnDefinitionsRow *c)
{
    AUTO_CTX(tmp, NULL);
    Sql *again = ddl_alter_table(tmp, table->schema_name, table->table_name);
    Sql *q = alter_column(tmp, table, c->name);

    sql_add(again, "DROP COLUMN ");
    sql_ident(again, c->name);
    sql_add(again, ", ");
    (void)add_definition(ddl, again, table, c);
    if (ddl_is_generated(c)) {
        ddl_add_work(ddl, table->object, again->text->text, true);
        ddl_work_destroys(ddl);
        return;
    }
    sql_add(q, " DROP EXPRESSION");
    ddl_add_work(ddl, table->object, q->text->text, true);
    ddl_work_destroys(ddl); /* where it has to be made otherwise */
    ddl_add_otherwise(ddl, again->text->text);
    ddl_carry_anew(ddl, table->relid);
    if (c->fallback != NULL)
        add_default(ddl, table, c);
}

/* an identity column that is none any more, or of the other kind; one that came has an entry of pg_dump */
static void alter_identity(Ddl *ddl, const TableRelationsRow *table, const ColumnDefinitionsRow *c,
                           const ColumnDefinitionsRow *on_copy)
{
    AUTO_CTX(tmp, NULL);
    Sql *q = alter_column(tmp, table, c->name);

    if (on_copy->special[0] == '\0' || strcmp(c->special, on_copy->special) == 0)
        return;
    if (c->special[0] == '\0')
        sql_add(q, " DROP IDENTITY");
    else if (c->special[0] == 'a')
        sql_add(q, " SET GENERATED ALWAYS");
    else
        sql_add(q, " SET GENERATED BY DEFAULT");
    ddl_add_work(ddl, table->object, q->text->text, false);
}

/* how a column that is on both nodes differs */
static void alter_existing(Ddl *ddl, const TableRelationsRow *table, const ColumnDefinitionsRow *c,
                           const ColumnDefinitionsRow *on_copy)
{
    AUTO_CTX(tmp, NULL);
    const OldColumnsRow *old = ddl_old_column(&ddl->before, table->relid, c->number);
    Sql *q;

    /* another column of that name has other values */
    if (old == NULL || strcmp(old->type, c->type) != 0)
        ddl_carry_anew(ddl, table->relid);
    /* the text of an expression may be another one on another server version */
    if (ddl_is_generated(c) != ddl_is_generated(on_copy) ||
        (ddl_is_generated(c) && strcmp(c->special, on_copy->special) != 0 &&
         (old == NULL || !ddl_same_text(old->fallback, c->special)))) {
        alter_generated(ddl, table, c);
        return;
    }
    if (strcmp(c->type, on_copy->type) != 0 || !ddl_same_text(c->coll, on_copy->coll)) {
        q = ddl_alter_table(tmp, table->schema_name, table->table_name);
        if (on_copy->fallback != NULL && !ddl_is_generated(on_copy)) {
            /* an old default may not fit the new type */
            sql_add(q, "ALTER COLUMN ");
            sql_ident(q, c->name);
            sql_add(q, " DROP DEFAULT, ");
        }
        sql_add(q, "ALTER COLUMN ");
        sql_ident(q, c->name);
        sql_add(q, " TYPE ");
        sql_trusted(q, c->type);
        sql_trusted(q, collation_of(tmp, c));
        /* the values come with the rows */
        sql_add(q, " USING ");
        sql_ident(q, c->name);
        sql_add(q, "::text::");
        sql_trusted(q, c->type);
        if (c->fallback != NULL && !ddl_is_generated(c)) {
            sql_add(q, ", ALTER COLUMN ");
            sql_ident(q, c->name);
            sql_add(q, " SET DEFAULT ");
            sql_trusted(q, c->fallback);
        }
        ddl_add_work(ddl, table->object, q->text->text, true);
        ddl_work_destroys(ddl);
        ddl_carry_anew(ddl, table->relid);
    } else if (!ddl_is_generated(c) && !ddl_same_text(c->fallback, on_copy->fallback) &&
               (old == NULL || !ddl_same_text(old->fallback, c->fallback) || c->fallback == NULL ||
                on_copy->fallback == NULL)) {
        add_default(ddl, table, c);
    }
    alter_identity(ddl, table, c, on_copy);
}

/* once the rows are carried; until then it is refused and tried again */
static void alter_null(Ddl *ddl, const TableRelationsRow *table, const ColumnDefinitionsRow *c,
                       bool is_not_null)
{
    AUTO_CTX(tmp, NULL);
    Sql *q = alter_column(tmp, table, c->name);

    if (c->not_null == is_not_null || ddl_is_generated(c))
        return;
    if (c->not_null)
        sql_add(q, " SET NOT NULL");
    else
        sql_add(q, " DROP NOT NULL");
    ddl_add_work(ddl, table->object, q->text->text, false);
}

/* columns of a table that changed on the node that takes writes */
void ddl_alter_columns(Ddl *ddl, const TableRelationsRow *table, const TableRelationsRow *copy)
{
    AUTO_CTX(tmp, NULL);
    const char *object = table->object;
    const OldTablesRow *old_table = ddl_old_table(&ddl->before, table->relid);
    Columns now = ddl_columns(&ddl->now, table->relid),
            there = ddl_columns(&ddl->copy, copy->relid);
    const char **renamed = NULL;
    size_t n_renamed = 0;

    if (strcmp(table->persistence, copy->persistence) != 0) {
        Sql *q = ddl_alter_table(tmp, table->schema_name, table->table_name);

        if (strcmp(table->persistence, "u") == 0)
            sql_add(q, "SET UNLOGGED");
        else
            sql_add(q, "SET LOGGED");
        ddl_add_work(ddl, object, q->text->text, false);
    }

    if (old_table == NULL || ddl_has_other_files(ddl, table, old_table))
        ddl_carry_anew(ddl, table->relid);
    for (size_t i = 0; i < now.n; i++) {
        const ColumnDefinitionsRow *c = &now.columns[i], *on_copy;
        const OldColumnsRow *old;

        on_copy = ddl_find_column(&ddl->copy, copy->relid, c->name);
        old = ddl_old_column(&ddl->before, table->relid, c->number);
        if (on_copy == NULL && old != NULL && strcmp(old->name, c->name) != 0 &&
            ddl_find_column(&ddl->now, table->relid, old->name) == NULL) {
            on_copy = ddl_find_column(&ddl->copy, copy->relid, old->name);
            if (on_copy != NULL) {
                Sql *q = ddl_alter_table(tmp, table->schema_name, table->table_name);

                sql_add(q, "RENAME COLUMN ");
                sql_ident(q, old->name);
                sql_add(q, " TO ");
                sql_ident(q, c->name);
                ddl_add_work(ddl, object, q->text->text, true);
                mem_push(tmp, renamed, n_renamed, old->name);
            }
        } else if (old != NULL && strcmp(old->name, c->name) != 0) {
            /* names that went round: whose values these are is found out by carrying them */
            ddl_carry_anew(ddl, table->relid);
        }
        if (on_copy == NULL)
            add_column(ddl, table, c);
        else
            alter_existing(ddl, table, c, on_copy);
        alter_null(ddl, table, c, on_copy != NULL && on_copy->not_null);
    }
    for (size_t i = 0; i < there.n; i++) {
        const ColumnDefinitionsRow *c = &there.columns[i];
        Sql *q;

        /* one that is on the copy only since somebody added it there is left alone */
        if (ddl_find_column(&ddl->now, table->relid, c->name) != NULL ||
            ddl_listed(renamed, n_renamed, c->name) ||
            ddl_old_name(&ddl->before, table->relid, c->name) == NULL)
            continue;
        q = ddl_alter_table(tmp, table->schema_name, table->table_name);
        sql_add(q, "DROP COLUMN ");
        sql_ident(q, c->name);
        ddl_add_work(ddl, object, q->text->text, false);
        ddl_work_destroys(ddl);
    }
}

static bool has_label(const EnumLabelsRow *labels, size_t n, const char *label)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(labels[i].label, label) == 0)
            return true;
    return false;
}

/* enum labels that came or were renamed */
static bool add_labels(Ddl *ddl, const char *object, Err *err)
{
    AUTO_CTX(tmp, NULL);
    const char *name = object + strlen("type ");
    EnumLabelsRow *now, *copy;
    size_t n_now, n_copy;

    if (!q_enum_labels(tmp, ddl->from, name, &now, &n_now, err) ||
        !q_enum_labels(tmp, ddl->to, name, &copy, &n_copy, err))
        return false;
    for (size_t i = 0; i < n_now; i++) {
        Sql *q = sql_new(tmp);

        if (has_label(copy, n_copy, now[i].label))
            continue;
        if (n_now == n_copy && !has_label(now, n_now, copy[i].label)) {
            /* rows that are not carried again have the new name, too */
            sql_add(q, "ALTER TYPE ");
            sql_trusted(q, name);
            sql_add(q, " RENAME VALUE ");
            sql_literal(q, copy[i].label);
            sql_add(q, " TO ");
            sql_literal(q, now[i].label);
            ddl_add_work(ddl, object, q->text->text, false);
            continue;
        }
        sql_add(q, "ALTER TYPE ");
        sql_trusted(q, name);
        sql_add(q, " ADD VALUE ");
        sql_literal(q, now[i].label);
        if (i > 0) {
            sql_add(q, " AFTER ");
            sql_literal(q, now[i - 1].label);
        } else if (n_copy > 0) {
            sql_add(q, " BEFORE ");
            sql_literal(q, copy[0].label);
        }
        ddl_add_work(ddl, object, q->text->text, false);
    }
    return true;
}

bool ddl_follow_labels(Ddl *ddl, const SchemaPrintsRow *print, Err *err)
{
    const SchemaPrintsRow *copy = baseline_find(&ddl->copy, print->object);

    return strcmp(print->entry, "TYPE") != 0 || copy == NULL ||
           !ddl_has_changed(ddl, print->object) || strcmp(copy->print, print->print) == 0 ||
           add_labels(ddl, print->object, err);
}

const char *ddl_parent_object(const Ddl *ddl, const TableRelationsRow *table)
{
    const TableRelationsRow *parent =
        table->bound == NULL
            ? NULL
            : baseline_find_table(&ddl->now, table->parent_schema, table->parent_name);

    return parent == NULL ? ""
                          : mem_printf(ddl, "parent %s of %s", parent->object + strlen("table "),
                                       table->object);
}

static Sql *attach_statement(const void *ctx, const TableRelationsRow *table)
{
    Sql *q = ddl_alter_table(ctx, table->parent_schema, table->parent_name);

    sql_add(q, "ATTACH PARTITION ");
    sql_name(q, table->schema_name, table->table_name);
    sql_add(q, " ");
    sql_trusted(q, table->bound);
    return q;
}

const char *ddl_empty_statement(const void *ctx, const TableRelationsRow *table)
{
    Sql *q = sql_new(ctx);

    sql_add(q, "UPDATE pgtandem.progress SET applying = txid_current() "
               "WHERE edge = '" EDGE_OF_RUN "';\nDELETE FROM ");
    sql_name(q, table->schema_name, table->table_name);
    return q->text->text;
}

void ddl_empty(Ddl *ddl, const TableRelationsRow *table)
{
    AUTO_CTX(tmp, NULL);

    ddl_add_work(ddl, table->object, ddl_empty_statement(tmp, table), true);
}

/* "parent … of table …" of a partition has changed: it has another parent or other bounds */
static bool has_moved(const Ddl *ddl, const TableRelationsRow *table, const TableRelationsRow *copy)
{
    const OldTablesRow *old = ddl_old_table(&ddl->before, table->relid);

    if (table->bound == NULL && (copy == NULL || copy->bound == NULL))
        return false;
    return copy == NULL || !ddl_same_text(table->parent_name, copy->parent_name) ||
           !ddl_same_text(table->parent_schema, copy->parent_schema) ||
           /* the text of a bound may be another one on another server version */
           (!ddl_same_text(table->bound, copy->bound) &&
            (old == NULL || ddl_has_changed(ddl, ddl_parent_object(ddl, table))));
}

/* the partition beside it that takes what no other one takes, on the copy; or NULL */
static const TableRelationsRow *default_beside(const Ddl *ddl, const TableRelationsRow *table)
{
    for (size_t i = 0; i < ddl->copy.n_tables; i++) {
        const TableRelationsRow *t = &ddl->copy.tables[i];

        if (t->bound != NULL && strcmp(t->bound, "DEFAULT") == 0 &&
            strcmp(t->parent_name, table->parent_name) == 0 &&
            strcmp(t->parent_schema, table->parent_schema) == 0)
            return t;
    }
    return NULL;
}

/* all its keys will be recorded: no trigger knows it yet */
static bool is_uncaptured(const Ddl *ddl, int64_t relid, bool *ret_is, Err *err)
{
    AUTO_CTX(tmp, NULL);
    IncompleteTabsRow *rows;
    size_t n;

    *ret_is = false;
    if (!q_incomplete_tabs(tmp, ddl->from, NULL, &rows, &n, err))
        return false;
    for (size_t i = 0; i < n; i++)
        *ret_is = *ret_is || (rows[i].rel == relid && rows[i].is_new);
    return true;
}

/* rows that came before their partition was made there went into the default one: they will come again */
static bool add_making_room(const Ddl *ddl, Str *s, const TableRelationsRow *table, Err *err)
{
    AUTO_CTX(tmp, NULL);
    const TableRelationsRow *beside = default_beside(ddl, table);
    PartitionConditionRow *row;
    bool uncaptured;
    size_t n;

    if (beside == NULL || !ddl->run->node[ddl->side[0]].present)
        return true;
    if (!is_uncaptured(ddl, table->relid, &uncaptured, err) ||
        !q_partition_condition(tmp, ddl->from, table->relid, &row, &n, err))
        return false;
    if (uncaptured && n > 0)
        str_fmt(s, "DELETE FROM %s WHERE %s;\n", beside->object + strlen("table "), row->condition);
    return true;
}

bool ddl_attach_partition(Ddl *ddl, const TableRelationsRow *table, Err *err)
{
    AUTO_CTX(tmp, NULL);
    const Sql *attach = attach_statement(tmp, table);
    Str *otherwise = str_new(tmp);

    str_fmt(otherwise, "%s;\n", ddl_empty_statement(tmp, table));
    if (!add_making_room(ddl, otherwise, table, err))
        return false;
    str_add(otherwise, attach->text->text);
    ddl_add_work(ddl, table->object, attach->text->text, true);
    ddl_add_otherwise(ddl, otherwise->text);
    return true;
}

bool ddl_move_partitions(Ddl *ddl, Err *err)
{
    AUTO_CTX(tmp, NULL);

    for (size_t i = 0; i < ddl->now.n_tables; i++) {
        const TableRelationsRow *t = &ddl->now.tables[i], *copy;
        Sql *q;

        copy = baseline_find_table(&ddl->copy, t->schema_name, t->table_name);
        if (!has_moved(ddl, t, copy))
            continue;
        /* rows that were captured under one name are carried under another: all of them again */
        if (copy != NULL)
            ddl_carry_anew(ddl, t->relid);
        if (copy != NULL && copy->bound != NULL) {
            q = ddl_alter_table(tmp, copy->parent_schema, copy->parent_name);
            sql_add(q, "DETACH PARTITION ");
            sql_name(q, copy->schema_name, copy->table_name);
            ddl_add_work(ddl, t->object, q->text->text, true);
        }
        /* its rows there may be those of before, which do not belong into it; all of them come anew */
        if (t->bound != NULL && !ddl_attach_partition(ddl, t, err))
            return false;
    }
    return true;
}

static bool try_work(Ddl *ddl, Work *work, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Sql *q = sql_new(tmp);

    sql_add(q, "SET LOCAL check_function_bodies = false;\n");
    sql_trusted(q, work->statement);
    if (lock_and_run(ddl->to, sql_new(tmp), q, work->object, err)) {
        work->done = true;
        return fault("ddl.one", err);
    }
    /* what the server says about the statement, nothing else */
    if (err->kind != ERR_SQL || err_remedy(err) == REMEDY_RECONNECT)
        return false;
    work->refusal = mem_strdup(ddl, err->msg);
    err_clear(err);
    return true;
}

/* in any order that works: again and again until nothing more can be done */
bool ddl_do_work(Ddl *ddl, Err *err)
{
    for (bool more = true; more;) {
        bool progress = true;

        while (progress) {
            progress = false;
            for (size_t i = 0; i < ddl->n_work; i++) {
                Work *work = &ddl->work[i];

                if (work->done)
                    continue;
                if (!try_work(ddl, work, err))
                    return false;
                progress = progress || work->done;
            }
        }
        more = false;
        for (size_t i = 0; i < ddl->n_work; i++) {
            Work *work = &ddl->work[i];

            if (work->done || work->otherwise == NULL)
                continue;
            work->statement = work->otherwise;
            work->otherwise = NULL;
            more = true;
        }
    }
    return true;
}

/* a change that has to be made before rows can be carried: who reads this has to make it */
bool ddl_refuse_stopping(Ddl *ddl, Err *err)
{
    for (size_t i = 0; i < ddl->n_work; i++) {
        const Work *work = &ddl->work[i];

        if (work->done || !work->stops)
            continue;
        err_set(err, ERR_STATE, "%s was altered on the %s, and the %s refuses the same",
                work->object, side_name(ddl->side[0]), side_name(ddl->side[1]));
        err_detail(err, "%s: %s. Nothing of this table is carried until then, and nothing is lost.",
                   work->statement, work->refusal == NULL ? "not tried" : work->refusal);
        return err_hint(err,
                        "Make that change on the %s (as the role of the run; drop and make again "
                        "what stands in its way), then go on with \"pgtandem upgrade\".",
                        side_name(ddl->side[1]));
    }
    return true;
}
