/*
 * The table of options, and what can be said about one of them: see options.h.
 *
 * Texts are plain: they end up in a terminal, in roff, in Markdown and in shell scripts.
 */
#include "cli/options.h"

#include <ctype.h>
#include <string.h>

#include "base/quantity.h"

/* the offset of a member of Cli, which must be of that type */
#define FIELD(Type, member)                                                                        \
    (offsetof(Cli, member) +                                                                       \
     0 * sizeof(                                                                                   \
             char[__builtin_types_compatible_p(Type, __typeof__(((Cli *)0)->member)) ? 1 : -1]))
#define TEXT(member) FIELD(const char *, member)
#define LIST(items, n) .field = FIELD(const char **, items), .count = FIELD(size_t, n)

/* clang-format off */
const Option cli_options[] = {
    { .name = "source", .type = OPT_CONNINFO, .flags = OPT_REQUIRED, .arg = "CONNINFO",
      .field = TEXT(config.source.conninfo), .commands = CMD_NODES,
      .help = "the old node: the database to come from",
      .doc  = "A libpq connection string (\"host=db1 dbname=shop user=owner\"), a URI "
              "(postgresql://owner@db1/shop) or a service (service=old). The role must own the "
              "tables. Everything else libpq knows works too: ~/.pgpass, ~/.pg_service.conf, "
              "the PG* variables, sslmode.\n\n"
              "Keep the password out of it, since other users of the machine can read a command "
              "line: ~/.pgpass is the place for it." },
    { .name = "target", .type = OPT_CONNINFO, .flags = OPT_REQUIRED, .arg = "CONNINFO",
      .field = TEXT(config.target.conninfo), .commands = CMD_NODES,
      .help = "the new node: the database to go to",
      .doc  = "Written like --source. The database must exist; the upgrade fills it. Source and "
              "target keep their meaning for the whole run: they are not exchanged for a "
              "rollback." },

    { .name = "all-databases", .type = OPT_FLAG,
      .field = FIELD(bool, config.all_databases), .commands = CMD_NODES,
      .help = "all databases of the server, with its roles, in one run",
      .doc  = "--source and --target then name any database of the two servers. Databases and roles that the "
              "target lacks are created, --jobs is for all databases together, and one switchover moves all of "
              "them or none. All commands of such a run need this option. --on-switch runs once, with empty "
              "PGTANDEM_..._DBNAME." },
    { .name = "exclude-database", .type = OPT_TEXT, .flags = OPT_REPEAT | OPT_COMMAS, .arg = "NAME",
      LIST(config.excluded, config.n_excluded), .commands = CMD_CHECK | CMD_UPGRADE | CMD_SWITCHOVER,
      .help = "with --all-databases: leave this one out",
      .doc  = "It is neither copied nor switched. Takes several with commas between, and may be given several "
              "times. Databases that templates are made of and those of a provider are left out anyway." },

    { .name = "schema", .type = OPT_TEXT, .flags = OPT_REPEAT | OPT_COMMAS, .arg = "PATTERN",
      LIST(config.schemas, config.n_schemas), .commands = CMD_NODES,
      .help = "move this schema only, with all that is in it",
      .doc  = "A part of a database, into a database that may hold other things: with its tables, functions and "
              "types, in the same way and with the same way back. * and ? stand for any text and any character; "
              "names in double quotes are taken as they are. Takes several with commas between, may be given several "
              "times, and together with --table: what any of them names is moved.\n\n"
              "The selection is remembered with the run. Later commands need not repeat it, and another one is "
              "refused. What is not selected is neither copied nor fenced. Not with --all-databases." },
    { .name = "exclude-schema", .type = OPT_TEXT, .flags = OPT_REPEAT | OPT_COMMAS, .arg = "PATTERN",
      LIST(config.excluded_schemas, config.n_excluded_schemas), .commands = CMD_NODES,
      .help = "leave this schema out",
      .doc  = "Written like --schema. Without --schema and --table all the rest of the database is moved." },
    { .name = "table", .type = OPT_TEXT, .flags = OPT_REPEAT | OPT_COMMAS, .arg = "PATTERN",
      LIST(config.tables, config.n_tables), .commands = CMD_NODES,
      .help = "move this table, view or sequence only",
      .doc  = "Written schema.table, with patterns like those of --schema; without a schema it is public. Partitions "
              "go with their table, and sequences with the table that they belong to. Functions and types that it "
              "needs must be on the target already; check names them." },
    { .name = "exclude-table", .type = OPT_TEXT, .flags = OPT_REPEAT | OPT_COMMAS, .arg = "PATTERN",
      LIST(config.excluded_tables, config.n_excluded_tables), .commands = CMD_NODES,
      .help = "leave this table, view or sequence out",
      .doc  = "Written like --table. Without --schema and --table all the rest of the database is moved." },
    { .name = "rename-schema", .type = OPT_TEXT, .flags = OPT_REPEAT | OPT_COMMAS, .arg = "OLD=NEW",
      LIST(config.renamed_schemas, config.n_renamed_schemas), .commands = CMD_NODES,
      .help = "call this schema NEW on the target",
      .doc  = "For moves into a database where the name is taken, e.g. --schema public --rename-schema "
              "public=shop. What refers to it is renamed with it, in the database itself: definitions are made and "
              "renamed in a scratch database on the target's server (named pgtandem_names_..., dropped at once), for "
              "which the role needs CREATEDB. The text of functions in PL/pgSQL and other languages stays as it is; "
              "check names those that mention the old name.\n\n"
              "Names are given as on the source in all other options. Changes of definitions during the run are not "
              "carried to the other node but stop it: make them on both, and go on with --accept schema-changed." },
    { .name = "rename-table", .type = OPT_TEXT, .flags = OPT_REPEAT | OPT_COMMAS, .arg = "OLD=NEW",
      LIST(config.renamed_tables, config.n_renamed_tables), .commands = CMD_NODES,
      .help = "call this table, view or sequence NEW on the target",
      .doc  = "OLD is schema.table as on the source (without a schema it is in public), NEW a name without schema. "
              "The rest is as with --rename-schema." },

    { .name = "where", .type = OPT_TEXT, .flags = OPT_REPEAT, .arg = "TABLE=CONDITION",
      LIST(config.conditions, config.n_conditions), .commands = CMD_NODES,
      .help = "move only those rows of a table",
      .doc  = "For leaving old or other people's rows behind, e.g. --where \"shop.orders=created >= '2024-01-01+00'\". "
              "The condition is SQL over columns of the table, with functions and types outside of pg_catalog under "
              "their schema; it may depend on the row only. Rows that come to fulfil it are inserted on the new node, "
              "others are deleted there; on the old node they stay. May be given once for each table, with --table "
              "and the like or without; remembered with the run.\n\n"
              "With the switchover the old node refuses writes to the whole table, the rows that were left behind "
              "included. They are not touched by the way back: a row of the new node that has the key of one of them "
              "stops it until it has another one. The table needs a key, and may not be partitioned. Not with "
              "--all-databases." },

    { .name = "jobs", .short_name = 'j', .type = OPT_INT, .arg = "N", .def = "4",
      .min = 1, .max = 64,
      .field = FIELD(int64_t, config.jobs), .commands = CMD_UPGRADE | CMD_VERIFY,
      .help = "number of tables or parts of tables worked on at once",
      .doc  = "Each job is a process with one connection to each node; copying, building "
              "indexes and comparing are shared out among them. More jobs are faster until the "
              "disks or the network are busy, and burden the old node more." },
    { .name = "follow-keyless", .type = OPT_SIZE, .arg = "SIZE", .def = "8MB",
      .min = 0, .max = 1024 * TB,
      .field = FIELD(int64_t, config.follow_keyless_bytes), .commands = CMD_UPGRADE,
      .help = "follow tables without a key that are at least this large",
      .doc  = "Without a key a changed row can only be told from others by all that it holds. In a table "
              "of this size or more each row that comes or goes is recorded whole, and found again on "
              "the new node by its values. A smaller one is copied during the write pause if it changed, "
              "which costs its writers less. One that outgrows this is followed from then on. 0B "
              "follows all of them. The size counts indexes." },
    { .name = "chunk-size", .type = OPT_SIZE, .arg = "SIZE", .def = "1GB",
      .min = 64 * KB, .max = TB,
      .field = FIELD(int64_t, config.chunk_bytes), .commands = CMD_UPGRADE,
      .help = "size of the pieces in which big tables are copied",
      .doc  = "A table larger than this is copied in several pieces at once, and so is one that is "
              "the greater part of the database. After an "
              "interruption only pieces that were not complete are copied again. No piece holds "
              "a snapshot of the old node longer than its own copying takes." },

    { .name = "switchover", .type = OPT_FLAG,
      .field = FIELD(bool, config.switchover), .commands = CMD_UPGRADE,
      .help = "switch over as soon as the copy is in step",
      .doc  = "Without it, upgrade goes on following the old node until it is interrupted or "
              "somebody runs the command switchover." },
    { .name = "max-pause", .type = OPT_DURATION, .arg = "DURATION", .def = "5s",
      .min = 100, .max = HOUR_MS,
      .field = FIELD(int64_t, config.max_pause_ms), .commands = CMD_SWITCH,
      .help = "longest time for which the application may not write",
      .doc  = "The time budget of a switch. When it is used up before the point of no return, "
              "everything is undone, the node that had the application takes its writes again, "
              "and the exit code is 4. The pause is usually far shorter." },
    { .name = "max-lag", .type = OPT_DURATION, .arg = "DURATION", .def = "10s",
      .min = 100, .max = HOUR_MS,
      .field = FIELD(int64_t, config.max_lag_ms), .commands = CMD_SWITCH,
      .help = "a switch starts only when a round of changes takes no longer",
      .doc  = "Before the writes stop, the changes are carried over in rounds until one was short. "
              "On a busy node, where no round is, one within this time will do. A copy that does "
              "not keep up is refused (exit code 3). What is left when the writes stop must be "
              "carried over within --max-pause." },
    { .name = "dry-run", .type = OPT_FLAG,
      .field = FIELD(bool, config.dry_run), .commands = CMD_SWITCHOVER | CMD_ROLLBACK,
      .help = "do all checks of a switch, then stop",
      .doc  = "Shows whether the switch could start now: the lag, long transactions, PgBouncer, "
              "the way back. Changes nothing." },
    { .name = "pgbouncer", .type = OPT_CONNINFO, .flags = OPT_REPEAT, .arg = "CONNINFO",
      LIST(config.pgbouncers, config.n_pgbouncers), .commands = CMD_SWITCH,
      .help = "admin console of a PgBouncer to pause and resume",
      .doc  = "A connection string of PgBouncer's database \"pgbouncer\", for a user in "
              "admin_users. It is paused before the writes stop and resumed afterwards, so that "
              "clients wait instead of failing. May be given several times." },
    { .name = "pgbouncer-ini", .type = OPT_FILE, .arg = "FILE",
      .field = TEXT(config.pgbouncer_ini), .commands = CMD_SWITCH,
      .help = "PgBouncer's configuration file, to lead it to the new node",
      .doc  = "The entries of its section [databases] that lead to the node which closes are "
              "rewritten to lead to the node which opens, and PgBouncer reloads the file. With --all-databases those "
              "of all databases of the run, at once. Several PgBouncers may read the same file (%include)." },
    { .name = "on-switch", .type = OPT_TEXT, .arg = "CMD",
      .field = TEXT(config.on_switch), .commands = CMD_SWITCH,
      .help = "shell command that leads the application to the new node",
      .doc  = "Run by /bin/sh as soon as the node that opens takes writes: change a DNS entry, "
              "a proxy, a service file. It finds PGTANDEM_EVENT (switchover or rollback), "
              "PGTANDEM_NEW_HOST, PGTANDEM_NEW_PORT and PGTANDEM_NEW_DBNAME in its environment, "
              "and PGTANDEM_OLD_HOST and so on for the node that closed." },

    { .name = "pg-bindir", .type = OPT_DIR, .arg = "DIR",
      .field = TEXT(config.pg_bindir), .commands = CMD_CHECK | CMD_UPGRADE | CMD_SWITCHOVER | CMD_ROLLBACK,
      .help = "directory of pg_dump",
      .doc  = "It carries the schema, and must be at least as new as the source. Without this "
              "option the one that fits best is taken from PATH and the usual places: not older "
              "than the source and, if possible, not newer than the target." },
    { .name = "accept", .type = OPT_TEXT, .flags = OPT_REPEAT | OPT_COMMAS, .arg = "ID",
      LIST(config.accepted, config.n_accepted), .commands = CMD_NODES,
      .help = "go on in spite of a finding",
      .doc  = "Takes the identifiers that check and refusals print, with commas between; may be "
              "given several times. Each is a risk that you have looked at and take yourself. "
              "Not every finding can be accepted." },
    { .name = "allow-downgrade", .type = OPT_FLAG,
      .field = FIELD(bool, config.allow_downgrade), .commands = CMD_CHECK | CMD_UPGRADE,
      .help = "the target may be of an older version than the source",
      .doc  = "Data travels well to an older version, a schema does so only when it uses "
              "nothing newer." },
    { .name = "allow-nonempty", .type = OPT_FLAG,
      .field = FIELD(bool, config.allow_nonempty), .commands = CMD_CHECK | CMD_UPGRADE,
      .help = "the target may already hold objects",
      .doc  = "Normally the target must be an empty database. With this option objects of other "
              "names may be there; they are left alone." },

    { .name = "config", .type = OPT_FILE, .arg = "FILE",
      .field = TEXT(config_file), .commands = CMD_SERVICE,
      .help = "the configuration file of the replication service",
      .doc  = "Without this option it is pgtandem.conf in the current directory if that exists, else "
              "/etc/pgtandem/pgtandem.conf." },
    { .name = "daemon", .type = OPT_FLAG, .flags = OPT_NO_ENV,
      .field = FIELD(bool, daemon), .commands = CMD_START,
      .help = "run in the background",
      .doc  = "The log then goes to the file that log-file names, or beside the configuration file." },
    { .name = "wait", .type = OPT_DURATION, .flags = OPT_NO_ENV | OPT_BARE, .arg = "DURATION", .def = "0ms",
      .min = 0, .max = 1000 * HOUR_MS,
      .field = FIELD(int64_t, wait_ms), .commands = CMD_KICK | CMD_PAUSE,
      .help = "return when it is done",
      .doc  = "Of kick: everything that was committed on the sources before has arrived. Of pause: nothing is "
              "written on the targets any more. With a time (--wait=30s) it gives up after it with exit code 1; "
              "what was asked for stays valid." },
    { .name = "force", .type = OPT_FLAG, .flags = OPT_NO_ENV,
      .field = FIELD(bool, force), .commands = CMD_REMOVE,
      .help = "leave out databases that cannot be reached",
      .doc  = "What is there stays until the running service reaches the database. If that leaves the file, too, "
              "it has to be removed by hand: DROP SCHEMA pgtandem CASCADE, when no other sync has it." },

    { .name = "json", .type = OPT_FLAG,
      .field = FIELD(bool, config.json),
      .commands = CMD_CHECK | CMD_VERIFY | CMD_STATUS | CMD_LIST | CMD_CONFLICTS,
      .help = "print the result as JSON",
      .doc  = "On standard output, for programs. Messages for people stay on standard error." },
    { .name = "watch", .type = OPT_FLAG,
      .field = FIELD(bool, config.watch), .commands = CMD_STATUS,
      .help = "print the status again and again",
      .doc  = "Until it is interrupted. Together with --json one object per line is printed." },
    { .name = "mermaid", .type = OPT_FLAG, .flags = OPT_NO_ENV,
      .field = FIELD(bool, mermaid), .commands = CMD_STATES,
      .help = "print a Mermaid diagram instead of text",
      .doc  = "For documents whose renderer understands Mermaid." },

    { .name = "verbose", .short_name = 'v', .type = OPT_FLAG,
      .field = FIELD(bool, verbose), .commands = CMD_ALL,
      .help = "tell more, for finding out what goes wrong",
      .doc  = "Adds lines that begin with \"debug:\" to the messages on standard error." },
    { .name = "quiet", .short_name = 'q', .type = OPT_FLAG,
      .field = FIELD(bool, quiet), .commands = CMD_ALL,
      .help = "tell only warnings and errors",
      .doc  = "Results on standard output are printed all the same." },
    { .name = "help", .short_name = 'h', .type = OPT_FLAG, .flags = OPT_NO_ENV,
      .field = FIELD(bool, help), .commands = CMD_ALL,
      .help = "explain the command and its options",
      .doc  = "Without a command: list the commands." },
    { .name = "version", .short_name = 'V', .type = OPT_FLAG, .flags = OPT_NO_ENV,
      .field = FIELD(bool, version), .commands = CMD_ALL,
      .help = "print the version",
      .doc  = "Prints one line, for example: pgtandem 1.0.0." },
};
/* clang-format on */
const size_t cli_n_options = sizeof cli_options / sizeof *cli_options;

