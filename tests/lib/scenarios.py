"""Scenarios of replication as data: databases, syncs, steps, and what is expected after them.

    Scenario(
        "rows go from A to B",
        nodes="A B",
        setup={"*": "create table t (id int primary key, v text)"},
        syncs=[Sync("s", "A, B", tables="t")],
        steps=[
            on("A", "insert into t values (1, 'x')"),
            flush(),
            rows("B", "select * from t", [(1, "x")]),
        ],
    )

play(scenario, nodes, replicator) runs it, and returns what went wrong or None. A replicator knows how to attach(scenario), start(),
stop(), flush(names): "what is committed now has to be there afterwards", pause(names) and resume(names). Pgtandem
is the one of this project; lib/bucardo.py has another one. Steps that only pgtandem understands
say so (only_ours); for what it cannot do another replicator raises NotForIt in attach().
"""

import os
import re

import psycopg2

from . import place
from .tool import DONE, FAILED, REFUSED, USAGE
from .wait import poll_until

SOON = 10  # seconds in which something has to happen by itself
FLUSH = 20  # seconds that a flush may take


class Sync:
    """A sync: name, databases with roles, and settings as in the file (checktime="1s"). `rules` are what is
    special about single tables: {"public.t": {"where": …, "target-name.B": …}}."""

    def __init__(self, name, dbs, tables="all", rules=None, **settings):
        self.name = name
        self.dbs = dbs
        self.tables = tables
        self.rules = rules or {}
        self.settings = {key.replace("_", "-"): value for key, value in settings.items()}

    def ini(self):
        lines = [f"[sync {self.name}]", f"tables = {self.tables}", f"dbs = {self.dbs}"]
        lines += [f"{key} = {value}" for key, value in self.settings.items()]
        for table, rule in self.rules.items():
            lines += ["", f"[table {self.name} {table}]"]
            lines += [f"{key} = {value}" for key, value in rule.items()]
        return "\n".join(lines) + "\n"


class NotForIt(Exception):
    """The replicator has nothing of the kind that this scenario is about."""


class Scenario:
    def __init__(self, name, *, nodes, steps, setup=None, syncs=(), sections="", tables=None, service_file=(),
                 known=None, begins=True):
        """`nodes` are names with blanks between, or {name: name of the database}; `setup` is a script per node,
        "*" for all of them and first; `sections` more of the configuration file; `tables` what same() compares
        unless it is told (all); the nodes in `service_file` are known by an entry of a pg_service.conf. {A} in
        setup and sections is the database of A as an identifier, $A its connection string. `known` says why it
        is expected to fail for the time being; nobody waits long for that. `begins`: the service is started
        (else its file is refused)."""
        self.name = name
        self.nodes = nodes if isinstance(nodes, dict) else {label: None for label in nodes.split()}
        self.steps = steps
        self.setup = setup or {}
        self.syncs = syncs
        self.sections = sections
        self.tables = tables
        self.service_file = service_file
        self.known = known
        self.begins = begins

    def __repr__(self):
        return re.sub(r"\W+", "-", self.name)


class World:
    """What the steps act on."""

    def __init__(self, scenario, nodes, replicator):
        self.scenario = scenario
        self.nodes = nodes
        self.replicator = replicator
        self.sessions = {}
        self.soon = 3 if scenario.known else SOON

    def node(self, name):
        return self.nodes[name]

    def session(self, node, name):
        if (node, name) not in self.sessions:
            self.sessions[node, name] = self.nodes[node].connect()
        return self.sessions[node, name]

    def close(self):
        for connection in self.sessions.values():
            connection.close()


def play(scenario, nodes, replicator):
    for name in nodes:
        for key in ("*", name):
            if key in scenario.setup:
                nodes[name].sql(filled_in(scenario.setup[key], nodes))
    try:
        replicator.attach(scenario)
        if scenario.begins:
            replicator.start()
    except NotForIt:
        raise
    except Exception as error:
        return f"begin of \"{scenario.name}\":\n{error}\n{replicator.news()}"
    world = World(scenario, nodes, replicator)
    try:
        for number, step in enumerate(scenario.steps, 1):
            try:
                step.do(world)
            except Exception as error:
                return f"step {number} of \"{scenario.name}\", {step}:\n{error}\n{replicator.news()}"
    finally:
        world.close()
    replicator.stop()
    return None


def filled_in(text, nodes):
    for name, node in nodes.items():
        text = text.replace("{" + name + "}", '"' + node.dbname.replace('"', '""') + '"')
        text = text.replace("$" + name, node.conninfo)
    return text


# Steps


