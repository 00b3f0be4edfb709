"""Random tables, random transactions, random accidents: after every few rounds both sides hold the same rows.

Everything that is drawn comes from a seed. The run with the fixed seed is the same every time, as far as
threads allow; fresh ones are drawn on request, and a failure tells them:

    PGTANDEM_TEST_SEED=123 script/test tests/integration/test_random.py -k 13-18
    PGTANDEM_TEST_RANDOM_RUNS=50 …              fifty fresh seeds per pair of versions

A failure leaves a file with the tables, the rows that differ, and everything the writers did.
"""

import os
import random
import tempfile
import time

import pytest

from lib.compare import assert_same_catalog, catalog_fingerprint, differences
from lib.random_load import Load
from lib.random_schema import RandomSchema
from lib.tool import INTERRUPTED
from lib.wait import poll_until

FIXED_SEED = 1
RUNS = int(os.environ.get("PGTANDEM_TEST_RANDOM_RUNS", "0"))


def seeds():
    """What names a run must not be random: parallel test processes have to agree on it."""
    if os.environ.get("PGTANDEM_TEST_SEED"):
        return [int(os.environ["PGTANDEM_TEST_SEED"])]
    return [FIXED_SEED] + [f"fresh{i}" for i in range(RUNS)]


class Random:
    """One run: an upgrade, there and back again, with checks in between."""

    def __init__(self, pair, tool, seed):
        self.pair, self.tool, self.seed = pair, tool, seed
        self.chance = random.Random(f"run {seed}")
        number = min(pair.old.number, pair.new.number)
        self.schema = RandomSchema(seed, number)
        self.schema.create(pair.old.connect())
        self.load = Load(self.schema, pair.old, seed)
        # without a key: all followed, only marked, or followed as soon as they have some rows
        self.follow = self.chance.choice(["0B", "0B", "1TB", "64kB"])
        self.run = None
        self.beats = 0
        self.from_node, self.to_node = pair.old, pair.new

    def start(self):
        # small pieces, so that tables of a few hundred rows are several
        self.run = self.tool.start("upgrade", "--jobs", "3", "--chunk-size", "64kB", "--verbose",
                                  "--follow-keyless", self.follow)

    def caught_up(self):
        """Waits until the last write on one side is seen on the other, so all before it are there, too."""
        self.beats += 1
        self.from_node.sql("insert into rnd.beat (id) values (%s)", (self.beats,))
        seen = self.to_node.connect()

        def arrived():
            assert self.run.running, f"the upgrade ended by itself:\n{self.run.text[-2000:]}"
            with seen.cursor() as cursor:
                cursor.execute("select 1 from rnd.beat where id = %s", (self.beats,))
                return cursor.fetchone()

        poll_until(arrived, 60, lambda: f"beat {self.beats} on the copy:\n{self.run.text[-3000:]}")
        seen.close()

    def compare(self, everything=False):
        """Nobody writes. Sequences, and tables that are not followed, are equal after a switch only.

        A statement that the closed node refuses may have taken a value of a sequence there; the other
        node's comes back with the next look at all sequences.
        """
        without = ("pgtandem",) if everything or self.follow == "0B" else ("pgtandem", "keyless")
        connections = self.pair.old.connect(), self.pair.new.connect()

        def different(with_sequences):
            return differences(
                *connections,
                without=without,
                with_sequences=with_sequences,
                with_large_objects=False,
                examples=5,
            )

        found = different(with_sequences=False)
        if everything and not found:
            poll_until(lambda: not different(with_sequences=True), 20, "equal sequences")
        for connection in connections:
            connection.close()
        assert not found, "the databases differ:\n  " + "\n  ".join(found)

    def work(self, statements):
        """The writers work; meanwhile the copy must be a state that the other side had."""
        goal = self.load.done + statements
        copy = self.to_node.connect()
        queries = self.schema.orphans()
        deadline = time.monotonic() + 60
        with copy.cursor() as cursor:
            while self.load.done < goal:
                assert time.monotonic() < deadline, "the writers are stuck"
                self.load.check()
                label, query = self.chance.choice(queries)

                cursor.execute(query)
                orphans = cursor.fetchone()[0]
                # As many there: the load has made them itself, with constraints off, and is at fault.
                assert orphans == 0, (f"{label}: {orphans} rows on the copy whose parents are missing,"
                                      f" {self.from_node.sql(query)[0][0]} where the writers are")
                time.sleep(0.02)
        copy.close()

    def round(self):
        self.work(self.chance.choice([60, 200, 400]))
        self.accident()
        if self.chance.random() < 0.6:
            self.load.bulk()
        self.work(60)
        self.load.pause()
        self.caught_up()
        self.compare()
        self.load.resume()

    def accident(self):
        what = self.chance.choice(["nothing", "kill", "kill parent", "stop", "interrupt", "source", "target"])
        if what in ("source", "target"):
            node = self.pair.old if what == "source" else self.pair.new
            node.cluster.terminate(f"application_name like 'pgtandem%' and datname = '{node.dbname}'")
            return
        if what == "nothing":
            return
        {
            "kill": self.run.kill9,
            "kill parent": lambda: self.run.kill9(tree=False),
            "stop": self.run.sigterm,
            "interrupt": self.run.sigint,
        }[what]()
        self.run.wait()
        self.load.wait_for(30)
        self.start()

    def switch(self, command):
        self.load.end_open()
        self.tool.ok(command, "--max-pause", "30s")
        self.load.pause()
        self.compare(everything=True)
        self.from_node, self.to_node = self.to_node, self.from_node
        self.load.point(self.from_node)
        self.load.may_stay_open = True
        self.load.resume()

    def report(self, error):
        """Writes down what is needed to understand a failure; returns the file's name."""
        path = os.path.join(
            tempfile.gettempdir(), f"pgtandem-random-{self.pair.old.version}-{self.pair.new.version}-{self.seed}.txt"
        )
        with open(path, "w", encoding="utf-8") as file:
            file.write(f"seed {self.seed}\n{error}\n\n{self.schema.describe()}\n")
            for label, node in (("source", self.pair.old), ("target", self.pair.new)):
                for table in ("node", "tab", "progress", "consumer", "queue_0", "queue_1"):
                    try:
                        rows = node.sql(f"select * from pgtandem.{table}")
                        file.write(f"{label} {table}:\n" + "".join(f"  {row}\n" for row in rows))
                    except Exception as problem:
                        file.write(f"{label} {table}: {problem}\n")
            file.write(f"\nupgrade:\n{self.run.text if self.run else ''}\n")
        self.load.write_log(path)
        return path


