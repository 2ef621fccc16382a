//! The queue against a small model of a server: whatever a client sends, and whatever fails, every
//! reply finds its request.
//!
//! The model reads frames as `PostgresMain` does: it skips after an error up to the next Sync, and
//! in COPY swallows Sync. The client may be any number of frames ahead of the server. It ends every
//! COPY that it began, and sends no Sync among the data: where it does and the COPY fails, no
//! reply tells whether the server had read that Sync.

use proptest::prelude::*;

use super::*;
use crate::wire::backend::{Severity, Tag};

/// A frame of the client's, and what becomes of it where it is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sent {
    Query(Fate),
    Parse(Fate),
    Bind(Fate),
    Describe(Fate),
    Execute(Fate),
    Close,
    FunctionCall(Fate),
    CopyData,
    CopyEnd,
    Sync(Fate),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Succeeds,
    Fails,
    /// Begins a COPY from the client, where it can.
    Copies,
    /// Begins one that fails at its first piece of data, or else at its end.
    CopyFails,
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        5 => Just(Fate::Succeeds),
        2 => Just(Fate::Fails),
        1 => Just(Fate::Copies),
        1 => Just(Fate::CopyFails),
    ]
}

fn sent() -> impl Strategy<Value = Sent> {
    prop_oneof![
        2 => fate().prop_map(Sent::Query),
        2 => fate().prop_map(Sent::Parse),
        2 => fate().prop_map(Sent::Bind),
        1 => fate().prop_map(Sent::Describe),
        3 => fate().prop_map(Sent::Execute),
        1 => Just(Sent::Close),
        1 => fate().prop_map(Sent::FunctionCall),
        2 => Just(Sent::CopyData),
        2 => Just(Sent::CopyEnd),
        3 => fate().prop_map(Sent::Sync),
    ]
}

impl Sent {
    fn request(self) -> Option<Request> {
        Some(match self {
            Self::Query(_) => Request::Query,
            Self::Parse(_) => Request::Parse,
            Self::Bind(_) => Request::Bind,
            Self::Describe(_) => Request::DescribeStatement,
            Self::Execute(_) => Request::Execute,
            Self::Close => Request::Close,
            Self::FunctionCall(_) => Request::FunctionCall,
            Self::CopyData => return None,
            Self::CopyEnd => Request::CopyEnd,
            Self::Sync(_) => Request::Sync,
        })
    }
}

/// What the server is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Normal,
    Skipping,
    Copying { simple: bool, fails: bool },
}

/// The replies to `frame`, or nothing where a real server would end the connection.
fn serve(mode: &mut Mode, frame: Sent) -> Option<Vec<char>> {
    match *mode {
        Mode::Copying { simple, fails } => {
            let replies = match frame {
                Sent::CopyData if !fails => vec![],
                Sent::Sync(_) => return Some(vec![]),
                Sent::CopyEnd if !fails => {
                    *mode = Mode::Normal;
                    if simple { vec!['C', 'Z'] } else { vec!['C'] }
                }
                Sent::CopyData | Sent::CopyEnd => {
                    *mode = if simple { Mode::Normal } else { Mode::Skipping };
                    if simple { vec!['E', 'Z'] } else { vec!['E'] }
                }
                Sent::Query(_)
                | Sent::Parse(_)
                | Sent::Bind(_)
                | Sent::Describe(_)
                | Sent::Execute(_)
                | Sent::Close
                | Sent::FunctionCall(_) => return None,
            };
            Some(replies)
        }
        Mode::Skipping => {
            let Sent::Sync(fate) = frame else {
                return Some(vec![]);
            };
            *mode = Mode::Normal;
            Some(sync(fate))
        }
        Mode::Normal => Some(run(mode, frame)),
    }
}

fn sync(fate: Fate) -> Vec<char> {
    if fate == Fate::Fails {
        vec!['E', 'Z']
    } else {
        vec!['Z']
    }
}

fn run(mode: &mut Mode, frame: Sent) -> Vec<char> {
    let simple = matches!(frame, Sent::Query(_));
    match frame {
        Sent::CopyData | Sent::CopyEnd => vec![],
        Sent::Sync(fate) => sync(fate),
        Sent::Query(Fate::Fails) | Sent::FunctionCall(Fate::Fails) => vec!['E', 'Z'],
        Sent::Query(Fate::Succeeds) => vec!['T', 'D', 'C', 'C', 'Z'],
        Sent::FunctionCall(_) => vec!['V', 'Z'],
        Sent::Query(fate) | Sent::Execute(fate)
            if fate != Fate::Succeeds && fate != Fate::Fails =>
        {
            let fails = fate == Fate::CopyFails;
            *mode = Mode::Copying { simple, fails };
            vec!['G']
        }
        Sent::Parse(Fate::Fails)
        | Sent::Bind(Fate::Fails)
        | Sent::Describe(Fate::Fails)
        | Sent::Execute(Fate::Fails) => {
            *mode = Mode::Skipping;
            vec!['E']
        }
        Sent::Parse(_) => vec!['1'],
        Sent::Bind(_) => vec!['2'],
        Sent::Describe(_) => vec!['t', 'T'],
        Sent::Execute(_) | Sent::Query(_) => vec!['D', 'C'],
        Sent::Close => vec!['3'],
    }
}

