-- What a database contains: read on either node, the same result shape on every version.
-- Heroku keeps functions and event triggers of its own in each database, in the schema _heroku. Its customers can
-- neither use nor drop it, and a new database has its own: it is left alone wherever the users' schemas are meant.
-- (tests/unit/test_sqlgen.py looks for queries that forget it.)

-- name: relation_names
-- doc: every user table and partitioned table that is not temporary and not ours; parent of partitions only
-- returns: oid int8, schema_name text, table_name text, parent int8
select c.oid::int8, n.nspname::text, c.relname::text,
--@ >= 10       case when c.relispartition
--@ >= 10            then coalesce((select i.inhparent::int8 from pg_inherits i where i.inhrelid = c.oid limit 1), 0) else 0 end
--@ < 10       0::int8
  from pg_class c
  join pg_namespace n on n.oid = c.relnamespace
 where c.relkind in ('r', 'p')
   and c.relpersistence <> 't'
   and n.nspname !~ '^pg_'
   and n.nspname not in ('information_schema', 'pgtandem', '_heroku')
 order by c.oid

-- name: relations
-- doc: every user table and partitioned table that is not temporary and not ours, with what the plan needs; relids is
-- doc: an array, NULL for all. condition: of a configuration table of an extension (pg_extension_config_dump), which
-- doc: rows of it are the users'; an empty text for all
-- params: relids text
-- returns: oid int8, schema_name text, table_name text, kind text, persistence text, parent int8, is_partition bool, has_children bool, in_extension bool, condition text?, owned bool, forced_rls bool, blocks int8, tuples float8, bytes int8, owner text
select c.oid::int8,
       n.nspname::text,
       c.relname::text,
       c.relkind::text,
       c.relpersistence::text,
       coalesce((select i.inhparent::int8 from pg_inherits i where i.inhrelid = c.oid limit 1), 0),
--@ >= 10       c.relispartition,
--@ < 10       false,
       exists (select 1 from pg_inherits i where i.inhparent = c.oid),
       exists (select 1 from pg_depend d where d.classid = 'pg_class'::regclass and d.objid = c.oid
                  and d.deptype = 'e'),
       (select min(x.condition) from (select unnest(e.extconfig) as rel, unnest(e.extcondition) as condition
                                        from pg_extension e) x
         where x.rel = c.oid),
       pg_has_role(c.relowner, 'USAGE'),
--@ >= 9.5       c.relforcerowsecurity and not (select r.rolbypassrls or r.rolsuper from pg_roles r where r.rolname = current_user),
--@ < 9.5       false,
       case when c.relkind = 'r'
            then pg_relation_size(c.oid) / current_setting('block_size')::int8 else 0 end,
       c.reltuples::float8,
       case when c.relkind = 'r' then pg_total_relation_size(c.oid) else 0 end,
       pg_get_userbyid(c.relowner)::text
  from pg_class c
  join pg_namespace n on n.oid = c.relnamespace
 where ($1::text is null or c.oid = any ($1::text::oid[]))
   and c.relkind in ('r', 'p')
   and c.relpersistence <> 't'
   and n.nspname !~ '^pg_'
   and n.nspname not in ('information_schema', 'pgtandem', '_heroku')
 order by n.nspname, c.relname

-- name: scope_relations
-- doc: what patterns of names may take: relations, with the table that a partition is a part of or a sequence belongs
-- doc: to (above), and schemas (kind n). One line for each parent of those that inherit without being partitions.
-- returns: oid int8, schema_name text, name text, kind text, above int8, is_partition bool, parent int8, in_extension bool
select c.oid::int8, n.nspname::text, c.relname::text, c.relkind::text,
       coalesce(case when c.relkind = 'S'
                     then (select d.refobjid::int8 from pg_depend d
                            where d.classid = 'pg_class'::regclass and d.objid = c.oid and d.objsubid = 0
                              and d.refclassid = 'pg_class'::regclass and d.refobjsubid > 0
                              and d.deptype in ('a', 'i') limit 1)
--@ >= 10                     when c.relispartition then i.inhparent::int8
                 end, 0),
--@ >= 10       c.relispartition,
--@ < 10       false,
       coalesce(i.inhparent::int8, 0),
       exists (select 1 from pg_depend d where d.classid = 'pg_class'::regclass and d.objid = c.oid and d.deptype = 'e')
  from pg_class c
  join pg_namespace n on n.oid = c.relnamespace
  left join pg_inherits i on i.inhrelid = c.oid
 where c.relkind in ('r', 'p', 'v', 'm', 'f', 'S', 'c')
   and c.relpersistence <> 't'
   and n.nspname !~ '^pg_'
   and n.nspname not in ('information_schema', 'pgtandem', '_heroku')
union all
select 0, n.nspname::text, '', 'n', 0, false, 0, false
  from pg_namespace n
 where n.nspname !~ '^pg_'
   and n.nspname not in ('information_schema', 'pgtandem', '_heroku')
 order by 2, 3, 1

-- name: columns
-- doc: the columns of user tables in order (relids is an array, NULL for all); type is without modifiers, so that a cast
-- doc: never cuts a value; base_type is what a domain is made of in the end
-- params: relids text
-- returns: relid int8, name text, type text, base_type text, generated bool, identity_always bool, is_float bool, number int
select a.attrelid::int8,
       a.attname::text,
       format_type(a.atttypid, -1),
       format_type(case when t.typtype = 'd' then
                       (with recursive base (oid, level) as (
                            select t.typbasetype, 1
                            union all
                            select y.typbasetype, b.level + 1 from base b join pg_type y on y.oid = b.oid where y.typtype = 'd')
                        select b.oid from base b order by b.level desc limit 1)
                   else a.atttypid end, -1),
--@ >= 12       a.attgenerated <> '',
--@ < 12       false,
--@ >= 10       a.attidentity = 'a',
--@ < 10       false,
       a.atttypid in ('float4'::regtype, 'float8'::regtype),
       a.attnum::int
  from pg_attribute a
  join pg_class c on c.oid = a.attrelid
  join pg_namespace n on n.oid = c.relnamespace
  join pg_type t on t.oid = a.atttypid
 where ($1::text is null or a.attrelid = any ($1::text::oid[]))
   and c.relkind in ('r', 'p')
   and c.relpersistence <> 't'
   and n.nspname !~ '^pg_'
   and n.nspname not in ('information_schema', 'pgtandem', '_heroku')
   and a.attnum > 0
   and not a.attisdropped
 order by a.attrelid, a.attnum

