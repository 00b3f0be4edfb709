"""Rules for conflicts that a list cannot say, rows that collide by other columns than the key, and foreign keys."""

import contextlib
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

TABLES = """
create table t (id int primary key, v text);
create table u (id int primary key, mail text, n int, unique (mail));
create table parent (code text collate "C" primary key, v text);
create table child (id int primary key, parent text references parent, v text);
create table grandchild (id int primary key, child int references child on delete cascade);
"""
NAMES = ("t", "u", "parent", "child", "grandchild")


def service_of(nodes, role, settings):
    names = [chr(ord("A") + i) for i in range(len(nodes))]
    lines = ["[sync s]", "tables = all", "exclude = gone", "dbs = " + ", ".join(name + role for name in names), *settings]
    return nodes, Service({name: node.conninfo for name, node in zip(names, nodes)}, "\n".join(lines))


def masters(dbs, n, *settings, tables=TABLES):
    return service_of(dbs(n, tables), ":source", settings)


def one_way(dbs, *settings, tables=TABLES):
    return service_of(dbs(2, tables), "", settings)


def contents(node):
    return {name: node.sql(f"select * from {name} order by 1") for name in NAMES}


def differences(seen):
    """Rows that are not on all nodes, by table."""
    found = {}
    for name in NAMES:
        rows = [set(c[name]) for c in seen]
        found[name] = [sorted(r - set.intersection(*rows)) for r in rows]
    return {name: rows for name, rows in found.items() if any(rows)}


def settle(service, nodes, timeout=60):
    seen = []

    def equal():
        service.in_step(timeout=timeout)
        seen[:] = [contents(node) for node in nodes]
        return all(c == seen[0] for c in seen[1:])

    poll_until(equal, timeout, lambda: f"equal rows: {differences(seen)}", interval=0.2)
    return seen[0]


def apart(service, nodes, *scripts):
    """Each node's script runs while nothing is carried."""
    service.ok("pause", "s")
    poll_until(lambda: {e["state"] for e in service.status()} == {"paused"}, 30, "a pause")
    for node, script in zip(nodes, scripts):
        node.sql(script)
        time.sleep(0.02)
    service.ok("resume", "s")


@contextlib.contextmanager
def held(service, edge):
    """One direction stands still: the other one judges alone, and first."""
    pid = service.workers()[edge]
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def kept(service, **only):
    records = service.ok("conflicts", "--json").json
    return [r for r in records if all(r[name.rstrip("_")] == value for name, value in only.items())]


def nothing_parked(service):
    """The record of a parked row is closed by the round that hears of its end, behind the one that made the rows equal."""
    poll_until(lambda: (service.in_step(), kept(service, parked=True))[1] == [], 20, "the end of what is parked")


def no_orphans(node):
    assert node.value("select count(*) from child c where not exists (select 1 from parent p where p.code = c.parent)") == 0
    assert node.value("select count(*) from grandchild g where not exists (select 1 from child c where c.id = g.child)") == 0


# The rules source, target and skip


@pytest.mark.parametrize("n", [2, 3])
@pytest.mark.parametrize("rule", ["source", "target"])
def test_one_side_wins(dbs, n, rule):
    nodes, service = masters(dbs, n, f"conflict = {rule}")
    nodes[0].sql("insert into t select i, 'first' from generate_series(1, 9) i")
    service.start()
    settle(service, nodes)
    for hub_first in (True, False):  # nor does it matter who was later
        scripts = [f"update t set v = 'by {i}' where id in (1, {i + 2}); insert into t values ({50 + hub_first}, 'by {i}')" for i in range(n)]
        if hub_first:
            apart(service, nodes, *scripts)
        else:
            apart(service, nodes[::-1], *scripts[::-1])
        rows = dict(settle(service, nodes)["t"])
        for key in (1, 50 + hub_first):
            assert (rows[key] == "by 0") == (rule == "source"), rows
        assert all(rows[i + 2] == f"by {i}" for i in range(n))
        nodes[0].sql("update t set v = 'again'")
        settle(service, nodes)
    assert {r["winner"] for r in kept(service)} <= ({"A"} if rule == "source" else {"B", "C"})
    assert len(kept(service, key="{1}")) >= 2
    service.stop()


