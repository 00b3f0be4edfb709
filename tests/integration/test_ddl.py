"""Changes of the schema during a run: carried over to the copy, or a switch refuses; never wrong data.

Writers work all the time; in the end both sides are compared row by row.
"""

import time

import psycopg2
import pytest

from lib.cluster import random_name
from lib.compare import assert_same_content, differences
from lib.shop import SHOP, begin
from lib.tool import ABORTED, FAILED, INTERRUPTED, REFUSED
from lib.wait import poll_until

@pytest.fixture
def shop(one_pair):
    made = begin(one_pair)
    yield made
    made.load.stop()


def columns(node, table):
    return node.sql(
        "select a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, pg_get_expr(d.adbin, d.adrelid)"
        " from pg_attribute a left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum"
        f" where a.attrelid = '{table}'::regclass and a.attnum > 0 and not a.attisdropped order by a.attname"
    )


def assert_same_columns(shop, *tables):
    for table in tables:
        assert columns(shop.old, table) == columns(shop.new, table)


@pytest.mark.parametrize("way", ["while following", "between two commands"])
def test_columns_come_go_and_change(shop, way):
    if way == "between two commands":
        shop.end()
    shop.old.sql("alter table item add n int")
    shop.old.sql("update item set n = id where id % 3 = 0")
    shop.old.sql("alter table item add c text not null default 'con''stant'")
    shop.old.sql("alter table item alter c set default 'other'")
    shop.old.sql("alter table item add r float8 default random()")
    shop.old.sql("alter table item add twice_price numeric generated always as (price * 2) stored")
    shop.old.sql("alter table tag rename note to remark")
    shop.old.sql("alter table tag add filled text")
    shop.old.sql("update tag set filled = code")
    shop.old.sql("alter table tag alter filled set not null")
    shop.old.sql("alter table part add w int default 7")
    shop.old.sql("alter table part alter v type varchar(2000) using upper(v)")
    shop.old.sql("alter table log drop column at")
    shop.switch()
    assert_same_columns(shop, "item", "tag", "part", "part_a", "log")


@pytest.mark.parametrize("step", ["one by one", "at once"])
def test_columns_of_partitioned_tables(shop, step):
    """They themselves do not tell what older rows have, and nobody touches these rows afterwards."""
    shop.old.sql("""
        create table years (id int, y int, primary key (id, y)) partition by range (y);
        create table years_1 partition of years for values from (1) to (2) partition by range (id);
        create table years_1_1 partition of years_1 for values from (0) to (100);
        create table years_2 partition of years for values from (2) to (3);
        insert into years select i, 1 + i % 2 from generate_series(1, 90) i
    """)  # fmt: skip
    shop.tool.ok("switchover")
    shop.tool.ok("rollback")
    statements = (
        "alter table years add n int not null default 3, add t text default 'it''s', add at timestamptz default now()",
        "alter table years alter t drop default",
        "create table years_3 partition of years for values from (3) to (4); insert into years (id, y) values (1, 3)",
        "alter table years add later int default 7",
    )  # fmt: skip
    carried = "select count(*) from pg_attribute where attrelid::regclass::text ~ '^years' and attnum > 0"

    def make(node, statement):
        node.sql(statement)
        if step == "one by one":
            poll_until(lambda: shop.old.value(carried) == shop.new.value(carried), 60, lambda: statement + shop.run.text)
            shop.tool.ok("verify")

    for statement in statements if step == "one by one" else ["; ".join(statements)]:
        make(shop.old, statement)
    shop.tool.ok("switchover")
    assert_same_columns(shop, "years", "years_1_1", "years_3")
    # a constant is known without reading the rows, whatever else came
    assert "table public.years are carried anew" not in shop.run.text
    shop.load.stop()
    shop.tool.ok("verify")
    for statement in (
        "alter table years add e int[] default '{1,2}'",
        "alter table years add r float8 default random(), add s int default 5",
    ):
        make(shop.new, statement)
    shop.tool.ok("rollback")
    assert_same_content(shop.old.connect(), shop.new.connect())


