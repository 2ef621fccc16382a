//! The mirror's thread: transactions out of the queue, through one session, in order.
//!
//! Many transactions are under way at once, up to a window; the target answers them in order.
//! While there is no session, or the gate is shut, the breaker is open: workers drop at once and
//! this thread tries again, with growing pauses. Does not touch op records and the proxy's row:
//! those have a session of their own.

use std::collections::VecDeque;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use apply::connection::ConnectionError;
use apply::{EarlyOutcome, EarlyRow, EarlyTransaction, EarlyWrite, EarlyWriter, Refusal};
use control::{Dsn, Names};
use protocol::contract::Contract;
use protocol::decide::transaction::TransactionRow;
use protocol::revision::{Epoch, Revision, RevisionError};
use tokio::sync::{mpsc, oneshot};
use tokio::time::error::Elapsed;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::breaker::Breaker;
use super::queue::{Envelope, NoteOutcome, Notes, QueueEnd, queue};
use super::refusals::RefusalLog;
use super::{Counters, Delivered, DropReason, MirrorHandle, MirrorTransaction, records};
use crate::catalog::CatalogHandle;
use crate::config::MirrorMode;

/// Transactions under way at once: more than a target a few milliseconds away can use.
const WINDOW_TRANSACTIONS: usize = 64;
/// Bytes under way at once, so that neither side waits for the other to read.
const WINDOW_BYTES: usize = 1 << 20;
/// An answer that takes longer than this (lock waits end after 200 ms) will not come.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);
/// What is in the queue when the proxy goes down may take this long.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(3);
/// How often the catalog is looked at while its first reading is awaited.
const CATALOG_PERIOD: Duration = Duration::from_millis(50);

/// What the mirror needs to know.
#[derive(Debug)]
pub struct MirrorConfig {
    /// What becomes of captured transactions.
    pub mode: MirrorMode,
    /// Where they go; without one, only counting is possible.
    pub target: Option<Dsn>,
    /// Names of Segue's own objects.
    pub names: Names,
    /// Where the contract comes from.
    pub catalog: CatalogHandle,
    /// Under which this proxy reports.
    pub proxy_id: [u8; 16],
}

/// Starts the mirror. It ends once `shutdown` is cancelled and what was queued has been sent, or a
/// few seconds have passed; the receiver tells when.
pub fn start(
    config: MirrorConfig,
    shutdown: CancellationToken,
) -> std::io::Result<(MirrorHandle, oneshot::Receiver<()>)> {
    let counters = Arc::new(Counters::default());
    let (handle, end) = queue(config.mode, Arc::clone(&counters));
    let (ended, has_ended) = oneshot::channel();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    thread::Builder::new()
        .name("segue-mirror".to_owned())
        .spawn(move || {
            runtime.block_on(run(config, end, counters, shutdown));
            // Nobody may be waiting.
            ended.send(()).unwrap_or_default();
        })?;
    Ok((handle, has_ended))
}

async fn run(
    config: MirrorConfig,
    end: QueueEnd,
    counters: Arc<Counters>,
    shutdown: CancellationToken,
) {
    let Some(target) = config.target else {
        shutdown.cancelled().await;
        return;
    };
    let QueueEnd {
        transactions,
        notes,
        refusals,
        load,
    } = end;
    let records = tokio::spawn(records::run(
        target.clone(),
        config.proxy_id,
        notes,
        Arc::clone(&counters),
        shutdown.clone(),
    ));
    if matches!(config.mode, MirrorMode::Async | MirrorMode::Sync) {
        let mirror = Mirror {
            target,
            names: config.names,
            catalog: config.catalog,
            proxy_id: config.proxy_id,
            queue: transactions,
            refusals,
            breaker: Breaker::new(load),
            counters,
            refusal_log: RefusalLog::default(),
            shutdown: shutdown.clone(),
        };
        mirror.run().await;
    }
    shutdown.cancelled().await;
    drop(records.await);
}

struct Mirror {
    target: Dsn,
    names: Names,
    catalog: CatalogHandle,
    proxy_id: [u8; 16],
    queue: mpsc::Receiver<Envelope>,
    refusals: Notes,
    breaker: Breaker,
    counters: Arc<Counters>,
    refusal_log: RefusalLog,
    shutdown: CancellationToken,
}

