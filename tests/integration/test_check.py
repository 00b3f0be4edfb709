"""`check` finds what it is there for: each test makes databases with as many findings as go together."""

import glob
import os
import re
import time

import pytest

from lib import servers
from lib.cluster import random_name
from lib.compare import assert_same_catalog, catalog_fingerprint
from lib.tool import REFUSED, Tool

GB = 1 << 30

# (finding, source from, source before, target from, what makes it on the source, part of the object's name)
ANY = (0, 1000000, 0)
SOURCE = [
    ("extension-missing", *ANY, "create extension citext; update pg_extension set extname = 'spare' where extname = 'citext'", "spare"),
    ("extension-older", *ANY, "create extension hstore; update pg_extension set extversion = '99.9' where extname = 'hstore'", "hstore"),
    ("extension-tables", *ANY,
     "create table hers (id int primary key); insert into hers values (1); alter extension hstore add table hers", "public.hers"),
    ("language-missing", *ANY, "create language old_one handler plpgsql_call_handler", "old_one"),
    ("c-functions", *ANY, "create function c_one(cstring) returns hstore language c as '$libdir/hstore', 'hstore_in'", "hstore"),
    ("removed-types", 0, 120000, 120000, "create table timed (id int primary key, at abstime)", "public.timed.at"),
    ("tables-with-oids", 0, 120000, 120000, "create table numbered (id int primary key) with oids", "public.numbered"),
    ("not-null-inheritance", 0, 180000, 180000,
     "create table elder (id int primary key, v int not null); create table younger (primary key (id)) inherits (elder);"
     " alter table younger alter v drop not null; insert into younger values (1, null)", "public.younger.v (of "),
    ("char-columns", 0, 150000, 150000, 'create table flagged (id int primary key, flag "char")', "public.flagged.flag"),
    ("removed-operators", 0, 140000, 140000,
     "create function fact(int) returns int language sql as 'select $1'; create operator !!! (leftarg = int, procedure = fact)", "!!!"),
    ("removed-functions", 0, 140000, 140000,
     "create aggregate collected(anyelement) (sfunc = array_append, stype = anyarray, initcond = '{}')", "collected"),
    ("removed-settings", 0, 160000, 160000,
     "create function parallel() returns int language sql set force_parallel_mode = off as 'select 1'", "parallel()"),
    ("foreign-tables", *ANY, "create foreign data wrapper w; create server s foreign data wrapper w; create foreign table far (i int) server s", "public.far"),
    ("foreign-partitions", 100000, 1000000, 0,
     "create table parted (i int) partition by list (i); create foreign table parted_1 partition of parted for values in (1) server s", "public.parted_1"),
    ("subscription-on-source", 100000, 1000000, 0,
     "create subscription $name connection 'dbname=none' publication p with (connect = false)", "$name"),
    ("publications", 100000, 1000000, 0, "create publication few for table plain", "few"),
    ("publication-all-tables", 100000, 1000000, 0, "create publication everything for all tables", "everything"),
    ("matview-unreadable", *ANY,
     "create table hidden (id int primary key); create materialized view unread as select id from hidden;"
     " alter materialized view unread owner to $group", "public.unread ($group may not read public.hidden)"),
    ("column-order", *ANY,
     "create table parent (a int); create table heir (own int, id int primary key, a int); alter table heir inherit parent", "public.heir"),
    ("publication-identity", 100000, 1000000, 0, "create table bare (i int); create publication of_bare for table bare", "public.bare ("),
    ("table-without-key", *ANY, "create table keyless (i int)", "public.keyless"),
    ("invalid-indexes", *ANY,
     "create index unfinished on plain (v); update pg_index set indisvalid = false where indexrelid = 'unfinished'::regclass", "public.unfinished"),
    ("tablespaces", *ANY, "create index elsewhere on plain (v); update pg_class set reltablespace = 1664 where relname = 'elsewhere'", "pg_global"),
    ("security-labels", *ANY, "insert into pg_seclabel values ('plain'::regclass, 'pg_class'::regclass, 0, 'a provider', 'secret')", "a provider"),
    ("unlogged-tables", *ANY, "create unlogged table quick (id int primary key)", "public.quick"),
    ("materialized-views", *ANY, "create materialized view seen as select 1 as one", "public.seen"),
    ("event-triggers", *ANY,
     "create function noted() returns event_trigger language plpgsql as 'begin end'; create event trigger watch on ddl_command_end execute procedure noted()", "watch"),
    ("database-settings", *ANY, "alter database $db set work_mem = '5MB'", "work_mem=5MB"),
    ("database-properties", *ANY, "comment on database $db is 'the shop'; revoke connect on database $db from public", "the shop"),
    ("owners-missing", *ANY, "grant select on plain to $group", "$group"),
    ("logins-missing", *ANY, "grant $group to $member; grant connect on database $db to $group", "$member"),
    ("role-settings", *ANY, "alter role $member set work_mem = '6MB'", "$member: work_mem=6MB"),
    ("policy-roles-missing", 90500, 1000000, 0, "create policy their on plain to $group using (true)", "$group"),
]


