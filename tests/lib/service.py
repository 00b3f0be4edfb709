"""The replication service with one configuration file, for tests.

    service = Service({"A": node.conninfo, "B": other.conninfo}, '''
        [sync s]
        tables = all
        dbs = A, B
    ''')
    service.start()
    service.in_step()                   # kick --wait: what was committed before has arrived
    service.edge("s")["state"]          # of status --json
    service.stop()

The fixture `new_service` of conftest.py makes them so that they end with the test. other_machine()
is a second service with the same file.
"""

import os
import shutil
import signal
import textwrap

from . import place
from .tool import DONE, Tool
from .wait import poll_until


class Service:
    def __init__(self, databases, text="", *, directory=None, env=None):
        self.directory = directory or place.new_dir("svc")
        self.path = os.path.join(self.directory, "pgtandem.conf")
        self.environment = env
        self.tool = Tool(env=env)
        self.running = None
        self.log = ""  # of the last service that was stopped
        sections = [f"[db {name}]\nconninfo = {conninfo}\n" for name, conninfo in databases.items()]
        self.write("\n".join(sections) + "\n" + textwrap.dedent(text))

    def write(self, text):
        with open(self.path, "w", encoding="utf-8") as file:
            file.write(text)

    @property
    def text(self):
        with open(self.path, encoding="utf-8") as file:
            return file.read()

    def add(self, text):
        """More sections at the end of the file."""
        self.write(self.text + "\n" + textwrap.dedent(text))

    def line_of(self, text):
        """The number of the first line that has this in it."""
        return next(i for i, line in enumerate(self.text.split("\n"), 1) if text in line)

    def other_machine(self):
        """A service with a copy of the file and a pid file of its own."""
        other = Service({}, env=self.environment)
        shutil.copy(self.path, other.path)
        return other

    def run(self, *words, **more):
        return self.tool.run(*words, "--config", self.path, **more)

    def ok(self, *words, **more):
        return self.tool.ok(*words, "--config", self.path, **more)

    # The service

    def start(self, *words, fault=None):
        self.running = self.tool.start("start", "--config", self.path, *words, fault=fault)
        self.running.wait_for_output(r"begins with", timeout=20)
        return self.running

    def stop(self):
        running, self.running = self.running, None
        running.process.terminate()
        done = running.wait(30)
        self.log = done.err
        assert done.rc == DONE, done
        return done

    def kill(self):
        """The machine of the service is gone, so to speak."""
        running, self.running = self.running, None
        running.kill9(tree=False)
        running.wait(10)

    def lose_machine(self):
        """All processes at once, none of which can do anything about it."""
        pids = list(self.workers().values())
        self.running.process.send_signal(signal.SIGSTOP)  # it must not start others meanwhile
        for pid in pids:
            signal_if_there(pid, signal.SIGKILL)
        self.kill()

    def end(self):
        """Ends it whatever state it is in; what then lives on is killed, and an error."""
        running, self.running = self.running, None
        try:
            if running is not None:
                running.process.terminate()
                running.wait(20)
            poll_until(lambda: not self.processes(), 10, "the end of all processes of the service")
        finally:
            for pid in self.processes():
                signal_if_there(pid, signal.SIGKILL)

    def workers(self):
        """{edge: process id}"""
        found = {}
        pid = self.running.process.pid
        with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
            children = [int(child) for child in file.read().split()]
        for child in children:
            try:
                with open(f"/proc/{child}/cmdline", "rb") as file:
                    words = file.read().decode().split("\0")
            except OSError:
                continue
            if "edge" in words:
                found["/".join(words[-4:-1])] = child
        return found

    def kill_worker(self, edge):
        signal_if_there(self.workers()[edge], signal.SIGKILL)

    def processes(self):
        """Process ids of all that works with this file, orphans too."""
        program = os.path.basename(self.tool.binary)
        found = []
        for entry in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(f"/proc/{entry}/cmdline", "rb") as file:
                    words = file.read().decode(errors="replace").split("\0")
            except OSError:
                continue
            if self.path in words and os.path.basename(words[0]) in (program, "exe"):
                found.append(int(entry))
        return found

    # What it says

    def status(self):
        return self.ok("status", "--json").json["edges"]

    def edge(self, sync, to=None):
        found = [e for e in self.status() if e["sync"] == sync and to in (None, e["to"])]
        assert len(found) == 1, found
        return found[0]

    def table(self, sync, name, to=None):
        """How one table of an edge is; None: the edge does not know it."""
        found = [t for t in self.edge(sync, to)["tables"] if t["table"] == name]
        return found[0] if found else None

    def wait_for_state(self, state, sync, to=None, timeout=30):
        poll_until(lambda: self.edge(sync, to)["state"] == state, timeout, f"{sync} to be {state}", interval=0.2)

    def in_step(self, *syncs, timeout=30, patient=False):
        """Everything that is committed now has arrived; the edges may still have to begin. patient: nor does
        it matter when a database cannot be reached."""

        def kicked():
            done = self.run("kick", *syncs, f"--wait={timeout}s", timeout=timeout + 30)
            assert done.rc == DONE or patient or "has not begun yet" in done.err, done
            return done.rc == DONE

        poll_until(kicked, timeout, "the first round", interval=0.2)


def signal_if_there(pid, number):
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass
