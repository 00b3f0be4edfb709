"""Managed services: the whole way with the rights that each of them gives to its customers (lib/providers.py)."""

import os
import re

import pytest

from lib.cluster import random_name
from lib.compare import assert_same_catalog, assert_same_content, catalog_fingerprint
from lib.ledger import Ledger
from lib.providers import HEROKU_CHANGES, PROVIDERS, Customer
from lib.tool import INTERRUPTED, REFUSED, kill_leftovers

TABLES = """
create schema shop;
create table shop.customer (id int generated always as identity primary key, name text not null);
create table shop.orders (id bigserial primary key, customer int not null references shop.customer on delete cascade,
                          n int not null default 0);
"""
ROWS = """
insert into shop.customer (name) select 'customer ' || i from generate_series(1, 50) i;
insert into shop.orders (customer) select 1 + i % 50 from generate_series(1, 200) i;
"""
# what the application has beside the ledger, made by the role that owns its tables
SHOP = f"""
{TABLES}
create extension if not exists pgcrypto schema shop;
create function shop.count_orders() returns trigger language plpgsql as
    $$ begin new.n := new.n + 1; return new; end $$;
create trigger count_orders before insert or update on shop.orders for each row execute procedure shop.count_orders();
create view shop.big as select * from shop.orders where n > 10;
{ROWS}
create materialized view shop.per_customer as select customer, count(*) from shop.orders group by customer;
"""

# who may not set session_replication_role, and what to do about it
SLEEPS = {
    "owner": r"superuser.*GRANT SET ON PARAMETER session_replication_role TO {}",
    "cloudsql": "ALTER ROLE {} REPLICATION",
    "heroku": "nobody",
}
# what check finds beside materialized views, which are refreshed
FINDINGS = {
    "owner": {("info", "replica-role")},
    "rds": set(),
    "aurora": set(),
    "cloudsql": {("info", "replica-role")},
    "azure": set(),
    "heroku": {("info", "replica-role"), ("info", "provider-schemas"), ("warning", "owners-missing")},
}


def customers_of(provider, pair):
    """Yields (old, new), a customer of the service on both sides, and removes them."""
    made = []
    try:
        for node in (pair.old, pair.new):
            made.append(Customer(PROVIDERS[provider], node, made[0].names if made else None))
        yield made
    finally:
        kill_leftovers()
        for customer in made:
            customer.remove()


@pytest.fixture(params=list(PROVIDERS))
def customers(request, one_pair):
    yield from customers_of(request.param, one_pair)


@pytest.fixture
def customers_at(one_pair):
    """customers_at("rds"): the same of one service."""
    made = []

    def make(provider):
        made.append(customers_of(provider, one_pair))
        return next(made[-1])

    yield make
    for one in made:
        assert next(one, None) is None


def findings(tool, rc=0):
    done = tool.run("check", "--json")
    assert done.rc == rc, done
    return {f["id"]: f for f in done.json["findings"]}


def tells(text, customer):
    """How this role may be allowed to set session_replication_role, or that it cannot."""
    name = customer.provider.name
    pattern = "only superusers" if name == "owner" and customer.node.number < 150000 else SLEEPS[name]
    return re.search(pattern.format(customer.admin), text) is not None


def test_upgrade(one_pair, customers):
    old, new = customers
    name = old.provider.name
    if one_pair.old.number < 130000:
        one_pair.old.sql("create extension pgcrypto")  # as a service lets its administrators
    old.create(SHOP)
    tool = one_pair.tool()
    ledger = Ledger(old.app_conninfo, writers=2, rate=100).create_schema()
    before = [catalog_fingerprint(node.connect()) for node in (one_pair.old, one_pair.new)]

    found = findings(tool)
    assert found.pop("materialized-views")["severity"] == "info"
    expected = set(FINDINGS[name])
    if one_pair.old.number < 150000:
        expected.add(("info", "replica-role"))  # what cannot be imitated
    assert {(f["severity"], i) for i, f in found.items()} == expected, found
    if name in SLEEPS:
        for customer, said in zip(customers, found["replica-role"]["objects"]):
            assert customer.admin in said and tells(said, customer), said

    with ledger:
        run = tool.start("upgrade", "--jobs", "2")
        run.wait_for_output(r"in sync", timeout=60)
        ledger.wait_for(15)
        for command, there in (("switchover", new), ("rollback", old)):
            tool.ok(command, "--max-pause", "20s", "--on-switch", ledger.switch_command(there.app_conninfo))
            ledger.wait_for(15)
    tool.ok("switchover")
    run.sigint()
    assert run.wait().rc == INTERRUPTED
    # before 15 the schema public belongs to the service's superuser; and what was done to imitate Aurora can be seen
    lost = [line for line in re.findall("not carried over: .*", run.text)
            if "pg_control_system" not in line and not (one_pair.old.number < 150000 and "SCHEMA public" in line)]  # fmt: skip
    assert not lost, lost
    tool.ok("finish")
    ledger.check(one_pair.new.connect())
    assert_same_catalog(before[0], catalog_fingerprint(one_pair.old.connect()))
    assert_same_content(one_pair.old.connect(), one_pair.new.connect())
    # the tables belong to the application again, and what is the service's is as it was
    owners = one_pair.new.value("select string_agg(distinct tableowner, ',') from pg_tables"
                                " where schemaname in ('shop', 'ledger')")  # fmt: skip
    assert owners == new.app
    gone = before[1] - catalog_fingerprint(one_pair.new.connect())
    assert not [entry for entry in gone if "public" not in entry], gone


