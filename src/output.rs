//! Facts to stdout, complaints to stderr.
//!
//! A reader that went away (`segue report | head`) is no error.

use std::io::{self, IsTerminal, Write};

use serde::Serialize;

use crate::exit::Failure;

/// Erases the screen and puts the cursor to its upper left.
const CLEAR: &str = "\x1b[H\x1b[2J";

/// Prints lines.
pub(crate) fn text(text: &str) -> Result<(), Failure> {
    put(&format!("{}\n", text.trim_end()))
}

/// Prints one object on one line, or over several for a person.
pub(crate) fn json(facts: &impl Serialize) -> Result<(), Failure> {
    let text = if io::stdout().is_terminal() {
        serde_json::to_string_pretty(facts)
    } else {
        serde_json::to_string(facts)
    };
    put(&format!("{}\n", text.map_err(|error| Failure::of(&error))?))
}

/// Makes room for the next picture, if stdout is a screen.
pub(crate) fn clear_screen() -> Result<(), Failure> {
    if io::stdout().is_terminal() {
        put(CLEAR)
    } else {
        Ok(())
    }
}

/// Says something beside the facts. There is nobody left to tell if stderr is gone.
pub(crate) fn complain(sentence: &str) {
    drop(writeln!(io::stderr(), "segue: {sentence}"));
}

fn put(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    match stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush())
    {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::failed(format!("cannot write to stdout: {error}")))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}
