/* Programs of the user: see hook.h. */
#include "daemon/hook.h"

#include "base/child.h"
#include "base/clock.h"
#include "base/log.h"

enum { HOOK_MS = 30000, OUTPUT_MAX = 64 * 1024 };

void run_hook(const EdgeSpec *edge, const char *command, const char *event, const char *state,
              const char *error)
{
    AUTO_CTX(tmp, NULL);
    Err *err = err_new(tmp);
    const char *const argv[] = {"/bin/sh", "-c", command, NULL};
    const char *const env[] = {mem_printf(tmp, "PGTANDEM_EVENT=%s", event),
                               mem_printf(tmp, "PGTANDEM_SYNC=%s", edge->sync->name),
                               mem_printf(tmp, "PGTANDEM_FROM=%s", edge->from->name),
                               mem_printf(tmp, "PGTANDEM_TO=%s", edge->to->name),
                               mem_printf(tmp, "PGTANDEM_STATE=%s", state),
                               mem_printf(tmp, "PGTANDEM_ERROR=%s", error == NULL ? "" : error),
                               NULL};
    char *out, *err_out;
    size_t len;
    int exit_code;

    if (command == NULL)
        return;
    if (!child_run_capture(tmp, argv, env, OUTPUT_MAX, deadline_in(HOOK_MS), &out, &len, &err_out,
                           &exit_code, err))
        log_warn("the command for the event %s failed: %s", event, err->msg);
    else if (exit_code != 0)
        log_warn("the command for the event %s ended with %d: %s", event, exit_code, err_out);
}
