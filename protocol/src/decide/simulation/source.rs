//! The source: transactions over a few keys, their log, and the gap between logged and visible.
//!
//! Does not know of the mirror's faults: what a transaction hands to it is in [`Ended`].

use std::collections::BTreeMap;

use bytes::Bytes;
use rand::Rng;
use rand::rngs::StdRng;

use crate::contract::TableIndex;
use crate::decide::assembly::Change;
use crate::lsn::Lsn;
use crate::revision::{Epoch, Revision};
use crate::row::{Datum, Image, RowKey};
use crate::xid::{Snapshot, Xid};

pub(super) const KEYS: u8 = 3;

/// What the mirror is given of one row: `pg_current_wal_insert_lsn() - 1` and the image.
pub(super) type EarlyRow = (u8, Revision, Option<Image>);

pub(super) fn key(id: u8) -> RowKey {
    RowKey::from_stored(TableIndex::new(0), Bytes::copy_from_slice(&[id]))
}

pub(super) fn id(key: &RowKey) -> u8 {
    key.bytes()[0]
}

pub(super) fn image(id: u8, short: u8, long: Option<u8>) -> Image {
    let value = |value: u8| Datum::Binary(Bytes::copy_from_slice(&[value]));
    let long = long.map_or(Datum::Unchanged, value);
    Image::new(vec![value(id), value(short), long])
}

pub(super) fn long_of(image: &Image) -> u8 {
    match &image.columns()[2] {
        Datum::Binary(bytes) => bytes[0],
        Datum::Null | Datum::Text(_) | Datum::Unchanged => panic!("the source holds whole rows"),
    }
}

/// A transaction whose commit record is in the log.
#[derive(Debug, Clone)]
pub(super) struct Logged {
    pub(super) xid: Xid,
    pub(super) end: u64,
    pub(super) changes: Vec<Change>,
    rows: BTreeMap<u8, Option<Image>>,
}

#[derive(Debug)]
struct Running {
    xid: Xid,
    waits_for_flush: bool,
    changes: Vec<Change>,
    rows: BTreeMap<u8, Option<Image>>,
    captured: BTreeMap<u8, (Revision, Option<Image>)>,
    /// Written, and its RETURNING not evaluated yet.
    returning: Option<u8>,
    logged_to: Option<u64>,
}

/// What the client's COMMIT hands to the mirror.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) xid: Xid,
    pub(super) rows: Vec<EarlyRow>,
}

#[derive(Debug)]
pub(super) struct Source {
    pub(super) insert: u64,
    pub(super) flushed: u64,
    /// Ends of all records: where a stream may stand.
    pub(super) boundaries: Vec<u64>,
    next_xid: u64,
    pub(super) visible: BTreeMap<u8, Image>,
    running: Vec<Running>,
    pub(super) logged: Vec<Logged>,
    /// Transactions that may still begin.
    pub(super) budget: u32,
}

impl Source {
    pub(super) fn new(budget: u32) -> Self {
        Self {
            insert: 8_192_100,
            flushed: 8_192_100,
            boundaries: Vec::new(),
            next_xid: 100,
            visible: BTreeMap::new(),
            running: Vec::new(),
            logged: Vec::new(),
            budget,
        }
    }

    pub(super) fn is_idle(&self) -> bool {
        self.budget == 0 && self.running.is_empty() && self.flushed == self.insert
    }

    pub(super) fn snapshot(&self) -> Snapshot {
        let running: Vec<u64> = self.running.iter().map(|one| one.xid.as_u64()).collect();
        let xmin = running.iter().min().copied().unwrap_or(self.next_xid);
        let list: Vec<String> = running.iter().map(u64::to_string).collect();
        let text = format!("{xmin}:{}:{}", self.next_xid, list.join(","));
        Snapshot::parse(&text).unwrap()
    }

    /// What a snapshot would be that took "logged" for "visible" (rule 7's broken variant).
    pub(super) fn hasty_snapshot(&self) -> Snapshot {
        Snapshot::parse(&format!("{0}:{0}:", self.next_xid)).unwrap()
    }

    pub(super) fn burn_xid(&mut self) -> Xid {
        self.next_xid += 1;
        Xid::new(self.next_xid - 1)
    }

    fn record(&mut self, rng: &mut StdRng) -> u64 {
        let start = self.insert;
        self.insert += rng.random_range(8..60);
        // Never where a page header ends: positions there mean the page's beginning.
        while matches!(self.insert % 8192, 24 | 40) {
            self.insert += 1;
        }
        self.boundaries.push(self.insert);
        start
    }

    pub(super) fn flush(&mut self) {
        self.flushed = self.insert;
    }

