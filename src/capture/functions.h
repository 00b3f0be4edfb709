/*
 * The functions of capture's triggers, as SQL text. Private to src/capture.
 *
 * They run in the application's sessions, so every nanosecond counts: they do without SET clauses
 * where they can (each costs as much as the rest of the call), and therefore name everything with
 * its schema, operators too. PL/pgSQL prepares each expression anew in every transaction, so there
 * are few of them. Alternatives and figures: doc/design/002.
 */
#ifndef CAPTURE_FUNCTIONS_H
#define CAPTURE_FUNCTIONS_H

#include "model/table.h"
#include "pg/sql.h"
#include "sql/queries.h"

#define TXID "pg_catalog.txid_current()"
/* chooses the queue segment: 4096 transactions, then the other one */
#define SEGMENT_IS_0                                                                               \
    "((" TXID " OPERATOR(pg_catalog.>>) 12) OPERATOR(pg_catalog.&) 1) OPERATOR(pg_catalog.=) 0"

/* how an UPDATE is captured */
typedef enum MoveCapture {
    MOVE_ROWS,     /* new keys by statement; old keys by row, when a key column is named in SET */
    MOVE_ROWS_ALL, /* the same, but any UPDATE may change keys (a BEFORE trigger may do it) */
    MOVE_TABLES    /* old and new keys by statement: a row may move between partitions */
} MoveCapture;

/* how a table is captured on this node */
typedef struct Capture {
    const Table *table;
    bool by_statement;
    bool only_marked; /* without key and not followed: changes only move the table's mark */
    MoveCapture moves;
    bool by_name;              /* without key: partitions have their columns in another order */
    TriggerRelationsRow *rels; /* the table and all its partitions */
    size_t n_rels;
} Capture;

/* CREATE OR REPLACE FUNCTION for all that the table's triggers call */
void functions_add(Sql *q, const Capture *c);

/* "SELECT txid, number": the first columns of a row of the queue; number is negative for an INSERT */
Sql *functions_select_me(const void *ctx, int number);

/* x."id", or ARRAY[x."a"::text, …]; the prefix is a fixed word of ours */
void functions_add_key(Sql *q, const Table *table, const char *prefix);

#endif
