//! One direction of a session: the read buffer is the write buffer.
//!
//! ```text
//! rewritten ──► │ approved │ rest of a frame cut by the buffer's end │ not decided yet │ room
//!   (first)     └──────────┴── buffer ──────────────────────────────────────────────────┘
//! ```
//!
//! Frames that are forwarded as they came are only approved, and written straight from the buffer
//! that they were read into: adjacent ones leave in one write. A frame far larger than the buffer
//! is approved piece by piece as it arrives. What was rewritten, and what had been approved before
//! it, goes out of a buffer of its own. Does not decide anything.

use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use protocol::wire::frame::{self, FrameError, HEADER_SIZE, Header};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};

use super::Spares;

/// Room made for a read at first: a few OLTP frames.
const READ_SIZE: usize = 2 * 1024;

/// Room made at most. It grows fourfold whenever a read has filled all that there was: results,
/// COPY, large values.
const READ_SIZE_MAX: usize = 128 * 1024;

/// The largest buffer that is kept for another read: results of this size are common, and are not
/// worth an allocation each.
const REST_SIZE_MAX: usize = 4 * READ_SIZE;

/// The other side is not read while this much waits to be written: a slow peer slows its partner
/// down and does not fill our memory.
pub(super) const PENDING_MAX: usize = 256 * 1024;

/// What came of trying to read or write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Moved {
    /// Bytes were moved.
    Some,
    /// There is nothing to do until something else has happened.
    Idle,
    /// The peer has said that nothing more will come.
    End,
}

/// One direction of a session.
#[derive(Debug)]
pub(super) struct Channel {
    buffer: BytesMut,
    /// Room to make for the next read.
    room: usize,
    /// How many bytes of `buffer` may be written.
    approved: usize,
    /// How many bytes of an approved frame have not arrived yet.
    passing: usize,
    /// Goes out before what is approved.
    rewritten: BytesMut,
    /// The last read filled all the room that there was.
    busy: bool,
    /// Something was written and not flushed.
    unflushed: bool,
    received: u64,
    sent: u64,
}

impl Default for Channel {
    fn default() -> Self {
        Self::starting_with(BytesMut::new())
    }
}

impl Channel {
    /// Starts with what had been read before.
    pub(super) fn starting_with(buffer: BytesMut) -> Self {
        Self {
            buffer,
            room: READ_SIZE,
            approved: 0,
            passing: 0,
            rewritten: BytesMut::new(),
            busy: false,
            unflushed: false,
            received: 0,
            sent: 0,
        }
    }

    /// Whether nothing is here: not to be decided about, not to be written, not to be flushed.
    pub(super) fn is_empty(&self) -> bool {
        self.buffer.is_empty() && self.rewritten.is_empty() && !self.unflushed
    }

    /// Whether the last read filled all the room that there was, so that more is likely there.
    pub(super) const fn is_busy(&self) -> bool {
        self.busy
    }

    /// How many bytes wait to be written.
    pub(super) fn pending(&self) -> usize {
        self.rewritten.len() + self.approved
    }

    /// How many bytes have been read.
    pub(super) const fn received(&self) -> u64 {
        self.received
    }

    /// How many bytes have been written.
    pub(super) const fn sent(&self) -> u64 {
        self.sent
    }

    /// Whether a frame has been forwarded in part, so that nothing can be said in between.
    pub(super) fn is_within_frame(&self) -> bool {
        self.passing > 0
    }

    /// Whether everything that was read has been decided about.
    pub(super) fn is_decided(&self) -> bool {
        self.buffer.len() == self.approved
    }

    /// The header of the next frame to decide about, if it has arrived.
    pub(super) fn next(&self) -> Result<Option<Header>, FrameError> {
        match self.buffer.get(self.approved..) {
            Some(rest) if self.passing == 0 => frame::header(rest),
            _ => Ok(None),
        }
    }

    /// The whole body of the next frame, if it has arrived.
    pub(super) fn body(&self, header: Header) -> Option<&[u8]> {
        let start = self.approved + HEADER_SIZE;
        self.buffer.get(start..self.approved + header.len)
    }

    /// As much of the next frame's body as has arrived.
    pub(super) fn body_so_far(&self, header: Header) -> &[u8] {
        let end = self.buffer.len().min(self.approved + header.len);
        let start = (self.approved + HEADER_SIZE).min(end);
        self.buffer.get(start..end).unwrap_or_default()
    }

    /// Lets the next frame go as it came, whether or not all of it has arrived.
    pub(super) fn approve(&mut self, header: Header) {
        let arrived = header.len.min(self.buffer.len() - self.approved);
        self.approved += arrived;
        self.passing = header.len - arrived;
    }

    /// A copy of the next frame's body as far as it has arrived: what is kept of it must not keep
    /// the whole read buffer.
    pub(super) fn copy_body(&self, header: Header) -> Bytes {
        Bytes::copy_from_slice(self.body_so_far(header))
    }

