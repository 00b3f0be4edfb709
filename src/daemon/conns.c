/* Shared connections of commands: see conns.h. */
#include "daemon/conns.h"

#include "daemon/install.h"

struct Conns {
    const Service *service;
    const char *purpose;
    Conn **conns; /* of service->dbs; NULL: not needed yet, or not to be had */
    Err **errors; /* why it is not to be had */
};

Conns *conns_new(const void *ctx, const Service *service, const char *purpose)
{
    Conns *conns = mem_new(ctx, Conns);

    conns->service = service;
    conns->purpose = purpose;
    conns->conns = mem_array(conns, Conn *, service->n_dbs + 1);
    conns->errors = mem_array(conns, Err *, service->n_dbs + 1);
    return conns;
}

Conn *conns_get(Conns *conns, const Db *db, Err *err)
{
    size_t i = (size_t)(db - conns->service->dbs);

    if (conns->conns[i] != NULL)
        return conns->conns[i];
    if (conns->errors[i] == NULL) {
        conns->conns[i] = service_connect(conns, db, conns->purpose, err);
        if (conns->conns[i] != NULL)
            return conns->conns[i];
        conns->errors[i] = err_new(conns);
        err_copy(conns->errors[i], err);
        return NULL;
    }
    err_copy(err, conns->errors[i]);
    return NULL;
}
