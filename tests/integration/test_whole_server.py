"""All databases of a server in one run: one upgrade, one switchover that moves all of them or none, one way back."""

import os
import re
import shutil
import signal

import psycopg2
import pytest

from lib import place, servers
from lib.compare import assert_same_catalog, assert_same_content, catalog_fingerprint, differences
from lib.ledger import Ledger
from lib.pgbouncer import PgBouncer, entries
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
    both.old.psql("latin", "create table words (id int primary key, w text); "
                  "insert into words values (1, chr(228) || 'rger')")
    return both.load(LOADED)


def follow(tool, *options):
    run = tool.start("upgrade", "--all-databases", "--jobs", "2", *options)
    run.wait_for_output(r"all \d+ databases? are in sync", timeout=90)
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
    for ledger in full.ledgers.values():
        ledger.pause()  # else it has to look again and again at rows that change all the time
    assert tool.ok("verify", "--all-databases", "--jobs", "2").out.count("no differences") == len(ALL)
    for ledger in full.ledgers.values():
        ledger.resume()
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
        command, node, side, other = [("switchover", both.new, "target", "source"),
                                      ("rollback", both.old, "source", "target")][i % 2]
        killed = tool.run(command, "--all-databases", fault=death)
        if death.startswith("server."):
            assert killed.rc == -9, killed
        else:
            # The parent has seen to it that all are back, or that all are there.
            assert killed.rc == (DONE if death.startswith("switch.open") and death != "switch.open.before" and
                                 death != "switch.open.before@aaa" else ABORTED), (death, killed)
        poll_until(lambda: no_sessions(both), 40, f"{death}: the end of all processes")
        found = assert_not_torn(both, SMALL)
        # The others of a parent that died find their way without it.
        assert set(found.values()) == {side if killed.rc == DONE or death == "server.decided" else other}, death
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
    assert tool.run("switchover", "--all-databases", fault="server.closed,member.asked").rc != DONE
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


def test_killed_at_the_end(three):
    """finish removes the rest when it is run again; until then nobody else works on what is left."""
    both, tool = three
    tool.ok("switchover", "--all-databases")
    both.point_to(both.new)
    assert tool.run("finish", "--all-databases", fault="finish.source@mmm").rc == FAILED
    assert tool.run("rollback", "--all-databases").rc == FAILED
    assert tool.run("finish", "--all-databases", fault="server.ending").rc == -9
    both.written(5)
    tool.ok("finish", "--all-databases")
    for name in SMALL:
        for cluster in (both.old, both.new):
            assert cluster.value(name, "select count(*) from pg_namespace where nspname = 'pgtandem'") == 0
    both.check_all(both.new)


def children(run):
    """The processes of its databases."""
    with open(f"/proc/{run.process.pid}/task/{run.process.pid}/children", encoding="ascii") as file:
        return [int(pid) for pid in file.read().split()]


def test_a_dead_process_is_replaced(three):
    both, tool = three
    run = follow(tool)
    for pid in children(run):
        os.kill(pid, signal.SIGKILL)
        run.wait_for_output(r"ended unexpectedly; starting another")
    both.written(5)
    for ledger in both.ledgers.values():
        ledger.pause()
    poll_until(lambda: all(s["worker"] and not s["pending_changes"] for s in
                           tool.ok("status", "--all-databases", "--json").json["databases"].values()), 40)
    poll_until(lambda: not any(differences(both.old.connect(name), both.new.connect(name)) for name in SMALL), 20,
               "the sequences, which travel once a second")
    end(run)


def test_nobody_decides_alone(three):
    """The parent dies while the leader is about to open: the others wait for what becomes of that."""
    both, tool = three
    run = tool.start("switchover", "--all-databases", fault="switch.open.before@aaa:sleep=4000")
    run.wait_for_output(r"fault point switch.open.before")
    assert set(gates(both, SMALL).values()) == {"nobody"}
    run.kill9(tree=False)
    run.wait()
    poll_until(lambda: no_sessions(both), 40)
    found = assert_not_torn(both, SMALL)
    assert "nobody" not in found.values(), found
    tool.ok("switchover", "--all-databases")
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

    # A preflight that refuses one: what is on its copy only.
    both.new.sql("zebra", "create table later (id int primary key)")
    done = tool.run("switchover", "--all-databases")
    assert done.rc == REFUSED and 'database "zebra"' in done.err and "public.later" in done.err, done
    assert set(gates(both, SMALL).values()) == {"source"}
    both.new.sql("zebra", "drop table later")

    # A database that came later.
    both.old.sql("postgres", "create database newcomer")
    done = tool.run("switchover", "--all-databases")
    assert done.rc == REFUSED and '"newcomer"' in done.err, done
    end(follow(tool))
    tool.ok("switchover", "--all-databases")
    both.point_to(both.new)
    assert set(gates(both, SMALL + ["newcomer"]).values()) == {"target"}
    both.written(5)

    # Nothing may be left behind by leaving it out, nor begin where the others are no more.
    both.old.sql("postgres", "create database latest")
    run = follow(tool)
    assert 'database "latest" is not in the run' in run.text
    end(run)
    done = tool.run("upgrade", "--all-databases", "--exclude-database", "mmm")
    assert done.rc == USAGE and "cannot be left out" in done.err, done
    both.check_all(both.new)