def test_skip_leaves_both_rows(dbs):
    (a, b), service = masters(dbs, 2, "conflict = skip")
    a.sql("insert into t select i, 'first' from generate_series(1, 9) i")
    service.start()
    settle(service, [a, b])
    apart(
        service,
        [a, b],
        "update t set v = 'of a' where id in (1, 2); delete from t where id = 3; insert into t values (50, 'of a')",
        "update t set v = 'of b' where id in (1, 3, 4); insert into t values (50, 'of b')",
    )

    def apart_now():
        service.in_step()
        return [dict(node.sql("select * from t")) for node in (a, b)]

    for _ in range(3):  # it stays so
        of_a, of_b = apart_now()
        assert (of_a[1], of_b[1]) == ("of a", "of b") and (of_a[50], of_b[50]) == ("of a", "of b")
        assert 3 not in of_a and of_b[3] == "of b"
        assert of_a[2] == of_b[2] == "of a" and of_a[4] == of_b[4] == "of b"
    service.stop()
    service.start()  # nor does it depend on what a worker remembers
    assert apart_now() == [of_a, of_b]
    records = kept(service)
    assert {r["key"] for r in records} == {"{1}", "{3}", "{50}"} and {r["winner"] for r in records} == {None}
    assert "both stay" in service.ok("conflicts").out
    # a change that comes later goes to the other side, as usual, and makes the rows equal
    b.sql("update t set v = 'later' where id = 1")
    a.sql("update t set v = 'later' where id = 50; insert into t values (3, 'later')")
    assert {key: v for key, v in settle(service, [a, b])["t"] if v == "later"}.keys() == {1, 3, 50}
    service.stop()


@pytest.mark.parametrize("late", ["s/A/B", "s/B/A"])
def test_skip_when_one_edge_is_late(dbs, late):
    """It finds that the other one has met the conflict already, and carries what came after it."""
    nodes, service = masters(dbs, 2, "conflict = skip")
    nodes[0].sql("insert into t values (1, 'first'), (2, 'first')")
    service.start()
    settle(service, nodes)
    with held(service, late):
        for node, name in zip(nodes, "ab"):
            node.sql(f"update t set v = 'of {name}'")
        poll_until(lambda: len(kept(service)) == 2, 20, "two conflicts")
        nodes["AB".index(late[2])].sql("update t set v = 'later' where id = 2")
    service.in_step()
    assert [node.sql("select v from t order by id") for node in nodes] == [
        [("of a",), ("later",)],
        [("of b",), ("later",)],
    ]
    service.stop()


@pytest.mark.parametrize("late", ["s/A/B", "s/B/A"])
@pytest.mark.parametrize("rule", ["latest", "source", "target"])
def test_collision_when_one_edge_is_late(dbs, rule, late):
    nodes, service = masters(dbs, 2, f"conflict = {rule}", "on-violation = park")
    service.start()
    settle(service, nodes)
    with held(service, late):
        nodes[0].sql("insert into u values (1, 'same', 0)")
        nodes[1].sql("insert into u values (2, 'same', 0)")
        poll_until(lambda: kept(service), 20, "a collision")
    assert settle(service, nodes)["u"] == [(1 if rule == "source" else 2, "same", 0)]
    service.stop()


def test_skip_with_three_nodes(dbs):
    nodes, service = masters(dbs, 3, "conflict = skip")
    nodes[0].sql("insert into t select i, 'first' from generate_series(1, 9) i")
    service.start()
    settle(service, nodes)
    apart(service, nodes, "update t set v = 'of a' where id = 1", "update t set v = 'of b' where id = 1", "update t set v = 'of c' where id in (1, 2)")
    poll_until(lambda: (service.in_step(), nodes[1].value("select v from t where id = 2"))[1] == "of c", 20, "another row")
    assert [node.value("select v from t where id = 1") for node in nodes] == ["of a", "of b", "of c"]
    nodes[2].sql("update t set v = 'later' where id = 1")
    assert dict(settle(service, nodes)["t"])[1] == "later"
    service.stop()


# Other unique columns


def test_collision_stops_a_one_way_sync(dbs):
    (a, b), service = one_way(dbs)
    service.start()
    service.in_step()
    b.sql("insert into u values (100, 'x@y', 0)")
    a.sql("insert into u values (1, 'x@y', 0); insert into t values (1, 'waits')")
    poll_until(lambda: service.edge("s")["state"] == "failed" and service.edge("s")["error"], 20, "a stop")
    edge = service.edge("s")
    assert "public.u" in edge["error"] and "row {1} with row {100} by u_mail_key" in edge["error"], edge
    assert "on-violation = park" in edge["hint"]
    assert b.value("select count(*) from t") == 0
    b.sql("delete from u")
    assert settle(service, [a, b])["u"] == [(1, "x@y", 0)]
    service.stop()


