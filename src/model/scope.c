/* A selection on one node: see scope.h. */
#include "model/scope.h"

#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "sql/queries.h"

/* a relation, or a schema (name "") */
typedef struct Place {
    const ScopeRelationsRow *row;
    const ScopeRelationsRow *home; /* whose name decides */
    bool taken;                    /* of a schema: with functions, types and the like */
    bool entered;                  /* of a schema: something in it is taken */
} Place;

struct Scope {
    const Selection *selection;
    Place *places; /* in the order of schemas and names */
    size_t n_places;
};

static int compare_places(const void *a, const void *b)
{
    const ScopeRelationsRow *x = ((const Place *)a)->row, *y = ((const Place *)b)->row;
    int c = strcmp(x->schema_name, y->schema_name);

    return c != 0 ? c : strcmp(x->name, y->name);
}

static int compare_oids(const void *a, const void *b)
{
    int64_t x = (*(const ScopeRelationsRow *const *)a)->oid,
            y = (*(const ScopeRelationsRow *const *)b)->oid;

    return (x > y) - (x < y);
}

static const ScopeRelationsRow *find_oid(const ScopeRelationsRow **by_oid, size_t n, int64_t oid)
{
    ScopeRelationsRow key = {.oid = oid};
    const ScopeRelationsRow *wanted = &key;
    const ScopeRelationsRow **found =
        n == 0 ? NULL : bsearch(&wanted, by_oid, n, sizeof *by_oid, compare_oids);

    return found == NULL ? NULL : *found;
}

static bool takes(const Selection *selection, const ScopeRelationsRow *row)
{
    switch (row->kind[0]) {
    case 'n':
        return selection_takes_schema(selection, row->schema_name);
    case 'c':
        return selection_takes_schema(selection, row->schema_name) &&
               selection_takes(selection, row->schema_name, row->name);
    default:
        return selection_takes(selection, row->schema_name, row->name);
    }
}

static Place *find(const Scope *scope, const char *schema, const char *name)
{
    ScopeRelationsRow row = {.schema_name = schema, .name = name};
    Place key = {.row = &row};

    return scope->n_places == 0
               ? NULL
               : bsearch(&key, scope->places, scope->n_places, sizeof key, compare_places);
}

bool scope_read(const void *ctx, Conn *conn, const Selection *selection, const Scope **ret_scope,
                Err *err)
{
    AUTO_CTX(tmp, NULL);
    ScopeRelationsRow *rows;
    size_t n;

    *ret_scope = NULL;
    if (selection == NULL)
        return true;
    Scope *scope = mem_new(ctx, Scope);
    if (!q_scope_relations(scope, conn, &rows, &n, err))
        return err_add(err, "while looking for what is selected");
    const ScopeRelationsRow **by_oid = mem_array(tmp, const ScopeRelationsRow *, n + 1);
    for (size_t i = 0; i < n; i++)
        by_oid[i] = &rows[i];
    qsort(by_oid, n, sizeof *by_oid, compare_oids);
    scope->selection = selection;
    scope->places = mem_array(scope, Place, n + 1);
    scope->n_places = n;
    for (size_t i = 0; i < n; i++) {
        const ScopeRelationsRow *home = &rows[i], *above;

        while (home->above != 0 && (above = find_oid(by_oid, n, home->above)) != NULL)
            home = above;
        scope->places[i] = (Place){.row = &rows[i], .home = home, .taken = takes(selection, home)};
    }
    qsort(scope->places, n, sizeof *scope->places, compare_places);
    for (size_t i = 0; i < n; i++) {
        Place *schema = find(scope, scope->places[i].row->schema_name, "");

        if (schema != NULL && scope->places[i].taken)
            schema->entered = true;
    }
    *ret_scope = scope;
    return true;
}

bool scope_has(const Scope *scope, const char *schema, const char *name)
{
    if (scope == NULL)
        return true;
    const Place *place = find(scope, schema, name);
    return place != NULL && place->taken;
}

bool scope_leaves(const Scope *scope, const char *schema, const char *name)
{
    if (scope == NULL)
        return false;
    const Place *place = find(scope, schema, name);
    return place != NULL && !place->taken;
}

bool scope_knows_schema(const Scope *scope, const char *schema)
{
    return scope == NULL || find(scope, schema, "") != NULL;
}

bool scope_has_schema(const Scope *scope, const char *schema)
{
    return scope == NULL || selection_takes_schema(scope->selection, schema);
}

bool scope_enters(const Scope *scope, const char *schema)
{
    if (scope == NULL)
        return true;
    const Place *place = find(scope, schema, "");
    return place != NULL && place->entered;
}

/* text begins with the name of the relation, and with no longer one */
static bool begins_with(const char *text, const ScopeRelationsRow *row)
{
    size_t schema = strlen(row->schema_name), name = strlen(row->name);

    return strncmp(text, row->schema_name, schema) == 0 && text[schema] == '.' &&
           strncmp(text + schema + 1, row->name, name) == 0 &&
           strchr(" .)", text[schema + 1 + name]) != NULL; /* also its end */
}

bool scope_mentions(const Scope *scope, const char *text)
{
    if (scope == NULL)
        return true;
    for (size_t i = 0; i < scope->n_places; i++) {
        const ScopeRelationsRow *row = scope->places[i].row;

        if (!scope->places[i].taken || row->kind[0] == 'n')
            continue;
        if (begins_with(text, row))
            return true;
        for (const char *of = strstr(text, "of "); of != NULL; of = strstr(of + 1, "of "))
            if (begins_with(of + strlen("of "), row))
                return true;
    }
    return false;
}

