/* Times and sizes: see quantity.h. */
#include "base/quantity.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

typedef struct Unit {
    const char *name;
    int64_t factor;
} Unit;

/* each list ends with an entry without name */
static const Unit duration_units[] = {
    {"ms", 1}, {"s", SECOND_MS}, {"min", MINUTE_MS}, {"h", HOUR_MS}, {NULL, 0}};
static const Unit size_units[] = {{"B", 1},   {"kB", KB}, {"MB", MB},
                                  {"GB", GB}, {"TB", TB}, {NULL, 0}};
static const Unit no_unit[] = {{"", 1}, {NULL, 0}};

static const Unit *units_of(Quantity kind)
{
    return kind == QUANTITY_DURATION ? duration_units
           : kind == QUANTITY_SIZE   ? size_units
                                     : no_unit;
}

bool quantity_read(Quantity kind, const char *text, int64_t *ret_value)
{
    char *end;

    if (!isdigit((unsigned char)text[0]))
        return false;
    errno = 0;
    long long number = strtoll(text, &end, 10);
    if (errno != 0)
        return false;
    if (*end == ' ' && kind != QUANTITY_COUNT)
        end++;
    for (const Unit *u = units_of(kind); u->name != NULL; u++)
        if (strcasecmp(end, u->name) == 0)
            return !__builtin_mul_overflow(number, u->factor, ret_value);
    return false;
}

char *quantity_text(const void *ctx, Quantity kind, int64_t value)
{
    const Unit *best = units_of(kind);

    for (const Unit *u = best; u->name != NULL; u++)
        if (value != 0 && value % u->factor == 0)
            best = u;
    return mem_printf(ctx, "%lld%s", (long long)(value / best->factor), best->name);
}

const char *quantity_units(Quantity kind)
{
    return kind == QUANTITY_DURATION ? "ms, s, min or h"
           : kind == QUANTITY_SIZE   ? "B, kB, MB, GB or TB"
                                     : NULL;
}

bool read_yes_no(const char *text, bool *ret_value)
{
    static const char *const yes[] = {"yes", "true", "on", "1"};
    static const char *const no[] = {"no", "false", "off", "0"};

    for (size_t i = 0; i < sizeof yes / sizeof *yes; i++) {
        bool is_yes = strcasecmp(text, yes[i]) == 0;

        if (is_yes || strcasecmp(text, no[i]) == 0) {
            *ret_value = is_yes;
            return true;
        }
    }
    return false;
}