-- name: keys
-- doc: the columns of every index that can identify rows: unique, valid, btree, complete, no nulls, no
-- doc: expressions. The best one of a table comes first: the primary key, else the one with fewest columns.
-- doc: `plain` tells that the type's text does not depend on any setting.
-- doc: `type` stands behind a text and ::. The cast from text to regclass knows less than the type's input (not
-- doc: "-", and no number, which is how a table that was dropped is written); from bpchar it is the input.
-- doc: The parts are fenced off, since a database that was just filled has no statistics of its catalogs: as one
-- doc: join this took seconds. relids is an array, NULL for all tables.
-- params: relids text
-- returns: relid int8, index_name text, is_primary bool, position int, name text, type text, is_int bool, plain bool, op_schema text, op_name text, coll_schema text?, coll_name text?
select u.indrelid::int8, u.relname::text, u.indisprimary, u.n::int, u.attname::text,
       case when u.atttypid = 'regclass'::regtype then 'bpchar::regclass' else format_type(u.atttypid, -1) end,
       u.atttypid in ('int2'::regtype, 'int4'::regtype, 'int8'::regtype),
       u.atttypid in ('int2'::regtype, 'int4'::regtype, 'int8'::regtype, 'text'::regtype,
                      'varchar'::regtype, 'bpchar'::regtype, 'uuid'::regtype, 'numeric'::regtype,
                      'bool'::regtype, 'oid'::regtype, 'name'::regtype, 'inet'::regtype),
       u.op_schema::text, u.oprname::text, u.coll_schema::text, u.collname::text
  from (select k.*, a.attname, a.atttypid, o.nspname as op_schema, o.oprname, coln.nspname as coll_schema,
               nullif(col.collname, 'default') as collname,
               bool_and(a.attnotnull
                        -- rows are found by the column's own equality: it may not be coarser than the index's
--@ >= 12                        and (coalesce(col.collisdeterministic, true) or k.collation = a.attcollation)
                        ) over (partition by k.indexrelid) as identifies
          from (select i.indrelid, i.indexrelid, ic.relname, i.indisprimary, g.n, i.indkey[g.n] as attnum,
                       i.indclass[g.n] as opclass, i.indcollation[g.n] as collation,
--@ >= 11                       i.indnkeyatts as width
--@ < 11                       i.indnatts as width
                  from pg_index i
                  join pg_class ic on ic.oid = i.indexrelid
                  join pg_am am on am.oid = ic.relam and am.amname = 'btree'
                  join pg_namespace n on n.oid = ic.relnamespace
--@ >= 11                 cross join lateral generate_series(0, i.indnkeyatts - 1) as g (n)
--@ < 11                 cross join lateral generate_series(0, i.indnatts - 1) as g (n)
                 where ($1::text is null or i.indrelid = any ($1::text::oid[]))
                   and i.indisunique
                   and i.indisvalid
                   and i.indpred is null
                   and i.indexprs is null
                   and n.nspname !~ '^pg_'
                   and n.nspname not in ('information_schema', 'pgtandem', '_heroku')
                offset 0) k
          join pg_attribute a on a.attrelid = k.indrelid and a.attnum = k.attnum
          join (select distinct on (oc.oid) oc.oid, opn.nspname, op.oprname
                  from pg_opclass oc
                  join pg_amop ao on ao.amopfamily = oc.opcfamily and ao.amopstrategy = 3
                                 and ao.amoplefttype = oc.opcintype and ao.amoprighttype = oc.opcintype
                  join pg_operator op on op.oid = ao.amopopr
                  join pg_namespace opn on opn.oid = op.oprnamespace
                 order by oc.oid
                offset 0) o on o.oid = k.opclass
          left join pg_collation col on col.oid = a.attcollation
          left join pg_namespace coln on coln.oid = col.collnamespace and col.collname <> 'default') u
 where u.identifies
 order by u.indrelid, u.indisprimary desc, u.width, u.relname, u.n

-- name: sequences
-- doc: every user sequence, owned by a column or free; configuration: of an extension that leaves it to the users
-- returns: oid int8, schema_name text, sequence_name text, readable bool, configuration bool, owned bool
select c.oid::int8,
       n.nspname::text,
       c.relname::text,
       has_sequence_privilege(c.oid, 'SELECT'),
       x.rel is not null,
       pg_has_role(c.relowner, 'USAGE')
  from pg_class c
  join pg_namespace n on n.oid = c.relnamespace
  left join (select distinct unnest(e.extconfig) as rel from pg_extension e) x on x.rel = c.oid
 where c.relkind = 'S'
   and c.relpersistence <> 't'
   and n.nspname !~ '^pg_'
   and n.nspname not in ('information_schema', 'pgtandem', '_heroku')
   and (x.rel is not null
        or not exists (select 1 from pg_depend d where d.classid = 'pg_class'::regclass and d.objid = c.oid
                          and d.deptype = 'e'))
 order by n.nspname, c.relname

-- name: user_triggers
-- doc: the users' triggers that are not switched off; enabled is O, A or R; foreign_owner: of a table that an extension made
-- doc: for another role than ours, which we can neither alter nor write
-- returns: schema_name text, table_name text, name text, enabled text, foreign_owner bool
select n.nspname::text, c.relname::text, t.tgname::text, t.tgenabled::text,
       not pg_has_role(c.relowner, 'USAGE')
         and exists (select 1 from pg_depend d where d.classid = 'pg_class'::regclass and d.objid = c.oid and d.deptype = 'e')
  from pg_trigger t
  join pg_class c on c.oid = t.tgrelid
  join pg_namespace n on n.oid = c.relnamespace
 where not t.tgisinternal
   and t.tgenabled <> 'D'
   and c.relkind in ('r', 'p')
   and t.tgname !~ '^pgtandem_'
   and n.nspname !~ '^pg_'
   and n.nspname not in ('information_schema', 'pgtandem', '_heroku')
 order by 1, 2, 3

-- name: user_rules
-- doc: rules on tables that are not switched off; foreign_owner: as of user_triggers
-- returns: schema_name text, table_name text, name text, enabled text, foreign_owner bool
select n.nspname::text, c.relname::text, r.rulename::text, r.ev_enabled::text,
       not pg_has_role(c.relowner, 'USAGE')
         and exists (select 1 from pg_depend d where d.classid = 'pg_class'::regclass and d.objid = c.oid and d.deptype = 'e')
  from pg_rewrite r
  join pg_class c on c.oid = r.ev_class
  join pg_namespace n on n.oid = c.relnamespace
 where c.relkind in ('r', 'p')
   and r.ev_enabled <> 'D'
   and n.nspname !~ '^pg_'
   and n.nspname not in ('information_schema', 'pgtandem', '_heroku')
 order by 1, 2, 3

-- name: foreign_keys
-- doc: foreign keys as they were declared (not the copies that partitions inherit); foreign_owner: as of user_triggers
-- returns: schema_name text, table_name text, name text, definition text, valid bool, partitioned bool, comment text?, to_schema text, to_table text, foreign_owner bool
select n.nspname::text, c.relname::text, o.conname::text, pg_get_constraintdef(o.oid), o.convalidated,
       c.relkind = 'p', obj_description(o.oid, 'pg_constraint'), tn.nspname::text, tc.relname::text,
       not pg_has_role(c.relowner, 'USAGE')
         and exists (select 1 from pg_depend d where d.classid = 'pg_class'::regclass and d.objid = c.oid and d.deptype = 'e')
  from pg_constraint o
  join pg_class c on c.oid = o.conrelid
  join pg_namespace n on n.oid = c.relnamespace
  join pg_class tc on tc.oid = o.confrelid
  join pg_namespace tn on tn.oid = tc.relnamespace
 where o.contype = 'f'
--@ >= 11   and o.conparentid = 0
   and n.nspname !~ '^pg_'
   and n.nspname not in ('information_schema', 'pgtandem', '_heroku')
 order by 1, 2, 3

-- name: materialized_views
-- doc: populated materialized views, in an order in which each comes after those it reads
-- returns: schema_name text, view_name text
with recursive v as (
    select c.oid, n.nspname, c.relname
      from pg_class c join pg_namespace n on n.oid = c.relnamespace
     where c.relkind = 'm' and c.relispopulated and n.nspname !~ '^pg_' and n.nspname not in ('pgtandem', '_heroku')),
reads as (
    select distinct r.ev_class as reader, d.refobjid as read
      from pg_rewrite r
      join pg_depend d on d.classid = 'pg_rewrite'::regclass and d.objid = r.oid
                      and d.refclassid = 'pg_class'::regclass and d.refobjid <> r.ev_class
      join pg_class rc on rc.oid = d.refobjid and rc.relkind in ('v', 'm')),
depth as (
    select v.oid, 0 as level from v
    union
    select r.reader, d.level + 1 from depth d join reads r on r.read = d.oid where d.level < 100)
