/*
 * PgBouncer's configuration file: see pooler_ini.h.
 *
 * A file is scanned once, by the rules of PgBouncer's own reader, into entries that know where in
 * the text they stand. A plan is a list of edits to these places, in the order of the text;
 * applying it copies all that lies between.
 */
#include "migrate/pooler_ini.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "base/str.h"

enum {
    MAX_FILE_BYTES = 16 * 1024 * 1024,
    MAX_INCLUDES = 10, /* how deep, as in PgBouncer */
    MAX_SHOWN = 8      /* entries listed in an error's detail */
};

typedef struct File {
    char *path; /* without symbolic links: the rename must replace the file, not the link */
    char *text;
    size_t len;
    Str *planned;
} File;

/* one "keyword=value" of a connection string, by its place in the file's text */
typedef struct Word {
    size_t start, end;
    char *key;
    char *value;
} Word;

typedef struct Entry {
    size_t file;
    size_t line_start;
    size_t value_start, value_end;
    char *name;
    bool fallback; /* the entry "*" */
    bool readable; /* the connection string could be parsed */
    Word *words;
    size_t n_words;
} Entry;

typedef enum Section { SECTION_OTHER, SECTION_DATABASES, SECTION_PGBOUNCER } Section;

struct PoolerIni {
    File *files; /* the first is the one that was asked for */
    size_t n_files;
    Entry *entries;
    size_t n_entries;
    char *socket_dir; /* unix_socket_dir, or NULL */
    Section section;  /* while scanning: it goes on across an %include */
    size_t changes;
    bool *led; /* by move: see pooler_ini_leads() */
};

/* Addresses. */

static bool is_socket(const char *host)
{
    return host[0] == '/' || host[0] == '@' || host[0] == '\0';
}

static bool same_socket(const char *a, const char *b)
{
    const char *both[] = {a, b};
    size_t len[2];

    for (size_t i = 0; i < 2; i++) {
        if (str_starts(both[i], "/var/run/")) /* is a link to /run nowadays */
            both[i] += strlen("/var");
        len[i] = strlen(both[i]);
        while (len[i] > 1 && both[i][len[i] - 1] == '/')
            len[i]--;
    }
    return len[0] == len[1] && strncmp(both[0], both[1], len[0]) == 0;
}

static bool is_loopback(const char *host)
{
    return strcasecmp(host, "localhost") == 0 || strcmp(host, "127.0.0.1") == 0 ||
           strcmp(host, "::1") == 0;
}

/* host may be empty, for a socket directory that we do not know */
static bool same_host(const char *host, const char *node_host)
{
    if (is_socket(host) != is_socket(node_host))
        return false;
    if (is_socket(host))
        return host[0] == '\0' || node_host[0] == '\0' || same_socket(host, node_host);
    return strcasecmp(host, node_host) == 0 || (is_loopback(host) && is_loopback(node_host));
}

static long port_number(const char *port)
{
    return port == NULL || port[0] == '\0' ? 5432 : strtol(port, NULL, 10);
}

bool pooler_address_is(const char *host, const char *port, const char *dbname, const Address *node)
{
    return same_host(host == NULL ? "" : host, node->host) &&
           port_number(port) == port_number(node->port) && dbname != NULL &&
           strcmp(dbname, node->dbname) == 0;
}

/* Scanning. */

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

static bool is_space(char c)
{
    return isspace((unsigned char)c) != 0;
}

/* text[*pos…end) is at a word; false when PgBouncer would call it a syntax error */
static bool scan_word(const void *ctx, const char *text, size_t *pos, size_t end, Word *word)
{
    size_t p = *pos;
    AUTO_CTX(tmp, NULL);
    Str *value = str_new(tmp);

    word->start = p;
    while (p < end && text[p] != '=' && !is_blank(text[p]))
        p++;
    size_t key_end = p;
    while (p < end && is_blank(text[p]))
        p++;
    if (key_end == word->start || p == end || text[p] != '=')
        return false;
    p++;
    while (p < end && is_blank(text[p]))
        p++;
    if (p < end && text[p] == '\'') {
        for (p++;; p++) {
            if (p >= end)
                return false;
            if (text[p] == '\'') {
                if (p + 1 >= end || text[p + 1] != '\'')
                    break;
                p++;
            }
            str_char(value, text[p]);
        }
        p++;
    } else {
        size_t from = p;

        /* not at a tab: PgBouncer takes that as a part of the value */
        while (p < end && text[p] != ' ')
            p++;
        str_bytes(value, text + from, p - from);
    }
    if (value->len == 0)
        return false;
    word->end = p;
    word->key = mem_strndup(ctx, text + word->start, key_end - word->start);
    word->value = mem_strdup(ctx, value->text);
    *pos = p;
    return true;
}

