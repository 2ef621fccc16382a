// pgx in its own idioms: batches in one round trip, CopyFrom, an automatic statement cache, every
// query execution mode, pipelines of pgconn.
//
// Prints one line per scenario; see tests/drivers/README.md. Usage: pgx URL
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jackc/pgx/v5/pgxpool"
)

var (
	url        = os.Args[1]
	background = context.Background()
)

func check(err error) {
	if err != nil {
		panic(err)
	}
}

func must[T any](value T, err error) T {
	check(err)
	return value
}

func connect(settings ...func(*pgx.ConnConfig)) *pgx.Conn {
	config := must(pgx.ParseConfig(url))
	for _, set := range settings {
		set(config)
	}
	return must(pgx.ConnectConfig(background, config))
}

// The SQLSTATE, constraint and position of an error.
func failure(err error) string {
	var server *pgconn.PgError
	switch {
	case err == nil:
		return "no error"
	case errors.As(err, &server):
		return fmt.Sprint(server.Code, " ", server.ConstraintName, " ", server.Position)
	default:
		return err.Error()
	}
}

func rows(conn *pgx.Conn, text string, values ...any) [][]any {
	found := must(conn.Query(background, text, values...))
	return must(pgx.CollectRows(found, func(row pgx.CollectableRow) ([]any, error) { return row.Values() }))
}

func run(conn *pgx.Conn, text string, values ...any) string {
	return must(conn.Exec(background, text, values...)).String()
}

func attempt(conn *pgx.Conn, text string, values ...any) string {
	_, err := conn.Exec(background, text, values...)
	return failure(err)
}

type spot struct {
	X     int32
	Y     float64
	Label string
}

func types(conn *pgx.Conn) []any {
	for _, name := range []string{"spot", "mood"} {
		conn.TypeMap().RegisterType(must(conn.LoadType(background, name)))
	}
	one, three := int32(1), int32(3)
	comma, quote := "a,b", `"q"`
	var price pgtype.Numeric
	check(price.Scan("12345678901.25"))
	values := []any{
		1, true, int16(-7), int64(1) << 62, 0.1, price, "zażółć 'quoted'", "pad", []byte{0, 1, 255, 92},
		time.Date(2024, 2, 29, 0, 0, 0, 0, time.UTC), time.Date(2024, 2, 29, 12, 30, 1, 123456000, time.UTC),
		time.Date(1999, 12, 31, 23, 59, 59, 0, time.UTC), pgtype.Interval{Days: 3, Microseconds: 7e6, Valid: true},
		"00000000-0000-0000-0000-00000000002a", map[string]any{"a": []any{1, nil, "π"}}, map[string]any{"b": 1.5},
		[]*int32{&one, nil, &three}, []*string{&comma, &quote, nil}, netip.MustParsePrefix("10.0.0.1/24"),
		pgtype.Range[pgtype.Int4]{
			Lower: pgtype.Int4{Int32: 1, Valid: true}, Upper: pgtype.Int4{Int32: 10, Valid: true},
			LowerType: pgtype.Inclusive, UpperType: pgtype.Exclusive, Valid: true,
		},
		"happy", spot{1, 2.5, "here"},
	}
	marks := make([]string, len(values))
	for index := range marks {
		marks[index] = fmt.Sprintf("$%d", index+1)
	}
	text := "INSERT INTO thing VALUES (" + strings.Join(marks, ", ") + ") RETURNING thing::text"
	seen := []any{rows(conn, text, values...)}
	seen = append(seen, rows(conn, "UPDATE thing SET words = words || $1::text[], price = price * 2 WHERE id = $2 "+
		"RETURNING id, flag, whole, price, moment, loose, strict, numbers, words, place, span, token",
		[]string{"new"}, 1))
	seen = append(seen, rows(conn, "INSERT INTO thing (id) VALUES ($1) RETURNING *", 2))
	return append(seen, run(conn, "DELETE FROM thing WHERE id = $1", 2))
}

