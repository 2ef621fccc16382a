//! What a run came to: each test's verdict and its output, and how two runs differ.
//!
//! Where both outputs are among those that PostgreSQL expects, there is no difference. Every other
//! one counts, unless a rule explains it ([`rules`]), or the suite does not agree with itself there: a
//! test that prints clocks or random numbers is played directly once more, and what differs between
//! two direct runs says nothing of the proxy. Such a test is named all the same, with its difference
//! kept.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::rules::{self, Excuse};

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

/// Of tests that differ, those whose every difference a rule explains, and the rules.
pub(crate) fn excused(
    names: &[String],
    direct: &Results,
    proxied: &Results,
) -> BTreeMap<String, BTreeSet<Excuse>> {
    let excuses = |name: &String| {
        rules::excuses(
            &characters(&direct.output(name))?,
            &characters(&proxied.output(name))?,
        )
    };
    let judged = names.iter().map(|name| (name.clone(), excuses(name)));
    judged
        .filter_map(|(name, excuses)| Some((name, excuses?)))
        .collect()
}

/// An output with a character for each byte: not all that tests print is text.
fn characters(output: &Path) -> Option<String> {
    let bytes = std::fs::read(output).ok()?;
    Some(bytes.into_iter().map(char::from).collect())
}

/// Of tests that differ, those whose every difference is at a place where a second direct run does
/// not agree with the first one either.
pub(crate) fn unstable(
    names: &[String],
    direct: &Results,
    again: &Results,
    proxied: &Results,
    kept: &Path,
) -> Result<Vec<String>> {
    let mut unstable = Vec::new();
    for name in names {
        let first = direct.output(name);
        let noise = Places::of(&first, &again.output(name))?;
        if noise.cover(&Places::of(&first, &proxied.output(name))?) {
            unstable.push(name.clone());
        }
        drop(std::fs::copy(
            again.output(name),
            kept.join(format!("{name}.again.out")),
        ));
    }
    Ok(unstable)
}

/// Where a text differs from another one: first and last line, counted twofold, so that what the
/// other one has between two lines has a place, too.
#[derive(Debug, PartialEq, Eq)]
struct Places(Vec<(usize, usize)>);

impl Places {
    fn of(one: &Path, other: &Path) -> Result<Self> {
        let output = Command::new("diff").args([one, other]).output();
        let output = output.context("could not run diff")?;
        // One that is not there differs in a way that no other run explains.
        ensure!(output.status.code() != Some(2), "{output:?}");
        Ok(Self::read(&String::from_utf8_lossy(&output.stdout)))
    }

    /// `3c3`, `5,7d4`, `8a9,10`: what stands before the letter are lines of the first text.
    fn read(difference: &str) -> Self {
        let place = |line: &str| {
            let end = line.find(['a', 'c', 'd'])?;
            let (lines, letter) = line.split_at_checked(end)?;
            let (first, last) = lines.split_once(',').unwrap_or((lines, lines));
            let between = usize::from(letter.starts_with('a'));
            let place = |number: &str| Some(2 * number.parse::<usize>().ok()? + between);
            Some((place(first)?, place(last)?))
        };
        let heads = difference
            .lines()
            .filter(|line| line.starts_with(|first: char| first.is_ascii_digit()));
        Self(heads.filter_map(place).collect())
    }

    /// Whether each place of `others` meets one of these.
    fn cover(&self, others: &Self) -> bool {
        let meets = |(first, last): &(usize, usize)| {
            let mut places = self.0.iter();
            places.any(|(from, to)| *first <= to + 1 && *from <= last + 1)
        };
        others.0.iter().all(meets)
    }
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

    #[test]
    fn a_difference_counts_where_two_direct_runs_agree() {
        let noise = Places::read("3c3\n< 1\n---\n> 2\n5,7d4\n< a\n20a18,19\n> b\n");
        assert_eq!(noise, Places(vec![(6, 6), (10, 14), (41, 41)]));
        let covers = |difference| noise.cover(&Places::read(difference));
        assert!(covers("") && covers("3c3") && covers("6c6\n20a18"));
        assert!(!covers("3c3\n12c12") && !covers("9a10"));
    }
}
