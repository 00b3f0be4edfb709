"""The replication service under load while everything fails that can fail: nothing is lost, nothing is applied
twice, and it goes on by itself or says what is to be done.

Several writers (the ledger) remember what became of each transaction; in the end all databases are compared
row by row, and each acknowledged write has to be everywhere.
"""

import random
import re
import threading
import time

import pytest

from lib.compare import assert_same_catalog, assert_same_content, catalog_fingerprint
from lib.ledger import Ledger
from lib.proxy import Proxy
from lib.tool import DONE, FAILED, REFUSED, USAGE, Tool
from lib.wait import poll_until

OURS = "application_name like 'pgtandem%'"
SYNC = """
[sync s]
tables = all
dbs = A, B
onetimecopy = always
"""
BIG = "create table big (id int primary key, v text);"
BIG_ROWS = "insert into big select i, repeat(md5(i::text), 4) from generate_series(1, {}) i;"
T = "create table t (id int primary key, v text);"
QUEUE_SIZE = "select pg_relation_size('pgtandem.queue_0') + pg_relation_size('pgtandem.queue_1')"


def begin(source, *targets, rows=20000, writers=3, rate=150):
    """The ledger's tables everywhere, and one that takes a moment to copy."""
    ledger = Ledger(source.conninfo, writers=writers, rate=rate).create_schema()
    source.sql(BIG + BIG_ROWS.format(rows))
    for target in targets:
        Ledger(target.conninfo).create_schema()
        target.sql(BIG)
    return ledger


def end(service, ledger, source, *targets):
    """The writers have ended: everything gets everywhere."""
    service.in_step(timeout=60, patient=True)
    for target in targets:
        assert_same_content(source.connect(), target.connect())
        ledger.check(target.connect())
    service.stop()


def stopped(service, text, to=None, timeout=30):
    """The edge has failed with this error and says the way out, recopy. Other errors before it (a server that is
    just starting) are passed over."""
    def said():
        edge = service.edge("s", to)
        return edge["state"] == "failed" and text in (edge["error"] or "") and "recopy" in (edge["hint"] or "")

    poll_until(said, timeout, lambda: f"{text!r} in {service.edge('s', to)}", interval=0.2)


def has(node, rows):
    """At least so many transactions of the ledger have arrived there."""
    return lambda: node.value("select count(*) from ledger.ledger") >= rows


def keeps_up(ledger, *nodes, timeout=20):
    """What was acknowledged by now gets there though writers go on and others are dead."""
    ledger.wait_for(1)
    rows = len(ledger.acknowledged)
    for node in nodes:
        poll_until(has(node, rows), timeout, f"{rows} transactions on {node.dbname}")


# Processes, servers, links


@pytest.mark.timeout(150)
def test_everything_of_ours_is_killed(one_pair, new_service):
    """Workers, the supervisor, both at once, sessions and statements, at any moment; then columns are added."""
    old, new = one_pair.old, one_pair.new
    ledger = begin(old, new)
    service = new_service({"A": old, "B": new}, SYNC)
    chance = random.Random(11)
    with ledger:
        for number in range(6):
            service.start()
            time.sleep(0.1 + chance.random() * 0.7)  # chooses a moment
            worker = service.workers().get("s/A/B")
            if number % 3 == 0 and worker:
                service.kill_worker("s/A/B")
                poll_until(lambda w=worker: service.workers().get("s/A/B", w) != w, 20, "another worker")
            if number % 3 == 1:
                service.lose_machine()
            else:
                service.kill()
        service.start()
        keeps_up(ledger, new)
        for _ in range(8):
            for node in (old, new):
                which = "pg_terminate_backend" if chance.random() < 0.4 else "pg_cancel_backend"
                node.sql(f"select {which}(pid) from pg_stat_activity where {OURS} and datname = current_database()")
            time.sleep(0.1)
        keeps_up(ledger, new)
        for node in (new, old):
            node.sql("alter table ledger.item add more text default 'x'")
        keeps_up(ledger, new)
    end(service, ledger, old, new)


