/*
 * The commands over all databases of a server: see server.h.
 *
 * Each asks the processes of its crew to do what it does for one database. What is done here is what they
 * cannot know: which databases there are, who may use how many jobs, and when all are far enough.
 */
#include "migrate/server.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/str.h"
#include "base/wait.h"
#include "migrate/commands.h"
#include "migrate/globals.h"
#include "migrate/member.h"
#include "migrate/pooler.h"
#include "migrate/steps.h"
#include "migrate/talk.h"
#include "sql/queries.h"

enum {
    AT_A_TIME = 8, /* databases, for commands that need little of the servers */
    NEWS_MS = 1000,
    PAUSE_GRACE_MS = 1500,
    MAX_DEATHS = 20, /* processes of an upgrade that may be replaced */
    WATCH_MS = 2000
};

const char *server_plural(size_t n)
{
    return n == 1 ? "database" : "databases";
}

/* ---- which databases there are --------------------------------------------------------------------------------- */

static bool is_excluded(const Config *config, const char *name)
{
    for (size_t i = 0; i < config->n_excluded; i++)
        if (strcmp(config->excluded[i], name) == 0)
            return true;
    return false;
}

static Database *find_or_add(Crew *crew, const char *name, Err *err)
{
    for (size_t i = 0; i < crew->n; i++)
        if (strcmp(crew->databases[i].name, name) == 0)
            return &crew->databases[i];
    Database db = {.name = mem_strdup(crew, name),
                   .at = "",
                   .out = "",
                   .err = err_new(crew),
                   .input = str_new(crew)};
    if (!conn_spec_of_database(crew, &crew->config->source, name, &db.node[SIDE_SOURCE], err) ||
        !conn_spec_of_database(crew, &crew->config->target, name, &db.node[SIDE_TARGET], err))
        return NULL;
    mem_push(crew, crew->databases, crew->n, db);
    return &crew->databases[crew->n - 1];
}

static bool list_databases(Crew *crew, Side side, Err *err)
{
    AUTO_CTX(tmp, NULL);
    DatabasesRow *rows;
    size_t n;

    if (!q_databases(tmp, crew->conn[side], &rows, &n, err))
        return false;
    for (size_t i = 0; i < n; i++) {
        Database *db = find_or_add(crew, rows[i].name, err);
        if (db == NULL)
            return false;
        db->there[side] = rows[i].may_connect;
        if (side == SIDE_SOURCE) {
            db->on_source = true;
            db->bytes = rows[i].bytes;
        }
    }
    return true;
}

/* whether the database knows of a run of all databases, or is in something else of ours */
static bool look_into(Crew *crew, Database *db, Side side, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Conn *conn = conn_open(tmp, &db->node[side], "server", err);
    HasControlRow *has;
    NodeStateRow *node;
    size_t n;

    if (conn == NULL || !q_has_control(tmp, conn, &has, &n, err)) {
        err_add(err, "database \"%s\"", db->name);
        return err_hint(err, "--exclude-database leaves it out.");
    }
    if (!has->present)
        return true;
    if (!has->readable || !q_node_state(tmp, conn, &node, &n, err) || n != 1) {
        if (err->kind == ERR_NONE)
            err_set(err, ERR_STATE, "the %s has a schema \"pgtandem\" that this role may not read",
                    side_name(side));
        return err_add(err, "database \"%s\"", db->name);
    }
    db->member[side] = node->leader[0] != '\0';
    db->open[side] = strcmp(node->gate, "open") == 0;
    if (!db->member[side])
        db->other =
            strcmp(node->side, "service") == 0 ? "the replication service" : "a run of its own";
    else if (crew->leader == NULL)
        crew->leader = mem_strdup(crew, node->leader);
    else if (strcmp(crew->leader, node->leader) != 0) {
        err_set(err, ERR_STATE, "these servers are in two runs (\"%s\" and \"%s\")", crew->leader,
                node->leader);
        return err_hint(err, "Source and target are those that the run was started with?");
    }
    return true;
}

static bool survey(Crew *crew, Err *err)
{
    for (int side = 0; side < 2; side++)
        if (!list_databases(crew, (Side)side, err))
            return false;
    for (size_t i = 0; i < crew->n; i++)
        for (int side = 0; side < 2; side++) {
            Database *db = &crew->databases[i];

            if (!db->there[side] || look_into(crew, db, (Side)side, err))
                continue;
            if (!is_excluded(crew->config, db->name) || err->kind == ERR_CANCELED)
                return false;
            err_clear(err);
        }
    return true;
}

static bool is_member(const Database *db)
{
    return db->member[SIDE_SOURCE] || db->member[SIDE_TARGET];
}

/* a target of another run: to look for what is lost there would be wrong advice */
static bool refuse_other_target(const Crew *crew, Err *err)
{
    size_t members[2] = {0, 0};

    for (size_t i = 0; i < crew->n; i++)
        for (int side = 0; side < 2; side++)
            members[side] += crew->databases[i].member[side] ? 1 : 0;
    if (members[SIDE_SOURCE] == 0 || members[SIDE_TARGET] > 0 ||
        config_accepts(crew->config, "target-lost"))
        return true;
    err_set(err, ERR_STATE,
            "the source is in a run of all databases that the target knows nothing of");
    return err_hint(err, "Name the target that the run was started with. A source is in one run at "
                         "a time. Nothing was changed.");
}

