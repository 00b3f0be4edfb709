/* conf/ and model/service */
#include "unit.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "base/ini.h"
#include "base/str.h"
#include "conf/conf.h"
#include "conf/conninfo.h"
#include "conf/edit.h"
#include "conf/names.h"

static void put(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0640);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    close(fd);
}

static char *get(void *ctx, const char *path)
{
    char *text = mem_array(ctx, char, 10000);
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    assert_true(fd >= 0);
    assert_true(read(fd, text, 9999) >= 0);
    close(fd);
    return text;
}

static char *new_path(void *ctx)
{
    char *dir = mem_strdup(ctx, "/tmp/pgtandem-unit-XXXXXX");

    assert_non_null(mkdtemp(dir));
    return mem_printf(ctx, "%s/pgtandem.conf", dir);
}

static void clean_up(void *ctx, const char *path)
{
    unlink(path);
    assert_int_equal(rmdir(mem_strndup(ctx, path, (size_t)(strrchr(path, '/') - path))), 0);
}

static void test_lists_and_names(void **state)
{
    size_t n;
    Pattern p = {0};
    const char **words = split_list(*state, " a, \"b, c\".d  e ,", &n);

    assert_int_equal(n, 3);
    assert_string_equal(words[1], "\"b, c\".d");
    assert_true(pattern_read(*state, "\"odd.\"\"name\".\"*\"", &p));
    assert_string_equal(p.schema, "odd.\"name");
    assert_string_equal(p.name, "*");
    assert_true(pattern_is_name(&p));
    assert_true(pattern_read(*state, "Shop_*", &p));
    assert_string_equal(p.schema, "public");
    assert_false(pattern_is_name(&p));
    static const char *const bad[] = {"", ".", "a.", ".b", "a.b.c", "\"open", "a\"b"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(pattern_read(*state, bad[i], &p));
}

static void test_what_a_sync_takes(void **state)
{
    Problem *problems;
    size_t n;
    Service *s = conf_parse(
        *state, "/x/f",
        ini_parse(*state, "[db A]\nconninfo=service=a\n[db B]\nconninfo=service=b\n"
                          "[tables shop]\ninclude = public.*, audit.l?g\nexclude = tmp_*\n"
                          "[sync s]\ntables = shop, crm.clients\nexclude = crm.x\ndbs = A, B\n"),
        &problems, &n);

    assert_int_equal(n, 0);
    const Sync *sync = service_sync(s, "s");
    assert_non_null(sync);
    assert_true(sync_takes(sync, "public", "orders"));
    assert_false(sync_takes(sync, "public", "tmp_1"));
    assert_true(sync_takes(sync, "audit", "lög"));
    assert_false(sync_takes(sync, "audit", "loog"));
    assert_true(sync_takes(sync, "crm", "clients"));
    assert_false(sync_takes(sync, "crm", "Clients"));
    assert_int_equal(sync->members[0].role, ROLE_SOURCE);
    assert_int_equal(sync->members[1].role, ROLE_TARGET);
    assert_true(sync->autokick && sync->sequences && !sync->cascade && sync_is_active(sync));
    assert_int_equal(sync->onetimecopy, COPY_IF_EMPTY);
    assert_string_equal(s->pid_file, "/x/f.pid");
}

static void test_rules(void **state)
{
    Problem *problems;
    size_t n;
    Service *s = conf_parse(
        *state, "f",
        ini_parse(
            *state,
            "[db A]\nconninfo=service=a\n[db B]\nconninfo=service=b\n[db C]\nconninfo=service=c\n"
            "[sync s]\ntables = all\ndbs = A, B, C\n"
            "[table s public.t]\nwhere = a = 1\ncolumns.B = a, b\ntarget-name.B = x.y\n"),
        &problems, &n);

    assert_int_equal(n, 0);
    const Sync *sync = service_sync(s, "s");
    const TableRule *b = sync_rule(sync, "public", "t", service_db(s, "B"));
    const TableRule *c = sync_rule(sync, "public", "t", service_db(s, "C"));
    assert_string_equal(b->columns, "a, b");
    assert_string_equal(b->where, "a = 1");
    assert_string_equal(b->target_schema, "x");
    assert_null(c->columns);
    assert_string_equal(c->where, "a = 1");
    assert_null(sync_rule(sync, "public", "u", service_db(s, "B")));
}

#define DBS "[db A]\nconninfo=service=a\n[db B]\nconninfo=service=b\n"

/* source and target are lists */
static void test_conflict_sides(void **state)
{
    static const struct {
        const char *rule;
        const char *first;
    } rules[] = {{"source", "A"}, {"target", "B"}, {"C, A, B", "C"}};

    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++) {
        Problem *problems;
        size_t n;
        Service *s = conf_parse(
            *state, "f",
            ini_parse(*state, mem_printf(*state,
                                         DBS "[db C]\nconninfo=service=c\n[sync s]\ntables = all\n"
                                             "dbs = A:source, B:source, C:source\nconflict = %s\n",
                                         rules[i].rule)),
            &problems, &n);
        const Sync *sync = service_sync(s, "s");

        assert_int_equal(n, 0);
        assert_int_equal(sync->conflict, CONFLICT_LIST);
        assert_string_equal(sync->preferred[0]->name, rules[i].first);
        assert_int_equal(sync->on_violation, VIOLATION_STOP);
    }
}

