//! One client connection's transaction: rows in, committed transactions out to the mirror.
//!
//! Does not hold rows beyond their transaction, and never waits.

use std::rc::Rc;
use std::sync::Arc;

use apply::{EarlyRow, EarlyTransaction, EarlyWrite};
use bytes::Bytes;
use protocol::decide::record::{ValueFormat, decode};
use protocol::decide::statement::{Captured, DeferReason, SessionEffect, Statement, WriteKind};
use protocol::decide::transaction::{ClientTransaction, Outcome, Ready, TransactionRow};
use protocol::revision::{Epoch, Revision, RevisionError};
use protocol::row::RowKey;
use protocol::xid::Xid;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::{Capture, shape};
use crate::clock::wall_clock;
use crate::config::MirrorMode;
use crate::mirror::{Delivered, MirrorTransaction};

/// The transaction that one client connection is in.
#[derive(Debug)]
pub struct TransactionLog {
    capture: Rc<Capture>,
    transaction: ClientTransaction,
    /// The schema has been changed since the last commit.
    changed_schema: bool,
}

/// What the client's acknowledgement has to wait for, with `--mirror sync`.
pub type Delivery = oneshot::Receiver<Delivered>;

impl TransactionLog {
    /// For one connection of this worker.
    pub fn new(capture: Rc<Capture>) -> Self {
        Self {
            capture,
            transaction: ClientTransaction::default(),
            changed_schema: false,
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

    /// `CommandComplete` of a client's statement: what the analysis said of it, or nothing for a
    /// text that it could not read.
    pub fn completed(&mut self, statement: Option<&Statement>, tag: &[u8]) -> Option<Delivery> {
        self.changed_schema |= statement.is_some_and(|it| it.session == SessionEffect::Ddl);
        let outcome = self.transaction.completed(statement, tag);
        if tag == b"COMMIT" {
            self.schema_may_show();
        }
        self.settle(outcome)
    }

    /// `PortalSuspended` of a statement that is captured so, or not.
    pub fn suspended(&mut self, captured: Option<Captured>) {
        self.transaction.suspended(captured);
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
            Outcome::Committed { xid, rows } => self.committed(xid, rows),
            Outcome::Deferred { xid, reason } => {
                let view = self.capture.view();
                self.capture.counters.deferred(reason.label());
                if let Some(xid) = xid {
                    let op = view.op_id(xid);
                    self.capture.mirror.note_deferred(op, reason.label());
                }
                None
            }
        }
    }

    fn committed(&self, xid: Xid, rows: Vec<TransactionRow>) -> Option<Delivery> {
        let view = self.capture.view();
        self.capture.counters.captured();
        let op_id = view.op_id(xid);
        let rows = rows.into_iter().map(|row| early_row(view.epoch, row));
        let Ok(rows) = rows.collect() else {
            tracing::warn!(%op_id, "a captured transaction has no revision");
            self.capture.mirror.unrepresentable(op_id);
            return None;
        };
        let transaction = MirrorTransaction {
            early: EarlyTransaction {
                op_id,
                epoch: view.epoch,
                xid,
                committed_at: wall_clock(),
                rows,
            },
            contract: Arc::clone(&view.facts.contract),
            committed: Instant::now(),
        };
        if self.capture.mirror.mode() == MirrorMode::Sync {
            return Some(self.capture.mirror.send_awaited(transaction));
        }
        self.capture.mirror.send(transaction);
        None
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
