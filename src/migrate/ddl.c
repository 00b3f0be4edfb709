/* DDL during a run, carried to the copy: see ddl.h. */
#include "migrate/ddl.h"

#include <stdlib.h>
#include <string.h>

#include "base/fault.h"
#include "base/log.h"
#include "base/str.h"
#include "capture/capture.h"
#include "migrate/baseline.h"
#include "migrate/items.h"
#include "migrate/sleep.h"
#include "pg/lock.h"
#include "pg/sqlstate.h"
#include "schema/catalog.h"
#include "schema/dump.h"
#include "sql/queries.h"

enum { TOLD_CHANGES = 20 };

/* the same when it was last in order: the baseline */
typedef struct Before {
    BaselineRow *prints;
    size_t n_prints;
    OldTablesRow *tables;
    size_t n_tables;
    OldColumnsRow *columns;
    size_t n_columns;
} Before;

/* one statement for the copy */
typedef struct Work {
    const char *object; /* as in schema_prints */
    const char *statement;
    bool stops; /* without it rows of the table cannot be carried exactly */
    bool done;
    char *refusal; /* what the server said */
} Work;

/* a number whose table has another name now, or none (schema "") */
typedef struct TabChange {
    int id;
    const char *schema;
    const char *name;
} TabChange;

typedef struct Ddl {
    Run *run;
    Side side[2]; /* [0]: the node that takes writes; [1]: the copy */
    Conn *from;
    Conn *to;
    Before before;
    Definitions now, copy;
    Catalog *catalog; /* of `from` */
    TabsRow *tabs;
    size_t n_tabs;
    TabChange *changes;
    size_t n_changes;
    bool remade; /* a table was dropped and made again under its name */
    Work *work;
    size_t n_work;
    int64_t *anew; /* tables of `from` (relid) whose rows are all to be carried */
    size_t n_anew;
    int64_t *unsettled; /* tables of `from` (relid) that cannot be carried, or are not */
    size_t n_unsettled;
    const char **open; /* changed objects that are not the same on both nodes yet, */
    size_t n_open;
    const char **settled; /* and those that are */
    size_t n_settled;
} Ddl;

/*
 * ---- what is there
 * ---------------------------------------------------------------------------------------------
 */

static int compare_before(const void *a, const void *b)
{
    return strcmp(((const BaselineRow *)a)->object, ((const BaselineRow *)b)->object);
}

static bool read_before(const void *ctx, Conn *target, Side side, Before *ret, Err *err)
{
    const char *name = side_name(side);

    if (!q_baseline(ctx, target, name, &ret->prints, &ret->n_prints, err) ||
        !q_old_tables(ctx, target, name, &ret->tables, &ret->n_tables, err) ||
        !q_old_columns(ctx, target, name, &ret->columns, &ret->n_columns, err))
        return false;
    qsort(ret->prints, ret->n_prints, sizeof *ret->prints, compare_before);
    return true;
}

static const BaselineRow *find_before(const Before *b, const char *object)
{
    BaselineRow key = {.object = object};

    return b->n_prints == 0 ? NULL
                            : bsearch(&key, b->prints, b->n_prints, sizeof key, compare_before);
}

static const TableRelationsRow *find_table(const Definitions *d, const char *schema,
                                           const char *name)
{
    for (size_t i = 0; i < d->n_tables; i++)
        if (strcmp(d->tables[i].table_name, name) == 0 &&
            strcmp(d->tables[i].schema_name, schema) == 0)
            return &d->tables[i];
    return NULL;
}

static const TableRelationsRow *find_relid(const Definitions *d, int64_t relid)
{
    for (size_t i = 0; i < d->n_tables; i++)
        if (d->tables[i].relid == relid)
            return &d->tables[i];
    return NULL;
}

static const OldTablesRow *find_old_table(const Before *b, int64_t relid)
{
    for (size_t i = 0; i < b->n_tables; i++)
        if (b->tables[i].rel == relid)
            return &b->tables[i];
    return NULL;
}

static const OldColumnsRow *find_old_column(const Before *b, int64_t relid, int number)
{
    for (size_t i = 0; i < b->n_columns; i++)
        if (b->columns[i].rel == relid && b->columns[i].number == number)
            return &b->columns[i];
    return NULL;
}

static const OldColumnsRow *find_old_name(const Before *b, int64_t relid, const char *name)
{
    for (size_t i = 0; i < b->n_columns; i++)
        if (b->columns[i].rel == relid && strcmp(b->columns[i].name, name) == 0)
            return &b->columns[i];
    return NULL;
}

static const ColumnDefinitionsRow *find_column(const Definitions *d, int64_t relid,
                                               const char *name)
{
    for (size_t i = 0; i < d->n_columns; i++)
        if (d->columns[i].relid == relid && strcmp(d->columns[i].name, name) == 0)
            return &d->columns[i];
    return NULL;
}

static bool same_text(const char *a, const char *b)
{
    return (a == NULL) == (b == NULL) && (a == NULL || strcmp(a, b) == 0);
}

static bool listed(const char *const *texts, size_t n, const char *text)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(texts[i], text) == 0)
            return true;
    return false;
}

/* changed on the node that takes writes since the baseline: it is new, gone, or another one */
static bool has_changed(const Ddl *ddl, const char *object)
{
    const SchemaPrintsRow *now = baseline_find(&ddl->now, object);
    const BaselineRow *then = find_before(&ddl->before, object);

    return now == NULL || then == NULL ? now != NULL || then != NULL
                                       : strcmp(now->print, then->print) != 0;
}

static void carry_anew(Ddl *ddl, int64_t relid)
{
    for (size_t i = 0; i < ddl->n_anew; i++)
        if (ddl->anew[i] == relid)
            return;
    mem_push(ddl, ddl->anew, ddl->n_anew, relid);
}

/* schema_prints' name of a table */
static const char *table_object(const Ddl *ddl, const TableRelationsRow *table)
{
    for (size_t i = 0; i < ddl->now.n_prints; i++) {
        const SchemaPrintsRow *p = &ddl->now.prints[i];

        if (strcmp(p->entry, "TABLE") == 0 && strcmp(p->name, table->table_name) == 0 &&
            strcmp(p->schema_name, table->schema_name) == 0)
            return p->object;
    }
    return mem_printf(ddl, "table %s.%s", table->schema_name, table->table_name);
}

/*
 * ---- statements for the copy
 * -----------------------------------------------------------------------------------
 */

