/* Syncs that get into each other's way: see overlap.h. */
#include "conf/overlap.h"

#include <string.h>

#include "base/mem.h"
#include "base/str.h"

typedef struct Link {
    const Sync *sync;
    const Db *from, *to;
    bool fullcopy;
} Link;

typedef struct Links {
    Link *items;
    size_t n;
} Links;

/* Tables */

static bool same_pattern(const Pattern *a, const Pattern *b)
{
    return strcmp(a->schema, b->schema) == 0 && strcmp(a->name, b->name) == 0 &&
           a->schema_glob == b->schema_glob && a->name_glob == b->name_glob;
}

static bool has_pattern(const Pattern *patterns, size_t n, const Pattern *pattern)
{
    for (size_t i = 0; i < n; i++)
        if (same_pattern(&patterns[i], pattern))
            return true;
    return false;
}

static bool same_text(const char *a, const char *b)
{
    return a == b || (a != NULL && b != NULL && strcmp(a, b) == 0);
}

/* rules may lead a table to different places, or carry different rows of it */
static bool kept_apart(const Sync *a, const Sync *b, const Pattern *table, const Db *to_a,
                       const Db *to_b)
{
    static const TableRule none = {0};
    const TableRule *x = sync_rule(a, table->schema, table->name, to_a);
    const TableRule *y = sync_rule(b, table->schema, table->name, to_b);

    x = x == NULL ? &none : x;
    y = y == NULL ? &none : y;
    if (x->where != NULL && y->where != NULL && strcmp(x->where, y->where) != 0)
        return true;
    return !same_text(x->target_schema != NULL ? x->target_schema : table->schema,
                      y->target_schema != NULL ? y->target_schema : table->schema) ||
           !same_text(x->target_name != NULL ? x->target_name : table->name,
                      y->target_name != NULL ? y->target_name : table->name);
}

/* a table that a names and b takes, too; to NULL: rules do not count */
static char *shared_name(const void *ctx, const Sync *a, const Sync *b, const Link *to_a,
                         const Link *to_b)
{
    for (size_t i = 0; i < a->tables.n_include; i++) {
        const Pattern *p = &a->tables.include[i];

        if (pattern_is_name(p) && sync_takes(a, p->schema, p->name) &&
            sync_takes(b, p->schema, p->name) &&
            (to_a == NULL || !kept_apart(a, b, p, to_a->to, to_b->to)))
            return mem_printf(ctx, "%s.%s", p->schema, p->name);
    }
    return NULL;
}

/* a pattern of a that b has, too, where b leaves out no more than a: so all that a takes by it */
static char *shared_pattern(const void *ctx, const Sync *a, const Sync *b)
{
    for (size_t i = 0; i < b->tables.n_exclude; i++)
        if (!has_pattern(a->tables.exclude, a->tables.n_exclude, &b->tables.exclude[i]))
            return NULL;
    if (a->tables.all && b->tables.all)
        return mem_strdup(ctx, "all tables");
    for (size_t i = 0; i < a->tables.n_include; i++) {
        const Pattern *p = &a->tables.include[i];

        if (!pattern_is_name(p) &&
            (b->tables.all || has_pattern(b->tables.include, b->tables.n_include, p)))
            return mem_printf(ctx, "%s.%s", p->schema, p->name);
    }
    return NULL;
}

/* what both certainly take, or NULL; belongs to ctx */
static char *shared_tables(const void *ctx, const Sync *a, const Sync *b, const Link *to_a,
                           const Link *to_b)
{
    char *tables = shared_name(ctx, a, b, to_a, to_b);

    if (tables == NULL)
        tables = shared_name(ctx, b, a, to_b, to_a);
    if (tables == NULL)
        tables = shared_pattern(ctx, a, b);
    return tables != NULL ? tables : shared_pattern(ctx, b, a);
}

/* Edges. Of several sources the first is the hub. */

static void add_link(const void *ctx, Links *links, const Sync *sync, const Member *from,
                     const Member *to)
{
    const Link link = {
        .sync = sync, .from = from->db, .to = to->db, .fullcopy = to->role == ROLE_FULLCOPY};

    mem_push(ctx, links->items, links->n, link);
}

