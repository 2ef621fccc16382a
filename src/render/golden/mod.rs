//! The texts as they are, to the last space: stable widths, no colours.
//!
//! Does not judge the facts. After a change that is meant, the files are what the failure shows.

use std::collections::BTreeMap;

use control::report::{
    Author, Columns, Divergence, DivergenceDetail, Event, JournalEntry, Proposal, Report, Summary,
};
use control::status::{Gate, Mirror, Reconciler, Rows, StatusFacts, StoppedRepairs};
use control::table_report::TableReport;

const AT: &str = "2026-11-24T03:00:00.000Z";

fn columns(value: serde_json::Value) -> Columns {
    serde_json::from_value(value).unwrap()
}

fn facts() -> StatusFacts {
    StatusFacts {
        at: AT.into(),
        database: "shop".into(),
        phase: Some("dual_write".into()),
        epoch: Some(1),
        lag_bytes: Some(18_432),
        lag_seconds: Some(0.052),
        proven_seconds_p50: Some(0.021),
        proven_seconds_p99: Some(0.094),
        proven_transactions: 1_204_117,
        owed_rows: 3,
        open_divergences: 3,
        held_divergences: 3,
        stopped_repairs: vec![StoppedRepairs {
            table: "public.item".into(),
            stopped_at: AT.into(),
            held: 3,
        }],
        finds_foreign_writes: true,
        attention: vec![
            "public.item has had its share of repairs, and 3 of its divergences wait: look at them \
             (segue report), then segue repair resume public.item"
                .into(),
        ],
        slot_wal_bytes: Some(50 << 20),
        slot_wal_budget_bytes: Some(10 << 30),
        rows: Rows {
            verified: 2_400_310,
            applied: 1_204,
            repaired: 1_000,
            unmirrored: 204,
            held: 3,
            applied_why: BTreeMap::from([("deferred".into(), 1_000), ("unmirrored".into(), 204)]),
            ..Rows::default()
        },
        mirror: Mirror {
            gate: Gate::Open,
            proxies: 2,
            captured: 1_203_900,
            accepted: 1_203_880,
            deferred: BTreeMap::from([("bulk".into(), 17)]),
            failed: BTreeMap::from([("newer".into(), 20)]),
            staleness_seconds_p50: Some(0.0021),
            staleness_seconds_p99: Some(0.0093),
        },
        reconciler: Reconciler {
            reported_at: Some(AT.into()),
            silent_seconds: Some(0.4),
        },
        applied_lsn: Some("0/2B2D9B8".into()),
        ..StatusFacts::default()
    }
}

fn held() -> Divergence {
    Divergence {
        id: 1_017,
        table: "public.item".into(),
        key: columns(serde_json::json!({"id": "17"})),
        kind: "foreign_write".into(),
        state: "open".into(),
        detected_at: AT.into(),
        repair: Some("held back: the table has had its share".into()),
        source_rev: Some("36028797112199567".into()),
        target_rev: Some("36028797112199568".into()),
        columns: vec!["name".into()],
        held: Some("limit".into()),
        written_by: Some(Author {
            origin: None,
            xid: 774,
            committed_at: Some(AT.into()),
        }),
        ..Divergence::default()
    }
}

#[track_caller]
fn check(text: &str, golden: &str) {
    assert!(text.trim_end() == golden.trim_end(), "GOLDEN<<{text}>>");
    assert!(!text.contains('\u{1b}'), "colours are not for files");
}

#[test]
fn the_screen_of_status() {
    check(
        &super::status::text(&facts(), 10),
        include_str!("status.txt"),
    );
}

#[test]
fn the_report_with_its_tables() {
    let report = Report {
        summary: Summary {
            open: 3,
            repaired: 1_000,
            ignored: 1,
            by_kind: BTreeMap::from([("foreign_write".into(), 1_004)]),
        },
        divergences: vec![held()],
        divergences_truncated: true,
        tables: vec![
            TableReport {
                table: "public.item".into(),
                verified: 2_400_000,
                applied: 1_000,
                repaired: 1_000,
                held: 3,
                applied_why: BTreeMap::from([("deferred".into(), 1_000)]),
                deferred: BTreeMap::from([("bulk".into(), 900), ("copy".into(), 60)]),
                deferred_transactions: BTreeMap::from([("bulk".into(), 9), ("copy".into(), 1)]),
                open_divergences: 3,
                ..TableReport::default()
            },
            TableReport {
                table: "public.a".into(),
                verified: 310,
                applied: 204,
                applied_why: BTreeMap::from([("unmirrored".into(), 204)]),
                ..TableReport::default()
            },
        ],
        events: vec![Event {
            at: AT.into(),
            kind: "repairs_stopped".into(),
            text: "public.item has had its share of repairs".into(),
        }],
        status: facts(),
        ..Report::default()
    };
    check(&super::report::text(&report), include_str!("report.txt"));
}

#[test]
fn one_divergence_with_both_values() {
    let detail = DivergenceDetail {
        divergence: held(),
        journal: vec![JournalEntry {
            at: AT.into(),
            before: Some(columns(
                serde_json::json!({"id": "17", "name": "by hand", "price": null}),
            )),
            after: None,
            act: "repair".into(),
            proposed: Proposal::Row(columns(
                serde_json::json!({"id": "17", "name": "as the source has it", "price": null}),
            )),
        }],
    };
    check(&super::report::detail(&detail), include_str!("show.txt"));
}
