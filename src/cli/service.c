/* Commands of the replication service: see service.h. */
#include "cli/service.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/ini.h"
#include "base/log.h"
#include "base/str.h"
#include "base/suggest.h"
#include "conf/conf.h"
#include "conf/conninfo.h"
#include "conf/edit.h"
#include "daemon/commands.h"
#include "migrate/commands.h"

static bool load(const Cli *cli, Service **ret_service, Err *err)
{
    return conf_load(cli, conf_path(cli, cli->config_file), ret_service, err);
}

/* the kind of section that the first argument names */
static bool read_kind(const Cli *cli, SectionKind *ret_kind, Err *err)
{
    const char *word = cli->arguments[0];

    if (section_by_word(word, ret_kind) && *ret_kind != SECTION_SERVICE)
        return true;
    err_set(err, ERR_USAGE, "\"%s\" is nothing that can be configured", word);
    return err_hint(err, "It is one of db, group, tables, table and sync.");
}

static bool is_among(const char *const *words, size_t n, const char *word, size_t len)
{
    for (size_t i = 0; i < n; i++)
        if (strlen(words[i]) == len && memcmp(words[i], word, len) == 0)
            return true;
    return false;
}

/* a mistyped keyword would be found only when somebody connects */
static bool check_keywords(const Cli *cli, Err *err)
{
    AUTO_CTX(tmp, cli);
    size_t n, known;
    const char **keywords = conn_keywords(tmp, &known);

    n = known;
    for (size_t i = 0; i < conf_n_settings; i++)
        if (conf_settings[i].section == SECTION_DB)
            mem_push(tmp, keywords, n, conf_settings[i].name);
    for (size_t i = 2; i < cli->n_arguments; i++) {
        const char *word = cli->arguments[i];
        size_t len = strcspn(word, "=");

        if (word[len] == '\0' || !conninfo_is_keyword(word, len) ||
            is_among(keywords, n, word, len))
            continue;
        const char *near = suggest(word, len, keywords, n);
        err_set(err, ERR_USAGE, "libpq knows no keyword \"%.*s\"", (int)len, word);
        if (near != NULL)
            err_hint(err, "Did you mean %s=…?", near);
        return err_hint(err, "One of a newer libpq can be written as conninfo=\"…\".");
    }
    return true;
}

typedef bool (*EditFunction)(const void *ctx, const char *path, SectionKind kind,
                             const char *const *words, size_t n, const char **ret_title, Err *err);

static bool edit(const Cli *cli, EditFunction function, const char *done, Err *err)
{
    SectionKind kind;
    const char *title, *path = conf_path(cli, cli->config_file);

    if (!read_kind(cli, &kind, err) || (kind == SECTION_DB && !check_keywords(cli, err)) ||
        !function(cli, path, kind, cli->arguments + 1, cli->n_arguments - 1, &title, err))
        return false;
    printf("%s: %s %s\n", path, done, title);
    return true;
}

bool cli_add(const Cli *cli, Err *err)
{
    return edit(cli, conf_add, "added", err);
}

bool cli_update(const Cli *cli, Err *err)
{
    return edit(cli, conf_update, "changed", err);
}

/* what a sync has in the databases goes first: once it is out of the file, nobody knows where that is */
static bool remove_from_databases(const Cli *cli, bool *ret_in_file, Err *err)
{
    Service *service;

    if (!load(cli, &service, err))
        return false;
    *ret_in_file = service_sync(service, cli->arguments[1]) != NULL;
    return service_remove_sync(cli, service, cli->arguments[1], cli->force, err);
}

/* what edges that were in the file before may have left in the database */
static bool remove_rests(const Cli *cli, Err *err)
{
    AUTO_CTX(tmp, cli);
    Err *problem = err_new(tmp);
    Service *service;

    if (!load(cli, &service, problem)) {
        /* so that a section can be removed because of which the file is wrong */
        log_warn(
            "the file has problems, so nobody looks whether something is left in the database");
        return true;
    }
    return service_remove_db(cli, service, cli->arguments[1], cli->force, err);
}

static void reload_if_running(const Cli *cli)
{
    AUTO_CTX(tmp, cli);
    Err *err = err_new(tmp);
    Service *service;

    /* a service that does not run here needs no reload */
    if (!load(cli, &service, err) || !service_reload(service, err))
        return;
}

