/* migrate/pooler_ini */
#include "unit.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "base/log.h"
#include "migrate/pooler_ini.h"

static const Address from = {"old.example", "5432", "shop"};
static const Address to = {"new.example", "5433", "shop"};
static const Address to_plain = {"new.example", "5432", "shop"};
static const Address to_renamed = {"10.0.0.2", "5432", "shop 2's"};
static const Address from_local = {"localhost", "", "shop"};
static const Address from_socket = {"/run/postgresql/", "5432", "shop"};

static bool plan(PoolerIni *ini, const Address *old, const Address *new, Err *err)
{
    Move move = {.from = *old, .to = *new};

    return pooler_ini_plan(ini, &move, 1, err);
}

static char *new_dir(void *ctx)
{
    char *dir = mem_strdup(ctx, "/tmp/pgtandem-unit-XXXXXX");

    assert_non_null(mkdtemp(dir));
    return dir;
}

static char *put_file(void *ctx, const char *dir, const char *name, const char *text)
{
    char *path = mem_printf(ctx, "%s/%s", dir, name);

    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0640);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    close(fd);
    return path;
}

static char *get_file(void *ctx, const char *path)
{
    char *text = mem_array(ctx, char, 10000);

    int fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_true(read(fd, text, 9999) >= 0);
    close(fd);
    return text;
}

static size_t count_files(void *ctx, const char *dir)
{
    struct stat st;
    size_t n = 0;

    for (int i = 0; i < 10; i++)
        n += stat(mem_printf(ctx, "%s/%d", dir, i), &st) == 0;
    return n;
}

typedef struct Case {
    const char *name;
    const Address *from, *to;
    const char *before;
    const char *after; /* NULL: nothing leads to either */
    size_t changes;
} Case;

#define DB "[databases]\n"

