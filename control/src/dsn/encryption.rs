//! How a connection is to be encrypted: libpq's `ssl…` keywords.
//!
//! <https://www.postgresql.org/docs/current/libpq-ssl.html>. Does not read the files that are named.

use std::path::{Path, PathBuf};

use super::DsnError;

/// How a server connection is encrypted, and whom it trusts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum SslMode {
    /// Never.
    Disable,
    /// Only if the server insists.
    Allow,
    /// If the server can.
    Prefer,
    /// Always, with whoever answers; with `sslrootcert` as `verify-ca`.
    Require,
    /// Always, with a server that an authority has signed.
    VerifyCa,
    /// Always, with the server of that name.
    VerifyFull,
}

impl SslMode {
    /// As in a connection string.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Disable => "disable",
            Self::Allow => "allow",
            Self::Prefer => "prefer",
            Self::Require => "require",
            Self::VerifyCa => "verify-ca",
            Self::VerifyFull => "verify-full",
        }
    }

    fn parse(value: &str) -> Option<Self> {
        let all = [
            Self::Disable,
            Self::Allow,
            Self::Prefer,
            Self::Require,
            Self::VerifyCa,
            Self::VerifyFull,
        ];
        all.into_iter().find(|mode| mode.name() == value)
    }
}

/// Whose signature makes a certificate trusted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Roots {
    /// Nobody was named.
    None,
    /// Those of the operating system.
    System,
    /// Those in a file.
    File(PathBuf),
}

/// How TLS begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Negotiation {
    /// With PostgreSQL's `SSLRequest`.
    Postgres,
    /// At once, as PostgreSQL 17 understands it: a round trip less.
    Direct,
}

/// Whether SCRAM is bound to the TLS connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChannelBinding {
    /// Never.
    Disable,
    /// Where the server offers it.
    Prefer,
    /// Always.
    Require,
}

/// A version of TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsVersion {
    /// 1.2
    V1_2,
    /// 1.3
    V1_3,
}

/// A client certificate and its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientCertificate {
    /// `sslcert`.
    pub certificate: PathBuf,
    /// `sslkey`.
    pub key: PathBuf,
}

/// Everything that a connection string says about encryption.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encryption {
    /// `sslmode`.
    pub mode: SslMode,
    /// `sslrootcert`.
    pub roots: Roots,
    /// `sslcert` and `sslkey`.
    pub certificate: Option<ClientCertificate>,
    /// `sslcrl`, and the files in `sslcrldir`.
    pub revocations: Vec<PathBuf>,
    /// `sslnegotiation`.
    pub negotiation: Negotiation,
    /// `channel_binding`.
    pub channel_binding: ChannelBinding,
    /// `ssl_min_protocol_version`.
    pub version_min: TlsVersion,
    /// `ssl_max_protocol_version`.
    pub version_max: TlsVersion,
    /// `sslsni`: whether the server is told by which name it was reached.
    pub sni: bool,
}

impl Default for Encryption {
    fn default() -> Self {
        Self {
            mode: SslMode::Prefer,
            roots: Roots::None,
            certificate: None,
            revocations: Vec::new(),
            negotiation: Negotiation::Postgres,
            channel_binding: ChannelBinding::Prefer,
            version_min: TlsVersion::V1_2,
            version_max: TlsVersion::V1_3,
            sni: true,
        }
    }
}

/// What a string said, before it is completed.
#[derive(Default)]
pub(super) struct EncryptionParts {
    mode: Option<SslMode>,
    root: Option<String>,
    certificate: Option<String>,
    key: Option<String>,
    crl: Option<String>,
    crl_directory: Option<String>,
    negotiation: Option<Negotiation>,
    channel_binding: Option<ChannelBinding>,
    version_min: Option<TlsVersion>,
    version_max: Option<TlsVersion>,
    sni: Option<bool>,
    sends_certificate: Option<bool>,
}

