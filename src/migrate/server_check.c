/* Checks before a run of all databases: see server.h. */
#include <stdio.h>
#include <string.h>

#include "base/str.h"
#include "migrate/commands.h"
#include "migrate/server.h"
#include "migrate/talk.h"
#include "sql/queries.h"

enum {
    AT_A_TIME = 4,
    SESSIONS_SOURCE = 3, /* for each database: following, and the switch with its fence */
    SESSIONS_TARGET = 5  /* and two for locks */
};

/* a finding about the servers; its objects follow */
static Finding *add(ServerFindings *found, const Config *config, const char *id, Severity severity,
                    const char *title, const char *hint)
{
    Finding f = {.id = id,
                 .severity = severity,
                 .acceptable = severity == SEVERITY_ERROR,
                 .title = title,
                 .hint = hint};

    if (severity == SEVERITY_ERROR && config_accepts(config, id))
        f.severity = SEVERITY_WARNING;
    mem_push(found->databases, found->server, found->n_server, f);
    return &found->server[found->n_server - 1];
}

static void object(ServerFindings *found, Finding *f, const char *text)
{
    mem_push(found->server, f->objects, f->n_objects, mem_strdup(found->server, text));
}

static void find_databases(Crew *crew, const ServerRightsRow *target, ServerFindings *found)
{
    Finding *closed = NULL, *missing = NULL, *kept = NULL;

    for (size_t i = 0; i < crew->n; i++) {
        const Database *db = &crew->databases[i];

        if (db->there[SIDE_SOURCE])
            continue;
        if (closed == NULL)
            closed = add(found, crew->config, "database-closed", SEVERITY_ERROR,
                         "databases of the source cannot be connected to",
                         "Grant CONNECT on them, or leave them out with --exclude-database.");
        closed->acceptable = false;
        closed->severity = SEVERITY_ERROR;
        object(found, closed, db->name);
    }
    for (size_t i = 0; i < crew->n && !target->create_db; i++) {
        const Database *db = &crew->databases[i];

        if (db->there[SIDE_TARGET])
            continue;
        if (missing == NULL)
            missing =
                add(found, crew->config, "database-missing", SEVERITY_ERROR,
                    "databases do not exist on the target, and our role there may not create any",
                    "Give it CREATEDB, or create them by yourself.");
        missing->acceptable = false;
        missing->severity = SEVERITY_ERROR;
        object(found, missing, db->name);
    }
    for (size_t i = 0; i < crew->n; i++) {
        const Database *db = &crew->databases[i];

        if (!db->there[SIDE_TARGET] || db->member[SIDE_TARGET])
            continue;
        if (kept == NULL)
            kept =
                add(found, crew->config, "database-kept", SEVERITY_INFO,
                    "databases are on the target already: their properties stay as they are there",
                    "Owner, privileges, settings and limits are carried for those only that the "
                    "upgrade "
                    "creates.");
        object(found, kept, db->name);
    }
}

static void find_roles(Crew *crew, const ServerRolesRow *source, size_t n_source,
                       const ServerRolesRow *target, size_t n_target, const ServerRightsRow *rights,
                       ServerFindings *found)
{
    Finding *missing = NULL, *secret = NULL;

    for (int pass = 0; pass < 2; pass++)
        for (size_t i = 0; i < n_source; i++) {
            bool there = false;

            for (size_t k = 0; k < n_target && !there; k++)
                there = strcmp(source[i].name, target[k].name) == 0;
            if (there)
                continue;
            if (pass == 0 && !rights[SIDE_TARGET].create_role) {
                if (missing == NULL)
                    missing = add(
                        found, crew->config, "roles-missing", SEVERITY_ERROR,
                        "roles do not exist on the target, and our role there may not create any",
                        "Give it CREATEROLE, or create them by yourself (pg_dumpall --roles-only). "
                        "Accepted, objects of theirs belong to our role.");
                object(found, missing, source[i].name);
            }
            if (pass == 1 && !rights[SIDE_SOURCE].read_passwords && source[i].login) {
                if (secret == NULL)
                    secret = add(
                        found, crew->config, "role-passwords", SEVERITY_WARNING,
                        "passwords of roles cannot be read: only a superuser of the source may",
                        "The upgrade creates these roles without password. Set them on the target "
                        "before the switch.");
                object(found, secret, source[i].name);
            }
        }
}

