/* The fuse: see fuse.h. */
#include "daemon/fuse.h"

#include "base/log.h"
#include "base/str.h"
#include "capture/queue.h"
#include "sql/queries.h"

enum { WARN_PERCENT = 80, GRACE_S = 300 };

static bool detach(Conn *from, const char *edge, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Sql *q = sql_new(tmp);

    sql_add(q, "UPDATE pgtandem.consumer SET detached = true, detached_at = clock_timestamp() "
               "WHERE edge = ");
    sql_text(q, edge);
    return conn_exec(from, q, err);
}

/*
 * Who is farthest behind (it comes first) has confirmed nothing for a while, so it is not just about to;
 * and after one was detached the queue gets time to be purged before another one has to go.
 */
static bool may_detach(const Db *db, const ConsumersRow *consumers, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!consumers[i].detached_s_null && consumers[i].detached_s < GRACE_S)
            return false;
    return !consumers[0].detached && consumers[0].stale_s * 1000 > (double)db->queue_patience_ms;
}

bool fuse_check(Conn *from, const Db *db, bool *warned, Err *err)
{
    AUTO_CTX(tmp, NULL);
    ConsumersRow *consumers;
    int64_t bytes;
    size_t n;

    if (db->queue_limit <= 0)
        return true;
    if (!queue_bytes(from, &bytes, err))
        return false;
    if (bytes * 100 < db->queue_limit * WARN_PERCENT) {
        *warned = false;
        return true;
    }
    if (bytes <= db->queue_limit) {
        if (!*warned)
            log_warn("the queue of the %s has %s of its limit of %s", conn_label(from),
                     str_bytes_human(tmp, bytes), str_bytes_human(tmp, db->queue_limit));
        *warned = true;
        return true;
    }
    /* perhaps nobody needs it any more */
    if (!queue_purge(from, NULL, NULL, err) || !queue_bytes(from, &bytes, err) ||
        !q_consumers(tmp, from, &consumers, &n, err))
        return false;
    if (bytes <= db->queue_limit || n == 0 || !may_detach(db, consumers, n))
        return true;
    log_error("the queue of the %s is larger than its limit of %s: %s is farthest behind and is "
              "detached; "
              "its changes are not kept any more, \"pgtandem recopy\" brings it back",
              conn_label(from), str_bytes_human(tmp, db->queue_limit), consumers[0].edge);
    return detach(from, consumers[0].edge, err) && queue_purge(from, NULL, NULL, err);
}
