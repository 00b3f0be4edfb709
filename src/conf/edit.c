/* Editing the configuration file: see edit.h. */
#include "conf/edit.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/ini.h"
#include "base/str.h"
#include "base/suggest.h"
#include "conf/conf.h"
#include "conf/conninfo.h"
#include "conf/names.h"

/* the file while it is edited */
typedef struct Edit {
    const char *path;
    Ini *ini;
    Problem *before;
    size_t n_before;
    const char *title; /* of the section */
    size_t n_names;    /* words that make the title */
} Edit;

static bool open_edit(const void *ctx, const char *path, bool may_be_new, Edit *ret_edit, Err *err)
{
    *ret_edit = (Edit){.path = path};
    if (may_be_new && access(path, F_OK) != 0 && errno == ENOENT)
        ret_edit->ini = ini_parse(ctx, "");
    else if (!conf_read_lines(ctx, path, &ret_edit->ini, err))
        return false;
    Ini *copy = ini_parse(ctx, ini_text(ctx, ret_edit->ini));
    conf_parse(ctx, path, copy, &ret_edit->before, &ret_edit->n_before);
    return true;
}

/* the table rule may be in the file under another spelling of its table */
static const char *rule_title(const void *ctx, const Edit *edit, const char *sync,
                              const char *table)
{
    const char *prefix = mem_printf(ctx, "table %s ", sync);

    for (size_t i = 0; i < edit->ini->n; i++) {
        const IniLine *line = &edit->ini->lines[i];

        if (line->kind == INI_SECTION && str_starts(line->section, prefix) &&
            same_table(line->section + strlen(prefix), table))
            return line->section;
    }
    return mem_printf(ctx, "%s%s", prefix, table);
}

/* "db A", "table SYNC SCHEMA.TABLE" */
static bool make_title(const void *ctx, Edit *edit, SectionKind kind, const char *const *words,
                       size_t n, Err *err)
{
    edit->n_names = kind == SECTION_TABLE ? 2 : 1;
    if (kind == SECTION_SERVICE)
        return err_set(err, ERR_USAGE, "that section has no name and is edited by hand");
    if (n < edit->n_names)
        return err_set(err, ERR_USAGE, "%s needs %s", section_word(kind),
                       kind == SECTION_TABLE ? "the name of a sync and of a table" : "a name");
    if (!name_is_valid(words[0])) {
        err_set(err, ERR_USAGE, "\"%s\" is no name of a %s", shown_word(ctx, words[0]),
                section_word(kind == SECTION_TABLE ? SECTION_SYNC : kind));
        return err_hint(err, "It begins with a letter and has letters, digits, _ and - only.");
    }
    if (kind == SECTION_TABLE) {
        if (strpbrk(words[1], "\r\n") != NULL || !same_table(words[1], words[1]))
            return err_set(err, ERR_USAGE, "\"%s\" is no name of a table",
                           shown_word(ctx, words[1]));
        edit->title = rule_title(ctx, edit, words[0], words[1]);
        return true;
    }
    edit->title = mem_printf(ctx, "%s %s", section_word(kind), words[0]);
    return true;
}

static int line_of(const Edit *edit)
{
    size_t at = ini_find_section(edit->ini, edit->title);

    return at == edit->ini->n ? 0 : (int)at + 1;
}

static bool require_section(const Edit *edit, Err *err)
{
    if (line_of(edit) > 0)
        return true;
    err_set(err, ERR_USAGE, "%s: there is no [%s]", edit->path, edit->title);
    return err_hint(err, "\"pgtandem list\" shows what there is.");
}

/* the section that a line is in, for messages */
static const char *section_at(const Ini *ini, int line)
{
    const char *section = line > 0 && (size_t)line <= ini->n ? ini->lines[line - 1].section : NULL;

    return section == NULL ? "" : section;
}

/* removes one problem of that text from the list; lines may have moved, so they do not count */
static bool take_problem(Problem *problems, size_t *n, const char *text)
{
    for (size_t i = 0; i < *n; i++)
        if (strcmp(problems[i].text, text) == 0) {
            problems[i] = problems[--*n];
            return true;
        }
    return false;
}

/* writes the file unless it has more problems than before */
static bool close_edit(Edit *edit, Err *err)
{
    AUTO_CTX(tmp, NULL);
    const char *text = ini_text(tmp, edit->ini);
    Ini *ini = ini_parse(tmp, text);
    Problem *after, *added = NULL;
    size_t n_after, n_added = 0;

    conf_parse(tmp, edit->path, ini, &after, &n_after);
    for (size_t i = 0; i < n_after; i++)
        if (!take_problem(edit->before, &edit->n_before, after[i].text))
            mem_push(tmp, added, n_added, after[i]);
    if (n_added == 0)
        return ini_write(edit->path, text, err);
    err_set(err, ERR_USAGE, "that would leave %zu problem%s in %s", n_added,
            n_added == 1 ? "" : "s", edit->path);
    for (size_t i = 0; i < n_added; i++)
        err_detail(err, "[%s]: %s.", section_at(ini, added[i].line), added[i].text);
    return err_hint(err, "Nothing was changed.");
}

