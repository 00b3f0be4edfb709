/*
 * Tables without key in a run: small ones are only marked as changed and copied during the write pause,
 * larger ones are followed by value (doc/design/015). Which of both is remembered for each table
 * (pgtandem.tab.followed); there is a way from the first to the second, and none back.
 */
#ifndef MIGRATE_KEYLESS_H
#define MIGRATE_KEYLESS_H

#include "migrate/run.h"

/*
 * Follows those from now on that have grown beyond the limit (Config.follow_keyless_bytes). One that
 * somebody is writing to right now has to wait until the next call; so does everything else that hinders
 * it, except for a lost connection.
 */
CHECKED bool keyless_adopt(Run *run, Err *err);

#endif
