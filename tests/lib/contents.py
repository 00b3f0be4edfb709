"""A database with everything that ordinary databases contain, and writers that keep changing it.

    contents.create(old)                       # or create(old, user="app")
    with Changes([old.conninfo, new.conninfo], old.number) as changes:
        ...upgrade, switch, roll back...
        changes.wait_for(100)                  # that many more statements took effect
    changes.check()                            # no unexpected error

The writers know both nodes: one that refuses writes (its gate is closed) makes them go to the other.
What they do is random, from a seed. A statement may fail for reasons that are the data's own (a
key that exists already, a foreign key); anything else is kept for check().
"""

import os
import random
import re
import threading
import time

import psycopg2
import psycopg2.errors

# Tables with one key column, of (name, since version, type, value of a number, more of the definition).
KEYS = [
    ("int2", 0, "int2", "(@ % 30000)::int2", ""),
    ("int4", 0, "int4", "@ - 50", ""),
    ("int8", 0, "int8", "@ * 10000000000", ""),
    ("numeric", 0, "numeric", "(@ / 7.0)::numeric(20,8)", ""),
    ("text", 0, "text", "'Ä k\"e''y\\ % ' || @", ""),
    ("varchar", 0, "varchar(12)", "'v' || @", ""),
    ("char", 0, "char(12)", "'c' || @", ""),
    ("uuid", 0, "uuid", "md5(@::text)::uuid", ""),
    ("date", 0, "date", "date '1999-12-01' + @", ""),
    ("timestamp", 0, "timestamp", "timestamp '2024-03-30 12:00:00.123456' + @ * interval '37 min'", ""),
    ("timestamptz", 0, "timestamptz", "timestamptz '2024-03-30 12:00+01' + @ * interval '37 min'", ""),
    ("time", 0, "time", "time '00:00' + @ * interval '7 seconds 1 microsecond'", ""),
    ("timetz", 0, "timetz", "timetz '00:00+05' + @ * interval '7 seconds'", ""),
    ("interval", 0, "interval", "@ * interval '1 month 3 hours'", ""),
    ("bytea", 0, "bytea", "decode(md5(@::text), 'hex')", ""),
    ("bool", 0, "bool", "(@ % 2 = 0)", ""),
    ("inet", 0, "inet", "inet '10.0.0.0/24' + @", ""),
    ("enum", 0, "kinds.mood", "(enum_range(null::kinds.mood))[1 + @ % 4]", ""),
    ("domain", 0, "kinds.\"Posi tive\"", "@ + 1", ""),
    ("float8", 0, "float8", "(@ / 3.0)::float8", ""),
    ("float4", 0, "float4", "(@ / 3.0)::float4", ""),
    ("oid", 0, "oid", "(@ + 3000000000)::oid", ""),
    ("name", 0, "name", "('n' || @)::name", ""),
    ("array", 0, "int4[]", "array[@, null, @ + 1]", ""),
    ("range", 0, "int4range", "int4range(@, @ + 5)", ""),
    ("composite", 0, "kinds.\"Pair, of\"", "row(@, 'a,b\"\\ ' || @)::kinds.\"Pair, of\"", ""),
    ("macaddr", 0, "macaddr", "('08:00:2b:01:02:' || lpad(to_hex(@ % 256), 2, '0'))::macaddr", ""),
    ("money", 0, "money", "@::money", ""),
    ("bit", 0, "bit(16)", "@::bit(16)", ""),
    ("jsonb", 90400, "jsonb", "('{\"k\": ' || @ || '}')::jsonb", ""),
    ("citext", 0, "ext.citext", "(case when @ % 2 = 0 then 'ABC' else 'abc' end || @ / 2)::ext.citext", ""),
    ("hstore", 0, "ext.hstore", "ext.hstore('k', @::text)", ""),
    ("ltree", 0, "ext.ltree", "ext.text2ltree('a.b' || @)", ""),
    ("posix", 0, "text", "'P' || @", 'collate "C"'),
    ("nocase", 120000, "text", "(case when @ % 2 = 0 then 'ABC' else 'abc' end || @ / 2) collate kinds.nocase", "collate kinds.nocase"),
]

