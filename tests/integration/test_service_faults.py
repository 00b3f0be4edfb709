"""The replication service when things break: nothing is lost, and it goes on by itself."""

import os
import shutil
import signal
import threading
import time

import pytest

from lib.proxy import Proxy
from lib.service import Service
from lib.tool import DONE
from lib.wait import poll_until

TABLE = "create table t (id int primary key, v int, w text)"
SYNC = """
[sync s]
tables = t
dbs = A, B
"""


class Writer:
    """Writes without end; knows what was acknowledged."""

    def __init__(self, node):
        self.node, self.acknowledged, self.numbers = node, 0, []
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self):
        number = 0
        while not self._ended.is_set():
            try:
                connection = self.node.connect()
                with connection.cursor() as cursor:
                    while not self._ended.is_set():
                        number += 1
                        cursor.execute("insert into t values (%s, 0, 'x') on conflict (id) do nothing", (number,))
                        cursor.execute("update t set v = v + 1 where id between %s and %s", (number - 20, number))
                        self.acknowledged = number
                        self.numbers.append(number)
            except Exception:
                self._ended.wait(0.1)

    def stop(self):
        self._ended.set()
        self._thread.join(20)


def same(pair):
    query = "select * from t order by id"
    return pair.old.sql(query) == pair.new.sql(query)


def finish(pair, service, writer):
    writer.stop()
    service.in_step(timeout=60)
    assert same(pair)
    there = {row[0] for row in pair.new.sql("select id from t")}
    assert writer.numbers and set(writer.numbers) <= there
    service.stop()


@pytest.fixture
def service(own_pair):
    for node in (own_pair.old, own_pair.new):
        node.sql(TABLE)
    service = Service({"A": own_pair.old.conninfo, "B": own_pair.new.conninfo}, SYNC)
    yield service
    from lib import tool as tool_module

    tool_module.kill_leftovers()


def test_killed_processes(own_pair, service):
    service.start()
    service.in_step()
    writer = Writer(own_pair.old)
    for _ in range(3):
        worker = service.workers()["s/A/B"]
        at = writer.acknowledged
        poll_until(lambda a=at: writer.acknowledged > a + 100, 20, "writes")
        os.kill(worker, signal.SIGKILL)
        poll_until(lambda w=worker: service.workers().get("s/A/B", w) != w, 20, "another worker")
    service.kill()
    poll_until(lambda a=writer.acknowledged: writer.acknowledged > a + 200, 20, "a backlog")
    service.start()
    finish(own_pair, service, writer)


@pytest.mark.parametrize("which", ["old", "new"])
def test_restarted_servers(own_pair, service, which):
    service.start()
    service.in_step()
    writer = Writer(own_pair.old)
    poll_until(lambda: writer.acknowledged > 100, 20, "writes")
    getattr(own_pair, which).cluster.restart(crash=True)
    at = writer.acknowledged
    poll_until(lambda: writer.acknowledged > at + 100, 20, "writes again")
    finish(own_pair, service, writer)


def test_faults_in_every_place(own_pair, service):
    """The worker is killed at its fault points while it begins, copies and follows; the next one goes on."""
    own_pair.old.sql("insert into t select i, 0, 'x' from generate_series(1, 5000) i")
    for point in ("service.registered", "service.captured", "service.copying", "service.copied", "round.applied",
                  "round.counted", "round.committed"):
        service.start(fault=point)
        own_pair.old.sql("update t set v = v + 1 where id % 7 = 0")
        service.running.wait_for_output(r"worker of s/A/B ended", timeout=30)
        service.kill()
    service.start()
    service.in_step()
    assert same(own_pair)
    service.stop()


def test_killed_while_all_rows_are_recorded(own_pair, service):
    """Where foreign keys act, recopy has the next round carry all rows."""
    service.add("target-triggers = fire")
    own_pair.old.sql("insert into t select i, 0, 'x' from generate_series(1, 100) i")
    service.start()
    service.in_step()
    service.stop()
    own_pair.new.sql("update t set v = 1 where id < 50; delete from t where id = 60; insert into t values (200, 0, 'x')")
    service.ok("recopy", "s")
    service.start(fault="service.recorded")
    service.running.wait_for_output(r"worker of s/A/B ended", timeout=30)
    service.kill()
    service.start()
    service.in_step()
    assert same(own_pair)
    service.stop()


def test_a_partition_that_comes_while_the_table_is_copied(nodes, new_service):
    """It has no triggers yet when the copy meets it: what is deleted from it then must not stay on the target."""
    databases = nodes("A", "B")
    for node in databases.values():
        node.sql("create table p (id int primary key) partition by range (id);"
                 "create table p0 partition of p for values from (0) to (100)")
    a, b = databases["A"], databases["B"]
    a.sql("insert into p select generate_series(1, 50)")
    service = new_service(databases, "[sync s]\ntables = p\ndbs = A, B")
    service.start(fault="service.copying:sleep=1500,service.copied:sleep=1500")
    poll_until(lambda: service.edge("s")["state"] == "copying", 20, "the copy")
    a.sql("create table p1 (id int primary key); insert into p1 values (100), (101)")
    b.sql("create table p1 (id int primary key)")
    for node in (b, a):
        node.sql("alter table p attach partition p1 for values from (100) to (200)")
    poll_until(lambda: a.value("select count(*) from pg_locks where relation = 'p'::regclass and mode = 'AccessShareLock'"), 20,
               "the lock of the copy", interval=0.01)
    time.sleep(0.5)  # it has read by now, and is asleep before its end
    a.sql("delete from p1 where id = 101")
    service.in_step()
    assert a.sql("select * from p order by 1") == b.sql("select * from p order by 1")
    service.stop()