@pytest.mark.timeout(150)
def test_servers_restart(own_pair, new_service):
    old, new = own_pair.old, own_pair.new
    ledger = begin(old, new)
    service = new_service({"A": old, "B": new}, SYNC)
    with ledger:
        service.start()
        for node, crash in ((new, True), (old, True), (new, False), (old, False)):
            node.cluster.restart(crash=crash)
            ledger.wait_for(20)
            keeps_up(ledger, new)
    end(service, ledger, old, new)


@pytest.mark.timeout(150)
def test_links_are_cut_and_freeze(one_pair, new_service):
    old, new = one_pair.old, one_pair.new
    ledger = begin(old, new)
    with Proxy(old.cluster) as source, Proxy(new.cluster) as target:
        service = new_service(
            {"A": source.conninfo(old.dbname, connect_timeout=2), "B": target.conninfo(new.dbname, connect_timeout=2)}, SYNC)
        with ledger:
            service.start()
            for proxy in (source, target):
                for how in (proxy.cut, proxy.freeze, proxy.reset):
                    poll_until(lambda p=proxy: p.connections > 0, 20, "a connection")
                    how()
                    ledger.wait_for(30)
                    proxy.restore()
                    keeps_up(ledger, new)
        end(service, ledger, old, new)


@pytest.mark.timeout(150)
def test_a_dead_target_and_a_service_that_was_down(nodes, new_cluster, new_service):
    """One target's server is down, another database never was there: the rest goes on. All catch up by
    themselves later, also on what was written while no service ran."""
    ab = nodes("A", "B", "D")
    a, b, d = ab["A"], ab["B"], ab["D"]
    cluster = new_cluster("15")
    c = type(a)(cluster, cluster.create_db())
    ledger = begin(a, b, c, d)
    service = new_service({"A": a, "B": b, "C": c, "D": d, "gone": a.cluster.conninfo("is_not_there")}, """
        [sync s]
        tables = all
        dbs = A, B, C, D
        onetimecopy = always
        [sync hopeless]
        tables = all
        dbs = A, gone
        """)
    with ledger:
        service.start()
        keeps_up(ledger, b, c, d)
        cluster.kill()
        ledger.wait_for(50)
        keeps_up(ledger, b, d)
        states = {edge["to"]: edge["state"] for edge in service.status()}
        assert states["B"] == states["D"] == "in step" and states["C"] == states["gone"] == "unreachable", states
        service.stop()
        ledger.wait_for(150)
        service.start()
        keeps_up(ledger, b, d)
        service.lose_machine()
        ledger.wait_for(50)
        cluster.start()
        service.start()
        keeps_up(ledger, b, c, d)
    service.in_step("s", timeout=60)
    for node in (b, c, d):
        assert_same_content(a.connect(), node.connect())
        ledger.check(node.connect())
    service.stop()


@pytest.mark.timeout(120)
def test_a_second_machine_takes_over(one_pair, new_service):
    """It stands by, and takes over within seconds when the first one is gone, loses its sessions, or is
    stopped; each edge has one worker at work at most."""
    old, new = one_pair.old, one_pair.new
    ledger = begin(old, new, rows=1000)
    first = new_service({"A": old, "B": new}, SYNC)
    first.start()
    first.in_step()
    second = new_service.keep(first.other_machine())
    second.start()
    second.running.wait_for_output("standing by")
    at_work = "select count(*) from pg_stat_activity where application_name like 'pgtandem edge%'" \
              " and datname = current_database()"
    holder = "select max(pid), count(*) from pg_locks where locktype = 'advisory' and granted and objsubid = 1" \
             " and database = (select oid from pg_database where datname = current_database())"
    with ledger:
        for number, lose in enumerate(("machine", "session", "stop")):
            keeps_up(ledger, new)
            assert old.value(at_work) == 1, "whoever stands by has no business on the source"
            pid, count = new.sql(holder)[0]
            assert count == 1
            began = time.monotonic()
            if lose == "machine":
                first.lose_machine()
            elif lose == "session":
                new.sql(f"select pg_terminate_backend({pid})")
            else:
                working = second if str(second.workers()["s/A/B"]) in second.edge("s")["worker"] else first
                working.stop()
            keeps_up(ledger, new)
            poll_until(lambda p=pid: new.sql(holder)[0][0] not in (p, None), 10, "another holder of the lock")
            assert time.monotonic() - began < 10
            if lose == "machine":
                first.start()
                first.running.wait_for_output("standing by")
    left = first if first.running else second
    end(left, ledger, old, new)


