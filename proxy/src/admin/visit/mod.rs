//! One visit to the console: frames in, pgwire's answers out.
//!
//! Frames are cut here and bounded; pgwire sees whole ones, one at a time, and what it leaves over
//! ends the visit. Does not let anybody in: [`super::login`] does.

#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures_util::SinkExt;
use pgwire::api::auth::{
    DefaultServerParameterProvider, finish_authentication, protocol_negotiation,
    save_startup_parameters_to_metadata,
};
use pgwire::api::query::{ExtendedQueryHandler, SimpleQueryHandler, send_ready_for_query};
use pgwire::api::{ClientInfo, PgWireConnectionState};
use pgwire::error::{ErrorInfo, PgWireError, PgWireResult};
use pgwire::messages::extendedquery::{TARGET_TYPE_BYTE_PORTAL, TARGET_TYPE_BYTE_STATEMENT};
use pgwire::messages::startup::{SecretKey, Startup};
use pgwire::messages::{DecodeContext, PgWireBackendMessage, PgWireFrontendMessage};
use protocol::reader::{ReadError, Reader};
use protocol::wire::backend::Severity;
use protocol::wire::error_response;
use protocol::wire::frame::{self, Frame};
use protocol::wire::frontend::{Bind, Close, Describe, Execute, Parse, Query, Tag};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_util::sync::CancellationToken;

use super::client::ConsoleClient;
use super::handler::Handler;
use super::visits::Place;
use super::{Console, LoginError, Visitor};

/// A command is a line; drivers send no more than some hundred bytes around it.
const MESSAGE_SIZE_MAX: usize = 64 * 1024;

/// Statements and portals that one visit may keep: drivers prepare a few hundred at most.
const NAMES_MAX: usize = 1000;

/// What psql and drivers take the server's version for: the oldest one that Segue knows, so that
/// none of them expects more than it gets.
const SERVER_VERSION: &str = concat!("14.0 (segue ", env!("CARGO_PKG_VERSION"), ")");

/// Whether the visit goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    GoOn,
    Over,
}

/// In which of the two ways a message was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Protocol {
    Simple,
    Extended,
}

/// Why an answer is not waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Interruption {
    /// A cancel request.
    Cancelled,
    /// The visit is to end.
    Ended,
}

impl Protocol {
    fn of(frame: &Frame) -> Self {
        if Tag::from_byte(frame.tag()) == Tag::Query {
            Self::Simple
        } else {
            Self::Extended
        }
    }
}

/// Serves a visitor that has been let in until it leaves or the proxy goes down.
pub(crate) async fn visit<C>(
    console: Arc<Console>,
    visitor: Visitor<C>,
    shutdown: &CancellationToken,
) -> Result<(), LoginError>
where
    C: AsyncRead + AsyncWrite + Unpin,
{
    let name = visitor.name();
    let place = Arc::new(console.visits.enter(visitor.identity));
    let mut client = ConsoleClient::new(visitor.peer);
    let (process_id, secret) = place.key();
    client.set_pid_and_secret_key(process_id, SecretKey::I32(secret));
    tracing::debug!("the admin console is open for {name}");
    let mut visit = Visit {
        handler: Handler {
            console,
            visitor: name.into(),
        },
        client,
        place,
        received: visitor.opening.rest,
        names: HashSet::new(),
    };
    let mut stream = visitor.client;
    let mut turn = visit.greet(&visitor.opening.startup).await;
    while turn == Turn::GoOn {
        visit.write(&mut stream).await?;
        let next = visit.next(&mut stream);
        turn = match shutdown.run_until_cancelled(next).await {
            None => visit.ended(),
            Some(next) => match next? {
                Some(turn) => turn,
                None => return Ok(()),
            },
        };
    }
    visit.write(&mut stream).await?;
    drop(stream.shutdown().await);
    Ok(())
}

/// What the visitor says next.
#[derive(Debug)]
enum Heard {
    Message(Frame),
    TooLarge,
    /// It has gone.
    Nothing,
}

/// Whether the body is what its tag says: pgwire, which reads it then, takes some bodies for shorter
/// than they are and panics on others.
fn sound(tag: Tag, body: Bytes) -> Result<(), ReadError> {
    match tag {
        Tag::Query => Query::decode(body).map(drop),
        Tag::Parse => Parse::decode(body).map(drop),
        Tag::Bind => Bind::decode(body).map(drop),
        Tag::Describe => Describe::decode(body).map(drop),
        Tag::Execute => Execute::decode(body).map(drop),
        Tag::Close => Close::decode(body).map(drop),
        Tag::Sync | Tag::Flush | Tag::Terminate => Reader::new(body).finish(),
        // Not expected here, and refused before anything is read of them.
        Tag::CopyData
        | Tag::CopyDone
        | Tag::CopyFail
        | Tag::FunctionCall
        | Tag::Password
        | Tag::Unknown(_) => Err(ReadError::Invalid {
            field: "the tag",
            value: tag.as_byte().into(),
        }),
    }
}

