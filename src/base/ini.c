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

enum {
    NEW_FILE_MODE = 0600,
    MAX_FILE_BYTES = 16 * 1024 * 1024, /* more is no file of settings, but e.g. a device */
    MAX_LINKS = 40                     /* as in the kernel */
};

#define BYTE_ORDER_MARK "\xEF\xBB\xBF"

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

/* blanks in a name count as one, outside of double quotes */
static void squeeze(char *name)
{
    bool quoted = false;
    char *to = name;

    for (const char *p = name; *p != '\0'; p++) {
        if (*p == '"')
            quoted = !quoted;
        if (quoted || !is_blank(*p))
            *to++ = *p;
        else if (to[-1] != ' ')
            *to++ = ' ';
    }
    *to = '\0';
}

static IniLine read_section(const void *ctx, const char *text)
{
    size_t len = strlen(text);
    IniLine line = {.kind = INI_BAD};

    while (len > 0 && is_blank(text[len - 1]))
        len--;
    if (len < 3 || text[len - 1] != ']')
        return line;
    char *name = trimmed(ctx, text + 1, len - 2);
    if (name[0] == '\0')
        return line;
    squeeze(name);
    line.section = name;
    line.kind = INI_SECTION;
    return line;
}

static IniLine read_line(const void *ctx, const char *text)
{
    IniLine line = {.kind = INI_BAD};
    const char *begin = text + strspn(text, " \t\r"), *equal;

    if (*begin == '\0') {
        line.kind = INI_BLANK;
    } else if (*begin == '#' || *begin == ';') {
        line.kind = INI_COMMENT;
    } else if (begin != text) {
        line.kind = INI_MORE;
        line.part = trimmed(ctx, begin, strlen(begin));
    } else if (*text == '[') {
        line = read_section(ctx, text);
    } else if ((equal = strchr(text, '=')) != NULL && equal != text) {
        line.kind = INI_KEY;
        line.key = trimmed(ctx, text, (size_t)(equal - text));
        line.part = trimmed(ctx, equal + 1, strlen(equal + 1));
    }
    return line;
}

/* gives each line its section, and values their continuations; again after each edit */
static void link_lines(Ini *ini)
{
    const char *section = NULL;
    IniLine *key = NULL;

    for (size_t i = 0; i < ini->n; i++) {
        IniLine *line = &ini->lines[i];

        if (line->kind == INI_SECTION)
            section = line->section;
        line->section = section;
        if (line->kind == INI_KEY) {
            line->value = line->part;
            key = line;
        } else if (line->part != NULL) {
            line->kind = key == NULL ? INI_BAD : INI_MORE;
            if (key != NULL)
                key->value = key->value[0] == '\0'
                                 ? line->part
                                 : mem_printf(ini, "%s %s", key->value, line->part);
        } else if (line->kind != INI_COMMENT) {
            key = NULL;
        }
    }
}

