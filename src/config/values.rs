//! How the text of a setting becomes its value, and what is said of one that does not.
//!
//! Does not know where a text came from.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use proxy::MirrorMode;
use proxy::address::Address;
use proxy::settings::{MirrorChoice, SyncPolicy};
use reconciler::{Limit, Policy};
use tracing_subscriber::filter::{LevelFilter, Targets};

/// Relaying is cheap: measurements with more cores than this would be about the server.
const WORKERS_DEFAULT_MAX: NonZeroUsize = NonZeroUsize::MIN.saturating_add(3);
/// A thread per core of the largest machines; more is a slip of the finger.
const WORKERS_MAX: NonZeroUsize = NonZeroUsize::MIN.saturating_add(255);

pub(super) fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| {
        "is not an IP address with a port, such as 127.0.0.1:6432 or [::1]:6432".to_owned()
    })
}

pub(super) fn directory(text: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(text);
    match std::fs::metadata(&path) {
        Ok(facts) if facts.is_dir() => Ok(path),
        Ok(_) => Err("is not a directory".to_owned()),
        Err(error) => Err(format!("cannot be used: {error}")),
    }
}

pub(super) fn addresses(text: &str) -> Result<Vec<Address>, String> {
    list(text)?.iter().map(|item| item.parse()).collect()
}

pub(super) fn list(text: &str) -> Result<Vec<String>, String> {
    let items: Vec<String> = text
        .split(',')
        .map(|item| item.trim().to_owned())
        .filter(|item| !item.is_empty())
        .collect();
    if items.is_empty() {
        return Err("names nothing".to_owned());
    }
    Ok(items)
}

/// `off` is for the environment, where an empty text is no value.
#[expect(
    clippy::unnecessary_wraps,
    reason = "as the other parsers, and every text is a name"
)]
pub(super) fn admin_database(text: &str) -> Result<String, String> {
    Ok(if text == "off" { "" } else { text }.to_owned())
}

/// None in an empty text: so that a value of the file's can be taken back.
pub(super) fn roles(text: &str) -> Result<Vec<String>, String> {
    if text.is_empty() {
        return Ok(Vec::new());
    }
    list(text)
}

pub(super) fn mirror(text: &str) -> Result<MirrorMode, String> {
    match text {
        "off" => Ok(MirrorMode::Off),
        "dry" => Ok(MirrorMode::Dry),
        "async" => Ok(MirrorMode::Async),
        "sync" => Ok(MirrorMode::Sync),
        _ => Err("is not one of off, dry, async, sync".to_owned()),
    }
}

/// `schema.table=mode`, comma-separated.
pub(super) fn mirror_tables(text: &str) -> Result<BTreeMap<String, MirrorChoice>, String> {
    let pair = |item: String| {
        let named = item.rsplit_once('=').and_then(|(table, mode)| {
            let table = table.trim();
            let choice = MirrorChoice::named(mode)?;
            table.contains('.').then(|| (table.to_owned(), choice))
        });
        named.ok_or_else(|| {
            format!("has {item:?}, which is not schema.table=mode with off, async or sync")
        })
    };
    list(text)?.into_iter().map(pair).collect()
}

pub(super) fn sync_policy(text: &str) -> Result<SyncPolicy, String> {
    match text {
        "warn" => Ok(SyncPolicy::Warn),
        "continue" => Ok(SyncPolicy::Continue),
        _ => Err(
            "is not one of warn, continue; there is none that fails: the source has committed"
                .to_owned(),
        ),
    }
}

pub(super) fn repair(text: &str) -> Result<Policy, String> {
    match text {
        "on" => Ok(Policy::On),
        "dry" | "off" => Ok(Policy::Dry),
        _ => Err("is not one of on, dry".to_owned()),
    }
}

/// `1000/1h`, `50` (an hour is meant) or `unlimited`.
pub(super) fn max_repairs(text: &str) -> Result<Option<Limit>, String> {
    const SHAPE: &str = "is not a number of rows and a time, such as 1000/1h, or unlimited";
    if text == "unlimited" {
        return Ok(None);
    }
    let (count, window) = text.split_once('/').unwrap_or((text, "1h"));
    let count = count.trim().parse().ok().filter(|count| *count > 0);
    let window = duration(window.trim())
        .ok()
        .filter(|window| *window >= Duration::from_secs(1));
    match (count, window) {
        (Some(count), Some(window)) => Ok(Some(Limit { count, window })),
        (Some(_) | None, _) => Err(format!("{SHAPE}; to repair nothing, set repair = dry")),
    }
}

/// What is younger is looked at while one decides what to keep.
pub(super) fn retention(text: &str) -> Result<Duration, String> {
    let retention = duration(text)?;
    if retention < Duration::from_hours(1) {
        return Err("is less than 1h, in which nobody has looked at the report".to_owned());
    }
    Ok(retention)
}

pub(super) fn workers(text: &str) -> Result<NonZeroUsize, String> {
    text.parse()
        .ok()
        .filter(|count| *count <= WORKERS_MAX)
        .ok_or_else(|| format!("is not a number between 1 and {WORKERS_MAX}"))
}

pub(super) fn default_workers() -> NonZeroUsize {
    std::thread::available_parallelism()
        .map_or(NonZeroUsize::MIN, |cores| cores.min(WORKERS_DEFAULT_MAX))
}

pub(super) fn clients(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(count) if count > 0 => Ok(count),
        Ok(_) | Err(_) => Err("is not a number of clients".to_owned()),
    }
}

/// A level, or `part=level`. [`Targets`] itself takes a bare word for a part whose every event is
/// wanted, so that a slip in a level's name would silence everything else.
pub(super) fn log_level(text: &str) -> Result<Targets, String> {
    text.split(',')
        .map(str::trim)
        .try_fold(Targets::new(), |targets, directive| {
            match directive.split_once('=') {
                None => Some(targets.with_default(directive.parse::<LevelFilter>().ok()?)),
                Some(("", _)) => None,
                Some((part, level)) => {
                    Some(targets.with_target(part, level.parse::<LevelFilter>().ok()?))
                }
            }
        })
        .ok_or_else(|| {
            "is neither a level (error, warn, info, debug, trace, off) nor levels by part, such as \
             info,proxy=debug"
                .to_owned()
        })
}

/// `500ms`, `2s`, `1.5s`, `10min`, `1h` or `7d`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    const SHAPE: &str = "is not a duration such as 500ms, 2s, 10min, 1h or 7d";
    let digits = text
        .find(|letter: char| !letter.is_ascii_digit() && letter != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(digits).ok_or(SHAPE)?;
    let number: f64 = number.parse().map_err(|_| SHAPE)?;
    let seconds = match unit.trim() {
        "ms" => number / 1000.0,
        "s" => number,
        "m" | "min" => number * 60.0,
        "h" => number * 3600.0,
        "d" => number * 86400.0,
        _ => return Err(SHAPE.to_owned()),
    };
    Duration::try_from_secs_f64(seconds).map_err(|_| SHAPE.to_owned())
}
