"""The initial copy of a database at rest: definitions, rows, indexes, keys, statistics.

The time runs from the command to the moment when the target could be used: for pgtandem until it
is "in sync" (it installs capture and verifies that nothing has changed meanwhile, which the others
need not), for pgcopydb until it ends. After pg_dump piped into psql comes an ANALYZE, because
the other two leave statistics behind as well.

The limit is COPY alone: every table whole, or a big one in two halves, in two streams, into tables
without indexes. It is no contestant: it makes no index, no key and no statistics.
"""

import io
import os
import shutil
import subprocess
import threading
import time

from lib import place

from .. import load
from ..processes import Sampler, children
from ..replicators import Tandem
from ..rig import DB
from ..rounds import Failures, alternating

NAME = "copy"
JOBS = "2"  # of each kind, for those that work in parallel: one for each core


def run(rig, report):
    scale = rig.options.copy_scale
    data_sets = (
        (f"pgbench, {pretty(scale * 200_000)} rows in two tables", "copy_pgbench", pgbench_twice),
        ("one large table, wide rows, 1,000 small tables", "copy_mixed", mixed),
    )
    contestants = [
        each(rig)
        for each in (CopyTandem, PgCopyDb, DumpAndRestore, RawText, RawBinary)
        if not rig.options.only or each.name in rig.options.only
    ]
    # pgcopydb 0.10 crashes now and then with many tables, and works the next time.
    failures = Failures(report, NAME, chances=2)
    for name, template, make in data_sets:
        template_name = rig.template(template, lambda database, make=make: make(rig, database))
        rig.fresh(template_name)
        size = rig.source.db_size(DB)
        wanted = rig.digest(rig.source)
        report.note(NAME, f"{name}: {size / 1e6:,.0f} MB with indexes.")
        for _, contestant in alternating(contestants, rig.options.rounds):
            if failures.has(contestant.name):
                continue
            with failures.guard(contestant.name):
                rig.fresh(template_name)
                try:
                    one(rig, report, contestant, name, wanted)
                finally:
                    contestant.clean_up()
        rig.forget_template(template)


def one(rig, report, contestant, name, wanted):
    contestant.prepare()
    rig.read_all(wanted)
    rig.settle()
    with Sampler(contestant.processes) as sampler:
        began = time.monotonic()
        contestant.copy()
        seconds = time.monotonic() - began
    different = rig.differences(wanted)
    if different:
        raise RuntimeError(f"these tables differ after the copy: {different[:5]}")
    report.add(NAME, name, contestant.name, seconds)
    report.add_memory(f"{NAME}: {name}", contestant.name, sampler.peaks)


def pretty(rows):
    return f"{rows // 1_000_000}M" if rows >= 1_000_000 else f"{rows // 1000}k"


# Data


def pgbench_twice(rig, database):
    load.pgbench_init(rig, database, rig.options.copy_scale)
    rig.source.sql(
        database,
        "create table accounts_2 (like pgbench_accounts including all);"
        " insert into accounts_2 select * from pgbench_accounts",
    )


def mixed(rig, database):
    """Sizes follow --copy-scale; with 50 these are 3M rows, 20,000 wide ones, 1,000 tables."""
    scale = rig.options.copy_scale
    rig.source.sql(
        database,
        f"""
        create table big (id bigint primary key, customer int not null, at timestamptz not null,
            amount numeric(12,2), note text);
        insert into big select i, i % 100000, timestamptz '2020-01-01' + i * interval '1 second',
            i % 9973 / 7.0, 'note ' || md5(i::text) from generate_series(1, {scale * 60_000}) i;
        create index on big (customer);
        create index on big (at);
        create table wide (id int primary key, doc text not null, more bytea not null);
        -- Random text does not compress, so it is stored out of line as it is.
        insert into wide select i,
            (select string_agg(md5(i || '.' || n), '') from generate_series(1, 400) n),
            (select string_agg(decode(md5(i || ':' || n), 'hex'), '') from
                generate_series(1, 300) n)
          from generate_series(1, {scale * 400}) i;
        """,
    )
    connection = rig.source.connect(database)
    with connection.cursor() as cursor:
        for number in range(20 * scale):
            cursor.execute(
                f"create table small_{number} (id int primary key, v text unique, n int);"
                f" insert into small_{number} select i, 'v' || i, i from generate_series(1, 100) i"
            )
    connection.close()


# Contestants


class Copier:
    env = None

    def __init__(self, rig):
        self.rig = rig
        self._process = None

    def prepare(self):
        pass

    def clean_up(self):
        pass

    def processes(self):
        """Our own children that belong to it: all but the servers and the bench itself."""
        if self._process is None:
            return {}
        return {self.name: children(self._process.pid)}

    def run(self, arguments):
        self._process = subprocess.Popen(
            arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
            env={**os.environ, "PATH": self.rig.bindir + ":" + os.environ["PATH"]}, text=True,
            start_new_session=True,  # pgcopydb that fails sends a signal to its whole group
        )  # fmt: skip
        out, _ = self._process.communicate(timeout=1800)
        if self._process.returncode != 0:
            rc = self._process.returncode
            raise RuntimeError(f"{arguments[0]} ended with {rc}:\n{out[-2000:]}")


