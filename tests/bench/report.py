"""Figures and how they are shown: medians, minima, maxima, ratios, JSON, Markdown."""

import json
import os
import platform
import statistics
import subprocess
import time

from . import targets


class Measure:
    """One thing that was measured, for several contestants."""

    def __init__(self, scenario, name, unit, reference):
        self.scenario = scenario
        self.name = name
        self.unit = unit
        self.reference = reference  # whose median is 1 in the last column
        self.values = {}  # contestant: [figures in the order they came]

    def median(self, contestant):
        values = self.values.get(contestant)
        return statistics.median(values) if values else None

    def ratio(self, contestant):
        own, base = self.median(contestant), self.median(self.reference)
        return own / base if own is not None and base else None


class Report:
    def __init__(self, out):
        self.out = out
        self.measures = {}  # (scenario, name): Measure
        self.notes = {}  # scenario: [sentences]
        self.failures = []  # (scenario, contestant, reason)
        self.memory = {}  # (contestant, kind): {scenario: [kB of one, kB of all]}
        self.seconds = {}  # scenario: how long it took
        self.environment = {}

    # Filling it

    def add(self, scenario, name, contestant, value, unit="s", reference="pgtandem"):
        key = (scenario, name)
        if key not in self.measures:
            self.measures[key] = Measure(scenario, name, unit, reference)
        self.measures[key].values.setdefault(contestant, []).append(value)
        self.say(f"  {name}: {contestant} {show(value, unit)}")

    def note(self, scenario, text):
        notes = self.notes.setdefault(scenario, [])
        if text not in notes:
            notes.append(text)

    def fail(self, scenario, contestant, reason):
        self.failures.append((scenario, contestant, reason))
        self.say(f"  {contestant} FAILED in {scenario}: {reason}")

    def add_memory(self, scenario, contestant, peaks):
        for kind, (one, together) in peaks.items():
            kept = self.memory.setdefault((contestant, kind), {}).setdefault(scenario, [0, 0])
            kept[0], kept[1] = max(kept[0], one), max(kept[1], together)

    def say(self, text):
        print(time.strftime("%H:%M:%S ") + text, file=self.out, flush=True)

    # Reading it

    def median(self, scenario, name, contestant):
        measure = self.measures.get((scenario, name))
        return measure.median(contestant) if measure else None

    def of(self, scenario):
        return [measure for measure in self.measures.values() if measure.scenario == scenario]

    def scenarios(self):
        seen = [*(key[0] for key in self.measures), *self.notes, *(f[0] for f in self.failures)]
        return list(dict.fromkeys(seen))

    # Showing it

    def rows(self, scenario):
        """[(measure, contestant, median, min, max, rounds, ratio)], as text."""
        rows = []
        for measure in self.of(scenario):
            for contestant, values in measure.values.items():
                ratio = measure.ratio(contestant)
                rows.append(
                    (
                        f"{measure.name} [{measure.unit}]",
                        contestant,
                        show(statistics.median(values), measure.unit),
                        show(min(values), measure.unit),
                        show(max(values), measure.unit),
                        str(len(values)),
                        "" if ratio is None else f"{ratio:.2f} × {measure.reference}",
                    )
                )
        return rows

    HEAD = ("measure", "contestant", "median", "min", "max", "n", "ratio")

    def memory_rows(self):
        rows = []
        for (contestant, kind), scenarios in sorted(self.memory.items()):
            worst = max(scenarios, key=lambda scenario: scenarios[scenario][1])
            rows.append(
                (
                    contestant,
                    kind,
                    f"{max(one for one, _ in scenarios.values()) / 1024:.1f}",
                    f"{scenarios[worst][1] / 1024:.1f}",
                    worst,
                )
            )
        return rows

    MEMORY_HEAD = ("contestant", "process", "peak of one [MB]", "all of it [MB]", "in")

    def text(self, markdown=False):
        table = markdown_table if markdown else plain_table
        head = "### {}" if markdown else "\n== {} =="
        lines = []
        for name, value in self.environment.items():
            lines.append(f"- {name}: {value}" if markdown else f"{name:<12} {value}")
        for scenario in self.scenarios():
            lines += ["", head.format(scenario), ""]
            rows = self.rows(scenario)
            if rows:
                lines += table(self.HEAD, rows)
            for target in targets.of(scenario, self):
                lines += ["", f"- {target}" if markdown else target]
            for note in self.notes.get(scenario, ()):
                lines += ["", note]
            for where, contestant, reason in self.failures:
                if where == scenario:
                    short = reason.strip().splitlines()[0] if reason.strip() else "unknown"
                    lines += ["", f"{contestant} failed: {short}"]
        if self.memory:
            lines += ["", head.format("memory"), ""]
            lines += table(self.MEMORY_HEAD, self.memory_rows())
            for target in targets.of("memory", self):
                lines += ["", f"- {target}" if markdown else target]
        return "\n".join(lines) + "\n"

    def json(self):
        return json.dumps(
            {
                "environment": self.environment,
                "figures": [
                    {
                        "scenario": measure.scenario,
                        "measure": measure.name,
                        "unit": measure.unit,
                        "contestant": contestant,
                        "values": values,
                    }
                    for measure in self.measures.values()
                    for contestant, values in measure.values.items()
                ],
                "memory_kb": [
                    {"contestant": contestant, "process": kind, "scenario": scenario,
                     "one": one, "together": together}
                    for (contestant, kind), scenarios in self.memory.items()
                    for scenario, (one, together) in scenarios.items()
                ],
                "notes": self.notes,
                "failures": [
                    {"scenario": scenario, "contestant": contestant, "reason": reason}
                    for scenario, contestant, reason in self.failures
                ],
                "seconds": self.seconds,
            },
            indent=1,
            ensure_ascii=False,
        )  # fmt: skip


