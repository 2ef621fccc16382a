//! Two databases, row by row.
//!
//! Takes the tables with a primary key of the source, reads both sides as text ordered by key and
//! names what differs. Does not lock: both sides have to be at rest.

use std::{collections::BTreeMap, fmt};

use anyhow::{Context, Result};
use tokio_postgres::Client;

use crate::database::Database;

/// So many differences are spelled out in a message.
const SHOWN_MAX: usize = 20;

/// Under which names are written in full.
const FIXED_PATH: &str = "SET search_path = pg_catalog";
/// The path that tables are usually made under.
const USUAL_PATH: &str = "SET search_path = public";

/// What the two sides hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Comparison {
    /// Table by table, by name.
    pub tables: Vec<TableComparison>,
}

/// One table.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TableComparison {
    /// `schema.table`, quoted where it must be.
    pub table: String,
    /// Rows at the source.
    pub source_count: usize,
    /// Rows at the target.
    pub target_count: usize,
    /// Sum of the rows' hashes at the source.
    pub source_checksum: String,
    /// Sum of the rows' hashes at the target.
    pub target_checksum: String,
    /// What differs.
    pub differences: Vec<Difference>,
    /// Why it could not be read.
    pub unread: Option<String>,
}

/// One row that is not the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Its key.
    pub key: Vec<Option<String>>,
    /// How it differs.
    pub how: How,
}

/// How a row differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum How {
    /// Only the source has it.
    Missing,
    /// Only the target has it.
    Extra,
    /// Column, source's text, target's text.
    Columns(Vec<(String, Option<String>, Option<String>)>),
}

impl Comparison {
    /// Whether every row, count and checksum is the same.
    pub fn is_equal(&self) -> bool {
        self.tables.iter().all(TableComparison::is_equal)
    }

    /// Fails with the differences spelled out.
    pub fn expect_equal(&self) -> Result<()> {
        anyhow::ensure!(self.is_equal(), "the two sides differ:\n{self}");
        Ok(())
    }
}

impl TableComparison {
    /// Whether its rows, count and checksum are the same.
    pub fn is_equal(&self) -> bool {
        self.unread.is_none()
            && self.differences.is_empty()
            && self.source_count == self.target_count
            && self.source_checksum == self.target_checksum
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.tables
            .iter()
            .try_for_each(|table| write!(f, "{table}"))
    }
}

impl fmt::Display for TableComparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{}: {} rows, checksum {} / {} rows, checksum {}: {}",
            self.table,
            self.source_count,
            self.source_checksum,
            self.target_count,
            self.target_checksum,
            if self.is_equal() {
                "equal"
            } else {
                "DIFFERENT"
            },
        )?;
        if let Some(error) = &self.unread {
            writeln!(f, "  not read: {error}")?;
        }
        for difference in self.differences.iter().take(SHOWN_MAX) {
            writeln!(f, "  {:?}: {:?}", difference.key, difference.how)?;
        }
        let hidden = self.differences.len().saturating_sub(SHOWN_MAX);
        if hidden > 0 {
            writeln!(f, "  and {hidden} more")?;
        }
        Ok(())
    }
}

/// Compares all tables with a primary key outside the `segue` schema.
pub async fn compare(source: &Database, target: &Database) -> Result<Comparison> {
    compare_where(source, target, |_| true).await
}

/// Compares those of them that are wanted, by name.
pub async fn compare_where(
    source: &Database,
    target: &Database,
    is_wanted: impl Fn(&str) -> bool,
) -> Result<Comparison> {
    let source = reader(source).await?;
    let target = reader(target).await?;
    let mut tables = Vec::new();
    for shape in shapes(&source).await? {
        if is_wanted(&shape.table) {
            tables.push(compare_table(&source, &target, shape).await?);
        }
    }
    Ok(Comparison { tables })
}

async fn reader(database: &Database) -> Result<Client> {
    let client = database.connect().await?;
    let fixed = "SET timezone = 'UTC'; SET datestyle = 'ISO'; SET intervalstyle = 'postgres'; \
                 SET bytea_output = 'hex'; SET extra_float_digits = 1";
    client
        .batch_execute(&format!("{fixed}; {FIXED_PATH}"))
        .await?;
    Ok(client)
}

struct Shape {
    table: String,
    owner: String,
    columns: Vec<String>,
    key: Vec<String>,
}