@pytest.mark.timeout(60)
def test_stopped_in_a_long_round(nodes, new_service):
    """`stop` does not wait for a round that takes minutes, nothing of it is there, and later it is made."""
    databases = nodes("A", "B")
    a, b = databases["A"], databases["B"]
    for node in (a, b):
        node.sql(T)
    b.sql("create function slow() returns trigger language plpgsql as $$ begin perform pg_sleep(0.02); return new; end $$;"
          "create trigger slow before insert or update on t for each row execute function slow();"
          "alter table t enable always trigger slow")
    service = new_service(databases, SYNC)
    service.start()
    service.in_step()
    a.sql("insert into t select i, 'x' from generate_series(1, 20000) i")
    asleep = "select count(*) from pg_stat_activity where wait_event = 'PgSleep' and datname = current_database()"
    poll_until(lambda: b.value(asleep) > 0, 20, "the round")
    began = time.monotonic()
    service.ok("stop")
    assert time.monotonic() - began < 10
    service.running.wait(10)
    service.running = None
    poll_until(lambda: b.value(f"select count(*) from pg_stat_activity where {OURS} and datname = current_database()") == 0,
               10, "the end of the sessions")
    assert b.value("select count(*) from t") == 0
    b.sql("drop trigger slow on t")
    service.start()
    service.in_step()
    assert a.sql("select * from t order by 1") == b.sql("select * from t order by 1")
    service.stop()


@pytest.mark.timeout(60)
def test_paused_is_said_when_it_is_so(nodes, new_service):
    """Who reads "paused" may rely on it that nothing is written on the target any more."""
    databases = nodes("A", "B")
    a, b = databases["A"], databases["B"]
    for node in (a, b):
        node.sql(T)
    service = new_service(databases, SYNC)
    service.start()
    service.in_step()
    blocker = b.connect(autocommit=False)
    blocker.cursor().execute("lock t in access exclusive mode")
    a.sql("insert into t values (1, 'x')")
    waits = "select count(*) from pg_locks where not granted and relation = 't'::regclass"
    poll_until(lambda: b.value(waits) > 0, 20, "the round")
    assert "pausing" in service.ok("pause", "s").out
    done = service.run("pause", "s", "--wait=1s")
    assert done.rc == FAILED and "still at work" in done.err, done
    state = service.edge("s")["state"]
    blocker.rollback()
    assert state == "pausing", "a round is at work"
    assert "s/A/B: paused" in service.ok("pause", "s", "--wait=20s").out
    assert service.edge("s")["state"] == "paused"
    rows = b.value("select count(*) from t")
    a.sql("insert into t values (2, 'x')")
    assert service.run("kick", "s", "--wait=1s").rc == FAILED
    assert b.value("select count(*) from t") == rows
    service.ok("resume", "s")
    service.in_step()
    assert b.value("select count(*) from t") == 2
    service.stop()


@pytest.mark.timeout(60)
def test_a_busy_table_is_not_blocked(nodes, new_service):
    """While the sync waits for its lock on a table that a long transaction holds, others go on writing."""
    databases = nodes("A", "B")
    a, b = databases["A"], databases["B"]
    for node in (a, b):
        node.sql(T)
    holder = a.connect()
    with holder.cursor() as cursor:
        cursor.execute("begin; insert into t values (0, 'held')")
    service = new_service(databases, SYNC)
    service.start()
    poll_until(lambda: a.value("select count(*) from pg_namespace where nspname = 'pgtandem'"), 20, "the installation")
    longest = 0.0
    until = time.monotonic() + 2
    number = 0
    while time.monotonic() < until:
        number += 1
        began = time.monotonic()
        a.sql("insert into t values (%s, 'x')", (number,))
        longest = max(longest, time.monotonic() - began)
    assert longest < 2.5, f"a writer waited {longest:.1f} s"
    with holder.cursor() as cursor:
        cursor.execute("commit")
    service.in_step()
    assert a.sql("select * from t order by 1") == b.sql("select * from t order by 1")
    service.stop()