/* each with what has to be said, and where */
static const struct {
    const char *text;
    int line;
    const char *says;
} bad_files[] = {
    {"nonsense\n", 1, "no section"},
    {"k = v\n", 1, "stands in no section"},
    {"[dbs A]\n", 1, "did you mean [db"},
    {"[db]\n", 1, "needs a name"},
    {"[db 1a]\n", 1, "needs a name"},
    {"[db A]\n", 1, "needs \"conninfo\""},
    {"[db A]\nconninfo =\n", 2, "has no value"},
    {"[db A]\nconninfo=service=a\nqueue-limt=1GB\n", 3, "did you mean \"queue-limit\""},
    {"[db A]\nconninfo=service=a\nqueue-limit=1\n", 3, "with its unit"},
    {"[db A]\nconninfo=service=a\n[db A]\nconninfo=service=b\n", 3, "in line 1"},
    {"[db A]\nconninfo=service=a\nconninfo=service=b\n", 3, "set already, in line 2"},
    {"[group g]\nmembers = A\n", 2, "no database \"A\""},
    {DBS "[sync s]\ndbs = A, B\n", 5, "needs \"tables\""},
    {DBS "[sync s]\ntables = all\ndbs = A\n", 7, "has no target"},
    {DBS "[sync s]\ntables = all\ndbs = A:target, B\n", 7, "has no source"},
    {DBS "[sync s]\ntables = all\ndbs = A, B:source\nonetimecopy = always\n", 7, "several sources"},
    {DBS "[sync s]\ntables = all\ndbs = A, B:source\n[table s t]\nwhere = true\n", 8,
     "must be the same"},
    {DBS "[sync s]\ntables = all\ndbs = A, B:source\nconflict = newest\n", 8,
     "no rule for conflicts"},
    {DBS "[sync s]\ntables = all\ndbs = A, B\nconflict = target\n", 8, "has one source"},
    {DBS "[sync s]\ntables = all\ndbs = A, B\nconflict = A\n", 8, "has one source"},
    {DBS "[db C]\nconninfo=service=c\n[sync s]\ntables = all\ndbs = A, B:source, C\nconflict = C, "
         "A\n",
     10, "no source of sync"},
    {DBS "[db skip]\nconninfo=service=c\n[sync s]\ntables = all\ndbs = A, B:source\nconflict = "
         "skip\n",
     10, "and the name of a database"},
    {DBS "[sync s]\ntables = all\ndbs = A, B\non-violation = go\n", 8, "stop or park"},
    {DBS "[sync s]\ntables = all\ndbs = A, B, A\n", 7, "named twice"},
    {DBS "[sync s]\ntables = all\ndbs = A, B:master\n", 7, "is no role"},
    {DBS "[sync s]\ntables = a.b.c\ndbs = A, B\n", 6, "no name of a table"},
    {DBS "[sync s]\ntables = all\ndbs = A, B\nonetimecopy = 2\n", 8, "no, if-empty or always"},
    {DBS "[sync s]\ntables = all\ndbs = A, B\nchecktime = 5\n", 8, "with its unit"},
    {DBS "[table s t]\nwhere = true\n", 5, "no sync \"s\""},
    {DBS "[sync s]\ntables = a\ndbs = A, B\n[table s b]\nwhere = true\n", 8, "does not take"},
    {DBS "[sync s]\ntables = a\ndbs = A, B\n[table s a]\nwhere.A = true\n", 9, "no target of sync"},
    {DBS "[sync s]\ntables = a\ndbs = A, B\n[table s]\n", 8, "needs a sync and a table"},
    {"[pgtandem]\nlog-fil = x\n", 2, "did you mean \"log-file\""},

    /* the same section in other words */
    {"[db A]\nconninfo=service=a\n[ db  A ]\nconninfo=service=b\n", 3, "already, in line 1"},
    {DBS
     "[sync s]\ntables = t\ndbs = A, B\n[table s t]\nwhere=x\n[table s public.\"t\"]\nwhere=y\n",
     10, "already, in line 8"},
    {DBS "[sync all]\ntables = t\ndbs = A, B\n", 5, "\"all\" means all"},
    {DBS "[tables all]\ninclude = t\n", 5, "\"all\" means all"},
    {DBS "[sync s]\ntables = t, u\ndbs = A, B\n[table s t]\nwhere=x\n[table s u]\n", 10,
     "says nothing"},
    {DBS "[group g]\nmembers = A, B\n[sync s]\ntables = t\ndbs = g, B\n", 9,
     "can only stand alone"},
    {"[db left]\nconninfo=service=a\n[group g]\nmembers = lfet\n", 4, "did you mean \"left\""},

    /* connection strings */
    {"[db A]\nconninfo = rds93\n", 2, "it takes a connection string"},
    {"[db A]\nconninfo = host='a\n", 2, "it takes a connection string"},
    {"[db A]\nconninfo = service=a queue-limit=1GB\n", 2, "it takes a connection string"},
    {DBS "[sync s]\ntables = t\ndbs = service=a, B\n", 7, "here stand names of databases"},

    {DBS "[sync s]\ntables = t\ndbs = A, B\nconflict =\n", 8, "\"conflict\" has no value"},

    /* two syncs that write the same */
    {DBS "[sync s]\ntables = all\ndbs = A, B\n[sync t]\ntables = all\ndbs = A, B\n", 8,
     "carries all tables from A to B, as sync s does already, in line 5"},
    {DBS "[sync s]\ntables = x.*\ndbs = A, B\n[sync t]\ntables = t, x.*\ndbs = A, B:fullcopy\n", 8,
     "carries x.* from A to B, as sync s does already, in line 5"},
    {DBS "[sync s]\ntables = all\nexclude = u\ndbs = A, B\n[sync t]\ntables = t\ndbs = A, B\n", 9,
     "carries public.t from A to B"},
    {DBS "[sync s]\ntables = t\ndbs = A, B\n[sync t]\ntables = public.*\ndbs = A, B\n", 8,
     "carries public.t from A to B"},
    {DBS "[sync s]\ntables = all\ndbs = A, B\n[sync t]\ntables = x.*\nexclude = x.a\ndbs = A, B\n",
     8, "carries x.* from A to B"},
    {DBS "[db C]\nconninfo=service=a\n[sync s]\ntables = t\ndbs = A, B\n"
         "[sync t]\ntables = t\ndbs = C, B\n",
     10, "carries public.t from C to B"},
    {DBS "[sync s]\ntables = t\ndbs = A, B\n[sync t]\ntables = t\ndbs = A, B\n"
         "[table t t]\ncolumns = a\n",
     8, "carries public.t from A to B"},

    /* cascades in a circle */
    {DBS "[sync s]\ntables = t\ndbs = A, B\ncascade = yes\n"
         "[sync t]\ntables = t\ndbs = B, A\ncascade = yes\n",
     5, "part of a circle"},
    {DBS "[db C]\nconninfo=service=c\n[sync s]\ntables = all\ndbs = A, B\ncascade = yes\n"
         "[sync t]\ntables = x.*\ndbs = B, C\ncascade = yes\n"
         "[sync u]\ntables = x.y\ndbs = C, A\ncascade = yes\n",
     15, "part of a circle"},
};

