//! The hidden column and where it goes.
//!
//! Does not decide whether a statement is captured.

use bytes::Bytes;

use super::facts::TableFacts;
use super::{ClientColumns, HIDDEN_COLUMN, Insertion, Rewritten};
use crate::contract::quote_identifier;
use crate::decide::record::RECORD_BYTES_MAX;

/// A row whose wide columns take this many bytes as stored is deferred. Stored values may be
/// compressed, at most some 250 times: the record stays well under the server's limit of 1 GB, and
/// what of it is over [`RECORD_BYTES_MAX`] is cut off before it is sent.
const ROW_BYTES_MAX: usize = 1 << 20;

/// What to put in at one place of the text.
#[derive(Debug)]
pub(super) struct Addition {
    /// Byte offset of the statement's end.
    pub(super) at: usize,
    pub(super) text: String,
}

/// The text that goes behind a statement: its own RETURNING clause, or one more column of it. The
/// line break ends a comment that may stand last.
pub(super) fn addition(
    at: usize,
    reference: &str,
    table: &TableFacts,
    client_columns: ClientColumns,
) -> Addition {
    let begin = match client_columns {
        ClientColumns::None => "RETURNING",
        ClientColumns::Some(_) => ",",
    };
    let column = hidden_column(&quote_identifier(reference), table);
    Addition {
        at,
        text: format!("\n{begin} {column} AS \"{HIDDEN_COLUMN}\""),
    }
}

fn hidden_column(reference: &str, table: &TableFacts) -> String {
    let record = format!(
        "pg_catalog.record_send(ROW(pg_catalog.pg_current_wal_insert_lsn(),\
         pg_catalog.pg_current_xact_id(),pg_catalog.current_setting('synchronous_commit'),\
         {reference}.tableoid,{reference}.*))"
    );
    let wide = table.columns.iter().filter(|column| column.wide);
    // Column by column: the size of the row as a whole would have to put it together first.
    let sizes: Vec<String> = wide
        .map(|column| {
            let name = quote_identifier(&column.name);
            format!("COALESCE(pg_catalog.pg_column_size({reference}.{name}),0)")
        })
        .collect();
    if sizes.is_empty() {
        return record;
    }
    let sum = sizes.join("OPERATOR(pg_catalog.+)");
    format!(
        "CASE WHEN {sum} OPERATOR(pg_catalog.<) {ROW_BYTES_MAX} \
         THEN pg_catalog.substr({record},1,{RECORD_BYTES_MAX}) END"
    )
}

/// `text` with the additions, which are in order.
pub(super) fn rewritten(text: &str, additions: &[Addition]) -> Option<Rewritten> {
    let mut out = String::with_capacity(
        additions
            .iter()
            .fold(text.len(), |size, it| size.saturating_add(it.text.len())),
    );
    let mut insertions = Vec::with_capacity(additions.len());
    let (mut done, mut characters) = (0, 0_usize);
    for addition in additions {
        let before = text.get(done..addition.at)?;
        characters = characters.saturating_add(before.chars().count());
        out.push_str(before);
        out.push_str(&addition.text);
        insertions.push(Insertion {
            char_offset: characters,
            byte_offset: addition.at,
            text: addition.text.as_str().into(),
            chars: addition.text.chars().count(),
        });
        done = addition.at;
    }
    out.push_str(text.get(done..)?);
    Some(Rewritten {
        text: Bytes::from(out),
        insertions,
    })
}
