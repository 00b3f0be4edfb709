"""Switchover and rollback: what they promise, above all when they do not go through.

Through PgBouncer no transaction fails; a switch that is given up leaves the old node as it was; after
one that went through nobody writes to the old node by mistake, whatever he tries.
"""

import io
import json
import threading
import time

import psycopg2
import psycopg2.errors
import pytest

from lib.compare import assert_same_catalog, assert_same_content, catalog_fingerprint
from lib.ledger import Ledger
from lib.pgbouncer import PgBouncer
from lib.tool import ABORTED, DONE, FAILED, INTERRUPTED, REFUSED
from lib.wait import poll_until

SHOP = """
    create table plain (id int primary key, v text);
    insert into plain select i, 'row ' || i from generate_series(1, 100) i;
    create table parent (id int primary key, note text);
    create table child (id int primary key,
                        parent int references parent on delete cascade on update cascade);
    insert into parent select i from generate_series(1, 20) i;
    insert into child select i, i from generate_series(1, 20) i;
    create table part (id int, region text, v text, primary key (id, region))
        partition by list (region);
    create table part_a partition of part for values in ('a');
    create table part_b partition of part for values in ('b');
    insert into part select i, case i % 2 when 0 then 'a' else 'b' end from generate_series(1, 50) i;
    create view plain_view as select * from plain where id < 1000000;
    create function write_plain(int) returns void language sql as
        $$ insert into public.plain values ($1, 'by a function') $$;
"""


def node_state(node):
    return node.sql("select gate, epoch from pgtandem.node")[0]


def journal(node, event):
    return node.sql("select detail, ms from pgtandem.journal where event = %s order by no", (event,))


def follow(tool, *options):
    """An upgrade that has come to following, still running."""
    run = tool.start("upgrade", "--jobs", "2", *options)
    run.wait_for_output(r"in sync", timeout=90)
    return run


def end(run):
    run.sigint()
    assert run.wait().rc == INTERRUPTED


def upgraded(tool, *options):
    end(follow(tool, *options))


def assert_writable(node):
    node.sql("create table if not exists public.plain (id int primary key, v text)")
    node.sql("insert into plain values (-1, 'probe')")
    node.sql("delete from plain where id = -1")


def assert_refused(action):
    with pytest.raises(psycopg2.errors.ReadOnlySqlTransaction) as caught:
        action()
    assert "does not take writes" in str(caught.value)
    assert caught.value.pgcode == "25006"


class Background(threading.Thread):
    """Runs one statement of somebody else; result is its SQLSTATE, "" for success."""

    def __init__(self, connection, statement):
        super().__init__(daemon=True)
        self.connection, self.statement, self.sqlstate = connection, statement, None
        self.start()

    def run(self):
        try:
            with self.connection.cursor() as cursor:
                cursor.execute(self.statement)
            self.sqlstate = ""
        except psycopg2.Error as error:
            self.sqlstate = error.pgcode or "lost"

    def result(self, timeout=20):
        self.join(timeout)
        assert self.sqlstate is not None, f"still waiting: {self.statement}"
        return self.sqlstate


# Through PgBouncer


@pytest.fixture
def pooled(one_pair, tool):
    """A ledger that writes through a PgBouncer, and the options of a switch that moves it."""
    plain = Ledger(one_pair.old.conninfo).create_schema()
    bouncer = PgBouncer({"app": (one_pair.old.cluster, one_pair.old.dbname)}).start()
    ledger = Ledger(bouncer.conninfo("app"), writers=4, rate=300)
    options = ["--pgbouncer", bouncer.admin_conninfo, "--pgbouncer-ini", bouncer.ini]
    assert plain.schema == ledger.schema
    yield bouncer, ledger, options
    if ledger._threads:
        ledger.stop()
    bouncer.remove()


def assert_none_failed(ledger):
    assert not ledger.refused, ledger.refused[:3]
    assert not ledger.ambiguous, ledger.ambiguous[:3]


