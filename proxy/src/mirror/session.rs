//! One session at the target and what it has under way.
//!
//! Does not look into answers.

use std::collections::VecDeque;
use std::sync::Arc;

use apply::connection::ConnectionError;
use apply::{EarlyOutcome, EarlyTransaction, EarlyWriter};
use protocol::contract::Contract;
use tokio::time::Instant;

use super::queue::Envelope;

/// Source transactions that share one of the target's: enough that the target's costs by
/// transaction hardly count, few enough that what is refused costs the others little.
pub(super) const GROUP_TRANSACTIONS_MAX: usize = 64;
/// Rows of a group, counted before its last transaction.
pub(super) const GROUP_ROWS_MAX: usize = 256;
/// Transactions under way at once: more than a target a few milliseconds away can use.
const WINDOW_TRANSACTIONS_MAX: usize = 256;
/// Bytes under way at once, so that neither side waits for the other to read.
pub(super) const WINDOW_BYTES_MAX: usize = 1 << 20;

/// One session at the target.
pub(super) struct Session {
    pub(super) writer: EarlyWriter,
    contract: Arc<Contract>,
    under_way: VecDeque<Vec<Envelope>>,
    under_way_count: usize,
    under_way_size: usize,
    /// What went with something that was refused, and has to go again; bounded by the window.
    again: VecDeque<Vec<Envelope>>,
    /// When the session was idle last, or an answer came.
    answered: Instant,
    /// The window was full when the queue was looked at last.
    backlogged: bool,
    /// Takes nothing new; ends when everything under way is answered.
    spent: bool,
}

impl Session {
    pub(super) fn new(writer: EarlyWriter, contract: Arc<Contract>) -> Self {
        Self {
            writer,
            contract,
            under_way: VecDeque::new(),
            under_way_count: 0,
            under_way_size: 0,
            again: VecDeque::new(),
            answered: Instant::now(),
            backlogged: false,
            spent: false,
        }
    }

    /// Whether this session's statements are of that contract. A newer copy of the same one is
    /// kept, so that the next comparison is one of addresses.
    pub(super) fn speaks(&mut self, contract: &Arc<Contract>) -> bool {
        if Arc::ptr_eq(&self.contract, contract) {
            return true;
        }
        let same = *self.contract == **contract;
        if same {
            self.contract = Arc::clone(contract);
        }
        same
    }

    /// Whether the target owes nothing.
    pub(super) fn is_idle(&self) -> bool {
        self.under_way.is_empty()
    }

    pub(super) const fn is_spent(&self) -> bool {
        self.spent
    }

    pub(super) const fn spend(&mut self) {
        self.spent = true;
    }

    /// Whether more is to be sent as soon as there is room.
    pub(super) fn is_backlogged(&self) -> bool {
        self.backlogged || !self.again.is_empty()
    }

    pub(super) const fn set_backlogged(&mut self, backlogged: bool) {
        self.backlogged = backlogged;
    }

    pub(super) fn has_room(&self) -> bool {
        !self.spent
            && self.under_way_count < WINDOW_TRANSACTIONS_MAX
            && self.under_way_size < WINDOW_BYTES_MAX
    }

    /// Since when the target has been silent, if it owes anything.
    pub(super) const fn answered(&self) -> Instant {
        self.answered
    }

    /// Adds a group to what is sent with the next [`Self::answer`].
    pub(super) fn add(&mut self, group: Vec<Envelope>) {
        if self.is_idle() {
            self.answered = Instant::now();
        }
        let members: Vec<&EarlyTransaction> = group
            .iter()
            .map(|envelope| &envelope.transaction.early)
            .collect();
        self.writer.add(&members);
        self.under_way_count += group.len();
        self.under_way_size += size_of(&group);
        self.under_way.push_back(group);
    }

    /// Sends what was added and waits for the oldest answer. Cancel-safe.
    pub(super) async fn answer(&mut self) -> Result<Option<EarlyOutcome>, ConnectionError> {
        self.writer.flush().await?;
        let outcome = self.writer.outcome().await?;
        self.answered = Instant::now();
        Ok(outcome)
    }

    /// The group that was answered.
    pub(super) fn take(&mut self) -> Option<Vec<Envelope>> {
        let group = self.under_way.pop_front()?;
        self.under_way_count = self.under_way_count.saturating_sub(group.len());
        self.under_way_size = self.under_way_size.saturating_sub(size_of(&group));
        Some(group)
    }

    /// Puts a group where [`Self::take_again`] finds it.
    pub(super) fn send_again(&mut self, group: Vec<Envelope>) {
        if !group.is_empty() {
            self.again.push_back(group);
        }
    }

    pub(super) fn take_again(&mut self) -> Option<Vec<Envelope>> {
        self.again.pop_front()
    }
}

fn size_of(group: &[Envelope]) -> usize {
    group.iter().map(|envelope| envelope.size).sum()
}
