"""All databases of a server in one run: one upgrade, one switchover that moves all of them or none, one way back."""

import json
import time

import psycopg2
import pytest

from lib import servers
from lib.compare import assert_same_content, catalog_fingerprint, assert_same_catalog
from lib.ledger import Ledger
from lib.tool import ABORTED, DONE, FAILED, INTERRUPTED, REFUSED, USAGE, Tool
from lib.wait import poll_until

ODD = """odd "na'me" %s"""
LOADED = ["aaa", "latin", ODD, "zebra"]
ALL = ["aaa", "empty", "latin", ODD, "postgres", "zebra"]
LEADER, OTHER = "aaa", "zebra"

ROLES = """
    create role app_owner; create role app_reader;
    create role "App Writer" login password 'secret' connection limit 9 valid until '2031-01-01';
    grant app_owner to "App Writer" with admin option;
    grant app_reader to app_owner;
    alter role "App Writer" set search_path = "odd, path", public;
    alter role app_reader set work_mem = '7MB';
    comment on role app_reader is 'reads; only';
"""


def quoted(name):
    return '"' + name.replace('"', '""') + '"'


class Servers:
    """Two servers, and what is done with all databases of them."""

    def __init__(self, old, new):
        self.old, self.new = old, new
        self.ledgers = {}

    def tool(self, **options):
        options.setdefault("source", self.old.conninfo())
        options.setdefault("target", self.new.conninfo())
        return Tool(client_version=self.old.version, **options)

    def create(self, names):
        for name in names:
            if name == "latin":
                self.old.sql("postgres", "create database latin owner app_owner template template0 "
                             "encoding 'LATIN1' lc_collate 'C' lc_ctype 'C' connection limit 33")
            elif name != "postgres":
                self.old.sql("postgres", f"create database {quoted(name)}")
        return self

    def load(self, names, writers=1, rate=40):
        for name in names:
            ledger = Ledger(self.old.conninfo(name), writers=writers, rate=rate)
            self.ledgers[name] = ledger.create_schema()
            ledger.start()
        return self

    def point_to(self, cluster):
        for name, ledger in self.ledgers.items():
            ledger.repoint(cluster.conninfo(name))

    def written(self, more=15):
        for ledger in self.ledgers.values():
            ledger.wait_for(more)

    def stop(self):
        for ledger in self.ledgers.values():
            if ledger._threads:
                ledger.stop()

    def check_all(self, cluster, **options):
        """No acknowledged write is missing, none that was refused is there."""
        self.stop()
        for name, ledger in self.ledgers.items():
            ledger.check(cluster.connect(name))

    def assert_same(self, names=None):
        for name in names or self.ledgers:
            assert_same_content(self.old.connect(name), self.new.connect(name))


@pytest.fixture
def both(new_cluster):
    old, new = servers.wanted_one_pair()
    made = Servers(new_cluster(old, name="old"), new_cluster(new, name="new"))
    yield made
    made.stop()


@pytest.fixture
def full(both):
    both.old.psql("postgres", ROLES)
    both.create(ALL)
    both.old.psql("latin", "create table words (id int primary key, w text); insert into words values (1, E'\\u00e4rger')")
    return both.load(LOADED)


def follow(tool, *options):
    run = tool.start("upgrade", "--all-databases", "--jobs", "2", *options)
    run.wait_for_output(r"all \d+ databases are in sync", timeout=90)
    return run


def end(run):
    run.sigint()
    assert run.wait().rc == INTERRUPTED


def states(tool):
    return {name: (s["state"], s["writes"]) for name, s in
            tool.ok("status", "--all-databases", "--json").json["databases"].items()}


def all_on(tool, side, names=ALL):
    state = "switched" if side == "target" else "following"
    found = states(tool)
    assert found == {name: (state, side) for name in names}, found


def test_all_in_one_run(full):
    """The whole way with writers on four databases: copy, switch, back, forth, finish."""
    tool = full.tool()
    before = {name: catalog_fingerprint(full.old.connect(name)) for name in ALL}
    check = tool.ok("check", "--all-databases", "--json").json
    assert set(check["databases"]) == set(ALL) and check["errors"] == 0
    assert "to be created" in tool.ok("check", "--all-databases").out
    assert states(tool) == {}

    run = follow(tool)
    all_on(tool, "source")
    full.written()
    tool.ok("verify", "--all-databases", "--jobs", "2")
    assert tool.run("check", "--all-databases").rc == FAILED
    # Roles, settings, databases with what belongs to them.
    role = """select rolcanlogin, rolconnlimit, rolvaliduntil, rolpassword, rolconfig from pg_authid
               where rolname = 'App Writer'"""
    assert full.old.sql("postgres", role) == full.new.sql("postgres", role)
    memberships = """select pg_get_userbyid(roleid)::text, pg_get_userbyid(member)::text, admin_option
                       from pg_auth_members where roleid::regrole::text ~ 'app_' order by 1, 2"""
    assert full.old.sql("postgres", memberships) == full.new.sql("postgres", memberships) != []
    database = """select pg_get_userbyid(datdba)::text, encoding, datcollate, datctype, datconnlimit
                    from pg_database where datname = 'latin'"""
    assert full.old.sql("postgres", database) == full.new.sql("postgres", database)

    tool.ok("switchover", "--all-databases", "--dry-run")
    done = tool.ok("switchover", "--all-databases")
    assert "is on the target with 6 databases; writes were paused for" in done.err
    full.point_to(full.new)
    all_on(tool, "target")
    full.written()
    tool.ok("rollback", "--all-databases")
    full.point_to(full.old)
    all_on(tool, "source")
    full.written()
    tool.ok("switchover", "--all-databases", "--on-switch", "test \"$PGTANDEM_EVENT\" = switchover")
    full.point_to(full.new)
    full.written()
    tool.ok("switchover", "--all-databases")  # again: nothing to do
    full.stop()
    tool.ok("verify", "--all-databases", "--jobs", "2")
    full.assert_same()

    assert tool.run("abort", "--all-databases").rc == FAILED
    tool.ok("finish", "--all-databases")
    assert run.wait(30).rc == DONE
    full.check_all(full.new)
    for name in ALL:
        for cluster in (full.old, full.new):
            assert cluster.value(name, "select count(*) from pg_namespace where nspname = 'pgtandem'") == 0
        assert_same_catalog(before[name], catalog_fingerprint(full.old.connect(name)))
    assert tool.run("finish", "--all-databases").rc == FAILED
