"""Tablespaces of the source: nothing is put into any on the target, and neither is anything of ours left in one."""

import pytest

from lib import place, servers
from lib.cluster import random_name
from lib.compare import assert_same_catalog, assert_same_content, catalog_fingerprint
from lib.tool import Tool, kill_leftovers
from lib.wait import poll_until

# the database itself is in $slow
SCHEMA = """
create table t (id int primary key using index tablespace $fast, v text, n int unique using index tablespace pg_default) tablespace $fast;
insert into t select n, repeat('long ', 2000), n from generate_series(1, 50) n;
create index on t (v) tablespace pg_default;
drop index t_v_idx;
create index hashed on t (md5(v)) tablespace $fast;
create table usual (id int primary key, t int references t);
insert into usual select n, n from generate_series(1, 50) n;
create table no_key (a int) tablespace $fast;
insert into no_key values (1), (1);
create unlogged table quick (id int primary key) tablespace $fast;
create sequence numbers;
create table parent (id int primary key) tablespace $fast;
create table child (primary key (id)) inherits (parent);
create materialized view counted tablespace $fast as select count(*) as n from t;
create index on counted (n) tablespace pg_default;
"""
PARTITIONS = """
create table parted (id int, part int) partition by list (part) tablespace $fast;
create table parted_1 partition of parted for values in (1) tablespace pg_default;
create table parted_2 partition of parted for values in (2);
alter table parted add primary key (id, part) using index tablespace $fast;
insert into parted select n, n % 2 + 1 from generate_series(1, 50) n;
"""

PLACES = """
select c.relname, c.relkind, s.spcname from pg_class c join pg_namespace n on n.oid = c.relnamespace
  left join pg_tablespace s on s.oid = c.reltablespace
 where n.nspname not in ('pg_catalog', 'information_schema', 'pg_toast', 'pgtandem')
"""


def places(node):
    return set(node.sql(PLACES))


class Spaces:
    def __init__(self, pair):
        self.pair = pair
        self.names = {name: random_name(name) for name in ("fast", "slow", "roomy")}
        self.made = [(pair.old, "fast"), (pair.old, "slow"), (pair.new, "roomy")]
        for node, name in self.made:
            node.cluster.sql("postgres", f"create tablespace {self.names[name]} location '{place.new_dir(name)}'")
        pair.old.cluster.sql("postgres", self.text(f"alter database {pair.old.dbname} set tablespace $slow"))
        pair.old.sql(self.text(SCHEMA))
        if pair.old.number >= 120000:
            pair.old.sql(self.text(PARTITIONS))
        # what pgtandem makes on either node goes there, and so do its temporary tables
        for node, name in ((pair.old, "$fast"), (pair.new, "$roomy")):
            node.sql(self.text(f"alter database {node.dbname} set default_tablespace = {name}"))
            node.sql(self.text(f"alter database {node.dbname} set temp_tablespaces = {name}"))

    def text(self, text):
        for name, real in self.names.items():
            text = text.replace("$" + name, real)
        return text

    def sql(self, node, text):
        node.sql(self.text(text))

    def drop(self):
        """Only an empty one can be dropped."""
        kill_leftovers()
        for node, name in self.made:
            node.cluster.drop_db(node.dbname)
            node.cluster.sql("postgres", f"drop tablespace if exists {self.names[name]}")


@pytest.fixture
def spaces(pair):
    made = Spaces(pair)
    yield made
    made.drop()


def same(pair):
    connections = pair.old.connect(), pair.new.connect()
    for connection in connections:
        connection.cursor().execute("refresh materialized view counted")
    assert_same_content(*connections)


def test_forth_and_back(pair, tool, spaces):
    found = {one["id"]: one for one in tool.run("check", "--json").json["findings"]}
    named = [one.split(" ")[0] for one in found["tablespaces"]["objects"]]
    assert sorted(named) == sorted([spaces.names["fast"], "pg_default"]), named

    run = tool.start("upgrade", "--jobs", "2", "--chunk-size", "64kB")
    run.wait_for_output("in sync", timeout=120)
    same(pair)
    # made and moved meanwhile, the hint of `check` among it
    spaces.sql(pair.old, "create table later (id int primary key using index tablespace $fast) tablespace pg_default;"
                         " insert into later values (1); create index at_last on usual (t) tablespace $fast")
    spaces.sql(pair.old, "alter table no_key set tablespace pg_default")
    spaces.sql(pair.old, "alter table usual set tablespace $fast")
    poll_until(lambda: pair.new.value("select count(*) from pg_class where relname in ('later', 'at_last')") == 2)
    for what in ("table t", "table usual", "table no_key", "index hashed", "materialized view counted"):
        spaces.sql(pair.new, f"alter {what} set tablespace pg_default")
        spaces.sql(pair.new, f"alter {what} set tablespace $roomy")
    before = places(pair.old)
    pair.old.sql("insert into usual values (100, 1); insert into no_key values (2); insert into later values (2); update t set n = n + 1000")
    tool.ok("switchover")
    pair.new.sql("insert into usual values (101, 1); insert into no_key values (3); insert into later values (3); update t set v = 'short'")
    tool.ok("rollback")
    pair.old.sql("insert into usual values (102, 1); insert into no_key values (4); insert into later values (4); delete from parent")
    tool.ok("switchover")
    run.sigint()
    run.wait()
    tool.ok("verify")
    tool.ok("finish")
    same(pair)
    assert pair.old.value("select count(*) from no_key") == 5
    assert places(pair.old) == before
    assert not pair.old.sql("select 1 from pg_namespace where nspname = 'pgtandem'")
    assert {row[2] for row in places(pair.new) if row[0] in ("t", "usual", "hashed", "counted")} == {spaces.names["roomy"]}


def test_abort_empties_them(pair, tool, spaces):
    before = [(places(node), catalog_fingerprint(node.connect())) for node in (pair.old, pair.new)]
    run = tool.start("upgrade", "--jobs", "2")
    run.wait_for_output("in sync", timeout=120)
    assert tool.run("switchover").rc == 0
    assert tool.run("rollback").rc == 0
    run.sigint()
    run.wait()
    tool.ok("abort")
    for node, (there, fingerprint) in zip((pair.old, pair.new), before):
        assert places(node) == there
        assert_same_catalog(fingerprint, catalog_fingerprint(node.connect()))
    for node in (pair.old, pair.new):
        node.sql(f"alter database {node.dbname} reset all")
    spaces.sql(pair.new, "drop tablespace $roomy")


def test_all_databases(new_cluster):
    """A database of a tablespace is made in the target's default one."""
    old, new = (new_cluster(version) for version in servers.wanted_one_pair())
    old.sql("postgres", f"create tablespace fast location '{place.new_dir('fast')}'")
    old.sql("postgres", "create database shop tablespace fast")
    old.sql("shop", "create table t (id int primary key) tablespace pg_default; insert into t values (1)")
    tool = Tool(source=old.conninfo(), target=new.conninfo(), client_version=old.version)
    done = tool.run("check", "--all-databases")
    assert "tablespaces of the source are not created on the target" in done.text and "fast" in done.text
    tool.ok("upgrade", "--all-databases", "--switchover", timeout=200)
    assert new.value("shop", "select count(*) from t") == 1
    tool.ok("rollback", "--all-databases")
    tool.ok("switchover", "--all-databases")
    tool.ok("finish", "--all-databases")
