//! Assembly: what counts of a source transaction is the last version of each key (rule 3).
//!
//! Columns that a version lacks (long values that an UPDATE did not touch) come from earlier
//! versions of that key in the same transaction, back to its insert. A TRUNCATE is a barrier between
//! segments. Does not compare anything with the target.

use std::collections::HashMap;

use crate::contract::TableIndex;
use crate::lsn::Lsn;
use crate::row::{Image, RowKey};

/// What a change takes in memory beside its columns: the key, its place in tables, what the allocator
/// adds. Of narrow rows it is nearly all.
const CHANGE_BYTES: usize = 256;

/// One row change of the stream, named by the contract.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The start of its log record.
    pub lsn: Lsn,
    /// The key that the row had; none for an INSERT.
    pub before: Option<RowKey>,
    /// The key and the image that it has now; none for a DELETE.
    pub after: Option<(RowKey, Image)>,
}

/// The last version of one key within a segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoggedWrite {
    /// The key.
    pub key: RowKey,
    /// The start of the log record of its last version.
    pub lsn: Lsn,
    /// What the key holds from then on.
    pub row: LoggedRow,
}

/// What a key holds after a source transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LoggedRow {
    /// A row; the image may lack columns.
    Present(Image),
    /// No row.
    Absent,
}

/// A stretch of a source transaction that can be applied as a set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Segment {
    /// The last versions of the keys written, by LSN.
    Writes(Vec<LoggedWrite>),
    /// Tables were emptied.
    Truncate(Truncation),
}

/// A TRUNCATE.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Truncation {
    /// The start of its log record.
    pub lsn: Lsn,
    /// The tables by contract, and the relation that was emptied: of a partitioned table a leaf.
    pub tables: Vec<(TableIndex, Emptied)>,
}

/// Which relation of a table a TRUNCATE emptied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Emptied {
    /// All of it.
    Whole,
    /// One leaf of a partitioned table, by schema and name.
    Leaf {
        /// The leaf's schema.
        schema: String,
        /// The leaf's name.
        relation: String,
    },
}

/// Collects the changes of one source transaction.
#[derive(Debug, Default)]
pub struct Assembly {
    segments: Vec<Segment>,
    open: HashMap<RowKey, (Lsn, LoggedRow)>,
    size: usize,
    count: usize,
}

impl Assembly {
    /// Adds the next change.
    pub fn change(&mut self, change: Change) {
        let Change { lsn, before, after } = change;
        let moved = match (&before, &after) {
            (Some(old), Some((new, _))) => old != new,
            (Some(_), None) => true,
            (None, _) => false,
        };
        self.count += 1;
        self.size += CHANGE_BYTES;
        let earlier = before.and_then(|key| {
            if moved {
                let gone = (lsn, LoggedRow::Absent);
                self.open.insert(key, gone).map(|(_, row)| row)
            } else {
                None
            }
        });
        let Some((key, image)) = after else { return };
        self.size += image.size() + size_of_val(image.columns());
        let earlier = earlier.or_else(|| self.open.get(&key).map(|(_, row)| row.clone()));
        let image = match earlier {
            Some(LoggedRow::Present(before)) => image.filled_from(&before),
            Some(LoggedRow::Absent) | None => image,
        };
        self.open.insert(key, (lsn, LoggedRow::Present(image)));
    }

    /// Adds a TRUNCATE.
    pub fn truncate(&mut self, truncation: Truncation) {
        self.close();
        self.count += 1;
        self.segments.push(Segment::Truncate(truncation));
    }

    /// How many changes were added since the last [`Self::take`].
    pub const fn count(&self) -> usize {
        self.count
    }

    /// About how many bytes of memory were added since the last [`Self::take`].
    pub const fn size(&self) -> usize {
        self.size
    }

    /// Hands out what there is so far.
    pub fn take(&mut self) -> Vec<Segment> {
        self.close();
        self.size = 0;
        self.count = 0;
        std::mem::take(&mut self.segments)
    }

