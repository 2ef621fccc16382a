use bytes::Bytes;

use super::*;
use crate::contract::TableIndex;
use crate::decide::repair::{Hold, Limit, Policy};
use crate::lsn::Lsn;
use crate::row::Datum;

fn key(id: u8) -> RowKey {
    RowKey::from_stored(TableIndex::new(0), Bytes::copy_from_slice(&[id]))
}

fn rev(lsn: u64) -> Revision {
    Revision::logged(Epoch::FIRST, Lsn::new(lsn)).unwrap()
}

fn image(columns: &[&'static str]) -> Image {
    let datum = |text: &&'static str| match *text {
        "?" => Datum::Unchanged,
        text => Datum::Binary(Bytes::from_static(text.as_bytes())),
    };
    Image::new(columns.iter().map(datum).collect())
}

fn operation(xid: u64, outcome: Option<MirrorOutcome>) -> Operation {
    Operation {
        op_id: OpId::of(1, Epoch::FIRST, Xid::new(xid)),
        xid: Xid::new(xid),
        epoch: Epoch::FIRST,
        outcome,
        extent: Extent::Whole,
    }
}

fn write(id: u8, lsn: u64, columns: Option<&[&'static str]>) -> LoggedWrite {
    let row = columns.map(image);
    LoggedWrite {
        key: key(id),
        lsn: Lsn::new(lsn),
        row: row.map_or(LoggedRow::Absent, LoggedRow::Present),
    }
}

fn early(xid: u64, lsn: u64) -> Entry {
    Entry {
        rev: rev(lsn),
        op_id: Some(operation(xid, None).op_id),
        xid: Some(Xid::new(xid)),
        path: Path::Early,
        proof: Proof::Unverified,
        kind: EntryKind::Row,
    }
}

#[test]
fn several_transactions_on_one_key_make_one_net_write() {
    let mut set = WorkingSet::default();
    set.insert(key(1), None, None);
    let first = write(1, 10, Some(&["1", "long", "a"]));
    set.judge(&operation(7, None), &[first]).unwrap();
    let second = write(1, 20, Some(&["1", "?", "b"]));
    set.judge(&operation(8, None), &[second]).unwrap();
    let net = set.finish(&Floor::unknown());
    assert_eq!(net.upserts, [(key(1), image(&["1", "long", "b"]))]);
    assert_eq!(net.tally.applied, 2);
    assert_eq!(net.tally.applied_why, BTreeMap::from([("unmirrored", 2)]));
    assert_eq!(net.unmirrored.len(), 2);
    let (_, entry) = &net.kept[0];
    assert_eq!((entry.rev, entry.xid), (rev(20), Some(Xid::new(8))));
}

#[test]
fn a_verified_early_write_keeps_its_revision_and_writes_nothing() {
    let mut set = WorkingSet::default();
    set.insert(key(1), Some(early(7, 15)), Some(image(&["1", "a"])));
    let logged = write(1, 10, Some(&["1", "a"]));
    let accepted = operation(7, Some(MirrorOutcome::Accepted));
    set.judge(&accepted, &[logged]).unwrap();
    let net = set.finish(&Floor::unknown());
    assert_eq!((net.upserts.len(), net.deletes.len()), (0, 0));
    let (_, entry) = &net.kept[0];
    assert_eq!((entry.rev, entry.proof), (rev(15), Proof::Verified));
    assert_eq!(net.tally.verified, 1);
}

#[test]
fn a_superseded_write_leaves_the_entry_to_its_own_turn() {
    let mut set = WorkingSet::default();
    set.insert(key(1), Some(early(8, 25)), Some(image(&["1", "b"])));
    let older = write(1, 10, Some(&["1", "a"]));
    set.judge(&operation(7, None), &[older]).unwrap();
    let newer = write(1, 20, Some(&["1", "b"]));
    set.judge(&operation(8, None), &[newer]).unwrap();
    let net = set.finish(&Floor::unknown());
    assert_eq!((net.tally.superseded, net.tally.verified), (1, 1));
    assert!(net.upserts.is_empty());
}

#[test]
fn a_row_inserted_and_deleted_within_a_batch_is_one_delete() {
    let mut set = WorkingSet::default();
    set.insert(key(1), None, None);
    let first = write(1, 10, Some(&["1"]));
    set.judge(&operation(7, None), &[first]).unwrap();
    set.judge(&operation(8, None), &[write(1, 20, None)])
        .unwrap();
    let net = set.finish(&Floor::unknown());
    assert_eq!(net.deletes, [key(1)]);
    assert_eq!(net.kept[0].1.kind, EntryKind::Tombstone);
}

#[test]
fn a_mirror_that_said_accepted_and_left_nothing_is_reported() {
    let lost = |entry: Option<Entry>| {
        let mut set = WorkingSet::default();
        set.insert(key(1), None, Some(image(&["1", "a"])));
        set.insert(key(2), entry, Some(image(&["2", "b"])));
        let writes = [
            write(1, 10, Some(&["1", "b"])),
            write(2, 11, Some(&["2", "b"])),
        ];
        let accepted = operation(7, Some(MirrorOutcome::Accepted));
        set.judge(&accepted, &writes).unwrap();
        set.finish(&Floor::unknown()).findings
    };
    let found = lost(None);
    assert_eq!(found.len(), 1);
    assert_eq!(
        (found[0].kind, &found[0].columns),
        (FindingKind::LostMirror, &vec![1])
    );
    assert_eq!(lost(Some(early(7, 15))), []);
    assert_eq!(lost(Some(early(9, 15))), []);
}

#[test]
fn a_repair_that_is_held_back_leaves_row_and_entry_and_is_owed() {
    let limit = Limit {
        count: 1,
        window: Duration::from_mins(1),
    };
    let repairs = Repairs::new(Policy::On, Some(limit));
    let mut set = WorkingSet::default().with_repairs(repairs, Duration::ZERO);
    let wrong = ["1", "x"];
    for id in [1, 2] {
        set.insert(key(id), Some(early(7, 15)), Some(image(&wrong)));
    }
    set.insert(key(3), None, Some(image(&wrong)));
    let right: &[&str] = &["1", "a"];
    let writes = [1, 2, 3].map(|id| write(id, 10, Some(right)));
    set.judge(&operation(7, None), &writes).unwrap();
    let net = set.finish(&Floor::unknown());
    assert_eq!((net.tally.repaired, net.tally.held), (1, 1));
    let holds: Vec<_> = net.findings.iter().map(|found| found.hold).collect();
    assert_eq!(holds, [None, Some(Hold::Limit)]);
    let written: Vec<_> = net.upserts.iter().map(|(key, _)| key.clone()).collect();
    assert_eq!(written, [key(1), key(3)], "what the log brings goes on");
    assert!(net.kept.iter().all(|(kept, _)| *kept != key(2)), "unproven");
    let owed = net.owed.iter().map(|row| (row.key.clone(), row.why));
    assert_eq!(owed.collect::<Vec<_>>(), [(key(2), OwedWhy::Held)]);
    let of_table = |verdict, why| net.tally.tables.get(&(TableIndex::new(0), verdict, why));
    assert_eq!(of_table("held", ""), Some(&1));
    assert_eq!(of_table("applied", UNMIRRORED), Some(&1));
}

#[test]
fn a_row_that_a_proxy_left_to_the_log_is_counted_under_the_reason_it_gave() {
    let mut set = WorkingSet::default();
    let said = [
        Some(MirrorOutcome::Deferred(DeferReason::named("bulk"))),
        Some(MirrorOutcome::Dropped(DropReason::named("queue_full"))),
        Some(MirrorOutcome::Deferred(DeferReason::named(
            "of a later version",
        ))),
        None,
    ];
    for (xid, said) in (1..).zip(said) {
        set.insert(key(xid), None, None);
        let writes = [write(xid, 10 * u64::from(xid), Some(&["1"]))];
        set.judge(&operation(xid.into(), said), &writes).unwrap();
    }
    let tally = set.finish(&Floor::unknown()).tally;
    assert_eq!(tally.applied, 4);
    assert_eq!(tally.applied_why.get("deferred"), Some(&2));
    let table = TableIndex::new(0);
    let counts = [
        ((table, "applied", "deferred"), 1),
        ((table, "applied", UNMIRRORED), 1),
        ((table, "deferred", "bulk"), 1),
        ((table, "dropped", "queue_full"), 1),
    ];
    assert_eq!(tally.tables, BTreeMap::from(counts));
}

#[test]
fn a_divergence_is_repaired_and_named() {
    let mut set = WorkingSet::default();
    set.insert(key(1), Some(early(7, 15)), Some(image(&["1", "x"])));
    let logged = write(1, 10, Some(&["1", "a"]));
    set.judge(&operation(7, None), &[logged]).unwrap();
    let net = set.finish(&Floor::unknown());
    assert_eq!(net.upserts, [(key(1), image(&["1", "a"]))]);
    assert_eq!(net.findings[0].kind.label(), "different_row");
    assert_eq!(net.findings[0].target_rev, Some(rev(15)));
    assert_eq!(
        net.kept[0].1.rev,
        rev(15),
        "a late twin must still be refused"
    );
}

#[test]
fn a_divergence_under_an_image_that_lacks_columns_is_mended_in_part_and_read_again() {
    let mut set = WorkingSet::default();
    set.insert(key(1), Some(early(5, 101)), Some(image(&["1", "a", "x"])));
    let logged = [write(1, 100, Some(&["1", "b", "?"]))];
    set.judge(&operation(5, None), &logged).unwrap();
    let net = set.finish(&Floor::unknown());
    assert_eq!(net.upserts, [(key(1), image(&["1", "b", "x"]))]);
    assert_eq!(net.findings.len(), 1);
    let owed: Vec<_> = net.owed.iter().map(|row| (&row.key, row.why)).collect();
    assert_eq!(owed, [(&key(1), OwedWhy::PartialOverWrong)]);
    assert_eq!(net.tally.repaired, 1);
}

#[test]
fn an_owed_row_keeps_its_entry_and_says_what_a_re_read_must_contain() {
    let mut set = WorkingSet::default();
    set.insert(key(1), None, None);
    let partial = write(1, 10, Some(&["1", "?"]));
    set.judge(&operation(7, None), &[partial]).unwrap();
    let net = set.finish(&Floor::unknown());
    assert!(net.upserts.is_empty());
    assert_eq!(net.owed[0].xid, Some(Xid::new(7)));
    assert_eq!(net.kept.len(), 1);
}

#[test]
fn an_entry_under_the_effective_floor_is_not_kept() {
    let mut floor = Floor::unknown();
    floor.raised(rev(100), Xid::new(1));
    floor.observe(Xid::new(1));
    floor.source_settled_below(Xid::new(8), rev(100));
    let mut set = WorkingSet::default();
    set.insert(key(1), None, None);
    set.insert(key(2), None, None);
    set.judge(&operation(7, None), &[write(1, 10, Some(&["1"]))])
        .unwrap();
    set.judge(&operation(8, None), &[write(2, 20, Some(&["2"]))])
        .unwrap();
    let net = set.finish(&floor);
    assert_eq!(net.dropped, [key(1)]);
    assert_eq!(net.kept.len(), 1);
}
