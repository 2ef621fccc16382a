//! The session that early writes go through.
//!
//! Several groups may be under way at once, each ended by a Sync of its own; the server answers
//! them in order. No BEGIN and no COMMIT is sent: what lies between two Syncs is one
//! transaction, committed at the second, and the absence of an error before its `ReadyForQuery` is
//! the proof. Does not decide which outcome is worth a retry: none is, the stream brings the row.

use std::collections::VecDeque;
use std::sync::Arc;

use control::{Dsn, Names};
use protocol::contract::{Contract, TableIndex};

use super::group::Group;
use super::{Culprit, EarlyOutcome, EarlyRow, EarlyTransaction, EarlyWrite, Refusal, admit};
use crate::connection::{Completion, Connection, ConnectionError, Format};
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
    /// A statement that later groups need. By itself: inside a transaction that is refused it would
    /// be skipped.
    Prepared(Statement),
    /// A group, and the tables of its rows.
    Group {
        group: Group,
        tables: Vec<TableIndex>,
    },
    /// A group that could not be sent.
    Unsendable {
        error: WriteError,
        culprit: Option<Culprit>,
    },
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

    /// Adds a group to what [`Self::flush`] sends; its transactions in the order of their commits,
    /// all of one epoch. One [`Self::outcome`] follows for it.
    pub fn add(&mut self, members: &[&EarlyTransaction]) {
        let group = Group::of(members);
        let awaited = match self.encode(members, &group) {
            Ok(tables) => Awaited::Group { group, tables },
            Err(unsendable) => unsendable,
        };
        self.awaited.push_back(awaited);
    }

    /// Sends what was added. Cancel-safe.
    pub async fn flush(&mut self) -> Result<(), ConnectionError> {
        self.connection.flush().await
    }

    /// The outcome of the oldest group in flight; `None` if there is none. An error means that the
    /// outcome of every group in flight is [`EarlyOutcome::Lost`]. Cancel-safe.
    pub async fn outcome(&mut self) -> Result<Option<EarlyOutcome>, ConnectionError> {
        while let Some(awaited) = self.awaited.front() {
            let completion = match awaited {
                Awaited::Unsendable { .. } => None,
                Awaited::Group { .. } | Awaited::Prepared(_) => {
                    Some(self.connection.completion().await?)
                }
            };
            match (self.awaited.pop_front(), completion) {
                (Some(Awaited::Unsendable { error, culprit }), _) => {
                    return Ok(Some(EarlyOutcome::Failed {
                        sqlstate: state_of(&error).to_owned(),
                        message: error.to_string(),
                        culprit,
                    }));
                }
                (Some(Awaited::Group { group, tables }), Some(completion)) => {
                    return Ok(Some(outcome_of(&group, &tables, completion)));
                }
                (Some(Awaited::Prepared(statement)), Some(completion)) => {
                    if let Some(error) = completion.error {
                        // The transactions that use it fail by themselves and say why.
                        tracing::debug!(%error, ?statement, "statement not prepared");
                        self.statements.forget(statement);
                    }
                }
                (Some(Awaited::Group { .. } | Awaited::Prepared(_)) | None, _) => {}
            }
        }
        Ok(None)
    }

    /// The table's statements are prepared anew when they are needed next: it may not be what it
    /// was.
    pub fn forget_table(&mut self, table: TableIndex) {
        self.statements.forget_table(table);
    }

    /// Writes `groups` and waits for their outcomes, one each, in order. After a
    /// [`EarlyOutcome::Lost`] the session is of no further use. Not cancel-safe.
    pub async fn write(&mut self, groups: &[&[&EarlyTransaction]]) -> Vec<EarlyOutcome> {
        for group in groups {
            self.add(group);
        }
        let mut outcomes = Vec::with_capacity(groups.len());
        let collected = self.collect(&mut outcomes).await;
        if let Err(error) = collected {
            tracing::debug!(%error, "early session lost");
        }
        outcomes.resize(groups.len(), EarlyOutcome::Lost);
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

    /// Writes a group into the connection's buffer, or nothing of it; the tables of its rows.
    fn encode(
        &mut self,
        members: &[&EarlyTransaction],
        group: &Group,
    ) -> Result<Vec<TableIndex>, Awaited> {
        let mut tables = Vec::with_capacity(members.len());
        self.statements.turn();
        for (place, row) in group.rows(members) {
            let prepared = self.prepare(statement_of(row));
            prepared.map_err(|error| Awaited::unsendable(error, place.member(), row))?;
            tables.push(row.key.table());
        }
        let start = self.connection.unsent();
        let encoded = self.encode_rows(members, group);
        match &encoded {
            Ok(()) => self.connection.sync(),
            Err(_) => self.connection.take_back(start),
        }
        encoded.map(|()| tables)
    }

    fn encode_rows(&mut self, members: &[&EarlyTransaction], group: &Group) -> Result<(), Awaited> {
        let arguments = admit::Arguments::new(members, group, &self.contract, self.proxy);
        self.connection
            .execute(ADMIT, &arguments.parameters(), &[Format::Binary])
            .map_err(|error| Awaited::Unsendable {
                error: error.into(),
                culprit: None,
            })?;
        for (place, row) in group.rows(members) {
            let (connection, table) = (&mut self.connection, row.key.table());
            let written = match &row.write {
                EarlyWrite::Upsert(image) => self.statements.upsert(connection, table, image),
                EarlyWrite::Delete => self.statements.delete(connection, &row.key),
            };
            written.map_err(|error| Awaited::unsendable(error, place.member(), row))?;
        }
        Ok(())
    }

    fn prepare(&mut self, statement: Statement) -> Result<(), WriteError> {
        let connection = &mut self.connection;
        if self.statements.prepare_apart(connection, statement)? {
            self.awaited.push_back(Awaited::Prepared(statement));
        }
        Ok(())
    }
}