def findings(done):
    return {finding["id"]: finding for finding in done.json["findings"]}


def assert_found(found, name, part, severity=None):
    assert name in found, (name, sorted(found))
    assert any(part in thing for thing in found[name]["objects"]), (part, found[name])
    assert severity is None or found[name]["severity"] == severity, found[name]


@pytest.fixture
def old_roles(pair):
    """A group and a member that exist on the old server only."""
    names = {"$group": random_name("staff"), "$member": random_name("clerk")}
    pair.old.cluster.create_role(names["$group"], "nologin")
    pair.old.cluster.create_role(names["$member"])
    yield names
    pair.old.cluster.drop_db(pair.old.dbname)
    for name in names.values():
        pair.old.cluster.drop_role(name)


@pytest.fixture
def subscription(pair):
    """The name of a subscription, which would keep the database from being dropped."""
    name = random_name("sub")
    yield name
    if pair.old.number >= 100000 and pair.old.sql("select 1 from pg_subscription where subname = %s", (name,)):
        pair.old.sql(f"alter subscription {name} disable")
        pair.old.sql(f"alter subscription {name} set (slot_name = none)")
        pair.old.sql(f"drop subscription {name}")


def test_what_the_source_has(pair, old_roles, subscription):
    old, new = pair.old, pair.new
    words = {"$db": old.dbname, "$name": subscription, **old_roles}

    def fill(text):
        for word, value in words.items():
            text = text.replace(word, value)
        return text

    old.sql("create table plain (id int primary key, v text)")
    expected = [row for row in SOURCE if row[1] <= old.number < row[2] and new.number >= row[3]]
    for *_, script, _ in expected:
        for statement in fill(script).split("; "):
            old.sql(statement)
    new.sql("create function noted() returns event_trigger language plpgsql as 'begin end'")
    new.sql("create event trigger guard on ddl_command_end execute procedure noted()")
    old.sql("begin; insert into keyless values (1); prepare transaction 'left behind'")
    busy = old.connect(autocommit=False)
    with busy.cursor() as cursor:
        cursor.execute("lock table plain in share mode")
    before = [catalog_fingerprint(node.connect()) for node in (old, new)]

    tool = pair.tool(source=f"{old.conninfo} options='-c array_nulls=off'")
    done = tool.run("check", "--json")
    text = tool.run("check")
    busy.close()
    assert done.rc == REFUSED, done
    found = findings(done)
    for name, *_, part in expected:
        assert_found(found, name, fill(part))
    assert_found(found, "ddl-running", "public.plain")
    assert_found(found, "prepared-transactions", "left behind")
    assert_found(found, "setting-differs", "array_nulls")
    assert_found(found, "target-event-triggers", "guard")
    assert_found(found, "target-not-empty", "1 function", "error")
    skipped = [one for one in found.values() if "could not be checked" in one["title"]]
    assert not skipped, skipped
    assert done.json["estimate"]["tables"] > 0 and "To copy: " in text.out
    for fingerprint, node in zip(before, (old, new)):
        assert_same_catalog(fingerprint, catalog_fingerprint(node.connect()))


def test_what_a_role_lacks(pair, ordinary):
    """The same for roles without special rights."""
    app = ordinary(pair)
    old, new = pair.old, pair.new
    for statement in (
        "create table mine (id int primary key)", "alter table mine enable row level security",
        "alter table mine force row level security", "select lo_create(0)",
    ):
        old.sql(statement, user=app)
    old.sql("create table hers (id int primary key); create extension btree_gist; create schema closed")
    old.sql("create table closed.t (id int primary key)")
    old.sql(f"revoke create, temporary on database {old.dbname} from public, {app}")
    for node in (old, new):
        node.cluster.sql("postgres", f"alter role {app} connection limit 3")
    found = findings(pair.tool().run("check", "--json"))
    assert_found(found, "not-owner", "public.hers", "error")
    assert_found(found, "schema-privilege", "USAGE on schema closed", "error")
    assert_found(found, "large-objects", "1 large object", "error")
    assert_found(found, "large-objects", app)
    assert_found(found, "owners-missing", "postgres")
    assert_found(found, "replica-role", app)
    assert_found(found, "connections", "left for our role")
    if old.number >= 90500:
        assert_found(found, "forced-rls", "public.mine", "error")
    if new.number < 130000:
        assert_found(found, "extension-privilege", "btree_gist")


