/*
 * Memory by owner: every allocating function takes the talloc context that will own the result.
 *
 * Running out of memory ends the process (a half-built plan is worth nothing and every step can be
 * resumed), so no caller checks for NULL. Temporaries live in an AUTO_CTX that goes away with its
 * scope.
 */
#ifndef BASE_MEM_H
#define BASE_MEM_H

#include <stddef.h>
#include <talloc.h>

#define CHECKED __attribute__((warn_unused_result))

/* ends the process with a message when p is NULL; returns p */
void *mem_or_die(void *p);

#define mem_new(ctx, Type) ((Type *)mem_or_die(talloc_zero((ctx), Type)))
#define mem_array(ctx, Type, n) ((Type *)mem_or_die(talloc_zero_array((ctx), Type, (unsigned)(n))))
#define mem_strdup(ctx, s) ((char *)mem_or_die(talloc_strdup((ctx), (s))))
#define mem_strndup(ctx, s, n) ((char *)mem_or_die(talloc_strndup((ctx), (s), (n))))
#define mem_printf(ctx, ...) ((char *)mem_or_die(talloc_asprintf((ctx), __VA_ARGS__)))
#define mem_ctx(parent) (mem_or_die(talloc_new(parent)))

/* appends one element to a talloc array; items may be NULL at first. Grows by doubling. */
#define mem_push(ctx, items, n, value)                                                             \
    do {                                                                                           \
        if ((items) == NULL || (n) == talloc_array_length(items))                                  \
            (items) = mem_or_die(talloc_realloc((ctx), (items), __typeof__(*(items)),              \
                                                (unsigned)((n) == 0 ? 8 : (n)*2)));                \
        (items)[(n)++] = (value);                                                                  \
    } while (0)

void mem_auto_free(void *pctx);
#define AUTO_CTX(name, parent) void *name __attribute__((cleanup(mem_auto_free))) = mem_ctx(parent)

#endif
