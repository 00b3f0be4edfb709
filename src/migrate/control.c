/* Our schema on one node: see control.h. */
#include "migrate/control.h"

#include "capture/capture.h"
#include "sql/queries.h"

bool control_script(Conn *conn, const Query *script, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Sql *q = sql_new(tmp);

    sql_trusted(q, query_text(tmp, script, conn_caps(conn)->version));
    return conn_exec(conn, q, err) || err_add(err, "while creating the schema pgtandem");
}

bool control_create(Conn *conn, const char *run_id, const char *side, bool open, const char *leader,
                    const char *selection, const char *filters, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Sql *q = sql_new(tmp);

    if (!control_script(conn, &script_control, err))
        return false;
    sql_add(q, "INSERT INTO pgtandem.node (format, tool_version, run_id, side, leader, selection, "
               "filters, gate) VALUES (");
    sql_i64(q, CONTROL_FORMAT);
    sql_add(q, ", ");
    sql_text(q, PGTANDEM_VERSION);
    sql_add(q, ", ");
    sql_text(q, run_id);
    sql_add(q, ", ");
    sql_text(q, side);
    sql_add(q, ", ");
    sql_text(q, leader);
    sql_add(q, ", ");
    sql_text(q, selection);
    sql_add(q, ", ");
    sql_text(q, filters);
    sql_add(q, ", 'open')");
    if (!conn_exec(conn, q, err))
        return err_add(err, "while creating the schema pgtandem");
    return open ? gate_open(conn, err) : gate_close(conn, err);
}