/* names that the environment uses for something else */
static const char *const reserved_names[] = {"fault", "event", "bin", "cache"};

static bool is_number(OptionType type)
{
    return type == OPT_INT || type == OPT_DURATION || type == OPT_SIZE;
}

static Quantity quantity_of(OptionType type)
{
    return type == OPT_DURATION ? QUANTITY_DURATION
           : type == OPT_SIZE   ? QUANTITY_SIZE
                                : QUANTITY_COUNT;
}

const Option *option_find(const char *name, size_t len)
{
    for (size_t i = 0; i < cli_n_options; i++)
        if (strlen(cli_options[i].name) == len && memcmp(cli_options[i].name, name, len) == 0)
            return &cli_options[i];
    return NULL;
}

const Option *option_find_short(char short_name)
{
    for (size_t i = 0; i < cli_n_options; i++)
        if (cli_options[i].short_name == short_name && short_name != '\0')
            return &cli_options[i];
    return NULL;
}

char *option_env(const void *ctx, const Option *option)
{
    if ((option->flags & OPT_NO_ENV) != 0)
        return NULL;
    char *name = mem_printf(ctx, "PGTANDEM_%s", option->name);
    for (char *p = name; *p != '\0'; p++)
        *p = *p == '-' ? '_' : (char)toupper((unsigned char)*p);
    return name;
}

