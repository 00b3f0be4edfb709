/* Generators: see spec.h. One section for each format; each has its own way to quote a text. */
#include "cli/spec.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "cli/command.h"
#include "cli/help.h"
#include "conf/settings.h"

static const char about[] =
    "pgtandem makes a live copy of a PostgreSQL database on a server of a newer version, or on "
    "another server, "
    "while the application goes on working. It needs nothing on the old server but a role that "
    "owns the tables: "
    "triggers record which rows change. When both are in sync, one command moves the application "
    "over with a "
    "pause of well under a second, and another one moves it back without losing what was written "
    "since.\n\n"
    "The old node is called the source and the new one the target, from the beginning to the end.";

static const char environment_rule[] =
    "Every option of a command, except --help, --version, --daemon, --wait, --force and "
    "--mermaid, can be set by a variable: PGTANDEM_ and "
    "the name of the option in capitals, with _ for -. The "
    "command line wins over the environment. Flags are "
    "yes or no; on the command line, --json=no overrules "
    "PGTANDEM_JSON=yes. PGTANDEM_PGBOUNCER holds one connection "
    "string a line, PGTANDEM_ACCEPT has commas between the "
    "values. What libpq reads, such as PGPASSFILE and "
    "PGSERVICEFILE, counts too.";

static const char value_rule[] = "A DURATION has a unit: 500ms, 5s, 2min, 1h. So has a SIZE: 64kB, "
                                 "128MB, 1GB. A CONNINFO is a connection string, "
                                 "a URI or a service of libpq.";

typedef void SpecWriter(Str *s);

static const char file_rule[] = "The replication service has an ini file: sections, \"key = "
                                "value\", and comments with # or ; in lines of "
                                "their own. A value goes to the end of its line; a line that "
                                "begins with a blank continues the one before. "
                                "Lists have commas between their items.";

static bool applies(const Option *o, const Command *c)
{
    return (o->commands & c->id) != 0;
}

/* ---- manual page ---- */

/*
 * roff: no line may begin with a dot or a quote, and a plain - would become a hyphen that cannot be
 * copied
 */
static void man_text(Str *s, const char *text)
{
    bool line_begins = true;

    for (const char *p = text; *p != '\0'; p++) {
        if (p[0] == '\n' && p[1] == '\n') {
            str_add(s, "\n.PP\n");
            line_begins = true;
            p++;
            continue;
        }
        if (line_begins && (*p == '.' || *p == '\''))
            str_add(s, "\\&");
        if (*p == '-')
            str_add(s, "\\-");
        else if (*p == '\\')
            str_add(s, "\\e");
        else if (*p == '~')
            str_add(s, "\\(ti");
        else
            str_char(s, *p);
        line_begins = *p == '\n';
    }
    str_char(s, '\n');
}

/* a tagged paragraph; further paragraphs stay inside of it */
static void man_item(Str *s, const char *macro, const char *tag, const char *text)
{
    str_fmt(s, ".TP\n%s", macro);
    man_text(s, tag);
    for (const char *end; (end = strstr(text, "\n\n")) != NULL; text = end + 2) {
        AUTO_CTX(tmp, s);

        man_text(s, mem_strndup(tmp, text, (size_t)(end - text)));
        str_add(s, ".IP\n");
    }
    man_text(s, text);
}

static void man_command(Str *s, const Command *c)
{
    AUTO_CTX(tmp, s);

    str_add(s, ".SS ");
    man_text(s, c->name);
    man_text(s, mem_printf(tmp, "%s.", c->summary));
    str_add(s, ".PP\n");
    man_text(s, c->doc);
    man_item(s, ".I ", "On the source", c->on_source);
    man_item(s, ".I ", "On the target", c->on_target);
    man_item(s, ".I ", "Interrupting it", c->interrupt);
    man_item(s, ".I ", "What comes next", c->next);
    for (size_t i = 0; i < COMMAND_MAX_EXAMPLES && c->examples[i].what != NULL; i++) {
        str_add(s, ".PP\n");
        man_text(s, mem_printf(tmp, "Example: %s", c->examples[i].what));
        str_add(s, ".PP\n.nf\n.RS 4\n");
        man_text(s, c->examples[i].line);
        str_add(s, ".RE\n.fi\n");
    }
}

