/* DDL during a run, carried to the copy: see ddl.h. */
#include "migrate/ddl.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "base/str.h"
#include "base/wait.h"
#include "migrate/aside.h"
#include "migrate/ddl_impl.h"
#include "schema/catalog.h"

enum {
    TOLD_CHANGES = 20,
    EXPLAINED = 5,
    MAKERS_PAUSE_MS = 20,
    MAKERS_MARGIN_MS = 100 /* for the query itself */
};

static bool was_done(const Ddl *ddl, const char *object)
{
    bool done = false;

    for (size_t i = 0; i < ddl->n_work; i++)
        if (strcmp(ddl->work[i].object, object) == 0) {
            if (!ddl->work[i].done)
                return false;
            done = true;
        }
    return done;
}

bool ddl_columns_agree(const Ddl *ddl, const char *schema, const char *name, bool *ret_exactly)
{
    const TableRelationsRow *now = baseline_find_table(&ddl->now, schema, name),
                            *copy = baseline_find_table(&ddl->copy, schema, name);
    Columns of;

    *ret_exactly = true;
    if (now == NULL || copy == NULL)
        return false;
    of = ddl_columns(&ddl->now, now->relid);
    for (size_t i = 0; i < of.n; i++) {
        const ColumnDefinitionsRow *c = &of.columns[i],
                                   *other = ddl_find_column(&ddl->copy, copy->relid, c->name);

        if (other == NULL || strcmp(other->type, c->type) != 0 ||
            ddl_is_generated(c) != ddl_is_generated(other))
            return false;
        *ret_exactly = *ret_exactly && other->not_null == c->not_null &&
                       (other->fallback == NULL) == (c->fallback == NULL) &&
                       other->special[0] == c->special[0];
    }
    *ret_exactly = *ret_exactly && of.n == ddl_columns(&ddl->copy, copy->relid).n &&
                   strcmp(now->persistence, copy->persistence) == 0;
    return true;
}

/* its text may be another one on another server version, though it means the same */
static bool is_worded(const char *object)
{
    static const char *const kinds[] = {"definition of ", "index ",    "constraint ", "trigger ",
                                        "rule ",          "function ", "policy "};

    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (str_starts(object, kinds[i]))
            return true;
    return false;
}

/* whether one object is in order; *ret_unsafe: a switch could lose rows or values */
static bool is_settled(const Ddl *ddl, const char *object, bool *ret_unsafe)
{
    const SchemaPrintsRow *now = baseline_find(&ddl->now, object),
                          *copy = baseline_find(&ddl->copy, object);
    const SchemaPrintsRow *print = now != NULL ? now : copy;
    bool exactly, agree;

    *ret_unsafe = false;
    /* what concerns rows was found to be the same; what else it is like there only people know */
    if (selection_renames(ddl->run->selection))
        return ddl_is_same_elsewhere(ddl, object);
    if (print == NULL)
        return true;
    if (strcmp(print->entry, "TABLE") == 0) {
        if (now == NULL)
            return false;
        agree = ddl_columns_agree(ddl, print->schema_name, print->name, &exactly);
        for (size_t i = 0; i < ddl->n_unsettled; i++) {
            const TableRelationsRow *t = ddl_find_relid(&ddl->now, ddl->unsettled[i]);

            if (t != NULL && strcmp(t->table_name, print->name) == 0 &&
                strcmp(t->schema_name, print->schema_name) == 0)
                agree = false;
        }
        *ret_unsafe = !agree;
        return agree && exactly;
    }
    /* of what is new as a whole pg_dump told that as well; the copy may lack the role */
    if (strcmp(print->entry, BASELINE_FACT) == 0 && copy == NULL && print->name[0] != '\0' &&
        ddl_find_before(&ddl->before, print->name) == NULL)
        return true;
    if (now == NULL || copy == NULL) {
        *ret_unsafe =
            str_starts(object, "parent ") || (now != NULL && str_starts(object, "sequence "));
        return false;
    }
    /* older servers do not tell what a sequence is like */
    if (str_starts(object, "sequence ") && (now->print[0] == '\0' || copy->print[0] == '\0'))
        return true;
    /* of a label that has another name now nobody captured any row */
    *ret_unsafe = strcmp(print->entry, "TYPE") == 0 && strcmp(now->print, copy->print) != 0;
    return strcmp(now->print, copy->print) == 0 || (is_worded(object) && was_done(ddl, object)) ||
           (str_starts(object, "definition of ") && was_done(ddl, ddl_view_of(ddl, print)));
}

