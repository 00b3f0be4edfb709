/*
 * Changes of definitions in a run that gives other names: see ddl_impl.h.
 *
 * pg_dump's statements would need the other names, which only the server can put in (see scratch.h): so they are
 * made by people on both nodes, and here it is only compared whether that was done. Until then no rows are
 * carried; nothing is lost meanwhile. What concerns no rows (indexes, views, functions) keeps from a switch only,
 * by the baseline.
 */
#include "migrate/ddl_impl.h"

#include <string.h>

#include "base/log.h"
#include "base/str.h"

enum { NAMED_OPEN = 5 };

const TableRelationsRow *ddl_copy_table(const Ddl *ddl, const char *schema, const char *name)
{
    run_name_on(ddl->run, ddl->side[1], &schema, &name);
    return baseline_find_table(&ddl->copy, schema, name);
}

const SchemaPrintsRow *ddl_copy_print(const Ddl *ddl, const SchemaPrintsRow *now)
{
    const char *schema = now->schema_name, *name = now->name;

    if (!selection_renames(ddl->run->selection))
        return baseline_find(&ddl->copy, now->object);
    /* what belongs to a table is told with the table's name in its text */
    if (now->relation != NULL && strcmp(now->relation, now->name) != 0)
        return NULL;
    run_name_on(ddl->run, ddl->side[1], &schema, &name);
    for (size_t i = 0; i < ddl->copy.n_prints; i++) {
        const SchemaPrintsRow *p = &ddl->copy.prints[i];

        if (strcmp(p->entry, now->entry) == 0 && strcmp(p->name, name) == 0 &&
            strcmp(p->schema_name, schema) == 0 &&
            /* a view has two: "view x" and "definition of view x" */
            strcspn(p->object, " ") == strcspn(now->object, " "))
            return p;
    }
    return NULL;
}

/* "schema.name" of an object, as the server writes it; behind the word for its kind */
static const char *written_name(const SchemaPrintsRow *print)
{
    const char *blank = strchr(print->object, ' ');

    return blank == NULL ? print->object : blank + 1;
}

bool ddl_same_type(const Ddl *ddl, const char *now, const char *copy)
{
    if (strcmp(now, copy) == 0)
        return true;
    if (!selection_renames(ddl->run->selection))
        return false;
    for (size_t i = 0; i < ddl->now.n_prints; i++) {
        const SchemaPrintsRow *here = &ddl->now.prints[i], *there;

        if (strcmp(here->entry, "TYPE") != 0 && strcmp(here->entry, "DOMAIN") != 0)
            continue;
        const char *name = written_name(here);
        if (!str_starts(now, name) || (there = ddl_copy_print(ddl, here)) == NULL ||
            !str_starts(copy, written_name(there)))
            continue;
        /* what follows, [] or a modifier, is not a part of a longer name */
        const char *rest = now + strlen(name);
        if ((*rest == '\0' || *rest == '[' || *rest == '(') &&
            strcmp(rest, copy + strlen(written_name(there))) == 0)
            return true;
    }
    return false;
}

/* rows depend on it: of other things a switch only wants to know that they were seen to */
static bool concerns_rows(const SchemaPrintsRow *print)
{
    static const char *const entries[] = {"TABLE", "TYPE", "DOMAIN", "SEQUENCE"};

    return ddl_listed(entries, sizeof entries / sizeof *entries, print->entry);
}

static void add_open(Ddl *ddl, const char *object)
{
    if (!ddl_listed(ddl->open, ddl->n_open, object))
        mem_push(ddl, ddl->open, ddl->n_open, object);
}

static bool same_parent(const Ddl *ddl, const TableRelationsRow *now, const TableRelationsRow *copy)
{
    const char *schema = now->parent_schema, *name = now->parent_name;

    if (schema == NULL || copy->parent_schema == NULL)
        return schema == NULL && copy->parent_schema == NULL;
    run_name_on(ddl->run, ddl->side[1], &schema, &name);
    return strcmp(copy->parent_schema, schema) == 0 && strcmp(copy->parent_name, name) == 0 &&
           ddl_same_text(now->bound, copy->bound);
}

static bool same_columns(const Ddl *ddl, const TableRelationsRow *now,
                         const TableRelationsRow *copy)
{
    Columns of = ddl_columns(&ddl->now, now->relid);

    for (size_t i = 0; i < of.n; i++) {
        const ColumnDefinitionsRow *c = &of.columns[i],
                                   *other = ddl_find_column(&ddl->copy, copy->relid, c->name);

        if (other == NULL || !ddl_same_type(ddl, c->type, other->type) ||
            ddl_is_generated(c) != ddl_is_generated(other) || other->not_null != c->not_null ||
            (other->fallback == NULL) != (c->fallback == NULL) ||
            strcmp(other->special, c->special) != 0)
            return false;
    }
    return of.n == ddl_columns(&ddl->copy, copy->relid).n &&
           strcmp(now->persistence, copy->persistence) == 0;
}