bool cli_remove(const Cli *cli, Err *err)
{
    SectionKind kind;
    bool in_file = true;

    if (!read_kind(cli, &kind, err))
        return false;
    if (kind == SECTION_SYNC && cli->n_arguments == 2 && !remove_from_databases(cli, &in_file, err))
        return false;
    if (!in_file) {
        printf("removed what sync %s had left in the databases\n", cli->arguments[1]);
        return true;
    }
    if (kind == SECTION_DB && cli->n_arguments == 2 && !remove_rests(cli, err))
        return false;
    if (!edit(cli, conf_remove, "removed", err))
        return false;
    reload_if_running(cli);
    return true;
}

/* a text that need not be UTF-8 */
static json_t *json_text(const char *text)
{
    AUTO_CTX(tmp, NULL);
    json_t *json = json_string(text);

    if (json != NULL)
        return json;
    char *ascii = mem_strdup(tmp, text);
    for (char *p = ascii; *p != '\0'; p++)
        if ((unsigned char)*p > 127)
            *p = '?';
    return mem_or_die(json_string(ascii));
}

/* how a setting may be shown: neither passwords, nor what may be one because its key is mistyped */
static const char *shown_value(const void *ctx, SectionKind kind, const IniLine *line)
{
    const Setting *setting = setting_find(kind, line->key, strcspn(line->key, "."));
    ConnSpec spec = {.conninfo = line->value, .label = "database"};

    if (setting == NULL)
        return NULL;
    return setting->type == SETTING_CONNINFO ? conn_spec_safe(ctx, &spec) : line->value;
}

/* the sections that a list is of */
typedef struct Listing {
    const Ini *ini;
    bool all;
    SectionKind kind;
    const char *pattern; /* of the name, or NULL */
} Listing;

/* whether line i begins one of them; *ret_name is what stands behind the section's first word */
static bool is_listed(const Listing *list, size_t i, SectionKind *ret_kind, const char **ret_name)
{
    AUTO_CTX(tmp, NULL);
    const IniLine *line = &list->ini->lines[i];

    if (line->kind != INI_SECTION)
        return false;
    size_t len = strcspn(line->section, " ");
    const char *word = mem_strndup(tmp, line->section, len);

    *ret_name = line->section + len + strspn(line->section + len, " ");
    for (int kind = 0; kind < N_SECTION_KINDS; kind++)
        if (strcmp(section_word((SectionKind)kind), word) == 0) {
            *ret_kind = (SectionKind)kind;
            return (list->all || *ret_kind == list->kind) &&
                   (list->pattern == NULL || glob_matches(list->pattern, *ret_name));
        }
    return false;
}

static void list_text(const Listing *list, size_t at, SectionKind kind)
{
    printf("[%s]\n", list->ini->lines[at].section);
    for (size_t i = at + 1; i < list->ini->n && list->ini->lines[i].kind != INI_SECTION; i++) {
        AUTO_CTX(tmp, NULL);
        const IniLine *line = &list->ini->lines[i];
        const char *value = line->kind == INI_KEY ? shown_value(tmp, kind, line) : NULL;

        if (value != NULL)
            printf("    %s = %s\n", line->key, value);
    }
}

static json_t *list_json(const Listing *list, size_t at, SectionKind kind, const char *name)
{
    json_t *settings = mem_or_die(json_object());

    for (size_t i = at + 1; i < list->ini->n && list->ini->lines[i].kind != INI_SECTION; i++) {
        AUTO_CTX(tmp, NULL);
        const IniLine *line = &list->ini->lines[i];
        const char *value = line->kind == INI_KEY ? shown_value(tmp, kind, line) : NULL;

        if (value != NULL && json_object_set_new(settings, line->key, json_text(value)) != 0)
            mem_or_die(NULL);
    }
    return mem_or_die(json_pack("{s:s, s:o, s:i, s:o}", "kind", section_word(kind), "name",
                                json_text(name), "line", (int)at + 1, "settings", settings));
}

static void print_json(json_t *json)
{
    char *text = mem_or_die(json_dumps(json, JSON_INDENT(2)));

    puts(text);
    free(text);
    json_decref(json);
}

