//! Entries, the mirror's account and owed rows: set-based statements on `segue`'s own tables.

use std::collections::HashMap;

use bytes::{Bytes, BytesMut};
use protocol::contract::Contract;
use protocol::decide::drop_reason::DropReason;
use protocol::decide::statement::DeferReason;
use protocol::decide::verdict::{Entry, EntryKind, Path, Proof};
use protocol::decide::working_set::{MirrorOutcome, Net, OwedRow};
use protocol::op_id::OpId;
use protocol::reader::{ReadError, Reader};
use protocol::revision::Revision;
use protocol::row::RowKey;
use protocol::xid::Xid;

use super::{LoggedError, LoggedWriter, statements};
use crate::array::{Array, element};
use crate::connection::Parameter;

impl LoggedWriter {
    pub(super) fn queue_locks(&mut self, keys: &[RowKey]) -> Result<(), LoggedError> {
        let (tables, keys) = self.key_arrays(keys)?;
        let parameters = [Parameter::Binary(&tables), Parameter::Binary(&keys)];
        self.queue(statements::LOCK, &parameters)
    }

    pub(super) fn queue_outcomes(&mut self, ops: &[OpId]) -> Result<(), LoggedError> {
        let mut ids = Array::of(element::UUID);
        for op in ops {
            ids.push(&op.to_bytes());
        }
        self.queue(statements::OPS, &[Parameter::Binary(&ids.finish())])
    }

    /// Entries that stay and entries that go.
    pub(super) fn queue_entries(&mut self, net: &Net) -> Result<(), LoggedError> {
        self.queue_kept(&net.kept)?;
        self.queue_drops(&net.dropped)
    }

    pub(super) fn queue_drops(&mut self, dropped: &[RowKey]) -> Result<(), LoggedError> {
        if dropped.is_empty() {
            return Ok(());
        }
        let (tables, keys) = self.key_arrays(dropped)?;
        let parameters = [Parameter::Binary(&tables), Parameter::Binary(&keys)];
        self.queue(statements::DROP, &parameters)
    }

    pub(super) fn queue_kept(&mut self, kept: &[(RowKey, Entry)]) -> Result<(), LoggedError> {
        if kept.is_empty() {
            return Ok(());
        }
        let keys: Vec<RowKey> = kept.iter().map(|(key, _)| key.clone()).collect();
        let (tables, keys) = self.key_arrays(&keys)?;
        let mut revs = Array::of(element::INT8);
        let mut ops = Array::of(element::UUID);
        let mut xids = Array::of(element::INT8);
        let mut flags = [(); 3].map(|()| Array::of(element::BOOL));
        for (_, entry) in kept {
            revs.push(&entry.rev.packed().to_be_bytes());
            let op = entry.op_id.map(OpId::to_bytes);
            ops.push_option(op.as_ref().map(<[u8; 16]>::as_slice));
            let xid = entry.xid.map(|xid| xid.as_u64().to_be_bytes());
            xids.push_option(xid.as_ref().map(<[u8; 8]>::as_slice));
            let states = [
                entry.path == Path::Logged,
                entry.proof == Proof::Verified,
                entry.kind == EntryKind::Tombstone,
            ];
            for (array, state) in flags.iter_mut().zip(states) {
                array.push(&[u8::from(state)]);
            }
        }
        let rest = [revs, ops, xids].into_iter().chain(flags);
        let arrays: Vec<BytesMut> = [tables, keys]
            .into_iter()
            .chain(rest.map(Array::finish))
            .collect();
        let version = self.contract.version.to_be_bytes();
        let mut parameters: Vec<Parameter<'_>> = arrays
            .iter()
            .map(|array| Parameter::Binary(array))
            .collect();
        parameters.push(Parameter::Binary(&version));
        self.queue(statements::KEEP, &parameters)
    }

    pub(super) fn queue_owed(&mut self, owed: &[OwedRow]) -> Result<(), LoggedError> {
        if owed.is_empty() {
            return Ok(());
        }
        // The same key may be owed to several transactions of a batch: the last one counts.
        let last: HashMap<&RowKey, &OwedRow> = owed.iter().map(|row| (&row.key, row)).collect();
        let keys: Vec<RowKey> = last.keys().map(|key| (*key).clone()).collect();
        let (tables, key_array) = self.key_arrays(&keys)?;
        let mut whys = Array::of(element::TEXT);
        let mut xids = Array::of(element::INT8);
        for row in keys.iter().filter_map(|key| last.get(key)) {
            whys.push(row.why.label().as_bytes());
            let xid = row.xid.map(|xid| xid.as_u64().to_be_bytes());
            xids.push_option(xid.as_ref().map(<[u8; 8]>::as_slice));
        }
        let (whys, xids) = (whys.finish(), xids.finish());
        let parameters = [
            Parameter::Binary(&tables),
            Parameter::Binary(&key_array),
            Parameter::Binary(&whys),
            Parameter::Binary(&xids),
        ];
        self.queue(statements::OWE, &parameters)
    }

