"""The replication service: what each kind of sync does, on one or two servers with several databases."""

import json
import os
import time

import pytest

from lib.compare import assert_same_catalog, assert_same_content, catalog_fingerprint
from lib.service import Service
from lib.tool import FAILED, REFUSED, USAGE
from lib.wait import poll_until

SHOP = """
create table customers (id int primary key, name text, region text);
create table orders (id bigserial primary key, customer int, note text);
create table "Odd ""Name" ("Kéy" text, "b c" int, v text, primary key ("Kéy", "b c"));
"""
ROWS = """
insert into customers select i, 'c' || i, case when i % 2 = 0 then 'eu' else 'us' end from generate_series(1, 100) i;
insert into orders (customer, note) select i % 100, 'n' from generate_series(1, 200) i;
insert into "Odd ""Name" select 'k' || i, i, 'v' from generate_series(1, 10) i;
"""
CHANGES = """
update customers set name = name || '!' where id < 10; delete from customers where id > 95;
insert into orders (customer, note) values (7, 'late'); update "Odd ""Name" set "b c" = 77 where "b c" = 7;
"""


def equal(*databases, tables="customers"):
    rows = [d.sql(f"select * from {tables} order by 1, 2") for d in databases]
    assert all(r == rows[0] for r in rows[1:])


def test_one_way_between_versions(pair):
    """The session of the manual, on two servers of different versions; nothing is left behind."""
    pair.old.sql(SHOP + ROWS)
    pair.new.sql(SHOP)
    before = [catalog_fingerprint(n.connect()) for n in (pair.old, pair.new)]
    service = Service({})
    service.write("")
    service.ok("add", "db", "A", *words(pair.old.conninfo))
    service.ok("add", "db", "B", *words(pair.new.conninfo))
    service.ok("add", "sync", "migrate_rds", "tables=all", "dbs=A,B")
    assert "no problem found" in service.ok("validate").out
    service.start()
    service.in_step("migrate_rds")
    assert_same_content(pair.old.connect(), pair.new.connect())
    pair.old.sql(CHANGES + "truncate orders; insert into orders (customer) values (1)")
    service.in_step()
    assert_same_content(pair.old.connect(), pair.new.connect())
    edge = service.edge("migrate_rds")
    assert (edge["state"], edge["pending_changes"], edge["error"]) == ("in step", 0, None)
    assert {t["state"] for t in edge["tables"]} == {"ok"}
    service.ok("remove", "sync", "migrate_rds")
    assert "migrate_rds" not in service.text
    service.stop()
    for node, fingerprint in zip((pair.old, pair.new), before):
        assert_same_catalog(fingerprint, catalog_fingerprint(node.connect()))


def words(conninfo):
    """libpq's keywords as words of a command line"""
    import psycopg2.extensions

    return [f"{key}={value}" for key, value in psycopg2.extensions.parse_dsn(conninfo).items()]


def test_one_to_many_at_their_own_pace(dbs):
    a, b, c, d = dbs(4, SHOP)
    a.sql(ROWS)
    service = Service(
        {"A": a.conninfo, "B": b.conninfo, "C": c.conninfo, "D": d.conninfo},
        """
        [group all_of_us]
        members = A:source, B, C, D
        [tables shop]
        include = public.*
        exclude = orders
        [sync s]
        tables = shop
        dbs = all_of_us
        """,
    )
    service.start()
    service.in_step()
    equal(a, b, c, d)
    assert b.value("select count(*) from orders") == 0
    service.ok("pause", "s")
    service.wait_for_state("paused", "s", "B")
    service.ok("resume", "s")
    # one target does not answer; the others do not wait for it
    blocker = c.connect(autocommit=False)
    blocker.cursor().execute("lock customers in access exclusive mode")
    a.sql("update customers set name = 'new' where id = 1")
    poll_until(lambda: d.value("select name from customers where id = 1") == "new", 10, "D")
    poll_until(lambda: b.value("select name from customers where id = 1") == "new", 10, "B")
    blocker.rollback()
    service.in_step()
    equal(a, b, c, d)
    service.stop()


