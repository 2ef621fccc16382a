//! Whole sessions: what a client says and a server answers passes unchanged, whatever it is and
//! however it arrives, and the client cannot tell whether its writes are captured.
//!
//! The server is a model ([`server`]); the client says anything that it may ([`client`]). Bytes move
//! by hand, in pieces of every size, so that a session that waits for what never comes is seen at
//! once. What peers may not say is the subject of [`super::hostile`].

mod client;
mod scenarios;
mod server;

use std::cell::Cell;
use std::iter::Cycle;
use std::slice::Iter;
use std::task::{Context, Poll, Waker};

use proptest::prelude::*;
use proptest::test_runner::{RngAlgorithm, TestError, TestRng, TestRunner};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::*;
use client::{Script, script};
use server::Server;

/// A few seconds' worth of each.
const CASES: u32 = 400;

/// What peers do in one go at most: less than most frames, sometimes all that there is.
fn pieces() -> impl Strategy<Value = Vec<usize>> {
    let size = prop_oneof![2 => Just(0), 4 => 1..9_usize, 2 => 10..200_usize, 2 => Just(1 << 16)];
    prop::collection::vec(size, 1..30)
}

fn pipe_size() -> impl Strategy<Value = usize> {
    prop_oneof![1..30_usize, Just(1 << 16)]
}

/// A session, its peers, and what these have heard.
struct Play<'a> {
    client: DuplexStream,
    source: Option<DuplexStream>,
    session: Session<DuplexStream, DuplexStream>,
    server: Server,
    /// How much of the script the client has said, and how far it is in its steps.
    said: usize,
    step: usize,
    /// What the server has said and the session has not taken.
    answers: Vec<u8>,
    source_heard: Vec<u8>,
    client_heard: Vec<u8>,
    pieces: Cycle<Iter<'a, usize>>,
    has_ended: bool,
}

impl<'a> Play<'a> {
    fn new(capture: Option<Capture>, pipe_size: usize, pieces: &'a [usize]) -> Self {
        let (client, near_client) = tokio::io::duplex(pipe_size);
        let (source, near_source) = tokio::io::duplex(pipe_size);
        let registry = Registry::new(Numbers::default());
        let member = registry.enroll(Identity::unknown());
        let said = Introduced {
            from_client: BytesMut::new(),
            from_source: BytesMut::from(AUTHENTICATED),
        };
        let session = Session::introduced(near_client, near_source, said, member);
        let session = match capture {
            Some(capture) => session.captured(Rc::new(capture), SyncSettings::default()),
            None => session,
        };
        Self {
            client,
            source: Some(source),
            session,
            server: Server::new(),
            said: 0,
            step: 0,
            answers: Vec::new(),
            source_heard: Vec::new(),
            client_heard: Vec::new(),
            pieces: pieces.iter().cycle(),
            has_ended: false,
        }
    }

    /// Lets everybody say and hear until nobody has anything left to do.
    fn through(&mut self, script: &Script) {
        let mut pieces = self.pieces.clone();
        let mut idle = 0;
        // A round of pieces may be of nothing at all: the next one takes all that there is.
        while idle < 2 {
            let mut piece = || {
                if idle == 0 {
                    *pieces.next().unwrap()
                } else {
                    usize::MAX
                }
            };
            let sizes = [piece(), piece(), piece(), piece()];
            let moved = [
                self.client_says(script, sizes[0]),
                self.turn(),
                self.source_hears(sizes[1]),
                self.source_says(sizes[2]),
                self.turn(),
                self.client_hears(sizes[3]),
            ];
            idle = if moved.contains(&true) { 0 } else { idle + 1 };
        }
    }

    fn client_says(&mut self, script: &Script, size: usize) -> bool {
        let Some(step) = script.steps.get(self.step) else {
            return false;
        };
        let welcome = AUTHENTICATED.len();
        if step
            .heard
            .is_some_and(|count| self.client_heard.len() < welcome + count)
        {
            return false;
        }
        let rest = &step.says[self.said..];
        let count = write_some(&mut self.client, &rest[..rest.len().min(size)]);
        self.said += count;
        if self.said == step.says.len() {
            self.step += 1;
            self.said = 0;
            return true;
        }
        count > 0
    }

