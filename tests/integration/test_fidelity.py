"""Every built-in type with its extreme values arrives as it was, by the copy and by changes, as a key and not, and
comes back as it is. lib/extremes.py has the values."""

import io

import psycopg2
import pytest

from lib import extremes
from lib.compare import PINNED

# Types that hold floats: their text differs before and from 12 on, so they are compared by what they send.
FLOATING = ("float4", "float8", "point", "lseg", "path", "box", "polygon", "line", "circle",
            "float8[]")  # fmt: skip
# What these send has the oids of user types in it: their floats are compared by 15 digits.
ROUNDED = ("fidelity.pair", "fidelity.nested", "fidelity.floats")


class Kind:
    """A type and its two tables: o_ has it beside the key, k_ as the key."""

    def __init__(self, at, name, values, cursor):
        self.name = name
        self.values = values
        self.other, self.key = f"fidelity.o_{at}", f"fidelity.k_{at}"
        self.bare = name.replace('pg_catalog."', "").rstrip('"')
        cursor.execute("select t.typarray, s.proname from pg_type t left join pg_proc s on s.oid = t.typsend"
                       " where t.oid = %s::regtype", (name,))  # fmt: skip
        array, self.send = cursor.fetchone()
        self.array = f"{name}[]" if array else "int4[]"
        self.has_array = bool(array) and not self.bare.endswith(("vector", "[]")) or self.bare == "tsvector"
        self.has_array = self.has_array and self.bare != "fidelity.texts"

    def create(self, cursor):
        """The table without a key of the type gets every value, the one with it each value that is another key."""
        column = self.name.replace('"bit"', "varbit") if self.bare == "bit" else self.name
        cursor.execute(f"create table {self.other} (id int primary key, v {self.name}, a {self.array})")
        for i, value in enumerate(self.values, 1):
            try:
                cursor.execute(f"insert into {self.other} (id, v) values ({i}, {value}::{self.name})")
            except psycopg2.Error as error:
                raise AssertionError(f"{self.name}: {value[:100]}: {error}") from None
        cursor.execute(f"insert into {self.other} (id, v) select 900, v from {self.other} where id = 1")
        if self.bare != "fidelity.percent":
            cursor.execute(f"insert into {self.other} (id) values (901)")
        if self.has_array and self.bare != "fidelity.percent":
            cursor.execute(f"update {self.other} set a = array[v, null, v] where id < 900 and length(v::text) < 3000")
            cursor.execute(f"update {self.other} set a = (select array_agg(v) from {self.other} where length(v::text) < 3000)"
                           f" where id = 900")
        try:
            cursor.execute("savepoint s")
            cursor.execute(f"create table {self.key} (v {column} primary key, n text)")
        except psycopg2.errors.UndefinedObject:  # no operator class
            cursor.execute("rollback to s")
            self.key = None
            return
        cursor.execute(
            f"insert into {self.key} select v, 'copied' from (select distinct on (v) v, id from {self.other}"
            f" where length(v::text) < 1500 order by v, id) x where id % 2 = 1"
        )

    def change(self, cursor, by):
        """Every value is inserted anew, and takes another value's place; equal keys are written in another way."""
        cursor.execute(f"insert into {self.other} select id + {by}, v, a from {self.other} where id < 1000")
        cursor.execute(f"update {self.other} t set v = o.v, a = o.a from {self.other} o where t.id < 900"
                       f" and o.id = t.id % {len(self.values)} + 1")  # fmt: skip
        if self.key is None:
            return
        cursor.execute(f"select count(*) from {self.key}")
        if cursor.fetchone()[0] > 1:
            cursor.execute(f"delete from {self.key} where v = (select v from {self.key} order by v limit 1)")
        cursor.execute(f"update {self.key} set n = n || ' {by}'")
        cursor.execute(
            f"insert into {self.key} select v, 'new' from (select distinct on (v) v from {self.other}"
            f" where length(v::text) < 1500 order by v, id) x where not exists (select from {self.key} k where k.v = x.v)"
        )
        if self.bare == "char":  # 18 cannot plan such a join of analyzed tables: cache lookup failed for collation 0
            return
        cursor.execute(
            f"update {self.key} k set v = o.v from (select v from {self.other} where length(v::text) < 1500) o"
            f" where o.v = k.v and o.v::text <> k.v::text"
        )

    def content(self, cursor, as_text):
        found = []
        for table, columns in ((self.other, ["v"] + ["a"] * self.has_array), (self.key, ["v"])):
            if table is None:
                continue
            rest = "id" if table is self.other else "n"
            shown = [rest] + (columns if as_text or self.bare not in FLOATING else [])
            if self.bare in FLOATING:
                shown += [f"md5({'array_send' if column == 'a' else self.send}({column}))" for column in columns]
            digits = 0 if self.bare in ROUNDED and not as_text else 3
            cursor.execute(f"set local extra_float_digits = {digits}")
            text = io.BytesIO()
            cursor.copy_expert(f"copy (select {', '.join(shown)} from {table}) to stdout", text)
            found += sorted((table, line) for line in text.getvalue().splitlines())
        return found


def contents(node, kinds, as_text):
    connection = node.connect(autocommit=False)
    with connection.cursor() as cursor:
        cursor.execute(PINNED)
        found = {kind.name: kind.content(cursor, as_text) for kind in kinds}
    connection.close()
    return found


def assert_equal(pair, kinds):
    as_text = (pair.old.number < 120000) == (pair.new.number < 120000)
    old, new = (contents(node, kinds, as_text) for node in (pair.old, pair.new))
    wrong = []
    for name, rows in old.items():
        assert rows, name
        if rows != new[name]:
            lines = [f"{sign} {line[0]}: {line[1][:200]}" for sign, line in
                     [("-", line) for line in rows if line not in new[name]]
                     + [("+", line) for line in new[name] if line not in rows]]  # fmt: skip
            wrong.append(f"{name}:\n    " + "\n    ".join(lines[:6]))
    assert not wrong, "not as it was:\n  " + "\n  ".join(wrong)


def each(node, kinds, action):
    connection = node.connect(autocommit=False)
    with connection.cursor() as cursor:
        for kind in kinds:
            action(kind, cursor)
    connection.commit()
    connection.close()


def test_every_value(pair, tool):
    for node in (pair.old, pair.new):
        assert not extremes.missing(node.connect()), "built-in types that lib/extremes.py says nothing of"
    pair.old.psql(extremes.MADE)
    with pair.old.connect() as connection, connection.cursor() as cursor:
        kinds = [Kind(at, name, some, cursor)
                 for at, (name, some) in enumerate(extremes.values(pair.old.number).items())]  # fmt: skip
    each(pair.old, kinds, Kind.create)
    assert sum(kind.key is not None for kind in kinds) > 40

    run = tool.start("upgrade", "--jobs", "2")
    run.wait_for_output(r"in sync", timeout=120)
    each(pair.old, kinds, lambda kind, cursor: kind.change(cursor, 1000))
    tool.ok("switchover")
    assert_equal(pair, kinds)
    each(pair.new, kinds, lambda kind, cursor: kind.change(cursor, 2000))
    tool.ok("rollback")
    assert_equal(pair, kinds)
    tool.ok("verify")
    run.sigint()
    run.wait()
