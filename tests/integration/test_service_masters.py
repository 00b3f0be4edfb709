"""Syncs of several sources: conflicts are found, decided by the rule, kept, and all nodes become equal."""

import json
import os
import random
import signal
import threading
import time

import psycopg2
import pytest

from lib.service import Service
from lib.wait import poll_until

TABLE = """
create table t (id int primary key, v text);
create table txt (k text, d date, v int, primary key (k, d));
"""


def masters(dbs, n, rule="latest", more=""):
    nodes = dbs(n, TABLE)
    names = [chr(ord("A") + i) for i in range(n)]
    service = Service(
        {name: node.conninfo for name, node in zip(names, nodes)},
        f"""
        [sync s]
        tables = t, txt
        dbs = {", ".join(name + ":source" for name in names)}
        conflict = {rule}
        {more}
        """,
    )
    return nodes, service


def settle(service, nodes, timeout=40):
    """Until all are equal: what one has to hear of another may have to take two steps."""
    rows = []

    def equal():
        service.in_step(timeout=timeout)
        rows[:] = [[n.sql("select * from t order by 1"), n.sql("select * from txt order by 1, 2")] for n in nodes]
        return all(r == rows[0] for r in rows[1:])

    poll_until(equal, timeout, lambda: f"equal rows: {[str(r)[:2000] for r in rows]}", interval=0.2)
    return rows[0]


def conflicts(nodes):
    found = []
    for node in nodes:
        found += node.sql("select edge, key, winner, from_row, to_row, rule from pgtandem.conflict order by no")
    return found


def apart(service, nodes, *scripts):
    """Each node's script runs while nothing is carried."""
    service.ok("pause", "s", "--wait=20s")
    assert {e["state"] for e in service.status()} == {"paused"}
    for node, script in zip(nodes, scripts):
        node.sql(script)
        time.sleep(0.02)
    service.ok("resume", "s")


def test_changes_of_two_masters(dbs):
    (a, b), service = masters(dbs, 2)
    a.sql("insert into t select i, 'first' from generate_series(1, 100) i")
    service.start()
    assert len(settle(service, [a, b])[0]) == 100  # the hub's rows go to an empty table
    a.sql("insert into t values (1001, 'a'); update t set v = 'a' where id = 1; delete from t where id = 2")
    b.sql("insert into t values (1002, 'b'); update t set v = 'b' where id = 3; delete from t where id = 4")
    b.sql("insert into txt values ('x', '2024-01-01', 1)")
    rows = settle(service, [a, b])
    assert dict(rows[0])[1001] == "a" and dict(rows[0])[1002] == "b" and dict(rows[0])[3] == "b"
    assert not {2, 4} & set(dict(rows[0])) and len(rows[1]) == 1
    # many at once go other ways through the engine
    a.sql("update t set v = 'many a' where id between 5 and 50; insert into t select i, 'a' from generate_series(2000, 9000) i")
    b.sql("insert into t select i, 'b' from generate_series(10000, 17000) i")
    assert len(settle(service, [a, b])[0]) == 100 + 14002
    assert conflicts([a, b]) == []
    service.ok("remove", "sync", "s")  # while it is at work
    service.stop()
    for node in (a, b):
        assert node.value("select count(*) from pg_namespace where nspname = 'pgtandem'") == 0
        assert node.value("select count(*) from pg_trigger where not tgisinternal") == 0


