-- What preflight asks the nodes (src/check/): nothing that ordinary roles may not read. The queries that return
-- just `object` deliver one line per object that is in the way; those with a parameter get the target's version.

-- name: check_node
-- doc: what decides whether two nodes fit together
-- returns: database text, database_oid int8, in_recovery bool, started text, encoding text, is_superuser bool, may_create bool, may_temp bool, role_name text, collation_name text, ctype_name text, provider text, locale_name text, lock_slots int8, relations int8, may_be_replica bool
select d.datname::text,
       d.oid::int8,
       pg_is_in_recovery(),
       pg_postmaster_start_time()::text,
       current_setting('server_encoding'),
       r.rolsuper,
       has_database_privilege(d.oid, 'CREATE'),
       has_database_privilege(d.oid, 'TEMP'),
       current_user::text,
       d.datcollate::text,
       d.datctype::text,
--@ >= 15       d.datlocprovider::text,
--@ < 15       'c'::text,
--@ >= 17       coalesce(d.datlocale::text, ''),
--@ >= 15 < 17       coalesce(d.daticulocale::text, ''),
--@ < 15       ''::text,
       current_setting('max_locks_per_transaction')::int8
         * (current_setting('max_connections')::int8 + current_setting('max_prepared_transactions')::int8),
       (select count(*) from pg_class c join pg_namespace n on n.oid = c.relnamespace
         where c.relkind in ('r', 'p', 'S', 'i', 'I') and c.relpersistence <> 't'
           and n.nspname !~ '^pg_' and n.nspname not in ('information_schema', '_heroku')),
--@ >= 15       has_parameter_privilege('session_replication_role', 'SET')
--@ < 15       r.rolsuper
  from pg_database d, pg_roles r
 where d.datname = current_database() and r.rolname = current_user

-- name: check_not_owned
-- doc: tables and sequences that our role neither owns nor is a member of the owner of; extensions' aside
-- returns: object text
select n.nspname::text || '.' || c.relname::text
         || case when c.relkind = 'S' then ' (sequence' else ' (table' end
         || ', owner ' || pg_get_userbyid(c.relowner)::text || ')'
  from pg_class c
  join pg_namespace n on n.oid = c.relnamespace
 where c.relkind in ('r', 'p', 'S')
   and c.relpersistence <> 't'
   and n.nspname !~ '^pg_'
   and n.nspname not in ('information_schema', 'pgtandem', '_heroku')
   and not pg_has_role(c.relowner, 'USAGE')
   and not exists (select 1 from pg_depend d where d.classid = 'pg_class'::regclass and d.objid = c.oid
                      and d.deptype = 'e')
 order by c.relkind = 'S', n.nspname, c.relname

-- name: check_inherited_triggers
-- doc: triggers of partitioned tables that fire for each row, so that partitions inherit them
-- returns: object text, enabled text
select n.nspname::text || '.' || c.relname::text || ': ' || t.tgname::text, t.tgenabled::text
  from pg_trigger t
  join pg_class c on c.oid = t.tgrelid
  join pg_namespace n on n.oid = c.relnamespace
 where c.relkind = 'p'
   and not t.tgisinternal
   and (t.tgtype & 1) <> 0
   and t.tgname !~ '^pgtandem_'
   and n.nspname !~ '^pg_'
   and n.nspname not in ('information_schema', 'pgtandem', '_heroku')
 order by n.nspname, c.relname, t.tgname

-- name: check_schemas
-- doc: the schemas that are or may be the users', and what our role may do there; used: something is in it that
-- doc: no extension brought
-- returns: schema_name text, used bool, may_use bool, may_create bool
select n.nspname::text,
       exists (select 1 from pg_class o where o.relnamespace = n.oid and o.relpersistence <> 't' and not exists
                 (select 1 from pg_depend d where d.classid = 'pg_class'::regclass and d.objid = o.oid
                     and d.deptype = 'e'))
         or exists (select 1 from pg_proc o where o.pronamespace = n.oid and not exists
                 (select 1 from pg_depend d where d.classid = 'pg_proc'::regclass and d.objid = o.oid
                     and d.deptype = 'e'))
         or exists (select 1 from pg_type o where o.typnamespace = n.oid and o.typtype in ('d', 'e', 'r') and not exists
                 (select 1 from pg_depend d where d.classid = 'pg_type'::regclass and d.objid = o.oid
                     and d.deptype = 'e')),
       has_schema_privilege(n.oid, 'USAGE'),
       has_schema_privilege(n.oid, 'CREATE')
  from pg_namespace n
 where n.nspname !~ '^pg_'
   and n.nspname not in ('information_schema', 'pgtandem', '_heroku')
 order by n.nspname

-- name: check_extensions
-- doc: the installed extensions
-- returns: name text, version text
select e.extname::text, e.extversion from pg_extension e where e.extname <> 'plpgsql' order by 1

-- name: check_config_sequences
-- doc: sequences that extensions leave to the users, and that our role does not own
-- returns: object text
select n.nspname::text || '.' || c.relname::text || ' (sequence, configuration, owner ' || pg_get_userbyid(c.relowner)::text || ')'
  from pg_class c
  join pg_namespace n on n.oid = c.relnamespace
  join (select distinct unnest(e.extconfig) as rel from pg_extension e) x on x.rel = c.oid
 where c.relkind = 'S'
   and not pg_has_role(c.relowner, 'USAGE')
   and n.nspname !~ '^pg_' and n.nspname not in ('information_schema', 'pgtandem', '_heroku')
 order by 1

