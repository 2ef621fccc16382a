//! Who may come to the console.
//!
//! Without `admin_users`, everybody on this machine: whoever connects from loopback or through a
//! Unix-domain socket, under any name, without a password. With it, only those roles, from
//! anywhere, and each proves to the source who it is: a connection is opened there with the
//! visitor's name, and its authentication is relayed to the end. The source then has said yes, and
//! that connection is closed again.
//!
//! Does not know a password, and keeps nothing of what is relayed.

use std::io;
use std::net::SocketAddr;

use bytes::{Bytes, BytesMut};
use control::ConnectCause;
use protocol::wire::backend::{Severity, Tag};
use protocol::wire::frame::{Frame, FrameError};
use protocol::wire::startup::{Startup, VERSION_3_0};
use protocol::wire::{error_response, frontend};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::authentication::AuthenticationError;
use crate::registry::Identity;
use crate::session::Introduced;
use crate::settings::Settings;
use crate::startup::Opening;

/// A step of authentication takes a few hundred bytes; tokens may take some thousands.
const STEP_SIZE_MAX: usize = 64 * 1024;

/// `AuthenticationOk`.
const OK: u32 = 0;

/// Somebody at the door.
#[derive(Debug)]
pub(crate) struct Visitor<C> {
    pub(crate) client: C,
    pub(crate) opening: Opening,
    /// Nothing for a Unix-domain socket.
    pub(crate) peer: Option<SocketAddr>,
    pub(crate) identity: Identity,
}

/// Why a visitor was not let in, or its console broke.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoginError {
    /// It may not come in, and has been told why.
    #[error("{user:?} may not use the admin console: {why}")]
    Refused {
        /// Who it says it is.
        user: String,
        /// Why not.
        why: &'static str,
    },
    /// It took too long.
    #[error("the login took too long")]
    TooSlow,
    /// Its connection broke.
    #[error("the connection to the client broke")]
    Client(#[source] io::Error),
    /// What it sends are no messages.
    #[error("the client does not speak the protocol")]
    ClientFrame(#[source] FrameError),
    /// The source cannot be asked who it is.
    #[error("the source could not be asked to authenticate an administrator")]
    Source(#[source] AuthenticationError),
    /// The source broke off.
    #[error("the source broke off the authentication of an administrator")]
    SourceLost(#[source] io::Error),
}

/// Whether a startup packet asks for the console.
pub(crate) fn is_wanted(settings: &Settings, startup: &Startup) -> bool {
    let name = settings.admin_database.as_bytes();
    !name.is_empty()
        && startup.version >> 16 == 3
        && !startup.is_replication()
        && startup.database().is_some_and(|asked| asked == name)
}

impl<C> Visitor<C> {
    /// Who it says it is.
    pub(super) fn user(&self) -> String {
        let user = self.opening.startup.param("user");
        user.map_or_else(String::new, |it| String::from_utf8_lossy(it).into_owned())
    }

    /// As the log names it.
    pub(super) fn name(&self) -> String {
        let from = self
            .peer
            .map_or_else(|| "a Unix-domain socket".to_owned(), |it| it.to_string());
        format!("{} at {from}", self.user())
    }

    fn is_local(&self) -> bool {
        self.peer
            .is_none_or(|peer| peer.ip().to_canonical().is_loopback())
    }
}

impl<C: AsyncRead + AsyncWrite + Unpin> Visitor<C> {
    /// Lets the visitor in, or tells it why not. `introduce` opens a connection to the source and
    /// sends the startup packet there.
    pub(crate) async fn admit<S>(
        &mut self,
        settings: &Settings,
        introduce: impl AsyncFnOnce(&mut C, Opening) -> Result<(S, Introduced), AuthenticationError>,
        database: &str,
    ) -> Result<(), LoginError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        if settings.admin_users.is_empty() {
            if self.is_local() {
                return Ok(());
            }
            let why = "it comes from another machine";
            let hint = "Connect from the machine that the proxy runs on, or list the roles that \
                        may come from elsewhere in admin_users.";
            return self.refuse(why, hint).await;
        }
        if !settings.admin_users.contains(&self.user()) {
            let why = "it is not one of admin_users";
            let hint = "Add the role to admin_users and reload the proxy, or connect as one that \
                        is there.";
            return self.refuse(why, hint).await;
        }
        let opening = self.login(database);
        let (mut source, said) = match introduce(&mut self.client, opening).await {
            Ok(introduced) => introduced,
            Err(error) => {
                let words = if let AuthenticationError::Source(cause) = &error {
                    Some(source_unreachable(cause))
                } else {
                    error.farewell()
                };
                self.say(&words.unwrap_or_default()).await;
                return Err(LoginError::Source(error));
            }
        };
        self.opening.rest = said.from_client;
        self.authenticate(&mut source, said.from_source).await?;
        let mut leave = BytesMut::new();
        frontend::terminate(&mut leave);
        // It has said what it was asked; how it ends does not matter any more.
        drop(source.write_all(&leave).await);
        drop(source.shutdown().await);
        Ok(())
    }

    async fn refuse(&mut self, why: &'static str, hint: &str) -> Result<(), LoginError> {
        let user = self.user();
        let words = error_response(
            Severity::Fatal,
            "28000",
            &format!("{user:?} may not use the admin console: {why}"),
            None,
            Some(hint),
        );
        self.say(&words).await;
        Err(LoginError::Refused { user, why })
    }

    /// The visitor may be gone already; there is nobody else to tell.
    async fn say(&mut self, words: &[u8]) {
        if self.client.write_all(words).await.is_ok() {
            drop(self.client.shutdown().await);
        }
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "nothing else can be of use before the source has decided"
    )]
    /// Relays the login to the source, up to where it says that the visitor is who it says it is.
    async fn authenticate<S>(
        &mut self,
        source: &mut S,
        mut buffer: BytesMut,
    ) -> Result<(), LoginError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        // What is no part of a login stays for the console.
        let mut has_answered = false;
        loop {
            let frame = tokio::select! {
                biased;
                frame = next_frame(source, &mut buffer) => {
                    frame.map_err(LoginError::SourceLost)?
                }
                frame = next_frame(&mut self.client, &mut self.opening.rest), if !has_answered => {
                    let frame = frame.map_err(LoginError::Client)?;
                    if frame.tag() == frontend::Tag::Password.as_byte() {
                        forward(source, frame).await?;
                    } else {
                        has_answered = true;
                        self.put_back(frame);
                    }
                    continue;
                }
            };
            match Tag::from_byte(frame.tag()) {
                Tag::Authentication if step(&frame) == Some(OK) => return Ok(()),
                Tag::Authentication => self.pass_on(frame).await?,
                Tag::ErrorResponse => {
                    self.pass_on(frame).await?;
                    drop(self.client.shutdown().await);
                    let (user, why) = (self.user(), "the source refused the login");
                    return Err(LoginError::Refused { user, why });
                }
                _ => (),
            }
        }
    }

    fn put_back(&mut self, frame: Frame) {
        let behind = self.opening.rest.split();
        self.opening.rest.extend_from_slice(&frame.into_bytes());
        self.opening.rest.unsplit(behind);
    }

    /// The visitor's name and the mirrored database, and nothing else: nothing is to be done there.
    fn login(&mut self, database: &str) -> Opening {
        let user = self.opening.startup.param("user");
        let database = Bytes::copy_from_slice(database.as_bytes());
        let startup = Startup {
            version: VERSION_3_0,
            params: vec![
                (
                    Bytes::from_static(b"user"),
                    user.cloned().unwrap_or_default(),
                ),
                (Bytes::from_static(b"database"), database),
            ],
        };
        let mut packet = BytesMut::new();
        startup.encode(&mut packet);
        Opening {
            startup,
            packet: packet.freeze(),
            rest: std::mem::take(&mut self.opening.rest),
        }
    }

    async fn pass_on(&mut self, frame: Frame) -> Result<(), LoginError> {
        let bytes = frame.into_bytes();
        let written = async {
            self.client.write_all(&bytes).await?;
            self.client.flush().await
        };
        written.await.map_err(LoginError::Client)
    }
}

