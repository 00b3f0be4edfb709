/* Plans of edges: see plan.h. */
#include "daemon/plan.h"

#include <stdlib.h>
#include <string.h>

#include "apply/apply.h"
#include "base/str.h"
#include "migrate/edge.h"
#include "model/provider.h"
#include "schema/catalog.h"
#include "sql/queries.h"

/* what a plan is made from */
typedef struct Maker {
    const EdgeSpec *edge;
    Conn *from;
    Conn *to;
    const Catalog *from_catalog;
    const Catalog *to_catalog;
    const ShapesRow *shapes;
    size_t n_shapes;
    bool same_database;
    Plan *plan;
} Maker;

static const Member *hub_of(const Sync *sync)
{
    for (size_t i = 0; i < sync->n_members; i++)
        if (sync->members[i].role == ROLE_SOURCE)
            return &sync->members[i];
    return NULL;
}

static EdgeSpec make_spec(const void *ctx, const Sync *sync, const Member *from, const Member *to)
{
    bool both = from->role == ROLE_SOURCE && to->role == ROLE_SOURCE;

    return (EdgeSpec){
        .sync = sync,
        .from = from->db,
        .to = to->db,
        .full = to->role == ROLE_FULLCOPY,
        .name = mem_printf(ctx, "%s/%s/%s", sync->name, from->db->name, to->db->name),
        .back = both ? mem_printf(ctx, "%s/%s/%s", sync->name, to->db->name, from->db->name) : NULL,
        .mine = from == hub_of(sync) && sync_sources(sync) > 1 ? mem_printf(ctx, "%s/", sync->name)
                                                               : NULL};
}

/* from the hub to everybody, and from the other sources to the hub: a conflict is always between two */
EdgeSpec *edges_of_sync(const void *ctx, const Sync *sync, size_t *ret_n)
{
    const Member *hub = hub_of(sync);
    EdgeSpec *edges = NULL;
    size_t n = 0;

    for (size_t i = 0; i < sync->n_members && hub != NULL; i++) {
        const Member *member = &sync->members[i];

        if (member == hub)
            continue;
        mem_push(ctx, edges, n, make_spec(ctx, sync, hub, member));
        if (member->role == ROLE_SOURCE)
            mem_push(ctx, edges, n, make_spec(ctx, sync, member, hub));
    }
    *ret_n = n;
    return edges;
}

bool edge_leads_to_hub(const EdgeSpec *edge)
{
    return edge->back != NULL && edge->mine == NULL;
}

Window edge_window(const EdgeSpec *edge)
{
    return (Window){.own_only = !edge->sync->cascade,
                    .but = edge->mine,
                    .back = edge->back,
                    .timed = edge->back != NULL,
                    .skipping = edge->back != NULL && edge->sync->conflict == CONFLICT_SKIP};
}

EdgeSpec edge_back(const EdgeSpec *edge)
{
    return (EdgeSpec){.sync = edge->sync,
                      .from = edge->to,
                      .to = edge->from,
                      .name = edge->back,
                      .back = edge->name};
}

static void set_problem(PlannedTable *t, const char *problem, const char *hint)
{
    t->problem = problem;
    t->hint = hint;
}

/* the select list or condition of a rule as a query in parentheses, alias t inside */
static const char *read_sql(const void *ctx, const Table *src, const TableRule *rule)
{
    Str *s = str_new(ctx);

    str_add(s, "(SELECT t.tableoid, ");
    str_add(s, rule->columns != NULL ? rule->columns : "t.*");
    str_add(s, " FROM ");
    str_add(s, table_ref(ctx, src));
    str_add(s, " t");
    if (rule->where != NULL) {
        str_add(s, " WHERE (");
        str_add(s, rule->where);
        str_add(s, ")");
    }
    str_add(s, ")");
    return s->text;
}

/* a column that a rule's query delivers */
typedef struct Delivered {
    const char *name;
    const Column *own; /* the table's column of that name, or NULL */
    bool as_it_is;     /* and it is that column itself, not an expression that is called so */
} Delivered;