static const Case cases[] = {
    {"plain", &from, &to, DB "shop = host=old.example port=5432 dbname=shop\n",
     DB "shop = host=new.example port=5433 dbname=shop\n", 1},
    {"all else stays", &from, &to,
     "; shop = host=old.example\n\n[users]\nshop = host=old.example\n[databases]\n"
     "# shop = host=old.example\n\tshop  =\thost=old.example   user=app pool_size=5 \t\r\n"
     "other = host=old.example\nshop2 = host=other.example dbname=shop\n;end\n[pgbouncer]\n"
     "shop = host=old.example",
     "; shop = host=old.example\n\n[users]\nshop = host=old.example\n[databases]\n"
     "# shop = host=old.example\n\tshop  =\thost=new.example port=5433   user=app pool_size=5 "
     "\t\r\n"
     "other = host=old.example\nshop2 = host=other.example dbname=shop\n;end\n[pgbouncer]\n"
     "shop = host=old.example",
     1},
    {"several names", &from, &to_plain,
     DB "a = dbname=shop host=old.example\nshop=host=OLD.example\nb = host=old.example dbname=b\n",
     DB "a = dbname=shop host=new.example\nshop=host=new.example\nb = host=old.example dbname=b\n",
     2},
    {"quoted", &from, &to_plain,
     DB
     "\"my \"\"shop\" = host = 'old.example' dbname='shop' password='it''s = host=x' port='5432'",
     DB "\"my \"\"shop\" = host=new.example dbname=shop password='it''s = host=x' port=5432", 1},
    {"quoted the other way", &from, &to_plain, DB "'my \"shop' = host=old.example dbname=shop\n",
     DB "'my \"shop' = host=new.example dbname=shop\n", 1},
    {"a tab in a value", &from, &to, DB "shop = host=old.example\tport=5432\n", NULL, 0},
    {"a new name with blanks and quotes", &from, &to_renamed, DB "shop = host=old.example user=a\n",
     DB "shop = host=10.0.0.2 dbname='shop 2''s' user=a\n", 1},
    {"hostaddr goes", &from, &to_plain, DB "shop = host=old.example hostaddr=1.2.3.4 user=a\n",
     DB "shop = host=new.example user=a\n", 1},
    {"hostaddr at the end goes", &from, &to_plain, DB "shop = host=old.example  hostaddr=1.2.3.4\n",
     DB "shop = host=new.example\n", 1},
    {"nothing but hostaddr", &from, &to_plain, DB "shop = hostaddr=old.example  user=a\nx=\n",
     DB "shop = host=new.example user=a\nx=\n", 1},
    {"the last of two counts", &from, &to_plain, DB "shop = host=x host=old.example\n",
     DB "shop = host=new.example host=new.example\n", 1},
    {"loopback", &from_local, &to, DB "shop = host=127.0.0.1\na = host=::1 port=5432 dbname=shop\n",
     DB "shop = host=new.example port=5433\na = host=new.example port=5433 dbname=shop\n", 2},
    {"socket by default", &from_socket, &to, DB "shop = user=a\nx =\n",
     DB "shop = host=new.example port=5433 user=a\nx =\n", 1},
    {"nothing but a name", &from_socket, &to_plain, DB "shop =\n", DB "shop =host=new.example\n",
     1},
    {"socket directory of the settings", &from_socket, &to,
     "[pgbouncer]\nunix_socket_dir = /var/run/postgresql\n" DB "shop = user=a\n",
     "[pgbouncer]\nunix_socket_dir = /var/run/postgresql\n" DB
     "shop = host=new.example port=5433 user=a\n",
     1},
    {"another socket directory", &from_socket, &to,
     "[pgbouncer]\nunix_socket_dir = /tmp\n" DB "shop = user=a\n", NULL, 0},
    {"spellings of a socket directory", &from_socket, &to_plain,
     DB "shop = host=/var/run/postgresql\na = host=/run/postgresql// dbname=shop\n",
     DB "shop = host=new.example\na = host=new.example dbname=shop\n", 2},
    {"another port", &from, &to, DB "shop = host=old.example port=5433\n", NULL, 0},
    {"another database", &from, &to, DB "shop = host=old.example dbname=x\n", NULL, 0},
    {"a list of hosts", &from, &to, DB "shop = host=old.example,b\n", NULL, 0},
    {"a broken entry", &from, &to, DB "shop = host=old.example dbname='shop\n", NULL, 0},
    {"no entries", &from, &to, "[pgbouncer]\n", NULL, 0},
    {"already done", &from, &to, DB "shop = host=new.example port=5433 \n",
     DB "shop = host=new.example port=5433 \n", 0},
    {"half done", &from, &to_plain, DB "shop = host=new.example\nb = host=old.example dbname=shop",
     DB "shop = host=new.example\nb = host=new.example dbname=shop", 1},
    {"fallback gets an entry", &from, &to, DB ";\n * = host=old.example pool_size=3\r\n;\n",
     DB
     ";\nshop = host=new.example port=5433 pool_size=3\r\n * = host=old.example pool_size=3\r\n;\n",
     1},
    {"fallback, renamed", &from, &to_renamed, DB "* = host=old.example",
     DB "shop = host=10.0.0.2 dbname='shop 2''s'\n* = host=old.example", 1},
    {"fallback with own entry", &from, &to_plain,
     DB "* = host=old.example\nshop = host=old.example\n",
     DB "* = host=old.example\nshop = host=new.example\n", 1},
    {"fallback with own entry elsewhere", &from, &to, DB "* = host=old.example\nshop = host=x\n",
     NULL, 0},
    {"fallback to one database", &from, &to_plain, DB "* = host=old.example dbname=shop\n",
     DB "* = host=new.example dbname=shop\n", 1},
    {"no fallback", &from, &to, DB "\"*\" = host=old.example\n", NULL, 0},
};

static void test_cases(void **state)
{
    char *dir = new_dir(*state);
    char *path = NULL;

    log_init(LOG_ERROR, "");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const Case *c = &cases[i];
        Err *err = err_new(*state);

        print_message("# %s\n", c->name);
        path = put_file(*state, dir, "ini", c->before);
        PoolerIni *ini = pooler_ini_read(*state, path, err);
        assert_non_null(ini);
        bool ok = plan(ini, c->from, c->to, err);
        assert_int_equal(ok, c->after != NULL);
        if (ok) {
            assert_string_equal(pooler_ini_text(ini), c->after);
            assert_int_equal(pooler_ini_changes(ini), c->changes);
            /* PgBouncer's reading of the new text is what we wanted: a second plan has nothing to do */
            put_file(*state, dir, "ini", c->after);
            PoolerIni *again = pooler_ini_read(*state, path, err);
            assert_non_null(again);
            assert_true(plan(again, c->from, c->to, err));
            assert_int_equal(pooler_ini_changes(again), 0);
            assert_string_equal(pooler_ini_text(again), c->after);
        } else {
            assert_int_equal(err->kind, ERR_STATE);
            assert_non_null(strstr(err->msg, dir));
            assert_non_null(err->detail);
            assert_non_null(err->hint);
        }
    }
    unlink(path);
    rmdir(dir);
}

