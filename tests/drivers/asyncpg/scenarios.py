"""asyncpg in its own idioms: binary everywhere, a statement cache, executemany in one pipeline,
cursors with prefetch, COPY of records.

Prints one line per scenario; see tests/drivers/README.md. Usage: scenarios.py URL
"""

import asyncio
import datetime
import decimal
import ipaddress
import io
import json
import sys
import uuid

import asyncpg

URL = sys.argv[1]


def connect(**options):
    return asyncpg.connect(URL, **options)


async def failure(awaitable):
    """The SQLSTATE and constraint of what is raised."""
    try:
        await awaitable
    except asyncpg.PostgresError as error:
        return (error.sqlstate, error.constraint_name, error.position)
    return "no error"


def plain(rows):
    return [tuple(row) for row in rows]


async def types(connection):
    await connection.set_type_codec("jsonb", encoder=json.dumps, decoder=json.loads, schema="pg_catalog")
    utc = datetime.timezone.utc
    values = [
        1, True, -7, 2**62, 0.1, decimal.Decimal("12345678901.250000"), "zażółć 'quoted'", "pad",
        b"\x00\x01\xff\\", datetime.date(2024, 2, 29),
        datetime.datetime(2024, 2, 29, 12, 30, 1, 123456, utc),
        datetime.datetime(1999, 12, 31, 23, 59, 59), datetime.timedelta(days=3, seconds=7),
        uuid.UUID(int=42), '{"a": [1, null]}', {"b": {"c": 1.5}}, [1, None, 3], ["a,b", '"q"', None],
        ipaddress.ip_interface("10.0.0.1/24"), asyncpg.Range(1, 10), "happy",
        (1, decimal.Decimal("2.50"), "here"),
    ]
    marks = ", ".join(f"${number}" for number in range(1, len(values) + 1))
    made = await connection.fetchrow(f"INSERT INTO thing VALUES ({marks}) RETURNING *", *values)
    empty = await connection.fetchrow("INSERT INTO thing (id) VALUES ($1) RETURNING *", 2)
    changed = await connection.fetchrow(
        "UPDATE thing SET words = words || $1::text[], price = price * 2, place = $2 "
        "WHERE id = $3 RETURNING words, price, place, moment",
        ["new"], (9, decimal.Decimal("9.5"), "p"), 1)
    gone = await connection.fetch("DELETE FROM thing WHERE id = $1 RETURNING id, strict", 2)
    return [tuple(row) for row in (made, empty, changed)], plain(gone)


async def returning(connection):
    made = await connection.fetchval(
        "INSERT INTO account (owner, balance) VALUES ($1, $2) RETURNING id", "ada", decimal.Decimal(10))
    rows = await connection.fetchmany(
        "INSERT INTO account (owner) VALUES ($1) RETURNING id, owner", [("bob",), ("cy",), ("dee",)])
    status = await connection.execute("UPDATE account SET balance = balance + 1 WHERE id = $1", made)
    statement = await connection.prepare("DELETE FROM account WHERE owner = $1 RETURNING *")
    names = [attribute.name for attribute in statement.get_attributes()]
    return made, plain(rows), status, names, await statement.fetch("nobody"), statement.get_statusmsg()


async def batch(connection):
    await connection.executemany(
        "INSERT INTO entry VALUES (1, $1, $2)", [(n, decimal.Decimal(n)) for n in range(200)])
    await connection.executemany(
        "UPDATE entry SET note = $1 WHERE account = 1 AND number = $2",
        [(f"note {n}", n) for n in range(0, 200, 3)])
    return await connection.fetchval("SELECT count(*) FROM entry WHERE note LIKE 'note%'")


async def batch_error(connection):
    rows = [(n, f"b{n}") for n in (10, 11, 12, 11, 13)]
    seen = await failure(connection.executemany("INSERT INTO line VALUES ($1, $2, 1)", rows))
    count = await connection.fetchval("SELECT count(*) FROM line")
    await connection.executemany("INSERT INTO line VALUES ($1, $2, 1)", [(n, f"b{n}") for n in range(20)])
    return seen, count, await connection.fetchval("SELECT count(*) FROM line")


async def copy_in(connection):
    records = [(n, None if n % 7 == 0 else f"tab\t{n}\n", decimal.Decimal(n)) for n in range(1000, 1200)]
    binary = await connection.copy_records_to_table("line", records=records)
    text = await connection.copy_to_table(
        "line", source=io.BytesIO(b"1200,csv,1\n1201,,2\n"), format="csv", columns=["id", "word", "price"])
    seen = await failure(connection.copy_records_to_table("line", records=records[:1]))
    return binary, text, seen, await connection.fetchval("SELECT count(*) FROM line WHERE id >= 1000")


async def copy_out(connection):
    text, binary = io.BytesIO(), io.BytesIO()
    one = await connection.copy_from_query("SELECT * FROM line WHERE id < $1 ORDER BY id", 1010, output=text)
    two = await connection.copy_from_table("line", output=binary, format="binary")
    return one, text.getvalue(), two, len(binary.getvalue())


