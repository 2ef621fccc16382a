//! The logged path: batches of source transactions, applied in stream order (DESIGN section 3).
//!
//! A batch costs two round trips. The first begins the target transaction, moves `progress` by
//! compare-and-set, locks the entries of all keys in one fixed order, takes the mirror's own account
//! and reads the rows; then everything is decided in memory by
//! [`protocol::decide::working_set`]; the second writes the net effect and commits. What is not
//! committed never happened: whoever starts again begins at `progress`.
//!
//! Large transactions and those with a TRUNCATE go step by step within one target transaction
//! ([`LoggedWriter::begin`], [`LoggedWriter::step`], [`LoggedWriter::truncate`],
//! [`LoggedWriter::commit`]). Does not read the stream and does not read the source.

mod entries;
mod error;
mod locks;
mod notes;
mod repairs;
mod reread;
mod rows;
mod statements;
mod truncate;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use protocol::contract::{Contract, Table, TableIndex};
use protocol::decide::assembly::LoggedWrite;
use protocol::decide::failover::Epochs;
use protocol::decide::floor::Floor;
use protocol::decide::repair::Hold;
use protocol::decide::verdict::OwedWhy;
use protocol::decide::working_set::{
    Extent, FindingKind, MirrorOutcome, Net, Operation, OwedRow, Tally, WorkingSet,
};
use protocol::lsn::Lsn;
use protocol::op_id::OpId;
use protocol::revision::Epoch;
use protocol::row::RowKey;
use protocol::xid::Xid;

pub use self::error::{LoggedError, is_about_the_schema};
use self::locks::{Held, Locking};
pub use self::notes::{ForeignAuthor, ForeignWrite, WRITTEN_AGAIN, WRITTEN_BY_LOG};
pub use self::repairs::RepairBook;
pub use self::reread::{ForeignTrace, FreshRead, FreshRow, Settled, Settlement, Survival};
use crate::connection::{Connection, ConnectionError, EncodeError, Format, Parameter, ResultSet};
use crate::statements::Statements;
use crate::statements::many::{self, ManyStatements};

/// The stream that is applied and on whose behalf.
#[derive(Debug, Clone)]
pub struct Stream {
    /// Its row in `segue.progress`.
    pub name: String,
    /// The authority's generations, and where each begins in the log.
    pub epochs: Epochs,
    /// Who applies it, as a uuid in text.
    pub holder: String,
}

/// A source transaction that can be applied as a set.
#[derive(Debug, Clone)]
pub struct SourceTransaction {
    /// Its idempotency key.
    pub op_id: OpId,
    /// Its id at the source.
    pub xid: Xid,
    /// Where the stream goes on after it.
    pub end_lsn: Lsn,
    /// The last versions of its keys.
    pub writes: Vec<LoggedWrite>,
}

/// What came of a batch or of a step.
#[derive(Debug, Default)]
pub struct Applied {
    /// The counts.
    pub tally: Tally,
    /// Rows that have to be read again.
    pub owed: Vec<OwedRow>,
    /// How many divergences were noted.
    pub findings: usize,
    /// Transactions of which no proxy had said anything yet, and their rows that were applied.
    pub unmirrored: Vec<(OpId, TableIndex, u64)>,
}

/// Applies logged writes through one session of the target.
#[derive(Debug)]
pub struct LoggedWriter {
    connection: Connection,
    rows: Statements,
    many: ManyStatements,
    contract: Arc<Contract>,
    stream: Stream,
    position: Lsn,
    repairs: RepairBook,
    /// A transaction that is applied step by step is under way.
    is_begun: bool,
    /// The row that a re-read could not write last, and what the target said.
    refusal: Option<(RowKey, String)>,
}

impl LoggedWriter {
    /// Prepares the session; `position` is where `progress` stands.
    pub async fn open(
        mut connection: Connection,
        contract: Arc<Contract>,
        stream: Stream,
        position: Lsn,
    ) -> Result<Self, LoggedError> {
        let rows = statements::prepare(&mut connection, &contract).await?;
        connection.query_simple(many::PLANNING).await?;
        Ok(Self {
            connection,
            rows,
            many: ManyStatements::default(),
            contract,
            stream,
            position,
            repairs: RepairBook::default(),
            is_begun: false,
            refusal: None,
        })
    }

    /// Everything before this position is durable at the target.
    pub const fn position(&self) -> Lsn {
        self.position
    }

