//! A pair of databases that setup has seen, and rows of the source as the writers take them.

use std::sync::Arc;
use std::time::SystemTime;

use apply::connection::{Connection, Format};
use apply::logged::{LoggedWriter, Stream};
use apply::session::{SessionKind, open_target};
use apply::statements::Statements;
use apply::{EarlyOutcome, EarlyRow, EarlyTransaction, EarlyWrite, EarlyWriter};
use control::contract::Selection;
use control::setup::{self, Outcome};
use control::{Defaults, Dsn, Names, Side};
use harness::Bed;
use protocol::contract::{Contract, Form, TableIndex, quote_identifier};
use protocol::decide::failover::Epochs;
use protocol::lsn::Lsn;
use protocol::op_id::OpId;
use protocol::revision::{Epoch, Revision};
use protocol::row::{Image, RowKey};
use protocol::xid::Xid;

/// The id under which the tests' proxy reports.
pub(crate) const PROXY: [u8; 16] = [7; 16];

pub(crate) struct Ground {
    pub(crate) bed: Bed,
    pub(crate) contract: Arc<Contract>,
    pub(crate) names: Names,
    pub(crate) source: Dsn,
    pub(crate) target: Dsn,
    /// Where the stream starts; the gate's floor.
    pub(crate) start: Lsn,
}

impl Ground {
    pub(crate) async fn new(schema: &str) -> Self {
        Self::on(Bed::shared(schema).await.unwrap()).await
    }

    pub(crate) async fn on(bed: Bed) -> Self {
        let source = Dsn::parse(&bed.source.uri(), &Defaults::default()).unwrap();
        let target = Dsn::parse(&bed.target.uri(), &Defaults::default()).unwrap();
        let options = setup::Options {
            source: source.clone(),
            target: target.clone(),
            tables: Selection::All,
        };
        let report = setup::run(&options).await.unwrap();
        assert_eq!(report.outcome, Outcome::SetUp, "{report:?}");
        let client = control::connect(&source, Side::Source, "test")
            .await
            .unwrap();
        let phase = control::contract::load_from_source(&client).await.unwrap();
        Self {
            contract: Arc::new(phase.contract),
            names: control::names(source.database()),
            start: report.start_lsn.unwrap(),
            bed,
            source,
            target,
        }
    }

    pub(crate) async fn writer(&self) -> EarlyWriter {
        let contract = Arc::clone(&self.contract);
        EarlyWriter::open(&self.target, &self.names, contract, PROXY)
            .await
            .unwrap()
    }

    /// A writer of the log that takes over under this name.
    pub(crate) async fn logged_writer(&self, holder: &str) -> LoggedWriter {
        let stream = Stream {
            name: self.names.stream.clone(),
            epochs: Epochs::starting_with(Epoch::FIRST),
            holder: holder.to_owned(),
        };
        let take_over = format!(
            "UPDATE segue.progress SET holder = '{holder}' WHERE stream = '{}'",
            stream.name
        );
        self.bed.target.execute(&take_over).await.unwrap();
        let contract = Arc::clone(&self.contract);
        let session = open_target(&self.target, &self.names, SessionKind::Logged);
        LoggedWriter::open(session.await.unwrap(), contract, stream, self.start)
            .await
            .unwrap()
    }

    pub(crate) fn table(&self, relation: &str) -> TableIndex {
        self.contract.find("public", relation).unwrap().0
    }

    /// All rows of a table, as the source sends them.
    pub(crate) async fn images(&self, relation: &str) -> Vec<Image> {
        let index = self.table(relation);
        let table = self.contract.table(index).unwrap();
        let mut connection = Connection::connect(&self.source, Side::Source, &[])
            .await
            .unwrap();
        let statements = Statements::load(&mut connection, &self.contract)
            .await
            .unwrap();
        let columns = table.columns.iter();
        let names: Vec<_> = columns
            .clone()
            .map(|column| quote_identifier(&column.name))
            .collect();
        let formats: Vec<_> = columns
            .map(|column| {
                if column.form == Form::Text {
                    Format::Text
                } else {
                    Format::Binary
                }
            })
            .collect();
        let sql = format!("SELECT {} FROM {}", names.join(", "), table.name);
        connection.prepare("all", &sql).unwrap();
        connection.execute("all", &[], &formats).unwrap();
        connection.sync();
        connection.flush().await.unwrap();
        let reply = connection.reply().await.unwrap();
        assert_eq!(reply.error, None);
        let rows = reply.results.into_iter().next().unwrap().rows.into_iter();
        rows.map(|row| statements.image(index, row).unwrap())
            .collect()
    }

    pub(crate) fn key(&self, relation: &str, image: &Image) -> RowKey {
        let index = self.table(relation);
        RowKey::of(index, self.contract.table(index).unwrap(), image).unwrap()
    }

    /// A row version, so many bytes of log after the stream's start.
    pub(crate) fn row(&self, relation: &str, image: &Image, after: u64) -> EarlyRow {
        EarlyRow {
            key: self.key(relation, image),
            rev: self.revision(after),
            write: EarlyWrite::Upsert(image.clone()),
        }
    }

    pub(crate) fn revision(&self, after: u64) -> Revision {
        Revision::logged(Epoch::FIRST, Lsn::new(self.start.as_u64() + after)).unwrap()
    }

    /// Rows `id`, `v` of a table with these two integer columns need no source.
    pub(crate) fn pair(id: i32, v: i32) -> Image {
        let datum = |value: i32| {
            protocol::row::Datum::Binary(bytes::Bytes::copy_from_slice(&value.to_be_bytes()))
        };
        Image::new(vec![datum(id), datum(v)])
    }
}

/// The source transaction `xid` that left these rows.
pub(crate) fn transaction(xid: u64, rows: Vec<EarlyRow>) -> EarlyTransaction {
    EarlyTransaction {
        op_id: OpId::of(1, Epoch::FIRST, Xid::new(xid)),
        epoch: Epoch::FIRST,
        xid: Xid::new(xid),
        committed_at: SystemTime::UNIX_EPOCH,
        rows,
    }
}

/// Writes each transaction by itself.
pub(crate) async fn each(
    writer: &mut EarlyWriter,
    transactions: &[EarlyTransaction],
) -> Vec<EarlyOutcome> {
    let members: Vec<[&EarlyTransaction; 1]> = transactions.iter().map(|it| [it]).collect();
    let groups: Vec<&[&EarlyTransaction]> = members.iter().map(<[_; 1]>::as_slice).collect();
    writer.write(&groups).await
}