@pytest.mark.parametrize("rule, winner", [("latest", "B"), ("A, B", "A"), ("B", "B"), ("function public.choose", "A")])
def test_conflicts(dbs, rule, winner):
    nodes, service = masters(dbs, 2, rule)
    a, b = nodes
    for node in nodes:
        node.sql(
            """create function choose(s text, t text, key text[], one text, one_row text, one_at timestamptz,
                   two text, two_row text, two_at timestamptz) returns text language sql as
               $$ select case when one_row is null or one_row like '%of a%' or one_row like '%"v":1%' then one else two end $$"""
        )
    a.sql("insert into t select i, 'first' from generate_series(1, 10) i; insert into txt values ('k', '2024-01-01', 0)")
    service.start()
    settle(service, nodes)
    apart(
        service,
        nodes,
        "update t set v = 'of a' where id in (1, 2); delete from t where id = 3; insert into t values (50, 'of a');"
        " update t set v = 'same' where id = 9; update txt set v = 1",
        "update t set v = 'of b' where id in (1, 3, 4); insert into t values (50, 'of b'); update t set v = 'same' where id = 9;"
        " update txt set v = 2",
    )
    rows = settle(service, nodes)
    got = dict(rows[0])
    name = winner.lower()
    assert got[1] == got[50] == f"of {name}" and got[2] == "of a" and got[4] == "of b" and got[9] == "same"
    assert (3 in got) == (winner == "B")
    assert rows[1][0][2] == (1 if winner == "A" else 2)
    kept = {(tuple(key), won) for _, key, won, _, _, _ in conflicts(nodes)}
    assert kept == {(("1",), winner), (("3",), winner), (("50",), winner), (("k", "2024-01-01"), winner)}
    for edge, key, _, from_row, to_row, _ in conflicts(nodes):
        if key == ["1"]:
            of_a, of_b = (from_row, to_row) if edge == "s/A/B" else (to_row, from_row)
            assert json.loads(of_a)["v"] == "of a" and json.loads(of_b)["v"] == "of b"
    told = service.ok("conflicts", "s", "--json").json
    assert {(c["key"], c["winner"]) for c in told} >= {("{1}", winner), ("{k,2024-01-01}", winner)}
    assert f"{winner} wins" in service.ok("conflicts").out
    service.stop()


def test_what_was_missed_is_merged(dbs):
    """No side is replaced by the other's rows, neither where changes were not captured, nor by recopy."""
    nodes, service = masters(dbs, 2)
    a, b = nodes
    a.sql("insert into t select i, 'first' from generate_series(1, 10) i; insert into txt values ('k', '2024-01-01', 0)")
    service.start()
    settle(service, nodes)
    apart(
        service,
        nodes,
        "alter table t disable trigger all; update t set v = 'hidden' where id in (1, 4); insert into t values (60, 'hidden');"
        "alter table t enable trigger all; update t set v = 'of a' where id = 3",
        "insert into t values (61, 'of b'); update t set v = 'of b' where id in (1, 2)",
    )
    service.run("kick", "--wait=20s")
    got = dict(settle(service, nodes)[0])
    # a change with a time wins against a row that only differs
    assert (got[1], got[2], got[3], got[4], got[60], got[61]) == ("of b", "of b", "of a", "hidden", "hidden", "of b")

    service.ok("pause", "s")
    poll_until(lambda: {e["state"] for e in service.status()} == {"paused"}, 20, "a pause")
    a.sql("insert into t values (70, 'of a'); delete from t where id = 5; update t set v = 'of a' where id = 6")
    b.sql("insert into t values (71, 'of b'); delete from t where id = 7; update txt set v = 9")
    service.ok("recopy", "s")
    service.ok("resume", "s")
    rows = settle(service, nodes)
    got = dict(rows[0])
    assert got[70] == got[6] == "of a" and got[71] == "of b" and not {5, 7} & set(got) and rows[1][0][2] == 9
    service.stop()


def test_abort(dbs):
    nodes, service = masters(dbs, 2, "abort")
    a, b = nodes
    a.sql("insert into t values (1, 'first')")
    service.start()
    settle(service, nodes)
    apart(service, nodes, "update t set v = 'of a'", "update t set v = 'of b'")
    poll_until(lambda: any(e["state"] == "failed" and "conflict" in (e["error"] or "") for e in service.status()), 20, "a stop")
    assert (a.value("select v from t"), b.value("select v from t")) == ("of a", "of b")
    b.sql("update t set v = 'of a'")
    assert settle(service, nodes)[0] == [(1, "of a")]
    service.stop()


