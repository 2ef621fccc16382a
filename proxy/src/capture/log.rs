//! One client connection's transaction: rows in, committed transactions out to the mirror.
//!
//! Does not hold rows beyond their transaction, and never waits.

use std::collections::HashSet;
use std::rc::Rc;
use std::sync::Arc;

use apply::{EarlyRow, EarlyTransaction, EarlyWrite};
use bytes::Bytes;
use protocol::contract::{Contract, TableIndex};
use protocol::decide::record::{RecordError, ValueFormat, decode};
use protocol::decide::statement::{
    Captured, DeferReason, MirrorChoice, SessionEffect, Statement, Write, WriteKind,
};
use protocol::decide::transaction::{ClientTransaction, Outcome, Ready, TransactionRow};
use protocol::revision::{Epoch, Revision, RevisionError};
use protocol::xid::Xid;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::{Capture, shape};
use crate::catalog::CatalogView;
use crate::clock::wall_clock;
use crate::config::MirrorMode;
use crate::mirror::{Delivered, MirrorTransaction};

/// Under which transactions are counted that a client wanted to wait for and could not.
const DEFERRED: &str = "deferred";

/// The transaction that one client connection is in.
#[derive(Debug)]
pub struct TransactionLog {
    capture: Rc<Capture>,
    transaction: ClientTransaction,
    /// What the keys of the transaction's rows take a table's place from.
    contract: Option<Arc<Contract>>,
    /// The schema has been changed since the last commit.
    changed_schema: bool,
    /// What the session asked of the mirror with the statement that completed last.
    choice: Option<MirrorChoice>,
    /// The timeline of the connection's server, once it has said so.
    timeline: Option<i32>,
}

/// What the client's acknowledgement has to do with the target, where the mirror is `sync`.
#[derive(Debug)]
pub enum Delivery {
    /// It waits for this.
    Awaited(oneshot::Receiver<Delivered>),
    /// There is nothing to wait for: the log brings the transaction, for this reason.
    Unconfirmed(&'static str),
}

impl TransactionLog {
    /// For one connection of this worker.
    pub fn new(capture: Rc<Capture>) -> Self {
        Self {
            capture,
            transaction: ClientTransaction::default(),
            contract: None,
            changed_schema: false,
            choice: None,
            timeline: None,
        }
    }

    /// The server's timeline, as the session's state tells it.
    pub fn on_timeline(&mut self, timeline: Option<i32>) {
        self.timeline = timeline.or(self.timeline);
    }

    /// The hidden column of one `DataRow` of a captured statement.
    pub fn row(&mut self, captured: Captured, value: Option<&Bytes>, format: ValueFormat) {
        let Some(value) = value else {
            self.transaction.defer(DeferReason::TooLarge);
            return;
        };
        let row = match decode(value, format) {
            Ok(row) => row,
            Err(RecordError::Cut) => {
                self.transaction.defer(DeferReason::TooLarge);
                return;
            }
            Err(error) => {
                tracing::warn!(%error, "a captured row could not be read");
                self.transaction.defer(DeferReason::Unreadable);
                return;
            }
        };
        self.transaction.saw_xid(row.xid);
        if !row.durable {
            self.transaction.defer(DeferReason::NotDurable);
            return;
        }
        let view = self.capture.view();
        if !view.facts.is_known() {
            // Another session has changed the schema since this statement was sent: whether of this
            // table nobody knows yet.
            self.transaction.defer(DeferReason::CatalogUnknown);
            return;
        }
        if !self.keeps(&view.facts.contract) {
            self.transaction.defer(DeferReason::ShapeChanged);
            return;
        }
        let (xid, lsn) = (row.xid, row.lsn);
        match shape::image(&view.facts, captured.table_oid, row) {
            Ok((key, image)) => {
                let image = (captured.kind == WriteKind::Upsert).then_some(image);
                let row = TransactionRow { key, lsn, image };
                self.transaction.captured(xid, row);
            }
            Err(misfit) => {
                let table = captured.table_oid;
                tracing::debug!(table, %misfit, "a captured row has another shape");
                self.capture.catalog.read_again();
                self.transaction.defer(DeferReason::ShapeChanged);
            }
        }
    }

