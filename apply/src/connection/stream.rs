//! The bytes below a connection. Does not know what they mean.

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use control::server::ServerStream;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncReadExt, AsyncWrite};
use tokio::net::TcpStream;

use super::READ_BYTES;

/// A server that vanished without a word (power, a firewall) is noticed after half a minute. No
/// `TCP_USER_TIMEOUT`: it would also end a batch that a server has stopped reading because it waits
/// for a lock, which may take any time.
const IDLE_BEFORE_PROBE: Duration = Duration::from_secs(15);
const PROBE_INTERVAL: Duration = Duration::from_secs(5);
const PROBE_COUNT: u32 = 3;

/// An open connection to a server, written and read in turn.
#[derive(Debug)]
pub(super) struct Stream {
    stream: ServerStream,
    /// Something was written that TLS may still hold.
    unflushed: bool,
}

impl Stream {
    /// Takes an open connection over.
    pub(super) fn new(stream: ServerStream) -> io::Result<Self> {
        if let Some(socket) = stream.tcp() {
            notice_silence(socket)?;
        }
        Ok(Self {
            stream,
            unflushed: false,
        })
    }

    /// The server's name for channel binding, if the connection is encrypted and has one.
    pub(super) fn end_point(&self) -> Option<Vec<u8>> {
        self.stream.end_point()
    }

    /// Reads what has come; 0 is the end. Cancel-safe.
    pub(super) async fn read(&mut self, incoming: &mut BytesMut) -> io::Result<usize> {
        make_room(incoming);
        self.stream.read_buf(incoming).await
    }

    /// Whether something still has to be written or flushed.
    pub(super) fn has_unsent(&self, outgoing: &BytesMut) -> bool {
        !outgoing.is_empty() || self.unflushed
    }

    /// Waits until something can be written or read, then does either or both once. Cancel-safe.
    pub(super) async fn exchange(
        &mut self,
        outgoing: &mut BytesMut,
        incoming: &mut BytesMut,
    ) -> io::Result<()> {
        poll_fn(|context| {
            let sent = self.poll_send(outgoing, context)?;
            let received = self.poll_receive(incoming, context)?;
            if sent.is_ready() || received.is_ready() {
                return Poll::Ready(Ok(()));
            }
            Poll::Pending
        })
        .await
    }

    fn poll_send(
        &mut self,
        outgoing: &mut BytesMut,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        let stream = Pin::new(&mut self.stream);
        if outgoing.is_empty() {
            let flushed = ready!(stream.poll_flush(context));
            self.unflushed = false;
            return Poll::Ready(flushed);
        }
        let written = ready!(stream.poll_write(context, outgoing))?;
        outgoing.advance(written);
        // In the clear nothing is held back, and nobody need come again to flush.
        self.unflushed = self.stream.is_encrypted();
        Poll::Ready(Ok(()))
    }

    fn poll_receive(
        &mut self,
        incoming: &mut BytesMut,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        make_room(incoming);
        match ready!(pin!(self.stream.read_buf(incoming)).poll(context))? {
            0 => Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
            _ => Poll::Ready(Ok(())),
        }
    }
}

/// Room for another read. A buffer that is mostly unread would double each time and be used up to its
/// end before it is used again from the front: what little is unread moves to a new one instead.
fn make_room(incoming: &mut BytesMut) {
    if incoming.capacity() > incoming.len() {
        return;
    }
    if incoming.len() < READ_BYTES {
        let mut fresh = BytesMut::with_capacity(READ_BYTES * 2);
        fresh.extend_from_slice(incoming);
        *incoming = fresh;
    } else {
        incoming.reserve(READ_BYTES);
    }
}

fn notice_silence(stream: &TcpStream) -> io::Result<()> {
    let probes = TcpKeepalive::new()
        .with_time(IDLE_BEFORE_PROBE)
        .with_interval(PROBE_INTERVAL)
        .with_retries(PROBE_COUNT);
    SockRef::from(stream).set_tcp_keepalive(&probes)
}
