"""Compares the contents of two databases, and takes fingerprints of a database's catalogs.

    assert_same_content(old.connect(db), new.connect(db))

    before = catalog_fingerprint(connection)
    ...
    assert_same_catalog(before, catalog_fingerprint(connection))

Contents are compared as text, row by row and whatever the order, with the settings pinned that
change how values look. Floating point numbers are compared by their binary form, because servers
older than 12 write them in another way.
"""

import hashlib
import io
from collections import Counter
from contextlib import contextmanager

PINNED = """
    set local datestyle = 'ISO, YMD'; set local intervalstyle = 'postgres';
    set local timezone = 'UTC'; set local extra_float_digits = 3; set local bytea_output = 'hex';
    set local client_encoding = 'UTF8'; set local search_path = pg_catalog;
    set local statement_timeout = 0; set local lock_timeout = '20s';
"""

# Types whose text depends on the server's version.
FLOATING = (
    "float4", "float8", "point", "line", "lseg", "box", "path", "polygon", "circle"
)


@contextmanager
def _pinned(connection):
    """A cursor in one snapshot, with settings that are gone afterwards."""
    assert connection.autocommit, "the connection must be in autocommit mode"
    with connection.cursor() as cursor:
        cursor.execute("begin isolation level repeatable read read only")
        try:
            cursor.execute(PINNED)
            yield cursor
        finally:
            cursor.execute("rollback")


def _rows(cursor, query, parameters=None):
    cursor.execute(query, parameters)
    return cursor.fetchall()


def _not_system(column, more=()):
    names = ["pg_catalog", "information_schema", *more]
    listed = ", ".join("'" + name.replace("'", "''") + "'" for name in names)
    return f"{column} not in ({listed}) and {column} !~ '^pg_(toast|temp)'"


# Contents


def tables(connection, without=("pgtandem",)):
    """The user tables that hold rows of their own: {(schema, name): kind}.

    Partitions are left out, because the table at the root stands for them: the two sides may be
    partitioned differently.
    """
    partition = "and not c.relispartition" if connection.server_version >= 100000 else ""
    with connection.cursor() as cursor:
        return {
            (schema, name): kind
            for schema, name, kind in _rows(
                cursor,
                "select n.nspname, c.relname, c.relkind from pg_catalog.pg_class c"
                " join pg_catalog.pg_namespace n on n.oid = c.relnamespace"
                f" where c.relkind in ('r', 'p', 'm') and c.relispopulated {partition}"
                f" and {_not_system('n.nspname', without)}",
            )
        }


def _columns(cursor, schema, table):
    """[(name, expression)] in the order of their names."""
    columns = _rows(
        cursor,
        "select a.attname, a.atttypid from pg_attribute a join pg_class c on c.oid = a.attrelid"
        " join pg_namespace n on n.oid = c.relnamespace where n.nspname = %s and c.relname = %s"
        " and a.attnum > 0 and not a.attisdropped order by 1",
        (schema, table),
    )
    return [(name, _expression(cursor, _quoted(name), type_oid)) for name, type_oid in columns]


def _expression(cursor, column, type_oid):
    """The column, or its binary form if it is of a floating type, an array of or a domain over
    one. (Floating numbers inside of a user's composite type are not found.)"""
    is_array = False
    while True:
        name, schema, kind, category, base, element, send = _rows(
            cursor,
            "select t.typname, n.nspname, t.typtype, t.typcategory, t.typbasetype, t.typelem,"
            " t.typsend::text from pg_type t join pg_namespace n on n.oid = t.typnamespace"
            " where t.oid = %s",
            (type_oid,),
        )[0]
        if kind == "d":
            type_oid = base
        elif category == "A" and element:
            type_oid, is_array = element, True
        else:
            break
    if schema != "pg_catalog" or name not in FLOATING:
        return column
    # The cast takes domains away, whose numbers would be part of an array's binary form.
    if is_array:
        return f"encode(array_send({column}::{name}[]), 'hex')"
    return f"encode({send}({column}::{name}), 'hex')"


def _quoted(name):
    return '"' + name.replace('"', '""') + '"'


def _content(cursor, schema, table, kind):
    columns = _columns(cursor, schema, table)
    only = "only " if kind == "r" else ""
    expressions = ", ".join(expression for _, expression in columns)
    copied = io.BytesIO()
    cursor.copy_expert(
        f"copy (select {expressions} from {only}{_quoted(schema)}.{_quoted(table)}) to stdout",
        copied,
    )
    lines = copied.getvalue().split(b"\n")[:-1]
    return [name for name, _ in columns], Counter(lines)


