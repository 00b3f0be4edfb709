"""Large rounds: what was written while nobody followed. Beyond 5,000 changes the engine takes other ways.

Each test runs with the tool down, writes a backlog of one kind, and lets the tool catch up.
"""

import re
import time

import psycopg2.errors
import pytest

from lib.compare import assert_same_content
from lib.tool import INTERRUPTED
from lib.wait import poll_until

MANY = 12000  # well above NAMED_KEYS_MAX in src/capture/queue.c

TABLES = """
create table a (id int primary key, v text, n int default 0);
create table txt (k text, d date, v text, primary key (k, d));
create table parted (id int {root_key}, v text) partition by range (id);
create table low partition of parted {leaf_key} for values from (minvalue) to (6000);
create table high partition of parted {leaf_key} for values from (6000) to (maxvalue);
insert into a select i, 'before' from generate_series(1, 3000) i;
insert into txt select 'k' || i, date '2024-01-01' + i, 'before' from generate_series(1, 3000) i;
insert into parted select i, 'before' from generate_series(1, 3000) i;
create table last (id int primary key);
"""


def tables(node):
    """PostgreSQL 10 has no keys of partitioned tables; there each partition has its own."""
    if node.number >= 110000:
        return TABLES.format(root_key="primary key", leaf_key="")
    return TABLES.format(root_key="not null", leaf_key="(primary key (id))")


class Backlog:
    def __init__(self, pair, tool, more=""):
        self.pair, self.tool = pair, tool
        pair.old.sql(tables(pair.old) + more)
        self.stop(self.follow())

    def follow(self):
        run = self.tool.start("upgrade", "--verbose")
        run.wait_for_output(r"in sync", timeout=60)
        return run

    def stop(self, run):
        run.sigint()
        assert run.wait().rc == INTERRUPTED

    def catch_up(self):
        """Returns what the tool said."""
        self.pair.old.sql("insert into last select coalesce(max(id), 0) + 1 from last")
        run = self.follow()
        query = "select max(id) from last"
        poll_until(lambda: self.pair.new.value(query) == self.pair.old.value(query), 60, "the last row")
        self.stop(run)
        assert_same_content(self.pair.old.connect(), self.pair.new.connect())
        return run.text


@pytest.fixture
def backlog(pair, tool):
    return Backlog(pair, tool)


def test_inserts_alone_are_copied(backlog):
    backlog.pair.old.sql(
        f"""insert into a select i, 'new' from generate_series(3001, {MANY}) i;
            insert into txt select 'k' || i, date '2024-01-01' + i, 'new' from generate_series(3001, {MANY}) i;
            insert into parted select i, 'new' from generate_series(3001, {MANY}) i"""
    )
    text = backlog.catch_up()
    # row triggers (before 10) do not say what was an insert
    if backlog.pair.old.number >= 100000:
        assert re.search(r'COPY "public"."a" \(.*\) FROM STDIN', text)
        assert "pgtandem_stage" not in text.replace("DROP TABLE IF EXISTS", "") or "by delete" not in text


def test_a_row_that_is_there_already(backlog):
    """Somebody wrote past the gate: COPY of the new rows collides, the round is done again in another way."""
    new = backlog.pair.new.connect()
    with new.cursor() as cursor:
        cursor.execute("alter table a disable trigger all; insert into a values (5000, 'stray')")
        cursor.execute("alter table a enable always trigger pgtandem_ins")
        for name in ("upd", "key", "del", "tru"):
            cursor.execute(f"alter table a enable always trigger pgtandem_{name}")
    new.close()
    backlog.pair.old.sql(f"insert into a select i, 'new' from generate_series(3001, {MANY}) i")
    text = backlog.catch_up()
    assert "applying this round by delete and insert" in text


def test_everything_at_once(backlog):
    backlog.pair.old.sql(
        f"""insert into a select i, 'new' from generate_series(3001, {MANY}) i;
            update a set v = 'changed' where id % 3 = 0;
            update a set id = -id where id % 7 = 0;
            delete from a where id % 5 = 0;
            insert into txt select 'k' || i, date '2024-01-01' + i, 'new' from generate_series(3001, {MANY}) i;
            update txt set k = k || 'x' where d > '2025-01-01';
            delete from txt where k like '%9x';
            insert into parted select i, 'new' from generate_series(3001, {MANY}) i;
            update parted set id = -id where id < 1000;
            delete from parted where id % 11 = 0"""
    )
    backlog.catch_up()


