/*
 * The table of commands and their dispatch: see command.h.
 *
 * Texts are plain: they end up in a terminal, in roff, in Markdown and in shell scripts.
 */
#include "cli/command.h"

#include <stdio.h>
#include <string.h>

#include "base/str.h"
#include "cli/service.h"
#include "cli/spec.h"
#include "migrate/commands.h"

#define NODES "--source CONNINFO --target CONNINFO"
#define KINDS "db group tables table sync"
#define ENDED_SAFELY "Always safe: the same command goes on where it stopped, from any machine."

static bool run_states(const Cli *cli, Err *err)
{
    (void)err;
    migrate_print_states(cli->mermaid);
    return true;
}

static bool run_worker(const Cli *cli, Err *err)
{
    (void)cli;
    return migrate_worker(err);
}

static bool run_member(const Cli *cli, Err *err)
{
    (void)cli;
    return migrate_member(err);
}

static bool run_spec(const Cli *cli, Err *err)
{
    AUTO_CTX(tmp, cli);
    char *text = spec_text(tmp, cli->arguments[0], err);

    if (text == NULL)
        return false;
    fputs(text, stdout);
    return true;
}

/* clang-format off */
const Command cli_commands[] = {
    { .name = "check", .id = CMD_CHECK, .migrate = migrate_check, .server = server_check,
      .summary = "tell what would stand in the way of an upgrade, and how to fix it",
      .usage = NODES " [options]",
      .doc = "Connects to both nodes and goes through a list of checks: versions and roles, "
             "tables without a key, extensions that the new server lacks, settings that differ, "
             "objects that need attention. Each finding has an identifier, its severity and a "
             "fix.\n\n"
             "A finding of severity error refuses an upgrade (exit code 3). Where you know "
             "better, --accept turns it into a warning. upgrade makes the same checks before it "
             "begins.",
      .on_source = "Only read.",
      .on_target = "Only read.",
      .interrupt = "At any time; nothing was changed.",
      .next = "Fix or accept what was found, then run upgrade.",
      .examples = {
          { "two services of ~/.pg_service.conf",
            "pgtandem check --source service=old --target service=new" },
          { "a finding that is known and harmless", "pgtandem check --accept large-objects" },
      } },

    { .name = "upgrade", .id = CMD_UPGRADE, .migrate = migrate_upgrade, .server = server_upgrade,
      .summary = "copy the old node to the new one and follow its changes",
      .usage = NODES " [--switchover] [options]",
      .doc = "Makes the target a live copy of the source while the application goes on writing "
             "to the source: creates the schema, records changes from then on, copies the data, "
             "builds the indexes, gathers statistics for the planner, and carries over what has "
             "changed in the meantime. Then it says that both are in sync and keeps following "
             "until it is interrupted.\n\n"
             "With --switchover it goes on by itself and moves the application to the target as "
             "soon as both are in sync; the options of switchover apply then.",
      .on_source = "Adds the schema pgtandem and triggers that record which rows change. The "
                   "application works as before. Each table is locked for a moment when its "
                   "triggers are added; when it is busy, pgtandem steps back and tries again.",
      .on_target = "Fills it. The application should not write there yet.",
      .interrupt = ENDED_SAFELY " Changes of the source are recorded meanwhile.",
      .next = "Let it run. From another terminal use verify to compare, status to look, "
              "switchover to move the application. abort gives up.",
      .examples = {
          { "a copy that follows the source, with 8 workers",
            "pgtandem upgrade --source service=old --target service=new --jobs 8" },
          { "all the way, without anybody watching",
            "pgtandem upgrade --switchover --on-switch ./point-app-to-new-db" },
      } },

    { .name = "switchover", .id = CMD_SWITCHOVER, .migrate = migrate_switchover, .server = server_switchover,
      .summary = "move the application from the old node to the new one",
      .usage = NODES " [options]",
      .doc = "Stops writes on the source for a moment, carries over the last changes and "
             "sequences, and opens the target. It begins only when the copy keeps up (see "
             "--max-lag) and nothing else is in the way; --dry-run tells whether that is so "
             "now.\n\n"
             "Until the point of no return any error, a signal or the end of --max-pause undoes "
             "everything: the source takes writes as before, and the exit code is 4. After it "
             "the switch is always completed, if need be by running the same command again.\n\n"
             "From then on changes on the target are recorded, so that rollback loses nothing.",
      .on_source = "Refuses writes from now on, for every role, with a message that says why. "
                   "Reading is allowed.",
      .on_target = "Takes the application's writes.",
      .interrupt = "Safe. Before the point of no return the source takes writes again at once; "
                   "after it, run the same command to complete the switch.",
      .next = "Watch the application. rollback goes back without loss, days later too; finish "
              "ends the run.",
      .examples = {
          { "is everything ready?", "pgtandem switchover --dry-run" },
          { "through PgBouncer: clients wait instead of failing",
            "pgtandem switchover --pgbouncer \"host=pool1 port=6432 user=admin dbname=pgbouncer\" "
            "--pgbouncer-ini /etc/pgbouncer/pgbouncer.ini" },
          { "with a command that repoints the application",
            "pgtandem switchover --on-switch ./point-app" },
      } },

    { .name = "rollback", .id = CMD_ROLLBACK, .migrate = migrate_rollback, .server = server_rollback,
      .summary = "move the application back to the old node, with all it wrote since",
      .usage = NODES " [options]",
      .doc = "A switchover in the other direction: carries what was written on the target since "
             "the switch back to the source, stops writes on the target for a moment, and opens "
             "the source. It takes the same options and gives the same guarantees.\n\n"
             "Source and target are given as before: the source is still the old node.",
      .on_source = "Receives the changes and takes the application's writes again.",
      .on_target = "Refuses writes from now on and keeps following the source.",
      .interrupt = "Safe. Before the point of no return the target takes writes again at once; "
                   "after it, run the same command to complete the switch.",
      .next = "Find out what was wrong; switchover moves there again, abort gives up the upgrade.",
      .examples = {
          { "is the way back free?", "pgtandem rollback --dry-run" },
          { "back to the old node", "pgtandem rollback --on-switch ./point-app" },
      } },

    { .name = "finish", .id = CMD_FINISH, .migrate = migrate_finish, .server = server_finish,
      .summary = "end the run after a switchover and remove every trace",
      .usage = NODES " [options]",
      .doc = "Ends the upgrade for good: the new node no longer records changes for a way back. "
             "Refused while the application is still on the source; abort is for that.",
      .on_source = "Removes triggers, recorded changes and the schema pgtandem: its catalogs "
                   "are as they were before. It no longer follows and no longer refuses writes, "
                   "so keep the application away.",
      .on_target = "Removes the same. The application goes on.",
      .interrupt = "Safe; the same command removes the rest. But rollback is no longer possible "
                   "once it has begun.",
      .next = "Nothing. The old node can be shut down and archived.",
      .examples = {
          { "the new node has proved itself",
            "pgtandem finish --source service=old --target service=new" },
      } },

    { .name = "abort", .id = CMD_ABORT, .migrate = migrate_abort, .server = server_abort,
      .summary = "give up the upgrade while the application is on the old node",
      .usage = NODES " [options]",
      .doc = "Ends an upgrade that is not wanted any more, before a switchover or after a "
             "rollback. Refused while the application is on the target; rollback or finish are "
             "for that.",
      .on_source = "Removes triggers, recorded changes and the schema pgtandem: its catalogs "
                   "are as they were before. The application goes on.",
      .on_target = "Drops what the upgrade created there, the copied tables included.",
      .interrupt = "Safe; the same command removes the rest.",
      .next = "Nothing; run upgrade to begin anew.",
      .examples = {
          { "leave the old node as it was",
            "pgtandem abort --source service=old --target service=new" },
      } },

    { .name = "verify", .id = CMD_VERIFY, .migrate = migrate_verify, .server = server_verify,
      .summary = "compare the rows of both nodes while they are in use",
      .usage = NODES " [options]",
      .doc = "Computes checksums of all rows of all tables on both nodes and looks again at "
             "what differs: a change that is just on its way is no difference. Names the rows that "
             "differ by their keys (exit code 5), and tells how much was compared.\n\n"
             "Of a table without a key it can only tell that it differs, and nothing while it changes "
             "all the time.",
      .on_source = "Only reads, but reads everything once; fewer --jobs burden it less.",
      .on_target = "Only reads, as on the source. When no upgrade is running, verify first "
                   "carries over what is pending.",
      .interrupt = "At any time; it begins anew the next time.",
      .next = "When nothing differs, switchover, or finish after it.",
      .examples = {
          { "gently, for a busy old node", "pgtandem verify --jobs 1" },
      } },

    { .name = "status", .id = CMD_STATUS, .run = cli_status, .server = server_status, .max_arguments = 1000,
      .summary = "show how far the upgrade is, or how the syncs of the service are",
      .usage = NODES " [--watch] [--json], or [SYNC...] [--json]",
      .doc = "Reads the state of the run from the databases, so it works from any machine, "
             "while another pgtandem is running and while none is. Without a source and a target it is "
             "the state of the replication service, sync by sync.",
      .on_source = "Only read.",
      .on_target = "Only read.",
      .interrupt = "At any time.",
      .next = "The status names the command that comes next.",
      .examples = {
          { "on a screen beside the upgrade", "pgtandem status --watch" },
          { "for a monitoring system", "pgtandem status --json" },
      } },

    { .name = "states", .id = CMD_STATES, .run = run_states,
      .summary = "explain the steps of an upgrade",
      .usage = "[--mermaid]",
      .doc = "Prints the steps from nothing to a copy that follows, in their order: the phase "
             "before, the phase after, and what is done between them; then the steps of a switch. "
             "These are the words that status and the messages use. Connects to no database.",
      .on_source = "Not used.",
      .on_target = "Not used.",
      .interrupt = "At any time.",
      .next = "See status for the step of a run.",
      .examples = {
          { "as a diagram for a document", "pgtandem states --mermaid" },
      } },

    { .name = "add", .id = CMD_ADD, .run = cli_add, .min_arguments = 2, .max_arguments = 1000,
      .summary = "add a database, group, set of tables or sync to the service's file",
      .usage = "db|group|tables|table|sync NAME [key=value]...", .words = KINDS,
      .doc = "Edits the configuration file as one would by hand: comments stay, and an edit that would make the "
             "file wrong is refused. A database takes what libpq takes (service=old, host=..., a URI, or the whole "
             "as conninfo=...), a group also its members as words (A:source B), a sync needs tables= and dbs=, and "
             "table is followed by a sync and a table.\n\n"
             "The file is made if it is not there, readable for its owner only. Its settings are described in the "
             "manual.",
      .on_source = "Nothing; only the file changes.",
      .on_target = "Nothing.",
      .interrupt = "At any time; the file is replaced at once or not at all.",
      .next = "validate looks at the databases; start or reload has the service work by it.",
      .examples = {
          { "a database, by its entry in ~/.pg_service.conf", "pgtandem add db A service=rds93" },
          { "everything from A to B", "pgtandem add sync migrate_rds tables=all dbs=A,B" },
          { "only some rows of one table",
            "pgtandem add table migrate_rds public.orders \"where=region = 'eu'\"" },
      } },

    { .name = "update", .id = CMD_UPDATE, .run = cli_update, .min_arguments = 2, .max_arguments = 1000,
      .summary = "change settings in the service's file",
      .usage = "db|group|tables|table|sync NAME key=value...", .words = KINDS,
      .doc = "Like add, for what is there already; what is not named stays. An empty value removes the setting. "
             "Of a database's connection string single keywords can be changed (host=db2), too.",
      .on_source = "Nothing; only the file changes.",
      .on_target = "Nothing.",
      .interrupt = "At any time.",
      .next = "reload, if the service runs.",
      .examples = {
          { "a round only when it is asked for", "pgtandem update sync migrate_rds autokick=no" },
      } },

    { .name = "remove", .id = CMD_REMOVE, .run = cli_remove, .min_arguments = 2, .max_arguments = 3,
      .summary = "remove a sync with all it has installed, or something else from the file",
      .usage = "db|group|tables|table|sync NAME [--force]",
      .doc = "A sync's triggers, functions and rows are taken off its databases first, whether the service runs "
             "or not; the schema pgtandem goes with the last one. So does what syncs that were edited have left, also "
             "before a database is removed. Something that is in use is not removed. Where another machine "
             "stands by with the same file, stop it first.",
      .words = KINDS,
      .on_source = "Of a sync: triggers and recorded changes that no other sync needs are removed.",
      .on_target = "Of a sync: its progress is removed. The rows stay.",
      .interrupt = "Safe; the same command removes the rest.",
      .next = "Nothing.",
      .examples = {
          { "end a replication", "pgtandem remove sync migrate_rds" },
      } },

    { .name = "list", .id = CMD_LIST, .run = cli_list, .max_arguments = 2,
      .summary = "show what the service's file says",
      .usage = "[db|group|tables|table|sync|all [PATTERN]]", .words = KINDS " all",
      .doc = "Prints the sections of that kind, or those whose name fits a pattern with * and ?. Of a connection "
             "string only service, host, port, database and user are shown, never a password.",
      .on_source = "Not used.",
      .on_target = "Not used.",
      .interrupt = "At any time.",
      .next = "status shows what becomes of it.",
      .examples = {
          { "all databases", "pgtandem list db" },
          { "what is special about the tables of a sync", "pgtandem list table \"migrate_rds *\"" },
      } },

    { .name = "validate", .id = CMD_VALIDATE, .run = cli_validate,
      .summary = "tell what would stop a sync, with the file's lines",
      .usage = "[--config FILE]",
      .doc = "Reads the file, then looks at all databases: rights, tables that are missing, have no key or other "
             "columns. Tells all problems at once (exit code 3, or 2 when the file itself is wrong).",
      .on_source = "Only read.",
      .on_target = "Only read.",
      .interrupt = "At any time.",
      .next = "Mend what was found, then start.",
      .examples = {
          { "before the service begins", "pgtandem validate" },
      } },

    { .name = "start", .id = CMD_START, .run = cli_start,
      .summary = "run the replication service",
      .usage = "[--daemon]",
      .doc = "Keeps all active syncs of the configuration file in step until it is stopped: one worker process for "
             "each source and target, started again when it ends. It tells systemd when it is ready. A second "
             "machine with the same file stands by and takes over within seconds.",
      .on_source = "Adds the schema pgtandem and triggers that record which rows change.",
      .on_target = "Adds the schema pgtandem; rows are changed as on the source.",
      .interrupt = "Safe. Changes are recorded meanwhile, and carried when it runs again.",
      .next = "status shows how it is; kick --wait tells when everything has arrived.",
      .examples = {
          { "in the background", "pgtandem start --daemon" },
          { "with a file elsewhere", "pgtandem start --config /srv/shop/pgtandem.conf" },
      } },

    { .name = "stop", .id = CMD_STOP, .run = cli_stop,
      .summary = "stop the replication service of this machine",
      .usage = "[--config FILE]",
      .doc = "Ends the service and waits for it. A round that is at work is broken off and made again later.",
      .on_source = "Triggers go on recording.",
      .on_target = "Stays as it is.",
      .interrupt = "At any time; the service ends all the same.",
      .next = "start goes on where it stopped.",
      .examples = {
          { "the service of the file in this directory", "pgtandem stop" },
      } },

    { .name = "reload", .id = CMD_RELOAD, .run = cli_reload,
      .summary = "have the running service read its file again",
      .usage = "[--config FILE]",
      .doc = "Workers whose syncs have changed are started anew, the others go on. A file with problems changes "
             "nothing; the log says why. The log file is opened anew, too, so this is also for rotating it.",
      .on_source = "What new syncs need is added, what is not in the file any more is taken away.",
      .on_target = "The same.",
      .interrupt = "At any time.",
      .next = "status shows the syncs as they are now.",
      .examples = {
          { "after editing the file", "pgtandem reload" },
      } },

    { .name = "kick", .id = CMD_KICK, .run = cli_kick, .max_arguments = 1000,
      .summary = "ask for a round now, and wait for it if you like",
      .usage = "[SYNC...|all] [--wait[=DURATION]]",
      .doc = "With --wait it returns when everything that was committed before has arrived: what scripts want to "
             "know before the next step; of a sync that has just been started it awaits the beginning, too. Fullcopy "
             "targets are copied anew.",
      .on_source = "Only read.",
      .on_target = "Gets what is pending.",
      .interrupt = "At any time; the kick stays valid.",
      .next = "status, when it takes long.",
      .examples = {
          { "is everything there?", "pgtandem kick migrate_rds --wait" },
          { "for at most a minute", "pgtandem kick all --wait=1min" },
      } },

    { .name = "pause", .id = CMD_PAUSE, .run = cli_pause, .max_arguments = 1000,
      .summary = "have syncs rest, wherever they are worked on",
      .usage = "[SYNC...|all] [--wait[=DURATION]]",
      .doc = "Changes go on being recorded. The pause is kept in the databases, so it outlives a restart. A round "
             "or copy that is at work is ended first; status says \"pausing\" until then.",
      .on_source = "Triggers go on recording; mind the size of the queue.",
      .on_target = "Stays as it is.",
      .interrupt = "At any time.",
      .next = "resume.",
      .examples = {
          { "while the target is being maintained", "pgtandem pause migrate_rds --wait" },
      } },

    { .name = "resume", .id = CMD_RESUME, .run = cli_resume, .max_arguments = 1000,
      .summary = "end a pause",
      .usage = "[SYNC...|all]",
      .doc = "What was recorded meanwhile is carried.",
      .on_source = "Only read.",
      .on_target = "Gets what is pending.",
      .interrupt = "At any time.",
      .next = "kick --wait tells when everything has arrived.",
      .examples = {
          { "all that rest", "pgtandem resume all" },
      } },

    { .name = "activate", .id = CMD_ACTIVATE, .run = cli_activate, .min_arguments = 1, .max_arguments = 1000,
      .summary = "set syncs to active in the file, and reload",
      .usage = "SYNC...",
      .doc = "The same as update sync NAME status=active and reload.",
      .on_source = "What the sync needs is added when it begins.",
      .on_target = "Gets what is pending.",
      .interrupt = "At any time.",
      .next = "status.",
      .examples = {
          { "one sync", "pgtandem activate migrate_rds" },
      } },

    { .name = "deactivate", .id = CMD_DEACTIVATE, .run = cli_deactivate, .min_arguments = 1,
      .max_arguments = 1000,
      .summary = "set syncs to inactive in the file, and reload",
      .usage = "SYNC...",
      .doc = "Its workers end. What it has installed stays, and changes go on being recorded; remove takes it away.",
      .on_source = "Triggers go on recording; mind the size of the queue.",
      .on_target = "Stays as it is.",
      .interrupt = "At any time.",
      .next = "activate has it work again.",
      .examples = {
          { "one sync", "pgtandem deactivate migrate_rds" },
      } },

    { .name = "recopy", .id = CMD_RECOPY, .run = cli_recopy, .min_arguments = 1, .max_arguments = 1000,
      .summary = "copy tables of a sync anew",
      .usage = "SYNC [TABLE...]",
      .doc = "Without tables all of them, from the beginning: the way out when a side went back in time, or when the "
             "target was detached because the queue had become too large.",
      .on_source = "Only read.",
      .on_target = "The tables' rows are replaced.",
      .interrupt = "At any time; the wish stays valid.",
      .next = "status shows which tables are still to be copied.",
      .examples = {
          { "one table", "pgtandem recopy migrate_rds public.orders" },
          { "everything", "pgtandem recopy migrate_rds" },
      } },

    { .name = "import-bucardo", .id = CMD_IMPORT, .run = cli_import_bucardo, .min_arguments = 1,
      .max_arguments = 1,
      .summary = "write the service's file from a Bucardo configuration",
      .usage = "CONNINFO [--config FILE]",
      .doc = "CONNINFO leads to Bucardo's own database (usually dbname=bucardo). Databases, groups, relgroups, syncs, "
             "custom names and columns become sections of a new configuration file; what has no equivalent "
             "becomes a comment. Passwords are left out.",
      .on_source = "Only Bucardo's own database is read.",
      .on_target = "Not used.",
      .interrupt = "At any time; the file is written at the end.",
      .next = "Read the comments, stop Bucardo, validate, start.",
      .examples = {
          { "into pgtandem.conf", "pgtandem import-bucardo \"host=db1 dbname=bucardo user=bucardo\"" },
      } },

    { .name = "conflicts", .id = CMD_CONFLICTS, .run = cli_conflicts, .max_arguments = 1000,
      .summary = "show rows that were changed on two sources at a time, or collide with others",
      .usage = "[SYNC...] [--json]",
      .doc = "The newest first, with both rows, when they were changed, and the rule and the winner or the constraint: "
             "rows that were changed on two sources at a time; rows that collide by another unique column, or whose "
             "foreign key points to a deleted row (on-violation = park); rows that another node's TRUNCATE took away. "
             "They are kept on the node where it was found, for as long as conflict-keep says. \"parked\": the row is "
             "on its source, not here, and is tried again every minute and with each kick.",
      .on_source = "Only read.",
      .on_target = "Only read.",
      .interrupt = "At any time.",
      .next = "Where the loser was right, write its values again.",
      .examples = {
          { "what was lost", "pgtandem conflicts shop --json" },
      } },

    { .name = "edge", .id = CMD_EDGE, .hidden = true, .run = cli_edge, .min_arguments = 3, .max_arguments = 3,
      .summary = "work on one edge of a sync",
      .usage = "SYNC FROM TO",
      .doc = "Started by the service." },

    { .name = "keeper", .id = CMD_KEEPER, .hidden = true, .run = cli_keeper,
      .summary = "guard the queues, take away what is not in the file any more",
      .usage = "",
      .doc = "Started by the service." },

    { .name = "member", .id = CMD_MEMBER, .hidden = true, .run = run_member,
      .summary = "work on one database in a run of all",
      .usage = "",
      .doc = "Started by commands with --all-databases." },

    { .name = "worker", .id = CMD_WORKER, .hidden = true, .run = run_worker,
      .summary = "do the jobs that come on standard input",
      .usage = "",
      .doc = "Started by the other commands." },

    { .name = "__spec", .id = CMD_SPEC, .hidden = true, .min_arguments = 1, .max_arguments = 1, .run = run_spec,
      .summary = "print the manual page, a completion script or the option reference",
      .usage = "man|bash|zsh|md|json",
      .doc = "Used by the build. All of it is made from the tables of commands and options." },
};
/* clang-format on */
const size_t cli_n_commands = sizeof cli_commands / sizeof *cli_commands;

