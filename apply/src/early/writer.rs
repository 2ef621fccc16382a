//! The session that early writes go through.
//!
//! Several source transactions may be under way at once, each ended by a Sync of its own; the
//! server answers them in order. No BEGIN and no COMMIT is sent: what lies between two Syncs is one
//! transaction, committed at the second, and the absence of an error before its `ReadyForQuery` is
//! the proof. Does not decide which outcome is worth a retry: none is, the stream brings the row.

use std::collections::VecDeque;
use std::sync::Arc;

use control::{Dsn, Names};
use protocol::contract::Contract;

use super::{EarlyOutcome, EarlyRow, EarlyTransaction, EarlyWrite, Refusal, admit};
use crate::connection::{Connection, ConnectionError, Format, Reply};
use crate::session::{self, SessionError, SessionKind};
use crate::statements::{Statement, Statements, WriteError};

const ADMIT: &str = "admit";

/// A target session for early writes.
#[derive(Debug)]
pub struct EarlyWriter {
    connection: Connection,
    contract: Arc<Contract>,
    statements: Statements,
    proxy: [u8; 16],
    /// What the server still owes an answer to, oldest first.
    awaited: VecDeque<Awaited>,
}

/// One Sync.
#[derive(Debug)]
enum Awaited {
    /// A statement that later transactions need. A group of its own: inside a transaction that is
    /// refused it would be skipped.
    Prepared(Statement),
    /// A transaction.
    Transaction,
    /// A transaction that could not be sent.
    Unsendable(WriteError),
}

impl EarlyWriter {
    /// Opens a session. `proxy` is the id under which this proxy reports.
    pub async fn open(
        dsn: &Dsn,
        names: &Names,
        contract: Arc<Contract>,
        proxy: [u8; 16],
    ) -> Result<Self, SessionError> {
        let mut connection = session::open_target(dsn, names, SessionKind::Early).await?;
        let statements = Statements::load(&mut connection, &contract).await?;
        connection.prepare(ADMIT, admit::SQL)?;
        connection.sync();
        connection.flush().await?;
        match connection.reply().await?.error {
            Some(error) => Err(ConnectionError::server(connection.side(), error).into()),
            None => Ok(Self {
                connection,
                contract,
                statements,
                proxy,
                awaited: VecDeque::new(),
            }),
        }
    }

    /// How many transactions have been added and not answered yet.
    pub fn in_flight(&self) -> usize {
        let transactions = self.awaited.iter();
        transactions
            .filter(|awaited| !matches!(awaited, Awaited::Prepared(_)))
            .count()
    }

    /// Adds a transaction to what [`Self::flush`] sends. One [`Self::outcome`] follows for it.
    pub fn add(&mut self, transaction: &EarlyTransaction) {
        let awaited = match self.encode(transaction) {
            Ok(()) => Awaited::Transaction,
            Err(error) => Awaited::Unsendable(error),
        };
        self.awaited.push_back(awaited);
    }

    /// Sends what was added. Cancel-safe.
    pub async fn flush(&mut self) -> Result<(), ConnectionError> {
        self.connection.flush().await
    }

    /// The outcome of the oldest transaction in flight; `None` if there is none. An error means
    /// that the outcome of every transaction in flight is [`EarlyOutcome::Lost`]. Cancel-safe.
    pub async fn outcome(&mut self) -> Result<Option<EarlyOutcome>, ConnectionError> {
        while let Some(awaited) = self.awaited.front() {
            let reply = match awaited {
                Awaited::Unsendable(_) => None,
                Awaited::Transaction | Awaited::Prepared(_) => Some(self.connection.reply().await?),
            };
            match (self.awaited.pop_front(), reply) {
                (Some(Awaited::Unsendable(error)), _) => {
                    return Ok(Some(EarlyOutcome::Failed {
                        sqlstate: String::new(),
                        message: error.to_string(),
                    }));
                }
                (Some(Awaited::Transaction), Some(reply)) => return Ok(Some(outcome_of(reply))),
                (Some(Awaited::Prepared(statement)), Some(reply)) => {
                    if let Some(error) = reply.error {
                        // The transactions that use it fail by themselves and say why.
                        tracing::warn!(%error, ?statement, "statement not prepared");
                        self.statements.forget(statement);
                    }
                }
                (Some(Awaited::Transaction | Awaited::Prepared(_)) | None, _) => {}
            }
        }
        Ok(None)
    }

    /// Writes `transactions` and waits for their outcomes, one each, in order. After a
    /// [`EarlyOutcome::Lost`] the session is of no further use. Not cancel-safe.
    pub async fn write(&mut self, transactions: &[EarlyTransaction]) -> Vec<EarlyOutcome> {
        for transaction in transactions {
            self.add(transaction);
        }
        let mut outcomes = Vec::with_capacity(transactions.len());
        let collected = self.collect(&mut outcomes).await;
        if let Err(error) = collected {
            tracing::debug!(%error, "early session lost");
        }
        outcomes.resize(transactions.len(), EarlyOutcome::Lost);
        outcomes
    }

    async fn collect(&mut self, outcomes: &mut Vec<EarlyOutcome>) -> Result<(), ConnectionError> {
        self.flush().await?;
        while let Some(outcome) = self.outcome().await? {
            outcomes.push(outcome);
        }
        Ok(())
    }

    /// The connection, for the proxy's own records at the target. Nothing may be in flight.
    pub fn connection(&mut self) -> &mut Connection {
        debug_assert!(self.awaited.is_empty(), "replies would be mistaken");
        &mut self.connection
    }

    /// Ends the session. What is in flight is lost.
    pub async fn close(self) {
        self.connection.close().await;
    }

    fn encode(&mut self, transaction: &EarlyTransaction) -> Result<(), WriteError> {
        for row in &transaction.rows {
            self.prepare(statement_of(row))?;
        }
        let start = self.connection.unsent();
        let encoded = self.encode_rows(transaction);
        match encoded {
            Ok(()) => self.connection.sync(),
            Err(_) => self.connection.take_back(start),
        }
        encoded
    }

    fn encode_rows(&mut self, transaction: &EarlyTransaction) -> Result<(), WriteError> {
        let arguments = admit::Arguments::new(transaction, &self.contract, self.proxy);
        self.connection
            .execute(ADMIT, &arguments.parameters(), &[Format::Binary])?;
        for row in &transaction.rows {
            let table = row.key.table();
            match &row.write {
                EarlyWrite::Upsert(image) => {
                    self.statements.upsert(&mut self.connection, table, image)?;
                }
                EarlyWrite::Delete => self.statements.delete(&mut self.connection, &row.key)?,
            }
        }
        Ok(())
    }

    fn prepare(&mut self, statement: Statement) -> Result<(), WriteError> {
        if self.statements.prepare(&mut self.connection, statement)? {
            self.connection.sync();
            self.awaited.push_back(Awaited::Prepared(statement));
        }
        Ok(())
    }
}

fn statement_of(row: &EarlyRow) -> Statement {
    match row.write {
        EarlyWrite::Upsert(_) => Statement::Upsert(row.key.table()),
        EarlyWrite::Delete => Statement::Delete(row.key.table()),
    }
}

fn outcome_of(reply: Reply) -> EarlyOutcome {
    match reply.error {
        None => EarlyOutcome::Accepted,
        Some(error) => match Refusal::from_sqlstate(&error.sqlstate) {
            Some(refusal) => EarlyOutcome::Refused(refusal),
            None => EarlyOutcome::Failed {
                sqlstate: error.sqlstate,
                message: error.message,
            },
        },
    }
}
