/*
 * Everything about the command line that is not typed by hand: the manual page, completion for bash
 * and zsh, the option reference in Markdown, and a description in JSON for other programs.
 */
#ifndef CLI_SPEC_H
#define CLI_SPEC_H

#include "base/err.h"
#include "base/mem.h"

/*
 * format: "man", "bash", "zsh", "md" or "json"; result belongs to ctx, NULL with ERR_USAGE for
 * another one
 */
CHECKED char *spec_text(const void *ctx, const char *format, Err *err);

#endif