def test_other_names_columns_and_rows(dbs):
    (a,) = dbs(1, SHOP, ROWS)
    (b,) = dbs(1, "create schema crm; create table crm.clients (id int primary key, name text, extra int default 5)")
    (c,) = dbs(1, SHOP)
    service = Service(
        {"A": a.conninfo, "B": b.conninfo, "C": c.conninfo},
        """
        [sync s]
        tables = customers
        dbs = A, B, C
        [table s public.customers]
        where = region = 'eu'
        target-name.B = crm.clients
        columns.B = id, upper(name) as name
        """,
    )
    service.start()
    service.in_step()
    want = "select id, upper(name) from customers where region = 'eu' order by 1"
    assert b.sql("select id, name from crm.clients order by 1") == a.sql(want)
    assert c.sql("select * from customers order by 1") == a.sql("select * from customers where region = 'eu' order by 1")
    a.sql(CHANGES + "update customers set region = 'us' where id = 2; update customers set region = 'eu' where id = 3")
    service.in_step()
    assert b.sql("select id, name from crm.clients order by 1") == a.sql(want)
    assert b.value("select count(*) from crm.clients where extra <> 5") == 0
    service.stop()


def test_a_copy_in_the_same_database(dbs):
    (a,) = dbs(1, SHOP, ROWS, "create table twin (like customers including all)")
    text = """
        [sync s]
        tables = customers
        dbs = A, B
        """
    service = Service({"A": a.conninfo, "B": a.conninfo}, text)
    assert "onto itself" in service.run("validate").out
    service = Service({"A": a.conninfo, "B": a.conninfo}, text + "[table s customers]\n        target-name = twin\n")
    service.start()
    service.in_step()
    a.sql(CHANGES)
    service.in_step()
    assert a.sql("select * from twin order by 1") == a.sql("select * from customers order by 1")
    service.ok("remove", "sync", "s")
    assert a.value("select count(*) from pg_namespace where nspname = 'pgtandem'") == 0
    service.stop()


@pytest.mark.parametrize("cascade", ["yes", "no"])
def test_cascade(dbs, cascade):
    a, b, c = dbs(3, SHOP)
    service = Service(
        {"A": a.conninfo, "B": b.conninfo, "C": c.conninfo},
        f"""
        [sync first]
        tables = customers
        dbs = A, B
        [sync second]
        tables = customers
        dbs = B, C
        cascade = {cascade}
        """,
    )
    service.start()
    service.in_step("first")
    service.in_step("second")
    b.sql("insert into customers values (1000, 'of b', 'x')")
    a.sql("insert into customers values (1, 'of a', 'x')")
    service.in_step("first")
    service.in_step("second")
    ids = [1, 1000] if cascade == "yes" else [1000]
    assert [r[0] for r in c.sql("select id from customers order by 1")] == ids
    # many changes at once go another way
    a.sql("insert into customers select i, 'x', 'y' from generate_series(2000, 9000) i")
    service.in_step("first")
    b.sql("insert into customers select i, 'x', 'y' from generate_series(10000, 16000) i")
    service.in_step("second")
    assert c.value("select count(*) from customers where id between 2000 and 9000") == (7001 if cascade == "yes" else 0)
    assert c.value("select count(*) from customers where id >= 10000") == 6001
    service.stop()


def test_two_directions_do_not_circle(dbs):
    a, b = dbs(2, SHOP)
    service = Service(
        {"A": a.conninfo, "B": b.conninfo},
        """
        [sync there]
        tables = customers
        dbs = A, B
        [sync back]
        tables = customers
        dbs = B, A
        """,
    )
    service.start()
    service.in_step()
    a.sql("insert into customers values (1, 'a', 'x')")
    b.sql("insert into customers values (2, 'b', 'x')")
    service.in_step("there")
    service.in_step("back")
    equal(a, b)
    rounds = [service.edge(s)["rounds"] for s in ("there", "back")]
    service.in_step()
    time.sleep(0.5)
    assert [service.edge(s)["rounds"] for s in ("there", "back")] == rounds
    service.stop()


def test_fullcopy(dbs):
    a, b = dbs(2, SHOP, "create table nokey (v text)")
    a.sql(ROWS + "insert into nokey values ('x'), ('x')")
    b.sql("insert into customers values (5000, 'local', 'x')")
    service = Service(
        {"A": a.conninfo, "B": b.conninfo},
        """
        [sync s]
        tables = all
        dbs = A, B:fullcopy
        """,
    )
    service.start()
    service.in_step()
    assert_same_content(a.connect(), b.connect())
    a.sql("insert into nokey values ('y')")
    b.sql("delete from customers")
    service.in_step()
    assert_same_content(a.connect(), b.connect())
    assert a.value("select count(*) from pg_namespace where nspname = 'pgtandem'") == 0
    service.stop()


