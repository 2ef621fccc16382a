//! Why a connection could not be encrypted, and what mends it.
//!
//! Does not say which server: the error around it does.

use std::error::Error as StdError;
use std::io;

use rustls::{AlertDescription, CertificateError, Error, PeerIncompatible};

use super::files::FileFault;

/// Why a connection could not be encrypted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TlsFault {
    /// The server has no TLS.
    #[error(
        "the server does not support TLS, and sslmode={sslmode} asks for it; set ssl = on at the \
         server, or use sslmode=prefer over a network that you trust"
    )]
    NotOffered {
        /// The mode asked for.
        sslmode: &'static str,
    },
    /// Nobody is named whose signature would do.
    #[error(
        "sslmode={sslmode} needs the certificate of an authority; set sslrootcert to its file, or to \
         system for those that the operating system trusts"
    )]
    NoRoots {
        /// The mode asked for.
        sslmode: &'static str,
    },
    /// The certificate is not signed by whom we trust.
    #[error(
        "the server's certificate is not trusted: {why}; set sslrootcert to the certificate of the \
         authority that signed it"
    )]
    Untrusted {
        /// What is wrong with it.
        why: String,
    },
    /// The certificate is for another server.
    #[error(
        "the server's certificate is for {names} and not for {host}; connect by a name that it is \
         for, or use sslmode=verify-ca"
    )]
    Name {
        /// As whom we reached it.
        host: String,
        /// For whom the certificate is.
        names: String,
    },
    /// The certificate's time is over or has not begun.
    #[error("the server's certificate is {why}; renew it, or set this machine's clock")]
    Time {
        /// Expired, or not valid yet.
        why: &'static str,
    },
    /// The server wants a client certificate, or another one.
    #[error(
        "the server refused our certificate ({alert}); set sslcert and sslkey to one that its \
         ssl_ca_file knows"
    )]
    ClientCertificate {
        /// What it said.
        alert: String,
    },
    /// The two sides have no version or cipher in common.
    #[error(
        "the server and Segue have no version of TLS in common ({why}); Segue speaks TLS 1.2 and \
         1.3, within ssl_min_protocol_version and ssl_max_protocol_version"
    )]
    Version {
        /// What was missing.
        why: String,
    },
    /// Direct negotiation without the protocol's name.
    #[error(
        "the server does not know sslnegotiation=direct, which PostgreSQL 17 introduced; use \
         sslnegotiation=postgres"
    )]
    NoDirect,
    /// Channel binding is asked for and cannot be had.
    #[error(
        "channel_binding=require cannot be met: {why}; use channel_binding=prefer, or scram-sha-256 \
         over TLS"
    )]
    ChannelBinding {
        /// What is missing.
        why: &'static str,
    },
    /// A file of ours cannot be used.
    #[error(transparent)]
    File(#[from] FileFault),
    /// Anything else.
    #[error("the TLS handshake failed: {why}; check the server's log")]
    Handshake {
        /// What went wrong.
        why: String,
    },
}

impl TlsFault {
    /// What an error of the operating system stands for, if TLS is behind it.
    pub fn from_io(error: &io::Error) -> Option<Self> {
        let inner: &(dyn StdError + 'static) = error.get_ref()?;
        inner.downcast_ref::<Error>().map(Self::from_rustls)
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "rustls's own words do for all other cases"
    )]
    fn from_rustls(error: &Error) -> Self {
        match error {
            Error::InvalidCertificate(certificate) => Self::from_certificate(certificate),
            Error::AlertReceived(
                alert @ (AlertDescription::CertificateRequired
                | AlertDescription::UnknownCA
                | AlertDescription::BadCertificate
                | AlertDescription::CertificateUnknown
                | AlertDescription::CertificateExpired
                | AlertDescription::CertificateRevoked
                | AlertDescription::UnsupportedCertificate),
            ) => Self::ClientCertificate {
                alert: format!("{alert:?}"),
            },
            Error::AlertReceived(AlertDescription::ProtocolVersion) => Self::Version {
                why: "the server refused ours".to_owned(),
            },
            Error::AlertReceived(AlertDescription::NoApplicationProtocol)
            | Error::NoApplicationProtocol => Self::NoDirect,
            Error::PeerIncompatible(
                why @ (PeerIncompatible::ServerDoesNotSupportTls12Or13
                | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig
                | PeerIncompatible::NoCipherSuitesInCommon),
            ) => Self::Version {
                why: format!("{why:?}"),
            },
            Error::InvalidMessage(_) => Self::Handshake {
                why: "the server's answer is not TLS".to_owned(),
            },
            other => Self::Handshake {
                why: other.to_string(),
            },
        }
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "rustls's own words do for all other cases"
    )]
    fn from_certificate(error: &CertificateError) -> Self {
        match error {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                Self::Time { why: "expired" }
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                Self::Time {
                    why: "not valid yet",
                }
            }
            CertificateError::NotValidForNameContext {
                expected,
                presented,
            } => Self::Name {
                host: expected.to_str().into_owned(),
                names: match presented.as_slice() {
                    [] => "no name at all".to_owned(),
                    names => names.join(", "),
                },
            },
            CertificateError::UnknownIssuer => Self::Untrusted {
                why: "its issuer is not among the trusted authorities".to_owned(),
            },
            CertificateError::Revoked => Self::Untrusted {
                why: "it has been revoked".to_owned(),
            },
            other => Self::Untrusted {
                why: other.to_string(),
            },
        }
    }
}
