/* The configuration's model: see service.h. */
#include "model/service.h"

#include <string.h>

const Db *service_db(const Service *service, const char *name)
{
    for (size_t i = 0; i < service->n_dbs; i++)
        if (strcmp(service->dbs[i].name, name) == 0)
            return &service->dbs[i];
    return NULL;
}

const Sync *service_sync(const Service *service, const char *name)
{
    for (size_t i = 0; i < service->n_syncs; i++)
        if (strcmp(service->syncs[i].name, name) == 0)
            return &service->syncs[i];
    return NULL;
}

size_t sync_sources(const Sync *sync)
{
    size_t n = 0;

    for (size_t i = 0; i < sync->n_members; i++)
        n += sync->members[i].role == ROLE_SOURCE ? 1 : 0;
    return n;
}

/* * is any text, ? one byte that is no continuation of a UTF-8 character */
static bool matches(const char *glob, const char *text)
{
    for (; *glob != '\0'; glob++) {
        if (*glob == '*') {
            for (;; text++) {
                if (matches(glob + 1, text))
                    return true;
                if (*text == '\0')
                    return false;
            }
        }
        if (*text == '\0' || (*glob != '?' && *glob != *text))
            return false;
        for (text++; *glob == '?' && ((unsigned char)*text & 0xC0) == 0x80;)
            text++;
    }
    return *text == '\0';
}

static bool fits(bool glob, const char *pattern, const char *text)
{
    return glob ? matches(pattern, text) : strcmp(pattern, text) == 0;
}

static bool is_among(const Pattern *patterns, size_t n, const char *schema, const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (fits(patterns[i].schema_glob, patterns[i].schema, schema) &&
            fits(patterns[i].name_glob, patterns[i].name, name))
            return true;
    return false;
}

bool sync_takes(const Sync *sync, const char *schema, const char *name)
{
    return (sync->all || is_among(sync->include, sync->n_include, schema, name)) &&
           !is_among(sync->exclude, sync->n_exclude, schema, name);
}

bool pattern_is_name(const Pattern *pattern)
{
    return !pattern->schema_glob && !pattern->name_glob;
}

const TableRule *sync_rule(const Sync *sync, const char *schema, const char *name, const Db *target)
{
    const TableRule *general = NULL;

    for (size_t i = 0; i < sync->n_rules; i++) {
        const TableRule *rule = &sync->rules[i];

        if (strcmp(rule->schema, schema) != 0 || strcmp(rule->name, name) != 0)
            continue;
        if (rule->db == target)
            return rule;
        if (rule->db == NULL)
            general = rule;
    }
    return general;
}

const char *role_name(Role role)
{
    return role == ROLE_SOURCE ? "source" : role == ROLE_TARGET ? "target" : "fullcopy";
}
