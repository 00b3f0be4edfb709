/*
 * Preflight: see check.h.
 *
 * A check is a row of the table at the end of this file. Most are a query whose rows are the
 * objects in the way; the others are a function that compares the two nodes. Either adds objects to
 * the finding (no object: nothing found) and may replace the row's texts where those depend on what
 * was found.
 */
#include "check/check.h"

#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/str.h"
#include "check/filters.h"
#include "model/provider.h"
#include "pg/sqlstate.h"
#include "sql/queries.h"

enum {
    MAX_OBJECTS = 20, /* named; the rest is counted */
    TEXT_WIDTH = 96,
    TEXT_INDENT = 4,
    COPY_MB_PER_S = 50 /* what a single connection copies, for estimates */
};

#define LARGE_KEYLESS_BYTES ((int64_t)1024 * 1024 * 1024)
/* copied in the pause; about a second */
#define LARGE_CONFIG_BYTES ((int64_t)64 * 1024 * 1024)

/* what several checks need, read once */
typedef struct Facts {
    CheckNodeRow *node;
    ProviderRow *provider;
    CheckSettingsRow *settings;
    size_t n_settings;
    CheckSchemasRow *schemas;
    size_t n_schemas;
} Facts;

typedef struct Preflight {
    const CheckInput *in;
    Facts src;
    Facts dst;
    CheckExtensionsRow *extensions; /* on the source */
    size_t n_extensions;
} Preflight;

/* what a check means for a run that moves a part of a database */
typedef enum Part {
    PART_SAME,
    PART_NAMED, /* its objects begin with a relation, or have one behind "of": others are left out */
    PART_WHOLE  /* nothing: it is about what such a run leaves alone */
} Part;

typedef struct Check {
    const char *id;
    Part part;
    Severity severity;
    bool acceptable;
    bool on_target; /* where query runs */
    bool of_target; /* about the target database as such: not when it is still to be made */
    const Query *query;
    bool (*run)(const Preflight *p, Finding *f, Err *err);
    const char *title;
    const char *hint;
} Check;

static void add_object(Finding *f, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/*
 * findings and their texts are owned by the array of findings, which is the talloc parent of
 * objects
 */
static void add_object(Finding *f, const char *fmt, ...)
{
    va_list args;

    if (f->n_objects == MAX_OBJECTS) {
        f->n_more++;
        return;
    }
    va_start(args, fmt);
    f->objects[f->n_objects++] = mem_or_die(talloc_vasprintf(f->objects, fmt, args));
    va_end(args);
}

#define set_title(f, ...) ((f)->title = mem_printf((f)->objects, __VA_ARGS__))
#define set_hint(f, ...) ((f)->hint = mem_printf((f)->objects, __VA_ARGS__))

/* --- the two nodes as such --- */

static bool check_same(const Preflight *p, Finding *f, Err *err)
{
    const CheckNodeRow *a = p->src.node, *b = p->dst.node;

    (void)err;
    /* no two servers were started in the same microsecond, physical copies of each other included */
    if (strcmp(a->started, b->started) == 0 && strcmp(a->database, b->database) == 0 &&
        a->database_oid == b->database_oid)
        add_object(f, "database %s", a->database);
    return true;
}

static bool check_older(const Preflight *p, Finding *f, Err *err)
{
    int source = conn_caps(p->in->source)->version, target = conn_caps(p->in->target)->version;
    char source_text[32], target_text[32];

    (void)err;
    if (p->in->allow_downgrade || caps_major(target) >= caps_major(source))
        return true;
    caps_version_text(source, source_text, sizeof source_text);
    caps_version_text(target, target_text, sizeof target_text);
    add_object(f, "source %s, target %s", source_text, target_text);
    return true;
}

static bool check_source_recovery(const Preflight *p, Finding *f, Err *err)
{
    (void)err;
    if (p->src.node->in_recovery)
        add_object(f, "the source is in recovery");
    return true;
}

static bool check_target_recovery(const Preflight *p, Finding *f, Err *err)
{
    (void)err;
    if (p->dst.node->in_recovery)
        add_object(f, "the target is in recovery");
    return true;
}

static bool check_dump_missing(const Preflight *p, Finding *f, Err *err)
{
    (void)err;
    if (p->in->pg_dump == NULL)
        add_object(f, "pg_dump");
    return true;
}

static bool check_dump_old(const Preflight *p, Finding *f, Err *err)
{
    int source = conn_caps(p->in->source)->version;
    char source_text[32], dump_text[32];

    (void)err;
    if (p->in->pg_dump == NULL || caps_major(p->in->pg_dump_version) >= caps_major(source))
        return true;
    caps_version_text(source, source_text, sizeof source_text);
    caps_version_text(p->in->pg_dump_version, dump_text, sizeof dump_text);
    add_object(f, "%s is of version %s, the source of %s", p->in->pg_dump, dump_text, source_text);
    return true;
}

static bool is_listed(const char *const *texts, size_t n, const char *text)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(texts[i], text) == 0)
            return true;
    return false;
}

/*
 * What is selected belongs to the run, on both nodes: nothing of it may be there. Nor may the names that come with
 * it be taken, those of indexes above all, which would be noticed only after the rows were copied.
 */
static bool check_part_not_empty(const Preflight *p, Finding *f, Err *err)
{
    AUTO_CTX(tmp, NULL);
    SchemaPrintsRow *prints;
    CheckNamesRow *here, *there;
    size_t n, n_prints, n_here, n_there;
    const char **taken = scope_taken(tmp, p->in->target_scope, &n);

    for (size_t i = 0; i < n; i++)
        add_object(f, "%s", taken[i]);
    if (!q_schema_prints(tmp, p->in->target, &prints, &n_prints, err) ||
        !q_check_names(tmp, p->in->source, &here, &n_here, err) ||
        !q_check_names(tmp, p->in->target, &there, &n_there, err))
        return false;
    for (size_t i = 0; i < n_prints; i++)
        if (prints[i].relation == NULL && strcmp(prints[i].schema_name, "-") != 0 &&
            scope_has_schema(p->in->target_scope, prints[i].schema_name))
            add_object(f, "%s", prints[i].object);
    for (size_t i = 0; i < n_here; i++) {
        const char *schema = here[i].schema_name, *bare = here[i].name;

        /* what an extension has comes with none of our rows */
        if (here[i].in_extension || !scope_has(p->in->source_scope, schema, here[i].relation))
            continue;
        selection_to_target(p->in->selection, &schema, &bare);
        const char *name = mem_printf(tmp, "%s.%s", schema, bare);
        for (size_t k = 0; k < n_there; k++)
            if (strcmp(bare, there[k].name) == 0 && strcmp(schema, there[k].schema_name) == 0 &&
                !is_listed(taken, n, name)) {
                add_object(f, "%s", name);
                break;
            }
    }
    if (f->n_objects > 0) {
        set_title(f, "names of what is selected are taken on the target");
        set_hint(f, "Drop or rename these objects there, or select something else. Nothing of the "
                    "same name may be there, with --allow-nonempty neither.");
    }
    return true;
}

static bool check_not_empty(const Preflight *p, Finding *f, Err *err)
{
    AUTO_CTX(tmp, NULL);
    UserObjectsRow *rows;
    size_t n;

    if (p->in->target_scope != NULL)
        return check_part_not_empty(p, f, err);
    if (p->in->allow_nonempty)
        return true;
    if (!q_user_objects(tmp, p->in->target, &rows, &n, err))
        return false;
    for (size_t i = 0; i < n; i++)
        add_object(f, "%s %s%s", str_count(tmp, rows[i].n), rows[i].kind,
                   rows[i].n == 1 ? "" : "s");
    return true;
}

static void missing_privileges(const Facts *facts, const char *side, Finding *f)
{
    if (!facts->node->may_create)
        add_object(f, "%s: CREATE on database %s", side, facts->node->database);
    if (!facts->node->may_temp)
        add_object(f, "%s: TEMP on database %s", side, facts->node->database);
}

static bool check_privileges(const Preflight *p, Finding *f, Err *err)
{
    (void)err;
    missing_privileges(&p->src, "source", f);
    missing_privileges(&p->dst, "target", f);
    for (size_t s = 0; s < p->src.n_schemas; s++) {
        const CheckSchemasRow *schema = &p->src.schemas[s];

        if (!schema->used || !scope_enters(p->in->source_scope, schema->schema_name))
            continue;
        if (!schema->may_use)
            add_object(f, "source: USAGE on schema %s", schema->schema_name);
        const char *there = schema->schema_name, *none = NULL;
        selection_to_target(p->in->selection, &there, &none);
        for (size_t d = 0; d < p->dst.n_schemas; d++)
            if (strcmp(there, p->dst.schemas[d].schema_name) == 0 &&
                !(p->dst.schemas[d].may_create && p->dst.schemas[d].may_use))
                add_object(f, "target: CREATE and USAGE on schema %s", there);
    }
    if (f->n_objects > 0)
        set_hint(f,
                 "Grant them to \"%s\" on the source and to \"%s\" on the target, e.g. GRANT "
                 "CREATE, TEMPORARY ON "
                 "DATABASE ...",
                 p->src.node->role_name, p->dst.node->role_name);
    return true;
}

static bool name_taken(Conn *conn, Finding *f, Err *err)
{
    AUTO_CTX(tmp, NULL);
    HasControlRow *rows;
    size_t n;

    if (!q_has_control(tmp, conn, &rows, &n, err))
        return false;
    if (rows[0].present && !rows[0].readable)
        add_object(f, "%s: schema pgtandem", conn_label(conn));
    return true;
}

static bool check_name_taken(const Preflight *p, Finding *f, Err *err)
{
    return name_taken(p->in->source, f, err) && name_taken(p->in->target, f, err);
}

static bool check_encoding(const Preflight *p, Finding *f, Err *err)
{
    const CheckNodeRow *source = p->src.node, *target = p->dst.node;

    (void)err;
    if (strcmp(source->encoding, target->encoding) == 0)
        return true;
    add_object(f, "source %s, target %s", source->encoding, target->encoding);
    if (strcmp(target->encoding, "UTF8") != 0)
        return true;
    f->severity = SEVERITY_WARNING;
    if (strcmp(source->encoding, "SQL_ASCII") == 0)
        set_hint(f, "The source checks no encoding: rows that are not valid UTF-8 will be refused "
                    "by the target. Find "
                    "them before the upgrade.");
    else
        set_hint(f, "Values are converted; a text may need more bytes on the target, which matters "
                    "where indexes "
                    "are near their size limit. Order by code point changes in collation \"C\".");
    return true;
}

