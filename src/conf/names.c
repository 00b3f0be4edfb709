/* Names and lists: see names.h. */
#include "conf/names.h"

#include <ctype.h>
#include <string.h>

#include "base/str.h"

bool name_is_valid(const char *name)
{
    if (!isalpha((unsigned char)name[0]))
        return false;
    for (const char *p = name; *p != '\0'; p++)
        if (!isalnum((unsigned char)*p) && *p != '_' && *p != '-')
            return false;
    return true;
}

static bool is_separator(char c)
{
    return c == ',' || c == ' ' || c == '\t';
}

const char **split_list(const void *ctx, const char *text, size_t *ret_n)
{
    const char **words = NULL;
    size_t n = 0;

    while (*text != '\0') {
        const char *begin = text;
        bool quoted = false;

        for (; *text != '\0' && (quoted || !is_separator(*text)); text++)
            if (*text == '"')
                quoted = !quoted;
        if (text > begin)
            mem_push(ctx, words, n, mem_strndup(ctx, begin, (size_t)(text - begin)));
        while (is_separator(*text))
            text++;
    }
    *ret_n = n;
    return words;
}

/* one part of a name; NULL when it is none. *text moves behind it. */
static const char *read_part(const void *ctx, const char **text, bool *ret_glob)
{
    Str *part = str_new(ctx);
    const char *p = *text;

    *ret_glob = false;
    if (*p == '"') {
        for (p++; *p != '\0' && (*p != '"' || p[1] == '"'); p++) {
            if (*p == '"')
                p++;
            str_char(part, *p);
        }
        if (*p != '"')
            return NULL;
        p++;
    } else {
        for (; *p != '\0' && *p != '.' && *p != '"'; p++) {
            *ret_glob = *ret_glob || *p == '*' || *p == '?';
            str_char(part, *p);
        }
    }
    *text = p;
    return part->len == 0 ? NULL : part->text;
}

bool read_pattern(const void *ctx, const char *text, Pattern *ret_pattern)
{
    bool glob;
    const char *first = read_part(ctx, &text, &glob);

    *ret_pattern =
        (Pattern){.schema = "public", .name = first, .name_glob = glob, .line = ret_pattern->line};
    if (first == NULL)
        return false;
    if (*text == '.') {
        text++;
        ret_pattern->schema = first;
        ret_pattern->schema_glob = glob;
        ret_pattern->name = read_part(ctx, &text, &ret_pattern->name_glob);
    }
    return ret_pattern->name != NULL && *text == '\0';
}

bool same_table(const char *a, const char *b)
{
    AUTO_CTX(tmp, NULL);
    Pattern x = {0}, y = {0};

    return read_pattern(tmp, a, &x) && read_pattern(tmp, b, &y) && pattern_is_name(&x) &&
           pattern_is_name(&y) && strcmp(x.schema, y.schema) == 0 && strcmp(x.name, y.name) == 0;
}

char *shown_word(const void *ctx, const char *word)
{
    size_t len = strcspn(word, "=@");
    const char *uri = strstr(word, "://");

    if (uri != NULL && (size_t)(uri - word) + 3 < len)
        len = (size_t)(uri - word) + 3;
    return mem_printf(ctx, "%.*s%s", (int)len, word, word[len] == '\0' ? "" : "…");
}
