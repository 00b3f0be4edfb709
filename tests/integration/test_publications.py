"""Publications and event triggers: not on the copy while it is one, and there when it takes over."""

import psycopg2
import pytest

from lib.tool import ABORTED, DONE, INTERRUPTED
from lib.wait import poll_until

SCHEMA = """
    create table item (id int primary key, name text, secret text);
    create table "Odd ""T" (id int primary key, region text);
    create table part (id int primary key, v text) partition by range (id);
    create table part_1 partition of part for values from (0) to (100);
    create schema whole; create table whole.a (id int primary key);
    insert into item values (1, 'one', 's');
    create table said (what text, tag text);
    create function tell() returns event_trigger language plpgsql as
        $$ begin insert into public.said values (tg_event, tg_tag); end $$;
    create function veto() returns event_trigger language plpgsql as
        $$ begin raise exception 'no sequences here'; end $$;
    create event trigger tell on ddl_command_end when tag in ('CREATE TABLE', 'CREATE INDEX') execute procedure tell();
    create event trigger "No ""seq" on ddl_command_start when tag in ('CREATE SEQUENCE') execute procedure veto();
    create event trigger off on ddl_command_end execute procedure tell();
    alter event trigger off disable;
    create event trigger always on ddl_command_end when tag in ('CREATE VIEW') execute procedure tell();
    alter event trigger always enable always;
    comment on event trigger tell is 'who makes tables';
    create publication items for table item, "Odd ""T" with (publish = 'insert, update');
    create publication none;
    comment on publication none is 'empty';
"""
FROM_13 = "create publication roots for table part with (publish_via_partition_root);"
FROM_15 = """
    create publication "Part of" for table item (id, name) where (id > 5), table "Odd ""T";
    create publication whole for table item where (id > 5), tables in schema whole;
"""


def definitions(node, of="publications and event triggers"):
    number = node.number
    found = [node.sql("select evtname, evtevent, evttags, evtenabled, obj_description(oid, 'pg_event_trigger')"
                      " from pg_event_trigger order by 1")]
    found.append(node.sql("select pubname, puballtables, pubinsert, pubupdate, pubdelete,"
                          " obj_description(oid, 'pg_publication') from pg_publication order by 1"))
    found.append(node.sql("select pubname, schemaname, tablename from pg_publication_tables order by 1, 2, 3"))
    if number >= 150000:
        found.append(node.sql("select p.pubname, r.prrelid::regclass::text, r.prattrs::text, pg_get_expr(r.prqual, r.prrelid)"
                              " from pg_publication_rel r join pg_publication p on p.oid = r.prpubid order by 1, 2"))
        found.append(node.sql("select p.pubname, n.pnnspid::regnamespace::text from pg_publication_namespace n"
                              " join pg_publication p on p.oid = n.pnpubid"))
    return found


def prepare(node):
    node.psql(SCHEMA if node.number >= 110000 else SCHEMA.replace("part (id int primary key, v text)", "part (id int, v text)"))
    if node.number >= 130000:
        node.psql(FROM_13)
    if node.number >= 150000:
        node.psql(FROM_15)


def follow(tool, *options):
    run = tool.start("upgrade", "--jobs", "2", "--accept", "publication-all-tables", *options)
    run.wait_for_output(r"in sync", timeout=90)
    return run


def end(run):
    run.sigint()
    assert run.wait().rc == INTERRUPTED


def count(node):
    return node.value("select (select count(*) from pg_publication) + (select count(*) from pg_event_trigger)")


def wait_until_asleep(node):
    poll_until(lambda: node.value("select count(*) from pg_event_trigger where evtenabled <> 'D'") == 0, 60)


