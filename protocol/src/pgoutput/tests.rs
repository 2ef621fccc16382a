use bytes::{BufMut, BytesMut};
use proptest::prelude::*;

use super::*;
use crate::row::Datum;

#[track_caller]
fn check(bytes: &[u8], expected: Message) {
    let payload = Bytes::copy_from_slice(bytes);
    assert_eq!(Message::decode(payload), Ok(expected));
    let mut longer = bytes.to_vec();
    longer.push(0);
    let longer = Message::decode(longer.into());
    assert!(longer.is_err(), "trailing byte accepted: {longer:?}");
    for length in 0..bytes.len() {
        let cut = Message::decode(Bytes::copy_from_slice(&bytes[..length]));
        assert!(cut.is_err(), "cut at {length} accepted: {cut:?}");
    }
}

#[test]
fn a_transaction_has_begin_origin_and_commit() {
    check(
        b"B\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\0\x05\0\0\0\x07",
        Message::Begin(Begin {
            commit_lsn: Lsn::new(0x100),
            committed_at: 5,
            xid: 7,
        }),
    );
    check(
        b"C\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\x01\x30\0\0\0\0\0\0\0\x05",
        Message::Commit(Commit {
            commit_lsn: Lsn::new(0x100),
            end_lsn: Lsn::new(0x130),
            committed_at: 5,
        }),
    );
    check(
        b"O\0\0\0\0\0\0\0\x09segue_x_1\0",
        Message::Origin {
            commit_lsn: Lsn::new(9),
            name: "segue_x_1".into(),
        },
    );
}

#[test]
fn a_relation_names_its_columns() {
    check(
        b"R\0\0\0\x10public\0t\0d\0\x02\x01id\0\0\0\0\x17\xff\xff\xff\xff\0v\0\0\0\0\x19\xff\xff\xff\xff",
        Message::Relation(Relation {
            oid: 16,
            schema: "public".into(),
            name: "t".into(),
            replica_identity: b'd',
            columns: vec![
                RelationColumn {
                    name: "id".into(),
                    type_oid: 23,
                    is_key: true,
                },
                RelationColumn {
                    name: "v".into(),
                    type_oid: 25,
                    is_key: false,
                },
            ],
        }),
    );
}

#[test]
fn an_insert_carries_every_kind_of_column() {
    check(
        b"I\0\0\0\x10N\0\x04nub\0\0\0\x01xt\0\0\0\0",
        Message::Insert {
            relation: 16,
            new: Tuple(vec![
                Datum::Null,
                Datum::Unchanged,
                Datum::Binary(Bytes::from_static(b"x")),
                Datum::Text(Bytes::new()),
            ]),
        },
    );
}

#[test]
fn an_update_may_carry_the_old_key_or_the_old_row() {
    let one = || Tuple(vec![Datum::Null]);
    let update = |old| Message::Update {
        relation: 16,
        old,
        new: one(),
    };
    check(b"U\0\0\0\x10N\0\x01n", update(None));
    check(
        b"U\0\0\0\x10K\0\x01nN\0\x01n",
        update(Some(Old::Key(one()))),
    );
    check(
        b"U\0\0\0\x10O\0\x01nN\0\x01n",
        update(Some(Old::Full(one()))),
    );
    assert!(Message::decode(Bytes::from_static(b"U\0\0\0\x10K\0\x01nK\0\x01n")).is_err());
}

#[test]
fn a_delete_carries_the_key() {
    check(
        b"D\0\0\0\x10K\0\x01b\0\0\0\x01x",
        Message::Delete {
            relation: 16,
            old: Old::Key(Tuple(vec![Datum::Binary(Bytes::from_static(b"x"))])),
        },
    );
}

