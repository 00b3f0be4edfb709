"""A database that contains everything ordinary databases contain, moved forth and back while it changes.

lib/contents.py has the schema and the writers. The same is done by roles that have ordinary rights only.
"""

import re
import subprocess

import pytest

from lib import contents, dumps, servers
from lib.cluster import random_name
from lib.compare import assert_same_catalog, assert_same_content, catalog_fingerprint, differences
from lib.contents import Changes
from lib.tool import Tool, kill_leftovers


@pytest.fixture
def roles(pair):
    """(owner, reader) on both servers."""
    names = random_name("owner"), random_name("reader")
    for node in (pair.old, pair.new):
        for name in names:
            node.cluster.create_role(name)
    yield names
    kill_leftovers()
    for node in (pair.old, pair.new):
        node.cluster.drop_db(node.dbname)
        for name in names:
            node.cluster.drop_role(name)


def compare(pair):
    connections = pair.old.connect(), pair.new.connect()
    for connection in connections:
        contents.refresh(connection)
    assert_same_content(*connections)
    for connection in connections:
        connection.close()


# one of the publications is for all tables
ACCEPTED = ("--accept", "publication-all-tables")


def forth_and_back(pair, tool, number, large_owner=None, options=()):
    """upgrade, switchover, rollback, switchover; the writers write all the time."""
    both = [pair.old.conninfo, pair.new.conninfo]
    with Changes(both, number, seed=1, large_owner=large_owner) as changes:
        changes.wait_for(20)
        run = tool.start("upgrade", "--jobs", "2", *options)
        run.wait_for_output(r"in sync", timeout=120)
        changes.wait_for(100)
        tool.ok("switchover", "--max-pause", "30s")
        changes.wait_for(100)
        changes.check()
    tool.ok("verify")
    with Changes(both, number, seed=2, large_owner=large_owner) as changes:
        changes.wait_for(50)
        tool.ok("rollback", "--max-pause", "30s")
        changes.wait_for(50)
        changes.check()
    # what is not followed, tables without a key, is copied at the switch: so a last one, while nobody writes
    tool.ok("switchover")
    run.sigint()
    run.wait()
    tool.ok("verify")
    compare(pair)


def definitions(node):
    """The fingerprint without large objects, which are contents."""
    return {
        line for line in catalog_fingerprint(node.connect())
        if line[0] != "large object" and line[:2] != ("comment", "pg_largeobject")
    }


def create_everything(pair, roles):
    contents.create_extensions(pair.old)
    contents.create(pair.old, *roles, large_objects=True, rare=True)


def test_everything(pair, tool, roles):
    create_everything(pair, roles)
    before = definitions(pair.old)

    forth_and_back(pair, tool, pair.old.number, large_owner=roles[0], options=ACCEPTED)
    tool.ok("finish")

    assert_same_catalog(before, definitions(pair.old))
    compare(pair)


def test_everything_as_pg_dump_sees_it(pair, tool, roles):
    """After each step both sides are defined as the old one was in the beginning, in every detail that pg_dump
    knows."""
    program = dumps.pg_dump_for(pair.old.version, pair.new.version)
    if program is None:
        pytest.skip(f"no pg_dump here reads a server {pair.new.version} (script/servers --clients 18 brings one)")
    create_everything(pair, roles)
    nodes = {"old": pair.old, "new": pair.new}
    before = dumps.definitions(pair.old.conninfo, program)
    numbers = pair.old.number, pair.new.number

    def same(copy, switched=True):
        for side, node in nodes.items():
            found = dumps.without_pgtandem(dumps.definitions(node.conninfo, program, "--exclude-schema=pgtandem"))
            expected = before if side == "old" or switched else dumps.before_switch(before)
            if side == copy:
                found, expected = dumps.awake(found), dumps.awake(expected)
            dumps.assert_same_definitions(expected, found, *(numbers if side == "new" else ()))

    run = tool.start("upgrade", "--jobs", "2", *ACCEPTED)
    run.wait_for_output(r"in sync", timeout=120)
    same(copy="new", switched=False)
    tool.ok("switchover")
    same(copy="old")
    tool.ok("rollback")
    same(copy="new")
    tool.ok("switchover")
    run.sigint()
    run.wait()
    tool.ok("finish")
    for side, node in nodes.items():
        found = dumps.definitions(node.conninfo, program)
        if side == "old":
            dumps.assert_same_definitions(before, found)
        else:
            dumps.assert_same_definitions(before, found, *numbers)
    compare(pair)


def test_pg_dump_of_the_new_version(pair, roles):
    """It may be older than the old server's minor release, and then writes what no server takes."""
    if servers.client_bindir(pair.new.version) is None:
        pytest.skip(f"no pg_dump here reads a server {pair.new.version}")
    tool = pair.tool(client_version=pair.new.version)
    create_everything(pair, roles)
    tool.ok("upgrade", "--switchover", *ACCEPTED)
    tool.ok("finish")
    compare(pair)


