/*
 * The service on one machine: one worker process for each edge of each active sync, started again with
 * back-off when it ends. The supervisor connects to no database, so nothing of them can stop it.
 *
 * Who runs is told by a lock on the pid file; it ends with the process, however that ends.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/child.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/str.h"
#include "base/wait.h"
#include "conf/conf.h"
#include "daemon/commands.h"
#include "daemon/owner.h"
#include "daemon/plan.h"
#include "daemon/service_log.h"

enum {
    LOOK_MS = 250, /* how often children and signals are looked at */
    BACKOFF_BASE_MS = 500,
    BACKOFF_CAP_MS = 30000,
    STEADY_MS = 60000,   /* a worker that lived so long begins its back-off anew */
    STOP_MS = 8000,      /* for workers to end by themselves */
    STOP_WAIT_MS = 15000 /* "stop" waits so long for the supervisor */
};

typedef struct WorkerSlot {
    EdgeSpec spec;
    const char *print; /* of all that its work depends on in the file */
    Child *child;      /* NULL: not running */
    bool wanted;
    int64_t started_ms;
    int64_t next_ms; /* not to be started earlier */
    int64_t pause;
} WorkerSlot;

typedef struct Supervisor {
    const char *path;
    const char *log_file; /* where the file names none */
    const Service *service;
    WorkerSlot **slots;
    size_t n_slots;
    WorkerSlot keeper; /* looks after the databases; has no edge */
} Supervisor;

/* The pid file */

/* the one who had it may have removed it between our open() and our lock */
static bool is_still_there(int fd, const char *path)
{
    struct stat ours, now;

    return fstat(fd, &ours) == 0 && stat(path, &now) == 0 && ours.st_ino == now.st_ino &&
           ours.st_dev == now.st_dev;
}

/* -1 with err; *ret_locked: nobody else has it; otherwise *ret_pid is who */
static int open_pid_file(const char *path, bool create, bool *ret_locked, pid_t *ret_pid, Err *err)
{
    char text[32] = "";

    for (;;) {
        int fd = open(path, O_RDWR | O_CLOEXEC | (create ? O_CREAT : 0), 0644);

        *ret_locked = false;
        if (fd < 0) {
            err_set(err, ERR_IO, "could not open %s: %s", path, strerror(errno));
            return -1;
        }
        *ret_locked = flock(fd, LOCK_EX | LOCK_NB) == 0;
        if (*ret_locked && create && !is_still_there(fd, path)) {
            close(fd);
            continue;
        }
        if (!*ret_locked) {
            ssize_t len = pread(fd, text, sizeof text - 1, 0);

            *ret_pid = len > 0 ? (pid_t)strtol(text, NULL, 10) : 0;
        }
        return fd;
    }
}

static bool write_pid(int fd, const char *path, Err *err)
{
    AUTO_CTX(tmp, NULL);
    char *text = mem_printf(tmp, "%d\n", (int)getpid());

    if (ftruncate(fd, 0) != 0 || pwrite(fd, text, strlen(text), 0) != (ssize_t)strlen(text))
        return err_set(err, ERR_IO, "could not write %s: %s", path, strerror(errno));
    return true;
}

/* the pid of the service of this file, 0 when none runs here */
static bool find_running(const Service *service, pid_t *ret_pid, Err *err)
{
    bool locked;

    *ret_pid = 0;
    if (access(service->pid_file, F_OK) != 0)
        return true;
    int fd = open_pid_file(service->pid_file, false, &locked, ret_pid, err);
    if (fd < 0)
        return false;
    close(fd);
    return true;
}

/* Workers */

static void add_text(Str *s, const char *text)
{
    str_add(s, text == NULL ? "" : text);
    str_char(s, '\x1f');
}

