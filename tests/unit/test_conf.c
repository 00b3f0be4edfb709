/* base/ini, conf/ and model/service */
#include "unit.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "base/ini.h"
#include "conf/conf.h"
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

static void test_lines_stay(void **state)
{
    static const char *const texts[] = {
        "",
        "# only a comment\n",
        "[a]\nx = 1\n\n; c\n[b]\ny=2\n  more\n",
        "  starts with a blank\nnonsense\n[]\n= v\n[x\n",
        "[a]\r\nk = v\r\n",
    };

    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        assert_string_equal(ini_text(*state, ini_parse(*state, texts[i])), texts[i]);
}

static void test_values(void **state)
{
    Ini *ini = ini_parse(*state, "[ a ]\nk = one \n\ttwo\n# c\n three\nempty =\nr=1\r\n");

    assert_string_equal(ini->lines[ini_find_key(ini, "a", "k")].value, "one two three");
    assert_string_equal(ini->lines[ini_find_key(ini, "a", "empty")].value, "");
    assert_string_equal(ini->lines[ini_find_key(ini, "a", "r")].value, "1");
    assert_int_equal(ini_find_key(ini, "b", "k"), ini->n);
}

static void test_edits(void **state)
{
    Ini *ini = ini_parse(*state, "# head\n[a]\nk = 1\n  2\n# about b\n[b]\nx = y\n");

    ini_set(ini, "a", "k", "3");
    ini_set(ini, "a", "new", "n");
    ini_set(ini, "c", "z", "0");
    assert_string_equal(ini_text(*state, ini),
                        "# head\n[a]\nk = 3\nnew = n\n# about b\n[b]\nx = y\n\n[c]\nz = 0\n");
    ini_remove_section(ini, "b");
    ini_set(ini, "a", "k", NULL);
    assert_string_equal(ini_text(*state, ini), "# head\n[a]\nnew = n\n[c]\nz = 0\n");
    ini_remove_section(ini, "c");
    assert_string_equal(ini_text(*state, ini), "# head\n[a]\nnew = n\n");
}

static void test_lists_and_names(void **state)
{
    size_t n;
    Pattern p = {0};
    const char **words = split_list(*state, " a, \"b, c\".d  e ,", &n);

    assert_int_equal(n, 3);
    assert_string_equal(words[1], "\"b, c\".d");
    assert_true(read_pattern(*state, "\"odd.\"\"name\".\"*\"", &p));
    assert_string_equal(p.schema, "odd.\"name");
    assert_string_equal(p.name, "*");
    assert_true(pattern_is_name(&p));
    assert_true(read_pattern(*state, "Shop_*", &p));
    assert_string_equal(p.schema, "public");
    assert_false(pattern_is_name(&p));
    static const char *const bad[] = {"", ".", "a.", ".b", "a.b.c", "\"open", "a\"b"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(read_pattern(*state, bad[i], &p));
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
};

static void test_problems(void **state)
{
    for (size_t i = 0; i < sizeof bad_files / sizeof *bad_files; i++) {
        Problem *problems;
        size_t n;
        bool found = false;

        conf_parse(*state, "f", ini_parse(*state, bad_files[i].text), &problems, &n);
        for (size_t p = 0; p < n; p++)
            found = found || (problems[p].line == bad_files[i].line &&
                              strstr(problems[p].text, bad_files[i].says) != NULL);
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
                        "[db B]\nqueue-limit = 1GB\nconninfo = host='/a b' password='it\\'s'\n\n"
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

UNIT_MAIN(UNIT_TEST(test_lines_stay), UNIT_TEST(test_values), UNIT_TEST(test_edits),
          UNIT_TEST(test_lists_and_names), UNIT_TEST(test_what_a_sync_takes), UNIT_TEST(test_rules),
          UNIT_TEST(test_problems), UNIT_TEST(test_the_session), UNIT_TEST(test_by_hand_stays))
