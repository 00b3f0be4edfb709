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
    role = """select rolcanlogin, rolconnlimit, rolvaliduntil, rolpassword,
                     (select setconfig from pg_db_role_setting s where s.setrole = a.oid and setdatabase = 0)
                from pg_authid a where rolname ~ '(?i)^app' order by rolname"""
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


# All or nothing


def gates(both, names):
    """{name: "source", "target" or "nobody"}: who takes writes, from the gates themselves."""
    found = {}
    for name in names:
        source, target = (c.value(name, "select gate from pgtandem.node") for c in (both.old, both.new))
        assert (source, target) != ("open", "open"), name
        found[name] = "source" if source == "open" else "target" if target == "open" else "nobody"
    return found


def assert_not_torn(both, names):
    """Never do some databases take writes on one server and some on the other."""
    found = gates(both, names)
    assert not {"source", "target"} <= set(found.values()), found
    return found


def no_sessions(both):
    """Nothing of the tool works on either server any more."""
    return all(c.value("postgres", "select count(*) from pg_stat_activity where application_name like 'pgtandem%'")
               == 0 for c in (both.old, both.new))


SMALL = ["aaa", "mmm", "zebra"]


@pytest.fixture
def three(both):
    both.create(SMALL).load(SMALL, rate=25)
    tool = both.tool(env={"PGTANDEM_EXCLUDE_DATABASE": "postgres"})
    end(follow(tool))
    return both, tool


# The parent dies, the leader's process, that of another database, or all of them at once (no @).
DEATHS = [
    "server.ready",
    "server.prepared",
    "server.closed",
    "server.decided",
    "switch.lock.after@zebra",
    "switch.close.before@aaa",
    "switch.close.after@aaa",
    "switch.close.after@zebra",
    "switch.close.after",
    "switch.open.before@aaa",
    "switch.open.before@zebra",
    "switch.open.before",
    "switch.open.after@aaa",
    "switch.open.after@zebra",
    "switch.open.after",
]


@pytest.mark.timeout(600)
@pytest.mark.parametrize("deaths", [DEATHS[0::3], DEATHS[1::3], DEATHS[2::3]], ids=["a", "b", "c"])
def test_killed_in_the_switch(three, deaths):
    both, tool = three
    for i, death in enumerate(deaths):
        command, node, side = [("switchover", both.new, "target"), ("rollback", both.old, "source")][i % 2]
        killed = tool.run(command, "--all-databases", fault=death)
        # All but the last moment of one database among others: then nothing is missing.
        assert killed.rc != DONE or death.startswith("switch.open.after"), killed
        poll_until(lambda: no_sessions(both), 40, f"{death}: the end of all processes")
        found = assert_not_torn(both, SMALL)
        if killed.rc == ABORTED:
            assert side not in found.values() and "nobody" not in found.values(), (death, found)
        print(death, killed.rc, found, killed.err[-300:])
        tool.ok(command, "--all-databases")
        both.point_to(node)
        assert set(gates(both, SMALL).values()) == {side}, death
        both.written(5)
    both.stop()
    end(follow(tool))
    both.assert_same(SMALL)
    both.check_all(node)


def test_upgrade_takes_back_or_completes(three):
    """`upgrade` after a kill: the databases go to where the leader is."""
    both, tool = three
    assert tool.run("switchover", "--all-databases", fault="switch.close.after,server.undo").rc != DONE
    poll_until(lambda: no_sessions(both), 40)
    assert set(gates(both, SMALL).values()) == {"nobody"}
    assert "half-way" in tool.ok("status", "--all-databases").out
    # Nobody else may decide for one of them.
    for command in ("upgrade", "switchover", "abort"):
        alone = both.tool(source=both.old.conninfo("mmm"), target=both.new.conninfo("mmm")).run(command)
        assert alone.rc == FAILED and "--all-databases" in alone.err, alone
    assert set(gates(both, SMALL).values()) == {"nobody"}
    end(follow(tool))
    assert set(gates(both, SMALL).values()) == {"source"}
    both.written(5)

    assert tool.run("switchover", "--all-databases", fault="switch.open.before@mmm,switch.open.before@zebra,server.undo").rc != DONE
    poll_until(lambda: no_sessions(both), 40)
    assert gates(both, SMALL) == {"aaa": "target", "mmm": "nobody", "zebra": "nobody"}
    end(follow(tool))
    assert set(gates(both, SMALL).values()) == {"target"}
    both.point_to(both.new)
    both.written(5)
    both.check_all(both.new)


def test_one_database_in_the_way(three):
    """What one database does not allow happens in none."""
    both, tool = three
    holder = both.old.connect("mmm", autocommit=False)
    holder.cursor().execute("lock table ledger.tally in row exclusive mode")
    done = tool.run("switchover", "--all-databases", "--max-pause", "1500ms")
    assert done.rc == ABORTED, done
    assert 'database "mmm"' in done.err and "could not be locked" in done.err
    assert "All of them take writes on the source as before" in done.err
    assert set(gates(both, SMALL).values()) == {"source"}
    holder.rollback()
    holder.close()
    both.written(5)

    # Ctrl-C while all are fenced.
    run = tool.start("switchover", "--all-databases", fault="switch.drain.after@zebra:sleep=4000")
    run.wait_for_output(r"fault point switch.drain.after")
    run.sigint()
    assert run.wait(30).rc == ABORTED
    assert set(gates(both, SMALL).values()) == {"source"}
    both.written(5)

    # A preflight that refuses one.
    both.old.sql("zebra", "create table later (id int primary key)")
    done = tool.run("switchover", "--all-databases")
    assert done.rc == REFUSED and 'database "zebra"' in done.err, done
    assert set(gates(both, SMALL).values()) == {"source"}
    both.old.sql("zebra", "drop table later")

    # A database that came later.
    both.old.sql("postgres", "create database newcomer")
    done = tool.run("switchover", "--all-databases")
    assert done.rc == REFUSED and '"newcomer"' in done.err, done
    end(follow(tool))
    tool.ok("switchover", "--all-databases")
    both.point_to(both.new)
    assert set(gates(both, SMALL + ["newcomer"]).values()) == {"target"}
    both.written(5)
    both.check_all(both.new)