static void man_option(Str *s, const Option *o)
{
    AUTO_CTX(tmp, s);
    Str *tag = str_new(tmp);
    const char *facts = help_facts(tmp, o);

    if (o->short_name != '\0')
        str_fmt(tag, "-%c, ", o->short_name);
    str_fmt(tag, "--%s%s%s", o->name, o->arg == NULL ? "" : " ", o->arg == NULL ? "" : o->arg);
    const char *of =
        (o->commands & CMD_ALL) == CMD_ALL ? "every command" : command_names(tmp, o->commands);
    man_item(s, ".B ", tag->text,
             mem_printf(tmp, "%s (%s%sof %s).\n\n%s", o->help, facts, facts[0] == '\0' ? "" : "; ",
                        of, o->doc));
}

/* "time; default 5s", "yes or no", …; belongs to ctx */
static char *setting_facts(const void *ctx, const Setting *setting)
{
    return mem_printf(
        ctx, "%s%s%s%s%s", setting_allowed(ctx, setting), setting->required ? "; required" : "",
        setting->def == NULL ? "" : "; default ", setting->def == NULL ? "" : setting->def,
        setting->per_db ? "; with \".DB\" behind it for one target only" : "");
}

/* how a kind of section begins in the file; belongs to ctx */
static char *section_form(const void *ctx, SectionKind kind)
{
    return mem_printf(ctx, "[%s%s]", section_word(kind),
                      kind == SECTION_SERVICE ? ""
                      : kind == SECTION_TABLE ? " SYNC SCHEMA.TABLE"
                                              : " NAME");
}

static void man_settings(Str *s)
{
    for (int kind = 0; kind < N_SECTION_KINDS; kind++) {
        AUTO_CTX(tmp, s);

        str_add(s, ".SS ");
        man_text(s, section_form(tmp, (SectionKind)kind));
        for (size_t i = 0; i < conf_n_settings; i++)
            if ((int)conf_settings[i].section == kind)
                man_item(s, ".B ", conf_settings[i].name,
                         mem_printf(tmp, "%s.\n\n%s", setting_facts(tmp, &conf_settings[i]),
                                    conf_settings[i].doc));
    }
}

static void write_man(Str *s)
{
    str_add(s,
            ".\\\" made by \"pgtandem __spec man\"; do not edit\n"
            ".TH PGTANDEM 1 \"\" \"pgtandem " PGTANDEM_VERSION "\" \"pgtandem manual\"\n"
            ".nh\n.ad l\n"
            ".SH NAME\npgtandem \\- upgrade or move a live PostgreSQL database, with a way back\n"
            ".SH SYNOPSIS\n.B pgtandem\n.I COMMAND\n"
            "\\-\\-source \\fICONNINFO\\fR \\-\\-target \\fICONNINFO\\fR [\\fIoptions\\fR]\n"
            ".SH DESCRIPTION\n");
    man_text(s, about);
    str_add(s, ".SH COMMANDS\n");
    for (size_t i = 0; i < cli_n_commands; i++)
        if (!cli_commands[i].hidden)
            man_command(s, &cli_commands[i]);
    str_add(s, ".SH OPTIONS\n");
    man_text(s, value_rule);
    for (size_t i = 0; i < cli_n_options; i++)
        man_option(s, &cli_options[i]);
    str_add(s, ".SH CONFIGURATION FILE\n");
    man_text(s, file_rule);
    man_settings(s);
    str_add(s, ".SH ENVIRONMENT\n");
    man_text(s, environment_rule);
    str_add(s, ".SH EXIT STATUS\n");
    for (size_t i = 0; i < cli_n_exit_codes; i++) {
        AUTO_CTX(tmp, s);

        man_item(s, ".B ", mem_printf(tmp, "%d", cli_exit_codes[i].code),
                 cli_exit_codes[i].meaning);
    }
    str_add(s, ".SH SEE ALSO\n.BR pg_dump (1),\n.BR psql (1),\n.BR pgbouncer (1)\n");
}