@pytest.mark.parametrize("kind", ["superuser", "ordinary"])
def test_foreign_keys_that_demand_something_else(one_pair, ordinary, kind):
    """The name stays, the action is another one: on the copy, where it may sleep, it is that then."""
    user = ordinary(one_pair) if kind == "ordinary" else None
    nodes = one_pair.old, one_pair.new
    options = {"user": user} if user else {}
    one_pair.old.sql("""
        create table parent (id int primary key); insert into parent values (1), (2), (3);
        create table child (id int primary key, p int constraint up references parent, q int constraint "To Q" references parent);
        insert into child values (1, 1, 2)
    """, **options)  # fmt: skip
    tool = one_pair.tool()
    run = tool.start("upgrade")
    run.wait_for_output(r"in sync", timeout=60)

    def keys(node):
        return node.sql("select conname, pg_get_constraintdef(oid) from pg_constraint where contype = 'f' order by 1")

    def change(node, action):
        node.sql(f"alter table child drop constraint up, add constraint up foreign key (p) references parent on delete {action};"
                 f' alter table child alter constraint "To Q" {"deferrable" if action == "cascade" else "not deferrable"}', **options)  # fmt: skip

    for command, writes, action in (("switchover", 0, "cascade"), ("rollback", 1, "set null"), ("switchover", 0, "cascade")):
        before = keys(nodes[writes])
        change(nodes[writes], action)
        wanted = keys(nodes[writes])
        assert wanted != before
        tool.ok(command)
        assert keys(nodes[1 - writes]) == wanted
        assert one_pair.old.value("select count(*) from pgtandem.node") == 1
    run.sigint()
    run.wait()
    tool.ok("verify")
    tool.ok("finish")
    assert keys(nodes[0]) == keys(nodes[1]) == wanted
    nodes[1].sql("delete from parent where id = 1", **options)
    assert nodes[1].sql("select * from child") == []


def test_key_columns_change(shop):
    with pytest.raises(psycopg2.errors.FeatureNotSupported):
        # our triggers name the key: PostgreSQL itself refuses, and the application goes on
        shop.old.sql("drop view cheap; alter table item alter id type bigint")
    shop.old.sql("alter table tag rename code to label")
    shop.old.sql("alter table part drop constraint part_pkey, add primary key (region, id)")
    time.sleep(2)
    shop.old.sql("delete from tag where label = 'c7'")
    shop.switch()
    assert_same_columns(shop, "item", "tag", "part")


def test_new_tables(shop):
    shop.old.sql("create schema later; create type later.size as enum ('s', 'l')")
    shop.old.sql(
        "create table later.thing (id serial primary key, item int references item, size later.size,"
        " note text check (note <> '')); create index on later.thing (item); comment on table later.thing is 'hm'"
    )
    shop.old.sql("insert into later.thing (item, size) select i, 's' from generate_series(1, 20) i")
    shop.old.sql("create table later.plain (x int); insert into later.plain values (1)")
    shop.run.wait_for_output(r"later\.thing is part of the run")
    shop.old.sql("update later.thing set size = 'l' where id > 10; insert into later.plain values (2)")
    shop.switch()
    shop.new.sql("insert into later.thing (item) values (3)")
    with pytest.raises(psycopg2.errors.ForeignKeyViolation):
        shop.new.sql("insert into later.thing (item) values (-3)")
    shop.new.sql("delete from later.thing where id = 1; insert into later.plain values (3)")
    assert shop.new.value("select obj_description('later.thing'::regclass)") == "hm"
    shop.tool.ok("rollback")
    assert_same_content(shop.old.connect(), shop.new.connect())
    assert shop.old.value("select count(*) from later.thing") == 20 - 1 + 1
    shop.old.sql("insert into later.thing (item) values (4)")
    shop.end()
    shop.tool.ok("switchover")
    shop.tool.ok("finish")
    assert shop.new.value("select count(*) from pg_trigger where tgname like 'pgtandem%'") == 0


