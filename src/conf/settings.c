/* The table of settings: see settings.h. */
#include "conf/settings.h"

#include <string.h>

#include "base/quantity.h"
#include "base/str.h"
#include "conf/conninfo.h"
#include "model/service.h"

#define OF_SERVICE(member) offsetof(Service, member)
#define OF_DB(member) offsetof(Db, member)
#define OF_SYNC(member) offsetof(Sync, member)

/* clang-format off */
const Setting conf_settings[] = {
    { .section = SECTION_SERVICE, .name = "pid-file", .type = SETTING_TEXT, .field = OF_SERVICE(pid_file),
      .doc = "The file that the running service holds locked, with its process id. Without this setting it is "
             "the configuration file's name with \".pid\" behind it. A relative path begins beside the file." },
    { .section = SECTION_SERVICE, .name = "log-file", .type = SETTING_TEXT, .field = OF_SERVICE(log_file),
      .doc = "Where the log goes; opened anew by reload. Without this setting it is standard error, and with "
             "\"start --daemon\" the configuration file's name with \".log\" behind it. \"syslog\" is the system's log." },

    { .section = SECTION_SERVICE, .name = "log-format", .type = SETTING_CHOICE, .choices = "text|json",
      .def = "text", .field = OF_SERVICE(log_format),
      .doc = "Lines for people, or one JSON object a line for programs." },

    { .section = SECTION_SERVICE, .name = "name", .type = SETTING_TEXT, .field = OF_SERVICE(name),
      .doc = "Whose the edges are: it stands with them in the databases, and what is not in the file any more but has "
             "this name is taken away there. No other file may have the same name, except copies of this one on machines "
             "that stand by. Without this setting it is a random number, kept in the configuration file's name with "
             "\".id\" behind it." },

    { .section = SECTION_DB, .name = "conninfo", .type = SETTING_CONNINFO, .required = true,
      .field = OF_DB(conninfo),
      .doc = "A libpq connection string, a URI, or service=NAME. Passwords are better kept in ~/.pgpass." },
    { .section = SECTION_DB, .name = "queue-limit", .type = SETTING_SIZE, .def = "20GB",
      .min = MB, .max = 1024 * TB, .field = OF_DB(queue_limit),
      .doc = "The fuse: when the recorded changes that are not carried yet are larger than this, the edge that is "
             "farthest behind is detached, so that the disk does not fill. From 80 % on there are warnings. 0 is "
             "no limit." },
    { .section = SECTION_DB, .name = "queue-patience", .type = SETTING_DURATION, .def = "20s",
      .min = SECOND_MS, .max = 24 * HOUR_MS, .field = OF_DB(queue_patience_ms),
      .doc = "How long an edge may have confirmed nothing before the fuse detaches it; edges that work confirm "
             "every second or so." },

    { .section = SECTION_GROUP, .name = "members", .type = SETTING_TEXT, .required = true,
      .doc = "Databases with commas between, each with a role behind a colon: source, target or fullcopy. Without "
             "roles the first is the source and the others are targets. With several sources the first is the hub: "
             "the others exchange their changes through it." },

    { .section = SECTION_TABLES, .name = "include", .type = SETTING_TEXT, .required = true,
      .doc = "Tables and sequences with commas between: schema.table, with * and ? as patterns. Without a schema, "
             "public is meant. \"all\" is everything." },
    { .section = SECTION_TABLES, .name = "exclude", .type = SETTING_TEXT,
      .doc = "What is left out of them, written likewise." },

    { .section = SECTION_SYNC, .name = "tables", .type = SETTING_TEXT, .required = true,
      .doc = "\"all\", or with commas between: names of sets of tables, names and patterns of tables." },
    { .section = SECTION_SYNC, .name = "exclude", .type = SETTING_TEXT,
      .doc = "Tables that are left out, as names or patterns." },
    { .section = SECTION_SYNC, .name = "dbs", .type = SETTING_TEXT, .required = true,
      .doc = "Databases with their roles, as in a group, or the name of a group." },
    { .section = SECTION_SYNC, .name = "onetimecopy", .type = SETTING_CHOICE, .choices = "no|if-empty|always",
      .def = "if-empty", .field = OF_SYNC(onetimecopy),
      .doc = "Whether a table's rows are copied when the table comes to the sync: never, if it is empty on the "
             "target, or always, which replaces what is there." },
    { .section = SECTION_SYNC, .name = "autokick", .type = SETTING_YES_NO, .def = "yes",
      .field = OF_SYNC(autokick),
      .doc = "Whether changes are carried as they come; otherwise only with \"pgtandem kick\" or after checktime. "
             "A fullcopy target is never kicked by itself." },
    { .section = SECTION_SYNC, .name = "checktime", .type = SETTING_DURATION, .min = SECOND_MS,
      .max = 1000 * HOUR_MS, .field = OF_SYNC(checktime_ms),
      .doc = "A round (of a fullcopy target: a copy) at least so often." },
    { .section = SECTION_SYNC, .name = "sequences", .type = SETTING_YES_NO, .def = "yes",
      .field = OF_SYNC(sequences),
      .doc = "Whether sequences of the set that exist on both sides are followed. Between several sources they are "
             "left alone." },
    { .section = SECTION_SYNC, .name = "cascade", .type = SETTING_YES_NO, .def = "no",
      .field = OF_SYNC(cascade),
      .doc = "Whether changes that pgtandem itself applied to the source are carried on, too." },
    { .section = SECTION_SYNC, .name = "target-triggers", .type = SETTING_CHOICE, .choices = "sleep|fire",
      .def = "sleep", .field = OF_SYNC(target_triggers),
      .doc = "Whether the target's own triggers, rules and foreign keys act on what is applied. sleep needs the "
             "right to set session_replication_role there." },
    { .section = SECTION_SYNC, .name = "status", .type = SETTING_CHOICE, .choices = "active|inactive",
      .def = "active", .field = OF_SYNC(status),
      .doc = "An inactive sync does not work. Its changes are still recorded if it has worked before." },

    { .section = SECTION_SYNC, .name = "conflict", .type = SETTING_TEXT, .def = "latest",
      .field = OF_SYNC(conflict_text),
      .doc = "What happens in a sync of several sources when a row was changed on two of them at a time: \"latest\" "
             "(the later change wins; ties by the order of dbs), names of databases (the first of them wins), "
             "\"source\" (the hub, which is the first source of dbs), \"target\" (the other one, whichever it is), "
             "\"skip\" (nobody: both keep their rows, which stay different until one is changed again), "
             "\"abort\" (the edge stops), or \"function schema.name\": an SQL function that is there on all sources "
             "and gets schema, table, key (text[]), and for both databases name, row (as JSON text) and time, in the "
             "order of dbs; it returns the name of the winner, and must be the same everywhere." },
    { .section = SECTION_SYNC, .name = "on-violation", .type = SETTING_CHOICE, .choices = "stop|park",
      .def = "stop", .field = OF_SYNC(on_violation),
      .doc = "What happens when a row cannot be applied because another row has its value of a unique column, or "
             "because (between several sources) its foreign key points to a row that was deleted meanwhile. \"stop\": "
             "the edge stops and says which rows, until you have mended it. \"park\": the loser is taken out and kept "
             "for \"pgtandem conflicts\", and the edge goes on. With one source the target's row stays, and the other "
             "is tried again every minute and with each kick; between several the rule of conflict decides." },
    { .section = SECTION_SYNC, .name = "conflict-keep", .type = SETTING_DURATION, .def = "720h",
      .min = SECOND_MS, .max = 100000 * HOUR_MS, .field = OF_SYNC(conflict_keep_ms),
      .doc = "How long conflicts are kept for \"pgtandem conflicts\". Rows that are still parked stay." },
    { .section = SECTION_SYNC, .name = "before-round", .type = SETTING_TEXT, .field = OF_SYNC(before_round),
      .doc = "SQL that is run on the target before a round's changes, in the round's transaction. When it fails the "
             "round is rolled back and tried again." },
    { .section = SECTION_SYNC, .name = "after-round", .type = SETTING_TEXT, .field = OF_SYNC(after_round),
      .doc = "The same behind the changes, e.g. to refresh a summary: both are seen together or not at all." },
    { .section = SECTION_SYNC, .name = "on-error", .type = SETTING_TEXT, .field = OF_SYNC(on_error),
      .doc = "A command for /bin/sh that is run when a worker fails, once for each new error. It finds PGTANDEM_EVENT, "
             "PGTANDEM_SYNC, PGTANDEM_FROM, PGTANDEM_TO, PGTANDEM_STATE and PGTANDEM_ERROR in its environment, and has "
             "half a minute." },
    { .section = SECTION_SYNC, .name = "on-state", .type = SETTING_TEXT, .field = OF_SYNC(on_state),
      .doc = "The same when the state of an edge changes." },

    { .section = SECTION_TABLE, .name = "target-name", .type = SETTING_TEXT, .per_db = true,
      .doc = "The table's name on the target, as schema.table." },
    { .section = SECTION_TABLE, .name = "columns", .type = SETTING_TEXT, .per_db = true,
      .doc = "A select list that is carried instead of all columns, e.g. \"id, upper(name) as name\". The key "
             "must be in it under its own name. Functions outside of pg_catalog need their schema." },
    { .section = SECTION_TABLE, .name = "where", .type = SETTING_TEXT, .per_db = true,
      .doc = "A condition: only rows that fulfil it are carried. It may use columns of this table only." },
};
/* clang-format on */
const size_t conf_n_settings = sizeof conf_settings / sizeof *conf_settings;

