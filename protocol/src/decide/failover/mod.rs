//! Failover of the source: when the log that is followed goes on elsewhere, from where, in which
//! epoch, and what the target holds that the new source never had (DESIGN sections 2, 3 and 7).
//!
//! A failover takes commits back: everything at or above the **fork**, the position at which the new
//! source's history leaves the one that was followed. These are the rules.
//!
//! 1. **Whose turn it is** ([`recognise`]). Only a server whose history goes on from the one followed,
//!    or that left it at some point under a timeline of no lower number, is a successor. One that lies
//!    behind (the old primary, back again) is waited out, as is a standby; another system is refused.
//! 2. **A new epoch** begins at the fork, which is recorded ([`Epochs`]). A version from the log has
//!    the epoch of its own record's position, a transaction that of its commit record: what the log
//!    still brings from under the fork is of the old epoch, and meets the entries that the mirror left
//!    in it. A proxy writes in the epoch that it has read; the gate refuses every other one.
//! 3. **The step** is one transaction of the target, with every early writer shut out from its
//!    beginning: the gate of the old epoch goes, so that none of its writes comes later, entries are
//!    told apart (rule 5), the boundary is recorded, `progress` moves to the new epoch.
//! 4. **The stream** ([`Succession::stream`]) goes on at the smaller of `progress` and fork if the slot
//!    has survived and confirms no more than that. Otherwise it begins anew with another slot, and
//!    nobody knows what changed before.
//! 5. **Lost or not** ([`fate`]). An entry at or above the fork is of a transaction that is lost: the
//!    commit record comes behind the row's. Below it the row's record is in the new history, so the
//!    transaction's id is not given to another one, and the new source knows what became of it:
//!    anything but a commit is a loss. An entry of an epoch that does not cover its position was lost
//!    earlier.
//! 6. **What is read again** ([`Succession::recheck`]). As long as the old gate's floor is at or under
//!    the fork, no entry above the fork has been dropped, nor has a crash of the target emptied them:
//!    lost writes, early or logged, are exactly the lost entries, whose rows are owed. A table whose
//!    own floor is above the fork was emptied by a TRUNCATE that may be lost, and is read as a whole
//!    ([`is_emptied_above`]). Where the floor is higher or the gate was not there, or the stream begins
//!    anew, everything is read again. So the floor is kept at or under what the standbys have
//!    ([`floor_bound`]), and the target needs no other memory of what was replicated.
//! 7. **Lost rows come first.** The log of the new epoch waits until the rows of lost entries have been
//!    read again (for a bounded time): a later version would cover the loss up. A lost row that differs
//!    from the source is a phantom and is reported as such, once; one that is equal is not. What a
//!    reading of everything finds besides is put right and not reported: no one can tell a lost commit
//!    from a change that the log did not bring.
//! 8. **Until then** the epoch counts as not verified, and certificates are void.
//!
//! Does not tell two servers apart that left the same timeline at the very same position under the
//! same number.

mod history;

use crate::lsn::Lsn;
use crate::revision::{Epoch, Revision, RevisionError};
use crate::xid::Xid;

pub use history::{Ancestor, History, HistoryError, Kinship};

/// What is known of the log that the target follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Followed {
    /// The cluster's identity.
    pub system_identifier: String,
    /// Its timeline, and where that comes from.
    pub history: History,
    /// The authority's generation.
    pub epoch: Epoch,
    /// Everything that committed before it has been applied.
    pub position: Lsn,
    /// The mirror's floor, where the gate of this epoch still stands.
    pub floor: Option<Lsn>,
}

/// What answers as the source now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The cluster's identity.
    pub system_identifier: String,
    /// Its timeline, and where that comes from.
    pub history: History,
    /// Whether it takes writes.
    pub role: Role,
    /// Our slot there.
    pub slot: SlotState,
}

/// Whether a server takes writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// It does.
    Primary,
    /// It follows another one.
    Standby,
}

/// What has become of our slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SlotState {
    /// It is not there.
    Absent,
    /// The server has invalidated it.
    Lost,
    /// It can be read behind this position.
    Readable {
        /// `confirmed_flush_lsn`.
        confirmed: Lsn,
    },
}

