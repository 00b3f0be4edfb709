/*
 * Comparing a table by content: see verify.h.
 *
 * Two texts stand for a row, and both have to be the same on any two servers for the same value:
 * the key's (which decides the bucket and pairs the rows) and the whole row's (which is hashed).
 * Sessions pin every setting that matters; what is left are floats, whose text changed in
 * PostgreSQL 12, so between an older and a newer server they are compared by their bytes, and those
 * within arrays and other types by 15 digits.
 */
#include "verify/verify.h"

#include <stdlib.h>
#include <string.h>

enum {
    MIN_BUCKETS = 4096, /* powers of two */
    MAX_BUCKETS = 256 * 1024,
    ROWS_PER_BUCKET = 20000, /* beyond that, more buckets */
    ROWS_PER_READ = 200000,  /* of both sides together, when buckets are read again */
    BUCKETS_PER_READ = 64,
    KEYS_PER_RECHECK = 200,
    HASH_PART_DIGITS = 15 /* hex digits: 60 bits, so that a part is a positive bigint */
};

/* what the two sessions have in common for one table */
typedef struct Compare {
    const TablePair *pair;
    Conn *src;
    Conn *dst;
    bool mixed_floats; /* exactly one of the servers writes short floats */
    bool convert;      /* the databases' encodings differ: texts are hashed as UTF-8 */
    int64_t n_buckets;
} Compare;

/* count and hash sums of the rows of one bucket */
typedef struct Bucket {
    int64_t rows;
    const char *sum_1;
    const char *sum_2;
} Bucket;

/* columns of the statements that read rows: bucket, hash, key values */
enum { ROW_BUCKET, ROW_HASH, ROW_KEY };

typedef struct RowRef {
    const Rows *rows;
    size_t row;
    size_t n_keys;
} RowRef;

/*
 * the key as one side knows it: its own operators and collations, in the source's order of columns
 */
static const KeyColumn *side_key(const TablePair *pair, const Table *side, size_t k)
{
    const KeyColumn *key = &pair->src->keys[k];

    for (size_t i = 0; i < side->n_keys; i++)
        if (strcmp(side->keys[i].name, key->name) == 0)
            return &side->keys[i];
    return key;
}

static const Column *key_column(const TablePair *pair, size_t k)
{
    return table_column(pair->src, pair->src->keys[k].name);
}

static bool is_float4(const Column *column)
{
    return strcmp(column->type, "real") == 0;
}

static void add_column(Sql *q, const char *name)
{
    sql_add(q, "t.");
    sql_ident(q, name);
}

/* a float by its bytes; all NaNs are one value, whatever their bits */
static void add_float(Sql *q, const Column *column)
{
    sql_add(q, "CASE WHEN ");
    add_column(q, column->name);
    sql_add(q, " = 'NaN' THEN 'NaN' ELSE pg_catalog.encode(pg_catalog.");
    if (is_float4(column))
        sql_add(q, "float4send(");
    else
        sql_add(q, "float8send(");
    add_column(q, column->name);
    sql_add(q, "), 'hex') END");
}

/* the value of a key column as text */
static void add_key_value(Sql *q, const Compare *c, size_t k)
{
    const KeyColumn *key = &c->pair->src->keys[k];
    const Column *column = key_column(c->pair, k);

    if (c->mixed_floats && column != NULL && column->is_float) {
        add_float(q, column);
    } else if (key->plain) {
        add_column(q, key->name);
        sql_add(q, "::pg_catalog.text");
    } else {
        /* by the type's output function: somebody may have made a cast to text that says less */
        sql_add(q, "pg_catalog.format('%s', ");
        add_column(q, key->name);
        sql_add(q, ")");
    }
}

/* pg_catalog.md5(text) */
static void add_md5_begin(Sql *q, const Compare *c)
{
    sql_add(q, "pg_catalog.md5(");
    if (c->convert)
        sql_add(q, "pg_catalog.convert_to(");
}

static void add_md5_end(Sql *q, const Compare *c)
{
    if (c->convert)
        sql_add(q, ", 'UTF8')");
    sql_add(q, ")");
}

static void add_bucket(Sql *q, const Compare *c)
{
    if (c->pair->src->n_keys == 0) {
        sql_add(q, "0");
        return;
    }
    sql_add(q, "('x' || pg_catalog.substr(");
    add_md5_begin(q, c);
    for (size_t k = 0; k < c->pair->src->n_keys; k++) {
        if (k > 0)
            sql_add(q, " || E'\\x1f' || ");
        sql_add(q, "(");
        add_key_value(q, c, k);
        sql_add(q, ")");
    }
    add_md5_end(q, c);
    sql_add(q, ", 1, 8))::pg_catalog.bit(32)::pg_catalog.int4 & ");
    sql_number(q, c->n_buckets - 1);
}