/* what a rule's query delivers, tableoid left out; *ret_refusal: what the server says */
static bool describe(const void *ctx, Conn *from, const char *query, const Table *src,
                     Delivered **ret_columns, size_t *ret_n, const char **ret_refusal, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Sql *q = sql_new(tmp);
    Rows *rows;
    Delivered *columns = NULL;
    size_t n = 0;

    sql_add(q, "SELECT * FROM ");
    sql_trusted(q, query);
    sql_add(q, " t LIMIT 0");
    *ret_refusal = NULL;
    if (!conn_query(tmp, from, q, &rows, err)) {
        if (err->kind != ERR_SQL)
            return false;
        *ret_refusal = mem_strdup(ctx, err->msg);
        err_clear(err);
        return true;
    }
    for (int i = 1; i < rows_columns(rows); i++) {
        Delivered column = {.name = mem_strdup(ctx, rows_column_name(rows, i))};

        column.own = table_column(src, column.name);
        column.as_it_is =
            column.own != NULL && rows_column_is(rows, i, src->oid, column.own->number);
        mem_push(ctx, columns, n, column);
    }
    *ret_columns = columns;
    *ret_n = n;
    return true;
}

/* rows are found by their key, so it has to be what it is in the source */
static void check_chosen_key(Maker *m, PlannedTable *t, const Delivered *columns, size_t n)
{
    const void *ctx = m->plan;

    for (size_t k = 0; k < t->src.n_keys; k++) {
        const char *key = t->src.keys[k].name;
        const Delivered *found = NULL;

        for (size_t i = 0; i < n; i++)
            if (strcmp(columns[i].name, key) == 0)
                found = &columns[i];
        if (found == NULL)
            set_problem(t,
                        mem_printf(ctx, "the key column \"%s\" of %s is not among its \"columns\"",
                                   key, table_label(ctx, &t->src)),
                        "Add it under its own name.");
        else if (!found->as_it_is)
            set_problem(t,
                        mem_printf(ctx,
                                   "\"columns\" of %s make something else of the key column \"%s\"",
                                   table_label(ctx, &t->src), key),
                        "Carry the key as it is; a changed copy of it can be another column.");
    }
}

/* the columns that a rule chooses, as far as the target takes them */
static bool choose_columns(Maker *m, PlannedTable *t, Err *err)
{
    const void *ctx = m->plan;
    const char *refusal;
    Delivered *chosen;
    const Column **columns = NULL;
    size_t n_chosen, n = 0;

    if (!describe(ctx, m->from, t->pair.read_sql, &t->src, &chosen, &n_chosen, &refusal, err))
        return false;
    if (refusal != NULL) {
        set_problem(t, refusal,
                    "Correct \"columns\" or \"where\". Functions and types outside of pg_catalog "
                    "need their schema.");
        return true;
    }
    for (size_t i = 0; i < n_chosen; i++) {
        const char *name = chosen[i].name;
        const Column *other = table_column(&t->dst, name), *own = chosen[i].own;

        if (other == NULL) {
            set_problem(t,
                        mem_printf(ctx, "%s has no column \"%s\" in the %s",
                                   table_label(ctx, &t->dst), name, conn_label(m->to)),
                        "Add the column there, or leave it out with \"columns\".");
            return true;
        }
        if (other->generated || (own != NULL && own->generated))
            continue;
        Column *column = mem_new(ctx, Column);
        *column = *other;
        column->name = name;
        mem_push(ctx, columns, n, column);
    }
    t->pair.columns = columns;
    t->pair.n_columns = n;
    if (!m->edge->full)
        check_chosen_key(m, t, chosen, n_chosen);
    return true;
}

/* the key of the target in the order of the source's key */
static bool match_key(Maker *m, PlannedTable *t)
{
    KeyColumn *keys = mem_array(m->plan, KeyColumn, t->src.n_keys + 1);
    bool same = t->src.n_keys == t->dst.n_keys;

    for (size_t k = 0; same && k < t->src.n_keys; k++) {
        same = false;
        for (size_t d = 0; d < t->dst.n_keys; d++)
            if (strcmp(t->src.keys[k].name, t->dst.keys[d].name) == 0) {
                keys[k] = t->dst.keys[d];
                same = true;
            }
    }
    t->dst.keys = keys;
    t->dst.key_is_int = t->dst.key_is_int && same;
    return same;
}

