/*
 * What must not cross the border of a selection: see ddl_impl.h.
 *
 * A table that is renamed, detached or moved to another schema may leave the selection. Its triggers stay, and
 * after a switch they would refuse writes to a table that the other node does not have; so it is not taken for one
 * that was dropped.
 */
#include "migrate/ddl_impl.h"

#include <string.h>

#include "migrate/ddl.h"
#include "model/scope.h"

/* not an index, constraint or trigger, whose name nobody else's can be */
static bool is_relation(const SchemaPrintsRow *print)
{
    static const char *const entries[] = {"TABLE",         "SEQUENCE", "VIEW", "MATERIALIZED VIEW",
                                          "FOREIGN TABLE", "TYPE"};

    return ddl_listed(entries, sizeof entries / sizeof *entries, print->entry);
}

/*
 * A partition is called as it likes, and so is a sequence that gets an owner: on the other node the name may be that
 * of a table that is no business of ours. What the run has had before is ours, also when a crash left it detached.
 */
bool ddl_refuse_taken(const Ddl *ddl, Err *err)
{
    for (size_t i = 0; i < ddl->now.n_prints; i++) {
        const SchemaPrintsRow *print = &ddl->now.prints[i];

        if (print->relation == NULL || !is_relation(print) ||
            !scope_leaves(ddl->copy.scope, print->schema_name, print->relation) ||
            ddl_find_before(&ddl->before, print->object) != NULL)
            continue;
        err_set(err, ERR_STATE,
                "%s on the %s came into the selection, and on the %s others have something of that "
                "name",
                print->object, side_name(ddl->side[0]), side_name(ddl->side[1]));
        return err_hint(err,
                        "Undo that, or rename what the %s has, and run the same command again. "
                        "Nothing is lost meanwhile.",
                        side_name(ddl->side[1]));
    }
    return true;
}

bool ddl_claim_names(Ddl *ddl, Err *err)
{
    AUTO_CTX(tmp, NULL);
    SchemaPrintsRow *claims = NULL;
    size_t n = 0;

    for (size_t i = 0; ddl->now.scope != NULL && i < ddl->now.n_prints; i++) {
        const SchemaPrintsRow *print = &ddl->now.prints[i];
        const SchemaPrintsRow claim = {.object = print->object, .print = ""};
        const TableRelationsRow *t;

        if (ddl_find_before(&ddl->before, print->object) != NULL ||
            baseline_find(&ddl->copy, print->object) != NULL)
            continue;
        if (strcmp(print->entry, "SEQUENCE") == 0 ||
            (strcmp(print->entry, "TABLE") == 0 &&
             (t = baseline_find_table(&ddl->now, print->schema_name, print->relation)) != NULL &&
             t->bound != NULL))
            mem_push(tmp, claims, n, claim);
    }
    return n == 0 || baseline_insert(ddl->run->conn[SIDE_TARGET], ddl->side[0], claims, n, err);
}

bool ddl_refuse_keys_in(Run *run, Side side, Err *err)
{
    AUTO_CTX(tmp, NULL);
    const Scope *scope;
    ForeignKeysRow *keys;
    size_t n;

    if (run->selection == NULL || run->replica[side])
        return true;
    if (!scope_read(tmp, run->conn[side], run_selection(run, side), &scope, err) ||
        !q_foreign_keys(tmp, run->conn[side], &keys, &n, err))
        return false;
    for (size_t i = 0; i < n; i++) {
        if (scope_has(scope, keys[i].schema_name, keys[i].table_name) ||
            !scope_has(scope, keys[i].to_schema, keys[i].to_table))
            continue;
        err_set(err, ERR_REFUSED,
                "foreign key \"%s\" of table %s.%s on the %s leads to %s.%s, which is selected: it "
                "would act on rows that are carried there",
                keys[i].name, keys[i].schema_name, keys[i].table_name, side_name(side),
                keys[i].to_schema, keys[i].to_table);
        return err_hint(err, "Drop it, or give the role the right to set "
                             "session_replication_role, and run the same command again.");
    }
    return true;
}

static bool refuse_torn(const Ddl *ddl, Err *err)
{
    AUTO_CTX(tmp, NULL);
    size_t n;
    const char **torn = scope_torn(tmp, ddl->now.scope, &n);

    if (n == 0)
        return true;
    err_set(err, ERR_STATE, "%s on the %s, and only one of the two is selected", torn[0],
            side_name(ddl->side[0]));
    return err_hint(err, "Undo it (ALTER TABLE ... NO INHERIT), and run the same command again.");
}

bool ddl_refuse_border(Ddl *ddl, Err *err)
{
    AUTO_CTX(tmp, NULL);
    const Side side = run_active(ddl->run);
    OurTriggersRow *rows;
    size_t n;

    if (ddl->now.scope == NULL)
        return true;
    ddl->side[0] = side;
    if (!refuse_torn(ddl, err) || !q_our_triggers(tmp, ddl->from, &rows, &n, err))
        return false;
    for (size_t i = 0; i < n; i++) {
        if (scope_has(ddl->now.scope, rows[i].schema_name, rows[i].table_name))
            continue;
        err_set(
            err, ERR_STATE,
            "table %s.%s on the %s is in the run, but its name is not in the selection any more",
            rows[i].schema_name, rows[i].table_name, side_name(side));
        return err_hint(err,
                        "It was renamed, moved to another schema or detached: undo that and run "
                        "the same command again, or start over with \"pgtandem abort\". "
                        "Nothing is lost meanwhile.");
    }
    return true;
}