async fn shapes(source: &Client) -> Result<Vec<Shape>> {
    let sql = "
        SELECT format('%I.%I', n.nspname, c.relname),
               array_agg(a.attname::text ORDER BY a.attnum),
               array_agg(a.attname::text ORDER BY array_position(i.indkey::int2[], a.attnum))
                   FILTER (WHERE a.attnum = ANY (i.indkey)),
               format('%I', pg_get_userbyid(c.relowner))
        FROM pg_class c
        JOIN pg_namespace n ON n.oid = c.relnamespace
        JOIN pg_index i ON i.indrelid = c.oid AND i.indisprimary
        JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
        WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition
          AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'segue')
          AND c.relpersistence = 'p'
        GROUP BY n.nspname, c.relname, c.relowner ORDER BY 1";
    let rows = source.query(sql, &[]).await?;
    Ok(rows
        .iter()
        .map(|row| Shape {
            table: row.get(0),
            columns: row.get(1),
            key: row.get(2),
            owner: row.get(3),
        })
        .collect())
}

type Rows = BTreeMap<Vec<Option<String>>, Vec<Option<String>>>;

async fn compare_table(source: &Client, target: &Client, shape: Shape) -> Result<TableComparison> {
    // A function in an index can refuse to be called by anyone but the table's owner, or need the
    // search path that it was made under.
    let is_awkward = rows(source, &shape).await.is_err();
    if is_awkward {
        let become_owner = format!("SET ROLE {}; {USUAL_PATH}", shape.owner);
        source.batch_execute(&become_owner).await?;
        target.batch_execute(USUAL_PATH).await?;
    }
    let compared = compare_rows(source, target, &shape).await;
    if is_awkward {
        let back = format!("RESET ROLE; {FIXED_PATH}");
        source.batch_execute(&back).await?;
        target.batch_execute(FIXED_PATH).await?;
    }
    Ok(compared.unwrap_or_else(|error| TableComparison {
        table: shape.table,
        unread: Some(format!("{error:#}")),
        ..TableComparison::default()
    }))
}

async fn compare_rows(source: &Client, target: &Client, shape: &Shape) -> Result<TableComparison> {
    let (source_rows, target_rows) = (rows(source, shape).await?, rows(target, shape).await?);
    Ok(TableComparison {
        source_count: source_rows.len(),
        target_count: target_rows.len(),
        source_checksum: checksum(source, shape).await?,
        target_checksum: checksum(target, shape).await?,
        differences: differences(shape, &source_rows, &target_rows),
        table: shape.table.clone(),
        unread: None,
    })
}

fn texts(columns: &[String]) -> String {
    let quoted = columns
        .iter()
        // Columns of different collations have none together.
        .map(|name| format!("\"{}\"::text COLLATE \"C\"", name.replace('"', "\"\"")));
    format!("ARRAY[{}]", quoted.collect::<Vec<_>>().join(", "))
}

/// The same as bytes: a `"char"` can be half a character, which no client takes for text.
fn bytes(columns: &[String]) -> String {
    let texts = texts(columns);
    format!(
        "(SELECT array_agg(textsend(one) ORDER BY place) FROM unnest({texts}) WITH ORDINALITY x(one, place))"
    )
}

fn readable(columns: Vec<Option<Vec<u8>>>) -> Vec<Option<String>> {
    let readable = |bytes: Vec<u8>| {
        String::from_utf8(bytes).unwrap_or_else(|it| it.as_bytes().escape_ascii().to_string())
    };
    columns.into_iter().map(|it| it.map(readable)).collect()
}

async fn rows(client: &Client, shape: &Shape) -> Result<Rows> {
    let sql = format!(
        "SELECT {}, {} FROM {}",
        bytes(&shape.key),
        bytes(&shape.columns),
        shape.table
    );
    let mut rows = Rows::new();
    for row in client.query(&sql, &[]).await.context(sql.clone())? {
        let [key, columns] = [0, 1].map(|place| row.try_get(place).map(readable));
        rows.insert(key.with_context(|| sql.clone())?, columns?);
    }
    Ok(rows)
}

async fn checksum(client: &Client, shape: &Shape) -> Result<String> {
    let sql = format!(
        "SELECT coalesce(sum(hashtextextended({}::text, 0)::numeric), 0)::text FROM {}",
        texts(&shape.columns),
        shape.table
    );
    Ok(client.query_one(&sql, &[]).await.context(sql)?.get(0))
}

fn differences(shape: &Shape, source: &Rows, target: &Rows) -> Vec<Difference> {
    let mut differences = Vec::new();
    for (key, here) in source {
        let how = match target.get(key) {
            None => How::Missing,
            Some(there) if there == here => continue,
            Some(there) => How::Columns(
                shape
                    .columns
                    .iter()
                    .zip(here.iter().zip(there))
                    .filter(|(_, (here, there))| here != there)
                    .map(|(name, (here, there))| (name.clone(), here.clone(), there.clone()))
                    .collect(),
            ),
        };
        differences.push(Difference {
            key: key.clone(),
            how,
        });
    }
    let extra = target.keys().filter(|key| !source.contains_key(*key));
    differences.extend(extra.map(|key| Difference {
        key: key.clone(),
        how: How::Extra,
    }));
    differences
}
