/*
 * What a server of some version can do: the only place that knows version numbers (besides the
 * version conditions in src/sql/). Everything else asks for a named capability.
 */
#ifndef PG_CAPS_H
#define PG_CAPS_H

#include <stdbool.h>

typedef struct Caps {
    int version;                     /* as PQserverVersion: 90324, 180004 */
    bool has_row_security;           /* 9.5 */
    bool has_on_conflict;            /* 9.5 */
    bool has_skip_locked;            /* 9.5 */
    bool has_idle_in_xact_timeout;   /* 9.6 */
    bool has_setting_missing_ok;     /* 9.6: current_setting(name, missing_ok) */
    bool dump_leaves_blobs_out;      /* 10: pg_dump --no-blobs */
    bool has_transition_tables;      /* 10 */
    bool has_identity;               /* 10 */
    bool has_declarative_partitions; /* 10 */
    bool has_partitioned_keys;       /* 11: primary keys on partitioned tables */
    bool has_procedures;             /* 11 */
    bool has_short_floats;           /* 12: shortest exact text of floats */
    bool owners_switch_inherited; /* 13: owners may switch off triggers that partitions inherit */
    bool has_tid_range_scan;      /* 14 */
    bool vacuum_skips_indexes;    /* 14: unless INDEX_CLEANUP is on */
    bool has_parameter_rights;    /* 15: GRANT SET ON PARAMETER */
    bool has_partition_triggers;  /* 15: triggers that partitions inherit are like others */
    bool has_transaction_timeout; /* 17 */
    bool analyzes_only;           /* 18: ANALYZE ONLY of a partitioned table */
    bool has_partition_fk_not_valid; /* 18: NOT VALID foreign keys on partitioned tables */
} Caps;

/* the oldest server the program works with */
#define CAPS_OLDEST_VERSION 90300

void caps_fill(Caps *caps, int version);

/* "9.3.24", "18.4" into buf */
void caps_version_text(int version, char *buf, unsigned long size);

/* 903 for 9.3.x, 1800 for 18.x: comparable major versions */
int caps_major(int version);

#endif
