"""What a sync does, as a table of scenarios: who carries what to whom, under which names, and what stays away.

Each is data for lib/scenarios.py; those with several sources are in test_service_scenarios_masters.py. With PGTANDEM_TEST_REPLICATOR=bucardo those that it has an equivalent for
are played with Bucardo, for comparison (script/scenarios).
"""

import pytest

from lib.scenarios import (Scenario, Sync, command, edit, flush, flush_but,
                           in_session, log_says, look_again, nothing_installed, numbers, on,
                           pause, problem, refused, restart, resume, rows, same, soon, state, table_state,
                           workers)  # fmt: skip
from lib.tool import FAILED

SCENARIOS = []


def scenario(*args, **options):
    SCENARIOS.append(Scenario(*args, **options))


# Keys of every kind: (table, key column, type, value of the number @)

KEYS = [
    ("small", "id", "smallint", "@"),
    ('"Big"', '"Id"', "bigint", "@ * 10000000000"),
    (r'''"\Pbc'N"''', r'"k\e y"', "text", r"E'\\N \\. ''x'' \t ü ' || @"),
    ("dates", '"id space"', "date", "date '2024-02-28' + @"),
    ("stamps", "id", "timestamp", "timestamp '2024-03-30 23:59:59.999999' + @ * interval '1 s'"),
    ("zones", "id", "timestamptz", "timestamptz '2024-03-31 01:30+01' + @ * interval '1 h'"),
    ("numbers", "id", "numeric", "@ / 7.0"),
    ("bytes", "id", "bytea", "decode(md5(@::text), 'hex')"),
    ("domains", "id", "positive", "@"),
    ('"a table with, dots."', "id", "uuid", "md5(@::text)::uuid"),
]
NAMES = [name for name, *_ in KEYS] + ["several"]

KEY_TABLES = (
    "create domain positive as int check (value > 0); create table noted (what text);"
    "create function note() returns trigger language plpgsql as"
    " $$ begin insert into public.noted values (tg_table_name); return null; end $$;"
    + "".join(
        f"create table {name} ({key} {kind} primary key, email text unique, data1 text, inty smallint, booly bool);"
        for name, key, kind, _ in KEYS
    )
    + "create table several (id int, data1 text, email text unique, inty smallint, booly bool, primary key (data1, id));"
    + "".join(
        f"create trigger note after insert or update or delete on {name} for each row execute procedure note();"
        f"create rule noting as on insert to {name} do also insert into noted values ('rule');"
        for name in NAMES
    )
)


def add(*numbers):
    values = ", ".join(f"('mail {n}', 'data {n}', {n}, true)" for n in numbers)
    return "".join(
        f"insert into {name} ({key}, email, data1, inty, booly) select {value.replace('@', 'inty')}, email, data1, inty, booly"
        f" from (values {values}) v (email, data1, inty, booly);"
        for name, key, _, value in KEYS
    ) + f"insert into several (id, email, data1, inty, booly) select inty, * from (values {values}) v (email, data1, inty, booly);"


def for_all(statement):
    return "".join(statement.format(name) + ";" for name in NAMES)


def of_key(number, new):
    return "".join(
        f"update {name} set {key} = {value.replace('@', str(new))} where inty = {number};" for name, key, _, value in KEYS
    ) + f"update several set id = {new}, data1 = 'data {new}' where inty = {number};"


KEYS_CHANGE = [
    on("A", add(1, 2, 3, 4)),
    flush(),
    same("A", "B"),
    on("A", for_all("update {0} set data1 = 'changed', booly = null where inty = 2") + of_key(3, 7)),
    flush(),
    same("A", "B"),
    on("A", for_all("delete from {0} where inty = 1") + add(1) + of_key(4, 8) + of_key(4, 4)),
    flush(),
    same("A", "B"),
    # unique values and keys change places
    on("A", for_all("update {0} set email = 'mail -1' where inty = 1")
       + for_all("update {0} set email = 'mail 1' where inty = 2")
       + for_all("update {0} set email = 'mail 2' where inty = 1")
       + of_key(1, 20) + of_key(2, 1) + of_key(1, 2)),
    flush(),
    same("A", "B"),
    on("A", for_all("delete from {0}")),
    flush(),
    same("A", "B"),
    on("A", add(1, 2)),
    flush(),
    same("A", "B"),
    on("A", for_all("truncate {0}") + add(2, 3)),
    flush(),
    same("A", "B"),
    # triggers and rules of the target did not fire
    rows("B", "select count(*) from noted", [(0,)]),
]  # fmt: skip

scenario(
    "keys of every kind, one target",
    nodes="A B",
    setup={"*": KEY_TABLES},
    syncs=[Sync("s", "A, B", exclude="noted")],
    tables=NAMES,
    steps=KEYS_CHANGE,
)

scenario(
    "one source, four targets, one of them by a service file",
    nodes="A B C D E",
    setup={"*": KEY_TABLES, "A": add(1, 2)},
    sections="[group all]\nmembers = A, B, C:target, D, E",
    syncs=[Sync("s", "all", exclude="noted")],
    tables=NAMES,
    service_file="E",
    steps=[
        flush(),
        same(*"ABCDE"),
        on("A", add(3) + for_all("delete from {0} where inty = 1") + of_key(2, 5)),
        flush(),
        same(*"ABCDE"),
        *[rows(node, "select count(*) from noted", [(0,)]) for node in "BCDE"],
    ],
)

# Who carries to whom

SIMPLE = "create table t (id int primary key, v text);"

scenario(
    "fullcopy: tables without key, local edits overwritten, sequences",
    nodes="A B C",
    setup={
        "*": SIMPLE + 'create table keyless (v text); create sequence numbers; create sequence "Mixed Case";',
        "A": "insert into t values (1, 'a'); insert into keyless values ('x'), ('x'), (null);"
             "select nextval('numbers') from generate_series(1, 5)",
        "B": "insert into t values (1, 'local'), (2, 'local'); insert into keyless values ('local')",
    },  # fmt: skip
    syncs=[Sync("s", "A, B:fullcopy, C:fullcopy")],
    steps=[
        flush(),
        same("A", "B", "C"),
        on("B", "update t set v = 'local'; delete from keyless; insert into t values (77, 'local')"),
        on("A", "insert into t values (2, 'b'); insert into keyless values ('y'); select setval('\"Mixed Case\"', 44)"),
        flush(),
        same("A", "B", "C"),
        same("A", "B", "C", query="select last_value, is_called from numbers"),
        same("A", "B", "C", query='select last_value, is_called from "Mixed Case"'),
        on("A", "truncate t, keyless"),
        flush(),
        same("A", "B", "C"),
    ],
)

scenario(
    "push and fullcopy in one sync",
    nodes="A B C",
    setup={"*": SIMPLE, "A": "insert into t values (1, 'a')", "C": "insert into t values (9, 'local')"},
    syncs=[Sync("s", "A, B, C:fullcopy")],
    steps=[
        flush(),
        same("A", "B", "C"),
        on("A", "update t set v = 'b'"),
        flush(),
        same("A", "B", "C"),
    ],
)

for cascade in (True, False):
    arrived = [(1, "a"), (2, "of B")] if cascade else [(2, "of B")]
    scenario(
        f"cascade A B C, {'with' if cascade else 'without'} cascade",
        nodes="A B C",
        setup={"*": SIMPLE},
        syncs=[
            Sync("one", "A, B", tables="t"),
            Sync("two", "B, C", tables="t", cascade="yes" if cascade else "no"),
        ],
        steps=[
            flush("one"),
            flush("two"),
            on("B", "insert into t values (2, 'of B')"),
            on("A", "insert into t values (1, 'a')"),
            flush("one"),
            flush("two"),
            rows("C", "select * from t order by 1", arrived),
            rows("A", "select * from t order by 1", [(1, "a")]),
            # a row that came from A is changed on B itself, and goes on from there
            on("B", "update t set v = 'of B, too' where id = 1"),
            flush("two"),
            rows("C", "select * from t order by 1", [(1, "of B, too"), (2, "of B")]),
            on("A", "truncate t"),
            flush("one"),
            flush("two"),
            rows("B", "select * from t", []),
            rows("C", "select * from t order by 1", [] if cascade else [(1, "of B, too"), (2, "of B")]),
        ],
    )