    /// Takes the next frame, which has arrived in full, out of the direction.
    pub(super) fn discard(&mut self, header: Header) {
        self.hand_over();
        cut(&mut self.buffer, header.len);
    }

    /// Where a frame is written that takes the place of one, or is the proxy's own. Nothing may be
    /// written while [`Self::is_within_frame`].
    pub(super) fn insert(&mut self) -> &mut BytesMut {
        self.hand_over();
        &mut self.rewritten
    }

    /// What is approved goes out before what is inserted now.
    fn hand_over(&mut self) {
        if let Some(approved) = self.buffer.get(..self.approved)
            && !approved.is_empty()
        {
            self.rewritten.extend_from_slice(approved);
            cut(&mut self.buffer, self.approved);
            self.approved = 0;
        }
    }

    /// Reads what has come.
    pub(super) fn poll_read(
        &mut self,
        from: &mut (impl AsyncRead + Unpin),
        context: &mut Context<'_>,
    ) -> Poll<io::Result<Moved>> {
        if self.pending() >= PENDING_MAX {
            return Poll::Ready(Ok(Moved::Idle));
        }
        if self.buffer.capacity() - self.buffer.len() < self.room / 4 {
            self.buffer.reserve(self.room);
        }
        let before = self.buffer.capacity() - self.buffer.len();
        let count = ready!(pin!(from.read_buf(&mut self.buffer)).poll(context))?;
        self.busy = count == before;
        self.received += count as u64;
        if self.busy {
            self.room = (self.room * 4).min(READ_SIZE_MAX);
        }
        self.pass();
        Poll::Ready(Ok(if count == 0 { Moved::End } else { Moved::Some }))
    }

    /// Approves what has arrived of a frame that was forwarded in part.
    fn pass(&mut self) {
        let arrived = self.passing.min(self.buffer.len() - self.approved);
        self.approved += arrived;
        self.passing -= arrived;
    }

    /// Writes what may be written.
    pub(super) fn poll_write(
        &mut self,
        into: &mut (impl AsyncWrite + Unpin),
        context: &mut Context<'_>,
    ) -> Poll<io::Result<Moved>> {
        let approved = self.buffer.get(..self.approved).unwrap_or_default();
        let mut into = Pin::new(into);
        let count = match (self.rewritten.is_empty(), approved.is_empty()) {
            (true, true) if self.unflushed => {
                ready!(into.poll_flush(context))?;
                self.unflushed = false;
                return Poll::Ready(Ok(Moved::Idle));
            }
            (true, true) => return Poll::Ready(Ok(Moved::Idle)),
            (true, false) => ready!(into.as_mut().poll_write(context, approved))?,
            (false, true) => ready!(into.as_mut().poll_write(context, &self.rewritten))?,
            (false, false) => {
                let slices = [IoSlice::new(&self.rewritten), IoSlice::new(approved)];
                ready!(into.as_mut().poll_write_vectored(context, &slices))?
            }
        };
        if count == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        self.written(count);
        self.unflushed = self.pending() > 0 || into.poll_flush(context)?.is_pending();
        Poll::Ready(Ok(Moved::Some))
    }

    fn written(&mut self, count: usize) {
        self.sent += count as u64;
        let first = count.min(self.rewritten.len());
        cut(&mut self.rewritten, first);
        let second = (count - first).min(self.approved);
        cut(&mut self.buffer, second);
        self.approved -= second;
        self.shrink();
    }

    /// A buffer that grew for one large frame is given back.
    fn shrink(&mut self) {
        if self.rewritten.is_empty() && self.rewritten.capacity() > PENDING_MAX {
            self.rewritten = BytesMut::new();
        }
        if self.buffer.is_empty() && self.buffer.capacity() > 2 * READ_SIZE_MAX {
            self.buffer = BytesMut::new();
        }
    }

    /// Has a buffer for the next read, if there is a spare one.
    pub(super) fn borrow(&mut self, spares: &Spares) {
        if self.buffer.capacity() == 0 {
            self.buffer = spares.take();
        }
    }

    /// Nothing is under way: the buffer goes to the spare ones, and what grew is given back.
    pub(super) fn rest(&mut self, spares: &Spares) {
        if self.buffer.is_empty() && self.buffer.capacity() > 0 {
            let buffer = std::mem::take(&mut self.buffer);
            if buffer.capacity() <= REST_SIZE_MAX {
                spares.put(buffer);
            } else {
                self.room = REST_SIZE_MAX;
            }
        }
        if self.rewritten.is_empty() && self.rewritten.capacity() > REST_SIZE_MAX {
            self.rewritten = BytesMut::new();
        }
    }
}

