/* Rows of an edge's state: see edge_state.h. */
#include "daemon/edge_state.h"

#include <string.h>
#include <unistd.h>

#include "base/str.h"
#include "sql/queries.h"

bool edge_state_wishes(Conn *to, const char *edge, Wishes *ret_wishes, Err *err)
{
    AUTO_CTX(tmp, NULL);
    EdgeRow *row;
    size_t n;

    if (!q_edge(tmp, to, edge, &row, &n, err))
        return false;
    if (n != 1)
        return err_set(err, ERR_STATE, "the %s does not know of %s any more", conn_label(to), edge);
    *ret_wishes = (Wishes){.paused = row->paused,
                           .removing = row->removing,
                           .kick_wanted = row->kick_wanted,
                           .kick_done = row->kick_done,
                           .to_copy = row->to_copy};
    return true;
}

bool edge_state_rests(Conn *to, const char *edge, bool *ret_rests, Err *err)
{
    AUTO_CTX(tmp, NULL);
    EdgeRow *row;
    EdgeLockHolderRow *holder;
    size_t n, n_holders;

    /* the lock first: who gets it later reads the wish later */
    if (!q_edge_lock_holder(tmp, to, edge, &holder, &n_holders, err) ||
        !q_edge(tmp, to, edge, &row, &n, err))
        return false;
    *ret_rests = n_holders == 0 || n == 0 || strcmp(row->state, STATE_PAUSED) == 0;
    return true;
}

static char *worker_name(const void *ctx)
{
    char host[256] = "";

    if (gethostname(host, sizeof host - 1) != 0)
        host[0] = '\0';
    return mem_printf(ctx, "%s, process %d", host, (int)getpid());
}

static void add_edge(Sql *q, const char *edge)
{
    sql_add(q, " WHERE edge = ");
    sql_text(q, edge);
}

bool edge_state_set(Conn *to, const char *edge, const char *state, const Err *why, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Sql *q = sql_new(tmp);

    sql_add(q, "UPDATE pgtandem.edge SET state_at = CASE WHEN state = ");
    sql_text(q, state);
    sql_add(q, " THEN state_at ELSE clock_timestamp() END, state = ");
    sql_text(q, state);
    sql_add(q, ", worker = ");
    sql_text(q, worker_name(tmp));
    if (why != NULL) {
        sql_add(q, ", error_at = clock_timestamp(), error = ");
        sql_text(q, why->detail == NULL ? why->msg
                                        : mem_printf(tmp, "%s (%s)", why->msg, why->detail));
        sql_add(q, ", hint = ");
        sql_text(q, why->hint);
    } else if (strcmp(state, STATE_IN_STEP) == 0 || strcmp(state, STATE_WAITING) == 0) {
        sql_add(q, ", in_step_at = clock_timestamp(), error = NULL, hint = NULL, error_at = NULL");
    }
    add_edge(q, edge);
    return conn_exec(to, q, err);
}

bool edge_state_stay(Conn *to, const char *edge, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Sql *q = sql_new(tmp);

    sql_add(q, "UPDATE pgtandem.edge SET removing = false");
    add_edge(q, edge);
    sql_add(q, " AND removing");
    return conn_exec(to, q, err);
}

bool edge_state_touch(Conn *to, const char *edge, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Sql *q = sql_new(tmp);

    sql_add(q, "UPDATE pgtandem.edge SET in_step_at = clock_timestamp()");
    add_edge(q, edge);
    return conn_exec(to, q, err);
}

bool edge_state_kick_done(Conn *to, const char *edge, int64_t kick, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Sql *q = sql_new(tmp);

    sql_add(q, "UPDATE pgtandem.edge SET kick_done = ");
    sql_i64(q, kick);
    add_edge(q, edge);
    return conn_exec(to, q, err);
}

static void add_name_condition(Sql *q, const char *schema, const char *name)
{
    sql_add(q, " AND schema_name = ");
    sql_text(q, schema);
    sql_add(q, " AND table_name = ");
    sql_text(q, name);
}

bool edge_state_table(Conn *to, const char *edge, const TableState *table, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Sql *update = sql_new(tmp), *insert = sql_new(tmp);

    sql_add(update, "UPDATE pgtandem.edge_table SET at = clock_timestamp(), state = ");
    sql_text(update, table->state);
    sql_add(update, ", reason = ");
    sql_text(update, table->reason);
    sql_add(update, ", captures = ");
    sql_i64(update, table->captures);
    sql_add(update, ", rel = ");
    sql_i64(update, table->rel);
    sql_add(update, ", target_rel = ");
    sql_i64(update, table->target_rel);
    add_edge(update, edge);
    add_name_condition(update, table->schema, table->name);
    if (!conn_exec(to, update, err))
        return false;
    if (conn_affected(to) > 0)
        return true;
    sql_add(insert,
            "INSERT INTO pgtandem.edge_table (edge, schema_name, table_name, state, reason, "
            "captures, rel, target_rel) VALUES (");
    sql_text(insert, edge);
    sql_add(insert, ", ");
    sql_text(insert, table->schema);
    sql_add(insert, ", ");
    sql_text(insert, table->name);
    sql_add(insert, ", ");
    sql_text(insert, table->state);
    sql_add(insert, ", ");
    sql_text(insert, table->reason);
    sql_add(insert, ", ");
    sql_i64(insert, table->captures);
    sql_add(insert, ", ");
    sql_i64(insert, table->rel);
    sql_add(insert, ", ");
    sql_i64(insert, table->target_rel);
    sql_add(insert, ")");
    return conn_exec(to, insert, err);
}

bool edge_state_rename(Conn *to, const char *edge, int64_t rel, const char *schema,
                       const char *name, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Sql *gone = sql_new(tmp), *rename = sql_new(tmp);

    /* another one that had this name, long ago */
    sql_add(gone, "DELETE FROM pgtandem.edge_table");
    add_edge(gone, edge);
    add_name_condition(gone, schema, name);
    sql_add(rename, "UPDATE pgtandem.edge_table SET schema_name = ");
    sql_text(rename, schema);
    sql_add(rename, ", table_name = ");
    sql_text(rename, name);
    add_edge(rename, edge);
    sql_add(rename, " AND rel = ");
    sql_i64(rename, rel);
    return conn_do(to, "BEGIN", err) && conn_exec(to, gone, err) && conn_exec(to, rename, err) &&
           conn_do(to, "COMMIT", err);
}