-- name: check_available
-- doc: the extensions that could be installed; anybody_creates: without being a superuser; list: the parameter that
-- doc: does not let it be created, of a service that has such a list (Azure's is empty at first, Amazon's is '*')
-- returns: name text, version text, installed bool, anybody_creates bool, list text?
select a.name::text,
       coalesce(a.default_version, ''),
       a.installed_version is not null,
       coalesce((select bool_or(not v.superuser
--@ >= 13                                or v.trusted
                               )
                   from pg_available_extension_versions v
                  where v.name = a.name and v.version = a.default_version), false),
       (select l.name
--@ >= 9.6          from (values ('azure.extensions', current_setting('azure.extensions', true)),
--@ >= 9.6                       ('rds.allowed_extensions', nullif(current_setting('rds.allowed_extensions', true), ''))) l (name, value)
--@ < 9.6          from (values ('', null::text)) l (name, value)
         where l.value is not null and l.value <> '*'
           and lower(a.name) <> all (string_to_array(lower(replace(l.value, ' ', '')), ','))
         limit 1)
  from pg_available_extensions a
 order by 1

-- name: check_forced_rls
-- doc: tables that would hide rows even from their owner
-- returns: object text
--@ >= 9.5 select n.nspname::text || '.' || c.relname::text
--@ >= 9.5   from pg_class c
--@ >= 9.5   join pg_namespace n on n.oid = c.relnamespace
--@ >= 9.5   join pg_roles r on r.rolname = current_user
--@ >= 9.5  where c.relkind in ('r', 'p')
--@ >= 9.5    and c.relrowsecurity and c.relforcerowsecurity
--@ >= 9.5    and not (r.rolsuper or r.rolbypassrls)
--@ >= 9.5    and n.nspname !~ '^pg_' and n.nspname not in ('information_schema', 'pgtandem', '_heroku')
--@ >= 9.5  order by 1
--@ < 9.5 select ''::text where false

-- name: check_large_objects
-- returns: n int8, bytes int8, superuser bool
select count(*), pg_relation_size('pg_largeobject'), current_setting('is_superuser') = 'on'
  from pg_largeobject_metadata

-- name: check_subscriptions
-- returns: object text
--@ >= 10 select s.subname::text || case when s.subenabled then '' else ' (disabled)' end
--@ >= 10   from pg_subscription s
--@ >= 10  where s.subdbid = (select d.oid from pg_database d where d.datname = current_database())
--@ >= 10  order by 1
--@ < 10 select ''::text where false

-- name: check_publications
-- returns: object text
--@ >= 10 select p.pubname::text from pg_publication p order by 1
--@ < 10 select ''::text where false

-- name: check_publications_all
-- doc: publications for all tables
-- returns: object text
--@ >= 10 select p.pubname::text from pg_publication p where p.puballtables order by 1
--@ < 10 select ''::text where false

-- name: check_publication_identity
-- doc: tables whose changed or deleted rows would be published, but cannot be told apart by subscribers: the server
-- doc: refuses to change them
-- returns: object text
--@ >= 10 select n.nspname::text || '.' || c.relname::text || ' (' || string_agg(distinct p.pubname::text, ', ') || ')'
--@ >= 10   from pg_publication p
--@ >= 10   join pg_publication_tables t on t.pubname = p.pubname
--@ >= 10   join pg_namespace n on n.nspname = t.schemaname
--@ >= 10   join pg_class c on c.relnamespace = n.oid and c.relname = t.tablename
--@ >= 10  where (p.pubupdate or p.pubdelete)
--@ >= 10    and case c.relreplident when 'f' then false when 'n' then true
--@ >= 10             else not exists (select 1 from pg_index i where i.indrelid = c.oid and i.indisvalid
--@ >= 10                                 and case c.relreplident when 'i' then i.indisreplident else i.indisprimary end) end
--@ >= 10    and n.nspname !~ '^pg_' and n.nspname not in ('information_schema', 'pgtandem', '_heroku')
--@ >= 10  group by n.nspname, c.relname
--@ >= 10  order by 1
--@ < 10 select ''::text where false

-- name: check_removed_types
-- doc: columns of types that the target no longer has
-- params: target_version int
-- returns: object text
select n.nspname::text || '.' || c.relname::text || '.' || a.attname::text || ' (' || format_type(a.atttypid, -1) || ')'
  from pg_attribute a
  join pg_class c on c.oid = a.attrelid
  join pg_namespace n on n.oid = c.relnamespace
 where c.relkind in ('r', 'p', 'v', 'm', 'c', 'f')
   and c.relpersistence <> 't'
   and a.attnum > 0
   and not a.attisdropped
   and n.nspname !~ '^pg_'
   and n.nspname not in ('information_schema', 'pgtandem', '_heroku')
   -- abstime, reltime, tinterval and their arrays; unknown
   and ((a.atttypid in (702, 703, 704, 1023, 1024, 1025) and $1::int >= 120000)
--@ < 12         or (a.atttypid = 705 and c.relkind in ('r', 'm', 'c', 'f') and $1::int >= 100000)
       )
 order by n.nspname, c.relname, a.attnum

-- name: check_not_null_inheritance
-- doc: columns that may hold NULL although those of their parent may not: since 18 NOT NULL is inherited
-- params: target_version int
-- returns: object text
select n.nspname::text || '.' || c.relname::text || '.' || a.attname::text || ' (of ' || p.attrelid::regclass::text || ')'
  from pg_inherits i
  join pg_class c on c.oid = i.inhrelid
  join pg_namespace n on n.oid = c.relnamespace
  join pg_attribute p on p.attrelid = i.inhparent and p.attnum > 0 and p.attnotnull
  join pg_attribute a on a.attrelid = c.oid and a.attname = p.attname and not a.attnotnull
 where $1::int >= 180000