/* what is on one side only cannot go on: it was dropped there, or restored */
static bool refuse_lost(const Crew *crew, Err *err)
{
    for (size_t i = 0; i < crew->n; i++) {
        const Database *db = &crew->databases[i];

        for (int side = 0; side < 2; side++) {
            if (!is_member(db) || db->there[side])
                continue;
            err_set(err, ERR_STATE, "database \"%s\" is in the run, but not on the %s any more",
                    db->name, side_name((Side)side));
            return err_hint(err, "If it was dropped on purpose, drop it on the other server, too.");
        }
    }
    return true;
}

/* one that stayed behind would be on the other server than the rest after a switch */
static bool refuse_to_exclude(const Crew *crew, Err *err)
{
    for (size_t i = 0; i < crew->n; i++) {
        if (!is_member(&crew->databases[i]) || !is_excluded(crew->config, crew->databases[i].name))
            continue;
        err_set(err, ERR_USAGE, "database \"%s\" is in the run already and cannot be left out",
                crew->databases[i].name);
        return err_hint(
            err, "\"pgtandem abort --all-databases\" ends the run; another can begin without it.");
    }
    return true;
}

/* what is on the target only is no concern of ours, unless it is in the run */
static void keep_those(Crew *crew, ServerScope scope)
{
    size_t n = 0;
    bool moved = false;

    for (size_t i = 0; i < crew->n; i++)
        moved = moved ||
                (crew->databases[i].member[SIDE_SOURCE] && !crew->databases[i].open[SIDE_SOURCE]);
    for (size_t i = 0; i < crew->n; i++) {
        const Database *db = &crew->databases[i];
        bool wanted = scope == SERVER_ALL && db->on_source && !is_excluded(crew->config, db->name);

        /* a new one would begin on the source, where the others are no more */
        if (wanted && moved && !is_member(db))
            log_warn(
                "database \"%s\" is not in the run: it can be taken in while the application is on "
                "the source",
                db->name);
        if (is_member(db) || (wanted && !moved))
            crew->databases[n++] = *db;
    }
    crew->n = n;
}

char *server_outsiders(const void *ctx, const Crew *crew)
{
    AUTO_CTX(tmp, NULL);
    DatabasesRow *rows;
    size_t n;
    Str *s = str_new(tmp);

    if (!q_databases(tmp, crew->conn[SIDE_SOURCE], &rows, &n, err_new(tmp)))
        return NULL;
    for (size_t i = 0; i < n; i++) {
        bool inside = is_excluded(crew->config, rows[i].name);

        for (size_t k = 0; k < crew->n && !inside; k++)
            inside = strcmp(crew->databases[k].name, rows[i].name) == 0;
        if (!inside)
            str_fmt(s, "%s\"%s\"", s->len == 0 ? "" : ", ", rows[i].name);
    }
    return s->len == 0 ? NULL : mem_strdup(ctx, s->text);
}

Crew *server_open(const void *ctx, const Config *config, ServerScope scope, Err *err)
{
    Crew *crew = mem_new(ctx, Crew);
    bool same = true;

    crew->config = config;
    crew->conn[SIDE_SOURCE] = conn_open(crew, &config->source, "server", err);
    if (crew->conn[SIDE_SOURCE] == NULL)
        return NULL;
    crew->conn[SIDE_TARGET] = conn_open(crew, &config->target, "server", err);
    if (crew->conn[SIDE_TARGET] == NULL ||
        !edge_same_server(crew->conn[SIDE_SOURCE], crew->conn[SIDE_TARGET], &same, err))
        return NULL;
    if (same) {
        err_set(err, ERR_USAGE, "source and target are the same server");
        err_hint(err, "Check --source and --target.");
        return NULL;
    }
    if (!survey(crew, err) || !refuse_to_exclude(crew, err))
        return NULL;
    keep_those(crew, scope);
    if (crew->leader == NULL && crew->n > 0)
        crew->leader = crew->databases[0].name;
    if (!refuse_other_target(crew, err) || !refuse_lost(crew, err))
        return NULL;
    crew_reset(crew);
    return crew;
}

static bool no_run(Err *err)
{
    err_set(err, ERR_STATE, "there is no run of all databases on these servers");
    return err_hint(err, "\"pgtandem upgrade --all-databases\" begins one.");
}

static Crew *open_run(const void *ctx, const Config *config, Err *err)
{
    Crew *crew = server_open(ctx, config, SERVER_MEMBERS, err);

    if (crew == NULL || crew->n > 0)
        return crew;
    no_run(err);
    return NULL;
}

/* ---- upgrade --------------------------------------------------------------------------------------------------- */

static bool refuse_others(const Crew *crew, Err *err)
{
    for (size_t i = 0; i < crew->n; i++)
        if (crew->databases[i].other != NULL) {
            err_set(err, ERR_STATE, "database \"%s\" is in %s", crew->databases[i].name,
                    crew->databases[i].other);
            return err_hint(err, "End that first, or leave it out with --exclude-database. Nothing "
                                 "was changed.");
        }
    return true;
}

