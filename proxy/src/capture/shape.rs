//! From a captured record to the contract's image.
//!
//! A record has its columns by place and type only; the catalog says what they are. Does not guess: a
//! record of any other shape gives nothing.

use protocol::contract::TableIndex;
use protocol::decide::record::CapturedRow;
use protocol::decide::statement::CatalogFacts;
use protocol::row::{Datum, Image, KeyError, RowKey};

/// Why a captured row is not what the catalog, as it was read last, makes one expect.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Misfit {
    /// The table that the statement named is no longer among the carried ones.
    #[error("table {0} is not carried")]
    NotCarried(u32),
    /// The row lies in a table made anew under the same name, or in a partition unknown so far.
    #[error("its row lies in table {0}, which is not known as a part of it")]
    Elsewhere(u32),
    /// It has another number of columns.
    #[error("it has {got} columns, not {expected}")]
    Width {
        /// As the catalog has them.
        expected: usize,
        /// As the row has them.
        got: usize,
    },
    /// A column has another type.
    #[error("column {column} is of type {got}, not {expected}")]
    Type {
        /// Its name.
        column: String,
        /// The type that the catalog has.
        expected: u32,
        /// The type that the row has.
        got: u32,
    },
    /// A column of the contract is not among the catalog's.
    #[error("it lacks a column of the contract")]
    Incomplete,
    /// Its key has no value.
    #[error("its key cannot be told")]
    Key(#[source] KeyError),
}

/// The row's key and its image, if the record has the catalog's shape. A record has the columns of
/// the table that the statement named, `named`; the row itself may lie in one of its partitions.
pub(super) fn image(
    facts: &CatalogFacts,
    named: u32,
    row: CapturedRow,
) -> Result<(RowKey, Image), Misfit> {
    let index_of = |oid| facts.tables.get(&oid).and_then(|it| it.table);
    let not_carried = || Misfit::NotCarried(named);
    let held = facts.tables.get(&named).ok_or_else(not_carried)?;
    let index: TableIndex = held.table.ok_or_else(not_carried)?;
    let table = facts.contract.table(index).ok_or_else(not_carried)?;
    if index_of(row.table_oid) != Some(index) {
        return Err(Misfit::Elsewhere(row.table_oid));
    }
    let (expected, got) = (held.columns.len(), row.columns.len());
    if expected != got {
        return Err(Misfit::Width { expected, got });
    }
    let mut data = vec![None; table.columns.len()];
    for (column, (type_oid, value)) in held.columns.iter().zip(row.columns) {
        if column.type_oid != type_oid {
            return Err(Misfit::Type {
                column: column.name.clone(),
                expected: column.type_oid,
                got: type_oid,
            });
        }
        if let Some(place) = column.place {
            let place = data.get_mut(place).ok_or(Misfit::Incomplete)?;
            *place = Some(value.map_or(Datum::Null, Datum::Binary));
        }
    }
    let data: Option<Vec<Datum>> = data.into_iter().collect();
    let image = Image::new(data.ok_or(Misfit::Incomplete)?);
    let key = RowKey::of(index, table, &image).map_err(Misfit::Key)?;
    Ok((key, image))
}
