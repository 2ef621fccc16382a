//! From a socket to a session: startup packet, proof of identity, the server's settings.
//!
//! Answers trust, certificates, cleartext, MD5 and SCRAM-SHA-256, bound to the TLS connection where
//! the server offers that. Does not know GSSAPI or SSPI.

use bytes::{Bytes, BytesMut};
use control::dsn::ChannelBinding as Binding;
use control::server::{Route, Way};
use control::tls::TlsFault;
use control::{Attempts, ConnectCause, ConnectError, Dsn, Side};
use postgres_protocol::authentication::md5_hash;
use postgres_protocol::authentication::sasl::{
    ChannelBinding, SCRAM_SHA_256, SCRAM_SHA_256_PLUS, ScramSha256,
};
use postgres_protocol::message::frontend;
use protocol::reader::Reader;

use super::reply::Builder;
use super::stream::Stream;
use super::{Connection, ConnectionError, ServerError, tag};

/// What the server wants to see, by the code in its `AuthenticationRequest`.
mod request {
    pub(super) const OK: i32 = 0;
    pub(super) const CLEARTEXT: i32 = 3;
    pub(super) const MD5: i32 = 5;
    pub(super) const SASL: i32 = 10;
    pub(super) const SASL_CONTINUE: i32 = 11;
    pub(super) const SASL_FINAL: i32 = 12;
}

impl Connection {
    /// Opens a session. `parameters` are startup parameters: settings, `application_name`, or
    /// `replication`. Not cancel-safe; drop it and the attempt is over.
    pub async fn connect(
        dsn: &Dsn,
        side: Side,
        parameters: &[(&str, &str)],
    ) -> Result<Self, ConnectError> {
        let error = |cause| ConnectError::new(side, dsn, cause);
        let route = Route::new(dsn).map_err(|fault| error(fault.into()))?;
        let mut attempts = Attempts::at(&route);
        loop {
            // Boxed: what opens a session is larger than what then uses it.
            match Box::pin(session(&route, attempts.way(), side, parameters)).await {
                Ok(session) => return Ok(session),
                Err(cause) => attempts.go_on(cause).map_err(error)?,
            }
        }
    }
}

async fn session(
    route: &Route,
    way: Way,
    side: Side,
    parameters: &[(&str, &str)],
) -> Result<Connection, ConnectCause> {
    let stream = route.open(way).await?;
    let stream = Stream::new(stream).map_err(|error| ConnectCause::from_io(&error))?;
    let dsn = route.dsn();
    let attempt = tokio::time::timeout(dsn.connect_timeout(), open(dsn, side, parameters, stream));
    attempt.await.unwrap_or(Err(ConnectCause::Timeout))
}

async fn open(
    dsn: &Dsn,
    side: Side,
    parameters: &[(&str, &str)],
    stream: Stream,
) -> Result<Connection, ConnectCause> {
    let mut opening = Opening {
        connection: Connection {
            stream,
            side,
            incoming: BytesMut::new(),
            is_behind: false,
            outgoing: BytesMut::new(),
            parameters: std::collections::BTreeMap::new(),
            process_id: 0,
            partial: Builder::default(),
        },
        dsn,
    };
    opening.introduce(parameters).await?;
    opening.authenticate().await?;
    opening.settle().await
}

struct Opening<'a> {
    connection: Connection,
    dsn: &'a Dsn,
}