def test_they_come_with_the_switch(pair, tool):
    prepare(pair.old)
    run = follow(tool)
    assert count(pair.new) == 0
    # they are those of the moment of the switch
    pair.old.psql("drop publication none; create publication late for table item; comment on publication late is 'new';"
                  "drop event trigger off; create event trigger late on sql_drop execute procedure tell()")
    pair.old.psql("alter event trigger \"No \"\"seq\" enable replica")
    before = definitions(pair.old)
    tool.ok("switchover")
    compared = 5 if pair.old.number >= 150000 else 3
    assert definitions(pair.new)[:compared] == before[:compared]
    pair.new.psql("create table fresh (id int primary key)")
    assert pair.new.sql("select * from said where tag = 'CREATE TABLE' and what = 'ddl_command_end'")
    # on the node that is the copy now they do not fire
    wait_until_asleep(pair.old)
    pair.new.psql("drop table fresh; create publication newer for table item")
    tool.ok("rollback")
    wait_until_asleep(pair.new)
    back = definitions(pair.old)
    assert back[0] == before[0]
    assert [row for row in back[1] if row[0] != "newer"] == before[1]
    # 10 cannot publish TRUNCATE, which is told
    assert ("newer" in [row[0] for row in back[1]]) == (pair.old.number >= 110000)
    pair.old.psql("alter publication items drop table item")
    tool.ok("switchover")
    assert [row for row in definitions(pair.new)[2] if row[0] == "items"] == [("items", "public", 'Odd "T')]
    end(run)
    tool.ok("finish")
    assert definitions(pair.new)[0] == before[0]
    # the old node is as it was, and takes writes again
    assert definitions(pair.old)[0][:3] == before[0][:3]
    with pytest.raises(psycopg2.Error):
        pair.new.sql("set session_replication_role = replica; create sequence no")


def test_abort_leaves_none_and_takes_no_others(one_pair, tool):
    pair = one_pair
    prepare(pair.old)
    pair.new.psql("create publication items; create schema mine; create function mine.f() returns event_trigger"
                  " language plpgsql as 'begin end'; create event trigger mine on sql_drop execute procedure mine.f()")
    run = follow(tool, "--allow-nonempty")
    done = tool.ok("switchover")
    assert 'publication "items" of the source is another one on the target' in done.err
    tool.ok("rollback")
    assert count(pair.new) > 2
    end(run)
    tool.ok("abort")
    assert [row[0] for row in definitions(pair.new)[1]] == ["items"]
    assert [(row[0], row[3]) for row in definitions(pair.new)[0]] == [("mine", "O")]
    assert pair.old.value("select count(*) from pg_event_trigger where evtenabled = 'D'") == 1


def test_a_role_that_may_not_make_them(one_pair, ordinary):
    """The switch goes on, and the statements are told."""
    pair = one_pair
    pair.old.psql("create function tell() returns event_trigger language plpgsql as 'begin end';"
                  "create event trigger tell on sql_drop execute procedure tell()")
    owner = ordinary(pair)
    pair.old.psql(f"set role {owner}; create table item (id int primary key); create publication items for table item")
    pair.old.psql("create publication everything for all tables")
    tool = pair.tool()
    done = tool.ok("check", "--json", "--accept", "publication-all-tables")
    [objects] = [one["objects"] for one in done.json["findings"] if one["id"] == "superuser-only"]
    assert objects == ["event trigger tell", "publication everything"]
    run = follow(tool)
    done = tool.ok("switchover")
    assert 'event trigger "tell" is not on the target' in done.err and "CREATE EVENT TRIGGER tell" in done.err
    assert "CREATE PUBLICATION everything FOR ALL TABLES" in done.err
    assert pair.new.value("select count(*) from pg_publication") == 1
    assert tool.run("rollback").rc == DONE
    end(run)
    tool.ok("abort")
    assert pair.new.value("select count(*) from pg_publication") == 0
    assert pair.old.value("select evtenabled from pg_event_trigger") == "O"


def test_failed_switch_makes_nothing_later(one_pair, tool):
    """What was remembered for a switch that did not come about is not made by the end of the run."""
    pair = one_pair
    prepare(pair.old)
    run = follow(tool)
    tool.ok("switchover")
    pair.new.psql("create publication only_there")
    blocker = pair.new.connect(autocommit=False)
    with blocker.cursor() as cursor:
        cursor.execute("update item set name = 'open'")
        assert tool.run("rollback", "--max-pause", "1s").rc == ABORTED
    blocker.close()
    end(run)
    tool.ok("finish")
    assert "only_there" not in [row[0] for row in definitions(pair.old)[1]]
