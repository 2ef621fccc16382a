//! Configurations: which features a world has, which rule is left out, and how much can happen.
//!
//! Does not know what a feature does.

/// Something that a world has beyond the base: one key, transactions in flight, and a mirror that
/// loses, doubles and is late.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Feature {
    /// Transactions may write two rows.
    SecondKey,
    /// Every target statement is a step of its own, with the locks that it takes.
    Statements,
    /// A commit is logged, flushed and visible in three steps; so is a write and its RETURNING.
    Visibility,
    /// Source, target, proxy and reconciler crash.
    Crashes,
    /// Commits that are acknowledged before they are flushed.
    AsyncCommits,
    /// A second reconciler takes over while the first is at work.
    TwoReconcilers,
    /// The floor is raised and drained.
    Floors,
    /// Entries under the floor are dropped.
    Collection,
    /// The table is being filled.
    Backfill,
    /// Any row is read again from the source at any time.
    Rereads,
    /// TRUNCATE.
    Truncate,
    /// Long values that an UPDATE does not touch are not in the log.
    Toast,
    /// A unique column whose values move from row to row.
    Exchange,
    /// With [`Self::Exchange`]: three rows, whose values move around at once.
    Rotation,
    /// Two messages of the mirror share a target transaction.
    Groups,
    /// Somebody else writes to the target.
    Foreign,
    /// The key's type has values that are equal and are not the same bytes.
    Spellings,
    /// Transactions that are mirrored and never logged.
    Phantoms,
    /// The mirror writes something else.
    Lies,
    /// It begins behind two commits to one row, of which the mirror has the first, and there are no
    /// others: what has to come late to do harm is found sooner.
    Written,
    /// An early transaction reads the gate before it locks, as rule 5 allows; `segue.admit` does it
    /// afterwards, which makes the drain a second guard.
    GateFirst,
}

/// A part of a rule that a broken variant leaves out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Omission {
    /// 1: nobody locks entries.
    Lock,
    /// 2: an early write does not look at the entry.
    EntryTest,
    /// 2: an early write does not look at the floor.
    FloorTest,
    /// 3: progress is not compared.
    Progress,
    /// 4: the log leaves no entries.
    Entries,
    /// 5: a raise is relied on at once.
    Drain,
    /// 5: a raise is relied on when all older than itself have ended.
    DrainByOwnXid,
    /// 5: an early transaction reads the gate before it takes its xid.
    XidFirst,
    /// 6: the gate is armed where it stood at first.
    ArmAbove,
    /// 7: what is logged is taken for visible.
    Visibility,
    /// 8: a re-read is used whatever it has not seen.
    RereadTest,
    /// 8: a re-read is used over an unverified entry.
    RereadUnverified,
    /// 9: a chunk does not heed tombstones.
    Tombstones,
    /// 9: a chunk overwrites rows.
    InsertOnly,
    /// 9: a chunk is read as soon as the slot is there.
    SlotSnapshot,
    /// 10: a logged write that violates a constraint is an error.
    Violation,
    /// 10: owed rows are applied one by one.
    AsASet,
    /// 11: TRUNCATE sets no floor of the table.
    TableFloor,
    /// 11: TRUNCATE takes rows whose entries are newer.
    Survivors,
    /// 12: asynchronous commits are mirrored.
    DeferAsync,
    /// 12: what was read is used before it is flushed.
    FlushedReads,
    /// 13: nobody looks for entries that the log has passed by.
    Sweep,
    /// 14: a key is its bytes as they come.
    NormalForm,
    /// 15: the target's triggers fire for what we write.
    ReplicaRole,
    /// 15: our writes at the target are not marked.
    Origins,
}

/// What a world can be.
#[derive(Debug, Clone, Copy)]
pub struct Config {
    /// Beyond the base.
    pub features: &'static [Feature],
    /// What is left out, if anything.
    pub omitted: Option<Omission>,
    /// Source transactions.
    pub transactions: u8,
    /// Writes of each.
    pub writes: u8,
}

impl Config {
    /// The base with these features.
    pub const fn with(features: &'static [Feature]) -> Self {
        Self {
            features,
            omitted: None,
            transactions: 2,
            writes: 2,
        }
    }

    /// With other bounds.
    #[must_use]
    pub const fn sized(mut self, transactions: u8, writes: u8) -> Self {
        self.transactions = transactions;
        self.writes = writes;
        self
    }

    /// Without a part of a rule.
    #[must_use]
    pub const fn without(mut self, omission: Omission) -> Self {
        self.omitted = Some(omission);
        self
    }

    pub(crate) fn has(&self, feature: Feature) -> bool {
        self.features.contains(&feature)
    }

    pub(crate) fn omits(&self, omission: Omission) -> bool {
        self.omitted == Some(omission)
    }

    /// Rows that there can be.
    pub(crate) fn keys(&self) -> u8 {
        let has_two = self.has(Feature::SecondKey) || self.has(Feature::Exchange);
        1 + u8::from(has_two) + u8::from(self.has(Feature::Rotation))
    }

    /// Where the row of a key lies: keys that are equal by their type share one.
    pub(crate) fn place(&self, key: u8) -> usize {
        if self.has(Feature::Spellings) {
            0
        } else {
            usize::from(key)
        }
    }
}
