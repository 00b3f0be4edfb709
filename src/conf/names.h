/* Names and lists as they are written in the configuration file. */
#ifndef CONF_NAMES_H
#define CONF_NAMES_H

#include "base/mem.h"
#include "model/service.h"

/* of databases, groups, sets and syncs: a letter, then letters, digits, _ or - */
bool name_is_valid(const char *name);

/* splits at commas and blanks outside of double quotes; an array of n texts owned by ctx */
const char **split_list(const void *ctx, const char *text, size_t *ret_n);

/* whether both are names of the same table: t and public.t */
bool same_table(const char *a, const char *b);

/*
 * A word as a message may show it: of what looks like a part of a connection string only the beginning, since
 * it may be a password that stands in the wrong place. Belongs to ctx.
 */
char *shown_word(const void *ctx, const char *word);

#endif