static void add_row_hash(Sql *q, const Compare *c)
{
    add_md5_begin(q, c);
    sql_add(q, "ROW(");
    for (size_t i = 0; i < c->pair->n_columns; i++) {
        const Column *column = c->pair->columns[i];

        if (i > 0)
            sql_add(q, ", ");
        if (c->mixed_floats && column->is_float) {
            add_float(q, column);
        } else {
            add_column(q, column->name);
            /* bytes beyond ASCII have another text since PostgreSQL 16 */
            if (strcmp(column->type, "\"char\"") == 0)
                sql_add(q, "::pg_catalog.int4");
        }
    }
    sql_add(q, ")::pg_catalog.text");
    add_md5_end(q, c);
}

static void add_from(Sql *q, const Table *side)
{
    AUTO_CTX(tmp, NULL);

    sql_add(q, " FROM ");
    sql_trusted(q, table_rows_ref(tmp, side));
    sql_add(q, " t");
}

static bool read_encoding(const void *ctx, Conn *conn, const char **ret_encoding, Err *err)
{
    Sql *q = sql_new(ctx);
    Rows *rows;

    sql_add(q, "SELECT pg_catalog.current_setting('server_encoding')");
    if (!conn_query(ctx, conn, q, &rows, err))
        return false;
    *ret_encoding = rows_text(rows, 0, 0);
    return true;
}

static int64_t buckets_for(const TablePair *pair)
{
    double src = pair->src->tuples, dst = pair->dst->tuples, rows = src > dst ? src : dst;
    int64_t n = MIN_BUCKETS;

    while (n < MAX_BUCKETS && (double)n * ROWS_PER_BUCKET < rows)
        n *= 2;
    return n;
}

static bool compare_begin(Compare *c, Conn *src, Conn *dst, const TablePair *pair, Err *err)
{
    AUTO_CTX(tmp, NULL);
    const char *src_encoding, *dst_encoding;

    *c = (Compare){.pair = pair, .src = src, .dst = dst, .n_buckets = buckets_for(pair)};
    if (!read_encoding(tmp, src, &src_encoding, err) ||
        !read_encoding(tmp, dst, &dst_encoding, err))
        return false;
    c->convert = strcmp(src_encoding, dst_encoding) != 0;
    c->mixed_floats = conn_caps(src)->has_short_floats != conn_caps(dst)->has_short_floats;
    if (!c->mixed_floats)
        return true;
    return conn_do(src, "SET extra_float_digits = 0", err) &&
           conn_do(dst, "SET extra_float_digits = 0", err);
}

/* back to what every session has; ok and err tell how the comparison went */
static bool compare_end(const Compare *c, bool ok, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Err *restoring =
        ok ? err : err_new(tmp); /* the first error counts; a rollback restores as well */

    if (!c->mixed_floats)
        return ok;
    bool src_ok = conn_do(c->src, "SET extra_float_digits = 3", restoring);
    bool dst_ok = conn_do(c->dst, "SET extra_float_digits = 3", restoring);
    return ok && src_ok && dst_ok;
}

/*
 * one scan of one side: buckets by number, those without rows have no sums. The texts belong to
 * ctx.
 */
static bool read_buckets(const void *ctx, Conn *conn, const Compare *c, const Table *side,
                         Bucket *buckets, int64_t *ret_rows, Err *err)
{
    Sql *q = sql_new(ctx);
    Rows *rows;

    sql_add(q, "SELECT s.b, pg_catalog.count(*), ");
    for (int part = 0; part < 2; part++) {
        sql_add(q, "pg_catalog.sum(('x' || pg_catalog.substr(s.h, ");
        sql_number(q, part * 16 + 1);
        sql_add(q, ", ");
        sql_number(q, HASH_PART_DIGITS);
        sql_add(q, "))::pg_catalog.bit(60)::pg_catalog.int8)");
        if (part == 0)
            sql_add(q, ", ");
    }
    sql_add(q, " FROM (SELECT ");
    add_bucket(q, c);
    sql_add(q, " AS b, ");
    add_row_hash(q, c);
    sql_add(q, " AS h");
    add_from(q, side);
    /* OFFSET 0 keeps the planner from computing the hash once for each use of it */
    sql_add(q, " OFFSET 0) s GROUP BY s.b");
    if (!conn_query(ctx, conn, q, &rows, err))
        return false;
    *ret_rows = 0;
    for (size_t r = 0; r < rows_count(rows); r++) {
        Bucket *bucket = &buckets[rows_i64(rows, r, 0)];

        bucket->rows = rows_i64(rows, r, 1);
        bucket->sum_1 = rows_text(rows, r, 2);
        bucket->sum_2 = rows_text(rows, r, 3);
        *ret_rows += bucket->rows;
    }
    return true;
}

