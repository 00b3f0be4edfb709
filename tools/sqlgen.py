#!/usr/bin/python3
"""Turns the queries of src/sql/*.sql into C: typed structs and functions (sql/queries.h and .c).

A file holds any number of queries:

    -- name: table_columns
    -- doc: what it is for; becomes the C comment (the line may be repeated, as the two below)
    -- params: relid int8, names text[]
    -- returns: relid int8, attnum int, name text, size float8, note text?
    select ...
    --@ >= 10   , a.attidentity::text
    --@ < 10    , ''::text
    --@ >= 9.5 < 14   , something

The text goes up to the next `-- name:`. A line that begins with --@ is used only on servers of those
versions; other comment lines are dropped, and so is the last semicolon. A '?' behind a type of
`returns:` says that the column can be NULL.

Files named *.script.sql hold scripts (`-- script: NAME` instead of `-- name:`): several statements, kept
line by line with comments and semicolons, without parameters or columns.

Usage: sqlgen.py --header OUT.h --source OUT.c [--include sql/queries.h] FILE.sql ...
"""

import argparse
import os
import re
import sys

# types of `returns:` → C type of the field, name in src/sql/reader.h
COLUMN_TYPES = {
    "int": ("int", "FIELD_INT"),
    "int8": ("int64_t", "FIELD_INT8"),
    "text": ("const char *", "FIELD_TEXT"),
    "bool": ("bool", "FIELD_BOOL"),
    "float8": ("double", "FIELD_FLOAT8"),
}
# types of `params:` that are not passed as text
PARAM_TYPES = {"int": "int64_t", "int8": "int64_t", "bool": "bool"}
# other names of the types above: refused, because they would silently be passed as text
ALIASES = {
    "int4": "int", "integer": "int", "bigint": "int8", "boolean": "bool", "int2": "int",
    "smallint": "int", "float4": "float8", "real": "float8", "double precision": "float8",
    "varchar": "text", "character varying": "text",
}
KEYWORDS = set(
    "auto break case char const continue default do double else enum extern float for goto if inline int "
    "long register restrict return short signed sizeof static struct switch typedef union unsigned void "
    "volatile while bool true false".split()
)
TAKEN_PARAMS = {"ctx", "conn", "ret_rows", "ret_n", "err"}
OLDEST_VERSION = 90300
IDENT = re.compile(r"[a-z][a-z0-9_]*\Z")
HEADER = re.compile(r"--\s*(\w+):\s*(.*)\Z")
CONDITION = re.compile(r"\s*(>=|<)\s*(\S+)(?=\s|\Z)")


class SqlError(Exception):
    """A mistake in an input file."""

    def __init__(self, path, line, message):
        super().__init__(f"{path}:{line}: {message}")


class Query:
    def __init__(self, path, line, name, is_script):
        self.path, self.line, self.name, self.is_script = path, line, name, is_script
        self.doc = []
        self.params = []  # (name, type)
        self.columns = []  # (name, type, nullable)
        self.lines = []  # (min, max, text)

    def fail(self, message, line=None):
        raise SqlError(self.path, line or self.line, message)

    @property
    def constant(self):
        return ("script_" if self.is_script else "query_") + self.name

    @property
    def row_type(self):
        return "".join(part.capitalize() for part in self.name.split("_")) + "Row"


def parse_version(query, line, text):
    """9.5 → 90500, 10 → 100000"""
    if re.match(r"9\.\d\Z", text):
        return 90000 + int(text[2:]) * 100
    if re.match(r"[1-9]\d\Z", text):
        return int(text) * 10000
    return query.fail(f"'{text}' is not a server version such as 9.5 or 14", line)


def parse_condition(query, line, text):
    """'>= 10 < 14  select' → (100000, 140000, 'select')"""
    found = {}
    while True:
        match = CONDITION.match(text)
        if not match:
            break
        operator = match.group(1)
        if operator in found:
            query.fail(f"the condition has '{operator}' twice", line)
        found[operator] = parse_version(query, line, match.group(2))
        text = text[match.end():]
    if not found:
        query.fail("'--@' needs a condition such as '>= 10' or '< 9.5'", line)
    low, high = found.get(">=", 0), found.get("<", 0)
    if high != 0 and low >= high:
        query.fail("no version meets the condition", line)
    text = text.strip()
    if text == "":
        query.fail("there is no text behind the condition", line)
    return low, high, text


