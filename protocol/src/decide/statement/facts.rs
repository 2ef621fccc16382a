//! What an analysis rests on besides the text: the session's state and the source's catalog.
//!
//! Both are values read elsewhere; nothing here asks a server.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_64;

use super::reason::DeferReason;
use crate::contract::{Contract, TableIndex};

/// What a session or a table asks of the mirror.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MirrorChoice {
    /// Writes are left to the stream.
    Off,
    /// Writes are mirrored; nobody waits.
    Async,
    /// Writes are mirrored, and the acknowledgement waits for the target.
    Sync,
}

impl MirrorChoice {
    /// The choice with this name.
    pub fn named(name: &str) -> Option<Self> {
        match name.trim().to_ascii_lowercase().as_str() {
            "off" => Some(Self::Off),
            "async" => Some(Self::Async),
            "sync" => Some(Self::Sync),
            _ => None,
        }
    }
}

/// The state of a session that gives a text its meaning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionFacts {
    /// `current_user`.
    pub role: String,
    /// `current_schemas(true)`: the schemas that unqualified names are looked up in, in order.
    pub search_path: Vec<String>,
    /// Names of the session's temporary relations; `None` if there are too many to list.
    pub temporary: Option<Vec<String>>,
    /// `client_encoding`.
    pub client_encoding: String,
    /// `server_encoding`.
    pub server_encoding: String,
    /// `standard_conforming_strings`: the parser reads string literals that way only.
    pub standard_strings: bool,
    /// `client_min_messages` asks for the server's log, in which texts can be seen as they were sent.
    pub hears_log: bool,
    /// `segue.mirror`, if it is set to a choice.
    pub mirror: Option<MirrorChoice>,
    /// The timeline that the connection's server writes, if it does: the same for all its life.
    pub timeline: Option<i32>,
}

impl SessionFacts {
    /// Whether values that the server sends are its own bytes, the parser reads strings as the
    /// server does, and the server does not tell the client what it was sent.
    pub fn allow_capture(&self) -> bool {
        self.client_encoding == self.server_encoding && self.standard_strings && !self.hears_log
    }

    /// Whether the server counts the characters of `text` as the parser does.
    pub fn counts_characters_of(&self, text: &str) -> bool {
        text.is_ascii() || self.server_encoding == "UTF8"
    }
}

/// What the proxy knows of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SessionKnowledge {
    /// Its state has been read, and nothing that could change it has run since.
    Known {
        /// The state.
        facts: SessionFacts,
        /// Differs when the state does; part of the key of cached analyses.
        fingerprint: u64,
    },
    /// Nothing may be rewritten until the state has been read again.
    Unknown,
}

impl SessionKnowledge {
    /// A state that has just been read.
    pub fn known(facts: SessionFacts) -> Self {
        let fingerprint = xxh3_64(format!("{facts:?}").as_bytes());
        Self::Known { facts, fingerprint }
    }

    /// The same state but for `segue.mirror`.
    #[must_use]
    pub fn choosing(self, mirror: Option<MirrorChoice>) -> Self {
        match self {
            Self::Known { facts, .. } if facts.mirror != mirror => {
                Self::known(SessionFacts { mirror, ..facts })
            }
            other @ (Self::Known { .. } | Self::Unknown) => other,
        }
    }

    /// What the session asks of the mirror, as far as is known.
    pub const fn mirror(&self) -> Option<MirrorChoice> {
        match self {
            Self::Known { facts, .. } => facts.mirror,
            Self::Unknown => None,
        }
    }

    /// The timeline that the connection's server writes, as far as is known.
    pub const fn timeline(&self) -> Option<i32> {
        match self {
            Self::Known { facts, .. } => facts.timeline,
            Self::Unknown => None,
        }
    }

    /// Differs when the state does; 0 while it is unknown.
    pub const fn fingerprint(&self) -> u64 {
        match self {
            Self::Known { fingerprint, .. } => *fingerprint,
            Self::Unknown => 0,
        }
    }
}

/// The source's catalog as one reading found it.
#[derive(Debug, Clone)]
pub struct CatalogFacts {
    /// Grows with each change; part of the key of cached analyses.
    pub generation: u64,
    /// The frozen schema.
    pub contract: Arc<Contract>,
    /// Every relation that a name can mean: schema, relation, OID.
    pub relations: HashMap<String, HashMap<String, u32>>,
    /// Tables, views and the like that can be written to, by OID.
    pub tables: HashMap<u32, TableFacts>,
    /// Names of volatile functions (and of operators on them) that are not built in.
    pub functions: HashSet<String>,
    /// Names of views and types that call one of `functions` wherever they are named.
    pub calling_relations: HashSet<String>,
    /// Per role the tables in the contract whose every column it may read.
    pub readable: HashMap<String, HashSet<u32>>,
}

impl CatalogFacts {
    /// What is known before the catalog was read: nothing, so nothing is captured.
    pub fn unknown() -> Self {
        Self {
            generation: 0,
            contract: Arc::new(Contract {
                version: 0,
                tables: Vec::new(),
            }),
            relations: HashMap::new(),
            tables: HashMap::new(),
            functions: HashSet::new(),
            calling_relations: HashSet::new(),
            readable: HashMap::new(),
        }
    }

    /// Whether anything has been read.
    pub const fn is_known(&self) -> bool {
        self.generation > 0
    }

    /// The relation of this schema and name.
    pub fn find(&self, schema: &str, relation: &str) -> Option<u32> {
        self.relations.get(schema)?.get(relation).copied()
    }

    /// Whether the name of this table is in every schema that has it that of a table which shows the
    /// rows that are written to it as its own: of no view, and of nothing with rules.
    pub fn is_table_everywhere(&self, oid: u32) -> bool {
        let Some(table) = self.tables.get(&oid) else {
            return false;
        };
        let shows_rows = |oid: &u32| {
            let found = self.tables.get(oid).map(|it| it.obstacle);
            found.is_some_and(|it| !matches!(it, Some(DeferReason::View | DeferReason::Rules)))
        };
        let mut same = self
            .relations
            .values()
            .filter_map(|it| it.get(&table.relation));
        same.all(shows_rows)
    }

    /// What the bare name means under `search_path`: the first schema that has it wins. Nothing if
    /// that is the session's temporary schema.
    pub fn resolve(
        &self,
        relation: &str,
        search_path: &[String],
        is_temporary: bool,
    ) -> Option<u32> {
        for schema in search_path {
            if is_temporary && schema.starts_with("pg_temp") {
                return None;
            }
            if let Some(oid) = self.find(schema, relation) {
                return Some(oid);
            }
        }
        None
    }
}

/// One relation that can be written to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableFacts {
    /// Its name, unquoted; a reference without an alias goes by it.
    pub relation: String,
    /// Its place in the contract; a leaf partition's is its root's.
    pub table: Option<TableIndex>,
    /// Its columns in the order of `*`, generated ones included.
    pub columns: Vec<ColumnFacts>,
    /// Names of the contract's key columns.
    pub key: Vec<String>,
    /// Why its rows are never captured, if so.
    pub obstacle: Option<DeferReason>,
}

/// One column of a relation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ColumnFacts {
    /// Its name, unquoted.
    pub name: String,
    /// Its type.
    pub type_oid: u32,
    /// Whether its values may be so large that the record has to be measured before it is made.
    pub wide: bool,
    /// Its place among the contract table's columns; `None` for a column that is not carried.
    pub place: Option<usize>,
}
