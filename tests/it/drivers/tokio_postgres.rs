//! tokio-postgres in its own idioms: pipelining by joining futures, binary everywhere, portals, COPY
//! streams, nested transactions.
//!
//! Runs the scenarios of `tests/drivers/README.md`. Does not say what is right: the other run does.

use std::{fmt::Debug, pin::pin, time::Duration};

use anyhow::Result;
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt, TryStreamExt, future, stream};
use harness::Database;
use tokio_postgres::{
    AsyncMessage, Client, Error, NoTls, Row, SimpleQueryMessage,
    binary_copy::BinaryCopyInWriter,
    types::{ToSql, Type},
};

/// One line per scenario.
pub(super) async fn run(database: &Database) -> String {
    let mut lines = Vec::new();
    macro_rules! play {
        ($($scenario:ident),*) => {$(
            let mut client = database.connect().await.unwrap();
            let line = match $scenario(database, &mut client).await {
                Ok(seen) => format!("{} {seen}", stringify!($scenario)),
                Err(error) => format!("{} failed: {error:?}", stringify!($scenario)),
            };
            lines.push(line.replace('\n', " "));
        )*};
    }
    play!(
        types,
        returning,
        pipelined,
        broken_pipeline,
        copy_in,
        copy_out,
        portals,
        prepared,
        invalidation,
        cancel,
        notify,
        savepoints,
        errors,
        large,
        calls
    );
    lines.join("\n")
}

type Parameters<'a> = &'a [&'a (dyn ToSql + Sync)];

fn shown(value: impl Debug) -> String {
    format!("{value:?}")
}

/// SQLSTATE, constraint and position.
fn failure<T>(result: Result<T, Error>) -> String {
    let Err(error) = result else {
        return "no error".to_owned();
    };
    error.as_db_error().map_or_else(
        || error.to_string(),
        |error| {
            let (code, constraint) = (error.code().code(), error.constraint());
            format!("{code} {constraint:?} {:?}", error.position())
        },
    )
}

fn texts(rows: &[Row]) -> Vec<Option<String>> {
    rows.iter().map(|row| row.get(0)).collect()
}

async fn types(_: &Database, client: &mut Client) -> Result<String> {
    let insert = "INSERT INTO thing (id, flag, small, whole, ratio, price, word, padded, raw, moment, numbers, \
                  words, strict, place) VALUES ($1, $2, $3, $4, $5, $6::text::numeric, $7, $8, $9, \
                  $10::text::timestamptz, $11, $12, $13::text::jsonb, $14::text::spot) RETURNING thing::text";
    let (numbers, words) = (vec![Some(1), None, Some(3)], vec!["a,b", "\"q\""]);
    let mut seen = Vec::new();
    for id in 1..=2_i32 {
        let values: Parameters<'_> = &[
            &id,
            &true,
            &-7_i16,
            &(1_i64 << 62),
            &0.1_f64,
            &"12345678901.25",
            &"zażółć 'quoted'",
            &"pad",
            &&b"\x00\x01\xff\\"[..],
            &"2024-02-29 12:30:01.123456+00",
            &numbers,
            &words,
            &"{\"b\": 1.5}",
            &"(1,2.50,here)",
        ];
        seen.extend(texts(&client.query(insert, values).await?));
    }
    let nothing = client
        .query_one("INSERT INTO thing (id) VALUES ($1) RETURNING *", &[&3_i32])
        .await?;
    let changed = client
        .query_one(
            "UPDATE thing SET words = words || $1::text[], price = price * 2 WHERE id = $2 \
             RETURNING words, raw, numbers, whole, ratio",
            &[&vec!["new"], &2_i32],
        )
        .await?;
    let texts: (Vec<String>, Vec<u8>) = (changed.get(0), changed.get(1));
    let numbers: (Vec<Option<i32>>, i64, f64) = (changed.get(2), changed.get(3), changed.get(4));
    let gone = client
        .execute("DELETE FROM thing WHERE id = $1", &[&1_i32])
        .await?;
    Ok(shown((
        seen,
        nothing.get::<_, Option<bool>>(1),
        nothing.len(),
        texts,
        numbers,
        gone,
    )))
}