select v.nspname::text, v.relname::text
  from v join depth d on d.oid = v.oid
 group by v.nspname, v.relname
 order by max(d.level), v.nspname, v.relname

-- name: user_objects
-- doc: how many objects of the users' own are in the database, by kind: an empty target has none
-- returns: kind text, n int8
select kind, count(*)
  from (select case c.relkind when 'S' then 'sequence' when 'v' then 'view' when 'm' then 'materialized view'
                              when 'f' then 'foreign table' else 'table' end as kind,
               'pg_class'::regclass::oid as classid, c.oid as objid, c.relnamespace as nsp
          from pg_class c where c.relkind in ('r', 'p', 'v', 'm', 'S', 'f') and c.relpersistence <> 't'
        union all
        select 'function', 'pg_proc'::regclass, p.oid, p.pronamespace from pg_proc p
        union all
        select 'type', 'pg_type'::regclass, t.oid, t.typnamespace from pg_type t
         where t.typtype in ('d', 'e', 'r') or (t.typtype = 'c' and exists
               (select 1 from pg_class k where k.oid = t.typrelid and k.relkind = 'c'))) o
  join pg_namespace n on n.oid = o.nsp
 where n.nspname !~ '^pg_'
   and n.nspname not in ('information_schema', 'pgtandem', '_heroku')
   and not exists (select 1 from pg_depend d where d.classid = o.classid and d.objid = o.objid
                      and d.deptype = 'e')
 group by kind
 order by kind

-- name: trigger_relations
-- doc: the relation of a table and all its partitions (children of an ordinary parent are tables of their own)
-- params: relid int8
-- returns: oid int8, schema_name text, table_name text, kind text
with recursive tree as (
    select c.oid, c.relnamespace, c.relname, c.relkind from pg_class c where c.oid = $1::int8::oid
    union all
    select c.oid, c.relnamespace, c.relname, c.relkind
      from tree t
      join pg_inherits i on i.inhparent = t.oid
      join pg_class c on c.oid = i.inhrelid
--@ >= 10     where c.relispartition
--@ < 10     where false
    )
select t.oid::int8, n.nspname::text, t.relname::text, t.relkind::text
  from tree t join pg_namespace n on n.oid = t.relnamespace
 where t.relkind in ('r', 'p')
 order by t.oid

-- name: same_columns
-- doc: whether all partitions of a table have its columns in its order
-- params: relid int8
-- returns: same bool
with recursive tree as (
    select c.oid from pg_class c where c.oid = $1::int8::oid
    union all
    select i.inhrelid from tree t join pg_inherits i on i.inhparent = t.oid)
select count(distinct c.names) <= 1
  from (select array_agg(a.attname::text order by a.attnum)::text as names
          from tree t join pg_attribute a on a.attrelid = t.oid
         where a.attnum > 0 and not a.attisdropped
         group by t.oid) c

-- name: relation_filenode
-- doc: the file of a table: changes when the table is rewritten (VACUUM FULL, CLUSTER, some ALTERs)
-- params: schema_name text, table_name text
-- returns: filenode int8, blocks int8, bytes int8
select pg_relation_filenode(c.oid)::int8, pg_relation_size(c.oid) / current_setting('block_size')::int8,
       pg_table_size(c.oid)
  from pg_class c join pg_namespace n on n.oid = c.relnamespace
 where n.nspname = $1 and c.relname = $2 and c.relkind = 'r'

-- name: identity_of_node
-- doc: the database, and the start time, which tells two physical copies of one server apart, whatever address they
-- doc: are reached by
-- returns: database text, database_oid int8, in_recovery bool, started text
select current_database()::text,
       (select d.oid::int8 from pg_database d where d.datname = current_database()),
       pg_is_in_recovery(),
       pg_postmaster_start_time()::text

-- name: system_id
-- doc: what tells that this is the same server as before; 0: unknown. A service may have taken the function away.
-- returns: system_id text
--@ >= 9.6 select system_identifier::text from pg_control_system()
--@ < 9.6 select '0'::text

-- name: timeline
-- doc: the timeline this server writes on. Aurora refuses it unless wal_level is logical.
-- returns: timeline text
select
--@ >= 10       substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8)
--@ < 10       substr(pg_xlogfile_name(pg_current_xlog_location()), 1, 8)

-- name: schema_prints
-- doc: a fingerprint of the definition of each user object, to notice changes of the schema during a run.
-- doc: Foreign keys are left out: they change when a node sleeps or wakes.
-- doc: entry, schema_name and name: how pg_dump heads the object's entry. relation: the one in that schema that it is
-- doc: or belongs to.
-- returns: object text, print text, entry text, schema_name text, name text, definition text?, relation text?
with nsp as (
    select oid, nspname from pg_namespace
     where nspname !~ '^pg_' and nspname not in ('information_schema', 'pgtandem', '_heroku')),
rel as (
    select c.oid, c.relkind, c.relpersistence, n.nspname, c.relname,
           quote_ident(n.nspname) || '.' || quote_ident(c.relname) as name
      from pg_class c join nsp n on n.oid = c.relnamespace
     where c.relpersistence <> 't'
       and not exists (select 1 from pg_depend d where d.classid = 'pg_class'::regclass and d.objid = c.oid
                          and d.deptype = 'e'))
select case r.relkind when 'v' then 'view ' when 'm' then 'materialized view ' when 'f' then 'foreign table '
                      when 'c' then 'type ' else 'table ' end || r.name,
       md5(case when r.relkind in ('r', 'p') then r.relpersistence::text else '' end ||
           coalesce(string_agg(a.attname || ' ' || format_type(a.atttypid, a.atttypmod) || ' ' || a.attnotnull::text
                               || ' ' || coalesce(pg_get_expr(d.adbin, d.adrelid), '')
--@ >= 10                               || a.attidentity::text
--@ >= 12                               || a.attgenerated::text
                               -- a column made again in its place has another number; views cannot drop any
                               || case when r.relkind in ('r', 'p') then ' ' || a.attnum::text else '' end,
                               ',' order by a.attnum), '')),
       case r.relkind when 'v' then 'VIEW' when 'm' then 'MATERIALIZED VIEW' when 'f' then 'FOREIGN TABLE'
                      when 'c' then 'TYPE' else 'TABLE' end, r.nspname::text, r.relname::text, null::text,
       r.relname::text
  from rel r
  left join pg_attribute a on a.attrelid = r.oid and a.attnum > 0 and not a.attisdropped
  left join pg_attrdef d on d.adrelid = r.oid and d.adnum = a.attnum
 where r.relkind in ('r', 'p', 'v', 'm', 'f', 'c')
 group by r.relkind, r.relpersistence, r.name, r.nspname, r.relname
union all
select 'definition of view ' || r.name, md5(pg_get_viewdef(r.oid)),
       case r.relkind when 'v' then 'VIEW' else 'MATERIALIZED VIEW' end, r.nspname::text, r.relname::text, null::text,
       r.relname::text
  from rel r where r.relkind in ('v', 'm')
union all
-- older servers have these in the sequence itself
--@ >= 10 select 'sequence ' || r.name, md5(q.text), 'SEQUENCE', r.nspname::text, r.relname::text, q.text, r.relname::text
--@ >= 10   from rel r
--@ >= 10   join (select s.seqrelid, format('AS %s INCREMENT BY %s MINVALUE %s MAXVALUE %s %s', format_type(s.seqtypid, null),
--@ >= 10                       s.seqincrement, s.seqmin, s.seqmax, case when s.seqcycle then 'CYCLE' else 'NO CYCLE' end) as text
--@ >= 10           from pg_sequence s) q on q.seqrelid = r.oid
--@ < 10 select 'sequence ' || r.name, '', 'SEQUENCE', r.nspname::text, r.relname::text, null, r.relname::text from rel r where r.relkind = 'S'
union all
select 'index ' || quote_ident(r.nspname) || '.' || quote_ident(ic.relname), md5(pg_get_indexdef(i.indexrelid)),
       'INDEX', r.nspname::text, ic.relname::text, null, r.relname::text
  from rel r join pg_index i on i.indrelid = r.oid join pg_class ic on ic.oid = i.indexrelid
 where i.indisvalid
