-- What lib/contents.py creates on the old node: everything that ordinary databases contain.
-- A section holds for servers since its version. $owner and $reader are roles.

-- since 0
create schema kinds;
create schema "Odd ""Schema"" .%\ ü";
create schema empty;
create type kinds.mood as enum ('sad', 'o''k', 'happy "x"', 'ü');
create type kinds."Pair, of" as (a int, "B b" text);
create domain kinds."Posi tive" as int check (value > 0);
create domain kinds.filled as text not null check (value <> '-');
create domain kinds.deep as kinds.filled default 'deep';
create function kinds.doubled(int) returns int language sql immutable as 'select $1 * 2';
create function kinds.noted() returns trigger language plpgsql as $body$
--
-- Name: not_a_table; Type: TABLE; Schema: public; Owner: nobody
--
begin
  -- what the user's triggers do would double rows on the copy
  insert into kinds.notes (what) values (tg_name || ' ' || tg_op || ' ' || tg_table_name);
  if tg_level = 'STATEMENT' then return null; end if;
  if tg_op = 'DELETE' then return old; end if;
  return new;
end $body$;
create table kinds.notes (id bigserial primary key, what text);

-- since 120000
create collation kinds.nocase (provider = icu, locale = 'und-u-ks-level2', deterministic = false);

-- since 0
create table kinds.every (
    id serial primary key,
    "i2" int2, i4 int4, i8 int8, n numeric, n2 numeric(12,3), f4 float4, f8 float8, m money,
    t text, v varchar(20), c char(7), "char" "char", nm name, b bytea, bo bool,
    d date, ti time, tz timetz, ts timestamp, tstz timestamptz, iv interval,
    u uuid, i inet, ci cidr, mac macaddr, j json, x xml, tv tsvector, tq tsquery,
    bi bit(5), bv varbit, po point, ln line, bx box, pa path, pg polygon, cr circle,
    ai int[], aai int[][], at text[], r int4range, rt tstzrange, e kinds.mood, ae kinds.mood[],
    co kinds."Pair, of", aco kinds."Pair, of"[], dm kinds."Posi tive", df kinds.filled default 'x',
    dd kinds.deep default 'y', hs ext.hstore, ct ext.citext, lt ext.ltree, o oid, rc regclass, snap txid_snapshot
);
insert into kinds.every (i2, i4, i8, n, n2, f4, f8, m, t, v, c, "char", nm, b, bo, d, ti, tz, ts, tstz, iv, u, i, ci, mac,
    j, x, tv, tq, bi, bv, po, ln, bx, pa, pg, cr, ai, aai, at, r, rt, e, ae, co, aco, dm, df, dd, hs, ct, lt, o, rc, snap)
values
  (-32768, -2147483648, -9223372036854775808, 'NaN', -123456789.123, 'NaN', 'Infinity', '-12345.67', E'tab\there\nline\\ \\N \r \x01', '\N', 'a  ', 'x', 'na me',
   '\x00ff5c0a', true, '0044-03-15 BC', '24:00', '23:59:59.999999+14', '-infinity', 'infinity', '-1 years -2 mons +3 days -04:05:06.789',
   'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', '::1/128', '10.1.0.0/16', '08:00:2b:01:02:03', '{"a" : 1 , "a": "\u00e4"}', '<a>&amp;</a>', 'a:1A b:2', 'a & !b',
   '10101', '', '(1.1,-2.2)', '{1,2,3}', '(1,1),(0,0)', '[(0,0),(1,1)]', '((0,0),(1,1),(1,0))', '<(0,0),1.5>', '{}', '{{1,2},{3,null}}',
   array[E'a"b\\c', '', null, 'NULL', E'{,}\n'], 'empty', '[2020-01-01,)', 'o''k', array['ü','happy "x"']::kinds.mood[],
   row(1, E'x,"(\\y'), array[row(null, ''), row(2, null)]::kinds."Pair, of"[], 7, '', 'a', '"a b"=>"1", c=>NULL', 'MiXed', 'Top.Science', 4294967295, 'pg_class', '10:20:10,14,15'),
  (32767, 2147483647, 9223372036854775807, '1e100', 0.001, '-Infinity', '-0', '0', '', '', '', '', '', '', false, 'infinity', '00:00', '00:00-14', '4713-01-01 BC', '294276-12-31 23:59:59.999999+00',
   '178000000 years', '00000000-0000-0000-0000-000000000000', '255.255.255.255', '::/0', 'ff:ff:ff:ff:ff:ff', 'null', '', '', '', '00000', '1', '(NaN,1e308)', '{0,1,0}', null, '((1,1),(2,2))', null, null,
   '[-1:1]={1,2,3}', '{}', '{}', '(,)', '(,)', 'sad', '{}', null, '{}', 1, ' ', ' ', '', '', '', 0, null, null),
  (1, 1, 1, 0.1, 0.1, 0.1, 0.1, 1, repeat('wide ü ', 3000), null, null, null, null, decode(repeat('00fe', 20000), 'hex'), null, null, null, null, null, null, null, null, null, null, null,
   null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, 'f', 'g', null, null, null, null, null, null);

