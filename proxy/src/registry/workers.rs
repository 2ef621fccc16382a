//! All workers' registries, as any thread sees them: by message.
//!
//! A worker that does not answer has ended, and its sessions with it. Does not decide anything.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};

use super::attendant::Question;
use super::{ClientRow, Totals};
use crate::capture::TableCount;

/// Whether sessions are kept from beginning anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pause {
    /// They are not.
    Off,
    /// They are, and some have not come to rest.
    Begun,
    /// They are, and all rest.
    Complete,
}

/// All workers, to ask.
#[derive(Debug, Clone)]
pub(crate) struct Workers {
    questions: Arc<[mpsc::Sender<Question>]>,
    pause: watch::Sender<Pause>,
}

impl Workers {
    pub(super) fn new(questions: Vec<mpsc::Sender<Question>>) -> Self {
        Self {
            questions: questions.into(),
            pause: watch::Sender::new(Pause::Off),
        }
    }

    /// What every client is doing, in the order in which they came.
    pub(crate) async fn clients(&self) -> Vec<ClientRow> {
        let mut rows = self.ask_all(Question::Clients).await.concat();
        rows.sort_by_key(|row| row.number);
        rows
    }

    /// What has been moved since the start.
    pub(crate) async fn totals(&self) -> Totals {
        let mut all = Totals::default();
        for totals in self.ask_all(Question::Totals).await {
            all += totals;
        }
        all
    }

    /// What has been counted of tables since this was asked last; a table may come several times.
    pub(crate) async fn tables(&self) -> Vec<(String, TableCount)> {
        self.ask_all(Question::Tables).await.concat()
    }

    /// Ends one client's session; false if there is none with this number.
    pub(crate) async fn end(&self, number: u64) -> bool {
        let found = self.ask_all(|answer| Question::End(number, answer)).await;
        found.contains(&true)
    }

    /// Keeps sessions from beginning anything, and returns once all rest between transactions. If
    /// some still do not after `timeout`, or nobody waits for it any more, all go on.
    pub(crate) async fn pause(&self, timeout: Duration) -> Result<(), PauseError> {
        let begins = self.pause.send_if_modified(|pause| {
            let begins = *pause == Pause::Off;
            if begins {
                *pause = Pause::Begun;
            }
            begins
        });
        if !begins {
            return Err(PauseError::Already);
        }
        let begun = Begun(self);
        let rested = self.ask_all(Question::Pause);
        let in_time = tokio::time::timeout(timeout, rested).await;
        if in_time.is_err() {
            let clients = self.clients().await;
            return Err(PauseError::NotAtRest(clients));
        }
        begun.complete();
        Ok(())
    }

    /// Lets sessions go on; false if they were.
    pub(crate) async fn resume(&self) -> bool {
        let was_paused = self.pause.send_replace(Pause::Off) != Pause::Off;
        self.ask_all(Question::Resume).await;
        was_paused
    }

    /// Whether sessions are kept from beginning anything.
    pub(crate) fn paused(&self) -> Pause {
        *self.pause.borrow()
    }

    /// The answers of all workers that gave one.
    async fn ask_all<T>(&self, question: impl Fn(oneshot::Sender<T>) -> Question) -> Vec<T> {
        let mut answers = Vec::with_capacity(self.questions.len());
        // All are asked before the first answer is awaited.
        for worker in self.questions.iter() {
            let (sender, answer) = oneshot::channel();
            if worker.send(question(sender)).await.is_ok() {
                answers.push(answer);
            }
        }
        let mut given = Vec::with_capacity(answers.len());
        for answer in answers {
            given.extend(answer.await.ok());
        }
        given
    }
}

/// A pause that is taken back unless it becomes complete.
#[derive(Debug)]
struct Begun<'a>(&'a Workers);

impl Begun<'_> {
    fn complete(self) {
        self.0.pause.send_replace(Pause::Complete);
    }
}

impl Drop for Begun<'_> {
    fn drop(&mut self) {
        if self.0.paused() == Pause::Begun {
            let workers = self.0.clone();
            // Who gave up may not be there any more to wait for it.
            drop(tokio::spawn(async move { workers.resume().await }));
        }
    }
}

/// Why sessions are not paused.
#[derive(Debug)]
pub(crate) enum PauseError {
    /// They are, or are about to be, because of somebody else.
    Already,
    /// Some did not come to rest in time: all clients, as they were then.
    NotAtRest(Vec<ClientRow>),
}