static bool same_bucket(const Bucket *a, const Bucket *b)
{
    if (a->rows != b->rows)
        return false;
    return a->rows == 0 || (strcmp(a->sum_1, b->sum_1) == 0 && strcmp(a->sum_2, b->sum_2) == 0);
}

/* keys and hashes of the rows of some buckets */
static bool read_rows(const void *ctx, Conn *conn, const Compare *c, const Table *side,
                      const int64_t *buckets, size_t n_buckets, Rows **ret_rows, Err *err)
{
    Sql *q = sql_new(ctx);

    sql_add(q, "SELECT s.* FROM (SELECT ");
    add_bucket(q, c);
    sql_add(q, " AS b, ");
    add_row_hash(q, c);
    sql_add(q, " AS h");
    for (size_t k = 0; k < c->pair->src->n_keys; k++) {
        sql_add(q, ", ");
        add_key_value(q, c, k);
    }
    add_from(q, side);
    /* no OFFSET 0 here: only the rows that pass the condition should be hashed */
    sql_add(q, ") s WHERE s.b IN (");
    for (size_t i = 0; i < n_buckets; i++) {
        if (i > 0)
            sql_add(q, ", ");
        sql_number(q, buckets[i]);
    }
    sql_add(q, ")");
    return conn_query(ctx, conn, q, ret_rows, err);
}

static int compare_keys(const RowRef *a, const RowRef *b)
{
    for (size_t k = 0; k < a->n_keys; k++) {
        const char *x = rows_text(a->rows, a->row, ROW_KEY + (int)k);
        const char *y = rows_text(b->rows, b->row, ROW_KEY + (int)k);
        int order = strcmp(x == NULL ? "" : x, y == NULL ? "" : y);

        if (order != 0)
            return order;
    }
    return 0;
}

/* by key, and rows that share a key (on a table that has no index yet) by content */
static int compare_rows(const void *a, const void *b)
{
    const RowRef *x = a, *y = b;
    int order = compare_keys(x, y);

    return order != 0
               ? order
               : strcmp(rows_text(x->rows, x->row, ROW_HASH), rows_text(y->rows, y->row, ROW_HASH));
}

/*
 * sorted here and not by the servers, which may order the bytes of different encodings differently
 */
static RowRef *sorted_rows(const void *ctx, const Rows *rows, size_t n_keys)
{
    size_t n = rows_count(rows);
    RowRef *refs = mem_array(ctx, RowRef, n + 1);

    for (size_t i = 0; i < n; i++)
        refs[i] = (RowRef){.rows = rows, .row = i, .n_keys = n_keys};
    qsort(refs, n, sizeof *refs, compare_rows);
    return refs;
}

/*
 * the bytes of a float, as add_float() delivers them, as a text that any server reads as exactly
 * that value
 */
static char *float_text(const void *ctx, const Column *column, const char *hex)
{
    uint64_t bits = strtoull(hex, NULL, 16);

    if (strcmp(hex, "NaN") == 0)
        return mem_strdup(ctx, hex);
    if (is_float4(column)) {
        uint32_t bits_4 = (uint32_t)bits;
        float value;

        memcpy(&value, &bits_4, sizeof value);
        return mem_printf(ctx, "%.9g", (double)value);
    }
    double value;
    memcpy(&value, &bits, sizeof value);
    return mem_printf(ctx, "%.17g", value);
}

/* counts a difference, and lists it as long as the list is not full */
static void add_diff(VerifyResult *result, const Compare *c, DiffKind kind, const RowRef *row,
                     size_t max_diffs)
{
    size_t n_keys = c->pair->src->n_keys;

    result->n_diffs++;
    if (result->n_listed == max_diffs)
        return;
    Diff *diff = &result->diffs[result->n_listed++];
    diff->kind = kind;
    if (row == NULL)
        return;
    diff->key = mem_array(result->diffs, const char *, n_keys);
    for (size_t k = 0; k < n_keys; k++) {
        const char *text = rows_text(row->rows, row->row, ROW_KEY + (int)k);
        const Column *column = key_column(c->pair, k);

        if (text == NULL)
            text = "";
        diff->key[k] = c->mixed_floats && column != NULL && column->is_float
                           ? float_text(result->diffs, column, text)
                           : mem_strdup(result->diffs, text);
    }
}

