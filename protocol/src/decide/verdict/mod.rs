//! The verdict on one logged write: what rule 3 says, in its order, and nothing else.
//!
//! [`reconcile`] is pure; the target's row and entry were read under the entry's lock. Does not know
//! of transactions: [`super::working_set`] iterates it.

use crate::op_id::OpId;
use crate::revision::Revision;
use crate::row::Image;
use crate::xid::Xid;

use super::assembly::LoggedRow;

/// A key's row of `segue.row_rev`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Entry {
    /// The revision written last.
    pub rev: Revision,
    /// The source transaction that wrote it; none of a resolved phantom.
    pub op_id: Option<OpId>,
    /// That transaction's id, for re-reads of the source (rule 8).
    pub xid: Option<Xid>,
    /// Who brought it.
    pub path: Path,
    /// Whether the log has vouched for it.
    pub proof: Proof,
    /// Whether the key holds a row since.
    pub kind: EntryKind,
}

/// Which path brought a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Path {
    /// The mirror.
    Early,
    /// The stream.
    Logged,
}

/// Whether the log has vouched for an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Proof {
    /// It has.
    Verified,
    /// Not yet.
    Unverified,
}

/// What an entry's version is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EntryKind {
    /// A row.
    Row,
    /// A deletion.
    Tombstone,
}

/// One logged write with the revision and the operation that it belongs to.
#[derive(Debug, Clone, Copy)]
pub struct Logged<'a> {
    /// Its revision, `c`.
    pub rev: Revision,
    /// The source transaction.
    pub op_id: OpId,
    /// What the key holds from then on.
    pub row: &'a LoggedRow,
}

/// What follows for the key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// A newer write of another operation stands; its own turn will check the row.
    Superseded,
    /// The target holds what the log says.
    Verified,
    /// The mirror wrote something else than the log says.
    Diverged {
        /// In which way.
        kind: Difference,
        /// Places of the columns that differ.
        columns: Vec<usize>,
        /// How it is mended.
        repair: Repair,
    },
    /// The log's version is written.
    Applied {
        /// Why the target did not have it.
        why: Why,
    },
    /// The row has to be read again from the source.
    Owed {
        /// Why the logged image does not do.
        why: OwedWhy,
    },
}

/// How the target's row differs from the log's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Difference {
    /// The target has no row.
    MissingRow,
    /// The target has a row where there is none.
    ExtraRow,
    /// Columns differ.
    DifferentRow,
}

/// How a divergence is mended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repair {
    /// The logged image is written.
    Write,
    /// The logged image lacks columns, and those of the mirror are not to be trusted: what is known
    /// is written where there is a row, and the row is read again from the source.
    Reread,
}

/// Why a logged write was not at the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// No entry: deferred, unmirrored or lost, as the operation's record will say.
    NoEntry,
    /// The entry is of an earlier operation.
    OlderEntry,
    /// The mirror brought an earlier version of the same operation: a deferred statement or an
    /// AFTER trigger wrote the row again.
    LaterVersion,
}

/// Why a row has to be read again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OwedWhy {
    /// The image lacks columns and the target has no row to take them from.
    PartialWithoutRow,
    /// The image lacks columns and the row is another operation's, unverified.
    PartialOverUnverified,
    /// The image lacks columns and the mirror wrote something else in others.
    PartialOverWrong,
    /// A unique or exclusion constraint: rows are at different points in time (rule 10).
    Constraint,
    /// Somebody else wrote to the target.
    Foreign,
    /// Mirrored, and not in the log (rule 13).
    Unverified,
    /// It differs, and its repair is held back.
    Held,
    /// Its table is not what the contract says.
    SchemaDrift,
    /// A partition was emptied that the target does not have: the row may have lain in it.
    Truncated,
    /// A transaction wrote it that the new source of a failover does not have.
    Lost,
    /// After a failover everything is read again.
    Failover,
}

impl OwedWhy {
    /// The name in `segue.owed` and in metrics.
    pub const fn label(self) -> &'static str {
        match self {
            Self::PartialWithoutRow => "partial_without_row",
            Self::PartialOverUnverified => "partial_over_unverified",
            Self::PartialOverWrong => "partial_over_wrong",
            Self::Constraint => "constraint",
            Self::Foreign => "foreign",
            Self::Unverified => "unverified",
            Self::Held => "held",
            Self::SchemaDrift => "schema_drift",
            Self::Truncated => "truncated",
            Self::Lost => "lost",
            Self::Failover => "failover",
        }
    }
}

/// Judges one logged write against the key's entry and the target's row.
pub fn reconcile(entry: Option<&Entry>, row: Option<&Image>, logged: Logged<'_>) -> Verdict {
    let difference = difference(row, logged.row);
    let own = entry.is_some_and(|held| held.op_id == Some(logged.op_id));
    match entry {
        // A resolved phantom's entry is no version: it refuses early writes and supersedes nothing.
        Some(held) if held.rev > logged.rev && held.op_id.is_some() && !own => Verdict::Superseded,
        Some(held) if held.rev > logged.rev && own => match difference {
            None => Verdict::Verified,
            Some((kind, columns)) => Verdict::Diverged {
                kind,
                columns,
                repair: repair(kind, logged.row),
            },
        },
        Some(_) | None => at_or_above(entry, own, difference.map(|(kind, _)| kind), logged),
    }
}

/// The log's version is the newest: it is verified, applied or owed.
fn at_or_above(
    entry: Option<&Entry>,
    own: bool,
    difference: Option<Difference>,
    logged: Logged<'_>,
) -> Verdict {
    let foreign_doubt = entry.is_some_and(|held| held.proof == Proof::Unverified && !own);
    let partial = is_partial(logged.row);
    match difference {
        _ if partial && foreign_doubt => Verdict::Owed {
            why: OwedWhy::PartialOverUnverified,
        },
        None => Verdict::Verified,
        Some(Difference::MissingRow) if partial => Verdict::Owed {
            why: OwedWhy::PartialWithoutRow,
        },
        Some(_) => Verdict::Applied {
            why: match (entry, own) {
                (None, _) => Why::NoEntry,
                (Some(_), false) => Why::OlderEntry,
                (Some(_), true) => Why::LaterVersion,
            },
        },
    }
}

/// A row that is missing cannot be made from an image that lacks columns, and one that is wrong where
/// the log can tell may be wrong where it cannot.
fn repair(kind: Difference, logged: &LoggedRow) -> Repair {
    match kind {
        Difference::MissingRow | Difference::DifferentRow if is_partial(logged) => Repair::Reread,
        Difference::MissingRow | Difference::ExtraRow | Difference::DifferentRow => Repair::Write,
    }
}

fn is_partial(row: &LoggedRow) -> bool {
    match row {
        LoggedRow::Present(image) => !image.is_full(),
        LoggedRow::Absent => false,
    }
}

fn difference(row: Option<&Image>, logged: &LoggedRow) -> Option<(Difference, Vec<usize>)> {
    match (row, logged) {
        (None, LoggedRow::Absent) => None,
        (Some(_), LoggedRow::Absent) => Some((Difference::ExtraRow, Vec::new())),
        (None, LoggedRow::Present(_)) => Some((Difference::MissingRow, Vec::new())),
        (Some(row), LoggedRow::Present(image)) => {
            let columns = image.differing(row);
            (!columns.is_empty()).then_some((Difference::DifferentRow, columns))
        }
    }
}

#[cfg(test)]
mod tests;