def sequences(connection, without=("pgtandem",)):
    """{(schema, name): (last_value, is_called)}"""
    with connection.cursor() as cursor:
        names = _rows(
            cursor,
            "select n.nspname, c.relname from pg_catalog.pg_class c"
            " join pg_catalog.pg_namespace n on n.oid = c.relnamespace"
            f" where c.relkind = 'S' and {_not_system('n.nspname', without)}",
        )
        return {
            (schema, name): _rows(
                cursor,
                f"select last_value, is_called from {_quoted(schema)}.{_quoted(name)}",
            )[0]
            for schema, name in names
        }


def large_objects(connection):
    """{oid: checksum of the contents, owner, rights, comment}; needs a superuser."""
    with connection.cursor() as cursor:
        sums = {
            oid: hashlib.md5()
            for (oid,) in _rows(cursor, "select oid from pg_largeobject_metadata")
        }
        for oid, page, data in _rows(
            cursor, "select loid, pageno, data from pg_largeobject order by 1, 2"
        ):
            sums[oid].update(b"%d:" % page + bytes(data))
        about = _rows(
            cursor,
            "select m.oid, pg_get_userbyid(m.lomowner), (select array_agg(x::text order by x::text) from"
            " aclexplode(coalesce(m.lomacl, acldefault('L', m.lomowner))) e, lateral (select"
            " pg_get_userbyid(e.grantee), e.privilege_type, e.is_grantable) x), d.description"
            " from pg_largeobject_metadata m left join pg_description d"
            " on d.classoid = 'pg_largeobject'::regclass and d.objoid = m.oid",
        )
        return {oid: (sums[oid].hexdigest(), *more) for oid, *more in about}


def _show(line):
    text = line.decode("utf-8", "replace")
    return text if len(text) < 120 else text[:117] + "..."


def differences(
    old, new, *, without=("pgtandem",), with_sequences=True, with_large_objects=True, examples=1
):
    """What differs between two databases, as a list of sentences; empty when nothing does.

    `old` and `new` are connections of superusers, in autocommit mode; `without` names schemas
    that are not looked at; of the rows that differ so many `examples` are shown per table and side.
    """
    found = []
    old_tables, new_tables = tables(old, without), tables(new, without)
    for schema, name in sorted(set(old_tables) ^ set(new_tables)):
        side = "old" if (schema, name) in old_tables else "new"
        found.append(f"table {schema}.{name} is only in the {side} database")
    with _pinned(old) as old_cursor, _pinned(new) as new_cursor:
        for key in sorted(set(old_tables) & set(new_tables)):
            label = ".".join(key)
            old_columns, old_rows = _content(old_cursor, *key, old_tables[key])
            new_columns, new_rows = _content(new_cursor, *key, new_tables[key])
            if old_columns != new_columns:
                found.append(f"table {label} has columns {old_columns} and {new_columns}")
                continue
            for side, more in (("old", old_rows - new_rows), ("new", new_rows - old_rows)):
                if more:
                    found.append(
                        f"table {label}: {sum(more.values())} rows only in the {side} database, "
                        + "e.g. " + " and ".join(_show(line) for line in sorted(more)[:examples])
                    )
    pairs = []
    if with_sequences:
        pairs.append(("sequence", sequences(old, without), sequences(new, without)))
    if with_large_objects:
        pairs.append(("large object", large_objects(old), large_objects(new)))
    for what, old_values, new_values in pairs:
        for key in sorted(set(old_values) | set(new_values)):
            one, other = old_values.get(key), new_values.get(key)
            if one != other:
                label = ".".join(key) if isinstance(key, tuple) else key
                found.append(f"{what} {label} is {one} in the old and {other} in the new database")
    return found


def assert_same_content(old, new, **options):
    found = differences(old, new, **options)
    assert not found, "the databases differ:\n  " + "\n  ".join(found)


# Catalogs

