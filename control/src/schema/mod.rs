//! The `segue` schema of both sides: its DDL, its version, and the way from an older one.
//!
//! An upgrade leaves what the tables hold. Does not decide when to upgrade: setup does.

use tokio_postgres::GenericClient;

use crate::error::ControlError;
use crate::side::Side;

/// The version of the layout that this program makes and understands.
pub const VERSION: u32 = 4;

/// The target's advisory lock of all rows: whoever writes a row and locks only its entry holds it
/// shared, and a log that is behind takes it alone instead of locking entries (rule 1).
pub const ROWS_LOCK: i64 = 7_310_579_733_215_903_744;

const MARK: &str = "segue schema version ";

/// The statements that make the schema at the source.
pub fn source_sql() -> String {
    filled(include_str!("source.sql"))
}

/// The statements that make the schema at the target.
pub fn target_sql() -> String {
    filled(concat!(
        include_str!("target.sql"),
        include_str!("admit.sql")
    ))
}

/// The statements that make a schema of an older version one of this program's; nothing if there is
/// no way.
pub fn upgrade_sql(side: Side, from: u32) -> Option<String> {
    match (side, from) {
        (Side::Source, 1..=3) => Some(filled(include_str!("upgrade_3_source.sql"))),
        (Side::Target, 1) => Some(filled(concat!(
            include_str!("upgrade_1.sql"),
            include_str!("upgrade_2.sql"),
            include_str!("upgrade_3.sql"),
            include_str!("admit.sql")
        ))),
        (Side::Target, 2) => Some(filled(concat!(
            include_str!("upgrade_2.sql"),
            include_str!("upgrade_3.sql"),
            include_str!("admit.sql")
        ))),
        (Side::Target, 3) => Some(filled(concat!(
            include_str!("upgrade_3.sql"),
            include_str!("admit.sql")
        ))),
        (Side::Source | Side::Target, _) => None,
    }
}

fn filled(sql: &str) -> String {
    sql.replace("{version}", &VERSION.to_string())
        .replace("{rows_lock}", &ROWS_LOCK.to_string())
}

/// What stands where the `segue` schema goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// Nothing.
    Absent,
    /// A schema of this program's version.
    Ours,
    /// A schema of another version.
    Version(u32),
    /// A schema that Segue did not make.
    Foreign,
}

/// Looks for the schema.
pub async fn find(client: &impl GenericClient, side: Side) -> Result<Found, ControlError> {
    let sql = "SELECT pg_catalog.obj_description(oid, 'pg_namespace') \
               FROM pg_catalog.pg_namespace WHERE nspname = 'segue'";
    let row = client
        .query_opt(sql, &[])
        .await
        .map_err(|error| ControlError::query(side, "look for the segue schema", &error))?;
    let Some(row) = row else {
        return Ok(Found::Absent);
    };
    let comment: Option<String> = row.get(0);
    let version = comment.as_deref().and_then(|text| text.strip_prefix(MARK));
    Ok(match version.and_then(|text| text.trim().parse().ok()) {
        Some(VERSION) => Found::Ours,
        Some(other) => Found::Version(other),
        None => Found::Foreign,
    })
}

/// Makes sure that the schema is there and of this program's version.
pub async fn check_version(
    client: &impl GenericClient,
    side: Side,
    database: &str,
) -> Result<(), ControlError> {
    let found = match find(client, side).await? {
        Found::Ours => return Ok(()),
        Found::Absent => {
            return Err(ControlError::NotSetUp {
                side,
                database: database.to_owned(),
            });
        }
        Found::Version(version) => format!("version {version}"),
        Found::Foreign => "no known version".to_owned(),
    };
    Err(ControlError::Version {
        side,
        found,
        expected: VERSION,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_stands_in_both_schemas() {
        for sql in [source_sql(), target_sql()] {
            assert!(sql.contains(&format!("'{MARK}{VERSION}'")));
            assert!(!sql.contains("{version}"));
        }
    }
}
