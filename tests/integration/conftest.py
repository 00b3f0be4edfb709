"""Fixtures of the integration tests.

    pair         two databases, old and new, of one of the wanted version pairs: a test that uses
                 it runs once per pair and is named e.g. test_x[13-18]
    ordinary     makes a pair belong to a role that has ordinary rights only
    one_pair     the same with one version pair only, for what does not depend on versions
    dumpable_pair  the first of the wanted pairs, preferably of different versions, that a pg_dump here can read
    own_pair     as one_pair, but on servers of their own, for tests that stop or configure them
    server       one database on every available server
    dbs          makes several databases on one server of version 15
    new_cluster  makes servers that live as long as the test
    nodes        makes databases on one shared server, for the replication service
    new_service  makes replication services that end with the test
    plays        plays a scenario (lib/scenarios.py); `scenario` is each one of the module's SCENARIOS
    tool         pgtandem, aimed at the test's pair

Servers are started when first needed and shared by all tests; every test gets new databases.
Options: --all-pairs, --long, --keep (leave the files of a run with failures). The version pairs come from
PGTANDEM_TEST_PAIRS, "13-18,15-15"; see also lib/servers.py.
"""

import contextlib
import ctypes
import os
import signal
import threading

import pytest

from lib import place, servers
from lib import cluster as cluster_module
from lib import pgbouncer as pgbouncer_module
from lib import tool as tool_module
from lib.bucardo import Bucardo
from lib.cluster import Cluster
from lib.scenarios import NotForIt, Pgtandem, play
from lib.service import Service
from lib.tool import Tool

REPLICATOR = os.environ.get("PGTANDEM_TEST_REPLICATOR", "pgtandem")  # or bucardo, for the scenarios only
TIMEOUT = 180  # seconds for a test that sets none with @pytest.mark.timeout(…)
# one server for all nodes of a service; the star of eighteen needs many connections
SERVICE_SETTINGS = {"max_connections": "300"}


def pytest_addoption(parser):
    group = parser.getgroup("pgtandem")
    group.addoption("--all-pairs", action="store_true", help="every pair of available servers")
    group.addoption("--long", action="store_true", help="also the tests that are marked as long")
    group.addoption("--keep", action="store_true", help="keep the files when a test fails")


def pytest_configure(config):
    servers.clean_environment()


def pytest_collection_modifyitems(config, items):
    if config.getoption("--long") or any("::" in argument for argument in config.args):
        return
    left_out = [item for item in items if item.get_closest_marker("long")]
    halved = {}
    for item in items:
        if item.get_closest_marker("every_second"):
            halved.setdefault(item.function, []).append(item)
    for same in halved.values():
        left_out += same[1::2]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]


def pytest_report_header(config):
    found = ", ".join(servers.discover()) or "none"
    return [f"pgtandem: {tool_module.default_binary()}", f"servers: {found}"]


def _pairs(config):
    if config.getoption("--all-pairs"):
        return servers.all_pairs()
    return servers.wanted_pairs()


def pytest_generate_tests(metafunc):
    if "pair" in metafunc.fixturenames:
        pairs = _pairs(metafunc.config)
        metafunc.parametrize("pair", pairs, ids=["-".join(p) for p in pairs], indirect=True)
    if "server" in metafunc.fixturenames:
        metafunc.parametrize("server", list(servers.discover()), indirect=True)
    if "scenario" in metafunc.fixturenames:
        metafunc.parametrize("scenario", [_scenario(one) for one in metafunc.module.SCENARIOS], ids=repr)


def _scenario(one):
    if REPLICATOR != "pgtandem":
        one.known = None  # that is said of pgtandem
    return pytest.param(one, marks=pytest.mark.xfail(reason=one.known, strict=True) if one.known else ())


# Servers and databases


class Clusters:
    """The shared servers, by version and role ("15-15" needs two of one version)."""

    def __init__(self):
        self._made = {}

    def get(self, version, role, settings=None):
        try:
            found = servers.get(version)
        except LookupError as error:
            # script/test brings the servers it needs, so there their absence is an error.
            if os.environ.get("PGTANDEM_TEST_STRICT"):
                pytest.fail(str(error), pytrace=False)
            pytest.skip(str(error))
        key = (version, role)
        if key not in self._made:
            self._made[key] = Cluster(found, settings=settings, name=f"{role}{version.replace('.', '')}_")
        return self._made[key].ensure_running()


class Node:
    """One database of a pair: what a test usually wants to do with it."""

    def __init__(self, cluster, dbname):
        self.cluster = cluster
        self.dbname = dbname
        self.user = "postgres"  # as whom the tool and the application connect

    @property
    def conninfo(self):
        return self.cluster.conninfo(self.dbname, self.user)

    @property
    def version(self):
        return self.cluster.version

    @property
    def number(self):
        return self.cluster.number

    def connect(self, **options):
        return self.cluster.connect(self.dbname, **options)

    def sql(self, query, parameters=None, **options):
        return self.cluster.sql(self.dbname, query, parameters, **options)

    def value(self, query, parameters=None, **options):
        return self.cluster.value(self.dbname, query, parameters, **options)

    def psql(self, script, **options):
        return self.cluster.psql(self.dbname, script, **options)


