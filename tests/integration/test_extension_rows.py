"""Rows that users have put into tables of extensions which mark them as configuration (pg_extension_config_dump)."""

import pytest

from lib import servers
from lib.compare import assert_same_catalog, catalog_fingerprint
from lib.extension import Extension
from lib.tool import ABORTED, DONE, FAILED, Tool, kill_leftovers
from lib.wait import poll_until

# %(limit)s: users' places are those from that number on; %(own)s: what the extension brings itself
SCRIPT = """
create table places (id int primary key, name text not null unique, weight float8 default 0.1, "a ""b"" c" text);
insert into places (id, name) values (1, 'one'), (2, 'two') %(own)s;
select pg_extension_config_dump('places', 'where id >= %(limit)s');
create table settings (key text primary key, value text);
insert into settings values ('colour', 'blue'), ('size', 'small');
select pg_extension_config_dump('settings', '');
create table notes (what text, place int references places);
select pg_extension_config_dump('notes', 'WHERE what <> ''built in''');
insert into notes values ('built in', 1);
create table inner_part (id int primary key);
insert into inner_part values (1);
create sequence numbers;
select pg_extension_config_dump('numbers', '');
create sequence inner_numbers;
create table noted (n int);
create function note() returns trigger language plpgsql as $$ begin insert into ext.noted values (1); return null; end $$;
create trigger note after insert or update or delete on places for each row execute procedure note();
create function weight_of(int) returns float8 language plpgsql immutable as
  $$ declare found float8; begin select weight into strict found from ext.places where id = $1; return found; end $$;
"""
VERSIONS = {
    "1": SCRIPT % {"limit": 100, "own": ""},
    # it has got rows that users of the first one have made themselves
    "2": SCRIPT % {"limit": 200, "own": ", (100, 'hundred'), (101, 'hundred and one')"},
}

# an index needs a place that is the user's
USERS = """
insert into ext.places (id, name, "a ""b"" c") select n, 'mine ' || n, E'\\\\N\\t"' from generate_series(200, 204) n;
update ext.settings set value = 'red' where key = 'colour';
delete from ext.settings where key = 'size';
insert into ext.settings values ('mine', null);
insert into ext.notes values ('mine', 200), ('mine', 200);
select setval('ext.numbers', 41);
select setval('ext.inner_numbers', 17);
insert into ext.inner_part values (2);
create table goods (id int primary key, place int);
insert into goods select n, 200 + n % 5 from generate_series(1, 100) n;
create index on goods (ext.weight_of(place));
"""


@pytest.fixture
def make_extension(pair):
    made = []

    def make(default="1", **options):
        made.append(Extension([node.cluster.server for node in (pair.old, pair.new)], VERSIONS, default=default, **options))
        return made[-1].name

    yield make
    kill_leftovers()
    for extension in made:
        extension.remove()


def create(node, name, version="1", user="postgres"):
    node.sql("create schema if not exists ext", user=user)
    node.sql(f"create extension {name} with schema ext version '{version}'", user=user)


def places(node, since=200):
    return node.sql("select id, name, weight, \"a \"\"b\"\" c\" from ext.places where id >= %s order by 1", (since,))


def everything(node):
    return (places(node), node.sql("select * from ext.settings order by 1"), node.sql("select * from ext.notes order by 1, 2"),
            node.sql("select last_value, is_called from ext.numbers"))


def follow(tool, *options):
    run = tool.start("upgrade", "--jobs", "2", *options)
    run.wait_for_output(r"in sync", timeout=120)
    return run


