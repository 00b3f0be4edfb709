"""Writers that change the tables of a RandomSchema in every way a transaction can end.

    load = Load(schema, old, seed, writers=4)
    load.fill()
    with load:
        ...
        load.pause()        # no transaction runs; those that stay open over rounds keep being open
        ...compare...
        load.resume()
        load.end_open()     # the open and the prepared ones end
        load.point(new)     # where they write from now on
    load.check()            # no unexpected error

Each writer draws from random.Random of the seed and its number, so what it does can be repeated; when it does
it cannot. write_log() writes what was done, by whom, when, and with which transaction id and result.
"""

import io
import random
import threading
import time

import psycopg2

from .random_schema import AWAITED
from .random_statements import Copy, Statements
from .wait import poll_until

# What may become of a statement for reasons of the data, or of what others do at the same time.
EXPECTED = {
    "21000", "22001", "22003", "22008", "23502", "23503", "23505", "23514", "23P01", "27000", "40001", "40P01",
    "55P03", "57014",
}
# TRUNCATE of a table that others refer to, or that the transaction has deferred checks of
UNSUPPORTED = ("0A000", "55006")
GATE = "25006"

ISOLATION = ["read committed"] * 6 + ["repeatable read"] * 3 + ["serializable"] * 2


class Open:
    """A transaction that stays open, or is prepared, for some rounds."""

    def __init__(self, connection, until, gid=None):
        self.connection, self.until, self.gid = connection, until, gid


