"""Bucardo of Debian, with its control database on a server of its own.

The control server is a third one, so that what Bucardo writes there is not counted as the
source's WAL.
"""

from lib.bucardo import Program
from lib.cluster import SUPERUSER, Cluster

from ..rig import DB


class Bucardo:
    name = "Bucardo"
    schema = "bucardo"
    _program = None  # one for the whole run

    def __init__(self, rig):
        self.rig = rig
        if Bucardo._program is None:
            control = Cluster(rig.source.server, settings=rig.settings, name="ctl").start()
            Bucardo._program = Program(control)
        self.program = Bucardo._program

    @property
    def more_clusters(self):
        return (self.program.cluster,)

    # The verbs

    def attach(self):
        self.program.renew()
        self.rig.copy_definitions_and_rows()
        for name, cluster in (("src", self.rig.source), ("dst", self.rig.target)):
            self.program.call(
                "add", "db", name, f"dbname={DB}", f"dbhost={cluster.directory}",
                f"dbport={cluster.port}", f"dbuser={SUPERUSER}",
            )  # fmt: skip
        self.program.call(
            "add", "all", "tables", "db=src", "relgroup=bench", "pkonly",
            timeout=self.rig.options.patience,
        )  # fmt: skip
        self.program.call(
            "add", "sync", "bench", "relgroup=bench", "dbs=src:source,dst:target",
            timeout=self.rig.options.patience,
        )  # fmt: skip

    def start(self):
        self.program.start()

    def stop(self):
        self.program.stop()

    def detach(self):
        """At once, since the databases are dropped."""
        self.program.end()

    def processes(self):
        return self.program.processes()

    @classmethod
    def end_daemon(cls):
        if cls._program is not None:
            cls._program.end()
