//! How often a transaction allocates on its way through a session: known, and few.
//!
//! A number that has grown is a mistake, or has to be worth it; one that has shrunk is written down
//! here. Counts this thread only, between peers that do not allocate.

use std::future::poll_fn;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use super::captured::{hexadecimal, record, session_state};
use super::*;

/// Transactions before counting, so that buffers have grown, and transactions counted.
const ROUNDS: u64 = 100;

/// What fits between a peer and the session: everything.
const PIPE_SIZE: usize = 64 * 1024;

/// A session and its peers, moved by hand.
struct Relay {
    client: DuplexStream,
    source: DuplexStream,
    session: Session<DuplexStream, DuplexStream>,
    task: Waker,
    read: [u8; 4096],
}

impl Relay {
    fn new(capture: Option<Capture>) -> Self {
        let (mut client, mut near_client) = tokio::io::duplex(PIPE_SIZE);
        let (source, near_source) = tokio::io::duplex(PIPE_SIZE);
        at_once(client.write_all(STARTUP)).unwrap();
        let Ok(Wanted::Session(opening)) = at_once(startup::read(
            &mut near_client,
            startup::Encryption::Refused,
        )) else {
            panic!("no session began");
        };
        let registry = Registry::new(Numbers::default());
        let member = registry.enroll(Identity::unknown());
        let session = Session::new(near_client, near_source, opening, member);
        let session = match capture {
            Some(capture) => session.captured(Rc::new(capture), SyncSettings::default()),
            None => session,
        };
        let mut relay = Self {
            client,
            source,
            session,
            task: task(),
            read: [0; 4096],
        };
        relay.turn();
        relay.source_reads();
        relay.answer(AUTHENTICATED);
        relay
    }

    fn turn(&mut self) {
        let mut context = Context::from_waker(&self.task);
        assert!(self.session.poll(&mut context).is_pending());
    }

    fn source_reads(&mut self) -> usize {
        at_once(self.source.read(&mut self.read)).unwrap()
    }

    fn ask(&mut self, request: &[u8]) {
        at_once(self.client.write_all(request)).unwrap();
        self.turn();
        self.source_reads();
    }

    fn answer(&mut self, reply: &[u8]) {
        at_once(self.source.write_all(reply)).unwrap();
        self.turn();
        at_once(self.client.read(&mut self.read)).unwrap();
    }

    /// Allocations for one request and its reply.
    fn allocations(&mut self, request: &[u8], reply: &[u8]) -> u64 {
        let mut rounds = || {
            for _ in 0..ROUNDS {
                self.ask(request);
                self.answer(reply);
            }
        };
        rounds();
        let counted = allocation_counter::measure(rounds);
        // A map that grows once in many rounds is no allocation of each.
        counted.count_total / ROUNDS
    }
}

/// A waker of the kind that sessions run with. Others may not know their own clone again: the tables
/// of functions that `Waker::will_wake` compares can be there more than once.
fn task() -> Waker {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    let waker =
        async { tokio::spawn(poll_fn(|context| Poll::Ready(context.waker().clone()))).await };
    runtime.unwrap().block_on(waker).unwrap()
}

/// What needs no waiting.
fn at_once<T>(future: impl Future<Output = T>) -> T {
    let mut context = Context::from_waker(Waker::noop());
    match pin!(future).poll(&mut context) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("it has to wait"),
    }
}

/// What drivers send for a statement that is prepared: Bind, Describe, Execute, Sync.
fn bound() -> Vec<u8> {
    [
        frame(b'B', b"\0s\0\0\0\0\x01\0\0\0\x011\0\0"),
        frame(b'D', b"P\0"),
        frame(b'E', b"\0\0\0\0\0"),
        frame(b'S', b""),
    ]
    .concat()
}

fn selected() -> Vec<u8> {
    [
        frame(b'2', b""),
        row_description(&["v"]),
        data_row(&[Some(b"one")]),
        frame(b'C', b"SELECT 1\0"),
        READY.to_vec(),
    ]
    .concat()
}

fn updated() -> Vec<u8> {
    [
        frame(b'2', b""),
        row_description(&["__segue"]),
        data_row(&[Some(&record())]),
        frame(b'C', b"UPDATE 1\0"),
        READY.to_vec(),
    ]
    .concat()
}