scenario(
    "a cascade of four, and a copy made anew in its middle",
    nodes="A B C D",
    setup={"*": SIMPLE, "A": "insert into t select i, 'x' from generate_series(1, 500) i"},
    syncs=[Sync(f"s{i}", f"{a}, {b}", tables="t", cascade="yes") for i, (a, b) in enumerate(["AB", "BC", "CD"])],
    steps=[
        flush("s0"), flush("s1"), flush("s2"),
        same("A", "B", "C", "D"),
        on("A", "update t set id = id + 1000 where id < 100; delete from t where id % 7 = 0;"
                "insert into t select i, 'y' from generate_series(5001, 12000) i"),
        flush("s0"), flush("s1"), flush("s2"),
        same("A", "B", "C", "D"),
        on("B", "delete from t where id % 2 = 0"),
        command("recopy", "s0"),
        flush("s0"), flush("s1"), flush("s2"),
        same("A", "B", "C", "D"),
    ],
)  # fmt: skip

scenario(
    "two sources into one table of a hub, which hands on what it gets",
    nodes="H A B C",
    setup={"*": SIMPLE},
    syncs=[
        Sync("from_a", "A, H", tables="t", onetimecopy="no"),
        Sync("from_b", "B, H", tables="t", onetimecopy="no"),
        Sync("to_c", "H, C", tables="t", cascade="yes"),
    ],
    steps=[
        flush(),
        on("A", "insert into t select i, 'a' from generate_series(1, 9, 2) i"),
        on("B", "insert into t select i, 'b' from generate_series(2, 9, 2) i"),
        flush("from_a"), flush("from_b"), flush("to_c"),
        rows("H", "select count(*), count(*) filter (where v = 'a') from t", [(9, 5)]),
        same("H", "C"),
        on("A", "delete from t where id = 3; update t set v = 'changed' where id = 5"),
        on("B", "update t set id = id + 100"),
        flush("from_a"), flush("from_b"), flush("to_c"),
        rows("H", "select * from t order by 1", [(1, "a"), (5, "changed"), (7, "a"), (9, "a"),
                                                  (102, "b"), (104, "b"), (106, "b"), (108, "b")]),
        same("H", "C"),
        rows("A", "select count(*) from t where v = 'b'", [(0,)]),
    ],
)  # fmt: skip

scenario(
    "two sources with a table each into one target",
    nodes="A B C",
    setup={
        "*": "create table of_a (id int primary key, v text); create table of_b (like of_a including all);",
        "A": "insert into of_a values (1, 'a')",
        "B": "insert into of_b values (1, 'b')",
    },
    syncs=[Sync("a", "A, C", tables="of_a"), Sync("b", "B, C", tables="of_b")],
    steps=[
        flush(),
        same("A", "C", tables=["of_a"]),
        same("B", "C", tables=["of_b"]),
        on("A", "truncate of_a; insert into of_a values (2, 'a')"),
        on("B", "update of_b set id = 3"),
        flush(),
        same("A", "C", tables=["of_a"]),
        same("B", "C", tables=["of_b"]),
        rows("A", "select * from of_b", []),
    ],
)

scenario(
    "two syncs of one source: other tables, the same table, another pace",
    nodes="A B C",
    setup={"*": SIMPLE + "create table u (id int primary key, v text)"},
    syncs=[Sync("first", "A, B", tables="t"), Sync("second", "A, C", tables="t, u")],
    steps=[
        flush(),
        pause("second"),
        on("A", "insert into t values (1, 'x'); insert into u values (1, 'x')"),
        flush("first"),
        rows("B", "select * from t", [(1, "x")]),
        rows("B", "select * from u", []),
        rows("C", "select * from t union all select * from u", []),
        on("A", "update t set id = 2; delete from u"),
        flush("first"),
        resume("second"),
        flush("second"),
        same("A", "B", tables=["t"]),
        same("A", "C"),
    ],
)

scenario(
    "status counts what concerns the edge",
    nodes="A B C",
    setup={"*": SIMPLE + "create table quiet (id int primary key)"},
    syncs=[Sync("s", "A, B", tables="t"), Sync("quiet", "A, C", tables="quiet")],
    steps=[
        flush(),
        on("A", "insert into t select i, 'x' from generate_series(1, 1000) i"),
        flush(),
        numbers("quiet", "C", pending_changes=0, lag_s=0, rows=0),
        pause("s"),
        on("A", "insert into t values (0, 'x'); insert into quiet values (1)"),
        flush("quiet"),
        numbers("s", "B", pending_changes=1, rows=1000),
        numbers("quiet", "C", pending_changes=0, lag_s=0, rows=1),
    ],
)

scenario(
    "a copy under another name in the same database",
    nodes="A",
    setup={
        "A": SIMPLE + "create table twin (like t including all); create table other (like t including all);"
             "insert into t select i, 'x' from generate_series(1, 10) i",
    },  # fmt: skip
    sections="[db A2]\nconninfo = $A",
    syncs=[Sync("s", "A, A2", tables="t", rules={"t": {"target-name": "twin"}})],
    steps=[
        flush(),
        same("A", tables=["t"]),
        on("A", "update t set v = 'y' where id > 5; delete from t where id = 1"),
        flush(),
        rows("A", "select count(*) from (select * from t except select * from twin) x", [(0,)]),
        rows("A", "select count(*) from twin", [(9,)]),
        on("A", "truncate t"),
        flush(),
        rows("A", "select * from twin", []),
    ],
)

# Names

ODD = """
create schema "Odd, ""Schema"" ü.*";
create table "Odd, ""Schema"" ü.*"."T.able; x=y" ("from" int, "K\\é y" text, "a,""b" text, "%s" int default 3,
    primary key ("K\\é y", "from"));
create table "Odd, ""Schema"" ü.*"."#comment" ("sel""ect" int primary key, "ta""b" text);
create table "UPPER" (id int primary key, v text);
create table upper (id int primary key, v text);
create table "naïve ☃" (id int primary key, v text);
create table a1 (id int primary key); create table a2 (id int primary key); create table a22 (id int primary key);
create table "a?" (id int primary key); create table tmp_1 (id int primary key); create table tmp1 (id int primary key);
create view a9 as select 1 as id;
create table "[brackets]" (id int primary key);
"""
ODD_ROWS = """
insert into "Odd, ""Schema"" ü.*"."T.able; x=y" select i, E'k\\\\ey ''' || i, ',', i from generate_series(1, 20) i;
insert into "Odd, ""Schema"" ü.*"."#comment" values (1, 'x'), (2, null);
insert into "UPPER" values (1, 'upper'); insert into upper values (2, 'lower'); insert into "naïve ☃" values (1, '☃');
insert into a1 values (1); insert into a2 values (2); insert into a22 values (22); insert into "a?" values (3);
insert into tmp_1 values (1); insert into tmp1 values (1); insert into "[brackets]" values (1);
"""
ODD_CHANGES = """
update "Odd, ""Schema"" ü.*"."T.able; x=y" set "K\\é y" = 'new' where "from" = 7;
delete from "Odd, ""Schema"" ü.*"."T.able; x=y" where "from" > 15; update "Odd, ""Schema"" ü.*"."#comment" set "ta""b" = 'y';
update "UPPER" set v = 'changed'; insert into "naïve ☃" values (2, 'ü');
"""

scenario(
    "odd names of databases, schemas, tables and columns",
    nodes={"A": "odd 'name\" = \\ ü", "B": "odd; [other] #x"},
    setup={"*": ODD, "A": ODD_ROWS},
    syncs=[Sync("s", "A, B")],
    steps=[flush(), same("A", "B"), on("A", ODD_CHANGES), flush(), same("A", "B")],
)

scenario(
    "odd names written in the file, sets of tables and patterns",
    nodes="A B",
    setup={"*": ODD, "A": ODD_ROWS},
    sections="""
# a comment
[tables odd]
include = "Odd, ""Schema"" ü.*"."T.able; x=y",
    "Odd, ""Schema"" ü.*"."#comment", UPPER
; another
[tables more]
include = a?, tmp*, "naïve ☃", "[brackets]"
exclude = tmp_*, "a?"
""",
    syncs=[Sync("s", "A, B", tables="odd, more", exclude="a1")],
    steps=[
        flush(),
        on("A", ODD_CHANGES),
        flush(),
        same("A", "B", tables=['"Odd, ""Schema"" ü.*"."T.able; x=y"', '"Odd, ""Schema"" ü.*"."#comment"', '"UPPER"',
                               '"naïve ☃"', "a2", "tmp1", '"[brackets]"']),
        # not upper, since case counts; not a22, which is longer; not what is excluded
        rows("B", "select 'upper' from upper union all select 'a1' from a1 union all select 'a22' from a22"
                  " union all select 'a?' from \"a?\" union all select 'tmp_1' from tmp_1", []),
    ],
)  # fmt: skip

