"""The write pause as a client sees it that writes without end, and what fails meanwhile.

Four clients write; "pgtandem switchover" and "pgtandem rollback" take turns. The figure of one
switch is the longest time between two acknowledged writes of any one client, so at 200
transactions per second 20 ms of it are the client's own rhythm. Clients either know both addresses
and change over when they are refused, or they are connected through PgBouncer. None of the peers
has such a command.
"""

import time

from lib.pgbouncer import PgBouncer

from .. import load, replicators, writers
from ..processes import Sampler
from ..rig import DB
from ..rounds import Failures

NAME = "switchover"
CLIENTS = 4
RATES = ((200, "200 tps"), (1000, "1,000 tps"), (None, "no limit"))
SETTLE = 0.5  # seconds of life between two switches


def run(rig, report):
    if rig.options.only and "pgtandem" not in rig.options.only:
        return
    (contestant,) = replicators.chosen(rig, ("pgtandem",))
    failures = Failures(report, NAME)
    rig.fresh(template(rig))
    try:
        contestant.attach()
        with Sampler(contestant.processes) as sampler:
            contestant.start()
            contestant.running.wait_for_output(r"(?i)\bin sync\b", timeout=60)
            first_client = 1
            for pooled in (False, True):
                for rate, shown in RATES:
                    way = "through PgBouncer" if pooled else "direct"
                    with failures.guard(contestant.name):
                        one(rig, report, contestant, pooled, rate, f"{way}, {shown}", first_client)
                    first_client += CLIENTS
        report.add_memory(NAME, contestant.name, sampler.peaks)
        load.catch_up(rig)
        different = rig.differences()
        if different:
            raise RuntimeError(f"after all switches these tables differ: {different}")
    finally:
        contestant.detach()


def template(rig):
    def make(database):
        load.pgbench_init(rig, database, rig.options.scale)
        rig.source.sql(database, load.HISTORY_KEY + load.MARKER + writers.TABLE)

    return rig.template(f"switch_{rig.options.scale}", make)


def one(rig, report, contestant, pooled, rate, name, first_client):
    """Forth and back in turn; an odd number of switches gets one more, so that the application
    is on the source again at the end."""
    bouncer, arguments = None, []
    addresses = [rig.source.conninfo(DB), rig.target.conninfo(DB)]
    if pooled:
        bouncer = PgBouncer({DB: (rig.source, DB)}).start()
        addresses = [bouncer.conninfo(DB)]
        arguments = ["--pgbouncer", bouncer.admin_conninfo, "--pgbouncer-ini", bouncer.ini]
    clients = writers.Writers(addresses, clients=CLIENTS, rate=rate, first_client=first_client)
    windows = []
    try:
        time.sleep(1 + SETTLE)
        began = time.monotonic()
        for number in range(rig.options.switches + rig.options.switches % 2):
            command = "rollback" if number % 2 else "switchover"
            begin = time.monotonic()
            contestant.tool.ok(command, *arguments)
            time.sleep(SETTLE)
            windows.append((begin, time.monotonic()))
        ended = time.monotonic()
        clients.stop()
    finally:
        clients.kill()
        if bouncer:
            bouncer.stop()
    for begin, end in windows:
        gap = clients.longest_gap(begin, end)
        report.add(NAME, f"longest gap, {name}", "pgtandem", gap * 1000, "ms")
        failed = clients.failed_between(begin, end)
        report.add(NAME, f"failed per switch, {name}", "pgtandem", failed, "count")
    report.add(NAME, f"rate, {name}", "pgtandem", clients.rate_between(began, ended), "tps")
    other = {state for _, state, _ in clients.failures if pooled or state != "25006"}
    if other:
        report.note(NAME, f"{name}: failures other than a closed node: {sorted(other)}.")
    there = rig.source.value(
        DB,
        "select count(*) from bench_writes where client between %s and %s",
        (first_client, first_client + CLIENTS - 1),
    )
    if there < clients.acknowledged:
        raise RuntimeError(f"{name}: {clients.acknowledged} writes acknowledged, {there} are there")
