/* The initial copy: see copy.h. */
#include "copy/copy.h"

#include <stdlib.h>
#include <string.h>

#include "base/fault.h"
#include "base/str.h"
#include "model/binary.h"
#include "model/filter.h"
#include "sql/queries.h"

enum {
    MAX_CHUNKS_PER_RELATION = 10000,
    CHUNKS_BEYOND_MINIMUM = 2,
    FROZEN_MIN_BYTES =
        1024 * 1024 /* for less the new files of a TRUNCATE cost more than they save */
};

static bool add_chunk(Conn *dst, const Chunk *chunk, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Sql *q = sql_new(tmp);

    sql_add(q, "INSERT INTO pgtandem.chunk (tab, no, rel_schema, rel_name, kind, lo, hi, filenode, "
               "bytes) VALUES (");
    sql_i64(q, chunk->tab);
    sql_add(q, ", ");
    sql_i64(q, chunk->no);
    sql_add(q, ", ");
    sql_text(q, chunk->rel_schema);
    sql_add(q, ", ");
    sql_text(q, chunk->rel_name);
    sql_add(q, ", ");
    sql_text(q, chunk->kind);
    sql_add(q, ", ");
    sql_text(q, chunk->lo);
    sql_add(q, ", ");
    sql_text(q, chunk->hi);
    sql_add(q, ", ");
    sql_i64(q, chunk->filenode);
    sql_add(q, ", ");
    sql_i64(q, chunk->bytes);
    sql_add(q, ")");
    return conn_exec(dst, q, err);
}

/* smallest and largest value of the integer key; false in *ret_any for an empty table */
static bool key_range(const void *ctx, Conn *src, const Table *table, const Chunk *rel,
                      bool *ret_any, int64_t *ret_min, int64_t *ret_max, Err *err)
{
    Sql *q = sql_new(ctx);
    Rows *rows;

    sql_add(q, "SELECT min(t.");
    sql_ident(q, table->keys[0].name);
    sql_add(q, "), max(t.");
    sql_ident(q, table->keys[0].name);
    sql_add(q, ") FROM ONLY ");
    sql_name(q, rel->rel_schema, rel->rel_name);
    sql_add(q, " t");
    if (!conn_query(ctx, src, q, &rows, err))
        return false;
    *ret_any = rows_text(rows, 0, 0) != NULL;
    *ret_min = *ret_any ? rows_i64(rows, 0, 0) : 0;
    *ret_max = *ret_any ? rows_i64(rows, 0, 1) : 0;
    return true;
}

/* lo + step * i, which is in range although step * i need not be */
static long long nth_bound(int64_t lo, int64_t step, int64_t i)
{
    return (long long)((uint64_t)lo + (uint64_t)step * (uint64_t)i);
}

/* splits one physical relation; *no counts on over the relations of a table */
static bool plan_relation(Conn *src, Conn *dst, const Table *table, const Chunk *rel,
                          int64_t blocks, int64_t chunk_bytes, int *no, Err *err)
{
    AUTO_CTX(tmp, NULL);
    int64_t bytes = rel->bytes;
    int64_t n = bytes / chunk_bytes + 1, lo = 0, hi = 0;
    Chunk chunk = *rel;

    chunk.kind = "whole";
    if (n > MAX_CHUNKS_PER_RELATION)
        n = MAX_CHUNKS_PER_RELATION;
    if (n >= CHUNKS_BEYOND_MINIMUM && conn_caps(src)->has_tid_range_scan) {
        chunk.kind = "ctid";
        hi = blocks;
    } else if (n >= CHUNKS_BEYOND_MINIMUM && table->key_is_int) {
        bool any;

        if (!key_range(tmp, src, table, rel, &any, &lo, &hi, err))
            return false;
        if (any && hi / n > lo / n)
            chunk.kind = "key";
    }
    if (strcmp(chunk.kind, "whole") == 0)
        n = 1;
    for (int64_t i = 0; i < n; i++) {
        /* the first and the last range are open, since rows may come before and behind */
        int64_t step = hi / n - lo / n;

        chunk.no = (*no)++;
        chunk.bytes = bytes / n;
        chunk.lo = i == 0 ? NULL : mem_printf(tmp, "%lld", nth_bound(lo, step, i));
        chunk.hi = i == n - 1 ? NULL : mem_printf(tmp, "%lld", nth_bound(lo, step, i + 1));
        if (!add_chunk(dst, &chunk, err))
            return false;
    }
    return true;
}

