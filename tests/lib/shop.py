"""A small shop with an upgrade that follows it and somebody who writes all the time, for tests of DDL."""

import threading

import psycopg2

from lib.compare import assert_same_content

SHOP = """
    create table item (id int primary key, name text not null, price numeric(10,2) default 1);
    insert into item select i, 'item ' || i, i from generate_series(1, 200) i;
    create table tag (code text primary key, note text);
    insert into tag select 'c' || i, 'note' from generate_series(1, 50) i;
    create table log (at timestamptz default now(), line text);
    insert into log (line) values ('first');
    create table part (id int, region text, v text, primary key (id, region)) partition by list (region);
    create table part_a partition of part for values in ('a');
    create table part_b partition of part for values in ('b');
    insert into part select i, case i % 2 when 0 then 'a' else 'b' end, 'v' from generate_series(1, 50) i;
    create table old_things (id int primary key);
    insert into old_things values (1);
    create type mood as enum ('bad', 'good');
    create view cheap as select id, name from item where price < 50;
    create function twice(int) returns int language sql as 'select $1 * 2';
"""


class Load(threading.Thread):
    """Somebody who writes into all tables of the shop, whatever is done to them; errors are kept."""

    def __init__(self, node):
        super().__init__(daemon=True)
        self.node, self.stopped, self.errors, self.done = node, threading.Event(), [], 0
        self.start()

    def run(self):
        connection = self.node.connect()
        number = 1000
        while not self.stopped.wait(0.01):
            number += 1
            for statement in (
                f"update item set name = name || '.' where id = {number % 200 + 1}",
                f"insert into item (id, name) values ({number}, 'new')",
                f"update part set v = v || '.' where id = {number % 50 + 1}",
                f"delete from item where id = {number - 5} and id > 1000",
                f"update tag set note = note || '.' where code = 'c{number % 50 + 1}'",
            ):
                try:
                    with connection.cursor() as cursor:
                        cursor.execute(statement)
                    self.done += 1
                except psycopg2.Error as error:
                    self.errors.append(f"{statement}: {error}")
        connection.close()

    def stop(self):
        self.stopped.set()
        self.join(20)


class Shop:
    def __init__(self, pair, tool, run, load):
        self.old, self.new, self.tool, self.run, self.load = pair.old, pair.new, tool, run, load

    def rest(self):
        self.load.stop()
        return self.load.errors

    def switch(self, *options):
        """Switches under load, then compares; returns what the switch wrote."""
        done = self.tool.ok("switchover", *options)
        self.rest()
        self.tool.ok("verify")
        assert_same_content(self.old.connect(), self.new.connect())
        return done

    def end(self):
        if self.run.running:
            self.run.sigint()
        return self.run.wait()


def begin(pair, more="", jobs=2):
    """The shop with load, already followed."""
    pair.old.sql(SHOP + more)
    tool = pair.tool(client_version=pair.new.version)
    load = Load(pair.old)
    run = tool.start("upgrade", "--jobs", str(jobs))
    run.wait_for_output(r"in sync", timeout=90)
    return Shop(pair, tool, run, load)
