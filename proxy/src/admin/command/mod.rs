//! What can be typed at the console.
//!
//! A text is cut into commands at its semicolons, and each command into words: no grammar of SQL's
//! is needed, and none is pretended. Does not carry anything out.

mod words;

use std::time::Duration;

use words::{Word, split, words};

/// What can be shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Subject {
    Clients,
    Config,
    Databases,
    Help,
    Mirror,
    Servers,
    State,
    Stats,
    Tables,
    Version,
}

impl Subject {
    /// All of them, in the order in which help lists them.
    pub(super) const ALL: [Self; 10] = [
        Self::Clients,
        Self::Servers,
        Self::Stats,
        Self::Mirror,
        Self::Tables,
        Self::Databases,
        Self::State,
        Self::Config,
        Self::Version,
        Self::Help,
    ];

    /// The word for it.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Clients => "CLIENTS",
            Self::Config => "CONFIG",
            Self::Databases => "DATABASES",
            Self::Help => "HELP",
            Self::Mirror => "MIRROR",
            Self::Servers => "SERVERS",
            Self::State => "STATE",
            Self::Stats => "STATS",
            Self::Tables => "TABLES",
            Self::Version => "VERSION",
        }
    }

    fn named(word: &str) -> Option<Self> {
        let mut all = Self::ALL.into_iter();
        all.find(|subject| subject.word().eq_ignore_ascii_case(word))
    }
}

/// One command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Command {
    /// Show something.
    Show(Subject),
    /// Show one setting's value.
    ShowSetting(String),
    /// Keep sessions from beginning anything; how long to wait for those under way.
    Pause(Option<Duration>),
    /// Let them go on.
    Resume,
    /// End one client's session.
    Kill(u64),
    /// Put a setting's value in force.
    Set { name: String, value: String },
    /// Read the configuration again.
    Reload,
    /// What drivers say unasked, and what has no meaning here: answered with this tag.
    Courtesy(Courtesy),
}

/// What drivers say unasked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Courtesy {
    Begin,
    Commit,
    Rollback,
    /// A setting of the session's own, such as `extra_float_digits`.
    Set,
    Discard,
}

/// Settings that drivers make for their own sessions: without effect here, and no error.
const CLIENT_SETTINGS: [&str; 13] = [
    "application_name",
    "client_encoding",
    "client_min_messages",
    "datestyle",
    "extra_float_digits",
    "idle_in_transaction_session_timeout",
    "intervalstyle",
    "lock_timeout",
    "names",
    "search_path",
    "session",
    "statement_timeout",
    "timezone",
];

/// A text that is no command.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum CommandError {
    /// Its first word is not one of ours.
    #[error("the console has no such command: {text}")]
    Unknown {
        /// How it begins.
        text: String,
    },
    /// A command was given something that it does not take.
    #[error("{command} takes {takes}")]
    Arguments {
        /// The command.
        command: &'static str,
        /// What it takes.
        takes: &'static str,
    },
}

/// The commands of a text, up to the first that is none.
pub(super) fn commands(text: &str) -> (Vec<Command>, Option<CommandError>) {
    let mut commands = Vec::new();
    for statement in split(text) {
        match command(statement) {
            Ok(command) => commands.push(command),
            Err(error) => return (commands, Some(error)),
        }
    }
    (commands, None)
}

fn command(statement: &str) -> Result<Command, CommandError> {
    let words = words(statement);
    let mut rest = words.iter();
    let first = rest.next().map_or("", |word| word.text.as_str());
    let rest = rest.as_slice();
    let command = match first.to_ascii_uppercase().as_str() {
        "SHOW" => show(rest)?,
        "HELP" => nothing_more("HELP", rest, Command::Show(Subject::Help))?,
        "PAUSE" => pause(rest)?,
        "RESUME" => nothing_more("RESUME", rest, Command::Resume)?,
        "RELOAD" => nothing_more("RELOAD", rest, Command::Reload)?,
        "KILL" => kill(rest)?,
        "SET" => set(statement, rest)?,
        "BEGIN" | "START" => Command::Courtesy(Courtesy::Begin),
        "COMMIT" | "END" => Command::Courtesy(Courtesy::Commit),
        "ROLLBACK" | "ABORT" => Command::Courtesy(Courtesy::Rollback),
        "RESET" => Command::Courtesy(Courtesy::Set),
        "DISCARD" | "DEALLOCATE" | "CLOSE" | "UNLISTEN" => Command::Courtesy(Courtesy::Discard),
        // asyncpg's pool says all of this when a connection goes back to it.
        "SELECT" if matches!(rest, [word] if word.text == "pg_advisory_unlock_all()") => {
            Command::Courtesy(Courtesy::Discard)
        }
        _ => {
            return Err(CommandError::Unknown {
                text: beginning(statement),
            });
        }
    };
    Ok(command)
}

/// The beginning of a text, on one line.
fn beginning(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().take(8).collect();
    words.join(" ").chars().take(60).collect()
}

fn nothing_more(
    command: &'static str,
    rest: &[Word],
    meaning: Command,
) -> Result<Command, CommandError> {
    if rest.is_empty() {
        return Ok(meaning);
    }
    Err(CommandError::Arguments {
        command,
        takes: "nothing behind it",
    })
}

fn show(rest: &[Word]) -> Result<Command, CommandError> {
    match rest {
        [] => Ok(Command::Show(Subject::Help)),
        [word] => Ok(Subject::named(&word.text).map_or_else(
            || Command::ShowSetting(word.text.to_ascii_lowercase()),
            Command::Show,
        )),
        _ => Err(CommandError::Arguments {
            command: "SHOW",
            takes: "one word, such as CLIENTS",
        }),
    }
}