static char *plain_locale(const void *ctx, const char *locale)
{
    Str *s = str_new(ctx);

    /* en_US.UTF-8 and en_US.utf8 are one locale, and so are C and POSIX */
    if (strcmp(locale, "POSIX") == 0)
        locale = "C";
    for (; *locale != '\0'; locale++)
        if (*locale != '-')
            str_char(s, *locale >= 'A' && *locale <= 'Z' ? (char)(*locale + ('a' - 'A')) : *locale);
    return s->text;
}

static bool same_locale(const char *a, const char *b)
{
    AUTO_CTX(tmp, NULL);

    return strcmp(plain_locale(tmp, a), plain_locale(tmp, b)) == 0;
}

static bool check_collation(const Preflight *p, Finding *f, Err *err)
{
    const CheckNodeRow *a = p->src.node, *b = p->dst.node;

    (void)err;
    if (strcmp(a->provider, b->provider) != 0)
        add_object(f, "locale provider: source %s, target %s", a->provider, b->provider);
    if (!same_locale(a->collation_name, b->collation_name))
        add_object(f, "LC_COLLATE: source %s, target %s", a->collation_name, b->collation_name);
    if (!same_locale(a->ctype_name, b->ctype_name))
        add_object(f, "LC_CTYPE: source %s, target %s", a->ctype_name, b->ctype_name);
    if (strcmp(a->provider, b->provider) == 0 && strcmp(a->locale_name, b->locale_name) != 0)
        add_object(f, "locale: source %s, target %s", a->locale_name, b->locale_name);
    return true;
}

static bool is_number(const char *name)
{
    return str_starts(name, "max_");
}

static bool check_settings(const Preflight *p, Finding *f, Err *err)
{
    (void)err;
    for (size_t s = 0; s < p->src.n_settings; s++) {
        const CheckSettingsRow *a = &p->src.settings[s];

        for (size_t d = 0; d < p->dst.n_settings; d++) {
            const CheckSettingsRow *b = &p->dst.settings[d];

            if (strcmp(a->name, b->name) != 0)
                continue;
            if (is_number(a->name) ? strtol(b->value, NULL, 10) < strtol(a->value, NULL, 10)
                                   : strcasecmp(a->value, b->value) != 0)
                add_object(f, "%s: source %s, target %s", a->name, a->value, b->value);
        }
    }
    return true;
}

static bool check_locks(const Preflight *p, Finding *f, Err *err)
{
    AUTO_CTX(tmp, NULL);
    int64_t needed = p->src.node->relations;

    (void)err;
    if (p->src.node->lock_slots < needed)
        add_object(f, "source: room for %s locks", str_count(tmp, p->src.node->lock_slots));
    if (p->dst.node->lock_slots < needed)
        add_object(f, "target: room for %s locks", str_count(tmp, p->dst.node->lock_slots));
    if (f->n_objects > 0)
        set_title(f, "the lock table may be too small for %s tables, indexes and sequences",
                  str_count(tmp, needed));
    return true;
}

static bool may_be_replica(Conn *conn, const Facts *facts, bool *ret_may, Err *err)
{
    /*
     * managed services have ways of their own to allow it, so try; but an error would end a
     * transaction
     */
    if (facts->node->may_be_replica || conn_in_transaction(conn)) {
        *ret_may = facts->node->may_be_replica;
        return true;
    }
    if (!conn_try_replica_role(conn, ret_may, err))
        return false;
    return !*ret_may || conn_do(conn, "RESET session_replication_role", err);
}

static void add_no_replica(const void *ctx, Conn *conn, const Facts *facts, Finding *f)
{
    add_object(f, "%s: role %s. %s", conn_label(conn), facts->node->role_name,
               provider_allow_replica(ctx, facts->provider, conn_caps(conn)->has_parameter_rights));
}

static bool check_replica_role(const Preflight *p, Finding *f, Err *err)
{
    AUTO_CTX(tmp, NULL);
    bool source, target;

    if (!may_be_replica(p->in->source, &p->src, &source, err) ||
        !may_be_replica(p->in->target, &p->dst, &target, err))
        return false;
    if (!source)
        add_no_replica(tmp, p->in->source, &p->src, f);
    if (!target)
        add_no_replica(tmp, p->in->target, &p->dst, f);
    return true;
}

/* whether our role may not bring such a trigger into the state, or not from it into sleep and back */
static bool cannot_switch(Conn *conn, const Facts *facts, bool replica, const char *enabled)
{
    if (conn_caps(conn)->owners_switch_inherited || facts->node->is_superuser)
        return false;
    return strcmp(enabled, "O") != 0 || !replica;
}

static bool check_inherited_triggers(const Preflight *p, Finding *f, Err *err)
{
    AUTO_CTX(tmp, NULL);
    CheckInheritedTriggersRow *rows;
    size_t n;
    bool source, target;

    if (!q_check_inherited_triggers(tmp, p->in->source, &rows, &n, err) ||
        !may_be_replica(p->in->source, &p->src, &source, err) ||
        !may_be_replica(p->in->target, &p->dst, &target, err))
        return false;
    for (size_t i = 0; i < n; i++) {
        const bool is_off = strcmp(rows[i].enabled, "D") == 0;

        if (scope_mentions(p->in->source_scope, rows[i].object) &&
            ((!is_off && cannot_switch(p->in->source, &p->src, source, rows[i].enabled)) ||
             cannot_switch(p->in->target, &p->dst, target, rows[i].enabled)))
            add_object(f, "%s", rows[i].object);
    }
    return true;
}

static bool check_provider_schemas(const Preflight *p, Finding *f, Err *err)
{
    (void)err;
    if (p->src.provider->own_schema)
        add_object(f, "source: _heroku");
    if (p->dst.provider->own_schema)
        add_object(f, "target: _heroku");
    return true;
}

/* --- extensions --- */

/* compares 3.4.10 with 3.4.9 by their numbers; 0 when they are not plain version numbers */
static int compare_versions(const char *a, const char *b)
{
    if (a[strspn(a, "0123456789.")] != '\0' || b[strspn(b, "0123456789.")] != '\0')
        return 0;
    while (*a != '\0' || *b != '\0') {
        char *a_end, *b_end;
        long x = strtol(a, &a_end, 10), y = strtol(b, &b_end, 10);

        if (x != y)
            return x < y ? -1 : 1;
        a = *a_end == '.' ? a_end + 1 : a_end;
        b = *b_end == '.' ? b_end + 1 : b_end;
    }
    return 0;
}

/* have is what the target has of the source's extension, or NULL */
typedef void ExtensionTest(const Preflight *p, const CheckExtensionsRow *extension,
                           const CheckAvailableRow *have, Finding *f);

static bool for_extensions(const Preflight *p, ExtensionTest *test, Finding *f, Err *err)
{
    AUTO_CTX(tmp, NULL);
    CheckAvailableRow *available;
    size_t n;

    if (p->n_extensions == 0)
        return true;
    if (!q_check_available(tmp, p->in->target, &available, &n, err))
        return false;
    for (size_t i = 0; i < p->n_extensions; i++) {
        const CheckAvailableRow *have = NULL;

        for (size_t a = 0; a < n && have == NULL; a++)
            if (strcmp(available[a].name, p->extensions[i].name) == 0)
                have = &available[a];
        test(p, &p->extensions[i], have, f);
    }
    return true;
}

static void test_missing(const Preflight *p, const CheckExtensionsRow *extension,
                         const CheckAvailableRow *have, Finding *f)
{
    (void)p;
    if (have == NULL)
        add_object(f, "%s %s", extension->name, extension->version);
}

static bool check_extension_missing(const Preflight *p, Finding *f, Err *err)
{
    return for_extensions(p, test_missing, f, err);
}

static void test_older(const Preflight *p, const CheckExtensionsRow *extension,
                       const CheckAvailableRow *have, Finding *f)
{
    (void)p;
    if (have != NULL && compare_versions(have->version, extension->version) < 0)
        add_object(f, "%s: source %s, target %s", extension->name, extension->version,
                   have->version);
}

static bool check_extension_older(const Preflight *p, Finding *f, Err *err)
{
    return for_extensions(p, test_older, f, err);
}

static void test_privilege(const Preflight *p, const CheckExtensionsRow *extension,
                           const CheckAvailableRow *have, Finding *f)
{
    if (have != NULL && !have->installed && !have->anybody_creates && !p->dst.node->is_superuser)
        add_object(f, "%s", extension->name);
}

static bool check_extension_privilege(const Preflight *p, Finding *f, Err *err)
{
    const ProviderRow *provider = p->dst.provider;
    const char *admin_role = provider_admin_role(provider);

    /* what a service offers its customers' administrators may create, trusted or not */
    if (provider->name[0] != '\0' && provider->admin)
        return true;
    if (admin_role != NULL)
        set_hint(f, "Let an administrator run CREATE EXTENSION there, or GRANT %s TO %s.",
                 admin_role, provider->role_name);
    return for_extensions(p, test_privilege, f, err);
}

static void test_list(const Preflight *p, const CheckExtensionsRow *extension,
                      const CheckAvailableRow *have, Finding *f)
{
    (void)p;
    if (have != NULL && !have->installed && have->list != NULL)
        add_object(f, "%s (%s)", extension->name, have->list);
}

static bool check_extension_list(const Preflight *p, Finding *f, Err *err)
{
    return for_extensions(p, test_list, f, err);
}

/* empty as long as the database is to be made: another one stands in for it */
static const Catalog *catalog_of_target(const Preflight *p)
{
    static const Catalog nothing = {0};

    return p->in->target_to_be_made ? &nothing : p->in->target_catalog;
}

