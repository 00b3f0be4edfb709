"""The initial copy: values in both formats of COPY, pieces, and a target that forgets its last commits."""

import io
import re

import pytest

from lib.wait import poll_until

# Of each type its odd values. True: travels in binary form (model/binary.c has the list).
KINDS = [
    ("boolean", True, ["true", "false"]),
    ("smallint", True, ["-32768", "0", "32767"]),
    ("integer", True, ["-2147483648", "0", "2147483647"]),
    ("bigint", True, ["-9223372036854775808", "0", "9223372036854775807"]),
    ("oid", True, ["0", "4294967295"]),
    ("real", True, ["NaN", "Infinity", "-Infinity", "-0", "1e-37", "3.4028235e38", "0.1"]),
    ("double precision", True,
     ["NaN", "Infinity", "-Infinity", "-0", "5e-324", "1.7976931348623157e308", "0.1"]),
    ("numeric", True, ["NaN", "0", "0.000", "-0.00000000000000000001", "1e1000", "1." + "7" * 900,
                       "-" + "9" * 4000 + "." + "3" * 4000, "12345678901234567890"]),
    ("numeric(9,2)", True, ["-1234567.89", "0.10", "NaN"]),
    ("text", True, ["", " ", "\\N", "\\.", "a\tb\nc\r\\", "ü€𝄞", "x" * 70000]),
    ("varchar(9)", True, ["", "  ", "\\N", "ü€"]),
    ("char(5)", True, ["", "a b", "ü"]),
    ('"char"', True, ["", "x"]),
    ("name", True, ["", "a" * 63, "ü"]),
    ("bytea", True, ["\\x", "\\x00ff0a0d5c2e", "\\x" + "00fe" * 80000]),
    ("date", True, ["infinity", "-infinity", "4713-01-01 BC", "0044-03-15 BC", "5874897-12-31"]),
    ("time", True, ["00:00", "24:00", "23:59:59.999999"]),
    ("time with time zone", True, ["00:00+14", "23:59:59.999999-15:59:59"]),
    ("timestamp", True, ["infinity", "-infinity", "4713-01-01 00:00 BC", "294276-12-31 23:59:59.999999",
                         "1999-12-31 23:59:59.999999"]),
    ("timestamp(0)", True, ["2001-02-03 04:05:06"]),
    ("timestamptz", True, ["infinity", "-infinity", "4713-01-01 00:00+00 BC",
                           "294276-12-31 23:59:59.999999+00", "2024-03-31 02:30:00.000001+02"]),
    ("interval", True, ["0", "-178000000 years", "1 mon -1 day 00:00:00.000001", "-00:00:01"]),
    ("interval hour to minute", True, ["04:05"]),
    ("uuid", True, ["00000000-0000-0000-0000-000000000000", "ffffffff-ffff-ffff-ffff-ffffffffffff"]),
    ("json", True, ['{"a" :  1, "a": "\\u00e4"}', "null", "[]"]),
    ("inet", True, ["::1/128", "10.1.2.3/8", "255.255.255.255", "::ffff:1.2.3.4"]),
    ("cidr", True, ["10.0.0.0/8", "::/0", "2001:db8::/32"]),
    ("macaddr", True, ["00:00:00:00:00:00", "ff:ff:ff:ff:ff:ff"]),
    ("bit(11)", True, ["00000000000", "10101010101"]),
    ("bit varying", True, ["", "1", "1" * 1001]),
    ("point", True, ["(NaN,1e308)", "(-0,0.1)"]),
    ("lseg", True, ["[(0,0),(1,-1)]"]),
    ("box", True, ["(1,1),(0,0)"]),
    ("path", True, ["[(0,0),(1,1)]", "((0,0),(1,1),(1,0))"]),
    ("polygon", True, ["((0,0))", "((0,0),(1,1),(1,0))"]),
    ("circle", True, ["<(0,0),1.5>"]),
    ("int4range", True, ["empty", "(,)", "[1,5)", "[1,)"]),
    ("int8range", True, ["empty", "[-9223372036854775808,9223372036854775806]"]),
    ("numrange", True, ["empty", "(1e100,)", "[0.10,0.100]"]),
    ("daterange", True, ["empty", "[-infinity,infinity)", "(,2000-01-01)"]),
    ("tsrange", True, ["empty", "[2000-01-01 00:00,infinity]"]),
    ("tstzrange", True, ["empty", "(,2000-01-01 00:00+00]"]),
    ("kinds.positive", True, ["1"]),
    ("kinds.deep", True, ["", "ü"]),
    # these hold an oid of the user's, depend on settings, or are not in the list on purpose
    ("kinds.mood", False, ["sad", "o'k"]),
    ("kinds.pair", False, ['(1,"x,""y")', "(,)"]),
    ("money", False, ["-$12,345.67"]),
    ("regclass", False, ["kinds.numbered"]),
    ("xml", False, ["<a>&amp;</a>"]),
    ("tsvector", False, ["a:1A b:2", ""]),
]
KINDS_SINCE = [
    (90400, "jsonb", True, ['{"b": [1.0, "\\u00e4", 1e400], "a": null}', "null", "[]", '""']),
    (100000, "macaddr8", True, ["08:00:2b:01:02:03:04:05"]),
    (140000, "numeric", True, ["Infinity", "-Infinity"]),
    (140000, "int4multirange", False, ["{}", "{[1,3),[7,9)}"]),
    (170000, "interval", True, ["infinity", "-infinity"]),
]
ARRAYS = [
    ("integer[]", True, ["{}", "{NULL}", "{1,NULL,-1}", "[-1:1]={1,2,3}", "{{1,2},{3,NULL}}",
                         "[0:0][-2:-1][5:6]={{{1,2},{3,4}}}"]),
    ("text[]", True, ["{}", '{NULL,"NULL",""," ","a\\"b\\\\c"}', '{{"{,}"},{"\n"}}']),
    ("numeric(5,1)[]", True, ["{NaN,1.0,-0.1}"]),
    ("timestamptz[]", True, ["{infinity,2000-01-01 00:00+00}"]),
    ("kinds.mood[]", False, ["{sad,NULL}"]),
    ("kinds.pair[]", False, ['{"(1,)",NULL}']),
]

