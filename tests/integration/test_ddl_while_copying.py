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

CHANGES = {
    "a table made again": "begin; drop table plain; create table plain (id int primary key, v text);"
                          "insert into plain values (7, 'new'); commit",
    "a table with other columns": "begin; drop table plain; create table plain (id int primary key, w int);"
                                  "insert into plain values (7, 1); commit",
    "a column added": "alter table plain add n int default 3; update plain set n = 4 where id < 10",
    "a column dropped": "alter table plain drop column v",
    "a column renamed": "alter table plain rename v to w",
    "a new table": "create table fresh (id int primary key, v text); insert into fresh values (1, 'x')",
    "a table dropped": "drop table old_things",
    "a table without key dropped": "insert into log (line) values ('x'); drop table log",
    "a table renamed": "alter table plain rename to plane",
    "names swapped": "begin; alter table swap_a rename to tmp; alter table swap_b rename to swap_a; alter table tmp rename to swap_b; commit",
    "a rewrite that keeps the type": "alter table plain alter v type text using upper(v)",
    "a column made again": "alter table plain drop column v, add column v text",
    "a new partition": "create table part_c partition of part for values in ('c'); insert into part_c values (1, 'c', 'x')",
    "a partition made again": "begin; drop table part_a; create table part_a partition of part for values in ('a'); commit",
    "another key": "alter table plain drop constraint plain_pkey, add primary key (id, v)",
    "another index": "create index later on plain (v)",
}  # fmt: skip
POINTS = ["copied.before", "capturing.before", "capturing.after", "copied.after", "indexed.after", "consistent.after", "complete.after"]


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
