//! The state of the migration as one screen of text.

use control::status::{Failover, Gate, Reconciler, StatusFacts, StoppedTable};

use super::{
    bytes, count, count_signed, or_unknown, percentiles, plain, plural, push, reasons, seconds,
    wrapped,
};

/// Wide enough for the longest label.
const LABEL_WIDTH: usize = 12;

/// The screen.
pub(crate) fn text(facts: &StatusFacts, silence_seconds: u32) -> String {
    let mut screen = Screen(String::new());
    let phase = facts.phase.as_deref().unwrap_or("no phase yet");
    let epoch = or_unknown(facts.epoch.map(|epoch| epoch.to_string()));
    push(
        &mut screen.0,
        format_args!(
            "{}   {}, epoch {epoch}   {}\n\n",
            plain(&facts.database),
            plain(phase),
            facts.at
        ),
    );
    screen.line(
        "reconciler",
        &reconciler(&facts.reconciler, silence_seconds),
    );
    screen.line("mirror", &gate(facts));
    screen.line("open", &open(facts));
    if let Some(failover) = &facts.failover {
        screen.line("failover", &since_failover(failover));
    }
    for table in &facts.stopped_tables {
        screen.line("stopped", &stopped(table));
    }
    screen.line("owed", &owed(facts));
    screen.line("lag", &lag(facts));
    screen.line(
        "proven",
        &format!(
            "{}   from commit to proof by the log",
            percentiles(facts.proven_seconds_p50, facts.proven_seconds_p99)
        ),
    );
    screen.line("WAL held", &wal(facts));
    screen.0.push('\n');
    rows(&mut screen, facts);
    mirror(&mut screen, facts);
    for sentence in &facts.attention {
        push(
            &mut screen.0,
            format_args!("\n  ! {}\n", wrapped(&plain(sentence), "\n    ")),
        );
    }
    screen.0
}

/// What there is to say of the source's last failover.
fn since_failover(failover: &Failover) -> String {
    let left = match &failover.verified_at {
        Some(at) => format!("verified {at}"),
        None => format!(
            "being verified: {} that were lost, {} to be read again ({} so far)",
            plural(failover.lost_rows, "row"),
            plural(failover.recheck_tables, "table"),
            plural(failover.recheck_rows, "row"),
        ),
    };
    format!(
        "since {}, timeline {} from {}; {left}",
        failover.since, failover.timeline, failover.begins_at_lsn
    )
}

struct Screen(String);

impl Screen {
    fn line(&mut self, label: &str, text: &str) {
        push(
            &mut self.0,
            format_args!("  {label:LABEL_WIDTH$}  {text}\n"),
        );
    }
}

/// What there is to say of the reconciler.
pub(crate) fn reconciler(reconciler: &Reconciler, silence_seconds: u32) -> String {
    match reconciler.silent_seconds {
        None => "has never reported".to_owned(),
        Some(silent) if reconciler.is_silent(silence_seconds.into()) => format!(
            "has been silent for {}; lag and rows are as of then",
            seconds(silent)
        ),
        Some(silent) => format!("reported {} ago", seconds(silent.max(0.0))),
    }
}

fn gate(facts: &StatusFacts) -> String {
    let proxies = i64::try_from(facts.mirror.proxies).unwrap_or(i64::MAX);
    let living = if proxies == 1 {
        "1 proxy".to_owned()
    } else {
        format!("{} proxies", count_signed(proxies))
    };
    match facts.mirror.gate {
        Gate::Open => format!("gate open, {living}"),
        Gate::Shut => format!("gate shut: all writes are left to the log; {living}"),
    }
}

fn stopped(table: &StoppedTable) -> String {
    let kept = match table.reread.as_str() {
        "keys" => format!("{} kept", plural(table.kept_rows, "row")),
        _ => "to be read again as a whole".to_owned(),
    };
    format!(
        "{} for {}, {kept}: {}",
        plain(&table.table),
        seconds(table.seconds),
        plain(&table.what)
    )
}

fn open(facts: &StatusFacts) -> String {
    let open = plural(facts.open_divergences, "divergence");
    match facts.held_divergences {
        0 => open,
        held => format!("{open}, {} held back", count_signed(held)),
    }
}

fn owed(facts: &StatusFacts) -> String {
    let rows = plural(facts.owed_rows, "row");
    match facts.owed_seconds_max {
        Some(longest) if facts.owed_rows > 0 => {
            format!(
                "{rows} to be read again, the oldest for {}",
                seconds(longest)
            )
        }
        Some(_) | None => rows,
    }
}

