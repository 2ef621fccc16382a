//! A table as the stream describes it.
//!
//! Does not compare it with the contract.

use crate::reader::{ReadError, Reader};

/// The columns of a table, in the order in which its tuples carry them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relation {
    /// The table's OID, which the changes refer to.
    pub oid: u32,
    /// Its schema; `pg_catalog` is sent as the empty string.
    pub schema: String,
    /// Its name.
    pub name: String,
    /// `d`, `n`, `f` or `i`, as in `pg_class.relreplident`.
    pub replica_identity: u8,
    /// The columns sent: generated ones are left out.
    pub columns: Vec<RelationColumn>,
}

/// One column of a [`Relation`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelationColumn {
    /// Its name.
    pub name: String,
    /// The OID of its type.
    pub type_oid: u32,
    /// Whether it is part of the replica identity.
    pub is_key: bool,
}

impl Relation {
    pub(super) fn decode(reader: &mut Reader) -> Result<Self, ReadError> {
        let oid = reader.u32("relation OID")?;
        let schema = reader.utf8("relation schema")?;
        let name = reader.utf8("relation name")?;
        let replica_identity = reader.u8("replica identity")?;
        let count = reader.count16("column count")?;
        let columns = (0..count)
            .map(|_| RelationColumn::decode(reader))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            oid,
            schema,
            name,
            replica_identity,
            columns,
        })
    }
}

impl RelationColumn {
    fn decode(reader: &mut Reader) -> Result<Self, ReadError> {
        let is_key = reader.u8("column flags")? & 1 == 1;
        let name = reader.utf8("column name")?;
        let type_oid = reader.u32("column type")?;
        reader.i32("column type modifier")?;
        Ok(Self {
            name,
            type_oid,
            is_key,
        })
    }
}
