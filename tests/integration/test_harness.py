"""Does the harness itself work, on every server there is? A test tool that never fails proves
nothing, so above all: does the ledger notice a lost, a doubled and a half-applied transaction?"""

import os
import subprocess
import sys
import time

import psycopg2
import pytest

from lib import place
from lib.compare import (
    assert_same_catalog,
    assert_same_content,
    catalog_fingerprint,
    differences,
)
from lib.ledger import Ledger
from lib.pgbouncer import PgBouncer
from lib.proxy import Proxy
from lib.tool import Tool
from lib.wait import poll_until


def written(node, transactions=60, **options):
    """A stopped ledger with that many transactions in the node's database."""
    ledger = Ledger(node.conninfo, writers=3, rate=None, **options).create_schema()
    with ledger:
        ledger.wait_for(transactions)
    return ledger


def test_ledger_notices_what_is_wrong(server):
    ledger = written(server)
    connection = server.connect()
    counts = ledger.check(connection)
    assert counts["rows"] == counts["acknowledged"] >= 60
    assert counts["refused"] == counts["ambiguous"] == 0

    def broken(statement, message):
        cursor.execute("begin")
        cursor.execute(statement)
        with pytest.raises(AssertionError, match=message):
            ledger.check(connection)
        cursor.execute("rollback")

    with connection.cursor() as cursor:
        one = "(select min(id) from ledger.ledger)"
        broken(f"delete from ledger.ledger where id = {one}", "acknowledged transactions are lost")
        broken(
            f"insert into ledger.ledger (writer, seq) select writer, seq from ledger.ledger"
            f" where id = {one}",
            "more than once",
        )
        broken("insert into ledger.ledger (writer, seq) values (99, 1)", "no writer made")
        broken("update ledger.account set balance = balance + 1 where id = 1", "accounts hold")
        broken("update ledger.tally set n = n + 1 where name = 'tally 1'", "the tally is")
    ledger.check(connection)
    connection.close()


def test_database_life(server):
    role = server.cluster.create_role()
    server.sql("create table t (a int)")
    assert server.psql("select count(*) from t").strip() == "0"
    assert server.cluster.sql("postgres", "select 1", user=role) == [(1,)]
    server.cluster.drop_role(role)
    server.sql("begin; insert into t values (1); prepare transaction 'left behind'")


ODD = '"An ""odd"" schema".t'


def test_compare_with_itself_and_with_changes(server):
    percents = "percent[]" if server.number >= 110000 else "float8[]"
    server.sql(
        f"""
        create schema "An ""odd"" schema";
        create domain percent as float8 check (value >= 0);
        create table {ODD} (id int primary key, "Ä b" float8, c float4[], d {percents},
            e point, f timestamptz, g bytea, h text);
        insert into {ODD} values (1, 0.1, '{{0.2}}', '{{3.3}}', '(1.1,2.2)', now(), 'x', null);
        create sequence s;
        """
    )
    before = catalog_fingerprint(server.connect())
    other = server.cluster.create_db(template=server.dbname)
    one, two = server.connect(), server.cluster.connect(other)
    try:
        assert_same_content(one, two)
        cursor = two.cursor()
        cursor.execute("select nextval('s'), lo_create(4711)")
        found = differences(one, two)
        assert [line.split()[0] for line in found] == ["sequence", "large"], found
        cursor.execute(f"update {ODD} set c[1] = 0.20000002")
        assert len(differences(one, two)) == 4
        cursor.execute(f"drop table {ODD}")
        assert "only in the old database" in differences(one, two)[0]
    finally:
        one.close()
        two.close()
        server.cluster.drop_db(other)
    assert_same_catalog(before, catalog_fingerprint(server.connect()))
    server.sql(f"alter table {ODD} alter h set default 5")
    with pytest.raises(AssertionError, match="catalogs have changed"):
        assert_same_catalog(before, catalog_fingerprint(server.connect()))


