-- The replication service: its edges, and what tells that tables were altered.

-- name: shapes
-- doc: one text for the name of a table, all its columns and all its partitions, which is another one when they are altered;
-- doc: relids is an array, NULL for all tables
-- params: relids text
-- returns: relid int8, shape text
select a.attrelid::int8,
       md5(n.nspname || '.' || c.relname || ':' || string_agg(a.attnum || ':' || a.attname || ':' || a.atttypid || ':' || a.atttypmod, ',' order by a.attnum)
--@ >= 10           || case when c.relkind = 'p' then
--@ >= 10                   coalesce((with recursive tree as (
--@ >= 10                                 select i.inhrelid from pg_inherits i where i.inhparent = a.attrelid
--@ >= 10                                 union all
--@ >= 10                                 select i.inhrelid from tree t join pg_inherits i on i.inhparent = t.inhrelid)
--@ >= 10                             select string_agg(t.inhrelid::text, ',' order by t.inhrelid) from tree t), '')
--@ >= 10              else '' end
          )
  from pg_attribute a
  join pg_class c on c.oid = a.attrelid
  join pg_namespace n on n.oid = c.relnamespace
 where ($1::text is null or a.attrelid = any ($1::text::oid[]))
   and a.attnum > 0 and not a.attisdropped
   and c.relkind in ('r', 'p') and c.relpersistence <> 't'
   and n.nspname !~ '^pg_' and n.nspname not in ('information_schema', 'pgtandem')
 group by a.attrelid, c.relkind, c.relname, n.nspname

-- name: definitions_print
-- doc: changes when a table, a partition, a column or a unique index comes, goes or is altered
-- returns: print text
select md5(coalesce((select string_agg(x.line, ',' order by x.line)
  from (select c.oid || ':' || n.nspname || '.' || c.relname || ':' || a.attnum || ':' || a.attname || ':' || a.atttypid as line
          from pg_class c
          join pg_namespace n on n.oid = c.relnamespace
          join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
         where c.relkind in ('r', 'p') and c.relpersistence <> 't'
           and n.nspname !~ '^pg_' and n.nspname not in ('information_schema', 'pgtandem')
--@ >= 10         union all
--@ >= 10         select i.inhparent || '/' || i.inhrelid from pg_inherits i
        union all
        select i.indrelid || ' ' || i.indexrelid || ':' || i.indisvalid
          from pg_index i
          join pg_class c on c.oid = i.indrelid
          join pg_namespace n on n.oid = c.relnamespace
         where i.indisunique
           and n.nspname !~ '^pg_' and n.nspname not in ('information_schema', 'pgtandem')) x), ''))