bool cli_list(const Cli *cli, Err *err)
{
    Listing list = {
        .all = cli->n_arguments == 0 || strcmp(cli->arguments[0], "all") == 0,
        .pattern = cli->n_arguments > 1 ? cli->arguments[1] : NULL,
    };
    const char *name, *path = conf_path(cli, cli->config_file);
    SectionKind kind;
    Ini *ini;

    if ((!list.all && !read_kind(cli, &list.kind, err)) || !conf_read_lines(cli, path, &ini, err))
        return false;
    list.ini = ini;
    json_t *array = mem_or_die(json_array());
    for (size_t i = 0; i < ini->n; i++) {
        if (!is_listed(&list, i, &kind, &name))
            continue;
        if (!cli->config.json)
            list_text(&list, i, kind);
        else if (json_array_append_new(array, list_json(&list, i, kind, name)) != 0)
            mem_or_die(NULL);
    }
    if (cli->config.json)
        print_json(array);
    else
        json_decref(array);
    return true;
}

bool cli_validate(const Cli *cli, Err *err)
{
    Service *service;

    return load(cli, &service, err) && service_validate(service, err);
}

bool cli_start(const Cli *cli, Err *err)
{
    Service *service;

    return load(cli, &service, err) && service_start(service, cli->daemon, err);
}

bool cli_stop(const Cli *cli, Err *err)
{
    Service *service;

    return load(cli, &service, err) && service_stop(service, err);
}

bool cli_reload(const Cli *cli, Err *err)
{
    Service *service;

    return load(cli, &service, err) && service_reload(service, err);
}

bool cli_kick(const Cli *cli, Err *err)
{
    Service *service;

    return load(cli, &service, err) &&
           service_kick(service, cli->arguments, cli->n_arguments, cli->wait_ms, err);
}

bool cli_pause(const Cli *cli, Err *err)
{
    Service *service;

    return load(cli, &service, err) &&
           service_pause(service, cli->arguments, cli->n_arguments, true, cli->wait_ms, err);
}

bool cli_resume(const Cli *cli, Err *err)
{
    Service *service;

    return load(cli, &service, err) &&
           service_pause(service, cli->arguments, cli->n_arguments, false, 0, err);
}

static bool set_status(const Cli *cli, const char *status, Err *err)
{
    const char *path = conf_path(cli, cli->config_file);

    for (size_t i = 0; i < cli->n_arguments; i++) {
        const char *title = mem_printf(cli, "sync %s", cli->arguments[i]);

        if (!conf_set(path, title, "status", status, err))
            return false;
        printf("%s: %s is %s\n", path, title, status);
    }
    reload_if_running(cli);
    return true;
}

bool cli_activate(const Cli *cli, Err *err)
{
    return set_status(cli, "active", err);
}

bool cli_deactivate(const Cli *cli, Err *err)
{
    return set_status(cli, "inactive", err);
}

bool cli_recopy(const Cli *cli, Err *err)
{
    Service *service;

    return load(cli, &service, err) &&
           service_recopy(service, cli->arguments[0], cli->arguments + 1, cli->n_arguments - 1,
                          err);
}

bool cli_status(const Cli *cli, Err *err)
{
    Service *service;

    if (cli->config.source.conninfo != NULL)
        return migrate_status(&cli->config, err);
    return load(cli, &service, err) &&
           service_status(service, cli->arguments, cli->n_arguments, cli->config.json, err);
}

bool cli_import_bucardo(const Cli *cli, Err *err)
{
    return service_import_bucardo(cli->arguments[0], conf_path(cli, cli->config_file), err);
}

bool cli_conflicts(const Cli *cli, Err *err)
{
    Service *service;

    return load(cli, &service, err) &&
           service_conflicts(service, cli->arguments, cli->n_arguments, cli->config.json, err);
}

bool cli_edge(const Cli *cli, Err *err)
{
    Service *service;

    return load(cli, &service, err) &&
           service_edge(service, cli->arguments[0], cli->arguments[1], cli->arguments[2], err);
}

bool cli_keeper(const Cli *cli, Err *err)
{
    Service *service;

    return load(cli, &service, err) && service_keeper(service, err);
}
