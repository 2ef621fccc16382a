//! The row of `segue.phase`.

use std::fmt;
use std::str::FromStr;

use protocol::contract::Contract;
use protocol::revision::Epoch;
use tokio_postgres::{GenericClient, Row};

use crate::error::ControlError;
use crate::side::Side;

/// How far the migration is, and by which contract.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Phase {
    /// The authority's generation.
    pub epoch: Epoch,
    /// The step of the migration.
    pub phase: PhaseName,
    /// The frozen schema.
    pub contract: Contract,
    /// Identifies the source's cluster; part of every op id.
    pub system_identifier: u64,
    /// The source's timeline in this epoch, once it is known.
    pub timeline: Option<i32>,
}

/// The steps of a migration, in order (DESIGN section 6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum PhaseName {
    /// Nothing is mirrored.
    Passthrough,
    /// Writes are mirrored and the log is applied. Set by setup.
    DualWrite,
    /// Old rows are copied.
    Backfill,
    /// Both sides are compared.
    Verify,
    /// Reads are compared.
    Shadow,
    /// A certificate stands.
    Ready,
    /// The authority is changing.
    Cutover,
    /// The target has the authority, the source follows.
    Soak,
    /// The source is no longer followed.
    Done,
}

const NAMES: [(PhaseName, &str); 9] = [
    (PhaseName::Passthrough, "passthrough"),
    (PhaseName::DualWrite, "dual_write"),
    (PhaseName::Backfill, "backfill"),
    (PhaseName::Verify, "verify"),
    (PhaseName::Shadow, "shadow"),
    (PhaseName::Ready, "ready"),
    (PhaseName::Cutover, "cutover"),
    (PhaseName::Soak, "soak"),
    (PhaseName::Done, "done"),
];

impl fmt::Display for PhaseName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut names = NAMES.iter();
        let found = names.find(|(phase, _)| phase == self);
        f.write_str(found.map_or("", |(_, name)| name))
    }
}

impl FromStr for PhaseName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = NAMES.iter().find(|(_, name)| *name == text);
        found
            .map(|(phase, _)| *phase)
            .ok_or_else(|| format!("{text:?} is not a phase"))
    }
}

/// The phase and the contract, from the side that has the authority.
pub async fn load_from_source(client: &impl GenericClient) -> Result<Phase, ControlError> {
    load(client, Side::Source, "timeline").await
}

/// The same from the layout of an older version, which had no timeline.
pub(crate) async fn load_older(client: &impl GenericClient) -> Result<Phase, ControlError> {
    load(client, Side::Source, "NULL::pg_catalog.int4").await
}

/// The target's copy of both, for those who can reach only the target. It only lags.
pub async fn load_from_target(client: &impl GenericClient) -> Result<Phase, ControlError> {
    load(client, Side::Target, "timeline").await
}

async fn load(
    client: &impl GenericClient,
    side: Side,
    timeline: &str,
) -> Result<Phase, ControlError> {
    let unreadable = |reason| unreadable(side, reason);
    let sql = format!(
        "SELECT epoch, phase, contract::pg_catalog.text, system_identifier, {timeline} \
         FROM segue.phase"
    );
    let row = client
        .query_opt(&sql, &[])
        .await
        .map_err(|error| ControlError::query(side, "read segue.phase", &error))?
        .ok_or_else(|| unreadable("no row".to_owned()))?;
    read(&row).map_err(unreadable)
}

fn unreadable(side: Side, reason: String) -> ControlError {
    ControlError::Stored {
        side,
        what: "a segue.phase",
        reason,
    }
}

fn read(row: &Row) -> Result<Phase, String> {
    let contract: String = row.get(2);
    let identifier: String = row.get(3);
    Ok(Phase {
        epoch: Epoch::try_from(row.get::<_, i32>(0)).map_err(|error| error.to_string())?,
        phase: row.get::<_, String>(1).parse()?,
        contract: serde_json::from_str(&contract).map_err(|error| error.to_string())?,
        system_identifier: identifier
            .parse()
            .map_err(|_| format!("{identifier:?} is not a system identifier"))?,
        timeline: row.get(4),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_phase_is_read_back_from_its_name() {
        for (phase, name) in NAMES {
            assert_eq!(phase.to_string(), name);
            assert_eq!(name.parse(), Ok(phase));
        }
        assert!("sleep".parse::<PhaseName>().is_err());
    }
}
