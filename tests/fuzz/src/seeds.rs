//! What mutation begins with: one small valid input a shape.

/// The seeds of the entry with this name.
#[expect(clippy::too_many_lines, reason = "a table")]
pub fn seeds(entry: &str) -> Vec<Vec<u8>> {
    let seeds: &[&[u8]] = match entry {
        "frame" => &[
            b"\x01Q\0\0\0\x0dselect 1\0Z\0\0\0\x05I",
            b"\x07D\0\0\0\x0a\0\x01\xff\xff\xff\xffX\0\0\0\x04",
        ],
        "startup" => &[
            b"\0\0\0\x11\0\x03\0\0user\0me\0\0",
            b"\0\0\0\x10\x04\xd2\x16\x2e\0\0\0\x01\0\0\0\x02",
            b"\0\0\0\x08\x04\xd2\x16\x2f",
            b"\0\0\0\x24\0\x03\0\x02user\0me\0_pq_.x\0on\0a\0b\0\0",
        ],
        "frontend" => &[
            b"\0p\0s\0\0\x01\0\x01\0\x02\0\0\0\x011\xff\xff\xff\xff\0\x01\0\x01",
            b"\x01Ss\0",
            b"\x02Pp\0",
            b"\x03p\0\0\0\0\x05",
            b"\x04s\0select $1\0\0\x01\0\0\0\x17",
            b"\x06select 1\0",
            b"\x05SCRAM-SHA-256\0\0\0\0\x09n,,n=,r=x",
        ],
        "backend" => &[
            b"\0\0\x01a\0\0\0@\x00\0\x01\0\0\0\x17\0\x04\xff\xff\xff\xff\0\0",
            b"\x01\0\x02\0\0\0\x011\xff\xff\xff\xff",
            b"\x02SERROR\0VERROR\0C42601\0Mno\0P8\0\0",
            b"\x03INSERT 0 1\0",
            b"\x04TimeZone\0UTC\0",
            b"\x05I",
            b"\x06\0\0\0\x0aSCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0\0",
            b"\x06\0\0\0\x0br=x,s=eA==,i=4096",
            b"\x06\0\0\0\x05salt",
            b"\x07SERROR\0VERROR\0C23505\0Mno\0tt\0nkey\0\0",
        ],
        "pgoutput" => &[
            b"w\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0\x03B\0",
            b"k\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\x02\x01",
            b"B\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\x02\0\0\0\x03",
            b"C\0\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0\x03",
            b"R\0\0@\0public\0t\0d\0\x01\x01id\0\0\0\0\x17\xff\xff\xff\xff",
            b"I\0\0@\0N\0\x02b\0\0\0\x01xn",
            b"U\0\0@\0K\0\x01b\0\0\0\x01xN\0\x02uu",
            b"D\0\0@\0O\0\x01t\0\0\0\x01x",
            b"T\0\0\0\x01\0\0\0@\0",
            b"M\x01\0\0\0\0\0\0\0\x01fence\0\0\0\0\x01x",
            b"S\0\0\0\x07\x01",
            b"I\0\0\0\x08\0\0@\0N\0\x02b\0\0\0\x01xn",
            b"R\0\0\0\x07\0\0@\0public\0t\0d\0\x01\x01id\0\0\0\0\x17\xff\xff\xff\xff",
            b"E",
            b"A\0\0\0\x07\0\0\0\x08",
            b"c\0\0\0\x07\0\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0\x03",
        ],
        "record" => &[
            b"\0\0\0\x05\0\0\x0c\x94\0\0\0\x08\0\0\0\0\0\0\0\x07\0\0\x13\xcd\0\0\0\x08\0\0\0\0\0\0\0\x09\0\0\0\x19\0\0\0\x02on\0\0\0\x1a\0\0\0\x04\0\0\0\x64\0\0\0\x17\0\0\0\x04\0\0\0\x05",
            b"\\x00000001",
            b"\\000\\\\a",
        ],
        "row" => &[
            b"\x04\0\0\0\x01key",
            b"\x0a\0\x01\0\0\0\0\0\x02\0\x01key",
        ],
        "remap" => &[
            b"\0\0\0\x01\0\0\0\x01\0\0\0\x17\0\0\0\x02\0\0\0\x01\0\0\0\x01x\xff\xff\xff\xff",
            b"\0\0\0\x02\0\0\0\x19\0\0\0\x01x\0\0\x03\xef\0\0\0\x0c\0\0\0\0\0\0\0\0\0\0\0\x17",
        ],
        "statement" | "template" => &[
            b"INSERT INTO t VALUES (1, 'it''s') RETURNING *",
            b"INSERT INTO t AS x (id) VALUES ($1), (-2) ON CONFLICT (id) DO UPDATE SET v = 3",
            b"UPDATE t SET v = v + 1 WHERE id = 42; -- the end",
            b"UPDATE u SET v = 5 WHERE (a, b) = (1, 2) RETURNING v AS \"__segue\"",
            b"DELETE FROM public.t WHERE id IN (1, 2) /* ; */",
            b"BEGIN; DELETE FROM u WHERE a = 1 AND b = '2'::int; COMMIT",
            b"SELECT set_config('search_path', 'x', false), charge(1), 1 ### 2",
            b"WITH w AS (DELETE FROM t RETURNING *) SELECT * FROM w LIMIT 5",
            b"SELECT E'a\\'b', $$x$$, U&\"d\\0061t\", B'1', 1e5, .5, 1::float(25)",
            b"COPY t FROM STDIN; TRUNCATE u; EXECUTE p (1); SET x = 'y'; DROP TABLE t",
        ],
        "scram" => &[
            b"\0n,,n=user,r=rOprNGfwEbeRWgbNEkqO",
            b"\0p=tls-server-end-point,,n=,r=x",
            b"\x01c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
            b"\x02r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
            b"\x03v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
            b"\x03e=invalid-proof",
            b"\x04SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=",
        ],
        "auth_file" => &[
            b"\"me\" \"SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=\"\n",
            b"; comment\n# another\n\"o\"\"l\" \"md5f00\"\r\n\n\"x\" \"\" more",
        ],
        "session_state" => &[
            b"\0\x08\0\0\0\x02me\0\0\0\x17[\"pg_catalog\",\"public\"]\xff\xff\xff\xff\0\0\0\x04UTF8\0\0\0\x04UTF8\0\0\0\x02on\0\0\0\x06notice\0\0\0\x04sync",
            b"\0\x07\0\0\0\x02me\0\0\0\x02[]\0\0\0\x05[\"t\"]\0\0\0\x04UTF8\0\0\0\x06LATIN1\0\0\0\x03off\0\0\0\x03log",
        ],
        "console" => &[
            b"SHOW CLIENTS; show \"mirror\" /* a /* b */ c */;",
            b"SET sync_timeout = '5s'; SET x TO y -- the end",
            b"PAUSE 3s; RESUME; KILL 7; RELOAD",
            b"set extra_float_digits = 3; begin; commit; rollback; discard all",
        ],
        "numbers" => &[b"16/B374D848", b"FFFFFFFF/FFFFFFFF", b"10:20:12,15", b"3:3:"],
        "dsn" => &[
            b"postgres://u:p%20w@h:5432/db?sslmode=require&application_name=x",
            b"postgresql://[::1]/",
            b"host=h port=5432 user='a b' password='it\\'s' dbname=db",
            b"host=/tmp",
        ],
        _ => &[],
    };
    seeds.iter().map(|seed| seed.to_vec()).collect()
}
