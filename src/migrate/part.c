/* Taking a part out of the target: see part.h. */
#include "migrate/part.h"

#include <stdlib.h>
#include <string.h>

#include "base/fault.h"
#include "base/log.h"
#include "base/str.h"
#include "migrate/baseline.h"
#include "pg/sqlstate.h"
#include "sql/queries.h"

/* what the source has and what it had: what has another name somebody else made */
typedef struct Known {
    const char **now; /* "table shop.orders", in order */
    size_t n_now;
    const char *
        *was; /* when it was last carried, as schema_prints tells it; or what the run made */
    size_t n_was;
    const Scope
        *scope; /* of the source; NULL in a run that gives other names, where `was` says it all */
} Known;

static int compare_texts(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static void add_text(const void *ctx, const char ***texts, size_t *n, const char *text)
{
    mem_push(ctx, *texts, *n, text);
}

/* the objects that the run made, and the tables that became a part of it later */
static bool read_made(const void *ctx, Run *run, Known *ret, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Sql *q = sql_new(tmp);
    Rows *rows;

    sql_add(q, "SELECT object FROM pgtandem.made UNION "
               "SELECT format('table %I.%I', schema_name, table_name) FROM pgtandem.tab");
    if (!conn_query(tmp, run->conn[SIDE_TARGET], q, &rows, err))
        return false;
    for (size_t i = 0; i < rows_count(rows); i++)
        add_text(ctx, &ret->was, &ret->n_was, mem_strdup(ctx, rows_text(rows, i, 0)));
    if (ret->n_was > 0)
        qsort(ret->was, ret->n_was, sizeof *ret->was, compare_texts);
    return true;
}

static bool read_known(const void *ctx, Run *run, const NewObjectsRow *objects, size_t n_objects,
                       Known *ret, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Str *names = str_new(tmp);
    CheckHaveRow *have;
    BaselineRow *was;
    size_t n_have, n;

    str_char(names, '{');
    for (size_t i = 0; i < n_objects; i++) {
        if (i > 0)
            str_char(names, ',');
        str_array_element(names, objects[i].object);
    }
    str_char(names, '}');
    /* by names of the target: what the source has says nothing of them */
    if (selection_renames(run->selection))
        return read_made(ctx, run, ret, err);
    if (!scope_read(ctx, run->conn[SIDE_SOURCE], run_selection(run, SIDE_SOURCE), &ret->scope,
                    err) ||
        !q_check_have(ctx, run->conn[SIDE_SOURCE], names->text, &have, &n_have, err) ||
        !q_baseline(ctx, run->conn[SIDE_TARGET], side_name(SIDE_SOURCE), &was, &n, err))
        return false;
    for (size_t i = 0; i < n_have; i++)
        add_text(ctx, &ret->now, &ret->n_now, have[i].name);
    for (size_t i = 0; i < n; i++)
        add_text(ctx, &ret->was, &ret->n_was, was[i].object);
    if (ret->n_now > 0)
        qsort(ret->now, ret->n_now, sizeof *ret->now, compare_texts);
    if (ret->n_was > 0)
        qsort(ret->was, ret->n_was, sizeof *ret->was, compare_texts);
    return true;
}

static bool is_listed(const char **texts, size_t n, const char *text)
{
    return text != NULL && n > 0 && bsearch(&text, texts, n, sizeof *texts, compare_texts) != NULL;
}

static bool was_there(const Known *known, const NewObjectsRow *object)
{
    return is_listed(known->was, known->n_was, object->object) ||
           is_listed(known->was, known->n_was, object->print);
}

static bool is_schema(const NewObjectsRow *object)
{
    return strcmp(object->type, "schema") == 0;
}

/* something that the run made under another name, if it is still where the run has its things */
static bool is_made(const Scope *scope, const Known *known, const NewObjectsRow *object)
{
    if (!was_there(known, object))
        return false;
    if (object->schema_name == NULL)
        return scope_has_unowned(scope);
    return is_schema(object) ? scope_enters(scope, object->schema_name) ||
                                   scope_has_schema(scope, object->schema_name)
           : object->relation != NULL ? scope_has(scope, object->schema_name, object->relation)
                                      : scope_has_schema(scope, object->schema_name);
}

static bool is_ours(const Scope *scope, const Known *known, const NewObjectsRow *object)
{
    if (known->scope == NULL)
        return is_made(scope, known, object);
    const bool was = was_there(known, object),
               is_known = was || is_listed(known->now, known->n_now, object->object);

    if (object->schema_name == NULL)
        return scope_has_unowned(scope) && is_known;
    if (is_schema(object))
        return was || scope_enters(known->scope, object->schema_name) ||
               (is_known && scope_has_schema(scope, object->schema_name));
    /* a partition that a crash left detached has been in the run */
    if (object->relation != NULL)
        return was || (is_known && scope_has(scope, object->schema_name, object->relation));
    return is_known && scope_has_schema(scope, object->schema_name);
}

/* *ret_refused: others depend on it */
static bool drop(Conn *conn, const Sql *q, bool *ret_refused, Err *err)
{
    *ret_refused = false;
    if (conn_exec(conn, q, err))
        return true;
    if (!err_is(err, SQLSTATE_DEPENDENT))
        return false;
    *ret_refused = true;
    return true;
}

static Sql *drop_statement(const void *ctx, const NewObjectsRow *object, bool cascade)
{
    Sql *q = sql_new(ctx);

    sql_add(q, "DROP ");
    sql_trusted(q, object->type);
    sql_add(q, " IF EXISTS ");
    sql_trusted(q, object->identity);
    if (cascade)
        sql_add(q, " CASCADE");
    return q;
}

/*
 * What is left needs each other: tables by foreign keys, a table and a function of its row type. Nothing but ours
 * goes with it when nobody else's depends on any of it.
 */
static bool drop_with_others(Run *run, const NewObjectsRow *objects, size_t n,
                             const NewObjectsRow *stuck, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Conn *conn = run->conn[SIDE_TARGET];
    Str *addresses = str_new(tmp);
    DependentsRow *rows;
    size_t n_rows;
    bool refused;

    str_char(addresses, '{');
    for (size_t i = 0; i < n; i++)
        if (!is_schema(&objects[i]))
            str_fmt(addresses, "%s%s", addresses->len > 1 ? "," : "", objects[i].address);
    str_char(addresses, '}');
    if (!q_dependents(tmp, conn, addresses->text, &rows, &n_rows, err))
        return false;
    if (n_rows == 0)
        return drop(conn, drop_statement(tmp, stuck, true), &refused, err) ||
               err_add(err, "while dropping %s %s", stuck->type, stuck->identity);
    err_set(err, ERR_STATE, "%s on the target depends on %s, which is a part of the copy",
            rows[0].dependent, rows[0].object);
    err_detail(err, "%s of this kind. The source is free of pgtandem already.",
               n_rows == 1 ? "It is the only one" : mem_printf(tmp, "There are %zu", n_rows));
    return err_hint(err, "Somebody has built something on it there: drop that, and run "
                         "\"pgtandem abort\" again.");
}

/* what of ours is there, schemas last */
static bool read_ours(const void *ctx, Run *run, NewObjectsRow **ret, size_t *ret_n, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Conn *conn = run->conn[SIDE_TARGET];
    NewObjectsRow *objects, *ours = NULL;
    const Scope *scope;
    Known known = {0};
    size_t n, n_ours = 0;

    if (!scope_read(tmp, conn, run_selection(run, SIDE_TARGET), &scope, err) ||
        !q_new_objects(ctx, conn, &objects, &n, err) ||
        !read_known(tmp, run, objects, n, &known, err))
        return false;
    for (int pass = 0; pass < 2; pass++)
        for (size_t i = 0; i < n; i++)
            if (is_schema(&objects[i]) == (pass == 1) && is_ours(scope, &known, &objects[i]))
                mem_push(ctx, ours, n_ours, objects[i]);
    *ret = ours;
    *ret_n = n_ours;
    return true;
}

bool part_remove(Run *run, Err *err)
{
    Conn *conn = run->conn[SIDE_TARGET];
    size_t dropped = 0;

    if (!conn_do(conn, "SET client_min_messages = error", err))
        return false;
    for (;;) {
        AUTO_CTX(tmp, NULL);
        Err *refusal = err_new(tmp);
        NewObjectsRow *objects, *stuck = NULL;
        size_t n, n_dropped = 0;

        if (!read_ours(tmp, run, &objects, &n, err))
            return false;
        for (size_t i = 0; i < n; i++) {
            bool refused;

            if (is_schema(&objects[i]) && stuck != NULL)
                continue;
            err_clear(refusal);
            if (!drop(conn, drop_statement(tmp, &objects[i], false), &refused, refusal)) {
                err_copy(err, refusal);
                return err_add(err, "while dropping %s %s", objects[i].type, objects[i].identity);
            }
            if (refused && is_schema(&objects[i])) {
                log_warn("schema %s is left on the target: there is something in it that the run "
                         "did not make",
                         objects[i].identity);
                continue;
            }
            if (refused) {
                stuck = &objects[i];
                continue;
            }
            n_dropped++;
            log_progress("%zu objects removed", ++dropped);
            if (!fault("abort.dropped", err))
                return false;
        }
        if (stuck == NULL)
            return true;
        if (n_dropped > 0)
            continue;
        if (!drop_with_others(run, objects, n, stuck, err))
            return false;
    }
}
