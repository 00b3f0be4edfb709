/*
 * The command import-bucardo: reads a Bucardo 5 configuration database and writes what is the same here,
 * with a comment for everything that has no equivalent. Only reads there.
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "base/ini.h"
#include "base/log.h"
#include "base/str.h"
#include "conf/conf.h"
#include "conf/names.h"
#include "daemon/commands.h"
#include "pg/conn.h"

typedef struct Import {
    Conn *conn;
    Str *out;
    size_t notes; /* comments that a person has to read */
} Import;

/* a query without parameters */
#define READ(ctx, import, rows, err, lit) read_rows((ctx), (import), (rows), (err), "" lit "")

static bool read_rows(const void *ctx, Import *import, Rows **ret_rows, Err *err, const char *text)
{
    Sql *q = sql_new(ctx);

    sql_trusted(q, text);
    return conn_query(ctx, import->conn, q, ret_rows, err) ||
           err_add(err, "while reading Bucardo's configuration");
}

static const char *text_of(const Rows *rows, size_t row, int col)
{
    const char *text = rows_text(rows, row, col);

    return text == NULL ? "" : text;
}

static void note(Import *import, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static void note(Import *import, const char *fmt, ...)
{
    AUTO_CTX(tmp, NULL);
    va_list args;

    va_start(args, fmt);
    char *text = mem_or_die(talloc_vasprintf(tmp, fmt, args));
    va_end(args);
    for (char *p = text; *p != '\0'; p++)
        if (*p == '\n' || *p == '\r')
            *p = ' ';
    str_fmt(import->out, "# %s\n", text);
    import->notes++;
}

/* a name as the file takes it */
static char *plain_name(const void *ctx, const char *name)
{
    char *plain = mem_printf(ctx, "%s%s", name_is_valid(name) ? "" : "x_", name);

    for (char *p = plain; *p != '\0'; p++)
        if (strchr("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-", *p) == NULL)
            *p = '_';
    return name_is_valid(name) ? mem_strdup(ctx, name) : plain;
}

/* one part of a table's name, in quotes where the file needs them */
static void add_part(Str *s, const char *part)
{
    if (strpbrk(part, " \t.,*?\"") == NULL)
        str_add(s, part);
    else
        str_ident(s, part);
}

static char *table_text(const void *ctx, const char *schema, const char *name)
{
    Str *s = str_new(ctx);

    add_part(s, schema);
    str_char(s, '.');
    add_part(s, name);
    return s->text;
}

/* "schema.name" of a customname, which may lack the schema */
static char *new_name_text(const void *ctx, const char *name)
{
    const char *dot = strchr(name, '.');

    return dot == NULL ? table_text(ctx, "public", name)
                       : table_text(ctx, mem_strndup(ctx, name, (size_t)(dot - name)), dot + 1);
}

static void add_keyword(Str *s, const char *keyword, const char *value)
{
    if (value[0] == '\0')
        return;
    str_fmt(s, "%s%s='", s->len > 0 ? " " : "", keyword);
    for (const char *p = value; *p != '\0'; p++) {
        if (*p == '\'' || *p == '\\')
            str_char(s, '\\');
        str_char(s, *p);
    }
    str_char(s, '\'');
}

static bool import_dbs(Import *import, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Rows *rows;

    if (!READ(tmp, import, &rows, err,
              "SELECT name, dbtype, dbservice, dbhost, dbport, dbname, dbuser, "
              "coalesce(dbpass, '') <> '', dbconn, dbdsn, status, makedelta, pgpass "
              "FROM bucardo.db ORDER BY name"))
        return false;
    for (size_t i = 0; i < rows_count(rows); i++) {
        Str *conninfo = str_new(tmp);

        str_char(import->out, '\n');
        if (strcmp(text_of(rows, i, 1), "postgres") != 0) {
            note(import, "db %s is of type %s, which is not supported", text_of(rows, i, 0),
                 text_of(rows, i, 1));
            continue;
        }
        if (rows_bool(rows, i, 7))
            note(import, "db %s: its password was left out; put it into ~/.pgpass",
                 text_of(rows, i, 0));
        if (text_of(rows, i, 8)[0] != '\0' || text_of(rows, i, 9)[0] != '\0')
            note(import,
                 "db %s: further connection settings (dbconn, dbdsn) are to be added by hand",
                 text_of(rows, i, 0));
        if (strcmp(text_of(rows, i, 10), "active") != 0)
            note(import, "db %s was %s", text_of(rows, i, 0), text_of(rows, i, 10));
        add_keyword(conninfo, "service", text_of(rows, i, 2));
        add_keyword(conninfo, "host", text_of(rows, i, 3));
        add_keyword(conninfo, "port", text_of(rows, i, 4));
        add_keyword(conninfo, "dbname", text_of(rows, i, 5));
        add_keyword(conninfo, "user", text_of(rows, i, 6));
        add_keyword(conninfo, "passfile", text_of(rows, i, 12));
        str_fmt(import->out, "[db %s]\nconninfo = %s\n", plain_name(tmp, text_of(rows, i, 0)),
                conninfo->text);
    }
    return true;
}

static bool import_groups(Import *import, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Rows *rows;

    if (!READ(tmp, import, &rows, err,
              "SELECT m.dbgroup, m.db, m.role FROM bucardo.dbmap m JOIN bucardo.db d ON d.name = "
              "m.db "
              "WHERE d.dbtype = 'postgres' ORDER BY m.dbgroup, m.role <> 'source', m.priority "
              "DESC, m.db"))
        return false;
    for (size_t i = 0; i < rows_count(rows); i++) {
        bool first = i == 0 || strcmp(text_of(rows, i, 0), text_of(rows, i - 1, 0)) != 0;

        if (first)
            str_fmt(import->out, "%s\n[group %s]\nmembers = ", i == 0 ? "" : "\n",
                    plain_name(tmp, text_of(rows, i, 0)));
        str_fmt(import->out, "%s%s:%s", first ? "" : ", ", plain_name(tmp, text_of(rows, i, 1)),
                text_of(rows, i, 2));
    }
    if (rows_count(rows) > 0)
        str_char(import->out, '\n');
    return true;
}

static bool import_herds(Import *import, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Rows *rows;

    if (!READ(tmp, import, &rows, err,
              "SELECT DISTINCT m.herd, g.schemaname, g.tablename FROM bucardo.herdmap m "
              "JOIN bucardo.goat g ON g.id = m.goat WHERE NOT g.ghost ORDER BY 1, 2, 3"))
        return false;
    for (size_t i = 0; i < rows_count(rows); i++) {
        bool first = i == 0 || strcmp(text_of(rows, i, 0), text_of(rows, i - 1, 0)) != 0;

        if (first)
            str_fmt(import->out, "%s\n[tables %s]\ninclude = ", i == 0 ? "" : "\n",
                    plain_name(tmp, text_of(rows, i, 0)));
        str_fmt(import->out, "%s%s", first ? "" : ",\n    ",
                table_text(tmp, text_of(rows, i, 1), text_of(rows, i, 2)));
    }
    if (rows_count(rows) > 0)
        str_char(import->out, '\n');
    return true;
}

/* what a person has to know about a sync */
static void note_sync(Import *import, const Rows *rows, size_t i)
{
    const char *name = text_of(rows, i, 0);

    if (rows_i64(rows, i, 7) > 1)
        note(import,
             "sync %s has %s sources and the conflict strategy \"%s\": several sources are not "
             "supported yet, so it is left inactive as a comment",
             name, text_of(rows, i, 7), text_of(rows, i, 8));
    if (strcmp(text_of(rows, i, 9), "delete") != 0)
        note(import, "sync %s: deletemethod = %s has no equivalent", name, text_of(rows, i, 9));
    if (rows_i64(rows, i, 10) != 0)
        note(import, "sync %s: rebuild_index has no equivalent", name);
    if (text_of(rows, i, 11)[0] != '\0')
        note(import, "sync %s: lifetime and maxkicks are not needed", name);
    if (rows_i64(rows, i, 3) == 1)
        note(import, "sync %s had onetimecopy = 1: that is onetimecopy = always", name);
}

static bool import_syncs(Import *import, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Rows *rows;

    if (!READ(
            tmp, import, &rows, err,
            "SELECT s.name, s.herd, s.dbs, s.onetimecopy, s.autokick, "
            "(extract(epoch FROM s.checktime) * 1000)::bigint, s.status, "
            "(SELECT count(*) FROM bucardo.dbmap m WHERE m.dbgroup = s.dbs AND m.role = 'source'), "
            "s.conflict_strategy, s.deletemethod, s.rebuild_index, "
            "CASE WHEN s.lifetime IS NOT NULL OR s.maxkicks > 0 THEN 'yes' END, "
            "EXISTS (SELECT 1 FROM bucardo.dbmap m JOIN bucardo.db d ON d.name = m.db "
            "WHERE m.dbgroup = s.dbs AND m.role = 'source' AND (d.makedelta OR EXISTS (SELECT 1 "
            "FROM "
            "bucardo.herdmap h JOIN bucardo.goat g ON g.id = h.goat WHERE h.herd = s.herd AND "
            "g.makedelta = 'on'))) "
            "FROM bucardo.sync s ORDER BY s.name"))
        return false;
    for (size_t i = 0; i < rows_count(rows); i++) {
        const char *prefix = rows_i64(rows, i, 7) > 1 ? "# " : "";
        int64_t copy = rows_i64(rows, i, 3), checktime = rows_i64(rows, i, 5);
        const char *active = strcmp(text_of(rows, i, 6), "active") == 0 ? "active" : "inactive";

        str_char(import->out, '\n');
        note_sync(import, rows, i);
        str_fmt(import->out, "%s[sync %s]\n", prefix, plain_name(tmp, text_of(rows, i, 0)));
        str_fmt(import->out, "%stables = %s\n", prefix, plain_name(tmp, text_of(rows, i, 1)));
        str_fmt(import->out, "%sdbs = %s\n", prefix, plain_name(tmp, text_of(rows, i, 2)));
        str_fmt(import->out, "%sonetimecopy = %s\n", prefix,
                copy == 1   ? "always"
                : copy == 2 ? "if-empty"
                            : "no");
        str_fmt(import->out, "%sautokick = %s\n", prefix, rows_bool(rows, i, 4) ? "yes" : "no");
        if (checktime > 0)
            str_fmt(import->out, "%schecktime = %llds\n", prefix,
                    (long long)(checktime < 1000 ? 1 : checktime / 1000));
        if (rows_bool(rows, i, 12))
            str_fmt(import->out, "%scascade = yes\n", prefix);
        str_fmt(import->out, "%sstatus = %s\n", prefix, active);
    }
    return true;
}

/* SELECT … of a customcols, without the word */
static const char *select_list(const char *clause)
{
    clause += strspn(clause, " \t\n");
    if (strncasecmp(clause, "select ", 7) == 0)
        clause += 7;
    return clause;
}

/* customname and customcols: what is special about a table, of one sync or of all that have it */
static bool import_rules(Import *import, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Rows *rows;

    if (!READ(
            tmp, import, &rows, err,
            "SELECT s.name, g.schemaname, g.tablename, x.what, x.value, x.db, "
            "(SELECT count(*) FROM bucardo.dbmap m WHERE m.dbgroup = s.dbs AND m.role = 'source') "
            "FROM (SELECT goat, sync, db, 'target-name' AS what, newname AS value FROM "
            "bucardo.customname "
            "UNION ALL SELECT goat, sync, db, 'columns', clause FROM bucardo.customcols) x "
            "JOIN bucardo.goat g ON g.id = x.goat "
            "JOIN bucardo.herdmap h ON h.goat = g.id "
            "JOIN bucardo.sync s ON s.herd = h.herd AND (x.sync IS NULL OR x.sync = s.name) "
            "ORDER BY 1, 2, 3, 4, x.db NULLS FIRST"))
        return false;
    for (size_t i = 0; i < rows_count(rows); i++) {
        const char *prefix = rows_i64(rows, i, 6) > 1 ? "# " : "";
        bool first = i == 0;
        Str *value = str_new(tmp);

        for (int col = 0; col < 3 && !first; col++)
            first = strcmp(text_of(rows, i, col), text_of(rows, i - 1, col)) != 0;
        if (first)
            str_fmt(import->out, "\n%s[table %s %s]\n", prefix,
                    plain_name(tmp, text_of(rows, i, 0)),
                    table_text(tmp, text_of(rows, i, 1), text_of(rows, i, 2)));
        if (strcmp(text_of(rows, i, 3), "columns") == 0)
            str_add(value, select_list(text_of(rows, i, 4)));
        else
            str_add(value, new_name_text(tmp, text_of(rows, i, 4)));
        for (char *p = value->text; *p != '\0'; p++)
            if (*p == '\n' || *p == '\r')
                *p = ' ';
        str_fmt(import->out, "%s%s", prefix, text_of(rows, i, 3));
        if (rows_text(rows, i, 5) != NULL)
            str_fmt(import->out, ".%s", plain_name(tmp, text_of(rows, i, 5)));
        str_fmt(import->out, " = %s\n", value->text);
    }
    return true;
}

static bool import_codes(Import *import, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Rows *rows;

    if (!READ(tmp, import, &rows, err,
              "SELECT c.name, c.whenrun, m.sync, g.schemaname || '.' || g.tablename FROM "
              "bucardo.customcode c "
              "LEFT JOIN bucardo.customcode_map m ON m.code = c.id LEFT JOIN bucardo.goat g ON "
              "g.id = m.goat "
              "WHERE c.status = 'active' ORDER BY 1, 3, 4"))
        return false;
    if (rows_count(rows) > 0)
        str_char(import->out, '\n');
    for (size_t i = 0; i < rows_count(rows); i++)
        note(import,
             "customcode %s (%s) of %s %s is Perl: see before-round, after-round, on-error and "
             "on-state",
             text_of(rows, i, 0), text_of(rows, i, 1),
             text_of(rows, i, 2)[0] != '\0' ? "sync" : "table",
             text_of(rows, i, 2)[0] != '\0' ? text_of(rows, i, 2) : text_of(rows, i, 3));
    return true;
}

/* all in one snapshot */
static bool read_everything(Import *import, Err *err)
{
    return conn_do(import->conn, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", err) &&
           import_dbs(import, err) && import_groups(import, err) && import_herds(import, err) &&
           import_syncs(import, err) && import_rules(import, err) && import_codes(import, err) &&
           conn_do(import->conn, "COMMIT", err);
}

bool service_import_bucardo(const char *conninfo, const char *path, Err *err)
{
    AUTO_CTX(tmp, NULL);
    ConnSpec spec = {.conninfo = conninfo, .label = "Bucardo database"};
    Import import = {.out = str_new(tmp)};
    Problem *problems;
    size_t n;

    if (access(path, F_OK) == 0) {
        err_set(err, ERR_USAGE, "%s is there already", path);
        return err_hint(err, "Name another file with --config. Nothing was changed.");
    }
    import.conn = conn_open(tmp, &spec, "import", err);
    if (import.conn == NULL)
        return false;
    str_add(import.out, "# made from a Bucardo configuration by \"pgtandem import-bucardo\"\n");
    if (!read_everything(&import, err))
        return false;
    conf_parse(tmp, path, ini_parse(tmp, import.out->text), &problems, &n);
    if (!ini_write(path, import.out->text, err))
        return false;
    printf("written to %s: %zu comments to read, %zu problems to mend\n", path, import.notes, n);
    if (n > 0)
        printf("%s\n", conf_problems_text(tmp, path, problems, n));
    return true;
}
