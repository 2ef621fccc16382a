// node-postgres in its own idioms: queued and pipelined queries, named statements, binary results,
// cursors, query streams and COPY streams.
//
// Prints one line per scenario; see tests/drivers/README.md. Usage: node scenarios.js URL
'use strict'

const { pipeline } = require('node:stream/promises')
const { Readable } = require('node:stream')
const { Client, Pool, types: parsers } = require('pg')
const Cursor = require('pg-cursor')
const QueryStream = require('pg-query-stream')
const copy = require('pg-copy-streams')

const url = process.argv[2]

// Dates as the server writes them.
for (const type of [1082, 1114, 1184]) parsers.setTypeParser(type, (text) => text)

async function connect(options = {}) {
  const client = new Client({ connectionString: url, ...options })
  await client.connect()
  return client
}

async function failure(promise) {
  try {
    await promise
    return 'no error'
  } catch (error) {
    return [error.code, error.constraint, error.position]
  }
}

const answer = (result) => [result.command, result.rowCount, result.rows, result.fields.map((it) => it.name)]

async function types(client) {
  const values = [
    1, true, -7, '4611686018427387904', 0.1, '12345678901.25', "zażółć 'quoted'", 'pad',
    Buffer.from([0, 1, 255, 92]), '2024-02-29', '2024-02-29 12:30:01.123456+00', '1999-12-31 23:59:59',
    '3 days 7 seconds', '00000000-0000-0000-0000-00000000002a', { a: [1, null, 'π'] }, { b: { c: 1.5 } },
    [1, null, 3], ['a,b', '"q"', null], '10.0.0.1/24', '[1,10)', 'happy', '(1,2.50,here)',
  ]
  const marks = values.map((_, index) => `$${index + 1}`).join(', ')
  const text = `INSERT INTO thing VALUES (${marks}) RETURNING *`
  const one = await client.query(text, values)
  const two = await client.query({ text, values: [2, ...values.slice(1)], rowMode: 'array' })
  const binary = await client.query({
    text: 'UPDATE thing SET small = small + $1 WHERE id = $2 RETURNING small, whole, ratio, flag, raw, numbers',
    values: [1, 2],
    binary: true,
  })
  const gone = await client.query('DELETE FROM thing WHERE id = $1 RETURNING id, strict', [1])
  return [one, two, binary, gone].map(answer)
}

async function returning(client) {
  const made = await client.query('INSERT INTO account (owner, balance) VALUES ($1, $2) RETURNING id', ['ada', 10])
  const several = await client.query("INSERT INTO account (owner) VALUES ('bob'), ('cy') RETURNING id, owner, balance")
  const plain = await client.query('UPDATE account SET balance = balance + 1 WHERE id = $1', [made.rows[0].id])
  const none = await client.query("DELETE FROM account WHERE owner = 'nobody' RETURNING *")
  return [made, several, plain, none].map(answer)
}

const insert = (id, word) => ({
  name: 'insert line',
  text: 'INSERT INTO line VALUES ($1, $2, $3) RETURNING id',
  values: [id, word, id],
})

const outcomes = (settled) => settled.map((it) => it.reason?.code ?? [it.value.command, it.value.rows])

// All are queued at once; the driver sends the next when the server is ready.
async function queued(client) {
  const numbers = Array.from({ length: 60 }, (_, n) => n)
  const made = await Promise.all(numbers.map((n) => client.query(insert(n, `q${n}`))))
  const failed = await Promise.allSettled([5, 100, 6].map((n) => client.query(insert(n, 'x'))))
  return [made.map((it) => it.rows[0].id), outcomes(failed)]
}

// Requests behind each other on the wire, without waiting.
async function pipelined() {
  const client = await connect({ pipeline: true })
  const all = await Promise.allSettled([
    client.query(insert(200, 'one')),
    client.query('UPDATE line SET price = 2 WHERE id = $1', [200]),
    client.query(insert(200, 'twice')),
    client.query('UPDATE line SET price = price + 1 WHERE id = $1 RETURNING price', [200]),
    client.query('BEGIN'),
    client.query(insert(201, 'rolled back')),
    client.query('SELECT 1 / $1::int', [0]),
    client.query(insert(202, 'aborted')),
    client.query('COMMIT'),
    client.query(insert(203, 'after')),
  ])
  await client.end()
  return outcomes(all)
}

async function copyIn(client) {
  const stream = client.query(copy.from('COPY line (id, word, price) FROM STDIN'))
  const lines = Array.from({ length: 300 }, (_, n) => `${1000 + n}\t${n % 7 ? `tab\\t${n}` : '\\N'}\t${n}\n`)
  await pipeline(Readable.from(lines), stream)
  const again = client.query(copy.from('COPY line FROM STDIN (FORMAT csv)'))
  const twice = await failure(pipeline(Readable.from(['1000,a,1\n']), again))
  return [stream.rowCount, twice, (await client.query('SELECT count(*) FROM line WHERE id >= 1000')).rows]
}

