"""Rows for any schema: made from what the catalogs say of its tables.

    empty = fill(connection, 5)        # five rows for every table; returns those that are empty all the same
    done = change(connection)          # inserts, updates and deletes in every table; how many took effect

A value depends on the column's type and the number of the row. Foreign keys get values of a row of the other
table, so parents come first. What a CHECK, a trigger or a unique index does not take is tried again in another
*flavour*: with plain letters, with values that a CHECK lists, with as many nulls as may be.
"""

import re

import psycopg2
from psycopg2 import sql

FLAVOURS = ("rich", "plain", "listed", "bare")

COLUMNS = """
select a.attname, coalesce(nullif(t.typbasetype, 0), t.oid)::regtype::text, coalesce(b.typcategory, t.typcategory),
       case when a.atttypmod > 4 and t.typcategory = 'S' then a.atttypmod - 4 end, a.attnotnull,
       pg_get_expr(d.adbin, d.adrelid), t.typtype = 'e', a.atttypid::regtype::text
  from pg_attribute a
  join pg_type t on t.oid = a.atttypid
  left join pg_type b on b.oid = t.typbasetype
  left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
 where a.attrelid = %s::regclass and a.attnum > 0 and not a.attisdropped
   and coalesce(to_json(a) ->> 'attgenerated', '') = '' and coalesce(to_json(a) ->> 'attidentity', '') <> 'a'
 order by a.attnum
"""
TABLES = """
select c.oid::regclass::text from pg_class c join pg_namespace n on n.oid = c.relnamespace
 where c.relkind in ('r', 'p') and not coalesce((to_json(c) ->> 'relispartition')::bool, false)
   and n.nspname !~ '^pg_' and n.nspname not in ('information_schema', 'pgtandem')
 order by 1
"""
KEYS = """
select conrelid::regclass::text, confrelid::regclass::text,
       array(select a.attname from unnest(conkey) with ordinality k (n, i) join pg_attribute a on a.attrelid = conrelid and a.attnum = k.n order by k.i)::text[],
       array(select a.attname from unnest(confkey) with ordinality k (n, i) join pg_attribute a on a.attrelid = confrelid and a.attnum = k.n order by k.i)::text[]
  from pg_constraint where contype = 'f'
"""
CHECKS = "select conrelid::regclass::text, pg_get_constraintdef(oid) from pg_constraint where contype = 'c' and conrelid <> 0"
LABELS = "select enumtypid::regtype::text, array_agg(enumlabel::text order by enumsortorder) from pg_enum group by 1"


class _Schema:
    def __init__(self, cursor):
        cursor.execute(TABLES)
        names = [name for (name,) in cursor.fetchall()]
        self.columns = {}
        for name in names:
            cursor.execute(COLUMNS, (name,))
            self.columns[name] = cursor.fetchall()
        cursor.execute(KEYS)
        self.keys = {name: [] for name in names}
        for child, parent, of_child, of_parent in cursor.fetchall():
            self.keys.setdefault(child, []).append((parent, of_child, of_parent))
        cursor.execute(CHECKS)
        self.listed = {}
        for name, definition in cursor.fetchall():
            self.listed.setdefault(name, []).append(definition)
        cursor.execute(LABELS)
        self.labels = dict(cursor.fetchall())
        self.tables = self._parents_first(names)

    def _parents_first(self, names):
        found, left = [], list(names)
        while left:
            free = [name for name in left if all(parent not in left or parent == name for parent, _, _ in self.keys[name])]
            found += free or left[:1]
            left = [name for name in left if name not in found]
        return found

    def row(self, cursor, table, n, flavour):
        """{column: value} of row n."""
        values = {}
        for column in self.columns[table]:
            name, _, _, _, not_null, default, _, _ = column
            if default is not None and (flavour == "bare" or "nextval(" in default):
                continue
            if flavour == "bare" and not not_null:
                continue
            values[name] = self._value(table, column, n, flavour)
        for no, (parent, of_child, of_parent) in enumerate(self.keys[table]):
            if flavour == "bare" and not all(name in values for name in of_child):
                continue
            names = sql.SQL(", ").join(map(sql.Identifier, of_parent))
            some = sql.SQL(f"select {{}} from {parent} order by 1 limit 1 offset %s %% greatest((select count(*) from {parent}), 1)")
            cursor.execute(some.format(names), (n + no,))
            found = cursor.fetchone()
            values.update(zip(of_child, found or [None] * len(of_child)))
        return values

    def _value(self, table, column, n, flavour):
        name, kind, category, length, _, _, is_enum, full = column
        if is_enum:
            return self.labels[full][n % len(self.labels[full])]
        if flavour == "listed":
            for definition in self.listed.get(table, ()):
                words = re.findall(r"'([^']*)'::", definition) if re.search(rf"\b{re.escape(name)}\b", definition) else []
                if words:
                    return words[n % len(words)]
        return value(kind, category, length, n, flavour)


