//! Source transactions that share one target transaction.
//!
//! Of rows that several of them wrote only the latest version is written, as of a row that one
//! transaction wrote several times (rule 3): who wrote it earlier is superseded, as if the versions
//! had come one after the other. Which one is the latest its revision says: two commits may have
//! overtaken each other on their way here. Does not decide which transactions share.

use std::collections::HashMap;

use protocol::revision::Revision;

use super::{EarlyRow, EarlyTransaction};

/// Where a row of the group comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    member: u32,
    row: u32,
}

impl Place {
    /// The transaction's place in the group.
    pub(super) const fn member(self) -> usize {
        self.member as usize
    }

    /// The transaction's number as `segue.admit` counts, from 1.
    pub(super) fn number(self) -> i32 {
        i32::try_from(self.member).map_or(i32::MAX, |member| member.saturating_add(1))
    }
}

/// The rows that a group writes, in the order in which they are written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Group {
    places: Vec<Place>,
}

impl Group {
    pub(super) fn of(members: &[&EarlyTransaction]) -> Self {
        let count = members.iter().map(|member| member.rows.len()).sum();
        let mut places: Vec<Place> = Vec::with_capacity(count);
        // No key comes twice in one transaction.
        let mut seen = (members.len() > 1).then(|| HashMap::with_capacity(count));
        for (member, transaction) in (0..).zip(members) {
            for (row, written) in (0..).zip(&transaction.rows) {
                let place = Place { member, row };
                let next = places.len();
                let at = seen
                    .as_mut()
                    .map_or(next, |seen| *seen.entry(&written.key).or_insert(next));
                match places.get_mut(at) {
                    Some(held) if rev_of(members, *held) < Some(written.rev) => *held = place,
                    Some(_) => (),
                    None => places.push(place),
                }
            }
        }
        Self { places }
    }

    pub(super) fn rows<'a>(
        &'a self,
        members: &'a [&'a EarlyTransaction],
    ) -> impl Iterator<Item = (Place, &'a EarlyRow)> {
        let places = self.places.iter();
        places.filter_map(move |place| Some((*place, row_at(members, *place)?)))
    }

    /// Whose row the statement with this index writes.
    pub(super) fn writer_of(&self, statement: usize) -> Option<Place> {
        self.places.get(statement).copied()
    }
}

fn row_at<'a>(members: &[&'a EarlyTransaction], place: Place) -> Option<&'a EarlyRow> {
    members.get(place.member())?.rows.get(place.row as usize)
}

fn rev_of(members: &[&EarlyTransaction], place: Place) -> Option<Revision> {
    row_at(members, place).map(|row| row.rev)
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use bytes::Bytes;
    use protocol::contract::TableIndex;
    use protocol::lsn::Lsn;
    use protocol::op_id::OpId;
    use protocol::revision::Epoch;
    use protocol::row::RowKey;
    use protocol::xid::Xid;

    use super::*;
    use crate::early::EarlyWrite;

    fn transaction(xid: u64, keys: &[u8]) -> EarlyTransaction {
        let row = |key: &u8| EarlyRow {
            key: RowKey::from_stored(TableIndex::new(0), Bytes::copy_from_slice(&[*key])),
            rev: Revision::logged(Epoch::FIRST, Lsn::new(xid)).unwrap(),
            write: EarlyWrite::Delete,
        };
        EarlyTransaction {
            op_id: OpId::of(1, Epoch::FIRST, Xid::new(xid)),
            epoch: Epoch::FIRST,
            xid: Xid::new(xid),
            committed_at: SystemTime::UNIX_EPOCH,
            rows: keys.iter().map(row).collect(),
        }
    }

    #[track_caller]
    fn check(members: &[&[u8]], expected: &[(usize, u8)]) {
        let members = (1..).zip(members);
        check_of(members.map(|(xid, keys)| transaction(xid, keys)), expected);
    }

    #[track_caller]
    fn check_of(members: impl Iterator<Item = EarlyTransaction>, expected: &[(usize, u8)]) {
        let members: Vec<_> = members.collect();
        let members: Vec<_> = members.iter().collect();
        let group = Group::of(&members);
        let rows = group.rows(&members);
        let found: Vec<_> = rows
            .map(|(place, row)| (place.member(), row.key.bytes()[0]))
            .collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn of_each_row_one_version_is_written() {
        check(&[&[1, 2]], &[(0, 1), (0, 2)]);
        check(&[&[1, 2], &[3]], &[(0, 1), (0, 2), (1, 3)]);
        check(&[&[1, 2], &[2, 3], &[2]], &[(0, 1), (2, 2), (1, 3)]);
        check(&[&[], &[7]], &[(1, 7)]);
    }

    #[test]
    fn the_latest_version_is_told_by_its_revision() {
        let overtaken = [transaction(9, &[1, 2]), transaction(8, &[2, 3])];
        check_of(overtaken.into_iter(), &[(0, 1), (0, 2), (1, 3)]);
    }
}
