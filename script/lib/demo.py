"""The story that script/demo tells; started by it, see there.

It uses the servers and the writers of the integration tests (tests/lib). The writers remember
every transaction that was acknowledged; the end of the story is the proof that none was lost.
"""

import argparse
import os
import re
import shlex
import signal
import sys
import time

sys.path.insert(
    0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "tests")
)
sys.dont_write_bytecode = True

from lib import place, servers  # noqa: E402
from lib.cluster import Cluster  # noqa: E402
from lib.compare import catalog_fingerprint, differences  # noqa: E402
from lib.ledger import Ledger  # noqa: E402
from lib.pgbouncer import PgBouncer  # noqa: E402
from lib.tool import Tool  # noqa: E402

DB = "shop"

# 1/10 customers, 3/10 orders, 6/10 order lines. The updates leave dead rows behind, as years of
# use do: a database that is copied gets rid of them.
DATA = """
    create table customer (
        id serial primary key, name text not null, mail text unique, since date, settings jsonb);
    create table orders (
        id bigserial primary key, customer_id int not null references customer,
        placed timestamptz not null default now(), state text not null, total numeric(12,2));
    create table order_line (
        order_id bigint references orders, line int, article text not null, amount int,
        price numeric(10,2), primary key (order_id, line));

    insert into customer (name, mail, since, settings)
        select 'Customer ' || i, i || '@example.org', date '2015-01-01' + i %% 3000,
               '{"newsletter": true}' from generate_series(1, %(customers)s) i;
    insert into orders (customer_id, placed, state, total)
        select 1 + i %% %(customers)s, now() - i * interval '1 minute', 'new', i %% 500
          from generate_series(1, %(customers)s * 3) i;
    insert into order_line
        select 1 + i / 2, i %% 2, 'article ' || i %% 999, 1 + i %% 7, i %% 100
          from generate_series(0, %(customers)s * 6 - 1) i;

    update orders set state = 'paid';
    update orders set state = 'sent', total = total + 1;
    update order_line set amount = amount + 1;
    update order_line set price = price * 1.1;
    update customer set settings = settings || '{"vip": false}';

    create index on orders (customer_id);
    create index on orders (placed);
    create index on order_line (article);
    analyze;
"""


