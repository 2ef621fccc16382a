//! Why the reconciler stops, and which failures it only waits out.

use std::path::PathBuf;

use apply::connection::ConnectionError;
use apply::logged::{LoggedError, is_about_the_schema};
use apply::session::SessionError;
use apply::statements::WriteError;
use control::tls::TlsFault;
use control::{ConnectCause, ConnectError, ControlError, Side};
use protocol::decide::streamed::Disorder;
use protocol::reader::ReadError;
use protocol::row::KeyError;

/// The reconciler failed.
#[derive(Debug, thiserror::Error)]
pub enum ReconcilerError {
    /// The control plane.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// A connection, or a statement on it.
    #[error(transparent)]
    Connection(#[from] ConnectionError),
    /// A target session.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// Applying.
    #[error(transparent)]
    Logged(#[from] LoggedError),
    /// A row could not be put into a statement.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// The stream cannot be read.
    #[error("the change stream of the {side} cannot be read")]
    Stream {
        /// Which side's.
        side: Side,
        /// Why not.
        source: ReadError,
    },
    /// The server broke the order of its own stream.
    #[error("the change stream of the source cannot be followed")]
    Disorder {
        /// How.
        source: Disorder,
    },
    /// Large transactions have nowhere to wait for their commit.
    #[error(
        "the spool in {}, where large transactions wait for their commit, cannot be written; free \
         space there or name another directory with --spool-dir; nothing is lost, and until the \
         reconciler is started again the source keeps such transactions itself",
        directory.display()
    )]
    Spool {
        /// Where.
        directory: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// A change has no key.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The stream ended.
    #[error("the {side} ended the change stream")]
    StreamEnded {
        /// Which side.
        side: Side,
    },
    /// Another one follows the stream.
    #[error(
        "another reconciler follows the slot {slot} ({message}); \
         stop it first, or wait until the {side} has noticed that it is gone"
    )]
    SlotBusy {
        /// Which side's.
        side: Side,
        /// The slot.
        slot: String,
        /// What the server says.
        message: String,
    },
    /// The source's slot cannot be read any more.
    #[error(
        "the slot {slot} at the {side} is lost: {why}; what was written since is not to be had from \
         the log: copy the database anew, then segue setup --remove and segue setup"
    )]
    SlotLost {
        /// Which side's.
        side: Side,
        /// The slot.
        slot: String,
        /// Why.
        why: String,
    },
    /// `segue.progress` has no row for the stream.
    #[error("the target has no progress of the stream {stream}; run segue setup first")]
    NoProgress {
        /// The stream.
        stream: String,
    },
    /// Source and target do not belong together.
    #[error(
        "the source is the cluster {found}, but the target has been following the cluster \
         {expected}; point --source at the cluster that segue setup was run against"
    )]
    OtherCluster {
        /// What `segue.progress` says.
        expected: String,
        /// What the source says.
        found: String,
    },
    /// It takes no writes, and so is no source yet.
    #[error("the source is a standby; the stream goes on when it is promoted")]
    Standby,
    /// The source that a failover has left behind is there again.
    #[error(
        "the source answers on timeline {found}, and the target follows timeline {followed}: it is \
         the server from before a failover; point --source at the one that took over"
    )]
    Outdated {
        /// What `segue.progress` says.
        followed: u32,
        /// What the source says.
        found: u32,
    },
    /// There have been as many as there can be.
    #[error(
        "the source has failed over, and there is no epoch left after the 255th; copy the database \
         anew, then segue setup --remove and segue setup"
    )]
    EpochsUsedUp,
    /// A value of the `segue` schema or of the catalogs cannot be read.
    #[error("the {side} answered something that cannot be read: {what}")]
    Answer {
        /// Which side.
        side: Side,
        /// What was expected.
        what: &'static str,
    },
}

/// What the supervisor does about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Retry {
    /// Tries again after a while.
    Later,
    /// A person has to do something.
    Never,
}

/// What the source is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sending {
    /// Large transactions as they run.
    Early,
    /// All of them when they have committed.
    Committed,
}