static void log_errors(const Crew *crew, const ServerFindings *found)
{
    for (size_t i = 0; i < found->n_server; i++) {
        AUTO_CTX(tmp, NULL);
        const Finding *f = &found->server[i];
        Str *s = str_new(tmp);

        for (size_t o = 0; o < f->n_objects; o++)
            str_fmt(s, "%s%s", o == 0 ? ": " : ", ", f->objects[o]);
        log_msg(f->severity == SEVERITY_ERROR     ? LOG_ERROR
                : f->severity == SEVERITY_WARNING ? LOG_WARN
                                                  : LOG_DEBUG,
                "[%s] %s%s", f->id, f->title, s->text);
        if (f->severity == SEVERITY_ERROR && f->hint != NULL)
            log_error("  hint: %s", f->hint);
    }
    for (size_t i = 0; i < found->n_databases; i++) {
        const json_t *list = json_object_get(found->databases[i], "findings");

        for (size_t k = 0; k < json_array_size(list); k++) {
            const json_t *f = json_array_get(list, k);
            const char *hint = talk_text(f, "hint");

            /* the rest is told when the database has its turn */
            if (strcmp(talk_text(f, "severity"), "error") != 0)
                continue;
            log_error("database \"%s\": [%s] %s", crew->databases[i].name, talk_text(f, "id"),
                      talk_text(f, "title"));
            if (hint != NULL)
                log_error("  hint: %s", hint);
        }
    }
}

/* checks, then roles and databases; databases that are in the run already have all this behind them */
static bool prepare(Crew *crew, Err *err)
{
    AUTO_CTX(tmp, NULL);
    ServerFindings found;
    PgDump dump;
    bool any = false;

    for (size_t i = 0; i < crew->n; i++)
        any = any || !crew->databases[i].member[SIDE_TARGET];
    if (!any)
        return true;
    log_info("checking %zu %s", crew->n, server_plural(crew->n));
    if (!server_find(tmp, crew, &found, err))
        return false;
    log_errors(crew, &found);
    for (size_t i = 0; i < found.n_databases; i++)
        json_decref(found.databases[i]);
    if (found.errors > 0) {
        err_set(err, ERR_REFUSED, "%zu finding%s in the way of an upgrade of all databases",
                found.errors, found.errors == 1 ? " stands" : "s stand");
        return err_hint(err, "Nothing was changed. \"pgtandem check --all-databases\" shows all "
                             "findings and what to do.");
    }
    if (!dump_find(tmp, crew->config->pg_bindir, conn_caps(crew->conn[SIDE_SOURCE])->version,
                   conn_caps(crew->conn[SIDE_TARGET])->version, &dump, err))
        return false;
    if (dump.path == NULL)
        return err_set(err, ERR_REFUSED, "pg_dump was not found");
    if (!globals_roles(crew->conn[SIDE_SOURCE], crew->conn[SIDE_TARGET], &crew->config->source,
                       &dump, err))
        return false;
    for (size_t i = 0; i < crew->n; i++) {
        Database *db = &crew->databases[i];

        if (db->there[SIDE_TARGET])
            continue;
        if (!globals_database(crew->conn[SIDE_TARGET], &db->node[SIDE_SOURCE], db->name, &dump,
                              err))
            return false;
        db->there[SIDE_TARGET] = true;
    }
    return true;
}

static bool is_following(const Database *db)
{
    return strcmp(db->at, "following") == 0;
}

/*
 * Of the jobs of all databases a database gets a part by its size, the largest first; what it had comes back
 * when its copy follows.
 */
static bool start_next(Crew *crew, Err *err)
{
    for (;;) {
        int64_t free_jobs = crew->config->jobs, bytes = 0;
        Database *next = NULL;

        for (size_t i = 0; i < crew->n; i++) {
            Database *db = &crew->databases[i];

            if (db->child != NULL && !is_following(db))
                free_jobs -= db->jobs;
            if (db->started)
                continue;
            bytes += db->bytes + 1;
            if (next == NULL || db->bytes > next->bytes)
                next = db;
        }
        if (next == NULL || free_jobs <= 0)
            return true;
        int64_t part =
            (int64_t)((double)crew->config->jobs * (double)(next->bytes + 1) / (double)bytes + 0.5);
        next->jobs = part < 1 ? 1 : part > free_jobs ? free_jobs : part;
        if (!crew_start(crew, next, "upgrade", next->jobs, LOG_INFO, false, err))
            return false;
    }
}

/* a process that was killed is replaced: the run of its database goes on where it was */
static bool replace_dead(Crew *crew, int *deaths, Err *err)
{
    for (size_t i = 0; i < crew->n; i++) {
        Database *db = &crew->databases[i];

        if (!db->died)
            continue;
        if (++*deaths > MAX_DEATHS)
            return err_copy(err, db->err);
        log_warn("%s; starting another", db->err->msg);
        err_clear(db->err);
        str_clear(db->input);
        db->started = db->ended = db->died = false;
        db->at = "";
    }
    return true;
}

/*
 * until all follow; with `forever` until they are told to stop, or their runs were ended by other commands
 */
static bool upgrade_crew(Crew *crew, bool forever, Err *err)
{
    bool told = false;
    int deaths = 0;

    for (;;) {
        size_t following = 0, ended = 0;

        if (!replace_dead(crew, &deaths, err) || !crew_result(crew, err) || !start_next(crew, err))
            return false;
        for (size_t i = 0; i < crew->n; i++) {
            following += !crew->databases[i].ended && is_following(&crew->databases[i]) ? 1 : 0;
            ended += crew->databases[i].ended ? 1 : 0;
        }
        if (ended == crew->n)
            return true;
        if (!told && following == crew->n) {
            told = true;
            talloc_free(crew->reservation);
            crew->reservation = NULL;
            log_info("all %zu %s are in sync; Ctrl-C stops, the same command goes on", crew->n,
                     server_plural(crew->n));
            if (!forever)
                return true;
        }
        if (!crew_wait(crew, NEWS_MS, err))
            return false;
    }
}

