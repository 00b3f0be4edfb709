"""The program is killed at every step and in every phase, and the same command goes on.

The points come from the program itself: the steps from `pgtandem states`, the others from the calls of
fault() in src/. A point that no test kills it at fails test_every_fault_point_is_used(). All the while the
ledger writes; in the end each of its transactions is there exactly once, and both sides are equal.
"""

import os
import random
import re
import subprocess
import threading
import time

import psycopg2
import pytest

from lib.compare import assert_same_catalog, assert_same_content, catalog_fingerprint
from lib.ledger import Ledger
from lib.tool import ROOT, default_binary
from lib.wait import poll_until

KILLED = -9

SCHEMA = """
create table big (id int primary key, pad text, n int not null default 0);
insert into big select i, repeat(md5(i::text), 4), 0 from generate_series(1, 12000) i;
create index on big (n);
create table parent (id int primary key, note text unique);
insert into parent select i, 'note ' || i from generate_series(1, 50) i;
create table child (id int primary key, parent int references parent, at timestamptz default now());
insert into child select i, i % 50 + 1 from generate_series(1, 500) i;
create table parts (id int, region text, primary key (id, region)) partition by list (region);
create table parts_a partition of parts for values in ('a');
create table parts_b partition of parts for values in ('b');
insert into parts select i, case i % 2 when 0 then 'a' else 'b' end from generate_series(1, 400) i;
create table keyless (a int, b text);
insert into keyless select i % 5, 'b' from generate_series(1, 50) i;
create materialized view summed as select region, count(*) from parts group by 1;
create function nothing() returns trigger language plpgsql as 'begin return new; end';
create trigger always before insert on child for each row execute procedure nothing();
alter table child enable always trigger always;
create trigger normal before insert on parent for each row execute procedure nothing();
"""

# What is killed where, besides the steps. Points that workers pass are marked: there a worker dies, the
# parent starts another, and the parent is killed afterwards.
WORKER = "worker"
IN_STEP = {
    "schema": ["schema.filled"],
    "capturing": ["capture.table:kill:2"],
    "copied": [
        "copy.planned",
        (WORKER, "copy.chunk.begin:kill:2"),
        (WORKER, "copy.chunk.loaded:kill:2"),
        (WORKER, "copy.chunk.done:kill:2"),
        (WORKER, "copy.settled"),
        (WORKER, "copy.settle.done"),
        (WORKER, "item.built"),
    ],
    "consistent": ["apply.staged", "apply.between", "round.applied", "round.recorded", "round.committed"],
    "complete": ["item.built", "sleep.one", "round.applied"],
    "following": ["capture.table:kill:3"],
}
WHILE_FOLLOWING = ["round.applied:kill:2", "round.committed:kill:3", "apply.staged:kill:2"]
SETTLING = ["halfway.before", "halfway.opened", "halfway.back", "switch.redirected"]
ENDING_FINISH = ["ending.recorded", "capture.remove:kill:2", "finish.removed", "finish.source", "capture.remove",
                 "finish.removed"]
ENDING_ABORT = ["ending.recorded", "capture.remove:kill:2", "finish.removed", "abort.source", "abort.dropped:kill:3",
                "abort.emptied"]
# died at in test_copy.py, test_keyless.py, test_service_faults.py, test_service_leaving.py, test_large_objects.py and test_ddl.py;
# round.begun holds up a round in test_backlog.py
ELSEWHERE = ["copy.reset", "service.registered", "service.captured", "service.copying", "service.copied",
             "service.recorded", "service.forgotten", "round.begun", "round.counted",
             "apply.images", "keyless.adopt", "keyless.adopted", "large.loaded", "large.pages", "large.objects", "large.applied",
             # in test_extension_rows.py
             "config.copied", "apply.config",
             # in test_rename.py
             "schema.scratch", "schema.renamed",
             # in test_row_filter.py
             "apply.outside",
             # in test_ddl.py and test_ddl_attack.py
             "ddl.one", "ddl.renamed", "ddl.registered", "ddl.marked", "ddl.settled", "ddl.remembered", "switch.closed",
             # in test_ddl_while_copying.py
             "copying.forgotten", "copying.worked", "copying.stored"]
