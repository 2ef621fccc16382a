//! The worker's analyses, by text and by what gives the text its meaning.
//!
//! Bounded in entries and in bytes of text; two generations, so that eviction costs nothing on the
//! hot path. Does not keep long texts: they are rarely seen twice.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::rc::Rc;

use protocol::decide::statement::{Analysis, DeferReason, Mode, SessionKnowledge, Write};
use xxhash_rust::xxh3::xxh3_128;

/// Entries of one generation; two are kept. An application has a few hundred texts.
const ENTRIES_MAX: usize = 4096;
/// Bytes of rewritten text in one generation.
const BYTES_MAX: usize = 8 << 20;

/// An odd number without pattern (2^64 / golden ratio).
const MIX: u64 = 0x9e37_79b9_7f4a_7c15;

/// What an analysis depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct CacheKey {
    text: u128,
    session: u64,
    generation: u64,
    mode: Mode,
}

impl CacheKey {
    /// What the analysis of this text tells as its origin.
    pub(super) const fn origin(&self) -> u128 {
        self.text
    }

    pub(super) fn of(text: &[u8], session: &SessionKnowledge, generation: u64, mode: Mode) -> Self {
        Self {
            text: xxh3_128(text),
            session: session.fingerprint(),
            generation,
            mode,
        }
    }
}

/// Analyses by key: those used lately, and those used before.
#[derive(Debug, Default)]
pub(super) struct AnalysisCache {
    recent: Analyses,
    recent_bytes: usize,
    earlier: Analyses,
}

type Analyses = HashMap<CacheKey, Rc<Analysis>, BuildHasherDefault<Mixed>>;

/// Mixes the parts of a key, which are hashes already.
#[derive(Debug, Default)]
struct Mixed(u64);

impl Hasher for Mixed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64((*byte).into());
        }
    }

    fn write_u64(&mut self, part: u64) {
        self.0 = (self.0 ^ part).rotate_left(23).wrapping_mul(MIX);
    }

    fn write_u128(&mut self, part: u128) {
        let halves = [part >> 64, part & u128::from(u64::MAX)];
        for half in halves {
            self.write_u64(u64::try_from(half).unwrap_or_default());
        }
    }
}

impl AnalysisCache {
    pub(super) fn find(&mut self, key: &CacheKey) -> Option<Rc<Analysis>> {
        if let Some(found) = self.recent.get(key) {
            return Some(Rc::clone(found));
        }
        let found = self.earlier.remove(key)?;
        self.insert(*key, Rc::clone(&found));
        Some(found)
    }

    pub(super) fn insert(&mut self, key: CacheKey, analysis: Rc<Analysis>) {
        if self.recent.len() >= ENTRIES_MAX || self.recent_bytes >= BYTES_MAX {
            self.earlier = std::mem::take(&mut self.recent);
            self.recent_bytes = 0;
        }
        let text = analysis.rewritten.as_ref().map_or(0, |it| it.text.len());
        self.recent_bytes = self.recent_bytes.saturating_add(text);
        self.recent.insert(key, analysis);
    }

    /// From now on texts of this origin go to the server as they are.
    pub(super) fn mark_bulk(&mut self, origin: u128) {
        let kept = self.recent.iter_mut().chain(&mut self.earlier);
        for (_, held) in kept.filter(|(key, _)| key.text == origin) {
            *held = Rc::new(bulk(held));
        }
    }
}

fn bulk(analysis: &Analysis) -> Analysis {
    let mut statements = analysis.statements.clone();
    for statement in &mut statements {
        if let Write::Captured(_) = statement.write {
            statement.write = Write::Deferred(DeferReason::Bulk);
        }
    }
    Analysis {
        statements,
        unreadable: analysis.unreadable,
        rewritten: None,
        origin: analysis.origin,
    }
}

#[cfg(test)]
mod tests {
    use protocol::decide::statement::CatalogFacts;

    use super::*;

    fn key(text: &str) -> CacheKey {
        CacheKey::of(text.as_bytes(), &SessionKnowledge::Unknown, 1, Mode::Simple)
    }

    fn analysis() -> Rc<Analysis> {
        let unknown = SessionKnowledge::Unknown;
        let facts = CatalogFacts::unknown();
        let analyzed =
            protocol::decide::statement::analyze("SELECT 1", &unknown, &facts, Mode::Simple);
        Rc::new(analyzed)
    }

    #[test]
    fn what_is_used_stays_and_what_is_not_goes() {
        let mut cache = AnalysisCache::default();
        cache.insert(key("kept"), analysis());
        for number in 0..3 * ENTRIES_MAX {
            cache.insert(key(&number.to_string()), analysis());
            assert!(cache.find(&key("kept")).is_some(), "{number}");
        }
        assert!(cache.find(&key("0")).is_none());
        assert!(cache.recent.len() + cache.earlier.len() <= 2 * ENTRIES_MAX + 1);
    }

    #[test]
    fn a_key_is_the_text_and_what_gives_it_its_meaning() {
        let unknown = SessionKnowledge::Unknown;
        let of = |text: &str, generation, mode| {
            CacheKey::of(text.as_bytes(), &unknown, generation, mode)
        };
        let base = of("a", 1, Mode::Simple);
        assert_ne!(base, of("b", 1, Mode::Simple));
        assert_ne!(base, of("a", 2, Mode::Simple));
        assert_ne!(base, of("a", 1, Mode::Extended));
    }
}
