"""pgtandem's replication service, "pgtandem start": its engine is that of "pgtandem upgrade", but a round is recorded
on both sides, and others may read the same source.

The target has the rows before, as Bucardo's has; so the service copies nothing.
"""


from lib.service import Service
from lib.wait import poll_until

from .. import processes
from ..rig import DB


class TandemService:
    name = "pgtandem service"
    schema = "pgtandem"
    more_clusters = ()

    def __init__(self, rig):
        self.rig = rig
        self.service = None

    def attach(self):
        self.rig.copy_definitions_and_rows()
        self.service = Service(
            {"src": self.rig.source.conninfo(DB), "dst": self.rig.target.conninfo(DB)}, self.syncs()
        )
        self.start()
        self.in_step()
        self.stop()

    def syncs(self):
        return "[sync bench]\ntables = all\ndbs = src, dst\nonetimecopy = no\n"

    def in_step(self):
        patience = self.rig.options.patience

        def kicked():
            return self.service.run("kick", f"--wait={patience}s", timeout=patience + 30).rc == 0

        poll_until(kicked, patience, "the service to be in step", interval=0.5)

    def start(self):
        self.service.start()

    def stop(self):
        if self.service is not None and self.service.running is not None:
            self.service.stop()

    def detach(self):
        """The databases are dropped, and with them all it has."""
        if self.service is not None:
            self.service.end()
            self.service = None

    def processes(self):
        found = {}
        if self.service is None or self.service.running is None:
            return found
        for pid in processes.children(self.service.running.process.pid):
            words = processes.command(pid)
            if words:
                kind = "pgtandem " + next((w for w in ("edge", "keeper") if w in words), "start")
                found.setdefault(kind, []).append(pid)
        return found
