-- script: control
-- The schema that is in each of the two databases while a run lasts, and in each database of the replication
-- service. Nothing in it is granted to anybody; `finish`, `abort` and `remove sync` drop it. The same on both
-- nodes, since either may become the other's source.
CREATE SCHEMA pgtandem;

-- one row: which run this database belongs to (the service has none), and whether applications may write here
CREATE TABLE pgtandem.node (
    one          boolean PRIMARY KEY DEFAULT true CHECK (one),
    format       integer NOT NULL,              -- of this schema; another format is another tool version
    tool_version text NOT NULL,
    run_id       text NOT NULL,
    side         text NOT NULL CHECK (side IN ('source', 'target', 'service')),
    gate         text NOT NULL CHECK (gate IN ('open', 'closed')),
    epoch        bigint NOT NULL DEFAULT 0,     -- number of the switch that set the gate
    leader       text NOT NULL DEFAULT '',      -- in a run of all databases: the one whose gate decides a switch
    selection    text NOT NULL DEFAULT '',      -- of a run that moves a part: patterns; the gate is that of its tables
    filters      text NOT NULL DEFAULT '',      -- of a run that leaves rows behind: conditions of tables
    voided       bigint NOT NULL DEFAULT 0,     -- leader: switches up to this number do not happen any more
    created      timestamptz NOT NULL DEFAULT now()
);

-- the tables that are captured here (in a run: kept in step, and the number is the same on both nodes)
CREATE TABLE pgtandem.tab (
    id           integer PRIMARY KEY,
    schema_name  text NOT NULL,
    table_name   text NOT NULL,
    key_columns  text[],                        -- NULL: no key
    key_is_int   boolean NOT NULL,
    key_print    text NOT NULL DEFAULT '',      -- numbers and types of the key's columns, whatever they are called
    captured     boolean NOT NULL DEFAULT false,-- the triggers are on this node's table
    captures     integer NOT NULL DEFAULT 0,    -- how often they had to be put there again: changes are missing then
    followed     boolean NOT NULL DEFAULT false,-- no key: its changes are captured here, and not only marked
    copied_mark  bigint NOT NULL DEFAULT 0,     -- no key: the peer's mark of the last copy that is here
    adrift       boolean NOT NULL DEFAULT false,-- no key: this copy cannot be followed any more, copied under the fence
    filter       text,                          -- in a run: the condition of its rows, on the source; NULL: all rows
    UNIQUE (schema_name, table_name)
);

-- the relations that have our triggers: a table and its partitions. What is not here is new, and what has fewer
-- triggers has lost some.
CREATE TABLE pgtandem.tab_rel (
    tab          integer NOT NULL,
    rel          bigint NOT NULL,               -- its oid here
    root         boolean NOT NULL,              -- the table itself
    triggers     integer NOT NULL,
    PRIMARY KEY (tab, rel)
);

-- the changes captured on this node: the key, and who wrote it. Two segments, chosen by the writer's
-- transaction id; only ever inserted into and truncated (so no key is needed, also not by publications).
-- tab: the table's number, negative for an INSERT (so that a backlog of nothing else can be loaded by COPY).
-- k: a single integer key; ka: any other key as texts; both NULL: the table was truncated; an empty ka: every
-- row has to be carried.
-- tab 0: this transaction is a round that was applied here, by the edge that ka names.
-- at: when, where a sync of several sources needs it to decide conflicts: then the column has a default.
-- '-infinity': a round took the row away by its own decision, of which the node that it came from has to hear.
CREATE TABLE pgtandem.queue_0 (txid bigint NOT NULL, tab integer NOT NULL, k bigint, ka text[], at timestamptz);
CREATE TABLE pgtandem.queue_1 (txid bigint NOT NULL, tab integer NOT NULL, k bigint, ka text[], at timestamptz);

-- of tables without key: the rows themselves, as text; n is 1 for one that came, and -1 for one that went. Apart from
-- the keys, since these are read for each table. Such tables also have a sequence mark_<id>, which moves with each
-- change that is not captured.
CREATE TABLE pgtandem.image_0 (txid bigint NOT NULL, tab integer NOT NULL, n integer NOT NULL, image text);
CREATE TABLE pgtandem.image_1 (txid bigint NOT NULL, tab integer NOT NULL, n integer NOT NULL, image text);

