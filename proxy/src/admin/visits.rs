//! Who is at the console: shown among the clients, and cancelled or ended by others.
//!
//! Does not serve a visit.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use protocol::wire::startup::CancelKey;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::registry::{ClientRow, Identity, Numbers, Progress, State};

/// Visits are numbered from here for cancel requests: no process of a server has such a number.
const PROCESS_IDS_FROM: u32 = 0x4000_0000;

/// The visits under way.
#[derive(Debug)]
pub(crate) struct Visits {
    numbers: Numbers,
    /// Taken when somebody comes, goes or looks.
    present: Mutex<BTreeMap<u64, Arc<Present>>>,
}

/// One visitor.
#[derive(Debug)]
struct Present {
    number: u64,
    identity: Identity,
    secret: [u8; 4],
    /// Only shown, so relaxed.
    is_active: AtomicBool,
    cancelled: Notify,
    ended: CancellationToken,
}

/// A visit's place, left when it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    visits: Arc<Visits>,
    present: Arc<Present>,
}

impl Visits {
    /// Of nobody, numbered with the clients.
    pub(crate) fn new(numbers: Numbers) -> Arc<Self> {
        Arc::new(Self {
            numbers,
            present: Mutex::default(),
        })
    }

    /// Somebody comes in.
    pub(super) fn enter(self: &Arc<Self>, identity: Identity) -> Place {
        let present = Arc::new(Present {
            number: self.numbers.next(),
            identity,
            secret: rand::random(),
            is_active: AtomicBool::new(false),
            cancelled: Notify::new(),
            ended: CancellationToken::new(),
        });
        let mut all = self.present.lock();
        all.insert(present.number, Arc::clone(&present));
        Place {
            visits: Arc::clone(self),
            present,
        }
    }

    /// Gives up what the visit with this key waits for; false if the key is no visit's.
    pub(crate) fn cancel(&self, key: &CancelKey) -> bool {
        let present = self.present.lock();
        let mut all = present.values();
        let meant = all.find(|it| it.process_id() == key.process_id && key.secret == it.secret[..]);
        if let Some(meant) = meant {
            // Who waits for nothing does not hear it.
            meant.cancelled.notify_waiters();
        }
        meant.is_some()
    }

    /// Ends a visit; false if there is none with this number.
    pub(super) fn end(&self, number: u64) -> bool {
        let present = self.present.lock();
        let meant = present.get(&number);
        if let Some(meant) = meant {
            meant.ended.cancel();
        }
        meant.is_some()
    }

    /// What each is doing.
    pub(super) fn rows(&self) -> Vec<ClientRow> {
        let present = self.present.lock();
        present.values().map(|it| it.row()).collect()
    }
}

impl Present {
    fn process_id(&self) -> u32 {
        let number = u32::try_from(self.number % u64::from(PROCESS_IDS_FROM));
        PROCESS_IDS_FROM | number.unwrap_or_default()
    }

    fn row(&self) -> ClientRow {
        ClientRow {
            number: self.number,
            identity: self.identity.clone(),
            server_pid: 0,
            progress: Progress::default(),
            state: if self.is_active.load(Ordering::Relaxed) {
                State::Active
            } else {
                State::Idle
            },
        }
    }
}

impl Place {
    /// What a cancel request has to say.
    pub(super) fn key(&self) -> (i32, i32) {
        let process_id = i32::try_from(self.present.process_id());
        let secret = i32::from_be_bytes(self.present.secret);
        (process_id.unwrap_or_default(), secret)
    }

    /// Shows whether the visitor is being answered.
    pub(super) fn is_active(&self, is_active: bool) {
        self.present.is_active.store(is_active, Ordering::Relaxed);
    }

    /// Waits until what the visit waits for is to be given up. Cancel-safe.
    pub(super) async fn cancelled(&self) {
        self.present.cancelled.notified().await;
    }

    /// Waits until the visit is to end. Cancel-safe.
    pub(super) async fn ended(&self) {
        self.present.ended.cancelled().await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.visits.present.lock().remove(&self.present.number);
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[tokio::test]
    async fn only_the_key_of_a_visit_cancels_it() {
        let visits = Visits::new(Numbers::default());
        let (first, second) = (
            visits.enter(Identity::unknown()),
            visits.enter(Identity::unknown()),
        );
        let key = |place: &Place, flip: u8| {
            let mut secret = place.present.secret;
            secret[3] ^= flip;
            CancelKey {
                process_id: place.present.process_id(),
                secret: Bytes::copy_from_slice(&secret),
            }
        };
        let mut waits = Box::pin(first.cancelled());
        let mut others = Box::pin(second.cancelled());
        assert!(futures_util::poll!(waits.as_mut()).is_pending());
        assert!(futures_util::poll!(others.as_mut()).is_pending());
        assert!(!visits.cancel(&key(&first, 1)));
        assert!(futures_util::poll!(waits.as_mut()).is_pending());
        assert!(visits.cancel(&key(&first, 0)));
        waits.as_mut().await;
        assert!(futures_util::poll!(others.as_mut()).is_pending());
        drop((waits, others));
        assert_eq!(visits.rows().len(), 2);
        drop(first);
        assert_eq!(visits.rows().len(), 1);
        assert!(visits.end(visits.rows()[0].number) && !visits.end(99));
        second.ended().await;
    }
}
