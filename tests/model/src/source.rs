//! The source: transactions, their log, and the steps between logged and visible.
//!
//! Does not know what the mirror does with what a commit hands to it.

use protocol::contract::TableIndex;
use protocol::decide::assembly::{Assembly, Change, Emptied, Segment, Truncation};
use protocol::lsn::Lsn;
use protocol::op_id::OpId;
use protocol::revision::{Epoch, Revision};
use protocol::xid::{Snapshot, Xid};

use crate::config::Config;
use crate::row::{ByKey, Row, early_rev, image, key, key_of, op};

/// Where the log begins: far from a page's header.
pub(crate) const ORIGIN: u64 = 1_000;

const FIRST_XID: u64 = 100;

/// What a write does to a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    /// Inserts it, or changes both columns.
    Whole,
    /// Leaves the long value alone.
    Partial,
    /// Deletes it.
    Delete,
    /// Gives it the long value with this number.
    Take(u8),
}

/// A record of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Record {
    Write {
        key: u8,
        lsn: u64,
        before: Option<Row>,
        after: Option<Row>,
        is_partial: bool,
    },
    Truncate {
        lsn: u64,
    },
}

/// A row version on its way through the mirror.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct EarlyRow {
    pub(crate) key: u8,
    pub(crate) rev: Revision,
    pub(crate) row: Option<Row>,
}

/// What a commit hands to the mirror.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Message {
    pub(crate) op_id: OpId,
    pub(crate) xid: u64,
    pub(crate) rows: Vec<EarlyRow>,
}