async def cursors(connection):
    async with connection.transaction():
        total, count = 0, 0
        async for row in connection.cursor("SELECT id FROM line WHERE id >= $1 ORDER BY id", 1000, prefetch=7):
            total, count = total + row["id"], count + 1
        cursor = await connection.cursor("UPDATE line SET price = price + 1 WHERE id = $1 RETURNING price", 3)
        changed = await cursor.fetch(5)
        walk = await connection.cursor("SELECT id FROM line ORDER BY id")
        some = await walk.fetch(3)
        skipped = await walk.forward(5)
        return total, count, plain(changed), plain(some), skipped, tuple(await walk.fetchrow())


async def prepared(connection):
    update = await connection.prepare("UPDATE line SET price = price + $1 WHERE id = $2 RETURNING price")
    seen = [await update.fetchval(decimal.Decimal(n), 1) for n in range(8)]
    for number in range(5):
        await connection.execute("UPDATE line SET word = $1 WHERE id = 2", f"cached {number}")
    held = await connection.fetchval("SELECT count(*) > 1 FROM pg_prepared_statements")
    await connection.execute("DEALLOCATE ALL")
    lost = await failure(update.fetchval(decimal.Decimal(1), 1))
    await connection.reload_schema_state()
    await connection.reset()
    again = await connection.fetchval("SELECT word FROM line WHERE id = $1", 2)
    small = await connect(statement_cache_size=0)
    for number in range(3):
        await small.execute("UPDATE line SET word = $1 WHERE id = 4", f"uncached {number}")
    left = await small.fetchval("SELECT count(*) FROM pg_prepared_statements WHERE statement ~ 'UPDATE'")
    await small.close()
    return seen, held, lost, again, left


async def invalidation(connection):
    other = await connect()
    await connection.execute("CREATE TABLE changing (id int PRIMARY KEY, a int)")
    insert, select = "INSERT INTO changing VALUES ($1, 1) RETURNING *", "SELECT * FROM changing WHERE id = $1"
    rows = [await connection.fetchrow(insert, n) for n in range(3)]
    rows.append(await connection.fetchrow(select, 1))
    await other.execute("ALTER TABLE changing ADD COLUMN b int DEFAULT 5")
    # Outside a transaction asyncpg prepares again by itself; inside it cannot.
    rows.append(await connection.fetchrow(select, 1))
    await other.execute("ALTER TABLE changing ADD COLUMN c int DEFAULT 6")

    async def inside():
        async with connection.transaction():
            await connection.fetchrow(insert, 20)

    seen = await failure(inside())
    rows.append(await connection.fetchrow(insert, 21))
    await connection.execute("DROP TABLE changing")
    kept = []
    for index in range(3):
        kept.append(await connection.fetchrow("UPDATE line SET word = $1 WHERE id = 2 RETURNING *", f"plan {index}"))
        await other.execute(f"CREATE INDEX line_word_{index} ON line (word)")
    await other.execute("DROP INDEX line_word_0, line_word_1, line_word_2")
    await other.close()
    return plain(rows), seen, plain(kept)


async def cancel(connection):
    try:
        await connection.fetchval("SELECT pg_sleep(60)", timeout=0.2)
        seen = "no error"
    except asyncio.TimeoutError:
        seen = "timed out"
    canceled = await failure(connection.execute("SET statement_timeout = 100; SELECT pg_sleep(60)"))
    await connection.execute("RESET statement_timeout")
    task = asyncio.ensure_future(connection.fetchval("SELECT pg_sleep(60)"))
    await asyncio.sleep(0.1)
    task.cancel()
    try:
        await task
        given_up = "no error"
    except asyncio.CancelledError:
        given_up = "cancelled"
    return seen, canceled, given_up, await connection.fetchval("SELECT 1")


async def notify(connection):
    heard, notices, complete = [], [], asyncio.Event()

    def hear(_connection, _pid, channel, payload):
        heard.append((channel, payload))
        if len(heard) == 2:
            complete.set()

    await connection.add_listener("door", hear)
    connection.add_log_listener(lambda _connection, message: notices.append(message.message))
    other = await connect()
    await other.execute("NOTIFY door, 'knock'")
    await other.execute("SELECT pg_notify('door', $1)", "zażółć")
    await other.close()
    await asyncio.wait_for(complete.wait(), 20)
    said = await connection.fetchval("SELECT warn('hello')")
    return heard, notices, said