-- how much of another node's changes this node has, one row for each edge that ends here ("run", or "sync/source");
-- written in the transaction that applies them
CREATE TABLE pgtandem.progress (
    edge         text PRIMARY KEY,
    snapshot     text,                          -- txid_snapshot of the peer; NULL: nothing yet
    applying     bigint,                        -- marks the applying transaction for triggers and the gate
    applied_at   timestamptz,
    rounds       bigint NOT NULL DEFAULT 0,
    rows         bigint NOT NULL DEFAULT 0,
    peer_id      text NOT NULL DEFAULT '',      -- system identifier and database of the peer
    timeline     text NOT NULL DEFAULT '',      -- of the peer
    large_snapshot text,                        -- of the peer: what of its large objects is here; NULL: not all yet
    large_pass   text,                           -- and when the first copy of them began
    registration text NOT NULL DEFAULT '',      -- of the peer's row in consumer that this continues
    reads        bigint NOT NULL DEFAULT 0      -- the number that the peer had then: a smaller one was restored
);

-- in a run that leaves rows behind, on the source: keys of rows that fail their table's condition and are in the run
-- all the same, because the way back wrote them. What fails it and is not here is left alone.
CREATE TABLE pgtandem.outside (
    tab          integer NOT NULL,
    key          text[] NOT NULL,
    PRIMARY KEY (tab, key)
);

-- who reads this node's queue, one row for each edge that begins here: a segment is emptied when all of them
-- have confirmed what is in it. As txid_snapshots of this node.
CREATE TABLE pgtandem.consumer (
    edge         text PRIMARY KEY,
    -- changes are kept since this row is there: another row is another registration
    registration text NOT NULL DEFAULT md5(random()::text || clock_timestamp()::text || txid_current()::text),
    reads        bigint NOT NULL DEFAULT 0,     -- counted up behind each read, before the other node commits it
    owner        text NOT NULL DEFAULT '',      -- of the service: whose file has the edge
    confirmed    text,                          -- what the other node had, durably, when it was last asked
    purged       text,                          -- the same when the queue was last purged
    confirmed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    detached     boolean NOT NULL DEFAULT false,-- too far behind: its changes are not kept any more
    detached_at  timestamptz
);

-- which edges that begin here read which captured table; a run has but one
CREATE TABLE pgtandem.tab_edge (
    edge         text NOT NULL,
    tab          integer NOT NULL,
    PRIMARY KEY (edge, tab)
);

-- triggers, rules, foreign keys, event triggers and functions (those that write large objects: the right to call them)
-- that sleep while this node is the copy, to be put back as they were
CREATE TABLE pgtandem.asleep (
    kind         text NOT NULL
                 CHECK (kind IN ('trigger', 'rule', 'foreign key', 'function', 'event trigger')),
    schema_name  text NOT NULL,
    table_name   text NOT NULL,
    name         text NOT NULL,
    was          text NOT NULL,                 -- tgenabled / ev_enabled; for foreign keys valid or not valid
    definition   text,                          -- of what is not there while it sleeps
    comment      text,                          -- the statement of a foreign key's comment
    leaves       boolean NOT NULL DEFAULT false,-- a foreign key to a table that is not part of the run
    loose        boolean NOT NULL DEFAULT false,-- one whose rows may lack their counterpart: it leaves, or rows of one
                                                -- of its tables were left behind
    awake        boolean NOT NULL DEFAULT false,-- put back, but a foreign key still has to be validated
    PRIMARY KEY (kind, schema_name, table_name, name)
);

-- Whether applications may write here: gate_open() and gate_close() replace it. SQL, STABLE and without
-- any clause, so that the server puts the answer into the expressions that ask, and prepares those anew
-- when it changes (an IMMUTABLE function would be evaluated and forgotten).
CREATE FUNCTION pgtandem.open() RETURNS boolean LANGUAGE sql STABLE AS 'SELECT true';

-- Ends the statement while this node is closed, unless it is our own apply.
CREATE FUNCTION pgtandem.refuse(op text, relation oid) RETURNS void LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $pgtandem$
BEGIN
  IF EXISTS (SELECT 1 FROM pgtandem.progress WHERE applying = txid_current()) THEN RETURN; END IF;
  RAISE EXCEPTION USING ERRCODE = 'read_only_sql_transaction',
    MESSAGE = CASE WHEN (SELECT selection FROM pgtandem.node) = ''
                   THEN 'database "' || current_database() || '"' ELSE 'table ' || relation::regclass::text END
              || ' on this server does not take writes: pgtandem keeps it as the copy of another server',
    DETAIL = 'Statement ' || op || ' on table ' || relation::regclass::text || ' was refused.',
    HINT = 'Connect to the server that the application was switched to.';
