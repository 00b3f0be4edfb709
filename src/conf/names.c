/* Names and lists: see names.h. */
#include "conf/names.h"

#include <ctype.h>
#include <string.h>

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

bool same_table(const char *a, const char *b)
{
    AUTO_CTX(tmp, NULL);
    Pattern x = {0}, y = {0};

    return pattern_read(tmp, a, &x) && pattern_read(tmp, b, &y) && pattern_is_name(&x) &&
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