/// Takes bytes off the front. A buffer that gets empty starts at its beginning again, in memory
/// that the processor has at hand.
fn cut(buffer: &mut BytesMut, count: usize) {
    if count >= buffer.len() {
        buffer.clear();
    } else {
        buffer.advance(count);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// Sends `stream` through a channel in pieces, deciding about each frame by its tag: `f` is
    /// forwarded, `d` dropped, `r` replaced by an `R` with the same body.
    async fn relayed(stream: &[u8], pieces: &[usize]) -> Vec<u8> {
        let (mut far, mut near) = tokio::io::duplex(64);
        let mut channel = Channel::default();
        let mut received = Vec::new();
        let mut sizes = pieces.iter().cycle();
        let mut rest = stream;
        while !rest.is_empty() {
            let (piece, left) = rest.split_at((*sizes.next().unwrap()).min(rest.len()));
            rest = left;
            let mut input = piece;
            std::future::poll_fn(|context| channel.poll_read(&mut input, context))
                .await
                .unwrap();
            decide(&mut channel);
            while channel.pending() > 0 {
                std::future::poll_fn(|context| channel.poll_write(&mut near, context))
                    .await
                    .unwrap();
                let mut out = [0; 64];
                let count = far.read(&mut out).await.unwrap();
                received.extend_from_slice(&out[..count]);
            }
        }
        near.shutdown().await.unwrap();
        far.read_to_end(&mut received).await.unwrap();
        received
    }

    fn decide(channel: &mut Channel) {
        while let Some(header) = channel.next().unwrap() {
            match header.tag {
                b'f' => channel.approve(header),
                _ if channel.body(header).is_none() => break,
                b'd' => channel.discard(header),
                _ => {
                    let body = channel.copy_body(header);
                    channel.discard(header);
                    channel.insert().extend_from_slice(&frame(b'R', &body));
                }
            }
        }
    }

    fn frame(tag: u8, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(body.len() + 4).unwrap();
        [&[tag][..], &length.to_be_bytes(), body].concat()
    }

    proptest! {
        #[test]
        fn frames_come_out_in_order_however_they_arrive(
            frames in prop::collection::vec(
                (prop::sample::select(vec![b'f', b'd', b'r']),
                 prop::collection::vec(any::<u8>(), 0..50)), 0..20),
            pieces in prop::collection::vec(1usize..40, 1..40),
        ) {
            let mut sent = Vec::new();
            let mut expected = Vec::new();
            for (tag, body) in &frames {
                sent.extend(frame(*tag, body));
                match tag {
                    b'f' => expected.extend(frame(b'f', body)),
                    b'r' => expected.extend(frame(b'R', body)),
                    _ => (),
                }
            }
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            prop_assert_eq!(runtime.block_on(relayed(&sent, &pieces)), expected);
        }
    }

    /// Reads `frame`, which is all that comes, and sends it on.
    async fn pass(channel: &mut Channel, spares: &Spares, frame: &[u8]) {
        channel.borrow(spares);
        let mut input = frame;
        std::future::poll_fn(|context| channel.poll_read(&mut input, context))
            .await
            .unwrap();
        decide(channel);
        let mut sink = tokio::io::sink();
        std::future::poll_fn(|context| channel.poll_write(&mut sink, context))
            .await
            .unwrap();
    }

    #[tokio::test]
    async fn channels_at_rest_share_one_buffer() {
        let spares = Spares::default();
        let mut channels = [(); 3].map(|()| Channel::default());
        let mut places = Vec::new();
        for channel in &mut channels {
            pass(channel, &spares, &frame(b'f', b"abc")).await;
            places.push(channel.buffer.as_ptr());
            channel.rest(&spares);
            assert_eq!(channel.buffer.capacity(), 0);
        }
        assert_eq!(places, [places[0]; 3]);
    }

    #[tokio::test]
    async fn a_buffer_with_something_in_it_is_not_lent() {
        let spares = Spares::default();
        let mut channel = Channel::default();
        pass(&mut channel, &spares, &frame(b'f', b"abc")[..3]).await;
        channel.rest(&spares);
        assert!(!channel.is_empty());
        assert_eq!(spares.take().capacity(), 0);
    }

    #[tokio::test]
    async fn a_huge_frame_is_never_whole_in_memory() {
        let mut channel = Channel::default();
        let mut sink = tokio::io::sink();
        let size = 64 << 20;
        let head = [b'f', 4, 0, 0, 4];
        let zeros = tokio::io::repeat(0).take(size);
        let mut input = AsyncReadExt::chain(head.as_slice(), zeros).take(size);
        let mut written = 0;
        while written < size {
            std::future::poll_fn(|context| channel.poll_read(&mut input, context))
                .await
                .unwrap();
            decide(&mut channel);
            written += u64::try_from(channel.pending()).unwrap();
            std::future::poll_fn(|context| channel.poll_write(&mut sink, context))
                .await
                .unwrap();
            assert!(channel.buffer.capacity() <= 2 * PENDING_MAX);
        }
        assert!(channel.is_decided());
    }
}
