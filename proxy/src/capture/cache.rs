//! The worker's analyses, by text and by what gives the text its meaning.
//!
//! Bounded in entries and in bytes of text; two generations, so that eviction costs nothing on the
//! hot path. Does not keep long texts: they are rarely seen twice.

use std::collections::HashMap;
use std::rc::Rc;

use protocol::decide::statement::{Analysis, DeferReason, Mode, SessionKnowledge, Write};
use xxhash_rust::xxh3::xxh3_128;

/// Entries of one generation; two are kept. An application has a few hundred texts.
const ENTRIES_MAX: usize = 4096;
/// Bytes of rewritten text in one generation.
const BYTES_MAX: usize = 8 << 20;

/// What an analysis depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct CacheKey {
    text: u128,
    session: u64,
    generation: u64,
    mode: Mode,
}

impl CacheKey {
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
    recent: HashMap<CacheKey, Rc<Analysis>>,
    recent_bytes: usize,
    earlier: HashMap<CacheKey, Rc<Analysis>>,
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

    /// From now on the text of this analysis goes to the server as it is.
    pub(super) fn mark_bulk(&mut self, analysis: &Rc<Analysis>) {
        let found = self.recent.iter_mut();
        for (_, held) in found.filter(|(_, held)| Rc::ptr_eq(held, analysis)) {
            *held = Rc::new(bulk(analysis));
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
    }
}
