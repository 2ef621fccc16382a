//! From the startup packet to the session: a connection to the source, and who proves what to whom.
//!
//! Authentication is relayed: the client proves itself to the source, and Segue knows no password.
//! With TLS in play the first answer of the source is looked at before the session takes over:
//!
//! - `sslmode` allow and prefer try again when the server's rules refuse this kind of connection.
//! - A client in the clear must not be offered channel binding: libpq takes that for an attack.
//! - A client with TLS would bind its login to *our* certificate, or, seeing no channel binding,
//!   say so to a source that offers it and takes that for an attack. So where the role's secret is
//!   known ([`secrets`]), Segue speaks SCRAM itself on both sides ([`exchange`]).
//!
//! Does not judge failures: the source says what becomes of them.

mod client_keys;
mod error;
mod exchange;
mod peer;
mod secrets;
pub(crate) mod settings;
mod user_list;

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use control::server::{Route, Way};
use control::{Attempts, ConnectCause};
use protocol::scram::{SCRAM_SHA_256, SCRAM_SHA_256_PLUS, server};
use protocol::wire::backend::{Authentication, ErrorFields, Tag};
use protocol::wire::frame::Frame;
use protocol::wire::frontend::SaslInitialResponse;
use tokio::io::AsyncWriteExt;

use crate::client_stream::ClientStream;
use crate::session::Introduced;
use crate::settings::Settings;
use crate::source::SourceStream;
use crate::startup::Opening;

pub use client_keys::ClientKeys;
pub(crate) use error::AuthenticationError;
use exchange::Exchange;
use peer::Peer;
pub(crate) use secrets::Secrets;
use secrets::{Freshness, Lookup};
pub use settings::{AuthQuery, AuthenticationSettings};
pub use user_list::UserList;

/// What a worker needs to introduce clients to the source.
#[derive(Debug, Clone)]
pub(crate) struct Authenticator {
    pub(crate) secrets: Secrets,
    pub(crate) keys: Arc<ClientKeys>,
}

/// A connection to the source on which the session can begin.
#[derive(Debug)]
pub(crate) enum Met {
    /// Nothing has been said.
    Silent(SourceStream, Opening),
    /// The startup packet has been sent, and perhaps more.
    Introduced(SourceStream, Introduced),
}

impl Authenticator {
    /// Opens a connection to the source for a client. Not cancel-safe: drop it and both
    /// connections are over.
    pub(crate) async fn meet(
        &self,
        client: &mut ClientStream,
        opening: Opening,
        (route, settings): (&Route, &Settings),
    ) -> Result<Met, AuthenticationError> {
        let is_clear = matches!(route.ways(), [Way::Clear]);
        if is_clear && !client.is_encrypted() {
            let source = route.open(Way::Clear).await;
            let source = source.map_err(AuthenticationError::Source)?;
            return Ok(Met::Silent(source, opening));
        }
        let first = first_answer(route, &opening.packet).await?;
        let Some(request) = first.request else {
            return Ok(first.source.hand_over(first.before, opening.rest));
        };
        let introduction = Introduction {
            authenticator: self,
            client: Peer::new(client, opening.rest),
            source: first.source,
            before: first.before,
            settings,
            route,
        };
        introduction
            .negotiate(request, opening.startup.param("user"))
            .await
    }
}

impl Authenticator {
    /// As [`Self::meet`], for who does not relay a whole session: the startup packet is sent.
    pub(crate) async fn introduce(
        &self,
        client: &mut ClientStream,
        opening: Opening,
        reach: (&Route, &Settings),
    ) -> Result<(SourceStream, Introduced), AuthenticationError> {
        match self.meet(client, opening, reach).await? {
            Met::Introduced(source, said) => Ok((source, said)),
            Met::Silent(mut source, opening) => {
                let sent = source.write_all(&opening.packet).await;
                sent.map_err(AuthenticationError::SourceBroke)?;
                let said = Introduced {
                    from_client: opening.rest,
                    from_source: BytesMut::new(),
                };
                Ok((source, said))
            }
        }
    }
}

/// What the source said to the startup packet.
struct First {
    source: Peer<SourceStream>,
    /// What goes to the client before anything else.
    before: BytesMut,
    /// The request to choose a mechanism; nothing if it was something else, which is in `before`.
    request: Option<SaslRequest>,
}

/// `AuthenticationSASL`.
struct SaslRequest {
    frame: Frame,
    mechanisms: Vec<Bytes>,
}

impl SaslRequest {
    fn offers(&self, mechanism: &str) -> bool {
        self.mechanisms
            .iter()
            .any(|it| it.as_ref() == mechanism.as_bytes())
    }
}

/// Sends the startup packet in each of the route's ways, as long as the answers give reason to.
async fn first_answer(route: &Route, packet: &Bytes) -> Result<First, AuthenticationError> {
    let mut attempts = Attempts::at(route);
    loop {
        let answered = match route.open(attempts.way()).await {
            Ok(source) => answer(Peer::new(source, BytesMut::new()), packet).await,
            Err(cause) => {
                attempts.go_on(cause).map_err(AuthenticationError::Source)?;
                continue;
            }
        };
        let (first, refusal) = answered;
        let Some(cause) = refusal else {
            return Ok(first);
        };
        match attempts.go_on(cause) {
            Ok(()) => (),
            // The server's own words say more than ours.
            Err(ConnectCause::Forbidden { .. }) => return Ok(first),
            Err(cause) => return Err(AuthenticationError::Source(cause)),
        }
    }
}

