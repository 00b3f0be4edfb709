"""Runs that leave rows behind (--where): rows cross the border in both directions, the way back loses nothing, and
what was left behind is never touched."""

import random
import threading

import psycopg2
import psycopg2.errors
import pytest

from lib import servers
from lib.compare import assert_same_catalog, catalog_fingerprint
from lib.ledger import Ledger
from lib.tool import DONE, FAILED, INTERRUPTED, REFUSED, USAGE
from lib.wait import poll_until

SOURCE = """
    create schema shop;
    create table shop.orders (id bigint primary key, tenant int not null, created timestamptz not null,
        note text, code text unique);
    create table shop."Odd ""T" ("Key A" text, "b,c" date, "where it's" text, present bool, c1 int,
        primary key ("b,c", "Key A"));
    create table shop.price (amount numeric primary key, live bool, note text);
    create table shop.sensor (at float8 primary key, live bool);
    create table shop.whole (id int primary key, v text);
    create function shop.is_new(at timestamptz) returns bool language sql immutable as $$ select at >= '2024-01-01+00' $$;
    insert into shop.orders select i, i % 7, timestamptz '2023-07-01+00' + i * interval '1 day', 'n' || i, 'c' || i
        from generate_series(1, 400) i;
    insert into shop."Odd ""T" select 'k' || i, date '2024-01-01' + i % 5, case i % 3 when 0 then 'it''s here' else 'there' end,
        i % 2 = 0, i from generate_series(1, 60) i;
    insert into shop.price select i / 2.0, i % 2 = 0, 'p' from generate_series(1, 40) i;
    insert into shop.sensor select i / 3.0, i % 2 = 0 from generate_series(1, 40) i;
    insert into shop.whole select i, 'w' from generate_series(1, 20) i;
"""
CONDITIONS = {
    "shop.orders": "shop.is_new(created) and tenant <> 6",
    'shop."Odd ""T"': "\"where it's\" = 'it''s here' and c1 > 0 and (present or not present) -- these",
    "shop.price": "live",
    "shop.sensor": "live\n  or at < 0",
}
WHERE = [word for table, condition in CONDITIONS.items() for word in ("--where", f"{table}={condition}")]
KEYS = {"shop.orders": ["id"], 'shop."Odd ""T"': ["b,c", "Key A"], "shop.price": ["amount"], "shop.sensor": ["at"]}


def follow(tool, *options, jobs="2"):
    run = tool.start("upgrade", "--jobs", jobs, *options)
    run.wait_for_output(r"in sync", timeout=90)
    return run


def end(run):
    run.sigint()
    assert run.wait().rc == INTERRUPTED


def rows(node, table, which="true"):
    # floats are written in full, which is not the same text before 12
    return sorted(row[0] for row in node.sql(f"set extra_float_digits = 0; select t::text from {table} t where {which}"))


def columns(node, table):
    return [row[0] for row in node.sql("select attname from pg_attribute where attrelid = %s::regclass and attnum > 0"
                                       " and not attisdropped order by attnum", (table,))]


def left_behind(node):
    """Rows of the source that fail their condition, by table."""
    return {table: rows(node, table, f"({condition}\n) is not true") for table, condition in CONDITIONS.items()}


def differing(pair, outside=None):
    """Tables of which the run's rows are not the same; outside: rows of the source that belong to them all the same."""
    outside = outside or {}
    found = []
    for table, condition in CONDITIONS.items():
        wanted = rows(pair.old, table, f"({condition}\n)") + outside.get(table, [])
        if sorted(wanted) != rows(pair.new, table):
            found.append(table)
    return found


def wait_until(condition, timeout=30):
    poll_until(condition, timeout=timeout)


