"""Clients that write without end, each a process of its own, and what they have seen.

    writers = Writers([old, new], clients=4, rate=200)     addresses; the first one is written to
    ...
    writers.stop()
    writers.longest_gap(begin, end)      seconds between two acknowledged writes of one client
    writers.acknowledged, writers.failed

A client that is refused because its node does not take writes (SQLSTATE 25006) goes to the next
address, as an application would that knows both; that transaction counts as failed, and is
tried again. Behind a pooler there is one address, and nothing should fail.
"""

import array
import bisect
import json
import os
import signal
import subprocess
import sys
import time

import psycopg2

from lib import place

TABLE = "create table bench_writes (client int, seq bigint, primary key (client, seq));"
# An update and an insert in one statement, so that a transaction is one round trip for everybody.
STATEMENT = """
    with moved as (update pgbench_accounts set abalance = abalance + 1 where aid = %s)
    insert into bench_writes values (%s, %s)
"""
ACCOUNTS = 100_000


class Writers:
    def __init__(self, addresses, *, clients=4, rate=None, first_client=1):
        self._files, self._processes = [], []
        directory = place.new_dir("writers")
        os.chmod(directory, 0o777)
        for client in range(first_client, first_client + clients):
            file = os.path.join(directory, str(client))
            self._files.append(file)
            own_rate = rate / clients if rate else 0
            self._processes.append(
                subprocess.Popen(
                    [sys.executable, "-B", "-m", "bench.writers", file, str(client), str(own_rate),
                     *addresses],
                    start_new_session=True,  # a Ctrl-C is meant for us, who stop them
                )
            )  # fmt: skip
        self._times = []
        self.acknowledged = 0
        self.failures = []

    def stop(self):
        for process in self._processes:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for process, file in zip(self._processes, self._files):
            if process.wait(60) != 0:
                raise RuntimeError(f"a writer ended with {process.returncode}")
            with open(file + ".json", encoding="utf-8") as result:
                self.failures += json.load(result)
            times = array.array("d")
            with open(file, "rb") as result:
                times.frombytes(result.read())
            self._times.append(times)
            self.acknowledged += len(times)
        self._processes = []

    def kill(self):
        for process in self._processes:
            process.kill()
            process.wait()

    @property
    def failed(self):
        return len(self.failures)

    def failed_between(self, begin, end):
        return sum(1 for moment, _, _ in self.failures if begin <= moment <= end)

    def longest_gap(self, begin, end):
        """The worst of all clients; the gap must have ended in that time."""
        worst = 0.0
        for times in self._times:
            first = max(1, bisect.bisect_left(times, begin))
            last = bisect.bisect_right(times, end)
            for i in range(first, last):
                worst = max(worst, times[i] - times[i - 1])
        return worst

    def rate_between(self, begin, end):
        count = sum(
            bisect.bisect_right(times, end) - bisect.bisect_left(times, begin)
            for times in self._times
        )
        return count / (end - begin)


# What follows is one client.


def write(file, client, rate, addresses):
    stopped = []
    signal.signal(signal.SIGTERM, lambda *_: stopped.append(True))
    times, failures = array.array("d"), []
    where, connection, seq = 0, None, 0
    interval = 1 / rate if rate else 0
    due = time.monotonic()
    parent = os.getppid()
    while not stopped and os.getppid() == parent:
        if interval:
            due += interval
            wait = due - time.monotonic()
            if wait > 0:
                time.sleep(wait)
            else:
                due = time.monotonic()  # what was missed is not made up for in a burst
        seq += 1
        while not stopped and os.getppid() == parent:
            try:
                if connection is None:
                    connection = psycopg2.connect(addresses[where])
                    connection.autocommit = True
                with connection.cursor() as cursor:
                    cursor.execute(STATEMENT, (1 + (seq * 7919 + client) % ACCOUNTS, client, seq))
                times.append(time.monotonic())
                break
            except psycopg2.Error as error:
                if error.pgcode == "23505" and failures:
                    times.append(time.monotonic())  # its answer was lost, it had been done
                    break
                failures.append((time.monotonic(), error.pgcode or "lost", str(error).strip()))
                if error.pgcode == "25006" and len(addresses) > 1:
                    where = (where + 1) % len(addresses)
                    connection.close()
                    connection = None
                elif connection is not None and connection.closed:
                    connection = None
                time.sleep(0.001)
    with open(file, "wb") as result:
        times.tofile(result)
    with open(file + ".json", "w", encoding="utf-8") as result:
        json.dump(failures, result)


if __name__ == "__main__":
    write(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), sys.argv[4:])
