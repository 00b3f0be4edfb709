"""Attacks on the service: tables that are altered, replaced and swapped at the worst moment, and copies that others get in the way of.

Scenarios in the manner of test_service_scenarios.py.
"""

import pytest

from lib.scenarios import (Pgtandem, Scenario, Sync, command, flush, in_session, log_says, look_again, on, ours, pause, play,
                           resume,
                           rows, same, soon, state, table_state)  # fmt: skip
from lib.wait import poll_until

SCENARIOS = []


def scenario(*args, **options):
    SCENARIOS.append(Scenario(*args, **options))


def waits_for_lock(node, relation):
    """Until a session of ours waits for a lock on this relation."""
    query = ("select count(*) from pg_locks l join pg_stat_activity a on a.pid = l.pid where not l.granted"
             f" and l.relation = '{relation}'::regclass and a.application_name like 'pgtandem%%'")
    return ours(f"somebody waits for {relation} on {node}",
                lambda world: poll_until(lambda: world.node(node).value(query) > 0, 10, "a lock that is waited for"))


def restart():
    def do(world):
        world.replicator.stop()
        world.replicator.start()

    return ours("restart", do)


SIMPLE = "create table t (id int primary key, v text);"

ROTATE = "alter table t rename to t_old; create table t (id int primary key, v text);"

scenario(
    "a table is put aside under another name and made anew, and the old one is written to at once",
    nodes="A B",
    setup={"*": SIMPLE, "A": "insert into t select i, 'x' from generate_series(1, 9) i"},
    syncs=[Sync("s", "A, B")],
    steps=[
        flush(),
        same("A", "B"),
        on("B", ROTATE),
        on("A", ROTATE),
        on("A", "update t_old set v = 'late' where id = 3; delete from t_old where id = 4; insert into t_old values (10, 'late')"),
        on("A", "insert into t values (100, 'new')"),
        look_again(),
        flush(),
        same("A", "B"),
        on("A", "update t_old set v = 'later' where id = 5; update t set v = 'newer'"),
        flush(),
        same("A", "B"),
    ],
)

scenario(
    "the same, with the target altered later",
    nodes="A B",
    setup={"*": SIMPLE, "A": "insert into t select i, 'x' from generate_series(1, 9) i"},
    syncs=[Sync("s", "A, B")],
    steps=[
        flush(),
        same("A", "B"),
        on("A", "begin; update t set v = 'early' where id = 2;" + ROTATE
                + "update t_old set v = 'late' where id = 3; delete from t_old where id = 4; commit"),
        on("A", "insert into t values (1, 'new'), (100, 'new')"),
        look_again(),
        on("B", ROTATE),
        look_again(),
        flush(),
        same("A", "B"),
    ],
)  # fmt: skip

scenario(
    "a new table does not get what a table that is gone left in the queue",
    nodes="A B",
    setup={"*": SIMPLE + "create table z (id int primary key, v text);", "A": "insert into z values (1, 'x')"},
    syncs=[Sync("s", "A, B", onetimecopy="always")],
    steps=[
        flush(),
        on("B", "drop table z"),
        on("A", "begin; truncate z; drop table z; commit"),
        look_again(),
        on("B", "create table y (id int primary key, v text)"),
        on("A", "create table y (id int primary key, v text); insert into y values (1, 'y'), (2, 'y')"),
        look_again(),
        flush(),
        same("A", "B"),
    ],
)

scenario(
    "the same with keys of other types",
    nodes="A B",
    setup={"*": SIMPLE + "create table z (id int primary key, v text);", "A": "insert into z values (1, 'x')"},
    syncs=[Sync("s", "A, B")],
    steps=[
        flush(),
        on("B", "drop table z"),
        on("A", "begin; update z set v = 'y'; drop table z; commit"),
        look_again(),
        on("B", "create table y (id text primary key, v text)"),
        on("A", "create table y (id text primary key, v text); insert into y values ('1', 'y'), ('2', 'y')"),
        look_again(),
        flush(),
        same("A", "B"),
    ],
)

