//! The capture table: statements, what becomes of each, and that nobody can tell.
//!
//! Every statement runs directly and through a mirroring proxy, on copies of one database, by the
//! simple and by the extended protocol with text and binary results. All frames of the replies have
//! to be equal; what the source was really sent, and what the proxy counted, have to be what the
//! table says. Afterwards the copies have to be equal too, and the target equal to the source.
//!
//! Does not test what a single statement cannot show: that is in `mirror`, `wire` and `hard_rows`.

pub(crate) mod counts;
mod deletes;
mod errors;
mod inserts;
mod limits;
mod others;
mod play;
mod sessions;
mod tables;
mod updates;

/// What is to be seen at the source and in the proxy's counters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sent {
    /// The client's text.
    AsItCame,
    /// The client's text with hidden columns.
    Rewritten,
}

/// Which protocols can bring the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Protocols {
    /// A simple query only: several statements, or COPY.
    Simple,
    /// Both.
    Both,
    /// The extended protocol only: it has parameters.
    Extended,
}

/// One line of the table.
#[derive(Debug, Clone, Copy)]
struct Entry {
    /// `:n` stands for a number of a row that is there, `:new` for one that is not.
    text: &'static str,
    sent: Sent,
    /// `captured`, the reason of the deferral, or nothing where nothing is counted.
    counted: Option<&'static str>,
    protocols: Protocols,
    /// Run before, on a connection that no other entry uses.
    before: &'static [&'static str],
    /// Run after it, to leave things as they were.
    after: &'static [&'static str],
    values: &'static [&'static str],
    copy_data: &'static [u8],
    /// The oldest server that understands it.
    since: u32,
}

/// Rewritten, and mirrored.
const fn captured(text: &'static str) -> Entry {
    Entry {
        text,
        sent: Sent::Rewritten,
        counted: Some("captured"),
        protocols: Protocols::Both,
        before: &[],
        after: &[],
        values: &[],
        copy_data: b"",
        since: 0,
    }
}

/// Sent as it came, and left to the log for this reason.
const fn deferred(reason: &'static str, text: &'static str) -> Entry {
    Entry {
        sent: Sent::AsItCame,
        counted: Some(reason),
        ..captured(text)
    }
}

/// Sent as it came; it writes nothing that is carried, or fails.
const fn untouched(text: &'static str) -> Entry {
    Entry {
        sent: Sent::AsItCame,
        counted: None,
        ..captured(text)
    }
}

/// Rewritten, and nothing comes of it.
const fn in_vain(text: &'static str) -> Entry {
    Entry {
        counted: None,
        ..captured(text)
    }
}

impl Entry {
    /// Rewritten all the same.
    const fn rewritten(self) -> Self {
        Self {
            sent: Sent::Rewritten,
            ..self
        }
    }

    const fn simple_only(self) -> Self {
        Self {
            protocols: Protocols::Simple,
            ..self
        }
    }

    /// With parameters.
    const fn with(self, values: &'static [&'static str]) -> Self {
        Self {
            protocols: Protocols::Extended,
            values,
            ..self
        }
    }

    const fn behind(self, before: &'static [&'static str]) -> Self {
        Self { before, ..self }
    }

    /// On a connection that no other entry uses.
    const fn alone(self) -> Self {
        self.behind(&["SELECT 1"])
    }

    const fn undone_by(self, after: &'static [&'static str]) -> Self {
        Self { after, ..self }
    }

    const fn copying(self, copy_data: &'static [u8]) -> Self {
        Self {
            copy_data,
            ..self.simple_only()
        }
    }

    const fn since(self, since: u32) -> Self {
        Self { since, ..self }
    }
}
