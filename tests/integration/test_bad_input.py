"""Whatever is wrong is said in one clear message with a way out and a stable exit code, and nothing was changed."""

import glob
import os
import socket
import time

import pytest

from lib.cluster import make_conninfo
from lib.compare import assert_same_catalog, catalog_fingerprint
from lib.tool import DONE, FAILED, INTERRUPTED, REFUSED, USAGE, Tool
from lib.wait import poll_until

TABLES = """
    create table t (id int primary key, v text);
    insert into t select i, 'row ' || i from generate_series(1, 100) i;
"""


class Unchanged:
    """The catalogs of both nodes are afterwards as they were before."""

    def __init__(self, *nodes):
        self.nodes = nodes

    def __enter__(self):
        self.before = [catalog_fingerprint(node.connect()) for node in self.nodes]

    def __exit__(self, kind, *_):
        if kind is None:
            for before, node in zip(self.before, self.nodes):
                assert_same_catalog(before, catalog_fingerprint(node.connect()))


def assert_says(done, rc, *words, hint=True):
    """One error in one line, with a hint; the words are in what it says."""
    assert done.rc == rc, done
    errors = [line for line in done.err.splitlines() if line.startswith("pgtandem: error: ")]
    assert len(errors) == 1, done
    for word in words:
        assert word in done.err, (word, done)
    assert not hint or "hint: " in done.err or "detail: Allowed is" in done.err, done


@pytest.fixture
def shop(one_pair):
    one_pair.old.sql(TABLES)
    return one_pair


def test_the_command_line(shop, tool):
    with Unchanged(shop.old, shop.new):
        assert_says(tool.run("upgrad"), USAGE, "upgrad", "upgrade")
        assert_says(tool.run("upgrade", "--swichover"), USAGE, "--swichover", "--switchover")
        assert_says(tool.run("upgrade", "--jobs", "none"), USAGE, "--jobs")
        assert_says(tool.run("upgrade", "--jobs", "0"), USAGE, "--jobs")
        assert_says(tool.run("switchover", "--max-pause", "5 parsecs"), USAGE, "--max-pause")
        assert_says(tool.run("upgrade", "surplus"), USAGE, "surplus")
        assert_says(tool.run("finish", "--dry-run"), USAGE, "--dry-run")
        assert_says(tool.run("upgrade", env={"PGTANDEM_JOBS": "many"}), USAGE, "PGTANDEM_JOBS")
        assert_says(tool.run("upgrade", "--pg-bindir", "/nonexistent"), REFUSED, "no pg_dump")
        done = Tool().run("upgrade")
        assert_says(done, USAGE, "--source")


def test_connection_strings_are_not_repeated(shop):
    """A mistake in one must not show the password in it."""
    with Unchanged(shop.old, shop.new):
        for text in (
            "host=h password=hunter2 secretword dbname",
            "password='hunter2 secretword",
            "host=h passwrod=secretword",
            "postgresql://user:secretword@[bad/db",
            "postgresql://user:secretword@host:notaport/db?x=y",
            "secretword",
        ):
            for source, target in ((text, shop.new.conninfo), (shop.old.conninfo, text)):
                done = Tool(source=source, target=target).run("upgrade", "--verbose")
                assert done.rc in (FAILED, USAGE), done
                assert any(
                    word in done.err for word in ("hint: ", "Allowed is", "could not connect")
                ), done
                if text != "secretword":
                    assert "secretword" not in done.text and "hunter2" not in done.text, done


