/* Foreign keys that came or went: see ddl_impl.h. */
#include "migrate/ddl_impl.h"

#include <string.h>

#include "base/log.h"
#include "base/str.h"
#include "migrate/filtered.h"
#include "migrate/sleep.h"
#include "pg/lock.h"

static bool same_key(const char *a_schema, const char *a_table, const char *a_name,
                     const ForeignKeysRow *b)
{
    return strcmp(a_schema, b->schema_name) == 0 && strcmp(a_table, b->table_name) == 0 &&
           strcmp(a_name, b->name) == 0;
}

/*
 * What a foreign key demands, from "FOREIGN KEY" on: pg_dump and servers of different versions quote other names, and
 * whether older rows fulfil it changes with VALIDATE.
 */
static char *demand_of(const void *ctx, const char *definition)
{
    static const char not_valid[] = " NOT VALID";
    const char *begin = strstr(definition, "FOREIGN KEY");
    Str *s = str_new(ctx);

    for (const char *c = begin == NULL ? definition : begin; *c != '\0'; c++)
        if (*c != '"')
            str_char(s, *c);
    while (s->len > 0 && strchr(" \n\t;", s->text[s->len - 1]) != NULL)
        s->text[--s->len] = '\0';
    if (str_ends(s->text, not_valid))
        s->text[s->len - strlen(not_valid)] = '\0';
    return s->text;
}

static bool same_demand(const char *a, const char *b)
{
    AUTO_CTX(tmp, NULL);

    return strcmp(demand_of(tmp, a), demand_of(tmp, b)) == 0;
}

char *ddl_keys_text(const void *ctx, const ForeignKeysRow *keys, size_t n)
{
    Str *s = str_new(ctx);

    for (size_t i = 0; i < n; i++)
        str_fmt(s, "%s.%s.%s %s\n", keys[i].schema_name, keys[i].table_name, keys[i].name,
                demand_of(s, keys[i].definition));
    return s->text;
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

static bool drop_key(Ddl *ddl, const ForeignKeysRow *key, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Sql *q = ddl_alter_table(tmp, key->schema_name, key->table_name);

    sql_add(q, "DROP CONSTRAINT ");
    sql_ident(q, key->name);
    return lock_and_run(ddl->to, sql_new(tmp), q, key->name, err);
}

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
        const ForeignKeysRow *other = NULL; /* of this name, on the copy */

        for (size_t k = 0; k < n_copy; k++)
            if (same_key(copy[k].schema_name, copy[k].table_name, copy[k].name, &now[i])) {
                if (same_demand(copy[k].definition, now[i].definition))
                    have = true;
                else
                    other = &copy[k];
            }
        for (size_t k = 0; k < n_asleep; k++)
            have = have || (strcmp(asleep[k].kind, "foreign key") == 0 &&
                            same_key(asleep[k].schema_name, asleep[k].table_name, asleep[k].name,
                                     &now[i]) &&
                            same_demand(asleep[k].definition, now[i].definition));
        if (have && (other == NULL || drop_key(ddl, other, err)))
            continue;
        if (have)
            return false;
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
        if (other != NULL && !drop_key(ddl, other, err))
            return false;
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
            if (!drop_key(ddl, &copy[k], err))
                return false;
            continue;
        }
        if (!ddl_forget_asleep_key(ddl, schema, table, name, err))
            return false;
    }
    return true;
}