def test_partitions_come_go_and_move(shop):
    shop.old.sql("create table part_c partition of part for values in ('c')")
    shop.old.sql("insert into part values (1, 'c', 'x')")
    shop.run.wait_for_output(r"table public\.part_c is as on the source", timeout=30)
    shop.old.sql("insert into part values (2, 'c', 'y')")
    shop.old.sql("create table side (id int not null, region text not null, v text, primary key (id, region))")
    shop.old.sql("insert into side values (1, 'd', 'x')")
    shop.run.wait_for_output(r"table public\.side is part of the run", timeout=30)
    shop.old.sql("update side set v = 'seen'; insert into side values (2, 'd', 'z'), (3, 'd', 'z')")
    shop.old.sql("alter table part attach partition side for values in ('d')")
    shop.old.sql("delete from side where id = 3")
    shop.old.sql("alter table part detach partition part_b")
    shop.old.sql("update part_b set v = 'alone' where id = 7; delete from part_b where id = 9")
    shop.switch()
    assert shop.new.value("select count(*) from part where region = 'd'") == 2
    assert shop.new.value("select v from part_b where id = 7") == "alone"
    shop.new.sql("insert into part values (9, 'c', 'back'); delete from part_b where id = 11")
    shop.tool.ok("rollback")
    assert_same_content(shop.old.connect(), shop.new.connect())


@pytest.mark.parametrize("kind", ["owner", "member"])
def test_without_special_rights(one_pair, ordinary, kind):
    """Foreign keys of the copy sleep; new ones do so from the beginning."""
    owner = ordinary(one_pair, kind)
    node = one_pair.old
    node.sql(f"set role {owner};" + SHOP)
    tool = one_pair.tool()
    run = tool.start("upgrade", "--jobs", "2")
    run.wait_for_output(r"in sync", timeout=90)
    node.sql(f"set role {owner}; alter table item add n int default 4; update item set n = id where id < 5;"
             "create table child (id int primary key, item int references item); insert into child values (1, 1);"
             "create table part_c partition of part for values in ('c'); insert into part values (3, 'c', 'x');"
             "create index on child (item); drop table old_things")
    tool.ok("switchover")
    run.sigint()
    run.wait()
    assert_same_content(one_pair.old.connect(), one_pair.new.connect())
    with pytest.raises(psycopg2.errors.ForeignKeyViolation):
        one_pair.new.sql("insert into child values (2, -2)")
    assert one_pair.new.value("select pg_get_userbyid(relowner) from pg_class where relname = 'child'") == owner


def test_tables_renamed_dropped_and_made_anew(shop):
    shop.old.sql("create schema other")
    shop.old.sql("alter table tag rename to label; alter table label set schema other")
    shop.old.sql("drop table old_things")
    shop.old.sql("drop table log; create table log (at timestamptz, line text); insert into log values (now(), 'anew')")
    # at once, with changes of both, so that a round meets the new table under the old one's name
    shop.old.sql("update item set name = 'last' where id < 100; alter table item rename to wares;"
                 "create table item (id int primary key, name text not null, price numeric(10,2) default 1)")
    shop.old.sql("insert into item values (77, 'in the new table')")
    shop.old.sql("update wares set name = 'renamed' where id = 3")
    time.sleep(3)
    shop.old.sql("insert into wares values (999, 'later'); update other.label set note = 'other' where code = 'c3'")
    shop.switch()
    assert shop.new.value("select to_regclass('old_things')") is None
    assert shop.new.value("select to_regclass('tag')") is None
    shop.new.sql("delete from wares where id = 999; update other.label set note = 'back' where code = 'c4'")
    shop.tool.ok("rollback")
    assert_same_content(shop.old.connect(), shop.new.connect())