union all
select 'constraint ' || quote_ident(o.conname) || ' of ' || r.name, md5(pg_get_constraintdef(o.oid)),
       case o.contype when 'c' then 'CHECK CONSTRAINT' else 'CONSTRAINT' end, r.nspname::text, r.relname || ' ' || o.conname,
       case o.contype when 'c' then pg_get_constraintdef(o.oid) end, r.relname::text
  from rel r join pg_constraint o on o.conrelid = r.oid
 where o.contype in ('c', 'p', 'u', 'x')
union all
select 'trigger ' || quote_ident(t.tgname) || ' of ' || r.name, md5(pg_get_triggerdef(t.oid)),
       'TRIGGER', r.nspname::text, r.relname || ' ' || t.tgname, null, r.relname::text
  from rel r join pg_trigger t on t.tgrelid = r.oid
 where not t.tgisinternal and t.tgname !~ '^pgtandem_'
union all
select 'rule ' || quote_ident(w.rulename) || ' of ' || r.name, md5(pg_get_ruledef(w.oid)),
       'RULE', r.nspname::text, r.relname || ' ' || w.rulename, null, r.relname::text
  from rel r join pg_rewrite w on w.ev_class = r.oid
 where r.relkind in ('r', 'p')
union all
select 'function ' || p.oid::regprocedure::text,
       md5(p.prosrc || p.provolatile::text || p.prosecdef::text || p.proisstrict::text || p.proleakproof::text || p.procost::text
--@ >= 14            || coalesce(pg_get_function_sqlbody(p.oid), '')
--@ >= 9.6            || p.proparallel::text
           || p.prorows::text || coalesce(p.proconfig::text, '')),
--@ >= 11       case p.prokind when 'p' then 'PROCEDURE' when 'a' then 'AGGREGATE' else 'FUNCTION' end,
--@ < 11       case when p.proisagg then 'AGGREGATE' else 'FUNCTION' end,
       n.nspname::text, p.proname || '(' || oidvectortypes(p.proargtypes) || ')', null, null
  from pg_proc p join nsp n on n.oid = p.pronamespace
 where not exists (select 1 from pg_depend d where d.classid = 'pg_proc'::regclass and d.objid = p.oid
                      and d.deptype = 'e')
union all
select 'type ' || quote_ident(n.nspname) || '.' || quote_ident(t.typname),
       md5(string_agg(e.enumlabel, ',' order by e.enumsortorder)), 'TYPE', n.nspname::text, t.typname::text, null, null
  from pg_type t join nsp n on n.oid = t.typnamespace join pg_enum e on e.enumtypid = t.oid
 group by n.nspname, t.typname
union all
select 'domain ' || quote_ident(n.nspname) || '.' || quote_ident(t.typname),
       md5(format_type(t.typbasetype, t.typtypmod) || t.typnotnull::text || coalesce(t.typdefault, '') ||
           coalesce((select string_agg(o.conname || ' ' || pg_get_constraintdef(o.oid), ',' order by o.conname)
                       from pg_constraint o where o.contypid = t.oid and o.contype = 'c'), '')),
       'DOMAIN', n.nspname::text, t.typname::text, null, null
  from pg_type t join nsp n on n.oid = t.typnamespace
 where t.typtype = 'd'
union all
select 'schema ' || quote_ident(n.nspname), '', 'SCHEMA', '-', n.nspname::text, null, null from nsp n
union all
-- partitions, and children of ordinary tables
select 'parent ' || quote_ident(pn.nspname) || '.' || quote_ident(pc.relname) || ' of table ' || r.name,
--@ >= 10       md5(coalesce(pg_get_expr(c.relpartbound, c.oid), '')),
--@ < 10       '',
       '', r.nspname::text, r.relname::text, null::text, r.relname::text
  from rel r
  join pg_inherits i on i.inhrelid = r.oid
  join pg_class c on c.oid = r.oid
  join pg_class pc on pc.oid = i.inhparent
  join pg_namespace pn on pn.oid = pc.relnamespace
 where r.relkind in ('r', 'p')
union all
select o.object, md5(o.text), o.entry, coalesce(n.nspname::text, '-'), o.name, null::text, null::text
  from (select 'pg_collation'::regclass as class, c.oid, c.collnamespace as space, 'COLLATION' as entry, c.collname::text as name,
               'collation ' || quote_ident(n.nspname) || '.' || quote_ident(c.collname) as object,
--@ >= 10               c.collprovider::text ||
--@ >= 12               c.collisdeterministic::text ||
               -- how ICU's are written depends on the version
--@ >= 10               case when c.collprovider = 'i' then '' else
               coalesce(c.collcollate, '') || ',' || coalesce(c.collctype, '')
--@ >= 10               end
               as text
          from pg_collation c join nsp n on n.oid = c.collnamespace
        union all
        select 'pg_ts_config'::regclass, c.oid, c.cfgnamespace, 'TEXT SEARCH CONFIGURATION', c.cfgname::text,
               'text search configuration ' || quote_ident(n.nspname) || '.' || quote_ident(c.cfgname),
               c.cfgparser::regproc::text || coalesce((select string_agg(m.maptokentype || ' ' || m.mapdict::regdictionary::text, ','
                                                                         order by m.maptokentype, m.mapseqno)
                                                         from pg_ts_config_map m where m.mapcfg = c.oid), '')
          from pg_ts_config c join nsp n on n.oid = c.cfgnamespace
        union all
        select 'pg_ts_dict'::regclass, d.oid, d.dictnamespace, 'TEXT SEARCH DICTIONARY', d.dictname::text,
               'text search dictionary ' || quote_ident(n.nspname) || '.' || quote_ident(d.dictname), coalesce(d.dictinitoption, '')
          from pg_ts_dict d join nsp n on n.oid = d.dictnamespace
        union all
        -- operators have no names of their own: of those that share one only the list of arguments tells
        select 'pg_operator'::regclass, o.oid, o.oprnamespace,
               case when count(*) over (partition by o.oprnamespace, o.oprname) = 1 then 'OPERATOR' else '' end, o.oprname::text,
               'operator ' || quote_ident(n.nspname) || '.' || o.oprname || ' ('
               || case when o.oprleft = 0 then 'NONE' else format_type(o.oprleft, null) end || ', '
               || case when o.oprright = 0 then 'NONE' else format_type(o.oprright, null) end || ')',
               o.oprcode::oid::regprocedure::text || o.oprrest::oid::regproc::text || o.oprjoin::oid::regproc::text
               || o.oprcanmerge::text || o.oprcanhash::text
          from pg_operator o join nsp n on n.oid = o.oprnamespace where o.oprcode::oid <> 0
        union all
        select 'pg_opfamily'::regclass, f.oid, f.opfnamespace, 'OPERATOR FAMILY', f.opfname::text,
               'operator family ' || quote_ident(n.nspname) || '.' || quote_ident(f.opfname) || ' USING ' || quote_ident(m.amname), ''
          from pg_opfamily f join nsp n on n.oid = f.opfnamespace join pg_am m on m.oid = f.opfmethod
        union all
        select 'pg_opclass'::regclass, c.oid, c.opcnamespace, 'OPERATOR CLASS', c.opcname::text,
               'operator class ' || quote_ident(n.nspname) || '.' || quote_ident(c.opcname) || ' USING ' || quote_ident(m.amname),
               format_type(c.opcintype, null) || c.opcdefault::text || format_type(c.opckeytype, null)
          from pg_opclass c join nsp n on n.oid = c.opcnamespace join pg_am m on m.oid = c.opcmethod
        union all
        select 'pg_conversion'::regclass, c.oid, c.connamespace, 'CONVERSION', c.conname::text,
               'conversion ' || quote_ident(n.nspname) || '.' || quote_ident(c.conname),
               concat_ws(',', c.conforencoding, c.contoencoding, c.conproc::oid::regprocedure, c.condefault)
          from pg_conversion c join nsp n on n.oid = c.connamespace
        union all
        select 'pg_foreign_data_wrapper'::regclass, w.oid, 0::oid, 'FOREIGN DATA WRAPPER', w.fdwname::text,
               'foreign data wrapper ' || quote_ident(w.fdwname),
               concat_ws(',', w.fdwhandler::oid::regprocedure, w.fdwvalidator::oid::regprocedure, w.fdwoptions)
          from pg_foreign_data_wrapper w where w.oid >= 16384
        union all
        select 'pg_foreign_server'::regclass, v.oid, 0::oid, 'SERVER', v.srvname::text, 'server ' || quote_ident(v.srvname),
               concat_ws(',', v.srvtype, v.srvversion, v.srvoptions)
          from pg_foreign_server v
        union all
        select 'pg_cast'::regclass, c.oid, 0::oid, 'CAST', t.name, lower(left(t.name, 4)) || substr(t.name, 5),
               c.castcontext::text || c.castmethod::text || c.castfunc::regprocedure::text
          from pg_cast c,
               lateral (select 'CAST (' || format_type(c.castsource, null) || ' AS ' || format_type(c.casttarget, null) || ')' as name) t
         where c.oid >= 16384) o
  left join pg_namespace n on n.oid = o.space
 where not exists (select 1 from pg_depend d where d.classid = o.class and d.objid = o.oid and d.deptype = 'e')

