"""The service's file as the commands see it: a whole session, edits that are refused, and what is never shown."""

import json
import os
import re
import stat
import subprocess

import pytest

from lib.tool import DONE, FAILED, USAGE, Tool
from lib.wait import poll_until

SECRET = "sesame"
BY_HAND = f"""\
# our databases; ask before you change them

[db A]
conninfo = host=old.example dbname=shop
    password={SECRET}
;queue-limit = 5GB

# the new one
[db  B]
conninfo=postgresql://shop:{SECRET}@new.example/shop

[group both]\t
members = A:source, B

[tables shop]
include = public.*,
# the log, too
    audit.log

[sync s]
tables = shop
dbs = both

[table s public.orders]
where = region = 'eu'   # not a comment
"""


class File:
    """A configuration file in a directory of its own."""

    def __init__(self, directory, text=None):
        self.path = str(directory / "pgtandem.conf")
        self.directory = directory
        self.tool = Tool()
        if text is not None:
            self.write(text)

    def write(self, text):
        with open(self.path, "wb") as file:
            file.write(text.encode())

    @property
    def text(self):
        with open(self.path, "rb") as file:
            return file.read().decode()

    def run(self, *words, **more):
        done = self.tool.run(*words, "--config", self.path, **more)
        assert SECRET not in done.text, done
        return done

    def ok(self, *words, **more):
        done = self.run(*words, **more)
        assert done.rc == DONE, done
        return done

    def refused(self, *words, says=(), rc=USAGE):
        """The words are refused for these reasons, and the file is what it was, to the byte and the inode."""
        before, inode = self.text, os.stat(self.path).st_ino
        done = self.run(*words)
        assert done.rc == rc, done
        for word in says:
            assert word in done.err, (word, done)
        assert (self.text, os.stat(self.path).st_ino) == (before, inode)
        assert os.listdir(self.directory) == ["pgtandem.conf"]


@pytest.fixture
def new(tmp_path):
    return File(tmp_path)


@pytest.fixture
def by_hand(tmp_path):
    return File(tmp_path, BY_HAND)


def test_the_session(one_pair, new):
    for node in (one_pair.old, one_pair.new):
        node.sql("create table t (id int primary key, v text)")
    one_pair.old.sql("insert into t select i, 'row' from generate_series(1, 50) i")

    new.ok("add", "db", "A", *one_pair.old.conninfo.split())
    assert stat.S_IMODE(os.stat(new.path).st_mode) == 0o600
    new.ok("add", "db", "B", "conninfo=" + one_pair.new.conninfo)
    new.ok("add", "sync", "migrate_rds", "tables=all", "dbs=A,B")
    new.ok("validate")
    try:
        new.ok("start", "--daemon")
        new.ok("kick", "migrate_rds", "--wait=1min")  # waits for the beginning, too
        assert one_pair.new.sql("select count(*) from t") == [(50,)]
        assert "migrate_rds" in new.ok("status").out
        assert "paused" in new.ok("pause", "migrate_rds", "--wait=1min").out
        one_pair.old.sql("insert into t values (51, 'paused')")
        assert new.run("kick", "migrate_rds", "--wait=1s").rc == FAILED
        assert one_pair.new.sql("select count(*) from t") == [(50,)]
        new.ok("resume", "migrate_rds")
        new.ok("kick", "migrate_rds", "--wait=1min")
        assert one_pair.new.sql("select count(*) from t") == [(51,)]
        assert new.run("remove", "db", "A").rc == USAGE
        new.ok("deactivate", "migrate_rds")
        assert "status = inactive" in new.text
        new.ok("activate", "migrate_rds")
    finally:
        new.run("stop")
    new.ok("remove", "sync", "migrate_rds")
    assert "migrate_rds" not in new.text
    new.ok("remove", "db", "A")
    new.ok("remove", "db", "B")
    for node in (one_pair.old, one_pair.new):
        assert node.sql("select count(*) from pg_namespace where nspname = 'pgtandem'") == [(0,)]