async function copyOut(client) {
  const chunks = []
  for await (const chunk of client.query(copy.to('COPY (SELECT * FROM line WHERE id < 1010 ORDER BY id) TO STDOUT'))) {
    chunks.push(chunk)
  }
  let size = 0
  for await (const chunk of client.query(copy.to('COPY line TO STDOUT (FORMAT binary)'))) size += chunk.length
  return [Buffer.concat(chunks).toString(), size]
}

async function cursors(client) {
  await client.query('BEGIN')
  const cursor = client.query(new Cursor('SELECT id FROM line WHERE id >= $1 ORDER BY id', [1000]))
  const first = await cursor.read(3)
  const second = await cursor.read(3)
  await cursor.close()
  let total = 0
  for await (const row of client.query(new QueryStream('SELECT id FROM line ORDER BY id', [], { batchSize: 7 }))) {
    total += row.id
  }
  const writing = client.query(new Cursor("UPDATE line SET word = 'limited' WHERE id IN (1, 2, 3) RETURNING id"))
  const some = await writing.read(2)
  await writing.close()
  await client.query('COMMIT')
  const all = await client.query("SELECT count(*) FROM line WHERE word = 'limited'")
  const text = "UPDATE line SET word = 'one' WHERE id = $1 RETURNING id"
  const limited = await client.query({ text, values: [4], rows: 1 })
  return [first, second, total, some, all.rows, answer(limited)]
}

async function prepared(client) {
  const update = 'UPDATE line SET price = price + $1 WHERE id = $2 RETURNING price'
  const named = (on, values, text = update) => on.query({ name: 'named', text, values })
  const seen = []
  for (let n = 0; n < 6; n++) seen.push((await named(client, [n, 1])).rows[0].price)
  const other = await failure(named(client, [], 'SELECT 1'))
  await client.query('DEALLOCATE ALL')
  const lost = await failure(named(client, [1, 1]))
  const again = await connect()
  await named(again, [1, 1])
  await again.query('DISCARD ALL')
  const discarded = await failure(named(again, [1, 1]))
  await again.query('PREPARE mine (int, text) AS INSERT INTO line VALUES ($1, $2) RETURNING word')
  const bySql = await again.query("EXECUTE mine (300, 'by name')")
  await again.end()
  return [seen, other, lost, discarded, bySql.rows]
}

async function invalidation(client) {
  const other = await connect()
  await client.query('CREATE TABLE changing (id int PRIMARY KEY, a int)')
  const read = (id) => client.query({ name: 'r', text: 'SELECT * FROM changing WHERE id = $1', values: [id] })
  const write = (id) => client.query({ name: 'w', text: 'INSERT INTO changing VALUES ($1, 1) RETURNING *', values: [id] })
  const before = [(await write(1)).rows, (await read(1)).rows]
  await other.query('ALTER TABLE changing ADD COLUMN b int DEFAULT 5')
  const after = [await failure(write(2)), await failure(read(1))]
  await client.query('DROP TABLE changing')
  // The plan of a captured statement is made anew under it.
  const kept = []
  for (let n = 0; n < 3; n++) {
    const text = 'UPDATE line SET word = $1 WHERE id = 2 RETURNING *'
    kept.push((await client.query({ name: 'kept', text, values: [`plan ${n}`] })).rows)
    await other.query(`CREATE INDEX line_word_${n} ON line (word)`)
  }
  await other.query('DROP INDEX line_word_0, line_word_1, line_word_2')
  await other.end()
  return [before, after, kept]
}

async function cancel(client) {
  const sleeping = failure(client.query('SELECT pg_sleep(60)'))
  const other = await connect()
  // The driver's own way: another connection, which brings this one's key.
  new Client(url).cancel(client, client._activeQuery)
  const seen = await sleeping
  await other.query('SET statement_timeout = 100')
  const timed = await failure(other.query('SELECT pg_sleep(60)'))
  await other.end()
  return [seen, timed, (await client.query('SELECT 1 AS one')).rows]
}

async function notify(client) {
  const heard = []
  const complete = new Promise((resolve) => {
    client.on('notification', (message) => {
      heard.push([message.channel, message.payload])
      if (heard.length === 2) resolve()
    })
  })
  const notices = []
  client.on('notice', (notice) => notices.push(notice.message))
  await client.query('LISTEN door')
  const other = await connect()
  await other.query("NOTIFY door, 'knock'")
  await other.query("SELECT pg_notify('door', $1)", ['zażółć'])
  await other.end()
  await complete
  const said = await client.query("SELECT warn('hello')")
  return [heard, notices, said.rows]
}

async function savepoints(client) {
  await client.query('BEGIN ISOLATION LEVEL REPEATABLE READ')
  await client.query("INSERT INTO line VALUES (400, 'outer', 1)")
  await client.query('SAVEPOINT doubt')
  await client.query("UPDATE line SET word = 'never' WHERE id = $1", [400])
  const seen = await failure(client.query("INSERT INTO line VALUES (400, 'twice', 1)"))
  const aborted = await failure(client.query('SELECT 1'))
  await client.query('ROLLBACK TO SAVEPOINT doubt')
  await client.query("INSERT INTO line VALUES (402, 'released', 1)")
  await client.query('RELEASE SAVEPOINT doubt')
  await client.query('COMMIT')
  await client.query('BEGIN')
  await client.query("INSERT INTO line VALUES (403, 'rolled back', 1)")
  await failure(client.query('SELECT 1 / 0'))
  const ended = await client.query('COMMIT')
  const rows = await client.query('SELECT id, word FROM line WHERE id BETWEEN 400 AND 420 ORDER BY id')
  return [seen, aborted, ended.command, rows.rows]
}

