/* The processes of a run of all databases: see crew.h. */
#include "migrate/crew.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/wait.h"
#include "migrate/member.h"
#include "migrate/talk.h"

enum { READ_BYTES = 16384, NEWS_MS = 1000, STOP_MS = 30000 };

void crew_reset(Crew *crew)
{
    for (size_t i = 0; i < crew->n; i++) {
        Database *db = &crew->databases[i];

        talloc_free(db->child);
        db->child = NULL;
        db->started = db->ended = db->died = db->waits = db->switched = false;
        db->at = db->out = "";
        db->epoch = db->begun_us = db->open_us = 0;
        err_clear(db->err);
        str_clear(db->input);
    }
    crew->deadline = NO_DEADLINE;
}

static const Database *leader_of(const Crew *crew)
{
    for (size_t i = 0; i < crew->n; i++)
        if (strcmp(crew->databases[i].name, crew->leader) == 0)
            return &crew->databases[i];
    return NULL;
}

bool crew_start(Crew *crew, Database *db, const char *command, int64_t jobs, LogLevel level,
                bool stand_in, Err *err)
{
    static const char *const argv[] = {"/proc/self/exe", "member", NULL};
    const Database *leader = leader_of(crew);
    Config config = *crew->config;
    Member member = {.database = db->name, .leader = crew->leader, .stand_in = stand_in};

    if (leader == NULL)
        return err_set(err, ERR_BUG, "database \"%s\" is not there", crew->leader);
    config.source = db->node[SIDE_SOURCE];
    config.target = db->node[SIDE_TARGET];
    /* what a new database will be like, as far as the server decides it */
    if (stand_in &&
        !conn_spec_of_database(crew, &crew->config->target, "template1", &config.target, err))
        return false;
    config.jobs = jobs;
    member.node[SIDE_SOURCE] = leader->node[SIDE_SOURCE];
    member.node[SIDE_TARGET] = leader->node[SIDE_TARGET];
    db->child = child_start(crew, argv, NULL, err);
    if (db->child == NULL)
        return err_add(err, "while starting a process for database \"%s\"", db->name);
    db->started = true;
    json_t *json = member_config_json(&config, &member, command);
    json_object_set_new(json, "level", json_integer(log_level() > level ? log_level() : level));
    /* one that is gone already is noticed by the end of its output */
    (void)!talk_send(db->child->to_fd, json, err_new(db->child));
    return true;
}

static void send_word(Database *db, json_t *word)
{
    AUTO_CTX(tmp, NULL);

    db->waits = false;
    /* one that is gone is noticed by its end of file */
    if (db->child != NULL)
        (void)!talk_send(db->child->to_fd, word, err_new(tmp));
    else
        json_decref(word);
}

void crew_word(Database *db, const char *word)
{
    send_word(db, json_pack("{s:s}", "word", word));
}

void crew_go(Database *db, int64_t epoch, int64_t budget_ms)
{
    send_word(db, json_pack("{s:s, s:I, s:I}", "word", "go", "epoch", (json_int_t)epoch,
                            "budget_ms", (json_int_t)budget_ms));
}

static void ended(Database *db)
{
    db->ended = true;
    db->waits = false;
    talloc_free(db->child);
    db->child = NULL;
}

static void take_line(Crew *crew, Database *db, const char *line)
{
    json_t *json = json_loads(line, 0, NULL);
    const json_t *error = json_object_get(json, "error");
    const char *at = talk_text(json, "at"), *out = talk_text(json, "out");

    if (at != NULL) {
        db->at = mem_strdup(crew, at);
        db->waits = json_is_true(json_object_get(json, "waits"));
        if (json_object_get(json, "epoch") != NULL) {
            db->epoch = json_integer_value(json_object_get(json, "epoch"));
            db->switched = json_is_true(json_object_get(json, "switched"));
        }
        if (json_object_get(json, "open_us") != NULL) {
            db->begun_us = json_integer_value(json_object_get(json, "begun_us"));
            db->open_us = json_integer_value(json_object_get(json, "open_us"));
        }
    }
    if (out != NULL)
        db->out = mem_strdup(crew, out);
    if (error != NULL) {
        talk_read_error(error, db->err);
        err_add(db->err, "database \"%s\"", db->name);
    }
    if (error != NULL || json_is_true(json_object_get(json, "done")))
        ended(db);
    json_decref(json);
}

