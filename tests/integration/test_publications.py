"""Publications and event triggers: on the target from the first switch on, and in step from then on in both directions."""

import psycopg2
import pytest

from lib.cluster import random_name
from lib.tool import ABORTED, DONE, INTERRUPTED, kill_leftovers
from lib.wait import poll_until

KILLED = -9

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
    done = tool.ok("switchover", "--dry-run")
    assert 'event trigger "tell" cannot be carried over to the target' in done.err and "CREATE EVENT TRIGGER tell" in done.err
    assert "CREATE PUBLICATION everything FOR ALL TABLES" in done.err and "items" not in done.err
    assert count(pair.new) == 0
    done = tool.ok("switchover")
    # once: what is known to be refused is not tried in the pause
    assert done.err.count("CREATE EVENT TRIGGER tell") == 1
    assert 'event trigger "tell" cannot be carried over to the target' in done.err
    assert "CREATE EVENT TRIGGER tell" in done.err and "CREATE PUBLICATION everything FOR ALL TABLES" in done.err
    # who was told that nothing is there need not hear that it has no owner or comment
    assert "EVENT TRIGGER tell OWNER" not in done.err
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


def names(node):
    return {name for (name,) in node.sql("select pubname::text from pg_publication union all select evtname::text from pg_event_trigger")}


def published(node, name):
    return [row[0] for row in node.sql("select tablename from pg_publication_tables where pubname = %s order by 1", (name,))]


def event_trigger(node, name):
    [found] = node.sql("select evtevent, evttags, evtenabled, obj_description(oid, 'pg_event_trigger'), pg_get_userbyid(evtowner)"
                       " from pg_event_trigger where evtname = %s", (name,))
    return found


def publication(node, name):
    [found] = node.sql("select obj_description(oid, 'pg_publication'), pg_get_userbyid(pubowner) from pg_publication where pubname = %s", (name,))
    return found


@pytest.fixture
def roles(pair):
    """The same ordinary role and superuser on both nodes."""
    made = [random_name("shop"), random_name("boss")]
    for node in (pair.old, pair.new):
        node.sql(f"create role {made[0]}; create role {made[1]} superuser")
        node.sql(f"grant create on database {node.dbname} to {made[0]}")
    yield made
    kill_leftovers()
    for node in (pair.old, pair.new):
        node.cluster.drop_db(node.dbname)
        for role in made:
            node.cluster.drop_role(role)


def changes(node, role, superuser):
    """What is there already is dropped, made otherwise and altered."""
    node.psql(f"""
        drop publication none; drop event trigger always;
        alter publication items drop table item; comment on publication items is 'fewer'; alter publication items owner to {role};
        drop event trigger tell;
        create event trigger tell on sql_drop execute procedure tell(); comment on event trigger tell is 'other';
        alter event trigger "No ""seq" enable always; comment on event trigger "No ""seq" is 'new';
        alter event trigger "No ""seq" owner to {superuser}; alter event trigger off enable; create event trigger fresh on sql_drop
        execute procedure tell()""")


def assert_changed(node, role, superuser, asleep):
    assert names(node) & {"none", "always", "items", "tell", "fresh", "off"} == {"items", "tell", "off"} | ({"fresh"} - asleep)
    assert published(node, "items") == ['Odd "T'] and event_trigger(node, "tell")[:2] == ("sql_drop", None)
    if not asleep:
        assert publication(node, "items") == ("fewer", role)
        assert event_trigger(node, "tell")[2:4] == ("O", "other")
        assert event_trigger(node, 'No "seq')[2:] == ("A", "new", superuser)
        assert event_trigger(node, "off")[2] == "O" and event_trigger(node, "fresh")[2] == "O"


