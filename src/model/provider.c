/* Managed services: see provider.h. */
#include "model/provider.h"

#include <string.h>

#include "base/mem.h"

static const struct {
    const char *name, *admin_role;
    const char *allow_replica; /* %s is our role */
} providers[] = {
    {"rds", "rds_superuser", "An administrator can allow it: GRANT rds_superuser TO %s"},
    {"cloudsql", "cloudsqlsuperuser", "An administrator can allow it: ALTER ROLE %s REPLICATION"},
    {"azure", "azure_pg_admin", "An administrator can allow it: GRANT azure_pg_admin TO %s"},
    {"heroku", NULL, "Heroku allows it to nobody"},
};

const char *provider_allow_replica(const void *ctx, const ProviderRow *provider,
                                   bool has_parameter_rights)
{
    for (size_t i = 0; i < sizeof providers / sizeof *providers; i++) {
        if (strcmp(providers[i].name, provider->name) != 0)
            continue;
        const char *text = providers[i].allow_replica, *role = strstr(text, "%s");
        return role == NULL ? text
                            : mem_printf(ctx, "%.*s%s%s", (int)(role - text), text,
                                         provider->role_name, role + 2);
    }
    if (!has_parameter_rights)
        return "Before PostgreSQL 15 only superusers may";
    return mem_printf(
        ctx, "A superuser can allow it: GRANT SET ON PARAMETER session_replication_role TO %s",
        provider->role_name);
}

const char *provider_admin_role(const ProviderRow *provider)
{
    for (size_t i = 0; i < sizeof providers / sizeof *providers; i++)
        if (strcmp(providers[i].name, provider->name) == 0)
            return providers[i].admin_role;
    return NULL;
}
