//! What the names of a session's statements and portals mean while requests are in flight.
//!
//! A pipelined Bind refers to a Parse that has not been answered and may yet fail or be skipped. So
//! every change is pending until its answer has come: look-ups see the newest pending change, a
//! failure takes it back, and a later change of the same name does not depend on the earlier one's
//! fate. Behind the Sync of a change its fate decides what the name means: until it is known, the name
//! is in doubt if it may mean something else. Does not know what the server does by itself (DEALLOCATE in a function): a name that the
//! server has forgotten makes its own error there.

use std::collections::{HashMap, VecDeque};

use bytes::Bytes;

/// A change of a name that waits for its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    name: Bytes,
    number: u64,
}

/// What names mean; the empty name is the unnamed statement or portal.
#[derive(Debug)]
pub struct Names<V> {
    unnamed: Slot<V>,
    named: HashMap<Bytes, Slot<V>>,
    changes: u64,
    /// How many changes had been made when the last Sync was sent.
    synced: u64,
}

#[derive(Debug)]
struct Slot<V> {
    confirmed: Option<V>,
    /// In the order they were sent; `None` forgets the name.
    pending: VecDeque<(u64, Option<V>)>,
}

impl<V> Slot<V> {
    const fn new() -> Self {
        Self {
            confirmed: None,
            pending: VecDeque::new(),
        }
    }

    fn newest(&self) -> Option<&V> {
        match self.pending.back() {
            Some((_, value)) => value.as_ref(),
            None => self.confirmed.as_ref(),
        }
    }

    fn is_void(&self) -> bool {
        self.confirmed.is_none() && self.pending.is_empty()
    }
}

impl<V> Names<V> {
    /// No names.
    pub fn new() -> Self {
        Self {
            unnamed: Slot::new(),
            named: HashMap::new(),
            changes: 0,
            synced: 0,
        }
    }

    /// A Sync was sent: what comes behind it is run even if a change before it was not made.
    pub fn sync(&mut self) {
        self.synced = self.changes;
    }

    /// Whether what `name` means depends on the fate of a change that stands behind a Sync.
    pub fn is_in_doubt(&self, name: &[u8]) -> bool {
        let Some(slot) = self.lookup(name) else {
            return false;
        };
        let Some((number, _)) = slot.pending.back() else {
            return false;
        };
        let mut others = slot.pending.iter().rev().skip(1);
        *number <= self.synced
            && (slot.confirmed.is_some() || others.any(|(_, value)| value.is_some()))
    }

    /// Whether it is not known yet if `name` means anything at all: its last change stands behind a
    /// Sync and waits for its answer.
    pub fn is_unanswered(&self, name: &[u8]) -> bool {
        let last = self.lookup(name).and_then(|slot| slot.pending.back());
        last.is_some_and(|(number, _)| *number <= self.synced)
    }

    fn lookup(&self, name: &[u8]) -> Option<&Slot<V>> {
        if name.is_empty() {
            Some(&self.unnamed)
        } else {
            self.named.get(name)
        }
    }

    /// What `name` will mean when the server reads what is sent now.
    pub fn find(&self, name: &[u8]) -> Option<&V> {
        self.lookup(name)?.newest()
    }

    /// Whether `name` has a meaning, or may have one again where changes that are pending fail.
    pub fn may_find(&self, name: &[u8]) -> bool {
        self.lookup(name).is_some_and(|slot| {
            let mut pending = slot.pending.iter();
            slot.confirmed.is_some() || pending.any(|(_, value)| value.is_some())
        })
    }

    /// All meanings that a name has, or may yet have.
    pub fn values(&self) -> impl Iterator<Item = &V> {
        let slots = std::iter::once(&self.unnamed).chain(self.named.values());
        slots.flat_map(|slot| {
            let pending = slot.pending.iter().filter_map(|(_, value)| value.as_ref());
            slot.confirmed.iter().chain(pending)
        })
    }

    /// Notes that a change of `name` was sent: a new meaning, or none.
    pub fn change(&mut self, name: &[u8], value: Option<V>) -> Change {
        self.changes += 1;
        let number = self.changes;
        // The name outlives the read buffer that it is a slice of.
        let name = Bytes::copy_from_slice(name);
        let slot = if name.is_empty() {
            &mut self.unnamed
        } else {
            self.named.entry(name.clone()).or_insert_with(Slot::new)
        };
        slot.pending.push_back((number, value));
        Change { name, number }
    }

    /// The server has made the change.
    pub fn confirm(&mut self, change: &Change) {
        let Some(slot) = self.slot(&change.name) else {
            return;
        };
        let found = slot.pending.iter().position(|(n, _)| *n == change.number);
        if let Some((_, value)) = found.and_then(|index| slot.pending.remove(index)) {
            slot.confirmed = value;
        }
        self.tidy(&change.name);
    }

    /// The server has refused or skipped the change.
    pub fn retract(&mut self, change: &Change) {
        if let Some(slot) = self.slot(&change.name) {
            slot.pending.retain(|(number, _)| *number != change.number);
        }
        self.tidy(&change.name);
    }

    /// The server has forgotten `name`.
    pub fn forget(&mut self, name: &[u8]) {
        if let Some(slot) = self.slot(name) {
            slot.confirmed = None;
        }
        self.tidy(name);
    }

