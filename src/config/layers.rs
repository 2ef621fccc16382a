//! Where settings come from: the file, then the environment, then the flags, then what has been set
//! while it runs; the last one wins.
//!
//! Does not judge values: they stay texts, each with the place that gave it.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use super::setting::Setting;

/// What a file, the environment or the flags can say beside the settings themselves.
const CONFIG_VARIABLE: &str = "SEGUE_CONFIG";

/// The file that is read if no other is named.
const DEFAULT_FILE: &str = "segue.toml";

/// The process's surroundings, taken once so that tests can give others.
#[derive(Debug, Clone, Default)]
pub(crate) struct Environment(BTreeMap<String, String>);

impl Environment {
    /// The variables of this process; those that are not UTF-8 are none of ours.
    pub(crate) fn of_process() -> Self {
        let texts = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        Self(std::env::vars_os().filter_map(texts).collect())
    }

    /// A variable's value, if it is set and not empty.
    pub(crate) fn value(&self, name: &str) -> Option<&str> {
        self.0
            .get(name)
            .map(String::as_str)
            .filter(|value| !value.is_empty())
    }

    /// Names that look like ours and are not.
    fn strangers(&self) -> impl Iterator<Item = &str> {
        let ours = |name: &str| {
            name == CONFIG_VARIABLE || Setting::ALL.iter().any(|it| it.variable() == name)
        };
        self.0
            .keys()
            .map(String::as_str)
            .filter(move |name| name.starts_with("SEGUE_") && !ours(name))
    }
}

#[cfg(test)]
impl<const N: usize> From<[(&str, &str); N]> for Environment {
    fn from(pairs: [(&str, &str); N]) -> Self {
        Self(
            pairs
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
        )
    }
}

/// A setting's value and who gave it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Given {
    /// The value as text.
    pub(crate) value: String,
    /// Who gave it.
    pub(crate) origin: Origin,
}

/// Who gave a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The configuration file.
    File(PathBuf),
    /// A variable of the environment.
    Environment,
    /// A flag.
    Flag,
    /// The admin console, until the configuration is read again.
    Console,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::File(_) => "file",
            Self::Environment => "environment",
            Self::Flag => "flag",
            Self::Console => "console",
        })
    }
}

/// A setting's name as the place that gave it writes it.
#[derive(Debug)]
pub(crate) struct Place<'a>(pub(crate) Setting, pub(crate) &'a Origin);

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.1 {
            Origin::File(path) => write!(f, "{}: {}", path.display(), self.0.name()),
            Origin::Environment => f.write_str(&self.0.variable()),
            Origin::Flag => f.write_str(&self.0.flag()),
            Origin::Console => f.write_str(self.0.name()),
        }
    }
}

/// What the layers are read from; read again, they are up to date.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sources {
    /// `--config`.
    pub(crate) file: Option<PathBuf>,
    /// The environment.
    pub(crate) environment: Environment,
    /// Flags as they were given.
    pub(crate) flags: Vec<(Setting, String)>,
    /// What has been set while the process runs.
    pub(crate) set: Vec<(Setting, String)>,
}

/// The layers, laid over each other.
#[derive(Debug, Clone, Default)]
pub(crate) struct Layers {
    pub(crate) given: BTreeMap<Setting, Given>,
    /// What cannot be used whatever the values are.
    pub(crate) problems: Vec<String>,
    /// What the user should hear.
    pub(crate) warnings: Vec<String>,
    /// The file read, if any.
    pub(crate) file: Option<PathBuf>,
}

impl Layers {
    /// Lays the environment over the file, the flags over both, and over all what has been set.
    pub(crate) fn read(sources: &Sources) -> Self {
        let environment = &sources.environment;
        let mut layers = Self::default();
        let variable = || environment.value(CONFIG_VARIABLE).map(PathBuf::from);
        let named = sources.file.clone().or_else(variable);
        layers.put_file(named);
        for setting in Setting::ALL {
            if let Some(value) = environment.value(&setting.variable()) {
                layers.put(setting, value.to_owned(), Origin::Environment);
            }
        }
        for name in environment.strangers() {
            layers
                .warnings
                .push(format!("{name} is set, and Segue has no such setting"));
        }
        for (setting, value) in &sources.flags {
            layers.put(*setting, value.clone(), Origin::Flag);
        }
        for (setting, value) in &sources.set {
            layers.put(*setting, value.clone(), Origin::Console);
        }
        layers
    }

    /// The value that won, if one was given.
    pub(crate) fn get(&self, setting: Setting) -> Option<&Given> {
        self.given.get(&setting)
    }

    fn put(&mut self, setting: Setting, value: String, origin: Origin) {
        self.given.insert(setting, Given { value, origin });
    }

    fn put_file(&mut self, named: Option<PathBuf>) {
        let must_exist = named.is_some();
        let path = named.unwrap_or_else(|| PathBuf::from(DEFAULT_FILE));
        match std::fs::read_to_string(&path) {
            Ok(text) => self.put_toml(&path, &text),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && !must_exist => {}
            Err(error) => self
                .problems
                .push(format!("cannot read {}: {error}", path.display())),
        }
    }

    fn put_toml(&mut self, path: &Path, text: &str) {
        self.file = Some(path.to_owned());
        let table = match text.parse::<toml::Table>() {
            Ok(table) => table,
            Err(error) => {
                self.problems.push(format!(
                    "{}: {}",
                    path.display(),
                    without_source(&error, text)
                ));
                return;
            }
        };
        for (name, value) in table {
            match (Setting::named(&name), text_of(value)) {
                (Some(setting), Some(value)) => {
                    self.put(setting, value, Origin::File(path.to_owned()));
                }
                (Some(_), None) => self.problems.push(format!(
                    "{}: {name} is neither a text, a number, a list of texts nor a table of them",
                    path.display()
                )),
                (None, _) => self.problems.push(format!(
                    "{}: {name} is not a setting; there are {}",
                    path.display(),
                    Setting::ALL.map(Setting::name).join(", ")
                )),
            }
        }
    }
}

/// The error's words and line. TOML's own display quotes the line, which may hold a password.
fn without_source(error: &toml::de::Error, text: &str) -> String {
    let words = error
        .message()
        .lines()
        .next()
        .unwrap_or_default()
        .to_owned();
    let before = error
        .span()
        .and_then(|span| text.get(..span.start))
        .unwrap_or_default();
    format!("line {}: {words}", before.matches('\n').count() + 1)
}

fn text_of(value: toml::Value) -> Option<String> {
    match value {
        toml::Value::String(text) => Some(text),
        toml::Value::Integer(number) => Some(number.to_string()),
        toml::Value::Array(items) => {
            let texts: Option<Vec<String>> = items.into_iter().map(text_of).collect();
            Some(texts?.join(","))
        }
        // As the environment and flags write it: `name=value,name=value`.
        toml::Value::Table(pairs) => {
            let texts: Option<Vec<String>> = pairs
                .into_iter()
                .map(|(name, value)| Some(format!("{name}={}", text_of(value)?)))
                .collect();
            Some(texts?.join(","))
        }
        toml::Value::Float(_) | toml::Value::Boolean(_) | toml::Value::Datetime(_) => None,
    }
}
