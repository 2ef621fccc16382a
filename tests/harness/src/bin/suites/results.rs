//! What a run came to: each test's verdict and its output, and how two runs differ.
//!
//! Does not judge a difference: where both outputs are among those that PostgreSQL expects, it is
//! none; every other one counts.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// One run of a suite.
#[derive(Debug)]
pub(crate) struct Results {
    /// Whether each test printed what PostgreSQL expects.
    verdicts: BTreeMap<String, Verdict>,
    /// Where the outputs lie.
    outputs: PathBuf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Passed,
    Failed,
}

impl Results {
    /// Reads the driver's list of verdicts.
    pub(crate) fn read(list: &str, outputs: PathBuf) -> Result<Self> {
        let verdicts: BTreeMap<_, _> = list.lines().filter_map(verdict).collect();
        ensure!(!verdicts.is_empty(), "no test has run:\n{list}");
        Ok(Self { verdicts, outputs })
    }

    pub(crate) fn len(&self) -> usize {
        self.verdicts.len()
    }

    fn passes(&self, name: &str) -> bool {
        self.verdicts.get(name) == Some(&Verdict::Passed)
    }

    fn output(&self, name: &str) -> PathBuf {
        self.outputs.join("results").join(format!("{name}.out"))
    }
}

impl fmt::Display for Results {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let passed = self.verdicts.values().filter(|it| **it == Verdict::Passed);
        write!(f, "{} of {} pass", passed.count(), self.len())
    }
}

/// `test NAME ... ok 12 ms`, or in a parallel group without the first word.
fn verdict(line: &str) -> Option<(String, Verdict)> {
    let (name, rest) = line.split_once(" ... ")?;
    let name = name.trim().trim_start_matches("test ").trim();
    let verdict = match rest.split_whitespace().next()? {
        "ok" => Verdict::Passed,
        _ => Verdict::Failed,
    };
    Some((name.to_owned(), verdict))
}

/// The tests whose outputs differ; each difference is written to `kept`.
pub(crate) fn compare(direct: &Results, proxied: &Results, kept: &Path) -> Result<Vec<String>> {
    let mut differing = Vec::new();
    let mut names: Vec<&String> = direct.verdicts.keys().collect();
    names.extend(
        proxied
            .verdicts
            .keys()
            .filter(|name| !direct.verdicts.contains_key(*name)),
    );
    for name in names {
        let passes = direct.passes(name) && proxied.passes(name);
        let (expected, seen) = (direct.output(name), proxied.output(name));
        if passes || same(&expected, &seen) {
            continue;
        }
        let output = Command::new("diff")
            .arg("-u")
            .args([&expected, &seen])
            .output();
        let mut difference = output.context("could not run diff")?;
        difference.stdout.extend(difference.stderr);
        std::fs::write(kept.join(format!("{name}.diff")), difference.stdout)?;
        for (way, output) in [("direct", expected), ("proxied", seen)] {
            // A test whose psql did not even start has none, and the difference says so.
            drop(std::fs::copy(
                output,
                kept.join(format!("{name}.{way}.out")),
            ));
        }
        differing.push(name.clone());
    }
    Ok(differing)
}

fn same(one: &Path, other: &Path) -> bool {
    match (std::fs::read(one), std::fs::read(other)) {
        (Ok(one), Ok(other)) => one == other,
        (Ok(_) | Err(_), _) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts_are_read_from_both_forms_of_line() {
        let list = "test test_setup                   ... ok          168 ms\n\
                    parallel group (2 tests):  varchar name\n\
                    \x20    varchar                      ... ok          643 ms\n\
                    \x20    name                         ... FAILED      175 ms\n\
                    \x20    money                        ... FAILED (test process exited with exit code 2)\n";
        let results = Results::read(list, PathBuf::new()).unwrap();
        assert_eq!(results.to_string(), "2 of 4 pass");
        assert!(results.passes("varchar") && !results.passes("money"));
    }
}
