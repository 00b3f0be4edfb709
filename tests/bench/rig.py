"""The two servers that everything is measured on, and the databases in them.

Both run with the same settings, those of an ordinary server with some memory. A database is made
from a template database, so every contestant begins with the very same pages; a state of both
servers can be saved and put back, so that several rounds start from one recorded backlog.
"""

import os
import subprocess
import threading

from lib import servers
from lib.cluster import Cluster

DB = "bench"
VERSION = "15"

SETTINGS = {
    "fsync": "on",
    "full_page_writes": "on",
    "synchronous_commit": "off",
    "wal_level": "logical",  # native replication needs it; the same for everybody
    "shared_buffers": "512MB",
    "maintenance_work_mem": "256MB",
    "work_mem": "16MB",
    "max_wal_size": "8GB",
    "checkpoint_timeout": "15min",
    # 200 syncs have a connection each
    "max_connections": "500",
    # 1,000 and 5,000 tables in one transaction of pg_dump, Bucardo and others.
    "max_locks_per_transaction": "1024",
}


class Rig:
    def __init__(self, options):
        self.options = options
        settings = {**SETTINGS, "fsync": options.fsync}
        self.settings = settings
        server = servers.get(VERSION)
        self.source = Cluster(server, settings=settings, name="src").start()
        self.target = Cluster(server, settings=settings, name="dst").start()
        self.bindir = server.bindir
        self._templates = set()
        self._saved = {}

    @property
    def clusters(self):
        return (self.source, self.target)

    def program(self, name):
        return os.path.join(self.bindir, name)

    # Databases

    def template(self, name, make):
        """The template database of that name; make(database) fills it when it is needed first."""
        name = "tpl_" + name
        if name not in self._templates:
            self.source.create_db(name)
            make(name)
            # Hint bits and statistics are there, and nobody has to do it in the measured part.
            self.source.sql(name, "vacuum (freeze, analyze)")
            self._templates.add(name)
        return name

    def forget_template(self, name):
        """Big ones are not kept for the whole run."""
        name = "tpl_" + name
        if name in self._templates:
            self._templates.remove(name)
            self.source.drop_db(name)

    def fresh(self, template):
        """A new database on the source, made from the template, and an empty one on the target."""
        for cluster in self.clusters:
            self.drop(cluster)
        # Copying files is faster for big ones than writing them to the WAL.
        self.source.sql(
            "postgres", f"create database {DB} template {template} strategy file_copy"
        )
        self.target.create_db(DB)
        self.settle()

    def drop(self, cluster):
        if cluster.value("postgres", "select count(*) from pg_database where datname = %s", (DB,)):
            cluster.drop_db(DB)

    def copy_definitions_and_rows(self):
        """Gives the target what the source has, for contestants that expect to find it there."""
        self.pipe(
            [self.program("pg_dump"), "-d", self.source.conninfo(DB)],
            [self.program("psql"), "-Xq", "-v", "ON_ERROR_STOP=1", "-d", self.target.conninfo(DB)],
        )
        self.target.sql(DB, "vacuum (freeze, analyze)")

    def settle(self):
        """What went before must not be written to disk while something is measured."""
        for cluster in self.clusters:
            cluster.sql("postgres", "checkpoint")
        os.sync()

    # States of the servers

    def save(self, label, more=()):
        """Keeps the data directories of both servers (and of `more`) for restore()."""
        clusters = [*self.clusters, *more]
        for cluster in clusters:
            cluster.stop(300)
        places = [(cluster, cluster.save_data(label)) for cluster in clusters]
        self._saved[label] = (places, set(self._templates))
        for cluster in clusters:
            cluster.start()

    def restore(self, label):
        places, self._templates = self._saved[label][0], set(self._saved[label][1])
        for cluster, place in places:
            cluster.stop(300)
            cluster.restore_data(place)
        os.sync()
        for cluster, _ in places:
            cluster.start()
        self.settle()

    def forget(self, label):
        for cluster, place in self._saved.pop(label, ((), ()))[0]:
            cluster.forget_data(place)

    # Small helpers

    def pipe(self, producer, consumer, env=None):
        """producer | consumer; raises when one of them fails."""
        first = subprocess.Popen(
            producer, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env
        )
        errors = []
        reader = threading.Thread(target=lambda: errors.append(first.stderr.read()), daemon=True)
        reader.start()
        second = subprocess.run(
            consumer, stdin=first.stdout, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=env
        )
        first.stdout.close()
        reader.join()
        if first.wait() != 0 or second.returncode != 0:
            text = b"".join(errors) + second.stderr
            raise RuntimeError(f"{producer[0]} | {consumer[0]}:\n{text.decode(errors='replace')}")

    def wal_position(self):
        return int(self.source.value(DB, "select pg_current_wal_insert_lsn() - '0/0'::pg_lsn"))

    def tables(self, cluster):
        """Tables of the user, without what a replicator has added."""
        return [
            row[0]
            for row in cluster.sql(
                DB,
                "select format('%I.%I', schemaname, tablename) from pg_tables"
                " where schemaname !~ '^pg_' and schemaname not in"
                " ('information_schema', 'pgtandem', 'bucardo') order by 1",
            )
        ]

    def digest(self, cluster, tables=None):
        """{table: (rows, sum of the hashes of all rows)}"""
        result = {}
        connection = cluster.connect(DB)
        with connection.cursor() as cursor:
            for table in tables or self.tables(cluster):
                cursor.execute(
                    f"select count(*), coalesce(sum(hashtextextended(t::text, 0)::numeric), 0)"
                    f" from {table} t"
                )
                result[table] = cursor.fetchone()
        connection.close()
        return result

    def read_all(self, tables):
        """So that everybody finds the source in memory."""
        connection = self.source.connect(DB)
        with connection.cursor() as cursor:
            for table in tables:
                cursor.execute(f"select count(*) from {table}")
        connection.close()

    def differences(self, wanted=None):
        """Names of the tables whose contents differ between source and target; `wanted` is the
        digest of the source, where it is known already."""
        wanted = wanted or self.digest(self.source)
        found = self.digest(self.target, list(wanted))
        return [table for table in wanted if wanted[table] != found[table]]
