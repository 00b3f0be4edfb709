/* cli: tables, parsing, help and generated texts. The migrate_* functions below only note that they were called. */
#include "unit.h"

#include <ctype.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/suggest.h"
#include "cli/command.h"
#include "cli/help.h"
#include "cli/parse.h"
#include "cli/service.h"
#include "cli/spec.h"
#include "migrate/commands.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))
#define NODES "--source", "service=old", "--target", "service=new"

static const char *called;
static const Config *called_with;

static bool note(const char *name, const Config *config)
{
    called = name;
    called_with = config;
    return true;
}

#define FAKE(name)                                                                                 \
    bool migrate_##name(const Config *config, Err *err)                                            \
    {                                                                                              \
        (void)err;                                                                                 \
        return note(#name, config);                                                                \
    }
FAKE(check)
FAKE(upgrade)
FAKE(switchover)
FAKE(rollback)
FAKE(finish)
FAKE(abort)
FAKE(verify)

#define FAKE_SERVER(name)                                                                          \
    bool server_##name(const Config *config, Err *err)                                             \
    {                                                                                              \
        (void)err;                                                                                 \
        return note("server " #name, config);                                                      \
    }
FAKE_SERVER(check)
FAKE_SERVER(upgrade)
FAKE_SERVER(switchover)
FAKE_SERVER(rollback)
FAKE_SERVER(finish)
FAKE_SERVER(abort)
FAKE_SERVER(verify)
FAKE_SERVER(status)

#define FAKE_CLI(name)                                                                             \
    bool cli_##name(const Cli *cli, Err *err)                                                      \
    {                                                                                              \
        (void)err;                                                                                 \
        return note(#name, &cli->config);                                                          \
    }
FAKE_CLI(add)
FAKE_CLI(update)
FAKE_CLI(remove)
FAKE_CLI(list)
FAKE_CLI(validate)
FAKE_CLI(start)
FAKE_CLI(stop)
FAKE_CLI(reload)
FAKE_CLI(kick)
FAKE_CLI(pause)
FAKE_CLI(resume)
FAKE_CLI(activate)
FAKE_CLI(deactivate)
FAKE_CLI(recopy)
FAKE_CLI(status)
FAKE_CLI(import_bucardo)
FAKE_CLI(conflicts)
FAKE_CLI(edge)
FAKE_CLI(keeper)

void migrate_print_states(bool mermaid)
{
    (void)note(mermaid ? "mermaid" : "states", NULL);
}

bool migrate_member(Err *err)
{
    (void)err;
    return note("member", NULL);
}

bool migrate_worker(Err *err)
{
    (void)err;
    return note("worker", NULL);
}

/* what the environment of the test must not decide */
static void clear_environment(void *ctx)
{
    for (size_t i = 0; i < cli_n_options; i++) {
        const char *name = option_env(ctx, &cli_options[i]);

        if (name != NULL)
            unsetenv(name);
    }
}

static Cli *parse_words(void *ctx, Err *err, const char *const *words, size_t n)
{
    char **argv = mem_array(ctx, char *, n + 2);
    Cli *cli = NULL;

    argv[0] = mem_strdup(ctx, "pgtandem");
    for (size_t i = 0; i < n; i++)
        argv[i + 1] = mem_strdup(ctx, words[i]);
    if (!cli_parse(ctx, (int)n + 1, argv, &cli, err)) {
        assert_null(cli);
        assert_int_equal(err->kind, ERR_USAGE);
        return NULL;
    }
    assert_non_null(cli);
    return cli;
}

#define WORDS(...) ((const char *const[]){__VA_ARGS__}), COUNT(((const char *const[]){__VA_ARGS__}))

/* the words must be refused, with these parts in message, detail and hint */
static void refused(void *ctx, const char *msg, const char *rest, const char *const *words,
                    size_t n)
{
    Err *err = err_new(ctx);

    assert_null(parse_words(ctx, err, words, n));
    const char *all = mem_printf(ctx, "%s %s", err->detail == NULL ? "" : err->detail,
                                 err->hint == NULL ? "" : err->hint);
    if (strstr(err->msg, msg) == NULL || strstr(all, rest) == NULL)
        fail_msg("\"%s\" and \"%s\" are not in: %s %s", msg, rest, err->msg, all);
}

static Cli *accepted(void *ctx, const char *const *words, size_t n)
{
    Err *err = err_new(ctx);
    Cli *cli = parse_words(ctx, err, words, n);

    if (cli == NULL)
        fail_msg("refused: %s", err->msg);
    return cli;
}

static void test_tables(void **state)
{
    Err *err = err_new(*state);

    if (!cli_self_check(err))
        fail_msg("%s", err->msg);
    for (size_t i = 0; i < cli_n_options; i++) {
        const Option *o = &cli_options[i];

        assert_ptr_equal(option_find(o->name, strlen(o->name)), o);
        if (o->short_name != '\0')
            assert_ptr_equal(option_find_short(o->short_name), o);
        /* the first line of the help must stay one line */
        assert_true(strlen(o->help) < 70);
        assert_true(islower((unsigned char)o->help[0]) || strncmp(o->help, "PgBouncer", 9) == 0);
    }
    assert_null(option_find("source=x", strlen("source=x")));
    assert_null(option_find_short('\0'));
}

static void bad_option(void *ctx, const char *msg, Option o)
{
    Err *err = err_new(ctx);

    assert_false(options_self_check(&o, 1, err));
    assert_int_equal(err->kind, ERR_BUG);
    if (strstr(err->msg, msg) == NULL)
        fail_msg("\"%s\" is not in: %s", msg, err->msg);
}

static void test_bad_options(void **state)
{
    void *ctx = *state;
    Err *err = err_new(ctx);
    const Option good = {.name = "size",
                         .short_name = 's',
                         .type = OPT_SIZE,
                         .arg = "SIZE",
                         .def = "1MB",
                         .min = 1024,
                         .max = 1 << 30,
                         .field = 8,
                         .commands = 1,
                         .help = "a size",
                         .doc = "A size."};
    Option o = good;

    assert_true(options_self_check(&good, 1, err));
    o.name = "Size";
    bad_option(ctx, "proper name", o);
    o.name = "fault";
    bad_option(ctx, "is taken", o);
    o = good;
    o.help = "A size.";
    bad_option(ctx, "no help", o);
    o.help = NULL;
    bad_option(ctx, "no help", o);
    o = good;
    o.doc = "";
    bad_option(ctx, "no doc", o);
    o = good;
    o.arg = NULL;
    bad_option(ctx, "name for its value", o);
    o = good;
    o.def = "1kg";
    bad_option(ctx, "bad default", o);
    o.def = "1B";
    bad_option(ctx, "bad default", o);
    o.def = NULL;
    bad_option(ctx, "bad default", o);
    o = good;
    o.max = 1;
    bad_option(ctx, "bad limits", o);
    o = good;
    o.commands = 0;
    bad_option(ctx, "no command", o);
    o = good;
    o.field = sizeof(Cli);
    bad_option(ctx, "no place", o);
    o = good;
    o.flags = OPT_REPEAT;
    bad_option(ctx, "no place", o);
    o.count = 16;
    bad_option(ctx, "must be texts", o);
    o.flags = OPT_COMMAS;
    o.count = 0;
    bad_option(ctx, "cannot take several", o);
    o = good;
    o.type = OPT_TEXT;
    bad_option(ctx, "cannot have a default", o);

    Option two[] = {good, good};
    assert_false(options_self_check(two, 2, err));
    assert_non_null(strstr(err->msg, "two options size"));
    two[1].name = "other";
    assert_false(options_self_check(two, 2, err));
    assert_non_null(strstr(err->msg, "two options -s"));
    two[1].short_name = '\0';
    assert_false(options_self_check(two, 2, err));
    assert_non_null(strstr(err->msg, "share a field"));
    two[1].field = 16;
    assert_true(options_self_check(two, 2, err));
}

static void test_bad_commands(void **state)
{
    Err *err = err_new(*state);
    Command two[] = {cli_commands[0], cli_commands[0]};

    assert_true(command_self_check(two, 1, err));
    assert_false(command_self_check(two, 2, err));
    assert_non_null(strstr(err->msg, "same name or bit"));
    two[0].on_source = NULL;
    assert_false(command_self_check(two, 1, err));
    assert_non_null(strstr(err->msg, "what it does to whom"));
    two[0] = cli_commands[0];
    two[0].examples[0].line = "pgtandem other";
    assert_false(command_self_check(two, 1, err));
    assert_non_null(strstr(err->msg, "example"));
    two[0] = cli_commands[0];
    two[0].migrate = NULL;
    assert_false(command_self_check(two, 1, err));
    assert_non_null(strstr(err->msg, "nothing to run"));
    two[0] = cli_commands[0];
    two[0].id = CMD_CHECK | CMD_UPGRADE;
    assert_false(command_self_check(two, 1, err));
    assert_int_equal(err->kind, ERR_BUG);
}

static void test_numbers(void **state)
{
    static const struct {
        OptionType type;
        const char *text;
        int64_t value; /* -1: must be refused */
    } cases[] = {
        {OPT_INT, "0", 0},
        {OPT_INT, "64", 64},
        {OPT_INT, "", -1},
        {OPT_INT, "-1", -1},
        {OPT_INT, "+1", -1},
        {OPT_INT, " 1", -1},
        {OPT_INT, "1 ", -1},
        {OPT_INT, "1x", -1},
        {OPT_INT, "0x10", -1},
        {OPT_INT, "9223372036854775807", INT64_MAX},
        {OPT_INT, "9223372036854775808", -1},
        {OPT_DURATION, "500ms", 500},
        {OPT_DURATION, "5s", 5000},
        {OPT_DURATION, "5 s", 5000},
        {OPT_DURATION, "2min", 120000},
        {OPT_DURATION, "1H", 3600000},
        {OPT_DURATION, "5", -1},
        {OPT_DURATION, "5m", -1},
        {OPT_DURATION, "1.5s", -1},
        {OPT_DURATION, "s", -1},
        {OPT_DURATION, "9223372036854775807s", -1},
        {OPT_SIZE, "1B", 1},
        {OPT_SIZE, "64kB", 65536},
        {OPT_SIZE, "128mb", 134217728},
        {OPT_SIZE, "2GB", INT64_C(2147483648)},
        {OPT_SIZE, "128", -1},
        {OPT_SIZE, "128MBs", -1},
        {OPT_SIZE, "9999999999TB", -1},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        int64_t value = -2;
        bool ok = option_number(cases[i].type, cases[i].text, &value);

        if (ok != (cases[i].value >= 0) || (ok && value != cases[i].value))
            fail_msg("\"%s\" gave %d, %lld", cases[i].text, ok, (long long)value);
    }
}

static void test_number_texts(void **state)
{
    void *ctx = *state;

    assert_string_equal(option_number_text(ctx, OPT_INT, 64), "64");
    assert_string_equal(option_number_text(ctx, OPT_DURATION, 1500), "1500ms");
    assert_string_equal(option_number_text(ctx, OPT_DURATION, 90000), "90s");
    assert_string_equal(option_number_text(ctx, OPT_DURATION, 3600000), "1h");
    assert_string_equal(option_number_text(ctx, OPT_SIZE, 65536), "64kB");
    assert_string_equal(option_number_text(ctx, OPT_SIZE, 0), "0B");
    UNIT_GREW(ctx, 1, option_number_text(ctx, OPT_SIZE, 1));
    UNIT_GREW(ctx, 1, option_allowed(ctx, option_find("jobs", 4)));
    UNIT_GREW(ctx, 1, help_facts(ctx, option_find("jobs", 4)));
    assert_null(option_range(ctx, option_find("source", 6)));
}

static void test_flags(void **state)
{
    bool value = false;

    (void)state;
    assert_true(option_flag("yes", &value) && value);
    assert_true(option_flag("OFF", &value) && !value);
    assert_true(option_flag("1", &value) && value);
    assert_true(option_flag("false", &value) && !value);
    assert_false(option_flag("", &value));
    assert_false(option_flag("maybe", &value));
}

static void test_env_names(void **state)
{
    void *ctx = *state;

    assert_string_equal(option_env(ctx, option_find("max-pause", 9)), "PGTANDEM_MAX_PAUSE");
    assert_string_equal(option_env(ctx, option_find("source", 6)), "PGTANDEM_SOURCE");
    assert_null(option_env(ctx, option_find("help", 4)));
}

static void test_defaults(void **state)
{
    clear_environment(*state);
    Cli *cli = accepted(*state, WORDS("upgrade", NODES));

    assert_string_equal(cli->command->name, "upgrade");
    assert_string_equal(cli->config.source.conninfo, "service=old");
    assert_string_equal(cli->config.source.label, "source");
    assert_string_equal(cli->config.target.conninfo, "service=new");
    assert_string_equal(cli->config.target.label, "target");
    assert_int_equal(cli->config.jobs, 4);
    assert_int_equal(cli->config.chunk_bytes, 1073741824);
    assert_int_equal(cli->config.max_pause_ms, 5000);
    assert_int_equal(cli->config.max_lag_ms, 10000);
    assert_int_equal(cli->config.n_pgbouncers, 0);
    assert_int_equal(cli->config.n_accepted, 0);
    assert_null(cli->config.on_switch);
    assert_false(cli->config.switchover || cli->config.dry_run || cli->config.json || cli->verbose);
}

static void test_forms(void **state)
{
    clear_environment(*state);
    Cli *cli = accepted(*state, WORDS("upgrade", "--source=host=db1 dbname=a", "--target",
                                      "postgresql://db2/a", "-j", "8", "--chunk-size=1GB",
                                      "--max-pause", "500ms", "--switchover", "--accept", "a,b",
                                      "--accept=c", "--pgbouncer", "host=p1,p2", "--pgbouncer",
                                      "service=p3", "--on-switch", "-odd", "-v"));
    const Config *c = &cli->config;

    assert_string_equal(c->source.conninfo, "host=db1 dbname=a");
    assert_string_equal(c->target.conninfo, "postgresql://db2/a");
    assert_int_equal(c->jobs, 8);
    assert_int_equal(c->chunk_bytes, 1 << 30);
    assert_int_equal(c->max_pause_ms, 500);
    assert_true(c->switchover && cli->verbose && !cli->quiet);
    assert_int_equal(c->n_accepted, 3);
    assert_string_equal(c->accepted[0], "a");
    assert_string_equal(c->accepted[1], "b");
    assert_string_equal(c->accepted[2], "c");
    assert_int_equal(c->n_pgbouncers, 2);
    assert_string_equal(c->pgbouncers[0], "host=p1,p2");
    assert_string_equal(c->pgbouncers[1], "service=p3");
    assert_string_equal(c->on_switch, "-odd");

    cli = accepted(*state, WORDS("verify", NODES, "-vj16", "--jobs", "32"));
    assert_int_equal(cli->config.jobs, 32); /* the last one counts */
    assert_true(cli->verbose);
    cli = accepted(*state, WORDS("status", NODES, "--json", "--json=no"));
    assert_false(cli->config.json);
    cli = accepted(*state, WORDS("check", NODES, "--"));
    assert_string_equal(cli->command->name, "check");
}

static void test_help_and_version(void **state)
{
    void *ctx = *state;

    clear_environment(ctx);
    assert_true(accepted(ctx, WORDS("--help"))->help);
    assert_null(accepted(ctx, WORDS("-h"))->command);
    assert_true(accepted(ctx, WORDS("-V"))->version);
    assert_null(accepted(ctx, WORDS("help"))->command);
    /* neither nodes nor a sane environment are needed */
    setenv("PGTANDEM_JOBS", "many", 1);
    assert_string_equal(accepted(ctx, WORDS("upgrade", "--help"))->command->name, "upgrade");
    assert_string_equal(accepted(ctx, WORDS("--help", "upgrade"))->command->name, "upgrade");
    assert_string_equal(accepted(ctx, WORDS("help", "upgrade"))->command->name, "upgrade");
    unsetenv("PGTANDEM_JOBS");
}

static void test_wrong_words(void **state)
{
    void *ctx = *state;
    Err *err = err_new(ctx);
    char *const only_name[] = {mem_strdup(ctx, "pgtandem"), NULL};
    Cli *cli = NULL;

    clear_environment(ctx);
    assert_false(cli_parse(ctx, 1, only_name, &cli, err));
    assert_string_equal(err->msg, "no command given");

    refused(ctx, "unknown command \"upgrad\"", "Did you mean upgrade?", WORDS("upgrad"));
    refused(ctx, "unknown command \"x\"", "lists the commands", WORDS("x"));
    refused(ctx, "unknown option --max-pauze", "Did you mean --max-pause?",
            WORDS("upgrade", "--max-pauze=5s"));
    refused(ctx, "unknown option --dry", "Did you mean --dry-run?", WORDS("rollback", "--dry"));
    refused(ctx, "unknown option -z", "pgtandem check --help", WORDS("check", "-z"));
    refused(ctx, "--watch does not belong to the command upgrade", "option of status.",
            WORDS("upgrade", "--watch"));
    refused(ctx, "--dry-run does not belong to the command check", "switchover and rollback.",
            WORDS("check", "--dry-run"));
    refused(ctx, "--source stands before the command", "command first",
            WORDS("--source", "service=a", "check"));
    refused(ctx, "check takes no argument \"foo\"", "--help", WORDS("check", NODES, "foo"));
    refused(ctx, "check takes no argument \"-x\"", "--help", WORDS("check", NODES, "--", "-x"));
    refused(ctx, "--verbose and --quiet", "", WORDS("check", NODES, "-vq"));
    refused(ctx, "__spec needs an argument", "", WORDS("__spec"));
}

static void test_wrong_values(void **state)
{
    void *ctx = *state;

    clear_environment(ctx);
    refused(ctx, "invalid value \"65\" for --jobs", "from 1 to 64",
            WORDS("upgrade", NODES, "-j65"));
    refused(ctx, "invalid value \"0\" for --jobs", "from 1 to 64",
            WORDS("upgrade", NODES, "--jobs", "0"));
    refused(ctx, "invalid value \"5\" for --max-pause", "unit: ms, s, min",
            WORDS("upgrade", NODES, "--max-pause=5"));
    refused(ctx, "invalid value \"2h\" for --max-pause", "100ms to 1h",
            WORDS("upgrade", NODES, "--max-pause=2h"));
    refused(ctx, "invalid value \"1kB\" for --chunk-size", "64kB",
            WORDS("upgrade", NODES, "--chunk-size=1kB"));
    refused(ctx, "invalid value \"perhaps\" for --json", "yes or no",
            WORDS("check", NODES, "--json=perhaps"));
    refused(ctx, "empty value for --on-switch", "not empty",
            WORDS("upgrade", NODES, "--on-switch="));
    refused(ctx, "empty value for --accept", "", WORDS("upgrade", NODES, "--accept", "a,,b"));
    refused(ctx, "--jobs needs a value", "from 1 to 64", WORDS("upgrade", NODES, "--jobs"));
    refused(ctx, "--source needs a value", "",
            WORDS("check", "--source", "--target", "service=new"));
}

static void test_nodes(void **state)
{
    void *ctx = *state;

    clear_environment(ctx);
    for (size_t i = 0; i < cli_n_commands; i++) {
        const Command *c = &cli_commands[i];

        if (c->id == CMD_STATUS) {
            /* without nodes it is the service's */
            assert_null(accepted(ctx, WORDS("status"))->config.source.conninfo);
            refused(ctx, "no source given", "old node", WORDS("status", "--target", "service=a"));
        } else if ((c->id & CMD_NODES) != 0) {
            refused(ctx, "no source given: use --source CONNINFO, or set PGTANDEM_SOURCE",
                    "old node", WORDS(c->name));
            refused(ctx, "no target given: use --target CONNINFO, or set PGTANDEM_TARGET",
                    "new node", WORDS(c->name, "--source", "service=a"));
        }
    }
    refused(ctx, "--source and --target are the same", "",
            WORDS("check", "--source", "service=a", "--target", "service=a"));
}

/* whatever is wrong, the value of a secret option must not be in the message */
static void test_secrets(void **state)
{
    static const char *const lines[][6] = {
        {"check", "--source", "sesame"},
        {"check", "--source=sesame"},
        {"check", "--source", "host=x", "password=sesame"},
        {"check", "--source", "host=x", "postgresql://u:sesame@h/d"},
        {"check", "--sorce=host=x password=sesame"},
        {"check", "--source", "password=sesame", "--target", "password=sesame"},
        {"switchover", "--pgbouncer", "sesame"},
        {"status", "--pgbouncer=password=sesame"},
    };
    void *ctx = *state;

    clear_environment(ctx);
    for (size_t i = 0; i < COUNT(lines); i++) {
        Err *err = err_new(ctx);
        size_t n = 0;

        while (n < COUNT(lines[i]) && lines[i][n] != NULL)
            n++;
        assert_null(parse_words(ctx, err, lines[i], n));
        assert_null(strstr(err->msg, "sesame"));
        assert_true(err->detail == NULL || strstr(err->detail, "sesame") == NULL);
        assert_true(err->hint == NULL || strstr(err->hint, "sesame") == NULL);
    }
    setenv("PGTANDEM_SOURCE", "sesame", 1);
    refused(ctx, "the value of PGTANDEM_SOURCE (option --source) is no connection string",
            "service=NAME", WORDS("check"));
    unsetenv("PGTANDEM_SOURCE");
}

static void test_environment(void **state)
{
    void *ctx = *state;

    clear_environment(ctx);
    setenv("PGTANDEM_SOURCE", "service=env", 1);
    setenv("PGTANDEM_TARGET", "service=new", 1);
    setenv("PGTANDEM_JOBS", "9", 1);
    setenv("PGTANDEM_JSON", "yes", 1);
    setenv("PGTANDEM_ACCEPT", "a,b", 1);
    setenv("PGTANDEM_PGBOUNCER", "host=a,b\nservice=c", 1);
    setenv("PGTANDEM_ON_SWITCH", "", 1); /* counts as not set */
    setenv("PGTANDEM_HELP", "yes", 1);   /* no such thing */
    Cli *cli = accepted(ctx, WORDS("upgrade"));
    assert_string_equal(cli->config.source.conninfo, "service=env");
    assert_int_equal(cli->config.jobs, 9);
    assert_false(cli->config.json); /* upgrade has no --json */
    assert_int_equal(cli->config.n_accepted, 2);
    assert_int_equal(cli->config.n_pgbouncers, 2);
    assert_string_equal(cli->config.pgbouncers[0], "host=a,b");
    assert_null(cli->config.on_switch);
    assert_false(cli->help);

    /* the command line wins; a list replaces the whole list */
    cli = accepted(ctx, WORDS("upgrade", "--source", "service=line", "-j1", "--accept", "z"));
    assert_string_equal(cli->config.source.conninfo, "service=line");
    assert_int_equal(cli->config.jobs, 1);
    assert_int_equal(cli->config.n_accepted, 1);
    assert_string_equal(cli->config.accepted[0], "z");
    assert_true(accepted(ctx, WORDS("check"))->config.json);
    assert_false(accepted(ctx, WORDS("check", "--json=no"))->config.json);

    setenv("PGTANDEM_VERBOSE", "1", 1);
    cli = accepted(ctx, WORDS("check", "-q"));
    assert_true(cli->quiet && !cli->verbose);
    setenv("PGTANDEM_JOBS", "many", 1);
    refused(ctx, "invalid value \"many\" for PGTANDEM_JOBS (option --jobs)", "from 1 to 64",
            WORDS("upgrade"));
    assert_non_null(accepted(ctx, WORDS("check"))); /* has no --jobs, so it does not matter */
    unsetenv("PGTANDEM_HELP");
    clear_environment(ctx);
}

static void test_run(void **state)
{
    void *ctx = *state;
    Err *err = err_new(ctx);

    clear_environment(ctx);
    for (size_t i = 0; i < cli_n_commands; i++) {
        const Command *c = &cli_commands[i];

        if ((c->id & CMD_NODES) == 0)
            continue;
        Cli *cli = accepted(ctx, WORDS(c->name, NODES));
        assert_true(command_run(cli, err));
        assert_string_equal(called, c->name);
        assert_ptr_equal(called_with, &cli->config);
    }
    assert_true(command_run(accepted(ctx, WORDS("states")), err));
    assert_string_equal(called, "states");
    assert_true(command_run(accepted(ctx, WORDS("states", "--mermaid")), err));
    assert_string_equal(called, "mermaid");
    assert_true(command_run(accepted(ctx, WORDS("worker")), err));
    assert_string_equal(called, "worker");
    assert_false(command_run(accepted(ctx, WORDS("__spec", "pdf")), err));
    assert_int_equal(err->kind, ERR_USAGE);
}

static void test_memory(void **state)
{
    void *ctx = *state;
    char *argv[] = {mem_strdup(ctx, "pgtandem"), mem_strdup(ctx, "check"),
                    mem_strdup(ctx, "--sorce"), NULL};
    Err *err = err_new(ctx);
    Cli *cli = NULL;

    /* a refused command line leaves only the texts of its error: message and hint */
    UNIT_GREW(ctx, 2, assert_false(cli_parse(ctx, 3, argv, &cli, err)));
    UNIT_GREW(ctx, 1, help_general(ctx));
    UNIT_GREW(ctx, 1, help_command(ctx, &cli_commands[0]));
    UNIT_GREW(ctx, 1, assert_non_null(spec_text(ctx, "man", err)));
    UNIT_GREW(ctx, 1, command_names(ctx, CMD_SWITCH));
}

static void test_suggest(void **state)
{
    static const char *const names[] = {"check", "upgrade", "status", "states"};

    (void)state;
    assert_int_equal(edit_distance("", 0, "abc", 3), 3);
    assert_int_equal(edit_distance("abc", 3, "abc", 3), 0);
    assert_int_equal(edit_distance("abcd", 4, "acbd", 4), 1);
    assert_int_equal(edit_distance("kitten", 6, "sitting", 7), 3);
    assert_string_equal(suggest("chekc", 5, names, COUNT(names)), "check");
    assert_string_equal(suggest("statsu", 6, names, COUNT(names)), "status");
    assert_string_equal(suggest("up", 2, names, COUNT(names)), "upgrade");
    assert_null(suggest("x", 1, names, COUNT(names)));
    assert_null(suggest("replicate", 9, names, COUNT(names)));

    char long_word[300];
    memset(long_word, 'x', sizeof long_word);
    assert_null(suggest(long_word, sizeof long_word, names, COUNT(names)));
}

static void test_wrap(void **state)
{
    Str *s = str_new(*state);

    help_wrap(s, 0, 2, "one two\n\nthree");
    assert_string_equal(s->text, "  one two\n\n  three\n");
    str_clear(s);
    help_wrap(s, 70, 10, "behind a long name");
    assert_string_equal(s->text, "behind a\n          long name\n");
}

/* each command's help explains it; every option is in it with its default and its variable */
static void test_help(void **state)
{
    void *ctx = *state;
    const char *general = help_general(ctx);

    for (size_t i = 0; i < cli_n_commands; i++) {
        const Command *c = &cli_commands[i];
        const char *help = help_command(ctx, c);

        assert_true(c->hidden == (strstr(general, mem_printf(ctx, "\n  %s ", c->name)) == NULL));
        for (size_t j = 0; j < cli_n_options; j++) {
            const Option *o = &cli_options[j];
            const char *env = option_env(ctx, o);
            /* the name ends at the blank before its value or its help */
            const char *line = o->short_name == '\0'
                                   ? mem_printf(ctx, "\n      --%s ", o->name)
                                   : mem_printf(ctx, "\n  -%c, --%s ", o->short_name, o->name);
            bool in_help = strstr(help, line) != NULL;

            assert_true(in_help == ((o->commands & c->id) != 0));
            if (in_help && env != NULL)
                assert_non_null(strstr(help, env));
            if (in_help && o->def != NULL)
                assert_non_null(strstr(help, mem_printf(ctx, "default %s", o->def)));
        }
    }
    for (int kind = ERR_NONE; kind <= (int)ERR_BUG; kind++)
        assert_non_null(strstr(general, mem_printf(ctx, "\n  %d ", err_exit_code((ErrKind)kind))));
}

static void test_spec_json(void **state)
{
    void *ctx = *state;
    Err *err = err_new(ctx);
    json_error_t problem;
    char *text = spec_text(ctx, "json", err);

    assert_non_null(text);
    json_t *root = json_loads(text, 0, &problem);
    assert_non_null(root);
    assert_int_equal(json_array_size(json_object_get(root, "options")), cli_n_options);
    json_t *source = json_array_get(json_object_get(root, "options"), 0);
    assert_string_equal(json_string_value(json_object_get(source, "name")), "source");
    assert_true(json_is_true(json_object_get(source, "secret")));
    assert_string_equal(
        json_string_value(json_object_get(json_object_get(root, "exit_codes"), "0")), "done");
    json_decref(root);
}

static void test_spec_formats(void **state)
{
    static const char *const formats[] = {"man", "bash", "zsh", "md", "json"};
    void *ctx = *state;
    Err *err = err_new(ctx);

    for (size_t i = 0; i < COUNT(formats); i++) {
        const char *text = spec_text(ctx, formats[i], err);

        assert_non_null(text);
        for (size_t j = 0; j < cli_n_commands; j++)
            if (!cli_commands[j].hidden && strchr(cli_commands[j].name, '-') == NULL)
                assert_non_null(strstr(text, cli_commands[j].name)); /* roff escapes a hyphen */
        assert_null(strstr(text, "worker)"));
    }
    const char *man = spec_text(ctx, "man", err);
    assert_non_null(strstr(man, "\\-\\-max\\-pause DURATION"));
    assert_null(spec_text(ctx, "pdf", err));
    assert_int_equal(err->kind, ERR_USAGE);
}

UNIT_MAIN(UNIT_TEST(test_tables), UNIT_TEST(test_bad_options), UNIT_TEST(test_bad_commands),
          UNIT_TEST(test_numbers), UNIT_TEST(test_number_texts), UNIT_TEST(test_flags),
          UNIT_TEST(test_env_names), UNIT_TEST(test_defaults), UNIT_TEST(test_forms),
          UNIT_TEST(test_help_and_version), UNIT_TEST(test_wrong_words),
          UNIT_TEST(test_wrong_values), UNIT_TEST(test_nodes), UNIT_TEST(test_secrets),
          UNIT_TEST(test_environment), UNIT_TEST(test_run), UNIT_TEST(test_memory),
          UNIT_TEST(test_suggest), UNIT_TEST(test_wrap), UNIT_TEST(test_help),
          UNIT_TEST(test_spec_json), UNIT_TEST(test_spec_formats))