bool option_number(OptionType type, const char *text, int64_t *ret_value)
{
    return quantity_read(quantity_of(type), text, ret_value);
}

char *option_number_text(const void *ctx, OptionType type, int64_t value)
{
    return quantity_text(ctx, quantity_of(type), value);
}

bool option_flag(const char *text, bool *ret_value)
{
    return read_yes_no(text, ret_value);
}

char *option_range(const void *ctx, const Option *option)
{
    if (!is_number(option->type))
        return NULL;
    AUTO_CTX(tmp, ctx);
    return mem_printf(ctx, "%s to %s", option_number_text(tmp, option->type, option->min),
                      option_number_text(tmp, option->type, option->max));
}

char *option_allowed(const void *ctx, const Option *option)
{
    AUTO_CTX(tmp, ctx);
    const char *range = option_range(tmp, option);

    switch (option->type) {
    case OPT_FLAG:
        return mem_strdup(ctx, "yes or no");
    case OPT_INT:
        return mem_printf(ctx, "a whole number from %s", range);
    case OPT_DURATION:
        return mem_printf(ctx, "a time from %s, with its unit: ms, s, min or h", range);
    case OPT_SIZE:
        return mem_printf(ctx, "a size from %s, with its unit: B, kB, MB, GB or TB", range);
    case OPT_CONNINFO:
        return mem_strdup(ctx, "a connection string such as \"host=db1 dbname=shop\", a URI "
                               "(postgresql://user@host/dbname) or service=NAME");
    case OPT_TEXT:
    case OPT_FILE:
    case OPT_DIR:
        break;
    }
    return mem_strdup(ctx, "a text that is not empty");
}