impl ReconcilerError {
    /// The metric label.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Control(_) => "control",
            Self::Connection(_) => "connection",
            Self::Session(_) => "session",
            Self::Logged(_) => "apply",
            Self::Write(_) => "write",
            Self::Stream { .. } => "stream",
            Self::Disorder { .. } => "disorder",
            Self::Spool { .. } => "spool",
            Self::Key(_) => "key",
            Self::StreamEnded { .. } => "stream_ended",
            Self::SlotBusy { .. } => "slot_busy",
            Self::SlotLost { .. } => "slot_lost",
            Self::NoProgress { .. } => "no_progress",
            Self::OtherCluster { .. } => "other_cluster",
            Self::Standby => "standby",
            Self::Outdated { .. } => "outdated",
            Self::EpochsUsedUp => "epochs_used_up",
            Self::Answer { .. } => "answer",
        }
    }

    /// The exit code of a command that ends with it.
    pub const fn exit_code(&self) -> u8 {
        if let Self::Control(error) = self {
            error.exit_code()
        } else {
            1
        }
    }

    /// The SQLSTATE, where a server refused a statement of the stream's.
    pub(crate) fn sqlstate(&self) -> Option<&str> {
        match self {
            Self::Logged(error) => error.sqlstate(),
            Self::Connection(error) => error.sqlstate(),
            Self::Control(_)
            | Self::Session(_)
            | Self::Write(_)
            | Self::Stream { .. }
            | Self::Disorder { .. }
            | Self::Spool { .. }
            | Self::Key(_)
            | Self::StreamEnded { .. }
            | Self::SlotBusy { .. }
            | Self::SlotLost { .. }
            | Self::NoProgress { .. }
            | Self::OtherCluster { .. }
            | Self::Standby
            | Self::Outdated { .. }
            | Self::EpochsUsedUp
            | Self::Answer { .. } => None,
        }
    }

    /// Whether a table may no longer be what the contract says.
    pub(crate) fn is_about_the_schema(&self) -> bool {
        matches!(self, Self::Write(WriteError::KeyLost { .. }))
            || self.sqlstate().is_some_and(is_about_the_schema)
    }

    /// Whether the stream has ended for good, so that nothing would prove what is mirrored.
    pub(crate) const fn ends_the_stream(&self) -> bool {
        matches!(
            self,
            Self::SlotLost { .. } | Self::OtherCluster { .. } | Self::EpochsUsedUp
        )
    }

    /// Whether the report is to say it.
    pub(crate) const fn is_told(&self) -> bool {
        self.ends_the_stream() || matches!(self, Self::Outdated { .. })
    }

    /// What the source is asked for after this error, if it was asked for `before`: where large
    /// transactions have nowhere to wait, it keeps them itself.
    pub(crate) const fn sending(&self, before: Sending) -> Sending {
        if matches!(self, Self::Disorder { .. } | Self::Spool { .. }) {
            return Sending::Committed;
        }
        before
    }

    pub(crate) fn retry(&self) -> Retry {
        match self {
            Self::Control(ControlError::Connect(error)) => of_connect(error),
            Self::Control(ControlError::Query { sqlstate, .. }) => of_state(sqlstate.as_deref()),
            Self::Connection(error)
            | Self::Session(SessionError::Connection(error))
            | Self::Logged(
                LoggedError::Connection(error)
                | LoggedError::Session(SessionError::Connection(error)),
            ) => of_connection(error),
            // A session that was killed lets its origin go a moment later.
            Self::Session(SessionError::OriginsTaken { .. })
            | Self::StreamEnded { .. }
            | Self::Disorder { .. }
            | Self::Spool { .. }
            | Self::Standby
            | Self::Outdated { .. } => Retry::Later,
            Self::Control(_)
            | Self::Session(_)
            | Self::Logged(_)
            | Self::Write(_)
            | Self::Stream { .. }
            | Self::Key(_)
            | Self::SlotBusy { .. }
            | Self::SlotLost { .. }
            | Self::NoProgress { .. }
            | Self::OtherCluster { .. }
            | Self::EpochsUsedUp
            | Self::Answer { .. } => Retry::Never,
        }
    }
}

fn of_connect(error: &ConnectError) -> Retry {
    match &error.cause {
        ConnectCause::Refused
        | ConnectCause::Unreachable { .. }
        | ConnectCause::Timeout
        | ConnectCause::Full { .. }
        | ConnectCause::NotReady { .. }
        | ConnectCause::Protocol { .. }
        // The server may have gone down in the middle of it.
        | ConnectCause::Tls(TlsFault::Handshake { .. }) => Retry::Later,
        ConnectCause::Tls(_)
        | ConnectCause::UnknownDatabase
        | ConnectCause::Password
        | ConnectCause::PasswordMissing
        | ConnectCause::Forbidden { .. } => Retry::Never,
        ConnectCause::Server { sqlstate, .. } => of_state(Some(sqlstate)),
    }
}

fn of_connection(error: &ConnectionError) -> Retry {
    match error {
        ConnectionError::Connect(error) => of_connect(error),
        ConnectionError::Closed { .. }
        | ConnectionError::Io { .. }
        | ConnectionError::Protocol { .. } => Retry::Later,
        ConnectionError::Server { error, .. } => of_state(Some(&error.sqlstate)),
        ConnectionError::Unreadable { .. } | ConnectionError::Encode(_) => Retry::Never,
    }
}

/// Connection lost, transaction rolled back by the server, out of resources, operator at work.
fn of_state(sqlstate: Option<&str>) -> Retry {
    match sqlstate {
        None => Retry::Later,
        Some(code) => {
            let class = code.get(..2).unwrap_or_default();
            // A plan was made before a table changed: a new session makes another.
            let is_stale = code == "0A000" || class == "26";
            if is_stale || ["08", "25", "40", "53", "55", "57", "58", "XX"].contains(&class) {
                Retry::Later
            } else {
                Retry::Never
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_server_takes_back_is_tried_again_and_what_it_refuses_is_not() {
        assert_eq!(of_state(Some("40P01")), Retry::Later);
        assert_eq!(of_state(Some("57P01")), Retry::Later);
        assert_eq!(of_state(None), Retry::Later);
        assert_eq!(of_state(Some("42P01")), Retry::Never);
        assert_eq!(of_state(Some("42501")), Retry::Never);
    }

    #[test]
    fn a_server_with_a_full_disk_is_connected_to_again() {
        let refused = |sqlstate: &str| ConnectError {
            side: Side::Target,
            server: String::new(),
            user: String::new(),
            database: String::new(),
            cause: ConnectCause::Server {
                sqlstate: sqlstate.to_owned(),
                message: "could not write init file".to_owned(),
            },
        };
        assert_eq!(of_connect(&refused("XX000")), Retry::Later);
        assert_eq!(of_connect(&refused("53100")), Retry::Later);
        assert_eq!(of_connect(&refused("42501")), Retry::Never);
    }
}
