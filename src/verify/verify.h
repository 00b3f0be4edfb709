/*
 * Comparing one table on both nodes by content.
 *
 * Each side computes, in one scan, a count and an order-independent sum of row hashes per bucket of
 * keys (md5, since the servers' own hash functions differ between versions); only buckets that
 * differ are read again to name the keys. While the two sides are in use, a difference may just be
 * a change on its way: the caller waits until the copy has caught up and asks verify_recheck()
 * about those keys.
 */
#ifndef VERIFY_VERIFY_H
#define VERIFY_VERIFY_H

#include "model/table.h"
#include "pg/conn.h"

typedef enum DiffKind { DIFF_MISSING, DIFF_EXTRA, DIFF_CHANGED } DiffKind;

typedef struct Diff {
    DiffKind kind; /* the row is missing on dst, only on dst, or different */
    bool moving;   /* set by callers: the row changed while it was looked at */
    const char *
        *key; /* the key's values as text, n_keys of the table; NULL for a table without key */
} Diff;

typedef struct VerifyResult {
    int64_t src_rows;
    int64_t dst_rows;
    int64_t n_diffs; /* all that were found */
    Diff *diffs;     /* at most max_diffs of them */
    size_t n_listed;
    bool
        truncated; /* enough were found, the rest of the table was not looked at: n_diffs is not all */
    bool keyless_different; /* a table without key differs: rows cannot be named, n_diffs is 1 */
} VerifyResult;

/*
 * Compares the whole table; result belongs to ctx. Each side is read first in one statement (src
 * first), then again for what differs, so in transactions of the caller's isolation level. Memory
 * does not grow with the table.
 */
CHECKED bool verify_table(const void *ctx, Conn *src, Conn *dst, const TablePair *pair,
                          size_t max_diffs, VerifyResult *ret_result, Err *err);

/*
 * Looks again at the keys in diffs[0..n): *ret_equal[i] tells whether the row is now the same on
 * both sides. src and dst are each read in one statement per batch of keys; src first.
 */
CHECKED bool verify_recheck(const void *ctx, Conn *src, Conn *dst, const TablePair *pair,
                            const Diff *diffs, size_t n, bool *ret_equal, Err *err);

/* "(7)" or "(a, 2024-01-01)" for messages; belongs to ctx */
char *verify_key_text(const void *ctx, const TablePair *pair, const Diff *diff);

#endif
