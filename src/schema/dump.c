/* pg_dump and its entries: see dump.h. */
#include "schema/dump.h"

#include <glob.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/child.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/str.h"
#include "base/wait.h"

enum {
    VERSION_TIMEOUT_MS = 20000,
    DUMP_TRIES = 3,
    DUMP_MANY_TRIES = 30,
    DUMP_PAUSE_MS = 300,
    MAX_OUTPUT_BYTES = 100 * 1024 * 1024,
    ENV_MAX = 4
};

static const char *const usual_places[] = {"/usr/lib/postgresql/*/bin/pg_dump",
                                           "/usr/pgsql-*/bin/pg_dump",
                                           "/opt/homebrew/opt/postgresql*/bin/pg_dump"};

/* "pg_dump (PostgreSQL) 15.18 (Debian …)" → 150018, "9.6.24" → 90624; 0 when it does not run */
static bool version_of(const char *path, int *ret_version, Err *err)
{
    AUTO_CTX(tmp, NULL);
    const char *argv[] = {path, "--version", NULL};
    char *out, *errors;
    size_t len;
    int status;

    *ret_version = 0;
    if (!child_run_capture(tmp, argv, NULL, 4096, deadline_in(VERSION_TIMEOUT_MS), &out, &len,
                           &errors, &status, err)) {
        if (err->kind == ERR_CANCELED)
            return false;
        err_clear(err);
        return true;
    }
    const char *paren = strchr(out, ')');
    if (status != 0 || paren == NULL)
        return true;
    char *end;
    long major = strtol(paren + 1, &end, 10), minor = *end == '.' ? strtol(end + 1, &end, 10) : 0;
    long patch = *end == '.' ? strtol(end + 1, &end, 10) : 0;
    *ret_version = (int)(major >= 10 ? major * 10000 + minor : major * 10000 + minor * 100 + patch);
    return true;
}

/* takes the candidate if it is better than what was found so far */
static bool consider(const void *ctx, const char *path, int source_version, int target_version,
                     PgDump *best, Err *err)
{
    int version;

    if (!version_of(path, &version, err))
        return false;
    if (version == 0)
        return true;
    int source = caps_major(source_version), target = caps_major(target_version);
    int major = caps_major(version), have = best->path == NULL ? 0 : caps_major(best->version);
    bool fits = major >= source && major <= target, have_fits = have >= source && have <= target;
    bool better =
        best->path == NULL || (fits && !have_fits) || (fits && have_fits && major > have) ||
        (!fits && !have_fits && (have < source ? major > have : major >= source && major < have));
    if (better)
        *best = (PgDump){.path = mem_strdup(ctx, path), .version = version};
    return true;
}

bool dump_find(const void *ctx, const char *bindir, int source_version, int target_version,
               PgDump *ret_dump, Err *err)
{
    AUTO_CTX(tmp, NULL);

    *ret_dump = (PgDump){0};
    if (bindir != NULL)
        return consider(ctx, mem_printf(tmp, "%s/pg_dump", bindir), source_version, target_version,
                        ret_dump, err);
    if (!consider(ctx, "pg_dump", source_version, target_version, ret_dump, err))
        return false;
    for (size_t i = 0; i < sizeof usual_places / sizeof *usual_places; i++) {
        glob_t found = {0};
        bool ok = true;

        if (glob(usual_places[i], 0, NULL, &found) == 0)
            for (size_t g = 0; ok && g < found.gl_pathc; g++)
                ok =
                    consider(ctx, found.gl_pathv[g], source_version, target_version, ret_dump, err);
        globfree(&found);
        if (!ok)
            return false;
    }
    return true;
}

/* the part of a header line behind key ("; Type: ") up to the next one, or NULL */
static char *header_field(const void *ctx, const char *line, const char *key, const char *next)
{
    const char *start = strstr(line, key);

    if (start == NULL)
        return NULL;
    start += strlen(key);
    const char *end = strstr(start, next);
    return end == NULL ? mem_strdup(ctx, start) : mem_strndup(ctx, start, (size_t)(end - start));
}

/* "-- Name: x; Type: T; Schema: s; Owner: o" */
static bool parse_header(const void *ctx, const char *line, DumpEntry *entry)
{
    if (!str_starts(line, "-- Name: "))
        return false;
    entry->name = header_field(ctx, line, "-- Name: ", "; Type: ");
    entry->type = header_field(ctx, line, "; Type: ", "; Schema: ");
    entry->schema = header_field(ctx, line, "; Schema: ", "; Owner: ");
    return entry->type != NULL && entry->schema != NULL;
}

