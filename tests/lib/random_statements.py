"""Random statements that change the tables of a RandomSchema.

    statements = Statements(schema, random.Random(1), number=130000)
    statements.change(table)        # a list: each a text, or a Copy

What comes depends on the generator of chance only, never on what is in the tables. So statements may hit
many rows or none, and may fail for reasons of the data: the writers of random_load.py know which.
"""

from typing import NamedTuple

from .random_schema import AWAITED, ident


class Copy(NamedTuple):
    """COPY into a table of what a query of the same server gives."""

    table: str
    columns: str
    query: str

    def __str__(self):
        return f"copy {self.table} ({self.columns}) from (copy ({self.query}) to stdout)"


class Statements:
    def __init__(self, schema, chance, number):
        self.schema, self.chance, self.number = schema, chance, number

    # Pieces

    def row(self, table):
        return self.chance.randrange(table.rows)

    def stretch(self, table):
        """First and last of some neighbouring rows, seldom of all."""
        first = self.row(table)
        return first, first + self.chance.choice([0, 1, 3, 3, 10, 10, 60, table.rows // 3])

    def value(self, column, n):
        """Of a column that is not of the key; n is the row's number, or an expression that gives it."""
        chance = self.chance
        if column.parent is not None:
            return None  # see row_values()
        draw = chance.random()
        if column.nullable and draw < 0.12 and not column.fixed:
            return "null"
        if draw < 0.3 and not column.fixed:
            special = column.type.special(chance)
            if special:
                return special
        if draw < 0.75:
            return column.value(n)
        return column.value(chance.randrange(1000))

    def row_values(self, table, n):
        """(column list, values) of row n, or of many rows when n is an expression."""
        chance = self.chance
        names, values = [], []
        # one number per parent, so that the columns of a key of several name one row of it
        parents = {}
        for column in table.columns:
            if not column.insertable or (column.overriding and chance.random() < 0.3):
                continue
            if column.parent is not None:
                parent = column.parent
                if id(parent) not in parents:
                    parents[id(parent)] = (
                        None if chance.random() < 0.2
                        else f"({n} * {chance.choice([1, 1, 3, 7])}) % {min(parent.rows, 60)}"
                    )
                number = parents[id(parent)]
                value = "null" if number is None else column.value(number)
            elif column in table.key:
                value = None
                if isinstance(n, int) and not column.fixed and chance.random() < 0.05:
                    value = column.type.special(chance)
                value = value or column.value(n)
            elif column.name == table.unique:
                value = "null" if chance.random() < 0.1 else column.value(n)
            else:
                value = self.value(column, n)
            names.append(column.sql)
            values.append(value)
        return ", ".join(names), ", ".join(values)

    def overriding(self, table):
        return " overriding system value" if any(c.overriding for c in table.columns) else ""

    def _free_columns(self, table):
        return [c for c in table.others if c.updatable and not c.overriding]

    def assignments(self, table):
        """SET list for a table called t: one to three columns outside of the key; None without any."""
        chance = self.chance
        free = self._free_columns(table)
        if not free:
            return None
        found = []
        for column in chance.sample(free, min(len(free), chance.randint(1, 3))):
            if column.name in (table.n, table.unique):
                if column.name == table.unique and chance.random() < 0.7:
                    continue  # these have statements of their own
                found.append(f"{column.sql} = t.{column.sql} + {chance.choice([1, -1, 1000])}")
            elif column.parent is not None:
                found.append(f"{column.sql} = {column.value(chance.randrange(min(column.parent.rows, 60)))}")
            else:
                found.append(f"{column.sql} = {self.value(column, chance.randrange(1000))}")
        return ", ".join(found) or None

    def where(self, table):
        """A condition on t for one row, a few, or many."""
        chance = self.chance
        draw = chance.random()
        if draw < 0.45 or not table.n:
            return "(" + table.key_is(self.row(table)) + ")"
        n = f"t.{ident(table.n)}"
        if draw < 0.6:
            rows = ", ".join(str(self.row(table)) for _ in range(chance.randint(2, 6)))
            return f"{n} in ({rows})"
        if draw < 0.85:
            return "{} between {} and {}".format(n, *self.stretch(table))
        modulus = chance.choice([7, 20, 50])
        return f"{n} % {modulus} = {chance.randrange(modulus)}"

    def named(self, table):
        """The table, or one of its partitions."""
        if table.leaves and self.chance.random() < 0.3:
            return self.chance.choice(table.leaves)
        return table.sql

    def source(self, table):
        """(column list, SELECT list of g.n, FROM) for rows of a stretch."""
        first, last = self.stretch(table)
        names, values = self.row_values(table, "g.n")
        return names, values, f"generate_series({first}, {last}) g (n)"

    # Statements

    def insert(self, table):
        names, values = self.row_values(table, self.row(table))
        return [f"insert into {self.named(table)} as t ({names}){self.overriding(table)} values ({values})"
                + self._on_conflict(table)]

    def insert_many(self, table):
        names, values, rows = self.source(table)
        return [f"insert into {table.sql} as t ({names}){self.overriding(table)} select {values} from {rows}"
                + self._on_conflict(table, 0.8)]

    def refill(self, table):
        """As many rows as are missing."""
        names, values = self.row_values(table, "g.n")
        if table.conflict:
            condition = self._nothing(table)
        else:
            condition = f" where not exists (select 1 from {table.sql} t where {table.key_is('g.n')})"
        return [f"insert into {table.sql} as t ({names}){self.overriding(table)} select {values}"
                f" from generate_series(0, {table.rows - 1}) g (n)" + condition]

    def _on_conflict(self, table, likely=0.5):
        chance = self.chance
        if not table.conflict or chance.random() > likely:
            return ""
        setting = self.assignments(table) if chance.random() < 0.6 else None
        if not setting:
            return self._nothing(table)
        where = f" where excluded.{ident(table.n)} % 3 > 0" if table.n and chance.random() < 0.3 else ""
        return f" on conflict ({table.key_list()}) do update set {setting}{where}"

    def _nothing(self, table):
        """A deferrable index may not take part."""
        named = table.unique_deferrable or self.chance.random() < 0.5
        return f" on conflict{f' ({table.key_list()})' if named else ''} do nothing"

    def insert_select(self, table):
        """From its own rows, with other keys; an identity key gets new numbers by itself."""
        rows = self.where(table)
        names, values = self.row_values(table, "g.n")
        return [f"insert into {table.sql} as t ({names}){self.overriding(table)} select {values} from"
                f" (select ({self.row(table)} + row_number() over ())::int as n from {table.sql} t where {rows} limit 20) g"
                + self._on_conflict(table, 0.8)]

    def copy(self, table):
        names, values, rows = self.source(table)
        where = ""
        if self.chance.random() < 0.7:
            where = f" where not exists (select 1 from {table.sql} t where {table.key_is('g.n')})"
        return [Copy(table.sql, names, f"select {values} from {rows}{where}")]

    def update(self, table):
        setting = self.assignments(table)
        if not setting:
            return self.move_key(table)
        return [f"update {self.named(table)} t set {setting} where {self.where(table)}"]

    def delete(self, table):
        return [f"delete from {self.named(table)} t where {self.where(table)}"]

    def move_key(self, table):
        """A row gets the key of another number, which may be taken."""
        if any(not c.updatable for c in table.key):
            return self.delete(table)
        n = self.row(table) if self.chance.random() < 0.7 else table.rows + self.chance.randrange(1000)
        columns = table.key if self.chance.random() < 0.7 else [self.chance.choice(table.key)]
        setting = ", ".join(f"{c.sql} = {c.value(n)}" for c in columns)
        return [f"update {table.sql} t set {setting} where {table.key_is(self.row(table))}"]

    def same_key(self, table):
        """The key is set to a value that is equal but may be written in another way."""
        for column in table.key:
            if column.updatable and column.type.name in ("numeric", "interval", "jsonb", "nocase", "char", "float8"):
                other = {
                    "numeric": f"{column.sql} * 1.00",
                    "interval": f"justify_days({column.sql})",
                    "jsonb": column.sql,
                    "nocase": f"upper({column.sql})",
                    "char": f"{column.sql} || ' '",
                    "float8": f"-(-{column.sql})",
                }[column.type.name]
                return [f"update {table.sql} t set {column.sql} = {other} where {self.where(table)}"]
        return self.update(table)

    def shift(self, table):
        """k = k + 1 over a range: every row gets the key that its neighbour had."""
        for column in table.key:
            if column.updatable and column.type.name in ("int2", "int4", "int8", "numeric", "date"):
                away = 20000 if column.type.name == "int2" else 1000000
                first, last = self.stretch(table)
                by = self.chance.choice([1, 1, 2, 5])
                # columns of a foreign key follow, or refuse it
                k = column.sql
                return [
                    f"update {table.sql} set {k} = {k} - {away}"
                    f" where {k} between {column.value(first)} and {column.value(last)}",
                    f"update {table.sql} set {k} = {k} + {away + by}"
                    f" where {k} between {column.value(first)} - {away} and {column.value(last)} - {away}",
                ]
        return self.move_key(table)

    def swap(self, table):
        """Values of a unique column pass from row to row."""
        if not table.unique:
            return self.update(table)
        u = ident(table.unique)
        first, last = self.stretch(table)
        if table.unique_deferrable and self.chance.random() < 0.6:
            return [f"update {table.sql} t set {u} = {u} + 1 where {u} between {first} and {last}"]
        if self.chance.random() < 0.5:
            a, b = self.row(table), self.row(table)
            return [
                f"update {table.sql} t set {u} = -{u} - 1 where {u} in ({a}, {b})",
                f"update {table.sql} t set {u} = {a} + {b} + {u} + 1 where {u} in (-{a} - 1, -{b} - 1)",
            ]
        return [
            f"update {table.sql} t set {u} = -{u} - 1 where {u} between {first} and {last}",
            f"update {table.sql} t set {u} = -{u} where {u} < 0",
        ]

    def again(self, table):
        """A row is deleted and inserted in one transaction, or in one statement."""
        n = self.row(table)
        names, values = self.row_values(table, n)
        insert = f"insert into {table.sql} as t ({names}){self.overriding(table)}"
        if self.chance.random() < 0.6:
            return [f"delete from {table.sql} t where {table.key_is(n)}", f"{insert} values ({values})"]
        return [f"with gone as (delete from {table.sql} t where {table.key_is(n)} returning 1)"
                f" {insert} select {values} from (select count(*) from gone) x"]

    def merge(self, table):
        if self.number < 150000 or not table.conflict:
            return self.insert_many(table)
        generated = any(not c.insertable for c in table.columns)
        if "merge generated" in AWAITED and self.number < 160000 and table.has_heirs and generated:
            return self.insert_many(table)
        first, last = self.stretch(table)
        names, values = self.row_values(table, "s.n")
        setting = self.assignments(table)
        update = f" when matched and s.n % 3 < 2 then update set {setting}" if setting else ""
        return [
            f"merge into {self.named(table)} t using generate_series({first}, {last}) s (n) on {table.key_is('s.n')}"
            f" when matched and s.n % 5 = 0 then delete{update}"
            f" when not matched and s.n % 4 > 0 then insert ({names}){self.overriding(table)} values ({values})"
        ]

    def several(self, table):
        """One statement that writes to several tables."""
        chance = self.chance
        other, third = chance.choice(self.schema.tables), chance.choice(self.schema.tables)
        names, values = self.row_values(other, self.row(other))
        parts = [f"a as (delete from {table.sql} t where {self.where(table)} returning 1)"]
        setting = self.assignments(third)
        if setting:
            parts.append(f"b as (update {third.sql} t set {setting} where {self.where(third)} returning 1)")
        conflict = self._nothing(other) if other.conflict else ""
        return [
            f"with {', '.join(parts)} insert into {other.sql} ({names}){self.overriding(other)}"
            f" select {values} from (select count(*) from a) x{conflict}"
        ]

    def truncate(self, table):
        """Of all or of a partition; mostly filled again at once."""
        chance = self.chance
        if table.leaves and chance.random() < 0.6:
            return [f"truncate {chance.choice(table.leaves)}"] + (
                self.refill(table) if chance.random() < 0.5 else []
            )
        only = "only " if table.has_heirs and chance.random() < 0.5 else ""
        end = " cascade" if table.related else chance.choice(["", " restart identity", " cascade"])
        before = self.update(table) if chance.random() < 0.3 else []
        return before + [f"truncate {only}{table.sql}{end}"] + (
            self.refill(table) if chance.random() < 0.7 else []
        )

    def function(self, table, without=()):
        """PL/pgSQL with a savepoint per turn, some of which are rolled back."""
        body = []
        for _ in range(self.chance.randint(1, 3)):
            for statement in self.change(table, without=("function", "copy", "truncate", *without)):
                if not isinstance(statement, Copy):
                    body.append(f"begin {statement}; if {self.chance.random():.2f} < 0.3 then raise 'no'; end if;"
                                " exception when integrity_constraint_violation or raise_exception"
                                " or data_exception or cardinality_violation then null; end;")
        return ["do $do$ begin " + " ".join(body) + " null; end $do$"]

    def partition_key(self, table):
        if not table.moves:
            return self.update(table)
        return [f"update {table.sql} t set {ident(table.moves)} = {self.chance.randrange(100)}"
                f" where {self.where(table)}"]

    KINDS = [
        ("insert", 10), ("insert_many", 10), ("refill", 2), ("insert_select", 3), ("copy", 4), ("update", 24),
        ("delete", 8), ("move_key", 8), ("same_key", 3), ("shift", 6), ("swap", 8), ("again", 6), ("merge", 7),
        ("several", 5), ("truncate", 1), ("function", 4), ("partition_key", 5),
    ]

    def change(self, table, without=()):
        """One change of the table: a list of statements that belong together, none of them of the kinds `without`."""
        kinds = [(k, w) for k, w in self.KINDS if k not in without]
        (kind,) = self.chance.choices([k for k, _ in kinds], [w for _, w in kinds])
        if kind == "function":
            return self.function(table, without)
        return getattr(self, kind)(table)