async function errors(client) {
  const seen = []
  for (const [text, values] of [
    ["INSERT INTO account (owner) VALUES ('ada')"],
    ["UPDATE account SET balance = $1 WHERE owner = 'ada'", [-1]],
    ['INSERT INTO entry VALUES ($1, 1, 1)', [999]],
    ['INSERT INTO account (owner) VALUES (NULL) RETURNING id'],
    ["INSERT INTO line VALUES ($1, 'x', 1) RETURNING nothing", [500]],
    ['UPDATE line SET word = 1 / 0 WHERE id = 1 RETURNIN id'],
    ['SELECT * FROM missing'],
    ["INSERT INTO line VALUES ($1, 'x', 1)", ['not a number']],
    ["INSERT INTO line VALUES (501, 'x', 1); SELECT 1 / 0"],
    ["INSERT INTO line VALUES ($1, 'x')", [1, 2]],
  ]) seen.push(await failure(client.query(text, values)))
  return [seen, (await client.query('SELECT count(*) FROM line WHERE id BETWEEN 500 AND 510')).rows]
}

async function large(client) {
  const body = 'žluť'.repeat(300000)
  const raw = Buffer.alloc(2000000, 'abc\0')
  await client.query('INSERT INTO document VALUES (1, $1, $2)', [body, raw])
  await client.query('INSERT INTO document VALUES (2, $1, $2)', [body.slice(0, 100000), raw.subarray(0, 100000)])
  const row = (await client.query('SELECT body, raw FROM document WHERE id = 1')).rows[0]
  const rows = (await client.query("SELECT g, repeat('x', g % 50) AS x FROM generate_series(1, 50000) g")).rows
  const back = (await client.query("UPDATE document SET body = body || '!' WHERE id = 2 RETURNING length(body), raw")).rows[0]
  const total = rows.reduce((sum, it) => sum + it.x.length, 0)
  return [row.body === body, row.raw.equals(raw), total, back.length, back.raw.equals(raw.subarray(0, 100000))]
}

async function calls(client) {
  const total = await client.query('SELECT add_up($1, $2)', [2, 3])
  await client.query('CALL deposit($1, $2)', ['bob', 5])
  const several = await client.query(
    "INSERT INTO line VALUES (600, 'a', 1); UPDATE line SET word = 'b' WHERE id = 600 RETURNING word; SELECT 1 AS one")
  const upsert = await client.query(
    "INSERT INTO line VALUES ($1, 'c', 2) ON CONFLICT (id) DO UPDATE SET word = excluded.word RETURNING *, xmax = 0 AS new", [600])
  const nothing = await client.query('INSERT INTO line VALUES (600) ON CONFLICT DO NOTHING')
  const empty = await client.query('')
  return [answer(total), several.map(answer), answer(upsert), answer(nothing), empty.command]
}

async function settings() {
  const client = await connect({ application_name: 'scenarios', statement_timeout: 50000 })
  await client.query("SET TIME ZONE 'Asia/Tokyo'; SET search_path = pg_temp, public")
  await client.query('CREATE TEMP TABLE line (id int PRIMARY KEY, word text)')
  await client.query("INSERT INTO line VALUES ($1, 'temporary')", [1])
  await client.query("INSERT INTO public.line VALUES ($1, 'permanent', 1)", [700])
  const rows = await client.query("SELECT current_setting('statement_timeout'), current_setting('TimeZone'), word FROM line")
  await client.end()
  return rows.rows
}

async function pool() {
  const shared = new Pool({ connectionString: url, max: 4 })
  const work = async (n) => {
    const client = await shared.connect()
    try {
      await client.query('BEGIN')
      await client.query("INSERT INTO line VALUES ($1, 'pool', 1)", [2000 + n])
      const { rows } = await client.query('UPDATE line SET price = $2 WHERE id = $1 RETURNING price', [2000 + n, n])
      await client.query('COMMIT')
      return rows[0].price
    } finally {
      client.release()
    }
  }
  const seen = await Promise.all(Array.from({ length: 40 }, (_, n) => work(n)))
  await shared.end()
  return seen
}

const scenarios = [types, returning, queued, pipelined, copyIn, copyOut, cursors, prepared, invalidation, cancel,
  notify, savepoints, errors, large, calls, settings, pool]

async function main() {
  for (const scenario of scenarios) {
    const client = await connect()
    try {
      console.log(scenario.name, JSON.stringify(await scenario(client)))
    } catch (error) {
      // The comparison shows it.
      console.log(scenario.name, 'failed:', String(error.stack).replaceAll('\n', ' '))
    }
    await client.end()
  }
}

main()
