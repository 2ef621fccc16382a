//! Every cell of the decision, and histories as PostgreSQL writes them.

use super::*;

const SECOND: Epoch = match Epoch::new(2) {
    Some(epoch) => epoch,
    None => Epoch::FIRST,
};

fn history(timeline: u32, ancestors: &[(u32, u64)]) -> History {
    let ancestors = ancestors.iter().map(|(timeline, until)| Ancestor {
        timeline: *timeline,
        until: Lsn::new(*until),
    });
    History {
        timeline,
        ancestors: ancestors.collect(),
    }
}

fn followed(position: u64, floor: Option<u64>) -> Followed {
    Followed {
        system_identifier: "7".to_owned(),
        history: history(1, &[]),
        epoch: Epoch::FIRST,
        position: Lsn::new(position),
        floor: floor.map(Lsn::new),
    }
}

fn found(slot: SlotState) -> Found {
    Found {
        system_identifier: "7".to_owned(),
        history: history(2, &[(1, 1000)]),
        role: Role::Primary,
        slot,
    }
}

fn confirmed(lsn: u64) -> SlotState {
    SlotState::Readable {
        confirmed: Lsn::new(lsn),
    }
}

fn rev(epoch: Epoch, lsn: u64) -> Revision {
    Revision::logged(epoch, Lsn::new(lsn)).unwrap()
}

#[track_caller]
fn check(followed: &Followed, found: &Found, stream: Continuation, recheck: Recheck) {
    let Standing::Successor(succession) = recognise(followed, found) else {
        panic!("{:?}", recognise(followed, found));
    };
    assert_eq!(succession.epoch, Some(SECOND));
    assert_eq!((succession.stream, succession.recheck), (stream, recheck));
}

#[test]
fn a_slot_that_survived_goes_on_where_target_and_new_source_agree() {
    let resume = |lsn| Continuation::Resume(Lsn::new(lsn));
    let entries = Recheck::LostEntries;
    let behind = followed(900, Some(800));
    check(&behind, &found(confirmed(850)), resume(900), entries);
    // The target has applied what the new source never had.
    let ahead = followed(1100, Some(800));
    check(&ahead, &found(confirmed(950)), resume(1000), entries);
}

#[test]
fn without_every_entry_above_the_fork_everything_is_read_again() {
    let resume = Continuation::Resume(Lsn::new(900));
    let doubt = |doubt| Recheck::Everything(doubt);
    let slot = found(confirmed(850));
    check(
        &followed(900, Some(1000)),
        &slot,
        resume,
        Recheck::LostEntries,
    );
    check(
        &followed(900, Some(1001)),
        &slot,
        resume,
        doubt(Doubt::FloorAboveFork),
    );
    check(&followed(900, None), &slot, resume, doubt(Doubt::NoEntries));
}

#[test]
fn without_a_slot_that_knows_all_that_is_to_come_the_stream_begins_anew() {
    for (slot, gap) in [
        (SlotState::Absent, Gap::Absent),
        (SlotState::Lost, Gap::Lost),
        (confirmed(901), Gap::Ahead),
        // Made after the promotion.
        (confirmed(1040), Gap::Ahead),
    ] {
        check(
            &followed(900, Some(800)),
            &found(slot),
            Continuation::NewSlot(gap),
            Recheck::Everything(Doubt::Gap(gap)),
        );
    }
}

#[test]
fn who_is_no_successor_is_told_from_one() {
    let followed = followed(900, Some(800));
    let other = Found {
        system_identifier: "8".to_owned(),
        ..found(confirmed(1))
    };
    assert_eq!(recognise(&followed, &other), Standing::OtherSystem);
    let standby = Found {
        role: Role::Standby,
        ..found(confirmed(1))
    };
    assert_eq!(recognise(&followed, &standby), Standing::Standby);
    let same = Found {
        history: history(1, &[]),
        ..found(SlotState::Absent)
    };
    assert_eq!(recognise(&followed, &same), Standing::Same);
    let after = Followed {
        history: history(2, &[(1, 1000)]),
        ..followed
    };
    assert_eq!(recognise(&after, &same), Standing::Outdated);
}

#[test]
fn the_last_epoch_has_no_successor() {
    let last = Followed {
        epoch: Epoch::new(255).unwrap(),
        ..followed(900, Some(800))
    };
    let Standing::Successor(succession) = recognise(&last, &found(confirmed(1))) else {
        panic!("it is a successor");
    };
    assert_eq!(succession.epoch, None);
}