def test_no_transaction_fails_through_pgbouncer(one_pair, tool, pooled):
    bouncer, ledger, options = pooled
    with ledger:
        run = follow(tool)
        ledger.wait_for(100)
        for command, node in (
            ("switchover", one_pair.new),
            ("rollback", one_pair.old),
            ("switchover", one_pair.new),
        ):
            tool.ok(command, *options)
            ledger.wait_for(100)
            assert f"dbname={node.dbname}" in open(bouncer.ini, encoding="utf-8").read()
            assert node.cluster.directory in open(bouncer.ini, encoding="utf-8").read()
            assert node_state(node)[0] == "open"
    assert_none_failed(ledger)
    ledger.check(one_pair.new.connect())
    tool.ok("verify")
    assert_same_content(one_pair.old.connect(), one_pair.new.connect())
    end(run)


def test_the_pooler_is_resumed_when_a_switch_is_given_up(one_pair, tool, pooled):
    bouncer, ledger, options = pooled
    with ledger:
        upgraded(tool)
        # A client in a transaction: PAUSE waits for it, longer than it may.
        idle = psycopg2.connect(bouncer.conninfo("app"))
        with idle.cursor() as cursor:
            cursor.execute("select count(*) from ledger.tally")
        done = tool.run("switchover", *options, "--max-pause", "1s")
        assert done.rc == ABORTED, done
        assert "did not become idle" in done.err
        ledger.wait_for(30, timeout=10)
        idle.rollback()
        idle.close()

        # Killed between PAUSE and the point of no return: the guardian resumes.
        for fault in ("switch.pause.after", "switch.lock.after", "switch.prepare.after"):
            killed = tool.run("switchover", *options, fault=fault)
            assert killed.rc == -9, killed
            ledger.wait_for(30, timeout=10)
            assert node_state(one_pair.old)[0] == "open"

        # Ctrl-C in the pause.
        run = tool.start("switchover", *options, fault="switch.drain.after:sleep=20000")
        run.wait_for_output(r"fault point switch.drain.after")
        run.sigint()
        assert run.wait(20).rc == ABORTED
        ledger.wait_for(30, timeout=10)
        assert_none_failed(ledger)

        tool.ok("switchover", *options)
        ledger.wait_for(30)
    assert_none_failed(ledger)
    ledger.check(one_pair.new.connect())


def test_a_failing_command_leaves_the_pooler_usable(one_pair, tool, pooled):
    bouncer, ledger, options = pooled
    with ledger:
        upgraded(tool)
        done = tool.run("switchover", *options, "--on-switch", "exit 7")
        assert done.rc == FAILED, done
        assert "exit code 7" in done.err and "is done" in done.err
        # PgBouncer leads to the new node already: nothing keeps the clients waiting.
        ledger.wait_for(30, timeout=10)
        tool.ok("switchover", *options, "--on-switch", "true")
        ledger.wait_for(30)
    assert_none_failed(ledger)
    ledger.check(one_pair.new.connect())


# Switches that are given up