/// Why the session's loop ended.
enum Ended {
    /// The proxy goes down, and everything has been sent.
    Shutdown,
    /// The session is of no further use.
    Session,
}

/// What comes first: an answer from the target, or a transaction from the queue.
enum Next {
    Answer(Result<Result<Option<EarlyOutcome>, ConnectionError>, Elapsed>),
    Envelope(Option<Envelope>),
}

impl Mirror {
    async fn run(mut self) {
        loop {
            let Some(contract) = self.contract().await else {
                break;
            };
            let proxy_id = self.proxy_id;
            let opened =
                EarlyWriter::open(&self.target, &self.names, Arc::clone(&contract), proxy_id);
            match opened.await {
                Ok(writer) => {
                    tracing::info!(target = %self.target.server(), "the mirror has a session");
                    let session = Session::new(writer, contract);
                    if matches!(self.serve(session).await, Ended::Shutdown) {
                        break;
                    }
                }
                Err(error) => {
                    self.breaker.open(DropReason::TargetDown);
                    tracing::warn!(%error, "the mirror has no session at the target");
                }
            }
            if !self.pause().await {
                break;
            }
        }
        self.drop_queued(DropReason::Shutdown);
    }

    /// The contract, once the catalog has been read; nothing if the proxy goes down before.
    async fn contract(&mut self) -> Option<Arc<Contract>> {
        loop {
            let view = self.catalog.view();
            if view.facts.is_known() {
                return Some(Arc::clone(&view.facts.contract));
            }
            let shutdown = self.shutdown.clone();
            shutdown.run_until_cancelled(sleep(CATALOG_PERIOD)).await?;
        }
    }

