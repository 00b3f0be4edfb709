/* Lines of JSON between processes: see talk.h. */
#include "migrate/talk.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/wait.h"

enum { READ_BYTES = 4096 };

bool talk_send(int fd, json_t *json, Err *err)
{
    AUTO_CTX(tmp, NULL);
    char *text = json_dumps(json, JSON_COMPACT);
    char *line = mem_printf(tmp, "%s\n", text == NULL ? "{}" : text);
    size_t len = strlen(line), sent = 0;

    free(text);
    json_decref(json);
    while (sent < len) {
        ssize_t n = write(fd, line + sent, len - sent);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_set(err, ERR_IO, "could not write to another process of ours: %s",
                           strerror(errno));
        sent += (size_t)n;
    }
    return true;
}

char *talk_take_line(const void *ctx, Str *input)
{
    AUTO_CTX(tmp, NULL);
    const char *end = strchr(input->text, '\n');

    if (end == NULL)
        return NULL;
    char *line = mem_strndup(ctx, input->text, (size_t)(end - input->text));
    char *rest = mem_strdup(tmp, end + 1);
    str_clear(input);
    str_add(input, rest);
    return line;
}

bool talk_read_line(const void *ctx, Str *input, int64_t deadline, char **ret_line, Err *err)
{
    for (;;) {
        char buffer[READ_BYTES];
        struct pollfd fd = {.fd = STDIN_FILENO, .events = POLLIN};
        size_t ready;

        *ret_line = talk_take_line(ctx, input);
        if (*ret_line != NULL)
            return true;
        if (!wait_fds(&fd, 1, deadline, &ready, err))
            return false;
        if (ready == 0)
            return err_set(err, ERR_TIMEOUT, "the parent process said nothing in time");
        ssize_t n = read(STDIN_FILENO, buffer, sizeof buffer);
        if (n == 0)
            return err_set(err, ERR_CANCELED, "the parent process is gone");
        if (n < 0 && errno != EINTR && errno != EAGAIN)
            return err_set(err, ERR_IO, "could not read from the parent process: %s",
                           strerror(errno));
        if (n > 0)
            str_bytes(input, buffer, (size_t)n);
    }
}

json_t *talk_error(const Err *err)
{
    return json_pack("{s:i, s:s, s:s?, s:s?, s:s?}", "kind", (int)err->kind, "sqlstate",
                     err->sqlstate, "msg", err->msg, "detail", err->detail, "hint", err->hint);
}

const char *talk_text(const json_t *object, const char *key)
{
    return json_string_value(json_object_get(object, key));
}

void talk_read_error(const json_t *json, Err *err)
{
    const char *state = talk_text(json, "sqlstate"), *detail = talk_text(json, "detail");
    const char *msg = talk_text(json, "msg"), *hint = talk_text(json, "hint");

    err_set(err, (ErrKind)json_integer_value(json_object_get(json, "kind")), "%s",
            msg == NULL ? "" : msg);
    if (state != NULL && strlen(state) == 5)
        memcpy(err->sqlstate, state, 6);
    if (detail != NULL)
        err_detail(err, "%s", detail);
    if (hint != NULL)
        err_hint(err, "%s", hint);
}
