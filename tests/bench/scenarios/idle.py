"""What it costs when nothing changes, and how long a small change takes among many tables.

CPU time is that of all processes of the source server, and of the consumer itself, over a window
in which nobody writes, in milliseconds per second. A server that does nothing uses some, too: "uncaptured".
Then one row of one table is updated now and then, and the time is taken until the target shows it.
"""

import time

from .. import load, replicators
from ..processes import Sampler, cpu_seconds, tree_cpu_seconds
from ..rounds import Failures
from . import lag

NAME = "idle"
WANTED = ("uncaptured", "pgtandem", "pgtandem service", "Bucardo", "native")
ROUND_SECONDS = 5


def run(rig, report):
    failures = Failures(report, NAME)
    for count in rig.options.tables:
        template = f"idle_{count}"
        template_name = rig.template(template, lambda database, n=count: make(rig, database, n))
        for contestant in replicators.chosen(rig, WANTED):
            if failures.has(contestant.name):
                report.note(NAME, f"{contestant.name} with {count:,} tables: left out.")
                continue
            with failures.guard(contestant.name):
                rig.fresh(template_name)
                try:
                    one(rig, report, contestant, count)
                finally:
                    contestant.detach()
        rig.forget_template(template)


def make(rig, database, count):
    connection = rig.source.connect(database)
    with connection.cursor() as cursor:
        for first in range(0, count, 100):
            cursor.execute(
                "".join(
                    f"create table t_{number} (id int primary key, v text);"
                    f"insert into t_{number} values (1, 'one'), (2, 'two');"
                    for number in range(first, min(first + 100, count))
                )
            )
        cursor.execute(load.MARKER)
    connection.close()


def one(rig, report, contestant, count):
    shown = f"{count:,} tables"
    began = time.monotonic()
    contestant.attach()
    ready = time.monotonic() - began
    replicating = contestant.name != "uncaptured"
    if replicating:
        report.add(NAME, f"{shown}: setting up", contestant.name, ready)
    with Sampler(contestant.processes, interval=1) as sampler:
        contestant.start()
        if replicating:
            load.catch_up(rig, rig.options.patience)
        rig.settle()
        time.sleep(3)  # what the start has left to do
        source, tool = cpu(rig, contestant)
        time.sleep(rig.options.window)
        source_after, tool_after = cpu(rig, contestant)
        report.add(NAME, f"{shown}: CPU on the source", contestant.name,
                   1000 * (source_after - source) / rig.options.window, "ms CPU/s")  # fmt: skip
        if replicating:
            if tool is not None:
                report.add(NAME, f"{shown}: CPU of the program", contestant.name,
                           1000 * (tool_after - tool) / rig.options.window, "ms CPU/s")  # fmt: skip
            lags = sorted(lag.probe(rig, min(ROUND_SECONDS, rig.options.window)))
            report.add(NAME, f"{shown}: one row to arrive, p50", contestant.name,
                       1000 * lags[len(lags) // 2], "ms")  # fmt: skip
    report.add_memory(f"{NAME}: {shown}", contestant.name, sampler.peaks)


def cpu(rig, contestant):
    """(seconds of the source server, seconds of the contestant's own programs or None)"""
    pids = [
        pid
        for kind, some in contestant.processes().items()
        if not kind.startswith("server")
        for pid in some
    ]
    own = sum(cpu_seconds(pid, with_ended_children=True) for pid in pids) if pids else None
    return tree_cpu_seconds(rig.source.pid), own
