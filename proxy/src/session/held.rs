//! An acknowledgement that waits for the target: `mirror = "sync"`.
//!
//! The source has committed; what waits is the frame that says so, and everything behind it. Where
//! the target has not confirmed in time, or cannot be asked, the client is answered all the same: an
//! error would say that the commit failed, which it did not. By policy a WARNING goes before the
//! answer, as PostgreSQL says it of a standby that it no longer waits for. Does not retry.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use protocol::wire::backend::{ErrorFields, Tag};
use protocol::wire::frame::Header;
use tokio::sync::oneshot;
use tokio::time::Sleep;

use super::Session;
use super::channel::Moved;
use crate::mirror::Delivered;
use crate::settings::{SyncPolicy, SyncSettings};

/// The reason that counts where the deadline came first.
const TIMEOUT: &str = "timeout";

/// The frame that waits at the front of what came from the source.
#[derive(Debug)]
pub(super) struct Held {
    header: Header,
    delivered: oneshot::Receiver<Delivered>,
    deadline: Pin<Box<Sleep>>,
}

impl Held {
    pub(super) fn new(
        header: Header,
        delivered: oneshot::Receiver<Delivered>,
        settings: SyncSettings,
    ) -> Self {
        Self {
            header,
            delivered,
            deadline: Box::pin(tokio::time::sleep(settings.timeout)),
        }
    }

    /// Why the target has not confirmed, or nothing if it has.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<&'static str>> {
        match Pin::new(&mut self.delivered).poll(context) {
            Poll::Ready(Ok(Delivered::Accepted)) => Poll::Ready(None),
            Poll::Ready(Ok(Delivered::Failed(reason))) => Poll::Ready(Some(reason.label())),
            // The mirror has ended.
            Poll::Ready(Err(_)) => Poll::Ready(Some("shutdown")),
            Poll::Pending => self.deadline.as_mut().poll(context).map(|()| Some(TIMEOUT)),
        }
    }
}

impl<C, S> Session<C, S> {
    /// Lets the frame go once the target has answered, or the time is over.
    pub(super) fn poll_held(&mut self, context: &mut Context<'_>) -> Option<Moved> {
        let held = self.held.as_mut()?;
        let Poll::Ready(unconfirmed) = held.poll(context) else {
            return None;
        };
        let header = held.header;
        self.held = None;
        if let Some(capturing) = &self.capturing {
            capturing.delivered(unconfirmed);
        }
        if let Some(reason) = unconfirmed {
            self.warn_unconfirmed(reason);
        }
        self.from_source.approve(header);
        Some(Moved::Some)
    }

    /// Tells the client, if the policy says so, that its commit is not known to be at the target.
    /// What comes next is the frame that acknowledges the commit.
    pub(super) fn warn_unconfirmed(&mut self, reason: &'static str) {
        match self.sync.policy {
            SyncPolicy::Warn => unconfirmed(reason, self.from_source.insert()),
            SyncPolicy::Continue => (),
        }
    }
}

#[cold]
fn unconfirmed(reason: &str, out: &mut BytesMut) {
    let fields = [
        (b'S', "WARNING"),
        (b'V', "WARNING"),
        // What PostgreSQL gives to a warning without a code of its own.
        (b'C', "01000"),
        (b'M', "the target has not confirmed the transaction"),
    ];
    let mut fields: Vec<(u8, Bytes)> = fields
        .into_iter()
        .map(|(code, text)| (code, Bytes::from_static(text.as_bytes())))
        .collect();
    let detail = format!(
        "The transaction has committed at the source, and the log brings it to the target ({reason})."
    );
    fields.push((b'D', detail.into()));
    ErrorFields { fields }.encode(out, Tag::NoticeResponse);
}
