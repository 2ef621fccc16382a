//! Sessions that are only relayed.

use super::*;
use crate::registry::Phase;

#[test]
fn bytes_pass_in_both_directions_as_they_came() {
    on_a_worker(async {
        let mut peers = Peers::relayed().await;
        let query = frame(b'Q', b"select '\xe9'\0");
        peers.ask(&query, &query).await;
        let reply = [
            row_description(&["?column?"]),
            data_row(&[Some(&[0xe9; 100])]),
            frame(b'C', b"SELECT 1\0"),
            frame(b'!', b"of the future"),
            READY.to_vec(),
        ]
        .concat();
        peers.answer(&reply, &reply).await;
    });
}

#[test]
fn what_came_behind_the_startup_packet_is_forwarded() {
    on_a_worker(async {
        let mut peers = Peers::relayed().await;
        let pipeline = [frame(b'Q', b"a\0"), frame(b'Q', b"b\0")].concat();
        peers.ask(&pipeline, &pipeline).await;
        let replies = [READY_IN_TRANSACTION, READY].concat();
        peers.answer(&replies, &replies).await;
    });
}

#[test]
fn a_client_that_leaves_hears_nothing_more() {
    on_a_worker(async {
        let mut peers = Peers::relayed().await;
        let terminate = frame(b'X', b"");
        peers.ask(&terminate, &terminate).await;
        drop(peers.source);
        let mut rest = Vec::new();
        peers.client.read_to_end(&mut rest).await.unwrap();
        assert_eq!(rest, b"");
        assert!(peers.session.await.unwrap().is_ok());
    });
}

#[test]
fn a_client_that_closes_without_a_word_lets_its_requests_be_answered() {
    on_a_worker(async {
        let mut peers = Peers::relayed().await;
        let query = frame(b'Q', b"commit\0");
        peers.ask(&query, &query).await;
        peers.client.shutdown().await.unwrap();
        assert_eq!(peers.source_reads_to_end().await, "");
        peers.answer(READY, READY).await;
        drop(peers.source);
        assert!(peers.session.await.unwrap().is_ok());
    });
}

#[test]
fn a_source_that_dies_is_reported_behind_its_last_bytes() {
    on_a_worker(async {
        let mut peers = Peers::relayed().await;
        let query = frame(b'Q', b"select 1\0");
        peers.ask(&query, &query).await;
        let half = row_description(&["a"]);
        peers.answer(&half, &half).await;
        let Peers {
            mut client,
            source,
            session,
            ..
        } = peers;
        drop(source);
        let mut rest = Vec::new();
        client.read_to_end(&mut rest).await.unwrap();
        assert!(rest.starts_with(b"E") && rest.windows(6).any(|it| it == b"C08006"));
        let ended = session.await.unwrap();
        assert!(matches!(ended, Err(SessionError::Source(_))), "{ended:?}");
    });
}

#[test]
fn a_source_that_dies_in_the_middle_of_a_frame_is_not_spoken_for() {
    on_a_worker(async {
        let mut peers = Peers::relayed().await;
        let query = frame(b'Q', b"select 1\0");
        peers.ask(&query, &query).await;
        let row = data_row(&[Some(&[7; 200])]);
        peers.answer(&row[..150], &row[..150]).await;
        let Peers {
            mut client, source, ..
        } = peers;
        drop(source);
        let mut rest = Vec::new();
        client.read_to_end(&mut rest).await.unwrap();
        assert_eq!(rest, b"");
    });
}

#[test]
fn a_source_that_says_why_it_leaves_is_not_corrected() {
    on_a_worker(async {
        let mut peers = Peers::relayed().await;
        let words = frame(b'E', b"SFATAL\0VFATAL\0C57P01\0Mbye\0\0");
        peers.answer(&words, &words).await;
        let Peers {
            mut client,
            source,
            session,
            ..
        } = peers;
        drop(source);
        let mut rest = Vec::new();
        client.read_to_end(&mut rest).await.unwrap();
        assert_eq!(rest, b"");
        assert!(session.await.unwrap().is_ok());
    });
}

#[test]
fn an_idle_session_is_ended_politely() {
    on_a_worker(async {
        let mut peers = Peers::relayed().await;
        peers.registry.enter(Phase::Draining);
        let (mut to_client, mut to_source) = (Vec::new(), Vec::new());
        let (client, source) = tokio::join!(
            peers.client.read_to_end(&mut to_client),
            peers.source.read_to_end(&mut to_source)
        );
        client.unwrap();
        source.unwrap();
        assert!(to_client.windows(6).any(|it| it == b"C57P01"));
        assert_eq!(to_source, frame(b'X', b""));
        assert!(peers.session.await.unwrap().is_ok());
    });
}

#[test]
fn a_session_in_a_transaction_goes_on_until_its_end() {
    on_a_worker(async {
        let mut peers = Peers::relayed().await;
        let query = frame(b'Q', b"begin\0");
        peers.ask(&query, &query).await;
        peers
            .answer(READY_IN_TRANSACTION, READY_IN_TRANSACTION)
            .await;
        peers.registry.enter(Phase::Draining);
        let query = frame(b'Q', b"commit\0");
        peers.ask(&query, &query).await;
        peers.answer(READY, READY).await;
        let last = peers.client_reads_to_end().await;
        assert!(last.windows(6).any(|it| it == b"C57P01"));
    });
}

#[test]
fn a_client_that_does_not_read_slows_its_source_down() {
    on_a_worker(async {
        let mut peers = Peers::begin(None, 64 * 1024).await;
        let query = frame(b'Q', b"select\0");
        peers.ask(&query, &query).await;
        let row = data_row(&[Some(&vec![7; 60_000])]);
        let mut taken = 0;
        let endless = async {
            loop {
                peers.source.write_all(&row).await.unwrap();
                taken += row.len();
            }
        };
        // The session gets every chance to read on.
        let patience = async {
            for _ in 0..10_000 {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            () = endless => (),
            () = patience => (),
        }
        assert!(taken > 64 * 1024 && taken < 1024 * 1024, "{taken}");
    });
}