--@ >= 18   and false
   and c.relkind in ('r', 'p', 'f')
   and c.relpersistence <> 't'
   and n.nspname !~ '^pg_'
   and n.nspname not in ('information_schema', 'pgtandem', '_heroku')
 order by 1

-- name: check_char_columns
-- doc: columns of the type "char" (of one byte), where one node is older than 15 and the other one is not
-- params: target_version int
-- returns: object text
select n.nspname::text || '.' || c.relname::text || '.' || a.attname::text
  from pg_attribute a
  join pg_class c on c.oid = a.attrelid
  join pg_namespace n on n.oid = c.relnamespace
 where c.relkind in ('r', 'p')
   and c.relpersistence <> 't'
   and a.attnum > 0
   and not a.attisdropped
   and n.nspname !~ '^pg_'
   and n.nspname not in ('information_schema', 'pgtandem', '_heroku')
   and a.atttypid in (18, 1002)
--@ < 15   and $1::int >= 150000
--@ >= 15   and $1::int < 150000
 order by n.nspname, c.relname, a.attnum

-- name: check_with_oids
-- doc: tables WITH OIDS, when the target has none
-- params: target_version int
-- returns: object text
--@ < 12 select n.nspname::text || '.' || c.relname::text
--@ < 12   from pg_class c join pg_namespace n on n.oid = c.relnamespace
--@ < 12  where c.relkind in ('r', 'p') and c.relhasoids and c.relpersistence <> 't' and $1::int >= 120000
--@ < 12    and n.nspname !~ '^pg_' and n.nspname not in ('information_schema', 'pgtandem', '_heroku')
--@ < 12    and not exists (select 1 from pg_depend d where d.classid = 'pg_class'::regclass and d.objid = c.oid
--@ < 12                       and d.deptype = 'e')
--@ < 12  order by 1
--@ >= 12 select ''::text where $1::int < 0

-- name: check_postfix_operators
-- doc: operators behind their operand, when the target has none
-- params: target_version int
-- returns: object text
select n.nspname::text || '.' || o.oprname::text || ' (' || format_type(o.oprleft, -1) || ')'
  from pg_operator o join pg_namespace n on n.oid = o.oprnamespace
 where o.oprright = 0 and o.oprleft <> 0 and o.oprcode <> 0
   and $1::int >= 140000
   and n.nspname !~ '^pg_' and n.nspname not in ('information_schema', '_heroku')
   and not exists (select 1 from pg_depend d where d.classid = 'pg_operator'::regclass and d.objid = o.oid
                      and d.deptype = 'e')
 order by 1

-- name: check_c_functions
-- doc: functions in libraries that no extension brings
-- returns: object text
select distinct p.probin::text
  from pg_proc p
  join pg_language l on l.oid = p.prolang and l.lanname = 'c'
  join pg_namespace n on n.oid = p.pronamespace
 where p.probin is not null
   and n.nspname !~ '^pg_' and n.nspname not in ('information_schema', '_heroku')
   and not exists (select 1 from pg_depend d where d.classid = 'pg_proc'::regclass and d.objid = p.oid
                      and d.deptype = 'e')
 order by 1

-- name: check_foreign_partitions
-- returns: object text
--@ >= 10 select n.nspname::text || '.' || c.relname::text
--@ >= 10   from pg_class c join pg_namespace n on n.oid = c.relnamespace
--@ >= 10  where c.relkind = 'f' and c.relispartition
--@ >= 10  order by 1
--@ < 10 select ''::text where false

-- name: check_foreign_tables
-- returns: object text
select n.nspname::text || '.' || c.relname::text
  from pg_class c join pg_namespace n on n.oid = c.relnamespace
 where c.relkind = 'f'
--@ >= 10   and not c.relispartition
   and n.nspname !~ '^pg_' and n.nspname not in ('information_schema', '_heroku')
   and not exists (select 1 from pg_depend d where d.classid = 'pg_class'::regclass and d.objid = c.oid
                      and d.deptype = 'e')
 order by 1

-- name: check_unlogged_tables
-- returns: object text
select n.nspname::text || '.' || c.relname::text
  from pg_class c join pg_namespace n on n.oid = c.relnamespace
 where c.relkind in ('r', 'p') and c.relpersistence = 'u'
   and n.nspname !~ '^pg_' and n.nspname not in ('information_schema', 'pgtandem', '_heroku')
 order by 1

-- name: check_tablespaces
-- doc: tables and indexes that are not in the database's default tablespace
-- returns: object text
select s.spcname::text || ' (' || count(*)::text || case when count(*) = 1 then ' relation)' else ' relations)' end
  from pg_class c
  join pg_namespace n on n.oid = c.relnamespace
  join pg_tablespace s on s.oid = c.reltablespace
 where c.relpersistence <> 't'
   and n.nspname !~ '^pg_' and n.nspname not in ('information_schema', 'pgtandem', '_heroku')
 group by s.spcname
 order by 1

-- name: check_prepared_transactions
-- returns: object text
select p.gid || ' (owner ' || p.owner::text || ', prepared at ' || date_trunc('second', p.prepared)::text || ')'
  from pg_prepared_xacts p
 where p.database = current_database()
 order by p.prepared

-- name: check_long_transactions
-- doc: client transactions in this database that have been open for more than a minute, as far as we may see them
-- returns: pid int, user_name text, application text, seconds float8, state text
select a.pid, a.usename::text, coalesce(a.application_name, ''),
       extract(epoch from clock_timestamp() - a.xact_start)::float8, coalesce(a.state, '')
  from pg_stat_activity a
 where a.datname = current_database()
   and a.pid <> pg_backend_pid()
   and a.usename is not null
   and a.xact_start < clock_timestamp() - interval '1 minute'
   and coalesce(a.application_name, '') !~ '^pgtandem'