# Through PgBouncer


class Pooled:
    """Two PgBouncers in front of all databases of the old server, which read one file of entries."""

    def __init__(self, both, databases):
        self.both = both
        self.directory = place.new_dir("e")
        self.file = os.path.join(self.directory, "databases.ini")
        with open(self.file, "w", encoding="utf-8") as file:
            file.write(entries(databases))
        for path in (self.directory, self.file):
            place.hand_over(path)
        self.bouncers = [PgBouncer(self.file).start() for _ in range(2)]
        self.options = ["--all-databases", "--pgbouncer-ini", self.file]
        for bouncer in self.bouncers:
            self.options += ["--pgbouncer", bouncer.admin_conninfo]

    @property
    def text(self):
        with open(self.file, encoding="utf-8") as file:
            return file.read()

    def load(self, names, writers=2, rate=60):
        """Writers on each, half of them by the one PgBouncer, half by the other."""
        for i, name in enumerate(names):
            schema = Ledger(self.both.old.conninfo(name)).create_schema()
            ledger = Ledger(self.bouncers[i % 2].conninfo(name), writers=writers, rate=rate)
            assert schema.schema == ledger.schema
            self.both.ledgers[name] = ledger
            ledger.start()

    def assert_none_failed(self):
        for name, ledger in self.both.ledgers.items():
            assert not ledger.refused, (name, ledger.refused[:3])
            assert not ledger.ambiguous, (name, ledger.ambiguous[:3])

    def assert_led(self, cluster, names):
        """By the file, and by what the PgBouncers made of it."""
        for name in names:
            assert f"{name} = host={cluster.directory} port={cluster.port}" in self.text, self.text
        for bouncer in self.bouncers:
            shown = {row["name"]: row for row in bouncer.admin("show databases")}
            for name in set(names) & set(shown):
                assert (shown[name]["host"], shown[name]["port"]) == (cluster.directory, cluster.port), shown[name]
                assert shown[name]["paused"] == 0, shown[name]

    def remove(self):
        for bouncer in self.bouncers:
            bouncer.remove()
        shutil.rmtree(self.directory, ignore_errors=True)


@pytest.fixture
def pooled(both, request):
    """Three databases in a run; the PgBouncers also serve a fourth, which is not, and lead elsewhere, too."""
    kind = getattr(request, "param", "entries")
    both.create(SMALL + ["outside"])
    own = {name: (both.old, name) for name in SMALL}
    pooled = Pooled(both, {
        "entries": {**own, "outside": (both.old, "outside"), "elsewhere": (both.new, "postgres")},
        "only": own,
        "fallback": {"mmm": (both.old, "mmm"), "*": (both.old, None)},
    }[kind])
    pooled.load(SMALL)
    tool = both.tool(env={"PGTANDEM_EXCLUDE_DATABASE": "postgres,outside"})
    end(follow(tool))
    yield both, tool, pooled
    both.stop()
    pooled.remove()


@pytest.mark.parametrize("pooled", ["entries", "only", "fallback"], indirect=True)
def test_no_transaction_fails_through_pgbouncers(pooled):
    """Forth, back and forth through two PgBouncers: nobody fails, and databases of others stay where they are."""
    both, tool, poolers = pooled
    before = poolers.text
    done = tool.ok("switchover", *poolers.options, "--dry-run")
    assert "ready: a switchover of 3 databases could begin now" in done.err
    assert poolers.text == before
    both.written()
    for command, node, other in [("switchover", both.new, both.old), ("rollback", both.old, both.new)] * 2:
        done = tool.ok(command, *poolers.options)
        assert re.search(r"3 databases; writes were paused for [0-9.]+ ms", done.err), done.err
        assert len(re.findall(r"entries now lead", done.err)) == 1, done.err
        poolers.assert_led(node, SMALL)
        assert set(gates(both, SMALL).values()) == {"target" if node is both.new else "source"}
        both.written()
        # What is not in the run is as it was.
        foreign = [line for line in before.splitlines() if line.split(" ")[0] in ("outside", "elsewhere", "*")]
        assert [line for line in poolers.text.splitlines() if line in foreign] == foreign
        assert poolers.text.count("\n") == before.count("\n") + (2 if "*" in before else 0)
    tool.ok("rollback", *poolers.options)  # again: nothing to do
    both.written()
    poolers.assert_none_failed()
    both.stop()
    tool.ok("verify", "--all-databases")
    both.check_all(both.old)


