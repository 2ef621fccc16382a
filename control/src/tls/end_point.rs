//! Channel binding: the name of a TLS connection's end, `tls-server-end-point`.
//!
//! [RFC 5929, section 4.1](https://www.rfc-editor.org/rfc/rfc5929#section-4.1), as PostgreSQL does
//! it: the hash of the server's certificate, by the hash of its signature. Does not bind anything.

use sha2::{Digest, Sha224, Sha256, Sha384, Sha512};
use x509_cert::Certificate;
use x509_cert::der::asn1::ObjectIdentifier;
use x509_cert::der::oid::db::rfc5912;
use x509_cert::der::{Any, Decode, Reader, SliceReader, TagNumber};
use x509_cert::spki::AlgorithmIdentifierOwned;

/// RSASSA-PSS names its hash in the parameters.
const RSA_PSS: ObjectIdentifier = rfc5912::ID_RSASSA_PSS;

/// The certificate's name for channel binding; nothing where its signature has no hash of its own
/// (Ed25519) or one that is not known.
pub fn end_point(certificate: &[u8]) -> Option<Vec<u8>> {
    let parsed = Certificate::from_der(certificate).ok()?;
    let hash = hash_of(&parsed.signature_algorithm)?;
    Some(match hash {
        Hash::Sha224 => Sha224::digest(certificate).to_vec(),
        Hash::Sha256 => Sha256::digest(certificate).to_vec(),
        Hash::Sha384 => Sha384::digest(certificate).to_vec(),
        Hash::Sha512 => Sha512::digest(certificate).to_vec(),
    })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hash {
    Sha224,
    Sha256,
    Sha384,
    Sha512,
}

fn hash_of(signature: &AlgorithmIdentifierOwned) -> Option<Hash> {
    use rfc5912::{
        ECDSA_WITH_SHA_224, ECDSA_WITH_SHA_256, ECDSA_WITH_SHA_384, ECDSA_WITH_SHA_512, ID_SHA_1,
        ID_SHA_224, ID_SHA_256, ID_SHA_384, ID_SHA_512, MD_5_WITH_RSA_ENCRYPTION,
        SHA_1_WITH_RSA_ENCRYPTION, SHA_224_WITH_RSA_ENCRYPTION, SHA_256_WITH_RSA_ENCRYPTION,
        SHA_384_WITH_RSA_ENCRYPTION, SHA_512_WITH_RSA_ENCRYPTION,
    };
    match signature.oid {
        // MD5 and SHA-1 are replaced by SHA-256.
        MD_5_WITH_RSA_ENCRYPTION
        | SHA_1_WITH_RSA_ENCRYPTION
        | ID_SHA_1
        | SHA_256_WITH_RSA_ENCRYPTION
        | ID_SHA_256
        | ECDSA_WITH_SHA_256 => Some(Hash::Sha256),
        SHA_224_WITH_RSA_ENCRYPTION | ID_SHA_224 | ECDSA_WITH_SHA_224 => Some(Hash::Sha224),
        SHA_384_WITH_RSA_ENCRYPTION | ID_SHA_384 | ECDSA_WITH_SHA_384 => Some(Hash::Sha384),
        SHA_512_WITH_RSA_ENCRYPTION | ID_SHA_512 | ECDSA_WITH_SHA_512 => Some(Hash::Sha512),
        RSA_PSS => pss_hash(signature.parameters.as_ref()),
        // Ed25519 and its kind have none.
        _ => None,
    }
}

/// `RSASSA-PSS-params`: the hash stands in the optional field 0, SHA-1 by default.
fn pss_hash(parameters: Option<&Any>) -> Option<Hash> {
    let mut fields = SliceReader::new(parameters?.value()).ok()?;
    if fields.is_finished() {
        return Some(Hash::Sha256);
    }
    let field = x509_cert::der::asn1::ContextSpecific::<AlgorithmIdentifierOwned>::decode_explicit(
        &mut fields,
        TagNumber::N0,
    );
    match field.ok()? {
        Some(hash) => hash_of(&hash.value),
        None => Some(Hash::Sha256),
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384};

    use super::*;

    fn certificate(algorithm: &'static rcgen::SignatureAlgorithm) -> Vec<u8> {
        let key = KeyPair::generate_for(algorithm).unwrap();
        let params = CertificateParams::new(["db.example".to_owned()]).unwrap();
        params.self_signed(&key).unwrap().der().to_vec()
    }

    #[test]
    fn the_hash_is_that_of_the_certificates_signature() {
        let p256 = certificate(&PKCS_ECDSA_P256_SHA256);
        assert_eq!(end_point(&p256).unwrap(), Sha256::digest(&p256).to_vec());
        let p384 = certificate(&PKCS_ECDSA_P384_SHA384);
        assert_eq!(end_point(&p384).unwrap(), Sha384::digest(&p384).to_vec());
    }

    #[test]
    fn a_signature_without_a_hash_gives_no_name() {
        assert_eq!(end_point(&certificate(&rcgen::PKCS_ED25519)), None);
        assert_eq!(end_point(b"no certificate"), None);
    }

    #[test]
    fn pss_names_its_hash_in_the_parameters() {
        // SEQUENCE { [0] { SEQUENCE { OID sha384, NULL } } }, and the empty SEQUENCE.
        let sha384 = b"\x30\x11\xa0\x0f\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x02\x05\0";
        for (der, hash) in [(&sha384[..], Hash::Sha384), (b"\x30\0", Hash::Sha256)] {
            let parameters = Any::from_der(der).unwrap();
            assert_eq!(pss_hash(Some(&parameters)), Some(hash));
        }
    }
}
