//! The parts of a serving process: started each on its thread, watched until each has ended.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use serde::Serialize;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::exit::Failure;
use crate::output;

/// Says that a part accepts work: the line for stdout.
pub(crate) type Announce = Box<dyn FnOnce(&str) + Send>;

/// A part's work until the token is cancelled.
type Work = Pin<Box<dyn Future<Output = Result<(), Failure>>>>;

/// Begins a part's work, on the part's own thread.
type Begin = Box<dyn FnOnce(CancellationToken, Announce) -> Work + Send>;

/// What the loss of a part means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Loss {
    /// Without it there is no point in the rest.
    EndsAll,
    /// The rest is worth more than a clean end: applications hang on the proxy, whatever becomes of
    /// the reconciler.
    OthersGoOn,
}

/// Something that serves.
pub(crate) struct Part {
    name: &'static str,
    loss: Loss,
    begin: Begin,
}

impl Part {
    /// A part called `name`.
    pub(crate) fn new<F>(
        name: &'static str,
        loss: Loss,
        begin: impl FnOnce(CancellationToken, Announce) -> F + Send + 'static,
    ) -> Self
    where
        F: Future<Output = Result<(), Failure>> + 'static,
    {
        Self {
            name,
            loss,
            begin: Box::new(|token, announce| Box::pin(begin(token, announce))),
        }
    }
}

/// The end of a part.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) name: &'static str,
    pub(super) loss: Loss,
    /// Whether it had accepted work before.
    pub(super) was_ready: bool,
    pub(super) result: Result<(), Failure>,
}

/// The parts that have not ended.
#[derive(Debug)]
pub(super) struct Parts {
    running: JoinSet<Ended>,
    stopping: CancellationToken,
    readiness: Arc<Readiness>,
}

impl Parts {
    /// Starts each part on a thread of its own.
    pub(super) fn start(parts: Vec<Part>, readiness: &Arc<Readiness>) -> Result<Self, Failure> {
        let mut started = Self {
            running: JoinSet::new(),
            stopping: CancellationToken::new(),
            readiness: Arc::clone(readiness),
        };
        for (place, part) in parts.into_iter().enumerate() {
            started.start_one(place, part, Arc::clone(readiness))?;
        }
        Ok(started)
    }

    fn start_one(
        &mut self,
        place: usize,
        part: Part,
        readiness: Arc<Readiness>,
    ) -> Result<(), Failure> {
        let Part { name, loss, begin } = part;
        let cannot = |error: std::io::Error| {
            Failure::failed(format!("cannot start a thread for the {name}: {error}"))
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(cannot)?;
        // A part may cancel its own token on its way out; the others are not to notice.
        let stopping = self.stopping.child_token();
        let (end, ended) = oneshot::channel();
        let announced = Arc::clone(&readiness);
        std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                let announce = Box::new(move |line: &str| {
                    announced.set(place, State::Ready);
                    if let Err(failure) = output::text(line) {
                        tracing::warn!("{}", failure.message);
                    }
                });
                // Nobody listens only if the process is past caring.
                drop(end.send(runtime.block_on(begin(stopping, announce))));
            })
            .map_err(cannot)?;
        self.running.spawn(async move {
            let result = ended.await.unwrap_or_else(|_| {
                Err(Failure::failed("it broke off, which is a mistake in Segue"))
            });
            Ended {
                name,
                loss,
                was_ready: readiness.end(place) != State::Starting,
                result,
            }
        });
        Ok(())
    }

    /// The next part to end; none once all have. Cancel-safe.
    pub(super) async fn next_end(&mut self) -> Option<Ended> {
        match self.running.join_next().await? {
            Ok(ended) => Some(ended),
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }

    /// Asks all parts to drain and end.
    pub(super) fn stop(&self) {
        self.readiness.drain();
        self.stopping.cancel();
    }

    /// What asks them.
    #[cfg(test)]
    pub(super) fn stopping(&self) -> CancellationToken {
        self.stopping.clone()
    }

    /// Whether they have been asked.
    pub(super) fn are_stopping(&self) -> bool {
        self.stopping.is_cancelled()
    }
}

/// How far a part is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub(super) enum State {
    /// It does not accept work yet.
    Starting,
    /// It accepts work.
    Ready,
    /// It ends what it is at, and accepts nothing more.
    Draining,
    /// It has ended.
    Ended,
}

impl State {
    const fn from_number(number: u8) -> Self {
        match number {
            0 => Self::Starting,
            1 => Self::Ready,
            2 => Self::Draining,
            _ => Self::Ended,
        }
    }
}

/// How far each part is, for those who ask from outside.
#[derive(Debug)]
pub(super) struct Readiness(Vec<(&'static str, Loss, AtomicU8)>);

impl Readiness {
    /// Of parts that have not started.
    pub(super) fn of(parts: &[Part]) -> Self {
        let starting = |part: &Part| (part.name, part.loss, AtomicU8::new(State::Starting as u8));
        Self(parts.iter().map(starting).collect())
    }

    /// Each part and how far it is. Relaxed: a probe may see it a moment late.
    pub(super) fn states(&self) -> impl Iterator<Item = (&'static str, State)> {
        self.0
            .iter()
            .map(|(name, _, state)| (*name, State::from_number(state.load(Ordering::Relaxed))))
    }

    /// Whether the process can be given work: every part without which it has no point is ready.
    pub(super) fn is_ready(&self) -> bool {
        self.0
            .iter()
            .filter(|(_, loss, _)| *loss == Loss::EndsAll)
            .all(|(_, _, state)| state.load(Ordering::Relaxed) == State::Ready as u8)
    }

    fn set(&self, place: usize, state: State) {
        if let Some((_, _, known)) = self.0.get(place) {
            known.store(state as u8, Ordering::Relaxed);
        }
    }

    /// Marks those that accepted work as draining. One that becomes ready at the same moment may be
    /// missed; it ends too.
    fn drain(&self) {
        for (_, _, state) in &self.0 {
            let (ready, draining) = (State::Ready as u8, State::Draining as u8);
            let order = Ordering::Relaxed;
            // What has not been ready, or is over, stays as it is.
            state
                .compare_exchange(ready, draining, order, order)
                .unwrap_or_default();
        }
    }

    /// Marks a part as ended and says how far it was.
    fn end(&self, place: usize) -> State {
        self.0.get(place).map_or(State::Starting, |(_, _, known)| {
            State::from_number(known.swap(State::Ended as u8, Ordering::Relaxed))
        })
    }
}