def test_comments_and_everything_else_stay(by_hand):
    by_hand.ok("update", "db", "A", "queue-limit=1GB")
    by_hand.ok("update", "sync", "s", "autokick=no")
    by_hand.ok("add", "table", "s", "audit.log", "columns=id, what")
    assert by_hand.text == BY_HAND.replace(
        f"password={SECRET}\n", f"password={SECRET}\nqueue-limit = 1GB\n"
    ).replace("dbs = both\n", "dbs = both\nautokick = no\n") + (
        "\n[table s audit.log]\ncolumns = id, what\n"
    )
    by_hand.ok("update", "db", "A", "queue-limit=")
    by_hand.ok("update", "sync", "s", "autokick=")
    by_hand.ok("remove", "table", "s", "audit.log")
    assert by_hand.text == BY_HAND


def test_a_keyword_of_a_connection_string(by_hand):
    by_hand.ok("update", "db", "A", "host=newer.example", "port=5433")
    assert (
        f"conninfo = host=newer.example dbname=shop password={SECRET} port=5433\n" in by_hand.text
    )
    by_hand.refused("update", "db", "B", "host=newer.example", says=["which is a URI"])


def test_edits_that_are_refused(by_hand):
    refused = by_hand.refused
    refused("add", "db", "A", "service=x", says=["is there already", ":3:"])
    refused("add", "db", "C", "hots=x", says=['no keyword "hots"', "Did you mean host=…?"])
    refused("add", "db", "C", "service=x", "queue-limt=1GB", says=["Did you mean queue-limit=…?"])
    refused("add", "db", "C", "service=x", "queue-limit=1", says=["with its unit"])
    refused("add", "db", "C", "service=x", SECRET)
    refused("add", "db", "C", "nothing", says=['no "="'])
    refused("add", "db", "a b", "service=x", says=["no name of a db"])
    refused("add", "thing", "C", "a=b", says=["db, group, tables, table and sync"])
    refused("add", "sync", "t", "tables=all", "dbs=A,C", says=['no database "C"'])
    refused("add", "sync", "t", "tables=audit.log", "dbs=A,B", says=["as sync s does already"])
    refused("add", "sync", "t", "tables=x.y", "dbs=A", says=["has no target"])
    refused("add", "sync", "t", "tables=x.y", "dbs=A:target,B:target", says=["has no source"])
    refused("add", "sync", "t", "tables=x.y", "dbs=A,B", "checktime=10ms", says=["from 1s"])
    refused("add", "table", "s", "other.t", "where=true", says=["does not take"])
    refused("add", "table", "nobody", "t", "where=true", says=['no sync "nobody"'])
    refused("add", "table", "s", "orders", "where=true", says=["is there already"])
    refused("update", "db", "A", says=["needs settings"])
    refused("update", "db", "A", "conninfo=", says=['needs "conninfo"'])
    refused("update", "sync", "nobody", "autokick=no", says=["there is no [sync nobody]"])
    refused("update", "sync", "s", "autokick=perhaps", says=["yes or no"])
    refused("remove", "db", "A", says=["in use", ":13: members of [group both]"])
    refused("remove", "group", "both", says=["in use", "dbs of [sync s]"])
    refused("remove", "tables", "shop", says=["in use", "tables of [sync s]"])
    refused("remove", "table", "s", "public.nothing", says=["there is no"])
    refused("activate", "nobody", says=["there is no [sync nobody]"])


def test_a_sync_whose_databases_cannot_be_reached_stays(by_hand, tmp_path):
    socket = str(tmp_path)  # nobody listens there
    by_hand.write(BY_HAND.replace("old.example", socket).replace("new.example", "localhost:1"))
    by_hand.refused("remove", "sync", "s", rc=FAILED)
    by_hand.ok("remove", "sync", "s", "--force")
    assert "[sync s]" not in by_hand.text and "[table s" not in by_hand.text