/* what the role may not do with it */
static bool check_rights(Maker *m, PlannedTable *t)
{
    const void *ctx = m->plan;
    const char *label = table_label(ctx, &t->src);

    if (!t->src.owned)
        set_problem(
            t,
            mem_printf(ctx, "the role does not own table %s in the %s", label, conn_label(m->from)),
            "Only the owner (or a member of the owning role) can put triggers on it.");
    else if (t->src.forced_rls)
        set_problem(t,
                    mem_printf(ctx,
                               "row-level security hides rows of table %s in the %s from the role",
                               label, conn_label(m->from)),
                    "Grant the role BYPASSRLS, or ALTER TABLE … NO FORCE ROW LEVEL SECURITY.");
    return t->problem == NULL;
}

static void check_key(Maker *m, PlannedTable *t)
{
    const void *ctx = m->plan;

    if (t->src.n_keys == 0) {
        set_problem(t,
                    mem_printf(ctx,
                               "%s has no primary key and no unique index that can stand for one",
                               table_label(ctx, &t->src)),
                    "Add one, exclude the table, or carry it in a sync with the role fullcopy.");
        return;
    }
    for (size_t k = 0; k < t->src.n_keys; k++) {
        const char *key = t->src.keys[k].name;
        const Column *other = table_column(&t->dst, key);

        if (other != NULL && other->generated != table_column(&t->src, key)->generated) {
            set_problem(t,
                        mem_printf(ctx, "the key column \"%s\" of %s is generated on one side only",
                                   key, table_label(ctx, &t->src)),
                        "It has to be the same on both.");
            return;
        }
    }
    if (!match_key(m, t))
        set_problem(t,
                    mem_printf(ctx, "%s has not the same key in the %s as in the %s",
                               table_label(ctx, &t->dst), conn_label(m->to), conn_label(m->from)),
                    "Both sides need a primary key or unique index over the same columns.");
}

/* where deleting a row may take others along, none may be deleted only to be written again */
static void check_identities(Maker *m, PlannedTable *t)
{
    const void *ctx = m->plan;
    TablePair pair = t->pair;

    pair.dst = &t->dst; /* not yet there: the table may still move in memory */
    if (m->edge->sync->target_triggers == TRIGGERS_FIRE && apply_needs_replace(&pair))
        set_problem(
            t,
            mem_printf(ctx,
                       "%s in the %s has a column GENERATED ALWAYS AS IDENTITY beside its key, "
                       "which cannot be updated while foreign keys act",
                       table_label(ctx, &t->dst), conn_label(m->to)),
            "Make it GENERATED BY DEFAULT there, or use target-triggers = sleep.");
}

static bool plan_columns(Maker *m, PlannedTable *t, Err *err)
{
    if (t->pair.read_sql != NULL)
        return choose_columns(m, t, err);
    if (catalog_carried_columns(m->plan, &t->src, &t->dst, &t->pair.columns, &t->pair.n_columns,
                                err))
        return true;
    if (err->kind != ERR_STATE)
        return false;
    set_problem(t, mem_strdup(m->plan, err->msg),
                "Add the column to the other node, too, or "
                "leave it out with \"columns\".");
    err_clear(err);
    return true;
}

/* what a table is called in the target */
static void name_in_target(const TableRule *rule, const Table *src, const char **ret_schema,
                           const char **ret_name)
{
    bool other = rule != NULL && rule->target_name != NULL;

    *ret_schema = other ? rule->target_schema : src->schema;
    *ret_name = other ? rule->target_name : src->name;
}

