//! Packets before the first frame: startup, encryption requests, cancel requests. They have a
//! length and no tag.
//!
//! See <https://www.postgresql.org/docs/current/protocol-flow.html#PROTOCOL-FLOW-START-UP>. Does
//! not judge protocol versions or parameters: the server does, and its answer is forwarded.

use bytes::{BufMut, Bytes, BytesMut};

use super::write;
use crate::reader::{ReadError, Reader};

/// The largest startup packet that a server reads (`MAX_STARTUP_PACKET_LENGTH`).
pub const PACKET_SIZE_MAX: usize = 10_000;

/// Length and code.
const PACKET_SIZE_MIN: usize = 8;

const CANCEL: u32 = 80_877_102;
const SSL: u32 = 80_877_103;
const GSS_ENC: u32 = 80_877_104;

/// Protocol 3.0, what every client of today asks for.
pub const VERSION_3_0: u32 = 196_608;

/// What a client says first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StartupPacket {
    /// It asks for TLS; the answer is one byte, `S` or `N`.
    Ssl,
    /// It asks for GSSAPI encryption; the answer is one byte, `G` or `N`.
    GssEnc,
    /// It asks to cancel what another connection is doing, and closes.
    Cancel(CancelKey),
    /// It wants a session.
    Startup(Startup),
}

/// What names a running query: the server's own numbers, which the proxy hands on unchanged.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct CancelKey {
    /// The server process.
    pub process_id: u32,
    /// Four bytes in protocol 3.0, up to 256 in 3.2.
    pub secret: Bytes,
}

impl std::fmt::Debug for CancelKey {
    /// Leaves the secret out: it ends up in logs.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CancelKey")
            .field("process_id", &self.process_id)
            .finish_non_exhaustive()
    }
}

/// A request for a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Startup {
    /// Major version in the high half, minor in the low one.
    pub version: u32,
    /// `user`, `database`, `replication`, `options` and run-time parameters, as the client named
    /// them. Empty when the version is not of major 3: its packet has a form that is not known.
    pub params: Vec<(Bytes, Bytes)>,
}

impl Startup {
    /// The value of the last parameter with this name.
    pub fn param(&self, name: &str) -> Option<&Bytes> {
        let found = self.params.iter().rev();
        found
            .into_iter()
            .find(|(key, _)| key.as_ref() == name.as_bytes())
            .map(|(_, value)| value)
    }

    /// The database that the session will be in: the user's name where none is given.
    pub fn database(&self) -> Option<&Bytes> {
        match self.param("database") {
            Some(name) if !name.is_empty() => Some(name),
            _ => self.param("user"),
        }
    }

    /// Whether this is to be a replication connection.
    pub fn is_replication(&self) -> bool {
        self.param("replication").is_some_and(|value| {
            let no: [&[u8]; 5] = [b"false", b"off", b"no", b"0", b"f"];
            !no.contains(&value.to_ascii_lowercase().as_slice())
        })
    }

    /// Appends the packet.
    pub fn encode(&self, out: &mut BytesMut) {
        write::untagged(out, |out| {
            out.put_u32(self.version);
            for (name, value) in &self.params {
                write::cstr(out, name);
                write::cstr(out, value);
            }
            out.put_u8(0);
        });
    }
}

/// Why a startup packet could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StartupError {
    /// The length is not one that a server accepts.
    #[error("the startup packet claims {length} bytes, allowed are 8 to {PACKET_SIZE_MAX}")]
    Length {
        /// The length field.
        length: u32,
    },
    /// Its fields are not what its code says.
    #[error("the startup packet could not be read")]
    Malformed(#[from] ReadError),
}

/// The size of the packet at the start of `buffer`; `None` if its length has not arrived.
pub fn packet_len(buffer: &[u8]) -> Result<Option<usize>, StartupError> {
    let Some((&bytes, _)) = buffer.split_first_chunk::<4>() else {
        return Ok(None);
    };
    let length = u32::from_be_bytes(bytes);
    match usize::try_from(length) {
        Ok(size) if (PACKET_SIZE_MIN..=PACKET_SIZE_MAX).contains(&size) => Ok(Some(size)),
        _ => Err(StartupError::Length { length }),
    }
}

