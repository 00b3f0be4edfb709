"""Changes at the worst moments: between two chunks of a table, on either side of a round, in one transaction.

Whatever the application does while its tables are copied and followed, in the end both sides hold the same rows.
"""

import random
import time

from lib.compare import assert_same_content
from lib.tool import INTERRUPTED
from lib.wait import poll_until


def end(run):
    run.sigint()
    assert run.wait().rc == INTERRUPTED


def rounds(node):
    return node.value("select rounds from pgtandem.progress")


def in_step(pair, query, timeout=30):
    """Waits until both sides answer the same."""
    poll_until(
        lambda: pair.old.sql(query) == pair.new.sql(query),
        timeout,
        lambda: f"{query}: {pair.old.sql(query)[:5]} and {pair.new.sql(query)[:5]}",
        interval=0.1,
    )


def let_rounds_pass(pair, more, table="ticker"):
    """A round is only made when there is something to carry."""
    for _ in range(more):
        before = rounds(pair.new)
        pair.old.sql(f"insert into {table} default values")
        poll_until(lambda b=before: rounds(pair.new) > b, 20, "a round", interval=0.005)


# While the tables are copied


def test_changes_between_the_chunks(one_pair, tool):
    """Each chunk is slow; the application goes through everything that can happen to a row meanwhile."""
    old = one_pair.old
    old.sql(
        """
        create table a (id int primary key, v text) with (fillfactor = 100);
        insert into a select i, repeat('a', 100) from generate_series(1, 6000) i;
        create table u (id int primary key, code text unique);
        insert into u select i, 'code ' || i from generate_series(1, 2000) i;
        create table parent (id int primary key);
        create table child (id int primary key, p int references parent
                            on delete cascade on update cascade deferrable);
        insert into parent select generate_series(1, 500);
        insert into child select i, (i % 500) + 1 from generate_series(1, 3000) i;
        create table gone (id int primary key, v text);
        insert into gone select i, repeat('g', 200) from generate_series(1, 3000) i;
        create table wide (k1 text, k2 int, v text, primary key (k1, k2));
        insert into wide select 'k' || i % 7, i, repeat('w', 100) from generate_series(1, 3000) i;
        """
    )
    fault = ",".join(f"copy.chunk.begin:sleep=150:{n}" for n in range(1, 60))
    run = tool.start("upgrade", "--jobs", "2", "--chunk-size", "64kB", env={"PGTANDEM_FAULT": fault})
    run.wait_for_output(r"copying the data", timeout=60)
    chance = random.Random(1)
    turns = 0
    writer = old.connect()
    cursor = writer.cursor()
    while "all rows are on the target" not in run.text and turns < 400:
        turns += 1
        n = chance.randint(1, 6000)
        # Rows that move to the end of the table, past the chunks that are loaded or not.
        cursor.execute("update a set v = v || 'b' where id between %s and %s", (n, n + 40))
        cursor.execute("update a set id = -id where id between %s and %s", (n + 50, n + 55))
        cursor.execute("delete from a where id between %s and %s", (n + 60, n + 70))
        # The place that became free is used again, in a chunk that was read already or was not.
        cursor.execute("insert into a values (%s, 'new') on conflict (id) do update set v = 'again'",
                       (chance.randint(1, 8000),))
        i, j = chance.sample(range(1, 2001), 2)
        cursor.execute(
            "begin; update u set code = 'between' where id = %(i)s;"
            " update u x set code = (select 'code of ' || %(i)s || %(t)s::text) where id = %(j)s;"
            " update u set code = 'code of ' || %(j)s || %(t)s::text where id = %(i)s; commit",
            {"i": i, "j": j, "t": f" at {turns}"},
        )
        cursor.execute("delete from parent where id = %s", (chance.randint(1, 500),))
        cursor.execute("update parent set id = id + 10000 where id = %s", (chance.randint(1, 500),))
        cursor.execute(
            "begin; delete from wide where k2 = %(n)s; insert into wide values ('k0', %(n)s, 'back');"
            " savepoint s; delete from wide where k1 = 'k1'; update wide set k2 = -k2; rollback to s; commit",
            {"n": chance.randint(1, 3000)},
        )
        if turns == 5:
            cursor.execute("truncate gone; insert into gone select i, 'n' from generate_series(2000, 4000) i")
        if turns % 10 == 0:
            cursor.execute("vacuum a")
        time.sleep(0.02)
    assert turns >= 5, "the copy was too fast for this test"
    run.wait_for_output(r"in sync", timeout=90)
    tool.ok("verify")
    end(run)
    tool.ok("switchover")
    assert_same_content(old.connect(), one_pair.new.connect())


