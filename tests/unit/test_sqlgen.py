"""tools/sqlgen.py: what it makes of good files, and what it says about bad ones."""

import glob
import os
import re
import subprocess
import sys
import tempfile
import unittest

SQLGEN = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../tools/sqlgen.py")
QUERIES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../src/sql/*.sql")


class SqlgenTest(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.TemporaryDirectory()
        self.addCleanup(self.dir.cleanup)

    def path(self, name):
        return os.path.join(self.dir.name, name)

    def read(self, name):
        with open(self.path(name), encoding="utf-8") as file:
            return file.read()

    def run_tool(self, files):
        for name, text in files.items():
            with open(self.path(name), "w", encoding="utf-8") as file:
                file.write(text)
        return subprocess.run([sys.executable, SQLGEN, "--header", "q.h", "--source", "q.c", *files],
                              cwd=self.dir.name, capture_output=True, text=True, check=False)

    def good(self, text, name="a.sql"):
        result = self.run_tool({name: text})
        self.assertEqual((result.returncode, result.stderr), (0, ""))
        return self.read("q.h"), self.read("q.c")

    def bad(self, text, where, message, name="a.sql"):
        result = self.run_tool({name: text})
        self.assertEqual(result.returncode, 1)
        self.assertIn(f"{name}:{where}: ", result.stderr)
        self.assertIn(message, result.stderr)
        self.assertFalse(os.path.exists(self.path("q.c")))

    def head(self, *headers, text="select 1"):
        return "\n".join(["-- name: q", *headers, text]) + "\n"

    def test_no_files(self):
        result = self.run_tool({})
        self.assertEqual(result.returncode, 0)
        self.assertIn("n_all_queries = 0", self.read("q.c"))

    def test_declarations(self):
        header, _ = self.good(self.head(
            "-- doc: What it does.", "-- params: relid int8, n int, on_off bool, names text[], x numeric(3,1)",
            "-- returns: a int, b text?, c int8?", text="select $1, $2, $3, $4, $5"))
        self.assertIn("/* What it does. (a.sql:1) */", header)
        self.assertIn("CHECKED bool q_q(const void *ctx, Conn *conn, int64_t relid, int64_t n, bool on_off, "
                      "const char *names, const char *x, QRow **ret_rows, size_t *ret_n, Err *err);", header)
        self.assertIn("    int64_t c;\n    bool c_null;\n", header)

    def test_without_result(self):
        header, _ = self.good(self.head())
        self.assertIn("bool q_q(Conn *conn, Err *err);", header)

    def test_conditions(self):
        _, source = self.good(self.head(text="select 1\n--@ >= 9.5 < 14 , 2\n  --@ <10 , 3\n"
                                             "-- gone\n--@ >= 9.3 , x < 5;"))
        self.assertIn('{90500, 140000, ", 2"}', source)
        self.assertIn('{0, 100000, ", 3"}', source)
        self.assertIn('{90300, 0, ", x < 5"}', source)
        self.assertNotIn("gone", source)

    def test_last_semicolon(self):
        _, source = self.good("-- name: a\nselect ';'\n;\n\n-- name: b\nselect 1\n--@ >= 10 , 2;\n--@ < 10 , 3;")
        for line in ('"select \';\'"', '", 2"', '", 3"'):
            self.assertIn(line, source)
        self.assertNotIn('";"', source)

    def test_text_is_quoted_for_c(self):
        _, source = self.good(self.head(text='select "a\\b", \'??/\', \'%s\''))
        self.assertIn(r'''"select \"a\\b\", '?\?/', '%s'"''', source)

    def test_parameters_in_quotes_and_comments(self):
        self.good(self.head("-- params: a int8", text="select $1, '$2 it''s $3', b$4 -- $5"))

    def test_script(self):
        header, source = self.good("-- script: s\n\nselect 1;\n\n-- why\nselect $1;\n\n", "a.script.sql")
        self.assertIn("extern const Query script_s;", header)
        for line in ('"select 1;"', '""', '"-- why"', '"select $1;"'):
            self.assertIn("{0, 0, " + line + "},", source)
        self.assertIn(".n_lines = 4", source)

    def test_bad_headers(self):
        self.bad(self.head("-- returns: a bigint"), 2, "write 'int8' instead of 'bigint'")
        self.bad(self.head("-- params: a integer"), 2, "write 'int' instead of 'integer'")
        self.bad(self.head("-- returns: a json"), 2, "type 'json' of 'a' is not one of")
        self.bad(self.head("-- returns: a"), 2, "'a' should be a name and a type")
        self.bad(self.head("-- returns: a int,"), 2, "'' should be a name and a type")
        self.bad(self.head("-- returns: A int"), 2, "'A' is not a lower-case identifier")
        self.bad(self.head("-- returns: default text"), 2, "C keyword")
        self.bad(self.head("-- returns: a int, a text"), 2, "'a' is there twice")
        self.bad(self.head("-- returns: a int?, a_null bool"), 1, "'a_null' is the name of the flag")
        self.bad(self.head("-- params: err text"), 2, "'err' is taken")
        self.bad(self.head("-- params: a text?"), 2, "needs no '?'")
        self.bad(self.head("-- retuns: a int"), 2, "unknown header 'retuns:'")
        self.bad(self.head() + "-- returns: a int\n", 3, "belongs before the text")

    def test_bad_conditions(self):
        self.bad(self.head(text="--@ 10 x"), 2, "needs a condition")
        self.bad(self.head(text="--@ > 10 x"), 2, "needs a condition")
        self.bad(self.head(text="--@ >= 10.1 x"), 2, "'10.1' is not a server version")
        self.bad(self.head(text="--@ >= 9 x"), 2, "'9' is not a server version")
        self.bad(self.head(text="--@ >= 100000 x"), 2, "'100000' is not a server version")
        self.bad(self.head(text="--@ >= 10 >= 11 x"), 2, "has '>=' twice")
        self.bad(self.head(text="--@ >= 10 < 10 x"), 2, "no version meets")
        self.bad(self.head(text="--@ >= 10"), 2, "no text behind")

    def test_bad_parameters(self):
        self.bad(self.head(text="select $1"), 1, "uses $1 but declares 0 params")
        self.bad(self.head("-- params: a int8"), 1, "does not use its param a ($1)")
        self.bad(self.head("-- params: a int8", text="select 1\n--@ >= 9.5 , $1"), 1,
                 "does not use its param a ($1) on version 9.3")
        self.bad(self.head("-- params: a int8", text="select $1\n--@ >= 14 , $2"), 1, "uses $2 on version 14")

    def test_bad_structure(self):
        self.bad("select 1\n", 1, "text before the first '-- name:'")
        self.bad("-- only words\n", 1, "no '-- name:'")
        self.bad("-- name: Q\nselect 1\n", 1, "'Q' is not a lower-case identifier")
        self.bad("-- name: a\n-- name: b\nselect 1\n", 1, "'a' has no text")
        self.bad("-- name: a\nselect 1\n-- name: a\nselect 1\n", 3, "'a' is also in a.sql:1")
        self.bad("-- script: a\nselect 1\n", 1, "this file holds '-- name:'")
        self.bad("-- name: a\nselect 1\n", 1, "this file holds '-- script:'", "b.script.sql")
        self.bad("-- script: a\n-- params: x int\nselect 1\n", 2, "a script has no 'params:'", "b.script.sql")

    def test_twice_in_two_files(self):
        result = self.run_tool({"a.sql": self.head(), "b.sql": "\n" + self.head()})
        self.assertEqual(result.returncode, 1)
        self.assertIn("b.sql:2: 'q' is also in a.sql:1", result.stderr)

    def test_missing_file(self):
        result = subprocess.run([sys.executable, SQLGEN, "--header", "q.h", "--source", "q.c", "none.sql"],
                                cwd=self.dir.name, capture_output=True, text=True, check=False)
        self.assertEqual(result.returncode, 1)
        self.assertIn("none.sql", result.stderr)
        self.assertNotIn("Traceback", result.stderr)


class QueriesTest(unittest.TestCase):
    def test_schemas_that_are_nobodys(self):
        """A query that leaves out our schema or information_schema leaves out Heroku's, too (see catalog.sql)."""
        found = []
        for path in sorted(glob.glob(QUERIES)):
            with open(path, encoding="utf-8") as file:
                for line in file:
                    left_out = re.search(r"(\bin \(|<> )[^)]*'(information_schema|pgtandem)'", line)
                    if left_out and "'_heroku'" not in line and "coalesce(tn.nspname, x.schema" not in line:
                        found.append(f"{os.path.basename(path)}: {line.strip()}")
        self.assertEqual(found, [])


if __name__ == "__main__":
    unittest.main()