fn lag(facts: &StatusFacts) -> String {
    let (Some(lag_bytes), Some(lag_seconds)) = (facts.lag_bytes, facts.lag_seconds) else {
        return or_unknown(None);
    };
    let applied = facts
        .applied_lsn
        .as_deref()
        .map(|lsn| format!("; applied to {}", plain(lsn)));
    format!(
        "{}, {}{}",
        bytes(lag_bytes as f64),
        seconds(lag_seconds),
        applied.unwrap_or_default()
    )
}

/// A slot without a bound may fill the source's disk: that is said.
fn wal(facts: &StatusFacts) -> String {
    match (facts.slot_wal_bytes, facts.slot_wal_budget_bytes) {
        (None, _) => or_unknown(None),
        (Some(held), Some(budget)) => {
            format!("{} of {}", bytes(held as f64), bytes(budget as f64))
        }
        (Some(held), None) => format!(
            "{}; the source sets no bound (max_slot_wal_keep_size)",
            bytes(held as f64)
        ),
    }
}

fn rows(screen: &mut Screen, facts: &StatusFacts) {
    let rows = &facts.rows;
    screen.line(
        "rows",
        &format!(
            "verified {}   applied {}   repaired {}   superseded {}",
            count(rows.verified),
            count(rows.applied),
            count(rows.repaired),
            count(rows.superseded)
        ),
    );
    if !rows.applied_why.is_empty() {
        screen.line("  applied", &reasons(&rows.applied_why));
    }
    if rows.unmirrored > 0 {
        let deferred: u64 = facts.mirror.deferred.values().sum();
        screen.line(
            "  no proxy's",
            &format!(
                "{} rows of transactions that no proxy recorded; the proxies left {} to the log",
                count(rows.unmirrored),
                count(deferred)
            ),
        );
    }
}

fn mirror(screen: &mut Screen, facts: &StatusFacts) {
    let mirror = &facts.mirror;
    screen.line(
        "captured",
        &format!(
            "{} transactions, {} accepted by the target",
            count(mirror.captured),
            count(mirror.accepted)
        ),
    );
    screen.line(
        "  staleness",
        &format!(
            "{}   from commit to the row on the target",
            percentiles(mirror.staleness_seconds_p50, mirror.staleness_seconds_p99)
        ),
    );
    let with_total = |counts: &std::collections::BTreeMap<String, u64>| {
        let total = count(counts.values().sum());
        match reasons(counts).as_str() {
            "" => total,
            why => format!("{total}: {why}"),
        }
    };
    screen.line("  deferred", &with_total(&mirror.deferred));
    screen.line("  failed", &with_total(&mirror.failed));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_known_yet_still_fills_a_screen() {
        let screen = text(&StatusFacts::default(), 10);
        assert!(screen.contains("has never reported"), "{screen}");
        assert!(screen.contains("gate shut"), "{screen}");
        assert!(screen.contains("lag           –"), "{screen}");
    }

    #[test]
    fn a_stopped_table_says_why_and_what_is_kept() {
        let table = |reread: &str| StoppedTable {
            table: "public.item".to_owned(),
            what: "column note is new".to_owned(),
            reread: reread.to_owned(),
            seconds: 12.0,
            kept_rows: 3,
        };
        let facts = StatusFacts {
            stopped_tables: vec![table("keys"), table("table")],
            ..StatusFacts::default()
        };
        let screen = text(&facts, 10);
        assert!(
            screen.contains("3 rows kept: column note is new"),
            "{screen}"
        );
        assert!(screen.contains("read again as a whole"), "{screen}");
    }

    #[test]
    fn a_slot_without_a_bound_is_named() {
        let facts = StatusFacts {
            slot_wal_bytes: Some(2048),
            ..StatusFacts::default()
        };
        assert!(text(&facts, 10).contains("2 KiB; the source sets no bound"));
        let bounded = StatusFacts {
            slot_wal_budget_bytes: Some(4096),
            ..facts
        };
        assert!(text(&bounded, 10).contains("2 KiB of 4 KiB"));
    }

    #[test]
    fn silence_says_for_how_long() {
        let silent = Reconciler {
            reported_at: None,
            silent_seconds: Some(75.0),
        };
        assert_eq!(
            reconciler(&silent, 10),
            "has been silent for 1 min 15 s; lag and rows are as of then"
        );
    }
}
