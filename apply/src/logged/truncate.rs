//! TRUNCATE as a barrier (rule 11): rows whose entry is newer stay, and no early write of an older
//! version enters the table any more.

use std::sync::Arc;

use bytes::Bytes;
use protocol::contract::{TableIndex, quote_identifier};
use protocol::decide::assembly::{Emptied, Truncation};
use protocol::revision::Revision;
use protocol::row::{Image, RowKey};

use super::{LoggedError, LoggedWriter};

impl LoggedWriter {
    /// Empties the tables within the transaction that was begun.
    pub async fn truncate(&mut self, truncation: &Truncation) -> Result<(), LoggedError> {
        let floor = self.stream.epochs.revision(truncation.lsn)?;
        for (table, emptied) in &truncation.tables {
            self.empty(*table, emptied, floor).await?;
        }
        Ok(())
    }

    async fn empty(
        &mut self,
        index: TableIndex,
        emptied: &Emptied,
        floor: Revision,
    ) -> Result<(), LoggedError> {
        let contract = Arc::clone(&self.contract);
        let Some(table) = contract.table(index) else {
            return Ok(());
        };
        let name = quote_literal(&table.name);
        let relation = match emptied {
            Emptied::Whole => table.name.clone(),
            Emptied::Leaf { schema, relation } => {
                format!(
                    "{}.{}",
                    quote_identifier(schema),
                    quote_identifier(relation)
                )
            }
        };
        // Early writers hold entries while they write rows; the lock waits for those and keeps
        // others out until the floor stands.
        self.simple(&format!(
            "LOCK TABLE {relation} IN SHARE ROW EXCLUSIVE MODE"
        ))
        .await?;
        let newer = format!(
            r#"SELECT encode(key, 'hex') FROM segue.row_rev
               WHERE "table" = {name} AND rev > {floor} AND NOT tombstone FOR UPDATE"#
        );
        let newer = self.connection.query_simple(&newer).await?;
        let keys: Vec<RowKey> = newer
            .into_iter()
            .filter_map(|row| row.into_iter().next().flatten())
            .map(|hex| RowKey::from_stored(index, from_hex(&hex)))
            .collect();
        let survivors = self.read_rows(&keys).await?;
        self.simple(&format!("DELETE FROM {relation}")).await?;
        for (key, image) in &survivors {
            self.queue_upsert(key, image)?;
        }
        self.run().await?;
        self.simple(&format!(
            r#"INSERT INTO segue.table_floor AS held ("table", floor) VALUES ({name}, {floor})
               ON CONFLICT ("table") DO UPDATE SET floor = greatest(held.floor, excluded.floor);
               DELETE FROM segue.row_rev WHERE "table" = {name} AND rev <= {floor}"#
        ))
        .await
    }

    /// The target's rows with these keys.
    async fn read_rows(&mut self, keys: &[RowKey]) -> Result<Vec<(RowKey, Image)>, LoggedError> {
        for key in keys {
            self.queue_select(key)?;
        }
        let results = self.run().await?;
        let mut found = Vec::new();
        for (key, result) in keys.iter().zip(results) {
            if let Some(columns) = result.rows.into_iter().next() {
                found.push((key.clone(), self.rows.image(key.table(), columns)?));
            }
        }
        Ok(found)
    }
}

/// `text` as an SQL literal under `standard_conforming_strings`.
pub(super) fn quote_literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

fn from_hex(hex: &Bytes) -> Bytes {
    let digit = |letter: u8| char::from(letter).to_digit(16).unwrap_or(0);
    hex.chunks_exact(2)
        .filter_map(|pair| match pair {
            [high, low] => u8::try_from(digit(*high) * 16 + digit(*low)).ok(),
            _ => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hexadecimal_is_read_back() {
        assert_eq!(from_hex(&Bytes::from_static(b"00ff0a")), [0, 255, 10][..]);
        assert_eq!(quote_literal("public.\"o'x\""), "'public.\"o''x\"'");
    }
}