def test_takeover(own_pair, service):
    """A second machine stands by, and takes over when the first is gone; never are there two."""
    service.start()
    service.in_step()
    second = Service({})
    shutil.copy(service.path, second.path)
    second.start()
    second.running.wait_for_output(r"standing by", timeout=20)
    writer = Writer(own_pair.old)
    poll_until(lambda: writer.acknowledged > 100, 20, "writes")
    service.kill()
    at = writer.acknowledged
    poll_until(lambda: own_pair.new.value("select count(*) from t") > at, 15, "the second machine's work")
    finish(own_pair, second, writer)


def test_cut_off_takeover(own_pair, service):
    """The first machine is alive but cut off from the target: its lock ends, the other one goes on."""
    proxy = Proxy(own_pair.new.cluster, tcp=True)
    service.write(service.text.replace(own_pair.new.conninfo, proxy.conninfo(own_pair.new.dbname)))
    service.start()
    service.in_step()
    second = Service({"A": own_pair.old.conninfo, "B": own_pair.new.conninfo}, SYNC)
    second.start()
    second.running.wait_for_output(r"standing by", timeout=20)
    proxy.cut()
    own_pair.old.sql("insert into t values (1, 1, 'x')")
    poll_until(lambda: own_pair.new.value("select count(*) from t") == 1, 30, "the second machine's work")
    proxy.restore()
    own_pair.old.sql("insert into t values (2, 1, 'x')")
    second.in_step()
    assert same(own_pair)
    second.stop()
    # and back
    own_pair.old.sql("insert into t values (3, 1, 'x')")
    poll_until(lambda: own_pair.new.value("select count(*) from t") == 3, 30, "the first machine's work")
    service.stop()
    proxy.close()


def test_a_side_that_went_back_in_time(own_pair, service):
    service.start()
    service.in_step()
    own_pair.old.sql("insert into t select i, 0, 'x' from generate_series(1, 100) i")
    service.in_step()
    service.stop()
    # as if the target had been restored from an older state, when changes had been purged already
    own_pair.old.sql("update pgtandem.consumer set purged = (select txid_current_snapshot()::text)")
    own_pair.new.sql("update pgtandem.progress set snapshot = '1000:1000:'; delete from t where id > 50")
    service.start()
    service.wait_for_state("failed", "s")
    edge = service.edge("s")
    assert "went back in time" in edge["error"] and "recopy" in edge["hint"]
    own_pair.old.sql("insert into t values (200, 1, 'x')")
    assert own_pair.new.value("select count(*) from t") == 50
    service.ok("recopy", "s")
    poll_until(lambda: same(own_pair), 30, "equal rows")
    service.in_step()
    # as if the source had failed over to a replica that lacked what was carried
    service.stop()
    own_pair.new.sql("update pgtandem.progress set snapshot = '99999999:99999999:'")
    service.start()
    service.wait_for_state("failed", "s")
    assert "went back in time" in service.edge("s")["error"]
    service.stop()


def test_stop_and_remove_while_down(own_pair, service):
    """A round that is at work does not hold up a stop; remove needs no running service."""
    service.start()
    service.in_step()
    blocker = own_pair.new.connect(autocommit=False)
    blocker.cursor().execute("lock t in access exclusive mode")
    own_pair.old.sql("insert into t values (1, 1, 'x')")
    poll_until(
        lambda: own_pair.new.value("select count(*) from pg_locks where not granted") > 0, 10, "a round that waits"
    )
    done = service.run("stop", timeout=15)
    assert done.rc == DONE, done
    service.running.wait(10)
    blocker.rollback()
    service.ok("remove", "sync", "s")
    for node in (own_pair.old, own_pair.new):
        assert node.value("select count(*) from pg_namespace where nspname = 'pgtandem'") == 0
        assert node.value("select count(*) from pg_trigger where not tgisinternal") == 0


def test_daemon(own_pair, service):
    service.write("[pgtandem]\nlog-file = log\npid-file = pid\n" + service.text)
    service.ok("start", "--daemon")
    try:
        assert service.run("start").rc != DONE  # it runs already
        service.in_step()
        own_pair.old.sql("insert into t values (1, 1, 'x')")
        service.in_step()
        assert same(own_pair)
        log = os.path.join(service.directory, "log")
        os.rename(log, log + ".1")
        service.ok("reload")
        poll_until(lambda: os.path.exists(log) and os.path.getsize(log) > 0, 10, "the new log file")
    finally:
        service.ok("stop")
    assert not os.path.exists(os.path.join(service.directory, "pid"))
