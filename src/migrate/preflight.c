/* The command `check` and the checks before an upgrade: see preflight.h. */
#include "migrate/preflight.h"

#include <stdio.h>

#include "base/log.h"
#include "base/str.h"
#include "check/check.h"
#include "migrate/commands.h"
#include "migrate/member.h"
#include "schema/catalog.h"
#include "schema/dump.h"

static bool find(const void *ctx, Run *run, Finding **ret_findings, size_t *ret_n,
                 Estimate *ret_estimate, Err *err)
{
    PgDump dump, dump_of_target;
    CheckInput input = {.source = run->conn[SIDE_SOURCE],
                        .target = run->conn[SIDE_TARGET],
                        .allow_downgrade = run->config->allow_downgrade,
                        .allow_nonempty = run->config->allow_nonempty,
                        .target_to_be_made =
                            member_is(run->config) && run->config->member->stand_in,
                        .selection = run->selection,
                        .filters = run->filters,
                        .accepted = run->config->accepted,
                        .n_accepted = run->config->n_accepted,
                        .jobs = run->config->jobs};
    Catalog *source, *target;

    if (!dump_find(ctx, run->config->pg_bindir, conn_caps(input.source)->version,
                   conn_caps(input.target)->version, &dump, err) ||
        !dump_find(ctx, run->config->pg_bindir, conn_caps(input.target)->version,
                   conn_caps(input.target)->version, &dump_of_target, err) ||
        !catalog_load(ctx, input.source, run->selection, &source, err) ||
        !catalog_load(ctx, input.target, run_selection(run, SIDE_TARGET), &target, err))
        return false;
    *ret_estimate = check_estimate(source);
    if (!scope_read(ctx, input.source, run->selection, &input.source_scope, err) ||
        !scope_read(ctx, input.target, run_selection(run, SIDE_TARGET), &input.target_scope, err))
        return false;
    input.source_catalog = source;
    input.target_catalog = target;
    input.pg_dump = dump.path;
    input.pg_dump_version = dump.version;
    input.pg_dump_target_version = dump_of_target.version;
    return check_run(ctx, &input, ret_findings, ret_n, err);
}

static bool refuse(size_t errors, Err *err)
{
    err_set(err, ERR_REFUSED, "%zu finding%s in the way of an upgrade", errors,
            errors == 1 ? " stands" : "s stand");
    return err_hint(err,
                    "Nothing was changed. \"pgtandem check\" shows all findings and what to do.");
}

static void log_finding(const Finding *finding)
{
    static const LogLevel levels[] = {LOG_DEBUG, LOG_WARN, LOG_ERROR};
    AUTO_CTX(tmp, NULL);
    Str *s = str_new(tmp);

    for (size_t i = 0; i < finding->n_objects; i++)
        str_fmt(s, "%s%s", i == 0 ? ": " : ", ", finding->objects[i]);
    if (finding->n_more > 0)
        str_fmt(s, " and %zu more", finding->n_more);
    log_msg(levels[finding->severity], "[%s] %s%s", finding->id, finding->title, s->text);
    if (finding->hint != NULL && finding->severity == SEVERITY_ERROR)
        log_msg(LOG_ERROR, "  hint: %s", finding->hint);
}

bool preflight(Run *run, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Finding *findings;
    Estimate estimate;
    size_t n;

    if (!find(tmp, run, &findings, &n, &estimate, err))
        return false;
    for (size_t i = 0; i < n; i++)
        log_finding(&findings[i]);
    size_t errors = check_count_errors(findings, n);
    return errors == 0 || refuse(errors, err);
}

bool migrate_check(const Config *config, Err *err)
{
    AUTO_CTX(tmp, NULL);
    Run *run = run_open(tmp, config, RUN_LOCK_NONE, "check", err);
    Finding *findings;
    Estimate estimate;
    size_t n;

    if (run == NULL)
        return false;
    if (run->node[SIDE_TARGET].present) {
        err_set(err, ERR_STATE, "these databases are in a run already");
        return err_hint(err, "\"pgtandem status\" shows how far it is.");
    }
    if (!find(tmp, run, &findings, &n, &estimate, err))
        return false;
    check_print(findings, n, &estimate, config->json);
    size_t errors = check_count_errors(findings, n);
    return errors == 0 || refuse(errors, err);
}
