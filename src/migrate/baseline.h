/*
 * DDL during a run: definitions are compared with fingerprints taken when the copy was made.
 * Changes are not carried over, so they are told while following and refuse a switch unless the
 * user accepts them (--accept schema-changed), e.g. after making the same change on the other node.
 */
#ifndef MIGRATE_BASELINE_H
#define MIGRATE_BASELINE_H

#include "migrate/run.h"

/*
 * stores the fingerprints of a node's definitions on the target, in the target's running
 * transaction if there is one
 */
CHECKED bool baseline_store(Run *run, Side side, Err *err);

/*
 * logs what changed on the node that takes writes since its baseline; each change once per process
 */
CHECKED bool baseline_warn(Run *run, Err *err);

/* ERR_REFUSED when definitions changed on either node and the user does not accept that */
CHECKED bool baseline_refuse_changes(Run *run, Err *err);

#endif
