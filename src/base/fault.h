/*
 * Fault points: places where the crash tests stop, fail or kill the program. PGTANDEM_FAULT holds a
 * comma separated list of NAME[:ACTION[:NTH]] with the actions kill (default), error, exit and
 * sleep=MS; NTH says at which pass of the point it happens (1 unless given). NAME@WHO is that point in one process only, see
 * fault_set_who(). Costs one string test
 * when the variable is not set.
 */
#ifndef BASE_FAULT_H
#define BASE_FAULT_H

#include "base/err.h"
#include "base/mem.h"

/* passes the fault point; false with ERR_IO when the test asked for an error here */
CHECKED bool fault(const char *name, Err *err);

/* what this process is called, where several do the same at a time */
void fault_set_who(const char *who);

#endif
