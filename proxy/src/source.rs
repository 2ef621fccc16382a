//! Connections to the source database: TCP or a Unix-domain socket.
//!
//! Does not authenticate: the client does, through the proxy.

use std::io;

use control::Dsn;
use control::dsn::Host;
pub(crate) use control::server::ServerStream as SourceStream;
use socket2::SockRef;
use tokio::net::{TcpStream, UnixStream};

/// Opens a connection, within the time that the connection string allows.
pub(crate) async fn connect(dsn: &Dsn) -> io::Result<SourceStream> {
    let opened = tokio::time::timeout(dsn.connect_timeout(), open(dsn)).await;
    opened.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
}

async fn open(dsn: &Dsn) -> io::Result<SourceStream> {
    match (dsn.host(), dsn.socket()) {
        (Host::Tcp(name), _) => {
            let stream = TcpStream::connect((name.as_str(), dsn.port())).await?;
            stream.set_nodelay(true)?;
            // As between PostgreSQL and its clients: a peer that vanished is noticed in the end.
            SockRef::from(&stream).set_keepalive(true)?;
            Ok(SourceStream::Tcp(stream))
        }
        (Host::Unix(directory), socket) => {
            let path = socket.as_ref().unwrap_or(directory);
            Ok(SourceStream::Unix(UnixStream::connect(path).await?))
        }
    }
}
