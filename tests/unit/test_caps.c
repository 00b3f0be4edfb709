/* pg/caps */
#include "unit.h"

#include "pg/caps.h"

static void assert_version(int version, const char *text, int major)
{
    char buf[32];

    caps_version_text(version, buf, sizeof buf);
    assert_string_equal(buf, text);
    assert_int_equal(caps_major(version), major);
}

static void test_version_text(void **state)
{
    (void)state;
    assert_version(90300, "9.3.0", 903);
    assert_version(90324, "9.3.24", 903);
    assert_version(90624, "9.6.24", 906);
    assert_version(100000, "10.0", 1000);
    assert_version(180004, "18.4", 1800);
}

static void test_oldest(void **state)
{
    (void)state;
    Caps caps, none = {.version = CAPS_OLDEST_VERSION};

    caps_fill(&caps, CAPS_OLDEST_VERSION);
    assert_memory_equal(&caps, &none, sizeof caps);
}

/* every capability but those of version 18 is there at 17, and all at 18: nobody forgot the table's row */
static void test_newest(void **state)
{
    (void)state;
    Caps caps;
    const bool *flags = (const bool *)(const void *)((const char *)&caps + sizeof caps.version);

    caps_fill(&caps, 180000);
    assert_int_equal(caps.version, 180000);
    for (const bool *f = flags; f <= &caps.has_partition_fk_not_valid; f++)
        assert_true(*f);
}

static void test_borders(void **state)
{
    (void)state;
    Caps caps;

    caps_fill(&caps, 90424);
    assert_false(caps.has_on_conflict);
    caps_fill(&caps, 90500);
    assert_true(caps.has_on_conflict);
    assert_false(caps.has_setting_missing_ok);
    caps_fill(&caps, 90624);
    assert_true(caps.has_setting_missing_ok);
    assert_false(caps.has_identity);
    caps_fill(&caps, 100000);
    assert_true(caps.has_identity && caps.has_transition_tables);
    assert_false(caps.has_partitioned_keys);
    caps_fill(&caps, 170006);
    assert_true(caps.has_transaction_timeout);
    assert_false(caps.has_partition_fk_not_valid);
}

UNIT_MAIN(UNIT_TEST(test_version_text), UNIT_TEST(test_oldest), UNIT_TEST(test_newest),
          UNIT_TEST(test_borders))