scenario(
    "triggers of ours are off for a while: every edge that reads the table copies it",
    nodes="A B C D",
    setup={"*": SIMPLE, "A": "insert into t values (1, 'x'), (2, 'x')"},
    syncs=[Sync("s", "A, B, C"), Sync("r", "A, D")],
    steps=[
        flush(),
        on("A", "alter table t disable trigger all; delete from t where id = 1; alter table t enable trigger all"),
        command("kick", "r", "--wait=20s"),
        soon("D", "select id from t", [(2,)]),
        look_again(),
        flush(),
        same("A", "B", "C", "D"),
    ],
)

scenario(
    "a captured table becomes the child of another one, and is written to by its parent",
    nodes="A B",
    setup={"*": SIMPLE + "create table c (id int primary key, v text);",
           "A": "insert into t values (1, 'x'), (2, 'x'); insert into c values (1, 'x'), (2, 'x'), (3, 'x')"},
    syncs=[Sync("s", "A, B")],
    steps=[
        flush(),
        on("B", "alter table c inherit t"),
        on("A", "alter table c inherit t"),
        look_again(),
        on("A", "update t set v = 'by the parent'; delete from t where id = 2"),
        flush(),
        same("A", "B"),
    ],
)  # fmt: skip

scenario(
    "a table gets the name of one that the target has, too",
    nodes="A B",
    setup={"*": SIMPLE, "B": "create table u (id int primary key, v text); insert into u values (77, 'of another')",
           "A": "insert into t values (1, 'x'), (2, 'x')"},
    syncs=[Sync("s", "A, B")],
    steps=[
        flush(),
        on("A", "alter table t rename to u"),
        look_again(),
        on("A", "insert into u values (3, 'x')"),
        flush(),
        same("A", "B", tables=["u"]),
    ],
)  # fmt: skip

scenario(
    "the target's table is made anew",
    nodes="A B",
    setup={"*": SIMPLE, "A": "insert into t values (1, 'x'), (2, 'x')"},
    syncs=[Sync("s", "A, B")],
    steps=[
        flush(),
        on("B", "begin; drop table t; create table t (id int primary key, v text); commit"),
        restart(),
        flush(),
        same("A", "B"),
    ],
)

FAMILY = """
create table p (id int primary key, v text unique);
create table q (id int primary key, p int references p on delete cascade);
create table r (id int primary key, q int references q on delete cascade);
"""

scenario(
    "foreign keys that act: a child that is copied later than its parent may refer to a newer one",
    nodes="A B",
    setup={"*": FAMILY, "A": "insert into p values (1, 'x'); insert into q values (1, 1)"},
    syncs=[Sync("s", "A, B", target_triggers="fire")],
    begins=False,
    steps=[
        ours("start", lambda world: world.replicator.service.start(fault="service.copied:sleep=2000")),
        log_says("fault point service.copied"),
        on("A", "insert into p values (2, 'y'); insert into q values (2, 2)"),
        flush(),
        same("A", "B"),
        table_state("s", "q", "ok"),
    ],
)

scenario(
    "foreign keys that act: nothing is lost with a grandparent that has to be deleted first",
    nodes="A B",
    setup={"*": FAMILY + "create table x (id int primary key, v text unique);",
           "A": "insert into p values (1, 'x'), (2, 'y'); insert into q values (1, 1); insert into r values (1, 1);"
                "insert into x values (1, 'free')"},
    syncs=[Sync("s", "A, B", target_triggers="fire")],
    steps=[
        flush(),
        on("A", "begin; update q set p = 2; delete from p where id = 1; delete from x; insert into x values (2, 'free'); commit"),
        state("s", "B", "failed", "takes 1 other row along"),
        rows("B", "select * from r", [(1, 1)]),
        on("B", "delete from x"),
        flush(),
        same("A", "B"),
    ],
)  # fmt: skip

HALF = """
create table a (id int primary key, b int);
create table b (id int primary key, a int references a);
alter table a add foreign key (b) references b deferrable;
"""

