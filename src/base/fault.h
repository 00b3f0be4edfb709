/*
 * Fault points: places where the crash tests stop, fail or kill the program. PGTANDEM_FAULT holds a
 * comma separated list of NAME[:ACTION[:NTH]] with the actions kill (default), error, exit and
 * sleep=MS; NTH says at which pass of the point it happens (1 unless given). Costs one string test
 * when the variable is not set.
 */
#ifndef BASE_FAULT_H
#define BASE_FAULT_H

#include "base/err.h"
#include "base/mem.h"

/* passes the fault point; false with ERR_IO when the test asked for an error here */
CHECKED bool fault(const char *name, Err *err);

#endif