def test_a_table_rewritten_while_it_is_copied(pair, tool):
    old = pair.old
    old.sql(
        """
        create table r (id int primary key, v text);
        insert into r select i, repeat('r', 200) from generate_series(1, 4000) i;
        delete from r where id % 3 = 0;
        """
    )
    fault = "copy.chunk.begin:sleep=1500:3"
    run = tool.start("upgrade", "--jobs", "1", "--chunk-size", "128kB", env={"PGTANDEM_FAULT": fault})
    run.wait_for_output(r"fault point|in sync", timeout=60)
    by_ctid = pair.new.value("select count(*) from pgtandem.chunk where kind = 'ctid'")
    old.sql("vacuum full r")
    run.wait_for_output(r"in sync", timeout=60)
    if by_ctid:
        assert "copying it anew" in run.text
    end(run)
    tool.ok("switchover")
    assert_same_content(old.connect(), pair.new.connect())


# While changes are carried


def test_values_and_keys_that_move(one_pair, tool):
    old = one_pair.old
    old.sql(
        """
        create table u (id int primary key, code text unique, place int,
                        constraint d unique (place) deferrable initially deferred);
        insert into u select i, 'code ' || i, i from generate_series(1, 100) i;
        create table e (id int primary key, span int4range, exclude using gist (span with &&));
        insert into e select i, int4range(i * 10, i * 10 + 5) from generate_series(1, 50) i;
        create table big (id int primary key, v int not null);
        insert into big select i, 0 from generate_series(1, 400000) i;
        """
    )
    run = tool.start("upgrade", "--jobs", "2")
    run.wait_for_output(r"in sync", timeout=90)
    connection = old.connect()
    cursor = connection.cursor()

    def transaction(*statements):
        cursor.execute("begin;" + ";".join(statements) + "; commit")

    # Two rows change their unique values; all rows of a ring pass them on.
    transaction(
        "update u set code = 'free' where id = 1",
        "update u set code = 'code 1' where id = 2",
        "update u set code = 'code 2' where id = 1",
    )
    in_step(one_pair, "select * from u order by id")
    transaction("update u set place = 101 - place")
    transaction(
        "update u set code = 'tmp ' || id where id > 50",
        "update u set code = 'code ' || (id % 50 + 51) where id > 50",
    )
    transaction(
        "update e set span = 'empty' where id in (1, 2)",
        "update e set span = '[20,25)' where id = 1",
        "update e set span = '[10,15)' where id = 2",
    )
    # The key itself: gone and back, moved onto the place of another, moved round.
    transaction("delete from u where id = 7", "insert into u values (7, 'seven', 7777)")
    transaction("delete from u where id = 8", "update u set id = 8 where id = 9",
                "insert into u values (9, 'nine', 9999)")
    transaction("update u set id = -id", "update u set id = -id + 1")
    # What is rolled back inside, and what is not.
    transaction(
        "savepoint a", "update u set code = 'kept' where id = 20", "savepoint b",
        "delete from u", "rollback to b", "insert into u values (500, 'five hundred', 500)",
        "release a",
    )
    cursor.execute(
        "do $$ begin for i in 1..50 loop begin insert into public.u values (600 + i, 'x' || i, 600 + i);"
        " if i % 2 = 0 then raise 'no'; end if; exception when others then null; end; end loop; end $$"
    )
    for table in ("u", "e"):
        in_step(one_pair, f"select * from {table} order by id")

    # One statement, 400 000 rows; then one that takes most of them away.
    cursor.execute("update big set v = id % 7")
    in_step(one_pair, "select count(*), sum(v) from big", timeout=90)
    cursor.execute("truncate u")
    transaction("insert into u values (1, 'one', 1)", "truncate e", "insert into e values (1, '[1,2)')")
    for table in ("u", "e"):
        in_step(one_pair, f"select * from {table} order by id")
    tool.ok("verify")
    end(run)
    tool.ok("switchover")
    assert_same_content(old.connect(), one_pair.new.connect())


SLOW = """
    create table ticker (id serial primary key);
    create table two (id int primary key, v text);
    create table owner (k text primary key, n int);
"""


