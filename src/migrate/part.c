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

/* objects of the source, as it is and as it was: what has another name somebody else made */
typedef struct Known {
    const char **objects; /* "table shop.orders", in order */
    size_t n;
    const Scope *scope;
} Known;

static int compare_texts(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static bool read_known(const void *ctx, Run *run, Known *ret, Err *err)
{
    Definitions d;
    BaselineRow *was;
    size_t n;

    if (!baseline_read(ctx, run->conn[SIDE_SOURCE], run->selection, &d, err) ||
        !q_baseline(ctx, run->conn[SIDE_TARGET], side_name(SIDE_SOURCE), &was, &n, err))
        return false;
    ret->scope = d.scope;
    for (size_t i = 0; i < d.n_prints; i++)
        mem_push(ctx, ret->objects, ret->n, d.prints[i].object);
    for (size_t i = 0; i < n; i++)
        mem_push(ctx, ret->objects, ret->n, was[i].object);
    if (ret->n > 0)
        qsort(ret->objects, ret->n, sizeof *ret->objects, compare_texts);
    return true;
}

static bool is_known(const Known *known, const char *object)
{
    return known->n > 0 && bsearch(&object, known->objects, known->n, sizeof *known->objects,
                                   compare_texts) != NULL;
}

static bool is_schema(const NewObjectsRow *object)
{
    return strcmp(object->type, "schema") == 0;
}

static bool is_ours(const Scope *scope, const Known *known, const NewObjectsRow *object)
{
    AUTO_CTX(tmp, NULL);
    const char *name = mem_printf(tmp, "%s %s", object->type, object->identity);

    if (object->schema_name == NULL)
        return scope_has_unowned(scope);
    if (is_schema(object))
        return is_known(known, name) || scope_enters(known->scope, object->schema_name);
    if (object->relation != NULL)
        return scope_has(scope, object->schema_name, object->relation) && is_known(known, name);
    return scope_has_schema(scope, object->schema_name);
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

static Sql *drop_statement(const void *ctx, const NewObjectsRow *object)
{
    Sql *q = sql_new(ctx);

    sql_add(q, "DROP ");
    sql_trusted(q, object->type);
    sql_add(q, " IF EXISTS ");
    sql_trusted(q, object->identity);
    return q;
}

/* tables whose foreign keys go round can only be dropped together */
static Sql *drop_tables(const void *ctx, const NewObjectsRow *objects, size_t n)
{
    Sql *q = sql_new(ctx);
    size_t listed = 0;

    for (size_t i = 0; i < n; i++) {
        if (strcmp(objects[i].type, "table") != 0)
            continue;
        if (listed++ == 0)
            sql_add(q, "DROP TABLE IF EXISTS ");
        else
            sql_add(q, ", ");
        sql_trusted(q, objects[i].identity);
    }
    return listed == 0 ? NULL : q;
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

    if (!scope_read(tmp, conn, run->selection, &scope, err) || !read_known(tmp, run, &known, err) ||
        !q_new_objects(ctx, conn, &objects, &n, err))
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
            if (!drop(conn, drop_statement(tmp, &objects[i]), &refused, refusal)) {
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
        Sql *together = drop_tables(tmp, objects, n);
        bool refused = true;
        err_clear(refusal);
        if (together != NULL && !drop(conn, together, &refused, refusal)) {
            err_copy(err, refusal);
            return err_add(err, "while dropping the tables of the copy");
        }
        if (!refused)
            continue;
        err_set(err, ERR_STATE, "%s %s of the copy cannot be dropped from the target", stuck->type,
                stuck->identity);
        err_detail(err, "%s%s%s. The source is free of pgtandem already.", refusal->msg,
                   refusal->detail == NULL ? "" : ": ",
                   refusal->detail == NULL ? "" : refusal->detail);
        return err_hint(err, "Somebody has built something on it there: drop that, and run "
                             "\"pgtandem abort\" again.");
    }
}