EXTENSIONS = ["citext", "hstore", "ltree", "btree_gist"]

LARGE = """
select lo_from_bytea(5000000 + n, decode(repeat(md5(n::text), n * 400), 'hex')) from generate_series(1, 20) n;
select lo_create(5000021);
select lo_put(lo_create(5000022), 1000000, 'behind a hole');
alter large object 5000001 owner to $owner;
alter large object 5000022 owner to $owner;
grant select on large object 5000002 to $reader with grant option;
grant select, update on large object 5000003 to public;
revoke update on large object 5000004 from current_user;
comment on large object 5000005 is 'it''s "large"';
create table kinds.refers (id serial primary key, lo oid);
"""


def _sections(file):
    """[(since version, script)] of such a file."""
    with open(os.path.join(os.path.dirname(__file__), file), encoding="utf-8") as file:
        parts = re.split(r"(?m)^-- since (\d+)\n", file.read())
    return list(zip(map(int, parts[1::2]), parts[2::2]))


def create(node, owner, reader, user="postgres", large_objects=False, rare=False):
    """Everything, as `user`; `owner` gets some of it and `reader` rights on it. large_objects: these, too; rare:
    also what databases seldom have, and what only a superuser can make."""
    creating = node.connect(user=user)
    with creating.cursor() as cursor:
        cursor.execute("set search_path = public, ext")
        sections = _sections("contents.sql") + (_sections("contents_rare.sql") if rare else [])
        for since, script in sections + ([(0, LARGE)] if large_objects else []):
            if node.number < since:
                continue
            for name, role in (("$owner", owner), ("$reader", reader)):
                script = script.replace(name, '"' + role + '"')
            try:
                cursor.execute(script)
            except psycopg2.Error as error:
                raise AssertionError(f"{error}\nin {script[:300]}") from error
        for key in keys(node.number):
            name, _, kind, _, more = key
            cursor.execute(f"create table kinds.k_{name} (id {kind} {more} primary key, v int, t text)")
            cursor.execute(insert(key, "generate_series(1, 30) g(n)", "g.n"))
        # a switched-off rule or trigger of ours must not be all there is
        cursor.execute("refresh materialized view kinds.totals")
        cursor.execute('refresh materialized view kinds."a of totals"')
    creating.close()


def create_extensions(node):
    with node.connect() as connection, connection.cursor() as cursor:
        cursor.execute("create schema ext; grant usage on schema ext to public")
        for name in EXTENSIONS:
            cursor.execute(f"create extension {name} with schema ext")
    connection.close()


def refresh(connection):
    """Materialized views are as new as their last refresh: needed before contents are compared."""
    with connection.cursor() as cursor:
        cursor.execute("refresh materialized view kinds.totals")
        cursor.execute('refresh materialized view kinds."a of totals"')
        cursor.execute("refresh materialized view kinds.by_key")


def keys(number):
    return [key for key in KEYS if key[1] <= number]


def insert(key, source, number):
    """Inserts what is not there yet."""
    name, _, kind, value, _ = key
    return (
        f"insert into kinds.k_{name} (id, v, t) select distinct on (x.id) x.id, x.n, 'new' from"
        f" (select ({value.replace('@', number)})::{kind} as id, {number} as n from {source}) x"
        f" where not exists (select 1 from kinds.k_{name} o where o.id = x.id)"
    )


# What may go wrong in a statement for reasons of the data: integrity, deadlocks, locks.
DATA = ("21000", "23", "40", "55P03", "428C9", "22003")
GATE = "25006"