/*
 * where in SQL text we are: nothing that stands in a string, a quoted name or a function's body is
 * a header
 */
typedef struct Lex {
    char in; /* '\0' outside, '\'' and '"' as they are, 'E' for E'…', '$' between dollar quotes */
    char *tag; /* "$body$" */
} Lex;

static bool is_word(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           (c & 0x80) != 0;
}

/* a quote begins at p; returns its last character */
static const char *lex_open(const void *ctx, Lex *lex, const char *line, const char *p)
{
    bool behind_word = p > line && is_word(p[-1]);
    const char *end = p + 1;

    if (*p == '"' || *p == '\'') {
        bool escapes =
            behind_word && strchr("eE", p[-1]) != NULL && (p - 1 == line || !is_word(p[-2]));

        lex->in = *p == '\'' && escapes ? 'E' : *p;
        return p;
    }
    while (is_word(*end))
        end++;
    if (behind_word || *end != '$')
        return p;
    lex->tag = mem_strndup(ctx, p, (size_t)(end - p) + 1);
    lex->in = '$';
    return end;
}

static void lex_line(const void *ctx, Lex *lex, const char *line)
{
    for (const char *p = line; *p != '\0'; p++) {
        char quote = lex->in == 'E' ? '\'' : lex->in;

        if (lex->in == '\0') {
            if (p[0] == '-' && p[1] == '-')
                return;
            if (strchr("'\"$", *p) != NULL)
                p = lex_open(ctx, lex, line, p);
        } else if (lex->in == '$') {
            if (str_starts(p, lex->tag)) {
                p += strlen(lex->tag) - 1;
                lex->in = '\0';
            }
        } else if (lex->in == 'E' && p[0] == '\\' && p[1] != '\0') {
            p++;
        } else if (*p == quote && p[1] == quote) {
            p++;
        } else if (*p == quote) {
            lex->in = '\0';
        }
    }
}

void dump_split(const void *ctx, const char *text, DumpEntry **ret_entries, size_t *ret_n)
{
    AUTO_CTX(tmp, NULL);
    DumpEntry *entries = NULL;
    size_t n = 0;
    Str *body = NULL, *ahead = str_new(tmp);
    Lex lex = {0};

    while (*text != '\0') {
        const char *end = strchr(text, '\n');
        size_t len = end == NULL ? strlen(text) : (size_t)(end - text);
        char *line = mem_strndup(tmp, text, len);
        DumpEntry entry = {0};
        bool outside = lex.in == '\0';

        lex_line(tmp, &lex, line);
        if (outside && parse_header(ctx, line, &entry)) {
            mem_push(ctx, entries, n, entry);
            body = str_new(entries);
            str_add(body, ahead->text);
            str_clear(ahead);
        } else if (outside && str_starts(line, "SET default_")) {
            /* stands before the header of the entry that it is for */
            str_add(ahead, line);
            str_char(ahead, '\n');
            /* a comment behind the last statement would hide what is added to that (NOT VALID) */
        } else if (body != NULL &&
                   !(outside && (str_starts(line, "\\restrict ") ||
                                 str_starts(line, "\\unrestrict ") || str_starts(line, "--")))) {
            str_bytes(body, text, len);
            str_char(body, '\n');
        }
        if (n > 0)
            entries[n - 1].statement = body->text;
        talloc_free(line);
        text = end == NULL ? text + len : end + 1;
    }
    *ret_entries = entries;
    *ret_n = n;
}

/*
 * Whether what pg_dump complained about may pass: its session was ended or cancelled, the server
 * restarts. It tells no SQLSTATE, and a server may speak another language; then a few tries have to
 * do.
 */
static bool passes(const char *errors)
{
    static const char *const signs[] = {"canceling statement", "terminating connection",
                                        "server closed the connection", "connection to server"};

    for (size_t i = 0; i < sizeof signs / sizeof *signs; i++)
        if (strstr(errors, signs[i]) != NULL)
            return true;
    return false;
}

/*
 * What is no definition, or not the user's: large objects (pg_dump before 10 lists them, and their owners and
 * comments); event triggers of a provider, which are in no schema.
 */
static bool is_wanted(const DumpEntry *entry)
{
    if (str_starts(entry->type, "BLOB") || str_starts(entry->name, "LARGE OBJECT "))
        return false;
    return strcmp(entry->type, "EVENT TRIGGER") != 0 || entry->statement == NULL ||
           strstr(entry->statement, " \"_heroku\".") == NULL;
}