--@ >= 10   and a.backend_type = 'client backend'
--@ < 10   and coalesce(a.query, '') !~ '^autovacuum:'
 order by a.xact_start

-- name: check_event_triggers
-- returns: object text
select t.evtname::text || ' (' || t.evtevent::text || ')'
  from pg_event_trigger t
 where t.evtenabled <> 'D'
   and not exists (select 1 from pg_proc p join pg_namespace n on n.oid = p.pronamespace
                    where p.oid = t.evtfoid and n.nspname = '_heroku')
   and not exists (select 1 from pg_depend d where d.classid = 'pg_event_trigger'::regclass and d.objid = t.oid
                      and d.deptype = 'e')
 order by 1

-- name: check_superusers_only
-- doc: event triggers and publications that only superusers may make
-- returns: object text
select 'event trigger ' || t.evtname::text
  from pg_event_trigger t
 where not exists (select 1 from pg_proc p join pg_namespace n on n.oid = p.pronamespace
                    where p.oid = t.evtfoid and n.nspname = '_heroku')
   and not exists (select 1 from pg_depend d where d.classid = 'pg_event_trigger'::regclass and d.objid = t.oid
                      and d.deptype = 'e')
--@ >= 10 union all
--@ >= 10 select 'publication ' || p.pubname::text
--@ >= 10   from pg_publication p
--@ >= 10  where p.puballtables
--@ >= 15     or exists (select 1 from pg_publication_namespace n where n.pnpubid = p.oid)
 order by 1

-- name: check_security_labels
-- doc: on_large: those on large objects, which pg_dump carries with their contents only
-- returns: provider text, n int8, on_large int8
select s.provider, count(*), count(nullif(s.classoid = 'pg_largeobject'::regclass, false))
  from pg_seclabel s
 group by s.provider
 order by 1

-- name: check_database_settings
-- doc: what ALTER DATABASE and ALTER ROLE IN DATABASE have set for this database
-- returns: setting text
select coalesce('role ' || r.rolname::text || ': ', '') || v.text
  from pg_db_role_setting s
  join pg_database d on d.oid = s.setdatabase and d.datname = current_database()
  left join pg_roles r on r.oid = s.setrole
 cross join lateral unnest(s.setconfig) as v (text)
 order by 1

-- name: check_policy_roles
-- doc: the roles that policies name
-- returns: role text, policy text
--@ >= 9.5 select r.rolname::text, 'policy ' || p.polname::text || ' of ' || n.nspname::text || '.' || c.relname::text
--@ >= 9.5   from pg_policy p
--@ >= 9.5   join pg_class c on c.oid = p.polrelid
--@ >= 9.5   join pg_namespace n on n.oid = c.relnamespace
--@ >= 9.5   join pg_roles r on r.oid = any (p.polroles)
--@ >= 9.5  order by 1, 2
--@ < 9.5 select ''::text, ''::text where false

-- name: check_roles_used
-- doc: the roles that own the users' objects here or got rights on them. The bootstrap superuser is not in
-- doc: pg_shdepend, so what it owns is looked up.
-- returns: name text, owns bool, granted bool
select r.rolname::text, bool_or(u.owns), bool_or(not u.owns)
  from (select d.refobjid as role, d.deptype = 'o' as owns
          from pg_shdepend d
          left join pg_class t on d.classid = 'pg_class'::regclass and t.oid = d.objid
          left join pg_namespace n on n.oid = coalesce(t.relnamespace,
                   (select p.pronamespace from pg_proc p where d.classid = 'pg_proc'::regclass and p.oid = d.objid),
                   (select y.typnamespace from pg_type y where d.classid = 'pg_type'::regclass and y.oid = d.objid),
                   (select p.pronamespace from pg_event_trigger t join pg_proc p on p.oid = t.evtfoid
                     where d.classid = 'pg_event_trigger'::regclass and t.oid = d.objid),
                   case when d.classid = 'pg_namespace'::regclass then d.objid end)
         where d.dbid = (select b.oid from pg_database b where b.datname = current_database())
           and d.refclassid = 'pg_authid'::regclass
           and d.deptype in ('o', 'a', 'r')
           and coalesce(t.relpersistence, 'p') <> 't'
           and coalesce(n.nspname, '') !~ '^pg_'
           and coalesce(n.nspname, '') not in ('information_schema', 'pgtandem', '_heroku')
           and not exists (select 1 from pg_depend e where e.classid = d.classid and e.objid = d.objid
                              and e.deptype = 'e')
        union all
        select o.owner, true
          from (select 'pg_class'::regclass::oid as classid, c.oid as objid, c.relowner as owner, c.relnamespace as nsp
                  from pg_class c where c.relkind in ('r', 'p', 'v', 'm', 'S', 'f') and c.relpersistence <> 't'
                union all
                select 'pg_proc'::regclass, p.oid, p.proowner, p.pronamespace from pg_proc p) o
          join pg_namespace n on n.oid = o.nsp
         where o.owner = 10
           and n.nspname !~ '^pg_' and n.nspname not in ('information_schema', 'pgtandem', '_heroku')
           and not exists (select 1 from pg_depend e where e.classid = o.classid and e.objid = o.objid
                              and e.deptype = 'e')) u
  join pg_roles r on r.oid = u.role
 group by r.rolname
 order by r.rolname

-- name: check_roles
-- doc: the roles of the server, and whether ours may give them objects
-- returns: name text, may_own bool
select r.rolname::text,
--@ >= 16       pg_has_role(r.oid, 'SET')
--@ < 16       pg_has_role(r.oid, 'MEMBER')
  from pg_roles r
 order by 1

