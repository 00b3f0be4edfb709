"""Every built-in type with its extreme values: what arrives is what was there, by either way.

One table for each type of the source's own catalog, so that a type nobody thought of fails here instead of being left
out. Some rows are copied, the others come as changes; then the same once more in the other direction, after a switch.
"""

import pytest

from lib.wait import poll_until

# Literals as the server reads them; the first is also what other values are replaced by.
VALUES = {
    "bool": ["true", "false"],
    "bytea": [r"\x", r"\x00ff5c27220a", "\\x" + "".join(f"{i:02x}" for i in range(256))],
    "char": ["a", "", " ", "\\"],  # not above 127: check warns of that (char-columns)
    "name": ["a", "", "x" * 63, 'Ünï "çödé" \\'],
    "int8": ["0", "-9223372036854775808", "9223372036854775807"],
    "int2": ["0", "-32768", "32767"],
    "int2vector": ["1 2 3", "", "-32768 32767"],
    "int4": ["0", "-2147483648", "2147483647"],
    "text": ["x", "", " ", "NULL", r"\N", r"\.", 'tab\tnew\nreturn\r"\'\\', "\x01\x7f", "äöü€𝄞", "x" * 1000000],
    "oid": ["0", "4294967295"],
    "tid": ["(0,1)", "(4294967295,65535)"],
    "xid": ["3", "4294967295"],
    "cid": ["0", "4294967295"],
    "oidvector": ["1 2", "", "0 4294967295"],
    "json": ["{}", '{"a": 1, "a":  2, "\\u00e9": [null, 1e400, -0.0]}', " [ ] ", '"x"', "null"],
    "jsonb": ["{}", '{"b": 1, "a": {"c": [1.50, null, true]}, "": ""}', "1" * 200, '"\\u20ac"', "null", "[[[]]]"],
    "xml": ["<a/>", '<a b="1">x &lt; y<!-- c --></a>', "only text", "", "<?p i?><r>ä</r>"],
    "point": ["(0,-0)", "(NaN,Infinity)", "(1e-308,-1.7976931348623157e308)", "(0.1,0.30000000000000004)"],
    "lseg": ["[(0,0),(1,1)]", "[(0.1,-1e300),(NaN,5e-324)]"],
    "path": ["((0,0),(1,1))", "[(0,0),(1,1),(2,0.1)]"],
    "box": ["(1,1),(0,0)", "(1e300,0.1),(-1e300,-0.1)"],
    "polygon": ["((0,0),(1,1),(2,0))", "((0.1,0.2))"],
    "line": ["{1,-1,0}", "{0.1,0.2,0.3}"],
    "circle": ["<(0,0),1>", "<(0.1,-5),0>"],
    "float4": ["0", "-0", "NaN", "Infinity", "-Infinity", "3.4028235e38", "1.17549435e-38", "0.1", "16777217"],
    "float8": ["0", "-0", "NaN", "Infinity", "-Infinity", "1.7976931348623157e308", "2.2250738585072014e-308",
               "0.1", "0.30000000000000004", "9007199254740993", "1e-310"],
    "money": ["0", "-92233720368547758.08", "92233720368547758.07"],
    "macaddr": ["00:00:00:00:00:00", "ff:ff:ff:ff:ff:ff"],
    "macaddr8": ["00:00:00:00:00:00:00:00", "ff:ff:ff:fe:ff:ff:ff:ff"],
    "inet": ["0.0.0.0", "10.1.2.3/8", "255.255.255.255", "::", "::ffff:1.2.3.4", "2001:db8::1/64"],
    "cidr": ["0.0.0.0/0", "10.0.0.0/8", "2001:db8::/32", "::1/128"],
    "aclitem": ["=r/postgres", "postgres=arw*/postgres"],
    "bpchar": ["x", "", "  ", "x  ", "ä "],
    "varchar": ["x", "", "  ", "x  ", "ä "],
    "date": ["2000-01-01", "4713-01-01 BC", "5874897-12-31", "infinity", "-infinity", "0001-12-31 BC"],
    "time": ["00:00", "24:00", "23:59:59.999999", "00:00:00.000001"],
    "timestamp": ["2000-01-01", "4713-01-01 00:00:00 BC", "294276-12-31 23:59:59.999999", "infinity", "-infinity"],
    "timestamptz": ["2000-01-01 00:00+00", "4713-01-02 00:00:00+00 BC", "294276-12-31 23:59:59.999999+00", "infinity",
                    "-infinity", "1883-11-18 12:03:58-04:56:02"],
    "interval": ["0", "178956970 years 7 mons", "-178000000 years", "1 mon -1 day 00:00:01", "-00:00:00.000001",
                 "1 year 2 mons 3 days 04:05:06.789", "24:00:00", "30 days", "-2000000000:00:00.000001", "-178956970 years -8 mons"],
    "timetz": ["00:00+00", "24:00+15:59", "24:00-15:59", "12:34:56.789-03:30"],
    "bit": ["1", "0"],
    "varbit": ["", "1", "0" * 100 + "1"],
    "numeric": ["0", "NaN", "1.000", "-0.00", "9" * 1000 + "." + "9" * 1000, "0." + "0" * 900 + "1", "1e131071",
                "-12345678901234567890.0123456789"],
    "refcursor": ["c", ""],
    "regproc": ["-"], "regprocedure": ["-"], "regoper": ["0"], "regoperator": ["0"], "regclass": ["pg_catalog.pg_class"],
    "regtype": ["integer"], "regrole": ["postgres"], "regnamespace": ["pg_catalog"], "regconfig": ["simple"],
    "regdictionary": ["simple"], "regcollation": ['"C"'], "regdatabase": ["template1"],
    "uuid": ["00000000-0000-0000-0000-000000000000", "ffffffff-ffff-ffff-ffff-ffffffffffff"],
    "pg_lsn": ["0/0", "FFFFFFFF/FFFFFFFF"],
    "tsvector": ["a", "", "'a':1A,2B 'it''s':16383", "'x y' '\\\\'"],
    "tsquery": ["a", "", "a & !b | (c <-> d)", "'x y':*AB"],
    "txid_snapshot": ["1:1:", "10:20:10,14,15"],
    "pg_snapshot": ["1:1:", "10:20:10,14,15"],
    "xid8": ["0", "18446744073709551615"],
    "jsonpath": ["$", '$."a"[*] ? (@ > 1)', "strict $.x"],
    "int4range": ["empty", "(,)", "[1,5)", "[-2147483648,2147483647)"],
    "int8range": ["empty", "(,)", "[-9223372036854775808,5)"],
    "numrange": ["empty", "(,)", "[1.10,1.100]", "(NaN,)"],
    "daterange": ["empty", "[infinity,infinity]", "[-infinity,2000-01-01)"],
    "tsrange": ["empty", "(,)", "[2000-01-01,infinity]", '["0001-01-01 00:00:00 BC",)'],
    "tstzrange": ["empty", "(,)", "[2000-01-01 00:00+00,infinity]"],
    "int4multirange": ["{}", "{[1,2),[5,7)}"], "int8multirange": ["{}", "{(,)}"], "nummultirange": ["{}", "{[1.10,2)}"],
    "datemultirange": ["{}", "{[2000-01-01,2000-01-03)}"], "tsmultirange": ["{}", "{(,)}"], "tstzmultirange": ["{}", "{(,)}"],
}  # fmt: skip

