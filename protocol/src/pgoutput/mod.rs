//! The change stream: what a walsender sends for a slot of the plugin `pgoutput`, protocol versions 1
//! and 2.
//!
//! [`frame`] cuts the stream's own framing, [`Message`] is one decoded message; [`streamed`] has what
//! stands inside the blocks of a transaction that is sent before it ends. Does not group
//! messages into transactions ([`crate::decide::assembly`] does) and does not know the contract.
//! See <https://www.postgresql.org/docs/15/protocol-logicalrep-message-formats.html>.

pub mod frame;
pub mod relation;
pub mod streamed;
pub mod tuple;

use bytes::Bytes;

pub use self::relation::{Relation, RelationColumn};
pub use self::streamed::{BlockPlace, StreamAbort, StreamCommit, StreamStart};
pub use self::tuple::{Old, Tuple};
use crate::lsn::Lsn;
use crate::reader::{ReadError, Reader};

/// One message of the stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// A transaction begins; its changes follow.
    Begin(Begin),
    /// The transaction ends.
    Commit(Commit),
    /// The transaction came from elsewhere. Follows its Begin.
    Origin {
        /// Where its commit record lies at that origin.
        commit_lsn: Lsn,
        /// The origin's name.
        name: String,
    },
    /// Describes a table before its first change in this connection, and again when it changed.
    Relation(Relation),
    /// Names a type that is not built in.
    Type {
        /// The type's OID.
        oid: u32,
        /// Its schema.
        schema: String,
        /// Its name.
        name: String,
    },
    /// A row came into being.
    Insert {
        /// The table's OID.
        relation: u32,
        /// The row.
        new: Tuple,
    },
    /// A row got a new version.
    Update {
        /// The table's OID.
        relation: u32,
        /// What is known of the version before; there when the key changed or all of it is logged.
        old: Option<Old>,
        /// The new version.
        new: Tuple,
    },
    /// A row went.
    Delete {
        /// The table's OID.
        relation: u32,
        /// What is known of the last version.
        old: Old,
    },
    /// Tables were emptied.
    Truncate {
        /// The tables' OIDs.
        relations: Vec<u32>,
    },
    /// `pg_logical_emit_message`.
    Logical {
        /// Whether it belongs to the transaction around it.
        transactional: bool,
        /// Its position.
        lsn: Lsn,
        /// Its prefix.
        prefix: String,
        /// Its content.
        content: Bytes,
    },
    /// A block of a transaction that has not ended begins; [`streamed::decode`] reads what is in it.
    StreamStart(StreamStart),
    /// The block ends.
    StreamStop,
    /// A transaction sent in blocks has committed.
    StreamCommit(StreamCommit),
    /// A transaction sent in blocks, or a part of it, has been rolled back.
    StreamAbort(StreamAbort),
}

/// How a transaction begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Begin {
    /// The start of its commit record.
    pub commit_lsn: Lsn,
    /// When it committed, in microseconds since 2000-01-01 by the server's clock.
    pub committed_at: i64,
    /// The low 32 bits of its top-level transaction id.
    pub xid: u32,
}

/// How a transaction ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Commit {
    /// The start of its commit record.
    pub commit_lsn: Lsn,
    /// The end of its commit record: where the stream goes on.
    pub end_lsn: Lsn,
    /// When it committed, in microseconds since 2000-01-01 by the server's clock.
    pub committed_at: i64,
}

impl Message {
    /// Whether a payload tells of a row, without decoding it.
    pub fn is_of_a_row(payload: &[u8]) -> bool {
        matches!(payload.first(), Some(b'I' | b'U' | b'D'))
    }

