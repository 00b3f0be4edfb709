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

bool sync_takes(const Sync *sync, const char *schema, const char *name)
{
    return selection_takes(&sync->tables, schema, name);
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