static void merge_rows(VerifyResult *result, const Compare *c, const RowRef *src, size_t n_src,
                       const RowRef *dst, size_t n_dst, size_t max_diffs)
{
    size_t s = 0, d = 0;

    while (s < n_src || d < n_dst) {
        int order = s == n_src ? 1 : d == n_dst ? -1 : compare_keys(&src[s], &dst[d]);

        if (order < 0) {
            add_diff(result, c, DIFF_MISSING, &src[s++], max_diffs);
        } else if (order > 0) {
            add_diff(result, c, DIFF_EXTRA, &dst[d++], max_diffs);
        } else {
            if (compare_rows(&src[s], &dst[d]) != 0)
                add_diff(result, c, DIFF_CHANGED, &src[s], max_diffs);
            s++;
            d++;
        }
    }
}

/* reads some buckets again on both sides and adds what differs */
static bool compare_buckets(VerifyResult *result, const Compare *c, const int64_t *buckets,
                            size_t n, size_t max_diffs, Err *err)
{
    AUTO_CTX(tmp, NULL);
    size_t n_keys = c->pair->src->n_keys;
    Rows *src, *dst;

    if (!read_rows(tmp, c->src, c, c->pair->src, buckets, n, &src, err) ||
        !read_rows(tmp, c->dst, c, c->pair->dst, buckets, n, &dst, err))
        return false;
    merge_rows(result, c, sorted_rows(tmp, src, n_keys), rows_count(src),
               sorted_rows(tmp, dst, n_keys), rows_count(dst), max_diffs);
    return true;
}

static bool compare_table(VerifyResult *result, const Compare *c, size_t max_diffs, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Bucket *src = mem_array(tmp, Bucket, c->n_buckets), *dst = mem_array(tmp, Bucket, c->n_buckets);
    int64_t batch[BUCKETS_PER_READ], rows_in_batch = 0;
    size_t n_batch = 0;

    if (!read_buckets(tmp, c->src, c, c->pair->src, src, &result->src_rows, err) ||
        !read_buckets(tmp, c->dst, c, c->pair->dst, dst, &result->dst_rows, err))
        return false;
    for (int64_t b = 0; b < c->n_buckets; b++) {
        if (same_bucket(&src[b], &dst[b]))
            continue;
        if (c->pair->src->n_keys == 0) {
            result->keyless_different = true;
            add_diff(result, c, DIFF_CHANGED, NULL, max_diffs);
            return true;
        }
        /*
         * a batch is read when the next bucket does not fit, so that we know whether there is more
         */
        if (n_batch == BUCKETS_PER_READ ||
            (n_batch > 0 && rows_in_batch + src[b].rows + dst[b].rows > ROWS_PER_READ)) {
            if (!compare_buckets(result, c, batch, n_batch, max_diffs, err))
                return false;
            n_batch = 0;
            rows_in_batch = 0;
            if (result->n_diffs > 0 && result->n_diffs >= (int64_t)max_diffs) {
                result->truncated = true;
                return true;
            }
        }
        batch[n_batch++] = b;
        rows_in_batch += src[b].rows + dst[b].rows;
    }
    return n_batch == 0 || compare_buckets(result, c, batch, n_batch, max_diffs, err);
}

bool verify_table(const void *ctx, Conn *src, Conn *dst, const TablePair *pair, size_t max_diffs,
                  VerifyResult *ret_result, Err *err)
{
    AUTO_CTX(tmp, NULL);
    VerifyResult result = {.diffs = mem_array(ctx, Diff, max_diffs + 1)};
    Compare c;

    bool ok = compare_begin(&c, src, dst, pair, err) && compare_table(&result, &c, max_diffs, err);
    if (!compare_end(&c, ok, err)) {
        talloc_free(result.diffs);
        return err_add(err, "while comparing table %s", table_label(tmp, pair->src));
    }
    *ret_result = result;
    return true;
}

