/*
 * Apply: brings the rows of changed keys on dst to what they are on src at the round's snapshot.
 *
 * The keys are joined to the table on src, inside the round's REPEATABLE READ transaction, and
 * streamed by COPY into a temporary staging table on dst; a key without a row is a deletion. Then
 * three set-based statements delete, update and insert. Doing it again changes nothing.
 */
#ifndef APPLY_APPLY_H
#define APPLY_APPLY_H

#include "model/table.h"
#include "pg/conn.h"

typedef struct ApplyStats {
    int64_t rows;    /* keys handled */
    int64_t bytes;   /* streamed */
    int64_t deleted; /* deletions that found a row */
} ApplyStats;

/*
 * How rows get to their new state. UPDATE keeps rows in place and is the rule. REPLACE deletes
 * every handled key first and inserts what exists: for unique values that swap between rows, for
 * rows loaded twice by the copy, and for columns that cannot be updated.
 */
typedef enum ApplyMode { APPLY_UPDATE, APPLY_REPLACE } ApplyMode;

/*
 * What may look at the staged keys before they are applied, and take some out. The stage (named by
 * apply_stage_sql()) has the columns present, k1 …, at (of a timed pair) and c1 … The filter tells how
 * many rows of the keys that are left exist on dst: to be updated, and to be deleted. When others are
 * found, somebody has written a row since it looked; then nothing may be applied.
 */
typedef struct ApplyExpected {
    int64_t updates;
    int64_t deletes;
} ApplyExpected;

/* staged rows that collide with other rows of dst */
typedef struct ApplyRefused {
    const char *why; /* what the server said of the first one */
    int64_t written; /* of them, after the filter had made room */
    int64_t dropped; /* and those that it took out of the stage */
} ApplyRefused;

typedef struct ApplyFilter {
    void *arg;
    bool (*run)(struct ApplyFilter *self, const TablePair *table, Conn *dst,
                ApplyExpected *ret_expected, Err *err);
    /*
     * the rows that are left in the stage could not be inserted next to those on dst, deleting before
     * inserting did not help; has to leave none, by apply_staged_inserts() or by taking them out
     */
    bool (*refused)(struct ApplyFilter *self, TablePair *table, Conn *dst, ApplyRefused *refused,
                    Err *err);
    /* when all tables of the round are applied; may be NULL */
    bool (*end)(struct ApplyFilter *self, Conn *dst, Err *err);
    bool whole; /* for run: src was truncated, so all rows on dst go; it may take that back */
    bool looks; /* run has something to look at: otherwise it is not called, and expects nothing */
    bool exact; /* others write on dst as well: what run expects has to be found */
    bool again; /* outrun by such a write: the round has to be made again */
} ApplyFilter;

/* UPDATE cannot reach every column of the table on dst: rows are deleted and inserted */
bool apply_needs_replace(const TablePair *table);

/* the staging table of a pair on dst; belongs to ctx */
char *apply_stage_sql(const void *ctx, const TablePair *table);

/* the key columns k1 … of a stage, each behind prefix: a separator with an alias, such as ", s.k" */
void apply_add_keys(Sql *q, const TablePair *table, const char *prefix);

/* t.key = s.k1 AND …, with the key index's own operators; `other` is the alias that has k1, k2 … */
void apply_add_match(Sql *q, const Table *table, const char *other);

/* makes the staging table unless it is there, and that of apply_kept_sql() */
CHECKED bool apply_make_stage(TablePair *table, Conn *dst, Err *err);

/*
 * of a pair with keep_keys: the keys that the round has handled, as a table with the columns present and
 * k1 …; the round's end has to empty it
 */
char *apply_kept_sql(const void *ctx, const TablePair *table);
CHECKED bool apply_forget_kept(TablePair *table, Conn *dst, Err *err);

/*
 * inserts those staged rows that dst has room for, and takes them out of the stage; only for rows whose
 * keys are not on dst
 */
CHECKED bool apply_staged_inserts(const TablePair *table, Conn *dst, ApplyFilter *filter,
                                  int64_t *ret_rows, Err *err);