/// Who it is that answers as the source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// The server that is followed.
    Same,
    /// A standby: it may be promoted in a moment.
    Standby,
    /// A server that the one followed has left behind.
    Outdated,
    /// Another cluster.
    OtherSystem,
    /// The new source.
    Successor(Succession),
}

/// How a new epoch begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Succession {
    /// The new epoch; none if there is no number left for it.
    pub epoch: Option<Epoch>,
    /// Up to where the history followed is the new source's too; none if nobody can tell.
    pub fork: Option<Lsn>,
    /// Where the stream goes on.
    pub stream: Continuation,
    /// What has to be read again.
    pub recheck: Recheck,
}

/// Where the stream goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Continuation {
    /// Behind this position, from the slot that is there.
    Resume(Lsn),
    /// With a new slot, and a gap before it.
    NewSlot(Gap),
}

/// Why the slot that should have been there cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gap {
    /// It is not there.
    Absent,
    /// The server has invalidated it.
    Lost,
    /// It has been read further than the target has come.
    Ahead,
    /// It is not known where the histories part.
    UnknownFork,
}

/// What has to be read again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recheck {
    /// The rows of lost entries.
    LostEntries,
    /// Every row of every table.
    Everything(Doubt),
}

/// Why it is not known which rows the failover has taken back or kept from the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doubt {
    /// The stream begins anew.
    Gap(Gap),
    /// The gate was not there: a crash of the target has emptied the entries with it.
    NoEntries,
    /// Entries above the fork have been dropped.
    FloorAboveFork,
}

/// Who answers as the source, and what follows from that.
pub fn recognise(followed: &Followed, found: &Found) -> Standing {
    if followed.system_identifier != found.system_identifier {
        return Standing::OtherSystem;
    }
    if found.role == Role::Standby {
        return Standing::Standby;
    }
    let is_lower = found.history.timeline < followed.history.timeline;
    match found.history.kinship(&followed.history) {
        Kinship::Same => Standing::Same,
        Kinship::Ancestor => Standing::Outdated,
        Kinship::Relative { .. } | Kinship::Stranger if is_lower => Standing::Outdated,
        Kinship::Descendant { fork } | Kinship::Relative { fork } => {
            Standing::Successor(succession(followed, Some(fork), found.slot))
        }
        Kinship::Stranger => Standing::Successor(succession(followed, None, found.slot)),
    }
}

fn succession(followed: &Followed, fork: Option<Lsn>, slot: SlotState) -> Succession {
    let stream = continuation(followed.position, fork, slot);
    let recheck = match (stream, fork) {
        (Continuation::NewSlot(gap), _) => Recheck::Everything(Doubt::Gap(gap)),
        (Continuation::Resume(_), None) => Recheck::Everything(Doubt::Gap(Gap::UnknownFork)),
        (Continuation::Resume(_), Some(fork)) => match followed.floor {
            Some(floor) if floor <= fork => Recheck::LostEntries,
            Some(_) => Recheck::Everything(Doubt::FloorAboveFork),
            None => Recheck::Everything(Doubt::NoEntries),
        },
    };
    Succession {
        epoch: followed.epoch.next(),
        fork,
        stream,
        recheck,
    }
}

/// A slot that was made after the promotion confirms more than the fork, so that it is never taken
/// for the one that was there before.
fn continuation(position: Lsn, fork: Option<Lsn>, slot: SlotState) -> Continuation {
    let Some(fork) = fork else {
        return Continuation::NewSlot(Gap::UnknownFork);
    };
    let from = position.min(fork);
    match slot {
        SlotState::Absent => Continuation::NewSlot(Gap::Absent),
        SlotState::Lost => Continuation::NewSlot(Gap::Lost),
        SlotState::Readable { confirmed } if confirmed > from => Continuation::NewSlot(Gap::Ahead),
        SlotState::Readable { .. } => Continuation::Resume(from),
    }
}

