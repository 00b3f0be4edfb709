"""Servers restart, sessions are terminated and networks fail in every phase; the program goes on by itself.

A command that was begun is never run a second time here, except where its message says that it has to be.
The ledger writes all the while; in the end each of its transactions is there exactly once.
"""

import re
import subprocess
import threading
import time

import pytest

from lib.ledger import Ledger
from lib.place import as_server_user, server_environment
from lib.proxy import Proxy
from lib.wait import poll_until

OURS = "application_name like 'pgtandem%'"
CHUNKS = ("--chunk-size", "64kB", "--jobs", "2")
# makes the copy last a second or two
SLOWLY = "copy.chunk.loaded:sleep=150:1,copy.chunk.loaded:sleep=150:2,copy.chunk.loaded:sleep=150:3," \
         "copy.chunk.loaded:sleep=150:4,copy.chunk.loaded:sleep=150:5,copy.chunk.loaded:sleep=150:6"

SCHEMA = """
create table big (id int primary key, pad text, n int not null default 0);
insert into big select i, repeat(md5(i::text), 4), 0 from generate_series(1, 10000) i;
create index on big (n);
"""


def begin(pair, writers=2, rate=60):
    pair.old.sql(SCHEMA)
    return Ledger(pair.old.conninfo, writers=writers, rate=rate).create_schema()


def start_upgrade(tool, **more):
    return tool.start("upgrade", *CHUNKS, **more)


def caught_up(pair):
    """Everything that was written by now gets to the target; the ledger must have ended."""
    query = "select count(*), coalesce(sum(id), 0) from ledger.ledger"
    poll_until(lambda: pair.old.sql(query) == pair.new.sql(query), 30, "the last rows on the target")


def check_end(pair, ledger, running, tool):
    caught_up(pair)
    tool.ok("verify")
    running.sigint()
    assert running.wait().rc == 130
    query = "select count(*), sum(n), sum(hashtext(pad)) from big"
    assert pair.old.sql(query) == pair.new.sql(query)
    ledger.check(pair.old.connect())
    ledger.check(pair.new.connect())


def sessions_of_ours(node):
    return node.value(f"select count(*) from pg_stat_activity where {OURS} and datname = current_database()")


@pytest.mark.timeout(180)
def test_servers_restart(own_pair, tool):
    """Orderly and like after a crash, source and target, while copying and while following."""
    ledger = begin(own_pair)
    with ledger:
        running = start_upgrade(tool, fault=SLOWLY)
        running.wait_for_output("copying the data")
        for node, crash in ((own_pair.old, False), (own_pair.new, True), (own_pair.old, True),
                            (own_pair.new, False)):
            poll_until(lambda node=node: sessions_of_ours(node) > 1, 30, "workers")
            node.cluster.restart(crash=crash)
        running.wait_for_output("in sync", timeout=60)
        for node, crash in ((own_pair.old, False), (own_pair.new, True), (own_pair.old, True),
                            (own_pair.new, False)):
            node.cluster.restart(crash=crash)
            ledger.wait_for(10)
            running.wait_for_output("in sync", timeout=40)
    check_end(own_pair, ledger, running, tool)


@pytest.mark.timeout(180)
def test_sessions_terminated(one_pair, tool):
    """Every session of the program, on either side, again and again."""
    ledger = begin(one_pair)
    with ledger:
        running = start_upgrade(tool, fault=SLOWLY)
        ended = 0
        begun = time.monotonic()
        while ended < 8 or time.monotonic() - begun < 4:
            for node in (one_pair.old, one_pair.new):
                ended += node.cluster.terminate(f"{OURS} and datname = '{node.dbname}' and random() < 0.4")
            assert time.monotonic() - begun < 60, running.text
            time.sleep(0.25)
        running.wait_for_output("in sync", timeout=60)
        for node in (one_pair.old, one_pair.new):
            here = f"{OURS} and datname = '{node.dbname}'"
            names = [name for (name,) in node.sql(
                f"select application_name from pg_stat_activity where {here} order by 1")]
            assert names
            for name in names:
                assert node.cluster.terminate(f"{here} and application_name = '{name}'") == 1
                running.wait_for_output("in sync", timeout=30)
                ledger.wait_for(3)
    check_end(one_pair, ledger, running, tool)


@pytest.mark.timeout(180)
def test_statements_canceled(one_pair, tool):
    """pg_cancel_backend of whatever runs: tried again, never given up."""
    ledger = begin(one_pair)
    with ledger:
        running = start_upgrade(tool, fault=SLOWLY)
        begun = time.monotonic()
        while time.monotonic() - begun < 4:
            for node in (one_pair.old, one_pair.new):
                node.sql(f"select pg_cancel_backend(pid) from pg_stat_activity where {OURS}"
                         " and datname = current_database() and state = 'active'")
            time.sleep(0.01)
        running.wait_for_output("in sync", timeout=60)
    check_end(one_pair, ledger, running, tool)