def test_all_problems_at_once(new):
    new.write(
        f"""[db A]
conninfo = host=a password={SECRET}
colour = red
[db A]
conninfo = service=b
[bd B]
[sync s]
tables = all
dbs = A, C
autokick = often
nonsense
"""
    )
    done = new.run("validate")
    assert done.rc == USAGE
    lines = [int(n) for n in re.findall(r"pgtandem\.conf:(\d+): ", done.err)]
    assert lines == [3, 4, 6, 9, 10, 11], done
    assert "[db A] is there already, in line 1" in done.err
    assert 'did you mean [db' in done.err
    for command in (["start"], ["status"], ["kick", "s"], ["remove", "sync", "s"]):
        assert new.run(*command).rc == USAGE


def test_the_list(by_hand):
    out = by_hand.ok("list").out
    assert "    conninfo = host=old.example" in out and "dbname=shop" in out
    assert by_hand.ok("list", "databases").out.count("[db ") == 2
    assert by_hand.ok("list", "dbs", "[A]").out == ""
    assert by_hand.ok("list", "herd").out.startswith("[tables shop]\n")
    assert by_hand.ok("list", "table", "s *").out.startswith("[table s public.orders]\n")
    sections = by_hand.ok("list", "--json").json
    assert [(s["kind"], s["name"], s["line"]) for s in sections] == [
        ("db", "A", 3),
        ("db", "B", 9),
        ("group", "both", 12),
        ("tables", "shop", 15),
        ("sync", "s", 20),
        ("table", "s public.orders", 24),
    ]
    assert sections[3]["settings"] == {"include": "public.*, audit.log"}
    # a mistyped key hides nothing
    by_hand.write(BY_HAND.replace("conninfo", "conninf"))
    assert SECRET not in by_hand.ok("list").out
    assert json.loads(by_hand.ok("list", "db", "--json").out)[0]["settings"] == {}


def test_which_file(tmp_path):
    tool = Tool()
    there = {"cwd": tmp_path, "env": {**tool.environment, "LC_ALL": "C.UTF-8"}}

    def run(*words, **env):
        return subprocess.run(
            [tool.binary, *words],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env={**there["env"], **env},
            check=False,
        )

    assert run("add", "db", "A", "service=a").returncode == DONE
    assert (tmp_path / "pgtandem.conf").exists()
    assert "service=a" in run("list").stdout
    other = str(tmp_path / "other.conf")
    assert run("add", "db", "B", "service=b", PGTANDEM_CONFIG=other).returncode == DONE
    assert "[db B]" in run("list", PGTANDEM_CONFIG=other).stdout
    assert "[db A]" in run("list", "--config", "pgtandem.conf", PGTANDEM_CONFIG=other).stdout
    missing = run("list", "--config", "missing.conf")
    assert missing.returncode == USAGE and "there is no configuration file" in missing.stderr
    assert run("status", "--config", "missing.conf").returncode == USAGE


def test_mode_and_link_stay(tmp_path, new):
    new.ok("add", "db", "A", "service=a")
    os.chmod(new.path, 0o640)
    link = tmp_path / "link.conf"
    link.symlink_to("pgtandem.conf")
    done = new.tool.ok("add", "db", "B", "service=b", "--config", link)
    assert "added" in done.out and link.is_symlink() and "[db B]" in new.text
    assert stat.S_IMODE(os.stat(new.path).st_mode) == 0o640


def test_windows_lines_and_a_missing_newline(new):
    new.write("[db A]\r\nconninfo = service=a\r\n\r\n[db B]\r\nconninfo = service=b")
    new.ok("add", "sync", "s", "tables=t", "dbs=A,B")
    new.ok("update", "db", "A", "queue-limit=0")
    assert new.text == (
        "[db A]\r\nconninfo = service=a\r\nqueue-limit = 0\r\n\r\n[db B]\r\nconninfo = service=b\n"
        "\r\n[sync s]\r\ntables = t\r\ndbs = A,B\r\n"
    )


def test_what_is_no_file_of_settings(tmp_path):
    file = File(tmp_path, "[db A]\nconninfo = a\0b\n")
    file.refused("update", "db", "A", "host=x", says=["NUL byte"])
    assert file.run("validate").rc == file.run("list").rc == USAGE