static void scan_words(PoolerIni *ini, Entry *entry)
{
    const char *text = ini->files[entry->file].text;
    size_t p = entry->value_start;

    entry->readable = true;
    for (;;) {
        Word word;

        while (p < entry->value_end && is_blank(text[p]))
            p++;
        if (p == entry->value_end)
            return;
        if (!scan_word(ini, text, &p, entry->value_end, &word)) {
            entry->readable = false;
            return;
        }
        mem_push(ini, entry->words, entry->n_words, word);
    }
}

/*
 * The name of an entry or a setting; NULL when there is none. PgBouncer's manual has names in
 * double quotes, its newer versions read them in single ones.
 */
static char *scan_name(const void *ctx, const char *text, size_t *pos, size_t end, bool *ret_quoted)
{
    AUTO_CTX(tmp, NULL);
    Str *name = str_new(tmp);
    size_t p = *pos;
    char quote = text[p];

    *ret_quoted = quote == '"' || quote == '\'';
    if (*ret_quoted) {
        for (p++;; p++) {
            if (p >= end)
                return NULL;
            if (text[p] == quote) {
                if (p + 1 >= end || text[p + 1] != quote)
                    break;
                p++;
            }
            str_char(name, text[p]);
        }
        p++;
    } else {
        while (p < end && (isalnum((unsigned char)text[p]) || strchr("_.-*", text[p]) != NULL))
            str_char(name, text[p++]);
    }
    *pos = p;
    return mem_strdup(ctx, name->text);
}

static bool scan_file(PoolerIni *ini, const char *path, size_t depth, Err *err);

/*
 * a relative name is meant from PgBouncer's working directory, which we do not know: beside the
 * first file is likely
 */
static bool scan_include(PoolerIni *ini, const char *name, size_t depth, Err *err)
{
    AUTO_CTX(tmp, NULL);
    const char *main_path = ini->files[0].path;
    const char *slash = strrchr(main_path, '/');
    const char *path = name;

    if (depth >= MAX_INCLUDES)
        return err_set(err, ERR_STATE, "%s: files are included too deep", name);
    if (name[0] != '/')
        path = mem_printf(tmp, "%.*s%s", (int)(slash - main_path + 1), main_path, name);
    if (access(path, F_OK) != 0) {
        log_warn("%s includes \"%s\", which is not there: its entries are not seen", main_path,
                 name);
        return true;
    }
    return scan_file(ini, path, depth + 1, err);
}

static void scan_setting(PoolerIni *ini, const Entry *found, const char *text, bool quoted)
{
    Entry entry = *found;

    if (ini->section == SECTION_DATABASES) {
        entry.fallback = !quoted && strcmp(entry.name, "*") == 0;
        scan_words(ini, &entry);
        mem_push(ini, ini->entries, ini->n_entries, entry);
    } else if (ini->section == SECTION_PGBOUNCER && strcmp(entry.name, "unix_socket_dir") == 0 &&
               entry.value_end > entry.value_start) {
        ini->socket_dir =
            mem_strndup(ini, text + entry.value_start, entry.value_end - entry.value_start);
    }
}

/* the text is not shown: there may be a password in it */
static bool syntax_error(const PoolerIni *ini, size_t file, size_t pos, Err *err)
{
    size_t line = 1;

    for (size_t i = 0; i < pos; i++)
        line += ini->files[file].text[i] == '\n';
    return err_set(err, ERR_STATE, "%s:%zu: not a line that PgBouncer understands",
                   ini->files[file].path, line);
}

static Section section_called(const char *name, size_t len)
{
    if (len == strlen("databases") && strncmp(name, "databases", len) == 0)
        return SECTION_DATABASES;
    if (len == strlen("pgbouncer") && strncmp(name, "pgbouncer", len) == 0)
        return SECTION_PGBOUNCER;
    return SECTION_OTHER;
}