func returning(conn *pgx.Conn) []any {
	var id int64
	row := conn.QueryRow(background, "INSERT INTO account (owner, balance) VALUES ($1, $2) RETURNING id", "ada", 10)
	check(row.Scan(&id))
	type account struct {
		ID    int64
		Owner string
	}
	several := must(conn.Query(background, "INSERT INTO account (owner) VALUES ($1), ($2) RETURNING id, owner", "bob", "cy"))
	found := must(pgx.CollectRows(several, pgx.RowToStructByName[account]))
	named := run(conn, "UPDATE account SET balance = balance + @more WHERE id = @id", pgx.NamedArgs{"more": 1, "id": id})
	nobody := conn.QueryRow(background, "DELETE FROM account WHERE owner = $1 RETURNING id", "nobody").Scan(&id)
	return []any{id, found, named, nobody.Error()}
}

func batch(conn *pgx.Conn) []any {
	all := &pgx.Batch{}
	seen := []any{}
	for n := range 100 {
		all.Queue("INSERT INTO entry VALUES (1, $1, $2)", n, float64(n)/2)
	}
	all.Queue("UPDATE entry SET note = 'changed' WHERE account = 1 AND number = $1 RETURNING amount::text", 7).
		QueryRow(func(row pgx.Row) error {
			var amount string
			defer func() { seen = append(seen, amount) }()
			return row.Scan(&amount)
		})
	all.Queue("SELECT count(*) FROM entry").Query(func(found pgx.Rows) error {
		count, err := pgx.CollectExactlyOneRow(found, pgx.RowTo[int64])
		seen = append(seen, count)
		return err
	})
	all.Queue("DELETE FROM entry WHERE account = 1 AND number = $1", 8).Exec(func(tag pgconn.CommandTag) error {
		seen = append(seen, tag.String())
		return nil
	})
	check(conn.SendBatch(background, all).Close())
	return seen
}

func batchError(conn *pgx.Conn) []any {
	broken := &pgx.Batch{}
	broken.Queue("INSERT INTO line VALUES ($1, 'lost', 1)", 200)
	broken.Queue("INSERT INTO line VALUES ($1, 'twice', 1)", 200)
	broken.Queue("INSERT INTO line VALUES ($1, 'aborted', 1)", 201)
	results := conn.SendBatch(background, broken)
	seen := []any{}
	for range 3 {
		tag, err := results.Exec()
		seen = append(seen, tag.String(), failure(err))
	}
	seen = append(seen, failure(results.Close()))
	transaction := must(conn.Begin(background))
	inside := &pgx.Batch{}
	inside.Queue("INSERT INTO line VALUES ($1, 'batch in transaction', 1)", 202)
	inside.Queue("UPDATE line SET price = 3 WHERE id = $1", 202)
	check(transaction.SendBatch(background, inside).Close())
	check(transaction.Commit(background))
	return append(seen, rows(conn, "SELECT id, word, price::text FROM line ORDER BY id"))
}

// Several Syncs on the wire before the first answer is read.
func pipeline(conn *pgx.Conn) []any {
	line := conn.PgConn().StartPipeline(background)
	insert := "INSERT INTO line VALUES ($1, 'pipeline', 1) RETURNING id"
	line.SendPrepare("piped", insert, nil)
	line.SendQueryPrepared("piped", [][]byte{[]byte("300")}, nil, nil)
	check(line.Sync())
	line.SendQueryPrepared("piped", [][]byte{[]byte("300")}, nil, nil)
	line.SendQueryPrepared("piped", [][]byte{[]byte("301")}, nil, nil)
	check(line.Sync())
	line.SendQueryParams("UPDATE line SET price = 5 WHERE id = $1 RETURNING price", [][]byte{[]byte("300")}, nil, nil, nil)
	line.SendDeallocate("piped")
	check(line.Sync())
	check(line.Flush())
	seen := []any{}
	for {
		results, err := line.GetResults()
		if err == nil && results == nil {
			break
		}
		switch result := results.(type) {
		case *pgconn.ResultReader:
			read := result.Read()
			seen = append(seen, read.CommandTag.String(), read.Rows, failure(read.Err))
		default:
			seen = append(seen, fmt.Sprintf("%T", results), failure(err))
		}
	}
	check(line.Close())
	return seen
}