/* and these have no problem */
static const char *const good_files[] = {
    "",
    "[pgtandem]\n",
    "[db A]\nconninfo = postgresql://u:p=@h/d\n[db B]\nconninfo = host = a\\ x user='a \\' b' "
    "port=\n",
    /* tables that are shared out */
    DBS "[sync s]\ntables = all\nexclude = x.*\ndbs = A, B\n[sync t]\ntables = x.*\ndbs = A, B\n",
    DBS "[sync s]\ntables = x.*\nexclude = x.a\ndbs = A, B\n[sync t]\ntables = x.a\ndbs = A, B\n",
    DBS "[sync s]\ntables = x.a*\ndbs = A, B\n[sync t]\ntables = x.b*\ndbs = A, B\n",
    DBS "[sync s]\ntables = t\ndbs = A, B\n[sync t]\ntables = t\ndbs = A, B\n"
        "[table t t]\ntarget-name = u\n",
    DBS "[sync s]\ntables = t\ndbs = A, B\n[sync t]\ntables = t\ndbs = A, B\n"
        "[table s t]\nwhere = a > 0\n[table t t]\nwhere = a <= 0\n",
    /* one of them does not work */
    DBS
    "[sync s]\ntables = all\ndbs = A, B\n[sync t]\ntables = all\ndbs = A, B\nstatus = inactive\n",
    /* the other direction, another target, a circle that stops */
    DBS "[sync s]\ntables = all\ndbs = A, B\n[sync t]\ntables = all\ndbs = B, A\n",
    DBS "[sync s]\ntables = t\ndbs = A, B\ncascade = yes\n[sync t]\ntables = t\ndbs = B, A\n",
    DBS "[sync s]\ntables = t\ndbs = A, B\ncascade = yes\n"
        "[sync t]\ntables = u\ndbs = B, A\ncascade = yes\n",
    DBS "[db C]\nconninfo=service=c\n[sync s]\ntables = all\ndbs = A, B\ncascade = yes\n"
        "[sync t]\ntables = all\ndbs = B, C\ncascade = yes\n",
};