-- since 90400
alter table kinds.every add jb jsonb default '{"b": [1.0, "\u00e4"], "a": null}';

-- since 100000
alter table kinds.every add mac8 macaddr8 default '08:00:2b:01:02:03:04:05';

-- since 120000
alter table kinds.every add jp jsonpath default '$.a[*] ? (@ > 1)';

-- since 130000
alter table kinds.every add x8 xid8 default '12';

-- since 140000
alter table kinds.every add mr int4multirange default '{[1,3),[7,9)}';

-- since 0
-- keys that are not primary keys, of several columns, deferrable; tables without a key
create table kinds.several (a int, b text collate "C", c date, note text, primary key (c, a, b));
create table kinds.collations (a text collate "C", b text, c varchar(9), note text, primary key (a, b, c));
create table kinds.unique_only (id int not null, code varchar(20) not null, note text);
create unique index on kinds.unique_only (code);
create unique index on kinds.unique_only (lower(note)) where id < 0;
create table kinds.swapped (id int primary key, rank int not null unique, title text);
insert into kinds.swapped select n, n, 'title ' || n from generate_series(1, 40) n;
create table kinds.deferred (id int primary key deferrable initially deferred, rank int unique deferrable, note text);
insert into kinds.deferred select n, n, '' from generate_series(1, 40) n;
create table kinds.excluded (id int primary key, during int4range, exclude using gist (during with &&));
insert into kinds.excluded select n, int4range(n * 10, n * 10 + 10) from generate_series(1, 30) n;
create table kinds.only_key (id int primary key);
create table kinds.only_key_text (id text, part int, primary key (id, part));
create table kinds.no_rows (id int primary key, t text);
create table kinds.no_key (a int, t text);
insert into kinds.no_key select n, null from generate_series(1, 20) n, generate_series(1, 2);
create table kinds.no_key_still (a int);
insert into kinds.no_key_still values (1), (1), (null);
create table kinds.no_columns ();
insert into kinds.no_columns default values;
create unlogged table kinds.unlogged (id serial primary key, t text);
create table kinds.wide_rows (id int primary key, a text, b bytea);
create table kinds.dropped (gone int, id int primary key, also_gone text, note text);
insert into kinds.dropped select n, n, 'x', 'note' from generate_series(1, 20) n;
alter table kinds.dropped drop gone, drop also_gone, add later int default 7;
create table kinds.not_null (id int primary key, a kinds.filled, b kinds.deep);
create index on kinds.every using gin (tv);
create index on kinds.every (lower(t)) where t <> repeat('wide ü ', 3000);
create index on kinds.every using gist (po);

-- sequences
create sequence kinds.free;
create sequence kinds.down increment -3 maxvalue 100 start 100 minvalue -1000000;
create sequence kinds.cached cache 50;
create sequence kinds.cycling maxvalue 5 cycle;
create sequence kinds.never start 77;
create sequence kinds.half;
select setval('kinds.half', 42, false);
create sequence kinds."S eq""%\ ü";
select nextval('kinds.free'), nextval('kinds.down'), nextval('kinds.cached');

