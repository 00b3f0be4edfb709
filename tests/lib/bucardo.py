"""Bucardo of Debian, for comparison: script/bench measures beside it, and the scenarios can be played with it.

    program = Program(cluster)          # its control database is made on that server
    program.renew()                     # forget everything that was configured
    program.call("add", "db", "A", …)   # the command bucardo
    program.start()
    program.end()                       # whatever state it is in

The daemon runs as the user that servers run as. Its log, process ids and password file go into a
directory of ours; the system's Bucardo is not touched. The server must have PL/Perl: Debian's
packages bucardo and postgresql-plperl-15 (script/bootstrap --bench).
"""

import fnmatch
import glob
import os
import re
import signal
import subprocess

from . import place
from .cluster import SUPERUSER
from .scenarios import FLUSH, NotForIt
from .wait import poll_until

PROGRAM = "/usr/bin/bucardo"
CONTROL_DB = "bucardo"
CLEAN_DB = "bucardo_as_installed"


class Program:
    def __init__(self, cluster, **settings):
        if not os.path.exists(PROGRAM):
            raise RuntimeError("Bucardo is not installed; script/bootstrap --bench does that")
        self.cluster = cluster
        self.directory = place.new_dir("bucardo")
        cluster.create_db(CONTROL_DB)
        # It makes a superuser of its own, as which the functions in the control database connect.
        self.call("install", f"--pid-dir={self.directory}")
        self.call("set", f"piddir={self.directory}", f"reason_file={self.directory}/restart.reason", *[f"{name}={value}" for name, value in settings.items()])
        cluster.sql("postgres", f"create database {CLEAN_DB} template {CONTROL_DB}")

    def call(self, *arguments, timeout=600):
        done = subprocess.run(
            place.as_server_user(
                [
                    PROGRAM,
                    "--no-bucardorc",
                    "--batch",
                    f"--dbhost={self.cluster.directory}",
                    f"--dbport={self.cluster.port}",
                    f"--dbname={CONTROL_DB}",
                    f"--dbuser={SUPERUSER}",
                    *arguments,
                ]
            ),
            env={**os.environ, "HOME": self.directory, "LC_ALL": "C.UTF-8"},
            cwd=self.directory,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
        )
        if done.returncode != 0:
            raise RuntimeError(
                f"bucardo {' '.join(arguments)} ended with {done.returncode}:\n"
                f"{done.stdout}{done.stderr}"
            )
        return done.stdout

    def renew(self):
        """A control database as it was after the installation."""
        self.cluster.drop_db(CONTROL_DB)
        self.cluster.create_db(CONTROL_DB, template=CLEAN_DB)

    # The daemon

    def start(self):
        self.call("start", f"--log-destination={self.directory}", "test")

    def stop(self):
        if not any(self.processes().values()):
            return
        try:
            self.call("stop", "test", timeout=30)
            poll_until(lambda: not any(self.processes().values()), 20, interval=0.1)
        except (RuntimeError, TimeoutError, subprocess.TimeoutExpired):
            self.end()  # it looks at its stop file between rounds only

    def end(self):
        # The MCP first: it would start the others again.
        for number in (signal.SIGTERM, signal.SIGKILL):
            found = self.processes()
            known = [pid for kind in sorted(found, key=lambda kind: kind != "Bucardo MCP") for pid in found[kind]]
            for pid in known:
                _signal(pid, number)
            try:
                poll_until(lambda: not self.processes(), 3, interval=0.05)
            except TimeoutError:
                continue
            break
        # Those that have not written down their number yet
        for pid in place.processes_of(self.directory):
            _signal(pid, signal.SIGKILL)
        for name in os.listdir(self.directory):
            if name == "fullstopbucardo" or name.endswith(".pid"):
                os.unlink(os.path.join(self.directory, name))

    def processes(self):
        """{kind: [process id]}, found by their pid files: bucardo.mcp.pid, bucardo.kid.sync.bench.pid …"""
        found = {}
        for name in os.listdir(self.directory):
            if not (name.startswith("bucardo.") and name.endswith(".pid")):
                continue
            try:
                with open(os.path.join(self.directory, name), encoding="ascii") as file:
                    pid = int(file.readline().split()[0])
            except (OSError, ValueError, IndexError):
                continue
            if is_bucardo(pid):
                found.setdefault("Bucardo " + name.split(".")[1].upper(), []).append(pid)
        return found

    def has_written(self, name):
        return os.path.exists(os.path.join(self.directory, name))

    def log(self):
        try:
            with open(os.path.join(self.directory, "log.bucardo"), encoding="utf-8", errors="replace") as file:
                return file.read()
        except OSError:
            return ""

    def forget_log(self):
        if self.has_written("log.bucardo"):
            os.unlink(os.path.join(self.directory, "log.bucardo"))


