/* --help: see help.h. */
#include "cli/help.h"

#include <string.h>

enum { WIDTH = 80, NAME_COLUMN = 2, SUMMARY_COLUMN = 18, OPTION_COLUMN = 28, EFFECT_COLUMN = 19 };

static void fill(Str *s, size_t from, size_t to)
{
    for (size_t i = from; i < to; i++)
        str_char(s, ' ');
}

void help_wrap(Str *s, size_t at, size_t indent, const char *text)
{
    bool begun = false; /* the line holds a word of ours */

    for (const char *p = text; *p != '\0';) {
        if (*p == '\n') {
            str_char(s, '\n');
            at = 0;
            begun = false;
            p++;
            continue;
        }
        if (*p == ' ') {
            p++;
            continue;
        }
        size_t len = strcspn(p, " \n");
        if (begun && at + 1 + len > WIDTH) {
            str_char(s, '\n');
            at = 0;
            begun = false;
        }
        if (begun) {
            str_char(s, ' ');
            at++;
        } else if (at < indent) {
            fill(s, at, indent);
            at = indent;
        }
        str_bytes(s, p, len);
        at += len;
        begun = true;
        p += len;
    }
    str_char(s, '\n');
}

/* one entry of a list in two columns; a name that is too long has a line of its own */
static void entry(Str *s, size_t column, const char *name, const char *text)
{
    size_t at = NAME_COLUMN + strlen(name);

    fill(s, 0, NAME_COLUMN);
    str_add(s, name);
    if (at + 2 > column) {
        str_char(s, '\n');
        at = 0;
    }
    fill(s, at, column);
    help_wrap(s, column, column, text);
}

char *help_facts(const void *ctx, const Option *option)
{
    AUTO_CTX(tmp, ctx);
    const char *facts[] = {
        (option->flags & OPT_REQUIRED) != 0 ? "required" : NULL,
        (option->flags & OPT_REPEAT) != 0 ? "may be repeated" : NULL,
        option_range(tmp, option),
        option->def == NULL ? NULL : mem_printf(tmp, "default %s", option->def),
        option_env(tmp, option),
    };
    Str *s = str_new(tmp);

    for (size_t i = 0; i < sizeof facts / sizeof *facts; i++)
        if (facts[i] != NULL)
            str_fmt(s, "%s%s", s->len == 0 ? "" : "; ", facts[i]);
    return mem_strdup(ctx, s->text);
}

static void option_entry(Str *s, const Option *o)
{
    AUTO_CTX(tmp, s);
    Str *name = str_new(tmp);
    const char *facts = help_facts(tmp, o);

    if (o->short_name == '\0')
        str_add(name, "    ");
    else
        str_fmt(name, "-%c, ", o->short_name);
    str_fmt(name, "--%s", o->name);
    if (o->arg != NULL)
        str_fmt(name, " %s", o->arg);
    entry(s, OPTION_COLUMN, name->text, o->help);
    if (facts[0] != '\0') {
        fill(s, 0, OPTION_COLUMN);
        help_wrap(s, OPTION_COLUMN, OPTION_COLUMN, mem_printf(tmp, "[%s]", facts));
    }
}

char *help_general(const void *ctx)
{
    AUTO_CTX(tmp, ctx);
    Str *s = str_new(tmp);

    help_wrap(s, 0, 0,
              "pgtandem moves a live PostgreSQL database to a newer version or another server: it "
              "copies the old node to the new one, follows its changes, and moves the application "
              "over with a pause of well under a second and a way back that loses nothing.");
    str_add(s, "\nUsage: pgtandem COMMAND --source CONNINFO --target CONNINFO [options]\n"
               "       pgtandem COMMAND --help\n"
               "\nCommands:\n");
    for (size_t i = 0; i < cli_n_commands; i++)
        if (!cli_commands[i].hidden)
            entry(s, SUMMARY_COLUMN, cli_commands[i].name, cli_commands[i].summary);

    str_add(s, "\nThe usual way, with the nodes named once:\n"
               "  export PGTANDEM_SOURCE=\"host=db1 dbname=shop user=owner\"\n"
               "  export PGTANDEM_TARGET=\"host=db2 dbname=shop user=owner\"\n"
               "  pgtandem check\n"
               "  pgtandem upgrade        (leave it running; the rest in another terminal)\n"
               "  pgtandem verify\n"
               "  pgtandem switchover     (and pgtandem rollback, if need be)\n"
               "  pgtandem finish\n\n");
    help_wrap(s, 0, 0,
              "Every option of a command can be set in the environment instead: --max-pause is "
              "PGTANDEM_MAX_PAUSE. The command line wins; --json=no overrules PGTANDEM_JSON=yes. "
              "Options that connect take whatever libpq takes; passwords belong into ~/.pgpass.");
    str_add(s, "\nExit codes:\n");
    for (size_t i = 0; i < cli_n_exit_codes; i++)
        entry(s, NAME_COLUMN + 5, mem_printf(tmp, "%d", cli_exit_codes[i].code),
              cli_exit_codes[i].meaning);
    return mem_strdup(ctx, s->text);
}

char *help_command(const void *ctx, const Command *command)
{
    AUTO_CTX(tmp, ctx);
    Str *s = str_new(tmp);

    help_wrap(s, 0, 0, mem_printf(tmp, "pgtandem %s: %s", command->name, command->summary));
    str_fmt(s, "\nUsage: pgtandem %s%s%s\n\n", command->name, command->usage[0] == '\0' ? "" : " ",
            command->usage);
    help_wrap(s, 0, 0, command->doc);
    if (command->on_source != NULL) {
        str_char(s, '\n');
        entry(s, EFFECT_COLUMN, "On the source", command->on_source);
        entry(s, EFFECT_COLUMN, "On the target", command->on_target);
        entry(s, EFFECT_COLUMN, "Interrupting it", command->interrupt);
        entry(s, EFFECT_COLUMN, "What comes next", command->next);
    }
    str_add(s, "\nOptions:\n");
    for (size_t i = 0; i < cli_n_options; i++)
        if ((cli_options[i].commands & command->id) != 0)
            option_entry(s, &cli_options[i]);
    if (command->examples[0].what != NULL)
        str_add(s, "\nExamples:\n");
    for (size_t i = 0; i < COMMAND_MAX_EXAMPLES && command->examples[i].what != NULL; i++)
        str_fmt(s, "  # %s\n  %s\n", command->examples[i].what, command->examples[i].line);
    str_add(s, "\n\"pgtandem --help\" explains the exit codes; \"man pgtandem\" has more on each "
               "option.\n");
    return mem_strdup(ctx, s->text);
}
