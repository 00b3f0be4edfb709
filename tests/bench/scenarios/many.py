"""A database of many objects: how long check, upgrade, one look at its definitions and switches take, and how much memory.

2,000 tables of 20 columns with 5,000 indexes and 1,000 sequences, a few rows in each, and two clients that write
into some of them all the time. Nothing may grow with the number of objects but a little time; least of all the pause.
One table is made and another one altered on the way, so that definitions are carried over, too.
"""

import threading
import time

from lib import servers
from lib.cluster import Cluster
from lib.tool import DONE, Tool

from ..processes import Sampler, command, children
from ..rounds import Failures

NAME = "many"
COLUMNS = 18  # besides the key and a serial or an ordinary number
LOCKS = {"max_locks_per_transaction": "1024", "max_connections": "60"}
OLDER = ("10", "15")
NEWER = "18"


def run(rig, report):
    if rig.options.only and "pgtandem" not in rig.options.only:
        return
    available = servers.discover()
    failures = Failures(report, NAME)
    for version in OLDER:
        if version not in available or NEWER not in available:
            report.note(NAME, f"PostgreSQL {version} or {NEWER} is not there: left out.")
            continue
        pair = [Cluster(servers.get(one), settings=LOCKS, name=f"many{one}").start() for one in (version, NEWER)]
        try:
            with failures.guard("pgtandem"):
                one_pair(rig, report, version, *pair)
        finally:
            for cluster in pair:
                cluster.stop(300)
                cluster.remove()


def one_pair(rig, report, version, old, new):
    database = "many"
    for cluster in (old, new):
        cluster.create_db(database)
    fill(old, database, rig.options.objects)
    tool = Tool(source=old.conninfo(database), target=new.conninfo(database), client_version=NEWER)
    name = f"{version} to {NEWER}, {rig.options.objects:,} tables"
    clients = [Client(old, database, number, rig.options.objects) for number in range(2)]
    try:
        measured(report, tool, f"{name}: check", "check")
        watched = Watched(tool, "upgrade", "--jobs", "2")
        watched.running.wait_for_output(r"(?i)\bin sync\b", timeout=rig.options.patience * 3)
        report.add(NAME, f"{name}: upgrade until in sync", "pgtandem", watched.seconds())
        time.sleep(3)
        old.sql(database, "create table made_later (id int primary key, v text); insert into made_later values (1, 'x');"
                          "alter table t_7 add later int default 5")
        begun = time.monotonic()
        watched.running.wait_for_output(r"table public\.made_later is as on the source", timeout=rig.options.patience)
        report.add(NAME, f"{name}: a new table and a new column carried", "pgtandem", time.monotonic() - begun)
        for command_name in ("switchover", "rollback", "switchover"):
            done = measured(report, tool, f"{name}: {command_name}", command_name)
            paused = done.err.rpartition("writes were paused for ")[2].split(" ms")[0]
            report.add(NAME, f"{name}: pause of {command_name}", "pgtandem", float(paused), "ms")
            watched.running.wait_for_output(r"(?i)\bin sync\b", timeout=rig.options.patience)
        report.add_memory(f"{NAME}: {name}", "pgtandem", watched.end())
    finally:
        for client in clients:
            client.stop()


def fill(cluster, database, tables):
    """Half of the tables have a sequence of their own; with their keys they have 2.5 indexes each."""
    connection = cluster.connect(database)
    with connection.cursor() as cursor:
        for first in range(0, tables, 50):
            text = ""
            for n in range(first, min(first + 50, tables)):
                columns = ", ".join(f"c{c} {('int', 'text', 'numeric(12,2)')[c % 3]}" for c in range(COLUMNS))
                text += (
                    f"create table t_{n} (id int primary key, n {'serial' if n % 2 else 'int'}, {columns});"
                    f"create index on t_{n} (c0);"
                    + (f"create index on t_{n} (c1, c2);" if n % 2 else "")
                    + f"insert into t_{n} (id, n) values (1, 1), (2, 2), (3, 3);"
                )
            cursor.execute(text)
    connection.close()


class Client(threading.Thread):
    """Writes ten rows a second into one table after the other, wherever it may."""

    def __init__(self, cluster, database, number, tables):
        super().__init__(daemon=True)
        self._connection = cluster.connect(database)
        self._number, self._tables, self._ended = number, tables, threading.Event()
        self.start()

    def run(self):
        n = self._number
        while not self._ended.wait(0.1):
            n += 2
            try:
                with self._connection.cursor() as cursor:
                    cursor.execute(f"update t_{n % self._tables} set c0 = coalesce(c0, 0) + 1 where id = 2")
            except Exception:  # while the other node takes the writes
                pass

    def stop(self):
        self._ended.set()
        self.join(20)
        self._connection.close()


class Watched:
    """A command and the memory of its processes."""

    def __init__(self, tool, *words):
        self._begun = time.monotonic()
        self.running = tool.start(*words)
        self._sampler = Sampler(self._processes, interval=0.02)
        self._sampler.__enter__()

    def _processes(self):
        found = {}
        for pid in children(self.running.process.pid):
            words = command(pid)
            if words and not words[0].startswith("postgres"):
                kind = "pgtandem worker" if words[1:2] == ["worker"] else words[0].rpartition("/")[2]
                found.setdefault(kind, []).append(pid)
        return found

    def seconds(self):
        return time.monotonic() - self._begun

    def end(self):
        if self.running.running:
            self.running.sigint()
            self.running.wait(120)
        self._sampler.__exit__()
        return self._sampler.peaks


def measured(report, tool, name, *words):
    watched = Watched(tool, *words)
    done = watched.running.wait(600)
    report.add(NAME, name, "pgtandem", watched.seconds())
    report.add_memory(name, "pgtandem", watched.end())
    if done.rc != DONE:
        raise RuntimeError(f"{words}: {done}")
    return done