# Triggers of the target

FIRES = """
create table log (id serial primary key, what text);
create function note() returns trigger language plpgsql as
    $$ begin insert into public.log (what) values (tg_op || ' ' || new.v); return new; end $$;
create trigger note after insert or update on t for each row execute procedure note();
create rule also as on insert to t do also insert into log (what) values ('rule');
create function refuse() returns trigger language plpgsql as $$ begin raise 'refused'; end $$;
create trigger refuse before delete on t for each row execute procedure refuse();
"""

scenario(
    "triggers and rules of the target sleep",
    nodes="A B",
    setup={"*": SIMPLE, "B": FIRES + "alter database {B} set default_transaction_read_only = on"},
    syncs=[Sync("s", "A, B", tables="t", target_triggers="sleep")],
    steps=[
        on("A", "insert into t values (1, 'x'), (2, 'y')"),
        flush(),
        on("A", "update t set v = 'z'; delete from t where id = 2"),
        flush(),
        rows("B", "select * from t", [(1, "z")]),
        rows("B", "select * from log", []),
    ],
)

scenario(
    "triggers of the target fire, each change once",
    nodes="A B",
    setup={
        "*": SIMPLE,
        "B": FIRES + "alter table t disable trigger refuse; drop rule also on t",
    },
    syncs=[Sync("s", "A, B", tables="t", target_triggers="fire")],
    steps=[
        flush(),
        on("A", "insert into t values (1, 'x')"),
        flush(),
        on("A", "update t set v = 'y'"),
        flush(),
        rows("B", "select what from log order by id", [("INSERT x",), ("UPDATE y",)]),
        on("A", "delete from t"),
        flush(),
        rows("B", "select * from t", []),
    ],
)

FAMILY = """
create table a_child (id int primary key, parent int not null references z_parent on delete cascade on update cascade);
create table b_grandchild (id int primary key, child int references a_child on delete cascade);
"""

FAMILY_ROWS = """
insert into z_parent values (1, 'x'), (2, 'y'); insert into a_child values (11, 1), (12, 2);
insert into b_grandchild values (111, 11);
"""

scenario(
    "foreign keys of the target act (fire) on a first copy",
    nodes="A B",
    setup={"*": "create table z_parent (id int primary key, v text);" + FAMILY, "A": FAMILY_ROWS},
    syncs=[Sync("s", "A, B", target_triggers="fire")],
    steps=[
        flush(),
        same("A", "B"),
        command("recopy", "s"),
        flush(),
        same("A", "B"),
    ],
)

scenario(
    "foreign keys of the target act (fire) on rounds",
    nodes="A B",
    setup={"*": "create table z_parent (id int primary key, v text);" + FAMILY},
    syncs=[Sync("s", "A, B", target_triggers="fire")],
    steps=[
        flush(),
        on("A", FAMILY_ROWS),
        flush(),
        same("A", "B"),
        on("A", "insert into z_parent values (3, 'z'); insert into a_child values (13, 3)"),
        flush(),
        on("A", "update z_parent set id = 30 where id = 3; delete from z_parent where id = 1"),
        flush(),
        same("A", "B"),
        on("A", "truncate z_parent cascade"),
        flush(),
        same("A", "B"),
    ],
)

scenario(
    "foreign keys that act: children move between parents, unique values change hands, cascades take nothing along",
    nodes="A B",
    setup={"*": "create table z_parent (id int primary key, v text unique);" + FAMILY + """
           create table b_strict (id int primary key, parent int not null references z_parent on delete restrict);
           create table a_loop (id int primary key, next int references a_loop);
           """,
           "B": "create table local (id int primary key, parent int references z_parent on delete cascade)",
           "A": FAMILY_ROWS + "insert into b_strict values (1, 2)"},
    syncs=[Sync("s", "A, B", target_triggers="fire")],
    tables=["z_parent", "a_child", "b_grandchild", "b_strict", "a_loop"],
    steps=[
        flush(),
        on("B", "insert into local values (1, 1), (2, 2)"),
        # the child and the strict one leave the parent before it is deleted
        on("A", "insert into z_parent values (3, 'z'); update a_child set parent = 3 where id = 12; update b_strict set parent = 3;"
                "delete from z_parent where id = 2; insert into a_loop values (1, null), (2, 1), (3, 2)"),
        flush(),
        same("A", "B"),
        rows("B", "select * from local", [(1, 1)]),
        # a value that is free only after a deletion
        on("A", "insert into z_parent values (4, 'free'); insert into a_child values (14, 4)"),
        flush(),
        on("A", "delete from z_parent where id = 4; insert into z_parent values (5, 'free'); insert into a_child values (15, 5)"),
        flush(),
        same("A", "B"),
        # copied anew: rows that stay are not deleted in between, with all that refers to them
        on("B", "update z_parent set v = 'wrong' where id = 1; delete from b_grandchild; insert into z_parent values (99, 'too much')"),
        command("recopy", "s", "z_parent"),
        command("recopy", "s", "b_grandchild"),
        flush(),
        same("A", "B"),
        rows("B", "select * from local", [(1, 1)]),
        command("recopy", "s"),
        flush(),
        same("A", "B"),
        rows("B", "select * from local", [(1, 1)]),
        on("A", "begin; update a_loop set next = null; delete from a_loop; insert into a_loop values (4, null), (5, 4); commit"),
        flush(),
        same("A", "B"),
    ],
)

scenario(
    "foreign keys of the target sleep",
    nodes="A B",
    setup={
        "*": "create table z_parent (id int primary key, v text);" + FAMILY,
        "A": "insert into z_parent values (1, 'x'), (2, 'y'); insert into a_child values (11, 1), (12, 2)",
    },
    syncs=[Sync("s", "A, B")],
    steps=[
        flush(),
        same("A", "B"),
        on("A", "update z_parent set id = 30 where id = 2; delete from z_parent where id = 1;"
                "insert into z_parent values (4, ''); insert into a_child values (14, 4)"),
        flush(),
        same("A", "B"),
        on("A", "truncate z_parent cascade; insert into z_parent values (5, '')"),
        flush(),
        same("A", "B"),
    ],
)  # fmt: skip

# Truncate, sequences

scenario(
    "truncate",
    nodes="A B",
    setup={"*": SIMPLE + "create table u (id int primary key, v text)",
           "A": "insert into t select i, 'x' from generate_series(1, 50) i; insert into u select * from t"},  # fmt: skip
    syncs=[Sync("s", "A, B")],
    steps=[
        flush(),
        on("A", "truncate t, u; insert into t values (1, 'after')"),
        flush(),
        same("A", "B"),
        on("A", "insert into t values (2, 'x')"),
        flush(),
        on("A", "begin; insert into t values (3, 'before'); savepoint a; truncate t; insert into t values (4, 'gone');"
                "rollback to a; insert into t values (5, 'x'); commit"),
        flush(),
        same("A", "B"),
        on("A", "begin; truncate t; insert into t values (6, 'x'); truncate t; insert into t values (7, 'x'); commit"),
        flush(),
        rows("B", "select id from t", [(7,)]),
        # on the target only: that is nobody's business but the target's, and what changes later arrives
        on("B", "truncate t"),
        on("A", "insert into t values (8, 'x')"),
        flush(),
        rows("A", "select id from t order by 1", [(7,), (8,)]),
        rows("B", "select id from t", [(8,)]),
        on("A", "update t set v = 'y'"),
        flush(),
        same("A", "B"),
    ],
)  # fmt: skip

SEQUENCES = """
create table t (id bigserial primary key, v text); create sequence free; create sequence down increment -3 maxvalue 100;
create sequence "Mixed; Case" start 77; create sequence left_out; create schema s; create sequence s.other;
create table ident (id int generated always as identity (increment 10) primary key, v text);
"""
SEQUENCE_NAMES = ["t_id_seq", "free", "down", '"Mixed; Case"', "s.other", "ident_id_seq"]

