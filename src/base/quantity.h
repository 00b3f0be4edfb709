/*
 * Times and sizes as people write them. The unit is not optional: a bare number would be seconds to some
 * and milliseconds to others. Letter case does not matter, as no unit differs from another by case only.
 */
#ifndef BASE_QUANTITY_H
#define BASE_QUANTITY_H

#include <stdbool.h>
#include <stdint.h>

#include "base/mem.h"

#define SECOND_MS INT64_C(1000)
#define MINUTE_MS (60 * SECOND_MS)
#define HOUR_MS (60 * MINUTE_MS)
#define KB INT64_C(1024)
#define MB (1024 * KB)
#define GB (1024 * MB)
#define TB (1024 * GB)

typedef enum Quantity {
    QUANTITY_COUNT,    /* a whole number, no unit */
    QUANTITY_DURATION, /* milliseconds: "500ms", "5s", "2min", "1h" */
    QUANTITY_SIZE      /* bytes: "64kB", "128MB" */
} Quantity;

/* false when text is none */
CHECKED bool quantity_read(Quantity kind, const char *text, int64_t *ret_value);

/* as a user would write it, in the largest unit that fits; belongs to ctx */
char *quantity_text(const void *ctx, Quantity kind, int64_t value);

/* "ms, s, min or h"; NULL for a count */
const char *quantity_units(Quantity kind);

/* reads yes/no, true/false, on/off, 1/0 */
CHECKED bool read_yes_no(const char *text, bool *ret_value);

#endif
