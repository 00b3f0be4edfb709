/*
 * An ini file as it stands: sections, "key = value", comments, every line kept. So it can be edited and
 * written without touching anything else.
 *
 * A value goes to the end of its line, blanks around it gone; lines that begin with a blank continue it,
 * joined by a blank. Comments are lines of their own that begin with # or ;.
 */
#ifndef BASE_INI_H
#define BASE_INI_H

#include <stddef.h>

#include "base/err.h"
#include "base/mem.h"

typedef enum IniKind { INI_BLANK, INI_COMMENT, INI_SECTION, INI_KEY, INI_MORE, INI_BAD } IniKind;

typedef struct IniLine {
    IniKind kind;
    const char *text; /* the line as it is, without its newline */
    bool open;        /* the last one, which has none */
    const char
        *section;      /* the one it is in, or begins, with single blanks; NULL before the first */
    const char *key;   /* of INI_KEY */
    const char *value; /* of INI_KEY, continuations included */
    const char *part;  /* what this line itself has of a value, or NULL */
} IniLine;

typedef struct Ini {
    IniLine *lines; /* lines[i] is line i + 1 of the file */
    size_t n;
} Ini;

/* parses text; lines that are none of the kinds are INI_BAD. The result belongs to ctx. */
Ini *ini_parse(const void *ctx, const char *text);

/* reads and parses a file; ERR_IO when it cannot be read, ERR_USAGE when it can be no text of settings */
CHECKED bool ini_read(const void *ctx, const char *path, Ini **ret_ini, Err *err);

/* index of the line that begins the section, or that sets the key in it; n when there is none */
size_t ini_find_section(const Ini *ini, const char *section);
size_t ini_find_key(const Ini *ini, const char *section, const char *key);

/*
 * Sets a key: in its line, else behind the last key of its section. The section is added at the end when
 * it is not there. value NULL removes the key. Continuation lines go with the old value, comments between
 * them stay. No text may hold a line break.
 */
void ini_set(Ini *ini, const char *section, const char *key, const char *value);

/*
 * Removes a section with the comment lines that touch it. A comment with a blank line between, and one that
 * touches the next section, stays.
 */
void ini_remove_section(Ini *ini, const char *section);

/* the file's text; belongs to ctx */
char *ini_text(const void *ctx, const Ini *ini);

/*
 * Replaces the file at once by that text, or makes it (mode 0600: a connection string may hold a
 * password). Keeps mode and owner; a symbolic link is followed.
 */
CHECKED bool ini_write(const char *path, const char *text, Err *err);

#endif