class Writer(threading.Thread):
    def __init__(self, load, number):
        super().__init__(name=f"writer {number}", daemon=True)
        self.load, self.number = load, number
        self.chance = random.Random(f"load {load.seed} {number}")
        self.statements = Statements(load.schema, self.chance, load.node.number)
        self.open = []
        self.log = []
        self.idle = threading.Event()
        self.error = None
        self.done = 0
        self._connection = None
        self._node = None
        self._prepared = 0

    # Life

    def run(self):
        try:
            while not self.load.stopped.is_set():
                if not self.load.going.is_set():
                    self.idle.set()
                    self.load.going.wait(0.2)
                    continue
                self.idle.clear()
                if not self.load.going.is_set():
                    continue  # pause() may have looked in between
                self._turn()
        except BaseException as error:  # shown by check()
            self.error = error
        finally:
            self.idle.set()
            for connection in [one.connection for one in self.open] + [self._connection]:
                if connection is not None:
                    connection.close()  # an open transaction of ours would be in the way of others

    def _turn(self):
        node = self.load.node
        if node is not self._node:
            self._node, self._connection = node, self._connect()
            self.statements.number = node.number
        self._end_some()
        draw = self.chance.random()
        if draw < 0.25:
            self._autocommit()
        elif draw < 0.27:
            self._maintain()
        elif draw < 0.30 and self.load.may_stay_open and len(self.open) < 2:
            self._begin_long()
        else:
            self._transaction(self._connection)
        time.sleep(self.chance.random() * self.load.pause_between)

    def _connect(self):
        connection = self.load.node.connect()
        with connection.cursor() as cursor:
            # Locks of transactions that stay open are in the way of the others.
            cursor.execute("set lock_timeout = '150ms'; set statement_timeout = '20s'; set timezone = '<+0530>-05:30';"
                           " set datestyle = 'German'; set intervalstyle = 'sql_standard'; set extra_float_digits = 0;"
                           " set bytea_output = 'escape'")
        return connection

    # One statement

    def _do(self, connection, statement):
        """Runs it and notes it. Returns whether it worked."""
        began = time.monotonic()
        result = "?"
        try:
            with connection.cursor() as cursor:
                if isinstance(statement, Copy):
                    rows = io.BytesIO()
                    cursor.copy_expert(f"copy ({statement.query}) to stdout", rows)
                    rows.seek(0)
                    cursor.copy_expert(f"copy {statement.table} ({statement.columns}) from stdin", rows)
                else:
                    cursor.execute(statement)
                result = f"ok {cursor.rowcount}"
                if cursor.description:
                    result += f" {cursor.fetchone()}"
            self.done += 1
            return True
        except psycopg2.Error as error:
            code = error.pgcode or "lost"
            result = f"{code} {str(error).splitlines()[0] if str(error) else ''}"
            if code == GATE:
                self.load.refused += 1
            elif not self._is_expected(error, code, statement):
                raise AssertionError(f"{self.name}: {error}\n{error.diag.context or ''}\nin {statement}") from error
            return False
        finally:
            self.log.append((began, time.monotonic(), self.number, id(connection) % 9973, str(statement), result))

    def _is_expected(self, error, code, statement):
        context = (error.diag.context or "") if error.diag else ""
        if "function pgtandem." in context and code not in ("40001", "40P01", "55P03", "57014"):
            return False  # capture must not make the application's statements fail
        if code in EXPECTED:
            return True
        text = str(statement)
        if text.startswith("vacuum full") and "missing chunk number" in str(error):
            # Old servers: rows that are only just dead are rewritten although a vacuum of the TOAST table,
            # with a later horizon, has taken their values. Nothing is lost, and we have no part in it.
            return self.load.node.number < 140000
        return code in UNSUPPORTED and (text.startswith("truncate") or self.load.node.number < 110000)

    # Transactions

    def _table(self):
        return self.chance.choice(self.load.schema.tables)

    def _autocommit(self):
        statements = self.statements.change(self._table())
        if len(statements) > 1:
            return self._transaction(self._connection, [statements])
        self._do(self._connection, statements[0])

    def _body(self, connection, changes):
        """The statements, with savepoints. Returns whether the transaction can still commit."""
        for change in changes:
            guarded = self.chance.random() < 0.45
            undo = self.chance.random() < 0.3
            # a short statement_timeout may hit these, too
            if guarded and not self._do(connection, "savepoint s"):
                return False
            if not all(self._do(connection, statement) for statement in change):
                if not guarded or not self._do(connection, "rollback to s"):
                    return False
            elif guarded and not self._do(connection, "rollback to s" if undo else "release s"):
                return False
        return True

    def _changes(self, **options):
        count = self.chance.choice([1, 1, 2, 3, 6])
        changes = [self.statements.change(self._table(), **options) for _ in range(count)]
        if self.chance.random() < 0.15:
            changes.append(self.statements.change(self._table(), **options) * 2)
        return changes

    def _transaction(self, connection, changes=None):
        chance = self.chance
        changes = changes or self._changes()
        isolation = chance.choice(ISOLATION)
        if "truncate old snapshot" in AWAITED and any("truncate" in str(s) for c in changes for s in c):
            isolation = "read committed"
        self._do(connection, f"begin isolation level {isolation}")
        settings = chance.random()
        if settings < 0.08:
            # neither foreign keys nor deferrable constraints would be checked: only tables without
            tables = [
                t for t in self.load.schema.tables
                if not (t.related or t.unique_deferrable or t.kind == "deferrable")
            ]
            changes = [
                self.statements.change(chance.choice(tables), without=("several", "truncate")) for _ in range(2)
            ]
            self._do(connection, "set local session_replication_role = replica")
        elif settings < 0.13:
            self._do(connection, f"set local statement_timeout = {chance.choice([2, 5, 20])}")
        elif settings < 0.2:
            self._do(connection, "set constraints all deferred")
        fine = self._body(connection, changes)
        if chance.random() < 0.05:
            time.sleep(chance.random() * 0.1)
        if fine and chance.random() < 0.85:
            self._commit(connection)
        else:
            self._rollback(connection)

    def _rollback(self, connection):
        """A short statement_timeout may hit this, too, and then the transaction is still there."""
        while not self._do(connection, "rollback") and connection.closed == 0:
            pass
        return False

    def _commit(self, connection):
        if not self._do(connection, "select txid_current()"):
            return self._rollback(connection)
        # a deferred constraint may refuse it; then nothing is left to roll back
        if not self._do(connection, "commit"):
            self._rollback(connection)

    def _maintain(self):
        """What moves rows without triggers."""
        table = self._table()
        if table.leaves:
            return
        self._do(self._connection, self.chance.choice(
            [f"vacuum {table.sql}", f"vacuum full {table.sql}", f"analyze {table.sql}", f"reindex table {table.sql}"]
        ))

    # Transactions that stay open

    def _begin_long(self):
        """Without TRUNCATE, whose lock would keep everybody from reading."""
        connection = self._connect()
        changes = self._changes(without=("truncate", "refill"))
        self._do(connection, f"begin isolation level {self.chance.choice(ISOLATION)}")
        if not self._body(connection, changes):
            connection.close()
            return
        until = self.load.round + self.chance.randint(1, 3)
        if self.chance.random() < 0.35:
            self._prepared += 1
            gid = f"{self.load.name} {self.number} {self._prepared}"
            self._do(connection, "select txid_current()")
            if self._do(connection, f"prepare transaction '{gid}'"):
                connection.close()
                self.open.append(Open(self._connect(), until, gid))
            else:
                self._rollback(connection)
                connection.close()
        else:
            self.open.append(Open(connection, until))

    def _end_some(self):
        for one in list(self.open):
            if self.load.may_stay_open and one.until > self.load.round:
                continue
            commits = self.chance.random() < 0.8
            if one.gid:
                self._do(one.connection, f"{'commit' if commits else 'rollback'} prepared '{one.gid}'")
            elif not self._body(one.connection, self._changes(without=("truncate", "refill"))) or not commits:
                self._rollback(one.connection)
            else:
                self._commit(one.connection)
            one.connection.close()
            self.open.remove(one)


