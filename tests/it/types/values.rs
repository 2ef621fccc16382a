//! Values of every built-in type, and of made and contributed ones, at the edges of what they hold.
//!
//! Each is text between the quotes of a literal. Does not repeat arrays: those are made of the values.

/// What becomes of a table with a column of the type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// The mirror brings its rows.
    Early,
    /// The log brings them, for this reason.
    Logged(&'static str),
    /// Set-up leaves it out, and says so.
    LeftOut,
    /// No value of it can be written by a client.
    Empty,
}

pub(super) struct Type {
    pub(super) name: &'static str,
    pub(super) way: Way,
    pub(super) values: &'static [&'static str],
    /// The extension that it comes from.
    pub(super) extension: Option<&'static str>,
}

const fn early(name: &'static str, values: &'static [&'static str]) -> Type {
    Type {
        name,
        way: Way::Early,
        values,
        extension: None,
    }
}

const fn of_extension(
    extension: &'static str,
    name: &'static str,
    values: &'static [&'static str],
) -> Type {
    Type {
        extension: Some(extension),
        ..early(name, values)
    }
}

const fn left_out(name: &'static str, values: &'static [&'static str]) -> Type {
    Type {
        way: Way::LeftOut,
        ..early(name, values)
    }
}

const fn empty(name: &'static str) -> Type {
    Type {
        way: Way::Empty,
        ..early(name, &[])
    }
}

const fn logged(reason: &'static str, name: &'static str, values: &'static [&'static str]) -> Type {
    Type {
        way: Way::Logged(reason),
        ..early(name, values)
    }
}

const NO_BINARY: &str = "no_binary_format";

/// The types that a client can make for itself.
pub(super) const MADE: &str = r#"
    CREATE TYPE mood AS ENUM ('sad', 'a label with ''quotes'' and é', 'happy');
    CREATE DOMAIN positive AS numeric CHECK (VALUE > 0);
    CREATE DOMAIN most_positive AS positive CHECK (VALUE <> 3);
    CREATE DOMAIN matrix AS int[] CHECK (array_ndims(VALUE) = 2);
    CREATE TYPE pair AS (a int, b text);
    CREATE TYPE nested AS (p pair, m mood, ps pair[], d positive, n numeric[], t timestamptz);
    CREATE TYPE textrange AS RANGE (subtype = text, collation = "C");
    CREATE TYPE moodrange AS RANGE (subtype = mood);
    CREATE TYPE gone AS (a int, b int, c text);
    ALTER TYPE gone DROP ATTRIBUTE b;
"#;

