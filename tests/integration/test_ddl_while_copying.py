"""Changes of the schema while the copy is being made: it goes on, or stops and says what to do; never a wrong copy."""

import pytest

from lib.compare import assert_same_content
from lib.shop import SHOP, Load
from lib.tool import DONE, FAILED, INTERRUPTED, REFUSED

MORE = """
    create table plain (id int primary key, v text); insert into plain select i, 'p' from generate_series(1, 300) i;
    create table swap_a (id int primary key, v text); insert into swap_a select i, 'a' from generate_series(1, 50) i;
    create table swap_b (id int primary key, v text); insert into swap_b select i, 'b' from generate_series(1, 30) i;
"""

MORE += """
    create table deep (id int, y int, m int, v text, primary key (id, y, m)) partition by range (y);
    create index on deep (v);
    create table deep_1 partition of deep for values from (1) to (2) partition by range (m);
    create table deep_1_1 partition of deep_1 for values from (1) to (2);
    insert into deep select i, 1, 1, 'd' from generate_series(1, 40) i;
    create table points_at (id int primary key, what int references old_things, deep int, y int, m int);
    insert into points_at select 1, 1, 1, 1, 1;
    create table rest (id int, day date, v text, primary key (id, day)) partition by range (day);
    create table rest_0 partition of rest default;
    insert into rest select i, date '2026-01-01', 'r' from generate_series(1, 30) i;
    create table feeling (id int primary key, m mood);
    insert into feeling select i, 'bad' from generate_series(1, 40) i;
"""

# what happens in every large database while it is copied: nobody has to do anything
CARRIED = {
    "a table dropped": "drop table old_things cascade; insert into points_at values (2, 7)",
    "a table that was referred to": "drop table points_at, old_things",
    "a table without key dropped": "insert into log (line) values ('x'); drop table log",
    "a new partition": "create table part_c partition of part for values in ('c'); insert into part_c values (1, 'c', 'x');"
                       "insert into part values (2, 'c', 'x')",
    "a new partition with more": "create schema s; create table s.part_c (region text not null, v text default 'y', id int not null);"
                                 "insert into s.part_c values ('c', 'x', 1); create index on s.part_c (id, v);"
                                 "alter table part attach partition s.part_c for values in ('c'); insert into part values (3, 'c', 'z');"
                                 "comment on table s.part_c is 'more'; grant select on s.part_c to public",
    "a new partition beside the default one": "create table rest_2 partition of rest for values from ('2026-02-01') to ('2026-03-01');"
        "insert into rest values (1, '2026-02-03', 'x'), (2, '2026-04-01', 'y'); insert into rest_2 values (3, '2026-02-04', 'z')",
    "new partitions below": "create table deep_2 partition of deep for values from (2) to (3) partition by range (m);"
                            "create table deep_2_1 partition of deep_2 for values from (1) to (2);"
                            "insert into deep values (1, 2, 1, 'a'), (2, 2, 1, 'b'); create table deep_1_2 partition of deep_1 for"
                            " values from (2) to (3); insert into deep_1_2 values (1, 1, 2, 'x')",
    "a partition dropped": ("update part set v = 'last' where region = 'b'", "drop table part_b"),
    "a partition detached": ("update part set v = 'last' where region = 'b'", "alter table part detach partition part_b",
                             "delete from part_b where id < 9"),
    "partitions go round": "drop table part_a; create table part_c partition of part for values in ('c'); insert into part values (1, 'c', '')",
    "a partition in the place of another": ("drop table part_b", "create table part_c partition of part for values in ('b')",
                                            "insert into part values (1, 'b', 'x'); insert into part_c values (2, 'b', 'y')"),
    "a partition made again": "begin; drop table part_a; create table part_a partition of part for values in ('a');"
                              "insert into part values (1000, 'a', 'new'); commit",
    "a tree dropped": "drop table deep_1",
    "a column added": "alter table plain add n int default 3; update plain set n = 4 where id < 10",
    "a column added that must have a value": "alter table plain add n int not null default 3; update plain set n = 4 where id < 10",
    "a column with values of its own": "alter table plain add n float default random()",
    "a column of a new type": "create type size as enum ('s', 'l'); alter table plain add n size not null default 's'",
    "a column with a sequence": "alter table plain add k serial",
    "a column of a partitioned table": "alter table part add n int not null default 3; insert into part values (2000, 'a', 'v', 5)",
    "a label": ("alter type mood add value 'great' before 'good'", "update feeling set m = 'great' where id > 30"),
    "a new table": "create table fresh (id int primary key, v text); insert into fresh values (1, 'x')",
    "another index": "create index later on plain (v)",
}  # fmt: skip