static bool check_extension_tables(const Preflight *p, Finding *f, Err *err)
{
    AUTO_CTX(tmp, NULL);
    const Catalog *catalog = p->in->source_catalog, *there_now = catalog_of_target(p);
    CheckConfigSequencesRow *sequences;
    size_t n;

    for (size_t i = 0; i < catalog->n_tables; i++) {
        const Table *table = &catalog->tables[i], *there;

        /* -1 or 0 before its first ANALYZE, so the size decides */
        if (table->blocks == 0 || (!table->in_extension && !table_is_config(table)))
            continue;
        there = catalog_find(there_now, table->schema, table->name);
        if (table->in_extension && table->config != NULL && !table->owned)
            add_object(f, "%s (%s, configuration, source: owner %s)", table_label(tmp, table),
                       str_bytes_human(tmp, table->bytes), table->owner);
        else if (table->in_extension)
            add_object(f, "%s (%s)", table_label(tmp, table), str_bytes_human(tmp, table->bytes));
        else if (there != NULL && there->in_extension)
            add_object(f, "%s (%s, configuration, target: %s)", table_label(tmp, table),
                       str_bytes_human(tmp, table->bytes),
                       there->config == NULL ? "not of this version of the extension"
                                             : mem_printf(tmp, "owner %s", there->owner));
    }
    if (!q_check_config_sequences(tmp, p->in->source, &sequences, &n, err))
        return false;
    for (size_t i = 0; i < n; i++)
        add_object(f, "%s", sequences[i].object);
    return true;
}

/* users' rows of a configuration table; estimates know nothing of conditions */
static bool count_config(Conn *conn, const Table *table, int64_t *ret_rows, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Sql *q = sql_new(tmp);
    Rows *rows;

    sql_add(q, "SELECT count(*) FROM ");
    sql_trusted(q, table_config_rows(tmp, table));
    sql_add(q, " t");
    if (!conn_query(tmp, conn, q, &rows, err))
        return err_add(err, "while reading table %s of an extension", table_label(tmp, table));
    *ret_rows = rows_i64(rows, 0, 0);
    return true;
}

static bool add_config_rows(Conn *conn, const Catalog *catalog, const Catalog *other, Finding *f,
                            Err *err)
{
    AUTO_CTX(tmp, NULL);

    for (size_t i = 0; i < catalog->n_tables; i++) {
        const Table *table = &catalog->tables[i], *there;
        int64_t n = 0;

        if (!table_is_config(table))
            continue;
        there = catalog_find(other, table->schema, table->name);
        if (there != NULL && !table_is_config(there))
            continue;
        if (!count_config(conn, table, &n, err))
            return false;
        if (n > 0)
            add_object(f, "%s (%s row%s)", table_label(tmp, table), str_count(tmp, n),
                       n == 1 ? "" : "s");
    }
    return true;
}

static bool check_extension_rows(const Preflight *p, Finding *f, Err *err)
{
    AUTO_CTX(tmp, NULL);
    const Catalog *catalog = p->in->source_catalog;

    for (size_t i = 0; i < catalog->n_tables; i++) {
        const Table *table = &catalog->tables[i];

        if (!table_is_config(table) || table->bytes < LARGE_CONFIG_BYTES)
            continue;
        f->severity = SEVERITY_WARNING;
        set_hint(f,
                 "Table %s is large (%s): if it changes before the switch, copying it makes the "
                 "pause long. Delete what is not needed, or have it written less.",
                 table_label(tmp, table), str_bytes_human(tmp, table->bytes));
    }
    return add_config_rows(p->in->source, catalog, catalog_of_target(p), f, err);
}

/* the copy has what the source has: what the target had goes */
static bool check_extension_rows_target(const Preflight *p, Finding *f, Err *err)
{
    return add_config_rows(p->in->target, p->in->target_catalog, p->in->source_catalog, f, err);
}

/* --- tables --- */

static bool is_keyless(const Table *table)
{
    return table->n_keys == 0 && !table->in_extension && !table_is_config(table);
}

static bool check_keyless(const Preflight *p, Finding *f, Err *err)
{
    AUTO_CTX(tmp, NULL);
    const Catalog *catalog = p->in->source_catalog;

    (void)err;
    for (size_t i = 0; i < catalog->n_tables; i++)
        if (is_keyless(&catalog->tables[i]))
            add_object(f, "%s (%s)", table_label(tmp, &catalog->tables[i]),
                       str_bytes_human(tmp, catalog->tables[i].bytes));
    return true;
}

static bool check_keyless_large(const Preflight *p, Finding *f, Err *err)
{
    AUTO_CTX(tmp, NULL);
    const Catalog *catalog = p->in->source_catalog;
    int64_t bytes = 0;

    (void)err;
    for (size_t i = 0; i < catalog->n_tables; i++)
        if (is_keyless(&catalog->tables[i]))
            bytes += catalog->tables[i].bytes;
    if (bytes <= LARGE_KEYLESS_BYTES)
        return true;
    add_object(f, "%s in all", str_bytes_human(tmp, bytes));
    return true;
}

static bool read_large(const void *ctx, Conn *conn, CheckLargeObjectsRow **ret, Err *err)
{
    size_t n;

    return q_check_large_objects(ctx, conn, ret, &n, err);
}

/* carried when both roles may; else told, if there are any */
static bool check_large_objects(const Preflight *p, Finding *f, Err *err)
{
    AUTO_CTX(tmp, NULL);
    CheckLargeObjectsRow *source, *target;

    if (!read_large(tmp, p->in->source, &source, err) ||
        !read_large(tmp, p->in->target, &target, err))
        return false;
    if (p->in->source_scope != NULL) {
        if (source->n > 0)
            add_object(f, "%s large object%s", str_count(tmp, source->n),
                       source->n == 1 ? "" : "s");
        set_title(f, "large objects are not carried when only a part of a database is moved");
        set_hint(f, "They are in no schema. Move them into bytea columns, or accept it and copy "
                    "them by yourself.");
        return true;
    }
    if (source->n == 0 || (source->superuser && target->superuser))
        return true;
    add_object(f, "%s large object%s, %s", str_count(tmp, source->n), source->n == 1 ? "" : "s",
               str_bytes_human(tmp, source->bytes));
    if (!source->superuser)
        add_object(f, "source: role %s is no superuser", p->src.node->role_name);
    if (!target->superuser)
        add_object(f, "target: role %s is no superuser", p->dst.node->role_name);
    return true;
}

/* objects keep their ids, and what the source does not have is taken out of the copy */
static bool check_large_target(const Preflight *p, Finding *f, Err *err)
{
    AUTO_CTX(tmp, NULL);
    CheckLargeObjectsRow *source, *target;

    if (!read_large(tmp, p->in->source, &source, err) ||
        !read_large(tmp, p->in->target, &target, err))
        return false;
    if (target->n > 0 && source->superuser && target->superuser && p->in->source_scope == NULL)
        add_object(f, "%s large object%s", str_count(tmp, target->n), target->n == 1 ? "" : "s");
    return true;
}

static bool check_superuser_only(const Preflight *p, Finding *f, Err *err)
{
    AUTO_CTX(tmp, NULL);
    CheckSuperusersOnlyRow *rows;
    size_t n;

    if (p->dst.node->is_superuser || p->in->source_scope != NULL)
        return true;
    if (!q_check_superusers_only(tmp, p->in->source, &rows, &n, err))
        return false;
    for (size_t i = 0; i < n; i++)
        add_object(f, "%s", rows[i].object);
    return true;
}

static bool check_matviews(const Preflight *p, Finding *f, Err *err)
{
    AUTO_CTX(tmp, NULL);
    MaterializedViewsRow *rows;
    size_t n;

    if (!q_materialized_views(tmp, p->in->source, &rows, &n, err))
        return false;
    for (size_t i = 0; i < n; i++)
        if (scope_has(p->in->source_scope, rows[i].schema_name, rows[i].view_name))
            add_object(f, "%s.%s", rows[i].schema_name, rows[i].view_name);
    return true;
}

/* --- a part of a database --- */

static bool check_unmatched(const Preflight *p, Finding *f, Err *err)
{
    AUTO_CTX(tmp, NULL);
    size_t n;
    const char **patterns = scope_unmatched(tmp, p->in->source_scope, &n);

    (void)err;
    for (size_t i = 0; i < n; i++)
        add_object(f, "%s", patterns[i]);
    if (n == 0 && scope_is_empty(p->in->source_scope))
        add_object(f, "everything that is selected is left out again");
    return true;
}

/* --- some rows of a table --- */

static void found_filter(void *arg, const char *text)
{
    add_object(arg, "%s", text);
}

static bool check_filters_unmatched(const Preflight *p, Finding *f, Err *err)
{
    (void)err;
    filters_unmatched(p->in->source_catalog, p->in->filters, found_filter, f);
    return true;
}

static bool check_filters_unfit(const Preflight *p, Finding *f, Err *err)
{
    (void)err;
    filters_unfit(p->in->source_catalog, p->in->filters, found_filter, f);
    return true;
}

static bool check_filters_refused(const Preflight *p, Finding *f, Err *err)
{
    return filters_refused(p->in->source, p->in->source_catalog, p->in->filters, found_filter, f,
                           err);
}

static bool check_filters_orphans(const Preflight *p, Finding *f, Err *err)
{
    return filters_orphans(p->in->source, p->in->source_catalog, p->in->source_scope,
                           p->in->filters, found_filter, f, err);
}

static bool check_torn(const Preflight *p, Finding *f, Err *err)
{
    AUTO_CTX(tmp, NULL);
    size_t n;
    const char **torn = scope_torn(tmp, p->in->source_scope, &n);

    (void)err;
    for (size_t i = 0; i < n; i++)
        add_object(f, "%s", torn[i]);
    return true;
}

static bool is_within(const Scope *scope, const CheckNeedsRow *need)
{
    /* extensions are carried with whole databases only */
    if (need->to_extension && !scope_has_unowned(scope))
        return false;
    if (need->to_relation != NULL)
        return scope_has(scope, need->to_schema, need->to_relation);
    return need->to_schema[0] == '\0' ? scope_has_unowned(scope)
                                      : scope_has_schema(scope, need->to_schema);
}