static void look_at_tables(Ddl *ddl)
{
    for (size_t i = 0; i < ddl->now.n_tables; i++) {
        const TableRelationsRow *t = &ddl->now.tables[i],
                                *copy = ddl_copy_table(ddl, t->schema_name, t->table_name);

        if (!ddl_table_has_changed(ddl, t))
            continue;
        /* what the people's own statement made of the copy's rows nobody knows */
        ddl_carry_anew(ddl, t->relid);
        if (copy == NULL || !same_parent(ddl, t, copy) || !same_columns(ddl, t, copy))
            add_open(ddl, t->object);
    }
    for (size_t i = 0; i < ddl->before.n_tables; i++) {
        const OldTablesRow *old = &ddl->before.tables[i];

        if (baseline_find_table(&ddl->now, old->schema_name, old->table_name) == NULL &&
            ddl_copy_table(ddl, old->schema_name, old->table_name) != NULL)
            add_open(ddl, mem_printf(ddl, "table %s.%s (which is gone)", old->schema_name,
                                     old->table_name));
    }
}

static bool refuse(const Ddl *ddl, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Str *all = str_new(tmp);

    for (size_t i = 0; i < ddl->n_open && i < NAMED_OPEN; i++)
        str_fmt(all, "%s%s", i == 0 ? "" : ", ", ddl->open[i]);
    err_set(err, ERR_STATE, "changed on the %s, and not in the same way on the %s: %s%s",
            side_name(ddl->side[0]), side_name(ddl->side[1]), all->text,
            ddl->n_open > NAMED_OPEN ? " and others" : "");
    err_detail(err, "This run gives other names, so changes of definitions are not carried.");
    return err_hint(err,
                    "Make the same change on the %s, under the names that things have there, and "
                    "run the same command again. Nothing is lost meanwhile.",
                    side_name(ddl->side[1]));
}

bool ddl_refuse_other(Ddl *ddl, Err *err)
{
    look_at_tables(ddl);
    for (size_t i = 0; i < ddl->now.n_prints; i++) {
        const SchemaPrintsRow *p = &ddl->now.prints[i], *copy;

        if (!concerns_rows(p) || strcmp(p->entry, "TABLE") == 0 || !ddl_has_changed(ddl, p->object))
            continue;
        copy = ddl_copy_print(ddl, p);
        /* what a domain is made of may be called otherwise there; old servers do not tell of sequences */
        if (copy == NULL || (strcmp(p->entry, "DOMAIN") != 0 && p->print[0] != '\0' &&
                             copy->print[0] != '\0' && strcmp(p->print, copy->print) != 0))
            add_open(ddl, p->object);
    }
    return ddl->n_open == 0 || refuse(ddl, err);
}

bool ddl_is_same_elsewhere(const Ddl *ddl, const char *object)
{
    const SchemaPrintsRow *now = baseline_find(&ddl->now, object);

    if (now != NULL)
        return concerns_rows(now);
    /* a table that is gone here is gone there as well, or there would have been an error */
    return str_starts(object, "table ");
}

static bool is_inside(const Scope *scope, const ForeignKeysRow *key)
{
    return scope_has(scope, key->schema_name, key->table_name) &&
           scope_has(scope, key->to_schema, key->to_table);
}

bool ddl_refuse_other_keys(Ddl *ddl, const ForeignKeysRow *now, size_t n_now, Err *err)
{
    AUTO_CTX(tmp, NULL);
    ForeignKeysRow *copy;
    AsleepRow *asleep;
    size_t n_copy, n_asleep;
    const Scope *scope;
    bool *known;

    if (!q_foreign_keys(tmp, ddl->to, &copy, &n_copy, err) ||
        !q_asleep(tmp, ddl->to, &asleep, &n_asleep, err) ||
        !scope_read(tmp, ddl->to, run_selection(ddl->run, ddl->side[1]), &scope, err))
        return false;
    known = mem_array(tmp, bool, n_copy + n_asleep + 1);
    for (size_t i = 0; i < n_now; i++) {
        const char *schema = now[i].schema_name, *table = now[i].table_name;
        bool have = false;

        if (!is_inside(ddl->now.scope, &now[i]))
            continue;
        run_name_on(ddl->run, ddl->side[1], &schema, &table);
        for (size_t k = 0; k < n_copy + n_asleep; k++) {
            const char *s = k < n_copy ? copy[k].schema_name : asleep[k - n_copy].schema_name,
                       *t = k < n_copy ? copy[k].table_name : asleep[k - n_copy].table_name,
                       *n = k < n_copy ? copy[k].name : asleep[k - n_copy].name;

            if (strcmp(s, schema) == 0 && strcmp(t, table) == 0 && strcmp(n, now[i].name) == 0)
                have = known[k] = true;
        }
        if (!have)
            add_open(ddl, mem_printf(ddl, "foreign key \"%s\" of table %s.%s", now[i].name,
                                     now[i].schema_name, now[i].table_name));
    }
    for (size_t k = 0; k < n_copy; k++)
        if (!known[k] && is_inside(scope, &copy[k]))
            add_open(ddl, mem_printf(ddl, "foreign key \"%s\" of table %s.%s (which is gone)",
                                     copy[k].name, copy[k].schema_name, copy[k].table_name));
    for (size_t k = 0; k < n_asleep; k++)
        if (!known[n_copy + k] && !asleep[k].leaves && strcmp(asleep[k].kind, "foreign key") == 0 &&
            !ddl_forget_asleep_key(ddl, asleep[k].schema_name, asleep[k].table_name, asleep[k].name,
                                   err))
            return false;
    return ddl->n_open == 0 || refuse(ddl, err);
}