static bool switch_all(const Config *config, Side to, Err *err);

/* before a run begins, so that of two that begin at the same moment none gets a part of the databases */
static Crew *open_upgrade(const void *ctx, const Config *config, Err *err)
{
    Crew *crew = server_open(ctx, config, SERVER_ALL, err);
    const Database *leader = NULL;

    for (size_t i = 0; crew != NULL && i < crew->n; i++) {
        if (is_member(&crew->databases[i]))
            return crew;
        if (strcmp(crew->databases[i].name, crew->leader) == 0)
            leader = &crew->databases[i];
    }
    if (leader == NULL || !leader->there[SIDE_SOURCE])
        return crew;
    Conn *reservation = conn_open(ctx, &leader->node[SIDE_SOURCE], "server", err);
    if (reservation == NULL || !run_reserve_all(reservation, err))
        return NULL;
    /* whoever had it may have begun meanwhile */
    crew = server_open(ctx, config, SERVER_ALL, err);
    if (crew != NULL)
        crew->reservation = reservation;
    return crew;
}

bool server_upgrade(const Config *config, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Crew *crew = open_upgrade(tmp, config, err);

    if (crew == NULL || !refuse_others(crew, err))
        return false;
    if (crew->n == 0)
        return err_set(err, ERR_USAGE, "there is no database to upgrade");
    if (!prepare(crew, err) || !fault("server.created", err))
        return false;
    crew_reset(crew);
    bool ok = upgrade_crew(crew, !config->switchover, err);
    crew_stop(crew);
    return ok && (!config->switchover || switch_all(config, SIDE_TARGET, err));
}

/* ---- switchover and rollback ----------------------------------------------------------------------------------- */

typedef struct AllSwitch {
    const Config *config;
    Crew *crew;
    Database *leader;
    Side to;
    const char *event;
    int64_t epoch;
    Poolers *poolers; /* or NULL */
    int64_t deadline; /* of the pause */
    int64_t begun_us; /* poolers paused; 0: the databases know */
    int64_t open_us;  /* poolers let clients through; 0: likewise */
    bool fenced;      /* databases may have stopped writers */
    bool decided;     /* the leader is open, or may be */
} AllSwitch;

static void go_all(const AllSwitch *all)
{
    int left = deadline_left(all->deadline);

    for (size_t i = 0; i < all->crew->n; i++)
        if (all->crew->databases[i].waits)
            crew_go(&all->crew->databases[i], all->epoch,
                    left < 0 ? all->config->max_pause_ms : left);
}

/* all wait at `where`: on with them */
static bool pass(const AllSwitch *all, const char *where, Err *err)
{
    AUTO_CTX(tmp, NULL);

    if (!crew_meet(all->crew, where, err) || !fault(mem_printf(tmp, "server.%s", where), err))
        return false;
    go_all(all);
    return true;
}

/* where the databases are before a switch: *ret_there when all are where they should go */
static bool agree(AllSwitch *all, bool *ret_there, Err *err)
{
    const Crew *crew = all->crew;
    size_t there = 0;

    for (size_t i = 0; i < crew->n; i++) {
        const Database *db = &crew->databases[i];

        there += db->switched == (all->to == SIDE_TARGET) ? 1 : 0;
        if (db->epoch >= all->epoch)
            all->epoch = db->epoch + 1;
    }
    *ret_there = there == crew->n;
    if (there == 0 || there == crew->n)
        return true;
    for (size_t i = 0; i < crew->n; i++)
        if (crew->databases[i].switched == (all->to == SIDE_TARGET)) {
            err_set(err, ERR_STATE, "database \"%s\" takes writes on the %s, and others do not",
                    crew->databases[i].name, side_name(all->to));
            return err_hint(err, "This must not happen. \"pgtandem status --all-databases\" shows "
                                 "where each one is. Nothing was changed.");
        }
    return true;
}

/* who leads the application to all the databases is one: this process, not theirs */
static bool pause_poolers(AllSwitch *all, Err *err)
{
    AUTO_CTX(tmp, NULL);
    const Crew *crew = all->crew;
    const Child **settlers = mem_array(tmp, const Child *, crew->n);
    size_t n = 0;

    if (all->poolers == NULL)
        return true;
    for (size_t i = 0; i < crew->n; i++)
        if (crew->databases[i].child != NULL)
            settlers[n++] = crew->databases[i].child;
    poolers_settled_by(all->poolers, settlers, n, &all->leader->node[side_other(all->to)]);
    if (poolers_pause(all->poolers, all->deadline, &all->begun_us, err))
        return fault("server.paused", err);
    if (err->kind == ERR_TIMEOUT)
        err_add(err, "the time budget of %lld ms passed", (long long)all->config->max_pause_ms);
    return false;
}

