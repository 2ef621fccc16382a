//! A server of a few lines sends the same history in two ways, and what is understood is the same.

use std::collections::{BTreeMap, HashSet};

use bytes::{BufMut, Bytes, BytesMut};
use proptest::prelude::*;

use super::*;
use crate::lsn::Lsn;
use crate::pgoutput::{Message, streamed};

/// What a server does in some transaction.
#[derive(Debug, Clone, Copy)]
enum Action {
    /// A row is written.
    Write,
    /// `SAVEPOINT`.
    Save,
    /// `RELEASE` of the innermost savepoint.
    Release,
    /// `ROLLBACK TO` a savepoint, so many out from the innermost.
    RollBackTo(usize),
    /// The transaction takes too much memory: what there is of it is sent.
    Send,
    Commit,
    Abort,
}

/// A transaction as the server keeps it.
#[derive(Debug, Default)]
struct Running {
    xid: u32,
    /// Subtransactions in the order in which they began, released ones too.
    begun: Vec<u32>,
    /// Those that a ROLLBACK TO could name.
    open: Vec<u32>,
    /// Rows that count, by their owner.
    rows: Vec<(u32, u64)>,
    /// Those of them that have not been sent.
    unsent: Vec<(u32, u64)>,
    /// Whose changes have been sent.
    sent: HashSet<u32>,
    has_begun_stream: bool,
    /// Whether this transaction's stream holds the table's description.
    is_described: bool,
}

#[derive(Debug, Default)]
struct Server {
    running: BTreeMap<usize, Running>,
    next_xid: u32,
    next_lsn: u64,
    /// What is sent, as (position, message).
    wire: Vec<(u64, Bytes)>,
    /// What the unstreamed protocol would bring: transactions and their rows, by commit.
    truth: Vec<(u32, Vec<u64>)>,
}

impl Server {
    fn xid(&mut self) -> u32 {
        self.next_xid += 1;
        // Past the point where the numbers start again, too.
        self.next_xid.wrapping_add(u32::MAX - 20)
    }

    fn send(&mut self, tag: u8, body: &[&[u8]]) {
        let mut payload = BytesMut::from(&[tag][..]);
        for part in body {
            payload.put_slice(part);
        }
        self.wire.push((self.next_lsn, payload.freeze()));
    }

    fn step(&mut self, slot: usize, action: Action) {
        self.next_lsn += 1;
        let mut running = self.running.remove(&slot).unwrap_or_else(|| Running {
            xid: self.xid(),
            ..Running::default()
        });
        match action {
            Action::Write => {
                let owner = running.open.last().copied().unwrap_or(running.xid);
                running.rows.push((owner, self.next_lsn));
                running.unsent.push((owner, self.next_lsn));
            }
            Action::Save => {
                let xid = self.xid();
                running.begun.push(xid);
                running.open.push(xid);
            }
            Action::Release => drop(running.open.pop()),
            Action::RollBackTo(out) => self.roll_back_to(&mut running, out),
            Action::Send => self.stream(&mut running),
            Action::Commit => return self.commit(running),
            Action::Abort => return self.abort(&running),
        }
        self.running.insert(slot, running);
    }

    fn roll_back_to(&mut self, running: &mut Running, out: usize) {
        let Some(place) = running.open.len().checked_sub(out + 1) else {
            return;
        };
        let savepoint = running.open[place];
        running.open.truncate(place);
        let since = running.begun.iter().position(|xid| *xid == savepoint);
        let gone = running.begun.split_off(since.unwrap());
        running.rows.retain(|(owner, _)| !gone.contains(owner));
        running.unsent.retain(|(owner, _)| !gone.contains(owner));
        // The abort record names the children first.
        for subxid in gone.iter().skip(1).chain(&gone[..1]) {
            if running.sent.contains(subxid) {
                self.send(b'A', &[&running.xid.to_be_bytes(), &subxid.to_be_bytes()]);
                running.is_described = false;
            }
        }
    }