/* everything that a worker's work depends on: when it changes, the worker is started anew */
static char *print_of(const void *ctx, const Service *service, const EdgeSpec *edge)
{
    const Sync *y = edge->sync;
    Str *s = str_new(ctx);

    add_text(s, edge->from->conninfo);
    add_text(s, edge->to->conninfo);
    add_text(s, service->log_file);
    str_fmt(s, "%lld %d %d %d %d %d %d %lld %d;", (long long)edge->from->queue_limit, edge->full,
            y->tables.all, y->onetimecopy, y->autokick, y->sequences, y->cascade,
            (long long)y->checktime_ms, y->target_triggers);
    add_text(s, y->conflict_text);
    str_fmt(s, "%lld %d %d;", (long long)y->conflict_keep_ms, edge->back != NULL, y->on_violation);
    add_text(s, y->before_round);
    add_text(s, y->after_round);
    add_text(s, y->on_error);
    add_text(s, y->on_state);
    for (size_t i = 0; i < y->tables.n_include + y->tables.n_exclude; i++) {
        const Pattern *p = i < y->tables.n_include ? &y->tables.include[i]
                                                   : &y->tables.exclude[i - y->tables.n_include];

        str_add(s, i < y->tables.n_include ? "+" : "-");
        add_text(s, p->schema);
        add_text(s, p->name);
    }
    for (size_t i = 0; i < y->n_rules; i++) {
        const TableRule *r = &y->rules[i];

        add_text(s, r->schema);
        add_text(s, r->name);
        add_text(s, r->db == NULL ? NULL : r->db->name);
        add_text(s, r->target_schema);
        add_text(s, r->target_name);
        add_text(s, r->columns);
        add_text(s, r->where);
    }
    return s->text;
}

static bool start_worker(Supervisor *s, WorkerSlot *slot, Err *err)
{
    AUTO_CTX(tmp, NULL);
    bool keeper = slot == &s->keeper;
    const char *const argv[] = {"/proc/self/exe",
                                keeper ? "keeper" : "edge",
                                "--config",
                                s->path,
                                log_level() == LOG_DEBUG ? "--verbose" : "--verbose=no",
                                keeper ? NULL : slot->spec.sync->name,
                                keeper ? NULL : slot->spec.from->name,
                                keeper ? NULL : slot->spec.to->name,
                                NULL};

    const char *const env[] = {
        s->log_file == NULL ? NULL : mem_printf(tmp, LOG_FILE_VARIABLE "=%s", s->log_file), NULL};

    slot->child = child_start(s, argv, env, err);
    slot->started_ms = clock_ms();
    return slot->child != NULL;
}

static WorkerSlot *find_slot(Supervisor *s, const EdgeSpec *edge, const char *print)
{
    for (size_t i = 0; i < s->n_slots; i++)
        if (strcmp(s->slots[i]->spec.name, edge->name) == 0 &&
            strcmp(s->slots[i]->print, print) == 0)
            return s->slots[i];
    return NULL;
}

/* marks what the file wants; slots that nobody wants any more are ended by end_unwanted() */
static void want(Supervisor *s, const Service *service)
{
    for (size_t i = 0; i < s->n_slots; i++)
        s->slots[i]->wanted = false;
    for (size_t y = 0; y < service->n_syncs; y++) {
        size_t n;
        EdgeSpec *edges = edges_of_sync(service, &service->syncs[y], &n);

        for (size_t e = 0; e < n && sync_is_active(&service->syncs[y]); e++) {
            char *print = print_of(service, service, &edges[e]);
            WorkerSlot *slot = find_slot(s, &edges[e], print);

            if (slot == NULL) {
                slot = mem_new(s, WorkerSlot);
                mem_push(s, s->slots, s->n_slots, slot);
            }
            slot->spec = edges[e];
            slot->print = print;
            slot->wanted = true;
        }
    }
    s->service = service;
}

/* one that has read the file before must not take away what is new in it */
static void end_keeper(Supervisor *s)
{
    if (s->keeper.child != NULL) {
        child_signal(s->keeper.child, SIGTERM);
        child_end(s->keeper.child, STOP_MS);
    }
    talloc_free(s->keeper.child);
    s->keeper.child = NULL;
    s->keeper.next_ms = 0;
}