def test_changes_of_those_that_the_copy_has(pair, tool, roles):
    """They come at once, except what is new or only a state, an owner or a comment: that comes with the switch."""
    prepare(pair.old)
    run = follow(tool)
    # before the first switch the target has none: nothing comes
    pair.old.psql("create publication gone; create event trigger gone on sql_drop execute procedure tell();"
                  "create publication early for table item")
    tool.ok("switchover")
    assert {"gone", "early"} <= names(pair.new)
    wait_until_asleep(pair.old)
    pair.new.psql("drop publication gone; drop event trigger gone")
    poll_until(lambda: "gone" not in names(pair.old), 60)
    changes(pair.new, *roles)
    poll_until(lambda: "always" not in names(pair.old) and published(pair.old, "items") == ['Odd "T']
               and event_trigger(pair.old, "tell")[0] == "sql_drop", 60)  # fmt: skip
    wait_until_asleep(pair.old)
    assert_changed(pair.old, *roles, asleep={"fresh"})
    wanted = definitions(pair.new)
    tool.ok("rollback")
    assert_changed(pair.old, *roles, asleep=set())
    assert definitions(pair.old)[:2] == wanted[:2]
    wait_until_asleep(pair.new)
    # the other direction, without anybody who follows meanwhile
    end(run)
    pair.old.psql("drop event trigger tell; drop publication early; alter publication items add table item;"
                  "alter event trigger off disable; comment on publication items is null; alter event trigger fresh rename to renamed")
    wanted = definitions(pair.old)
    tool.ok("switchover")
    assert definitions(pair.new)[:3] == wanted[:3]
    assert event_trigger(pair.new, "off")[2] == "D" and publication(pair.new, "items")[0] is None
    tool.ok("finish")
    assert definitions(pair.new)[:3] == wanted[:3] == definitions(pair.old)[:3]


def test_those_of_the_target_are_its_own(one_pair, tool):
    """What was there before the run is neither carried back, nor put to sleep, nor altered, nor dropped."""
    pair = one_pair
    prepare(pair.old)
    pair.new.psql("create table own (id int primary key); create publication own for table own; create schema mine;"
                  "create function mine.f() returns event_trigger language plpgsql as 'begin end';"
                  "create publication none; create event trigger tell on sql_drop execute procedure mine.f();"
                  "create event trigger own on sql_drop execute procedure mine.f()")
    run = follow(tool, "--allow-nonempty")
    own = definitions(pair.new)
    done = tool.ok("switchover", "--dry-run")
    assert definitions(pair.new) == own
    assert 'event trigger "tell" of the source is another one on the target' in done.err
    done = tool.ok("switchover")
    pair.new.psql("alter publication own drop table own; comment on event trigger own is 'changed'; drop publication none")
    tool.ok("rollback")
    assert "own" not in names(pair.old) and "none" in names(pair.old)
    assert event_trigger(pair.old, "tell")[0] == "ddl_command_end" and event_trigger(pair.new, "tell")[0] == "sql_drop"
    poll_until(lambda: event_trigger(pair.new, "off")[2] == "D" == event_trigger(pair.new, "always")[2], 60)
    assert event_trigger(pair.new, "own")[2] == event_trigger(pair.new, "tell")[2] == "O"
    pair.old.psql("drop event trigger tell; drop publication items")
    poll_until(lambda: "items" not in names(pair.new), 60)
    tool.ok("switchover")
    assert {"own", "tell"} <= names(pair.new) and "items" not in names(pair.new)
    tool.ok("rollback")
    end(run)
    tool.ok("abort")
    assert names(pair.new) == {"own", "tell"} and event_trigger(pair.new, "own")[2:4] == ("O", "changed")


def test_a_list_of_columns_keeps_no_column(one_pair, tool):
    """A publication with columns keeps them from being dropped, so it goes before them."""
    pair = one_pair
    if pair.old.number < 150000:
        pytest.skip("publications have no columns")
    prepare(pair.old)
    run = follow(tool)
    tool.ok("switchover")
    pair.new.psql('alter publication "Part of" set table item (id); alter publication whole drop table item;'
                  "alter table item drop column name; drop event trigger tell; drop event trigger off; drop event trigger always;"
                  "drop function tell()")
    poll_until(lambda: pair.old.value("select count(*) from pg_attribute where attrelid = 'item'::regclass and attname = 'name'") == 0
               and pair.old.value("select count(*) from pg_proc where proname = 'tell'") == 0, 60)  # fmt: skip
    assert published(pair.old, "Part of") == ["item"]
    pair.new.sql("insert into item values (2, 'later')")
    tool.ok("rollback")
    assert pair.old.sql("select id, secret from item order by 1") == [(1, "s"), (2, "later")]
    end(run)
    tool.ok("abort")
    assert count(pair.new) == 0


