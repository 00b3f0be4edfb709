/*
 * Parsing: see parse.h.
 *
 * Three passes in order of strength: the command line, then the environment for what it left open,
 * then the defaults. getopt_long() is not used: it prints by itself, accepts abbreviations (which
 * break when an option is added), and cannot say which command an option belongs to.
 */
#include "cli/parse.h"

#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "base/suggest.h"
#include "cli/command.h"

typedef enum Origin { FROM_NOWHERE, FROM_ENVIRONMENT, FROM_COMMAND_LINE } Origin;

typedef struct Parse {
    Cli *cli;
    Origin *origins; /* for each option, where its value is from */
    char *const *argv;
    int argc;
    int next; /* the word to look at */
} Parse;

static Origin *origin_of(Parse *p, const Option *o)
{
    return &p->origins[o - cli_options];
}

static void *field_of(const Parse *p, size_t offset)
{
    return (char *)p->cli + offset;
}

static bool looks_like_conninfo(const char *text)
{
    return strchr(text, '=') != NULL || str_starts(text, "postgresql://") ||
           str_starts(text, "postgres://");
}

/* how the option was given, for messages: "--jobs", or "PGTANDEM_JOBS (option --jobs)" */
static char *option_title(const void *ctx, const Option *o, Origin origin)
{
    if (origin != FROM_ENVIRONMENT)
        return mem_printf(ctx, "--%s", o->name);
    return mem_printf(ctx, "%s (option --%s)", option_env(ctx, o), o->name);
}

static bool bad_value(const Option *o, const char *text, Origin origin, Err *err)
{
    AUTO_CTX(tmp, err);
    const char *title = option_title(tmp, o, origin);

    if (text[0] == '\0')
        err_set(err, ERR_USAGE, "empty value for %s", title);
    else if (o->type == OPT_CONNINFO)
        err_set(err, ERR_USAGE, "the value of %s is no connection string", title);
    else
        err_set(err, ERR_USAGE, "invalid value \"%s\" for %s", text, title);
    return err_detail(err, "Allowed is %s.", option_allowed(tmp, o));
}

static void push_text(Parse *p, const Option *o, const char *text, size_t len)
{
    const char ***items = field_of(p, o->field);
    size_t *n = field_of(p, o->count);

    mem_push(p->cli, *items, *n, mem_strndup(p->cli, text, len));
}

/* adds each of the values that one text holds, with separator between */
static bool push_texts(Parse *p, const Option *o, const char *text, char separator, Origin origin,
                       Err *err)
{
    for (const char *begin = text;;) {
        const char *end = separator == '\0' ? NULL : strchr(begin, separator);
        size_t len = end == NULL ? strlen(begin) : (size_t)(end - begin);

        if (len == 0)
            return bad_value(o, "", origin, err);
        push_text(p, o, begin, len);
        if (end == NULL)
            return true;
        begin = end + 1;
    }
}

static bool set_texts(Parse *p, const Option *o, const char *text, Origin origin, Err *err)
{
    char separator = '\0';

    if ((o->flags & OPT_COMMAS) != 0)
        separator = ',';
    else if (origin == FROM_ENVIRONMENT)
        separator =
            '\n'; /* a variable cannot be repeated, and a conninfo may hold any other character */
    return push_texts(p, o, text, separator, origin, err);
}