class Step:
    def __init__(self, label, do, only_ours=False):
        self.label = label
        self.do = do
        self.only_ours = only_ours

    def __repr__(self):
        return self.label if len(self.label) < 300 else self.label[:297] + "..."


def on(node, sql):
    """A script on a node, in a session and transaction of its own."""
    return Step(f"on {node}: {sql.strip()}", lambda world: world.node(node).sql(sql))


def refused(node, sql, says):
    """The server refuses it with an error in which `says` is."""

    def do(world):
        try:
            world.node(node).sql(sql)
        except psycopg2.Error as error:
            assert says in str(error), error
        else:
            raise AssertionError("it was not refused")

    return Step(f"refused on {node}: {sql}", do)


def in_session(node, name, sql):
    """The same in a session that stays open until the end: for transactions over several steps."""

    def do(world):
        with world.session(node, name).cursor() as cursor:
            cursor.execute(sql)

    return Step(f"on {node}, in session {name}: {sql.strip()}", do)


def flush(*syncs):
    return Step(f"flush {' '.join(syncs)}", lambda world: world.replicator.flush(syncs))


def restart():
    def do(world):
        world.replicator.stop()
        world.replicator.start()

    return Step("restart", do)


def pause(*syncs):
    return Step(f"pause {' '.join(syncs)}", lambda world: world.replicator.pause(syncs))


def resume(*syncs):
    return Step(f"resume {' '.join(syncs)}", lambda world: world.replicator.resume(syncs))


def rows(node, query, expected):
    """The rows that a query finds now."""

    def do(world):
        found = world.node(node).sql(query)
        assert found == expected, f"found {shortened(found)}, not {shortened(expected)}"

    return Step(f"rows on {node}: {query}", do)


def soon(node, query, expected):
    """The same without a flush: it gets there by itself."""

    def do(world):
        seen = []

        def there():
            seen[:] = world.node(node).sql(query)
            return seen == expected

        try:
            poll_until(there, world.soon)
        except TimeoutError:
            raise AssertionError(f"after {world.soon} s {shortened(seen)}, not {shortened(expected)}") from None

    return Step(f"soon on {node}: {query}", do)


def same(*nodes, tables=None, query=None):
    """The tables (or what a query finds) are the same on these nodes: every row, every column."""

    def do(world):
        names = tables or world.scenario.tables
        for one in [query] if query else table_queries(world.node(nodes[0]), names):
            first, *others = [world.node(name).sql(one) for name in nodes]
            for name, other in zip(nodes[1:], others):
                assert other == first, f"{one}: {describe_difference(first, other, nodes[0], name)}"

    return Step(f"the same on {' '.join(nodes)}" + (f": {query}" if query else ""), do)


def table_queries(node, names):
    if names is None:
        names = [name for (name,) in node.sql(
            "select c.oid::regclass::text from pg_class c join pg_namespace n on n.oid = c.relnamespace"
            " where c.relkind in ('r', 'p') and not c.relispartition and c.relpersistence <> 't'"
            " and n.nspname not in ('pg_catalog', 'information_schema', 'pgtandem', 'bucardo') order by 1")]
    return [f"select x::text from only {name} x order by 1" if is_plain(node, name)
            else f"select x::text from {name} x order by 1" for name in names]


def is_plain(node, name):
    return node.value("select relkind = 'r' from pg_class where oid = %s::regclass", (name,))


def describe_difference(one, other, one_name, other_name):
    missing = [row for row in one if row not in other]
    surplus = [row for row in other if row not in one]
    return (f"{one_name} has {len(one)} rows, {other_name} {len(other)}; only in {one_name}: {shortened(missing)};"
            f" only in {other_name}: {shortened(surplus)}")


def shortened(found):
    text = repr(found)
    return text if len(text) < 400 else text[:397] + "..."


# Steps of pgtandem only


def ours(label, do):
    return Step(label, do, only_ours=True)


def command(*words, rc=DONE, says=()):
    """A command of pgtandem and its exit code; what it has to say, on standard output or error."""

    def do(world):
        done = world.replicator.service.run(*words)
        assert done.rc == rc, done
        for text in [says] if isinstance(says, str) else says:
            assert text in done.text, f"nothing of {text!r} in {done}"

    return ours(f"pgtandem {' '.join(words)}", do)


def flush_but(*tables):
    """A flush that tells of tables that are stopped."""
    return Step(f"flush, but {' '.join(tables)}", lambda world: world.replicator.flush_but(tables), only_ours=True)


def look_again():
    """Has the workers look at the catalogs, which a kick does, whatever comes of it."""
    return ours("look again", lambda world: world.replicator.service.run(
        "kick", f"--wait={world.replicator.patience}s"))