static void drop_unwanted(DumpEntry *entries, size_t *n)
{
    size_t kept = 0;

    for (size_t i = 0; i < *n; i++)
        if (is_wanted(&entries[i]))
            entries[kept++] = entries[i];
    *n = kept;
}

/*
 * The minor releases of November 2026 number the versions of a column among its options. Their own
 * pg_dump leaves that out; an older one writes " SET (pg_attver=1, n_distinct=5);", which no server
 * takes. Where nothing else is set, what stands there instead does nothing.
 */
static void drop_column_version(DumpEntry *entries, DumpEntry *entry)
{
    static const char set[] = " SET (", option[] = "pg_attver=", digits[] = "0123456789";
    AUTO_CTX(tmp, NULL);
    Str *s = str_new(tmp);
    const char *from = entry->statement, *p;

    for (p = strstr(from, option); p != NULL; p = strstr(p + 1, option)) {
        const char *end = p + strlen(option) + strspn(p + strlen(option), digits);
        bool first =
            (size_t)(p - from) >= strlen(set) && strncmp(p - strlen(set), set, strlen(set)) == 0;
        bool later = (size_t)(p - from) >= 2 && p[-2] == ',' && p[-1] == ' ';

        if (first && str_starts(end, ");")) {
            str_bytes(s, from, (size_t)(p - from) - strlen(set));
            str_add(s, " RESET (n_distinct");
        } else if (first && str_starts(end, ", ")) {
            str_bytes(s, from, (size_t)(p - from));
            end += 2;
        } else if (later && (str_starts(end, ");") || str_starts(end, ", "))) {
            str_bytes(s, from, (size_t)(p - from) - 2);
        } else {
            continue;
        }
        p = from = end;
    }
    if (s->len == 0)
        return;
    str_add(s, from);
    entry->statement = mem_strdup(entries, s->text);
}

static void drop_column_versions(DumpEntry *entries, size_t n)
{
    static const char *const types[] = {"TABLE", "FOREIGN TABLE", "MATERIALIZED VIEW", "VIEW"};

    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < sizeof types / sizeof *types; k++)
            if (strcmp(entries[i].type, types[k]) == 0 && entries[i].statement != NULL)
                drop_column_version(entries, &entries[i]);
}

/* since 11 it says FUNCTION where older servers know PROCEDURE only; later ones know both */
static void name_procedures(DumpEntry *entries, size_t n)
{
    static const char function[] = " (\n    FUNCTION = ";

    for (size_t i = 0; i < n; i++) {
        const char *text = entries[i].statement, *at;

        if (strcmp(entries[i].type, "OPERATOR") == 0 && text != NULL &&
            (at = strstr(text, function)) != NULL)
            entries[i].statement = mem_printf(entries, "%.*s (\n    PROCEDURE = %s",
                                              (int)(at - text), text, at + strlen(function));
    }
}

/*
 * runs pg_dump, or pg_dumpall that lies beside it, with what all its calls have in common; out belongs to ctx
 */
static bool run_program(const void *ctx, const char *program, const ConnSpec *source,
                        const char *const options[], char **ret_out, Err *err)
{
    AUTO_CTX(tmp, NULL);
    const char **argv = NULL, *env[ENV_MAX], *conninfo, *password;
    size_t n = 0, n_env = 0, len;
    char *errors;
    int status;

    if (!conn_spec_for_child(tmp, source, &conninfo, &password, err))
        return false;
    const char *const first[] = {program,
                                 "--encoding=UTF8",
                                 "--quote-all-identifiers",
                                 "--no-tablespaces",
                                 "--no-password",
                                 mem_printf(tmp, "--dbname=%s", conninfo)};
    for (size_t i = 0; i < sizeof first / sizeof *first; i++)
        mem_push(tmp, argv, n, first[i]);
    for (size_t i = 0; options[i] != NULL; i++)
        mem_push(tmp, argv, n, options[i]);
    mem_push(tmp, argv, n, NULL);
    const char *pgoptions = getenv("PGOPTIONS");
    env[n_env++] = "PGAPPNAME=" CONN_APPLICATION " dump";
    /* pg_dump writes its literals in the source's way, and we read them in the standard way */
    env[n_env++] = mem_printf(tmp, "PGOPTIONS=%s -c standard_conforming_strings=on",
                              pgoptions == NULL ? "" : pgoptions);
    if (password != NULL)
        env[n_env++] = mem_printf(tmp, "PGPASSWORD=%s", password);
    env[n_env] = NULL;
    for (int tries = 1;; tries++) {
        if (!child_run_capture(ctx, argv, env, MAX_OUTPUT_BYTES, NO_DEADLINE, ret_out, &len,
                               &errors, &status, err))
            return err_add(err, "while running %s", program);
        if (status == 0)
            break;
        if (tries == (passes(errors) ? DUMP_MANY_TRIES : DUMP_TRIES)) {
            err_set(err, ERR_IO, "%s failed with exit code %d", program, status);
            return err_detail(err, "%s", errors);
        }
        log_warn("%s failed, trying again: %s", program, errors);
        if (!wait_ms(DUMP_PAUSE_MS, err))
            return false;
    }
    if (errors[0] != '\0')
        log_warn("%s: %s", program, errors);
    return true;
}