def test_collision_parks_in_a_one_way_sync(dbs):
    (a, b), service = one_way(dbs, "on-violation = park")
    a.sql("insert into u values (7, 'seven', 0)")
    service.start()
    service.in_step()
    b.sql("insert into u values (100, 'x', 0), (101, 'y', 0)")
    a.sql("insert into u values (1, 'x', 0), (2, 'y', 0), (3, 'z', 0); insert into t values (1, 'goes on')")
    service.in_step()
    assert b.sql("select id from u order by 1") == [(3,), (7,), (100,), (101,)] and b.value("select count(*) from t") == 1
    parked = {r["key"]: r for r in kept(service, parked=True)}
    assert set(parked) == {"{1}", "{2}"}
    assert parked["{1}"]["constraint"] == "u_mail_key" and parked["{1}"]["kind"] == "unique"
    assert json.loads(parked["{1}"]["from_row"])["id"] == 1 and json.loads(parked["{1}"]["to_row"])["id"] == 100
    assert "parked (unique u_mail_key)" in service.ok("conflicts").out
    service.in_step()
    assert len(kept(service)) == 2  # tried again, but not told again
    # there is room now: a kick is enough
    b.sql("delete from u where id = 100")
    service.in_step()
    assert b.value("select mail from u where id = 1") == "x" and len(kept(service, parked=True)) == 1
    # the row changes on its node, or is deleted there
    a.sql("update u set mail = 'free' where id = 2")
    service.in_step()
    assert b.value("select mail from u where id = 2") == "free" and kept(service, parked=True) == []
    # many at once go another way through the engine; a worker that begins anew knows what is parked
    b.sql("insert into u select i, 'm' || i, 0 from generate_series(50000, 50009) i")
    a.sql("insert into u select i, 'm' || (i + 40000), 0 from generate_series(10000, 17000) i")
    service.in_step()
    assert b.value("select count(*) from u where id between 10000 and 17000") == 6991
    service.stop()
    service.start()
    b.sql("delete from u where id between 50000 and 50009 or id in (101)")
    assert len(settle(service, [a, b])["u"]) == 7001 + 4
    assert kept(service, parked=True) == []
    # swaps are no collisions
    a.sql("begin; update u set mail = 'tmp' where id = 1; update u set mail = 'x' where id = 2; update u set mail = 'free' where id = 1; commit")
    settle(service, [a, b])
    service.stop()


def test_collision_by_expression_predicate_and_exclusion(dbs):
    tables = TABLES + """
        create table e (sub int, mail text, active boolean, id int primary key);
        create unique index e_mail on e (sub, lower(mail)) where active;
        create table x (id int primary key, during int4range, exclude using gist (during with &&));
    """
    (a, b), service = one_way(dbs, "on-violation = park", tables=tables)
    service.start()
    service.in_step()
    b.sql("insert into e values (1, 'A@b', true, 100); insert into x values (100, '[5,9]')")
    a.sql("insert into e values (1, 'a@B', true, 1), (1, 'a@b', false, 2), (2, 'a@b', true, 3); insert into x values (1, '[1,6]'), (2, '[20,30]')")
    service.in_step()
    assert b.sql("select id from e order by 1") == [(2,), (3,), (100,)] and b.sql("select id from x order by 1") == [(2,), (100,)]
    records = {(r["constraint"], r["key"]): r for r in kept(service, parked=True)}
    assert set(records) == {("e_mail", "{1}"), ("x_during_excl", "{1}")}
    assert all(json.loads(r["to_row"])["id"] == 100 for r in records.values())
    service.stop()


