"""Logical replication of the server itself: a publication of all tables and one subscription."""

from lib.wait import poll_until

from ..rig import DB


class Native:
    name = "native"
    more_clusters = ()

    def __init__(self, rig):
        self.rig = rig

    def attach(self):
        source, target = self.rig.source, self.rig.target
        self.rig.copy_definitions_and_rows()
        source.sql(DB, "create publication bench for all tables")
        # One connection cannot make a slot and be in a transaction, hence two statements; the slot
        # comes first, as nobody writes there is nothing in between.
        target.sql(
            DB,
            f"create subscription bench connection '{source.conninfo(DB)}' publication bench"
            " with (copy_data = false, enabled = false, slot_name = 'bench', create_slot = false)",
        )
        source.sql(DB, "select pg_create_logical_replication_slot('bench', 'pgoutput')")

    def start(self):
        self.rig.target.sql(DB, "alter subscription bench enable")

    def stop(self):
        self.rig.target.sql(DB, "alter subscription bench disable")
        poll_until(lambda: not any(self.processes().values()), 60, "end of the apply worker")

    def detach(self):
        if self.rig.target.value(
            DB, "select count(*) from pg_subscription where subname = 'bench'"
        ):
            self.stop()
            self.rig.target.sql(DB, "alter subscription bench set (slot_name = none)")
            self.rig.target.sql(DB, "drop subscription bench")
        self.rig.source.sql(
            "postgres",
            "select pg_drop_replication_slot(slot_name) from pg_replication_slots"
            " where slot_name = 'bench'",
        )

    def processes(self):
        def backends(cluster, where):
            return [
                row[0]
                for row in cluster.sql(
                    "postgres", f"select pid from pg_stat_activity where {where}"
                )
            ]

        return {
            "server: apply worker": backends(
                self.rig.target, "backend_type = 'logical replication worker'"
            ),
            "server: walsender": backends(self.rig.source, "backend_type = 'walsender'"),
        }