# No column can have them, or nobody's does: what the server keeps for itself.
INTERNAL = {
    "pg_node_tree", "pg_ndistinct", "pg_dependencies", "pg_mcv_list", "pg_ddl_command", "gtsvector", "unknown", "smgr",
    "pg_brin_bloom_summary", "pg_brin_minmax_multi_summary",
    # refused by "check": the newer server has them no more
    "abstime", "reltime", "tinterval",
}  # fmt: skip

# Their text is another one before version 12: compared as bytes.
FLOATS = {"float4", "float8", "point", "lseg", "path", "box", "polygon", "line", "circle"}

PINNED = (
    "set timezone = 'UTC'; set datestyle = 'ISO, MDY'; set intervalstyle = postgres; set extra_float_digits = 3;"
    " set bytea_output = hex; set lc_monetary = 'C'; set search_path = pg_catalog"
)


def types_of(node):
    """{name: whether it can be a key}: whatever a column can be made of, arrays aside."""
    return dict(node.sql(
        "select t.typname::text, exists (select 1 from pg_opclass o join pg_am a on a.oid = o.opcmethod"
        "  where a.amname = 'btree' and o.opcdefault and o.opcintype = t.oid)"
        " from pg_type t join pg_namespace n on n.oid = t.typnamespace"
        " where n.nspname = 'pg_catalog' and t.typtype in ('b', 'r', 'm')"
        "  and (t.typcategory <> 'A' or t.typname in ('int2vector', 'oidvector'))"
    ))  # fmt: skip


def sql_type(name):
    return '"char"' if name == "char" else "bit(1)" if name == "bit" else f'pg_catalog."{name}"'


