/* The table of steps and its engine: see steps.h. */
#include "migrate/steps.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "base/str.h"
#include "migrate/commands.h"
#include "migrate/switch.h"

const Step steps[] = {
    {"", PHASE_SCHEMA, step_schema, "drop what was created on the target",
     "creating the tables on the target", "the target has the tables"},
    {PHASE_SCHEMA, "capturing", step_capture,
     "remove triggers and the schema pgtandem from the source", "installing capture on the source",
     "every change on the source is recorded"},
    {"capturing", "copied", step_copy, NULL, "copying the data", "all rows are on the target"},
    {"copied", PHASE_INDEXED, step_indexes, NULL, "building the remaining indexes",
     "all indexes are built"},
    {PHASE_INDEXED, PHASE_CONSISTENT, step_first_rounds, NULL, "applying what changed meanwhile",
     "the target is a consistent copy"},
    {PHASE_CONSISTENT, PHASE_COMPLETE, step_constraints, NULL,
     "creating foreign keys, triggers and the rest", "the target has everything the source has"},
    {PHASE_COMPLETE, PHASE_FOLLOWING, step_reverse, NULL,
     "preparing the way back and the planner's statistics", "the target is ready to take over"},
};
const size_t n_steps = sizeof steps / sizeof *steps;

const Step *step_find(const char *phase)
{
    for (size_t i = 0; i < n_steps; i++)
        if (strcmp(steps[i].from, phase) == 0)
            return &steps[i];
    return NULL;
}

bool step_is_before_capture(const char *phase)
{
    return phase[0] == '\0' || strcmp(phase, PHASE_SCHEMA) == 0;
}

static bool set_phase(Run *run, const char *phase, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Sql *q = sql_new(tmp);

    sql_add(q, "UPDATE pgtandem.run SET phase = ");
    sql_text(q, phase);
    sql_add(q, ", phase_at = now()");
    if (!conn_exec(run->conn[SIDE_TARGET], q, err))
        return err_add(err, "while recording the phase");
    run->phase = phase;
    return true;
}

bool steps_begin_ending(Run *run, const char *phase, Err *err)
{
    return set_phase(run, phase, err) && fault("ending.recorded", err);
}

bool steps_refuse_ending(const Run *run, Err *err)
{
    bool aborting = strcmp(run->phase, PHASE_ABORTING) == 0;

    if (!aborting && strcmp(run->phase, PHASE_FINISHING) != 0)
        return true;
    err_set(err, ERR_STATE, "this run is being ended, and a part of it may be removed already");
    return err_hint(err, "Run \"pgtandem %s\" again to remove the rest.",
                    aborting ? "abort" : "finish");
}

static bool persist(Run *run, const Step *step, int64_t ms, Err *err)
{
    if (!set_phase(run, step->to, err))
        return false;
    run_journal(run->conn[SIDE_TARGET], step->to, step->done, (double)ms);
    return true;
}

bool steps_advance(Run *run, bool *ret_more, Err *err)
{
    AUTO_CTX(tmp, NULL);
    const Step *step = step_find(run->phase);
    int64_t begun = clock_ms();

    *ret_more = false;
    if (step == NULL) {
        if (strcmp(run->phase, PHASE_FOLLOWING) == 0)
            return true;
        return err_set(err, ERR_BUG, "unknown phase \"%s\"", run->phase);
    }
    log_info("%s", step->doing);
    if (!fault(mem_printf(tmp, "step.%s.before", step->to), err) || !step->action(run, err) ||
        !fault(mem_printf(tmp, "step.%s.after", step->to), err))
        return false;
    int64_t ms = clock_ms() - begun;
    if (!persist(run, step, ms, err) || !fault(mem_printf(tmp, "step.%s.persisted", step->to), err))
        return false;
    log_info("%s (%s)", step->done, str_duration(tmp, ms));
    *ret_more = step_find(run->phase) != NULL;
    return true;
}

void migrate_print_states(bool mermaid)
{
    if (mermaid)
        printf("stateDiagram-v2\n");
    for (size_t i = 0; i < n_steps; i++) {
        const char *from = steps[i].from[0] == '\0' ? "nothing" : steps[i].from;

        if (mermaid)
            printf("    %s --> %s: %s\n", from, steps[i].to, steps[i].doing);
        else
            printf("%-11s -> %-11s %s\n", from, steps[i].to, steps[i].doing);
    }
    for (size_t i = 0; !mermaid && switch_step(i) != NULL; i++)
        printf("%-11s    %-11s %s\n", "switch", switch_step(i)->name, switch_step(i)->doing);
    if (!mermaid)
        return;
    printf("    following --> switched: switchover\n"
           "    switched --> following: rollback\n"
           "    following --> [*]: abort\n"
           "    switched --> [*]: finish\n");
}
