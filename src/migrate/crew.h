/*
 * The databases of a server in one run, and the processes that work on them: one for each database, started by
 * crew_start(), which do what a command does for a single database (member.h is their side).
 *
 * A process tells where it is, and at some points waits for a word; crew_wait() takes in what they say.
 */
#ifndef MIGRATE_CREW_H
#define MIGRATE_CREW_H

#include "base/child.h"
#include "base/log.h"
#include "base/str.h"
#include "migrate/config.h"
#include "migrate/run.h"

typedef struct Database {
    const char *name;
    ConnSpec node[2];  /* by Side */
    bool on_source;    /* it is there, whether or not we may connect */
    bool there[2];     /* it exists, and we may connect */
    bool member[2];    /* it knows that it is in a run of all databases */
    bool open[2];      /* applications may write there */
    const char *other; /* what else it is in, for messages; NULL: nothing */
    int64_t bytes;

    Child *child;    /* NULL: none was started, or it has ended */
    Str *input;      /* an unfinished line of it */
    bool started;    /* since crew_reset() */
    bool ended;      /* and has told or shown how */
    bool died;       /* without a word */
    const char *at;  /* where it is, "" in the beginning */
    bool waits;      /* for a word */
    Err *err;        /* why it failed; kind ERR_NONE when it did not */
    const char *out; /* what it wrote to standard output */
    int64_t jobs;

    /* what it told */
    bool switched;
    int64_t epoch;
    int64_t begun_us;
    int64_t open_us;
} Database;

typedef struct Crew {
    const Config *config;
    Conn *conn[2]; /* to the databases that the user named */
    Database *databases;
    size_t n;
    const char *leader; /* the name of the one whose gate decides a switch */
    int64_t deadline;   /* of crew_meet() */
    Conn *reservation;  /* keeps others from beginning a run of this source; or NULL */
} Crew;

/* forgets the processes of before; there must be none */
void crew_reset(Crew *crew);

/* level: which messages of it people should see; stand_in: see Member */
CHECKED bool crew_start(Crew *crew, Database *db, const char *command, int64_t jobs, LogLevel level,
                        bool stand_in, Err *err);

/* what one that waits should do: "go", or give up ("undo") */
void crew_word(Database *db, const char *word);
/* "go" in a switch: its number, and what is left of the time budget */
void crew_go(Database *db, int64_t epoch, int64_t budget_ms);

/* waits for news, at most ms */
CHECKED bool crew_wait(Crew *crew, int64_t ms, Err *err);

/* runs the command for all of them, at most `limit` at a time; how it went is in their fields */
CHECKED bool crew_run(Crew *crew, const char *command, size_t limit, int64_t jobs, LogLevel level,
                      Err *err);

/* all that were started wait at that place, or have ended well; false with the error of one that failed */
CHECKED bool crew_meet(Crew *crew, const char *where, Err *err);

/* the error of the first that failed; true when none did */
CHECKED bool crew_result(const Crew *crew, Err *err);

/* ends all processes, not interrupted by signals */
void crew_stop(Crew *crew);

#endif
