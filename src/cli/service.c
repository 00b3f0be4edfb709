/* Commands of the replication service: see service.h. */
#include "cli/service.h"

#include <stdio.h>
#include <string.h>

#include "base/ini.h"
#include "base/str.h"
#include "conf/conf.h"
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

typedef bool (*EditFunction)(const void *ctx, const char *path, SectionKind kind,
                             const char *const *words, size_t n, const char **ret_title, Err *err);

static bool edit(const Cli *cli, EditFunction function, const char *done, Err *err)
{
    SectionKind kind;
    const char *title, *path = conf_path(cli, cli->config_file);

    if (!read_kind(cli, &kind, err) ||
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
static bool remove_from_databases(const Cli *cli, Err *err)
{
    Service *service;

    return load(cli, &service, err) &&
           service_remove_sync(service, cli->arguments[1], cli->force, err);
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

    if (!read_kind(cli, &kind, err))
        return false;
    if (kind == SECTION_SYNC && cli->n_arguments == 2 && !remove_from_databases(cli, err))
        return false;
    if (!edit(cli, conf_remove, "removed", err))
        return false;
    reload_if_running(cli);
    return true;
}

static void list_section(const Ini *ini, const IniLine *section)
{
    printf("[%s]\n", section->section);
    for (size_t i = 0; i < ini->n; i++) {
        const IniLine *line = &ini->lines[i];

        if (line->kind != INI_KEY || line->section == NULL ||
            strcmp(line->section, section->section) != 0)
            continue;
        AUTO_CTX(tmp, NULL);
        ConnSpec spec = {.conninfo = line->value, .label = "database"};
        /* what is no setting may be a connection string under a mistyped name */
        SectionKind kind;
        bool known =
            section_by_word(mem_strndup(tmp, line->section, strcspn(line->section, " ")), &kind) &&
            setting_find(kind, line->key, strcspn(line->key, ".")) != NULL;
        printf("    %s = %s\n", line->key,
               strcmp(line->key, "conninfo") == 0 ? conn_spec_safe(tmp, &spec)
               : known                            ? line->value
                                                  : "(no setting)");
    }
}

bool cli_list(const Cli *cli, Err *err)
{
    const char *path = conf_path(cli, cli->config_file);
    SectionKind kind = SECTION_SERVICE;
    bool all = cli->n_arguments == 0 || strcmp(cli->arguments[0], "all") == 0;
    Ini *ini;

    if ((!all && !read_kind(cli, &kind, err)) || !ini_read(cli, path, &ini, err))
        return false;
    for (size_t i = 0; i < ini->n; i++) {
        const IniLine *line = &ini->lines[i];
        const char *word = section_word(kind);

        if (line->kind != INI_SECTION)
            continue;
        if (!all && (!str_starts(line->section, word) || line->section[strlen(word)] != ' '))
            continue;
        if (cli->n_arguments > 1 && strstr(line->section + strlen(word), cli->arguments[1]) == NULL)
            continue;
        list_section(ini, line);
    }
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
           service_pause(service, cli->arguments, cli->n_arguments, true, err);
}

bool cli_resume(const Cli *cli, Err *err)
{
    Service *service;

    return load(cli, &service, err) &&
           service_pause(service, cli->arguments, cli->n_arguments, false, err);
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
