/* Growable texts: see str.h. */
#include "base/str.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

Str *str_new(const void *ctx)
{
    Str *s = mem_new(ctx, Str);

    s->cap = 64;
    s->text = mem_array(s, char, s->cap);
    return s;
}

void str_clear(Str *s)
{
    s->len = 0;
    s->text[0] = '\0';
}

void str_bytes(Str *s, const char *bytes, size_t n)
{
    if (n > STR_MAX - s->len - 1) {
        fputs("pgtandem: a text grew beyond its limit (bug)\n", stderr);
        abort();
    }
    if (s->len + n + 1 > s->cap) {
        while (s->cap < s->len + n + 1)
            s->cap *= 2;
        s->text = mem_or_die(talloc_realloc(s, s->text, char, (unsigned)s->cap));
    }
    memcpy(s->text + s->len, bytes, n);
    s->len += n;
    s->text[s->len] = '\0';
}

void str_add(Str *s, const char *text)
{
    str_bytes(s, text, strlen(text));
}

void str_char(Str *s, char c)
{
    str_bytes(s, &c, 1);
}

void str_fmt(Str *s, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    char *text = mem_or_die(talloc_vasprintf(s, fmt, args));
    va_end(args);
    str_add(s, text);
    talloc_free(text);
}

void str_ident(Str *s, const char *name)
{
    str_char(s, '"');
    for (const char *p = name; *p != '\0'; p++) {
        if (*p == '"')
            str_char(s, '"');
        str_char(s, *p);
    }
    str_char(s, '"');
}

void str_literal(Str *s, const char *value)
{
    if (strchr(value, '\\') != NULL)
        str_char(s, 'E');
    str_char(s, '\'');
    for (const char *p = value; *p != '\0'; p++) {
        if (*p == '\'' || *p == '\\')
            str_char(s, *p);
        str_char(s, *p);
    }
    str_char(s, '\'');
}

void str_conninfo_value(Str *s, const char *value)
{
    str_char(s, '\'');
    for (const char *p = value; *p != '\0'; p++) {
        if (*p == '\'' || *p == '\\')
            str_char(s, '\\');
        str_char(s, *p);
    }
    str_char(s, '\'');
}

void str_array_element(Str *s, const char *value)
{
    str_char(s, '"');
    for (const char *p = value; *p != '\0'; p++) {
        if (*p == '"' || *p == '\\')
            str_char(s, '\\');
        str_char(s, *p);
    }
    str_char(s, '"');
}

bool str_starts(const char *text, const char *prefix)
{
    return strncmp(text, prefix, strlen(prefix)) == 0;
}

bool str_ends(const char *text, const char *suffix)
{
    size_t len = strlen(text), tail = strlen(suffix);

    return len >= tail && strcmp(text + len - tail, suffix) == 0;
}

char *str_count(const void *ctx, long long n)
{
    char digits[32];
    Str *s = str_new(ctx);
    int len = snprintf(digits, sizeof digits, "%llu",
                       n < 0 ? 0ULL - (unsigned long long)n : (unsigned long long)n);

    if (n < 0)
        str_char(s, '-');
    for (int i = 0; i < len; i++) {
        if (i > 0 && (len - i) % 3 == 0)
            str_char(s, ',');
        str_char(s, digits[i]);
    }
    char *text = mem_strdup(ctx, s->text);
    talloc_free(s);
    return text;
}

char *str_bytes_human(const void *ctx, long long bytes)
{
    static const char *const units[] = {"kB", "MB", "GB", "TB"};
    double v = (double)bytes / 1024.0;
    size_t u = 0;

    if (bytes < 1024)
        return mem_printf(ctx, "%lld B", bytes);
    while (v >= 1024.0 && u + 1 < sizeof units / sizeof *units) {
        v /= 1024.0;
        u++;
    }
    return mem_printf(ctx, "%.*f %s", v < 10 ? 1 : 0, v, units[u]);
}

char *str_duration(const void *ctx, long long ms)
{
    if (ms < 1000)
        return mem_printf(ctx, "%lld ms", ms);
    if (ms < 60000)
        return mem_printf(ctx, "%.1f s", (double)ms / 1000.0);
    if (ms < 3600000)
        return mem_printf(ctx, "%lldm%02llds", ms / 60000, ms / 1000 % 60);
    return mem_printf(ctx, "%lldh%02lldm", ms / 3600000, ms / 60000 % 60);
}
