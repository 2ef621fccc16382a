//! What a person tells the reconciler about repairs, through the target's tables.
//!
//! Does not repair and does not count: the reconciler does, and looks here once a second.

use tokio_postgres::{Client, Row};

use crate::error::ControlError;
use crate::status::cannot;

/// The stream that is applied to this target: the other one is the target's own.
pub async fn stream(client: &Client) -> Result<String, ControlError> {
    let sql = "SELECT stream FROM segue.progress ORDER BY length(stream) LIMIT 1";
    let row = client.query_one(sql, &[]).await;
    Ok(row.map_err(cannot("look for the stream"))?.get(0))
}

/// Lets the repairs of `table`, or of all tables, go on that have stopped at their limit. Returns
/// which they were.
pub async fn resume(client: &Client, table: Option<&str>) -> Result<Vec<String>, ControlError> {
    let rows = client
        .query(
            r#"UPDATE segue.repair_limit SET resumed_at = clock_timestamp()
               WHERE resumed_at IS NULL AND "table" = coalesce($1, "table") RETURNING "table""#,
            &[&table],
        )
        .await
        .map_err(cannot("resume repairs"))?;
    Ok(rows.iter().map(|row: &Row| row.get(0)).collect())
}
