/* Whose an edge is: see owner.h. */
#include "daemon/owner.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/str.h"

enum { ID_BYTES = 12, ID_DIGITS = 2 * ID_BYTES };

static char *id_path(const void *ctx, const Service *service)
{
    return mem_printf(ctx, "%s.id", service->path);
}

/* the number, or "" */
static void read_id(const char *path, char id[ID_DIGITS + 1])
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t len = fd < 0 ? -1 : pread(fd, id, ID_DIGITS, 0);
    bool ok = len == ID_DIGITS;

    for (int i = 0; ok && i < ID_DIGITS; i++)
        ok = isxdigit((unsigned char)id[i]) != 0;
    id[ok ? ID_DIGITS : 0] = '\0';
    if (fd >= 0)
        close(fd);
}

const char *owner_of(const void *ctx, const Service *service)
{
    AUTO_CTX(tmp, NULL);
    char id[ID_DIGITS + 1], host[256] = "";

    if (service->name != NULL)
        return mem_strdup(ctx, service->name);
    read_id(id_path(tmp, service), id);
    if (id[0] == '\0' || gethostname(host, sizeof host - 1) != 0)
        return "";
    return mem_printf(ctx, "%s@%s", id, host);
}

bool owner_make(const Service *service, Err *err)
{
    AUTO_CTX(tmp, NULL);
    unsigned char bytes[ID_BYTES];
    Str *text = str_new(tmp);
    const char *path = id_path(tmp, service);

    if (owner_of(tmp, service)[0] != '\0')
        return true;
    if (getrandom(bytes, sizeof bytes, 0) != (ssize_t)sizeof bytes)
        return err_set(err, ERR_IO, "no random number is to be had: %s", strerror(errno));
    for (size_t i = 0; i < sizeof bytes; i++)
        str_fmt(text, "%02x", bytes[i]);
    str_char(text, '\n');
    /* whole or not at all: it must not be read by half */
    const char *new_path = mem_printf(tmp, "%s.%d", path, (int)getpid());
    int fd = open(new_path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    bool ok = fd >= 0 && write(fd, text->text, text->len) == (ssize_t)text->len && fsync(fd) == 0;
    int why = errno;

    if (fd >= 0)
        close(fd);
    if (ok && rename(new_path, path) == 0)
        return true;
    why = ok ? errno : why;
    unlink(new_path);
    return err_set(err, ERR_IO, "could not write %s: %s", path, strerror(why));
}
