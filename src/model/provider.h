/*
 * Managed services: what their customers have to do where others ask a superuser. The service is
 * recognised by the roles that it makes (the query `provider`); none of them was ever tried, see
 * doc/guide-providers.md for what is known and from where.
 */
#ifndef MODEL_PROVIDER_H
#define MODEL_PROVIDER_H

#include <stdbool.h>

#include "sql/queries.h"

/*
 * a sentence without its full stop: how our role may get to set session_replication_role, or that it
 * cannot
 */
const char *provider_allow_replica(const void *ctx, const ProviderRow *provider,
                                   bool has_parameter_rights);

/* the role whose members may do what our role may not, or NULL: GRANT it TO provider->role_name */
const char *provider_admin_role(const ProviderRow *provider);

#endif
