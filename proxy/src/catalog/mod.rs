//! The source's catalog as the workers use it: a reading that is current, or none.
//!
//! One task reads ([`run`]); workers hold a copy and compare one number per statement. It holds what
//! a statement can mean to what is carried, and nothing of other tables. While a schema change that
//! this proxy has seen is not read yet, nothing is known, so nothing is captured. Does not take part
//! in any client's session.

mod choices;
mod load;
mod queries;
mod reader;
mod reading;
mod signs;
mod tables;

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use protocol::contract::TableIndex;
use protocol::decide::statement::{CatalogFacts, MirrorChoice};
use protocol::op_id::OpId;
use protocol::revision::Epoch;
use protocol::xid::Xid;
use tokio::sync::{Notify, oneshot};

pub use reader::run;
pub use signs::ContractFrom;

/// Roles that may be asked for between two readings.
const ROLES_MAX: usize = 1000;
/// Who may wait at one time for the names of tables that do not matter.
const ASKING_MAX: usize = 16;

/// Schema and name of tables that are known to the source only.
pub(crate) type Others = Vec<(String, String)>;

/// One reading, or the lack of one.
#[derive(Debug, Clone)]
pub(crate) struct CatalogView {
    /// Differs from the handle's number once the view is out of date.
    stamp: u64,
    pub(crate) facts: Arc<CatalogFacts>,
    pub(crate) epoch: Epoch,
    pub(crate) system_identifier: u64,
    /// The source's in this epoch, if that is known.
    timeline: Option<i32>,
    /// What the configuration asks of the mirror for single tables, by their place in the contract;
    /// empty if for none.
    choices: Arc<[Option<MirrorChoice>]>,
}

impl CatalogView {
    /// What is asked of the mirror for this table.
    pub(crate) fn choice(&self, table: TableIndex) -> Option<MirrorChoice> {
        self.choices.get(table.as_usize()).copied().flatten()
    }

    /// Whether a connection to a server on `timeline` is none to this epoch's source.
    pub(crate) fn is_of_another(&self, timeline: Option<i32>) -> bool {
        let ours = self.timeline.zip(timeline);
        ours.is_some_and(|(epochs, connections)| epochs != connections)
    }

    /// The idempotency key of the source's transaction.
    pub(crate) fn op_id(&self, xid: Xid) -> OpId {
        OpId::of(self.system_identifier, self.epoch, xid)
    }
}

/// Access to the latest reading; cheap to clone.
#[derive(Debug, Clone)]
pub struct CatalogHandle {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// Grows with each publication and each schema change. Release on write, acquire on read: who
    /// sees the number sees what it stands for.
    stamp: AtomicU64,
    published: Mutex<Published>,
    wake: Notify,
    /// Told of each publication.
    published_once: Notify,
}

/// What the lock protects: the latest reading, and what it has to cover.
#[derive(Debug)]
struct Published {
    view: CatalogView,
    /// Schema changes seen so far, and those that the reading covers.
    changes: u64,
    covered: u64,
    /// Roles seen whose privileges have not been read.
    roles: HashSet<String>,
    /// Who wants to know the names of tables that do not matter to any analysis.
    asking: Vec<oneshot::Sender<Others>>,
}

impl Default for CatalogHandle {
    fn default() -> Self {
        Self::new()
    }
}