def test_carried_forth_and_back(pair, tool, make_extension):
    name = make_extension()
    create(pair.old, name)
    pair.old.sql(USERS)
    before = catalog_fingerprint(pair.old.connect())

    found = {one["id"]: one for one in tool.run("check", "--json").json["findings"]}
    assert found["extension-rows"]["objects"] == ["ext.notes (2 rows)", "ext.places (5 rows)", "ext.settings (2 rows)"]
    assert [one.split(" ")[0] for one in found["extension-tables"]["objects"]] == ["ext.inner_part", "ext.noted"]
    assert "table-without-key" not in found

    run = follow(tool, "--follow-keyless", "0B")
    assert everything(pair.new) == everything(pair.old)
    assert pair.new.value("select count(*) from ext.places") == 7
    assert pair.new.sql("select id from ext.inner_part") == [(1,)]
    # nothing of the extension's own acts on the copy
    assert pair.new.value("select count(*) from ext.noted") == 0
    assert "ext.settings: not compared" in tool.ok("verify").out

    pair.old.sql("update ext.places set id = id + 1000 where id = 203; delete from ext.places where id = 204;"
                 " update ext.places set name = case id when 201 then 'mine 202' else 'x' end where id in (201, 202) and false;"
                 " insert into ext.places (id, name) values (300, 'later'); update ext.settings set value = 'late';"
                 " insert into ext.notes values ('late', 300); select nextval('ext.numbers')")
    after = everything(pair.old)
    tool.ok("switchover")
    assert everything(pair.new) == after

    # a place and another one change names; the copy refuses writes
    pair.new.sql("update ext.places set name = 'tmp' where id = 200; update ext.places set name = 'mine 200' where id = 201;"
                 " update ext.places set name = 'mine 201' where id = 200; delete from ext.notes where what = 'mine';"
                 " delete from ext.settings; insert into ext.settings values ('back', 'x'); select nextval('ext.numbers')")
    with pytest.raises(Exception, match="does not take writes"):
        pair.old.sql("update ext.settings set value = 'x'")
    after = everything(pair.new)
    tool.ok("rollback")
    assert everything(pair.old) == after
    assert pair.old.sql("select id, name from ext.places where id < 100 order by 1") == [(1, "one"), (2, "two")]

    # nothing changed, so nothing is copied
    assert "were copied in that time" not in tool.ok("switchover").text
    run.sigint()
    run.wait()
    assert everything(pair.new) == after
    tool.ok("finish")
    assert_same_catalog(before, catalog_fingerprint(pair.old.connect()))
    pair.new.sql("insert into ext.places (id, name) values (400, 'on my own')")
    assert pair.new.value("select count(*) from ext.noted") > 0


@pytest.mark.long
def test_a_large_one_is_told(pair, tool, make_extension):
    create(pair.old, make_extension())
    pair.old.sql("insert into ext.settings select n, repeat(md5(n::text), 20) from generate_series(1, 100000) n")
    found = {one["id"]: one for one in tool.run("check", "--json").json["findings"]}
    assert found["extension-rows"]["severity"] == "warning" and "ext.settings is large" in found["extension-rows"]["hint"]


def test_another_version_of_the_extension(pair, tool, make_extension):
    """What the users of the old version have made themselves comes with the new one."""
    name = make_extension(default="2")
    create(pair.old, name)
    pair.old.sql("insert into ext.places (id, name) values (100, 'hundred'), (101, 'other'), (150, 'mine'), (250, 'too')")

    done = tool.run("upgrade", "--switchover")
    assert done.rc == FAILED
    assert "the extension has other rows with their keys, such as (101,\"hundred and one\"" in done.text, done
    pair.old.sql("update ext.places set name = 'hundred and one' where id = 101")
    run = follow(tool)
    assert [row[:2] for row in places(pair.new, 0)] == [
        (1, "one"), (2, "two"), (100, "hundred"), (101, "hundred and one"), (150, "mine"), (250, "too")]

    # for the new version 150 is no user's row, for the old one it is
    tool.ok("switchover")
    pair.new.sql("delete from ext.places where id = 250; insert into ext.places (id, name) values (251, 'new')")
    tool.ok("rollback")
    assert [row[0] for row in places(pair.old, 0)] == [1, 2, 100, 101, 150, 251]

    # one that collides gives the switch up, and the old node takes writes
    pair.new.value("select count(*) from ext.places")
    pair.old.sql("update ext.places set name = 'mine again' where id = 100")
    done = tool.run("switchover")
    assert done.rc == ABORTED and "other rows with their keys" in done.text, done
    pair.old.sql("update ext.places set name = 'hundred' where id = 100")
    tool.ok("switchover")
    run.sigint()
    run.wait()


