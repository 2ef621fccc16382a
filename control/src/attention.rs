//! What will need a person soon, in words: each sentence says what is at hand and what mends it.
//!
//! Pure: facts in, sentences out, the most urgent first. Does not say what is being repaired.

use crate::status::{Names, OpenTransaction, StatusFacts};

/// Of the slot's WAL budget: the source removes the log that is needed once it is used up.
const BUDGET_ALARM: f64 = 0.7;
/// Log held for a slot without a bound that is worth a look: it fills the source's disk.
const UNBOUNDED_ALARM_BYTES: i64 = 8 << 30;
/// A row that is owed for longer is held up by something.
const OWED_ALARM_SECONDS: f64 = 60.0;

/// A transaction of the source that has been open for longer was forgotten, or is a very long load.
const FORGOTTEN_SECONDS: f64 = 1800.0;

/// The sentences.
pub(crate) fn attention(facts: &StatusFacts) -> Vec<String> {
    let mut all = Vec::new();
    match &facts.slot_lost {
        Some(lost) => all.push(lost.clone()),
        None => all.extend(
            facts
                .slot_wal_bytes
                .and_then(|held| wal(held, facts.slot_wal_budget_bytes)),
        ),
    }
    all.extend(facts.oldest_transaction.as_ref().and_then(forgotten));
    for stop in &facts.stopped_repairs {
        let (table, held) = (&stop.table, stop.held);
        all.push(format!(
            "{table} has had its share of repairs, and {held} of its divergences wait: look at \
             them (segue report), then segue repair resume {table}"
        ));
    }
    if facts.dry_divergences > 0 {
        all.push(format!(
            "{} divergences are only reported: the reconciler runs with repair = dry",
            facts.dry_divergences
        ));
    }
    if let Some(longest) = facts.owed_seconds_max.filter(|it| *it > OWED_ALARM_SECONDS) {
        all.push(match &facts.owed_said {
            Some(said) => format!("{said}; the oldest has waited for {longest:.0} s"),
            None => format!(
                "a row has been owed for {longest:.0} s: something holds it up at the target; the \
                 reconciler's log names it"
            ),
        });
    }
    if facts.phase.is_some() && !facts.finds_foreign_writes {
        all.push(
            "the target has no slot of its own: what others write there is not found (wal_level = \
             logical there, then set up again)"
                .to_owned(),
        );
    }
    all.extend(tables(
        &facts.tables_without_privilege,
        "may not be read and written by this role: GRANT SELECT, INSERT, UPDATE, DELETE",
    ));
    all.extend(tables(
        &facts.tables_without_key,
        "without a key: add a primary key on both sides, or they have to be moved otherwise",
    ));
    all
}

/// Of a slot that holds so much, under a budget or without one.
pub(crate) fn wal(held: i64, budget: Option<i64>) -> Option<String> {
    let Some(budget) = budget else {
        return (held > UNBOUNDED_ALARM_BYTES).then(|| {
            "the slot holds more than 8 GiB of log at the source, without a bound: start the \
             reconciler before the disk is full"
                .to_owned()
        });
    };
    let used = held as f64 / budget.max(1) as f64;
    (used > BUDGET_ALARM).then(|| {
        format!(
            "{:.0} % of the slot's WAL budget are used: at 100 % the source drops the log that is \
             needed; start the reconciler, or raise max_slot_wal_keep_size there",
            used * 100.0
        )
    })
}

/// While it is open the slot holds the log since, and what was written since needs an entry each.
fn forgotten(open: &OpenTransaction) -> Option<String> {
    (open.seconds > FORGOTTEN_SECONDS).then(|| {
        format!(
            "a transaction at the source has been open for {:.0} min, of {}: until it ends, the \
             source keeps the log since and rows cannot be read again; end it there",
            open.seconds / 60.0,
            open.who
        )
    })
}

fn tables(names: &Names, what: &str) -> Option<String> {
    let more = names.count - i64::try_from(names.first.len()).unwrap_or(i64::MAX);
    let more = if more > 0 {
        format!(" and {more} more")
    } else {
        String::new()
    };
    let noun = if names.count == 1 { "table" } else { "tables" };
    (names.count > 0).then(|| {
        format!(
            "{} {noun} {what}: {}{more}",
            names.count,
            names.first.join(", ")
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::StoppedRepairs;

    fn well() -> StatusFacts {
        StatusFacts {
            phase: Some("dual_write".into()),
            finds_foreign_writes: true,
            slot_wal_bytes: Some(1 << 20),
            slot_wal_budget_bytes: Some(1 << 30),
            ..StatusFacts::default()
        }
    }

    #[track_caller]
    fn says(facts: &StatusFacts, words: &str) {
        let said = attention(facts);
        assert_eq!(said.len(), 1, "{said:?}");
        assert!(said[0].contains(words), "{said:?}");
    }

    #[test]
    fn nothing_is_said_where_all_is_well() {
        assert_eq!(attention(&well()), Vec::<String>::new());
    }

    #[test]
    fn a_budget_nearly_used_is_said_before_it_is_used() {
        let used = |bytes| StatusFacts {
            slot_wal_bytes: Some(bytes),
            ..well()
        };
        assert_eq!(attention(&used(700 << 20)), Vec::<String>::new());
        says(&used(900 << 20), "88 % of the slot's WAL budget");
        let unbounded = StatusFacts {
            slot_wal_bytes: Some(9 << 30),
            slot_wal_budget_bytes: None,
            ..well()
        };
        says(&unbounded, "without a bound");
        let lost = StatusFacts {
            slot_lost: Some("the slot is lost: copy anew".into()),
            ..used(900 << 20)
        };
        says(&lost, "copy anew");
    }

    #[test]
    fn what_waits_for_a_person_is_said_with_what_mends_it() {
        let stopped = StatusFacts {
            held_divergences: 3,
            stopped_repairs: vec![StoppedRepairs {
                table: "public.item".into(),
                stopped_at: String::new(),
                held: 3,
            }],
            ..well()
        };
        says(&stopped, "segue repair resume public.item");
        let owed = StatusFacts {
            owed_seconds_max: Some(61.0),
            ..well()
        };
        says(&owed, "owed for 61 s");
        let partition = StatusFacts {
            owed_said: Some("a row of public.item: no partition of relation".into()),
            ..owed
        };
        says(
            &partition,
            "no partition of relation; the oldest has waited for 61 s",
        );
        let blind = StatusFacts {
            finds_foreign_writes: false,
            ..well()
        };
        says(&blind, "no slot of its own");
        let open = |seconds| StatusFacts {
            oldest_transaction: Some(OpenTransaction {
                seconds,
                who: "the session 17 of app".into(),
            }),
            ..well()
        };
        assert_eq!(attention(&open(1700.0)), Vec::<String>::new());
        says(&open(7200.0), "open for 120 min, of the session 17 of app");
        let keyless = StatusFacts {
            tables_without_key: Names {
                count: 7,
                first: vec!["public.a".into(), "public.b".into()],
            },
            ..well()
        };
        says(&keyless, "7 tables without a key");
        assert!(attention(&keyless)[0].ends_with("public.a, public.b and 5 more"));
    }
}