static void end_unwanted(Supervisor *s)
{
    size_t kept = 0;

    for (size_t i = 0; i < s->n_slots; i++)
        if (!s->slots[i]->wanted && s->slots[i]->child != NULL)
            child_signal(s->slots[i]->child, SIGTERM);
    end_keeper(s);
    for (size_t i = 0; i < s->n_slots; i++) {
        WorkerSlot *slot = s->slots[i];

        if (slot->wanted) {
            s->slots[kept++] = slot;
            continue;
        }
        if (slot->child != NULL)
            child_end(slot->child, STOP_MS);
        talloc_free(slot->child);
        talloc_free(slot);
    }
    s->n_slots = kept;
}

static void look_at(Supervisor *s, WorkerSlot *slot)
{
    AUTO_CTX(tmp, NULL);
    Err *err = err_new(tmp);
    bool ended = false;
    int status = 0;

    if (slot->child != NULL) {
        if (child_reap(slot->child, &ended, &status) && !ended)
            return;
        talloc_free(slot->child);
        slot->child = NULL;
        if (clock_ms() - slot->started_ms > STEADY_MS)
            slot->pause = 0;
        slot->pause = backoff_next(slot->pause, BACKOFF_BASE_MS, BACKOFF_CAP_MS);
        slot->next_ms = clock_ms() + slot->pause;
        log_warn("worker of %s ended (%d); starting it again in %lld ms", slot->spec.name, status,
                 (long long)slot->pause);
    }
    if (clock_ms() >= slot->next_ms && !start_worker(s, slot, err)) {
        log_err(LOG_ERROR, err);
        slot->next_ms = clock_ms() + BACKOFF_CAP_MS;
    }
}

/* Running */

/* tells systemd, where it wants to know; see sd_notify(3) */
static void notify_systemd(const char *state)
{
    const char *path = getenv("NOTIFY_SOCKET");
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    size_t len = path == NULL ? 0 : strlen(path);

    if (len == 0 || len >= sizeof addr.sun_path)
        return;
    memcpy(addr.sun_path, path, len);
    if (addr.sun_path[0] == '@')
        addr.sun_path[0] = '\0';
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return;
    (void)!sendto(fd, state, strlen(state), MSG_NOSIGNAL, (struct sockaddr *)&addr,
                  (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len));
    close(fd);
}

static void reload(Supervisor *s)
{
    AUTO_CTX(tmp, NULL);
    Err *err = err_new(tmp);
    Service *service;

    notify_systemd("RELOADING=1");
    if (!conf_load(s, s->path, &service, err)) {
        log_err(LOG_ERROR, err);
        log_warn("nothing was changed: the service goes on with what it has read before");
    } else {
        const Service *before = s->service;

        if (service->log_file == NULL)
            service->log_file = s->log_file;
        want(s, service);
        end_unwanted(s);
        talloc_free((void *)(uintptr_t)before);
        open_log(service);
        log_info("configuration read again: %zu edges", s->n_slots);
    }
    for (size_t i = 0; i < s->n_slots; i++)
        if (s->slots[i]->child != NULL)
            child_signal(s->slots[i]->child, SIGHUP);
    notify_systemd("READY=1");
}

static bool supervise(Supervisor *s, Err *err)
{
    wait_hup_reloads();
    notify_systemd("READY=1");
    for (;;) {
        if (wait_reload_wanted())
            reload(s);
        for (size_t i = 0; i < s->n_slots; i++)
            look_at(s, s->slots[i]);
        look_at(s, &s->keeper);
        if (!wait_ms(LOOK_MS, err))
            break;
    }
    notify_systemd("STOPPING=1");
    wait_shield(true);
    for (size_t i = 0; i < s->n_slots; i++)
        s->slots[i]->wanted = false;
    end_unwanted(s);
    wait_shield(false);
    if (err->kind != ERR_CANCELED)
        return false;
    err_clear(err);
    log_info("stopped");
    return true;
}

/* goes into the background; the first process ends when the second has begun its work */
static bool go_background(bool *ret_is_first, Err *err)
{
    int ready[2];
    char byte;

    if (pipe2(ready, O_CLOEXEC) != 0)
        return err_set(err, ERR_IO, "could not make a pipe: %s", strerror(errno));
    pid_t pid = fork();
    if (pid < 0)
        return err_set(err, ERR_IO, "could not fork: %s", strerror(errno));
    *ret_is_first = pid > 0;
    if (pid > 0) {
        close(ready[1]);
        (void)!read(ready[0], &byte, 1);
        close(ready[0]);
        return true;
    }
    close(ready[0]);
    setsid();
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (null >= 0) {
        dup2(null, STDIN_FILENO);
        dup2(null, STDOUT_FILENO);
        close(null);
    }
    close(ready[1]);
    return true;
}

