/*
 * Numbers of sequences between several sources. They are not carried there, so each node has to give numbers
 * of its own: a step of at least the number of nodes, and another remainder on each.
 */
#ifndef DAEMON_INTERLEAVE_H
#define DAEMON_INTERLEAVE_H

#include "model/service.h"
#include "pg/conn.h"

/*
 * Prints the statements that make the sequences of a sync give different numbers on its sources, for those
 * that do not. conns: one for each member of the sync, NULL where it is no source.
 */
CHECKED bool interleave_advise(const Sync *sync, Conn *const *conns, Err *err);

#endif
