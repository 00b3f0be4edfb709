/* Server capabilities: see caps.h. */
#include "pg/caps.h"

#include <stddef.h>
#include <stdio.h>

static const struct {
    int since;
    size_t offset;
} table[] = {
    {90500, offsetof(Caps, has_row_security)},
    {90500, offsetof(Caps, has_on_conflict)},
    {90500, offsetof(Caps, has_skip_locked)},
    {90600, offsetof(Caps, has_idle_in_xact_timeout)},
    {90600, offsetof(Caps, has_setting_missing_ok)},
    {100000, offsetof(Caps, dump_leaves_blobs_out)},
    {100000, offsetof(Caps, has_transition_tables)},
    {100000, offsetof(Caps, has_identity)},
    {100000, offsetof(Caps, has_declarative_partitions)},
    {110000, offsetof(Caps, has_partitioned_keys)},
    {110000, offsetof(Caps, has_procedures)},
    {120000, offsetof(Caps, has_short_floats)},
    {130000, offsetof(Caps, owners_switch_inherited)},
    {140000, offsetof(Caps, has_tid_range_scan)},
    {140000, offsetof(Caps, vacuum_skips_indexes)},
    {150000, offsetof(Caps, has_parameter_rights)},
    {150000, offsetof(Caps, has_partition_triggers)},
    {170000, offsetof(Caps, has_transaction_timeout)},
    {180000, offsetof(Caps, analyzes_only)},
    {180000, offsetof(Caps, has_partition_fk_not_valid)},
};

void caps_fill(Caps *caps, int version)
{
    *caps = (Caps){.version = version};
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        *(bool *)((char *)caps + table[i].offset) = version >= table[i].since;
}

void caps_version_text(int version, char *buf, unsigned long size)
{
    if (version >= 100000)
        snprintf(buf, size, "%d.%d", version / 10000, version % 10000);
    else
        snprintf(buf, size, "%d.%d.%d", version / 10000, version / 100 % 100, version % 100);
}

int caps_major(int version)
{
    return version >= 100000 ? version / 10000 * 100 : version / 100;
}
