/*
 * Editing the configuration file as one would by hand: comments and everything else stay as they are. An
 * edit that would make the file wrong is refused, and nothing is written.
 */
#ifndef CONF_EDIT_H
#define CONF_EDIT_H

#include "base/err.h"
#include "base/mem.h"
#include "conf/settings.h"

/*
 * words: what follows the kind on the command line. First the name (of a table rule: sync and table),
 * then settings as key=value; a database also takes libpq's keywords or a URI, a group also members.
 * An empty value removes the setting, or the keyword from the connection string: what is not named stays.
 * *ret_title (belongs to ctx) is the section's name.
 */
CHECKED bool conf_add(const void *ctx, const char *path, SectionKind kind, const char *const *words,
                      size_t n, const char **ret_title, Err *err);
CHECKED bool conf_update(const void *ctx, const char *path, SectionKind kind,
                         const char *const *words, size_t n, const char **ret_title, Err *err);
/* refused while something else in the file names it; rules for tables go with their sync */
CHECKED bool conf_remove(const void *ctx, const char *path, SectionKind kind,
                         const char *const *words, size_t n, const char **ret_title, Err *err);

/* sets one setting of a section that is there, e.g. a sync's status */
CHECKED bool conf_set(const char *path, const char *title, const char *key, const char *value,
                      Err *err);

#endif