CHANGES = {
    "a table made again": "begin; drop table plain; create table plain (id int primary key, v text);"
                          "insert into plain values (7, 'new'); commit",
    "a table with other columns": "begin; drop table plain; create table plain (id int primary key, w int);"
                                  "insert into plain values (7, 1); commit",
    "a column dropped": "alter table plain drop column v",
    "a column renamed": "alter table plain rename v to w",
    "a table renamed": "alter table plain rename to plane",
    "names swapped": "begin; alter table swap_a rename to tmp; alter table swap_b rename to swap_a; alter table tmp rename to swap_b; commit",
    "a rewrite that keeps the type": "alter table plain alter v type text using upper(v)",
    "a column made again": "alter table plain drop column v, add column v text",
    "another key": "alter table plain drop constraint plain_pkey, add primary key (id, v)",
}  # fmt: skip
OWN = {
    "pg_class": "select relname, relkind, relispartition, pg_get_expr(relpartbound, oid) from pg_class c"
                " where relnamespace in (select oid from pg_namespace where nspname in ('public', 's')) order by 1",
    "pg_constraint": "select conrelid::regclass::text, conname, pg_get_constraintdef(oid), convalidated from pg_constraint"
                     " where connamespace in (select oid from pg_namespace where nspname in ('public', 's')) and contype <> 'n' order by 1, 2",
}  # fmt: skip
POINTS = ["copied.before", "capturing.before", "capturing.after", "copied.after", "indexed.after", "consistent.after", "complete.after"]


def make(node, names):
    for name in names:
        for statements in [CARRIED[name]] if isinstance(CARRIED[name], str) else CARRIED[name]:
            node.sql(statements)


BETWEEN = ["copy.planned", *(pytest.param(one, marks=pytest.mark.long) for one in ["copy.chunk.done", *(f"step.{p}" for p in POINTS)])]
# a table that nobody knows the rows of; of a table of a terabyte nothing else may be
ANEW = ("a partition in the place of another", "a column with values of its own", "a column with a sequence", "a partition detached", "a new table")


@pytest.mark.parametrize("change", CARRIED)
@pytest.mark.parametrize("point", BETWEEN)
def test_a_change_that_is_carried(one_pair, change, point):
    one_pair.old.sql(SHOP + MORE)
    tool = one_pair.tool(client_version=one_pair.new.version)
    load = Load(one_pair.old)
    try:
        run = tool.start("upgrade", "--jobs", "2", fault=f"{point}:sleep=1500")
        run.wait_for_output(r"fault point", timeout=60)
        make(one_pair.old, [change])
        run.wait_for_output(r"in sync", timeout=60)
        tool.ok("switchover")
        load.stop()
        run.sigint()
        done = run.wait()
        assert done.rc in (DONE, INTERRUPTED)
        assert change in ANEW or "carried anew" not in done.text, done
        assert_same_content(one_pair.old.connect(), one_pair.new.connect())
        for query in OWN.values():
            assert one_pair.old.sql(query) == one_pair.new.sql(query)
        tool.ok("finish")
    finally:
        load.stop()


