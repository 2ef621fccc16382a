//! pgwire's server API: texts in, answers out.
//!
//! Both protocols come down to [`Commands`]; which is spoken changes the columns' formats only.

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::{Sink, SinkExt};
use pgwire::api::portal::{Format, Portal};
use pgwire::api::query::{ExtendedQueryHandler, SimpleQueryHandler};
use pgwire::api::results::{FieldInfo, Response, Tag};
use pgwire::api::stmt::QueryParser;
use pgwire::api::store::PortalStore;
use pgwire::api::{ClientInfo, ClientPortalStore, Type};
use pgwire::error::{ErrorInfo, PgWireError, PgWireResult};
use pgwire::messages::PgWireBackendMessage;

use super::Console;
use super::command::{Command, CommandError, Courtesy, commands};
use super::perform::{Done, columns, perform};
use super::table::fields;

/// Who answers at one console.
#[derive(Debug, Clone)]
pub(super) struct Handler {
    pub(super) console: Arc<Console>,
    /// For the log: who asks.
    pub(super) visitor: Arc<str>,
}

/// Turns texts into commands for the extended protocol.
#[derive(Debug)]
pub(super) struct Parser;

/// What is said to a text that is no command.
fn refusal(error: &CommandError) -> ErrorInfo {
    let mut info = ErrorInfo::new("ERROR".to_owned(), "42601".to_owned(), error.to_string());
    info.hint = Some("HELP lists the commands of this console.".to_owned());
    info
}

impl From<CommandError> for PgWireError {
    fn from(error: CommandError) -> Self {
        Self::UserError(Box::new(refusal(&error)))
    }
}

fn courtesy(courtesy: Courtesy) -> Response {
    match courtesy {
        Courtesy::Begin => Response::TransactionStart(Tag::new("BEGIN")),
        Courtesy::Commit => Response::TransactionEnd(Tag::new("COMMIT")),
        Courtesy::Rollback => Response::TransactionEnd(Tag::new("ROLLBACK")),
        Courtesy::Set => Response::Execution(Tag::new("SET")),
        Courtesy::Discard => Response::Execution(Tag::new("DISCARD")),
    }
}

impl Handler {
    async fn answer<C>(
        &self,
        client: &mut C,
        command: &Command,
        format: Option<&Format>,
    ) -> PgWireResult<Response>
    where
        C: Sink<PgWireBackendMessage> + Unpin + Send,
        PgWireError: From<C::Error>,
    {
        if let Command::Courtesy(it) = command {
            return Ok(courtesy(*it));
        }
        match perform(&self.console, command, &self.visitor).await {
            Ok(Done {
                table: Some(table), ..
            }) => Ok(Response::Query(table.response(format)?)),
            Ok(Done { tag, notices, .. }) => {
                for notice in notices {
                    let info = ErrorInfo::new("NOTICE".to_owned(), "00000".to_owned(), notice);
                    let notice = PgWireBackendMessage::NoticeResponse(info.into());
                    client.feed(notice).await?;
                }
                Ok(Response::Execution(Tag::new(tag)))
            }
            Err(refused) => Err(PgWireError::UserError(Box::new(refused.into()))),
        }
    }
}

#[async_trait]
impl SimpleQueryHandler for Handler {
    async fn do_query<C>(&self, client: &mut C, query: &str) -> PgWireResult<Vec<Response>>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let (commands, mistake) = commands(query);
        let mut responses = Vec::with_capacity(commands.len() + 1);
        // What comes behind an error is not carried out, as in PostgreSQL.
        for command in &commands {
            match self.answer(client, command, None).await {
                Ok(response) => responses.push(response),
                Err(error) => {
                    responses.push(Response::Error(Box::new(error.into())));
                    return Ok(responses);
                }
            }
        }
        if let Some(mistake) = mistake {
            responses.push(Response::Error(Box::new(refusal(&mistake))));
        }
        if responses.is_empty() {
            responses.push(Response::EmptyQuery);
        }
        Ok(responses)
    }
}

#[async_trait]
impl ExtendedQueryHandler for Handler {
    type Statement = Command;
    type QueryParser = Parser;

    fn query_parser(&self) -> Arc<Parser> {
        Arc::new(Parser)
    }

    async fn do_query<C>(
        &self,
        client: &mut C,
        portal: &Portal<Command>,
        _max_rows: usize,
    ) -> PgWireResult<Response>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore<Statement = Command>,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let format = Some(&portal.result_column_format);
        self.answer(client, &portal.statement.statement, format)
            .await
    }
}

#[async_trait]
impl QueryParser for Parser {
    type Statement = Command;

    async fn parse_sql<C>(
        &self,
        _client: &C,
        sql: &str,
        _types: &[Option<Type>],
    ) -> PgWireResult<Option<Command>>
    where
        C: ClientInfo + Unpin + Send + Sync,
    {
        let (mut commands, mistake) = commands(sql);
        if let Some(mistake) = mistake {
            return Err(mistake.into());
        }
        if commands.len() > 1 {
            return Err(CommandError::Arguments {
                command: "a prepared statement",
                takes: "one command",
            }
            .into());
        }
        Ok(commands.pop())
    }

    fn get_parameter_types(&self, _command: &Command) -> PgWireResult<Vec<Type>> {
        Ok(Vec::new())
    }

    fn get_result_schema(
        &self,
        command: &Command,
        format: Option<&Format>,
    ) -> PgWireResult<Vec<FieldInfo>> {
        Ok(columns(command).map_or_else(Vec::new, |columns| fields(columns, format)))
    }
}