/// Notes that something with this name is kept.
fn keep(
    names: &mut HashSet<(u8, String)>,
    kind: u8,
    name: Option<&String>,
) -> Result<(), PgWireError> {
    if names.len() >= NAMES_MAX {
        return Err(PgWireError::UserError(Box::new(ErrorInfo::new(
            "ERROR".to_owned(),
            "54000".to_owned(),
            format!("the admin console keeps no more than {NAMES_MAX} statements and portals"),
        ))));
    }
    names.extend(name.map(|name| (kind, name.clone())));
    Ok(())
}

/// What the visitor says next. Cancel-safe.
async fn hear(
    received: &mut BytesMut,
    stream: &mut (impl AsyncRead + Unpin),
) -> Result<Heard, LoginError> {
    loop {
        let header = frame::header(received).map_err(LoginError::ClientFrame)?;
        if header.is_some_and(|it| it.len > MESSAGE_SIZE_MAX) {
            return Ok(Heard::TooLarge);
        }
        let frame = Frame::split(received).map_err(LoginError::ClientFrame)?;
        if let Some(frame) = frame {
            return Ok(Heard::Message(frame));
        }
        let read = stream.read_buf(received).await;
        if read.map_err(LoginError::Client)? == 0 {
            return Ok(Heard::Nothing);
        }
    }
}

/// As PostgreSQL says it.
fn cancelled() -> PgWireError {
    PgWireError::UserError(Box::new(ErrorInfo::new(
        "ERROR".to_owned(),
        "57014".to_owned(),
        "canceling statement due to user request".to_owned(),
    )))
}

/// Waits until a peer has gone; what it says before that is put into `ahead`. Cancel-safe.
async fn goes_away(stream: &mut (impl AsyncRead + Unpin), ahead: &mut BytesMut) {
    while ahead.len() < MESSAGE_SIZE_MAX {
        match stream.read_buf(ahead).await {
            Ok(0) | Err(_) => return,
            Ok(_) => (),
        }
    }
    std::future::pending::<()>().await;
}

/// One visit.
struct Visit {
    handler: Handler,
    client: ConsoleClient,
    place: Arc<Place>,
    received: BytesMut,
    /// Of prepared statements and portals that are kept, with their kind.
    names: HashSet<(u8, String)>,
}

impl Visit {
    /// What a server says once a client is let in.
    async fn greet(&mut self, asked: &protocol::wire::startup::Startup) -> Turn {
        let text = |bytes: &Bytes| String::from_utf8_lossy(bytes).into_owned();
        let mut startup = Startup::new();
        let [_, _, high, low] = asked.version.to_be_bytes();
        startup.protocol_number_minor = u16::from_be_bytes([high, low]);
        let parameters = asked.params.iter();
        startup.parameters = parameters
            .map(|(name, value)| (text(name), text(value)))
            .collect();
        let mut parameters = DefaultServerParameterProvider::default();
        SERVER_VERSION.clone_into(&mut parameters.server_version);
        save_startup_parameters_to_metadata(&mut self.client, &startup);
        let greeted = async {
            protocol_negotiation(&mut self.client, &startup).await?;
            finish_authentication(&mut self.client, &parameters).await
        };
        match greeted.await {
            Ok(()) => Turn::GoOn,
            Err(error) => self.end("0A000", &error.to_string()),
        }
    }

    /// Writes what has been said.
    async fn write(&mut self, stream: &mut (impl AsyncWrite + Unpin)) -> Result<(), LoginError> {
        let written = async {
            stream.write_all(&self.client.said).await?;
            stream.flush().await
        };
        written.await.map_err(LoginError::Client)?;
        self.client.said.clear();
        Ok(())
    }

    /// Takes what the visitor says next and answers it; nothing if the visitor has gone. What it was
    /// waiting for then is given up.
    async fn next(
        &mut self,
        stream: &mut (impl AsyncRead + Unpin),
    ) -> Result<Option<Turn>, LoginError> {
        let heard = tokio::select! {
            biased;
            () = self.place.ended() => return Ok(Some(self.ended())),
            heard = hear(&mut self.received, stream) => heard?,
        };
        let frame = match heard {
            Heard::Message(frame) => frame,
            Heard::TooLarge => {
                let why = "the message is too large for the admin console";
                return Ok(Some(self.end("54000", why)));
            }
            Heard::Nothing => return Ok(None),
        };
        let protocol = Protocol::of(&frame);
        let mut ahead = BytesMut::new();
        let place = Arc::clone(&self.place);
        place.is_active(true);
        let interrupted = tokio::select! {
            biased;
            turn = self.answer(frame) => Ok(turn),
            () = goes_away(stream, &mut ahead) => return Ok(None),
            () = place.cancelled() => Err(Interruption::Cancelled),
            () = place.ended() => Err(Interruption::Ended),
        };
        place.is_active(false);
        self.received.unsplit(ahead);
        Ok(Some(match interrupted {
            Ok(turn) => turn,
            Err(Interruption::Cancelled) => self.complain(cancelled(), protocol).await,
            Err(Interruption::Ended) => self.ended(),
        }))
    }