scenario(
    "sequences",
    nodes="A B",
    setup={"*": SEQUENCES, "A": "select nextval('free'), nextval('down'), nextval('left_out')"},
    syncs=[Sync("s", "A, B", exclude="left_out")],
    steps=[
        flush(),
        *[same("A", "B", query=f"select last_value, is_called from {name}") for name in SEQUENCE_NAMES],
        on("A", "insert into t (v) select 'x' from generate_series(1, 50); insert into ident (v) values ('x'), ('y');"
                "select nextval('down') from generate_series(1, 9); select setval('free', 1000, false), nextval('s.other')"),
        flush(),
        *[same("A", "B", query=f"select last_value, is_called from {name}") for name in SEQUENCE_NAMES],
        on("A", "truncate t, ident restart identity; select setval('free', 3)"),
        flush(),
        *[same("A", "B", query=f"select last_value, is_called from {name}") for name in SEQUENCE_NAMES],
        same("A", "B"),
        rows("B", "select is_called from left_out", [(False,)]),
        # by themselves, though no row changes
        on("A", "select nextval('free')"),
        soon("B", "select last_value from free", [(4,)]),
    ],
)  # fmt: skip

scenario(
    "a sync of sequences only, and one that leaves them alone",
    nodes="A B C",
    setup={"*": SEQUENCES},
    syncs=[Sync("only", "A, B", tables="free, s.*"), Sync("without", "A, C", tables="all", sequences="no")],
    steps=[
        flush(),
        on("A", "select nextval('free'), nextval('s.other'); insert into t (v) values ('x')"),
        flush(),
        rows("B", "select last_value, is_called from free", [(1, True)]),
        rows("B", "select last_value, is_called from s.other", [(1, True)]),
        same("A", "C", tables=["t"]),
        rows("C", "select is_called from free union select is_called from t_id_seq", [(False,)]),
        rows("B", "select * from t", []),
    ],
)  # fmt: skip

# Columns, rows and names that differ

CUSTOMERS = "create table customers (id int primary key, name text, region text, inty int);"

scenario(
    "columns and names of tables, different for each target",
    nodes="A B C D",
    setup={
        "A": CUSTOMERS + "insert into customers select i, 'n' || i, 'eu', i from generate_series(1, 5) i",
        "B": "create schema crm; create table crm.clients (id int primary key, name text, email text, extra int default 5)",
        "C": 'create table "Kunden" (id int primary key, name text, region text, inty int)',
        "D": CUSTOMERS,
    },
    syncs=[
        Sync("s", "A, B, C, D", tables="customers", rules={"public.customers": {
            "target-name.B": "crm.clients",
            "columns.B": "id, upper(name) as name, lower(name) || '@x.org' as email",
            "target-name.C": '"Kunden"',
            "columns.D": "id, inty * 30 AS inty",
        }}),
    ],
    steps=[
        flush(),
        rows("B", "select count(*), count(distinct email), min(name), max(extra) from crm.clients", [(5, 5, "N1", 5)]),
        rows("C", 'select count(name) from "Kunden"', [(5,)]),
        rows("D", "select sum(inty), count(name) from customers", [(450, 0)]),
        on("A", "update customers set name = 'New' where id = 2; delete from customers where id = 3;"
                "update customers set id = 10 where id = 4; insert into customers values (20, 'x', 'us', 7)"),
        on("B", "update crm.clients set extra = 6 where id = 2"),
        flush(),
        rows("B", "select id, name, email, extra from crm.clients where id in (2, 3, 4, 10) order by 1",
             [(2, "NEW", "new@x.org", 6), (10, "N4", "n4@x.org", 5)]),
        rows("C", 'select id, name from "Kunden" order by 1', [(1, "n1"), (2, "New"), (5, "n5"), (10, "n4"), (20, "x")]),
        rows("D", "select id, inty from customers order by 1", [(1, 30), (2, 60), (5, 150), (10, 120), (20, 210)]),
        on("A", "truncate customers"),
        flush(),
        rows("B", "select * from crm.clients", []),
        rows("C", 'select * from "Kunden"', []),
        rows("D", "select * from customers", []),
    ],
)  # fmt: skip

scenario(
    "two tables change names on the way",
    nodes="A B",
    setup={"*": SIMPLE + "create table u (id int primary key, v text)", "A": "insert into t values (1, 't'); insert into u values (2, 'u')"},
    syncs=[Sync("s", "A, B", rules={"t": {"target-name": "u"}, "u": {"target-name": "t"}})],
    steps=[
        flush(),
        rows("B", "select * from t", [(2, "u")]),
        rows("B", "select * from u", [(1, "t")]),
        on("A", "update t set v = 'x'; truncate u"),
        flush(),
        rows("B", "select * from t", []),
        rows("B", "select * from u", [(1, "x")]),
    ],
)

EU = "select * from customers where region = 'eu' order by 1"
US = "select * from customers where region = 'us' order by 1"

scenario(
    "rows that enter and leave a filter",
    nodes="A B C",
    setup={"*": CUSTOMERS, "A": "insert into customers select i, 'n', case when i % 2 = 0 then 'eu' else 'us' end, i"
                                " from generate_series(1, 20) i; insert into customers values (99, 'n', null, 1)"},
    syncs=[Sync("s", "A, B, C", tables="customers", rules={
        "customers": {"where": "region = 'eu'", "where.C": "region = 'us'"}})],
    steps=[
        flush(),
        same("A", "B", query=EU),
        same("A", "C", query=US),
        rows("B", "select count(*) from customers", [(10,)]),
        # from one to the other, from nowhere, to nowhere, with another key, and back within one transaction
        on("A", "update customers set region = 'us' where id = 2; update customers set region = 'eu' where id in (3, 99);"
                "update customers set region = null where id = 4; update customers set id = 600, region = 'us' where id = 6;"
                "update customers set region = 'x' where id = 8; update customers set region = 'eu', name = 'm' where id = 8;"
                "delete from customers where id in (9, 10); insert into customers values (50, 'n', 'asia', 1)"),
        flush(),
        same("A", "B", query=EU),
        same("A", "C", query=US),
        rows("B", "select count(*) from customers where region <> 'eu'", [(0,)]),
        rows("C", "select count(*) from customers where region <> 'us'", [(0,)]),
        # many at once go another way
        on("A", "insert into customers select i, 'n', case when i % 3 = 0 then 'eu' else 'us' end, i"
                " from generate_series(1000, 9000) i"),
        flush(),
        same("A", "B", query=EU),
        same("A", "C", query=US),
        on("A", "update customers set region = case region when 'eu' then 'us' else 'eu' end where id > 1000"),
        flush(),
        same("A", "B", query=EU),
        same("A", "C", query=US),
        on("A", "truncate customers; insert into customers values (1, 'n', 'eu', 1), (2, 'n', 'us', 1)"),
        flush(),
        rows("B", "select id from customers", [(1,)]),
        rows("C", "select id from customers", [(2,)]),
    ],
)  # fmt: skip

scenario(
    "a filter that is changed later",
    nodes="A B",
    setup={"*": CUSTOMERS, "A": "insert into customers values (1, 'n', 'eu', 1), (2, 'n', 'us', 2)"},
    syncs=[Sync("s", "A, B", tables="customers", rules={"customers": {"where": "region = 'eu'"}})],
    steps=[
        flush(),
        rows("B", "select id from customers", [(1,)]),
        edit("region = 'eu'", "region = 'us'"),
        command("reload"),
        log_says("configuration read again"),
        command("recopy", "s"),
        soon("B", "select id from customers", [(2,)]),
        flush(),
        on("A", "insert into customers values (3, 'n', 'us', 3), (4, 'n', 'eu', 4)"),
        flush(),
        rows("B", "select id from customers order by 1", [(2,), (3,)]),
    ],
)

scenario(
    "columns in another order, more of them on the target, generated and identity columns",
    nodes="A B",
    setup={
        "A": """create table t (id int generated always as identity primary key, gone int, a text, b text,
                    g text generated always as (a || b) stored, n int generated by default as identity);
                alter table t drop gone; create table only_key (id int primary key);
                create unique index on t (n);
                create table unique_only (x int, code text not null, note text); create unique index on unique_only (code)""",
        "B": """create table t (b text, extra text default 'kept', n int generated by default as identity, a text,
                    id int generated always as identity primary key, later int, g text generated always as (a || b) stored);
                alter table t drop later; create table only_key (id int primary key);
                create table unique_only (note text, x int, code text not null); create unique index on unique_only (code)""",
    },
    syncs=[Sync("s", "A, B")],
    steps=[
        flush(),
        on("A", "insert into t (a, b) values ('a1', 'b1'), ('a2', 'b2'); insert into only_key values (1), (2);"
                "insert into unique_only values (1, 'x', 'y'), (null, 'z', null)"),
        flush(),
        on("B", "update t set extra = 'mine' where id = 1"),
        on("A", "update t set a = 'changed', b = null where id = 1; update t set b = 'B' where id = 2;"
                "update only_key set id = 3 where id = 1; update unique_only set code = 'w' where x = 1;"
                "delete from unique_only where x is null"),
        flush(),
        same("A", "B", query="select id, a, b, g, n from t order by 1"),
        same("A", "B", query="select * from only_key order by 1"),
        same("A", "B", query="select x, code, note from unique_only order by 2"),
        rows("B", "select id, extra from t order by 1", [(1, "mine"), (2, "kept")]),
    ],
)  # fmt: skip

