-- A server as a whole: its databases and roles.

-- name: databases
-- doc: the databases of a server, in the order of their names; those that belong to a provider are left out
-- returns: name text, may_connect bool, bytes int8, tablespace text
select d.datname::text, d.datallowconn and has_database_privilege(d.oid, 'CONNECT'),
       case when d.datallowconn and has_database_privilege(d.oid, 'CONNECT')
            then pg_database_size(d.oid) else 0 end::int8,
       case when t.spcname in ('pg_default') then '' else t.spcname::text end
  from pg_database d
  join pg_tablespace t on t.oid = d.dattablespace
 where not d.datistemplate
   and d.datname not in ('rdsadmin', 'cloudsqladmin', 'azure_maintenance', 'azure_sys', 'pgtandem new')
 order by d.datname::text collate "C"

-- name: server_roles
-- doc: the roles of a server without its own
-- returns: name text, login bool
select r.rolname::text, r.rolcanlogin
  from pg_roles r
 where r.rolname !~ '^pg_'
 order by r.rolname::text collate "C"

-- name: server_rights
-- doc: what this role may do on the server, and how many sessions it can still open there
-- returns: superuser bool, create_role bool, create_db bool, read_passwords bool, sessions_left int
select r.rolsuper, r.rolsuper or r.rolcreaterole, r.rolsuper or r.rolcreatedb,
       has_table_privilege('pg_catalog.pg_authid', 'SELECT'),
       (current_setting('max_connections')::int
          - case when r.rolsuper then 0 else current_setting('superuser_reserved_connections')::int end
          - (select count(*) from pg_stat_activity a where a.application_name not like 'pgtandem%'))::int
  from pg_roles r
 where r.rolname = current_user

-- name: server_tablespaces
-- doc: the tablespaces that people made, with their places where these may be seen
-- returns: name text
select t.spcname::text from pg_tablespace t where t.spcname !~ '^pg_' order by 1
