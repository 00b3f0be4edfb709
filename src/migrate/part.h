/*
 * The end of a run that moves a part of a database: its copy is taken out of a target in which other things are,
 * and may have come meanwhile.
 */
#ifndef MIGRATE_PART_H
#define MIGRATE_PART_H

#include "migrate/run.h"

/*
 * Drops from the target what the run made there, and nothing else: what others have built on it stays, and is an
 * error that names it. Idempotent.
 */
CHECKED bool part_remove(Run *run, Err *err);

#endif
