//! The settings as they will be used, secrets left out.

use super::push;
use crate::config::{Setting, Settings};

/// One line a setting.
pub(crate) fn text(settings: &Settings) -> String {
    let mut text = String::from("the configuration is sound\n\n");
    let mut line = |name: &str, value: &str, origin: &str| {
        push(
            &mut text,
            format_args!("  {name:18}  {value:40}  {origin}\n"),
        );
    };
    let file = settings.file.as_ref();
    let file = file.map_or_else(|| "none".to_owned(), |path| path.display().to_string());
    line("file", &file, "");
    for setting in Setting::ALL {
        let origin = settings.origin_text(setting);
        line(setting.name(), &settings.text(setting), &origin);
    }
    text
}
