//! What a text does, and the same text with the hidden column that captures it (DESIGN section 4).
//!
//! Does not run anything and does not know any reply: it maps a text, the session's state and the
//! catalog to an [`Analysis`]. What could fail only because of the rewrite is not rewritten.

mod analysis;
mod dml;
mod facts;
mod reason;
mod rewrite;
mod template;
#[cfg(test)]
mod tests;
mod tokens;
mod utility;

use std::sync::Arc;

use bytes::Bytes;

pub use analysis::analyze;
pub use facts::{
    CatalogFacts, ColumnFacts, MirrorChoice, SessionFacts, SessionKnowledge, TableFacts,
};
pub use reason::DeferReason;
pub use template::Template;

/// The name of the hidden column.
pub const HIDDEN_COLUMN: &str = "__segue";

/// Which protocol brings the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mode {
    /// A Query message: any number of statements.
    Simple,
    /// A Parse message: one statement.
    Extended,
}

/// What one text means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Analysis {
    /// Its statements, in order. Each causes one `CommandComplete`, unless an error ends the text.
    /// Empty where the text could not be read: then nothing is known of any of its replies.
    pub statements: Vec<Statement>,
    /// Whether the parser could not read it; it may then do anything.
    pub unreadable: Option<DeferReason>,
    /// The text to send instead, if any of its statements is captured.
    pub rewritten: Option<Rewritten>,
    /// Tells whoever keeps analyses what this one was made from; 0 for one that is not kept.
    pub origin: u128,
}

/// The text with hidden columns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rewritten {
    /// What goes to the server.
    pub text: Bytes,
    /// Where it differs, in order.
    pub insertions: Vec<Insertion>,
}

impl Rewritten {
    /// The client's error position for the server's: both count characters from 1.
    pub fn client_position(&self, server_position: usize) -> usize {
        let mut inserted = 0;
        for insertion in &self.insertions {
            // The server's position of the first inserted character is `begin + 1`.
            let begin = insertion.char_offset.saturating_add(inserted);
            if server_position <= begin {
                break;
            }
            let into = server_position.saturating_sub(begin);
            if into <= insertion.chars {
                return insertion.char_offset.saturating_add(1);
            }
            inserted = inserted.saturating_add(insertion.chars);
        }
        server_position.saturating_sub(inserted)
    }
}

/// Text put in behind `char_offset` characters of the original.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Insertion {
    /// Characters of the client's text before it.
    pub char_offset: usize,
    /// Bytes of the client's text before it.
    pub byte_offset: usize,
    /// What was put in.
    pub text: Arc<str>,
    /// How many characters were put in.
    pub chars: usize,
}

/// One statement of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// What it does to the transaction.
    pub transaction: TransactionEffect,
    /// What it does to the session.
    pub session: SessionEffect,
    /// What it does to rows.
    pub write: Write,
    /// Whether it may change `synchronous_commit`: rows captured before it in the same transaction
    /// are no longer known to be durable when it commits (rule 12).
    pub touches_durability: bool,
    /// Of a write that is left to the stream the table that its text names, where the catalog knows
    /// it; the first of several.
    pub deferred_oid: Option<u32>,
}

/// What a statement does to the client's transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TransactionEffect {
    /// Nothing.
    None,
    /// BEGIN, START TRANSACTION.
    Begin,
    /// COMMIT, END; with AND CHAIN the next one has begun.
    Commit,
    /// ROLLBACK, ABORT; with AND CHAIN the next one has begun.
    Rollback,
    /// SAVEPOINT.
    Savepoint(String),
    /// RELEASE.
    Release(String),
    /// ROLLBACK TO.
    RollbackTo(String),
    /// PREPARE TRANSACTION.
    Prepare,
    /// CALL, DO and the like: outside a block they may commit or roll back what came before.
    Uncertain,
}

/// What a statement does to the session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SessionEffect {
    /// Nothing that an analysis rests on.
    None,
    /// It may change what texts mean: the session is unknown after it.
    Changes,
    /// It changes the schema: the session is unknown after it, and the catalog out of date.
    Ddl,
    /// DEALLOCATE of one prepared statement.
    Deallocates(String),
    /// DEALLOCATE ALL.
    DeallocatesAll,
    /// DISCARD ALL: all prepared statements and all settings.
    DiscardsAll,
    /// SET of `segue.mirror`: to a choice, or to something that is none. Perhaps only until the
    /// transaction's end.
    Chooses(Option<MirrorChoice>),
}

impl SessionEffect {
    /// Whether the session's state has to be read again before anything is rewritten.
    pub const fn makes_unknown(&self) -> bool {
        match self {
            Self::Changes | Self::Ddl | Self::DiscardsAll => true,
            Self::None | Self::Deallocates(_) | Self::DeallocatesAll | Self::Chooses(_) => false,
        }
    }
}

/// What a statement does to rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Write {
    /// Nothing that the text shows; its command tag may tell otherwise.
    None,
    /// Its rows come with the hidden column.
    Captured(Captured),
    /// It writes, and the rows are left to the stream.
    Deferred(DeferReason),
    /// It may write unseen: a transaction with captured rows is deferred, no other.
    Suspect(DeferReason),
    /// It writes what is not carried, for this reason.
    Outside(DeferReason),
}

/// A captured statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Captured {
    /// What becomes of its rows.
    pub kind: WriteKind,
    /// The RETURNING columns of the client's own.
    pub client_columns: ClientColumns,
    /// The table's OID, or the partitioned root's.
    pub table_oid: u32,
    /// The keys or rows that its text names: it writes at most so many.
    pub rows_max: usize,
}

/// What a captured row means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WriteKind {
    /// INSERT or UPDATE: the image is the row as stored.
    Upsert,
    /// DELETE: the image is the row as it was.
    Delete,
}

/// How many columns the client would see without the rewrite.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientColumns {
    /// No RETURNING: no `RowDescription`, no `DataRow`.
    None,
    /// This many; the hidden column follows them.
    Some(usize),
}