    fn turn(&mut self) -> bool {
        if !self.has_ended {
            let mut context = Context::from_waker(Waker::noop());
            if let Poll::Ready(ended) = self.session.poll(&mut context) {
                assert!(ended.is_ok(), "{ended:?}");
                self.has_ended = true;
                return true;
            }
        }
        false
    }

    fn source_hears(&mut self, size: usize) -> bool {
        let Some(source) = &mut self.source else {
            return false;
        };
        let heard = read_some(source, size);
        self.answers.extend(self.server.hear(&heard));
        self.source_heard.extend(&heard);
        !heard.is_empty()
    }

    fn source_says(&mut self, size: usize) -> bool {
        let Some(source) = &mut self.source else {
            return false;
        };
        let count = write_some(source, &self.answers[..self.answers.len().min(size)]);
        self.answers.drain(..count);
        if self.server.has_ended && self.answers.is_empty() {
            self.source = None;
            return true;
        }
        count > 0
    }

    fn client_hears(&mut self, size: usize) -> bool {
        let heard = read_some(&mut self.client, size);
        self.client_heard.extend(&heard);
        !heard.is_empty()
    }
}

fn write_some(stream: &mut DuplexStream, bytes: &[u8]) -> usize {
    let mut context = Context::from_waker(Waker::noop());
    match std::pin::Pin::new(stream).poll_write(&mut context, bytes) {
        Poll::Ready(wrote) if !bytes.is_empty() => wrote.unwrap(),
        Poll::Ready(_) | Poll::Pending => 0,
    }
}

fn read_some(stream: &mut DuplexStream, size: usize) -> Vec<u8> {
    let mut context = Context::from_waker(Waker::noop());
    let mut room = vec![0; size.min(1 << 16)];
    let mut buffer = ReadBuf::new(&mut room);
    match std::pin::Pin::new(stream).poll_read(&mut context, &mut buffer) {
        Poll::Ready(read) => {
            read.unwrap();
            buffer.filled().to_vec()
        }
        Poll::Pending => Vec::new(),
    }
}

/// Plays a script through a session to its end, and returns what everybody heard.
fn played<'a>(
    capture: Option<Capture>,
    script: &Script,
    (pipe_size, pieces): (usize, &'a [usize]),
) -> Play<'a> {
    let mut play = Play::new(capture, pipe_size, pieces);
    play.through(script);
    assert_eq!(play.step, script.steps.len(), "the client still waits");
    let leaves = Script {
        steps: vec![client::Step {
            says: frame(b'X', b""),
            heard: None,
        }],
        ..script.clone()
    };
    play.step = 0;
    play.through(&leaves);
    assert!(play.has_ended, "the session is still there");
    play
}

fn shown(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}

/// Runs a property over scripts, and how they arrive.
fn always(property: impl Fn(&Script, (usize, &[usize]))) {
    let config = ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(CASES)
    };
    // The same cases each time: whoever changes something here plays thousands of others first.
    let random = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut runner = TestRunner::new_with_rng(config, random);
    let any = (script(), pipe_size(), pieces());
    let run = runner.run(&any, |(script, pipe_size, pieces)| {
        property(&script, (pipe_size, &pieces));
        Ok(())
    });
    if let Err(TestError::Fail(why, (script, pipe_size, pieces))) = run {
        panic!("{why}\n{script:?}\npipe {pipe_size}, pieces {pieces:?}");
    }
}

#[test]
fn what_is_relayed_leaves_with_the_bytes_that_it_came_with() {
    always(|script, arrival| {
        let play = played(None, script, arrival);
        let source_hears = [&script.says[..], &frame(b'X', b"")].concat();
        assert_eq!(shown(&play.source_heard), shown(&source_hears));
        let client_hears = [AUTHENTICATED, &script.hears].concat();
        assert_eq!(shown(&play.client_heard), shown(&client_hears));
    });
}

#[test]
fn a_client_whose_writes_are_captured_hears_what_it_would_hear_without() {
    let mirror = mirror_to_nowhere();
    let rewritten = Cell::new(0);
    always(|script, arrival| {
        let capture = capture_into(mirror.clone());
        let play = played(Some(capture), script, arrival);
        let client_hears = [AUTHENTICATED, &script.hears].concat();
        assert_eq!(shown(&play.client_heard), shown(&client_hears));
        rewritten.set(rewritten.get() + play.server.rewritten);
    });
    // Else nothing was shown.
    assert!(
        rewritten.get() > 100,
        "{} texts were captured",
        rewritten.get()
    );
}