func copyIn(conn *pgx.Conn) []any {
	source := pgx.CopyFromSlice(300, func(n int) ([]any, error) {
		return []any{1000 + n, fmt.Sprintf("tab\t%d", n), pgtype.Numeric{}}, nil
	})
	binary := must(conn.CopyFrom(background, pgx.Identifier{"line"}, []string{"id", "word", "price"}, source))
	text := must(conn.PgConn().CopyFrom(background, strings.NewReader("1400,a,1\n1401,,2\n"), "COPY line FROM STDIN (FORMAT csv)"))
	_, err := conn.PgConn().CopyFrom(background, strings.NewReader("1400,a,1\n"), "COPY line FROM STDIN (FORMAT csv)")
	return []any{binary, text.String(), failure(err), rows(conn, "SELECT count(*) FROM line WHERE id >= 1000")}
}

func copyOut(conn *pgx.Conn) []any {
	var text, binary bytes.Buffer
	one := must(conn.PgConn().CopyTo(background, &text, "COPY (SELECT * FROM line WHERE id < 1010 ORDER BY id) TO STDOUT"))
	two := must(conn.PgConn().CopyTo(background, &binary, "COPY line TO STDOUT (FORMAT binary)"))
	return []any{one.String(), text.String(), two.String(), binary.Len()}
}

func cursors(conn *pgx.Conn) []any {
	transaction := must(conn.Begin(background))
	defer func() { check(transaction.Commit(background)) }()
	run(conn, "DECLARE walk SCROLL CURSOR FOR SELECT id FROM line WHERE id >= 1000 ORDER BY id")
	first := rows(conn, "FETCH 3 FROM walk")
	last := rows(conn, "FETCH LAST FROM walk")
	run(conn, "DECLARE change CURSOR FOR SELECT id FROM line WHERE id = 202 FOR UPDATE")
	rows(conn, "FETCH change")
	changed := run(conn, "UPDATE line SET word = 'current' WHERE CURRENT OF change")
	return []any{first, last, changed}
}

func prepared(conn *pgx.Conn) []any {
	update := "UPDATE line SET price = price + $1 WHERE id = $2 RETURNING price::text"
	statement := must(conn.Prepare(background, "mine", update))
	seen := []any{len(statement.Fields), statement.ParamOIDs}
	for n := range 5 {
		seen = append(seen, rows(conn, "mine", n, 202))
	}
	run(conn, "DEALLOCATE mine")
	seen = append(seen, attempt(conn, "mine", 1, 202))
	check(conn.DeallocateAll(background))
	for n := range 3 {
		seen = append(seen, rows(conn, update, n, 202))
	}
	seen = append(seen, rows(conn, "SELECT count(*) FROM pg_prepared_statements"))
	run(conn, "DISCARD ALL")
	// The cached statement is gone: the driver hears so once and prepares again.
	seen = append(seen, attempt(conn, update, 1, 202), attempt(conn, update, 1, 202))
	return seen
}

// Every way in which the driver can run a statement.
func modes(_ *pgx.Conn) []any {
	seen := []any{}
	for number, mode := range []pgx.QueryExecMode{
		pgx.QueryExecModeCacheStatement, pgx.QueryExecModeCacheDescribe, pgx.QueryExecModeDescribeExec,
		pgx.QueryExecModeExec, pgx.QueryExecModeSimpleProtocol,
	} {
		conn := connect(func(config *pgx.ConnConfig) { config.DefaultQueryExecMode = mode })
		id := 500 + number
		for range 2 {
			seen = append(seen, rows(conn, "INSERT INTO line VALUES ($1, $2, 1) ON CONFLICT (id) DO UPDATE "+
				"SET price = line.price + 1 RETURNING id, word, price::text", id, "it's a mode"))
		}
		seen = append(seen, run(conn, "DELETE FROM line WHERE id = $1", id-1))
		check(conn.Close(background))
	}
	return seen
}

func invalidation(conn *pgx.Conn) []any {
	other := connect()
	defer other.Close(background)
	run(conn, "CREATE TABLE changing (id int PRIMARY KEY, a int)")
	read, write := "SELECT * FROM changing WHERE id = $1", "INSERT INTO changing VALUES ($1, 1) RETURNING *"
	seen := []any{rows(conn, write, 1), rows(conn, read, 1)}
	run(other, "ALTER TABLE changing ADD COLUMN b int DEFAULT 5")
	for id := range 3 {
		seen = append(seen, attempt(conn, read, 1), attempt(conn, write, 10+id))
	}
	seen = append(seen, rows(conn, "SELECT * FROM changing ORDER BY id"))
	run(conn, "DROP TABLE changing")
	for n := range 3 {
		seen = append(seen, rows(conn, "UPDATE line SET word = $1 WHERE id = 202 RETURNING id, word", fmt.Sprint("plan ", n)))
		run(other, fmt.Sprintf("CREATE INDEX line_word_%d ON line (word)", n))
	}
	run(other, "DROP INDEX line_word_0, line_word_1, line_word_2")
	return seen
}

