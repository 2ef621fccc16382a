//! How a command ends: its exit code and the sentence that goes with it.

use std::error::Error;
use std::process::ExitCode;

/// The meaning of an exit code. Scripts rely on the numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// All well.
    Well = 0,
    /// It failed.
    Failed = 1,
    /// Wrong usage or configuration.
    Usage = 2,
    /// It worked, and divergences are open.
    Divergent = 3,
    /// Preflight, certificate, window or phase says no.
    Refused = 4,
}

impl Exit {
    /// The meaning of a code that another crate gave to its error.
    pub(crate) const fn from_code(code: u8) -> Self {
        match code {
            0 => Self::Well,
            2 => Self::Usage,
            3 => Self::Divergent,
            4 => Self::Refused,
            _ => Self::Failed,
        }
    }

    /// What a report with so many open divergences means.
    pub(crate) const fn of_open(divergences: i64) -> Self {
        if divergences > 0 {
            Self::Divergent
        } else {
            Self::Well
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// A command that did not succeed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    /// The code.
    pub(crate) exit: Exit,
    /// What could not be done, on which object, and what mends it.
    pub(crate) message: String,
}

impl Failure {
    /// Wrong usage or configuration.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self {
            exit: Exit::Usage,
            message: message.into(),
        }
    }

    /// It failed.
    pub(crate) fn failed(message: impl Into<String>) -> Self {
        Self {
            exit: Exit::Failed,
            message: message.into(),
        }
    }

    /// It failed for the reason that `error` and its causes give.
    pub(crate) fn of(error: &(dyn Error + 'static)) -> Self {
        Self::failed(chain(error))
    }

    /// As [`Failure::of`], with the exit code that the error's own crate gives it.
    pub(crate) fn with_code(error: &(dyn Error + 'static), code: u8) -> Self {
        Self {
            exit: Exit::from_code(code),
            message: chain(error),
        }
    }
}

/// An error and its causes in one line, a cause left out where the text before it ends with it.
pub(crate) fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let words = error.to_string();
        if !text.ends_with(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("could not read the page")]
    struct Outer(#[source] std::io::Error);

    #[test]
    fn the_codes_are_those_that_scripts_rely_on() {
        let codes = [
            Exit::Well,
            Exit::Failed,
            Exit::Usage,
            Exit::Divergent,
            Exit::Refused,
        ];
        assert_eq!(codes.map(|exit| exit as u8), [0, 1, 2, 3, 4]);
        for exit in codes {
            assert_eq!(Exit::from_code(exit as u8), exit);
        }
        assert_eq!(Exit::from_code(77), Exit::Failed);
    }

    #[test]
    fn open_divergences_end_a_report_with_3() {
        assert_eq!(Exit::of_open(0), Exit::Well);
        assert_eq!(Exit::of_open(1), Exit::Divergent);
    }

    #[test]
    fn a_failure_says_its_causes() {
        let error = Outer(std::io::Error::other("disk on fire"));
        assert_eq!(
            Failure::of(&error).message,
            "could not read the page: disk on fire"
        );
    }
}