#[test]
fn histories_are_compared_line_by_line() {
    let at = |fork| Lsn::new(fork);
    let first = history(1, &[]);
    let second = history(2, &[(1, 1000)]);
    let third = history(3, &[(1, 1000), (2, 2000)]);
    assert_eq!(second.kinship(&second), Kinship::Same);
    assert_eq!(
        third.kinship(&first),
        Kinship::Descendant { fork: at(1000) }
    );
    assert_eq!(
        third.kinship(&second),
        Kinship::Descendant { fork: at(2000) }
    );
    assert_eq!(first.kinship(&third), Kinship::Ancestor);
    assert_eq!(second.kinship(&third), Kinship::Ancestor);
    // Another standby of the first timeline, which had less of it.
    let sibling = history(3, &[(1, 700)]);
    assert_eq!(
        sibling.kinship(&second),
        Kinship::Relative { fork: at(700) }
    );
    let twin = history(2, &[(1, 1200)]);
    assert_eq!(twin.kinship(&second), Kinship::Relative { fork: at(1000) });
    let cousin = history(4, &[(1, 1000), (3, 1500)]);
    assert_eq!(
        cousin.kinship(&second),
        Kinship::Relative { fork: at(1000) }
    );
    // Where our own is known by its number only.
    let bare = history(2, &[]);
    assert_eq!(third.kinship(&bare), Kinship::Descendant { fork: at(2000) });
    assert_eq!(second.kinship(&bare), Kinship::Same);
    assert_eq!(sibling.kinship(&bare), Kinship::Stranger);
}

#[test]
fn a_history_file_is_read_as_postgresql_writes_it() {
    let text = "1\t0/3000158\tno recovery target specified\n\n2\t1/A0\tbefore 2026-01-01\n";
    let history = History::parse(3, text).unwrap();
    assert_eq!(history.ancestors[0].until, Lsn::new(0x0300_0158));
    assert_eq!(history.ancestors[1].until, Lsn::new(0x1_0000_00a0));
    assert_eq!(History::parse(3, &history.to_string()), Ok(history));
    assert_eq!(History::parse(1, "# none\n").unwrap().ancestors, []);
    assert!(History::parse(2, "1 elsewhere").is_err());
}

#[test]
fn a_record_is_of_the_epoch_that_its_position_has_in_the_history_followed() {
    let mut epochs = Epochs::starting_with(Epoch::FIRST);
    assert_eq!(epochs.at(Lsn::new(5)), Epoch::FIRST);
    epochs.begin(SECOND, Lsn::new(1000));
    assert_eq!(epochs.began(), Lsn::new(1000));
    assert_eq!(epochs.at(Lsn::new(999)), Epoch::FIRST);
    assert_eq!(epochs.at(Lsn::new(1000)), SECOND);
    assert_eq!(epochs.revision(Lsn::new(1000)), Ok(rev(SECOND, 1000)));
    // The last commit under the fork ends there.
    assert_eq!(epochs.of_commit(Lsn::new(1000)), Epoch::FIRST);
    assert_eq!(epochs.of_commit(Lsn::new(1001)), SECOND);
    // The next one has less of the first than the second had: the second is in no history any more.
    let third = SECOND.next().unwrap();
    epochs.begin(third, Lsn::new(700));
    assert_eq!(epochs.at(Lsn::new(1500)), third);
    assert_eq!(epochs.at(Lsn::new(699)), Epoch::FIRST);
    assert!(epochs.covers(rev(Epoch::FIRST, 699)));
    assert!(!epochs.covers(rev(Epoch::FIRST, 700)));
    assert!(!epochs.covers(rev(SECOND, 1500)));
}

#[test]
fn what_is_above_the_fork_is_lost_and_the_new_source_knows_what_is_below() {
    let epochs = Epochs::starting_with(Epoch::FIRST);
    let fork = Lsn::new(1000);
    let xid = Some(Xid::new(77));
    let of = |rev, xid| fate(rev, xid, &epochs, fork);
    assert_eq!(of(rev(Epoch::FIRST, 1000), xid), Fate::Lost);
    assert_eq!(of(rev(Epoch::FIRST, 1000), None), Fate::Lost);
    assert_eq!(of(rev(Epoch::FIRST, 999), xid), Fate::Ask(Xid::new(77)));
    assert_eq!(of(rev(Epoch::FIRST, 999), None), Fate::Kept);
    let mut epochs = epochs.clone();
    epochs.begin(SECOND, Lsn::new(500));
    let earlier = fate(rev(Epoch::FIRST, 600), xid, &epochs, fork);
    assert_eq!(earlier, Fate::Lost);
}

#[test]
fn only_a_commit_under_the_fork_is_kept() {
    for (text, kept) in [
        (Some("committed"), true),
        (Some("aborted"), false),
        (Some("in progress"), false),
        (None, true),
    ] {
        assert_eq!(XactStatus::parse(text).map(XactStatus::is_kept), Some(kept));
    }
    assert_eq!(XactStatus::parse(Some("perhaps")), None);
}

#[test]
fn the_floor_stays_under_what_the_standbys_have() {
    assert_eq!(floor_bound(Lsn::new(9), Some(Lsn::new(5))), Lsn::new(5));
    assert_eq!(floor_bound(Lsn::new(3), Some(Lsn::new(5))), Lsn::new(3));
    assert_eq!(floor_bound(Lsn::new(9), None), Lsn::new(9));
    assert!(is_emptied_above(rev(Epoch::FIRST, 1000), Lsn::new(1000)));
    assert!(!is_emptied_above(rev(Epoch::FIRST, 999), Lsn::new(1000)));
}