    /// The session, for statements on `segue`'s own tables between batches.
    pub const fn connection(&mut self) -> &mut Connection {
        &mut self.connection
    }

    /// The row that the target did not take last when it was written again, and what it said: no
    /// values, but the constraint, or that it has no such partition.
    pub const fn refusal(&self) -> Option<&(RowKey, String)> {
        self.refusal.as_ref()
    }

    /// What is left to be repaired, table by table. Until it is given nothing is held back.
    pub const fn repairs(&mut self) -> &mut RepairBook {
        &mut self.repairs
    }

    /// Applies a batch. Durable when it returns. Not cancel-safe: drop the writer afterwards.
    pub async fn apply(
        &mut self,
        batch: &[SourceTransaction],
        floor: &Floor,
    ) -> Result<Applied, LoggedError> {
        let Some(end) = batch.last().map(|transaction| transaction.end_lsn) else {
            return Ok(Applied::default());
        };
        let (net, held) = self.judge(batch, floor, end).await?;
        self.queue_net(&net, &held)?;
        self.queue(statements::COMMIT, &[])?;
        let applied = match self.run().await {
            Ok(_) => self.applied(net),
            Err(error) if error.is_about_the_row() => {
                self.roll_back().await?;
                self.apply_carefully(batch, floor, end).await?
            }
            Err(error) => return Err(error),
        };
        self.advance(end);
        Ok(applied)
    }

    /// The second round trip: what a batch or a step comes to.
    fn queue_net(&mut self, net: &Net, held: &Held) -> Result<(), LoggedError> {
        self.queue_notes(&net.findings)?;
        self.queue_rows(net)?;
        self.queue_after(net, held)?;
        self.queue_completions(&net.findings, &owed_keys(&net.owed))
    }

    /// Entries and owed rows, once the rows are right.
    fn queue_after(&mut self, net: &Net, held: &Held) -> Result<(), LoggedError> {
        self.queue_kept(&net.kept)?;
        self.queue_dropped(net, held)?;
        self.queue_owed(&net.owed)
    }

    /// The first round trip and the decisions.
    async fn judge(
        &mut self,
        batch: &[SourceTransaction],
        floor: &Floor,
        end: Lsn,
    ) -> Result<(Net, Held), LoggedError> {
        let locking = self.locking(batch, floor)?;
        let keys = batch.iter().flat_map(|transaction| &transaction.writes);
        let keys: HashSet<RowKey> = keys.map(|write| write.key.clone()).collect();
        let mut keys: Vec<RowKey> = keys.into_iter().collect();
        // Neighbours in an index are cheaper to find one after the other.
        keys.sort_unstable();
        let ops: Vec<OpId> = batch.iter().map(|transaction| transaction.op_id).collect();
        self.learn(&keys).await?;
        self.queue_begin(end)?;
        let (set, held, outcomes) = self.read(&keys, &ops, locking).await?;
        let mut set = set.with_repairs(self.repairs.clone_repairs(), self.repairs.now());
        for transaction in batch {
            let epoch = self.stream.epochs.of_commit(transaction.end_lsn);
            let named = (transaction.op_id, transaction.xid, epoch);
            let mut operation = self.operation(named, &outcomes);
            operation.extent = Extent::Whole;
            set.judge(&operation, &transaction.writes)?;
        }
        Ok((set.finish(floor), held))
    }

    /// The batch again, each row behind a savepoint: those that the target does not take now are
    /// owed (rule 10).
    async fn apply_carefully(
        &mut self,
        batch: &[SourceTransaction],
        floor: &Floor,
        end: Lsn,
    ) -> Result<Applied, LoggedError> {
        let (net, held) = self.judge(batch, floor, end).await?;
        let xid = batch.last().map(|transaction| transaction.xid);
        let net = self.write_carefully(net, &held, xid).await?;
        self.queue(statements::COMMIT, &[])?;
        self.run().await?;
        Ok(self.applied(net))
    }

    /// Begins a transaction that is applied step by step.
    pub async fn begin(&mut self) -> Result<(), LoggedError> {
        self.queue_begin(self.position)?;
        let results = self.run().await?;
        self.check_progress(&results).await?;
        self.is_begun = true;
        Ok(())
    }

