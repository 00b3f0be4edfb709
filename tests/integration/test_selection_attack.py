"""Moving a part of a database, seen from those who have the rest of it: names of the border that others use, what
they make on the target meanwhile, and what the selected objects have to do with the others."""

import psycopg2.errors
import pytest

from lib.compare import assert_same_catalog, catalog_fingerprint
from lib.tool import DONE, FAILED, INTERRUPTED, REFUSED, USAGE

SHOP = """
    create schema shop;
    create schema crm;
    create table shop.customer (id serial primary key, name text);
    insert into shop.customer (name) select 'c' || i from generate_series(1, 20) i;
    create table shop.part (id int, region text, v text, primary key (id, region)) partition by list (region);
    create table shop.part_a partition of shop.part for values in ('a');
    insert into shop.part values (1, 'a', 'v');
    create table crm.note (id int, region text, v text, primary key (id, region));
    insert into crm.note values (5, 'z', 'moved');
"""


def follow(tool, *options):
    run = tool.start("upgrade", "--jobs", "2", *options)
    run.wait_for_output(r"in sync", timeout=60)
    return run


def end(run):
    """It may have stopped by itself."""
    if run.process.poll() is None:
        run.sigint()
    return run.wait()


def prepare(pair, on_target=""):
    pair.old.psql(SHOP)
    pair.new.psql("create schema crm;" + on_target)


def test_partition_whose_name_is_taken_on_the_copy(one_pair, tool):
    """A table gets a partition whose name others have on the other node: theirs is neither attached nor emptied."""
    pair = one_pair
    prepare(pair, "create table crm.note (id int, region text, v text, primary key (id, region));"
                  "insert into crm.note values (1, 'z', 'of the residents')")
    run = follow(tool, "--schema", "shop")
    pair.old.sql("alter table shop.part attach partition crm.note for values in ('z')")
    done = tool.run("switchover")
    assert done.rc not in (DONE, INTERRUPTED) and "crm.note" in done.err, done
    end(run)
    assert pair.new.sql("select * from crm.note") == [(1, "z", "of the residents")]
    assert not pair.new.value("select relispartition from pg_class where oid = 'crm.note'::regclass")
    pair.old.sql("alter table shop.part detach partition crm.note")
    follow(tool)
    tool.ok("switchover")
    pair.new.sql("alter table shop.part attach partition crm.note for values in ('z')")
    done = tool.run("rollback")
    assert done.rc != DONE and "crm.note" in done.err, done
    assert pair.old.sql("select * from crm.note") == [(5, "z", "moved")]


def test_partition_comes_and_goes(one_pair, tool):
    pair = one_pair
    prepare(pair)
    run = follow(tool, "--schema", "shop")
    pair.old.sql("alter table shop.part attach partition crm.note for values in ('z')")
    pair.old.sql("insert into shop.part values (6, 'z', 'later')")
    tool.ok("switchover")
    assert pair.new.value("select count(*) from crm.note") == 2
    tool.ok("rollback")
    pair.old.sql("alter table shop.part detach partition crm.note")
    pair.old.sql("insert into crm.note values (7, 'y', 'apart')")
    done = tool.run("switchover")
    assert done.rc != DONE and "not in the selection any more" in done.err, done
    pair.old.sql("delete from crm.note where id = 7; update crm.note set v = 'again'")
    pair.old.sql("alter table shop.part attach partition crm.note for values in ('z')")
    end(run)
    run = follow(tool)
    tool.ok("switchover")
    assert pair.new.sql("select id, v from shop.part order by 1") == [(1, "v"), (5, "again"), (6, "again")]
    end(run)
    tool.ok("finish")


@pytest.mark.parametrize("options", [
    ["--table", "shop.customer", "--exclude-table", "shop.*"],
    ["--schema", "shop", "--exclude-schema", "shop"],
    ["--schema", ""],
], ids=str)
def test_nothing_is_selected(one_pair, tool, options):
    pair = one_pair
    prepare(pair)
    before = [catalog_fingerprint(node.connect()) for node in (pair.old, pair.new)]
    done = tool.run("upgrade", *options)
    assert done.rc in (REFUSED, USAGE), done
    for node, was in zip((pair.old, pair.new), before):
        assert_same_catalog(was, catalog_fingerprint(node.connect()))