    /// Decodes the payload of one [`frame::Frame::Data`] that stands outside of a block.
    pub fn decode(payload: Bytes) -> Result<Self, ReadError> {
        let mut reader = Reader::new(payload);
        let tag = reader.u8("message tag")?;
        let message = match tag {
            b'B' => Self::Begin(Begin {
                commit_lsn: lsn(&mut reader, "final LSN")?,
                committed_at: reader.i64("commit time")?,
                xid: reader.u32("transaction id")?,
            }),
            b'C' => Self::Commit(Commit::decode(&mut reader)?),
            b'S' => streamed::start(&mut reader)?,
            b'E' => Self::StreamStop,
            b'c' => streamed::commit(&mut reader)?,
            b'A' => streamed::abort(&mut reader)?,
            tag => Self::decode_body(tag, &mut reader)?,
        };
        reader.finish()?;
        Ok(message)
    }

    /// What may stand both inside and outside of a block, behind its tag and owner.
    fn decode_body(tag: u8, reader: &mut Reader) -> Result<Self, ReadError> {
        Ok(match tag {
            b'O' => Self::Origin {
                commit_lsn: lsn(reader, "origin LSN")?,
                name: reader.utf8("origin name")?,
            },
            b'R' => Self::Relation(Relation::decode(reader)?),
            b'Y' => Self::Type {
                oid: reader.u32("type OID")?,
                schema: reader.utf8("type schema")?,
                name: reader.utf8("type name")?,
            },
            b'I' => insert(reader)?,
            b'U' => update(reader)?,
            b'D' => Self::Delete {
                relation: reader.u32("relation OID")?,
                old: Old::decode(reader)?,
            },
            b'T' => truncate(reader)?,
            b'M' => logical(reader)?,
            tag => return Err(invalid("message tag", tag)),
        })
    }
}

impl Commit {
    fn decode(reader: &mut Reader) -> Result<Self, ReadError> {
        reader.u8("commit flags")?;
        Ok(Self {
            commit_lsn: lsn(reader, "commit LSN")?,
            end_lsn: lsn(reader, "end LSN")?,
            committed_at: reader.i64("commit time")?,
        })
    }
}

fn insert(reader: &mut Reader) -> Result<Message, ReadError> {
    let relation = reader.u32("relation OID")?;
    match reader.u8("tuple tag")? {
        b'N' => Ok(Message::Insert {
            relation,
            new: Tuple::decode(reader)?,
        }),
        tag => Err(invalid("tuple tag", tag)),
    }
}

fn update(reader: &mut Reader) -> Result<Message, ReadError> {
    let relation = reader.u32("relation OID")?;
    let (old, tag) = match reader.u8("tuple tag")? {
        tag @ (b'K' | b'O') => {
            let old = Old::decode_tagged(tag, reader)?;
            (Some(old), reader.u8("tuple tag")?)
        }
        tag => (None, tag),
    };
    match tag {
        b'N' => Ok(Message::Update {
            relation,
            old,
            new: Tuple::decode(reader)?,
        }),
        tag => Err(invalid("tuple tag", tag)),
    }
}

fn truncate(reader: &mut Reader) -> Result<Message, ReadError> {
    let count = reader.u32("relation count")?;
    reader.u8("truncate options")?;
    let relations = (0..count)
        .map(|_| reader.u32("relation OID"))
        .collect::<Result<_, _>>()?;
    Ok(Message::Truncate { relations })
}

fn logical(reader: &mut Reader) -> Result<Message, ReadError> {
    let transactional = reader.u8("message flags")? & 1 == 1;
    let lsn = lsn(reader, "message LSN")?;
    let prefix = reader.utf8("message prefix")?;
    let content = reader.nullable("message content")?.unwrap_or_default();
    Ok(Message::Logical {
        transactional,
        lsn,
        prefix,
        content,
    })
}

fn lsn(reader: &mut Reader, field: &'static str) -> Result<Lsn, ReadError> {
    reader.u64(field).map(Lsn::new)
}

fn invalid(field: &'static str, value: u8) -> ReadError {
    ReadError::Invalid {
        field,
        value: i64::from(value),
    }
}

#[cfg(test)]
mod tests;