    /// What has not been sent goes out as a block.
    fn stream(&mut self, running: &mut Running) {
        let unsent = std::mem::take(&mut running.unsent);
        if unsent.is_empty() {
            return;
        }
        let first = [u8::from(!running.has_begun_stream)];
        self.send(b'S', &[&running.xid.to_be_bytes(), &first]);
        running.has_begun_stream = true;
        for (owner, lsn) in unsent {
            let owner_bytes = owner.to_be_bytes();
            if !running.is_described {
                running.is_described = true;
                self.send(b'R', &[&owner_bytes, b"\0\0\0\x10s\0t\0d\0\0"]);
            }
            self.send(b'I', &[&owner_bytes, b"\0\0\0\x10N\0\0"]);
            self.wire.last_mut().unwrap().0 = lsn;
            running.sent.insert(owner);
        }
        self.send(b'E', &[]);
    }

    fn commit(&mut self, mut running: Running) {
        let rows = running.rows.iter().map(|(_, lsn)| *lsn).collect();
        self.truth.push((running.xid, rows));
        if running.has_begun_stream {
            self.stream(&mut running);
            self.send(b'c', &[&running.xid.to_be_bytes(), &[0; 25]]);
            return;
        }
        self.send(b'B', &[&[0; 16], &running.xid.to_be_bytes()]);
        for (_, lsn) in running.rows {
            self.send(b'I', &[b"\0\0\0\x10N\0\0"]);
            self.wire.last_mut().unwrap().0 = lsn;
        }
        self.send(b'C', &[&[0; 25]]);
    }

    fn abort(&mut self, running: &Running) {
        if !running.has_begun_stream {
            return;
        }
        for subxid in running
            .begun
            .iter()
            .filter(|xid| running.sent.contains(xid))
        {
            self.send(b'A', &[&running.xid.to_be_bytes(), &subxid.to_be_bytes()]);
        }
        let xid = running.xid.to_be_bytes();
        self.send(b'A', &[&xid, &xid]);
    }
}

/// The reader, with spools in memory.
#[derive(Debug, Default)]
struct Client {
    streams: Streams,
    spools: HashMap<u32, BytesMut>,
    open: Option<(u32, Vec<u64>)>,
    understood: Vec<(u32, Vec<u64>)>,
}

impl Client {
    fn take(&mut self, lsn: u64, payload: Bytes) {
        if self.streams.in_block() && payload[0] != b'E' {
            let owner = streamed::owner(&payload).unwrap().unwrap();
            let lsn = Lsn::new(lsn);
            let record = Record { lsn, payload };
            let place = self.streams.add(owner, record.length()).unwrap();
            let spool = self.spools.entry(place.xid).or_default();
            assert_eq!(u64::try_from(spool.len()), Ok(place.offset));
            record.put(spool);
            return;
        }
        match Message::decode(payload).unwrap() {
            Message::Begin(begin) => self.open = Some((begin.xid, Vec::new())),
            Message::Insert { .. } => self.open.as_mut().unwrap().1.push(lsn),
            Message::Commit(_) => self.understood.push(self.open.take().unwrap()),
            Message::StreamStart(start) => self.streams.start(start).unwrap(),
            Message::StreamStop => self.streams.stop().unwrap(),
            Message::StreamAbort(abort) => match self.streams.abort(abort).unwrap() {
                TakenBack::Nothing => panic!("an abort of what was never sent"),
                TakenBack::Whole => drop(self.spools.remove(&abort.xid)),
                TakenBack::Part { length } => self
                    .spools
                    .get_mut(&abort.xid)
                    .unwrap()
                    .truncate(length.try_into().unwrap()),
            },
            Message::StreamCommit(commit) => self.replay(commit.xid),
            other @ (Message::Origin { .. }
            | Message::Relation(_)
            | Message::Type { .. }
            | Message::Update { .. }
            | Message::Delete { .. }
            | Message::Truncate { .. }
            | Message::Logical { .. }) => panic!("{other:?}"),
        }
    }

