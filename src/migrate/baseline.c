/* DDL during a run: see baseline.h. */
#include "migrate/baseline.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/str.h"
#include "sql/queries.h"

enum { SHOWN_CHANGES = 10, ROWS_PER_INSERT = 500 };

typedef struct Changes {
    const char **texts; /* "table public.t was added" */
    size_t n;
} Changes;

static bool insert_prints(Conn *target, Side side, const SchemaPrintsRow *prints, size_t n,
                          Err *err)
{
    AUTO_CTX(tmp, NULL);
    Sql *q = sql_new(tmp);

    sql_add(q, "INSERT INTO pgtandem.baseline (side, object, print) VALUES ");
    for (size_t i = 0; i < n; i++) {
        sql_trusted(q, i == 0 ? "(" : ", (");
        sql_literal(q, side_name(side));
        sql_add(q, ", ");
        sql_literal(q, prints[i].object);
        sql_add(q, ", ");
        sql_literal(q, prints[i].print);
        sql_add(q, ")");
    }
    return conn_exec(target, q, err);
}

bool baseline_store(Run *run, Side side, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Conn *target = run->conn[SIDE_TARGET];
    SchemaPrintsRow *prints;
    size_t n;
    Sql *q = sql_new(tmp);

    if (!q_schema_prints(tmp, run->conn[side], &prints, &n, err))
        return false;
    sql_add(q, "DELETE FROM pgtandem.baseline WHERE side = ");
    sql_literal(q, side_name(side));
    if (!conn_exec(target, q, err))
        return false;
    for (size_t i = 0; i < n; i += ROWS_PER_INSERT)
        if (!insert_prints(target, side, &prints[i],
                           n - i < ROWS_PER_INSERT ? n - i : ROWS_PER_INSERT, err))
            return err_add(err, "while storing the schema's fingerprints");
    return true;
}

static int compare_prints(const void *a, const void *b)
{
    return strcmp(((const SchemaPrintsRow *)a)->object, ((const SchemaPrintsRow *)b)->object);
}

static int compare_baseline(const void *a, const void *b)
{
    return strcmp(((const BaselineRow *)a)->object, ((const BaselineRow *)b)->object);
}

static bool find_changes(const void *ctx, Run *run, Side side, Changes *changes, Err *err)
{
    AUTO_CTX(tmp, NULL);
    SchemaPrintsRow *now;
    BaselineRow *then;
    size_t n_now, n_then, i = 0, k = 0;

    if (!q_baseline(tmp, run->conn[SIDE_TARGET], side_name(side), &then, &n_then, err) ||
        !q_schema_prints(tmp, run->conn[side], &now, &n_now, err))
        return false;
    if (n_then == 0)
        return true;
    qsort(now, n_now, sizeof *now, compare_prints);
    qsort(then, n_then, sizeof *then, compare_baseline);
    while (i < n_now || k < n_then) {
        int c = i == n_now ? 1 : k == n_then ? -1 : strcmp(now[i].object, then[k].object);
        const char *text = NULL;

        if (c < 0)
            text = mem_printf(ctx, "%s was added on the %s", now[i].object, side_name(side));
        else if (c > 0)
            text = mem_printf(ctx, "%s is gone from the %s", then[k].object, side_name(side));
        else if (strcmp(now[i].print, then[k].print) != 0)
            text = mem_printf(ctx, "%s was changed on the %s", now[i].object, side_name(side));
        if (text != NULL)
            mem_push(ctx, changes->texts, changes->n, text);
        i += c <= 0 ? 1 : 0;
        k += c >= 0 ? 1 : 0;
    }
    return true;
}

bool baseline_warn(Run *run, Err *err)
{
    static char *told; /* what was logged already, so that it is not repeated every minute */
    AUTO_CTX(tmp, NULL);
    Changes changes = {0};
    Str *all = str_new(tmp);

    if (!find_changes(tmp, run, run_active(run), &changes, err))
        return false;
    for (size_t i = 0; i < changes.n; i++)
        str_fmt(all, "%s\n", changes.texts[i]);
    if (told != NULL && strcmp(told, all->text) == 0)
        return true;
    free(told);
    told = strdup(all->text);
    for (size_t i = 0; i < changes.n && i < SHOWN_CHANGES; i++)
        log_warn("schema: %s; changes of the schema are not carried over", changes.texts[i]);
    if (changes.n > SHOWN_CHANGES)
        log_warn("schema: and %zu more changes", changes.n - SHOWN_CHANGES);
    return true;
}

bool baseline_refuse_changes(Run *run, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Changes changes = {0};

    if (!find_changes(tmp, run, SIDE_SOURCE, &changes, err) ||
        !find_changes(tmp, run, SIDE_TARGET, &changes, err))
        return false;
    for (size_t i = 0; i < changes.n && i < SHOWN_CHANGES; i++)
        log_warn("schema: %s", changes.texts[i]);
    if (changes.n == 0 || config_accepts(run->config, "schema-changed"))
        return true;
    err_set(err, ERR_REFUSED,
            "the schema was changed since the copy was made (%zu change%s, e.g. %s)", changes.n,
            changes.n == 1 ? "" : "s", changes.texts[0]);
    return err_hint(
        err,
        "Nothing was changed. Make the same change on the other node and go on with \"--accept "
        "schema-changed\", or undo it. Rows of a table that was added later are not carried: "
        "for those, start over with \"pgtandem abort\".");
}
