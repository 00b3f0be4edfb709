-- The replication service: its edges, and what tells that tables were altered.

-- name: shapes
-- doc: one text for the name and all columns of a table and all its partitions, which is another one when they are
-- doc: altered; relids is an array, NULL for all tables
-- params: relids text
-- returns: relid int8, shape text
select a.attrelid::int8,
       md5(n.nspname || '.' || c.relname || '/' ||
           string_agg(a.attnum || ':' || a.attname || ':' || a.atttypid || ':' || a.atttypmod, ',' order by a.attnum)
--@ >= 10 < 12           || case when c.relkind = 'p' then
--@ >= 10 < 12                   coalesce((with recursive tree as (
--@ >= 10 < 12                                 select i.inhrelid from pg_inherits i where i.inhparent = a.attrelid
--@ >= 10 < 12                                 union all
--@ >= 10 < 12                                 select i.inhrelid from tree t join pg_inherits i on i.inhparent = t.inhrelid)
--@ >= 10 < 12                             select string_agg(t.inhrelid::text, ',' order by t.inhrelid) from tree t), '')
--@ >= 10 < 12              else '' end
           -- from 12 on a partition may be attached in spite of our lock and behind our snapshot: the function tells
           -- of it all the same, as it looks at what is there now
--@ >= 12           || case when c.relkind = 'p' then
--@ >= 12                   (select string_agg(t.relid::oid::text, ',' order by t.relid::oid)
--@ >= 12                      from pg_partition_tree(a.attrelid::regclass) t)
--@ >= 12              else '' end
          )
  from pg_attribute a
  join pg_class c on c.oid = a.attrelid
  join pg_namespace n on n.oid = c.relnamespace
 where ($1::text is null or a.attrelid = any ($1::text::oid[]))
   and a.attnum > 0 and not a.attisdropped
   and c.relkind in ('r', 'p') and c.relpersistence <> 't'
   and n.nspname !~ '^pg_' and n.nspname not in ('information_schema', 'pgtandem', '_heroku')
 group by a.attrelid, c.relkind, n.nspname, c.relname

-- name: references
-- doc: which table refers to which, those of partitions left out. Where tables refer to each other in a circle, the
-- doc: deferrable foreign keys in it do not count: the others decide the order.
-- returns: child int8, parent int8
with recursive keys as (
    select c.conrelid as child, c.confrelid as parent, bool_and(c.condeferrable) as deferrable
      from pg_constraint c
     where c.contype = 'f'
--@ >= 11       and c.conparentid = 0
     group by 1, 2
), reach (origin, at) as (
    select k.parent, k.parent from keys k where k.deferrable
    union
    select r.origin, k.parent from reach r join keys k on k.child = r.at)
select k.child::int8, k.parent::int8
  from keys k
 where not (k.deferrable and exists (select 1 from reach r where r.origin = k.parent and r.at = k.child))

-- name: definitions_print
-- doc: changes when one of these tables (relids is an array with all their partitions), a column, a unique index or a
-- doc: foreign key of theirs comes, goes or is altered, and when any table comes, goes or gets another name
-- params: relids text
-- returns: print text
select md5(coalesce((select string_agg(x.line, ',' order by x.line)
  from (select a.attrelid || ':' || a.attnum || ':' || a.attname || ':' || a.atttypid as line
          from pg_attribute a
         where a.attrelid = any ($1::text::oid[]) and a.attnum > 0 and not a.attisdropped
        union all
        select i.inhparent || '/' || i.inhrelid from pg_inherits i where i.inhparent = any ($1::text::oid[])
        union all
        select i.indrelid || ' ' || i.indexrelid || ':' || i.indisvalid
          from pg_index i
         where i.indisunique and i.indrelid = any ($1::text::oid[])
        union all
        select k.conrelid || ' ' || k.oid || ':' || k.convalidated
          from pg_constraint k
         where k.contype = 'f' and (k.conrelid = any ($1::text::oid[]) or k.confrelid = any ($1::text::oid[]))) x), '')
  || (select coalesce(string_agg(c.oid || ':' || n.nspname || '.' || c.relname, ',' order by c.oid), '')
        from pg_class c
        join pg_namespace n on n.oid = c.relnamespace
       where c.relkind in ('r', 'p') and c.relpersistence <> 't'
         and n.nspname !~ '^pg_' and n.nspname not in ('information_schema', 'pgtandem', '_heroku')))

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

