//! Cutting a text into commands and words, quotes and comments as SQL has them.
//!
//! Does not know any command.

/// A word, out of its quotes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Word {
    pub(super) text: String,
    /// Where it begins in its command.
    pub(super) start: usize,
}

/// What a text is made of.
enum Piece {
    Space,
    Semicolon,
    /// `=`, or a letter of a word.
    Letter,
    /// `'…'` or `"…"`.
    Quoted,
}

/// The commands of a text, without what is empty.
pub(super) fn split(text: &str) -> Vec<&str> {
    let mut commands = Vec::new();
    let (mut start, mut at) = (0, 0);
    while let Some((piece, len)) = piece(text.get(at..).unwrap_or_default()) {
        if matches!(piece, Piece::Semicolon) {
            commands.extend(text.get(start..at));
            start = at + len;
        }
        at += len;
    }
    commands.extend(text.get(start..));
    commands.retain(|command| !words(command).is_empty());
    commands.into_iter().map(str::trim).collect()
}

/// The words of a command. `=` is one of its own.
pub(super) fn words(command: &str) -> Vec<Word> {
    let mut words: Vec<Word> = Vec::new();
    let (mut at, mut continues) = (0, false);
    while let Some((piece, len)) = piece(command.get(at..).unwrap_or_default()) {
        let text = command.get(at..at + len).unwrap_or_default();
        match piece {
            Piece::Space | Piece::Semicolon => continues = false,
            Piece::Quoted => {
                words.push(Word {
                    text: unquoted(text),
                    start: at,
                });
                continues = false;
            }
            Piece::Letter => match words.last_mut() {
                Some(word) if continues && text != "=" => word.text.push_str(text),
                Some(_) | None => {
                    words.push(Word {
                        text: text.to_owned(),
                        start: at,
                    });
                    continues = text != "=";
                }
            },
        }
        at += len;
    }
    words
}

/// The next piece of a text and its length; none at its end.
fn piece(text: &str) -> Option<(Piece, usize)> {
    let first = text.chars().next()?;
    Some(match first {
        ';' => (Piece::Semicolon, 1),
        '\'' | '"' => (Piece::Quoted, quoted_len(text, first)),
        '-' if text.starts_with("--") => (Piece::Space, text.find('\n').unwrap_or(text.len())),
        '/' if text.starts_with("/*") => (Piece::Space, comment_len(text)),
        _ if first.is_whitespace() => (Piece::Space, first.len_utf8()),
        _ => (Piece::Letter, first.len_utf8()),
    })
}

/// Up to the closing quote, or to the end where there is none. A doubled quote is none.
fn quoted_len(text: &str, quote: char) -> usize {
    let mut letters = text.char_indices().skip(1).peekable();
    while let Some((at, letter)) = letters.next() {
        if letter == quote && letters.next_if(|(_, next)| *next == quote).is_none() {
            return at + 1;
        }
    }
    text.len()
}

/// Comments nest.
fn comment_len(text: &str) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        if rest.starts_with("/*") {
            depth += 1;
            at += 2;
        } else if rest.starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += rest.chars().next().map_or(1, char::len_utf8);
        }
    }
    text.len()
}

fn unquoted(text: &str) -> String {
    let Some(quote) = text.chars().next() else {
        return String::new();
    };
    let inner = text.get(1..).unwrap_or_default();
    let inner = inner.strip_suffix(quote).unwrap_or(inner);
    let doubled: String = [quote, quote].iter().collect();
    inner.replace(&doubled, &quote.to_string())
}