class Changes:
    def __init__(self, conninfos, number, *, writers=2, seed=1, pause=0.015, large_owner=None):
        """`number` is the version of the older node, which says what statements there are. large_owner: large
        objects are written, too, and given to that role."""
        self._owner = large_owner
        self._conninfos = conninfos
        self._at = 0
        self._number = number
        self._keys = keys(number)
        self._pause = pause
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self.done = 0
        self.errors = []
        self._threads = [
            threading.Thread(target=self._run, args=(random.Random(seed * 1000 + n),), daemon=True)
            for n in range(writers)
        ]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        for thread in self._threads:
            thread.join(30)

    def wait_for(self, more, timeout=60):
        wanted, deadline = self.done + more, time.monotonic() + timeout
        while self.done < wanted:
            assert time.monotonic() < deadline, f"only {self.done} of {wanted}; {self.errors[:3]}"
            time.sleep(0.02)

    def check(self):
        kinds = {error[:2]: error[2] for error in self.errors}
        shown = "".join(f"\n  {state} {text}: {at}" for (state, text), at in list(kinds.items())[:10])
        assert not self.errors, f"{len(self.errors)} statements failed, e.g.{shown}"
        assert self.done > 0

    def _run(self, rand):
        connection = None
        while not self._stop.is_set():
            at = self._at
            try:
                if connection is None:
                    connection = psycopg2.connect(self._conninfos[at])
                    connection.autocommit = True
                with connection.cursor() as cursor:
                    cursor.execute("set lock_timeout = '5s'; set search_path = public, ext")
                    while not self._stop.is_set() and at == self._at:
                        self._one(cursor, rand, at)
                        time.sleep(self._pause)
            except psycopg2.OperationalError:
                time.sleep(0.05)  # restarted, or its session was ended
            if connection is not None:
                connection.close()
                connection = None

    def _one(self, cursor, rand, at):
        statements = self._statements(rand)
        try:
            if len(statements) > 1:
                cursor.execute("begin")
            for statement in statements:
                cursor.execute(statement)
            if len(statements) > 1:
                cursor.execute("rollback" if rand.random() < 0.1 else "commit")
            with self._lock:
                self.done += 1
        except psycopg2.Error as error:
            state = error.pgcode
            if state is None:
                raise
            if cursor.connection.info.transaction_status != 0:
                cursor.execute("rollback")
            # who waits for a large object in the pause is cancelled in its end
            if state == GATE or (state == "57014" and "4711" in statements[0]):
                self._at = (at + 1) % len(self._conninfos)
                time.sleep(0.02)
            elif not state.startswith(DATA):
                with self._lock:
                    self.errors.append((state, str(error).split("\n")[0], statements))

    def _statements(self, rand):
        """One transaction: a statement or a few."""
        if rand.random() < 0.45:
            return [self._on_key(rand)]
        if self._owner is not None and rand.random() < 0.25:
            return list(self._large(rand))
        one = rand.choice(self._others(rand))
        statements = [one] if isinstance(one, str) else list(one)
        if rand.random() < 0.2:
            statements += [self._on_key(rand), self._on_key(rand)]
        return statements

    def _on_key(self, rand):
        key = rand.choice(self._keys)
        name, _, kind, value, _ = key

        def expression():
            return f"({value.replace('@', str(rand.randrange(60)))})::{kind}"

        table = f"kinds.k_{name}"
        kind_of = rand.random()
        if kind_of < 0.35:
            first = rand.randrange(60)
            return insert(key, f"generate_series({first}, {first + rand.randrange(8)}) g(n)", "g.n")
        if kind_of < 0.6:
            return f"update {table} set v = coalesce(v, 0) + 1, t = 'updated' where id = {expression()}"
        if kind_of < 0.75:
            return f"update {table} set id = {expression()} where id = {expression()}"
        if kind_of < 0.97:
            return f"delete from {table} where id = {expression()}"
        return f"truncate {table}"

    def _large(self, rand):
        """Large objects, always together with a row: superusers could write them on a closed node."""
        some, new = 5000000 + rand.randrange(1, 23), 6000000 + rand.randrange(1, 40)
        name = rand.choice([self._owner, "postgres"])
        one = rand.choice([
            f"select lo_put({some}, {rand.randrange(20000)}, decode(repeat(md5(random()::text), {rand.randrange(1, 400)}), 'hex'))",
            f"select lo_truncate64(lo_open({some}, 131072), {rand.randrange(30000)})",
            f"select lo_truncate(lo_open({some}, 131072), 0)",
            f"select lo_from_bytea(0, decode(repeat(md5(random()::text), {rand.randrange(400)}), 'hex'))",
            f"select lo_create({new}) where not exists (select from pg_largeobject_metadata where oid = {new})",
            f"select lo_unlink(oid) from pg_largeobject_metadata where oid = {new}",
            f"select lo_put(oid, 5000, 'x') from pg_largeobject_metadata where oid = {new}",
            f"select lo_unlink(max(oid)) from pg_largeobject_metadata where oid < 5000000 having count(*) > 0",
            f'alter large object {some} owner to "{name}"',
            f'grant {rand.choice(["select", "update"])} on large object {some} to {rand.choice(["public", name])}',
            f'revoke all on large object {some} from {rand.choice(["public", name])}',
            f"comment on large object {some} is {rand.choice(['null', chr(39) + 'of ' + str(new) + chr(39)])}",
        ])
        row = f"insert into kinds.refers (lo) values ({some})"
        # two at once on one object are an internal error of the server
        lock = "select pg_advisory_xact_lock(4711)"
        return (lock, row, one) if rand.random() < 0.3 else (lock, one, row)

    def _others(self, rand):
        a, b, many = rand.randrange(1, 60), rand.randrange(1, 60), rand.randrange(1, 400)
        day = f"date '2024-01-15' + {rand.randrange(0, 80)}"
        day2 = f"date '2024-01-15' + {rand.randrange(0, 80)}"
        wide = rand.choice(["repeat(md5(random()::text), 200)", "''", "null", "repeat('x', 9000)"])
        odd = '"Odd ""Schema"" .%\\ ü"'
        table = f'{odd}."Ta ble.""x"" %s\\ é"'
        found = [
            "insert into kinds.every (t, df, dd) values (E'\\\\N', '', 'x')",
            f"insert into kinds.every (t, b, co, ae) values ({wide}, '\\x00', (1, null), null)",
            f"update kinds.every set t = {wide}, f8 = f8 * 1.1, ts = 'infinity' where id % 7 = {a % 7}",
            f"delete from kinds.every where id > 3 and id % 5 = {a % 5}",
            f"insert into kinds.several values ({a}, 'b' || {b}, {day}, {wide})",
            f"update kinds.several set a = {b}, c = {day} where a = {a}",
            f"delete from kinds.several where a = {a}",
            f"insert into kinds.collations values ('a{a}', 'ü{b}', 'c', null)",
            f"update kinds.collations set a = 'a{b}', note = 'moved' where a = 'a{a}'",
            f"delete from kinds.collations where b = 'ü{b}'",
            f"insert into kinds.unique_only values ({a}, 'code {a}', {wide})",
            f"update kinds.unique_only set code = 'code {b}', id = id + 1 where code = 'code {a}'",
            f"delete from kinds.unique_only where code = 'code {a}'",
            # values of unique columns that change places
            (f"update kinds.swapped set rank = -rank where id in ({a}, {b})",
             f"update kinds.swapped s set rank = -o.rank from (select id, rank from kinds.swapped where id in"
             f" ({a}, {b})) o where s.id in ({a}, {b}) and o.id in ({a}, {b}) and (o.id <> s.id or {a} = {b})",
             "update kinds.swapped set rank = -rank where rank < 0"),
            f"update kinds.deferred set id = {a} + {b} - id where id in ({a}, {b})",
            f"update kinds.deferred set rank = {a} + {b} - rank, note = {wide} where rank in ({a}, {b})",
            f"update kinds.excluded set during = int4range({a * 10}, {a * 10 + 10}) where id = {b % 30 + 1}",
            (f"delete from kinds.excluded where id = {a % 30 + 1}",
             f"insert into kinds.excluded values ({a % 30 + 1}, int4range({b * 10}, {b * 10 + 10}))"),
            f"insert into kinds.only_key values ({a})",
            f"update kinds.only_key set id = {b} where id = {a}",
            f"delete from kinds.only_key where id = {a}",
            f"insert into kinds.only_key_text values ('{a}', {b})",
            f"update kinds.only_key_text set id = '{b}' where id = '{a}'",
            f"insert into kinds.no_key values ({a}, {wide})",
            f"update kinds.no_key set t = 'x' where a = {a}",
            f"delete from kinds.no_key where a = {b}",
            "insert into kinds.no_columns default values",
            f"insert into kinds.unlogged (t) values ({wide})",
            f"delete from kinds.unlogged where id = {a}",
            f"insert into kinds.wide_rows values ({a}, {wide}, null)",
            f"update kinds.wide_rows set a = {wide} where id = {a}",
            "truncate kinds.wide_rows",
            f"update kinds.dropped set note = {wide}, later = {a} where id = {a}",
            f"delete from kinds.dropped where id = {a}",
            f"insert into kinds.dropped (id) values ({a})",
            f"insert into kinds.not_null values ({a}, '', 'b')",
            f"delete from kinds.not_null where id = {a}",
            "select nextval('kinds.free'), nextval('kinds.down'), nextval('kinds.cached'), nextval('kinds.cycling')",
            f"select setval('kinds.half', {many}, {rand.choice(['true', 'false'])})",
            'select nextval(\'kinds."S eq""%\\ ü"\')',
            f"insert into {table} values ({a}, 'k''{b}', '%')",
            f"update {table} set \"%d \"\"v\"\"\" = 'é\\\\%', \"se cond'\" = 'k''{b}' where \"Key; Type: TABLE\" = {a}",
            f"delete from {table} where \"Key; Type: TABLE\" = {a}",
            f"insert into {odd}.\"select\" (\"where\") select max(\"from\") from {odd}.\"select\"",
            f"insert into kinds.\"new\nline\" values ({a}, 1)",
            f"delete from kinds.\"new\nline\" where \"a\nb\" = {a} and \"a\nb\" > 1",
            # foreign keys
            f"insert into kinds.boss values ({a + 100}, null, 1)",
            f"update kinds.boss set id = {b + 100} where id = {a + 100}",
            f"delete from kinds.boss where id = {a + 100}",
            f"update kinds.clerk set boss = {a} where id = {b}",
            (f"insert into kinds.clerk values ({a + 200}, {b % 40 + 1}, {a + 201})",
             f"insert into kinds.clerk values ({a + 201}, 1, {a + 200})"),
            f"update kinds.clerk set id = id + 1000 where id = {a + 200}",
            f"delete from kinds.clerk where id = {a + 10}",
            f"insert into kinds.paper values ({many + 200}, {a}, {wide})",
            f"insert into kinds.stamp values ({many + 200}, 'stamp')",
            f"delete from kinds.stamp where paper % 7 = {a % 7}",
            "truncate kinds.boss, kinds.stamp cascade" if rand.random() < 0.03 else "select 1",
            "insert into kinds.boss select n, null, case when n > 1 then n / 2 end from generate_series(1, 40) n"
            " where not exists (select 1 from kinds.boss where id <= 40)",
            # triggers and rules
            f"insert into kinds.guarded values ({a}, {wide})",
            f"update kinds.guarded set changed = changed + 1 where id % 5 = {a % 5}",
            f"delete from kinds.guarded where id = {a}",
            "truncate kinds.guarded" if rand.random() < 0.1 else "select 1",
            f"insert into kinds.ruled values ({a}, 'ruled')",
            f"update kinds.ruled set t = t || '.' where id = {a}",
            f"delete from kinds.ruled where id % 10 = {a % 10}",
            # inheritance
            f"insert into kinds.dog values ({a + 130}, 'dog', 'new')",
            f"insert into kinds.cat values ({a + 330}, 'cat', 9)",
            f"update kinds.animal set name = name || '{a % 10}' where id % 20 = {a % 20} and length(name) < 30",
            f"update kinds.dog set id = id + 1000, breed = 'x' where id % 50 = {a % 50} and id < 1000",
            f"delete from kinds.animal where id % 60 = {a}",
            f"update only kinds.animal set name = 'only' where id = {a}",
            "truncate kinds.dog" if rand.random() < 0.1 else "select 1",
            f"insert into public.policed values ({many}, 'me', {a})",
            f"update public.policed set amount = -{a} where id = {many}",
        ]
        if self._number >= 90500:
            found += [
                f"insert into kinds.unique_only values ({a}, 'code {a}', 'up') on conflict (code) do update"
                " set note = 'upserted', id = excluded.id",
                f"insert into kinds.only_key values ({a}) on conflict do nothing",
            ]
        if self._number >= 100000:
            found += [
                f"insert into kinds.ident_always (a, t) values ({a}, {wide})",
                f"update kinds.ident_always set t = 'x' where id = {a}",
                f"delete from kinds.ident_always where id = {a}",
                "insert into kinds.ident_default (t) values ('x')",
                f"insert into kinds.ident_other (id, t) values ({a}, 'x')",
                f"update kinds.ident_other set t = t || 'y', n = default where id = {a} and length(t) < 30",
                f"delete from kinds.ident_other where id = {a}",
                f"update kinds.listed set t = 'x' where id = {a}",
                f"delete from kinds.listed where id = {a}",
                f"insert into kinds.listed_a values ({a}, null, 'leaf')",
                f"insert into kinds.half_keyed values ({a}, 'root')",
                f"update kinds.half_keyed_2 set t = 'leaf' where id = {a}",
                f"delete from kinds.half_keyed where id = {b}",
                f"insert into kinds.listed values ({a}, 'b', 'root')",
                f"insert into kinds.ranged_1 values ({a % 10}, date '2024-01-01' + {b % 30}, 'leaf')",
                f"insert into kinds.ranged values ({a % 10}, {day}, {wide})",
                f"update kinds.ranged set t = {wide} where id = {a % 10}",
                f"delete from kinds.ranged where day = {day}",
                f"delete from kinds.ranged_3 where id = {a % 10}",
                f"truncate {rand.choice(['kinds.ranged', 'kinds.ranged_1', 'kinds.ranged_3'])}",
            ]
        if self._number >= 110000:
            found += [
                f"update kinds.ranged set day = {day2} where day = {day}",
                f"insert into kinds.ranged values ({a}, {day}, 'up') on conflict (id, day) do update set t = 'upserted'",
                f"update kinds.listed set region = {rand.choice(['null', chr(39) + 'b' + chr(39)])} where id = {a}",
                f"insert into kinds.hashed select n, 't', {b} from generate_series({a}, {a + 5}) n on conflict do nothing",
                f"update kinds.hashed set id = {b}, t = 'moved' where id = {a}",
                f"update kinds.hashed_1 set t = {wide} where id = {a}",
                f"delete from kinds.hashed where id = {a}",
                f"insert into kinds.hashed_0 select id, 'leaf' from kinds.hashed_0 where id = {a}",
                "truncate kinds.hashed cascade" if rand.random() < 0.1 else "select 1",
                f"call kinds.done({a})",
            ]
        if self._number >= 120000:
            found += [
                f"insert into kinds.points_at values ({a}, {b})",
                f"insert into kinds.generated (id, a, t) values ({a}, {b}, 'ä')",
                f"update kinds.generated set a = {b}, t = {wide} where id = {a}",
                f"delete from kinds.generated where id = {a}",
                f"insert into kinds.generated_key (a, t) values ({a}, 't')",
                f"update kinds.generated_key set a = {b} where id = {a * 2}",
                f"update kinds.generated_key set t = {wide} where id = {a * 2}",
                f"insert into kinds.mixed_collations values ('{rand.choice(['a', 'A'])}{a}', '{rand.choice('bB')}', 't')",
                f"update kinds.mixed_collations set a = upper(a), t = 'up' where b = 'b'",
                f"delete from kinds.mixed_collations where a = 'a{a}'",
                f"update kinds.finer_index set t = {wide} where id = {a % 3 + 1}",
                f"update kinds.finer_index set a = a || '.' where id = {a % 3 + 1} and length(a) < 20",
            ]
        if self._number >= 150000:
            found += [
                f"insert into kinds.one_null values ({a}, nullif({b}, 1))",
                f"merge into kinds.one_null o using (values ({a}), ({b})) v (id) on o.id = v.id when matched then"
                " delete when not matched then insert values (v.id, v.id)",
            ]
        return found
