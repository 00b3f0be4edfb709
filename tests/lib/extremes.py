"""Every built-in type with its extreme values.

    [(type, [values])]: a str is the type's input, an Sql is an expression, a pair (since, value) is for servers of
    that version on

A type that PostgreSQL has and this table has not is found by missing(): it belongs here, or into
EXCEPTIONS with a reason.
"""


class Sql(str):
    """An expression, not the input of a type."""


def since(number, *values):
    return [(number, value) for value in values]


# 1 MB that does not compress, so that it is stored out of line
LONG = Sql("(select string_agg(md5(i::text), '') from generate_series(1, 32768) i)")
LONG_BYTES = Sql("(select string_agg(decode(md5(i::text), 'hex'), '') from generate_series(1, 65536) i)")
ALL_BYTES = "\\x" + bytes(range(256)).hex()
ODD = "\x01\x02\x1f\x7f\t\r\n\\ \\. \\N %s %% $1 ' '' \" \u00a0\u200b\u202e\ufeff\ufffd e\u0301 \u00e9 \U0001f600\U0010ffff"
TEXTS = ["", " ", "\\", "\\.", "\\N", "NULL", "{}", "'", "\t", "\n", "\r\n", "a\\nb", ODD, LONG]

FLOATS = ["0", "-0", "1", "NaN", "Infinity", "-Infinity", "0.1", "-0.3"]
FLOAT4 = FLOATS + ["1e-45", "1.17549435e-38", "1.1754942e-38", "3.4028235e38", "-3.4028235e38", "16777217", "8388609.5"]
FLOAT8 = FLOATS + [
    "4.94065645841246544e-324", "2.2250738585072014e-308", "2.2250738585072009e-308", "1.7976931348623157e308",
    "-1.7976931348623157e308", "9007199254740993", "0.30000000000000004", "1e23", "123456789.12345678",
]
NUMERIC = [
    "0", "0.000", "-0.0", "1", "1.0", "1.00", "NaN", "100", "1e2", "1e-20", "-1e-300", "9" * 1000, "1." + "0" * 999,
    "-" + "1234567890" * 100 + "." + "0987654321" * 100, "0." + "0" * 16382 + "1", "1" + "0" * 131071,
    *since(140000, "Infinity", "-Infinity"),
]
DATES = ["4713-01-01 BC", "0001-12-31 BC", "0001-01-01", "2000-02-29", "1582-10-15", "infinity", "-infinity"]
TIMESTAMPS = DATES + [
    "294276-12-31 23:59:59.999999", "4713-01-01 00:00:00 BC", "1999-12-31 23:59:59.999999", "2000-01-01 00:00:00.000001",
    "2024-02-29 23:59:60", "1970-01-01",
]
TIMES = ["00:00", "24:00", "23:59:59.999999", "23:59:60", "12:00:00.000001"]
INTERVALS = [
    "0", "1 mon", "30 days", "720:00", "-1 year +2 mons -3 days +04:05:06.789", "1 year -2 mons 3 days -04:05:06.000001",
    "178000000 years", "-178000000 years", "2147483647 days", "-2147483648 days", "2147483647:59:59.999999",
    *since(150000, "2562047788:00:54.775807", "-2562047788:00:54.775807"), "0.000001 s", "-0.000001 s", *since(170000, "infinity", "-infinity"),
]
JSON = [
    "{}", "[]", "null", "0", "-0", "1.0", "1.00", "1e400", "1E+5", '""', '"\\u0061\\ud83d\\ude00\\n\\/"', "true",
    '{"b": 1, "a": 2, "bb": 3, "": 4}', '  { "a" :1,\n\t"a":  2 , "a": null}  ', '[1, [2, [3, {"x": []}]]]',
    "9" * 400 + "." + "1" * 400, "[" * 500 + "]" * 500, '{"k": "' + "v" * 5000 + '"}',
]
RANGES = ["empty", "(,)"]