scenario(
    "a generated column is the key",
    nodes="A B",
    setup={"*": "create table t (a int, id int generated always as (a * 2) stored primary key, v text)",
           "A": "insert into t (a, v) values (1, 'x')"},
    syncs=[Sync("s", "A, B")],
    steps=[
        flush(),
        on("A", "insert into t (a, v) values (2, 'y'), (3, 'z'); update t set a = 7 where id = 4; delete from t where id = 2"),
        flush(),
        same("A", "B"),
    ],
)  # fmt: skip

# When it works, and when not

scenario(
    "an inactive sync",
    nodes="A B C",
    setup={"*": SIMPLE, "A": "insert into t values (1, 'x')"},
    syncs=[Sync("on", "A, B", tables="t"), Sync("off", "A, C", tables="t", status="inactive")],
    steps=[
        flush("on"),
        rows("B", "select id from t", [(1,)]),
        rows("C", "select id from t", []),
        nothing_installed("C"),
        command("kick", "off", rc=FAILED, says="inactive"),
        state("off", "C", "inactive"),
        command("activate", "off"),
        flush("off"),
        same("A", "B", "C"),
        # what has worked before goes on where it stopped
        command("deactivate", "off"),
        state("off", "C", "inactive"),
        on("A", "update t set v = 'later'; insert into t values (2, 'x')"),
        flush("on"),
        rows("C", "select * from t", [(1, "x")]),
        command("activate", "off"),
        flush("off"),
        same("A", "B", "C"),
    ],
)

scenario(
    "no autokick: only when kicked, or after checktime",
    nodes="A B C D E",
    setup={"*": SIMPLE, "A": "insert into t values (1, 'x')"},
    syncs=[
        Sync("clock", "A, B", tables="t"),
        Sync("kicked", "A, C", tables="t", autokick="no"),
        Sync("timed", "A, D", tables="t", autokick="no", checktime="1s"),
        Sync("copied", "A, E:fullcopy", tables="t", checktime="1s"),
    ],
    steps=[
        flush(),
        same(*"ABCDE"),
        on("A", "insert into t values (2, 'x')"),
        soon("D", "select count(*) from t", [(2,)]),
        soon("E", "select count(*) from t", [(2,)]),
        flush("clock"),
        rows("C", "select count(*) from t", [(1,)]),
        # a restart is no kick
        restart(),
        flush("clock"),
        on("A", "insert into t values (3, 'x')"),
        soon("D", "select count(*) from t", [(3,)]),
        rows("C", "select count(*) from t", [(1,)]),
        command("kick", "kicked", "--wait"),
        rows("C", "select count(*) from t", [(3,)]),
        on("A", "insert into t values (4, 'x')"),
        command("kick", "kicked"),
        soon("C", "select count(*) from t", [(4,)]),
    ],
)

scenario(
    "onetimecopy no, if-empty, always",
    nodes="A B C D",
    setup={
        "*": SIMPLE + "create table u (id int primary key, v text)",
        "A": "insert into t values (1, 'a'), (2, 'a'); insert into u values (1, 'a'), (2, 'a')",
        "B": "insert into u values (1, 'own'), (3, 'own')",
        "C": "insert into u values (1, 'own'), (3, 'own')",
        "D": "insert into u values (1, 'own'), (3, 'own')",
    },
    syncs=[
        Sync("never", "A, B", onetimecopy="no"),
        Sync("empty", "A, C", onetimecopy="if-empty"),
        Sync("always", "A, D", onetimecopy="always"),
    ],
    steps=[
        flush(),
        rows("B", "select * from t", []),
        rows("C", "select * from t order by 1", [(1, "a"), (2, "a")]),
        rows("D", "select * from t order by 1", [(1, "a"), (2, "a")]),
        rows("B", "select * from u order by 1", [(1, "own"), (3, "own")]),
        rows("C", "select * from u order by 1", [(1, "own"), (3, "own")]),
        rows("D", "select * from u order by 1", [(1, "a"), (2, "a")]),
        # changes arrive whatever was there
        on("A", "update t set v = 'b'; update u set v = 'b'; insert into u values (3, 'b'); delete from t where id = 2"),
        flush(),
        *[same("A", node) for node in "BCD"],
        # a table is copied when it comes, not with each start
        on("D", "update u set v = 'own'"),
        on("C", "truncate t"),
        restart(),
        flush(),
        rows("D", "select v from u", [("own",)] * 3),
        rows("C", "select * from t", []),
    ],
)

scenario(
    "pause outlives a restart, changes wait",
    nodes="A B C",
    setup={"*": SIMPLE},
    syncs=[Sync("s", "A, B", tables="t"), Sync("clock", "A, C", tables="t")],
    steps=[
        flush(),
        pause("s"),
        state("s", "B", "paused"),
        on("A", "insert into t values (1, 'x')"),
        flush("clock"),
        rows("B", "select * from t", []),
        restart(),
        state("s", "B", "paused"),
        on("A", "insert into t values (2, 'x')"),
        flush("clock"),
        rows("B", "select * from t", []),
        command("kick", "s", "--wait=1s", rc=FAILED, says="paused"),
        resume("s"),
        flush(),
        same("A", "B", "C"),
    ],
)

# What cannot be carried

KEYLESS = SIMPLE + "create table keyless (v text); create table loose (id int unique, v text);"

scenario(
    "a table without key is refused, and nothing is installed",
    nodes="A B",
    setup={"*": KEYLESS},
    syncs=[Sync("s", "A, B", tables="t, keyless")],
    steps=[
        log_says("keyless has no primary key"),
        nothing_installed("A", "B"),
        problem("keyless", at="t, keyless"),
        command("kick", "s", "--wait=1s", rc=FAILED, says="has not begun"),
        edit("t, keyless", "t"),
        command("reload"),
        on("A", "insert into t values (1, 'x')"),
        flush(),
        same("A", "B"),
    ],
)

scenario(
    "tables without key among all tables are not left out silently",
    nodes="A B",
    setup={"*": KEYLESS},
    syncs=[Sync("s", "A, B")],
    steps=[
        log_says("keyless has no primary key"),
        nothing_installed("A", "B"),
        problem("keyless", at="[sync s]"),
        problem("loose", at="[sync s]"),
        edit("dbs = A, B", "dbs = A, B\nexclude = keyless, loose"),
        command("reload"),
        on("A", "insert into t values (1, 'x')"),
        flush(),
        same("A", "B"),
    ],
)

scenario(
    "a column that the target lacks stops this table only, until it is there",
    nodes="A B",
    setup={"*": SIMPLE + "create table u (id int primary key, v text)"},
    syncs=[Sync("s", "A, B")],
    steps=[
        flush(),
        on("A", "insert into t values (1, 'x'); insert into u values (1, 'x')"),
        flush(),
        on("A", "alter table t add more int; update t set more = 1; insert into t values (2, 'y', 2)"),
        on("A", "insert into u values (2, 'x')"),
        soon("B", "select count(*) from u", [(2,)]),
        table_state("s", "t", "stopped", "more"),
        table_state("s", "u", "ok"),
        rows("B", "select * from t", [(1, "x")]),
        on("A", "delete from t where id = 1; insert into t values (3, 'z', 3)"),
        flush_but("public.t"),
        on("B", "alter table t add more int"),
        look_again(),
        table_state("s", "t", "ok"),
        flush(),
        same("A", "B"),
    ],
)

scenario(
    "a column that is dropped on the target stops this table only",
    nodes="A B",
    setup={"*": SIMPLE + "create table u (id int primary key, v text)", "A": "insert into t values (1, 'x')"},
    syncs=[Sync("s", "A, B")],
    steps=[
        flush(),
        on("B", "alter table t drop v"),
        on("A", "update t set v = 'y'; insert into u values (1, 'x')"),
        soon("B", "select count(*) from u", [(1,)]),
        table_state("s", "t", "stopped", '"v"'),
        on("B", "alter table t add v text"),
        look_again(),
        table_state("s", "t", "ok"),
        flush(),
        same("A", "B", query="select id, v from t"),
    ],
)

