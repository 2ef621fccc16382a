//! Sessions that are kept from beginning anything.

use harness::raw_client::message::query;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{Peers, READY, READY_IN_TRANSACTION, frame, on_a_worker};
use crate::registry::{Phase, State};

/// Room for everything that a test sends, so that nobody waits for a reader.
const ROOM: usize = 64 * 1024;

impl Peers {
    /// The client sends `frames`, and nothing of them reaches the source however long it waits.
    async fn held_back(&mut self, frames: &[u8]) {
        self.client.write_all(frames).await.unwrap();
        let mut byte = [0];
        let patience = async {
            for _ in 0..1000 {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            read = self.source.read(&mut byte) => panic!("the source got {byte:?}: {read:?}"),
            () = patience => (),
        }
    }

    fn state(&self) -> State {
        self.registry.rows()[0].state
    }
}

#[test]
fn a_request_made_in_a_pause_waits_and_is_answered_after_it() {
    on_a_worker(async {
        let mut peers = Peers::begin(None, ROOM).await;
        peers.registry.pause();
        peers.registry.rested().await;
        assert_eq!(peers.state(), State::Paused);
        let one = query("select 1");
        peers.held_back(&one).await;
        peers.registry.resume();
        peers.source_reads(&one).await;
        peers.answer(READY, READY).await;
        assert_eq!(peers.registry.totals().passed.queries, 1);
    });
}

#[test]
fn a_transaction_under_way_ends_before_its_session_rests() {
    on_a_worker(async {
        let mut peers = Peers::begin(None, ROOM).await;
        let begin = query("begin");
        peers.ask(&begin, &begin).await;
        peers.registry.pause();
        peers
            .answer(READY_IN_TRANSACTION, READY_IN_TRANSACTION)
            .await;
        let commit = query("commit");
        peers.ask(&commit, &commit).await;
        assert_eq!(peers.state(), State::Active);
        let next = query("select 1");
        peers.held_back(&next).await;
        peers.answer(READY, READY).await;
        peers.registry.rested().await;
        peers.held_back(b"").await;
        peers.registry.resume();
        peers.source_reads(&next).await;
    });
}

#[test]
fn a_group_of_extended_requests_is_taken_up_to_its_sync_and_not_beyond() {
    on_a_worker(async {
        let mut peers = Peers::begin(None, ROOM).await;
        let parse = [frame(b'P', b"\0select 1\0\0\0"), frame(b'H', b"")].concat();
        peers.ask(&parse, &parse).await;
        peers.registry.pause();
        let complete = frame(b'1', b"");
        peers.answer(&complete, &complete).await;
        let (sync, next) = (frame(b'S', b""), query("select 2"));
        peers.client.write_all(&sync).await.unwrap();
        peers.client.write_all(&next).await.unwrap();
        peers.source_reads(&sync).await;
        peers.answer(READY, READY).await;
        peers.registry.rested().await;
        peers.held_back(b"").await;
        peers.registry.resume();
        peers.source_reads(&next).await;
    });
}

#[test]
fn data_of_a_copy_under_way_is_taken_to_its_end() {
    on_a_worker(async {
        let mut peers = Peers::begin(None, ROOM).await;
        let copy = query("copy t from stdin");
        peers.ask(&copy, &copy).await;
        peers.registry.pause();
        let begins = frame(b'G', b"\0\0\0");
        peers.answer(&begins, &begins).await;
        let content = [frame(b'd', b"1\n"), frame(b'c', b"")].concat();
        peers.ask(&content, &content).await;
        let ended = [frame(b'C', b"COPY 1\0"), READY.to_vec()].concat();
        peers.answer(&ended, &ended).await;
        peers.registry.rested().await;
    });
}

#[test]
fn a_client_may_leave_in_a_pause() {
    on_a_worker(async {
        let mut peers = Peers::begin(None, ROOM).await;
        peers.registry.pause();
        let leave = frame(b'X', b"");
        peers.ask(&leave, &leave).await;
        drop((peers.source, peers.client));
        assert!(peers.session.await.unwrap().is_ok());
    });
}

#[test]
fn a_proxy_that_goes_down_ends_a_pause_too() {
    on_a_worker(async {
        let mut peers = Peers::begin(None, ROOM).await;
        peers.registry.pause();
        peers.registry.rested().await;
        peers.registry.enter(Phase::Draining);
        let last = peers.client_reads_to_end().await;
        assert!(last.windows(6).any(|it| it == b"C57P01"));
    });
}

#[test]
fn a_session_can_be_ended_alone() {
    on_a_worker(async {
        let mut peers = Peers::begin(None, ROOM).await;
        let begin = query("begin");
        peers.ask(&begin, &begin).await;
        let number = peers.registry.rows()[0].number;
        assert!(peers.registry.end(number));
        let last = peers.client_reads_to_end().await;
        assert!(last.windows(6).any(|it| it == b"C57P01"));
        assert_eq!(peers.registry.rows().len(), 0);
    });
}
