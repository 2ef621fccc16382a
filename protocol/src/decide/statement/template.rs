//! Texts that differ only in literals share one analysis.
//!
//! A template is the text with every plain number written `0` and every plain string written `''`.
//! Cutting it costs one pass over the bytes, a small part of what parsing costs. Whatever is not
//! plain (comments, dollar quotes, parameters, escapes, prefixed strings, several statements) has
//! no template and is analysed by itself. Does not parse: it reads only as much of PostgreSQL's
//! lexical structure as tells a literal from what only looks like one.
//!
//! See <https://www.postgresql.org/docs/current/sql-syntax-lexical.html>.

use super::{Analysis, Insertion, Rewritten};

/// What a text begins with to be worth a template: what applications send in numbers.
const VERBS: [&str; 4] = ["INSERT", "UPDATE", "DELETE", "SELECT"];
/// The one built-in function whose literals decide what a statement does to the session.
const LITERALS_MATTER: &str = "set_config";

/// A text without its literals.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    text: String,
    /// Each literal in order: where its placeholder ends in the template, and where the literal
    /// itself ends in the text.
    ends: Vec<(usize, usize)>,
}

impl Template {
    /// The template of `text`, if it has plain literals and nothing that is not understood.
    pub fn of(text: &str) -> Option<Self> {
        let verb = text.trim_start().get(..6)?;
        if !VERBS.iter().any(|known| verb.eq_ignore_ascii_case(known)) {
            return None;
        }
        let mut cutter = Cutter {
            text,
            place: 0,
            copied: 0,
            template: String::with_capacity(text.len()),
            ends: Vec::new(),
        };
        cutter.cut()?;
        let Cutter { template, ends, .. } = cutter;
        let is_worth_it = !ends.is_empty() && !mentions_ignoring_case(&template, LITERALS_MATTER);
        is_worth_it.then_some(Self {
            text: template,
            ends,
        })
    }

    /// What is analysed in place of every text that has this template.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The analysis of `text`, of which this is the template, from the analysis of the template.
    pub fn fill(&self, text: &str, analysis: &Analysis) -> Option<Analysis> {
        let rewritten = match &analysis.rewritten {
            None => None,
            Some(rewritten) => Some(self.fill_text(text, rewritten)?),
        };
        Some(Analysis {
            statements: analysis.statements.clone(),
            unreadable: analysis.unreadable,
            rewritten,
            origin: analysis.origin,
        })
    }

    fn fill_text(&self, text: &str, rewritten: &Rewritten) -> Option<Rewritten> {
        let added: usize = rewritten.insertions.iter().map(|it| it.text.len()).sum();
        let mut out = String::with_capacity(text.len().saturating_add(added));
        let (mut done, mut characters) = (0, 0_usize);
        let mut insertions = Vec::with_capacity(rewritten.insertions.len());
        for insertion in &rewritten.insertions {
            let at = self.place_in_text(insertion.byte_offset)?;
            let before = text.get(done..at)?;
            characters = characters.saturating_add(before.chars().count());
            out.push_str(before);
            out.push_str(&insertion.text);
            insertions.push(Insertion {
                char_offset: characters,
                byte_offset: at,
                ..insertion.clone()
            });
            done = at;
        }
        out.push_str(text.get(done..)?);
        Some(Rewritten {
            text: out.into(),
            insertions,
        })
    }

    /// Where a place behind a literal or between two is in the text itself.
    fn place_in_text(&self, place: usize) -> Option<usize> {
        let before = self.ends.partition_point(|(end, _)| *end <= place);
        match before.checked_sub(1).and_then(|last| self.ends.get(last)) {
            None => Some(place),
            Some((in_template, in_text)) => place.checked_sub(*in_template)?.checked_add(*in_text),
        }
    }
}

struct Cutter<'a> {
    text: &'a str,
    place: usize,
    /// Up to here the text is in the template.
    copied: usize,
    template: String,
    ends: Vec<(usize, usize)>,
}

