#!/usr/bin/python3
"""Checks who includes whom in src/. The table is the one of src/meson.build.

- a file includes only headers of its own folder and of the folders below; features do not include each other
- only src/pg/ includes libpq's headers
- only src/pg/ and src/sql/ compare server versions with numbers; everything else asks for a capability (pg/caps.h)

Usage: check-layers.py [ROOT]
"""

import pathlib
import re
import sys

BELOW_FEATURES = ["base", "pg", "sql", "model"]
FEATURES = ["schema", "capture", "copy", "apply", "verify", "check"]
MAY_INCLUDE = {
    "base": [],
    "pg": ["base"],
    "sql": ["base", "pg"],
    "model": ["base", "pg", "sql"],
    **{feature: BELOW_FEATURES for feature in FEATURES},
    "conf": ["base", "model"],
    "migrate": BELOW_FEATURES + FEATURES,
    "daemon": BELOW_FEATURES + FEATURES + ["conf", "migrate"],
    "cli": BELOW_FEATURES + FEATURES + ["conf", "migrate", "daemon"],
}
LIBPQ_FOLDERS = {"pg"}
VERSION_FOLDERS = {"pg", "sql"}

INCLUDE = re.compile(r'\s*#\s*include\s*([<"])([^>"]+)[>"]')
LIBPQ_HEADER = re.compile(r"(libpq[-/]|libpq-fe|pqexpbuffer|postgres_ext|internal/)")
OPERATOR = r"\s*(?:[<>]=?|[!=]=)\s*"
VERSION_NUMBER = re.compile(rf"version\w*\)?(?:\(\w*\))?{OPERATOR}\d{{5,6}}\b|\b\d{{5,6}}{OPERATOR}[\w>.()-]*version",
                            re.IGNORECASE)
COMMENT_OR_STRING = re.compile(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"', re.DOTALL)


def blank(match):
    """comments and strings go, line numbers stay"""
    return "\n" * match.group(0).count("\n")


def check_include(folder, header, quoted):
    if LIBPQ_HEADER.match(header):
        if folder not in LIBPQ_FOLDERS:
            return f"{header}: only src/pg/ may include libpq's headers"
        return None
    if not quoted:
        return None
    target, slash, _ = header.partition("/")
    if not slash:
        return f'write the folder in #include "{header}"'
    if folder is None or target == folder:
        return None
    if target not in MAY_INCLUDE:
        return f"{target}/ is no folder of src/"
    if target not in MAY_INCLUDE[folder]:
        return f"{folder}/ may not include {header}"
    return None


def check_file(root, path):
    """yields (line, message)"""
    parts = path.relative_to(root / "src").parts
    folder = parts[0] if len(parts) > 1 else None
    text = path.read_text(encoding="utf-8")
    if folder is not None and folder not in MAY_INCLUDE:
        yield 1, f"src/{folder}/ is not in the table of tools/check-layers.py and src/meson.build"
        return
    for number, line in enumerate(text.split("\n"), 1):
        match = INCLUDE.match(line)
        message = match and check_include(folder, match.group(2), match.group(1) == '"')
        if message:
            yield number, message
    if folder not in VERSION_FOLDERS:
        for number, line in enumerate(COMMENT_OR_STRING.sub(blank, text).split("\n"), 1):
            if VERSION_NUMBER.search(line):
                yield number, "a server version is compared with a number; ask for a capability of pg/caps.h"


def main():
    root = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parent.parent)
    bad = 0
    for path in sorted((root / "src").rglob("*.[ch]")):
        for number, message in check_file(root, path):
            print(f"{path.relative_to(root)}:{number}: {message}", file=sys.stderr)
            bad += 1
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
