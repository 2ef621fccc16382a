//! One client connection's transaction: rows in, committed transactions out to the mirror.
//!
//! Does not hold rows beyond their transaction, and never waits.

use std::collections::HashSet;
use std::rc::Rc;
use std::sync::Arc;

use apply::{EarlyRow, EarlyTransaction, EarlyWrite};
use bytes::Bytes;
use protocol::contract::TableIndex;
use protocol::decide::record::{RecordError, ValueFormat, decode};
use protocol::decide::statement::{
    Captured, DeferReason, MirrorChoice, SessionEffect, Statement, Write, WriteKind,
};
use protocol::decide::transaction::{ClientTransaction, Outcome, Ready, TransactionRow};
use protocol::revision::{Epoch, Revision, RevisionError};
use protocol::row::RowKey;
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
    /// The schema has been changed since the last commit.
    changed_schema: bool,
    /// What the session asked of the mirror with the statement that completed last.
    choice: Option<MirrorChoice>,
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
            changed_schema: false,
            choice: None,
        }
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
        let (xid, lsn) = (row.xid, row.lsn);
        let mapped =
            shape::image(&view.facts, captured.table_oid, row).and_then(|(index, table, image)| {
                let key = RowKey::of(index, table, &image).ok()?;
                let image = (captured.kind == WriteKind::Upsert).then_some(image);
                Some(TransactionRow { key, lsn, image })
            });
        if let Some(row) = mapped {
            self.transaction.captured(xid, row);
        } else {
            self.capture.catalog.read_again();
            self.transaction.defer(DeferReason::ShapeChanged);
        }
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
        self.settle(outcome)
    }

    fn schema_may_show(&mut self) {
        if std::mem::take(&mut self.changed_schema) {
            self.capture.catalog.schema_changed();
        }
    }

    fn settle(&self, outcome: Option<Outcome>) -> Option<Delivery> {
        match outcome? {
            Outcome::Committed { xid, rows } => {
                let view = self.capture.view();
                match self.answer(&view, &rows) {
                    MirrorChoice::Off => {
                        let reason = DeferReason::MirrorOff;
                        let tables: HashSet<_> = rows.iter().map(|row| row.key.table()).collect();
                        self.deferred(&view, Some(xid), reason, tables);
                        None
                    }
                    MirrorChoice::Async => {
                        let transaction = self.committed(&view, xid, rows)?;
                        self.capture.mirror.send(transaction);
                        None
                    }
                    MirrorChoice::Sync => {
                        let transaction = self.committed(&view, xid, rows)?;
                        let delivered = self.capture.mirror.send_awaited(transaction);
                        Some(Delivery::Awaited(delivered))
                    }
                }
            }
            Outcome::Deferred {
                xid,
                reason,
                tables,
            } => {
                let view = self.capture.view();
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
            contract: Arc::clone(&view.facts.contract),
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
