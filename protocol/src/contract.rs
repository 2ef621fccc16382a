//! The contract: the schema that both sides had when Segue was set up, frozen.
//!
//! It says which tables are carried, by which key, and in which form each column travels. Both
//! programs and both paths work from the same contract, so that a row key and a row image mean the
//! same everywhere. It is stored as JSON in `segue.phase`.

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

/// The frozen schema.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contract {
    /// Grows with each change; `row_rev.contract` refers to it.
    pub version: i32,
    /// The tables carried, ordered by [`Table::name`].
    pub tables: Vec<Table>,
}

/// A table's place in [`Contract::tables`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TableIndex(u32);

impl TableIndex {
    /// The table at this place.
    pub const fn new(place: u32) -> Self {
        Self(place)
    }

    /// The place as a slice index.
    pub const fn as_usize(self) -> usize {
        self.0 as usize
    }
}

/// One table. A partitioned table stands for all its leaves: their rows go through its name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Table {
    /// The canonical name: schema and relation, each quoted where SQL needs it.
    pub name: String,
    /// The schema, unquoted.
    pub schema: String,
    /// The relation, unquoted.
    pub relation: String,
    /// The columns carried, in the source's order: all but generated ones.
    pub columns: Vec<Column>,
    /// The key: places in `columns`, in the order of the key's index. Never empty.
    pub key: Vec<usize>,
}

impl Table {
    /// Why the mirror leaves this table to the stream, if it has to.
    pub fn unmirrorable(&self) -> Option<&'static str> {
        let forms = self.columns.iter().map(|column| &column.form);
        let mut keys = self.key.iter().filter_map(|place| self.columns.get(*place));
        if keys.any(|column| column.key_form == KeyForm::Unordered) {
            Some("key_equality")
        } else if forms.into_iter().any(|form| *form == Form::Text) {
            Some("no_binary_format")
        } else {
            None
        }
    }
}

/// One column.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Column {
    /// Its name, unquoted.
    pub name: String,
    /// Its type as `format_type` writes it.
    pub type_name: String,
    /// The type's OID at the source.
    pub type_oid: u32,
    /// How its values travel.
    pub form: Form,
    /// How its values compare, should it be part of the key.
    pub key_form: KeyForm,
}

impl Column {
    /// A column whose values travel as they are and are equal where their bytes are.
    pub fn plain(name: &str, type_name: &str, type_oid: u32) -> Self {
        Self {
            name: name.to_owned(),
            type_name: type_name.to_owned(),
            type_oid,
            form: Form::Plain,
            key_form: KeyForm::Bytes,
        }
    }
}

/// How a type's values get from the source to the target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Form {
    /// In the type's send format, byte for byte.
    Plain,
    /// As text, because the type has no send or receive function.
    Text,
    /// In the send format of an array: its element type may have another OID at the target, and its
    /// flags may say more than is so.
    Array {
        /// The element type's OID at the target.
        element_oid: u32,
        /// How its elements travel.
        element: Box<Self>,
    },
    /// In the send format of a composite type: its fields' OIDs at the target, and their forms.
    Composite {
        /// OID at the target and form, a field each.
        fields: Vec<(u32, Self)>,
    },
}

/// How values of a key column compare (rule 14).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyForm {
    /// Equal when their bytes are equal.
    Bytes,
    /// Equal when their bytes but for the display scale are equal.
    Numeric,
    /// Equality is not equality of bytes and there is no normal form: the table's writes are left to
    /// the stream.
    Unordered,
}

impl Contract {
    /// The table at `index`.
    pub fn table(&self, index: TableIndex) -> Option<&Table> {
        self.tables.get(index.as_usize())
    }

    /// The table with this schema and relation name.
    pub fn find(&self, schema: &str, relation: &str) -> Option<(TableIndex, &Table)> {
        let is_it = |table: &Table| table.schema == schema && table.relation == relation;
        // Most names are canonical as they are.
        self.by_order(&format!("{schema}.{relation}"))
            .filter(|(_, table)| is_it(table))
            .or_else(|| self.tables().find(|(_, table)| is_it(table)))
    }

    /// The table with this canonical name.
    pub fn find_name(&self, name: &str) -> Option<(TableIndex, &Table)> {
        self.by_order(name)
            .or_else(|| self.tables().find(|(_, table)| table.name == name))
    }

    fn by_order(&self, name: &str) -> Option<(TableIndex, &Table)> {
        let by_name = |table: &Table| table.name.as_str().cmp(name);
        let place = self.tables.binary_search_by(by_name).ok()?;
        Some((
            TableIndex(u32::try_from(place).ok()?),
            self.tables.get(place)?,
        ))
    }

    /// All tables with their places.
    pub fn tables(&self) -> impl Iterator<Item = (TableIndex, &Table)> {
        (0..).map(TableIndex).zip(&self.tables)
    }

    /// A fingerprint of the tables, in hexadecimal: equal exactly if both sides mean the same.
    pub fn hash(&self) -> String {
        let text = format!("{:?}", self.tables);
        format!("{:016x}", xxh3_64(text.as_bytes()))
    }
}

/// `name` as SQL text that means exactly it: always quoted.
pub fn quote_identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
