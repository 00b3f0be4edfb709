/* Version lines (pg/query) and the generated functions (tools/sqlgen.py, sql/reader), without a server. */
#include "unit.h"

#include <string.h>

#include "fake_conn.h"
#include "pg/query.h"
#include "sql/sample.h"

static const QueryLine lines[] = {
    {0, 0, "select a"},
    {100000, 0, ", ten"},
    {0, 100000, ", old"},
    {90500, 140000, ", between"},
};
static const Query query = {.name = "q", .lines = lines, .n_lines = 4};

static void assert_text(const void *ctx, const Query *q, int version, const char *expected)
{
    assert_string_equal(query_text(ctx, q, version), expected);
}

static void test_version_lines(void **state)
{
    assert_text(*state, &query, 90300, "select a\n, old\n");
    assert_text(*state, &query, 90499, "select a\n, old\n");
    assert_text(*state, &query, 90500, "select a\n, old\n, between\n");
    assert_text(*state, &query, 90624, "select a\n, old\n, between\n");
    assert_text(*state, &query, 100000, "select a\n, ten\n, between\n");
    assert_text(*state, &query, 139999, "select a\n, ten\n, between\n");
    assert_text(*state, &query, 140000, "select a\n, ten\n");
    assert_text(*state, &query, 180004, "select a\n, ten\n");
}

static void test_generated_text(void **state)
{
    assert_text(*state, &query_all_types, 90324,
                "select c.number, c.big, c.word, c.flag, c.size\n"
                ", null::int\n"
                ", 0::int8\n"
                "     , c.word2, c.flag2, c.size2 -- kept\n"
                "  from things c\n"
                " where c.relid = $1 and c.name = any ($2::text[]) and c.flag = $3 and c.word <> "
                "'costs $4'\n");
    assert_non_null(
        strstr(query_text(*state, &query_all_types, 180000), ", c.number2\n, c.\"big?\"\"2\\\"\n"));
    assert_text(*state, &script_control, 180000,
                "create schema pgtandem;\n"
                "\n"
                "create function pgtandem.f() returns trigger language plpgsql as $$\n"
                "begin\n"
                "    -- why this is so\n"
                "perform new_way();\n"
                "    return null;\n"
                "end $$;\n");
    assert_int_equal(n_all_queries, 4);
    assert_ptr_equal(all_queries[0], &query_all_types);
    assert_int_equal(n_all_scripts, 1);
    assert_int_equal(query_all_types.n_params, 3);
    assert_int_equal(query_all_types.n_columns, 10);
    assert_string_equal(query_all_types.columns[1].type, "int8");
}

static const unsigned types[] = {23, 20, 25, 16, 701, 21, 26, 1043, 16, 700};
static const char *const values[] = {
    "-7",         "9223372036854775807",
    "wörd",       "t",
    "1.5",        "3",
    "4294967295", "b",
    "f",          "Infinity", /* */
    "0",          "0",
    "",           "f",
    "0",          NULL,
    NULL,         NULL,
    NULL,         NULL,
};

static void test_rows(void **state)
{
    Err *err = err_new(*state);
    Conn *conn = fake_conn_new(*state, 180000);
    AllTypesRow *rows = NULL;
    size_t n = 99;

    fake_conn_answer(conn,
                     &(FakeAnswer){.n_rows = 2, .n_columns = 10, .types = types, .values = values});
    assert_true(q_all_types(*state, conn, INT64_MIN, "{a,b}", true, &rows, &n, err));
    assert_int_equal(fake_conn_n_params(conn), 3);
    assert_string_equal(fake_conn_param(conn, 0), "-9223372036854775808");
    assert_string_equal(fake_conn_param(conn, 1), "{a,b}");
    assert_string_equal(fake_conn_param(conn, 2), "true");

    assert_int_equal(n, 2);
    assert_int_equal(talloc_array_length(rows), 2);
    assert_int_equal(rows[0].number, -7);
    assert_true(rows[0].big == INT64_MAX);
    assert_string_equal(rows[0].word, "wörd");
    assert_true(rows[0].flag);
    assert_true(rows[0].size > 1.4 && rows[0].size < 1.6);
    assert_int_equal(rows[0].number2, 3);
    assert_false(rows[0].number2_null);
    assert_true(rows[0].big2 == 4294967295);
    assert_string_equal(rows[0].word2, "b");
    assert_true(rows[0].size2 > 1e300);
    assert_string_equal(rows[1].word, "");
    assert_true(rows[1].number2_null && rows[1].big2_null && rows[1].flag2_null &&
                rows[1].size2_null);
    assert_null(rows[1].word2);

    /* the array owns the texts: one chunk of them, and nothing else is left */
    assert_ptr_equal(talloc_parent(rows), *state);
    assert_int_equal(talloc_total_blocks(rows), 2);
}

