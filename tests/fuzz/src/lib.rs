//! What is fuzzed, one function a parser: `make fuzz` runs them under libFuzzer, and `make test` for
//! a moment on seeded random bytes and mutations of the seeds.
//!
//! Each takes any bytes, and panics where a promise of the parser is broken: that it does not panic,
//! and that what it has read is written back as it was. Does not look for slowness.
#![expect(clippy::panic, reason = "a broken promise has to be loud")]

mod logins;
mod messages;
mod seeds;
#[cfg(test)]
mod smoke;
mod statements;
mod texts;
mod values;

pub use seeds::seeds;

/// One parser's entry.
#[derive(Debug, Clone, Copy)]
pub struct Entry {
    /// As `make fuzz TARGET=..` knows it.
    pub name: &'static str,
    /// Takes any bytes.
    pub run: fn(&[u8]),
}

/// Every parser that reads what a peer, a user or a server says.
pub const ENTRIES: &[Entry] = &[
    Entry {
        name: "frame",
        run: messages::frame,
    },
    Entry {
        name: "startup",
        run: messages::startup,
    },
    Entry {
        name: "frontend",
        run: messages::frontend,
    },
    Entry {
        name: "backend",
        run: messages::backend,
    },
    Entry {
        name: "pgoutput",
        run: messages::pgoutput,
    },
    Entry {
        name: "record",
        run: values::record,
    },
    Entry {
        name: "row",
        run: values::row,
    },
    Entry {
        name: "remap",
        run: values::remap,
    },
    Entry {
        name: "statement",
        run: statements::statement,
    },
    Entry {
        name: "template",
        run: statements::template,
    },
    Entry {
        name: "scram",
        run: logins::scram,
    },
    Entry {
        name: "auth_file",
        run: logins::auth_file,
    },
    Entry {
        name: "session_state",
        run: values::session_state,
    },
    Entry {
        name: "dsn",
        run: texts::dsn,
    },
    Entry {
        name: "console",
        run: texts::console,
    },
    Entry {
        name: "numbers",
        run: texts::numbers,
    },
];

/// Runs the entry with this name; for libFuzzer's targets.
pub fn run(name: &str, data: &[u8]) {
    match ENTRIES.iter().find(|entry| entry.name == name) {
        Some(entry) => (entry.run)(data),
        None => panic!("nothing is called {name}"),
    }
}