/* ---- bash ---- */

static void bash_words(Str *s, const Command *c)
{
    bool first = true;

    for (size_t i = 0; i < cli_n_options; i++)
        if (applies(&cli_options[i], c)) {
            str_fmt(s, "%s--%s", first ? "" : " ", cli_options[i].name);
            first = false;
        }
}

/* a case branch for all options whose value is completed in the same way */
static void bash_values(Str *s, OptionType a, OptionType b, OptionType c, const char *action)
{
    bool first = true;

    for (size_t i = 0; i < cli_n_options; i++) {
        const Option *o = &cli_options[i];

        if (o->arg == NULL || (o->type != a && o->type != b && o->type != c))
            continue;
        str_fmt(s, "%s--%s", first ? "    " : " | ", o->name);
        if (o->short_name != '\0')
            str_fmt(s, " | -%c", o->short_name);
        first = false;
    }
    if (!first)
        str_fmt(s, ")\n        %s\n        return\n        ;;\n", action);
}

static void write_bash(Str *s)
{
    str_add(s, "# bash completion for pgtandem, made by \"pgtandem __spec bash\"; do not edit\n\n"
               "_pgtandem()\n"
               "{\n"
               "    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]}\n"
               "    local command='' words='' i\n\n"
               "    # bash makes three words of --name=value\n"
               "    if [ \"$cur\" = '=' ]; then\n"
               "        cur=''\n"
               "    elif [ \"$prev\" = '=' ] && [ \"$COMP_CWORD\" -ge 3 ]; then\n"
               "        prev=${COMP_WORDS[COMP_CWORD - 2]}\n"
               "    fi\n"
               "    COMPREPLY=()\n"
               "    for ((i = 1; i < COMP_CWORD; i++)); do\n"
               "        if [[ ${COMP_WORDS[i]} != -* ]]; then\n"
               "            command=${COMP_WORDS[i]}\n"
               "            break\n"
               "        fi\n"
               "    done\n\n"
               "    case $prev in\n");
    bash_values(s, OPT_FILE, OPT_FILE, OPT_FILE,
                "compopt -o filenames\n        mapfile -t COMPREPLY < <(compgen -f -- \"$cur\")");
    bash_values(s, OPT_DIR, OPT_DIR, OPT_DIR,
                "compopt -o filenames\n        mapfile -t COMPREPLY < <(compgen -d -- \"$cur\")");
    bash_values(s, OPT_CONNINFO, OPT_CONNINFO, OPT_TEXT, ": # anything");
    bash_values(s, OPT_INT, OPT_DURATION, OPT_SIZE, ": # a number");
    str_add(s, "    esac\n\n    case $command in\n    '')\n        words='");
    for (size_t i = 0; i < cli_n_commands; i++)
        if (!cli_commands[i].hidden)
            str_fmt(s, "%s ", cli_commands[i].name);
    str_add(s, "--help --version'\n        ;;\n");
    for (size_t i = 0; i < cli_n_commands; i++) {
        if (cli_commands[i].hidden)
            continue;
        str_fmt(s, "    %s)\n        words='", cli_commands[i].name);
        bash_words(s, &cli_commands[i]);
        str_add(s, "'\n        ;;\n");
    }
    str_add(s, "    esac\n"
               "    mapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"$cur\")\n"
               "}\n"
               "complete -F _pgtandem pgtandem\n");
}

/* ---- zsh ---- */

/*
 * inside of single quotes, with a backslash before the characters that mean something to _arguments
 */
