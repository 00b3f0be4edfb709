/*
 * Time for limits and measurements: monotonic milliseconds and microseconds, deadlines as absolute
 * values.
 */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <stdint.h>

#define NO_DEADLINE INT64_MAX

int64_t clock_us(void);
int64_t clock_ms(void);

/* ms from now as a deadline; ms < 0 means none */
int64_t deadline_in(int64_t ms);

/* milliseconds left, 0 when passed, -1 for NO_DEADLINE: what poll() wants */
int deadline_left(int64_t deadline);

/*
 * The next pause of a retry loop, "decorrelated jitter" (Brooker, AWS architecture blog 2015):
 * between base and three times the last pause, never above cap. All in milliseconds.
 */
int64_t backoff_next(int64_t last, int64_t base, int64_t cap);

#endif
