//! Certificates and keys in PEM files, and why one cannot be used.
//!
//! Does not decide which files are needed.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustls::RootCertStore;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};

/// A file that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{setting} {}: {why}", path.display())]
pub struct FileFault {
    /// The setting that names it.
    pub setting: &'static str,
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it, and what mends it.
    pub why: String,
}

impl FileFault {
    /// Of the file that `setting` names.
    pub fn new(setting: &'static str, path: &Path, why: impl Into<String>) -> Self {
        Self {
            setting,
            path: path.to_owned(),
            why: why.into(),
        }
    }
}

/// The certificates of a file, in its order: one at least.
pub fn certificates(
    setting: &'static str,
    path: &Path,
) -> Result<Vec<CertificateDer<'static>>, FileFault> {
    items(setting, path, "certificate")
}

/// The revocation lists of a file, one at least.
pub(super) fn revocations(
    setting: &'static str,
    path: &Path,
) -> Result<Vec<CertificateRevocationListDer<'static>>, FileFault> {
    items(setting, path, "revocation list")
}

/// The certificates of a file as those who may sign others.
pub fn authorities(
    setting: &'static str,
    path: &Path,
) -> Result<(RootCertStore, Vec<CertificateDer<'static>>), FileFault> {
    let certificates = certificates(setting, path)?;
    let mut store = RootCertStore::empty();
    let (added, _) = store.add_parsable_certificates(certificates.iter().cloned());
    // One of version 1 is no authority to rustls, and is still taken for itself.
    if added == 0 && certificates.is_empty() {
        return Err(FileFault::new(setting, path, "holds no certificate"));
    }
    Ok((store, certificates))
}

fn items<T: PemObject>(
    setting: &'static str,
    path: &Path,
    what: &str,
) -> Result<Vec<T>, FileFault> {
    let fault = |why: String| FileFault::new(setting, path, why);
    let bytes = fs::read(path).map_err(|error| fault(unreadable(&error)))?;
    let items: Result<Vec<T>, _> = T::pem_slice_iter(&bytes).collect();
    let items = items.map_err(|error| fault(format!("is no PEM file ({error})")))?;
    if items.is_empty() {
        return Err(fault(format!("holds no {what} in PEM format")));
    }
    Ok(items)
}

/// The private key of a file that nobody else can read.
pub fn private_key(
    setting: &'static str,
    path: &Path,
) -> Result<PrivateKeyDer<'static>, FileFault> {
    let fault = |why: String| FileFault::new(setting, path, why);
    let facts = fs::metadata(path).map_err(|error| fault(unreadable(&error)))?;
    if !facts.is_file() {
        return Err(fault("is not a plain file".to_owned()));
    }
    // PostgreSQL's rule, for both ends: only a key that root owns may be read by a group.
    let forbidden = if facts.uid() == 0 { 0o037 } else { 0o077 };
    if facts.mode() & forbidden != 0 {
        return Err(fault(
            "can be read by others and is not used; chmod 600 mends it (0640 if root owns it)"
                .to_owned(),
        ));
    }
    let bytes = fs::read(path).map_err(|error| fault(unreadable(&error)))?;
    match PrivateKeyDer::from_pem_slice(&bytes) {
        Ok(key) => Ok(key),
        Err(_) if is_encrypted(&bytes) => Err(fault(
            "is encrypted with a passphrase, which is not supported; decrypt it with openssl pkey \
             -in FILE -out FILE and keep it at mode 0600"
                .to_owned(),
        )),
        Err(pem::Error::NoItemsFound) => Err(fault("holds no private key in PEM format".into())),
        Err(error) => Err(fault(format!("is no PEM file ({error})"))),
    }
}

fn is_encrypted(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes);
    text.contains("BEGIN ENCRYPTED PRIVATE KEY") || text.contains("Proc-Type: 4,ENCRYPTED")
}

fn unreadable(error: &io::Error) -> String {
    format!("cannot be read: {error}")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    struct File(PathBuf);

    impl File {
        fn new(name: &str, text: &str, mode: u32) -> Self {
            let name = format!("segue-tls-{}-{name}", std::process::id());
            let path = std::env::temp_dir().join(name);
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            Self(path)
        }
    }

    impl Drop for File {
        fn drop(&mut self) {
            drop(fs::remove_file(&self.0));
        }
    }

    #[track_caller]
    fn refused(file: &File, expected: &str) {
        let text = private_key("sslkey", &file.0).unwrap_err().to_string();
        assert!(
            text.contains(expected) && text.starts_with("sslkey /"),
            "{text}"
        );
    }

    #[test]
    fn a_key_that_others_can_read_is_refused() {
        let key = rcgen::KeyPair::generate().unwrap().serialize_pem();
        refused(&File::new("wide", &key, 0o644), "chmod 600");
        let file = File::new("narrow", &key, 0o600);
        assert!(private_key("sslkey", &file.0).is_ok());
    }

    #[test]
    fn an_encrypted_key_is_refused_with_what_mends_it() {
        let text =
            "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMAo=\n-----END ENCRYPTED PRIVATE KEY-----\n";
        refused(&File::new("encrypted", text, 0o600), "openssl pkey");
        refused(&File::new("empty", "", 0o600), "holds no private key");
    }

    #[test]
    fn a_missing_file_is_named() {
        let path = Path::new("/nowhere/root.crt");
        let text = certificates("sslrootcert", path).unwrap_err().to_string();
        assert!(
            text.contains("sslrootcert /nowhere/root.crt: cannot be read"),
            "{text}"
        );
    }
}