def test_given_up_while_somebody_holds_a_lock(one_pair, tool):
    old = one_pair.old
    ledger = Ledger(old.conninfo, writers=3, rate=200).create_schema()
    old.sql(SHOP)
    with ledger:
        run = follow(tool)
        holder = old.connect(autocommit=False)
        with holder.cursor() as cursor:
            cursor.execute("update plain set v = 'held' where id = 1")
        done = tool.run("switchover", "--max-pause", "1s")
        assert done.rc == ABORTED, done
        assert f"process {holder.info.backend_pid}" in done.err and "plain" in done.err
        assert "takes writes as before" in done.err and "--max-pause" in done.err
        ledger.wait_for(50)
        assert_writable(old)
        holder.rollback()
        assert "given up" in journal(one_pair.new, "switchover")[-1][0]

        # Ctrl-C, a failure at every step, and the end of the budget: each leaves it open.
        waiting = tool.start("switchover", fault="switch.lock.after:sleep=30000")
        waiting.wait_for_output(r"fault point")
        waiting.sigint()
        assert waiting.wait(20).rc == ABORTED
        assert_writable(old)
        for step in ("pause", "lock", "drain", "prepare"):
            done = tool.run("switchover", fault=f"switch.{step}.after:fail")
            assert done.rc == ABORTED, done
            assert_writable(old)
            assert node_state(old)[0] == "open" and node_state(one_pair.new)[0] == "closed"
        done = tool.run(
            "switchover", "--max-pause", "500ms", fault="switch.drain.before:sleep=700"
        )
        assert done.rc == ABORTED and "time budget" in done.err, done
        ledger.wait_for(50)
        assert not ledger.refused, ledger.refused[:3]

        # Between the two commits writers are refused for a moment, and then no more.
        done = tool.run("switchover", fault="switch.close.after:fail")
        assert done.rc == ABORTED, done
        assert_writable(old)
        assert node_state(old)[0] == "open" and node_state(one_pair.new)[0] == "closed"
        ledger.wait_for(50)
        assert set(ledger.refusals()) <= {"25006"}

        # And then it goes through.
        tool.ok("switchover", "--on-switch", ledger.switch_command(one_pair.new.conninfo))
        ledger.wait_for(50)

        # The way back can fail as well, and then the new node goes on.
        holder = one_pair.new.connect(autocommit=False)
        with holder.cursor() as cursor:
            cursor.execute("update plain set v = 'held' where id = 1")
        done = tool.run("rollback", "--max-pause", "1s")
        assert done.rc == ABORTED, done
        assert f"process {holder.info.backend_pid}" in done.err
        assert "The target takes writes as before" in done.err
        holder.rollback()
        ledger.wait_for(50)
        assert_writable(one_pair.new)
        tool.ok("rollback", "--on-switch", ledger.switch_command(old.conninfo))
        ledger.wait_for(50)
    ledger.check(old.connect())
    tool.ok("verify")
    assert_same_content(old.connect(), one_pair.new.connect())
    end(run)


def test_the_target_dies_in_the_pause(own_pair, tool):
    ledger = Ledger(own_pair.old.conninfo, writers=2, rate=100).create_schema()
    own_pair.old.sql(SHOP)
    with ledger:
        upgraded(tool)
        for fault in ("switch.lock.after", "switch.prepare.after"):
            run = tool.start("switchover", fault=f"{fault}:sleep=1500")
            run.wait_for_output(r"fault point")
            own_pair.new.cluster.kill()
            done = run.wait()
            assert done.rc == ABORTED, done
            ledger.wait_for(30, timeout=10)
            assert_writable(own_pair.old)
            own_pair.new.cluster.start()
        assert not ledger.refused, ledger.refused[:3]
        tool.ok("switchover", "--on-switch", ledger.switch_command(own_pair.new.conninfo))
        ledger.wait_for(30)
    ledger.check(own_pair.new.connect())


def test_writers_that_wait_in_the_pause(one_pair, tool):
    old = one_pair.old
    old.sql(SHOP)
    upgraded(tool)

    # It is given up: they succeed.
    run = tool.start("switchover", fault="switch.lock.after:sleep=1000,switch.prepare.before:fail")
    run.wait_for_output(r"fault point switch.lock.after")
    writers = [Background(old.connect(), f"insert into plain values ({i})") for i in (201, 202)]
    assert run.wait().rc == ABORTED
    assert [writer.result() for writer in writers] == ["", ""]

    # It goes through: they are told.
    began = old.connect(autocommit=False)
    with began.cursor() as cursor:
        cursor.execute("set transaction isolation level repeatable read")
        cursor.execute("select count(*) from plain")
    run = tool.start("switchover", fault="switch.lock.after:sleep=1000")
    run.wait_for_output(r"fault point switch.lock.after")
    writers = [
        Background(old.connect(), "insert into plain values (203)"),
        Background(old.connect(), "update part_a set v = 'late'"),
        Background(old.connect(), "delete from parent where id = 3"),
        Background(old.connect(), "truncate plain"),
        Background(began, "update plain set v = 'late' where id = 5"),
    ]
    assert run.wait().rc == DONE
    assert [writer.result() for writer in writers] == ["25006"] * len(writers)
    began.rollback()
    one_pair.old.sql("select 1 from plain where id = 201")
    assert one_pair.new.value("select count(*) from plain where id > 200") == 2
    assert_same_content(old.connect(), one_pair.new.connect())