/* what views, defaults, triggers and columns need of what is not selected, and the target has not either */
static bool check_needs(const Preflight *p, Finding *f, Err *err)
{
    AUTO_CTX(tmp, NULL);
    const Scope *scope = p->in->source_scope;
    Str *names = str_new(tmp);
    CheckNeedsRow *needs;
    CheckHaveRow *have;
    size_t n, n_have, n_out = 0;

    if (scope == NULL)
        return true;
    if (!q_check_needs(tmp, p->in->source, &needs, &n, err))
        return false;
    str_char(names, '{');
    for (size_t i = 0; i < n; i++) {
        const CheckNeedsRow need = needs[i];

        if (is_within(scope, &need) ||
            !(need.from_relation != NULL ? scope_has(scope, need.from_schema, need.from_relation)
                                         : scope_has_schema(scope, need.from_schema)))
            continue;
        if (n_out > 0)
            str_char(names, ',');
        str_array_element(names, mem_printf(tmp, "%s %s", need.to_type, need.to_identity));
        needs[n_out++] = need;
    }
    str_char(names, '}');
    if (n_out == 0)
        return true;
    if (!q_check_have(tmp, p->in->target, names->text, &have, &n_have, err))
        return false;
    for (size_t i = 0; i < n_out; i++) {
        const char *name = mem_printf(tmp, "%s %s", needs[i].to_type, needs[i].to_identity);
        bool found = false;

        for (size_t k = 0; k < n_have; k++)
            found = found || strcmp(have[k].name, name) == 0;
        /* definitions get their other names where only extensions of the target are at hand */
        if (!found || (selection_renames(p->in->selection) && !needs[i].to_extension))
            add_object(f, "%s needs %s", needs[i].from_text, name);
    }
    return true;
}

/* two things would have the same name on the target */
static bool check_rename_taken(const Preflight *p, Finding *f, Err *err)
{
    AUTO_CTX(tmp, NULL);
    const Selection *selection = p->in->selection;
    CheckNamesRow *names;
    size_t n;

    if (!selection_renames(selection))
        return true;
    for (size_t i = 0; i < selection->n_renames; i++) {
        const Rename *r = &selection->renames[i];
        const char *schema = r->to, *none = NULL;

        if (r->name != NULL || !scope_enters(p->in->source_scope, r->to))
            continue;
        selection_to_target(selection, &schema, &none);
        if (strcmp(schema, r->to) == 0)
            add_object(f, "schema %s", r->to);
    }
    if (!q_check_names(tmp, p->in->source, &names, &n, err))
        return false;
    for (size_t i = 0; i < n; i++) {
        const char *schema = names[i].schema_name, *name = names[i].name;

        for (size_t k = 0; k < selection->n_renames; k++) {
            const Rename *r = &selection->renames[k];

            if (r->name == NULL || strcmp(r->schema, schema) != 0 || strcmp(r->to, name) != 0)
                continue;
            selection_to_target(selection, &schema, &name);
            if (strcmp(name, r->to) == 0)
                add_object(f, "%s.%s", names[i].schema_name, r->to);
            break;
        }
    }
    return true;
}

static bool check_rename_scratch(const Preflight *p, Finding *f, Err *err)
{
    AUTO_CTX(tmp, NULL);
    CheckMayMakeDatabaseRow *row;
    int target = conn_caps(p->in->target)->version;
    char text[32];
    size_t n;

    if (!selection_renames(p->in->selection))
        return true;
    if (!q_check_may_make_database(tmp, p->in->target, &row, &n, err))
        return false;
    if (n == 1 && !row->may)
        add_object(f, "target: CREATEDB for role %s", p->dst.node->role_name);
    if (caps_major(p->in->pg_dump_target_version) < caps_major(target)) {
        caps_version_text(target, text, sizeof text);
        add_object(f, "pg_dump of version %s", text);
    }
    return true;
}

/* values are ids that travel as the names that they stand for; of roles none is given */
static bool is_name_type(const char *type)
{
    static const char *const types[] = {"regclass",     "regtype",     "regproc",   "regprocedure",
                                        "regoper",      "regoperator", "regconfig", "regdictionary",
                                        "regnamespace", "regcollation"};

    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        size_t len = strlen(types[i]);

        if (strncmp(type, types[i], len) == 0 && (type[len] == '\0' || type[len] == '['))
            return true;
    }
    return false;
}

static bool check_rename_text(const Preflight *p, Finding *f, Err *err)
{
    AUTO_CTX(tmp, NULL);
    const Selection *selection = p->in->selection;
    Str *words = str_new(tmp);
    CheckFunctionTextsRow *rows;
    size_t n;

    if (!selection_renames(selection))
        return true;
    str_char(words, '{');
    for (size_t i = 0; i < selection->n_renames; i++) {
        if (i > 0)
            str_char(words, ',');
        str_array_element(words, selection->renames[i].name == NULL ? selection->renames[i].schema
                                                                    : selection->renames[i].name);
    }
    str_char(words, '}');
    if (!q_check_function_texts(tmp, p->in->source, words->text, &rows, &n, err))
        return false;
    for (size_t i = 0; i < n; i++)
        if (scope_has_schema(p->in->source_scope, rows[i].schema_name))
            add_object(f, "%s mentions %s", rows[i].name, rows[i].word);
    for (size_t t = 0; t < p->in->source_catalog->n_tables; t++) {
        const Table *table = &p->in->source_catalog->tables[t];

        for (size_t c = 0; c < table->n_columns; c++)
            if (is_name_type(table->columns[c].base_type))
                add_object(f, "column %s of %s holds names", table->columns[c].name,
                           table_label(tmp, table));
    }
    return true;
}

/*
 * A sequence goes on on the target, and comes back with the number that it has there: what took numbers from it on
 * the source meanwhile would get them again.
 */
static bool check_sequences_shared(const Preflight *p, Finding *f, Err *err)
{
    AUTO_CTX(tmp, NULL);
    const Scope *scope = p->in->source_scope;
    CheckNeedsRow *needs;
    size_t n;

    if (scope == NULL)
        return true;
    if (!q_check_needs(tmp, p->in->source, &needs, &n, err))
        return false;
    for (size_t i = 0; i < n; i++)
        if (strcmp(needs[i].to_type, "sequence") == 0 && needs[i].from_relation != NULL &&
            scope_has(scope, needs[i].to_schema, needs[i].to_relation) &&
            !scope_has(scope, needs[i].from_schema, needs[i].from_relation))
            add_object(f, "%s needs sequence %s", needs[i].from_text, needs[i].to_identity);
    return true;
}

static bool foreign_keys(const Preflight *p, bool out, Finding *f, Err *err)
{
    AUTO_CTX(tmp, NULL);
    const Scope *scope = p->in->source_scope;
    ForeignKeysRow *keys;
    size_t n;

    if (scope == NULL)
        return true;
    if (!q_foreign_keys(tmp, p->in->source, &keys, &n, err))
        return false;
    for (size_t i = 0; i < n; i++)
        if (scope_has(scope, keys[i].schema_name, keys[i].table_name) == out &&
            scope_has(scope, keys[i].to_schema, keys[i].to_table) == !out)
            add_object(f, "%s.%s (%s) refers to %s.%s", keys[i].schema_name, keys[i].table_name,
                       keys[i].name, keys[i].to_schema, keys[i].to_table);
    return true;
}

static bool check_keys_out(const Preflight *p, Finding *f, Err *err)
{
    return foreign_keys(p, true, f, err);
}

/*
 * On the way back rows are deleted in the source's tables. Where our role cannot keep foreign keys from acting,
 * those of other tables would refuse that, or delete rows that nobody asked for.
 */
static bool check_keys_in(const Preflight *p, Finding *f, Err *err)
{
    if (!foreign_keys(p, false, f, err))
        return false;
    if (f->n_objects > 0 && !may_be_replica(p->in->source, &p->src, &f->acceptable, err))
        return false;
    return true;
}

/* --- roles and sessions --- */

static const CheckRolesRow *find_role(const CheckRolesRow *roles, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(roles[i].name, name) == 0)
            return &roles[i];
    return NULL;
}

/* ALTER DATABASE … SET and ALTER ROLE … IN DATABASE … SET, which pg_dump leaves out */
static bool check_database_settings(const Preflight *p, Finding *f, Err *err)
{
    AUTO_CTX(tmp, NULL);
    CheckDatabaseSettingsRow *here, *there;
    size_t n_here, n_there;

    if (!q_check_database_settings(tmp, p->in->source, &here, &n_here, err) ||
        !q_check_database_settings(tmp, p->in->target, &there, &n_there, err))
        return false;
    for (size_t i = 0; i < n_here; i++) {
        bool found = false;

        for (size_t k = 0; k < n_there; k++)
            found = found || strcmp(here[i].setting, there[k].setting) == 0;
        if (!found)
            add_object(f, "%s", here[i].setting);
    }
    return true;
}

/*
 * a policy cannot be created without its roles, and a table must not come over without its policies
 */
static bool check_policy_roles(const Preflight *p, Finding *f, Err *err)
{
    AUTO_CTX(tmp, NULL);
    CheckPolicyRolesRow *used;
    CheckRolesRow *roles;
    size_t n_used, n_roles;

    if (!q_check_policy_roles(tmp, p->in->source, &used, &n_used, err) ||
        !q_check_roles(tmp, p->in->target, &roles, &n_roles, err))
        return false;
    for (size_t i = 0; i < n_used; i++)
        if (scope_mentions(p->in->source_scope, used[i].policy) &&
            find_role(roles, n_roles, used[i].role) == NULL)
            add_object(f, "%s (%s)", used[i].role, used[i].policy);
    return true;
}

static bool check_owners(const Preflight *p, Finding *f, Err *err)
{
    AUTO_CTX(tmp, NULL);
    CheckRolesUsedRow *used;
    CheckRolesRow *roles;
    size_t n_used, n_roles;

    if (!q_check_roles_used(tmp, p->in->source, &used, &n_used, err) ||
        !q_check_roles(tmp, p->in->target, &roles, &n_roles, err))
        return false;
    for (size_t i = 0; i < n_used; i++) {
        const CheckRolesRow *role = find_role(roles, n_roles, used[i].name);

        if (role == NULL && strcmp(used[i].name, p->src.node->role_name) == 0)
            add_object(f, "%s (our role on the source: what it owns will belong to \"%s\")",
                       used[i].name, p->dst.node->role_name);
        else if (role == NULL)
            add_object(f, "%s (%s here, does not exist on the target)", used[i].name,
                       used[i].owns ? "owns objects" : "has rights");
        else if (used[i].owns && !role->may_own)
            add_object(f, "%s (owns objects here, \"%s\" is not its member on the target)",
                       used[i].name, p->dst.node->role_name);
    }
    return true;
}

/* roles' own settings, of roles that are or should be on the target */
static bool check_role_settings(const Preflight *p, Finding *f, Err *err)
{
    AUTO_CTX(tmp, NULL);
    CheckRoleSettingsRow *here, *there;
    size_t n_here, n_there;

    if (!q_check_role_settings(tmp, p->in->source, &here, &n_here, err) ||
        !q_check_role_settings(tmp, p->in->target, &there, &n_there, err))
        return false;
    for (size_t i = 0; i < n_here; i++) {
        bool found = false;

        for (size_t k = 0; k < n_there; k++)
            found = found || (strcmp(here[i].role, there[k].role) == 0 &&
                              strcmp(here[i].setting, there[k].setting) == 0);
        if (!found)
            add_object(f, "role %s: %s", here[i].role, here[i].setting);
    }
    return true;
}

