//! The facts of a report, as JSON names them.
//!
//! Does not read them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::status::StatusFacts;
use crate::table_report::TableReport;

/// Column: text, as `jsonb` holds it.
pub type Columns = serde_json::Map<String, serde_json::Value>;

/// The divergence report. The field names are the JSON names.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Report {
    /// From when on; none from the beginning. RFC 3339.
    pub since: Option<String>,
    /// Counts over all of them.
    pub summary: Summary,
    /// The divergences: open ones first, then the newest.
    pub divergences: Vec<Divergence>,
    /// Whether there are more than the list holds.
    pub divergences_truncated: bool,
    /// What became of each table's rows; those with open divergences first.
    #[serde(default)]
    pub tables: Vec<TableReport>,
    /// What happened to the machinery, the newest first.
    pub events: Vec<Event>,
    /// The state of the migration at the same moment.
    pub status: StatusFacts,
    /// The course of lag and staleness, for the plots. Left out where the report is printed: it is
    /// for machines that draw.
    #[serde(skip_serializing, default)]
    pub samples: Vec<Sample>,
}

/// Divergences, counted.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Summary {
    /// Found and not yet repaired.
    pub open: i64,
    /// Found and repaired.
    pub repaired: i64,
    /// Found and left as they are, by decision.
    pub ignored: i64,
    /// All of them, by kind.
    pub by_kind: BTreeMap<String, i64>,
}

/// One place where the target was not what the source's log says.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Divergence {
    /// Its number in `segue.divergence`.
    pub id: i64,
    /// The table's canonical name.
    pub table: String,
    /// The row's key, column: text.
    pub key: Columns,
    /// What was wrong.
    pub kind: String,
    /// `open`, `repaired` or `ignored`.
    pub state: String,
    /// RFC 3339.
    pub detected_at: String,
    /// RFC 3339; none while it is open.
    pub repaired_at: Option<String>,
    /// How it was repaired, in words; of a table that is stopped, why it is.
    pub repair: Option<String>,
    /// The revision of the source's version, a decimal number.
    pub source_rev: Option<String>,
    /// The revision of what the target held; none if nothing is known of it.
    pub target_rev: Option<String>,
    /// The source transaction's op id, 32 hexadecimal digits.
    pub op_id: Option<String>,
    /// The columns that differed.
    pub columns: Vec<String>,
    /// Why its repair is held back: `dry` or `limit`; none if it is not.
    #[serde(default)]
    pub held: Option<String>,
    /// Who wrote it at the target, where the target's log tells.
    #[serde(default)]
    pub written_by: Option<Author>,
}

/// Who wrote at the target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Author {
    /// The replication origin; none of an ordinary session.
    pub origin: Option<String>,
    /// The low 32 bits of the target's transaction id.
    pub xid: i64,
    /// RFC 3339, by the target's clock.
    pub committed_at: Option<String>,
}

/// One divergence with what the journal kept of its repair.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DivergenceDetail {
    /// The divergence itself.
    #[serde(flatten)]
    pub divergence: Divergence,
    /// What was written, in order.
    pub journal: Vec<JournalEntry>,
}

/// A write that repaired something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JournalEntry {
    /// RFC 3339.
    pub at: String,
    /// The row before, column: text; none if it was not there.
    pub before: Option<Columns>,
    /// The row after; none if it was deleted.
    pub after: Option<Columns>,
    /// `repair` or `undo`.
    #[serde(default)]
    pub act: String,
    /// What a repair that is held back would leave.
    #[serde(default)]
    pub proposed: Proposal,
}

/// What a repair that is held back would leave.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Proposal {
    /// Nothing is held back, or it has not been read from the source yet.
    #[default]
    None,
    /// The row would be deleted: the source has none.
    Delete,
    /// The row would be this.
    Row(Columns),
}

/// Something that happened to the machinery itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// RFC 3339.
    pub at: String,
    /// A stable word.
    pub kind: String,
    /// What happened, for people.
    pub text: String,
}

/// Lag and staleness over a short stretch of time: the worst of it.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Sample {
    /// RFC 3339.
    pub at: String,
    /// Seconds since 1970.
    pub at_seconds: f64,
    /// Bytes of log not applied.
    pub lag_bytes: f64,
    /// Seconds behind the source.
    pub lag_seconds: f64,
    /// From source commit to target; none if the mirror brought nothing.
    pub staleness_seconds_p50: Option<f64>,
    /// As `staleness_seconds_p50`, of the slowest hundredth.
    pub staleness_seconds_p99: Option<f64>,
    /// Rows verified so far.
    pub verified: f64,
    /// Rows applied so far.
    pub applied: f64,
    /// Divergences open then, of those that are still on record.
    #[serde(default)]
    pub open: f64,
    /// Divergences found so far.
    #[serde(default)]
    pub found: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_that_scripts_rely_on_is_there() {
        let report = Report {
            divergences: vec![Divergence {
                id: 1,
                table: "public.t".into(),
                key: serde_json::Map::new(),
                kind: "missing_row".into(),
                state: "open".into(),
                detected_at: String::new(),
                repaired_at: None,
                repair: None,
                source_rev: Some("36028797018963968".into()),
                target_rev: None,
                op_id: None,
                columns: vec![],
                held: None,
                written_by: None,
            }],
            ..Report::default()
        };
        let json = serde_json::to_value(&report).unwrap();
        for name in ["open", "repaired", "by_kind"] {
            assert!(!json["summary"][name].is_null(), "summary.{name}");
        }
        for name in [
            "id",
            "table",
            "key",
            "kind",
            "state",
            "detected_at",
            "repaired_at",
            "source_rev",
            "target_rev",
            "op_id",
            "columns",
        ] {
            assert!(json["divergences"][0].get(name).is_some(), "{name}");
        }
        assert!(json["divergences"][0]["source_rev"].is_string());
    }
}