def test_the_same_table_made_again(shop):
    """By its definition nothing has changed."""
    with shop.old.connect() as connection, connection.cursor() as cursor:
        cursor.execute("begin; drop table old_things; create table old_things (id int primary key);"
                       "insert into old_things values (2); commit")
    shop.switch()
    shop.new.sql("insert into old_things values (3)")
    shop.tool.ok("rollback")
    assert_same_content(shop.old.connect(), shop.new.connect())


def test_everything_else(shop):
    for statement in (
        "create index item_name on item (name)",
        "create unique index concurrently item_price on item (price, id)",
        "alter table item add constraint positive check (price > -1)",
        "alter table tag add constraint note_once unique (note, code)",
        "alter table part add constraint back foreign key (id) references item (id)",
        "create or replace view cheap as select id, name, price from item where price < 5",
        "create view dear as select * from cheap",
        "create materialized view sums as select sum(id) from old_things",
        "create or replace function twice(int) returns int language sql as 'select $1 + $1'",
        "create function thrice(n int, t text default 'x') returns int language plpgsql as 'begin return n * 3; end'",
        "create sequence numbers start 5",
        "select nextval('numbers')",
        "alter type mood add value 'better' after 'good'",
        "alter type mood add value 'worst' before 'bad'",
        "create domain short as varchar(10) check (value <> '')",
        "create function touched() returns trigger language plpgsql as 'begin new.note := new.note; return new; end'",
        "create trigger touch before update on tag for each row execute function touched()",
        "create table feeling (id int primary key, m mood, s short)",
        "insert into feeling values (1, 'better', 'x'), (2, 'worst', 'y')",
        "create rule quiet as on insert to old_things do also nothing",
        "create collation plain from \"C\"",
        "create text search dictionary stems (template = simple, accept = false)",
        "create text search configuration words (parser = default)",
        "alter text search configuration words add mapping for word with stems, simple",
        "create function much(int, int) returns bool language sql immutable as 'select $1 > 10 * $2'",
        "create operator >>>> (leftarg = int, rightarg = int, procedure = much)",
        "create function felt(int) returns mood language sql immutable as 'select ''good''::mood'",
        "create cast (int as mood) with function felt(int)",
        "create foreign data wrapper nowhere options (debug 'true')",
        "create server far foreign data wrapper nowhere options (host 'h')",
    ):
        shop.old.sql(statement)
    shop.switch()
    for query in (
        "select count(*) from pg_indexes where indexname in ('item_name', 'item_price', 'note_once')",
        "select count(*) from pg_constraint where conname in ('positive', 'note_once', 'back') and conparentid = 0",
        "select count(price) from cheap",
        "select count(*) from dear",
        "select twice(4) + thrice(2)",
        "select prosrc from pg_proc where proname = 'twice'",
        "select last_value from numbers",
        "select enum_range(null::mood)::text",
        "select count(*) from pg_trigger where tgname = 'touch'",
        "select count(*) from pg_rules where rulename = 'quiet'",
        "select sum is not null from sums",
        "select collcollate from pg_collation where collname = 'plain'",
        "select to_tsvector('words', 'a b')::text",
        "select 100 >>>> 2",
        "select (7::mood)::text",
        "select srvoptions::text from pg_foreign_server",
    ):
        assert shop.old.value(query) == shop.new.value(query), query


STATES = ("select tgname, tgrelid::regclass::text, tgenabled from pg_trigger where tgname ~ '^(stays|goes|parts)' union all"
          " select rulename, ev_class::regclass::text, ev_enabled from pg_rewrite where rulename ~ '^rule_' order by 1, 2")  # fmt: skip


