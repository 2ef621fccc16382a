//! What a long command is at, beside its facts: a line that moves on a terminal, or JSON lines.
//!
//! Goes to stderr: what is found goes to stdout. Does not decide what is told.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use clap::ValueEnum;
use control::setup::{Moment, Watch};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::json;

/// How often the line moves while nothing is told.
const TICK: Duration = Duration::from_millis(100);

/// How progress is shown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// A line that moves, if stderr is a terminal
    #[default]
    Auto,
    /// A JSON object a line, on stderr
    Json,
    /// Not at all
    Off,
}

/// Where the progress of one command is shown.
#[derive(Debug)]
pub(crate) struct Progress {
    command: &'static str,
    place: Place,
}

#[derive(Debug)]
enum Place {
    Nowhere,
    Lines,
    Line(ProgressBar),
}

impl Progress {
    /// For one run of `command`.
    pub(crate) fn new(command: &'static str, format: Format) -> Self {
        let place = match format {
            Format::Json => Place::Lines,
            Format::Auto if io::stderr().is_terminal() => Place::Line(line()),
            Format::Auto | Format::Off => Place::Nowhere,
        };
        Self { command, place }
    }
}

impl Watch for Progress {
    fn at(&self, moment: &Moment) {
        match &self.place {
            Place::Nowhere => {}
            // There is nobody left to tell if stderr is gone.
            Place::Lines => drop(writeln!(io::stderr(), "{}", object(self.command, moment))),
            Place::Line(line) => line.set_message(sentence(moment)),
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Place::Line(line) = &self.place {
            line.finish_and_clear();
        }
    }
}

fn line() -> ProgressBar {
    let line = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    let style = ProgressStyle::with_template("{spinner} {elapsed} {wide_msg}");
    let line = style.map_or_else(|_| line.clone(), |style| line.clone().with_style(style));
    line.enable_steady_tick(TICK);
    line
}

fn object(command: &str, moment: &Moment) -> serde_json::Value {
    let (step, steps) = moment.step.unzip();
    json!({
        "progress": command,
        "doing": moment.doing,
        "side": moment.side.to_string(),
        "step": step,
        "steps": steps,
        "waits_for": moment.waits_for,
    })
}

fn sentence(moment: &Moment) -> String {
    let step = moment.step.map(|(step, steps)| format!("{step}/{steps} "));
    let waits = moment.waits_for.as_ref();
    let waits = waits.map(|who| format!(", which waits for {who}"));
    format!(
        "{}{}: {}{}",
        step.unwrap_or_default(),
        moment.side,
        moment.doing,
        waits.unwrap_or_default()
    )
}

#[cfg(test)]
mod tests {
    use control::Side;

    use super::*;

    #[test]
    fn a_moment_is_a_sentence_and_an_object() {
        let mut moment = Moment {
            doing: "make the slot".into(),
            side: Side::Source,
            step: Some((2, 4)),
            waits_for: Some("the session 7".into()),
        };
        assert_eq!(
            sentence(&moment),
            "2/4 source: make the slot, which waits for the session 7"
        );
        assert_eq!(
            object("setup", &moment),
            json!({"progress": "setup", "doing": "make the slot", "side": "source", "step": 2,
                   "steps": 4, "waits_for": "the session 7"})
        );
        (moment.step, moment.waits_for) = (None, None);
        assert_eq!(sentence(&moment), "source: make the slot");
        assert_eq!(object("setup", &moment)["step"], serde_json::Value::Null);
    }
}