scenario(
    "columns come and go on both sides",
    nodes="A B",
    setup={"*": SIMPLE, "A": "insert into t values (1, 'x')"},
    syncs=[Sync("s", "A, B")],
    steps=[
        flush(),
        on("B", "alter table t add n int default 5"),
        on("A", "alter table t add n int default 5; insert into t values (2, 'y', 7)"),
        flush(),
        same("A", "B"),
        on("A", "alter table t drop v; update t set n = 8 where id = 1"),
        flush(),
        same("A", "B", query="select id, n from t order by 1"),
        on("B", "alter table t alter n type numeric(10, 2)"),
        on("A", "alter table t alter n type numeric(10, 2); insert into t values (5, 1.25)"),
        flush(),
        same("A", "B", query="select id, n from t order by 1"),
        on("B", "alter table t rename n to amount"),
        on("A", "alter table t rename n to amount; update t set amount = 3.5 where id = 1"),
        look_again(),
        flush(),
        same("A", "B", query="select id, amount from t order by 1"),
    ],
)

scenario(
    "the key gets a larger type: the server refuses that until the trigger for changed keys is taken off",
    nodes="A B",
    setup={"*": SIMPLE, "A": "insert into t values (1, 'x')"},
    syncs=[Sync("s", "A, B")],
    steps=[
        flush(),
        on("B", "alter table t alter id type bigint"),
        refused("A", "alter table t alter id type bigint", "pgtandem_key"),
        on("A", "begin; drop trigger pgtandem_upd on t; drop trigger pgtandem_key on t;"
                "alter table t alter id type bigint; commit"),
        on("A", "insert into t values (5000000000, 'y'); update t set id = 2 where id = 1"),
        look_again(),
        soon("B", "select id from t order by 1", [(2,), (5000000000,)]),
        on("A", "delete from t where id > 2; update t set v = 'z'"),
        flush(),
        same("A", "B"),
    ],
)  # fmt: skip

scenario(
    "the key column gets another name: the application can write all the time",
    nodes="A B",
    setup={"*": SIMPLE, "A": "insert into t values (1, 'x')"},
    syncs=[Sync("s", "A, B")],
    steps=[
        flush(),
        on("B", "alter table t rename id to number"),
        on("A", "alter table t rename id to number"),
        on("A", "insert into t values (2, 'y')"),
        on("A", "update t set number = 3 where number = 1"),
        look_again(),
        soon("B", "select number, v from t order by 1", [(2, "y"), (3, "x")]),
    ],
)

scenario(
    "columns before the key were dropped, and one more is dropped under an open session",
    nodes="A B",
    setup={"*": "create table t (gone int, id int primary key, v text, w text); alter table t drop column gone;"
                "create table two (gone text, a text, more int, b int, v text, primary key (b, a)); alter table two drop column gone, drop column more;",
           "A": "insert into t values (1, 'x', 'y'); insert into two values ('a', 1, 'x')"},
    syncs=[Sync("s", "A, B")],
    steps=[
        flush(),
        in_session("A", "open", "insert into t values (2, 'y', 'z'), (7, 'y', 'z'); update t set id = 3 where id = 2; update t set w = 'w' where id = 1;"
                                "insert into two values ('b', 2, 'y'), ('c', 3, 'y'); update two set a = 'd' where b = 2; delete from two where b = 3"),
        flush(),
        same("A", "B"),
        on("B", "alter table t drop column v"),
        on("A", "alter table t drop column v"),
        in_session("A", "open", "insert into t values (4, 'z'); update t set id = 5 where id = 3; delete from t where id = 7"),
        flush(),
        same("A", "B"),
        rows("B", "select id from t order by id", [(1,), (4,), (5,)]),
    ],
)  # fmt: skip

scenario(
    "a key column gets another name under an open session, in tables of every kind",
    nodes="A B",
    setup={"*": "create table t (id int primary key, v text);"
                "create table two (a text, b int, v text, primary key (b, a));"
                "create table behind (v text, id int primary key);",
           "A": "insert into t values (1, 'x'); insert into two values ('a', 1, 'x'); insert into behind values ('x', 1)"},
    syncs=[Sync("s", "A, B")],
    steps=[
        flush(),
        in_session("A", "open", "insert into t values (2, 'y'); update t set id = 3 where id = 2;"
                                "insert into two values ('a', 2, 'y'); update two set a = 'b' where b = 2; update t set v = 'z';"
                                "delete from t where id = 3; delete from two where b = 2"),
        on("B", "alter table t rename id to number; alter table two rename a to text; alter table behind rename id to number"),
        on("A", "alter table t rename id to number; alter table two rename a to text; alter table behind rename id to number"),
        in_session("A", "open", "insert into t values (4, 'y'); update t set number = 5 where number = 4; delete from t where number = 1;"
                                "insert into two values ('a', 3, 'y'); update two set text = 'c' where b = 3; delete from two where b = 1"),
        look_again(),
        flush(),
        same("A", "B"),
        # one whose key stands behind other columns could not be written until now
        in_session("A", "open", "insert into behind values ('y', 2); update behind set number = 3 where number = 1"),
        flush(),
        same("A", "B"),
        rows("B", "select * from two", [("c", 3, "y")]),
    ],
)  # fmt: skip

scenario(
    "the key becomes another one on both sides: the table is copied anew, the application can write",
    nodes="A B",
    setup={"*": "create table t (id int primary key, code int not null, v text);" + SIMPLE.replace(" t ", " u "),
           "A": "insert into t values (1, 11, 'x')"},
    syncs=[Sync("s", "A, B")],
    steps=[
        flush(),
        on("A", "alter table t drop constraint t_pkey, add primary key (code)"),
        look_again(),
        table_state("s", "t", "stopped", "key"),
        on("A", "insert into t values (1, 12, 'y'); update t set id = 5; insert into u values (1, 'x')"),
        flush_but("public.t"),
        same("A", "B", tables=["u"]),
        on("B", "alter table t drop constraint t_pkey, add primary key (code)"),
        look_again(),
        flush(),
        same("A", "B"),
        on("A", "update t set code = 13 where code = 12; delete from t where code = 11"),
        flush(),
        same("A", "B"),
        # of another type, and of two columns
        on("B", "alter table t drop constraint t_pkey, alter v set not null, add primary key (v, id)"),
        on("A", "alter table t drop constraint t_pkey, alter v set not null, add primary key (v, id)"),
        on("A", "insert into t values (6, 1, 'z')"),
        look_again(),
        flush(),
        on("A", "update t set v = 'w', code = 3 where id = 6"),
        flush(),
        same("A", "B"),
        command("remove", "sync", "s"),
        nothing_installed("A", "B"),
    ],
)  # fmt: skip

scenario(
    "a table that the target loses is stopped alone, and copied when it is back",
    nodes="A B",
    setup={"*": SIMPLE + SIMPLE.replace(" t ", " u "), "A": "insert into t values (1, 'x')"},
    syncs=[Sync("s", "A, B")],
    steps=[
        flush(),
        on("B", "drop table t"),
        on("A", "insert into t values (2, 'y'); insert into u values (1, 'x')"),
        soon("B", "select id from u", [(1,)]),
        table_state("s", "t", "stopped", "does not exist"),
        on("A", "insert into u values (2, 'x')"),
        flush_but("public.t"),
        same("A", "B", tables=["u"]),
        on("B", "create table t (id int primary key, v text)"),
        look_again(),
        flush(),
        table_state("s", "t", "ok"),
        same("A", "B"),
    ],
)

scenario(
    "a table that leaves the sync and comes back has missed nothing",
    nodes="A B",
    setup={"*": SIMPLE + SIMPLE.replace(" t ", " u ")},
    syncs=[Sync("s", "A, B", tables="t, u")],
    steps=[
        flush(),
        on("A", "insert into u values (1, 'x')"),
        flush(),
        log_says("s/A/B: in step"),
        edit("tables = t, u", "tables = t"),
        command("reload"),
        log_says("s/A/B: in step"),
        on("A", "update u set v = 'y'; insert into u values (2, 'z'); insert into t values (1, 'x')"),
        flush(),
        same("A", "B", tables=["t"]),
        rows("B", "select * from u", [(1, "x")]),
        edit("tables = t", "tables = t, u"),
        command("reload"),
        soon("B", "select * from u order by 1", [(1, "y"), (2, "z")]),
    ],
)