bool dump_section(const void *ctx, const PgDump *dump, const DumpOptions *options,
                  DumpSection section, DumpEntry **ret_entries, size_t *ret_n, Err *err)
{
    AUTO_CTX(tmp, NULL);
    const char **more = NULL;
    size_t n = 0;
    char *out;
    Caps caps;

    caps_fill(&caps, dump->version);

    mem_push(tmp, more, n, section == DUMP_PRE_DATA ? "--section=pre-data" : "--section=post-data");
    mem_push(tmp, more, n, "--format=plain");
    mem_push(tmp, more, n, "--exclude-schema=pgtandem");
    mem_push(tmp, more, n,
             "--exclude-schema=_heroku"); /* see catalog.sql; pg_dump may not even look at it */
    if (options->snapshot != NULL)
        mem_push(tmp, more, n, mem_printf(tmp, "--snapshot=%s", options->snapshot));
    if (caps.dump_leaves_blobs_out)
        mem_push(tmp, more, n, "--no-blobs");
    if (!options->with_owners)
        mem_push(tmp, more, n, "--no-owner");
    if (!options->with_privileges)
        mem_push(tmp, more, n, "--no-privileges");
    for (size_t i = 0; options->only != NULL && options->only[i] != NULL; i++)
        mem_push(tmp, more, n, options->only[i]);
    mem_push(tmp, more, n, NULL);
    if (!run_program(tmp, dump->path, options->source, more, &out, err))
        return false;
    dump_split(ctx, out, ret_entries, ret_n);
    drop_unwanted(*ret_entries, ret_n);
    drop_column_versions(*ret_entries, *ret_n);
    name_procedures(*ret_entries, *ret_n);
    return true;
}

void dump_statements(const void *ctx, const char *text, const char ***ret_statements, size_t *ret_n)
{
    AUTO_CTX(tmp, NULL);
    const char **statements = mem_array(ctx, const char *, 1);
    size_t n = 0;
    Str *s = str_new(tmp);
    Lex lex = {0};

    while (*text != '\0') {
        const char *end = strchr(text, '\n');
        size_t len = end == NULL ? strlen(text) : (size_t)(end - text);
        char *line = mem_strndup(tmp, text, len);

        if (s->len > 0 || (line[0] != '\0' && line[0] != '\\' && !str_starts(line, "--"))) {
            lex_line(tmp, &lex, line);
            str_add(s, line);
            if (lex.in == '\0' && str_ends(line, ";")) {
                mem_push(ctx, statements, n, mem_strdup(statements, s->text));
                str_clear(s);
            } else {
                str_char(s, '\n');
            }
        }
        text = end == NULL ? text + len : end + 1;
    }
    *ret_statements = statements;
    *ret_n = n;
}

bool dump_roles(const void *ctx, const PgDump *dump, const ConnSpec *source, const char *database,
                bool with_passwords, const char ***ret_statements, size_t *ret_n, Err *err)
{
    AUTO_CTX(tmp, NULL);
    const char *more[] = {"--roles-only", mem_printf(tmp, "--database=%s", database),
                          with_passwords ? NULL : "--no-role-passwords", NULL};
    char *out;

    if (!run_program(tmp, mem_printf(tmp, "%sall", dump->path), source, more, &out, err))
        return false;
    dump_statements(ctx, out, ret_statements, ret_n);
    return true;
}

bool dump_database(const void *ctx, const PgDump *dump, const ConnSpec *source,
                   const char ***ret_statements, size_t *ret_n, Err *err)
{
    AUTO_CTX(tmp, NULL);
    /* without its contents, so that this is quick */
    static const char *const more[] = {"--create", "--section=pre-data", "--exclude-schema=*",
                                       NULL};
    char *out;

    if (!run_program(tmp, dump->path, source, more, &out, err))
        return false;
    dump_statements(ctx, out, ret_statements, ret_n);
    return true;
}

