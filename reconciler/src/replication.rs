//! A replication connection: what both intakes have in common.
//!
//! Does not decode messages and does not decide what may be confirmed.

use std::time::Duration;

use apply::connection::{Connection, ConnectionError, tag};
use bytes::Bytes;
use control::{Dsn, Side};
use protocol::decide::failover::{Found, History, Role, SlotState};
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
    pub(crate) found: Found,
    /// Why the slot cannot be read any more; none where it can.
    pub(crate) slot_loss: Option<String>,
    /// As in `server_version_num`.
    pub(crate) version: u32,
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
        let unreadable = || ReconcilerError::Answer {
            side: self.slot.side,
            what: "the answer to IDENTIFY_SYSTEM",
        };
        let row = rows.first().ok_or_else(unreadable)?;
        let identifier = text(row, 0).ok_or_else(unreadable)?;
        let timeline = text(row, 1).and_then(|timeline| timeline.parse().ok());
        let timeline = timeline.ok_or_else(unreadable)?;
        let sql = format!(
            "SELECT pg_is_in_recovery()::text, current_setting('server_version_num'), \
                    (SELECT confirmed_flush_lsn::text FROM pg_replication_slots \
                     WHERE slot_name = '{}')",
            self.slot.name
        );
        let rows = self.connection.query_simple(&sql).await?;
        let row = rows.first().ok_or_else(unreadable)?;
        let role = match text(row, 0).as_deref() {
            Some("false") => Role::Primary,
            _ => Role::Standby,
        };
        let version = text(row, 1).and_then(|version| version.parse().ok());
        let version = version.ok_or_else(unreadable)?;
        let confirmed = text(row, 2).and_then(|lsn| lsn.parse().ok());
        let slot_loss = self.slot_loss().await?;
        let slot = match (&slot_loss, confirmed) {
            (_, None) => SlotState::Absent,
            (Some(_), Some(_)) => SlotState::Lost,
            (None, Some(confirmed)) => SlotState::Readable { confirmed },
        };
        let found = Found {
            system_identifier: identifier,
            history: self.history(timeline).await?,
            role,
            slot,
        };
        Ok(System {
            found,
            slot_loss,
            version,
        })
    }

    /// Where the server's timeline comes from, as far as it still knows.
    async fn history(&mut self, timeline: u32) -> Result<History, ReconcilerError> {
        if timeline == 1 {
            return Ok(History::of(timeline));
        }
        let command = format!("TIMELINE_HISTORY {timeline}");
        let content = match self.connection.query_simple(&command).await {
            Ok(rows) => rows
                .first()
                .and_then(|row| text(row, 1))
                .unwrap_or_default(),
            Err(ConnectionError::Server { error, .. }) => {
                let message = error.message;
                tracing::warn!(timeline, message, "the source does not tell its history");
                String::new()
            }
            Err(error) => return Err(error.into()),
        };
        History::parse(timeline, &content).map_err(|_| ReconcilerError::Answer {
            side: self.slot.side,
            what: "a timeline's history",
        })
    }

    /// Has the server keep the slot on its standbys, where it can (from version 17 on).
    pub(crate) async fn keep_on_standbys(&mut self) -> Result<(), ReconcilerError> {
        let sql = format!(
            "SELECT 'wanted' FROM pg_replication_slots s \
             WHERE slot_name = '{}' AND to_jsonb(s) ->> 'failover' = 'false'",
            self.slot.name
        );
        if self.connection.query_simple(&sql).await?.is_empty() {
            return Ok(());
        }
        let command = format!(
            "ALTER_REPLICATION_SLOT \"{}\" (FAILOVER true)",
            self.slot.name
        );
        match self.connection.query_simple(&command).await {
            Ok(_) => Ok(()),
            // Somebody still reads it: the next session has another try.
            Err(ConnectionError::Server { error, .. }) => {
                tracing::debug!(
                    message = error.message,
                    "the slot stays as it is on standbys"
                );
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
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

fn text(row: &[Option<Bytes>], place: usize) -> Option<String> {
    let column = row.get(place)?.as_ref()?;
    Some(String::from_utf8_lossy(column).into_owned())
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
