/* Pieces of SQL about staged rows and their opponents: see conflict_sql.h. */
#include "daemon/conflict_sql.h"

#include <string.h>

#include "capture/queue.h"
#include "sql/queries.h"

static void add_key_column(Sql *q, const TablePair *pair, size_t k, const char *side)
{
    sql_trusted(q, side);
    if (strcmp(side, "t") == 0) {
        sql_add(q, ".");
        sql_ident(q, pair->dst->keys[k].name);
    } else {
        sql_add(q, ".k");
        sql_number(q, (int64_t)k + 1);
    }
}

void conflict_add_match(Sql *q, const TablePair *pair, const char *left, const char *right)
{
    for (size_t k = 0; k < pair->dst->n_keys; k++) {
        if (k > 0)
            sql_add(q, " AND ");
        add_key_column(q, pair, k, left);
        sql_add(q, " ");
        sql_trusted(q, pair->dst->keys[k].eq_op);
        sql_add(q, " ");
        add_key_column(q, pair, k, right);
    }
}

void conflict_add_key(Sql *q, const TablePair *pair, const char *side)
{
    sql_add(q, "ARRAY[");
    for (size_t k = 0; k < pair->dst->n_keys; k++) {
        if (k > 0)
            sql_add(q, ", ");
        add_key_column(q, pair, k, side);
        sql_add(q, "::text");
    }
    sql_add(q, "]");
}

void conflict_add_record_match(Sql *q, const EdgeSpec *spec, const TablePair *pair)
{
    sql_add(q, "r.edge = ");
    sql_literal(q, spec->name);
    sql_add(q, " AND r.schema_name = ");
    sql_literal(q, pair->src->schema);
    sql_add(q, " AND r.table_name = ");
    sql_literal(q, pair->src->name);
    for (size_t k = 0; k < pair->dst->n_keys; k++) {
        sql_add(q, " AND (r.key)[");
        sql_number(q, (int64_t)k + 1);
        sql_add(q, "]::");
        sql_trusted(q, pair->dst->keys[k].type);
        sql_add(q, " ");
        sql_trusted(q, pair->dst->keys[k].eq_op);
        sql_add(q, " ");
        add_key_column(q, pair, k, "s");
    }
}

void conflict_add_record(Sql *q, const EdgeSpec *spec, const TablePair *pair, const char *kind)
{
    sql_add(q, "INSERT INTO pgtandem.conflict (edge, schema_name, table_name, rule, kind, key, "
               "constraint_name, winner, from_row, to_row, from_at, to_at, seen, parked) SELECT ");
    sql_literal(q, spec->name);
    sql_add(q, ", ");
    sql_literal(q, pair->src->schema);
    sql_add(q, ", ");
    sql_literal(q, pair->src->name);
    sql_add(q, ", ");
    sql_literal(q, spec->back == NULL ? "park" : spec->sync->conflict_text);
    sql_add(q, ", ");
    sql_literal(q, kind);
    sql_add(q, ", ");
}

bool conflict_peer_progress(const void *ctx, const ConflictFilter *filter,
                            const char **ret_snapshot, Err *err)
{
    ProgressRow *progress;
    size_t n;

    if (!q_progress(ctx, filter->from, filter->spec->back, &progress, &n, err))
        return false;
    *ret_snapshot = n == 1 ? progress->snapshot : NULL;
    return true;
}

void conflict_add_json(Sql *q, const TablePair *pair, bool staged)
{
    sql_add(q, "(SELECT row_to_json(x)::text FROM (SELECT ");
    for (size_t i = 0; i < pair->n_columns; i++) {
        if (i > 0)
            sql_add(q, ", ");
        if (staged) {
            sql_add(q, "s.c");
            sql_number(q, (int64_t)i + 1);
        } else {
            sql_add(q, "t.");
            sql_ident(q, pair->columns[i]->name);
        }
        sql_add(q, " AS ");
        sql_ident(q, pair->columns[i]->name);
    }
    sql_add(q, ") x)");
}

Sql *conflict_local_changes(const void *ctx, const ConflictFilter *filter, const TablePair *pair,
                            const char *since)
{
    const Window window = {.since = since, .back = filter->spec->name, .timed = true};

    return queue_keys(ctx, pair->dst, &(Pending){.tab = pair->dst->id}, &window);
}

/* the place of a database in the rule's list, or in the sync where the rule is no list */
static size_t rank_of(const Sync *sync, const Db *db)
{
    for (size_t i = 0; i < sync->n_preferred; i++)
        if (sync->preferred[i] == db)
            return i;
    for (size_t i = 0; i < sync->n_members; i++)
        if (sync->members[i].db == db)
            return sync->n_preferred + i;
    return SIZE_MAX;
}

bool conflict_from_first(const EdgeSpec *spec)
{
    return rank_of(spec->sync, spec->from) < rank_of(spec->sync, spec->to);
}

void conflict_add_winner(Sql *q, const EdgeSpec *spec, const TablePair *pair)
{
    const Sync *sync = spec->sync;
    bool from_first = conflict_from_first(spec);

    if (sync->conflict == CONFLICT_LATEST) {
        sql_add(
            q, "CASE WHEN coalesce(c.from_at, '-infinity') = coalesce(c.to_at, '-infinity') THEN ");
        sql_literal(q, from_first ? spec->from->name : spec->to->name);
        sql_add(q, " WHEN coalesce(c.from_at, '-infinity') > coalesce(c.to_at, '-infinity') THEN ");
        sql_literal(q, spec->from->name);
        sql_add(q, " ELSE ");
        sql_literal(q, spec->to->name);
        sql_add(q, " END");
    } else if (sync->conflict == CONFLICT_SKIP) {
        sql_add(q, "''");
    } else if (sync->conflict == CONFLICT_FUNCTION) {
        sql_trusted(q, sync->conflict_function);
        sql_add(q, "(");
        sql_literal(q, pair->src->schema);
        sql_add(q, ", ");
        sql_literal(q, pair->src->name);
        sql_add(q, ", c.key, ");
        /* the same arguments on both sides: the one that comes first in the file is the first */
        sql_literal(q, from_first ? spec->from->name : spec->to->name);
        sql_trusted(q, from_first ? ", c.from_row, c.from_at, " : ", c.to_row, c.to_at, ");
        sql_literal(q, from_first ? spec->to->name : spec->from->name);
        sql_trusted(q, from_first ? ", c.to_row, c.to_at)" : ", c.from_row, c.from_at)");
    } else {
        sql_literal(q, from_first ? spec->from->name : spec->to->name);
    }
}

bool conflict_make_again(ApplyFilter *self, Conn *to, const char *what, Err *err)
{
    self->again = true;
    return err_set(err, ERR_STATE, "%s on the %s while the round was at work", what,
                   conn_label(to));
}

/*
 * The other edge may have been faster since the round's snapshot, and what it had carried may be purged:
 * then a conflict would not be seen.
 */
bool conflict_check_purged(ApplyFilter *self, Conn *to, const char *since, Err *err)
{
    AUTO_CTX(tmp, NULL);
    const ConflictFilter *filter = self->arg;
    ConsumerRow *consumer;
    size_t n;

    if (!q_consumer(tmp, to, filter->spec->back, &consumer, &n, err))
        return false;
    if (n == 1 && snapshot_xmax(consumer->purged) > snapshot_xmax(since))
        return conflict_make_again(self, to, "the queue was purged", err);
    return true;
}