-- name: edge
-- doc: what people want of an edge, and how it is; ages are seconds
-- params: edge text
-- returns: to_copy int8, paused bool, removing bool, kick_wanted int8, kick_done int8, state text, state_age float8, error text?, hint text?, error_at text?, worker text, in_step_age float8?
select (select count(*) from pgtandem.edge_table t where t.edge = e.edge and t.state in ('new', 'recopy')),
       paused, removing, kick_wanted, kick_done, state,
       extract(epoch from clock_timestamp() - state_at)::float8,
       error, hint, to_char(error_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'), worker,
       extract(epoch from clock_timestamp() - in_step_at)::float8
  from pgtandem.edge e where edge = $1

-- name: edge_tables
-- params: edge text
-- returns: schema_name text, table_name text, state text, reason text?, rows int8?, captures int, rel int8
select schema_name, table_name, state, reason, rows, captures, rel
  from pgtandem.edge_table where edge = $1 order by schema_name, table_name

-- name: try_edge_lock
-- doc: a lock of this session that only one worker of an edge can have
-- params: edge text
-- returns: locked bool
select pg_try_advisory_lock(('x' || substr(md5('pgtandem ' || $1), 1, 16))::bit(64)::int8)

-- name: edge_lock_holder
-- params: edge text
-- returns: pid int, client text
select l.pid, coalesce(host(a.client_addr), 'local')
  from pg_locks l
  left join pg_stat_activity a on a.pid = l.pid
 where l.locktype = 'advisory' and l.granted and l.objsubid = 1
   and l.database = (select d.oid from pg_database d where d.datname = current_database())
   and (l.classid::int8 << 32 | l.objid::int8) = ('x' || substr(md5('pgtandem ' || $1), 1, 16))::bit(64)::int8

-- name: unused_tabs
-- doc: captured tables that no edge reads any more; oid is 0 when the table is gone
-- returns: id int, relid int8
select t.id, coalesce((select c.oid::int8 from pg_class c join pg_namespace n on n.oid = c.relnamespace
                        where n.nspname = t.schema_name and c.relname = t.table_name), 0)
  from pgtandem.tab t
 where not exists (select 1 from pgtandem.tab_edge e where e.tab = t.id)
 order by t.id

-- name: incomplete_tabs
-- doc: relations of an edge's captured tables (NULL: of all) that have not all of our triggers, or not switched on. is_new: a
-- doc: partition that came and was never captured, so none of its rows was ever carried; else changes are missing.
-- params: edge text
-- returns: tab int, rel int8, is_new bool
with recursive tree as (
    select t.id, c.oid, c.relkind, true as root
      from pgtandem.tab t
      join pg_namespace n on n.nspname = t.schema_name
      join pg_class c on c.relnamespace = n.oid and c.relname = t.table_name
     where t.captured and ($1::text is null or exists (select 1 from pgtandem.tab_edge e where e.tab = t.id and e.edge = $1))
    union all
    select t.id, c.oid, c.relkind, false
      from tree t
      join pg_inherits i on i.inhparent = t.oid
      join pg_class c on c.oid = i.inhrelid
--@ >= 10     where c.relispartition
--@ < 10     where false
), ours as (
    -- the name of a function ends with the table's number
    select g.tgrelid, split_part(p.proname::text, '_', 2) as id, count(nullif(g.tgenabled, 'A')) = 0 as on_always,
           count(*) as n
      from pg_trigger g
      join pg_proc p on p.oid = g.tgfoid
      join pg_namespace n on n.oid = p.pronamespace and n.nspname = 'pgtandem'
     where not g.tgisinternal and p.proname <> 'gate' and g.tgrelid in (select oid from tree)
     group by 1, 2)
select t.id, t.oid::int8,
       not t.root and r.rel is null and not exists (select 1 from ours o where o.tgrelid = t.oid)
  from tree t
  left join pgtandem.tab_rel r on r.tab = t.id and r.rel = t.oid::int8
  left join ours o on o.tgrelid = t.oid and o.id = t.id::text
 where t.relkind in ('r', 'p')
   and (r.rel is null or o.n is null or o.n < r.triggers or not o.on_always)
 order by 1, 2

-- name: forget_detached
-- doc: partitions that have left an edge's tables count as new ones when they come back
-- params: edge text
-- returns: n int8
with recursive tree as (
    select t.tab, t.rel::oid as oid
      from pgtandem.tab_rel t
      join pgtandem.tab_edge e on e.tab = t.tab and e.edge = $1
     where t.root
    union all
    select t.tab, i.inhrelid from tree t join pg_inherits i on i.inhparent = t.oid
), forgotten as (
    delete from pgtandem.tab_rel r
     using pgtandem.tab_edge e
     where e.tab = r.tab and e.edge = $1 and not r.root
       and not exists (select 1 from tree t where t.tab = r.tab and t.oid = r.rel::oid)
    returning 1)
select count(*) from forgotten

-- name: edge_tabs
-- doc: the captured tables that an edge reads
-- params: edge text
-- returns: id int
select tab from pgtandem.tab_edge where edge = $1 order by tab

-- name: capture_functions
-- doc: the functions of one captured table
-- params: tab int
-- returns: name text
select p.proname::text
  from pg_proc p join pg_namespace n on n.oid = p.pronamespace
 where n.nspname = 'pgtandem' and p.proname ~ ('^[a-z]+_' || $1::int || '$')

-- name: orphan_functions
-- doc: functions of capture whose number is no captured table's, and that no trigger calls
-- returns: name text
select p.proname::text
  from pg_proc p
  join pg_namespace n on n.oid = p.pronamespace and n.nspname = 'pgtandem'
 where p.proname ~ '^[a-z]+_[0-9]+$'
   and not exists (select 1 from pgtandem.tab t where t.id::text = split_part(p.proname::text, '_', 2))
   and not exists (select 1 from pg_trigger g where g.tgfoid = p.oid)

-- name: consumers
-- doc: who reads the queue of this node, the one that is farthest behind first
-- returns: edge text, confirmed text?, detached bool, stale_s float8, detached_s float8?
select edge, confirmed, detached, extract(epoch from clock_timestamp() - confirmed_at)::float8,
       extract(epoch from clock_timestamp() - detached_at)::float8
  from pgtandem.consumer
 order by detached, txid_snapshot_xmin(confirmed::txid_snapshot) nulls first, edge

-- name: conflicts
-- doc: the conflicts that this node has kept for an edge, the newest first
-- params: edge text
-- returns: at text, schema_name text, table_name text, key text, rule text, winner text, from_row text?, to_row text?, from_at text?, to_at text?
select to_char(at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'), schema_name, table_name, key::text, rule, winner,
       from_row, to_row,
       to_char(from_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'),
       to_char(to_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')
  from pgtandem.conflict where edge = $1 order by no desc

-- name: service_is_empty
-- doc: no edge begins or ends here any more
-- returns: empty bool
select not exists (select 1 from pgtandem.consumer) and not exists (select 1 from pgtandem.edge)
       and not exists (select 1 from pgtandem.tab)