SCHEMA = """
create schema kinds;
create sequence kinds.numbered;
create type kinds.mood as enum ('sad', 'o''k');
create type kinds.pair as (a int, b text);
create domain kinds.positive as int check (value > 0);
create domain kinds.filled as text not null;
create domain kinds.deep as kinds.filled;
"""


def create_kinds(node):
    """A table for each type; returns {table: whether it goes in binary form}."""
    connection = node.connect()
    expected = {}
    all_kinds = KINDS + ARRAYS + [kind for since, *kind in KINDS_SINCE if node.number >= since]
    with connection.cursor() as cursor:
        cursor.execute(SCHEMA)
        for number, (kind, binary, values) in enumerate(all_kinds):
            table = f"k{number}"
            # the bigint alone would make it worth the binary form
            cursor.execute(f"create table kinds.{table} (id bigint primary key, v {kind})")
            for row, value in enumerate(values):
                cursor.execute(f"insert into kinds.{table} values (%s, %s)", (row, value))
            if kind != "kinds.deep":
                cursor.execute(f"insert into kinds.{table} values (%s, null)", (len(values),))
            expected[table] = binary
        cursor.execute("create table kinds.all_text (a text primary key, b varchar(3))")
        cursor.execute("insert into kinds.all_text values ('x', 'ü')")
        cursor.execute("create table kinds.no_rows (id bigint primary key, v int)")
        cursor.execute("create table kinds.mixed (id bigint primary key, a int, e kinds.mood)")
        cursor.execute("insert into kinds.mixed values (1, 2, 'sad')")
    connection.close()
    return {**expected, "all_text": False, "no_rows": True, "mixed": False}


def binary_form(node, table):
    """All rows as COPY writes them in binary form: what no setting and no version changes."""
    connection = node.connect()
    out = io.BytesIO()
    with connection.cursor() as cursor:
        cursor.copy_expert(f"copy (select * from kinds.{table} order by 1) to stdout (format binary)", out)
    connection.close()
    return out.getvalue()


def as_text(node, table):
    with node.connect() as connection, connection.cursor() as cursor:
        cursor.execute("set extra_float_digits = 3; set timezone = 'UTC'")
        cursor.execute(f"select t::text from kinds.{table} t order by 1")
        return cursor.fetchall()


def loaded_in_binary(text):
    """Tables by the format in which --verbose says that they were loaded."""
    loads = re.findall(r'target\[\d+\]: COPY "kinds"\."(\w+)" \(.*\) FROM STDIN(.*)', text)
    assert loads
    return {table: "FORMAT binary" in rest for table, rest in loads}


