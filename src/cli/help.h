/*
 * What --help prints, made from the tables of commands and options. Lines have at most 80 columns
 * where they can.
 */
#ifndef CLI_HELP_H
#define CLI_HELP_H

#include "base/str.h"
#include "cli/command.h"

/* results belong to ctx */
char *help_general(const void *ctx);
char *help_command(const void *ctx, const Command *command);

/*
 * Appends text, broken between words: the first line goes on in column `at`, the others begin in
 * column `indent`; ends with a newline. An empty line in text stays one.
 */
void help_wrap(Str *s, size_t at, size_t indent, const char *text);

/* "1 to 64; default 4; PGTANDEM_JOBS"; may be empty. Belongs to ctx. */
char *help_facts(const void *ctx, const Option *option);

#endif