    /// Takes what the mirror said of these operations.
    pub async fn outcomes(
        &mut self,
        ops: &[OpId],
    ) -> Result<HashMap<OpId, MirrorOutcome>, LoggedError> {
        self.queue_outcomes(ops)?;
        let results = self.run().await?;
        let rows = results.first().map(|result| result.rows.as_slice());
        entries::outcomes(rows.unwrap_or_default())
    }

    /// Applies some writes of the transaction that was begun.
    pub async fn step(
        &mut self,
        operation: &Operation,
        writes: &[LoggedWrite],
        floor: &Floor,
    ) -> Result<Applied, LoggedError> {
        let keys: Vec<RowKey> = writes.iter().map(|write| write.key.clone()).collect();
        self.learn_inside(&keys).await?;
        let (mut set, held, _) = self.read(&keys, &[], Locking::Entries).await?;
        set.judge(operation, writes)?;
        let net = set.finish(floor);
        self.simple("SAVEPOINT step").await?;
        self.queue_net(&net, &held)?;
        let net = match self.run().await {
            Ok(_) => {
                self.simple("RELEASE step").await?;
                net
            }
            Err(error) if error.is_about_the_row() => {
                self.simple("ROLLBACK TO step").await?;
                self.write_carefully(net, &held, Some(operation.xid))
                    .await?
            }
            Err(error) => return Err(error),
        };
        Ok(self.applied(net))
    }

    /// Ends the transaction that was begun; `end` is where the stream goes on. Durable when it
    /// returns.
    pub async fn commit(&mut self, end: Lsn) -> Result<(), LoggedError> {
        self.queue_progress(end)?;
        self.queue(statements::COMMIT, &[])?;
        let results = self.run().await?;
        self.is_begun = false;
        debug_assert_eq!(results.first().map(ResultSet::affected), Some(1));
        self.advance(end);
        Ok(())
    }

    /// Has rows read again.
    pub async fn owe(&mut self, keys: &[RowKey], why: OwedWhy) -> Result<(), LoggedError> {
        let owed: Vec<OwedRow> = keys
            .iter()
            .map(|key| OwedRow {
                key: key.clone(),
                why,
                xid: None,
            })
            .collect();
        self.owe_rows(&owed).await
    }

    /// The same, with the logged transactions that a re-read has to contain. Outside of a
    /// transaction it is durable when this returns, and an older self is stopped (rule 3): whoever has
    /// taken over has read what is owed already, and would never hear of these rows.
    pub async fn owe_rows(&mut self, owed: &[OwedRow]) -> Result<(), LoggedError> {
        if owed.is_empty() {
            return Ok(());
        }
        if self.is_begun {
            self.queue_owed(owed)?;
            self.run().await?;
            return Ok(());
        }
        self.queue_begin(self.position)?;
        self.queue_owed(owed)?;
        let results = self.run().await?;
        self.check_progress(&results).await?;
        self.simple("COMMIT").await
    }

    /// Runs statements on `segue`'s own tables in a transaction of their own, unless another
    /// reconciler has taken over.
    pub async fn alone(&mut self, sql: &str) -> Result<(), LoggedError> {
        self.queue_begin(self.position)?;
        let results = self.run().await?;
        self.check_progress(&results).await?;
        self.simple(&format!("{sql}; COMMIT")).await
    }

    fn advance(&mut self, position: Lsn) {
        debug_assert!(position >= self.position, "progress never falls");
        self.position = position;
    }

    /// What is known of a source transaction that is applied step by step.
    pub fn operation(
        &self,
        (op_id, xid, epoch): (OpId, Xid, Epoch),
        outcomes: &HashMap<OpId, MirrorOutcome>,
    ) -> Operation {
        Operation {
            op_id,
            xid,
            epoch,
            outcome: outcomes.get(&op_id).copied(),
            extent: Extent::Piece,
        }
    }

