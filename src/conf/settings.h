/*
 * The settings of the configuration file, declared once: the table drives reading, checks, messages,
 * the commands that edit the file, and the reference.
 *
 * A new setting: a field in model/service.h, one entry in the table, and what uses it.
 */
#ifndef CONF_SETTINGS_H
#define CONF_SETTINGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/mem.h"

typedef enum SectionKind {
    SECTION_SERVICE, /* [pgtandem] */
    SECTION_DB,      /* [db NAME] */
    SECTION_GROUP,   /* [group NAME] */
    SECTION_TABLES,  /* [tables NAME] */
    SECTION_SYNC,    /* [sync NAME] */
    SECTION_TABLE    /* [table SYNC SCHEMA.TABLE] */
} SectionKind;

enum { N_SECTION_KINDS = SECTION_TABLE + 1 };

typedef enum SettingType {
    SETTING_TEXT,
    SETTING_CONNINFO, /* never shown */
    SETTING_YES_NO,
    SETTING_DURATION, /* milliseconds */
    SETTING_SIZE,     /* bytes; 0 without a unit is none */
    SETTING_CHOICE    /* one of choices, stored as its index */
} SettingType;

typedef struct Setting {
    SectionKind section;
    const char *name;
    SettingType type;
    bool required;
    bool per_db;         /* NAME.DB sets it for one database only */
    const char *def;     /* NULL: none */
    const char *choices; /* "no|if-empty|always" */
    int64_t min;
    int64_t max;
    size_t field; /* offset in Service, Db, Sync; texts that are read further have none (0) */
    const char *doc;
} Setting;

extern const Setting conf_settings[];
extern const size_t conf_n_settings;

/* "db", "sync" …; the word that begins the section's name */
const char *section_word(SectionKind kind);
/* false when there is none; takes plurals and Bucardo's words, too */
bool section_by_word(const char *word, SectionKind *ret_kind);

/* the setting of that name, without ".DB"; NULL when there is none */
const Setting *setting_find(SectionKind section, const char *name, size_t len);

/* stores a value; false when it is not allowed. Texts belong to ctx. */
CHECKED bool setting_store(const void *ctx, const Setting *setting, const char *value,
                           void *record);

/* what may be given; belongs to ctx */
char *setting_allowed(const void *ctx, const Setting *setting);

#endif