def ranged(low, high, *more):
    return RANGES + [f"[{low},)", f"(,{high})", f"[{low},{high})", f"({low},{high}]", f"[{low},{low}]", *more]


def multi(low, high):
    return since(140000, "{}", "{(,)}", f"{{[{low},{high})}}", f"{{(,{low}), [{high},)}}")


SNAPSHOTS = ["1:1:", "1:9223372036854775807:1,2,9223372036854775806", "100:110:100,105"]

VALUES = {
    "bool": ["t", "f"],
    "bytea": ["", "\\x00", "\\x5c", ALL_BYTES, LONG_BYTES],
    "char": ["", "a", "\\", "'", " ", "\t", Sql("127::\"char\""),
             # before 15 the text of a byte above 127 is that byte, which other servers refuse: the upgrade stops
             *since(150000, Sql("(-1)::\"char\""), Sql("(-128)::\"char\""))],
    "name": ["", "n" * 63, "\u00e9" * 31, ODD[:20], "a b\"c"],
    "int2": ["-32768", "-1", "0", "32767"],
    "int4": ["-2147483648", "-1", "0", "2147483647"],
    "int8": ["-9223372036854775808", "-1", "0", "9223372036854775807"],
    "int2vector": ["", "1 2 -32768 32767"],
    "oidvector": ["", "0 1 4294967295"],
    "text": TEXTS,
    "varchar": TEXTS,
    "bpchar": ["", " ", "a", "a  ", "  a", "\\", "\n", ODD],
    "oid": ["0", "1", "2147483648", "4294967295"],
    "xid": ["0", "3", "4294967295"],
    "cid": ["0", "4294967295"],
    "tid": ["(0,0)", "(4294967295,65535)"],
    "xid8": since(130000, "0", "18446744073709551615"),
    "json": JSON,
    "jsonb": [value for value in JSON if value != "1e400"] + ["1e1000"],
    "jsonpath": since(120000, "$", 'strict $.a[*] ? (@.b > 1.0 && @ like_regex "^x" flag "i")', '$."odd key \\" "'),
    "xml": ["", "<a/>", "<a  b='1'>&amp;&lt;\n<![CDATA[ ]] ]]></a>", "text <b/> more", '<?xml version="1.0"?><r/>',
            '<?xml version="1.0" standalone="yes"?><r>\u00e9</r>', "<!DOCTYPE r><r/>", "<!-- c -->"],
    "float4": FLOAT4,
    "float8": FLOAT8,
    "numeric": NUMERIC,
    "money": ["0", "-0.01", "92233720368547758.07", "-92233720368547758.08"],
    "point": ["(0,-0)", "(NaN,Infinity)", "(4.94065645841246544e-324,-1.7976931348623157e308)", "(0.1,0.30000000000000004)"],
    "lseg": ["[(0,0),(-0,0.1)]", "[(1e300,1e-300),(1e300,1e-300)]"],
    "path": ["((0,0))", "[(0,0)]", "[(0.1,0.2),(-0,3),(1e308,-1e308)]", "((0.1,0.2),(0.3,0.30000000000000004))"],
    "box": ["(0,0),(0,0)", "(1e308,0.1),(-1e308,-0.1)"],
    "polygon": ["((0,0))", "((0.1,0.2),(-0.3,0.4),(1e-308,1e308))"],
    "line": [*since(90400, "{1,-1,0.1}", "{0,1e308,-1e-308}")],
    "circle": ["<(0,0),0>", "<(0.1,-0.1),1e308>", "<(0,0),4.94065645841246544e-324>"],
    "macaddr": ["00:00:00:00:00:00", "ff:ff:ff:ff:ff:ff"],
    "macaddr8": since(100000, "00:00:00:00:00:00:00:00", "ff:ff:ff:ff:ff:ff:ff:ff"),
    "inet": ["0.0.0.0/0", "10.1.2.3/8", "10.1.2.3", "255.255.255.255/32", "::", "::ffff:1.2.3.4/96", "2001:db8::1/64",
             "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/0"],
    "cidr": ["0.0.0.0/0", "10.0.0.0/8", "255.255.255.255/32", "::/0", "2001:db8::/64", "::1/128"],
    "date": DATES + ["5874897-12-31", "4714-11-24 BC"],
    "time": TIMES,
    "timetz": [f"{time}{zone}" for time in TIMES for zone in ("+00", "-15:59:59", "+15:59:59", "+05:45")],
    "timestamp": TIMESTAMPS + ["4714-11-24 00:00:00 BC"],
    "timestamptz": [value if "infinity" in value else value.replace(" BC", "+00 BC") if value.endswith(" BC") and ":" in value
                    else value for value in TIMESTAMPS] + ["2024-10-27 00:30+00", "2024-10-27 01:30+00", "4714-11-24 00:00:00+00 BC"],
    "interval": INTERVALS,
    "bit": [Sql("B'0'"), Sql("B'1'"), Sql("repeat('10', 5000)::bit(10000)"), Sql("B'10000001'")],
    "varbit": ["", "0", "1", "101", "1" * 65, Sql("repeat('10', 5000)::varbit")],
    "uuid": ["00000000-0000-0000-0000-000000000000", "ffffffff-ffff-ffff-ffff-ffffffffffff"],
    "tsvector": ["", "'a' 'A'", "'a':1A,2B,3C,16383 'b c':4 'it''s':5", "'\\\\':1 '\u00e9':2"],
    "tsquery": ["", "'a'", "'a' & !('b':*AB | 'c d')", *since(90600, "'a' <-> 'b' <16384> 'c'", "!!'a' <0> !'b'")],
    "txid_snapshot": SNAPSHOTS,
    "pg_snapshot": since(130000, *SNAPSHOTS),
    "pg_lsn": since(90400, "0/0", "FFFFFFFF/FFFFFFFF", "1/0"),
    "refcursor": ["", "c", ODD],
    "aclitem": ["postgres=arwdDxt/postgres", "=r*/postgres", "=/postgres"],
    "regproc": ["-", "array_append", "pg_catalog.now"],
    "regprocedure": ["-", "now()", "abs(integer)"],
    "regoper": ["0", "|/", "||/"],
    "regoperator": ["0", "+(integer,integer)", "||/(NONE,double precision)"],
    "regclass": ["-", "4294967295", "pg_class", "fidelity.\"Odd name\""],
    "regtype": ["-", "int4[]", "timestamp with time zone", "fidelity.\"Odd name\""],
    "regrole": since(90500, "-", "postgres"),
    "regnamespace": since(90500, "-", "pg_catalog", "fidelity"),
    "regconfig": ["-", "english"],
    "regdictionary": ["-", "simple"],
    "regcollation": since(130000, "-", '"C"'),
    "int4range": ranged(-2147483648, 2147483646),
    "int8range": ranged(-9223372036854775808, 9223372036854775806),
    "numrange": ranged("-1.00", "1.000", "[0.0,0.00]", "[NaN,NaN]"),
    "daterange": ranged("0001-01-01 BC", "5874897-12-30", "[-infinity,infinity]"),
    "tsrange": ranged("\"4713-01-01 00:00:00 BC\"", "\"294276-12-31 23:59:59.999999\"", "(-infinity,infinity)"),
    "tstzrange": ranged("\"4713-01-01 00:00:00+00 BC\"", "\"294276-12-31 23:59:59.999999+00\"", "[-infinity,infinity]"),
    "int4multirange": multi(-2147483648, 2147483646),
    "int8multirange": multi(-9223372036854775808, 9223372036854775806),
    "nummultirange": multi("-1.00", "1.000"),
    "datemultirange": multi("0001-01-01 BC", "5874897-12-30"),
    "tsmultirange": multi("\"4713-01-01 00:00:00 BC\"", "infinity"),
    "tstzmultirange": multi("-infinity", "\"294276-12-31 23:59:59.999999+00\""),
}