async fn returning(_: &Database, client: &mut Client) -> Result<String> {
    let id: i64 = client
        .query_one(
            "INSERT INTO account (owner, balance) VALUES ($1, 10) RETURNING id",
            &[&"ada"],
        )
        .await?
        .get(0);
    let several = client
        .query(
            "INSERT INTO account (owner) VALUES ($1), ($2) RETURNING owner",
            &[&"bob", &"cy"],
        )
        .await?;
    let updated = client
        .execute(
            "UPDATE account SET balance = balance + 1 WHERE id = $1",
            &[&id],
        )
        .await?;
    let nobody = client
        .query_opt(
            "DELETE FROM account WHERE owner = $1 RETURNING *",
            &[&"nobody"],
        )
        .await?;
    let typed = client
        .query_typed(
            "UPDATE account SET balance = 5 WHERE id = $1 RETURNING owner",
            &[(&id, Type::INT8)],
        )
        .await?;
    Ok(shown((
        id,
        texts(&several),
        updated,
        nobody.is_none(),
        texts(&typed),
    )))
}

async fn pipelined(_: &Database, client: &mut Client) -> Result<String> {
    let insert = client
        .prepare("INSERT INTO line VALUES ($1, $2, 1) RETURNING word")
        .await?;
    let ids: Vec<i32> = (0..60).collect();
    let made = future::join_all(ids.iter().map(|id| {
        let (client, insert) = (&*client, &insert);
        async move { client.query_one(insert, &[id, &format!("line {id}")]).await }
    }))
    .await;
    let made: Result<Vec<Row>, Error> = made.into_iter().collect();
    let (one, two, three) = tokio::join!(
        client.execute("UPDATE line SET price = 2 WHERE id = $1", &[&1_i32]),
        client.execute("DELETE FROM line WHERE id = $1", &[&2_i32]),
        client.query("SELECT word FROM line WHERE id = $1", &[&1_i32]),
    );
    Ok(shown((texts(&made?), one?, two?, texts(&three?))))
}

async fn broken_pipeline(_: &Database, client: &mut Client) -> Result<String> {
    let insert = client
        .prepare("INSERT INTO line VALUES ($1, 'x', 1)")
        .await?;
    let (kept, twice, after, simple) = tokio::join!(
        client.execute(&insert, &[&200_i32]),
        client.execute(&insert, &[&200_i32]),
        client.execute(&insert, &[&201_i32]),
        client.batch_execute("INSERT INTO line VALUES (202, 'lost', 1); SELECT 1 / 0"),
    );
    let left = client
        .query(
            "SELECT id::text FROM line WHERE id BETWEEN 200 AND 210 ORDER BY id",
            &[],
        )
        .await?;
    Ok(shown((
        failure(kept),
        failure(twice),
        failure(after),
        failure(simple),
        texts(&left),
    )))
}

async fn copy_in(_: &Database, client: &mut Client) -> Result<String> {
    let mut sink = pin!(client.copy_in("COPY line FROM STDIN (FORMAT csv)").await?);
    for start in (1000..1300).step_by(100) {
        let lines: Vec<_> = (start..start + 100)
            .map(|id| format!("{id},word {id},1\n"))
            .collect();
        sink.send(Bytes::from(lines.concat())).await?;
    }
    let text = sink.finish().await?;
    let sink = client
        .copy_in("COPY line (id, word) FROM STDIN (FORMAT binary)")
        .await?;
    let mut writer = pin!(BinaryCopyInWriter::new(sink, &[Type::INT4, Type::TEXT]));
    for id in 1300..1350_i32 {
        writer
            .as_mut()
            .write(&[&id, &(id % 7 != 0).then_some("binary")])
            .await?;
    }
    let binary = writer.finish().await?;
    let mut sink = pin!(client.copy_in("COPY line FROM STDIN (FORMAT csv)").await?);
    sink.send(Bytes::from_static(b"1000,twice,1\n")).await?;
    let twice = failure(sink.finish().await);
    // A sink that is dropped is a COPY that has failed.
    let abandoned = client
        .copy_in::<_, Bytes>("COPY line FROM STDIN (FORMAT csv)")
        .await?;
    drop(abandoned);
    let count: i64 = client
        .query_one("SELECT count(*) FROM line WHERE id >= 1000", &[])
        .await?
        .get(0);
    Ok(shown((text, binary, twice, count)))
}

async fn copy_out(_: &Database, client: &mut Client) -> Result<String> {
    let text = "COPY (SELECT * FROM line WHERE id BETWEEN 995 AND 1010 ORDER BY id) TO STDOUT";
    let lines: Vec<Bytes> = client.copy_out(text).await?.try_collect().await?;
    let binary: Vec<Bytes> = client
        .copy_out("COPY line TO STDOUT (FORMAT binary)")
        .await?
        .try_collect()
        .await?;
    Ok(shown((lines, binary.iter().map(Bytes::len).sum::<usize>())))
}

