//! The connection to a client. Does not accept one.

use control::server::Stream;
use rustls::ProtocolVersion;
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

/// An open connection to a client.
pub(crate) type ClientStream = Stream<TlsStream<TcpStream>>;

/// The version of TLS that it is encrypted with.
pub(crate) fn tls_version(client: &ClientStream) -> Option<&'static str> {
    let ClientStream::Tls(stream) = client else {
        return None;
    };
    let version = stream.get_ref().1.protocol_version()?;
    let is_newest = version == ProtocolVersion::TLSv1_3;
    Some(if is_newest { "TLSv1.3" } else { "TLSv1.2" })
}