# Going back in time


def fill_and_purge(service, source, first):
    """So much that what is carried leaves the queue."""
    source.sql(f"insert into t select i, 'x' from generate_series({first}, {first + 60000}) i")
    service.in_step()
    poll_until(lambda: source.value("select purged is not null from pgtandem.consumer"), 20, "a purge")


@pytest.mark.timeout(150)
def test_a_target_that_is_restored(own_pair, new_service):
    """From an older state: what the queue still has is carried again; otherwise the edge stops and tells the way
    out, which is recopy."""
    old, new = own_pair.old, own_pair.new
    for node in (old, new):
        node.sql(T)
    service = new_service({"A": old, "B": new}, SYNC)
    service.start()
    service.in_step()
    service.stop()
    new.cluster.stop()
    saved = new.cluster.save_data("before")
    new.cluster.start()
    service.start()
    old.sql("insert into t values (1, 'x'), (2, 'y')")
    service.in_step()
    # nothing was purged: it just goes on
    new.cluster.stop()
    new.cluster.restore_data(saved)
    new.cluster.start()
    assert new.value("select count(*) from t") == 0
    service.in_step(patient=True)
    assert new.value("select count(*) from t") == 2
    fill_and_purge(service, old, 10)
    new.cluster.stop()
    new.cluster.restore_data(saved)
    new.cluster.start()
    old.sql("update t set v = 'new' where id = 1")
    stopped(service, "went back in time")
    assert new.value("select count(*) from t") == 0
    service.ok("recopy", "s")
    service.wait_for_state("in step", "s")
    service.in_step()
    assert_same_content(old.connect(), new.connect())
    service.stop()


@pytest.mark.timeout(150)
@pytest.mark.parametrize("later", [False, True], ids=["at once", "when it has overtaken"])
def test_a_source_that_lost_its_last_transactions(own_pair, new_service, later):
    """It was restored without them, as from a snapshot of its disk. Somebody looks at once, or only when its new
    transactions have numbers that the lost ones had not reached."""
    old, new = own_pair.old, own_pair.new
    for node in (old, new):
        node.sql(T)
    service = new_service({"A": old, "B": new}, SYNC)
    service.start()
    service.in_step()
    service.stop()
    old.cluster.stop()
    saved = old.cluster.save_data("before")
    old.cluster.start()
    service.start()
    write(old, 0, 200, "lost")
    service.in_step()
    if later:
        service.stop()
    old.cluster.stop()
    old.cluster.restore_data(saved)
    old.cluster.start()
    old.sql("insert into t values (1, 'kept')")
    if later:
        write(old, 1000, 1500, "kept")
        service.start()
    stopped(service, "went back in time", timeout=5 if later else 30)
    assert new.value("select count(*) from t") == 200
    service.ok("recopy", "s")
    service.in_step(patient=True)
    assert new.value("select count(*) from t where v <> 'kept'") == 0
    old.sql("insert into t values (2, 'kept')")
    service.in_step()
    assert_same_content(old.connect(), new.connect())
    service.stop()


def write(node, first, end, value):
    """Single rows, each a transaction."""
    connection = node.connect()
    with connection.cursor() as cursor:
        for number in range(first, end):
            cursor.execute("insert into t values (%s, %s)", (number, value))
    connection.close()


# The fuse