class Load:
    def __init__(self, schema, node, seed, writers=4, pause_between=0.01):
        self.schema, self.node, self.seed = schema, node, seed
        self.name = node.dbname
        self.pause_between = pause_between
        self.round = 0
        self.refused = 0
        self.may_stay_open = False
        self.bulk_chance = random.Random(f"bulk {seed}")
        self.bulk_log = []
        self.stopped, self.going = threading.Event(), threading.Event()
        self.began = time.monotonic()
        self.writers = [Writer(self, i) for i in range(writers)]

    def fill(self):
        """The first rows; parents come before their children."""
        statements = Statements(self.schema, random.Random(f"fill {self.seed}"), self.node.number)
        connection = self.node.connect()
        with connection.cursor() as cursor:
            for table in [*self._parents_first(), self.schema.bulk]:
                (statement,) = statements.refill(table)
                try:
                    cursor.execute(statement)
                except psycopg2.IntegrityError:
                    pass  # e.g. another unique column: the writers fill it
        connection.close()

    def _parents_first(self):
        def depth(table):
            parents = [c.parent for c in table.others if c.parent is not None and c.parent is not table]
            return 1 + max(map(depth, parents), default=0)

        return sorted(self.schema.tables, key=depth)

    def __enter__(self):
        self.going.set()
        for writer in self.writers:
            writer.start()
        return self

    def __exit__(self, *_):
        self.stopped.set()
        self.going.set()
        for writer in self.writers:
            if writer.is_alive():
                writer.join(30)

    @property
    def done(self):
        return sum(writer.done for writer in self.writers)

    def check(self):
        for writer in self.writers:
            if writer.error:
                raise writer.error

    def wait_for(self, more, timeout=60):
        """That many more statements have been executed."""
        goal = self.done + more

        def reached():
            self.check()
            return self.done >= goal

        poll_until(reached, timeout, f"{more} more statements")

    def pause(self):
        self.going.clear()
        for writer in self.writers:
            assert writer.idle.wait(60), f"{writer.name} does not come to rest: {writer.log[-1]}"
        self.check()

    def resume(self):
        self.round += 1
        for writer in self.writers:
            writer.idle.clear()
        self.going.set()

    def end_open(self):
        """Lets the writers end what is open."""
        self.may_stay_open = False
        poll_until(lambda: self.check() or not any(w.open for w in self.writers), 30, "the end of open transactions")

    def bulk(self):
        """A few statements that change thousands of rows; the queue goes on to its other segment."""
        statements = Statements(self.schema, self.bulk_chance, self.node.number)
        connection = self.node.connect()
        with connection.cursor() as cursor:
            for _ in range(3):
                change = statements.change(self.schema.bulk, without=("several",))
                try:
                    cursor.execute("begin")
                    for statement in change:
                        if not isinstance(statement, Copy):
                            cursor.execute(statement)
                        self.bulk_log.append((time.monotonic(), time.monotonic(), "bulk", 0, str(statement), "ok"))
                    cursor.execute("commit")
                except psycopg2.Error as error:
                    cursor.execute("rollback")
                    self.bulk_log.append((time.monotonic(), time.monotonic(), "bulk", 0, "rollback", str(error)))
                    if error.pgcode not in EXPECTED:
                        raise
            if self.node.number >= 110000:
                cursor.execute(
                    "do $$ begin for i in 1..4200 loop perform txid_current(); commit; end loop; end $$"
                )
        connection.close()

    def point(self, node):
        self.node = node

    def write_log(self, path):
        entries = [entry for writer in self.writers for entry in list(writer.log)] + self.bulk_log
        with open(path, "a", encoding="utf-8") as file:
            for began, ended, number, connection, statement, result in sorted(entries, key=lambda e: e[:2]):
                file.write(f"{began - self.began:9.4f} {ended - self.began:9.4f} writer {number}"
                           f" connection {connection}: {statement}\n    -> {result}\n")