/// Decodes a whole packet, its length included.
pub fn decode(packet: Bytes) -> Result<StartupPacket, StartupError> {
    let mut reader = Reader::new(packet);
    reader.u32("length")?;
    match reader.u32("code")? {
        SSL => Ok(StartupPacket::Ssl),
        GSS_ENC => Ok(StartupPacket::GssEnc),
        CANCEL => Ok(StartupPacket::Cancel(CancelKey {
            process_id: reader.u32("process id")?,
            secret: reader.take_rest(),
        })),
        version if version >> 16 == 3 => Ok(StartupPacket::Startup(Startup {
            version,
            params: params(reader)?,
        })),
        version => Ok(StartupPacket::Startup(Startup {
            version,
            params: Vec::new(),
        })),
    }
}

fn params(mut reader: Reader) -> Result<Vec<(Bytes, Bytes)>, ReadError> {
    let mut params = Vec::new();
    loop {
        let name = reader.cstr("parameter name")?;
        if name.is_empty() {
            break;
        }
        params.push((name, reader.cstr("parameter value")?));
    }
    reader.finish()?;
    Ok(params)
}

/// A cancel request as it goes to the server.
pub fn cancel_request(key: &CancelKey) -> Bytes {
    let mut out = BytesMut::new();
    write::untagged(&mut out, |out| {
        out.put_u32(CANCEL);
        out.put_u32(key.process_id);
        out.put_slice(&key.secret);
    });
    out.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(code: u32, rest: &[u8]) -> Bytes {
        let mut out = BytesMut::new();
        write::untagged(&mut out, |out| {
            out.put_u32(code);
            out.put_slice(rest);
        });
        out.freeze()
    }

    #[test]
    fn encryption_requests_are_told_apart() {
        assert_eq!(decode(packet(SSL, b"")), Ok(StartupPacket::Ssl));
        assert_eq!(decode(packet(GSS_ENC, b"")), Ok(StartupPacket::GssEnc));
    }

    #[test]
    fn a_cancel_request_keeps_its_key() {
        let bytes = packet(CANCEL, b"\0\0\x01\x02secret");
        let Ok(StartupPacket::Cancel(key)) = decode(bytes.clone()) else {
            panic!("not a cancel request");
        };
        assert_eq!(key.process_id, 0x102);
        assert_eq!(cancel_request(&key), bytes);
    }

    #[test]
    fn a_startup_packet_comes_out_as_it_went_in() {
        let bytes = packet(VERSION_3_0, b"user\0me\0replication\0database\0\0");
        let Ok(StartupPacket::Startup(startup)) = decode(bytes.clone()) else {
            panic!("not a startup packet");
        };
        assert_eq!(startup.database().unwrap(), "me");
        assert!(startup.is_replication());
        let mut out = BytesMut::new();
        startup.encode(&mut out);
        assert_eq!(out, bytes);
    }

    #[test]
    fn another_major_version_is_not_read_further() {
        let Ok(StartupPacket::Startup(startup)) = decode(packet(0x0002_0000, b"junk")) else {
            panic!("not a startup packet");
        };
        assert!(startup.params.is_empty());
    }

    #[test]
    fn lengths_outside_the_servers_bounds_are_refused() {
        assert_eq!(packet_len(&[0, 0, 0]), Ok(None));
        assert_eq!(packet_len(&[0, 0, 0, 8]), Ok(Some(8)));
        for length in [0u32, 4, 7, 10_001, u32::MAX] {
            assert_eq!(
                packet_len(&length.to_be_bytes()),
                Err(StartupError::Length { length })
            );
        }
    }

    #[test]
    fn a_parameter_without_value_is_malformed() {
        assert!(decode(packet(VERSION_3_0, b"user\0")).is_err());
        assert!(decode(packet(VERSION_3_0, b"user\0me\0")).is_err());
    }
}
