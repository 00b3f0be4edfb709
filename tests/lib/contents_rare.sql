-- What lib/contents.py creates besides contents.sql when asked for what is rare: definitions that databases seldom
-- have and that pg_dump knows, and those that only a superuser can make. Sections as there.

-- since 0
create schema rare;
comment on schema rare is 'rare';
alter schema rare owner to $owner;
grant usage, create on schema rare to $reader with grant option;

-- types
create type rare.shell;
create type rare.pair as (a int, b text collate "C");
comment on type rare.pair is 'a pair';
comment on column rare.pair.b is 'its b';
alter type rare.pair owner to $owner;
revoke all on type rare.pair from public;
grant usage on type rare.pair to $reader;
create function rare.is_even(int) returns bool language sql immutable as 'select $1 % 2 = 0';
create domain rare.even as int default 4 constraint not_odd check (rare.is_even(value)) not null;
alter domain rare.even add constraint small check (value < 1000) not valid;
comment on constraint not_odd on domain rare.even is 'even';
comment on domain rare.even is 'a domain';
alter domain rare.even owner to $owner;
create domain rare.german as text collate "C" constraint filled check (value <> '');
create function rare.apart(float8, float8) returns float8 language sql immutable as 'select $1 - $2';
create type rare.span as range (subtype = float8, subtype_diff = rare.apart);
create type rare.words as range (subtype = text, collation = "C");
comment on type rare.span is 'a range';
-- a base type, by the functions of one of the server's own
create function rare.weight_in(cstring) returns rare.shell language internal immutable strict as 'int4in';
create function rare.weight_out(rare.shell) returns cstring language internal immutable strict as 'int4out';
create type rare.shell (input = rare.weight_in, output = rare.weight_out, like = int4, category = 'N', default = '7');
create type rare.hollow;
comment on type rare.shell is 'a base type';
create table rare.weighs (id int primary key, w rare.shell, ws rare.shell[]);
insert into rare.weighs select n, n::text::rare.shell, array[n::text::rare.shell] from generate_series(1, 5) n;

-- functions
create function rare.all_of(in a int, inout b text default 'x', out c numeric, variadic d anyarray default '{}'::int[])
    language plpgsql volatile called on null input security definer cost 7 set work_mem = '1MB' set search_path = rare, pg_temp as
    $body$ begin c := a; end $body$;
create function rare.many(a int) returns table (x int, "y y" text) language sql stable strict leakproof rows 12
    as 'select $1, ''a''';
create function rare.win(anyelement) returns anyelement language internal window immutable strict as 'window_first_value';
comment on function rare.many(int) is 'many';
alter function rare.many(int) owner to $owner;
revoke all on function rare.many(int) from public;
grant execute on function rare.many(int) to $reader with grant option;
create function rare.added(int, int) returns int language sql immutable as 'select coalesce($1, 0) + coalesce($2, 0)';
create function rare.ended(int) returns text language sql immutable as 'select ''= '' || $1';
create aggregate rare.total(int) (sfunc = rare.added, stype = int, finalfunc = rare.ended, initcond = '5');
create aggregate rare.least_of(int) (sfunc = int4smaller, stype = int, sortop = <);
comment on aggregate rare.total(int) is 'total';
alter aggregate rare.total(int) owner to $owner;
grant execute on function rare.total(int) to $reader;