/* err_exit_code() decides; this explains */
const ExitCode cli_exit_codes[] = {
    {0, "done"},
    {1, "failed"},
    {2, "wrong usage or configuration"},
    {3, "refused by the checks before an upgrade or a switch; nothing was changed"},
    {4, "switchover aborted, and writes restored on the old node (rollback: on the new one)"},
    {5, "verify found differences"},
    {130, "interrupted; the same command goes on"},
};
const size_t cli_n_exit_codes = sizeof cli_exit_codes / sizeof *cli_exit_codes;

const Command *command_find(const char *name)
{
    for (size_t i = 0; i < cli_n_commands; i++)
        if (strcmp(cli_commands[i].name, name) == 0)
            return &cli_commands[i];
    return NULL;
}

bool command_run(const Cli *cli, Err *err)
{
    const Command *c = cli->command;

    const Config *config = &cli->config;

    if (config->all_databases && config->n_schemas + config->n_tables + config->n_excluded_schemas +
                                         config->n_excluded_tables + config->n_renamed_schemas +
                                         config->n_renamed_tables + config->n_conditions >
                                     0) {
        err_set(err, ERR_USAGE,
                "--all-databases moves whole databases: --schema, --table, --exclude-schema, "
                "--exclude-table, --rename-... and --where do not go with it");
        return err_hint(err,
                        "Name the one database with --source and --target. Nothing was changed.");
    }
    if (cli->config.all_databases && c->server != NULL && cli->config.source.conninfo != NULL)
        return c->server(&cli->config, err);
    if (cli->config.n_excluded > 0) {
        err_set(err, ERR_USAGE, "--exclude-database goes with --all-databases only");
        return err_hint(err, "Nothing was changed.");
    }
    return c->migrate != NULL ? c->migrate(&cli->config, err) : c->run(cli, err);
}

