//! What the target's answer means for each transaction of a group.
//!
//! What stands against a group goes, and the rest goes again; where it cannot be told what it was,
//! each goes alone. So one refusal takes nobody else along, and every attempt settles at least one
//! transaction. Does not send or count.

use apply::{EarlyOutcome, Refusal};
use protocol::contract::TableIndex;

use super::DropReason;

/// What becomes of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// All of it is at the target.
    Accepted,
    /// The target takes nothing at present: all of it is left to the stream.
    Target(DropReason),
    /// These are left to the stream; the others go again.
    Some {
        /// Their places in the group.
        members: Vec<usize>,
        reason: DropReason,
        /// The table that does not take what the contract says.
        table: Option<TableIndex>,
    },
    /// Each goes again, by itself.
    EachAlone,
}

/// How far a failure reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reach {
    Row,
    Table,
    Target,
}

/// The verdict on a group of so many.
pub(super) fn verdict(outcome: &EarlyOutcome, count: usize) -> Verdict {
    match outcome {
        EarlyOutcome::Accepted => Verdict::Accepted,
        EarlyOutcome::Lost => Verdict::Target(DropReason::ConnectionLost),
        EarlyOutcome::Refused { refusal, members } => match refusal {
            Refusal::Gate => Verdict::Target(DropReason::GateShut),
            Refusal::Floor => these(members, count, DropReason::Floor),
            Refusal::Newer => these(members, count, DropReason::Newer),
        },
        EarlyOutcome::Failed {
            sqlstate, culprit, ..
        } => {
            let (reach, reason) = failure(sqlstate);
            match (reach, culprit) {
                (Reach::Target, _) | (Reach::Table, None) => Verdict::Target(reason),
                (Reach::Table, Some(culprit)) => Verdict::Some {
                    members: vec![culprit.member],
                    reason,
                    table: Some(culprit.table),
                },
                (Reach::Row, Some(culprit)) => these(&[culprit.member], count, reason),
                (Reach::Row, None) => these(&[], count, reason),
            }
        }
    }
}

/// Those that are named; if none is, the only one there is, or each by itself.
fn these(members: &[usize], count: usize, reason: DropReason) -> Verdict {
    let known = members.iter().copied().filter(|member| *member < count);
    let mut members: Vec<usize> = known.collect();
    if members.is_empty() {
        if count > 1 {
            return Verdict::EachAlone;
        }
        members.push(0);
    }
    Verdict::Some {
        members,
        reason,
        table: None,
    }
}

/// Whether early writes fail so on a target where all is well: the counters tell.
pub(super) fn is_expected(sqlstate: &str) -> bool {
    let (_, reason) = failure(sqlstate);
    matches!(
        reason,
        DropReason::UniqueViolation | DropReason::LockTimeout
    )
}

/// What an SQLSTATE says of the target. Empty: the row could not be written down.
fn failure(sqlstate: &str) -> (Reach, DropReason) {
    let class = sqlstate.get(..2).unwrap_or_default();
    match (sqlstate, class) {
        ("23505" | "23P01", _) => (Reach::Row, DropReason::UniqueViolation),
        (_, "23") => (Reach::Row, DropReason::ConstraintViolation),
        // A deadlock with the log is a lock that was not had in time.
        ("55P03" | "40P01", _) => (Reach::Row, DropReason::LockTimeout),
        ("25006", _) => (Reach::Target, DropReason::TargetReadOnly),
        // Columns, types and privileges that are not what they were, and what was prepared for them.
        (_, "42" | "0A" | "26") => (Reach::Table, DropReason::TargetSchema),
        // No room on disk, no memory, an I/O error.
        (_, "53" | "58") => (Reach::Target, DropReason::TargetExhausted),
        (_, "08" | "25") => (Reach::Target, DropReason::TargetDown),
        _ => (Reach::Row, DropReason::TargetError),
    }
}

#[cfg(test)]
mod tests {
    use apply::Culprit;

    use super::*;

    const TABLE: TableIndex = TableIndex::new(4);

    fn failed(sqlstate: &str, member: Option<usize>) -> EarlyOutcome {
        EarlyOutcome::Failed {
            sqlstate: sqlstate.to_owned(),
            message: String::new(),
            culprit: member.map(|member| Culprit {
                member,
                table: TABLE,
            }),
        }
    }

    fn refused(refusal: Refusal, members: &[usize]) -> EarlyOutcome {
        let members = members.to_vec();
        EarlyOutcome::Refused { refusal, members }
    }

    fn some(members: &[usize], reason: DropReason) -> Verdict {
        Verdict::Some {
            members: members.to_vec(),
            reason,
            table: None,
        }
    }

    #[test]
    fn one_refusal_takes_nobody_else_along() {
        use DropReason as Reason;
        let cases = [
            (EarlyOutcome::Accepted, Verdict::Accepted),
            (
                refused(Refusal::Gate, &[]),
                Verdict::Target(Reason::GateShut),
            ),
            (refused(Refusal::Newer, &[2]), some(&[2], Reason::Newer)),
            (
                refused(Refusal::Floor, &[0, 1]),
                some(&[0, 1], Reason::Floor),
            ),
            // A detail that cannot be read.
            (refused(Refusal::Newer, &[]), Verdict::EachAlone),
            (refused(Refusal::Newer, &[7]), Verdict::EachAlone),
            (
                failed("23505", Some(1)),
                some(&[1], Reason::UniqueViolation),
            ),
            (
                failed("23514", Some(1)),
                some(&[1], Reason::ConstraintViolation),
            ),
            // A deferred constraint fails at the end.
            (failed("23505", None), Verdict::EachAlone),
            (failed("55P03", None), Verdict::EachAlone),
            (failed("22003", Some(0)), some(&[0], Reason::TargetError)),
            (failed("", Some(0)), some(&[0], Reason::TargetError)),
        ];
        for (outcome, expected) in cases {
            assert_eq!(verdict(&outcome, 3), expected, "{outcome:?}");
        }
    }

    #[test]
    fn alone_it_is_settled_whatever_was_said() {
        use DropReason as Reason;
        let cases = [
            (refused(Refusal::Newer, &[]), Reason::Newer),
            (failed("23505", None), Reason::UniqueViolation),
            (failed("40P01", None), Reason::LockTimeout),
        ];
        for (outcome, reason) in cases {
            assert_eq!(verdict(&outcome, 1), some(&[0], reason), "{outcome:?}");
        }
    }

    #[test]
    fn a_failure_reaches_the_row_the_table_or_the_target() {
        use DropReason as Reason;
        let table = |reason| Verdict::Some {
            members: vec![1],
            reason,
            table: Some(TABLE),
        };
        let cases = [
            (failed("42703", Some(1)), table(Reason::TargetSchema)),
            (failed("26000", Some(1)), table(Reason::TargetSchema)),
            (failed("42501", Some(1)), table(Reason::TargetSchema)),
            // The admission itself.
            (failed("42883", None), Verdict::Target(Reason::TargetSchema)),
            (
                failed("53100", Some(1)),
                Verdict::Target(Reason::TargetExhausted),
            ),
            (
                failed("25006", None),
                Verdict::Target(Reason::TargetReadOnly),
            ),
            (EarlyOutcome::Lost, Verdict::Target(Reason::ConnectionLost)),
        ];
        for (outcome, expected) in cases {
            assert_eq!(verdict(&outcome, 3), expected, "{outcome:?}");
        }
    }
}
