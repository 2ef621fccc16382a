//! Why a write is left to the stream.
//!
//! Does not say whether a deferral is a fault: none is. Each is counted, and the stream brings the
//! write a moment later.

/// The reason of a deferral; its label is stable, for metrics, `segue.op` and the report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DeferReason {
    /// The parser could not read the text.
    Unparsable,
    /// The text is longer than is worth parsing.
    TextTooLong,
    /// What the session's state means for the text is not known at present.
    SessionUnknown,
    /// The session's encoding or string syntax makes captured values unreliable.
    SessionSettings,
    /// The source's catalog has not been read yet, or is being read again.
    CatalogUnknown,
    /// The current role's privileges have not been read yet.
    RoleUnknown,
    /// The session, or the table, asks not to be mirrored.
    MirrorOff,
    /// A SET, a schema change or the like stands before it in the same text.
    BehindChange,
    /// The table is not carried. The stream does not bring it either.
    NotInContract,
    /// The table is the session's own. The stream does not bring it either.
    TemporaryTable,
    /// The relation is a view.
    View,
    /// The relation is a foreign table, or has foreign partitions.
    ForeignTable,
    /// The table has inheritance children or parents that are no partitions.
    InheritedTable,
    /// The table has rules.
    Rules,
    /// The table is under row-level security.
    RowLevelSecurity,
    /// A trigger of the table looks at the statement's text or at the session's settings.
    TriggerReadsStatement,
    /// The role may write the table and not read it.
    NoSelectPrivilege,
    /// A column's type has no binary send function.
    NoBinaryFormat,
    /// A column's type means another thing at the target (`regclass` and its kind).
    TypeNotPortable,
    /// Equality of the key is not equality of bytes.
    KeyEquality,
    /// The statement names a volatile function that is not built in.
    UserFunction,
    /// Many rows.
    Bulk,
    /// INSERT … SELECT.
    InsertSelect,
    /// UPDATE or DELETE without equality on the whole key.
    Unkeyed,
    /// UPDATE that sets a key column.
    KeyUpdate,
    /// UPDATE … FROM, DELETE … USING.
    Joined,
    /// A WITH clause.
    WithClause,
    /// WHERE CURRENT OF, or a cursor that was not read to its end.
    Cursor,
    /// A RETURNING list whose width cannot be told, or one that names old and new rows.
    ReturningShape,
    /// MERGE.
    Merge,
    /// COPY … FROM.
    Copy,
    /// TRUNCATE.
    Truncate,
    /// A prepared statement of the SQL level, or EXPLAIN ANALYZE.
    Indirect,
    /// CALL or DO.
    Procedure,
    /// PREPARE TRANSACTION.
    TwoPhase,
    /// A command tag told of a write that the text did not show.
    Uncaptured,
    /// The commit is acknowledged before it is safe (rule 12).
    NotDurable,
    /// More rows or bytes than a transaction may hold in memory.
    TooLarge,
    /// The rows of one client transaction came from several source transactions.
    SeveralTransactions,
    /// A captured row does not have the table's shape as the contract knows it.
    ShapeChanged,
    /// A captured record could not be read.
    Unreadable,
    /// The connection's server is on another timeline than the epoch: one from before a failover, or
    /// one of which the proxy has not heard yet.
    OtherTimeline,
}

impl DeferReason {
    /// Each of them.
    pub const ALL: [Self; Self::OtherTimeline as usize + 1] = [
        Self::Unparsable,
        Self::TextTooLong,
        Self::SessionUnknown,
        Self::SessionSettings,
        Self::CatalogUnknown,
        Self::RoleUnknown,
        Self::MirrorOff,
        Self::BehindChange,
        Self::NotInContract,
        Self::TemporaryTable,
        Self::View,
        Self::ForeignTable,
        Self::InheritedTable,
        Self::Rules,
        Self::RowLevelSecurity,
        Self::TriggerReadsStatement,
        Self::NoSelectPrivilege,
        Self::NoBinaryFormat,
        Self::TypeNotPortable,
        Self::KeyEquality,
        Self::UserFunction,
        Self::Bulk,
        Self::InsertSelect,
        Self::Unkeyed,
        Self::KeyUpdate,
        Self::Joined,
        Self::WithClause,
        Self::Cursor,
        Self::ReturningShape,
        Self::Merge,
        Self::Copy,
        Self::Truncate,
        Self::Indirect,
        Self::Procedure,
        Self::TwoPhase,
        Self::Uncaptured,
        Self::NotDurable,
        Self::TooLarge,
        Self::SeveralTransactions,
        Self::ShapeChanged,
        Self::Unreadable,
        Self::OtherTimeline,
    ];

    /// The reason with this name, as `segue.op` holds it.
    pub fn named(label: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.label() == label)
    }

    /// Whether the stream does not bring such a write either.
    pub const fn is_outside(self) -> bool {
        matches!(self, Self::NotInContract | Self::TemporaryTable)
    }

    /// The stable name.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Unparsable => "unparsable",
            Self::TextTooLong => "text_too_long",
            Self::SessionUnknown => "session_unknown",
            Self::SessionSettings => "session_settings",
            Self::CatalogUnknown => "catalog_unknown",
            Self::RoleUnknown => "role_unknown",
            Self::MirrorOff => "mirror_off",
            Self::BehindChange => "behind_change",
            Self::NotInContract => "not_in_contract",
            Self::TemporaryTable => "temporary_table",
            Self::View => "view",
            Self::ForeignTable => "foreign_table",
            Self::InheritedTable => "inherited_table",
            Self::Rules => "rules",
            Self::RowLevelSecurity => "row_level_security",
            Self::TriggerReadsStatement => "trigger_reads_statement",
            Self::NoSelectPrivilege => "no_select_privilege",
            Self::NoBinaryFormat => "no_binary_format",
            Self::TypeNotPortable => "type_not_portable",
            Self::KeyEquality => "key_equality",
            Self::UserFunction => "user_function",
            Self::Bulk => "bulk",
            Self::InsertSelect => "insert_select",
            Self::Unkeyed => "unkeyed",
            Self::KeyUpdate => "key_update",
            Self::Joined => "joined",
            Self::WithClause => "with_clause",
            Self::Cursor => "cursor",
            Self::ReturningShape => "returning_shape",
            Self::Merge => "merge",
            Self::Copy => "copy",
            Self::Truncate => "truncate",
            Self::Indirect => "indirect",
            Self::Procedure => "procedure",
            Self::TwoPhase => "two_phase",
            Self::Uncaptured => "uncaptured",
            Self::NotDurable => "not_durable",
            Self::TooLarge => "too_large",
            Self::SeveralTransactions => "several_transactions",
            Self::ShapeChanged => "shape_changed",
            Self::Unreadable => "unreadable",
            Self::OtherTimeline => "other_timeline",
        }
    }
}
