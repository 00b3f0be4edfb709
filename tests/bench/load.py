"""What writes: pgbench, statements that touch many rows, and the marker that is written last."""

import re
import subprocess
import time

from lib import place
from lib.wait import poll_until

from .rig import DB

MARKER = (
    "create table bench_marker (id int primary key, n bigint not null);"
    " insert into bench_marker values (1, 0);"
)
HISTORY_KEY = "alter table pgbench_history add column id bigserial primary key;"


# Templates


def tpcb(rig, scale, keyed):
    """pgbench's tables; `keyed` gives pgbench_history a key, which Bucardo cannot do without."""

    def make(database):
        pgbench_init(rig, database, scale)
        if keyed:
            rig.source.sql(database, HISTORY_KEY)
        rig.source.sql(
            database,
            "create table bulk (id int primary key, a int not null, b text not null);" + MARKER,
        )

    return rig.template(f"tpcb_{scale}_{'keyed' if keyed else 'stock'}", make)


def pgbench_init(rig, database, scale):
    subprocess.run(
        [rig.program("pgbench"), "-i", "-q", "-I", "dtgp", "-s", str(scale), "-d",
         rig.source.conninfo(database)],
        check=True, capture_output=True,
    )  # fmt: skip


# Loads


def pgbench(rig, *arguments, conninfo=None, timeout=3600, keep_going=False):
    """Runs it on the source; returns {"tps", "transactions", "failed"}."""
    done = subprocess.run(
        [rig.program("pgbench"), "-n", *map(str, arguments), conninfo or rig.source.conninfo(DB)],
        capture_output=True, text=True, timeout=timeout, cwd=place.base(),
    )  # fmt: skip
    if done.returncode != 0 and not keep_going:
        raise RuntimeError(f"pgbench {arguments}:\n{done.stdout}{done.stderr}")
    return parse_pgbench(done.stdout)


def parse_pgbench(text):
    def number(pattern):
        found = re.search(pattern, text)
        return float(found.group(1)) if found else 0.0

    return {
        "tps": number(r"tps = ([\d.]+)"),
        "transactions": int(number(r"transactions actually processed: (\d+)")),
        "failed": int(number(r"number of failed transactions: (\d+)")),
    }


class Background:
    """pgbench that runs beside what is measured: Background(rig, rate=500), then stop(). `script`: the name of a
    file instead of TPC-B."""

    def __init__(self, rig, *, rate=None, clients=4, seconds=3600, script=None):
        limit = ["-R", str(rate)] if rate else []
        # names of tables can be variables in simple mode only
        what = ["-M", "simple", "-f", script] if script else ["-M", "prepared"]
        self._process = subprocess.Popen(
            [rig.program("pgbench"), "-n", "-c", str(clients), "-j", "2", *what,
             "-T", str(seconds), *limit, rig.source.conninfo(DB)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=place.base(),
        )  # fmt: skip

    def stop(self):
        if self._process.poll() is None:
            self._process.terminate()
        self._process.communicate()

    def result(self):
        out, err = self._process.communicate()
        if self._process.returncode != 0:
            raise RuntimeError(f"pgbench:\n{out}{err}")
        return parse_pgbench(out)


def timed_sql(cluster, statement):
    """Seconds that one statement takes, in a connection of its own."""
    connection = cluster.connect(DB)
    try:
        with connection.cursor() as cursor:
            began = time.monotonic()
            cursor.execute(statement)
            return time.monotonic() - began
    finally:
        connection.close()


# The end of a backlog


class Marker:
    """A row that is written last; when the target shows it, everything before should be there."""

    def __init__(self, rig):
        self.rig = rig

    def write(self):
        """Returns the number that wait() waits for."""
        return self.rig.source.value(
            DB, "update bench_marker set n = n + 1 where id = 1 returning n"
        )

    def wait(self, number, timeout):
        """Returns when the target has it: time.monotonic() of that moment."""
        connection = self.rig.target.connect(DB)
        seen = [0.0]

        def there():
            with connection.cursor() as cursor:
                cursor.execute("select n from bench_marker where id = 1")
                row = cursor.fetchone()
            seen[0] = time.monotonic()
            return row is not None and row[0] >= number

        try:
            poll_until(there, timeout, "the last change on the target", interval=0.02)
        finally:
            connection.close()
        return seen[0]


def catch_up(rig, timeout=600):
    """Waits until the target has everything that is on the source now."""
    marker = Marker(rig)
    marker.wait(marker.write(), timeout)