def test_truncate_in_between(backlog):
    backlog.pair.old.sql(
        f"""update a set v = 'gone';
            truncate a;
            insert into a select i, 'after' from generate_series(1, {MANY}) i;
            truncate low;
            insert into parted select i, 'after' from generate_series(1, {MANY}) i"""
    )
    backlog.catch_up()


def test_keys_that_a_trigger_changes(pair, tool):
    """An UPDATE that does not name the key changes it all the same."""
    backlog = Backlog(
        pair,
        tool,
        """
        create function moves() returns trigger language plpgsql as
            $$ begin if new.v = 'move' then new.id := new.id + 100000; end if; return new; end $$;
        create trigger moves before update on a for each row execute procedure moves();
        """,
    )
    pair.old.sql("update a set v = 'move' where id <= 10")
    backlog.catch_up()
    pair.old.sql(f"insert into a select i, 'x' from generate_series(200000, 200000 + {MANY}) i")
    pair.old.sql("update a set v = 'move' where id >= 200000 and id % 2 = 0")
    backlog.catch_up()
    assert pair.new.value("select count(*) from a where id between 100001 and 100010") == 10


def test_truncate_in_the_middle_of_a_round(backlog):
    """TRUNCATE empties a table for older snapshots, too; the copy must not show that before its turn."""
    old, new = backlog.pair.old, backlog.pair.new
    for number, table, root in ((1000000, "a", "a"), (2000000, "low", "parted")):
        old.sql(f"update {root} set v = 'again' where id <= 50")
        run = backlog.tool.start("upgrade", fault="round.begun:sleep=1500,round.committed:sleep=1500")
        run.wait_for_output(r"fault point round.begun", timeout=60)
        old.sql(f"begin; truncate {table}; insert into last values ({number}); commit")
        run.wait_for_output(r"fault point round.committed", timeout=60)
        rows, truncated = new.sql(f"select (select count(*) from {root}), exists (select 1 from last where id = {number})")[0]
        assert rows == (0 if truncated else 3000)
        backlog.stop(run)
        backlog.catch_up()


def test_rounds_give_way_to_locks(backlog):
    """A round that waits for one changed table must not hold another that the same transaction wants next."""
    backlog.pair.old.sql("update a set n = n + 1; update txt set v = v || '.'")
    run = backlog.tool.start("upgrade", fault="round.begun:sleep=1000")
    run.wait_for_output(r"fault point round.begun", timeout=60)
    owner = backlog.pair.old.connect(autocommit=False)
    with owner.cursor() as cursor:
        cursor.execute("lock txt in access exclusive mode")
        time.sleep(3)  # the round has come to the locks, and waits longer than deadlock_timeout
        cursor.execute("lock a in access exclusive mode")
    owner.commit()
    owner.close()
    backlog.stop(run)
    backlog.catch_up()


def test_sessions_notice_the_closed_gate(one_pair, tool):
    """A session that has prepared everything before the switch is refused after it, table by table."""
    one_pair.old.sql(tables(one_pair.old) + "create table nokey (v text);")
    run = tool.start("upgrade")
    run.wait_for_output(r"in sync", timeout=60)
    writes = [
        "insert into a values (%s, 'w')",
        "update a set n = n + 1 where id = %s",
        "delete from a where id = %s",
        "insert into nokey values (%s)",
        "update parted set v = 'w' where id = %s",
        "update a set n = n where id = -%s",  # finds no row, and is refused all the same
    ]
    writer = one_pair.old.connect()
    with writer.cursor() as cursor:
        for number in range(100000, 100030):
            for write in writes:
                cursor.execute(write, (number,))
        poll_until(lambda: one_pair.new.value("select count(*) from last") is not None, 5, "the copy")
        tool.ok("switchover")
        for write in [*writes, "truncate a", "truncate low", "truncate parted", "truncate nokey", "copy a from program 'true'"]:
            with pytest.raises(psycopg2.errors.ReadOnlySqlTransaction):
                cursor.execute(write, (700000,) if "%s" in write else None)
    back = one_pair.new.connect()
    with back.cursor() as cursor:
        for write in writes:
            cursor.execute(write, (100500,))
        tool.ok("rollback")
        for write in writes:
            with pytest.raises(psycopg2.errors.ReadOnlySqlTransaction):
                cursor.execute(write, (800000,))
    with writer.cursor() as cursor:
        for write in writes:
            cursor.execute(write, (100600,))
    run.sigint()
    assert run.wait().rc == INTERRUPTED