static const char *const words[N_SECTION_KINDS] = {"pgtandem", "db",   "group",
                                                   "tables",   "sync", "table"};

const char *section_word(SectionKind kind)
{
    return words[kind];
}

bool section_by_word(const char *word, SectionKind *ret_kind)
{
    static const struct {
        const char *word;
        SectionKind kind;
    } others[] = {
        {"dbs", SECTION_DB},          {"database", SECTION_DB},      {"databases", SECTION_DB},
        {"groups", SECTION_GROUP},    {"dbgroup", SECTION_GROUP},    {"dbgroups", SECTION_GROUP},
        {"relgroup", SECTION_TABLES}, {"relgroups", SECTION_TABLES}, {"herd", SECTION_TABLES},
        {"herds", SECTION_TABLES},    {"syncs", SECTION_SYNC}};

    for (int kind = 0; kind < N_SECTION_KINDS; kind++)
        if (strcmp(words[kind], word) == 0) {
            *ret_kind = (SectionKind)kind;
            return true;
        }
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (strcmp(others[i].word, word) == 0) {
            *ret_kind = others[i].kind;
            return true;
        }
    return false;
}

const Setting *setting_find(SectionKind section, const char *name, size_t len)
{
    for (size_t i = 0; i < conf_n_settings; i++)
        if (conf_settings[i].section == section && strlen(conf_settings[i].name) == len &&
            memcmp(conf_settings[i].name, name, len) == 0)
            return &conf_settings[i];
    return NULL;
}

