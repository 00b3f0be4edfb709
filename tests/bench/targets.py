"""What the project wants to reach, and whether a run has reached it."""

from typing import Callable, NamedTuple


class Target(NamedTuple):
    scenario: str
    text: str
    figure: Callable  # report -> number, or None when it was not measured
    met: Callable  # number -> bool
    form: str = "{:.2f}"


def _ratio(scenario, name, above, below):
    def figure(report):
        first = report.median(scenario, name, above)
        second = report.median(scenario, name, below)
        return first / second if first is not None and second else None

    return figure


def _median(scenario, name, contestant="pgtandem"):
    return lambda report: report.median(scenario, name, contestant)


def _memory_mb(report):
    """The largest process of ours in any scenario. A row that is wider than that needs its width."""
    sizes = [
        one
        for (contestant, kind), scenarios in report.memory.items()
        if contestant == "pgtandem" and kind.startswith("pgtandem")
        for where, (one, _) in scenarios.items()
        if not where.endswith("MB")
    ]
    return max(sizes) / 1024 if sizes else None


def _worst_switch(report):
    medians = [
        measure.median("pgtandem")
        for measure in report.of("switchover")
        if measure.name.startswith("longest gap") and measure.values.get("pgtandem")
    ]
    return max(medians) if medians else None


def _failed_through_pooler(report):
    failed = [
        sum(measure.values["pgtandem"])
        for measure in report.of("switchover")
        if measure.name.startswith("failed") and "PgBouncer" in measure.name
    ]
    return sum(failed) if failed else None


TPCB = "TPC-B, history without a key"
UPDATE = "one UPDATE of 400k rows"
CATCH_UP = "catch-up after 500k transactions"
COPY = "pgbench, 10M rows in two tables"

ALL = (
    Target("capture", "captured / uncaptured TPS at least 0.80",
           _ratio("capture", TPCB, "pgtandem", "uncaptured"), lambda x: x >= 0.80),
    Target("capture", "TPS at least 1.15 × Bucardo's",
           _ratio("capture", TPCB, "pgtandem", "Bucardo"), lambda x: x >= 1.15),
    Target("capture", "UPDATE of 400k rows at most 1.6 × as long as uncaptured",
           _ratio("capture", UPDATE, "pgtandem", "uncaptured"), lambda x: x <= 1.6),
    Target("catchup", "catch-up after 500k transactions in at most 8 s",
           _median("catchup", CATCH_UP), lambda x: x <= 8, "{:.1f} s"),
    Target("catchup", "… which was measured beside Bucardo's 55 s: at least 6.9 × as fast",
           _ratio("catchup", CATCH_UP, "Bucardo", "pgtandem"), lambda x: x >= 55 / 8, "{:.1f}"),
    Target("catchup", "… and native replication's 18 s: at least 2.25 × as fast",
           _ratio("catchup", CATCH_UP, "native", "pgtandem"), lambda x: x >= 18 / 8, "{:.1f}"),
    Target("lag", "p50 at 500 tps at most 20 ms",
           _median("lag", "at 500 tps, p50"), lambda x: x <= 20, "{:.1f} ms"),
    Target("lag", "p99 at 500 tps at most 100 ms",
           _median("lag", "at 500 tps, p99"), lambda x: x <= 100, "{:.1f} ms"),
    Target("copy", "10M rows with indexes in at most 7 s",
           _median("copy", COPY), lambda x: x <= 7, "{:.1f} s"),
    Target("copy", "… which was measured beside pgcopydb's 8.4 s: at most 0.83 of its time",
           _ratio("copy", COPY, "pgtandem", "pgcopydb"), lambda x: x <= 7 / 8.4),
    Target("switchover", "write pause at most 300 ms (median, worst case of all)",
           _worst_switch, lambda x: x <= 300, "{:.0f} ms"),
    Target("switchover", "no failed transaction through PgBouncer",
           _failed_through_pooler, lambda x: x == 0, "{:.0f}"),
    Target("memory", "at most 32 MB for each process",
           _memory_mb, lambda x: x <= 32, "{:.1f} MB"),
)  # fmt: skip


def of(scenario, report):
    """One sentence for each target of the scenario that was measured."""
    lines = []
    for target in ALL:
        if target.scenario != scenario:
            continue
        figure = target.figure(report)
        if figure is not None:
            verdict = "met" if target.met(figure) else "NOT MET"
            lines.append(f"target: {target.text}: {target.form.format(figure)}, {verdict}")
    return lines
