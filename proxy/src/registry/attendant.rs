//! A worker's answers about its sessions to other threads.
//!
//! Does not wait for a session: a pause is awaited in a task of its own.

use std::rc::Rc;

use tokio::sync::{mpsc, oneshot};

use crate::capture::{TableCount, TableCounts};

use super::{ClientRow, Registry, Totals, Workers};

/// Questions that may wait for a worker: there are a few who ask, one question each at a time.
const QUESTIONS_MAX: usize = 16;

/// What is asked of a worker, and where the answer goes. Who does not wait for it any more does not
/// matter.
#[derive(Debug)]
pub(super) enum Question {
    /// What each client is doing.
    Clients(oneshot::Sender<Vec<ClientRow>>),
    /// What has been moved since the start.
    Totals(oneshot::Sender<Totals>),
    /// What has been counted of tables since this was asked last.
    Tables(oneshot::Sender<Vec<(String, TableCount)>>),
    /// Keep sessions from beginning anything; answered once all rest.
    Pause(oneshot::Sender<()>),
    /// Let them go on.
    Resume(oneshot::Sender<()>),
    /// End the session with this number, if it is here.
    End(u64, oneshot::Sender<bool>),
}

/// The worker's end of the questions.
#[derive(Debug)]
pub(crate) struct Attendant(mpsc::Receiver<Question>);

/// So many workers to ask, and their ends.
pub(crate) fn attendants(count: usize) -> (Workers, Vec<Attendant>) {
    let channels = (0..count).map(|_| mpsc::channel(QUESTIONS_MAX));
    let (senders, receivers): (Vec<_>, Vec<_>) = channels.unzip();
    let attendants = receivers.into_iter().map(Attendant);
    (Workers::new(senders), attendants.collect())
}

impl Attendant {
    /// Answers for `registry`, and for the tables if writes are captured, until nobody can ask any
    /// more. Runs on the worker's thread.
    pub(crate) async fn attend(mut self, registry: Rc<Registry>, tables: Option<Rc<TableCounts>>) {
        while let Some(question) = self.0.recv().await {
            answer(question, &registry, tables.as_deref());
        }
    }
}

fn answer(question: Question, registry: &Rc<Registry>, tables: Option<&TableCounts>) {
    match question {
        Question::Clients(answer) => drop(answer.send(registry.rows())),
        Question::Totals(answer) => drop(answer.send(registry.totals())),
        Question::Tables(answer) => {
            let taken = tables.map(TableCounts::take).unwrap_or_default();
            drop(answer.send(taken));
        }
        Question::Pause(answer) => {
            registry.pause();
            let registry = Rc::clone(registry);
            tokio::task::spawn_local(async move {
                registry.rested().await;
                answer.send(()).unwrap_or_default();
            });
        }
        Question::Resume(answer) => {
            registry.resume();
            answer.send(()).unwrap_or_default();
        }
        Question::End(number, answer) => {
            answer.send(registry.end(number)).unwrap_or_default();
        }
    }
}
