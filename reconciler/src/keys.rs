//! All keys of a table, through a cursor of the transaction under way. Does not read rows.

use apply::connection::{Connection, ConnectionError, Format};
use protocol::contract::{Form, Table, TableIndex, quote_identifier};
use protocol::row::{Datum, Image, RowKey};

use crate::error::ReconcilerError;

/// Keys fetched at once.
const KEYS_MAX: usize = 5_000;

/// Whether a key read at the target is one of the source's: where OIDs are inside, it is not.
pub(crate) fn are_portable(table: &Table) -> bool {
    let mut columns = key_columns(table);
    columns.all(|(_, form)| matches!(form, Form::Plain | Form::Text))
}

/// Declares the cursor.
pub(crate) fn cursor(table: &Table) -> String {
    let names = table
        .key
        .iter()
        .filter_map(|place| table.columns.get(*place));
    let names: Vec<String> = names.map(|column| quote_identifier(&column.name)).collect();
    format!(
        "DECLARE keys NO SCROLL CURSOR FOR SELECT {} FROM {}",
        names.join(", "),
        table.name
    )
}

/// Some more keys; none when all have been read.
pub(crate) async fn fetch(
    connection: &mut Connection,
    index: TableIndex,
    table: &Table,
) -> Result<Vec<RowKey>, ReconcilerError> {
    let is_text: Vec<bool> = key_columns(table)
        .map(|(_, form)| *form == Form::Text)
        .collect();
    let formats = is_text
        .iter()
        .map(|text| if *text { Format::Text } else { Format::Binary });
    let formats: Vec<Format> = formats.collect();
    let fetch = format!("FETCH {KEYS_MAX} FROM keys");
    connection
        .prepare("", &fetch)
        .map_err(ConnectionError::from)?;
    connection
        .execute("", &[], &formats)
        .map_err(ConnectionError::from)?;
    connection.sync();
    connection.flush().await?;
    let reply = connection.reply().await?;
    if let Some(error) = reply.error {
        return Err(ConnectionError::server(connection.side(), error).into());
    }
    let rows = reply.results.into_iter().flat_map(|result| result.rows);
    let mut keys = Vec::new();
    for row in rows {
        let mut image = vec![Datum::Null; table.columns.len()];
        for ((place, value), is_text) in table.key.iter().zip(row).zip(&is_text) {
            if let (Some(column), Some(value)) = (image.get_mut(*place), value) {
                *column = if *is_text {
                    Datum::Text(value)
                } else {
                    Datum::Binary(value)
                };
            }
        }
        keys.push(RowKey::of(index, table, &Image::new(image))?);
    }
    Ok(keys)
}

fn key_columns(table: &Table) -> impl Iterator<Item = (usize, &Form)> {
    let places = table.key.iter();
    places.filter_map(|place| Some((*place, &table.columns.get(*place)?.form)))
}
