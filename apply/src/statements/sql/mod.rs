//! The text of the statements. Names are always quoted, operators and types always qualified: the
//! search path of a target session holds `pg_catalog` only.

mod findings;

use protocol::contract::{Form, KeyForm, Table, quote_identifier};

use super::{Statement, WriteError};
use crate::connection::Format;

/// The key columns of all tables, with the type as it has to be cast to and the equality of the
/// unique index: `=` of an extension's type would not be found, or another one would.
pub(super) const KEY_COLUMNS: &str = "\
WITH columns AS MATERIALIZED (
    SELECT n.nspname, c.relname, a.attname,
           quote_ident(tn.nspname) || '.' || quote_ident(t.typname) AS type, k.opclass
    FROM pg_index i
    JOIN pg_class c ON c.oid = i.indrelid AND c.relkind IN ('r', 'p')
    JOIN pg_namespace n ON n.oid = c.relnamespace
                       AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'segue')
                       AND n.nspname NOT LIKE 'pg\\_toast%' AND n.nspname NOT LIKE 'pg\\_temp%'
    CROSS JOIN LATERAL unnest(i.indkey::int2[], i.indclass::oid[])
                       WITH ORDINALITY AS k(attnum, opclass, place)
    JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.attnum
    JOIN pg_type t ON t.oid = a.atttypid
    JOIN pg_namespace tn ON tn.oid = t.typnamespace
    WHERE i.indisunique AND i.indimmediate AND i.indisvalid
      AND i.indpred IS NULL AND i.indexprs IS NULL AND k.place <= i.indnkeyatts
), equality AS MATERIALIZED (
    SELECT oc.oid AS opclass, oc.opcdefault,
           'OPERATOR(' || quote_ident(opn.nspname) || '.' || op.oprname || ')' AS operator
    FROM pg_opclass oc
    JOIN pg_amop ao ON ao.amopfamily = oc.opcfamily AND ao.amopstrategy = 3
                   AND ao.amoplefttype = oc.opcintype AND ao.amoprighttype = oc.opcintype
    JOIN pg_operator op ON op.oid = ao.amopopr
    JOIN pg_namespace opn ON opn.oid = op.oprnamespace
)
SELECT c.nspname, c.relname, c.attname, c.type, e.operator
FROM columns c JOIN equality e ON e.opclass = c.opclass
ORDER BY e.opcdefault DESC";

/// A row of [`KEY_COLUMNS`].
pub(super) struct KeyColumn {
    pub(super) schema: String,
    pub(super) relation: String,
    pub(super) column: String,
    pub(super) type_name: String,
    pub(super) operator: String,
}

/// A table and what its statements are made of.
#[derive(Debug)]
pub(super) struct TableSql {
    pub(super) table: Table,
    /// `"schema"."relation"`.
    name: String,
    /// `"a", "b"`: all columns.
    columns: String,
    /// For each key column: its quoted name, the equality, its type.
    key: Vec<(String, String, String)>,
}

impl TableSql {
    pub(super) fn new(table: Table, found: &[&KeyColumn]) -> Result<Self, WriteError> {
        let key = table.key.iter().map(|place| {
            let column = table.columns.get(*place).map_or("", |column| &column.name);
            let mut matching = found.iter().filter(|key| {
                key.schema == table.schema && key.relation == table.relation && key.column == column
            });
            let key = matching.next().ok_or_else(|| WriteError::KeyLost {
                table: table.name.clone(),
                column: column.to_owned(),
            })?;
            Ok((
                quote_identifier(column),
                key.operator.clone(),
                key.type_name.clone(),
            ))
        });
        let key = key.collect::<Result<_, WriteError>>()?;
        let columns = table.columns.iter();
        let columns: Vec<_> = columns
            .map(|column| quote_identifier(&column.name))
            .collect();
        Ok(Self {
            name: format!(
                "{}.{}",
                quote_identifier(&table.schema),
                quote_identifier(&table.relation)
            ),
            columns: columns.join(", "),
            key,
            table,
        })
    }

