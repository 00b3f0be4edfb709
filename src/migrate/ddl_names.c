/*
 * Tables and schemas that have other names now: see ddl_impl.h.
 *
 * The copy's tables follow in one transaction, by way of names that nobody has, as names may go round. Which
 * of them is which tell their numbers; partitions have none, so where two of them could be mistaken for each
 * other their rows are carried anew.
 */
#include <string.h>

#include "base/log.h"
#include "migrate/ddl_impl.h"
#include "pg/lock.h"
#include "pg/sqlstate.h"

typedef struct Move {
    const TableRelationsRow *now;  /* on the node that takes writes */
    const TableRelationsRow *copy; /* still under another name */
} Move;

typedef struct Moves {
    Move *list;
    size_t n;
    const TableRelationsRow **gone; /* of the copy; they have names that are needed */
    size_t n_gone;
    bool impossible; /* a name is taken by something that nobody knows */
} Moves;

static bool same_name(const TableRelationsRow *a, const char *schema, const char *name)
{
    return strcmp(a->table_name, name) == 0 && strcmp(a->schema_name, schema) == 0;
}

static const TabsRow *tab_of(const TabsRow *tabs, size_t n, int64_t relid)
{
    for (size_t i = 0; i < n; i++)
        if (tabs[i].rel == relid && tabs[i].schema_name[0] != '\0')
            return &tabs[i];
    return NULL;
}

static const TabsRow *tab_with_id(const TabsRow *tabs, size_t n, int id)
{
    for (size_t i = 0; i < n; i++)
        if (tabs[i].id == id)
            return &tabs[i];
    return NULL;
}

/* the copy of a table; *ret_sure: by its number */
static const TableRelationsRow *copy_of(const Ddl *ddl, const TabsRow *there, size_t n_there,
                                        const TableRelationsRow *now, bool *ret_sure)
{
    const TabsRow *tab = tab_of(ddl->tabs, ddl->n_tabs, now->relid), *other;
    const OldTablesRow *old = ddl_old_table(&ddl->before, now->relid);

    *ret_sure = false;
    other = tab == NULL ? NULL : tab_with_id(there, n_there, tab->id);
    if (other != NULL && other->rel != 0) {
        *ret_sure = true;
        return ddl_find_relid(&ddl->copy, other->rel);
    }
    return old == NULL ? NULL : baseline_find_table(&ddl->copy, old->schema_name, old->table_name);
}

/* the table of the copy stands for one that is gone */
static bool is_gone(const Ddl *ddl, const TabsRow *there, size_t n_there,
                    const TableRelationsRow *copy)
{
    const TabsRow *tab = tab_of(there, n_there, copy->relid), *other;

    other = tab == NULL ? NULL : tab_with_id(ddl->tabs, ddl->n_tabs, tab->id);
    if (other != NULL)
        return ddl_find_relid(&ddl->now, other->rel) == NULL;
    for (size_t i = 0; i < ddl->before.n_tables; i++) {
        const OldTablesRow *old = &ddl->before.tables[i];

        if (same_name(copy, old->schema_name, old->table_name))
            return ddl_find_relid(&ddl->now, old->rel) == NULL;
    }
    return false;
}

static bool is_moving(const Moves *moves, const TableRelationsRow *copy)
{
    for (size_t i = 0; i < moves->n; i++)
        if (moves->list[i].copy == copy)
            return true;
    return false;
}

static void find_moves(Ddl *ddl, const TabsRow *there, size_t n_there, Moves *moves)
{
    for (size_t i = 0; i < ddl->now.n_tables; i++) {
        const TableRelationsRow *now = &ddl->now.tables[i];
        bool sure;
        Move move = {.now = now, .copy = copy_of(ddl, there, n_there, now, &sure)};

        if (move.copy == NULL || same_name(move.copy, now->schema_name, now->table_name))
            continue;
        if (!sure &&
            (baseline_find_table(&ddl->copy, now->schema_name, now->table_name) != NULL ||
             baseline_find_table(&ddl->now, move.copy->schema_name, move.copy->table_name) != NULL))
            ddl_carry_anew(ddl, now->relid);
        mem_push(ddl, moves->list, moves->n, move);
    }
    for (size_t i = 0; i < moves->n; i++) {
        const TableRelationsRow *now = moves->list[i].now,
                                *taken = baseline_find_table(&ddl->copy, now->schema_name,
                                                             now->table_name);

        if (taken == NULL || is_moving(moves, taken))
            continue;
        if (is_gone(ddl, there, n_there, taken))
            mem_push(ddl, moves->gone, moves->n_gone, taken);
        else
            moves->impossible = true;
    }
}

