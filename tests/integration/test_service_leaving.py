"""What leaves the configuration file leaves the databases: edges, syncs, databases, whichever way they went; what is
another file's stays. And what is taken away while something is at work does not come back."""

import signal
import time

import pytest

from lib.compare import assert_same_catalog, catalog_fingerprint
from lib.tool import DONE, FAILED, USAGE
from lib.wait import poll_until

T = "create table t (id int primary key, v text);"
SYNC = """
[sync s]
tables = t
dbs = A, B, C
"""
OURS = "select count(*) from pg_namespace where nspname = 'pgtandem'"
CONSUMERS = "select edge from pgtandem.consumer order by 1"


@pytest.fixture
def abc(nodes):
    databases = nodes("A", "B", "C")
    for node in databases.values():
        node.sql(T)
    return databases


def begun(new_service, databases, text=SYNC):
    service = new_service(databases, text)
    service.start()
    service.in_step()
    return service


def edit(service, before, after):
    assert before in service.text
    service.write(service.text.replace(before, after))


def gone(*nodes, timeout=20):
    for node in nodes:
        poll_until(lambda n=node: n.value(OURS) == 0, timeout, f"nothing of ours in {node.dbname}")
        assert node.value("select count(*) from pg_trigger where tgname like 'pgtandem%'") == 0


def only(node, *edges, timeout=20):
    """These are the only ones whose changes are kept there."""
    poll_until(lambda: [row[0] for row in node.sql(CONSUMERS)] == list(edges), timeout, lambda: f"{node.sql(CONSUMERS)}")


# By hand, by commands; while it runs and while it does not


@pytest.mark.timeout(60)
@pytest.mark.parametrize("running", [True, False], ids=["reload", "restart"])
def test_a_target_goes_by_hand(abc, new_service, running):
    a, b, c = (abc[name] for name in "ABC")
    service = begun(new_service, abc)
    if not running:
        service.stop()
    edit(service, "dbs = A, B, C", "dbs = A, B")
    if running:
        service.ok("reload")
    else:
        service.start()
    only(a, "s/A/B")
    gone(c)
    a.sql("insert into t values (1, 'x')")
    service.in_step()
    assert b.value("select count(*) from t") == 1 and c.value("select count(*) from t") == 0
    # and comes again: nothing of the old progress is believed
    edit(service, "dbs = A, B", "dbs = A, B, C")
    service.ok("reload")
    service.in_step()
    assert c.value("select count(*) from t") == 1
    service.stop()


@pytest.mark.timeout(60)
def test_a_sync_goes_by_hand(abc, new_service):
    before = [catalog_fingerprint(node.connect()) for node in abc.values()]
    service = begun(new_service, abc)
    edit(service, SYNC.lstrip(), "")
    service.ok("reload")
    gone(*abc.values())
    for node, fingerprint in zip(abc.values(), before):
        assert_same_catalog(fingerprint, catalog_fingerprint(node.connect()))
    service.stop()


@pytest.mark.timeout(60)
def test_remove_finds_what_the_file_had_before(abc, new_service):
    """While nothing runs."""
    a, b, c = (abc[name] for name in "ABC")
    service = begun(new_service, abc)
    service.stop()
    service.ok("update", "sync", "s", "dbs=A,B")
    assert c.value(OURS) == 1
    service.ok("remove", "sync", "s")
    for node in (a, b, c):
        assert node.value(OURS) == 0


@pytest.mark.timeout(60)
def test_remove_a_sync_that_is_not_in_the_file(abc, new_service):
    service = begun(new_service, abc)
    service.stop()
    edit(service, SYNC.lstrip(), "")
    done = service.run("remove", "sync", "other")
    assert done.rc == USAGE and 'no sync "other"' in done.err, done
    service.ok("remove", "sync", "s")
    for node in abc.values():
        assert node.value(OURS) == 0
    assert service.run("remove", "sync", "s").rc == USAGE


@pytest.mark.timeout(60)
def test_remove_takes_it_from_a_worker_that_still_has_it(abc, new_service):
    """The file was changed, but not read again."""
    service = begun(new_service, abc)
    service.ok("update", "sync", "s", "dbs=A,B")
    service.ok("remove", "sync", "s")
    for node in abc.values():
        assert node.value(OURS) == 0
    poll_until(lambda: not service.workers(), 20, "the end of the workers")
    for node in abc.values():
        assert node.value(OURS) == 0
    service.stop()


@pytest.mark.timeout(60)
def test_remove_a_database(abc, new_service):
    """While nothing runs: what is left in it goes first, at the other ends as well."""
    a, b, c = (abc[name] for name in "ABC")
    service = begun(new_service, abc)
    service.stop()
    service.ok("update", "sync", "s", "dbs=A,B")
    service.ok("remove", "db", "C")
    assert "[db C]" not in service.text
    assert c.value(OURS) == 0
    assert a.sql(CONSUMERS) == [("s/A/B",)]


