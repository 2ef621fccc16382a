//! SCRAM by Segue: the client proves itself to us, and with the key that its proof shows we prove
//! it to the source.
//!
//! The source is asked first: its salt tells whether the secret that we have is still the role's,
//! and an unknown role gets the salt that the source would have shown. Whoever proves nothing is
//! proved to the source with a key that fits nothing, so that the refusal is the source's own, with
//! its delay and its log. Does not keep secrets.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use control::dsn::ChannelBinding;
use protocol::scram::client::{Begun, Binding, Challenged, Proved};
use protocol::scram::server::{ClientFirst, Judged};
use protocol::scram::{ClientKey, SCRAM_SHA_256, SCRAM_SHA_256_PLUS, Secret};
use protocol::wire::backend::{Authentication, Tag};
use protocol::wire::frame::Frame;
use protocol::wire::frontend::{SaslInitialResponse, sasl_response};

use super::secrets::{Freshness, Lookup};
use super::{AuthenticationError, Introduction, Met};

/// As many random bytes as PostgreSQL puts into a nonce.
const NONCE_SIZE: usize = 18;

/// An exchange with both sides.
pub(super) struct Exchange<'a> {
    introduction: Introduction<'a>,
    role: String,
    /// The names of our and of the source's certificate, for channel binding.
    end_points: (Option<Vec<u8>>, Option<Vec<u8>>),
    /// Nothing if the role cannot log in by SCRAM.
    secret: Option<Arc<Secret>>,
}

/// What the source said next.
enum Said {
    /// The step that was due.
    Step(Bytes),
    /// Something else, which goes to the client.
    Other(Frame),
    /// Nothing: the session finds out why.
    Nothing,
}

impl<'a> Exchange<'a> {
    pub(super) fn new(
        introduction: Introduction<'a>,
        role: &str,
        end_points: (Option<Vec<u8>>, Option<Vec<u8>>),
        secret: Option<Arc<Secret>>,
    ) -> Self {
        Self {
            introduction,
            role: role.to_owned(),
            end_points,
            secret,
        }
    }

    /// The whole exchange. `binds`: whether the source offers channel binding.
    pub(super) async fn run(mut self, binds: bool) -> Result<Met, AuthenticationError> {
        let begun = Begun::new(self.binding(binds), nonce());
        let mut first = BytesMut::new();
        let response = SaslInitialResponse {
            mechanism: Bytes::from_static(self.binding(binds).mechanism().as_bytes()),
            message: begun.message().into(),
        };
        response.encode(&mut first);
        let challenged = match self.ask_source(&first).await? {
            Said::Step(message) => begun.challenged(&message),
            Said::Other(frame) => return Ok(self.leave_to_session(frame)),
            Said::Nothing => return Ok(self.introduction.hand_over()),
        };
        let challenged = challenged.map_err(AuthenticationError::SourceScram)?;
        self.refresh(&challenged).await;
        let judged = self.ask_client(&challenged).await?;
        let key = match &judged {
            Judged::Proved { client_key, .. } => *client_key,
            Judged::NotProved => ClientKey::from_bytes(rand::random()),
        };
        let (message, proved) = challenged.prove(&key);
        let mut last = BytesMut::new();
        sasl_response(&mut last, message.as_bytes());
        match self.ask_source(&last).await? {
            Said::Step(message) => self.admit(&message, &proved, judged),
            Said::Other(frame) => Ok(self.leave_to_session(frame)),
            Said::Nothing => Ok(self.introduction.hand_over()),
        }
    }

    fn binding(&self, binds: bool) -> Binding {
        let wanted = self.introduction.route.dsn().encryption().channel_binding;
        match self.end_points.1.clone() {
            Some(name) if wanted != ChannelBinding::Disable => {
                if binds {
                    Binding::EndPoint(name)
                } else {
                    Binding::NotOffered
                }
            }
            _ => Binding::Unsupported,
        }
    }