@pytest.mark.timeout(120)
def test_the_fuse_of_a_dead_target(nodes, new_cluster, new_service):
    """Its server is down and nobody works on the edge, but the source's disk must not fill."""
    databases = nodes("A", "B")
    a, b = databases["A"], databases["B"]
    cluster = new_cluster("15")
    c = type(a)(cluster, cluster.create_db())
    for node in (a, b, c):
        node.sql(T)
    service = new_service({"A": a, "B": b, "C": c}, """
        [sync s]
        tables = t
        dbs = A, B, C
        """)
    service.write(service.text.replace("\n[db B]", "queue-limit = 2MB\nqueue-patience = 3s\n[db B]", 1))
    service.start()
    service.in_step()
    cluster.stop()
    a.sql("insert into t select i, 'x' from generate_series(1, 80000) i")
    poll_until(lambda: a.value("select count(*) from pgtandem.consumer where detached"), 30, "the fuse")
    assert a.sql("select edge from pgtandem.consumer where detached") == [("s/A/C",)]
    poll_until(lambda: a.value(QUEUE_SIZE) < 2 * 1024 * 1024, 20, "a smaller queue")
    a.sql("update t set v = 'y' where id % 100 = 0")
    poll_until(lambda: b.value("select count(*) from t where v = 'y'") == 800, 20, "the other target")
    cluster.start()
    stopped(service, "detached", to="C")
    assert c.value("select count(*) from t") == 0
    service.ok("recopy", "s")
    service.wait_for_state("in step", "s", "C")
    a.sql("delete from t where id = 1")
    service.in_step()
    for node in (b, c):
        assert_same_content(a.connect(), node.connect())
    assert a.value("select count(*) from pgtandem.consumer where detached") == 0
    service.stop()




@pytest.mark.timeout(90)
def test_the_queue_is_kept_for_those_who_need_it(nodes, new_service):
    """A paused edge finds everything it has not had yet, in both segments; and one whose tables do not change is
    no reason to keep what concerns others."""
    databases = nodes("A", "B", "C", "D")
    a, b, c, d = (databases[name] for name in "ABCD")
    for node in (a, b, c, d):
        node.sql(T + "create table quiet (id int primary key)")
    service = new_service(databases, """
        [sync s]
        tables = t
        dbs = A, B, C
        [sync quiet]
        tables = quiet
        dbs = A, D
        """)
    service.start()
    service.in_step()
    # enough to be worth purging, so that everybody says how much he has
    a.sql("insert into t select i, 'x' from generate_series(1000000, 1040000) i")
    poll_until(lambda: a.value("select count(*) from pgtandem.consumer where confirmed is null") == 0, 30, "confirmations")
    a.sql("delete from t")
    service.in_step()
    service.ok("pause", "s")
    for to in "BC":
        service.wait_for_state("paused", "s", to)
    b.sql("update pgtandem.edge set paused = false")  # the command knows whole syncs only
    writer = a.connect()
    with writer.cursor() as cursor:
        for number in range(3):
            first = number * 30000
            cursor.execute(f"insert into t select i, 'x' from generate_series({first}, {first + 29999}) i")
            cursor.execute("delete from t where id % 11 = 0")
            for _ in range(4200):  # until the other segment has its turn
                cursor.execute("select txid_current()")
    same = "select count(*), sum(id), md5(string_agg(v, '' order by id)) from t"
    poll_until(lambda: b.sql(same) == a.sql(same), 30, "the edge that works")
    assert c.value("select count(*) from t") == 0
    for _ in range(2):  # what it has confirmed would be purged before it confirms once more
        confirmed = a.value("select confirmed_at from pgtandem.consumer where edge = 's/A/B'")
        later = f"select confirmed_at > '{confirmed}' from pgtandem.consumer where edge = 's/A/B'"
        poll_until(lambda q=later: a.value(q) or a.value(QUEUE_SIZE) == 0, 20, "the next confirmation")
    assert a.value(QUEUE_SIZE) > 4 * 1024 * 1024
    service.ok("resume", "s")
    service.in_step("s")
    assert c.sql(same) == a.sql(same)
    poll_until(lambda: a.value(QUEUE_SIZE) < 2 * 1024 * 1024, 20, "a smaller queue")
    # the quiet one has missed nothing
    a.sql("insert into quiet values (1)")
    service.in_step()
    assert d.value("select count(*) from quiet") == 1
    writer.close()
    service.stop()


# Taking it away


def fingerprints(*several):
    return [catalog_fingerprint(node.connect()) for node in several]


