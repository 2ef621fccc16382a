"""psycopg 3, in its own idioms: pipelines, COPY, named cursors, executemany, both formats.

Prints one line per scenario; see tests/drivers/README.md. Usage: scenarios.py URL
"""

import datetime
import decimal
import ipaddress
import sys
import threading
import uuid

import psycopg
from psycopg import sql
from psycopg.rows import dict_row
from psycopg.types.composite import CompositeInfo, register_composite
from psycopg.types.enum import EnumInfo, register_enum
from psycopg.types.json import Json, Jsonb
from psycopg.types.range import Range

URL = sys.argv[1]


def connect(**options):
    return psycopg.connect(URL, autocommit=True, **options)


def failure(act):
    """The SQLSTATE and constraint of what `act` raises."""
    try:
        act()
    except psycopg.Error as error:
        diagnostic = error.diag
        return (error.sqlstate, diagnostic.constraint_name, diagnostic.statement_position)
    return "no error"


def types():
    with connect() as connection:
        register_enum(EnumInfo.fetch(connection, "mood"), connection)
        spot = CompositeInfo.fetch(connection, "spot")
        register_composite(spot, connection)
        utc = datetime.timezone.utc
        values = [
            1, True, -7, 2**62, 0.1, decimal.Decimal("12345678901.250000"), "zażółć 'quoted'", "pad",
            b"\x00\x01\xff\\", datetime.date(2024, 2, 29),
            datetime.datetime(2024, 2, 29, 12, 30, 1, 123456, utc),
            datetime.datetime(1999, 12, 31, 23, 59, 59), datetime.timedelta(days=3, seconds=7),
            uuid.UUID(int=42), Json({"a": [1, None, "π"]}), Jsonb({"b": {"c": 1.5}}),
            [1, None, 3], ["a,b", '"q"', None], ipaddress.ip_interface("10.0.0.1/24"),
            Range(1, 10), "happy", spot.python_type(1, decimal.Decimal("2.50"), "here"),
        ]
        marks = ", ".join(["%s"] * 20 + ["%s::mood", "%s"])
        seen = []
        for number, binary in ((1, False), (2, True)):
            with connection.cursor(binary=binary) as cursor:
                cursor.execute(f"INSERT INTO thing VALUES ({marks}) RETURNING *", [number, *values[1:]])
                seen.append(cursor.fetchone())
        nothing = connection.execute(
            "INSERT INTO thing (id) VALUES (%s) RETURNING *", [3], binary=True
        ).fetchone()
        connection.execute("SET TIME ZONE 'Asia/Tokyo'")
        changed = connection.execute(
            "UPDATE thing SET words = words || %b::text[], price = price * 2, place = (9, 9.5, 'p') "
            "WHERE id = %b RETURNING words, price, place, moment::text", [["new"], 2],
        ).fetchone()
        gone = connection.execute("DELETE FROM thing WHERE id = %s RETURNING id, strict", [1]).fetchall()
        return seen, nothing, changed, gone


def returning():
    with connect(row_factory=dict_row) as connection, connection.cursor() as cursor:
        cursor.execute("INSERT INTO account (owner, balance) VALUES (%s, %s) RETURNING id", ["ada", 10])
        made = cursor.fetchone(), cursor.rowcount, cursor.statusmessage
        cursor.executemany(
            "INSERT INTO account (owner) VALUES (%s) RETURNING id, owner, balance",
            [(name,) for name in ("bob", "cy", "dee")], returning=True,
        )
        many = [cursor.fetchone()]
        while cursor.nextset():
            many.append(cursor.fetchone())
        cursor.execute("UPDATE account SET balance = balance + 1 WHERE id = %s", [made[0]["id"]])
        plain = cursor.rowcount, cursor.statusmessage, cursor.description
        cursor.execute("DELETE FROM account WHERE owner = 'nobody' RETURNING *")
        return made, many, plain, [column.name for column in cursor.description], cursor.fetchall()


def batch():
    with connect() as connection, connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO entry VALUES (1, %s, %s)", [(number, number * 1.5) for number in range(200)]
        )
        made = cursor.rowcount
        cursor.executemany(
            "UPDATE entry SET note = %s WHERE account = 1 AND number = %s",
            [(f"note {number}", number) for number in range(0, 200, 3)],
        )
        return made, cursor.rowcount