/// A transaction whose commit record is in the log.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Logged {
    pub(crate) xid: u64,
    pub(crate) end: u64,
    records: Vec<Record>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Running {
    pub(crate) xid: u64,
    pub(crate) is_async: bool,
    records: Vec<Record>,
    captured: Vec<EarlyRow>,
    /// Written, and its RETURNING not evaluated yet.
    pub(crate) returning: Option<u8>,
    pub(crate) logged_to: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Source {
    pub(crate) insert: u64,
    pub(crate) flushed: u64,
    next_xid: u64,
    next_value: u8,
    first: ByKey<Option<Row>>,
    pub(crate) visible: ByKey<Option<Row>>,
    pub(crate) running: Vec<Running>,
    pub(crate) logged: Vec<Logged>,
}

impl Source {
    pub(crate) fn new(rows: ByKey<Option<Row>>) -> Self {
        Self {
            insert: ORIGIN,
            flushed: ORIGIN,
            next_xid: FIRST_XID,
            next_value: 10,
            first: rows,
            visible: rows,
            running: Vec::new(),
            logged: Vec::new(),
        }
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        let running: Vec<u64> = self.running.iter().map(|one| one.xid).collect();
        self.snapshot_without(&running)
    }

    /// What a snapshot would be that took "logged" for "visible" (rule 7's broken variant).
    pub(crate) fn hasty_snapshot(&self) -> Snapshot {
        self.snapshot_without(&[])
    }

    fn snapshot_without(&self, running: &[u64]) -> Snapshot {
        let xmin = running.iter().min().copied().unwrap_or(self.next_xid);
        let list: Vec<String> = running.iter().map(u64::to_string).collect();
        let text = format!("{xmin}:{}:{}", self.next_xid, list.join(","));
        Snapshot::parse(&text).expect("this is its form")
    }

    pub(crate) fn burn_xid(&mut self) -> u64 {
        self.next_xid += 1;
        self.next_xid - 1
    }

    /// Every record is two bytes long, so that a position lies between it and the next.
    pub(crate) fn record(&mut self) -> u64 {
        self.insert += 2;
        self.insert - 2
    }

    pub(crate) fn value(&mut self) -> u8 {
        self.next_value += 1;
        self.next_value
    }

    pub(crate) fn begin(&mut self, is_async: bool) -> usize {
        let xid = self.burn_xid();
        self.running.push(Running {
            xid,
            is_async,
            records: Vec::new(),
            captured: Vec::new(),
            returning: None,
            logged_to: None,
        });
        self.running.len() - 1
    }

    /// The row as the transaction sees it; none of another's that it would have to wait for.
    pub(crate) fn seen_by(&self, place: Option<usize>, key: u8) -> Option<Option<Row>> {
        for (other, one) in self.running.iter().enumerate() {
            if Some(other) != place && one.has_written(key) {
                return None;
            }
        }
        let shown = self.visible[usize::from(key)];
        Some(match place {
            Some(place) => self.running[place].own(key).unwrap_or(shown),
            None => shown,
        })
    }

    /// Whether no row has, or may come to have, this long value.
    pub(crate) fn is_free(&self, long: u8) -> bool {
        let shown = self.visible.iter().flatten();
        let running = self.running.iter().flat_map(|one| &one.records);
        let written = running.filter_map(|record| match record {
            Record::Write { after, .. } => after.as_ref(),
            Record::Truncate { .. } => None,
        });
        shown.chain(written).all(|row| row.long != long)
    }

    pub(crate) fn write(&mut self, place: usize, key: u8, kind: Kind, is_captured: bool) {
        let before = self.seen_by(Some(place), key).flatten();
        let value = self.value();
        let (after, is_partial) = match (kind, before) {
            (Kind::Delete, _) => (None, false),
            (Kind::Partial, Some(Row { long, .. })) => (Some(Row { value, long }), true),
            (Kind::Take(long), _) => (Some(Row { value, long }), false),
            (Kind::Whole | Kind::Partial, _) => (Some(Row { value, long: value }), false),
        };
        let lsn = self.record();
        let one = &mut self.running[place];
        one.records.push(Record::Write {
            key,
            lsn,
            before,
            after,
            is_partial,
        });
        one.returning = is_captured.then_some(key);
    }

    /// All rows take the long values of their neighbours.
    pub(crate) fn exchange(&mut self, place: usize, config: &Config) {
        let keys = 0..config.keys();
        let rows = keys.map(|key| self.seen_by(Some(place), key).flatten());
        let Some(mut rows) = rows.collect::<Option<Vec<Row>>>() else {
            return;
        };
        rows.rotate_left(1);
        for (key, row) in (0..).zip(rows) {
            self.write(place, key, Kind::Take(row.long), true);
            self.return_row(place, config);
        }
    }

    pub(crate) fn truncate(&mut self, place: usize) {
        let lsn = self.record();
        self.running[place].records.push(Record::Truncate { lsn });
    }

    /// RETURNING is evaluated.
    pub(crate) fn return_row(&mut self, place: usize, config: &Config) {
        let insert = self.insert;
        let one = &mut self.running[place];
        if let Some(id) = one.returning.take() {
            let row = one.own(id).flatten();
            let last = row.or_else(|| one.before(id));
            let key = last.map_or(id, |row| key_of(id, row, config));
            let rev = early_rev(Epoch::FIRST, insert);
            one.captured.retain(|held| held.key != key);
            one.captured.push(EarlyRow { key, rev, row });
            one.captured.sort_unstable();
        }
    }

    pub(crate) fn log(&mut self, place: usize) {
        self.record();
        let end = self.insert;
        let one = &mut self.running[place];
        one.logged_to = Some(end);
        self.logged.push(Logged {
            xid: one.xid,
            end,
            records: one.records.clone(),
        });
    }

    pub(crate) const fn flush(&mut self) {
        self.flushed = self.insert;
    }

    /// The transaction becomes visible and is acknowledged.
    pub(crate) fn show(&mut self, place: usize) -> Option<Message> {
        let one = self.running.remove(place);
        apply(&mut self.visible, &one.records);
        (!one.captured.is_empty()).then(|| Message {
            op_id: op(Epoch::FIRST, one.xid),
            xid: one.xid,
            rows: one.captured,
        })
    }

    /// A crash takes back what was not flushed, acknowledged or not.
    pub(crate) fn crash(&mut self) {
        self.running.clear();
        self.logged.retain(|one| one.end <= self.flushed);
        self.insert = self.flushed;
        self.visible = self.first;
        for one in &self.logged {
            apply(&mut self.visible, &one.records);
        }
    }
}

impl Running {
    pub(crate) fn write_count(&self) -> usize {
        self.records.len()
    }

    pub(crate) fn has_truncated(&self) -> bool {
        let mut records = self.records.iter();
        records.any(|record| matches!(record, Record::Truncate { .. }))
    }

    fn has_written(&self, key: u8) -> bool {
        self.own(key).is_some()
    }

    /// The row before the transaction's last write of it.
    fn before(&self, id: u8) -> Option<Row> {
        self.records.iter().rev().find_map(|record| match record {
            Record::Write { key, before, .. } => before.filter(|_| *key == id),
            Record::Truncate { .. } => None,
        })
    }

    /// What the transaction has made of the row, if it has touched it.
    fn own(&self, id: u8) -> Option<Option<Row>> {
        self.records.iter().rev().find_map(|record| match record {
            Record::Write { key, after, .. } => (*key == id).then_some(*after),
            Record::Truncate { .. } => Some(None),
        })
    }
}

impl Logged {
    /// What the stream hands out of it.
    pub(crate) fn segments(&self, config: &Config) -> Vec<Segment> {
        let mut assembly = Assembly::default();
        for record in &self.records {
            match *record {
                Record::Write {
                    key: id,
                    lsn,
                    before,
                    after,
                    is_partial,
                } => assembly.change(Change {
                    lsn: Lsn::new(lsn),
                    before: before.map(|row| key(key_of(id, row, config))),
                    after: after.map(|row| {
                        let key = key(key_of(id, row, config));
                        (key, image(id, row, is_partial))
                    }),
                }),
                Record::Truncate { lsn } => assembly.truncate(Truncation {
                    lsn: Lsn::new(lsn),
                    tables: vec![(TableIndex::new(0), Emptied::Whole)],
                }),
            }
        }
        assembly.take()
    }

    pub(crate) fn has_truncated(&self) -> bool {
        let mut records = self.records.iter();
        records.any(|record| matches!(record, Record::Truncate { .. }))
    }
}

fn apply(rows: &mut ByKey<Option<Row>>, records: &[Record]) {
    for record in records {
        match record {
            Record::Write { key, after, .. } => rows[usize::from(*key)] = *after,
            Record::Truncate { .. } => *rows = ByKey::default(),
        }
    }
}

/// A transaction's id as the protocol has it.
pub(crate) const fn xid(id: u64) -> Xid {
    Xid::new(id)
}
