//! The mirror while it has a session: when to look into the queue, when to listen for answers.
//!
//! What is committed within a millisecond or two goes to the target in one write, as one
//! transaction there: waking this thread, and the target's, costs more than the write. While there
//! is work the queue is looked at by the clock, so that workers need not wake anybody; a client that
//! waits for its transaction is the exception. Does not decide what an answer means: [`super::settle`] does.

use std::time::Duration;

use apply::connection::ConnectionError;
use apply::{EarlyOutcome, EarlyTransaction};
use tokio::time::{Instant, sleep_until};

use super::DropReason;
use super::queue::Envelope;
use super::session::{GROUP_ROWS_MAX, GROUP_TRANSACTIONS_MAX, Session, WINDOW_BYTES_MAX};
use super::settle::{Verdict, is_expected, verdict};
use super::supervise::{Ended, Mirror};

/// How long a transaction may wait for others to go with it. The timer's resolution is a millisecond,
/// so it is one to two; a reader of the target is to be no more than a few behind.
const LINGER: Duration = Duration::from_millis(1);
/// An answer that takes longer than this (lock waits end after 200 ms) will not come.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// What is in the queue when the proxy goes down may take this long.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(3);

/// When the queue is looked at next.
#[derive(Debug, Clone, Copy)]
enum Pace {
    /// When something comes: there was nothing last time.
    Listening,
    /// At this time, whatever comes before.
    Gathering(Instant),
    /// The proxy goes down: at once, until this time.
    Draining(Instant),
}

/// What comes first.
enum Next {
    Answer(Result<Option<EarlyOutcome>, ConnectionError>),
    /// The target has said nothing for too long.
    Silence,
    Envelope(Option<Envelope>),
    /// Time to look into the queue.
    Due,
    Shutdown,
}

impl Mirror {
    pub(super) async fn serve(&mut self, mut session: Session) -> Ended {
        if !self.gate_is_open(&mut session).await {
            return Ended::Session;
        }
        let mut pace = Pace::Gathering(Instant::now());
        let mut first = None;
        loop {
            if session.is_spent() && session.is_idle() {
                let reason = self.breaker.reason().unwrap_or(DropReason::TargetSchema);
                self.give_up(session, first, reason);
                return Ended::Session;
            }
            match self.next(&mut session, pace).await {
                Next::Answer(Ok(Some(outcome))) => {
                    self.settle(&mut session, &outcome);
                    if session.is_backlogged() {
                        self.fill(&mut session, &mut first);
                    }
                }
                Next::Answer(Ok(None)) => {}
                Next::Answer(Err(error)) => {
                    tracing::warn!(%error, "the mirror lost its session");
                    return self.lose(session, first);
                }
                Next::Silence => {
                    tracing::warn!("the target does not answer; the mirror gives up its session");
                    return self.lose(session, first);
                }
                Next::Envelope(Some(envelope)) => {
                    let now = Instant::now();
                    let is_awaited = envelope.waiting.is_some();
                    debug_assert!(
                        first.is_none(),
                        "it listens only once it has sent the first"
                    );
                    first = Some(envelope);
                    pace = Pace::Gathering(if is_awaited { now } else { now + LINGER });
                }
                Next::Due => {
                    let found = self.fill(&mut session, &mut first);
                    // What there was no room for has not left the queue, or is the first.
                    let goes_on = found || session.is_backlogged() || first.is_some();
                    pace = match pace {
                        Pace::Draining(until) => Pace::Draining(until),
                        _ if goes_on => Pace::Gathering(Instant::now() + LINGER),
                        Pace::Listening | Pace::Gathering(_) => Pace::Listening,
                    };
                }
                Next::Envelope(None) | Next::Shutdown => {
                    pace = Pace::Draining(Instant::now() + DRAIN_TIMEOUT);
                }
            }
            if let Pace::Draining(until) = pace {
                self.fill(&mut session, &mut first);
                if session.is_idle() {
                    self.give_up(session, first, DropReason::Shutdown);
                    return Ended::Shutdown;
                }
                if Instant::now() >= until {
                    self.lose(session, first);
                    return Ended::Shutdown;
                }
            }
        }
    }

    async fn next(&mut self, session: &mut Session, pace: Pace) -> Next {
        let silent_at = session.answered() + ANSWER_TIMEOUT;
        let due = match pace {
            Pace::Listening => None,
            Pace::Gathering(due) | Pace::Draining(due) => Some(due),
        };
        let awaits = !session.is_idle();
        let wake = match (due, awaits) {
            (Some(due), true) => due.min(silent_at),
            (Some(due), false) => due,
            (None, _) => silent_at,
        };
        let listens = matches!(pace, Pace::Listening);
        let gathers = matches!(pace, Pace::Gathering(_));
        tokio::select! {
            answer = session.answer(), if awaits => Next::Answer(answer),
            envelope = self.queue.recv(), if listens => Next::Envelope(envelope),
            () = self.hurry.called(), if gathers => Next::Due,
            () = sleep_until(wake), if awaits || due.is_some() => {
                if awaits && Instant::now() >= silent_at {
                    Next::Silence
                } else {
                    Next::Due
                }
            }
            () = self.shutdown.cancelled(), if listens || gathers => Next::Shutdown,
        }
    }