/* one change for several databases; those of others stay, as does "*" for them */
static void test_several(void **state)
{
    static const Move moves[] = {
        {{"old.example", "5432", "shop"}, {"new.example", "5433", "shop"}},
        {{"old.example", "5432", "crm"}, {"new.example", "5433", "crm"}},
        {{"old.example", "5432", "postgres"}, {"new.example", "5433", "postgres"}},
    };
    static const struct {
        const char *before, *after;
        size_t changes;
        bool led[3];
    } several[] = {
        {DB "crm = host=old.example\nother = host=old.example\na = host=old.example dbname=shop "
            "user=u\nshop = host=x\n",
         DB "crm = host=new.example port=5433\nother = host=old.example\na = host=new.example "
            "port=5433 dbname=shop user=u\nshop = host=x\n",
         2,
         {true, true, false}},
        {DB "crm = host=old.example\n\t* = host=old.example user=u\nother = host=old.example\n",
         DB
         "crm = host=new.example port=5433\nshop = host=new.example port=5433 user=u\npostgres = "
         "host=new.example port=5433 user=u\n\t* = host=old.example user=u\nother = "
         "host=old.example\n",
         3,
         {true, true, true}},
        /* a second time, and the rest of what was done in part */
        {DB "crm = host=new.example port=5433\nshop = host=old.example\n* = host=x\n",
         DB "crm = host=new.example port=5433\nshop = host=new.example port=5433\n* = host=x\n",
         1,
         {true, true, false}},
        {DB "other = host=old.example\nshop = host=x\n", NULL, 0, {false, false, false}},
    };
    char *dir = new_dir(*state);
    char *path = NULL;

    for (size_t i = 0; i < sizeof several / sizeof *several; i++) {
        Err *err = err_new(*state);

        path = put_file(*state, dir, "ini", several[i].before);
        PoolerIni *ini = pooler_ini_read(*state, path, err);
        assert_non_null(ini);
        assert_int_equal(pooler_ini_plan(ini, moves, 3, err), several[i].after != NULL);
        for (size_t m = 0; m < 3; m++)
            assert_int_equal(pooler_ini_leads(ini, m), several[i].led[m]);
        if (several[i].after == NULL) {
            assert_non_null(strstr(err->msg, "and a database of this run"));
            continue;
        }
        assert_string_equal(pooler_ini_text(ini), several[i].after);
        assert_int_equal(pooler_ini_changes(ini), several[i].changes);
        put_file(*state, dir, "ini", several[i].after);
        ini = pooler_ini_read(*state, path, err);
        assert_non_null(ini);
        assert_true(pooler_ini_plan(ini, moves, 3, err));
        assert_int_equal(pooler_ini_changes(ini), 0);
        assert_string_equal(pooler_ini_text(ini), several[i].after);
        assert_int_equal(pooler_ini_mentions(ini, "crm"), true);
        assert_int_equal(pooler_ini_mentions(ini, "nowhere"), false);
    }
    unlink(path);
    rmdir(dir);
}

static void test_fallback(void **state)
{
    char *dir = new_dir(*state);
    Err *err = err_new(*state);

    char *path = put_file(*state, dir, "ini", DB "* = host=old.example\n");
    const PoolerIni *ini = pooler_ini_read(*state, path, err);
    assert_int_equal(pooler_ini_fallback(ini, &from), INI_FALLBACK_NAMED);
    assert_int_equal(pooler_ini_fallback(ini, &to), INI_FALLBACK_NONE);
    put_file(*state, dir, "ini", DB "* = host=old.example dbname=shop\n");
    ini = pooler_ini_read(*state, path, err);
    assert_int_equal(pooler_ini_fallback(ini, &from), INI_FALLBACK_ALL);
    put_file(*state, dir, "ini", DB "* = host=old.example\nshop = host=x\n");
    ini = pooler_ini_read(*state, path, err);
    assert_int_equal(pooler_ini_fallback(ini, &from), INI_FALLBACK_NONE);
    unlink(path);
    rmdir(dir);
}