static bool scan_text(PoolerIni *ini, size_t file, size_t depth, Err *err)
{
    const char *text = ini->files[file].text;
    size_t end = ini->files[file].len, p = 0;

    for (;;) {
        Entry entry = {.file = file};
        bool quoted;

        while (p < end && is_space(text[p]))
            p++;
        if (p == end)
            return true;
        const char *newline = memchr(text + p, '\n', end - p);
        size_t line_end = newline == NULL ? end : (size_t)(newline - text);
        if (text[p] == '#' || text[p] == ';') {
            p = line_end;
            continue;
        }
        if (text[p] == '[') {
            const char *bracket = memchr(text + p, ']', line_end - p);

            if (bracket == NULL)
                return syntax_error(ini, file, p, err);
            size_t len = (size_t)(bracket - text) - p - 1;
            ini->section = section_called(text + p + 1, len);
            p += len + 2;
            continue;
        }
        size_t value_end = line_end;
        while (value_end > p && is_space(text[value_end - 1]))
            value_end--;
        if (value_end - p > strlen("%include") && str_starts(text + p, "%include") &&
            is_blank(text[p + strlen("%include")])) {
            AUTO_CTX(tmp, NULL);

            p += strlen("%include");
            while (is_blank(text[p]))
                p++;
            if (!scan_include(ini, mem_strndup(tmp, text + p, value_end - p), depth, err))
                return false;
            p = line_end;
            continue;
        }
        for (entry.line_start = p; entry.line_start > 0 && is_blank(text[entry.line_start - 1]);)
            entry.line_start--;
        entry.name = scan_name(ini, text, &p, value_end, &quoted);
        while (p < value_end && is_blank(text[p]))
            p++;
        if (entry.name == NULL || p == value_end || text[p] != '=')
            return syntax_error(ini, file, p, err);
        for (p++; p < value_end && is_blank(text[p]);)
            p++;
        entry.value_start = p;
        entry.value_end = value_end;
        scan_setting(ini, &entry, text, quoted);
        p = line_end;
    }
}

static bool io_error(Err *err, const char *what, const char *path)
{
    return err_set(err, ERR_IO, "could not %s %s: %s", what, path, strerror(errno));
}

static bool load_file(const void *ctx, const char *path, char **ret_text, size_t *ret_len, Err *err)
{
    struct stat st;

    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return io_error(err, "open", path);
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode) || st.st_size > MAX_FILE_BYTES) {
        close(fd);
        return err_set(err, ERR_IO, "%s is not a configuration file", path);
    }
    size_t size = (size_t)st.st_size, len = 0;
    char *text = mem_array(ctx, char, size + 1);
    while (len < size) {
        ssize_t n = read(fd, text + len, size - len);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            io_error(err, "read", path);
            close(fd);
            return false;
        }
        if (n == 0)
            break;
        len += (size_t)n;
    }
    close(fd);
    *ret_text = text;
    *ret_len = len;
    return true;
}

static bool scan_file(PoolerIni *ini, const char *path, size_t depth, Err *err)
{
    char real[PATH_MAX];
    File file = {0};

    if (realpath(path, real) == NULL)
        return io_error(err, "find", path);
    for (size_t i = 0; i < ini->n_files; i++)
        if (strcmp(ini->files[i].path, real) == 0)
            return true; /* included twice */
    if (!load_file(ini, real, &file.text, &file.len, err))
        return false;
    file.path = mem_strdup(ini, real);
    mem_push(ini, ini->files, ini->n_files, file);
    return scan_text(ini, ini->n_files - 1, depth, err);
}

PoolerIni *pooler_ini_read(const void *ctx, const char *path, Err *err)
{
    PoolerIni *ini = mem_new(ctx, PoolerIni);

    if (scan_file(ini, path, 0, err))
        return ini;
    talloc_free(ini);
    return NULL;
}

/* Planning. */

/* the last value counts, as in PgBouncer; NULL when there is none */
static const char *word_value(const Entry *entry, const char *key)
{
    for (size_t i = entry->n_words; i > 0; i--)
        if (strcmp(entry->words[i - 1].key, key) == 0)
            return entry->words[i - 1].value;
    return NULL;
}

static const char *entry_host(const PoolerIni *ini, const Entry *entry)
{
    const char *host = word_value(entry, "host");

    if (host == NULL)
        host = word_value(entry, "hostaddr");
    if (host == NULL)
        host = ini->socket_dir;
    return host == NULL ? "" : host;
}

static const Entry *entry_named(const PoolerIni *ini, const char *name)
{
    for (size_t i = 0; i < ini->n_entries; i++)
        if (!ini->entries[i].fallback && strcmp(ini->entries[i].name, name) == 0)
            return &ini->entries[i];
    return NULL;
}