char *dump_quoted_name(const void *ctx, const char **text)
{
    const char *p = *text;
    Str *s = str_new(ctx);

    if (*p != '"')
        return NULL;
    for (p++; *p != '\0'; p++) {
        if (*p == '"' && p[1] != '"')
            break;
        if (*p == '"')
            p++;
        str_char(s, *p);
    }
    if (*p != '"')
        return NULL;
    *text = p + 1;
    return s->text;
}

/* the first "schema"."name" at *text, which is moved behind it */
static bool qualified_name(const void *ctx, const char **text, const char **ret_schema,
                           const char **ret_name)
{
    const char *p = *text;

    while (p != NULL && *p != '\0') {
        char *first;

        if (*p != '"') {
            p++;
            continue;
        }
        first = dump_quoted_name(ctx, &p);
        if (first == NULL)
            return false;
        if (*p == '.' && p[1] == '"') {
            p++;
            *ret_schema = first;
            *ret_name = dump_quoted_name(ctx, &p);
            *text = p;
            return *ret_name != NULL;
        }
    }
    return false;
}

bool dump_entry_table(const void *ctx, const DumpEntry *entry, const char **ret_schema,
                      const char **ret_name)
{
    const char *p = entry->statement;

    return qualified_name(ctx, &p, ret_schema, ret_name);
}

bool dump_entry_constraint(const void *ctx, const DumpEntry *entry, const char **ret_schema,
                           const char **ret_table, const char **ret_name)
{
    const char *p = entry->statement, *first;

    if (!qualified_name(ctx, &p, ret_schema, ret_table))
        return false;
    /* COMMENT ON CONSTRAINT "name" ON "schema"."table" */
    first = strchr(entry->statement, '"');
    if (str_starts(first - strlen(" CONSTRAINT "), " CONSTRAINT "))
        p = first;
    else if ((p = strchr(p, '"')) == NULL)
        return false;
    *ret_name = dump_quoted_name(ctx, &p);
    return *ret_name != NULL;
}

static bool is_of_relation(const DumpEntry *entry)
{
    static const char *const types[] = {"TABLE",
                                        "TABLE ATTACH",
                                        "VIEW",
                                        "MATERIALIZED VIEW",
                                        "FOREIGN TABLE",
                                        "SEQUENCE",
                                        "SEQUENCE OWNED BY",
                                        "DEFAULT",
                                        "INDEX",
                                        "INDEX ATTACH",
                                        "CONSTRAINT",
                                        "CHECK CONSTRAINT",
                                        "FK CONSTRAINT",
                                        "TRIGGER",
                                        "RULE",
                                        "POLICY",
                                        "ROW SECURITY",
                                        "STATISTICS"};

    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (strcmp(entry->type, types[i]) == 0)
            return true;
    return false;
}

/* a comment, right or label of something that belongs to a relation: its name says of what */
static bool is_about_relation(const Scope *scope, const DumpEntry *entry)
{
    static const char *const words[] = {
        "TABLE ",         "COLUMN ",   "VIEW ",       "MATERIALIZED VIEW ",
        "FOREIGN TABLE ", "SEQUENCE ", "CONSTRAINT ", "TRIGGER ",
        "INDEX ",         "POLICY ",   "RULE ",       "STATISTICS "};

    if (strcmp(entry->type, "COMMENT") != 0 && strcmp(entry->type, "ACL") != 0 &&
        strcmp(entry->type, "SECURITY LABEL") != 0)
        return false;
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (str_starts(entry->name, words[i]))
            return true;
    /* of an old pg_dump */
    return scope_has(scope, entry->schema, entry->name);
}

bool dump_wants_entry(const Scope *scope, const DumpEntry *entry)
{
    if (scope == NULL)
        return true;
    if (strcmp(entry->schema, "-") == 0) {
        AUTO_CTX(tmp, NULL);
        const char *name =
            str_starts(entry->name, "SCHEMA ") ? entry->name + strlen("SCHEMA ") : NULL;

        if (name != NULL && *name == '"')
            name = dump_quoted_name(tmp, &name);
        /* the schema itself, if there is none yet; its rights and comment only if all of it is meant */
        if (strcmp(entry->type, "SCHEMA") == 0)
            return scope_enters(scope, entry->name);
        return name != NULL ? scope_has_schema(scope, name) : scope_has_unowned(scope);
    }
    return scope_has_schema(scope, entry->schema) || is_of_relation(entry) ||
           is_about_relation(scope, entry);
}