/* the leader, and with it all of them, opens: or perhaps not, when this fails */
static bool open_leader(AllSwitch *all, Err *err)
{
    bool ok = true;

    wait_shield(true);
    all->decided = true;
    crew_go(all->leader, all->epoch, 0);
    while (ok && !all->leader->ended && strcmp(all->leader->at, "open") != 0)
        ok = crew_wait(all->crew, NEWS_MS, err);
    wait_shield(false);
    if (ok && all->leader->ended)
        ok = all->leader->err->kind == ERR_NONE || err_copy(err, all->leader->err);
    if (ok && all->poolers != NULL)
        poolers_point_of_no_return(all->poolers);
    return ok;
}

/* up to the point of no return, which is behind us when the leader waits at "open" */
static bool decide(AllSwitch *all, Err *err)
{
    if (!pass(all, "ready", err) || !crew_meet(all->crew, "steady", err))
        return false;
    all->fenced = true;
    all->deadline = deadline_in(all->config->max_pause_ms);
    if (!pause_poolers(all, err))
        return false;
    /* the databases have their own limit, which says more; this is for one that hangs */
    all->crew->deadline = all->deadline + PAUSE_GRACE_MS;
    if (!pass(all, "steady", err) || !pass(all, "prepared", err) ||
        !crew_meet(all->crew, "closed", err) || !fault("server.closed", err))
        return false;
    all->crew->deadline = NO_DEADLINE;
    if (wait_stopping())
        return err_set(err, ERR_CANCELED, "interrupted");
    return open_leader(all, err) && fault("server.decided", err);
}

/* the others open; one that fails does not keep the rest */
static bool complete(AllSwitch *all, Err *err)
{
    Crew *crew = all->crew;

    for (size_t i = 0; i < crew->n; i++)
        if (crew->databases[i].waits && strcmp(crew->databases[i].at, "closed") == 0)
            crew_go(&crew->databases[i], all->epoch, 0);
    for (bool all_open = false; !all_open;) {
        all_open = true;
        for (size_t i = 0; i < crew->n; i++)
            if (!crew->databases[i].ended && strcmp(crew->databases[i].at, "open") != 0)
                all_open = false;
        if (!all_open && !crew_wait(crew, NEWS_MS, err))
            return false;
    }
    return crew_result(crew, err);
}

static bool all_ended(Crew *crew, Err *err)
{
    for (;;) {
        bool all = true;

        for (size_t i = 0; i < crew->n; i++)
            all = all && crew->databases[i].child == NULL;
        if (all)
            return true;
        if (!crew_wait(crew, NEWS_MS, err))
            return false;
    }
}

/*
 * nobody goes on: who has not opened gives up, or finds out from the leader's row that it must open; returns when
 * all processes have ended
 */
static bool let_go(AllSwitch *all, Err *err)
{
    Crew *crew = all->crew;

    for (bool any = true; any;) {
        any = false;
        for (size_t i = 0; i < crew->n; i++) {
            Database *db = &crew->databases[i];

            any = any || db->child != NULL;
            if (db->waits)
                crew_word(db, strcmp(db->at, "open") == 0 ? "go" : "undo");
        }
        if (any && !crew_wait(crew, NEWS_MS, err))
            return false;
    }
    return true;
}

/*
 * Databases whose process ended without saying how are looked at by new ones, which bring them to where the
 * leader is. Afterwards `switched` and `err` are right for all of them. No process of before is left.
 */
static bool settle_rest(AllSwitch *all, Err *err)
{
    Crew *crew = all->crew;

    for (size_t i = 0; i < crew->n; i++) {
        Database *db = &crew->databases[i];
        bool open = db->err->kind == ERR_NONE && strcmp(db->at, "open") == 0;

        if (open || db->err->kind == ERR_ABORTED) {
            db->switched = open == (all->to == SIDE_TARGET);
            err_clear(db->err);
            continue;
        }
        db->ended = db->died = db->waits = false;
        db->at = "";
        err_clear(db->err);
        str_clear(db->input);
        if (!crew_start(crew, db, "settle", 1, LOG_ERROR, false, err))
            return false;
    }
    for (bool any = true; any;) {
        any = false;
        for (size_t i = 0; i < crew->n; i++) {
            Database *db = &crew->databases[i];

            any = any || db->child != NULL;
            if (db->waits)
                crew_word(db, "go");
        }
        if (any && !crew_wait(crew, NEWS_MS, err))
            return false;
    }
    return true;
}

/* how many databases take writes on that side for certain */
static size_t count_on(const AllSwitch *all, Side side)
{
    size_t n = 0;

    for (size_t i = 0; i < all->crew->n; i++)
        n += all->crew->databases[i].err->kind == ERR_NONE &&
                     all->crew->databases[i].switched == (side == SIDE_TARGET)
                 ? 1
                 : 0;
    return n;
}

/* ends all processes, and says how many databases are where; err gets what went wrong meanwhile */
static void wind_up(AllSwitch *all, size_t *ret_back, size_t *ret_there, Err *err)
{
    wait_shield(true);
    (void)!fault("server.undo", err);
    *ret_back = *ret_there = 0;
    if (let_go(all, err) && settle_rest(all, err)) {
        *ret_back = count_on(all, side_other(all->to));
        *ret_there = count_on(all, all->to);
        if (!crew_result(all->crew, err))
            log_debug("%s", err->msg);
    }
    wait_shield(false);
}

static bool not_complete(const AllSwitch *all, const char *why, Err *err)
{
    AUTO_CTX(tmp, NULL);
    const char *copy = mem_strdup(tmp, why);

    /* clients wait: of those that are not open yet some would fail */
    if (all->poolers != NULL)
        poolers_point_of_no_return(all->poolers);
    err_set(err, ERR_STATE, "the %s of all databases has happened, but is not complete: %s",
            all->event, copy);
    return err_hint(err, "Run the same command again to complete it%s.",
                    all->poolers == NULL ? "" : "; until then the poolers stay paused");
}