-- name: check_settings
-- doc: settings that applications notice, unless they are set for the database: those are the database's own
-- returns: name text, value text
select lower(s.name),
       case when lower(s.name) = 'timezone' and lower(s.reset_val) in
                 ('etc/utc', 'utc', 'etc/uct', 'uct', 'zulu', 'etc/zulu', 'universal', 'etc/universal', 'gmt', 'etc/gmt')
            then 'UTC' else coalesce(s.reset_val, '') end
  from pg_settings s
 where lower(s.name) in ('standard_conforming_strings', 'default_text_search_config', 'timezone', 'datestyle',
                         'intervalstyle', 'bytea_output', 'default_transaction_isolation', 'array_nulls',
                         'max_connections', 'max_prepared_transactions')
   and not exists (select 1 from pg_db_role_setting p, unnest(p.setconfig) v (text)
                    where p.setdatabase in (0, (select d.oid from pg_database d where d.datname = current_database()))
                      and lower(split_part(v.text, '=', 1)) = lower(s.name))
 order by 1

-- name: check_role_settings
-- doc: what ALTER ROLE has set for roles in all databases
-- returns: role text, setting text
select r.rolname::text, v.text
  from pg_db_role_setting s
  join pg_roles r on r.oid = s.setrole
 cross join lateral unnest(s.setconfig) as v (text)
 where s.setdatabase = 0
   and r.rolname !~ '^pg_'
 order by 1, 2

-- name: check_database_properties
-- doc: what GRANT, COMMENT and ALTER say of the database itself: statements for the target, which pg_dump leaves out
-- returns: property text
select case x.grantee when 0 then 'PUBLIC' else pg_get_userbyid(x.grantee)::text end || ' has ' || x.privilege_type
  from pg_database d, aclexplode(d.datacl) x
 where d.datname = current_database() and x.grantee <> d.datdba
union all
select 'PUBLIC has no ' || p.privilege
  from pg_database d, unnest(array['CONNECT', 'TEMPORARY']) p (privilege)
 where d.datname = current_database() and d.datacl is not null
   and not exists (select 1 from aclexplode(d.datacl) x where x.grantee = 0 and x.privilege_type = p.privilege)
union all
select 'comment: ' || shobj_description(d.oid, 'pg_database')
  from pg_database d where d.datname = current_database() and shobj_description(d.oid, 'pg_database') is not null
union all
select 'security label of ' || s.provider || ': ' || s.label
  from pg_shseclabel s join pg_database d on d.oid = s.objoid
 where s.classoid = 'pg_database'::regclass and d.datname = current_database()
union all
select 'connection limit: ' || d.datconnlimit from pg_database d where d.datname = current_database() and d.datconnlimit >= 0
 order by 1

-- name: check_login_roles
-- doc: roles that log in and have their rights here through membership
-- returns: name text
select r.rolname::text
  from pg_roles r
 where r.rolcanlogin and r.rolname !~ '^pg_'
   and has_database_privilege(r.oid, (select d.oid from pg_database d where d.datname = current_database()), 'CONNECT')
   and exists (select 1 from pg_shdepend s
                where s.dbid = (select d.oid from pg_database d where d.datname = current_database())
                  and s.refclassid = 'pg_authid'::regclass and s.deptype in ('o', 'a')
                  and s.refobjid <> r.oid and pg_has_role(r.oid, s.refobjid, 'MEMBER'))
 order by 1

-- name: check_invalid_indexes
-- doc: indexes that CREATE INDEX CONCURRENTLY left unfinished
-- returns: object text
select n.nspname::text || '.' || c.relname::text || ' (of ' || i.indrelid::regclass::text || ')'
  from pg_index i
  join pg_class c on c.oid = i.indexrelid
  join pg_namespace n on n.oid = c.relnamespace
 where not i.indisvalid and c.relkind = 'i'
   and n.nspname !~ '^pg_' and n.nspname not in ('information_schema', 'pgtandem', '_heroku')
 order by 1

-- name: check_views_unreadable
-- doc: materialized views that cannot be refreshed, as their owners may not read what they are made of
-- returns: object text
select distinct n.nspname::text || '.' || c.relname::text || ' (' || pg_get_userbyid(c.relowner)::text
       || ' may not read ' || d.refobjid::regclass::text || ')'
  from pg_class c
  join pg_namespace n on n.oid = c.relnamespace
  join pg_rewrite r on r.ev_class = c.oid
  join pg_depend d on d.classid = 'pg_rewrite'::regclass and d.objid = r.oid and d.refclassid = 'pg_class'::regclass
                  and d.refobjid <> c.oid
  join pg_class t on t.oid = d.refobjid and t.relkind in ('r', 'p', 'v', 'm', 'f')
 where c.relkind = 'm' and c.relispopulated
   and n.nspname !~ '^pg_' and n.nspname not in ('information_schema', 'pgtandem', '_heroku')
   and not case when d.refobjsubid > 0 then has_column_privilege(c.relowner, t.oid, d.refobjsubid::int2, 'SELECT')
                else has_any_column_privilege(c.relowner, t.oid, 'SELECT') end
 order by 1