@pytest.mark.parametrize("kind", ["superuser", "ordinary"])
def test_triggers_switched_off_and_on(one_pair, ordinary, kind):
    """Also of those that sleep on the copy: they wake as they are on the other node."""
    owner = ordinary(one_pair) if kind == "ordinary" else "postgres"
    one_pair.old.psql(f"""
        set role {owner};
        create table item (id int primary key, n int not null default 0);
        create table part (id int primary key) partition by range (id);
        create table part_a partition of part for values from (0) to (100);
        create function touch() returns trigger language plpgsql as $$ begin new.n := new.n + 1; return new; end $$;
        create function pass() returns trigger language plpgsql as $$ begin return null; end $$;
        create trigger stays before insert on item for each row execute procedure touch();
        create trigger "stays ""too" before insert on item for each row execute procedure touch();
        create trigger goes before insert on item for each row execute procedure touch();
        create trigger goes_2 before insert on item for each row execute procedure touch();
        alter table item enable always trigger goes; alter table item enable replica trigger goes_2;
        create trigger parts after insert on part for each row execute procedure pass();
        create rule rule_a as on delete to item do also nothing;
        create rule rule_b as on delete to item do also nothing;
        alter table item disable rule rule_b""")
    tool = one_pair.tool()
    run = tool.start("upgrade", "--jobs", "2")
    run.wait_for_output(r"in sync", timeout=90)
    before = one_pair.old.sql(STATES)
    one_pair.old.psql("alter table item disable trigger goes; alter table item enable always trigger \"stays \"\"too\";"
                      "alter table item enable trigger goes_2; alter table part disable trigger parts;"
                      "alter table item enable always rule rule_b; alter table item disable rule rule_a")
    wanted = one_pair.old.sql(STATES)
    one_pair.old.sql("insert into item values (1)")
    tool.ok("switchover")
    assert one_pair.new.sql(STATES) == wanted != before
    one_pair.new.sql("insert into item values (2)")
    assert one_pair.new.sql("select id, n from item order by 1") == [(1, 3), (2, 3)]
    one_pair.new.psql("alter table item enable always trigger goes; alter table item enable trigger \"stays \"\"too\";"
                      "alter table item enable replica trigger goes_2; alter table part enable trigger parts;"
                      "alter table item disable rule rule_b; alter table item enable rule rule_a")
    # of those that sleep nothing is in the way of rows
    one_pair.new.sql("insert into item values (3)")
    tool.ok("rollback")
    assert one_pair.old.sql(STATES) == before
    assert one_pair.old.sql("select id, n from item order by 1") == one_pair.new.sql("select id, n from item order by 1")
    run.sigint()
    assert run.wait().rc == INTERRUPTED
    tool.ok("abort")
    assert one_pair.old.sql(STATES) == before


def test_dropped_objects_go(one_pair):
    one_pair.old.sql(SHOP)
    one_pair.old.sql("create index i on item (name); create sequence s; create view v as select 1 as one;"
                     "create table c (id int primary key, item int constraint to_item references item)")
    one_pair.old.psql("""
        create collation plain from "C"; create text search dictionary stems (template = simple);
        create text search configuration words (parser = default);
        create function much(int, int) returns bool language sql immutable as 'select $1 > 10 * $2';
        create operator >>>> (leftarg = int, rightarg = int, procedure = much);
        create operator >>>> (leftarg = int8, rightarg = int, procedure = int84gt);
        create operator class odd for type int using btree as operator 1 <, operator 3 =, function 1 btint4cmp(int, int);
        create function felt(int) returns mood language sql immutable as 'select ''good''::mood';
        create cast (int as mood) with function felt(int);
        create foreign data wrapper nowhere; create server far foreign data wrapper nowhere""")
    tool = one_pair.tool()
    run = tool.start("upgrade", "--jobs", "2")
    run.wait_for_output(r"in sync", timeout=90)
    one_pair.old.sql("drop index i; drop sequence s; drop view v; drop function twice(int); drop view cheap;"
                     "alter table c drop constraint to_item; alter table item drop name; drop cast (int as mood);"
                     "drop function felt(int); drop type mood; drop collation plain; drop text search configuration words;"
                     "drop text search dictionary stems; drop operator >>>> (int, int); drop function much(int, int);"
                     "drop operator family odd using btree; drop server far; drop foreign data wrapper nowhere")
    tool.ok("switchover")
    run.sigint()
    run.wait()
    for name in ("i", "s", "v", "cheap"):
        assert one_pair.new.value("select to_regclass(%s)", (name,)) is None
    assert one_pair.new.value("select count(*) from pg_proc where proname = 'twice'") == 0
    assert one_pair.new.value("select count(*) from pg_constraint where conname = 'to_item'") == 0
    for query in ("pg_collation where collname = 'plain'", "pg_ts_config where cfgname = 'words'", "pg_ts_dict where dictname = 'stems'",
                  "pg_opclass where opcname = 'odd'", "pg_opfamily where opfname = 'odd'", "pg_cast where oid >= 16384",
                  "pg_foreign_server", "pg_foreign_data_wrapper"):  # fmt: skip
        assert one_pair.new.value(f"select count(*) from {query}") == 0, query
    assert one_pair.new.sql("select oprleft::regtype::text from pg_operator where oprname = '>>>>'") == [("bigint",)]
    assert not differences(one_pair.old.connect(), one_pair.new.connect())