static bool after_all(AllSwitch *all, Err *err);

/* a switch that was given up; where it may have happened the guardian looks what is to be done, when we end */
static void resume_poolers(AllSwitch *all, bool all_back)
{
    AUTO_CTX(tmp, NULL);
    Err *err = err_new(tmp);

    if (all->poolers != NULL && (all_back || !all->decided) && !poolers_resume(all->poolers, err))
        log_err(LOG_ERROR, err);
}

/*
 * Everything back to before; err is why. If the leader has opened nevertheless, the switch has happened, and then
 * it is completed instead.
 */
static bool undo(AllSwitch *all, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Crew *crew = all->crew;
    Err *trouble = err_new(tmp);
    size_t back, there;

    /* those that are at work look up only then; none of them is past its fence */
    for (size_t i = 0; i < crew->n; i++)
        if (crew->databases[i].child != NULL && !crew->databases[i].waits &&
            strcmp(crew->databases[i].at, "prepared") != 0 &&
            strcmp(crew->databases[i].at, "closed") != 0)
            child_signal(crew->databases[i].child, SIGTERM);
    if (!all->fenced) {
        wait_shield(true);
        (void)!let_go(all, trouble);
        wait_shield(false);
        return false;
    }
    wind_up(all, &back, &there, trouble);
    if (there == crew->n) {
        log_warn("%s", err->msg);
        err_clear(err);
        return after_all(all, err);
    }
    if (there > 0)
        return not_complete(all, err->msg, err);
    resume_poolers(all, back == crew->n);
    char *why = mem_strdup(tmp, err->msg),
         *hint = err->hint == NULL ? NULL : mem_strdup(tmp, err->hint);
    char *detail = err->detail == NULL ? NULL : mem_strdup(tmp, err->detail);
    if (back < crew->n) {
        err_set(err, ERR_STATE,
                "the %s of all databases failed (%s), and not every database was seen "
                "to take writes again",
                all->event, why);
        err_detail(err, "%s.", trouble->msg == NULL ? "No answer" : trouble->msg);
        return err_hint(err,
                        "Nothing is lost. Run \"pgtandem upgrade --all-databases\" to open those "
                        "again, or the same command to switch.");
    }
    err_set(err, ERR_ABORTED, "the %s of all databases was given up: %s", all->event, why);
    err_detail(err, "All of them take writes on the %s as before, and nothing is lost.",
               side_name(side_other(all->to)));
    if (detail != NULL && strstr(detail, "takes writes as before") == NULL)
        err_detail(err, "%s", detail);
    return hint == NULL ? false : err_hint(err, "%s", hint);
}

static Address address_of(const AllSwitch *all, Side side, const char *dbname)
{
    const Conn *conn = all->crew->conn[side];

    return (Address){.host = conn_value(all->crew, conn, "host"),
                     .port = conn_value(all->crew, conn, "port"),
                     .dbname = dbname};
}

static Move move_of(const AllSwitch *all, const char *dbname)
{
    return (Move){.from = address_of(all, side_other(all->to), dbname),
                  .to = address_of(all, all->to, dbname)};
}

static bool open_poolers(AllSwitch *all, Err *err)
{
    AUTO_CTX(tmp, NULL);
    const Crew *crew = all->crew;
    Move *moves = mem_array(tmp, Move, crew->n);

    for (size_t i = 0; i < crew->n; i++)
        moves[i] = move_of(all, crew->databases[i].name);
    return poolers_open(crew, all->config, moves, crew->n, &all->poolers, err);
}

static bool redirect(AllSwitch *all, Err *err)
{
    /* one command for all of them: no database's name */
    Move move = move_of(all, "");

    return poolers_redirect(all->poolers, all->config, all->event, &move, &all->open_us, err) ||
           err_add(err, "the %s is done and the %s takes the writes, but what follows failed",
                   all->event, side_name(all->to));
}

static void tell(const AllSwitch *all)
{
    const Crew *crew = all->crew;
    int64_t begun = INT64_MAX, open = 0;

    for (size_t i = 0; i < crew->n; i++) {
        if (crew->databases[i].begun_us > 0 && crew->databases[i].begun_us < begun)
            begun = crew->databases[i].begun_us;
        if (crew->databases[i].open_us > open)
            open = crew->databases[i].open_us;
    }
    if (all->begun_us > 0)
        begun = all->begun_us;
    if (all->open_us > 0)
        open = all->open_us;
    log_info("%s done: the application is on the %s with %zu %s; writes were paused for %.1f ms",
             all->event, side_name(all->to), crew->n, server_plural(crew->n),
             (double)(open - begun) / 1000.0);
}

/* all databases are open: what is left can be done again by the same command */
static bool after_all(AllSwitch *all, Err *err)
{
    if (all->poolers == NULL)
        tell(all);
    bool ok = redirect(all, err);
    if (all->open_us > 0)
        tell(all);
    if (!ok)
        return false;
    go_all(all);
    if (!all_ended(all->crew, err) || !crew_result(all->crew, err))
        return err_add(err, "the %s is done", all->event);
    log_info("\"pgtandem upgrade --all-databases\" keeps the %s in step from now on; \"pgtandem %s "
             "--all-databases\" goes back, \"pgtandem finish --all-databases\" ends the run",
             side_name(side_other(all->to)), all->to == SIDE_TARGET ? "rollback" : "switchover");
    return true;
}

