//! The sweep for phantoms: entries that the log should have vouched for and did not (rule 13).
//!
//! An entry seen unverified is remembered with a source position taken afterwards; if it still
//! stands unverified when the stream has passed that position, its row is owed. Does not say that
//! the row is wrong: the re-read does.

use std::collections::BTreeMap;

use crate::lsn::Lsn;
use crate::op_id::OpId;
use crate::revision::Revision;
use crate::row::RowKey;

/// An unverified entry as the sweep saw it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Sighting {
    /// The key.
    pub key: RowKey,
    /// The entry's revision.
    pub rev: Revision,
    /// The entry's operation.
    pub op_id: Option<OpId>,
}

/// The unverified entries seen by the last sweep, each with the position to wait for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Sweep {
    seen: BTreeMap<RowKey, (Revision, Option<OpId>, Lsn)>,
}

impl Sweep {
    /// The target's unverified entries now; `source_lsn` was taken at the source afterwards.
    pub fn observe(&mut self, sightings: Vec<Sighting>, source_lsn: Lsn) {
        let mut before = std::mem::take(&mut self.seen);
        self.seen = sightings
            .into_iter()
            .map(|Sighting { key, rev, op_id }| {
                let since = match before.remove(&key) {
                    Some((old_rev, old_op, lsn)) if (old_rev, old_op) == (rev, op_id) => lsn,
                    Some(_) | None => source_lsn,
                };
                (key, (rev, op_id, since))
            })
            .collect();
    }

    /// The keys whose entries the log has passed by, now that it has been applied up to `passed`.
    pub fn passed_by(&self, passed: Lsn) -> Vec<RowKey> {
        let late = self
            .seen
            .iter()
            .filter(|(_, seen)| has_passed(passed, seen.2));
        late.map(|(key, _)| key.clone()).collect()
    }

    /// The revision of the key's entry, if the log has passed it by.
    pub fn passed_rev(&self, key: &RowKey, passed: Lsn) -> Option<Revision> {
        let seen = self.seen.get(key).filter(|seen| has_passed(passed, seen.2));
        seen.map(|(rev, _, _)| *rev)
    }
}

/// Whether a stream at `position` has passed the insert position `target`. Where a page has just
/// been filled, the insert position lies behind the next page's header (24 or 40 bytes), which an
/// idle stream never reaches.
pub fn has_passed(position: Lsn, target: Lsn) -> bool {
    let in_page = target.as_u64() % 8192;
    let reachable = match in_page {
        24 | 40 => target.as_u64() - in_page,
        _ => target.as_u64(),
    };
    position.as_u64() >= reachable
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::contract::TableIndex;
    use crate::revision::Epoch;

    fn sighting(lsn: u64) -> Sighting {
        Sighting {
            key: RowKey::from_stored(TableIndex::new(0), Bytes::from_static(b"k")),
            rev: Revision::logged(Epoch::FIRST, Lsn::new(lsn)).unwrap(),
            op_id: None,
        }
    }

    #[test]
    fn an_entry_is_late_when_the_stream_has_passed_its_first_sighting() {
        let mut sweep = Sweep::default();
        sweep.observe(vec![sighting(5)], Lsn::new(100));
        sweep.observe(vec![sighting(5)], Lsn::new(200));
        assert!(sweep.passed_by(Lsn::new(99)).is_empty());
        let late = sighting(5);
        assert_eq!(
            sweep.passed_by(Lsn::new(100)),
            std::slice::from_ref(&late.key)
        );
        assert_eq!(sweep.passed_rev(&late.key, Lsn::new(100)), Some(late.rev));
    }

    #[test]
    fn a_newer_version_starts_again_and_a_verified_one_is_forgotten() {
        let mut sweep = Sweep::default();
        sweep.observe(vec![sighting(5)], Lsn::new(100));
        sweep.observe(vec![sighting(6)], Lsn::new(200));
        assert!(sweep.passed_by(Lsn::new(150)).is_empty());
        sweep.observe(vec![], Lsn::new(300));
        assert!(sweep.passed_by(Lsn::new(900)).is_empty());
    }

    #[test]
    fn a_page_header_is_not_waited_for() {
        assert!(has_passed(Lsn::new(8192), Lsn::new(8192 + 24)));
        assert!(!has_passed(Lsn::new(8192), Lsn::new(8192 + 32)));
        assert!(!has_passed(Lsn::new(8191), Lsn::new(8192 + 24)));
    }
}
