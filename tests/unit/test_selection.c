/* Patterns and selections: what they take, and that their text can be read again. */
#include "unit.h"

#include "model/selection.h"

static Selection *of(const void *ctx, const char *text)
{
    Selection *selection;

    assert_true(selection_read(ctx, text, &selection));
    return selection;
}

static void test_takes(void **state)
{
    void *tmp = *state;
    const Selection *s = of(tmp, "schema shop*\ntable crm.n?te\nexclude-schema shop_old\n"
                                 "exclude-table *.audit_*");

    assert_true(selection_takes(s, "shop", "orders"));
    assert_true(selection_takes(s, "shop2", "orders"));
    assert_false(selection_takes(s, "shop_old", "orders"));
    assert_false(selection_takes(s, "shop", "audit_log"));
    assert_true(selection_takes(s, "crm", "note"));
    assert_false(selection_takes(s, "crm", "notes"));
    assert_true(selection_takes_schema(s, "shop"));
    assert_false(selection_takes_schema(s, "shop_old"));
    assert_false(selection_takes_schema(s, "crm"));
    assert_true(selection_enters(s, "crm"));
    assert_false(selection_enters(s, "public"));
}

static void test_all_but(void **state)
{
    void *tmp = *state;
    const Selection *s = of(tmp, "exclude-table x");

    assert_true(s->all);
    assert_true(selection_takes_schema(s, "any"));
    assert_false(selection_takes(s, "public", "x"));
    assert_true(selection_takes(s, "other", "x"));
}

static void test_text(void **state)
{
    void *tmp = *state;
    const char *text = "schema \"a b\"\nschema shop*\ntable \"public\".\"O\"\"x.*\"\n"
                       "exclude-table \"shop\".audit_*";
    Selection *none = of(tmp, "");

    assert_null(none);
    assert_string_equal(selection_text(tmp, NULL), "");
    assert_string_equal(selection_text(tmp, of(tmp, text)), text);
    /* order and repetition do not matter, nor quotes that change nothing */
    assert_string_equal(
        selection_text(tmp, of(tmp, "exclude-table shop.audit_*\ntable \"O\"\"x.*\"\n"
                                    "schema shop*\nschema \"a b\"\nschema shop*")),
        text);
    assert_string_equal(selection_options(tmp, of(tmp, "table t\nschema s")),
                        "--schema \"s\" --table \"public\".\"t\"");
    assert_false(selection_read(tmp, "tables x", &none));
    assert_false(selection_read(tmp, "table a.b.c", &none));
}

static Selection *renaming(const void *ctx, const char *schema, const char *table)
{
    Selection *selection = of(ctx, "schema a*");

    assert_null(selection_add_rename(selection, schema, true));
    assert_null(selection_add_rename(selection, table, false));
    return selection;
}

static void assert_called(const Selection *s, const char *schema, const char *name,
                          const char *there_schema, const char *there_name)
{
    const char *x = schema, *y = name;

    selection_to_target(s, &x, &y);
    assert_string_equal(x, there_schema);
    assert_string_equal(y, there_name);
    assert_true(selection_to_source(s, &x, &y));
    assert_string_equal(x, schema);
    assert_string_equal(y, name);
}

static void test_names_there_and_back(void **state)
{
    void *tmp = *state;
    const Selection *s = renaming(tmp, "a=\"b\"\"=\"", "a.t=u"),
                    *there = selection_on_target(tmp, s);
    const char *schema = "a", *name = NULL;

    assert_called(s, "a", "t", "b\"=", "u");
    assert_called(s, "a", "x", "b\"=", "x");
    assert_called(s, "a2", "t", "a2", "t");
    /* what is called otherwise there is not what has the old name there */
    assert_false(selection_to_source(s, &schema, &name));
    assert_string_equal(schema, "a");
    schema = "b\"=", name = "t";
    assert_false(selection_to_source(s, &schema, &name));
    assert_true(selection_takes(s, "a", "t"));
    assert_false(selection_takes(s, "b\"=", "u"));
    assert_false(selection_takes(there, "a", "t"));
    assert_true(selection_takes(there, "b\"=", "u"));
    assert_false(selection_takes(there, "b\"=", "t"));
    assert_true(selection_takes(there, "a2", "t"));
    assert_true(selection_takes_schema(there, "b\"="));
    assert_false(selection_takes_schema(there, "a"));
    assert_true(selection_enters(there, "b\"="));
    assert_false(selection_enters(there, "a"));
    s = of(tmp, "schema a");
    assert_ptr_equal(selection_on_target(tmp, s), s);
    assert_null(selection_on_target(tmp, NULL));
}

static void test_names_go_round(void **state)
{
    void *tmp = *state;
    const Selection *s = renaming(tmp, "a=b", "b.x=y");
    Selection *more = renaming(tmp, "a=b", "b.x=y");

    assert_null(selection_add_rename(more, "b=a", true));
    assert_null(selection_add_rename(more, "b.y=x", false));
    assert_called(more, "b", "x", "a", "y");
    assert_called(more, "b", "y", "a", "x");
    assert_called(more, "a", "x", "b", "x");
    assert_string_equal(selection_text(tmp, more),
                        "schema a*\nrename-schema \"a\"=\"b\"\nrename-schema \"b\"=\"a\"\n"
                        "rename-table \"b\".\"x\"=\"y\"\nrename-table \"b\".\"y\"=\"x\"");
    assert_string_equal(selection_text(tmp, of(tmp, selection_text(tmp, more))),
                        selection_text(tmp, more));
    assert_string_equal(selection_text(tmp, s), "schema a*\nrename-schema \"a\"=\"b\"\n"
                                                "rename-table \"b\".\"x\"=\"y\"");
}

static void test_bad_names(void **state)
{
    void *tmp = *state;
    Selection *s = renaming(tmp, "a=b", "a.t=u");
    const char *const schemas[] = {
        "",      "a",    "=",    "a=c",   "c=b",    "c=",         "=c",         "c=c",
        "c=d.e", "c*=d", "c=d*", "c\n=d", "pg_x=y", "c=pg_toast", "c=pgtandem", "\"c=d"};
    const char *const tables[] = {"t=", "a.t=v", "a.v=u", "v=a.b", "v*=w", "v=v", "a.b.c=d"};

    for (size_t i = 0; i < sizeof schemas / sizeof *schemas; i++)
        assert_non_null(selection_add_rename(s, schemas[i], true));
    for (size_t i = 0; i < sizeof tables / sizeof *tables; i++)
        assert_non_null(selection_add_rename(s, tables[i], false));
    assert_int_equal(s->n_renames, 2);
}

UNIT_MAIN(UNIT_TEST(test_takes), UNIT_TEST(test_all_but), UNIT_TEST(test_text),
          UNIT_TEST(test_names_there_and_back), UNIT_TEST(test_names_go_round),
          UNIT_TEST(test_bad_names))