-- name: definition_facts
-- doc: what else belongs to the user's objects, each fact by itself: owners, rights, comments, row-level security,
-- doc: storage options, statistics objects, extensions, triggers that are switched off. object and print: as in schema_prints; of: what it is said of,
-- doc: called as there. make: a statement that makes it so, whatever it was before; undo: one that makes it not so.
-- doc: Left out is what an owner may do to himself, and comments of foreign keys, which come and go with them.
-- returns: object text, print text, schema_name text, of text, make text, undo text?, relation text?
with nsp as (
    select oid, nspname, nspowner, nspacl from pg_namespace
     where nspname !~ '^pg_' and nspname not in ('information_schema', 'pgtandem', '_heroku')),
member as (select classid, objid from pg_depend where deptype = 'e'),
rel as (
    select c.oid, c.relkind, c.relname, n.nspname, c.relowner, c.relacl, c.reloptions, c.reltoastrelid,
--@ >= 9.5         c.relrowsecurity, c.relforcerowsecurity,
           w.word, lower(w.word) || ' ' as kind, quote_ident(n.nspname) || '.' || quote_ident(c.relname) as name
      from pg_class c join nsp n on n.oid = c.relnamespace,
           lateral (select case c.relkind when 'v' then 'VIEW' when 'm' then 'MATERIALIZED VIEW' when 'S' then 'SEQUENCE'
                                          when 'f' then 'FOREIGN TABLE' when 'i' then 'INDEX' else 'TABLE' end as word) w
     where c.relkind in ('r', 'p', 'v', 'm', 'f', 'S', 'i') and c.relpersistence <> 't'
       and not exists (select 1 from member d where d.classid = 'pg_class'::regclass and d.objid = c.oid)),
fun as (
    select p.oid, p.pronargs, n.nspname, p.proowner, p.proacl, p.oid::regprocedure::text as name,
--@ >= 11            case p.prokind when 'p' then 'PROCEDURE' when 'a' then 'AGGREGATE' else 'FUNCTION' end as word
--@ < 11            case when p.proisagg then 'AGGREGATE' else 'FUNCTION' end as word
      from pg_proc p join nsp n on n.oid = p.pronamespace
     where not exists (select 1 from member d where d.classid = 'pg_proc'::regclass and d.objid = p.oid)),
typ as (
    select t.oid, n.nspname, t.typowner, t.typacl, case t.typtype when 'd' then 'DOMAIN' else 'TYPE' end as word,
           case t.typtype when 'd' then 'domain ' else 'type ' end as kind,
           quote_ident(n.nspname) || '.' || quote_ident(t.typname) as name
      from pg_type t join nsp n on n.oid = t.typnamespace left join pg_class c on c.oid = t.typrelid
     where t.typtype in ('e', 'd', 'c', 'r') and coalesce(c.relkind, 'c') = 'c'
       and not exists (select 1 from member d where d.classid = 'pg_type'::regclass and d.objid = t.oid)),
owned as (
    select kind || name as of, word, name, relowner as owner, nspname, relname::text as relation from rel
     -- a sequence of a column goes with its table
     where relkind <> 'i' and not exists (select 1 from pg_depend d where d.classid = 'pg_class'::regclass and d.objid = rel.oid
                                             and d.refclassid = 'pg_class'::regclass and d.deptype in ('a', 'i'))
    union all select 'function ' || name, word, name, proowner, nspname, null from fun where word <> 'AGGREGATE' or pronargs > 0
    union all select kind || name, word, name, typowner, nspname, null from typ
    union all select 'schema ' || quote_ident(nspname), 'SCHEMA', quote_ident(nspname), nspowner, nspname, null from nsp),
granted as (
    select kind || name as of, case relkind when 'S' then 'SEQUENCE ' else 'TABLE ' end || name as on_what, '' as columns,
           relowner as owner, nspname, relname::text as relation,
           aclexplode(coalesce(relacl, acldefault(case relkind when 'S' then 's' else 'r' end::"char", relowner))) as a
      from rel where relkind <> 'i'
    union all
    select r.kind || r.name, 'TABLE ' || r.name, ' (' || quote_ident(c.attname) || ')', r.relowner, r.nspname, r.relname::text,
           aclexplode(c.attacl)
      from rel r join pg_attribute c on c.attrelid = r.oid where c.attacl is not null and not c.attisdropped
    union all
    select 'function ' || name, case word when 'PROCEDURE' then 'PROCEDURE ' else 'FUNCTION ' end || name, '', proowner, nspname, null,
           aclexplode(coalesce(proacl, acldefault('f', proowner)))
      from fun
    union all
    select kind || name, 'TYPE ' || name, '', typowner, nspname, null, aclexplode(coalesce(typacl, acldefault('T', typowner)))
      from typ
    union all
    select 'schema ' || quote_ident(nspname), 'SCHEMA ' || quote_ident(nspname), '', nspowner, nspname, null,
           aclexplode(coalesce(nspacl, acldefault('n', nspowner)))
      from nsp),
rights as (
    select g.of, g.on_what, g.columns, g.nspname, g.relation, lower((g.a).privilege_type) as privilege,
           case (g.a).grantee when 0 then 'PUBLIC' else quote_ident(pg_get_userbyid((g.a).grantee)) end as grantee,
           bool_or((g.a).is_grantable) as grantable
      from granted g
     where (g.a).grantee <> g.owner
     group by 1, 2, 3, 4, 5, 6, 7),
