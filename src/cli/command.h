/*
 * The commands, declared once: the table drives dispatch, --help, the man page, shell completion
 * and the references. What a command does to whom is told in fields of its own, so that no help can
 * forget it.
 *
 * A new command: a bit in cli/options.h, one entry in the table, and tools/golden --update.
 */
#ifndef CLI_COMMAND_H
#define CLI_COMMAND_H

#include <stdbool.h>
#include <stddef.h>

#include "cli/options.h"

enum { COMMAND_MAX_EXAMPLES = 3 };

typedef struct Example {
    const char *what; /* lower case start, no full stop; NULL ends the list */
    const char *line;
} Example;

typedef struct Command {
    const char *name;
    unsigned id;          /* its CMD_… */
    bool hidden;          /* for the program itself, not in lists */
    size_t min_arguments; /* words behind it */
    size_t max_arguments;
    const char
        *words; /* for completion: what the first of them may be, with blanks between; or NULL */
    const char *summary; /* lower case start, no full stop */
    const char *usage;   /* what stands behind the name */
    const char *doc;     /* sentences; an empty line between paragraphs */

    /* for a newcomer; sentences */
    const char *on_source;
    const char *on_target;
    const char *interrupt;
    const char *next;

    Example examples[COMMAND_MAX_EXAMPLES];

    /* what it does: one of the two */
    bool (*migrate)(const Config *config, Err *err);
    bool (*server)(const Config *config,
                   Err *err); /* with --all-databases; NULL: it has no meaning there */
    bool (*run)(const Cli *cli, Err *err);
} Command;

extern const Command cli_commands[];
extern const size_t cli_n_commands;

typedef struct ExitCode {
    int code;
    const char *meaning; /* lower case start, no full stop */
} ExitCode;

extern const ExitCode cli_exit_codes[];
extern const size_t cli_n_exit_codes;

/* NULL when there is none of that name */
const Command *command_find(const char *name);

/* does what the command line asks for */
CHECKED bool command_run(const Cli *cli, Err *err);

/* "upgrade, switchover and rollback": the visible commands of a bit mask; belongs to ctx */
char *command_names(const void *ctx, unsigned commands);

/* ERR_BUG for a bad table of commands or of options; cheap enough for every start */
CHECKED bool command_self_check(const Command *commands, size_t n, Err *err);
CHECKED bool cli_self_check(Err *err);

#endif