    /// Looks at the gate before the first transaction; after SG001 this is how it is found open.
    async fn gate_is_open(&mut self, session: &mut Session) -> bool {
        let question = "SELECT epoch FROM segue.mirror_gate";
        let answer = session.writer.connection().query_simple(question);
        match tokio::time::timeout(ANSWER_TIMEOUT, answer).await {
            Ok(Ok(rows)) if !rows.is_empty() => {
                self.breaker.close();
                true
            }
            Ok(Ok(_)) => {
                self.breaker.open(DropReason::GateShut);
                false
            }
            Ok(Err(error)) => {
                tracing::warn!(%error, "the mirror gate cannot be read");
                self.breaker.open(DropReason::TargetDown);
                false
            }
            Err(_) => {
                tracing::warn!("the target does not say whether the mirror gate is open");
                self.breaker.open(DropReason::TargetDown);
                false
            }
        }
    }

    /// Sends what the window has room for; whether there was anything.
    fn fill(&mut self, session: &mut Session, first: &mut Option<Envelope>) -> bool {
        let mut found = false;
        session.set_backlogged(false);
        loop {
            if !session.has_room() {
                session.set_backlogged(true);
                break;
            }
            let Some(group) = self.next_group(session, first) else {
                break;
            };
            session.add(group);
            found = true;
        }
        self.ledger.queued(self.queue.len());
        found
    }

    /// What shares the next target transaction: what has to go again, or else what the queue holds.
    fn next_group(
        &mut self,
        session: &mut Session,
        first: &mut Option<Envelope>,
    ) -> Option<Vec<Envelope>> {
        let now = Instant::now();
        while let Some(again) = session.take_again() {
            let group: Vec<_> = again
                .into_iter()
                .filter_map(|envelope| self.sendable(session, envelope, now))
                .collect();
            if !group.is_empty() {
                return Some(group);
            }
        }
        let mut group: Vec<Envelope> = Vec::new();
        let (mut rows, mut size) = (0, 0);
        while group.len() < GROUP_TRANSACTIONS_MAX
            && rows < GROUP_ROWS_MAX
            && size < WINDOW_BYTES_MAX
        {
            let Some(envelope) = first.take().or_else(|| self.queue.try_recv().ok()) else {
                break;
            };
            let Some(envelope) = self.sendable(session, envelope, now) else {
                continue;
            };
            let mine = &envelope.transaction.early;
            let fits = group
                .first()
                .is_none_or(|other| other.transaction.early.epoch == mine.epoch);
            if !fits {
                *first = Some(envelope);
                break;
            }
            rows += mine.rows.len();
            size += envelope.size;
            group.push(envelope);
        }
        (!group.is_empty()).then_some(group)
    }

    /// The transaction, unless it is known that the target cannot take it now.
    fn sendable(
        &mut self,
        session: &mut Session,
        envelope: Envelope,
        now: Instant,
    ) -> Option<Envelope> {
        let transaction = &envelope.transaction;
        let reason = if !session.speaks(&transaction.contract) {
            // The keys' tables mean something else to this session.
            session.spend();
            Some(DropReason::TargetSchema)
        } else if self.shunned.holds_one_of(&transaction.early, now) {
            Some(DropReason::TargetSchema)
        } else if self.lateness.is_too_late(transaction.committed, now) {
            Some(DropReason::Late)
        } else {
            None
        };
        match reason {
            None => Some(envelope),
            Some(reason) => {
                self.ledger.dropped(envelope, reason);
                None
            }
        }
    }

    fn settle(&mut self, session: &mut Session, outcome: &EarlyOutcome) {
        let Some(group) = session.take() else {
            return;
        };
        let now = Instant::now();
        if let EarlyOutcome::Failed {
            sqlstate, message, ..
        } = outcome
            && !is_expected(sqlstate)
        {
            self.ledger.say(sqlstate, message, now);
        }
        match verdict(outcome, group.len()) {
            Verdict::Accepted => {
                self.breaker.worked();
                self.shunned.worked(group.iter().map(early_of));
                self.ledger.accepted(group, now);
            }
            Verdict::Target(reason) => {
                self.breaker.open(reason);
                session.spend();
                for envelope in group {
                    self.ledger.dropped(envelope, reason);
                }
            }
            Verdict::Some {
                members,
                reason,
                table,
            } => {
                if let Some(table) = table {
                    self.shunned.shun(table, now);
                    session.writer.forget_table(table);
                }
                let mut rest = Vec::with_capacity(group.len());
                for (place, envelope) in group.into_iter().enumerate() {
                    if members.contains(&place) {
                        if reason == DropReason::Newer {
                            let committed = envelope.transaction.committed;
                            self.lateness.refused(committed, now);
                        }
                        self.ledger.dropped(envelope, reason);
                    } else {
                        rest.push(envelope);
                    }
                }
                session.send_again(rest);
            }
            Verdict::EachAlone => {
                for envelope in group {
                    session.send_again(vec![envelope]);
                }
            }
        }
    }

    /// The session owes nothing any more; what was still to be sent goes with it.
    fn give_up(&self, mut session: Session, first: Option<Envelope>, reason: DropReason) {
        let again = std::iter::from_fn(|| session.take_again()).flatten();
        for envelope in again.chain(first) {
            self.ledger.dropped(envelope, reason);
        }
    }

    /// The fate of what is under way is not known; the stream knows.
    fn lose(&mut self, mut session: Session, first: Option<Envelope>) -> Ended {
        self.breaker.open(DropReason::TargetDown);
        for envelope in std::iter::from_fn(|| session.take()).flatten() {
            self.ledger.dropped(envelope, DropReason::ConnectionLost);
        }
        self.give_up(session, first, DropReason::TargetDown);
        Ended::Session
    }
}

const fn early_of(envelope: &Envelope) -> &EarlyTransaction {
    &envelope.transaction.early
}
