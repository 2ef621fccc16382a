//! TLS towards one server, as its connection string wants it: files read, trust settled.
//!
//! Does not open connections, and does not fall back to the clear: the `ways` of
//! [`crate::server`] do.

use std::path::Path;
use std::sync::Arc;

use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use x509_cert::Certificate;
use x509_cert::der::Decode;

use super::verifier::{Trust, Verifier};
use super::{ALPN, FileFault, TlsFault, files, provider};
use crate::dsn::{Dsn, Encryption, Host, Negotiation, Roots, SslMode, TlsVersion};

/// TLS towards one server.
#[derive(Debug, Clone)]
pub struct ServerTls {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
    negotiation: Negotiation,
}

impl ServerTls {
    /// Reads the files that the connection string names; nothing where it wants no TLS.
    pub fn of(dsn: &Dsn) -> Result<Option<Self>, TlsFault> {
        let encryption = dsn.encryption();
        // As in libpq: a Unix-domain socket is not encrypted, whatever the mode.
        let is_clear = matches!(dsn.host(), Host::Unix(_)) || encryption.mode == SslMode::Disable;
        if is_clear {
            return Ok(None);
        }
        let name = ServerName::try_from(dsn.server_name().to_owned());
        let name = name.map_err(|_| TlsFault::Handshake {
            why: format!("{:?} is no name that TLS can ask for", dsn.server_name()),
        })?;
        Ok(Some(Self {
            config: Arc::new(config(dsn, encryption)?),
            name,
            negotiation: encryption.negotiation,
        }))
    }

    /// How it begins.
    pub const fn negotiation(&self) -> Negotiation {
        self.negotiation
    }

    /// The same, naming another protocol or none; for tests of servers.
    #[must_use]
    pub fn naming(&self, protocol: Option<&[u8]>) -> Self {
        let mut config = ClientConfig::clone(&self.config);
        config.alpn_protocols = protocol.into_iter().map(<[u8]>::to_vec).collect();
        Self {
            config: Arc::new(config),
            ..self.clone()
        }
    }

    /// Encrypts an open connection on which the server expects that. Not cancel-safe.
    pub async fn handshake(&self, stream: TcpStream) -> std::io::Result<TlsStream<TcpStream>> {
        let connector = TlsConnector::from(Arc::clone(&self.config));
        connector.connect(self.name.clone(), stream).await
    }
}

fn config(dsn: &Dsn, encryption: &Encryption) -> Result<ClientConfig, TlsFault> {
    let provider = provider();
    let algorithms = provider.signature_verification_algorithms;
    let verifier = Verifier {
        trust: trust(encryption)?,
        name: (encryption.mode == SslMode::VerifyFull).then(|| dsn.server_name().to_owned()),
        algorithms,
    };
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&versions(encryption))
        .map_err(|error| handshake(&error))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    let mut config = match &encryption.certificate {
        None => builder.with_no_client_auth(),
        Some(ours) => {
            let chain = files::certificates("sslcert", &ours.certificate)?;
            let key = files::private_key("sslkey", &ours.key)?;
            builder.with_client_auth_cert(chain, key).map_err(|error| {
                FileFault::new(
                    "sslkey",
                    &ours.key,
                    format!(
                        "cannot be used with {}: {error}",
                        ours.certificate.display()
                    ),
                )
            })?
        }
    };
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.enable_sni = encryption.sni;
    // PostgreSQL keeps no TLS sessions.
    config.resumption = Resumption::disabled();
    Ok(config)
}

fn versions(encryption: &Encryption) -> Vec<&'static SupportedProtocolVersion> {
    let known = [
        (TlsVersion::V1_2, &rustls::version::TLS12),
        (TlsVersion::V1_3, &rustls::version::TLS13),
    ];
    let allowed = encryption.version_min..=encryption.version_max;
    let allowed = known
        .into_iter()
        .filter(|(version, _)| allowed.contains(version));
    allowed.map(|(_, version)| version).collect()
}

/// As in libpq, a root certificate is heeded in every mode, and two modes cannot do without.
fn trust(encryption: &Encryption) -> Result<Trust, TlsFault> {
    let (store, certificates) = match &encryption.roots {
        Roots::None if encryption.mode >= SslMode::VerifyCa => {
            return Err(TlsFault::NoRoots {
                sslmode: encryption.mode.name(),
            });
        }
        Roots::None => return Ok(Trust::Anyone),
        Roots::System => (system()?, Vec::new()),
        Roots::File(path) => files::authorities("sslrootcert", path)?,
    };
    let mut revocations = Vec::new();
    for path in &encryption.revocations {
        revocations.extend(files::revocations("sslcrl", path)?);
    }
    // What rustls does not trust by itself would not be looked up in the lists.
    let known = certificates.iter().filter(|_| revocations.is_empty());
    let trusted = known.flat_map(|it| Certificate::from_der(it)).collect();
    let chains = if store.is_empty() {
        None
    } else {
        let builder = WebPkiServerVerifier::builder_with_provider(Arc::new(store), provider());
        let verifier = builder.with_crls(revocations).build();
        Some(verifier.map_err(|error| unusable(encryption, &error))?)
    };
    Ok(Trust::Signed { chains, trusted })
}

fn unusable(encryption: &Encryption, error: &rustls::server::VerifierBuilderError) -> TlsFault {
    let path = encryption.revocations.first();
    let path = path.map_or_else(|| Path::new(""), |path| path.as_path());
    FileFault::new("sslcrl", path, format!("cannot be used: {error}")).into()
}

/// The authorities that the operating system trusts.
fn system() -> Result<RootCertStore, TlsFault> {
    let found = rustls_native_certs::load_native_certs();
    let mut store = RootCertStore::empty();
    let (added, _) = store.add_parsable_certificates(found.certs);
    if added == 0 {
        return Err(TlsFault::Untrusted {
            why: "the operating system has no trusted authorities (ca-certificates)".to_owned(),
        });
    }
    Ok(store)
}

fn handshake(error: &rustls::Error) -> TlsFault {
    TlsFault::Handshake {
        why: error.to_string(),
    }
}