def value(kind, category, length, n, flavour):
    if category == "S":
        if kind == '"char"':
            return chr(97 + n % 26)
        text = f"Ä {n} k\"e'y\\ \t%" if flavour == "rich" else f"a{n}"
        return text[:length] if length is None or len(text) <= length else f"{n}"[-length:]
    if category == "A":
        return "{}"
    if category == "B":
        return n % 2 == 0
    if category == "N":
        return f"{n}.25" if kind in ("numeric", "real", "double precision") and flavour == "rich" else n
    simple = {
        "date": f"20{10 + n % 80}-02-03",
        "timestamp without time zone": f"2024-02-03 04:05:{n % 60}.123456",
        "timestamp with time zone": f"2024-02-03 04:05:{n % 60}.123456+05",
        "time without time zone": f"04:05:{n % 60}.123",
        "interval": f"{n} days 1 month",
        "bytea": f"\\x00{n % 256:02x}5c27",
        "inet": f"10.{n // 65536 % 256}.{n // 256 % 256}.{n % 256}",
        "cidr": f"10.{n // 256 % 256}.{n % 256}.0/24",
        "macaddr": f"08:00:2b:01:{n // 256 % 256:02x}:{n % 256:02x}",
        "uuid": f"a0eebc99-9c0b-4ef8-bb6d-{n:012d}",
        "json": f'{{"n" : {n}, "ä": []}}',
        "jsonb": f'{{"n" : {n}, "ä": []}}',
        "xml": f"<a>{n}</a>",
        "tsvector": f"a:{n + 1}",
    }
    return simple.get(kind)


def _insert(cursor, schema, table, n):
    """Whether row n was taken, in any flavour."""
    for flavour in FLAVOURS:
        values = schema.row(cursor, table, n, flavour)
        names = sql.SQL(", ").join(map(sql.Identifier, values))
        marks = sql.SQL(", ").join([sql.Placeholder()] * len(values))
        statement = sql.SQL("insert into " + table + " ({}) values ({})").format(names, marks)
        if not values:
            statement = sql.SQL("insert into " + table + " default values")
        if _do(cursor, statement, list(values.values())):
            return True
    return False


# what data may be refused for: integrity, values that are too long or out of range, what a trigger raises
REFUSED = (psycopg2.IntegrityError, psycopg2.DataError, psycopg2.errors.RaiseException,
           psycopg2.errors.SqlRoutineException,
           psycopg2.errors.UndefinedColumn)  # one of kea's triggers sets a column that its table lacks



def _do(cursor, statement, values=None):
    cursor.execute("savepoint one")
    try:
        cursor.execute(statement, values)
    except REFUSED:
        cursor.execute("rollback to savepoint one")
        return False
    return cursor.rowcount > 0


def fill(connection, rows, first=1):
    """Rows first … for every table; returns the tables that are empty all the same."""
    empty = set()
    with connection.cursor() as cursor:
        schema = _Schema(cursor)
        cursor.execute("begin")
        for table in schema.tables:
            for n in range(rows):
                _insert(cursor, schema, table, first + n)
        for table in schema.tables:
            cursor.execute(f"select not exists (select 1 from {table})")
            if cursor.fetchone()[0]:
                empty.add(table)
        cursor.execute("commit")
    return empty


def change(connection, first):
    """Two rows more, one changed, one deleted in every table; {"insert": n, "update": n, "delete": n} of what was done."""
    done = {"insert": 0, "update": 0, "delete": 0}
    with connection.cursor() as cursor:
        schema = _Schema(cursor)
        for table in schema.tables:
            cursor.execute("begin")
            done["insert"] += sum([_insert(cursor, schema, table, first + n) for n in range(2)])
            in_keys = {name for _, names, _ in schema.keys[table] for name in names}
            for column in reversed(schema.columns[table]):
                if column[0] not in in_keys:
                    changed = sql.SQL(f"update {table} set {{}} = %s where ctid = (select ctid from {table} order by 1 desc limit 1)")
                    if _do(cursor, changed.format(sql.Identifier(column[0])), [schema._value(table, column, first + 7, "plain")]):
                        done["update"] += 1
                        break
            done["delete"] += _do(cursor, f"delete from {table} where ctid = (select ctid from {table} order by 1 limit 1)")
            cursor.execute("commit")
    return done