def test_two_transactions_around_a_round(one_pair, tool):
    """Order by commit is not order by beginning: what begins first may end last."""
    old = one_pair.old
    old.sql(SLOW)
    old.sql("insert into two select i, 'old' from generate_series(1, 1000) i")
    run = tool.start("upgrade", "--jobs", "1")
    run.wait_for_output(r"in sync", timeout=60)

    def write(connection, number, value):
        with connection.cursor() as cursor:
            cursor.execute(
                "insert into two values (%(i)s, %(v)s) on conflict (id) do update set v = excluded.v;"
                " insert into owner values ('key ' || %(i)s, 1)"
                " on conflict (k) do update set n = owner.n + 1",
                {"i": number, "v": value},
            )

    # Begun in the same microsecond as far as clocks can tell: one commits before the round, one after.
    for first in (0, 1):
        both = [old.connect(autocommit=False) for _ in range(2)]
        for connection in both:
            with connection.cursor() as cursor:
                cursor.execute("select txid_current()")
        for i, connection in enumerate(both):
            write(connection, 2000 + 10 * first + i, "both")
        both[first].commit()
        in_step(one_pair, f"select * from two where id = {2000 + 10 * first + first}")
        let_rounds_pass(one_pair, 2)
        both[1 - first].commit()
        in_step(one_pair, "select * from two order by id")

    # One that stays open over hundreds of rounds; others begin and end in every order meanwhile,
    # 4096 transactions and more, so that the queue goes through both of its segments.
    long_one = old.connect(autocommit=False)
    write(long_one, 3000, "long")
    holder = old.connect(autocommit=False)
    with holder.cursor() as cursor:
        cursor.execute("insert into two values (4000, 'prepared'); prepare transaction 'over rounds'")
    holder.close()
    chance = random.Random(2)
    opened = []
    number = 5000
    burner = old.connect()
    seen = set()
    begun = rounds(one_pair.new)
    for _ in range(60):
        for _ in range(4):
            number += 1
            connection = old.connect(autocommit=False)
            write(connection, number, "mixed")
            opened.append((connection, number))
        chance.shuffle(opened)
        while len(opened) > 6:
            connection, _ = opened.pop()
            if chance.random() < 0.2:
                connection.rollback()
            else:
                connection.commit()
            connection.close()
        with burner.cursor() as cursor:
            # many small transactions, each with a queue row of its own
            cursor.execute("select (txid_current() >> 12) & 1")
            seen.add(cursor.fetchone()[0])
            cursor.execute(
                "do $$ begin for i in 1..150 loop update public.two set v = 'burnt ' || i where id = i;"
                " commit; end loop; end $$"
            )
    assert seen == {0, 1}
    for connection, _ in opened:
        connection.commit()
        connection.close()
    let_rounds_pass(one_pair, 150)
    assert rounds(one_pair.new) - begun > 150
    assert not one_pair.new.sql("select 1 from two where id in (3000, 4000)")
    write(long_one, 3001, "long")
    long_one.commit()
    in_step(one_pair, "select * from two where id in (3000, 3001)")
    let_rounds_pass(one_pair, 3)
    old.sql("commit prepared 'over rounds'")
    in_step(one_pair, "select * from two order by id")
    in_step(one_pair, "select * from owner order by k")
    end(run)
    tool.ok("switchover")
    assert_same_content(old.connect(), one_pair.new.connect())


def test_the_queue_is_purged_but_never_too_early(one_pair, tool):
    """Segments are emptied while they are used: nothing of an open transaction may go with them."""
    old = one_pair.old
    old.sql(SLOW)
    old.sql("create table big (id int primary key, v int); insert into big select i, 0 from generate_series(1, 30000) i")
    run = tool.start("upgrade", "--jobs", "1")
    run.wait_for_output(r"in sync", timeout=60)
    size = "select pg_relation_size('pgtandem.queue_0') + pg_relation_size('pgtandem.queue_1')"
    purged = "select purged from pgtandem.consumer"
    for turn in range(1, 5):
        open_one = old.connect(autocommit=False)
        with open_one.cursor() as cursor:
            cursor.execute("insert into two values (%s, 'open')", (turn,))
        old.sql(f"update big set v = {turn}")
        # into the other segment
        burner = old.connect()
        with burner.cursor() as cursor:
            cursor.execute("do $$ begin for i in 1..4200 loop perform txid_current(); commit; end loop; end $$")
        before = old.value(purged)
        old.sql(f"update big set v = -{turn}")
        poll_until(lambda b=before: old.value(purged) != b, 30, "a purge beside the open transaction")
        open_one.commit()
        in_step(one_pair, "select * from two order by id")
        in_step(one_pair, "select sum(v) from big")
    old.sql("insert into ticker default values")
    poll_until(lambda: old.value(size) < 4 << 20, 30, "a small queue")
    # The long way round: everything was carried, so the way back begins with an empty queue too.
    end(run)
    tool.ok("switchover")
    one_pair.new.sql("update big set v = v + 1; insert into two values (100, 'new')")
    tool.ok("rollback")
    assert_same_content(old.connect(), one_pair.new.connect())
