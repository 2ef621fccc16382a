//! The sockets that clients connect to.
//!
//! A Unix-domain socket is made and removed as PostgreSQL does it. Does not decide who gets in.

use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tokio::net::{TcpListener, TcpSocket, UnixListener, UnixStream};

use crate::address::Address;
use crate::error::ProxyError;

/// Connections that the system holds for us while we are busy; PostgreSQL's own is twice
/// `max_connections`.
const BACKLOG: u32 = 1024;

/// What a Unix-domain socket's name ends in where no TCP address says: the default of `listen`.
const PORT_DEFAULT: u16 = 6432;

/// Everybody on the machine may connect, as with PostgreSQL's own sockets: the source decides who
/// gets in.
const SOCKET_MODE: u32 = 0o777;

/// A client's end as it was accepted.
#[derive(Debug)]
pub(crate) enum ClientSocket {
    Tcp(std::net::TcpStream),
    Unix(std::os::unix::net::UnixStream),
}

/// A socket that clients connect to.
#[derive(Debug)]
pub(crate) enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener, SocketFile),
}

/// The file that a Unix-domain socket has; removed with this.
#[derive(Debug)]
pub(crate) struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        // It may have been removed already, by whoever cleared up.
        drop(std::fs::remove_file(&self.0));
    }
}

/// Binds every address, or none.
pub(crate) async fn bind(addresses: &[Address]) -> Result<Vec<Listener>, ProxyError> {
    if addresses.is_empty() {
        return Err(ProxyError::NoAddress);
    }
    let failed = |address: &Address, source| ProxyError::Listen {
        address: address.clone(),
        source,
    };
    let mut listeners = Vec::new();
    for address in addresses {
        if let Address::Tcp(at) = address {
            let listener = tcp(*at).map_err(|error| failed(address, error))?;
            listeners.push(Listener::Tcp(listener));
        }
    }
    // The first TCP address may only now have got its port.
    let first = listeners.iter().find_map(Listener::port);
    for address in addresses {
        if let Address::Unix { directory, port } = address {
            let port = port.or(first).unwrap_or(PORT_DEFAULT);
            let path = directory.join(Address::socket_name(port));
            let listener = unix(path).await.map_err(|error| failed(address, error))?;
            listeners.push(listener);
        }
    }
    Ok(listeners)
}

fn tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

async fn unix(path: PathBuf) -> io::Result<Listener> {
    remove_stale(&path).await?;
    let listener = UnixListener::bind(&path)?;
    let file = SocketFile(path);
    std::fs::set_permissions(&file.0, std::fs::Permissions::from_mode(SOCKET_MODE))?;
    Ok(Listener::Unix(listener, file))
}

/// Removes a socket that nobody listens on any more: a process that was killed leaves it behind.
async fn remove_stale(path: &Path) -> io::Result<()> {
    let is_socket = std::fs::symlink_metadata(path).map(|it| it.file_type().is_socket());
    if !matches!(is_socket, Ok(true)) {
        return Ok(());
    }
    match UnixStream::connect(path).await {
        Ok(_) => Err(io::ErrorKind::AddrInUse.into()),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path)
        }
        Err(error) => Err(error),
    }
}

impl Listener {
    /// The next client. Cancel-safe.
    pub(super) async fn accept(&self) -> io::Result<(ClientSocket, Option<SocketAddr>)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                Ok((ClientSocket::Tcp(stream.into_std()?), Some(peer)))
            }
            Self::Unix(listener, _) => {
                let (stream, _) = listener.accept().await?;
                Ok((ClientSocket::Unix(stream.into_std()?), None))
            }
        }
    }

    fn port(&self) -> Option<u16> {
        match self {
            Self::Tcp(listener) => listener.local_addr().ok().map(|it| it.port()),
            Self::Unix(..) => None,
        }
    }

    /// Where it listens, for people.
    pub(crate) fn place(&self) -> String {
        match self {
            Self::Tcp(listener) => {
                let address = listener.local_addr();
                address.map_or_else(|error| error.to_string(), |it| it.to_string())
            }
            Self::Unix(_, file) => file.0.display().to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory(name: &str) -> PathBuf {
        let unique = format!("segue-{name}-{}", std::process::id());
        let directory = std::env::temp_dir().join(unique);
        std::fs::create_dir(&directory).unwrap();
        directory
    }

    fn unix_at(directory: &Path, port: Option<u16>) -> Address {
        Address::Unix {
            directory: directory.to_owned(),
            port,
        }
    }

    #[tokio::test]
    async fn a_socket_takes_the_port_of_the_first_tcp_address_and_goes_with_its_listener() {
        let directory = directory("socket");
        let tcp = Address::Tcp(([127, 0, 0, 1], 0).into());
        let listeners = bind(&[unix_at(&directory, None), tcp]).await.unwrap();
        let port = listeners.iter().find_map(Listener::port).unwrap();
        let path = directory.join(format!(".s.PGSQL.{port}"));
        assert!(
            listeners
                .iter()
                .any(|it| it.place() == path.to_str().unwrap())
        );
        UnixStream::connect(&path).await.unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, SOCKET_MODE);
        drop(listeners);
        assert!(!path.exists());
        std::fs::remove_dir(&directory).unwrap();
    }

    #[tokio::test]
    async fn a_socket_in_use_is_left_alone_and_a_stale_one_replaced() {
        let directory = directory("stale");
        let address = [unix_at(&directory, Some(7))];
        let first = bind(&address).await.unwrap();
        let second = bind(&address).await.unwrap_err();
        assert!(second.to_string().contains("in use"), "{second}");
        // A process that is killed removes nothing.
        let path = directory.join(".s.PGSQL.7");
        let kept = directory.join("kept");
        std::fs::rename(&path, &kept).unwrap();
        drop(first);
        std::fs::rename(&kept, &path).unwrap();
        drop(bind(&address).await.unwrap());
        std::fs::remove_dir(&directory).unwrap();
    }
}
