//! What a client says before its session: encryption requests, a cancel request, the startup packet.
//!
//! [SSLRequest](https://www.postgresql.org/docs/current/protocol-flow.html#PROTOCOL-FLOW-SSL) and
//! the direct negotiation of PostgreSQL 17 are answered here; GSSAPI encryption is refused politely
//! (`N`). The startup packet itself is not judged: the source does. Does not connect anywhere.

use std::io;

use bytes::{Bytes, BytesMut};
use control::tls::ALPN;
use protocol::wire::backend::Severity;
use protocol::wire::error_response;
use protocol::wire::startup::{self, CancelKey, Startup, StartupError, StartupPacket};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::client_stream::ClientStream;
use crate::tls::{ClientTls, Identity};

/// The answers to a request for encryption.
const ENCRYPTION: &[u8] = b"S";
const NO_ENCRYPTION: &[u8] = b"N";

/// A client asks for TLS once and for GSSAPI once; more is a peer that plays.
const ENCRYPTION_REQUESTS_MAX: usize = 4;

/// The first byte of a TLS handshake, and of no startup packet that a server reads.
const TLS_HANDSHAKE: u8 = 0x16;

/// What a client wants.
#[derive(Debug)]
pub(crate) enum Wanted {
    /// A session.
    Session(Opening),
    /// To cancel what another session is doing.
    Cancel(CancelKey),
    /// To encrypt, which it was told may begin.
    Tls,
    /// Nothing: it closed the connection. Health checks do.
    Nothing,
}

/// Whether encryption can begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Encryption {
    Offered,
    Refused,
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
    /// TLS could not be agreed on.
    #[error("the client's TLS handshake failed")]
    Handshake(#[source] io::Error),
    /// TLS at once, and not for PostgreSQL.
    #[error("the client began TLS without ALPN for PostgreSQL")]
    NoProtocol,
    /// Bytes in the clear where encrypted ones were to come.
    #[error("the client sent unencrypted bytes behind its SSLRequest")]
    Stuffed,
    /// Not encrypted, and it has to be.
    #[error("the client does not encrypt, and client_tls is require")]
    Clear,
    /// It asked for encryption again and again.
    #[error("the client asked for encryption too often")]
    Insistent,
}