class Mover(threading.Thread):
    """Changes rows all the time so that they enter and leave what the conditions tell; ids of its own upwards from first."""

    def __init__(self, conninfo, first):
        super().__init__(daemon=True)
        self.connection = psycopg2.connect(conninfo)
        self.connection.autocommit = True
        self.first, self.ending, self.error, self.done = first, threading.Event(), None, 0

    def run(self):
        chance = random.Random(self.first)
        try:
            with self.connection.cursor() as cursor:
                while not self.ending.wait(0.003):
                    one = self.first + chance.randint(0, 60)
                    day = chance.randint(0, 400)
                    cursor.execute("""
                        insert into shop.orders as o values (%s, %s %% 7, timestamptz '2023-07-01+00' + %s * interval '1 day', 'm', 'm' || %s)
                        on conflict (id) do update set created = excluded.created, note = o.note || '.'""", (one, one, day, one))
                    cursor.execute("""
                        insert into shop."Odd ""T" values ('m' || %s, '2024-01-03', 'it''s here', true, 1)
                        on conflict ("b,c", "Key A") do update set "where it's" = case %s %% 2 when 0 then 'gone' else 'it''s here' end
                        """, (one, day))
                    cursor.execute("""
                        insert into shop.price values (%s + 0.25, true, 'm')
                        on conflict (amount) do update set live = %s %% 2 = 0, amount = excluded.amount + 0.00
                        """, (one, day))
                    if day % 9 == 0:
                        cursor.execute("delete from shop.orders where id = %s", (one,))
                        cursor.execute("delete from shop.price where amount = %s + 0.250", (one,))
                    if day % 11 == 0:
                        cursor.execute("update shop.orders set id = id + 100, code = 'm' || (id + 100) where id = %s and not exists"
                                       " (select 1 from shop.orders where id = %s + 100)", (one, one))
                    self.done += 1
        except psycopg2.Error as error:
            self.error = error

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.ending.set()
        self.join(20)
        self.connection.close()
        assert self.error is None, self.error
        assert self.done > 0

    def wait_for(self, more):
        wanted = self.done + more
        wait_until(lambda: self.error is not None or self.done >= wanted)
        assert self.error is None, self.error


@pytest.mark.timeout(240)
def test_rows_are_left_behind(pair, tool):
    """Copy, changes across the border under load, verify, switch, rows that fail the condition on the new node,
    rollback, switch again, finish."""
    pair.old.psql(SOURCE)
    ledger = Ledger(pair.old.conninfo, writers=2, rate=60).create_schema()
    before = catalog_fingerprint(pair.old.connect())
    to_new = ["--on-switch", ledger.switch_command(pair.new.conninfo)]
    to_old = ["--on-switch", ledger.switch_command(pair.old.conninfo)]
    with ledger:
        with Mover(pair.old.conninfo, 1000) as mover:
            run = follow(tool, *WHERE, "--chunk-size", "64kB")
            mover.wait_for(100)
            assert tool.ok("verify").rc == DONE
        wait_until(lambda: not differing(pair))
        assert 0 < pair.new.value("select count(*) from shop.orders") < pair.old.value("select count(*) from shop.orders")
        assert "live" in tool.ok("status", "--json").json["filters"]
        untouched = left_behind(pair.old)
        assert all(untouched.values())
        tool.ok("switchover", *to_new)

        # the rest is there to be read, and takes no writes
        with pytest.raises(psycopg2.errors.ReadOnlySqlTransaction):
            pair.old.sql("update shop.orders set note = 'late' where created < '2024-01-01'")
        with Mover(pair.new.conninfo, 5000) as mover:
            pair.new.psql("""
                insert into shop.orders values (9001, 1, '2020-01-01', 'old, made on the new node', 'x1');
                insert into shop.price values (-1, false, 'outside'), (-2.50, null, 'null');
                insert into shop.sensor values (0.1 + 0.2, false), ('-Infinity', false);
                insert into shop."Odd ""T" values ('new', '2024-01-01', 'elsewhere', false, -1);
                update shop.orders set created = '2019-01-01', note = 'aged' where id in (select min(id) from shop.orders);
                update shop.price set amount = -2.5 where amount = -2.50;
                delete from shop.price where amount = 6;
                insert into shop.whole values (100, 'on the new node');
            """)
            mover.wait_for(100)
            assert tool.ok("verify").rc == DONE
        ledger.wait_for(20)
        assert tool.ok("verify").rc == DONE
        tool.ok("rollback", *to_old)
        rest = left_behind(pair.old)
        for table, kept in untouched.items():
            assert set(kept) <= set(rest[table]), table
        came = {table: sorted(set(rest[table]) - set(untouched[table])) for table in rest}
        assert any("old, made on the new node" in row for row in came["shop.orders"])
        assert any("aged" in row for row in came["shop.orders"])
        assert not differing(pair, came), differing(pair, came)
        assert tool.ok("verify").rc == DONE

        # those rows stay in the run, whatever the application does with them
        pair.old.psql("""
            update shop.orders set note = 'again' where id = 9001;
            update shop.price set live = true where amount = -1;
            delete from shop.price where amount = -2.5;
            insert into shop.orders values (9002, 1, '2020-01-01', 'left behind from now on', 'x2');
        """)
        wait_until(lambda: pair.new.value("select note from shop.orders where id = 9001") == "again")
        assert tool.ok("verify").rc == DONE
        assert pair.new.value("select count(*) from shop.orders where id = 9002") == 0
        tool.ok("switchover", *to_new)
        assert pair.new.value("select note from shop.orders where id = 9001") == "again"
        pair.new.sql("delete from shop.orders where id = 9001")
        pair.new.sql("insert into shop.price values (-2.5, false, 'a second time')")
        assert tool.ok("verify").rc == DONE
        ledger.wait_for(20)
    wait_until(lambda: pair.old.value("select count(*) from shop.orders where id = 9001") == 0)
    assert pair.old.value("select count(*) from pgtandem.outside o join pgtandem.tab t on t.id = o.tab"
                          " where t.table_name = 'orders' and o.key = '{9001}'") == 0
    assert pair.old.value("select note from shop.price where amount = -2.5") == "a second time"
    end(run)
    ledger.check(pair.new.connect())
    tool.ok("finish")
    assert set(untouched["shop.orders"]) <= set(rows(pair.old, "shop.orders"))
    assert pair.old.value("select note from shop.orders where id = 9002") == "left behind from now on"
    assert_same_catalog(before, catalog_fingerprint(pair.old.connect()))
    for node in (pair.old, pair.new):
        assert node.value("select count(*) from pg_namespace where nspname = 'pgtandem'") == 0
        node.sql("insert into shop.whole values (200, 'after')")


