/*
 * Runs the checks of check/ on a run's nodes and tells what they found.
 */
#ifndef MIGRATE_PREFLIGHT_H
#define MIGRATE_PREFLIGHT_H

#include "migrate/run.h"

/* logs every finding; ERR_REFUSED when one of them stands in the way. Changes nothing. */
CHECKED bool preflight(Run *run, Err *err);

#endif