def split_list(text):
    """splits at commas outside parentheses"""
    parts, depth, part = [], 0, ""
    for c in text:
        depth += {"(": 1, ")": -1}.get(c, 0)
        if c == "," and depth == 0:
            parts.append(part)
            part = ""
        else:
            part += c
    parts.append(part)
    return [p.strip() for p in parts]


def parse_declarations(query, line, text, header):
    """'relid int8, note text?' → [('relid', 'int8', False), ('note', 'text', True)]"""
    result = []
    if text == "":
        return result
    for item in split_list(text):
        words = item.split(None, 1)
        if len(words) != 2:
            query.fail(f"{header}: '{item}' should be a name and a type", line)
        name, sql_type = words
        nullable = sql_type.endswith("?")
        sql_type = sql_type.rstrip("?").strip()
        if not IDENT.match(name):
            query.fail(f"{header}: '{name}' is not a lower-case identifier", line)
        if name in KEYWORDS:
            query.fail(f"{header}: '{name}' is a C keyword; choose another name", line)
        if sql_type in ALIASES:
            query.fail(f"{header}: write '{ALIASES[sql_type]}' instead of '{sql_type}'", line)
        result.append((name, sql_type, nullable))
    return result


def add_header(query, line, key, value):
    if query.is_script and key != "doc":
        query.fail(f"a script has no '{key}:'", line)
    if key == "doc":
        query.doc.append(value.replace("*/", "* /"))
    elif key == "params":
        for name, sql_type, nullable in parse_declarations(query, line, value, key):
            if nullable:
                query.fail(f"params: '{name}' needs no '?'; any text can be NULL", line)
            if name in TAKEN_PARAMS:
                query.fail(f"params: the name '{name}' is taken by the C function", line)
            if name in [p[0] for p in query.params]:
                query.fail(f"params: '{name}' is there twice", line)
            query.params.append((name, sql_type))
    elif key == "returns":
        for name, sql_type, nullable in parse_declarations(query, line, value, key):
            if sql_type not in COLUMN_TYPES:
                query.fail(f"returns: type '{sql_type}' of '{name}' is not one of "
                           + ", ".join(COLUMN_TYPES), line)
            if name in [c[0] for c in query.columns]:
                query.fail(f"returns: '{name}' is there twice", line)
            query.columns.append((name, sql_type, nullable))
    else:
        query.fail(f"unknown header '{key}:' (known: doc, params, returns)", line)


def drop_semicolon(lines):
    """drops the semicolon behind the statement, whichever line is the last on a version"""
    result = list(lines)
    i = len(result) - 1
    while i >= 0:
        low, high, text = result[i]
        stripped = text.rstrip()
        if stripped.endswith(";"):
            stripped = stripped[:-1].rstrip()
        if stripped == "":
            del result[i]
        else:
            result[i] = (low, high, stripped)
            if low == 0 and high == 0:
                break
        i -= 1
    return result


def check_params(query):
    """On every version, the text uses exactly the declared parameters: the server insists on it."""
    versions = {OLDEST_VERSION}
    for low, high, _ in query.lines:
        versions |= {v for v in (low, high) if v > OLDEST_VERSION}
    for version in sorted(versions):
        text = "\n".join(t for low, high, t in query.lines
                         if version >= low and (high == 0 or version < high))
        text = re.sub(r"--[^\n]*|'(?:[^']|'')*'", " ", text)
        used = {int(n) for n in re.findall(r"(?<![\w$])\$(\d+)", text)}
        on = f" on version {version // 10000}" + (f".{version // 100 % 100}" if version < 100000 else "")
        if len(versions) == 1:
            on = ""
        for n in sorted(used):
            if n == 0 or n > len(query.params):
                query.fail(f"query {query.name} uses ${n}{on} but declares {len(query.params)} params")
        for i, (name, _) in enumerate(query.params, 1):
            if i not in used:
                query.fail(f"query {query.name} does not use its param {name} (${i}){on}")


def finish(query):
    if query.is_script:
        while query.lines and query.lines[-1][2] == "":
            query.lines.pop()
    else:
        query.lines = drop_semicolon(query.lines)
    if not query.lines:
        query.fail(f"'{query.name}' has no text")
    if query.is_script:
        return
    check_params(query)
    names = [c[0] for c in query.columns]
    for name, sql_type, nullable in query.columns:
        if nullable and sql_type != "text" and name + "_null" in names:
            query.fail(f"returns: '{name}_null' is the name of the flag for '{name}'")


