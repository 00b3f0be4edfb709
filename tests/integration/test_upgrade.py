"""The whole way of an upgrade under load: copy, follow, switchover, rollback, switchover again, finish.

The ledger writes all the time and records what was acknowledged; in the end each of its transactions
must be there exactly once, on the node that the application is on.
"""

from lib.compare import assert_same_catalog, assert_same_content, catalog_fingerprint
from lib.ledger import Ledger


def test_forth_and_back_under_load(pair, tool):
    ledger = Ledger(pair.old.conninfo, writers=4, rate=300).create_schema()
    old_before = catalog_fingerprint(pair.old.connect())
    with ledger:
        ledger.wait_for(200)
        run = tool.start("upgrade", "--jobs", "2")
        run.wait_for_output(r"in sync", timeout=90)
        ledger.wait_for(200)
        tool.ok("verify")
        tool.ok("switchover", "--on-switch", ledger.switch_command(pair.new.conninfo))
        ledger.wait_for(200)
        tool.ok("rollback", "--on-switch", ledger.switch_command(pair.old.conninfo))
        ledger.wait_for(200)
        tool.ok("switchover", "--on-switch", ledger.switch_command(pair.new.conninfo))
        ledger.wait_for(200)
    ledger.check(pair.new.connect())
    tool.ok("verify")
    assert_same_content(pair.old.connect(), pair.new.connect())
    run.sigint()
    assert run.wait().rc == 130
    tool.ok("finish")
    assert_same_catalog(old_before, catalog_fingerprint(pair.old.connect()))
    assert not pair.new.value("select count(*) from pg_namespace where nspname = 'pgtandem'")


def test_all_in_one_go(pair, tool):
    ledger = Ledger(pair.old.conninfo, writers=2, rate=200).create_schema()
    with ledger:
        ledger.wait_for(50)
        tool.ok("upgrade", "--switchover", "--on-switch", ledger.switch_command(pair.new.conninfo))
        ledger.wait_for(50)
    ledger.check(pair.new.connect())
