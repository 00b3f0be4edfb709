-- The state of a run: read and written on the nodes' own pgtandem schema.

-- name: has_control
-- doc: whether this database has our schema
-- returns: present bool, readable bool
select exists (select 1 from pg_namespace n where n.nspname = 'pgtandem'),
       exists (select 1 from pg_class c join pg_namespace n on n.oid = c.relnamespace
                where n.nspname = 'pgtandem' and c.relname = 'node' and has_table_privilege(c.oid, 'SELECT'))

-- name: node_state
-- doc: by way of JSON what other versions' schemas lack is empty, and no error
-- returns: format int, tool_version text, run_id text, side text, gate text, epoch int8, leader text, voided int8, selection text, filters text
select format, tool_version, run_id, side, gate, epoch, coalesce(row_to_json(n)->>'leader', ''),
       coalesce((row_to_json(n)->>'voided')::int8, 0), coalesce(row_to_json(n)->>'selection', ''),
       coalesce(row_to_json(n)->>'filters', '')
  from pgtandem.node n

-- name: run_state
-- returns: phase text, source_name text, target_name text, source_version int, source_bytes int8
select phase, source_name, target_name, source_version, source_bytes from pgtandem.run

-- name: progress
-- params: edge text
-- returns: snapshot text?, applied_at text?, age float8?, rounds int8, rows int8, peer_id text, timeline text, registration text, reads int8
select snapshot, applied_at::text, extract(epoch from clock_timestamp() - applied_at)::float8, rounds, rows, peer_id, timeline,
       registration, reads
  from pgtandem.progress where edge = $1

-- name: tabs
-- doc: key_columns are separated by the character 31; rel is the oid of the table that was captured, or 0
-- returns: id int, schema_name text, table_name text, key_columns text?, key_is_int bool, captured bool, copied_mark int8, captures int, key_print text, rel int8, followed bool, adrift bool, filter text?
select t.id, t.schema_name, t.table_name, array_to_string(t.key_columns, chr(31)), t.key_is_int, t.captured, t.copied_mark,
       t.captures, t.key_print, coalesce(r.rel, 0), t.followed, t.adrift, t.filter
  from pgtandem.tab t
  left join pgtandem.tab_rel r on r.tab = t.id and r.root
 order by t.id

-- name: partition_condition
-- doc: what rows of a partition fulfil, with that of the tables above it
-- params: relid int8
-- returns: condition text
--@ >= 10 select pg_get_partition_constraintdef($1::int8::oid)
--@ < 10 select 'false' where $1::int8 = 0

-- name: highest_tab
-- doc: the highest number that a table of the run has or had, or 0
-- returns: id int
select coalesce(max(id), 0) from pgtandem.tab

-- name: filtered_tabs
-- doc: tables of which the run moves some rows only
-- returns: schema_name text, table_name text
select schema_name, table_name from pgtandem.tab where filter is not null and schema_name <> '' order by 1, 2

-- name: lost_tabs
-- doc: captured tables that are gone; those of extensions are in no baseline
-- returns: id int
select t.id
  from pgtandem.tab t join pgtandem.tab_rel r on r.tab = t.id and r.root
 where t.schema_name <> '' and not exists (select 1 from pg_class c where c.oid = r.rel::oid)
 order by t.id

-- name: keyless_only_marked
-- doc: tables without key whose changes are only marked, and that are at least this large by now
-- params: bytes int8
-- returns: id int, bytes int8
select t.id, sum(pg_total_relation_size(r.rel::oid))::int8
  from pgtandem.tab t join pgtandem.tab_rel r on r.tab = t.id
 where t.key_columns is null and not t.followed and t.captured
 group by t.id
having sum(pg_total_relation_size(r.rel::oid)) >= $1::int8
 order by t.id

-- name: keyless_followed
-- returns: id int
select id from pgtandem.tab where key_columns is null and followed order by id

-- name: tab_name
-- params: id int
-- returns: schema_name text, table_name text
select schema_name, table_name from pgtandem.tab where id = $1::int

-- name: consumer
-- params: edge text
-- returns: purged text?, detached bool, registration text, reads int8
select purged, detached, registration, reads from pgtandem.consumer where edge = $1