static void test_no_problems(void **state)
{
    for (size_t i = 0; i < sizeof good_files / sizeof *good_files; i++) {
        Problem *problems;
        size_t n;

        conf_parse(*state, "f", ini_parse(*state, good_files[i]), &problems, &n);
        if (n > 0)
            print_error("%s\n%s\n", good_files[i], conf_problems_text(*state, "f", problems, n));
        assert_int_equal(n, 0);
    }
}

/* connection strings in every wrong place */
static void test_no_secret_is_shown(void **state)
{
    static const char *const texts[] = {
        "[db A]\npostgresql://u:sesame@h/d?x=1\n",
        "postgresql://u:sesame@h/d?x=1\n",
        "[db A]\nconninf = host=a password=sesame\n",
        "[db A]\nconninfo = host=a password='sesame\n",
        "[db A]\nconninfo = sesame\n",
        "[db A]\nqueue-limit = password=sesame\nconninfo=service=a\n",
        "[db host=x password=sesame]\n",
        "[postgresql://u:sesame@h/d]\n",
        DBS "[sync s]\ntables = all\ndbs = host=a password=sesame\n",
        DBS "[sync s]\ntables = all\ndbs = host = a password = sesame, B\n",
        DBS "[sync s]\ntables = all\ndbs = A, postgresql://u:sesame@h/d\n",
        DBS "[sync s]\ntables = postgresql://u:sesame@h.a/d.x\ndbs = A, B\n",
        DBS "[sync s]\ntables = all\ndbs = A, B\nconflict = host=a password=sesame\n",
        DBS "[sync s]\ntables = all\ndbs = A, B\nconflict = function postgresql://u:sesame@h.d.e\n",
        DBS "[group g]\nmembers = A, B:postgresql://u:sesame@h/d\n",
    };

    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        Problem *problems;
        size_t n;

        conf_parse(*state, "f", ini_parse(*state, texts[i]), &problems, &n);
        const char *said = conf_problems_text(*state, "f", problems, n);
        assert_true(n > 0);
        if (strstr(said, "sesame") != NULL)
            fail_msg("%s", said);
    }
}

