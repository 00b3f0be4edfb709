"""What pg_dump says of the definitions in two databases, made comparable.

    program = pg_dump_for(old.version, new.version)    # None: no client here is new enough
    before = definitions(old.conninfo, program)
    ...
    assert_same_definitions(before, definitions(new.conninfo, program), old.number, new.number)

Definitions are a Counter of entries: the head that pg_dump writes above each object with its statements below.
Both sides are dumped by one pg_dump. Left out of the comparison, always:

- the lines of the dump itself: versions, settings of the session, \\restrict with its random word
- the order of the entries, and of the GRANTs within one (that of the array they are stored in)
- pg_attver, a version of each column that the minor releases of November 2026 keep among its options; their own pg_dump
  leaves it out, an older one shows it
- SET default_table_access_method and default_tablespace: where they are not the default they are written into
  the entries that they hold for, as servers before 12 know no access methods

What differs because the servers do is in EXPECTED, and nothing else may.
"""

import os
import re
import subprocess
from collections import Counter
from typing import NamedTuple

from . import servers


class Expected(NamedTuple):
    since: int  # an old server is older than this, the new one is not
    head: str  # of the entries in which it is seen; these are regular expressions
    of_old: str  # what is left out of such an entry of the old side
    of_new: str  # and of the new side
    reason: str


NOTHING = "(?!)"
VIEW = r".*; Type: (VIEW|MATERIALIZED VIEW);|.* _RETURN; Type: RULE;"
NAME = r"""(?:\w+|"(?:[^"]|"")+")"""
FLOAT = r"'[-+.e0-9]+'(?=::(double precision|real)\b)"

EXPECTED = [
    Expected(120000, ".*; Type: TRIGGER;", r"(?<= EXECUTE )PROCEDURE ", r"(?<= EXECUTE )FUNCTION ",
             "what a trigger runs is called a function, as there are procedures now"),
    Expected(120000, r".*; Type: TABLE;", FLOAT, FLOAT, "floating point numbers are written with as few digits as tell them apart"),
    Expected(140000, r".*; Type: PROCEDURE;|PROCEDURE .*; Type: (ACL|COMMENT);", NOTHING, r"\bIN ",
             "the mode of an argument of a procedure is written, as there are OUT arguments now"),
    Expected(140000, r".*; Type: TYPE;", NOTHING, r",\n    multirange_type_name = [^\n,]*",
             "each range type has a multirange type"),
    Expected(160000, VIEW, rf"(?<![\w\"]){NAME}\.(?=[\w\"])", rf"(?<![\w\"]){NAME}\.(?=[\w\"])",
             "columns of a view's only table are written without its name"),
    Expected(170000, r"TABLE .*; Type: ACL;", r"(?<=^REVOKE )[A-Z,]+(?= ON TABLE)", r"(?<=^REVOKE )[A-Z,]+(?= ON TABLE)|,MAINTAIN\b",
             "the right MAINTAIN is new: those known before are no longer all, and an owner who gave some of his away has it"),
    Expected(180000, r".*; Type: TABLE;", NOTHING, r"(?<= )CONSTRAINT \w+_not_null\d+ (?=NOT NULL)",
             "NOT NULL is a constraint with a name; where another table's has the usual name already it is numbered"),
]

HEAD = re.compile(r"(?m)^--\n-- Name: (.*)\n--\n")
DEFAULTS = re.compile(r"SET (default_tablespace|default_table_access_method|default_with_oids) = (.*);")
COLUMN_VERSION = re.compile(r"""(?m)^ALTER (?:FOREIGN )?TABLE (?:[^";]|"[^"]*")*? SET \(pg_attver=\d+\);\n""")
USUAL = ("''", "heap", "false")
# pgtandem's own, as long as a run lasts
OWN = re.compile(r"(?m)^CREATE (CONSTRAINT )?TRIGGER \"?pgtandem_|\bpgtandem\.")


# What sleeps on the side that is the copy, where session_replication_role may be set (doc/design/006-sleep.md):
# triggers and rules that would act in spite of it, and the functions that write large objects.
ASLEEP = re.compile(r"(?m)^ALTER (TABLE .* (DISABLE|ENABLE ALWAYS|ENABLE REPLICA) (TRIGGER|RULE) .*"
                    r"|EVENT TRIGGER .* (DISABLE|ENABLE ALWAYS|ENABLE REPLICA));$")
