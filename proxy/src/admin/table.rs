//! What the console answers with: rows under named columns, turned into pgwire's messages.
//!
//! Does not know what the rows say.

use std::sync::Arc;

use pgwire::api::Type;
use pgwire::api::portal::Format;
use pgwire::api::results::{DataRowEncoder, FieldFormat, FieldInfo, QueryResponse};
use pgwire::error::PgWireResult;

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Count,
    Number,
}

impl Kind {
    const fn data_type(self) -> Type {
        match self {
            Self::Text => Type::TEXT,
            Self::Count => Type::INT8,
            Self::Number => Type::FLOAT8,
        }
    }

    const fn size(self) -> i16 {
        match self {
            Self::Text => -1,
            Self::Count | Self::Number => 8,
        }
    }
}

/// Columns: their names and what they hold.
pub(super) type Columns = &'static [(&'static str, Kind)];

/// A value of a row.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    Text(String),
    Count(u64),
    Number(f64),
    Null,
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<u64> for Value {
    fn from(count: u64) -> Self {
        Self::Count(count)
    }
}

impl<T: Into<Self>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

/// Rows under their columns.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Table {
    pub(super) columns: Columns,
    pub(super) rows: Vec<Vec<Value>>,
}

/// The columns as the wire describes them, in the formats that the client asked for.
pub(super) fn fields(columns: Columns, format: Option<&Format>) -> Vec<FieldInfo> {
    let columns = columns.iter().enumerate();
    columns
        .map(|(place, (name, kind))| {
            let format = format_of(format, place);
            FieldInfo::new((*name).to_owned(), None, None, kind.data_type(), format)
                .with_type_size(kind.size())
        })
        .collect()
}

/// A client may name fewer formats than there are columns.
fn format_of(format: Option<&Format>, place: usize) -> FieldFormat {
    match format {
        None | Some(Format::UnifiedText) => FieldFormat::Text,
        Some(Format::UnifiedBinary) => FieldFormat::Binary,
        Some(Format::Individual(codes)) => {
            FieldFormat::from(codes.get(place).copied().unwrap_or_default())
        }
    }
}

impl Table {
    /// The answer to a command that shows.
    pub(super) fn response(self, format: Option<&Format>) -> PgWireResult<QueryResponse> {
        let fields = Arc::new(fields(self.columns, format));
        let mut encoder = DataRowEncoder::new(Arc::clone(&fields));
        let mut rows = Vec::with_capacity(self.rows.len());
        for row in self.rows {
            for value in row {
                match value {
                    Value::Text(text) => encoder.encode_field(&text)?,
                    Value::Count(count) => {
                        encoder.encode_field(&i64::try_from(count).unwrap_or(i64::MAX))?;
                    }
                    Value::Number(number) => encoder.encode_field(&number)?,
                    Value::Null => encoder.encode_field(&None::<String>)?,
                }
            }
            rows.push(Ok(encoder.take_row()));
        }
        let mut response = QueryResponse::new(fields, futures_util::stream::iter(rows));
        response.set_command_tag("SHOW");
        Ok(response)
    }
}