/// A session in which the statement `s` is prepared.
fn prepared(capture: Option<Capture>, text: &str) -> Relay {
    let asks = capture.is_some() && !text.starts_with("select");
    let mut relay = Relay::new(capture);
    let parse = [b"s\0", text.as_bytes(), b"\0\0\0"].concat();
    relay.ask(&[frame(b'P', &parse), frame(b'S', b"")].concat());
    if asks {
        at_once(relay.source.write_all(&session_state())).unwrap();
        relay.turn();
        relay.source_reads();
    }
    let mut answer = frame(b'1', b"");
    if asks {
        // The proxy has asked what it takes.
        answer.extend(frame(b't', &[0, 1, 0, 0, 0, 23]));
        answer.extend(row_description(&["__segue"]));
    }
    relay.answer(&[&answer, READY].concat());
    relay
}

#[test]
fn a_forwarded_select_allocates_nothing() {
    let mut relay = prepared(None, "select v from t where id = $1");
    assert_eq!(relay.allocations(&bound(), &selected()), 0);
}

#[test]
fn a_select_of_a_captured_session_allocates_little() {
    let mut relay = prepared(Some(capture()), "select v from t where id = $1");
    assert_eq!(relay.allocations(&bound(), &selected()), 4);
}

#[test]
fn a_captured_update_allocates_what_it_keeps() {
    let text = "update t set v = null where id = $1";
    let mut relay = prepared(Some(capture()), text);
    assert_eq!(relay.allocations(&bound(), &updated()), 18);
}

#[test]
fn a_captured_text_with_literals_allocates_its_template_too() {
    let text = "update t set v = null where id = $1";
    let mut relay = prepared(Some(capture()), text);
    let query = frame(b'Q', b"update t set v = null where id = 1\0");
    let reply = [
        row_description(&["__segue"]),
        data_row(&[Some(&hexadecimal(&record()))]),
        frame(b'C', b"UPDATE 1\0"),
        READY.to_vec(),
    ]
    .concat();
    assert_eq!(relay.allocations(&query, &reply), 21);
}

#[test]
fn an_idle_session_is_small() {
    type Whole = Session<crate::client_stream::ClientStream, crate::source::SourceStream>;
    let session = size_of::<Whole>();
    let relay = Relay::new(None);
    let running = size_of_val(&relay.session.run());
    let capturing = size_of::<super::super::capturing::Capturing>();
    assert!(session <= 1024, "a session takes {session} bytes");
    assert!(running <= 2048, "a running session takes {running} bytes");
    assert!(capturing <= 1024, "what captures takes {capturing} bytes");
}

#[test]
fn texts_that_a_client_prepares_are_kept_up_to_a_bound() {
    const LARGE: usize = 900 << 10;
    let mut relay = Relay::new(Some(capture()));
    let comment = "x".repeat(LARGE);
    let kept = |relay: &Relay| relay.session.capturing.as_ref().unwrap().kept_size();
    for number in 0..100 {
        let parse = format!("s{number}\0select 1 /*{comment}*/\0\0\0");
        let parse = [frame(b'P', parse.as_bytes()), frame(b'S', b"")].concat();
        for part in parse.chunks(PIPE_SIZE) {
            at_once(relay.client.write_all(part)).unwrap();
            relay.turn();
            while at_once_some(&mut relay) {}
        }
        relay.answer(&[&frame(b'1', b""), READY].concat());
        assert!(kept(&relay) <= 64 << 20);
    }
    assert!(kept(&relay) > 60 << 20);
    relay.ask(&frame(b'Q', b"deallocate all\0"));
    relay.answer(&[&frame(b'C', b"DEALLOCATE ALL\0"), READY].concat());
    assert_eq!(kept(&relay), 0);
}

/// Takes what the source is sent; whether that was anything.
fn at_once_some(relay: &mut Relay) -> bool {
    let mut context = Context::from_waker(Waker::noop());
    let mut read = tokio::io::ReadBuf::new(&mut relay.read);
    let source = std::pin::Pin::new(&mut relay.source);
    let came = tokio::io::AsyncRead::poll_read(source, &mut context, &mut read).is_ready();
    relay.turn();
    came
}