SMALL = """
    create table item (id int primary key, live bool, v text, code text unique);
    insert into item select i, i % 2 = 0, 'v' || i, 'c' || i from generate_series(1, 20) i;
    create table other (id int primary key, v text);
"""
LIVE = ["--where", "item=live"]


def switched(pair, tool, schema=SMALL, options=LIVE):
    pair.old.psql(schema)
    end(follow(tool, *options))
    tool.ok("switchover")


def expect_stop(tool, *words):
    done = tool.run("upgrade", timeout=60)
    assert done.rc == FAILED, done
    for word in words:
        assert word in done.err, done
    return done


def carry(tool):
    """Everything to the other node, and both are the same."""
    assert tool.ok("verify").rc == DONE


def test_the_key_of_a_row_that_was_left_behind(pair, tool):
    """On the way back neither row may give way: nothing of the round is written until one has another key."""
    switched(pair, tool)
    before = rows(pair.old, "item")
    pair.new.psql("""
        begin; insert into other values (1, 'same transaction'); insert into item values (1, true, 'mine', 'n1'); commit;
        update item set id = 3 where id = 4;
        insert into item values (5, true, 'came and went', 'n5'); delete from item where id = 5;
    """)
    expect_stop(tool, "2 rows of table public.item have the keys of rows that were left behind on the source: (1), (3)",
                "Give the row that is in use another key")
    assert rows(pair.old, "item") == before
    assert pair.old.value("select count(*) from other") == 0
    done = tool.run("rollback")
    assert done.rc == FAILED and "were left behind" in done.err, done
    assert tool.ok("status", "--json").json["state"] == "switched"
    assert pair.new.value("select count(*) from item where id in (1, 3)") == 2
    pair.new.sql("update item set id = id + 100 where id in (1, 3)")
    carry(tool)
    assert set(rows(pair.old, "item", "live is not true")) == {row for row in before if ",f," in row}
    assert pair.old.sql("select id, v from item where id > 100 order by 1") == [(101, "mine"), (103, "v4")]
    assert pair.old.value("select count(*) from other") == 1
    tool.ok("rollback")
    pair.old.sql("update item set live = true where id = 1")
    carry(tool)
    tool.ok("switchover")
    assert pair.new.value("select v from item where id = 1") == "v1"


