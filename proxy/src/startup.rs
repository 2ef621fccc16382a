//! What a client says before its session: encryption requests, a cancel request, the startup packet.
//!
//! Encryption is refused politely (`N`). The startup packet itself is not judged: the source does,
//! and authentication goes through untouched. Does not connect anywhere.

use std::io;

use bytes::{Bytes, BytesMut};
use protocol::wire::startup::{self, CancelKey, Startup, StartupError, StartupPacket};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// The answer to a request for encryption.
const NO_ENCRYPTION: &[u8] = b"N";

/// A client asks for TLS once and for GSSAPI once; more is a peer that plays.
const ENCRYPTION_REQUESTS_MAX: usize = 4;

/// What a client wants.
#[derive(Debug)]
pub(crate) enum Wanted {
    /// A session.
    Session(Opening),
    /// To cancel what another session is doing.
    Cancel(CancelKey),
    /// Nothing: it closed the connection. Health checks do.
    Nothing,
}

/// The beginning of a session.
#[derive(Debug)]
pub(crate) struct Opening {
    /// What the startup packet says.
    pub(crate) startup: Startup,
    /// The packet as it came.
    pub(crate) packet: Bytes,
    /// What the client sent behind it.
    pub(crate) rest: BytesMut,
}

/// Why no session began.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpeningError {
    /// The client's connection broke.
    #[error("the connection to the client broke")]
    Client(#[source] io::Error),
    /// The client's first bytes are no startup packet.
    #[error("the client does not speak the protocol")]
    Packet(#[from] StartupError),
    /// It asked for encryption again and again.
    #[error("the client asked for encryption too often")]
    Insistent,
}

/// Reads what the client says first. Not cancel-safe.
pub(crate) async fn read(
    client: &mut (impl AsyncRead + AsyncWrite + Unpin),
) -> Result<Wanted, OpeningError> {
    let mut buffer = BytesMut::with_capacity(1024);
    for _ in 0..=ENCRYPTION_REQUESTS_MAX {
        let Some(packet) = packet(client, &mut buffer).await? else {
            return Ok(Wanted::Nothing);
        };
        match startup::decode(packet.clone())? {
            StartupPacket::Ssl | StartupPacket::GssEnc => {
                let refused = client.write_all(NO_ENCRYPTION).await;
                refused.map_err(OpeningError::Client)?;
            }
            StartupPacket::Cancel(key) => return Ok(Wanted::Cancel(key)),
            StartupPacket::Startup(startup) => {
                return Ok(Wanted::Session(Opening {
                    startup,
                    packet,
                    rest: buffer,
                }));
            }
        }
    }
    Err(OpeningError::Insistent)
}

/// The next packet, or nothing if the client closed the connection before a whole one.
async fn packet(
    client: &mut (impl AsyncRead + Unpin),
    buffer: &mut BytesMut,
) -> Result<Option<Bytes>, OpeningError> {
    loop {
        match startup::packet_len(buffer)? {
            Some(len) if len <= buffer.len() => return Ok(Some(buffer.split_to(len).freeze())),
            _ => (),
        }
        let read = client.read_buf(buffer).await;
        if read.map_err(OpeningError::Client)? == 0 {
            return Ok(None);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SSL: &[u8] = b"\0\0\0\x08\x04\xd2\x16\x2f";
    const STARTUP: &[u8] = b"\0\0\0\x11\0\x03\0\0user\0me\0\0";

    async fn said(bytes: &[u8]) -> (Result<Wanted, OpeningError>, Vec<u8>) {
        let (mut far, mut near) = tokio::io::duplex(4096);
        far.write_all(bytes).await.unwrap();
        far.shutdown().await.unwrap();
        let wanted = read(&mut near).await;
        drop(near);
        let mut answer = Vec::new();
        far.read_to_end(&mut answer).await.unwrap();
        (wanted, answer)
    }

    #[tokio::test]
    async fn encryption_is_refused_and_the_session_begins_all_the_same() {
        let (wanted, answer) = said(&[SSL, STARTUP, b"Q"].concat()).await;
        let Ok(Wanted::Session(opening)) = wanted else {
            panic!("no session: {wanted:?}");
        };
        assert_eq!(answer, b"N");
        assert_eq!(opening.packet, STARTUP);
        assert_eq!(opening.rest, &b"Q"[..]);
    }

    #[tokio::test]
    async fn a_client_that_closes_wants_nothing() {
        for bytes in [&b""[..], b"\0\0", SSL] {
            let (wanted, _) = said(bytes).await;
            assert!(matches!(wanted, Ok(Wanted::Nothing)), "{wanted:?}");
        }
    }

    #[tokio::test]
    async fn bytes_that_are_no_startup_packet_are_refused() {
        for bytes in [&b"GET / HTTP/1.1\r\n"[..], b"\0\0\0\x04"] {
            let (wanted, _) = said(bytes).await;
            assert!(matches!(wanted, Err(OpeningError::Packet(_))), "{wanted:?}");
        }
        let (wanted, answer) = said(&SSL.repeat(10)).await;
        assert!(matches!(wanted, Err(OpeningError::Insistent)));
        assert!(answer.len() <= ENCRYPTION_REQUESTS_MAX + 1);
    }
}
