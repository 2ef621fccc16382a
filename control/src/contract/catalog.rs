//! What one side's catalog says of its tables and types. Does not judge it.

use std::collections::BTreeMap;

use bytes::BytesMut;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{IsNull, ToSql, Type, to_sql_checked};
use tokio_postgres::{Client, Row};

use crate::error::ControlError;
use crate::side::Side;

/// One side's tables and types.
#[derive(Debug, Default)]
pub(super) struct Catalog {
    /// By schema and relation, unquoted.
    pub(super) tables: BTreeMap<(String, String), CatalogTable>,
    pub(super) types: BTreeMap<u32, CatalogType>,
}

#[expect(
    clippy::struct_excessive_bools,
    reason = "facts as the catalog states them, each read on its own"
)]
#[derive(Debug)]
pub(super) struct CatalogTable {
    /// Schema and relation, quoted where SQL needs it.
    pub(super) name: String,
    pub(super) kind: Kind,
    pub(super) is_logged: bool,
    /// Has children or parents by plain inheritance.
    pub(super) inherits: bool,
    /// The owner, if the role may not do with the table what its owner may.
    pub(super) other_owner: Option<String>,
    /// The role may read it and write it.
    pub(super) is_writable: bool,
    /// Row-level security hides rows from the role.
    pub(super) is_restricted: bool,
    /// Has triggers or rules that act even in a session of Segue's (`ENABLE ALWAYS` or `REPLICA`).
    pub(super) is_reactive: bool,
    /// Has a rule for UPDATE: PostgreSQL refuses ON CONFLICT beside it, even where it does not act.
    pub(super) is_ruled: bool,
    pub(super) identity: Identity,
    /// What is wrong with one of its leaves, if it is partitioned.
    pub(super) leaf_problem: Option<String>,
    pub(super) columns: Vec<CatalogColumn>,
    pub(super) indexes: Vec<CatalogIndex>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Ordinary,
    Partitioned,
    Foreign,
    View,
}

/// `REPLICA IDENTITY`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Identity {
    Default,
    Index,
    Full,
    Nothing,
}

#[expect(
    clippy::struct_excessive_bools,
    reason = "facts as the catalog states them, each read on its own"
)]
#[derive(Debug, Clone)]
pub(super) struct CatalogColumn {
    pub(super) name: String,
    pub(super) type_oid: u32,
    pub(super) type_name: String,
    pub(super) not_null: bool,
    pub(super) is_generated: bool,
    /// `GENERATED ALWAYS AS IDENTITY`.
    pub(super) is_identity_always: bool,
    /// Its collation finds texts equal only when their bytes are.
    pub(super) is_deterministic: bool,
}

/// A unique index that a row can be found by: valid, immediate, of plain columns and all rows.
#[derive(Debug)]
pub(super) struct CatalogIndex {
    pub(super) is_primary: bool,
    pub(super) is_identity: bool,
    pub(super) columns: Vec<String>,
}

#[derive(Debug)]
pub(super) struct CatalogType {
    /// As `format_type` writes it.
    pub(super) name: String,
    pub(super) shape: Shape,
    pub(super) is_binary: bool,
    /// The server does not receive every value that a server sends.
    pub(super) is_one_way: bool,
}

#[derive(Debug)]
pub(super) enum Shape {
    Base,
    Enum { labels: Vec<String> },
    Domain { base: u32 },
    Array { element: u32 },
    Composite { fields: Vec<(String, u32)> },
    Range { bound: u32 },
}

impl CatalogTable {
    /// The index whose columns are the key, as the stream understands the replica identity.
    pub(super) fn key(&self) -> Option<&CatalogIndex> {
        let mut indexes = self.indexes.iter();
        match self.identity {
            Identity::Default | Identity::Full => indexes.find(|index| index.is_primary),
            Identity::Index => indexes.find(|index| index.is_identity),
            Identity::Nothing => None,
        }
    }

