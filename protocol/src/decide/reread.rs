//! Whether a re-read of a row from the source may be used, and what follows (rules 7, 8 and 13).
//!
//! A re-read has no revision and supersedes nothing. Whether a transaction is in it is decided by
//! its xid against the read's snapshot, never by LSN. Does not read anything.

use std::collections::BTreeSet;

use super::verdict::{Entry, Path, Proof};
use crate::revision::Revision;
use crate::xid::{Snapshot, Xid};

/// What a re-read has to contain besides the key's own entry.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Horizon {
    /// Everything applied before this process knew of it had an id below this one.
    barrier: Xid,
    /// Logged transactions applied since, and not known to be visible at the source yet.
    unseen: BTreeSet<Xid>,
    /// Those of them that emptied tables: their rows have no entries.
    truncations: BTreeSet<Xid>,
}

/// What may be done with a re-read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reread {
    /// It is the row's state, and nothing newer has been accepted.
    Usable,
    /// It has to be made again later.
    Later(Wait),
}

/// Why a re-read cannot be used yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// A write that has been accepted at the target was not visible to the read.
    NotVisible,
    /// The mirror has written the row and the log has not come to it.
    Unverified,
}

/// Whether the stream has passed the point at which the log would have vouched for the entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// The log may still come to it.
    ToCome,
    /// The log has passed it (rule 13).
    Passed,
}

/// An owed row that has been read again, and what is known of it.
#[derive(Debug, Clone, Copy)]
pub struct OwedRead<'a> {
    /// Its entry, under lock.
    pub entry: Option<&'a Entry>,
    /// The logged transaction that the read has to contain.
    pub xid: Option<Xid>,
    /// The unverified entry that the log has passed by, as the last sweep saw it (rule 13).
    pub passed: Option<Revision>,
    /// Whether it has been noted already why it differs: somebody else's write, a repair held back.
    pub is_known: bool,
    /// Whether the target's own log has been read past the moment when it was first seen to differ.
    pub is_cleared: bool,
    /// Whether the target holds something else than was read.
    pub differs: bool,
}

/// What follows from a row read again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// It has to be read again later.
    Later(Wait),
    /// It looks like a phantom; the target's own log has to tell first whether somebody else made it
    /// so.
    Suspected,
    /// It is settled.
    Settled {
        /// What becomes of the row.
        row: RowEnding,
        /// Whether its entry is one that the log has passed by: [`resolved`] takes its place.
        is_phantom: bool,
    },
}

/// What becomes of a row that is settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowEnding {
    /// The target holds what the source holds.
    Equal,
    /// It was only late: it is written.
    Written,
    /// Somebody else, or the mirror, made it wrong: it is put right and reported, if it may be.
    Repaired,
}

/// The entry of a phantom once its row is right: it refuses late twins. The log's own turn may still
/// be to come for a version at or under the position `passed`, whose transaction had not ended:
/// without an operation the entry supersedes nothing.
pub const fn resolved(entry: &Entry, passed: Revision) -> Entry {
    Entry {
        rev: passed,
        op_id: None,
        xid: None,
        path: Path::Logged,
        proof: Proof::Verified,
        kind: entry.kind,
    }
}

impl Horizon {
    /// `source_xmax` is that of a snapshot of the source taken now: whatever was applied before lies
    /// below it.
    pub const fn starting_at(source_xmax: Xid) -> Self {
        Self {
            barrier: source_xmax,
            unseen: BTreeSet::new(),
            truncations: BTreeSet::new(),
        }
    }

    /// Whether everything that was applied before is visible to a snapshot: to any later one, too.
    pub fn is_covered_by(&self, snapshot: &Snapshot) -> bool {
        snapshot.xmin() >= self.barrier
    }

    /// A logged transaction has been applied.
    pub fn applied(&mut self, xid: Xid) {
        self.unseen.insert(xid);
    }

    /// A logged transaction that emptied tables has been applied.
    pub fn truncated(&mut self, xid: Xid) {
        self.truncations.insert(xid);
    }

    /// A snapshot of the source: what it contains is visible from now on.
    pub fn observe(&mut self, snapshot: &Snapshot) {
        self.unseen.retain(|xid| !snapshot.contains(*xid));
        self.truncations.retain(|xid| !snapshot.contains(*xid));
    }

    /// Judges a re-read of one key made under `snapshot`.
    pub fn judge(
        &self,
        snapshot: &Snapshot,
        entry: Option<&Entry>,
        owed_xid: Option<Xid>,
        turn: Turn,
    ) -> Reread {
        let missed = |xid: &Xid| !snapshot.contains(*xid);
        let by_key = entry.and_then(|held| held.xid);
        let unverified = entry.is_some_and(|held| held.proof == Proof::Unverified);
        if unverified && turn == Turn::ToCome {
            return Reread::Later(Wait::Unverified);
        }
        // A phantom's entry hides the logged writes that it superseded, whichever they were.
        let hidden = unverified && self.unseen.iter().any(missed);
        let logged = by_key.filter(|_| !unverified);
        if hidden
            || snapshot.xmin() < self.barrier
            || logged.is_some_and(|xid| missed(&xid))
            || owed_xid.is_some_and(|xid| missed(&xid))
            || self.truncations.iter().any(missed)
        {
            return Reread::Later(Wait::NotVisible);
        }
        Reread::Usable
    }

