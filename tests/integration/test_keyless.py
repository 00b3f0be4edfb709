"""Tables without a key are followed: both sides hold the same rows, as often, before a switch copies anything."""

import pytest

from lib.compare import assert_same_content
from lib.wait import poll_until

FOLLOW_ALL = ("--follow-keyless", "0B")

SCHEMA = """
create table beat (id int primary key);
create table log (at timestamptz default now(), what text, n int);
insert into log (what, n) select 'line ' || i % 7, i % 11 from generate_series(1, 500) i;
create table odd (i int, j json, p point, x xml, f float4, d float8, t text, b bytea, a int[], c char(5),
                  n numeric, v interval, m bpchar, unique (i) deferrable);
create table same (v text);
insert into same select 'equal' from generate_series(1, 20);
create table parent (a int, b text);
create table child (c int) inherits (parent);
"""

ODD = r"""
insert into odd values
 (1, '{"b": 1,  "a": [null]}', '(0.1,-0)', '<a>"x"</a>', '1.17549435e-38', '0.1', E'a\tb\\c\n"q",()', '\x00ff5c22', '[3:4]={1,null}', 'ab', 1.500, '1 mon -2 days', 'x  '),
 (2, 'null', '(Infinity,NaN)', 'text only', 'NaN', '-0', '', '', '{}', '', 'NaN', '-00:00:00.000001', ''),
 (null, null, null, null, null, null, null, null, null, null, null, null, null),
 (null, null, null, null, null, null, null, null, null, null, null, null, null),
 (null, '1', '(1e-300,2)', '', '3.4028235e38', '1e-310', E'\u00e4\u20ac', '\x', '{{1,2},{3,4}}', 'abcde', 0.10, '0', ' ')
"""


class Side:
    """The run and the two nodes, whichever of them takes writes."""

    def __init__(self, pair, tool):
        self.pair, self.tool = pair, tool
        self.writes, self.copy = pair.old, pair.new
        self.run, self.beats = None, 0

    def start(self, **options):
        self.run = self.tool.start("upgrade", "--jobs", "2", *FOLLOW_ALL, **options)

    def sql(self, text):
        self.writes.sql(text)

    def same(self):
        """All that was written is on the copy, and nothing else."""
        self.beats += 1
        self.writes.sql("insert into beat values (%s)", (self.beats,))
        poll_until(lambda: not self.run.running or self.copy.value("select count(*) from beat where id = %s", (self.beats,)),
                   60, lambda: f"beat {self.beats}:\n{self.run.text[-3000:]}")
        assert self.run.running, self.run.text[-3000:]
        assert not self.copy.value("select count(*) from pgtandem.tab where adrift"), self.run.text[-2000:]
        assert_same_content(self.pair.old.connect(), self.pair.new.connect(), with_sequences=False)

    def switch(self, command="switchover"):
        done = self.tool.ok(command)
        assert "without a key were copied" not in done.text
        self.writes, self.copy = self.copy, self.writes


@pytest.fixture
def side(pair, tool):
    pair.old.psql(SCHEMA)
    return Side(pair, tool)


def change(side):
    side.sql(ODD)
    side.same()
    side.sql("update same set v = 'other' where ctid in (select ctid from same limit 3)")
    side.sql("delete from same where ctid in (select ctid from same where v = 'equal' limit 2)")
    side.sql("insert into same values (null), (null), (''), ('equal')")
    side.sql("update odd set j = '[]' where i = 1")
    side.sql("update odd set f = 1.1, d = 'Infinity' where i is null and f is not null")
    side.sql("delete from odd where ctid = (select ctid from odd where t is null limit 1)")
    side.same()
    side.sql("begin; delete from log where n = 3; savepoint a; delete from log; rollback to a; insert into log values"
             " (null, 'kept', 1); savepoint b; truncate same; rollback to b; update log set n = n where n = 4; commit")
    side.sql("begin; delete from log; rollback")
    side.sql("insert into parent values (1, 'p'); insert into child values (1, 'p', 2), (1, 'p', 2);"
             " update parent set b = 'q' where a = 1; delete from parent where ctid = (select min(ctid::text)::tid from child)"
             " and tableoid = 'child'::regclass")
    side.same()
    side.sql("insert into log select now(), repeat('w', 3000) || i, i from generate_series(1, 6000) i")
    side.same()
    side.sql("delete from log where n % 2 = 0")
    side.sql("update log set n = -n")
    side.same()
    side.sql("begin; insert into same values ('before'); truncate same; insert into same values ('behind'), ('behind'); commit")
    side.same()
    side.sql("delete from log; delete from odd; delete from parent")
    side.same()
    side.sql("insert into same values ('again'); insert into log values (now(), 'x', 1), (null, null, null)")
    side.same()