    /// One step of one transaction; what was acknowledged to the client comes back.
    pub(super) fn step(&mut self, rng: &mut StdRng) -> Option<Ended> {
        let begins = self.running.len() < 3 && rng.random_bool(0.3);
        if self.budget > 0 && (self.running.is_empty() || begins) {
            self.budget -= 1;
            let xid = self.burn_xid();
            self.running.push(Running {
                xid,
                waits_for_flush: rng.random_bool(0.85),
                changes: Vec::new(),
                rows: BTreeMap::new(),
                captured: BTreeMap::new(),
                returning: None,
                logged_to: None,
            });
            return None;
        }
        if self.running.is_empty() || rng.random_bool(0.15) {
            self.flush();
            return None;
        }
        let place = rng.random_range(0..self.running.len());
        let one = &self.running[place];
        if let Some(end) = one.logged_to {
            return self.end(place, end);
        }
        if let Some(id) = one.returning {
            self.evaluate_returning(place, id);
        } else if one.changes.len() < 4 && rng.random_bool(0.6) {
            self.write(place, rng);
        } else if one.changes.is_empty() || rng.random_bool(0.1) {
            self.running.remove(place);
        } else {
            self.record(rng);
            self.log(place);
        }
        None
    }

    /// Whether the log ends a transaction with the version of a row that the mirror was given.
    pub(super) fn is_last(&self, xid: Xid, id: u8, rev: Revision) -> bool {
        let mut logged = self.logged.iter().filter(|one| one.xid == xid);
        let changes = logged.next().map(|one| &one.changes);
        let of_row = changes.into_iter().flatten().filter(|change| {
            let after = change.after.as_ref().map(|(key, _)| key);
            after.or(change.before.as_ref()) == Some(&key(id))
        });
        let last = of_row.map(|change| change.lsn).max();
        last.is_some_and(|lsn| Revision::logged(Epoch::FIRST, lsn).is_ok_and(|last| last <= rev))
    }

    fn log(&mut self, place: usize) {
        let one = &mut self.running[place];
        one.logged_to = Some(self.insert);
        self.logged.push(Logged {
            xid: one.xid,
            end: self.insert,
            changes: one.changes.clone(),
            rows: one.rows.clone(),
        });
    }

    /// A transaction becomes visible; its locks go with it.
    fn end(&mut self, place: usize, end: u64) -> Option<Ended> {
        if self.running[place].waits_for_flush && self.flushed < end {
            return None;
        }
        let one = self.running.remove(place);
        show(&mut self.visible, &one.rows);
        let rows = one.captured.into_iter();
        // What a crash can take back is left to the stream (rule 12).
        (one.waits_for_flush).then(|| Ended {
            xid: one.xid,
            rows: rows.map(|(id, (rev, row))| (id, rev, row)).collect(),
        })
    }

    fn evaluate_returning(&mut self, place: usize, id: u8) {
        let one = &mut self.running[place];
        one.returning = None;
        let rev = Revision::early(Epoch::FIRST, Lsn::new(self.insert)).unwrap();
        one.captured.insert(id, (rev, one.rows[&id].clone()));
    }

    fn write(&mut self, place: usize, rng: &mut StdRng) {
        let id = rng.random_range(0..KEYS);
        let others = self.running.iter().enumerate();
        let is_locked = others
            .filter(|(other, _)| *other != place)
            .any(|(_, other)| other.rows.contains_key(&id));
        if is_locked {
            return;
        }
        let before = match self.running[place].rows.get(&id) {
            Some(own) => own.clone(),
            None => self.visible.get(&id).cloned(),
        };
        let (short, long) = (rng.random_range(0..4), rng.random_range(0..4));
        let (after, logged) = match &before {
            Some(_) if rng.random_bool(0.25) => (None, None),
            // A long value that the UPDATE did not touch is not in the log.
            Some(row) if rng.random_bool(0.5) => {
                let whole = image(id, short, Some(long_of(row)));
                (Some(whole), Some(image(id, short, None)))
            }
            Some(_) | None => {
                let whole = image(id, short, Some(long));
                (Some(whole.clone()), Some(whole))
            }
        };
        let lsn = self.record(rng);
        if rng.random_bool(0.5) {
            self.record(rng);
        }
        let one = &mut self.running[place];
        one.changes.push(Change {
            lsn: Lsn::new(lsn),
            before: before.map(|_| key(id)),
            after: logged.map(|image| (key(id), image)),
        });
        one.rows.insert(id, after);
        // A trigger's write is not captured.
        one.returning = rng.random_bool(0.85).then_some(id);
    }

    /// A crash takes back what was not flushed, acknowledged or not.
    pub(super) fn crash(&mut self) {
        self.running.clear();
        self.logged.retain(|one| one.end <= self.flushed);
        self.boundaries.retain(|end| *end <= self.flushed);
        self.insert = self.flushed;
        self.visible.clear();
        for one in &self.logged {
            show(&mut self.visible, &one.rows);
        }
    }
}

fn show(visible: &mut BTreeMap<u8, Image>, rows: &BTreeMap<u8, Option<Image>>) {
    for (id, row) in rows {
        match row {
            Some(row) => visible.insert(*id, row.clone()),
            None => visible.remove(id),
        };
    }
}
