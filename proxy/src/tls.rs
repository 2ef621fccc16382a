//! TLS towards clients: the proxy's certificate, and whether clients must use it.
//!
//! Read whole or not at all, so that a reload that fails leaves what was in force. Does not decide
//! what a client wants: [`crate::startup`] reads that.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use control::tls::{ALPN, FileFault, authorities, certificates, end_point, private_key, provider};
use rustls::ServerConfig;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use sha2::{Digest, Sha256};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// Whether clients may, or must, encrypt.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum ClientTls {
    /// They cannot.
    #[default]
    Off,
    /// They may.
    Allow(Arc<Identity>),
    /// They must, unless they come through a Unix-domain socket.
    Require(Arc<Identity>),
}

impl ClientTls {
    /// Who the proxy is, where clients can ask.
    pub const fn identity(&self) -> Option<&Arc<Identity>> {
        match self {
            Self::Off => None,
            Self::Allow(identity) | Self::Require(identity) => Some(identity),
        }
    }
}

impl fmt::Display for ClientTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Off => "off",
            Self::Allow(_) => "allow",
            Self::Require(_) => "require",
        })
    }
}

/// The files that say who the proxy is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdentityFiles {
    /// `client_tls_cert`: the certificate, and those that lead to its authority.
    pub certificate: PathBuf,
    /// `client_tls_key`.
    pub key: PathBuf,
    /// `client_tls_ca`: clients have to show a certificate that one of these has signed.
    pub authorities: Option<PathBuf>,
}

/// Who the proxy is to its clients.
#[derive(Debug)]
pub struct Identity {
    acceptor: Arc<ServerConfig>,
    end_point: Option<Vec<u8>>,
    fingerprint: [u8; 32],
}

impl Identity {
    /// Reads the files.
    pub fn read(files: &IdentityFiles) -> Result<Self, FileFault> {
        let chain = certificates("client_tls_cert", &files.certificate)?;
        let key = private_key("client_tls_key", &files.key)?;
        let mut fingerprint = Sha256::new();
        for certificate in &chain {
            fingerprint.update(certificate);
        }
        fingerprint.update(key.secret_der());
        let end_point = chain.first().and_then(|it| end_point(it));
        let builder = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|error| certificate_fault(files, &error))?;
        let builder = match &files.authorities {
            None => builder.with_no_client_auth(),
            Some(path) => {
                let (store, certificates) = authorities("client_tls_ca", path)?;
                for certificate in &certificates {
                    fingerprint.update(certificate);
                }
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(store), provider());
                let verifier = verifier.build().map_err(|error| {
                    FileFault::new("client_tls_ca", path, format!("cannot be used: {error}"))
                })?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let config = builder.with_single_cert(chain, key);
        let mut config = config.map_err(|error| certificate_fault(files, &error))?;
        config.alpn_protocols = vec![ALPN.to_vec()];
        // PostgreSQL keeps no TLS sessions, and its clients do not come back to any.
        config.send_tls13_tickets = 0;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        Ok(Self {
            acceptor: Arc::new(config),
            end_point,
            fingerprint: fingerprint.finalize().into(),
        })
    }

    /// The beginning of a hash over certificate, key and authorities: another one after a renewal.
    pub fn mark(&self) -> String {
        let [first, second, third, fourth, ..] = self.fingerprint;
        format!("{:08x}", u32::from_be_bytes([first, second, third, fourth]))
    }

    /// The certificate's name for channel binding, where it has one.
    pub(crate) fn end_point(&self) -> Option<&[u8]> {
        self.end_point.as_deref()
    }

    /// Does the handshake. Not cancel-safe.
    pub(crate) async fn accept(&self, client: TcpStream) -> io::Result<Box<TlsStream<TcpStream>>> {
        let acceptor = TlsAcceptor::from(Arc::clone(&self.acceptor));
        // Boxed: a handshake under way is large.
        Box::pin(acceptor.accept(client)).await.map(Box::new)
    }
}

impl PartialEq for Identity {
    fn eq(&self, other: &Self) -> bool {
        self.fingerprint == other.fingerprint
    }
}

impl Eq for Identity {}

fn certificate_fault(files: &IdentityFiles, error: &rustls::Error) -> FileFault {
    let why = if matches!(error, rustls::Error::InconsistentKeys(_)) {
        format!(
            "does not belong to the key in {}; name the two that were made together",
            files.key.display()
        )
    } else {
        format!("cannot be used: {error}")
    };
    FileFault::new("client_tls_cert", &files.certificate, why)
}