/*
 * Nothing lists the providers that a server has loaded, but it looks for the provider before it looks for the
 * object: so a label for what does not exist is refused with one error or another.
 */
static bool has_provider(Conn *conn, const char *provider, bool *ret_has, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Sql *q = sql_new(tmp);

    *ret_has = true;
    if (conn_in_transaction(conn))
        return true;
    sql_add(q, "SECURITY LABEL FOR ");
    sql_ident(q, provider);
    sql_add(q, " ON TABLE pgtandem.\"there is no such table\" IS NULL");
    if (conn_exec(conn, q, err))
        return true;
    *ret_has = !err_is(err, "22023");
    if (err->kind != ERR_SQL || conn_is_broken(conn))
        return false;
    err_clear(err);
    return true;
}

static bool check_security_labels(const Preflight *p, Finding *f, Err *err)
{
    CheckSecurityLabelsRow *rows;
    size_t n, missing = 0;

    if (!q_check_security_labels(f->objects, p->in->source, &rows, &n, err))
        return false;
    for (size_t i = 0; i < n; i++) {
        bool has;

        if (!has_provider(p->in->target, rows[i].provider, &has, err))
            return false;
        add_object(f, "%s (%lld label%s%s%s)", rows[i].provider, (long long)rows[i].n,
                   rows[i].n == 1 ? "" : "s",
                   rows[i].on_large > 0 ? ", those on large objects are not carried" : "",
                   has ? "" : ", the target does not have it");
        missing += has ? 0 : 1;
    }
    if (missing > 0) {
        f->severity = SEVERITY_WARNING;
        set_title(f, "there are security labels whose providers the target does not have: they are "
                     "not carried");
        set_hint(f, "Load the provider there (shared_preload_libraries), before the upgrade.");
    }
    return true;
}

static bool check_database_properties(const Preflight *p, Finding *f, Err *err)
{
    AUTO_CTX(tmp, NULL);
    CheckDatabasePropertiesRow *here, *there;
    size_t n_here, n_there;

    if (!q_check_database_properties(tmp, p->in->source, &here, &n_here, err) ||
        !q_check_database_properties(tmp, p->in->target, &there, &n_there, err))
        return false;
    for (size_t i = 0; i < n_here; i++) {
        bool found = false;

        for (size_t k = 0; k < n_there; k++)
            found = found || strcmp(here[i].property, there[k].property) == 0;
        if (!found)
            add_object(f, "%s", here[i].property);
    }
    return true;
}

/* who is a member of a role that has rights here, and would be refused by the target */
static bool check_logins(const Preflight *p, Finding *f, Err *err)
{
    AUTO_CTX(tmp, NULL);
    CheckLoginRolesRow *logins;
    CheckRolesRow *roles;
    size_t n_logins, n_roles;

    if (!q_check_login_roles(tmp, p->in->source, &logins, &n_logins, err) ||
        !q_check_roles(tmp, p->in->target, &roles, &n_roles, err))
        return false;
    for (size_t i = 0; i < n_logins; i++)
        if (find_role(roles, n_roles, logins[i].name) == NULL)
            add_object(f, "%s", logins[i].name);
    return true;
}

static bool knows_setting(const CheckSettingNamesRow *names, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(names[i].name, name) == 0)
            return true;
    return false;
}

/* CREATE FUNCTION … SET fails where there is no such setting */
static bool check_function_settings(const Preflight *p, Finding *f, Err *err)
{
    AUTO_CTX(tmp, NULL);
    CheckFunctionSettingsRow *used;
    CheckSettingNamesRow *here, *there;
    size_t n, n_here, n_there;

    if (!q_check_function_settings(tmp, p->in->source, &used, &n, err) ||
        !q_check_setting_names(tmp, p->in->source, &here, &n_here, err) ||
        !q_check_setting_names(tmp, p->in->target, &there, &n_there, err))
        return false;
    for (size_t i = 0; i < n; i++)
        /* some are shown to nobody, on either side */
        if (knows_setting(here, n_here, used[i].setting) &&
            !knows_setting(there, n_there, used[i].setting))
            add_object(f, "%s (SET %s)", used[i].object, used[i].setting);
    return true;
}

static bool check_languages(const Preflight *p, Finding *f, Err *err)
{
    AUTO_CTX(tmp, NULL);
    CheckLanguagesRow *here;
    CheckAvailableRow *available;
    size_t n, n_available;

    if (!q_check_languages(tmp, p->in->source, &here, &n, err))
        return false;
    if (n == 0)
        return true;
    if (!q_check_available(tmp, p->in->target, &available, &n_available, err))
        return false;
    for (size_t i = 0; i < n; i++) {
        bool found = false;

        for (size_t k = 0; k < n_available; k++)
            found = found || strcmp(available[k].name, here[i].name) == 0;
        if (!found)
            add_object(f, "%s", here[i].name);
    }
    return true;
}

static bool few_connections(const Preflight *p, Conn *conn, Finding *f, Err *err)
{
    AUTO_CTX(tmp, NULL);
    CheckConnectionsRow *left;
    size_t n;
    /* one of each worker, and the parent's: state, lock, fence, large objects */
    int needed = (int)p->in->jobs + 4;

    if (!q_check_connections(tmp, conn, &left, &n, err))
        return false;
    if (left->server < needed)
        add_object(f, "%s: %d left of max_connections", conn_label(conn), left->server);
    if (left->role >= 0 && left->role < needed)
        add_object(f, "%s: %d left for our role", conn_label(conn), left->role);
    if (left->database >= 0 && left->database < needed)
        add_object(f, "%s: %d left for the database", conn_label(conn), left->database);
    if (f->n_objects > 0)
        set_title(f, "there are fewer free connections than an upgrade needs (%d)", needed);
    return true;
}

static bool check_connections(const Preflight *p, Finding *f, Err *err)
{
    return few_connections(p, p->in->source, f, err) && few_connections(p, p->in->target, f, err);
}

static bool check_long_transactions(const Preflight *p, Finding *f, Err *err)
{
    AUTO_CTX(tmp, NULL);
    CheckLongTransactionsRow *rows;
    size_t n;

    if (!q_check_long_transactions(tmp, p->in->source, &rows, &n, err))
        return false;
    for (size_t i = 0; i < n; i++)
        add_object(f, "pid %d (%s%s%s, %s, open for %s)", rows[i].pid, rows[i].user_name,
                   rows[i].application[0] == '\0' ? "" : ", ", rows[i].application, rows[i].state,
                   str_duration(tmp, (long long)(rows[i].seconds * 1000)));
    return true;
}

/* --- the table --- */