static void add_work(Ddl *ddl, const char *object, const char *statement, bool stops)
{
    Work work = {.object = object, .statement = mem_strdup(ddl, statement), .stops = stops};

    mem_push(ddl, ddl->work, ddl->n_work, work);
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
static const char *drop_statement(const void *ctx, const Caps *caps, const char *object)
{
    static const char *const direct[] = {
        "view ",  "materialized view ", "foreign table ", "type ",
        "table ", "sequence ",          "index ",         "domain ",
        "schema "};
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
static Sql *alter_table(const void *ctx, const char *schema, const char *name)
{
    Sql *q = sql_new(ctx);

    sql_add(q, "ALTER TABLE ");
    sql_name(q, schema, name);
    sql_add(q, " ");
    return q;
}

static Sql *alter_column(const void *ctx, const TableRelationsRow *table, const char *column)
{
    Sql *q = alter_table(ctx, table->schema_name, table->table_name);

    sql_add(q, "ALTER COLUMN ");
    sql_ident(q, column);
    return q;
}

static bool is_generated(const ColumnDefinitionsRow *column)
{
    return column->special[0] == 's' || column->special[0] == 'v';
}

/* a column that the copy's table does not have */
static void add_column(Ddl *ddl, const TableRelationsRow *table, const char *object,
                       const ColumnDefinitionsRow *c)
{
    AUTO_CTX(tmp, NULL);
    Sql *q = alter_table(tmp, table->schema_name, table->table_name);
    bool generated = is_generated(c);

    if (c->special[0] != '\0' && !generated) {
        /* pg_dump's entry of the sequence says ADD GENERATED … AS IDENTITY */
        carry_anew(ddl, table->relid);
    }
    sql_add(q, "ADD COLUMN ");
    sql_ident(q, c->name);
    sql_add(q, " ");
    sql_trusted(q, c->type);
    sql_trusted(q, collation_of(tmp, c));
    if (generated) {
        sql_add(q, " GENERATED ALWAYS AS (");
        sql_trusted(q, c->special + 1);
        if (c->special[0] == 'v')
            sql_add(q, ") VIRTUAL");
        else
            sql_add(q, ") STORED");
    } else if (c->has_missing && c->missing != NULL) {
        /* rows that are older than the column have this value there, too */
        sql_add(q, " DEFAULT ");
        sql_literal(q, c->missing);
    } else if (c->has_missing) {
        carry_anew(ddl, table->relid);
    }
    add_work(ddl, object, q->text->text, true);
    if (generated)
        return;
    if (c->fallback != NULL || (c->has_missing && c->missing != NULL)) {
        q = alter_column(tmp, table, c->name);
        if (c->fallback == NULL)
            sql_add(q, " DROP DEFAULT");
        else
            sql_add(q, " SET DEFAULT ");
        sql_trusted(q, c->fallback == NULL ? "" : c->fallback);
        add_work(ddl, object, q->text->text, false);
    }
}

/* how a column that is on both nodes differs */
static void alter_existing(Ddl *ddl, const TableRelationsRow *table, const char *object,
                           const ColumnDefinitionsRow *c, const ColumnDefinitionsRow *on_copy)
{
    AUTO_CTX(tmp, NULL);
    const OldColumnsRow *old = find_old_column(&ddl->before, table->relid, c->number);
    Sql *q;

    if (old != NULL && strcmp(old->type, c->type) != 0)
        carry_anew(ddl, table->relid);
    if (strcmp(c->type, on_copy->type) != 0 || !same_text(c->coll, on_copy->coll)) {
        q = alter_table(tmp, table->schema_name, table->table_name);
        if (on_copy->fallback != NULL && !is_generated(on_copy)) {
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
        if (c->fallback != NULL && !is_generated(c)) {
            sql_add(q, ", ALTER COLUMN ");
            sql_ident(q, c->name);
            sql_add(q, " SET DEFAULT ");
            sql_trusted(q, c->fallback);
        }
        add_work(ddl, object, q->text->text, true);
        carry_anew(ddl, table->relid);
    } else if (same_text(c->special, on_copy->special) && !is_generated(c) &&
               !same_text(c->fallback, on_copy->fallback) &&
               (old == NULL || !same_text(old->fallback, c->fallback) || c->fallback == NULL ||
                on_copy->fallback == NULL)) {
        q = alter_column(tmp, table, c->name);
        if (c->fallback == NULL)
            sql_add(q, " DROP DEFAULT");
        else
            sql_add(q, " SET DEFAULT ");
        sql_trusted(q, c->fallback == NULL ? "" : c->fallback);
        add_work(ddl, object, q->text->text, false);
    }
}

/* once the rows are carried; until then it is refused and tried again */
static void alter_null(Ddl *ddl, const TableRelationsRow *table, const char *object,
                       const ColumnDefinitionsRow *c, bool is_not_null)
{
    AUTO_CTX(tmp, NULL);
    Sql *q = alter_column(tmp, table, c->name);

    if (c->not_null == is_not_null || c->special[0] != '\0')
        return;
    if (c->not_null)
        sql_add(q, " SET NOT NULL");
    else
        sql_add(q, " DROP NOT NULL");
    add_work(ddl, object, q->text->text, false);
}

/* columns of a table that changed on the node that takes writes */
static void alter_columns(Ddl *ddl, const TableRelationsRow *table, const TableRelationsRow *copy)
{
    AUTO_CTX(tmp, NULL);
    const char *object = table_object(ddl, table);
    const OldTablesRow *old_table = find_old_table(&ddl->before, table->relid);
    const char **renamed = NULL;
    size_t n_renamed = 0;

    if (old_table == NULL || strcmp(old_table->files, table->files) != 0)
        carry_anew(ddl, table->relid);
    for (size_t i = 0; i < ddl->now.n_columns; i++) {
        const ColumnDefinitionsRow *c = &ddl->now.columns[i], *on_copy;
        const OldColumnsRow *old;

        if (c->relid != table->relid)
            continue;
        on_copy = find_column(&ddl->copy, copy->relid, c->name);
        old = find_old_column(&ddl->before, table->relid, c->number);
        if (on_copy == NULL && old != NULL && strcmp(old->name, c->name) != 0 &&
            find_column(&ddl->now, table->relid, old->name) == NULL) {
            on_copy = find_column(&ddl->copy, copy->relid, old->name);
            if (on_copy != NULL) {
                Sql *q = alter_table(tmp, table->schema_name, table->table_name);

                sql_add(q, "RENAME COLUMN ");
                sql_ident(q, old->name);
                sql_add(q, " TO ");
                sql_ident(q, c->name);
                add_work(ddl, object, q->text->text, true);
                mem_push(tmp, renamed, n_renamed, old->name);
            }
        } else if (old != NULL && strcmp(old->name, c->name) != 0) {
            /* names that went round: whose values these are is found out by carrying them */
            carry_anew(ddl, table->relid);
        }
        if (on_copy == NULL)
            add_column(ddl, table, object, c);
        else
            alter_existing(ddl, table, object, c, on_copy);
        alter_null(ddl, table, object, c, on_copy != NULL && on_copy->not_null);
    }
    for (size_t i = 0; i < ddl->copy.n_columns; i++) {
        const ColumnDefinitionsRow *c = &ddl->copy.columns[i];
        Sql *q;

        /* one that is on the copy only since somebody added it there is left alone */
        if (c->relid != copy->relid || find_column(&ddl->now, table->relid, c->name) != NULL ||
            listed(renamed, n_renamed, c->name) ||
            find_old_name(&ddl->before, table->relid, c->name) == NULL)
            continue;
        q = alter_table(tmp, table->schema_name, table->table_name);
        sql_add(q, "DROP COLUMN ");
        sql_ident(q, c->name);
        add_work(ddl, object, q->text->text, false);
    }
}

/* enum labels that came; others cannot change */
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
        bool have = false;
        Sql *q = sql_new(tmp);

        for (size_t k = 0; k < n_copy; k++)
            have = have || strcmp(copy[k].label, now[i].label) == 0;
        if (have)
            continue;
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
        add_work(ddl, object, q->text->text, false);
    }
    return true;
}

/* partitions that came to a table, left it or moved */
static void move_partitions(Ddl *ddl)
{
    AUTO_CTX(tmp, NULL);

    for (size_t i = 0; i < ddl->now.n_tables; i++) {
        const TableRelationsRow *t = &ddl->now.tables[i], *copy, *root, *parent;
        const char *object = table_object(ddl, t);
        bool same;
        Sql *q;

        copy = find_table(&ddl->copy, t->schema_name, t->table_name);
        same = copy != NULL && same_text(t->parent_name, copy->parent_name) &&
               same_text(t->parent_schema, copy->parent_schema);
        if (same || (t->bound == NULL && (copy == NULL || copy->bound == NULL)))
            continue;
        /* rows that were captured under one name are carried under another: all of them again */
        if (copy != NULL) {
            carry_anew(ddl, t->relid);
            for (root = t; root->bound != NULL; root = parent)
                if ((parent = find_table(&ddl->now, root->parent_schema, root->parent_name)) ==
                    NULL)
                    break;
            carry_anew(ddl, root->relid);
        }
        if (copy != NULL && copy->bound != NULL) {
            q = alter_table(tmp, copy->parent_schema, copy->parent_name);
            sql_add(q, "DETACH PARTITION ");
            sql_name(q, copy->schema_name, copy->table_name);
            add_work(ddl, object, q->text->text, true);
        }
        if (t->bound != NULL) {
            q = alter_table(tmp, t->parent_schema, t->parent_name);
            sql_add(q, "ATTACH PARTITION ");
            sql_name(q, t->schema_name, t->table_name);
            sql_add(q, " ");
            sql_trusted(q, t->bound);
            add_work(ddl, object, q->text->text, true);
        }
    }
}

/*
 * ---- what pg_dump tells
 * ----------------------------------------------------------------------------------------
 */

/* names in comments, grants and the types of arguments are quoted */
static const char *without_quotes(const void *ctx, const char *text)
{
    Str *s = str_new(ctx);

    for (; *text != '\0'; text++)
        if (*text != '"')
            str_char(s, *text);
    return s->text;
}

static bool same_entry(const DumpEntry *entry, const SchemaPrintsRow *print)
{
    const char *a = entry->name, *b = print->name;

    if (strcmp(entry->type, print->entry) != 0 || strcmp(entry->schema, print->schema_name) != 0)
        return false;
    if (strchr(b, '(') == NULL)
        return strcmp(a, b) == 0;
    AUTO_CTX(tmp, NULL);
    return strcmp(without_quotes(tmp, a), without_quotes(tmp, b)) == 0;
}

/* entries that belong to another: "TABLE t", "COLUMN t.c", "t c" of a default, the owner of a sequence */
static bool belongs_to(const DumpEntry *entry, const SchemaPrintsRow *print)
{
    AUTO_CTX(tmp, NULL);
    static const char *const parts[] = {"SEQUENCE OWNED BY", "INDEX ATTACH"};

    if (strcmp(entry->schema, print->schema_name) != 0)
        return false;
    if (item_type_is_optional(entry->type)) {
        const char *name = without_quotes(tmp, entry->name);

        return strcmp(name, without_quotes(
                                tmp, mem_printf(tmp, "%s %s", print->entry, print->name))) == 0 ||
               str_starts(name, without_quotes(tmp, mem_printf(tmp, "COLUMN %s.", print->name)));
    }
    if (strcmp(print->entry, "TABLE") == 0 && strcmp(entry->type, "DEFAULT") == 0)
        return str_starts(entry->name, mem_printf(tmp, "%s ", print->name));
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        if (strcmp(entry->type, parts[i]) == 0)
            return strcmp(entry->name, print->name) == 0;
    return false;
}

/* how a definition that is there already is put in the place of another one; NULL: it has to be dropped first */
static const char *replacing(const void *ctx, const DumpEntry *entry)
{
    static const char *const kinds[] = {"FUNCTION", "PROCEDURE", "VIEW"};

    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        const char *begin = mem_printf(ctx, "CREATE %s ", kinds[i]), *at;

        if (strcmp(entry->type, kinds[i]) == 0 && (at = strstr(entry->statement, begin)) != NULL)
            return mem_printf(ctx, "CREATE OR REPLACE %s", at + strlen("CREATE "));
    }
    return NULL;
}