static bool set_value(Parse *p, const Option *o, const char *text, Origin origin, Err *err)
{
    int64_t number;
    bool flag;

    *origin_of(p, o) = origin;
    switch (o->type) {
    case OPT_FLAG:
        if (!option_flag(text, &flag))
            return bad_value(o, text, origin, err);
        *(bool *)field_of(p, o->field) = flag;
        return true;
    case OPT_INT:
    case OPT_DURATION:
    case OPT_SIZE:
        if (!option_number(o->type, text, &number) || number < o->min || number > o->max)
            return bad_value(o, text, origin, err);
        *(int64_t *)field_of(p, o->field) = number;
        return true;
    case OPT_CONNINFO:
        if (!looks_like_conninfo(text))
            return bad_value(o, text, origin, err);
        break;
    case OPT_TEXT:
    case OPT_FILE:
    case OPT_DIR:
        if (text[0] == '\0')
            return bad_value(o, text, origin, err);
        break;
    }
    if ((o->flags & OPT_REPEAT) != 0)
        return set_texts(p, o, text, origin, err);
    *(const char **)field_of(p, o->field) = mem_strdup(p->cli, text);
    return true;
}

static bool unknown_option(const Parse *p, const char *name, size_t len, Err *err)
{
    AUTO_CTX(tmp, err);
    const Command *command = p->cli->command;
    const char **names = mem_array(tmp, const char *, cli_n_options);
    const char *near = NULL;
    size_t n = 0;

    err_set(err, ERR_USAGE, "unknown option --%.*s", (int)len, name);
    for (size_t i = 0; i < cli_n_options; i++)
        if (command == NULL || (cli_options[i].commands & command->id) != 0)
            names[n++] = cli_options[i].name;
    near = suggest(name, len, names, n);
    if (near != NULL)
        err_hint(err, "Did you mean --%s?", near);
    if (command == NULL)
        return err_hint(err, "\"pgtandem --help\" lists the commands.");
    return err_hint(err, "\"pgtandem %s --help\" lists the options.", command->name);
}

static bool not_for_command(const Parse *p, const Option *o, Err *err)
{
    AUTO_CTX(tmp, err);

    if (p->cli->command == NULL) {
        err_set(err, ERR_USAGE, "option --%s stands before the command", o->name);
        return err_hint(err, "Write the command first: pgtandem COMMAND --%s.", o->name);
    }
    err_set(err, ERR_USAGE, "option --%s does not belong to the command %s", o->name,
            p->cli->command->name);
    return err_hint(err, "It is an option of %s.", command_names(tmp, o->commands));
}

static bool belongs(const Parse *p, const Option *o)
{
    if (p->cli->command == NULL)
        return o->field == offsetof(Cli, help) || o->field == offsetof(Cli, version);
    return (o->commands & p->cli->command->id) != 0;
}

/* true for "--target" behind --source: a value was forgotten, and "--target" is not it */
static bool is_known_option(const char *word)
{
    if (!str_starts(word, "--"))
        return false;
    return option_find(word + 2, strcspn(word + 2, "=")) != NULL;
}

/* an option with the value that is attached to it (NULL for none) or follows it */
static bool take_option(Parse *p, const Option *o, const char *attached, Err *err)
{
    const char *value = attached;

    if (!belongs(p, o))
        return not_for_command(p, o, err);
    if (value == NULL && o->type == OPT_FLAG)
        value = "yes";
    if (value == NULL && (o->flags & OPT_BARE) != 0) {
        *origin_of(p, o) = FROM_COMMAND_LINE;
        *(int64_t *)field_of(p, o->field) = -1;
        return true;
    }
    if (value == NULL && p->next < p->argc && !is_known_option(p->argv[p->next]))
        value = p->argv[p->next++];
    if (value == NULL) {
        AUTO_CTX(tmp, err);

        err_set(err, ERR_USAGE, "option --%s needs a value", o->name);
        return err_detail(err, "Allowed is %s.", option_allowed(tmp, o));
    }
    return set_value(p, o, value, FROM_COMMAND_LINE, err);
}

static bool take_long(Parse *p, const char *word, Err *err)
{
    const char *name = word + 2;
    size_t len = strcspn(name, "=");
    const Option *o = option_find(name, len);

    if (o == NULL)
        return unknown_option(p, name, len, err);
    return take_option(p, o, name[len] == '=' ? name + len + 1 : NULL, err);
}