def parse_file(path):
    is_script = path.endswith(".script.sql")
    opener = "script" if is_script else "name"
    queries = []
    current = None
    with open(path, encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            line = line.rstrip()
            bare = line.lstrip()
            match = HEADER.match(line)
            if match and match.group(1) in ("name", "script"):
                if match.group(1) != opener:
                    raise SqlError(path, number, f"this file holds '-- {opener}:', not "
                                   f"'-- {match.group(1)}:' (see *.script.sql in tools/sqlgen.py)")
                if not IDENT.match(match.group(2)):
                    raise SqlError(path, number, f"'{match.group(2)}' is not a lower-case identifier")
                current = Query(path, number, match.group(2), is_script)
                queries.append(current)
            elif current is None:
                if bare != "" and (not bare.startswith("--") or bare.startswith("--@")):
                    raise SqlError(path, number, f"text before the first '-- {opener}:'")
            elif bare.startswith("--@"):
                current.lines.append(parse_condition(current, number, bare[3:]))
            elif match and not current.lines:
                add_header(current, number, match.group(1), match.group(2))
            elif match and not is_script and match.group(1) in ("doc", "params", "returns"):
                current.fail(f"'{match.group(1)}:' belongs before the text of the query", number)
            elif is_script:
                if bare != "" or current.lines:
                    current.lines.append((0, 0, line))
            elif bare != "" and not bare.startswith("--"):
                current.lines.append((0, 0, line))
    if not queries:
        raise SqlError(path, 1, f"no '-- {opener}:' in this file")
    for query in queries:
        finish(query)
    return queries


def parse_files(paths):
    seen = {}
    queries = []
    for path in paths:
        for query in parse_file(path):
            key = (query.is_script, query.name)
            if key in seen:
                query.fail(f"'{query.name}' is also in {seen[key].path}:{seen[key].line}")
            seen[key] = query
            queries.append(query)
    return queries


# --- writing C ---


def c_string(text):
    out = text.replace("\\", "\\\\").replace('"', '\\"').replace("\t", "\\t").replace("??", "?\\?")
    return f'"{out}"'


def declare(c_type, name):
    return c_type + name if c_type.endswith("*") else f"{c_type} {name}"


def signature(query):
    args = ["const void *ctx"] if query.columns else []
    args.append("Conn *conn")
    for name, sql_type in query.params:
        args.append(declare(PARAM_TYPES.get(sql_type, "const char *"), name))
    if query.columns:
        args += [f"{query.row_type} **ret_rows", "size_t *ret_n"]
    args.append("Err *err")
    return f"bool q_{query.name}({', '.join(args)})"


def comment(query):
    where = f"{os.path.basename(query.path)}:{query.line}"
    lines = query.doc or [query.name]
    if len(lines) == 1:
        return f"/* {lines[0]} ({where}) */\n"
    return "/*\n" + "".join(f" * {line}".rstrip() + "\n" for line in lines) + f" * ({where})\n */\n"


def needs_flag(sql_type, nullable):
    return nullable and sql_type != "text"


def write_header(queries):
    out = ["/* Made by tools/sqlgen.py from src/sql/: change the .sql files instead. */\n"
           "#ifndef SQL_QUERIES_H\n#define SQL_QUERIES_H\n\n"
           "#include <stdbool.h>\n#include <stddef.h>\n#include <stdint.h>\n\n"
           "#include \"pg/query.h\"\n\n"
           "/*\n * In general: NULL for a text parameter is SQL NULL; *ret_rows belongs to ctx and owns its texts.\n"
           " * Columns marked as nullable have a NULL text or a flag NAME_null.\n */\n\n"
           "extern const Query *const all_queries[];\nextern const size_t n_all_queries;\n"
           "extern const Query *const all_scripts[];\nextern const size_t n_all_scripts;\n"]
    for query in queries:
        out.append("\n" + comment(query))
        if query.is_script:
            out.append(f"extern const Query {query.constant};\n")
            continue
        if query.columns:
            out.append(f"typedef struct {query.row_type} {{\n")
            for name, sql_type, nullable in query.columns:
                note = " /* NULL for SQL NULL */" if nullable and sql_type == "text" else ""
                out.append(f"    {declare(COLUMN_TYPES[sql_type][0], name)};{note}\n")
                if needs_flag(sql_type, nullable):
                    out.append(f"    bool {name}_null;\n")
            out.append(f"}} {query.row_type};\n")
        out.append(f"extern const Query {query.constant};\nCHECKED {signature(query)};\n")
    out.append("\n#endif\n")
    return "".join(out)


def write_query(query):
    out = [f"\n/* {query.name} */\n", f"static const QueryLine {query.constant}_lines[] = {{\n"]
    for low, high, text in query.lines:
        out.append(f"    {{{low}, {high}, {c_string(text)}}},\n")
    out.append("};\n")
    columns = "NULL"
    if query.columns:
        columns = f"{query.constant}_columns"
        out.append(f"static const QueryColumn {columns}[] = {{\n")
        out += [f"    {{{c_string(n)}, {c_string(t)}}},\n" for n, t, _ in query.columns]
        out.append("};\n")
    out.append(f"const Query {query.constant} = {{\n    .name = {c_string(query.name)},\n"
               f"    .lines = {query.constant}_lines,\n    .n_lines = {len(query.lines)},\n"
               f"    .columns = {columns},\n    .n_columns = {len(query.columns)},\n"
               f"    .n_params = {len(query.params)},\n}};\n")
    if not query.is_script:
        out.append(write_function(query))
    return "".join(out)


def write_function(query):
    out = []
    if query.columns:
        out.append(f"static const Field {query.name}_fields[] = {{\n")
        for name, sql_type, nullable in query.columns:
            flag = f"offsetof({query.row_type}, {name}_null)" if needs_flag(sql_type, nullable) else "0"
            out.append(f"    {{{COLUMN_TYPES[sql_type][1]}, {'true' if nullable else 'false'}, "
                       f"offsetof({query.row_type}, {name}), {flag}}},\n")
        out.append("};\n")
    out.append(f"\n{signature(query)}\n{{\n")
    values = []
    for name, sql_type in query.params:
        c_type = PARAM_TYPES.get(sql_type)
        if c_type == "int64_t":
            out.append(f"    char {name}_buf_[READER_I64_SIZE];\n")
            values.append(f"reader_i64({name}, {name}_buf_)")
        elif c_type == "bool":
            values.append(f'{name} ? "true" : "false"')
        else:
            values.append(name)
    params = "NULL"
    if values:
        params = "params_"
        out.append("    const char *const params_[] = {\n")
        out += [f"        {value},\n" for value in values]
        out.append("    };\n")
    call = f"conn, &{query.constant}, {params}, {len(values)}"
    if query.columns:
        out.append(f"    {query.row_type} *rows_ = reader_rows(ctx, {call}, {query.name}_fields, "
                   "sizeof *rows_, ret_n, err);\n\n"
                   "    if (rows_ == NULL)\n        return false;\n"
                   "    *ret_rows = rows_;\n    return true;\n}\n")
    else:
        out.append(f"    return reader_do({call}, err);\n}}\n")
    return "".join(out)


def write_list(name, queries):
    items = "".join(f"    &{q.constant},\n" for q in queries)
    return (f"\nconst Query *const {name}[] = {{\n{items}    NULL,\n}};\n"
            f"const size_t n_{name} = {len(queries)};\n")


def write_source(queries, include):
    out = ["/* Made by tools/sqlgen.py from src/sql/: change the .sql files instead. */\n"
           f"#include {c_string(include)}\n\n#include \"sql/reader.h\"\n"]
    out += [write_query(query) for query in queries]
    out.append(write_list("all_queries", [q for q in queries if not q.is_script]))
    out.append(write_list("all_scripts", [q for q in queries if q.is_script]))
    return "".join(out)


def main():
    parser = argparse.ArgumentParser(description="makes C from the queries of src/sql")
    parser.add_argument("--header", required=True)
    parser.add_argument("--source", required=True)
    parser.add_argument("--include", default="sql/queries.h", help="how the source includes the header")
    parser.add_argument("files", nargs="*")
    args = parser.parse_args()
    try:
        queries = parse_files(args.files)
    except (SqlError, OSError, UnicodeDecodeError) as error:
        print(f"sqlgen: {error}", file=sys.stderr)
        return 1
    with open(args.header, "w", encoding="utf-8") as file:
        file.write(write_header(queries))
    with open(args.source, "w", encoding="utf-8") as file:
        file.write(write_source(queries, args.include))
    return 0


if __name__ == "__main__":
    sys.exit(main())
