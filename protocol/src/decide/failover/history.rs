//! The history of a timeline: which timelines it comes from, and where each was left.
//!
//! PostgreSQL keeps it in a [history file] and sends it on `TIMELINE_HISTORY`. Does not ask for it.
//!
//! [history file]: https://www.postgresql.org/docs/current/continuous-archiving.html#BACKUP-TIMELINES

use std::fmt;

use crate::lsn::Lsn;

/// A timeline and where it comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct History {
    /// Its number.
    pub timeline: u32,
    /// What it comes from, the oldest first; empty if it is the first or if that is not known.
    pub ancestors: Vec<Ancestor>,
}

/// A timeline that was left for another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ancestor {
    /// Its number.
    pub timeline: u32,
    /// Where it was left: what lies at or above this is another history's.
    pub until: Lsn,
}

/// How one history stands to another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kinship {
    /// They are the same.
    Same,
    /// The other one has gone on from it.
    Ancestor,
    /// It has gone on from the other one.
    Descendant {
        /// Where it left the other one.
        fork: Lsn,
    },
    /// They have gone different ways.
    Relative {
        /// Where they part.
        fork: Lsn,
    },
    /// Nothing is known that they have in common.
    Stranger,
}

/// A history file that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{line:?} is not a line of a timeline's history")]
pub struct HistoryError {
    line: String,
}

impl History {
    /// A timeline whose origin is not known, or that has none.
    pub const fn of(timeline: u32) -> Self {
        let ancestors = Vec::new();
        Self {
            timeline,
            ancestors,
        }
    }

    /// Reads a history file: a number, a position and a reason a line, with comments.
    pub fn parse(timeline: u32, text: &str) -> Result<Self, HistoryError> {
        let lines = text.lines().map(str::trim);
        let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
        let ancestors = lines.map(|line| {
            let mut words = line.split_whitespace();
            let timeline = words.next().and_then(|word| word.parse().ok());
            let until = words.next().and_then(|word| word.parse().ok());
            match (timeline, until) {
                (Some(timeline), Some(until)) => Ok(Ancestor { timeline, until }),
                _ => Err(HistoryError {
                    line: line.to_owned(),
                }),
            }
        });
        Ok(Self {
            timeline,
            ancestors: ancestors.collect::<Result<_, _>>()?,
        })
    }

    /// How this history stands to `other`.
    pub fn kinship(&self, other: &Self) -> Kinship {
        if self.timeline == other.timeline && (self.is_bare() || other.is_bare()) {
            return Kinship::Same;
        }
        if let Some(fork) = self.left(other.timeline).filter(|_| other.is_bare()) {
            return Kinship::Descendant { fork };
        }
        if other.left(self.timeline).is_some() && self.is_bare() {
            return Kinship::Ancestor;
        }
        let mut parting = None;
        let mut pairs = self.ways().zip(other.ways());
        loop {
            match pairs.next() {
                Some((mine, theirs)) if mine == theirs => parting = mine.1,
                Some((mine, theirs)) if mine.0 == theirs.0 => match (mine.1, theirs.1) {
                    (Some(fork), None) => return Kinship::Descendant { fork },
                    (None, Some(_)) => return Kinship::Ancestor,
                    (Some(mine), Some(theirs)) => {
                        let fork = mine.min(theirs);
                        return Kinship::Relative { fork };
                    }
                    (None, None) => return Kinship::Same,
                },
                Some(_) => {
                    return parting.map_or(Kinship::Stranger, |fork| Kinship::Relative { fork });
                }
                None => return Kinship::Same,
            }
        }
    }

    /// Whether it may come from timelines that are not known.
    fn is_bare(&self) -> bool {
        self.ancestors.is_empty()
    }

    /// Where this history left a timeline, if it did.
    fn left(&self, timeline: u32) -> Option<Lsn> {
        let mut ancestors = self.ancestors.iter();
        let found = ancestors.find(|ancestor| ancestor.timeline == timeline);
        found.map(|ancestor| ancestor.until)
    }

    /// Each timeline with where it was left; the last one has not been.
    fn ways(&self) -> impl Iterator<Item = (u32, Option<Lsn>)> {
        let ancestors = self.ancestors.iter();
        let ancestors = ancestors.map(|ancestor| (ancestor.timeline, Some(ancestor.until)));
        ancestors.chain([(self.timeline, None)])
    }
}

/// As a history file has it, without reasons.
impl fmt::Display for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for ancestor in &self.ancestors {
            writeln!(f, "{}\t{}", ancestor.timeline, ancestor.until)?;
        }
        Ok(())
    }
}
