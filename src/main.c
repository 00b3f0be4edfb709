/* pgtandem: upgrades live PostgreSQL databases. Wiring only; the commands are in cli/command.c. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/wait.h"
#include "cli/command.h"
#include "cli/help.h"
#include "cli/parse.h"

static void print_help_or_version(const Cli *cli)
{
    AUTO_CTX(tmp, cli);

    if (cli->help)
        fputs(cli->command == NULL ? help_general(tmp) : help_command(tmp, cli->command), stdout);
    else
        puts("pgtandem " PGTANDEM_VERSION);
}

/* a result that could not be written (disk full) is a failure; a reader that has seen enough is not */
static bool flush_results(Err *err)
{
    bool failed = ferror(stdout) != 0;

    errno = 0;
    if (fflush(stdout) != 0 && errno == EPIPE)
        return true;
    if (failed || errno != 0)
        return err_set(err, ERR_IO, "cannot write to standard output: %s",
                       strerror(errno == 0 ? EIO : errno));
    return true;
}

static bool run(const void *ctx, int argc, char **argv, bool *ret_worker, Err *err)
{
    Cli *cli;

    if (!cli_self_check(err) || !cli_parse(ctx, argc, argv, &cli, err))
        return false;
    if (cli->help || cli->version) {
        print_help_or_version(cli);
        return flush_results(err);
    }
    *ret_worker = (cli->command->id & (CMD_WORKER | CMD_MEMBER | CMD_EDGE | CMD_KEEPER)) != 0;
    log_init(cli->verbose ? LOG_DEBUG
             : cli->quiet ? LOG_WARN
                          : LOG_INFO,
             cli->command->id == CMD_WORKER ? "worker" : "");
    return command_run(cli, err) && flush_results(err);
}

static void print_error(const Err *err, bool worker)
{
    log_progress_end();
    if (err->kind == ERR_CANCELED) {
        if (!worker) /* Ctrl-C reaches the workers too, and one such line is enough */
            fputs("pgtandem: interrupted; run the same command to go on\n", stderr);
        return;
    }
    fprintf(stderr, "pgtandem: error: %s\n", err->msg == NULL ? "unknown error" : err->msg);
    if (err->detail != NULL)
        fprintf(stderr, "  detail: %s\n", err->detail);
    if (err->hint != NULL)
        fprintf(stderr, "  hint: %s\n", err->hint);
}

int main(int argc, char **argv)
{
    AUTO_CTX(ctx, NULL);
    Err *err = err_new(ctx);
    bool worker = false;

    wait_init();
    log_init(LOG_INFO, "");
    if (run(ctx, argc, argv, &worker, err))
        return 0;
    if (err->kind == ERR_NONE)
        err_set(err, ERR_BUG, "a command failed without saying why");
    print_error(err, worker);
    return err_exit_code(err->kind);
}
