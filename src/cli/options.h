/*
 * The options of the command line, declared once: the table in options.c drives parsing
 * (cli/parse), the environment, defaults, range checks, --help, the man page, shell completion and
 * the references (cli/spec).
 *
 * A new option: a field in Config (or Cli), one entry in the table, and tools/golden --update.
 */
#ifndef CLI_OPTIONS_H
#define CLI_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/mem.h"
#include "migrate/config.h"

struct Command;

/* a command line, understood */
typedef struct Cli {
    Config config;
    const struct Command *command; /* NULL when only --help or --version was given */
    const char **arguments;        /* the words behind the command */
    size_t n_arguments;
    const char *config_file; /* of the service, or NULL */
    int64_t wait_ms;         /* 0: do not wait; negative: as long as it takes */
    bool daemon;
    bool force;
    bool mermaid;
    bool verbose;
    bool quiet;
    bool help;
    bool version;
} Cli;

/* one bit for each command; cli/command has the rest of it */
enum {
    CMD_CHECK = 1 << 0,
    CMD_UPGRADE = 1 << 1,
    CMD_SWITCHOVER = 1 << 2,
    CMD_ROLLBACK = 1 << 3,
    CMD_FINISH = 1 << 4,
    CMD_ABORT = 1 << 5,
    CMD_VERIFY = 1 << 6,
    CMD_STATUS = 1 << 7,
    CMD_STATES = 1 << 8,
    CMD_WORKER = 1 << 9,
    CMD_SPEC = 1 << 10,
    CMD_ADD = 1 << 11,
    CMD_UPDATE = 1 << 12,
    CMD_REMOVE = 1 << 13,
    CMD_LIST = 1 << 14,
    CMD_VALIDATE = 1 << 15,
    CMD_START = 1 << 16,
    CMD_STOP = 1 << 17,
    CMD_RELOAD = 1 << 18,
    CMD_KICK = 1 << 19,
    CMD_PAUSE = 1 << 20,
    CMD_RESUME = 1 << 21,
    CMD_ACTIVATE = 1 << 22,
    CMD_DEACTIVATE = 1 << 23,
    CMD_RECOPY = 1 << 24,
    CMD_IMPORT = 1 << 25,
    CMD_CONFLICTS = 1 << 26,
    CMD_EDGE = 1 << 27,
    CMD_KEEPER = 1 << 28,
    CMD_MEMBER = 1 << 29,

    CMD_NODES = CMD_STATES - 1, /* those that work on a source and a target */
    CMD_SWITCH =
        CMD_UPGRADE | CMD_SWITCHOVER | CMD_ROLLBACK, /* those that may move the application */
    CMD_ALL = (CMD_MEMBER << 1) - 1,
    CMD_SERVICE = CMD_ALL - ((CMD_SPEC << 1) - 1) + CMD_STATUS /* those of the service */
};

typedef enum OptionType {
    OPT_FLAG,     /* bool; --name, or --name=no against the environment */
    OPT_INT,      /* int64_t */
    OPT_DURATION, /* int64_t, milliseconds; "500ms", "5s", "2min", "1h" */
    OPT_SIZE,     /* int64_t, bytes; "64kB", "128MB" */
    OPT_TEXT,     /* const char * */
    OPT_FILE,     /* const char *; shells complete file names */
    OPT_DIR,      /* const char *; shells complete directories */
    OPT_CONNINFO  /* const char *; may hold a password, so it is never printed */
} OptionType;

enum {
    OPT_REQUIRED = 1 << 0,
    OPT_REPEAT = 1 << 1, /* const char ** and size_t: may be given several times */
    OPT_COMMAS = 1 << 2, /* with OPT_REPEAT: one value may hold several, with commas between */
    OPT_NO_ENV = 1 << 3, /* cannot be set by the environment */
    OPT_BARE = 1 << 4    /* OPT_DURATION that may stand without a value, which is -1 then */
};

typedef struct Option {
    const char *name;
    char short_name; /* 0 for none */
    OptionType type;
    unsigned flags;
    const char *arg; /* name of the value in help; NULL for flags only */
    const char *def; /* as a user would write it, or NULL */
    int64_t min;     /* numbers, times and sizes */
    int64_t max;
    size_t field;      /* offset in Cli */
    size_t count;      /* OPT_REPEAT: offset of the number of values */
    unsigned commands; /* CMD_… */
    const char *help;  /* one line, lower case start, no full stop */
    const char *doc;   /* sentences; an empty line between paragraphs */
} Option;

extern const Option cli_options[];
extern const size_t cli_n_options;

/* NULL when there is none of that name */
const Option *option_find(const char *name, size_t len);
const Option *option_find_short(char short_name);

/* "PGTANDEM_MAX_PAUSE"; NULL for an option that has none. Belongs to ctx. */
char *option_env(const void *ctx, const Option *option);

/* what may be given, e.g. "a whole number from 1 to 64"; belongs to ctx */
char *option_allowed(const void *ctx, const Option *option);

/* "1 to 64", "100ms to 1h"; NULL for types without limits. Belongs to ctx. */
char *option_range(const void *ctx, const Option *option);

/* reads a number, time or size without regard to limits; false when text is none */
CHECKED bool option_number(OptionType type, const char *text, int64_t *ret_value);

/* a number, time or size as a user would write it; belongs to ctx */
char *option_number_text(const void *ctx, OptionType type, int64_t value);

/* reads yes/no, true/false, on/off, 1/0 */
CHECKED bool option_flag(const char *text, bool *ret_value);

/* ERR_BUG for a table with duplicate names, missing texts, defaults out of range and the like */
CHECKED bool options_self_check(const Option *options, size_t n, Err *err);

#endif