static const Check checks[] = {
    {.id = "source-target-same",
     .of_target = true,
     .severity = SEVERITY_ERROR,
     .run = check_same,
     .title =
         "source and target are the same database, or the target is a physical copy of the source",
     .hint = "Create a new database on a server made by initdb (or by your provider) and name that "
             "as the target."},
    {.id = "target-older",
     .severity = SEVERITY_ERROR,
     .run = check_older,
     .title = "the target is of an older major version than the source",
     .hint =
         "Are source and target the right way round? --allow-downgrade is for those who mean it."},
    {.id = "source-in-recovery",
     .severity = SEVERITY_ERROR,
     .run = check_source_recovery,
     .title = "the source is a standby: changes cannot be captured there",
     .hint = "Name the primary server as the source."},
    {.id = "target-in-recovery",
     .severity = SEVERITY_ERROR,
     .run = check_target_recovery,
     .title = "the target is a standby: nothing can be written there",
     .hint = "Name the primary server as the target."},
    {.id = "pg-dump-missing",
     .severity = SEVERITY_ERROR,
     .run = check_dump_missing,
     .title = "no pg_dump was found",
     .hint = "Install PostgreSQL's client programs (on Debian: postgresql-client), or name their "
             "directory with "
             "--pg-bindir."},
    {.id = "pg-dump-too-old",
     .severity = SEVERITY_ERROR,
     .run = check_dump_old,
     .title = "pg_dump is too old for the source",
     .hint = "Install client programs of the target's version, or name their directory with "
             "--pg-bindir."},
    {.id = "target-not-empty",
     .of_target = true,
     .severity = SEVERITY_ERROR,
     .run = check_not_empty,
     .title = "the target database is not empty",
     .hint = "Name a new database as the target: CREATE DATABASE ... TEMPLATE template0. With "
             "--allow-nonempty what is there stays."},
    {.id = "name-taken",
     .of_target = true,
     .severity = SEVERITY_ERROR,
     .run = check_name_taken,
     .title = "there is a schema \"pgtandem\" that is not ours to use",
     .hint = "If another role began an upgrade, go on as that role. Otherwise drop or rename the "
             "schema."},
    {.id = "selection-unmatched",
     .severity = SEVERITY_ERROR,
     .run = check_unmatched,
     .title = "nothing on the source has a name that was selected or left out",
     .hint = "Look at the spelling: names in upper case stand in double quotes. Partitions go with "
             "their table, and sequences with the table that they belong to."},
    {.id = "filter-unmatched",
     .severity = SEVERITY_ERROR,
     .run = check_filters_unmatched,
     .title = "a condition of --where is of no table that is moved",
     .hint =
         "Look at the spelling: names in upper case stand in double quotes. The table has to be "
         "selected, and may not belong to an extension."},
    {.id = "filter-table",
     .severity = SEVERITY_ERROR,
     .run = check_filters_unfit,
     .title = "some rows only can be moved of tables that have a key and stand for themselves",
     .hint =
         "Add a primary key, or move the table whole. Partitioned tables and inheritance trees go "
         "whole, or not at all."},
    {.id = "filter-condition",
     .severity = SEVERITY_ERROR,
     .run = check_filters_refused,
     .title =
         "conditions of --where that the server does not take, or that depend on more than the "
         "row",
     .hint = "A condition is a boolean expression over columns of the table, by their bare names, "
             "with functions, operators and types outside of pg_catalog under their schema. What "
             "depends on the time, on settings or on other tables would change without a change of "
             "the row: so no subqueries, and of functions (comparisons of a date with a timestamp "
             "with time zone are such, too) only IMMUTABLE ones; compare with constants."},
    {.id = "filter-orphans",
     .severity = SEVERITY_ERROR,
     .acceptable = true,
     .run = check_filters_orphans,
     .title = "rows that are moved refer to rows that are not",
     .hint =
         "Give the first table a condition, too, or a wider one to the other. If it is accepted "
         "the foreign keys stay NOT VALID on the target: they hold for new rows only."},
    {.id = "selection-inheritance",
     .severity = SEVERITY_ERROR,
     .run = check_torn,
     .title = "tables inherit from others, and only one of the two is selected",
     .hint = "Select both or none of them."},
    {.id = "selection-needs",
     .severity = SEVERITY_ERROR,
     .run = check_needs,
     .title = "what is selected needs objects that are neither selected nor on the target",
     .hint = "Select them too, or create them on the target first (extensions with CREATE "
             "EXTENSION, in the same schema)."},
    {.id = "rename-taken",
     .severity = SEVERITY_ERROR,
     .run = check_rename_taken,
     .title = "a name that is to be given is that of something else already",
     .hint = "Choose another one with --rename-schema or --rename-table, or rename that as well."},
    {.id = "rename-scratch",
     .severity = SEVERITY_ERROR,
     .run = check_rename_scratch,
     .title = "other names cannot be given: something is missing for the scratch database on the "
              "target's server",
     .hint = "ALTER ROLE ... CREATEDB on the target, for as long as the definitions are made; and "
             "install the client programs of the target's version."},
    {.id = "rename-text",
     .severity = SEVERITY_WARNING,
     .run = check_rename_text,
     .title = "the text of functions, or values, may mention names that are others on the target",
     .hint = "Both are carried as they are. Write names in functions without the schema, or change "
             "them on the target before the switch; values of regclass and the like lead to what "
             "has the old name there."},
    {.id = "selection-sequence",
     .severity = SEVERITY_ERROR,
     .acceptable = true,
     .run = check_sequences_shared,
     .title = "sequences that are selected number rows of tables that stay",
     .hint = "Select these tables too, or give them a sequence of their own. If you accept it, the "
             "source may give out the same numbers twice after a rollback."},
    {.id = "foreign-key-out",
     .severity = SEVERITY_ERROR,
     .acceptable = true,
     .run = check_keys_out,
     .title = "foreign keys lead to tables that are not selected: they cannot be carried",
     .hint = "Select these tables too. If you accept it, the target has the tables without these "
             "foreign keys."},
    {.id = "foreign-key-in",
     .severity = SEVERITY_ERROR,
     .acceptable = true,
     .run = check_keys_in,
     .title = "foreign keys of tables that stay lead to tables that are selected",
     .hint = "Select these tables too. If you accept it, the source checks them against its copy "
             "after the switch. Where our role may not set session_replication_role they would act "
             "on that copy: drop them first."},
    {.id = "not-owner",
     .part = PART_NAMED,
     .severity = SEVERITY_ERROR,
     .query = &query_check_not_owned,
     .title =
         "tables or sequences of the source belong to others: their changes cannot be captured",
     .hint = "Connect to the source as their owner or as a superuser, or make the role a member of "
             "the owning roles "
             "(GRANT owner TO role)."},
    {.id = "inherited-triggers",
     .severity = SEVERITY_ERROR,
     .run = check_inherited_triggers,
     .title =
         "triggers of partitioned tables would fire on the copy: before 13 none but superusers "
         "may switch them off or on",
     .hint = "Let a superuser do the run; or a role that may set session_replication_role, if the "
             "triggers are neither off nor ENABLE ALWAYS or REPLICA. Or drop them and make one on "
             "each partition, which does the same."},
    {.id = "schema-privilege",
     .of_target = true,
     .severity = SEVERITY_ERROR,
     .run = check_privileges,
     .title = "rights are missing",
     .hint = "Grant them."},
    {.id = "forced-rls",
     .part = PART_NAMED,
     .severity = SEVERITY_ERROR,
     .query = &query_check_forced_rls,
     .title = "forced row-level security hides rows of the source from us",
     .hint = "Connect to the source as a role with BYPASSRLS, or ALTER TABLE ... NO FORCE ROW "
             "LEVEL SECURITY for the "
             "time of the upgrade."},
    {.id = "encoding-differs",
     .of_target = true,
     .severity = SEVERITY_ERROR,
     .acceptable = true,
     .run = check_encoding,
     .title = "the databases have different encodings",
     .hint = "Create the target database with the source's encoding: CREATE DATABASE ... ENCODING "
             "... TEMPLATE "
             "template0."},
    {.id = "extension-missing",
     .part = PART_WHOLE,
     .severity = SEVERITY_ERROR,
     .run = check_extension_missing,
     .title = "extensions of the source are not available on the target",
     .hint =
         "Install their packages on the target's machine, or drop the extensions from the source."},
    {.id = "removed-types",
     .part = PART_NAMED,
     .severity = SEVERITY_ERROR,
     .query = &query_check_removed_types,
     .title = "columns have types that the target no longer knows",
     .hint = "Change them on the source first, e.g. ALTER TABLE ... ALTER COLUMN ... TYPE "
             "timestamptz (text for "
             "unknown)."},
    {.id = "not-null-inheritance",
     .part = PART_NAMED,
     .severity = SEVERITY_ERROR,
     .query = &query_check_not_null_inheritance,
     .title = "columns may hold NULL although those of the parent may not: on the target they "
              "cannot",
     .hint = "From PostgreSQL 18 on, NOT NULL is inherited. ALTER COLUMN ... SET NOT NULL on these "
             "tables, or DROP NOT NULL on their parents, before the upgrade."},
    {.id = "char-columns",
     .part = PART_NAMED,
     .severity = SEVERITY_WARNING,
     .query = &query_check_char_columns,
     .title =
         "columns have the type \"char\" (one byte): from PostgreSQL 15 on it writes bytes above "
         "127 in another way, which older servers read as a backslash",
     .hint = "Make them char(1) or smallint. Nothing needs to be done if they hold ASCII only."},
    {.id = "removed-operators",
     .part = PART_WHOLE,
     .severity = SEVERITY_ERROR,
     .query = &query_check_postfix_operators,
     .title = "there are postfix operators, which the target no longer knows",
     .hint = "Use functions or prefix operators instead and drop them from the source."},
    {.id = "removed-functions",
     .part = PART_WHOLE,
     .severity = SEVERITY_ERROR,
     .query = &query_check_removed_functions,
     .title =
         "aggregates and operators use array functions whose arguments have other types on the "
         "target",
     .hint = "Drop them from the source and create them anew after the upgrade, with "
             "anycompatiblearray instead of anyarray."},
    {.id = "removed-settings",
     .part = PART_WHOLE,
     .severity = SEVERITY_ERROR,
     .run = check_function_settings,
     .title = "functions have settings that the target no longer knows",
     .hint = "ALTER FUNCTION ... RESET ... on the source."},
    {.id = "language-missing",
     .part = PART_WHOLE,
     .severity = SEVERITY_ERROR,
     .run = check_languages,
     .title = "languages of the source are not available on the target",
     .hint = "Install their packages on the target's machine, or drop the languages and their "
             "functions from the source."},
    {.id = "tables-with-oids",
     .part = PART_NAMED,
     .severity = SEVERITY_ERROR,
     .acceptable = true,
     .query = &query_check_with_oids,
     .title =
         "tables have system OIDs, which the target does not have: these values are not carried",
     .hint = "Nobody uses them? ALTER TABLE ... SET WITHOUT OIDS, or accept it. Otherwise copy "
             "them into a column of "
             "their own first."},
    {.id = "foreign-partitions",
     .part = PART_NAMED,
     .severity = SEVERITY_ERROR,
     .query = &query_check_foreign_partitions,
     .title = "partitions are foreign tables: their rows are elsewhere and changes there cannot be "
              "captured",
     .hint = "Detach them for the time of the upgrade."},
    {.id = "large-objects",
     .part = PART_WHOLE,
     .severity = SEVERITY_ERROR,
     .acceptable = true,
     .run = check_large_objects,
     .title =
         "the source has large objects, which are not carried: only superusers may read, write "
         "and lock them",
     .hint =
         "Connect as a superuser on both nodes; or move them into bytea columns, remove orphans "
         "with vacuumlo, or accept it and copy them by yourself while nobody writes them."},
    {.id = "large-objects-on-target",
     .part = PART_WHOLE,
     .severity = SEVERITY_ERROR,
     .run = check_large_target,
     .title = "the target has large objects of its own",
     .hint = "Remove them (SELECT lo_unlink(oid) FROM pg_largeobject_metadata), or name another "
             "database as the target."},
    {.id = "subscription-on-source",
     .severity = SEVERITY_ERROR,
     .acceptable = true,
     .query = &query_check_subscriptions,
     .title =
         "the source subscribes to another server: what logical replication writes is not captured",
     .hint = "Disable the subscription for the time of the upgrade and set it up on the target "
             "afterwards. Accept this "
             "only if the subscribed tables do not change."},

    {.id = "table-without-key-large",
     .severity = SEVERITY_WARNING,
     .run = check_keyless_large,
     .title = "tables without a key are large: rows deleted or updated in them are searched for",
     .hint = "Insertions cost nothing. If rows are deleted or updated there, a primary key, or an "
             "index "
             "over a column that is never NULL, keeps each round from reading the whole table."},
    {.id = "table-without-key",
     .severity = SEVERITY_WARNING,
     .run = check_keyless,
     .title = "tables have no key: large ones are followed by whole rows, small ones are copied "
              "whole during the write pause",
     .hint = "A primary key, or a unique index over NOT NULL columns, makes them like all others, "
             "which "
             "costs less on both sides."},
    {.id = "extension-older",
     .part = PART_WHOLE,
     .severity = SEVERITY_WARNING,
     .run = check_extension_older,
     .title = "extensions are newer on the source than on the target",
     .hint = "Install newer packages on the target's machine."},
    {.id = "extension-privilege",
     .part = PART_WHOLE,
     .of_target = true,
     .severity = SEVERITY_WARNING,
     .run = check_extension_privilege,
     .title = "extensions that only a superuser can create are not in the target database yet",
     .hint = "Let an administrator run CREATE EXTENSION there, unless your provider lets you."},
    {.id = "extension-not-allowed",
     .part = PART_WHOLE,
     .severity = SEVERITY_ERROR,
     .run = check_extension_list,
     .title = "extensions of the source are not in the target's list of those that may be created",
     .hint = "Add them to the named parameter of the target, in your provider's console."},
    {.id = "extension-tables",
     .part = PART_WHOLE,
     .severity = SEVERITY_WARNING,
     .run = check_extension_tables,
     .title = "tables belong to extensions: their contents are not carried",
     .hint = "What the extension itself puts into them is there after CREATE EXTENSION. Rows are "
             "carried of tables that the extension marks as configuration and that belong to our "
             "role on both sides; carry others over by hand."},
    {.id = "extension-rows-target",
     .of_target = true,
     .severity = SEVERITY_WARNING,
     .run = check_extension_rows_target,
     .title = "configuration tables of extensions have rows on the target: those of the source "
              "take their place",
     .hint = "What the target lacks then is gone with \"pgtandem finish\"; \"pgtandem abort\" "
             "puts it back. Rows that the extension itself made count where it leaves all of them "
             "to the users."},
    {.id = "extension-rows",
     .severity = SEVERITY_INFO,
     .run = check_extension_rows,
     .title = "rows of configuration tables of extensions are carried, and copied again during the "
              "write pause if they changed",
     .hint = "An extension that keeps such rows in memory (pg_cron does) notices them when it is "
             "loaded again or when the next row changes."},
    {.id = "c-functions",
     .part = PART_WHOLE,
     .severity = SEVERITY_WARNING,
     .query = &query_check_c_functions,
     .title = "functions in C belong to no extension: the target needs their libraries",
     .hint = "Install the libraries, built for the target's version, on the target's machine."},
    {.id = "database-settings",
     .part = PART_WHOLE,
     .of_target = true,
     .severity = SEVERITY_WARNING,
     .run = check_database_settings,
     .title = "settings of the database are not carried over",
     .hint = "Repeat ALTER DATABASE ... SET and ALTER ROLE ... IN DATABASE ... SET on the target."},
    {.id = "role-settings",
     .part = PART_WHOLE,
     .of_target = true,
     .severity = SEVERITY_WARNING,
     .run = check_role_settings,
     .title = "settings of roles are not carried over",
     .hint = "Repeat ALTER ROLE ... SET on the target (pg_dumpall --roles-only has them)."},
    {.id = "database-properties",
     .part = PART_WHOLE,
     .of_target = true,
     .severity = SEVERITY_WARNING,
     .run = check_database_properties,
     .title = "rights on the database itself, its comment and its limits are not carried over",
     .hint = "Repeat GRANT and REVOKE ... ON DATABASE, COMMENT ON DATABASE and ALTER DATABASE on "
             "the target."},
    {.id = "policy-roles-missing",
     .of_target = true,
     .severity = SEVERITY_ERROR,
     .run = check_policy_roles,
     .title = "roles that row-level security policies are for do not exist on the target",
     .hint = "Create these roles on the target (pg_dumpall --roles-only --no-role-passwords)."},
    {.id = "owners-missing",
     .of_target = true,
     .severity = SEVERITY_WARNING,
     .run = check_owners,
     .title = "roles of the source cannot be used on the target: objects will belong to our role, "
              "rights are not "
              "carried",
     .hint = "Create the roles there (pg_dumpall --roles-only --no-role-passwords) and make our "
             "role a member of those that own objects."},
    {.id = "logins-missing",
     .of_target = true,
     .severity = SEVERITY_WARNING,
     .run = check_logins,
     .title = "roles that log in and have rights through others do not exist on the target",
     .hint = "Create them there, with their memberships and passwords (pg_dumpall --roles-only)."},
    {.id = "collation-differs",
     .of_target = true,
     .severity = SEVERITY_WARNING,
     .run = check_collation,
     .title = "the databases sort text differently",
     .hint = "Create the target database with the source's locale unless you want the change: "
             "CREATE DATABASE ... "
             "LOCALE ... TEMPLATE template0."},
    {.id = "setting-differs",
     .severity = SEVERITY_WARNING,
     .run = check_settings,
     .title = "settings that applications notice differ",
     .hint = "Set them on the target, e.g. with ALTER DATABASE ... SET or in postgresql.conf."},
    {.id = "locks-capacity",
     .severity = SEVERITY_WARNING,
     .run = check_locks,
     .title = "the lock table may be too small",
     .hint = "Raise max_locks_per_transaction (needs a restart)."},
    {.id = "connections",
     .severity = SEVERITY_WARNING,
     .run = check_connections,
     .title = "there are fewer free connections than an upgrade needs",
     .hint = "Use fewer --jobs, or raise the limit (max_connections needs a restart)."},
    {.id = "ddl-running",
     .part = PART_NAMED,
     .severity = SEVERITY_WARNING,
     .query = &query_check_ddl_running,
     .title = "definitions are being changed on the source",
     .hint =
         "Wait for the end of ALTER TABLE, CREATE INDEX and the like: what is changed after the "
         "schema was copied is not carried."},
    {.id = "prepared-transactions",
     .severity = SEVERITY_WARNING,
     .query = &query_check_prepared_transactions,
     .title = "transactions are prepared: capture waits for those that wrote to a table",
     .hint = "COMMIT PREPARED or ROLLBACK PREPARED them."},
    {.id = "long-transaction",
     .severity = SEVERITY_WARNING,
     .run = check_long_transactions,
     .title = "transactions on the source have been open for long: capture waits for those that "
              "wrote to a table",
     .hint = "Let them end. Other roles' transactions can be seen only by members of "
             "pg_read_all_stats."},
    {.id = "invalid-indexes",
     .part = PART_NAMED,
     .severity = SEVERITY_WARNING,
     .query = &query_check_invalid_indexes,
     .title = "indexes are invalid: they are not carried",
     .hint = "Drop them, or REINDEX them before the upgrade."},
    {.id = "publication-identity",
     .part = PART_NAMED,
     .severity = SEVERITY_WARNING,
     .query = &query_check_publication_identity,
     .title = "published tables have no replica identity: when the target has changed their rows, "
              "the source refuses to take that back, and there is no rollback",
     .hint =
         "ALTER TABLE ... REPLICA IDENTITY FULL on the source, at the latest before a rollback."},
    {.id = "column-order",
     .part = PART_NAMED,
     .severity = SEVERITY_WARNING,
     .query = &query_check_column_order,
     .title = "columns of tables that inherit come in another order: those of the parents first",
     .hint = "pg_dump cannot make them otherwise. INSERT without names of columns and SELECT * "
             "notice it: see that the application names the columns."},
    {.id = "event-triggers",
     .severity = SEVERITY_WARNING,
     .query = &query_check_event_triggers,
     .title = "event triggers of the source also fire for what pgtandem creates",
     .hint = "Make sure that they let it pass. On the target they are made with the switchover."},
    {.id = "target-event-triggers",
     .of_target = true,
     .severity = SEVERITY_WARNING,
     .on_target = true,
     .query = &query_check_event_triggers,
     .title = "event triggers of the target fire when the schema is created there",
     .hint = "Make sure that they let it pass."},

    {.id = "provider-schemas",
     .severity = SEVERITY_INFO,
     .run = check_provider_schemas,
     .title = "schemas and event triggers of the provider's own are left alone"},
    {.id = "replica-role",
     .severity = SEVERITY_INFO,
     .run = check_replica_role,
     .title = "session_replication_role may not be set: foreign keys, triggers and rules of a copy "
              "sleep instead",
     .hint = "Nothing has to be done. Where it may be set they stay as they are."},
    {.id = "unlogged-tables",
     .part = PART_NAMED,
     .severity = SEVERITY_INFO,
     .query = &query_check_unlogged_tables,
     .title = "unlogged tables are carried like all others",
     .hint = "A crash of either server empties them there, which nobody notices: verify them "
             "afterwards."},
    {.id = "foreign-tables",
     .part = PART_NAMED,
     .severity = SEVERITY_INFO,
     .query = &query_check_foreign_tables,
     .title = "of foreign tables only the definition is carried",
     .hint = "See that the target reaches their servers. User mappings may need their passwords "
             "again."},
    {.id = "materialized-views",
     .severity = SEVERITY_INFO,
     .run = check_matviews,
     .title = "materialized views are refreshed on the target"},
    {.id = "matview-unreadable",
     .part = PART_NAMED,
     .severity = SEVERITY_ERROR,
     .query = &query_check_views_unreadable,
     .title = "materialized views cannot be refreshed, not even on the source",
     .hint =
         "GRANT SELECT to their owners, or give them to a role that may read it, and try REFRESH "
         "MATERIALIZED VIEW. The target's are filled in this way."},
    {.id = "publications",
     .severity = SEVERITY_INFO,
     .query = &query_check_publications,
     .title = "publications are made on the target with the switchover, and not before",
     .hint =
         "Point their subscribers there then; subscriptions are not carried. A run that moves a "
         "part of a database leaves them to you."},
    {.id = "superuser-only",
     .part = PART_WHOLE,
     .severity = SEVERITY_WARNING,
     .run = check_superuser_only,
     .title = "event triggers or publications that our role may not make on the target",
     .hint = "The switchover goes on without them and tells their statements. Your provider may "
             "let you all the same; otherwise let an administrator run them."},
    {.id = "replication-slots",
     .severity = SEVERITY_INFO,
     .query = &query_check_replication_slots,
     .title = "replication slots stay on the source",
     .hint = "Who reads them gets what was written before the switchover only: point them to slots "
             "of the target, and drop these, or they keep the source's WAL for ever."},
    {.id = "publication-all-tables",
     .severity = SEVERITY_ERROR,
     .acceptable = true,
     .query = &query_check_publications_all,
     .title = "a publication for all tables would publish pgtandem's own tables, which its "
              "subscribers do not have",
     .hint = "Subscribers would stop with an error until the run ends. Publish the tables by name "
             "instead, or go "
             "on with --accept publication-all-tables when nobody subscribes."},
    {.id = "security-labels",
     .part = PART_WHOLE,
     .severity = SEVERITY_INFO,
     .run = check_security_labels,
     .title = "there are security labels: the target needs their providers"},
    {.id = "tablespaces",
     .part = PART_WHOLE,
     .severity = SEVERITY_INFO,
     .query = &query_check_tablespaces,
     .title = "tablespaces are not carried: everything goes into the target database's default one",
     .hint = "Move what needs it with ALTER TABLE ... SET TABLESPACE, before the switch."},
};

