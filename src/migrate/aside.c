/* Publications and event triggers: see aside.h. */
#include "migrate/aside.h"

#include <string.h>

#include "base/log.h"
#include "base/str.h"
#include "migrate/sleep.h"
#include "pg/attempt.h"
#include "pg/sqlstate.h"
#include "sql/queries.h"

#define PUBLICATION "publication"
#define EVENT_TRIGGER "event trigger"

/* only a wait beyond the usual deadlock_timeout makes an autovacuum give way */
#define LOCK_TIMEOUT "1500ms"

/* statements that are run, or refused, together */
typedef struct Deed {
    const char *kind;
    const char *name;
    const char *statement;
    bool extra;   /* an owner, a state: not worth a word when the object itself is refused */
    bool refused; /* so it was, and this was told */
} Deed;

struct AsidePlan {
    Conn *from;
    Conn *to;
    Deed *deeds; /* publications first */
    size_t n_deeds;
    const char **carried; /* names for pgtandem.made */
    size_t n_carried;
    char *seen; /* what `from` had */
    bool event_triggers;
};

/* ---- both nodes */

typedef struct Look {
    SetAsideRow *wanted, *have; /* of the node that takes writes, of the other */
    size_t n_wanted, n_have;
    MadeAsideRow *made;
    BeforeAsideRow *before; /* what the target had before the run */
    size_t n_made, n_before;
} Look;

static bool look(const void *ctx, Run *run, Side to, Look *ret, Err *err)
{
    return q_set_aside(ctx, run->conn[side_other(to)], &ret->wanted, &ret->n_wanted, err) &&
           q_set_aside(ctx, run->conn[to], &ret->have, &ret->n_have, err) &&
           q_made_aside(ctx, run->conn[SIDE_TARGET], &ret->made, &ret->n_made, err) &&
           q_before_aside(ctx, run->conn[SIDE_TARGET], &ret->before, &ret->n_before, err);
}

static const SetAsideRow *find(const SetAsideRow *rows, size_t n, const SetAsideRow *row)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(rows[i].kind, row->kind) == 0 && strcmp(rows[i].name, row->name) == 0)
            return &rows[i];
    return NULL;
}

/* as pgtandem.made calls it */
static char *made_name(const void *ctx, const SetAsideRow *row)
{
    Str *s = str_new(ctx);

    str_fmt(s, "%s ", row->kind);
    str_ident(s, row->name);
    return s->text;
}

/* the run has carried it in one of the two directions */
static bool is_carried(const Look *look, const SetAsideRow *row)
{
    AUTO_CTX(tmp, NULL);
    char *name = made_name(tmp, row);

    for (size_t i = 0; i < look->n_made; i++)
        if (strcmp(look->made[i].object, name) == 0)
            return true;
    return false;
}

static bool was_before(const Look *look, const SetAsideRow *row)
{
    for (size_t i = 0; i < look->n_before; i++)
        if (strcmp(look->before[i].kind, row->kind) == 0 &&
            strcmp(look->before[i].name, row->name) == 0)
            return true;
    return false;
}

/* the state that counts: of one that sleeps that before */
static const char *state_of(const SetAsideRow *row)
{
    return row->asleep[0] != '\0' ? row->asleep : row->enabled;
}

static char *seen(const void *ctx, const SetAsideRow *rows, size_t n)
{
    Str *s = str_new(ctx);

    for (size_t i = 0; i < n; i++)
        str_fmt(s, "%s %s: %s, %s, %s, %s, %s\n", rows[i].kind, rows[i].name, rows[i].print,
                state_of(&rows[i]), rows[i].owner, rows[i].remark, rows[i].labels);
    return s->text;
}

/* ---- statements */

static const char *drop(const void *ctx, const SetAsideRow *row)
{
    Str *s = str_new(ctx);

    str_fmt(s, "DROP %s ", strcmp(row->kind, PUBLICATION) == 0 ? "PUBLICATION" : "EVENT TRIGGER");
    str_ident(s, row->name);
    return s->text;
}

static const char *drop_and_make(const void *ctx, const SetAsideRow *row)
{
    return mem_printf(ctx, "%s; %s", drop(ctx, row), row->make);
}

