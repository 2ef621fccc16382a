//! The socket below a connection. Does not know what its bytes mean.

use std::io;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use control::Dsn;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncReadExt, Interest};
use tokio::net::{TcpStream, UnixStream};

use super::READ_BYTES;

/// A server that vanished without a word (power, a firewall) is noticed after half a minute. No
/// `TCP_USER_TIMEOUT`: it would also end a batch that a server has stopped reading because it waits
/// for a lock, which may take any time.
const IDLE_BEFORE_PROBE: Duration = Duration::from_secs(15);
const PROBE_INTERVAL: Duration = Duration::from_secs(5);
const PROBE_COUNT: u32 = 3;

/// A TCP or Unix-domain socket.
#[derive(Debug)]
pub(super) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Stream {
    /// Opens a socket to where `dsn` points.
    pub(super) async fn open(dsn: &Dsn) -> io::Result<Self> {
        match dsn.host() {
            control::dsn::Host::Tcp(name) => {
                let stream = TcpStream::connect((name.as_str(), dsn.port())).await?;
                stream.set_nodelay(true)?;
                notice_silence(&stream)?;
                Ok(Self::Tcp(stream))
            }
            control::dsn::Host::Unix(directory) => {
                let path = directory.join(format!(".s.PGSQL.{}", dsn.port()));
                Ok(Self::Unix(UnixStream::connect(path).await?))
            }
        }
    }

    /// Reads what has come; 0 is the end. Cancel-safe.
    pub(super) async fn read(&mut self, incoming: &mut BytesMut) -> io::Result<usize> {
        if incoming.capacity() == incoming.len() {
            incoming.reserve(READ_BYTES);
        }
        match self {
            Self::Tcp(stream) => stream.read_buf(incoming).await,
            Self::Unix(stream) => stream.read_buf(incoming).await,
        }
    }

    /// Waits until the socket can be written or read, then does either or both once.
    pub(super) async fn exchange(
        &self,
        outgoing: &mut BytesMut,
        incoming: &mut BytesMut,
    ) -> io::Result<()> {
        let ready = match self {
            Self::Tcp(stream) => {
                stream
                    .ready(Interest::READABLE | Interest::WRITABLE)
                    .await?
            }
            Self::Unix(stream) => {
                stream
                    .ready(Interest::READABLE | Interest::WRITABLE)
                    .await?
            }
        };
        if ready.is_writable() {
            let written = unless_blocked(match self {
                Self::Tcp(stream) => stream.try_write(outgoing),
                Self::Unix(stream) => stream.try_write(outgoing),
            })?;
            outgoing.advance(written.unwrap_or(0));
        }
        if ready.is_readable() {
            incoming.reserve(READ_BYTES);
            let read = unless_blocked(match self {
                Self::Tcp(stream) => stream.try_read_buf(incoming),
                Self::Unix(stream) => stream.try_read_buf(incoming),
            })?;
            if read == Some(0) {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(())
    }
}

fn notice_silence(stream: &TcpStream) -> io::Result<()> {
    let probes = TcpKeepalive::new()
        .with_time(IDLE_BEFORE_PROBE)
        .with_interval(PROBE_INTERVAL)
        .with_retries(PROBE_COUNT);
    SockRef::from(stream).set_tcp_keepalive(&probes)
}

/// Readiness is a hint: an operation that would block after all has moved nothing.
fn unless_blocked(moved: io::Result<usize>) -> io::Result<Option<usize>> {
    match moved {
        Ok(count) => Ok(Some(count)),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error),
    }
}