static void zsh_text(Str *s, const char *text)
{
    for (const char *p = text; *p != '\0'; p++) {
        if (*p == '\'') {
            str_add(s, "'\\''");
            continue;
        }
        if (strchr(":[]\\", *p) != NULL)
            str_char(s, '\\');
        str_char(s, *p);
    }
}

static const char *zsh_action(const Option *o)
{
    return o->type == OPT_FILE ? "_files" : o->type == OPT_DIR ? "_directories" : " ";
}

static void zsh_option(Str *s, const Option *o)
{
    const char *equals = o->arg == NULL ? "" : "=";

    str_add(s, " \\\n            ");
    if (o->short_name == '\0')
        str_fmt(s, "'%s--%s%s[", (o->flags & OPT_REPEAT) != 0 ? "*" : "", o->name, equals);
    else
        str_fmt(s, "'(-%c --%s)'{-%c%s,--%s%s}'[", o->short_name, o->name, o->short_name,
                o->arg == NULL ? "" : "+", o->name, equals);
    zsh_text(s, o->help);
    str_char(s, ']');
    if (o->arg != NULL)
        str_fmt(s, ":%s:%s", o->arg, zsh_action(o));
    str_char(s, '\'');
}

static void write_zsh(Str *s)
{
    str_add(s, "#compdef pgtandem\n"
               "# zsh completion for pgtandem, made by \"pgtandem __spec zsh\"; do not edit\n\n"
               "_pgtandem() {\n"
               "    local context state state_descr line curcontext=\"$curcontext\"\n"
               "    typeset -A opt_args\n"
               "    local -a commands\n\n"
               "    _arguments -C \\\n"
               "        '(- *)'{-h,--help}'[list the commands]' \\\n"
               "        '(- *)'{-V,--version}'[print the version]' \\\n"
               "        '1:command:->command' \\\n"
               "        '*::option:->option' && return\n\n"
               "    case $state in\n"
               "    command)\n"
               "        commands=(\n");
    for (size_t i = 0; i < cli_n_commands; i++)
        if (!cli_commands[i].hidden) {
            str_fmt(s, "            '%s:", cli_commands[i].name);
            zsh_text(s, cli_commands[i].summary);
            str_add(s, "'\n");
        }
    str_add(s, "        )\n"
               "        _describe command commands\n"
               "        ;;\n"
               "    option)\n"
               "        case $line[1] in\n");
    for (size_t i = 0; i < cli_n_commands; i++) {
        if (cli_commands[i].hidden)
            continue;
        str_fmt(s, "        %s)\n            _arguments", cli_commands[i].name);
        for (size_t j = 0; j < cli_n_options; j++)
            if (applies(&cli_options[j], &cli_commands[i]))
                zsh_option(s, &cli_options[j]);
        str_add(s, "\n            ;;\n");
    }
    str_add(s, "        esac\n"
               "        ;;\n"
               "    esac\n"
               "}\n\n"
               "_pgtandem \"$@\"\n");
}

/* ---- Markdown ---- */

static void md_text(Str *s, const char *text)
{
    for (const char *p = text; *p != '\0'; p++) {
        if (strchr("*_<>|\\[]~`", *p) != NULL)
            str_char(s, '\\');
        str_char(s, *p);
    }
}