    fn replay(&mut self, xid: u32) {
        let replay = self.streams.commit(xid).unwrap();
        let spool = self.spools.remove(&xid).unwrap();
        assert_eq!(u64::try_from(spool.len()), Ok(replay.length));
        let mut records = Records::default();
        let mut rows = Vec::new();
        let mut is_described = false;
        for part in spool.chunks(11) {
            records.feed(part);
            while let Some(Record { lsn, payload }) = records.next() {
                let owned = streamed::decode(payload).unwrap();
                if !replay.counts(owned.owner) {
                    continue;
                }
                if matches!(owned.message, Message::Relation(_)) {
                    is_described = true;
                    continue;
                }
                assert!(is_described, "a row of a table that was not described");
                rows.push(lsn.as_u64());
            }
        }
        assert_eq!(records.unread(), 0);
        self.understood.push((xid, rows));
    }
}

/// What was sent is understood as what the unstreamed protocol would have brought.
fn check(history: &[(usize, Action)]) {
    let mut server = Server::default();
    for (slot, action) in history {
        server.step(*slot, *action);
    }
    let mut client = Client::default();
    for (lsn, payload) in server.wire {
        client.take(lsn, payload);
    }
    assert_eq!(client.understood, server.truth);
    let unfinished = server.running.values();
    let unfinished = unfinished.filter(|running| running.has_begun_stream);
    assert_eq!(client.streams.count(), unfinished.clone().count());
    assert_eq!(client.spools.len(), unfinished.count());
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        8 => Just(Action::Write),
        3 => Just(Action::Save),
        1 => Just(Action::Release),
        2 => (0..3_usize).prop_map(Action::RollBackTo),
        4 => Just(Action::Send),
        1 => Just(Action::Commit),
        1 => Just(Action::Abort),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn any_interleaving_of_streamed_transactions_and_aborts_is_what_the_unstreamed_protocol_brings(
        history in prop::collection::vec((0..4_usize, action()), 0..120),
    ) {
        check(&history);
    }
}

#[test]
fn a_loop_of_attempts_in_savepoints_leaves_the_spool_as_it_was() {
    use Action::{Commit, RollBackTo, Save, Send, Write};
    let attempt = [Save, Write, Send, Write, Send, RollBackTo(0)];
    let history = [
        &[Write, Send][..],
        &attempt,
        &attempt,
        &attempt,
        &[Write, Commit],
    ]
    .concat();
    let history: Vec<_> = history.into_iter().map(|action| (0, action)).collect();
    check(&history);

    let mut streams = Streams::default();
    let start = |place| StreamStart { xid: 1, place };
    streams.start(start(BlockPlace::First)).unwrap();
    streams.add(1, 10).unwrap();
    for subxid in 2..9 {
        let place = streams.add(subxid, 100).unwrap();
        assert_eq!(place, Place { xid: 1, offset: 10 });
        streams.stop().unwrap();
        let taken = streams.abort(StreamAbort { xid: 1, subxid });
        assert_eq!(taken, Ok(TakenBack::Part { length: 10 }));
        streams.start(start(BlockPlace::Later)).unwrap();
    }
}

#[test]
fn what_breaks_the_order_of_blocks_is_an_error() {
    let mut streams = Streams::default();
    let first = StreamStart {
        xid: 1,
        place: BlockPlace::First,
    };
    let later = StreamStart {
        place: BlockPlace::Later,
        ..first
    };
    assert_eq!(streams.start(later), Err(Disorder::NotBegun { xid: 1 }));
    assert!(streams.add(1, 1).is_err());
    assert!(streams.stop().is_err());
    streams.start(first).unwrap();
    assert_eq!(streams.start(later), Err(Disorder::Nested { xid: 1 }));
    assert!(streams.commit(1).is_err());
    assert!(streams.abort(StreamAbort { xid: 1, subxid: 1 }).is_err());
    streams.stop().unwrap();
    assert_eq!(streams.start(first), Err(Disorder::BegunTwice { xid: 1 }));
    // Whoever has never begun has nothing that could be taken back or count.
    let unknown = StreamAbort { xid: 7, subxid: 8 };
    assert_eq!(streams.abort(unknown), Ok(TakenBack::Nothing));
    assert_eq!(streams.commit(7), Ok(Replay::default()));
}
