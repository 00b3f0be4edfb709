"""tools/check-layers.py: each of its rules, on small trees."""

import os
import subprocess
import sys
import tempfile
import unittest

CHECK = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../tools/check-layers.py")


class LayersTest(unittest.TestCase):
    def check(self, path, text):
        with tempfile.TemporaryDirectory() as root:
            file = os.path.join(root, "src", path)
            os.makedirs(os.path.dirname(file))
            with open(file, "w", encoding="utf-8") as out:
                out.write(text)
            result = subprocess.run([sys.executable, CHECK, root], capture_output=True, text=True, check=False)
            self.assertEqual(result.returncode, 1 if result.stderr else 0)
            return result.stderr

    def good(self, path, text):
        self.assertEqual(self.check(path, text), "")

    def bad(self, path, text, message):
        self.assertIn(message, self.check(path, text))

    def test_downwards(self):
        self.good("copy/a.c", '#include "copy/a.h"\n#include "base/err.h"\n#include "sql/queries.h"\n')
        self.good("migrate/a.c", '#include "copy/a.h"\n#include "verify/v.h"\n')
        self.good("main.c", '#include "cli/cli.h"\n')

    def test_upwards_and_sideways(self):
        self.bad("base/a.c", '\n#include "pg/conn.h"\n', "src/base/a.c:2: base/ may not include pg/conn.h")
        self.bad("copy/a.c", '#  include "apply/a.h"\n', "copy/ may not include apply/a.h")
        self.bad("migrate/a.c", '#include "cli/a.h"\n', "migrate/ may not include cli/a.h")
        self.bad("copy/a.c", '#include "a.h"\n', "write the folder")
        self.bad("copy/a.c", '#include "other/a.h"\n', "no folder of src/")
        self.bad("other/a.c", "\n", "src/other/ is not in the table")

    def test_libpq(self):
        self.good("pg/conn.c", "#include <libpq-fe.h>\n")
        self.bad("copy/a.c", "#include <libpq-fe.h>\n", "only src/pg/")
        self.bad("main.c", "#include <libpq-fe.h>\n", "only src/pg/")

    def test_versions(self):
        self.good("pg/caps.c", "if (version >= 100000) x();\n")
        self.good("copy/a.c", "/* version >= 100000 */ if (rows > 100000) x(\"version < 90500\");\n")
        for text in ("version >= 100000", "caps->version < 90500", "conn_caps(c)->version != 140000",
                     "server_version(conn) < 90500", "100000 <= caps->version"):
            self.bad("copy/a.c", f"\nif ({text}) x();\n", "src/copy/a.c:2: a server version is compared")


if __name__ == "__main__":
    unittest.main()