-- name: edges_here
-- doc: the edges that begin or end in this database, and whose file has them
-- returns: edge text, owner text, begins bool, ends bool
select edge, max(owner), bool_or(begins), bool_or(not begins)
  from (select edge, owner, true as begins from pgtandem.consumer
        union all
        select edge, owner, false from pgtandem.edge) x
 group by edge
 order by edge

-- name: edge_tables
-- params: edge text
-- returns: schema_name text, table_name text, state text, reason text?, rows int8?, captures int, rel int8, target_rel int8
select schema_name, table_name, state, reason, rows, captures, rel, target_rel
  from pgtandem.edge_table where edge = $1 order by schema_name, table_name

-- name: try_edge_lock
-- doc: a lock of this session that only one worker of an edge can have
-- params: edge text
-- returns: locked bool
select pg_try_advisory_lock(('x' || substr(md5('pgtandem ' || $1), 1, 16))::bit(64)::int8)

-- name: edge_lock_holder
-- doc: age: seconds since its session began, NULL when that is not for us to know
-- params: edge text
-- returns: pid int, client text, age float8?
select l.pid, coalesce(host(a.client_addr), 'local'),
       extract(epoch from clock_timestamp() - a.backend_start)::float8
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
           bool_or(g.tgname = 'pgtandem_row') as by_row, count(*) as n
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
   and (r.rel is null or o.n is null or o.n < r.triggers or not o.on_always
        -- it has got a parent or children, which statements may name instead of it
        or (not o.by_row and t.root and t.relkind = 'r' and exists (
               select 1 from pg_inherits i join pg_class c on c.oid = i.inhrelid
                where t.oid in (i.inhrelid, i.inhparent)
--@ >= 10                 and not c.relispartition
               )))
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
-- doc: the captured tables that an edge reads; captures is 0 for one that is not there (any more)
-- params: edge text
-- returns: id int, captures int
select e.tab, coalesce(t.captures, 0)
  from pgtandem.tab_edge e left join pgtandem.tab t on t.id = e.tab
 where e.edge = $1 order by e.tab

-- name: last_tab
-- doc: the highest number that a table has, or that the queue has changes of
-- returns: last int
select greatest(coalesce((select max(id) from pgtandem.tab), 0),
                coalesce((select max(abs(tab)) from pgtandem.queue_0), 0),
                coalesce((select max(abs(tab)) from pgtandem.queue_1), 0))

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

-- name: collision_indexes
-- doc: what keeps rows of a table from being together: columns or expressions of unique indexes and exclusion
-- doc: constraints with the operators that compare them; those that are checked at once
-- params: relid int8
-- returns: name text, n int, expression text, op_schema text, op_name text, coll_schema text?, coll_name text?, predicate text?, nulls_equal bool
select x.relname::text, g.n, pg_get_indexdef(i.indexrelid, g.n, true), opn.nspname::text, op.oprname::text,
       coln.nspname::text, col.collname::text, pg_get_expr(i.indpred, i.indrelid),
--@ >= 15       i.indnullsnotdistinct
--@ < 15       false
  from pg_index i
  join pg_class x on x.oid = i.indexrelid
  left join pg_constraint con on con.conindid = i.indexrelid and con.conrelid = i.indrelid and con.conexclop is not null
--@ >= 11  cross join lateral generate_series(1, i.indnkeyatts::int) as g (n)
--@ < 11  cross join lateral generate_series(1, i.indnatts::int) as g (n)
  join pg_operator op
    on op.oid = coalesce(con.conexclop[g.n],
                         (select ao.amopopr
                            from pg_opclass oc
                            join pg_amop ao on ao.amopfamily = oc.opcfamily and ao.amopstrategy = 3
                                           and ao.amoplefttype = oc.opcintype and ao.amoprighttype = oc.opcintype
                           where oc.oid = i.indclass[g.n - 1]
                           limit 1))
  join pg_namespace opn on opn.oid = op.oprnamespace
  left join pg_collation col on col.oid = i.indcollation[g.n - 1]
  left join pg_namespace coln on coln.oid = col.collnamespace
 where i.indrelid = $1::oid and i.indisvalid and i.indimmediate and (i.indisunique or con.oid is not null)
 order by x.relname, g.n