@pytest.mark.parametrize("mode, rows", [("no", 0), ("if-empty", 100), ("always", 100)])
def test_onetimecopy(dbs, mode, rows):
    a, b = dbs(2, SHOP)
    a.sql(ROWS)
    b.sql("insert into orders values (999, 1, 'was here')")
    service = Service(
        {"A": a.conninfo, "B": b.conninfo},
        f"""
        [sync s]
        tables = customers, orders
        dbs = A, B
        onetimecopy = {mode}
        """,
    )
    service.start()
    service.in_step()
    assert b.value("select count(*) from customers") == rows
    assert b.value("select count(*) from orders where id = 999") == (0 if mode == "always" else 1)
    a.sql("insert into customers values (1001, 'later', 'x')")
    service.in_step()
    assert b.value("select count(*) from customers where id = 1001") == 1
    service.stop()


def test_kick_and_checktime(dbs):
    a, b = dbs(2, SHOP)
    service = Service(
        {"A": a.conninfo, "B": b.conninfo},
        """
        [sync s]
        tables = customers
        dbs = A, B
        autokick = no
        """,
    )
    service.start()
    service.in_step()
    a.sql("insert into customers values (1, 'x', 'x')")
    time.sleep(1)
    assert b.value("select count(*) from customers") == 0
    service.ok("kick", "s", "--wait")
    assert b.value("select count(*) from customers") == 1
    service.write(service.text + "checktime = 1s\n")
    service.ok("reload")
    a.sql("insert into customers values (2, 'x', 'x')")
    poll_until(lambda: b.value("select count(*) from customers") == 2, 10, "the round after checktime")
    service.ok("deactivate", "s")
    done = service.run("kick", "s", "--wait=1s")
    assert done.rc == FAILED and "inactive" in done.err
    service.stop()
    service.write(service.text.replace("inactive", "active"))
    done = service.run("kick", "s", "--wait=1s")
    assert done.rc == FAILED and "has not answered in time" in done.err


def test_triggers_of_the_target(dbs):
    fires = """
        create table log (id serial primary key, what text);
        create function note() returns trigger language plpgsql as $$ begin insert into public.log (what) values (new.name); return new; end $$;
        create trigger note after insert or update on customers for each row execute function note();
    """
    a, b = dbs(2, SHOP)
    b.sql(fires)
    text = """
        [sync s]
        tables = customers
        dbs = A, B
        """
    service = Service({"A": a.conninfo, "B": b.conninfo}, text)
    service.start()
    service.in_step()
    a.sql("insert into customers values (1, 'silent', 'x')")
    service.in_step()
    assert b.value("select count(*) from log") == 0
    before = service.workers()
    service.ok("update", "sync", "s", "target-triggers=fire")
    service.ok("reload")
    poll_until(lambda: service.workers() not in ({}, before), 20, "a worker with the new setting")
    a.sql("insert into customers values (2, 'loud', 'x')")
    poll_until(lambda: b.sql("select what from log") == [("loud",)], 10, "the trigger's row")
    service.stop()


def test_sequences(dbs):
    a, b = dbs(2, SHOP)
    service = Service(
        {"A": a.conninfo, "B": b.conninfo},
        """
        [sync s]
        tables = all
        dbs = A, B
        """,
    )
    service.start()
    service.in_step()
    a.sql("select nextval('orders_id_seq') from generate_series(1, 50)")
    service.in_step()
    assert b.value("select nextval('orders_id_seq')") == 51
    service.stop()


