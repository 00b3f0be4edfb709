/* Ini files: see ini.h. */
#include "base/ini.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/str.h"

enum { NEW_FILE_MODE = 0600 };

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r';
}

/* a copy without the blanks around it */
static char *trimmed(const void *ctx, const char *text, size_t len)
{
    while (len > 0 && is_blank(text[len - 1]))
        len--;
    while (len > 0 && is_blank(text[0])) {
        text++;
        len--;
    }
    return mem_strndup(ctx, text, len);
}

static IniLine read_section(const void *ctx, const char *text)
{
    size_t len = strlen(text);
    IniLine line = {.kind = INI_BAD, .text = text};

    while (len > 0 && is_blank(text[len - 1]))
        len--;
    if (len < 3 || text[len - 1] != ']')
        return line;
    line.section = trimmed(ctx, text + 1, len - 2);
    if (line.section[0] != '\0')
        line.kind = INI_SECTION;
    return line;
}

static IniLine read_line(const void *ctx, const char *text)
{
    IniLine line = {.text = text};
    const char *begin = text + strspn(text, " \t\r"), *equal;

    if (*begin == '\0') {
        line.kind = INI_BLANK;
    } else if (*begin == '#' || *begin == ';') {
        line.kind = INI_COMMENT;
    } else if (begin != text) {
        line.kind = INI_MORE;
        line.value = trimmed(ctx, begin, strlen(begin));
    } else if (*text == '[') {
        return read_section(ctx, text);
    } else if ((equal = strchr(text, '=')) != NULL && equal != text) {
        line.kind = INI_KEY;
        line.key = trimmed(ctx, text, (size_t)(equal - text));
        line.value = trimmed(ctx, equal + 1, strlen(equal + 1));
    } else {
        line.kind = INI_BAD;
    }
    return line;
}

/* gives each line its section, and values their continuations */
static void link_lines(Ini *ini)
{
    const char *section = NULL;
    IniLine *key = NULL;

    for (size_t i = 0; i < ini->n; i++) {
        IniLine *line = &ini->lines[i];

        if (line->kind == INI_SECTION)
            section = line->section;
        line->section = section;
        if (line->kind == INI_MORE) {
            if (key == NULL)
                line->kind = INI_BAD;
            else
                key->value = key->value[0] == '\0'
                                 ? line->value
                                 : mem_printf(ini, "%s %s", key->value, line->value);
        } else if (line->kind != INI_COMMENT) {
            key = line->kind == INI_KEY ? line : NULL;
        }
    }
}

Ini *ini_parse(const void *ctx, const char *text)
{
    Ini *ini = mem_new(ctx, Ini);

    while (*text != '\0') {
        size_t len = strcspn(text, "\n");
        IniLine line = read_line(ini, mem_strndup(ini, text, len));

        mem_push(ini, ini->lines, ini->n, line);
        text += len + (text[len] == '\n' ? 1 : 0);
    }
    link_lines(ini);
    return ini;
}

bool ini_read(const void *ctx, const char *path, Ini **ret_ini, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Str *text = str_new(tmp);
    char buffer[8192];
    size_t len;
    FILE *file = fopen(path, "re");

    if (file == NULL)
        return err_set(err, ERR_IO, "could not read %s: %s", path, strerror(errno));
    while ((len = fread(buffer, 1, sizeof buffer, file)) > 0)
        str_bytes(text, buffer, len);
    bool failed = ferror(file) != 0;
    fclose(file);
    if (failed)
        return err_set(err, ERR_IO, "could not read %s: %s", path, strerror(errno));
    if (strlen(text->text) != text->len)
        return err_set(err, ERR_USAGE, "%s is no text file: it holds a NUL byte", path);
    *ret_ini = ini_parse(ctx, text->text);
    return true;
}

size_t ini_find_section(const Ini *ini, const char *section)
{
    for (size_t i = 0; i < ini->n; i++)
        if (ini->lines[i].kind == INI_SECTION && strcmp(ini->lines[i].section, section) == 0)
            return i;
    return ini->n;
}

size_t ini_find_key(const Ini *ini, const char *section, const char *key)
{
    for (size_t i = 0; i < ini->n; i++)
        if (ini->lines[i].kind == INI_KEY && ini->lines[i].section != NULL &&
            strcmp(ini->lines[i].section, section) == 0 && strcmp(ini->lines[i].key, key) == 0)
            return i;
    return ini->n;
}

static void remove_lines(Ini *ini, size_t first, size_t end)
{
    memmove(&ini->lines[first], &ini->lines[end], (ini->n - end) * sizeof *ini->lines);
    ini->n -= end - first;
}

