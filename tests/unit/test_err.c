/* base/err */
#include "unit.h"

#include "base/err.h"

static void test_set_and_add(void **state)
{
    Err *err = err_new(*state);

    assert_int_equal(err->kind, ERR_NONE);
    assert_false(err_set(err, ERR_IO, "cannot read %s", "x"));
    assert_int_equal(err->kind, ERR_IO);
    assert_string_equal(err->msg, "cannot read x");
    assert_false(err_add(err, "while copying %s", "t"));
    assert_string_equal(err->msg, "while copying t: cannot read x");
    assert_int_equal(err->kind, ERR_IO);
    assert_int_equal(talloc_total_blocks(err), 2);
}

static void test_detail_and_hint(void **state)
{
    Err *err = err_new(*state);

    err_set(err, ERR_STATE, "no");
    assert_null(err->detail);
    assert_false(err_detail(err, "First %d.", 1));
    assert_false(err_detail(err, "Second."));
    assert_string_equal(err->detail, "First 1. Second.");
    assert_false(err_hint(err, "Try."));
    assert_string_equal(err->hint, "Try.");
    assert_int_equal(talloc_total_blocks(err), 4);
}

static void test_set_replaces(void **state)
{
    Err *err = err_new(*state);

    err_set(err, ERR_SQL, "old");
    err_detail(err, "Old.");
    err->sqlstate[0] = '4';
    /* the old text may be part of the new one */
    err_set(err, ERR_CONNECT, "new, was %s", err->msg);
    assert_string_equal(err->msg, "new, was old");
    assert_string_equal(err->sqlstate, "");
    assert_null(err->detail);
    err_clear(err);
    assert_int_equal(err->kind, ERR_NONE);
    assert_null(err->msg);
    assert_int_equal(talloc_total_blocks(err), 1);
}

static void test_copy(void **state)
{
    Err *src = err_new(*state), *dst = err_new(*state);

    err_set(src, ERR_SQL, "m");
    err_hint(src, "H.");
    for (size_t i = 0; i < 5; i++)
        src->sqlstate[i] = "40P01"[i];
    err_set(dst, ERR_BUG, "before");
    err_detail(dst, "Before.");
    assert_false(err_copy(dst, src));
    talloc_free(src);
    assert_int_equal(dst->kind, ERR_SQL);
    assert_string_equal(dst->msg, "m");
    assert_null(dst->detail);
    assert_string_equal(dst->hint, "H.");
    assert_string_equal(dst->sqlstate, "40P01");
    err_copy(dst, dst);
    assert_string_equal(dst->msg, "m");
}

static void test_exit_codes(void **state)
{
    (void)state;
    assert_int_equal(err_exit_code(ERR_NONE), 0);
    assert_int_equal(err_exit_code(ERR_USAGE), 2);
    assert_int_equal(err_exit_code(ERR_REFUSED), 3);
    assert_int_equal(err_exit_code(ERR_ABORTED), 4);
    assert_int_equal(err_exit_code(ERR_DIFFERENT), 5);
    assert_int_equal(err_exit_code(ERR_CANCELED), 130);
    assert_int_equal(err_exit_code(ERR_SQL), 1);
    assert_int_equal(err_exit_code(ERR_BUG), 1);
}

UNIT_MAIN(UNIT_TEST(test_set_and_add), UNIT_TEST(test_detail_and_hint),
          UNIT_TEST(test_set_replaces), UNIT_TEST(test_copy), UNIT_TEST(test_exit_codes))
