//! Cutting frames out of a byte stream: a tag, a length, a body.
//!
//! Looks at five bytes, never allocates and never copies: the caller splits its own buffer, or
//! forwards the frame piece by piece as it arrives. Does not look into bodies.

use bytes::{Bytes, BytesMut};

/// The tag and the length field.
pub const HEADER_SIZE: usize = 5;

/// The smallest value of a length field, which counts itself.
const LENGTH_MIN: i32 = 4;

/// The largest value of a length field that a server accepts or sends: it reads and writes messages
/// in one allocation, and those are limited to 1 GiB (`MaxAllocSize`).
const LENGTH_MAX: i32 = 0x3fff_ffff;

/// A peer's bytes are not a frame, so nothing behind them can be found any more.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a message with tag 0x{tag:02x} claims {length} bytes, allowed are 4 to 1073741823")]
pub struct FrameError {
    /// The tag in front of the length.
    pub tag: u8,
    /// The length field.
    pub length: i32,
}

/// What stands before a frame's body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// The message's letter. Frontend and backend use the same letters for different messages.
    pub tag: u8,
    /// The size in bytes of the whole frame, header included.
    pub len: usize,
}

/// Reads the header at the start of `buffer`; `None` if it has not arrived in full.
pub fn header(buffer: &[u8]) -> Result<Option<Header>, FrameError> {
    let Some((&[tag, a, b, c, d], _)) = buffer.split_first_chunk::<HEADER_SIZE>() else {
        return Ok(None);
    };
    let length = i32::from_be_bytes([a, b, c, d]);
    match usize::try_from(length) {
        Ok(size) if (LENGTH_MIN..=LENGTH_MAX).contains(&length) => {
            Ok(Some(Header { tag, len: size + 1 }))
        }
        _ => Err(FrameError { tag, length }),
    }
}

/// One whole frame, undecoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    bytes: Bytes,
}

impl Frame {
    /// Splits the first frame off `buffer` if all of it is there.
    pub fn split(buffer: &mut BytesMut) -> Result<Option<Self>, FrameError> {
        match header(buffer)? {
            Some(header) if header.len <= buffer.len() => Ok(Some(Self {
                bytes: buffer.split_to(header.len).freeze(),
            })),
            _ => Ok(None),
        }
    }

    /// The message's letter.
    pub fn tag(&self) -> u8 {
        self.bytes.first().copied().unwrap_or_default()
    }

    /// What stands behind the header.
    pub fn body(&self) -> Bytes {
        self.bytes.slice(HEADER_SIZE.min(self.bytes.len())..)
    }

    /// The bytes as they came.
    pub fn into_bytes(self) -> Bytes {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use bytes::BufMut;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_header_that_has_not_arrived_is_not_an_error() {
        for length in 0..HEADER_SIZE {
            assert_eq!(header(&b"Q\0\0\0\x08"[..length]), Ok(None));
        }
        assert_eq!(
            header(b"Q\0\0\0\x08"),
            Ok(Some(Header { tag: b'Q', len: 9 }))
        );
    }

    #[test]
    fn lengths_that_no_server_accepts_are_refused() {
        for length in [i32::MIN, -1, 0, 3, 0x4000_0000, i32::MAX] {
            let mut bytes = vec![b'Q'];
            bytes.extend(length.to_be_bytes());
            assert_eq!(header(&bytes), Err(FrameError { tag: b'Q', length }));
        }
        assert!(header(b"S\0\0\0\x04").is_ok());
        assert!(header(b"d\x3f\xff\xff\xff").is_ok());
    }

    fn stream(frames: &[(u8, Vec<u8>)]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (tag, body) in frames {
            bytes.put_u8(*tag);
            bytes.put_i32(i32::try_from(body.len() + 4).unwrap());
            bytes.put_slice(body);
        }
        bytes
    }

    proptest! {
        #[test]
        fn a_stream_cut_anywhere_comes_out_equal(
            frames in prop::collection::vec(
                (any::<u8>(), prop::collection::vec(any::<u8>(), 0..40)), 0..12),
            cuts in prop::collection::vec(1usize..23, 1..60),
        ) {
            let sent = stream(&frames);
            let mut buffer = BytesMut::new();
            let mut rest = &sent[..];
            let mut received = Vec::new();
            let mut tags = Vec::new();
            let mut sizes = cuts.iter().cycle();
            loop {
                while let Some(frame) = Frame::split(&mut buffer).unwrap() {
                    tags.push((frame.tag(), frame.body().to_vec()));
                    received.extend_from_slice(&frame.into_bytes());
                }
                if rest.is_empty() { break; }
                let (piece, left) = rest.split_at((*sizes.next().unwrap()).min(rest.len()));
                buffer.extend_from_slice(piece);
                rest = left;
            }
            prop_assert_eq!(received, sent);
            prop_assert_eq!(tags, frames);
            prop_assert!(buffer.is_empty());
        }

        #[test]
        fn any_bytes_are_a_frame_an_error_or_incomplete(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let mut buffer = BytesMut::from(&bytes[..]);
            while let Ok(Some(frame)) = Frame::split(&mut buffer) {
                prop_assert!(frame.into_bytes().len() >= HEADER_SIZE);
            }
        }
    }
}