static void add(AsidePlan *plan, const SetAsideRow *row, const char *statement, bool extra)
{
    Deed deed = {.kind = mem_strdup(plan, row->kind),
                 .name = mem_strdup(plan, row->name),
                 .statement = mem_strdup(plan, statement),
                 .extra = extra};

    mem_push(plan, plan->deeds, plan->n_deeds, deed);
}

/* a label may have to go, too */
static void add_labels(AsidePlan *plan, const SetAsideRow *row, const SetAsideRow *there)
{
    AUTO_CTX(tmp, NULL);
    const char *bare = there == NULL ? "" : there->bare;

    if (strcmp(there == NULL ? "" : there->labels, row->labels) != 0)
        add(plan, row,
            mem_printf(tmp, "%s%s%s", bare, bare[0] != '\0' && row->labels[0] != '\0' ? "; " : "",
                       row->labels),
            true);
}

/* each for itself: a role or a provider that is not there costs nothing else */
static void add_extras(AsidePlan *plan, const SetAsideRow *row, const SetAsideRow *there)
{
    if (there == NULL || strcmp(there->owner, row->owner) != 0)
        add(plan, row, row->owner, true);
    if (there == NULL ? row->commented : strcmp(there->remark, row->remark) != 0)
        add(plan, row, row->remark, true);
    add_labels(plan, row, there);
}

static void remember(AsidePlan *plan, const SetAsideRow *row)
{
    const char *name = made_name(plan, row);

    mem_push(plan, plan->carried, plan->n_carried, name);
}

static void plan_altered(AsidePlan *plan, const SetAsideRow *row, const SetAsideRow *there)
{
    AUTO_CTX(tmp, NULL);

    if (strcmp(there->print, row->print) != 0) {
        add(plan, row, drop_and_make(tmp, row), false);
        add_extras(plan, row, NULL);
        return;
    }
    if (strcmp(state_of(there), state_of(row)) != 0)
        add(plan, row, sleep_event_trigger_state(tmp, row->name, state_of(row))->text->text, true);
    add_extras(plan, row, there);
}

static void plan_one(AsidePlan *plan, const Look *look, const SetAsideRow *row, bool to_source)
{
    const SetAsideRow *there = find(look->have, look->n_have, row);

    if (there == NULL) {
        /* what the target had before the run is its own */
        if (to_source && was_before(look, row))
            return;
        add(plan, row, row->make, false);
        add_extras(plan, row, NULL);
        remember(plan, row);
    } else if (is_carried(look, row)) {
        plan_altered(plan, row, there);
    } else if (strcmp(there->print, row->print) == 0) {
        /* somebody made it by the statement that was told, say */
        if (!was_before(look, row))
            remember(plan, row);
    } else {
        log_warn("%s \"%s\" of the %s is another one on the %s: that stays as it is", row->kind,
                 row->name, conn_label(plan->from), conn_label(plan->to));
    }
}

AsidePlan *aside_plan(const void *ctx, Run *run, Side to, Err *err)
{
    AUTO_CTX(tmp, NULL);
    AsidePlan *plan = mem_new(ctx, AsidePlan);
    Look both = {0};

    plan->from = run->conn[side_other(to)];
    plan->to = run->conn[to];
    /* publications name tables of whole databases */
    if (run->selection != NULL)
        return plan;
    if (!look(tmp, run, to, &both, err)) {
        talloc_free(plan);
        err_add(err, "while looking at publications and event triggers");
        return NULL;
    }
    plan->seen = seen(plan, both.wanted, both.n_wanted);
    for (size_t i = 0; i < both.n_have; i++)
        if (is_carried(&both, &both.have[i]) &&
            find(both.wanted, both.n_wanted, &both.have[i]) == NULL)
            add(plan, &both.have[i], drop(tmp, &both.have[i]), false);
    for (size_t i = 0; i < both.n_wanted; i++) {
        plan->event_triggers |= strcmp(both.wanted[i].kind, EVENT_TRIGGER) == 0;
        plan_one(plan, &both, &both.wanted[i], to == SIDE_SOURCE);
    }
    return plan;
}