    pub(super) fn column(&self, name: &str) -> Option<&CatalogColumn> {
        self.columns.iter().find(|column| column.name == name)
    }
}

/// Locks no table (`pg_partition_tree` would), and survives one that is dropped meanwhile: the proxy
/// reads it beside clients that change the schema.
const TABLES: &str = "\
SELECT c.oid, n.nspname::text, c.relname::text,
       quote_ident(n.nspname) || '.' || quote_ident(c.relname),
       c.relkind::text, c.relpersistence = 'p', c.relreplident::text,
       EXISTS (SELECT FROM pg_inherits h JOIN pg_class k ON k.oid = h.inhrelid
               WHERE (h.inhparent = c.oid OR h.inhrelid = c.oid) AND NOT k.relispartition),
       CASE WHEN NOT pg_has_role(c.relowner, 'USAGE') THEN c.relowner::regrole::text END,
       coalesce(has_table_privilege(c.oid, 'SELECT') AND has_table_privilege(c.oid, 'INSERT')
       AND has_table_privilege(c.oid, 'UPDATE') AND has_table_privilege(c.oid, 'DELETE')
       AND has_table_privilege(c.oid, 'TRUNCATE'), false),
       (SELECT l.oid::regclass::text || CASE
                   WHEN l.relkind <> 'r' THEN ' is a foreign table'
                   WHEN l.relpersistence <> 'p' THEN ' is unlogged'
                   ELSE ' has another replica identity' END
        FROM (WITH RECURSIVE pieces AS (
                  SELECT inhrelid FROM pg_inherits WHERE inhparent = c.oid
                  UNION ALL
                  SELECT i.inhrelid FROM pieces p JOIN pg_inherits i ON i.inhparent = p.inhrelid)
              SELECT inhrelid FROM pieces) p JOIN pg_class l ON l.oid = p.inhrelid
        WHERE c.relkind = 'p' AND l.relkind <> 'p'
          AND (l.relkind <> 'r' OR l.relpersistence <> 'p'
               OR (l.relreplident <> c.relreplident AND l.relreplident <> 'f'))
        LIMIT 1),
       c.relkind IN ('r', 'p') AND row_security_active(c.oid),
       EXISTS (SELECT FROM pg_trigger t WHERE t.tgrelid = c.oid AND NOT t.tgisinternal
               AND t.tgenabled IN ('A', 'R'))
       OR EXISTS (SELECT FROM pg_rewrite w WHERE w.ev_class = c.oid AND w.ev_type <> '1'
                  AND w.ev_enabled IN ('A', 'R')),
       EXISTS (SELECT FROM pg_rewrite w WHERE w.ev_class = c.oid AND w.ev_type = '2')
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'f', 'v', 'm') AND NOT c.relispartition AND c.relpersistence <> 't'
  AND n.nspname NOT LIKE 'pg\\_%' AND n.nspname NOT IN ('information_schema', 'segue')
  AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass
                  AND d.objid = c.oid AND d.deptype = 'e')
  AND ($1::text[] IS NULL OR quote_ident(n.nspname) || '.' || quote_ident(c.relname) = ANY ($1)
       OR n.nspname || '.' || c.relname = ANY ($1) OR n.nspname = 'public' AND c.relname = ANY ($1))";

const COLUMNS: &str = "\
SELECT a.attrelid, a.attname::text, a.atttypid, format_type(a.atttypid, a.atttypmod), a.attnotnull,
       a.attgenerated <> '', a.attidentity = 'a', coalesce(l.collisdeterministic, true)
FROM pg_attribute a LEFT JOIN pg_collation l ON l.oid = a.attcollation
WHERE a.attrelid = ANY ($1) AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY a.attrelid, a.attnum";

const INDEXES: &str = "\
SELECT i.indrelid, i.indisprimary, i.indisreplident,
       (SELECT array_agg(a.attname::text ORDER BY k.place)
        FROM unnest(i.indkey::int2[]) WITH ORDINALITY AS k(attnum, place)
        JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
        WHERE k.place <= i.indnkeyatts)