    /// Whether the transaction's rows, this one included, were read under one contract.
    fn keeps(&mut self, contract: &Arc<Contract>) -> bool {
        let held = self.contract.get_or_insert_with(|| Arc::clone(contract));
        is_same(held, contract)
    }

    /// A row whose statement was rewritten in another state of the session: its values may not be
    /// what they seem.
    pub fn untrusted(&mut self) {
        self.transaction.defer(DeferReason::SessionUnknown);
    }

    /// What the session asks of the mirror, as of the statement that has just completed: what it asks
    /// when it commits is what counts, as for `synchronous_commit`.
    pub const fn choose(&mut self, choice: Option<MirrorChoice>) {
        self.choice = choice;
    }

    /// `CommandComplete` of a client's statement: what the analysis said of it, or why it has not
    /// read the text.
    pub fn completed(
        &mut self,
        statement: Result<&Statement, DeferReason>,
        tag: &[u8],
    ) -> Option<Delivery> {
        self.changed_schema |= statement.is_ok_and(|it| it.session == SessionEffect::Ddl);
        self.note_table(statement, tag);
        let outcome = self.transaction.completed(statement, tag);
        if tag == b"COMMIT" {
            self.schema_may_show();
        }
        self.settle(outcome)
    }

    /// What the log brings is counted by table, as far as the text tells it.
    fn note_table(&mut self, statement: Result<&Statement, DeferReason>, tag: &[u8]) {
        let oid = match statement {
            Ok(statement) => match &statement.write {
                Write::Captured(it) if self.transaction.is_deferred() => Some(it.table_oid),
                Write::Captured(_) => None,
                Write::None | Write::Deferred(_) | Write::Suspect(_) | Write::Outside(_) => {
                    statement.deferred_oid
                }
            },
            Err(_) => None,
        };
        if let Some(table) = oid.and_then(|oid| self.capture.table(oid)) {
            self.transaction.wrote_to(table, tag);
        }
    }

    /// `PortalSuspended` of a statement that writes so, if that is known.
    pub fn suspended(&mut self, write: Option<&Write>) {
        self.transaction.suspended(write);
    }

    /// `ErrorResponse`.
    pub fn failed(&mut self) {
        self.transaction.failed();
    }

    /// `ReadyForQuery`.
    pub fn ready(&mut self, status: Ready) -> Option<Delivery> {
        if status == Ready::Idle {
            self.schema_may_show();
        }
        let outcome = self.transaction.ready(status);
        let delivery = self.settle(outcome);
        if status == Ready::Idle {
            self.contract = None;
        }
        delivery
    }

    fn schema_may_show(&mut self) {
        if std::mem::take(&mut self.changed_schema) {
            self.capture.catalog.schema_changed();
        }
    }

    fn settle(&mut self, outcome: Option<Outcome>) -> Option<Delivery> {
        let outcome = outcome?;
        let view = self.capture.view();
        let contract = self.contract.take();
        // While a schema change is not read there is none, and the last one's places still hold.
        let contract = contract.unwrap_or_else(|| Arc::clone(&view.facts.contract));
        let is_past = view.facts.is_known() && !is_same(&contract, &view.facts.contract);
        match outcome {
            // Under this epoch the row would be taken for one that the epoch's source has.
            Outcome::Committed { rows, .. } if view.is_of_another(self.timeline) => {
                self.capture.catalog.read_again();
                let reason = DeferReason::OtherTimeline;
                let tables: HashSet<_> = rows.iter().map(|row| row.key.table()).collect();
                self.deferred(&view, None, reason, tables);
                self.cannot_wait(reason)
            }
            Outcome::Committed { xid, .. } if is_past => {
                let reason = DeferReason::ShapeChanged;
                self.deferred(&view, Some(xid), reason, []);
                self.cannot_wait(reason)
            }
            Outcome::Committed { xid, rows } => match self.answer(&view, &rows) {
                MirrorChoice::Off => {
                    let reason = DeferReason::MirrorOff;
                    let tables: HashSet<_> = rows.iter().map(|row| row.key.table()).collect();
                    self.deferred(&view, Some(xid), reason, tables);
                    None
                }
                MirrorChoice::Async => {
                    let transaction = self.committed(&view, contract, xid, rows)?;
                    self.capture.mirror.send(transaction);
                    None
                }
                MirrorChoice::Sync => {
                    let transaction = self.committed(&view, contract, xid, rows)?;
                    let delivered = self.capture.mirror.send_awaited(transaction);
                    Some(Delivery::Awaited(delivered))
                }
            },
            Outcome::Deferred {
                xid,
                reason,
                tables,
            } => {
                let tables = if is_past { Vec::new() } else { tables };
                self.deferred(&view, xid, reason, tables);
                self.cannot_wait(reason)
            }
        }
    }