static void test_conninfos(void **state)
{
    static const struct {
        const char *conninfo, *keyword, *value, *after;
    } cases[] = {
        {"", "host", "a", "host=a"},
        {"", "password", "it's \\", "password='it\\'s \\\\'"},
        {"host=a dbname=d", "host", "b", "host=b dbname=d"},
        {"host=a dbname=d", "port", "1", "host=a dbname=d port=1"},
        {"host=a dbname=d", "host", "", "dbname=d"},
        {"host=a", "host", "", ""},
        {"host=a", "port", "", "host=a"},
        {"host = 'a b'  dbname=x\\ y", "user", "u", "host = 'a b' dbname=x\\ y user=u"},
        {"a='host=1' host=2 host=3", "host", "4", "a='host=1' host=4"},
        {"hosts=1 host=2", "host", "3", "hosts=1 host=3"},
    };
    static const char *const bad[] = {"",      "a",    "a b=c", "=b",    "A=b",
                                      "a-b=c", "a='b", "a=b c", "a='\\'"};

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_string_equal(
            conninfo_set(*state, cases[i].conninfo, cases[i].keyword, cases[i].value),
            cases[i].after);
    UNIT_GREW(*state, 1, conninfo_set(*state, "host=a", "port", "1"));
    for (size_t i = 1; i < sizeof bad / sizeof *bad; i++)
        if (conninfo_is_valid(bad[i]))
            fail_msg("\"%s\" is taken as valid", bad[i]);
}

static void test_globs(void **state)
{
    static const struct {
        const char *glob, *text;
        bool matches;
    } cases[] = {
        {"", "", true},         {"", "a", false},       {"*", "", true},      {"*", "abc", true},
        {"?", "", false},       {"?", "ö", true},       {"??", "ö", false},   {"a*", "a", true},
        {"a*c", "abcbc", true}, {"a*c", "abcb", false}, {"*b*", "abc", true}, {"*?", "", false},
        {"**a**", "bab", true}, {"a?c", "abc", true},   {"a?c", "ac", false}, {"[a]", "a", false},
        {"a.b", "axb", false},  {"A*", "abc", false},   {"*ab", "aab", true}, {"*€", "x€", true},
        {"*?€", "€", false},
    };
    char *many = mem_array(*state, char, 20001);

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        if (glob_matches(cases[i].glob, cases[i].text) != cases[i].matches)
            fail_msg("\"%s\" and \"%s\"", cases[i].glob, cases[i].text);
    /* takes years when each * is tried with each of the others */
    memset(many, 'a', 20000);
    assert_false(glob_matches("*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*b", many));
}

/* the table of settings is complete, and its defaults are allowed */
static void test_settings(void **state)
{
    for (size_t i = 0; i < conf_n_settings; i++) {
        const Setting *s = &conf_settings[i];
        char record[4096] = {0};

        assert_true(sizeof(Service) <= sizeof record && sizeof(Sync) <= sizeof record);
        assert_int_equal(strspn(s->name, "abcdefghijklmnopqrstuvwxyz-"), strlen(s->name));
        assert_ptr_equal(setting_find(s->section, s->name, strlen(s->name)), s);
        assert_true(s->doc != NULL && s->doc[strlen(s->doc) - 1] == '.');
        assert_true(!s->required || s->def == NULL);
        assert_non_null(setting_allowed(*state, s));
        assert_true((s->type == SETTING_CHOICE) == (s->choices != NULL));
        if (s->def != NULL && !setting_store(*state, s, s->def, record))
            fail_msg("the default of %s is not allowed", s->name);
    }
}