static Links links_of(const void *ctx, const Sync *sync)
{
    Links links = {0};
    const Member *hub = NULL;

    for (size_t i = 0; i < sync->n_members && hub == NULL; i++)
        if (sync->members[i].role == ROLE_SOURCE)
            hub = &sync->members[i];
    for (size_t i = 0; i < sync->n_members && hub != NULL; i++) {
        const Member *member = &sync->members[i];

        if (member == hub)
            continue;
        add_link(ctx, &links, sync, hub, member);
        if (member->role == ROLE_SOURCE)
            add_link(ctx, &links, sync, member, hub);
    }
    return links;
}

/* under two names, too */
static bool same_db(const Db *a, const Db *b)
{
    return a == b || (a->conninfo != NULL && same_text(a->conninfo, b->conninfo));
}

static void check_pair(const Links *x, const Links *y, OverlapReport *report, void *to)
{
    for (size_t i = 0; i < x->n; i++)
        for (size_t j = 0; j < y->n; j++) {
            const Link *p = &x->items[i], *q = &y->items[j];

            if (!same_db(p->from, q->from) || !same_db(p->to, q->to))
                continue;
            AUTO_CTX(tmp, NULL);
            const char *tables = shared_tables(tmp, p->sync, q->sync, p, q);
            if (tables == NULL)
                continue;
            report(to, q->sync->line, p->sync->line,
                   mem_printf(tmp, "sync %s carries %s from %s to %s, as sync %s does already",
                              q->sync->name, tables, q->from->name, q->to->name, p->sync->name));
            return;
        }
}

static void check_pairs(const Service *service, OverlapReport *report, void *to)
{
    AUTO_CTX(tmp, NULL);
    Links *links = mem_array(tmp, Links, service->n_syncs);

    for (size_t j = 0; j < service->n_syncs; j++) {
        if (!sync_is_active(&service->syncs[j]))
            continue; /* without links it collides with nothing */
        links[j] = links_of(tmp, &service->syncs[j]);
        for (size_t i = 0; i < j; i++)
            check_pair(&links[i], &links[j], report, to);
    }
}

/* Cascades */

/* whether changes that arrive at db are carried on to the database where link begins */
static bool comes_back(const Service *service, const Links *links, const Link *link, const Db *db,
                       bool *seen)
{
    AUTO_CTX(tmp, NULL);

    if (db == link->from)
        return true;
    if (seen[db - service->dbs])
        return false;
    seen[db - service->dbs] = true;
    for (size_t i = 0; i < links->n; i++)
        if (links->items[i].from == db &&
            shared_tables(tmp, link->sync, links->items[i].sync, NULL, NULL) != NULL &&
            comes_back(service, links, link, links->items[i].to, seen))
            return true;
    return false;
}

/* a sync of several sources sees to its circles itself */
static Links cascades_of(const void *ctx, const Service *service)
{
    Links links = {0};

    for (size_t s = 0; s < service->n_syncs; s++) {
        const Sync *sync = &service->syncs[s];
        const Links own = links_of(ctx, sync);

        for (size_t i = 0; i < own.n; i++)
            if (sync->cascade && sync_is_active(sync) && sync_sources(sync) == 1 &&
                !own.items[i].fullcopy)
                mem_push(ctx, links.items, links.n, own.items[i]);
    }
    return links;
}

static void check_circles(const Service *service, OverlapReport *report, void *to)
{
    AUTO_CTX(tmp, NULL);
    Links links = cascades_of(tmp, service);
    const Sync *reported = NULL;

    for (size_t i = 0; i < links.n; i++) {
        const Link *link = &links.items[i];
        bool *seen = mem_array(tmp, bool, service->n_dbs);

        if (link->sync == reported || !comes_back(service, &links, link, link->to, seen))
            continue;
        reported = link->sync;
        report(to, link->sync->line, 0,
               mem_printf(tmp,
                          "sync %s is part of a circle of cascades: changes of %s would come back "
                          "to it for ever",
                          link->sync->name, link->from->name));
    }
}

void find_overlaps(const Service *service, OverlapReport *report, void *to)
{
    check_pairs(service, report, to);
    check_circles(service, report, to);
}
