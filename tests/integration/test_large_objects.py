"""Large objects: no trigger sees them, so they are found by looking, and locked in the pause.

That their contents, owners, rights and comments stay the same under all kinds of changes, in both directions, is
part of test_contents.py. Here: dying at every point of it, writers of nothing else, and roles that may not.
"""

import re
import threading
import time

import psycopg2
import pytest

from lib.compare import assert_same_content, large_objects
from lib.tool import ABORTED, REFUSED

MANY = """
create table t (id int primary key);
select lo_from_bytea(1000 + n, decode(repeat(md5(n::text), 3000), 'hex')) from generate_series(1, 700) n;
comment on large object 1002 is 'second';
select lo_create(2000);
do $$ begin
  for page in 0..9000 loop
    perform lo_put(2000, page * 2048::bigint, (select string_agg(decode(md5(random()::text || n), 'hex'), '') from generate_series(1, 128) n));
  end loop;
end $$;
"""
DENIED, CANCELED = "42501", "57014"


@pytest.fixture
def app(one_pair):
    """A role without special rights that owns large object 1001."""
    one_pair.old.sql(MANY)
    name = one_pair.old.cluster.create_role()
    one_pair.new.cluster.create_role(name)
    one_pair.old.sql(f"alter large object 1001 owner to {name}; grant all on large object 1003 to {name}")
    yield name
    for node in (one_pair.old, one_pair.new):
        node.cluster.drop_db(node.dbname)
        node.cluster.drop_role(name)


class Counter:
    """Writes the next number into a large object of its own, and nothing else, as fast as it can."""

    def __init__(self, node, user):
        self._connection = node.connect(user=user)
        self._stop = False
        self.acknowledged, self.refusal = 0, None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self):
        with self._connection.cursor() as cursor:
            while not self._stop:
                try:
                    cursor.execute("select lo_put(1001, 5000, %s)", (b"%09d" % (self.acknowledged + 1),))
                except psycopg2.Error as error:
                    self.refusal = error.pgcode
                    return
                self.acknowledged += 1

    def wait_for(self, more):
        wanted, deadline = self.acknowledged + more, time.monotonic() + 30
        while self.acknowledged < wanted:
            assert self.refusal is None and time.monotonic() < deadline, (self.refusal, self.acknowledged)
            time.sleep(0.01)

    def end(self):
        self._stop = True
        self._thread.join(30)
        self._connection.close()


def number(node):
    return int(bytes(node.value("select lo_get(1001, 5000, 9)")))


def test_writers_of_large_objects_only(one_pair, tool, app):
    old, new = one_pair.old, one_pair.new
    for fault in ("large.loaded", "large.pages", "large.objects", "large.applied"):
        assert tool.run("upgrade", fault=f"{fault}:kill").rc != 0
    run = tool.start("upgrade")
    run.wait_for_output("in sync", timeout=60)

    # whoever holds them is waited for, and named
    holder = old.connect(autocommit=False)
    with holder.cursor() as cursor:
        cursor.execute("select lo_put(1002, 0, 'not yet')")
        done = tool.run("switchover", "--max-pause", "2s")
        assert done.rc == ABORTED and "pg_largeobject" in done.err, done
    holder.rollback()
    holder.close()

    for side, (here, there) in enumerate(((old, new), (new, old))):
        counter = Counter(here, app)
        counter.wait_for(50)
        done = tool.ok("switchover" if side == 0 else "rollback", "--verbose")
        assert int(re.search(r"large objects: (\d+) pages to read", done.err).group(1)) < 500, done
        counter.end()
        assert counter.refusal in (DENIED, CANCELED), counter.refusal
        assert number(there) == counter.acknowledged
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            here.sql("select lo_put(1003, 0, 'x')", user=app)
        there.sql("select lo_put(1003, 0, 'y'); select lo_unlink(lo_create(0))", user=app)
        there.sql(f"select lo_unlink({1010 + side}); select lo_truncate64(lo_open({1020 + side}, 131072), 0)")
    tool.ok("switchover")
    run.sigint()
    run.wait()
    assert_same_content(old.connect(), new.connect())
    tool.ok("finish")
    for node in (old, new):
        node.sql("select lo_put(1003, 0, 'z')", user=app)
        assert node.sql("select extname from pg_extension where extname <> 'plpgsql'") == []


def test_an_abort_takes_them_away(one_pair, tool, app):
    old, new = one_pair.old, one_pair.new
    assert tool.run("upgrade", fault="large.pages:kill").rc != 0
    tool.ok("abort")
    assert new.sql("select oid from pg_largeobject_metadata union select loid from pg_largeobject") == []
    assert len(large_objects(old.connect())) == 701

    new.sql("select lo_create(4711)")
    findings = {finding["id"]: finding for finding in tool.run("check", "--json").json["findings"]}
    assert findings["large-objects-on-target"]["severity"] == "error"


def test_roles_that_may_not(one_pair, ordinary):
    old = one_pair.old
    app = ordinary(one_pair)
    old.sql("create table t (id int primary key)", user=app)
    tool = one_pair.tool()
    run = tool.start("upgrade")
    run.wait_for_output("in sync", timeout=60)
    # created when `check` was long over
    old.sql("select lo_from_bytea(0, 'new')", user=app)
    done = tool.run("switchover")
    assert done.rc == REFUSED and "--accept large-objects" in done.err, done
    tool.ok("switchover", "--accept", "large-objects")
    tool.ok("rollback", "--accept", "large-objects")
    run.sigint()
    run.wait()
    tool.ok("abort")
    done = tool.run("upgrade")
    assert done.rc == REFUSED and "1 large object" in done.err, done