    fn close(&mut self) {
        if self.open.is_empty() {
            return;
        }
        let mut writes: Vec<LoggedWrite> = self
            .open
            .drain()
            .map(|(key, (lsn, row))| LoggedWrite { key, lsn, row })
            .collect();
        writes.sort_unstable_by(|left, right| (left.lsn, &left.key).cmp(&(right.lsn, &right.key)));
        self.segments.push(Segment::Writes(writes));
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::row::Datum;

    fn key(id: u8) -> RowKey {
        RowKey::from_stored(TableIndex::new(0), Bytes::copy_from_slice(&[id]))
    }

    fn image(columns: &[&'static str]) -> Image {
        let datum = |text: &&'static str| match *text {
            "?" => Datum::Unchanged,
            text => Datum::Binary(Bytes::from_static(text.as_bytes())),
        };
        Image::new(columns.iter().map(datum).collect())
    }

    fn change(lsn: u64, before: Option<u8>, after: Option<(u8, Image)>) -> Change {
        Change {
            lsn: Lsn::new(lsn),
            before: before.map(key),
            after: after.map(|(id, image)| (key(id), image)),
        }
    }

    #[track_caller]
    fn check(changes: Vec<Change>, expected: &[(u8, u64, Option<Image>)]) {
        let mut assembly = Assembly::default();
        for one in changes {
            assembly.change(one);
        }
        let expected = expected.iter().map(|(id, lsn, row)| LoggedWrite {
            key: key(*id),
            lsn: Lsn::new(*lsn),
            row: row.clone().map_or(LoggedRow::Absent, LoggedRow::Present),
        });
        assert_eq!(assembly.take(), [Segment::Writes(expected.collect())]);
        assert_eq!(assembly.take(), []);
    }

    #[test]
    fn the_last_version_counts_and_is_filled_from_the_earlier_ones() {
        let changes = vec![
            change(1, None, Some((1, image(&["1", "long", "a"])))),
            change(2, None, Some((2, image(&["2", "x", "y"])))),
            change(3, Some(1), Some((1, image(&["1", "?", "b"])))),
            change(4, Some(1), Some((1, image(&["1", "?", "c"])))),
        ];
        let expected = [
            (2, 2, Some(image(&["2", "x", "y"]))),
            (1, 4, Some(image(&["1", "long", "c"]))),
        ];
        check(changes, &expected);
    }

    #[test]
    fn a_changed_key_is_a_delete_and_an_upsert_that_inherits_the_values() {
        let changes = vec![
            change(1, Some(1), Some((1, image(&["1", "long"])))),
            change(2, Some(1), Some((2, image(&["2", "?"])))),
        ];
        let expected = [(1, 2, None), (2, 2, Some(image(&["2", "long"])))];
        check(changes, &expected);
    }

    #[test]
    fn a_row_deleted_and_inserted_again_takes_nothing_from_before() {
        let changes = vec![
            change(1, None, Some((1, image(&["1", "long"])))),
            change(2, Some(1), None),
            change(3, None, Some((1, image(&["1", "new"])))),
        ];
        check(changes, &[(1, 3, Some(image(&["1", "new"])))]);
    }

    #[test]
    fn a_column_never_sent_stays_unknown() {
        let changes = vec![change(1, Some(1), Some((1, image(&["1", "?"]))))];
        check(changes, &[(1, 1, Some(image(&["1", "?"])))]);
    }

    #[test]
    fn a_truncate_separates_what_came_before_from_what_came_after() {
        let mut assembly = Assembly::default();
        assembly.change(change(1, None, Some((1, image(&["1"])))));
        let truncation = Truncation {
            lsn: Lsn::new(2),
            tables: vec![(TableIndex::new(0), Emptied::Whole)],
        };
        assembly.truncate(truncation.clone());
        assembly.change(change(3, None, Some((1, image(&["1"])))));
        let segments = assembly.take();
        assert_eq!(segments.len(), 3);
        assert_eq!(segments[1], Segment::Truncate(truncation));
    }
}