def test_what_the_copy_refuses_stops_the_table_until_it_is_done_by_hand(shop):
    shop.old.sql("begin; drop view cheap; alter table item alter name type varchar(400), alter price type numeric(12,4);"
                 "create view cheap as select id, name from item where price < 50; update item set price = 1.2345 where id = 5;"
                 "commit")
    done = shop.run.wait()
    assert done.rc == FAILED
    assert "item was altered on the source, and the target refuses the same" in done.text
    assert "Make that change on the target" in done.text and "ALTER TABLE" in done.text
    for options in ((), ("--accept", "schema-changed")):
        refused = shop.tool.run("switchover", *options)
        assert refused.rc == FAILED and "refuses the same" in refused.text
    assert shop.old.value("select gate from pgtandem.node") == "open"
    shop.new.sql("begin; drop view cheap; alter table item alter name type varchar(400), alter price type numeric(12,4);"
                 "create view cheap as select id, name from item where price < 50; commit")
    run = shop.tool.start("upgrade")
    run.wait_for_output(r"in sync")
    run.sigint()
    run.wait()
    shop.switch()
    assert str(shop.new.value("select price from item where id = 5")) == "1.2345"


def test_a_table_that_cannot_be_made_keeps_from_the_switch(shop):
    shop.new.sql("create table taken (other text)")
    shop.old.sql("create table taken (id int primary key); insert into taken values (1)")
    for options in ((), ("--accept", "schema-changed")):
        refused = shop.tool.run("switchover", *options)
        assert refused.rc in (REFUSED, FAILED), refused
        assert "taken" in refused.text
    shop.new.sql("drop table taken")
    shop.switch()
    assert shop.new.value("select count(*) from taken") == 1


def test_what_was_done_by_hand_on_both_is_fine(shop):
    for node in (shop.old, shop.new):
        node.sql("create index by_hand on item (name)")
        node.sql("alter table item add h int default 3")
        node.sql("create table hand_made (id int primary key)")
    shop.old.sql("insert into hand_made values (4)")
    shop.old.sql("update item set h = id where id < 9")
    shop.switch()
    assert shop.new.value("select count(*) from item where h = id and id < 9 and id <> 3") == 7


def test_a_change_on_the_copy_alone_is_refused_but_may_be_accepted(shop):
    shop.new.sql("create index only_here on item (name)")
    refused = shop.tool.run("switchover")
    assert refused.rc == REFUSED and "only_here was added on the target" in refused.text
    shop.switch("--accept", "schema-changed")


