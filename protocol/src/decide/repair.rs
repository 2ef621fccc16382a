//! Whether a repair may go ahead, and whether one may be undone.
//!
//! A repair rewrites what somebody finds at the target, so it is bounded: so many in a table and a
//! stretch of time, then that table's repairs stop until a person lets them go on. What the log
//! itself brings is no repair and is never held back. Does not know a clock: times are since some
//! moment of the caller's.

use std::collections::HashMap;
use std::time::Duration;

use crate::contract::TableIndex;

/// Whether repairs are made at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Policy {
    /// They are.
    #[default]
    On,
    /// They are only reported, with what they would write.
    Dry,
}

/// How many repairs of one table may be made in a stretch of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// So many.
    pub count: u64,
    /// In this time, from the first of them on.
    pub window: Duration,
}

/// What becomes of a repair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Permission {
    /// It may be made.
    Granted,
    /// It must not be made now; the divergence stays open and the row owed.
    Held(Hold),
}

impl Permission {
    /// Why it is held back, if it is.
    pub const fn hold(self) -> Option<Hold> {
        match self {
            Self::Granted => None,
            Self::Held(hold) => Some(hold),
        }
    }
}

/// Why a repair is held back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hold {
    /// Repairs are only reported.
    Dry,
    /// The table has had its share, and waits for a person.
    Limit,
}

impl Hold {
    /// The name in `segue.divergence` and in metrics.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Dry => "dry",
            Self::Limit => "limit",
        }
    }
}

/// What a table has had of its share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Share {
    /// So many since then.
    Used { began: Duration, count: u64 },
    /// All of it, until a person lets it go on.
    Stopped,
}

/// The repairs of all tables. Holds what has been repaired lately, and so at most the contract's
/// tables.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Repairs {
    policy: Policy,
    limit: Option<Limit>,
    shares: HashMap<TableIndex, Share>,
}

impl Repairs {
    /// Under `policy`, with at most `limit` of each table; none for as many as there are.
    pub fn new(policy: Policy, limit: Option<Limit>) -> Self {
        Self {
            policy,
            limit,
            shares: HashMap::new(),
        }
    }

    /// Asks for one repair and counts it if it is granted.
    pub fn ask(&mut self, table: TableIndex, now: Duration) -> Permission {
        if self.policy == Policy::Dry {
            return Permission::Held(Hold::Dry);
        }
        let fresh = Share::Used {
            began: now,
            count: 0,
        };
        let share = self.shares.entry(table).or_insert(fresh);
        let Share::Used { began, count } = *share else {
            return Permission::Held(Hold::Limit);
        };
        let (began, count) = match self.limit {
            Some(limit) if now.saturating_sub(began) >= limit.window => (now, 0),
            Some(limit) if count >= limit.count => {
                *share = Share::Stopped;
                return Permission::Held(Hold::Limit);
            }
            Some(_) | None => (began, count),
        };
        *share = Share::Used {
            began,
            count: count + 1,
        };
        Permission::Granted
    }

    /// What an earlier process did, as it is on record: so many repairs, and the first so long ago.
    pub fn recall(&mut self, table: TableIndex, began: Duration, count: u64) {
        self.shares.insert(table, Share::Used { began, count });
    }

    /// The table's repairs have been stopped before.
    pub fn stop(&mut self, table: TableIndex) {
        self.shares.insert(table, Share::Stopped);
    }

    /// A person lets the table's repairs go on: with a whole share.
    pub fn resume(&mut self, table: TableIndex) {
        self.shares.remove(&table);
    }

    /// Whether the table's repairs wait for a person.
    pub fn is_stopped(&self, table: TableIndex) -> bool {
        self.shares.get(&table) == Some(&Share::Stopped)
    }

    /// The tables whose repairs wait for a person.
    pub fn stopped(&self) -> impl Iterator<Item = TableIndex> {
        let stopped = self.shares.iter();
        let stopped = stopped.filter(|(_, share)| **share == Share::Stopped);
        stopped.map(|(table, _)| *table)
    }
}

/// A repaired row as whoever wants to undo its repair finds it. The texts are rows as the target
/// writes them, none where there is no row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Repaired<'a> {
    /// The divergence's state.
    pub state: &'a str,
    /// The row before the repair.
    pub before: Option<&'a str>,
    /// The row that the repair left.
    pub after: Option<&'a str>,
    /// The row now.
    pub now: Option<&'a str>,
}

/// Why a repair cannot be undone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UndoRefusal {
    /// It has not been made.
    #[error("it is open: nothing has been repaired")]
    Open,
    /// It was a foreign write that changed nothing, or it has been undone before.
    #[error("it is ignored: it has been undone already, or there was nothing to repair")]
    Ignored,
    /// The row was right already, so nothing was written.
    #[error("its repair changed nothing")]
    Unchanged,
    /// Somebody has written the row since.
    #[error("the row is no longer what the repair left; it has been written since")]
    Changed,
}