/// The source's answer, and what it means if it is a refusal of this kind of connection. A source
/// that breaks off is left to the session, which says so.
async fn answer(mut source: Peer<SourceStream>, packet: &Bytes) -> (First, Option<ConnectCause>) {
    let mut before = BytesMut::new();
    let mut request = None;
    let mut refusal = None;
    if source.say(packet).await.is_ok() {
        while let Ok(Some(frame)) = source.frame(usize::MAX).await {
            let tag = Tag::from_byte(frame.tag());
            if tag == Tag::Authentication
                && let Ok(Authentication::Sasl { mechanisms }) =
                    Authentication::decode(frame.body())
            {
                request = Some(SaslRequest { frame, mechanisms });
                break;
            }
            if tag == Tag::ErrorResponse {
                refusal = forbidden(frame.body());
            }
            before.extend_from_slice(&frame.into_bytes());
            if !matches!(tag, Tag::NegotiateProtocolVersion | Tag::NoticeResponse) {
                break;
            }
        }
    }
    let first = First {
        source,
        before,
        request,
    };
    (first, refusal)
}

fn forbidden(body: Bytes) -> Option<ConnectCause> {
    let fields = ErrorFields::decode(body).ok()?;
    let text = |field: Option<&Bytes>| {
        field.map_or_else(String::new, |it| String::from_utf8_lossy(it).into_owned())
    };
    let cause = ConnectCause::from_server(&text(fields.sqlstate()), &text(fields.field(b'M')));
    cause.invites_another_way().then_some(cause)
}

/// A client and a source that are to agree on SASL.
struct Introduction<'a> {
    authenticator: &'a Authenticator,
    client: Peer<&'a mut ClientStream>,
    source: Peer<SourceStream>,
    before: BytesMut,
    settings: &'a Settings,
    route: &'a Route,
}

impl Introduction<'_> {
    async fn negotiate(
        mut self,
        request: SaslRequest,
        user: Option<&Bytes>,
    ) -> Result<Met, AuthenticationError> {
        let binds = request.offers(SCRAM_SHA_256_PLUS);
        let theirs = self.source.stream().end_point();
        let ours = self.settings.client_tls.identity();
        let ours = ours.filter(|_| self.client.stream().is_encrypted());
        let ours = ours.and_then(|it| it.end_point()).map(<[u8]>::to_vec);
        if !self.client.stream().is_encrypted() {
            if binds {
                self.strike(&request);
            } else {
                self.before.extend_from_slice(&request.frame.into_bytes());
            }
            return Ok(self.hand_over());
        }
        // One certificate on both sides: what the client binds to is what the source sees.
        if binds && ours.is_some() && ours == theirs {
            self.before.extend_from_slice(&request.frame.into_bytes());
            return Ok(self.hand_over());
        }
        let role = user
            .and_then(|it| std::str::from_utf8(it).ok())
            .unwrap_or_default();
        let settings = &self.settings.authentication;
        let secrets = &self.authenticator.secrets;
        match secrets.of(role, settings, Freshness::Cached).await {
            Lookup::Unavailable if binds => self.without_secret(&request).await,
            Lookup::Unavailable => {
                self.before.extend_from_slice(&request.frame.into_bytes());
                Ok(self.hand_over())
            }
            Lookup::Secret(secret) => {
                let secret = Some(secret);
                Exchange::new(self, role, (ours, theirs), secret)
                    .run(binds)
                    .await
            }
            Lookup::Nobody => {
                Exchange::new(self, role, (ours, theirs), None)
                    .run(binds)
                    .await
            }
        }
    }

    /// Offers the client what the source offers, but for channel binding.
    fn strike(&mut self, request: &SaslRequest) {
        let mechanisms = request.mechanisms.iter();
        let mechanisms = mechanisms.filter(|it| it.as_ref() != SCRAM_SHA_256_PLUS.as_bytes());
        let mechanisms = mechanisms.cloned().collect();
        Authentication::Sasl { mechanisms }.encode(&mut self.before);
    }

    /// A client that could bind would have to be taken for the victim of an attack by the source,
    /// whose sentence would lead nobody to the cause.
    async fn without_secret(mut self, request: &SaslRequest) -> Result<Met, AuthenticationError> {
        self.strike(request);
        let offer = self.before.split();
        self.client
            .say(&offer)
            .await
            .map_err(AuthenticationError::Client)?;
        let frame = self.client.answer().await?;
        let response = SaslInitialResponse::decode(frame.body());
        let is_plain = |it: &SaslInitialResponse| it.mechanism.as_ref() == SCRAM_SHA_256.as_bytes();
        if response.is_ok_and(|it| is_plain(&it) && server::flag(&it.message) == Some(b'y')) {
            return Err(AuthenticationError::NoSecret);
        }
        self.client.put_back(frame);
        Ok(self.hand_over())
    }

    fn hand_over(self) -> Met {
        self.source
            .hand_over(self.before, self.client.into_buffer())
    }
}

impl Peer<SourceStream> {
    /// Lets the session go on: `before` goes to the client first.
    fn hand_over(self, mut before: BytesMut, from_client: BytesMut) -> Met {
        let (source, rest) = self.into_parts();
        before.extend_from_slice(&rest);
        let introduced = Introduced {
            from_client,
            from_source: before,
        };
        Met::Introduced(source, introduced)
    }
}
