/*
 * What every unit test has: cmocka, a context of its own, and a check that nothing leaks.
 *
 *     static void test_x(void **state)
 *     {
 *         void *ctx = *state;                      fresh for each test
 *         UNIT_GREW(ctx, 1, str_count(ctx, 5));    the call left exactly one allocation in ctx
 *     }
 *     UNIT_MAIN(UNIT_TEST(test_x), UNIT_TEST(test_y))
 *
 * A test that leaves memory without an owner fails. The first argument of the program is a filter: 'test_x*'.
 */
#ifndef UNIT_H
#define UNIT_H

/* cmocka.h needs these four before it */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/mem.h"

static size_t unit_blocks_before;

static inline int unit_setup(void **state)
{
    talloc_enable_null_tracking();
    unit_blocks_before = talloc_total_blocks(NULL);
    *state = mem_ctx(NULL);
    return 0;
}

static inline int unit_teardown(void **state)
{
    int result = 0;

    talloc_free(*state);
    if (talloc_total_blocks(NULL) != unit_blocks_before) {
        print_error("memory without an owner is left, see the report on stderr\n");
        talloc_report_full(NULL, stderr);
        result = -1;
    }
    talloc_disable_null_tracking();
    return result;
}

#define UNIT_TEST(f) cmocka_unit_test_setup_teardown(f, unit_setup, unit_teardown)

/* evaluates expr and asserts that ctx owns n allocations more than before */
#define UNIT_GREW(ctx, n, expr)                                                                    \
    do {                                                                                           \
        size_t unit_before_ = talloc_total_blocks(ctx);                                            \
        (void)(expr);                                                                              \
        assert_int_equal(talloc_total_blocks(ctx) - unit_before_, (n));                            \
    } while (0)

#define UNIT_MAIN(...)                                                                             \
    int main(int argc, char **argv)                                                                \
    {                                                                                              \
        const struct CMUnitTest tests[] = {__VA_ARGS__};                                           \
                                                                                                   \
        if (argc > 1)                                                                              \
            cmocka_set_test_filter(argv[1]);                                                       \
        return cmocka_run_group_tests(tests, NULL, NULL);                                          \
    }

#endif
