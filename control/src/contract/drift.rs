//! Tables of the contract as both catalogs have them now, and the contract that follows from it.
//!
//! Does not decide when a changed table may be carried again: the reconciler knows how far the
//! stream is.

use protocol::contract::{Contract, Table, quote_identifier};
use protocol::revision::Epoch;
use tokio_postgres::Client;

use super::build::{Survey, examine};
use super::catalog;
use super::form::Catalogs;
use crate::error::ControlError;
use crate::side::Side;

/// What the catalogs say of one table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TableNow {
    /// Both sides have it, and agree on this.
    Agreed(Box<Table>),
    /// They do not, or it cannot be carried; why.
    Differs(String),
    /// Neither side has it any more.
    Gone,
}

/// Looks at these tables in both catalogs, the source's first. In the order of `tables`.
pub async fn look(
    source: &Client,
    target: &Client,
    tables: &[&Table],
) -> Result<Vec<TableNow>, ControlError> {
    // Unquoted, as `build` asks: versions differ in what they quote.
    let named = tables.iter();
    let named: Vec<String> = named
        .map(|table| format!("{}.{}", table.schema, table.relation))
        .collect();
    let here = catalog::read(source, Side::Source, Some(&named)).await?;
    let there = catalog::read(target, Side::Target, Some(&named)).await?;
    let catalogs = Catalogs {
        source: &here,
        target: &there,
    };
    let mut unheard = Survey::empty();
    let now = tables.iter().map(|table| {
        let place = (table.schema.clone(), table.relation.clone());
        match (here.tables.get(&place), there.tables.get(&place)) {
            (None, None) => TableNow::Gone,
            (None, Some(_)) => TableNow::Differs(
                "the source has no such table any more; drop or rename the target's too, or undo \
                 it at the source"
                    .to_owned(),
            ),
            (Some(_), Some(theirs)) if !theirs.is_writable => TableNow::Differs(
                "the role may not write the target's; GRANT SELECT, INSERT, UPDATE, DELETE, \
                 TRUNCATE on it there"
                    .to_owned(),
            ),
            (Some(found), _) => match examine(catalogs, &place, found, &mut unheard) {
                Ok(table) => TableNow::Agreed(Box::new(table)),
                Err(unfit) => TableNow::Differs(unfit.reason()),
            },
        }
    });
    Ok(now.collect())
}

/// A table of a publication.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// Its OID.
    pub oid: u32,
    /// Its schema, unquoted.
    pub schema: String,
    /// Its name, unquoted.
    pub relation: String,
}

/// The tables of one side's publication, under the names that they have now.
pub async fn published(
    client: &Client,
    side: Side,
    publication: &str,
) -> Result<Vec<Published>, ControlError> {
    let sql = "SELECT c.oid, n.nspname::text, c.relname::text \
               FROM pg_publication p JOIN pg_publication_rel r ON r.prpubid = p.oid \
               JOIN pg_class c ON c.oid = r.prrelid JOIN pg_namespace n ON n.oid = c.relnamespace \
               WHERE p.pubname = $1";
    let rows = client.query(sql, &[&publication]).await;
    let rows = rows.map_err(|error| ControlError::query(side, "read the publication", &error))?;
    let published = rows.iter().map(|row| Published {
        oid: row.get(0),
        schema: row.get(1),
        relation: row.get(2),
    });
    Ok(published.collect())
}

/// Takes a table that was made anew into the publication of one side again. Its rows from before
/// are not in the stream.
pub async fn publish(
    client: &Client,
    side: Side,
    publication: &str,
    table: &Table,
) -> Result<(), ControlError> {
    let sql = format!(
        "ALTER PUBLICATION {} ADD TABLE ONLY {}.{}",
        quote_identifier(publication),
        quote_identifier(&table.schema),
        quote_identifier(&table.relation)
    );
    client
        .batch_execute(&sql)
        .await
        .map_err(|error| ControlError::query(side, format!("publish {}", table.name), &error))
}

/// Puts `after` in the place of `before` on both sides, the authority first; whether it was still
/// `before`. The target's is a copy that may lag.
pub async fn replace(
    source: &Client,
    target: &Client,
    epoch: Epoch,
    [before, after]: [&Contract; 2],
) -> Result<bool, ControlError> {
    let json = serde_json::to_string(after).map_err(|error| ControlError::Stored {
        side: Side::Source,
        what: "a contract",
        reason: error.to_string(),
    })?;
    let epoch = i32::from(epoch.number());
    let sql = "UPDATE segue.phase SET contract = $1::text::jsonb, contract_hash = $2 \
               WHERE epoch = $3 AND contract_hash = $4";
    let doing = "replace the contract";
    let replaced = source
        .execute(sql, &[&json, &after.hash(), &epoch, &before.hash()])
        .await
        .map_err(|error| ControlError::query(Side::Source, doing, &error))?;
    if replaced == 0 {
        return Ok(false);
    }
    let sql = "UPDATE segue.phase SET contract = $1::text::jsonb, contract_hash = $2 \
               WHERE epoch = $3";
    target
        .execute(sql, &[&json, &after.hash(), &epoch])
        .await
        .map_err(|error| ControlError::query(Side::Target, doing, &error))?;
    Ok(true)
}

/// `before` with these tables as they are now (none: it is gone), under the next version.
pub fn next(before: &Contract, changes: &[(String, Option<Table>)]) -> Contract {
    let mut after = before.clone();
    after.version = after.version.saturating_add(1);
    for (name, now) in changes {
        after.tables.retain(|table| table.name != *name);
        after.tables.extend(now.clone());
    }
    after.tables.sort_by(|a, b| a.name.cmp(&b.name));
    after
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(name: &str, relation: &str) -> Table {
        Table {
            name: name.to_owned(),
            schema: "public".to_owned(),
            relation: relation.to_owned(),
            columns: Vec::new(),
            key: Vec::new(),
        }
    }

    #[test]
    fn the_next_contract_has_what_is_there_now_in_order() {
        let before = Contract {
            version: 4,
            tables: vec![table("a", "a"), table("b", "b"), table("c", "c")],
        };
        let changes = [
            ("a".to_owned(), None),
            ("b".to_owned(), Some(table("d", "d"))),
            ("c".to_owned(), Some(table("c", "new"))),
        ];
        let after = next(&before, &changes);
        assert_eq!(after.version, 5);
        assert_eq!(after.tables, [table("c", "new"), table("d", "d")]);
    }
}
