/* Fault points: see fault.h. */
#include "base/fault.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/str.h"
#include "base/wait.h"

typedef struct FaultSpec {
    char *name;
    char *action;
    long nth;
    long passes;
} FaultSpec;

static FaultSpec *specs;
static size_t n_specs;
static bool loaded;
static char *our_name;

static void load(void)
{
    const char *env = getenv("PGTANDEM_FAULT");

    loaded = true;
    if (env == NULL || env[0] == '\0')
        return;
    char *copy = mem_strdup(NULL, env), *save = NULL;
    for (char *item = strtok_r(copy, ",", &save); item != NULL; item = strtok_r(NULL, ",", &save)) {
        char *save2 = NULL;
        FaultSpec spec = {.name = strtok_r(item, ":", &save2)};

        spec.action = strtok_r(NULL, ":", &save2);
        char *nth = strtok_r(NULL, ":", &save2);

        if (spec.name == NULL)
            continue;
        if (spec.action == NULL)
            spec.action = mem_strdup(copy, "kill");
        spec.nth = nth == NULL ? 1 : strtol(nth, NULL, 10);
        mem_push(NULL, specs, n_specs, spec);
    }
}

void fault_set_who(const char *who)
{
    talloc_free(our_name);
    our_name = mem_strdup(NULL, who);
}

/* "name", or "name@who" where that is who we are */
static bool is_meant(const char *spec, const char *name)
{
    size_t n = strlen(name);

    return strncmp(spec, name, n) == 0 &&
           (spec[n] == '\0' ||
            (spec[n] == '@' && our_name != NULL && strcmp(spec + n + 1, our_name) == 0));
}

bool fault(const char *name, Err *err)
{
    if (!loaded)
        load();
    for (size_t i = 0; i < n_specs; i++) {
        FaultSpec *spec = &specs[i];

        if (!is_meant(spec->name, name) || ++spec->passes != spec->nth)
            continue;
        log_warn("fault point %s: %s", name, spec->action);
        if (strcmp(spec->action, "kill") == 0)
            kill(getpid(), SIGKILL);
        if (strcmp(spec->action, "exit") == 0)
            _exit(99);
        if (str_starts(spec->action, "sleep="))
            return wait_ms(strtol(spec->action + strlen("sleep="), NULL, 10), err);
        return err_set(err, ERR_IO, "fault point %s", name);
    }
    return true;
}
