"""Runs the scenarios; started by script/bench, see there."""

import argparse
import os
import signal
import sys
import time
import traceback

from lib import servers
from lib.tool import ROOT, default_binary

from . import replicators, report, scenarios
from .rig import Rig

PAGE = os.path.join(ROOT, "doc", "benchmarks.md")

# What --quick changes, unless the user says otherwise: it shows that everything works, no more.
QUICK = {
    "rounds": 1,
    "seconds": 2,
    "scale": 1,
    "bulk_rows": 20000,
    "transactions": 5000,
    "deltas": "20000",
    "copy_scale": 2,
    "switches": 2,
    "tables": "10,50",
    "syncs": 4,
    "window": 3,
    "wide_mb": 4,
    "load": 4,
    "objects": 100,
}
DEFAULT = {
    "rounds": 3,
    "seconds": 10,
    "scale": 10,
    "bulk_rows": 400000,
    "transactions": 500000,
    "deltas": "2000000,10000000",
    "copy_scale": 50,
    "switches": 20,
    "tables": "10,1000,5000",
    "syncs": 200,
    "window": 20,
    "wide_mb": 64,
    "load": 60,
    "objects": 2000,
}


def parse(arguments):
    contestants = [*replicators.names(), *scenarios.OTHERS]
    parser = argparse.ArgumentParser(
        prog="script/bench",
        description="Measures pgtandem and its peers on the same data in the same run.",
        epilog="Contestants: " + ", ".join(contestants) + ". PGTANDEM_BIN names another pgtandem.",
    )
    parser.add_argument("scenario", nargs="*", help="one or more of: " + ", ".join(scenarios.ALL))
    parser.add_argument("--only", metavar="A,B", help="these contestants only")
    parser.add_argument("--json", metavar="FILE", help="keep the raw figures there")
    parser.add_argument(
        "--markdown", action="store_true", help="write the result into doc/benchmarks.md"
    )
    parser.add_argument("--quick", action="store_true", help="tiny sizes: does everything work?")
    parser.add_argument("--fsync", choices=("on", "off"), default="on", help="of both servers (on)")
    for name, meaning in (
        ("rounds", "rounds of each scenario; heavy parts have fewer"),
        ("seconds", "length of one run of pgbench"),
        ("scale", "pgbench scale of capture, catchup, lag, switchover"),
        ("bulk_rows", "rows of one bulk statement in capture"),
        ("transactions", "backlog of catchup in pgbench transactions"),
        ("deltas", "further backlogs of catchup, in changed rows"),
        ("copy_scale", "pgbench scale of copy"),
        ("switches", "switches for each case of switchover"),
        ("tables", "numbers of captured tables in idle"),
        ("syncs", "syncs of one service in syncs, with ten tables each"),
        ("window", "seconds of one look at CPU time in idle"),
        ("wide_mb", "width of the wide rows of catchup, in MB"),
        ("load", "seconds of TPC-B with the consumer running"),
        ("objects", "tables in many"),
    ):
        default = DEFAULT[name]
        parser.add_argument(
            "--" + name.replace("_", "-"),
            type=type(default),
            metavar="N" if isinstance(default, int) else "N,N",
            help=f"{meaning} ({default})",
        )
    parser.add_argument(
        "--patience",
        type=int,
        default=300,
        metavar="N",
        help="seconds that a contestant may take for one step (300)",
    )
    options = parser.parse_args(arguments)
    for name, value in (QUICK if options.quick else DEFAULT).items():
        if getattr(options, name) is None:
            setattr(options, name, value)
    options.deltas = [int(part) for part in options.deltas.split(",") if part]
    options.tables = [int(part) for part in options.tables.split(",") if part]
    options.only = [part.strip() for part in options.only.split(",")] if options.only else None
    for name in options.only or ():
        if name not in contestants:
            parser.error(f"no contestant {name!r}; there are: {', '.join(contestants)}")
    for name in options.scenario:
        if name not in scenarios.ALL:
            parser.error(f"no scenario {name!r}; there are: {', '.join(scenarios.ALL)}")
    options.scenario = options.scenario or list(scenarios.ALL)
    return options


def main():
    options = parse(sys.argv[1:])
    servers.clean_environment()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    book = report.Report(sys.stderr)
    rig = Rig(options)
    book.environment = report.environment(rig, options, default_binary())
    interrupted = False
    try:
        for name in options.scenario:
            book.say(f"scenario {name}")
            began = time.monotonic()
            try:
                scenarios.ALL[name](rig, book)
            except Exception as error:  # the next scenario may well work
                traceback.print_exc()
                book.fail(name, "the scenario", f"{type(error).__name__}: {error}")
            book.seconds[name] = round(time.monotonic() - began, 1)
            book.say(f"scenario {name}: {book.seconds[name]:.0f} s")
            save(book, options)
    except KeyboardInterrupt:
        interrupted = True
    finally:
        replicators.end_all()
    print(book.text())
    if options.markdown and not interrupted:
        report.write_markdown(PAGE, book.text(markdown=True))
        book.say(f"written to {PAGE}")
    return 130 if interrupted else 1 if book.failures else 0


def save(book, options):
    """After each scenario, so that a long run that is broken off leaves what it has."""
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            file.write(book.json() + "\n")


if __name__ == "__main__":
    sys.exit(main())