/* in the caller's transaction on dst */
static bool plan_table(Conn *src, Conn *dst, const Table *table, int64_t chunk_bytes, Err *err)
{
    AUTO_CTX(tmp, NULL);
    TriggerRelationsRow *rels;
    size_t n_rels;
    Chunk all = {.tab = table->id,
                 .no = 1,
                 .rel_schema = table->schema,
                 .rel_name = table->name,
                 .kind = "whole"};
    int no = 1;

    if (!q_trigger_relations(tmp, src, table->oid, &rels, &n_rels, err))
        return false;
    for (size_t i = 0; i < n_rels; i++) {
        RelationFilenodeRow *file;
        size_t n_file;

        if (strcmp(rels[i].kind, "r") != 0)
            continue;
        if (!q_relation_filenode(tmp, src, rels[i].schema_name, rels[i].table_name, &file, &n_file,
                                 err))
            return false;
        if (n_file == 0)
            continue;
        Chunk rel = {.tab = table->id,
                     .rel_schema = rels[i].schema_name,
                     .rel_name = rels[i].table_name,
                     .filenode = file[0].filenode,
                     .bytes = file[0].bytes};
        all.filenode = table->partitioned ? 0 : rel.filenode;
        all.bytes += rel.bytes;
        if (table->n_keys > 0 &&
            !plan_relation(src, dst, table, &rel, file[0].blocks, chunk_bytes, &no, err))
            return false;
    }
    /*
     * A table without key is read in one snapshot, with all its partitions: which of the captured changes
     * are in the copy already is known only then.
     */
    return table->n_keys > 0 || add_chunk(dst, &all, err);
}

bool copy_plan(Conn *src, Conn *dst, const Table *table, int64_t chunk_bytes, Err *err)
{
    AUTO_CTX(tmp, NULL);

    return plan_table(src, dst, table, chunk_bytes, err) ||
           err_add(err, "while planning the copy of table %s", table_label(tmp, table));
}

static Chunk chunk_of_row(const ChunksRow *row)
{
    return (Chunk){.tab = row->tab,
                   .no = row->no,
                   .rel_schema = row->rel_schema,
                   .rel_name = row->rel_name,
                   .kind = row->kind,
                   .lo = row->lo,
                   .hi = row->hi,
                   .filenode = row->filenode,
                   .bytes = row->bytes,
                   .done = row->done};
}

bool copy_chunks(const void *ctx, Conn *dst, int tab, Chunk **ret_chunks, size_t *ret_n, Err *err)
{
    ChunksRow *rows;
    size_t n;

    if (!q_chunks(ctx, dst, tab, 0, &rows, &n, err))
        return false;
    Chunk *chunks = mem_array(ctx, Chunk, n + 1);
    for (size_t i = 0; i < n; i++)
        chunks[i] = chunk_of_row(&rows[i]);
    *ret_chunks = chunks;
    *ret_n = n;
    return true;
}

bool copy_find_chunk(const void *ctx, Conn *dst, int tab, int no, Chunk *ret_chunk, bool *ret_lone,
                     Err *err)
{
    ChunksRow *rows;
    size_t n;

    if (!q_chunks(ctx, dst, tab, no, &rows, &n, err))
        return false;
    if (n != 1)
        return err_set(err, ERR_BUG, "there is no chunk %d of table number %d", no, tab);
    *ret_chunk = chunk_of_row(&rows[0]);
    *ret_lone = rows[0].in_table == 1;
    return true;
}

static void add_bound(Sql *q, const Table *table, const Chunk *chunk, const char *op,
                      const char *value)
{
    if (strcmp(chunk->kind, "ctid") == 0) {
        sql_add(q, "t.ctid ");
        sql_trusted(q, op);
        sql_add(q, " '(");
        sql_trusted(q, value);
        sql_add(q, ",0)'::tid");
    } else {
        sql_add(q, "t.");
        sql_ident(q, table->keys[0].name);
        sql_add(q, " ");
        sql_trusted(q, op);
        sql_add(q, " ");
        sql_literal(q, value);
        sql_add(q, "::bigint");
    }
}

