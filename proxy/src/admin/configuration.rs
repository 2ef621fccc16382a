//! The configuration as the console sees it: the binary, which reads and judges it, provides it.
//!
//! Does not know what a setting means.

use std::fmt::Debug;

/// One setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettingRow {
    /// Its name.
    pub name: &'static str,
    /// What is in force, secrets left out.
    pub value: String,
    /// Its default.
    pub default: &'static str,
    /// When a change takes effect.
    pub change: String,
    /// Who gave the value.
    pub origin: String,
}

/// What became of a change, a sentence a setting.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// In force now.
    pub now: Vec<String>,
    /// In force at the next start.
    pub at_restart: Vec<String>,
}

/// Why a change was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    /// There is no such setting.
    #[error("there is no setting {name:?}")]
    Unknown {
        /// What was asked for.
        name: String,
    },
    /// It can only be changed by a restart.
    #[error("{name} cannot be changed while the proxy runs")]
    NeedsRestart {
        /// The setting.
        name: &'static str,
    },
    /// A value is not one that the setting takes, or a file cannot be read.
    #[error("{problem}")]
    Refused {
        /// What is wrong.
        problem: String,
    },
}

/// Reads and changes the configuration. Called off the hot path; may read files.
pub trait Configuration: Send + Sync + Debug {
    /// Every setting, in the order of the documentation.
    fn settings(&self) -> Vec<SettingRow>;

    /// Puts a value in force until the configuration is read again.
    fn set(&self, name: &str, value: &str) -> Result<Changes, ChangeError>;

    /// Reads the configuration again.
    fn reload(&self) -> Result<Changes, ChangeError>;
}