/*
 * an entry "*" without dbname leads to each database by its name, if that has no entry of its own
 */
static bool falls_back_by_name(const PoolerIni *ini, const Entry *entry, const Address *node)
{
    return entry->fallback && entry->readable && word_value(entry, "dbname") == NULL &&
           entry_named(ini, node->dbname) == NULL &&
           pooler_address_is(entry_host(ini, entry), word_value(entry, "port"), node->dbname, node);
}

static bool leads_to(const PoolerIni *ini, const Entry *entry, const Address *node)
{
    const char *dbname = word_value(entry, "dbname");

    if (!entry->readable)
        return false;
    if (dbname == NULL && entry->fallback)
        return false;
    return pooler_address_is(entry_host(ini, entry), word_value(entry, "port"),
                             dbname == NULL ? entry->name : dbname, node);
}

IniFallback pooler_ini_fallback(const PoolerIni *ini, const Address *node)
{
    for (size_t i = 0; i < ini->n_entries; i++) {
        const Entry *entry = &ini->entries[i];

        if (entry->fallback && leads_to(ini, entry, node))
            return INI_FALLBACK_ALL;
        if (falls_back_by_name(ini, entry, node))
            return INI_FALLBACK_NAMED;
    }
    return INI_FALLBACK_NONE;
}

bool pooler_ini_has_fallback(const PoolerIni *ini)
{
    for (size_t i = 0; i < ini->n_entries; i++)
        if (ini->entries[i].fallback)
            return true;
    return false;
}

bool pooler_ini_mentions(const PoolerIni *ini, const char *dbname)
{
    for (size_t i = 0; i < ini->n_entries; i++) {
        const Entry *entry = &ini->entries[i];
        const char *name = word_value(entry, "dbname");

        if (strcmp(name == NULL ? entry->name : name, dbname) == 0)
            return true;
    }
    return false;
}

/*
 * several hosts in one entry: such an entry cannot be moved to one node, and should not be
 * overlooked
 */
static void warn_of_list(const PoolerIni *ini, const Entry *entry, const Address *node)
{
    AUTO_CTX(tmp, NULL);
    char *save = NULL;

    if (strchr(entry_host(ini, entry), ',') == NULL)
        return;
    char *list = mem_strdup(tmp, entry_host(ini, entry));
    for (char *host = strtok_r(list, ",", &save); host != NULL; host = strtok_r(NULL, ",", &save)) {
        if (same_host(host, node->host))
            log_warn("%s: the entry \"%s\" leads to several hosts and stays as it is",
                     ini->files[entry->file].path, entry->name);
    }
}

static void put_word(Str *s, const char *key, const char *value)
{
    if (strpbrk(value, " \t'") == NULL) {
        str_fmt(s, "%s=%s", key, value);
        return;
    }
    str_fmt(s, "%s='", key);
    for (const char *p = value; *p != '\0'; p++) {
        if (*p == '\'')
            str_char(s, '\'');
        str_char(s, *p);
    }
    str_char(s, '\'');
}

/* the words that the entry lacks, each with a blank before it */
static void put_missing(Str *s, const Entry *entry, const char *name, const Address *to)
{
    if (word_value(entry, "port") == NULL && port_number(to->port) != 5432) {
        str_char(s, ' ');
        put_word(s, "port", to->port);
    }
    if (word_value(entry, "dbname") == NULL && strcmp(name, to->dbname) != 0) {
        str_char(s, ' ');
        put_word(s, "dbname", to->dbname);
    }
}

/* the connection string of entry, under that name, so that it leads to `to` */
static void put_value(Str *s, const char *text, const Entry *entry, const char *name,
                      const Address *to)
{
    size_t p = entry->value_start;
    bool hosted = word_value(entry, "host") != NULL;

    if (!hosted) {
        put_word(s, "host", to->host);
        put_missing(s, entry, name, to);
        if (entry->n_words > 0)
            str_char(s, ' ');
    }
    for (size_t i = 0; i < entry->n_words; i++) {
        const Word *word = &entry->words[i];

        if (strcmp(word->key, "hostaddr") == 0) {
            /* goes with the blanks before it, or behind it when it is the first */
            p = i == 0 && entry->n_words > 1 ? entry->words[1].start : word->end;
            continue;
        }
        str_bytes(s, text + p, word->start - p);
        p = word->end;
        if (strcmp(word->key, "host") == 0) {
            put_word(s, "host", to->host);
            if (hosted)
                put_missing(s, entry, name, to);
            hosted = false; /* once */
        } else if (strcmp(word->key, "port") == 0) {
            put_word(s, "port", to->port[0] == '\0' ? "5432" : to->port);
        } else if (strcmp(word->key, "dbname") == 0) {
            put_word(s, "dbname", to->dbname);
        } else {
            str_bytes(s, text + word->start, word->end - word->start);
        }
    }
    /* when there was nothing but hostaddr */
    while (s->len > 0 && is_blank(s->text[s->len - 1]))
        s->text[--s->len] = '\0';
}

