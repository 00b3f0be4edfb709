/*
 * The command `verify`: compares every table on both nodes in parallel, while they are in use. Rows
 * that differ at first may be on their way, so they are looked at again after the copy has caught
 * up; only what stays different is reported.
 */
#ifndef MIGRATE_VERIFY_REPORT_H
#define MIGRATE_VERIFY_REPORT_H

#include "model/table.h"
#include "pg/conn.h"

/*
 * a worker's part: compares one table; *ret_json (owned by ctx) is what the parent needs of the
 * result
 */
CHECKED bool verify_compare_json(const void *ctx, const TablePair *pair, Conn *from, Conn *to,
                                 const char **ret_json, Err *err);

#endif
