//! The console's client as pgwire's server API wants to see it: what is said goes into a buffer.
//!
//! Owns no socket: frames are cut, and bytes are written, by the project's own code.

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::BytesMut;
use futures_util::Sink;
use pgwire::api::store::MemPortalStore;
use pgwire::api::{
    ClientInfo, ClientPortalStore, DefaultClient, PgWireConnectionState, SessionExtensions,
};
use pgwire::messages::response::TransactionStatus;
use pgwire::messages::startup::SecretKey;
use pgwire::messages::{PgWireBackendMessage, ProtocolVersion};

use super::command::Command;

/// The client of one console.
#[derive(Debug)]
pub(super) struct ConsoleClient {
    state: DefaultClient<Command>,
    /// What has been said and not been written.
    pub(super) said: BytesMut,
}

impl ConsoleClient {
    pub(super) fn new(peer: Option<SocketAddr>) -> Self {
        // pgwire has no word for a Unix-domain socket.
        let peer = peer.unwrap_or_else(|| SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
        Self {
            state: DefaultClient::new(peer, false),
            said: BytesMut::new(),
        }
    }
}

impl Sink<PgWireBackendMessage> for ConsoleClient {
    type Error = io::Error;

    fn poll_ready(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn start_send(self: Pin<&mut Self>, message: PgWireBackendMessage) -> io::Result<()> {
        message.encode(&mut self.get_mut().said).map_err(Into::into)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl ClientInfo for ConsoleClient {
    fn socket_addr(&self) -> SocketAddr {
        self.state.socket_addr()
    }

    fn is_secure(&self) -> bool {
        self.state.is_secure()
    }

    fn protocol_version(&self) -> ProtocolVersion {
        self.state.protocol_version()
    }

    fn set_protocol_version(&mut self, version: ProtocolVersion) {
        self.state.set_protocol_version(version);
    }

    fn pid_and_secret_key(&self) -> (i32, SecretKey) {
        self.state.pid_and_secret_key()
    }

    fn set_pid_and_secret_key(&mut self, pid: i32, secret_key: SecretKey) {
        self.state.set_pid_and_secret_key(pid, secret_key);
    }

    fn state(&self) -> PgWireConnectionState {
        self.state.state()
    }

    fn set_state(&mut self, new_state: PgWireConnectionState) {
        self.state.set_state(new_state);
    }

    fn transaction_status(&self) -> TransactionStatus {
        self.state.transaction_status()
    }

    fn set_transaction_status(&mut self, new_status: TransactionStatus) {
        self.state.set_transaction_status(new_status);
    }

    fn metadata(&self) -> &HashMap<String, String> {
        self.state.metadata()
    }

    fn metadata_mut(&mut self) -> &mut HashMap<String, String> {
        self.state.metadata_mut()
    }

    fn session_extensions(&self) -> &SessionExtensions {
        self.state.session_extensions()
    }
}

impl ClientPortalStore for ConsoleClient {
    type PortalStore = MemPortalStore<Command>;

    fn portal_store(&self) -> &Self::PortalStore {
        self.state.portal_store()
    }
}