-- operators and how they are used
create function rare.same(rare.pair, rare.pair) returns bool language sql immutable as 'select ($1).a = ($2).a';
create function rare.other(rare.pair, rare.pair) returns bool language sql immutable as 'select ($1).a <> ($2).a';
create operator rare.=# (leftarg = rare.pair, rightarg = rare.pair, procedure = rare.same, commutator = operator(rare.=#),
                         negator = operator(rare.<>#), restrict = eqsel, join = eqjoinsel, hashes, merges);
create operator rare.<># (leftarg = rare.pair, rightarg = rare.pair, procedure = rare.other, commutator = operator(rare.<>#),
                          negator = operator(rare.=#), restrict = neqsel, join = neqjoinsel);
comment on operator rare.=# (rare.pair, rare.pair) is 'same';
alter operator rare.<># (rare.pair, rare.pair) owner to $owner;
create operator family rare.backward using btree;
create operator class rare.int4_backward for type int4 using btree family rare.backward as
    operator 1 >, operator 2 >=, operator 3 =, operator 4 <=, operator 5 <, function 1 btint4cmp(int4, int4);
comment on operator class rare.int4_backward using btree is 'backward';
comment on operator family rare.backward using btree is 'family';
alter operator family rare.backward using btree add operator 3 = (int4, int8);
alter operator class rare.int4_backward using btree owner to $owner;

-- casts, conversions, collations
create function rare.to_text(rare.pair) returns text language sql immutable as 'select ($1).b';
create cast (rare.pair as text) with function rare.to_text(rare.pair) as assignment;
create cast (rare.span as text) with inout as implicit;
create cast (rare.shell as int4) without function;
comment on cast (rare.pair as text) is 'cast';
create conversion rare."con version" for 'UTF8' to 'LATIN1' from utf8_to_iso8859_1;
comment on conversion rare."con version" is 'conversion';
alter conversion rare."con version" owner to $owner;
create collation rare.posix from "C";
comment on collation rare.posix is 'collation';
alter collation rare.posix owner to $owner;

-- text search
create text search dictionary rare.stem (template = snowball, language = german, stopwords = german);
create text search dictionary rare.alike (template = simple, accept = false);
create text search configuration rare.search (parser = "default");
alter text search configuration rare.search add mapping for asciiword, word with rare.alike, rare.stem, simple;
alter text search configuration rare.search add mapping for int with simple;
create text search template rare.form (init = dsimple_init, lexize = dsimple_lexize);
create text search parser rare.cut (start = prsd_start, gettoken = prsd_nexttoken, end = prsd_end, lextypes = prsd_lextype);
comment on text search dictionary rare.stem is 'dictionary';
comment on text search configuration rare.search is 'configuration';
comment on text search template rare.form is 'template';
comment on text search parser rare.cut is 'parser';
alter text search dictionary rare.stem owner to $owner;
alter text search configuration rare.search owner to $owner;
create table rare.searched (id int primary key, t text);
create index on rare.searched using gin (to_tsvector('rare.search', t));
insert into rare.searched select n, 'Die Häuser am Wasser ' || n from generate_series(1, 5) n;

-- foreign data
create foreign data wrapper "wrap per" options (debug 'true', "odd ""name" 'a ''value''');
create server "ser ver" type 'a type' version '1.2' foreign data wrapper "wrap per" options (host 'there', port '5');
create user mapping for $owner server "ser ver" options ("user" 'me', password 'it''s');
create user mapping for public server "ser ver";
create foreign table rare.far (id int options (column_name 'ID') not null default 3, t text collate "C" check (t <> ''))
    server "ser ver" options (table_name 'far away');
comment on foreign data wrapper "wrap per" is 'wrapper';
comment on server "ser ver" is 'server';
comment on foreign table rare.far is 'far';
comment on column rare.far.t is 'far t';
alter foreign table rare.far alter t set statistics 33;
alter server "ser ver" owner to postgres;
grant usage on foreign data wrapper "wrap per" to $owner;
grant usage on foreign server "ser ver" to $reader with grant option;
grant select (t), insert on rare.far to $reader;
alter foreign table rare.far owner to $owner;

-- how tables are stored
create table rare.stored (id int primary key, a text, b text, c numeric, d xml, e int[])
    with (fillfactor = 70, autovacuum_enabled = false, autovacuum_vacuum_scale_factor = 0.4, toast.autovacuum_enabled = false);
alter table rare.stored alter a set storage external, alter b set storage main, alter b set statistics 500,
    alter c set (n_distinct = -0.5, n_distinct_inherited = 100), alter d set storage extended;
create index stored_lower on rare.stored (lower(a) collate "C" text_pattern_ops desc nulls last, b) with (fillfactor = 55)
    where b is not null;
create index stored_hash on rare.stored using hash (a);
create index stored_gin on rare.stored using gin (e) with (fastupdate = off);
create unique index stored_backward on rare.stored (id rare.int4_backward);
comment on index rare.stored_lower is 'lower';
alter table rare.stored cluster on stored_pkey;
comment on constraint stored_pkey on rare.stored is 'key';
comment on table rare.stored is 'stored';
create table rare.typed of rare.pair (primary key (a), b with options default 'typed' check (b <> ''));
create unlogged table rare.unlogged (id int primary key, t text);
create table rare.checks (id int primary key, a int constraint positive check (a > 0) no inherit, b int,
                          constraint sum check (a + b < 1000), unique (a, b) with (fillfactor = 60));
comment on constraint positive on rare.checks is 'positive';
create table rare.apart_from (id int primary key, room int, during tsrange, who text,
    constraint no_overlap exclude using gist (room with =, during with &&) where (who is not null) deferrable initially deferred);
create table rare.links (id int primary key, a int, b int,
    constraint full_match foreign key (a, b) references rare.checks (a, b) match full on update set null on delete set default
        deferrable initially immediate);
grant references (id), update (a, b), insert on rare.checks to $reader;
grant all on rare.stored to $owner with grant option;
revoke delete, truncate on rare.stored from $owner;
revoke all on rare.weighs from current_user;
grant select on rare.weighs to current_user;

-- inheritance
create table rare.left_one (a int not null default 1, shared int, check (shared > 0));
create table rare.right_one (b text, shared int);
create table rare.child (own int, a int default 5, primary key (own)) inherits (rare.left_one, rare.right_one);
create table rare.adopted (a int not null, shared int, id serial primary key, constraint left_one_shared_check check (shared > 0));
-- (as pg_dump makes it: the columns of a parent come first)
alter table rare.adopted inherit rare.left_one;
insert into rare.child (own, a, shared, b) select n, n, n, 'c' from generate_series(1, 5) n;

-- sequences
create table rare.counts (id int primary key);
create sequence rare.owned increment 7 minvalue -5 maxvalue 500 start 3 cache 9 cycle owned by rare.counts.id;
alter table rare.counts alter id set default nextval('rare.owned');
comment on sequence rare.owned is 'sequence';
grant usage, select on sequence rare.owned to $reader;

-- views, and those in a circle
create view rare.writable (a, "b b") with (check_option = cascaded, security_barrier) as select id, a from rare.stored where id > 0;
alter view rare.writable alter "b b" set default 'none';
comment on view rare.writable is 'writable';
comment on column rare.writable."b b" is 'b b';
grant select ("b b"), update on rare.writable to $reader;
create recursive view rare.numbers (n) as select 1 union all select n + 1 from numbers where n < 5;
create view rare.circle as select 1 as a;
create function rare.of_circle() returns setof rare.circle language sql as 'select 1';
create or replace view rare.circle as select a from rare.of_circle();
create function rare.instead() returns trigger language plpgsql as 'begin return new; end';
create trigger in_stead instead of insert or update on rare.writable for each row execute procedure rare.instead();
create rule "de leted" as on delete to rare.writable do instead nothing;
comment on rule "de leted" on rare.writable is 'rule';
create materialized view rare.level1 (k, v) with (fillfactor = 80, autovacuum_enabled = false) as select id, a from rare.stored;
create unique index level1_k on rare.level1 (k);
alter materialized view rare.level1 cluster on level1_k;
alter materialized view rare.level1 alter v set statistics 44;
create materialized view rare.level2 as select count(*) as n from rare.level1;
create view rare.between as select n * 2 as n from rare.level2;
create materialized view rare.level3 as select n, (select count(*) from rare.level1) as m from rare.between;
comment on materialized view rare.level3 is 'level 3';
grant select on rare.between, rare.level1 to $owner;
alter materialized view rare.level3 owner to $owner;
grant select on rare.level3 to $reader;

-- triggers
create function rare.noted() returns trigger language plpgsql as 'begin return new; end';
create trigger with_all after update of a, b on rare.stored for each row when (old.a is distinct from new.a)
    execute procedure rare.noted('an ''arg''', 'x\y', '');
create constraint trigger of_two after insert on rare.checks from rare.stored deferrable initially deferred
    for each row when (new.id > 0) execute procedure rare.noted();
comment on trigger with_all on rare.stored is 'all';

-- event triggers
create function rare.on_ddl() returns event_trigger language plpgsql as 'begin end';
create event trigger "a ddl" on ddl_command_start when tag in ('CREATE FUNCTION', 'DROP FUNCTION') execute procedure rare.on_ddl();
create event trigger ddl_off on ddl_command_end execute procedure rare.on_ddl();
create event trigger ddl_always on sql_drop execute procedure rare.on_ddl();
create event trigger ddl_replica on ddl_command_end execute procedure rare.on_ddl();
alter event trigger ddl_off disable;
alter event trigger ddl_always enable always;
alter event trigger ddl_replica enable replica;
comment on event trigger "a ddl" is 'event trigger';

-- default privileges
alter default privileges for role $owner in schema rare grant insert, update on tables to $reader with grant option;
alter default privileges for role $owner grant usage on sequences to public;
alter default privileges for role $owner revoke execute on functions from public;
alter default privileges for role $reader revoke usage on types from public;
alter default privileges in schema kinds grant execute on functions to $owner;

-- extensions
comment on extension hstore is 'our own comment';

-- since 90400
alter table rare.checks replica identity using index checks_pkey;
alter table rare.stored replica identity full;
alter table rare.weighs replica identity nothing;
create function rare.percent(float8[], int) returns int language sql immutable as 'select $2';
create aggregate rare.ordered(float8 order by int) (sfunc = ordered_set_transition, stype = internal, finalfunc = percentile_disc_final, finalfunc_extra);
create function rare.taken(int, int) returns int language sql immutable as 'select coalesce($1, 0) - coalesce($2, 0)';
create aggregate rare.moved(int) (sfunc = rare.added, stype = int, msfunc = rare.added, minvfunc = rare.taken, mstype = int);

-- since 90500
create table rare.secured (id int primary key, who text, amount int);
alter table rare.secured enable row level security, force row level security;
create policy all_of_them on rare.secured to public using (true);
create policy "in sert" on rare.secured for insert to $owner, $reader with check (who = current_user and amount > 0);
create policy updated on rare.secured for update to $owner using (who = current_user) with check (amount < (select 1000));
create policy deleted on rare.secured for delete using (id in (select id from rare.counts));
comment on policy deleted on rare.secured is 'policy';
create table rare.not_secured (id int primary key, who text);
create policy waiting on rare.not_secured using (who = current_user);
create transform for int language sql (from sql with function prsd_lextype(internal), to sql with function int4recv(internal));
comment on transform for int language sql is 'transform';
create index stored_brin on rare.stored using brin (id) with (pages_per_range = 7);

-- since 90600
create function rare.parallel(int) returns int language sql immutable parallel safe as 'select $1';
create aggregate rare.in_parallel(int) (sfunc = int4pl, stype = int, combinefunc = int4pl, parallel = safe);
create access method btree_too type index handler bthandler;
comment on access method btree_too is 'access method';

-- since 100000
create policy restricting on rare.secured as restrictive for select to $reader using (amount < 100);
create trigger with_tables after update on rare.stored referencing old table as "old ones" new table as new_ones
    for each statement execute procedure rare.noted();
create statistics rare."sta tistics" (ndistinct) on a, b from rare.stored;
comment on statistics rare."sta tistics" is 'statistics';
alter statistics rare."sta tistics" owner to $owner;
alter default privileges grant usage on schemas to $reader;
create publication "pub some" for table kinds.swapped, rare.checks with (publish = 'insert, delete');
create publication pub_all for all tables with (publish = 'insert');
create publication pub_none;
comment on publication pub_none is 'publication';
alter publication pub_none owner to postgres;
create table rare.ident (id int generated always as identity (start 5 increment 5 maxvalue 5000 cycle) primary key,
                         n smallint generated by default as identity);
create collation rare.german_phone (provider = icu, locale = 'de-u-co-phonebk');
create table rare.collated (id text collate rare.german_phone primary key);
insert into rare.collated values ('ä'), ('ad'), ('az');

-- partitions: by list, range and expressions, on several levels, with definitions of their own
create table rare.regions (id int not null, region text not null, day date not null, amount numeric default 1)
    partition by list (region);
create table rare.regions_n partition of rare.regions (amount default 2, constraint of_n check (amount < 100)) for values in ('n', 'N')
    partition by range (day, ((id % 10)));
create table rare.regions_n1 partition of rare.regions_n for values from (minvalue, minvalue) to ('2024-06-01', 5)
    with (fillfactor = 50);
create table rare.regions_n2 (gone int, amount numeric, day date not null, region text not null, id int not null,
    constraint of_n check (amount < 100));
alter table rare.regions_n2 drop gone;
alter table rare.regions_n attach partition rare.regions_n2 for values from ('2024-06-01', 5) to (maxvalue, maxvalue);
create unlogged table rare.regions_s partition of rare.regions for values in ('s');
create index on rare.regions_n1 (amount);
alter table rare.regions_n2 add primary key (id);
create trigger of_a_part before insert on rare.regions_n1 for each row execute procedure rare.noted();
grant select on rare.regions to $reader;
grant insert on rare.regions_n1 to $reader;
alter table rare.regions_n1 owner to $owner;
comment on table rare.regions_n1 is 'part';
insert into rare.regions select n, (array['n', 'N', 's'])[1 + n % 3], date '2024-05-15' + n from generate_series(1, 30) n;

-- since 110000
create table rare.regions_rest partition of rare.regions default partition by hash (id, day);
create table rare.regions_h0 partition of rare.regions_rest for values with (modulus 3, remainder 0);
create table rare.regions_h1 partition of rare.regions_rest for values with (modulus 6, remainder 1);
create table rare.regions_h4 partition of rare.regions_rest for values with (modulus 6, remainder 4);
create table rare.regions_h2 partition of rare.regions_rest for values with (modulus 3, remainder 2);
insert into rare.regions select n, 'x' || n, date '2024-05-15' + n from generate_series(1, 30) n;
create index regions_day on rare.regions (day desc);
create index regions_not_yet on only rare.regions (amount);
create index regions_s_not_yet on rare.regions_s (amount);
alter index rare.regions_not_yet attach partition rare.regions_s_not_yet;
create trigger on_parts after insert on rare.regions for each row when (new.id > 0) execute procedure rare.noted('part');
create index stored_expressions on rare.stored ((a || b), (id + 1)) include (c);
alter index rare.stored_expressions alter column 1 set statistics 77;
create procedure rare.act(inout a int, b text default 'b') language plpgsql as 'begin commit; end';
comment on procedure rare.act(int, text) is 'procedure';
alter procedure rare.act(int, text) owner to $owner;
grant execute on procedure rare.act(int, text) to $reader;

-- since 120000
create access method heap_too type table handler heap_tableam_handler;
create table rare.in_heap_too (id int primary key, t text) using heap_too;
insert into rare.in_heap_too values (1, 'one');
create statistics rare.mcv (mcv, dependencies) on a, c from rare.stored;
create table rare.computed (id int primary key, a int, b int generated always as (a + 1) stored not null,
                            c text generated always as (upper(a::text) || '%') stored collate "C");
insert into rare.computed (id, a) select n, n from generate_series(1, 5) n;
create function rare.supported(int) returns int language internal immutable strict support generate_series_int4_support as 'int4abs';
create table rare.ignored_clock (id int primary key) with (vacuum_truncate = off);
create collation rare.numeric_order (provider = icu, locale = 'und-u-kn-true', deterministic = true);
create type rare.grown as enum ('a', 'z');
alter type rare.grown add value 'm' before 'z';
alter type rare.grown rename value 'a' to 'first';

-- since 130000
alter statistics rare.mcv set statistics 55;
alter table rare.computed alter c set statistics 11;
create table rare.of_parts (id int primary key, region text) partition by range (id);
create table rare.of_parts_1 partition of rare.of_parts for values from (0) to (100);
insert into rare.of_parts select n, 'r' from generate_series(1, 9) n;
create publication pub_parts for table rare.of_parts with (publish_via_partition_root = true);
alter table rare.of_parts_1 alter column region set default 'leaf';

-- since 140000
alter table rare.stored alter d set compression pglz;
create statistics rare.of_expressions on (lower(a)), (id % 10), b from rare.stored;
create function rare.standard(a int, b int default 2) returns int language sql immutable return a + b;
create function rare.standard_too() returns setof rare.checks begin atomic select * from rare.checks where id > 0; end;
create function rare.with_key() returns bigint begin atomic select count(*) from (select id, a from rare.checks group by id) x; end;
create procedure rare.gives(in b int, out a int) language sql begin atomic select b; end;
create type rare.named_multi as range (subtype = int8, multirange_type_name = rare.many_spans);
create table rare.spans (id int primary key, s rare.many_spans);
insert into rare.spans values (1, '{[1,3), [5,7)}');

-- since 150000
create view rare.invoked with (security_invoker = true) as select * from rare.stored;
create publication pub_rows for table rare.checks (id, a) where (id > 10), table rare.stored;
create publication pub_schema for tables in schema rare, table kinds.swapped;
create unlogged sequence rare.fleeting;
create table rare.sets_some (id int primary key, a int, b int,
    foreign key (a, b) references rare.checks (a, b) on delete set null (b));
alter view rare.invoked owner to $owner;

-- since 160000
alter table rare.stored alter c set storage default;

-- since 180000
create table rare.lasting (id int, during tsrange, primary key (id, during without overlaps));
alter table rare.checks add constraint named_not_null not null b not valid;
create table rare.lasting_part (id int, during tsrange, foreign key (id, period during) references rare.lasting (id, period during));
insert into rare.lasting values (1, '[2024-01-01, 2025-01-01)');
insert into rare.lasting_part values (1, '[2024-02-01, 2024-03-01)');
create table rare.never_empty (id int primary key, a int constraint "n n" not null no inherit, b int constraint named not null, c int not null);
comment on constraint named on rare.never_empty is 'not null has a name';
create table rare.heir_of_never (d int not null, constraint of_its_own not null c) inherits (rare.never_empty);
create table rare.adopted_late (id int not null, a int, b int constraint another not null, c int constraint named_here not null);
alter table rare.adopted_late inherit rare.never_empty;
create table rare.lax (id int primary key, v int constraint "not checked" check (v > 0) not enforced, w int generated always as (v + 1) virtual not null);
insert into rare.lax (id, v) values (1, -1);
create table rare.split_lax (id int primary key, v int constraint v_there not null) partition by range (id);
create table rare.split_lax_1 (id int not null, v int constraint other_name not null);
alter table rare.split_lax attach partition rare.split_lax_1 for values from (0) to (100);