    pub(super) fn queue_settled(&mut self, keys: &[RowKey]) -> Result<(), LoggedError> {
        let (tables, keys) = self.key_arrays(keys)?;
        let parameters = [Parameter::Binary(&tables), Parameter::Binary(&keys)];
        self.queue(statements::SETTLE, &parameters)
    }

    pub(super) fn key_arrays(&self, keys: &[RowKey]) -> Result<(BytesMut, BytesMut), LoggedError> {
        let mut tables = Array::of(element::TEXT);
        let mut bytes = Array::of(element::BYTEA);
        for key in keys {
            tables.push(super::table_of(&self.contract, key)?.name.as_bytes());
            bytes.push(key.bytes());
        }
        Ok((tables.finish(), bytes.finish()))
    }
}

/// The locked entries; none where there was none before the lock.
pub(super) fn entries(
    contract: &Contract,
    rows: Vec<Vec<Option<Bytes>>>,
) -> Result<HashMap<RowKey, Option<Entry>>, LoggedError> {
    rows.into_iter()
        .map(|row| {
            let mut columns = row.into_iter();
            let table = required(columns.next().flatten())?;
            let key = required(columns.next().flatten())?;
            let key = key_of(contract, &table, key)?;
            Ok((key, entry(columns)?))
        })
        .collect()
}

/// A key from its stored parts.
pub(super) fn key_of(
    contract: &Contract,
    table: &Bytes,
    key: Bytes,
) -> Result<RowKey, LoggedError> {
    let name = String::from_utf8_lossy(table);
    match contract.find_name(&name) {
        Some((index, _)) => Ok(RowKey::from_stored(index, key)),
        None => Err(LoggedError::UnknownTable {
            name: name.into_owned(),
        }),
    }
}

pub(super) fn entry(
    mut columns: impl Iterator<Item = Option<Bytes>>,
) -> Result<Option<Entry>, LoggedError> {
    let rev = integer(required(columns.next().flatten())?)?;
    let op_id = columns.next().flatten();
    let xid = columns.next().flatten();
    let from_log = flag(required(columns.next().flatten())?)?;
    let verified = flag(required(columns.next().flatten())?)?;
    let tombstone = flag(required(columns.next().flatten())?)?;
    if rev == 0 {
        return Ok(None);
    }
    Ok(Some(Entry {
        rev: Revision::from_packed(rev)?,
        op_id: op_id.map(|bytes| op(&bytes)).transpose()?,
        xid: xid
            .map(integer)
            .transpose()?
            .map(|xid| Xid::new(xid.cast_unsigned())),
        path: if from_log { Path::Logged } else { Path::Early },
        proof: if verified {
            Proof::Verified
        } else {
            Proof::Unverified
        },
        kind: if tombstone {
            EntryKind::Tombstone
        } else {
            EntryKind::Row
        },
    }))
}

/// What the proxies said, by operation.
pub(super) fn outcomes(
    rows: &[Vec<Option<Bytes>>],
) -> Result<HashMap<OpId, MirrorOutcome>, LoggedError> {
    rows.iter()
        .map(|row| {
            let mut columns = row.iter().cloned();
            let id = op(&required(columns.next().flatten())?)?;
            let outcome = required(columns.next().flatten())?;
            let reason = columns.next().flatten().unwrap_or_default();
            let reason = std::str::from_utf8(&reason).unwrap_or_default();
            let outcome = match outcome.as_ref() {
                b"accepted" => MirrorOutcome::Accepted,
                b"deferred" => MirrorOutcome::Deferred(DeferReason::named(reason)),
                _ => MirrorOutcome::Dropped(DropReason::named(reason)),
            };
            Ok((id, outcome))
        })
        .collect()
}

pub(super) fn required(column: Option<Bytes>) -> Result<Bytes, ReadError> {
    column.ok_or(ReadError::Short {
        field: "column",
        missing: 1,
    })
}

fn integer(column: Bytes) -> Result<i64, ReadError> {
    Reader::new(column).i64("bigint")
}

fn flag(column: Bytes) -> Result<bool, ReadError> {
    Ok(Reader::new(column).u8("boolean")? != 0)
}

fn op(bytes: &Bytes) -> Result<OpId, ReadError> {
    let bytes = bytes.as_ref().try_into().map_err(|_| ReadError::Invalid {
        field: "uuid length",
        value: i64::try_from(bytes.len()).unwrap_or(i64::MAX),
    })?;
    Ok(OpId::from_bytes(bytes))
}