-- name: reference_columns
-- doc: valid foreign keys, one row for each column
-- returns: id int8, name text, child_schema text, child_name text, child_column text, parent_schema text, parent_name text, parent_column text, op_schema text, op_name text, coll_schema text?, coll_name text?
select con.oid::int8, con.conname::text, cn.nspname::text, c.relname::text, ca.attname::text,
       pn.nspname::text, p.relname::text, pa.attname::text, opn.nspname::text, op.oprname::text,
       coln.nspname::text, col.collname::text
  from pg_constraint con
  join pg_class c on c.oid = con.conrelid
  join pg_namespace cn on cn.oid = c.relnamespace
  join pg_class p on p.oid = con.confrelid
  join pg_namespace pn on pn.oid = p.relnamespace
 cross join lateral generate_subscripts(con.conkey, 1) as g (n)
  join pg_attribute ca on ca.attrelid = con.conrelid and ca.attnum = con.conkey[g.n]
  join pg_attribute pa on pa.attrelid = con.confrelid and pa.attnum = con.confkey[g.n]
  join pg_operator op on op.oid = con.conpfeqop[g.n]
  join pg_namespace opn on opn.oid = op.oprnamespace
  left join pg_collation col on col.oid = pa.attcollation
  left join pg_namespace coln on coln.oid = col.collnamespace
 where con.contype = 'f' and con.convalidated
--@ >= 11   and con.conparentid = 0
 order by con.oid, g.n

-- name: parked_count
-- params: edge text
-- returns: n int8
select count(*) from pgtandem.conflict where edge = $1 and parked

-- name: sequence_steps
-- doc: sequences that may be read, and what they are counted up by
-- returns: schema_name text, sequence_name text, step int8
--@ >= 10 select n.nspname::text, c.relname::text, s.seqincrement
--@ >= 10   from pg_sequence s
--@ >= 10   join pg_class c on c.oid = s.seqrelid
--@ >= 10   join pg_namespace n on n.oid = c.relnamespace
--@ >= 10  where n.nspname !~ '^pg_' and n.nspname not in ('information_schema', 'pgtandem', '_heroku')
--@ >= 10    and c.relpersistence <> 't' and case when c.relkind = 'S' then has_sequence_privilege(c.oid, 'SELECT') end
--@ < 10 select sequence_schema::text, sequence_name::text, increment::int8
--@ < 10   from information_schema.sequences
--@ < 10  where sequence_schema !~ '^pg_' and sequence_schema not in ('information_schema', 'pgtandem', '_heroku')
--@ < 10    and has_sequence_privilege(quote_ident(sequence_schema) || '.' || quote_ident(sequence_name), 'SELECT')
 order by 1, 2

-- name: parked_rows
-- doc: keys of rows that an edge could not apply here, those that wait longest first
-- params: edge text
-- returns: schema_name text, table_name text, key text, single text
select schema_name, table_name, key::text, key[1]
  from pgtandem.conflict where edge = $1 and parked order by tried_at nulls first, no limit 1000

-- name: conflicts
-- doc: the conflicts that this node has kept for an edge, the newest first
-- params: edge text
-- returns: at text, kind text, schema_name text, table_name text, key text, constraint_name text?, rule text, winner text, parked bool, from_row text?, to_row text?, from_at text?, to_at text?
select to_char(at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'), kind, schema_name, table_name, key::text,
       constraint_name, rule, winner, parked, from_row, to_row,
       to_char(from_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'),
       to_char(to_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')
  from pgtandem.conflict where edge = $1 order by no desc

-- name: service_is_empty
-- doc: no edge begins or ends here any more
-- returns: empty bool
select not exists (select 1 from pgtandem.consumer) and not exists (select 1 from pgtandem.edge)
       and not exists (select 1 from pgtandem.tab)