char *scope_relids(const void *ctx, const Scope *scope)
{
    if (scope == NULL)
        return NULL;
    Str *oids = str_new(ctx);

    str_char(oids, '{');
    for (size_t i = 0; i < scope->n_places; i++)
        if (scope->places[i].taken && strchr("rp", scope->places[i].row->kind[0]) != NULL)
            str_fmt(oids, "%s%lld", oids->len > 1 ? "," : "", (long long)scope->places[i].row->oid);
    str_char(oids, '}');
    return oids->text;
}

static bool is_matched(const Scope *scope, const Pattern *pattern)
{
    for (size_t i = 0; i < scope->n_places; i++) {
        const Place *place = &scope->places[i];

        if (place->row->kind[0] == 'n'
                ? pattern_takes_schema(pattern, place->row->schema_name)
                : place->row == place->home && !pattern->whole &&
                      pattern_takes(pattern, place->row->schema_name, place->row->name))
            return true;
    }
    return false;
}

const char **scope_unmatched(const void *ctx, const Scope *scope, size_t *ret_n)
{
    const char **texts = mem_array(ctx, const char *, 1);
    size_t n = 0;

    for (size_t i = 0; scope != NULL && i < scope->selection->n_include; i++)
        if (!is_matched(scope, &scope->selection->include[i]))
            mem_push(ctx, texts, n, pattern_text(texts, &scope->selection->include[i]));
    for (size_t i = 0; scope != NULL && i < scope->selection->n_exclude; i++)
        if (!is_matched(scope, &scope->selection->exclude[i]))
            mem_push(ctx, texts, n, pattern_text(texts, &scope->selection->exclude[i]));
    for (size_t i = 0; scope != NULL && i < scope->selection->n_renames; i++) {
        const Rename *r = &scope->selection->renames[i];

        if (!(r->name == NULL ? scope_enters(scope, r->schema)
                              : scope_has(scope, r->schema, r->name)))
            mem_push(ctx, texts, n, rename_text(texts, r));
    }
    *ret_n = n;
    return texts;
}

bool scope_is_empty(const Scope *scope)
{
    for (size_t i = 0; scope != NULL && i < scope->n_places; i++)
        if (scope->places[i].taken)
            return false;
    return scope != NULL;
}

const char **scope_taken(const void *ctx, const Scope *scope, size_t *ret_n)
{
    const char **texts = mem_array(ctx, const char *, 1);
    size_t n = 0;

    for (size_t i = 0; scope != NULL && i < scope->n_places; i++) {
        const ScopeRelationsRow *row = scope->places[i].row;

        if (scope->places[i].taken && row->kind[0] != 'n' && !row->in_extension)
            mem_push(ctx, texts, n, mem_printf(ctx, "%s.%s", row->schema_name, row->name));
    }
    *ret_n = n;
    return texts;
}

const char **scope_torn(const void *ctx, const Scope *scope, size_t *ret_n)
{
    const char **texts = mem_array(ctx, const char *, 1);
    size_t n = 0;

    for (size_t i = 0; scope != NULL && i < scope->n_places; i++) {
        const Place *place = &scope->places[i];

        if (place->row->parent == 0 || place->row->is_partition)
            continue;
        for (size_t k = 0; k < scope->n_places; k++) {
            const Place *parent = &scope->places[k];

            if (parent->row->oid != place->row->parent || parent->taken == place->taken)
                continue;
            mem_push(ctx, texts, n,
                     mem_printf(ctx, "%s.%s inherits from %s.%s", place->row->schema_name,
                                place->row->name, parent->row->schema_name, parent->row->name));
            break;
        }
    }
    *ret_n = n;
    return texts;
}

/* in quotes nothing of a name is a pattern */
static void add_quoted(Str *s, const char *name)
{
    str_char(s, '"');
    for (; *name != '\0'; name++) {
        if (*name == '"')
            str_char(s, '"');
        str_char(s, *name);
    }
    str_char(s, '"');
}

static void add_option(const char ***options, size_t *n, const char *option, const char *schema,
                       const char *name)
{
    Str *s = str_new(*options);

    str_fmt(s, "--%s=", option);
    add_quoted(s, schema);
    if (name != NULL) {
        str_char(s, '.');
        add_quoted(s, name);
    }
    const char *text = s->text;
    mem_push(NULL, *options, *n, text);
}

/*
 * Schemas, and from these the tables that are left out: --table would leave out functions and types as well, and
 * --schema alone would lock tables that are no business of ours.
 */
const char **scope_dump_options(const void *ctx, const Scope *scope)
{
    const char **options;
    size_t n = 0;

    if (scope == NULL)
        return NULL;
    options = mem_array(ctx, const char *, 1);
    /* without a schema it would take all of them */
    if (scope_is_empty(scope)) {
        const char *none = "--exclude-schema=*";

        mem_push(NULL, options, n, none);
    }
    for (size_t i = 0; i < scope->n_places; i++) {
        const Place *place = &scope->places[i];
        bool enters;

        if (place->row->kind[0] == 'n') {
            enters = scope_enters(scope, place->row->schema_name);
            if (enters && !scope->selection->all)
                add_option(&options, &n, "schema", place->row->schema_name, NULL);
            else if (!enters && scope->selection->all)
                add_option(&options, &n, "exclude-schema", place->row->schema_name, NULL);
        } else if (!place->taken && place->row->kind[0] != 'c' &&
                   scope_enters(scope, place->row->schema_name)) {
            add_option(&options, &n, "exclude-table", place->row->schema_name, place->row->name);
        }
    }
    mem_push(NULL, options, n, NULL);
    return options;
}

bool scope_has_unowned(const Scope *scope)
{
    return scope == NULL || scope->selection->all;
}
