/*
 * Preflight: a table of checks, each of which looks for one thing that would stand in the way of an
 * upgrade. Nothing is changed on either node. Findings of severity ERROR refuse the run unless the
 * user accepts them by id; WARNING and INFO are told.
 */
#ifndef CHECK_CHECK_H
#define CHECK_CHECK_H

#include <jansson.h>

#include "model/filter.h"
#include "model/scope.h"
#include "model/table.h"
#include "pg/conn.h"

typedef enum Severity { SEVERITY_INFO, SEVERITY_WARNING, SEVERITY_ERROR } Severity;

typedef struct Finding {
    const char *id; /* stable, e.g. "large-objects": what --accept takes */
    Severity severity;
    bool acceptable;      /* an ERROR that --accept may turn into a warning */
    const char *title;    /* one line, lower case start */
    const char **objects; /* names, at most a few dozen; the rest is counted */
    size_t n_objects;
    size_t n_more;
    const char *hint; /* sentences: what to do, or NULL */
} Finding;

typedef struct CheckInput {
    Conn *source;
    Conn *target;
    const Catalog *source_catalog;
    const Catalog *target_catalog;
    const Selection *selection; /* of the run, or NULL */
    const Filters *filters;     /* rows that are moved, or NULL: all */
    const Scope *source_scope;  /* what is selected, or NULL: everything */
    const Scope *target_scope;
    const char *pg_dump;        /* path of the client program, NULL when none was found */
    int pg_dump_version;        /* as PQserverVersion, 0 when none */
    int pg_dump_target_version; /* the same of the one that would dump the target */
    bool allow_downgrade;
    bool allow_nonempty;
    bool target_to_be_made; /* target is another database of that server */
    const char *const *accepted;
    size_t n_accepted;
    int64_t jobs;
} CheckInput;

/* what will be copied, and how long that takes at the speed of one connection */
typedef struct Estimate {
    size_t tables;
    int64_t bytes;
    int64_t seconds;
} Estimate;

Estimate check_estimate(const Catalog *source);

/* runs all checks; findings (errors first) belong to ctx */
CHECKED bool check_run(const void *ctx, const CheckInput *input, Finding **ret_findings,
                       size_t *ret_n, Err *err);

/* number of findings that refuse the run */
size_t check_count_errors(const Finding *findings, size_t n);

/* the findings as an object; the caller releases it */
json_t *check_json(const Finding *findings, size_t n);

/* prints findings and estimate (unless NULL) to standard output, as text or JSON */
void check_print(const Finding *findings, size_t n, const Estimate *estimate, bool json);

#endif