/// Whether what stood there before a repair may be put back.
pub fn may_undo(found: Repaired<'_>) -> Result<(), UndoRefusal> {
    match found.state {
        "open" => return Err(UndoRefusal::Open),
        "repaired" => {}
        _ => return Err(UndoRefusal::Ignored),
    }
    if found.before == found.after {
        return Err(UndoRefusal::Unchanged);
    }
    if found.now != found.after {
        return Err(UndoRefusal::Changed);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ITEM: TableIndex = TableIndex::new(0);
    const OTHER: TableIndex = TableIndex::new(1);
    const HELD: Permission = Permission::Held(Hold::Limit);

    fn at(minutes: u64) -> Duration {
        Duration::from_mins(minutes)
    }

    fn two_an_hour() -> Repairs {
        let limit = Limit {
            count: 2,
            window: at(60),
        };
        Repairs::new(Policy::On, Some(limit))
    }

    #[test]
    fn a_table_that_has_had_its_share_stops_and_the_others_go_on() {
        let mut repairs = two_an_hour();
        assert_eq!(repairs.ask(ITEM, at(0)), Permission::Granted);
        assert_eq!(repairs.ask(ITEM, at(1)), Permission::Granted);
        assert!(!repairs.is_stopped(ITEM), "the last one is still its own");
        assert_eq!(repairs.ask(ITEM, at(2)), HELD);
        assert_eq!(repairs.ask(OTHER, at(2)), Permission::Granted);
        assert_eq!(repairs.stopped().collect::<Vec<_>>(), [ITEM]);
    }

    #[test]
    fn repairs_that_come_slowly_never_stop() {
        let mut repairs = two_an_hour();
        for hour in 0..100 {
            assert_eq!(repairs.ask(ITEM, at(hour * 60)), Permission::Granted);
            assert_eq!(repairs.ask(ITEM, at(hour * 60 + 1)), Permission::Granted);
        }
    }

    #[test]
    fn what_has_stopped_waits_for_a_person_however_long() {
        let mut repairs = two_an_hour();
        for _ in 0..3 {
            repairs.ask(ITEM, at(0));
        }
        assert_eq!(repairs.ask(ITEM, at(600)), HELD);
        repairs.resume(ITEM);
        assert_eq!(repairs.ask(ITEM, at(601)), Permission::Granted);
        assert_eq!(repairs.ask(ITEM, at(602)), Permission::Granted);
        assert_eq!(repairs.ask(ITEM, at(603)), HELD);
    }

    #[test]
    fn a_process_goes_on_where_the_one_before_ended() {
        let mut repairs = two_an_hour();
        repairs.recall(ITEM, at(0), 2);
        assert_eq!(repairs.ask(ITEM, at(1)), HELD);
        let mut repairs = two_an_hour();
        repairs.stop(ITEM);
        assert_eq!(repairs.ask(ITEM, at(1000)), HELD);
    }

    #[test]
    fn without_a_limit_nothing_is_held_back_and_in_a_dry_run_everything_is() {
        let mut unlimited = Repairs::new(Policy::On, None);
        let mut dry = Repairs::new(Policy::Dry, None);
        for _ in 0..5_000 {
            assert_eq!(unlimited.ask(ITEM, at(0)), Permission::Granted);
            assert_eq!(dry.ask(ITEM, at(0)), Permission::Held(Hold::Dry));
        }
        assert!(!dry.is_stopped(ITEM), "nobody has to let it go on");
    }

    #[test]
    fn only_a_row_that_is_what_its_repair_left_is_put_back() {
        let repaired = Repaired {
            state: "repaired",
            before: Some("(1,wrong)"),
            after: Some("(1,right)"),
            now: Some("(1,right)"),
        };
        assert_eq!(may_undo(repaired), Ok(()));
        let cases = [
            (
                Repaired {
                    state: "open",
                    ..repaired
                },
                UndoRefusal::Open,
            ),
            (
                Repaired {
                    state: "ignored",
                    ..repaired
                },
                UndoRefusal::Ignored,
            ),
            (
                Repaired {
                    before: repaired.after,
                    ..repaired
                },
                UndoRefusal::Unchanged,
            ),
            (
                Repaired {
                    now: None,
                    ..repaired
                },
                UndoRefusal::Changed,
            ),
            (
                Repaired {
                    now: Some("(1,newer)"),
                    ..repaired
                },
                UndoRefusal::Changed,
            ),
        ];
        for (found, refusal) in cases {
            assert_eq!(may_undo(found), Err(refusal), "{found:?}");
        }
        let phantom = Repaired {
            after: None,
            now: None,
            ..repaired
        };
        assert_eq!(may_undo(phantom), Ok(()), "a row that was deleted");
    }
}