def is_bucardo(pid):
    """The number in a pid file may belong to somebody else by now."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return b"ucardo" in file.read()
    except OSError:
        return False


def _signal(pid, number):
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass


# The replicator of lib/scenarios.py

# It looks around every half second or so; the scenarios are faster when it does that more often.
FAST = {name: "0.1" for name in ("mcp_loop_sleep", "ctl_sleep", "kid_sleep", "endsync_sleep", "kid_restart_sleep")}

LISTENS = "MCP Entering main loop"
COMPLAINT = re.compile(r"(?i)(warning|error|fail)(?!.*=>)")

ONETIMECOPY = {"no": 0, "always": 1, "if-empty": 2}


class Bucardo:
    """Configures Bucardo as a person would who wants the same, and says so where that is not possible."""

    program = None  # one for the whole run

    def __init__(self, nodes):
        self.nodes = dict(nodes)
        self.syncs = []

    def attach(self, scenario):
        for step in scenario.steps:
            if step.only_ours:
                raise NotForIt(f"needs a command of pgtandem: {step}")
        sections = read_sections(scenario.sections)
        self.syncs = [SyncOfBucardo(sync, sections) for sync in scenario.syncs]
        if Bucardo.program is None:
            Bucardo.program = Program(next(iter(self.nodes.values())).cluster, **FAST)
        self.program.renew()
        self.program.forget_log()
        for name, settings in sections.get("db", {}).items():  # another name for one of the databases
            self.nodes[name] = self.nodes[settings["conninfo"].removeprefix("$")]
        handing_on = {sync.source for sync in self.syncs if sync.cascade}
        for name, node in self.nodes.items():
            self.program.call(
                "add", "db", name, f"dbname={node.dbname}", f"dbhost={node.cluster.directory}",
                f"dbport={node.cluster.port}", f"dbuser={node.user}",
                *(["makedelta=1"] if name in handing_on else []),
            )  # fmt: skip
        for sync in self.syncs:
            sync.add(self.program, self.nodes[sync.source])

    def start(self):
        begun = self.program.log().count(LISTENS)
        self.program.start()
        poll_until(lambda: self.program.log().count(LISTENS) > begun, 15, "start of Bucardo", interval=0.05)

    def stop(self):
        self.program.stop()

    def flush(self, names):
        for sync in self.syncs:
            if sync.active and (not names or sync.name in names):
                for _ in range(sync.kicks_needed()):
                    self._kick(sync)

    def _kick(self, sync):
        if sync.only_fullcopy:  # one that comes while the last round's controller ends would be lost
            self._controllers([sync.name], False)
        try:
            self.program.call("--notimer", "kick", sync.name, str(FLUSH))
        except RuntimeError as error:
            complaints = [line for line in self.program.log().splitlines() if COMPLAINT.search(line)]
            raise RuntimeError("\n".join([str(error), *complaints[-10:]])) from None

    def pause(self, names):
        self.program.call("pause", *names)
        self._controllers(names, False)

    def resume(self, names):
        self.program.call("resume", *names)
        self._controllers(names, True)

    def _controllers(self, names, there):
        for name in names:
            poll_until(lambda n=name: self.program.has_written(f"bucardo.ctl.sync.{n}.pid") == there, 15,
                       f"pause or resume of {name}", interval=0.05)  # fmt: skip

    def news(self):
        return f"--- log\n{self.program.log()[-4000:]}" if self.program is not None else ""

    def end(self):
        if self.program is not None:
            self.program.end()


class SyncOfBucardo:
    def __init__(self, sync, sections):
        self.name = sync.name
        self.settings = dict(sync.settings)
        self.active = self.settings.pop("status", "active") == "active"
        self.cascade = self.settings.pop("cascade", "no") == "yes"
        self.members = members(sync.dbs, sections)
        self.source = self.members[0][0]
        self.only_fullcopy = all(role == "fullcopy" for _, role in self.members[1:])
        self.begun = False
        self.masters = [name for name, role in self.members if role == "source"]
        sets = sections.get("tables", {})
        self.wanted = [one for item in items(sync.tables) for one in items(sets.get(item, {}).get("include", item))]
        self.unwanted = items(self.settings.pop("exclude", ""))
        for item in items(sync.tables):
            self.unwanted += items(sets.get(item, {}).get("exclude", ""))
        # The highest value of all masters would be taken; ours are left alone.
        self.sequences = self.settings.pop("sequences", "yes") == "yes" and len(self.masters) == 1
        self.options = self._options()
        self.rules = sync.rules
        for rule in self.rules.values():
            for key in rule:
                if key.split(".")[0] not in ("target-name", "columns"):
                    raise NotForIt(f"has no {key.split('.')[0]} for the rows of a table")

    def _options(self):
        # Without strict_checking=0 other columns, or columns in another order, would be refused.
        onetimecopy = self.settings.pop("onetimecopy", "if-empty")
        made = ["strict_checking=0"]
        if not self.only_fullcopy:  # it concerns targets, and such a round copies to no others
            made.append(f"onetimecopy={ONETIMECOPY[onetimecopy]}")
        if not self.active:
            made.append("status=inactive")
        for key, value in self.settings.items():
            if key == "conflict":
                made.append(f"conflict_strategy={conflict_strategy(value)}")
            elif key == "autokick":
                made.append(f"autokick={int(value == 'yes')}")
            elif key == "checktime":
                made.append(f"checktime={value}")
            elif (key, value) != ("target-triggers", "sleep"):  # they always do
                raise NotForIt(f"has no {key} = {value}")
        return made

    def kicks_needed(self):
        """What answers a kick may be a round that had begun before. The first round of all makes the copies, and does
        nothing else."""
        if self.only_fullcopy:
            return 1
        begun, self.begun = self.begun, True
        return 2 if begun else 3

    def add(self, program, node):
        for kind, relations in self._relations(node).items():
            for schema in dict.fromkeys(schema for schema, _ in relations):
                program.call(
                    "add", "all", kind, f"--db={self.source}", f"--relgroup={self.name}", f"--schema={schema}",
                    *[f"--table={name}" for of, name in relations if of == schema],
                )  # fmt: skip
        found = program.cluster.value(CONTROL_DB, "select count(*) from bucardo.herdmap where herd = %s", (self.name,))
        wanted = sum(self._relations(node).values(), [])
        if found != len(wanted):
            raise RuntimeError(f"it found {found} of the {len(wanted)} tables and sequences: {wanted}")
        for table, rule in self.rules.items():
            table = table if "." in table else f"public.{table}"
            for target in [name for name, role in self.members if role != "source"]:
                new_name = rule.get(f"target-name.{target}", rule.get("target-name"))
                columns = rule.get(f"columns.{target}", rule.get("columns"))
                if new_name:
                    program.call("add", "customname", table, new_name.replace('"', ""), f"db={target}")
                if columns:
                    program.call("add", "customcols", table, f"SELECT {columns}", f"db={target}")
        dbs = ",".join(f"{name}:{role}" for name, role in self.members)
        program.call("add", "sync", self.name, f"relgroup={self.name}", f"dbs={dbs}", *self.options)

    def _relations(self, node):
        """{"tables": [(schema, name)], "sequences": …}. Partitions are named one by one: it does not know their root."""
        found = {"tables": [], "sequences": []}
        for schema, name, kind, roots in node.sql(
            "select n.nspname, c.relname, c.relkind, array(select r.relname::text"
            "  from pg_partition_ancestors(c.oid) a join pg_class r on r.oid = a.relid)"
            " from pg_class c join pg_namespace n on n.oid = c.relnamespace"
            " where c.relkind in ('r', 'S') and n.nspname !~ '^pg_'"
            " and n.nspname not in ('information_schema', 'bucardo') order by 1, 2"
        ):
            names = [name, *roots]
            if kind == "S" and not self.sequences:
                continue
            if any(matches(self.wanted, schema, one) for one in names) and not any(
                matches(self.unwanted, schema, one) for one in names
            ):
                found["sequences" if kind == "S" else "tables"].append((schema, name))
        return found


def conflict_strategy(rule):
    if rule.startswith("function"):
        raise NotForIt("has hooks in Perl for conflicts, no SQL function")
    known = {"latest": "bucardo_latest", "abort": "bucardo_abort"}
    return known.get(rule) or " ".join(name.strip() for name in rule.split(","))


def members(dbs, sections):
    """[(database, role)] of "A, B:fullcopy", or of a group"""
    dbs = sections.get("group", {}).get(dbs, {}).get("members", dbs)
    found = []
    for word in re.split(r",\s*", dbs):
        name, _, role = word.partition(":")
        found.append((name, role or ("target" if found else "source")))
    return found


def read_sections(text):
    """{kind: {name: {key: value}}} of pieces of our file"""
    found = {}
    key = None
    for line in text.splitlines():
        if not line.strip() or line[0] in "#;":
            continue
        if line[0] == "[":
            kind, name = line.strip("[]").split(" ", 1)
            section = found.setdefault(kind, {}).setdefault(name, {})
        elif line[0] == " ":
            section[key] += " " + line.strip()
        else:
            key, value = (part.strip() for part in line.split("=", 1))
            section[key] = value
    return found


def items(text):
    """The parts of a list, whose quotes may hold commas"""
    return [item.strip() for item in re.findall(r'((?:"(?:[^"]|"")*"|[^",])+)', text)]


def matches(patterns, schema, name):
    """Does the file mean this table by "all", or by a list of names and patterns?"""
    for item in patterns:
        if item == "all":
            return True
        parts = re.findall(r'"((?:[^"]|"")*)"|([^".]+)', item)
        said = [glob.escape(quoted.replace('""', '"')) if quoted else plain.replace("[", "[[]") for quoted, plain in parts]
        of_schema, of_name = ["public", *said][-2:]
        if fnmatch.fnmatchcase(schema, of_schema) and fnmatch.fnmatchcase(name, of_name):
            return True
    return False