/* "-v", "-vj4", "-j 4" */
static bool take_short(Parse *p, const char *word, Err *err)
{
    for (const char *c = word + 1; *c != '\0'; c++) {
        const Option *o = option_find_short(*c);

        if (o == NULL) {
            err_set(err, ERR_USAGE, "unknown option -%c", *c);
            if (p->cli->command == NULL)
                return err_hint(err, "\"pgtandem --help\" lists the commands.");
            return err_hint(err, "\"pgtandem %s --help\" lists the options.",
                            p->cli->command->name);
        }
        if (o->type != OPT_FLAG)
            return take_option(p, o, c[1] == '\0' ? NULL : c + 1, err);
        if (!take_option(p, o, NULL, err))
            return false;
    }
    return true;
}

static bool take_command(Parse *p, const char *word, Err *err)
{
    AUTO_CTX(tmp, err);
    const char **names = mem_array(tmp, const char *, cli_n_commands);
    size_t n = 0;

    /* "pgtandem help upgrade" is what many try first */
    if (strcmp(word, "help") == 0) {
        p->cli->help = true;
        return true;
    }
    p->cli->command = command_find(word);
    if (p->cli->command != NULL)
        return true;
    err_set(err, ERR_USAGE, "unknown command \"%s\"", word);
    for (size_t i = 0; i < cli_n_commands; i++)
        if (!cli_commands[i].hidden)
            names[n++] = cli_commands[i].name;
    const char *near = suggest(word, strlen(word), names, n);
    if (near != NULL)
        err_hint(err, "Did you mean %s?", near);
    return err_hint(err, "\"pgtandem --help\" lists the commands.");
}

/*
 * A word that nothing expects. The usual slip is a conninfo without quotes around it, so the word
 * may be "password=…" or a URI, and only what cannot be secret is shown.
 */
static bool too_many(const Parse *p, const char *word, Err *err)
{
    const char *name = p->cli->command->name;

    if (!looks_like_conninfo(word)) {
        err_set(err, ERR_USAGE, "%s takes no argument \"%s\"", name, word);
        return err_hint(err, "\"pgtandem %s --help\" shows what it takes.", name);
    }
    if (strstr(word, "://") != NULL)
        err_set(err, ERR_USAGE, "%s takes no argument, but a connection URI was given", name);
    else
        err_set(err, ERR_USAGE, "%s takes no argument \"%.*s=…\"", name, (int)strcspn(word, "="),
                word);
    return err_hint(err,
                    "A connection string belongs behind its option, in quotes when it has spaces: "
                    "--source \"host=db1 dbname=shop\".");
}

static bool take_argument(Parse *p, const char *word, Err *err)
{
    if (p->cli->n_arguments == p->cli->command->max_arguments)
        return too_many(p, word, err);
    mem_push(p->cli, p->cli->arguments, p->cli->n_arguments, mem_strdup(p->cli, word));
    return true;
}

static bool take_words(Parse *p, Err *err)
{
    bool only_arguments = false; /* after "--" */

    while (p->next < p->argc) {
        const char *word = p->argv[p->next++];
        bool ok;

        if (!only_arguments && strcmp(word, "--") == 0) {
            only_arguments = true;
            continue;
        }
        if (!only_arguments && str_starts(word, "--"))
            ok = take_long(p, word, err);
        else if (!only_arguments && word[0] == '-' && word[1] != '\0')
            ok = take_short(p, word, err);
        else if (p->cli->command == NULL)
            ok = take_command(p, word, err);
        else
            ok = take_argument(p, word, err);
        if (!ok)
            return false;
    }
    return true;
}

/* An empty variable counts as not set: scripts clear variables that way. */
static bool take_environment(Parse *p, Err *err)
{
    AUTO_CTX(tmp, p->cli);

    for (size_t i = 0; i < cli_n_options; i++) {
        const Option *o = &cli_options[i];
        const char *name = option_env(tmp, o);
        const char *value = name == NULL ? NULL : getenv(name);

        if (value == NULL || value[0] == '\0' || !belongs(p, o) || *origin_of(p, o) != FROM_NOWHERE)
            continue;
        if (!set_value(p, o, value, FROM_ENVIRONMENT, err))
            return false;
    }
    return true;
}

