//! Certificates for tests: an authority, and what it signs, in PEM files.
//!
//! Does not know who uses them.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
};

use anyhow::Result;
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DnType, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

use crate::{account::Account, guardian::Guardian};

/// Numbers the files.
static FILE_COUNT: AtomicU32 = AtomicU32::new(0);

/// Who signs.
#[derive(Debug)]
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    path: PathBuf,
}

/// A certificate and its key, in files of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issued {
    /// The certificate.
    pub certificate: PathBuf,
    /// Its key, readable by its owner alone.
    pub key: PathBuf,
}

impl Authority {
    /// A new authority.
    pub fn new(name: &str) -> Result<Self> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(Vec::new())?;
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(&key)?;
        let path = unused("ca.crt")?;
        fs::write(&path, certificate.pem())?;
        // Servers under another account read it too.
        fs::set_permissions(&path, Permissions::from_mode(0o644))?;
        let issuer = Issuer::new(params, key);
        Ok(Self { issuer, path })
    }

    /// Its own certificate.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A certificate for names and addresses; the first is the common name too.
    pub fn issue(&self, names: &[&str]) -> Result<Issued> {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let mut params = CertificateParams::new(names.clone())?;
        params.distinguished_name = rcgen::DistinguishedName::new();
        let common = names.into_iter().next().unwrap_or_default();
        params.distinguished_name.push(DnType::CommonName, common);
        let key = KeyPair::generate()?;
        issued(&params.signed_by(&key, &self.issuer)?, &key)
    }

    /// A certificate without alternative names, as older tools make them: the common name alone
    /// says for whom it is.
    pub fn issue_common_name(&self, name: &str) -> Result<Issued> {
        let mut params = CertificateParams::new(Vec::new())?;
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate()?;
        issued(&params.signed_by(&key, &self.issuer)?, &key)
    }
}

/// A certificate that has signed itself and may sign others, as `openssl req -x509` makes them.
pub fn self_signed(name: &str) -> Result<Issued> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate()?;
    issued(&params.self_signed(&key)?, &key)
}

impl Issued {
    /// A copy for servers: they insist on owning their key.
    pub fn for_servers(&self) -> Result<Self> {
        let copy = Self {
            certificate: unused("server.crt")?,
            key: unused("server.key")?,
        };
        fs::copy(&self.certificate, &copy.certificate)?;
        fs::copy(&self.key, &copy.key)?;
        fs::set_permissions(&copy.key, Permissions::from_mode(0o600))?;
        let account = Account::for_servers()?;
        account.own(&copy.certificate)?;
        account.own(&copy.key)?;
        Ok(copy)
    }

    /// Puts another certificate and key in the place of these, as a renewal does.
    pub fn renew(&self, with: &Self) -> Result<()> {
        fs::copy(&with.certificate, &self.certificate)?;
        fs::copy(&with.key, &self.key)?;
        Ok(())
    }
}

fn issued(certificate: &Certificate, key: &KeyPair) -> Result<Issued> {
    let issued = Issued {
        certificate: unused("crt")?,
        key: unused("key")?,
    };
    fs::write(&issued.certificate, certificate.pem())?;
    fs::write(&issued.key, key.serialize_pem())?;
    fs::set_permissions(&issued.certificate, Permissions::from_mode(0o644))?;
    fs::set_permissions(&issued.key, Permissions::from_mode(0o600))?;
    Ok(issued)
}

fn unused(ending: &str) -> Result<PathBuf> {
    let number = FILE_COUNT.fetch_add(1, Ordering::Relaxed);
    let directory = Guardian::of_this_process()?.directory();
    Ok(directory.join(format!("tls-{number}-{ending}")))
}