/* the setting that a word key=value is of, or NULL */
static const Setting *setting_of(SectionKind kind, const char *word)
{
    size_t len = strcspn(word, "=");
    size_t dot = strcspn(word, ".=");

    return word[len] == '=' ? setting_find(kind, word, dot) : NULL;
}

static bool unknown_word(SectionKind kind, const char *word, Err *err)
{
    AUTO_CTX(tmp, NULL);
    const char **names = NULL, *near = NULL;
    size_t n = 0, len = strcspn(word, "=");

    /* without its key nobody knows what it is: perhaps a password */
    if (word[len] == '\0' && kind == SECTION_DB)
        return err_set(err, ERR_USAGE, "a word behind the name is no setting: it has no \"=\"");
    for (size_t i = 0; i < conf_n_settings; i++)
        if (conf_settings[i].section == kind)
            mem_push(tmp, names, n, conf_settings[i].name);
    near = suggest(word, len, names, n);
    err_set(err, ERR_USAGE, "there is no setting \"%s\" in [%s …]",
            shown_word(tmp, mem_strndup(tmp, word, len)), section_word(kind));
    if (near != NULL)
        return err_hint(err, "Did you mean %s=…?", near);
    return err_hint(err, "Settings are written key=value; the manual page lists them.");
}

/* one keyword of libpq, into the connection string that is there */
static bool set_conninfo_word(Edit *edit, const char *word, Err *err)
{
    size_t len = strcspn(word, "="), at = ini_find_key(edit->ini, edit->title, "conninfo");
    const char *before = at == edit->ini->n ? "" : edit->ini->lines[at].value;

    if (before[0] != '\0' && (conninfo_is_uri(before) || !conninfo_is_valid(before))) {
        err_set(err, ERR_USAGE, "%.*s cannot be set in the connection string of [%s], which is %s",
                (int)len, word, edit->title, conninfo_is_uri(before) ? "a URI" : "not valid");
        return err_hint(err, "Write the whole: conninfo=\"…\".");
    }
    const char *after =
        conninfo_set(edit->ini, before, mem_strndup(edit->ini, word, len), word + len + 1);
    ini_set(edit->ini, edit->title, "conninfo", after[0] == '\0' ? NULL : after);
    return true;
}

/* the words behind the names: settings, and what stands for one without its name */
static bool set_words(Edit *edit, SectionKind kind, const char *const *words, size_t n, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Str *members = str_new(tmp);

    for (size_t i = edit->n_names; i < n; i++) {
        const char *word = words[i], *equal = strchr(word, '=');

        if (strpbrk(word, "\r\n") != NULL)
            return err_set(err, ERR_USAGE, "a setting cannot hold a line break");
        if (setting_of(kind, word) != NULL) {
            ini_set(edit->ini, edit->title, mem_strndup(edit->ini, word, (size_t)(equal - word)),
                    equal[1] == '\0' ? NULL : mem_strdup(edit->ini, equal + 1));
        } else if (kind == SECTION_DB && conninfo_is_uri(word)) {
            ini_set(edit->ini, edit->title, "conninfo", mem_strdup(edit->ini, word));
        } else if (kind == SECTION_DB && equal != NULL &&
                   conninfo_is_keyword(word, (size_t)(equal - word))) {
            if (!set_conninfo_word(edit, word, err))
                return false;
        } else if (kind == SECTION_GROUP && equal == NULL) {
            str_fmt(members, "%s%s", members->len > 0 ? ", " : "", word);
        } else {
            return unknown_word(kind, word, err);
        }
    }
    if (members->len > 0)
        ini_set(edit->ini, edit->title, "members", mem_strdup(edit->ini, members->text));
    return true;
}

bool conf_add(const void *ctx, const char *path, SectionKind kind, const char *const *words,
              size_t n, const char **ret_title, Err *err)
{
    Edit edit;

    if (!open_edit(ctx, path, true, &edit, err) || !make_title(ctx, &edit, kind, words, n, err))
        return false;
    if (line_of(&edit) > 0) {
        err_set(err, ERR_USAGE, "%s:%d: [%s] is there already", path, line_of(&edit), edit.title);
        return err_hint(err, "\"pgtandem update\" changes it.");
    }
    if (n == edit.n_names)
        return err_set(err, ERR_USAGE, "%s needs settings, written key=value", edit.title);
    if (!set_words(&edit, kind, words, n, err))
        return false;
    if (line_of(&edit) == 0)
        return err_set(err, ERR_USAGE, "%s needs settings, and all values are empty", edit.title);
    if (!close_edit(&edit, err))
        return false;
    *ret_title = edit.title;
    return true;
}

