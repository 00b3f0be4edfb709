-- Large objects in a run (src/migrate/large.c). Pages and owners are in catalogs that only superusers may read
-- whole. `since` is the id of a transaction: rows that it or a later one wrote; age() compares ids as the server
-- does, also around their end. NULL: all rows.

-- name: large_may
-- doc: whether our role may read and write the catalogs of large objects
-- returns: may bool
select current_setting('is_superuser') = 'on'

-- name: large_counts
-- returns: objects int8, comments int8, bytes int8
select (select count(*) from pg_largeobject_metadata),
       (select count(*) from pg_description d where d.classoid = 'pg_largeobject'::regclass),
       pg_relation_size('pg_largeobject')

-- name: large_progress
-- params: edge text
-- returns: snapshot text?, pass text?
select large_snapshot, large_pass from pgtandem.progress where edge = $1

-- name: large_last_page
-- returns: loid int8, pageno int
select loid::int8, pageno from pg_largeobject order by loid desc, pageno desc limit 1

-- name: large_changed
-- doc: objects whose owner, rights or comment were written since, in the order of their ids; plain: nothing was
-- doc: ever granted
-- params: since text, after int8, most int
-- returns: object int8, owner text, plain bool, grants text?, comment text?
select m.oid::int8,
       quote_ident(pg_get_userbyid(m.lomowner)),
       m.lomacl is null,
       (select string_agg(format('GRANT %s ON LARGE OBJECT %s TO %s%s', x.privilege_type, m.oid,
                                 case x.grantee when 0 then 'PUBLIC' else quote_ident(pg_get_userbyid(x.grantee)) end,
                                 case when x.is_grantable then ' WITH GRANT OPTION' else '' end), '; ')
          from aclexplode(coalesce(m.lomacl, acldefault('L', m.lomowner))) x),
       quote_literal(d.description)
  from pg_largeobject_metadata m
  left join pg_description d on d.classoid = 'pg_largeobject'::regclass and d.objoid = m.oid
 where m.oid > $2::int8::oid
   and ($1::text is null or age(m.xmin) <= (select age($1::text::xid)) or age(d.xmin) <= (select age($1::text::xid)))
 order by m.oid
 limit $3::int

-- name: large_revokes
-- doc: what takes away all rights on these objects, also their owner's; they are an array. plain: nothing was ever granted
-- params: objects text
-- returns: object int8, plain bool, statement text?
select m.oid::int8,
       m.lomacl is null,
       (select string_agg(format('REVOKE ALL ON LARGE OBJECT %s FROM %s', m.oid,
                                 case x.grantee when 0 then 'PUBLIC' else quote_ident(pg_get_userbyid(x.grantee)) end), '; ')
          from aclexplode(coalesce(m.lomacl, acldefault('L', m.lomowner))) x)
  from pg_largeobject_metadata m
 where m.oid = any ($1::text::oid[])

-- name: large_ids
-- doc: the objects there are, in order, and whether each has a comment
-- params: after int8, most int
-- returns: object int8, commented bool
select m.oid::int8, exists (select 1 from pg_description d where d.classoid = 'pg_largeobject'::regclass and d.objoid = m.oid)
  from pg_largeobject_metadata m
 where m.oid > $1::int8::oid
 order by m.oid
 limit $2::int

-- name: large_among
-- doc: which of these objects there are, in order
-- params: objects text
-- returns: object int8, commented bool
select m.oid::int8, exists (select 1 from pg_description d where d.classoid = 'pg_largeobject'::regclass and d.objoid = m.oid)
  from pg_largeobject_metadata m
 where m.oid = any ($1::text::oid[])
 order by m.oid

-- name: large_pages
-- doc: how many pages each of these objects has
-- params: objects text
-- returns: object int8, pages int8
select o.oid::int8, (select count(*) from pg_largeobject p where p.loid = o.oid)
  from unnest($1::text::oid[]) o (oid)
 order by o.oid

-- name: large_staged
-- doc: objects with pages in the stage
-- params: after int8, most int
-- returns: object int8
select distinct loid::int8 from pg_temp.pgtandem_large where loid > $1::int8::oid order by 1 limit $2::int

-- name: large_waiting
-- doc: ends what waits to read or write large objects
-- returns: pid int
select w.pid
  from (select distinct l.pid
          from pg_locks l
         where not l.granted and l.locktype = 'relation'
           and l.relation in ('pg_largeobject'::regclass, 'pg_largeobject_metadata'::regclass)
           and l.database = (select d.oid from pg_database d where d.datname = current_database()) offset 0) w
 where pg_cancel_backend(w.pid)

-- name: large_writers
-- doc: the functions that write large objects and that everybody may call
-- returns: name text
select p.oid::regprocedure::text
  from pg_proc p
 where p.pronamespace = (select n.oid from pg_namespace n where n.nspname = 'pg_catalog')
   and p.proname in ('lo_creat', 'lo_create', 'lo_from_bytea', 'lo_put', 'lowrite', 'lo_truncate', 'lo_truncate64',
                     'lo_unlink', 'lo_import')
   and exists (select 1 from aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) x
                where x.grantee = 0 and x.privilege_type = 'EXECUTE')
 order by 1

-- name: large_map
-- doc: the function that reads the visibility map, and whether its extension is there or could be created
-- returns: function text?, available bool
select (select quote_ident(n.nspname) || '.pg_visibility_map'
          from pg_extension e join pg_namespace n on n.oid = e.extnamespace where e.extname = 'pg_visibility'),
       exists (select 1 from pg_available_extensions a where a.name = 'pg_visibility')