impl EncryptionParts {
    /// Takes a keyword's value; whether the keyword is one of encryption.
    pub(super) fn put(&mut self, keyword: &str, value: &str) -> Result<bool, DsnError> {
        match keyword {
            "sslmode" => self.mode = Some(mode(value)?),
            "sslrootcert" => self.root = present(value),
            "sslcert" => self.certificate = present(value),
            "sslkey" => self.key = present(value),
            "sslcrl" => self.crl = present(value),
            "sslcrldir" => self.crl_directory = present(value),
            "sslnegotiation" => {
                let all = [
                    ("postgres", Negotiation::Postgres),
                    ("direct", Negotiation::Direct),
                ];
                self.negotiation = Some(one_of("sslnegotiation", value, all)?);
            }
            "channel_binding" => {
                let all = [
                    ("disable", ChannelBinding::Disable),
                    ("prefer", ChannelBinding::Prefer),
                    ("require", ChannelBinding::Require),
                ];
                self.channel_binding = Some(one_of("channel_binding", value, all)?);
            }
            "ssl_min_protocol_version" => {
                self.version_min = version("ssl_min_protocol_version", value)?;
            }
            "ssl_max_protocol_version" => {
                self.version_max = version("ssl_max_protocol_version", value)?;
            }
            "sslsni" => self.sni = Some(one_of("sslsni", value, [("0", false), ("1", true)])?),
            "sslcertmode" => {
                let all = [("disable", false), ("allow", true)];
                self.sends_certificate = Some(one_of("sslcertmode", value, all)?);
            }
            "gssencmode" => {
                one_of("gssencmode", value, [("disable", ()), ("prefer", ())])?;
            }
            // The key's passphrase: an encrypted key is refused where it is read.
            "sslpassword" | "sslcompression" => {}
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// `directory` is `~/.postgresql`, where libpq finds what was not named; `is_named` says
    /// whether the server has a host name or address to compare certificates with.
    pub(super) fn complete(
        self,
        directory: Option<&Path>,
        is_named: bool,
    ) -> Result<Encryption, DsnError> {
        let default = Encryption::default();
        let found = |name: &str| directory.map(|it| it.join(name)).filter(|it| it.exists());
        let roots = match self.root {
            Some(name) if name == "system" => Roots::System,
            Some(path) => Roots::File(path.into()),
            None => found("root.crt").map_or(Roots::None, Roots::File),
        };
        let mode = match (self.mode, &roots) {
            (None, Roots::System) => SslMode::VerifyFull,
            (Some(mode), Roots::System) if mode < SslMode::VerifyFull => {
                return Err(DsnError::Weak {
                    sslmode: mode.name(),
                    with: "sslrootcert=system",
                    use_instead: "verify-full",
                });
            }
            (mode, _) => mode.unwrap_or(default.mode),
        };
        let negotiation = self.negotiation.unwrap_or(default.negotiation);
        if negotiation == Negotiation::Direct && mode < SslMode::Require {
            return Err(DsnError::Weak {
                sslmode: mode.name(),
                with: "sslnegotiation=direct",
                use_instead: "require, verify-ca or verify-full",
            });
        }
        if mode == SslMode::VerifyFull && !is_named {
            return Err(DsnError::Value {
                keyword: "sslmode",
                value: mode.name().to_owned(),
                expected: "possible without host, which says for whom the certificate has to be",
            });
        }
        let (version_min, version_max) = (
            self.version_min.unwrap_or(default.version_min),
            self.version_max.unwrap_or(default.version_max),
        );
        if version_min > version_max {
            return Err(DsnError::Value {
                keyword: "ssl_max_protocol_version",
                value: "TLSv1.2".to_owned(),
                expected: "at least ssl_min_protocol_version",
            });
        }
        let certificate = self.certificate.map(PathBuf::from);
        let key = self.key.map(PathBuf::from);
        Ok(Encryption {
            mode,
            certificate: certificate
                .or_else(|| found("postgresql.crt"))
                .filter(|_| self.sends_certificate.unwrap_or(true))
                .map(|certificate| {
                    let default = || directory.map(|it| it.join("postgresql.key"));
                    let key = key.or_else(default).unwrap_or_else(|| certificate.clone());
                    ClientCertificate { certificate, key }
                }),
            revocations: match (self.crl, self.crl_directory) {
                (None, None) => found("root.crl").into_iter().collect(),
                (file, directory) => {
                    let listed = directory.as_deref().map(files_in).unwrap_or_default();
                    file.map(PathBuf::from).into_iter().chain(listed).collect()
                }
            },
            roots,
            negotiation,
            channel_binding: self.channel_binding.unwrap_or(default.channel_binding),
            version_min,
            version_max,
            sni: self.sni.unwrap_or(default.sni),
        })
    }
}

/// What cannot be listed is named itself, so that reading it says why.
fn files_in(directory: &str) -> Vec<PathBuf> {
    match std::fs::read_dir(directory) {
        Ok(entries) => entries.flatten().map(|entry| entry.path()).collect(),
        Err(_) => vec![directory.into()],
    }
}

fn present(value: &str) -> Option<String> {
    (!value.is_empty()).then(|| value.to_owned())
}

fn mode(value: &str) -> Result<SslMode, DsnError> {
    SslMode::parse(value).ok_or_else(|| DsnError::Value {
        keyword: "sslmode",
        value: value.to_owned(),
        expected: "one of disable, allow, prefer, require, verify-ca, verify-full",
    })
}

fn version(keyword: &'static str, value: &str) -> Result<Option<TlsVersion>, DsnError> {
    let is_minimum = keyword == "ssl_min_protocol_version";
    match value {
        "" => Ok(None),
        "TLSv1.2" => Ok(Some(TlsVersion::V1_2)),
        "TLSv1.3" => Ok(Some(TlsVersion::V1_3)),
        // At least 1.0 or 1.1 is met by 1.2.
        "TLSv1" | "TLSv1.1" if is_minimum => Ok(Some(TlsVersion::V1_2)),
        _ => Err(DsnError::Value {
            keyword,
            value: value.to_owned(),
            expected: "TLSv1.2 or TLSv1.3",
        }),
    }
}

fn one_of<T, const N: usize>(
    keyword: &'static str,
    value: &str,
    all: [(&'static str, T); N],
) -> Result<T, DsnError> {
    let found = all.into_iter().find(|(name, _)| *name == value);
    found
        .map(|(_, meaning)| meaning)
        .ok_or_else(|| DsnError::Value {
            keyword,
            value: value.to_owned(),
            expected: match keyword {
                "sslnegotiation" => "one of postgres, direct",
                "channel_binding" => "one of disable, prefer, require",
                "sslsni" => "0 or 1",
                "sslcertmode" => "one of disable, allow",
                _ => "one of disable, prefer: Segue does not speak GSSAPI",
            },
        })
}
