//! What a client may say: requests of every kind, in any order, ends of COPYs where they are due.
//!
//! Does not wait for answers, but where a script says so.

use std::fmt;

use proptest::prelude::*;

use super::super::frame;
use super::server::Server;

/// Texts, most of which are one statement. A mark in a comment says what the server says besides.
pub(super) const TEXTS: &[&[u8]] = &[
    b"",
    b"select 3",
    b"select /*notice*/ 2",
    b"select nope",
    b"select 1/0",
    b"syntax",
    b"update t set v = 'x' where id = 1",
    b"update /*notice*/ t set v = 'y' where id = 1 returning id, v",
    b"update t set v = '\xc3\xa9' where id = 1 returning id",
    b"update t set v = '\xe9' where id = 1 returning id",
    b"update t set v = nope where id = 1",
    b"insert into t values (1, 'a')",
    b"insert into t values (1, 'a'), (2, 'b') returning *",
    b"insert /*trail*/ into t values ($1, 'a')",
    b"delete from t where id = 7",
    b"delete from t where id = $1 returning id",
    b"update t set v = 1/0 where id = $1 returning id",
    b"begin",
    b"commit",
    b"rollback",
    b"savepoint s",
    b"rollback to s",
    b"copy t from stdin",
    b"copy t to stdout",
    b"set application_name = 'x'",
    b"set search_path = public",
    b"set role me",
    b"set client_encoding = 'LATIN1'",
    b"listen /*notify*/ c",
    b"call /*trail*/ p()",
    b"create temp table x (id int)",
    b"deallocate all",
    b"deallocate a",
    b"select 1; update t set v = 'z' where id = 1; select 2",
    b"update t set v = 'z' where id = 1; select nope",
    b"update t set v = '\xc3\xa9' where id = 1 returning v; delete from t where id = 1; select nope",
    b"begin; insert into t values (1, 'b'); commit",
    b"copy t from stdin; delete from t where id = 1",
    b"update t set v = 'z' where id = 1; set search_path = public; delete from t where id = 1 returning id",
];

/// Those that are captured in a session that is known.
const WRITES: std::ops::Range<usize> = 6..17;

#[derive(Debug, Clone, Copy)]
pub(super) enum Kept {
    Statement,
    Portal,
}