-- name: check_column_order
-- doc: tables that inherit whose columns are not in the order in which CREATE TABLE ... INHERITS makes them: those of
-- doc: the parents first
-- returns: object text
select n.nspname::text || '.' || c.relname::text
  from (select a.attrelid, array_agg(a.attname order by a.attnum) as here,
               array_agg(a.attname order by (select min(i.inhseqno * 10000 + p.attnum)
                                               from pg_inherits i
                                               join pg_attribute p on p.attrelid = i.inhparent and p.attname = a.attname
                                                                  and p.attnum > 0 and not p.attisdropped
                                              where i.inhrelid = a.attrelid) nulls last, a.attnum) as there
          from pg_attribute a
         where a.attnum > 0 and not a.attisdropped and a.attrelid in (select inhrelid from pg_inherits)
         group by a.attrelid) o
  join pg_class c on c.oid = o.attrelid and c.relkind = 'r'
  join pg_namespace n on n.oid = c.relnamespace
 where o.here <> o.there
--@ >= 10   and not c.relispartition
   and n.nspname !~ '^pg_' and n.nspname not in ('information_schema', 'pgtandem', '_heroku')
 order by 1

-- name: check_replication_slots
-- returns: object text
--@ >= 9.4 select s.slot_name::text || ' (' || s.slot_type || coalesce(', ' || s.plugin::text, '')
--@ >= 9.4        || case when s.active then ', in use)' else ')' end
--@ >= 9.4   from pg_replication_slots s
--@ >= 9.4  where s.database = current_database()
--@ >= 9.4  order by 1
--@ < 9.4 select ''::text where false

-- name: check_ddl_running
-- doc: sessions of others that hold locks of ALTER TABLE, CREATE INDEX and the like
-- returns: object text
select n.nspname::text || '.' || c.relname::text || ' (pid ' || l.pid || ', ' || l.mode || ')'
  from pg_locks l
  join pg_class c on c.oid = l.relation
  join pg_namespace n on n.oid = c.relnamespace
 where l.locktype = 'relation' and l.granted and l.pid <> pg_backend_pid()
   and l.database = (select d.oid from pg_database d where d.datname = current_database())
   and l.mode in ('ShareLock', 'ShareRowExclusiveLock', 'AccessExclusiveLock')
   and c.relkind in ('r', 'p', 'm') and c.relpersistence <> 't'
   and n.nspname !~ '^pg_' and n.nspname not in ('information_schema', '_heroku')
 order by 1

-- name: check_removed_functions
-- doc: aggregates and operators over array functions whose arguments have other types from 14 on
-- params: target_version int
-- returns: object text
--@ < 14 select 'aggregate ' || p.oid::regprocedure::text
--@ < 14   from pg_aggregate a join pg_proc p on p.oid = a.aggfnoid
--@ < 14  where p.oid >= 16384 and $1::int >= 140000
--@ < 14    and exists (select 1 from pg_proc f join pg_namespace n on n.oid = f.pronamespace and n.nspname = 'pg_catalog'
--@ < 14                 where f.oid in (a.aggtransfn, a.aggfinalfn)
--@ < 14                   and f.proname in ('array_append', 'array_cat', 'array_prepend', 'array_remove', 'array_replace',
--@ < 14                                     'array_position', 'array_positions', 'width_bucket')
--@ < 14                   and 'anyarray'::regtype = any (f.proargtypes::oid[]))
--@ < 14    and 'anyarray'::regtype = any (p.proargtypes::oid[] || p.prorettype
--@ < 14          || a.aggtranstype)
--@ < 14 union all
--@ < 14 select 'operator ' || o.oid::regoperator::text
--@ < 14   from pg_operator o join pg_proc f on f.oid = o.oprcode
--@ < 14   join pg_namespace n on n.oid = f.pronamespace and n.nspname = 'pg_catalog'
--@ < 14  where o.oid >= 16384 and $1::int >= 140000
--@ < 14    and f.proname in ('array_append', 'array_cat', 'array_prepend', 'array_remove', 'array_replace',
--@ < 14                      'array_position', 'array_positions', 'width_bucket')
--@ < 14    and 'anyarray'::regtype = any (f.proargtypes::oid[])
--@ < 14  order by 1
--@ >= 14 select ''::text where $1::int < 0

-- name: check_function_settings
-- doc: settings that functions have in SET clauses
-- returns: setting text, object text
select lower(split_part(v.text, '=', 1)), p.oid::regprocedure::text
  from pg_proc p
  join pg_namespace n on n.oid = p.pronamespace
 cross join lateral unnest(p.proconfig) as v (text)
 where n.nspname !~ '^pg_' and n.nspname not in ('information_schema', 'pgtandem', '_heroku')
   and split_part(v.text, '=', 1) !~ '[.]'
   and not exists (select 1 from pg_depend d where d.classid = 'pg_proc'::regclass and d.objid = p.oid and d.deptype = 'e')
 order by 1, 2

-- name: check_setting_names
-- returns: name text
select lower(s.name) from pg_settings s order by 1

-- name: check_languages
-- doc: languages that no extension brings
-- returns: name text
select l.lanname::text
  from pg_language l
 where l.lanispl
   and not exists (select 1 from pg_depend d where d.classid = 'pg_language'::regclass and d.objid = l.oid
                      and d.deptype = 'e')
 order by 1

-- name: check_connections
-- doc: how many more connections our role may open; -1: without limit
-- returns: server int, role int, database int
select current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int
--@ >= 16         - current_setting('reserved_connections')::int
         - (select count(*)::int from pg_stat_activity a
--@ >= 10                              where a.backend_type = 'client backend'
           ),
       case when r.rolconnlimit < 0 or r.rolsuper then -1
            else r.rolconnlimit - (select count(*)::int from pg_stat_activity a where a.usename = r.rolname) end,
       case when d.datconnlimit < 0 or r.rolsuper then -1
            else d.datconnlimit - (select count(*)::int from pg_stat_activity a where a.datid = d.oid) end
  from pg_database d, pg_roles r
 where d.datname = current_database() and r.rolname = current_user