@pytest.mark.timeout(90)
def test_removing_syncs(nodes, new_service):
    """Under load and while the service is down; what another sync needs stays; then nothing is left."""
    databases = nodes("A", "B", "C")
    a, b, c = (databases[name] for name in "ABC")
    ledger = begin(a, b, c, rows=100)
    before = fingerprints(a, b, c)
    service = new_service(databases, """
        # of the first
        [sync first]
        tables = all
        dbs = A, B
        onetimecopy = always

        [sync second]
        tables = ledger.*
        dbs = A, C
        onetimecopy = always
        """)
    with ledger:
        service.start()
        service.in_step()
        keeps_up(ledger, b, c)
        service.ok("remove", "sync", "first")
        rows = b.value("select count(*) from ledger.ledger")
        keeps_up(ledger, c)
        assert_same_catalog(before[1], catalog_fingerprint(b.connect()))
        assert "sync first" not in service.text and "sync second" in service.text
        poll_until(lambda: set(service.workers()) == {"second/A/C"}, 15, "the end of the worker")
        # what nobody reads is not captured any more
        assert a.value("select count(*) from pg_trigger where tgrelid = 'big'::regclass and tgname like 'pgtandem%'") == 0
        ledger.wait_for(20)
        keeps_up(ledger, c)
    service.in_step()
    assert b.value("select count(*) from ledger.ledger") == rows
    ledger.check(c.connect())
    service.stop()
    service.ok("remove", "sync", "second")
    for node, fingerprint in zip((a, b, c), before):
        assert_same_catalog(fingerprint, catalog_fingerprint(node.connect()))
    # and again from the beginning
    service.add("[sync third]\ntables = all\ndbs = A, B\nonetimecopy = always\n")
    service.start()
    service.in_step()
    assert_same_content(a.connect(), b.connect())
    service.stop()
    service.ok("remove", "sync", "third")
    for node, fingerprint in zip((a, b, c), before):
        assert_same_catalog(fingerprint, catalog_fingerprint(node.connect()))


@pytest.mark.timeout(60)
def test_removed_while_it_begins(nodes, new_service):
    """A worker that is just installing must not put back what `remove` took away, or did not find yet."""
    databases = nodes("A", "B")
    for node in databases.values():
        node.sql(T)
    before = fingerprints(*databases.values())
    sync = "[sync s]\ntables = t\ndbs = A, B\n"
    service = new_service(databases)
    for delay in (0, 0.01, 0.02, 0.03, 0.05, 0.08, 0.12):
        service.add(sync)
        service.start()
        time.sleep(delay)  # chooses a moment
        service.ok("remove", "sync", "s")
        service.stop()
        for node, fingerprint in zip(databases.values(), before):
            assert_same_catalog(fingerprint, catalog_fingerprint(node.connect()))


@pytest.mark.timeout(90)
def test_removing_a_sync_whose_target_is_dead(nodes, new_cluster, new_service):
    """Only with --force; and when the target comes back, and the sync too, its rows are not taken for the
    source's: what changed meanwhile was recorded nowhere."""
    databases = nodes("A")
    a = databases["A"]
    cluster = new_cluster("15")
    b = type(a)(cluster, cluster.create_db())
    for node in (a, b):
        node.sql(T)
    before = fingerprints(a)
    sync = "[sync s]\ntables = t\ndbs = A, B\n"
    service = new_service({"A": a, "B": b}, sync)
    service.start()
    a.sql("insert into t values (1, 'x')")
    service.in_step()
    cluster.stop()
    done = service.run("remove", "sync", "s")
    assert done.rc == FAILED and "--force" in done.err, done
    assert "sync s" in service.text
    service.ok("remove", "sync", "s", "--force")
    assert "sync s" not in service.text
    assert_same_catalog(before[0], catalog_fingerprint(a.connect()))
    a.sql("update t set v = 'unrecorded'; insert into t values (2, 'unrecorded')")
    service.stop()  # or its keeper would clean the target as soon as it is back, and the sync be a new one
    cluster.start()
    service.add(sync)
    service.start()

    def begun():
        return service.edge("s")["state"] in ("in step", "failed")

    poll_until(begun, 30, "the sync's new beginning", interval=0.2)
    edge = service.edge("s")
    assert edge["state"] == "failed" and "recopy" in edge["hint"], edge
    service.ok("recopy", "s")
    service.in_step(patient=True)
    assert a.sql("select * from t order by 1") == b.sql("select * from t order by 1")
    service.stop()