def test_altered_tables(dbs):
    a, b = dbs(2, SHOP)
    service = Service(
        {"A": a.conninfo, "B": b.conninfo},
        """
        [sync s]
        tables = all
        dbs = A, B
        """,
    )
    service.start()
    service.in_step()
    # a column on both sides is picked up at once: no row is carried without it
    b.sql("alter table customers add column city text")
    a.sql("alter table customers add column city text; insert into customers values (1, 'x', 'y', 'Rome')")
    service.in_step()
    assert b.value("select city from customers where id = 1") == "Rome"
    # a column that the target lacks stops this table only
    a.sql("alter table customers add column zip text; update customers set zip = '1'; insert into orders (note) values ('goes on')")
    poll_until(lambda: b.value("select count(*) from orders") == 1, 20, "the other table")
    stopped = [t for t in service.edge("s")["tables"] if t["state"] == "stopped"]
    assert [t["table"] for t in stopped] == ["customers"] and "zip" in stopped[0]["reason"]
    done = service.run("kick", "s", "--wait")  # not everything has arrived
    assert done.rc == FAILED and "public.customers" in done.err
    b.sql("alter table customers add column zip text")
    service.ok("recopy", "s", "customers")
    poll_until(lambda: b.value("select count(*) from customers where zip = '1'") == 1, 20, "the table again")
    # a new table
    for database in (b, a):
        database.sql("create table later (id int primary key); insert into later values (1) on conflict do nothing")
    b.sql("delete from later")
    service.in_step()
    assert b.value("select count(*) from later") == 1
    service.stop()


def test_what_is_refused(dbs):
    """Nothing is installed half-way, and every problem is told with its line."""
    a, b = dbs(2, SHOP, "create table nokey (v text)")
    b.sql("drop table orders; alter table customers drop column region")
    service = Service(
        {"A": a.conninfo, "B": b.conninfo},
        """
        [sync s]
        tables = customers, orders, nokey, missing
        dbs = A, B
        """,
    )
    done = service.run("validate")
    assert done.rc == REFUSED
    line = 1 + service.text.split("\n").index("tables = customers, orders, nokey, missing")
    for text in ("public.orders does not exist in the database B", 'column "region"', "nokey has no primary key",
                 "missing does not exist in the database A"):  # fmt: skip
        assert any(f"conf:{line}:" in out and text in out for out in done.out.split("\n")), (text, done.out)
    service.start()
    service.running.wait_for_output(r"cannot begin: 4 problems", timeout=20)
    service.stop()
    for database in (a, b):
        assert database.value("select count(*) from pg_namespace where nspname = 'pgtandem'") == 0
    assert service.run("kick", "x").rc == USAGE
    assert service.run("stop").rc == FAILED


def test_the_fuse(dbs):
    a, b, c = dbs(3, SHOP)
    service = Service(
        {"A": a.conninfo, "B": b.conninfo, "C": c.conninfo},
        """
        [sync s]
        tables = orders
        dbs = A, B, C
        """,
    )
    service.write(service.text.replace("[db B]", "queue-limit = 3MB\nqueue-patience = 5s\n[db B]"))
    service.start()
    service.in_step()
    service.ok("pause", "s")
    for target in ("B", "C"):
        service.wait_for_state("paused", "s", target)
    b.sql("update pgtandem.edge set paused = false")
    a.sql("insert into orders (customer, note) select i, 'x' from generate_series(1, 120000) i")
    poll_until(lambda: b.value("select count(*) from orders") == 120000, 20, "B")
    poll_until(lambda: a.value("select count(*) from pgtandem.consumer where detached") == 1, 20, "the fuse")
    assert a.sql("select edge from pgtandem.consumer where detached") == [("s/A/C",)]
    c.sql("update pgtandem.edge set paused = false")
    service.wait_for_state("failed", "s", "C")
    assert "recopy" in service.edge("s", "C")["hint"]
    a.sql("insert into orders (customer, note) values (1, 'after')")
    poll_until(lambda: b.value("select count(*) from orders") == 120001, 20, "B goes on")
    service.ok("recopy", "s")
    poll_until(lambda: c.value("select count(*) from orders") == 120001, 30, "C again")
    service.in_step()
    equal(a, b, c, tables="orders")
    service.stop()