@pytest.mark.timeout(240)
def test_every_type_in_its_format(pair, tool):
    expected = create_kinds(pair.old)
    run = tool.start("upgrade", "--jobs", "2", "--verbose")
    run.wait_for_output("in sync", timeout=150)
    run.sigint()
    assert loaded_in_binary(run.wait().text) == expected
    for table, binary in expected.items():
        if binary:
            assert binary_form(pair.old, table) == binary_form(pair.new, table), table
        elif table not in ("k%d" % n for n, kind in enumerate(KINDS) if kind[0] == "regclass"):
            assert as_text(pair.old, table) == as_text(pair.new, table), table
    tool.ok("verify")


@pytest.mark.timeout(120)
def test_pieces_in_binary_form(pair, tool):
    """Rows are counted in each piece, whatever their size; a piece without rows has none."""
    pair.old.sql("""
        create table pieces (id int primary key, n numeric, b bytea);
        insert into pieces select n, n * 1.5, decode(repeat('5c', n % 500), 'hex') from generate_series(1, 9000) n;
        insert into pieces select n, null, decode(repeat('00', 65531 * (n - 9000)), 'hex')
          from generate_series(9001, 9012) n;
        delete from pieces where id between 3000 and 6000;
        analyze pieces""")
    run = tool.start("upgrade", "--jobs", "3", "--chunk-size", "64kB", "--verbose")
    run.wait_for_output("in sync", timeout=90)
    run.sigint()
    text = run.wait().text
    assert text.count('COPY "public"."pieces" ("id", "n", "b") FROM STDIN (FORMAT binary)') > 5
    query = "select count(*), sum(id), sum(n), md5(string_agg(md5(b), ',' order by id)) from pieces"
    assert pair.old.sql(query) == pair.new.sql(query)
    assert pair.new.value("select sum(rows) from pgtandem.chunk") == pair.new.value("select count(*) from pieces")


@pytest.mark.timeout(120)
def test_wide_rows(one_pair, tool):
    one_pair.old.sql("create table wide (id int primary key, b bytea)")
    one_pair.old.sql("insert into wide select n, decode(repeat('a7', 64000000), 'hex') from generate_series(1, 2) n")
    run = tool.start("upgrade", "--jobs", "1")
    run.wait_for_output("in sync", timeout=100)
    run.sigint()
    run.wait()
    query = "select id, length(b), md5(b) from wide order by id"
    assert one_pair.old.sql(query) == one_pair.new.sql(query)


@pytest.mark.timeout(240)
def test_target_forgets_commits(own_pair, tool):
    """Workers do not wait for the disk: what a crash of the target takes back is noticed and done again."""
    old, new = own_pair.old, own_pair.new
    new.cluster.configure(wal_writer_delay="10s", wal_writer_flush_after="1GB")
    new.cluster.restart()
    old.sql("".join(
        f"create table t{n} (id int primary key, v int, pad text);"
        f"insert into t{n} select i, {n}, repeat('x', 40) from generate_series(1, {n * 40}) i;"
        f"create index on t{n} (v);"
        for n in range(1, 41)))
    steps = ["copy.chunk.done", "copy.settle.done", "item.built"]
    slowly = ",".join(f"{step}:sleep=40:{n}" for step in steps for n in range(1, 30))
    run = tool.start("upgrade", "--jobs", "2", "--chunk-size", "64kB", env={"PGTANDEM_FAULT": slowly})
    done = "select count(*) from pgtandem.settled"
    run.wait_for_output("copying the data")
    lost = 0
    for wanted in (5, 12, 20, 28):
        poll_until(lambda wanted=wanted: new.value(done) >= wanted, 60, "settled tables")
        before = new.value(done)
        new.cluster.restart(crash=True)
        lost += before - new.value(done)
    assert lost > 0
    run.wait_for_output("in sync", timeout=90)
    tool.ok("verify")
    run.sigint()
    run.wait()
    query = " union all ".join(f"select {n}, count(*), sum(v) from t{n}" for n in range(1, 41)) + " order by 1"
    assert old.sql(query) == new.sql(query)
    indexes = "select indexrelid::regclass::text from pg_index where indrelid::regclass::text ~ '^t\\d' order by 1"
    assert old.sql(indexes) == new.sql(indexes)
