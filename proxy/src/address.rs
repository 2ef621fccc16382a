//! Where the proxy accepts clients: a TCP address, or a directory for a Unix-domain socket.
//!
//! Does not listen.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

/// Where clients connect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// An IP address and a port; port 0 takes a free one.
    Tcp(SocketAddr),
    /// The directory in which the socket lies, as libpq's `host` names it.
    Unix {
        /// The directory; absolute.
        directory: PathBuf,
        /// What the socket's name ends in; nothing for the port of the first TCP address.
        port: Option<u16>,
    },
}

impl Address {
    /// The socket's name in its directory, as libpq looks for it.
    pub(crate) fn socket_name(port: u16) -> String {
        format!(".s.PGSQL.{port}")
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        Self::Tcp(address)
    }
}

impl FromStr for Address {
    type Err = String;

    /// `127.0.0.1:6432`, `[::1]:6432`, `/run/segue`, `/run/segue:6432` or `unix:/run/segue`.
    fn from_str(text: &str) -> Result<Self, String> {
        let path = text.strip_prefix("unix:").unwrap_or(text);
        if !path.starts_with('/') {
            let address = text.parse().map(Self::Tcp);
            return address.map_err(|_| {
                "is neither an IP address with a port, such as 127.0.0.1:6432 or [::1]:6432, nor an \
                 absolute directory for a Unix-domain socket, such as /run/segue"
                    .to_owned()
            });
        }
        let (directory, port) = match path.rsplit_once(':') {
            Some((directory, port)) => {
                let port = port.parse::<u16>().ok().filter(|port| *port > 0);
                (directory, Some(port.ok_or("has no port behind its colon")?))
            }
            None => (path, None),
        };
        Ok(Self::Unix {
            directory: directory.into(),
            port,
        })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix { directory, port } => {
                directory.display().fmt(f)?;
                port.map_or(Ok(()), |port| write!(f, ":{port}"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_told_from_directories() {
        let unix = |directory: &str, port| Address::Unix {
            directory: directory.into(),
            port,
        };
        let cases = [
            ("127.0.0.1:1", Address::Tcp(([127, 0, 0, 1], 1).into())),
            ("/run/segue", unix("/run/segue", None)),
            ("/run/segue:7000", unix("/run/segue", Some(7000))),
            ("unix:/run/segue", unix("/run/segue", None)),
        ];
        for (text, address) in cases {
            assert_eq!(text.parse(), Ok(address), "{text}");
        }
        for text in ["", "unix:run", "localhost", "/run/segue:", "/run/segue:x"] {
            assert!(text.parse::<Address>().is_err(), "{text}");
        }
    }
}