/// A queue that is asked what each frame means, and one that is only told of it.
struct Queues {
    asked: ReplyQueue<()>,
    told: ReplyQueue<()>,
}

impl Queues {
    fn push(&mut self, request: Request) {
        self.asked.push(request, ());
        self.told.push(request, ());
    }

    fn take(&mut self, reply: char) -> Result<(), TestCaseError> {
        let action = if reply == 'E' {
            self.told.error(Severity::Error);
            self.asked.error(Severity::Error).action
        } else {
            let tag = Tag::from_byte(u8::try_from(reply).unwrap());
            let reply = self.asked.reply(tag);
            prop_assert!(reply.is_ok(), "{:?}", reply);
            let Reply { action, event } = reply.unwrap();
            let ends = match event {
                Event::Answered(()) => Ends::Request,
                Event::Completed { .. } => Ends::Statement,
                Event::Suspended(()) => Ends::Portal,
                Event::Ready => Ends::All,
                Event::None => Ends::Nothing,
                Event::Failed { .. } | Event::OwnReady | Event::OwnFailed | Event::Fatal => {
                    return Err(TestCaseError::fail(format!("{event:?}")));
                }
            };
            prop_assert_eq!(self.told.pass(tag), Ok(ends));
            action
        };
        prop_assert_eq!(action, Action::Forward);
        let [asked, told] = [&self.asked, &self.told].map(|queue| format!("{queue:?}"));
        prop_assert_eq!(asked, told);
        Ok(())
    }
}

/// The frames of a client that ends its COPYs.
fn ended(frames: Vec<Sent>) -> Vec<Sent> {
    let mut out = Vec::new();
    let mut copying: Option<bool> = None;
    let mut has_data = false;
    for frame in frames {
        match (copying, frame) {
            (Some(_), Sent::CopyData) => has_data = true,
            (Some(_), Sent::Sync(_)) if has_data => continue,
            (Some(_), Sent::Sync(_)) | (None, _) => (),
            (Some(simple), _) => {
                out.push(Sent::CopyEnd);
                if !simple {
                    out.push(Sent::Sync(Fate::Succeeds));
                }
                copying = None;
            }
        }
        if let Sent::Query(Fate::Copies | Fate::CopyFails)
        | Sent::Execute(Fate::Copies | Fate::CopyFails) = frame
        {
            copying = Some(matches!(frame, Sent::Query(_)));
            has_data = false;
        }
        out.push(frame);
    }
    out
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn every_reply_finds_its_request_however_far_the_client_is_ahead(
        frames in prop::collection::vec(sent(), 1..40),
        ahead in prop::collection::vec(1usize..12, 1..20),
    ) {
        let mut queues = Queues { asked: ReplyQueue::new(), told: ReplyQueue::new() };
        let mut mode = Mode::Normal;
        let mut waiting = VecDeque::new();
        let mut ahead = ahead.iter().cycle();
        let mut room = 0;
        for frame in ended(frames) {
            if let Some(request) = frame.request() {
                queues.push(request);
            }
            waiting.push_back(frame);
            if room > 0 {
                room -= 1;
                continue;
            }
            room = *ahead.next().unwrap();
            while let Some(frame) = waiting.pop_front() {
                let Some(replies) = serve(&mut mode, frame) else { return Ok(()); };
                for reply in replies {
                    queues.take(reply)?;
                }
                if waiting.len() % 3 == 1 { break; }
            }
        }
        while let Some(frame) = waiting.pop_front() {
            let Some(replies) = serve(&mut mode, frame) else { return Ok(()); };
            for reply in replies {
                queues.take(reply)?;
            }
        }
        let queue = queues.asked;
        prop_assert_eq!(queue.is_skipping(), mode == Mode::Skipping, "{:?}", queue);
        if mode == Mode::Normal {
            prop_assert!(queue.entries.iter().all(|entry| entry.request == Request::CopyEnd));
        }
    }
}