def test_abort_leaves_what_others_made(one_pair, tool):
    """Within the selected schemas too, whatever it is, and also what is in no schema."""
    pair = one_pair
    prepare(pair)
    pair.old.psql("""
        create type shop.mood as enum ('well');
        create function shop.ours(shop.mood, text, int[]) returns int language sql as 'select 1';
        create aggregate shop.total(int) (sfunc = int4pl, stype = int);
        create domain shop.age as int;
        create type shop.span as range (subtype = float8);
        create operator shop.+@+ (procedure = int4pl, leftarg = int, rightarg = int);
        create collation shop.c from "C";
        create text search dictionary shop.words (template = simple);
    """)
    follow(tool, "--exclude-schema", "crm")
    pair.new.psql("""
        create function shop.theirs() returns int language sql as 'select 1';
        create type shop.their_mood as enum ('well');
        create operator shop.-@- (procedure = int4mi, leftarg = int, rightarg = int);
        create foreign data wrapper theirs;
        create server theirs foreign data wrapper theirs;
        create table shop.their_table (id int primary key, a shop.their_mood, b int default shop.theirs());
    """)
    tool.ok("abort")
    assert pair.new.sql("select proname from pg_proc where pronamespace = 'shop'::regnamespace") == [("theirs",)]
    assert pair.new.value("select count(*) from pg_type where typnamespace = 'shop'::regnamespace and typtype <> 'c'"
                          " and typelem = 0") == 1
    assert pair.new.sql("select oprname from pg_operator where oprnamespace = 'shop'::regnamespace") == [("-@-",)]
    assert pair.new.value("select count(*) from pg_foreign_server") == 1
    assert pair.new.value("select count(*) from pg_collation where collnamespace = 'shop'::regnamespace") == 0
    assert pair.new.sql("select relname from pg_class where relnamespace = 'shop'::regnamespace and relkind = 'r'") == [("their_table",)]


def test_abort_of_objects_that_need_each_other(one_pair, tool):
    """A function of a table's row type that the table uses itself, and what else goes round."""
    pair = one_pair
    prepare(pair)
    clean = catalog_fingerprint(pair.new.connect())
    pair.old.psql("""
        create function shop.shown(shop.customer) returns text immutable language sql as 'select $1.name';
        create index by_shown on shop.customer (shop.shown(customer));
        create function shop.fine(shop.part) returns bool immutable language sql as 'select $1.id > 0';
        alter table shop.part_a add constraint fine check (id > 0);
        create view shop.v as select shop.shown(c) from shop.customer c;
        create table shop.a (id int primary key);
        create table shop.b (id int primary key references shop.a);
        alter table shop.a add foreign key (id) references shop.b deferrable initially deferred;
    """)
    end(follow(tool, "--schema", "shop"))
    pair.new.psql("create table crm.theirs (c int references shop.customer)")
    done = tool.run("abort")
    assert done.rc == FAILED and "crm.theirs" in done.err, done
    pair.new.sql("drop table crm.theirs")
    tool.ok("abort")
    assert_same_catalog(clean, catalog_fingerprint(pair.new.connect()))


def test_abort_of_what_is_in_no_schema(one_pair, tool):
    """Default privileges are as before, and servers go with their user mappings."""
    pair = one_pair
    prepare(pair, "alter default privileges grant select on tables to public")
    pair.old.psql("create foreign data wrapper w; create server s foreign data wrapper w;"
                  "create user mapping for public server s;"
                  "alter default privileges grant insert on tables to public;"
                  "alter default privileges in schema shop grant update on tables to public")
    clean = catalog_fingerprint(pair.new.connect())
    was = pair.new.sql("select defaclobjtype, defaclacl::text from pg_default_acl order by 1")
    end(follow(tool, "--exclude-schema", "crm"))
    tool.ok("abort")
    assert_same_catalog(clean, catalog_fingerprint(pair.new.connect()))
    assert pair.new.sql("select defaclobjtype, defaclacl::text from pg_default_acl order by 1") == was