def show(value, unit):
    if unit in ("tps", "bytes", "kB", "count"):
        return f"{value:,.0f}"
    if unit in ("ms", "ms CPU/s", "MB"):
        return f"{value:,.1f}" if abs(value) < 1000 else f"{value:,.0f}"
    return f"{value:,.2f}"


def plain_table(head, rows):
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
    lines, last = [], None
    for row in [head, *rows]:
        # The name of a measure is not repeated on every line.
        first = "" if row[0] == last and row is not head else row[0]
        last = row[0]
        cells = [first.ljust(widths[0]), row[1].ljust(widths[1])]
        cells += [cell.rjust(width) for cell, width in zip(row[2:], widths[2:])]
        lines.append("  ".join(cells).rstrip())
    return lines


def markdown_table(head, rows):
    lines = ["| " + " | ".join(head) + " |", "| --- | --- |" + " ---: |" * (len(head) - 2)]
    last = None
    for row in rows:
        first = "" if row[0] == last else row[0]
        last = row[0]
        cells = [cell.replace("|", "\\|") for cell in (first, *row[1:])]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def write_markdown(path, text, label="result"):
    """Puts it between the two markers of the page."""
    begin, end = f"<!-- {label}: begin -->", f"<!-- {label}: end -->"
    with open(path, encoding="utf-8") as file:
        page = file.read()
    before, found, rest = page.partition(begin)
    _, also, after = rest.partition(end)
    if not found or not also:
        raise RuntimeError(f"{path} has no place for a result ({begin} … {end})")
    with open(path, "w", encoding="utf-8") as file:
        file.write(f"{before}{begin}\n\n{text}\n{end}{after}")


# What it was measured on


def first_line(*command):
    done = subprocess.run(command, capture_output=True, text=True)
    lines = (done.stdout or done.stderr).strip().splitlines()
    return lines[0] if lines else "?"


def package(name):
    return first_line("dpkg-query", "-W", "-f=${Version}", name)


def environment(rig, options, binary):
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        models = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    return {
        "date": time.strftime("%Y-%m-%d"),
        "machine": f"{len(models)} cores ({models[0]}), {memory:.0f} GB, {platform.system()}"
        f" {platform.release().split('-')[0]}",
        "pgtandem": f"{first_line(binary, '--version').split()[-1]}, commit "
        + first_line("git", "-C", root, "rev-parse", "--short", "HEAD"),
        "PostgreSQL": first_line(rig.program("postgres"), "--version").split(") ")[-1],
        "peers": f"Bucardo {package('bucardo')}, pgcopydb {package('pgcopydb')},"
        f" PgBouncer {package('pgbouncer')} (Debian's packages)",
        "settings": ", ".join(f"{key} = {value}" for key, value in rig.settings.items()),
        "rounds": str(options.rounds)
        + (", quick: sizes too small to mean anything" if options.quick else ""),
    }
