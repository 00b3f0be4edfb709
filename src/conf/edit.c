/* Editing the configuration file: see edit.h. */
#include "conf/edit.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/ini.h"
#include "base/str.h"
#include "conf/conf.h"
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
    if (may_be_new && access(path, F_OK) != 0)
        ret_edit->ini = ini_parse(ctx, "");
    else if (access(path, F_OK) != 0) {
        err_set(err, ERR_USAGE, "there is no configuration file %s", path);
        return err_hint(err, "\"pgtandem add db\" makes it; --config names another one.");
    } else if (!ini_read(ctx, path, &ret_edit->ini, err)) {
        return false;
    }
    Ini *copy = ini_parse(ctx, ini_text(ctx, ret_edit->ini));
    conf_parse(ctx, path, copy, &ret_edit->before, &ret_edit->n_before);
    return true;
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
    if (kind == SECTION_TABLE) {
        edit->title = mem_printf(ctx, "table %s %s", words[0], words[1]);
        return true;
    }
    if (!name_is_valid(words[0])) {
        err_set(err, ERR_USAGE, "\"%s\" is no name of a %s", words[0], section_word(kind));
        return err_hint(err, "It begins with a letter and has letters, digits, _ and - only.");
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

/* writes the file unless it has more problems than before */
static bool close_edit(const Edit *edit, Err *err)
{
    AUTO_CTX(tmp, NULL);
    const char *text = ini_text(tmp, edit->ini);
    Problem *after, *added = NULL;
    size_t n_after, n_added = 0;

    conf_parse(tmp, edit->path, ini_parse(tmp, text), &after, &n_after);
    for (size_t i = 0; i < n_after; i++) {
        bool known = false;

        for (size_t b = 0; b < edit->n_before && !known; b++)
            known = strcmp(edit->before[b].text, after[i].text) == 0;
        if (!known)
            mem_push(tmp, added, n_added, after[i]);
    }
    if (n_added == 0)
        return ini_write(edit->path, text, err);
    err_set(err, ERR_USAGE, "that would leave %zu problem%s in %s", n_added,
            n_added == 1 ? "" : "s", edit->path);
    for (size_t i = 0; i < n_added; i++)
        err_detail(err, "[line %d would say] %s.", after == NULL ? 0 : added[i].line,
                   added[i].text);
    return err_hint(err, "Nothing was changed.");
}

/* keyword=value, in quotes where libpq needs them */
static void add_conninfo_word(Str *conninfo, const char *word)
{
    const char *value = strchr(word, '=') + 1;

    if (conninfo->len > 0)
        str_char(conninfo, ' ');
    str_bytes(conninfo, word, (size_t)(value - word));
    if (value[0] != '\0' && strcspn(value, " '\\") == strlen(value))
        str_add(conninfo, value);
    else
        str_conninfo_value(conninfo, value);
}

static bool is_uri(const char *word)
{
    return str_starts(word, "postgresql://") || str_starts(word, "postgres://");
}

/* the setting that a word key=value is of, or NULL */
static const Setting *setting_of(SectionKind kind, const char *word)
{
    size_t len = strcspn(word, "=");
    size_t dot = strcspn(word, ".=");

    return word[len] == '=' ? setting_find(kind, word, dot) : NULL;
}

/* the words behind the names: settings, and what stands for one without its name */
static bool set_words(Edit *edit, SectionKind kind, const char *const *words, size_t n, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Str *conninfo = str_new(tmp), *members = str_new(tmp);

    for (size_t i = edit->n_names; i < n; i++) {
        const char *word = words[i], *equal = strchr(word, '=');

        if (strpbrk(word, "\r\n") != NULL)
            return err_set(err, ERR_USAGE, "a setting cannot hold a line break");
        if (setting_of(kind, word) != NULL)
            ini_set(edit->ini, edit->title, mem_strndup(edit->ini, word, (size_t)(equal - word)),
                    equal[1] == '\0' ? NULL : mem_strdup(edit->ini, equal + 1));
        else if (kind == SECTION_DB && is_uri(word))
            ini_set(edit->ini, edit->title, "conninfo", mem_strdup(edit->ini, word));
        else if (kind == SECTION_DB && equal != NULL)
            add_conninfo_word(conninfo, word);
        else if (kind == SECTION_GROUP && equal == NULL)
            str_fmt(members, "%s%s", members->len > 0 ? ", " : "", word);
        else {
            /* the value may be secret */
            err_set(err, ERR_USAGE, "there is no setting \"%.*s\" in [%s …]",
                    (int)strcspn(word, "="), word, section_word(kind));
            return err_hint(err, "Settings are written key=value; the manual page lists them.");
        }
    }
    if (conninfo->len > 0)
        ini_set(edit->ini, edit->title, "conninfo", mem_strdup(edit->ini, conninfo->text));
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
    if (!set_words(&edit, kind, words, n, err) || !close_edit(&edit, err))
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

bool conf_remove(const void *ctx, const char *path, SectionKind kind, const char *const *words,
                 size_t n, const char **ret_title, Err *err)
{
    Edit edit;

    if (!open_edit(ctx, path, false, &edit, err) || !make_title(ctx, &edit, kind, words, n, err) ||
        !require_section(&edit, err))
        return false;
    if (n > edit.n_names)
        return err_set(err, ERR_USAGE, "remove takes no settings");
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