def test_parked_rows_with_keys_of_text(dbs):
    tables = """
        create table k (code text collate "C", day date, mail text unique, primary key (code, day));
        create table nothing (id int primary key);
    """
    (a, b), service = one_way(dbs, "on-violation = park", tables=tables)
    service.start()
    service.in_step()
    b.sql("insert into k values ('local', '2024-01-01', 'x')")
    a.sql("""insert into k values ('{a,"b', '2024-02-29', 'x'), ('c', '2024-01-01', 'y')""")
    for _ in range(2):
        service.in_step()
        assert len(kept(service, parked=True)) == len(kept(service)) == 1
        assert b.value("select count(*) from k") == 2
    assert service.edge("s")["parked_rows"] == 1 and "1 rows are parked" in service.ok("status").out
    b.sql("delete from k where code = 'local'")
    service.in_step()
    assert b.sql("select * from k order by 1") == a.sql("select * from k order by 1") and kept(service, parked=True) == []
    service.stop()


@pytest.mark.parametrize("n", [2, 3])
@pytest.mark.parametrize("rule, winner", [("latest", -1), ("source", 0), ("target", 1)])
def test_collision_of_masters(dbs, n, rule, winner):
    """The same value of a unique column on all nodes at once, in rows of different keys."""
    nodes, service = masters(dbs, n, f"conflict = {rule}", "on-violation = park")
    nodes[0].sql("insert into u values (1, 'one', 0), (2, 'two', 0)")
    service.start()
    settle(service, nodes)
    apart(service, nodes, *[f"insert into u values ({10 + i}, 'same', {i}); insert into u values ({20 + i}, 'own {i}', {i})" for i in range(n)])
    rows = settle(service, nodes)["u"]
    same = [row for row in rows if row[1] == "same"]
    assert len(same) == 1 and len(rows) == 3 + n
    if n == 2 or winner == 0:
        assert same[0][2] == winner % n
    lost = {json.loads(r[name])["id"] for r in kept(service, kind="unique") for name in ("from_row", "to_row") if r[name]}
    assert lost >= {10 + i for i in range(n)} - {same[0][0]}
    # what was there before gets the value of another one
    apart(service, nodes, "update u set mail = 'new' where id = 1", "update u set mail = 'new' where id = 2")
    rows = settle(service, nodes)["u"]
    assert len([row for row in rows if row[1] == "new"]) == 1 and len(rows) == 2 + n
    nothing_parked(service)
    service.stop()


def test_collision_stops_masters(dbs):
    nodes, service = masters(dbs, 2, "conflict = latest")
    service.start()
    settle(service, nodes)
    apart(service, nodes, "insert into u values (1, 'same', 0)", "insert into u values (2, 'same', 0)")
    poll_until(lambda: [e["state"] for e in service.status()] == ["failed"] * 2 and "row {1} with row {2}" in str(service.status()), 20, "a stop")
    assert [node.value("select id from u") for node in nodes] == [1, 2]
    nodes[1].sql("delete from u")
    assert settle(service, nodes)["u"] == [(1, "same", 0)]
    service.stop()


# Foreign keys


@pytest.mark.parametrize("n", [2, 3])
def test_child_of_a_deleted_parent(dbs, n):
    nodes, service = masters(dbs, n, "on-violation = park")
    nodes[0].sql("insert into parent select 'p' || i, '' from generate_series(1, 9) i; insert into child values (1, 'p9', ''), (2, 'p3', '')")
    service.start()
    settle(service, nodes)
    scripts = ["insert into child values (10, 'p1', 'new'), (11, 'p2', 'new'); insert into grandchild values (5, 10), (6, 11), (7, 2)",
               "delete from parent where code = 'p1'; delete from child where id = 2; delete from parent where code = 'p3'"]  # fmt: skip
    for some in (nodes[:2], nodes[::-1][:2]):
        apart(service, some, *scripts)
        rows = settle(service, nodes)
        assert [row[0] for row in rows["parent"]] == [f"p{i}" for i in (2, 4, 5, 6, 7, 8, 9)]
        assert [row[0] for row in rows["child"]] == [1, 11] and rows["grandchild"] == [(6, 11)]
        for node in nodes:
            no_orphans(node)
        lost = {(r["table"], r["key"]) for r in kept(service, kind="foreign key")}
        assert lost == {("child", "{10}"), ("grandchild", "{5}"), ("grandchild", "{7}")}
        nothing_parked(service)
        nodes[0].sql("delete from grandchild; delete from child where id > 1; insert into parent values ('p1', ''), ('p3', ''); insert into child values (2, 'p3', '')")
        settle(service, nodes)
    service.stop()