static void find_sessions(Crew *crew, const ServerRightsRow *rights, ServerFindings *found)
{
    AUTO_CTX(tmp, NULL);
    static const int each[] = {SESSIONS_SOURCE, SESSIONS_TARGET};
    Finding *few = NULL;

    for (int side = 0; side < 2; side++) {
        int64_t jobs = crew->config->jobs > 0 ? crew->config->jobs : 1;
        int64_t needed = (int64_t)crew->n * each[side] + jobs;

        if (needed <= rights[side].sessions_left)
            continue;
        if (few == NULL)
            few = add(found, crew->config, "few-sessions", SEVERITY_ERROR,
                      "max_connections leaves too few sessions for all databases",
                      "Raise it (needs a restart), end idle sessions, or upgrade in parts with "
                      "--exclude-database. Accept this if you know that sessions will be free.");
        object(found, few,
               mem_printf(tmp, "%s: %d left, up to %lld needed", side_name((Side)side),
                          rights[side].sessions_left, (long long)needed));
    }
}

static bool find_server(Crew *crew, ServerFindings *found, Err *err)
{
    AUTO_CTX(tmp, NULL);
    ServerRightsRow rights[2], *row;
    ServerRolesRow *roles[2];
    ServerTablespacesRow *spaces;
    size_t n_roles[2], n;

    for (int side = 0; side < 2; side++) {
        if (!q_server_rights(tmp, crew->conn[side], &row, &n, err) ||
            !q_server_roles(tmp, crew->conn[side], &roles[side], &n_roles[side], err))
            return false;
        rights[side] = *row;
    }
    if (!q_server_tablespaces(tmp, crew->conn[SIDE_SOURCE], &spaces, &n, err))
        return false;
    find_databases(crew, &rights[SIDE_TARGET], found);
    find_roles(crew, roles[SIDE_SOURCE], n_roles[SIDE_SOURCE], roles[SIDE_TARGET],
               n_roles[SIDE_TARGET], rights, found);
    find_sessions(crew, rights, found);
    if (n > 0) {
        Finding *f = add(found, crew->config, "server-tablespaces", SEVERITY_INFO,
                         "tablespaces of the source are not created on the target",
                         "Everything goes into the default tablespace of its database there.");

        for (size_t i = 0; i < n; i++)
            object(found, f, spaces[i].name);
    }
    return true;
}

static bool check_databases(Crew *crew, ServerFindings *found, Err *err)
{
    crew_reset(crew);
    for (size_t next = 0;;) {
        size_t running = 0;

        for (size_t i = 0; i < crew->n; i++)
            running += crew->databases[i].child != NULL ? 1 : 0;
        if (next < crew->n && running < AT_A_TIME) {
            Database *db = &crew->databases[next++];

            if (!db->there[SIDE_SOURCE] || db->member[SIDE_TARGET])
                continue;
            if (!crew_start(crew, db, "check", 1, LOG_WARN, !db->there[SIDE_TARGET], err))
                return false;
            continue;
        }
        if (running == 0)
            break;
        if (!crew_wait(crew, 1000, err))
            return false;
    }
    for (size_t i = 0; i < crew->n; i++) {
        const Database *db = &crew->databases[i];

        if (db->err->kind != ERR_NONE && db->err->kind != ERR_REFUSED)
            return err_copy(err, db->err);
        if (!db->started)
            continue;
        found->databases[i] = json_loads(db->out, 0, NULL);
        if (found->databases[i] == NULL)
            return err_set(err, ERR_BUG, "database \"%s\": the result of its check cannot be read",
                           db->name);
        found->errors += (size_t)json_integer_value(json_object_get(found->databases[i], "errors"));
    }
    return true;
}