static void set_defaults(Parse *p)
{
    p->cli->config.source.label = "source";
    p->cli->config.target.label = "target";
    for (size_t i = 0; i < cli_n_options; i++) {
        const Option *o = &cli_options[i];

        /* the self-check has read it before */
        if (o->def != NULL && *origin_of(p, o) == FROM_NOWHERE &&
            !option_number(o->type, o->def, field_of(p, o->field)))
            abort();
    }
}

/* --quiet and --verbose exclude each other; the command line wins over the environment here too */
static bool settle_verbosity(Parse *p, Err *err)
{
    Cli *cli = p->cli;

    if (!cli->verbose || !cli->quiet)
        return true;
    Origin verbose = *origin_of(p, option_find("verbose", strlen("verbose")));
    Origin quiet = *origin_of(p, option_find("quiet", strlen("quiet")));
    if (verbose == quiet)
        return err_set(err, ERR_USAGE, "--verbose and --quiet contradict each other");
    cli->verbose = verbose > quiet;
    cli->quiet = quiet > verbose;
    return true;
}

static bool check_complete(Parse *p, Err *err)
{
    const Command *command = p->cli->command;
    const Config *config = &p->cli->config;

    for (size_t i = 0; i < cli_n_options; i++) {
        const Option *o = &cli_options[i];

        /* status without nodes is that of the service */
        if (command->id == CMD_STATUS && config->source.conninfo == NULL &&
            config->target.conninfo == NULL)
            continue;
        if ((o->flags & OPT_REQUIRED) != 0 && belongs(p, o) && *origin_of(p, o) == FROM_NOWHERE) {
            AUTO_CTX(tmp, err);
            const char *env = option_env(tmp, o);

            err_set(err, ERR_USAGE, "no %s given: use --%s %s, or set %s", o->name, o->name, o->arg,
                    env);
            return err_hint(
                err, "It is %s, for example --%s \"host=db1 dbname=shop\" or --%s service=NAME.",
                o->help, o->name, o->name);
        }
    }
    if (p->cli->n_arguments < command->min_arguments)
        return err_set(err, ERR_USAGE, "%s needs %s: %s", command->name,
                       command->min_arguments == 1 ? "an argument" : "more arguments",
                       command->usage);
    if (config->source.conninfo != NULL && config->target.conninfo != NULL &&
        strcmp(config->source.conninfo, config->target.conninfo) == 0) {
        err_set(err, ERR_USAGE, "--source and --target are the same");
        return err_hint(
            err,
            "The source is the old node and the target the new one. They keep their places for "
            "rollback too.");
    }
    return true;
}

static bool parse(Parse *p, Err *err)
{
    if (!take_words(p, err))
        return false;
    if (p->cli->help || p->cli->version)
        return true;
    if (p->cli->command == NULL) {
        err_set(err, ERR_USAGE, "no command given");
        return err_hint(err, "\"pgtandem --help\" lists the commands.");
    }
    if (!take_environment(p, err))
        return false;
    set_defaults(p);
    return settle_verbosity(p, err) && check_complete(p, err);
}

bool cli_parse(const void *ctx, int argc, char *const *argv, Cli **ret_cli, Err *err)
{
    Cli *cli = mem_new(ctx, Cli);
    Parse p = {.cli = cli, .argv = argv, .argc = argc, .next = 1};

    p.origins = mem_array(cli, Origin, cli_n_options);
    bool ok = parse(&p, err);
    talloc_free(p.origins);
    if (!ok) {
        talloc_free(cli);
        return false;
    }
    *ret_cli = cli;
    return true;
}