fn pause(rest: &[Word]) -> Result<Command, CommandError> {
    let refused = || CommandError::Arguments {
        command: "PAUSE",
        takes: "a number of seconds or nothing behind it, such as PAUSE 30",
    };
    match rest {
        [] => Ok(Command::Pause(None)),
        [word] => {
            let seconds = word.text.strip_suffix('s').unwrap_or(&word.text);
            let seconds: u32 = seconds.parse().map_err(|_| refused())?;
            Ok(Command::Pause(Some(Duration::from_secs(seconds.into()))))
        }
        _ => Err(refused()),
    }
}

fn kill(rest: &[Word]) -> Result<Command, CommandError> {
    let number = match rest {
        [word] => word.text.parse().ok(),
        _ => None,
    };
    number.map(Command::Kill).ok_or(CommandError::Arguments {
        command: "KILL",
        takes: "the id of a client as SHOW CLIENTS has it",
    })
}

/// `SET name = value` or `SET name TO value`; the value may stand in quotes.
fn set(statement: &str, rest: &[Word]) -> Result<Command, CommandError> {
    let refused = CommandError::Arguments {
        command: "SET",
        takes: "a setting and its value, such as SET log_level = 'debug'",
    };
    let Some((name, rest)) = rest.split_first() else {
        return Err(refused);
    };
    let name = name.text.to_ascii_lowercase();
    if CLIENT_SETTINGS.contains(&name.as_str()) {
        return Ok(Command::Courtesy(Courtesy::Set));
    }
    let value = match rest.split_first() {
        Some((sign, value)) if sign.text == "=" || sign.text.eq_ignore_ascii_case("to") => value,
        Some(_) | None => return Err(refused),
    };
    let value = match value {
        [] => return Err(refused),
        [word] => word.text.clone(),
        // As it was written: `info,proxy=debug` needs no quotes.
        [first, ..] => statement
            .get(first.start..)
            .unwrap_or_default()
            .trim()
            .to_owned(),
    };
    Ok(Command::Set { name, value })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &[Command]) {
        assert_eq!(commands(text), (expected.to_vec(), None), "{text}");
    }

    fn set(name: &str, value: &str) -> Command {
        Command::Set {
            name: name.to_owned(),
            value: value.to_owned(),
        }
    }

    #[test]
    fn commands_are_read_whatever_their_case_and_with_or_without_a_semicolon() {
        check("show clients", &[Command::Show(Subject::Clients)]);
        check("SHOW Stats;", &[Command::Show(Subject::Stats)]);
        check(" help ; ", &[Command::Show(Subject::Help)]);
        check("show", &[Command::Show(Subject::Help)]);
        check("Pause", &[Command::Pause(None)]);
        check("PAUSE 30", &[Command::Pause(Some(Duration::from_secs(30)))]);
        check("pause 5s;", &[Command::Pause(Some(Duration::from_secs(5)))]);
        check("kill 17", &[Command::Kill(17)]);
        check(
            "show log_level",
            &[Command::ShowSetting("log_level".to_owned())],
        );
        check(
            "resume; RELOAD;;show version",
            &[
                Command::Resume,
                Command::Reload,
                Command::Show(Subject::Version),
            ],
        );
    }

    #[test]
    fn comments_and_empty_commands_are_nothing() {
        for text in ["", ";", " ;; ", "-- ping", "/* ping */", "/* a /* b */ */;"] {
            check(text, &[]);
        }
        check("resume -- now", &[Command::Resume]);
    }

    #[test]
    fn values_are_taken_as_they_are_written_or_out_of_their_quotes() {
        check("set log_level = debug", &[set("log_level", "debug")]);
        check("SET Log_Level='debug';", &[set("log_level", "debug")]);
        check("set log_level to 'a;b''c'", &[set("log_level", "a;b'c")]);
        check(
            "set log_level = info,proxy=debug",
            &[set("log_level", "info,proxy=debug")],
        );
        check("set admin_users = ''", &[set("admin_users", "")]);
    }

    #[test]
    fn what_drivers_say_unasked_is_no_error() {
        check("BEGIN", &[Command::Courtesy(Courtesy::Begin)]);
        check("start transaction", &[Command::Courtesy(Courtesy::Begin)]);
        check(
            "SET extra_float_digits = 3",
            &[Command::Courtesy(Courtesy::Set)],
        );
        check("DISCARD ALL", &[Command::Courtesy(Courtesy::Discard)]);
        let reset = "SELECT pg_advisory_unlock_all(); CLOSE ALL; UNLISTEN *; RESET ALL;";
        let discard = Command::Courtesy(Courtesy::Discard);
        let set = Command::Courtesy(Courtesy::Set);
        check(reset, &[discard.clone(), discard.clone(), discard, set]);
    }

    #[test]
    fn what_stands_before_a_mistake_is_kept() {
        let (commands, error) = commands("resume; select 1; pause");
        assert_eq!(commands, [Command::Resume]);
        let error = error.unwrap().to_string();
        assert_eq!(error, "the console has no such command: select 1");
    }

    #[test]
    fn arguments_that_a_command_does_not_take_are_refused() {
        for text in [
            "resume now",
            "kill",
            "kill x",
            "pause soon",
            "show a b",
            "set",
            "set log_level",
            "set log_level =",
        ] {
            assert!(commands(text).1.is_some(), "{text}");
        }
    }
}
