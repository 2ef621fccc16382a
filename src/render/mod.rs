//! Facts as people read them.
//!
//! Pure: facts in, text out. Everything that comes from a database is made harmless on its way:
//! control characters for a terminal, markup for a page.

#[cfg(test)]
mod golden;
pub(crate) mod page;
mod plot;
pub(crate) mod report;
pub(crate) mod settings;
pub(crate) mod setup;
pub(crate) mod status;

use std::collections::BTreeMap;
use std::fmt::Write;

use control::report::Columns;
use protocol::revision::Revision;

/// Seconds without a report after which the reconciler counts as silent; it reports once a second.
pub(crate) const SILENCE_SECONDS: u32 = 10;

/// Characters in a line of prose.
const LINE_WIDTH: usize = 90;

/// What stands where nothing is known.
const UNKNOWN: &str = "–";

/// `1,234,567`.
fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// As [`count`], for what cannot be negative but is stored with a sign.
fn count_signed(number: i64) -> String {
    count(number.unsigned_abs())
}

/// `1 row`, `2 rows`.
fn plural(number: i64, noun: &str) -> String {
    let ending = if number == 1 { "" } else { "s" };
    format!("{} {noun}{ending}", count_signed(number))
}

/// `512 B`, `1.8 KiB`, `16 MiB`.
fn bytes(number: f64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    let mut value = number;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < units.len() {
        value /= 1024.0;
        unit += 1;
    }
    let name = units.get(unit).copied().unwrap_or_default();
    format!("{} {name}", short(value))
}

/// Two digits or more: `1.8`, `2`, `16`.
fn short(value: f64) -> String {
    let tenths = (value * 10.0).round() / 10.0;
    if tenths >= 10.0 || tenths.fract() == 0.0 {
        format!("{value:.0}")
    } else {
        format!("{tenths:.1}")
    }
}

/// `0.4 ms`, `12 ms`, `3.2 s`, `4 min 10 s`, `2 h 5 min`, `3 d 4 h`.
fn seconds(number: f64) -> String {
    let whole = number.round();
    let split = |unit: f64| ((whole / unit).floor(), (whole % unit).floor());
    if number < 0.9995 {
        format!("{} ms", short(number * 1000.0))
    } else if number < 59.5 {
        format!("{} s", short(number))
    } else if whole < 3600.0 {
        let (minutes, rest) = split(60.0);
        format!("{minutes} min {rest} s")
    } else if whole < 86400.0 {
        let (hours, rest) = split(3600.0);
        format!("{hours} h {} min", (rest / 60.0).floor())
    } else {
        let (days, rest) = split(86400.0);
        format!("{days} d {} h", (rest / 3600.0).floor())
    }
}

fn or_unknown(text: Option<String>) -> String {
    text.unwrap_or_else(|| UNKNOWN.to_owned())
}

/// `p50 2.1 ms   p99 9.3 ms`.
fn percentiles(p50: Option<f64>, p99: Option<f64>) -> String {
    match (p50, p99) {
        (None, None) => UNKNOWN.to_owned(),
        _ => format!(
            "p50 {}   p99 {}",
            or_unknown(p50.map(seconds)),
            or_unknown(p99.map(seconds))
        ),
    }
}

/// `bulk 12, copy 3`, the most frequent first.
fn reasons<N: Copy + Ord + Into<i128>>(counts: &BTreeMap<String, N>) -> String {
    let mut sorted: Vec<_> = counts.iter().filter(|(_, n)| (**n).into() > 0).collect();
    sorted.sort_by(|(_, one), (_, other)| other.cmp(one));
    let words = sorted.into_iter().map(|(reason, number)| {
        let number = u64::try_from((*number).into()).unwrap_or_default();
        format!("{} {}", plain(reason), count(number))
    });
    words.collect::<Vec<_>>().join(", ")
}

/// `id=7, line=2`, on one line and bounded, with nothing that a terminal would obey.
fn key(columns: &Columns) -> String {
    let pairs = columns
        .iter()
        .map(|(column, value)| format!("{}={}", plain(column), plain(&value_text(value))));
    pairs.collect::<Vec<_>>().join(", ")
}

