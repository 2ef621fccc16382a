//! The settings as they will be used, secrets left out.

use serde::Serialize;

use super::push;
use crate::config::{Setting, Settings};

/// For people: one line a setting.
pub(crate) fn text(settings: &Settings) -> String {
    let effective = Effective::of(settings);
    let mut text = String::from("the configuration is sound\n\n");
    let mut line = |name: &str, value: &str, origin: &str| {
        push(
            &mut text,
            format_args!("  {name:18}  {value:40}  {origin}\n"),
        );
    };
    line("file", effective.file.as_deref().unwrap_or("none"), "");
    for row in &effective.settings {
        line(row.name, &row.value, &row.source);
    }
    text
}

/// For programs. The names are stable.
#[derive(Debug, Serialize)]
pub(crate) struct Effective {
    file: Option<String>,
    settings: Vec<Row>,
}

#[derive(Debug, Serialize)]
struct Row {
    name: &'static str,
    value: String,
    default: &'static str,
    /// When a change takes effect.
    change: String,
    /// Who gave the value.
    source: String,
}

impl Effective {
    /// Of every setting.
    pub(crate) fn of(settings: &Settings) -> Self {
        let row = |setting: Setting| {
            let facts = setting.facts();
            Row {
                name: facts.name,
                value: settings.text(setting),
                default: facts.default,
                change: facts.change.to_string(),
                source: settings.origin_text(setting),
            }
        };
        Self {
            file: settings.file.as_ref().map(|it| it.display().to_string()),
            settings: Setting::ALL.map(row).into(),
        }
    }
}
