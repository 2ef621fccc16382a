//! Opening a connection: the socket, then TLS as far as the way there asks for it.
//!
//! [libpq's meanings](https://www.postgresql.org/docs/current/libpq-ssl.html) of `sslmode`. Does not
//! decide whether another way is worth trying: only who logs in knows what the server said.

use std::io;

use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

use super::ServerStream;
use crate::connect::ConnectCause;
use crate::dsn::{Dsn, Host, Negotiation, SslMode};
use crate::tls::{ALPN, ServerTls, TlsFault};

/// `SSLRequest`: length and code.
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];

/// How a connection is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// In the clear.
    Clear,
    /// Encrypted if the server can, else in the clear.
    IfOffered,
    /// Encrypted.
    Encrypted,
}

/// A server and how it is reached: made once from a connection string, its files read once.
#[derive(Debug, Clone)]
pub struct Route {
    dsn: Dsn,
    tls: Option<ServerTls>,
}

impl Route {
    /// Reads the certificates that the connection string names.
    pub fn new(dsn: &Dsn) -> Result<Self, TlsFault> {
        Ok(Self {
            dsn: dsn.clone(),
            tls: ServerTls::of(dsn)?,
        })
    }

    /// The connection string.
    pub const fn dsn(&self) -> &Dsn {
        &self.dsn
    }

    /// What is tried in turn. A later one is for when the server, asked to log somebody in, would
    /// have the connection encrypted otherwise: [`ConnectCause::invites_another_way`].
    pub fn ways(&self) -> &'static [Way] {
        match self.dsn.encryption().mode {
            _ if self.tls.is_none() => &[Way::Clear],
            SslMode::Disable => &[Way::Clear],
            SslMode::Allow => &[Way::Clear, Way::IfOffered],
            SslMode::Prefer => &[Way::IfOffered, Way::Clear],
            SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull => &[Way::Encrypted],
        }
    }

    /// Opens a connection, within the time that the connection string allows. Not cancel-safe: drop
    /// it and the attempt is over.
    pub async fn open(&self, way: Way) -> Result<ServerStream, ConnectCause> {
        // Boxed: a handshake under way is large, and the futures around it would be too.
        let connect = Box::pin(self.connect(way));
        let opened = tokio::time::timeout(self.dsn.connect_timeout(), connect).await;
        opened.unwrap_or(Err(ConnectCause::Timeout))
    }

    async fn connect(&self, way: Way) -> Result<ServerStream, ConnectCause> {
        let io = |error: io::Error| ConnectCause::from_io(&error);
        let stream = match (self.dsn.host(), self.dsn.socket()) {
            (Host::Tcp(name), _) => {
                let stream = TcpStream::connect((name.as_str(), self.dsn.port())).await;
                let stream = stream.map_err(io)?;
                stream.set_nodelay(true).map_err(io)?;
                // As between PostgreSQL and its clients: a peer that vanished is noticed in the end.
                SockRef::from(&stream).set_keepalive(true).map_err(io)?;
                stream
            }
            (Host::Unix(directory), socket) => {
                let path = socket.as_ref().unwrap_or(directory);
                let stream = UnixStream::connect(path).await.map_err(io)?;
                return Ok(ServerStream::Unix(stream));
            }
        };
        match (&self.tls, way) {
            (None, _) | (_, Way::Clear) => Ok(ServerStream::Tcp(stream)),
            (Some(tls), Way::IfOffered | Way::Encrypted) => self.encrypt(tls, stream, way).await,
        }
    }

    async fn encrypt(
        &self,
        tls: &ServerTls,
        mut stream: TcpStream,
        way: Way,
    ) -> Result<ServerStream, ConnectCause> {
        let io = |error: io::Error| ConnectCause::from_io(&error);
        if tls.negotiation() == Negotiation::Postgres {
            stream.write_all(&SSL_REQUEST).await.map_err(io)?;
            // One byte and no more: whatever came behind it in the clear, TLS would choke on.
            match stream.read_u8().await.map_err(io)? {
                b'S' => {}
                b'N' if way == Way::IfOffered => return Ok(ServerStream::Tcp(stream)),
                b'N' => {
                    return Err(ConnectCause::Tls(TlsFault::NotOffered {
                        sslmode: self.dsn.encryption().mode.name(),
                    }));
                }
                // An error: not to be believed, since nobody has proved who he is.
                _ => {
                    return Err(ConnectCause::Protocol {
                        message: "the server refused to speak of TLS".to_owned(),
                    });
                }
            }
        }
        let stream = tls.handshake(stream).await.map_err(|error| {
            let closed = matches!(
                error.kind(),
                io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset
            );
            if closed && tls.negotiation() == Negotiation::Direct {
                return ConnectCause::Tls(TlsFault::NoDirect);
            }
            io(error)
        })?;
        let agreed = stream.get_ref().1.alpn_protocol();
        if tls.negotiation() == Negotiation::Direct && agreed != Some(ALPN) {
            return Err(ConnectCause::Tls(TlsFault::NoDirect));
        }
        Ok(ServerStream::Tls(Box::new(stream)))
    }
}