static bool is_droppable(const DumpEntry *entry)
{
    static const char *const kinds[] = {"INDEX", "CONSTRAINT",       "TRIGGER",
                                        "RULE",  "CHECK CONSTRAINT", "MATERIALIZED VIEW"};

    return listed(kinds, sizeof kinds / sizeof *kinds, entry->type);
}

/* the view of a "definition of view …" */
static const char *view_of(const void *ctx, const SchemaPrintsRow *print)
{
    const char *view = print->object + strlen("definition of ");

    return strcmp(print->entry, "VIEW") == 0 ? view : mem_printf(ctx, "materialized %s", view);
}

/* the statements of one changed or new object */
static void work_of_entry(Ddl *ddl, const SchemaPrintsRow *now, const DumpEntry *entry)
{
    AUTO_CTX(tmp, NULL);
    const SchemaPrintsRow *copy = baseline_find(&ddl->copy, now->object);

    if (entry->statement == NULL)
        return;
    if (copy == NULL) {
        add_work(ddl, now->object, entry->statement, false);
    } else if (strcmp(copy->print, now->print) != 0) {
        const char *statement = replacing(tmp, entry);
        const char *dropped =
            str_starts(now->object, "definition of ") ? view_of(tmp, now) : now->object;

        if (statement != NULL)
            add_work(ddl, now->object, statement, false);
        else if (is_droppable(entry))
            add_work(ddl, now->object,
                     mem_printf(tmp, "%s;\n%s", drop_statement(tmp, conn_caps(ddl->to), dropped),
                                entry->statement),
                     false);
    }
}

