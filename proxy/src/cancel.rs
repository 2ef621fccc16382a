//! Cancel requests: forwarded to the source on a connection of their own.
//!
//! The process number and the secret that a client holds are the server's own, so nothing is
//! looked up or kept. Does not answer: PostgreSQL does not either.

use std::io;
use std::time::Duration;

use control::ConnectCause;
use control::server::Route;
use protocol::wire::startup::{CancelKey, cancel_request};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::source;

/// The server closes the connection at once, having sent the signal; it is not waited for longer.
const CANCEL_TIMEOUT: Duration = Duration::from_secs(10);

/// Forwards a cancel request and returns once the server has taken it: a client takes the close of
/// its connection for that.
pub(crate) async fn forward(route: &Route, key: &CancelKey) -> Result<(), ConnectCause> {
    let request = cancel_request(key);
    let forwarded = async {
        let io = |error: io::Error| ConnectCause::from_io(&error);
        let mut stream = source::connect(route).await?;
        stream.write_all(&request).await.map_err(io)?;
        stream.flush().await.map_err(io)?;
        let mut nothing = [0; 1];
        stream.read(&mut nothing).await.map(drop).map_err(io)
    };
    let in_time = tokio::time::timeout(CANCEL_TIMEOUT, forwarded).await;
    in_time.unwrap_or(Err(ConnectCause::Timeout))
}
