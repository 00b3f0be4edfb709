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

UNIT_MAIN(UNIT_TEST(test_takes), UNIT_TEST(test_all_but), UNIT_TEST(test_text))
