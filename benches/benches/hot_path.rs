//! What the parts of a transaction's way through the proxy take: cutting frames, knowing a
//! statement, capturing its row, and writing that row's statement for the target.
//!
//! No sockets but one that is never written to. Does not measure the relay: `make bench` does.

use std::collections::HashMap;
use std::hint::black_box;
use std::sync::Arc;

use apply::connection::{Connection, EncodeError, Format};
use bytes::{BufMut, Bytes, BytesMut};
use control::dsn::Defaults;
use control::{Dsn, Side};
use criterion::{Criterion, criterion_group, criterion_main};
use protocol::contract::{Column, Contract, Form, KeyForm, Table, TableIndex};
use protocol::decide::record::{self, ValueFormat};
use protocol::decide::statement::{
    Analysis, CatalogFacts, ColumnFacts, Mode, SessionFacts, SessionKnowledge, TableFacts,
    Template, analyze,
};
use protocol::row::{Datum, Image, RowKey};
use protocol::wire::frame;
use proxy::capture::Capture;
use proxy::catalog::CatalogHandle;
use proxy::mirror::{self, MirrorConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// As pgbench sends it in a simple query.
const SIMPLE: &str = "UPDATE pgbench_accounts SET abalance = abalance + 1 WHERE aid = 73912;";
/// As pgbench prepares it.
const PREPARED: &str = "UPDATE pgbench_accounts SET abalance = abalance + 1 WHERE aid = $1;";

/// The columns of `pgbench_accounts`.
const COLUMNS: [(&str, u32); 4] = [("aid", 23), ("bid", 23), ("abalance", 23), ("filler", 1042)];

fn frames(criterion: &mut Criterion) {
    let mut stream = BytesMut::new();
    // BindComplete, RowDescription, DataRow, CommandComplete and ReadyForQuery, by their lengths.
    for (tag, length) in [(b'2', 4), (b'T', 33), (b'D', 11), (b'C', 13), (b'Z', 5)] {
        stream.put_u8(tag);
        stream.put_u32(length);
        stream.put_bytes(0, usize::try_from(length).unwrap_or(4) - 4);
    }
    criterion.bench_function("cut the five frames of a reply", |bencher| {
        bencher.iter(|| {
            let mut rest = black_box(&stream[..]);
            let mut count = 0;
            while let Ok(Some(header)) = frame::header(rest) {
                rest = &rest[header.len..];
                count += 1;
            }
            count
        });
    });
}

fn statements(criterion: &mut Criterion) {
    let facts = facts();
    let session = session();
    let capture = capture();
    capture.analyze(PREPARED.as_bytes(), &session, Mode::Extended);
    criterion.bench_function("find a known text in the analysis cache", |bencher| {
        bencher.iter(|| capture.analyze(black_box(PREPARED.as_bytes()), &session, Mode::Extended));
    });
    let template = Template::of(SIMPLE).expect("the text has literals");
    let shared = analyze(template.text(), &session, &facts, Mode::Simple);
    assert!(shared.rewritten.is_some(), "the statement is captured");
    criterion.bench_function("cut the literals out of a text", |bencher| {
        bencher.iter(|| Template::of(black_box(SIMPLE)));
    });
    criterion.bench_function("put the literals back into the rewritten text", |bencher| {
        bencher.iter(|| -> Option<Analysis> { template.fill(black_box(SIMPLE), &shared) });
    });
    criterion.bench_function("analyse a new text", |bencher| {
        bencher.iter(|| analyze(black_box(PREPARED), &session, &facts, Mode::Extended));
    });
}

fn rows(criterion: &mut Criterion) {
    let record = record();
    let table = table();
    let index = TableIndex::new(0);
    criterion.bench_function("capture a row: record to key and image", |bencher| {
        bencher.iter(|| {
            let row = record::decode(black_box(&record), ValueFormat::Binary).expect("a record");
            let values = row.columns.into_iter();
            let data = values.map(|(_, value)| value.map_or(Datum::Null, Datum::Binary));
            let image = Image::new(data.collect());
            (RowKey::of(index, &table, &image), image)
        });
    });
}

fn target(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let mut connection = runtime.block_on(connection());
    let values: [&[u8]; 4] = [&[0; 4], &[0; 4], &[0; 4], &[b' '; 84]];
    criterion.bench_function("encode a row for the target", |bencher| {
        bencher.iter(|| {
            let start = connection.unsent();
            let formats = [Format::Binary; 4].into_iter();
            let written: Result<(), EncodeError> =
                connection.execute_with("upsert_0", formats, |out| {
                    for value in black_box(&values) {
                        out.push(Some(value));
                    }
                    Ok(())
                });
            written.expect("it can be encoded");
            connection.take_back(start);
        });
    });
}

/// A connection to somebody who says what a server says at first, and nothing more.
async fn connection() -> Connection {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let server = async {
        let (mut socket, _) = listener.accept().await.expect("a client");
        let mut startup = [0; 1024];
        assert!(socket.read(&mut startup).await.expect("a startup packet") > 0);
        let ready = b"R\0\0\0\x08\0\0\0\0K\0\0\0\x0c\0\0\0\x01\0\0\0\x01Z\0\0\0\x05I";
        socket.write_all(ready).await.expect("a client that reads");
        socket
    };
    let uri = format!("postgres://me@127.0.0.1:{port}/app?sslmode=disable");
    let dsn = Dsn::parse(&uri, &Defaults::default()).expect("a connection string");
    let (socket, connection) = tokio::join!(server, Connection::connect(&dsn, Side::Target, &[]));
    drop(socket);
    connection.expect("a session")
}

/// The hidden column's value for a row of `pgbench_accounts`.
fn record() -> Bytes {
    let filler = [b' '; 84];
    let fields: [(u32, &[u8]); 8] = [
        (3220, &[0, 0, 0, 0, 0, 0, 0, 9]),
        (5069, &[0, 0, 0, 0, 0, 0, 0, 8]),
        (25, b"on"),
        (26, &[0, 0, 0, 100]),
        (23, &[0, 1, 32, 184]),
        (23, &[0, 0, 0, 1]),
        (23, &[0, 0, 0, 7]),
        (1042, &filler),
    ];
    let mut record = BytesMut::new();
    record.put_u32(8);
    for (type_oid, value) in fields {
        record.put_u32(type_oid);
        record.put_u32(u32::try_from(value.len()).unwrap_or_default());
        record.put_slice(value);
    }
    record.freeze()
}

fn session() -> SessionKnowledge {
    SessionKnowledge::known(SessionFacts {
        role: "me".to_owned(),
        search_path: vec!["pg_catalog".to_owned(), "public".to_owned()],
        temporary: Some(Vec::new()),
        client_encoding: "UTF8".to_owned(),
        server_encoding: "UTF8".to_owned(),
        standard_strings: true,
        hears_log: false,
        mirror: None,
        timeline: None,
    })
}

/// A worker's capture that has not read a catalog: the cache does not depend on it.
fn capture() -> Capture {
    let catalog = CatalogHandle::new();
    let config = MirrorConfig {
        mode: proxy::MirrorMode::Dry,
        target: None,
        names: control::names("app"),
        catalog: catalog.clone(),
        proxy_id: [0; 16],
    };
    let (mirror, ended) =
        mirror::start(config, tokio_util::sync::CancellationToken::new()).expect("a mirror");
    drop(ended);
    Capture::new(catalog, mirror)
}

fn table() -> Table {
    let column = |(name, type_oid): (&str, u32)| Column {
        name: name.to_owned(),
        type_name: String::new(),
        type_oid,
        form: Form::Plain,
        key_form: KeyForm::Bytes,
    };
    Table {
        name: "public.pgbench_accounts".to_owned(),
        schema: "public".to_owned(),
        relation: "pgbench_accounts".to_owned(),
        columns: COLUMNS.map(column).into(),
        key: vec![0],
    }
}

fn facts() -> CatalogFacts {
    let column = |(place, (name, type_oid)): (usize, (&str, u32))| ColumnFacts {
        name: name.to_owned(),
        type_oid,
        wide: false,
        place: Some(place),
    };
    let facts = TableFacts {
        relation: "pgbench_accounts".to_owned(),
        table: Some(TableIndex::new(0)),
        columns: (0..).zip(COLUMNS).map(column).collect(),
        key: vec!["aid".to_owned()],
        obstacle: None,
    };
    let relations = HashMap::from([("pgbench_accounts".to_owned(), 100)]);
    CatalogFacts {
        generation: 1,
        contract: Arc::new(Contract {
            version: 1,
            tables: vec![table()],
        }),
        relations: HashMap::from([("public".to_owned(), relations)]),
        tables: HashMap::from([(100, facts)]),
        readable: HashMap::from([("me".to_owned(), std::iter::once(100).collect())]),
        ..CatalogFacts::unknown()
    }
}

criterion_group!(hot_path, frames, statements, rows, target);
criterion_main!(hot_path);