func cancel(conn *pgx.Conn) []any {
	timer := time.AfterFunc(200*time.Millisecond, func() { check(conn.PgConn().CancelRequest(background)) })
	defer timer.Stop()
	seen := attempt(conn, "SELECT pg_sleep(60)")
	run(conn, "SET statement_timeout = 100")
	timed := attempt(conn, "SELECT pg_sleep(60)")
	run(conn, "RESET statement_timeout")
	return []any{seen, timed, rows(conn, "SELECT 1")}
}

func notify(_ *pgx.Conn) []any {
	var notices []string
	conn := connect(func(config *pgx.ConnConfig) {
		config.OnNotice = func(_ *pgconn.PgConn, notice *pgconn.Notice) { notices = append(notices, notice.Message) }
	})
	defer conn.Close(background)
	run(conn, "LISTEN door")
	other := connect()
	run(other, "NOTIFY door, 'knock'")
	run(other, "SELECT pg_notify('door', $1)", "zażółć")
	check(other.Close(background))
	limited, stop := context.WithTimeout(background, 20*time.Second)
	defer stop()
	heard := []string{}
	for range 2 {
		heard = append(heard, must(conn.WaitForNotification(limited)).Payload)
	}
	return []any{heard, rows(conn, "SELECT warn('hello')"), notices}
}

func savepoints(conn *pgx.Conn) []any {
	transaction := must(conn.BeginTx(background, pgx.TxOptions{IsoLevel: pgx.RepeatableRead}))
	must(transaction.Exec(background, "INSERT INTO line VALUES (400, 'outer', 1)"))
	inner := must(transaction.Begin(background))
	must(inner.Exec(background, "UPDATE line SET word = 'never' WHERE id = $1", 400))
	_, err := inner.Exec(background, "INSERT INTO line VALUES (400, 'twice', 1)")
	check(inner.Rollback(background))
	second := must(transaction.Begin(background))
	must(second.Exec(background, "INSERT INTO line VALUES ($1, 'released', 1)", 402))
	check(second.Commit(background))
	check(transaction.Commit(background))
	broken := must(conn.Begin(background))
	must(broken.Exec(background, "INSERT INTO line VALUES (403, 'rolled back', 1)"))
	_, inside := broken.Exec(background, "SELECT 1 / 0")
	ended := broken.Commit(background)
	return []any{failure(err), failure(inside), failure(ended),
		rows(conn, "SELECT id, word FROM line WHERE id BETWEEN 400 AND 420 ORDER BY id")}
}

func failures(conn *pgx.Conn) []any {
	return []any{
		attempt(conn, "INSERT INTO account (owner) VALUES ('ada')"),
		attempt(conn, "UPDATE account SET balance = $1 WHERE owner = 'ada'", -1),
		attempt(conn, "INSERT INTO entry VALUES ($1, 1, 1)", 999),
		attempt(conn, "INSERT INTO account (owner) VALUES (NULL) RETURNING id"),
		attempt(conn, "INSERT INTO line VALUES ($1, 'x', 1) RETURNING nothing", 600),
		attempt(conn, "UPDATE line SET word = 1 / 0 WHERE id = 1 RETURNIN id"),
		attempt(conn, "SELECT * FROM missing"),
		attempt(conn, "INSERT INTO line VALUES ($1, 'x', 1)", "not a number"),
		rows(conn, "SELECT count(*) FROM line WHERE id BETWEEN 600 AND 610"),
	}
}