def test_children_of_a_row_that_loses(dbs):
    """Where a parent is taken away because it collides, its children go as well, on all nodes."""
    tables = TABLES.replace('"C" primary key, v text', '"C" primary key, v text unique')
    nodes, service = masters(dbs, 2, "conflict = source", "on-violation = park", tables=tables)
    service.start()
    settle(service, nodes)
    apart(
        service,
        nodes,
        "insert into parent values ('a', 'same'); insert into child values (1, 'a', '')",
        "insert into parent values ('b', 'same'); insert into child values (2, 'b', ''); insert into grandchild values (3, 2)",
    )
    rows = settle(service, nodes)
    assert rows["parent"] == [("a", "same")] and rows["child"] == [(1, "a", "")] and rows["grandchild"] == []
    lost = {(r["table"], r["key"]) for r in kept(service)}
    assert lost >= {("parent", "{b}"), ("child", "{2}"), ("grandchild", "{3}")}
    nothing_parked(service)
    service.stop()


def test_foreign_key_stops_masters(dbs):
    nodes, service = masters(dbs, 2)
    nodes[0].sql("insert into parent values ('p', '')")
    service.start()
    settle(service, nodes)
    apart(service, nodes, "insert into child values (1, 'p', 'new')", "delete from parent")
    poll_until(lambda: {e["state"] for e in service.status()} == {"failed"}, 20, "a stop")
    assert all("child_parent_fkey: {1}" in e["error"] and "on-violation = park" in e["hint"] for e in service.status()), service.status()
    nodes[1].sql("insert into parent values ('p', 'again')")
    assert settle(service, nodes)["child"] == [(1, "p", "new")]
    service.stop()


def test_parent_that_is_just_being_deleted(dbs):
    """A transaction has deleted the parent of a row that comes, and is still open: the round waits for its end."""
    nodes, service = masters(dbs, 2, "on-violation = park")
    nodes[0].sql("insert into parent values ('p', ''), ('q', '')")
    service.start()
    settle(service, nodes)
    connection = nodes[1].connect()
    cursor = connection.cursor()
    cursor.execute("begin; delete from parent where code = 'p'")
    nodes[0].sql("insert into child values (1, 'p', '')")
    time.sleep(2)
    assert nodes[1].value("select count(*) from child") == 0
    cursor.execute("commit")
    rows = settle(service, nodes)
    assert rows["child"] == [] and rows["parent"] == [("q", "")]
    assert {r["key"] for r in kept(service, kind="foreign key")} == {"{1}"}
    service.stop()


def test_row_that_is_taken_away_while_it_arrives(dbs):
    """A round takes a child away whose parent is there again on the other side, where the child has come meanwhile."""
    (a, b), service = masters(dbs, 2, "on-violation = park")
    a.sql("insert into parent values ('p', '')")
    service.start()
    settle(service, [a, b])
    connection = a.connect(autocommit=False)
    connection.cursor().execute("select 1 from pgtandem.progress where edge = 's/B/A' for update")
    b.sql("delete from parent")
    time.sleep(1)  # the round has its snapshot, and waits for the row
    b.sql("insert into parent values ('p', 'again')")
    a.sql("insert into child values (1, 'p', '')")
    poll_until(lambda: b.value("select count(*) from child") == 1, 20, "the child")
    connection.rollback()
    rows = settle(service, [a, b])
    assert rows["parent"] == [("p", "again")] and rows["child"] == []
    assert [r["to_row"] for r in kept(service, kind="foreign key")] == ['{"id":1,"parent":"p","v":""}']
    service.stop()


# TRUNCATE, and what is kept


@pytest.mark.parametrize("late", ["s/A/B", "s/B/A"])
@pytest.mark.parametrize("rule", ["source", "target"])
def test_two_truncates(dbs, rule, late):
    """On both sides at a time, with rows written behind them: the same rows survive everywhere."""
    nodes, service = masters(dbs, 2, f"conflict = {rule}")
    nodes[0].sql("insert into t select i, 'first' from generate_series(1, 9) i")
    service.start()
    settle(service, nodes)
    # first where the other direction writes to: it must not have carried one before the other was there
    order = [(nodes[0], "a"), (nodes[1], "b")]
    with held(service, late):
        for node, name in order if late == "s/A/B" else reversed(order):
            node.sql(f"truncate t; insert into t values (1, 'of {name}'), (2, 'of {name}')")
        poll_until(lambda: kept(service, kind="truncate"), 20, "the other direction")
    assert settle(service, nodes)["t"] in ([(1, "of a"), (2, "of a")], [(1, "of b"), (2, "of b")])
    nodes[1].sql("insert into t values (4, 'later')")
    assert (4, "later") in settle(service, nodes)["t"]
    service.stop()


