//! The arguments of `segue.admit`, in their types' send formats. Does not call it.

use std::time::{Duration, SystemTime};

use bytes::{BufMut, BytesMut};
use protocol::contract::Contract;

use super::{EarlyTransaction, EarlyWrite};
use crate::connection::Parameter;

/// The call that admits a transaction or raises.
pub(super) const SQL: &str = "SELECT segue.admit($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)";

/// From the Unix epoch to PostgreSQL's, 2000-01-01.
const POSTGRES_EPOCH: Duration = Duration::from_hours(262_968);

mod oid {
    pub(super) const BOOL: u32 = 16;
    pub(super) const BYTEA: u32 = 17;
    pub(super) const INT8: u32 = 20;
    pub(super) const TEXT: u32 = 25;
}

/// The arguments, kept together for as long as a batch is built from them.
pub(super) struct Arguments {
    epoch: [u8; 4],
    op_id: [u8; 16],
    xid: [u8; 8],
    proxy: [u8; 16],
    committed_at: [u8; 8],
    contract: [u8; 4],
    tables: BytesMut,
    keys: BytesMut,
    revs: BytesMut,
    tombstones: BytesMut,
}

impl Arguments {
    pub(super) fn new(
        transaction: &EarlyTransaction,
        contract: &Contract,
        proxy: [u8; 16],
    ) -> Self {
        let rows = &transaction.rows;
        let names = rows.iter().map(|row| {
            let table = contract.table(row.key.table());
            table.map_or(&[][..], |table| table.name.as_bytes())
        });
        let keys = rows.iter().map(|row| &row.key.bytes()[..]);
        let revs = rows.iter().map(|row| row.rev.packed().to_be_bytes());
        let tombstones = rows
            .iter()
            .map(|row| [u8::from(matches!(row.write, EarlyWrite::Delete))]);
        Self {
            epoch: i32::from(transaction.epoch.number()).to_be_bytes(),
            op_id: transaction.op_id.to_bytes(),
            xid: transaction.xid.as_u64().to_be_bytes(),
            proxy,
            committed_at: timestamp(transaction.committed_at).to_be_bytes(),
            contract: contract.version.to_be_bytes(),
            tables: array(oid::TEXT, names),
            keys: array(oid::BYTEA, keys),
            revs: array(oid::INT8, revs),
            tombstones: array(oid::BOOL, tombstones),
        }
    }

    pub(super) fn parameters(&self) -> [Parameter<'_>; 10] {
        [
            Parameter::Binary(&self.epoch),
            Parameter::Binary(&self.op_id),
            Parameter::Binary(&self.xid),
            Parameter::Binary(&self.proxy),
            Parameter::Binary(&self.committed_at),
            Parameter::Binary(&self.contract),
            Parameter::Binary(&self.tables),
            Parameter::Binary(&self.keys),
            Parameter::Binary(&self.revs),
            Parameter::Binary(&self.tombstones),
        ]
    }
}

/// Microseconds since PostgreSQL's epoch.
fn timestamp(time: SystemTime) -> i64 {
    let epoch = SystemTime::UNIX_EPOCH + POSTGRES_EPOCH;
    let micros = |distance: Duration| i64::try_from(distance.as_micros()).unwrap_or(i64::MAX);
    match time.duration_since(epoch) {
        Ok(after) => micros(after),
        Err(before) => -micros(before.duration()),
    }
}

/// A one-dimensional array without NULLs, as `array_send` writes it.
fn array<V: AsRef<[u8]>>(element: u32, values: impl ExactSizeIterator<Item = V>) -> BytesMut {
    const FLAGS: i32 = 0;
    const LOWER_BOUND: i32 = 1;
    let mut out = BytesMut::with_capacity(20 + values.len() * 24);
    out.put_i32(i32::from(values.len() > 0));
    out.put_i32(FLAGS);
    out.put_u32(element);
    if values.len() > 0 {
        out.put_i32(i32::try_from(values.len()).unwrap_or(i32::MAX));
        out.put_i32(LOWER_BOUND);
    }
    for value in values {
        let value = value.as_ref();
        out.put_i32(i32::try_from(value.len()).unwrap_or(i32::MAX));
        out.put_slice(value);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_array_is_written_as_the_server_sends_it() {
        let two = array(oid::BOOL, [[1_u8], [0]].iter());
        let head = [0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 16, 0, 0, 0, 2, 0, 0, 0, 1];
        assert_eq!(two[..20], head);
        assert_eq!(two[20..], [0, 0, 0, 1, 1, 0, 0, 0, 1, 0]);
        let none = array(oid::BOOL, [[1_u8]; 0].iter());
        assert_eq!(none[..], [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 16]);
    }

    #[test]
    fn time_counts_from_the_year_2000() {
        let epoch = SystemTime::UNIX_EPOCH + POSTGRES_EPOCH;
        assert_eq!(timestamp(epoch + Duration::from_micros(5)), 5);
        assert_eq!(timestamp(epoch - Duration::from_micros(5)), -5);
    }
}
