"""What test_random.py has found, each as a test of its own that does the same every time."""

import threading

import pytest

from lib.compare import assert_same_content
from lib.tool import INTERRUPTED
from lib.wait import poll_until


def end(run):
    run.sigint()
    assert run.wait().rc == INTERRUPTED


@pytest.mark.parametrize("unique", ["unique (code)", "unique (id) deferrable", "exclude (id with =)"])
def test_unique_but_no_key(one_pair, tool, unique):
    """A table that has no usable key, but an index that refuses doubles, changes between its pieces."""
    old = one_pair.old
    old.sql(
        f"""
        create table t (id int, code text, v text, {unique});
        insert into t select i, 'code ' || i, repeat('x', 500) from generate_series(1, 1000) i;
        """
    )
    run = tool.start("upgrade", "--jobs", "1", "--chunk-size", "64kB",
                     env={"PGTANDEM_FAULT": "copy.chunk.begin:sleep=2000:2"})
    poll_until(lambda: one_pair.new.sql("select 1 from pg_class where relname = 'chunk'")
               and one_pair.new.value("select count(*) from pgtandem.chunk where done"), 30, "the first piece")
    # from the first piece, which is loaded, to behind the last one
    old.sql("update t set v = v || 'y' where id <= 5")
    run.wait_for_output(r"in sync", timeout=60)
    end(run)
    tool.ok("switchover")
    assert_same_content(old.connect(), one_pair.new.connect())


@pytest.mark.parametrize("isolation", ["repeatable read", "serializable"])
def test_truncate_of_a_partition_in_an_old_snapshot(one_pair, tool, isolation):
    """TRUNCATE removes all rows of a partition, also those that the transaction's snapshot does not see."""
    old = one_pair.old
    old.sql(
        """
        create table t (id int primary key, v text) partition by range (id);
        create table low partition of t for values from (minvalue) to (100);
        create table high partition of t for values from (100) to (maxvalue);
        create table beat (id int primary key);
        insert into t select i, 'x' from generate_series(1, 200) i;
        """
    )
    run = tool.start("upgrade", "--jobs", "1")
    run.wait_for_output(r"in sync", timeout=60)
    connection = old.connect()
    with connection.cursor() as cursor:
        cursor.execute(f"begin isolation level {isolation}; select 1")
        old.sql("insert into t values (-1, 'unseen')")
        poll_until(lambda: one_pair.new.sql("select 1 from t where id = -1"), 20, "the row on the copy")
        cursor.execute("truncate low")
        cursor.execute("commit")
    old.sql("insert into beat values (1)")
    poll_until(lambda: one_pair.new.sql("select 1 from beat"), 20, "a round")
    query = "select * from t order by id"
    assert old.sql(query) == one_pair.new.sql(query)
    end(run)


def test_merge_with_a_generated_column(one_pair, tool):
    """PostgreSQL 15 leaves generated columns NULL that MERGE inserts into a table with children, if there is a
    BEFORE UPDATE trigger for statements: it works without pgtandem, so it has to with it."""
    old = one_pair.old
    if old.number // 10000 != 15:
        pytest.skip("only PostgreSQL 15 has this fault")
    old.sql(
        """
        create table t (id int primary key, n int, g int generated always as (n * 2) stored, x int);
        create table heir (primary key (id)) inherits (t);
        insert into t (id, n) values (1, 1);
        """
    )
    run = tool.start("upgrade", "--jobs", "1")
    run.wait_for_output(r"in sync", timeout=60)
    old.sql(
        "merge into t using generate_series(1, 3) s (n) on t.id = s.n when matched then update set x = 5"
        " when not matched then insert (id, n) values (s.n, s.n)"
    )
    assert old.sql("select id, g from t order by id") == [(1, 2), (2, 4), (3, 6)]
    end(run)


def test_key_over_the_whole_range(pair, tool):
    """Before PostgreSQL 14 a table is copied by ranges of its key, from the smallest to the largest."""
    if pair.old.number >= 140000:
        pytest.skip("pieces are ranges of blocks")
    pair.old.sql(
        """
        create table t (id bigint primary key, v text);
        insert into t select i, repeat('x', 500) from generate_series(1, 2000) i;
        insert into t values (-9223372036854775808, 'least'), (9223372036854775807, 'most');
        """
    )
    tool.ok("upgrade", "--switchover", "--chunk-size", "64kB")
    assert_same_content(pair.old.connect(), pair.new.connect())


@pytest.mark.timeout(120)
def test_verify_while_a_key_is_written_in_another_way(one_pair, tool):
    """Equal keys have several texts: each of them tells that the row is on its way."""
    old = one_pair.old
    old.sql("create table t (n numeric primary key, v int); insert into t select i, 0 from generate_series(1, 20) i")
    run = tool.start("upgrade")
    run.wait_for_output(r"in sync", timeout=60)
    enough = threading.Event()

    def write():
        connection = old.connect()
        with connection.cursor() as cursor:
            turn = 0
            while not enough.is_set():
                turn += 1
                cursor.execute(f"delete from t where n < 11; insert into t select i::numeric(10,{turn % 5}), {turn} from generate_series(1, 10) i")
        connection.close()

    writer = threading.Thread(target=write)
    writer.start()
    try:
        found = tool.run("verify")
        assert found.rc == 0, found
    finally:
        enough.set()
        writer.join()
    end(run)
