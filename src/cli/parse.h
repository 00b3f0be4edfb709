/*
 * From argv and the environment to a Cli. Nothing is guessed: unknown words, words too many and
 * values out of range are ERR_USAGE with a hint. Values of secret options never appear in a
 * message.
 */
#ifndef CLI_PARSE_H
#define CLI_PARSE_H

#include "cli/options.h"

/* result belongs to ctx; with help or version set, nothing else has been looked at or required */
CHECKED bool cli_parse(const void *ctx, int argc, char *const *argv, Cli **ret_cli, Err *err);

#endif
