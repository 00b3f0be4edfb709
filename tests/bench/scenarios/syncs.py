"""Many syncs in one service: 200 with ten tables each, so 2,000 tables, unless told otherwise.

How long the file takes to check, how long until every sync is in step after the first start (it puts triggers on
all tables) and after another one, what it costs while nobody writes, how long one row takes to arrive, and how
much all of them carry while every table is written to. Each sync has a process of its own, so the sum of their
private memory (Pss) is what counts, not the size of one.
"""

import os
import time

from .. import load, replicators
from ..processes import Sampler, command, children
from ..replicators.service import TandemService
from ..rounds import Failures
from . import idle, lag

NAME = "syncs"
TABLES = 10
WRITES = """\\set n random(0, {last})
update t_:n set v = v || 'x' where id = 1;
"""


class Many(TandemService):
    """The same service with many syncs; the marker of the probe is in one of its own."""

    def syncs(self):
        sections = ["[sync marker]\ntables = public.bench_marker\ndbs = src, dst\nonetimecopy = no\n"]
        for number in range(self.rig.options.syncs):
            tables = ", ".join(f"public.t_{number * TABLES + n}" for n in range(TABLES))
            sections.append(
                f"[sync s{number}]\ntables = {tables}\ndbs = src, dst\nonetimecopy = no\n"
            )
        return "\n".join(sections)


def run(rig, report):
    failures = Failures(report, NAME)
    if not replicators.chosen(rig, (TandemService.name,)):
        return
    count = rig.options.syncs * TABLES
    template = f"syncs_{count}"
    name = rig.template(template, lambda database: idle.make(rig, database, count))
    many = Many(rig)
    with failures.guard(many.name):
        rig.fresh(name)
        try:
            one(rig, report, many, count)
        finally:
            many.detach()
    rig.forget_template(template)


def one(rig, report, many, count):
    shown = f"{rig.options.syncs:,} syncs, {count:,} tables"

    def figure(what, value, unit="s"):
        report.add(NAME, f"{shown}: {what}", many.name, value, unit, reference=many.name)

    began = time.monotonic()
    many.attach()
    figure("triggers on all, first rounds, stop", time.monotonic() - began)
    began = time.monotonic()
    many.service.ok("validate", timeout=rig.options.patience)
    figure("validate", time.monotonic() - began)
    with Sampler(many.processes, interval=2) as sampler:
        began = time.monotonic()
        many.start()
        many.in_step()
        figure("start until all are in step", time.monotonic() - began)
        rig.settle()
        time.sleep(5)  # what the start has left to do
        source, own = idle.cpu(rig, many)
        time.sleep(rig.options.window)
        source_after, own_after = idle.cpu(rig, many)
        figure("CPU on the source", 1000 * (source_after - source) / rig.options.window, "ms CPU/s")
        figure("CPU of the service", 1000 * (own_after - own) / rig.options.window, "ms CPU/s")
        figure("memory of all its processes", sum(map(pss_kb, all_of(many))) / 1024, "MB")
        lags = sorted(lag.probe(rig, min(idle.ROUND_SECONDS, rig.options.window)))
        figure("one row to arrive, p50", 1000 * lags[len(lags) // 2], "ms")
        written(rig, figure, many, count)
        began = time.monotonic()
        many.stop()
        figure("stop", time.monotonic() - began)
    report.add_memory(f"{NAME}: {shown}", many.name, sampler.peaks)
    different = rig.differences()
    if different:
        raise RuntimeError(f"{len(different)} tables differ, {different[:3]} among them")


def written(rig, figure, many, count):
    """All tables are written to at 200 transactions per second."""
    script = os.path.join(many.service.directory, "writes.sql")
    with open(script, "w", encoding="ascii") as file:
        file.write(WRITES.format(last=count - 1))
    background = load.Background(rig, rate=200, seconds=rig.options.window, script=script)
    try:
        time.sleep(1)
        source, own = idle.cpu(rig, many)
        began = time.monotonic()
        lags = sorted(lag.probe(rig, max(1, rig.options.window - 3)))
        seconds = time.monotonic() - began
        source_after, own_after = idle.cpu(rig, many)
    finally:
        background.stop()
    figure("at 200 tps over all tables: CPU on the source",
           1000 * (source_after - source) / seconds, "ms CPU/s")  # fmt: skip
    figure("at 200 tps over all tables: CPU of the service",
           1000 * (own_after - own) / seconds, "ms CPU/s")  # fmt: skip
    for label, share in lag.PERCENTILES:
        figure(f"at 200 tps over all tables: one row to arrive, {label}",
               1000 * lags[min(len(lags) - 1, int(len(lags) * share))], "ms")  # fmt: skip
    began = time.monotonic()
    many.in_step()
    figure("at 200 tps over all tables: all in step after the last write", time.monotonic() - began)


def all_of(many):
    return [pid for pid in children(many.service.running.process.pid) if command(pid)]


def pss_kb(pid):
    """What is its own, and its share of what others have, too."""
    try:
        with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as file:
            return next(int(line.split()[1]) for line in file if line.startswith("Pss:"))
    except OSError:
        return 0
