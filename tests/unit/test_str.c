/* base/str */
#include "unit.h"

#include <string.h>

#include "base/str.h"

static void test_append(void **state)
{
    Str *s = str_new(*state);

    assert_string_equal(s->text, "");
    str_add(s, "one");
    str_char(s, ' ');
    str_fmt(s, "%d %s", 2, "three");
    str_bytes(s, "four", 2);
    assert_string_equal(s->text, "one 2 threefo");
    assert_int_equal(s->len, strlen(s->text));
    str_clear(s);
    assert_string_equal(s->text, "");
    assert_int_equal(s->len, 0);
    str_add(s, "");
    assert_int_equal(s->len, 0);
}

static void test_growth(void **state)
{
    Str *s = str_new(*state);
    char piece[101];

    memset(piece, 'x', sizeof piece - 1);
    piece[sizeof piece - 1] = '\0';
    for (size_t i = 1; i <= 1000; i++) {
        str_add(s, piece);
        assert_int_equal(s->len, i * 100);
        assert_int_equal(strlen(s->text), s->len);
    }
    assert_true(s->cap > s->len);
    assert_int_equal(talloc_total_blocks(s), 2);
}

/* at each length around the first capacity the text still ends */
static void test_growth_by_one(void **state)
{
    Str *s = str_new(*state);

    for (size_t i = 1; i < 200; i++) {
        str_char(s, 'a');
        assert_int_equal(strlen(s->text), i);
    }
}

static void check(void (*f)(Str *, const char *), void *ctx, const char *value,
                  const char *expected)
{
    Str *s = str_new(ctx);

    f(s, value);
    assert_string_equal(s->text, expected);
}

static void test_ident(void **state)
{
    check(str_ident, *state, "t", "\"t\"");
    check(str_ident, *state, "My \"T\"", "\"My \"\"T\"\"\"");
    check(str_ident, *state, "a\\b'c", "\"a\\b'c\"");
    check(str_ident, *state, "größe", "\"größe\"");
    check(str_ident, *state, "", "\"\"");
}

static void test_literal(void **state)
{
    check(str_literal, *state, "x", "'x'");
    check(str_literal, *state, "", "''");
    check(str_literal, *state, "it's", "'it''s'");
    check(str_literal, *state, "a\\b", "E'a\\\\b'");
    check(str_literal, *state, "\\'", "E'\\\\'''");
    check(str_literal, *state, "two\nlines", "'two\nlines'");
}

static void test_array_element(void **state)
{
    check(str_array_element, *state, "x", "\"x\"");
    check(str_array_element, *state, "", "\"\"");
    check(str_array_element, *state, "NULL", "\"NULL\"");
    check(str_array_element, *state, "a\"b\\c,{}", "\"a\\\"b\\\\c,{}\"");
}

static void test_starts(void **state)
{
    (void)state;
    assert_true(str_starts("sleep=5", "sleep="));
    assert_true(str_starts("x", ""));
    assert_false(str_starts("", "x"));
    assert_false(str_starts("slee", "sleep"));
}

static void test_count(void **state)
{
    assert_string_equal(str_count(*state, 0), "0");
    assert_string_equal(str_count(*state, 999), "999");
    assert_string_equal(str_count(*state, 1000), "1,000");
    assert_string_equal(str_count(*state, 1234567), "1,234,567");
    assert_string_equal(str_count(*state, -123456), "-123,456");
    assert_string_equal(str_count(*state, INT64_MAX), "9,223,372,036,854,775,807");
    UNIT_GREW(*state, 1, str_count(*state, 1000));
}

static void test_bytes_human(void **state)
{
    assert_string_equal(str_bytes_human(*state, 0), "0 B");
    assert_string_equal(str_bytes_human(*state, 1023), "1023 B");
    assert_string_equal(str_bytes_human(*state, 1024), "1.0 kB");
    assert_string_equal(str_bytes_human(*state, 5242880), "5.0 MB");
    assert_string_equal(str_bytes_human(*state, 52428800), "50 MB");
    assert_string_equal(str_bytes_human(*state, 3LL << 40), "3.0 TB");
    assert_string_equal(str_bytes_human(*state, 5000LL << 40), "5000 TB");
    UNIT_GREW(*state, 1, str_bytes_human(*state, 5));
}

static void test_duration(void **state)
{
    assert_string_equal(str_duration(*state, 5), "5 ms");
    assert_string_equal(str_duration(*state, 1500), "1.5 s");
    assert_string_equal(str_duration(*state, 83000), "1m23s");
    assert_string_equal(str_duration(*state, 3600000), "1h00m");
    assert_string_equal(str_duration(*state, 90061000), "25h01m");
}

UNIT_MAIN(UNIT_TEST(test_append), UNIT_TEST(test_growth), UNIT_TEST(test_growth_by_one),
          UNIT_TEST(test_ident), UNIT_TEST(test_literal), UNIT_TEST(test_array_element),
          UNIT_TEST(test_starts), UNIT_TEST(test_count), UNIT_TEST(test_bytes_human),
          UNIT_TEST(test_duration))
