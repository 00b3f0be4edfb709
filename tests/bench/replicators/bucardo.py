"""Bucardo of Debian, with its control database on a server of its own.

The control server is a third one, so that what Bucardo writes there is not counted as the
source's WAL. The daemon's log, process ids and password file go into our directory; the system's
Bucardo is not touched.
"""

import os
import signal
import subprocess

from lib import place
from lib.cluster import SUPERUSER, Cluster
from lib.wait import poll_until

from ..rig import DB

PROGRAM = "/usr/bin/bucardo"
CONTROL_DB = "bucardo"
CLEAN_DB = "bucardo_as_installed"


class Bucardo:
    name = "Bucardo"
    schema = "bucardo"
    _control = None  # one for the whole run
    _directory = None

    def __init__(self, rig):
        self.rig = rig
        if Bucardo._control is None:
            Bucardo._directory = place.new_dir("bucardo")
            Bucardo._control = Cluster(rig.source.server, settings=rig.settings, name="ctl").start()
            self._install()
        self.control = Bucardo._control
        self.directory = Bucardo._directory

    @property
    def more_clusters(self):
        return (self.control,)

    # The program

    def _call(self, *arguments, timeout=600):
        directory = Bucardo._directory
        control = Bucardo._control
        done = subprocess.run(
            [
                PROGRAM,
                "--no-bucardorc",
                "--batch",
                f"--dbhost={control.directory}",
                f"--dbport={control.port}",
                f"--dbname={CONTROL_DB}",
                f"--dbuser={SUPERUSER}",
                *arguments,
            ],
            env={**os.environ, "HOME": directory, "LC_ALL": "C"},
            cwd=directory,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
        )
        if done.returncode != 0:
            raise RuntimeError(
                f"bucardo {' '.join(arguments)} ended with {done.returncode}:\n"
                f"{done.stdout}{done.stderr}"
            )
        return done.stdout

    def _install(self):
        control = Bucardo._control
        control.create_db(CONTROL_DB)
        # It makes a superuser of its own, as which the functions in the control database connect.
        self._call("install", f"--pid-dir={Bucardo._directory}")
        self._call("set", f"piddir={Bucardo._directory}")
        control.sql("postgres", f"create database {CLEAN_DB} template {CONTROL_DB}")

    # The verbs

    def attach(self):
        self.control.drop_db(CONTROL_DB)
        self.control.create_db(CONTROL_DB, template=CLEAN_DB)
        self.rig.copy_definitions_and_rows()
        for name, cluster in (("src", self.rig.source), ("dst", self.rig.target)):
            self._call(
                "add", "db", name, f"dbname={DB}", f"dbhost={cluster.directory}",
                f"dbport={cluster.port}", f"dbuser={SUPERUSER}",
            )  # fmt: skip
        self._call(
            "add", "all", "tables", "db=src", "relgroup=bench", "pkonly",
            timeout=self.rig.options.patience,
        )  # fmt: skip
        self._call(
            "add", "sync", "bench", "relgroup=bench", "dbs=src:source,dst:target",
            timeout=self.rig.options.patience,
        )  # fmt: skip

    def start(self):
        self._call("start", f"--log-destination={self.directory}", "bench")

    def stop(self):
        if not any(self.processes().values()):
            return
        try:
            self._call("stop", "bench", timeout=30)
            poll_until(lambda: not any(self.processes().values()), 20, interval=0.1)
        except (RuntimeError, TimeoutError, subprocess.TimeoutExpired):
            self.end_daemon()  # it looks at its stop file between rounds only

    def detach(self):
        """At once, since the databases are dropped."""
        self.end_daemon()

    def processes(self):
        return daemon_processes(self.directory)

    @classmethod
    def end_daemon(cls):
        if cls._directory is None:
            return
        # The MCP first: it would start the others again.
        for number in (signal.SIGTERM, signal.SIGKILL):
            found = daemon_processes(cls._directory)
            for kind in sorted(found, key=lambda kind: kind != "Bucardo MCP"):
                for pid in found[kind]:
                    _signal(pid, number)
            try:
                poll_until(lambda: not daemon_processes(cls._directory), 3, interval=0.05)
            except TimeoutError:
                continue
            break
        for name in os.listdir(cls._directory):
            if name == "fullstopbucardo" or name.endswith(".pid"):
                os.unlink(os.path.join(cls._directory, name))

def daemon_processes(directory):
    """Found by their pid files: bucardo.mcp.pid, bucardo.kid.sync.bench.pid …"""
    found = {}
    for name in os.listdir(directory):
        if not (name.startswith("bucardo.") and name.endswith(".pid")):
            continue
        try:
            with open(os.path.join(directory, name), encoding="ascii") as file:
                pid = int(file.readline().split()[0])
        except (OSError, ValueError, IndexError):
            continue
        if is_bucardo(pid):
            found.setdefault("Bucardo " + name.split(".")[1].upper(), []).append(pid)
    return found


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