static void test_problems(void **state)
{
    for (size_t i = 0; i < sizeof bad_files / sizeof *bad_files; i++) {
        Problem *problems;
        size_t n;
        bool found = false;

        conf_parse(*state, "f", ini_parse(*state, bad_files[i].text), &problems, &n);
        for (size_t p = 0; p < n; p++)
            found = found || (problems[p].line == bad_files[i].line &&
                              strstr(conf_problems_text(*state, "f", &problems[p], 1),
                                     bad_files[i].says) != NULL);
        if (!found)
            print_error("%s\n%s\n", bad_files[i].text,
                        conf_problems_text(*state, "f", problems, n));
        assert_true(found);
    }
}

static void test_the_session(void **state)
{
    void *ctx = *state;
    const char *path = new_path(ctx), *title;
    Err *err = err_new(ctx);
    static const char *const a[] = {"A", "service=rds93"};
    static const char *const b[] = {"B", "host=/a b", "password=it's", "queue-limit=1GB"};
    static const char *const sync[] = {"m", "tables=all", "dbs=A,B"};
    static const char *const rule[] = {"m", "public.t", "where=a = 'x'"};
    static const char *const off[] = {"m", "autokick=no", "checktime=5min"};
    static const char *const name_a[] = {"A"}, *const name_m[] = {"m"};
    static const char *const wrong[] = {"m2", "tables=all", "dbs=A,C"};
    struct stat st;

    assert_true(conf_add(ctx, path, SECTION_DB, a, 2, &title, err));
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_true(conf_add(ctx, path, SECTION_DB, b, 4, &title, err));
    assert_true(conf_add(ctx, path, SECTION_SYNC, sync, 3, &title, err));
    assert_true(conf_add(ctx, path, SECTION_TABLE, rule, 3, &title, err));
    assert_true(conf_update(ctx, path, SECTION_SYNC, off, 3, &title, err));
    const char *text = get(ctx, path);
    assert_string_equal(text,
                        "[db A]\nconninfo = service=rds93\n\n"
                        "[db B]\nconninfo = host='/a b' password='it\\'s'\nqueue-limit = 1GB\n\n"
                        "[sync m]\ntables = all\ndbs = A,B\nautokick = no\nchecktime = 5min\n\n"
                        "[table m public.t]\nwhere = a = 'x'\n");

    /* refused, and nothing is written */
    assert_false(conf_add(ctx, path, SECTION_DB, a, 2, &title, err));
    err_clear(err);
    assert_false(conf_add(ctx, path, SECTION_SYNC, wrong, 3, &title, err));
    assert_non_null(strstr(err->detail, "no database \"C\""));
    err_clear(err);
    assert_false(conf_remove(ctx, path, SECTION_DB, name_a, 1, &title, err));
    err_clear(err);
    assert_string_equal(get(ctx, path), text);

    assert_true(conf_remove(ctx, path, SECTION_SYNC, name_m, 1, &title, err));
    assert_true(conf_remove(ctx, path, SECTION_DB, name_a, 1, &title, err));
    assert_null(strstr(get(ctx, path), "[table"));
    clean_up(ctx, path);
}

static void test_by_hand_stays(void **state)
{
    void *ctx = *state;
    const char *path = new_path(ctx), *title;
    Err *err = err_new(ctx);
    static const char *const c[] = {"C", "postgresql://u@h/d?sslmode=require"};
    static const char *const limit[] = {"A", "queue-limit=2GB"};
    static const char *const no_limit[] = {"A", "queue-limit="};
    const char *text =
        "; ours\n\n[db A] \nconninfo = service=a\n   ; a\n\n# b\n[db B]\nconninfo=\n  service=b\n";

    put(path, text);
    assert_true(conf_update(ctx, path, SECTION_DB, limit, 2, &title, err));
    assert_string_equal(
        get(ctx, path),
        "; ours\n\n[db A] \nconninfo = service=a\nqueue-limit = 2GB\n   ; a\n\n# b\n"
        "[db B]\nconninfo=\n  service=b\n");
    assert_true(conf_update(ctx, path, SECTION_DB, no_limit, 2, &title, err));
    assert_string_equal(get(ctx, path), text);
    assert_true(conf_add(ctx, path, SECTION_DB, c, 2, &title, err));
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0640);
    clean_up(ctx, path);
}