def test_there_and_back_again(side):
    side.start()
    side.run.wait_for_output(r"in sync", timeout=90)
    for command in ("switchover", "rollback", "switchover"):
        change(side)
        side.switch(command)
    change(side)


def end(run):
    run.sigint()
    run.wait()


def test_killed_in_the_middle(one_pair, tool):
    """What was half applied is applied once, and what changed while the copy was made, too."""
    one_pair.old.psql(SCHEMA)
    side = Side(one_pair, tool)
    tool.run("upgrade", *FOLLOW_ALL, fault="copy.planned")
    # captured, and copied as well
    side.sql("insert into same values ('captured and copied'); update log set n = 1 where n = 2")
    for fault in ("copy.chunk.loaded:kill:2", "copy.chunk.done:kill:3", "round.applied"):
        run = tool.start("upgrade", "--jobs", "1", *FOLLOW_ALL, fault=fault)
        for _ in range(10):
            side.sql("insert into log values (null, 'while copying', 1), (null, 'while copying', 1);"
                     " delete from same where ctid in (select ctid from same limit 1)")
        if fault.startswith("copy"):
            run.wait_for_output(r"in sync", timeout=60)  # it was a worker that died
            run.kill9()
        run.wait()
    for fault in ("apply.images", "apply.images:kill:2", "round.recorded", "round.committed:kill:2"):
        run = tool.start("upgrade", *FOLLOW_ALL, fault=fault)
        while run.running:
            side.sql("insert into log values (null, 'x', 2), (null, 'x', 2); insert into same values ('y');"
                     " delete from log where ctid = (select ctid from log limit 1); update same set v = v || 'z'"
                     " where ctid = (select ctid from same limit 1)")
        run.wait()
    side.start()
    side.same()
    tool.ok("verify")


def test_what_cannot_be_followed_is_copied_under_the_fence(one_pair, tool):
    one_pair.old.psql(SCHEMA)
    side = Side(one_pair, tool)
    side.start()
    side.run.wait_for_output(r"in sync", timeout=90)
    side.sql("update same set v = 'new' where ctid = (select ctid from same limit 1)")
    side.same()
    # a row is taken away on the copy behind our back: the round that wants to delete it notices
    side.copy.sql("alter table same disable trigger all; delete from same where v = 'new'")
    side.copy.sql("alter table same enable always trigger pgtandem_del")
    assert tool.run("verify").rc == 5
    side.sql("delete from same where v = 'new'; insert into log values (null, 'other tables go on', 0)")
    side.run.wait_for_output(r"public.same has no key and is not followed", timeout=30)
    poll_until(lambda: side.copy.value("select adrift from pgtandem.tab where table_name = 'same'"), 10, "the round")
    side.sql("insert into same values ('later')")
    assert "public.same: not compared" in tool.ok("verify").text
    # a row that is too large is no error for the application
    side.sql("insert into log values (null, repeat('x', 70000000), 1), (null, 'small', 2)")
    done = tool.ok("switchover", "--max-pause", "60s")
    assert "without a key were copied" in done.text
    assert_same_content(one_pair.old.connect(), one_pair.new.connect(), with_sequences=False)
    side.writes, side.copy = side.copy, side.writes
    side.sql("delete from same where v = 'later'")
    side.same()