static bool plan_table(Maker *m, PlannedTable *t, const TableRule *rule, Err *err)
{
    const void *ctx = m->plan;
    const char *schema, *name;

    name_in_target(rule, &t->src, &schema, &name);
    for (size_t i = 0; i < m->n_shapes; i++)
        if (m->shapes[i].relid == t->src.oid)
            t->pair.shape = mem_strdup(ctx, m->shapes[i].shape);
    if (rule != NULL && (rule->columns != NULL || rule->where != NULL))
        t->pair.read_sql = read_sql(ctx, &t->src, rule);
    if (m->same_database && strcmp(schema, t->src.schema) == 0 && strcmp(name, t->src.name) == 0) {
        set_problem(t, mem_printf(ctx, "%s.%s would be carried onto itself", schema, name),
                    "Both databases are the same one: give the table a \"target-name\".");
        return true;
    }
    const Table *dst = catalog_find_any(m->to_catalog, schema, name);
    if (dst == NULL) {
        set_problem(t,
                    mem_printf(ctx, "table %s.%s does not exist in the %s", schema, name,
                               conn_label(m->to)),
                    "Create it there, or exclude it.");
        return true;
    }
    t->dst = table_copy(ctx, dst);
    if (!plan_columns(m, t, err))
        return false;
    if (t->problem == NULL && !m->edge->full && check_rights(m, t))
        check_key(m, t);
    if (t->problem == NULL && !m->edge->full)
        check_identities(m, t);
    return true;
}

static void add_missing(Plan *plan, int line, const char *problem, const char *hint)
{
    PlannedTable missing = {.problem = problem, .hint = hint, .line = line};

    mem_push(plan, plan->missing, plan->n_missing, missing);
}

/* names in the file that nothing in the database answers to */
static void find_missing(Maker *m)
{
    const Sync *sync = m->edge->sync;
    Plan *plan = m->plan;

    for (size_t i = 0; i < sync->tables.n_include; i++) {
        const Pattern *p = &sync->tables.include[i];

        if (!pattern_is_name(p) || catalog_find(m->from_catalog, p->schema, p->name) != NULL ||
            catalog_find_sequence(m->from_catalog, p->schema, p->name) != NULL)
            continue;
        if (catalog_find_any(m->from_catalog, p->schema, p->name) != NULL)
            add_missing(
                plan, p->line,
                mem_printf(plan,
                           "%s.%s is carried under another name: a partitioned table and its "
                           "partitions are one table",
                           p->schema, p->name),
                "Name the partitioned table; where it has no key, its partitions.");
        else
            add_missing(plan, p->line,
                        mem_printf(plan, "table %s.%s does not exist in the %s", p->schema, p->name,
                                   conn_label(m->from)),
                        "Check its name; it counts as it is written, upper case, too.");
    }
    if (plan->n_tables == 0 && plan->n_sequences == 0 && plan->n_missing == 0)
        add_missing(
            plan, sync->line,
            mem_printf(plan, "sync %s has no table in the %s", sync->name, conn_label(m->from)),
            "Check \"tables\".");
}

static bool is_named(const Sync *sync, const Table *table, int *ret_line)
{
    for (size_t i = 0; i < sync->tables.n_include; i++) {
        const Pattern *p = &sync->tables.include[i];

        if (pattern_is_name(p) && strcmp(p->schema, table->schema) == 0 &&
            strcmp(p->name, table->name) == 0) {
            *ret_line = p->line;
            return true;
        }
    }
    return false;
}

/* whether a sync has that table; *ret_line: where it is named, if it is */
static bool takes(const Sync *sync, const Table *table, int *ret_line)
{
    bool named = is_named(sync, table, ret_line);

    return sync_takes(sync, table->schema, table->name) && (!table->in_extension || named);
}

/* of the source's tables, those that may be in the sync, and those that it names */
static bool wants_source(const void *arg, const char *schema, const char *name)
{
    const Sync *sync = arg;
    const Table table = {.schema = schema, .name = name};
    int line;

    return sync_takes(sync, schema, name) || is_named(sync, &table, &line);
}

/* names of tables of the target, sorted */
typedef struct Names {
    Table *tables; /* schema and name only */
    size_t n;
} Names;