static void insert_line(Ini *ini, size_t at, const char *text)
{
    IniLine line = read_line(ini, text);

    mem_push(ini, ini->lines, ini->n, line);
    memmove(&ini->lines[at + 1], &ini->lines[at], (ini->n - 1 - at) * sizeof *ini->lines);
    ini->lines[at] = line;
}

/* behind a key's line and its continuations */
static size_t end_of_key(const Ini *ini, size_t at)
{
    size_t end = at + 1;

    /* comments may stand between the lines of a value */
    for (at++;
         at < ini->n && (ini->lines[at].kind == INI_MORE || ini->lines[at].kind == INI_COMMENT);
         at++)
        if (ini->lines[at].kind == INI_MORE)
            end = at + 1;
    return end;
}

/* behind the last line of a section that is not blank */
static size_t end_of_section(const Ini *ini, size_t at)
{
    size_t end = at + 1;

    for (size_t i = at + 1; i < ini->n && ini->lines[i].kind != INI_SECTION; i++)
        if (ini->lines[i].kind == INI_KEY || ini->lines[i].kind == INI_MORE)
            end = i + 1;
    return end;
}

void ini_set(Ini *ini, const char *section, const char *key, const char *value)
{
    size_t at = ini_find_key(ini, section, key);
    const char *text = value == NULL ? NULL : mem_printf(ini, "%s = %s", key, value);

    if (at < ini->n) {
        remove_lines(ini, at, end_of_key(ini, at));
        if (text != NULL)
            insert_line(ini, at, text);
    } else if (text != NULL) {
        at = ini_find_section(ini, section);
        if (at == ini->n) {
            if (ini->n > 0 && ini->lines[ini->n - 1].kind != INI_BLANK)
                insert_line(ini, ini->n, "");
            at = ini->n;
            insert_line(ini, at, mem_printf(ini, "[%s]", section));
        }
        link_lines(ini);
        insert_line(ini, end_of_section(ini, at), text);
    }
    link_lines(ini);
}

void ini_remove_section(Ini *ini, const char *section)
{
    size_t first = ini_find_section(ini, section), end = first + 1;

    if (first == ini->n)
        return;
    while (end < ini->n && ini->lines[end].kind != INI_SECTION)
        end++;
    /* comments directly above the next section are the next one's */
    if (end < ini->n)
        while (end > first + 1 && ini->lines[end - 1].kind == INI_COMMENT)
            end--;
    while (first > 0 && ini->lines[first - 1].kind == INI_COMMENT)
        first--;
    remove_lines(ini, first, end);
    while (first == ini->n && ini->n > 0 && ini->lines[ini->n - 1].kind == INI_BLANK)
        first = --ini->n;
    link_lines(ini);
}

char *ini_text(const void *ctx, const Ini *ini)
{
    Str *text = str_new(ctx);

    for (size_t i = 0; i < ini->n; i++) {
        str_add(text, ini->lines[i].text);
        str_char(text, '\n');
    }
    return text->text;
}

static bool write_all(int fd, const char *text)
{
    size_t left = strlen(text);

    while (left > 0) {
        ssize_t n = write(fd, text, left);

        if (n < 0 && errno != EINTR)
            return false;
        if (n > 0) {
            text += n;
            left -= (size_t)n;
        }
    }
    return fsync(fd) == 0;
}

bool ini_write(const char *path, const char *text, Err *err)
{
    AUTO_CTX(tmp, NULL);
    char *real = realpath(path, NULL);
    const char *target = real == NULL ? path : mem_strdup(tmp, real);
    char *new_path = mem_printf(tmp, "%s.XXXXXX", target);
    struct stat before;
    bool exists = stat(target, &before) == 0;

    free(real);
    int fd = mkostemp(new_path, O_CLOEXEC);
    if (fd < 0)
        return err_set(err, ERR_IO, "could not write beside %s: %s", path, strerror(errno));
    bool ok = fchmod(fd, exists ? before.st_mode & 07777 : NEW_FILE_MODE) == 0;
    if (ok && exists && (before.st_uid != geteuid() || before.st_gid != getegid()))
        ok = fchown(fd, before.st_uid, before.st_gid) == 0;
    ok = ok && write_all(fd, text);
    int saved = errno;
    close(fd);
    if (ok && rename(new_path, target) == 0)
        return true;
    if (ok)
        saved = errno;
    unlink(new_path);
    return err_set(err, ERR_IO, "could not replace %s: %s", path, strerror(saved));
}