def test_partitions_and_columns(one_pair, tool):
    """Partitions with columns in another order; TRUNCATE of one; columns that come and go while sessions write on."""
    one_pair.old.psql("""
        create table beat (id int primary key);
        create table parts (a int, b text, g int generated always as (a + 1) stored) partition by list (b);
        create table parts_x partition of parts for values in ('x');
        create table parts_y (gone int, b text, g int generated always as (a + 1) stored, a int);
        alter table parts_y drop column gone; alter table parts attach partition parts_y for values in ('y');
        insert into parts select i, case i % 2 when 0 then 'x' else 'y' end from generate_series(1, 40) i;
        create table wide (a int, b text); insert into wide values (1, 'x'), (1, 'x')""")
    side = Side(one_pair, tool)
    side.start()
    side.run.wait_for_output(r"in sync", timeout=90)
    session = one_pair.old.connect()
    with session.cursor() as cursor:
        cursor.execute("insert into parts values (1, 'x'), (1, 'y'); insert into parts_y (a, b) values (1, 'y');"
                       " update parts set b = 'x' where a % 4 = 1; delete from parts_y where a < 8; insert into wide values (2, 'y')")
        side.same()
        cursor.execute("truncate parts_y; insert into parts_y (b, a) values ('y', 7)")
        side.same()
        one_pair.old.sql("alter table wide add column c timestamp default '2001-02-03', drop column a")
        cursor.execute("insert into wide values ('z', now()), ('z', null); delete from wide where b = 'y'")
        side.same()
        one_pair.old.sql("alter table wide rename b to x")
        cursor.execute("insert into wide values ('after', null)")
        side.same()
        cursor.execute("delete from wide where x = 'after'")
        side.same()
    session.close()


GROWING = """
create table beat (id int primary key);
create table log (at timestamptz default now(), what text);
create table idle (v text); insert into idle values ('x');
create index on log (at);
create table parts (n int, t text) partition by list (n);
create table parts_1 partition of parts for values in (1);
create table parts_2 partition of parts for values in (2)
"""


def followed(node):
    return {name for (name,) in node.sql("select table_name from pgtandem.tab where followed")}


def marked(one_pair, tool, **options):
    """A run in which the tables are small still."""
    one_pair.old.psql(GROWING)
    side = Side(one_pair, tool)
    side.run = tool.start("upgrade", "--follow-keyless", "100kB", **options)
    side.run.wait_for_output(r"in sync", timeout=90)
    side.sql("insert into log (what) values ('small'); insert into parts values (1, 'a'), (2, 'b')")
    assert followed(one_pair.old) == followed(one_pair.new) == set()
    return side


def grow(side):
    side.sql("insert into log (what) select 'line ' || i from generate_series(1, 3000) i;"
             " insert into parts select 1 + i % 2, 'line ' || i from generate_series(1, 3000) i")


def test_one_that_grows_is_followed(one_pair, tool):
    side = marked(one_pair, tool)
    for statement in ("truncate log", "delete from parts", "update idle set v = 'y'"):
        side.sql(statement)
    grow(side)
    side.run.wait_for_output(r"log has no key and has grown", timeout=30)
    poll_until(lambda: followed(one_pair.new) == followed(one_pair.old) == {"log", "parts"}, 30, "both to be followed")
    side.sql("delete from log where what = 'line 7'; update parts set n = 3 - n where t like '%9'; insert into log (what) values ('after')")
    side.sql("update idle set v = 'x'")
    side.same()
    assert "public.idle: not compared" not in tool.ok("verify").text
    # nothing is left for the pause, but for what is only marked
    side.sql("update idle set v = 'z'")
    done = tool.ok("switchover")
    assert "1 rows of tables without a key" in done.text, done.text
    side.writes, side.copy = side.copy, side.writes
    # the way back is followed, too
    side.sql("delete from parts where t like '%1'; insert into log (what) values ('back')")
    side.same()
    done = tool.ok("rollback")
    assert "without a key" not in done.text, done.text
    assert_same_content(one_pair.old.connect(), one_pair.new.connect(), with_sequences=False)


def test_one_that_grows_while_somebody_writes_to_it(one_pair, tool):
    """It waits, and nothing waits for it. What a transaction wrote before and commits after, comes with it."""
    side = marked(one_pair, tool)
    grow(side)
    long = one_pair.old.connect(autocommit=False)
    long.cursor().execute("insert into log (what) values ('of a long transaction')")
    side.sql("insert into log (what) select 'more' from generate_series(1, 100)")
    poll_until(lambda: followed(one_pair.old) == {"parts"}, 30, "parts")
    begun = side.beats
    for _ in range(5):
        side.beats += 1
        side.sql(f"insert into beat values ({side.beats})")
        poll_until(lambda: side.copy.value("select count(*) from beat") == side.beats, 20, "rows of other tables")
    assert side.beats == begun + 5 and followed(one_pair.old) == {"parts"}
    long.commit()
    poll_until(lambda: followed(one_pair.old) == {"log", "parts"}, 30, "log")
    side.same()