FROM pg_index i
WHERE i.indrelid = ANY ($1) AND i.indisunique AND i.indisvalid AND i.indimmediate
  AND i.indpred IS NULL AND i.indexprs IS NULL
ORDER BY i.indrelid, i.indexrelid";

/// Those that columns have, or that these are made of: of a table's own row type there is no need.
const TYPES: &str = "\
WITH RECURSIVE used AS (
    SELECT atttypid AS oid FROM pg_attribute WHERE attrelid >= 16384 AND attnum > 0
    UNION
    SELECT part.oid FROM used JOIN pg_type t ON t.oid = used.oid
    LEFT JOIN pg_range r ON t.oid IN (r.rngtypid, r.rngmultitypid),
    LATERAL (VALUES (t.typelem), (t.typbasetype), (r.rngsubtype)) AS part (oid)
    WHERE part.oid <> 0
)
SELECT t.oid, format_type(t.oid, NULL), t.typtype::text,
       t.typlen = -1 AND t.typelem <> 0 AND t.typcategory = 'A', t.typelem, t.typbasetype,
       coalesce(r.rngsubtype, m.rngsubtype, 0), t.typsend <> 0 AND t.typreceive <> 0, t.typrelid
FROM pg_type t
LEFT JOIN pg_range r ON r.rngtypid = t.oid
LEFT JOIN pg_range m ON m.rngmultitypid = t.oid
WHERE t.typtype <> 'p' AND t.oid IN (SELECT oid FROM used)";

const LABELS: &str = "\
SELECT enumtypid, array_agg(enumlabel::text ORDER BY enumsortorder) FROM pg_enum GROUP BY enumtypid";

const FIELDS: &str = "\
SELECT a.attrelid, a.attname::text, a.atttypid
FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
WHERE c.reltype = ANY ($1) AND c.oid >= 16384 AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY a.attrelid, a.attnum";

/// Reads the catalog through a session of `control::connect`, whose search path names are
/// qualified for: all tables, or those that are `named`.
pub(super) async fn read(
    client: &Client,
    side: Side,
    named: Option<&[String]>,
) -> Result<Catalog, ControlError> {
    let query = async |sql: &str, oids: Option<&Vec<u32>>| {
        let rows = match oids {
            Some(oids) => client.query(sql, &[oids]).await,
            None => client.query(sql, &[]).await,
        };
        rows.map_err(|error| ControlError::query(side, "read the catalog", &error))
    };
    let mut tables: BTreeMap<u32, (String, String, CatalogTable)> = BTreeMap::new();
    let failed = |error| ControlError::query(side, "read the catalog", &error);
    for row in client.query(TABLES, &[&named]).await.map_err(failed)? {
        tables.insert(row.get(0), (row.get(1), row.get(2), table(&row)));
    }
    let oids: Vec<u32> = tables.keys().copied().collect();
    for row in query(COLUMNS, Some(&oids)).await? {
        if let Some((.., table)) = tables.get_mut(&row.get(0)) {
            table.columns.push(column(&row));
        }
    }
    for row in query(INDEXES, Some(&oids)).await? {
        if let Some((.., table)) = tables.get_mut(&row.get(0)) {
            table.indexes.push(CatalogIndex {
                is_primary: row.get(1),
                is_identity: row.get(2),
                columns: row.get(3),
            });
        }
    }
    let mut labels: BTreeMap<u32, Vec<String>> = BTreeMap::new();
    for row in query(LABELS, None).await? {
        labels.insert(row.get(0), row.get(1));
    }
    let mut fields: BTreeMap<u32, Vec<(String, u32)>> = BTreeMap::new();
    let types = query(TYPES, None).await?;
    let composites = types.iter().filter(|row| row.get::<_, &str>(2) == "c");
    let composites: Vec<u32> = composites.map(|row| row.get(0)).collect();
    for row in query(FIELDS, Some(&composites)).await? {
        let list = fields.entry(row.get(0)).or_default();
        list.push((row.get(1), row.get(2)));
    }
    let mut types: BTreeMap<u32, CatalogType> = types
        .iter()
        .map(|row| (row.get(0), data_type(row, &mut labels, &fields)))
        .collect();
    if let (Side::Target, Some(found)) = (side, types.get_mut(&Type::TSQUERY.oid())) {
        found.is_one_way = !takes_empty_query(client).await?;
    }
    Ok(Catalog {
        tables: tables
            .into_values()
            .map(|(schema, relation, table)| ((schema, relation), table))
            .collect(),
        types,
    })
}

