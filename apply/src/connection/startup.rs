//! From a socket to a session: startup packet, proof of identity, the server's settings.
//!
//! Answers trust, cleartext, MD5 and SCRAM-SHA-256. Does not know GSSAPI, SSPI or certificates.

use bytes::{Bytes, BytesMut};
use control::{ConnectCause, ConnectError, Dsn, Side};
use postgres_protocol::authentication::md5_hash;
use postgres_protocol::authentication::sasl::{ChannelBinding, SCRAM_SHA_256, ScramSha256};
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
        let attempt = tokio::time::timeout(dsn.connect_timeout(), open(dsn, side, parameters));
        let opened = attempt.await.unwrap_or(Err(ConnectCause::Timeout));
        opened.map_err(|cause| ConnectError::new(side, dsn, cause))
    }
}

async fn open(
    dsn: &Dsn,
    side: Side,
    parameters: &[(&str, &str)],
) -> Result<Connection, ConnectCause> {
    let stream = Stream::open(dsn).await;
    let mut opening = Opening {
        connection: Connection {
            stream: stream.map_err(|error| ConnectCause::from_io(&error))?,
            side,
            incoming: BytesMut::new(),
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
        loop {
            let mut reader = Reader::new(self.receive(tag::AUTHENTICATION).await?);
            match reader.i32("authentication request").map_err(broken)? {
                request::OK => return Ok(()),
                request::CLEARTEXT => {
                    let password = self.password()?.to_owned();
                    self.answer(password.as_bytes()).await?;
                }
                request::MD5 => {
                    let salt = reader.u32("salt").map_err(broken)?.to_be_bytes();
                    let password = self.password()?.as_bytes();
                    let hash = md5_hash(self.dsn.user().as_bytes(), password, salt);
                    self.answer(hash.as_bytes()).await?;
                }
                request::SASL => scram = Some(self.begin_scram(&mut reader).await?),
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

    async fn begin_scram(&mut self, reader: &mut Reader) -> Result<ScramSha256, ConnectCause> {
        let mut offered = false;
        while reader.remaining() > 1 {
            offered |= reader.utf8("SASL mechanism").map_err(broken)? == SCRAM_SHA_256;
        }
        if !offered {
            return Err(ConnectCause::Forbidden {
                message: "the server does not offer SCRAM-SHA-256".to_owned(),
            });
        }
        let password = self.password()?.as_bytes();
        let scram = ScramSha256::new(password, ChannelBinding::unsupported());
        let out = &mut self.connection.outgoing;
        frontend::sasl_initial_response(SCRAM_SHA_256, scram.message(), out)
            .map_err(|error| unsendable(&error))?;
        self.flush().await?;
        Ok(scram)
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