def test_same_values_look_the_same_on_both_versions(pair):
    for node in (pair.old, pair.new):
        node.sql(
            """
            create table t (id int primary key, a float8, b float4, c numeric, d interval,
                e timestamptz, f box, g float8[], h bytea);
            insert into t select i, i / 3.0, i / 7.0, i / 3.0, i * interval '1.5 days',
                timestamptz '2024-02-29 12:00+05' + i * interval '1 month',
                box(point(i / 3.0, 1), point(2, i)), array[i / 9.0, null], decode('00ff', 'hex')
            from generate_series(1, 50) i;
            """
        )
    assert_same_content(pair.old.connect(), pair.new.connect())


def test_a_pair_has_two_empty_databases(pair):
    assert pair.old.cluster is not pair.new.cluster
    for node in (pair.old, pair.new):
        assert node.value("select count(*) from pg_class where relname = 'ledger'") == 0
    assert pair.old.number <= pair.new.number


def test_server_crash_makes_ambiguous_and_refused(own_pair):
    node = own_pair.old
    ledger = Ledger(node.conninfo, writers=4, rate=None).create_schema()
    with ledger:
        ledger.wait_for(100)
        node.cluster.restart(crash=True)
        ledger.wait_for(100)
    counts = ledger.check(node.connect())
    assert counts["refused"] > 0
    assert counts["acknowledged"] >= 200


def test_repoint_pause_and_gap(one_pair):
    ledger = Ledger(one_pair.new.conninfo, writers=2, rate=200).create_schema()
    one_pair.old.sql("create schema ledger")
    ledger.repoint(one_pair.old.conninfo)
    with ledger:  # no tables there: everything is refused
        poll_until(lambda: len(ledger.refused) > 5, what="refused transactions")
        assert set(ledger.refusals()) == {"42P01"}
        command = ledger.switch_command(one_pair.new.conninfo)
        subprocess.run(["sh", "-c", command], check=True)
        ledger.wait_for(20)
        ledger.pause()
        before = len(ledger.acknowledged)
        start = time.monotonic()
        time.sleep(0.3)
        assert len(ledger.acknowledged) == before
        ledger.resume()
        ledger.wait_for(20)
        assert 300 <= ledger.longest_gap_ms(between=(start, time.monotonic())) < 3000
    ledger.check(one_pair.new.connect())


def test_blocked_writers_show_as_latency(one_pair):
    ledger = Ledger(one_pair.new.conninfo, writers=3, rate=300).create_schema()
    with ledger:
        ledger.wait_for(30)
        blocker = one_pair.new.connect(autocommit=False)
        blocker.cursor().execute("lock table ledger.ledger in share mode")
        time.sleep(0.3)
        blocker.commit()
        ledger.wait_for(30)
    assert ledger.longest_latency_ms() >= 290
    ledger.check(one_pair.new.connect())


def test_passwords(new_cluster):
    cluster = new_cluster("15", auth="scram")
    role = cluster.create_role()
    assert cluster.sql("postgres", "select current_user", user=role) == [(role,)]
    bare = cluster.conninfo(user=role).replace("passfile=", "application_name=")
    with pytest.raises(psycopg2.OperationalError, match="password"):
        psycopg2.connect(bare)


def test_tcp(new_cluster):
    cluster = new_cluster("15", tcp=True)
    connection = psycopg2.connect(cluster.conninfo(tcp=True))
    assert connection.info.host == "127.0.0.1"


def test_pgbouncer(one_pair):
    bouncer = PgBouncer({"app": (one_pair.old.cluster, one_pair.old.dbname)}).start()
    try:
        ledger = Ledger(bouncer.conninfo("app"), writers=3, rate=300).create_schema()
        with ledger:
            ledger.wait_for(30)
            bouncer.admin("pause app")
            start = time.monotonic()
            time.sleep(0.2)
            bouncer.admin("resume app")
            ledger.wait_for(30)
        assert ledger.longest_gap_ms(between=(start, time.monotonic())) >= 190
        counts = ledger.check(one_pair.old.connect())
        assert counts["refused"] == counts["ambiguous"] == 0
        bouncer.point_to({"app": (one_pair.new.cluster, one_pair.new.dbname)})
        bouncer.admin("reconnect app")
        connection = psycopg2.connect(bouncer.conninfo("app"))
        assert connection.server_version // 10000 == int(one_pair.new.version)
        connection.close()
    finally:
        bouncer.remove()