def test_truncates_under_load(dbs):
    """Rows that were not there when somebody truncated are on all nodes, or among the conflicts."""
    nodes, service = masters(dbs, 3)
    service.start()
    settle(service, nodes)
    written = set()
    for turn in range(60):
        for i, node in enumerate(nodes):
            if turn % 7 == 3 * i:
                connection = node.connect(autocommit=False)
                cursor = connection.cursor()
                cursor.execute("lock table t; select id from t")
                written -= {row[0] for row in cursor.fetchall()}  # known to who truncates
                cursor.execute("truncate t")
                connection.commit()
                connection.close()
            node.sql("insert into t values (%s, 'x')", (turn * 10 + i,))
            written.add(turn * 10 + i)
            node.sql("update t set v = v || %s where id %% 5 = 0", (str(i),))
        time.sleep(0.05)
    there = {row[0] for row in settle(service, nodes)["t"]} | {int(r["key"][1:-1]) for r in kept(service)}
    assert not written - there
    service.stop()


def test_truncate_is_not_silent(dbs):
    nodes, service = masters(dbs, 2, "conflict-keep = 5s")
    nodes[0].sql("insert into t select i, 'first' from generate_series(1, 9) i")
    service.start()
    settle(service, nodes)
    apart(service, nodes, "truncate t; insert into t values (1, 'after')", "insert into t values (20, 'lost'); update t set v = 'lost' where id in (2, 3)")
    assert settle(service, nodes)["t"] == [(1, "after")]
    records = kept(service, kind="truncate")
    assert {r["key"] for r in records} == {"{2}", "{3}", "{20}"} and {r["winner"] for r in records} == {"A"}
    assert all(json.loads(r["to_row" if r["to"] == "B" else "from_row"])["v"] == "lost" for r in records)
    poll_until(lambda: kept(service) == [], 20, "the end of the records")
    service.stop()


def test_numbers_of_sequences(dbs):
    """validate says how sequences are to be interleaved, and is content when that is done."""
    tables = TABLES + "create table s (id serial primary key, node text); create sequence free start 500;"
    nodes, service = masters(dbs, 3, tables=tables)
    nodes[1].sql("select setval('s_id_seq', 1234)")
    told = service.ok("validate").out
    statements = {name: [line.split(": ", 1)[1] for line in told.splitlines() if line.strip().startswith(f"{name}: ")] for name in "ABC"}
    assert statements["B"] == [
        'ALTER SEQUENCE "public"."free" INCREMENT BY 10 RESTART WITH 512;',
        'ALTER SEQUENCE "public"."s_id_seq" INCREMENT BY 10 RESTART WITH 1242;',
    ], told
    for name, node in zip("ABC", nodes):
        node.sql("".join(statements[name]))
    assert "ALTER SEQUENCE" not in service.ok("validate").out
    service.start()
    settle(service, nodes)
    apart(service, nodes, *["insert into s (node) select 'x' from generate_series(1, 20)"] * 3)
    settle(service, nodes)
    poll_until(lambda: {node.value("select count(*) from s") for node in nodes} == {60}, 20, "all rows")
    assert kept(service) == []
    assert "ALTER SEQUENCE" not in service.ok("validate").out
    service.stop()


# Under load


@pytest.mark.parametrize("rule, winner, rows", [("latest", "A", []), ("source", "A", []), ("target", "B", [(1, "inserted")]), ("skip", None, None)])
def test_a_row_that_its_deletion_did_not_see(dbs, rule, winner, rows):
    """A deletion has looked for its row in vain, and is not committed, while the row is inserted there, and judged."""
    nodes, service = masters(dbs, 2, f"conflict = {rule}", "after-round = select pg_advisory_xact_lock(42)")
    service.start()
    settle(service, nodes)
    holder, writer = nodes[1].connect(), nodes[1].connect()
    held_up, inserted = holder.cursor(), writer.cursor()
    held_up.execute("select pg_advisory_lock(42)")
    inserted.execute("begin; insert into t values (1, 'inserted')")
    nodes[0].sql("insert into t values (1, 'first'); delete from t where id = 1")
    poll_until(lambda: nodes[1].value("select count(*) from pg_locks where locktype = 'advisory' and not granted"
                                      " and database = (select oid from pg_database where datname = current_database())"),
               30, "the round of the deletion at its end")  # fmt: skip
    inserted.execute("commit")
    poll_until(lambda: kept(service, kind="row"), 30, "the row is judged against the deletion")
    assert kept(service)[0]["winner"] == winner
    held_up.execute("select pg_advisory_unlock(42)")
    if rows is None:  # each keeps what it has
        service.in_step()
        assert [node.sql("select * from t") for node in nodes] == [[], [(1, "inserted")]]
    else:
        assert settle(service, nodes)["t"] == rows
    # and the row goes its way afterwards
    nodes[1].sql("delete from t; insert into t values (1, 'again')")
    assert settle(service, nodes)["t"] == [(1, "again")]