async fn portals(_: &Database, client: &mut Client) -> Result<String> {
    let transaction = client.transaction().await?;
    let select = transaction
        .bind(
            "SELECT id::text FROM line WHERE id >= $1 ORDER BY id",
            &[&1000_i32],
        )
        .await?;
    let first = transaction.query_portal(&select, 3).await?;
    let changed = transaction
        .execute("UPDATE line SET price = 3 WHERE id = $1", &[&1000_i32])
        .await?;
    let second = transaction.query_portal(&select, 3).await?;
    let one = transaction
        .bind(
            "UPDATE line SET price = 4 WHERE id = $1 RETURNING id::text",
            &[&1001_i32],
        )
        .await?;
    let one_row = transaction.query_portal(&one, 1).await?;
    let no_more = transaction.query_portal(&one, 1).await?;
    transaction.commit().await?;
    let transaction = client.transaction().await?;
    let several = transaction
        .bind(
            "UPDATE line SET price = 5 WHERE id IN (1002, 1003, 1004) RETURNING id::text",
            &[],
        )
        .await?;
    let some = transaction.query_portal(&several, 2).await?;
    transaction.commit().await?;
    let rows = [first, second, one_row, no_more, some];
    Ok(shown((changed, rows.map(|rows| texts(&rows)))))
}

async fn prepared(_: &Database, client: &mut Client) -> Result<String> {
    let update = client
        .prepare("UPDATE line SET price = price + 1 WHERE id = $1 RETURNING price::text")
        .await?;
    let mut seen = Vec::new();
    for _ in 0..8 {
        seen.extend(texts(&client.query(&update, &[&1_i32]).await?));
    }
    client.batch_execute("DEALLOCATE ALL").await?;
    let lost = failure(client.query(&update, &[&1_i32]).await);
    let again = client
        .prepare("UPDATE line SET price = 1 WHERE id = $1")
        .await?;
    let done = client.execute(&again, &[&1_i32]).await?;
    client.batch_execute("DISCARD ALL").await?;
    let discarded = failure(client.execute(&again, &[&1_i32]).await);
    let columns = client
        .prepare("DELETE FROM line WHERE id = $1 RETURNING *")
        .await?;
    let columns: Vec<_> = columns
        .columns()
        .iter()
        .map(|it| it.name().to_owned())
        .collect();
    Ok(shown((seen, lost, done, discarded, columns)))
}

async fn invalidation(database: &Database, client: &mut Client) -> Result<String> {
    client
        .batch_execute("CREATE TABLE changing (id int PRIMARY KEY, a int)")
        .await?;
    let write = client
        .prepare("INSERT INTO changing VALUES ($1, 1) RETURNING *")
        .await?;
    let read = client
        .prepare("SELECT * FROM changing WHERE id = $1")
        .await?;
    client.query_one(&write, &[&1_i32]).await?;
    client.query_one(&read, &[&1_i32]).await?;
    database
        .execute("ALTER TABLE changing ADD COLUMN b int DEFAULT 5")
        .await?;
    let seen = (
        failure(client.query_one(&write, &[&2_i32]).await),
        failure(client.query_one(&read, &[&1_i32]).await),
    );
    client.batch_execute("DROP TABLE changing").await?;
    let kept = client
        .prepare("UPDATE line SET word = $1 WHERE id = 3 RETURNING word")
        .await?;
    let mut words = Vec::new();
    for index in 0..3 {
        words.extend(texts(
            &client.query(&kept, &[&format!("plan {index}")]).await?,
        ));
        database
            .execute(&format!("CREATE INDEX line_word_{index} ON line (word)"))
            .await?;
    }
    database
        .execute("DROP INDEX line_word_0, line_word_1, line_word_2")
        .await?;
    Ok(shown((seen, words)))
}

async fn cancel(_: &Database, client: &mut Client) -> Result<String> {
    let token = client.cancel_token();
    let (sleeping, asked) = tokio::join!(client.batch_execute("SELECT pg_sleep(60)"), async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        token.cancel_query(NoTls).await
    });
    let one = client.query("SELECT '1'", &[]).await?;
    Ok(shown((failure(sleeping), failure(asked), texts(&one))))
}

async fn notify(database: &Database, _: &mut Client) -> Result<String> {
    let (client, mut connection) = tokio_postgres::connect(&database.uri(), NoTls).await?;
    let mut messages = stream::poll_fn(move |context| connection.poll_message(context));
    let listening = tokio::spawn(async move {
        let mut heard = Vec::new();
        while let Some(Ok(message)) = messages.next().await {
            match message {
                AsyncMessage::Notification(it) => heard.push(it.payload().to_owned()),
                AsyncMessage::Notice(it) => heard.push(it.message().to_owned()),
                other => heard.push(format!("{other:?}")),
            }
        }
        heard
    });
    client.batch_execute("LISTEN door").await?;
    database.execute("NOTIFY door, 'knock'").await?;
    database
        .execute("SELECT pg_notify('door', 'zażółć')")
        .await?;
    // What was sent before this was answered has been heard when it is.
    client.query("SELECT warn('hello')", &[]).await?;
    drop(client);
    Ok(shown(listening.await?))
}