static const char *refusal_of(const Ddl *ddl, const char *object)
{
    for (size_t i = 0; i < ddl->n_work; i++)
        if (strcmp(ddl->work[i].object, object) == 0 && !ddl->work[i].done)
            return mem_printf(ddl, "%.300s: %s", ddl->work[i].statement, ddl->work[i].refusal);
    return NULL;
}

/* lists what is open: it keeps its old fingerprint */
static void list_open(Ddl *ddl, const char *object)
{
    bool unsafe;

    if (!ddl_has_changed(ddl, object) || ddl_listed(ddl->open, ddl->n_open, object) ||
        ddl_listed(ddl->settled, ddl->n_settled, object))
        return;
    if (is_settled(ddl, object, &unsafe)) {
        mem_push(ddl, ddl->settled, ddl->n_settled, object);
        return;
    }
    mem_push(ddl, ddl->open, ddl->n_open, object);
    if (unsafe) {
        const char *text = mem_printf(ddl->run, "%s", object);

        mem_push(ddl->run, ddl->run->unsafe, ddl->run->n_unsafe, text);
    }
}

static void tell_refusals(const Ddl *ddl)
{
    for (size_t i = 0; i < ddl->n_work; i++)
        if (ddl->work[i].object[0] == '\0' && !ddl->work[i].done)
            log_warn("schema: not carried over: %.300s: %s", ddl->work[i].statement,
                     ddl->work[i].refusal);
}

static void tell(Ddl *ddl)
{
    Str *all = str_new(ddl);

    for (size_t i = 0; i < ddl->n_settled && i < TOLD_CHANGES; i++)
        log_info("schema: %s is as on the %s now", ddl->settled[i], side_name(ddl->side[0]));
    if (ddl->n_settled > TOLD_CHANGES)
        log_info("schema: and %zu more", ddl->n_settled - TOLD_CHANGES);
    tell_refusals(ddl);
    for (size_t i = 0; i < ddl->n_open; i++)
        str_fmt(all, "%s\n", ddl->open[i]);
    if (ddl->run->ddl_told != NULL && strcmp(ddl->run->ddl_told, all->text) == 0)
        return;
    talloc_free(ddl->run->ddl_told);
    ddl->run->ddl_told = mem_strdup(ddl->run, all->text);
    for (size_t i = 0; i < ddl->n_open; i++) {
        const char *refusal = refusal_of(ddl, ddl->open[i]);

        log_warn("schema: %s could not be carried over to the %s%s%s", ddl->open[i],
                 side_name(ddl->side[1]), refusal == NULL ? "" : ": ",
                 refusal == NULL ? "" : refusal);
    }
}

static bool settle_copy(Ddl *ddl, Err *err)
{
    /* of the copy nobody can tell which of its objects are the same: what people made there is taken as it is */
    if (selection_renames(ddl->run->selection))
        return baseline_store(ddl->run, ddl->side[1], err);
    return baseline_write(ddl->run->conn[SIDE_TARGET], ddl->side[1], &ddl->copy, ddl->settled,
                          ddl->n_settled, NULL, 0, err);
}

/* what both nodes have in the same way now is the new baseline */
static bool settle(Ddl *ddl, Err *err)
{
    Conn *target = ddl->run->conn[SIDE_TARGET];

    ddl->run->n_unsafe = 0;
    for (size_t i = 0; i < ddl->now.n_prints; i++)
        list_open(ddl, ddl->now.prints[i].object);
    for (size_t i = 0; i < ddl->before.n_prints; i++)
        list_open(ddl, ddl->before.prints[i].object);
    tell(ddl);
    if (!conn_do(target, "BEGIN", err))
        return false;
    if (!baseline_write(target, ddl->side[0], &ddl->now, ddl->settled, ddl->n_settled,
                        ddl->unsettled, ddl->n_unsettled, err) ||
        !settle_copy(ddl, err)) {
        conn_rollback(target);
        return false;
    }
    return conn_do(target, "COMMIT", err) && fault("ddl.settled", err);
}

