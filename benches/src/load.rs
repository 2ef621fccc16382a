//! What pgbench does: which script, and how it sends it.

use crate::Way;

/// What pgbench does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Load {
    /// One row read by its key, in a prepared statement.
    SelectPrepared,
    /// One row read by its key, the key in the text.
    SelectSimple,
    /// One row changed by its key, in a prepared statement.
    UpdatePrepared,
    /// One row changed by its key, the values in the text.
    UpdateSimple,
    /// pgbench's own transaction in the extended protocol; `pgbench_history` has a key.
    Tpcb,
    /// The same into a history without a key: the whole transaction is left to the log.
    TpcbUnkeyed,
}

/// `pgbench_history` with a key, and its twin as pgbench makes it, without one.
pub(crate) const SCHEMA: &str = "\
ALTER TABLE pgbench_history ADD COLUMN id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY;
CREATE TABLE history_unkeyed (tid int, bid int, aid int, delta int, mtime timestamp, filler char(22));
";

const SELECT: &str = "\
\\set aid random(1, 100000 * :scale)
SELECT abalance FROM pgbench_accounts WHERE aid = :aid;
";

const UPDATE: &str = "\
\\set aid random(1, 100000 * :scale)
UPDATE pgbench_accounts SET abalance = abalance + 1 WHERE aid = :aid;
";

const TPCB: &str = "\
\\set aid random(1, 100000 * :scale)
\\set bid random(1, 1 * :scale)
\\set tid random(1, 10 * :scale)
\\set delta random(-5000, 5000)
BEGIN;
UPDATE pgbench_accounts SET abalance = abalance + :delta WHERE aid = :aid;
SELECT abalance FROM pgbench_accounts WHERE aid = :aid;
UPDATE pgbench_tellers SET tbalance = tbalance + :delta WHERE tid = :tid;
UPDATE pgbench_branches SET bbalance = bbalance + :delta WHERE bid = :bid;
INSERT INTO pgbench_history (tid, bid, aid, delta, mtime)
 VALUES (:tid, :bid, :aid, :delta, CURRENT_TIMESTAMP);
END;
";

impl Load {
    /// In the order in which they are measured.
    pub const ALL: [Self; 6] = [
        Self::SelectPrepared,
        Self::SelectSimple,
        Self::UpdatePrepared,
        Self::UpdateSimple,
        Self::Tpcb,
        Self::TpcbUnkeyed,
    ];

    /// Those that are measured at half load too.
    pub const HALF: [Self; 3] = [Self::UpdatePrepared, Self::UpdateSimple, Self::Tpcb];

    /// As the tables name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::SelectPrepared => "select prepared",
            Self::SelectSimple => "select simple",
            Self::UpdatePrepared => "update prepared",
            Self::UpdateSimple => "update simple",
            Self::Tpcb => "tpcb-like extended",
            Self::TpcbUnkeyed => "tpcb-like, history without a key: deferred",
        }
    }

    /// pgbench's `-M`. With `simple` it writes the values into the text.
    pub(crate) fn protocol(self) -> &'static str {
        match self {
            Self::SelectPrepared | Self::UpdatePrepared => "prepared",
            Self::SelectSimple | Self::UpdateSimple => "simple",
            Self::Tpcb | Self::TpcbUnkeyed => "extended",
        }
    }

    pub(crate) fn script(self) -> String {
        match self {
            Self::SelectPrepared | Self::SelectSimple => SELECT.to_owned(),
            Self::UpdatePrepared | Self::UpdateSimple => UPDATE.to_owned(),
            Self::Tpcb => TPCB.to_owned(),
            Self::TpcbUnkeyed => TPCB.replace("pgbench_history", "history_unkeyed"),
        }
    }

    /// Whether rows of it are mirrored, so that there is a staleness to be told.
    pub fn is_mirrored(self) -> bool {
        match self {
            Self::UpdatePrepared | Self::UpdateSimple | Self::Tpcb => true,
            Self::SelectPrepared | Self::SelectSimple | Self::TpcbUnkeyed => false,
        }
    }

    /// The ways that are of interest. What is deferred differs from its twin in dual writes only,
    /// and is looked at once.
    pub(crate) fn ways(self, clients: u32) -> Vec<Way> {
        match self {
            Self::TpcbUnkeyed if matches!(clients, 1 | 64) => Vec::new(),
            Self::TpcbUnkeyed => vec![Way::PassThrough, Way::DualWrite],
            Self::SelectPrepared
            | Self::SelectSimple
            | Self::UpdatePrepared
            | Self::UpdateSimple
            | Self::Tpcb => Way::FULL.into(),
        }
    }
}