/* after the point of no return nothing is undone any more */
static bool finish_switch(AllSwitch *all, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Err *first = err_new(tmp), *trouble = err_new(tmp);
    size_t back, there;

    wait_shield(true);
    bool complete_all = complete(all, first);
    wait_shield(false);
    if (complete_all)
        return after_all(all, err);
    wind_up(all, &back, &there, trouble);
    if (there < all->crew->n)
        return not_complete(all, trouble->msg == NULL ? first->msg : trouble->msg, err);
    log_warn("%s", first->msg);
    return after_all(all, err);
}

static bool refuse_outsiders(const Crew *crew, Err *err)
{
    AUTO_CTX(tmp, NULL);
    const char *names = server_outsiders(tmp, crew);

    if (names == NULL)
        return true;
    err_set(err, ERR_REFUSED, "databases of the source are not in the run: %s", names);
    return err_hint(
        err, "Take them in with \"pgtandem upgrade --all-databases\", or leave them out with "
             "--exclude-database. Nothing was changed.");
}

static bool run_switch(AllSwitch *all, Err *err)
{
    Crew *crew = all->crew;
    bool there;

    for (size_t i = 0; i < crew->n; i++) {
        if (strcmp(crew->databases[i].name, crew->leader) == 0)
            all->leader = &crew->databases[i];
        if (!crew_start(crew, &crew->databases[i], all->event, 1, LOG_WARN, false, err))
            return undo(all, err);
    }
    if (!crew_meet(crew, "state", err) || !agree(all, &there, err))
        return undo(all, err);
    go_all(all);
    if (there) {
        log_info("the application is on the %s already", side_name(all->to));
        return all_ended(crew, err) && crew_result(crew, err) &&
               (all->config->dry_run || redirect(all, err));
    }
    if (all->config->dry_run) {
        if (!all_ended(crew, err) || !crew_result(crew, err))
            return undo(all, err);
        log_info("ready: a %s of %zu %s could begin now (dry run, nothing was changed)", all->event,
                 crew->n, server_plural(crew->n));
        return true;
    }
    if (decide(all, err))
        return finish_switch(all, err);
    /*
     * Also when the leader did not say that it is open: those that are closed ask its row what has happened,
     * and go on or give up.
     */
    return undo(all, err);
}

static bool switch_all(const Config *config, Side to, Err *err)
{
    AUTO_CTX(tmp, NULL);
    AllSwitch all = {.config = config,
                     .to = to,
                     .event = to == SIDE_TARGET ? "switchover" : "rollback",
                     .epoch = 1,
                     .deadline = NO_DEADLINE};

    all.crew = open_run(tmp, config, err);
    if (all.crew == NULL || (to == SIDE_TARGET && !refuse_outsiders(all.crew, err)) ||
        !open_poolers(&all, err))
        return false;
    bool ok = run_switch(&all, err);
    crew_stop(all.crew);
    return ok;
}

bool server_switchover(const Config *config, Err *err)
{
    return switch_all(config, SIDE_TARGET, err);
}

bool server_rollback(const Config *config, Err *err)
{
    return switch_all(config, SIDE_SOURCE, err);
}

/* ---- the ends -------------------------------------------------------------------------------------------------- */

/*
 * No database is touched before all have been seen to be on the right side. The leader goes last: the others may
 * have to ask it.
 */
static bool end_run(const Config *config, const char *command, bool switched, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Crew *crew = open_run(tmp, config, err);
    Database *leader = NULL;

    if (crew == NULL)
        return false;
    for (size_t i = 0; i < crew->n; i++) {
        if (strcmp(crew->databases[i].name, crew->leader) == 0)
            leader = &crew->databases[i];
        if (!crew_start(crew, &crew->databases[i], command, 1, LOG_WARN, false, err))
            return false;
    }
    bool ok = crew_meet(crew, "state", err);
    for (size_t i = 0; ok && i < crew->n; i++) {
        const Database *db = &crew->databases[i];

        if (db->ended || db->switched == switched)
            continue;
        ok = err_set(err, ERR_STATE, "database \"%s\" takes writes on the %s", db->name,
                     switched ? "source" : "target");
        err_hint(err, switched
                          ? "\"pgtandem switchover\" moves all databases to the target, \"pgtandem "
                            "abort\" ends the run without (both with --all-databases)."
                          : "\"pgtandem rollback\" brings all databases back first, \"pgtandem "
                            "finish\" ends the run where it is (both with --all-databases).");
    }
    for (size_t i = 0; ok && i < crew->n; i++)
        if (&crew->databases[i] != leader && crew->databases[i].waits)
            crew_word(&crew->databases[i], "go");
    while (ok) {
        bool others = false;

        for (size_t i = 0; i < crew->n; i++)
            others = others || (&crew->databases[i] != leader && crew->databases[i].child != NULL);
        if (!others)
            break;
        ok = crew_wait(crew, NEWS_MS, err);
    }
    ok = ok && crew_result(crew, err) && fault("server.ending", err);
    if (ok && leader != NULL && leader->waits)
        crew_word(leader, "go");
    ok = ok && all_ended(crew, err) && crew_result(crew, err);
    crew_stop(crew);
    if (!ok)
        return err->kind == ERR_CANCELED
                   ? false
                   : err_hint(err, "The same command removes the rest, when this is settled.");
    log_info(switched
                 ? "finished: the target stands alone with %zu %s, and nothing of pgtandem is left"
                 : "aborted: the source is as it was before, and the copies of %zu %s are removed",
             crew->n, server_plural(crew->n));
    log_info(
        switched
            ? "the source is no longer fenced: make sure that nobody writes to it by mistake"
            : "roles and empty databases stay on the target; drop them if they are not wanted");
    return true;
}

