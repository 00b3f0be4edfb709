"""What capture costs the application: pgbench's TPC-B, statements of many rows, WAL.

In the first part the consumers are stopped, so that the cost of capture alone is seen; then TPC-B
runs once more while the consumers work, as in daily life. That is also where the recorded changes
could pile up: the size of the contestant's own tables is taken at the end, when it has caught up,
and in between.

pgbench_history has no key. As it is, Bucardo does not capture it at all, and pgtandem notes
only that it has changed. So TPC-B is measured in two forms: the table as it is, and with a key,
where everybody captures every row of it.
"""

import threading

from .. import load, replicators
from ..rig import DB
from ..rounds import Failures, alternating

NAME = "capture"
WANTED = ("uncaptured", "pgtandem", "Bucardo")


def run(rig, report):
    contestants = replicators.chosen(rig, WANTED)
    failures = Failures(report, NAME)
    for keyed in (False, True):
        load.tpcb(rig, rig.options.scale, keyed)
    for _, contestant in alternating(contestants, rig.options.rounds):
        for keyed in (False, True):
            if failures.has(contestant.name):
                continue
            with failures.guard(contestant.name):
                try:
                    one(rig, report, contestant, keyed)
                finally:
                    contestant.detach()


def one(rig, report, contestant, keyed):
    rig.fresh(load.tpcb(rig, rig.options.scale, keyed))
    contestant.attach()
    what = "with" if keyed else "without"
    tpcb(rig, report, contestant, f"TPC-B, history {what} a key")
    if not keyed:
        return
    bulk(rig, report, contestant)
    contestant.start()
    if contestant.name != "uncaptured":
        load.catch_up(rig, rig.options.patience)
    name = "TPC-B, consumer running"
    if contestant.name == "uncaptured":
        tpcb(rig, report, contestant, name, with_wal=False)
        return
    with Bloat(rig, contestant.schema) as bloat:
        tpcb(rig, report, contestant, name, with_wal=False, seconds=rig.options.load)
        load.catch_up(rig, rig.options.patience)
    report.add(NAME, "its tables on the source, peak", contestant.name, bloat.peak, "MB", "pgtandem")
    report.add(NAME, "its tables on the source, end", contestant.name, bloat.now(), "MB", "pgtandem")


class Bloat:
    """The size of all tables of a schema on the source, looked at every second."""

    def __init__(self, rig, schema):
        self._connection = rig.source.connect(DB)
        self._schema = schema
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.peak = 0.0

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._ended.set()
        self._thread.join()

    def _run(self):
        while not self._ended.wait(1):
            self.peak = max(self.peak, self.now())

    def now(self):
        with self._connection.cursor() as cursor:
            cursor.execute(
                "select coalesce(sum(pg_total_relation_size(oid)), 0) / 1048576.0 from pg_class"
                " where relkind = 'r' and relnamespace = %s::regnamespace",
                (self._schema,),
            )
            return float(cursor.fetchone()[0])


def tpcb(rig, report, contestant, name, with_wal=True, seconds=None):
    rig.settle()
    before = rig.wal_position()
    result = load.pgbench(rig, "-c", 4, "-j", 2, "-T", seconds or rig.options.seconds)
    written = rig.wal_position() - before
    report.add(NAME, name, contestant.name, result["tps"], "tps", "uncaptured")
    if with_wal:
        # Full pages after a checkpoint weigh on everybody alike.
        per_transaction = written / max(1, result["transactions"])
        report.add(
            NAME, f"WAL per transaction: {name}", contestant.name, per_transaction, "bytes",
            "uncaptured",
        )  # fmt: skip


def bulk(rig, report, contestant):
    rows = rig.options.bulk_rows
    shown = f"{rows // 1000}k"
    numbers = f"generate_series(1, {rows}) i"
    for name, statement in (
        ("INSERT", f"insert into bulk select i, i, repeat('x', 60) from {numbers}"),
        ("UPDATE", "update bulk set a = a + 1"),
        ("DELETE", "delete from bulk"),
    ):
        rig.settle()
        before = rig.wal_position()
        seconds = load.timed_sql(rig.source, statement)
        written = rig.wal_position() - before
        name = f"one {name} of {shown} rows"
        report.add(NAME, name, contestant.name, seconds, "s", "uncaptured")
        report.add(
            NAME, f"WAL per row: {name}", contestant.name, written / rows, "bytes", "uncaptured"
        )
    rig.source.sql(DB, "vacuum bulk")
