"""Tables without a key are followed: both sides hold the same rows, as often, before a switch copies anything."""

import pytest

from lib.compare import assert_same_content
from lib.wait import poll_until

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
        self.run = self.tool.start("upgrade", "--jobs", "2", **options)

    def sql(self, text):
        self.writes.sql(text)

    def same(self):
        """All that was written is on the copy, and nothing else."""
        self.beats += 1
        self.writes.sql("insert into beat values (%s)", (self.beats,))
        poll_until(lambda: not self.run.running or self.copy.value("select count(*) from beat where id = %s", (self.beats,)),
                   60, lambda: f"beat {self.beats}:\n{self.run.text[-3000:]}")
        assert self.run.running, self.run.text[-3000:]
        assert_same_content(self.pair.old.connect(), self.pair.new.connect(), with_sequences=False)
        assert not self.copy.value("select count(*) from pgtandem.tab where adrift"), self.run.text[-2000:]

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
