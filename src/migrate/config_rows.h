/*
 * Rows that users put into tables of extensions (pg_extension_config_dump): table_is_config(). The first copy of
 * them comes before all other tables, since indexes and checks may need them; later ones are made under the fence
 * (keyless.h), as nothing but a mark tells that they changed.
 *
 * On the target such tables come with their extension, or were there before us, with rows of other users: then those
 * are remembered, and `abort` puts them back.
 */
#ifndef MIGRATE_CONFIG_ROWS_H
#define MIGRATE_CONFIG_ROWS_H

#include "migrate/run.h"

/* what is in the target before us; in the caller's transaction there */
CHECKED bool config_remember(Run *run, Err *err);

/* the first copy, of those that have none yet */
CHECKED bool config_copy(Run *run, Err *err);

/* puts back what config_remember() found, once */
CHECKED bool config_put_back(Run *run, Err *err);

#endif