/// A column's value as text; the JSON null of SQL's NULL.
fn value_text(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::String(text) => text.clone(),
        serde_json::Value::Null => "NULL".to_owned(),
        serde_json::Value::Bool(_)
        | serde_json::Value::Number(_)
        | serde_json::Value::Array(_)
        | serde_json::Value::Object(_) => value.to_string(),
    }
}

/// Text in lines that fit a screen, with `joint` between them.
fn wrapped(text: &str, joint: &str) -> String {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.chars().count() + word.chars().count() < LINE_WIDTH => {
                line.push(' ');
                line.push_str(word);
            }
            Some(_) | None => lines.push(word.to_owned()),
        }
    }
    lines.join(joint)
}

/// Text without control characters, and without those that turn the direction of writing round.
fn plain(text: &str) -> String {
    let mut harmless = String::with_capacity(text.len());
    for letter in text.chars() {
        let turns = matches!(letter, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        if letter.is_control() || turns {
            harmless.extend(letter.escape_default());
        } else {
            harmless.push(letter);
        }
    }
    harmless
}

/// Text as HTML or SVG shows it, in element content and in quoted attributes.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in plain(text).chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

/// A stored revision as epoch and log position, which a person can compare with LSNs elsewhere.
fn revision(decimal: Option<&str>) -> String {
    let known = decimal.and_then(|text| Revision::from_packed(text.parse().ok()?).ok());
    match known {
        Some(revision) => format!("{} epoch {}", revision.lsn(), revision.epoch()),
        None => UNKNOWN.to_owned(),
    }
}

/// Appends formatted text. Writing to a string does not fail.
fn push(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    let written = text.write_fmt(arguments);
    debug_assert!(written.is_ok(), "writing to a string does not fail");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_as_people_write_them() {
        assert_eq!(count(0), "0");
        assert_eq!(count(999), "999");
        assert_eq!(count(1_234_567), "1,234,567");
        assert_eq!(plural(1, "row"), "1 row");
        assert_eq!(plural(2, "row"), "2 rows");
        assert_eq!(bytes(512.0), "512 B");
        assert_eq!(bytes(1832.0), "1.8 KiB");
        assert_eq!(bytes(16_777_216.0), "16 MiB");
    }

    #[test]
    fn durations_have_the_unit_that_fits() {
        let cases = [
            (0.001, "1 ms"),
            (0.0021, "2.1 ms"),
            (0.052, "52 ms"),
            (3.21, "3.2 s"),
            (10.0, "10 s"),
            (59.7, "1 min 0 s"),
            (250.0, "4 min 10 s"),
            (7500.0, "2 h 5 min"),
            (270_000.0, "3 d 3 h"),
        ];
        for (number, text) in cases {
            assert_eq!(seconds(number), text);
        }
    }

    #[test]
    fn a_key_cannot_write_to_the_terminal() {
        let columns = serde_json::json!({"id": "\u{1b}[2Jx\n\u{202e}y"});
        let columns: Columns = columns.as_object().unwrap().clone();
        assert_eq!(key(&columns), r"id=\u{1b}[2Jx\n\u{202e}y");
    }

    #[test]
    fn markup_is_shown_and_not_obeyed() {
        assert_eq!(
            escape(r#"<img src=x onerror="a('&')">"#),
            "&lt;img src=x onerror=&quot;a(&#39;&amp;&#39;)&quot;&gt;"
        );
    }

    #[test]
    fn reasons_come_most_frequent_first_and_zeros_not_at_all() {
        let counts = BTreeMap::from([
            ("bulk".to_owned(), 2_u64),
            ("copy".to_owned(), 1000),
            ("rls".to_owned(), 0),
        ]);
        assert_eq!(reasons(&counts), "copy 1,000, bulk 2");
    }

    #[test]
    fn a_revision_is_shown_as_a_position() {
        assert_eq!(revision(Some("36028797112199567")), "0/58EA98F epoch 1");
        assert_eq!(revision(None), UNKNOWN);
        assert_eq!(revision(Some("x")), UNKNOWN);
    }
}