def pipeline():
    with connect() as connection:
        with connection.pipeline() as line:
            cursors = [
                connection.execute("INSERT INTO line VALUES (%s, %s, 1) RETURNING word", [n, f"p{n}"])
                for n in range(20)
            ]
            line.sync()
            early = cursors[0].fetchone()
            selected = connection.execute("SELECT count(*) FROM line")
            updated = connection.execute("UPDATE line SET price = 2 WHERE id = 3")
        answer = [cursor.fetchone() for cursor in cursors[1:]], selected.fetchone(), updated.rowcount
        with connection.pipeline():
            with connection.transaction():
                connection.execute("INSERT INTO line VALUES (100, 'in transaction', 1)")
                connection.execute("UPDATE line SET word = 'changed' WHERE id = 100")
        return early, answer, connection.execute("SELECT word FROM line WHERE id = 100").fetchone()


def pipeline_error():
    with connect() as connection:
        def broken():
            with connection.pipeline() as line:
                connection.execute("INSERT INTO line VALUES (200, 'lost', 1)")
                connection.execute("INSERT INTO line VALUES (0, 'twice', 1)")
                connection.execute("INSERT INTO line VALUES (201, 'aborted', 1)")
                line.sync()

        seen = failure(broken)
        with connection.pipeline() as line:
            connection.execute("INSERT INTO line VALUES (202, 'kept', 1)")
            line.sync()
            try:
                connection.execute("SELECT 1 / %s", [0]).fetchone()
            except psycopg.Error as error:
                inside = error.sqlstate
        with connection.pipeline() as line:
            connection.execute("INSERT INTO line VALUES (203, 'kept too', 1)")
        rows = connection.execute("SELECT id FROM line WHERE id BETWEEN 200 AND 210 ORDER BY id")
        return seen, inside, rows.fetchall()


def copy_in():
    with connect() as connection, connection.cursor() as cursor:
        with cursor.copy("COPY line FROM STDIN") as copy:
            for number in range(1000, 1200):
                copy.write_row((number, None if number % 7 == 0 else f"tab\t{number}\n", number))
        text = cursor.rowcount
        with cursor.copy("COPY line (id, word) FROM STDIN (FORMAT binary)") as copy:
            copy.set_types(["int4", "text"])
            for number in range(1200, 1300):
                copy.write_row((number, f"binary {number}"))

        def failed():
            with cursor.copy("COPY line FROM STDIN (FORMAT csv)") as copy:
                copy.write("1300,a,1\n1000,twice,1\n")

        def given_up():
            with cursor.copy("COPY line FROM STDIN (FORMAT csv)") as copy:
                copy.write("1301,a,1\n")
                raise psycopg.DataError("changed my mind")

        count = cursor.execute("SELECT count(*) FROM line WHERE id >= 1000").fetchone()
        return text, failure(failed), failure(given_up), count


def copy_out():
    with connect() as connection, connection.cursor() as cursor:
        with cursor.copy("COPY (SELECT * FROM line WHERE id < 1010 ORDER BY id) TO STDOUT") as copy:
            rows = list(copy.rows())
        with cursor.copy("COPY (SELECT id, word FROM line ORDER BY id) TO STDOUT (FORMAT binary)") as copy:
            size = sum(len(block) for block in copy)
        return rows, size


def cursors():
    with connect() as connection, connection.transaction():
        with connection.cursor(name="walk", scrollable=True) as cursor:
            cursor.itersize = 7
            cursor.execute("SELECT id FROM line WHERE id >= 1000 ORDER BY id")
            first = cursor.fetchmany(3)
            rest = sum(row[0] for row in cursor)
            cursor.scroll(0, mode="absolute")
            again = cursor.fetchone()
        with connection.cursor(name="change") as cursor:
            cursor.execute("SELECT id FROM line WHERE id < 3 FOR UPDATE")
            cursor.fetchone()
            changed = connection.execute(
                "UPDATE line SET word = 'current' WHERE CURRENT OF change RETURNING id"
            ).fetchone()
        return first, rest, again, changed