@pytest.mark.parametrize("tcp", [False, True], ids=["unix", "tcp"])
def test_proxy(one_pair, tcp):
    with Proxy(one_pair.old.cluster, tcp=tcp) as proxy:
        ledger = Ledger(proxy.conninfo(one_pair.old.dbname), writers=3, rate=300)
        ledger.create_schema()
        with ledger:
            ledger.wait_for(30)
            assert proxy.connections == 3
            proxy.freeze()
            time.sleep(0.1)
            before = len(ledger.acknowledged)
            time.sleep(0.2)
            assert len(ledger.acknowledged) == before
            proxy.restore()
            ledger.wait_for(30)
            assert not ledger.refused and not ledger.ambiguous
            proxy.cut()
            poll_until(lambda: "lost" in ledger.refusals(), what="refused connections")
            assert proxy.connections == 0
            proxy.restore()
            ledger.wait_for(30)
        ledger.check(one_pair.old.connect())


def test_stop_tears_away_a_hanging_writer(one_pair):
    with Proxy(one_pair.old.cluster) as proxy:
        ledger = Ledger(proxy.conninfo(one_pair.old.dbname), writers=2, rate=None)
        ledger.create_schema()
        ledger.start().wait_for(10)
        proxy.freeze()
        time.sleep(0.05)
        ledger.stop(timeout=0.3)
    poll_until(
        lambda: one_pair.old.value(
            "select count(*) = 1 from pg_stat_activity where datname = current_database()"
        ),
        what="end of the writers' sessions",
    )
    ledger.check(one_pair.old.connect())


def test_tool_starts_waits_and_interrupts(tmp_path):
    program = tmp_path / "program"
    program.write_text(
        "#!/bin/sh\n"
        "trap 'echo interrupted >&2; exit 130' INT\n"
        'echo "$1 with $PGTANDEM_SOURCE, fault $PGTANDEM_FAULT"\n'
        "while :; do sleep 0.1; done\n"
    )
    program.chmod(0o755)
    tool = Tool(str(program), source="dbname=x")
    running = tool.start("upgrade", fault="a point")
    assert running.wait_for_output(r"^(\w+) with dbname=x, fault a point$").group(1) == "upgrade"
    running.sigint()
    done = running.wait(10)
    assert (done.rc, done.err) == (130, "interrupted\n")
    running = tool.start("upgrade")
    running.wait_for_output("upgrade")
    running.kill9()
    assert running.wait(10).rc == -9
    with pytest.raises(AssertionError, match="without writing"):
        Tool("/bin/true").start("x").wait_for_output("anything")


def test_nothing_is_left_behind(tmp_path):
    """Not even when the run is killed with no chance to tidy up."""
    script = tmp_path / "run.py"
    script.write_text(
        "import os, sys\n"
        "sys.path[:0] = sys.argv[1:]\n"
        "from lib import place, servers\n"
        "from lib.cluster import Cluster\n"
        "cluster = Cluster(servers.get('15')).start()\n"
        "print(place.base(), flush=True)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    done = subprocess.run(
        [sys.executable, str(script), str(__file__).rsplit("/", 2)[0]],
        capture_output=True,
        text=True,
        timeout=60,
    )
    base = done.stdout.strip()
    assert done.returncode == -9 and os.path.basename(base).startswith("pgt"), done.stderr

    def gone():
        return not place.processes_of(base) and not os.path.exists(base)

    poll_until(gone, 20, f"removal of {base}")
