"""From the moment when a commit is acknowledged on the source until the target shows it.

A probe updates one row of a table of its own, and looks for it on the target every half
millisecond; the same for everybody. It does so on an idle database, beside pgbench at 500
transactions per second, and at 80 % of the highest rate that the source reaches while pgtandem
captures and follows. The others get that same rate. One that cannot keep up with it at all shows
the lag that has grown until the end of the run.
"""

import time

from .. import load, replicators
from ..processes import Sampler
from ..rig import DB
from ..rounds import Failures, alternating

NAME = "lag"
WANTED = ("pgtandem", "pgtandem service", "Bucardo", "native")
SHARE = 0.8
LOOK = 0.0005
# Seconds between two probes; not a divisor of anybody's interval.
PAUSE = 0.0137
PERCENTILES = (("p50", 0.50), ("p95", 0.95), ("p99", 0.99), ("max", 1.0))


def run(rig, report):
    contestants = replicators.chosen(rig, WANTED)
    failures = Failures(report, NAME)
    template = load.tpcb(rig, rig.options.scale, keyed=True)
    highest = None
    for _, contestant in alternating(contestants, min(2, rig.options.rounds)):
        if failures.has(contestant.name):
            continue
        with failures.guard(contestant.name):
            rig.fresh(template)
            try:
                contestant.attach()
                with Sampler(contestant.processes) as sampler:
                    contestant.start()
                    load.catch_up(rig, rig.options.patience)
                    look(rig, report, contestant, "idle", None)
                    look(rig, report, contestant, "at 500 tps", 500)
                    if highest is None:
                        highest = highest_rate(rig)
                        load.catch_up(rig, rig.options.patience)
                        report.note(
                            NAME,
                            f"Highest rate with {contestant.name} following: {highest:,.0f} tps;"
                            f" 80 % of it are {highest * SHARE:,.0f} tps.",
                        )
                    look(rig, report, contestant, "at 80 % of the highest rate", highest * SHARE)
                report.add_memory(NAME, contestant.name, sampler.peaks)
            finally:
                contestant.detach()


def highest_rate(rig):
    return load.pgbench(
        rig, "-c", 4, "-j", 2, "-M", "prepared", "-T", max(2, rig.options.seconds // 2)
    )["tps"]


def look(rig, report, contestant, name, rate):
    seconds = max(2, rig.options.seconds * 2 // 3)
    background = load.Background(rig, rate=rate, seconds=seconds + 2) if rate else None
    try:
        if background:
            time.sleep(1)
        lags = sorted(probe(rig, seconds))
    finally:
        if background:
            background.stop()
    for label, share in PERCENTILES:
        value = lags[min(len(lags) - 1, int(len(lags) * share))]
        report.add(NAME, f"{name}, {label}", contestant.name, value * 1000, "ms")
    load.catch_up(rig, rig.options.patience)


def probe(rig, seconds):
    """Lags in seconds, one after the other for that long."""
    lags = []
    writer, reader = rig.source.connect(DB), rig.target.connect(DB)
    end = time.monotonic() + seconds
    try:
        with writer.cursor() as write, reader.cursor() as read:
            while time.monotonic() < end:
                write.execute("update bench_marker set n = n + 1 where id = 1 returning n")
                number = write.fetchone()[0]
                committed = time.monotonic()
                while True:
                    read.execute("select n from bench_marker where id = 1")
                    now = time.monotonic()
                    if read.fetchone()[0] >= number:
                        break
                    if now - committed > max(10, seconds):
                        break  # does not keep up; this is its figure
                    time.sleep(LOOK)
                lags.append(now - committed)
                time.sleep(PAUSE)
    finally:
        writer.close()
        reader.close()
    return lags