#[test]
fn truncate_type_and_logical_messages_are_read() {
    check(
        b"T\0\0\0\x02\x01\0\0\0\x10\0\0\0\x11",
        Message::Truncate {
            relations: vec![16, 17],
        },
    );
    check(
        b"Y\0\0\x40\0public\0mood\0",
        Message::Type {
            oid: 16384,
            schema: "public".into(),
            name: "mood".into(),
        },
    );
    check(
        b"M\x01\0\0\0\0\0\0\0\x09p\0\0\0\0\x02hi",
        Message::Logical {
            transactional: true,
            lsn: Lsn::new(9),
            prefix: "p".into(),
            content: Bytes::from_static(b"hi"),
        },
    );
}

#[test]
fn a_block_has_a_start_and_an_end_and_its_transaction_commits_or_aborts_later() {
    for (flag, place) in [(1, BlockPlace::First), (0, BlockPlace::Later)] {
        let start = StreamStart { xid: 7, place };
        check(&[b'S', 0, 0, 0, 7, flag], Message::StreamStart(start));
    }
    assert!(Message::decode(Bytes::from_static(b"S\0\0\0\x07\x02")).is_err());
    check(b"E", Message::StreamStop);
    let commit = Commit {
        commit_lsn: Lsn::new(0x100),
        end_lsn: Lsn::new(0x130),
        committed_at: 5,
    };
    check(
        b"c\0\0\0\x07\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\x01\x30\0\0\0\0\0\0\0\x05",
        Message::StreamCommit(StreamCommit { xid: 7, commit }),
    );
    check(
        b"A\0\0\0\x07\0\0\0\x08",
        Message::StreamAbort(StreamAbort { xid: 7, subxid: 8 }),
    );
}

#[test]
fn inside_a_block_a_message_names_its_owner_before_all_else() {
    let bodies: [&[u8]; 7] = [
        b"R\0\0\0\x10public\0t\0d\0\0",
        b"Y\0\0\x40\0public\0mood\0",
        b"I\0\0\0\x10N\0\x01n",
        b"U\0\0\0\x10N\0\x01n",
        b"D\0\0\0\x10K\0\x01n",
        b"T\0\0\0\x01\x01\0\0\0\x10",
        b"M\x01\0\0\0\0\0\0\0\x09p\0\0\0\0\x02hi",
    ];
    for body in bodies {
        let message = Message::decode(Bytes::from_static(body)).unwrap();
        let mut inside = body.to_vec();
        inside.splice(1..1, [0, 0, 1, 2]);
        let inside = Bytes::from(inside);
        let owner = Some(0x102);
        assert_eq!(streamed::owner(&inside), Ok(owner));
        assert_eq!(
            streamed::decode(inside.clone()),
            Ok(streamed::Owned { owner, message })
        );
        for length in 0..inside.len() {
            assert!(streamed::decode(inside.slice(..length)).is_err());
        }
    }
    let origin = Bytes::from_static(b"O\0\0\0\0\0\0\0\x09name\0");
    let message = Message::decode(origin.clone()).unwrap();
    let owner = None;
    assert_eq!(
        streamed::decode(origin),
        Ok(streamed::Owned { owner, message })
    );
    for stray in [&b"B"[..], b"C", b"S", b"E", b"c", b"A", b""] {
        assert!(streamed::owner(&Bytes::from_static(stray)).is_err());
    }
}

#[test]
fn a_truncate_of_four_billion_tables_ends_at_the_first_missing_one() {
    let payload = Bytes::from_static(b"T\xff\xff\xff\xff\0");
    assert!(Message::decode(payload).is_err());
}

proptest! {
    #[test]
    fn no_bytes_make_the_decoder_panic(
        tag in prop::sample::select(b"BCORYIUDTMSEcAwk".to_vec()),
        rest in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let mut bytes = BytesMut::new();
        bytes.put_u8(tag);
        bytes.put_slice(&rest);
        let bytes = bytes.freeze();
        drop(Message::decode(bytes.clone()));
        drop(streamed::decode(bytes.clone()));
        drop(frame::Frame::decode(bytes));
    }
}
