"""Planner statistics are there before anybody is switched: of every table, partition, root, expression and extended
statistics object that has some on the source after ANALYZE."""

from lib import contents
from test_contents import ACCEPTED, roles  # noqa: F401

SCHEMA = """
create table by_leaf (id int, part int, t text) partition by list (part);
create table by_leaf_1 partition of by_leaf (primary key (id)) for values in (1);
create table by_leaf_2 partition of by_leaf for values in (2, 3) partition by list (part);
create table by_leaf_2a partition of by_leaf_2 (primary key (id)) for values in (2);
insert into by_leaf select n, n % 2 + 1, 'x' || n % 7 from generate_series(1, 1000) n;
create table by_root (id int, part int, t text) partition by hash (part);
create table by_root_0 partition of by_root for values with (modulus 2, remainder 0);
create table by_root_1 partition of by_root for values with (modulus 2, remainder 1);
alter table by_root add primary key (id, part);
insert into by_root select n, n % 5, 'x' || n % 7 from generate_series(1, 1000) n;
create table plain (id int primary key, a int, b int, t text);
insert into plain select n, n % 10, n % 10 + 1, 'T' || n % 50 from generate_series(1, 2000) n;
create index on plain (lower(t), (a + b));
create index partly on plain ((a * 2)) where a > 3;
create statistics together (ndistinct, dependencies) on a, b from plain;
create statistics of_root (dependencies) on part, t from by_root;
create materialized view seen_by_the_planner as
  select count(*) as n from pg_catalog.pg_stats where schemaname = 'public' and tablename = 'plain';
alter table plain alter a set statistics 500;
"""
EXPRESSIONS = "create statistics computed on (a % 3), (lower(t)) from plain;"

FOUND = """
select schemaname || '.' || tablename, attname, inherited from pg_stats
 where schemaname not in ('pg_catalog', 'information_schema', 'pgtandem')
"""
EXTENDED = {
    100000: "select stxname::text, stxndistinct is not null, stxdependencies is not null, false from pg_statistic_ext",
    120000: """select e.stxname::text, d.stxdndistinct is not null, d.stxddependencies is not null, false
                 from pg_statistic_ext e join pg_statistic_ext_data d on d.stxoid = e.oid""",
    140000: """select e.stxname::text, d.stxdndistinct is not null, d.stxddependencies is not null, d.stxdexpr is not null
                 from pg_statistic_ext e join pg_statistic_ext_data d on d.stxoid = e.oid""",
}


def statistics(node):
    extended = EXTENDED[max(since for since in EXTENDED if since <= node.number)]
    return set(node.sql(FOUND)) | set(node.sql(extended))


def test_all_that_analyze_finds(pair, tool, roles):
    contents.create_extensions(pair.old)
    contents.create(pair.old, *roles)
    pair.old.sql(SCHEMA if pair.old.number >= 110000 else SCHEMA[SCHEMA.index("create table plain"):].replace("on part, t from by_root", "on a, t from plain"))
    if pair.old.number >= 140000:
        pair.old.sql(EXPRESSIONS)
    run = tool.start("upgrade", *ACCEPTED)
    run.wait_for_output(r"in sync", timeout=120)
    assert pair.new.value("select n from seen_by_the_planner") > 0, "materialized views were computed without statistics"

    for (name,) in pair.old.sql("select oid::regclass::text from pg_class where relkind = 'm' and relispopulated"):
        pair.old.sql(f"refresh materialized view {name}")
    pair.old.sql("analyze")
    for (name,) in pair.old.sql("select oid::regclass::text from pg_class where relkind = 'p' and not relispartition"):
        pair.old.sql(f"analyze {name}")
    missing = statistics(pair.old) - statistics(pair.new)
    assert not missing, sorted(missing)
    tool.ok("switchover")
    assert not statistics(pair.old) - statistics(pair.new)
    run.sigint()
    run.wait()
    tool.ok("finish")
