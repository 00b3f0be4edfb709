/*
 * Whether a table's rows may travel in COPY's binary format: the one place that knows which types
 * have a binary form that says the same on both nodes.
 */
#ifndef MODEL_BINARY_H
#define MODEL_BINARY_H

#include "model/table.h"

/*
 * True when every column that travels is of such a type on both nodes, and at least one of them is
 * the faster for it. The caller has to make sure that the two servers fit: conn_binary_fits().
 */
bool pair_is_binary(const TablePair *pair);

#endif
