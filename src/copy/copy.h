/*
 * The initial copy: tables in chunks, each loaded and recorded in one transaction of the target,
 * read with a short snapshot of its own on the source. Capture is on before the first chunk is
 * read, so consistency does not depend on any of these snapshots: what changes meanwhile is in the
 * queue.
 *
 * Chunks are block ranges where the server can scan those (14), else ranges of an integer key, else
 * the whole table. A block range is only sound while rows do not move without firing triggers, so
 * the relation's file is compared when the last chunk is loaded, and the table copied anew if
 * VACUUM FULL or the like came between. A row that an UPDATE moved may be loaded twice: indexes are
 * built only after the table is settled, i.e. all keys captured so far were replaced once.
 */
#ifndef COPY_COPY_H
#define COPY_COPY_H

#include "model/table.h"
#include "pg/conn.h"

typedef struct Chunk {
    int tab;
    int no;
    const char *rel_schema;
    const char *rel_name;
    const char *kind; /* whole, ctid, key */
    const char *lo;   /* number as text, or NULL */
    const char *hi;
    int64_t filenode;
    int64_t bytes;
    bool done;
} Chunk;

/*
 * Plans the chunks of a table and writes them to the target, in the caller's transaction there.
 * chunk_bytes: wanted size of a chunk.
 */
CHECKED bool copy_plan(Conn *src, Conn *dst, const Table *table, int64_t chunk_bytes, Err *err);

/* the chunks of a table, or of all when tab is 0, in the order of tables and numbers */
CHECKED bool copy_chunks(const void *ctx, Conn *dst, int tab, Chunk **ret_chunks, size_t *ret_n,
                         Err *err);

/*
 * Looks up one chunk. *ret_lone tells that its table has no other. ERR_BUG when there is none.
 */
CHECKED bool copy_find_chunk(const void *ctx, Conn *dst, int tab, int no, Chunk *ret_chunk,
                             bool *ret_lone, Err *err);

/*
 * Loads one chunk unless it is done already (by a process that was thought dead, say). lone: the
 * table has no other chunk, so it can be emptied and loaded frozen.
 */
CHECKED bool copy_chunk(Conn *src, Conn *dst, const TablePair *table, const Chunk *chunk, bool lone,
                        void (*on_progress)(void *arg, const CopyStats *so_far), void *arg,
                        CopyStats *ret_stats, Err *err);

/*
 * *ret_complete: all chunks of a table are loaded. *ret_same: the files that block ranges are read
 * from are still the ones of the plan; if not, only that counts.
 */
CHECKED bool copy_is_complete(Conn *src, Conn *dst, int tab, bool *ret_complete, bool *ret_same,
                              Err *err);

/* empties a table on the target and plans its chunks anew, in one transaction */
CHECKED bool copy_reset(Conn *src, Conn *dst, const TablePair *table, int64_t chunk_bytes,
                        Err *err);

#endif
