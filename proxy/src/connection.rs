//! A client's connection from its first byte: what it wants, and the session that it gets.
//!
//! Logs how each connection ended, once. Does not relay.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use control::ConnectCause;
use protocol::wire::backend::Severity;
use protocol::wire::error_response;
use protocol::wire::startup::Startup;
use socket2::SockRef;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpStream, UnixStream};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::admin::{self, Console, LoginError, Visitor};
use crate::authentication::{AuthenticationError, Authenticator, Met};
use crate::cancel;
use crate::capture::Capture;
use crate::client_stream::{ClientStream, tls_version};
use crate::clock::wall_clock;
use crate::complaints::{Complaint, Complaints};
use crate::config::Config;
use crate::listener::{Accepted, Admission, ClientSocket};
use crate::metrics;
use crate::registry::{Captured, Identity, Registry};
use crate::session::{Session, SessionError, Spares};
use crate::settings::{LiveSettings, Settings};
use crate::source::{Source, SourceStream};
use crate::startup::{self, Opening, OpeningError, Wanted};

/// What the connections of one worker share.
#[derive(Debug)]
pub(crate) struct Surroundings {
    pub(crate) config: Config,
    pub(crate) settings: LiveSettings,
    pub(crate) source: Source,
    pub(crate) authenticator: Authenticator,
    /// Nothing if no writes are captured.
    pub(crate) capture: Option<Rc<Capture>>,
    pub(crate) registry: Rc<Registry>,
    pub(crate) spares: Rc<Spares>,
    pub(crate) console: Arc<Console>,
    pub(crate) complaints: Arc<Complaints>,
    pub(crate) shutdown: CancellationToken,
}