def test_extension_that_is_on_the_target(pair, tool, make_extension):
    """`check` tells what it holds, and `abort` puts it back."""
    name = make_extension()
    for node in (pair.old, pair.new):
        create(node, name)
    pair.old.sql(USERS)
    pair.new.sql("insert into ext.places values (202, 'the target''s', 'Infinity', E'x\\n\"'), (500, 'gone', 0.3, ''); select setval('ext.numbers', 7);"
                 " update ext.settings set value = 'green'; insert into ext.notes values ('theirs', 202), ('theirs', 202);"
                 " alter table ext.places enable always trigger note; delete from ext.noted")
    before = catalog_fingerprint(pair.new.connect()), everything(pair.new), pair.new.value("select count(*) from ext.noted")
    found = {one["id"]: one for one in tool.run("check", "--json").json["findings"]}
    assert "ext.places (2 rows)" in found["extension-rows-target"]["objects"]

    run = follow(tool)
    assert everything(pair.new) == everything(pair.old)
    run.sigint()
    run.wait()
    assert tool.run("abort", fault="abort.emptied").rc != DONE
    tool.ok("abort")
    assert_same_catalog(before[0], catalog_fingerprint(pair.new.connect()))
    assert (everything(pair.new), pair.new.value("select count(*) from ext.noted")) == before[1:]


def test_dropped_meanwhile(pair, tool, make_extension):
    name = make_extension()
    create(pair.old, name)
    pair.old.sql("insert into ext.settings values ('x', 'y'); create table t (id int primary key)")
    run = follow(tool)
    pair.old.sql("create table more (id int primary key); insert into more values (1); update ext.settings set value = 'z' where key = 'x'")
    wait = dict(timeout=60, interval=0.1)
    poll_until(lambda: not run.running or pair.new.value("select count(*) from pg_class where relname = 'more'"), **wait)
    tool.ok("switchover")
    assert pair.new.value("select value from ext.settings where key = 'x'") == "z"
    tool.ok("rollback")

    # nothing else changes
    pair.old.sql(f"drop extension {name}")
    poll_until(lambda: not run.running or pair.new.value("select count(*) from pgtandem.tab where schema_name = 'ext'") == 0, **wait)
    pair.old.sql("insert into more values (2)")
    assert run.running, run.wait()
    tool.ok("switchover")
    pair.new.sql("insert into more values (3)")
    tool.ok("rollback")
    assert pair.old.value("select count(*) from more") == 3
    run.sigint()
    run.wait()
    tool.ok("abort")


def test_crashes(pair, tool, make_extension):
    name = make_extension()
    create(pair.old, name)
    pair.old.sql(USERS)
    for fault in ("config.copied", "apply.config", "step.copied.before"):
        assert tool.run("upgrade", fault=fault).rc != DONE
    pair.old.sql("insert into ext.places (id, name) values (300, 'later')")
    run = follow(tool)
    run.sigint()
    run.wait()
    assert tool.run("switchover", fault="apply.config").rc != DONE
    pair.new.sql("select 1")
    poll_until(lambda: tool.run("switchover").rc == DONE, timeout=60)
    assert everything(pair.new) == everything(pair.old)


@pytest.mark.parametrize("rights", ["owner", "parameter"])
def test_ordinary_role(pair, ordinary, make_extension, rights):
    """Foreign keys and triggers of the extension act as soon as it is there."""
    app = ordinary(pair, rights)
    name = make_extension()
    create(pair.old, name, user=app)
    pair.old.sql(USERS, user=app)
    tool = pair.tool()
    run = follow(tool)
    assert everything(pair.new) == everything(pair.old)
    pair.old.sql("delete from ext.notes where what = 'mine'; delete from ext.places where id = 201;"
                 " insert into ext.places (id, name) values (302, 'new'); insert into ext.notes values ('n', 302)", user=app)
    tool.ok("switchover")
    assert everything(pair.new) == everything(pair.old)
    assert pair.new.value("select count(*) from ext.noted") == 0
    run.sigint()
    run.wait()
    tool.ok("finish")
    with pytest.raises(Exception, match="violates foreign key"):
        pair.new.sql("insert into ext.notes values ('x', 9999)", user=app)


