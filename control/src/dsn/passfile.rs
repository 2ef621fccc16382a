//! The password file: lines of `host:port:database:user:password`, the first that matches wins.
//!
//! [libpq's rules](https://www.postgresql.org/docs/current/libpq-pgpass.html): a file that others may
//! read is not used. Does not complain of a file that is not there.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::{Dsn, Host, Password};

/// The directories that libpq takes for "localhost" in a password file.
const DEFAULT_SOCKET_DIRECTORIES: [&str; 2] = ["/var/run/postgresql", "/tmp"];

/// The password that the file at `path` holds for `dsn`; an error is a warning for the user.
pub(super) fn password(path: &Path, dsn: &Dsn) -> Result<Option<Password>, String> {
    let Ok(facts) = std::fs::metadata(path) else {
        return Ok(None);
    };
    if !facts.is_file() {
        return Err(format!(
            "the password file {} is not a plain file and is not used",
            path.display()
        ));
    }
    if facts.mode() & 0o077 != 0 {
        return Err(format!(
            "the password file {} can be read by others and is not used; chmod 600 mends it",
            path.display()
        ));
    }
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(find(&text, dsn).map(Password)),
        Err(error) => Err(format!(
            "the password file {} cannot be read: {error}",
            path.display()
        )),
    }
}

/// The password in the first line of `text` that matches.
pub(super) fn find(text: &str, dsn: &Dsn) -> Option<String> {
    let port = dsn.port.to_string();
    let host = match &dsn.host {
        Host::Tcp(name) => name.clone(),
        Host::Unix(directory) => match directory.to_string_lossy().into_owned() {
            path if DEFAULT_SOCKET_DIRECTORIES.contains(&path.as_str()) => "localhost".to_owned(),
            path => path,
        },
    };
    let wanted = [&host, &port, &dsn.database, &dsn.user];
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.map(fields).find_map(|fields| {
        let (password, place) = fields.split_last().filter(|(_, place)| place.len() == 4)?;
        let mut pairs = place.iter().zip(wanted);
        let matches = pairs.all(|(field, wanted)| field.text == *wanted || field.is_any());
        (matches && !password.text.is_empty()).then(|| password.text.clone())
    })
}

#[derive(Default)]
struct Field {
    text: String,
    escaped: bool,
}

impl Field {
    /// `*`, but not `\*`.
    fn is_any(&self) -> bool {
        self.text == "*" && !self.escaped
    }
}

/// Splits at the first four colons that no backslash stands before; the rest is the password.
fn fields(line: &str) -> Vec<Field> {
    let mut fields = vec![Field::default()];
    let mut letters = line.chars();
    while let Some(letter) = letters.next() {
        let is_password = fields.len() == 5;
        let Some(field) = fields.last_mut() else {
            return fields;
        };
        match letter {
            '\\' => {
                field.escaped = true;
                field.text.extend(letters.next());
            }
            ':' if !is_password => fields.push(Field::default()),
            _ => field.text.push(letter),
        }
    }
    fields
}