def test_another_unique_value_of_such_a_row(one_pair, tool):
    pair = one_pair
    switched(pair, tool)
    before = rows(pair.old, "item")
    pair.new.sql("insert into item values (100, true, 'mine', 'c1')")
    expect_stop(tool, "item_code_key", "a row that was left behind")
    assert rows(pair.old, "item") == before
    pair.new.sql("update item set code = 'n1' where id = 100")
    carry(tool)
    assert pair.old.value("select code from item where id = 100") == "n1"


def test_truncate_on_the_new_node(pair, tool):
    """TRUNCATE takes the rows of the run and no others."""
    switched(pair, tool)
    pair.new.sql("insert into item values (100, false, 'outside', 'o')")
    carry(tool)
    assert pair.old.sql("select key from pgtandem.outside") == [(["100"],)]
    before = rows(pair.old, "item", "id < 100 and not live")
    pair.new.psql("begin; truncate item; insert into item values (4, false, 'again', 'a'); commit")
    carry(tool)
    assert rows(pair.old, "item", "id <> 4") == before
    assert pair.old.sql("select key from pgtandem.outside") == [(["4"],)]
    pair.new.psql("truncate item")
    carry(tool)
    assert rows(pair.old, "item") == before
    assert pair.old.value("select count(*) from pgtandem.outside") == 0
    tool.ok("rollback")
    # and on the source it empties the copy
    pair.old.psql("truncate item; insert into item values (1, false, 'f', 'f'), (2, true, 't', 't')")
    carry(tool)
    assert rows(pair.new, "item") == ["(2,t,t,t)"]


def test_many_rows_at_once(one_pair, tool):
    """A round that is streamed instead of read into memory, with nothing but insertions, too."""
    pair = one_pair
    pair.old.psql(SMALL + "insert into item select i, i % 2 = 0, 'v', 'm' || i from generate_series(1000, 21000) i")
    run = follow(tool, *LIVE)
    pair.old.sql("insert into item select i, i % 2 = 0, 'w', 'm' || i from generate_series(30000, 39999) i")
    wait_until(lambda: pair.new.value("select count(*) from item where id >= 30000") == 5000)
    pair.old.sql("update item set live = not live where id >= 1000 and id < 30000")
    wait_until(lambda: pair.new.value("select min(id) from item where id >= 1000") == 1001)
    end(run)
    tool.ok("switchover")
    left = rows(pair.old, "item", "not live")
    pair.new.sql("insert into item select i, i % 2 = 0, 'x', 'm' || i from generate_series(40000, 49999) i")
    carry(tool)
    assert pair.old.value("select count(*) from pgtandem.outside") == 5000
    pair.new.sql("update item set live = not live")
    carry(tool)
    assert rows(pair.old, "item", "not live and (id < 40000 and v not in ('no'))") != []
    assert set(left) <= set(rows(pair.old, "item", "not live"))
    tool.ok("rollback")
    carry(tool)


@pytest.mark.parametrize("condition, word", [
    ("nothing = 1", "nothing"),
    ("id", "boolean"),
    ("id = 1) or (true", "syntax error"),
    ("true) --", "syntax error"),
    ("true /*", "comment"),
    ("true; drop table item", "syntax error"),
    ("live, live", "boolean"),
    ("id = $1", "parameter"),
    ("id in (select id from public.other)", "subquery"),
    ("exists (select 1 from public.other)", "subquery"),
    ("now() > '2020-01-01'", "IMMUTABLE"),
    ("random() < 0.5", "IMMUTABLE"),
    ("current_user = 'x'", "IMMUTABLE"),
    ("at::text > '2020'", "IMMUTABLE"),
    ("at > day", "IMMUTABLE"),
    ("is_new(id)", "is_new"),
    ("public.looks(id)", "IMMUTABLE"),
    ("count(*) > 1", "aggregate"),
    ("item.live", "item"),
    ("t.live", '"t"'),
    ("ctid > '(0,0)'", "system column"),
])
def test_conditions_that_are_refused(one_pair, tool, condition, word):
    """They are found before anything is changed."""
    pair = one_pair
    pair.old.psql(SMALL + """
        alter table item add at timestamptz, add day date;
        create function is_new(int) returns bool language sql immutable as 'select true';
        create function looks(int) returns bool language plpgsql stable as 'begin return exists (select 1 from public.other); end';
    """)
    before = [catalog_fingerprint(node.connect()) for node in (pair.old, pair.new)]
    done = tool.run("check", "--json", "--where", f"item={condition}")
    assert done.rc == REFUSED, done
    found = {finding["id"]: finding for finding in done.json["findings"]}
    assert word in found["filter-condition"]["objects"][0], found["filter-condition"]
    done = tool.run("upgrade", "--where", f"item={condition}")
    assert done.rc == REFUSED and "[filter-condition]" in done.err, done
    for node, was in zip((pair.old, pair.new), before):
        assert_same_catalog(was, catalog_fingerprint(node.connect()))


