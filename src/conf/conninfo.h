/*
 * Connection strings as texts: whether one can be right, and setting one keyword of it. What a keyword means
 * is libpq's business.
 */
#ifndef CONF_CONNINFO_H
#define CONF_CONNINFO_H

#include <stdbool.h>
#include <stddef.h>

#include "base/mem.h"

bool conninfo_is_uri(const char *text);

/* what libpq could call a keyword: small letters, digits and _ */
bool conninfo_is_keyword(const char *word, size_t len);

/* a URI, or keywords with values, properly quoted */
bool conninfo_is_valid(const char *text);

/*
 * A copy in which the keyword has that value, quoted as libpq needs it; everything else as it is. An empty
 * value takes the keyword out. conninfo is valid and no URI, or empty. The result belongs to ctx.
 */
char *conninfo_set(const void *ctx, const char *conninfo, const char *keyword, const char *value);

#endif