# What prevents a switch, and what does not


def test_not_before_it_is_ready(one_pair, tool):
    old, new = one_pair.old, one_pair.new
    old.sql(SHOP)
    for command in ("switchover", "rollback", "finish", "abort"):
        done = tool.run(command)
        assert done.rc == FAILED and "no run" in done.err, (command, done)

    # While another terminal is busy copying.
    run = tool.start("upgrade", fault="step.copied.before:sleep=60000")
    run.wait_for_output(r"fault point")
    begun = time.monotonic()
    for command in ("switchover", "rollback", "finish"):
        done = tool.run(command)
        assert done.rc == REFUSED, (command, done)
    assert time.monotonic() - begun < 15
    assert_writable(old)
    end(run)
    # And while nobody is.
    done = tool.run("switchover")
    assert done.rc == REFUSED and "upgrade" in done.err, done
    upgraded(tool)

    # A prepared transaction would keep its locks for ever.
    holder = old.connect(autocommit=False)
    with holder.cursor() as cursor:
        cursor.execute("insert into plain values (301); prepare transaction 'left over'")
    holder.close()
    done = tool.run("switchover")
    assert done.rc == REFUSED and "left over" in done.err, done
    assert_writable(old)
    old.sql("commit prepared 'left over'")

    for command in ("rollback", "finish"):
        done = tool.run(command)
        assert done.rc == FAILED, (command, done)

    # --dry-run looks and touches nothing.
    before = [catalog_fingerprint(node.connect()) for node in (old, new)]
    state = [node_state(node) for node in (old, new)]
    entries = [node.sql("select * from pgtandem.journal") for node in (old, new)]
    done = tool.ok("switchover", "--dry-run", "--on-switch", "touch /nonexistent/x; exit 1")
    assert "dry run" in done.err
    for i, node in enumerate((old, new)):
        assert_same_catalog(before[i], catalog_fingerprint(node.connect()))
    assert state == [node_state(node) for node in (old, new)]
    assert entries == [node.sql("select * from pgtandem.journal") for node in (old, new)]
    assert_writable(old)
    assert new.value("select count(*) from plain where id = 301") == 1


def test_autovacuum_does_not_prevent_it(own_pair, tool):
    settings = {"autovacuum_naptime": "1s", "autovacuum_vacuum_cost_limit": "1"}
    for node in (own_pair.old, own_pair.new):
        node.cluster.configure(**settings)
        node.cluster.reload()
    own_pair.old.sql(SHOP)
    own_pair.old.sql(
        """
        create table busy (id int primary key, v text) with (autovacuum_vacuum_cost_delay = 100,
            autovacuum_vacuum_threshold = 0, autovacuum_vacuum_scale_factor = 0);
        insert into busy select i, repeat('x', 500) from generate_series(1, 20000) i;
        """
    )
    upgraded(tool)
    # Rows that die before the switch begins keep the autovacuum at work in its pause.
    own_pair.old.sql("update busy set v = v || 'y'")

    def at_work():
        return own_pair.old.value(
            "select count(*) from pg_locks where relation = 'busy'::regclass and granted"
            " and mode = 'ShareUpdateExclusiveLock'"
        )

    poll_until(at_work, 40, "an autovacuum of the table")
    tool.ok("switchover")
    assert own_pair.old.cluster.log_contains("canceling autovacuum task") or not at_work()


def test_many_tables(one_pair, tool):
    statements = "".join(
        f"create table t{i} (id int primary key, v text); insert into t{i} values (1, 'a');"
        for i in range(200)
    )
    one_pair.old.sql(statements)
    run = follow(tool)
    one_pair.old.sql("".join(f"insert into t{i} values (2, 'b');" for i in range(200)))
    done = tool.ok("switchover", "--max-pause", "20s")
    pause = journal(one_pair.new, "switchover")[-1][1]
    assert pause < 20000
    one_pair.new.sql("".join(f"update t{i} set v = 'c';" for i in range(200)))
    tool.ok("rollback", "--max-pause", "20s")
    assert "writes were paused" in done.err
    assert_same_content(one_pair.old.connect(), one_pair.new.connect())
    end(run)