@pytest.mark.parametrize("condition", [
    "live -- or not", "live\n", "(id > 3) = live /* ) */", "v <> 'v2)' and v <> $$v(3$$ and id > 2", "live is true and v like 'v%'",
    "v <> E'a\\'b' and live", "case when live then id % 4 = 0 else id = 3 end", "live and id in (2, 4, 6, 10)",
])
def test_conditions_that_are_taken(one_pair, tool, condition):
    pair = one_pair
    pair.old.psql(SMALL)
    run = follow(tool, "--where", f"item={condition}")
    pair.old.psql("update item set live = not live where id < 8; update item set v = 'x' where id = 6")
    carry(tool)
    end(run)
    assert rows(pair.new, "item") == rows(pair.old, "item", f"({condition}\n)")
    assert 0 < len(rows(pair.new, "item")) < 20


def test_tables_that_cannot_have_a_condition(one_pair, tool):
    pair = one_pair
    pair.old.psql(SMALL + """
        create table bare (live bool);
        create table parent (id int primary key, live bool); create table child (primary key (id)) inherits (parent);
        create view seen as select * from item;
    """)
    expected = {"public.bare (no key)", "public.parent (part of an inheritance tree)"}
    options = ["--where", "bare=live", "--where", "parent=live", "--where", "seen=live", "--where", "nobody=live"]
    if pair.old.number >= 110000:
        pair.old.psql("create table part (id int primary key, live bool) partition by range (id);"
                      "create table part_1 partition of part for values from (0) to (100)")
        expected |= {"public.part (partitioned)", "public.part_1 (a partition)"}
        options += ["--where", "part=live", "--where", "part_1=live"]
    found = {f["id"]: set(f["objects"]) for f in tool.run("check", "--json", *options).json["findings"]}
    assert found["filter-table"] == expected
    assert found["filter-unmatched"] == {"public.seen", "public.nobody"}
    # and what is not selected
    found = {f["id"]: set(f["objects"])
             for f in tool.run("check", "--json", "--table", "other", *LIVE).json["findings"]}
    assert found["filter-unmatched"] == {"public.item"}


def test_conditions_are_remembered(one_pair, tool):
    pair = one_pair
    pair.old.psql(SMALL)
    for wrong, word in (("item", "not of the form"), ("=live", "does not name a table"), ("item=  ", "has no condition"),
                        ("it*=live", "does not name a table")):
        done = tool.run("check", "--where", wrong)
        assert done.rc == USAGE and word in done.err, done
    done = tool.run("check", *LIVE, "--where", "public.item=id = 1")
    assert done.rc == USAGE and "a second condition" in done.err, done
    end(follow(tool, *LIVE))
    for other in (["--where", "item=not live"], [*LIVE, "--where", "other=id > 1"]):
        done = tool.run("verify", *other)
        assert done.rc == USAGE and "this run moves other rows" in done.err and "item" in done.err, done
    tool.ok("verify", "--where", "public.item= live ")
    assert "'\"public\".\"item\"=live'" in tool.ok("status").out
    tool.ok("abort")
    assert pair.new.value("select to_regclass('item')") is None
    assert pair.old.value("select count(*) from item") == 20


TENANTS = """
    create table tenant (id int primary key, region text);
    create table bill (id int primary key, tenant int references tenant on delete cascade, kept bool);
    insert into tenant select i, case when i % 2 = 0 then 'eu' else 'us' end from generate_series(1, 10) i;
    insert into bill select i, i % 10 + 1, i > 10 from generate_series(1, 40) i;
"""


def validity(node):
    return node.value("select convalidated from pg_constraint where contype = 'f'")