@pytest.fixture
def cut_pair(one_pair):
    """The pair with a network in front of each side."""
    with Proxy(one_pair.old.cluster) as source, Proxy(one_pair.new.cluster) as target:
        one_pair.proxies = (source, target)
        one_pair.network_tool = one_pair.tool(
            source=source.conninfo(one_pair.old.dbname, connect_timeout=2),
            target=target.conninfo(one_pair.new.dbname, connect_timeout=2))
        yield one_pair


@pytest.mark.timeout(180)
def test_network_fails(cut_pair):
    tool = cut_pair.network_tool
    ledger = begin(cut_pair)
    with ledger:
        running = start_upgrade(tool, fault=SLOWLY)
        running.wait_for_output("copying the data")
        for proxy in cut_pair.proxies:
            poll_until(lambda proxy=proxy: proxy.connections > 2, 30, "workers")
            proxy.cut()
            time.sleep(0.4)
            proxy.restore()
        running.wait_for_output("in sync", timeout=60)
        for proxy in cut_pair.proxies:
            proxy.cut()
            ledger.wait_for(10)
            proxy.restore()
            running.wait_for_output("in sync", timeout=40)
            proxy.freeze()
            ledger.wait_for(10)
            proxy.restore()
    check_end(cut_pair, ledger, running, tool)


SWITCH_PHASES = ("lock.after", "prepare.after", "close.after", "open.before")


@pytest.mark.timeout(240)
@pytest.mark.parametrize("what", ["terminate old", "terminate new", "cut old", "cut new"])
def test_switch_disturbed(cut_pair, what):
    """During the switch: given up with exit code 4 and the old node open at once, or completed. The network
    comes back a moment later."""
    tool = cut_pair.network_tool
    ledger = begin(cut_pair)
    hook = ledger.switch_command(cut_pair.new.conninfo)
    how, side = what.split()
    node = cut_pair.old if side == "old" else cut_pair.new
    proxy = cut_pair.proxies[0 if side == "old" else 1]
    outcomes = []
    with ledger:
        running = start_upgrade(tool)
        running.wait_for_output("in sync")
        running.sigint()
        running.wait()
        for phase in SWITCH_PHASES:
            switch = tool.start("switchover", "--on-switch", hook, fault=f"switch.{phase}:sleep=700")
            switch.wait_for_output(f"fault point switch.{phase}")
            time.sleep(0.1)
            if how == "terminate":
                node.cluster.terminate(f"{OURS} and datname = '{node.dbname}'")
            else:
                proxy.cut()
            restore = threading.Timer(1.5, proxy.restore)
            restore.start()
            done = switch.wait(60)
            restore.join()
            outcomes.append((phase, done.rc))
            assert done.rc in (0, 4), (phase, done)
            assert "takes writes as before" in done.err or done.rc == 0, done
            ledger.wait_for(5, timeout=10)
            if done.rc == 0:
                tool.ok("rollback", "--on-switch", ledger.switch_command(cut_pair.old.conninfo))
                ledger.wait_for(5)
        tool.ok("switchover", "--on-switch", hook)
        ledger.wait_for(10)
    ledger.check(cut_pair.new.connect())
    assert {rc for _, rc in outcomes} >= {4}, outcomes


@pytest.mark.timeout(120)
@pytest.mark.parametrize("side, phase", [("old", "lock.before"), ("old", "close.before"),
                                         ("new", "drain.before"), ("new", "close.before"),
                                         ("new", "open.before")])
def test_network_frozen_under_the_fence(cut_pair, side, phase):
    """Nothing gets through and nobody is told: the old server frees itself when the lease ends, and the tool
    says honestly what it knows."""
    tool = cut_pair.network_tool
    ledger = begin(cut_pair)
    proxy = cut_pair.proxies[0 if side == "old" else 1]
    with ledger:
        running = start_upgrade(tool)
        running.wait_for_output("in sync")
        running.sigint()
        running.wait()
        switch = tool.start("switchover", "--max-pause", "1500ms", fault=f"switch.{phase}:sleep=300")
        if phase == "lock.before":
            # it gets its locks when nobody can be told any more
            blocker = cut_pair.old.connect(autocommit=False)
            blocker.cursor().execute("lock table big in row exclusive mode")
        switch.wait_for_output(f"fault point switch.{phase}")
        if phase == "lock.before":
            poll_until(lambda: cut_pair.old.value(
                "select count(*) from pg_locks l join pg_stat_activity a using (pid)"
                " where not l.granted and a.application_name = 'pgtandem fence'"), 20, "the fence", 0.005)
        begun = time.monotonic()
        proxy.freeze()
        if phase == "lock.before":
            blocker.close()
        if phase != "open.before":
            ledger.wait_for(5, timeout=15)
            assert time.monotonic() - begun < 1.5 + 2 + 2, "the old node was closed for too long"
        done = switch.wait(60)
        assert done.rc in (1, 4), done
        if done.rc == 1:
            assert "could not be reached" in done.err or "cannot be asked" in done.err, done
        proxy.restore()
        if phase != "open.before":
            ledger.wait_for(10)
        else:
            # the old node is closed for good, and nobody can tell whether the new one is open
            assert "Run the same command again" in done.err, done
        tool.ok("switchover", "--on-switch", ledger.switch_command(cut_pair.new.conninfo))
        ledger.wait_for(10)
    ledger.check(cut_pair.new.connect())


