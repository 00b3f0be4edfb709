/*
 * Syncs that get into each other's way: two edges that write the same tables, and cascades in a circle.
 * Only what the file alone decides; it does not know which tables there are.
 */
#ifndef CONF_OVERLAP_H
#define CONF_OVERLAP_H

#include "model/service.h"

/* line: where the second of two syncs stands; other: the first one, or 0 */
typedef void OverlapReport(void *to, int line, int other, const char *text);

void find_overlaps(const Service *service, OverlapReport *report, void *to);

#endif
