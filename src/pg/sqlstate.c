/* Remedies by SQLSTATE: see sqlstate.h. Longest prefix wins. */
#include "pg/sqlstate.h"

#include <string.h>

static const struct {
    const char *prefix;
    Remedy remedy;
} remedies[] = {
    {"08", REMEDY_RECONNECT},    /* connection exceptions */
    {"53300", REMEDY_RECONNECT}, /* too many connections */
    {"53", REMEDY_RETRY},        /* out of disk or memory: may pass, an operator is told */
    {"57P01", REMEDY_RECONNECT}, /* admin_shutdown: terminated backend, restart */
    {"57P02", REMEDY_RECONNECT}, /* crash_shutdown */
    {"57P03", REMEDY_RECONNECT}, /* cannot_connect_now: starting up */
    {"57P05", REMEDY_RECONNECT}, /* idle_session_timeout */
    {"25P03", REMEDY_RECONNECT}, /* idle_in_transaction_session_timeout */
    {"25P04", REMEDY_RECONNECT}, /* transaction_timeout */
    {"57014", REMEDY_RETRY},     /* query_canceled: somebody's pg_cancel_backend */
    {"40", REMEDY_RETRY},        /* serialization failure, deadlock */
    {"55P03", REMEDY_RETRY},     /* lock_not_available */
    {"55006", REMEDY_RETRY},     /* object_in_use */
    {"72000", REMEDY_RETRY},     /* snapshot_too_old */
    {"23505", REMEDY_CONFLICT},  /* unique_violation */
    {"23P01", REMEDY_CONFLICT},  /* exclusion_violation */
};

Remedy err_remedy(const Err *err)
{
    Remedy best = REMEDY_GIVE_UP;
    size_t best_len = 0;

    if (err->kind == ERR_CONNECT)
        return REMEDY_RECONNECT;
    if (err->kind != ERR_SQL)
        return REMEDY_GIVE_UP;
    for (size_t i = 0; i < sizeof remedies / sizeof *remedies; i++) {
        size_t len = strlen(remedies[i].prefix);

        if (len > best_len && strncmp(err->sqlstate, remedies[i].prefix, len) == 0) {
            best = remedies[i].remedy;
            best_len = len;
        }
    }
    return best;
}

bool err_is(const Err *err, const char *sqlstate)
{
    return err->kind == ERR_SQL && strcmp(err->sqlstate, sqlstate) == 0;
}
