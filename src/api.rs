//! Asking the HTTP endpoint of a proxy or reconciler, where the target itself cannot be reached.
//!
//! One GET a connection and no more of HTTP than that endpoint speaks. Does not follow redirects and
//! does not speak TLS.

use control::Password;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::exit::Failure;

/// Far above any report: it is bounded in divergences, events and samples.
const ANSWER_BYTES_MAX: u64 = 64 << 20;

/// An endpoint.
#[derive(Debug, Clone)]
pub(crate) struct Api {
    host: String,
    token: Option<Password>,
}

/// What an endpoint answered.
#[derive(Debug, PartialEq, Eq)]
struct Answer {
    status: u16,
    body: String,
}

impl Api {
    /// The endpoint at `url`, `http://HOST:PORT`.
    pub(crate) fn new(url: &str, token: Option<Password>) -> Result<Self, Failure> {
        let host = url
            .strip_prefix("http://")
            .map(|rest| rest.trim_end_matches('/'))
            .filter(|host| !host.is_empty() && !host.contains(['/', '@', ' ', '\r', '\n']))
            .ok_or_else(|| {
                Failure::usage(format!(
                    "--api: {url:?} is not of the form http://HOST:PORT"
                ))
            })?;
        let has_port = host
            .rsplit_once(':')
            .is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        Ok(Self {
            host: if has_port {
                host.to_owned()
            } else {
                format!("{host}:80")
            },
            token,
        })
    }

    /// Who is asked.
    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    /// The facts at `path`; none if there is no such thing.
    pub(crate) async fn facts<T: DeserializeOwned>(
        &self,
        path: &str,
    ) -> Result<Option<T>, Failure> {
        let answer = self.get(path).await?;
        match answer.status {
            200 => serde_json::from_str(&answer.body)
                .map(Some)
                .map_err(|error| self.failure(&format!("is of another version of Segue: {error}"))),
            400 => Err(Failure::usage(said(&answer.body))),
            404 => Ok(None),
            401 => Err(self.failure("asks for a token; name its file with http_token_file")),
            _ => Err(self.failure(&format!("says: {}", said(&answer.body)))),
        }
    }

    async fn get(&self, path: &str) -> Result<Answer, Failure> {
        let token = self.token.as_ref().map_or_else(String::new, |token| {
            format!("Authorization: Bearer {}\r\n", token.reveal())
        });
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {}\r\n{token}Connection: close\r\n\r\n",
            self.host
        );
        let exchange = async {
            let mut stream = TcpStream::connect(&self.host).await?;
            stream.write_all(request.as_bytes()).await?;
            let mut bytes = Vec::new();
            stream
                .take(ANSWER_BYTES_MAX)
                .read_to_end(&mut bytes)
                .await?;
            Ok(bytes)
        };
        let bytes = exchange
            .await
            .map_err(|error: std::io::Error| self.failure(&format!("cannot be asked: {error}")))?;
        parse(&bytes).ok_or_else(|| self.failure("does not answer as an endpoint of Segue does"))
    }

    fn failure(&self, what: &str) -> Failure {
        Failure::failed(format!("the endpoint at {} {what}", self.host))
    }
}

/// Status and body of an answer that ended with its connection.
fn parse(bytes: &[u8]) -> Option<Answer> {
    let text = std::str::from_utf8(bytes).ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    let (version, rest) = head.split_once(' ')?;
    let status = rest.get(..3)?.parse().ok()?;
    let chunked = head.to_ascii_lowercase().contains("transfer-encoding:");
    (version.starts_with("HTTP/1.") && !chunked).then(|| Answer {
        status,
        body: body.to_owned(),
    })
}

/// The sentence in an error's body.
fn said(body: &str) -> String {
    let error = serde_json::from_str::<serde_json::Value>(body).ok();
    let sentence = error.as_ref().and_then(|body| body.get("error")?.as_str());
    sentence.unwrap_or(body).trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_addresses_are_taken() {
        let host = |url| Api::new(url, None).map(|api| api.host);
        assert_eq!(host("http://127.0.0.1:9188/"), Ok("127.0.0.1:9188".into()));
        assert_eq!(host("http://[::1]:9188"), Ok("[::1]:9188".into()));
        assert_eq!(host("http://segue"), Ok("segue:80".into()));
        for wrong in [
            "127.0.0.1:9188",
            "https://x",
            "http://",
            "http://a/b",
            "http://a\r\nX: y",
        ] {
            assert!(host(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_answer_is_its_status_and_body() {
        let answer = parse(b"HTTP/1.1 503 Service Unavailable\r\na: b\r\n\r\n{\"error\":\"x\"}\n");
        let answer = answer.unwrap();
        assert_eq!((answer.status, said(&answer.body).as_str()), (503, "x"));
        assert_eq!(parse(b"SSH-2.0-OpenSSH\r\n\r\n"), None);
        assert_eq!(parse(b"HTTP/1.1 200 OK"), None);
    }
}