static void test_write(void **state)
{
    char *dir = new_dir(*state), *other = new_dir(*state);
    Err *err = err_new(*state);
    struct stat st;

    /* the file is a link, and includes one beside the file itself by a relative name, one twice, one that is gone */
    char *path = put_file(*state, dir, "0",
                          DB "%include 1\n%include 1\n%include\t/nowhere/x \na = dbname=x\n");
    char *included =
        put_file(*state, dir, "1", "shop = host=old.example\n[pgbouncer]\nshop = host=old.example");
    char *link = mem_printf(*state, "%s/link", other);
    assert_int_equal(symlink(path, link), 0);
    chmod(included, 0604);
    if (getuid() == 0)
        assert_int_equal(chown(included, 12, 34), 0);
    char *before = get_file(*state, path);

    PoolerIni *ini = pooler_ini_read(*state, link, err);
    assert_non_null(ini);
    assert_true(plan(ini, &from, &to_plain, err));
    assert_int_equal(pooler_ini_changes(ini), 1);
    assert_true(pooler_ini_write(ini, true, err));
    assert_non_null(strstr(get_file(*state, included), "old.example\n"));
    assert_true(pooler_ini_write(ini, false, err));
    assert_string_equal(get_file(*state, included),
                        "shop = host=new.example\n[pgbouncer]\nshop = host=old.example");
    assert_string_equal(get_file(*state, path), before);
    assert_int_equal(lstat(link, &st), 0);
    assert_true(S_ISLNK(st.st_mode));
    assert_int_equal(stat(included, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0604);
    if (getuid() == 0)
        assert_true(st.st_uid == 12 && st.st_gid == 34);
    assert_int_equal(count_files(*state, dir), 2);

    unlink(path);
    unlink(included);
    assert_int_equal(rmdir(dir), 0); /* no temporary file is left */
    assert_null(pooler_ini_read(*state, link, err));
    assert_int_equal(err->kind, ERR_IO);
    unlink(link);
    rmdir(other);
}

static void test_errors(void **state)
{
    static const char *const broken[] = {"[databases\n", "\n[databases]\nshop host=x\n",
                                         "[databases]\n\"a = host=x\n"};
    char *dir = new_dir(*state);
    char *path = NULL;

    for (size_t i = 0; i < sizeof broken / sizeof *broken; i++) {
        Err *err = err_new(*state);

        path = put_file(*state, dir, "ini", broken[i]);
        assert_null(pooler_ini_read(*state, path, err));
        assert_int_equal(err->kind, ERR_STATE);
        assert_non_null(strstr(err->msg, i == 0 ? ":1:" : i == 1 ? ":3:" : ":2:"));
    }
    unlink(path);

    /* a name that cannot be written for all versions */
    static const Address odd = {"old.example", "5432", "the shop"};
    Err *odd_err = err_new(*state);
    path = put_file(*state, dir, "ini", DB "* = host=old.example\n");
    PoolerIni *odd_ini = pooler_ini_read(*state, path, odd_err);
    assert_non_null(odd_ini);
    assert_false(plan(odd_ini, &odd, &to, odd_err));
    assert_string_equal(odd_err->msg,
                        "the database \"the shop\" is served by PgBouncer's entry \"*\"");

    /* the message says what was looked for and what is there, but no password */
    Err *err = err_new(*state);
    path = put_file(*state, dir, "ini", DB "shop = host=db1 password=secret\n");
    PoolerIni *ini = pooler_ini_read(*state, path, err);
    assert_non_null(ini);
    assert_false(plan(ini, &from, &to, err));
    assert_non_null(strstr(err->msg, "leads to host=old.example port=5432 dbname=shop"));
    assert_string_equal(err->detail, "It has: \"shop\" to host=db1 port=5432 dbname=shop.");
    unlink(path);
    rmdir(dir);
}

UNIT_MAIN(UNIT_TEST(test_cases), UNIT_TEST(test_several), UNIT_TEST(test_fallback),
          UNIT_TEST(test_write), UNIT_TEST(test_errors))
