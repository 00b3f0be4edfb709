/*
 * What to do about a server's error: the only table that decides it.
 */
#ifndef PG_SQLSTATE_H
#define PG_SQLSTATE_H

#include "base/err.h"

typedef enum Remedy {
    REMEDY_RETRY, /* the same again on the same connection after a pause: deadlock, lock timeout */
    REMEDY_RECONNECT, /* a new connection after a pause: server restarts, terminated backends */
    REMEDY_CONFLICT,  /* rows collide: another way of applying them */
    REMEDY_GIVE_UP    /* a person has to look */
} Remedy;

Remedy err_remedy(const Err *err);

#define SQLSTATE_LOCK_NOT_AVAILABLE "55P03"
#define SQLSTATE_DEADLOCK "40P01"
#define SQLSTATE_QUERY_CANCELED "57014"
#define SQLSTATE_FOREIGN_KEY "23503"
#define SQLSTATE_INSUFFICIENT_PRIVILEGE "42501"
#define SQLSTATE_FEATURE_NOT_SUPPORTED "0A000"
#define SQLSTATE_NOT_PREPARED_FOR "55000" /* object_not_in_prerequisite_state */
#define SQLSTATE_UNDEFINED_TABLE "42P01"
#define SQLSTATE_UNDEFINED_SCHEMA "3F000"
#define SQLSTATE_DEPENDENT "2BP01" /* dependent_objects_still_exist */
/* what the fence raises: read_only_sql_transaction, which drivers and poolers know */
#define SQLSTATE_FENCE "25006"

bool err_is(const Err *err, const char *sqlstate);

#endif