/* what is asleep on the copy is remembered by name */
static void add_asleep(Sql *q, const char *old_schema, const char *old_name, const char *schema,
                       const char *name)
{
    sql_add(q, "UPDATE pgtandem.asleep SET schema_name = ");
    sql_literal(q, schema);
    sql_add(q, ", table_name = ");
    sql_literal(q, name);
    sql_add(q, " WHERE schema_name = ");
    sql_literal(q, old_schema);
    sql_add(q, " AND table_name = ");
    sql_literal(q, old_name);
    sql_add(q, ";\n");
}

static void add_rename(Sql *q, const char *schema, const char *name, const char *to)
{
    sql_add(q, "ALTER TABLE ");
    sql_name(q, schema, name);
    sql_add(q, " RENAME TO ");
    sql_ident(q, to);
    sql_add(q, ";\n");
    add_asleep(q, schema, name, schema, to);
}

static Sql *moves_statement(const void *ctx, const Moves *moves)
{
    Sql *q = sql_new(ctx);

    for (size_t i = 0; i < moves->n_gone; i++) {
        sql_add(q, "DROP TABLE ");
        sql_name(q, moves->gone[i]->schema_name, moves->gone[i]->table_name);
        sql_add(q, ";\n");
    }
    for (size_t i = 0; i < moves->n; i++) {
        const TableRelationsRow *copy = moves->list[i].copy;

        add_rename(q, copy->schema_name, copy->table_name,
                   mem_printf(ctx, "pgtandem_moves_%lld", (long long)copy->relid));
    }
    for (size_t i = 0; i < moves->n; i++) {
        const TableRelationsRow *copy = moves->list[i].copy, *now = moves->list[i].now;
        const char *name = mem_printf(ctx, "pgtandem_moves_%lld", (long long)copy->relid);

        if (strcmp(copy->schema_name, now->schema_name) != 0) {
            sql_add(q, "CREATE SCHEMA IF NOT EXISTS ");
            sql_ident(q, now->schema_name);
            sql_add(q, ";\nALTER TABLE ");
            sql_name(q, copy->schema_name, name);
            sql_add(q, " SET SCHEMA ");
            sql_ident(q, now->schema_name);
            sql_add(q, ";\n");
            add_asleep(q, copy->schema_name, name, now->schema_name, name);
        }
        add_rename(q, now->schema_name, name, now->table_name);
    }
    return q;
}

static bool has_schema(const Definitions *d, const char *name)
{
    for (size_t i = 0; i < d->n_prints; i++)
        if (strcmp(d->prints[i].entry, "SCHEMA") == 0 && strcmp(d->prints[i].name, name) == 0)
            return true;
    return false;
}