@pytest.mark.parametrize("n, rule", [(2, "latest"), (2, "target"), (3, "latest"), (3, "source")])
def test_violations_under_load(dbs, n, rule):
    """Writers everywhere that collide by key, by another unique column and by foreign keys: all nodes become equal,
    and each acknowledged row is there, or among the conflicts, or was deleted by a writer."""
    nodes, service = masters(dbs, n, f"conflict = {rule}", "on-violation = park")
    nodes[0].sql("insert into parent select 'p' || i, '' from generate_series(1, 12) i")
    service.start()
    settle(service, nodes)
    ended, written, lock = threading.Event(), set(), threading.Lock()

    def write(number):
        chance, count = random.Random(number), 0
        connection = nodes[number].connect()
        cursor = connection.cursor()
        while not ended.is_set():
            count += 1
            key, mail, code = 1000 * count + number, f"m{chance.randint(1, 40)}", f"p{chance.randint(1, 12)}"
            what = chance.random()
            try:
                if what < 0.4:
                    cursor.execute("insert into u values (%s, %s, 0)", (key, mail))
                    with lock:
                        written.add(("u", key))
                elif what < 0.5:
                    cursor.execute("update u set mail = %s where id = (select id from u order by random() limit 1)", (mail,))
                elif what < 0.85:
                    cursor.execute("insert into child values (%s, %s, '')", (key, code))
                    with lock:
                        written.add(("child", key))
                elif what < 0.95:
                    cursor.execute("insert into grandchild select %s, id from child order by random() limit 1", (key,))
                else:
                    cursor.execute("delete from parent where code = %s and not exists (select 1 from child where parent = code)", (code,))
                    cursor.execute("insert into parent values (%s, '') on conflict do nothing", (code,))
                    if chance.random() < 0.5:
                        cursor.execute("begin; delete from grandchild where child in (select id from child where parent = %s);"
                                       " delete from child where parent = %s; delete from parent where code = %s; commit",
                                       (code, code, code))  # fmt: skip
            except psycopg2.Error:
                if connection.closed:
                    return
                cursor.execute("rollback")
            time.sleep(0.004)

    for node in nodes:  # what writers delete themselves is not lost
        node.sql("""create table gone (tab text, id int);
                    create function gone() returns trigger language plpgsql as $$ begin
                      insert into gone values (tg_table_name, old.id); return old; end $$;
                    create trigger gone after delete on child for each row execute function gone();
                    create trigger gone after delete on u for each row execute function gone()""".replace("execute function", "execute procedure"))  # fmt: skip
    threads = [threading.Thread(target=write, args=(i,), daemon=True) for i in range(n)]
    for thread in threads:
        thread.start()
    time.sleep(6)
    ended.set()
    for thread in threads:
        thread.join(20)
    rows = settle(service, nodes, timeout=90)
    for node in nodes:
        no_orphans(node)
    assert len({row[1] for row in rows["u"]}) == len(rows["u"])
    records = kept(service)
    there = {("u", row[0]) for row in rows["u"]} | {("child", row[0]) for row in rows["child"]}
    for node in nodes:
        there |= set(node.sql("select tab, id from gone"))
    for r in records:
        there |= {(r["table"], json.loads(r[name])["id"]) for name in ("from_row", "to_row") if r[name] and r["table"] in ("u", "child")}
    assert len(written) > 200
    assert not written - there, f"{len(written - there)} of {len(written)} rows are nowhere: {sorted(written - there)[:10]}"
    assert {"unique", "foreign key"} <= {r["kind"] for r in records}
    service.stop()