def test_not_ours(pair, ordinary, make_extension):
    """Tables of an extension that somebody else made are left alone, and that is said."""
    app = ordinary(pair)
    name = make_extension()
    for node in (pair.old, pair.new):
        create(node, name)
        node.sql(f"grant all on schema ext to {app}; grant select on all tables in schema ext to {app};"
                 f" grant select, update on all sequences in schema ext to {app}")
    pair.old.sql("insert into ext.places (id, name) values (200, 'mine')")
    pair.old.sql("create table t (id int primary key); insert into t values (1)", user=app)
    tool = pair.tool()
    found = {one["id"]: one for one in tool.run("check", "--json").json["findings"]}
    assert any("ext.places (" in one and "owner postgres" in one for one in found["extension-tables"]["objects"])
    assert "ext.numbers (sequence, configuration, owner postgres)" in found["extension-tables"]["objects"]
    assert "extension-rows" not in found
    pair.old.sql("select setval('ext.numbers', 55)")
    tool.ok("upgrade", "--switchover")
    assert pair.new.value("select last_value from ext.numbers") == 1
    assert places(pair.new) == []
    tool.ok("finish")


def test_not_ours_on_the_target(pair, ordinary, make_extension):
    app = ordinary(pair)
    name = make_extension()
    create(pair.old, name, user=app)
    create(pair.new, name)
    pair.new.sql(f"grant all on schema ext to {app}; grant select on all tables in schema ext to {app}")
    pair.old.sql("insert into ext.places (id, name) values (200, 'mine')", user=app)
    tool = pair.tool()
    found = {one["id"]: one for one in tool.run("check", "--json").json["findings"]}
    assert any("target: owner postgres" in one for one in found["extension-tables"]["objects"])
    done = tool.ok("upgrade", "--switchover")
    assert "rows of table ext.places are not carried: the target's extension made it a table of postgres" in done.text
    assert "sequence ext.numbers is not carried" in done.text
    tool.ok("finish")


def test_a_part_of_the_database(pair, tool, make_extension):
    """Schemas and tables go without extensions; all but some go with them."""
    name = make_extension()
    create(pair.old, name)
    pair.old.sql(USERS)
    pair.old.sql("drop index goods_weight_of_idx")
    create(pair.new, name)
    run = follow(tool, "--schema", "public")
    assert places(pair.new) == []
    run.sigint()
    run.wait()
    tool.ok("abort")
    pair.new.sql(f"drop extension {name}")
    run = follow(tool, "--exclude-table", "public.goods")
    assert everything(pair.new) == everything(pair.old)
    run.sigint()
    run.wait()
    tool.ok("abort")


def test_all_databases(new_cluster):
    old, new = (new_cluster(version) for version in servers.wanted_one_pair())
    extension = Extension([old.server, new.server], VERSIONS, default="1")
    try:
        for database in ("one", "two"):
            old.create_db(database)
            old.sql(database, f"create schema ext; create extension {extension.name} with schema ext")
            old.sql(database, USERS)
        # it stands in for those that are to be made
        new.sql("postgres", f"create schema ext; create extension {extension.name} with schema ext;"
                            " insert into ext.places (id, name) values (999, 'of another database')")
        tool = Tool(source=old.conninfo(), target=new.conninfo(), client_version=old.version)
        found = tool.run("check", "--all-databases", "--exclude-database", "postgres")
        assert "ext.places (5 rows)" in found.text and "extension-rows-target" not in found.text, found
        options = ("--all-databases", "--exclude-database", "postgres")
        tool.ok("upgrade", *options, "--switchover", timeout=200)
        new.sql("two", "delete from ext.notes where place = 200; delete from ext.places where id = 200")
        tool.ok("rollback", "--all-databases")
        for database, n in (("one", 5), ("two", 4)):
            assert [cluster.value(database, "select count(*) from ext.places where id >= 200") for cluster in (old, new)] == [n, n]
        tool.ok("abort", "--all-databases")
    finally:
        kill_leftovers()
        extension.remove()
