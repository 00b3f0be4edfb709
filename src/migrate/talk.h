/*
 * Talking with child processes of our own: one JSON object a line, both ways, over their standard input and
 * output. Workers (pool.h) and the processes of a run of all databases (member.h) do.
 */
#ifndef MIGRATE_TALK_H
#define MIGRATE_TALK_H

#include <jansson.h>

#include "base/err.h"
#include "base/mem.h"
#include "base/str.h"

/* one line; json is released in any case */
CHECKED bool talk_send(int fd, json_t *json, Err *err);

/* takes the first whole line out of what was read so far; NULL when there is none. Belongs to ctx. */
char *talk_take_line(const void *ctx, Str *input);

/*
 * waits for the next line of standard input; false with ERR_CANCELED at its end, i.e. when the parent is
 * gone, and with ERR_TIMEOUT at the deadline
 */
CHECKED bool talk_read_line(const void *ctx, Str *input, int64_t deadline, char **ret_line,
                            Err *err);

/* an error on its way to the parent, and there */
json_t *talk_error(const Err *err);
void talk_read_error(const json_t *json, Err *err);

/* a text of an object, or NULL */
const char *talk_text(const json_t *object, const char *key);

#endif