said as (
    select d.description, o.type, o.identity, d.classoid, d.objoid,
           coalesce(o.schema, o.identity) as schema
      from pg_description d,
           lateral pg_identify_object(d.classoid, d.objoid, d.objsubid) as o
     where d.classoid in ('pg_class'::regclass, 'pg_proc'::regclass, 'pg_type'::regclass, 'pg_namespace'::regclass,
--@ >= 9.5                           'pg_policy'::regclass,
                          'pg_constraint'::regclass, 'pg_trigger'::regclass)
       and d.objoid >= 16384
       and not exists (select 1 from member m where m.classid = d.classoid and m.objid = d.objoid)
       and not exists (select 1 from pg_constraint f where d.classoid = 'pg_constraint'::regclass and f.oid = d.objoid
                          and (f.contype = 'f' or f.conrelid = 0))),
options as (
    select r.kind || r.name as of, r.word, r.name, r.nspname, coalesce(t.relname, r.relname)::text as relation, o.prefix,
           unnest(o.list) as option
      from rel r
      left join pg_index i on i.indexrelid = r.oid
      left join pg_class t on t.oid = i.indrelid
      left join pg_class toast on toast.oid = r.reltoastrelid,
           lateral (select '' as prefix, r.reloptions as list union all select 'toast.', toast.reloptions) o
     where r.relkind in ('r', 'm', 'v', 'i')),
-- triggers and rules that sleep, as pgtandem.asleep tells once it is there: a statement that names a table which is not
-- there would fail, and only functions take one as text
asleep as (
    select left(w, 1) as was, substr(w, 2) as key
      from regexp_split_to_table(
               substring(query_to_xml(
                   case when exists (select 1 from pg_class c join pg_namespace n on n.oid = c.relnamespace
                                      where n.nspname = 'pgtandem' and c.relname = 'asleep')
                        then 'select string_agg(was || md5(kind || chr(10) || schema_name || chr(10) || table_name || chr(10) || name), '
                             || quote_literal(' ') || ') as x from pgtandem.asleep where kind in ('
                             || quote_literal('trigger') || ', ' || quote_literal('rule') || ')'
                        else 'select null as x' end, false, false, '')::text from '<x>(.*)</x>'), ' ') w)
select 'owner of ' || of, pg_get_userbyid(owner)::text, nspname::text, of,
       'ALTER ' || word || ' ' || name || ' OWNER TO ' || quote_ident(pg_get_userbyid(owner)), null::text, relation
  from owned
union all
select 'right to ' || privilege || columns || ' on ' || of || ' of ' || grantee, grantable::text, nspname::text, of,
       'GRANT ' || privilege || columns || ' ON ' || on_what || ' TO ' || grantee
       || case when grantable then ' WITH GRANT OPTION'
               when grantee = 'PUBLIC' then ''
               else '; REVOKE GRANT OPTION FOR ' || privilege || columns || ' ON ' || on_what || ' FROM ' || grantee end,
       'REVOKE ' || privilege || columns || ' ON ' || on_what || ' FROM ' || grantee, relation
  from rights
union all
select 'default right of ' || quote_ident(pg_get_userbyid(d.defaclrole)) || coalesce(' in schema ' || quote_ident(n.nspname), '')
       || ' to ' || lower(a.privilege_type) || ' ' || k.word || ' of ' || g.grantee, bool_or(a.is_grantable)::text,
       coalesce(n.nspname::text, '-'), '',
       'ALTER DEFAULT PRIVILEGES FOR ROLE ' || quote_ident(pg_get_userbyid(d.defaclrole))
       || coalesce(' IN SCHEMA ' || quote_ident(n.nspname), '') || ' GRANT ' || a.privilege_type || ' ON ' || k.word || ' TO '
       || g.grantee || case when bool_or(a.is_grantable) then ' WITH GRANT OPTION' else '' end,
       'ALTER DEFAULT PRIVILEGES FOR ROLE ' || quote_ident(pg_get_userbyid(d.defaclrole))
       || coalesce(' IN SCHEMA ' || quote_ident(n.nspname), '') || ' REVOKE ' || a.privilege_type || ' ON ' || k.word || ' FROM '
       || g.grantee, null
  from pg_default_acl d
  left join nsp n on n.oid = d.defaclnamespace,
       lateral aclexplode(d.defaclacl) a,
       lateral (select case d.defaclobjtype when 'r' then 'TABLES' when 'S' then 'SEQUENCES' when 'f' then 'FUNCTIONS'
                                            when 'T' then 'TYPES' when 'n' then 'SCHEMAS' end as word) k,
       lateral (select case a.grantee when 0 then 'PUBLIC' else quote_ident(pg_get_userbyid(a.grantee)) end as grantee) g
 where a.grantee <> d.defaclrole and k.word is not null and (d.defaclnamespace = 0 or n.oid is not null)
 group by d.defaclrole, n.nspname, a.privilege_type, k.word, g.grantee
union all
select 'comment of ' || s.type || ' ' || s.identity, md5(s.description), n.nspname::text,
       -- of a column: its table tells whether it is new
       coalesce(r.kind || r.name, case when s.classoid = 'pg_proc'::regclass then 'function ' || s.objoid::regprocedure::text
                                       else s.type || ' ' || s.identity end),
       'COMMENT ON ' || w.word || ' IS ' || quote_literal(s.description), 'COMMENT ON ' || w.word || ' IS NULL', r.relname::text
  from said s
  join nsp n on quote_ident(n.nspname) = s.schema
  left join pg_constraint o on s.classoid = 'pg_constraint'::regclass and o.oid = s.objoid
  left join pg_trigger t on s.classoid = 'pg_trigger'::regclass and t.oid = s.objoid
--@ >= 9.5   left join pg_policy p on s.classoid = 'pg_policy'::regclass and p.oid = s.objoid
  left join pg_index i on s.classoid = 'pg_class'::regclass and i.indexrelid = s.objoid
--@ >= 9.5   left join rel r on r.oid = coalesce(o.conrelid, t.tgrelid, p.polrelid, i.indrelid, s.objoid)
--@ < 9.5   left join rel r on r.oid = coalesce(o.conrelid, t.tgrelid, i.indrelid, s.objoid)
                       and s.classoid not in ('pg_proc'::regclass, 'pg_type'::regclass, 'pg_namespace'::regclass),
       lateral (select case when s.type like '% column' then 'COLUMN' when s.type = 'table constraint' then 'CONSTRAINT'
                            when s.type = 'composite type' then 'TYPE' else upper(s.type) end || ' ' || s.identity as word) w
 where coalesce(t.tgname, '') !~ '^pgtandem_'
union all
select 'option ' || f.option || ' of ' || of, substr(o.option, strpos(o.option, '=') + 1), nspname::text, of,
       'ALTER ' || word || ' ' || name || ' SET (' || f.option || ' = ' || quote_literal(substr(o.option, strpos(o.option, '=') + 1))
       || ')', 'ALTER ' || word || ' ' || name || ' RESET (' || f.option || ')', relation
  from options o, lateral (select o.prefix || split_part(o.option, '=', 1) as option) f
