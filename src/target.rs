//! The target, for those who only look: through a session that is opened when it is needed and again
//! when lost, or through the endpoint of somebody who can reach it. Does not ask the source but for
//! its slot, and that only while the reconciler is silent.

use std::time::Duration;

use control::report::{DivergenceDetail, DivergencePage, Page, Report, Since};
use control::status::{SlotFacts, StatusFacts};
use control::{ControlError, Dsn, Side};
use serde::de::DeserializeOwned;
use tokio_postgres::Client;

use crate::api::Api;
use crate::config::duration;
use crate::exit::Failure;
use crate::render::SILENCE_SECONDS;

/// A target that says nothing for this long is as good as gone: who asks wants to know that too.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);

/// The source is only asked what the reconciler does not say.
const SOURCE_TIMEOUT: Duration = Duration::from_secs(3);

/// `invalid_datetime_format` and `datetime_field_overflow`.
const BAD_TIMES: [&str; 2] = ["22007", "22008"];

/// Where the facts are.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "a process has one, which does not move"
)]
pub(crate) enum Target {
    /// In the target's `segue` schema.
    Database {
        /// Which.
        dsn: Dsn,
        /// The session, while there is one.
        client: Option<Client>,
        /// Who is asked about the slot when the reconciler says nothing.
        source: Option<Dsn>,
    },
    /// Behind the endpoint of somebody who can reach it.
    Api(Api),
}

impl Target {
    /// The target at `dsn`, of `source` where that is known; does not connect yet.
    pub(crate) fn new(dsn: &Dsn, source: Option<&Dsn>) -> Self {
        Self::Database {
            dsn: dsn.clone(),
            client: None,
            source: source.cloned(),
        }
    }

    /// The state of the migration.
    pub(crate) async fn status(&mut self) -> Result<StatusFacts, Failure> {
        match self {
            Self::Database {
                dsn,
                client,
                source,
            } => {
                let mut facts = ask(dsn, client, async |client| {
                    control::status::read(client).await
                })
                .await?;
                if facts.reconciler.is_silent(SILENCE_SECONDS.into())
                    && let Some(slot) = slot(source.as_ref()).await
                {
                    facts.know_slot(slot);
                }
                Ok(facts)
            }
            Self::Api(api) => fetch(api, "/status").await?.ok_or_else(|| no_target(api)),
        }
    }

    /// The divergence report.
    pub(crate) async fn report(&mut self, since: Option<&str>) -> Result<Report, Failure> {
        match self {
            Self::Database { dsn, client, .. } => {
                let since = self::since(since);
                ask(dsn, client, async |client| {
                    control::report::read(client, &since).await
                })
                .await
            }
            Self::Api(api) => {
                let path = match since {
                    Some(since) => format!("/report?since={}", url_part(since)),
                    None => "/report".to_owned(),
                };
                fetch(api, &path).await?.ok_or_else(|| no_target(api))
            }
        }
    }

    /// Some divergences in the order of their numbers.
    pub(crate) async fn page(&mut self, wanted: &Page) -> Result<DivergencePage, Failure> {
        match self {
            Self::Database { dsn, client, .. } => {
                ask(dsn, client, async |client| {
                    control::report::page(client, wanted).await
                })
                .await
            }
            Self::Api(api) => fetch(api, &page_path(wanted))
                .await?
                .ok_or_else(|| no_target(api)),
        }
    }

    /// One divergence; none if there is no such number.
    pub(crate) async fn divergence(
        &mut self,
        id: i64,
    ) -> Result<Option<DivergenceDetail>, Failure> {
        match self {
            Self::Database { dsn, client, .. } => {
                ask(dsn, client, async |client| {
                    control::report::show(client, id).await
                })
                .await
            }
            Self::Api(api) => fetch(api, &format!("/report/{id}")).await,
        }
    }
}

