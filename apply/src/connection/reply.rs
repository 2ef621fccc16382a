//! What a server answers to a batch. Does not wait for it.

use bytes::Bytes;
use protocol::reader::{ReadError, Reader};

use super::{ServerError, tag};

/// All that came up to a `ReadyForQuery`.
#[derive(Debug)]
pub struct Reply {
    /// One for each statement that ran, in order; those behind an error are missing.
    pub results: Vec<ResultSet>,
    /// What went wrong. In the extended protocol nothing behind it has run.
    pub error: Option<ServerError>,
    /// Where the session stands now.
    pub status: TransactionStatus,
}

/// What one statement brought.
#[derive(Debug, Default)]
pub struct ResultSet {
    /// Its rows, values as they were sent.
    pub rows: Vec<Vec<Option<Bytes>>>,
    /// Its command tag, such as `UPDATE 1`.
    pub command: String,
}

impl ResultSet {
    /// How many rows the command tag says were touched.
    pub fn affected(&self) -> u64 {
        let count = self.command.rsplit(' ').next();
        count.and_then(|text| text.parse().ok()).unwrap_or(0)
    }
}

/// What came of a batch whose rows nobody looks at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Completion {
    /// How many statements ran; the one behind them is what failed, if anything did.
    pub completed: usize,
    /// What went wrong.
    pub error: Option<ServerError>,
}

/// Where a session stands between two batches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransactionStatus {
    /// In no transaction.
    Idle,
    /// In a transaction block.
    InTransaction,
    /// In a transaction block that has failed.
    Failed,
}

/// The columns of a `DataRow`.
pub fn data_row(body: Bytes) -> Result<Vec<Option<Bytes>>, ReadError> {
    let mut reader = Reader::new(body);
    let count = reader.count16("column count")?;
    let columns = (0..count).map(|_| reader.nullable("column"));
    let columns = columns.collect::<Result<_, _>>()?;
    reader.finish()?;
    Ok(columns)
}

/// Name and value of a `ParameterStatus`.
pub(super) fn parameter(body: Bytes) -> Result<(String, String), ReadError> {
    let mut reader = Reader::new(body);
    let name = reader.utf8("parameter name")?;
    let value = reader.cstr("parameter value")?;
    reader.finish()?;
    Ok((name, String::from_utf8_lossy(&value).into_owned()))
}

pub(super) enum BuildError {
    Unreadable(ReadError),
    Unexpected,
}

impl From<ReadError> for BuildError {
    fn from(error: ReadError) -> Self {
        Self::Unreadable(error)
    }
}

/// A reply under way.
#[derive(Debug, Default)]
pub(super) struct Builder {
    results: Vec<ResultSet>,
    current: ResultSet,
    completed: usize,
    error: Option<ServerError>,
}

impl Builder {
    /// Takes the next frame; the one that ends the reply gives the whole.
    pub(super) fn add(&mut self, tag: u8, body: Bytes) -> Result<Option<Reply>, BuildError> {
        match tag {
            tag::DATA_ROW => self.current.rows.push(data_row(body)?),
            tag::COMMAND_COMPLETE => {
                let command = Reader::new(body).cstr("command tag")?;
                self.current.command = String::from_utf8_lossy(&command).into_owned();
                self.results.push(std::mem::take(&mut self.current));
            }
            tag::EMPTY_QUERY => self.results.push(std::mem::take(&mut self.current)),
            tag::ERROR => {
                self.current = ResultSet::default();
                self.failed(body)?;
            }
            tag::READY => return self.end(body).map(Some),
            // ParseComplete, BindComplete, CloseComplete, ParameterDescription, RowDescription,
            // NoData and the end of a COPY: nothing in them that the asker does not know.
            b'1' | b'2' | b'3' | b't' | b'T' | b'n' | tag::COPY_DONE | tag::COPY_DATA => {}
            _ => return Err(BuildError::Unexpected),
        }
        Ok(None)
    }

    /// Counts a statement whose result nobody looks at.
    pub(super) fn count(&mut self) {
        self.completed += 1;
    }

    /// Keeps the first error, or the one that ends the session.
    fn fail(&mut self, error: ServerError) {
        if self.error.is_none() || error.is_fatal() {
            self.error = Some(error);
        }
    }

    /// Takes the error of a batch whose results nobody looks at.
    pub(super) fn failed(&mut self, body: Bytes) -> Result<(), ReadError> {
        self.fail(ServerError::parse(body)?);
        Ok(())
    }

    /// What was counted, at the `ReadyForQuery` that ends the batch.
    pub(super) fn completion(&mut self) -> Completion {
        Completion {
            completed: std::mem::take(&mut self.completed),
            error: self.error.take(),
        }
    }

    /// The error with which the server ended the session, if it did.
    pub(super) fn last_words(&mut self) -> Option<ServerError> {
        self.error.take().filter(ServerError::is_fatal)
    }

    fn end(&mut self, body: Bytes) -> Result<Reply, BuildError> {
        let mut reader = Reader::new(body);
        let status = match reader.u8("transaction status")? {
            b'I' => TransactionStatus::Idle,
            b'T' => TransactionStatus::InTransaction,
            b'E' => TransactionStatus::Failed,
            other => {
                return Err(BuildError::Unreadable(ReadError::Invalid {
                    field: "transaction status",
                    value: i64::from(other),
                }));
            }
        };
        Ok(Reply {
            results: std::mem::take(&mut self.results),
            error: self.error.take(),
            status,
        })
    }
}