static const size_t n_checks = sizeof checks / sizeof *checks;

static bool run_query(const Preflight *p, const Check *check, Finding *f, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Rows *rows;
    const char *target_version = mem_printf(tmp, "%d", conn_caps(p->in->target)->version);
    Conn *conn = check->on_target ? p->in->target : p->in->source;

    if (!query_run(tmp, conn, check->query, &target_version, check->query->n_params, &rows, err))
        return false;
    for (size_t r = 0; r < rows_count(rows); r++)
        if (check->part != PART_NAMED || scope_mentions(p->in->source_scope, rows_text(rows, r, 0)))
            add_object(f, "%s", rows_text(rows, r, 0));
    return true;
}

static bool is_accepted(const CheckInput *in, const char *id)
{
    for (size_t i = 0; i < in->n_accepted; i++)
        if (strcmp(in->accepted[i], id) == 0)
            return true;
    return false;
}

/*
 * the finding that a check was not possible: a service took rights away that all roles have, a file
 * is broken
 */
static void note_skipped(const Check *check, Finding *f, const Err *err)
{
    f->severity = SEVERITY_WARNING;
    f->acceptable = false;
    f->n_objects = 0;
    f->n_more = 0;
    set_title(f, "this could not be checked: %s", check->title);
    set_hint(f, "Look into it by hand, or make the query work and check again.");
    add_object(f, "%s", err->msg);
}