END $pgtandem$;

-- the gate of tables whose capture is by row, and of roots whose partitions are captured by themselves
CREATE FUNCTION pgtandem.gate() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $pgtandem$
BEGIN
  IF NOT pgtandem.open() THEN PERFORM pgtandem.refuse(TG_OP, TG_RELID); END IF;
  RETURN NULL;
END $pgtandem$;

REVOKE ALL ON FUNCTION pgtandem.open(), pgtandem.refuse(text, oid), pgtandem.gate() FROM PUBLIC;

-- what happened, for `status` and reports
CREATE TABLE pgtandem.journal (
    no           serial PRIMARY KEY,
    at           timestamptz NOT NULL DEFAULT clock_timestamp(),
    event        text NOT NULL,
    detail       text NOT NULL DEFAULT '',
    ms           double precision
);

-- script: control_service
-- What databases of the replication service have besides.

-- the edges that end here: what people want of them, and how they are
CREATE TABLE pgtandem.edge (
    edge         text PRIMARY KEY,              -- sync/source/target
    owner        text NOT NULL DEFAULT '',      -- whose file has it
    paused       boolean NOT NULL DEFAULT false,
    removing     boolean NOT NULL DEFAULT false,-- its worker has to let go of it
    kick_wanted  bigint NOT NULL DEFAULT 0,     -- number of the last kick,
    kick_done    bigint NOT NULL DEFAULT 0,     -- and of the last one that was answered by a whole round
    state        text NOT NULL DEFAULT 'new',
    state_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    error        text,                          -- the last one, and when
    hint         text,
    error_at     timestamptz,
    worker       text NOT NULL DEFAULT '',      -- host and process
    in_step_at   timestamptz                    -- when nothing was pending, roughly
);

-- the tables of these edges, under the source's names
CREATE TABLE pgtandem.edge_table (
    edge         text NOT NULL,
    schema_name  text NOT NULL,
    table_name   text NOT NULL,
    state        text NOT NULL CHECK (state IN ('new', 'recopy', 'ok', 'stopped', 'gone')),
    captures     integer NOT NULL DEFAULT 0,    -- the source's number when it was last planned
    rel          bigint NOT NULL DEFAULT 0,     -- the table's oid on the source: it tells a renamed table from another
    target_rel   bigint NOT NULL DEFAULT 0,     -- and here: another one does not have what was carried
    reason       text,
    rows         bigint,                        -- of the last copy
    at           timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (edge, schema_name, table_name)
);

-- rows that were changed here and on the other side by transactions that did not know of each other, and rows
-- that could not be together with others
CREATE TABLE pgtandem.conflict (
    no           bigserial PRIMARY KEY,
    at           timestamptz NOT NULL DEFAULT clock_timestamp(),
    kind         text NOT NULL DEFAULT 'row' CHECK (kind IN ('row', 'unique', 'foreign key', 'truncate')),
    edge         text NOT NULL,
    schema_name  text NOT NULL,
    table_name   text NOT NULL,
    key          text[] NOT NULL,               -- of the row; of a violation: of the row that had to give way
    constraint_name text,                       -- of a violation
    rule         text NOT NULL,
    winner       text NOT NULL,                 -- the name of a database; empty: nobody
    from_row     text,                          -- as JSON; NULL: deleted there, or there is none
    to_row       text,                          -- this node's row
    from_at      timestamptz,
    to_at        timestamptz,
    seen         text,                          -- txid_snapshot of this node when it was judged
    parked       boolean NOT NULL DEFAULT false,-- the other node's row is not here, and is tried again
    tried_at     timestamptz,
    settled_at   timestamptz                    -- when it was no longer parked
);

-- script: control_target
-- What only the target has: how far the making of the copy is.
CREATE TABLE pgtandem.run (
    one          boolean PRIMARY KEY DEFAULT true CHECK (one),
    phase        text NOT NULL,
    phase_at     timestamptz NOT NULL DEFAULT now(),
    source_name  text NOT NULL,                 -- without secrets
    target_name  text NOT NULL,
    source_version integer NOT NULL,
    source_bytes bigint NOT NULL DEFAULT 0
);