impl Cutter<'_> {
    fn cut(&mut self) -> Option<()> {
        let bytes = self.text.as_bytes();
        // The byte before, where it can make what follows another thing than it looks like.
        let mut before = b' ';
        while let Some(&byte) = bytes.get(self.place) {
            let next = bytes.get(self.place.saturating_add(1)).copied();
            match (byte, next) {
                (b'$' | b'\\', _) | (b'-', Some(b'-')) | (b'/', Some(b'*')) => return None,
                (b';', _) => {
                    let rest = self.text.get(self.place.saturating_add(1)..)?;
                    if !rest.trim_ascii().is_empty() {
                        return None;
                    }
                    break;
                }
                (b'\'', _) if is_name(before) || before == b'&' => return None,
                (b'\'', _) => self.literal(closing(bytes, self.place, b'\'')?, "''")?,
                (b'"', _) => self.place = closing(bytes, self.place, b'"')?,
                (b'0'..=b'9', _) => {
                    let end = end_of_word(bytes, self.place);
                    let word = bytes.get(self.place..end)?;
                    if word.iter().all(u8::is_ascii_digit) {
                        self.literal(end, "0")?;
                    } else {
                        self.place = end;
                    }
                }
                (byte, _) if is_name(byte) => self.place = end_of_word(bytes, self.place),
                _ => self.place = self.place.saturating_add(1),
            }
            before = *bytes.get(self.place.checked_sub(1)?)?;
        }
        self.template.push_str(self.text.get(self.copied..)?);
        Some(())
    }

    fn literal(&mut self, end: usize, placeholder: &str) -> Option<()> {
        self.template
            .push_str(self.text.get(self.copied..self.place)?);
        self.template.push_str(placeholder);
        self.ends.push((self.template.len(), end));
        self.place = end;
        self.copied = end;
        Some(())
    }
}

/// Behind the quote that closes what opens at `start`; a doubled quote is part of it.
fn closing(bytes: &[u8], start: usize, quote: u8) -> Option<usize> {
    let mut place = start.checked_add(1)?;
    loop {
        let rest = bytes.get(place..)?;
        let found = rest.iter().position(|byte| *byte == quote)?;
        place = place.checked_add(found)?.checked_add(1)?;
        if bytes.get(place) == Some(&quote) {
            place = place.checked_add(1)?;
        } else {
            return Some(place);
        }
    }
}

/// Names, keywords and numbers: a digit in the middle of a name is no number.
fn end_of_word(bytes: &[u8], start: usize) -> usize {
    let rest = bytes.get(start..).unwrap_or_default();
    let length = rest
        .iter()
        .position(|byte| !is_name(*byte) && *byte != b'.');
    start.saturating_add(length.unwrap_or(rest.len()))
}

const fn is_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || !byte.is_ascii()
}

fn mentions_ignoring_case(text: &str, word: &str) -> bool {
    let first = word.as_bytes().first().map(u8::to_ascii_lowercase);
    let mut windows = text.as_bytes().windows(word.len());
    windows.any(|window| {
        // Nearly every place is done with after its first byte.
        window.first().map(u8::to_ascii_lowercase) == first
            && window.eq_ignore_ascii_case(word.as_bytes())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        let template = Template::of(text).unwrap();
        assert_eq!(template.text(), expected);
        assert!(pg_query::parse(template.text(), 0).is_ok(), "{expected}");
    }

    #[test]
    fn plain_literals_become_placeholders() {
        check(
            "UPDATE t1 SET a = a + -17 WHERE id = 42;",
            "UPDATE t1 SET a = a + -0 WHERE id = 0;",
        );
        check(
            "insert into t values (1, 'it''s', '')",
            "insert into t values (0, '', '')",
        );
        check("SELECT \"a1''\", b2.c3[4:5]", "SELECT \"a1''\", b2.c3[0:0]");
        check(
            " SELECT .5, 1.5, 1e5, 2e-5, '5'::int4",
            " SELECT .0, 1.5, 1e5, 2e-0, ''::int4",
        );
        check("SELECT 'é', é1 FROM t", "SELECT '', é1 FROM t");
    }

    #[test]
    fn what_is_not_plain_has_no_template() {
        for text in [
            "SELECT",
            "SELECT a FROM t",
            "SELECT $1, 2",
            "SELECT $$x$$, 2",
            "SELECT E'x', 2",
            "SELECT e'it\\'s', 2",
            "SELECT U&'x', 2",
            "SELECT B'1', 2",
            "SELECT N'1'",
            "SELECT 1 -- 2",
            "SELECT 1 /* 2 */",
            "SELECT 1; SELECT 2",
            "SELECT 'x",
            "SELECT \"x, 1",
            "SELECT Set_Config('role', 'x', true)",
            "SET x = 1",
            "",
        ] {
            assert_eq!(Template::of(text), None, "{text}");
        }
    }

    #[test]
    fn places_are_found_again() {
        let text = "SELECT 'one', 22, x";
        let template = Template::of(text).unwrap();
        assert_eq!(template.text(), "SELECT '', 0, x");
        let found = |place| template.place_in_text(place).and_then(|at| text.get(at..));
        assert_eq!(found(0), Some(text));
        assert_eq!(found(9), Some(", 22, x"));
        assert_eq!(found(12), Some(", x"));
        assert_eq!(found(15), Some(""));
    }
}