/// Why a connection ended badly.
#[derive(Debug, thiserror::Error)]
enum ConnectionError {
    #[error("the socket could not be set up")]
    Socket(#[source] io::Error),
    #[error("no session began")]
    Opening(#[source] OpeningError),
    #[error("the startup packet did not come in time")]
    TooSlow,
    #[error("a cancel request could not be forwarded")]
    Cancel(#[source] ConnectCause),
    #[error("no session began with the source")]
    Authentication(#[source] AuthenticationError),
    #[error("there was no place for another client")]
    NoPlace,
    #[error("the admin console is closed")]
    Console(#[source] LoginError),
    #[error("the session broke")]
    Session(#[source] SessionError),
}

/// Serves one client to its end.
pub(crate) async fn serve(surroundings: Rc<Surroundings>, accepted: Accepted) {
    let Accepted {
        socket,
        peer,
        admission,
        seat,
    } = accepted;
    let connected = metrics::client_connected();
    // What opens a session is much larger than the session, and gone before it begins.
    let opened = Box::pin(open(&surroundings, (socket, peer), &admission)).await;
    let served = match opened {
        Ok(Some(session)) => session.run().await.map_err(ConnectionError::Session),
        Ok(None) => Ok(()),
        Err(error) => Err(error),
    };
    if let Err(error) = served {
        report(peer, &error, &surroundings.complaints);
    }
    drop((connected, admission, seat));
}

/// The client's session, if it wants one.
async fn open(
    surroundings: &Surroundings,
    (socket, peer): (ClientSocket, Option<SocketAddr>),
    admission: &Admission,
) -> Result<Option<Session<ClientStream, SourceStream>>, ConnectionError> {
    let client = stream(socket).map_err(ConnectionError::Socket)?;
    let settings = surroundings.settings.current();
    let opened = tokio::select! {
        opened = startup::open(client, &settings.client_tls) => opened,
        () = tokio::time::sleep(settings.startup_timeout) => {
            return Err(ConnectionError::TooSlow);
        }
        () = surroundings.shutdown.cancelled() => return Ok(None),
    };
    let (mut client, wanted) = opened.map_err(ConnectionError::Opening)?;
    match wanted {
        Wanted::Nothing | Wanted::Tls => Ok(None),
        Wanted::Cancel(key) if surroundings.console.visits.cancel(&key) => Ok(None),
        Wanted::Cancel(key) => {
            let route = surroundings.source.route(&settings);
            let route = route.map_err(ConnectionError::Cancel)?;
            let forwarded = cancel::forward(&route, &key).await;
            forwarded.map(|()| None).map_err(ConnectionError::Cancel)
        }
        // Somebody has to be able to look when all places are taken.
        Wanted::Session(opening) if admin::is_wanted(&settings, &opening.startup) => {
            let identity = Identity {
                tls: tls_version(&client),
                captured: Captured::Console,
                ..identity(surroundings, &opening.startup, peer)
            };
            let visitor = Visitor {
                client,
                opening,
                peer,
                identity,
            };
            let visited = Box::pin(visit(surroundings, &settings, visitor));
            let visited = visited.await;
            if matches!(visited, Err(LoginError::Refused { .. })) {
                metrics::login_refused("console");
            }
            visited.map(|()| None).map_err(ConnectionError::Console)
        }
        Wanted::Session(opening) => {
            if let Admission::Refused(_) = admission {
                metrics::client_refused();
                say(&mut client, &too_many_clients()).await;
                return Err(ConnectionError::NoPlace);
            }
            let identity = Identity {
                tls: tls_version(&client),
                ..identity(surroundings, &opening.startup, peer)
            };
            let member = surroundings.registry.enroll(identity);
            let capture = surroundings
                .capture
                .as_ref()
                .filter(|_| member.is_captured())
                .cloned();
            let met = reach_source(surroundings, &settings, &mut client, opening).await?;
            let session = match met {
                Met::Silent(source, opening) => Session::new(client, source, opening, member),
                Met::Introduced(source, said) => Session::introduced(client, source, said, member),
            };
            let session = session.sharing(&surroundings.spares);
            let session = session.limited(settings.idle);
            Ok(Some(match capture {
                Some(capture) => session.captured(capture, settings.sync),
                None => session,
            }))
        }
    }
}

/// A connection to the source on which the session can begin; the client hears why there is none.
async fn reach_source(
    surroundings: &Surroundings,
    settings: &Arc<Settings>,
    client: &mut ClientStream,
    opening: Opening,
) -> Result<Met, ConnectionError> {
    let authenticator = &surroundings.authenticator;
    let met = async {
        let route = surroundings.source.route(settings);
        let route = route.map_err(AuthenticationError::Source)?;
        authenticator
            .meet(client, opening, (&route, settings))
            .await
    };
    let met = tokio::select! {
        met = met => met,
        () = tokio::time::sleep(settings.startup_timeout) => Err(AuthenticationError::TooSlow),
        () = surroundings.shutdown.cancelled() => Err(AuthenticationError::ShutDown),
    };
    match met {
        Ok(met) => {
            if let Some(clients) = surroundings.complaints.source_is_back() {
                tracing::info!(clients, "the source can be reached again");
            }
            Ok(met)
        }
        Err(error) => {
            if let AuthenticationError::Source(cause) = &error {
                metrics::source_failed(cause.kind());
            }
            if let Some(words) = error.farewell() {
                say(client, &words).await;
            }
            Err(ConnectionError::Authentication(error))
        }
    }
}

/// Lets somebody use the admin console who may.
async fn visit(
    surroundings: &Surroundings,
    settings: &Arc<Settings>,
    mut visitor: Visitor<ClientStream>,
) -> Result<(), LoginError> {
    let console = Arc::clone(&surroundings.console);
    let introduce = async |client: &mut ClientStream, opening: Opening| {
        let route = surroundings.source.route(settings);
        let route = route.map_err(AuthenticationError::Source)?;
        let authenticator = &surroundings.authenticator;
        authenticator
            .introduce(client, opening, (&route, settings))
            .await
    };
    let admitted = async {
        let database = console.source.database();
        let admitted = visitor.admit(settings, introduce, database);
        let in_time = tokio::time::timeout(settings.startup_timeout, admitted).await;
        in_time.unwrap_or(Err(LoginError::TooSlow))
    };
    tokio::select! {
        admitted = admitted => admitted?,
        () = surroundings.shutdown.cancelled() => return Ok(()),
    }
    admin::visit(console, visitor, &surroundings.shutdown).await
}

fn stream(socket: ClientSocket) -> io::Result<ClientStream> {
    match socket {
        ClientSocket::Tcp(socket) => {
            let client = TcpStream::from_std(socket)?;
            client.set_nodelay(true)?;
            SockRef::from(&client).set_keepalive(true)?;
            Ok(ClientStream::Tcp(client))
        }
        ClientSocket::Unix(socket) => UnixStream::from_std(socket).map(ClientStream::Unix),
    }
}

/// Whether the session's writes are captured.
fn captured(surroundings: &Surroundings, startup: &Startup) -> Captured {
    let mirrored = surroundings.config.source.database();
    // Of other versions nothing is known; other databases and replication are passed through.
    if startup.version >> 16 != 3 {
        Captured::Version
    } else if startup.is_replication() {
        Captured::Replication
    } else if startup
        .database()
        .is_none_or(|it| it != mirrored.as_bytes())
    {
        Captured::OtherDatabase
    } else if surroundings.capture.is_none() {
        Captured::Off
    } else {
        Captured::Yes
    }
}

fn identity(surroundings: &Surroundings, startup: &Startup, peer: Option<SocketAddr>) -> Identity {
    let text = |value: Option<&Bytes>| {
        value.map_or_else(String::new, |it| String::from_utf8_lossy(it).into_owned())
    };
    Identity {
        user: text(startup.param("user")),
        database: text(startup.database()),
        application_name: text(startup.param("application_name")),
        peer,
        tls: None,
        connected: wall_clock(),
        captured: captured(surroundings, startup),
    }
}

/// The client may be gone already; there is nobody else to tell.
async fn say(client: &mut ClientStream, words: &[u8]) {
    if client.write_all(words).await.is_ok() {
        drop(client.shutdown().await);
    }
}

fn too_many_clients() -> Bytes {
    error_response(
        Severity::Fatal,
        "53300",
        "sorry, too many clients already",
        Some("The segue proxy has reached its limit of clients."),
        None,
    )
}

fn report(peer: Option<SocketAddr>, error: &ConnectionError, complaints: &Complaints) {
    let peer = peer.map_or_else(|| "a Unix-domain socket".to_owned(), |it| it.to_string());
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(next) = cause {
        text = format!("{text}: {next}");
        cause = next.source();
    }
    match error {
        // Whoever set TLS up has to see why it does not work.
        ConnectionError::Opening(
            OpeningError::Handshake(_) | OpeningError::NoProtocol | OpeningError::Clear,
        ) => tracing::info!(%peer, "{text}"),
        // Clients come and go as they please.
        ConnectionError::Opening(_)
        | ConnectionError::TooSlow
        | ConnectionError::Authentication(
            AuthenticationError::Client(_)
            | AuthenticationError::Left
            | AuthenticationError::TooSlow
            | AuthenticationError::ShutDown,
        )
        | ConnectionError::Session(SessionError::Client(_) | SessionError::ClientFrame(_)) => {
            tracing::debug!(%peer, "{text}");
        }
        ConnectionError::Authentication(AuthenticationError::Source(_)) => {
            sum_up(Complaint::Source, &peer, &text, complaints);
        }
        ConnectionError::NoPlace => sum_up(Complaint::NoPlace, &peer, &text, complaints),
        ConnectionError::Socket(_)
        | ConnectionError::Console(_)
        | ConnectionError::Cancel(_)
        | ConnectionError::Authentication(_)
        | ConnectionError::Session(_) => tracing::warn!(%peer, "{text}"),
    }
}

/// What every client meets alike: one line for many.
fn sum_up(complaint: Complaint, peer: &str, text: &str, complaints: &Complaints) {
    if let Some(clients) = complaints.due(complaint, Instant::now()) {
        tracing::warn!(peer, clients, "{text}");
    }
}
