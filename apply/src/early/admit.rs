//! The arguments of `segue.admit`, in their types' send formats. Does not call it.

use std::time::{Duration, SystemTime};

use bytes::BytesMut;
use protocol::contract::Contract;
use protocol::revision::Epoch;

use super::group::Group;
use super::{EarlyTransaction, EarlyWrite};
use crate::array::{Array, element};
use crate::connection::Parameter;

/// The call that admits a group or raises.
pub(super) const SQL: &str = "SELECT segue.admit($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)";

/// From the Unix epoch to PostgreSQL's, 2000-01-01.
const POSTGRES_EPOCH: Duration = Duration::from_hours(262_968);

/// The arguments, kept together while the call is written.
pub(super) struct Arguments {
    epoch: [u8; 4],
    proxy: [u8; 16],
    contract: [u8; 4],
    /// Of each transaction: op id, xid, time of commit.
    members: [BytesMut; 3],
    /// Of each row: table, key, revision, whether it is deleted, the number of its transaction.
    rows: [BytesMut; 5],
}

impl Arguments {
    pub(super) fn new(
        members: &[&EarlyTransaction],
        group: &Group,
        contract: &Contract,
        proxy: [u8; 16],
    ) -> Self {
        let epoch = members.first().map_or(Epoch::FIRST, |member| member.epoch);
        Self {
            epoch: i32::from(epoch.number()).to_be_bytes(),
            proxy,
            contract: contract.version.to_be_bytes(),
            members: of_members(members),
            rows: of_rows(members, group, contract),
        }
    }

    pub(super) fn parameters(&self) -> [Parameter<'_>; 11] {
        let [ops, xids, times] = &self.members;
        let [tables, keys, revs, tombstones, owners] = &self.rows;
        [
            Parameter::Binary(&self.epoch),
            Parameter::Binary(&self.proxy),
            Parameter::Binary(&self.contract),
            Parameter::Binary(ops),
            Parameter::Binary(xids),
            Parameter::Binary(times),
            Parameter::Binary(tables),
            Parameter::Binary(keys),
            Parameter::Binary(revs),
            Parameter::Binary(tombstones),
            Parameter::Binary(owners),
        ]
    }
}

fn of_members(members: &[&EarlyTransaction]) -> [BytesMut; 3] {
    let mut ops = Array::of(element::UUID);
    let mut xids = Array::of(element::INT8);
    let mut times = Array::of(element::TIMESTAMPTZ);
    for member in members {
        ops.push(&member.op_id.to_bytes());
        xids.push(&member.xid.as_u64().to_be_bytes());
        times.push(&timestamp(member.committed_at).to_be_bytes());
    }
    [ops, xids, times].map(Array::finish)
}

fn of_rows(members: &[&EarlyTransaction], group: &Group, contract: &Contract) -> [BytesMut; 5] {
    let mut tables = Array::of(element::TEXT);
    let mut keys = Array::of(element::BYTEA);
    let mut revs = Array::of(element::INT8);
    let mut tombstones = Array::of(element::BOOL);
    let mut owners = Array::of(element::INT4);
    for (place, row) in group.rows(members) {
        let table = contract.table(row.key.table());
        tables.push(table.map_or(&[][..], |table| table.name.as_bytes()));
        keys.push(row.key.bytes());
        revs.push(&row.rev.packed().to_be_bytes());
        tombstones.push(&[u8::from(matches!(row.write, EarlyWrite::Delete))]);
        owners.push(&place.number().to_be_bytes());
    }
    [tables, keys, revs, tombstones, owners].map(Array::finish)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_counts_from_the_year_2000() {
        let epoch = SystemTime::UNIX_EPOCH + POSTGRES_EPOCH;
        assert_eq!(timestamp(epoch + Duration::from_micros(5)), 5);
        assert_eq!(timestamp(epoch - Duration::from_micros(5)), -5);
    }
}
