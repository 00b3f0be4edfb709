/* Numbers of sequences between several sources: see interleave.h. */
#include "daemon/interleave.h"

#include <stdio.h>
#include <string.h>

#include "base/str.h"
#include "sql/queries.h"

enum { SEQUENCES_PER_QUERY = 400 };

/* one sequence on one node */
typedef struct Place {
    const char *schema;
    const char *name;
    size_t member;
    int64_t step;
    int64_t last;
} Place;

static bool read_last_values(Conn *conn, Place *places, size_t n, Err *err)
{
    for (size_t first = 0; first < n; first += SEQUENCES_PER_QUERY) {
        AUTO_CTX(tmp, NULL);
        Sql *q = sql_new(tmp);
        Rows *rows;

        for (size_t i = first; i < n && i < first + SEQUENCES_PER_QUERY; i++) {
            sql_trusted(q, i > first ? " UNION ALL SELECT " : "SELECT ");
            sql_number(q, (int64_t)i);
            sql_add(q, ", last_value FROM ");
            sql_name(q, places[i].schema, places[i].name);
        }
        if (!conn_query(tmp, conn, q, &rows, err))
            return err_add(err, "while reading sequences of the %s", conn_label(conn));
        for (size_t r = 0; r < rows_count(rows); r++)
            places[rows_i64(rows, r, 0)].last = rows_i64(rows, r, 1);
    }
    return true;
}

static bool read_places(const void *ctx, const Sync *sync, size_t member, Conn *conn,
                        Place **places, size_t *n, Err *err)
{
    SequenceStepsRow *rows;
    size_t n_rows, before = *n;

    if (!q_sequence_steps(ctx, conn, &rows, &n_rows, err))
        return false;
    for (size_t i = 0; i < n_rows; i++) {
        Place place = {.schema = rows[i].schema_name,
                       .name = rows[i].sequence_name,
                       .member = member,
                       .step = rows[i].step};

        if (sync_takes(sync, place.schema, place.name))
            mem_push(ctx, *places, *n, place);
    }
    return read_last_values(conn, *places + before, *n - before, err);
}

static bool is_same(const Place *a, const Place *b)
{
    return strcmp(a->name, b->name) == 0 && strcmp(a->schema, b->schema) == 0;
}

/* whether two nodes would give the same number sooner or later */
static bool meet(const Place *a, const Place *b, size_t sources)
{
    return a->step != b->step || a->step < (int64_t)sources || (a->last - b->last) % a->step == 0;
}

static void print_statement(const Sync *sync, const Place *place, int64_t step, int64_t start)
{
    AUTO_CTX(tmp, NULL);
    Str *name = str_new(tmp);

    str_ident(name, place->schema);
    str_char(name, '.');
    str_ident(name, place->name);
    printf("    %s: ALTER SEQUENCE %s INCREMENT BY %lld RESTART WITH %lld;\n",
           sync->members[place->member].db->name, name->text, (long long)step, (long long)start);
}

/* the statements for one sequence that is on `places` of the nodes */
static void advise(const Sync *sync, const Place *const *places, size_t n, size_t sources)
{
    int64_t step = 10, highest = 0;
    int64_t remainder = 0;

    while (step < (int64_t)sources)
        step *= 10;
    for (size_t i = 0; i < n; i++)
        highest = places[i]->last > highest ? places[i]->last : highest;
    for (size_t i = 0; i < n; i++)
        print_statement(sync, places[i], step, (highest / step + 1) * step + ++remainder);
}

bool interleave_advise(const Sync *sync, Conn *const *conns, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Place *places = NULL;
    size_t n = 0, sources = sync_sources(sync);
    bool told = false;

    for (size_t m = 0; m < sync->n_members; m++)
        if (conns[m] != NULL && !read_places(tmp, sync, m, conns[m], &places, &n, err))
            return false;
    const Place **same = mem_array(tmp, const Place *, n + 1);
    for (size_t i = 0; i < n; i++) {
        size_t n_same = 0;
        bool clash = false, first = true;

        for (size_t j = 0; j < i && first; j++)
            first = !is_same(&places[i], &places[j]);
        for (size_t j = i; j < n && first; j++) {
            if (!is_same(&places[i], &places[j]))
                continue;
            for (size_t s = 0; s < n_same; s++)
                clash = clash || meet(same[s], &places[j], sources);
            same[n_same++] = &places[j];
        }
        if (!clash)
            continue;
        if (!told)
            printf("sync %s has several sources, between which sequences are not carried. So that "
                   "each gives numbers of its own:\n",
                   sync->name);
        told = true;
        advise(sync, same, n_same, sources);
    }
    return true;
}