@pytest.mark.timeout(60)
def test_service(one_pair, customers, new_service):
    """One way, and nothing is left behind."""
    old, new = customers
    name = old.provider.name
    for customer in customers:
        customer.create(TABLES)
    before = [catalog_fingerprint(node.connect()) for node in (one_pair.old, one_pair.new)]
    old.create(ROWS)
    service = new_service({"A": one_pair.old, "B": one_pair.new}, "[sync s]\ntables = all\ndbs = A, B")
    if name in SLEEPS:
        done = service.run("validate")
        assert done.rc == REFUSED and tells(done.out, new), done
        assert "target-triggers = fire" in done.out
        service.write(service.text + "\ntarget-triggers = fire\n")
    service.ok("validate")
    service.start()
    service.in_step()
    old.create("update shop.orders set n = n + 1 where id % 2 = 0; delete from shop.customer where id < 5")
    service.in_step()
    assert_same_content(one_pair.old.connect(), one_pair.new.connect())
    service.stop()
    service.ok("remove", "sync", "s")
    for node, fingerprint in zip((one_pair.old, one_pair.new), before):
        assert_same_catalog(fingerprint, catalog_fingerprint(node.connect()))


def test_what_heroku_changes_in_its_own_schema(one_pair, customers_at):
    """It stops nothing while a run follows, and `abort` leaves it there."""
    old, _ = customers_at("heroku")
    old.create(SHOP)
    tool = one_pair.tool()
    run = tool.start("upgrade")
    run.wait_for_output(r"in sync", timeout=60)
    for node in (one_pair.old, one_pair.new):
        node.sql(HEROKU_CHANGES)
    old.create("insert into shop.customer (name) values ('a late one'); alter table shop.customer add more text")
    tool.ok("switchover")
    tool.ok("rollback")
    run.sigint()
    run.wait()
    assert "_heroku" not in run.text, run.text
    before = [{entry for entry in catalog_fingerprint(node.connect()) if "_heroku" in entry or "heroku_admin" in entry}
              for node in (one_pair.old, one_pair.new)]  # fmt: skip
    tool.ok("abort")
    for node, fingerprint in zip((one_pair.old, one_pair.new), before):
        after = catalog_fingerprint(node.connect())
        assert fingerprint <= after, fingerprint - after
        assert not [entry for entry in after if "shop" in entry] or node is one_pair.old


def statements_of_guide():
    """[those of both sides, those of the new side] of the session in doc/guide-providers.md."""
    path = os.path.join(os.path.dirname(__file__), "../../doc/guide-providers.md")
    with open(path, encoding="utf-8") as file:
        text = re.search(r"    -- both sides;.*?\n(.*?)    -- new side only\n(.*?)\n\n", file.read(), re.DOTALL)
    return [re.sub(r"--.*", "", part) for part in text.groups()]


def test_the_session_in_the_guide(one_pair, customers_at):
    """Its statements are enough, and the main user may do them."""
    old, new = customers_at("rds")
    old.create(SHOP)
    upgrader = random_name("upgrader")
    both, new_side = (part.replace("upgrader", upgrader).replace("app_owner", old.app)
                      .replace("DATABASE shop", f"DATABASE {one_pair.old.dbname}") for part in statements_of_guide())  # fmt: skip
    assert "CREATE ROLE" in both and "ALTER DATABASE" in new_side
    try:
        for customer in (old, new):
            customer.sql(both)
        new.sql(new_side)
        one_pair.old.user = one_pair.new.user = upgrader
        tool = one_pair.tool()
        assert set(findings(tool)) <= {"materialized-views", "replica-role", "database-properties"}
        tool.ok("upgrade", "--switchover")
        tool.ok("finish")
        new.sql(f"alter database {one_pair.new.dbname} owner to {new.app}")
        assert_same_content(one_pair.old.connect(), one_pair.new.connect())
        owners = one_pair.new.sql("select distinct tableowner from pg_tables where schemaname = 'shop'")
        assert owners == [(new.app,)]
    finally:
        kill_leftovers()
        for node in (one_pair.old, one_pair.new):
            node.cluster.drop_db(node.dbname)
            node.cluster.drop_role(upgrader)


# What check says of extensions


def test_extensions_that_are_not_in_the_list(one_pair, customers_at):
    old, new = customers_at("azure")
    old.create("create extension pgcrypto; create extension hstore; create extension citext")
    found = findings(one_pair.tool(), REFUSED)["extension-not-allowed"]
    assert found["severity"] == "error" and found["objects"] == ["citext (azure.extensions)"], found
    new.allow_extensions("")
    assert len(findings(one_pair.tool(), REFUSED)["extension-not-allowed"]["objects"]) == 3
    new.allow_extensions("HSTORE,citext , pgcrypto")
    assert "extension-not-allowed" not in findings(one_pair.tool())


@pytest.mark.parametrize("provider", ["owner", "rds"])
def test_extensions_that_need_an_administrator(one_pair, customers_at, provider):
    _, new = customers_at(provider)
    one_pair.old.sql("create extension pageinspect")
    if provider == "owner":
        assert "extension-privilege" in findings(one_pair.tool())
        return
    assert "extension-privilege" not in findings(one_pair.tool())
    # a role that is no administrator of the service
    one_pair.new.user = new.app
    found = findings(one_pair.tool())["extension-privilege"]
    assert found["severity"] == "warning" and f"GRANT rds_superuser TO {new.app}" in found["hint"], found