/* `from` has it and the copy has not, or another one, and it was not so in the baseline */
static bool wants_entry(const Ddl *ddl, const SchemaPrintsRow *now)
{
    const SchemaPrintsRow *copy = baseline_find(&ddl->copy, now->object);

    if (now->entry[0] == '\0' || !(has_changed(ddl, now->object) || (copy == NULL && ddl->remade)))
        return false;
    if (copy == NULL)
        return !str_starts(now->object, "definition of ");
    return strcmp(copy->print, now->print) != 0 && strcmp(now->entry, "TABLE") != 0;
}

/* a check that came to an existing table: pg_dump has it within the table's entry */
static void add_check(Ddl *ddl, const SchemaPrintsRow *now)
{
    AUTO_CTX(tmp, NULL);
    const char *drop = drop_statement(tmp, conn_caps(ddl->to), now->object);
    const SchemaPrintsRow *copy = baseline_find(&ddl->copy, now->object);

    if (strcmp(now->entry, "CHECK CONSTRAINT") != 0 || drop == NULL)
        return;
    const char *name = strstr(drop, " DROP CONSTRAINT ");
    Str *s = str_new(tmp);
    if (copy != NULL)
        str_fmt(s, "%s;\n", drop);
    str_bytes(s, drop, (size_t)(name - drop));
    str_fmt(s, " ADD CONSTRAINT %s %s", name + strlen(" DROP CONSTRAINT "), now->definition);
    add_work(ddl, now->object, s->text, false);
}

static bool work_of_dump(Ddl *ddl, const char *snapshot, Err *err)
{
    AUTO_CTX(tmp, NULL);
    const Config *config = ddl->run->config;
    DumpOptions options = {.source =
                               ddl->side[0] == SIDE_SOURCE ? &config->source : &config->target,
                           .snapshot = snapshot,
                           .with_owners = true,
                           .with_privileges = true};
    const SchemaPrintsRow **wanted = NULL;
    size_t n_wanted = 0, n[2] = {0, 0};
    DumpEntry *entries[2] = {NULL, NULL};
    PgDump dump;

    for (size_t i = 0; i < ddl->now.n_prints; i++)
        if (wants_entry(ddl, &ddl->now.prints[i])) {
            mem_push(tmp, wanted, n_wanted, &ddl->now.prints[i]);
            add_check(ddl, &ddl->now.prints[i]);
        }
    if (n_wanted == 0)
        return true;
    if (!dump_find(tmp, config->pg_bindir, conn_caps(ddl->from)->version,
                   conn_caps(ddl->to)->version, &dump, err))
        return false;
    if (dump.path == NULL || caps_major(dump.version) < caps_major(conn_caps(ddl->from)->version)) {
        log_warn("schema: no pg_dump that is as new as the %s was found, so nothing new can be "
                 "carried over (--pg-bindir)",
                 side_name(ddl->side[0]));
        return true;
    }
    if (!dump_section(ddl, &dump, &options, DUMP_PRE_DATA, &entries[0], &n[0], err) ||
        !dump_section(ddl, &dump, &options, DUMP_POST_DATA, &entries[1], &n[1], err)) {
        if (err->kind != ERR_IO || conn_is_broken(ddl->from))
            return false;
        log_warn("schema: nothing new can be carried over: %s", err->msg);
        err_clear(err);
        return true;
    }
    for (int section = 0; section < 2; section++)
        for (size_t e = 0; e < n[section]; e++)
            for (size_t i = 0; i < n_wanted; i++) {
                const DumpEntry *entry = &entries[section][e];

                if (same_entry(entry, wanted[i]))
                    work_of_entry(ddl, wanted[i], entry);
                else if (belongs_to(entry, wanted[i]) &&
                         baseline_find(&ddl->copy, wanted[i]->object) == NULL)
                    add_work(ddl, item_type_is_optional(entry->type) ? "" : wanted[i]->object,
                             entry->statement, false);
            }
    return true;
}

/* objects that are gone from `from` and were there */
static void work_of_drops(Ddl *ddl)
{
    AUTO_CTX(tmp, NULL);

    for (size_t i = 0; i < ddl->before.n_prints; i++) {
        const char *object = ddl->before.prints[i].object, *statement;

        if (baseline_find(&ddl->now, object) != NULL || baseline_find(&ddl->copy, object) == NULL ||
            (statement = drop_statement(tmp, conn_caps(ddl->to), object)) == NULL)
            continue;
        add_work(ddl, object, statement, false);
    }
}

/*
 * ---- doing it
 * --------------------------------------------------------------------------------------------------
 */

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
static bool do_work(Ddl *ddl, Err *err)
{
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
    return true;
}

/* a change that has to be made before rows can be carried: who reads this has to make it */
static bool refuse_stopping(Ddl *ddl, Err *err)
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

/*
 * ---- numbers of tables
 * -----------------------------------------------------------------------------------------
 */

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