def test_servers_and_databases_that_are_not_there(shop, tool):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    wrong = {
        "refused": make_conninfo(host="127.0.0.1", port=port, dbname="x", user="postgres"),
        "no socket": make_conninfo(host="/nonexistent", dbname="x", user="postgres"),
        "no database": shop.new.cluster.conninfo("no_such_database"),
        "no role": shop.new.cluster.conninfo(shop.new.dbname, "no_such_role"),
    }
    with Unchanged(shop.old, shop.new):
        for conninfo in wrong.values():
            begun = time.monotonic()
            done = shop.tool(target=conninfo).run("upgrade")
            assert_says(done, FAILED, "could not connect to the target", hint=False)
            done = shop.tool(source=conninfo).run("check")
            assert_says(done, FAILED, "could not connect to the source", hint=False)
            assert time.monotonic() - begun < 10
        done = shop.tool(target=wrong["no database"]).run("upgrade")
        assert "no_such_database" in done.err

        # One that takes the connection and never says a word.
        with socket.socket() as mute:
            mute.bind(("127.0.0.1", 0))
            mute.listen()
            conninfo = make_conninfo(host="127.0.0.1", port=mute.getsockname()[1], dbname="x",
                                     user="postgres", connect_timeout=2)
            begun = time.monotonic()
            done = shop.tool(target=conninfo).run("upgrade")
            assert_says(done, FAILED, "could not connect to the target", "no answer", hint=False)
            assert time.monotonic() - begun < 8


def test_one_database_twice(new_cluster):
    """Also when it is named in two ways."""
    cluster = new_cluster("15", tcp=True)
    db = cluster.create_db()
    cluster.sql(db, TABLES)
    before = catalog_fingerprint(cluster.connect(db))
    by_socket = cluster.conninfo(db)
    by_tcp = cluster.conninfo(db, tcp=True)
    for source, target in ((by_socket, by_socket), (by_socket, by_tcp), (by_tcp, by_socket)):
        done = Tool(source=source, target=target).run("upgrade")
        assert_says(done, USAGE, "are the same")
    assert_same_catalog(before, catalog_fingerprint(cluster.connect(db)))
    assert cluster.value(db, "select count(*) from t") == 100


def test_passwords_stay_secret(new_cluster):
    old, new = new_cluster("15", auth="scram"), new_cluster("15", auth="scram")
    name = old.create_db()
    new.create_db(name)
    old.sql(name, TABLES)
    secrets = {}
    for cluster in (old, new):
        with open(cluster.passfile, encoding="utf-8") as file:
            secrets[cluster] = file.read().strip().rsplit(":", 1)[1]

    def conninfo(cluster, password):
        return make_conninfo(host=cluster.directory, port=cluster.port, dbname=name,
                             user="postgres", password=password)

    before = [catalog_fingerprint(cluster.connect(name)) for cluster in (old, new)]
    done = Tool(source=conninfo(old, "wrong-secret"), target=conninfo(new, secrets[new])).run(
        "upgrade", "--verbose"
    )
    assert_says(done, FAILED, "could not connect to the source", "password authentication", hint=False)
    assert "wrong-secret" not in done.text and secrets[new] not in done.text
    assert_same_catalog(before[0], catalog_fingerprint(old.connect(name)))
    assert_same_catalog(before[1], catalog_fingerprint(new.connect(name)))

    tool = Tool(source=conninfo(old, secrets[old]), target=conninfo(new, secrets[new]))
    arguments = set()

    def look():
        for path in glob.glob("/proc/[0-9]*/cmdline"):
            try:
                with open(path, "rb") as file:
                    arguments.add(file.read())
            except OSError:
                pass

    run = tool.start("upgrade", "--verbose", env={"PGTANDEM_FAULT": "copy.chunk.begin:sleep=300"})
    while "in sync" not in run.text:
        assert run.running, run.text
        look()
        time.sleep(0.005)
    run.sigint()
    done = run.wait()
    assert done.rc == INTERRUPTED
    texts = [done.text]
    for command in ("status", "verify", "switchover", "finish"):
        texts.append(tool.ok(command, "--verbose").text)
    texts += [cluster.log_text(everything=True) for cluster in (old, new)]
    for secret in secrets.values():
        assert not any(secret in text for text in texts)
        assert not any(secret.encode() in argument for argument in arguments)
    assert any(b"worker" in argument for argument in arguments)


