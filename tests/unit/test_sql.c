/* pg/sql */
#include "unit.h"

#include "pg/sql.h"

static void test_build(void **state)
{
    Sql *q = sql_new(*state);

    sql_add(q, "select * from ");
    sql_name(q, "Public", "a\"b");
    sql_add(q, " where ");
    sql_ident(q, "x");
    sql_add(q, " = ");
    sql_text(q, "it's");
    sql_add(q, " and y > ");
    sql_i64(q, INT64_MIN);
    assert_string_equal(q->text->text,
                        "select * from \"Public\".\"a\"\"b\" where \"x\" = $1 and y > $2");
    assert_int_equal(q->n_params, 2);
    assert_string_equal(q->params[0], "it's");
    assert_string_equal(q->params[1], "-9223372036854775808");
}

static void test_params_are_copied(void **state)
{
    Sql *q = sql_new(*state);
    char value[] = "old";

    sql_text(q, value);
    value[0] = 'c';
    sql_text(q, NULL);
    assert_string_equal(q->params[0], "old");
    assert_null(q->params[1]);
}

static void test_many_params(void **state)
{
    Sql *q = sql_new(*state);

    for (int i = 0; i < 100; i++) {
        sql_i64(q, i);
        sql_add(q, ",");
    }
    assert_int_equal(q->n_params, 100);
    assert_string_equal(q->params[0], "0");
    assert_string_equal(q->params[99], "99");
    assert_string_equal(q->text->text + q->text->len - 5, "$100,");
}

static void test_without_params(void **state)
{
    Sql *q = sql_new(*state), *part = sql_new(*state);

    sql_add(part, "cache ");
    sql_number(part, -5);
    sql_add(q, "a ");
    sql_literal(q, "b'c");
    sql_trusted(q, "::numeric(10,2) ");
    sql_splice(q, part);
    assert_string_equal(q->text->text, "a 'b''c'::numeric(10,2) cache -5");
    assert_int_equal(q->n_params, 0);
    assert_null(q->params);
}

/* a statement owns all its parts */
static void test_owner(void **state)
{
    size_t before = talloc_total_blocks(*state);
    Sql *q = sql_new(*state);

    sql_text(q, "x");
    talloc_free(q);
    assert_int_equal(talloc_total_blocks(*state), before);
}

UNIT_MAIN(UNIT_TEST(test_build), UNIT_TEST(test_params_are_copied), UNIT_TEST(test_many_params),
          UNIT_TEST(test_without_params), UNIT_TEST(test_owner))