    pub(super) fn text(&self, statement: Statement) -> String {
        let (name, columns) = (&self.name, &self.columns);
        match statement {
            Statement::Select(_) => {
                format!("SELECT {columns} FROM {name} WHERE {}", self.with_key(1))
            }
            Statement::Delete(_) => format!("DELETE FROM {name} WHERE {}", self.with_key(1)),
            Statement::Upsert(_) => self.upsert(),
            Statement::Note(_) => self.note(),
            Statement::Complete(_) => self.complete(),
            Statement::Propose(_) => self.propose(),
        }
    }

    /// An insert that becomes an update where the key is there. Columns whose equality is equality
    /// of bytes need no update in the key; that spares identity columns, which refuse one.
    fn upsert(&self) -> String {
        let parameters: Vec<_> = (1..=self.table.columns.len())
            .map(|number| format!("${number}"))
            .collect();
        let key: Vec<_> = self
            .key
            .iter()
            .map(|(column, ..)| column.as_str())
            .collect();
        let updated = self.updated_columns();
        let updated: Vec<_> = updated
            .iter()
            .map(|column| format!("{column} = excluded.{column}"))
            .collect();
        let action = match updated.as_slice() {
            [] => "DO NOTHING".to_owned(),
            updated => format!("DO UPDATE SET {}", updated.join(", ")),
        };
        format!(
            "INSERT INTO {} AS held ({}) OVERRIDING SYSTEM VALUE VALUES ({}) ON CONFLICT ({}) {action}",
            self.name,
            self.columns,
            parameters.join(", "),
            key.join(", "),
        )
    }

    /// The equality of each key column, in index order.
    pub(super) fn key_operators(&self) -> impl Iterator<Item = &str> {
        self.key.iter().map(|(_, operator, _)| operator.as_str())
    }

    /// What an update of all columns sets, quoted.
    pub(super) fn updated_columns(&self) -> Vec<String> {
        let places = 0..self.table.columns.len();
        let places = places.filter(|place| !self.is_fixed(*place));
        places.map(|place| self.column(place)).collect()
    }

    /// An update of the columns at `known`, whose values are the first parameters; the key follows.
    /// Every column given is used, so that none is left without a type.
    pub(super) fn update(&self, known: &[usize]) -> String {
        let columns = known.iter().zip(1..);
        let updated: Vec<_> = columns
            .map(|(place, number)| format!("{} = ${number}", self.column(*place)))
            .collect();
        format!(
            "UPDATE {} SET {} WHERE {}",
            self.name,
            updated.join(", "),
            self.with_key(known.len() + 1)
        )
    }

    /// `"a" OPERATOR(pg_catalog.=) $1::pg_catalog.int4 AND …`, parameters counted from `first`.
    pub(super) fn with_key(&self, first: usize) -> String {
        let key = self.key.iter().zip(first..);
        let tests: Vec<_> = key
            .map(|((column, operator, type_name), number)| {
                format!("{column} {operator} ${number}::{type_name}")
            })
            .collect();
        tests.join(" AND ")
    }

    /// Whether the column at `place` is in the key and equal means the same bytes.
    pub(super) fn is_fixed(&self, place: usize) -> bool {
        let column = self.table.columns.get(place);
        let by_bytes = column.is_some_and(|column| column.key_form == KeyForm::Bytes);
        by_bytes && self.table.key.contains(&place)
    }

    fn column(&self, place: usize) -> String {
        let column = self.table.columns.get(place);
        quote_identifier(column.map_or("", |column| &column.name))
    }

    pub(super) fn result_formats(&self) -> Vec<Format> {
        let forms = self.table.columns.iter().map(|column| &column.form);
        forms
            .map(|form| match form {
                Form::Text => Format::Text,
                Form::Plain | Form::Array { .. } | Form::Composite { .. } => Format::Binary,
            })
            .collect()
    }

    /// The forms of the key columns, in index order.
    pub(super) fn key_forms(&self) -> impl Iterator<Item = &Form> {
        let columns = self.table.key.iter();
        let columns = columns.filter_map(|place| self.table.columns.get(*place));
        columns.map(|column| &column.form)
    }
}

#[cfg(test)]
mod tests;