static void read_child(Crew *crew, Database *db)
{
    static char buffer[READ_BYTES];
    ssize_t n = read(db->child->from_fd, buffer, sizeof buffer);

    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n > 0) {
        str_bytes(db->input, buffer, (size_t)n);
    } else {
        db->died = true;
        err_set(db->err, ERR_IO, "database \"%s\": its process ended unexpectedly", db->name);
        ended(db);
    }
    while (!db->ended) {
        AUTO_CTX(tmp, NULL);
        char *line = talk_take_line(tmp, db->input);

        if (line == NULL)
            return;
        take_line(crew, db, line);
    }
}

bool crew_wait(Crew *crew, int64_t ms, Err *err)
{
    AUTO_CTX(tmp, NULL);
    struct pollfd *fds = mem_array(tmp, struct pollfd, crew->n);
    size_t ready;

    for (size_t i = 0; i < crew->n; i++) {
        const Child *child = crew->databases[i].child;

        fds[i] = (struct pollfd){.fd = child == NULL ? -1 : child->from_fd, .events = POLLIN};
    }
    if (!wait_fds(fds, crew->n, deadline_in(ms), &ready, err))
        return false;
    for (size_t i = 0; i < crew->n; i++)
        if (fds[i].revents != 0)
            read_child(crew, &crew->databases[i]);
    return true;
}

bool crew_run(Crew *crew, const char *command, size_t limit, int64_t jobs, LogLevel level, Err *err)
{
    for (;;) {
        size_t running = 0, next = crew->n;

        for (size_t i = 0; i < crew->n; i++) {
            running += crew->databases[i].child != NULL ? 1 : 0;
            if (!crew->databases[i].started && next == crew->n)
                next = i;
        }
        if (running == 0 && next == crew->n)
            return true;
        if (next < crew->n && running < limit) {
            if (!crew_start(crew, &crew->databases[next], command, jobs, level, false, err))
                return false;
            continue;
        }
        if (!crew_wait(crew, NEWS_MS, err))
            return false;
    }
}

bool crew_result(const Crew *crew, Err *err)
{
    for (size_t i = 0; i < crew->n; i++)
        if (crew->databases[i].err->kind != ERR_NONE)
            return err_copy(err, crew->databases[i].err);
    return true;
}

bool crew_meet(Crew *crew, const char *where, Err *err)
{
    for (;;) {
        bool all = true;

        if (!crew_result(crew, err))
            return false;
        for (size_t i = 0; i < crew->n; i++) {
            const Database *db = &crew->databases[i];

            if (db->started && !db->ended && !(db->waits && strcmp(db->at, where) == 0))
                all = false;
        }
        if (all)
            return true;
        if (deadline_left(crew->deadline) == 0)
            return err_set(err, ERR_TIMEOUT, "not all databases were ready in time (%s)", where);
        int left = deadline_left(crew->deadline);
        if (!crew_wait(crew, left >= 0 && left < NEWS_MS ? left : NEWS_MS, err))
            return false;
    }
}

void crew_stop(Crew *crew)
{
    AUTO_CTX(tmp, NULL);
    Err *ignored = err_new(tmp);
    int64_t deadline = deadline_in(STOP_MS);
    bool any = true;

    wait_shield(true);
    for (size_t i = 0; i < crew->n; i++)
        if (crew->databases[i].child != NULL)
            child_signal(crew->databases[i].child, SIGTERM);
    while (any && deadline_left(deadline) > 0) {
        any = false;
        for (size_t i = 0; i < crew->n; i++)
            any = any || crew->databases[i].child != NULL;
        if (any && !crew_wait(crew, NEWS_MS, ignored))
            break;
    }
    for (size_t i = 0; i < crew->n; i++)
        if (crew->databases[i].child != NULL)
            ended(&crew->databases[i]);
    wait_shield(false);
}