static int compare_names(const void *a, const void *b)
{
    const Table *x = a, *y = b;
    int c = strcmp(x->schema, y->schema);

    return c != 0 ? c : strcmp(x->name, y->name);
}

static bool wants_target(const void *arg, const char *schema, const char *name)
{
    const Names *names = arg;
    const Table key = {.schema = schema, .name = name};

    return names->n > 0 &&
           bsearch(&key, names->tables, names->n, sizeof key, compare_names) != NULL;
}

/* what the tables of the sync are called in the target; belongs to ctx and the source's catalog */
static Names target_names(const void *ctx, const EdgeSpec *edge, const Catalog *from)
{
    Names names = {0};

    for (size_t i = 0; i < from->n_tables; i++) {
        const Table *table = &from->tables[i];
        int line;

        if (!takes(edge->sync, table, &line))
            continue;
        Table name = {0};
        name_in_target(sync_rule(edge->sync, table->schema, table->name, edge->to), table,
                       &name.schema, &name.name);
        mem_push(ctx, names.tables, names.n, name);
    }
    if (names.n > 0)
        qsort(names.tables, names.n, sizeof *names.tables, compare_names);
    return names;
}

static bool plan_tables(Maker *m, Err *err)
{
    const Sync *sync = m->edge->sync;

    for (size_t i = 0; i < m->from_catalog->n_tables; i++) {
        const Table *table = &m->from_catalog->tables[i];
        PlannedTable planned = {0};

        if (!takes(sync, table, &planned.line))
            continue;
        planned.src = table_copy(m->plan, table);
        const TableRule *rule = sync_rule(sync, table->schema, table->name, m->edge->to);
        if (rule != NULL)
            planned.line = rule->line;
        if (!plan_table(m, &planned, rule, err))
            return false;
        mem_push(m->plan, m->plan->tables, m->plan->n_tables, planned);
    }
    for (size_t i = 0; i < m->plan->n_tables; i++) {
        m->plan->tables[i].pair.src = &m->plan->tables[i].src;
        m->plan->tables[i].pair.dst = &m->plan->tables[i].dst;
    }
    return true;
}

/* the plan's table that this relation of the target is, or n_tables */
static size_t index_of_target(const Plan *plan, int64_t oid)
{
    size_t i = 0;

    while (i < plan->n_tables &&
           (plan->tables[i].problem != NULL || plan->tables[i].dst.oid != oid))
        i++;
    return i;
}

/*
 * One more than the highest rank among the parents. Of parents in a circle, the one that is met again counts
 * as the first: only deferrable foreign keys allow that.
 */
static int rank_of(Plan *plan, const ReferencesRow *keys, size_t n, size_t table)
{
    TablePair *pair = &plan->tables[table].pair;

    if (pair->rank != 0)
        return pair->rank;
    pair->rank = 1;
    int rank = 1;
    for (size_t i = 0; i < n; i++) {
        if (keys[i].child != plan->tables[table].dst.oid)
            continue;
        size_t parent = index_of_target(plan, keys[i].parent);

        if (parent == plan->n_tables || parent == table)
            continue;
        int above = rank_of(plan, keys, n, parent);
        rank = above >= rank ? above + 1 : rank;
    }
    return pair->rank = rank;
}

/* only where foreign keys of the target act */
static bool plan_order(Maker *m, Err *err)
{
    AUTO_CTX(tmp, NULL);
    ReferencesRow *keys;
    size_t n;

    if (m->edge->sync->target_triggers != TRIGGERS_FIRE)
        return true;
    if (!q_references(tmp, m->to, &keys, &n, err))
        return false;
    for (size_t i = 0; i < m->plan->n_tables; i++)
        if (m->plan->tables[i].problem == NULL)
            (void)rank_of(m->plan, keys, n, i);
    return true;
}

static const Sequence *copy_sequence(const void *ctx, const Sequence *sequence)
{
    Sequence *copy = mem_new(ctx, Sequence);

    *copy = *sequence;
    copy->schema = mem_strdup(copy, sequence->schema);
    copy->name = mem_strdup(copy, sequence->name);
    return copy;
}