def test_triggers_that_partitions_inherit(new_cluster):
    """Before 13 an ordinary owner cannot put them to sleep, so the run does not begin; the way out works."""
    cluster = new_cluster(servers.BEFORE_13)
    app = random_name("app")
    cluster.create_role(app)
    for name in ("shop", "copy"):
        cluster.create_db(name, owner=app)
    cluster.sql("shop", """
        create table parted (id int primary key) partition by list (id);
        create table parted_1 partition of parted for values in (1);
        create function noted() returns trigger language plpgsql as 'begin return null; end';
        create trigger off after insert on parted for each row execute procedure noted();
        alter table parted disable trigger off;
        create trigger of_statement after insert on parted for each statement execute procedure noted();
        create trigger follows after insert on parted for each row execute procedure noted();
        create trigger follows_always after insert on parted for each row execute procedure noted();
        alter table parted enable always trigger follows_always;
        alter table parted owner to %s; alter table parted_1 owner to %s; alter function noted() owner to %s
    """ % (app, app, app))  # fmt: skip
    ends = {"source": cluster.conninfo("shop", app), "target": cluster.conninfo("copy", app)}
    tool = Tool(client_version=servers.BEFORE_13, **ends)
    found = findings(tool.run("check", "--json"))
    assert_found(found, "inherited-triggers", "public.parted: follows", "error")
    names = ["public.parted: follows", "public.parted: follows_always", "public.parted: off"]
    assert found["inherited-triggers"]["objects"] == names
    assert tool.run("upgrade").rc == REFUSED
    every = Tool(client_version=servers.BEFORE_13, source=cluster.conninfo("shop"), target=cluster.conninfo("copy"))
    assert "inherited-triggers" not in findings(every.run("check", "--json"))

    cluster.sql("shop", "drop trigger follows on parted; drop trigger follows_always on parted;"
                        " drop trigger off on parted; create trigger follows after insert on parted_1 for each row execute procedure noted()")  # fmt: skip
    assert "inherited-triggers" not in findings(tool.run("check", "--json"))
    tool.ok("upgrade", "--switchover")
    cluster.sql("copy", "insert into parted values (1)", user=app)
    tool.ok("rollback")
    assert cluster.value("shop", "select count(*) from parted") == 1
    tool.ok("switchover")
    tool.ok("finish")


def test_databases_that_differ(pair):
    old = pair.old
    name = pair.new.cluster.create_db(None, template="template0", encoding="SQL_ASCII", lc_collate="C", lc_ctype="C")
    try:
        old.sql("create table t (id int primary key)")
        found = findings(pair.tool(target=pair.new.cluster.conninfo(name)).run("check", "--json"))
        assert_found(found, "encoding-differs", "SQL_ASCII", "error")
        if old.value("select datcollate from pg_database where datname = current_database()") not in ("C", "POSIX"):
            assert_found(found, "collation-differs", "LC_COLLATE")
    finally:
        pair.new.cluster.drop_db(name)


# What needs a server of its own or a peculiar tool