/* the copy's table follows a new name; what is captured and asleep there follows by name */
static bool rename_copy(Ddl *ddl, const TabsRow *tab, const TableRelationsRow *table, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Sql *q = sql_new(tmp);

    change_tab(ddl, tab->id, table->schema_name, table->table_name);
    if (find_table(&ddl->copy, tab->schema_name, tab->table_name) == NULL ||
        find_table(&ddl->copy, table->schema_name, table->table_name) != NULL)
        return true;
    if (strcmp(tab->schema_name, table->schema_name) != 0) {
        sql_add(q, "CREATE SCHEMA IF NOT EXISTS ");
        sql_ident(q, table->schema_name);
        sql_add(q, ";\nALTER TABLE ");
        sql_name(q, tab->schema_name, tab->table_name);
        sql_add(q, " SET SCHEMA ");
        sql_ident(q, table->schema_name);
        sql_add(q, ";\n");
    }
    if (strcmp(tab->table_name, table->table_name) != 0) {
        sql_add(q, "ALTER TABLE ");
        sql_name(q, table->schema_name, tab->table_name);
        sql_add(q, " RENAME TO ");
        sql_ident(q, table->table_name);
        sql_add(q, ";\n");
    }
    sql_add(q, "UPDATE pgtandem.asleep SET schema_name = ");
    sql_literal(q, table->schema_name);
    sql_add(q, ", table_name = ");
    sql_literal(q, table->table_name);
    sql_add(q, " WHERE schema_name = ");
    sql_literal(q, tab->schema_name);
    sql_add(q, " AND table_name = ");
    sql_literal(q, tab->table_name);
    log_info("schema: table %s.%s is now called %s.%s", tab->schema_name, tab->table_name,
             table->schema_name, table->table_name);
    return lock_and_run(ddl->to, sql_new(tmp), q, tab->table_name, err) ||
           err_add(err, "while renaming table %s.%s on the %s", tab->schema_name, tab->table_name,
                   side_name(ddl->side[1]));
}

/* what became of the captured tables */
static bool follow_tabs(Ddl *ddl, Err *err)
{
    AUTO_CTX(tmp, NULL);

    for (size_t i = 0; i < ddl->n_tabs; i++) {
        const TabsRow *tab = &ddl->tabs[i];
        const TableRelationsRow *table = find_relid(&ddl->now, tab->rel);

        if (tab->schema_name[0] == '\0')
            continue;
        /* registered, but a crash came before its triggers */
        if (tab->rel == 0 && find_table(&ddl->now, tab->schema_name, tab->table_name) != NULL)
            continue;
        if (table == NULL) {
            retire_tab(ddl, tab);
            continue;
        }
        if ((strcmp(tab->schema_name, table->schema_name) != 0 ||
             strcmp(tab->table_name, table->table_name) != 0) &&
            !rename_copy(ddl, tab, table, err))
            return false;
        const Table *captured = catalog_find(ddl->catalog, table->schema_name, table->table_name);
        if (captured == NULL) {
            retire_tab(ddl, tab); /* its root stands for it now */
        } else if ((tab->key_columns == NULL) != (captured->n_keys == 0) ||
                   strcmp(tab->key_print, table_key_print(tmp, captured)) != 0) {
            log_info("schema: the key of table %s is another one now", table_label(tmp, captured));
            retire_tab(ddl, tab);
            carry_anew(ddl, table->relid);
        }
    }
    return true;
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
static bool change_tabs(Ddl *ddl, Err *err)
{
    Conn *conns[] = {ddl->to, ddl->from};

    for (int c = 0; c < 2; c++) {
        if (!conn_do(conns[c], "BEGIN", err))
            return false;
        /* names may go round: those that are given up come first */
        for (int pass = 0; pass < 2; pass++)
            for (size_t i = 0; i < ddl->n_changes; i++) {
                TabChange gone = {.id = ddl->changes[i].id,
                                  .schema = "",
                                  .name = mem_printf(ddl, "%d", ddl->changes[i].id)};
                const TabChange *last = &ddl->changes[i];

                if (!set_tab(conns[c], pass == 0 ? &gone : last, err)) {
                    conn_rollback(conns[c]);
                    return false;
                }
            }
        if (!conn_do(conns[c], "COMMIT", err) || !fault("ddl.renamed", err))
            return false;
    }
    return true;
}

static const TabsRow *tab_named(const TabsRow *tabs, size_t n, const Table *table)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(tabs[i].table_name, table->name) == 0 &&
            strcmp(tabs[i].schema_name, table->schema) == 0)
            return &tabs[i];
    return NULL;
}

static void mark_unsettled(Ddl *ddl, int64_t relid)
{
    mem_push(ddl, ddl->unsettled, ddl->n_unsettled, relid);
}

/* a table that has no number yet gets one on both nodes; the copy's table is there */
static bool register_new(Ddl *ddl, const Table *on_from, const Table *on_to, int id,
                         bool from_knows, bool to_knows, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Table from = *on_from, to = *on_to;

    from.id = to.id = id;
    /* the copy may have got its key's index a moment ago; the list is the same on both */
    if (to.n_keys > 0 && from.n_keys > 0 &&
        strcmp(table_key_text(tmp, &from), table_key_text(tmp, &to)) != 0)
        return err_set(err, ERR_STATE, "the key of table %s is another one on the %s",
                       table_label(tmp, on_from), side_name(ddl->side[1]));
    return (to_knows || catalog_register(ddl->to, &to, 1, err)) && fault("ddl.registered", err) &&
           (from_knows || catalog_register(ddl->from, &from, 1, err));
}

static bool register_tables(Ddl *ddl, const Catalog *copy, Err *err)
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
        const Table *there = catalog_find_any(copy, table->schema, table->name);
        const TabsRow *f = tab_named(from, n_from, table), *t = tab_named(to, n_to, table);

        if (table->in_extension)
            continue;
        /* also after a crash: only the baseline tells that its rows are on their way */
        if (find_old_table(&ddl->before, table->oid) == NULL)
            carry_anew(ddl, table->oid);
        if (f != NULL && t != NULL)
            continue;
        if (there == NULL || (table->n_keys > 0 && there->n_keys == 0)) {
            mark_unsettled(ddl, table->oid);
            continue;
        }
        if (!register_new(ddl, table, there,
                          f != NULL   ? f->id
                          : t != NULL ? t->id
                                      : ++last,
                          f != NULL, t != NULL, err))
            return false;
        log_info("schema: table %s is part of the run now", table_label(tmp, table));
        carry_anew(ddl, table->oid);
    }
    return true;
}

