//! An acknowledgement that waits for the target: `--mirror sync`.
//!
//! The source has committed; what waits is the frame that says so, and everything behind it. After
//! the deadline the client is answered all the same: the stream brings the write.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use protocol::wire::frame::Header;
use tokio::time::Sleep;

use super::Session;
use super::channel::Moved;
use crate::capture::Delivery;

/// The frame that waits at the front of what came from the source.
#[derive(Debug)]
pub(super) struct Held {
    header: Header,
    delivery: Delivery,
    deadline: Pin<Box<Sleep>>,
}

impl Held {
    pub(super) fn new(header: Header, delivery: Delivery, timeout: Duration) -> Self {
        Self {
            header,
            delivery,
            deadline: Box::pin(tokio::time::sleep(timeout)),
        }
    }
}

impl<C, S> Session<C, S> {
    /// Lets the frame go once the target has answered, or the time is over.
    pub(super) fn poll_held(&mut self, context: &mut Context<'_>) -> Option<Moved> {
        let held = self.held.as_mut()?;
        let delivered = Pin::new(&mut held.delivery).poll(context).is_ready();
        if !delivered && held.deadline.as_mut().poll(context) == Poll::Pending {
            return None;
        }
        let header = held.header;
        self.held = None;
        self.from_source.approve(header);
        Some(Moved::Some)
    }
}