-- name: rewritten
-- doc: whether the files of one of these tables, or of a partition, are others than the snapshot's catalog says: it was
-- doc: truncated or rewritten since; or whether a table or a column has got another name. relids is an array
-- params: relids text
-- returns: rewritten bool
with recursive tree(oid) as (
    select unnest($1::text::oid[])
    union all
    select i.inhrelid from tree t join pg_inherits i on i.inhparent = t.oid)
-- the catalog is read in the snapshot, the function tells what is there now; before 12 a partitioned table names a file
-- that does not exist
select exists (select 1 from tree t join pg_class c on c.oid = t.oid
                where c.relkind <> 'p' and nullif(c.relfilenode, 0) is distinct from pg_relation_filenode(c.oid))
    or exists (select 1 from pg_class c
                 join pg_namespace n on n.oid = c.relnamespace
                 join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
                where c.oid = any ($1::text::oid[])
                  and (pg_identify_object('pg_class'::regclass, c.oid, a.attnum)).identity
                      is distinct from format('%I.%I.%I', n.nspname, c.relname, a.attname))

-- name: our_triggers
-- doc: the triggers of ours on user tables, those of one table together
-- returns: oid int8, schema_name text, table_name text, name text, function text
select c.oid::int8, n.nspname::text, c.relname::text, t.tgname::text, p.proname::text
  from pg_trigger t
  join pg_proc p on p.oid = t.tgfoid
  join pg_namespace pn on pn.oid = p.pronamespace and pn.nspname = 'pgtandem'
  join pg_class c on c.oid = t.tgrelid
  join pg_namespace n on n.oid = c.relnamespace
 where not t.tgisinternal
 order by c.oid, t.tgname

-- name: other_triggers
-- doc: triggers of ours on one relation that belong to another table's number
-- params: relid int8, tab int
-- returns: name text
select t.tgname::text
  from pg_trigger t
  join pg_proc p on p.oid = t.tgfoid
  join pg_namespace pn on pn.oid = p.pronamespace and pn.nspname = 'pgtandem'
 where t.tgrelid = $1::int8::oid and not t.tgisinternal
   and p.proname <> 'gate' and split_part(p.proname::text, '_', 2) <> $2::int::text
 order by t.tgname

-- name: tab_rels
-- doc: the relations of one table that have its triggers
-- params: tab int
-- returns: rel int8
select rel from pgtandem.tab_rel where tab = $1::int order by rel

-- name: hidden_key_changes
-- doc: what may change a key in an UPDATE whose SET does not name it: BEFORE triggers, a subscription's worker
-- params: relid int8
-- returns: name text
select t.tgname::text
  from pg_trigger t
 where t.tgrelid = $1::int8::oid
   and not t.tgisinternal
   and (t.tgtype & 1) <> 0 and (t.tgtype & 2) <> 0 and (t.tgtype & 16) <> 0
--@ >= 10 union all
--@ >= 10 select 'subscription' from pg_subscription_rel r where r.srrelid = $1::int8::oid

-- name: gate_triggers
-- params: relid int8
-- returns: name text
select t.tgname::text from pg_trigger t where t.tgrelid = $1::int8::oid and t.tgname = 'pgtandem_gate'

-- name: chunks
-- doc: all chunks, or those of one table when tab is not 0, or one of these when no is not 0; then in_table is
-- doc: the number of chunks of its table
-- params: tab int, no int
-- returns: tab int, no int, rel_schema text, rel_name text, kind text, lo text?, hi text?, filenode int8, bytes int8, done bool, in_table int8
select c.tab, c.no, c.rel_schema, c.rel_name, c.kind, c.lo::text, c.hi::text, c.filenode, c.bytes, c.done,
       case when $2::int = 0 then 0 else (select count(*) from pgtandem.chunk o where o.tab = c.tab) end
  from pgtandem.chunk c
 where ($1::int = 0 or c.tab = $1::int) and ($2::int = 0 or c.no = $2::int)
 order by c.tab, c.no

-- name: settled
-- returns: tab int
select tab from pgtandem.settled

-- name: lock_holder
-- doc: who holds an advisory lock of runs; lock: which of them
-- params: lock int
-- returns: pid int, application text, client text
select a.pid, regexp_replace(coalesce(a.application_name, ''), ' lock$', ''), coalesce(host(a.client_addr), '')
  from pg_locks l join pg_stat_activity a on a.pid = l.pid
 where l.locktype = 'advisory' and l.classid = 1885827188 and l.objid = $1 and l.granted
   and l.database = (select d.oid from pg_database d where d.datname = current_database())