/// Where each epoch begins: at the position of the first record that is of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Epochs {
    first: Epoch,
    /// In the order in which they began; a later one may have begun at a lower position.
    begun: Vec<(Epoch, Lsn)>,
}

impl Epochs {
    /// `first` covers every position until another one begins.
    pub const fn starting_with(first: Epoch) -> Self {
        let begun = Vec::new();
        Self { first, begun }
    }

    /// `epoch` begins with the record at `lsn`.
    pub fn begin(&mut self, epoch: Epoch, lsn: Lsn) {
        debug_assert!(epoch > self.current(), "an epoch never comes again");
        self.begun.push((epoch, lsn));
    }

    /// The latest.
    pub fn current(&self) -> Epoch {
        self.begun.last().map_or(self.first, |(epoch, _)| *epoch)
    }

    /// Where the latest began; the beginning of the log for the first.
    pub fn began(&self) -> Lsn {
        self.begun.last().map_or(Lsn::ZERO, |(_, lsn)| *lsn)
    }

    /// The epoch of the record at `lsn`, in the history that is followed now.
    pub fn at(&self, lsn: Lsn) -> Epoch {
        let mut latest = self.begun.iter().rev();
        let found = latest.find(|(_, begins)| lsn >= *begins);
        found.map_or(self.first, |(epoch, _)| *epoch)
    }

    /// The revision of the record at `lsn`.
    pub fn revision(&self, lsn: Lsn) -> Result<Revision, RevisionError> {
        Revision::logged(self.at(lsn), lsn)
    }

    /// The epoch of the transaction whose commit record ends at `end`.
    pub fn of_commit(&self, end: Lsn) -> Epoch {
        self.at(Lsn::new(end.as_u64().saturating_sub(1)))
    }

    /// Whether a version is of the history that is followed now.
    pub fn covers(&self, rev: Revision) -> bool {
        self.at(rev.lsn()) == rev.epoch()
    }
}

/// What a failover has done to the transaction of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// Nothing: it is in the new source's history.
    Kept,
    /// It is not.
    Lost,
    /// The new source knows, under this id.
    Ask(Xid),
}

/// What became of an entry's transaction at a failover with this fork; `epochs` are those before it.
pub fn fate(rev: Revision, xid: Option<Xid>, epochs: &Epochs, fork: Lsn) -> Fate {
    if rev.lsn() >= fork || !epochs.covers(rev) {
        return Fate::Lost;
    }
    match xid {
        Some(xid) => Fate::Ask(xid),
        // What was put there by a re-read or an undo is nobody's transaction.
        None => Fate::Kept,
    }
}

/// What the new source says of a transaction: `pg_xact_status`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum XactStatus {
    /// It committed under the fork.
    Committed,
    /// Its commit did not come under the fork.
    Aborted,
    /// It was prepared, and its end is not in the history.
    InProgress,
    /// It ended too long ago for anyone to know how.
    Forgotten,
}

impl XactStatus {
    /// Reads the answer of `pg_xact_status`; nothing if it is none of its words.
    pub fn parse(text: Option<&str>) -> Option<Self> {
        match text {
            None => Some(Self::Forgotten),
            Some("committed") => Some(Self::Committed),
            Some("aborted") => Some(Self::Aborted),
            Some("in progress") => Some(Self::InProgress),
            Some(_) => None,
        }
    }

    /// Whether the transaction's writes are the new source's too.
    pub const fn is_kept(self) -> bool {
        match self {
            Self::Committed | Self::Forgotten => true,
            Self::Aborted | Self::InProgress => false,
        }
    }
}

/// Whether a table with this floor may have been emptied by a TRUNCATE that is lost.
pub fn is_emptied_above(table_floor: Revision, fork: Lsn) -> bool {
    table_floor.lsn() >= fork
}

/// The highest floor that leaves an entry of everything that a failover could take back: `wanted`, or
/// what the slowest of the standbys has, if that is known.
pub fn floor_bound(wanted: Lsn, standbys: Option<Lsn>) -> Lsn {
    standbys.map_or(wanted, |reached| wanted.min(reached))
}

#[cfg(test)]
mod tests;
