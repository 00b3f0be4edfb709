/*
 * DDL during a run: definitions are compared with fingerprints taken when the copy was made. What
 * changed is carried by ddl.h; what could not be refuses a switch unless the user accepts it
 * (--accept schema-changed), e.g. after making the same change on the other node.
 */
#ifndef MIGRATE_BASELINE_H
#define MIGRATE_BASELINE_H

#include "migrate/run.h"
#include "model/scope.h"
#include "sql/queries.h"

/*
 * stores the fingerprints of a node's definitions on the target, in the target's running
 * transaction if there is one
 */
CHECKED bool baseline_store(Run *run, Side side, Err *err);

/* one node's definitions at one moment */
typedef struct Definitions {
    SchemaPrintsRow
        *prints; /* in the order of objects; those of facts have BASELINE_FACT as entry, */
    size_t n_prints;
    DefinitionFactsRow *facts; /* which are here in full, in the same order */
    size_t n_facts;
    TableRelationsRow *tables; /* in the order of relid */
    size_t n_tables;
    TableRelationsRow **by_name;
    ColumnDefinitionsRow *columns; /* in the order of relid and number */
    size_t n_columns;
    const Scope *scope; /* what is selected there, or NULL */
} Definitions;

/* the entry of what is said of another object, whose name stands as name; definition is what makes it so */
#define BASELINE_FACT "FACT"

/* remembers objects of a side that it has no line of yet */
CHECKED bool baseline_insert(Conn *target, Side side, const SchemaPrintsRow *prints, size_t n,
                             Err *err);

/* of what is selected (NULL: everything) */
CHECKED bool baseline_read(const void *ctx, Conn *conn, const Selection *selection,
                           Definitions *ret, Err *err);

/* the fingerprint of one object, or NULL */
const SchemaPrintsRow *baseline_find(const Definitions *d, const char *object);

/* the fact of this object, or NULL */
const DefinitionFactsRow *baseline_find_fact(const Definitions *d, const char *object);

const TableRelationsRow *baseline_find_table(const Definitions *d, const char *schema,
                                             const char *name);

/*
 * these objects are in order now, as they are or are not in d, in the target's running transaction;
 * so are the columns of all tables but those listed
 */
CHECKED bool baseline_write(Conn *target, Side side, const Definitions *d,
                            const char *const *objects, size_t n, const int64_t *but, size_t n_but,
                            Err *err);

/*
 * ERR_REFUSED when definitions changed on either node and are not the same on both (see ddl.h), and the
 * user does not accept that, or must not
 */
CHECKED bool baseline_refuse_changes(Run *run, Err *err);

#endif
