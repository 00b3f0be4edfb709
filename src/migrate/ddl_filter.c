/*
 * Changes of tables of which the run moves some rows only (model/filter.h): see ddl_impl.h.
 *
 * While the target takes writes the source still has rows that were left behind. What would destroy something of
 * these is not carried to them: people make it there, or let it be. Nor is what would make a table of which there is
 * a condition a part of another, or known by another key.
 */
#include "migrate/ddl_impl.h"

#include <string.h>

static bool is_retired(const Ddl *ddl, const TabsRow *tab)
{
    for (size_t i = 0; i < ddl->n_changes; i++)
        if (ddl->changes[i].id == tab->id && ddl->changes[i].schema[0] == '\0')
            return true;
    return false;
}

static bool refuse_key(const Ddl *ddl, const TabsRow *tab, Err *err)
{
    err_set(err, ERR_STATE,
            "table %s.%s, of which this run moves some rows only, has another key on the %s now, "
            "or became a part of another table",
            tab->schema_name, tab->table_name, side_name(ddl->side[0]));
    err_detail(err, "Which rows are in the run could not be told any more.");
    return err_hint(err, "Put it back as it was, and run the same command again. Nothing is lost "
                         "meanwhile.");
}

static bool refuse_loss(const Ddl *ddl, const char *table, const char *what, Err *err)
{
    err_set(err, ERR_STATE, "table %s was changed on the %s in a way that is not carried to the %s",
            table, side_name(ddl->side[0]), side_name(ddl->side[1]));
    err_detail(err,
               "It would also concern rows that were left behind there: %s. No changes are carried "
               "until then, and nothing is lost.",
               what);
    return err_hint(err,
                    "If these rows may change, make the same change on the %s by hand, and run the "
                    "same command again. If there is to be no way back, \"pgtandem finish\" ends "
                    "the run.",
                    side_name(ddl->side[1]));
}

/* names of columns changed places: rows that were left behind would have their values under the wrong ones */
static bool names_crossed(const Ddl *ddl, const TableRelationsRow *table,
                          const TableRelationsRow *copy)
{
    Columns now = ddl_columns(&ddl->now, table->relid);

    for (size_t i = 0; i < now.n; i++) {
        const OldColumnsRow *old =
            ddl_old_column(&ddl->before, table->relid, now.columns[i].number);

        if (old != NULL && strcmp(old->name, now.columns[i].name) != 0 &&
            ddl_find_column(&ddl->copy, copy->relid, old->name) != NULL &&
            ddl_find_column(&ddl->copy, copy->relid, now.columns[i].name) != NULL)
            return true;
    }
    return false;
}

static bool has_filter(const TabsRow *tab)
{
    return tab->filter != NULL && tab->schema_name[0] != '\0';
}

bool ddl_refuse_dropped(const Ddl *ddl, Err *err)
{
    AUTO_CTX(tmp, NULL);

    for (size_t i = 0; ddl->side[0] == SIDE_TARGET && i < ddl->n_tabs; i++) {
        const TabsRow *tab = &ddl->tabs[i];

        /* without a relation: registered, but a crash came before its triggers */
        if (has_filter(tab) && tab->rel != 0 && ddl_find_relid(&ddl->now, tab->rel) == NULL &&
            ddl_copy_table(ddl, tab->schema_name, tab->table_name) != NULL)
            return refuse_loss(ddl, mem_printf(tmp, "%s.%s", tab->schema_name, tab->table_name),
                               "it was dropped", err);
    }
    return true;
}

static bool refuse_tab(const Ddl *ddl, const TabsRow *tab, Err *err)
{
    const TableRelationsRow *table = ddl_find_relid(&ddl->now, tab->rel), *copy;

    if (table == NULL)
        return true;
    if (is_retired(ddl, tab))
        return refuse_key(ddl, tab, err);
    if (ddl->side[0] != SIDE_TARGET ||
        (copy = ddl_copy_table(ddl, table->schema_name, table->table_name)) == NULL)
        return true;
    for (size_t i = 0; i < ddl->n_work; i++)
        if (ddl->work[i].destroys && strcmp(ddl->work[i].object, table->object) == 0)
            return refuse_loss(ddl, table->object + strlen("table "), ddl->work[i].statement, err);
    return !names_crossed(ddl, table, copy) || refuse_loss(ddl, table->object + strlen("table "),
                                                           "names of columns changed places", err);
}

bool ddl_refuse_filtered(const Ddl *ddl, Err *err)
{
    for (size_t i = 0; i < ddl->n_tabs; i++)
        if (has_filter(&ddl->tabs[i]) && !refuse_tab(ddl, &ddl->tabs[i], err))
            return false;
    return true;
}
