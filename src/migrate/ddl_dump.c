/* Statements for the copy that pg_dump tells, and those for what is gone: see ddl_impl.h. */
#include "migrate/ddl_impl.h"

#include <string.h>

#include "base/log.h"
#include "base/str.h"
#include "migrate/items.h"
#include "schema/dump.h"

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

    return ddl_listed(kinds, sizeof kinds / sizeof *kinds, entry->type);
}

/* the view of a "definition of view …" */
const char *ddl_view_of(const void *ctx, const SchemaPrintsRow *print)
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
        ddl_add_work(ddl, now->object, entry->statement, false);
    } else if (strcmp(copy->print, now->print) != 0) {
        const char *statement = replacing(tmp, entry);
        const char *dropped =
            str_starts(now->object, "definition of ") ? ddl_view_of(tmp, now) : now->object;

        if (statement != NULL)
            ddl_add_work(ddl, now->object, statement, false);
        else if (is_droppable(entry))
            ddl_add_work(ddl, now->object,
                         mem_printf(tmp, "%s;\n%s",
                                    ddl_drop_statement(tmp, conn_caps(ddl->to), dropped),
                                    entry->statement),
                         false);
    }
}

/* `from` has it and the copy has not, or another one, and it was not so in the baseline */
static bool wants_entry(const Ddl *ddl, const SchemaPrintsRow *now)
{
    const SchemaPrintsRow *copy = baseline_find(&ddl->copy, now->object);

    if (ddl->copying && !ddl_wants_while_copying(ddl, now))
        return false;
    if (now->entry[0] == '\0' || strcmp(now->entry, BASELINE_FACT) == 0 ||
        !(ddl_has_changed(ddl, now->object) || (copy == NULL && ddl->remade)))
        return false;
    if (copy == NULL)
        return !str_starts(now->object, "definition of ");
    return strcmp(copy->print, now->print) != 0 && strcmp(now->entry, "TABLE") != 0;
}

/* a check that came to an existing table: pg_dump has it within the table's entry */
static void add_check(Ddl *ddl, const SchemaPrintsRow *now)
{
    AUTO_CTX(tmp, NULL);
    const char *drop = ddl_drop_statement(tmp, conn_caps(ddl->to), now->object);
    const SchemaPrintsRow *copy = baseline_find(&ddl->copy, now->object);

    if (strcmp(now->entry, "CHECK CONSTRAINT") != 0 || drop == NULL)
        return;
    const char *name = strstr(drop, " DROP CONSTRAINT ");
    Str *s = str_new(tmp);
    if (copy != NULL)
        str_fmt(s, "%s;\n", drop);
    str_bytes(s, drop, (size_t)(name - drop));
    str_fmt(s, " ADD CONSTRAINT %s %s", name + strlen(" DROP CONSTRAINT "), now->definition);
    ddl_add_work(ddl, now->object, s->text, false);
}

bool ddl_find_dump(const void *ctx, Ddl *ddl, PgDump *ret_dump, bool *ret_usable, Err *err)
{
    const Config *config = ddl->run->config;

    if (!dump_find(ctx, config->pg_bindir, conn_caps(ddl->from)->version,
                   conn_caps(ddl->to)->version, ret_dump, err))
        return false;
    *ret_usable = ret_dump->path != NULL &&
                  caps_major(ret_dump->version) >= caps_major(conn_caps(ddl->from)->version);
    return true;
}

bool ddl_work_of_dump(Ddl *ddl, const char *snapshot, Err *err)
{
    AUTO_CTX(tmp, NULL);
    const Config *config = ddl->run->config;
    DumpOptions options = {.source =
                               ddl->side[0] == SIDE_SOURCE ? &config->source : &config->target,
                           .snapshot = snapshot,
                           .only = scope_dump_options(tmp, ddl->now.scope),
                           .with_owners = true,
                           .with_privileges = true};
    const SchemaPrintsRow **wanted = NULL;
    size_t n_wanted = 0, n[2] = {0, 0};
    DumpEntry *entries[2] = {NULL, NULL};
    PgDump dump;
    bool usable;

    for (size_t i = 0; i < ddl->now.n_prints; i++)
        if (wants_entry(ddl, &ddl->now.prints[i])) {
            mem_push(tmp, wanted, n_wanted, &ddl->now.prints[i]);
            add_check(ddl, &ddl->now.prints[i]);
        }
    if (n_wanted == 0 && !ddl->copying)
        return true;
    if (!ddl_find_dump(tmp, ddl, &dump, &usable, err))
        return false;
    if (!usable) {
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
    ddl->post = entries[1];
    ddl->n_post = n[1];
    /* one that holds selected tables only is no object of the run */
    for (size_t e = 0; ddl->now.scope != NULL && e < n[0]; e++)
        if (strcmp(entries[0][e].type, "SCHEMA") == 0 &&
            scope_enters(ddl->now.scope, entries[0][e].name) &&
            !scope_has_schema(ddl->now.scope, entries[0][e].name) &&
            !scope_knows_schema(ddl->copy.scope, entries[0][e].name))
            ddl_add_work(ddl, "", entries[0][e].statement, false);
    for (int section = 0; section < 2; section++)
        for (size_t e = 0; e < n[section]; e++)
            for (size_t i = 0; i < n_wanted; i++) {
                const DumpEntry *entry = &entries[section][e];

                if (same_entry(entry, wanted[i]))
                    work_of_entry(ddl, wanted[i], entry);
                /* an index that it belongs to may still be to be built: see ddl_copying.c */
                else if (!(ddl->copying && strcmp(entry->type, "INDEX ATTACH") == 0) &&
                         belongs_to(entry, wanted[i]) &&
                         baseline_find(&ddl->copy, wanted[i]->object) == NULL)
                    ddl_add_work(ddl, item_type_is_optional(entry->type) ? "" : wanted[i]->object,
                                 entry->statement, false);
            }
    return true;
}

/* owners, rights, comments and the like: statements from the catalogs */
void ddl_work_of_facts(Ddl *ddl)
{
    for (size_t i = 0; i < ddl->now.n_prints; i++) {
        const SchemaPrintsRow *now = &ddl->now.prints[i],
                              *copy = baseline_find(&ddl->copy, now->object);

        if (strcmp(now->entry, BASELINE_FACT) == 0 &&
            (ddl_has_changed(ddl, now->object) || ddl->remade) &&
            (copy == NULL || strcmp(copy->print, now->print) != 0))
            ddl_add_work(ddl, now->object, now->definition, false);
    }
    for (size_t i = 0; i < ddl->before.n_prints; i++) {
        const char *object = ddl->before.prints[i].object;
        const DefinitionFactsRow *copy = baseline_find_fact(&ddl->copy, object);

        /* with a table that is gone all that was said of it goes as well */
        if (copy != NULL && copy->undo != NULL && baseline_find(&ddl->now, object) == NULL &&
            (copy->of[0] == '\0' || baseline_find(&ddl->now, copy->of) != NULL))
            ddl_add_work(ddl, object, copy->undo, false);
    }
}

/* objects that are gone from `from` and were there */
void ddl_work_of_drops(Ddl *ddl)
{
    AUTO_CTX(tmp, NULL);

    for (size_t i = 0; i < ddl->before.n_prints; i++) {
        const char *object = ddl->before.prints[i].object, *statement;

        if (baseline_find(&ddl->now, object) != NULL || baseline_find(&ddl->copy, object) == NULL ||
            (statement = ddl_drop_statement(tmp, conn_caps(ddl->to), object)) == NULL)
            continue;
        ddl_add_work(ddl, object, statement, false);
    }
}
