"""Scenarios with several sources, and of what comes after them: those of Bucardo's own tests that
test_service_scenarios.py does not have.

"apart" is what is done on the nodes while nothing is carried, so that it meets later.
"""

import pytest

from lib.scenarios import (Scenario, Sync, flush, in_session, on, pause, problem, resume, rows, same, soon, state)  # fmt: skip

SCENARIOS = []
SIMPLE = "create table t (id int primary key, v text);"
WITH_ROWS = {"*": SIMPLE + "insert into t select i, 'x' from generate_series(1, 9) i"}

# What one source has to hear of another may have to take two steps, by way of the hub.
settled = [flush(), flush()]


def scenario(*args, **options):
    SCENARIOS.append(Scenario(*args, **options))


def apart(*steps):
    return [pause("s"), *steps, resume("s"), *settled]


scenario(
    "two sources and two targets",
    nodes="A B C D",
    setup={"*": SIMPLE},
    syncs=[Sync("s", "A:source, B:source, C, D", tables="t")],
    steps=[
        flush(),
        on("A", "insert into t values (1, 'a'), (2, 'a'), (3, 'a')"),
        on("B", "insert into t values (11, 'b'), (12, 'b')"),
        *settled,
        rows("D", "select id from t order by 1", [(1,), (2,), (3,), (11,), (12,)]),
        same(*"ABCD"),
        on("A", "update t set v = 'by a' where id = 11; delete from t where id = 1"),
        on("B", "update t set id = 20 where id = 2; delete from t where id = 12"),
        # a target's own changes are nobody else's business
        on("C", "insert into t values (99, 'c')"),
        *settled,
        rows("A", "select * from t order by 1", [(3, "a"), (11, "by a"), (20, "a")]),
        same(*"ABD"),
        rows("C", "select id from t order by 1", [(3,), (11,), (20,), (99,)]),
    ],
)

scenario(
    "three sources and a target: what all of them delete and insert comes together",
    nodes="A B C D",
    setup=WITH_ROWS,
    syncs=[Sync("s", "A:source, B:source, C:source, D", tables="t", onetimecopy="no")],
    steps=[
        flush(),
        *apart(
            on("A", "delete from t where id in (1, 4); insert into t values (10, 'a')"),
            on("B", "delete from t where id in (2, 4); insert into t values (20, 'b')"),
            on("C", "delete from t where id in (3, 4); update t set v = 'c' where id = 5"),
        ),
        rows("D", "select id from t order by 1", [(5,), (6,), (7,), (8,), (9,), (10,), (20,)]),
        same(*"ABCD"),
    ],
)

scenario(
    "the same new row on two and on three sources: in the end it is the same everywhere",
    nodes="A B C",
    setup={"*": SIMPLE},
    syncs=[Sync("s", "A:source, B:source, C:source", tables="t")],
    steps=[
        flush(),
        *apart(
            on("A", "insert into t values (1, 'a'), (3, 'a')"),
            on("B", "insert into t values (1, 'b'), (2, 'b'), (3, 'b')"),
            on("C", "insert into t values (2, 'c'), (3, 'c')"),
        ),
        same(*"ABC"),
        rows("A", "select count(*) from t", [(3,)]),
        on("A", "delete from t where id = 3"),
        *settled,
        rows("C", "select count(*) from t", [(2,)]),
        same(*"ABC"),
    ],
)

scenario(
    "the row that was written last wins, whichever transaction commits last",
    nodes="A B",
    setup=WITH_ROWS,
    syncs=[Sync("s", "A:source, B:source", tables="t", onetimecopy="no")],
    steps=[
        flush(),
        *apart(
            in_session("A", "early", "begin; update t set v = 'a, early' where id = 1"),
            on("B", "update t set v = 'b, late' where id = 1; update t set v = 'b, early' where id = 2"),
            in_session("A", "early", "commit"),
            on("A", "update t set v = 'a, late' where id = 2"),
        ),
        rows("A", "select v from t where id < 3 order by id", [("b, late",), ("a, late",)]),
        same("A", "B"),
    ],
)

scenario(
    "a list of databases decides: the first of them that has changed the row",
    nodes="A B C D",
    setup=WITH_ROWS,
    syncs=[Sync("s", "A:source, B:source, C:source, D", tables="t", onetimecopy="no", conflict="C, A, B")],
    steps=[
        flush(),
        *apart(
            on("C", "update t set v = 'c' where id = 1"),
            on("A", "update t set v = 'a' where id in (1, 2)"),
            on("B", "update t set v = 'b' where id in (1, 2, 3)"),
        ),
        rows("D", "select v from t where id <= 4 order by id", [("c",), ("a",), ("b",), ("x",)]),
        same(*"ABCD"),
    ],
)