/// Reads what the client says first, encrypting the connection where it asks for that. What comes
/// back beside the stream is never [`Wanted::Tls`]. Not cancel-safe.
pub(crate) async fn open(
    mut client: ClientStream,
    tls: &ClientTls,
) -> Result<(ClientStream, Wanted), OpeningError> {
    let identity = match &client {
        // As with PostgreSQL, a Unix-domain socket is not encrypted.
        ClientStream::Unix(_) | ClientStream::Tls(_) => None,
        ClientStream::Tcp(_) => tls.identity(),
    };
    if let Some(identity) = identity
        && starts_with_handshake(&client).await?
    {
        client = encrypt(client, identity, Direct::Yes).await?;
    }
    let encryption = match (&client, identity) {
        (ClientStream::Tcp(_), Some(_)) => Encryption::Offered,
        _ => Encryption::Refused,
    };
    let mut wanted = read(&mut client, encryption).await?;
    if let (Wanted::Tls, Some(identity)) = (&wanted, identity) {
        client = encrypt(client, identity, Direct::No).await?;
        wanted = read(&mut client, Encryption::Refused).await?;
    }
    let is_clear = matches!(client, ClientStream::Tcp(_));
    if is_clear && matches!((&wanted, tls), (Wanted::Session(_), ClientTls::Require(_))) {
        tell(&mut client, &encryption_required()).await;
        return Err(OpeningError::Clear);
    }
    Ok((client, wanted))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direct {
    Yes,
    No,
}

async fn starts_with_handshake(client: &ClientStream) -> Result<bool, OpeningError> {
    let ClientStream::Tcp(socket) = client else {
        return Ok(false);
    };
    let mut first = [0];
    let peeked = socket.peek(&mut first).await;
    Ok(peeked.map_err(OpeningError::Client)? == 1 && first == [TLS_HANDSHAKE])
}

async fn encrypt(
    client: ClientStream,
    identity: &Identity,
    direct: Direct,
) -> Result<ClientStream, OpeningError> {
    let ClientStream::Tcp(socket) = client else {
        return Ok(client);
    };
    let stream = identity.accept(socket).await;
    let stream = stream.map_err(OpeningError::Handshake)?;
    // PostgreSQL's rule: without the request in its own protocol, TLS has to name the protocol, so
    // that nobody's HTTPS request is taken for it.
    if direct == Direct::Yes && stream.get_ref().1.alpn_protocol() != Some(ALPN) {
        return Err(OpeningError::NoProtocol);
    }
    Ok(ClientStream::Tls(stream))
}

/// Reads what the client says. Not cancel-safe.
pub(crate) async fn read(
    client: &mut (impl AsyncRead + AsyncWrite + Unpin),
    encryption: Encryption,
) -> Result<Wanted, OpeningError> {
    let mut buffer = BytesMut::with_capacity(1024);
    for _ in 0..=ENCRYPTION_REQUESTS_MAX {
        let Some(packet) = packet(client, &mut buffer).await? else {
            return Ok(Wanted::Nothing);
        };
        match startup::decode(packet.clone())? {
            StartupPacket::Ssl if encryption == Encryption::Offered => {
                // What came behind it in the clear may be somebody else's, put before what the
                // client will say encrypted (CVE-2021-23214).
                if !buffer.is_empty() {
                    tell(client, &unencrypted_data()).await;
                    return Err(OpeningError::Stuffed);
                }
                let agreed = client.write_all(ENCRYPTION).await;
                agreed.map_err(OpeningError::Client)?;
                return Ok(Wanted::Tls);
            }
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
        let flushed = client.flush().await;
        flushed.map_err(OpeningError::Client)?;
    }
    Err(OpeningError::Insistent)
}

/// The client may be gone already; there is nobody else to tell.
async fn tell(client: &mut (impl AsyncWrite + Unpin), words: &[u8]) {
    if client.write_all(words).await.is_ok() {
        drop(client.shutdown().await);
    }
}

fn encryption_required() -> Bytes {
    error_response(
        Severity::Fatal,
        "28000",
        "connection rejected: no encryption",
        Some("The segue proxy has client_tls = require."),
        Some("Connect with sslmode=require, verify-ca or verify-full."),
    )
}

fn unencrypted_data() -> Bytes {
    error_response(
        Severity::Fatal,
        "08P01",
        "received unencrypted data after SSL request",
        Some(
            "This could be either a client-software bug or evidence of an attempted \
             man-in-the-middle attack.",
        ),
        None,
    )
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
    use crate::tls::IdentityFiles;

    const SSL: &[u8] = b"\0\0\0\x08\x04\xd2\x16\x2f";
    const STARTUP: &[u8] = b"\0\0\0\x11\0\x03\0\0user\0me\0\0";

    async fn said(bytes: &[u8]) -> (Result<Wanted, OpeningError>, Vec<u8>) {
        said_where(bytes, Encryption::Refused).await
    }

    async fn said_where(
        bytes: &[u8],
        encryption: Encryption,
    ) -> (Result<Wanted, OpeningError>, Vec<u8>) {
        let (mut far, mut near) = tokio::io::duplex(4096);
        far.write_all(bytes).await.unwrap();
        far.shutdown().await.unwrap();
        let wanted = read(&mut near, encryption).await;
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
    async fn encryption_begins_where_it_is_offered() {
        let (wanted, answer) = said_where(SSL, Encryption::Offered).await;
        assert!(matches!(wanted, Ok(Wanted::Tls)), "{wanted:?}");
        assert_eq!(answer, b"S");
    }

    #[tokio::test]
    async fn bytes_behind_a_request_for_encryption_are_refused() {
        let (wanted, answer) = said_where(&[SSL, STARTUP].concat(), Encryption::Offered).await;
        assert!(matches!(wanted, Err(OpeningError::Stuffed)), "{wanted:?}");
        let answer = String::from_utf8_lossy(&answer);
        assert!(
            answer.starts_with('E') && answer.contains("unencrypted data"),
            "{answer}"
        );
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

    /// A proxy's certificate, and the two ends of a connection to it.
    async fn connected() -> (ClientTls, tokio::net::TcpStream, ClientStream) {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let stem = std::env::temp_dir().join(format!(
            "segue-startup-{}-{:?}",
            std::process::id(),
            std::thread::current().id()
        ));
        let files = IdentityFiles {
            certificate: stem.with_extension("crt"),
            key: stem.with_extension("key"),
            authorities: None,
        };
        std::fs::write(&files.certificate, certificate.pem()).unwrap();
        std::fs::write(&files.key, key.serialize_pem()).unwrap();
        let narrow = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(&files.key, narrow).unwrap();
        let identity = Identity::read(&files).unwrap();
        std::fs::remove_file(files.certificate).unwrap();
        std::fs::remove_file(files.key).unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let far = tokio::net::TcpStream::connect(listener.local_addr().unwrap());
        let (far, near) = tokio::join!(far, listener.accept());
        let tls = ClientTls::Require(identity.into());
        (tls, far.unwrap(), ClientStream::Tcp(near.unwrap().0))
    }

    /// Begins TLS at once, naming this protocol.
    async fn begin(far: tokio::net::TcpStream, alpn: Option<&[u8]>) -> io::Result<()> {
        let uri = "postgres://a@localhost/b?sslmode=require";
        let dsn = control::Dsn::parse(uri, &control::Defaults::default()).unwrap();
        let tls = control::tls::ServerTls::of(&dsn).unwrap().unwrap();
        let mut stream = tls.naming(alpn).handshake(far).await?;
        stream.write_all(STARTUP).await?;
        stream.flush().await
    }

    #[tokio::test]
    async fn tls_that_begins_at_once_has_to_name_the_protocol() {
        let (tls, far, near) = connected().await;
        let (opened, begun) = tokio::join!(open(near, &tls), begin(far, Some(ALPN)));
        begun.unwrap();
        let (client, wanted) = opened.unwrap();
        assert!(client.is_encrypted() && matches!(wanted, Wanted::Session(_)));

        let (tls, far, near) = connected().await;
        let (opened, _) = tokio::join!(open(near, &tls), begin(far, None));
        assert!(
            matches!(opened, Err(OpeningError::NoProtocol)),
            "{opened:?}"
        );
        let (tls, far, near) = connected().await;
        let (opened, _) = tokio::join!(open(near, &tls), begin(far, Some(b"http/1.1")));
        assert!(
            matches!(opened, Err(OpeningError::Handshake(_))),
            "{opened:?}"
        );
    }
}