def test_foreign_key_that_comes_later(one_pair, ordinary):
    """Without session_replication_role a foreign key of a table that stays would act on the way back."""
    pair = one_pair
    owner = ordinary(pair)
    pair.old.psql(f"""
        set role {owner};
        create schema mine;
        create table mine.t (id int primary key);
        insert into mine.t select generate_series(1, 10);
    """)
    tool = pair.tool()
    run = follow(tool, "--schema", "mine")
    pair.old.psql(f"set role {owner}; create table public.stays (t int references mine.t on delete cascade);"
                  "insert into public.stays select generate_series(1, 10)")
    done = tool.run("switchover")
    if done.rc == DONE:
        pair.new.sql("delete from mine.t where id = 1")
        tool.run("rollback")
    assert pair.old.value("select count(*) from public.stays") == 10
    assert done.rc != DONE and "public.stays" in done.err, done
    assert pair.old.sql("insert into mine.t values (11) returning id") == [(11,)]


def test_prepared_transaction_of_others(one_pair, tool):
    """It holds a table that stays: the switch is none of its business; one that holds ours is refused."""
    pair = one_pair
    prepare(pair)
    run = follow(tool, "--schema", "shop")
    pair.old.psql("begin; insert into crm.note values (8, 'p', 'x'); prepare transaction 'theirs'")
    pair.old.psql("begin; insert into shop.customer (name) values ('p'); prepare transaction 'ours'")
    try:
        done = tool.run("switchover")
        assert done.rc == REFUSED and '"ours"' in done.err and "1 prepared" in done.err, done
        pair.old.sql("commit prepared 'ours'")
        tool.ok("switchover")
        assert pair.new.value("select count(*) from shop.customer where name = 'p'") == 1
    finally:
        for (name,) in pair.old.sql("select gid from pg_prepared_xacts where database = current_database()"):
            pair.old.sql(f"rollback prepared '{name}'")
    end(run)


def test_sequence_that_others_use(one_pair, tool):
    """Numbers of a sequence that is moved back again would be given out twice."""
    pair = one_pair
    prepare(pair)
    pair.old.psql("create sequence shop.numbers; create table crm.more (id int primary key default nextval('shop.numbers'))")
    done = tool.run("upgrade", "--schema", "shop")
    assert done.rc == REFUSED and "selection-sequence" in done.err, done
    assert "crm.more needs sequence shop.numbers" in tool.run("check", "--schema", "shop").out
    assert tool.run("check", "--schema", "shop", "--accept", "selection-sequence").rc == DONE


def test_odd_names(one_pair, tool):
    """Names full of what has a meaning somewhere: in patterns, in pg_dump's arguments and headers, in options."""
    pair = one_pair
    odd = ['--table', 'a.b', 'A*?', 'q"u"o', "*", "SCHEMA x", "ünï✓", "é" * 31, "x" * 63, "a,b", " "]
    for name in odd:
        quoted = '"' + name.replace('"', '""') + '"'
        pair.old.psql(f"""
            create schema {quoted};
            create table {quoted}.{quoted} (id serial primary key, {quoted} text);
            create table {quoted}."other" (id int primary key);
            create function {quoted}.{quoted}() returns int language sql as 'select 1';
            create type {quoted}."ty pe" as enum ({"'" + "x" + "'"});
            comment on table {quoted}.{quoted} is 'c';
            comment on schema {quoted} is 'of {name.replace("'", "")}';
            grant usage on schema {quoted} to public;
            insert into {quoted}.{quoted} ({quoted}) values ('v');
        """)
    chosen = [n for n in odd if "," not in n]
    options = []
    for name in chosen:
        quoted = '"' + name.replace('"', '""') + '"'
        options += [f"--schema={quoted}", f"--exclude-table={quoted}.other"]
    options += ["--table", "a?b.*", "--exclude-table", "a?b.other"]
    end(follow(tool, *options))
    run = follow(tool)
    tool.ok("switchover")
    for name in odd:
        quoted = '"' + name.replace('"', '""') + '"'
        assert pair.new.value(f"select count(*) from {quoted}.{quoted}") == 1, name
        assert pair.new.value("select to_regclass(%s) is null", (f"{quoted}.other",)), name
        if name in chosen:
            assert pair.new.value(f"select {quoted}.{quoted}()") == 1
            assert pair.new.value("select obj_description(oid) from pg_namespace where nspname = %s", (name,)), name
            assert pair.new.value("select nspacl is not null from pg_namespace where nspname = %s", (name,)), name
    tool.ok("rollback")
    end(run)
    tool.ok("abort")
    assert pair.new.value("select count(*) from pg_namespace where nspname !~ '^pg_' and nspname not in ('public', 'information_schema')") == 0