# The fence


def test_nobody_writes_to_the_old_node(one_pair, tool):
    old, new = one_pair.old, one_pair.new
    old.sql(SHOP)
    role = old.cluster.create_role()
    if new.cluster is not old.cluster:
        new.cluster.sql("postgres", f'create role "{role}" login')
    old.sql(
        f'grant usage on schema public to "{role}";'
        f' grant all on all tables in schema public to "{role}"'
    )
    prepared = old.connect()
    with prepared.cursor() as cursor:
        cursor.execute("prepare w (int) as insert into plain values ($1, 'prepared')")
        for i in range(501, 508):
            cursor.execute(f"execute w ({i})")
    upgraded(tool)
    replica = old.connect()
    with replica.cursor() as cursor:
        cursor.execute("set session_replication_role = replica")
        cursor.execute("select count(*) from plain")
    begun = old.connect(autocommit=False)
    with begun.cursor() as cursor:
        cursor.execute("set transaction isolation level repeatable read")
        cursor.execute("select txid_current()")
    serial = old.connect(autocommit=False)
    with serial.cursor() as cursor:
        cursor.execute("set transaction isolation level serializable")
        cursor.execute("select txid_current()")
    before = old.sql("select count(*), max(id), md5(string_agg(v, ',' order by id)) from plain")
    tool.ok("switchover")

    statements = [
        "insert into plain values (600, 'x')",
        "update plain set v = 'x' where id = 1",
        "update plain set v = 'x' where false",
        "delete from plain where id = 1",
        "truncate plain",
        "truncate parent cascade",
        "delete from parent where id = 1",
        "update parent set id = 100 where id = 2",
        "insert into part values (900, 'a', 'x')",
        "insert into part_a values (901, 'a', 'x')",
        "update part set region = 'b' where region = 'a'",
        "delete from part_b",
        "truncate part_a",
        "insert into plain_view values (601, 'x')",
        "delete from plain_view",
        "select write_plain(602)",
        "with w as (insert into plain values (603) returning id) select * from w",
        "insert into plain values (1, 'x') on conflict (id) do update set v = 'x'",
        "insert into plain values (1, 'x') on conflict do nothing",
        "do $$ begin insert into public.plain values (604); end $$",
        "create temp table x as select 1; insert into plain select 605",
    ]
    if old.number >= 150000:
        statements.append(
            "merge into plain p using (select 1 as id) s on p.id = s.id"
            " when matched then update set v = 'x'"
        )
    for statement in statements:
        assert_refused(lambda s=statement: old.sql(s))
        if "temp" not in statement:
            assert_refused(
                lambda s=statement: old.sql("set session_replication_role = replica;" + s)
            )
    assert_refused(lambda: old.sql("update plain set v = 'x'", user=role))
    # The name that our own sessions have opens nothing.
    assert_refused(
        lambda: old.sql("set application_name = 'pgtandem switch'; insert into plain values (606)")
    )

    def copy():
        with old.connect() as connection, connection.cursor() as cursor:
            cursor.copy_expert("copy plain from stdin", io.StringIO("607\tx\n"))

    assert_refused(copy)
    for connection, statement in (
        (prepared, "execute w (608)"),
        (replica, "update plain set v = 'x'"),
        (begun, "update part set v = 'x'"),
        (serial, "insert into plain values (609)"),
    ):
        with connection.cursor() as cursor:
            assert_refused(lambda c=cursor, s=statement: c.execute(s))
        connection.close()
    assert before == old.sql(
        "select count(*), max(id), md5(string_agg(v, ',' order by id)) from plain"
    )
    assert_same_content(old.connect(), new.connect())
    # The new node takes all of it, and the old one reads.
    new.sql("update plain set v = 'x' where id = 1; truncate part_a", user=role)
    assert old.value("select count(*) from part_a") == 25
    tool.ok("rollback")
    assert old.value("select count(*) from part_a") == 0
    assert_refused(lambda: new.sql("insert into plain values (700)"))
    assert_same_content(old.connect(), new.connect())
    for one in {old.cluster, new.cluster}:
        one.sql(old.dbname, f'drop owned by "{role}"')
        one.drop_role(role)