ASLEEP_HEAD = re.compile(r"FUNCTION lo(_|wr).*; Type: ACL; Schema: pg_catalog;")


# What comes to the new server with the first switch only.
NOT_BEFORE_SWITCH = re.compile(r"(.*; Type: (PUBLICATION( TABLES? IN SCHEMA| TABLE)?|EVENT TRIGGER);|(PUBLICATION|EVENT TRIGGER) .*; Type: COMMENT;)")


def before_switch(found):
    return Counter({entry: n for entry, n in found.items() if not NOT_BEFORE_SWITCH.match(entry)})


def pg_dump_for(*versions):
    """A pg_dump that reads servers of all these versions."""
    bindir = servers.client_bindir(max(versions, key=servers.version_number))
    return bindir and os.path.join(bindir, "pg_dump")


def definitions(conninfo, program, *options):
    text = subprocess.run(
        [program, "--schema-only", "-d", conninfo, *options], check=True, capture_output=True, text=True
    ).stdout
    return entries(text)


def without_pgtandem(found):
    """What a run has installed is in the way of nothing but this comparison."""
    return Counter({entry: n for entry, n in found.items() if not OWN.search(entry)})


def awake(found):
    """Without what sleeps on a copy, and how it is called elsewhere."""
    levelled = Counter()
    for entry, n in found.items():
        if not ASLEEP_HEAD.match(entry):
            levelled[re.sub(r"\n{3,}", "\n\n", ASLEEP.sub("", entry)).rstrip()] += n
    return levelled


def entries(text):
    text = re.sub(r"(?m)^\\(un)?restrict .*\n", "", text)
    text = re.sub(r"(?<=SET \()pg_attver=\d+, |, pg_attver=\d+(?=[,)])", "", text)
    text = COLUMN_VERSION.sub("", text)
    text = re.sub(r"\n--\n-- PostgreSQL database dump complete\n--\n+\Z", "\n", text)
    parts = HEAD.split(text)
    found, defaults = Counter(), _take_defaults(parts[0])[1]
    for head, body in zip(parts[1::2], parts[2::2]):
        body, later = _take_defaults(body)
        if "; Type: ACL;" in head or "; Type: DEFAULT ACL;" in head:
            body = "\n".join(sorted(body.split("\n")))
        if re.search("; Type: (TABLE|MATERIALIZED VIEW|INDEX|CONSTRAINT);", head):
            head += "".join(f"; {name} {value}" for name, value in defaults.items() if value not in USUAL)
        found[f"{head}\n{body}"] += 1
        defaults.update(later)
    return found


def _take_defaults(body):
    """(the statements, {setting: value}) of the lines in front of the next entry's head."""
    lines, later = body.strip("\n").split("\n"), {}
    while lines and (lines[-1] == "" or DEFAULTS.fullmatch(lines[-1])):
        line = DEFAULTS.fullmatch(lines.pop())
        if line:
            later.setdefault(*line.groups())
    return "\n".join(lines), later


def _levelled(found, numbers, side):
    """Without what EXPECTED says that differs between these two."""
    levelled = Counter()
    for entry, n in found.items():
        for one in EXPECTED:
            if numbers[0] < one.since <= numbers[1] and re.match(one.head, entry):
                entry = re.sub("(?m)" + (one.of_old if side == 0 else one.of_new), "", entry)
        levelled[entry] += n
    return levelled


def differences(old, new, old_number=0, new_number=0):
    """[text] of each entry that is on one side only."""
    one = _levelled(old, (old_number, new_number), 0)
    other = _levelled(new, (old_number, new_number), 1)
    return [f"{sign} {entry}" for sign, more in (("-", one - other), ("+", other - one)) for entry in sorted(more.elements())]


def assert_same_definitions(old, new, old_number=0, new_number=0):
    found = differences(old, new, old_number, new_number)
    shown = "\n".join(sorted(found, key=lambda entry: entry[2:])[:40])
    assert not found, f"{len(found)} entries of pg_dump differ:\n{shown}"
