/* Connection strings: see conninfo.h. The rules are those of libpq's own parser. */
#include "conf/conninfo.h"

#include <ctype.h>
#include <string.h>

#include "base/str.h"

/* one "keyword=value" in a text */
typedef struct Word {
    const char *begin, *end;
    size_t keyword_len;
} Word;

typedef enum Found { FOUND_WORD, FOUND_END, FOUND_BAD } Found;

bool conninfo_is_uri(const char *text)
{
    return str_starts(text, "postgresql://") || str_starts(text, "postgres://");
}

bool conninfo_is_keyword(const char *word, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (!islower((unsigned char)word[i]) && word[i] != '_' &&
            (i == 0 || !isdigit((unsigned char)word[i])))
            return false;
    return len > 0;
}

static bool is_space(char c)
{
    return isspace((unsigned char)c) != 0;
}

static const char *skip_spaces(const char *p)
{
    while (is_space(*p))
        p++;
    return p;
}

/* behind a value; NULL when its quote is not closed. A backslash takes the next character as it is. */
static const char *skip_value(const char *p)
{
    bool quoted = *p == '\'';

    for (p += quoted ? 1 : 0; *p != '\0' && (quoted ? *p != '\'' : !is_space(*p)); p++)
        if (*p == '\\' && p[1] != '\0')
            p++;
    if (quoted && *p != '\'')
        return NULL;
    return p + (quoted ? 1 : 0);
}

static Found next_word(const char *text, Word *ret_word)
{
    const char *begin = skip_spaces(text), *p = begin;

    if (*begin == '\0')
        return FOUND_END;
    while (*p != '\0' && *p != '=' && !is_space(*p))
        p++;
    size_t len = (size_t)(p - begin);
    p = skip_spaces(p);
    if (*p != '=' || !conninfo_is_keyword(begin, len))
        return FOUND_BAD;
    p = skip_value(skip_spaces(p + 1));
    if (p == NULL)
        return FOUND_BAD;
    *ret_word = (Word){.begin = begin, .end = p, .keyword_len = len};
    return FOUND_WORD;
}

bool conninfo_is_valid(const char *text)
{
    Word word;
    Found found = FOUND_BAD;

    if (conninfo_is_uri(text))
        return true;
    for (size_t n = 0; (found = next_word(text, &word)) == FOUND_WORD; n++)
        text = word.end;
    return found == FOUND_END;
}

static void add_value(Str *s, const char *value)
{
    if (value[strcspn(value, " \t\r\n\f\v'\\")] == '\0') {
        str_add(s, value);
        return;
    }
    str_conninfo_value(s, value);
}

static void add_word(Str *s, const char *keyword, const char *value)
{
    if (value[0] == '\0')
        return;
    str_fmt(s, "%s%s=", s->len > 0 ? " " : "", keyword);
    add_value(s, value);
}

char *conninfo_set(const void *ctx, const char *conninfo, const char *keyword, const char *value)
{
    AUTO_CTX(tmp, NULL);
    Str *s = str_new(tmp);
    Word word;
    bool done = false;

    while (next_word(conninfo, &word) == FOUND_WORD) {
        conninfo = word.end;
        if (word.keyword_len == strlen(keyword) &&
            memcmp(word.begin, keyword, word.keyword_len) == 0) {
            if (!done)
                add_word(s, keyword, value);
            done = true;
            continue;
        }
        if (s->len > 0)
            str_char(s, ' ');
        str_bytes(s, word.begin, (size_t)(word.end - word.begin));
    }
    if (!done)
        add_word(s, keyword, value);
    return mem_strdup(ctx, s->text);
}
