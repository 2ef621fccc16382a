//! The proxy's certificate, judged: read here, so that a mistake in it is told with all others.
//!
//! Does not say what clients may do with it.

use std::path::PathBuf;
use std::sync::Arc;

use proxy::{ClientTls, Identity, IdentityFiles};

use super::layers::Place;
use super::{Judge, Setting};

/// What `client_tls` asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Off,
    Allow,
    Require,
}

impl Judge {
    /// By default clients may encrypt as soon as there is a certificate.
    pub(super) fn client_tls(&mut self) -> ClientTls {
        let wanted = self.value(Setting::ClientTls, |text| match text {
            "off" => Ok(Wanted::Off),
            "allow" => Ok(Wanted::Allow),
            "require" => Ok(Wanted::Require),
            _ => Err("is not one of off, allow, require".to_owned()),
        });
        let identity = self.identity().map(Arc::new);
        let has_certificate = self.layers.get(Setting::ClientTlsCert).is_some();
        match (wanted.unwrap_or(Wanted::Allow), identity) {
            (Wanted::Off, _) => ClientTls::Off,
            (Wanted::Allow, Some(identity)) => ClientTls::Allow(identity),
            (Wanted::Require, Some(identity)) => ClientTls::Require(identity),
            (Wanted::Allow | Wanted::Require, None) => {
                // One that cannot be read has been told of.
                if wanted.is_some() && !has_certificate {
                    self.problem(
                        Setting::ClientTls,
                        "needs client_tls_cert and client_tls_key",
                    );
                }
                ClientTls::Off
            }
        }
    }

    fn identity(&mut self) -> Option<Identity> {
        let mut path = |setting| self.value(setting, |text| Ok(PathBuf::from(text)));
        let certificate = path(Setting::ClientTlsCert);
        let key = path(Setting::ClientTlsKey);
        let authorities = path(Setting::ClientTlsCa);
        let files = match (certificate, key) {
            (Some(certificate), Some(key)) => IdentityFiles {
                certificate,
                key,
                authorities,
            },
            (Some(_), None) => {
                self.problem(
                    Setting::ClientTlsCert,
                    "needs client_tls_key, its private key",
                );
                return None;
            }
            (None, Some(_)) => {
                self.problem(
                    Setting::ClientTlsKey,
                    "needs client_tls_cert, its certificate",
                );
                return None;
            }
            (None, None) => {
                if authorities.is_some() {
                    let why = "needs client_tls_cert and client_tls_key";
                    self.problem(Setting::ClientTlsCa, why);
                }
                return None;
            }
        };
        match Identity::read(&files) {
            Ok(identity) => Some(identity),
            Err(fault) => {
                self.layers.problems.push(fault.to_string());
                None
            }
        }
    }

    fn problem(&mut self, setting: Setting, why: &str) {
        if let Some(given) = self.layers.get(setting) {
            let place = Place(setting, &given.origin);
            let problem = format!("{place}: {:?} {why}", given.value);
            self.layers.problems.push(problem);
        }
    }
}