bool aside_has_event_triggers(const AsidePlan *plan)
{
    return plan->event_triggers;
}

bool aside_is_current(const AsidePlan *plan, bool *ret_current, Err *err)
{
    AUTO_CTX(tmp, NULL);
    SetAsideRow *rows;
    size_t n;

    *ret_current = true;
    if (plan->seen == NULL)
        return true;
    if (!q_set_aside(tmp, plan->from, &rows, &n, err))
        return false;
    *ret_current = strcmp(seen(tmp, rows, n), plan->seen) == 0;
    return true;
}

/* ---- doing it */

static bool is_of(const Deed *deed, const char *kind)
{
    return !deed->refused && strcmp(deed->kind, kind) == 0;
}

static void tell_refused(const AsidePlan *plan, const Deed *deed, const char *why)
{
    if (deed->extra)
        log_warn("not carried over: %s (%s)", deed->statement, why);
    else
        log_warn("%s \"%s\" cannot be carried over to the %s: %s. Its statement is: %s", deed->kind,
                 deed->name, conn_label(plan->to), why, deed->statement);
}

/* in a transaction: the statements, or nothing of them when one is refused */
static bool try_text(Conn *conn, const char *text, bool *ret_refused, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Sql *q = sql_new(tmp);

    sql_add(q, "SET LOCAL lock_timeout = '" LOCK_TIMEOUT "'; ");
    sql_trusted(q, text);
    sql_add(q, "; SET LOCAL lock_timeout = 0");
    return attempt_exec(conn, q, ret_refused, err);
}

/* all that is not refused in one message */
static bool do_together(AsidePlan *plan, const char *kind, bool *ret_done, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Str *all = str_new(tmp);
    bool refused = false;

    for (size_t i = 0; i < plan->n_deeds; i++)
        if (is_of(&plan->deeds[i], kind))
            str_fmt(all, "%s%s", all->len == 0 ? "" : "; ", plan->deeds[i].statement);
    if (all->len > 0 && !try_text(plan->to, all->text, &refused, err))
        return false;
    err_clear(err);
    *ret_done = !refused;
    return true;
}

/*
 * One by one, and what is refused is told and left out from now on. rehearsal: who waits for a lock may have it when
 * it counts.
 */
static bool do_singly(AsidePlan *plan, const char *kind, bool rehearsal, Err *err)
{
    const Deed *object = NULL; /* that an extra belongs to */

    for (size_t i = 0; i < plan->n_deeds; i++) {
        Deed *deed = &plan->deeds[i];
        bool refused;

        if (!deed->extra)
            object = deed;
        else if (object != NULL && object->refused && strcmp(object->kind, deed->kind) == 0 &&
                 strcmp(object->name, deed->name) == 0)
            deed->refused = true;
        if (!is_of(deed, kind))
            continue;
        if (!try_text(plan->to, deed->statement, &refused, err))
            return false;
        if (refused && !(rehearsal && err_is(err, SQLSTATE_LOCK_NOT_AVAILABLE))) {
            tell_refused(plan, deed, err->msg);
            deed->refused = true;
        }
        err_clear(err);
    }
    return true;
}

static bool run_deeds(AsidePlan *plan, const char *kind, bool rehearsal, Err *err)
{
    bool done;

    return do_together(plan, kind, &done, err) && (done || do_singly(plan, kind, rehearsal, err));
}

bool aside_rehearse(AsidePlan *plan, Err *err)
{
    if (plan->n_deeds == 0)
        return true;
    bool ok = conn_do(plan->to, "BEGIN", err) && run_deeds(plan, PUBLICATION, true, err) &&
              run_deeds(plan, EVENT_TRIGGER, true, err);
    conn_rollback(plan->to);
    return ok || err_add(err, "while looking which publications and event triggers can be carried");
}

bool aside_publish(AsidePlan *plan, Err *err)
{
    return run_deeds(plan, PUBLICATION, false, err) || err_add(err, "while making publications");
}

bool aside_trigger(AsidePlan *plan, Err *err)
{
    return run_deeds(plan, EVENT_TRIGGER, false, err) ||
           err_add(err, "while making event triggers");
}