def test_poolers_are_resumed_when_one_database_is_in_the_way(pooled):
    both, tool, poolers = pooled
    before = poolers.text

    def given_up(done, *texts):
        assert done.rc == ABORTED, done
        for text in texts:
            assert text in done.err, done
        both.written(5)
        assert poolers.text == before
        poolers.assert_led(both.old, SMALL)
        assert set(gates(both, SMALL).values()) == {"source"}

    # The fence of one of them cannot be had.
    holder = both.old.connect("mmm", autocommit=False)
    holder.cursor().execute("lock table ledger.tally in row exclusive mode")
    given_up(tool.run("switchover", *poolers.options, "--max-pause", "1500ms"), 'database "mmm"', "could not be locked")
    holder.rollback()
    holder.close()

    # A client of one keeps a transaction open: the time budget is for the pause of the poolers as well.
    idle = psycopg2.connect(poolers.bouncers[1].conninfo("zebra"))
    with idle.cursor() as cursor:
        cursor.execute("select count(*) from ledger.tally")
    given_up(tool.run("switchover", *poolers.options, "--max-pause", "1s"), "PgBouncer 2: the clients of database zebra "
             "did not become idle", "the time budget of 1000 ms passed")
    idle.rollback()
    idle.close()

    # Ctrl-C in the pause.
    run = tool.start("switchover", *poolers.options, fault="switch.drain.after@zebra:sleep=4000")
    run.wait_for_output(r"fault point switch.drain.after")
    run.sigint()
    given_up(run.wait(30))

    # The process of one of them dies.
    given_up(tool.run("switchover", *poolers.options, fault="switch.close.after@zebra"))
    poolers.assert_none_failed()
    tool.ok("switchover", *poolers.options)
    both.written(5)
    poolers.assert_none_failed()
    both.check_all(both.new)


def test_poolers_that_cannot_be_switched(pooled):
    """Found before anybody has to wait."""
    both, tool, poolers = pooled
    before = poolers.text

    def refused(*texts, options=poolers.options, rc=REFUSED):
        for more in (["--dry-run"], []):
            done = tool.run("switchover", *options, *more)
            assert done.rc == rc, done
            for text in texts:
                assert text in done.err, done
            assert "paused" not in done.err, done
        assert set(gates(both, SMALL).values()) == {"source"}
        both.written(5)

    # Nothing leads to the old server.
    with open(poolers.file, "w", encoding="utf-8") as file:
        file.write(before.replace(both.old.directory, "/nowhere"))
    refused("and a database of this run")
    # Some do: the others are told.
    with open(poolers.file, "w", encoding="utf-8") as file:
        file.write(before.replace(f"mmm = host={both.old.directory}", "mmm = host=/nowhere").replace("zebra", "other"))
    done = tool.ok("switchover", *poolers.options, "--dry-run")
    assert 'entries for "mmm", "zebra" lead to other servers' not in done.err
    assert 'entries for "mmm" lead to other servers' in done.err and 'has no entry for "zebra"' in done.err, done
    # A name that would need an entry of its own, which is not the same for all versions of PgBouncer.
    both.old.sql("postgres", f"create database {quoted(ODD)}")
    end(follow(tool))
    with open(poolers.file, "w", encoding="utf-8") as file:
        file.write(f"[databases]\n* = host={both.old.directory} port={both.old.port}\n")
    refused('is served by PgBouncer\'s entry "*"')
    with open(poolers.file, "w", encoding="utf-8") as file:
        file.write(before)
    # One of the consoles is not there.
    poolers.bouncers[1].stop()
    both.ledgers["mmm"].stop()
    del both.ledgers["mmm"]
    refused("PgBouncer 2", rc=FAILED)
    poolers.assert_none_failed()


# Where the command dies, and whether it has happened by then.
POOLER_DEATHS = [
    ("server.paused", False),
    ("server.prepared", False),
    ("server.closed", False),
    ("server.decided", True),
    ("pooler.write", True),
    ("pooler.written", True),
    ("pooler.repointed", True),
    ("switch.open.before@mmm,server.undo", True),
]