union all
-- one that sleeps keeps its place in the list; else whoever follows puts it to sleep
select 'state of ' || s.object, s.state, s.nspname::text, s.object,
       case s.state when 'D' then 'DELETE' || s.memory || '; ALTER TABLE ' || s.name || ' DISABLE ' || s.what
                    else s.set_was || quote_literal(s.state) || s.where_it || s.name || ' ENABLE '
                         || case s.state when 'A' then 'ALWAYS ' else 'REPLICA ' end || s.what || '; END IF; END $pgtandem$' end,
       s.set_was || quote_literal('O') || s.where_it || s.name || ' ENABLE ' || s.what || '; END IF; END $pgtandem$', s.relname::text
  from (select x.*, 'DO $pgtandem$ BEGIN UPDATE pgtandem.asleep SET was = ' as set_was, coalesce(a.was, x.enabled) as state,
               w.memory, substr(w.memory, length(' FROM pgtandem.asleep') + 1) || '; IF NOT FOUND THEN ALTER TABLE ' as where_it
          from (select r.nspname, r.relname, r.name, 'trigger'::text as kind, t.tgname::text as own, t.tgenabled::text as enabled,
                       'trigger ' || quote_ident(t.tgname) || ' of ' || r.name as object, 'TRIGGER ' || quote_ident(t.tgname) as what
                  from rel r join pg_trigger t on t.tgrelid = r.oid
                 where not t.tgisinternal and t.tgname !~ '^pgtandem_'
                union all
                select r.nspname, r.relname, r.name, 'rule', u.rulename::text, u.ev_enabled::text,
                       'rule ' || quote_ident(u.rulename) || ' of ' || r.name, 'RULE ' || quote_ident(u.rulename)
                  from rel r join pg_rewrite u on u.ev_class = r.oid
                 where r.relkind in ('r', 'p')) x
          left join asleep a on x.enabled = 'D'
                            and a.key = md5(x.kind || chr(10) || x.nspname || chr(10) || x.relname || chr(10) || x.own),
               lateral (select ' FROM pgtandem.asleep WHERE kind = ' || quote_literal(x.kind) || ' AND schema_name = '
                               || quote_literal(x.nspname) || ' AND table_name = ' || quote_literal(x.relname) || ' AND name = '
                               || quote_literal(x.own) as memory) w) s
 where s.state <> 'O'
--@ >= 9.5 union all
--@ >= 9.5 select f.what || ' of ' || kind || name, '', nspname::text, kind || name, 'ALTER TABLE ' || name || f.make,
--@ >= 9.5        'ALTER TABLE ' || name || f.undo, relname::text
--@ >= 9.5   from rel,
--@ >= 9.5        lateral (values ('row security', relrowsecurity, ' ENABLE ROW LEVEL SECURITY', ' DISABLE ROW LEVEL SECURITY'),
--@ >= 9.5                        ('forced row security', relforcerowsecurity, ' FORCE ROW LEVEL SECURITY',
--@ >= 9.5                         ' NO FORCE ROW LEVEL SECURITY')) f(what, holds, make, undo)
--@ >= 9.5  where f.holds
--@ >= 9.5 union all
--@ >= 9.5 select 'policy ' || quote_ident(p.polname) || ' of ' || r.kind || r.name, md5(d.definition), r.nspname::text, r.kind || r.name,
--@ >= 9.5        'DROP POLICY IF EXISTS ' || quote_ident(p.polname) || ' ON ' || r.name || '; CREATE POLICY ' || quote_ident(p.polname)
--@ >= 9.5        || ' ON ' || r.name || d.definition, 'DROP POLICY ' || quote_ident(p.polname) || ' ON ' || r.name, r.relname::text
--@ >= 9.5   from pg_policy p
--@ >= 9.5   join rel r on r.oid = p.polrelid,
--@ >= 9.5        lateral (select
--@ >= 10                   case when not p.polpermissive then ' AS RESTRICTIVE' else '' end ||
--@ >= 9.5                  case p.polcmd when 'r' then ' FOR SELECT' when 'a' then ' FOR INSERT' when 'w' then ' FOR UPDATE'
--@ >= 9.5                                when 'd' then ' FOR DELETE' else ' FOR ALL' end || ' TO '
--@ >= 9.5                  || (select string_agg(case o when 0 then 'PUBLIC' else quote_ident(pg_get_userbyid(o)) end, ', ' order by o)
--@ >= 9.5                        from unnest(p.polroles) o)
--@ >= 9.5                  || coalesce(' USING (' || pg_get_expr(p.polqual, p.polrelid) || ')', '')
--@ >= 9.5                  || coalesce(' WITH CHECK (' || pg_get_expr(p.polwithcheck, p.polrelid) || ')', '') as definition) d
--@ >= 10 union all
--@ >= 10 select 'statistics ' || quote_ident(n.nspname) || '.' || quote_ident(s.stxname), '', n.nspname::text, r.kind || r.name,
--@ >= 10        'DROP STATISTICS IF EXISTS ' || quote_ident(n.nspname) || '.' || quote_ident(s.stxname) || '; '
--@ >= 10        || pg_get_statisticsobjdef(s.oid), 'DROP STATISTICS ' || quote_ident(n.nspname) || '.' || quote_ident(s.stxname),
--@ >= 10        r.relname::text
--@ >= 10   from pg_statistic_ext s
--@ >= 10   join nsp n on n.oid = s.stxnamespace
--@ >= 10   join rel r on r.oid = s.stxrelid
union all
select 'extension ' || quote_ident(e.extname), '', '-', '',
       'CREATE EXTENSION IF NOT EXISTS ' || quote_ident(e.extname) || ' SCHEMA ' || quote_ident(n.nspname) || ' CASCADE',
       'DROP EXTENSION ' || quote_ident(e.extname), null
  from pg_extension e join pg_namespace n on n.oid = e.extnamespace

-- name: table_relations
-- doc: the tables and partitions of schema_prints; files tells whether rows were rewritten: it is a list of the
-- doc: files of the table and all below it. bound is NULL unless it is a partition. object: as in schema_prints
-- returns: relid int8, object text, schema_name text, table_name text, kind text, persistence text, parent_schema text?, parent_name text?, bound text?, files text
select c.oid::int8, 'table ' || quote_ident(n.nspname) || '.' || quote_ident(c.relname), n.nspname::text, c.relname::text,
       c.relkind::text, c.relpersistence::text, pn.nspname::text, pc.relname::text,
--@ >= 10       case when c.relispartition then pg_get_expr(c.relpartbound, c.oid) end,
--@ < 10       null::text,
       (with recursive tree as (
            select c.oid
            union all
            select x.inhrelid from tree t join pg_inherits x on x.inhparent = t.oid)
        select string_agg(f.relfilenode::text, ',' order by f.oid) from tree t join pg_class f on f.oid = t.oid)
  from pg_class c
  join pg_namespace n on n.oid = c.relnamespace
  left join (select inhrelid, min(inhparent) as inhparent from pg_inherits group by inhrelid) i on i.inhrelid = c.oid
  left join pg_class pc on pc.oid = i.inhparent
  left join pg_namespace pn on pn.oid = pc.relnamespace
 where c.relkind in ('r', 'p')
   and c.relpersistence <> 't'
   and n.nspname !~ '^pg_'
   and n.nspname not in ('information_schema', 'pgtandem', '_heroku')
   and not exists (select 1 from pg_depend d where d.classid = 'pg_class'::regclass and d.objid = c.oid
                      and d.deptype = 'e')
 order by c.oid

-- name: column_definitions
-- doc: what ALTER TABLE needs to make a column of the tables of table_relations. missing: the value of rows that are
-- doc: older than the column (has_missing); of arrays it is not told. special: identity and generated. mark: another
-- doc: one when the column was altered (as is every column whose values ALTER TABLE rewrote).
-- returns: relid int8, number int, mark int8, name text, type text, coll text?, not_null bool, fallback text?, special text, has_missing bool, missing text?
select a.attrelid::int8, a.attnum::int, a.xmin::text::int8, a.attname::text, format_type(a.atttypid, a.atttypmod),
       (select quote_ident(cn.nspname) || '.' || quote_ident(co.collname)
          from pg_collation co join pg_namespace cn on cn.oid = co.collnamespace
         where co.oid = a.attcollation and a.attcollation <> t.typcollation),
       a.attnotnull,
