//! The settings as they will be used, secrets left out.

use std::fmt::Debug;

use super::push;
use crate::config::Settings;

/// One line a setting.
pub(crate) fn text(settings: &Settings) -> String {
    let mut text = String::from("the configuration is sound\n\n");
    let mut line = |name: &str, value: String| {
        push(&mut text, format_args!("  {name:15}  {value}\n"));
    };
    let file = settings.file.as_ref();
    line(
        "file",
        file.map_or_else(none, |path| path.display().to_string()),
    );
    line(
        "source",
        settings
            .source
            .as_ref()
            .map_or_else(none, ToString::to_string),
    );
    line(
        "target",
        settings
            .target
            .as_ref()
            .map_or_else(none, ToString::to_string),
    );
    line("listen", list(&settings.listen));
    line("mirror", lowercase(&settings.mirror));
    line("sync_timeout", format!("{:?}", settings.sync_timeout));
    line("workers", settings.workers.to_string());
    line("clients_max", settings.clients_max.to_string());
    line("drain_timeout", format!("{:?}", settings.drain_timeout));
    line(
        "metrics",
        settings.metrics.map_or_else(none, |it| it.to_string()),
    );
    line("http", settings.http.map_or_else(none, |it| it.to_string()));
    let token = settings.http_token.as_ref();
    line(
        "http_token_file",
        token.map_or_else(none, |_| "read".to_owned()),
    );
    let tables = if settings.tables.is_empty() {
        "every table with a key".to_owned()
    } else {
        list(&settings.tables)
    };
    line("tables", tables);
    line("log_format", lowercase(&settings.log_format));
    line("log_level", settings.log_level.to_string());
    text
}

fn none() -> String {
    "none".to_owned()
}

fn list(items: &[impl ToString]) -> String {
    let texts: Vec<String> = items.iter().map(ToString::to_string).collect();
    texts.join(", ")
}

fn lowercase(choice: &impl Debug) -> String {
    format!("{choice:?}").to_lowercase()
}