#define FILE_BEFORE                                                                                \
    "[db A]\nconninfo = host=a password=sesame dbname=d\n\n[db B]\nconninfo = postgresql://h/d\n"  \
    "\n[db C]\nconninfo = service=c\n\n[group g]\nmembers = A:source, B\n\n[tables "               \
    "shop]\ninclude = t\n"                                                                         \
    "\n[sync s]\ntables = shop, x\ndbs = g\n\n[table  s  x]\nwhere.B = a\n"

typedef bool EditCommand(const void *ctx, const char *path, SectionKind kind,
                         const char *const *words, size_t n, const char **ret_title, Err *err);

/* each edit of FILE_BEFORE, and what is in the file then, or what is said when it is refused */
static const struct {
    EditCommand *command;
    SectionKind kind;
    const char *words[5];
    bool done;
    const char *has;
} one_edits[] = {
    {conf_update, SECTION_DB, {"A", "host=new"}, true, "= host=new password=sesame dbname=d\n"},
    {conf_update, SECTION_DB, {"A", "password=", "port=1"}, true, "= host=a dbname=d port=1\n"},
    {conf_update, SECTION_DB, {"A", "postgres://u@h"}, true, "[db A]\nconninfo = postgres://u@h\n"},
    {conf_update, SECTION_DB, {"A", "conninfo=service=x", "user=u"}, true, "= service=x user=u\n"},
    {conf_update, SECTION_DB, {"C", "service="}, false, "[db C]: [db C] needs \"conninfo\""},
    {conf_update, SECTION_DB, {"B", "host=new"}, false, "which is a URI"},
    {conf_update, SECTION_DB, {"A", "queue-limt=1GB"}, false, "Did you mean queue-limit=…?"},
    {conf_update, SECTION_DB, {"A", "sesame"}, false, "it has no \"=\""},
    {conf_update, SECTION_DB, {"A", "queue-limit=1GB\n[db D]"}, false, "line break"},
    {conf_update, SECTION_DB, {"D", "queue-limit=1GB"}, false, "there is no [db D]"},
    {conf_update, SECTION_DB, {"A", "queue-limit=1"}, false, "with its unit"},
    {conf_update,
     SECTION_TABLE,
     {"s", "public.\"x\"", "columns=a"},
     true,
     "[table  s  x]\nwhere.B = a\ncolumns = a\n"},
    {conf_update, SECTION_TABLE, {"s", "x", "where.B="}, false, "says nothing"},
    {conf_add,
     SECTION_TABLE,
     {"s", "public.x", "columns=a"},
     false,
     "[table s x] is there already"},
    {conf_add, SECTION_TABLE, {"s", "t]\n[db D", "columns=a"}, false, "is no name of a table"},
    {conf_add, SECTION_TABLE, {"s", "t*", "columns=a"}, false, "is no name of a table"},
    {conf_add, SECTION_TABLE, {"s", "y", "columns=a"}, false, "does not take the table"},
    {conf_add,
     SECTION_GROUP,
     {"two", "A:source", "C", "B:fullcopy"},
     true,
     "\n[group two]\nmembers = A:source, C, B:fullcopy\n"},
    {conf_add, SECTION_GROUP, {"two", "A", "Z"}, false, "no database \"Z\""},
    {conf_add,
     SECTION_TABLES,
     {"more", "include=a.*,b", "exclude=a.c"},
     true,
     "\n[tables more]\ninclude = a.*,b\nexclude = a.c\n"},
    {conf_add, SECTION_SYNC, {"t", "tables=shop", "dbs=A,B"}, false, "as sync s does already"},
    {conf_add,
     SECTION_SYNC,
     {"t", "tables=shop", "dbs=A,C", "colour=red"},
     false,
     "no setting \"colour\""},
    {conf_add, SECTION_SYNC, {"all", "tables=shop", "dbs=A,C"}, false, "cannot have that name"},
    {conf_add, SECTION_SYNC, {"a b", "tables=shop", "dbs=A,C"}, false, "no name of a sync"},
    {conf_add, SECTION_DB, {"D"}, false, "needs settings"},
    {conf_add, SECTION_DB, {"D", "host="}, false, "needs settings"},
    {conf_remove, SECTION_DB, {"A"}, false, "f:11: members of [group g]"},
    {conf_remove, SECTION_DB, {"B"}, false, "f:21: where.B of [table s x]"},
    {conf_remove, SECTION_GROUP, {"g"}, false, "f:18: dbs of [sync s]"},
    {conf_remove, SECTION_TABLES, {"shop"}, false, "f:17: tables of [sync s]"},
    {conf_remove, SECTION_DB, {"C"}, true, "postgresql://h/d\n\n[group g]"},
    {conf_remove, SECTION_TABLE, {"s", "x"}, true, "dbs = g\n"},
    {conf_remove, SECTION_SYNC, {"s"}, true, "include = t\n"},
    {conf_remove, SECTION_SYNC, {"s", "more"}, false, "no settings"},
};

