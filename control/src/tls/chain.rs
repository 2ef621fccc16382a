//! Certificates that libpq trusts and rustls does not: a trusted certificate itself, and one of
//! X.509 version 1 that a trusted one has signed.
//!
//! PostgreSQL's manual makes both with a plain `openssl req` or `openssl x509`. Checked are
//! signature, time and purpose. Does not follow chains: those are rustls's.

use rustls::CertificateError;
use rustls::pki_types::{SignatureVerificationAlgorithm, UnixTime};
use x509_cert::der::oid::db::rfc5912::ID_KP_SERVER_AUTH;
use x509_cert::der::{Decode, Encode};
use x509_cert::ext::pkix::ExtendedKeyUsage;
use x509_cert::spki::AlgorithmIdentifierOwned;
use x509_cert::{Certificate, Version};

use super::subject::same;

type Algorithms = &'static [&'static dyn SignatureVerificationAlgorithm];

/// Whether `certificate` is one of `trusted`, or of version 1 and signed by one.
pub(super) fn is_trusted(
    certificate: &[u8],
    trusted: &[Certificate],
    now: UnixTime,
    algorithms: Algorithms,
) -> Result<(), CertificateError> {
    let leaf = Certificate::from_der(certificate).map_err(|_| CertificateError::BadEncoding)?;
    is_valid(&leaf, now)?;
    is_for_servers(&leaf)?;
    if trusted.contains(&leaf) {
        return Ok(());
    }
    if leaf.tbs_certificate.version != Version::V1 {
        return Err(CertificateError::UnknownIssuer);
    }
    let signed = trusted
        .iter()
        .filter(|issuer| {
            issuer.tbs_certificate.subject == leaf.tbs_certificate.issuer
                && is_valid(issuer, now).is_ok()
        })
        .any(|issuer| has_signed(issuer, &leaf, algorithms).is_some());
    if signed {
        return Ok(());
    }
    Err(CertificateError::UnknownIssuer)
}

fn is_valid(certificate: &Certificate, now: UnixTime) -> Result<(), CertificateError> {
    let validity = &certificate.tbs_certificate.validity;
    if now.as_secs() < validity.not_before.to_unix_duration().as_secs() {
        return Err(CertificateError::NotValidYet);
    }
    if now.as_secs() > validity.not_after.to_unix_duration().as_secs() {
        return Err(CertificateError::Expired);
    }
    Ok(())
}

fn is_for_servers(certificate: &Certificate) -> Result<(), CertificateError> {
    match certificate.tbs_certificate.get::<ExtendedKeyUsage>() {
        Ok(None) => Ok(()),
        Ok(Some((_, usage))) if usage.0.contains(&ID_KP_SERVER_AUTH) => Ok(()),
        Ok(Some(_)) | Err(_) => Err(CertificateError::InvalidPurpose),
    }
}

/// Something if `issuer`'s key has made the signature of `leaf`.
fn has_signed(issuer: &Certificate, leaf: &Certificate, algorithms: Algorithms) -> Option<()> {
    if !same(&leaf.signature_algorithm, &leaf.tbs_certificate.signature) {
        return None;
    }
    let key = &issuer.tbs_certificate.subject_public_key_info;
    let message = leaf.tbs_certificate.to_der().ok()?;
    let (of_key, of_signature) = (inner(&key.algorithm)?, inner(&leaf.signature_algorithm)?);
    let mut fitting = algorithms.iter().filter(|algorithm| {
        algorithm.public_key_alg_id().as_ref() == of_key
            && algorithm.signature_alg_id().as_ref() == of_signature
    });
    let key = key.subject_public_key.as_bytes()?;
    let signature = leaf.signature.as_bytes()?;
    fitting.find_map(|algorithm| algorithm.verify_signature(key, &message, signature).ok())
}

/// What stands in the sequence: rustls names algorithms without its header, which is two bytes.
fn inner(algorithm: &AlgorithmIdentifierOwned) -> Option<Vec<u8>> {
    let der = algorithm.to_der().ok()?;
    Some(der.get(2..)?.to_vec())
}
