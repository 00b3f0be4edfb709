/* The commands of the replication service, from the command line to conf/ and daemon/. */
#ifndef CLI_SERVICE_H
#define CLI_SERVICE_H

#include "cli/options.h"

CHECKED bool cli_add(const Cli *cli, Err *err);
CHECKED bool cli_update(const Cli *cli, Err *err);
CHECKED bool cli_remove(const Cli *cli, Err *err);
CHECKED bool cli_list(const Cli *cli, Err *err);
CHECKED bool cli_validate(const Cli *cli, Err *err);
CHECKED bool cli_start(const Cli *cli, Err *err);
CHECKED bool cli_stop(const Cli *cli, Err *err);
CHECKED bool cli_reload(const Cli *cli, Err *err);
CHECKED bool cli_kick(const Cli *cli, Err *err);
CHECKED bool cli_pause(const Cli *cli, Err *err);
CHECKED bool cli_resume(const Cli *cli, Err *err);
CHECKED bool cli_activate(const Cli *cli, Err *err);
CHECKED bool cli_deactivate(const Cli *cli, Err *err);
CHECKED bool cli_recopy(const Cli *cli, Err *err);
CHECKED bool cli_status(const Cli *cli, Err *err); /* of a run or of the service */
CHECKED bool cli_import_bucardo(const Cli *cli, Err *err);
CHECKED bool cli_conflicts(const Cli *cli, Err *err);
CHECKED bool cli_edge(const Cli *cli, Err *err);
CHECKED bool cli_keeper(const Cli *cli, Err *err);

#endif