def prepared():
    with connect(prepare_threshold=2) as connection:
        names = []
        for number in range(8):
            connection.execute("UPDATE line SET price = %s WHERE id = %s", [number, 1])
            connection.execute("SELECT price FROM line WHERE id = %s", [1])
            if number == 5:
                names.append(len(connection.execute("SELECT name FROM pg_prepared_statements").fetchall()))
                connection.execute("DEALLOCATE ALL")
        count = "SELECT count(*) FROM pg_prepared_statements"
        names.append(connection.execute(count, prepare=False).fetchone())
        connection.execute("DISCARD ALL")
        for number in range(4):
            row = connection.execute(
                "UPDATE line SET price = price + %s WHERE id = %s RETURNING price", [number, 1]
            ).fetchone()
        connection.execute("PREPARE mine (int, text) AS INSERT INTO line VALUES ($1, $2) RETURNING word")
        named = connection.execute("EXECUTE mine (300, 'by name')").fetchone()
        connection.execute("DEALLOCATE mine")
        return names, row, named


def invalidation():
    with connect(prepare_threshold=0) as connection, connect() as other:
        connection.execute("CREATE TABLE changing (id int PRIMARY KEY, a int)")
        for number in range(3):
            connection.execute("INSERT INTO changing VALUES (%s, 1) RETURNING *", [number])
            connection.execute("SELECT * FROM changing WHERE id = %s", [number])
        other.execute("ALTER TABLE changing ADD COLUMN b int DEFAULT 5")
        seen = failure(lambda: connection.execute("SELECT * FROM changing WHERE id = %s", [1]))
        written = failure(
            lambda: connection.execute("INSERT INTO changing VALUES (%s, 1) RETURNING *", [10])
        )
        connection.execute("DISCARD PLANS")
        connection.execute("DEALLOCATE ALL")
        after = connection.execute("SELECT * FROM changing WHERE id = %s", [1]).fetchone()
        connection.execute("DROP TABLE changing")
        # The plan of a captured statement is made anew under it.
        kept = []
        for index in range(3):
            kept.append(connection.execute(
                "UPDATE line SET word = %s WHERE id = %s RETURNING *", [f"plan {index}", 2]).fetchone())
            other.execute(f"CREATE INDEX line_word_{index} ON line (word)")
        other.execute("DROP INDEX line_word_0, line_word_1, line_word_2")
        return seen, written, after, kept


def cancel():
    with connect() as connection:
        timer = threading.Timer(0.2, connection.cancel_safe)
        timer.start()
        seen = failure(lambda: connection.execute("SELECT pg_sleep(60)"))
        timer.join()
        return seen, connection.execute("SELECT 1").fetchone()


def notify():
    with connect() as listener, connect() as other:
        listener.execute("LISTEN door")
        other.execute("NOTIFY door, 'knock'")
        other.execute("SELECT pg_notify('door', %s)", ["zażółć"])
        heard = [(note.channel, note.payload) for note in listener.notifies(timeout=20, stop_after=2)]
        notices = []
        listener.add_notice_handler(lambda notice: notices.append(notice.message_primary))
        said = listener.execute("SELECT warn('hello')").fetchone()
        return heard, notices, said


def savepoints():
    with psycopg.connect(URL) as connection:
        connection.execute("INSERT INTO line VALUES (400, 'outer', 1)")
        try:
            with connection.transaction():
                connection.execute("INSERT INTO line VALUES (401, 'inner', 1)")
                connection.execute("UPDATE line SET word = 'never' WHERE id = 400")
                connection.execute("INSERT INTO line VALUES (400, 'twice', 1)")
        except psycopg.errors.UniqueViolation as error:
            seen = error.sqlstate
        with connection.transaction():
            connection.execute("INSERT INTO line VALUES (402, 'released', 1)")
        with connection.transaction():
            connection.execute("DELETE FROM line WHERE id = 402")
            raise_rollback = psycopg.Rollback()
            connection.execute("INSERT INTO line VALUES (403, 'released', 1)")
            raise raise_rollback
    with connect() as connection:
        connection.execute("BEGIN ISOLATION LEVEL SERIALIZABLE READ WRITE")
        connection.execute("INSERT INTO line VALUES (410, 'rolled back', 1)")
        connection.execute("ROLLBACK")
        rows = connection.execute("SELECT id, word FROM line WHERE id BETWEEN 400 AND 420 ORDER BY id")
        return seen, rows.fetchall()