-- fingerprints of all definitions on either node: the source's when they were copied, the target's when it was
-- ready. A difference later is DDL that was run meanwhile, on one node only.
CREATE TABLE pgtandem.baseline (
    side         text NOT NULL CHECK (side IN ('source', 'target')),
    object       text NOT NULL,
    print        text NOT NULL,
    PRIMARY KEY (side, object)
);

-- the same for the columns of tables, which have to be told apart one by one: a column that was renamed keeps
-- its number. files: another list means that rows were moved; when a column has another mark, too, they may
-- have got other values.
CREATE TABLE pgtandem.baseline_table (
    side         text NOT NULL,
    rel          bigint NOT NULL,
    schema_name  text NOT NULL,
    table_name   text NOT NULL,
    files        text NOT NULL,
    PRIMARY KEY (side, rel)
);
CREATE TABLE pgtandem.baseline_column (
    side         text NOT NULL,
    rel          bigint NOT NULL,
    number       integer NOT NULL,
    mark         bigint NOT NULL,
    name         text NOT NULL,
    type         text NOT NULL,
    fallback     text,                          -- the expression of its default, or how it is generated
    PRIMARY KEY (side, rel, number)
);

-- pieces of the initial copy; done in the transaction that loads the rows
CREATE TABLE pgtandem.chunk (
    tab          integer NOT NULL,
    no           integer NOT NULL,
    rel_schema   text NOT NULL,                 -- the table on the source, or one of its partitions
    rel_name     text NOT NULL,
    kind         text NOT NULL CHECK (kind IN ('whole', 'ctid', 'key')),
    lo           bigint,                        -- block or key, inclusive; NULL: open
    hi           bigint,                        -- exclusive; NULL: open
    filenode     bigint NOT NULL,               -- of the relation when the chunks were planned
    bytes        bigint NOT NULL,               -- estimated before, measured after
    rows         bigint,
    done         boolean NOT NULL DEFAULT false,
    snapshot     text,                          -- of the source, in which a table without key was read
    PRIMARY KEY (tab, no)
);

-- tables in the initial copy whose chunks are all loaded and free of double rows: indexes may be built
CREATE TABLE pgtandem.settled (
    tab          integer PRIMARY KEY
);

-- what pg_dump puts after the data, one entry each
CREATE TABLE pgtandem.post_item (
    no           integer PRIMARY KEY,
    type         text NOT NULL,
    schema_name  text NOT NULL,
    name         text NOT NULL,
    tab          integer,                       -- built as soon as this table is settled
    statement    text NOT NULL,
    done         boolean NOT NULL DEFAULT false
);

-- objects that were in the target before us: `abort` removes everything else
CREATE TABLE pgtandem.before (
    class        text NOT NULL,
    oid          bigint NOT NULL,
    PRIMARY KEY (class, oid)
);

-- what the run made in the target, by type and identity, where that cannot be told otherwise: under other names than
-- those of the source; publications and event triggers that were carried, in either direction
CREATE TABLE pgtandem.made (
    object       text PRIMARY KEY
);

-- what pg_dump changes of that which was in the target before us: `abort` puts it back. acl is null
-- where nothing was ever granted.
CREATE TABLE pgtandem.before_schema (
    name         text PRIMARY KEY,
    owner        text NOT NULL,
    acl          aclitem[],
    comment      text,
    label_providers text[],                     -- of security labels, and these
    labels       text[]
);
-- rows that users had put into tables of extensions which were in the target before us
CREATE TABLE pgtandem.before_config (
    no           bigserial PRIMARY KEY,
    schema_name  text NOT NULL,
    table_name   text NOT NULL,
    image        text NOT NULL
);
-- and such tables and sequences themselves; condition: of the table's rows that are the users', NULL for sequences
CREATE TABLE pgtandem.before_config_rel (
    schema_name  text NOT NULL,
    name         text NOT NULL,
    condition    text,
    last_value   bigint,
    is_called    boolean,
    PRIMARY KEY (schema_name, name)
);
CREATE TABLE pgtandem.before_default_acl (
    oid          bigint PRIMARY KEY,
    acl          aclitem[]
);