class Pair:
    """An old and a new database, and the tool that knows them as source and target."""

    def __init__(self, old, new):
        self.old = old
        self.new = new

    def tool(self, **options):
        options.setdefault("source", self.old.conninfo)
        options.setdefault("target", self.new.conninfo)
        options.setdefault("client_version", self.old.version)
        return Tool(**options)


@pytest.fixture(scope="session")
def _clusters():
    return Clusters()


def _make_pair(request, old_cluster, new_cluster):
    clusters = (old_cluster, new_cluster)
    request.node.clusters = clusters
    for one in clusters:
        one.log_mark()
    # One name on both sides, as in life.
    name = cluster_module.random_name("db")
    for one in clusters:
        one.create_db(name)
    yield Pair(Node(old_cluster, name), Node(new_cluster, name))
    tool_module.kill_leftovers()
    if not (_failed(request.node) and request.config.getoption("--keep")):
        for one in clusters:
            one.ensure_running().drop_db(name)


@pytest.fixture
def pair(request, _clusters):
    old, new = request.param
    yield from _make_pair(request, _clusters.get(old, "old"), _clusters.get(new, "new"))


@pytest.fixture
def one_pair(request, _clusters):
    old, new = servers.wanted_one_pair()
    yield from _make_pair(request, _clusters.get(old, "old"), _clusters.get(new, "new"))


@pytest.fixture
def dumpable_pair(request, _clusters):
    fit = [pair for pair in _pairs(request.config) if servers.client_bindir(max(pair, key=servers.version_number))]
    if not fit:
        pytest.skip("no pg_dump here reads the servers of any wanted pair")
    old, new = next((pair for pair in fit if pair[0] != pair[1]), fit[0])
    yield from _make_pair(request, _clusters.get(old, "old"), _clusters.get(new, "new"))


@pytest.fixture
def ordinary(request):
    """ordinary(pair, "member"): the pair's databases belong to a role without special rights.

    The nodes' conninfo then names that role ("owner"), a member of it ("member"), or the role with the
    right to set session_replication_role ("parameter"). Returns the owner's name.
    """
    made = []

    def make(pair, kind="owner"):
        owner, member = cluster_module.random_name("app"), cluster_module.random_name("mover")
        for node in (pair.old, pair.new):
            made.append((node, [member, owner]))
            node.cluster.create_role(owner)
            node.cluster.create_role(member)
            node.sql(f"grant {owner} to {member}; alter database {node.dbname} owner to {owner}")
            node.user = member if kind == "member" else owner
            if kind == "parameter" and node.number >= 150000:
                node.sql(f"grant set on parameter session_replication_role to {owner}")
        return owner

    yield make
    tool_module.kill_leftovers()
    for node, roles in made:
        node.cluster.ensure_running().drop_db(node.dbname)
        if node.number >= 150000:
            node.cluster.sql("postgres", f"revoke all on parameter session_replication_role from {roles[1]}")
        for role in roles:
            node.cluster.drop_role(role)


@pytest.fixture
def own_pair(request, new_cluster):
    old, new = servers.wanted_one_pair()
    yield from _make_pair(request, new_cluster(old), new_cluster(new))


@pytest.fixture
def server(request, _clusters):
    """A Node on a server of each version."""
    one = _clusters.get(request.param, "old")
    request.node.clusters = (one,)
    one.log_mark()
    name = one.create_db()
    yield Node(one, name)
    one.ensure_running().drop_db(name)


@pytest.fixture
def new_cluster(request):
    """new_cluster("15", auth="scram", settings={…}): a server for this test alone."""
    made = []

    def make(version, **options):
        try:
            found = servers.get(version)
        except LookupError as error:
            pytest.skip(str(error))
        made.append(Cluster(found, **options).start())
        return made[-1]

    yield make
    for one in made:
        if _failed(request.node) and request.config.getoption("--keep"):
            one.stop()
        else:
            one.remove()


# The replication service


@pytest.fixture
def nodes(request, _clusters):
    """nodes("A", "B", …): a new database for each name, all on one server; {name: Node}. A name of its own for
    the database: nodes(A="odd name")."""
    cluster = _clusters.get("15", "service", SERVICE_SETTINGS)
    request.node.clusters = (cluster,)
    cluster.log_mark()
    made = []

    def make(*labels, **names):
        for label in labels:
            names[label] = cluster_module.random_name("svc")
        for name in names.values():
            made.append(cluster.create_db(name))
        return {label: Node(cluster, name) for label, name in names.items()}

    yield make
    tool_module.kill_leftovers()
    for name in made:
        cluster.ensure_running().drop_db(name)