def test_a_change_in_the_last_moment_gives_the_switch_up(shop):
    switch = shop.tool.start("switchover", "--max-pause", "30s", fault="switch.lock.before:sleep=3000")
    switch.wait_for_output(r"fault|handing|asking", timeout=30)
    poll_until(lambda: shop.old.value(
        "select count(*) from pg_stat_activity where application_name like 'pgtandem%fence%' and datname = current_database()"), timeout=30)
    time.sleep(1)
    shop.old.sql("create table late (id int primary key); insert into late values (1)")
    done = switch.wait()
    assert done.rc == ABORTED, done
    assert "in this very moment" in done.text
    shop.switch()
    assert shop.new.value("select count(*) from late") == 1


def test_after_a_switch_changes_go_the_other_way(shop):
    shop.switch()
    shop.new.sql("alter table item add back int; update item set back = id")
    shop.new.sql("create table afterwards (id int primary key); insert into afterwards values (1)")
    back = shop.tool.run("rollback")
    if back.rc == REFUSED:
        # without a pg_dump of the new version new tables are made by hand
        assert "no pg_dump that is as new as the target" in back.text
        assert "public.afterwards on the target cannot be carried over" in back.text
        shop.old.sql("create table afterwards (id int primary key)")
        shop.tool.ok("rollback")
    assert_same_content(shop.old.connect(), shop.new.connect())
    assert shop.old.value("select count(*) from afterwards") == 1


@pytest.mark.parametrize("point", ["one", "renamed", "registered", "marked", "settled"])
@pytest.mark.parametrize("nth", [1, 2])
def test_killed_at_any_point_of_carrying(one_pair, point, nth):
    one_pair.old.sql(SHOP)
    tool = one_pair.tool()
    run = tool.start("upgrade", "--jobs", "2")
    run.wait_for_output(r"in sync", timeout=90)
    run.sigint()
    run.wait()
    one_pair.old.sql("alter table item add r float8 default random(); alter table tag rename to label;"
                     "create table a1 (id int primary key); insert into a1 values (1);"
                     "create table a2 (id int primary key); insert into a2 values (2);"
                     "drop table old_things; create table old_things (id int primary key); insert into old_things values (5)")
    died = tool.start("upgrade", fault=f"ddl.{point}:kill:{nth}")
    try:
        died.wait(20)
    except TimeoutError:
        pass  # not so often
    one_pair.old.sql("update label set note = 'later' where code = 'c3'; insert into a1 values (3)")
    tool.ok("switchover")
    assert_same_content(one_pair.old.connect(), one_pair.new.connect())
    tool.ok("rollback")


FACTS = (
    # owners may MAINTAIN from 17 on
    "select relname, replace(relacl::text, 'arwdDxtm', 'arwdDxt'), relrowsecurity, reloptions from pg_class c join pg_namespace n on n.oid = c.relnamespace"
    " where nspname in ('public', 'later') and relkind in ('r', 'v', 'S', 'i', 'p') order by 1",
    "select attrelid::regclass::text, attname, attacl::text from pg_attribute where attacl is not null and attrelid >= 16384 order by 1",
    "select classoid::regclass::text, (pg_identify_object(classoid, objoid, objsubid)).identity, description from pg_description"
    " where objoid >= 16384 order by 1, 2",
    "select proname, proacl::text, prosecdef, provolatile, proconfig from pg_proc p join pg_namespace n on n.oid = p.pronamespace"
    " where nspname in ('public', 'later') order by 1",
    "select typname, typacl::text from pg_type where typname in ('mood', 'short') order by 1",
    "select nspname, nspacl::text from pg_namespace where nspname in ('public', 'later') order by 1",
    "select tablename, policyname, permissive, roles, cmd, qual, with_check from pg_policies order by 1, 2",
    "select stxname from pg_statistic_ext order by 1",
    "select defaclobjtype, defaclacl::text from pg_default_acl order by 1",
    "select extname from pg_extension order by 1",
    "select relname, pg_get_userbyid(relowner) from pg_class c join pg_namespace n on n.oid = c.relnamespace"
    " where nspname = 'public' and relkind in ('r', 'v', 'S') order by 1",
)


def facts(node):
    with node.connect() as connection, connection.cursor() as cursor:
        found = []
        for query in FACTS:
            cursor.execute(query)
            found.append(cursor.fetchall())
        return found