    /// Waits before the next attempt, dropping what comes meanwhile. False if the proxy goes down.
    async fn pause(&mut self) -> bool {
        let until = Instant::now() + self.breaker.pause();
        let shutdown = self.shutdown.clone();
        let reason = self.breaker.reason().unwrap_or(DropReason::TargetDown);
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return false,
                () = tokio::time::sleep_until(until) => return true,
                envelope = self.queue.recv() => match envelope {
                    Some(envelope) => self.fail(envelope, reason),
                    None => return false,
                },
            }
        }
    }

    async fn serve(&mut self, mut session: Session) -> Ended {
        if !self.gate_is_open(&mut session).await {
            return Ended::Session;
        }
        let mut drain_until = None;
        loop {
            self.fill(&mut session);
            if session.is_idle() {
                if session.spent {
                    return Ended::Session;
                }
                let shutdown = self.shutdown.clone();
                let received = shutdown.run_until_cancelled(self.queue.recv()).await;
                match received.flatten() {
                    Some(envelope) => self.add(&mut session, envelope),
                    // Cancelled: what is still in the queue goes first.
                    None => match self.queue.try_recv() {
                        Ok(envelope) => self.add(&mut session, envelope),
                        Err(_) => return Ended::Shutdown,
                    },
                }
                continue;
            }
            if self.shutdown.is_cancelled() {
                let until = *drain_until.get_or_insert_with(|| Instant::now() + DRAIN_TIMEOUT);
                if Instant::now() > until {
                    self.lose(session);
                    return Ended::Shutdown;
                }
            }
            let has_room = session.has_room();
            let next = tokio::select! {
                answered = timeout(ANSWER_TIMEOUT, session.answer()) => Next::Answer(answered),
                envelope = self.queue.recv(), if has_room => Next::Envelope(envelope),
            };
            match next {
                Next::Envelope(Some(envelope)) => self.add(&mut session, envelope),
                Next::Answer(Ok(Ok(Some(outcome)))) => self.settle(&mut session, &outcome),
                Next::Envelope(None) | Next::Answer(Ok(Ok(None))) => {}
                Next::Answer(Ok(Err(error))) => {
                    tracing::warn!(%error, "the mirror lost its session");
                    self.lose(session);
                    return Ended::Session;
                }
                Next::Answer(Err(_)) => {
                    tracing::warn!("the target does not answer; the mirror gives up its session");
                    self.lose(session);
                    return Ended::Session;
                }
            }
        }
    }

    /// Looks at the gate before the first transaction; after SG001 this is how it is found open.
    async fn gate_is_open(&mut self, session: &mut Session) -> bool {
        let question = "SELECT epoch FROM segue.mirror_gate";
        match session.writer.connection().query_simple(question).await {
            Ok(rows) if !rows.is_empty() => {
                self.breaker.close();
                true
            }
            Ok(_) => {
                self.breaker.open(DropReason::GateShut);
                false
            }
            Err(error) => {
                tracing::warn!(%error, "the mirror gate cannot be read");
                self.breaker.open(DropReason::TargetDown);
                false
            }
        }
    }

    /// Takes from the queue what the window has room for.
    fn fill(&mut self, session: &mut Session) {
        while session.has_room() {
            match self.queue.try_recv() {
                Ok(envelope) => self.add(session, envelope),
                Err(_) => break,
            }
        }
        self.counters.queued(self.queue.len());
    }

    fn add(&mut self, session: &mut Session, envelope: Envelope) {
        if !session.speaks(&envelope.transaction.contract) {
            // The keys' tables mean something else to this session.
            session.spent = true;
            self.fail(envelope, DropReason::TargetError);
            return;
        }
        match early(&envelope.transaction) {
            Ok(transaction) => session.add(&transaction, envelope),
            Err(error) => {
                tracing::warn!(%error, "a captured transaction has no revision");
                self.fail(envelope, DropReason::Unrepresentable);
            }
        }
    }

    fn settle(&mut self, session: &mut Session, outcome: &EarlyOutcome) {
        let Some(envelope) = session.take() else {
            return;
        };
        match drop_reason(outcome) {
            None => self.succeed(envelope),
            Some(reason) => {
                if reason == DropReason::GateShut {
                    self.breaker.open(reason);
                    session.spent = true;
                } else if let EarlyOutcome::Failed { sqlstate, message } = outcome {
                    session.spent |= spends_session(sqlstate);
                    if reason == DropReason::TargetError
                        && let Some(count) = self.refusal_log.due(Instant::now())
                    {
                        tracing::warn!(
                            sqlstate,
                            count,
                            "the target refuses early writes, and the log brings them: {message}"
                        );
                    }
                }
                self.fail(envelope, reason);
            }
        }
    }

    fn succeed(&self, envelope: Envelope) {
        self.breaker.took(envelope.size);
        let now = Instant::now();
        let staleness = now.saturating_duration_since(envelope.transaction.committed);
        self.counters.accepted(staleness, now);
        envelope.tell(Delivered::Accepted);
    }

    fn fail(&self, envelope: Envelope, reason: DropReason) {
        self.breaker.took(envelope.size);
        self.counters.failed(reason.label());
        if reason != DropReason::ConnectionLost {
            let op_id = envelope.transaction.op_id();
            self.refusals
                .note(op_id, NoteOutcome::Dropped, reason.label());
        }
        envelope.tell(Delivered::Failed(reason));
    }

    /// The fate of what is under way is not known; the stream knows.
    fn lose(&mut self, mut session: Session) {
        self.breaker.open(DropReason::TargetDown);
        while let Some(envelope) = session.take() {
            self.fail(envelope, DropReason::ConnectionLost);
        }
    }

    fn drop_queued(&mut self, reason: DropReason) {
        while let Ok(envelope) = self.queue.try_recv() {
            self.fail(envelope, reason);
        }
    }
}

/// One session at the target and what it has under way.
struct Session {
    writer: EarlyWriter,
    contract: Arc<Contract>,
    under_way: VecDeque<Envelope>,
    under_way_bytes: usize,
    /// Takes nothing new; ends when everything under way is answered.
    spent: bool,
}

impl Session {
    fn new(writer: EarlyWriter, contract: Arc<Contract>) -> Self {
        Self {
            writer,
            contract,
            under_way: VecDeque::with_capacity(WINDOW_TRANSACTIONS),
            under_way_bytes: 0,
            spent: false,
        }
    }

    /// Whether this session's statements are of that contract. A newer copy of the same one is
    /// kept, so that the next comparison is one of addresses.
    fn speaks(&mut self, contract: &Arc<Contract>) -> bool {
        if Arc::ptr_eq(&self.contract, contract) {
            return true;
        }
        let same = *self.contract == **contract;
        if same {
            self.contract = Arc::clone(contract);
        }
        same
    }