scenario(
    "a table that is dropped and made again on both sides is a new one",
    nodes="A B",
    setup={"*": SIMPLE + SIMPLE.replace(" t ", " u "), "A": "insert into u values (1, 'x')"},
    syncs=[Sync("s", "A, B")],
    steps=[
        flush(),
        on("B", "drop table u"),
        on("A", "drop table u; insert into t values (1, 'x')"),
        flush(),
        on("B", "create table u (id int primary key, v text)"),
        on("A", "create table u (id int primary key, v text); insert into u values (2, 'new')"),
        look_again(),
        soon("B", "select * from u", [(2, "new")]),
        on("A", "insert into u values (3, 'new')"),
        soon("B", "select * from u order by 1", [(2, "new"), (3, "new")]),
    ],
)

scenario(
    "a target that leaves the sync: nothing of it stays, nothing is kept for it",
    nodes="A B C",
    setup={"*": SIMPLE},
    syncs=[Sync("s", "A, B, C", tables="t")],
    steps=[
        flush(),
        command("update", "sync", "s", "dbs=A,B"),
        command("reload"),
        workers("s/A/B"),
        on("A", "insert into t values (1, 'x')"),
        flush(),
        same("A", "B"),
        rows("C", "select * from t", []),
        soon("A", "select edge from pgtandem.consumer", [("s/A/B",)]),
        command("remove", "sync", "s"),
        nothing_installed("A", "B"),
    ],
)

scenario(
    "columns that change the key are refused: nobody could tell which row is meant",
    nodes="A B",
    setup={"*": SIMPLE, "A": "insert into t values (1, 'x')"},
    syncs=[Sync("s", "A, B", tables="t", rules={"t": {"columns": "id + 1000 as id, v"}})],
    steps=[
        problem("id", at="[table s t]"),
        nothing_installed("A", "B"),
    ],
)

scenario(
    "two cascades in a circle would run for ever: they are refused",
    nodes="A B",
    setup={"*": SIMPLE},
    syncs=[Sync("there", "A, B", tables="t", cascade="yes"), Sync("back", "B, A", tables="t", cascade="yes")],
    begins=False,
    steps=[
        problem("circle", at="[sync back]"),
        nothing_installed("A", "B"),
    ],
)

scenario(
    "fullcopy with other names, columns and rows",
    nodes="A B",
    setup={"A": CUSTOMERS + "insert into customers select i, 'n' || i, case when i % 2 = 0 then 'eu' else 'us' end, i from generate_series(1, 6) i",
           "B": "create table clients (id int primary key, name text, seen timestamptz default now())"},
    syncs=[Sync("s", "A, B:fullcopy", tables="customers", rules={"customers": {
        "target-name": "clients", "columns": "id, upper(name) as name", "where": "region = 'eu'"}})],
    steps=[
        flush(),
        rows("B", "select id, name from clients order by 1", [(2, "N2"), (4, "N4"), (6, "N6")]),
        on("A", "update customers set region = 'eu' where id = 1; delete from customers where id = 2"),
        flush(),
        rows("B", "select id, name from clients order by 1", [(1, "N1"), (4, "N4"), (6, "N6")]),
    ],
)  # fmt: skip

scenario(
    "a fullcopy in the middle of a cascade",
    nodes="A B C",
    setup={"*": SIMPLE + "create table keyless (v text);", "A": "insert into t values (1, 'x'), (2, 'y'); insert into keyless values ('k')"},
    syncs=[Sync("copy", "A, B:fullcopy"), Sync("on", "B, C", tables="t", cascade="yes")],
    steps=[
        flush("copy"),
        flush("on"),
        same("A", "B"),
        same("A", "C", tables=["t"]),
        on("A", "delete from t where id = 1; insert into t values (3, 'z')"),
        flush("copy"),
        flush("on"),
        same("A", "B", "C", tables=["t"]),
    ],
)

scenario(
    "triggers of ours that somebody switched off or dropped are noticed",
    nodes="A B",
    setup={"*": SIMPLE + SIMPLE.replace(" t ", " u ")},
    syncs=[Sync("s", "A, B")],
    steps=[
        flush(),
        on("A", "alter table t disable trigger all; insert into t values (1, 'x')"),
        on("A", "drop trigger pgtandem_ins on u; insert into u values (1, 'x')"),
        look_again(),
        # carried, or at least not called in step
        soon("B", "select 't' from t union all select 'u' from u order by 1", [("t",), ("u",)]),
        on("A", "insert into t values (2, 'x'); insert into u values (2, 'x')"),
        soon("B", "select 't' from t where id = 2 union all select 'u' from u where id = 2 order by 1", [("t",), ("u",)]),
    ],
)

scenario(
    "a new table is picked up after a reload",
    nodes="A B",
    setup={"*": SIMPLE},
    syncs=[Sync("s", "A, B")],
    steps=[
        flush(),
        on("B", "create table new (id int primary key, v text)"),
        on("A", "create table new (id int primary key, v text); insert into new values (1, 'x')"),
        command("reload"),
        soon("B", "select * from new", [(1, "x")]),
        on("A", "update new set v = 'y'"),
        flush(),
        same("A", "B"),
    ],
)

scenario(
    "tables come and go",
    nodes="A B",
    setup={"*": SIMPLE},
    syncs=[Sync("s", "A, B")],
    steps=[
        flush(),
        on("B", "create table new (id int primary key, v text)"),
        on("A", "create table new (id int primary key, v text); insert into new values (1, 'x')"),
        look_again(),
        soon("B", "select * from new", [(1, "x")]),
        on("A", "update new set v = 'y'; insert into t values (1, 'x')"),
        flush(),
        same("A", "B"),
        # one that is not on the target yet
        on("A", "create table newer (id int primary key, v text); insert into newer values (1, 'x')"),
        look_again(),
        table_state("s", "newer", "stopped", "newer"),
        on("A", "insert into t values (2, 'x')"),
        flush_but("public.newer"),
        same("A", "B", tables=["t", "new"]),
        on("B", "create table newer (id int primary key, v text)"),
        look_again(),
        soon("B", "select * from newer", [(1, "x")]),
        on("B", "drop table new"),
        on("A", "drop table new; insert into newer values (2, 'y')"),
        flush(),
        look_again(),
        on("A", "insert into newer values (3, 'z')"),
        flush(),
        same("A", "B"),
        state("s", "B", "in step"),
    ],
)

scenario(
    "a table that is gone on both sides is not called ok any more",
    nodes="A B",
    setup={"*": SIMPLE + SIMPLE.replace(" t ", " u ")},
    syncs=[Sync("s", "A, B")],
    steps=[
        flush(),
        on("A", "drop table u"),
        on("B", "drop table u"),
        flush(),
        table_state("s", "u", "gone"),
    ],
)

scenario(
    "a table that is replaced by another of its name is captured all the same",
    nodes="A B",
    setup={"*": SIMPLE, "A": "insert into t values (1, 'x')"},
    syncs=[Sync("s", "A, B")],
    steps=[
        flush(),
        # as tools do that change a table online
        on("A", "begin; create table t_new (like t including all); insert into t_new select id, v || '!' from t;"
                "alter table t rename to t_old; alter table t_new rename to t; drop table t_old; commit"),
        look_again(),
        on("A", "insert into t values (2, 'y')"),
        soon("B", "select * from t order by 1", [(1, "x!"), (2, "y")]),
        flush(),
        on("A", "insert into t values (3, 'z')"),
        flush(),
        same("A", "B"),
    ],
)  # fmt: skip

scenario(
    "a table gets another name on both sides",
    nodes="A B",
    setup={"*": SIMPLE, "A": "insert into t values (1, 'x')"},
    syncs=[Sync("s", "A, B")],
    steps=[
        flush(),
        on("B", "alter table t rename to u"),
        on("A", "alter table t rename to u; insert into u values (2, 'y')"),
        look_again(),
        soon("B", "select * from u order by 1", [(1, "x"), (2, "y")]),
        on("A", "insert into u values (3, 'z')"),
        flush(),
        same("A", "B"),
        # and a new one gets the name that became free
        on("B", "create table t (id int primary key, v text)"),
        on("A", "create table t (id int primary key, v text); insert into t values (1, 'new')"),
        look_again(),
        soon("B", "select * from t", [(1, "new")]),
        on("A", "insert into t values (2, 'new')"),
        flush(),
        same("A", "B"),
    ],
)

