"""Schemas that others wrote, filled with rows and moved forth and back; see lib/packages.py for where they come from."""

import pytest

from lib import dumps, packages, rows, servers
from lib.compare import assert_same_catalog, assert_same_content, catalog_fingerprint

LONG = ("ejabberd", "icinga2-ido-pgsql", "request-tracker5", "zabbix-server-pgsql")
SCHEMAS = [pytest.param(name, marks=pytest.mark.long if name in LONG else ())
           for name in sorted(packages.SCHEMAS)]  # fmt: skip


@pytest.fixture(params=SCHEMAS)
def package(request):
    try:
        packages.sql(request.param)
        return request.param
    except packages.NotToBeHad as reason:
        # also where nothing may be skipped: a machine for tests need not have a network
        pytest.skip(f"the package {request.param} could not be fetched: {reason}")


def the_whole_way(pair, tool, package):
    if pair.old.number < packages.SINCE.get(package, 0):
        pytest.skip(f"the SQL of {package} is not for servers as old as {pair.old.version}")
    for script in packages.sql(package):
        pair.old.psql(script)
    old, new = pair.old.connect(), pair.new.connect()
    for connection in (old, new):
        connection.cursor().execute(packages.SESSION.get(package, "select 1"))
    empty = rows.fill(old, 5)
    assert not empty, f"the generator makes no rows for {empty}"
    program = dumps.pg_dump_for(pair.old.version, pair.new.version)
    numbers = pair.old.number, pair.new.number
    before = catalog_fingerprint(old), program and dumps.definitions(pair.old.conninfo, program)

    def compare(during=True):
        if program is None:
            return
        found, expected = dumps.definitions(pair.new.conninfo, program, "--exclude-schema=pgtandem"), before[1]
        if during:
            found, expected = dumps.awake(dumps.without_pgtandem(found)), dumps.awake(expected)
        dumps.assert_same_definitions(expected, found, *numbers)

    def change(connection, first):
        done = rows.change(connection, first)
        assert min(done.values()) > 0, done

    run = tool.start("upgrade", "--jobs", "2")
    run.wait_for_output(r"in sync", timeout=60)
    change(old, 100)
    compare()
    tool.ok("switchover")
    change(new, 200)
    tool.ok("rollback")
    change(old, 300)
    tool.ok("switchover")
    run.sigint()
    run.wait()
    tool.ok("verify")
    tool.ok("finish")
    assert_same_catalog(before[0], catalog_fingerprint(old))
    compare(during=False)
    assert_same_content(old, new)


def test_one_pair(dumpable_pair, tool, package):
    """Between two versions whose definitions a pg_dump that is here can compare."""
    the_whole_way(dumpable_pair, tool, package)


@pytest.mark.long
def test_every_pair(pair, tool, package):
    the_whole_way(pair, tool, package)
