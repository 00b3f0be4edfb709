"""Writers that remember every transaction, and a check that none was lost or doubled.

    with Ledger(cluster.conninfo(db), writers=4, rate=400) as ledger:
        ...switch, roll back, kill things...
        ledger.repoint(other.conninfo(db))
        ...
    counts = ledger.check(other.connect(db))

Each transaction is known by (writer, seq). It adds a row with these to the table `ledger` and, in
the same transaction, moves money between two accounts, inserts, updates, deletes or re-keys
an `item`, and counts itself in `tally`. The writers record what became of it:

    acknowledged   COMMIT returned: must be there exactly once
    ambiguous      the connection was lost during COMMIT: there once or not at all
    refused        failed before COMMIT: must not be there

check() compares that with a database and raises AssertionError with examples. As every
transaction touches every table, a half-applied one is seen too: the money is not conserved, or
the tally differs from the number of ledger rows, or an item names a transaction that is not there.

Where to connect is kept in a file that writers look at before every transaction, so that the
program under test can repoint them: give it switch_command(conninfo) as --on-switch.
"""

import os
import random
import shlex
import socket
import tempfile
import threading
import time
from collections import Counter
from typing import NamedTuple

import psycopg2
import psycopg2.extensions

from . import place

ACCOUNTS = 100
START_BALANCE = 1000
TALLIES = 10

# Errors that end the connection: a COMMIT that fails with one of these may have happened.
CONNECTION_LOST = ("08", "57P")


class Attempt(NamedTuple):
    writer: int
    seq: int
    started: float  # time.monotonic()
    ended: float
    sqlstate: str  # "" when acknowledged, "lost" when the server could not say one
    message: str = ""


def _sqlstate(error):
    return getattr(error, "pgcode", None) or "lost"


