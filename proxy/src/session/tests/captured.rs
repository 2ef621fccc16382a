//! Sessions whose writes are captured: what the source is sent, and what the client sees.

use super::*;

/// The answer to the proxy's own question.
pub(super) fn session_state() -> Vec<u8> {
    let columns: [Option<&[u8]>; 7] = [
        Some(b"me"),
        Some(b"[\"pg_catalog\",\"public\"]"),
        None,
        Some(b"UTF8"),
        Some(b"UTF8"),
        Some(b"on"),
        Some(b"notice"),
    ];
    [
        row_description(&["a", "b", "c", "d", "e", "f", "g"]),
        data_row(&columns),
        frame(b'C', b"SELECT 1\0"),
        READY.to_vec(),
    ]
    .concat()
}

/// The hidden column's value for the row (1, NULL) of `public.t`.
pub(super) fn record() -> Vec<u8> {
    let mut record = BytesMut::new();
    record.put_u32(6);
    let fields: [(u32, Option<&[u8]>); 6] = [
        (3220, Some(&[0, 0, 0, 0, 0, 0, 0, 9])),
        (5069, Some(&[0, 0, 0, 0, 0, 0, 0, 8])),
        (25, Some(b"on")),
        (26, Some(&[0, 0, 0, 100])),
        (23, Some(&[0, 0, 0, 1])),
        (25, None),
    ];
    for (type_oid, value) in fields {
        record.put_u32(type_oid);
        match value {
            None => record.put_i32(-1),
            Some(bytes) => {
                record.put_u32(u32::try_from(bytes.len()).unwrap());
                record.put_slice(bytes);
            }
        }
    }
    record.to_vec()
}

pub(super) fn hexadecimal(bytes: &[u8]) -> Vec<u8> {
    let digits = bytes.iter().map(|byte| format!("{byte:02x}"));
    format!("\\x{}", digits.collect::<String>()).into_bytes()
}

impl Peers {
    /// The client sends `sent` as its first request; the proxy asks for the session's state.
    async fn first_request(&mut self, sent: &[u8]) {
        let question = frame(b'Q', &[Capture::session_query().as_bytes(), b"\0"].concat());
        let state = session_state();
        let mut read = vec![0; question.len()];
        let (wrote, got) = tokio::join!(self.client.write_all(sent), async {
            self.source.read_exact(&mut read).await.unwrap();
            self.source.write_all(&state).await
        });
        wrote.unwrap();
        got.unwrap();
        assert_eq!(Bytes::from(read), question);
    }

    /// The next frame that the source gets.
    async fn next_request(&mut self) -> (u8, Vec<u8>) {
        let mut head = [0; 5];
        self.source.read_exact(&mut head).await.unwrap();
        let length = u32::from_be_bytes(head[1..].try_into().unwrap());
        let mut body = vec![0; usize::try_from(length).unwrap() - 4];
        self.source.read_exact(&mut body).await.unwrap();
        (head[0], body)
    }
}

#[test]
fn a_read_does_not_ask_for_the_sessions_state() {
    on_a_worker(async {
        let mut peers = Peers::captured().await;
        let query = frame(b'Q', b"select 1\0");
        peers.ask(&query, &query).await;
        let reply = [&frame(b'C', b"SELECT 1\0"), READY].concat();
        peers.answer(&reply, &reply).await;
    });
}

#[test]
fn a_write_without_returning_answers_as_it_always_did() {
    on_a_worker(async {
        let mut peers = Peers::captured().await;
        let query = frame(b'Q', b"update t set v = null where id = 1\0");
        peers.first_request(&query).await;
        let (tag, body) = peers.next_request().await;
        let text = String::from_utf8(body).unwrap();
        assert_eq!(tag, b'Q');
        assert!(
            text.starts_with("update t set v = null where id = 1"),
            "{text}"
        );
        assert!(text.contains("\"__segue\""), "{text}");
        let complete = frame(b'C', b"UPDATE 1\0");
        let sent = [
            row_description(&["__segue"]),
            data_row(&[Some(&hexadecimal(&record()))]),
            complete.clone(),
            READY.to_vec(),
        ]
        .concat();
        peers.answer(&sent, &[&complete, READY].concat()).await;
    });
}

