/* A database's part in a run of all databases: see member.h. */
#include "migrate/member.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "base/wait.h"
#include "migrate/commands.h"
#include "migrate/switch.h"
#include "migrate/talk.h"

/* how long the leader's row is asked: its own process may still have to let go of it */
enum { DECIDED_WAIT_MS = 30000 };

bool member_is(const Config *config)
{
    return config->member != NULL;
}

bool member_is_leader(const Config *config)
{
    return member_is(config) && strcmp(config->member->database, config->member->leader) == 0;
}

/* the results of the command go elsewhere while it runs: see migrate_member() */
static int parent_fd = STDOUT_FILENO;

static void tell(json_t *json)
{
    AUTO_CTX(tmp, NULL);

    /* a parent that is gone is noticed by whoever waits for it */
    (void)!talk_send(parent_fd, json, err_new(tmp));
}

void member_tell(const Config *config, const char *where)
{
    if (member_is(config))
        tell(json_pack("{s:s}", "at", where));
}

typedef struct Word {
    int64_t epoch;
    int64_t budget_ms;
} Word;

static bool wait_word(const Config *config, const char *where, int64_t deadline, Word *ret_word,
                      Err *err)
{
    AUTO_CTX(tmp, NULL);
    char *line;

    if (!talk_read_line(tmp, config->member->input, deadline, &line, err))
        return false;
    json_t *json = json_loads(line, 0, NULL);
    const char *text = talk_text(json, "word");
    bool go = text != NULL && strcmp(text, "go") == 0;
    ret_word->epoch = json_integer_value(json_object_get(json, "epoch"));
    ret_word->budget_ms = json_integer_value(json_object_get(json, "budget_ms"));
    json_decref(json);
    return go || err_set(err, ERR_ABORTED, "given up for all databases (%s)", where);
}

bool member_meet(const Config *config, const char *where, int64_t deadline, Err *err)
{
    Word word;

    tell(json_pack("{s:s, s:b}", "at", where, "waits", true));
    return wait_word(config, where, deadline, &word, err);
}

bool member_meet_steady(const Config *config, int64_t *ret_epoch, int64_t *ret_budget_ms, Err *err)
{
    Word word;

    tell(json_pack("{s:s, s:b}", "at", "steady", "waits", true));
    if (!wait_word(config, "steady", NO_DEADLINE, &word, err))
        return false;
    *ret_epoch = word.epoch;
    *ret_budget_ms = word.budget_ms;
    return true;
}

bool member_meet_state(const Run *run, Err *err)
{
    int64_t epoch = 0;
    Word word;

    for (int side = 0; side < 2; side++) {
        const NodeState *node = &run->node[side];

        epoch = node->epoch > epoch ? node->epoch : epoch;
        epoch = node->voided > epoch ? node->voided : epoch;
    }
    tell(json_pack("{s:s, s:b, s:b, s:s, s:I}", "at", "state", "waits", true, "switched",
                   run_active(run) == SIDE_TARGET, "phase", run->phase, "epoch",
                   (json_int_t)epoch));
    return wait_word(run->config, "state", NO_DEADLINE, &word, err);
}

bool member_meet_open(const Config *config, int64_t begun_us, int64_t open_us, Err *err)
{
    Word word;

    tell(json_pack("{s:s, s:b, s:I, s:I}", "at", "open", "waits", true, "begun_us",
                   (json_int_t)begun_us, "open_us", (json_int_t)open_us));
    return wait_word(config, "open", NO_DEADLINE, &word, err);
}

bool member_decided(const Config *config, Side to, int64_t epoch, bool *ret_decided, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Conn *conn = conn_open(tmp, &config->member->node[to], "switch", err);
    Sql *q = sql_new(tmp);
    bool ok = conn != NULL;

    /* waits for a transaction that is about to open it, and then sees what became of that */
    if (ok) {
        conn_set_deadline(conn, deadline_in(DECIDED_WAIT_MS));
        sql_add(q, "UPDATE pgtandem.node SET voided = greatest(voided, ");
        sql_i64(q, epoch);
        sql_add(q, ") WHERE NOT (gate = 'open' AND epoch >= ");
        sql_i64(q, epoch);
        sql_add(q, ")");
        ok = conn_exec(conn, q, err);
    }
    if (ok) {
        *ret_decided = conn_affected(conn) == 0;
        return fault("member.asked", err);
    }
    err_add(err,
            "whether the switch of all databases has happened is known to database \"%s\" on "
            "the %s, which could not be asked",
            config->member->leader, side_name(to));
    return err_hint(err, "Nothing is lost. Run the same command again when it can be reached.");
}

/* ---- the process ----------------------------------------------------------------------------------------------- */

static json_t *text_list(const char *const *texts, size_t n)
{
    json_t *list = json_array();

    for (size_t i = 0; i < n; i++)
        json_array_append_new(list, json_string(texts[i]));
    return list;
}

json_t *member_config_json(const Config *c, const Member *member, const char *command)
{
    json_t *json = json_pack(
        "{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:b, s:b}", "command", command, "source",
        c->source.conninfo, "target", c->target.conninfo, "database", member->database, "leader",
        member->leader, "leader_source", member->node[SIDE_SOURCE].conninfo, "leader_target",
        member->node[SIDE_TARGET].conninfo, "stand_in", member->stand_in, "dry_run", c->dry_run);

    json_t *more =
        json_pack("{s:I, s:I, s:I, s:I, s:I, s:s?, s:o, s:b, s:b, s:b}", "jobs",
                  (json_int_t)c->jobs, "chunk_bytes", (json_int_t)c->chunk_bytes,
                  "follow_keyless_bytes", (json_int_t)c->follow_keyless_bytes, "max_pause_ms",
                  (json_int_t)c->max_pause_ms, "max_lag_ms", (json_int_t)c->max_lag_ms, "pg_bindir",
                  c->pg_bindir, "accepted", text_list(c->accepted, c->n_accepted), "json", c->json,
                  "allow_downgrade", c->allow_downgrade, "allow_nonempty", c->allow_nonempty);
    json_object_update(mem_or_die(json), mem_or_die(more));
    json_decref(more);
    return json;
}

