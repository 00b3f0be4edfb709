/*
 * The configuration file: read into the model, with every problem found at once; and edited as one
 * would by hand.
 */
#ifndef CONF_CONF_H
#define CONF_CONF_H

#include "base/err.h"
#include "base/ini.h"
#include "model/service.h"

#define CONF_NAME "pgtandem.conf"

typedef struct Problem {
    int line;  /* 0: the file as a whole */
    int other; /* the line that it collides with, or 0 */
    const char *text;
} Problem;

/*
 * The file that --config, PGTANDEM_CONFIG or the usual places name, made absolute; explicit is what
 * the user gave, or NULL. The result belongs to ctx. It need not exist.
 */
char *conf_path(const void *ctx, const char *explicit);

/*
 * The model of a file's lines, and all that is wrong with them, in the order of lines. The model is
 * complete only when nothing is. Everything belongs to ctx, the lines have to live as long.
 */
Service *conf_parse(const void *ctx, const char *path, const Ini *ini, Problem **ret_problems,
                    size_t *ret_n);

/* the lines of the file, whatever they say; belong to ctx */
CHECKED bool conf_read_lines(const void *ctx, const char *path, Ini **ret_ini, Err *err);

/*
 * Reads the file. Problems of its contents are collected in *ret_problems (all belong to ctx), with
 * the lines they are in; *ret_service is complete only when there are none. False: it could not be
 * read at all.
 */
CHECKED bool conf_read(const void *ctx, const char *path, Service **ret_service,
                       Problem **ret_problems, size_t *ret_n, Err *err);

/* the same for commands that need a correct file: problems are one ERR_USAGE that lists them all */
CHECKED bool conf_load(const void *ctx, const char *path, Service **ret_service, Err *err);

/* "file:line: text, in line other" for each problem, on lines of their own; belongs to ctx */
char *conf_problems_text(const void *ctx, const char *path, const Problem *problems, size_t n);

#endif