    /// Says something to the source and takes the SASL step that it answers with.
    async fn ask_source(&mut self, frame: &[u8]) -> Result<Said, AuthenticationError> {
        let source = &mut self.introduction.source;
        source
            .say(frame)
            .await
            .map_err(AuthenticationError::SourceBroke)?;
        let Ok(Some(frame)) = source.frame(usize::MAX).await else {
            return Ok(Said::Nothing);
        };
        if frame.tag() != Tag::Authentication.as_byte() {
            return Ok(Said::Other(frame));
        }
        Ok(match Authentication::decode(frame.body()) {
            Ok(Authentication::SaslContinue(message) | Authentication::SaslFinal(message)) => {
                Said::Step(message)
            }
            Ok(Authentication::Ok | Authentication::Sasl { .. } | Authentication::Other)
            | Err(_) => Said::Other(frame),
        })
    }

    fn leave_to_session(mut self, frame: Frame) -> Met {
        self.introduction
            .before
            .extend_from_slice(&frame.into_bytes());
        self.introduction.hand_over()
    }

    /// Asks again for a secret that the source's salt shows to be an old one, and goes without it
    /// if it stays one.
    async fn refresh(&mut self, challenged: &Challenged) {
        if self
            .secret
            .as_ref()
            .is_none_or(|secret| challenged.is_for(secret))
        {
            return;
        }
        let Introduction {
            authenticator,
            settings,
            ..
        } = &self.introduction;
        let settings = &settings.authentication;
        let found = authenticator
            .secrets
            .of(&self.role, settings, Freshness::Now);
        self.secret = match found.await {
            Lookup::Secret(secret) if challenged.is_for(&secret) => Some(secret),
            Lookup::Secret(_) | Lookup::Nobody | Lookup::Unavailable => {
                tracing::warn!(
                    role = self.role,
                    "the secret in auth_file or from auth_query is not the one that the source \
                     has, so the login fails; it has to be the same, salt and iterations included"
                );
                None
            }
        };
    }

    /// The client's side, up to its proof.
    async fn ask_client(&mut self, challenged: &Challenged) -> Result<Judged, AuthenticationError> {
        let ours = self.end_points.0.as_deref();
        let Introduction { client, before, .. } = &mut self.introduction;
        let plus = ours.map(|_| SCRAM_SHA_256_PLUS);
        let mechanisms = plus.into_iter().chain([SCRAM_SHA_256]);
        let mechanisms = mechanisms
            .map(|it| Bytes::from_static(it.as_bytes()))
            .collect();
        let mut said = before.split();
        Authentication::Sasl { mechanisms }.encode(&mut said);
        client
            .say(&said)
            .await
            .map_err(AuthenticationError::Client)?;
        let first = SaslInitialResponse::decode(client.answer().await?.body());
        let Ok(first) = first else {
            return Err(AuthenticationError::Unexpected { tag: b'p' });
        };
        let mechanism = std::str::from_utf8(&first.mechanism).unwrap_or_default();
        let first = ClientFirst::parse(mechanism, &first.message, ours.is_some());
        let first = first.map_err(AuthenticationError::ClientScram)?;
        let challenge = first.challenge(&challenged.salt, challenged.iterations, &nonce());
        let message = Bytes::copy_from_slice(challenge.message().as_bytes());
        let mut said = BytesMut::new();
        Authentication::SaslContinue(message).encode(&mut said);
        client
            .say(&said)
            .await
            .map_err(AuthenticationError::Client)?;
        let last = client.answer().await?.body();
        let judged = challenge.judge(&last, ours, self.secret.as_deref());
        judged.map_err(AuthenticationError::ClientScram)
    }

    /// The source has let the client in, if it is the source.
    fn admit(
        mut self,
        message: &[u8],
        proved: &Proved,
        judged: Judged,
    ) -> Result<Met, AuthenticationError> {
        let (
            Some(secret),
            Judged::Proved {
                client_key,
                message: ours,
            },
        ) = (&self.secret, judged)
        else {
            // A key that was drawn by lot does not open a server that is one.
            let error = protocol::scram::ScramError::Impostor;
            return Err(AuthenticationError::SourceScram(error));
        };
        let verified = proved.verify(message, secret);
        verified.map_err(AuthenticationError::SourceScram)?;
        self.introduction
            .authenticator
            .keys
            .keep(&self.role, client_key);
        Authentication::SaslFinal(ours.into()).encode(&mut self.introduction.before);
        Ok(self.introduction.hand_over())
    }
}

/// Fresh, printable, without a comma.
fn nonce() -> String {
    use base64::Engine;
    let bytes: [u8; NONCE_SIZE] = rand::random();
    base64::engine::general_purpose::STANDARD.encode(bytes)
}