async def savepoints(connection):
    async with connection.transaction(isolation="repeatable_read"):
        await connection.execute("INSERT INTO line VALUES (400, 'outer', 1)")

        async def inner():
            async with connection.transaction():
                await connection.execute("INSERT INTO line VALUES ($1, 'inner', 1)", 401)
                await connection.execute("UPDATE line SET word = 'never' WHERE id = 400")
                await connection.execute("INSERT INTO line VALUES (400, 'twice', 1)")

        seen = await failure(inner())
        async with connection.transaction():
            await connection.execute("INSERT INTO line VALUES (402, 'released', 1)")
    transaction = connection.transaction()
    await transaction.start()
    await connection.execute("DELETE FROM line WHERE id = 402")
    await transaction.rollback()
    rows = await connection.fetch("SELECT id, word FROM line WHERE id BETWEEN 400 AND 420 ORDER BY id")
    return seen, plain(rows)


async def errors(connection):
    run = connection.execute
    seen = [
        await failure(run("INSERT INTO account (owner) VALUES ('ada')")),
        await failure(run("UPDATE account SET balance = $1 WHERE owner = 'ada'", decimal.Decimal(-1))),
        await failure(run("INSERT INTO entry VALUES ($1, 1, 1)", 999)),
        await failure(connection.fetch("INSERT INTO account (owner) VALUES (NULL) RETURNING id")),
        await failure(connection.fetch("INSERT INTO line VALUES ($1, 'x', 1) RETURNING nothing", 500)),
        await failure(run("UPDATE line SET word = 1 / 0 WHERE id = 1 RETURNIN id")),
        await failure(run("SELECT * FROM missing")),
        await failure(run("INSERT INTO line VALUES (501, 'x', 1); SELECT 1 / 0")),
    ]
    return seen, await connection.fetchval("SELECT count(*) FROM line WHERE id BETWEEN 500 AND 510")


async def large(connection):
    body, raw = "žluť" * 300_000, bytes(range(256)) * 8_000
    await connection.execute("INSERT INTO document VALUES (1, $1, $2)", body, raw)
    await connection.execute("INSERT INTO document VALUES (2, $1, $2)", body[:100_000], raw[:100_000])
    row = await connection.fetchrow("SELECT body, raw FROM document WHERE id = $1", 1)
    rows = await connection.fetch("SELECT g, repeat('x', g % 50) FROM generate_series(1, 50000) g")
    back = await connection.fetchrow(
        "UPDATE document SET body = body || '!' WHERE id = $1 RETURNING length(body), raw", 2)
    return tuple(row) == (body, raw), sum(len(row[1]) for row in rows), back[0], back[1] == raw[:100_000]


async def calls(connection):
    total = await connection.fetchval("SELECT add_up($1, $2)", 2, 3)
    await connection.execute("CALL deposit($1, $2)", "bob", decimal.Decimal(5))
    several = await connection.execute(
        "INSERT INTO line VALUES (600, 'a', 1); UPDATE line SET word = 'b' WHERE id = 600; SELECT 1")
    upsert = await connection.fetchrow(
        "INSERT INTO line VALUES ($1, 'c', 2) ON CONFLICT (id) DO UPDATE SET word = excluded.word "
        "RETURNING *, xmax = 0", 600)
    nothing = await connection.execute("INSERT INTO line VALUES (600) ON CONFLICT DO NOTHING")
    rows = await connection.fetch("SELECT balance FROM account WHERE owner = ANY ($1)", ["bob", "cy"])
    return total, several, tuple(upsert), nothing, plain(rows)


async def settings(_connection):
    connection = await connect(server_settings={"application_name": "scenarios", "statement_timeout": "50s"})
    await connection.execute("SET TIME ZONE 'Asia/Tokyo'; SET search_path = pg_temp, public")
    await connection.execute("CREATE TEMP TABLE line (id int PRIMARY KEY, word text)")
    await connection.execute("INSERT INTO line VALUES ($1, 'temporary')", 1)
    await connection.execute("INSERT INTO public.line VALUES ($1, 'permanent', 1)", 700)
    status = connection.get_settings()
    rows = await connection.fetch("SELECT current_setting('statement_timeout'), word FROM line")
    await connection.close()
    return status.TimeZone, status.application_name, plain(rows)


async def pool(_connection):
    async with asyncpg.create_pool(URL, min_size=2, max_size=4) as shared:
        async def work(number):
            async with shared.acquire() as connection, connection.transaction():
                await connection.execute("INSERT INTO line VALUES ($1, 'pool', 1)", 2000 + number)
                return await connection.fetchval(
                    "UPDATE line SET price = $2 WHERE id = $1 RETURNING price", 2000 + number, decimal.Decimal(number))
        return await asyncio.gather(*(work(number) for number in range(40)))


SCENARIOS = [
    types, returning, batch, batch_error, copy_in, copy_out, cursors, prepared, invalidation, cancel,
    notify, savepoints, errors, large, calls, settings, pool,
]


async def main():
    for scenario in SCENARIOS:
        connection = await connect()
        try:
            print(scenario.__name__, repr(await scenario(connection)).replace("\n", " "), flush=True)
        except Exception as error:  # the comparison shows it
            print(scenario.__name__, "failed:", repr(error).replace("\n", " "), flush=True)
        await connection.close()


asyncio.run(main())