static void test_many_texts(void **state)
{
    enum { N = 5000 };
    Err *err = err_new(*state);
    Conn *conn = fake_conn_new(*state, 100000);
    const char **words = mem_array(*state, const char *, N);
    char *large = mem_array(*state, char, 100001);
    static const unsigned text_type[] = {25};
    NoParamsRow *rows = NULL;
    size_t n = 0;

    memset(large, 'x', 100000);
    for (size_t i = 0; i < N; i++)
        words[i] = i == N / 2 ? large : mem_printf(words, "word %zu", i);
    fake_conn_answer(
        conn, &(FakeAnswer){.n_rows = N, .n_columns = 1, .types = text_type, .values = words});
    assert_true(q_no_params(*state, conn, &rows, &n, err));
    assert_int_equal(n, N);
    for (size_t i = 0; i < N; i++)
        assert_string_equal(rows[i].word, words[i]);
    assert_true(talloc_total_blocks(rows) < 10);
}

static void test_no_rows(void **state)
{
    Err *err = err_new(*state);
    Conn *conn = fake_conn_new(*state, 100000);
    AllTypesRow *rows = NULL;
    size_t n = 99;

    fake_conn_answer(conn, &(FakeAnswer){.n_columns = 10, .types = types});
    /* the array; the connection, too, keeps the text and two parameters */
    UNIT_GREW(*state, 1 + 3,
              assert_true(q_all_types(*state, conn, 1, NULL, false, &rows, &n, err)));
    assert_int_equal(n, 0);
    assert_non_null(rows);
    assert_null(fake_conn_param(conn, 1));
    assert_string_equal(fake_conn_param(conn, 2), "false");
}

static void test_rows_errors(void **state)
{
    Err *err = err_new(*state);
    Conn *conn = fake_conn_new(*state, 100000);
    static const unsigned text_type[] = {25},
                          wrong[] = {20, 20, 25, 16, 701, 21, 20, 1043, 16, 700};
    static const char *const null_word[] = {NULL};
    NoParamsRow *words = NULL;
    AllTypesRow *rows = NULL;
    size_t n = 99;

    fake_conn_answer(
        conn, &(FakeAnswer){.n_rows = 1, .n_columns = 1, .types = text_type, .values = null_word});
    assert_false(q_no_params(*state, conn, &words, &n, err));
    assert_int_equal(err->kind, ERR_BUG);
    assert_string_equal(err->msg, "query no_params returned null in column word");

    fake_conn_answer(conn, &(FakeAnswer){.n_columns = 10, .types = wrong});
    assert_false(q_all_types(*state, conn, 1, NULL, false, &rows, &n, err));
    assert_int_equal(err->kind, ERR_BUG);
    assert_string_equal(err->msg,
                        "query all_types returned type 20 in column number instead of int");

    fake_conn_answer(conn, &(FakeAnswer){.n_columns = 2, .types = types});
    assert_false(q_all_types(*state, conn, 1, NULL, false, &rows, &n, err));
    assert_int_equal(err->kind, ERR_BUG);

    fake_conn_answer(conn, &(FakeAnswer){.error = "no such table"});
    assert_false(q_all_types(*state, conn, 1, NULL, false, &rows, &n, err));
    assert_int_equal(err->kind, ERR_SQL);
    assert_non_null(strstr(err->msg, "all_types: no such table"));

    /* outputs only on success */
    assert_null(words);
    assert_null(rows);
    assert_int_equal(n, 99);
}

static void test_no_result(void **state)
{
    Err *err = err_new(*state);
    Conn *conn = fake_conn_new(*state, 100000);

    assert_true(q_forget(conn, 12, err));
    assert_string_equal(fake_conn_text(conn), "delete from things where relid = $1\n");
    assert_string_equal(fake_conn_param(conn, 0), "12");

    /* rows that nobody declared are ignored */
    fake_conn_answer(conn, &(FakeAnswer){.n_rows = 1, .n_columns = 1});
    assert_true(q_touch(conn, err));
    assert_int_equal(fake_conn_n_params(conn), 0);

    fake_conn_answer(conn, &(FakeAnswer){.error = "no such table"});
    assert_false(q_forget(conn, 12, err));
    assert_non_null(strstr(err->msg, "forget: no such table"));
}

UNIT_MAIN(UNIT_TEST(test_version_lines), UNIT_TEST(test_generated_text), UNIT_TEST(test_rows),
          UNIT_TEST(test_many_texts), UNIT_TEST(test_no_rows), UNIT_TEST(test_rows_errors),
          UNIT_TEST(test_no_result))