def test_what_the_target_lacks(shop, tool):
    old, new = shop.old, shop.new
    new.sql("create table in_the_way (id int primary key); insert into in_the_way values (1)")
    with Unchanged(old, new):
        assert_says(tool.run("upgrade"), REFUSED, "not empty", "pgtandem check")
        done = tool.run("check")
        assert done.rc == REFUSED and "--allow-nonempty" in done.text, done
    new.sql("drop table in_the_way")

    with Unchanged(old, new):
        # Programs: none, and one that is too old.
        bindir = os.path.join(new.cluster.directory, "bin")
        os.makedirs(bindir, exist_ok=True)
        done = tool.run("upgrade", "--pg-bindir", bindir)
        assert_says(done, REFUSED, "pg_dump")
        with open(os.path.join(bindir, "pg_dump"), "w", encoding="utf-8") as file:
            file.write("#!/bin/sh\necho 'pg_dump (PostgreSQL) 9.6.24'\n")
        os.chmod(os.path.join(bindir, "pg_dump"), 0o755)
        done = tool.run("upgrade", "--pg-bindir", bindir)
        assert_says(done, REFUSED, "pg_dump", "9.6")

    role = old.cluster.create_role()
    try:
        with Unchanged(old, new):
            done = shop.tool(source=old.cluster.conninfo(old.dbname, role)).run("upgrade")
            assert_says(done, REFUSED)
            assert "public.t" in done.err, done
    finally:
        old.cluster.drop_role(role)


def test_an_extension_that_the_target_lacks(shop, tool):
    # Where both servers have it, it gets a name that only the source knows.
    if not shop.old.sql("select 1 from pg_available_extensions where name = 'dblink'"):
        pytest.skip("the source has no extension to spare")
    if shop.new.sql("select 1 from pg_available_extensions where name = 'dblink'"):
        shop.old.sql("create schema x")
        shop.old.sql("create extension dblink schema x")
        shop.old.sql("update pg_extension set extname = 'dblink_of_our_own' where extname = 'dblink'")
    else:
        shop.old.sql("create extension dblink")
    with Unchanged(shop.old, shop.new):
        assert_says(tool.run("upgrade"), REFUSED, "dblink")


def test_an_older_target(shop):
    old, new = shop.new, shop.old  # the wrong way round
    if old.number == new.number:
        pytest.skip("the servers of this pair are equal")
    backwards = shop.tool(source=old.conninfo, target=new.conninfo)
    new.sql("drop table t")
    old.sql(TABLES)
    with Unchanged(old, new):
        done = backwards.run("upgrade")
        assert_says(done, REFUSED)
        assert "--allow-downgrade" in backwards.run("check").text


def test_a_run_is_protected(shop, tool):
    """Other versions, other copies, other databases, and sides that were mixed up."""
    old, new = shop.old, shop.new
    run = tool.start("upgrade", "--jobs", "1")
    run.wait_for_output("in sync", timeout=60)
    with Unchanged(old, new):
        begun = time.monotonic()
        assert_says(tool.run("upgrade"), FAILED, "another pgtandem works on this run", "pgtandem upgrade")
        assert time.monotonic() - begun < 15
        assert run.running
    other = new.cluster.create_db()
    # whoever begins a second run of a source that is in one is not told how to end the first
    with Unchanged(old, new):
        done = shop.tool(target=new.cluster.conninfo(other)).run("upgrade")
        assert_says(done, FAILED, "the target knows nothing of")
        assert "works on that run at this moment" in done.err and "--accept" not in done.err, done
    run.sigint()
    run.wait()
    third = old.cluster.create_db()
    try:
        with Unchanged(old, new):
            swapped = shop.tool(source=new.conninfo, target=old.conninfo)
            for command in ("upgrade", "switchover", "status", "finish", "abort"):
                assert_says(swapped.run(command), FAILED, "--source and --target")
            elsewhere = shop.tool(target=new.cluster.conninfo(other))
            for command in ("upgrade", "switchover", "finish", "verify"):
                assert_says(elsewhere.run(command), FAILED, "the target knows nothing of", "--accept target-lost")
            elsewhere = shop.tool(source=old.cluster.conninfo(third))
            for command in ("upgrade", "switchover", "finish", "abort", "verify"):
                assert_says(elsewhere.run(command), FAILED, "with another source")
        # A run of another version is left to that.
        for node in (old, new):
            known, version = node.sql("select format, tool_version from pgtandem.node")[0]
            node.sql("update pgtandem.node set format = 99, tool_version = '77.0'")
            with Unchanged(old, new):
                for command in ("upgrade", "switchover", "status", "finish", "abort", "verify"):
                    assert_says(tool.run(command), FAILED, "another version", "77.0")
            node.sql(f"update pgtandem.node set tool_version = '{version}'")
            assert_says(tool.run("upgrade"), FAILED, "another build", "another layout (99, here")
            node.sql(f"update pgtandem.node set format = {known}")
        # Of another run.
        new.sql("update pgtandem.node set run_id = 'other'")
        with Unchanged(old, new):
            for command in ("upgrade", "switchover", "finish", "abort"):
                assert_says(tool.run(command), FAILED, "different runs")
    finally:
        new.cluster.drop_db(other)
        old.cluster.drop_db(third)