static const char *text_of(const void *ctx, const json_t *json, const char *key)
{
    const char *text = talk_text(json, key);

    return text == NULL ? NULL : mem_strdup(ctx, text);
}

static Config *read_config(const void *ctx, const json_t *json, Err *err)
{
    Config *c = mem_new(ctx, Config);
    Member *member = mem_new(c, Member);
    const json_t *accepted = json_object_get(json, "accepted");

    c->source = (ConnSpec){.conninfo = text_of(c, json, "source"), .label = "source"};
    c->target = (ConnSpec){.conninfo = text_of(c, json, "target"), .label = "target"};
    member->database = text_of(c, json, "database");
    if (c->source.conninfo == NULL || c->target.conninfo == NULL || member->database == NULL) {
        err_set(err, ERR_USAGE, "\"pgtandem member\" is run by other commands");
        err_hint(err, "Their option is --all-databases.");
        return NULL;
    }
    member->leader = text_of(c, json, "leader");
    member->node[SIDE_SOURCE] =
        (ConnSpec){.conninfo = text_of(c, json, "leader_source"), .label = "source"};
    member->node[SIDE_TARGET] =
        (ConnSpec){.conninfo = text_of(c, json, "leader_target"), .label = "target"};
    member->stand_in = json_is_true(json_object_get(json, "stand_in"));
    member->input = str_new(c);
    c->jobs = json_integer_value(json_object_get(json, "jobs"));
    c->chunk_bytes = json_integer_value(json_object_get(json, "chunk_bytes"));
    c->follow_keyless_bytes = json_integer_value(json_object_get(json, "follow_keyless_bytes"));
    c->max_pause_ms = json_integer_value(json_object_get(json, "max_pause_ms"));
    c->max_lag_ms = json_integer_value(json_object_get(json, "max_lag_ms"));
    c->pg_bindir = text_of(c, json, "pg_bindir");
    for (size_t i = 0; i < json_array_size(accepted); i++)
        mem_push(c, c->accepted, c->n_accepted,
                 mem_strdup(c, json_string_value(json_array_get(accepted, i))));
    c->dry_run = json_is_true(json_object_get(json, "dry_run"));
    c->json = json_is_true(json_object_get(json, "json"));
    c->allow_downgrade = json_is_true(json_object_get(json, "allow_downgrade"));
    c->allow_nonempty = json_is_true(json_object_get(json, "allow_nonempty"));
    c->member = member;
    return c;
}

static const struct {
    const char *name;
    bool (*run)(const Config *config, Err *err);
} commands[] = {
    {"check", migrate_check},           {"upgrade", migrate_upgrade},
    {"switchover", migrate_switchover}, {"rollback", migrate_rollback},
    {"finish", migrate_finish},         {"abort", migrate_abort},
    {"verify", migrate_verify},         {"status", migrate_status},
    {"settle", migrate_settle},
};

static bool run_command(const char *name, const Config *config, Err *err)
{
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
        if (name != NULL && strcmp(commands[i].name, name) == 0)
            return commands[i].run(config, err);
    return err_set(err, ERR_BUG, "no command \"%s\"", name == NULL ? "" : name);
}

/* what the command writes to standard output is kept in a file and handed over in one piece */
static bool keep_results(FILE **ret_file, Err *err)
{
    *ret_file = tmpfile();
    parent_fd = dup(STDOUT_FILENO);
    if (*ret_file == NULL || parent_fd < 0 || dup2(fileno(*ret_file), STDOUT_FILENO) < 0)
        return err_set(err, ERR_IO, "no temporary file could be made");
    return true;
}

static char *read_results(const void *ctx, FILE *file)
{
    Str *s = str_new(ctx);
    char buffer[4096];
    size_t n;

    fflush(stdout);
    rewind(file);
    while ((n = fread(buffer, 1, sizeof buffer, file)) > 0)
        str_bytes(s, buffer, n);
    return s->text;
}

bool migrate_member(Err *err)
{
    AUTO_CTX(tmp, NULL);
    Str *input = str_new(tmp);
    FILE *results;
    char *line;

    if (!talk_read_line(tmp, input, NO_DEADLINE, &line, err))
        return false;
    json_t *json = json_loads(line, 0, NULL);
    Config *config = read_config(tmp, json, err);
    const char *command = text_of(tmp, json, "command");
    int64_t level = json_integer_value(json_object_get(json, "level"));
    json_decref(json);
    if (config == NULL || !keep_results(&results, err))
        return false;
    log_init((LogLevel)level, config->member->database);
    fault_set_who(config->member->database);
    wait_set_parent(STDIN_FILENO);
    bool ok = run_command(command, config, err);
    char *text = read_results(tmp, results);
    log_progress_end();
    if (ok)
        tell(json_pack("{s:b, s:s}", "done", true, "out", text));
    else
        tell(json_pack("{s:o, s:s}", "error", talk_error(err), "out", text));
    err_clear(err);
    return true;
}