--@ >= 12       case when a.attgenerated = '' then pg_get_expr(d.adbin, d.adrelid) end,
--@ < 12       pg_get_expr(d.adbin, d.adrelid),
--@ >= 12       a.attidentity::text || case when a.attgenerated <> '' then a.attgenerated::text || pg_get_expr(d.adbin, d.adrelid) else '' end,
--@ >= 10 < 12       a.attidentity::text,
--@ < 10       '',
--@ >= 11       a.atthasmissing, case when a.atthasmissing and t.typelem = 0 then (a.attmissingval::text::text[])[1] end
--@ < 11       false, null::text
  from pg_attribute a
  join pg_type t on t.oid = a.atttypid
  join pg_class c on c.oid = a.attrelid
  join pg_namespace n on n.oid = c.relnamespace
  left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
 where c.relkind in ('r', 'p')
   and c.relpersistence <> 't'
   and n.nspname !~ '^pg_'
   and n.nspname not in ('information_schema', 'pgtandem', '_heroku')
   and a.attnum > 0
   and not a.attisdropped
 order by a.attrelid, a.attnum

-- name: enum_labels
-- doc: the labels of an enum in order; name as in schema_prints, without "type "
-- params: name text
-- returns: label text
select e.enumlabel::text from pg_enum e
  join pg_type t on t.oid = e.enumtypid
  join pg_namespace n on n.oid = t.typnamespace
 where quote_ident(n.nspname) || '.' || quote_ident(t.typname) = $1
 order by e.enumsortorder

-- name: definitions_mark
-- doc: another text as soon as anything is altered that schema_prints, definition_facts, foreign_keys or set_aside would
-- doc: show (and now and then without reason): which transactions wrote the users' rows of the catalogs. Cheap.
-- returns: mark text
with rel as (
    select c.oid, c.xmin::text::int8 as x from pg_class c join pg_namespace n on n.oid = c.relnamespace
     where c.oid >= 16384 and c.relpersistence <> 't' and n.nspname !~ '^pg_'
       and n.nspname not in ('information_schema', 'pgtandem', '_heroku')),
seen as (
    select x from rel
    union all select a.xmin::text::int8 from pg_attribute a join rel r on r.oid = a.attrelid where a.attnum > 0
    union all select a.xmin::text::int8 from pg_attrdef a join rel r on r.oid = a.adrelid
--@ >= 10     union all select s.xmin::text::int8 from pg_sequence s join rel r on r.oid = s.seqrelid
    union all select i.xmin::text::int8 from pg_inherits i where i.inhrelid >= 16384
    union all select o.xmin::text::int8 from pg_constraint o join rel r on r.oid = o.conrelid
    union all select o.xmin::text::int8 from pg_constraint o where o.contypid >= 16384
    union all select i.xmin::text::int8 from pg_index i join rel r on r.oid = i.indrelid
    union all select t.xmin::text::int8 from pg_trigger t join rel r on r.oid = t.tgrelid
    union all select w.xmin::text::int8 from pg_rewrite w where w.oid >= 16384
    union all select e.xmin::text::int8 from pg_enum e where e.oid >= 16384
    union all select t.xmin::text::int8 from pg_type t join pg_namespace n on n.oid = t.typnamespace
               where t.oid >= 16384 and n.nspname !~ '^pg_' and n.nspname not in ('pgtandem', '_heroku')
    union all select p.xmin::text::int8 from pg_proc p join pg_namespace n on n.oid = p.pronamespace
               where p.oid >= 16384 and n.nspname !~ '^pg_' and n.nspname not in ('pgtandem', '_heroku')
    union all select n.xmin::text::int8 from pg_namespace n
               where (n.oid >= 16384 and n.nspname !~ '^pg_' or n.nspname = 'public') and n.nspname not in ('pgtandem', '_heroku')
--@ >= 9.5     union all select p.xmin::text::int8 from pg_policy p
--@ >= 10     union all select s.xmin::text::int8 from pg_statistic_ext s
    union all select d.xmin::text::int8 from pg_default_acl d
    union all select e.xmin::text::int8 from pg_extension e
    union all select t.xmin::text::int8 from pg_event_trigger t
    union all select o.xmin::text::int8 from pg_collation o where o.oid >= 16384
    union all select o.xmin::text::int8 from pg_ts_config o where o.oid >= 16384
    union all select o.xmin::text::int8 from pg_ts_dict o where o.oid >= 16384
    union all select o.xmin::text::int8 from pg_operator o where o.oid >= 16384
    union all select o.xmin::text::int8 from pg_opfamily o where o.oid >= 16384
    union all select o.xmin::text::int8 from pg_opclass o where o.oid >= 16384
    union all select o.xmin::text::int8 from pg_conversion o where o.oid >= 16384
    union all select o.xmin::text::int8 from pg_cast o where o.oid >= 16384
    union all select w.xmin::text::int8 from pg_foreign_data_wrapper w
    union all select v.xmin::text::int8 from pg_foreign_server v
    union all select m.xmin::text::int8 from pg_ts_config_map m where m.mapcfg >= 16384
--@ >= 10     union all select p.xmin::text::int8 from pg_publication p
--@ >= 10     union all select r.xmin::text::int8 from pg_publication_rel r
--@ >= 15     union all select n.xmin::text::int8 from pg_publication_namespace n
    union all select l.xmin::text::int8 from pg_seclabel l
    union all select d.xmin::text::int8 from pg_description d where d.objoid >= 16384)
select count(*) || ':' || coalesce(sum(x), 0) || ':' || coalesce(sum(x * (x % 10007)), 0) from seen

-- name: makers
-- doc: transactions that make something in a schema of the user (or move it there) and have not ended: nobody can see
-- doc: yet what they make. Each holds its schema until then.
-- returns: pid int, usename text, age float8, schema_name text
select l.pid, coalesce(min(a.usename::text), '?'),
       coalesce(extract(epoch from clock_timestamp() - min(a.xact_start)), 0)::float8, coalesce(m.nspname::text, '')
  from pg_locks l
  left join pg_stat_activity a on a.pid = l.pid
  left join pg_namespace m on m.oid = l.objid
 where l.locktype = 'object' and l.classid = 'pg_namespace'::regclass and l.granted and l.pid <> pg_backend_pid()
   and l.database = (select d.oid from pg_database d where d.datname = current_database())
   -- a schema that is new itself is not there yet
   and not exists (select 1 from pg_namespace n where n.oid = l.objid
                      and (n.nspname ~ '^pg_' or n.nspname in ('information_schema', 'pgtandem', '_heroku')))
 group by l.pid, m.nspname
 order by 3 desc

-- name: provider
-- doc: the managed service that runs this server, by the roles that it makes, or an empty text; admin: whether ours
-- doc: has the rights of its customers' administrators; own_schema: Heroku's is there.
-- doc: Heroku's servers stand at Amazon, so its role is looked for first
-- returns: name text, admin bool, role_name text, own_schema bool
select p.name, p.admin_role is null or pg_has_role(p.admin_role, 'USAGE'), quote_ident(current_user),
       exists (select 1 from pg_namespace where nspname = '_heroku')
  from (select case r.rolname when 'heroku_admin' then 'heroku' when 'rds_superuser' then 'rds'
                              when 'cloudsqlsuperuser' then 'cloudsql' when 'azure_pg_admin' then 'azure' end as name,
               case when r.rolname <> 'heroku_admin' then r.rolname end as admin_role
          from pg_roles r
         where r.rolname in ('heroku_admin', 'rds_superuser', 'cloudsqlsuperuser', 'azure_pg_admin')
        union all
        select '', null) p
 order by p.name = '', p.name <> 'heroku'
 limit 1