static void md_command(Str *s, const Command *c)
{
    const char *effects[][2] = {
        {"On the source", c->on_source},
        {"On the target", c->on_target},
        {"Interrupting it", c->interrupt},
        {"What comes next", c->next},
    };

    str_fmt(s, "### pgtandem %s\n\n    pgtandem %s %s\n\n", c->name, c->name, c->usage);
    md_text(s, c->doc);
    str_add(s, "\n\n");
    for (size_t i = 0; i < sizeof effects / sizeof *effects; i++) {
        str_fmt(s, "- **%s:** ", effects[i][0]);
        md_text(s, effects[i][1]);
        str_char(s, '\n');
    }
    str_add(s, "\nOptions:");
    for (size_t i = 0, n = 0; i < cli_n_options; i++)
        if (applies(&cli_options[i], c))
            str_fmt(s, "%s [`--%s`](#--%s)", n++ == 0 ? "" : ",", cli_options[i].name,
                    cli_options[i].name);
    str_add(s, ".\n\n");
    for (size_t i = 0; i < COMMAND_MAX_EXAMPLES && c->examples[i].what != NULL; i++)
        str_fmt(s, "%s    # %s\n    %s\n", i == 0 ? "Examples:\n\n" : "\n", c->examples[i].what,
                c->examples[i].line);
    str_char(s, '\n');
}

static void md_option(Str *s, const Option *o)
{
    AUTO_CTX(tmp, s);
    const char *facts = help_facts(tmp, o);

    str_fmt(s, "### --%s\n\n`", o->name);
    if (o->short_name != '\0')
        str_fmt(s, "-%c, ", o->short_name);
    str_fmt(s, "--%s%s%s`: ", o->name, o->arg == NULL ? "" : " ", o->arg == NULL ? "" : o->arg);
    md_text(s, o->help);
    str_add(s, "\n\n");
    if (facts[0] != '\0') {
        str_char(s, '(');
        md_text(s, facts);
        str_add(s, ") ");
    }
    md_text(s, o->doc);
    str_add(s, "\n\n");
    if ((o->commands & CMD_ALL) != CMD_ALL)
        str_fmt(s, "Commands: %s.\n\n", command_names(tmp, o->commands));
}

static void md_settings(Str *s)
{
    for (int kind = 0; kind < N_SECTION_KINDS; kind++) {
        AUTO_CTX(tmp, s);

        str_fmt(s, "\n\n### `%s`", section_form(tmp, (SectionKind)kind));
        for (size_t i = 0; i < conf_n_settings; i++) {
            if ((int)conf_settings[i].section != kind)
                continue;
            str_fmt(s, "\n\n`%s`: ", conf_settings[i].name);
            md_text(s, mem_printf(tmp, "%s. %s", setting_facts(tmp, &conf_settings[i]),
                                  conf_settings[i].doc));
        }
    }
}

static void write_md(Str *s)
{
    str_add(s, "<!-- made by \"pgtandem __spec md\"; do not edit -->\n\n# Commands and "
               "options\n\n## Commands\n\n");
    for (size_t i = 0; i < cli_n_commands; i++)
        if (!cli_commands[i].hidden)
            md_command(s, &cli_commands[i]);
    str_add(s, "## Options\n\n");
    md_text(s, value_rule);
    str_add(s, "\n\n");
    for (size_t i = 0; i < cli_n_options; i++)
        md_option(s, &cli_options[i]);
    str_add(s, "## Configuration file\n\n");
    md_text(s, file_rule);
    str_add(s, "\n");
    md_settings(s);
    str_add(s, "\n\n## Environment\n\n");
    md_text(s, environment_rule);
    str_add(s, "\n\n## Exit codes\n\n| code | meaning |\n| --- | --- |\n");
    for (size_t i = 0; i < cli_n_exit_codes; i++)
        str_fmt(s, "| %d | %s |\n", cli_exit_codes[i].code, cli_exit_codes[i].meaning);
}

/* ---- JSON ---- */

static json_t *json_text(const char *text)
{
    return text == NULL ? json_null() : json_string(text);
}

static void json_add(json_t *object, const char *key, json_t *value)
{
    mem_or_die(value);
    if (json_object_set_new(object, key, value) != 0)
        mem_or_die(NULL);
}

static void json_push(json_t *array, json_t *value)
{
    mem_or_die(value);
    if (json_array_append_new(array, value) != 0)
        mem_or_die(NULL);
}

