//! Cancel requests: forwarded to the source on a connection of their own.
//!
//! The process number and the secret that a client holds are the server's own, so nothing is
//! looked up or kept. Does not answer: PostgreSQL does not either.

use std::io;
use std::time::Duration;

use control::Dsn;
use protocol::wire::startup::{CancelKey, cancel_request};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::source;

/// The server closes the connection at once, having sent the signal; it is not waited for longer.
const CANCEL_TIMEOUT: Duration = Duration::from_secs(10);

/// Forwards a cancel request and returns once the server has taken it: a client takes the close of
/// its connection for that.
pub(crate) async fn forward(dsn: &Dsn, key: &CancelKey) -> io::Result<()> {
    let request = cancel_request(key);
    let forwarded = async {
        let mut stream = source::connect(dsn).await?;
        stream.write_all(&request).await?;
        let mut nothing = [0; 1];
        stream.read(&mut nothing).await.map(drop)
    };
    let in_time = tokio::time::timeout(CANCEL_TIMEOUT, forwarded).await;
    in_time.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
}