    fn is_idle(&self) -> bool {
        self.under_way.is_empty()
    }

    fn has_room(&self) -> bool {
        !self.spent
            && self.under_way.len() < WINDOW_TRANSACTIONS
            && self.under_way_bytes < WINDOW_BYTES
    }

    fn add(&mut self, transaction: &EarlyTransaction, envelope: Envelope) {
        self.writer.add(transaction);
        self.under_way_bytes = self.under_way_bytes.saturating_add(envelope.size);
        self.under_way.push_back(envelope);
    }

    /// Sends what was added and waits for the oldest answer. Cancel-safe.
    async fn answer(&mut self) -> Result<Option<EarlyOutcome>, ConnectionError> {
        self.writer.flush().await?;
        self.writer.outcome().await
    }

    fn take(&mut self) -> Option<Envelope> {
        let envelope = self.under_way.pop_front()?;
        self.under_way_bytes = self.under_way_bytes.saturating_sub(envelope.size);
        Some(envelope)
    }
}

fn early(transaction: &MirrorTransaction) -> Result<EarlyTransaction, RevisionError> {
    let rows = transaction.rows.iter();
    Ok(EarlyTransaction {
        op_id: transaction.op_id(),
        epoch: transaction.epoch,
        xid: transaction.xid,
        committed_at: transaction.committed_at,
        rows: rows
            .map(|row| early_row(transaction.epoch, row))
            .collect::<Result<_, _>>()?,
    })
}

fn early_row(epoch: Epoch, row: &TransactionRow) -> Result<EarlyRow, RevisionError> {
    Ok(EarlyRow {
        key: row.key.clone(),
        rev: Revision::early(epoch, row.lsn)?,
        write: match &row.image {
            Some(image) => EarlyWrite::Upsert(image.clone()),
            None => EarlyWrite::Delete,
        },
    })
}

/// Whether an error is of the session or of what it has prepared rather than of one row: the next
/// session prepares anew.
fn spends_session(sqlstate: &str) -> bool {
    let class = sqlstate.get(..2).unwrap_or_default();
    ["08", "0A", "25", "26", "42", "57", "XX"].contains(&class)
}

/// Why the target did not take it; nothing if it did.
fn drop_reason(outcome: &EarlyOutcome) -> Option<DropReason> {
    match outcome {
        EarlyOutcome::Accepted => None,
        EarlyOutcome::Refused(Refusal::Gate) => Some(DropReason::GateShut),
        EarlyOutcome::Refused(Refusal::Floor) => Some(DropReason::Floor),
        EarlyOutcome::Refused(Refusal::Newer) => Some(DropReason::Newer),
        EarlyOutcome::Lost => Some(DropReason::ConnectionLost),
        EarlyOutcome::Failed { sqlstate, .. } => Some(match sqlstate.as_str() {
            "23505" | "23P01" => DropReason::UniqueViolation,
            // A deadlock with the log is a lock that was not had in time.
            "55P03" | "40P01" => DropReason::LockTimeout,
            _ => DropReason::TargetError,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_of_the_target_has_its_reason() {
        let failed = |sqlstate: &str| EarlyOutcome::Failed {
            sqlstate: sqlstate.to_owned(),
            message: String::new(),
        };
        let cases = [
            (EarlyOutcome::Accepted, None),
            (
                EarlyOutcome::Refused(Refusal::Gate),
                Some(DropReason::GateShut),
            ),
            (
                EarlyOutcome::Refused(Refusal::Newer),
                Some(DropReason::Newer),
            ),
            (EarlyOutcome::Lost, Some(DropReason::ConnectionLost)),
            (failed("23505"), Some(DropReason::UniqueViolation)),
            (failed("23P01"), Some(DropReason::UniqueViolation)),
            (failed("55P03"), Some(DropReason::LockTimeout)),
            (failed("22003"), Some(DropReason::TargetError)),
        ];
        for (outcome, expected) in cases {
            assert_eq!(drop_reason(&outcome), expected, "{outcome:?}");
        }
    }
}