def test_rows_came_before_their_partition(one_pair):
    """The copy has put them into the default partition, where they keep the new one out."""
    one_pair.old.sql(SHOP + MORE)
    one_pair.old.sql("insert into rest select i, date '2026-01-01', repeat('x', 1000) from generate_series(100, 3000) i")
    tool = one_pair.tool(client_version=one_pair.new.version)
    run = tool.start("upgrade", "--jobs", "1", "--chunk-size", "1MB", fault="copy.chunk.done:sleep=1500")
    run.wait_for_output(r"fault point", timeout=60)
    one_pair.old.sql("create table rest_2 partition of rest for values from ('2026-02-01') to ('2026-03-01')")
    one_pair.old.sql("insert into rest values (1, '2026-02-03', 'x'), (2, '2026-04-01', 'y');"
                     "insert into rest_2 values (3, '2026-02-04', 'z'); update rest set v = 'new' where id = 105")  # fmt: skip
    run.wait_for_output(r"in sync", timeout=60)
    tool.ok("verify")
    tool.ok("switchover")
    run.sigint()
    assert "carried anew" not in run.wait().text
    assert_same_content(one_pair.old.connect(), one_pair.new.connect())
    assert one_pair.new.value("select count(*) from rest_2") == 2


DEATHS = ["copying.forgotten", "ddl.renamed", "ddl.renamed:kill:2", "ddl.one", "ddl.one:kill:3", "copying.worked", "copying.stored"]
SEVERAL = ["a table without key dropped", "a table dropped", "a new partition with more", "new partitions below", "a partition dropped",
           "a column added that must have a value"]  # fmt: skip


@pytest.mark.parametrize("point", ["copy.planned", *(pytest.param(f"step.{one}", marks=pytest.mark.long) for one in POINTS)])
@pytest.mark.parametrize("death", DEATHS)
def test_killed_while_carrying(one_pair, death, point):
    """What was altered while nobody worked on the copy is carried first; wherever that is cut off, it is done again."""
    one_pair.old.sql(SHOP + MORE)
    tool = one_pair.tool(client_version=one_pair.new.version)
    assert tool.run("upgrade", "--jobs", "2", fault=f"{point}:exit").rc != DONE
    make(one_pair.old, SEVERAL)
    died = tool.run("upgrade", "--jobs", "2", fault=death)
    assert died.rc < 0, died
    load = Load(one_pair.old)
    try:
        run = tool.start("upgrade", "--jobs", "2")
        run.wait_for_output(r"in sync", timeout=60)
        tool.ok("switchover")
        load.stop()
        run.sigint()
        assert run.wait().rc in (DONE, INTERRUPTED)
        assert_same_content(one_pair.old.connect(), one_pair.new.connect())
        for query in OWN.values():
            assert one_pair.old.sql(query) == one_pair.new.sql(query)
    finally:
        load.stop()


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("point", [POINTS[0], *(pytest.param(one, marks=pytest.mark.long) for one in POINTS[1:])])
def test_a_change_while_the_copy_is_made(one_pair, change, point):
    one_pair.old.sql(SHOP + MORE)
    tool = one_pair.tool(client_version=one_pair.new.version)
    load = Load(one_pair.old)
    try:
        run = tool.start("upgrade", "--jobs", "2", fault=f"step.{point}:sleep=1500")
        run.wait_for_output(r"fault point step", timeout=60)
        one_pair.old.sql(CHANGES[change])
        said = []
        while True:
            try:
                run.wait_for_output(r"in sync", timeout=60)
                break
            except AssertionError:
                said.append(run.wait())
            # it has to say what is wrong with which table, and how to go on
            assert said[-1].rc in (FAILED, REFUSED) and "hint:" in said[-1].text, said[-1]
            if len(said) > 1:
                assert "since the copy was begun: table public." in said[-1].text, said[-1]
                tool.ok("abort")
            assert len(said) < 4
            run = tool.start("upgrade", "--jobs", "2")
        done = tool.run("switchover")
        assert done.rc == DONE, done
        load.stop()
        run.sigint()
        assert run.wait().rc in (DONE, INTERRUPTED)
        assert_same_content(one_pair.old.connect(), one_pair.new.connect())
    finally:
        load.stop()