-- name: check_needs
-- doc: what relations, functions and types (from) need of the users' other objects. from_relation: the relation that the
-- doc: dependent object is or belongs to, or NULL; the same for what is needed, which is named by to_identity. Foreign
-- doc: keys are looked at by themselves.
-- returns: from_schema text, from_relation text?, from_text text, to_schema text, to_relation text?, to_type text, to_identity text, to_extension bool
with dep as (
    select distinct d.classid, d.objid, d.refclassid, d.refobjid
      from pg_depend d
      left join pg_constraint f on d.classid = 'pg_constraint'::regclass and f.oid = d.objid and f.contype = 'f'
     where d.deptype in ('n', 'a') and d.refobjid >= 16384 and d.objid >= 16384 and f.oid is null
       and d.classid in ('pg_class'::regclass, 'pg_attrdef'::regclass, 'pg_constraint'::regclass, 'pg_trigger'::regclass,
--@ >= 9.5                         'pg_policy'::regclass,
                         'pg_rewrite'::regclass, 'pg_proc'::regclass, 'pg_type'::regclass)
       and d.refclassid in ('pg_class'::regclass, 'pg_proc'::regclass, 'pg_type'::regclass, 'pg_operator'::regclass,
                            'pg_collation'::regclass, 'pg_opclass'::regclass, 'pg_ts_config'::regclass,
                            'pg_foreign_server'::regclass, 'pg_language'::regclass)),
-- indexes and row types stand for their tables, arrays for their elements
named as (
    select dep.*,
           coalesce(case dep.classid when 'pg_class'::regclass::oid then coalesce(i.indrelid, dep.objid) end,
                    a.adrelid, nullif(o.conrelid, 0), t.tgrelid, w.ev_class,
--@ >= 9.5                    l.polrelid,
                    nullif(y.typrelid, 0)) as from_rel,
           coalesce(p.pronamespace, y.typnamespace, oy.typnamespace) as from_nsp,
           coalesce(case dep.refclassid when 'pg_class'::regclass::oid then coalesce(ri.indrelid, dep.refobjid) end,
                    nullif(ry.typrelid, 0), nullif(re.typrelid, 0)) as to_rel,
           case when ry.typelem <> 0 and ry.typlen = -1 then ry.typelem else dep.refobjid end as to_obj
      from dep
      left join pg_index i on dep.classid = 'pg_class'::regclass and i.indexrelid = dep.objid
      left join pg_attrdef a on dep.classid = 'pg_attrdef'::regclass and a.oid = dep.objid
      left join pg_constraint o on dep.classid = 'pg_constraint'::regclass and o.oid = dep.objid
      left join pg_type oy on oy.oid = o.contypid
      left join pg_trigger t on dep.classid = 'pg_trigger'::regclass and t.oid = dep.objid
      left join pg_rewrite w on dep.classid = 'pg_rewrite'::regclass and w.oid = dep.objid
--@ >= 9.5      left join pg_policy l on dep.classid = 'pg_policy'::regclass and l.oid = dep.objid
      left join pg_proc p on dep.classid = 'pg_proc'::regclass and p.oid = dep.objid
      left join pg_type y on dep.classid = 'pg_type'::regclass and y.oid = dep.objid
      left join pg_index ri on dep.refclassid = 'pg_class'::regclass and ri.indexrelid = dep.refobjid
      left join pg_type ry on dep.refclassid = 'pg_type'::regclass and ry.oid = dep.refobjid
      left join pg_type re on re.oid = ry.typelem and ry.typlen = -1)
select distinct fn.nspname::text, fc.relname::text,
       case when fc.oid is not null then fn.nspname || '.' || fc.relname
            else (pg_identify_object(d.classid, d.objid, 0)).identity end,
       coalesce(tn.nspname::text, x.schema, ''), tc.relname::text, x.type,
       x.identity,
       exists (select 1 from pg_depend e where e.deptype = 'e' and e.objid = coalesce(tc.oid, d.to_obj)
                  and e.classid = case when tc.oid is not null then 'pg_class'::regclass::oid else d.refclassid end)
  from named d
  left join pg_class fc on fc.oid = d.from_rel
  join pg_namespace fn on fn.oid = coalesce(fc.relnamespace, d.from_nsp)
  left join pg_class tc on tc.oid = d.to_rel
  left join pg_namespace tn on tn.oid = tc.relnamespace
 cross join lateral pg_identify_object(case when tc.oid is not null then 'pg_class'::regclass else d.refclassid end,
                                       case when tc.oid is not null then tc.oid else d.to_obj end, 0) x
 where fn.nspname !~ '^pg_' and fn.nspname not in ('information_schema', 'pgtandem', '_heroku')
   and coalesce(tn.nspname, x.schema, '') !~ '^pg_'
   -- what needs something of Heroku's own schema needs another Heroku
   and coalesce(tn.nspname, x.schema, '') not in ('information_schema', 'pgtandem')
   and (tc.oid is null or tc.oid is distinct from fc.oid)
   and not exists (select 1 from pg_depend e where e.deptype = 'e' and e.objid = coalesce(fc.oid, d.objid)
                      and e.classid = case when fc.oid is not null then 'pg_class'::regclass::oid else d.classid end)
 order by 1, 3, 7

