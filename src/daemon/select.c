/* Edges by the names of their syncs: see select.h. */
#include "daemon/select.h"

#include <string.h>

static void add_edges(const void *ctx, const Sync *sync, EdgeSpec **edges, size_t *n)
{
    size_t more;
    EdgeSpec *of_sync = edges_of_sync(ctx, sync, &more);

    for (size_t i = 0; i < more; i++)
        mem_push(ctx, *edges, *n, of_sync[i]);
}

bool select_edges(const void *ctx, const Service *service, const char *const *syncs, size_t n,
                  bool active, EdgeSpec **ret_edges, size_t *ret_n, Err *err)
{
    EdgeSpec *edges = NULL;
    size_t n_edges = 0;
    bool all = n == 0 || (n == 1 && strcmp(syncs[0], "all") == 0);

    for (size_t i = 0; all && i < service->n_syncs; i++)
        if (!active || sync_is_active(&service->syncs[i]))
            add_edges(ctx, &service->syncs[i], &edges, &n_edges);
    for (size_t i = 0; !all && i < n; i++) {
        const Sync *sync = service_sync(service, syncs[i]);

        if (sync == NULL) {
            /* a connection string by mistake may hold a password */
            err_set(err, ERR_USAGE, "there is no sync \"%.*s\" in %s", (int)strcspn(syncs[i], "="),
                    syncs[i], service->path);
            return err_hint(err, "\"pgtandem list syncs\" shows them.");
        }
        if (active && !sync_is_active(sync)) {
            err_set(err, ERR_STATE, "sync %s is inactive", sync->name);
            return err_hint(err, "\"pgtandem activate %s\" has it work.", sync->name);
        }
        add_edges(ctx, sync, &edges, &n_edges);
    }
    *ret_edges = edges;
    *ret_n = n_edges;
    return true;
}

bool select_edge(const void *ctx, const Service *service, const char *name, EdgeSpec *ret_edge)
{
    for (size_t i = 0; i < service->n_syncs; i++) {
        size_t n, len = strlen(service->syncs[i].name);

        if (strncmp(service->syncs[i].name, name, len) != 0 || name[len] != '/')
            continue;
        EdgeSpec *edges = edges_of_sync(ctx, &service->syncs[i], &n);
        for (size_t e = 0; e < n; e++)
            if (strcmp(edges[e].name, name) == 0) {
                *ret_edge = edges[e];
                return true;
            }
    }
    return false;
}
