//! Every cell of rule 3's table.

use bytes::Bytes;

use super::*;
use crate::lsn::Lsn;
use crate::revision::Epoch;
use crate::row::Datum;

const OWN: u64 = 7;
const OTHER: u64 = 8;

fn rev(lsn: u64) -> Revision {
    Revision::logged(Epoch::FIRST, Lsn::new(lsn)).unwrap()
}

fn op(xid: u64) -> OpId {
    OpId::of(1, Epoch::FIRST, Xid::new(xid))
}

fn image(columns: &[&'static str]) -> Image {
    let datum = |text: &&'static str| match *text {
        "?" => Datum::Unchanged,
        text => Datum::Binary(Bytes::from_static(text.as_bytes())),
    };
    Image::new(columns.iter().map(datum).collect())
}

#[expect(clippy::unnecessary_wraps, reason = "rows of the table read better")]
fn entry(lsn: u64, xid: u64, proof: Proof) -> Option<Entry> {
    Some(Entry {
        rev: rev(lsn),
        op_id: Some(op(xid)),
        xid: Some(Xid::new(xid)),
        path: Path::Early,
        proof,
        kind: EntryKind::Row,
    })
}

/// The logged write is at LSN 100 and of operation `OWN`.
#[track_caller]
#[expect(
    clippy::needless_pass_by_value,
    reason = "rows of the table read better"
)]
fn check(entry: Option<Entry>, row: Option<&[&'static str]>, logged: LoggedRow, expected: Verdict) {
    let row = row.map(image);
    let logged = Logged {
        rev: rev(100),
        op_id: op(OWN),
        row: &logged,
    };
    assert_eq!(reconcile(entry.as_ref(), row.as_ref(), logged), expected);
}

fn present(columns: &[&'static str]) -> LoggedRow {
    LoggedRow::Present(image(columns))
}

fn applied(why: Why) -> Verdict {
    Verdict::Applied { why }
}

fn diverged(kind: Difference, columns: &[usize], repair: Repair) -> Verdict {
    Verdict::Diverged {
        kind,
        columns: columns.to_vec(),
        repair,
    }
}

#[test]
fn a_newer_write_of_another_operation_supersedes_whatever_the_row_holds() {
    for proof in [Proof::Verified, Proof::Unverified] {
        let newer = || entry(101, OTHER, proof);
        let same: &[&str] = &["1", "a"];
        check(
            newer(),
            Some(same),
            present(&["1", "a"]),
            Verdict::Superseded,
        );
        check(
            newer(),
            Some(same),
            present(&["1", "b"]),
            Verdict::Superseded,
        );
        check(newer(), None, present(&["1", "?"]), Verdict::Superseded);
        check(newer(), Some(same), LoggedRow::Absent, Verdict::Superseded);
    }
}

#[test]
fn a_resolved_phantom_supersedes_nothing() {
    let resolved = Entry {
        op_id: None,
        ..entry(101, OTHER, Proof::Verified).unwrap()
    };
    let logged = present(&["1", "b"]);
    let why = applied(Why::OlderEntry);
    check(Some(resolved), Some(&["1", "a"]), logged, why);
}

#[test]
fn a_newer_entry_of_this_operation_is_the_mirrors_own_work_verified_when_equal() {
    let newer = || entry(101, OWN, Proof::Unverified);
    let row: &[&str] = &["1", "a"];
    check(newer(), Some(row), present(&["1", "a"]), Verdict::Verified);
    check(newer(), Some(row), present(&["1", "?"]), Verdict::Verified);
    check(newer(), None, LoggedRow::Absent, Verdict::Verified);
}

#[test]
fn a_newer_entry_of_this_operation_that_differs_is_a_true_divergence() {
    let newer = || entry(101, OWN, Proof::Unverified);
    let row: &[&str] = &["1", "a", "x"];
    let different = diverged(Difference::DifferentRow, &[1], Repair::Write);
    check(newer(), Some(row), present(&["1", "b", "x"]), different);
    // What else the mirror wrote is in doubt where the log cannot tell.
    let doubtful = diverged(Difference::DifferentRow, &[1], Repair::Reread);
    check(newer(), Some(row), present(&["1", "b", "?"]), doubtful);
    let extra = diverged(Difference::ExtraRow, &[], Repair::Write);
    check(newer(), Some(row), LoggedRow::Absent, extra);
    let missing = diverged(Difference::MissingRow, &[], Repair::Write);
    check(newer(), None, present(&["1", "b", "x"]), missing);
    let reread = diverged(Difference::MissingRow, &[], Repair::Reread);
    check(newer(), None, present(&["1", "b", "?"]), reread);
}

#[test]
fn without_an_entry_an_equal_row_is_verified_and_another_applied() {
    let row: &[&str] = &["1", "a"];
    check(None, Some(row), present(&["1", "a"]), Verdict::Verified);
    check(None, Some(row), present(&["1", "?"]), Verdict::Verified);
    check(None, None, LoggedRow::Absent, Verdict::Verified);
    check(None, Some(row), present(&["1", "b"]), applied(Why::NoEntry));
    check(None, None, present(&["1", "b"]), applied(Why::NoEntry));
    check(None, Some(row), LoggedRow::Absent, applied(Why::NoEntry));
}

#[test]
fn an_older_entry_of_another_operation_gives_way() {
    let older = || entry(99, OTHER, Proof::Verified);
    let row: &[&str] = &["1", "a"];
    check(older(), Some(row), present(&["1", "a"]), Verdict::Verified);
    check(
        older(),
        Some(row),
        present(&["1", "b"]),
        applied(Why::OlderEntry),
    );
    check(
        older(),
        Some(row),
        LoggedRow::Absent,
        applied(Why::OlderEntry),
    );
    let doubtful = || entry(99, OTHER, Proof::Unverified);
    check(
        doubtful(),
        Some(row),
        present(&["1", "a"]),
        Verdict::Verified,
    );
    check(
        doubtful(),
        Some(row),
        present(&["1", "b"]),
        applied(Why::OlderEntry),
    );
}

#[test]
fn an_older_entry_of_this_operation_means_that_the_mirror_left_a_later_version_out() {
    let older = || entry(99, OWN, Proof::Unverified);
    let row: &[&str] = &["1", "a", "x"];
    let later = applied(Why::LaterVersion);
    check(
        older(),
        Some(row),
        present(&["1", "a", "x"]),
        Verdict::Verified,
    );
    check(older(), Some(row), present(&["1", "b", "x"]), later.clone());
    check(older(), Some(row), present(&["1", "b", "?"]), later.clone());
    check(older(), Some(row), LoggedRow::Absent, later);
}

#[test]
fn a_partial_image_needs_a_row_that_is_not_in_doubt() {
    let row: &[&str] = &["1", "a", "x"];
    let partial = || present(&["1", "b", "?"]);
    check(None, Some(row), partial(), applied(Why::NoEntry));
    let verified = entry(99, OTHER, Proof::Verified);
    check(verified, Some(row), partial(), applied(Why::OlderEntry));
    let without_row = Verdict::Owed {
        why: OwedWhy::PartialWithoutRow,
    };
    check(None, None, partial(), without_row.clone());
    check(
        entry(99, OWN, Proof::Unverified),
        None,
        partial(),
        without_row,
    );
    let in_doubt = Verdict::Owed {
        why: OwedWhy::PartialOverUnverified,
    };
    let doubtful = || entry(99, OTHER, Proof::Unverified);
    check(doubtful(), Some(row), partial(), in_doubt.clone());
    check(doubtful(), None, partial(), in_doubt.clone());
    check(doubtful(), Some(row), present(&["1", "a", "?"]), in_doubt);
}