-- name: check_have
-- doc: which of these objects are here; names is an array of types and identities as check_needs and
-- doc: new_objects tell them, NULL for all
-- params: names text
-- returns: name text
select o.type || ' ' || o.identity
  from (select 'pg_class'::regclass as class, oid from pg_class where oid >= 16384 and relkind in ('r', 'p', 'v', 'm', 'f', 'S', 'c')
        union all select 'pg_proc'::regclass, oid from pg_proc where oid >= 16384
        union all select 'pg_type'::regclass, oid from pg_type where oid >= 16384
        union all select 'pg_operator'::regclass, oid from pg_operator where oid >= 16384
        union all select 'pg_collation'::regclass, oid from pg_collation where oid >= 16384
        union all select 'pg_opclass'::regclass, oid from pg_opclass where oid >= 16384
        union all select 'pg_ts_config'::regclass, oid from pg_ts_config where oid >= 16384
        union all select 'pg_opfamily'::regclass, oid from pg_opfamily where oid >= 16384
        union all select 'pg_conversion'::regclass, oid from pg_conversion where oid >= 16384
        union all select 'pg_ts_dict'::regclass, oid from pg_ts_dict where oid >= 16384
        union all select 'pg_ts_parser'::regclass, oid from pg_ts_parser where oid >= 16384
        union all select 'pg_ts_template'::regclass, oid from pg_ts_template where oid >= 16384
        union all select 'pg_cast'::regclass, oid from pg_cast where oid >= 16384
        union all select 'pg_foreign_data_wrapper'::regclass, oid from pg_foreign_data_wrapper
        union all select 'pg_foreign_server'::regclass, oid from pg_foreign_server
        union all select 'pg_extension'::regclass, oid from pg_extension
        union all select 'pg_namespace'::regclass, oid from pg_namespace
        union all select 'pg_language'::regclass, oid from pg_language) x,
       lateral pg_identify_object(x.class, x.oid, 0) o
 where $1::text[] is null or o.type || ' ' || o.identity = any ($1::text[])

-- name: check_may_make_database
-- doc: whether our role may create databases
-- returns: may bool
select rolsuper or rolcreatedb from pg_roles where rolname = current_user

-- name: check_function_texts
-- doc: functions whose text or settings mention one of these words (an array); others know tables by their ids
-- params: words text
-- returns: schema_name text, name text, word text
select n.nspname::text, p.oid::regprocedure::text, min(w.word)
  from pg_proc p
  join pg_namespace n on n.oid = p.pronamespace
  join pg_language l on l.oid = p.prolang
  join unnest($1::text[]) w(word)
    on p.prosrc || coalesce(array_to_string(p.proconfig, ' '), '') ~*
       ('(^|[^[:alnum:]_$])' || regexp_replace(w.word, '([^[:alnum:]_])', '\\\1', 'g') || '($|[^[:alnum:]_$])')
 where l.lanname not in ('internal', 'c')
--@ >= 14   and (p.prosqlbody is null or p.proconfig is not null)
 group by n.nspname, p.oid
 order by 1, 2

-- name: check_names
-- doc: names that tables, their indexes, sequences and types have in a schema, which must be free for those to come
-- returns: schema_name text, name text, relation text, in_extension bool
select n.nspname::text, c.relname::text, coalesce(t.relname, c.relname)::text,
       exists (select 1 from pg_depend d where d.classid = 'pg_class'::regclass and d.objid = coalesce(t.oid, c.oid)
                  and d.deptype = 'e')
  from pg_class c
  join pg_namespace n on n.oid = c.relnamespace
  left join pg_index i on i.indexrelid = c.oid
  left join pg_class t on t.oid = i.indrelid
 where c.relkind in ('r', 'p', 'v', 'm', 'f', 'S', 'i', 'I') and c.relpersistence <> 't'
   and n.nspname !~ '^pg_' and n.nspname not in ('information_schema', 'pgtandem', '_heroku')
union
select n.nspname::text, y.typname::text, y.typname::text, false
  from pg_type y
  join pg_namespace n on n.oid = y.typnamespace
 where y.typrelid = 0
   and n.nspname !~ '^pg_' and n.nspname not in ('information_schema', 'pgtandem', '_heroku')

-- name: check_filter_keys
-- doc: foreign keys as they were declared; for a row c of the one table, and t of the other: filled tells that c refers to
-- doc: a row, matches that this is t
-- returns: schema_name text, table_name text, name text, to_schema text, to_table text, filled text, matches text
select n.nspname::text, c.relname::text, o.conname::text, tn.nspname::text, tc.relname::text,
       (select string_agg('c.' || quote_ident(a.attname) || ' IS NOT NULL', ' AND ' order by s.i)
          from generate_subscripts(o.conkey, 1) s(i)
          join pg_attribute a on a.attrelid = o.conrelid and a.attnum = o.conkey[s.i]),
       (select string_agg('t.' || quote_ident(ta.attname) || ' OPERATOR(' || quote_ident(opn.nspname) || '.' || op.oprname
                          || ') c.' || quote_ident(a.attname), ' AND ' order by s.i)
          from generate_subscripts(o.conkey, 1) s(i)
          join pg_attribute a on a.attrelid = o.conrelid and a.attnum = o.conkey[s.i]
          join pg_attribute ta on ta.attrelid = o.confrelid and ta.attnum = o.confkey[s.i]
          join pg_operator op on op.oid = o.conpfeqop[s.i]
          join pg_namespace opn on opn.oid = op.oprnamespace)
  from pg_constraint o
  join pg_class c on c.oid = o.conrelid
  join pg_namespace n on n.oid = c.relnamespace
  join pg_class tc on tc.oid = o.confrelid
  join pg_namespace tn on tn.oid = tc.relnamespace
 where o.contype = 'f'
--@ >= 11   and o.conparentid = 0
--@ >= 18   and o.conenforced
   and n.nspname !~ '^pg_'
   and n.nspname not in ('information_schema', 'pgtandem', '_heroku')
 order by 1, 2, 3
