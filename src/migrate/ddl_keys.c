/* Foreign keys that came or went: see ddl_impl.h. */
#include "migrate/ddl_impl.h"

#include <string.h>

#include "base/log.h"
#include "migrate/filtered.h"
#include "migrate/sleep.h"
#include "pg/lock.h"

static bool same_key(const char *a_schema, const char *a_table, const char *a_name,
                     const ForeignKeysRow *b)
{
    return strcmp(a_schema, b->schema_name) == 0 && strcmp(a_table, b->table_name) == 0 &&
           strcmp(a_name, b->name) == 0;
}

/* one that leads out of a selection is the business of its own node */
static bool is_inside(const Scope *scope, const ForeignKeysRow *key)
{
    return scope_has(scope, key->schema_name, key->table_name) &&
           scope_has(scope, key->to_schema, key->to_table);
}

bool ddl_forget_asleep_key(Ddl *ddl, const char *schema, const char *table, const char *name,
                           Err *err)
{
    AUTO_CTX(tmp, NULL);
    Sql *q = sql_new(tmp);

    sql_add(q, "DELETE FROM pgtandem.asleep WHERE kind = 'foreign key' AND schema_name = ");
    sql_text(q, schema);
    sql_add(q, " AND table_name = ");
    sql_text(q, table);
    sql_add(q, " AND name = ");
    sql_text(q, name);
    return conn_exec(ddl->to, q, err);
}

/* those that came sleep on the copy until it takes over, whatever the role may do: rows may come later */
bool ddl_carry_foreign_keys(Ddl *ddl, const ForeignKeysRow *now, size_t n_now, Err *err)
{
    AUTO_CTX(tmp, NULL);
    ForeignKeysRow *copy;
    AsleepRow *asleep;
    size_t n_copy, n_asleep;
    Filtered filtered;

    if (!filtered_read(tmp, ddl->from, &filtered, err) ||
        !q_foreign_keys(tmp, ddl->to, &copy, &n_copy, err) ||
        !q_asleep(tmp, ddl->to, &asleep, &n_asleep, err))
        return false;
    for (size_t i = 0; i < n_now; i++) {
        if (!is_inside(ddl->now.scope, &now[i])) {
            if (scope_has(ddl->now.scope, now[i].schema_name, now[i].table_name))
                log_warn("schema: foreign key \"%s\" of table %s.%s leads to a table that is not "
                         "selected: it is not carried",
                         now[i].name, now[i].schema_name, now[i].table_name);
            continue;
        }
        bool have = baseline_find_table(&ddl->copy, now[i].schema_name, now[i].table_name) == NULL;
        Sql *q = ddl_alter_table(tmp, now[i].schema_name, now[i].table_name);

        for (size_t k = 0; k < n_copy; k++)
            have = have || same_key(copy[k].schema_name, copy[k].table_name, copy[k].name, &now[i]);
        for (size_t k = 0; k < n_asleep; k++)
            have = have ||
                   same_key(asleep[k].schema_name, asleep[k].table_name, asleep[k].name, &now[i]);
        if (have)
            continue;
        sql_add(q, "ADD CONSTRAINT ");
        sql_ident(q, now[i].name);
        sql_add(q, " ");
        sql_trusted(q, now[i].definition);
        log_info("schema: foreign key \"%s\" of table %s.%s comes into force on the %s with the "
                 "switch",
                 now[i].name, now[i].schema_name, now[i].table_name, side_name(ddl->side[1]));
        if (!conn_do(ddl->to, "BEGIN", err) ||
            !sleep_add_foreign_key(ddl->to, now[i].schema_name, now[i].table_name, now[i].name,
                                   q->text->text, filtered_has_key(&filtered, &now[i]), err) ||
            !conn_do(ddl->to, "COMMIT", err)) {
            conn_rollback(ddl->to);
            return false;
        }
    }
    for (size_t k = 0; k < n_copy + n_asleep; k++) {
        const char *schema = k < n_copy ? copy[k].schema_name : asleep[k - n_copy].schema_name;
        const char *table = k < n_copy ? copy[k].table_name : asleep[k - n_copy].table_name;
        const char *name = k < n_copy ? copy[k].name : asleep[k - n_copy].name;
        bool have = k < n_copy ? !is_inside(ddl->copy.scope, &copy[k])
                               : asleep[k - n_copy].leaves ||
                                     strcmp(asleep[k - n_copy].kind, "foreign key") != 0;

        for (size_t i = 0; i < n_now; i++)
            have = have || same_key(schema, table, name, &now[i]);
        if (have)
            continue;
        log_info("schema: foreign key \"%s\" of table %s.%s is gone", name, schema, table);
        if (k < n_copy) {
            Sql *q = ddl_alter_table(tmp, schema, table);

            sql_add(q, "DROP CONSTRAINT ");
            sql_ident(q, name);
            if (!lock_and_run(ddl->to, sql_new(tmp), q, name, err))
                return false;
            continue;
        }
        if (!ddl_forget_asleep_key(ddl, schema, table, name, err))
            return false;
    }
    return true;
}
