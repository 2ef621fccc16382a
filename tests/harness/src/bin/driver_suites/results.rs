//! What became of each test of a suite.
//!
//! Does not say what is right: directly is right.

use std::{collections::BTreeMap, fmt};

/// Outcomes by the tests' names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Results(BTreeMap<String, String>);

impl Results {
    /// How many tests there were.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// A line for each test that ended otherwise, or did not run, in `other`.
    pub(crate) fn differing(&self, other: &Self) -> Vec<String> {
        let absent = "absent".to_owned();
        let names = self.0.keys().chain(other.0.keys());
        let mut lines: Vec<String> = names
            .filter_map(|name| {
                let here = self.0.get(name).unwrap_or(&absent);
                let there = other.0.get(name).unwrap_or(&absent);
                (here != there).then(|| format!("{name}: {here}, through the proxy {there}"))
            })
            .collect();
        lines.sort();
        lines.dedup();
        lines
    }
}

impl FromIterator<(String, String)> for Results {
    fn from_iter<T: IntoIterator<Item = (String, String)>>(results: T) -> Self {
        Self(results.into_iter().collect())
    }
}

impl fmt::Display for Results {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for outcome in self.0.values() {
            *counts.entry(outcome).or_default() += 1;
        }
        let counts = counts
            .iter()
            .map(|(outcome, count)| format!("{count} {outcome}"));
        let counts: Vec<String> = counts.collect();
        write!(f, "{} tests: {}", self.0.len(), counts.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_that_ends_otherwise_or_is_absent_differs() {
        let results = |all: &[(&str, &str)]| -> Results {
            let owned = all
                .iter()
                .map(|(name, outcome)| ((*name).to_owned(), (*outcome).to_owned()));
            owned.collect()
        };
        let direct = results(&[("a", "pass"), ("b", "pass"), ("c", "skip")]);
        let proxied = results(&[("a", "pass"), ("b", "fail"), ("d", "pass")]);
        assert_eq!(
            direct.differing(&proxied),
            [
                "b: pass, through the proxy fail",
                "c: skip, through the proxy absent",
                "d: absent, through the proxy pass",
            ]
        );
    }
}