def end(run):
    run.sigint()
    assert run.wait().rc == INTERRUPTED


def test_two_runs_of_one_source(shop, tool):
    """Begun at the same moment with two targets: one wins, the other leaves nothing behind and is told the truth."""
    old, first = shop.old, shop.new
    name = first.cluster.create_db()
    second = type(first)(first.cluster, name)
    other = shop.tool(target=second.conninfo)
    try:
        # the one is not through with the target yet, so there is nothing of it to be seen on the source
        run = tool.start("upgrade", fault="schema.filled:sleep=4000")
        run.wait_for_output("fault point schema.filled")
        with Unchanged(old, second):
            assert_says(other.run("upgrade"), FAILED, "another pgtandem begins a run of this source", "pgtandem upgrade")
        run.wait_for_output("in sync", timeout=60)
        end(run)
        tool.ok("abort")

        # a session of its own that was lost and has not ended yet is waited for
        run = tool.start("upgrade", fault="schema.filled:sleep=2000")
        run.wait_for_output("fault point schema.filled")
        holder = old.connect()
        with holder.cursor() as cursor:
            cursor.execute("select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() "
                           "and application_name like 'pgtandem%'")
            cursor.execute("select pg_advisory_lock(1885827188, 3)")
        run.wait_for_output("trying again")
        time.sleep(4)
        holder.close()
        run.wait_for_output("in sync", timeout=60)
        end(run)
        tool.ok("abort")

        # really at the same moment
        for _ in range(3):
            runs = [tool.start("upgrade"), other.start("upgrade")]
            poll_until(lambda: not all(r.running for r in runs), 60)
            won, lost = sorted(runs, key=lambda r: not r.running)
            done = lost.wait()
            assert_says(done, FAILED)
            assert "a run of this source" in done.err or "works on that run at this moment" in done.err, done
            assert "--accept" not in done.err, done
            won.wait_for_output("in sync", timeout=60)
            end(won)
            winner, loser = (tool, second) if won is runs[0] else (other, first)
            assert loser.value("select count(*) from pg_class where relname in ('t', 'node')") == 0
            winner.ok("abort")

        # one that died before it came to the source finds it in another run: nothing can be done but to remove its copy
        with Unchanged(first):
            for fault in ("step.schema.before", "step.schema.after", "step.schema.persisted"):
                assert tool.run("upgrade", fault=fault).rc == -9
                run = other.start("upgrade")
                run.wait_for_output("in sync", timeout=60)
                if fault != "step.schema.before":
                    assert_says(tool.run("upgrade"), FAILED, "different runs", '"pgtandem abort"')
                    assert_says(tool.run("switchover"), FAILED, "different runs")
                    tool.ok("abort")
                assert run.running and old.value("select count(*) from pgtandem.node") == 1
                old.sql("insert into t values (1000, 'still followed')")
                poll_until(lambda: second.value("select count(*) from t where id = 1000") == 1, 20)
                end(run)
                other.ok("abort")
                old.sql("delete from t where id = 1000")
    finally:
        first.cluster.drop_db(name)


def test_nothing_asked_nothing_done(shop, tool):
    with Unchanged(shop.old, shop.new):
        for args in (["--help"], ["--version"], ["upgrade", "--help"], ["states"]):
            assert tool.run(*args).rc == DONE
        tool.run("check")
        tool.run("status")
        for command in ("switchover", "rollback", "finish", "abort", "verify"):
            assert tool.run(command).rc == FAILED
