//! `postgres://user:password@host:port/database?keyword=value&…`
//!
//! [libpq's grammar](https://www.postgresql.org/docs/current/libpq-connect.html). Does not know what
//! a keyword means.

use super::DsnError;

/// What follows the scheme, if `text` is a URI.
pub(super) fn rest_of(text: &str) -> Option<&str> {
    text.strip_prefix("postgres://")
        .or_else(|| text.strip_prefix("postgresql://"))
}

/// The parts of a URI as libpq's keywords, later ones winning over earlier ones.
pub(super) fn pairs(rest: &str) -> Result<Vec<(String, String)>, DsnError> {
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, database) = rest.split_once('/').unwrap_or((rest, ""));
    let (userinfo, place) = authority.split_once('@').unwrap_or(("", authority));
    let mut pairs = Vec::new();
    let (user, password) = match userinfo.split_once(':') {
        Some((user, password)) => (user, Some(password)),
        None => (userinfo, None),
    };
    put(&mut pairs, "user", user)?;
    if let Some(password) = password {
        put(&mut pairs, "password", password)?;
    }
    let (host, port) = host_and_port(place)?;
    put(&mut pairs, "host", host)?;
    put(&mut pairs, "port", port)?;
    put(&mut pairs, "dbname", database)?;
    for parameter in query.split('&').filter(|text| !text.is_empty()) {
        let (keyword, value) = parameter.split_once('=').ok_or(DsnError::Shape {
            reason: "a parameter behind the question mark has no value",
        })?;
        pairs.push((decode(keyword)?, decode(value)?));
    }
    Ok(pairs)
}

fn put(pairs: &mut Vec<(String, String)>, keyword: &str, value: &str) -> Result<(), DsnError> {
    if !value.is_empty() {
        pairs.push((keyword.to_owned(), decode(value)?));
    }
    Ok(())
}

fn host_and_port(place: &str) -> Result<(&str, &str), DsnError> {
    if place.contains(',') {
        return Err(DsnError::SeveralHosts);
    }
    if let Some(address) = place.strip_prefix('[') {
        let (address, rest) = address.split_once(']').ok_or(DsnError::Shape {
            reason: "an IPv6 address has no closing bracket",
        })?;
        return Ok((address, rest.strip_prefix(':').unwrap_or(rest)));
    }
    Ok(place.split_once(':').unwrap_or((place, "")))
}

fn decode(text: &str) -> Result<String, DsnError> {
    const BROKEN: DsnError = DsnError::Shape {
        reason: "a percent sign is not followed by two hexadecimal digits of valid UTF-8",
    };
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || rest.next().and_then(|digit| char::from(digit).to_digit(16));
        let (high, low) = (digit().ok_or(BROKEN)?, digit().ok_or(BROKEN)?);
        bytes.push(u8::try_from(high * 16 + low).map_err(|_| BROKEN)?);
    }
    String::from_utf8(bytes).map_err(|_| BROKEN)
}