func large(conn *pgx.Conn) []any {
	body, raw := strings.Repeat("žluť", 300_000), bytes.Repeat([]byte("abc\x00"), 500_000)
	run(conn, "INSERT INTO document VALUES (1, $1, $2)", body, raw)
	run(conn, "INSERT INTO document VALUES (2, $1, $2)", body[:100_000], raw[:100_000])
	var text string
	var bytesBack []byte
	check(conn.QueryRow(background, "SELECT body, raw FROM document WHERE id = 1").Scan(&text, &bytesBack))
	size := 0
	for _, row := range rows(conn, "SELECT g, repeat('x', g % 50) FROM generate_series(1, 50000) g") {
		size += len(row[1].(string))
	}
	changed := "UPDATE document SET body = body || '!' WHERE id = 2 RETURNING length(body), md5(raw)"
	return []any{text == body, bytes.Equal(raw, bytesBack), size, rows(conn, changed)}
}

func calls(conn *pgx.Conn) []any {
	run(conn, "CALL deposit($1, $2)", "bob", 5)
	several := must(conn.PgConn().Exec(background, "INSERT INTO line VALUES (700, 'a', 1); "+
		"UPDATE line SET word = 'b' WHERE id = 700 RETURNING word; SELECT 1").ReadAll())
	tags := []any{}
	for _, result := range several {
		tags = append(tags, result.CommandTag.String(), result.Rows)
	}
	upsert := "INSERT INTO line VALUES ($1, 'c', 2) ON CONFLICT (id) DO UPDATE SET word = excluded.word RETURNING word, xmax = 0"
	return []any{rows(conn, "SELECT add_up($1, $2)", 2, 3), tags, rows(conn, upsert, 700),
		run(conn, "INSERT INTO line VALUES (700) ON CONFLICT DO NOTHING")}
}

func settings(_ *pgx.Conn) []any {
	conn := connect(func(config *pgx.ConnConfig) {
		config.RuntimeParams["application_name"] = "scenarios"
		config.RuntimeParams["statement_timeout"] = "50s"
	})
	defer conn.Close(background)
	run(conn, "SET TIME ZONE 'Asia/Tokyo'")
	run(conn, "SET search_path = pg_temp, public")
	run(conn, "CREATE TEMP TABLE line (id int PRIMARY KEY, word text)")
	run(conn, "INSERT INTO line VALUES ($1, 'temporary')", 1)
	run(conn, "INSERT INTO public.line VALUES ($1, 'permanent', 1)", 800)
	status := conn.PgConn().ParameterStatus
	return []any{status("TimeZone"), status("application_name"),
		rows(conn, "SELECT current_setting('statement_timeout'), word FROM line")}
}

func pool(_ *pgx.Conn) []any {
	shared := must(pgxpool.New(background, url+"?pool_max_conns=4"))
	defer shared.Close()
	seen := make([]any, 40)
	var group sync.WaitGroup
	for n := range seen {
		group.Add(1)
		go func() {
			defer group.Done()
			check(pgx.BeginFunc(background, shared, func(transaction pgx.Tx) error {
				must(transaction.Exec(background, "INSERT INTO line VALUES ($1, 'pool', 1)", 2000+n))
				row := transaction.QueryRow(background, "UPDATE line SET price = $2 WHERE id = $1 RETURNING price::text", 2000+n, n)
				var price string
				err := row.Scan(&price)
				seen[n] = price
				return err
			}))
		}()
	}
	group.Wait()
	return seen
}

func main() {
	for _, scenario := range []struct {
		name string
		run  func(*pgx.Conn) []any
	}{
		{"types", types}, {"returning", returning}, {"batch", batch}, {"batch_error", batchError},
		{"pipeline", pipeline}, {"copy_in", copyIn}, {"copy_out", copyOut}, {"cursors", cursors},
		{"prepared", prepared}, {"modes", modes}, {"invalidation", invalidation}, {"cancel", cancel},
		{"notify", notify}, {"savepoints", savepoints}, {"errors", failures}, {"large", large},
		{"calls", calls}, {"settings", settings}, {"pool", pool},
	} {
		play(scenario.name, scenario.run)
	}
}

// A panic is a result too: the comparison shows it.
func play(name string, run func(*pgx.Conn) []any) {
	conn := connect()
	defer conn.Close(background)
	defer func() {
		if reason := recover(); reason != nil {
			fmt.Println(name, "failed:", reason)
		}
	}()
	fmt.Println(name, string(must(json.Marshal(run(conn)))))
}
