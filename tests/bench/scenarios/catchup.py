"""How long it takes until the copy has everything that was written while the consumer was down.

Each contestant records its own backlog once, with nobody else capturing; the state of both
servers is then saved and put back for every round, so all rounds of a contestant have the same
work. The time runs from the command that starts the consumer until the target shows the row that
was written last. Afterwards all rows of all tables are compared; the copy counts only if it is
equal.

The first backlog is of pgbench, where many transactions change the same rows. Two larger
ones are of updates that touch each row once, so that nothing collapses: they show how time and
memory grow. The last is of a few very wide rows.
"""

import time
from contextlib import contextmanager

from .. import load, replicators
from ..processes import Sampler
from ..rig import DB
from ..rounds import Failures, alternating

NAME = "catchup"
WANTED = ("pgtandem", "Bucardo", "native")

# Bucardo keeps all keys of a round in memory and needs minutes for the larger backlogs.
BUCARDO_DELTAS = 2_000_000
PIECE = 100_000
WIDE_ROWS = 6
MOST_ROUNDS = 2


def run(rig, report):
    transactions = rig.options.transactions
    name = f"catch-up after {transactions // 1000}k transactions"
    template = load.tpcb(rig, rig.options.scale, keyed=True)
    contestants = replicators.chosen(rig, WANTED)
    rounds = min(MOST_ROUNDS, rig.options.rounds)
    measure(rig, report, contestants, template, name, rounds,
            lambda: write_tpcb(rig, transactions), plain_sql)  # fmt: skip
    for deltas in rig.options.deltas:
        name = f"catch-up after {deltas // 1000}k rows changed once"
        some = [c for c in contestants if c.name != "Bucardo" or deltas <= BUCARDO_DELTAS]
        template = wide(rig, deltas)
        measure(rig, report, some, template, name, 1, lambda n=deltas: update_once(rig, n))
        rig.forget_template(f"wide_{deltas}")
    size = rig.options.wide_mb
    name = f"catch-up after {WIDE_ROWS} rows of {size} MB"
    measure(rig, report, contestants, blobs(rig), name, 1, lambda: write_blobs(rig, size))
    rig.forget_template("blobs")


def measure(rig, report, contestants, template, name, rounds, write, limit=None):
    failures = Failures(report, NAME)
    for contestant in contestants:
        with failures.guard(contestant.name):
            began = time.monotonic()
            rig.fresh(template)
            try:
                contestant.attach()
                write()
                contestant.number = load.Marker(rig).write()
                rig.save(contestant.name, contestant.more_clusters)
            finally:
                contestant.detach()
            report.say(f"  {contestant.name}: backlog written in {time.monotonic() - began:.0f} s")
    for _, contestant in alternating(contestants, rounds):
        if failures.has(contestant.name):
            continue
        with failures.guard(contestant.name), restored(rig, contestant):
            one(rig, report, contestant, name)
    # From the state of native replication, which has put nothing of its own into the databases.
    for contestant in contestants:
        if limit and contestant.name == "native" and not failures.has(contestant.name):
            with failures.guard("limit"), restored(rig, contestant):
                limit(rig, report, contestant, name)
    for contestant in contestants:
        rig.forget(contestant.name)


@contextmanager
def restored(rig, contestant):
    """The servers as they were when the contestant's backlog was written."""
    rig.restore(contestant.name)
    try:
        yield
    finally:
        contestant.detach()


def one(rig, report, contestant, name):
    # Both databases are in memory for everybody.
    wanted = rig.digest(rig.source)
    rig.digest(rig.target)
    with Sampler(contestant.processes) as sampler:
        began = time.monotonic()
        contestant.start()
        arrived = load.Marker(rig).wait(contestant.number, rig.options.patience)
        different = rig.differences(wanted)
        if different:
            raise RuntimeError(f"the last row is there, but these tables differ: {different}")
    report.add(NAME, name, contestant.name, arrived - began)
    report.add_memory(f"{NAME}: {name}", contestant.name, sampler.peaks)


def write_tpcb(rig, transactions):
    """TPC-B of 4 clients; -M prepared only so that writing the backlog is over sooner."""
    load.pgbench(rig, "-c", 4, "-j", 2, "-M", "prepared", "-t", transactions // 4)


def wide(rig, deltas):
    """A table of that many rows, as wide as pgbench's accounts."""

    def make(database):
        rig.source.sql(
            database,
            "create table wide (id int primary key, a int not null, filler char(84));"
            f" insert into wide select i, 0, '' from generate_series(1, {deltas}) i;" + load.MARKER,
        )

    return rig.template(f"wide_{deltas}", make)


def update_once(rig, deltas):
    connection = rig.source.connect(DB)
    with connection.cursor() as cursor:
        for first in range(1, deltas + 1, PIECE):
            cursor.execute(
                "update wide set a = a + 1 where id between %s and %s", (first, first + PIECE - 1)
            )
    connection.close()


def blobs(rig):
    def make(database):
        rig.source.sql(
            database,
            "create table blobs (id int primary key, body bytea not null);"
            " alter table blobs alter body set storage external;" + load.MARKER,
        )

    return rig.template("blobs", make)


def write_blobs(rig, size):
    body = "decode(repeat(md5(i::text), %s), 'hex')"
    rig.source.sql(
        DB, f"insert into blobs select i, {body} from generate_series(1, %s) i",
        (size * 1024 * 1024 // 16, WIDE_ROWS),
    )  # fmt: skip


def plain_sql(rig, report, contestant, name):
    """The least work that any state-based replicator has: the changed rows, each once, by plain
    SQL over one connection. Not a contestant: it knows which rows those are."""
    wanted = rig.digest(rig.source)
    rig.digest(rig.target)
    began = time.monotonic()
    for table, columns, where in CHANGED:
        move(rig, table, columns, where)
    rig.target.sql(DB, "update bench_marker set n = %s", (contestant.number,))
    seconds = time.monotonic() - began
    different = rig.differences(wanted)
    if different:
        raise RuntimeError(f"after plain SQL these tables differ: {different}")
    report.add(NAME, name, "limit: plain SQL", seconds)


CHANGED = (
    # pgbench begins with 0; an account that came back to it is the same on both sides anyway.
    ("pgbench_accounts", "aid, abalance", "abalance <> 0"),
    ("pgbench_tellers", "tid, tbalance", "true"),
    ("pgbench_branches", "bid, bbalance", "true"),
    ("pgbench_history", "*", "true"),
)


def move(rig, table, columns, where):
    """COPY of the changed rows into a temporary table, and one statement that applies them."""
    copy = f"\\copy (select {columns} from {table} where {where}) to stdout"
    if columns == "*":
        apply = f"\\copy {table} from stdin"
        commands = ["-c", apply]
    else:
        key, value = columns.split(", ")
        commands = [
            "-c", f"create temporary table moved as select {columns} from {table} limit 0",
            "-c", "\\copy moved from stdin",
            "-c", f"update {table} t set {value} = m.{value} from moved m where t.{key} = m.{key}",
        ]  # fmt: skip
    psql = [rig.program("psql"), "-Xq", "-v", "ON_ERROR_STOP=1", "-d"]
    rig.pipe([*psql, rig.source.conninfo(DB), "-c", copy],
             [*psql, rig.target.conninfo(DB), *commands])  # fmt: skip