@pytest.mark.timeout(400)
def test_killed_while_poolers_are_paused(pooled):
    """Before it has happened a guardian resumes, to nodes that are open; later the same command does."""
    both, tool, poolers = pooled
    for i, (death, happened) in enumerate(POOLER_DEATHS):
        command, node, other = [("switchover", both.new, both.old), ("rollback", both.old, both.new)][i % 2]
        killed = tool.run(command, *poolers.options, fault=death)
        assert killed.rc == -9, (death, killed)
        if not happened:
            both.written(5)
            poolers.assert_led(other, SMALL)
            poll_until(lambda: no_sessions(both), 40, f"{death}: the end of all processes")
            assert set(gates(both, SMALL).values()) == {"target" if other is both.new else "source"}, death
        poolers.assert_none_failed()
        tool.ok(command, *poolers.options)
        both.written(5)
        poolers.assert_led(node, SMALL)
        poolers.assert_none_failed()

    # It dies in the moment of the decision: the databases find out that it has happened, the guardian as well.
    command, node = [("switchover", both.new), ("rollback", both.old)][len(POOLER_DEATHS) % 2]
    run = tool.start(command, *poolers.options, fault="switch.open.before@aaa:sleep=3000")
    run.wait_for_output(r"fault point switch.open.before")
    run.kill9(tree=False)
    run.wait()
    poll_until(lambda: no_sessions(both), 40)
    assert "nobody" not in assert_not_torn(both, SMALL).values()
    tool.ok(command, *poolers.options)
    both.written(5)
    poolers.assert_led(node, SMALL)
    poolers.assert_none_failed()
    both.check_all(node)


# What belongs to the server


def test_without_superuser(both):
    """An ordinary role: passwords cannot be read and that is said; what it may not create is refused first."""
    both.create(["shop"])
    for cluster in (both.old, both.new):
        cluster.sql("postgres", "create role mover login createrole createdb")
    both.old.sql("postgres", "create role clerk login password 'secret'; create role boss superuser login")
    both.old.sql("postgres", "alter database shop owner to mover; grant connect on database shop to clerk")
    both.old.sql("shop", "create table t (id int primary key); grant select on t to clerk; "
                 "alter table t owner to mover; alter schema public owner to mover")
    tool = both.tool(source=both.old.conninfo("shop", "mover"), target=both.new.conninfo("postgres", "mover"),
                     env={"PGTANDEM_EXCLUDE_DATABASE": "postgres"})
    both.new.sql("postgres", "alter role mover nocreatedb nocreaterole")
    refused = tool.run("upgrade", "--all-databases")
    assert refused.rc == REFUSED and "[roles-missing]" in refused.err and "[database-missing]" in refused.err, refused
    assert both.new.value("postgres", "select count(*) from pg_roles where rolname in ('clerk', 'boss')") == 0
    found = tool.run("check", "--all-databases", "--json").json["server"]["findings"]
    assert {f["id"] for f in found} >= {"roles-missing", "database-missing", "role-passwords"}
    both.new.sql("postgres", "alter role mover createdb createrole")

    run = follow(tool)
    assert re.search(r"passwords can be read by superusers only.*\"boss\", \"clerk\"", run.text), run.text
    assert 'role "boss" is on the target without SUPERUSER' in run.text
    assert "secret" not in run.text and "SCRAM" not in run.text
    assert both.new.value("postgres", "select rolpassword is null and rolcanlogin from pg_authid "
                          "where rolname = 'clerk'")
    assert both.new.value("shop", "select has_table_privilege('clerk', 't', 'select')")
    tool.ok("switchover", "--all-databases")
    tool.ok("finish", "--all-databases")
    assert run.wait(30).rc == DONE


def test_creation_is_all_or_nothing(both):
    """Killed while roles or databases are made: the same command makes the rest, with all properties."""
    both.old.psql("postgres", ROLES)
    both.create(["aaa", "latin"])
    both.old.sql("postgres", "alter database aaa set work_mem = '9MB'; revoke connect on database aaa from public; "
                 "alter role app_reader in database aaa set work_mem = '8MB'; comment on database aaa is 'one'")
    tool = both.tool()
    for death in ("globals.roles", "globals.database", "globals.database:kill:2", "server.created"):
        killed = tool.run("upgrade", "--all-databases", fault=death)
        assert killed.rc == -9, killed
    end(follow(tool))
    for query in (
        "select rolname, rolpassword, rolconnlimit from pg_authid where rolname ~ '(?i)^app' order by 1",
        """select datname, pg_get_userbyid(datdba)::text, encoding, datcollate, datconnlimit,
                  array(select unnest(datacl)::text order by 1),
                  shobj_description(oid, 'pg_database') from pg_database where datname in ('aaa', 'latin') order by 1""",
        """select d.datname, r.rolname, s.setconfig from pg_db_role_setting s
             left join pg_database d on d.oid = s.setdatabase left join pg_roles r on r.oid = s.setrole order by 1, 2""",
    ):
        assert both.old.sql("postgres", query) == both.new.sql("postgres", query)
    assert both.new.value("postgres", "select count(*) from pg_database where datname ~ 'pgtandem'") == 0
    tool.ok("abort", "--all-databases")
    assert states(tool) == {}


