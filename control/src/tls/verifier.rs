//! Whether a server's certificate is good enough for the sslmode.
//!
//! Its signature under the handshake is checked in every mode, because channel binding rests on it.
//! Does not read files.

use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{
    WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
    verify_tls13_signature_with_raw_key,
};
use rustls::pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, Error, SignatureScheme};
use x509_cert::Certificate;
use x509_cert::der::{Decode, Encode};

use super::chain;
use super::subject::Subject;

/// Whom we trust.
#[derive(Debug)]
pub(super) enum Trust {
    /// Whoever answers: the connection is encrypted and nothing more.
    Anyone,
    /// Those whom an authority has signed.
    Signed {
        /// Follows chains; none where no trusted certificate can sign others.
        chains: Option<Arc<WebPkiServerVerifier>>,
        /// The trusted certificates, for [`chain`]; none where revocation lists must be heeded.
        trusted: Vec<Certificate>,
    },
}

/// Checks servers' certificates.
#[derive(Debug)]
pub(super) struct Verifier {
    pub(super) trust: Trust,
    /// The name that it has to be for, as libpq compares it.
    pub(super) name: Option<String>,
    pub(super) algorithms: WebPkiSupportedAlgorithms,
}

impl Verifier {
    fn check_chain(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server: &ServerName<'_>,
        now: UnixTime,
    ) -> Result<(), Error> {
        let Trust::Signed { chains, trusted } = &self.trust else {
            return Ok(());
        };
        let checked = match chains {
            Some(chains) => {
                let checked =
                    chains.verify_server_cert(certificate, intermediates, server, &[], now);
                match checked {
                    // The chain is looked at before the name, and names are ours.
                    Ok(_)
                    | Err(Error::InvalidCertificate(
                        CertificateError::NotValidForName
                        | CertificateError::NotValidForNameContext { .. },
                    )) => return Ok(()),
                    Err(error) => error,
                }
            }
            None => Error::InvalidCertificate(CertificateError::UnknownIssuer),
        };
        let all = self.algorithms.all;
        match chain::is_trusted(certificate, trusted, now, all) {
            Ok(()) => Ok(()),
            Err(CertificateError::UnknownIssuer) => Err(checked),
            Err(error) => Err(Error::InvalidCertificate(error)),
        }
    }

    fn check_name(
        &self,
        certificate: &CertificateDer<'_>,
        server: &ServerName<'_>,
    ) -> Result<(), Error> {
        let Some(name) = &self.name else {
            return Ok(());
        };
        let parsed = Certificate::from_der(certificate)
            .map_err(|_| Error::InvalidCertificate(CertificateError::BadEncoding))?;
        let subject = Subject::of(&parsed);
        if subject.matches(name) {
            return Ok(());
        }
        Err(Error::InvalidCertificate(
            CertificateError::NotValidForNameContext {
                expected: server.to_owned(),
                presented: subject.names(),
            },
        ))
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.check_chain(end_entity, intermediates, server_name, now)?;
        self.check_name(end_entity, server_name)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms).or_else(|error| {
            // rustls does not read certificates of version 1; their key does as well.
            let parsed = Certificate::from_der(cert).map_err(|_| error.clone())?;
            let key = parsed.tbs_certificate.subject_public_key_info.to_der();
            let key = SubjectPublicKeyInfoDer::from(key.map_err(|_| error)?);
            verify_tls13_signature_with_raw_key(message, &key, dss, &self.algorithms)
        })
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
