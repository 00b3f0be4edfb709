/*
 * PgBouncer's configuration file: which entries of its [databases] lead to databases that move, and
 * how to make them lead to their new nodes. Only these entries change; everything else stays byte
 * for byte as it was.
 *
 *     PoolerIni *ini = pooler_ini_read(ctx, path, err);
 *     pooler_ini_plan(ini, moves, n, err) && pooler_ini_write(ini, false, err)
 */
#ifndef MIGRATE_POOLER_INI_H
#define MIGRATE_POOLER_INI_H

#include "migrate/pooler.h"

typedef struct PoolerIni PoolerIni;

/* what the entry "*" does with clients of a node */
typedef enum IniFallback {
    INI_FALLBACK_NONE,  /* nothing */
    INI_FALLBACK_NAMED, /* leads to it those who ask for a database of the same name */
    INI_FALLBACK_ALL    /* leads to it under whatever name is asked for */
} IniFallback;

/* reads the file and those that it includes */
CHECKED PoolerIni *pooler_ini_read(const void *ctx, const char *path, Err *err);

/* what "*" does for this node */
IniFallback pooler_ini_fallback(const PoolerIni *ini, const Address *node);

/* whether there is an entry "*" */
bool pooler_ini_has_fallback(const PoolerIni *ini);

/*
 * Works out the new texts. ERR_STATE when of none of the moves an entry leads to `from` or to `to`
 * already. When only a "*" without dbname leads to `from`, the database gets an entry of its own, so
 * that others behind "*" stay where they are.
 */
CHECKED bool pooler_ini_plan(PoolerIni *ini, const Move *moves, size_t n, Err *err);

/* whether an entry leads to the database of the i-th move, before or after */
bool pooler_ini_leads(const PoolerIni *ini, size_t i);

/* whether an entry leads to a database of that name, wherever that is */
bool pooler_ini_mentions(const PoolerIni *ini, const char *dbname);

/* entries that the plan changes or adds */
size_t pooler_ini_changes(const PoolerIni *ini);

/* the planned text of the file itself (not of those it includes), for tests */
const char *pooler_ini_text(const PoolerIni *ini);

/*
 * Replaces the files whose text changes, each at once (a new file beside it, renamed over it) and
 * with the same owner and mode. A rehearsal does all but the rename, so that what stands in the way
 * is known early.
 */
CHECKED bool pooler_ini_write(const PoolerIni *ini, bool rehearsal, Err *err);

/*
 * Whether host, port (of both NULL or "" is PgBouncer's default) and database name are those of
 * node. The names of the loopback address are the same, so are the spellings of a socket directory.
 */
bool pooler_address_is(const char *host, const char *port, const char *dbname, const Address *node);

#endif