class Masters:
    """Writers on all nodes, on the same few keys; each knows what was acknowledged."""

    def __init__(self, nodes, seed):
        self.nodes, self.ended, self.values = nodes, threading.Event(), set()
        self.lock = threading.Lock()
        self.threads = [threading.Thread(target=self.write, args=(i, random.Random(seed + i)), daemon=True) for i in range(len(nodes))]
        for thread in self.threads:
            thread.start()

    def write(self, number, chance):
        count = 0
        while not self.ended.is_set():
            try:
                connection = self.nodes[number].connect()
                with connection.cursor() as cursor:
                    while not self.ended.is_set():
                        count += 1
                        key, value = chance.randint(1, 60), f"n{number} {count}"
                        what = chance.random()
                        if what < 0.15:
                            cursor.execute("delete from t where id = %s", (key,))
                            continue
                        if what < 0.6:
                            cursor.execute("update t set v = %s where id = %s", (value, key))
                            wrote = cursor.rowcount
                        else:
                            cursor.execute("insert into t values (%s, %s) on conflict (id) do nothing", (key, value))
                            wrote = cursor.rowcount
                        if wrote:
                            with self.lock:
                                self.values.add(value)
                        time.sleep(0.002)
            except psycopg2.Error:
                time.sleep(0.05)

    def stop(self):
        self.ended.set()
        for thread in self.threads:
            thread.join(20)


@pytest.mark.parametrize("n, rule", [(2, "latest"), (2, "B, A"), (3, "latest"), (3, "C, A, B")])
def test_convergence_under_load(dbs, n, rule):
    """Writers on the same keys everywhere, workers killed meanwhile: in the end all nodes are equal."""
    nodes, service = masters(dbs, n, rule)
    nodes[0].sql("insert into t select i, 'first' from generate_series(1, 30) i")
    service.start()
    settle(service, nodes)
    writers = Masters(nodes, seed=n * 100)
    for turn in range(4):
        time.sleep(1)
        worker = random.Random(turn).choice(sorted(service.workers().values()))
        os.kill(worker, signal.SIGKILL)
    writers.stop()
    rows = settle(service, nodes)
    assert len(writers.values) > 500
    assert {v for _, v in rows[0]} <= writers.values | {"first"}
    assert len(conflicts(nodes)) > 0
    service.stop()


def test_a_star_of_many(dbs):
    """Eighteen masters: what is written on one arrives on all, through the hub."""
    nodes, service = masters(dbs, 18)
    service.start()
    service.in_step(timeout=90)
    for i, node in enumerate(nodes):
        node.sql("insert into t values (%s, %s)", (i, f"n{i}"))
    service.in_step(timeout=90)  # one kick is enough, although there are two steps from leaf to leaf
    assert all([r[0] for r in n.sql("select id from t order by 1")] == list(range(18)) for n in nodes)
    apart(service, nodes, *[f"update t set v = 'by {i}' where id = 5" for i in range(18)])
    assert dict(settle(service, nodes, timeout=90)[0])[5].startswith("by ")
    service.stop()


@pytest.mark.parametrize("n", [2, 3])
def test_no_write_is_lost_silently(dbs, n):
    """Each write adds a word to a row. In the end it is in the row, or in a row that a conflict has kept."""
    nodes, service = masters(dbs, n)
    nodes[0].sql("insert into t select i, '' from generate_series(1, 12) i")
    service.start()
    settle(service, nodes)
    acknowledged, ended = [], threading.Event()

    def write(number):
        chance, count = random.Random(number), 0
        connection = nodes[number].connect()
        with connection.cursor() as cursor:
            while not ended.is_set():
                count += 1
                key, word = chance.randint(1, 12 + n), f"n{number}x{count};"
                cursor.execute("update t set v = v || %s where id = %s", (word, key))
                if cursor.rowcount == 0:
                    cursor.execute("insert into t values (%s, %s) on conflict (id) do update set v = t.v || excluded.v", (key, word))
                acknowledged.append((key, word))
                time.sleep(0.001)

    threads = [threading.Thread(target=write, args=(i,), daemon=True) for i in range(n)]
    for thread in threads:
        thread.start()
    time.sleep(5)
    ended.set()
    for thread in threads:
        thread.join(20)
    text = {key: value for key, value in settle(service, nodes)[0]}
    for _, key, _, from_row, to_row, _ in conflicts(nodes):
        text[int(key[0])] += (from_row or "") + (to_row or "")
    assert len(acknowledged) > 500
    lost = [(key, word) for key, word in acknowledged if word not in text[key]]
    assert not lost, f"{len(lost)} of {len(acknowledged)} writes are nowhere: {lost[:10]}"
    service.stop()