scenario(
    "two tables swap their names on both sides",
    nodes="A B",
    setup={"*": SIMPLE + SIMPLE.replace(" t ", " u "), "A": "insert into t values (1, 't'); insert into u values (1, 'u')"},
    syncs=[Sync("s", "A, B")],
    steps=[
        flush(),
        on("A", "insert into t values (2, 't'); delete from u"),
        on("B", "begin; alter table t rename to x; alter table u rename to t; alter table x rename to u; commit"),
        on("A", "begin; alter table t rename to x; alter table u rename to t; alter table x rename to u; commit;"
                "insert into u values (3, 'in u'); insert into t values (3, 'in t')"),
        look_again(),
        flush(),
        same("A", "B"),
        on("A", "update t set v = 't, again'; update u set v = 'u, again'"),
        flush(),
        same("A", "B"),
    ],
)

scenario(
    "triggers of ours are off for a while: the table is copied anew",
    nodes="A B",
    setup={"*": SIMPLE, "A": "insert into t values (1, 'x'), (2, 'x')"},
    syncs=[Sync("s", "A, B")],
    steps=[
        flush(),
        # as people do to load faster: what was ENABLE ALWAYS is not so any more
        on("A", "alter table t disable trigger all; delete from t where id = 1; alter table t enable trigger all"),
        look_again(),
        soon("B", "select id from t", [(2,)]),
        on("A", "set session_replication_role = replica; insert into t values (3, 'x')"),
        flush(),
        same("A", "B"),
    ],
)

PARTS = """
create table parts (id int, region text, v text, primary key (id, region)) partition by list (region);
create table parts_eu partition of parts for values in ('eu');
create table parts_us partition of parts for values in ('us');
"""
NEW_PART = "create table parts_as partition of parts for values in ('as');"

scenario(
    "partitions: moves between them, writes past the root, a new one",
    nodes="A B",
    setup={"*": PARTS, "A": "insert into parts select i, case when i % 2 = 0 then 'eu' else 'us' end, 'x' from generate_series(1, 20) i"},
    syncs=[Sync("s", "A, B", tables="parts")],
    tables=["parts"],
    steps=[
        flush(),
        same("A", "B"),
        on("A", "update parts set region = 'us' where id < 5; insert into parts_eu values (100, 'eu', 'direct');"
                "truncate parts_us; insert into parts values (101, 'us', 'y')"),
        flush(),
        same("A", "B"),
        on("B", NEW_PART),
        on("A", NEW_PART + "insert into parts values (102, 'as', 'by the root')"),
        flush(),
        same("A", "B"),
        look_again(),
        on("A", "insert into parts_as values (103, 'as', 'direct'); update parts_as set v = 'direct, too' where id = 102"),
        soon("B", "select id, v from parts where region = 'as' order by 1", [(102, "direct, too"), (103, "direct")]),
        on("A", "truncate parts_as; insert into parts_as values (104, 'as', 'direct')"),
        flush(),
        same("A", "B"),
    ],
)  # fmt: skip

ATTACHED = "create table parts_af (id int, region text, v text, primary key (id, region));"
ATTACH = "alter table parts attach partition parts_af for values in ('af')"

scenario(
    "a partition with rows is attached, another one is detached",
    nodes="A B",
    setup={"*": PARTS + ATTACHED, "A": "insert into parts values (1, 'eu', 'x'), (2, 'us', 'x'); insert into parts_af values (3, 'af', 'x')"},
    syncs=[Sync("s", "A, B", tables="parts")],
    tables=["parts"],
    steps=[
        flush(),
        same("A", "B"),
        on("B", ATTACH),
        on("A", ATTACH),
        look_again(),
        on("A", "insert into parts values (4, 'eu', 'x')"),
        flush(),
        # the rows that came with it: carried, or the table is not said to be in step
        soon("B", "select * from parts order by 1", [(1, "eu", "x"), (2, "us", "x"), (3, "af", "x"), (4, "eu", "x")]),
        on("B", "alter table parts detach partition parts_us"),
        on("A", "alter table parts detach partition parts_us; insert into parts values (5, 'eu', 'x')"),
        look_again(),
        flush(),
        same("A", "B"),
    ],
)

scenario(
    "only what is in a new partition is carried, not the whole table; and nothing is missed in one",
    nodes="A B",
    setup={"*": PARTS, "A": "insert into parts select i, 'eu', 'x' from generate_series(1, 5000) i"},
    syncs=[Sync("s", "A, B", tables="parts")],
    tables=["parts"],
    steps=[
        flush(),
        pause("s"),
        on("B", NEW_PART),
        # by the root, then straight at the partition, before anybody has seen it
        on("A", NEW_PART + "insert into parts values (1, 'as', 'x'), (2, 'as', 'x'), (3, 'as', 'x');"
                "delete from parts_as where id = 2; update parts_as set id = 4 where id = 3"),
        resume("s"),
        flush(),
        same("A", "B"),
        numbers("s", "B", rows=4),
        on("A", "delete from parts_as where id = 1"),
        flush(),
        same("A", "B"),
    ],
)  # fmt: skip

scenario(
    "a table that was in the sync by itself becomes a partition",
    nodes="A B",
    setup={"*": PARTS + ATTACHED, "A": "insert into parts_af values (1, 'af', 'x'), (2, 'af', 'x')"},
    syncs=[Sync("s", "A, B")],
    tables=["parts"],
    steps=[
        flush(),
        pause("s"),
        on("B", ATTACH),
        on("A", "delete from parts_af where id = 1;" + ATTACH),
        resume("s"),
        flush(),
        look_again(),
        flush(),
        same("A", "B"),
        on("A", "insert into parts_af values (3, 'af', 'x'); update parts set v = 'y'"),
        flush(),
        same("A", "B"),
        command("remove", "sync", "s"),
        nothing_installed("A", "B"),
    ],
)

# Transactions

scenario(
    "transactions that stay open, prepared ones, savepoints, replica role",
    nodes="A B",
    setup={"*": SIMPLE},
    syncs=[Sync("s", "A, B", tables="t")],
    steps=[
        flush(),
        in_session("A", "long", "begin; insert into t values (1, 'long')"),
        in_session("A", "prepared", "begin; insert into t values (2, 'prepared'); prepare transaction 'svc_x'"),
        in_session("A", "serializable", "begin isolation level serializable; select count(*) from t"),
        on("A", "insert into t values (3, 'short')"),
        flush(),
        rows("B", "select id from t order by 1", [(3,)]),
        in_session("A", "serializable", "insert into t values (4, 'old snapshot'); commit"),
        on("A", "begin; insert into t values (5, 'x'); savepoint a; insert into t values (6, 'x'); rollback to a;"
                "insert into t values (7, 'x'); commit"),
        on("A", "set session_replication_role = replica; insert into t values (8, 'replica')"),
        flush(),
        rows("B", "select id from t order by 1", [(3,), (4,), (5,), (7,), (8,)]),
        in_session("A", "prepared", "commit prepared 'svc_x'"),
        flush(),
        in_session("A", "long", "update t set v = 'longer' where id = 1; commit"),
        flush(),
        same("A", "B"),
        # what was rolled back, or changed nothing
        in_session("A", "long", "begin; delete from t; rollback; begin; update t set v = v; commit"),
        flush(),
        same("A", "B"),
    ],
)  # fmt: skip

scenario(
    "rows that the target changed by itself become those of the source when these change",
    nodes="A B",
    setup={"*": SIMPLE, "A": "insert into t select i, 'a' from generate_series(1, 6) i"},
    syncs=[Sync("s", "A, B", tables="t")],
    steps=[
        flush(),
        on("B", "update t set v = 'b' where id = 1; delete from t where id in (2, 3); insert into t values (10, 'b'), (11, 'b')"),
        on("A", "update t set v = 'new' where id in (1, 2); delete from t where id = 3; insert into t values (10, 'new')"),
        flush(),
        rows("B", "select * from t order by 1",
             [(1, "new"), (2, "new"), (4, "a"), (5, "a"), (6, "a"), (10, "new"), (11, "b")]),
        command("recopy", "s", "t"),
        soon("B", "select count(*) from t where v = 'b'", [(0,)]),
        same("A", "B"),
    ],
)


@pytest.mark.timeout(120)
def test_scenario(scenario, plays):
    plays(scenario)
