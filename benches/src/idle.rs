//! What an idle connection takes of a proxy's memory.
//!
//! Each connection has read and written a row before, so that what it keeps of that is counted.
//! Does not count what the kernel or the database server keeps for it.

use std::time::Duration;

use anyhow::Result;

use crate::{Plan, Way, field::Field, process::resident_bytes};

/// For a proxy to give back what it does not need while idle.
const REST: Duration = Duration::from_secs(1);

/// The memory of idle connections of one proxy.
#[derive(Debug, Clone, PartialEq)]
pub struct IdleFigure {
    /// The proxy.
    pub way: Way,
    /// How many connections there were.
    pub connections: usize,
    /// Resident memory that they took, each.
    pub bytes_per_connection: f64,
}

pub(crate) async fn measure(
    field: &mut Field,
    plan: &Plan,
    told: &mut impl FnMut(&str),
) -> Result<Vec<IdleFigure>> {
    let mut figures = Vec::new();
    if plan.idle == 0 {
        return Ok(figures);
    }
    field.start_reconciler().await?;
    // A pooler keeps its connections to the server when the clients have left.
    let ways = [Way::PassThrough, Way::DualWrite, Way::Pgbouncer];
    for way in ways.into_iter().filter(|way| field.has(*way)) {
        let open = field.open(way).await?;
        if let Some(pid) = open.proxy {
            // What the first connection alone takes is the proxy's, not the connection's.
            let first = work(&open.database, 0).await?;
            let before = resident_bytes(pid)?;
            let mut connections = Vec::new();
            for number in 1..=plan.idle {
                connections.push(work(&open.database, number).await?);
            }
            tokio::time::sleep(REST).await;
            let after = resident_bytes(pid)?;
            drop((first, connections));
            let bytes = after.saturating_sub(before) as f64 / plan.idle as f64;
            told(&format!("idle: {:<29} {bytes:>8.0} bytes", way.name()));
            figures.push(IdleFigure {
                way,
                connections: plan.idle,
                bytes_per_connection: bytes,
            });
        }
        field.close(open, false).await?;
    }
    field.stop_reconciler().await?;
    Ok(figures)
}

/// A connection that has done what applications do.
async fn work(database: &harness::Database, number: usize) -> Result<tokio_postgres::Client> {
    let client = database.connect().await?;
    let aid = i32::try_from(number % 1000)? + 1;
    let select = client
        .prepare("SELECT * FROM pgbench_accounts WHERE aid = $1")
        .await?;
    let update = client
        .prepare("UPDATE pgbench_accounts SET abalance = abalance + 1 WHERE aid = $1")
        .await?;
    client.query(&select, &[&aid]).await?;
    client.execute(&update, &[&aid]).await?;
    // Statements that were dropped would be closed by their client, much later.
    drop((select, update));
    Ok(client)
}
