//! `host=… port=… user='…'`: keyword strings. Does not know what a keyword means.

use std::iter::Peekable;
use std::str::Chars;

use super::DsnError;

/// The pairs of a keyword string.
pub(super) fn pairs(text: &str) -> Result<Vec<(String, String)>, DsnError> {
    let mut pairs = Vec::new();
    let mut rest = text.chars().peekable();
    loop {
        skip_spaces(&mut rest);
        if rest.peek().is_none() {
            return Ok(pairs);
        }
        let keyword = keyword(&mut rest)?;
        skip_spaces(&mut rest);
        let value = match rest.next_if_eq(&'\'') {
            Some(_) => quoted(&mut rest)?,
            None => bare(&mut rest),
        };
        pairs.push((keyword, value));
    }
}

fn skip_spaces(rest: &mut Peekable<Chars<'_>>) {
    while rest.next_if(|letter| letter.is_whitespace()).is_some() {}
}

fn keyword(rest: &mut Peekable<Chars<'_>>) -> Result<String, DsnError> {
    let mut keyword = String::new();
    while let Some(letter) = rest.next_if(|letter| *letter != '=' && !letter.is_whitespace()) {
        keyword.push(letter);
    }
    skip_spaces(rest);
    match rest.next() {
        Some('=') if !keyword.is_empty() => Ok(keyword),
        _ => Err(DsnError::Shape {
            reason: "it is no URI, and a keyword has no equals sign behind it",
        }),
    }
}

fn quoted(rest: &mut Peekable<Chars<'_>>) -> Result<String, DsnError> {
    let mut value = String::new();
    loop {
        match rest.next() {
            Some('\'') => return Ok(value),
            Some('\\') => value.extend(rest.next()),
            Some(letter) => value.push(letter),
            None => {
                return Err(DsnError::Shape {
                    reason: "a quoted value has no closing quote",
                });
            }
        }
    }
}

fn bare(rest: &mut Peekable<Chars<'_>>) -> String {
    let mut value = String::new();
    while let Some(letter) = rest.next_if(|letter| !letter.is_whitespace()) {
        match letter {
            '\\' => value.extend(rest.next()),
            _ => value.push(letter),
        }
    }
    value
}