@pytest.mark.timeout(60)
def test_a_target_becomes_a_full_copy(abc, new_service):
    """It reads no queue any more, so nothing is kept for it; as a target again it does not go on from long ago."""
    a, b = abc["A"], abc["B"]
    service = begun(new_service, {"A": a, "B": b}, "[sync s]\ntables = t\ndbs = A, B")
    edit(service, "A, B", "A, B:fullcopy")
    service.ok("reload")
    gone(a)
    a.sql("insert into t values (1, 'x')")
    service.in_step()
    assert b.value("select count(*) from t") == 1
    b.sql("delete from t")
    edit(service, "A, B:fullcopy", "A, B")
    service.ok("reload")
    service.wait_for_state("failed", "s")
    assert "recopy" in service.edge("s")["hint"]
    service.ok("recopy", "s")
    service.in_step(patient=True)
    assert b.value("select count(*) from t") == 1
    service.stop()


@pytest.mark.timeout(60)
def test_a_master_becomes_a_target(abc, new_service):
    a, b = abc["A"], abc["B"]
    service = begun(new_service, {"A": a, "B": b}, "[sync s]\ntables = t\ndbs = A:source, B:source")
    b.sql("insert into t values (1, 'of b')")
    service.in_step()
    assert a.value("select count(*) from t") == 1
    edit(service, "B:source", "B:target")
    service.ok("reload")
    only(a, "s/A/B")
    only(b)
    b.sql("insert into t values (2, 'of b')")
    a.sql("insert into t values (3, 'of a')")
    service.in_step()
    assert a.sql("select id from t order by 1") == [(1,), (3,)]
    assert b.sql("select id from t order by 1") == [(1,), (2,), (3,)]
    service.ok("remove", "sync", "s")
    gone(a, b, timeout=5)
    service.stop()


@pytest.mark.timeout(120)
def test_a_target_that_is_down_when_it_goes(nodes, new_cluster, new_service):
    """The source is relieved at once, the target when it is back."""
    databases = nodes("A", "B")
    a, b = databases["A"], databases["B"]
    cluster = new_cluster("15")
    c = type(a)(cluster, cluster.create_db())
    for node in (a, b, c):
        node.sql(T)
    service = begun(new_service, {"A": a, "B": b, "C": c})
    cluster.stop()
    edit(service, "dbs = A, B, C", "dbs = A, B")
    service.ok("reload")
    only(a, "s/A/B")
    service.running.wait_for_output("stays in the database C", timeout=20)
    # a command cannot do it either, and says so
    done = service.run("remove", "db", "C")
    assert done.rc == FAILED and "--force" in done.err, done
    assert "[db C]" in service.text
    cluster.start()
    gone(c, timeout=60)
    service.ok("remove", "db", "C")
    service.stop()


# Others


@pytest.mark.timeout(60)
def test_what_is_in_other_files_stays(abc, new_service):
    """Another team has a sync of the same name from the same database, another one has no service at work."""
    a, b, c = (abc[name] for name in "ABC")
    ours = begun(new_service, {"A": a, "B": b, "C": c}, "[sync s]\ntables = t\ndbs = A, B")
    theirs = begun(new_service, {"A": a, "C": c}, "[sync s]\ntables = t\ndbs = A, C")
    ours.ok("reload")
    ours.stop()
    theirs.stop()
    ours.start()
    poll_until(lambda: "s/A/B" in ours.workers(), 10, "a worker")
    ours.in_step()
    time.sleep(2)  # the keeper looks at once
    only(a, "s/A/B", "s/A/C")
    ours.ok("remove", "sync", "s")
    only(a, "s/A/C")
    ours.ok("remove", "db", "C")
    a.sql("insert into t values (1, 'x')")
    theirs.start()
    theirs.in_step()
    assert c.value("select count(*) from t") == 1 and b.value("select count(*) from t") == 0
    theirs.stop()
    ours.stop()


@pytest.mark.timeout(60)
def test_a_name_tells_whose_it_is(abc, new_service):
    """Where the number beside the file gets lost, or another machine has the file."""
    a, c = abc["A"], abc["C"]
    service = begun(new_service, abc, "[pgtandem]\nname = shop\n" + SYNC)
    service.stop()
    other = new_service.keep(service.other_machine())
    edit(other, "dbs = A, B, C", "dbs = A, B")
    other.start()
    only(a, "s/A/B")
    gone(c)
    other.stop()


# While something is at work


@pytest.mark.timeout(60)
@pytest.mark.parametrize("point", ["service.registered", "service.captured", "service.copied"])
def test_removed_at_a_chosen_moment(abc, new_service, point):
    """The worker has got to this point, and would go on with installing. The supervisor is held up, so that it does
    not end it in time."""
    a, b = abc["A"], abc["B"]
    service = new_service({"A": a, "B": b}, "[sync s]\ntables = t\ndbs = A, B")
    a.sql("insert into t values (1, 'x')")
    service.start(fault=f"{point}:sleep=3000")
    poll_until(lambda: a.value(OURS) == 1, 20, "the beginning")
    service.running.process.send_signal(signal.SIGSTOP)
    service.ok("remove", "sync", "s")
    for node in (a, b):
        assert node.value(OURS) == 0
    time.sleep(4)  # for whatever might still be at work
    for node in (a, b):
        assert node.value(OURS) == 0
    service.running.process.send_signal(signal.SIGCONT)
    poll_until(lambda: not service.workers(), 20, "the end of the worker")
    service.stop()