class Ledger:
    def __init__(self, conninfo, *, writers=4, rate=200, schema="ledger", seed=1):
        """`rate` is in transactions per second of all writers together; None: no limit."""
        self.schema = schema
        self.writers = writers
        self.rate = rate
        self.acknowledged = []
        self.ambiguous = []
        self.refused = []
        self._seed = seed
        self._threads = []
        self._connections = {}
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._go = threading.Event()
        self._go.set()
        self._next_seq = [1] * writers
        handle, self.conninfo_file = tempfile.mkstemp(prefix="ledger", dir=place.base())
        os.close(handle)
        self.repoint(conninfo)

    # The tables

    def create_schema(self, connection=None):
        """Makes the tables and fills accounts and tallies."""
        own = connection is None
        connection = connection or psycopg2.connect(self.conninfo)
        with connection, connection.cursor() as cursor:
            cursor.execute(
                f"""
                create schema {self.schema};
                set local search_path = {self.schema};
                create table ledger (
                    id bigserial primary key,
                    writer int not null,
                    seq int not null,
                    note text
                );
                create index on ledger (writer, seq);
                create table account (
                    id int primary key,
                    balance bigint not null,
                    changed timestamptz not null default now()
                );
                insert into account (id, balance)
                    select i, {START_BALANCE} from generate_series(1, {ACCOUNTS}) i;
                create table item (
                    kind text,
                    num int,
                    writer int not null,
                    seq int not null,
                    body text,
                    primary key (kind, num)
                );
                create table tally (name text primary key, n bigint not null);
                insert into tally select 'tally ' || i, 0 from generate_series(1, {TALLIES}) i;
                """
            )
        if own:
            connection.close()
        return self

    # Starting and steering

    @property
    def conninfo(self):
        with open(self.conninfo_file, encoding="utf-8") as file:
            return file.read().strip()

    def repoint(self, conninfo):
        """Writers use it from their next transaction on; none is torn out of a running one."""
        temporary = self.conninfo_file + ".new"
        with open(temporary, "w", encoding="utf-8") as file:
            file.write(conninfo + "\n")
        os.rename(temporary, self.conninfo_file)

    def switch_command(self, conninfo):
        """A shell command that does the same from outside."""
        file = shlex.quote(self.conninfo_file)
        return f"echo {shlex.quote(conninfo)} > {file}.cmd && mv {file}.cmd {file}"

    def start(self):
        assert not self._threads
        self._stop.clear()
        for number in range(self.writers):
            thread = threading.Thread(target=self._write, args=(number,), daemon=True)
            thread.start()
            self._threads.append(thread)
        return self

    def pause(self):
        """No new transactions; returns when the open ones have ended."""
        with self._lock:  # a writer looks at it and begins under the same lock
            self._go.clear()
            states = list(self._connections.values())
        for state in states:
            state.idle.wait(30)

    def resume(self):
        self._go.set()

    def stop(self, timeout=20):
        """Ends the writers. One that hangs (in a lock, or on a dead network) is torn away after
        `timeout`, and its transaction recorded as what the writer then makes of it."""
        self._stop.set()
        self._go.set()
        deadline = time.monotonic() + timeout
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        for state in list(self._connections.values()):
            state.tear()
        for thread in self._threads:
            thread.join(10)
        hanging = [thread for thread in self._threads if thread.is_alive()]
        self._threads = []
        assert not hanging, f"{len(hanging)} writers do not end"
        return self

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.stop()

    def wait_for(self, more, timeout=30):
        """Waits until that many more transactions have been acknowledged."""
        wanted = len(self.acknowledged) + more
        deadline = time.monotonic() + timeout
        while len(self.acknowledged) < wanted:
            if time.monotonic() > deadline:
                raise TimeoutError(
                    f"the writers did only {len(self.acknowledged) - wanted + more} of {more} "
                    f"transactions in {timeout} s; refused: {self.refusals()}"
                )
            time.sleep(0.01)
        return self

    # One writer

    class _State:
        """A writer's connection, as far as others have to know it."""

        def __init__(self):
            self.connection = None
            self.conninfo = None
            self.idle = threading.Event()
            self.idle.set()

        def drop(self):
            if self.connection is not None:
                try:
                    self.connection.close()
                except psycopg2.Error:
                    pass
            self.connection = None

        def tear(self):
            connection = self.connection
            if connection is None or connection.closed:
                return
            try:
                with socket.socket(fileno=os.dup(connection.fileno())) as wire:
                    wire.shutdown(socket.SHUT_RDWR)
            except (OSError, psycopg2.Error):
                pass

    def _write(self, number):
        state = self._State()
        with self._lock:
            self._connections[number] = state
        chance = random.Random(self._seed * 1000 + number)
        every = self.writers / self.rate if self.rate else 0.0
        due = time.monotonic() + chance.random() * every
        while not self._stop.is_set():
            if not self._go.is_set():
                state.idle.set()
                self._go.wait()
                continue
            if every:
                wait = due - time.monotonic()
                if wait > 0:
                    self._stop.wait(wait)
                    if self._stop.is_set():
                        break
                # After a stall the lost time is not made up for.
                due = max(due + every, time.monotonic() - every)
            with self._lock:
                if not self._go.is_set():
                    continue
                state.idle.clear()
            self._one_transaction(number, state, chance)
            state.idle.set()
        state.idle.set()
        state.drop()

    def _one_transaction(self, number, state, chance):
        seq = self._next_seq[number]
        self._next_seq[number] += 1
        started = time.monotonic()
        record, error = self.refused, None
        try:
            conninfo = self.conninfo
            if state.connection is None or state.conninfo != conninfo:
                state.drop()
                state.connection = psycopg2.connect(
                    conninfo, connect_timeout=5, application_name=f"ledger {number}"
                )
                state.conninfo = conninfo
            with state.connection.cursor() as cursor:
                self._statements(cursor, number, seq, chance)
            record = self.ambiguous  # until COMMIT says something else
            state.connection.commit()
            record = self.acknowledged
        except psycopg2.Error as caught:
            error = caught
            if record is self.ambiguous and error.pgcode is not None:
                if not error.pgcode.startswith(CONNECTION_LOST):
                    record = self.refused
        attempt = Attempt(
            number,
            seq,
            started,
            time.monotonic(),
            _sqlstate(error) if error else "",
            str(error).strip() if error else "",
        )
        with self._lock:
            record.append(attempt)
        if error is not None:
            self._after_error(state)

    def _after_error(self, state):
        try:
            if state.connection is not None and not state.connection.closed:
                state.connection.rollback()
        except psycopg2.Error:
            pass
        # A new connection even where the old one would do: the error may say that this server
        # is the wrong one now, as an application's connection pool would take it.
        state.drop()
        self._stop.wait(0.02)

    def _statements(self, cursor, number, seq, chance):
        schema = self.schema
        cursor.execute(
            f"insert into {schema}.ledger (writer, seq, note) values (%s, %s, %s)",
            (number, seq, f"written by {number} as no. {seq}"),
        )
        # The smaller account first, so that writers cannot deadlock.
        one, other = sorted(chance.sample(range(1, ACCOUNTS + 1), 2))
        amount = chance.randint(-50, 50)
        for account, change in ((one, amount), (other, -amount)):
            cursor.execute(
                f"update {schema}.account set balance = balance + %s, changed = now()"
                " where id = %s",
                (change, account),
            )
        kind = f"kind {number}"
        kinds_of_change = (self._item_new, self._item_change, self._item_key, self._item_gone)
        kinds_of_change[seq % 4](cursor, kind, number, seq, chance)
        name = f"tally {chance.randint(1, TALLIES)}"
        if cursor.connection.server_version >= 90500:
            cursor.execute(
                f"insert into {schema}.tally as t (name, n) values (%s, 1)"
                " on conflict (name) do update set n = t.n + 1",
                (name,),
            )
        else:
            cursor.execute(f"update {schema}.tally set n = n + 1 where name = %s", (name,))

    # The four things that can happen to an item. Each writer has its own kind.

    def _item_new(self, cursor, kind, number, seq, chance):
        cursor.execute(
            f"insert into {self.schema}.item values (%s, %s, %s, %s, %s)",
            (kind, seq, number, seq, "x" * chance.randint(0, 200)),
        )

    def _item_change(self, cursor, kind, number, seq, chance):
        cursor.execute(
            f"update {self.schema}.item set seq = %s, body = %s where kind = %s and num = %s",
            (seq, "y" * chance.randint(0, 200), kind, seq - 1),
        )

    def _item_key(self, cursor, kind, number, seq, chance):
        cursor.execute(
            f"update {self.schema}.item set seq = %s, num = -num where kind = %s and num = %s",
            (seq, kind, seq - 2),
        )

    def _item_gone(self, cursor, kind, number, seq, chance):
        cursor.execute(
            f"delete from {self.schema}.item where kind = %s and num = %s",
            (kind, -(seq - 3) if chance.random() < 0.5 else -(seq - 7)),
        )

    # What happened

    def refusals(self):
        """How many were refused by which SQLSTATE ("lost": no connection)."""
        with self._lock:
            return dict(Counter(attempt.sqlstate for attempt in self.refused))

    def ambiguities(self):
        """The same for those whose COMMIT got no answer."""
        with self._lock:
            return dict(Counter(attempt.sqlstate for attempt in self.ambiguous))

    def _times(self, between):
        with self._lock:
            attempts = list(self.acknowledged)
        start, end = between or (float("-inf"), float("inf"))
        return [(a.started, a.ended) for a in attempts if start <= a.ended <= end]

    def longest_gap_ms(self, between=None):
        """The longest time in which no transaction of any writer was acknowledged.

        `between` is a pair of time.monotonic(); without it the whole run counts.
        """
        times = sorted(ended for _, ended in self._times(between))
        if between:
            times = [between[0], *times, between[1]]
        gaps = [later - earlier for earlier, later in zip(times, times[1:])]
        return max(gaps, default=0.0) * 1000

    def longest_latency_ms(self, between=None):
        """The longest that one acknowledged transaction took, from its begin to its answer."""
        return max((end - start for start, end in self._times(between)), default=0.0) * 1000

    def check(self, connection):
        """Asserts that the database holds what the writers were told; returns counts."""
        assert not self._threads, "stop the writers first"
        schema = self.schema
        with connection.cursor() as cursor:

            def rows(query):
                cursor.execute(query)
                return cursor.fetchall()

            found = {
                (writer, seq): count
                for writer, seq, count in rows(
                    f"select writer, seq, count(*) from {schema}.ledger group by 1, 2"
                )
            }
            balance, accounts = rows(f"select sum(balance), count(*) from {schema}.account")[0]
            tally = rows(f"select sum(n) from {schema}.tally")[0][0]
            orphans = rows(
                f"select i.kind, i.num, i.seq from {schema}.item i where not exists"
                f" (select 1 from {schema}.ledger l where l.writer = i.writer and l.seq = i.seq)"
            )
        if not connection.autocommit:
            connection.rollback()

        problems = []

        def report(what, keys):
            keys = sorted(keys)
            if keys:
                examples = ", ".join(f"{writer}/{seq}" for writer, seq in keys[:5])
                problems.append(f"{len(keys)} {what}, e.g. writer/seq {examples}")

        acknowledged = {(a.writer, a.seq) for a in self.acknowledged}
        ambiguous = {(a.writer, a.seq) for a in self.ambiguous}
        refused = {(a.writer, a.seq) for a in self.refused}
        present = set(found)
        report("acknowledged transactions are lost", acknowledged - present)
        report("transactions are there more than once", {k for k, n in found.items() if n > 1})
        report("refused transactions are there", refused & present)
        report("transactions are there that no writer made",
               present - acknowledged - ambiguous - refused)
        if accounts != ACCOUNTS or balance != ACCOUNTS * START_BALANCE:
            problems.append(
                f"{accounts} accounts hold {balance}, not {ACCOUNTS} x {START_BALANCE}"
            )
        if tally != len(found):
            problems.append(f"the tally is {tally} after {len(found)} transactions")
        if orphans:
            problems.append(
                f"{len(orphans)} items written by transactions that are not there: {orphans[:5]}"
            )
        assert not problems, "ledger check failed:\n  " + "\n  ".join(problems)
        return {
            "rows": sum(found.values()),
            "acknowledged": len(acknowledged),
            "ambiguous": len(ambiguous),
            "ambiguous_done": len(ambiguous & present),
            "refused": len(refused),
        }