/*
 * ---- all of it
 * ---------------------------------------------------------------------------------------------------
 */

static bool anything_changed(const Ddl *ddl)
{
    for (size_t i = 0; i < ddl->now.n_prints; i++)
        if (ddl_has_changed(ddl, ddl->now.prints[i].object))
            return true;
    for (size_t i = 0; i < ddl->before.n_prints; i++)
        if (ddl_has_changed(ddl, ddl->before.prints[i].object))
            return true;
    for (size_t i = 0; i < ddl->now.n_tables; i++)
        if (ddl_table_has_changed(ddl, &ddl->now.tables[i]))
            return true;
    return false;
}

/* tables that were dropped and made again, or are the same by name only */
static void drop_remade(Ddl *ddl)
{
    AUTO_CTX(tmp, NULL);

    for (size_t i = 0; i < ddl->now.n_tables; i++) {
        const TableRelationsRow *t = &ddl->now.tables[i];
        const char *object = t->object;
        const TableRelationsRow *copy =
            baseline_find_table(&ddl->copy, t->schema_name, t->table_name);

        if (ddl_old_table(&ddl->before, t->relid) != NULL ||
            ddl_find_before(&ddl->before, object) == NULL)
            continue;
        ddl->remade = true;
        ddl_carry_anew(ddl, t->relid);
        if (copy != NULL)
            ddl_alter_columns(ddl, t, copy);
    }
}

/* what there is to do on the copy */
static bool plan_work(Ddl *ddl, const char *snapshot, Err *err)
{
    AUTO_CTX(tmp, NULL);

    ddl_follow_tabs(ddl);
    ddl_work_of_drops(ddl);
    drop_remade(ddl);
    for (size_t i = 0; i < ddl->now.n_tables; i++) {
        const TableRelationsRow *t = &ddl->now.tables[i], *copy;

        const OldTablesRow *old = ddl_old_table(&ddl->before, t->relid);

        copy = baseline_find_table(&ddl->copy, t->schema_name, t->table_name);
        if (old != NULL &&
            (ddl_is_remembered(old) || (ddl_has_images(ddl, t) && ddl_table_has_changed(ddl, t))))
            ddl_carry_anew(ddl, t->relid);
        /* columns of a partition are altered with those of its root */
        if (copy != NULL && (t->bound == NULL || copy->bound == NULL) && old != NULL &&
            ddl_table_has_changed(ddl, t))
            ddl_alter_columns(ddl, t, copy);
    }
    for (size_t i = 0; i < ddl->now.n_prints; i++) {
        const SchemaPrintsRow *p = &ddl->now.prints[i], *copy;

        copy = baseline_find(&ddl->copy, p->object);
        if (!ddl_follow_labels(ddl, p, err))
            return false;
        if (strcmp(p->entry, "SEQUENCE") == 0 && copy != NULL && p->definition != NULL &&
            ddl_has_changed(ddl, p->object) && strcmp(copy->print, p->print) != 0)
            ddl_add_work(ddl, p->object, mem_printf(tmp, "ALTER %s %s", p->object, p->definition),
                         false);
    }
    if (!ddl_work_of_dump(ddl, snapshot, err))
        return false;
    ddl_work_of_facts(ddl);
    return ddl_move_partitions(ddl, err);
}

static bool plan(Ddl *ddl, const char *snapshot, Err *err)
{
    if (selection_renames(ddl->run->selection)) {
        if (!ddl_refuse_other(ddl, err))
            return false;
        ddl_follow_tabs(ddl);
        return ddl_refuse_filtered(ddl, err);
    }
    return ddl_refuse_dropped(ddl, err) && ddl_refuse_taken(ddl, err) &&
           ddl_follow_names(ddl, err) && ddl_read_copy(ddl, err) && plan_work(ddl, snapshot, err) &&
           ddl_refuse_filtered(ddl, err);
}

