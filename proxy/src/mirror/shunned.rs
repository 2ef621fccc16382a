//! Tables whose rows the target does not take as the contract has them: a column is gone or of
//! another type, a privilege is missing.
//!
//! They are left to the stream for a while, so that the other tables' transactions need not go with
//! them and be sent twice. Bounded by the contract's tables. Does not know why.

use std::collections::HashMap;
use std::time::Duration;

use apply::EarlyTransaction;
use protocol::contract::TableIndex;
use tokio::time::Instant;

/// The first pause; each further one is twice as long.
const PAUSE_MIN: Duration = Duration::from_millis(500);
/// A table that was mended is noticed within this time.
const PAUSE_MAX: Duration = Duration::from_secs(10);

/// The tables and until when.
#[derive(Debug, Default)]
pub(super) struct Shunned {
    tables: HashMap<TableIndex, Shun>,
}

#[derive(Debug, Clone, Copy)]
struct Shun {
    until: Instant,
    pause: Duration,
}

impl Shunned {
    /// Leaves this table out for a while; longer, if that had been tried.
    pub(super) fn shun(&mut self, table: TableIndex, now: Instant) {
        let tried = self.tables.get(&table);
        let pause = tried.map_or(PAUSE_MIN, |shun| {
            if now < shun.until {
                // Transactions that were under way when the first one failed.
                shun.pause
            } else {
                (shun.pause * 2).min(PAUSE_MAX)
            }
        });
        let until = now + pause.mul_f64(rand::random_range(0.5..1.0));
        self.tables.insert(table, Shun { until, pause });
    }

    /// Whether the transaction writes to a table that is left out.
    pub(super) fn holds_one_of(&self, transaction: &EarlyTransaction, now: Instant) -> bool {
        if self.tables.is_empty() {
            return false;
        }
        let mut rows = transaction.rows.iter();
        rows.any(|row| {
            let shun = self.tables.get(&row.key.table());
            shun.is_some_and(|shun| now < shun.until)
        })
    }

    /// The target has taken these.
    pub(super) fn worked<'a>(&mut self, members: impl Iterator<Item = &'a EarlyTransaction>) {
        if self.tables.is_empty() {
            return;
        }
        for row in members.flat_map(|member| &member.rows) {
            if self.tables.remove(&row.key.table()).is_some() {
                tracing::info!("the target takes a table's rows again");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use apply::{EarlyRow, EarlyWrite};
    use bytes::Bytes;
    use protocol::lsn::Lsn;
    use protocol::op_id::OpId;
    use protocol::revision::{Epoch, Revision};
    use protocol::row::RowKey;
    use protocol::xid::Xid;

    use super::*;

    fn on(table: u32) -> EarlyTransaction {
        let row = EarlyRow {
            key: RowKey::from_stored(TableIndex::new(table), Bytes::new()),
            rev: Revision::logged(Epoch::FIRST, Lsn::new(1)).unwrap(),
            write: EarlyWrite::Delete,
        };
        EarlyTransaction {
            op_id: OpId::of(1, Epoch::FIRST, Xid::new(1)),
            epoch: Epoch::FIRST,
            xid: Xid::new(1),
            committed_at: SystemTime::UNIX_EPOCH,
            rows: vec![row],
        }
    }

    #[test]
    fn a_table_is_left_out_for_growing_pauses_until_it_works() {
        let mut shunned = Shunned::default();
        let mut now = Instant::now();
        shunned.shun(TableIndex::new(1), now);
        assert!(shunned.holds_one_of(&on(1), now));
        assert!(!shunned.holds_one_of(&on(2), now));
        for _ in 0..8 {
            now += PAUSE_MAX;
            assert!(!shunned.holds_one_of(&on(1), now));
            shunned.shun(TableIndex::new(1), now);
        }
        assert!(shunned.holds_one_of(&on(1), now + PAUSE_MAX / 3));
        shunned.worked([&on(2)].into_iter());
        assert!(shunned.holds_one_of(&on(1), now));
        shunned.worked([&on(1)].into_iter());
        assert!(!shunned.holds_one_of(&on(1), now));
    }
}