scenario(
    "a list with a database that is not there is refused",
    nodes="A B",
    setup=WITH_ROWS,
    syncs=[Sync("s", "A:source, B:source", tables="t", conflict="A, Z")],
    begins=False,
    steps=[problem("Z", at="conflict")],
)

scenario(
    "sequences of several sources are left alone, so interleaved ones stay so",
    nodes="A B",
    setup={"*": "create table t (id bigserial primary key, v text);",
           "A": "alter sequence t_id_seq increment 2 restart 1", "B": "alter sequence t_id_seq increment 2 restart 2"},
    syncs=[Sync("s", "A:source, B:source")],
    steps=[
        flush(),
        on("A", "insert into t (v) select 'a' from generate_series(1, 5)"),
        on("B", "insert into t (v) select 'b' from generate_series(1, 3)"),
        *settled,
        same("A", "B"),
        rows("A", "select last_value from t_id_seq", [(9,)]),
        rows("B", "select last_value from t_id_seq", [(6,)]),
        on("A", "insert into t (v) values ('a')"),
        on("B", "insert into t (v) values ('b')"),
        *settled,
        rows("B", "select id from t order by 1", [(i,) for i in (1, 2, 3, 4, 5, 6, 7, 8, 9, 11)]),
        same("A", "B"),
    ],
)  # fmt: skip

scenario(
    "truncate on one of two sources, and then work as usual",
    nodes="A B C",
    setup=WITH_ROWS,
    syncs=[Sync("s", "A:source, B:source, C", tables="t", onetimecopy="no")],
    steps=[
        flush(),
        on("A", "truncate t; insert into t values (100, 'a')"),
        *settled,
        rows("C", "select id from t", [(100,)]),
        same(*"ABC"),
        on("B", "truncate t; insert into t values (200, 'b'); insert into t values (201, 'b')"),
        *settled,
        rows("C", "select id from t order by 1", [(200,), (201,)]),
        same(*"ABC"),
        on("A", "update t set v = 'a' where id = 200"),
        on("B", "delete from t where id = 201"),
        *settled,
        rows("C", "select * from t", [(200, "a")]),
        same(*"ABC"),
    ],
)

scenario(
    "both sources truncate: they become equal, and what one of them wrote afterwards is there",
    nodes="A B",
    setup=WITH_ROWS,
    syncs=[Sync("s", "A:source, B:source", tables="t", onetimecopy="no")],
    steps=[
        flush(),
        *apart(
            on("A", "truncate t; insert into t values (100, 'a')"),
            on("B", "truncate t; insert into t values (200, 'b')"),
        ),
        same("A", "B"),
        rows("A", "select count(*) from t", [(1,)]),
    ],
)

EMPLOYEES = """
create table employee (id int primary key, subid int, email text, active bool not null default true);
create unique index employee_email on employee (subid, lower(email)) where active;
create table supplies (id int primary key, employee int not null references employee);
"""

scenario(
    "a unique value on two sources: it is told which, and when somebody has mended it everything goes on",
    nodes="A B",
    setup={"*": EMPLOYEES},
    syncs=[Sync("s", "A:source, B:source")],
    steps=[
        flush(),
        *apart(
            on("A", "insert into employee values (1, 1, 'Mail@x.org'); insert into supplies values (1, 1)"),
            on("B", "insert into employee values (2, 1, 'mail@X.org'); insert into supplies values (2, 2)"),
        )[:-2],
        state("s", "B", "failed", says="employee_email"),
        on("B", "update employee set active = false where id = 2"),
        *settled,
        rows("A", "select id, active from employee order by 1", [(1, True), (2, False)]),
        same("A", "B"),
        state("s", "B", "in step"),
    ],
)

scenario(
    "one source deletes the parent, the other one gives it a child: it is told, and no side gets a child without parent",
    nodes="A B",
    setup={"*": "create table z_parent (id int primary key); insert into z_parent values (1), (2);"
                "create table child (id int primary key, parent int not null references z_parent)"},
    syncs=[Sync("s", "A:source, B:source", onetimecopy="no")],
    steps=[
        flush(),
        *apart(on("A", "delete from z_parent where id = 1"), on("B", "insert into child values (11, 1)"))[:-2],
        state("s", "B", "failed", says="child_parent_fkey"),
        *[rows(node, "select count(*) from child where parent not in (select id from z_parent)", [(0,)]) for node in "AB"],
    ],
)

