/*
 * Parallel work: a pool of worker processes of our own program, each with its own pair of
 * connections. The parent hands out one job at a time as a line of JSON and gets lines back; a
 * worker that dies, or whose server went away, has its job done again by another. A worker ends
 * when its parent does.
 *
 * Parent → worker: {"source", "target", "chunk_bytes", "number", "verbose"} once, then {"kind",
 * "tab", "no"} for each job. Worker → parent: {"rows", "bytes"} now and then, then {"done": true,
 * "rows", "bytes", "again"} or {"error": {"kind", "sqlstate", "msg", "detail", "hint"}}.
 */
#ifndef MIGRATE_POOL_H
#define MIGRATE_POOL_H

#include "migrate/config.h"

typedef enum JobKind {
    JOB_CHUNK,   /* load chunk `no` of table `tab` */
    JOB_SETTLE,  /* remove double rows of table `tab` after its last chunk */
    JOB_ITEM,    /* create index, constraint … number `no` */
    JOB_ITEMS,   /* create all indexes and constraints of table `tab` at once */
    JOB_ANALYZE, /* statistics of table `tab` */
    JOB_VERIFY   /* compare table `tab` */
} JobKind;

typedef struct Job {
    JobKind kind;
    int tab;
    int no;
} Job;

typedef struct JobResult {
    int64_t rows;
    int64_t bytes;
    bool again;       /* settle: the table was rewritten meanwhile and has to be copied anew */
    const char *text; /* verify: its result as JSON; else NULL */
} JobResult;

/* where jobs come from and results go; arg is handed to each */
typedef struct JobSource {
    void *arg;
    /* the next job that may start now; false when there is none at the moment */
    bool (*next)(void *arg, Job *ret_job);
    /* a job is done; false with err ends the pool */
    bool (*done)(void *arg, const Job *job, const JobResult *result, Err *err);
    /* called several times a second; running: rows and bytes of unfinished jobs */
    void (*tick)(void *arg, const JobResult *running);
} JobSource;

/*
 * Runs until `next` has no job and none is running. Errors that may pass are retried for ever;
 * others end the pool after the running jobs have ended.
 */
CHECKED bool pool_run(const Config *config, int n_workers, const JobSource *source, Err *err);

const char *job_kind_name(JobKind kind);
bool job_kind_parse(const char *name, JobKind *ret_kind);

#endif