# What a person sees


def test_the_users_command(one_pair, tool, tmp_path):
    one_pair.old.sql(SHOP)
    upgraded(tool)
    seen = tmp_path / "seen"
    hook = f"env | grep ^PGTANDEM_ > {seen}; echo hello from the hook"

    def values():
        return dict(line.split("=", 1) for line in seen.read_text().splitlines())

    done = tool.ok("switchover", "--on-switch", hook)
    assert "hello from the hook" in done.err
    env = values()
    old, new = one_pair.old, one_pair.new
    assert env["PGTANDEM_EVENT"] == "switchover"
    assert env["PGTANDEM_NEW_HOST"] == new.cluster.directory
    assert env["PGTANDEM_NEW_PORT"] == str(new.cluster.port)
    assert env["PGTANDEM_NEW_DBNAME"] == new.dbname
    assert env["PGTANDEM_OLD_HOST"] == old.cluster.directory

    # One that fails: the switch is done all the same, and said to be.
    done = tool.run("rollback", "--on-switch", "echo sorry; exit 3")
    assert done.rc == FAILED, done
    assert "sorry" in done.err and "rollback is done" in done.err and "exit code 3" in done.err
    assert_writable(old)
    assert_refused(lambda: new.sql("insert into plain values (800)"))
    # The same command again runs what is missing.
    seen.unlink()
    tool.ok("rollback", "--on-switch", hook)
    assert values()["PGTANDEM_EVENT"] == "rollback"
    assert values()["PGTANDEM_NEW_HOST"] == old.cluster.directory


def test_a_life_with_its_states(one_pair, tool):
    old, new = one_pair.old, one_pair.new
    old.sql(SHOP)

    def status():
        state = tool.ok("status", "--json").json
        text = tool.ok("status").out
        assert text.startswith(f"state            {state['state']}\n"), text
        return state

    assert status()["state"] == "none"
    run = tool.start("upgrade", fault="step.copied.before:sleep=60000")
    run.wait_for_output(r"fault point")
    state = status()
    assert state["state"] == "copying" and state["writes"] == "source"
    assert "upgrade" in state["worker"]
    end(run)
    assert status()["worker"] == ""

    run = follow(tool)
    state = status()
    assert state["state"] == "following" and state["tables"] == 4
    watching = tool.start("status", "--watch", "--json")
    watching.wait_for_output(r"}\n[^}]*}\n", timeout=20)
    watching.sigint()
    lines = watching.wait().out.splitlines()
    assert len(lines) >= 2
    assert all(json.loads(line)["state"] == "following" for line in lines)

    done = tool.run("finish")
    assert done.rc == FAILED and "source" in done.err, done
    done = tool.run("rollback")
    assert done.rc == FAILED and "never switched" in done.err, done

    done = tool.ok("switchover")
    assert "writes were paused for" in done.err
    (detail, pause), = journal(new, "switchover")
    assert 0 < pause < 5000
    assert f"{pause:.1f} ms" in done.err
    state = status()
    assert state["state"] == "switched" and state["writes"] == "target"

    # The other terminal goes on in the other direction.
    new.sql("insert into plain values (901, 'new')")
    poll_until(lambda: old.sql("select 1 from plain where id = 901"), 15, "the old node in step")
    assert run.running

    # Again is harmless.
    done = tool.ok("switchover")
    assert "already" in done.err
    assert node_state(new) == ("open", 1) and len(journal(new, "switchover")) == 1
    done = tool.run("abort")
    assert done.rc == FAILED and "rollback" in done.err, done
    assert new.value("select count(*) from plain") == 101

    tool.ok("rollback")
    assert status()["state"] == "following"
    old.sql("insert into plain values (902, 'old')")
    poll_until(lambda: new.sql("select 1 from plain where id = 902"), 15, "the new node in step")
    done = tool.ok("rollback")
    assert "already" in done.err
    tool.ok("switchover")
    tool.ok("finish")
    assert run.wait(30).rc == DONE
    assert "ended by another command" in run.text
    assert status()["state"] == "none"
    assert_writable(old)
    assert_writable(new)