def errors():
    with connect() as connection:
        run = connection.execute
        seen = [
            failure(lambda: run("INSERT INTO account (owner) VALUES ('ada')")),
            failure(lambda: run("UPDATE account SET balance = %s WHERE owner = 'ada'", [-1])),
            failure(lambda: run("INSERT INTO entry VALUES (%s, 1, 1)", [999])),
            failure(lambda: run("INSERT INTO account (owner) VALUES (NULL) RETURNING id")),
            failure(lambda: run("INSERT INTO line VALUES (500, 'x', 1) RETURNING nothing")),
            failure(lambda: run("UPDATE line SET word = 1 / 0 WHERE id = 1 RETURNIN id")),
            failure(lambda: run("SELECT * FROM missing")),
            failure(lambda: run("INSERT INTO line VALUES (%s, 'x', 1)", ["not a number"])),
            failure(lambda: run("INSERT INTO line VALUES (501, 'x', 1); SELECT 1 / 0")),
        ]
        return seen, run("SELECT count(*) FROM line WHERE id BETWEEN 500 AND 510").fetchone()


def large():
    with connect() as connection:
        body, raw = "žluť" * 300_000, bytes(range(256)) * 8_000
        connection.execute("INSERT INTO document VALUES (1, %s, %b)", [body, raw])
        connection.execute("INSERT INTO document VALUES (2, %s, %b)", [body[:100_000], raw[:100_000]])
        row = connection.execute("SELECT body, raw FROM document WHERE id = 1", binary=True).fetchone()
        rows = connection.execute("SELECT g, repeat('x', g % 50) FROM generate_series(1, 50000) g")
        size = sum(len(word) for _, word in rows)
        back = connection.execute(
            "UPDATE document SET body = body || '!' WHERE id = 2 RETURNING length(body), raw"
        ).fetchone()
        return row == (body, raw), size, back[0], back[1] == raw[:100_000]


def calls():
    with connect() as connection:
        total = connection.execute("SELECT add_up(%s, %s)", [2, 3]).fetchone()
        connection.execute("CALL deposit('bob', 5)")
        several = connection.execute(
            "INSERT INTO line VALUES (600, 'a', 1); UPDATE line SET word = 'b' WHERE id = 600; "
            "SELECT word FROM line WHERE id = 600"
        )
        counts = [several.rowcount]
        while several.nextset():
            counts.append(several.rowcount)
        upsert = connection.execute(
            "INSERT INTO line VALUES (%s, 'c', 2) ON CONFLICT (id) DO UPDATE SET word = excluded.word "
            "RETURNING *, xmax = 0", [600],
        ).fetchone()
        nothing = connection.execute("INSERT INTO line VALUES (600) ON CONFLICT DO NOTHING").rowcount
        quoted = sql.SQL("SELECT {} FROM {} WHERE owner = {}").format(
            sql.Identifier("balance"), sql.Identifier("account"), sql.Literal("bob"))
        return total, counts, upsert, nothing, connection.execute(quoted).fetchone()


def settings():
    with connect(application_name="scenarios", options="-c statement_timeout=50s") as connection:
        connection.execute("SET TIME ZONE 'Asia/Tokyo'")
        connection.execute("SET DateStyle = 'German'")
        connection.execute("SET search_path = pg_temp, public")
        connection.execute("CREATE TEMP TABLE line (id int PRIMARY KEY, word text)")
        connection.execute("INSERT INTO line VALUES (1, 'temporary')")
        connection.execute("INSERT INTO public.line VALUES (700, 'permanent', 1)")
        status = connection.info.parameter_status
        shown = [status(name) for name in ("TimeZone", "DateStyle", "application_name", "is_superuser")]
        rows = connection.execute("SELECT current_setting('statement_timeout'), word FROM line")
        connection.execute("SET client_encoding = latin1")
        latin = connection.execute(
            "INSERT INTO public.line VALUES (701, %s, 1) RETURNING word", ["déjà"]).fetchone()
        return shown, rows.fetchall(), latin


SCENARIOS = [
    types, returning, batch, pipeline, pipeline_error, copy_in, copy_out, cursors, prepared,
    invalidation, cancel, notify, savepoints, errors, large, calls, settings,
]

for scenario in SCENARIOS:
    try:
        print(scenario.__name__, repr(scenario()).replace("\n", " "), flush=True)
    except Exception as error:  # the comparison shows it
        print(scenario.__name__, "failed:", repr(error).replace("\n", " "), flush=True)