def test_two_runs_at_once(one_pair, tool):
    pair = one_pair
    prepare(pair)
    pair.old.psql("create schema two; create table two.t (id int primary key)")
    end(follow(tool, "--schema", "two"))
    other = pair.new.cluster.create_db()
    second = pair.tool(target=pair.new.cluster.conninfo(other))
    before = catalog_fingerprint(pair.old.connect())
    for command in ("check", "upgrade", "status", "switchover", "abort"):
        done = second.run(command, "--schema", "shop")
        assert done.rc == FAILED and "the source is in a run" in done.err, done
    assert_same_catalog(before, catalog_fingerprint(pair.old.connect()))
    follow(tool)
    tool.ok("switchover")


@pytest.mark.parametrize("number, goes_on", [(1, True), (2, False)])
def test_killed_while_a_partition_comes(one_pair, tool, number, goes_on):
    """Made there, but not attached yet: it is ours, whatever its name, for whoever goes on and for abort."""
    pair = one_pair
    prepare(pair)
    pair.old.sql("create sequence crm.note_seq owned by crm.note.id")
    clean = catalog_fingerprint(pair.new.connect())
    end(follow(tool, "--schema", "shop"))
    pair.old.sql("alter table shop.part attach partition crm.note for values in ('z')")
    assert tool.run("upgrade", fault=f"ddl.one:kill:{number}").rc == -9
    assert pair.new.value("select count(*) from pg_class where relnamespace = 'crm'::regnamespace") > 0
    if goes_on:
        run = follow(tool)
        tool.ok("switchover")
        assert pair.new.sql("select id from shop.part order by 1") == [(1,), (5,)]
        tool.ok("rollback")
        end(run)
    tool.ok("abort")
    assert_same_catalog(clean, catalog_fingerprint(pair.new.connect()))


def test_partition_in_a_schema_that_is_new(one_pair, tool):
    pair = one_pair
    prepare(pair)
    end(follow(tool, "--schema", "shop"))
    pair.old.psql("create schema fresh; create table fresh.f partition of shop.part for values in ('f');"
                  "insert into shop.part values (9, 'f', 'x')")
    run = follow(tool)
    tool.ok("switchover")
    assert pair.new.value("select count(*) from fresh.f") == 1
    end(run)


def test_extension_in_a_selected_schema(one_pair, tool):
    """What extensions have there is on both nodes, as it must be, and nobody's copy."""
    pair = one_pair
    prepare(pair, "create schema shop")
    for node in (pair.old, pair.new):
        node.psql("""
            create table shop.of_extension (id int primary key);
            create view shop.statements as select 1 as a;
            create function shop.helper(int) returns int language sql immutable as 'select 1';
            alter extension plpgsql add table shop.of_extension;
            alter extension plpgsql add view shop.statements;
            alter extension plpgsql add function shop.helper(int);
            insert into shop.of_extension values (1);
        """)
    pair.old.psql("create view shop.uses as select shop.helper(id) from shop.customer")
    pair.new.sql("insert into shop.of_extension values (2)")
    clean = catalog_fingerprint(pair.new.connect())
    run = follow(tool, "--schema", "shop")
    tool.ok("switchover")
    tool.ok("rollback")
    end(run)
    tool.ok("abort")
    assert_same_catalog(clean, catalog_fingerprint(pair.new.connect()))
    assert pair.new.value("select count(*) from shop.of_extension") == 2
    pair.new.psql("create table shop.real (id int)")
    pair.old.psql("create table shop.real (id int primary key)")
    assert "shop.real" in tool.run("check", "--schema", "shop").out


@pytest.mark.parametrize("fault", ["abort.source:kill", "abort.dropped:kill:2"])
def test_abort_that_was_killed(one_pair, tool, fault):
    """The source is free by then, and drops what the copy has; others take names that have become free."""
    pair = one_pair
    prepare(pair)
    pair.old.psql("""
        create function shop.f(text, int[]) returns int language sql as 'select 1';
        create type shop.mood as enum ('well');
        create domain shop.age as int check (value > 0);
        create type shop.both as (a int, b shop.age);
    """)
    clean = catalog_fingerprint(pair.new.connect())
    end(follow(tool, "--schema", "shop"))
    assert tool.run("abort", fault=fault).rc == -9
    pair.old.psql("drop schema shop cascade")
    pair.new.psql("create table crm.note (id int primary key); insert into crm.note values (77)")
    tool.ok("abort")
    assert pair.new.sql("select id from crm.note") == [(77,)]
    pair.new.sql("drop table crm.note")
    assert_same_catalog(clean, catalog_fingerprint(pair.new.connect()))