def make_longer(node, table, size):
    """The table's file, grown without writing it: pages of zeros were never used."""
    path = os.path.join(node.cluster.data, node.value("select pg_relation_filepath(%s::regclass)", (table,)))
    owner = os.stat(path)
    for segment in range(-(-size // GB)):
        name = path if segment == 0 else f"{path}.{segment}"
        with open(name, "ab") as file:
            file.truncate(min(GB, size - segment * GB))
        os.chown(name, owner.st_uid, owner.st_gid)


def test_keyless_tables_that_are_large(pair, tool):
    pair.old.sql("create table keyless (i int)")
    make_longer(pair.old, "keyless", GB + 8192)
    found = findings(tool.run("check", "--json"))
    assert_found(found, "table-without-key-large", "1.0 GB in all", "warning")


def test_a_lock_table_that_is_small(new_cluster):
    old, new = servers.wanted_one_pair()
    small = {"max_locks_per_transaction": "10", "max_connections": "20", "max_prepared_transactions": "0"}
    source, target = new_cluster(old), new_cluster(new, settings=small)
    name = source.create_db()
    target.create_db(name)
    source.sql(name, "do $$begin for i in 1 .. 110 loop execute format('create table t%s (id int primary key)', i);"
                     " end loop; end$$")  # fmt: skip
    found = findings(Tool(source=source.conninfo(name), target=target.conninfo(name)).run("check", "--json"))
    assert_found(found, "locks-capacity", "target: room for 200 locks", "warning")
    assert found["locks-capacity"]["objects"] == ["target: room for 200 locks"]


@pytest.mark.long
@pytest.mark.timeout(180)
def test_transactions_open_for_long(one_pair):
    one_pair.old.sql("create table t (id int primary key)")
    busy = one_pair.old.connect(autocommit=False, application_name="sleepy")
    with busy.cursor() as cursor:
        cursor.execute("insert into t values (1)")
        assert "long-transaction" not in findings(one_pair.tool().run("check", "--json"))
        time.sleep(61)
        found = findings(one_pair.tool().run("check", "--json"))
    busy.close()
    assert_found(found, "long-transaction", "sleepy, idle in transaction", "warning")


def test_standbys_and_slots(new_cluster):
    """Neither end can be a standby. A slot of the source is named."""
    old, new = servers.wanted_one_pair()
    clusters = [new_cluster(version, settings={"wal_level": "logical", "max_replication_slots": "2"}) for version in (old, new)]
    source, target = clusters
    name = source.create_db()
    target.create_db(name)
    source.sql(name, "select pg_create_logical_replication_slot('feeds', 'test_decoding')")
    tool = Tool(source=source.conninfo(name), target=target.conninfo(name), client_version=old)
    assert_found(findings(tool.run("check", "--json")), "replication-slots", "feeds (logical, test_decoding)", "info")
    source.sql(name, "select pg_drop_replication_slot('feeds')")
    for cluster in clusters:
        cluster.stop()
        with open(os.path.join(cluster.data, "standby.signal"), "w", encoding="utf-8"):
            pass
        cluster.start()
    found = findings(tool.run("check", "--json"))
    assert_found(found, "source-in-recovery", "the source", "error")
    assert_found(found, "target-in-recovery", "the target", "error")


def test_ends_the_wrong_way_round(pair):
    same = pair.tool(target=pair.old.conninfo + " application_name=x").run("check", "--json")
    assert same.rc != 0 and "are the same" in same.err, same
    if pair.old.version == pair.new.version:
        return
    turned = pair.tool(source=pair.new.conninfo, target=pair.old.conninfo)
    found = findings(turned.run("check", "--json"))
    assert_found(found, "target-older", f"source {pair.new.version}.", "error")
    assert "target-older" not in findings(turned.run("check", "--json", "--allow-downgrade"))


def test_a_schema_with_our_name(one_pair, ordinary):
    ordinary(one_pair)
    one_pair.old.sql("create schema pgtandem; create table pgtandem.theirs (i int)")
    done = one_pair.tool().run("check", "--json")
    assert done.rc == 1 and 'has a schema "pgtandem"' in done.err, done


def test_pg_dump_too_old_or_missing(one_pair, tmp_path):
    tool = one_pair.tool()
    found = findings(tool.run("check", "--json", "--pg-bindir", tmp_path))
    assert_found(found, "pg-dump-missing", "pg_dump", "error")
    for program in ("pg_dump", "pg_restore"):
        (tmp_path / program).write_text(f"#!/bin/sh\necho '{program} (PostgreSQL) 9.2.1'\n")
        (tmp_path / program).chmod(0o755)
    found = findings(tool.run("check", "--json", "--pg-bindir", tmp_path))
    assert_found(found, "pg-dump-too-old", "of version 9.2", "error")


# These are said before the checks begin, whenever they are true: the rows are a second line.
REFUSED_BEFORE = ("source-target-same", "name-taken")


def test_every_finding_has_a_test():
    """An id that no test produces is a check that nobody has seen work."""
    here = os.path.dirname(__file__)
    source = ""
    for path in glob.glob(os.path.join(here, "..", "..", "src", "check", "*.c")):
        with open(path, encoding="utf-8") as file:
            source += file.read()
    ids = re.findall(r"\.id = \"([^\"]+)\"", source)
    assert len(ids) > 50
    tests = ""
    for path in glob.glob(os.path.join(here, "test_*.py")):
        with open(path, encoding="utf-8") as file:
            tests += file.read()
    unnamed = [name for name in ids if f'"{name}"' not in tests and name not in REFUSED_BEFORE]
    assert not unnamed, f"findings that no test produces: {unnamed}"