impl Opening<'_> {
    async fn introduce(&mut self, parameters: &[(&str, &str)]) -> Result<(), ConnectCause> {
        let mut all = vec![("user", self.dsn.user()), ("database", self.dsn.database())];
        all.extend(self.dsn.options().map(|options| ("options", options)));
        all.extend(parameters);
        frontend::startup_message(all, &mut self.connection.outgoing)
            .map_err(|error| unsendable(&error))?;
        self.flush().await
    }

    async fn authenticate(&mut self) -> Result<(), ConnectCause> {
        let mut scram = None;
        let mut bound = false;
        loop {
            let mut reader = Reader::new(self.receive(tag::AUTHENTICATION).await?);
            match reader.i32("authentication request").map_err(broken)? {
                request::OK => return self.may_begin(bound),
                request::CLEARTEXT => {
                    self.may_begin(bound)?;
                    let password = self.password()?.to_owned();
                    self.answer(password.as_bytes()).await?;
                }
                request::MD5 => {
                    self.may_begin(bound)?;
                    let salt = reader.u32("salt").map_err(broken)?.to_be_bytes();
                    let password = self.password()?.as_bytes();
                    let hash = md5_hash(self.dsn.user().as_bytes(), password, salt);
                    self.answer(hash.as_bytes()).await?;
                }
                request::SASL => {
                    let begun;
                    (begun, bound) = self.begin_scram(&mut reader).await?;
                    scram = Some(begun);
                }
                request::SASL_CONTINUE => {
                    let scram = scram.as_mut().ok_or_else(out_of_turn)?;
                    scram.update(&reader.take_rest()).map_err(broken)?;
                    let out = &mut self.connection.outgoing;
                    frontend::sasl_response(scram.message(), out)
                        .map_err(|error| unsendable(&error))?;
                    self.flush().await?;
                }
                request::SASL_FINAL => {
                    let scram = scram.as_mut().ok_or_else(out_of_turn)?;
                    scram.finish(&reader.take_rest()).map_err(broken)?;
                }
                other => {
                    return Err(ConnectCause::Forbidden {
                        message: format!(
                            "the server asks for authentication method {other}, which is not \
                             supported; scram-sha-256 is"
                        ),
                    });
                }
            }
        }
    }

    /// Whether what proves us, or nothing, may be sent on a connection that is `bound` or not.
    fn may_begin(&self, bound: bool) -> Result<(), ConnectCause> {
        if !bound && self.dsn.encryption().channel_binding == Binding::Require {
            let why = "the server did not ask for SCRAM over TLS";
            return Err(TlsFault::ChannelBinding { why }.into());
        }
        Ok(())
    }

    /// The exchange, and whether it is bound to the TLS connection.
    async fn begin_scram(
        &mut self,
        reader: &mut Reader,
    ) -> Result<(ScramSha256, bool), ConnectCause> {
        let (mut plain, mut plus) = (false, false);
        while reader.remaining() > 1 {
            let mechanism = reader.utf8("SASL mechanism").map_err(broken)?;
            plain |= mechanism == SCRAM_SHA_256;
            plus |= mechanism == SCRAM_SHA_256_PLUS;
        }
        let wanted = self.dsn.encryption().channel_binding != Binding::Disable;
        let end_point = self.connection.stream.end_point().filter(|_| wanted);
        let (mechanism, binding) = match end_point {
            Some(name) if plus => (
                SCRAM_SHA_256_PLUS,
                ChannelBinding::tls_server_end_point(name),
            ),
            _ if !plain => {
                return Err(ConnectCause::Forbidden {
                    message: "the server does not offer SCRAM-SHA-256".to_owned(),
                });
            }
            // Says that we would have: a server that had offered it knows then that somebody is
            // between us.
            Some(_) => (SCRAM_SHA_256, ChannelBinding::unrequested()),
            None => (SCRAM_SHA_256, ChannelBinding::unsupported()),
        };
        let bound = mechanism == SCRAM_SHA_256_PLUS;
        self.may_begin(bound)?;
        let scram = ScramSha256::new(self.password()?.as_bytes(), binding);
        let out = &mut self.connection.outgoing;
        frontend::sasl_initial_response(mechanism, scram.message(), out)
            .map_err(|error| unsendable(&error))?;
        self.flush().await?;
        Ok((scram, bound))
    }

    fn password(&self) -> Result<&str, ConnectCause> {
        let password = self.dsn.password().ok_or(ConnectCause::PasswordMissing)?;
        Ok(password.reveal())
    }

    async fn answer(&mut self, proof: &[u8]) -> Result<(), ConnectCause> {
        frontend::password_message(proof, &mut self.connection.outgoing)
            .map_err(|error| unsendable(&error))?;
        self.flush().await
    }

    /// Waits until the server is ready for the first statement.
    async fn settle(mut self) -> Result<Connection, ConnectCause> {
        let key = self.receive(tag::BACKEND_KEY).await?;
        self.connection.process_id = Reader::new(key).i32("process id").map_err(broken)?;
        self.receive(tag::READY).await?;
        Ok(self.connection)
    }

    async fn flush(&mut self) -> Result<(), ConnectCause> {
        self.connection.flush().await.map_err(cause)
    }

    /// The next frame, which has to be a `wanted` one; an error of the server ends the attempt.
    async fn receive(&mut self, wanted: u8) -> Result<Bytes, ConnectCause> {
        /// `NegotiateProtocolVersion`: the server is older than the protocol asked for.
        const NEGOTIATE: u8 = b'v';
        loop {
            let (tag, body) = self.connection.receive().await.map_err(cause)?;
            match tag {
                tag::ERROR => {
                    let error = ServerError::parse(body).map_err(broken)?;
                    return Err(ConnectCause::from_server(&error.sqlstate, &error.message));
                }
                NEGOTIATE => {}
                _ if tag == wanted => return Ok(body),
                _ => return Err(out_of_turn()),
            }
        }
    }
}

fn cause(error: ConnectionError) -> ConnectCause {
    match error {
        ConnectionError::Connect(error) => error.cause,
        ConnectionError::Io { source, .. } => ConnectCause::from_io(&source),
        ConnectionError::Closed { .. }
        | ConnectionError::Protocol { .. }
        | ConnectionError::Unreadable { .. }
        | ConnectionError::Encode(_)
        | ConnectionError::Server { .. } => ConnectCause::Protocol {
            message: error.to_string(),
        },
    }
}

fn broken(error: impl std::fmt::Display) -> ConnectCause {
    ConnectCause::Protocol {
        message: format!("the server's answer during startup cannot be used: {error}"),
    }
}

fn unsendable(error: &std::io::Error) -> ConnectCause {
    ConnectCause::Protocol {
        message: format!("user, database, password or a setting cannot be sent: {error}"),
    }
}

fn out_of_turn() -> ConnectCause {
    ConnectCause::Protocol {
        message: "the server answered out of turn during startup".to_owned(),
    }
}