async fn savepoints(_: &Database, client: &mut Client) -> Result<String> {
    let mut transaction = client.transaction().await?;
    transaction
        .execute("INSERT INTO line VALUES (400, 'outer', 1)", &[])
        .await?;
    let inner = transaction.transaction().await?;
    inner
        .execute("UPDATE line SET word = 'never' WHERE id = 400", &[])
        .await?;
    let twice = failure(
        inner
            .execute("INSERT INTO line VALUES (400, 'twice', 1)", &[])
            .await,
    );
    inner.rollback().await?;
    let inner = transaction.savepoint("doubt").await?;
    inner
        .execute("INSERT INTO line VALUES (401, 'released', 1)", &[])
        .await?;
    inner.commit().await?;
    transaction.commit().await?;
    let dropped = client.transaction().await?;
    dropped
        .execute("INSERT INTO line VALUES (402, 'lost', 1)", &[])
        .await?;
    drop(dropped);
    let left = client
        .query(
            "SELECT word FROM line WHERE id BETWEEN 400 AND 410 ORDER BY id",
            &[],
        )
        .await?;
    Ok(shown((twice, texts(&left))))
}

async fn errors(_: &Database, client: &mut Client) -> Result<String> {
    let mut seen = Vec::new();
    for text in [
        "INSERT INTO account (owner) VALUES ('ada')",
        "UPDATE account SET balance = -1 WHERE owner = 'ada'",
        "INSERT INTO entry VALUES (999, 1, 1)",
        "INSERT INTO account (owner) VALUES (NULL) RETURNING id",
        "INSERT INTO line VALUES (500, 'x', 1) RETURNING nothing",
        "UPDATE line SET word = nothing WHERE id = 1",
        "UPDATE line SET word = 1 / 0 WHERE id = 1 RETURNIN id",
        "SELECT * FROM missing",
    ] {
        seen.push(failure(client.execute(text, &[]).await));
        seen.push(failure(client.simple_query(text).await));
    }
    Ok(shown(seen))
}

async fn large(_: &Database, client: &mut Client) -> Result<String> {
    let (body, raw) = ("žluť".repeat(300_000), b"abc\0".repeat(500_000));
    let insert = client
        .prepare("INSERT INTO document VALUES ($1, $2, $3)")
        .await?;
    client.execute(&insert, &[&1_i32, &body, &raw]).await?;
    let (less, fewer) = ("žluť".repeat(20_000), &raw[..100_000]);
    client.execute(&insert, &[&2_i32, &less, &fewer]).await?;
    let row = client
        .query_one("SELECT body, raw FROM document WHERE id = 1", &[])
        .await?;
    let same = row.get::<_, &str>(0) == body && row.get::<_, &[u8]>(1) == raw;
    let many = "SELECT repeat('x', g % 50) FROM generate_series(1, 50000) g";
    let size: usize = client
        .query(many, &[])
        .await?
        .iter()
        .map(|row| row.get::<_, &str>(0).len())
        .sum();
    let back: i32 = client
        .query_one(
            "UPDATE document SET body = body || '!' WHERE id = 2 RETURNING length(body)",
            &[],
        )
        .await?
        .get(0);
    Ok(shown((same, size, back)))
}

async fn calls(_: &Database, client: &mut Client) -> Result<String> {
    let total: i32 = client
        .query_one("SELECT add_up($1, $2)", &[&2_i32, &3_i32])
        .await?
        .get(0);
    client.execute("CALL deposit('bob', 5)", &[]).await?;
    let several = client
        .simple_query(
            "INSERT INTO line VALUES (600, 'a', 1); UPDATE line SET word = 'b' WHERE id = 600 \
             RETURNING word; SELECT 1",
        )
        .await?;
    let several: Vec<_> = several
        .iter()
        .map(|message| match message {
            SimpleQueryMessage::Row(row) => format!("row {:?}", row.get(0)),
            SimpleQueryMessage::CommandComplete(count) => format!("done {count}"),
            SimpleQueryMessage::RowDescription(columns) => format!("columns {}", columns.len()),
            other => format!("{other:?}"),
        })
        .collect();
    let upsert = client
        .query(
            "INSERT INTO line VALUES ($1, 'c', 2) ON CONFLICT (id) DO UPDATE SET word = excluded.word \
             RETURNING word",
            &[&600_i32],
        )
        .await?;
    Ok(shown((total, several, texts(&upsert))))
}