static bool run_service(const Service *service, const char *log_file, int pid_fd, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Supervisor *s = mem_new(tmp, Supervisor);
    Service *own;

    if (!write_pid(pid_fd, service->pid_file, err) || !conf_load(s, service->path, &own, err))
        return false;
    if (own->log_file == NULL)
        own->log_file = log_file; /* in the background there is no standard error */
    s->log_file = log_file;
    open_log(own);
    s->path = service->path;
    s->keeper.spec.name = "the databases";
    if (!owner_make(own, err)) {
        log_err(LOG_WARN, err);
        log_warn("what leaves the file is not taken away by itself: give the service a \"name\"");
        err_clear(err);
    }
    want(s, own);
    log_info("pgtandem " PGTANDEM_VERSION " begins with %s: %zu edges", service->path, s->n_slots);
    return supervise(s, err);
}

bool service_start(const Service *service, bool background, Err *err)
{
    AUTO_CTX(tmp, NULL);
    pid_t pid = 0;
    bool locked, is_first = false;
    int fd = open_pid_file(service->pid_file, true, &locked, &pid, err);

    if (fd < 0)
        return false;
    if (!locked) {
        close(fd);
        err_set(err, ERR_STATE, "the service of %s runs already (process %d)", service->path,
                (int)pid);
        return err_hint(err,
                        "\"pgtandem reload\" has it read the file again, \"pgtandem stop\" ends "
                        "it.");
    }
    const char *log_file = service->log_file;
    if (log_file == NULL && background)
        log_file = mem_printf(tmp, "%s.log", service->path);
    bool is_file = log_file != NULL && strcmp(log_file, LOG_FILE_SYSLOG) != 0;
    int log_fd = is_file ? open(log_file, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0640) : -1;
    if (is_file && log_fd < 0) {
        close(fd);
        return err_set(err, ERR_IO, "could not open the log file %s: %s", log_file,
                       strerror(errno));
    }
    if (log_fd >= 0)
        close(log_fd);
    if (background && !go_background(&is_first, err)) {
        close(fd);
        return false;
    }
    if (is_first) {
        /* the lock belongs to the second process as well, and stays with it */
        printf("started in the background; the log is %s\n", log_file);
        return true;
    }
    bool ok = run_service(service, log_file, fd, err);
    unlink(service->pid_file);
    close(fd);
    return ok;
}

bool service_stop(const Service *service, Err *err)
{
    int64_t deadline = deadline_in(STOP_WAIT_MS);
    pid_t pid, now;

    if (!find_running(service, &pid, err))
        return false;
    if (pid == 0) {
        err_set(err, ERR_STATE, "the service of %s does not run on this machine", service->path);
        return err_hint(err, "It may run elsewhere: \"pgtandem status\" shows the workers.");
    }
    if (kill(pid, SIGTERM) != 0 && errno != ESRCH)
        return err_set(err, ERR_IO, "could not end process %d: %s", (int)pid, strerror(errno));
    for (now = pid; now == pid;) {
        if (deadline_left(deadline) == 0)
            return err_set(err, ERR_TIMEOUT, "process %d did not end within %d s", (int)pid,
                           STOP_WAIT_MS / 1000);
        if (!wait_ms(50, err) || !find_running(service, &now, err))
            return false;
    }
    printf("stopped\n");
    return true;
}

bool service_reload(const Service *service, Err *err)
{
    pid_t pid;

    if (!find_running(service, &pid, err))
        return false;
    if (pid == 0) {
        err_set(err, ERR_STATE, "the service of %s does not run on this machine", service->path);
        return err_hint(err, "\"pgtandem start\" reads the file anyway.");
    }
    if (kill(pid, SIGHUP) != 0)
        return err_set(err, ERR_IO, "could not signal process %d: %s", (int)pid, strerror(errno));
    return true;
}