@pytest.mark.timeout(60)
def test_a_removal_that_is_broken_off(abc, new_service):
    """The rest goes with the next one, or with the service's next start."""
    a, b = abc["A"], abc["B"]
    service = begun(new_service, {"A": a, "B": b}, "[sync s]\ntables = t\ndbs = A, B")
    assert service.run("remove", "sync", "s", fault="service.forgotten").rc != DONE
    # its worker begins anew
    service.in_step(patient=True)
    service.stop()
    # the rows are gone there, but not the triggers
    assert service.run("remove", "sync", "s", fault="service.forgotten:kill:2").rc != DONE
    assert a.value("select count(*) from pgtandem.consumer") == 0 and a.value(OURS) == 1
    edit(service, "[sync s]\ntables = t\ndbs = A, B", "")
    service.start()
    gone(a, b)
    service.stop()


# The fuse


@pytest.mark.timeout(120)
def test_the_fuse_of_an_inactive_sync(abc, new_service):
    """Nobody works on it, and there is no other sync; the service runs all the same, and guards the disk."""
    a, b = abc["A"], abc["B"]
    service = begun(new_service, {"A": a, "B": b}, "[sync s]\ntables = t\ndbs = A, B")
    edit(service, "\n[db B]", "queue-limit = 2MB\nqueue-patience = 3s\n\n[db B]")
    service.ok("deactivate", "s")
    poll_until(lambda: not service.workers(), 20, "the end of the worker")
    assert service.edge("s")["state"] == "inactive"
    a.sql("insert into t select i, 'x' from generate_series(1, 80000) i")
    poll_until(lambda: a.value("select detached from pgtandem.consumer"), 50, "the fuse")
    size = "select pg_relation_size('pgtandem.queue_0') + pg_relation_size('pgtandem.queue_1')"
    poll_until(lambda: a.value(size) < 2 * 1024 * 1024, 20, "a smaller queue")
    service.ok("activate", "s")
    service.wait_for_state("failed", "s")
    assert "detached" in service.edge("s")["error"]
    service.ok("recopy", "s")
    service.in_step(patient=True)
    assert b.value("select count(*) from t") == 80000
    service.stop()


# Going back in time


@pytest.mark.timeout(60)
def test_what_was_carried_outlives_a_crash_of_the_source(own_pair, new_service):
    """Though the application's transactions are acknowledged before they are durable."""
    old, new = own_pair.old, own_pair.new
    old.cluster.configure(synchronous_commit="off", wal_writer_delay="10s", wal_writer_flush_after="1GB")
    old.cluster.restart()
    for node in (old, new):
        node.sql(T)
    service = begun(new_service, {"A": old, "B": new}, "[sync s]\ntables = t\ndbs = A, B")
    for number in range(5):
        old.sql("insert into t values (%s, 'x')", (number,))
        poll_until(lambda n=number: new.value("select count(*) from t") == n + 1, 10, "the row")
        old.cluster.restart(crash=True)
        assert old.value("select count(*) from t") == number + 1
    service.in_step(patient=True)
    assert service.edge("s")["error"] is None
    service.stop()


@pytest.mark.timeout(90)
def test_a_source_that_is_restored_to_before_a_copy(own_pair, new_service):
    """Its transactions have got far beyond the copy, which no round has followed."""
    old, new = own_pair.old, own_pair.new
    for node in (old, new):
        node.sql(T + T.replace(" t ", " u "))
    service = begun(new_service, {"A": old, "B": new}, "[sync s]\ntables = t, u\ndbs = A, B")
    service.stop()
    old.cluster.stop()
    saved = old.cluster.save_data("before")
    old.cluster.start()
    old.sql("insert into u select i, 'lost' from generate_series(1, 100) i")
    new.sql("update pgtandem.edge_table set state = 'recopy' where table_name = 'u'")
    service.start(fault="round.begun:exit")
    poll_until(lambda: new.value("select count(*) from u") == 100, 20, "the copy")
    service.kill()
    old.cluster.stop()
    old.cluster.restore_data(saved)
    old.cluster.start()
    with old.connect() as connection, connection.cursor() as cursor:
        for number in range(300):
            cursor.execute("insert into t values (%s, 'kept')", (number,))
    service.start()
    service.wait_for_state("failed", "s")
    assert "went back in time" in service.edge("s")["error"]
    service.ok("recopy", "s")
    service.in_step(patient=True)
    assert new.value("select count(*) from u") == 0
    service.stop()