    fn queue(&mut self, name: &str, parameters: &[Parameter<'_>]) -> Result<(), LoggedError> {
        execute(&mut self.connection, name, parameters)
    }

    fn queue_begin(&mut self, end: Lsn) -> Result<(), LoggedError> {
        self.queue(statements::BEGIN, &[])?;
        self.queue_progress(end)
    }

    fn queue_progress(&mut self, end: Lsn) -> Result<(), LoggedError> {
        let (end, position) = (end.to_string(), self.position.to_string());
        let epoch = self.stream.epochs.current().number().to_string();
        let parameters = [
            Parameter::Text(end.as_bytes()),
            Parameter::Text(self.stream.name.as_bytes()),
            Parameter::Text(epoch.as_bytes()),
            Parameter::Text(position.as_bytes()),
            Parameter::Text(self.stream.holder.as_bytes()),
        ];
        let formats = [Format::Binary];
        Ok(self
            .connection
            .execute(statements::PROGRESS, &parameters, &formats)?)
    }

    /// Ends a batch of statements and waits for their results.
    async fn run(&mut self) -> Result<Vec<ResultSet>, LoggedError> {
        self.connection.sync();
        self.connection.flush().await?;
        let reply = self.connection.reply().await?;
        if let Some(error) = reply.error {
            self.rows.retract();
            let side = self.connection.side();
            return Err(ConnectionError::server(side, error).into());
        }
        self.rows.proven();
        Ok(reply.results)
    }

    async fn simple(&mut self, sql: &str) -> Result<(), LoggedError> {
        self.connection.query_simple(sql).await?;
        Ok(())
    }

    /// Gives up the target transaction under way.
    pub async fn roll_back(&mut self) -> Result<(), LoggedError> {
        self.is_begun = false;
        self.simple("ROLLBACK").await
    }

    /// The second result of a batch is that of the compare-and-set.
    async fn check_progress(&mut self, results: &[ResultSet]) -> Result<(), LoggedError> {
        if results.get(1).map(ResultSet::affected) == Some(1) {
            return Ok(());
        }
        self.roll_back().await?;
        Err(LoggedError::Displaced {
            stream: self.stream.name.clone(),
            expected: self.position,
        })
    }

    /// Ends the first round trip: locks, the mirror's account and the rows.
    async fn read(
        &mut self,
        keys: &[RowKey],
        ops: &[OpId],
        locking: Locking,
    ) -> Result<(WorkingSet, Held, HashMap<OpId, MirrorOutcome>), LoggedError> {
        self.queue_locking(keys, locking)?;
        self.queue_outcomes(ops)?;
        let reads = self.queue_reads(keys)?;
        let results = self.run().await?;
        // Behind BEGIN and the compare-and-set, where they are part of this batch.
        let locks = match locking {
            Locking::Entries => 1,
            Locking::All => 2,
        };
        let own = results.len().saturating_sub(reads.len() + locks + 1);
        if own > 0 {
            self.check_progress(&results).await?;
        }
        let mut results = results.into_iter().skip(own);
        let held = self.held(keys, locking, &mut results)?;
        let outcomes = entries::outcomes(&results.next().unwrap_or_default().rows)?;
        let mut set = WorkingSet::default();
        let mut rows = self.found_rows(&reads, results)?;
        for key in keys {
            let row = rows.remove(key);
            set.insert(key.clone(), held.entries.get(key).cloned(), row);
        }
        Ok((set, held, outcomes))
    }
}

impl LoggedWriter {
    /// What came of a net effect. Its repairs are counted now that they are made, and stops hold now
    /// that they are on record.
    fn applied(&mut self, net: Net) -> Applied {
        for found in &net.findings {
            match (found.kind, found.hold) {
                (FindingKind::Wrong(_), None) => {
                    self.repairs.ask(found.key.table());
                }
                (FindingKind::Wrong(_), Some(Hold::Limit)) => {
                    self.repairs.stop(found.key.table());
                }
                (FindingKind::Wrong(_), Some(Hold::Dry)) | (FindingKind::LostMirror, _) => {}
            }
        }
        Applied::of(net)
    }
}

impl Applied {
    fn of(net: Net) -> Self {
        Self {
            tally: net.tally,
            owed: net.owed,
            findings: net.findings.len(),
            unmirrored: net.unmirrored,
        }
    }
}

fn owed_keys(owed: &[OwedRow]) -> HashSet<RowKey> {
    owed.iter().map(|row| row.key.clone()).collect()
}

/// All results of the statements here come in binary.
fn execute(
    connection: &mut Connection,
    name: &str,
    parameters: &[Parameter<'_>],
) -> Result<(), LoggedError> {
    connection
        .execute(name, parameters, &[Format::Binary])
        .map_err(|error: EncodeError| error.into())
}

fn table_of<'a>(contract: &'a Contract, key: &RowKey) -> Result<&'a Table, LoggedError> {
    contract
        .table(key.table())
        .ok_or_else(|| LoggedError::UnknownTable {
            name: format!("number {}", key.table().as_usize()),
        })
}
