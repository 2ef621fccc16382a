//! The HTTP endpoint: metrics, health, and the same facts as `segue status` and `segue report`.
//!
//! Reads only; nothing can be changed through it. On loopback it answers everybody on the machine,
//! but no page in a browser that found its way there by a name of its own; elsewhere it answers
//! holders of the token.

use std::net::IpAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, RawQuery, Request, State};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use control::Password;
use control::report::{Report, Sample};
use metrics_exporter_prometheus::PrometheusHandle;
use serde::Serialize;
use tokio::net::TcpListener;
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use super::Readiness;
use super::query::Query;
use crate::exit::{Exit, Failure};
use crate::target::Target;

/// What can be asked for.
pub(super) struct Facts {
    pub(super) recorder: PrometheusHandle,
    pub(super) readiness: Arc<Readiness>,
    /// One session for all who ask, so that a crowd of them costs the target no more than one.
    pub(super) target: Option<Mutex<Target>>,
    pub(super) token: Option<Password>,
}

/// Answers until it is cancelled.
pub(super) async fn serve(listener: TcpListener, facts: Arc<Facts>, closing: CancellationToken) {
    let answered =
        axum::serve(listener, router(facts)).with_graceful_shutdown(closing.cancelled_owned());
    if let Err(error) = answered.await {
        tracing::error!("the endpoint for metrics and health ended: {error}");
    }
}

pub(super) fn router(facts: Arc<Facts>) -> Router {
    let guarded = Router::new()
        .route("/metrics", get(metrics))
        .route("/status", get(status))
        .route("/report", get(report))
        .route("/report/{id}", get(divergence))
        .route("/divergences", get(divergences))
        .route_layer(middleware::from_fn_with_state(Arc::clone(&facts), guard));
    Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(readyz))
        .merge(guarded)
        .fallback(async || refusal(StatusCode::NOT_FOUND, "there is no such path"))
        .method_not_allowed_fallback(async || {
            refusal(
                StatusCode::METHOD_NOT_ALLOWED,
                "only GET is answered: nothing is changed here",
            )
        })
        .with_state(facts)
}

async fn guard(State(facts): State<Arc<Facts>>, request: Request, next: Next) -> Response {
    let headers = request.headers();
    match &facts.token {
        Some(token) if !bears(headers, token) => refusal(
            StatusCode::UNAUTHORIZED,
            "the bearer token is missing or wrong",
        ),
        None if !names_an_address(headers) => refusal(
            StatusCode::FORBIDDEN,
            "ask by IP address or as localhost, or set http_token_file",
        ),
        Some(_) | None => next.run(request).await,
    }
}

/// Compares in a time that does not depend on where the texts differ.
fn bears(headers: &HeaderMap, token: &Password) -> bool {
    let given = headers
        .get(AUTHORIZATION)
        .and_then(|value| value.as_bytes().strip_prefix(b"Bearer "))
        .unwrap_or_default();
    let wanted = token.reveal().as_bytes();
    let differing = given
        .iter()
        .zip(wanted)
        .fold(0, |all, (a, b)| all | (a ^ b));
    given.len() == wanted.len() && differing == 0
}

/// A page on the internet can make a browser ask loopback under the page's own host name, and read
/// the answer; it cannot do so under an address.
fn names_an_address(headers: &HeaderMap) -> bool {
    let Some(host) = headers.get(HOST).and_then(|host| host.to_str().ok()) else {
        return true;
    };
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        Some(_) | None => host,
    };
    let name = name.trim_start_matches('[').trim_end_matches(']');
    name == "localhost" || name.parse::<IpAddr>().is_ok()
}

async fn metrics(State(facts): State<Arc<Facts>>) -> Response {
    let kind = "text/plain; version=0.0.4";
    ([(CONTENT_TYPE, kind)], facts.recorder.render()).into_response()
}

async fn readyz(State(facts): State<Arc<Facts>>) -> Response {
    let states: serde_json::Map<_, _> = facts
        .readiness
        .states()
        .map(|(name, state)| (name.to_owned(), serde_json::json!(state)))
        .collect();
    let code = if facts.readiness.is_ready() {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (code, json(&states)).into_response()
}

async fn status(State(facts): State<Arc<Facts>>) -> Response {
    let Some(target) = &facts.target else {
        return no_target();
    };
    answer(target.lock().await.status().await.as_ref())
}

/// The report as `segue report --json` prints it, and what its plots are drawn from.
#[derive(Serialize)]
struct WithSamples<'a> {
    #[serde(flatten)]
    report: &'a Report,
    samples: &'a [Sample],
}

