//! For whom a certificate is, by libpq's rules.
//!
//! An alternative name of the host's kind decides; only where there is none does the common name.
//! rustls would not look at common names, which PostgreSQL's own manual still makes certificates
//! with. Does not check who signed it.

use std::net::IpAddr;

use x509_cert::Certificate;
use x509_cert::der::Encode;
use x509_cert::der::asn1::{Ia5StringRef, ObjectIdentifier, PrintableStringRef, Utf8StringRef};
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

const COMMON_NAME: ObjectIdentifier = x509_cert::der::oid::db::rfc4519::COMMON_NAME;

/// The names in a certificate.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Subject {
    dns: Vec<String>,
    addresses: Vec<IpAddr>,
    common_name: Option<String>,
}

impl Subject {
    pub(super) fn of(certificate: &Certificate) -> Self {
        let mut subject = Self {
            common_name: common_name(certificate),
            ..Self::default()
        };
        let names = certificate.tbs_certificate.get::<SubjectAltName>();
        for name in names
            .ok()
            .flatten()
            .map(|(_, names)| names.0)
            .unwrap_or_default()
        {
            if let GeneralName::DnsName(name) = &name {
                subject.dns.push(name.as_str().to_owned());
            }
            if let GeneralName::IpAddress(bytes) = &name {
                subject.addresses.extend(address(bytes.as_bytes()));
            }
        }
        subject
    }

    /// Whether the certificate is for `host`.
    pub(super) fn matches(&self, host: &str) -> bool {
        let dns = self.dns.iter().any(|name| name_matches(name, host));
        let (named, of_its_kind) = match host.parse::<IpAddr>() {
            Ok(address) => (
                dns || self.addresses.contains(&address),
                self.addresses.is_empty(),
            ),
            Err(_) => (dns, self.dns.is_empty()),
        };
        let common = self.common_name.as_ref().filter(|_| of_its_kind);
        named || common.is_some_and(|name| name_matches(name, host))
    }

    /// All names, for an error.
    pub(super) fn names(&self) -> Vec<String> {
        let mut names = self.dns.clone();
        names.extend(self.addresses.iter().map(ToString::to_string));
        if names.is_empty() {
            names.extend(self.common_name.clone());
        }
        names
    }
}

fn common_name(certificate: &Certificate) -> Option<String> {
    let names = certificate.tbs_certificate.subject.0.iter();
    let mut parts = names.flat_map(|name| name.0.iter());
    let value = &parts.find(|part| part.oid == COMMON_NAME)?.value;
    let text = Utf8StringRef::try_from(value).map(|text| text.as_str().to_owned());
    let text = text.or_else(|_| PrintableStringRef::try_from(value).map(|text| text.to_string()));
    let text = text.or_else(|_| Ia5StringRef::try_from(value).map(|text| text.to_string()));
    // A NUL inside would let a name end early somewhere else.
    text.ok().filter(|text| !text.contains('\0'))
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from))
        .ok()
}

/// `*.example.com` stands for one label, as in libpq.
fn name_matches(pattern: &str, host: &str) -> bool {
    if pattern.eq_ignore_ascii_case(host) {
        return true;
    }
    let Some(suffix) = pattern
        .strip_prefix('*')
        .filter(|it| it.starts_with('.') && it.len() > 2)
    else {
        return false;
    };
    let Some((label, rest)) = host.split_once('.') else {
        return false;
    };
    let Some(suffix) = suffix.strip_prefix('.') else {
        return false;
    };
    !label.is_empty() && rest.eq_ignore_ascii_case(suffix)
}

/// Whether the bytes of two parts of certificates are the same.
pub(super) fn same(left: &impl Encode, right: &impl Encode) -> bool {
    match (left.to_der(), right.to_der()) {
        (Ok(left), Ok(right)) => left == right,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subject(dns: &[&str], addresses: &[&str], common_name: Option<&str>) -> Subject {
        Subject {
            dns: dns.iter().map(|&name| name.to_owned()).collect(),
            addresses: addresses.iter().map(|text| text.parse().unwrap()).collect(),
            common_name: common_name.map(str::to_owned),
        }
    }

    #[test]
    fn a_name_of_the_hosts_kind_hides_the_common_name() {
        let old = subject(&[], &[], Some("db.example"));
        assert!(old.matches("DB.example") && !old.matches("other.example"));
        let new = subject(&["a.example"], &[], Some("db.example"));
        assert!(new.matches("a.example") && !new.matches("db.example"));
        let mixed = subject(&["a.example"], &[], Some("10.0.0.1"));
        assert!(mixed.matches("10.0.0.1"));
        let address = subject(&[], &["10.0.0.1", "::1"], Some("db.example"));
        assert!(address.matches("10.0.0.1") && address.matches("::1"));
        assert!(address.matches("db.example") && !address.matches("10.0.0.2"));
    }

    #[test]
    fn a_star_stands_for_one_label() {
        let star = subject(&["*.example.com"], &[], None);
        assert!(star.matches("db.example.com"));
        for host in [
            "example.com",
            "a.b.example.com",
            ".example.com",
            "xexample.com",
        ] {
            assert!(!star.matches(host), "{host}");
        }
        assert!(!subject(&["*"], &[], None).matches("db"));
    }
}