static bool run_check(const Preflight *p, const Check *check, Finding *f, Err *err)
{
    bool ok = check->query != NULL ? run_query(p, check, f, err) : check->run(p, f, err);

    if (!ok) {
        if (err->kind != ERR_SQL || conn_in_transaction(p->in->source) ||
            conn_in_transaction(p->in->target))
            return err_add(err, "while checking %s", check->id);
        note_skipped(check, f, err);
        err_clear(err);
    }
    if (f->severity == SEVERITY_ERROR && f->acceptable && is_accepted(p->in, check->id))
        f->severity = SEVERITY_WARNING;
    return true;
}

static bool read_facts(const void *ctx, Conn *conn, Facts *facts, Err *err)
{
    size_t n_node, n_provider;

    if (!q_check_node(ctx, conn, &facts->node, &n_node, err) ||
        !q_provider(ctx, conn, &facts->provider, &n_provider, err) ||
        !q_check_settings(ctx, conn, &facts->settings, &facts->n_settings, err) ||
        !q_check_schemas(ctx, conn, &facts->schemas, &facts->n_schemas, err))
        return false;
    if (n_node != 1)
        return err_set(err, ERR_BUG, "the %s does not know its own database or role",
                       conn_label(conn));
    return true;
}

bool check_run(const void *ctx, const CheckInput *input, Finding **ret_findings, size_t *ret_n,
               Err *err)
{
    AUTO_CTX(tmp, NULL);
    Preflight p = {.in = input};
    Finding *found = mem_array(ctx, Finding, n_checks);
    size_t n = 0;

    if (!read_facts(tmp, input->source, &p.src, err) ||
        !read_facts(tmp, input->target, &p.dst, err) ||
        !q_check_extensions(tmp, input->source, &p.extensions, &p.n_extensions, err)) {
        talloc_free(found);
        return err_add(err, "while checking the nodes");
    }
    for (size_t i = 0; i < n_checks; i++) {
        const Check *check = &checks[i];

        if ((check->of_target && input->target_to_be_made) ||
            (check->part == PART_WHOLE && !scope_has_unowned(input->source_scope)))
            continue;
        Finding f = {.id = check->id,
                     .severity = check->severity,
                     .acceptable = check->acceptable,
                     .title = check->title,
                     .hint = check->hint,
                     .objects = mem_array(found, const char *, MAX_OBJECTS)};

        if (!run_check(&p, check, &f, err)) {
            talloc_free(found);
            return false;
        }
        if (f.n_objects > 0)
            found[n++] = f;
        else
            talloc_free(f.objects);
    }
    /* errors first, and otherwise in the order of the table */
    Finding *sorted = mem_array(ctx, Finding, n + 1);
    size_t k = 0;
    for (int severity = SEVERITY_ERROR; severity >= SEVERITY_INFO; severity--)
        for (size_t i = 0; i < n; i++)
            if (found[i].severity == (Severity)severity)
                sorted[k++] = found[i];
    talloc_steal(sorted, found);
    *ret_findings = sorted;
    *ret_n = n;
    return true;
}

static size_t count_severity(const Finding *findings, size_t n, Severity severity)
{
    size_t count = 0;

    for (size_t i = 0; i < n; i++)
        count += findings[i].severity == severity;
    return count;
}

size_t check_count_errors(const Finding *findings, size_t n)
{
    return count_severity(findings, n, SEVERITY_ERROR);
}

Estimate check_estimate(const Catalog *source)
{
    Estimate estimate = {0};

    for (size_t i = 0; i < source->n_tables; i++)
        if (!source->tables[i].in_extension) {
            estimate.tables++;
            estimate.bytes += source->tables[i].bytes;
        }
    estimate.seconds = estimate.bytes / (COPY_MB_PER_S * 1024 * 1024) + 1;
    return estimate;
}

/* --- printing --- */

/* width on the screen: the characters of a UTF-8 text */
static int screen_width(const char *text, size_t len)
{
    int width = 0;

    for (size_t i = 0; i < len; i++)
        width += ((unsigned char)text[i] & 0xC0) != 0x80;
    return width;
}

/*
 * prints words behind `first`, which begins at column `start`; lines end before TEXT_WIDTH and
 * align behind `first`
 */
static void print_wrapped(int start, const char *first, const char *text)
{
    int indent = start + (int)strlen(first), column = indent;

    printf("%*s%s", start, "", first);
    while (*text != '\0') {
        size_t len = strcspn(text, " ");
        int width = screen_width(text, len);

        if (column > indent && column + 1 + width > TEXT_WIDTH) {
            printf("\n%*s", indent, "");
            column = indent;
        } else if (column > indent) {
            printf(" ");
            column++;
        }
        printf("%.*s", (int)len, text);
        column += width;
        text += len;
        text += strspn(text, " ");
    }
    printf("\n");
}

static void print_finding(const Finding *f)
{
    AUTO_CTX(tmp, NULL);

    print_wrapped(TEXT_INDENT / 2, "", mem_printf(tmp, "%s: %s", f->id, f->title));
    for (size_t i = 0; i < f->n_objects; i++)
        print_wrapped(TEXT_INDENT, "- ", f->objects[i]);
    if (f->n_more > 0)
        printf("%*s- and %s more\n", TEXT_INDENT, "", str_count(tmp, (long long)f->n_more));
    if (f->hint != NULL)
        print_wrapped(TEXT_INDENT, "hint: ", f->hint);
    if (f->severity == SEVERITY_ERROR && f->acceptable)
        printf("%*sto go on nevertheless: --accept %s\n", TEXT_INDENT, "", f->id);
    printf("\n");
}

static const char *plural(size_t n)
{
    return n == 1 ? "" : "s";
}

static void print_text(const Finding *findings, size_t n, const Estimate *estimate)
{
    AUTO_CTX(tmp, NULL);

    static const char *const headings[] = {
        [SEVERITY_INFO] = "Notes",
        [SEVERITY_WARNING] = "Warnings",
        [SEVERITY_ERROR] = "Errors",
    };
    size_t errors = count_severity(findings, n, SEVERITY_ERROR);
    size_t warnings = count_severity(findings, n, SEVERITY_WARNING);
    size_t notes = n - errors - warnings;

    for (size_t i = 0; i < n; i++) {
        if (i == 0 || findings[i].severity != findings[i - 1].severity)
            printf("%s\n\n", headings[findings[i].severity]);
        print_finding(&findings[i]);
    }
    if (n == 0)
        printf("No findings: the upgrade can begin.\n");
    else
        printf("%zu error%s, %zu warning%s, %zu note%s: the upgrade %s.\n", errors, plural(errors),
               warnings, plural(warnings), notes, plural(notes),
               errors == 0 ? "can begin" : "is refused");
    if (estimate == NULL)
        return;
    printf("To copy: %zu table%s, %s, in about %s at %d MB/s; the target needs that much disk and "
           "room for its WAL.\n",
           estimate->tables, plural(estimate->tables), str_bytes_human(tmp, estimate->bytes),
           str_duration(tmp, estimate->seconds * 1000), COPY_MB_PER_S);
}

static json_t *json_text(const char *text)
{
    return text == NULL ? json_null() : json_string(text);
}

json_t *check_json(const Finding *findings, size_t n)
{
    static const char *const names[] = {
        [SEVERITY_INFO] = "info",
        [SEVERITY_WARNING] = "warning",
        [SEVERITY_ERROR] = "error",
    };
    json_t *list = mem_or_die(json_array());

    for (size_t i = 0; i < n; i++) {
        const Finding *f = &findings[i];
        json_t *objects = mem_or_die(json_array());

        for (size_t o = 0; o < f->n_objects; o++)
            json_array_append_new(objects, json_string(f->objects[o]));
        json_array_append_new(list, json_pack("{s:s, s:s, s:b, s:o, s:o, s:I, s:o}", "id", f->id,
                                              "severity", names[f->severity], "acceptable",
                                              f->acceptable ? 1 : 0, "title", json_text(f->title),
                                              "objects", objects, "more", (json_int_t)f->n_more,
                                              "hint", json_text(f->hint)));
    }
    return mem_or_die(json_pack("{s:o, s:I, s:I}", "findings", list, "errors",
                                (json_int_t)count_severity(findings, n, SEVERITY_ERROR), "warnings",
                                (json_int_t)count_severity(findings, n, SEVERITY_WARNING)));
}

static void print_json(const Finding *findings, size_t n, const Estimate *estimate)
{
    json_t *all = check_json(findings, n);

    if (estimate != NULL)
        json_object_set_new(
            all, "estimate",
            mem_or_die(json_pack("{s:I, s:I, s:I}", "tables", (json_int_t)estimate->tables, "bytes",
                                 (json_int_t)estimate->bytes, "seconds",
                                 (json_int_t)estimate->seconds)));
    json_dumpf(all, stdout, JSON_INDENT(2) | JSON_PRESERVE_ORDER);
    printf("\n");
    json_decref(all);
}

void check_print(const Finding *findings, size_t n, const Estimate *estimate, bool json)
{
    if (json)
        print_json(findings, n, estimate);
    else
        print_text(findings, n, estimate);
}
