/* base/ini: what is not edited stays byte for byte. */
#include "unit.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "base/ini.h"
#include "base/str.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))

static void test_lines_stay(void **state)
{
    static const char *const texts[] = {
        "",
        "\n",
        "\n\n\n",
        "# only a comment\n",
        "[a]\nx = 1\n\n; c\n[b]\ny=2\n  more\n",
        "  starts with a blank\nnonsense\n[]\n= v\n[x\n",
        "[a]\r\nk = v\r\n",
        "[a]\nk = v",
        "[a]\nk = v\r",
        "\xEF\xBB\xBF[a]\nk = v\n",
        "[a]\nk = \t v \t\n \n\t\n",
        "[ a   b ]\n[a\tb]\n[\"a  b\"]\n",
        "[a] # no comment\nk = v # a part of it\n",
        "k=\n=\n==\n[=]\n",
        "\x01\x7F\xFF\xFE\n",
    };

    for (size_t i = 0; i < COUNT(texts); i++)
        assert_string_equal(ini_text(*state, ini_parse(*state, texts[i])), texts[i]);
}

static const char *value(const Ini *ini, const char *section, const char *key)
{
    size_t at = ini_find_key(ini, section, key);

    return at == ini->n ? NULL : ini->lines[at].value;
}

static void test_values(void **state)
{
    Ini *ini = ini_parse(*state, "[ a ]\nk = one \n\ttwo\n# c\n three\nempty =\nr=1\r\n"
                                 "late =\n  x = y\n\n  lost\n[table  s\t\"a  b\"]\nk = v # w; x");

    assert_string_equal(value(ini, "a", "k"), "one two three");
    assert_string_equal(value(ini, "a", "empty"), "");
    assert_string_equal(value(ini, "a", "r"), "1");
    assert_string_equal(value(ini, "a", "late"), "x = y");
    assert_string_equal(value(ini, "table s \"a  b\"", "k"), "v # w; x");
    assert_int_equal(ini_find_key(ini, "b", "k"), ini->n);
    assert_int_equal(ini->lines[10].kind, INI_BAD);

    /* as editors of other systems write it */
    ini = ini_parse(*state, "\xEF\xBB\xBF[a]\r\nk = v\r\n  w\r\n\r\n");
    assert_string_equal(value(ini, "a", "k"), "v w");
}

static void test_long_lines(void **state)
{
    Str *text = str_new(*state);

    str_add(text, "[a]\nk = ");
    for (int i = 0; i < 100000; i++)
        str_add(text, "0123456789");
    str_add(text, "\nz = end\n");
    Ini *ini = ini_parse(*state, text->text);
    assert_int_equal(strlen(value(ini, "a", "k")), 1000000);
    assert_string_equal(value(ini, "a", "z"), "end");
    assert_string_equal(ini_text(*state, ini), text->text);
}

/* one edit each: what is set (value NULL: removed; key NULL: the section is removed), and the file afterwards */
static const struct {
    const char *before, *section, *key, *value, *after;
} edits[] = {
    {"", "a", "k", "v", "[a]\nk = v\n"},
    {"# head\n", "a", "k", "v", "# head\n\n[a]\nk = v\n"},
    {"[a]\nk = 1\n", "a", "k", "2", "[a]\nk = 2\n"},
    {"[a]\nk = 1\n  2\n# c\n  3\n# d\nz = 1\n", "a", "k", "4", "[a]\nk = 4\n# c\n# d\nz = 1\n"},
    {"[a]\ny = 0\nk = 1\n# c\n  2\nz = 1\n", "a", "k", NULL, "[a]\ny = 0\n# c\nz = 1\n"},
    {"[a]\nk = 1\n  2\n# about b\n[b]\nx = y\n", "a", "n", "v",
     "[a]\nk = 1\n  2\nn = v\n# about b\n[b]\nx = y\n"},
    {"[a]\n\n[b]\n", "a", "k", "v", "[a]\nk = v\n\n[b]\n"},
    {"[a  x]\nk=1\n", "a x", "k", "2", "[a  x]\nk = 2\n"},
    {"[a]\r\nk = 1\r\n", "a", "n", "v", "[a]\r\nk = 1\r\nn = v\r\n"},
    {"[a]\r\nk = 1\r\n", "b", "n", "v", "[a]\r\nk = 1\r\n\r\n[b]\r\nn = v\r\n"},
    {"[a]\nk = 1", "a", "k", "2", "[a]\nk = 2"},
    {"[a]\nk = 1", "a", "n", "v", "[a]\nk = 1\nn = v\n"},
    {"[a]\nk = 1", "b", "n", "v", "[a]\nk = 1\n\n[b]\nn = v\n"},
    {"[a]\nk = 1\n[b]\nk = 2\n", "b", "k", NULL, "[a]\nk = 1\n[b]\n"},
    {"[a]\nk = 1\n", "a", "other", NULL, "[a]\nk = 1\n"},
    {"[a]\nk = 1\n", "b", "k", NULL, "[a]\nk = 1\n"},

    {"[a]\nk = 1\n\n[b]\nk = 2\n\n[c]\nk = 3\n", "b", NULL, NULL, "[a]\nk = 1\n\n[c]\nk = 3\n"},
    {"[a]\nk = 1\n\n[b]\nk = 2\n", "b", NULL, NULL, "[a]\nk = 1\n"},
    {"[a]\nk = 1\n\n[b]\nk = 2\n", "a", NULL, NULL, "[b]\nk = 2\n"},
    {"[a]\nk = 1\n[b]\nk = 2\n[c]\n", "b", NULL, NULL, "[a]\nk = 1\n[c]\n"},
    {"[a]\nk = 1\n# of b\n[b]\nk = 2\n# of c\n[c]\nk = 3\n", "b", NULL, NULL,
     "[a]\nk = 1\n# of c\n[c]\nk = 3\n"},
    {"# all\n\n# of a\n[a]\n# in a\nk = 1\n  2\n# end\n\n# free\n\n[b]\nk = 2\n", "a", NULL, NULL,
     "# all\n\n# free\n\n[b]\nk = 2\n"},
    {"[a]\nk = 1\n\n# the end\n", "a", NULL, NULL, "# the end\n"},
    {"[a]\nk = 1\n", "b", NULL, NULL, "[a]\nk = 1\n"},
    {"[a]\nk = 1\n", "a", NULL, NULL, ""},
};