    /// The server has forgotten every name; what is in flight stands.
    pub fn forget_all(&mut self) {
        self.unnamed.confirmed = None;
        self.named.retain(|_, slot| {
            slot.confirmed = None;
            !slot.is_void()
        });
    }

    /// The server has forgotten every name with such a meaning; what is in flight stands.
    pub fn forget_where(&mut self, is_gone: impl Fn(&V) -> bool) {
        let forget = |slot: &mut Slot<V>| {
            slot.confirmed.take_if(|it| is_gone(it));
        };
        forget(&mut self.unnamed);
        self.named.retain(|_, slot| {
            forget(slot);
            !slot.is_void()
        });
    }

    /// What the name of a change means since it was confirmed.
    pub fn confirmed(&self, change: &Change) -> Option<&V> {
        self.lookup(&change.name)?.confirmed.as_ref()
    }

    /// How many names are known besides the unnamed one.
    pub fn len(&self) -> usize {
        self.named.len()
    }

    /// Whether no name is known besides the unnamed one.
    pub fn is_empty(&self) -> bool {
        self.named.is_empty()
    }

    fn slot(&mut self, name: &[u8]) -> Option<&mut Slot<V>> {
        if name.is_empty() {
            Some(&mut self.unnamed)
        } else {
            self.named.get_mut(name)
        }
    }

    fn tidy(&mut self, name: &[u8]) {
        if !name.is_empty() && self.named.get(name).is_some_and(Slot::is_void) {
            self.named.remove(name);
        }
    }
}

impl<V> Default for Names<V> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: &[u8] = b"s";

    #[test]
    fn a_pipelined_look_up_sees_what_was_sent_before_it() {
        let mut names = Names::new();
        let change = names.change(NAME, Some(1));
        assert_eq!(names.find(NAME), Some(&1));
        names.confirm(&change);
        assert_eq!(names.find(NAME), Some(&1));
    }

    #[test]
    fn what_is_forgotten_by_its_meaning_leaves_the_others() {
        let mut names = Names::new();
        let changes = [(b"a", 1), (b"b", 2)].map(|(name, value)| names.change(name, Some(value)));
        for change in &changes {
            names.confirm(change);
        }
        assert_eq!(names.confirmed(&changes[1]), Some(&2));
        names.forget_where(|value| *value == 2);
        assert_eq!((names.find(b"a"), names.find(b"b")), (Some(&1), None));
    }

    #[test]
    fn a_refused_change_leaves_what_was() {
        let mut names = Names::new();
        let first = names.change(NAME, Some(1));
        names.confirm(&first);
        let second = names.change(NAME, Some(2));
        names.retract(&second);
        assert_eq!(names.find(NAME), Some(&1));
    }

    #[test]
    fn a_later_change_does_not_depend_on_an_earlier_ones_fate() {
        let mut names = Names::new();
        let first = names.change(NAME, Some(1));
        let second = names.change(NAME, Some(2));
        names.retract(&first);
        assert_eq!(names.find(NAME), Some(&2));
        names.retract(&second);
        assert_eq!(names.find(NAME), None);
        assert!(names.is_empty());
    }

    #[test]
    fn a_close_that_was_skipped_is_taken_back() {
        let mut names = Names::new();
        let made = names.change(b"", Some(1));
        names.confirm(&made);
        let closed = names.change(b"", None);
        assert_eq!(names.find(b""), None);
        names.retract(&closed);
        assert_eq!(names.find(b""), Some(&1));
    }

    #[test]
    fn a_name_may_be_found_again_whatever_was_sent_since() {
        let mut names = Names::new();
        assert!(!names.may_find(b""));
        let made = names.change(b"", Some(1));
        let closed = names.change(b"", None);
        assert!(names.may_find(b"") && names.find(b"").is_none());
        names.retract(&made);
        names.confirm(&closed);
        assert!(!names.may_find(b""));
    }

    #[test]
    fn a_change_behind_its_sync_is_in_doubt_where_the_name_may_mean_something_else() {
        let mut names = Names::new();
        let first = names.change(NAME, Some(1));
        names.sync();
        assert!(!names.is_in_doubt(NAME), "there is nothing else");
        assert!(names.is_unanswered(NAME));
        let second = names.change(NAME, Some(2));
        assert!(!names.is_in_doubt(NAME), "it is skipped together with it");
        assert!(!names.is_unanswered(NAME));
        names.sync();
        assert!(names.is_in_doubt(NAME));
        names.confirm(&first);
        assert!(names.is_in_doubt(NAME));
        names.retract(&second);
        assert!(!names.is_in_doubt(NAME));
        let closed = names.change(NAME, None);
        names.sync();
        assert!(names.is_in_doubt(NAME), "it may still be there");
        names.confirm(&closed);
        assert!(!names.is_in_doubt(NAME));
    }

    #[test]
    fn forgetting_all_leaves_what_is_in_flight() {
        let mut names = Names::new();
        let made = names.change(NAME, Some(1));
        names.confirm(&made);
        let next = names.change(b"t", Some(2));
        names.forget_all();
        assert_eq!((names.len(), names.find(NAME)), (1, None));
        names.confirm(&next);
        assert_eq!(names.find(b"t"), Some(&2));
    }
}