impl Awaited {
    const fn unsendable(error: WriteError, member: usize, row: &EarlyRow) -> Self {
        Self::Unsendable {
            error,
            culprit: Some(Culprit {
                member,
                table: row.key.table(),
            }),
        }
    }
}

/// What the server would have said; nothing where the row could not be written down.
const fn state_of(error: &WriteError) -> &'static str {
    match error {
        // No unique index for ON CONFLICT.
        WriteError::KeyLost { .. } => "42P10",
        WriteError::Encode(_)
        | WriteError::Value(_)
        | WriteError::Partial { .. }
        | WriteError::UnknownTable => "",
    }
}

const fn statement_of(row: &EarlyRow) -> Statement {
    match &row.write {
        EarlyWrite::Upsert(_) => Statement::Upsert(row.key.table()),
        EarlyWrite::Delete => Statement::Delete(row.key.table()),
    }
}

/// The admission is the first statement of a group, and each of its rows one more: how many of them
/// ran tells which one failed.
fn outcome_of(group: &Group, tables: &[TableIndex], completion: Completion) -> EarlyOutcome {
    let Some(error) = completion.error else {
        return EarlyOutcome::Accepted;
    };
    if let Some(refusal) = Refusal::from_sqlstate(&error.sqlstate) {
        return EarlyOutcome::Refused {
            refusal,
            members: error.detail.as_deref().map(members_of).unwrap_or_default(),
        };
    }
    let row = completion.completed.checked_sub(1);
    let culprit = row.and_then(|row| {
        Some(Culprit {
            member: group.writer_of(row)?.member(),
            table: *tables.get(row)?,
        })
    });
    EarlyOutcome::Failed {
        sqlstate: error.sqlstate,
        message: error.message,
        culprit,
    }
}

/// The detail of a refusal: numbers from 1, with commas between them.
fn members_of(detail: &str) -> Vec<usize> {
    let numbers = detail.split(',').map(|number| number.trim().parse());
    numbers
        .filter_map(|number: Result<usize, _>| number.ok()?.checked_sub(1))
        .collect()
}
