//! One client connection and its connection to the source, from the startup packet to the end.
//!
//! The relay ([`relay`]) moves bytes; what becomes of a frame is decided in [`frontend`] and
//! [`backend`], which see tags unless the session is captured ([`capturing`]). Everything is one task: no frame is
//! handed to another one. Does not authenticate, and does not open or accept connections.

mod backend;
mod capturing;
mod channel;
mod end;
mod error;
mod frontend;
mod held;
mod idle;
mod relay;
mod side;
mod spares;
#[cfg(test)]
mod tests;
mod watched;

use std::io;
use std::rc::Rc;

use bytes::BytesMut;
use protocol::decide::reply_queue::{ReplyQueue, Request};
use protocol::wire::backend::TransactionStatus;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::capture::Capture;
use crate::registry::Member;
use crate::settings::{IdleLimits, SyncSettings};
use crate::startup::Opening;
use capturing::{Capturing, Note};
use channel::Channel;
use held::Held;
use idle::Idle;
use side::Side;
use watched::Watched;

pub(crate) use error::SessionError;
pub(crate) use spares::Spares;

/// Requests that may wait for replies before the client is no longer read. Far above what drivers
/// pipeline; an entry takes some tens of bytes.
const REQUESTS_MAX: usize = 16_384;

/// Whether the reply queue and the source still agree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pairing {
    Kept,
    /// A session that is only relayed goes on without it.
    Lost,
}

/// Whether a peer's bytes have ended, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Peer {
    /// More may come.
    Talking,
    /// It said that it is leaving (Terminate, or an error that ends the connection).
    Leaving,
    /// Nothing more comes, as was to be expected.
    Gone,
    /// Nothing more comes, without a word before.
    Lost,
}

impl Peer {
    const fn is_over(self) -> bool {
        matches!(self, Self::Gone | Self::Lost)
    }
}

/// Whether a frame could be decided about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Decided,
    /// More of it has to arrive, or an answer to the proxy's own question.
    Incomplete,
}

/// What both sides have said on a connection whose startup packet has been sent.
#[derive(Debug)]
pub(crate) struct Introduced {
    /// What the client said and the source has not heard.
    pub(crate) from_client: BytesMut,
    /// What the source said and the client has not heard.
    pub(crate) from_source: BytesMut,
}

/// One client connection and its connection to the source.
#[derive(Debug)]
pub(crate) struct Session<C, S> {
    client: C,
    source: S,
    client_side: Side,
    source_side: Side,
    from_client: Channel,
    from_source: Channel,
    spares: Rc<Spares>,
    client_state: Peer,
    source_state: Peer,
    source_error: Option<io::Error>,
    /// The source takes no more bytes.
    source_closed: bool,
    queue: ReplyQueue<Note>,
    pairing: Pairing,
    status: TransactionStatus,
    /// What is needed to capture writes; nothing for a session that is only relayed.
    capturing: Option<Box<Capturing>>,
    /// An acknowledgement that waits for the target.
    held: Option<Held>,
    /// How long it may wait, and what then.
    sync: SyncSettings,
    member: Member,
    watched: Watched,
    idle: Idle,
}

impl<C, S> Session<C, S>
where
    C: AsyncRead + AsyncWrite + Unpin,
    S: AsyncRead + AsyncWrite + Unpin,
{
    /// A session whose startup packet is the first thing to send to the source.
    pub(crate) fn new(client: C, source: S, opening: Opening, member: Member) -> Self {
        let said = Introduced {
            from_client: opening.rest,
            from_source: BytesMut::new(),
        };
        let mut session = Self::introduced(client, source, said, member);
        session
            .from_client
            .insert()
            .extend_from_slice(&opening.packet);
        session
    }

    /// A session whose startup packet has been sent.
    pub(crate) fn introduced(client: C, source: S, said: Introduced, member: Member) -> Self {
        let mut queue = ReplyQueue::new();
        queue.push(Request::Startup, Note::Nothing);
        Self {
            client,
            source,
            client_side: Side::default(),
            source_side: Side::default(),
            from_client: Channel::starting_with(said.from_client),
            from_source: Channel::starting_with(said.from_source),
            spares: Rc::default(),
            client_state: Peer::Talking,
            source_state: Peer::Talking,
            source_error: None,
            source_closed: false,
            queue,
            pairing: Pairing::Kept,
            status: TransactionStatus::Idle,
            capturing: None,
            held: None,
            sync: SyncSettings::default(),
            member,
            watched: Watched::default(),
            idle: Idle::default(),
        }
    }

    /// The same session, its writes captured.
    pub(crate) fn captured(mut self, capture: Rc<Capture>, sync: SyncSettings) -> Self {
        self.capturing = Some(Box::new(Capturing::new(capture)));
        self.sync = sync;
        self
    }

    /// The same session, its buffers shared with the others of its worker.
    pub(crate) fn sharing(mut self, spares: &Rc<Spares>) -> Self {
        self.spares = Rc::clone(spares);
        self
    }

    /// The same session, its client not idle for ever.
    pub(crate) fn limited(mut self, limits: IdleLimits) -> Self {
        self.idle = Idle::new(limits);
        self
    }

    /// Relays until one side has ended, and tells the client why if it was not the client.
    /// Not cancel-safe: the session is over either way.
    pub(crate) async fn run(mut self) -> Result<(), SessionError> {
        let ended = std::future::poll_fn(|context| self.poll(context)).await;
        self.say_goodbye(&ended).await;
        ended.map(drop)
    }
}
