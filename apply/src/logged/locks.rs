//! Keeping early writers away from the keys of a batch (rule 1), and what the target holds of them.
//!
//! Two ways. Usually each key's entry is locked, inserted if absent, and goes or stays at the end. A
//! log that is behind brings versions that need no entry any more: all early writers are shut out
//! together for as long as such a batch takes, the entries that are there are read, and none is made.
//! Does not decide what becomes of an entry.

use std::collections::HashMap;

use bytes::Bytes;
use control::schema::ROWS_LOCK;
use protocol::decide::floor::Floor;
use protocol::decide::verdict::Entry;
use protocol::decide::working_set::Net;
use protocol::reader::{ReadError, Reader};
use protocol::row::RowKey;

use super::{LoggedError, LoggedWriter, SourceTransaction, entries, statements};
use crate::array::{Array, element};
use crate::connection::{Parameter, ResultSet};

/// Early writers wait for 200 ms at most; so many rows take a fraction of that.
const SHUT_OUT_ROWS_MAX: usize = 5_000;

/// How early writers are kept away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Locking {
    /// From each key by its entry.
    Entries,
    /// From everything.
    All,
}

/// Where an entry lies that was read under [`Locking::All`]: nobody moves it meanwhile.
type Place = [u8; 6];

/// The entries of a batch's keys.
#[derive(Debug, Default)]
pub(super) struct Held {
    /// Those that were there before.
    pub(super) entries: HashMap<RowKey, Entry>,
    /// Where they lie; none under [`Locking::Entries`].
    places: Option<HashMap<RowKey, Place>>,
}

impl LoggedWriter {
    /// What `batch` asks for.
    pub(super) fn locking(
        &self,
        batch: &[SourceTransaction],
        floor: &Floor,
    ) -> Result<Locking, LoggedError> {
        let rows: usize = batch.iter().map(|one| one.writes.len()).sum();
        if rows > SHUT_OUT_ROWS_MAX {
            return Ok(Locking::Entries);
        }
        for one in batch {
            for write in &one.writes {
                let rev = self.stream.epochs.revision(write.lsn)?;
                if floor.needs_entry(rev, Some(one.xid)) {
                    return Ok(Locking::Entries);
                }
            }
        }
        Ok(Locking::All)
    }

    /// Adds the locks; [`Self::held`] takes the results.
    pub(super) fn queue_locking(
        &mut self,
        keys: &[RowKey],
        locking: Locking,
    ) -> Result<(), LoggedError> {
        if locking == Locking::Entries {
            return self.queue_locks(keys);
        }
        let rows_lock = Parameter::Binary(&ROWS_LOCK.to_be_bytes());
        self.queue(statements::SHUT_OUT, &[rows_lock])?;
        let (tables, keys) = self.key_arrays(keys)?;
        let parameters = [Parameter::Binary(&tables), Parameter::Binary(&keys)];
        self.queue(statements::HELD, &parameters)
    }

    /// What came of [`Self::queue_locking`].
    pub(super) fn held(
        &self,
        keys: &[RowKey],
        locking: Locking,
        results: &mut impl Iterator<Item = ResultSet>,
    ) -> Result<Held, LoggedError> {
        if locking == Locking::Entries {
            let locked = results.next().unwrap_or_default();
            let found = entries::entries(&self.contract, locked.rows)?.into_iter();
            let entries = found.filter_map(|(key, entry)| Some((key, entry?)));
            return Ok(Held {
                entries: entries.collect(),
                places: None,
            });
        }
        let found = results.nth(1).unwrap_or_default();
        let mut held = Held {
            entries: HashMap::with_capacity(found.rows.len()),
            places: None,
        };
        let mut places = HashMap::with_capacity(found.rows.len());
        for row in found.rows {
            let mut columns = row.into_iter();
            let number = number(columns.next().flatten())?;
            let place = place(columns.next().flatten())?;
            let key = usize::try_from(number - 1).ok();
            let key = key.and_then(|number| keys.get(number));
            if let (Some(key), Some(entry)) = (key, entries::entry(columns)?) {
                held.entries.insert(key.clone(), entry);
                places.insert(key.clone(), place);
            }
        }
        held.places = Some(places);
        Ok(held)
    }

    /// Adds the removal of entries that are not needed.
    pub(super) fn queue_dropped(&mut self, net: &Net, held: &Held) -> Result<(), LoggedError> {
        let Some(places) = &held.places else {
            return self.queue_drops(&net.dropped);
        };
        let mut array = Array::of(element::TID);
        let dropped = net.dropped.iter().filter_map(|key| places.get(key));
        let count = dropped.map(|place| array.push(place)).count();
        if count == 0 {
            return Ok(());
        }
        self.queue(
            statements::DROP_PLACES,
            &[Parameter::Binary(&array.finish())],
        )
    }
}

fn number(column: Option<Bytes>) -> Result<i64, ReadError> {
    Reader::new(entries::required(column)?).i64("number of a key")
}

fn place(column: Option<Bytes>) -> Result<Place, ReadError> {
    let bytes = entries::required(column)?;
    bytes.as_ref().try_into().map_err(|_| ReadError::Invalid {
        field: "tid length",
        value: i64::try_from(bytes.len()).unwrap_or(i64::MAX),
    })
}
