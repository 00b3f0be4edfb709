-- The state of a run: read and written on the nodes' own pgtandem schema.

-- name: has_control
-- doc: whether this database has our schema
-- returns: present bool, readable bool
select exists (select 1 from pg_namespace n where n.nspname = 'pgtandem'),
       exists (select 1 from pg_class c join pg_namespace n on n.oid = c.relnamespace
                where n.nspname = 'pgtandem' and c.relname = 'node' and has_table_privilege(c.oid, 'SELECT'))

-- name: node_state
-- returns: format int, tool_version text, run_id text, side text, gate text, epoch int8
select format, tool_version, run_id, side, gate, epoch from pgtandem.node

-- name: run_state
-- returns: phase text, source_name text, target_name text, source_version int, source_bytes int8, schema_print text
select phase, source_name, target_name, source_version, source_bytes, schema_print from pgtandem.run

-- name: progress
-- returns: snapshot text?, applied_at text?, age float8?, rounds int8, rows int8, peer_id text, timeline text
select snapshot, applied_at::text, extract(epoch from clock_timestamp() - applied_at)::float8, rounds, rows, peer_id, timeline
  from pgtandem.progress

-- name: tabs
-- doc: key_columns are separated by the character 31
-- returns: id int, schema_name text, table_name text, key_columns text?, key_is_int bool, captured bool, dirty bool
select id, schema_name, table_name, array_to_string(key_columns, chr(31)), key_is_int, captured, dirty
  from pgtandem.tab order by id

-- name: purged
-- returns: snapshot text?
select snapshot from pgtandem.purged

-- name: our_triggers
-- doc: the triggers of ours on user tables, those of one table together
-- returns: oid int8, schema_name text, table_name text, name text
select c.oid::int8, n.nspname::text, c.relname::text, t.tgname::text
  from pg_trigger t
  join pg_proc p on p.oid = t.tgfoid
  join pg_namespace pn on pn.oid = p.pronamespace and pn.nspname = 'pgtandem'
  join pg_class c on c.oid = t.tgrelid
  join pg_namespace n on n.oid = c.relnamespace
 where not t.tgisinternal
 order by c.oid, t.tgname

-- name: gate_triggers
-- params: relid int8
-- returns: name text
select t.tgname::text from pg_trigger t where t.tgrelid = $1::int8::oid and t.tgname = 'pgtandem_gate'

-- name: chunks
-- returns: tab int, no int, rel_schema text, rel_name text, kind text, lo text?, hi text?, filenode int8, bytes int8, done bool
select tab, no, rel_schema, rel_name, kind, lo::text, hi::text, filenode, bytes, done
  from pgtandem.chunk order by tab, no

-- name: settled
-- returns: tab int
select tab from pgtandem.settled
