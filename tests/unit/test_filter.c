/* Conditions of rows: how they are read, and that their text can be read again. */
#include "unit.h"

#include "model/filter.h"

static Filters *of(const void *ctx, const char *text)
{
    Filters *filters = mem_new(ctx, Filters);

    assert_null(filters_add(filters, text));
    return filters;
}

static void test_read(void **state)
{
    void *tmp = *state;
    const Filters *f = of(tmp, " shop.\"a=\"\"b\" =  x = '=' \n");

    assert_int_equal(f->n, 1);
    assert_string_equal(f->list[0].schema, "shop");
    assert_string_equal(f->list[0].name, "a=\"b");
    assert_string_equal(f->list[0].condition, "x = '='");
    assert_non_null(filters_find(f, "shop", "a=\"b"));
    assert_null(filters_find(f, "public", "a=\"b"));
    assert_null(filters_find(NULL, "public", "t"));
    assert_string_equal(of(tmp, "t=a")->list[0].schema, "public");
}

static void test_wrong(void **state)
{
    void *tmp = *state;
    static const char *const texts[] = {"",     "t",    "=a",      "t=",    "t= \n",
                                        "t*=a", "a.=b", "a.b.c=d", "\"t=a", "\"\"=a"};

    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        assert_non_null(filters_add(mem_new(tmp, Filters), texts[i]));
    Filters *f = of(tmp, "t=a");
    assert_non_null(filters_add(f, "public.t=b"));
    assert_null(filters_add(f, "T=b"));
}

static void test_text(void **state)
{
    void *tmp = *state;
    Filters *f = of(tmp, "b=one\ntwo \\n 'it''s' -- three"), *again, *turned;

    assert_null(filters_add(f, "\"a\nA\"=1 \\\\ 2\\"));
    assert_string_equal(filters_text(tmp, NULL), "");
    const char *text = filters_text(tmp, f);
    assert_true(filters_read(tmp, text, &again));
    assert_int_equal(again->n, 1 + 1);
    assert_string_equal(filters_text(tmp, again), text);
    assert_string_equal(filters_find(again, "public", "b")->condition,
                        "one\ntwo \\n 'it''s' -- three");
    assert_true(filters_read(tmp, "", &again));
    assert_null(again);
    /* in whatever order */
    turned = of(tmp, "a=1");
    assert_null(filters_add(turned, "b=2"));
    f = of(tmp, "b=2");
    assert_null(filters_add(f, "a=1"));
    assert_string_equal(filters_text(tmp, turned), filters_text(tmp, f));
    assert_string_equal(filters_options(tmp, of(tmp, "t=a = 'x'")),
                        "--where '\"public\".\"t\"=a = '\\''x'\\'''");
}

static void test_sql(void **state)
{
    void *tmp = *state;
    Column columns[] = {{.name = "a\"b", .is_float = false}, {.name = "f", .is_float = true}};
    KeyColumn keys[] = {{.name = "a\"b"}, {.name = "f"}};
    Table table = {
        .id = 7, .filter = "x -- y", .columns = columns, .n_columns = 2, .keys = keys, .n_keys = 2};

    assert_string_equal(
        filter_part(tmp, &table),
        "((\nx -- y\n) IS TRUE OR EXISTS (SELECT 1 FROM pgtandem.outside o WHERE o.tab = 7 AND "
        "o.key = ARRAY[pg_catalog.format('%s', t.\"a\"\"b\"), "
        "pg_catalog.encode(pg_catalog.float8send(t.\"f\"::pg_catalog.float8), 'hex')]"
        "::pg_catalog.text[]))");
}

UNIT_MAIN(UNIT_TEST(test_read), UNIT_TEST(test_wrong), UNIT_TEST(test_text), UNIT_TEST(test_sql))
