/*
 * The steps from nothing to a copy that follows: one table, one function that advances it.
 *
 * Every action may be run again from its beginning (it looks at what is there), so after a crash
 * the same command goes on. Only steps_advance() writes the phase.
 */
#ifndef MIGRATE_STEPS_H
#define MIGRATE_STEPS_H

#include "migrate/run.h"

typedef struct Step {
    const char *from; /* phase in which the step is due */
    const char *to;   /* phase after it */
    bool (*action)(Run *run, Err *err);
    const char *undo;  /* what `abort` has to take back because of this step */
    const char *doing; /* "copying the data" */
    const char *done;  /* "all rows are on the target" */
} Step;

/* the definitions are on the target; the copy is complete and follows */
#define PHASE_SCHEMA "schema"
#define PHASE_INDEXED "indexed"
#define PHASE_CONSISTENT "consistent"
#define PHASE_COMPLETE "complete"
#define PHASE_FOLLOWING "following"

/* phases of a run that is being removed: from here on only the same command goes on */
#define PHASE_ABORTING "aborting"
#define PHASE_FINISHING "finishing"

extern const Step steps[];
extern const size_t n_steps;

/* takes the next step; *ret_more is false when the copy follows */
CHECKED bool steps_advance(Run *run, bool *ret_more, Err *err);

/* the step whose `from` is the phase, or NULL */
const Step *step_find(const char *phase);

/* nothing of ours is on the source in that phase, nor was it ever */
bool step_is_before_capture(const char *phase);

/* writes the phase of an `abort` or `finish` before anything is removed */
CHECKED bool steps_begin_ending(Run *run, const char *phase, Err *err);

/* refuses a run of which a part may be removed already, so that changes may go unrecorded */
CHECKED bool steps_refuse_ending(const Run *run, Err *err);

/* the actions */
bool step_schema(Run *run, Err *err);
bool step_capture(Run *run, Err *err);
bool step_copy(Run *run, Err *err);
bool step_indexes(Run *run, Err *err);
bool step_first_rounds(Run *run, Err *err);
bool step_constraints(Run *run, Err *err);
bool step_reverse(Run *run, Err *err);

/* fills on `to` the materialized views that are filled on the other node */
CHECKED bool refresh_views(Run *run, Side to, Err *err);

/* installs capture on a node's tables that have none yet */
CHECKED bool install_capture(Conn *conn, const Catalog *catalog, Err *err);

#endif