static void test_edits(void **state)
{
    for (size_t i = 0; i < COUNT(edits); i++) {
        Ini *ini = ini_parse(*state, edits[i].before);

        if (edits[i].key == NULL)
            ini_remove_section(ini, edits[i].section);
        else
            ini_set(ini, edits[i].section, edits[i].key, edits[i].value);
        const char *after = ini_text(*state, ini);
        if (strcmp(after, edits[i].after) != 0)
            print_error("of\n%s", edits[i].before);
        assert_string_equal(after, edits[i].after);

        /* what is in memory is what the file says */
        Ini *again = ini_parse(*state, after);
        assert_int_equal(again->n, ini->n);
        for (size_t l = 0; l < ini->n; l++) {
            assert_int_equal(again->lines[l].kind, ini->lines[l].kind);
            assert_true((again->lines[l].section == NULL) == (ini->lines[l].section == NULL));
            if (ini->lines[l].kind == INI_KEY)
                assert_string_equal(again->lines[l].value, ini->lines[l].value);
        }
    }
}

/* Files */

static char *new_dir(void *ctx)
{
    char *dir = mem_strdup(ctx, "/tmp/pgtandem-unit-XXXXXX");

    assert_non_null(mkdtemp(dir));
    return dir;
}

static void put(const char *path, const char *bytes, size_t n, mode_t mode)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, bytes, n), (ssize_t)n);
    assert_int_equal(fchmod(fd, mode), 0);
    close(fd);
}

static mode_t mode_of(const char *path)
{
    struct stat st;

    assert_int_equal(lstat(path, &st), 0);
    return st.st_mode;
}

static void read_is(void *ctx, const char *path, const char *text)
{
    Ini *ini = NULL;
    Err *err = err_new(ctx);

    assert_true(ini_read(ctx, path, &ini, err));
    assert_string_equal(ini_text(ctx, ini), text);
}

static void test_files(void **state)
{
    void *ctx = *state;
    const char *dir = new_dir(ctx), *path = mem_printf(ctx, "%s/f", dir);
    Err *err = err_new(ctx);
    Ini *ini = NULL;

    assert_false(ini_read(ctx, path, &ini, err));
    assert_int_equal(err->kind, ERR_IO);
    assert_true(ini_write(path, "[a]\n", err));
    assert_int_equal(mode_of(path) & 07777, 0600);
    read_is(ctx, path, "[a]\n");

    put(path, "x", 1, 0644);
    assert_true(ini_write(path, "[b]", err));
    assert_int_equal(mode_of(path) & 07777, 0644);
    read_is(ctx, path, "[b]");

    put(path, "[a]\nk = \0v\n", 11, 0644);
    assert_false(ini_read(ctx, path, &ini, err));
    assert_int_equal(err->kind, ERR_USAGE);
    assert_non_null(strstr(err->msg, "NUL byte"));
    assert_false(ini_read(ctx, dir, &ini, err));
    assert_int_equal(err->kind, ERR_IO);
    assert_false(ini_read(ctx, "/dev/zero", &ini, err));
    assert_false(ini_write(mem_printf(ctx, "%s/no/f", dir), "", err));
    assert_int_equal(err->kind, ERR_IO);
    unlink(path);
    assert_int_equal(mkdir(path, 0700), 0);
    assert_false(ini_write(path, "", err));
    assert_int_equal(rmdir(path), 0);
    assert_int_equal(rmdir(dir), 0); /* no temporary file is left */
}

static void test_links(void **state)
{
    void *ctx = *state;
    const char *dir = new_dir(ctx), *file = mem_printf(ctx, "%s/file", dir),
               *near = mem_printf(ctx, "%s/near", dir), *far = mem_printf(ctx, "%s/far", dir),
               *loop = mem_printf(ctx, "%s/loop", dir);
    Err *err = err_new(ctx);

    assert_int_equal(symlink("file", near), 0);
    assert_int_equal(symlink(near, far), 0);
    assert_int_equal(symlink("loop", loop), 0);
    assert_true(ini_write(far, "[a]\n", err)); /* file is not there yet */
    read_is(ctx, file, "[a]\n");
    assert_true(ini_write(far, "[b]\n", err));
    read_is(ctx, file, "[b]\n");
    assert_true(S_ISLNK(mode_of(near)) && S_ISLNK(mode_of(far)) && S_ISREG(mode_of(file)));
    assert_false(ini_write(loop, "", err));
    unlink(far);
    unlink(near);
    unlink(file);
    unlink(loop);
    assert_int_equal(rmdir(dir), 0);
}

UNIT_MAIN(UNIT_TEST(test_lines_stay), UNIT_TEST(test_values), UNIT_TEST(test_long_lines),
          UNIT_TEST(test_edits), UNIT_TEST(test_files), UNIT_TEST(test_links))