pub(super) const TYPES: &[Type] = &[
    early("bool", &["t", "f"]),
    early("bytea", &["", r"\x00", r"\xdeadbeef00ff", r"\x5c27"]),
    early("\"char\"", &["a", "", r"\377"]),
    early(
        "name",
        &[
            "",
            "a name",
            "é",
            "a_name_of_sixty_three_bytes_that_is_as_long_as_a_name_may_be_00",
        ],
    ),
    early(
        "int8",
        &["-9223372036854775808", "9223372036854775807", "0"],
    ),
    early("int2", &["-32768", "32767", "0"]),
    early("int4", &["-2147483648", "2147483647", "0"]),
    early(
        "text",
        &[
            "",
            " ",
            "é漢🙂",
            "back\\slash",
            "it''s",
            "a\tb\nc\r",
            "\u{1}\u{7f}",
        ],
    ),
    early("oid", &["0", "4294967295"]),
    early("tid", &["(0,0)", "(4294967295,65535)"]),
    early("xid", &["0", "4294967295"]),
    early("cid", &["0", "4294967295"]),
    early(
        "json",
        &[
            "{}",
            "[1, 2.50, null]",
            r#" { "a" : "\u00e9", "a": 1e400 } "#,
            "\"\"",
        ],
    ),
    // The send format knows no declaration but one that says more than version 1.0.
    early(
        "xml",
        &[
            "",
            "<a/>",
            "<a b=\"c\">é &amp; <![CDATA[x]]></a>",
            "text and <b/>",
            "<?xml version=\"1.1\" standalone=\"yes\"?><a/>",
        ],
    ),
    early(
        "point",
        &[
            "(0,-0)",
            "(NaN,Infinity)",
            "(-1e308,1e-307)",
            "(0.1,0.30000000000000004)",
        ],
    ),
    early("lseg", &["[(1,2),(3,4)]", "[(0,0),(0,0)]"]),
    early("path", &["[(1,2),(3,4)]", "((1,2),(3,4),(5,6))", "[(0,0)]"]),
    early(
        "box",
        &["(3,4),(1,2)", "(1,2),(3,4)", "(NaN,1),(2,Infinity)"],
    ),
    early("polygon", &["((1,2))", "((1,2),(3,4),(5,6))"]),
    early("line", &["{1,-1,0}", "{0,-1,5}", "{0.1,0.2,-0}"]),
    early("circle", &["<(1,2),3>", "<(0,0),0>", "<(1,2),Infinity>"]),
    early(
        "cidr",
        &[
            "0.0.0.0/0",
            "10.1.0.0/16",
            "::/0",
            "2001:db8::/32",
            "::ffff:1.2.3.4/128",
        ],
    ),
    early(
        "inet",
        &[
            "0.0.0.0",
            "10.1.2.3/8",
            "255.255.255.255/32",
            "::1",
            "2001:db8::1/64",
            "::ffff:1.2.3.4/96",
        ],
    ),
    early(
        "macaddr",
        &[
            "00:00:00:00:00:00",
            "ff:ff:ff:ff:ff:ff",
            "08:00:2b:01:02:03",
        ],
    ),
    early(
        "macaddr8",
        &["00:00:00:00:00:00:00:00", "ff:ff:ff:ff:ff:ff:ff:ff"],
    ),
    early(
        "float4",
        &[
            "NaN",
            "Infinity",
            "-Infinity",
            "-0",
            "0",
            "3.4028235e38",
            "1e-45",
            "0.1",
        ],
    ),
    early(
        "float8",
        &[
            "NaN",
            "Infinity",
            "-Infinity",
            "-0",
            "0",
            "1.7976931348623157e308",
            "5e-324",
            "0.30000000000000004",
        ],
    ),
    early(
        "money",
        &["0", "-92233720368547758.08", "92233720368547758.07"],
    ),
    early("bpchar", &["", "a", "trailing   ", "é "]),
    early("char(5)", &["", "abc", "é"]),
    early("varchar", &["", "a", "trailing   "]),
    early("varchar(3)", &["abc", "é"]),
    early(
        "date",
        &[
            "infinity",
            "-infinity",
            "4714-11-24 BC",
            "5874897-12-31",
            "0001-01-01",
            "0001-12-31 BC",
            "2000-02-29",
        ],
    ),
    early("time", &["00:00:00", "24:00:00", "23:59:59.999999"]),
    early("time(0)", &["23:59:59.9"]),
    early(
        "timetz",
        &[
            "00:00:00+15:59:59",
            "24:00:00-15:59:59",
            "12:34:56.789012+05:30",
        ],
    ),
    early(
        "timestamp",
        &[
            "infinity",
            "-infinity",
            "4714-11-24 00:00:00 BC",
            "294276-12-31 23:59:59.999999",
            "1999-12-31 23:59:59.999999",
        ],
    ),
    early(
        "timestamptz",
        &[
            "infinity",
            "-infinity",
            "4714-11-24 00:00:00+00 BC",
            "294276-12-31 23:59:59.999999+00",
            "1969-12-31 23:59:59.999999-12:30",
        ],
    ),
    early(
        "interval",
        &[
            "0",
            "178000000 years",
            "-178000000 years",
            "2147483647 days",
            "-2147483648 days",
            "1 mon -1 day 00:00:00.000001",
            "-2562047788:00:54.775807",
            "2562047788:00:54.775807",
        ],
    ),
    early("bit(5)", &["00000", "10101"]),
    early("bit(9)", &["111111111"]),
    early("varbit", &["", "1", "101010101"]),
    early(
        "numeric",
        &[
            "0",
            "0.00",
            "-0.000",
            "NaN",
            "Infinity",
            "-Infinity",
            "1e131071",
            "1e-16383",
            "-123456789012345678901234567890.098765432109876543210",
            "10000",
            "0.0001",
            "1.10",
        ],
    ),
    early("numeric(8,3)", &["12345.678", "1", "NaN"]),
    early("refcursor", &["", "a cursor"]),
    early(
        "uuid",
        &[
            "00000000-0000-0000-0000-000000000000",
            "ffffffff-ffff-ffff-ffff-ffffffffffff",
        ],
    ),
    early("txid_snapshot", &["1:1:", "10:20:10,14,15"]),
    early("pg_lsn", &["0/0", "FFFFFFFF/FFFFFFFF"]),
    early(
        "tsvector",
        &["", "a", "''it''''s'':1A,2B b:3C,16383 c", "'' '':1", "é:5D"],
    ),
    early(
        "tsquery",
        &["", "a", "a & !b | c:*A", "''x y'' <3> z:BD", "!(a | b)"],
    ),
    early(
        "jsonb",
        &[
            "{}",
            "[]",
            "null",
            "\"\"",
            "0",
            "-0.00",
            "1e100",
            r#"{"b": [1, {"c": "\u00e9\n"}], "a": null, "a": 2}"#,
        ],
    ),
    early(
        "jsonpath",
        &[
            "$",
            "strict $.a[*] ? (@.b > 1 && @.c like_regex \"x\" flag \"i\").size()",
            "$.\"key\"[1 to last]",
        ],
    ),
    early(
        "int4range",
        &[
            "empty",
            "(,)",
            "[1,5)",
            "[-2147483648,)",
            "(,2147483647)",
            "[1,1]",
        ],
    ),
    early("int8range", &["empty", "[1,5]", "(,9223372036854775807)"]),
    early(
        "numrange",
        &[
            "empty",
            "(1.0,1.00]",
            "[NaN,NaN]",
            "[-Infinity,Infinity]",
            "(,0)",
        ],
    ),
    early(
        "tsrange",
        &["empty", "[-infinity,infinity]", "(2000-01-01,)"],
    ),
    early(
        "tstzrange",
        &["empty", "[-infinity,infinity)", "(,2000-01-01 00:00+00]"],
    ),
    early(
        "daterange",
        &["empty", "[2000-01-01,2000-01-02]", "(-infinity,infinity)"],
    ),
    early("int4multirange", &["{}", "{(,)}", "{[1,2),[5,6]}"]),
    early("int8multirange", &["{}", "{[1,2),[5,)}"]),
    early("nummultirange", &["{}", "{(,0),[1.0,1.00]}"]),
    early(
        "tsmultirange",
        &["{}", "{[-infinity,2000-01-01),[2001-01-01,infinity]}"],
    ),
    early(
        "tstzmultirange",
        &["{}", "{[2000-01-01 00:00+00,2001-01-01 00:00+00)}"],
    ),
    early(
        "datemultirange",
        &["{}", "{[2000-01-01,2000-01-02],[2001-01-01,)}"],
    ),
    early("pg_snapshot", &["1:1:", "10:20:10,14,15"]),
    early("xid8", &["0", "18446744073709551615"]),
    logged(
        NO_BINARY,
        "aclitem",
        &["=r/postgres", "postgres=arwd*/postgres"],
    ),
    left_out("regproc", &["now"]),
    left_out("regprocedure", &["now()"]),
    left_out("regoper", &["pg_catalog.||/"]),
    left_out("regoperator", &["+(integer,integer)"]),
    left_out("regclass", &["pg_class"]),
    left_out("regtype", &["integer"]),
    left_out("regconfig", &["simple"]),
    left_out("regdictionary", &["simple"]),
    left_out("regnamespace", &["public"]),
    left_out("regrole", &["postgres"]),
    left_out("regcollation", &["\"C\""]),
    left_out("regdatabase", &["postgres"]),
    empty("pg_node_tree"),
    empty("pg_ndistinct"),
    empty("pg_dependencies"),
    empty("pg_mcv_list"),
    empty("pg_brin_bloom_summary"),
    empty("pg_brin_minmax_multi_summary"),
    empty("gtsvector"),
    left_out("oidvector", &["", "1 2 3"]),
    left_out("int2vector", &["", "1 -2 3"]),
    early("mood", &["sad", "a label with ''quotes'' and é"]),
    early("positive", &["1.00", "NaN", "1e100"]),
    early("most_positive", &["2.50"]),
    early("matrix", &["{{1,2},{3,NULL}}", "[-1:0][5:5]={{1},{2}}"]),
    early("pair", &["(,)", "(1,\"\")", "(2,\"it''s, (\"\"é\"\")\")"]),
    early(
        "nested",
        &[
            "(,,,,,)",
            "(\"(1,x)\",happy,\"{\"\"(2,y)\"\",NULL}\",1.50,\"{1.0,NaN,NULL}\",infinity)",
        ],
    ),
    early("gone", &["(1,x)", "(,)"]),
    early("textrange", &["empty", "[a,b)", "(,\"\")", "[\"x,y\",]"]),
    early("textmultirange", &["{}", "{[a,b),[c,)}"]),
    early("moodrange", &["empty", "[sad,happy]"]),
    of_extension(
        "hstore",
        "hstore",
        &["", "a=>1, b=>NULL", "\"é \"=>\"\\\"\""],
    ),
    of_extension("citext", "citext", &["", "MiXed", "É"]),
    of_extension("ltree", "ltree", &["", "a", "Top.Science.e_1"]),
    of_extension("ltree", "lquery", &["*.Science.*{1,2}", "a|b.!c"]),
    of_extension("ltree", "ltxtquery", &["a & !b | c*"]),
    of_extension("cube", "cube", &["(1,2),(3,4)", "0", "(1e300,-0)"]),
    Type {
        way: Way::Logged(NO_BINARY),
        ..of_extension("seg", "seg", &["1 .. 2", "<5", "7 (+-) 1"])
    },
    Type {
        way: Way::Logged(NO_BINARY),
        ..of_extension("isn", "isbn13", &["978-0-393-04002-9"])
    },
    Type {
        way: Way::Logged(NO_BINARY),
        ..of_extension("intarray", "query_int", &["1&(2|3)"])
    },
];