static void test_single_edits(void **state)
{
    void *ctx = *state;
    const char *path = new_path(ctx), *dir_end = "pgtandem.conf";

    for (size_t i = 0; i < sizeof one_edits / sizeof *one_edits; i++) {
        Err *err = err_new(ctx);
        const char *title;
        size_t n = 0;

        put(path, FILE_BEFORE);
        while (n < 5 && one_edits[i].words[n] != NULL)
            n++;
        bool done =
            one_edits[i].command(ctx, path, one_edits[i].kind, one_edits[i].words, n, &title, err);
        const char *text = get(ctx, path);
        const char *said =
            mem_printf(ctx, "%s %s %s", err->msg == NULL ? "" : err->msg,
                       err->detail == NULL ? "" : err->detail, err->hint == NULL ? "" : err->hint);
        /* the path of the test's file is not known beforehand */
        const char *wanted = one_edits[i].has;
        if (str_starts(wanted, "f:"))
            wanted = mem_printf(ctx, "%s%s", dir_end, wanted + 1);
        if (done != one_edits[i].done || strstr(done ? text : said, wanted) == NULL)
            fail_msg("edit %zu, \"%s\" is not in: %s\n%s", i, wanted, said, text);
        assert_null(strstr(said, "sesame"));
        if (!done)
            assert_string_equal(text, FILE_BEFORE);
    }
    clean_up(ctx, path);
}

/* a file that is wrong already can be edited, as long as it does not become worse */
static void test_wrong_files_can_be_edited(void **state)
{
    void *ctx = *state;
    const char *path = new_path(ctx), *title;
    Err *err = err_new(ctx);
    static const char *const limit[] = {"B", "queue-limit=1GB"};
    static const char *const sync[] = {"u", "tables=b", "dbs=A,Z"};
    static const char *const rest[] = {"t", "dbs=A,B"};
    const char *text = "[db B]\nconninfo = service=b\n\n[db A]\nconninfo = service=a\n\n[db A]\n"
                       "conninfo = service=a\n\n[sync t]\ntables = a\ndbs = A, Z\n";

    put(path, text);
    if (!conf_update(ctx, path, SECTION_DB, limit, 2, &title, err)) /* moves all lines */
        fail_msg("%s %s", err->msg, err->detail);
    text = get(ctx, path);
    assert_false(
        conf_add(ctx, path, SECTION_SYNC, sync, 3, &title, err)); /* the same words again */
    assert_non_null(strstr(err->detail, "[sync u]: there is no database \"Z\""));
    assert_string_equal(get(ctx, path), text);
    assert_true(conf_update(ctx, path, SECTION_SYNC, rest, 2, &title, err));
    clean_up(ctx, path);
}

UNIT_MAIN(UNIT_TEST(test_lists_and_names), UNIT_TEST(test_what_a_sync_takes), UNIT_TEST(test_rules),
          UNIT_TEST(test_conflict_sides), UNIT_TEST(test_problems), UNIT_TEST(test_no_problems),
          UNIT_TEST(test_no_secret_is_shown), UNIT_TEST(test_conninfos), UNIT_TEST(test_globs),
          UNIT_TEST(test_settings), UNIT_TEST(test_the_session), UNIT_TEST(test_by_hand_stays),
          UNIT_TEST(test_single_edits), UNIT_TEST(test_wrong_files_can_be_edited))
