/* Error values: see err.h. */
#include "base/err.h"

#include <stdarg.h>
#include <string.h>

#include "base/mem.h"

static const struct {
    ErrKind kind;
    int code;
} exit_codes[] = {
    {ERR_NONE, 0},    {ERR_USAGE, 2},     {ERR_REFUSED, 3},
    {ERR_ABORTED, 4}, {ERR_DIFFERENT, 5}, {ERR_CANCELED, 130},
};

Err *err_new(const void *ctx)
{
    return mem_new(ctx, Err);
}

void err_clear(Err *err)
{
    talloc_free(err->msg);
    talloc_free(err->detail);
    talloc_free(err->hint);
    memset(err, 0, sizeof *err);
}

__attribute__((format(printf, 2, 0))) static char *vtext(Err *err, const char *fmt, va_list args)
{
    return mem_or_die(talloc_vasprintf(err, fmt, args));
}

bool err_set(Err *err, ErrKind kind, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    char *msg = vtext(err, fmt, args);
    va_end(args);
    err_clear(err);
    err->kind = kind;
    err->msg = msg;
    return false;
}

bool err_add(Err *err, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    char *text = vtext(err, fmt, args);
    va_end(args);
    char *msg = mem_printf(err, "%s: %s", text, err->msg == NULL ? "unknown error" : err->msg);
    talloc_free(text);
    talloc_free(err->msg);
    err->msg = msg;
    return false;
}

__attribute__((format(printf, 3, 0))) static void append_sentence(Err *err, char **field,
                                                                  const char *fmt, va_list args)
{
    char *text = vtext(err, fmt, args);

    if (*field != NULL) {
        char *both = mem_printf(err, "%s %s", *field, text);
        talloc_free(*field);
        talloc_free(text);
        text = both;
    }
    *field = text;
}

bool err_detail(Err *err, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    append_sentence(err, &err->detail, fmt, args);
    va_end(args);
    return false;
}

bool err_hint(Err *err, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    append_sentence(err, &err->hint, fmt, args);
    va_end(args);
    return false;
}

bool err_copy(Err *dst, const Err *src)
{
    if (dst == src)
        return false;
    err_clear(dst);
    dst->kind = src->kind;
    memcpy(dst->sqlstate, src->sqlstate, sizeof dst->sqlstate);
    dst->msg = src->msg == NULL ? NULL : mem_strdup(dst, src->msg);
    dst->detail = src->detail == NULL ? NULL : mem_strdup(dst, src->detail);
    dst->hint = src->hint == NULL ? NULL : mem_strdup(dst, src->hint);
    return false;
}

int err_exit_code(ErrKind kind)
{
    for (size_t i = 0; i < sizeof exit_codes / sizeof *exit_codes; i++)
        if (exit_codes[i].kind == kind)
            return exit_codes[i].code;
    return 1;
}