/* key columns that have other names now, on one node */
static bool rename_keys(Conn *conn, const Catalog *catalog, Err *err)
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
static bool complete_captures(Ddl *ddl, Conn *conn, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Catalog *catalog;
    Table *tables;
    TabsRow *tabs;
    IncompleteTabsRow *rows;
    size_t n, n_tabs, n_rows;

    if (!catalog_load(tmp, conn, &catalog, err) ||
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
            carry_anew(ddl, tables[i].oid);
        }
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

/* every row of these tables in the next round; only then may the baseline forget that they changed */
static bool carry_rows(Ddl *ddl, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Catalog *catalog;
    Table *tables;
    size_t n;

    if (ddl->n_anew == 0)
        return true;
    if (!catalog_load(tmp, ddl->from, &catalog, err) ||
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

/*
 * ---- foreign keys
 * ----------------------------------------------------------------------------------------------
 */

static bool same_key(const char *a_schema, const char *a_table, const char *a_name,
                     const ForeignKeysRow *b)
{
    return strcmp(a_schema, b->schema_name) == 0 && strcmp(a_table, b->table_name) == 0 &&
           strcmp(a_name, b->name) == 0;
}

/* those that came sleep on the copy until it takes over, whatever the role may do: rows may come later */
static bool carry_foreign_keys(Ddl *ddl, const ForeignKeysRow *now, size_t n_now, Err *err)
{
    AUTO_CTX(tmp, NULL);
    ForeignKeysRow *copy;
    AsleepRow *asleep;
    size_t n_copy, n_asleep;

    if (!q_foreign_keys(tmp, ddl->to, &copy, &n_copy, err) ||
        !q_asleep(tmp, ddl->to, &asleep, &n_asleep, err))
        return false;
    for (size_t i = 0; i < n_now; i++) {
        bool have = find_table(&ddl->copy, now[i].schema_name, now[i].table_name) == NULL;
        Sql *q = alter_table(tmp, now[i].schema_name, now[i].table_name);

        for (size_t k = 0; k < n_copy; k++)
            have = have || same_key(copy[k].schema_name, copy[k].table_name, copy[k].name, &now[i]);
        for (size_t k = 0; k < n_asleep; k++)
            have = have ||
                   same_key(asleep[k].schema_name, asleep[k].table_name, asleep[k].name, &now[i]);
        if (have)
            continue;
        sql_add(q, "ADD CONSTRAINT ");
        sql_ident(q, now[i].name);
        sql_add(q, " ");
        sql_trusted(q, now[i].definition);
        log_info("schema: foreign key \"%s\" of table %s.%s comes into force on the %s with the "
                 "switch",
                 now[i].name, now[i].schema_name, now[i].table_name, side_name(ddl->side[1]));
        if (!conn_do(ddl->to, "BEGIN", err) ||
            !sleep_add_foreign_key(ddl->to, now[i].schema_name, now[i].table_name, now[i].name,
                                   q->text->text, err) ||
            !conn_do(ddl->to, "COMMIT", err)) {
            conn_rollback(ddl->to);
            return false;
        }
    }
    for (size_t k = 0; k < n_copy + n_asleep; k++) {
        const char *schema = k < n_copy ? copy[k].schema_name : asleep[k - n_copy].schema_name;
        const char *table = k < n_copy ? copy[k].table_name : asleep[k - n_copy].table_name;
        const char *name = k < n_copy ? copy[k].name : asleep[k - n_copy].name;
        bool have = k >= n_copy && strcmp(asleep[k - n_copy].kind, "foreign key") != 0;
        Sql *q = sql_new(tmp);

        for (size_t i = 0; i < n_now; i++)
            have = have || same_key(schema, table, name, &now[i]);
        if (have)
            continue;
        log_info("schema: foreign key \"%s\" of table %s.%s is gone", name, schema, table);
        if (k < n_copy) {
            q = alter_table(tmp, schema, table);
            sql_add(q, "DROP CONSTRAINT ");
            sql_ident(q, name);
            if (!lock_and_run(ddl->to, sql_new(tmp), q, name, err))
                return false;
            continue;
        }
        sql_add(q, "DELETE FROM pgtandem.asleep WHERE kind = 'foreign key' AND schema_name = ");
        sql_text(q, schema);
        sql_add(q, " AND table_name = ");
        sql_text(q, table);
        sql_add(q, " AND name = ");
        sql_text(q, name);
        if (!conn_exec(ddl->to, q, err))
            return false;
    }
    return true;
}

/*
 * ---- what is left
 * ----------------------------------------------------------------------------------------------
 */

static bool was_done(const Ddl *ddl, const char *object)
{
    bool done = false;

    for (size_t i = 0; i < ddl->n_work; i++)
        if (strcmp(ddl->work[i].object, object) == 0) {
            if (!ddl->work[i].done)
                return false;
            done = true;
        }
    return done;
}

/* the same columns with the same types: rows can be carried */
static bool columns_agree(const Ddl *ddl, const char *schema, const char *name, bool *ret_exactly)
{
    const TableRelationsRow *now = find_table(&ddl->now, schema, name),
                            *copy = find_table(&ddl->copy, schema, name);
    size_t n[2] = {0, 0};

    *ret_exactly = true;
    if (now == NULL || copy == NULL)
        return false;
    for (size_t i = 0; i < ddl->copy.n_columns; i++)
        n[1] += ddl->copy.columns[i].relid == copy->relid ? 1 : 0;
    for (size_t i = 0; i < ddl->now.n_columns; i++) {
        const ColumnDefinitionsRow *c = &ddl->now.columns[i], *other;

        if (c->relid != now->relid)
            continue;
        n[0]++;
        other = find_column(&ddl->copy, copy->relid, c->name);
        if (other == NULL || strcmp(other->type, c->type) != 0 ||
            is_generated(c) != is_generated(other))
            return false;
        *ret_exactly = *ret_exactly && other->not_null == c->not_null &&
                       (other->fallback == NULL) == (c->fallback == NULL) &&
                       other->special[0] == c->special[0];
    }
    *ret_exactly = *ret_exactly && n[0] == n[1];
    return true;
}

/* its text may be another one on another server version, though it means the same */
static bool is_worded(const char *object)
{
    static const char *const kinds[] = {"definition of ", "index ", "constraint ", "trigger ",
                                        "rule "};

    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (str_starts(object, kinds[i]))
            return true;
    return false;
}

/* whether one object is in order; *ret_unsafe: a switch could lose rows or values */
static bool is_settled(const Ddl *ddl, const char *object, bool *ret_unsafe)
{
    const SchemaPrintsRow *now = baseline_find(&ddl->now, object),
                          *copy = baseline_find(&ddl->copy, object);
    const SchemaPrintsRow *print = now != NULL ? now : copy;
    bool exactly, agree;

    *ret_unsafe = false;
    if (print == NULL)
        return true;
    if (strcmp(print->entry, "TABLE") == 0) {
        if (now == NULL)
            return false;
        agree = columns_agree(ddl, print->schema_name, print->name, &exactly);
        for (size_t i = 0; i < ddl->n_unsettled; i++) {
            const TableRelationsRow *t = find_relid(&ddl->now, ddl->unsettled[i]);

            if (t != NULL && strcmp(t->table_name, print->name) == 0 &&
                strcmp(t->schema_name, print->schema_name) == 0)
                agree = false;
        }
        *ret_unsafe = !agree;
        return agree && exactly;
    }
    if (now == NULL || copy == NULL) {
        *ret_unsafe =
            str_starts(object, "parent ") || (now != NULL && str_starts(object, "sequence "));
        return false;
    }
    return strcmp(now->print, copy->print) == 0 || (is_worded(object) && was_done(ddl, object)) ||
           (str_starts(object, "definition of ") && was_done(ddl, view_of(ddl, print)));
}

static const char *refusal_of(const Ddl *ddl, const char *object)
{
    for (size_t i = 0; i < ddl->n_work; i++)
        if (strcmp(ddl->work[i].object, object) == 0 && !ddl->work[i].done)
            return mem_printf(ddl, "%.300s: %s", ddl->work[i].statement, ddl->work[i].refusal);
    return NULL;
}

/* lists what is open: it keeps its old fingerprint */
static void list_open(Ddl *ddl, const char *object)
{
    bool unsafe;

    if (!has_changed(ddl, object) || listed(ddl->open, ddl->n_open, object) ||
        listed(ddl->settled, ddl->n_settled, object))
        return;
    if (is_settled(ddl, object, &unsafe)) {
        mem_push(ddl, ddl->settled, ddl->n_settled, object);
        return;
    }
    mem_push(ddl, ddl->open, ddl->n_open, object);
    if (unsafe) {
        const char *text = mem_printf(ddl->run, "%s", object);

        mem_push(ddl->run, ddl->run->unsafe, ddl->run->n_unsafe, text);
    }
}

static void tell(Ddl *ddl)
{
    Str *all = str_new(ddl);

    for (size_t i = 0; i < ddl->n_settled && i < TOLD_CHANGES; i++)
        log_info("schema: %s is as on the %s now", ddl->settled[i], side_name(ddl->side[0]));
    if (ddl->n_settled > TOLD_CHANGES)
        log_info("schema: and %zu more", ddl->n_settled - TOLD_CHANGES);
    for (size_t i = 0; i < ddl->n_work; i++)
        if (ddl->work[i].object[0] == '\0' && !ddl->work[i].done)
            log_warn("schema: not carried over: %.300s: %s", ddl->work[i].statement,
                     ddl->work[i].refusal);
    for (size_t i = 0; i < ddl->n_open; i++)
        str_fmt(all, "%s\n", ddl->open[i]);
    if (ddl->run->ddl_told != NULL && strcmp(ddl->run->ddl_told, all->text) == 0)
        return;
    talloc_free(ddl->run->ddl_told);
    ddl->run->ddl_told = mem_strdup(ddl->run, all->text);
    for (size_t i = 0; i < ddl->n_open; i++) {
        const char *refusal = refusal_of(ddl, ddl->open[i]);

        log_warn("schema: %s could not be carried over to the %s%s%s", ddl->open[i],
                 side_name(ddl->side[1]), refusal == NULL ? "" : ": ",
                 refusal == NULL ? "" : refusal);
    }
}

/* what both nodes have in the same way now is the new baseline */
static bool settle(Ddl *ddl, Err *err)
{
    Conn *target = ddl->run->conn[SIDE_TARGET];

    ddl->run->n_unsafe = 0;
    for (size_t i = 0; i < ddl->now.n_prints; i++)
        list_open(ddl, ddl->now.prints[i].object);
    for (size_t i = 0; i < ddl->before.n_prints; i++)
        list_open(ddl, ddl->before.prints[i].object);
    tell(ddl);
    if (!conn_do(target, "BEGIN", err))
        return false;
    for (int s = 0; s < 2; s++)
        if (!baseline_write(target, ddl->side[s], s == 0 ? &ddl->now : &ddl->copy, ddl->settled,
                            ddl->n_settled, ddl->unsettled, s == 0 ? ddl->n_unsettled : 0, err)) {
            conn_rollback(target);
            return false;
        }
    return conn_do(target, "COMMIT", err) && fault("ddl.settled", err);
}

/*
 * ---- all of it
 * ---------------------------------------------------------------------------------------------------
 */

static bool anything_changed(const Ddl *ddl)
{
    for (size_t i = 0; i < ddl->now.n_prints; i++)
        if (has_changed(ddl, ddl->now.prints[i].object))
            return true;
    for (size_t i = 0; i < ddl->before.n_prints; i++)
        if (has_changed(ddl, ddl->before.prints[i].object))
            return true;
    for (size_t i = 0; i < ddl->now.n_tables; i++)
        if (find_old_table(&ddl->before, ddl->now.tables[i].relid) == NULL)
            return true;
    return false;
}

/* tables that were dropped and made again, or are the same by name only */
static void drop_remade(Ddl *ddl)
{
    AUTO_CTX(tmp, NULL);

    for (size_t i = 0; i < ddl->now.n_tables; i++) {
        const TableRelationsRow *t = &ddl->now.tables[i];
        const char *object = table_object(ddl, t);
        const TableRelationsRow *copy = find_table(&ddl->copy, t->schema_name, t->table_name);

        if (find_old_table(&ddl->before, t->relid) != NULL ||
            find_before(&ddl->before, object) == NULL)
            continue;
        ddl->remade = true;
        carry_anew(ddl, t->relid);
        if (copy != NULL)
            alter_columns(ddl, t, copy);
    }
}

/* what there is to do on the copy */
static bool plan_work(Ddl *ddl, const char *snapshot, Err *err)
{
    AUTO_CTX(tmp, NULL);

    work_of_drops(ddl);
    drop_remade(ddl);
    for (size_t i = 0; i < ddl->now.n_tables; i++) {
        const TableRelationsRow *t = &ddl->now.tables[i], *copy;

        copy = find_table(&ddl->copy, t->schema_name, t->table_name);
        /* columns of a partition are altered with those of its root */
        if (copy != NULL && (t->bound == NULL || copy->bound == NULL) &&
            find_old_table(&ddl->before, t->relid) != NULL &&
            has_changed(ddl, table_object(ddl, t)))
            alter_columns(ddl, t, copy);
    }
    for (size_t i = 0; i < ddl->now.n_prints; i++) {
        const SchemaPrintsRow *p = &ddl->now.prints[i], *copy;

        copy = baseline_find(&ddl->copy, p->object);
        if (strcmp(p->entry, "TYPE") == 0 && copy != NULL && has_changed(ddl, p->object) &&
            strcmp(copy->print, p->print) != 0 && !add_labels(ddl, p->object, err))
            return false;
    }
    if (!work_of_dump(ddl, snapshot, err))
        return false;
    move_partitions(ddl);
    return true;
}

/* in one snapshot of `from`: what changed, and what follows from it for the copy */
static bool look(Ddl *ddl, ForeignKeysRow **ret_keys, size_t *ret_n_keys, bool *ret_changed,
                 Err *err)
{
    AUTO_CTX(tmp, NULL);
    DefinitionsMarkRow *mark;
    Sql *q = sql_new(tmp);
    Rows *rows;
    size_t n;

    sql_add(q, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SELECT pg_export_snapshot()");
    if (!conn_query(ddl, ddl->from, q, &rows, err) ||
        !q_definitions_mark(tmp, ddl->from, &mark, &n, err) ||
        !baseline_read(ddl, ddl->from, &ddl->now, err) ||
        !read_before(ddl, ddl->run->conn[SIDE_TARGET], ddl->side[0], &ddl->before, err) ||
        !q_foreign_keys(ddl, ddl->from, ret_keys, ret_n_keys, err))
        return false;
    talloc_free(ddl->run->ddl_mark);
    ddl->run->ddl_mark = mem_strdup(ddl->run, mark->mark);
    *ret_changed = anything_changed(ddl);
    return !*ret_changed ||
           (catalog_load(ddl, ddl->from, &ddl->catalog, err) &&
            q_tabs(ddl, ddl->from, &ddl->tabs, &ddl->n_tabs, err) &&
            baseline_read(ddl, ddl->to, &ddl->copy, err) && follow_tabs(ddl, err) &&
            baseline_read(ddl, ddl->to, &ddl->copy, err) &&
            plan_work(ddl, rows_text(rows, 0, 0), err));
}

static bool carry(Ddl *ddl, Err *err)
{
    AUTO_CTX(tmp, NULL);
    ForeignKeysRow *keys;
    Catalog *copy;
    size_t n_keys;
    bool changed = false;
    bool ok = look(ddl, &keys, &n_keys, &changed, err);

    conn_rollback(ddl->from);
    if (!ok)
        return false;
    if (!changed) {
        ddl->run->n_unsafe = 0;
        ddl->copy = ddl->now;
        return carry_foreign_keys(ddl, keys, n_keys, err) &&
               complete_captures(ddl, ddl->from, err) && carry_rows(ddl, err);
    }
    if (!change_tabs(ddl, err) || !do_work(ddl, err) ||
        !baseline_read(ddl, ddl->to, &ddl->copy, err) ||
        !carry_foreign_keys(ddl, keys, n_keys, err) || !catalog_load(tmp, ddl->to, &copy, err) ||
        !rename_keys(ddl->to, copy, err) || !rename_keys(ddl->from, ddl->catalog, err) ||
        !register_tables(ddl, copy, err) || !complete_captures(ddl, ddl->to, err))
        return false;
    /* tables of the copy are of no interest there: its rows come with the rounds */
    for (size_t i = 0; i < ddl->n_anew; i++)
        if (find_relid(&ddl->now, ddl->anew[i]) == NULL)
            ddl->anew[i] = 0;
    for (size_t i = 0; i < ddl->n_work; i++)
        if (ddl->work[i].stops && !ddl->work[i].done)
            for (size_t t = 0; t < ddl->now.n_tables; t++)
                if (strcmp(table_object(ddl, &ddl->now.tables[t]), ddl->work[i].object) == 0)
                    mark_unsettled(ddl, ddl->now.tables[t].relid);
    return complete_captures(ddl, ddl->from, err) && carry_rows(ddl, err) && settle(ddl, err) &&
           refuse_stopping(ddl, err);
}

bool ddl_carry(Run *run, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Ddl *ddl = mem_new(tmp, Ddl);

    ddl->run = run;
    ddl->side[0] = run_active(run);
    ddl->side[1] = side_other(ddl->side[0]);
    ddl->from = run->conn[ddl->side[0]];
    ddl->to = run->conn[ddl->side[1]];
    if (carry(ddl, err)) {
        run->ddl_left = ddl->n_open > 0;
        return true;
    }
    run->ddl_left = true;
    return err_add(err, "while carrying changes of the schema");
}

bool ddl_has_moved(Run *run, bool *ret_moved, Err *err)
{
    AUTO_CTX(tmp, NULL);
    DefinitionsMarkRow *mark;
    size_t n;

    if (!q_definitions_mark(tmp, run->conn[run_active(run)], &mark, &n, err))
        return false;
    *ret_moved = run->ddl_mark == NULL || strcmp(run->ddl_mark, mark->mark) != 0;
    return true;
}

/* what was told before was refused or accepted before */
static void note_late(Ddl *ddl, const Run *run, const char *object)
{
    AUTO_CTX(tmp, NULL);

    if (has_changed(ddl, object) &&
        (run->ddl_told == NULL || strstr(run->ddl_told, mem_printf(tmp, "%s\n", object)) == NULL))
        mem_push(ddl, ddl->open, ddl->n_open, object);
}

bool ddl_refuse_late(Run *run, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Ddl *ddl = mem_new(tmp, Ddl);
    DefinitionsMarkRow *mark;
    size_t n;

    ddl->from = run->conn[run_active(run)];
    if (!q_definitions_mark(tmp, ddl->from, &mark, &n, err))
        return false;
    if (run->ddl_mark != NULL && strcmp(run->ddl_mark, mark->mark) == 0)
        return true;
    if (!baseline_read(ddl, ddl->from, &ddl->now, err) ||
        !read_before(ddl, run->conn[SIDE_TARGET], run_active(run), &ddl->before, err))
        return false;
    for (size_t i = 0; i < ddl->now.n_prints; i++)
        note_late(ddl, run, ddl->now.prints[i].object);
    for (size_t i = 0; i < ddl->before.n_prints; i++)
        note_late(ddl, run, ddl->before.prints[i].object);
    for (size_t i = 0; i < ddl->now.n_tables; i++)
        if (find_old_table(&ddl->before, ddl->now.tables[i].relid) == NULL &&
            !has_changed(ddl, table_object(ddl, &ddl->now.tables[i])))
            mem_push(ddl, ddl->open, ddl->n_open, table_object(ddl, &ddl->now.tables[i]));
    if (ddl->n_open == 0)
        return true;
    err_set(err, ERR_STATE, "definitions on the %s were changed in this very moment (%s)",
            side_name(run_active(run)), ddl->open[0]);
    return err_hint(err, "Run the same command again.");
}