def problem(text, at):
    """validate finds this, with the number of the line that has `at` in it."""

    def do(world):
        service = world.replicator.service
        done = service.run("validate")
        assert done.rc in (REFUSED, USAGE), done
        where = f"{service.path}:{service.line_of(at)}: "
        assert any(where in line and text in line for line in (done.out + done.err).splitlines()), (where, done)

    return ours(f"validate finds {text!r}", do)


def edit(change, to):
    """Replaces a piece of the file by another."""

    def do(world):
        service = world.replicator.service
        assert change in service.text, service.text
        service.write(service.text.replace(change, to))

    return ours(f"in the file {change!r} becomes {to!r}", do)


def state(sync, to, expected, says=""):
    """The state of an edge, which it gets within some time; `says` is in its error."""

    def do(world):
        def there():
            seen[:] = [world.replicator.service.edge(sync, to)]
            return seen[0]["state"] == expected and says in (seen[0]["error"] or "")

        seen = []
        try:
            poll_until(there, world.soon, interval=0.1)
        except TimeoutError:
            raise AssertionError(f"it is {seen[0]}") from None

    return ours(f"state of {sync} to {to}: {expected}", do)


def numbers(sync, to, **expected):
    """Numbers of `status --json` for an edge."""

    def do(world):
        edge = world.replicator.service.edge(sync, to)
        found = {key: edge[key] for key in expected}
        assert found == expected, f"{found}, not {expected}"

    return ours(f"numbers of {sync} to {to}: {expected}", do)


def table_state(sync, table, expected, says="", to=None):
    """The state of a table in an edge, which it gets within some time; None: not known to it."""

    def do(world):
        def there():
            found = world.replicator.service.table(sync, table, to)
            seen[:] = [found]
            if expected is None or found is None:
                return expected is None and found is None
            return found["state"] == expected and says in (found["reason"] or "")

        seen = []
        try:
            poll_until(there, world.soon, interval=0.1)
        except TimeoutError:
            raise AssertionError(f"it is {seen[0]}") from None

    return ours(f"table {table} of {sync}: {expected}", do)


def workers(*edges):
    """The edges that this machine works on, soon after a reload."""
    return ours(f"workers of {' '.join(edges)}", lambda world: poll_until(
        lambda: set(world.replicator.service.workers()) == set(edges), world.soon, f"workers of {edges} only"))


def nothing_installed(*nodes):
    def do(world):
        for name in nodes:
            for what, query in (
                ("schema", "select count(*) from pg_namespace where nspname = 'pgtandem'"),
                ("triggers", "select count(*) from pg_trigger where tgname like 'pgtandem%'"),
            ):
                assert world.node(name).value(query) == 0, f"there is a {what} of pgtandem in {name}"

    return ours(f"nothing is installed in {' '.join(nodes)}", do)


def log_says(pattern):
    return ours(f"the log says {pattern!r}",
                lambda world: world.replicator.service.running.wait_for_output(pattern, timeout=world.soon))


# The replicator of this project


class Pgtandem:
    def __init__(self, new_service, nodes):
        self.new_service = new_service
        self.nodes = nodes
        self.service = None
        self.patience = FLUSH

    def attach(self, scenario):
        self.patience = 3 if scenario.known else FLUSH
        conninfos = {name: node.conninfo for name, node in self.nodes.items()}
        path = os.path.join(place.new_dir("pgservice"), "pg_service.conf")
        with open(path, "w", encoding="utf-8") as file:
            for name in scenario.service_file:
                words = conninfos[name].replace(" ", "\n")
                file.write(f"[of_{name}]\n{words}\n")
                conninfos[name] = f"service=of_{name}"
        text = filled_in(scenario.sections, self.nodes) + "\n" + "\n".join(sync.ini() for sync in scenario.syncs)
        self.service = self.new_service(conninfos, text, env={"PGSERVICEFILE": path})

    def start(self):
        self.service.start()

    def stop(self):
        if self.service.running is not None:
            self.service.stop()

    def flush(self, syncs):
        self.service.in_step(*syncs, timeout=self.patience)

    def flush_but(self, tables):
        done = self.service.run("kick", "--wait=20s")
        assert done.rc == FAILED and f"are stopped: {', '.join(tables)}\n" in done.err, done

    def pause(self, syncs):
        """Returns when no round is at work any more."""
        self.service.ok("pause", *syncs, f"--wait={FLUSH}s")

    def resume(self, syncs):
        self.service.ok("resume", *syncs)

    def news(self):
        """What helps to understand a failure."""
        if self.service is None:
            return ""
        status = self.service.run("status")
        log = self.service.running.text[-3000:] if self.service.running is not None else "(not running)"
        return f"--- status\n{status.text}\n--- log\n{log}"