static json_t *json_command(const Command *c)
{
    json_t *object = json_object(), *options = json_array();

    json_add(object, "name", json_text(c->name));
    json_add(object, "summary", json_text(c->summary));
    json_add(object, "usage", json_text(c->usage));
    json_add(object, "doc", json_text(c->doc));
    json_add(object, "on_source", json_text(c->on_source));
    json_add(object, "on_target", json_text(c->on_target));
    json_add(object, "interrupt", json_text(c->interrupt));
    json_add(object, "next", json_text(c->next));
    for (size_t i = 0; i < cli_n_options; i++)
        if (applies(&cli_options[i], c))
            json_push(options, json_text(cli_options[i].name));
    json_add(object, "options", options);
    return object;
}

static json_t *json_option(const Option *o)
{
    static const char *const types[] = {
        [OPT_FLAG] = "flag",     [OPT_INT] = "int",           [OPT_DURATION] = "duration",
        [OPT_SIZE] = "size",     [OPT_TEXT] = "text",         [OPT_FILE] = "file",
        [OPT_DIR] = "directory", [OPT_CONNINFO] = "conninfo",
    };
    AUTO_CTX(tmp, NULL);
    char short_name[] = {o->short_name, '\0'};
    bool limited = option_range(tmp, o) != NULL;
    json_t *object = json_object();

    json_add(object, "name", json_text(o->name));
    json_add(object, "short", json_text(o->short_name == '\0' ? NULL : short_name));
    json_add(object, "type", json_text(types[o->type]));
    json_add(object, "arg", json_text(o->arg));
    json_add(object, "default", json_text(o->def));
    json_add(object, "min",
             limited ? json_text(option_number_text(tmp, o->type, o->min)) : json_null());
    json_add(object, "max",
             limited ? json_text(option_number_text(tmp, o->type, o->max)) : json_null());
    json_add(object, "required", json_boolean((o->flags & OPT_REQUIRED) != 0));
    json_add(object, "repeatable", json_boolean((o->flags & OPT_REPEAT) != 0));
    json_add(object, "secret", json_boolean(o->type == OPT_CONNINFO));
    json_add(object, "environment", json_text(option_env(tmp, o)));
    json_add(object, "help", json_text(o->help));
    json_add(object, "doc", json_text(o->doc));
    return object;
}

static void write_json(Str *s)
{
    json_t *root = json_object(), *commands = json_array(), *options = json_array(),
           *codes = json_object();

    for (size_t i = 0; i < cli_n_commands; i++)
        if (!cli_commands[i].hidden)
            json_push(commands, json_command(&cli_commands[i]));
    for (size_t i = 0; i < cli_n_options; i++)
        json_push(options, json_option(&cli_options[i]));
    for (size_t i = 0; i < cli_n_exit_codes; i++) {
        AUTO_CTX(tmp, s);

        json_add(codes, mem_printf(tmp, "%d", cli_exit_codes[i].code),
                 json_text(cli_exit_codes[i].meaning));
    }
    json_add(root, "version", json_text(PGTANDEM_VERSION));
    json_add(root, "commands", commands);
    json_add(root, "options", options);
    json_add(root, "exit_codes", codes);
    char *text = mem_or_die(json_dumps(root, JSON_INDENT(2)));
    str_add(s, text);
    str_char(s, '\n');
    free(text);
    json_decref(root);
}

static const struct {
    const char *name;
    SpecWriter *write;
} formats[] = {
    {"man", write_man}, {"bash", write_bash}, {"zsh", write_zsh},
    {"md", write_md},   {"json", write_json},
};

char *spec_text(const void *ctx, const char *format, Err *err)
{
    AUTO_CTX(tmp, ctx);

    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++)
        if (strcmp(formats[i].name, format) == 0) {
            Str *s = str_new(tmp);

            formats[i].write(s);
            return mem_strdup(ctx, s->text);
        }
    err_set(err, ERR_USAGE, "unknown format \"%s\"", format);
    err_hint(err, "The formats are man, bash, zsh, md and json.");
    return NULL;
}