@pytest.fixture
def reader(one_pair):
    """A role of both servers that nobody has granted anything yet."""
    name = random_name("reader")
    for node in (one_pair.old, one_pair.new):
        node.cluster.create_role(name)
    yield name
    for node in (one_pair.old, one_pair.new):
        node.sql(f"reassign owned by {name} to postgres; drop owned by {name}")
        node.cluster.drop_role(name)


# what is said of objects that are there: made, changed, and taken back
SAID = [
    "grant select, insert on item to {r}; grant update (note), select (code) on tag to {r} with grant option;"
    "grant usage on schema public to {r}; grant select on cheap to public; revoke execute on function twice(int) from public;"
    "grant execute on function twice(int) to {r}; grant usage on type mood to {r};"
    "comment on table item is 'what it''s'; comment on column item.name is 'the \"name\"'; comment on function twice(int) is '2';"
    "comment on type mood is 'how'; comment on constraint item_pkey on item is 'key'; comment on index part_pkey is 'two';"
    "alter table tag enable row level security; create policy mine on tag for select to {r} using (code > 'c1');"
    "create policy \"Odd one\" on tag as restrictive for update to public using (true) with check (note <> 'never');"
    "alter table item set (fillfactor = 80, toast.autovacuum_enabled = off); alter view cheap set (security_barrier);"
    "alter index part_a_pkey set (fillfactor = 70); create statistics both_of on id, name from item;"
    "alter function twice(int) security definer stable set search_path = public; alter table old_things owner to {r};"
    "alter default privileges in schema public grant select on tables to {r}; create extension hstore",
    "revoke insert on item from {r}; grant select on item to {r} with grant option;"
    "revoke grant option for update (note) on tag from {r}; revoke select (code) on tag from {r}; grant select on cheap to {r};"
    "comment on table item is 'other'; comment on column item.name is null; alter policy mine on tag using (code > 'c2');"
    "drop policy \"Odd one\" on tag; alter table item set (fillfactor = 90); alter table item reset (toast.autovacuum_enabled);"
    "alter view cheap reset (security_barrier); drop statistics both_of; alter function twice(int) security invoker;"
    "alter table old_things owner to postgres; alter table part enable row level security",
]


def test_owners_rights_comments_and_the_like(shop, reader):
    """They are carried like all else, in both directions, though they concern no row."""
    for statements in SAID:
        shop.old.sql(statements.format(r=reader))
        poll_until(lambda: facts(shop.old) == facts(shop.new), 30,
                   lambda: [pair for pair in zip(facts(shop.old), facts(shop.new)) if pair[0] != pair[1]])
    shop.switch()
    assert facts(shop.old) == facts(shop.new)
    shop.new.sql(f"alter table tag disable row level security; grant delete on tag to {reader};"
                 f"alter default privileges in schema public revoke select on tables from {reader};"
                 f"comment on table item is null; drop extension hstore; revoke all on schema public from {reader}")
    shop.tool.ok("rollback")
    assert facts(shop.old) == facts(shop.new)
    shop.end()


def test_a_right_of_a_role_that_the_copy_lacks_keeps_from_the_switch(shop):
    only_there = random_name("only_there")
    shop.old.cluster.create_role(only_there)
    try:
        shop.old.sql(f"grant select on item to {only_there}; create table fresh (id int primary key);"
                     f"grant select on fresh to {only_there}")
        done = shop.tool.run("switchover")
        assert done.rc == REFUSED and f"right to select on table public.item of {only_there}" in done.err, done
        assert f'role "{only_there}" does not exist' in done.err + shop.run.text
        shop.old.sql("update item set name = 'still open' where id = 1")
        shop.switch("--accept", "schema-changed")
        shop.tool.ok("finish")
    finally:
        shop.old.sql(f"drop owned by {only_there}")
        shop.old.cluster.drop_role(only_there)