REFUSES = """
create sequence tries;
create function refuse() returns trigger language plpgsql as $$
begin
    if nextval('public.tries') <= 2 then raise 'not now' using errcode = '40001'; end if;
    return new;
end $$;
create trigger refuse before insert on t for each row execute procedure refuse();
alter table t enable always trigger refuse;
"""

scenario(
    "a serialization failure on the target is tried again",
    nodes="A B",
    setup={"*": SIMPLE, "B": REFUSES},
    syncs=[Sync("s", "A, B", tables="t")],
    steps=[
        flush(),
        on("A", "insert into t values (1, 'x')"),
        soon("B", "select id from t", [(1,)]),
        rows("B", "select last_value from tries", [(3,)]),
        on("A", "insert into t values (2, 'x')"),
        flush(),
        same("A", "B"),
    ],
)

# Who hands on what

for cascade in (True, False):
    scenario(
        f"two sources, one of which has another sync to a third, {'with' if cascade else 'without'} cascade",
        nodes="A B C",
        setup={"*": SIMPLE},
        syncs=[
            Sync("s", "A:source, B:source", tables="t"),
            Sync("on", "B, C", tables="t", cascade="yes" if cascade else "no"),
        ],
        steps=[
            flush("s"),
            flush("on"),
            on("A", "insert into t values (1, 'a')"),
            on("B", "insert into t values (2, 'b')"),
            flush("s"),
            flush("s"),
            flush("on"),
            same("A", "B"),
            rows("C", "select id from t order by 1", [(1,), (2,)] if cascade else [(2,)]),
            rows("A", "select id from t order by 1", [(1,), (2,)]),
        ],
    )

scenario(
    "a chain of sources: A and B, B and C, and C to D",
    nodes="A B C D",
    setup={"*": SIMPLE},
    syncs=[
        Sync("ab", "A:source, B:source", tables="t", cascade="yes"),
        Sync("bc", "B:source, C:source", tables="t", cascade="yes"),
        Sync("cd", "C, D", tables="t", cascade="yes"),
    ],
    steps=[
        flush(),
        on("A", "insert into t values (1, 'a')"),
        on("B", "insert into t values (2, 'b')"),
        on("C", "insert into t values (3, 'c')"),
        *[flush(name) for name in ("ab", "bc", "ab", "cd")],
        rows("D", "select id from t order by 1", [(1,), (2,), (3,)]),
        same(*"ABCD"),
        on("C", "delete from t where id = 1"),
        on("A", "update t set v = 'by a' where id = 3"),
        *[flush(name) for name in ("ab", "bc", "ab", "cd")],
        rows("D", "select * from t order by 1", [(2, "b"), (3, "by a")]),
        same(*"ABCD"),
    ],
)

LEAVES = "BCDE"

scenario(
    "a star: a sync of its own for each leaf",
    nodes="A " + " ".join(LEAVES),
    setup={"*": SIMPLE},
    syncs=[Sync(f"s{leaf}", f"A:source, {leaf}:source", tables="t", cascade="yes") for leaf in LEAVES],
    steps=[
        flush(),
        on("A", "insert into t values (0, 'a')"),
        flush(),
        rows("E", "select id from t", [(0,)]),
        same("A", *LEAVES),
        *[on(leaf, f"insert into t values ({i}, '{leaf}')") for i, leaf in enumerate(LEAVES, 1)],
        flush(),
        flush(),
        rows("B", "select count(*) from t", [(5,)]),
        same("A", *LEAVES),
    ],
)

scenario(
    "a table that one of two targets lacks: the other one has it, and this one begins when it is there",
    nodes="A B C",
    setup={"*": SIMPLE, "A": "create table u (id int primary key)", "B": "create table u (id int primary key)"},
    syncs=[Sync("s", "A, B, C")],
    steps=[
        on("A", "insert into t values (1, 'x'); insert into u values (1)"),
        soon("B", "select id from u", [(1,)]),
        rows("C", "select id from t", []),
        on("C", "create table u (id int primary key)"),
        flush(),
        same(*"ABC"),
    ],
)


@pytest.mark.timeout(120)
def test_scenario(scenario, plays):
    plays(scenario)
