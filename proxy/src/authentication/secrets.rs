//! The secrets of roles: from the file, else from the source.
//!
//! One task asks the source, over a connection that it opens when it has a question and closes when
//! it has had none for a while; answers are kept for a moment, so that a storm of logins is not one
//! of questions. Does not know what is proved with a secret.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use control::{Dsn, Side};
use protocol::scram::Secret;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tokio_postgres::{Client, Statement};
use tokio_util::sync::CancellationToken;

use super::settings::AuthenticationSettings;

/// How long an answer is kept. That it is an old one shows in the source's salt at every login, and
/// then it is asked for again.
const KEPT: Duration = Duration::from_secs(10);

/// Answers that are kept; all are dropped when there are more.
const KEPT_MAX: usize = 10_000;

/// A source that does not answer is not waited for longer, nor asked again sooner: clients wait.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// The connection is closed when it was not needed for so long.
const IDLE: Duration = Duration::from_mins(1);

/// Questions that may wait: as many as workers can have in a storm.
const QUESTIONS_MAX: usize = 256;

/// Whether an answer may be a few seconds old.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Freshness {
    Cached,
    Now,
}

/// What is known of a role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Lookup {
    /// Its secret.
    Secret(Arc<Secret>),
    /// There is no such role, or it cannot log in by SCRAM.
    Nobody,
    /// Nobody can tell.
    Unavailable,
}

/// Where workers ask.
#[derive(Debug, Clone)]
pub(crate) struct Secrets {
    questions: mpsc::Sender<Question>,
}

#[derive(Debug)]
struct Question {
    role: String,
    query: String,
    freshness: Freshness,
    answer: oneshot::Sender<Lookup>,
}

impl Secrets {
    /// Starts the task; it ends with the token.
    pub(crate) fn start(source: &Dsn, shutdown: CancellationToken) -> Self {
        let (questions, asked) = mpsc::channel(QUESTIONS_MAX);
        let desk = Desk {
            source: source.clone(),
            connection: None,
            kept: HashMap::new(),
            failed_at: None,
        };
        drop(tokio::spawn(async move {
            tokio::select! {
                () = desk.serve(asked) => (),
                () = shutdown.cancelled() => (),
            }
        }));
        Self { questions }
    }

    /// The secret of a role.
    pub(super) async fn of(
        &self,
        role: &str,
        settings: &AuthenticationSettings,
        freshness: Freshness,
    ) -> Lookup {
        // One from the file that turned out to be old is not asked for twice.
        if let (Some(secret), Freshness::Cached) = (settings.file.secret(role), freshness) {
            return Lookup::Secret(Arc::clone(secret));
        }
        let Some(query) = settings.query.text() else {
            return Lookup::Unavailable;
        };
        let (answer, answered) = oneshot::channel();
        let question = Question {
            role: role.to_owned(),
            query: query.to_owned(),
            freshness,
            answer,
        };
        if self.questions.send(question).await.is_err() {
            return Lookup::Unavailable;
        }
        answered.await.unwrap_or(Lookup::Unavailable)
    }
}

/// The task's state.
struct Desk {
    source: Dsn,
    connection: Option<Connection>,
    kept: HashMap<String, (Instant, Lookup)>,
    failed_at: Option<Instant>,
}

/// A connection on which a query has been prepared.
struct Connection {
    client: Client,
    query: String,
    statement: Statement,
}

impl Desk {
    async fn serve(mut self, mut asked: mpsc::Receiver<Question>) {
        loop {
            let question = match tokio::time::timeout(IDLE, asked.recv()).await {
                Ok(Some(question)) => question,
                Ok(None) => return,
                Err(_) => {
                    self.connection = None;
                    continue;
                }
            };
            let answer = self.answer(&question).await;
            // A client that did not wait for it has gone.
            drop(question.answer.send(answer));
        }
    }

    async fn answer(&mut self, question: &Question) -> Lookup {
        let now = Instant::now();
        if question.freshness == Freshness::Cached
            && let Some((since, lookup)) = self.kept.get(&question.role)
            && now.duration_since(*since) < KEPT
        {
            return lookup.clone();
        }
        let failed = self
            .failed_at
            .is_some_and(|at| now.duration_since(at) < ANSWER_TIMEOUT);
        if failed {
            return Lookup::Unavailable;
        }
        let asked = tokio::time::timeout(ANSWER_TIMEOUT, self.ask(question)).await;
        let lookup = match asked {
            Ok(Ok(lookup)) => lookup,
            Ok(Err(why)) => return self.failed(&why),
            Err(_) => return self.failed("no answer in time"),
        };
        if self.kept.len() >= KEPT_MAX {
            self.kept.clear();
        }
        let entry = (now, lookup.clone());
        self.kept.insert(question.role.clone(), entry);
        lookup
    }

    async fn ask(&mut self, question: &Question) -> Result<Lookup, String> {
        let usable = self.connection.take();
        let usable = usable.filter(|it| !it.client.is_closed() && it.query == question.query);
        let connection = match usable {
            Some(connection) => connection,
            None => self.connect(&question.query).await?,
        };
        let Connection {
            client, statement, ..
        } = &connection;
        let row = client.query_opt(statement, &[&question.role]).await;
        let row = row.map_err(|error| control::describe(&error))?;
        self.connection = Some(connection);
        let Some(row) = row else {
            return Ok(Lookup::Nobody);
        };
        let Some(last) = row.len().checked_sub(1) else {
            return Err("auth_query returns no column".to_owned());
        };
        let text = row.try_get::<_, Option<String>>(last);
        let text = text.map_err(|error| format!("auth_query's last column is no text: {error}"))?;
        let secret = text.and_then(|text| Secret::parse(&text).ok());
        Ok(secret.map_or(Lookup::Nobody, |secret| Lookup::Secret(Arc::new(secret))))
    }

    async fn connect(&self, query: &str) -> Result<Connection, String> {
        let client = control::connect(&self.source, Side::Source, "segue proxy secrets").await;
        let client = client.map_err(|error| error.to_string())?;
        let statement = client.prepare(query).await;
        let statement = statement.map_err(|error| control::describe(&error))?;
        Ok(Connection {
            client,
            query: query.to_owned(),
            statement,
        })
    }

    #[cold]
    fn failed(&mut self, why: &str) -> Lookup {
        self.connection = None;
        self.failed_at = Some(Instant::now());
        tracing::warn!(
            "the source's SCRAM secrets cannot be read, so logins over TLS on both sides are \
             without channel binding: {why}; let the role of the source string read pg_authid, or \
             set auth_query or auth_file"
        );
        Lookup::Unavailable
    }
}
