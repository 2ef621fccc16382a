//! Which names a statement uses that could do more than its text shows.
//!
//! Works on PostgreSQL's own lexer, so that no corner of the grammar is overlooked: any identifier
//! before a parenthesis is taken for a call. Does not resolve names: a column or a table that is
//! called like a volatile function is taken for it, which defers and harms nothing.

use pg_query::protobuf::{ScanToken, Token};

use super::facts::CatalogFacts;

/// Settings that change what texts mean or how values are sent.
const MEANING: [&str; 9] = [
    "role",
    "session_authorization",
    "search_path",
    "client_encoding",
    "client_min_messages",
    "names",
    "standard_conforming_strings",
    "session_replication_role",
    "row_security",
];
/// The setting that says what a session asks of the mirror.
const MIRROR: &str = "segue.mirror";
/// The setting that decides whether an acknowledged commit is safe.
const DURABILITY: &str = "synchronous_commit";
/// Built-in functions that run a text as SQL.
const RUN_SQL: [&str; 7] = [
    "query_to_xml",
    "query_to_xmlschema",
    "query_to_xml_and_xmlschema",
    "cursor_to_xml",
    "cursor_to_xmlschema",
    "ts_stat",
    "ts_rewrite",
];

/// `NAMEDATALEN` without its terminating zero.
const NAME_BYTES_MAX: usize = 63;

/// What shows the text of the running statement, which would be ours.
const SHOW_TEXT: [&str; 2] = ["current_query", "pg_stat_activity"];

/// What a change of one setting means to us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Setting {
    /// Nothing.
    Other,
    /// Texts may mean something else.
    Meaning,
    /// Commits may be acknowledged before they are safe.
    Durability,
    /// The session asks something else of the mirror.
    Mirror,
    /// It cannot be told which setting it is.
    Any,
}

impl Setting {
    pub(super) fn of(name: &str) -> Self {
        let name = name.to_ascii_lowercase();
        if name == DURABILITY {
            Self::Durability
        } else if name == MIRROR {
            Self::Mirror
        } else if MEANING.contains(&name.as_str()) {
            Self::Meaning
        } else {
            Self::Other
        }
    }

    pub(super) const fn changes_meaning(self) -> bool {
        matches!(self, Self::Meaning | Self::Mirror | Self::Any)
    }

    pub(super) const fn touches_durability(self) -> bool {
        matches!(self, Self::Durability | Self::Any)
    }
}

/// What the names of one statement tell.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Calls {
    /// A volatile function that is not built in, or something that calls one.
    pub(super) user_function: bool,
    /// The settings that `set_config` may change.
    pub(super) settings: Vec<Setting>,
}

/// One text, cut into tokens once for all its statements.
#[derive(Debug)]
pub(super) struct Tokens<'a> {
    text: &'a str,
    tokens: Vec<ScanToken>,
}

impl<'a> Tokens<'a> {
    /// Nothing if the lexer cannot read it.
    pub(super) fn of(text: &'a str) -> Option<Self> {
        let mut tokens = pg_query::scan(text).ok()?.tokens;
        tokens.retain(|it| {
            it.token != Token::SqlComment as i32 && it.token != Token::CComment as i32
        });
        Some(Self { text, tokens })
    }

    /// What the statement between these bytes calls.
    pub(super) fn calls(&self, begin: usize, end: usize, catalog: &CatalogFacts) -> Calls {
        let inside = |it: &&ScanToken| {
            usize::try_from(it.start).is_ok_and(|start| (begin..end).contains(&start))
        };
        let words: Vec<&str> = self
            .tokens
            .iter()
            .filter(inside)
            .map(|it| self.slice(it))
            .collect();
        let mut calls = Calls::default();
        for (place, word) in words.iter().enumerate() {
            let next = |ahead: usize| words.get(place.saturating_add(ahead)).copied();
            let is_call = next(1) == Some("(");
            // `row.name` calls `name(row)` where no column is called so.
            let is_member = place.checked_sub(1).and_then(|it| words.get(it)) == Some(&".");
            let Some(name) = name_of(word) else {
                // An operator, or an identifier with Unicode escapes, which may name anything.
                let escaped = word.starts_with("U&\"") || word.starts_with("u&\"");
                calls.user_function |= escaped || catalog.functions.contains(*word);
                continue;
            };
            if (is_call || is_member) && catalog.functions.contains(&name)
                || is_call && RUN_SQL.contains(&name.as_str())
                || catalog.calling_relations.contains(&name)
                || SHOW_TEXT.contains(&name.as_str())
            {
                calls.user_function = true;
            }
            if is_call && name == "set_config" {
                calls
                    .settings
                    .push(next(2).map_or(Setting::Any, constant_setting));
            }
        }
        calls
    }

    fn slice(&self, token: &ScanToken) -> &'a str {
        let range = usize::try_from(token.start).and_then(|start| {
            let end = usize::try_from(token.end)?;
            Ok(start..end)
        });
        range
            .ok()
            .and_then(|range| self.text.get(range))
            .unwrap_or_default()
    }
}

/// The name that an identifier or keyword means; nothing for other tokens. Only ASCII is made lower
/// case, as in every encoding of several bytes.
fn name_of(word: &str) -> Option<String> {
    let first = word.chars().next()?;
    if word.contains("&\"") {
        return None;
    }
    if first == '"' {
        let inner = word.strip_prefix('"')?.strip_suffix('"')?;
        return Some(cut(inner.replace("\"\"", "\"")));
    }
    (first.is_ascii_alphabetic() || first == '_' || !first.is_ascii())
        .then(|| cut(word.to_ascii_lowercase()))
}

/// As much of a name as the server looks at.
fn cut(mut name: String) -> String {
    let end = (0..=NAME_BYTES_MAX).rfind(|place| name.is_char_boundary(*place));
    if name.len() > NAME_BYTES_MAX {
        name.truncate(end.unwrap_or_default());
    }
    name
}

fn constant_setting(word: &str) -> Setting {
    let inner = word
        .strip_prefix('\'')
        .and_then(|rest| rest.strip_suffix('\''));
    match inner {
        Some(name) if !name.contains('\'') => Setting::of(name),
        Some(_) | None => Setting::Any,
    }
}