#[test]
fn a_write_with_returning_loses_its_last_column() {
    on_a_worker(async {
        let mut peers = Peers::captured().await;
        let query = frame(b'Q', b"insert into t values (1) returning id\0");
        peers.first_request(&query).await;
        peers.next_request().await;
        let tail = [&frame(b'C', b"INSERT 0 1\0"), READY].concat();
        let sent = [
            row_description(&["id", "__segue"]),
            data_row(&[Some(b"1"), Some(&hexadecimal(&record()))]),
            tail.clone(),
        ];
        let expected = [row_description(&["id"]), data_row(&[Some(b"1")]), tail];
        peers.answer(&sent.concat(), &expected.concat()).await;
    });
}

#[test]
fn a_pipelined_write_is_described_and_limited_as_without_us() {
    on_a_worker(async {
        let mut peers = Peers::captured().await;
        let pipeline = [
            frame(b'P', b"s\0delete from t where id = $1\0\0\0"),
            frame(b'D', b"Ss\0"),
            frame(b'B', b"\0s\0\0\0\0\x01\0\0\0\x011\0\0"),
            frame(b'E', b"\0\0\0\0\x05"),
            frame(b'S', b""),
        ];
        let sync = frame(b'S', b"");
        peers.first_request(&pipeline[0]).await;
        let rest = pipeline[1..].concat();
        let mut seen = Vec::new();
        let (wrote, ()) = {
            let Peers { client, source, .. } = &mut peers;
            tokio::join!(client.write_all(&rest), async {
                let mut byte = [0; 1];
                while !seen.ends_with(&sync) {
                    source.read_exact(&mut byte).await.unwrap();
                    seen.push(byte[0]);
                }
            })
        };
        wrote.unwrap();
        // The hidden column in binary, and no row limit.
        let bind = frame(b'B', b"\0s\0\0\0\0\x01\0\0\0\x011\0\x01\0\x01");
        let execute = frame(b'E', b"\0\0\0\0\0");
        let end = [bind, execute, sync].concat();
        assert!(seen.ends_with(&end), "{:?}", Bytes::from(seen));

        let parsed = frame(b'1', b"");
        let parameters = frame(b't', b"\0\x01\0\0\0\x17");
        let bound = frame(b'2', b"");
        let tail = [&frame(b'C', b"DELETE 1\0"), READY].concat();
        let sent = [
            parsed.clone(),
            // The proxy has asked, too.
            parameters.clone(),
            row_description(&["__segue"]),
            parameters.clone(),
            row_description(&["__segue"]),
            bound.clone(),
            data_row(&[Some(&record())]),
            tail.clone(),
        ];
        let expected = [parsed, parameters, frame(b'n', b""), bound, tail];
        peers.answer(&sent.concat(), &expected.concat()).await;
    });
}