def test_reload(dbs):
    """Workers of syncs that did not change go on; a bad file changes nothing."""
    a, b, c = dbs(3, SHOP)
    service = Service(
        {"A": a.conninfo, "B": b.conninfo, "C": c.conninfo},
        """
        [sync one]
        tables = customers
        dbs = A, B
        """,
    )
    service.start()
    service.in_step()
    before = service.workers()
    service.write(service.text + "[sync two]\ntables = customers\ndbs = A, C\n")
    service.ok("reload")
    service.in_step("two")
    after = service.workers()
    assert set(after) == {"one/A/B", "two/A/C"} and after["one/A/B"] == before["one/A/B"]
    text = service.text
    service.write(text + "[sync three]\ntables = customers\n")
    assert service.run("reload").rc == USAGE
    service.write(text.replace("[sync two]\ntables = customers\ndbs = A, C\n", ""))
    service.ok("reload")
    poll_until(lambda: set(service.workers()) == {"one/A/B"}, 15, "the end of the second worker")
    assert service.workers() == before
    service.stop()


def test_hooks_and_the_log(dbs):
    a, b = dbs(2, SHOP)
    b.sql("create table rounds (n int, rows bigint); insert into rounds values (0, 0)")
    service = Service(
        {"A": a.conninfo, "B": b.conninfo},
        """
        [sync s]
        tables = customers
        dbs = A, B
        after-round = update public.rounds set n = n + 1, rows = (select count(*) from public.customers)
        on-state = echo "$PGTANDEM_EVENT $PGTANDEM_SYNC/$PGTANDEM_FROM/$PGTANDEM_TO $PGTANDEM_STATE" >> $HOOKS
        on-error = echo "$PGTANDEM_EVENT $PGTANDEM_ERROR" >> $HOOKS; exit 3
        [pgtandem]
        log-format = json
        """,
    )
    hooks = service.path + ".hooks"
    service.tool.environment["HOOKS"] = hooks
    service.start()
    service.in_step()
    a.sql("insert into customers select i, 'x', 'y' from generate_series(1, 7) i")
    service.in_step()
    assert b.value("select rows from rounds") == 7
    b.sql("alter table rounds rename to gone")
    a.sql("insert into customers values (100, 'x', 'y')")
    service.wait_for_state("failed", "s")
    assert "after-round" in service.edge("s")["error"]
    assert b.value("select count(*) from customers") == 7  # both or neither
    b.sql("alter table gone rename to rounds")
    service.in_step()
    assert b.sql("select rows, (select count(*) from customers) from rounds") == [(8, 8)]
    with open(hooks, encoding="utf-8") as file:
        said = file.read()
    assert "state s/A/B in step" in said and "error in after-round" in said
    service.stop()
    lines = [json.loads(line) for line in service.log.split("\n") if line]
    assert {"time", "level", "message"} <= set(lines[0])
    assert any("ended with 3" in line["message"] and line["edge"] == "s/A/B" for line in lines)


BUCARDO = """
create schema bucardo;
create table bucardo.db (name text, dbdsn text default '', dbtype text default 'postgres', dbhost text, dbport text,
    dbname text, dbuser text, dbpass text, dbconn text default '', dbservice text, pgpass text, status text default 'active',
    makedelta boolean default false);
create table bucardo.dbmap (db text, dbgroup text, priority smallint default 0, role text);
create table bucardo.goat (id int, schemaname text, tablename text, makedelta text, ghost boolean default false);
create table bucardo.herdmap (herd text, goat int);
create table bucardo.sync (name text, herd text, dbs text, onetimecopy smallint default 0, autokick boolean default true,
    checktime interval, status text default 'active', conflict_strategy text default 'bucardo_latest',
    deletemethod text default 'delete', rebuild_index smallint default 0, lifetime interval, maxkicks int default 0);
create table bucardo.customcols (goat int, clause text, db text, sync text);
create table bucardo.customname (goat int, newname text, db text, sync text);
create table bucardo.customcode (id int, name text, whenrun text, status text default 'active');
create table bucardo.customcode_map (code int, sync text, goat int);
insert into bucardo.db (name, dbservice) values ('A', 'rds93');
insert into bucardo.db (name, dbhost, dbname, dbpass) values ('B', '/tmp/it''s', 'shop', 'sesame');
insert into bucardo.db (name, dbtype) values ('M', 'mysql');
insert into bucardo.dbmap (db, dbgroup, role) values ('A', 'g', 'source'), ('B', 'g', 'fullcopy'), ('M', 'g', 'target'),
    ('A', 'two', 'source'), ('B', 'two', 'source');
insert into bucardo.goat values (1, 'public', 'orders', null), (2, 'public', 'Odd, name', 'on');
insert into bucardo.herdmap values ('old herd', 1), ('old herd', 2);
insert into bucardo.sync (name, herd, dbs, checktime, onetimecopy) values ('s', 'old herd', 'g', '1 hour', 2);
insert into bucardo.sync (name, herd, dbs) values ('masters', 'old herd', 'two');
insert into bucardo.customcols values (1, E'SELECT id,\n note', 'B', 's');
insert into bucardo.customname values (1, 'crm.orders', null, null);
insert into bucardo.customcode values (1, 'fix', 'exception');
insert into bucardo.customcode_map values (1, 's', null);
"""