bool server_finish(const Config *config, Err *err)
{
    return end_run(config, "finish", true, err);
}

bool server_abort(const Config *config, Err *err)
{
    return end_run(config, "abort", false, err);
}

/* ---- looking --------------------------------------------------------------------------------------------------- */

static void print_object(const Crew *crew)
{
    json_t *databases = json_object();
    json_t *all;

    for (size_t i = 0; i < crew->n; i++) {
        json_t *one = json_loads(crew->databases[i].out, 0, NULL);

        if (one == NULL)
            one = json_pack("{s:s?}", "error", crew->databases[i].err->msg);
        json_object_set_new(databases, crew->databases[i].name, one);
    }
    all = json_pack("{s:o}", "databases", databases);
    json_dumpf(all, stdout,
               (crew->config->watch ? JSON_COMPACT : JSON_INDENT(2)) | JSON_PRESERVE_ORDER);
    printf("\n");
    json_decref(all);
}

/* one database at a time, since all of --jobs are for reading its tables */
bool server_verify(const Config *config, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Crew *crew = open_run(tmp, config, err);
    Err *different = err_new(tmp);

    if (crew == NULL)
        return false;
    bool ok = crew_run(crew, "verify", 1, config->jobs, LOG_INFO, err);
    crew_stop(crew);
    if (!ok)
        return false;
    if (config->json)
        print_object(crew);
    for (size_t i = 0; i < crew->n; i++) {
        const Database *db = &crew->databases[i];

        if (!config->json)
            printf("%sDatabase \"%s\"\n%s", i == 0 ? "" : "\n", db->name, db->out);
        if (db->err->kind == ERR_DIFFERENT && different->kind == ERR_NONE)
            err_copy(different, db->err);
        else if (db->err->kind != ERR_NONE && db->err->kind != ERR_DIFFERENT &&
                 err->kind == ERR_NONE)
            err_copy(err, db->err);
    }
    if (err->kind == ERR_NONE && different->kind != ERR_NONE)
        err_copy(err, different);
    return err->kind == ERR_NONE;
}

static void print_status(const Crew *crew)
{
    AUTO_CTX(tmp, NULL);
    bool halfway = false;
    size_t width = strlen("database");

    for (size_t i = 0; i < crew->n; i++)
        if (strlen(crew->databases[i].name) > width)
            width = strlen(crew->databases[i].name);
    printf("%-*s  %-10s %-9s %-9s %7s %12s  %s\n", (int)width, "database", "state", "writes to",
           "worked on", "tables", "not carried", "last round");
    for (size_t i = 0; i < crew->n; i++) {
        const Database *db = &crew->databases[i];
        json_t *s = json_loads(db->out, 0, NULL);

        if (s == NULL) {
            printf("%-*s  %s\n", (int)width, db->name,
                   db->err->msg == NULL ? "unknown" : db->err->msg);
            continue;
        }
        const json_t *age = json_object_get(s, "last_round_age_s");
        const char *state = talk_text(s, "state"), *worker = talk_text(s, "worker");
        halfway = halfway || strcmp(state, "half-way") == 0;
        printf("%-*s  %-10s %-9s %-9s %7s %12s  %s\n", (int)width, db->name, state,
               talk_text(s, "writes"), worker[0] == '\0' ? "no" : "yes",
               str_count(tmp, json_integer_value(json_object_get(s, "tables"))),
               str_count(tmp, json_integer_value(json_object_get(s, "pending_changes"))),
               json_is_real(age)
                   ? mem_printf(tmp, "%s ago",
                                str_duration(tmp, (long long)(json_real_value(age) * 1000)))
                   : "-");
        json_decref(s);
    }
    if (halfway)
        printf("\na switch of all databases stopped before its end: run the same command again to "
               "complete "
               "it, or\n\"pgtandem upgrade --all-databases\" to take it back if it has not "
               "happened\n");
}

static bool show_once(const Config *config, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Config plain = *config;
    Crew *crew;

    plain.json = true;
    crew = server_open(tmp, &plain, SERVER_MEMBERS, err);
    if (crew == NULL || !crew_run(crew, "status", AT_A_TIME, 1, LOG_WARN, err))
        return false;
    if (config->json)
        print_object(crew);
    else if (crew->n == 0)
        printf("no run of all databases on these servers; \"pgtandem upgrade --all-databases\" "
               "begins one\n");
    else
        print_status(crew);
    fflush(stdout);
    return crew_result(crew, err);
}

bool server_status(const Config *config, Err *err)
{
    for (;;) {
        if (config->watch && isatty(STDOUT_FILENO))
            fputs("\033[H\033[2J", stdout);
        if (!show_once(config, err))
            return false;
        if (!config->watch)
            return true;
        if (!wait_ms(WATCH_MS, err))
            return false;
    }
}