-- odd names
create table "Odd ""Schema"" .%\ ü"."Ta ble.""x"" %s\ é" (
    "Key; Type: TABLE" int, "se cond'" text, "%d ""v""" text, "\.a" int default 3,
    constraint "pk ""%\" primary key ("se cond'", "Key; Type: TABLE"),
    constraint "ch eck" check ("\.a" > 0));
insert into "Odd ""Schema"" .%\ ü"."Ta ble.""x"" %s\ é" select n, 'k''' || n, '%', n from generate_series(1, 20) n;
create index "In dex""é%" on "Odd ""Schema"" .%\ ü"."Ta ble.""x"" %s\ é" ("%d ""v""");
create table "Odd ""Schema"" .%\ ü"."select" ("from" serial primary key, "where" int,
    constraint "f k""%" foreign key ("where") references "Odd ""Schema"" .%\ ü"."select");
create table kinds."new
line" ("a
b" int primary key, parent int constraint "fk
two" references kinds."new
line");
insert into kinds."new
line" values (1, null), (2, 1);

-- foreign keys: cycles, self references, all actions
create table kinds.boss (id int primary key, deputy int, up int references kinds.boss on delete set null);
create table kinds.clerk (id int primary key, boss int references kinds.boss on update cascade on delete cascade,
                          buddy int references kinds.clerk deferrable initially deferred);
alter table kinds.boss add constraint "boss deputy" foreign key (deputy) references kinds.clerk on delete set null deferrable initially deferred;
comment on constraint "boss deputy" on kinds.boss is 'it''s a cycle';
create table kinds.paper (id int primary key, clerk int not null default 1 references kinds.clerk on update cascade on delete cascade, t text);
create table kinds.stamp (paper int primary key references kinds.paper on delete restrict, t text);
create table kinds.unchecked (id int primary key, boss int);
insert into kinds.boss select n, null, case when n > 1 then n / 2 end from generate_series(1, 40) n;
insert into kinds.clerk select n, n % 40 + 1, n from generate_series(1, 80) n;
update kinds.boss set deputy = id;
insert into kinds.paper select n, n % 80 + 1, 'paper' from generate_series(1, 120) n;
insert into kinds.stamp values (1, 'stamp');
insert into kinds.unchecked values (1, 4711), (2, 1);
alter table kinds.unchecked add constraint later foreign key (boss) references kinds.boss not valid;
alter table kinds.unchecked add constraint ch check (id > 1) not valid;

-- triggers and rules in every state
create table kinds.guarded (id int primary key, t text, changed int default 0);
create trigger a_row before insert or update on kinds.guarded for each row execute procedure kinds.noted();
create trigger always_row after insert or update or delete on kinds.guarded for each row execute procedure kinds.noted();
create trigger replica_row after insert or update or delete on kinds.guarded for each row execute procedure kinds.noted();
create trigger disabled_row after insert or update or delete on kinds.guarded for each row execute procedure kinds.noted();
create trigger "St atement" after insert or update or delete on kinds.guarded execute procedure kinds.noted();
create trigger always_statement before insert or update or delete or truncate on kinds.guarded execute procedure kinds.noted();
create constraint trigger deferred_row after insert on kinds.guarded deferrable initially deferred for each row execute procedure kinds.noted();
alter table kinds.guarded enable always trigger always_row, enable always trigger always_statement,
    enable replica trigger replica_row, disable trigger disabled_row;
create table kinds.ruled (id int primary key, t text);
create table kinds.ruled_log (id bigserial primary key, t text);
create rule "Lo gged" as on insert to kinds.ruled do also insert into kinds.ruled_log (t) values ('insert ' || new.id);
create rule logged_always as on update to kinds.ruled do also insert into kinds.ruled_log (t) values ('always ' || new.id);
create rule logged_replica as on update to kinds.ruled do also insert into kinds.ruled_log (t) values ('replica ' || new.id);
create rule kept as on delete to kinds.ruled where old.id % 3 = 0 do instead update kinds.ruled set t = 'kept' where id = old.id;
create rule off as on insert to kinds.ruled do instead nothing;
alter table kinds.ruled enable always rule logged_always;
alter table kinds.ruled enable replica rule logged_replica;
alter table kinds.ruled disable rule off;

