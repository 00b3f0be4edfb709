/*
 * The configuration file: read into the model, with every problem found at once; and edited as one
 * would by hand.
 */
#ifndef CONF_CONF_H
#define CONF_CONF_H

#include "base/err.h"
#include "model/service.h"

typedef struct Problem {
    int line; /* 0: the file as a whole */
    const char *text;
} Problem;

/*
 * The file that --config, PGTANDEM_CONFIG or the usual places name, made absolute; explicit is what
 * the user gave, or NULL. The result belongs to ctx. It need not exist.
 */
char *conf_path(const void *ctx, const char *explicit);

/*
 * Reads the file. Problems of its contents are collected in *ret_problems (all belong to ctx), with
 * the lines they are in; *ret_service is complete only when there are none. False: it could not be
 * read at all.
 */
CHECKED bool conf_read(const void *ctx, const char *path, Service **ret_service,
                       Problem **ret_problems, size_t *ret_n, Err *err);

/* the same for commands that need a correct file: problems are one ERR_CONFIG that lists them all */
CHECKED bool conf_load(const void *ctx, const char *path, Service **ret_service, Err *err);

#endif
