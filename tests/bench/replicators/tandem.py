"""pgtandem, as its users run it: "pgtandem upgrade", which copies, and then follows."""

import os

from lib.tool import DONE, INTERRUPTED, Tool

from .. import processes
from ..rig import DB


class Tandem:
    name = "pgtandem"
    schema = "pgtandem"
    more_clusters = ()
    jobs = "4"  # as the others have

    def __init__(self, rig):
        self.rig = rig
        self.tool = Tool(source=rig.source.conninfo(DB), target=rig.target.conninfo(DB))
        self.running = None

    def attach(self):
        """It copies by itself, so the target is empty before."""
        self.start()
        self.running.wait_for_output(r"(?i)\bin sync\b", timeout=900)
        self.stop()

    def start(self):
        self.running = self.tool.start("upgrade", "--jobs", self.jobs)

    def stop(self):
        if self.running is None:
            return
        running, self.running = self.running, None
        if running.running:
            running.sigint()
        done = running.wait(120)
        if done.rc not in (INTERRUPTED, DONE):
            raise RuntimeError(f"pgtandem upgrade: {done}")

    def detach(self):
        """The databases are dropped, and with them all it has: only the process must be gone."""
        self.stop()

    def processes(self):
        found = {}
        if self.running is None:
            return found
        for pid in processes.children(self.running.process.pid):
            words = processes.command(pid)
            if words:
                kind = os.path.basename(words[0])
                if words[1:2] == ["worker"]:
                    kind = "pgtandem worker"
                found.setdefault(kind, []).append(pid)
        return found
