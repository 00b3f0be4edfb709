/*
 * What must not cross the border of a selection: see ddl_impl.h.
 *
 * A table that is renamed, detached or moved to another schema may leave the selection. Its triggers stay, and
 * after a switch they would refuse writes to a table that the other node does not have; so it is not taken for one
 * that was dropped.
 */
#include "migrate/ddl_impl.h"
#include "model/scope.h"

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