def test_wrong_use(both):
    both.create(["aaa", "bbb"])
    tool = both.tool()
    for arguments, rc, text in [
        (["switchover"], FAILED, "no run of all databases"),
        (["verify"], FAILED, "no run of all databases"),
        (["finish"], FAILED, "no run of all databases"),
        (["status"], DONE, "no run of all databases"),
    ]:
        done = tool.run(arguments[0], "--all-databases", *arguments[1:])
        assert done.rc == rc and text in done.text, done
    same = both.tool(target=both.old.conninfo("aaa")).run("upgrade", "--all-databases")
    assert same.rc == USAGE and "the same server" in same.err, same
    assert tool.run("check", "--exclude-database", "aaa").rc == USAGE
    # One of them is in a run of its own.
    both.new.sql("postgres", "create database aaa")
    alone = both.tool(source=both.old.conninfo("aaa"), target=both.new.conninfo("aaa"))
    single = alone.start("upgrade")
    single.wait_for_output("in sync")
    end(single)
    done = tool.run("upgrade", "--all-databases")
    assert done.rc == FAILED and 'database "aaa" is in a run of its own' in done.err, done
    alone.ok("abort")
    # A database that cannot be connected to is not left out silently.
    both.old.sql("postgres", "alter database bbb allow_connections false")
    done = tool.run("upgrade", "--all-databases")
    assert done.rc == REFUSED and "[database-closed]" in done.err and "bbb" in done.err, done
    end(follow(tool, "--exclude-database", "bbb"))
    assert set(states(tool)) == {"aaa", "postgres"}
    done = tool.run("switchover", "--all-databases", "--pgbouncer", "dbname=pgbouncer", "--exclude-database", "bbb")
    assert done.rc == USAGE and "--pgbouncer alone" in done.err, done
    done = tool.run("switchover", "--all-databases", "--on-switch", "exit 3", "--exclude-database", "bbb")
    assert done.rc == FAILED and "is done" in done.err, done
    tool.ok("switchover", "--all-databases", "--on-switch", "true", "--exclude-database", "bbb")


def test_two_runs_of_one_source(both, new_cluster):
    """With two targets, one after the other and at the same moment: one is refused before it has done anything."""
    both.create(["aaa", "zebra"])
    both.old.sql("aaa", "create table t (id int primary key)")
    third = new_cluster(both.new.version, name="third")
    tool, other = both.tool(), both.tool(target=third.conninfo())

    def untouched():
        return third.sql("postgres", "select datname from pg_database order by 1") == [
            ("postgres",), ("template0",), ("template1",)]

    run = tool.start("upgrade", "--all-databases", fault="server.created:sleep=5000")
    run.wait_for_output("fault point server.created")
    done = other.run("upgrade", "--all-databases")
    assert done.rc == FAILED and "another pgtandem begins a run of this source" in done.err, done
    assert untouched()
    run.wait_for_output(r"all \d+ databases are in sync", timeout=90)
    for command in ("upgrade", "switchover", "abort"):
        done = other.run(command, "--all-databases")
        assert done.rc == FAILED and "that the target knows nothing of" in done.err, done
        assert "drop" not in done.err and "target-lost" not in done.err, done
    assert untouched()
    end(run)
    tool.ok("abort", "--all-databases")


@pytest.mark.long
@pytest.mark.timeout(400)
def test_ten_databases(both):
    """Ten databases with a writer on each, all the way by one command and back."""
    for cluster in (both.old, both.new):
        cluster.configure(max_connections=120)
        cluster.restart()
    names = [f"shop{i}" for i in range(10)]
    both.create(names).load(names, rate=8)
    tool = both.tool()
    tool.ok("upgrade", "--all-databases", "--jobs", "3", "--switchover", "--max-pause", "20s", timeout=300)
    both.point_to(both.new)
    all_on(tool, "target", names + ["postgres"])
    both.written(3)
    tool.ok("rollback", "--all-databases", "--max-pause", "20s")
    all_on(tool, "source", names + ["postgres"])
    both.point_to(both.old)
    both.written(3)
    both.check_all(both.old)
