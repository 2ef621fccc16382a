//! From a captured record to the contract's image.
//!
//! A record has its columns by place and type only; the catalog says what they are. Does not guess: a record of any other shape gives nothing.

use protocol::contract::{Table, TableIndex};
use protocol::decide::record::CapturedRow;
use protocol::decide::statement::CatalogFacts;
use protocol::row::{Datum, Image};

/// The contract's table and the image; nothing if the record's shape is not the catalog's. A record
/// has the columns of the table that the statement named, `named`; the row itself may lie in one of
/// its partitions.
pub(super) fn image(
    facts: &CatalogFacts,
    named: u32,
    row: CapturedRow,
) -> Option<(TableIndex, &Table, Image)> {
    let held = facts.tables.get(&named)?;
    let index = held.table?;
    let table = facts.contract.table(index)?;
    let partition = facts.tables.get(&row.table_oid);
    // One that the catalog does not know is a table made anew under the same name.
    let is_elsewhere = partition.is_none_or(|partition| partition.table != Some(index));
    if is_elsewhere || held.columns.len() != row.columns.len() {
        return None;
    }
    let mut data = vec![None; table.columns.len()];
    for (column, (type_oid, value)) in held.columns.iter().zip(row.columns) {
        if column.type_oid != type_oid {
            return None;
        }
        if let Some(place) = column.place {
            *data.get_mut(place)? = Some(value.map_or(Datum::Null, Datum::Binary));
        }
    }
    let data: Option<Vec<Datum>> = data.into_iter().collect();
    Some((index, table, Image::new(data?)))
}