/* the index of value among choices, -1 when it is none of them */
static int find_choice(const char *choices, const char *value)
{
    size_t len = strlen(value);

    for (int i = 0;; i++) {
        size_t n = strcspn(choices, "|");

        if (n == len && memcmp(choices, value, len) == 0)
            return i;
        if (choices[n] == '\0')
            return -1;
        choices += n + 1;
    }
}

bool setting_store(const void *ctx, const Setting *setting, const char *value, void *record)
{
    char *field = (char *)record + setting->field;
    int64_t number;
    int choice;

    switch (setting->type) {
    case SETTING_TEXT:
    case SETTING_CONNINFO:
        if (value[0] == '\0' || (setting->type == SETTING_CONNINFO && !conninfo_is_valid(value)))
            return false;
        if (setting->field != 0)
            *(const char **)(void *)field = mem_strdup(ctx, value);
        return true;
    case SETTING_YES_NO:
        return read_yes_no(value, (bool *)field);
    case SETTING_DURATION:
    case SETTING_SIZE:
        if (strcmp(value, "0") == 0 && setting->type == SETTING_SIZE)
            number = 0;
        else if (!quantity_read(setting->type == SETTING_SIZE ? QUANTITY_SIZE : QUANTITY_DURATION,
                                value, &number) ||
                 number < setting->min || number > setting->max)
            return false;
        *(int64_t *)(void *)field = number;
        return true;
    case SETTING_CHOICE:
        choice = find_choice(setting->choices, value);
        if (choice < 0)
            return false;
        *(int *)(void *)field = choice;
        return true;
    }
    return false;
}

char *setting_allowed(const void *ctx, const Setting *setting)
{
    AUTO_CTX(tmp, ctx);
    Quantity kind = setting->type == SETTING_SIZE ? QUANTITY_SIZE : QUANTITY_DURATION;
    Str *s = str_new(tmp);

    switch (setting->type) {
    case SETTING_TEXT:
        return mem_strdup(ctx, "a text that is not empty");
    case SETTING_CONNINFO:
        return mem_strdup(
            ctx, "a connection string such as \"host=db1 dbname=shop\", a URI or service=NAME");
    case SETTING_YES_NO:
        return mem_strdup(ctx, "yes or no");
    case SETTING_DURATION:
    case SETTING_SIZE:
        return mem_printf(
            ctx, "a %s from %s to %s, with its unit: %s%s", kind == QUANTITY_SIZE ? "size" : "time",
            quantity_text(tmp, kind, setting->min), quantity_text(tmp, kind, setting->max),
            quantity_units(kind), kind == QUANTITY_SIZE ? "; or 0" : "");
    case SETTING_CHOICE:
        for (const char *p = setting->choices; *p != '\0'; p++) {
            if (*p == '|')
                str_add(s, strchr(p + 1, '|') == NULL ? " or " : ", ");
            else
                str_char(s, *p);
        }
        return mem_strdup(ctx, s->text);
    }
    return NULL;
}