def test_a_switch_that_died_is_completed_with_them(one_pair, tool):
    pair = one_pair
    prepare(pair.old)
    end(follow(tool))
    for point in ("switch.prepare.after", "switch.close.before"):
        assert tool.run("switchover", fault=point).rc == KILLED
        assert count(pair.new) == 0
    wanted = definitions(pair.old)
    assert tool.run("switchover", fault="switch.close.after").rc == KILLED
    assert count(pair.new) == 0
    assert tool.run("switchover", fault="halfway.before").rc == KILLED
    tool.ok("switchover")
    assert definitions(pair.new) == wanted
    run = follow(tool)
    wait_until_asleep(pair.old)
    pair.new.psql("drop publication none; create publication newer for table item")
    poll_until(lambda: "none" not in names(pair.old), 60)
    end(run)
    assert tool.run("rollback", fault="switch.close.after").rc == KILLED
    assert "newer" not in names(pair.old)
    tool.ok("rollback")
    assert "newer" in names(pair.old) and "none" not in names(pair.old)
    assert pair.old.value("select count(*) from pg_event_trigger where evtenabled = 'D'") == 1
    tool.ok("abort")
    assert count(pair.new) == 0
    assert pair.old.value("select count(*) from pg_event_trigger where evtenabled = 'D'") == 1


def wait_for_fence(node, query="%"):
    """Until the session that fences waits in its transaction, behind such a statement."""
    poll_until(lambda: node.value("select count(*) from pg_stat_activity where application_name like 'pgtandem%%fence%%'"
                                  " and datname = current_database() and state = 'idle in transaction' and query like %s",
                                  (query,)), 60)  # fmt: skip


def test_changes_in_the_moments_of_a_switch(one_pair, tool):
    """Up to the last round they are carried; what comes while the new node is prepared gives the switch up."""
    pair = one_pair
    prepare(pair.old)
    run = follow(tool)
    switch = tool.start("switchover", "--max-pause", "30s", fault="switch.prepare.after:sleep=3000")
    wait_for_fence(pair.old, "%pgtandem.open()%")
    pair.old.psql("create publication too_late; drop publication none")
    done = switch.wait()
    assert done.rc == ABORTED and "changed in this very moment" in done.err, done
    assert count(pair.new) == 0
    switch = tool.start("switchover", "--max-pause", "30s", fault="switch.drain.before:sleep=3000")
    wait_for_fence(pair.old)
    pair.old.psql("create publication in_time; drop publication too_late")
    wanted = definitions(pair.old)
    done = switch.wait()
    assert done.rc == DONE, done
    assert definitions(pair.new) == wanted and "in_time" in names(pair.new)
    end(run)
    tool.ok("finish")


def test_a_lock_on_a_published_table_does_not_give_the_switch_up(one_pair, tool):
    """Who reads the definitions of a table there for long keeps it from being published: that is told, with the statement."""
    pair = one_pair
    prepare(pair.old)
    run = follow(tool)
    blocker = pair.new.connect(autocommit=False)
    with blocker.cursor() as cursor:
        cursor.execute("lock table whole.a in share update exclusive mode")
        pair.old.psql("create publication blocked for table whole.a; create publication free for table item")
        done = tool.ok("switchover", "--max-pause", "60s")
        assert 'publication "blocked" cannot be carried over to the target' in done.err and "lock timeout" in done.err
        assert 'publication "free"' not in done.err
    blocker.close()
    assert "free" in names(pair.new) and "blocked" not in names(pair.new)
    tool.ok("rollback")
    # it was not carried, so nobody takes it for dropped
    assert "blocked" in names(pair.old)
    tool.ok("switchover")
    assert published(pair.new, "blocked") == ["a"]
    end(run)
    tool.ok("finish")