@pytest.mark.parametrize("fault", ["keyless.adopt", "keyless.adopted"])
def test_killed_while_it_begins_to_follow(one_pair, tool, fault):
    side = marked(one_pair, tool, fault=fault)
    grow(side)
    side.run.wait()
    side.sql("insert into log (what) values ('while nobody looks')")
    done = tool.run("switchover")
    assert done.rc == 0, done
    assert_same_content(one_pair.old.connect(), one_pair.new.connect(), with_sequences=False)
    side.writes, side.copy = side.copy, side.writes
    side.run = tool.start("upgrade", "--follow-keyless", "100kB")
    poll_until(lambda: followed(one_pair.old) == followed(one_pair.new) == {"log", "parts"}, 30, "both to be followed")
    side.sql("delete from log where what like '%5'; delete from parts where n = 2")
    side.same()


ODD_SETTINGS = ("set datestyle = 'German, DMY'; set timezone = 'Asia/Kolkata'; set extra_float_digits = 0;"
                " set intervalstyle = iso_8601; set bytea_output = escape; set search_path = other, public")  # fmt: skip


def test_settings_of_the_writer(pair, tool):
    """A row's text must not depend on them, also in columns that came later and need other settings pinned."""
    old = pair.old
    old.psql("""
        create schema other; create type other.mood as enum ('x'); create type other.two as (d date, f float8);
        create table other.mine (i int primary key);
        create table beat (id int primary key);
        create table plain (t text);
        create table dates (d date); create table stamps (t timestamp, z timestamptz); create table spans (i interval);
        create table floats (f float8, r real); create table bytes (b bytea);
        create table all_others (r daterange, a timestamptz[], m other.mood, c regclass, w other.two, p point)""")  # fmt: skip
    side = Side(pair, tool)
    side.start()
    side.run.wait_for_output(r"in sync", timeout=90)
    writer = old.connect()
    cursor = writer.cursor()
    cursor.execute(ODD_SETTINGS)
    fill = (
        "insert into dates values ('02.03.2004'), ('infinity');"
        " insert into stamps values ('02.03.2004 05:06:07.000008', '02.03.2004 05:06:07+00');"
        " insert into spans values ('-1 year 2 mons 3 days -04:05:06');"
        " insert into floats values (0.1::float8 + 0.2::float8, 0.1::real + 0.7::real);"
        r" insert into bytes values ('\x00ff5c'::bytea);"
        " insert into all_others values ('[02.03.2004,05.06.2007)', array[now()], 'x', 'other.mine',"
        " row('02.03.2004'::date, 0.5), point(0.1::float8 + 0.2::float8, 1))"
    )
    cursor.execute(fill)
    side.same()
    cursor.execute("update dates set d = d + 1 where d < 'infinity'; update floats set f = f * 3; update all_others set m = null;"
                   " update spans set i = i * 2; update stamps set z = z + '1 day'")  # fmt: skip
    side.same()
    # without waiting in between: the first rows have the new shape, but the functions are the old ones
    cursor.execute("alter table plain add column d date, add column f float8")
    cursor.execute("insert into plain values ('at once', '02.03.2004', 0.1::float8 + 0.2::float8)")
    side.same()
    cursor.execute("insert into plain values ('later', '02.03.2004', 0.1::float8 + 0.2::float8); update plain set d = d + 1")
    side.same()
    side.switch()
    writer.close()
    cursor = pair.new.connect().cursor()
    cursor.execute(ODD_SETTINGS)
    cursor.execute(fill)
    cursor.execute("insert into plain values ('back', '02.03.2004', 0.1::float8 + 0.2::float8); update plain set d = d + 1")
    cursor.execute("delete from dates where d = '03.03.2004'; delete from stamps; delete from all_others where m is null")
    side.same()
    tool.ok("verify")
