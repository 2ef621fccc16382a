//! A replication connection: what both intakes have in common.
//!
//! Does not decode messages and does not decide what may be confirmed.

use std::time::Duration;

use apply::connection::{Connection, ConnectionError, tag};
use bytes::Bytes;
use control::{Dsn, Side};
use protocol::lsn::Lsn;
use protocol::pgoutput::frame::{Frame, standby_status};
use tokio::time::Instant;

use crate::error::{ReconcilerError, Sending};
use crate::slot;

/// A killed process's walsender notices within moments that nobody is there any more.
const BUSY_PAUSE: Duration = Duration::from_millis(250);

/// A stream that keeps up is read by the clock: to be woken by each transaction would cost more than
/// to read it, where both servers share a machine also to those who wait for their commit. Far below
/// the head start that the log leaves to the mirror.
const READ_INTERVAL: Duration = Duration::from_millis(2);

const OBJECT_IN_USE: &str = "55006";

/// Settings that fix how types without a send function look as text.
const SETTINGS: [(&str, &str); 8] = [
    ("replication", "database"),
    ("application_name", "segue reconciler"),
    ("DateStyle", "ISO, MDY"),
    ("IntervalStyle", "postgres"),
    ("TimeZone", "UTC"),
    ("bytea_output", "hex"),
    ("extra_float_digits", "3"),
    ("statement_timeout", "0"),
];

/// A slot and what it is read through.
#[derive(Debug, Clone)]
pub(crate) struct Slot {
    pub(crate) side: Side,
    pub(crate) name: String,
    pub(crate) publication: String,
}

/// Who is at the other end.
#[derive(Debug)]
pub(crate) struct System {
    pub(crate) identifier: String,
    pub(crate) timeline: i64,
}

/// A connection that has not begun to stream.
#[derive(Debug)]
pub(crate) struct Replication {
    connection: Connection,
    slot: Slot,
}

/// A stream under way.
#[derive(Debug)]
pub(crate) struct Stream {
    connection: Connection,
    side: Side,
    /// When something was read last.
    read_at: Instant,
}

impl Replication {
    pub(crate) async fn connect(dsn: &Dsn, slot: Slot) -> Result<Self, ReconcilerError> {
        let mut connection = Connection::connect(dsn, slot.side, &SETTINGS)
            .await
            .map_err(ConnectionError::from)?;
        apply::session::use_server_encoding(&mut connection).await?;
        Ok(Self { connection, slot })
    }

    pub(crate) async fn identify(&mut self) -> Result<System, ReconcilerError> {
        let rows = self.connection.query_simple("IDENTIFY_SYSTEM").await?;
        let text = |place: usize| {
            let column = rows.first()?.get(place)?.as_ref()?;
            Some(String::from_utf8_lossy(column).into_owned())
        };
        let unreadable = || ReconcilerError::Answer {
            side: self.slot.side,
            what: "the answer to IDENTIFY_SYSTEM",
        };
        Ok(System {
            identifier: text(0).ok_or_else(unreadable)?,
            timeline: text(1)
                .and_then(|timeline| timeline.parse().ok())
                .ok_or_else(unreadable)?,
        })
    }

    /// Why the slot cannot be read any more; none where it can.
    pub(crate) async fn slot_loss(&mut self) -> Result<Option<String>, ReconcilerError> {
        let rows = self
            .connection
            .query_simple(&slot::query(&self.slot.name))
            .await?;
        let row = rows.first().map(|row| {
            let text = |place: usize| {
                let column = row.get(place).and_then(Option::as_ref);
                column.map_or_else(String::new, |text| {
                    String::from_utf8_lossy(text).into_owned()
                })
            };
            (text(0), text(1))
        });
        let row = row
            .as_ref()
            .map(|(status, reason)| (status.as_str(), reason.as_str()));
        Ok(slot::judge(row))
    }

    /// Starts streaming behind `from`. All supported servers can send early. A slot that another one holds is waited for until
    /// `patience` is over.
    pub(crate) async fn start(
        mut self,
        from: Lsn,
        sending: Sending,
        patience: Duration,
    ) -> Result<Stream, ReconcilerError> {
        let publication = self
            .slot
            .publication
            .replace('"', "\"\"")
            .replace('\'', "''");
        let version = match sending {
            Sending::Early => "proto_version '2', streaming 'on'",
            Sending::Committed => "proto_version '1'",
        };
        let command = format!(
            "START_REPLICATION SLOT \"{}\" LOGICAL {from} \
             ({version}, publication_names '\"{publication}\"', binary 'true')",
            self.slot.name
        );
        let begun = Instant::now();
        loop {
            match self.connection.start_copy_both(&command).await {
                Ok(()) => {
                    return Ok(Stream {
                        connection: self.connection,
                        side: self.slot.side,
                        read_at: Instant::now(),
                    });
                }
                Err(ConnectionError::Server { error, .. }) if error.sqlstate == OBJECT_IN_USE => {
                    if begun.elapsed() >= patience {
                        return Err(ReconcilerError::SlotBusy {
                            side: self.slot.side,
                            slot: self.slot.name,
                            message: error.message,
                        });
                    }
                    tokio::time::sleep(BUSY_PAUSE).await;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// Frames taken in a row before anything else gets its turn.
pub(crate) const FRAMES_IN_A_ROW_MAX: usize = 256;

impl Stream {
    /// The next frame. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Result<Frame, ReconcilerError> {
        let (tag, body) = self.receive().await?;
        self.framed(tag, body)
    }

    /// The next frame, if it has arrived already.
    pub(crate) fn arrived(&mut self) -> Result<Option<Frame>, ReconcilerError> {
        match self.connection.arrived()? {
            Some((tag, body)) => self.framed(tag, body).map(Some),
            None => Ok(None),
        }
    }

    fn framed(&self, tag: u8, body: Bytes) -> Result<Frame, ReconcilerError> {
        match tag {
            tag::COPY_DATA => Frame::decode(body).map_err(|source| ReconcilerError::Stream {
                side: self.side,
                source,
            }),
            tag::ERROR => {
                let error = apply::connection::ServerError::parse(body);
                let error = error.map_err(|source| ReconcilerError::Stream {
                    side: self.side,
                    source,
                })?;
                Err(ConnectionError::server(self.side, error).into())
            }
            _ => Err(ReconcilerError::StreamEnded { side: self.side }),
        }
    }

    async fn receive(&mut self) -> Result<(u8, Bytes), ConnectionError> {
        if !self.connection.is_drained()? {
            return self.connection.receive().await;
        }
        tokio::time::sleep_until(self.read_at + READ_INTERVAL).await;
        let frame = self.connection.receive().await;
        self.read_at = Instant::now();
        frame
    }

    /// Tells the server what has arrived and what may be forgotten.
    pub(crate) async fn confirm(
        &mut self,
        received: Lsn,
        durable: Lsn,
    ) -> Result<(), ReconcilerError> {
        let status = standby_status(received.max(durable), durable);
        self.connection
            .copy_data(&status)
            .map_err(ConnectionError::from)?;
        self.connection.flush().await?;
        Ok(())
    }

    /// Ends the stream politely, so that the slot is free at once.
    pub(crate) async fn close(mut self) {
        self.connection.copy_done();
        self.connection.close().await;
    }
}