bool conf_update(const void *ctx, const char *path, SectionKind kind, const char *const *words,
                 size_t n, const char **ret_title, Err *err)
{
    Edit edit;

    if (!open_edit(ctx, path, false, &edit, err) || !make_title(ctx, &edit, kind, words, n, err) ||
        !require_section(&edit, err))
        return false;
    if (n == edit.n_names)
        return err_set(err, ERR_USAGE, "update needs settings, written key=value");
    if (!set_words(&edit, kind, words, n, err) || !close_edit(&edit, err))
        return false;
    *ret_title = edit.title;
    return true;
}

/* rules for tables of a sync go with it */
static void remove_rules(Edit *edit, const char *sync)
{
    AUTO_CTX(tmp, NULL);
    const char *prefix = mem_printf(tmp, "table %s ", sync);

    for (size_t i = 0; i < edit->ini->n;) {
        const IniLine *line = &edit->ini->lines[i];

        if (line->kind == INI_SECTION && str_starts(line->section, prefix)) {
            ini_remove_section(edit->ini, line->section);
            i = 0;
        } else {
            i++;
        }
    }
}

/* whether a list of databases, groups or sets has that name, with or without a role */
static bool list_has(const char *list, const char *name)
{
    AUTO_CTX(tmp, NULL);
    size_t n, len = strlen(name);
    const char **words = split_list(tmp, list, &n);

    for (size_t i = 0; i < n; i++)
        if (strncmp(words[i], name, len) == 0 && (words[i][len] == '\0' || words[i][len] == ':'))
            return true;
    return false;
}

static bool line_uses(const IniLine *line, SectionKind kind, const char *name)
{
    if (line->kind != INI_KEY || line->section == NULL)
        return false;
    bool sync = str_starts(line->section, "sync ");
    const char *dot = strchr(line->key, '.');

    if (kind == SECTION_TABLES)
        return sync && strcmp(line->key, "tables") == 0 && list_has(line->value, name);
    if (sync && (strcmp(line->key, "dbs") == 0 ||
                 (kind == SECTION_DB && strcmp(line->key, "conflict") == 0)))
        return list_has(line->value, name);
    return kind == SECTION_DB &&
           ((str_starts(line->section, "group ") && strcmp(line->key, "members") == 0 &&
             list_has(line->value, name)) ||
            (str_starts(line->section, "table ") && dot != NULL && strcmp(dot + 1, name) == 0));
}

/* a sync is used by nothing but its rules, and they go with it */
static bool refuse_if_used(const Edit *edit, SectionKind kind, const char *name, Err *err)
{
    bool used = false;

    if (kind != SECTION_DB && kind != SECTION_GROUP && kind != SECTION_TABLES)
        return true;
    for (size_t i = 0; i < edit->ini->n; i++) {
        const IniLine *line = &edit->ini->lines[i];

        if (!line_uses(line, kind, name))
            continue;
        if (!used)
            err_set(err, ERR_USAGE, "%s is in use", edit->title);
        used = true;
        err_detail(err, "%s:%zu: %s of [%s].", edit->path, i + 1, line->key, line->section);
    }
    return !used || err_hint(err, "Change or remove these first. Nothing was changed.");
}

bool conf_remove(const void *ctx, const char *path, SectionKind kind, const char *const *words,
                 size_t n, const char **ret_title, Err *err)
{
    Edit edit;

    if (!open_edit(ctx, path, false, &edit, err) || !make_title(ctx, &edit, kind, words, n, err) ||
        !require_section(&edit, err))
        return false;
    if (n > edit.n_names)
        return err_set(err, ERR_USAGE, "remove takes no settings");
    if (!refuse_if_used(&edit, kind, words[0], err))
        return false;
    ini_remove_section(edit.ini, edit.title);
    if (kind == SECTION_SYNC)
        remove_rules(&edit, words[0]);
    if (!close_edit(&edit, err))
        return false;
    *ret_title = edit.title;
    return true;
}

bool conf_set(const char *path, const char *title, const char *key, const char *value, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Edit edit;

    if (!open_edit(tmp, path, false, &edit, err))
        return false;
    edit.title = title;
    if (!require_section(&edit, err))
        return false;
    ini_set(edit.ini, title, key, value);
    return close_edit(&edit, err);
}