@pytest.mark.parametrize("kind", ["superuser", "ordinary"])
def test_an_event_trigger_that_writes(one_pair, ordinary, kind):
    """It fires for what closes the old node: that is not refused, and keeps nobody from switching."""
    pair = one_pair
    owner = ordinary(pair) if kind == "ordinary" else "postgres"
    pair.old.psql(f"""
        set role {owner};
        create table item (id int primary key);
        create table audit (id serial primary key, what text, tag text);
        create table log (what text, tag text);
        reset role;
        create function audit() returns event_trigger language plpgsql as $$
            begin insert into public.audit (what, tag) values (tg_event, tg_tag);
                  insert into public.log values (tg_event, tg_tag); end $$;
        create event trigger audit on ddl_command_end execute procedure audit();
        alter event trigger audit owner to postgres""")
    tool = pair.tool()
    run = follow(tool)
    if kind == "ordinary":
        # it may not be put to sleep: what it writes would be refused by the new node's copy, or be lost
        done = tool.run("switchover")
        assert done.rc == ABORTED and "does not take writes" in done.err and "ALTER EVENT TRIGGER" in done.err, done
        pair.old.sql("insert into item values (0)")
        assert count(pair.new) == 0
        pair.old.psql("alter event trigger audit disable")
    logged = pair.old.value("select count(*) from log")
    tool.ok("switchover")
    pair.new.sql("insert into item values (1)")
    for statement in ("insert into item values (2)", "insert into audit (what) values ('by hand')"):
        with pytest.raises(psycopg2.Error, match="does not take writes"):
            pair.old.sql(statement)
    if kind == "superuser":
        assert pair.old.value("select evtenabled from pg_event_trigger") == "D"
        tool.ok("verify")
        fired = pair.new.value("select count(*) from audit")
        pair.new.psql("create table made (id int primary key)")
        pair.new.psql("drop table made")
        assert pair.new.value("select count(*) from audit") > fired
    else:
        assert pair.new.value("select count(*) from log") == pair.old.value("select count(*) from log") == logged
    tool.ok("rollback")
    assert pair.old.value("select evtenabled from pg_event_trigger") == ("O" if kind == "superuser" else "D")
    pair.old.sql("insert into item values (2)")
    # a switch that is given up wakes them: what closed the old node is undone
    assert tool.run("switchover", fault="switch.close.after:error").rc == ABORTED
    if kind == "superuser":
        assert pair.old.value("select evtenabled from pg_event_trigger") == "O"
    pair.old.sql("insert into item values (3)")
    tool.ok("switchover")
    assert pair.new.value("select count(*) from item where id > 0") == 3
    tool.ok("verify")
    end(run)
    tool.ok("finish")
    assert pair.old.value("select evtenabled from pg_event_trigger") == ("O" if kind == "superuser" else "D")


def test_an_event_trigger_that_writes_before_the_command(one_pair, ordinary):
    """It writes before the gate closes, and after the last round: that must not be lost."""
    pair = one_pair
    owner = ordinary(pair)
    pair.old.psql(f"""
        set role {owner}; create table log (id serial primary key, tag text); reset role;
        create function before() returns event_trigger language plpgsql as $$
            begin insert into public.log (tag) values (tg_tag); end $$;
        create event trigger before on ddl_command_start execute procedure before();
        alter event trigger before owner to postgres""")
    tool = pair.tool()
    end(follow(tool))
    done = tool.run("switchover")
    assert done.rc == ABORTED and "ALTER EVENT TRIGGER" in done.err, done
    pair.old.sql("insert into log (tag) values ('open')")
    tool.ok("abort")


def test_what_the_old_version_cannot_even_read(pair, tool):
    """A statement that the old server does not understand costs nothing but itself, and the way back goes on."""
    prepare(pair.old)
    end(follow(tool))
    tool.ok("switchover")
    if pair.new.number >= 150000:
        pair.new.psql("create publication columns for table item (id, name); create publication plain for table item")
    done = tool.ok("rollback")
    if pair.old.number < 150000 <= pair.new.number:
        assert 'publication "columns" cannot be carried over to the source: ' in done.err and "syntax error" in done.err
        assert "columns" not in names(pair.old)
    elif pair.new.number >= 150000:
        assert {"columns", "plain"} <= names(pair.old)
    tool.ok("abort")