@pytest.mark.parametrize("role", ["superuser", "ordinary"])
def test_rows_whose_counterpart_stays(one_pair, ordinary, role):
    """Told before the copy; where it is accepted, or happens later, the foreign key is told to be NOT VALID."""
    pair = one_pair
    pair.old.psql((f"set role {ordinary(pair)};" if role == "ordinary" else "") + TENANTS)
    tool = pair.tool()
    europe = ["--where", "tenant=region = 'eu'"]
    done = tool.run("check", "--json", *europe)
    found = {f["id"]: f for f in done.json["findings"]}
    assert done.rc == REFUSED and found["filter-orphans"]["objects"] == [
        "20 rows of public.bill (bill_tenant_fkey) refer to rows of public.tenant that stay"], done
    europe += ["--where", "bill=kept and tenant % 2 = 0"]
    assert "filter-orphans" not in {f["id"] for f in tool.run("check", "--json", *europe).json["findings"]}
    run = follow(tool, *europe)
    # a tenant leaves, and his bills do not
    pair.old.sql("update tenant set region = 'us' where id = 4")
    carry(tool)
    assert pair.new.value("select count(*) from bill where tenant = 4") > 0
    done = tool.ok("switchover")
    assert "bill_tenant_fkey" in done.err and "stays NOT VALID" in done.err, done
    assert validity(pair.new) is False
    # a tenant is deleted with all his bills; on the source some were left behind
    behind = pair.old.value("select count(*) from bill where tenant = 6 and not kept")
    pair.new.sql("delete from tenant where id = 6")
    carry(tool)
    assert pair.old.value("select count(*) from bill where tenant = 6") == behind > 0
    done = tool.ok("rollback")
    assert "bill_tenant_fkey" in done.err and "stays NOT VALID" in done.err, done
    assert validity(pair.old) is False
    with pytest.raises(psycopg2.errors.ForeignKeyViolation):
        pair.old.sql("insert into bill values (1000, 6, true)")
    # what is put right is valid with the next switch
    pair.old.psql("delete from bill where tenant = 6; delete from bill where tenant = 4")
    carry(tool)
    end(run)
    tool.ok("switchover")
    tool.ok("finish")


def test_orphans_that_are_accepted(one_pair, tool):
    pair = one_pair
    pair.old.psql(TENANTS)
    run = follow(tool, "--where", "tenant=region = 'eu'", "--accept", "filter-orphans")
    carry(tool)
    end(run)
    assert "stays NOT VALID" in tool.ok("switchover").err
    assert pair.new.value("select count(*) from bill") == 40
    tool.ok("rollback")
    tool.ok("abort")
    assert validity(pair.old) is True


@pytest.mark.parametrize("point", ["apply.staged", "apply.between", "apply.outside", "round.applied",
                                   "round.recorded", "round.committed"])
def test_killed_on_the_way_back(one_pair, tool, point):
    pair = one_pair
    switched(pair, tool)
    behind = rows(pair.old, "item", "not live")
    pair.new.psql("""
        insert into item values (100, false, 'outside', 'o1'), (101, true, 'inside', 'o2');
        update item set live = false where id = 2; delete from item where id = 4; update item set id = 106 where id = 6;
    """)
    done = tool.run("upgrade", fault=point, timeout=60)
    assert f"fault point {point}" in done.err, done
    carry(tool)
    assert rows(pair.old, "item", "not live and id not in (2, 100)") == behind
    assert pair.old.sql("select key from pgtandem.outside order by key") == [(["100"],), (["2"],)]
    tool.ok("rollback")
    carry(tool)
    assert rows(pair.new, "item") == sorted(set(rows(pair.old, "item")) - set(behind))


def test_an_ordinary_role(one_pair, ordinary):
    pair = one_pair
    pair.old.psql(f"set role {ordinary(pair)};" + SOURCE)
    tool = pair.tool()  # of that role
    run = follow(tool, *WHERE)
    with Mover(pair.old.conninfo, 1000) as mover:
        mover.wait_for(40)
    carry(tool)
    assert not differing(pair)
    tool.ok("switchover")
    behind = left_behind(pair.old)
    with Mover(pair.new.conninfo, 5000) as mover:
        mover.wait_for(40)
    carry(tool)
    end(run)
    tool.ok("rollback")
    assert all(set(kept) <= set(left_behind(pair.old)[table]) for table, kept in behind.items())
    carry(tool)
    tool.ok("abort")