-- inheritance, also from a parent with a key to children without
create table kinds.animal (id int primary key, name text);
create table kinds.dog (breed text, primary key (id)) inherits (kinds.animal);
create table kinds.puppy (age int, primary key (id)) inherits (kinds.dog);
create table kinds.cat (lives int) inherits (kinds.animal);
insert into kinds.animal select n, 'animal' from generate_series(1, 20) n;
insert into kinds.dog select n, 'dog', 'b' from generate_series(101, 120) n;
insert into kinds.puppy select n, 'puppy', 'p', n from generate_series(201, 220) n;
insert into kinds.cat select n, 'cat', 7 from generate_series(301, 320) n;

-- views, functions and so on
create view kinds.counted as select id, t, count(*) as n from kinds.no_rows group by id;
create view kinds.simple with (security_barrier) as select id, note from kinds.dropped where id > 0 with local check option;
create materialized view kinds.totals as select count(*) as n, sum(id) as s from kinds.swapped;
create materialized view kinds."a of totals" as select n + 1 as m from kinds.totals;
create unique index on kinds.totals (n);
create materialized view kinds.unfilled as select 1 as one with no data;
create materialized view kinds.by_key as select id, rank, count(*) as n from kinds.swapped group by id;
create function kinds.added(state int, x int) returns int language sql immutable as 'select coalesce($1, 0) + coalesce($2, 0)';
create aggregate kinds.summed(int) (sfunc = kinds.added, stype = int);
create aggregate public.counted(*) (sfunc = int8inc, stype = int8, initcond = '0');
create function public."F %s ""x"""(a text default 'x;--', variadic b int[] default '{}') returns setof kinds.dropped stable
    language sql set search_path = kinds as 'select * from kinds.dropped';
create function public.same(int, int) returns bool language sql immutable as 'select $1 = $2';
create operator public.=== (leftarg = int, rightarg = int, procedure = public.same, commutator = operator(public.===));
create operator public.!! (rightarg = int, procedure = kinds.doubled);
create type public.floats as range (subtype = float8);
create type public.point3 as (x int, y int, z int);
create domain public.short as varchar(5);
create function public.to_int(public.point3) returns int language sql as 'select $1.x';
create cast (public.point3 as int) with function public.to_int(public.point3);
create text search dictionary public.plain (template = simple);
create text search configuration public.conf (copy = simple);
create table public.policed (id int primary key, who text, amount int);

-- since 90500
alter table public.policed enable row level security;
create policy "Po licy" on public.policed for select to $reader using (who = current_user);

-- since 0
comment on table public.policed is E'a ''comment'';\n-- Name: x; Type: y\n\\ of two lines';
comment on column public.policed.who is 'who %';
comment on schema kinds is 'kinds';
comment on index kinds.totals_n_idx is 'index';
comment on function public.same(int, int) is 'same';
comment on trigger a_row on kinds.guarded is 'trigger';
grant all on schema kinds, public to $owner;
grant usage on schema kinds to $reader;
grant usage on schema public to $reader;
grant select on all tables in schema kinds to $reader;
grant select (id), update (amount) on public.policed to public;
grant select on public.policed to $reader with grant option;
revoke all on function public.same(int, int) from public;
grant execute on function public.same(int, int) to $reader;
grant usage on sequence kinds.free to $reader;
grant usage on type kinds.mood to $reader;
alter default privileges in schema public grant select on tables to $reader;
alter default privileges grant execute on functions to $reader;

-- since 100000
create table kinds.ident_always (a int, id int generated always as identity primary key, t text);
create table kinds.ident_default (id bigint generated by default as identity (start 10 increment 5) primary key, t text);
create table kinds.ident_other (id int primary key, n int generated always as identity, t text);
insert into kinds.ident_other (id, t) select n, 'x' from generate_series(1, 30) n;
create sequence kinds.small as smallint;
select nextval('kinds.small');
create statistics kinds.stats on id, rank from kinds.swapped;