/* a schema that is gone, and its tables are in one that is new: then all that is in it comes along */
static bool follow_schemas(Ddl *ddl, Err *err)
{
    for (size_t i = 0; i < ddl->now.n_tables; i++) {
        AUTO_CTX(tmp, NULL);
        const TableRelationsRow *now = &ddl->now.tables[i];
        const OldTablesRow *old = ddl_old_table(&ddl->before, now->relid);
        Sql *q = sql_new(tmp);

        if (old == NULL || strcmp(old->schema_name, now->schema_name) == 0 ||
            has_schema(&ddl->now, old->schema_name) || !has_schema(&ddl->copy, old->schema_name) ||
            has_schema(&ddl->copy, now->schema_name))
            continue;
        sql_add(q, "ALTER SCHEMA ");
        sql_ident(q, old->schema_name);
        sql_add(q, " RENAME TO ");
        sql_ident(q, now->schema_name);
        sql_add(q, ";\nUPDATE pgtandem.asleep SET schema_name = ");
        sql_literal(q, now->schema_name);
        sql_add(q, " WHERE schema_name = ");
        sql_literal(q, old->schema_name);
        if (lock_and_run(ddl->to, sql_new(tmp), q, old->schema_name, err)) {
            log_info("schema: schema %s is now called %s", old->schema_name, now->schema_name);
        } else {
            /* then its tables are moved one by one */
            if (err->kind != ERR_SQL || err_remedy(err) == REMEDY_RECONNECT)
                return false;
            log_debug("schema %s: %s", old->schema_name, err->msg);
            err_clear(err);
            return true;
        }
        if (!ddl_read_copy(ddl, err))
            return false;
    }
    return true;
}

/*
 * A table that was made again gets a new one on the copy, with its own indexes, owner and rights; where the
 * copy refuses to drop the old one that gets other columns and rows.
 */
static bool drop_remade(Ddl *ddl, const TabsRow *there, size_t n_there, Err *err)
{
    for (size_t i = 0; i < ddl->now.n_tables; i++) {
        AUTO_CTX(tmp, NULL);
        const TableRelationsRow *now = &ddl->now.tables[i],
                                *copy = baseline_find_table(&ddl->copy, now->schema_name,
                                                            now->table_name);
        Sql *q = sql_new(tmp);
        PgDump dump;
        bool usable;

        if (copy == NULL || ddl_old_table(&ddl->before, now->relid) != NULL ||
            ddl_find_before(&ddl->before, now->object) == NULL ||
            tab_of(ddl->tabs, ddl->n_tabs, now->relid) != NULL ||
            !is_gone(ddl, there, n_there, copy))
            continue;
        /* nobody could make it again */
        if (!ddl_find_dump(tmp, ddl, &dump, &usable, err))
            return false;
        if (!usable)
            return true;
        sql_add(q, "DROP TABLE ");
        sql_name(q, copy->schema_name, copy->table_name);
        if (lock_and_run(ddl->to, sql_new(tmp), q, now->object, err))
            continue;
        if (err->kind != ERR_SQL || err_remedy(err) == REMEDY_RECONNECT)
            return false;
        log_debug("schema: %s: %s", now->object, err->msg);
        err_clear(err);
    }
    return true;
}

bool ddl_follow_names(Ddl *ddl, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Moves moves = {0};
    TabsRow *there;
    size_t n_there;

    if (!follow_schemas(ddl, err) || !q_tabs(tmp, ddl->to, &there, &n_there, err))
        return false;
    find_moves(ddl, there, n_there, &moves);
    if (moves.n == 0)
        return drop_remade(ddl, there, n_there, err);
    if (!moves.impossible &&
        lock_and_run(ddl->to, sql_new(tmp), moves_statement(tmp, &moves), "renamed tables", err)) {
        for (size_t i = 0; i < moves.n; i++)
            log_info("schema: table %s.%s is now called %s.%s", moves.list[i].copy->schema_name,
                     moves.list[i].copy->table_name, moves.list[i].now->schema_name,
                     moves.list[i].now->table_name);
        return ddl_read_copy(ddl, err) && drop_remade(ddl, there, n_there, err);
    }
    if (!moves.impossible && (err->kind != ERR_SQL || err_remedy(err) == REMEDY_RECONNECT))
        return false;
    /* then they are dropped and made, or keep their names and get other rows */
    log_warn("schema: the tables of the %s cannot be renamed%s%s; their rows are carried anew",
             side_name(ddl->side[1]), moves.impossible ? "" : ": ",
             moves.impossible ? "" : err->msg);
    err_clear(err);
    ddl->remade = true;
    for (size_t i = 0; i < moves.n; i++)
        ddl_carry_anew(ddl, moves.list[i].now->relid);
    return true;
}