def test_tables_that_enter_and_leave(one_pair, tool):
    """By renames, SET SCHEMA and CREATE, with writers; others' names of the other node are left alone throughout."""
    pair = one_pair
    prepare(pair, "create table crm.more (id int primary key); insert into crm.more values (1);"
                  "create table public.v_other (id int primary key); insert into public.v_other values (1)")
    pair.old.psql("""
        create table crm.more (id int primary key, v text);
        insert into crm.more select i, 'm' from generate_series(1, 30) i;
        create table public.v_one (id int primary key, v text);
        create table public.w_two (id int primary key, v text);
        insert into public.w_two values (1, 'two');
    """)
    run = follow(tool, "--schema", "shop", "--table", "public.v_on*")
    pair.old.psql("alter table crm.more set schema shop; insert into shop.more values (31, 'n');"
                  "alter table public.w_two rename to v_ontwo; update public.v_ontwo set v = 'carried'")
    pair.old.sql("drop table shop.customer")
    tool.ok("switchover")
    assert pair.new.value("select count(*) from shop.more") == 31
    assert pair.new.sql("select v from public.v_ontwo") == [("carried",)]
    assert pair.new.value("select to_regclass('shop.customer') is null")
    assert pair.new.sql("select id from crm.more") == [(1,)]
    pair.new.psql("insert into shop.more values (32, 'o'); alter table public.v_one rename to v_only")
    tool.ok("rollback")
    assert pair.old.value("select count(*) from shop.more") == 32
    assert pair.old.value("select to_regclass('public.v_only') is not null")
    pair.old.sql("alter table public.v_only rename to v_other")
    done = tool.run("switchover")
    assert done.rc != DONE and "not in the selection any more" in done.err, done
    pair.old.sql("insert into public.v_other values (5, 'meanwhile'); alter table public.v_other rename to v_one2")
    end(run)
    run = follow(tool)
    tool.ok("switchover")
    assert pair.new.sql("select id from public.v_one2") == [(5,)]
    assert pair.new.sql("select id from public.v_other") == [(1,)]
    end(run)
    tool.ok("finish")


@pytest.mark.parametrize("kind, ending", [("superuser", "rollback"), ("owner", "finish")])
def test_foreign_key_out_whose_rows_go(one_pair, ordinary, kind, ending):
    """After the switch the tables that stay go on without asking the old copy, and the key comes back on it for new
    rows; it does not claim to hold for those that were written without it."""
    pair = one_pair
    role = f"set role {ordinary(pair)};" if kind == "owner" else ""
    pair.old.psql(f"""{role}
        create schema mine;
        create table public.base (id int primary key);
        create table mine.t (id int primary key, b int constraint leads_out references public.base on delete cascade);
        insert into public.base select generate_series(1, 10);
        insert into mine.t select i, i from generate_series(1, 10) i;
    """)
    tool = pair.tool()
    run = follow(tool, "--schema", "mine", "--accept", "foreign-key-out")
    tool.ok("switchover")
    run.wait_for_output(r"in sync", timeout=60)
    pair.old.sql("delete from public.base where id > 5")
    pair.new.sql("insert into mine.t values (11, 999)")
    done = tool.ok(ending)
    if ending == "rollback":
        run.wait_for_output(r"in sync", timeout=60)
        tool.ok("verify")
        pair.old.sql("insert into mine.t values (12, 1)")
    end(run)
    assert "leads_out" in (run.text if ending == "rollback" else done.err)
    assert pair.old.value("select convalidated from pg_constraint where conname = 'leads_out'") is False
    assert pair.old.value("select count(*) from mine.t") == (12 if ending == "rollback" else 11)
    with pytest.raises(psycopg2.errors.ForeignKeyViolation):
        pair.old.sql("insert into mine.t values (13, 999)")
