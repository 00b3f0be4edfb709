"""Security labels: carried where the target has their provider, and told where it has not."""

import os
import shutil
import subprocess

import pytest

from lib import place, servers
from lib.compare import assert_same_catalog, catalog_fingerprint
from lib.tool import Tool, kill_leftovers

PROVIDER = 'a "provider"'
NAME = '"a ""provider"""'

LABELS = f"""
create schema s; create table s."t ""x" (id int primary key, v int); insert into s."t ""x" values (1, 2);
create view s.v as select 1 as a; create materialized view s.m as select 1 as a; create function s.f() returns int language sql as 'select 1';
create sequence s.q; create domain s.d as int; create type s.e as enum ('a'); create aggregate s.sums(int) (sfunc = int4pl, stype = int);
create publication p for table s."t ""x";
security label for {NAME} on table s."t ""x" is 'secret; "x" ''y''';
security label for {NAME} on column s."t ""x".v is 'of a column';
security label for {NAME} on view s.v is 'of a view';
security label for {NAME} on materialized view s.m is 'of a materialized view';
security label for {NAME} on function s.f() is 'of a function';
security label for {NAME} on aggregate s.sums(int) is 'of an aggregate';
security label for {NAME} on sequence s.q is 'of a sequence';
security label for {NAME} on domain s.d is 'of a domain';
security label for {NAME} on type s.e is E'of a type\\n--\\n-- Name: x; Type: TABLE; Schema: s; Owner: o\\n--\\n';
security label for {NAME} on schema s is 'of a schema ON DATABASE "x"';
security label for {NAME} on schema public is 'of the old public';
"""


def library(version):
    """The provider for a server of that version; a path that the server may read."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler is here to make a provider of labels")
    at = os.path.join(place.new_dir("labels"), "labels.so")
    source = os.path.join(os.path.dirname(__file__), "..", "lib", "labels.c")
    number = servers.version_number(version)
    done = subprocess.run([compiler, "-shared", "-fPIC", "-Wall", "-Werror", f"-DVERSION={number // 100}", "-o", at, source],
                          capture_output=True, text=True)  # fmt: skip
    assert done.returncode == 0, done.stderr
    os.chmod(at, 0o755)
    return at


@pytest.fixture
def two_servers(request, new_cluster):
    """two_servers(True): old and new; the new one has the provider."""

    def make(both):
        old, new = servers.wanted_one_pair()
        made = [new_cluster(old, settings={"session_preload_libraries": library(old)}),
                new_cluster(new, settings={"session_preload_libraries": library(new)} if both else None)]
        for cluster in made:
            cluster.create_db("shop")
        return made

    yield make
    kill_leftovers()


def labels(cluster, database="shop"):
    """Of all but the database and what is not carried."""
    return set(cluster.sql(database, "select objtype, objname, provider, label from pg_seclabels where objtype not in ('publication', 'database', 'role')"))


def tool_for(old, new, database="shop"):
    return Tool(source=old.conninfo(database), target=new.conninfo(database), client_version=old.version)


def finding(tool):
    return {one["id"]: one for one in tool.run("check", "--json").json["findings"]}["security-labels"]


def test_with_their_provider(two_servers):
    old, new = two_servers(both=True)
    old.sql("shop", LABELS)
    new.sql("shop", f"security label for {NAME} on schema public is 'of the new public'")
    tool = tool_for(old, new)
    assert finding(tool)["severity"] == "info"
    before = [catalog_fingerprint(cluster.connect("shop")) for cluster in (old, new)]

    run = tool.start("upgrade")
    run.wait_for_output("in sync", timeout=60)
    assert len(labels(old)) == 11 and labels(new) == labels(old)
    run.sigint()
    run.wait()
    tool.ok("abort")
    for cluster, fingerprint in zip((old, new), before):
        assert_same_catalog(fingerprint, catalog_fingerprint(cluster.connect("shop")))

    tool.ok("upgrade", "--switchover")
    tool.ok("rollback")
    tool.ok("switchover")
    tool.ok("finish")
    assert labels(new) == labels(old)
    assert_same_catalog(before[0], catalog_fingerprint(old.connect("shop")))


def test_without_their_provider(two_servers):
    old, new = two_servers(both=False)
    old.sql("shop", LABELS)
    tool = tool_for(old, new)
    found = finding(tool)
    assert found["severity"] == "warning" and PROVIDER in found["objects"][0], found
    done = tool.ok("upgrade", "--switchover")
    assert "not carried over: SECURITY LABEL" in done.text
    assert labels(new) == set()
    tool.ok("finish")


def test_refused_by_the_provider(two_servers):
    old, new = two_servers(both=True)
    old.sql("shop", LABELS)
    old.sql("shop", f"security label for {NAME} on table s.\"t \"\"x\" is 'odd'; update pg_seclabel set label = 'refused' where label = 'odd'")
    done = tool_for(old, new).ok("upgrade", "--switchover")
    if new.number >= 130000:
        assert "the provider does not take this label" in done.text
        assert len(labels(new)) == 10


def test_of_roles_and_databases(two_servers):
    """A whole server carries them; one database tells what it leaves."""
    old, new = two_servers(both=True)
    old.sql("postgres", f'create role "some ""one"; security label for {NAME} on role "some ""one" is \'of a role\';'
                        f" security label for {NAME} on database shop is 'of a database'")
    old.sql("shop", LABELS)
    found = {one["id"]: one for one in tool_for(old, new).run("check", "--json").json["findings"]}
    assert any("of a database" in one for one in found["database-properties"]["objects"]), found["database-properties"]

    new.sql("postgres", "drop database shop")
    tool = tool_for(old, new, "postgres")
    tool.ok("upgrade", "--all-databases", "--switchover", timeout=200)
    tool.ok("finish", "--all-databases")
    shared = "select objtype, objname, label from pg_seclabels where objtype in ('role', 'database')"
    assert set(new.sql("shop", shared)) == set(old.sql("shop", shared)) != set()
    assert labels(new) == labels(old)


def test_of_publications_and_event_triggers(two_servers):
    """They come with the switch, and are altered by the next one."""
    old, new = two_servers(both=True)
    old.sql("shop", LABELS)
    old.sql("shop", "create function public.e() returns event_trigger language plpgsql as 'begin end'; create event trigger e on sql_drop"
                    f" execute procedure public.e(); security label for {NAME} on publication p is 'of a publication';"
                    f" security label for {NAME} on event trigger e is 'of an event trigger'")
    query = "select objtype, objname, provider, label from pg_seclabels where objtype in ('publication', 'event trigger') order by 1"
    tool = tool_for(old, new)
    tool.ok("upgrade", "--switchover")
    assert new.sql("shop", query) == old.sql("shop", query) and len(new.sql("shop", query)) == 2
    new.sql("shop", f"security label for {NAME} on publication p is 'another'; security label for {NAME} on event trigger e is null")
    done = tool.ok("rollback")
    assert "not carried over" not in done.err
    assert old.sql("shop", query) == new.sql("shop", query) == [("publication", "p", PROVIDER, "another")]
    tool.ok("abort")