class CopyTandem(Copier):
    name = "pgtandem"

    def prepare(self):
        self.tandem = Tandem(self.rig)
        self.tandem.jobs = JOBS

    def copy(self):
        self.tandem.start()
        self.tandem.running.wait_for_output(r"(?i)\bin sync\b", timeout=1800)

    def processes(self):
        return self.tandem.processes()

    def clean_up(self):
        self.tandem.detach()


class PgCopyDb(Copier):
    name = "pgcopydb"

    def prepare(self):
        self.directory = place.new_dir("pgcopydb")

    def copy(self):
        # Tables are split as pgtandem does it by itself: in 10M rows of two tables both have
        # two streams either way, in the other data set the large table would be a stream alone.
        self.run(
            ["pgcopydb", "clone", "--source", self.rig.source.conninfo(DB), "--target",
             self.rig.target.conninfo(DB), "--dir", os.path.join(self.directory, "work"),
             "--table-jobs", JOBS, "--index-jobs", JOBS, "--split-tables-larger-than", "128MB"]
        )  # fmt: skip

    def clean_up(self):
        shutil.rmtree(self.directory, ignore_errors=True)


class DumpAndRestore(Copier):
    name = "pg_dump | psql"

    def copy(self):
        dump, psql = self.rig.program("pg_dump"), self.rig.program("psql")
        self.run(
            ["bash", "-o", "pipefail", "-c",
             f"{dump} -d \"$0\" | {psql} -Xq -v ON_ERROR_STOP=1 -d \"$1\" &&"
             f" {psql} -Xqc analyze -d \"$1\"",
             self.rig.source.conninfo(DB), self.rig.target.conninfo(DB)]
        )  # fmt: skip


class Raw(Copier):
    """COPY streams by psql, two at a time, the largest pieces first."""

    binary = ""

    def prepare(self):
        self.rig.pipe(
            [self.rig.program("pg_dump"), "--section=pre-data", "-d", self.rig.source.conninfo(DB)],
            [self.rig.program("psql"), "-Xq", "-v", "ON_ERROR_STOP=1", "-d",
             self.rig.target.conninfo(DB)],
        )  # fmt: skip
        self.pieces = self._pieces()

    def _pieces(self):
        """[(table, condition)]; tables beyond 128 MB in two halves."""
        pieces = []
        for table, pages in self.rig.source.sql(
            DB,
            "select oid::regclass::text, relpages from pg_class where relkind = 'r' and"
            " relnamespace = 'public'::regnamespace order by relpages desc",
        ):
            if pages > 16384:
                half = f"'({pages // 2},0)'"
                pieces.append((table, f"where ctid < {half}"))
                pieces.append((table, f"where ctid >= {half}"))
            else:
                pieces.append((table, ""))
        return pieces

    def copy(self):
        todo = list(self.pieces)
        errors = []

        def stream():
            source, target = self.rig.source.connect(DB), self.rig.target.connect(DB)
            try:
                while todo:
                    table, where = todo.pop(0)  # atomic
                    out = f"copy (select * from {table} {where}) to stdout{self.binary}"
                    into = f"copy {table} from stdin{self.binary}"
                    if where:
                        # Two programs, so that nothing of ours stands in the way.
                        self.rig.pipe(
                            self._psql(self.rig.source, out), self._psql(self.rig.target, into)
                        )
                    else:
                        pass_on(source, out, target, into)
            except Exception as error:  # IndexError: the other stream took the last one
                if not isinstance(error, IndexError):
                    errors.append(error)
            finally:
                source.close()
                target.close()

        streams = [threading.Thread(target=stream) for _ in range(2)]
        for one in streams:
            one.start()
        for one in streams:
            one.join()
        if errors:
            raise errors[0]

    def _psql(self, cluster, command):
        return [self.rig.program("psql"), "-Xqc", command, "-d", cluster.conninfo(DB)]

    def processes(self):
        return {}


class RawText(Raw):
    name = "limit: COPY text"


class RawBinary(Raw):
    name = "limit: COPY binary"
    binary = " with (format binary)"


def pass_on(source, out, target, into):
    """For small tables, where a process each would take longer than the rows."""
    rows = io.BytesIO()
    with source.cursor() as cursor:
        cursor.copy_expert(out, rows)
    rows.seek(0)
    with target.cursor() as cursor:
        cursor.copy_expert(into, rows)


NAMES = tuple(one.name for one in (PgCopyDb, DumpAndRestore, RawText, RawBinary))
