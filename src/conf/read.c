/*
 * Reading the configuration file: see conf.h. One pass checks lines and stores values, a second one
 * resolves the names of databases, groups, sets and syncs.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/ini.h"
#include "base/str.h"
#include "base/suggest.h"
#include "conf/conf.h"
#include "conf/names.h"
#include "conf/overlap.h"
#include "conf/settings.h"

/* a section as it stands in the file */
typedef struct Section {
    SectionKind kind;
    const char *title; /* what stands in brackets */
    const char *name;  /* of the db, group, set or sync; of a table rule the sync */
    const char *rest;  /* of a table rule the table */
    int line;
} Section;

typedef struct Reader {
    const char *path;
    const Ini *ini;
    Service *service;
    Section *sections;
    size_t n_sections;
    Problem *problems;
    size_t n_problems;
} Reader;

static void problem(Reader *r, int line, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

static void problem(Reader *r, int line, const char *fmt, ...)
{
    va_list args;
    Problem p = {.line = line};

    va_start(args, fmt);
    p.text = mem_or_die(talloc_vasprintf(r->service, fmt, args));
    va_end(args);
    mem_push(r->service, r->problems, r->n_problems, p);
}

/* a problem that collides with another line */
static void collision(void *reader, int line, int other, const char *text)
{
    Reader *r = reader;
    Problem p = {.line = line, .other = other, .text = mem_strdup(r->service, text)};

    mem_push(r->service, r->problems, r->n_problems, p);
}

static int line_of(size_t i)
{
    return (int)i + 1;
}

/* Sections */

static void unknown_section(Reader *r, int line, const char *title)
{
    AUTO_CTX(tmp, NULL);
    const char *word = shown_word(tmp, title), *names[N_SECTION_KINDS];

    for (int kind = 0; kind < N_SECTION_KINDS; kind++)
        names[kind] = section_word((SectionKind)kind);
    const char *near = suggest(word, strlen(word), names, N_SECTION_KINDS);
    problem(r, line, "there is no section [%s]%s%s%s", word, near == NULL ? "" : "; did you mean [",
            near == NULL ? "" : near, near == NULL ? "" : " …]?");
}

static bool read_title(Reader *r, const char *title, int line, Section *ret_section)
{
    size_t len = strcspn(title, " \t");
    char *word = mem_strndup(r->service, title, len);
    const char *name = title + len + strspn(title + len, " \t");
    Section s = {.title = title, .line = line};

    for (int kind = 0; kind <= N_SECTION_KINDS; kind++) {
        if (kind == N_SECTION_KINDS) {
            unknown_section(r, line, word);
            return false;
        }
        s.kind = (SectionKind)kind;
        if (strcmp(section_word(s.kind), word) == 0)
            break;
    }
    len = strcspn(name, " \t");
    s.name = mem_strndup(r->service, name, len);
    s.rest = name + len + strspn(name + len, " \t");
    if (s.kind == SECTION_SERVICE ? name[0] != '\0' : !name_is_valid(s.name)) {
        problem(r, line, "[%s] needs %s", shown_word(r->service, title),
                s.kind == SECTION_SERVICE ? "no name"
                                          : "a name: a letter, then letters, digits, _ or -");
        return false;
    }
    if ((s.kind == SECTION_SYNC || s.kind == SECTION_TABLES) && strcmp(s.name, "all") == 0) {
        problem(r, line, "[%s] cannot have that name: \"all\" means all of them", title);
        return false;
    }
    if ((s.kind == SECTION_TABLE) != (s.rest[0] != '\0')) {
        problem(r, line, "[%s] %s", shown_word(r->service, title),
                s.kind == SECTION_TABLE ? "needs a sync and a table: [table SYNC SCHEMA.TABLE]"
                                        : "has more than one name");
        return false;
    }
    *ret_section = s;
    return true;
}

static bool same_section(const Section *a, const Section *b)
{
    return a->kind == b->kind && strcmp(a->name, b->name) == 0 &&
           (strcmp(a->rest, b->rest) == 0 || same_table(a->rest, b->rest));
}

static void read_sections(Reader *r)
{
    for (size_t i = 0; i < r->ini->n; i++) {
        const IniLine *line = &r->ini->lines[i];
        Section section;

        if (line->kind == INI_BAD)
            problem(r, line_of(i), "this is no section, no \"key = value\" and no comment");
        if (line->kind != INI_SECTION || !read_title(r, line->section, line_of(i), &section))
            continue;
        bool twice = false;
        for (size_t s = 0; s < r->n_sections && !twice; s++)
            if (same_section(&r->sections[s], &section)) {
                collision(r, line_of(i), r->sections[s].line,
                          mem_printf(r->service, "[%s] is there already", section.title));
                twice = true;
            }
        if (!twice)
            mem_push(r->service, r->sections, r->n_sections, section);
    }
}

/* Keys */

static void unknown_key(Reader *r, SectionKind kind, int line, const char *key)
{
    const char **names = NULL;
    size_t n = 0;

    for (size_t i = 0; i < conf_n_settings; i++)
        if (conf_settings[i].section == kind)
            mem_push(r->service, names, n, conf_settings[i].name);
    const char *near = suggest(key, strlen(key), names, n);
    problem(r, line, "there is no setting \"%s\" in [%s …]%s%s%s", shown_word(r->service, key),
            section_word(kind), near == NULL ? "" : "; did you mean \"", near == NULL ? "" : near,
            near == NULL ? "" : "\"?");
}

/* the value of a key of a section, or NULL; *ret_line is its line */
static const char *value_of(const Reader *r, const Section *s, const char *key, int *ret_line)
{
    size_t at = ini_find_key(r->ini, s->title, key);

    if (at == r->ini->n)
        return NULL;
    *ret_line = line_of(at);
    return r->ini->lines[at].value;
}

static void check_key(Reader *r, const Section *s, size_t at)
{
    const IniLine *line = &r->ini->lines[at];
    size_t len = strcspn(line->key, ".");
    const Setting *setting = setting_find(s->kind, line->key, len);

    if (setting == NULL) {
        unknown_key(r, s->kind, line_of(at), line->key);
        return;
    }
    size_t first = ini_find_key(r->ini, s->title, line->key);
    if (first != at) {
        collision(r, line_of(at), line_of(first),
                  mem_printf(r->service, "\"%s\" is set already", line->key));
        return;
    }
    if (line->key[len] == '.' && !setting->per_db)
        problem(r, line_of(at), "\"%s\" cannot be set for one database only", setting->name);
    if (line->value[0] == '\0')
        problem(r, line_of(at), "\"%s\" has no value", line->key);
}

static void check_keys(Reader *r)
{
    const Section *s = NULL;

    for (size_t i = 0; i < r->ini->n; i++) {
        const IniLine *line = &r->ini->lines[i];

        if (line->kind == INI_SECTION) {
            s = NULL;
            for (size_t k = 0; k < r->n_sections; k++)
                if (r->sections[k].line == line_of(i))
                    s = &r->sections[k];
        }
        if (line->kind == INI_KEY && line->section == NULL)
            problem(r, line_of(i), "\"%s\" stands in no section",
                    shown_word(r->service, line->key));
        if (line->kind == INI_KEY && s != NULL)
            check_key(r, s, i);
    }
}

/* stores what has a field in record; defaults where the file says nothing */
static void store_values(Reader *r, const Section *s, void *record)
{
    for (size_t i = 0; i < conf_n_settings; i++) {
        const Setting *setting = &conf_settings[i];
        int line = s->line;

        if (setting->section != s->kind)
            continue;
        const char *value = value_of(r, s, setting->name, &line);
        if (value == NULL && setting->required)
            problem(r, line, "[%s] needs \"%s\"", s->title, setting->name);
        if (value == NULL)
            value = setting->def;
        if (value == NULL || value[0] == '\0')
            continue;
        if (!setting_store(r->service, setting, value, record))
            /* the value itself is not shown: it may be a connection string */
            problem(r, line, "the value of \"%s\" is not allowed: it takes %s", setting->name,
                    setting_allowed(r->service, setting));
    }
}

/* Databases and their roles */

static const Section *find_section(const Reader *r, SectionKind kind, const char *name)
{
    for (size_t i = 0; i < r->n_sections; i++)
        if (r->sections[i].kind == kind && strcmp(r->sections[i].name, name) == 0)
            return &r->sections[i];
    return NULL;
}

static bool read_role(const char *text, Role *ret_role)
{
    for (Role role = ROLE_SOURCE; role <= ROLE_FULLCOPY; role++)
        if (strcmp(role_name(role), text) == 0) {
            *ret_role = role;
            return true;
        }
    return false;
}

static void unknown_db(Reader *r, int line, const char *name)
{
    AUTO_CTX(tmp, NULL);
    const char **names = NULL, *near = NULL;
    size_t n = 0;

    if (find_section(r, SECTION_GROUP, name) != NULL) {
        problem(r, line, "group \"%s\" can only stand alone, not among databases", name);
        return;
    }
    for (size_t i = 0; i < r->service->n_dbs; i++)
        mem_push(tmp, names, n, r->service->dbs[i].name);
    near = strlen(name) > 2 ? suggest(name, strlen(name), names, n) : NULL;
    problem(r, line, "there is no database \"%s\"%s%s%s", name,
            near == NULL ? "" : "; did you mean \"", near == NULL ? "" : near,
            near == NULL ? "" : "\"?");
}

static void add_member(Reader *r, Sync *sync, int line, const char *word)
{
    const char *colon = strchr(word, ':');
    char *name =
        mem_strndup(r->service, word, colon == NULL ? strlen(word) : (size_t)(colon - word));
    Member member = {.db = service_db(r->service, name),
                     .role = sync->n_members == 0 ? ROLE_SOURCE : ROLE_TARGET};

    if (member.db == NULL) {
        unknown_db(r, line, name);
        return;
    }
    if (colon != NULL && !read_role(colon + 1, &member.role)) {
        problem(r, line, "\"%s\" is no role: it is source, target or fullcopy",
                shown_word(r->service, colon + 1));
        return;
    }
    for (size_t i = 0; i < sync->n_members; i++)
        if (sync->members[i].db == member.db) {
            problem(r, line, "database \"%s\" is named twice", name);
            return;
        }
    mem_push(r->service, sync->members, sync->n_members, member);
}

/* the words of a list of databases; none when it is a connection string, which no message may show */
static const char **split_members(Reader *r, int line, const char *value, size_t *ret_n)
{
    if (value[strcspn(value, "=@/")] == '\0')
        return split_list(r->service, value, ret_n);
    problem(r, line,
            "here stand names of databases; connection strings stand in sections [db NAME]");
    *ret_n = 0;
    return NULL;
}

static void read_members(Reader *r, Sync *sync, int line, const char *value)
{
    size_t n;
    const char **words = split_members(r, line, value, &n);

    if (n == 1) {
        const Section *group = find_section(r, SECTION_GROUP, words[0]);
        int group_line = line;

        value = group == NULL ? NULL : value_of(r, group, "members", &group_line);
        if (value != NULL) {
            line = group_line;
            words = split_members(r, line, value, &n);
        }
    }
    for (size_t i = 0; i < n; i++)
        add_member(r, sync, line, words[i]);
}

static void check_members(Reader *r, const Sync *sync, int line)
{
    size_t sources = sync_sources(sync);

    if (sources == 0)
        problem(r, line, "sync %s has no source", sync->name);
    if (sources > 1 && sync->onetimecopy == COPY_ALWAYS)
        problem(r, line,
                "sync %s has several sources, so onetimecopy = always would lose rows of theirs",
                sync->name);
    if (sync->n_members < 2)
        problem(r, line, "sync %s has no target", sync->name);
}

/* the rules of one word that no list stands for */
static const struct {
    const char *word;
    ConflictRule rule;
} conflict_words[] = {
    {"latest", CONFLICT_LATEST}, {"abort", CONFLICT_ABORT}, {"skip", CONFLICT_SKIP}};

/*
 * "source" is the list of the hub, "target" that of all others: each conflict is between the hub and
 * one of them. False when text is neither.
 */
static bool read_side(Reader *r, Sync *sync, const char *text)
{
    bool source = strcmp(text, "source") == 0, hub = true;

    if (!source && strcmp(text, "target") != 0)
        return false;
    sync->conflict = CONFLICT_LIST;
    for (size_t i = 0; i < sync->n_members; i++) {
        if (sync->members[i].role != ROLE_SOURCE)
            continue;
        if (source == hub)
            mem_push(r->service, sync->preferred, sync->n_preferred, sync->members[i].db);
        hub = false;
    }
    return true;
}

/* a rule that could not do what it says */
static void check_conflict(Reader *r, const Sync *sync, int line)
{
    const char *text = sync->conflict_text;
    size_t sources = sync_sources(sync);

    if (text == NULL || sources == 0)
        return;
    if (strpbrk(text, ", ") == NULL && service_db(r->service, text) != NULL &&
        (sync->conflict != CONFLICT_LIST || read_side(r, &(Sync){0}, text)))
        problem(r, line,
                "\"%s\" is a rule for conflicts and the name of a database: write the list of all "
                "databases, or name it in another way",
                text);
    if (sources == 1 && sync->conflict != CONFLICT_LATEST && strcmp(text, "source") != 0) {
        problem(
            r, line,
            "sync %s has one source, whose rows are always carried: conflict = %s is for several",
            sync->name, text);
        return;
    }
    for (size_t i = 0; i < sync->n_preferred; i++) {
        bool found = false;

        for (size_t m = 0; m < sync->n_members; m++)
            found = found || (sync->members[m].db == sync->preferred[i] &&
                              sync->members[m].role == ROLE_SOURCE);
        if (!found)
            problem(r, line, "database %s cannot win a conflict: it is no source of sync %s",
                    sync->preferred[i]->name, sync->name);
    }
}

/* latest, abort, skip, source, target, function NAME, or names of databases */
static void read_conflict(Reader *r, Sync *sync, int line)
{
    /* an empty value is a problem that was told already */
    const char *text = sync->conflict_text == NULL ? "latest" : sync->conflict_text;
    size_t n, before = r->n_problems;

    for (size_t i = 0; i < sizeof conflict_words / sizeof *conflict_words; i++)
        if (strcmp(text, conflict_words[i].word) == 0) {
            sync->conflict = conflict_words[i].rule;
            check_conflict(r, sync, line);
            return;
        }
    if (read_side(r, sync, text)) {
        check_conflict(r, sync, line);
        return;
    }
    const char **words = split_list(r->service, text, &n);
    if (n == 2 && strcmp(words[0], "function") == 0) {
        Pattern name = {.line = line};

        if (!pattern_read(r->service, words[1], &name) || !pattern_is_name(&name))
            problem(r, line, "\"%s\" is no name of a function", shown_word(r->service, words[1]));
        Str *quoted = str_new(r->service);
        str_ident(quoted, name.schema);
        str_char(quoted, '.');
        str_ident(quoted, name.name == NULL ? "" : name.name);
        sync->conflict = CONFLICT_FUNCTION;
        sync->conflict_function = quoted->text;
        if (r->n_problems == before)
            check_conflict(r, sync, line);
        return;
    }
    sync->conflict = CONFLICT_LIST;
    for (size_t i = 0; i < n; i++) {
        const Db *db = service_db(r->service, words[i]);

        if (db == NULL)
            problem(r, line,
                    "\"%s\" is no rule for conflicts: it is latest, source, target, skip, abort, "
                    "\"function schema.name\" or names of databases",
                    shown_word(r->service, words[i]));
        else
            mem_push(r->service, sync->preferred, sync->n_preferred, db);
    }
    if (r->n_problems == before)
        check_conflict(r, sync, line);
}

/* Tables */

static void add_patterns(Reader *r, Pattern **patterns, size_t *n, bool *all, int line,
                         const char *value)
{
    size_t n_words;
    const char **words = split_list(r->service, value, &n_words);

    for (size_t i = 0; i < n_words; i++) {
        Pattern pattern = {.line = line};

        if (all != NULL && strcmp(words[i], "all") == 0)
            *all = true;
        else if (!pattern_read(r->service, words[i], &pattern))
            problem(r, line, "\"%s\" is no name of a table", shown_word(r->service, words[i]));
        else
            mem_push(r->service, *patterns, *n, pattern);
    }
}

static void add_set(Reader *r, Sync *sync, const Section *set)
{
    int line = set->line;
    const char *include = value_of(r, set, "include", &line);

    if (include != NULL)
        add_patterns(r, &sync->tables.include, &sync->tables.n_include, &sync->tables.all, line,
                     include);
    const char *exclude = value_of(r, set, "exclude", &line);
    if (exclude != NULL)
        add_patterns(r, &sync->tables.exclude, &sync->tables.n_exclude, NULL, line, exclude);
}

static void read_tables(Reader *r, Sync *sync, int line, const char *value)
{
    size_t n;
    const char **words = split_list(r->service, value, &n);

    for (size_t i = 0; i < n; i++) {
        const Section *set = find_section(r, SECTION_TABLES, words[i]);

        if (set != NULL)
            add_set(r, sync, set);
        else
            add_patterns(r, &sync->tables.include, &sync->tables.n_include, &sync->tables.all, line,
                         words[i]);
    }
}

/* Rules for single tables */

static bool rule_is_empty(const TableRule *rule)
{
    return rule->target_name == NULL && rule->columns == NULL && rule->where == NULL;
}

/* what a rule section says for one database (NULL: for all), on top of what it says for all */
static TableRule read_rule(Reader *r, const Section *s, const Db *db)
{
    TableRule rule = {.db = db, .line = s->line};
    static const char *const keys[] = {"target-name", "columns", "where"};
    const char *values[3];
    Pattern name = {0};

    for (size_t i = 0; i < 3; i++) {
        int line = s->line;

        values[i] = db == NULL
                        ? NULL
                        : value_of(r, s, mem_printf(r->service, "%s.%s", keys[i], db->name), &line);
        if (values[i] == NULL)
            values[i] = value_of(r, s, keys[i], &line);
        if (i == 0 && values[0] != NULL) {
            if (!pattern_read(r->service, values[0], &name) || !pattern_is_name(&name))
                problem(r, line, "\"%s\" is no name of a table", shown_word(r->service, values[0]));
            rule.target_schema = name.schema;
            rule.target_name = name.name;
        }
    }
    rule.columns = values[1];
    rule.where = values[2];
    return rule;
}

static bool has_key_for(const Reader *r, const Section *s, const Db *db)
{
    for (size_t i = 0; i < r->ini->n; i++) {
        const IniLine *line = &r->ini->lines[i];
        const char *dot;

        if (line->kind == INI_KEY && line->section != NULL &&
            strcmp(line->section, s->title) == 0 && (dot = strchr(line->key, '.')) != NULL &&
            strcmp(dot + 1, db->name) == 0)
            return true;
    }
    return false;
}

static bool has_keys(const Reader *r, const Section *s)
{
    for (size_t i = 0; i < r->ini->n; i++)
        if (r->ini->lines[i].kind == INI_KEY && r->ini->lines[i].section != NULL &&
            strcmp(r->ini->lines[i].section, s->title) == 0)
            return true;
    return false;
}

/* keys for databases that are no target of the sync */
static void check_rule_dbs(Reader *r, const Section *s, const Sync *sync)
{
    for (size_t i = 0; i < r->ini->n; i++) {
        const IniLine *line = &r->ini->lines[i];
        const char *dot;
        bool known = false;

        if (line->kind != INI_KEY || line->section == NULL ||
            strcmp(line->section, s->title) != 0 || (dot = strchr(line->key, '.')) == NULL)
            continue;
        for (size_t m = 0; m < sync->n_members; m++)
            known = known || (sync->members[m].role != ROLE_SOURCE &&
                              strcmp(sync->members[m].db->name, dot + 1) == 0);
        if (!known)
            problem(r, line_of(i), "\"%s\" is no target of sync %s", dot + 1, sync->name);
    }
}

static void add_rules(Reader *r, const Section *s)
{
    Sync *sync = NULL;
    Pattern table;

    for (size_t i = 0; i < r->service->n_syncs; i++)
        if (strcmp(r->service->syncs[i].name, s->name) == 0)
            sync = &r->service->syncs[i];
    if (sync == NULL) {
        problem(r, s->line, "there is no sync \"%s\"", s->name);
        return;
    }
    if (!pattern_read(r->service, s->rest, &table) || !pattern_is_name(&table)) {
        problem(r, s->line, "\"%s\" is no name of a table", s->rest);
        return;
    }
    if (sync_sources(sync) > 1) {
        problem(r, s->line, "sync %s has several sources: their tables must be the same",
                sync->name);
        return;
    }
    if (!sync_takes(sync, table.schema, table.name)) {
        problem(r, s->line, "sync %s does not take the table %s.%s", sync->name, table.schema,
                table.name);
        return;
    }
    check_rule_dbs(r, s, sync);
    for (size_t i = 0; i <= r->service->n_dbs; i++) {
        const Db *db = i < r->service->n_dbs ? &r->service->dbs[i] : NULL;

        if (db != NULL && !has_key_for(r, s, db))
            continue;
        TableRule rule = read_rule(r, s, db);
        rule.schema = table.schema;
        rule.name = table.name;
        if (!rule_is_empty(&rule))
            mem_push(r->service, sync->rules, sync->n_rules, rule);
    }
    if (!has_keys(r, s))
        problem(r, s->line, "[%s] says nothing", s->title);
}

/* The whole */

/* a path of the file's own, beside the file unless it is absolute */
static const char *beside(const Reader *r, const char *path)
{
    const char *slash = strrchr(r->path, '/');

    if (path == NULL || path[0] == '/' || slash == NULL)
        return path;
    return mem_printf(r->service, "%.*s/%s", (int)(slash - r->path), r->path, path);
}

static void read_service(Reader *r)
{
    const Section none = {.kind = SECTION_SERVICE, .title = "pgtandem"};
    const Section *s = &none;

    for (size_t i = 0; i < r->n_sections; i++)
        if (r->sections[i].kind == SECTION_SERVICE)
            s = &r->sections[i];
    store_values(r, s, r->service);
    r->service->pid_file = r->service->pid_file == NULL ? mem_printf(r->service, "%s.pid", r->path)
                                                        : beside(r, r->service->pid_file);
    if (r->service->log_file != NULL && strcmp(r->service->log_file, LOG_FILE_SYSLOG) != 0)
        r->service->log_file = beside(r, r->service->log_file);
}

static void read_dbs(Reader *r)
{
    for (size_t i = 0; i < r->n_sections; i++) {
        Db db = {.name = r->sections[i].name, .line = r->sections[i].line};

        if (r->sections[i].kind != SECTION_DB)
            continue;
        store_values(r, &r->sections[i], &db);
        mem_push(r->service, r->service->dbs, r->service->n_dbs, db);
    }
}

/* groups and sets that no sync uses are checked, too */
static void check_groups(Reader *r)
{
    for (size_t i = 0; i < r->n_sections; i++) {
        const Section *s = &r->sections[i];
        Sync unused = {.name = s->name};
        int line = s->line;

        if (s->kind != SECTION_GROUP && s->kind != SECTION_TABLES)
            continue;
        store_values(r, s, NULL);
        if (s->kind == SECTION_GROUP) {
            const char *members = value_of(r, s, "members", &line);
            size_t n = 0;
            const char **words = members == NULL ? NULL : split_members(r, line, members, &n);

            for (size_t w = 0; w < n; w++)
                add_member(r, &unused, line, words[w]);
        } else {
            add_set(r, &unused, s);
        }
    }
}

static void read_syncs(Reader *r)
{
    for (size_t i = 0; i < r->n_sections; i++) {
        const Section *s = &r->sections[i];
        Sync sync = {.name = s->name, .line = s->line};
        int line = s->line;
        const char *value;

        if (s->kind != SECTION_SYNC)
            continue;
        store_values(r, s, &sync);
        if ((value = value_of(r, s, "tables", &line)) != NULL)
            read_tables(r, &sync, line, value);
        if ((value = value_of(r, s, "exclude", &line)) != NULL)
            add_patterns(r, &sync.tables.exclude, &sync.tables.n_exclude, NULL, line, value);
        if ((value = value_of(r, s, "dbs", &line)) != NULL) {
            size_t before = r->n_problems;

            read_members(r, &sync, line, value);
            if (r->n_problems == before)
                check_members(r, &sync, line);
        }
        (void)value_of(r, s, "conflict", &line);
        read_conflict(r, &sync, line);
        mem_push(r->service, r->service->syncs, r->service->n_syncs, sync);
    }
    for (size_t i = 0; i < r->n_sections; i++)
        if (r->sections[i].kind == SECTION_TABLE)
            add_rules(r, &r->sections[i]);
}

static int compare_problems(const void *a, const void *b)
{
    const Problem *x = a, *y = b;

    return (x->line > y->line) - (x->line < y->line);
}

/* the same problem is found once for a group and once for each sync that uses it */
static void sort_problems(Reader *r)
{
    size_t kept = 0;

    if (r->n_problems > 0)
        qsort(r->problems, r->n_problems, sizeof *r->problems, compare_problems);
    for (size_t i = 0; i < r->n_problems; i++) {
        bool same = false;

        for (size_t k = 0; k < kept && !same; k++)
            same = r->problems[k].line == r->problems[i].line &&
                   strcmp(r->problems[k].text, r->problems[i].text) == 0;
        if (!same)
            r->problems[kept++] = r->problems[i];
    }
    r->n_problems = kept;
}

Service *conf_parse(const void *ctx, const char *path, const Ini *ini, Problem **ret_problems,
                    size_t *ret_n)
{
    Reader r = {.path = path, .ini = ini, .service = mem_new(ctx, Service)};

    r.service->path = mem_strdup(r.service, path);
    read_sections(&r);
    check_keys(&r);
    read_service(&r);
    read_dbs(&r);
    check_groups(&r);
    read_syncs(&r);
    find_overlaps(r.service, collision, &r);
    sort_problems(&r);
    *ret_problems = r.problems;
    *ret_n = r.n_problems;
    return r.service;
}

char *conf_path(const void *ctx, const char *explicit)
{
    const char *path = explicit != NULL                                ? explicit
                       : access(CONF_NAME, F_OK) == 0                  ? CONF_NAME
                       : access("/etc/pgtandem/" CONF_NAME, F_OK) == 0 ? "/etc/pgtandem/" CONF_NAME
                                                                       : CONF_NAME;
    char *directory;

    if (path[0] == '/' || (directory = getcwd(NULL, 0)) == NULL)
        return mem_strdup(ctx, path);
    char *absolute = mem_printf(ctx, "%s/%s", directory, path);
    free(directory);
    return absolute;
}

bool conf_read_lines(const void *ctx, const char *path, Ini **ret_ini, Err *err)
{
    if (access(path, F_OK) != 0 && errno == ENOENT) {
        err_set(err, ERR_USAGE, "there is no configuration file %s", path);
        return err_hint(err, "\"pgtandem add db\" makes it; --config names another one.");
    }
    return ini_read(ctx, path, ret_ini, err);
}

bool conf_read(const void *ctx, const char *path, Service **ret_service, Problem **ret_problems,
               size_t *ret_n, Err *err)
{
    Ini *ini;

    if (!conf_read_lines(ctx, path, &ini, err))
        return false;
    *ret_service = conf_parse(ctx, path, ini, ret_problems, ret_n);
    return true;
}

char *conf_problems_text(const void *ctx, const char *path, const Problem *problems, size_t n)
{
    Str *s = str_new(ctx);

    for (size_t i = 0; i < n; i++) {
        str_fmt(s, "%s%s:%d: %s", i > 0 ? "\n" : "", path, problems[i].line, problems[i].text);
        if (problems[i].other > 0)
            str_fmt(s, ", in line %d", problems[i].other);
    }
    return s->text;
}

bool conf_load(const void *ctx, const char *path, Service **ret_service, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Problem *problems;
    size_t n;

    if (!conf_read(ctx, path, ret_service, &problems, &n, err))
        return false;
    if (n == 0)
        return true;
    err_set(err, ERR_USAGE, "%zu problem%s in %s", n, n == 1 ? "" : "s", path);
    return err_detail(err, "%s", conf_problems_text(tmp, path, problems, n));
}