Ini *ini_parse(const void *ctx, const char *text)
{
    Ini *ini = mem_new(ctx, Ini);

    while (*text != '\0') {
        size_t len = strcspn(text, "\n");
        char *copy = mem_strndup(ini, text, len);
        bool marked = ini->n == 0 && str_starts(copy, BYTE_ORDER_MARK);
        IniLine line = read_line(ini, copy + (marked ? strlen(BYTE_ORDER_MARK) : 0));

        line.text = copy;
        line.open = text[len] == '\0';
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
    while (text->len <= MAX_FILE_BYTES && (len = fread(buffer, 1, sizeof buffer, file)) > 0)
        str_bytes(text, buffer, len);
    int failed = ferror(file) != 0 ? errno : 0;
    fclose(file);
    if (failed != 0)
        return err_set(err, ERR_IO, "could not read %s: %s", path, strerror(failed));
    if (strlen(text->text) != text->len)
        return err_set(err, ERR_USAGE, "%s is no text file: it holds a NUL byte", path);
    if (text->len > MAX_FILE_BYTES)
        return err_set(err, ERR_USAGE, "%s is no file of settings: it is larger than 16 MB", path);
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

/* the new line ends as the file's first one does */
static void insert_line(Ini *ini, size_t at, const char *text)
{
    bool crlf = ini->n > 0 && str_ends(ini->lines[0].text, "\r");
    const char *copy = mem_printf(ini, "%s%s", text, crlf ? "\r" : "");
    IniLine line = read_line(ini, copy);

    line.text = copy;
    mem_push(ini, ini->lines, ini->n, line);
    memmove(&ini->lines[at + 1], &ini->lines[at], (ini->n - 1 - at) * sizeof *ini->lines);
    ini->lines[at] = line;
}

/* removes the lines that continue the key before them, but not the comments between them */
static void remove_continuation(Ini *ini, size_t at)
{
    while (at < ini->n && (ini->lines[at].kind == INI_MORE || ini->lines[at].kind == INI_COMMENT))
        if (ini->lines[at].kind == INI_MORE)
            remove_lines(ini, at, at + 1);
        else
            at++;
}

/* behind the last key of a section, with what continues it */
static size_t end_of_keys(const Ini *ini, size_t at)
{
    size_t end = at + 1;

    for (size_t i = at + 1; i < ini->n && ini->lines[i].kind != INI_SECTION; i++)
        if (ini->lines[i].kind != INI_BLANK && ini->lines[i].kind != INI_COMMENT)
            end = i + 1;
    return end;
}

static void add_key(Ini *ini, const char *section, const char *text)
{
    size_t at = ini_find_section(ini, section);

    if (at == ini->n) {
        if (ini->n > 0 && ini->lines[ini->n - 1].kind != INI_BLANK)
            insert_line(ini, ini->n, "");
        at = ini->n;
        insert_line(ini, at, mem_printf(ini, "[%s]", section));
    }
    insert_line(ini, end_of_keys(ini, at), text);
}

void ini_set(Ini *ini, const char *section, const char *key, const char *value)
{
    size_t at = ini_find_key(ini, section, key);
    const char *text = value == NULL ? NULL : mem_printf(ini, "%s = %s", key, value);

    if (at < ini->n) {
        remove_continuation(ini, at + 1);
        bool open = ini->lines[at].open;
        remove_lines(ini, at, at + 1);
        if (text != NULL) {
            insert_line(ini, at, text);
            ini->lines[at].open = open;
        }
    } else if (text != NULL) {
        add_key(ini, section, text);
    }
    link_lines(ini);
}

/* behind the comments that stand directly below the keys, unless they stand directly above a section */
static size_t end_of_comments(const Ini *ini, size_t at)
{
    size_t end = at;

    while (end < ini->n && ini->lines[end].kind == INI_COMMENT)
        end++;
    return end < ini->n && ini->lines[end].kind == INI_SECTION ? at : end;
}

void ini_remove_section(Ini *ini, const char *section)
{
    size_t first = ini_find_section(ini, section);

    if (first == ini->n)
        return;
    size_t end = end_of_comments(ini, end_of_keys(ini, first));
    while (first > 0 && ini->lines[first - 1].kind == INI_COMMENT)
        first--;
    /* of the blank lines around it, those before stay */
    if (first == 0 || ini->lines[first - 1].kind == INI_BLANK)
        while (end < ini->n && ini->lines[end].kind == INI_BLANK)
            end++;
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
        if (!ini->lines[i].open || i + 1 < ini->n)
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

/* where a link leads */
static char *link_target(const void *ctx, const char *link, size_t size)
{
    char *target = mem_array(ctx, char, size + 1);
    ssize_t len = readlink(link, target, size);
    const char *slash = strrchr(link, '/');

    if (len < 0 || (size_t)len > size)
        return NULL;
    if (target[0] == '/' || slash == NULL)
        return target;
    return mem_printf(ctx, "%.*s/%s", (int)(slash - link), link, target);
}

/* the file that a path means: not a symbolic link, but what it leads to, even if that is not there yet */
static const char *real_file(const void *ctx, const char *path)
{
    struct stat st;

    for (int i = 0; i < MAX_LINKS && path != NULL; i++) {
        if (lstat(path, &st) != 0 || !S_ISLNK(st.st_mode))
            return path;
        path = link_target(ctx, path, (size_t)st.st_size);
    }
    return NULL;
}

/* the new name is safe when its directory is written; a file system that cannot do that is no error */
static void sync_directory(const void *ctx, const char *path)
{
    const char *slash = strrchr(path, '/');
    const char *directory =
        slash == NULL ? "." : mem_strndup(ctx, path, (size_t)(slash - path) + 1);
    int fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd < 0)
        return;
    (void)fsync(fd);
    close(fd);
}

bool ini_write(const char *path, const char *text, Err *err)
{
    AUTO_CTX(tmp, NULL);
    const char *target = real_file(tmp, path);
    struct stat before;

    if (target == NULL)
        return err_set(err, ERR_IO, "could not write %s: %s", path, strerror(ELOOP));
    char *new_path = mem_printf(tmp, "%s.XXXXXX", target);
    bool exists = stat(target, &before) == 0;
    int fd = mkostemp(new_path, O_CLOEXEC);
    if (fd < 0)
        return err_set(err, ERR_IO, "could not write beside %s: %s", target, strerror(errno));
    bool ok = true;
    if (exists && (before.st_uid != geteuid() || before.st_gid != getegid()))
        ok = fchown(fd, before.st_uid, before.st_gid) == 0;
    ok = ok && fchmod(fd, exists ? before.st_mode & 07777 : NEW_FILE_MODE) == 0;
    ok = ok && write_all(fd, text) && rename(new_path, target) == 0;
    int saved = errno;
    close(fd);
    if (ok) {
        sync_directory(tmp, target);
        return true;
    }
    unlink(new_path);
    return err_set(err, ERR_IO, "could not replace %s: %s", target, strerror(saved));
}