# (what, since which version, query). Every query returns rows of texts. Object ids, file nodes and
# statistics stay out, so that two fingerprints of one database are equal when, and only when,
# nothing in it has been changed, added or left behind. $user replaces a condition on nspname.
_FINGERPRINT = [
    ("schema", 0,
     "select n.nspname, pg_get_userbyid(n.nspowner), n.nspacl::text from pg_namespace n"
     " where $user"),
    ("relation", 0,
     "select n.nspname, c.relname, c.relkind::text, pg_get_userbyid(c.relowner), c.relacl::text,"
     " c.reloptions::text, c.relpersistence::text, c.reltablespace::text"
     " from pg_class c join pg_namespace n on n.oid = c.relnamespace where $user"),
    ("replica identity", 90400,
     "select n.nspname, c.relname, c.relreplident::text"
     " from pg_class c join pg_namespace n on n.oid = c.relnamespace"
     " where $user and c.relkind in ('r', 'p')"),
    ("row security", 90500,
     "select n.nspname, c.relname, c.relrowsecurity::text, c.relforcerowsecurity::text"
     " from pg_class c join pg_namespace n on n.oid = c.relnamespace"
     " where $user and c.relkind in ('r', 'p')"),
    ("column", 0,
     "select n.nspname, c.relname, a.attnum::text, a.attname, format_type(a.atttypid, a.atttypmod),"
     " a.attnotnull::text, a.attisdropped::text, a.attislocal::text, a.attinhcount::text,"
     " a.attstattarget::text, a.attstorage::text, l.collname, a.attacl::text,"
     " a.attoptions::text, pg_get_expr(d.adbin, d.adrelid)"
     " from pg_attribute a join pg_class c on c.oid = a.attrelid"
     " join pg_namespace n on n.oid = c.relnamespace"
     " left join pg_collation l on l.oid = a.attcollation"
     " left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum"
     " where $user and a.attnum > 0"),
    ("identity", 100000,
     "select n.nspname, c.relname, a.attname, a.attidentity::text"
     " from pg_attribute a join pg_class c on c.oid = a.attrelid"
     " join pg_namespace n on n.oid = c.relnamespace where $user and a.attidentity <> ''"),
    ("generated", 120000,
     "select n.nspname, c.relname, a.attname, a.attgenerated::text"
     " from pg_attribute a join pg_class c on c.oid = a.attrelid"
     " join pg_namespace n on n.oid = c.relnamespace where $user and a.attgenerated <> ''"),
    ("inheritance", 0,
     "select n.nspname, c.relname, i.inhparent::regclass::text, i.inhseqno::text"
     " from pg_inherits i join pg_class c on c.oid = i.inhrelid"
     " join pg_namespace n on n.oid = c.relnamespace where $user"),
    ("partition", 100000,
     "select n.nspname, c.relname, pg_get_expr(c.relpartbound, c.oid), pg_get_partkeydef(c.oid)"
     " from pg_class c join pg_namespace n on n.oid = c.relnamespace"
     " where $user and (c.relispartition or c.relkind = 'p')"),
    ("index", 0,
     "select n.nspname, c.relname, pg_get_indexdef(i.indexrelid), i.indisvalid::text,"
     " i.indisready::text, i.indisclustered::text, i.indisreplident::text"
     " from pg_index i join pg_class c on c.oid = i.indexrelid"
     " join pg_namespace n on n.oid = c.relnamespace where $user"),
    ("view", 0,
     "select n.nspname, c.relname, pg_get_viewdef(c.oid) from pg_class c"
     " join pg_namespace n on n.oid = c.relnamespace where $user and c.relkind in ('v', 'm')"),
    # Before 18 what stands for a foreign key towards one partition of the other table can be validated only while
    # all rows are in that partition; whether they are is left to chance. The key itself counts.
    ("constraint", 0,
     "select c.nspname, c.conname, c.conrelid::regclass::text, c.contypid::regtype::text,"
     " case when c.part then replace(pg_get_constraintdef(c.id), ' NOT VALID', '') else pg_get_constraintdef(c.id) end,"
     " case when c.part then '(part)' else c.convalidated::text end, c.condeferrable::text, c.condeferred::text"
     " from (select c.oid as id, c.*, n.nspname, c.contype = 'f' and current_setting('server_version_num')::int < 180000"
     "   and coalesce((to_json(c) ->> 'conparentid')::int8, 0) <> 0 as part"
     "   from pg_constraint c join pg_namespace n on n.oid = c.connamespace where $user) c"),
    ("trigger", 0,
     "select n.nspname, c.relname, case when t.tgisinternal then '(internal)' else t.tgname end,"
     " case when t.tgisinternal then t.tgfoid::regproc::text else pg_get_triggerdef(t.oid) end,"
     " t.tgenabled::text"
     " from pg_trigger t join pg_class c on c.oid = t.tgrelid"
     " join pg_namespace n on n.oid = c.relnamespace where $user"),
    ("rule", 0,
     "select n.nspname, c.relname, r.rulename, r.ev_enabled::text, pg_get_ruledef(r.oid)"
     " from pg_rewrite r join pg_class c on c.oid = r.ev_class"
     " join pg_namespace n on n.oid = c.relnamespace where $user"),
    ("policy", 90500,
     "select p.schemaname, p.tablename, p.policyname, p.roles::text, p.cmd, p.qual, p.with_check"
     " from pg_policies p"),
    ("function", 0,
     "select n.nspname, p.oid::regprocedure::text, md5(p.prosrc), p.probin, l.lanname,"
     " pg_get_userbyid(p.proowner), p.proacl::text, p.proconfig::text, p.prosecdef::text,"
     " p.proisstrict::text, p.provolatile::text, pg_get_function_result(p.oid)"
     " from pg_proc p join pg_namespace n on n.oid = p.pronamespace"
     " join pg_language l on l.oid = p.prolang where $user"),
    ("type", 0,
     "select n.nspname, t.typname, t.typtype::text, pg_get_userbyid(t.typowner), t.typacl::text,"
     " format_type(t.typbasetype, t.typtypmod), t.typnotnull::text, t.typdefault"
     " from pg_type t join pg_namespace n on n.oid = t.typnamespace where $user"),
    ("enum label", 0,
     "select e.enumtypid::regtype::text, e.enumsortorder::text, e.enumlabel from pg_enum e"),
    ("operator", 0,
     "select n.nspname, o.oid::regoperator::text from pg_operator o"
     " join pg_namespace n on n.oid = o.oprnamespace where $user"),
    ("cast", 0,
     "select c.castsource::regtype::text, c.casttarget::regtype::text, c.castcontext::text"
     " from pg_cast c where c.oid >= 16384"),
    ("language", 0, "select l.lanname, l.lanacl::text from pg_language l"),
    ("event trigger", 0,
     "select e.evtname, e.evtevent, e.evtenabled::text, e.evtfoid::regproc::text, e.evttags::text"
     " from pg_event_trigger e"),
    ("extension", 0,
     "select e.extname, e.extversion, n.nspname from pg_extension e"
     " join pg_namespace n on n.oid = e.extnamespace"),
    ("setting", 0,
     "select coalesce(d.datname, '(all)'), coalesce(r.rolname, '(all)'), s.setconfig::text"
     " from pg_db_role_setting s left join pg_database d on d.oid = s.setdatabase"
     " left join pg_roles r on r.oid = s.setrole"
     " where s.setdatabase = 0 or d.datname = current_database()"),
    ("default privilege", 0,
     "select pg_get_userbyid(a.defaclrole), n.nspname, a.defaclobjtype::text, a.defaclacl::text"
     " from pg_default_acl a left join pg_namespace n on n.oid = a.defaclnamespace"),
    ("comment", 0,
     "select d.classoid::regclass::text, pg_describe_object(d.classoid, d.objoid, d.objsubid), d.description"
     " from pg_description d where d.objoid >= 16384"),
    ("security label", 0,
     "select s.objtype, s.objname, s.provider, s.label from pg_seclabels s"),
    ("statistics object", 100000,
     "select n.nspname, s.stxname, pg_get_statisticsobjdef(s.oid) from pg_statistic_ext s"
     " join pg_namespace n on n.oid = s.stxnamespace where $user"),
    ("publication", 100000, "select p.pubname, p.puballtables::text from pg_publication p"),
    ("publication table", 100000,
     "select p.pubname, p.schemaname, p.tablename from pg_publication_tables p"),
    ("subscription", 100000,
     "select s.subname, s.subenabled::text, s.subslotname::text from pg_subscription s"
     " join pg_database d on d.oid = s.subdbid where d.datname = current_database()"),
    ("replication slot", 90400,
     "select s.slot_name::text, s.database::text from pg_replication_slots s"
     " where s.database is null or s.database = current_database()"),
    ("operator class", 0,
     "select n.nspname, o.opcname, a.amname, f.opfname, o.opcintype::regtype::text, o.opcdefault::text,"
     " pg_get_userbyid(o.opcowner) from pg_opclass o join pg_am a on a.oid = o.opcmethod"
     " join pg_opfamily f on f.oid = o.opcfamily join pg_namespace n on n.oid = o.opcnamespace where $user"),
    ("operator family", 0,
     "select n.nspname, f.opfname, a.amname, pg_get_userbyid(f.opfowner) from pg_opfamily f"
     " join pg_am a on a.oid = f.opfmethod join pg_namespace n on n.oid = f.opfnamespace where $user"),
    ("access method", 90600, "select a.amname, a.amtype::text, a.amhandler::text from pg_am a"),
    ("transform", 90500,
     "select t.trftype::regtype::text, l.lanname, t.trffromsql::text, t.trftosql::text"
     " from pg_transform t join pg_language l on l.oid = t.trflang"),
    ("collation", 0,
     "select n.nspname, c.collname, c.collcollate, pg_get_userbyid(c.collowner) from pg_collation c"
     " join pg_namespace n on n.oid = c.collnamespace where $user"),
    ("conversion", 0,
     "select n.nspname, c.conname, c.conproc::text, pg_get_userbyid(c.conowner) from pg_conversion c"
     " join pg_namespace n on n.oid = c.connamespace where $user"),
    ("text search configuration", 0,
     "select n.nspname, c.cfgname, c.cfgparser::text, pg_get_userbyid(c.cfgowner) from pg_ts_config c"
     " join pg_namespace n on n.oid = c.cfgnamespace where $user"),
    ("text search dictionary", 0,
     "select n.nspname, d.dictname, d.dictinitoption, pg_get_userbyid(d.dictowner) from pg_ts_dict d"
     " join pg_namespace n on n.oid = d.dictnamespace where $user"),
    ("text search parser", 0,
     "select n.nspname, p.prsname from pg_ts_parser p join pg_namespace n on n.oid = p.prsnamespace where $user"),
    ("text search template", 0,
     "select n.nspname, t.tmplname from pg_ts_template t join pg_namespace n on n.oid = t.tmplnamespace where $user"),
    ("foreign data wrapper", 0,
     "select w.fdwname, w.fdwoptions::text, w.fdwacl::text from pg_foreign_data_wrapper w"),
    ("user mapping", 0, "select m.srvname, m.usename, m.umoptions::text from pg_user_mappings m"),
    ("foreign server", 0,
     "select s.srvname, w.fdwname, s.srvoptions::text from pg_foreign_server s"
     " join pg_foreign_data_wrapper w on w.oid = s.srvfdw"),
    ("large object", 0,
     "select m.oid::text, pg_get_userbyid(m.lomowner), m.lomacl::text"
     " from pg_largeobject_metadata m"),
    ("role", 0,
     "select r.rolname, r.rolsuper::text, r.rolcreaterole::text, r.rolcreatedb::text,"
     " r.rolcanlogin::text, r.rolreplication::text, r.rolconnlimit::text, r.rolconfig::text"
     " from pg_roles r"),
    ("membership", 0,
     "select pg_get_userbyid(m.roleid), pg_get_userbyid(m.member), m.admin_option::text"
     " from pg_auth_members m"),
    ("database", 0,
     "select d.datname, pg_get_userbyid(d.datdba), d.datallowconn::text, d.datconnlimit::text,"
     " d.datacl::text from pg_database d where d.datname = current_database()"),
    ("prepared transaction", 0,
     "select p.gid from pg_prepared_xacts p where p.database = current_database()"),
]


def catalog_fingerprint(connection, without=()):
    """Everything that is defined in a database, as {(what, name, …)} of texts.

    `without` names schemas that are left out. Two fingerprints are compared with
    assert_same_catalog(); they are meant for one database at two times.
    """
    found = set()
    version = connection.server_version
    with _pinned(connection) as cursor:
        for what, since, query in _FINGERPRINT:
            if version < since:
                continue
            query = query.replace("$user", _not_system("n.nspname", without))
            # Several equal rows (internal triggers) count, too.
            for row, count in Counter(_rows(cursor, query)).items():
                found.add((what, *row) if count == 1 else (what, *row, f"{count} times"))
    return found


def assert_same_catalog(before, after):
    def lines(sign, entries):
        listed = sorted(" | ".join(str(part) for part in entry) for entry in entries)
        more = [f"  and {len(listed) - 20} more"] if len(listed) > 20 else []
        return [f"  {sign} {entry}" for entry in listed[:20]] + more

    gone, came = before - after, after - before
    assert not gone and not came, "the catalogs have changed:\n" + "\n".join(
        lines("-", gone) + lines("+", came)
    )
