/*
 * A growable text with a ceiling: texts of ours never come near STR_MAX, so passing it is a bug and
 * ends the process instead of eating the machine's memory. Row data never goes through here.
 */
#ifndef BASE_STR_H
#define BASE_STR_H

#include <stdbool.h>
#include <stddef.h>

#define STR_MAX ((size_t)128 * 1024 * 1024)

typedef struct Str {
    char *text; /* always ends with a NUL */
    size_t len;
    size_t cap;
} Str;

Str *str_new(const void *ctx);
void str_clear(Str *s);
void str_bytes(Str *s, const char *bytes, size_t n);
void str_add(Str *s, const char *text);
void str_char(Str *s, char c);
void str_fmt(Str *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/*
 * appends text as an SQL identifier in double quotes, or as a literal in single quotes (E'' when
 * needed)
 */
void str_ident(Str *s, const char *name);
void str_literal(Str *s, const char *value);

/* appends value in single quotes as libpq's connection strings want it */
void str_conninfo_value(Str *s, const char *value);

/* appends value as one quoted element of a PostgreSQL array literal */
void str_array_element(Str *s, const char *value);

bool str_starts(const char *text, const char *prefix);
bool str_ends(const char *text, const char *suffix);

/* 1234567 as "1,234,567"; 5242880 bytes as "5.0 MB"; 83000 ms as "1m23s". Results belong to ctx. */
char *str_count(const void *ctx, long long n);
char *str_bytes_human(const void *ctx, long long bytes);
char *str_duration(const void *ctx, long long ms);

#endif
