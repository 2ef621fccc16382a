//! The mirror floor: what makes it safe to forget entries (rules 4 and 5).
//!
//! A raise is effective once every early transaction that may have read the old floor has ended: when
//! the target's oldest running transaction is younger than all that were running when the raise
//! committed. Does not write the floor.

use crate::revision::Revision;
use crate::xid::Xid;

/// The floor that stands at the target and the one that may be relied on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Floor {
    effective: Option<Revision>,
    pending: Option<Raise>,
    source_xmin: Xid,
    witness: Option<Witness>,
}

/// A raise that has committed and may not have been seen by all yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Raise {
    to: Revision,
    /// `pg_snapshot_xmax` at the target, taken after the raise committed.
    drained_at: Xid,
}

/// What the source showed once: every transaction before `xmin` had ended when its log stood at
/// `insert`, so none of their early revisions lies above it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Witness {
    xmin: Xid,
    insert: Revision,
}

impl Floor {
    /// Nothing is known yet: every entry stays.
    pub const fn unknown() -> Self {
        Self {
            effective: None,
            pending: None,
            source_xmin: Xid::new(0),
            witness: None,
        }
    }

    /// A raise to `to` has committed, and `target_xmax` was read afterwards.
    pub fn raised(&mut self, to: Revision, target_xmax: Xid) {
        self.pending = Some(Raise {
            to,
            drained_at: target_xmax,
        });
    }

    /// Whether the next raise may be made: one drain at a time.
    pub const fn is_settled(&self) -> bool {
        self.pending.is_none()
    }

    /// The target's oldest running transaction is `target_xmin`.
    pub fn observe(&mut self, target_xmin: Xid) {
        if let Some(raise) = self.pending.filter(|raise| target_xmin >= raise.drained_at) {
            debug_assert!(self.effective <= Some(raise.to), "a floor never falls");
            self.effective = self.effective.max(Some(raise.to));
            self.pending = None;
        }
        self.believe();
    }

    /// Every source transaction before `xmin` has ended and is visible to any later re-read; the
    /// source's log stood at `insert` afterwards. Counts once the floor covers that position: the
    /// mirror's revision of a version lies above the log's, and a floor between the two would let a
    /// late early write in whose entry is gone.
    pub fn source_settled_below(&mut self, xmin: Xid, insert: Revision) {
        self.witness.get_or_insert(Witness { xmin, insert });
        self.believe();
    }

    fn believe(&mut self) {
        let effective = self.effective;
        if let Some(witness) = self
            .witness
            .take_if(|witness| effective >= Some(witness.insert))
        {
            self.source_xmin = self.source_xmin.max(witness.xmin);
        }
    }

    /// The floor under which no early write can enter any more.
    pub const fn effective(&self) -> Option<Revision> {
        self.effective
    }

    /// Every source transaction before this one is visible to any later re-read, and its early
    /// writes are refused by the floor.
    pub const fn source_xmin(&self) -> Xid {
        self.source_xmin
    }

    /// Whether a proven version's entry is still needed: to refuse a late early write, or to tell a
    /// re-read that has not seen its transaction (rule 8).
    pub fn needs_entry(&self, rev: Revision, xid: Option<Xid>) -> bool {
        let above = self.effective.is_none_or(|floor| rev > floor);
        above || xid.is_some_and(|xid| xid >= self.source_xmin)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lsn::Lsn;
    use crate::revision::Epoch;

    fn rev(lsn: u64) -> Revision {
        Revision::logged(Epoch::FIRST, Lsn::new(lsn)).unwrap()
    }

    #[test]
    fn a_raise_is_not_relied_on_before_older_transactions_have_ended() {
        let mut floor = Floor::unknown();
        floor.source_settled_below(Xid::new(1000), rev(100));
        floor.raised(rev(100), Xid::new(50));
        assert!(!floor.is_settled());
        floor.observe(Xid::new(49));
        assert!(floor.needs_entry(rev(100), None));
        floor.observe(Xid::new(50));
        assert!(floor.is_settled());
        assert!(!floor.needs_entry(rev(100), None));
        assert!(floor.needs_entry(rev(101), None));
    }

    #[test]
    fn an_entry_stays_while_a_re_read_might_not_see_its_transaction() {
        let mut floor = Floor::unknown();
        floor.raised(rev(100), Xid::new(50));
        floor.observe(Xid::new(50));
        assert!(floor.needs_entry(rev(90), Some(Xid::new(7))));
        floor.source_settled_below(Xid::new(8), rev(100));
        assert!(!floor.needs_entry(rev(90), Some(Xid::new(7))));
        assert!(floor.needs_entry(rev(90), Some(Xid::new(8))));
    }

    #[test]
    fn an_entry_stays_while_the_floor_may_lie_between_the_logs_revision_and_the_mirrors() {
        let mut floor = Floor::unknown();
        floor.raised(rev(100), Xid::new(50));
        floor.observe(Xid::new(50));
        floor.source_settled_below(Xid::new(8), rev(101));
        assert!(floor.needs_entry(rev(99), Some(Xid::new(7))));
        floor.raised(rev(101), Xid::new(51));
        floor.observe(Xid::new(51));
        assert!(!floor.needs_entry(rev(99), Some(Xid::new(7))));
    }
}
