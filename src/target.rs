//! The target, for those who only look: one session, opened when it is needed and again when lost.

use std::time::Duration;

use control::report::{DivergenceDetail, Report, Since};
use control::status::StatusFacts;
use control::{ControlError, Dsn, Side};
use tokio_postgres::Client;

use crate::config::duration;
use crate::exit::Failure;

/// A target that says nothing for this long is as good as gone: who asks wants to know that too.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);

/// Where the facts are.
#[derive(Debug)]
pub(crate) struct Target {
    dsn: Dsn,
    client: Option<Client>,
}

impl Target {
    /// The target at `dsn`; does not connect yet.
    pub(crate) fn new(dsn: &Dsn) -> Self {
        Self {
            dsn: dsn.clone(),
            client: None,
        }
    }

    /// The state of the migration.
    pub(crate) async fn status(&mut self) -> Result<StatusFacts, Failure> {
        self.ask(async |client| control::status::read(client).await)
            .await
    }

    /// The divergence report.
    pub(crate) async fn report(&mut self, since: &Since) -> Result<Report, Failure> {
        self.ask(async |client| control::report::read(client, since).await)
            .await
    }

    /// One divergence.
    pub(crate) async fn divergence(
        &mut self,
        id: i64,
    ) -> Result<Option<DivergenceDetail>, Failure> {
        self.ask(async |client| control::report::show(client, id).await)
            .await
    }

    /// The session is kept only if the question was answered, so that the next one begins afresh
    /// after any trouble.
    async fn ask<T>(
        &mut self,
        question: impl AsyncFnOnce(&mut Client) -> Result<T, ControlError>,
    ) -> Result<T, Failure> {
        let answer = tokio::time::timeout(ANSWER_TIMEOUT, async {
            let kept = self.client.take().filter(|client| !client.is_closed());
            let mut client = match kept {
                Some(client) => client,
                None => control::connect(&self.dsn, Side::Target, "segue status").await?,
            };
            let answer = question(&mut client).await?;
            self.client = Some(client);
            Ok(answer)
        });
        match answer.await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(failure(&error)),
            Err(_) => Err(Failure::failed(format!(
                "the target at {} does not answer; look at the server and the network between",
                self.dsn.server()
            ))),
        }
    }
}

/// The only values that a person gives to these questions are times.
fn failure(error: &ControlError) -> Failure {
    match error {
        ControlError::Query {
            sqlstate: Some(sqlstate),
            message,
            ..
        } if sqlstate == "22007" || sqlstate == "22008" => Failure::usage(format!(
            "the time cannot be read: {message}; write 2026-11-23T15:00:00Z, or an age such as 2h"
        )),
        other => Failure::with_code(other, other.exit_code()),
    }
}

/// From when on a report is wanted: an age, else a time. PostgreSQL says whether it is one.
pub(crate) fn since(text: Option<&str>) -> Since {
    match text {
        None => Since::Beginning,
        Some(text) => match duration(text) {
            Ok(age) => Since::SecondsAgo(age.as_secs_f64()),
            Err(_) => Since::Time(text.to_owned()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn since_takes_an_age_or_a_time() {
        assert_eq!(since(None), Since::Beginning);
        assert_eq!(since(Some("15min")), Since::SecondsAgo(900.0));
        let time = "2026-11-23T15:00:00Z";
        assert_eq!(since(Some(time)), Since::Time(time.into()));
    }
}