async fn forward(source: &mut (impl AsyncWrite + Unpin), answer: Frame) -> Result<(), LoginError> {
    let sent = async {
        source.write_all(&answer.into_bytes()).await?;
        source.flush().await
    };
    sent.await.map_err(LoginError::SourceLost)
}

fn step(frame: &Frame) -> Option<u32> {
    frame.body().first_chunk().copied().map(u32::from_be_bytes)
}

/// The next frame, which may not be larger than a step of authentication. Cancel-safe.
async fn next_frame(
    peer: &mut (impl AsyncRead + Unpin),
    buffer: &mut BytesMut,
) -> io::Result<Frame> {
    loop {
        let frame = Frame::split(buffer).map_err(io::Error::other)?;
        if let Some(frame) = frame {
            return Ok(frame);
        }
        if buffer.len() > STEP_SIZE_MAX {
            return Err(io::Error::other("a message is too large for a login"));
        }
        if peer.read_buf(buffer).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

fn source_unreachable(cause: &ConnectCause) -> Bytes {
    error_response(
        Severity::Fatal,
        "08001",
        "the source database could not be reached to authenticate an administrator",
        Some(&cause.to_string()),
        Some("From the proxy's own machine, no password is asked for while admin_users is empty."),
    )
}

#[cfg(test)]
mod tests {
    use protocol::wire::startup::{self, StartupPacket};
    use tokio::io::DuplexStream;

    use super::*;

    fn visitor(peer: Option<&str>) -> (DuplexStream, Visitor<DuplexStream>) {
        let (far, near) = tokio::io::duplex(4096);
        let mut packet = BytesMut::new();
        let startup = Startup {
            version: VERSION_3_0,
            params: vec![
                (Bytes::from_static(b"user"), Bytes::from_static(b"al")),
                (
                    Bytes::from_static(b"database"),
                    Bytes::from_static(b"segue"),
                ),
            ],
        };
        startup.encode(&mut packet);
        let visitor = Visitor {
            client: near,
            opening: Opening {
                startup,
                packet: packet.freeze(),
                rest: BytesMut::new(),
            },
            peer: peer.map(|address| address.parse().unwrap()),
            identity: Identity::unknown(),
        };
        (far, visitor)
    }

    fn admins(users: &[&str]) -> Settings {
        Settings {
            admin_users: users.iter().map(|user| (*user).to_owned()).collect(),
            ..Settings::default()
        }
    }

    async fn nowhere(
        _: &mut DuplexStream,
        _: Opening,
    ) -> Result<(DuplexStream, Introduced), AuthenticationError> {
        std::future::pending().await
    }

    async fn heard(mut far: DuplexStream) -> String {
        let mut words = Vec::new();
        far.read_to_end(&mut words).await.unwrap();
        String::from_utf8_lossy(&words).into_owned()
    }

    #[tokio::test]
    async fn whoever_is_on_this_machine_may_come_while_nobody_is_named() {
        for peer in [
            None,
            Some("127.0.0.1:1"),
            Some("[::1]:1"),
            Some("[::ffff:127.0.0.1]:1"),
        ] {
            let (_far, mut visitor) = visitor(peer);
            let admitted = visitor.admit(&admins(&[]), nowhere, "shop").await;
            assert!(admitted.is_ok(), "{peer:?}");
        }
        let (far, mut visitor) = visitor(Some("192.0.2.1:1"));
        let refused = visitor.admit(&admins(&[]), nowhere, "shop").await;
        assert!(matches!(refused, Err(LoginError::Refused { .. })));
        drop(visitor);
        let words = heard(far).await;
        assert!(
            words.contains("C28000") && words.contains("admin_users"),
            "{words}"
        );
    }

    #[tokio::test]
    async fn who_is_not_named_is_refused_wherever_it_comes_from() {
        let (far, mut visitor) = visitor(Some("127.0.0.1:1"));
        let refused = visitor.admit(&admins(&["bo"]), nowhere, "shop").await;
        assert!(matches!(refused, Err(LoginError::Refused { .. })));
        drop(visitor);
        assert!(heard(far).await.contains("C28000"));
    }

    const PASSWORD_WANTED: &[u8] = b"R\0\0\0\x08\0\0\0\x03";
    const PASSWORD: &[u8] = b"p\0\0\0\x07pw\0";
    const COMMAND: &[u8] = b"Q\0\0\0\x09help\0";
    const LET_IN: &[u8] = b"R\0\0\0\x08\0\0\0\0";

    /// A source that wants a password and then says `verdict`.
    async fn source(mut far: DuplexStream, verdict: Vec<u8>) {
        let mut buffer = BytesMut::new();
        let packet = loop {
            far.read_buf(&mut buffer).await.unwrap();
            if let Some(len) = startup::packet_len(&buffer).unwrap() {
                break buffer.split_to(len).freeze();
            }
        };
        let Ok(StartupPacket::Startup(asked)) = startup::decode(packet) else {
            panic!("no startup packet");
        };
        assert_eq!(asked.database().unwrap(), "shop");
        assert_eq!(asked.param("user").unwrap(), "al");
        far.write_all(PASSWORD_WANTED).await.unwrap();
        let mut password = vec![0; PASSWORD.len()];
        far.read_exact(&mut password).await.unwrap();
        assert_eq!(password, PASSWORD);
        far.write_all(&verdict).await.unwrap();
    }

    #[tokio::test]
    async fn who_is_named_proves_it_to_the_source() {
        let refusal = error_response(Severity::Fatal, "28P01", "wrong", None, None);
        for (verdict, lets_in) in [(LET_IN.to_vec(), true), (refusal.to_vec(), false)] {
            let (mut far, mut visitor) = visitor(Some("192.0.2.1:1"));
            let (source_far, source_near) = tokio::io::duplex(4096);
            let settings = admins(&["al"]);
            let connect = async |_: &mut DuplexStream, opening: Opening| {
                let mut source = source_near;
                source.write_all(&opening.packet).await.unwrap();
                let said = Introduced {
                    from_client: opening.rest,
                    from_source: BytesMut::new(),
                };
                Ok((source, said))
            };
            let client = async {
                let mut asked = vec![0; PASSWORD_WANTED.len()];
                far.read_exact(&mut asked).await.unwrap();
                assert_eq!(asked, PASSWORD_WANTED);
                // A command that does not wait for the end of the login is the console's.
                far.write_all(&[PASSWORD, COMMAND].concat()).await.unwrap();
            };
            let (admitted, (), ()) = tokio::join!(
                visitor.admit(&settings, connect, "shop"),
                client,
                source(source_far, verdict)
            );
            assert_eq!(admitted.is_ok(), lets_in, "{admitted:?}");
            let rest = &visitor.opening.rest;
            assert!(rest.is_empty() || rest == COMMAND, "{rest:?}");
        }
    }
}
