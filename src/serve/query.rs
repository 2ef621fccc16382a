//! What stands behind the question mark of a URL.
//!
//! Does not judge times: who reads the report does.

use control::report::Page;

use crate::target;

/// Divergences on a page, if nothing is said.
const LIMIT_DEFAULT: usize = 100;

/// `name=value&name`.
#[derive(Debug)]
pub(super) struct Query(pub(super) String);

impl Query {
    /// The value of the first parameter with this name.
    pub(super) fn value(&self, name: &str) -> Option<String> {
        let pairs = self.0.split('&');
        let mut pairs = pairs.filter_map(|pair| pair.split_once('='));
        pairs
            .find(|(it, _)| *it == name)
            .map(|(_, value)| plain(value))
    }

    /// Whether it is there, and not as `name=false`.
    pub(super) fn has(&self, name: &str) -> bool {
        let bare = self.0.split('&').any(|pair| pair == name);
        bare || self
            .value(name)
            .is_some_and(|value| value != "false" && value != "0")
    }

    /// Which divergences are asked for.
    pub(super) fn page(&self) -> Result<Page, &'static str> {
        let state = self.value("state");
        if state
            .as_deref()
            .is_some_and(|state| !Page::STATES.contains(&state))
        {
            return Err("state is one of open, repaired, ignored");
        }
        let number = |name, problem| match self.value(name) {
            Some(text) => text.parse::<i64>().map(Some).map_err(|_| problem),
            None => Ok(None),
        };
        let after = number("after", "after is the number of a divergence")?;
        let limit = number("limit", "limit is a number from 1 to 1000")?;
        let limit = match limit.map(usize::try_from) {
            None => LIMIT_DEFAULT,
            Some(Ok(limit @ 1..=Page::LIMIT_MAX)) => limit,
            Some(_) => return Err("limit is a number from 1 to 1000"),
        };
        Ok(Page {
            since: target::since(self.value("since").as_deref()),
            state,
            table: self.value("table"),
            after: after.unwrap_or_default(),
            limit,
        })
    }
}

/// A value without its percent signs and pluses.
fn plain(value: &str) -> String {
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.as_bytes();
    while let [first, others @ ..] = rest {
        rest = others;
        let hex = |digit: u8| char::from(digit).to_digit(16);
        match (first, others) {
            (b'+', _) => bytes.push(b' '),
            (b'%', [high, low, after @ ..]) => match (hex(*high), hex(*low)) {
                (Some(high), Some(low)) => {
                    bytes.push(u8::try_from(high * 16 + low).unwrap_or(b'?'));
                    rest = after;
                }
                _ => bytes.push(b'%'),
            },
            (byte, _) => bytes.push(*byte),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(text: &str) -> Query {
        Query(text.to_owned())
    }

    #[test]
    fn values_are_read_without_their_escapes() {
        let query = query("since=2026-11-23T15%3A00%3a00Z&table=public.%22a+b%22&x=%zz&redact");
        assert_eq!(
            query.value("since").as_deref(),
            Some("2026-11-23T15:00:00Z")
        );
        assert_eq!(query.value("table").as_deref(), Some("public.\"a b\""));
        assert_eq!(query.value("x").as_deref(), Some("%zz"));
        assert_eq!(query.value("y"), None);
        assert!(query.has("redact") && !query.has("y"));
    }

    #[test]
    fn a_page_is_bounded_and_its_parameters_are_judged() {
        let page = query("").page().unwrap();
        assert_eq!((page.after, page.limit, page.state), (0, 100, None));
        let page = query("state=open&after=17&limit=5").page().unwrap();
        assert_eq!((page.after, page.limit), (17, 5));
        for wrong in ["state=lost", "after=x", "limit=0", "limit=1001", "limit=-1"] {
            assert!(query(wrong).page().is_err(), "{wrong}");
        }
    }
}
