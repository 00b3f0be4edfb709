/* Edges that are not in the file any more: see leave.h. */
#include "daemon/leave.h"

#include <string.h>

#include "daemon/select.h"
#include "sql/queries.h"

bool leaving_list(const void *ctx, const Service *service, const char *owner, Conn *conn,
                  Leaving **ret_list, size_t *ret_n, Err *err)
{
    AUTO_CTX(tmp, NULL);
    EdgesHereRow *rows;
    Leaving *list = NULL;
    size_t n_rows, n = 0;

    if (!q_edges_here(tmp, conn, &rows, &n_rows, err))
        return false;
    for (size_t i = 0; i < n_rows; i++) {
        EdgeSpec spec;
        bool in_file = select_edge(tmp, service, rows[i].edge, &spec);

        if (owner[0] == '\0' || strcmp(rows[i].owner, owner) != 0 ||
            (in_file && !(spec.full && rows[i].begins)))
            continue;
        Leaving leaving = {.edge = mem_strdup(ctx, rows[i].edge),
                           .ends = rows[i].ends && !in_file,
                           .begins_only = in_file};
        mem_push(ctx, list, n, leaving);
    }
    *ret_list = list;
    *ret_n = n;
    return true;
}

void leaving_names(const void *ctx, const char *edge, const char *ret_names[3])
{
    for (int i = 0; i < 3; i++) {
        size_t len = strcspn(edge, "/");

        ret_names[i] = mem_strndup(ctx, edge, len);
        edge += len + (edge[len] == '/' ? 1 : 0);
    }
}