static bool check_texts(const Option *o, Err *err)
{
    if (o->name == NULL || o->name[0] == '\0' ||
        strspn(o->name, "abcdefghijklmnopqrstuvwxyz-") != strlen(o->name) || o->name[0] == '-')
        return err_set(err, ERR_BUG, "an option has no proper name");
    for (size_t i = 0; i < sizeof reserved_names / sizeof *reserved_names; i++)
        if (strcmp(o->name, reserved_names[i]) == 0)
            return err_set(err, ERR_BUG, "the environment name of option %s is taken", o->name);
    if (o->help == NULL || o->help[0] == '\0' || o->help[strlen(o->help) - 1] == '.')
        return err_set(err, ERR_BUG, "option %s has no help, or one with a full stop", o->name);
    if (o->doc == NULL || o->doc[0] == '\0' || o->doc[strlen(o->doc) - 1] != '.')
        return err_set(err, ERR_BUG, "option %s has no doc, or one without a full stop", o->name);
    if ((o->arg == NULL) != (o->type == OPT_FLAG))
        return err_set(err, ERR_BUG, "option %s needs a name for its value, or must not have one",
                       o->name);
    return true;
}

static bool check_values(const Option *o, Err *err)
{
    int64_t value = 0;

    if (o->commands == 0 || (o->commands & ~(unsigned)CMD_ALL) != 0)
        return err_set(err, ERR_BUG, "option %s belongs to no command, or to an unknown one",
                       o->name);
    if (o->field >= sizeof(Cli) || ((o->flags & OPT_REPEAT) != 0) != (o->count != 0))
        return err_set(err, ERR_BUG, "option %s has no place for its value", o->name);
    if ((o->flags & OPT_COMMAS) != 0 && (o->flags & OPT_REPEAT) == 0)
        return err_set(err, ERR_BUG, "option %s takes one value, so it cannot take several",
                       o->name);
    if ((o->flags & OPT_REPEAT) != 0 && (o->type == OPT_FLAG || is_number(o->type)))
        return err_set(err, ERR_BUG, "option %s is a list, so its values must be texts", o->name);
    if (!is_number(o->type)) {
        if (o->def != NULL || o->min != 0 || o->max != 0)
            return err_set(err, ERR_BUG, "option %s cannot have a default or limits", o->name);
        return true;
    }
    if (o->min < 0 || o->min > o->max)
        return err_set(err, ERR_BUG, "option %s has bad limits", o->name);
    if (o->def == NULL || !option_number(o->type, o->def, &value) || value < o->min ||
        value > o->max)
        return err_set(err, ERR_BUG, "option %s has a bad default", o->name);
    return true;
}

bool options_self_check(const Option *options, size_t n, Err *err)
{
    for (size_t i = 0; i < n; i++) {
        const Option *o = &options[i];

        if (!check_texts(o, err) || !check_values(o, err))
            return false;
        for (size_t j = 0; j < i; j++) {
            if (strcmp(options[j].name, o->name) == 0)
                return err_set(err, ERR_BUG, "there are two options %s", o->name);
            if (options[j].short_name == o->short_name && o->short_name != '\0')
                return err_set(err, ERR_BUG, "there are two options -%c", o->short_name);
            if (options[j].field == o->field)
                return err_set(err, ERR_BUG, "options %s and %s share a field", options[j].name,
                               o->name);
        }
    }
    return true;
}