    /// Answers a message.
    async fn answer(&mut self, frame: Frame) -> Turn {
        let tag = Tag::from_byte(frame.tag());
        if let Err(error) = sound(tag, frame.body()) {
            return self.end("08P01", &error.to_string());
        }
        let protocol = Protocol::of(&frame);
        let mut bytes = BytesMut::from(frame.into_bytes());
        let mut context = DecodeContext::default();
        context.protocol_version = self.client.protocol_version();
        context.awaiting_frontend_ssl = false;
        context.awaiting_frontend_startup = false;
        let message = PgWireFrontendMessage::decode(&mut bytes, &context);
        match message {
            Ok(Some(message)) if bytes.is_empty() => match self.take(message).await {
                Ok(turn) => turn,
                Err(error) => self.complain(error, protocol).await,
            },
            Ok(_) => self.end("08P01", "the message could not be read"),
            Err(error) => self.end("08P01", &error.to_string()),
        }
    }

    /// Says what went wrong; what follows it in the extended protocol is skipped.
    async fn complain(&mut self, error: PgWireError, protocol: Protocol) -> Turn {
        let ends = error.is_fatal();
        let client = &mut self.client;
        let info = ErrorInfo::from(error);
        let said = async {
            client
                .send(PgWireBackendMessage::ErrorResponse(info.into()))
                .await?;
            let status = client.transaction_status().to_error_state();
            client.set_transaction_status(status);
            match protocol {
                Protocol::Extended => client.set_state(PgWireConnectionState::AwaitingSync),
                Protocol::Simple => {
                    client.set_state(PgWireConnectionState::ReadyForQuery);
                    send_ready_for_query(client, status).await?;
                }
            }
            PgWireResult::Ok(())
        };
        // It is said into a buffer, which takes everything that can be encoded.
        if said.await.is_err() || ends {
            return Turn::Over;
        }
        Turn::GoOn
    }

    /// Somebody, or the proxy's own end, ends the visit.
    fn ended(&mut self) -> Turn {
        let why = "terminating connection due to administrator command";
        self.end("57P01", why)
    }

    /// The last words.
    fn end(&mut self, sqlstate: &'static str, why: &str) -> Turn {
        let words = error_response(Severity::Fatal, sqlstate, why, None, None);
        self.client.said.extend_from_slice(&words);
        Turn::Over
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "what is not expected is refused, whatever it is"
    )]
    async fn take(&mut self, message: PgWireFrontendMessage) -> PgWireResult<Turn> {
        let Self {
            handler,
            client,
            names,
            ..
        } = self;
        let skips = matches!(client.state(), PgWireConnectionState::AwaitingSync);
        match message {
            PgWireFrontendMessage::Terminate(_) => return Ok(Turn::Over),
            PgWireFrontendMessage::Sync(sync) => {
                client.set_state(PgWireConnectionState::ReadyForQuery);
                handler.on_sync(client, sync).await?;
            }
            // The rest of what has failed, up to its Sync.
            _ if skips => (),
            PgWireFrontendMessage::Query(query) => handler.on_query(client, query).await?,
            PgWireFrontendMessage::Parse(parse) => {
                keep(names, TARGET_TYPE_BYTE_STATEMENT, parse.name.as_ref())?;
                handler.on_parse(client, parse).await?;
            }
            PgWireFrontendMessage::Bind(bind) => {
                keep(names, TARGET_TYPE_BYTE_PORTAL, bind.portal_name.as_ref())?;
                handler.on_bind(client, bind).await?;
            }
            PgWireFrontendMessage::Describe(describe) => {
                handler.on_describe(client, describe).await?;
            }
            PgWireFrontendMessage::Execute(execute) => handler.on_execute(client, execute).await?,
            PgWireFrontendMessage::Close(close) => {
                if let Some(name) = &close.name {
                    names.remove(&(close.target_type, name.clone()));
                }
                handler.on_close(client, close).await?;
            }
            PgWireFrontendMessage::Flush(flush) => handler.on_flush(client, flush).await?,
            _ => return Ok(self.end("08P01", "the admin console does not expect this message")),
        }
        Ok(Turn::GoOn)
    }
}