/// What the source says of the slot, if it can be asked: it is more than was asked for.
async fn slot(source: Option<&Dsn>) -> Option<SlotFacts> {
    let source = source?;
    let asked = tokio::time::timeout(SOURCE_TIMEOUT, async {
        let client = control::connect(source, Side::Source, "segue status")
            .await
            .ok()?;
        let slot = control::names(source.database()).slot;
        control::status::read_slot(&client, &slot).await.ok()
    });
    asked.await.ok().flatten()
}

/// The session is kept only if the question was answered, so that the next one begins afresh after
/// any trouble.
async fn ask<T>(
    dsn: &Dsn,
    session: &mut Option<Client>,
    question: impl AsyncFnOnce(&mut Client) -> Result<T, ControlError>,
) -> Result<T, Failure> {
    let answer = tokio::time::timeout(ANSWER_TIMEOUT, async {
        let kept = session.take().filter(|client| !client.is_closed());
        let mut client = match kept {
            Some(client) => client,
            None => control::connect(dsn, Side::Target, "segue status").await?,
        };
        let answer = question(&mut client).await?;
        *session = Some(client);
        Ok(answer)
    });
    match answer.await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(failure(&error)),
        Err(_) => Err(no_answer(&format!("the target at {}", dsn.server()))),
    }
}

async fn fetch<T: DeserializeOwned>(api: &Api, path: &str) -> Result<Option<T>, Failure> {
    match tokio::time::timeout(ANSWER_TIMEOUT, api.facts(path)).await {
        Ok(facts) => facts,
        Err(_) => Err(no_answer(&format!("the endpoint at {}", api.host()))),
    }
}

fn no_answer(who: &str) -> Failure {
    Failure::failed(format!(
        "{who} does not answer; look at the server and the network between"
    ))
}

fn no_target(api: &Api) -> Failure {
    Failure::failed(format!(
        "the endpoint at {} belongs to a proxy without a target",
        api.host()
    ))
}

/// Where an endpoint has such a page.
fn page_path(page: &Page) -> String {
    let since = match &page.since {
        Since::Beginning => None,
        Since::Time(text) => Some(text.clone()),
        Since::SecondsAgo(seconds) => Some(format!("{:.0}ms", seconds * 1000.0)),
    };
    let wanted = [
        ("state", &page.state),
        ("table", &page.table),
        ("since", &since),
    ];
    let parts = wanted.iter().filter_map(|(name, value)| {
        let value = value.as_deref()?;
        Some(format!("&{name}={}", url_part(value)))
    });
    let parts: String = parts.collect();
    format!(
        "/divergences?after={}&limit={}{parts}",
        page.after, page.limit
    )
}

/// A value as it may stand in a URL.
fn url_part(value: &str) -> String {
    let letter = |byte: u8| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            char::from(byte).to_string()
        } else {
            format!("%{byte:02X}")
        }
    };
    value.bytes().map(letter).collect()
}

/// The only values that a person gives to these questions are times.
fn failure(error: &ControlError) -> Failure {
    if let ControlError::Query {
        sqlstate: Some(sqlstate),
        message,
        ..
    } = error
        && BAD_TIMES.contains(&sqlstate.as_str())
    {
        return Failure::usage(format!(
            "the time cannot be read: {message}; write 2026-11-23T15:00:00Z, or an age such as 2h"
        ));
    }
    Failure::with_code(error, error.exit_code())
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

    #[test]
    fn a_page_is_asked_for_with_everything_that_narrows_it() {
        let mut page = Page {
            since: Since::Beginning,
            state: None,
            table: None,
            after: 17,
            limit: 5,
        };
        assert_eq!(page_path(&page), "/divergences?after=17&limit=5");
        page.since = Since::SecondsAgo(90.0);
        page.state = Some("open".into());
        page.table = Some("public.\"a b\"".into());
        assert_eq!(
            page_path(&page),
            "/divergences?after=17&limit=5&state=open&table=public.%22a%20b%22&since=90000ms"
        );
    }
}
