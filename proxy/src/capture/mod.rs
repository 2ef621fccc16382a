//! Capture, as a worker's connections use it: what a text does, and what becomes of its rows.
//!
//! One [`Capture`] per worker thread, one [`TransactionLog`] per client connection. Nothing here
//! waits: what is committed goes into the mirror's bounded queue or is dropped with a reason. Does
//! not read the wire; the relay hands in texts and rows, and takes the hidden column off itself.

mod cache;
mod log;
mod session_state;
mod shape;
mod tables;

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use protocol::contract::TableIndex;
use protocol::decide::statement::{
    Analysis, Captured, DeferReason, Mode, SessionKnowledge, Template, Write, analyze,
};

use crate::catalog::{CatalogHandle, CatalogView};
use crate::mirror::{Counters, MirrorHandle};
use cache::{AnalysisCache, CacheKey};

pub use log::{Delivery, TransactionLog};
pub(crate) use tables::{TableCount, TableCounts, tally};

/// A statement that brought more rows than this is bulk: not captured the next time.
const BULK_ROWS: usize = 100;

/// An odd number without pattern, so that generations differ in all bits (2^64 / golden ratio).
const GENERATION_SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

/// Captures for one worker thread.
#[derive(Debug)]
pub struct Capture {
    catalog: CatalogHandle,
    /// The reading of the catalog that this worker works from.
    view: RefCell<Rc<CatalogView>>,
    cache: RefCell<AnalysisCache>,
    mirror: MirrorHandle,
    counters: Arc<Counters>,
    tables: Rc<TableCounts>,
    /// How long a write may wait for the catalog behind a schema change.
    catalog_wait: Duration,
}

impl Capture {
    /// For one worker.
    pub fn new(catalog: CatalogHandle, mirror: MirrorHandle) -> Self {
        let counters = mirror.counters();
        let view = catalog.view();
        Self {
            tables: Rc::new(TableCounts::of(&view.facts.contract)),
            view: RefCell::new(Rc::new(view)),
            catalog,
            cache: RefCell::default(),
            mirror,
            counters,
            catalog_wait: Duration::ZERO,
        }
    }

    /// The same, with writes behind a schema change waiting this long for the catalog.
    #[must_use]
    pub fn with_catalog_wait(self, catalog_wait: Duration) -> Self {
        Self {
            catalog_wait,
            ..self
        }
    }

    /// What a write waits for first: that the catalog has been read again, but not for long.
    pub fn catalog_wait(&self) -> Option<impl Future<Output = ()> + use<>> {
        if self.catalog_wait.is_zero() || !self.catalog.is_behind() {
            return None;
        }
        let read = tokio::time::timeout(self.catalog_wait, self.catalog.clone().caught_up());
        Some(async move { drop(read.await) })
    }

    /// What became of an acknowledgement that waited: why the target has not confirmed, or nothing
    /// if it has.
    pub fn delivered(&self, unconfirmed: Option<&'static str>) {
        match unconfirmed {
            None => self.counters.confirmed(),
            Some(reason) => self.counters.unconfirmed(reason),
        }
    }

    /// A statement has run under capture.
    pub fn captured_statement(&self, captured: &Captured) {
        self.counters.captured_statement();
        if let Some(table) = self.table(captured.table_oid) {
            self.tables.statement(table);
        }
    }

    /// What is counted of the tables that this worker's clients write to.
    pub(crate) fn tables(&self) -> Rc<TableCounts> {
        Rc::clone(&self.tables)
    }

    /// The carried table with this OID.
    fn table(&self, oid: u32) -> Option<TableIndex> {
        self.view().facts.tables.get(&oid)?.table
    }

    /// What `text` does in this session, and the text to send instead if it is captured.
    pub fn analyze(&self, text: &[u8], session: &SessionKnowledge, mode: Mode) -> Rc<Analysis> {
        let view = self.view();
        let utf8 = std::str::from_utf8(text).ok();
        // Literals are cut out as the server reads them only where strings are standard. A text with
        // parameters has no template: seen here in a fraction of the time.
        let template = match session {
            SessionKnowledge::Known { facts, .. } if facts.standard_strings => utf8
                .filter(|text| mode == Mode::Simple || !text.contains("$1"))
                .and_then(Template::of),
            SessionKnowledge::Known { .. } | SessionKnowledge::Unknown => None,
        };
        let Some((template, text)) = template.zip(utf8) else {
            return self.kept(text, session, &view, mode);
        };
        let shared = self.kept(template.text().as_bytes(), session, &view, mode);
        match template.fill(text, &shared) {
            Some(filled) => Rc::new(filled),
            None => self.kept(text.as_bytes(), session, &view, mode),
        }
    }

    /// The analysis of exactly this text.
    fn kept(
        &self,
        text: &[u8],
        session: &SessionKnowledge,
        view: &CatalogView,
        mode: Mode,
    ) -> Rc<Analysis> {
        let key = CacheKey::of(text, session, view.facts.generation, mode);
        if let Some(found) = self.cache.borrow_mut().find(&key) {
            return found;
        }
        // What was analysed before has asked for its role then.
        if let SessionKnowledge::Known { facts, .. } = session
            && view.facts.is_known()
            && !view.facts.readable.contains_key(&facts.role)
        {
            self.catalog.wants_role(&facts.role);
        }
        let mut analysis = match std::str::from_utf8(text) {
            Ok(text) => analyze(text, session, &view.facts, mode),
            Err(_) => Analysis::unreadable(DeferReason::Unparsable),
        };
        analysis.origin = key.origin();
        let analysis = Rc::new(analysis);
        self.cache.borrow_mut().insert(key, Rc::clone(&analysis));
        analysis
    }

    /// Differs when what analyses rest on does: the session's state or the catalog. A statement
    /// that was rewritten on other grounds may fail only because of that.
    pub fn grounds(&self, session: &SessionKnowledge) -> u64 {
        let generation = self.view().facts.generation;
        session.fingerprint() ^ generation.wrapping_mul(GENERATION_SPREAD)
    }

    /// Whether the tables of these statements are tables wherever their names are looked up, so
    /// that a hidden column can be read from them under any search path.
    pub fn are_tables_everywhere(&self, analysis: &Analysis) -> bool {
        let view = self.view();
        analysis.statements.iter().all(|it| match it.write {
            Write::Captured(captured) => view.facts.is_table_everywhere(captured.table_oid),
            Write::None | Write::Outside(_) | Write::Deferred(_) | Write::Suspect(_) => true,
        })
    }

    /// A captured statement brought this many rows: a bulk one is not captured the next time.
    pub fn saw_rows(&self, analysis: &Rc<Analysis>, count: usize) {
        if count > BULK_ROWS {
            self.cache.borrow_mut().mark_bulk(analysis.origin);
        }
    }

    /// Asks for the session's state: one row of texts for [`Self::read_session`].
    pub const fn session_query() -> &'static str {
        session_state::SESSION_QUERY
    }

    /// The session's state from the row that [`Self::session_query`] gave.
    pub fn read_session(columns: &[Option<Bytes>]) -> SessionKnowledge {
        session_state::read(columns)
    }

    /// The catalog as last read, or nothing known while a schema change has not been read yet.
    fn view(&self) -> Rc<CatalogView> {
        let mut view = self.view.borrow_mut();
        if !self.catalog.is_current(&view) {
            *view = Rc::new(self.catalog.view());
            // While a change of the schema has not been read, nothing is carried, and nothing counted.
            if view.facts.is_known() {
                self.tables.change(&view.facts.contract);
            }
        }
        Rc::clone(&view)
    }
}