# What is refused


def refused(service, text, at, *several):
    """validate finds it, start does not begin with it, and nothing is installed."""
    before = fingerprints(*several)
    done = service.run("validate")
    assert done.rc == REFUSED, done
    where = f":{service.line_of(at)}: "
    assert any(where in line and text in line for line in done.out.splitlines()), done
    service.start()
    service.running.wait_for_output(text, timeout=20)
    assert service.run("kick", "s", "--wait=1s").rc != DONE
    service.stop()
    for node, fingerprint in zip(several, before):
        assert_same_catalog(fingerprint, catalog_fingerprint(node.connect()))


@pytest.mark.timeout(60)
def test_no_right_to_let_triggers_sleep(one_pair, ordinary, new_service):
    old, new = one_pair.old, one_pair.new
    owner = ordinary(one_pair, "owner")
    for node in (old, new):
        node.sql(T + f"alter table t owner to {owner}")
    service = new_service({"A": old, "B": new}, "[sync s]\ntables = t\ndbs = A, B")
    refused(service, "session_replication_role", "[sync s]", old, new)


@pytest.mark.timeout(60)
def test_tables_of_somebody_else(one_pair, ordinary, new_service):
    """They may be read and written, but not be given triggers."""
    old, new = one_pair.old, one_pair.new
    owner = ordinary(one_pair, "owner")
    for node in (old, new):
        node.sql(T + f"create table theirs (id int primary key); alter table t owner to {owner};"
                 f"grant all on theirs to {owner}")
    service = new_service({"A": old, "B": new}, "[sync s]\ntables = t, theirs\ndbs = A, B\ntarget-triggers = fire")
    refused(service, "theirs", "tables = t, theirs", old, new)


@pytest.mark.timeout(60)
def test_an_owner_without_special_rights(one_pair, ordinary, new_service):
    """Everything works, up to nothing being left behind."""
    old, new = one_pair.old, one_pair.new
    owner = ordinary(one_pair, "owner")
    for node in (old, new):
        node.sql(T + f"alter table t owner to {owner}")
    before = fingerprints(old, new)
    service = new_service({"A": old, "B": new}, "[sync s]\ntables = t\ndbs = A, B\ntarget-triggers = fire")
    service.ok("validate")
    old.sql("insert into t values (1, 'x')")
    service.start()
    service.in_step()
    old.sql("update t set v = 'y'; insert into t values (2, 'z')")
    service.in_step()
    old.sql("truncate t; insert into t values (3, 'z')")
    service.in_step()
    assert old.sql("select * from t order by 1") == new.sql("select * from t order by 1")
    service.stop()
    service.ok("remove", "sync", "s")
    for node, fingerprint in zip((old, new), before):
        assert_same_catalog(fingerprint, catalog_fingerprint(node.connect()))


def test_wrong_files(nodes, new_service):
    """All problems at once, each with file and line; nothing starts, nothing is installed."""
    databases = nodes("A", "B")
    for node in databases.values():
        node.sql(T)
    service = new_service(databases, """
        [sync one]
        tables = t
        dbs = A, nobody
        [sync two]
        tabels = t
        dbs = A:sauce, B
        [sync three]
        tables = t
        dbs = A:target, B:target
        checktime = soon
        [table four public.t]
        where = true
        [snyc five]
        """)
    for command in (("start",), ("validate",), ("status",), ("kick",), ("remove", "sync", "one")):
        done = service.run(*command)
        assert done.rc == USAGE, done
        for at, text in (("nobody", "nobody"), ("tabels", "tables"), ("[sync two]", "tables"), ("sauce", "sauce"),
                         ("checktime", "checktime"), ("A:target, B:target", "no source"),
                         ("[table four", "four"), ("[snyc five]", "sync")):  # fmt: skip
            where = f"{service.path}:{service.line_of(at)}: "
            assert any(where in line and text in line for line in done.text.splitlines()), (where, text, done)
    assert service.run("start", env={"PGTANDEM_CONFIG": ""}).rc == USAGE
    missing = Tool().run("start", "--config", service.path + ".no")
    assert missing.rc == USAGE and service.path + ".no" in missing.err, missing
    for node in databases.values():
        assert node.value("select count(*) from pg_namespace where nspname = 'pgtandem'") == 0