/*
 * Applies the keys that the query `keys` (columns k1, k2 …) finds on src. whole: the table was
 * truncated, so all rows on dst go first. Both connections are in the round's transactions. Adds to
 * *stats. Compares the number of rows it wrote with the number it was sent; a difference is
 * ERR_STATE. filter may be NULL. Where dst has rows that are not in the run these are left alone: part.h.
 */
CHECKED bool apply_keys(TablePair *table, Conn *src, Conn *dst, const Sql *keys, bool whole,
                        ApplyMode mode, ApplyFilter *filter, ApplyStats *stats, Err *err);

/*
 * The same in parts, for tables whose foreign keys act on dst: all tables are staged first, then written in
 * an order that the foreign keys allow, and unstaged at last. apply_upserts() and apply_deletes() may come in
 * either order. No row is deleted to be inserted again, as deleting may take rows of other tables along.
 * expected is what apply_stage() returned.
 */
CHECKED bool apply_stage(TablePair *table, Conn *src, Conn *dst, const Sql *keys, bool *whole,
                         ApplyFilter *filter, ApplyExpected *ret_expected, ApplyStats *stats,
                         Err *err);
CHECKED bool apply_upserts(TablePair *table, Conn *dst, ApplyFilter *filter,
                           const ApplyExpected *expected, Err *err);
/* whole: also all rows that are not staged */
CHECKED bool apply_deletes(TablePair *table, Conn *dst, bool whole, ApplyFilter *filter,
                           const ApplyExpected *expected, ApplyStats *stats, Err *err);
/* how many of the staged rows that exist on src do on dst: adds to *count */
CHECKED bool apply_count_existing(const TablePair *table, Conn *dst, int64_t *count, Err *err);
CHECKED bool apply_unstage(TablePair *table, Conn *dst, Err *err);

/*
 * Copies the rows of these keys into the table on dst, without looking whether they are there: for
 * keys that are new. A unique violation means that they are not, and the round has to be repeated
 * with apply_keys().
 */
CHECKED bool apply_inserts(const TablePair *table, Conn *src, Conn *dst, const Sql *keys,
                           ApplyStats *stats, Err *err);

/*
 * For tables without key: `images` (queue_images()) finds on src how many rows with which values came and went.
 * Takes exactly as many equal rows away on dst, and inserts the others. A row that is not there, or does
 * not fit, is an error: then dst is not what it should be.
 */
CHECKED bool apply_images(TablePair *table, Conn *src, Conn *dst, const Sql *images,
                          ApplyStats *stats, Err *err);

/*
 * For configuration tables of extensions: makes the users' rows on dst those of src, and leaves the extension's own
 * alone. A row is the users' if either node's condition says so. Where the extension has a row of its own with the
 * key of one of theirs, and other values, that is ERR_STATE: neither may give way. Both connections are in
 * transactions.
 */
CHECKED bool apply_config_rows(const TablePair *table, Conn *src, Conn *dst, ApplyStats *stats,
                               Err *err);

/* replaces all rows of the table on dst by those of src: for tables without key */
CHECKED bool apply_whole_table(const TablePair *table, Conn *src, Conn *dst, ApplyStats *stats,
                               Err *err);

/* the two halves of it */
CHECKED bool apply_empty_table(const TablePair *table, Conn *dst, Err *err);
CHECKED bool apply_all_rows(const TablePair *table, Conn *src, Conn *dst, ApplyStats *stats,
                            Err *err);

/*
 * sets sequences on dst to their state on src where they differ from what was last set; see
 * SequenceState
 */
typedef struct SequenceState {
    const Sequence *sequence; /* of the node that it is read from */
    const Sequence *copy;     /* of the other one; NULL: it is called alike there */
    int64_t last_value;
    bool is_called;
    bool known; /* last_value and is_called are what dst has */
} SequenceState;

CHECKED bool apply_sequences(SequenceState *states, size_t n, Conn *src, Conn *dst,
                             size_t *ret_moved, Err *err);

#endif