    /// Whether the client waits: as the session says, else as the strictest of the tables written to
    /// says, else as the proxy does.
    fn answer(&self, view: &CatalogView, rows: &[TransactionRow]) -> MirrorChoice {
        let server = match self.capture.mirror.mode() {
            // Nobody will send it.
            MirrorMode::Off | MirrorMode::Dry => return MirrorChoice::Async,
            MirrorMode::Async => MirrorChoice::Async,
            MirrorMode::Sync => MirrorChoice::Sync,
        };
        let of_table = |row: &TransactionRow| view.choice(row.key.table()).unwrap_or(server);
        self.choice.unwrap_or_else(|| {
            if rows.iter().any(|row| of_table(row) == MirrorChoice::Sync) {
                MirrorChoice::Sync
            } else {
                MirrorChoice::Async
            }
        })
    }

    fn committed(
        &self,
        view: &CatalogView,
        contract: Arc<Contract>,
        xid: Xid,
        rows: Vec<TransactionRow>,
    ) -> Option<MirrorTransaction> {
        self.capture.counters.captured();
        for row in &rows {
            self.capture.tables.row(row.key.table());
        }
        let op_id = view.op_id(xid);
        let rows = rows.into_iter().map(|row| early_row(view.epoch, row));
        let Ok(rows) = rows.collect() else {
            tracing::warn!(%op_id, "a captured transaction has no revision");
            self.capture.mirror.unrepresentable(op_id);
            return None;
        };
        Some(MirrorTransaction {
            early: EarlyTransaction {
                op_id,
                epoch: view.epoch,
                xid,
                committed_at: wall_clock(),
                rows,
            },
            contract,
            committed: Instant::now(),
        })
    }

    fn deferred(
        &self,
        view: &CatalogView,
        xid: Option<Xid>,
        reason: DeferReason,
        tables: impl IntoIterator<Item = TableIndex>,
    ) {
        self.capture.counters.deferred(reason.label());
        for table in tables {
            self.capture.tables.deferred(table, reason);
        }
        if let Some(xid) = xid {
            let op = view.op_id(xid);
            self.capture.mirror.note_deferred(op, reason.label());
        }
    }

    /// A transaction that is left to the log cannot be waited for; a client that wanted to is told.
    fn cannot_wait(&self, reason: DeferReason) -> Option<Delivery> {
        let wants = match (self.capture.mirror.mode(), self.choice) {
            (MirrorMode::Off | MirrorMode::Dry, _) => false,
            (MirrorMode::Async, choice) => choice == Some(MirrorChoice::Sync),
            (MirrorMode::Sync, choice) => choice.is_none_or(|it| it == MirrorChoice::Sync),
        };
        // The log does not bring these either, or nobody is to wait for them.
        let is_nothing = reason.is_outside() || reason == DeferReason::MirrorOff;
        if !wants || is_nothing {
            return None;
        }
        self.capture.counters.unconfirmed(DEFERRED);
        Some(Delivery::Unconfirmed(reason.label()))
    }
}

/// Looks into them only where a reading of the catalog lies between.
fn is_same(one: &Arc<Contract>, other: &Arc<Contract>) -> bool {
    Arc::ptr_eq(one, other) || **one == **other
}

fn early_row(epoch: Epoch, row: TransactionRow) -> Result<EarlyRow, RevisionError> {
    Ok(EarlyRow {
        key: row.key,
        rev: Revision::early(epoch, row.lsn)?,
        write: match row.image {
            Some(image) => EarlyWrite::Upsert(image),
            None => EarlyWrite::Delete,
        },
    })
}