def test_abort_leaves_nothing(pair, tool, roles):
    create_everything(pair, roles)
    before = [catalog_fingerprint(node.connect()) for node in (pair.old, pair.new)]

    run = tool.start("upgrade", *ACCEPTED)
    run.wait_for_output(r"in sync", timeout=120)
    run.sigint()
    run.wait()
    tool.ok("abort")

    for node, fingerprint in zip((pair.old, pair.new), before):
        assert_same_catalog(fingerprint, catalog_fingerprint(node.connect()))


@pytest.mark.every_second
@pytest.mark.parametrize("rights", ["owner", "member", "parameter"])
def test_ordinary_rights(pair, ordinary, roles, rights):
    """The whole way without being a superuser anywhere: (a) triggers, rules and foreign keys sleep, (b) they do
    not fire because session_replication_role may be set."""
    app = ordinary(pair, rights)
    for node in (pair.old, pair.new):
        node.sql(f"grant {roles[0]} to {app}")
        contents.create_extensions(node)
    contents.create(pair.old, *roles, user=app)
    before = catalog_fingerprint(pair.old.connect())

    forth_and_back(pair, pair.tool(), pair.old.number)
    pair.tool().ok("finish")

    assert_same_catalog(before, catalog_fingerprint(pair.old.connect()))
    compare(pair)


def test_password(new_cluster):
    """A role that logs in with a password from a password file, in every connection and in pg_dump."""
    old, new = (new_cluster(version, auth="scram") for version in servers.wanted_one_pair())
    role = random_name("app")
    for cluster in (old, new):
        cluster.create_role(role)
        cluster.create_db("shop", owner=role)
    old.sql("shop", "create table items (id int primary key); insert into items values (1), (2)", user=role)
    tool = Tool(source=old.conninfo("shop", role), target=new.conninfo("shop", role), client_version=old.version)
    tool.ok("upgrade", "--switchover")
    new.sql("shop", "insert into items values (3)", user=role)
    tool.ok("rollback")
    assert old.value("shop", "select count(*) from items") == 3
    tool.ok("switchover")
    tool.ok("finish")


# The replication service

# what would act in spite of session_replication_role = replica, and what even the source's own rows do not fulfil
FIRING = """
select format('alter table %s disable trigger %I', t.tgrelid::regclass, t.tgname) from pg_trigger t
 where t.tgenabled in ('A', 'R') and not t.tgisinternal
   and coalesce(to_jsonb(t)->>'tgparentid', '0') = '0' -- a column since 13
union all
select format('alter table %s drop constraint %I', conrelid::regclass, conname) from pg_constraint
 where contype = 'c' and not convalidated
union all
select format('alter table %s disable rule %I', r.ev_class::regclass, r.rulename) from pg_rewrite r
 where r.ev_enabled in ('A', 'R') and r.rulename <> '_RETURN'
"""


def copy_definitions(pair):
    bindir = servers.client_bindir(pair.old.version)
    text = subprocess.run([f"{bindir}/pg_dump", "--schema-only", "-d", pair.old.conninfo],
                          check=True, capture_output=True, text=True).stdout  # fmt: skip
    # pg_dump of 17 and later sets what older servers do not know
    foreign = r"\\(un)?restrict .*|CREATE SCHEMA public;|SET transaction_timeout = 0;"
    # and since 11 it writes operators otherwise
    pair.new.psql(re.sub(rf"(?m)^({foreign})\n", "", text).replace("    FUNCTION =", "    PROCEDURE ="))
    for (statement,) in pair.new.sql(FIRING):
        pair.new.sql(statement)


@pytest.mark.timeout(120)
def test_everything_through_the_service(pair, roles, new_service):
    """Every kind of table, key and value, with one sync; the writers write all the time."""
    contents.create_extensions(pair.old)
    contents.create(pair.old, *roles)
    copy_definitions(pair)
    before = [catalog_fingerprint(node.connect()) for node in (pair.old, pair.new)]
    service = new_service({"A": pair.old, "B": pair.new}, "[sync s]\ntables = all\ndbs = A, B\nonetimecopy = always\n")
    without_key = re.findall(r":\d+: (\S+) has no primary key", service.run("validate").out)
    assert "kinds.no_key" in without_key
    if pair.old.number >= 120000:
        without_key.append("kinds.generated_key")  # until the scenario "a generated column is the key" passes
    service.write(service.text + f"exclude = {', '.join(without_key)}\n")
    service.ok("validate")
    with Changes([pair.old.conninfo], pair.old.number, seed=4) as changes:
        changes.wait_for(20)
        service.start()
        service.in_step(timeout=60)
        changes.wait_for(300)
        service.kill()
        changes.wait_for(100)
        service.start()
        changes.wait_for(100)
        changes.check()
    service.in_step(timeout=60)
    connections = pair.old.connect(), pair.new.connect()
    for connection in connections:
        contents.refresh(connection)
    found = [line for line in differences(*connections, with_large_objects=False)
             if not any(line.startswith(f"table {name}:") for name in without_key)]
    assert not found, "the databases differ:\n  " + "\n  ".join(found)
    assert all(table["state"] == "ok" for table in service.edge("s")["tables"])
    service.stop()
    service.ok("remove", "sync", "s")
    for node, fingerprint in zip((pair.old, pair.new), before):
        assert_same_catalog(fingerprint, catalog_fingerprint(node.connect()))