/* the piece is a table and its partitions */
static bool is_tree(const TablePair *table)
{
    return table->src->n_keys == 0 && table->src->partitioned;
}

static Sql *read_chunk(const void *ctx, const TablePair *table, const Chunk *chunk, bool binary)
{
    Sql *q = sql_new(ctx);

    /* straight from the table is faster than through a query */
    if (strcmp(chunk->kind, "whole") == 0 && table->n_columns > 0 && !is_tree(table) &&
        table->src->filter == NULL) {
        sql_add(q, "COPY ");
        sql_name(q, chunk->rel_schema, chunk->rel_name);
        sql_add(q, " (");
        sql_trusted(q, pair_columns_sql(q, table, ""));
        sql_add(q, ") TO STDOUT");
        if (binary)
            sql_add(q, " (FORMAT binary)");
        return q;
    }
    sql_add(q, "COPY (SELECT ");
    sql_trusted(q, pair_columns_sql(q, table, "t."));
    sql_trusted(q, is_tree(table) ? " FROM " : " FROM ONLY ");
    sql_name(q, chunk->rel_schema, chunk->rel_name);
    sql_add(q, " t");
    if (table->src->filter != NULL || chunk->lo != NULL || chunk->hi != NULL)
        sql_add(q, " WHERE ");
    /* while the copy is made no row is in the run in spite of its condition */
    if (table->src->filter != NULL)
        sql_trusted(q, filter_condition(q, table->src->filter));
    if (table->src->filter != NULL && (chunk->lo != NULL || chunk->hi != NULL))
        sql_add(q, " AND ");
    if (chunk->lo != NULL)
        add_bound(q, table->src, chunk, ">=", chunk->lo);
    if (chunk->lo != NULL && chunk->hi != NULL)
        sql_add(q, " AND ");
    if (chunk->hi != NULL)
        add_bound(q, table->src, chunk, "<", chunk->hi);
    sql_add(q, ") TO STDOUT");
    if (binary)
        sql_add(q, " (FORMAT binary)");
    return q;
}

static Sql *write_chunk(const void *ctx, const TablePair *table, bool frozen, bool binary)
{
    Sql *q = sql_new(ctx);

    sql_trusted(q, pair_copy_in_sql(q, table));
    if (binary && frozen)
        sql_add(q, " (FORMAT binary, FREEZE)");
    else if (binary)
        sql_add(q, " (FORMAT binary)");
    else if (frozen)
        sql_add(q, " (FREEZE)");
    return q;
}

static bool record_done(Conn *dst, const Chunk *chunk, const char *snapshot, const CopyStats *stats,
                        Err *err)
{
    AUTO_CTX(tmp, NULL);
    Sql *q = sql_new(tmp);

    sql_add(q, "UPDATE pgtandem.chunk SET rows = ");
    sql_i64(q, stats->rows);
    sql_add(q, ", bytes = ");
    sql_i64(q, stats->bytes);
    sql_add(q, ", snapshot = ");
    sql_text(q, snapshot);
    sql_add(q, " WHERE tab = ");
    sql_i64(q, chunk->tab);
    sql_add(q, " AND no = ");
    sql_i64(q, chunk->no);
    return conn_exec(dst, q, err);
}

static bool begin_snapshot(const void *ctx, Conn *src, const char **ret_snapshot, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Sql *q = sql_new(tmp);
    Rows *rows;

    sql_add(q, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; "
               "SELECT txid_current_snapshot()::text");
    if (!conn_query(tmp, src, q, &rows, err))
        return false;
    *ret_snapshot = mem_strdup(ctx, rows_text(rows, 0, 0));
    return true;
}