def test_tables_that_are_altered(pair, tool):
    """What would take away something of rows that were left behind is not carried to them."""
    pair.old.psql(SMALL)
    run = follow(tool, *LIVE)
    pair.old.sql("alter table item add n int default 5")
    pair.old.sql("alter table item drop v")
    wait_until(lambda: tool.run("verify").rc == DONE)
    assert pair.new.sql("select n from item where id = 2") == [(5,)]
    pair.old.sql("alter table item rename live to lively")
    pair.old.sql("update item set n = 6 where id = 2")
    done = run.wait()
    assert done.rc == FAILED and "the condition of --where for table public.item does not fit it any more" in done.err, done
    pair.old.sql("alter table item rename lively to live")
    pair.old.sql("alter table item rename to thing")
    run = follow(tool)
    pair.old.sql("update thing set live = true where id = 1")
    wait_until(lambda: tool.run("verify").rc == DONE)
    assert rows(pair.new, "thing") == rows(pair.old, "thing", "live")
    pair.old.sql("alter table thing rename to item")
    wait_until(lambda: tool.run("verify").rc == DONE)
    end(run)
    tool.ok("switchover")

    pair.new.sql("alter table item add added text default 'here'")
    pair.new.sql("update item set added = 'there' where id = 4")
    carry(tool)
    assert pair.old.sql("select added from item where id in (3, 4) order by id") == [("here",), ("there",)]
    pair.new.sql("alter table item alter n type text using n || '!'")
    expect_stop(tool, "table public.item was changed on the target in a way that is not carried to the source",
                "make the same change on the source by hand")
    assert pair.old.value("select n from item where id = 3") == 5
    pair.old.sql("alter table item alter n type text using n::text || '?'")
    carry(tool)
    assert pair.old.sql("select n from item where id in (3, 4) order by id") == [("5?",), ("5!",)]
    pair.new.sql("alter table item drop n")
    expect_stop(tool, "DROP COLUMN")
    assert pair.old.value("select n from item where id = 3") == "5?"
    pair.old.sql("alter table item drop n")
    carry(tool)
    pair.new.psql("create table item_2 (like item including all); drop table item; alter table item_2 rename to item")
    expect_stop(tool, "it was dropped")
    assert pair.old.value("select count(*) from item where not live") == 9
    tool.ok("finish")
    assert pair.old.value("select count(*) from item where not live") == 9


def test_another_key(one_pair, tool):
    pair = one_pair
    pair.old.psql(SMALL)
    run = follow(tool, *LIVE)
    pair.old.psql("alter table item add k int generated by default as identity; alter table item drop constraint item_pkey;"
                  "alter table item add primary key (k)")
    done = run.wait()
    assert done.rc == FAILED and "has another key on the source now" in done.err, done
    pair.old.psql("alter table item drop constraint item_pkey; alter table item add primary key (id)")
    run = follow(tool)
    pair.old.sql("update item set live = true where id = 1")
    carry(tool)
    end(run)
    assert rows(pair.new, "item") == rows(pair.old, "item", "live")


def test_all_databases(one_pair, tool):
    done = tool.run("check", "--all-databases", *LIVE)
    assert done.rc == USAGE and "--where do not go with it" in done.err, done


def test_other_names_too(dumpable_pair):
    """A condition is of the table as it is called on the source."""
    pair = dumpable_pair
    newest = max((pair.old.version, pair.new.version), key=servers.version_number)
    if servers.client_bindir(newest) is None:
        pytest.skip(f"no pg_dump {newest} is here (script/servers --clients {newest} brings one)")
    tool = pair.tool(client_version=newest)
    pair.old.psql(SMALL)
    run = follow(tool, "--table", "item", "--rename-table", "item=thing", *LIVE)
    pair.old.sql("update item set live = true where id = 1")
    carry(tool)
    assert rows(pair.new, "thing") == rows(pair.old, "item", "live")
    end(run)
    tool.ok("switchover")
    pair.new.sql("insert into thing values (100, false, 'v', 'x'), (102, true, 'w', 'y')")
    carry(tool)
    assert pair.old.sql("select key from pgtandem.outside") == [(["100"],)]
    tool.ok("rollback")
    carry(tool)
    tool.ok("abort")