    /// Judges an owed row that was read under `snapshot`.
    pub fn settle(&self, snapshot: &Snapshot, owed: &OwedRead<'_>) -> Ending {
        let is_phantom = owed
            .entry
            .is_some_and(|held| held.proof == Proof::Unverified && owed.passed == Some(held.rev));
        let turn = if is_phantom {
            Turn::Passed
        } else {
            Turn::ToCome
        };
        if let Reread::Later(wait) = self.judge(snapshot, owed.entry, owed.xid, turn) {
            return Ending::Later(wait);
        }
        let row = match (owed.differs, is_phantom || owed.is_known) {
            (false, _) => RowEnding::Equal,
            (true, false) => RowEnding::Written,
            (true, true) if owed.is_known || owed.is_cleared => RowEnding::Repaired,
            (true, true) => return Ending::Suspected,
        };
        Ending::Settled { row, is_phantom }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::verdict::{EntryKind, Path};
    use crate::lsn::Lsn;
    use crate::revision::{Epoch, Revision};

    fn entry(xid: u64, proof: Proof) -> Entry {
        Entry {
            rev: Revision::logged(Epoch::FIRST, Lsn::new(1)).unwrap(),
            op_id: None,
            xid: Some(Xid::new(xid)),
            path: Path::Logged,
            proof,
            kind: EntryKind::Row,
        }
    }

    #[track_caller]
    fn check(horizon: &Horizon, entry: Option<&Entry>, owed: Option<u64>, expected: Reread) {
        let snapshot = Snapshot::parse("10:20:12").unwrap();
        let owed = owed.map(Xid::new);
        let judged = horizon.judge(&snapshot, entry, owed, Turn::ToCome);
        assert_eq!(judged, expected);
    }

    /// A row whose entry the log has passed by, unless it is verified.
    #[track_caller]
    fn check_settled(proof: Proof, change: impl FnOnce(&mut OwedRead<'_>), expected: Ending) {
        let entry = entry(11, proof);
        let mut owed = OwedRead {
            entry: Some(&entry),
            xid: None,
            passed: Some(entry.rev),
            is_known: false,
            is_cleared: false,
            differs: true,
        };
        change(&mut owed);
        let snapshot = Snapshot::parse("10:20:12").unwrap();
        let horizon = Horizon::starting_at(Xid::new(5));
        assert_eq!(horizon.settle(&snapshot, &owed), expected);
    }

    #[test]
    fn only_a_row_that_the_log_has_passed_by_or_that_is_known_is_reported() {
        let settled = |row, is_phantom| Ending::Settled { row, is_phantom };
        let (repaired, written) = (RowEnding::Repaired, RowEnding::Written);
        check_settled(Proof::Unverified, |_| (), Ending::Suspected);
        check_settled(
            Proof::Unverified,
            |owed| owed.is_cleared = true,
            settled(repaired, true),
        );
        check_settled(
            Proof::Unverified,
            |owed| owed.is_known = true,
            settled(repaired, true),
        );
        check_settled(
            Proof::Unverified,
            |owed| owed.differs = false,
            settled(RowEnding::Equal, true),
        );
        check_settled(Proof::Verified, |_| (), settled(written, false));
        check_settled(
            Proof::Verified,
            |owed| owed.is_known = true,
            settled(repaired, false),
        );
        check_settled(
            Proof::Unverified,
            |owed| owed.passed = None,
            Ending::Later(Wait::Unverified),
        );
        check_settled(
            Proof::Verified,
            |owed| owed.xid = Some(Xid::new(12)),
            Ending::Later(Wait::NotVisible),
        );
    }

    #[test]
    fn a_write_that_the_read_did_not_see_makes_it_useless() {
        let horizon = Horizon::starting_at(Xid::new(5));
        let later = Reread::Later(Wait::NotVisible);
        check(&horizon, None, None, Reread::Usable);
        check(
            &horizon,
            Some(&entry(11, Proof::Verified)),
            None,
            Reread::Usable,
        );
        check(&horizon, Some(&entry(12, Proof::Verified)), None, later);
        check(&horizon, Some(&entry(20, Proof::Verified)), None, later);
        check(&horizon, None, Some(11), Reread::Usable);
        check(&horizon, None, Some(12), later);
    }

    #[test]
    fn what_an_earlier_process_applied_has_to_be_in_it() {
        let later = Reread::Later(Wait::NotVisible);
        check(
            &Horizon::starting_at(Xid::new(10)),
            None,
            None,
            Reread::Usable,
        );
        check(&Horizon::starting_at(Xid::new(11)), None, None, later);
    }

    #[test]
    fn a_truncate_has_to_be_in_it_because_it_leaves_no_entries() {
        let mut horizon = Horizon::starting_at(Xid::new(5));
        horizon.truncated(Xid::new(12));
        check(&horizon, None, None, Reread::Later(Wait::NotVisible));
        horizon.observe(&Snapshot::parse("13:13:").unwrap());
        check(&horizon, None, None, Reread::Usable);
    }

    #[test]
    fn an_unverified_entry_waits_for_the_log() {
        let horizon = Horizon::starting_at(Xid::new(5));
        let unverified = entry(11, Proof::Unverified);
        check(
            &horizon,
            Some(&unverified),
            None,
            Reread::Later(Wait::Unverified),
        );
    }

    #[test]
    fn a_phantom_is_resolved_once_all_that_it_may_have_hidden_is_visible() {
        let mut horizon = Horizon::starting_at(Xid::new(5));
        let snapshot = Snapshot::parse("10:20:12").unwrap();
        let phantom = entry(99, Proof::Unverified);
        let judge =
            |horizon: &Horizon| horizon.judge(&snapshot, Some(&phantom), None, Turn::Passed);
        assert_eq!(judge(&horizon), Reread::Usable);
        horizon.applied(Xid::new(12));
        assert_eq!(judge(&horizon), Reread::Later(Wait::NotVisible));
    }
}
