"""What became of the scenarios of the replication service that were played with another replicator.

    python3 -m bench.outcome RESULT.xml [PAGE.md]

Reads what pytest --junitxml has written (script/scenarios does that) and prints it as Markdown, or puts it
between the markers "scenarios" of a page.
"""

import re
import sys
import time
import xml.etree.ElementTree as ElementTree

from . import report

LONGEST = 150
OURS = "needs a command of pgtandem"  # why most do not apply


def outcomes(path):
    """[(name of the scenario, "passed" or "failed" or "skipped", why)]"""
    found = []
    for case in ElementTree.parse(path).getroot().iter("testcase"):
        name = next(one.get("value") for one in case.iter("property") if one.get("name") == "scenario")
        skipped = case.find("skipped")
        failed = case.find("failure") if case.find("failure") is not None else case.find("error")
        if skipped is not None:
            found.append((name, "skipped", skipped.get("message")))
        elif failed is not None:
            found.append((name, "failed", how(failed.text or failed.get("message"))))
        else:
            found.append((name, "passed", ""))
    return found


def how(text):
    """The step, and the line that says most."""
    head, *lines = text.split("\n--- ")[0].splitlines()
    step = re.sub(r'^step \d+ of ".*?", |^(begin) of ".*"(?=:)', r"\1", head).rstrip(": ")
    lines = [line.strip() for line in lines if line.strip()]
    said = next((line[line.index("ERROR:"):] for line in reversed(lines) if "ERROR:" in line), None)
    if said is None:
        said = next((line[line.index("error is:"):] for line in lines if "Kid has died" in line), None)
    if said is None:
        # of the daemon's log, what it gives as the reason
        said = next((line[line.index("Warning:"):] for line in lines if "MCP Warning: Source" in line), None)
    if said is None:
        said = next((line for line in lines if line.startswith("Error was")), lines[0] if lines else "")
    said = re.sub(r"/(tmp|dev/shm)/\S+/|svc_\w+", "…", said)
    return f"{shortened(step)}: {shortened(said)}"


def shortened(text):
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


def markdown(found):
    count = {kind: sum(1 for _, one, _ in found if one == kind) for kind in ("passed", "failed", "skipped")}
    lines = [
        f"- date: {time.strftime('%Y-%m-%d')}",
        f"- Bucardo {report.package('bucardo')} (Debian's package), PostgreSQL {report.first_line('psql', '--version').split()[2]}",
        f"- {count['passed']} scenarios pass, {count['failed']} fail, {count['skipped']} do not apply",
        "",
        "| fails | at which step, and how |",
        "| --- | --- |",
        *[f"| {name} | {cell(why)} |" for name, kind, why in found if kind == "failed"],
        "",
        "| passes |",
        "| --- |",
        *[f"| {name} |" for name, kind, _ in found if kind == "passed"],
        "",
        "| does not apply | because it |",
        "| --- | --- |",
        *[f"| {name} | {cell(why)} |" for name, kind, why in found if kind == "skipped" and OURS not in why],
        f"| {sum(1 for *_, why in found if OURS in why)} more | `{OURS}` |",
    ]
    return "\n".join(lines) + "\n"


def cell(text):
    return "`" + text.replace("|", "\\|").replace("`", "'") + "`"


if __name__ == "__main__":
    result = markdown(outcomes(sys.argv[1]))
    if len(sys.argv) > 2:
        report.write_markdown(sys.argv[2], result, "scenarios")
    else:
        print(result, end="")