/* without quotes: these are not the same in all versions of PgBouncer */
static bool is_plain_name(const char *name)
{
    for (const char *p = name; *p != '\0'; p++)
        if (!isalnum((unsigned char)*p) && strchr("_.-", *p) == NULL)
            return false;
    return name[0] != '\0';
}

/* a line for the database that so far came to `from` by "*" */
static bool put_own_entry(Str *s, const char *text, const Entry *fallback, const Address *from,
                          const Address *to, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Str *value = str_new(tmp);

    if (!is_plain_name(from->dbname)) {
        err_set(err, ERR_STATE, "the database \"%s\" is served by PgBouncer's entry \"*\"",
                from->dbname);
        return err_hint(err, "Give it an entry of its own, which can be moved without the others.");
    }
    put_value(value, text, fallback, from->dbname, to);
    str_fmt(s, "%s = %s", from->dbname, value->text);
    /* the same line end; the last line may have none */
    str_add(s, text[fallback->value_end] == '\r' ? "\r\n" : "\n");
    return true;
}

static bool nothing_leads(const PoolerIni *ini, const Move *moves, size_t n, Err *err)
{
    AUTO_CTX(tmp, NULL);
    const Address *from = &moves[0].from;
    Str *found = str_new(tmp);

    if (n == 1)
        err_set(err, ERR_STATE, "no entry of [databases] in %s leads to host=%s port=%s dbname=%s",
                ini->files[0].path, from->host, from->port, from->dbname);
    else
        err_set(err, ERR_STATE,
                "no entry of [databases] in %s leads to host=%s port=%s and a database of this run",
                ini->files[0].path, from->host, from->port);
    for (size_t i = 0; i < ini->n_entries && i < MAX_SHOWN; i++) {
        const Entry *entry = &ini->entries[i];
        const char *host = entry_host(ini, entry), *port = word_value(entry, "port");
        const char *dbname = word_value(entry, "dbname");

        str_fmt(found, "%s\"%s\" to host=%s port=%s dbname=%s", i > 0 ? ", " : "", entry->name,
                host[0] == '\0' ? "(socket)" : host, port == NULL ? "5432" : port,
                dbname == NULL ? entry->name : dbname);
    }
    if (ini->n_entries == 0)
        err_detail(err, "It has no entries.");
    else
        err_detail(err, "It has: %s%s.", found->text, ini->n_entries > MAX_SHOWN ? ", …" : "");
    return err_hint(
        err,
        "Host and port must be written in the file as in the connection string of the node; or "
        "leave the file to a command of yours (--on-switch).");
}

/* whether an entry can lead there */
static bool check_address(const Address *to, Err *err)
{
    if (to->host[0] != '\0' && strpbrk(to->host, "\r\n") == NULL &&
        strpbrk(to->dbname, "\r\n") == NULL)
        return true;
    return err_set(err, ERR_STATE, "\"%s\" cannot be the host of an entry for PgBouncer", to->host);
}

/* the new text of a file so far: all that lies before `done` in the old one */
typedef struct Draft {
    Str *text;
    size_t done;
} Draft;

static void draft_until(Draft *draft, const File *file, size_t end)
{
    str_bytes(draft->text, file->text + draft->done, end - draft->done);
    draft->done = end;
}

/* what the moves make of one entry: "*" may be about several of them, any other about one at most */
static bool plan_entry(PoolerIni *ini, const Entry *entry, const Move *moves, size_t n,
                       Draft *draft, Err *err)
{
    const File *file = &ini->files[entry->file];
    bool concerned = false;

    for (size_t i = 0; i < n; i++) {
        const Move *move = &moves[i];

        if (leads_to(ini, entry, &move->to) || falls_back_by_name(ini, entry, &move->to)) {
            ini->led[i] = concerned = true;
        } else if (leads_to(ini, entry, &move->from)) {
            ini->led[i] = true;
            ini->changes++;
            draft_until(draft, file, entry->value_start);
            put_value(draft->text, file->text, entry, entry->name, &move->to);
            draft->done = entry->value_end;
            return true;
        } else if (falls_back_by_name(ini, entry, &move->from)) {
            ini->led[i] = concerned = true;
            ini->changes++;
            draft_until(draft, file, entry->line_start);
            if (!put_own_entry(draft->text, file->text, entry, &move->from, &move->to, err))
                return false;
        }
    }
    if (!concerned && n > 0)
        warn_of_list(ini, entry, &moves[0].from);
    return true;
}