@pytest.mark.timeout(60)
def test_an_upgrade_and_the_service_keep_apart(nodes, new_service):
    databases = nodes("A", "B", "C")
    for node in databases.values():
        node.sql(T)
    service = new_service({"A": databases["A"], "B": databases["B"]}, SYNC)
    service.start()
    service.in_step()
    before = fingerprints(*databases.values())
    for source, target in ("AC", "BC", "CA"):
        done = Tool(source=databases[source].conninfo, target=databases[target].conninfo).run("upgrade")
        assert done.rc in (FAILED, REFUSED) and "service" in done.err, done
    for node, fingerprint in zip(databases.values(), before):
        assert_same_catalog(fingerprint, catalog_fingerprint(node.connect()))
    databases["A"].sql("insert into t values (1, 'x')")
    service.in_step()
    assert databases["B"].value("select count(*) from t") == 1
    service.stop()


@pytest.mark.timeout(60)
def test_a_second_start_on_this_machine(nodes, new_service):
    """Of the same file: refused, and the first one goes on. Of a file that is replaced meanwhile: as well."""
    databases = nodes("A", "B")
    for node in databases.values():
        node.sql(T)
    service = new_service(databases, SYNC)
    service.start()
    service.in_step()
    done = service.run("start")
    assert done.rc == FAILED and re.search(r"process \d+", done.err), done
    service.ok("update", "sync", "s", "checktime=1h")
    assert service.run("start").rc == FAILED
    service.ok("reload")
    databases["A"].sql("insert into t values (1, 'x')")
    service.in_step()
    assert databases["B"].value("select count(*) from t") == 1
    service.kill()
    service.start()  # the pid file of a killed one is no obstacle
    service.in_step()
    service.ok("stop")
    service.running.wait(10)
    service.running = None
    assert service.run("stop").rc == FAILED


# Many at once


@pytest.mark.timeout(120)
def test_load_over_a_cascade_and_several_targets(nodes, new_service):
    """A to B and C, B on to D; truncates and large transactions among the small ones; kills all the while."""
    databases = nodes("A", "B", "C", "D")
    a, b, c, d = (databases[name] for name in "ABCD")
    ledger = begin(a, b, c, d, rows=3000)
    service = new_service(databases, """
        [sync out]
        tables = all
        dbs = A, B, C
        onetimecopy = always
        [sync on]
        tables = all
        dbs = B, D
        cascade = yes
        onetimecopy = always
        """)
    ending = threading.Event()
    errors = []

    def large():
        chance = random.Random(3)
        try:
            while not ending.wait(0.05):
                first = chance.randint(1, 50) * 1000
                a.sql(chance.choice([
                    f"truncate big; {BIG_ROWS.format(2000)}",
                    f"delete from big where id between {first} and {first + 500}",
                    f"insert into big select i, 'x' from generate_series({first}, {first + 7000}) i on conflict (id) do nothing",
                    f"update big set v = v || 'y' where id between {first} and {first + 3000}",
                    f"update big set id = id + 100000 where id between {first} and {first + 100}"
                    f" and not exists (select 1 from big x where x.id between {first} + 100000 and {first} + 100100)",
                ]))
        except Exception as error:
            errors.append(error)

    thread = threading.Thread(target=large, daemon=True)
    with ledger:
        service.start()
        keeps_up(ledger, b, c, d)
        thread.start()
        chance = random.Random(8)
        for number in range(5):
            ledger.wait_for(60)
            edge = chance.choice(["out/A/B", "out/A/C", "on/B/D"])
            if edge in service.workers():
                service.kill_worker(edge)
        ending.set()
        thread.join(20)
        assert not errors, errors
    service.in_step("out", timeout=40)
    service.in_step("on", timeout=40)
    for node in (b, c, d):
        assert_same_content(a.connect(), node.connect())
        ledger.check(node.connect())
    service.stop()
