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
"""

import os
import textwrap

from . import place
from .tool import DONE, Tool
from .wait import poll_until


class Service:
    def __init__(self, databases, text="", *, directory=None):
        self.directory = directory or place.new_dir("svc")
        self.path = os.path.join(self.directory, "pgtandem.conf")
        self.tool = Tool()
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

    def workers(self):
        """{edge: process id}"""
        found = {}
        pid = self.running.process.pid
        with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
            children = [int(child) for child in file.read().split()]
        for child in children:
            with open(f"/proc/{child}/cmdline", "rb") as file:
                words = file.read().decode().split("\0")
            if "edge" in words:
                found["/".join(words[-4:-1])] = child
        return found

    # What it says

    def status(self):
        return self.ok("status", "--json").json["edges"]

    def edge(self, sync, to=None):
        found = [e for e in self.status() if e["sync"] == sync and to in (None, e["to"])]
        assert len(found) == 1, found
        return found[0]

    def wait_for_state(self, state, sync, to=None, timeout=30):
        poll_until(lambda: self.edge(sync, to)["state"] == state, timeout, f"{sync} to be {state}", interval=0.2)

    def in_step(self, *syncs, timeout=30):
        """Everything that is committed now has arrived; the edges may still have to begin."""

        def kicked():
            done = self.run("kick", *syncs, f"--wait={timeout}s", timeout=timeout + 30)
            assert done.rc == DONE or "has not begun yet" in done.err, done
            return done.rc == DONE

        poll_until(kicked, timeout, "the first round", interval=0.2)