class Story:
    def __init__(self, options):
        self.options = options
        self.began = time.monotonic()
        self.switches = []  # (what, pause by the tool, gap seen by the writers, refused)
        self.follower = None
        self.bouncer = None
        self.colour = sys.stdout.isatty() and "NO_COLOR" not in os.environ

    def tell(self, text):
        stamp = f"[{time.monotonic() - self.began:5.1f} s]"
        if self.colour:
            print(f"\n\033[1m{stamp} {text}\033[0m", flush=True)
        else:
            print(f"\n{stamp} {text}", flush=True)

    def command(self, *args, accept=(0,)):
        """Runs pgtandem and shows its output, indented."""
        print("  $ pgtandem " + shlex.join(args), flush=True)
        done = self.tool.run(*args, timeout=300)
        for line in (done.out + done.err).splitlines():
            print("    " + line)
        if done.rc not in accept:
            sys.exit(f"pgtandem {args[0]} ended with {done.rc}")
        return done

    # The acts

    def set_the_stage(self):
        old, new = self.options.old, self.options.new
        self.tell(f"two servers: PostgreSQL {old} with the database, PostgreSQL {new} empty")
        self.old = Cluster(servers.get(old), name="old").start()
        self.new = Cluster(servers.get(new), name="new").start()
        for cluster in (self.old, self.new):
            cluster.create_db(DB)
        customers = max(10, self.options.rows // 10)
        self.old.sql(DB, DATA, {"customers": customers})
        self.size_before = self.old.db_size(DB)
        print(f"  {customers * 10} rows, {self.size_before / 1e6:.0f} MB with bloat")
        self.before = self.old.conninfo(DB)
        self.after = self.new.conninfo(DB)
        self.tool = Tool(source=self.before, target=self.after, client_version=old)

        address = self.before
        if self.options.pgbouncer:
            self.bouncer = PgBouncer({DB: (self.old, DB)}).start()
            address = self.bouncer.conninfo(DB)
        self.ledger = Ledger(self.before, writers=8, rate=self.options.rate)
        self.ledger.create_schema()
        self.old_catalog = catalog_fingerprint(self.old.connect(DB))
        self.ledger.repoint(address)
        self.ledger.start().wait_for(10)
        way = "through PgBouncer" if self.bouncer else "directly"
        print(f"  an application writes {self.options.rate} transactions per second, {way}")

    def get_in_step(self):
        self.tell("is there anything in the way?")
        self.command("check")
        self.tell("copy, and follow the changes")
        print(f"  $ pgtandem upgrade --jobs {self.options.jobs} &", flush=True)
        start = time.monotonic()
        self.follower = self.tool.start("upgrade", "--jobs", str(self.options.jobs))
        self.follower.wait_for_output(r"(?i)\bin sync\b", timeout=300)
        for line in self.follower.text.splitlines():
            print("    " + line)
        print(f"  in step after {time.monotonic() - start:.1f} s")
        self.tell("do both hold the same, while it goes on?")
        self.command("verify")

    def hook(self, address):
        """A program that tells the application where its database is now."""
        to = self.options.old if address == self.before else self.options.new
        path = os.path.join(place.base(), f"application-to-{to}")
        with open(path, "w", encoding="utf-8") as file:
            file.write("#!/bin/sh\n" + self.ledger.switch_command(address) + "\n")
        os.chmod(path, 0o755)
        return path

    def switch(self, command, address):
        begin, refused = time.monotonic(), len(self.ledger.refused)
        arguments = [command, "--max-pause", "5s"]
        if self.bouncer:
            arguments += ["--pgbouncer", self.bouncer.admin_conninfo]
            arguments += ["--pgbouncer-ini", self.bouncer.ini]
        else:
            arguments += ["--on-switch", self.hook(address)]
        done = self.command(*arguments)
        # Some seconds of life on the new side.
        time.sleep(0.5)
        end = time.monotonic()
        self.ledger.wait_for(50)
        self.switches.append(
            (
                command,
                pause_ms(done.text),
                self.ledger.longest_gap_ms(between=(begin, end)),
                len(self.ledger.refused) - refused,
            )
        )
        time.sleep(self.options.seconds)

    def move_there_and_back(self):
        old, new = self.options.old, self.options.new
        self.tell(f"the switch: the application goes to {new}")
        self.switch("switchover", self.after)
        self.tell(f"the way back: the application goes to {old}, with what it wrote on {new}")
        self.switch("rollback", self.before)
        self.tell(f"and to {new} again, for good")
        self.switch("switchover", self.after)
        self.command("verify")
        self.tell("done: every trace is removed from both sides")
        self.ledger.stop()
        self.stop_follower()
        self.command("finish")

    def stop_follower(self):
        if self.follower and self.follower.running:
            self.follower.sigint()
            self.follower.wait(30)

    def tell_the_end(self):
        counts = self.ledger.check(self.new.connect(DB))
        old, new = self.old.connect(DB), self.new.connect(DB)
        left = catalog_fingerprint(old) ^ self.old_catalog
        different = differences(
            old, new, without=("pgtandem", "ledger"), with_sequences=False
        )
        size_after = self.new.db_size(DB)
        self.tell("summary")
        print("  write pause                as measured   as seen by     failed")
        print("                             by pgtandem   the writers    transactions")
        for command, pause, gap, refused in self.switches:
            shown = f"{pause:.0f} ms" if pause is not None else "not told"
            print(f"    {command:<22} {shown:>13} {gap:>9.0f} ms {refused:>15}")
        print(f"  transactions acknowledged  {counts['acknowledged']:>9}, none lost, none doubled")
        print(f"  refused, to be tried again {counts['refused']:>9}{reasons(self.ledger)}")
        print(f"  answer lost at COMMIT      {counts['ambiguous']:>9}")
        rows = self.options.rows // 10 * 10 + counts["rows"]
        print(f"  rows                       {rows:>9}")
        print(f"  size before and after      {self.size_before / 1e6:.0f} MB, {size_after / 1e6:.0f} MB")
        if different:
            print("  verification               the contents differ:")
            print("\n".join("    " + line for line in different))
            return 1
        print("  verification               every row compared, the contents are the same")
        if left:
            print(f"  the old database's catalogs differ from before in {len(left)} entries:")
            for entry in sorted(map(str, left))[:5]:
                print(f"    {entry}")
            return 1
        print("  the old database           its catalogs are as they were before")
        return 0

    def run(self):
        try:
            self.set_the_stage()
            self.get_in_step()
            self.move_there_and_back()
            return self.tell_the_end()
        finally:
            try:
                self.stop_follower()
                self.ledger.stop(timeout=1)
            except (AttributeError, AssertionError, TimeoutError):
                pass


def pause_ms(text):
    """The write pause out of a switch's output: "… pause … 87 ms", "… paused … 0.12 s"."""
    found = re.findall(r"(?i)\bpause[a-z]*\b[^\n]*?([\d.]+)\s*(ms|s)\b", text)
    if not found:
        return None
    number, unit = found[-1]
    return float(number) * (1000 if unit == "s" else 1)


def reasons(ledger):
    listed = ", ".join(f"{count} x {state}" for state, count in ledger.refusals().items())
    return f" ({listed})" if listed else ""


def main():
    parser = argparse.ArgumentParser(
        prog="script/demo", description="Shows a whole upgrade on throw-away servers."
    )
    parser.add_argument("--old", default="13", help="version to come from (13)")
    parser.add_argument("--new", default="18", help="version to go to (18)")
    parser.add_argument("--rows", type=int, default=500000, help="size of the database (500000)")
    parser.add_argument("--rate", type=int, default=400, help="transactions per second (400)")
    parser.add_argument("--jobs", type=int, default=2, help="parallel copies (2)")
    parser.add_argument("--seconds", type=float, default=3, help="between the switches (3)")
    parser.add_argument("--pgbouncer", action="store_true", help="switch PgBouncer, not a hook")
    parser.add_argument("--print-versions", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.print_versions:
        print(options.old, options.new)
        return 0
    servers.clean_environment()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        return Story(options).run()
    except KeyboardInterrupt:
        print("\ninterrupted; everything is cleaned up", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