/// The `tsquery` without a lexeme, in its send format: it has no nodes.
#[derive(Debug)]
struct EmptyQuery;

impl ToSql for EmptyQuery {
    fn to_sql(
        &self,
        _: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        out.extend_from_slice(&[0; 4]);
        Ok(IsNull::No)
    }

    fn accepts(of: &Type) -> bool {
        *of == Type::TSQUERY
    }

    to_sql_checked!();
}

/// Whether the server receives an empty `tsquery`: 14.24, 16.15, 17.11 and 18.6 do not, and the
/// minor versions before and after do.
async fn takes_empty_query(client: &Client) -> Result<bool, ControlError> {
    let asked = client.query("SELECT $1::pg_catalog.tsquery", &[&EmptyQuery]);
    match asked.await {
        Ok(_) => Ok(true),
        Err(error) if error.code() == Some(&SqlState::INTERNAL_ERROR) => Ok(false),
        Err(error) => Err(ControlError::query(
            Side::Target,
            "try whether it receives a tsquery",
            &error,
        )),
    }
}

fn table(row: &Row) -> CatalogTable {
    CatalogTable {
        name: row.get(3),
        kind: match row.get::<_, &str>(4) {
            "p" => Kind::Partitioned,
            "f" => Kind::Foreign,
            "v" | "m" => Kind::View,
            _ => Kind::Ordinary,
        },
        is_logged: row.get(5),
        identity: match row.get::<_, &str>(6) {
            "i" => Identity::Index,
            "f" => Identity::Full,
            "n" => Identity::Nothing,
            _ => Identity::Default,
        },
        inherits: row.get(7),
        other_owner: row.get(8),
        is_writable: row.get(9),
        leaf_problem: row.get(10),
        is_restricted: row.get(11),
        is_reactive: row.get(12),
        is_ruled: row.get(13),
        columns: Vec::new(),
        indexes: Vec::new(),
    }
}

fn column(row: &Row) -> CatalogColumn {
    CatalogColumn {
        name: row.get(1),
        type_oid: row.get(2),
        type_name: row.get(3),
        not_null: row.get(4),
        is_generated: row.get(5),
        is_identity_always: row.get(6),
        is_deterministic: row.get(7),
    }
}

fn data_type(
    row: &Row,
    labels: &mut BTreeMap<u32, Vec<String>>,
    fields: &BTreeMap<u32, Vec<(String, u32)>>,
) -> CatalogType {
    let oid: u32 = row.get(0);
    let shape = match (row.get::<_, &str>(2), row.get::<_, bool>(3)) {
        ("e", _) => Shape::Enum {
            labels: labels.remove(&oid).unwrap_or_default(),
        },
        ("d", _) => Shape::Domain { base: row.get(5) },
        ("c", _) => Shape::Composite {
            fields: fields.get(&row.get(8)).cloned().unwrap_or_default(),
        },
        ("r" | "m", _) => Shape::Range { bound: row.get(6) },
        (_, true) => Shape::Array {
            element: row.get(4),
        },
        (_, false) => Shape::Base,
    };
    CatalogType {
        name: row.get(1),
        shape,
        is_binary: row.get(7),
        is_one_way: false,
    }
}