# in test_whole_server.py
WHOLE_SERVER = ["globals.roles", "globals.database", "server.created", "server.ready", "server.prepared",
                "server.closed", "server.decided", "server.undo", "server.ending", "member.asked",
                "server.paused", "pooler.write", "pooler.written", "pooler.repointed"]


def states():
    return subprocess.run([default_binary(), "states"], capture_output=True, text=True, check=True).stdout


def steps():
    """The phases in order, as (from, to)."""
    return re.findall(r"^(\S+)\s+->\s+(\S+)", states(), re.MULTILINE)


def switch_points():
    names = re.findall(r"^switch\s+(\S+)", states(), re.MULTILINE)
    return [f"switch.{name}.{when}" for name in names for when in ("before", "after")]


def upgrade_points():
    points = []
    for _, to in steps():
        points += [f"step.{to}.before", *IN_STEP.get(to, []), f"step.{to}.after", f"step.{to}.persisted"]
    return points


def name_of(point):
    return (point[1] if isinstance(point, tuple) else point).partition(":")[0]


def test_every_fault_point_is_used():
    used = {name_of(point) for point in [*upgrade_points(), *WHILE_FOLLOWING, *SETTLING, *ENDING_FINISH,
                                         *ENDING_ABORT, *ELSEWHERE, *WHOLE_SERVER, *switch_points()]}
    assert len(steps()) >= 7 and len(switch_points()) >= 12
    in_source, made = set(), set()
    for directory, _, files in os.walk(os.path.join(ROOT, "src")):
        for file in files:
            with open(os.path.join(directory, file), encoding="utf-8") as opened:
                text = opened.read()
            in_source.update(re.findall(r'\bfault\("([^"]+)"', text))
            made.update(re.findall(r'\bfault\(mem_printf\(\w+, "([^"]+)"', text))
    assert in_source - used == set(), "fault points that no test dies at"
    patterns = [re.compile(re.escape(one).replace("%s", r"\w+") + "$") for one in made]
    unknown = {name for name in used - in_source if not any(p.match(name) for p in patterns)}
    assert not unknown, "these points are no longer in the source"
    unused = [p.pattern for p in patterns if not any(p.match(name) for name in used)]
    assert not unused, "these made-up points are not used"


def die(tool, *args, at, timeout=60):
    """Runs it until it is killed there."""
    done = tool.run(*args, fault=at, timeout=timeout)
    assert done.rc == KILLED, f"{' '.join(args)} should have died at {at}: {done}"
    assert f"fault point {name_of(at)}" in done.err
    return done


def die_with_worker(tool, *args, at):
    """Runs it until a worker is killed there, and then kills the parent."""
    running = tool.start(*args, fault=at)
    running.wait_for_output("a worker process ended unexpectedly", timeout=60)
    running.kill9(tree=False)
    assert running.wait().rc == KILLED


def upgrade_until_in_sync(tool, *args):
    running = tool.start("upgrade", *args)
    running.wait_for_output(r"in sync", timeout=90)
    return running


def stop(running):
    running.sigint()
    assert running.wait().rc == 130


