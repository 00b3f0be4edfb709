/*
 * One database in a run of all databases of a server, as the process that works on it sees it.
 *
 * The command that the user runs (server.h) starts such a process for each database: it does what the
 * command of that name does for a single database, but at some points it says where it is and waits for the
 * parent's word, so that all databases go on together.
 *
 * What makes a switch of all of them happen or not is one row: the gate of one database, the leader, on the
 * node that opens. The leader opens when all databases are closed; until then nothing has happened, from then
 * on it has everywhere. Whoever finds a database with both nodes closed asks that row. If it says "not yet",
 * the number of that switch is made void there, in the same statement: then it never happens.
 */
#ifndef MIGRATE_MEMBER_H
#define MIGRATE_MEMBER_H

#include <jansson.h>

#include "migrate/config.h"
#include "migrate/run.h"

typedef struct Member {
    const char *database;
    const char *leader; /* the name of the leader */
    ConnSpec node[2];   /* the leader's, by Side */
    bool stand_in;      /* check: the target is another database, this one is not made yet */
    Str *input;         /* what was read of the parent's words */
} Member;

/* whether this process works on a part of a run of all databases, and on its leader */
bool member_is(const Config *config);
bool member_is_leader(const Config *config);

/*
 * Says where this process is and waits for the parent's word. ERR_ABORTED: the word is to give up.
 * ERR_CANCELED: the parent is gone.
 */
CHECKED bool member_meet(const Config *config, const char *where, int64_t deadline, Err *err);
/* the same where the pause begins; the number of the switch and what is left of the time budget come with the word */
CHECKED bool member_meet_steady(const Config *config, int64_t *ret_epoch, int64_t *ret_budget_ms,
                                Err *err);
/* the same with the state of the run, at the begin of a command */
CHECKED bool member_meet_state(const Run *run, Err *err);
/* the same in a switch, with when the pause began and ended */
CHECKED bool member_meet_open(const Config *config, int64_t begun_us, int64_t open_us, Err *err);
/* says where it is and goes on */
void member_tell(const Config *config, const char *where);

/*
 * Whether the switch of all databases to the side `to` with that number has happened. If not, it never
 * will: its number is void from now on.
 */
CHECKED bool member_decided(const Config *config, Side to, int64_t epoch, bool *ret_decided,
                            Err *err);

/* as text for a child of that name; json owns nothing of it */
json_t *member_config_json(const Config *config, const Member *member, const char *command);

#endif
