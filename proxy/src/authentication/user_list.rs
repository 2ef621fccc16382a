//! `auth_file`: lines of `"role" "secret"`, as pgbouncer's userlist.txt has them.
//!
//! Does not take MD5 hashes or passwords in the clear: roles that have those at the server are
//! authenticated without Segue.

use std::collections::HashMap;
use std::sync::Arc;

use protocol::scram::Secret;

/// The secrets in a file.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct UserList {
    secrets: HashMap<String, Arc<Secret>>,
    /// Lines that name a role and hold no SCRAM secret.
    passed_over: usize,
}

impl UserList {
    /// Reads a file's text; the error names the line.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut list = Self::default();
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            // pgbouncer's comments.
            if line.is_empty() || line.starts_with(';') || line.starts_with('#') {
                continue;
            }
            let entry = quoted(line).and_then(|(role, rest)| Some((role, quoted(rest)?.0)));
            let Some((role, secret)) = entry else {
                let number = number + 1;
                return Err(format!("has no \"role\" \"secret\" in line {number}"));
            };
            match Secret::parse(&secret) {
                Ok(secret) => drop(list.secrets.insert(role, Arc::new(secret))),
                Err(_) => list.passed_over += 1,
            }
        }
        Ok(list)
    }

    /// The secret of a role.
    pub fn secret(&self, role: &str) -> Option<&Arc<Secret>> {
        self.secrets.get(role)
    }

    /// How many lines name a role and hold no SCRAM secret.
    pub const fn passed_over(&self) -> usize {
        self.passed_over
    }
}

/// The text in the quotes that `text` begins with, doubled ones standing for one, and what follows.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut rest = text.trim_start().strip_prefix('"')?;
    let mut value = String::new();
    loop {
        let (part, behind) = rest.split_once('"')?;
        value.push_str(part);
        match behind.strip_prefix('"') {
            Some(more) => {
                value.push('"');
                rest = more;
            }
            None => return Some((value, behind)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$\
         WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=";

    #[test]
    fn pgbouncers_file_is_understood() {
        let text = format!(
            "; comment\n\n\"al\" \"{SECRET}\"\n  \"b\"\"o\"   \"{SECRET}\" \"ignored\"\n\
             \"old\" \"md5abc\"\n\"clear\" \"\"\n"
        );
        let list = UserList::parse(&text).unwrap();
        assert!(list.secret("al").is_some() && list.secret("b\"o").is_some());
        assert!(list.secret("old").is_none() && list.secret("clear").is_none());
        assert_eq!(list.passed_over(), 2);
    }

    #[test]
    fn a_line_that_is_none_is_named() {
        for text in ["\"al\"", "al secret", "\"al\" \"open"] {
            let error = UserList::parse(&format!("\n{text}\n")).unwrap_err();
            assert!(error.contains("line 2"), "{error}");
        }
    }
}