def element_type(name):
    """Before version 14 an array of these cannot be written down."""
    return "text" if name in ("int2vector", "oidvector") else sql_type(name)


class Tables:
    """Of each type: v_<type> (id, v, a) and, where it can be, k_<type> with the type as its key."""

    def __init__(self, node):
        found = types_of(node)
        unknown = set(found) - set(VALUES) - INTERNAL
        assert not unknown, f"types without values here: {sorted(unknown)}"
        self.types = sorted(set(found) - INTERNAL)
        # equal by the type's own rule, so only one of them could be there
        self.keys = [t for t in self.types if found[t] and t not in ("refcursor",)]
        assert len(self.types) > 55 and len(self.keys) > 25
        with node.connect() as connection, connection.cursor() as cursor:
            cursor.execute(PINNED + "; create schema f")
            for name in self.types:
                kind = sql_type(name)
                cursor.execute(f'create table f."v_{name}" (id int primary key, v {kind}, a {element_type(name)}[])')
                if name in self.keys:
                    cursor.execute(f'create table f."k_{name}" (v {kind} primary key, n int)')

    def write(self, node, first):
        """Half of the values as new rows, numbered from `first`; and changes of those that are there."""
        with node.connect() as connection, connection.cursor() as cursor:
            cursor.execute(PINNED)
            for name in self.types:
                kind, element, table = sql_type(name), element_type(name), f'f."v_{name}"'
                for n, value in enumerate(VALUES[name]):
                    cursor.execute(
                        f"insert into {table} values (%s, %s::{kind}, array[%s::{element}, null::{element}]),"
                        f" (%s, null, '{{}}'), (%s, %s::{kind}, array[[%s::{element}],[null::{element}]])",
                        (first + n, value, value, first + 100 + n, first + 200 + n, VALUES[name][0], value),
                    )
                    # the row that was there gets this value, and its own array once more
                    cursor.execute(f"update {table} set v = %s::{kind}, a = a || a where id = %s", (value, first - 1000 + 200 + n))
                cursor.execute(f"delete from {table} where id = %s", (first - 1000,))
                if name in self.keys:
                    for value in (v for v in VALUES[name] if len(v) < 2500):  # an index takes no more
                        cursor.execute(
                            f'update f."k_{name}" set n = n + %s where v = %s::{kind};'
                            f' insert into f."k_{name}" select %s::{kind}, %s'
                            f' where not exists (select 1 from f."k_{name}" where v = %s::{kind})',
                            (first, value, value, first, value),
                        )

    def content(self, node):
        found = {}
        with node.connect() as connection, connection.cursor() as cursor:
            cursor.execute(PINNED)
            for name in self.types:
                value, many = "v::text", "a::text"
                if name in FLOATS:
                    send = {"float4": "float4send", "float8": "float8send", "polygon": "poly_send"}.get(name, f"{name}_send")
                    value = f"encode({send}(v), 'hex')"
                    many = "encode(array_send(a), 'hex')"
                cursor.execute(f'select id, {value}, {many} from f."v_{name}" order by id')
                found[name] = cursor.fetchall()
                if name in self.keys:
                    value = value.replace("v::text", "v::text collate \"C\"")
                    cursor.execute(f'select {value}, n from f."k_{name}" order by 1, 2')
                    found[name + " as key"] = cursor.fetchall()
        return found


def assert_same(tables, pair, what):
    old, new = tables.content(pair.old), tables.content(pair.new)
    for name, rows in old.items():
        assert rows, name
        # oids are told by name in text, but compared with what is in the other server's catalog by number
        assert rows == new[name], f"{what}: {name}"


@pytest.mark.timeout(150)
def test_every_value(pair, tool):
    tables = Tables(pair.old)
    pair.old.sql("create table beat (id int primary key)")
    tables.write(pair.old, 1000)
    run = tool.start("upgrade", "--jobs", "2")
    run.wait_for_output(r"in sync", timeout=90)
    assert_same(tables, pair, "copied")
    tables.write(pair.old, 2000)
    arrived(run, pair.old, pair.new, 1)
    assert_same(tables, pair, "carried")
    tool.ok("switchover")
    tables.write(pair.new, 3000)
    arrived(run, pair.new, pair.old, 2)
    assert_same(tables, pair, "carried back")
    tool.ok("verify")


def arrived(run, writes, copy, number):
    writes.sql("insert into beat values (%s)", (number,))
    poll_until(
        lambda: not run.running or copy.value("select count(*) from beat where id = %s", (number,)),
        60, lambda: f"beat {number}:\n{run.text[-3000:]}",
    )  # fmt: skip
    assert run.running, run.text[-3000:]