/* hashes of the rows with these keys on one side, by the key's number; NULL where there is none */
static bool read_keys(const void *ctx, Conn *conn, const Compare *c, const Table *side,
                      const Diff *diffs, size_t n, const char **hashes, Err *err)
{
    Sql *q = sql_new(ctx);
    size_t n_keys = c->pair->src->n_keys;
    Rows *rows;

    sql_add(q, "SELECT v.n, pg_catalog.string_agg(");
    add_row_hash(q, c);
    sql_add(q, ", ',' ORDER BY ");
    add_row_hash(q, c);
    sql_add(q, " COLLATE pg_catalog.\"C\") FROM (VALUES ");
    for (size_t i = 0; i < n; i++) {
        if (i > 0)
            sql_add(q, ", ");
        sql_add(q, "(");
        sql_number(q, (int64_t)i);
        for (size_t k = 0; k < n_keys; k++) {
            sql_add(q, ", ");
            sql_text(q, diffs[i].key[k]);
            sql_add(q, "::");
            sql_trusted(q, side_key(c->pair, side, k)->type);
        }
        sql_add(q, ")");
    }
    sql_add(q, ") AS v (n");
    for (size_t k = 0; k < n_keys; k++) {
        sql_add(q, ", k");
        sql_number(q, (int64_t)k + 1);
    }
    sql_add(q, ") JOIN ");
    sql_trusted(q, table_rows_ref(ctx, side));
    sql_add(q, " t ON ");
    for (size_t k = 0; k < n_keys; k++) {
        const KeyColumn *key = side_key(c->pair, side, k);

        if (k > 0)
            sql_add(q, " AND ");
        add_column(q, key->name);
        sql_add(q, " ");
        sql_trusted(q, key->eq_op);
        sql_add(q, " v.k");
        sql_number(q, (int64_t)k + 1);
        if (key->collation != NULL) {
            sql_add(q, " COLLATE ");
            sql_trusted(q, key->collation);
        }
    }
    sql_add(q, " GROUP BY v.n");
    if (!conn_query(ctx, conn, q, &rows, err))
        return false;
    for (size_t r = 0; r < rows_count(rows); r++)
        hashes[rows_i64(rows, r, 0)] = rows_text(rows, r, 1);
    return true;
}

/* one batch of keys on both sides */
static bool recheck_keys(const Compare *c, const Diff *diffs, size_t n, bool *ret_equal, Err *err)
{
    AUTO_CTX(tmp, NULL);
    const char **src = mem_array(tmp, const char *, n), **dst = mem_array(tmp, const char *, n);

    if (!read_keys(tmp, c->src, c, c->pair->src, diffs, n, src, err) ||
        !read_keys(tmp, c->dst, c, c->pair->dst, diffs, n, dst, err))
        return false;
    for (size_t i = 0; i < n; i++)
        ret_equal[i] =
            src[i] == NULL || dst[i] == NULL ? src[i] == dst[i] : strcmp(src[i], dst[i]) == 0;
    return true;
}

static bool recheck_whole(const Compare *c, bool *ret_equal, Err *err)
{
    VerifyResult result = {0};

    if (!compare_table(&result, c, 0, err))
        return false;
    *ret_equal = !result.keyless_different;
    return true;
}

bool verify_recheck(const void *ctx, Conn *src, Conn *dst, const TablePair *pair, const Diff *diffs,
                    size_t n, bool *ret_equal, Err *err)
{
    AUTO_CTX(tmp, ctx);
    Compare c;
    bool ok = compare_begin(&c, src, dst, pair, err);
    size_t batch;

    for (size_t i = 0; ok && i < n; i += batch) {
        if (pair->src->n_keys == 0) {
            batch = 1;
            ok = recheck_whole(&c, &ret_equal[i], err);
        } else {
            batch = n - i < KEYS_PER_RECHECK ? n - i : KEYS_PER_RECHECK;
            ok = recheck_keys(&c, &diffs[i], batch, &ret_equal[i], err);
        }
    }
    if (!compare_end(&c, ok, err))
        return err_add(err, "while comparing table %s", table_label(tmp, pair->src));
    return true;
}

char *verify_key_text(const void *ctx, const TablePair *pair, const Diff *diff)
{
    Str *s = str_new(ctx);

    if (diff->key == NULL)
        return mem_strdup(ctx, "(some rows)");
    str_char(s, '(');
    for (size_t k = 0; k < pair->src->n_keys; k++) {
        if (k > 0)
            str_add(s, ", ");
        str_add(s, diff->key[k]);
    }
    str_char(s, ')');
    return s->text;
}
