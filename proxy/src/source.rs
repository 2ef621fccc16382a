//! Connections to the source database: TCP or a Unix-domain socket.
//!
//! Does not authenticate: the client does, through the proxy.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use control::Dsn;
use control::dsn::Host;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

/// An open connection to the source.
#[derive(Debug)]
pub(crate) enum SourceStream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

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

impl AsyncRead for SourceStream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Unix(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for SourceStream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Unix(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write_vectored(context, slices),
            Self::Unix(stream) => Pin::new(stream).poll_write_vectored(context, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_flush(context),
            Self::Unix(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}