class Mover(threading.Thread):
    """Changes rows of the tables of SCHEMA, so that there is something to carry at any moment."""

    def __init__(self, node):
        super().__init__(daemon=True)
        self.connection = node.connect()
        self.ending = threading.Event()
        self.error = None

    def run(self):
        chance = random.Random(7)
        try:
            with self.connection.cursor() as cursor:
                while not self.ending.wait(0.004):
                    one, other = chance.randint(1, 12000), chance.randint(12001, 30000)
                    cursor.execute("update big set n = n + 1, pad = pad || 'x' where id = %s", (one,))
                    cursor.execute("insert into big values (%s, 'new') on conflict do nothing", (other,))
                    if one % 20 == 0:
                        cursor.execute("delete from big where id = %s", (one // 2,))
                        cursor.execute("insert into keyless values (%s, 'more')", (one,))
                        cursor.execute("update parts set region = case region when 'a' then 'b' else 'a' end"
                                       " where id = %s", (one % 400,))
                        # unique values change places
                        cursor.execute("update parent set note = (array['note 1', 'note 2'])[3 - id] || '-'"
                                       " where id in (1, 2)")
                        cursor.execute("update parent set note = rtrim(note, '-') where id in (1, 2)")
        except psycopg2.Error as error:
            self.error = error

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.ending.set()
        self.join()
        self.connection.close()
        assert self.error is None, self.error


CHUNKS = ("--chunk-size", "128kB", "--jobs", "2")


@pytest.mark.timeout(240)
def test_upgrade_and_abort(one_pair, tool):
    one_pair.old.sql(SCHEMA)
    ledger = Ledger(one_pair.old.conninfo, writers=2, rate=60).create_schema()
    old_before = catalog_fingerprint(one_pair.old.connect())
    new_before = catalog_fingerprint(one_pair.new.connect())
    with ledger, Mover(one_pair.old):
        for point in upgrade_points():
            if isinstance(point, tuple):
                die_with_worker(tool, "upgrade", *CHUNKS, at=point[1])
            else:
                die(tool, "upgrade", *CHUNKS, at=point)
        for point in WHILE_FOLLOWING:
            die(tool, "upgrade", at=point)
        running = upgrade_until_in_sync(tool)
        ledger.wait_for(20)
    # the writers have ended: what is left gets carried, and keyless tables only in a switch
    tool.ok("verify")
    stop(running)
    keyless = one_pair.old.value("select count(*) from keyless")
    tool.ok("switchover")
    tool.ok("rollback")
    assert one_pair.new.value("select count(*) from keyless") == keyless > 50
    one_pair.new.sql("refresh materialized view summed")
    one_pair.old.sql("refresh materialized view summed")
    assert_same_content(one_pair.old.connect(), one_pair.new.connect())
    ledger.check(one_pair.old.connect())
    ledger.check(one_pair.new.connect())

    for number, point in enumerate(ENDING_ABORT):
        die(tool, "abort", at=point)
        # a run that is half removed must not be gone on with: changes may go unrecorded
        if number % 2 == 0:
            refused = tool.run("upgrade")
            assert refused.rc == 1 and "pgtandem abort" in refused.err, refused
    tool.ok("abort")
    assert_same_catalog(old_before, catalog_fingerprint(one_pair.old.connect()))
    assert_same_catalog(new_before, catalog_fingerprint(one_pair.new.connect()))
    assert tool.run("abort").rc == 1


def state_of(tool):
    return tool.ok("status", "--json").json["state"]


def die_before_close(tool, ledger, command, hook):
    """Up to the commit of the fence the old node takes writes again at once, by itself."""
    for point in switch_points():
        if point == "switch.close.after":
            break
        die(tool, command, "--on-switch", hook, at=point)
        begun = time.monotonic()
        ledger.wait_for(4, timeout=10)
        assert time.monotonic() - begun < 3, f"after {point} the old node took no writes for long"
        assert not tool.ok("status", "--json").json["state"].startswith("half")


@pytest.mark.timeout(240)
def test_switch_and_finish(one_pair, tool):
    old, new = one_pair.old, one_pair.new
    old.sql(SCHEMA)
    ledger = Ledger(old.conninfo, writers=2, rate=60).create_schema()
    old_before = catalog_fingerprint(old.connect())
    to_new, to_old = ledger.switch_command(new.conninfo), ledger.switch_command(old.conninfo)
    with ledger:
        stop(upgrade_until_in_sync(tool))

        die_before_close(tool, ledger, "switchover", to_new)
        # both are closed: `upgrade` takes it back
        die(tool, "switchover", "--on-switch", to_new, at="switch.close.after")
        assert state_of(tool) == "half-way"
        die(tool, "upgrade", at="halfway.back")
        assert state_of(tool) == "following"
        ledger.wait_for(10)
        stop(upgrade_until_in_sync(tool))
        # both are closed: the same command completes it
        die(tool, "switchover", "--on-switch", to_new, at="switch.open.before")
        assert state_of(tool) == "half-way"
        die(tool, "switchover", "--on-switch", to_new, at="halfway.before")
        assert state_of(tool) == "half-way"
        die(tool, "switchover", "--on-switch", to_new, at="halfway.opened")
        assert state_of(tool) == "switched"
        die(tool, "switchover", "--on-switch", to_new, at="switch.redirected")
        ledger.wait_for(20)
        tool.ok("switchover", "--on-switch", to_new)

        die_before_close(tool, ledger, "rollback", to_old)
        die(tool, "rollback", "--on-switch", to_old, at="switch.close.after")
        assert state_of(tool) == "half-way"
        tool.ok("rollback", "--on-switch", to_old)
        ledger.wait_for(20)
        assert state_of(tool) == "following"

        # the new node is open, but the application was not told yet; all in one go tells it
        die(tool, "upgrade", "--switchover", "--on-switch", to_new, at="switch.open.after")
        assert state_of(tool) == "switched"
        tool.ok("upgrade", "--switchover", "--on-switch", to_new)
        ledger.wait_for(20)
    ledger.check(new.connect())
    running = upgrade_until_in_sync(tool)
    tool.ok("verify")
    stop(running)
    assert_same_content(old.connect(), new.connect())
    ledger.check(old.connect())

    for number, point in enumerate(ENDING_FINISH):
        die(tool, "finish", at=point)
        if number % 2 == 0:
            refused = tool.run("rollback")
            assert refused.rc == 1 and "pgtandem finish" in refused.err, refused
    tool.ok("finish")
    assert_same_catalog(old_before, catalog_fingerprint(old.connect()))
    assert not new.value("select count(*) from pg_namespace where nspname = 'pgtandem'")
    assert not new.value("select count(*) from pg_trigger where tgname like 'pgtandem%%'")


def workers_of(pid):
    children = subprocess.run(["ps", "-o", "pid=,args=", "--ppid", str(pid)], capture_output=True, text=True)
    return [int(line.split()[0]) for line in children.stdout.splitlines() if line.endswith(" worker")]


def is_alive(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.timeout(120)
def test_processes_killed_while_copying(one_pair, tool):
    old, new = one_pair.old, one_pair.new
    old.sql(SCHEMA)
    ledger = Ledger(old.conninfo, writers=2, rate=60).create_schema()
    chance = random.Random(3)
    with ledger, Mover(old):
        # a worker: the parent goes on with another
        running = tool.start("upgrade", *CHUNKS, fault="copy.chunk.loaded:sleep=400")
        workers = poll_until(lambda: workers_of(running.process.pid), 60, "workers")
        running.wait_for_output("copying the data")
        os.kill(workers[0], 9)
        running.wait_for_output("a worker process ended unexpectedly")
        # the parent: its workers end by themselves
        workers = poll_until(lambda: workers_of(running.process.pid), 10, "workers")
        running.kill9(tree=False)
        poll_until(lambda: not any(is_alive(pid) for pid in workers), 5, "the end of the workers")
        running.wait()
        # Ctrl-C and SIGTERM at any moment
        for number in range(5):
            running = tool.start("upgrade", *CHUNKS)
            time.sleep(0.15 + chance.random() * 0.6)
            running.sigint() if number % 2 == 0 else running.sigterm()
            done = running.wait(20)
            assert done.rc == 130, done
        stop(upgrade_until_in_sync(tool))
        running = upgrade_until_in_sync(tool)
    tool.ok("verify")
    stop(running)
    query = "select count(*), sum(n), sum(hashtext(pad)) from big"
    assert old.sql(query) == new.sql(query)
    ledger.check(new.connect())


@pytest.mark.timeout(120)
def test_table_rewritten_while_copied(one_pair, tool):
    """VACUUM FULL moves rows without triggers noticing, so the table is copied anew; the worker dies just
    after it has emptied the copy."""
    old, new = one_pair.old, one_pair.new
    old.sql(SCHEMA)
    with Mover(old):
        die(tool, "upgrade", *CHUNKS, at="copy.planned")
        old.sql("vacuum full big")
        running = tool.start("upgrade", *CHUNKS, fault="copy.reset")
        running.wait_for_output("a worker process ended unexpectedly")
        running.wait_for_output("was rewritten while it was copied")
        running.wait_for_output("in sync")
    tool.ok("verify")
    stop(running)
    query = "select count(*), sum(n), sum(hashtext(pad)) from big"
    assert old.sql(query) == new.sql(query)