impl CatalogHandle {
    /// A handle that knows nothing until the task [`run`] has read the catalog.
    pub fn new() -> Self {
        let view = CatalogView {
            stamp: 0,
            facts: Arc::new(CatalogFacts::unknown()),
            epoch: Epoch::FIRST,
            system_identifier: 0,
            timeline: None,
            choices: Arc::default(),
        };
        let shared = Shared {
            stamp: AtomicU64::new(0),
            published: Mutex::new(Published {
                view,
                changes: 0,
                covered: 0,
                roles: HashSet::new(),
                asking: Vec::new(),
            }),
            wake: Notify::new(),
            published_once: Notify::new(),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// A handle that knows `facts`, of the source's first generation.
    #[cfg(test)]
    pub(crate) fn of(facts: CatalogFacts) -> Self {
        let handle = Self::new();
        let mut view = handle.view();
        view.facts = Arc::new(facts);
        handle.publish(Some(view), 0);
        handle
    }

    /// Whether `view` is what [`Self::view`] would give.
    pub(crate) fn is_current(&self, view: &CatalogView) -> bool {
        self.shared.stamp.load(Ordering::Acquire) == view.stamp
    }

    /// The latest reading, if it covers every schema change seen; else nothing is known.
    pub(crate) fn view(&self) -> CatalogView {
        // Read first: a change in between is noticed at the next comparison.
        let stamp = self.shared.stamp.load(Ordering::Acquire);
        let published = self.shared.published.lock();
        let mut view = published.view.clone();
        view.stamp = stamp;
        if published.covered < published.changes {
            view.facts = Arc::new(CatalogFacts::unknown());
        }
        view
    }

    /// A schema change of a client of this proxy has been committed: the reading is out of date.
    pub(crate) fn schema_changed(&self) {
        let mut published = self.shared.published.lock();
        published.changes = published.changes.saturating_add(1);
        self.shared.stamp.fetch_add(1, Ordering::Release);
        drop(published);
        self.shared.wake.notify_one();
    }

    /// Something did not fit the reading: read soon.
    pub(crate) fn read_again(&self) {
        self.shared.wake.notify_one();
    }

    /// The privileges of this role are wanted.
    pub(crate) fn wants_role(&self, role: &str) {
        let mut published = self.shared.published.lock();
        if published.roles.len() < ROLES_MAX && published.roles.insert(role.to_owned()) {
            drop(published);
            self.shared.wake.notify_one();
        }
    }

    /// The tables that no analysis needs to know of, asked of the source; nothing if it does not
    /// answer.
    pub(crate) async fn others(&self) -> Option<Others> {
        let (asking, answer) = oneshot::channel();
        {
            let mut published = self.shared.published.lock();
            published.asking.retain(|earlier| !earlier.is_closed());
            if published.asking.len() >= ASKING_MAX {
                return None;
            }
            published.asking.push(asking);
        }
        self.shared.wake.notify_one();
        answer.await.ok()
    }

    fn asking(&self) -> Vec<oneshot::Sender<Others>> {
        std::mem::take(&mut self.shared.published.lock().asking)
    }

    /// Whether a schema change seen has not been read yet.
    pub(crate) fn is_behind(&self) -> bool {
        let published = self.shared.published.lock();
        published.covered < published.changes
    }

    /// Waits until every schema change seen so far has been read.
    pub(crate) async fn caught_up(self) {
        let wanted = self.changes();
        loop {
            let published = self.shared.published_once.notified();
            tokio::pin!(published);
            // Enabled before the question, so that no publication falls between the two.
            published.as_mut().enable();
            if self.shared.published.lock().covered >= wanted {
                return;
            }
            published.await;
        }
    }

    fn changes(&self) -> u64 {
        self.shared.published.lock().changes
    }

    fn roles(&self) -> Vec<String> {
        let published = self.shared.published.lock();
        let mut roles: Vec<String> = published.roles.iter().cloned().collect();
        roles.sort_unstable();
        roles
    }

    /// Puts a reading in place that covers the first `covered` schema changes; `None` leaves the
    /// facts as they are.
    fn publish(&self, reading: Option<CatalogView>, covered: u64) {
        let mut published = self.shared.published.lock();
        let was_out_of_date = published.covered < published.changes;
        published.covered = published.covered.max(covered);
        let changed = reading.is_some() || was_out_of_date;
        if let Some(view) = reading {
            published.view = view;
        }
        if changed {
            self.shared.stamp.fetch_add(1, Ordering::Release);
        }
        drop(published);
        self.shared.published_once.notify_waiters();
    }

    /// Waits for the first reading.
    pub(crate) async fn known(&self) {
        loop {
            let published = self.shared.published_once.notified();
            tokio::pin!(published);
            // Enabled before the question, so that no publication falls between the two.
            published.as_mut().enable();
            if self.shared.stamp.load(Ordering::Acquire) > 0 {
                return;
            }
            published.await;
        }
    }
}
