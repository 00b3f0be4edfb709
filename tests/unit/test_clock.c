/* base/clock */
#include "unit.h"

#include "base/clock.h"

static void test_moves_forward(void **state)
{
    (void)state;
    int64_t before = clock_us();

    assert_true(clock_us() >= before);
    assert_true(clock_ms() >= before / 1000);
    assert_true(clock_ms() - before / 1000 < 10000);
}

static void test_deadlines(void **state)
{
    (void)state;
    assert_true(deadline_in(-1) == NO_DEADLINE);
    assert_int_equal(deadline_left(NO_DEADLINE), -1);
    assert_int_equal(deadline_left(deadline_in(0)), 0);
    assert_int_equal(deadline_left(clock_ms() - 5000), 0);
    int left = deadline_left(deadline_in(60000));
    assert_true(left > 50000 && left <= 60000);
    /* farther than poll() can say: as long as it can */
    assert_true(deadline_left(deadline_in(INT64_MAX / 4)) >= 1000000000);
}

static void test_backoff(void **state)
{
    (void)state;
    int64_t pause = 0;

    for (int i = 0; i < 1000; i++) {
        int64_t next = backoff_next(pause, 100, 2000);
        int64_t most = pause * 3 < 100 ? 100 : pause * 3;

        assert_in_range(next, 100, most > 2000 ? 2000 : most);
        pause = next;
    }
    /* a cap below the base wins */
    assert_int_equal(backoff_next(0, 100, 50), 50);
}

UNIT_MAIN(UNIT_TEST(test_moves_forward), UNIT_TEST(test_deadlines), UNIT_TEST(test_backoff))