bool pooler_ini_plan(PoolerIni *ini, const Move *moves, size_t n, Err *err)
{
    ini->changes = 0;
    talloc_free(ini->led);
    ini->led = mem_array(ini, bool, n);
    for (size_t i = 0; i < n; i++)
        if (!check_address(&moves[i].to, err))
            return false;
    for (size_t f = 0; f < ini->n_files; f++) {
        File *file = &ini->files[f];
        Draft draft = {.text = str_new(ini)};

        talloc_free(file->planned);
        file->planned = draft.text;
        for (size_t i = 0; i < ini->n_entries; i++)
            if (ini->entries[i].file == f &&
                !plan_entry(ini, &ini->entries[i], moves, n, &draft, err))
                return false;
        draft_until(&draft, file, file->len);
    }
    for (size_t i = 0; i < n; i++)
        if (ini->led[i])
            return true;
    return nothing_leads(ini, moves, n, err);
}

bool pooler_ini_leads(const PoolerIni *ini, size_t i)
{
    return ini->led[i];
}

size_t pooler_ini_changes(const PoolerIni *ini)
{
    return ini->changes;
}

const char *pooler_ini_text(const PoolerIni *ini)
{
    return ini->files[0].planned->text;
}

/* Writing. */

static bool write_all(int fd, const char *bytes, size_t n)
{
    while (n > 0) {
        ssize_t done = write(fd, bytes, n);

        if (done < 0 && errno == EINTR)
            continue;
        if (done < 0)
            return false;
        bytes += done;
        n -= (size_t)done;
    }
    return true;
}

/* the directory's own fsync makes the rename last */
static void sync_directory(const char *path)
{
    AUTO_CTX(tmp, NULL);
    const char *slash = strrchr(path, '/');

    int fd = open(mem_strndup(tmp, path, (size_t)(slash - path + 1)),
                  O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return;
    if (fsync(fd) != 0)
        log_debug("could not fsync the directory of %s: %s", path, strerror(errno));
    close(fd);
}

static bool fill_file(int fd, const File *file, const struct stat *like)
{
    struct stat st;

    if (fstat(fd, &st) != 0)
        return false;
    if ((st.st_uid != like->st_uid || st.st_gid != like->st_gid) &&
        fchown(fd, like->st_uid, like->st_gid) != 0)
        return false;
    /* after the owner: a change of owner may take bits away */
    return fchmod(fd, like->st_mode & 07777) == 0 &&
           write_all(fd, file->planned->text, file->planned->len) && fsync(fd) == 0;
}

static bool replace_file(const File *file, bool rehearsal, Err *err)
{
    AUTO_CTX(tmp, NULL);
    char *temp = mem_printf(tmp, "%s.pgtandem-XXXXXX", file->path);
    struct stat like;

    if (stat(file->path, &like) != 0)
        return io_error(err, "find", file->path);
    int fd = mkostemp(temp, O_CLOEXEC);
    bool ok = fd >= 0 && fill_file(fd, file, &like);
    int saved = errno;
    if (fd >= 0 && close(fd) != 0 && ok) {
        ok = false;
        saved = errno;
    }
    if (ok && !rehearsal && rename(temp, file->path) != 0) {
        ok = false;
        saved = errno;
    }
    if (fd >= 0 && (!ok || rehearsal))
        unlink(temp);
    if (!ok) {
        errno = saved;
        io_error(err, "replace", file->path);
        return err_hint(
            err, "A new file with the same owner and mode must be possible in its directory.");
    }
    if (!rehearsal)
        sync_directory(file->path);
    return true;
}

bool pooler_ini_write(const PoolerIni *ini, bool rehearsal, Err *err)
{
    for (size_t i = 0; i < ini->n_files; i++) {
        const File *file = &ini->files[i];

        if (file->planned->len == file->len &&
            memcmp(file->planned->text, file->text, file->len) == 0)
            continue;
        if (!replace_file(file, rehearsal, err))
            return false;
    }
    return true;
}