static bool is_refused(const AsidePlan *plan, const char *made)
{
    AUTO_CTX(tmp, NULL);

    for (size_t i = 0; i < plan->n_deeds; i++) {
        const Deed *deed = &plan->deeds[i];
        SetAsideRow row = {.kind = deed->kind, .name = deed->name};

        if (deed->refused && !deed->extra && strcmp(made_name(tmp, &row), made) == 0)
            return true;
    }
    return false;
}

bool aside_remember(const AsidePlan *plan, Conn *target, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Sql *q = sql_new(tmp);
    size_t n = 0;

    for (size_t i = 0; i < plan->n_carried; i++) {
        if (is_refused(plan, plan->carried[i]))
            continue;
        sql_trusted(q, n++ == 0
                           ? "INSERT INTO pgtandem.made (object) SELECT DISTINCT o FROM (VALUES ("
                           : ", (");
        sql_literal(q, plan->carried[i]);
        sql_add(q, "::text)");
    }
    if (n == 0)
        return true;
    sql_add(q, ") v(o) WHERE NOT EXISTS (SELECT 1 FROM pgtandem.made m WHERE m.object = v.o)");
    return conn_exec(target, q, err) ||
           err_add(err, "while remembering publications and event triggers");
}

/* ---- a copy that has them already */

static const char *follow_one(const void *ctx, const SetAsideRow *row, const SetAsideRow *wanted,
                              bool in_full)
{
    AUTO_CTX(tmp, NULL);
    Sql *q = sql_new(tmp);
    bool trigger = strcmp(row->kind, EVENT_TRIGGER) == 0;

    if (trigger)
        sleep_forget_event_trigger(q, row->name);
    sql_trusted(q, drop(tmp, row));
    if (wanted != NULL) {
        sql_trusted(q, mem_printf(tmp, "; %s; %s", wanted->make, wanted->remark));
        if (in_full)
            sql_trusted(q, mem_printf(tmp, "; %s; %s", wanted->owner, wanted->labels));
        if (trigger && strcmp(state_of(wanted), "D") != 0) {
            sql_add(q, "; ");
            sleep_event_trigger(q, row->name, state_of(wanted));
        }
    }
    return mem_strdup(ctx, q->text->text);
}

bool aside_follow(const void *ctx, Run *run, Side to, AsideWork **ret_work, size_t *ret_n, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Look both = {0};

    *ret_work = NULL;
    *ret_n = 0;
    if (run->selection != NULL)
        return true;
    if (!look(tmp, run, to, &both, err))
        return false;
    for (size_t i = 0; i < both.n_have; i++) {
        const SetAsideRow *row = &both.have[i], *wanted = find(both.wanted, both.n_wanted, row);

        if (is_carried(&both, row) && (wanted == NULL || strcmp(wanted->print, row->print) != 0)) {
            AsideWork work = {.statement = follow_one(ctx, row, wanted, true),
                              .otherwise = follow_one(ctx, row, wanted, false)};

            mem_push(ctx, *ret_work, *ret_n, work);
        }
    }
    return true;
}

bool aside_drop_new(Conn *target, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Look both = {0};

    if (!q_set_aside(tmp, target, &both.have, &both.n_have, err) ||
        !q_made_aside(tmp, target, &both.made, &both.n_made, err) ||
        !q_before_aside(tmp, target, &both.before, &both.n_before, err))
        return false;
    for (size_t i = both.n_have; i > 0; i--) {
        const SetAsideRow *row = &both.have[i - 1];
        Sql *q = sql_new(tmp);

        if (was_before(&both, row))
            continue;
        sql_trusted(q, drop(tmp, row));
        if (conn_exec(target, q, err))
            continue;
        /* whoever made it while the run was there may do more than our role */
        if (!err_is(err, SQLSTATE_INSUFFICIENT_PRIVILEGE) || is_carried(&both, row))
            return err_add(err, "while dropping %s \"%s\"", row->kind, row->name);
        log_warn("%s \"%s\" of the target stays: %s", row->kind, row->name, err->msg);
        err_clear(err);
    }
    return true;
}
