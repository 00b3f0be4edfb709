/*
 * The scheduler of the copy: which piece of work may start now follows from what is done.
 */
#ifndef MIGRATE_COPY_WORK_H
#define MIGRATE_COPY_WORK_H

#include "migrate/run.h"

/*
 * Loads and settles every table and builds the indexes of each, in the pool of workers. With
 * indexes_only what is loaded already: all indexes that are left, also those that belong to no
 * table of ours (of partitions). *ret_rows: loaded by this call.
 */
CHECKED bool copy_work_run(Run *run, bool indexes_only, int64_t *ret_rows, Err *err);

#endif
