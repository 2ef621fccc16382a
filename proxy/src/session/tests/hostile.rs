//! Peers that send anything at all: the session ends with them, and neither panics nor hangs.

use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use super::*;

/// Far longer than any of these takes: a session that is still there then hangs.
const PATIENCE: Duration = Duration::from_secs(30);

/// A second's worth.
const CASES: u32 = 200;

/// Room for what is sent, so that no writer waits.
const WIDE_PIPE: usize = 1 << 20;

const FRONTEND_TAGS: &[u8] = b"QPBDECSHdcfFXp!";
const BACKEND_TAGS: &[u8] = b"RSKZTDCIEN123ntsGHWdcAVv!";

/// Bodies that get past the first look of some decoder.
const BODIES: &[&[u8]] = &[
    b"",
    b"I",
    b"T",
    b"\0",
    b"s\0",
    b"Ss\0",
    b"P\0",
    b"\0\0\0\0",
    b"\0\0\0\0\0",
    b"\0s\0\0\0\0\0\0\0",
    b"insert into t values (1) returning id\0",
    b"update t set v = null where id = 1; select 1\0",
    b"s\0delete from t where id = $1\0\0\0",
    b"\0insert into t values (1)\0\0\0",
    b"begin\0",
    b"copy t from stdin\0",
    b"INSERT 0 1\0",
    b"COMMIT\0",
    b"SERROR\0VERROR\0C42601\0P9\0\0",
    b"SFATAL\0VFATAL\0C57P01\0\0",
    b"\0\x01\0\0\0\x011",
    b"\0\x01id\0\0\0\0\0\0\0\0\0\0\x17\0\x04\xff\xff\xff\xff\0\0",
    b"client_encoding\0LATIN1\0",
];

fn body() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        3 => prop::sample::select(BODIES).prop_map(<[u8]>::to_vec),
        1 => prop::collection::vec(any::<u8>(), 0..40),
    ]
}

/// Frames, now and then one that lies about its length, or bytes that are none.
fn speech(tags: &'static [u8]) -> impl Strategy<Value = Vec<u8>> {
    let told = prop_oneof![
        12 => (prop::sample::select(tags), body()).prop_map(|(tag, body)| frame(tag, &body)),
        1 => (prop::sample::select(tags), any::<u32>())
            .prop_map(|(tag, length)| [&[tag][..], &length.to_be_bytes()].concat()),
        1 => prop::collection::vec(any::<u8>(), 0..20),
    ];
    prop::collection::vec(told, 0..25).prop_map(|frames| frames.concat())
}

/// Says everything, reads everything, and closes.
async fn talk(peer: DuplexStream, speech: Vec<u8>) {
    let (mut reading, mut writing) = tokio::io::split(peer);
    let mut heard = Vec::new();
    let said = async {
        // A session that is over takes nothing more.
        if writing.write_all(&speech).await.is_ok() {
            writing.shutdown().await.unwrap_or_default();
        }
    };
    let ((), heard_all) = tokio::join!(said, reading.read_to_end(&mut heard));
    heard_all.map(drop).unwrap_or_default();
}

fn survives(capture: Option<Rc<Capture>>, from_client: Vec<u8>, from_source: Vec<u8>) {
    on_a_worker(async move {
        let Peers {
            client,
            source,
            session,
            ..
        } = Peers::begin(capture, WIDE_PIPE).await;
        let talking = async {
            tokio::join!(
                talk(client, from_client),
                talk(source, from_source),
                session
            )
        };
        let ((), (), session) = tokio::time::timeout(PATIENCE, talking)
            .await
            .expect("it hangs");
        // Whatever it said of its peers, it has not panicked.
        drop(session.expect("it panicked"));
    });
}

/// Plays so many random pairs of peers against sessions with this capture.
fn bears_anything(capture: Option<&Rc<Capture>>) {
    let mut runner = TestRunner::new(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(CASES)
    });
    let peers = (speech(FRONTEND_TAGS), speech(BACKEND_TAGS));
    let played = runner.run(&peers, |(from_client, from_source)| {
        survives(capture.cloned(), from_client, from_source);
        Ok(())
    });
    played.unwrap();
}

#[test]
fn a_relayed_session_bears_anything() {
    bears_anything(None);
}

#[test]
fn a_captured_session_bears_anything() {
    bears_anything(Some(&Rc::new(capture())));
}

/// What a client may say before its session, whole, cut short, or nothing of the kind.
fn first_words() -> impl Strategy<Value = Vec<u8>> {
    let words = prop_oneof![
        Just(b"\0\0\0\x08\x04\xd2\x16\x2f".to_vec()),
        Just(b"\0\0\0\x08\x04\xd2\x16\x30".to_vec()),
        Just(b"\0\0\0\x10\x04\xd2\x16\x2e\0\0\0\x01\0\0\0\x02".to_vec()),
        Just(STARTUP.to_vec()),
        prop::collection::vec(any::<u8>(), 0..40),
    ];
    prop::collection::vec(words, 0..8).prop_map(|words| words.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(CASES) })]

    #[test]
    fn the_first_words_may_be_anything(said in first_words(), encrypt in any::<bool>()) {
        on_a_worker(async move {
            let (mut client, mut near) = tokio::io::duplex(WIDE_PIPE);
            client.write_all(&said).await.unwrap();
            client.shutdown().await.unwrap();
            let encryption = if encrypt {
                startup::Encryption::Offered
            } else {
                startup::Encryption::Refused
            };
            let wanted = tokio::time::timeout(PATIENCE, startup::read(&mut near, encryption));
            drop(wanted.await.expect("it hangs"));
        });
    }
}