#[test]
fn a_portal_without_returning_is_run_once_only() {
    on_a_worker(async {
        let mut peers = Peers::captured().await;
        let parse = frame(b'P', b"\0delete from t where id = 1\0\0\0");
        peers.first_request(&parse).await;
        peers.next_request().await;
        let bind = frame(b'B', b"\0\0\0\0\0\0\0\0");
        let bound = frame(b'B', b"\0\0\0\0\0\0\0\x01\0\x01");
        let execute = frame(b'E', b"\0\0\0\0\0");
        let name = b"segue: a portal that has been run\0";
        let text = b"UNLISTEN \"segue: nobody listens here\"\0";
        let stand_in = [
            frame(b'D', b"P\0"),
            frame(b'C', b"P\0"),
            frame(b'P', &[&name[..], text, b"\0\0"].concat()),
            frame(b'B', &[b"\0", &name[..], &[0; 6]].concat()),
            frame(b'C', &[b"S", &name[..]].concat()),
            execute.clone(),
        ];
        let sent = [&bind[..], &execute, &execute].concat();
        let expected = [&bound[..], &execute, &stand_in.concat(), &execute].concat();
        peers.ask(&sent, &expected).await;

        let complete = frame(b'C', b"DELETE 1\0");
        let error = frame(b'E', b"SERROR\0VERROR\0C55000\0\0");
        let acknowledged = [frame(b'1', b""), frame(b'2', b"")].concat();
        let row = data_row(&[Some(&record())]);
        let stood_in = [
            row_description(&["__segue"]),
            frame(b'3', b""),
            frame(b'1', b""),
            frame(b'2', b""),
            frame(b'3', b""),
            frame(b'C', b"UNLISTEN\0"),
        ];
        let stood_in = stood_in.concat();
        let sent = [&acknowledged[..], &row, &complete, &stood_in, &error].concat();
        let expected = [&acknowledged[..], &complete, &error].concat();
        peers.answer(&sent, &expected).await;
    });
}

#[test]
fn a_position_behind_the_insertion_is_the_clients() {
    on_a_worker(async {
        let mut peers = Peers::captured().await;
        let query = frame(b'Q', b"delete from t where id = 1; select nope\0");
        peers.first_request(&query).await;
        let (_, body) = peers.next_request().await;
        let sent = String::from_utf8(body).unwrap();
        let place = sent.find("nope").unwrap() + 1;
        let error = |place: usize| {
            frame(
                b'E',
                format!("SERROR\0VERROR\0C42703\0P{place}\0\0").as_bytes(),
            )
        };
        let sent = [error(place), READY.to_vec()].concat();
        let expected = [error(36), READY.to_vec()].concat();
        peers.answer(&sent, &expected).await;
    });
}

#[test]
fn a_row_without_the_hidden_column_is_the_clients() {
    on_a_worker(async {
        let mut peers = Peers::captured().await;
        let query = frame(b'Q', b"insert into t values (1) returning id\0");
        peers.first_request(&query).await;
        peers.next_request().await;
        let reply = [
            row_description(&["id"]),
            data_row(&[Some(b"1")]),
            frame(b'C', b"INSERT 0 1\0"),
            READY.to_vec(),
        ]
        .concat();
        peers.answer(&reply, &reply).await;
    });
}

#[test]
fn a_reply_that_nobody_asked_for_ends_the_capture_where_nothing_was_rewritten() {
    on_a_worker(async {
        let mut peers = Peers::captured().await;
        let complete = frame(b'C', b"SELECT 1\0");
        peers.answer(&complete, &complete).await;
        // From now on only relayed: not even the session's state is asked for.
        let query = frame(b'Q', b"update t set v = null where id = 1\0");
        peers.ask(&query, &query).await;
        let reply = [&frame(b'C', b"UPDATE 1\0"), READY].concat();
        peers.answer(&reply, &reply).await;
    });
}

#[test]
fn a_reply_that_nobody_asked_for_ends_a_session_with_a_rewritten_statement() {
    on_a_worker(async {
        let mut peers = Peers::captured().await;
        let parse = frame(b'P', b"s\0delete from t where id = 1\0\0\0");
        peers.first_request(&parse).await;
        peers.next_request().await;
        let parsed = frame(b'1', b"");
        peers.answer(&parsed, &parsed).await;
        peers
            .source
            .write_all(&frame(b'C', b"SELECT 1\0"))
            .await
            .unwrap();
        let words = peers.client_reads_to_end().await;
        assert!(words.windows(6).any(|it| it == b"C08P01"));
        let ended = peers.session.await.unwrap();
        assert!(matches!(ended, Err(SessionError::Pairing(_))), "{ended:?}");
    });
}