def whole_way(one):
    before = catalog_fingerprint(one.pair.old.connect())
    one.load.fill()
    with one.load as load:
        load.wait_for(100)
        one.start()
        # Locks of long transactions would keep capture from being installed.
        one.run.wait_for_output(r"every change on the source is recorded", timeout=60)
        load.may_stay_open = True
        one.run.wait_for_output(r"in sync", timeout=90)
        for _ in range(2):
            one.round()
        one.tool.ok("verify")
        one.switch("switchover")
        one.round()
        one.switch("rollback")
        one.round()
        one.switch("switchover")
        load.end_open()
    load.check()
    one.caught_up()
    one.compare()
    one.tool.ok("verify")
    one.run.sigint()
    assert one.run.wait().rc == INTERRUPTED
    one.tool.ok("finish")
    assert_same_catalog(before, catalog_fingerprint(one.pair.old.connect()))


@pytest.mark.timeout(240)
@pytest.mark.parametrize("seed", seeds())
def test_random(pair, tool, seed):
    if not isinstance(seed, int):
        seed = random.SystemRandom().randrange(1, 1 << 31)
    one = Random(pair, tool, seed)
    try:
        whole_way(one)
    except BaseException as error:
        one.load.stopped.set()
        path = one.report(error)
        print(
            f"to repeat: PGTANDEM_TEST_SEED={seed} PGTANDEM_TEST_PAIRS={pair.old.version}-{pair.new.version}"
            f" script/test tests/integration/test_random.py\ntables, statements and queue: {path}"
        )
        one.load.check()  # a writer that has failed may be the reason of everything else
        raise
    finally:
        one.load.__exit__()