/// `?since=2h` as in `segue report --since`, `&redact` as in `--redact`.
async fn report(State(facts): State<Arc<Facts>>, RawQuery(query): RawQuery) -> Response {
    let Some(target) = &facts.target else {
        return no_target();
    };
    let query = Query(query.unwrap_or_default());
    let mut report = target
        .lock()
        .await
        .report(query.value("since").as_deref())
        .await;
    if let (Ok(report), true) = (&mut report, query.has("redact")) {
        report.redact();
    }
    answer(report.as_ref().map(|report| WithSamples {
        report,
        samples: &report.samples,
    }))
}

/// As `segue report show`, `?redact` as there.
async fn divergence(
    State(facts): State<Arc<Facts>>,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
) -> Response {
    let Some(target) = &facts.target else {
        return no_target();
    };
    let Ok(id) = id.parse() else {
        return refusal(StatusCode::BAD_REQUEST, "a divergence has a number");
    };
    let query = Query(query.unwrap_or_default());
    let mut found = target.lock().await.divergence(id).await;
    if let (Ok(Some(found)), true) = (&mut found, query.has("redact")) {
        found.redact();
    }
    match found {
        Ok(None) => refusal(StatusCode::NOT_FOUND, "there is no such divergence"),
        found => answer(found.as_ref()),
    }
}

/// `?state=open&table=public.item&since=2h&after=17&limit=100&redact`, in the order of their numbers.
async fn divergences(State(facts): State<Arc<Facts>>, RawQuery(query): RawQuery) -> Response {
    let Some(target) = &facts.target else {
        return no_target();
    };
    let query = Query(query.unwrap_or_default());
    let page = match query.page() {
        Ok(page) => page,
        Err(problem) => return refusal(StatusCode::BAD_REQUEST, problem),
    };
    let mut found = target.lock().await.page(&page).await;
    if let (Ok(found), true) = (&mut found, query.has("redact")) {
        found.redact();
    }
    answer(found.as_ref())
}

fn no_target() -> Response {
    refusal(StatusCode::NOT_FOUND, "there is no target")
}

fn refusal(code: StatusCode, sentence: &str) -> Response {
    (code, json(&serde_json::json!({ "error": sentence }))).into_response()
}

fn answer(facts: Result<impl Serialize, &Failure>) -> Response {
    match facts {
        Ok(facts) => json(&facts),
        Err(failure) => {
            let error = serde_json::json!({ "error": failure.message });
            let code = match failure.exit {
                Exit::Usage => StatusCode::BAD_REQUEST,
                Exit::Well | Exit::Failed | Exit::Divergent | Exit::Refused => {
                    StatusCode::SERVICE_UNAVAILABLE
                }
            };
            (code, json(&error)).into_response()
        }
    }
}

fn json(facts: &impl Serialize) -> Response {
    match serde_json::to_string(facts) {
        Ok(text) => ([(CONTENT_TYPE, "application/json")], text + "\n").into_response(),
        Err(error) => {
            tracing::error!("facts could not be written as JSON: {error}");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn headers(name: axum::http::HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_str(value).unwrap())])
    }

    #[test]
    fn only_the_whole_token_opens() {
        let token = Password::new("secret");
        let opens = |value| bears(&headers(AUTHORIZATION, value), &token);
        assert!(opens("Bearer secret"));
        for wrong in [
            "Bearer secre",
            "Bearer secrets",
            "Bearer SECRET",
            "secret",
            "Bearer ",
        ] {
            assert!(!opens(wrong), "{wrong}");
        }
        assert!(!bears(&HeaderMap::new(), &token));
    }

    #[test]
    fn a_foreign_host_name_is_no_address() {
        let allowed = |value| names_an_address(&headers(HOST, value));
        for host in [
            "127.0.0.1:9188",
            "localhost",
            "localhost:9188",
            "[::1]:9188",
            "[::1]",
        ] {
            assert!(allowed(host), "{host}");
        }
        for host in [
            "evil.example",
            "evil.example:9188",
            "localhost.evil.example:9188",
        ] {
            assert!(!allowed(host), "{host}");
        }
    }
}
