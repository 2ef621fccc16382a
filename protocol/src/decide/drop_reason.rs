//! Why a captured transaction did not get to the target early.
//!
//! Does not say whether that is a fault: the stream brings the transaction in any case.

/// Why a captured transaction was not mirrored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DropReason {
    /// The queue had no room.
    QueueFull,
    /// There is no session at the target.
    TargetDown,
    /// The session ended while the transaction was on its way: it may have been written.
    ConnectionLost,
    /// The reconciler has not opened the gate, or for another epoch.
    GateShut,
    /// At or under the floor: too late.
    Floor,
    /// The target holds something newer.
    Newer,
    /// It waited for so long that the log has brought it, as it had brought others.
    Late,
    /// A unique or exclusion constraint, because rows are at different points in time (rule 10).
    UniqueViolation,
    /// The log, or another writer, holds the row.
    LockTimeout,
    /// Any other constraint, which the source does not have.
    ConstraintViolation,
    /// A table is not what the contract says, or may not be written to.
    TargetSchema,
    /// The target has no room, on disk or in memory.
    TargetExhausted,
    /// The target takes no writes.
    TargetReadOnly,
    /// Any other error of the target.
    TargetError,
    /// The rows cannot be expressed: a revision out of range.
    Unrepresentable,
    /// The proxy is going down.
    Shutdown,
}

impl DropReason {
    /// Each of them.
    pub const ALL: [Self; Self::Shutdown as usize + 1] = [
        Self::QueueFull,
        Self::TargetDown,
        Self::ConnectionLost,
        Self::GateShut,
        Self::Floor,
        Self::Newer,
        Self::Late,
        Self::UniqueViolation,
        Self::LockTimeout,
        Self::ConstraintViolation,
        Self::TargetSchema,
        Self::TargetExhausted,
        Self::TargetReadOnly,
        Self::TargetError,
        Self::Unrepresentable,
        Self::Shutdown,
    ];

    /// The stable name.
    pub const fn label(self) -> &'static str {
        match self {
            Self::QueueFull => "queue_full",
            Self::TargetDown => "target_down",
            Self::ConnectionLost => "connection_lost",
            Self::GateShut => "gate_shut",
            Self::Floor => "floor",
            Self::Newer => "newer",
            Self::Late => "late",
            Self::UniqueViolation => "unique_violation",
            Self::LockTimeout => "lock_timeout",
            Self::ConstraintViolation => "constraint_violation",
            Self::TargetSchema => "target_schema",
            Self::TargetExhausted => "target_exhausted",
            Self::TargetReadOnly => "target_read_only",
            Self::TargetError => "target_error",
            Self::Unrepresentable => "unrepresentable",
            Self::Shutdown => "shutdown",
        }
    }

    /// The reason with this name, as `segue.op` holds it.
    pub fn named(label: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.label() == label)
    }
}