/// One thing that a client says.
#[derive(Debug, Clone)]
pub(super) enum Say {
    Query(usize),
    Parse(&'static str, usize),
    Bind {
        portal: &'static str,
        statement: &'static str,
        formats: Vec<i16>,
        parameters: usize,
    },
    Describe(Kept, &'static str),
    Execute(&'static str, i32),
    Close(Kept, &'static str),
    Sync,
    Flush,
    FunctionCall,
    /// Data of a COPY that there is not, or the end of it.
    Stray(u8),
    /// All that drivers say to run a text, up to its Sync.
    Run {
        statement: &'static str,
        text: usize,
        formats: Vec<i16>,
        limit: i32,
    },
    /// The same of a statement that is there already.
    Again {
        statement: &'static str,
        parameters: usize,
        limit: i32,
    },
    /// Says nothing until everything has been answered.
    Wait,
}

/// How a COPY goes on, once the server has asked for its data.
#[derive(Debug, Clone, Copy)]
pub(super) enum Copying {
    Ends,
    Fails,
    /// The server does not like the data.
    IsBad,
}

fn name() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["", "a", "b"])
}

fn text() -> impl Strategy<Value = usize> {
    prop_oneof![0..TEXTS.len(), WRITES]
}

fn formats() -> impl Strategy<Value = Vec<i16>> {
    prop_oneof![
        4 => Just(vec![]),
        2 => Just(vec![1]),
        1 => Just(vec![0, 1]),
        1 => Just(vec![1, 0, 1]),
    ]
}

fn limit() -> impl Strategy<Value = i32> {
    prop_oneof![3 => Just(0), 1 => 1..3]
}

fn kept() -> impl Strategy<Value = Kept> {
    prop_oneof![Just(Kept::Statement), Just(Kept::Portal)]
}

fn say() -> impl Strategy<Value = Say> {
    prop_oneof![
        6 => text().prop_map(Say::Query),
        2 => (name(), text()).prop_map(|(name, text)| Say::Parse(name, text)),
        2 => (name(), name(), formats(), 0..2_usize).prop_map(
            |(portal, statement, formats, parameters)| Say::Bind {
                portal,
                statement,
                formats,
                parameters,
            }
        ),
        1 => (kept(), name()).prop_map(|(kept, name)| Say::Describe(kept, name)),
        3 => (name(), limit()).prop_map(|(name, limit)| Say::Execute(name, limit)),
        1 => (kept(), name()).prop_map(|(kept, name)| Say::Close(kept, name)),
        4 => Just(Say::Sync),
        1 => Just(Say::Flush),
        1 => Just(Say::FunctionCall),
        1 => prop::sample::select(b"dcf".to_vec()).prop_map(Say::Stray),
        6 => (name(), text(), formats(), limit()).prop_map(|(statement, text, formats, limit)| {
            Say::Run {
                statement,
                text,
                formats,
                limit,
            }
        }),
        4 => (name(), 0..2_usize, limit()).prop_map(|(statement, parameters, limit)| {
            Say::Again {
                statement,
                parameters,
                limit,
            }
        }),
        4 => Just(Say::Wait),
    ]
}

fn copying() -> impl Strategy<Value = Copying> {
    prop_oneof![
        3 => Just(Copying::Ends),
        1 => Just(Copying::Fails),
        1 => Just(Copying::IsBad),
    ]
}

fn terminated(parts: &[&[u8]]) -> Vec<u8> {
    parts
        .iter()
        .flat_map(|part| [part, &b"\0"[..]])
        .flatten()
        .copied()
        .collect()
}

fn bind(portal: &str, statement: &str, formats: &[i16], parameters: usize) -> Vec<u8> {
    let mut body = terminated(&[portal.as_bytes(), statement.as_bytes()]);
    body.extend([0, 0, 0, u8::try_from(parameters).unwrap()]);
    body.extend(b"\0\0\0\x011".repeat(parameters));
    let count = u16::try_from(formats.len()).unwrap();
    body.extend(count.to_be_bytes());
    body.extend(formats.iter().flat_map(|format| format.to_be_bytes()));
    frame(b'B', &body)
}

fn named(tag: u8, kept: Kept, name: &str) -> Vec<u8> {
    let letter = match kept {
        Kept::Statement => b"S",
        Kept::Portal => b"P",
    };
    frame(tag, &[letter, name.as_bytes(), b"\0"].concat())
}

fn execute(portal: &str, limit: i32) -> Vec<u8> {
    frame(
        b'E',
        &[portal.as_bytes(), b"\0", &limit.to_be_bytes()].concat(),
    )
}

impl Say {
    fn frames(&self) -> Vec<u8> {
        let sync = frame(b'S', b"");
        match self {
            Self::Query(text) => frame(b'Q', &terminated(&[TEXTS[*text]])),
            Self::Parse(name, text) => {
                let body = terminated(&[name.as_bytes(), TEXTS[*text]]);
                frame(b'P', &[&body[..], b"\0\0"].concat())
            }
            Self::Bind {
                portal,
                statement,
                formats,
                parameters,
            } => bind(portal, statement, formats, *parameters),
            Self::Describe(kept, name) => named(b'D', *kept, name),
            Self::Execute(portal, limit) => execute(portal, *limit),
            Self::Close(kept, name) => named(b'C', *kept, name),
            Self::Sync => sync,
            Self::Flush => frame(b'H', b""),
            Self::FunctionCall => frame(b'F', &[0; 10]),
            Self::Stray(tag) => frame(*tag, b"\0"),
            Self::Run {
                statement,
                text,
                formats,
                limit,
            } => {
                let parameters = usize::from(TEXTS[*text].windows(2).any(|it| it == b"$1"));
                [
                    named(b'C', Kept::Statement, statement),
                    Self::Parse(statement, *text).frames(),
                    named(b'D', Kept::Statement, statement),
                    bind("", statement, formats, parameters),
                    named(b'D', Kept::Portal, ""),
                    execute("", *limit),
                    sync,
                ]
                .concat()
            }
            Self::Again {
                statement,
                parameters,
                limit,
            } => [
                bind("", statement, &[], *parameters),
                execute("", *limit),
                sync,
            ]
            .concat(),
            Self::Wait => Vec::new(),
        }
    }
}

/// What a client says at once, and how many bytes it waits to have heard before.
#[derive(Clone)]
pub(super) struct Step {
    pub(super) says: Vec<u8>,
    pub(super) heard: Option<usize>,
}

impl fmt::Debug for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.heard {
            Some(count) => write!(f, "waits for {count}"),
            None => write!(f, "{}", self.says.escape_ascii()),
        }
    }
}

/// What a client says, and what it hears from a server that it talks to without anybody between.
#[derive(Clone)]
pub(super) struct Script {
    pub(super) steps: Vec<Step>,
    pub(super) says: Vec<u8>,
    pub(super) hears: Vec<u8>,
}

impl fmt::Debug for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.steps).finish()
    }
}

impl Script {
    /// Plays it against a server. Where that asks for COPY data, it gets some.
    pub(super) fn played(said: &[Say], mut copying: impl Iterator<Item = Copying>) -> Self {
        let mut server = Server::new();
        let mut script = Self {
            steps: Vec::new(),
            says: Vec::new(),
            hears: Vec::new(),
        };
        for say in said {
            let mut says = say.frames();
            script.hears.extend(server.hear(&says));
            while server.is_copying() {
                let (data, end) = match copying.next().unwrap() {
                    Copying::Ends => (&b"1\n"[..], b'c'),
                    Copying::Fails => (&b"1\n"[..], b'f'),
                    Copying::IsBad => (&b"bad\n"[..], b'c'),
                };
                let content = [frame(b'd', data), frame(end, b"")].concat();
                script.hears.extend(server.hear(&content));
                says.extend(content);
                // A COPY that was executed swallows the Sync behind it.
                if matches!(say, Say::Run { .. } | Say::Again { .. }) || server.is_skipping() {
                    let sync = frame(b'S', b"");
                    script.hears.extend(server.hear(&sync));
                    says.extend(sync);
                }
            }
            script.says.extend(&says);
            let waits = matches!(say, Say::Wait);
            script.steps.push(Step {
                says,
                heard: waits.then_some(script.hears.len()),
            });
        }
        script
    }
}

/// Any script.
pub(super) fn script() -> impl Strategy<Value = Script> {
    let said = prop::collection::vec(say(), 1..25);
    let copying = prop::collection::vec(copying(), 1..5);
    (said, copying).prop_map(|(said, copying)| Script::played(&said, copying.into_iter().cycle()))
}