def test_import_of_a_bucardo_configuration(dbs):
    (a,) = dbs(1, BUCARDO)
    service = Service({})
    assert service.run("import-bucardo", a.conninfo).rc == USAGE  # the file is there
    os.unlink(service.path)
    done = service.ok("import-bucardo", a.conninfo)
    assert " 0 problems" in done.out, done.out
    for text in ("[db A]\nconninfo = service='rds93'\n", "host='/tmp/it\\'s' dbname='shop'", "type mysql, which is not supported",
                 "members = A:source, B:fullcopy\n", '[tables x_old_herd]\ninclude = public."Odd, name",\n    public.orders\n',
                 "[sync s]\ntables = x_old_herd\ndbs = g\nonetimecopy = if-empty\nautokick = yes\nchecktime = 3600s\ncascade = yes\n",
                 "[table s public.orders]\ncolumns.B = id,  note\ntarget-name = crm.orders\n", "# [sync masters]\n",
                 'conflict strategy "bucardo_latest"', "customcode fix (exception) of sync s", "password was left out"):  # fmt: skip
        assert text in service.text, (text, service.text)
    assert "sesame" not in service.text + done.out + done.err


def test_tables_that_are_made_anew(dbs):
    """Another table of the same name, a partition that is attached, a table that was left out for a while: nothing is missed."""
    parted = """create table parted (id int primary key, v text) partition by range (id);
                create table low partition of parted for values from (0) to (100)"""
    a, b = dbs(2, SHOP, parted)
    a.sql(ROWS)
    text = """
        [sync s]
        tables = all
        dbs = A, B
        """
    service = Service({"A": a.conninfo, "B": b.conninfo}, text)
    service.start()
    service.in_step()
    a.sql("drop table customers; create table customers (id int primary key, name text, region text)")
    a.sql("insert into customers values (1, 'anew', 'x')")
    service.in_step()
    a.sql("insert into customers values (2, 'later', 'x')")
    service.in_step()
    assert b.sql("select id, name from customers order by id") == [(1, "anew"), (2, "later")]
    for node in (b, a):
        node.sql("create table high (id int primary key, v text)")
    a.sql("insert into high values (150, 'before')")
    for node in (b, a):
        node.sql("alter table parted attach partition high for values from (100) to (200)")
    a.sql("insert into high values (160, 'directly')")
    service.in_step()
    a.sql("update high set v = 'again' where id = 150")
    service.in_step()
    assert b.sql("select id, v from parted order by id") == [(150, "again"), (160, "directly")]
    service.write(service.text + "exclude = orders\n")
    service.ok("reload")
    poll_until(lambda: "gone" in {t["state"] for t in service.edge("s")["tables"]}, 20, "the table to be left out")
    a.sql("insert into orders (note) values ('missed')")
    service.in_step()
    assert b.value("select count(*) from orders where note = 'missed'") == 0
    service.write(service.text.replace("exclude = orders\n", ""))
    service.ok("reload")
    poll_until(lambda: b.value("select count(*) from orders where note = 'missed'") == 1, 20, "the table again")
    service.stop()


def test_recopy_of_a_fullcopy(dbs):
    a, b = dbs(2, SHOP)
    a.sql(ROWS)
    service = Service(
        {"A": a.conninfo, "B": b.conninfo},
        """
        [sync s]
        tables = customers
        dbs = A, B:fullcopy
        """,
    )
    service.start()
    service.in_step()
    b.sql("delete from customers")
    service.ok("recopy", "s")
    poll_until(lambda: b.value("select count(*) from customers") == 100, 20, "the copy")
    service.in_step()
    assert service.edge("s")["state"] == "waiting"
    service.stop()
