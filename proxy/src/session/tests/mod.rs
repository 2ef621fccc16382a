//! Sessions between scripted peers.

mod allocations;
mod captured;
mod hostile;
mod paused;
mod relayed;
mod whole;

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use protocol::contract::{Column, Contract, Table, TableIndex};
use protocol::decide::statement::{CatalogFacts, ColumnFacts, TableFacts};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::task::{JoinHandle, LocalSet};
use tokio_util::sync::CancellationToken;

use super::{Introduced, Session, SessionError};
use crate::capture::Capture;
use crate::catalog::CatalogHandle;
use crate::config::MirrorMode;
use crate::mirror::{self, MirrorConfig, MirrorHandle};
use crate::registry::{Identity, Numbers, Registry};
use crate::settings::SyncSettings;
use crate::startup::{self, Wanted};

const STARTUP: &[u8] = b"\0\0\0\x11\0\x03\0\0user\0me\0\0";
const AUTHENTICATED: &[u8] = b"R\0\0\0\x08\0\0\0\0Z\0\0\0\x05I";
const READY: &[u8] = b"Z\0\0\0\x05I";
const READY_IN_TRANSACTION: &[u8] = b"Z\0\0\0\x05T";

/// What fits between a peer and the session: small, so that nothing arrives whole.
const PIPE_SIZE: usize = 16;

/// The two far ends of a session.
struct Peers {
    client: DuplexStream,
    source: DuplexStream,
    registry: Rc<Registry>,
    session: JoinHandle<Result<(), SessionError>>,
}

impl Peers {
    /// A session that is only relayed, past its authentication.
    async fn relayed() -> Self {
        Self::begin(None, PIPE_SIZE).await
    }

    /// A session whose writes are captured, past its authentication.
    async fn captured() -> Self {
        Self::begin(Some(Rc::new(capture())), PIPE_SIZE).await
    }

    async fn begin(capture: Option<Rc<Capture>>, pipe_size: usize) -> Self {
        let (mut client, mut near_client) = tokio::io::duplex(pipe_size);
        let (source, near_source) = tokio::io::duplex(pipe_size);
        let opening = async {
            match startup::read(&mut near_client, startup::Encryption::Refused).await {
                Ok(Wanted::Session(opening)) => opening,
                other => panic!("{other:?}"),
            }
        };
        let (opening, said) = tokio::join!(opening, client.write_all(STARTUP));
        said.unwrap();
        let registry = Registry::new(Numbers::default());
        let member = registry.enroll(Identity::unknown());
        let session = Session::new(near_client, near_source, opening, member);
        let session = match capture {
            Some(capture) => session.captured(capture, SyncSettings::default()),
            None => session,
        };
        let mut peers = Self {
            client,
            source,
            registry,
            session: tokio::task::spawn_local(session.run()),
        };
        peers.source_reads(STARTUP).await;
        peers.answer(AUTHENTICATED, AUTHENTICATED).await;
        peers
    }

    /// The client sends, and the source reads `expected`.
    async fn ask(&mut self, sent: &[u8], expected: &[u8]) {
        let mut read = vec![0; expected.len()];
        let (wrote, got) = tokio::join!(
            self.client.write_all(sent),
            self.source.read_exact(&mut read)
        );
        wrote.unwrap();
        got.unwrap();
        assert_eq!(Bytes::from(read), expected);
    }

    /// The source sends, and the client reads `expected`.
    async fn answer(&mut self, sent: &[u8], expected: &[u8]) {
        let mut read = vec![0; expected.len()];
        let (wrote, got) = tokio::join!(
            self.source.write_all(sent),
            self.client.read_exact(&mut read)
        );
        wrote.unwrap();
        got.unwrap();
        assert_eq!(Bytes::from(read), expected);
    }

    async fn source_reads(&mut self, expected: &[u8]) {
        let mut read = vec![0; expected.len()];
        self.source.read_exact(&mut read).await.unwrap();
        assert_eq!(Bytes::from(read), expected);
    }

    /// All that the client still gets.
    async fn client_reads_to_end(&mut self) -> Bytes {
        let mut read = Vec::new();
        self.client.read_to_end(&mut read).await.unwrap();
        read.into()
    }

    /// All that the source still gets.
    async fn source_reads_to_end(&mut self) -> Bytes {
        let mut read = Vec::new();
        self.source.read_to_end(&mut read).await.unwrap();
        read.into()
    }
}

/// Runs a test on one thread, as a worker does.
fn on_a_worker(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    LocalSet::new().block_on(&runtime, test);
}

/// A frame with this tag and body.
fn frame(tag: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).unwrap();
    [&[tag][..], &length.to_be_bytes(), body].concat()
}

/// A DataRow of these columns.
fn data_row(columns: &[Option<&[u8]>]) -> Vec<u8> {
    let mut body = BytesMut::new();
    body.put_u16(u16::try_from(columns.len()).unwrap());
    for column in columns {
        match column {
            None => body.put_i32(-1),
            Some(value) => {
                body.put_u32(u32::try_from(value.len()).unwrap());
                body.put_slice(value);
            }
        }
    }
    frame(b'D', &body)
}

/// A RowDescription of text columns with these names.
fn row_description(names: &[&str]) -> Vec<u8> {
    let mut body = BytesMut::new();
    body.put_u16(u16::try_from(names.len()).unwrap());
    for name in names {
        body.put_slice(name.as_bytes());
        body.put_slice(&[0; 19]);
    }
    frame(b'T', &body)
}

/// A capture that knows one table, `public.t(id int4 primary key, v text)`, and sends nothing.
fn capture() -> Capture {
    capture_into(mirror_to_nowhere())
}

/// The same, as if nobody had changed the table meanwhile.
fn capture_into(mirror: MirrorHandle) -> Capture {
    Capture::new(CatalogHandle::of(catalog_facts()), mirror)
}

/// A mirror that sends nothing.
fn mirror_to_nowhere() -> MirrorHandle {
    let config = MirrorConfig {
        mode: MirrorMode::Dry,
        target: None,
        names: control::names("app"),
        catalog: CatalogHandle::of(catalog_facts()),
        proxy_id: [0; 16],
    };
    let (mirror, _ended) = mirror::start(config, CancellationToken::new()).unwrap();
    mirror
}

fn catalog_facts() -> CatalogFacts {
    let columns = [("id", 23), ("v", 25)];
    let table = Table {
        name: "public.t".to_owned(),
        schema: "public".to_owned(),
        relation: "t".to_owned(),
        columns: columns
            .map(|(name, oid)| Column::plain(name, "", oid))
            .into(),
        key: vec![0],
    };
    let facts = TableFacts {
        relation: "t".to_owned(),
        table: Some(TableIndex::new(0)),
        columns: (0..).zip(columns).map(column_facts).collect(),
        key: vec!["id".to_owned()],
        obstacle: None,
    };
    let relations = HashMap::from([("t".to_owned(), 100)]);
    CatalogFacts {
        generation: 1,
        contract: Arc::new(Contract {
            version: 1,
            tables: vec![table],
        }),
        relations: HashMap::from([("public".to_owned(), relations)]),
        tables: HashMap::from([(100, facts)]),
        readable: HashMap::from([("me".to_owned(), std::iter::once(100).collect())]),
        ..CatalogFacts::unknown()
    }
}

fn column_facts((place, (name, type_oid)): (usize, (&str, u32))) -> ColumnFacts {
    ColumnFacts {
        name: name.to_owned(),
        type_oid,
        wide: false,
        place: Some(place),
    }
}