-- name: set_aside
-- doc: publications and event triggers: what has to wait until the copy takes over. print: what it is, without its
-- doc: owner, comment, labels and whether it is switched off. make, owner, remark, labels: statements that make it so;
-- doc: bare: those that take its labels away.
-- doc: asleep: what it was before it was put to sleep, or empty
-- returns: kind text, name text, print text, make text, owner text, remark text, commented bool, labels text, bare text, enabled text, asleep text
--@ >= 10 select 'publication', p.pubname::text, md5(d.text), d.text,
--@ >= 10        'ALTER PUBLICATION ' || quote_ident(p.pubname) || ' OWNER TO ' || quote_ident(pg_get_userbyid(p.pubowner)),
--@ >= 10        'COMMENT ON PUBLICATION ' || quote_ident(p.pubname) || ' IS '
--@ >= 10        || coalesce(quote_literal(obj_description(p.oid, 'pg_publication')), 'NULL'),
--@ >= 10        obj_description(p.oid, 'pg_publication') is not null,
--@ >= 10        coalesce((select string_agg('SECURITY LABEL FOR ' || quote_ident(l.provider) || ' ON PUBLICATION '
--@ >= 10                                    || quote_ident(p.pubname) || ' IS ' || quote_literal(l.label), '; ' order by l.provider)
--@ >= 10                    from pg_seclabel l
--@ >= 10                   where l.classoid = 'pg_publication'::regclass and l.objoid = p.oid), ''),
--@ >= 10        coalesce((select string_agg('SECURITY LABEL FOR ' || quote_ident(l.provider) || ' ON PUBLICATION '
--@ >= 10                                    || quote_ident(p.pubname) || ' IS NULL', '; ' order by l.provider)
--@ >= 10                    from pg_seclabel l
--@ >= 10                   where l.classoid = 'pg_publication'::regclass and l.objoid = p.oid), ''),
--@ >= 10        '', ''
--@ >= 10   from pg_publication p,
--@ >= 10        lateral (select 'CREATE PUBLICATION ' || quote_ident(p.pubname)
--@ >= 10                  || case when p.puballtables then ' FOR ALL TABLES' else '' end || ' WITH (publish = '''
--@ >= 10                  || concat_ws(', ', case when p.pubinsert then 'insert' end, case when p.pubupdate then 'update' end,
--@ >= 10                               case when p.pubdelete then 'delete' end
--@ >= 11                               , case when p.pubtruncate then 'truncate' end
--@ >= 10                              ) || ''''
--@ >= 13                  || case when p.pubviaroot then ', publish_via_partition_root' else '' end
--@ >= 18                  || case when p.pubgencols = 's' then ', publish_generated_columns = stored' else '' end
--@ >= 10                  || ')'
--@ >= 10                  || coalesce((
--@ >= 10                        select '; ALTER PUBLICATION ' || quote_ident(p.pubname) || ' ADD TABLE '
--@ >= 10                               || string_agg('ONLY ' || quote_ident(n.nspname) || '.' || quote_ident(c.relname)
--@ >= 15                                             || coalesce(' (' || (select string_agg(quote_ident(a.attname), ', ' order by a.attnum)
--@ >= 15                                                                    from pg_attribute a
--@ >= 15                                                                   where a.attrelid = c.oid and a.attnum = any (r.prattrs)) || ')', '')
--@ >= 15                                             || coalesce(' WHERE (' || pg_get_expr(r.prqual, r.prrelid) || ')', '')
--@ >= 10                                             , ', ' order by n.nspname, c.relname)
--@ >= 10                          from pg_publication_rel r
--@ >= 10                          join pg_class c on c.oid = r.prrelid
--@ >= 10                          join pg_namespace n on n.oid = c.relnamespace
--@ >= 10                         where r.prpubid = p.oid and n.nspname not in ('pgtandem', '_heroku')), '')
--@ >= 15                  || coalesce((
--@ >= 15                        select '; ALTER PUBLICATION ' || quote_ident(p.pubname) || ' ADD TABLES IN SCHEMA '
--@ >= 15                               || string_agg(quote_ident(n.nspname), ', ' order by n.nspname)
--@ >= 15                          from pg_publication_namespace s
--@ >= 15                          join pg_namespace n on n.oid = s.pnnspid
--@ >= 15                         where s.pnpubid = p.oid), '')
--@ >= 10                  as text) d
--@ >= 10  where not exists (select 1 from pg_depend e where e.classid = 'pg_publication'::regclass and e.objid = p.oid
--@ >= 10                       and e.deptype = 'e')
--@ >= 10 union all
select 'event trigger', t.evtname::text, md5(d.text),
       d.text || case coalesce(a.was, t.evtenabled::text) when 'D' then s.text || ' DISABLE' when 'A' then s.text || ' ENABLE ALWAYS'
                                   when 'R' then s.text || ' ENABLE REPLICA' else '' end,
       'ALTER EVENT TRIGGER ' || quote_ident(t.evtname) || ' OWNER TO ' || quote_ident(pg_get_userbyid(t.evtowner)),
       'COMMENT ON EVENT TRIGGER ' || quote_ident(t.evtname) || ' IS '
       || coalesce(quote_literal(obj_description(t.oid, 'pg_event_trigger')), 'NULL'),
       obj_description(t.oid, 'pg_event_trigger') is not null,
       coalesce((select string_agg('SECURITY LABEL FOR ' || quote_ident(l.provider) || ' ON EVENT TRIGGER '
                                   || quote_ident(t.evtname) || ' IS ' || quote_literal(l.label), '; ' order by l.provider)
                   from pg_seclabel l
                  where l.classoid = 'pg_event_trigger'::regclass and l.objoid = t.oid), ''),
       coalesce((select string_agg('SECURITY LABEL FOR ' || quote_ident(l.provider) || ' ON EVENT TRIGGER '
                                   || quote_ident(t.evtname) || ' IS NULL', '; ' order by l.provider)
                   from pg_seclabel l
                  where l.classoid = 'pg_event_trigger'::regclass and l.objoid = t.oid), ''),
       t.evtenabled::text,
       coalesce(a.was, '')
  from pg_event_trigger t
  left join pgtandem.asleep a on a.kind = 'event trigger' and a.name = t.evtname and t.evtenabled = 'D'
  join pg_proc f on f.oid = t.evtfoid
  join pg_namespace n on n.oid = f.pronamespace,
       lateral (select 'CREATE EVENT TRIGGER ' || quote_ident(t.evtname) || ' ON ' || t.evtevent
                       || coalesce(' WHEN TAG IN (' || nullif(array_to_string(array(select quote_literal(g) from unnest(t.evttags) g), ', '), '')
                                   || ')', '')
                       || ' EXECUTE PROCEDURE ' || quote_ident(n.nspname) || '.' || quote_ident(f.proname) || '()' as text) d,
       lateral (select '; ALTER EVENT TRIGGER ' || quote_ident(t.evtname) as text) s
 -- those of extensions and of Heroku are their own business
 where n.nspname not in ('_heroku', 'pgtandem')
   and not exists (select 1 from pg_depend e where e.classid = 'pg_event_trigger'::regclass and e.objid = t.oid
                      and e.deptype = 'e')
 order by 1 desc, 2

-- name: before_aside
-- doc: publications and event triggers that were in the target before us
-- returns: kind text, name text
--@ >= 10 select 'publication', p.pubname::text from pg_publication p
--@ >= 10   join pgtandem.before b on b.class = 'pg_publication' and b.oid = p.oid::int8
--@ >= 10 union all
select 'event trigger', t.evtname::text from pg_event_trigger t
  join pgtandem.before b on b.class = 'pg_event_trigger' and b.oid = t.oid::int8
 order by 1, 2

-- name: made_aside
-- doc: publications and event triggers that the run has carried in one of the two directions; on the target
-- returns: object text
select m.object from pgtandem.made m where m.object ~ '^(event trigger|publication) ' order by 1

-- name: asleep
-- doc: what sleeps on this node, in an order in which it can wake
-- returns: kind text, schema_name text, table_name text, name text, was text, definition text?, comment text?, leaves bool, loose bool, awake bool, partitioned bool
select a.kind, a.schema_name, a.table_name, a.name, a.was, a.definition, a.comment, a.leaves, a.loose, a.awake,
       exists (select 1 from pg_class c join pg_namespace n on n.oid = c.relnamespace
                where n.nspname = a.schema_name and c.relname = a.table_name and c.relkind = 'p')
  from pgtandem.asleep a
 order by a.kind desc, a.schema_name, a.table_name, a.name

-- name: invalid_key_parts
-- doc: foreign keys that stand for a validated one towards the partitions of the table it refers to
-- params: schema_name text, table_name text, name text
-- returns: name text
--@ >= 11 select o.conname::text
--@ >= 11   from pg_constraint p
--@ >= 11   join pg_class c on c.oid = p.conrelid
--@ >= 11   join pg_namespace n on n.oid = c.relnamespace
--@ >= 11   join pg_constraint o on o.conparentid = p.oid and o.conrelid = p.conrelid and not o.convalidated
--@ >= 11  where p.contype = 'f' and p.convalidated and n.nspname = $1 and c.relname = $2 and p.conname = $3
--@ < 11 select ''::text where $1::text is null and $2::text is null and $3::text is null

-- name: post_items
-- returns: no int, type text, schema_name text, name text, tab int, done bool
select no, type, schema_name, name, coalesce(tab, 0), done from pgtandem.post_item order by no

-- name: claim_items
-- doc: marks all items of a table done in the caller's transaction, or one item when tab is 0. Those that are
-- doc: done already do not come, nor those of a table whose rows are not settled (the target crashed, and the
-- doc: transaction that settled them is gone).
-- params: tab int, no int
-- returns: type text, name text, statement text
with claimed as (
    update pgtandem.post_item i set done = true
     where no in (select p.no from pgtandem.post_item p where $1::int <> 0 and p.tab = $1::int
                  union all select $2::int where $1::int = 0)
       and not done
       and (tab is null or exists (select 1 from pgtandem.settled s where s.tab = i.tab))
    returning no, type, name, statement)
select type, name, statement from claimed order by no

-- name: remember_objects
-- doc: lists every object that is in the target before us
insert into pgtandem.before (class, oid)
select 'pg_namespace', oid::int8 from pg_namespace where oid >= 16384 or nspname = 'public'
union all select 'pg_extension', oid::int8 from pg_extension
union all select 'pg_class', oid::int8 from pg_class where oid >= 16384
union all select 'pg_proc', oid::int8 from pg_proc where oid >= 16384
union all select 'pg_type', oid::int8 from pg_type where oid >= 16384
union all select 'pg_operator', oid::int8 from pg_operator where oid >= 16384
union all select 'pg_opclass', oid::int8 from pg_opclass where oid >= 16384
union all select 'pg_opfamily', oid::int8 from pg_opfamily where oid >= 16384
union all select 'pg_collation', oid::int8 from pg_collation where oid >= 16384
union all select 'pg_conversion', oid::int8 from pg_conversion where oid >= 16384
union all select 'pg_cast', oid::int8 from pg_cast where oid >= 16384
union all select 'pg_ts_config', oid::int8 from pg_ts_config where oid >= 16384
union all select 'pg_ts_dict', oid::int8 from pg_ts_dict where oid >= 16384
union all select 'pg_ts_parser', oid::int8 from pg_ts_parser where oid >= 16384
union all select 'pg_ts_template', oid::int8 from pg_ts_template where oid >= 16384
union all select 'pg_foreign_data_wrapper', oid::int8 from pg_foreign_data_wrapper where oid >= 16384
union all select 'pg_foreign_server', oid::int8 from pg_foreign_server where oid >= 16384
union all select 'pg_language', oid::int8 from pg_language where oid >= 16384
--@ >= 9.5 union all select 'pg_transform', oid::int8 from pg_transform where oid >= 16384
--@ >= 9.6 union all select 'pg_am', oid::int8 from pg_am where oid >= 16384
union all select 'pg_event_trigger', oid::int8 from pg_event_trigger
--@ >= 10 union all select 'pg_publication', oid::int8 from pg_publication

-- name: remember_schemas
-- doc: the properties of the schemas that are in the target before us
insert into pgtandem.before_schema (name, owner, acl, comment, label_providers, labels)
select nspname::text, pg_get_userbyid(nspowner)::text, nspacl, obj_description(oid, 'pg_namespace'),
       array(select s.provider from pg_seclabel s where s.classoid = 'pg_namespace'::regclass and s.objoid = n.oid
              order by 1),
       array(select s.label from pg_seclabel s where s.classoid = 'pg_namespace'::regclass and s.objoid = n.oid
              order by s.provider)
  from pg_namespace n where nspname !~ '^pg_' and nspname not in ('information_schema', 'pgtandem', '_heroku')

-- name: remember_default_acls
insert into pgtandem.before_default_acl (oid, acl) select oid::int8, defaclacl from pg_default_acl

-- name: before_config
-- doc: tables and sequences of extensions that were in the target before us; condition: NULL for a sequence
-- returns: schema_name text, name text, condition text?, last_value int8, is_called bool
select schema_name, name, condition, coalesce(last_value, 0), coalesce(is_called, false)
  from pgtandem.before_config_rel order by 1, 2

-- name: put_back
-- doc: the statements that give schemas and default privileges the properties that they had before us
-- returns: statement text
with acls as (
    select format('ON SCHEMA %I', n.nspname) as what, '' as prefix, n.nspname::text as name,
           coalesce(n.nspacl, acldefault('n', n.nspowner)) as now,
           coalesce(b.acl, acldefault('n', r.oid)) as was
      from pg_namespace n
      join pgtandem.before_schema b on b.name = n.nspname
      join pg_roles r on r.rolname = b.owner
     where n.nspacl is distinct from b.acl
    union all
    select 'ON ' || case d.defaclobjtype when 'r' then 'TABLES' when 'S' then 'SEQUENCES' when 'f' then 'FUNCTIONS'
                                         when 'T' then 'TYPES' when 'n' then 'SCHEMAS' else 'LARGE OBJECTS' end,
           format('ALTER DEFAULT PRIVILEGES FOR ROLE %I ', pg_get_userbyid(d.defaclrole))
             || coalesce('IN SCHEMA ' || quote_ident(n.nspname) || ' ', ''),
           d.oid::text, d.defaclacl,
           coalesce(b.acl, case when d.defaclnamespace = 0
                                then acldefault(case d.defaclobjtype when 'S' then 's' else d.defaclobjtype end,
                                                d.defaclrole)
                                else '{}' end)
      from pg_default_acl d
      left join pg_namespace n on n.oid = d.defaclnamespace
      left join pgtandem.before_default_acl b on b.oid = d.oid::int8
     where d.defaclacl is distinct from b.acl
       and coalesce(n.nspname, '') <> '_heroku'
       -- who moves a part has changed nothing of the others'
       and case when n.nspname is null then (select selection from pgtandem.node) !~ '(^|\n)(schema|table) '
                else (select selection from pgtandem.node) = ''
                     or n.nspname in (select name from pgtandem.before_schema) end),
steps as (
    select 1 as step, 0::int8 as item, n.nspname::text as name,
           format('ALTER SCHEMA %I OWNER TO %I', n.nspname, b.owner) as statement
      from pg_namespace n
      join pgtandem.before_schema b on b.name = n.nspname and b.owner <> pg_get_userbyid(n.nspowner)
    union all
    select distinct 2, 0::int8, a.name,
           a.prefix || 'REVOKE ALL ' || a.what || ' FROM '
             || case x.grantee when 0 then 'PUBLIC' else quote_ident(pg_get_userbyid(x.grantee)) end
      from acls a, aclexplode(a.now) x
    union all
    select 3, u.item, a.name,
           a.prefix || 'GRANT ' || x.privilege_type || ' ' || a.what || ' TO '
             || case x.grantee when 0 then 'PUBLIC' else quote_ident(pg_get_userbyid(x.grantee)) end
             || case when x.is_grantable then ' WITH GRANT OPTION' else '' end
      from acls a, unnest(a.was) with ordinality u (acl, item), aclexplode(array[u.acl]) x
    union all
    select 4, 0, n.nspname::text, format('COMMENT ON SCHEMA %I IS %s', n.nspname, coalesce(quote_literal(b.comment), 'NULL'))
      from pg_namespace n
      join pgtandem.before_schema b on b.name = n.nspname
       and b.comment is distinct from obj_description(n.oid, 'pg_namespace')
    union all
    select 5, 0, n.nspname::text,
           format('SECURITY LABEL FOR %I ON SCHEMA %I IS %s', l.provider, n.nspname, coalesce(quote_literal(l.was), 'NULL'))
      from pg_namespace n
      join pgtandem.before_schema b on b.name = n.nspname
     cross join lateral (select coalesce(w.provider, s.provider) as provider, w.label as was
                           from (select unnest(b.label_providers) as provider, unnest(b.labels) as label) w
                           full join (select p.provider, p.label from pg_seclabel p
                                       where p.classoid = 'pg_namespace'::regclass and p.objoid = n.oid) s
                             on s.provider = w.provider
                          where s.label is distinct from w.label) l)
select statement from steps order by step, name, item, statement

-- name: new_objects
-- doc: the objects of the target that were not there before us, in an order in which dropping works; our own
-- doc: schema is left out. schema_name: where it is, or its own name; relation: if it is one. object: as check_have
-- doc: tells it; print: as schema_prints does, if that is another text. address: for dependents
-- returns: type text, identity text, schema_name text?, relation text?, object text, print text?, address text
select case when o.type = 'composite type' then 'type'
            when o.type = 'foreign-data wrapper' then 'foreign data wrapper'
            when o.type = 'procedure' or x.class = 'pg_proc'::regclass and o.type <> 'aggregate' then
--@ >= 11                 'routine'
--@ < 11                 'function'
            else o.type end,
       case o.type when 'aggregate' then replace(o.identity, '()', '(*)')
                   -- some servers put an "on" into it that DROP does not take
                   when 'transform' then regexp_replace(o.identity, ' on (language [^ ]+)$', ' \1')
                   else o.identity end,
       (select n.nspname::text from pg_namespace n
         where case when x.class = 'pg_namespace'::regclass then n.oid = x.oid else quote_ident(n.nspname) = o.schema end),
       (select c.relname::text from pg_class c where x.class = 'pg_class'::regclass and c.oid = x.oid),
       o.type || ' ' || o.identity,
       case when x.class = 'pg_proc'::regclass then 'function ' || x.oid::regprocedure::text
            when o.type = 'type' and exists (select 1 from pg_type t where t.oid = x.oid and t.typtype = 'd')
                 then 'domain ' || o.identity
            when o.type = 'composite type' then 'type ' || o.identity end,
       x.class::oid::text || ':' || x.oid::text
  from (select 1 as step, 'pg_extension'::regclass as class, oid from pg_extension
        union all select 2, 'pg_namespace'::regclass, oid from pg_namespace
                   where nspname !~ '^pg_' and nspname not in ('information_schema', 'pgtandem', '_heroku', 'public')
        union all select 3, 'pg_foreign_server'::regclass, oid from pg_foreign_server where oid >= 16384
        union all select 3, 'pg_foreign_data_wrapper'::regclass, oid from pg_foreign_data_wrapper where oid >= 16384
        union all select 4, 'pg_class'::regclass, oid from pg_class
                   where oid >= 16384 and relkind in ('r', 'p', 'v', 'm', 'f', 'c', 'S') and relpersistence <> 't'
--@ >= 9.5         union all select 5, 'pg_transform'::regclass, oid from pg_transform where oid >= 16384
        union all select 5, 'pg_opclass'::regclass, oid from pg_opclass where oid >= 16384
        union all select 5, 'pg_opfamily'::regclass, oid from pg_opfamily where oid >= 16384
        union all select 6, 'pg_operator'::regclass, oid from pg_operator where oid >= 16384
--@ >= 9.6         union all select 6, 'pg_am'::regclass, oid from pg_am where oid >= 16384
        union all select 6, 'pg_language'::regclass, oid from pg_language where oid >= 16384
        union all select 6, 'pg_cast'::regclass, oid from pg_cast where oid >= 16384
        union all select 7, 'pg_proc'::regclass, oid from pg_proc where oid >= 16384
        union all select 8, 'pg_type'::regclass, oid from pg_type where oid >= 16384 and typtype in ('d', 'e', 'r')
        union all select 9, 'pg_collation'::regclass, oid from pg_collation where oid >= 16384
        union all select 9, 'pg_conversion'::regclass, oid from pg_conversion where oid >= 16384
        union all select 9, 'pg_ts_config'::regclass, oid from pg_ts_config where oid >= 16384
        union all select 9, 'pg_ts_dict'::regclass, oid from pg_ts_dict where oid >= 16384
        union all select 9, 'pg_ts_parser'::regclass, oid from pg_ts_parser where oid >= 16384
        union all select 9, 'pg_ts_template'::regclass, oid from pg_ts_template where oid >= 16384) x,
       lateral pg_identify_object(x.class, x.oid, 0) as o
 where not exists (select 1 from pgtandem.before b
                    where b.class = (select relname::text from pg_class where oid = x.class)
                      and b.oid = x.oid::int8)
   and coalesce(o.schema, '') not in ('pgtandem', '_heroku')
   and not exists (select 1 from pg_depend d where d.classid = x.class and d.objid = x.oid
                      -- a column of a partition key depends on its own table, which is not meant here
                      and d.objsubid = 0
                      and (d.deptype = 'e' or d.deptype = 'i' and o.type <> 'composite type'))
 order by x.step, o.identity

-- name: dependents
-- doc: what depends on these objects (an array of addresses of new_objects) and is neither one of them nor a part of one
-- params: addresses text
-- returns: dependent text, object text
with recursive given as (
    select split_part(a, ':', 1)::oid as class, split_part(a, ':', 2)::oid as oid from unnest($1::text[]) a),
parts (class, oid) as (
    select class, oid from given
    union
    select d.classid, d.objid
      from parts p
      join pg_depend d on d.refclassid = p.class and d.refobjid = p.oid
     where d.deptype in ('a', 'i', 'e', 'I', 'P', 'S')
        or d.classid = 'pg_user_mapping'::regclass)
select pg_describe_object(d.classid, d.objid, d.objsubid), pg_describe_object(d.refclassid, d.refobjid, d.refobjsubid)
  from parts p
  join pg_depend d on d.refclassid = p.class and d.refobjid = p.oid
 where d.deptype = 'n'
   and not exists (select 1 from parts o where o.class = d.classid and o.oid = d.objid)
 order by 1, 2

-- name: blockers
-- doc: sessions of others that hold locks of writers on user tables or large objects, those of the oldest transactions
-- doc: first; relids: of these tables only, an array
-- params: relids text
-- returns: pid int, usename text, relation text, age float8
select l.pid, coalesce(min(a.usename::text), '?'), min(c.relname::text),
       coalesce(extract(epoch from clock_timestamp() - min(a.xact_start)), 0)::float8 as age
  from pg_locks l
  join pg_class c on c.oid = l.relation
  join pg_namespace n on n.oid = c.relnamespace
  left join pg_stat_activity a on a.pid = l.pid
 where l.locktype = 'relation' and l.granted and l.pid <> pg_backend_pid()
   and l.database = (select d.oid from pg_database d where d.datname = current_database())
   and l.mode in ('RowExclusiveLock', 'ShareUpdateExclusiveLock', 'ShareLock', 'ShareRowExclusiveLock',
                  'ExclusiveLock', 'AccessExclusiveLock')
   and c.relkind in ('r', 'p')
   and ($1::text is null or c.oid = any ($1::text::oid[]))
   and (n.nspname !~ '^pg_' and n.nspname not in ('information_schema', 'pgtandem', '_heroku')
        or c.oid in ('pg_largeobject'::regclass, 'pg_largeobject_metadata'::regclass))
 group by l.pid
 order by age desc

-- name: prepared_transactions
-- doc: prepared transactions of this database; relids: those that hold one of these tables only, an array
-- params: relids text
-- returns: gid text
select p.gid
  from pg_prepared_xacts p
 where p.database = current_database()
   and ($1::text is null
        -- nobody's process holds its locks; its own number is one of them
        or exists (select 1
                     from pg_locks t
                     join pg_locks l on l.virtualtransaction = t.virtualtransaction and l.pid is null
                    where t.locktype = 'transactionid' and t.transactionid = p.transaction and t.pid is null and t.granted
                      and l.locktype = 'relation' and l.relation = any ($1::text::oid[])))
 order by p.prepared

-- name: end_session
-- doc: ends a session of ours; returns a row as long as it is still there
-- params: pid int
-- returns: pid int
select s.pid
  from (select a.pid from pg_stat_activity a
          where a.pid = $1::int and a.application_name like 'pgtandem%' offset 0) s
 where pg_terminate_backend(s.pid) is not null

-- name: baseline
-- params: side text
-- returns: object text, print text
select object, print from pgtandem.baseline where side = $1

-- name: old_tables
-- params: side text
-- returns: rel int8, schema_name text, table_name text, files text
select rel, schema_name, table_name, files from pgtandem.baseline_table where side = $1 order by rel

-- name: old_columns
-- params: side text
-- returns: rel int8, number int, mark int8, name text, type text, fallback text?
select rel, number, mark, name, type, fallback from pgtandem.baseline_column where side = $1 order by rel, number
