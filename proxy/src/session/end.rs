//! The last words of a session.
//!
//! A client whose session the proxy ends hears why, unless it is in the middle of a frame or does
//! not read. Does not wait for anyone for long.

use std::time::Duration;

use bytes::Bytes;
use protocol::wire::backend::Severity;
use protocol::wire::{error_response, frontend};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};

use super::idle::Idleness;
use super::relay::End;
use super::{Session, SessionError};

/// How long a peer may take to read the last words.
const GOODBYE_TIMEOUT: Duration = Duration::from_secs(2);

impl<C, S> Session<C, S>
where
    C: AsyncRead + AsyncWrite + Unpin,
    S: AsyncRead + AsyncWrite + Unpin,
{
    /// Tells the client why its session ends, and both sides that it does.
    pub(super) async fn say_goodbye(&mut self, ended: &Result<End, SessionError>) {
        let farewell = match ended {
            Ok(End::Closed) => None,
            // What PostgreSQL says when it is shut down, so that drivers reconnect.
            Ok(End::ShutDown) => Some(terminated(
                "57P01",
                "terminating connection due to administrator command",
            )),
            Ok(End::Idle(Idleness::Session)) => Some(terminated(
                "57P05",
                "terminating connection due to idle-session timeout",
            )),
            Ok(End::Idle(Idleness::Transaction)) => Some(terminated(
                "25P03",
                "terminating connection due to idle-in-transaction timeout",
            )),
            Err(error) => error.farewell(),
        };
        if let Some(words) = farewell.filter(|_| !self.from_source.is_within_frame()) {
            self.from_source.insert().extend_from_slice(&words);
        }
        if !self.source_closed && !self.from_client.is_within_frame() {
            frontend::terminate(self.from_client.insert());
        }
        let goodbye = async {
            // A peer that is gone does not hear it; the session is over either way.
            let to_client = write_rest(&mut self.from_source, &mut self.client);
            let to_source = write_rest(&mut self.from_client, &mut self.source);
            tokio::join!(to_client, to_source)
        };
        drop(tokio::time::timeout(GOODBYE_TIMEOUT, goodbye).await);
    }
}

/// PostgreSQL's own words for the same end.
fn terminated(sqlstate: &'static str, message: &str) -> Bytes {
    error_response(Severity::Fatal, sqlstate, message, None, None)
}

async fn write_rest(channel: &mut super::Channel, peer: &mut (impl AsyncWrite + Unpin)) {
    while channel.pending() > 0 {
        let wrote = std::future::poll_fn(|context| channel.poll_write(peer, context)).await;
        if wrote.is_err() {
            return;
        }
    }
    drop(peer.shutdown().await);
}