/* in one snapshot of `from`: what changed, and what follows from it for the copy */
static bool look(Ddl *ddl, ForeignKeysRow **ret_keys, size_t *ret_n_keys, bool *ret_changed,
                 Err *err)
{
    AUTO_CTX(tmp, NULL);
    DefinitionsMarkRow *mark;
    LostTabsRow *lost;
    Sql *q = sql_new(tmp);
    Rows *rows;
    size_t n, n_lost;

    sql_add(q, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SELECT pg_export_snapshot()");
    if (!conn_query(ddl, ddl->from, q, &rows, err) ||
        !q_definitions_mark(tmp, ddl->from, &mark, &n, err) ||
        !q_lost_tabs(tmp, ddl->from, &lost, &n_lost, err) ||
        !baseline_read(ddl, ddl->from, run_selection(ddl->run, ddl->side[0]), &ddl->now, err) ||
        !ddl_refuse_border(ddl, err) ||
        !ddl_read_before(ddl, ddl->run->conn[SIDE_TARGET], ddl->side[0], &ddl->before, err) ||
        !q_foreign_keys(ddl, ddl->from, ret_keys, ret_n_keys, err))
        return false;
    talloc_free(ddl->run->ddl_mark);
    ddl->run->ddl_mark = mem_strdup(ddl->run, mark->mark);
    talloc_free(ddl->run->ddl_keys);
    ddl->run->ddl_keys = ddl_keys_text(ddl->run, *ret_keys, *ret_n_keys);
    *ret_changed = anything_changed(ddl) || n_lost > 0;
    return !*ret_changed || (catalog_load(ddl, ddl->from, run_selection(ddl->run, ddl->side[0]),
                                          &ddl->catalog, err) &&
                             q_tabs(ddl, ddl->from, &ddl->tabs, &ddl->n_tabs, err) &&
                             ddl_read_copy(ddl, err) && plan(ddl, rows_text(rows, 0, 0), err));
}

static bool carry_foreign_keys(Ddl *ddl, const ForeignKeysRow *keys, size_t n, Err *err)
{
    return selection_renames(ddl->run->selection) ? ddl_refuse_other_keys(ddl, keys, n, err)
                                                  : ddl_carry_foreign_keys(ddl, keys, n, err);
}

/* publications and event triggers that the copy has: they may be in the way of other changes */
static bool add_aside(Ddl *ddl, Err *err)
{
    AUTO_CTX(tmp, NULL);
    AsideWork *work;
    size_t n;

    if (!aside_follow(tmp, ddl->run, ddl->side[1], &work, &n, err))
        return false;
    for (size_t i = 0; i < n; i++) {
        ddl_add_work(ddl, "", work[i].statement, false);
        ddl_add_otherwise(ddl, work[i].otherwise);
    }
    return true;
}

static bool carry(Ddl *ddl, Err *err)
{
    AUTO_CTX(tmp, NULL);
    ForeignKeysRow *keys;
    Catalog *copy;
    size_t n_keys;
    bool changed = false;
    bool ok = look(ddl, &keys, &n_keys, &changed, err);

    conn_rollback(ddl->from);
    if (!ok || !add_aside(ddl, err))
        return false;
    if (!changed) {
        ddl->run->n_unsafe = 0;
        ddl->copy = ddl->now;
        if (!ddl_do_work(ddl, err))
            return false;
        tell_refusals(ddl);
        return carry_foreign_keys(ddl, keys, n_keys, err) &&
               ddl_complete_captures(ddl, ddl->from, err) && ddl_carry_rows(ddl, err);
    }
    if (!ddl_remember_anew(ddl, err) || !ddl_claim_names(ddl, err) || !ddl_change_tabs(ddl, err) ||
        !ddl_do_work(ddl, err) || !ddl_read_copy(ddl, err) ||
        !carry_foreign_keys(ddl, keys, n_keys, err) ||
        !catalog_load(tmp, ddl->to, run_selection(ddl->run, ddl->side[1]), &copy, err) ||
        !ddl_rename_keys(ddl->to, copy, err) || !ddl_rename_keys(ddl->from, ddl->catalog, err) ||
        !ddl_register_tables(ddl, copy, err) || !ddl_complete_captures(ddl, ddl->to, err))
        return false;
    /* tables of the copy are of no interest there: its rows come with the rounds */
    for (size_t i = 0; i < ddl->n_anew; i++)
        if (ddl_find_relid(&ddl->now, ddl->anew[i]) == NULL)
            ddl->anew[i] = 0;
    for (size_t i = 0; i < ddl->n_work; i++)
        if (ddl->work[i].stops && !ddl->work[i].done)
            for (size_t t = 0; t < ddl->now.n_tables; t++)
                if (strcmp(ddl->now.tables[t].object, ddl->work[i].object) == 0)
                    ddl_mark_unsettled(ddl, ddl->now.tables[t].relid);
    return ddl_complete_captures(ddl, ddl->from, err) && ddl_carry_rows(ddl, err) &&
           settle(ddl, err) && ddl_refuse_stopping(ddl, err);
}

bool ddl_carry(Run *run, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Ddl *ddl = mem_new(tmp, Ddl);

    ddl->run = run;
    ddl->side[0] = run_active(run);
    ddl->side[1] = side_other(ddl->side[0]);
    ddl->from = run->conn[ddl->side[0]];
    ddl->to = run->conn[ddl->side[1]];
    if (ddl_refuse_keys_in(run, ddl->side[1], err) && carry(ddl, err)) {
        run->ddl_left = ddl->n_open > 0;
        return true;
    }
    run->ddl_left = true;
    return err_add(err, "while carrying changes of the schema");
}

bool ddl_has_moved(Run *run, bool *ret_moved, Err *err)
{
    AUTO_CTX(tmp, NULL);
    DefinitionsMarkRow *mark;
    size_t n;

    if (!q_definitions_mark(tmp, run->conn[run_active(run)], &mark, &n, err))
        return false;
    *ret_moved = run->ddl_mark == NULL || strcmp(run->ddl_mark, mark->mark) != 0;
    return true;
}

/* what was told before was refused or accepted before */
static void note_late(Ddl *ddl, const Run *run, const char *object)
{
    AUTO_CTX(tmp, NULL);

    if (ddl_has_changed(ddl, object) &&
        (run->ddl_told == NULL || strstr(run->ddl_told, mem_printf(tmp, "%s\n", object)) == NULL))
        mem_push(ddl, ddl->open, ddl->n_open, object);
}

bool ddl_refuse_late(Run *run, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Ddl *ddl = mem_new(tmp, Ddl);
    DefinitionsMarkRow *mark;
    ForeignKeysRow *keys;
    size_t n;

    ddl->run = run;
    ddl->side[0] = run_active(run);
    ddl->from = run->conn[ddl->side[0]];
    if (!q_definitions_mark(tmp, ddl->from, &mark, &n, err))
        return false;
    if (run->ddl_mark != NULL && strcmp(run->ddl_mark, mark->mark) == 0)
        return true;
    if (!baseline_read(ddl, ddl->from, run_selection(ddl->run, ddl->side[0]), &ddl->now, err) ||
        !ddl_refuse_border(ddl, err) || !q_foreign_keys(tmp, ddl->from, &keys, &n, err) ||
        !ddl_read_before(ddl, run->conn[SIDE_TARGET], run_active(run), &ddl->before, err))
        return false;
    for (size_t i = 0; i < ddl->now.n_prints; i++)
        note_late(ddl, run, ddl->now.prints[i].object);
    for (size_t i = 0; i < ddl->before.n_prints; i++)
        note_late(ddl, run, ddl->before.prints[i].object);
    /* what has changed without a word of its definition was told by nobody, nor accepted */
    for (size_t i = 0; i < ddl->now.n_tables; i++)
        if (!ddl_has_changed(ddl, ddl->now.tables[i].object) &&
            ddl_table_has_changed(ddl, &ddl->now.tables[i]))
            mem_push(ddl, ddl->open, ddl->n_open, ddl->now.tables[i].object);
    /* these have no fingerprints */
    if (run->ddl_keys != NULL && strcmp(run->ddl_keys, ddl_keys_text(tmp, keys, n)) != 0)
        mem_push(ddl, ddl->open, ddl->n_open, "foreign keys");
    if (ddl->n_open == 0) {
        talloc_free(run->ddl_mark);
        run->ddl_mark = mem_strdup(run, mark->mark);
        return true;
    }
    err_set(err, ERR_STATE, "definitions on the %s were changed in this very moment (%s)",
            side_name(run_active(run)), ddl->open[0]);
    return err_hint(err, "Run the same command again.");
}

bool ddl_wait_for_makers(Run *run, int64_t deadline, Err *err)
{
    for (;;) {
        AUTO_CTX(tmp, NULL);
        MakersRow *makers;
        size_t n, n_near = 0;

        if (!q_makers(tmp, run->conn[run_active(run)], &makers, &n, err))
            return false;
        /* one that has no name yet may get one that is selected */
        for (size_t i = 0; i < n; i++)
            if (run->selection == NULL || makers[i].schema_name[0] == '\0' ||
                selection_enters(run_selection(run, run_active(run)), makers[i].schema_name))
                makers[n_near++] = makers[i];
        if (n_near == 0)
            return true;
        if (deadline_left(deadline) <= MAKERS_MARGIN_MS) {
            err_set(err, ERR_TIMEOUT,
                    "process %d (%s) makes tables or sequences on the %s in a transaction that has "
                    "not ended for %s",
                    makers[0].pid, makers[0].usename, side_name(run_active(run)),
                    str_duration(tmp, (int64_t)(makers[0].age * 1000)));
            return err_hint(err, "Wait for it or end it, and run the same command again.");
        }
        if (!wait_ms(MAKERS_PAUSE_MS, err))
            return false;
    }
}

/* the source as it is now, and as it was when the copy was begun */
static Ddl *compare_source(const void *ctx, Run *run, Err *err)
{
    Ddl *ddl = mem_new(ctx, Ddl);

    ddl->run = run;
    ddl->side[0] = SIDE_SOURCE;
    ddl->side[1] = SIDE_TARGET;
    ddl->from = run->conn[SIDE_SOURCE];
    ddl->to = run->conn[SIDE_TARGET];
    return baseline_read(ddl, ddl->from, run_selection(ddl->run, ddl->side[0]), &ddl->now, err) &&
                   ddl_read_before(ddl, ddl->to, SIDE_SOURCE, &ddl->before, err)
               ? ddl
               : NULL;
}

bool ddl_after_copy(Run *run, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Ddl *ddl = compare_source(tmp, run, err);

    if (ddl == NULL)
        return false;
    for (size_t i = 0; i < ddl->now.n_tables; i++) {
        const TableRelationsRow *t = &ddl->now.tables[i];
        const OldTablesRow *old = ddl_old_table(&ddl->before, t->relid);

        if (old != NULL && (strcmp(old->table_name, t->table_name) != 0 ||
                            strcmp(old->schema_name, t->schema_name) != 0))
            ddl_carry_anew(ddl, t->relid);
    }
    return ddl_remember_anew(ddl, err);
}

bool ddl_may_be_why(Run *run, const Err *err)
{
    if ((err->kind != ERR_STATE && err->kind != ERR_SQL) ||
        conn_is_broken(run->conn[SIDE_SOURCE]) || conn_is_broken(run->conn[SIDE_TARGET]))
        return false;
    conn_rollback(run->conn[SIDE_SOURCE]);
    conn_rollback(run->conn[SIDE_TARGET]);
    return true;
}

void ddl_explain(Run *run, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Err *ignored = err_new(tmp);
    Str *all = str_new(tmp);
    size_t n = 0;

    Ddl *ddl = compare_source(tmp, run, ignored);
    if (ddl == NULL || ddl->before.n_prints == 0)
        return;
    for (size_t i = 0; i < ddl->now.n_tables; i++)
        if (ddl_table_has_changed(ddl, &ddl->now.tables[i]) && n++ < EXPLAINED)
            str_fmt(all, "%s%s", n == 1 ? "" : ", ", ddl->now.tables[i].object);
    for (size_t i = 0; i < ddl->before.n_prints; i++)
        if (str_starts(ddl->before.prints[i].object, "table ") &&
            baseline_find(&ddl->now, ddl->before.prints[i].object) == NULL && n++ < EXPLAINED)
            str_fmt(all, "%s%s (gone)", n == 1 ? "" : ", ", ddl->before.prints[i].object);
    if (n == 0)
        return;
    err_detail(err, "Made, altered or dropped on the source since the copy was begun: %s%s.",
               all->text, n > EXPLAINED ? " and others" : "");
    err_hint(err,
             "Changes are carried over when the copy is complete. Make the same on the target by "
             "hand and run the same command again; or start over with \"pgtandem abort\" and "
             "\"pgtandem upgrade\".");
}