char *command_names(const void *ctx, unsigned commands)
{
    AUTO_CTX(tmp, ctx);
    Str *s = str_new(tmp);
    size_t left = 0;

    for (size_t i = 0; i < cli_n_commands; i++)
        if (!cli_commands[i].hidden && (cli_commands[i].id & commands) != 0)
            left++;
    for (size_t i = 0; i < cli_n_commands; i++)
        if (!cli_commands[i].hidden && (cli_commands[i].id & commands) != 0) {
            str_add(s, cli_commands[i].name);
            left--;
            str_add(s, left == 0 ? "" : left == 1 ? " and " : ", ");
        }
    return mem_strdup(ctx, s->text);
}

static bool is_empty(const char *text)
{
    return text == NULL || text[0] == '\0';
}

static bool check_command(const Command *c, Err *err)
{
    if (is_empty(c->name))
        return err_set(err, ERR_BUG, "a command has no name");
    if (c->id == 0 || (c->id & (c->id - 1)) != 0 || (c->id & ~(unsigned)CMD_ALL) != 0)
        return err_set(err, ERR_BUG, "command %s has not exactly one bit", c->name);
    if ((c->migrate == NULL) == (c->run == NULL))
        return err_set(err, ERR_BUG, "command %s has nothing to run, or two things", c->name);
    if (is_empty(c->summary) || c->summary[strlen(c->summary) - 1] == '.' || c->usage == NULL ||
        is_empty(c->doc))
        return err_set(err, ERR_BUG, "command %s lacks its summary, usage or doc", c->name);
    if (c->hidden)
        return true;
    if (is_empty(c->on_source) || is_empty(c->on_target) || is_empty(c->interrupt) ||
        is_empty(c->next))
        return err_set(err, ERR_BUG, "command %s does not tell what it does to whom", c->name);
    if (c->examples[0].what == NULL)
        return err_set(err, ERR_BUG, "command %s has no example", c->name);
    for (size_t i = 0; i < COMMAND_MAX_EXAMPLES && c->examples[i].what != NULL; i++) {
        const char *line = c->examples[i].line;
        const char *name =
            line != NULL && str_starts(line, "pgtandem ") ? line + strlen("pgtandem ") : "";

        if (!str_starts(name, c->name))
            return err_set(err, ERR_BUG, "an example of command %s is of another one", c->name);
    }
    return true;
}

bool command_self_check(const Command *commands, size_t n, Err *err)
{
    for (size_t i = 0; i < n; i++) {
        if (!check_command(&commands[i], err))
            return false;
        for (size_t j = 0; j < i; j++)
            if (strcmp(commands[j].name, commands[i].name) == 0 || commands[j].id == commands[i].id)
                return err_set(err, ERR_BUG, "commands %s and %s have the same name or bit",
                               commands[j].name, commands[i].name);
    }
    return true;
}

bool cli_self_check(Err *err)
{
    return command_self_check(cli_commands, cli_n_commands, err) &&
           options_self_check(cli_options, cli_n_options, err);
}
