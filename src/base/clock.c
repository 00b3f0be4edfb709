/* Time: see clock.h. */
#include "base/clock.h"

#include <stdlib.h>
#include <sys/random.h>
#include <time.h>

int64_t clock_us(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

int64_t clock_ms(void)
{
    return clock_us() / 1000;
}

int64_t deadline_in(int64_t ms)
{
    return ms < 0 ? NO_DEADLINE : clock_ms() + ms;
}

int deadline_left(int64_t deadline)
{
    if (deadline == NO_DEADLINE)
        return -1;
    int64_t left = deadline - clock_ms();
    if (left < 0)
        return 0;
    return left > 1000000000 ? 1000000000 : (int)left;
}

int64_t backoff_next(int64_t last, int64_t base, int64_t cap)
{
    uint32_t r = 0;
    int64_t span = last * 3 - base;

    if (getrandom(&r, sizeof r, 0) != (ssize_t)sizeof r)
        r = (uint32_t)clock_us();
    if (span > UINT32_MAX)
        span = UINT32_MAX;
    int64_t next = base + (span > 0 ? (int64_t)(r % (uint32_t)span) : 0);
    return next > cap ? cap : next;
}