bool server_find(const void *ctx, Crew *crew, ServerFindings *ret_found, Err *err)
{
    Config config = *crew->config;
    const Config *asked = crew->config;

    *ret_found = (ServerFindings){.databases = mem_array(ctx, json_t *, crew->n + 1),
                                  .n_databases = crew->n};
    if (!find_server(crew, ret_found, err))
        return false;
    ret_found->errors = check_count_errors(ret_found->server, ret_found->n_server);
    config.json = true; /* that is what we can read */
    crew->config = &config;
    bool ok = check_databases(crew, ret_found, err);
    crew->config = asked;
    return ok;
}

/* what a check of one database printed as JSON, as it was before */
static Finding *read_findings(const void *ctx, const json_t *json, size_t *ret_n)
{
    static const char *const severities[] = {"info", "warning", "error"};
    const json_t *list = json_object_get(json, "findings");
    Finding *findings = mem_array(ctx, Finding, json_array_size(list) + 1);

    *ret_n = json_array_size(list);
    for (size_t i = 0; i < *ret_n; i++) {
        const json_t *one = json_array_get(list, i);
        const json_t *objects = json_object_get(one, "objects");
        Finding *f = &findings[i];

        f->id = talk_text(one, "id");
        f->title = talk_text(one, "title");
        f->hint = talk_text(one, "hint");
        f->acceptable = json_is_true(json_object_get(one, "acceptable"));
        f->n_more = (size_t)json_integer_value(json_object_get(one, "more"));
        for (size_t s = 0; s < 3; s++)
            if (strcmp(severities[s], talk_text(one, "severity")) == 0)
                f->severity = (Severity)s;
        for (size_t o = 0; o < json_array_size(objects); o++)
            mem_push(findings, f->objects, f->n_objects,
                     json_string_value(json_array_get(objects, o)));
    }
    return findings;
}

static void print_text(const Crew *crew, const ServerFindings *found)
{
    AUTO_CTX(tmp, NULL);

    if (found->n_server > 0) {
        printf("Both servers\n\n");
        check_print(found->server, found->n_server, NULL, false);
    }
    for (size_t i = 0; i < found->n_databases; i++) {
        size_t n;
        const Finding *findings;

        if (found->databases[i] == NULL)
            continue;
        findings = read_findings(tmp, found->databases[i], &n);
        printf("%sDatabase \"%s\"%s\n", i + found->n_server > 0 ? "\n" : "",
               crew->databases[i].name,
               crew->databases[i].there[SIDE_TARGET] ? "" : " (to be created on the target)");
        check_print(findings, n, NULL, false);
    }
}

static void print_json(const Crew *crew, const ServerFindings *found)
{
    json_t *databases = json_object();

    for (size_t i = 0; i < found->n_databases; i++)
        if (found->databases[i] != NULL)
            json_object_set(databases, crew->databases[i].name, found->databases[i]);
    json_t *all = json_pack("{s:o, s:o, s:I}", "server", check_json(found->server, found->n_server),
                            "databases", databases, "errors", (json_int_t)found->errors);
    json_dumpf(all, stdout, JSON_INDENT(2) | JSON_PRESERVE_ORDER);
    printf("\n");
    json_decref(all);
}

bool server_check(const Config *config, Err *err)
{
    AUTO_CTX(tmp, NULL);
    ServerFindings found;
    Crew *crew = server_open(tmp, config, SERVER_ALL, err);

    if (crew == NULL)
        return false;
    bool any = false;
    for (size_t i = 0; i < crew->n; i++)
        any = any || !crew->databases[i].member[SIDE_TARGET];
    if (!any) {
        err_set(err, ERR_STATE, "these databases are in a run already");
        return err_hint(err, "\"pgtandem status --all-databases\" shows how far it is.");
    }
    if (!server_find(tmp, crew, &found, err))
        return false;
    if (config->json)
        print_json(crew, &found);
    else
        print_text(crew, &found);
    size_t errors = found.errors;
    for (size_t i = 0; i < found.n_databases; i++)
        json_decref(found.databases[i]);
    if (errors == 0)
        return true;
    err_set(err, ERR_REFUSED, "%zu finding%s in the way of an upgrade of all databases", errors,
            errors == 1 ? " stands" : "s stand");
    return err_hint(err, "Nothing was changed.");
}
