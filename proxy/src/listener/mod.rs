//! Accepting clients and handing them to the workers.
//!
//! Does not read a byte from a client: its worker does.

mod socket;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

use crate::balance::{Balance, Seat};
use crate::settings::LiveSettings;

pub(crate) use socket::{ClientSocket, Listener, bind};

/// After a failure to accept, usually for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Clients over the limit that are being told so at one time; more are closed without a word.
const REFUSED_MAX: usize = 64;

/// A client's connection on its way to its worker.
#[derive(Debug)]
pub(crate) struct Accepted {
    pub(crate) socket: ClientSocket,
    /// Nothing over a Unix-domain socket.
    pub(crate) peer: Option<SocketAddr>,
    pub(crate) admission: Admission,
    /// At the worker that gets it.
    pub(crate) seat: Seat,
}

/// Whether there is room for a client; held as long as its connection is open.
#[derive(Debug)]
pub(crate) enum Admission {
    /// It holds one of the places.
    Admitted(#[expect(dead_code, reason = "held, not read")] Place),
    /// All places are taken: it is told so.
    Refused(#[expect(dead_code, reason = "held, not read")] OwnedSemaphorePermit),
}

/// How many clients there are. Relaxed: only the number itself matters.
#[derive(Debug, Default)]
struct Places(AtomicUsize);

impl Places {
    /// A place, if fewer than this are taken.
    fn take(self: &Arc<Self>, clients_max: usize) -> Option<Place> {
        let one_more = |taken: usize| (taken < clients_max).then_some(taken + 1);
        let updated = self
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more);
        updated.ok().map(|_| Place(Arc::clone(self)))
    }
}

/// A client's place, given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Place(Arc<Places>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Where accepted connections go.
#[derive(Debug, Clone)]
pub(crate) struct Acceptor {
    workers: Vec<mpsc::Sender<Accepted>>,
    balance: Arc<Balance>,
    settings: LiveSettings,
    places: Arc<Places>,
    refusals: Arc<Semaphore>,
}

impl Acceptor {
    pub(crate) fn new(workers: Vec<mpsc::Sender<Accepted>>, settings: LiveSettings) -> Self {
        Self {
            balance: Arc::new(Balance::new(workers.len())),
            workers,
            settings,
            places: Arc::default(),
            refusals: Arc::new(Semaphore::new(REFUSED_MAX)),
        }
    }

    /// Accepts until the proxy goes down, or no worker is left.
    pub(crate) async fn accept(self, listener: Listener, shutdown: CancellationToken) {
        loop {
            let (worker, accepted) = tokio::select! {
                accepted = self.next(&listener) => accepted,
                () = shutdown.cancelled() => return,
            };
            let Some(worker) = self.workers.get(worker) else {
                return;
            };
            if worker.send(accepted).await.is_err() {
                return;
            }
        }
    }

    /// The next client, and the number of its worker.
    async fn next(&self, listener: &Listener) -> (usize, Accepted) {
        loop {
            match listener.accept().await {
                Ok((socket, peer)) => {
                    if let Some(admission) = self.admit() {
                        let (worker, seat) = self.balance.seat();
                        let accepted = Accepted {
                            socket,
                            peer,
                            admission,
                            seat,
                        };
                        return (worker, accepted);
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn admit(&self) -> Option<Admission> {
        let clients_max = self.settings.current().clients_max;
        if let Some(place) = self.places.take(clients_max) {
            return Some(Admission::Admitted(place));
        }
        let place = Arc::clone(&self.refusals).try_acquire_owned();
        place.ok().map(Admission::Refused)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_given_back_is_free_for_the_next_client_and_the_limit_may_change() {
        let places = Arc::<Places>::default();
        let first = places.take(1).unwrap();
        assert!(places.take(1).is_none());
        let second = places.take(2).unwrap();
        assert!(places.take(1).is_none(), "a lower limit sends nobody away");
        drop((first, second));
        assert!(places.take(1).is_some());
    }
}