-- partitioned tables; their roots have no key yet
create table kinds.ranged (id int not null, day date not null, t text) partition by range (day);
create table kinds.ranged_1 partition of kinds.ranged for values from (minvalue) to ('2024-02-01');
create table kinds."Ranged 2" partition of kinds.ranged for values from ('2024-02-01') to ('2024-03-01') partition by list (id);
create table kinds.ranged_2a partition of kinds."Ranged 2" for values in (0, 1, 2, 3, 4, 5, 6, 7, 8, 9);
create table kinds.ranged_3 (extra int, t text, day date not null, id int not null);
alter table kinds.ranged_3 drop extra;
alter table kinds.ranged attach partition kinds.ranged_3 for values from ('2024-03-01') to (maxvalue);
create table kinds.listed (id int not null, region text, t text) partition by list (region);
create table kinds.listed_a partition of kinds.listed for values in ('a', null);
create table kinds.listed_b partition of kinds.listed for values in ('b');
create unique index on kinds.listed_a (id);
alter table kinds.listed_b add primary key (id);
create table kinds.half_keyed (id int not null, t text) partition by range (id);
create table kinds.half_keyed_1 partition of kinds.half_keyed (primary key (id)) for values from (0) to (30);
create table kinds.half_keyed_2 partition of kinds.half_keyed for values from (30) to (100);
create table kinds.no_leaf (id int, t text) partition by list (id);

-- since 100000
insert into kinds.listed select n, case when n % 3 > 0 then 'a' else 'b' end, 'old' from generate_series(1, 30) n;

-- since 110000
create table kinds.ranged_2b partition of kinds."Ranged 2" default;
alter table kinds.ranged add primary key (id, day);
create table kinds.hashed (id int primary key, t text, up int) partition by hash (id);
create table kinds.hashed_0 partition of kinds.hashed for values with (modulus 2, remainder 0);
create table kinds.hashed_1 partition of kinds.hashed for values with (modulus 2, remainder 1);
-- before 13 none but a superuser may switch such a trigger off, and check refuses the run
do $$ begin if current_setting('server_version_num')::int >= 130000 or current_setting('is_superuser')::bool then
    create trigger on_each after insert or update or delete on kinds.hashed for each row execute procedure kinds.noted();
    create trigger on_each_always after insert or update or delete on kinds.hashed for each row execute procedure kinds.noted();
    create trigger on_each_off after insert or update or delete on kinds.hashed for each row execute procedure kinds.noted();
    alter table kinds.hashed enable always trigger on_each_always;
    alter table kinds.hashed disable trigger on_each_off;
end if; end $$;
create index on kinds.hashed (t);
alter table kinds.hashed add constraint to_boss foreign key (up) references kinds.boss on delete set null;
create index on kinds.swapped (rank) include (title);
create procedure kinds.done(int) language plpgsql as 'begin delete from kinds.only_key where id = $1; end';

-- since 120000
create table kinds.points_at (id int primary key, h int references kinds.hashed on update cascade on delete cascade);
create table kinds.generated (id int primary key, a int, twice int generated always as (kinds.doubled(a)) stored,
                              up text generated always as (upper(t)) stored, t text);
create table kinds.generated_key (a int, id int generated always as (kinds.doubled(a)) stored primary key, t text);
create table kinds.mixed_collations (a text collate kinds.nocase, b text collate "C", t text, primary key (a, b));
create table kinds.finer_index (id int, a text collate kinds.nocase not null, t text);
create unique index on kinds.finer_index (a collate "C");
insert into kinds.finer_index values (1, 'abc', ''), (2, 'ABC', ''), (3, 'Abc', '');

-- since 150000
create table kinds.one_null (id int primary key, a int, unique nulls not distinct (a));

-- since 180000
create table kinds.virtual (id int primary key, a int, twice int generated always as (a * 2));
create table kinds.unenforced (id int primary key, boss int references kinds.boss not enforced);

-- since 0
alter table kinds.several owner to $owner;
alter table public.policed owner to $owner;
alter sequence kinds.free owner to $owner;
alter function public.same(int, int) owner to $owner;
alter view kinds.counted owner to $owner;