@pytest.mark.timeout(120)
def test_answer_of_the_commit_is_lost(cut_pair):
    """The commits of the switch happen, but the answer does not arrive: the node is asked."""
    tool = cut_pair.network_tool
    ledger = begin(cut_pair)
    hook = ledger.switch_command(cut_pair.new.conninfo)
    with ledger:
        running = start_upgrade(tool)
        running.wait_for_output("in sync")
        running.sigint()
        running.wait()
        for phase, proxy in (("close.before", cut_pair.proxies[0]), ("open.before", cut_pair.proxies[1])):
            switch = tool.start("switchover", "--max-pause", "2s", "--on-switch", hook,
                                fault=f"switch.{phase}:sleep=300")
            switch.wait_for_output(f"fault point switch.{phase}")
            proxy.freeze()
            time.sleep(3)
            proxy.restore()  # what was held back arrives now, perhaps too late
            done = switch.wait(60)
            state = tool.ok("status", "--json").json
            assert (done.rc, state["writes"]) in ((0, "target"), (4, "source"), (1, "nobody")), (done, state)
            tool.ok("switchover", "--on-switch", hook)
            ledger.wait_for(5)
            tool.ok("rollback", "--on-switch", ledger.switch_command(cut_pair.old.conninfo))
            ledger.wait_for(5)
    ledger.check(cut_pair.old.connect())


# Going back in time


def follow_and_stop(pair, tool):
    ledger = begin(pair)
    with ledger:
        running = start_upgrade(tool)
        running.wait_for_output("in sync")
        ledger.wait_for(10)
    caught_up(pair)
    running.sigint()
    running.wait()


@pytest.mark.timeout(120)
def test_source_went_back(one_pair, tool):
    """A source restored from an older state knows less than was carried already."""
    follow_and_stop(one_pair, tool)
    before = one_pair.new.value("select snapshot from pgtandem.progress")
    one_pair.new.sql("update pgtandem.progress set snapshot = '99999999:99999999:'")
    refused = tool.run("upgrade")
    assert refused.rc == 1 and "the source went back in time" in refused.err, refused
    assert "pgtandem verify" in refused.err
    assert tool.run("switchover").rc == 1
    one_pair.new.sql("update pgtandem.progress set snapshot = %s", (before,))
    running = tool.start("upgrade")
    running.wait_for_output("in sync")
    # while it follows
    one_pair.new.cluster.terminate(f"{OURS} and datname = '{one_pair.new.dbname}'")
    one_pair.new.sql("update pgtandem.progress set snapshot = '99999999:99999999:'")
    assert running.wait(30).rc == 1


@pytest.mark.timeout(120)
def test_target_went_back(one_pair, tool):
    """A target restored from an older state asks for changes that were purged."""
    follow_and_stop(one_pair, tool)
    one_pair.old.sql("update pgtandem.consumer set purged = (select txid_current_snapshot()::text)")
    one_pair.old.sql("select txid_current()")
    one_pair.new.sql("update pgtandem.progress set snapshot = '1000:1000:'")
    refused = tool.run("upgrade")
    assert refused.rc == 1 and "the target went back in time" in refused.err, refused


@pytest.mark.timeout(120)
def test_source_was_promoted(own_pair, tool):
    """A standby took over: the timeline changed, so what was carried may not be there."""
    follow_and_stop(own_pair, tool)
    cluster = own_pair.old.cluster
    cluster.stop()
    with open(f"{cluster.data}/standby.signal", "w", encoding="utf-8"):
        pass
    cluster.start()
    done = subprocess.run(
        as_server_user([cluster.server.program("pg_ctl"), "promote", "-D", cluster.data]),
        env=server_environment(), cwd="/", capture_output=True, text=True)
    assert done.returncode == 0, done
    poll_until(lambda: not cluster.value("postgres", "select pg_is_in_recovery()"), 30, "the promotion")
    refused = tool.run("upgrade")
    assert refused.rc == 1 and "promoted or restored" in refused.err, refused
    assert "--accept timeline" in refused.err
    running = tool.start("upgrade", "--accept", "timeline")
    running.wait_for_output("in sync")
    running.sigint()
    running.wait()
    tool.ok("verify")


def test_lock_names_its_holder(one_pair, tool):
    """Two at once: the second is refused, and told who is at work."""
    begin(one_pair)
    running = start_upgrade(tool)
    running.wait_for_output("in sync")
    second = tool.run("upgrade")
    assert second.rc == 1 and re.search(r"server process \d+ on the target", second.err), second
    running.sigint()
    running.wait()