@pytest.fixture
def new_service(request):
    """new_service({"A": node, …}, text): a Service; see lib/service.py. Ask for it after the fixtures that make
    its databases, so that it ends before they do."""
    made = []

    def make(databases, text="", **options):
        conninfos = {name: getattr(node, "conninfo", node) for name, node in databases.items()}
        return keep(Service(conninfos, text, **options))

    def keep(service):
        made.append(service)
        return service

    make.keep = keep
    yield make
    for one in made:
        one.end()


@pytest.fixture
def plays(nodes, new_service, record_property):
    made = []

    def replicator(databases):
        if REPLICATOR == "pgtandem":
            return Pgtandem(new_service, databases)
        made.append(Bucardo(databases))
        return made[-1]

    def plays(scenario):
        record_property("scenario", scenario.name)
        named = {label: name for label, name in scenario.nodes.items() if name is not None}
        new = nodes(*[label for label in scenario.nodes if label not in named], **named)
        databases = {label: new[label] for label in scenario.nodes}
        try:
            failure = play(scenario, databases, replicator(databases))
        except NotForIt as reason:
            pytest.skip(str(reason))
        if failure:
            pytest.fail(failure, pytrace=False)

    yield plays
    for one in made:
        one.end()


@pytest.fixture
def tool(request):
    for name in ("pair", "one_pair", "dumpable_pair", "own_pair"):
        if name in request.fixturenames:
            return request.getfixturevalue(name).tool()
    return Tool()


# What a failed test shows and leaves behind


def _failed(item):
    return any(report.failed for report in getattr(item, "reports", ()))


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    report = outcome.get_result()
    item.reports = (*getattr(item, "reports", ()), report)
    if report.failed and call.when in ("setup", "call"):
        for one in getattr(item, "clusters", ()):
            report.sections.append((f"log of {one!r}", one.log_tail()))


def pytest_sessionfinish(session):
    tool_module.kill_leftovers()
    pgbouncer_module.stop_all()
    if session.testsfailed and session.config.getoption("--keep"):
        session.config.kept = place.keep()
    cluster_module.stop_all()


def pytest_terminal_summary(terminalreporter, config):
    if getattr(config, "kept", None):
        terminalreporter.write_line(f"the files of this run are kept in {config.kept}")


# A plain last line, for people and programs that read only that.


def pytest_unconfigure(config):
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None or config.option.collectonly:
        return

    def count(*names):
        return sum(len(reporter.stats.get(name, ())) for name in names)

    passed, failed = count("passed", "xpassed"), count("failed", "error")
    skipped = count("skipped", "xfailed")
    print(f"{passed} passed, {failed} failed" + (f", {skipped} skipped" if skipped else ""))


# No test may hang for ever.


class TookTooLong(Exception):
    """A test took longer than its time limit."""


@contextlib.contextmanager
def limit_by_signal(seconds):
    def too_long(*_):
        raise TookTooLong(f"the test took longer than {seconds} s")

    before = signal.signal(signal.SIGALRM, too_long)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextlib.contextmanager
def limit_by_thread(seconds):
    """Comes between two of the test's own steps only, so what waits for good ends with the run."""
    test = ctypes.c_ulong(threading.get_ident())

    def too_long():
        ctypes.pythonapi.PyThreadState_SetAsyncExc(test, ctypes.py_object(TookTooLong))

    timer = threading.Timer(seconds, too_long)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_call(item):
    marker = item.get_closest_marker("timeout")
    # on a busy machine execnet (before 2.1) now and then runs a worker's tests in a thread beside the main one,
    # and there no signal can be handled
    limit = limit_by_signal if threading.current_thread() is threading.main_thread() else limit_by_thread
    with limit(marker.args[0] if marker else TIMEOUT):
        yield


@pytest.fixture
def dbs(request, _clusters):
    """make(n): n new databases of one server (15), as conninfo by name, and what to ask them with."""
    cluster = _clusters.get("15", "service", SERVICE_SETTINGS)
    request.node.clusters = (cluster,)
    cluster.log_mark()
    made = []

    class Database:
        def __init__(self, name):
            self.name, self.cluster = name, cluster
            self.conninfo = cluster.conninfo(name)

        def sql(self, query, parameters=None):
            return cluster.sql(self.name, query, parameters)

        def value(self, query, parameters=None):
            return cluster.value(self.name, query, parameters)

        def connect(self, **more):
            return cluster.connect(self.name, **more)

    def make(n, *scripts):
        new = []
        for _ in range(n):
            name = cluster_module.random_name("svc")
            cluster.create_db(name)
            made.append(name)
            new.append(Database(name))
            for script in scripts:
                new[-1].sql(script)
        return new

    yield make
    tool_module.kill_leftovers()
    for name in made:
        cluster.ensure_running().drop_db(name)