static void plan_sequences(Maker *m)
{
    const Sync *sync = m->edge->sync;

    /* between sources each node has numbers of its own */
    if (!sync->sequences || m->same_database || m->edge->back != NULL)
        return;
    for (size_t i = 0; i < m->from_catalog->n_sequences; i++) {
        const Sequence *s = &m->from_catalog->sequences[i];

        if (sync_takes(sync, s->schema, s->name) && s->readable &&
            catalog_find_sequence(m->to_catalog, s->schema, s->name) != NULL)
            mem_push(m->plan, m->plan->sequences, m->plan->n_sequences, copy_sequence(m->plan, s));
    }
}

static bool read_print(const void *ctx, Conn *conn, const char *relids, const char **ret_print,
                       Err *err)
{
    DefinitionsPrintRow *row;
    size_t n;

    if (!q_definitions_print(ctx, conn, relids, &row, &n, err))
        return false;
    *ret_print = row->print;
    return true;
}

/* fingerprint and shapes first: what is altered after that is noticed later, or by the first round */
static bool read_side(const void *ctx, Maker *m, int which, Conn *conn, const CatalogChoice *choice,
                      Catalog **ret_catalog, Err *err)
{
    const char **relids = &m->plan->relids[which];
    ShapesRow *shapes;

    if (!catalog_choose(m->plan, conn, choice, relids, err) ||
        !read_print(m->plan, conn, *relids, &m->plan->print[which], err) ||
        (which == 0 && !q_shapes(ctx, conn, *relids, &shapes, &m->n_shapes, err)) ||
        !catalog_load_some(ctx, conn, *relids, ret_catalog, err))
        return false;
    if (which == 0)
        m->shapes = shapes;
    return true;
}

static bool make(const void *ctx, Maker *m, Err *err)
{
    const EdgeSpec *edge = m->edge;
    Catalog *from, *to;
    Names names;
    CatalogChoice source = {.wants = wants_source, .arg = edge->sync};
    CatalogChoice target = {.wants = wants_target, .arg = &names};

    if (!edge_same_database(m->from, m->to, &m->same_database, err) ||
        !read_side(ctx, m, 0, m->from, &source, &from, err))
        return false;
    names = target_names(ctx, edge, from);
    if (!read_side(ctx, m, 1, m->to, &target, &to, err))
        return false;
    m->from_catalog = from;
    m->to_catalog = to;
    if (!plan_tables(m, err) || !plan_order(m, err))
        return false;
    plan_sequences(m);
    find_missing(m);
    return true;
}

bool plan_make(const void *ctx, const EdgeSpec *edge, Conn *from, Conn *to, Plan **ret_plan,
               Err *err)
{
    AUTO_CTX(tmp, NULL); /* the catalogs may be large, and the plan lives long */
    Plan *plan = mem_new(ctx, Plan);
    Maker m = {.edge = edge, .from = from, .to = to, .plan = plan};

    if (!make(tmp, &m, err)) {
        talloc_free(plan);
        return false;
    }
    *ret_plan = plan;
    return true;
}

bool plan_is_old(const Plan *plan, int which, Conn *conn, bool *ret_old, Err *err)
{
    AUTO_CTX(tmp, NULL);
    const char *print;

    if (!read_print(tmp, conn, plan->relids[which], &print, err))
        return false;
    *ret_old = strcmp(print, plan->print[which]) != 0;
    return true;
}

bool plan_role_hint(const void *ctx, Conn *to, const char **ret_hint, Err *err)
{
    AUTO_CTX(tmp, NULL);
    ProviderRow *provider;
    size_t n;

    if (!q_provider(tmp, to, &provider, &n, err))
        return false;
    *ret_hint = mem_printf(
        ctx, "%s. Or let the target's triggers and foreign keys fire: target-triggers = fire.",
        provider_allow_replica(tmp, provider, conn_caps(to)->has_parameter_rights));
    return true;
}
