/*
 * What the configuration file asks for: databases, syncs, tables. Plain data, read by conf/ and
 * carried out by daemon/. Everything belongs to the Service that holds it.
 */
#ifndef MODEL_SERVICE_H
#define MODEL_SERVICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "model/selection.h"

typedef enum Role { ROLE_SOURCE, ROLE_TARGET, ROLE_FULLCOPY } Role;
/* the numbers are those of the choices in conf/settings.c */
typedef enum OneTimeCopy { COPY_NO, COPY_IF_EMPTY, COPY_ALWAYS } OneTimeCopy;
typedef enum TargetTriggers { TRIGGERS_SLEEP, TRIGGERS_FIRE } TargetTriggers;
typedef enum ConflictRule {
    CONFLICT_LATEST, /* the later change wins */
    CONFLICT_LIST,   /* the database that comes first in a list; also what source and target are */
    CONFLICT_SKIP,   /* nobody: either side keeps its row */
    CONFLICT_ABORT,  /* the edge stops */
    CONFLICT_FUNCTION, /* an SQL function of the user decides */
} ConflictRule;
/* what happens to rows that a round cannot apply because of other rows */
typedef enum OnViolation { VIOLATION_STOP, VIOLATION_PARK } OnViolation;
typedef enum SyncStatus { SYNC_ACTIVE, SYNC_INACTIVE } SyncStatus;

typedef struct Db {
    const char *name;
    const char *conninfo; /* may hold a password: never print it */
    int64_t queue_limit;  /* bytes; 0: none */
    int64_t queue_patience_ms;
    int line; /* where it stands in the file, for messages */
} Db;

typedef struct Member {
    const Db *db;
    Role role;
} Member;

/* what is special about one table in one sync */
typedef struct TableRule {
    const char *schema;
    const char *name;
    const Db *db;              /* for this target only; NULL: for all */
    const char *target_schema; /* NULL: as on the source */
    const char *target_name;
    const char *columns; /* select list, or NULL */
    const char *where;   /* condition, or NULL */
    int line;
} TableRule;

typedef struct Sync {
    const char *name;
    Selection tables; /* all: tables = all */
    Member *members;
    size_t n_members;
    TableRule *rules; /* those of one database before those for all */
    size_t n_rules;
    int onetimecopy; /* OneTimeCopy */
    bool autokick;
    int64_t checktime_ms; /* 0: none */
    bool sequences;
    bool cascade;
    int target_triggers; /* TargetTriggers */
    int status;          /* SyncStatus */
    ConflictRule conflict;
    const char *conflict_text;     /* as it is written */
    const char *conflict_function; /* its name in SQL */
    const Db **preferred;          /* of CONFLICT_LIST */
    size_t n_preferred;
    int on_violation;         /* OnViolation */
    int64_t conflict_keep_ms; /* how long records of conflicts are kept */
    const char *before_round; /* SQL, run on the target in the round's transaction; or NULL */
    const char *after_round;
    const char *on_error; /* programs, run by the shell; or NULL */
    const char *on_state;
    int line;
} Sync;

/* a log_file that is none */
#define LOG_FILE_SYSLOG "syslog"

typedef struct Service {
    const char *path; /* of the file, absolute */
    const char *name; /* whose the edges are, in the databases; NULL: see daemon/owner.h */
    const char *pid_file;
    const char *log_file; /* NULL: standard error; "syslog" */
    int log_format;       /* LogFormat of base/log.h */
    Db *dbs;
    size_t n_dbs;
    Sync *syncs;
    size_t n_syncs;
} Service;

const Db *service_db(const Service *service, const char *name);
const Sync *service_sync(const Service *service, const char *name);

/* how many sources it has; the first is the hub through which the others exchange their changes */
size_t sync_sources(const Sync *sync);

/* whether the sync takes this table (or sequence): included and not excluded */
bool sync_takes(const Sync *sync, const char *schema, const char *name);

static inline bool sync_is_active(const Sync *sync)
{
    return sync->status == SYNC_ACTIVE;
}

/* the rule for a table on that target, or NULL */
const TableRule *sync_rule(const Sync *sync, const char *schema, const char *name,
                           const Db *target);

/* "source", "target", "fullcopy" */
const char *role_name(Role role);

#endif