# What has no values of its own, or none that could be moved.
EXCEPTIONS = {
    "abstime": "gone from 12 on, a finding of check", "reltime": "as abstime", "tinterval": "as abstime",
    "smgr": "of the system only, gone from 12 on", "unknown": "no type for columns, a pseudo-type from 10 on",
    "gtsvector": "accepts no input", "pg_node_tree": "accepts no input", "pg_ndistinct": "accepts no input",
    "pg_dependencies": "accepts no input", "pg_mcv_list": "accepts no input",
    "pg_brin_bloom_summary": "accepts no input", "pg_brin_minmax_multi_summary": "accepts no input",
    "pg_ddl_command": "a pointer inside the server",
}  # fmt: skip

# Types that users make, and arrays that are more than a row of values.
MADE = """
create schema fidelity;
create table fidelity."Odd name" (i int);
create type fidelity.mood as enum ('sad', 'o''k', 'so "so", \\ {}', '\u00e9');
create domain fidelity.percent as numeric(5,2) not null check (value between 0 and 100);
create domain fidelity.texts as text[];
create type fidelity.pair as (i int, "t t" text, f float8, a int[], d fidelity.percent);
create type fidelity.nested as (p fidelity.pair, ps fidelity.pair[], m fidelity.mood);
create type fidelity.floats as range (subtype = float8, subtype_diff = float8mi);
"""
USER_TYPES = {
    "fidelity.mood": ["sad", "o'k", 'so "so", \\ {}', "\u00e9"],
    "fidelity.percent": ["0", "100.00", "0.01"],
    "fidelity.texts": ["{}", '{NULL,"NULL","","\\\\","a,b","{}","\\""}'],
    "fidelity.pair": ["(,,,,1)", '(1,"",-0,"{}",0)', '(-1,"a,b""\\\\ (",NaN,"{NULL,1}",99.99)'],
    "fidelity.nested": [Sql("""row(row(1, E'(\\\\"', 0.1, '{}', 1), array[null, row(2, '', 'Infinity', null, 2)]::fidelity.pair[], 'o''k')::fidelity.nested""")],
    "fidelity.floats": ["empty", "(,)", "[-0,0.1]", "[0.30000000000000004,Infinity)"],
    "numeric(10,-2)": since(150000, "12345", "-99"),
    "timestamp(0)": ["1999-12-31 23:59:59.999999"],
    "interval year to month": ["1 year 2 mons"],
    "varchar(3)": ["abc", "\u00e9\u00e9 "],
    "char(5)": ["", "a", "a\\"],
    "bit varying(3)": ["", "101"],
    "int4[]": ["{}", "[0:1]={1,2}", "[-5:-4][2:3]={{1,NULL},{3,4}}", "{{{1}},{{2}}}"],
    "float8[]": ["{}", "{NULL,NaN,-0,1e-320,0.1}"],
    "fidelity.mood[]": ["{}", '{sad,NULL,"so \\"so\\", \\\\ {}"}'],
}  # fmt: skip


def missing(connection):
    """The server's types that nobody thought of. Array types come with their elements."""
    with connection.cursor() as cursor:
        cursor.execute(
            "select typname from pg_catalog.pg_type where typnamespace = 'pg_catalog'::regnamespace::oid"
            " and typtype in ('b', 'r', 'm') and (typcategory <> 'A' or typname in ('int2vector', 'oidvector'))"
        )
        return sorted({name for (name,) in cursor.fetchall()} - set(VALUES) - set(EXCEPTIONS))


def values(number):
    """{type as in SQL: [expression]} for a server of that version."""
    found = {}
    for kind, some in [*((f'pg_catalog."{kind}"', some) for kind, some in VALUES.items()), *USER_TYPES.items()]:
        fit = [value[1] if isinstance(value, tuple) else value for value in some
               if not isinstance(value, tuple) or value[0] <= number]
        if fit:
            found[kind] = [f"({v})" if isinstance(v, Sql) else f"$v${v}$v$" for v in fit]
    return found