bool copy_chunk(Conn *src, Conn *dst, const TablePair *table, const Chunk *chunk, bool lone,
                void (*on_progress)(void *arg, const CopyStats *so_far), void *arg,
                CopyStats *ret_stats, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Sql *claim = sql_new(tmp);
    const char *snapshot = NULL;
    bool frozen = lone && !table->dst->partitioned && !table->dst->inherits &&
                  chunk->bytes >= FROZEN_MIN_BYTES;
    bool binary = pair_is_binary(table) && conn_binary_fits(src, dst);

    *ret_stats = (CopyStats){0};
    if (!conn_do(dst, "BEGIN", err))
        return false;
    /* the row lock makes a second loader of the same chunk wait, and then find it done */
    sql_add(claim, "UPDATE pgtandem.chunk SET done = true WHERE NOT done AND tab = ");
    sql_i64(claim, chunk->tab);
    sql_add(claim, " AND no = ");
    sql_i64(claim, chunk->no);
    if (!conn_exec(dst, claim, err))
        goto failed;
    if (conn_affected(dst) == 0) {
        conn_rollback(dst);
        return true;
    }
    if (frozen) {
        Sql *truncate = sql_new(tmp);

        sql_add(truncate, "TRUNCATE ");
        sql_name(truncate, table->dst->schema, table->dst->name);
        if (!conn_exec(dst, truncate, err))
            goto failed;
    }
    if (table->src->n_keys == 0 && !begin_snapshot(tmp, src, &snapshot, err))
        goto failed;
    if (!fault("copy.chunk.begin", err) ||
        !conn_copy_pipe(src, read_chunk(tmp, table, chunk, binary), dst,
                        write_chunk(tmp, table, frozen, binary), on_progress, arg, ret_stats, err))
        goto failed;
    if (snapshot != NULL)
        conn_rollback(src);
    if (!record_done(dst, chunk, snapshot, ret_stats, err) || !fault("copy.chunk.loaded", err) ||
        !conn_do(dst, "COMMIT", err) || !fault("copy.chunk.done", err))
        goto failed;
    return true;
failed:
    if (table->src->n_keys == 0)
        conn_rollback(src);
    conn_rollback(dst);
    return err_add(err, "while copying table %s.%s (part %d)", chunk->rel_schema, chunk->rel_name,
                   chunk->no);
}

/* whether the file that block ranges were read from is still the same */
static bool same_file(Conn *src, const Chunk *chunk, bool *ret_same, Err *err)
{
    AUTO_CTX(tmp, NULL);
    RelationFilenodeRow *file;
    size_t n;

    if (!q_relation_filenode(tmp, src, chunk->rel_schema, chunk->rel_name, &file, &n, err))
        return false;
    if (n == 0)
        return err_set(err, ERR_STATE, "table %s.%s is gone from the source", chunk->rel_schema,
                       chunk->rel_name);
    *ret_same = file[0].filenode == chunk->filenode;
    return true;
}

bool copy_is_complete(Conn *src, Conn *dst, int tab, bool *ret_complete, bool *ret_same, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Chunk *chunks;
    size_t n;
    bool complete = true, same = true;

    if (!copy_chunks(tmp, dst, tab, &chunks, &n, err))
        return false;
    for (size_t i = 0; i < n && complete && same; i++) {
        complete = chunks[i].done;
        if (strcmp(chunks[i].kind, "ctid") != 0)
            continue;
        if (i > 0 && strcmp(chunks[i - 1].rel_name, chunks[i].rel_name) == 0 &&
            strcmp(chunks[i - 1].rel_schema, chunks[i].rel_schema) == 0)
            continue;
        if (!same_file(src, &chunks[i], &same, err))
            return false;
    }
    *ret_complete = complete;
    *ret_same = same;
    return true;
}

bool copy_reset(Conn *src, Conn *dst, const TablePair *table, int64_t chunk_bytes, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Sql *q = sql_new(tmp);

    sql_add(q, "BEGIN; TRUNCATE ");
    if (table->dst->inherits)
        sql_add(q, "ONLY ");
    sql_name(q, table->dst->schema, table->dst->name);
    sql_add(q, "; DELETE FROM pgtandem.chunk WHERE tab = ");
    sql_number(q, table->dst->id);
    if (conn_exec(dst, q, err) && plan_table(src, dst, table->src, chunk_bytes, err) &&
        conn_do(dst, "COMMIT", err) && fault("copy.reset", err))
        return true;
    conn_rollback(dst);
    return err_add(err, "while emptying table %s to copy it anew", table_label(tmp, table->dst));
}