scenario(
    "foreign keys that act: a circle of which one half is deferrable",
    nodes="A B",
    setup={"*": HALF},
    syncs=[Sync("s", "A, B", target_triggers="fire")],
    steps=[
        flush(),
        on("A", "begin; set constraints all deferred; insert into a values (1, 1); insert into b values (1, 1); commit"),
        flush(),
        same("A", "B"),
        on("A", "begin; set constraints all deferred; delete from b; delete from a; commit"),
        flush(),
        same("A", "B"),
    ],
)

scenario(
    "recopy of one sync takes nothing away between the sources of another",
    nodes="A B C",
    setup={"*": SIMPLE, "A": "insert into t values (1, 'x')"},
    syncs=[Sync("m", "A:source, B:source", conflict="latest"), Sync("f", "A, C", target_triggers="fire")],
    steps=[
        flush(),
        pause("m"),
        on("B", "insert into t values (2, 'only in B so far')"),
        command("recopy", "f"),
        flush("f"),
        resume("m"),
        flush(),
        rows("B", "select * from t order by 1", [(1, "x"), (2, "only in B so far")]),
        same("A", "B"),
    ],
)

scenario(
    "a source that is copied to because it is empty may be written to meanwhile",
    nodes="A B",
    setup={"*": SIMPLE, "A": "insert into t values (1, 'x')"},
    syncs=[Sync("m", "A:source, B:source", conflict="latest")],
    begins=False,
    steps=[
        ours("start", lambda world: world.replicator.service.start(fault="service.copying:sleep=3000")),
        log_says("fault point service.copying"),
        state("m", "A", "in step"),
        command("pause", "m"),
        state("m", "A", "paused"),
        on("B", "insert into t values (2, 'local')"),
        soon("B", "select state <> 'copying' from pgtandem.edge", [(True,)]),
        command("resume", "m"),
        flush(),
        same("A", "B"),
        rows("B", "select count(*) from t where id = 2", [(1,)]),
    ],
)

scenario(
    "a partition is attached while the table is copied",
    nodes="A B",
    setup={"*": "create table s (id int, r text, v text, primary key (id, r)) partition by list (r);"
                "create table s_a partition of s for values in ('a');",
           "A": "create table s_b (id int, r text, v text, primary key (id, r));"
                "insert into s values (1, 'a', 'x'); insert into s_b values (2, 'b', 'x'), (3, 'b', 'x')",
           "B": "create table s_b partition of s for values in ('b');"},
    syncs=[Sync("s", "A, B", tables="s")],
    tables=["s"],
    steps=[
        flush(),
        in_session("B", "busy", "begin; lock table s in share mode"),
        command("recopy", "s"),
        waits_for_lock("B", "s"),
        on("A", "alter table s attach partition s_b for values in ('b')"),
        in_session("B", "busy", "commit"),
        soon("B", "select count(*) > 0 from s", [(True,)]),
        on("A", "delete from s_b where id = 2"),
        look_again(),
        flush(),
        same("A", "B"),
    ],
)  # fmt: skip

ASIDE = "alter table t rename v to old_v; alter table t add v text;"

scenario(
    "a column is put aside while a round waits for the table",
    nodes="A B",
    setup={"*": SIMPLE, "A": "insert into t select i, 'x' from generate_series(1, 9) i"},
    syncs=[Sync("s", "A, B")],
    steps=[
        flush(),
        pause("s"),
        on("A", "update t set v = 'y'"),
        in_session("A", "ddl", "begin;" + ASIDE),
        resume("s"),
        waits_for_lock("A", "t"),
        in_session("A", "ddl", "commit"),
        command("kick", "s", "--wait=2s", rc=1),
        on("B", ASIDE),
        look_again(),
        flush(),
        same("A", "B"),
    ],
)


def replicator(new_service, nodes):
    return Pgtandem(new_service, nodes)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("one", [
    pytest.param(one, marks=pytest.mark.xfail(reason=one.known, strict=True) if one.known else ()) for one in SCENARIOS
], ids=repr)
def test_attack(nodes, new_service, one):
    made = nodes(*one.nodes)
    databases = {label: made[label] for label in one.nodes}
    failure = play(one, databases, replicator(new_service, databases))
    if failure:
        pytest.fail(failure, pytrace=False)
